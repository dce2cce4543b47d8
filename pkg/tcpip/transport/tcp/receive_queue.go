package tcp

import "runsc/pkg/tcpip/buffer"

const (
	// viewOverhead is what keeping a View costs beside its memory.
	viewOverhead = 64
	// Sizes of the chunks into which small pieces are gathered: a small one while little is
	// queued, so that a connection that exchanges short messages holds little.
	gatherSmall = 2048
	gatherLarge = 8192
)

// wasteful says whether a View keeps more than twice as much memory as it has bytes, so that copying it is
// better than keeping it: otherwise a peer could fill a buffer many times over with the chunks
// that its short segments came in.
func wasteful(v buffer.View) bool { return v.Memory()+viewOverhead > bufferPerWindow*v.Len() }

// receiveQueue is the bytes that came in order and were not read. memory is what they keep, which
// is what the receive buffer bounds.
type receiveQueue struct {
	views  fifo[buffer.View]
	size   int
	memory int
}

func (q *receiveQueue) len() int { return q.size }

// append adds v, which the queue takes.
func (q *receiveQueue) append(v buffer.View) {
	n := v.Len()
	if n == 0 {
		v.Release()
		return
	}
	q.size += n
	if !wasteful(v) {
		q.views.push(v)
		q.memory += v.Memory() + viewOverhead
		return
	}
	b := v.Bytes()
	if k := q.views.len(); k > 0 {
		// Only a View that was made below has room: what comes in packets are slices.
		last := q.views.at(k - 1)
		m := min(last.Room(), len(b))
		copy(last.Grow(m), b)
		b = b[m:]
	}
	if len(b) > 0 {
		room := gatherSmall
		if q.size > gatherLarge {
			room = gatherLarge
		}
		w := buffer.NewView(max(len(b), room))
		w.Truncate(copy(w.Bytes(), b))
		q.views.push(w)
		q.memory += w.Memory() + viewOverhead
	}
	v.Release()
}

// peek copies references to Views from byte offset on to dst and returns them: they are valid as
// long as nothing is consumed.
func (q *receiveQueue) peek(dst []buffer.View, offset int) []buffer.View {
	for i := 0; i < q.views.len() && len(dst) < cap(dst); i++ {
		v := *q.views.at(i)
		if offset >= v.Len() {
			offset -= v.Len()
			continue
		}
		v.TrimFront(offset)
		offset = 0
		dst = append(dst, v)
	}
	return dst
}

// consume drops the first n bytes.
func (q *receiveQueue) consume(n int) {
	q.size -= n
	for n > 0 {
		v := q.views.at(0)
		if l := v.Len(); n < l {
			v.TrimFront(n)
			return
		} else {
			n -= l
		}
		q.memory -= v.Memory() + viewOverhead
		v.Release()
		q.views.pop()
	}
}

func (q *receiveQueue) purge() {
	q.consume(q.size)
	q.views = fifo[buffer.View]{}
}
