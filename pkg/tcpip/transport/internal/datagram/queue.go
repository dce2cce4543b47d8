package datagram

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
)

// Item is a packet in a Queue, with what its header said. What Receive shows is what is not
// consumed of it.
type Item struct {
	Packet *buffer.Packet
	// SourcePort and DestinationPort are the transport header's.
	SourcePort, DestinationPort uint16
	// SegmentSize: the packet is datagrams of this size; 0: it is one.
	SegmentSize uint16
	// Length is that of the packet before a filter cut it, of packet sockets only.
	Length uint32
	// dropped is the number of drops when the item was queued; memory what it is charged.
	dropped uint32
	memory  int
	// peeked: an empty datagram was shown to who peeks from an offset on, and is passed over
	// from then on.
	peeked bool
}

// queuedError is an entry of the error queue.
type queuedError struct {
	tcpip.QueuedError
	// data is what the error quotes of the packet that was sent.
	data   []byte
	memory int
}

// errorMemory is what an error is charged besides its data, in bytes.
const errorMemory = 256

// Queue holds what a socket has received and what it has to be told, in the order of arrival. The
// zero Queue is empty and ready.
//
// It is bounded by the memory that it keeps (buffer.Packet.Memory), as SO_RCVBUF is in Linux: a
// packet is dropped if it would make that exceed the limit, unless there is nothing else, so that
// a limit smaller than one packet does not make the socket deaf. Errors count too, but never
// come first. When memory gets short packets are moved to chunks of their size.
type Queue struct {
	// memory is written with mu held; count, errors, pending and drops are for readers
	// without it.
	memory  atomic.Int64
	count   atomic.Int32
	errors  atomic.Int32
	pending atomic.Uint32 // SO_ERROR, an errno
	drops   atomic.Uint32

	mu sync.Mutex // guards the fields below
	// ring[head:head+count] modulo its length, a power of two, is what has come.
	ring   []Item
	head   int
	errs   []queuedError
	closed bool
}

const (
	minRing = 16
	// maxIdleRing is the longest ring, in items, that an empty queue keeps.
	maxIdleRing = 1024
)

// Push queues a packet, which it takes, unless limit bytes would be exceeded; then it counts a drop
// and returns false. A closed queue swallows everything.
func (q *Queue) Push(it Item, limit int64) bool {
	if q.memory.Load() > limit/2 {
		it.Packet.Compact()
	}
	it.memory = it.Packet.Memory()
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		it.Packet.Release()
		return true
	}
	used := q.memory.Load()
	if used > 0 && used+int64(it.memory) > limit {
		q.drops.Add(1)
		q.mu.Unlock()
		it.Packet.Release()
		return false
	}
	n := int(q.count.Load())
	if n == len(q.ring) {
		q.grow(n)
	}
	it.dropped = q.drops.Load()
	q.ring[(q.head+n)&(len(q.ring)-1)] = it
	q.memory.Store(used + int64(it.memory))
	q.count.Store(int32(n + 1))
	q.mu.Unlock()
	return true
}

func (q *Queue) grow(n int) {
	ring := make([]Item, max(2*n, minRing))
	for i := range n {
		ring[i] = q.ring[(q.head+i)&(n-1)]
	}
	q.ring, q.head = ring, 0
}

// Pop takes the oldest item. Its packet is the caller's.
func (q *Queue) Pop() (Item, bool) {
	if q.count.Load() == 0 {
		return Item{}, false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	n := int(q.count.Load())
	if n == 0 {
		return Item{}, false
	}
	it := q.ring[q.head]
	q.ring[q.head] = Item{}
	q.head = (q.head + 1) & (len(q.ring) - 1)
	q.count.Store(int32(n - 1))
	q.memory.Add(-int64(it.memory))
	if n == 1 && len(q.ring) > maxIdleRing {
		q.ring, q.head = nil, 0
	}
	return it, true
}

// Peek returns a copy of the item that has byte offset of all that is queued, with the offset
// within it (SO_PEEK_OFF); offset 0 is the oldest item, even an empty one. The packet is a clone
// and the caller's.
func (q *Queue) Peek(offset int) (Item, int, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	from := offset
	for i := range int(q.count.Load()) {
		it := &q.ring[(q.head+i)&(len(q.ring)-1)]
		n := it.Packet.Len()
		if n <= offset && (n > 0 || offset > 0 || it.peeked && from > 0) {
			offset -= n
			continue
		}
		it.peeked = n == 0
		shown := *it
		shown.Packet = it.Packet.Clone()
		return shown, offset, true
	}
	return Item{}, 0, false
}

// NextLen is the length of the oldest item in bytes, as Receive shows it; 0 if there is none.
func (q *Queue) NextLen() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.count.Load() == 0 {
		return 0
	}
	return q.ring[q.head].Packet.Len()
}

// Len is the number of packets; Memory what they and the errors keep, in bytes.
func (q *Queue) Len() int      { return int(q.count.Load()) }
func (q *Queue) Memory() int64 { return q.memory.Load() }

// Drops is how many packets were dropped.
func (q *Queue) Drops() uint32 { return q.drops.Load() }

// CountDrop counts a packet that was dropped by somebody else.
func (q *Queue) CountDrop() { q.drops.Add(1) }

// PushError appends to the error queue, within limit bytes for all of the Queue. data is copied.
// false: there is no room, and nothing was queued.
func (q *Queue) PushError(e tcpip.QueuedError, data []byte, limit int64) bool {
	m := errorMemory + len(data)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.memory.Load()+int64(m) >= limit {
		return false
	}
	q.errs = append(q.errs, queuedError{e, append([]byte(nil), data...), m})
	q.errors.Store(int32(len(q.errs)))
	q.memory.Add(int64(m))
	return true
}

// PopError takes the oldest error with what it quotes. The pending error becomes that of the next
// error of the network in the queue; without one it is cleared, if this one was of the network.
func (q *Queue) PopError() (tcpip.QueuedError, []byte, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.errs) == 0 {
		return tcpip.QueuedError{}, nil, false
	}
	e := q.errs[0]
	q.errs[0] = queuedError{}
	if q.errs = q.errs[1:]; len(q.errs) == 0 {
		q.errs = nil
	}
	q.errors.Store(int32(len(q.errs)))
	q.memory.Add(-int64(e.memory))
	if len(q.errs) > 0 && fromNetwork(q.errs[0].Origin) {
		q.pending.Store(q.errs[0].Errno)
	} else if fromNetwork(e.Origin) {
		q.pending.Store(0)
	}
	return e.QueuedError, e.data, true
}

// SetPending makes errno the pending error.
func (q *Queue) SetPending(errno unix.Errno) { q.pending.Store(uint32(errno)) }

// TakePending returns the pending error and clears it; nil: there is none.
func (q *Queue) TakePending() error {
	if q.pending.Load() == 0 {
		return nil
	}
	if n := q.pending.Swap(0); n != 0 {
		return unix.Errno(n)
	}
	return nil
}

// Failed says whether poll(2) shows POLLERR: an error is pending or queued.
func (q *Queue) Failed() bool { return q.pending.Load() != 0 || q.errors.Load() != 0 }

// Close drops everything, now and from now on.
func (q *Queue) Close() {
	q.mu.Lock()
	ring, head, n := q.ring, q.head, int(q.count.Load())
	q.closed = true
	q.ring, q.head, q.errs = nil, 0, nil
	q.count.Store(0)
	q.errors.Store(0)
	q.memory.Store(0)
	q.mu.Unlock()
	for i := range n {
		ring[(head+i)&(len(ring)-1)].Packet.Release()
	}
}
