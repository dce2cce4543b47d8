package unix

import (
	"sync"

	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// block is a piece of a message.
type block struct {
	next     *block
	off, end int
	class    int
	data     []byte
}

// blockSizes are the sizes of blocks, by class.
var blockSizes = [...]int{512, 4096, 32768}

// The pools are caches only; they hold nothing that belongs to a kernel.
var (
	blockPools  [len(blockSizes)]sync.Pool
	messagePool = sync.Pool{New: func() any { return new(message) }}
)

func newBlock(size int) *block {
	class := 0
	for class < len(blockSizes)-1 && size > blockSizes[class] {
		class++
	}
	if b, ok := blockPools[class].Get().(*block); ok {
		return b
	}
	return &block{class: class, data: make([]byte, blockSizes[class])}
}

func (b *block) free() {
	b.next, b.off, b.end = nil, 0, 0
	blockPools[b.class].Put(b)
}

// messageOverhead is what a message is charged beside its bytes.
const messageOverhead = 256

// message is a datagram, or a stretch of a stream with one sender's credentials.
type message struct {
	next        *message
	first, last *block
	size        int // bytes left
	charge      int // counted in sender.wmem
	sender      *Socket
	from        *address // the sender's, nil if it has none
	creds       socket.Ucred
	files       []*vfs.FileDescription
	time        int64 // when it was sent, if the receiver wanted to know
}

func newMessage() *message { return messagePool.Get().(*message) }

// free gives blocks and message back. Files and charge are gone already.
func (m *message) free() {
	for b := m.first; b != nil; {
		next := b.next
		b.free()
		b = next
	}
	*m = message{}
	messagePool.Put(m)
}

// fill copies the first n bytes of src into an empty message.
func (m *message) fill(src usermem.Sequence, n int) error {
	for n > 0 {
		b := newBlock(n)
		c, err := src.CopyIn(b.data[:min(n, len(b.data))])
		if c == 0 {
			b.free()
			return err
		}
		b.end = c
		m.size += c
		if m.last == nil {
			m.first = b
		} else {
			m.last.next = b
		}
		m.last = b
		if err != nil {
			return err
		}
		src = src.DropFirst(c)
		n -= c
	}
	return nil
}

// copyOut writes the message's bytes from skip on to dst, as many as fit, and leaves them.
func (m *message) copyOut(dst usermem.Sequence, skip int) (int, error) {
	done := 0
	for b := m.first; b != nil && dst.Len() > 0; b = b.next {
		if skip >= b.end-b.off {
			skip -= b.end - b.off
			continue
		}
		n, err := dst.CopyOut(b.data[b.off+skip : b.end])
		skip = 0
		done += n
		if err != nil {
			return done, err
		}
		dst = dst.DropFirst(n)
	}
	return done, nil
}

// drop takes n bytes off the front.
func (m *message) drop(n int) {
	m.size -= n
	for n > 0 {
		b := m.first
		l := min(n, b.end-b.off)
		b.off += l
		n -= l
		if b.off < b.end {
			return
		}
		if m.first = b.next; m.first == nil {
			m.last = nil
		}
		b.free()
	}
}

// join moves o's bytes behind m's if they may be one stretch of a stream; o is then empty
// and its charge is m's.
func (m *message) join(o *message) bool {
	if m.files != nil || o.files != nil || m.creds != o.creds || m.sender != o.sender || m.last == nil || o.first == nil {
		return false
	}
	if o.first == o.last && o.size <= len(m.last.data)-m.last.end {
		m.last.end += copy(m.last.data[m.last.end:], o.first.data[o.first.off:o.first.end])
	} else {
		// A chain of nearly empty blocks would take more memory than is charged.
		if 2*o.size < len(o.first.data) && o.first.class > 0 {
			return false
		}
		m.last.next, m.last = o.first, o.last
		o.first, o.last = nil, nil
	}
	m.size += o.size
	m.charge += o.size
	return true
}

// queue is what a socket has received and not read.
type queue struct {
	mu         sync.Mutex // guards the fields below
	head, tail *message
	length     int // messages
	bytes      int
	fds        int  // files in all messages
	closed     bool // takes no more
	// waiting are the sockets that want to hear when a full queue has room.
	waiting map[*Socket]struct{}
}

// push appends m; q.mu is held.
func (q *queue) push(m *message) {
	if q.tail == nil {
		q.head = m
	} else {
		q.tail.next = m
	}
	q.tail = m
	q.length++
	q.bytes += m.size
	q.fds += len(m.files)
}

// pop takes the first message; q.mu is held.
func (q *queue) pop() *message {
	m := q.head
	if q.head = m.next; q.head == nil {
		q.tail = nil
	}
	m.next = nil
	q.length--
	q.bytes -= m.size
	q.fds -= len(m.files)
	return m
}

// takeWaiting returns those who wait for room, if there is some; q.mu is held.
func (q *queue) takeWaiting(limit int) map[*Socket]struct{} {
	if q.waiting == nil || q.length > limit && !q.closed {
		return nil
	}
	w := q.waiting
	q.waiting = nil
	return w
}

func (q *queue) wait(s *Socket) {
	if q.waiting == nil {
		q.waiting = make(map[*Socket]struct{})
	}
	q.waiting[s] = struct{}{}
}

func wakeWriters(w map[*Socket]struct{}) {
	for s := range w {
		s.Notify(waiter.EventOut | waiter.EventWrNorm | waiter.EventWrBand)
	}
}

// charge counts n bytes in the send buffer of s.
func (s *Socket) charge(n int) { s.wmem.Add(int64(n)) }

// uncharge gives n bytes back, and wakes s if that makes it writable.
func (s *Socket) uncharge(n int) {
	if n == 0 {
		return
	}
	after := s.wmem.Add(int64(-n))
	quarter := int64(s.SendBuffer() / 4)
	if after <= quarter && after+int64(n) > quarter {
		s.Notify(waiter.EventOut | waiter.EventWrNorm | waiter.EventWrBand)
	}
}

// writable is Linux's rule for POLLOUT: at most a quarter of the send buffer is in use.
func (s *Socket) writable() bool { return s.wmem.Load() <= int64(s.SendBuffer()/4) }
