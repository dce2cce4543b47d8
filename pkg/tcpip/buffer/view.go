package buffer

import (
	"fmt"
	"sync"
	"sync/atomic"
)

// Sizes of the chunks that memory is handed out in. The largest holds the largest packet that
// segmentation offload makes, its headers included.
var classes = [...]int{256, 2048, 8192, 32768, MaxPacket + MaxHeader}

var pools [len(classes)]sync.Pool

// chunk is a piece of memory that Views share. The last one to release it gives it back.
type chunk struct {
	refs  atomic.Int32
	class int8
	data  []byte
}

func newChunk(n int) *chunk {
	for i, size := range classes {
		if n > size {
			continue
		}
		c, _ := pools[i].Get().(*chunk)
		if c == nil {
			c = &chunk{class: int8(i), data: make([]byte, size)}
		}
		c.refs.Store(1)
		return c
	}
	c := &chunk{class: -1, data: make([]byte, n)}
	c.refs.Store(1)
	return c
}

// View is a range of bytes in a chunk, with one reference to it: a value that has one owner.
// The owner passes it on or releases it. A View that is not shared may be written; once it
// was cloned, its bytes are read only for everyone. The zero View is empty.
type View struct {
	c *chunk
	b []byte
}

// NewView returns a View of n bytes, whose content is whatever was there.
func NewView(n int) View {
	c := newChunk(n)
	return View{c: c, b: c.data[:n]}
}

// Bytes are the View's bytes, valid until it is released.
func (v View) Bytes() []byte { return v.b }

// Len is the number of bytes.
func (v View) Len() int { return len(v.b) }

// Room is how many bytes Grow can add.
func (v View) Room() int { return cap(v.b) - len(v.b) }

// Memory is the size of the chunk, which is what the View keeps from being used otherwise. Who
// bounds a queue bounds this, not Len.
func (v View) Memory() int {
	if v.c == nil {
		return 0
	}
	return len(v.c.data)
}

// share is Memory divided by the number of those who have a View of the chunk, but no less than Len.
func (v View) share() int {
	if v.c == nil {
		return 0
	}
	return max(len(v.b), len(v.c.data)/int(max(v.c.refs.Load(), 1)))
}

// Shared says whether somebody else has a View of the same chunk.
func (v View) Shared() bool { return v.c != nil && v.c.refs.Load() > 1 }

// Clone returns another View of the same bytes.
func (v View) Clone() View {
	if v.c != nil {
		v.c.refs.Add(1)
	}
	return v
}

// Slice returns another View of the bytes [from, to).
func (v View) Slice(from, to int) View {
	w := v.Clone()
	// The capacity ends with the bytes: what follows them belongs to others.
	w.b = v.b[from:to:to]
	return w
}

// TrimFront drops the first n bytes.
func (v *View) TrimFront(n int) { v.b = v.b[n:] }

// Truncate drops all but the first n bytes.
func (v *View) Truncate(n int) { v.b = v.b[:n] }

// Grow adds n bytes behind the last one and returns them. The View must not be a Slice, and n
// at most Room.
func (v *View) Grow(n int) []byte {
	old := len(v.b)
	v.b = v.b[:old+n]
	return v.b[old:]
}

// Release gives up the View, which is empty then.
func (v *View) Release() {
	c := v.c
	v.c, v.b = nil, nil
	if c == nil {
		return
	}
	switch n := c.refs.Add(-1); {
	case n < 0:
		panic(fmt.Sprintf("buffer: a view was released %d times too often", -n))
	case n == 0 && c.class >= 0:
		pools[c.class].Put(c)
	}
}
