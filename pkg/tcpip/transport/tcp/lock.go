package tcp

import (
	"sync"
	"sync/atomic"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/stack"
)

// backlog is what came for an endpoint while somebody held its lock. It is bounded by the
// endpoint's buffers; what does not fit is lost, as on a full link.
type backlog struct {
	waiting atomic.Int32 // len(items), to be looked at without mu

	mu     sync.Mutex // guards the fields below
	memory int
	items  []arrival
	spare  []arrival
}

// arrival is a segment or an error for an endpoint.
type arrival struct {
	conn *conn // that it came by; nil: the listener's binding
	id   stack.TransportID
	pkt  *buffer.Packet
	err  *stack.TransportError
	seq  uint32 // quoted by err; or where a new connection's numbers begin
}

const backlogSlack = 64 << 10

// maxUnlockRounds is how often unlock looks for more in the backlog.
const maxUnlockRounds = 16

// lock takes e.mu and looks at the clock.
func (e *Endpoint) lock() {
	e.mu.Lock()
	e.now = e.clock.Monotonic()
}

// look takes e.mu without looking at the clock, which costs more than the rest of a short call does:
// for who only looks, and sends nothing. e.now is that of some earlier moment.
func (e *Endpoint) look() { e.mu.Lock() }

// unlock works off the backlog, releases e.mu, and then does what must not be done under it:
// waiters are told, packets for this host delivered. The caller holds no other lock of the
// package that a segment's receiver takes.
func (e *Endpoint) unlock() {
	for rounds := 1; ; rounds++ {
		if e.backlog.waiting.Load() > 0 {
			e.now = e.clock.Monotonic()
			e.drain()
		}
		events, route := e.events, e.deferred
		e.events, e.deferred = 0, nil
		e.mu.Unlock()
		if events != 0 {
			e.queue.Notify(events)
		}
		if route != nil {
			route.Flush()
		}
		// What was added before mu was released is seen here; who adds later finds mu free.
		if e.backlog.waiting.Load() == 0 {
			return
		}
		if rounds == maxUnlockRounds {
			// It does not end: the caller has something else to do.
			go func() {
				e.lock()
				e.unlock()
			}()
			return
		}
		if !e.mu.TryLock() {
			return
		}
	}
}

// arrive handles a now, or leaves it to whoever holds e.mu.
func (e *Endpoint) arrive(a arrival) {
	if e.mu.TryLock() {
		e.now = e.clock.Monotonic()
		if e.backlog.waiting.Load() > 0 {
			e.drain() // which came before
		}
		e.handle(&a)
		e.unlock()
		return
	}
	b := &e.backlog
	b.mu.Lock()
	if a.pkt != nil {
		m := a.pkt.Memory()
		if b.memory+m > e.receiveBuffer()+e.sendBuffer()+backlogSlack {
			b.mu.Unlock()
			a.pkt.Release()
			e.stack.Stats().TCP.TCPRcvQDrop.Inc()
			return
		}
		b.memory += m
	} else if len(b.items) > 1000 {
		b.mu.Unlock()
		return
	}
	b.items = append(b.items, a)
	b.waiting.Add(1)
	b.mu.Unlock()
	if e.mu.TryLock() {
		e.unlock()
	}
}

// drain handles everything in the backlog. e.mu is held.
func (e *Endpoint) drain() {
	b := &e.backlog
	for {
		b.mu.Lock()
		items := b.items
		if len(items) == 0 {
			b.mu.Unlock()
			return
		}
		b.items, b.spare = b.spare[:0], nil
		b.memory = 0
		b.waiting.Add(-int32(len(items)))
		b.mu.Unlock()
		for i := range items {
			e.handle(&items[i])
			items[i] = arrival{}
		}
		b.mu.Lock()
		if cap(items) <= 256 {
			b.spare = items[:0]
		}
		b.mu.Unlock()
	}
}

// handle processes one arrival, whose packet it takes. e.mu is held.
func (e *Endpoint) handle(a *arrival) {
	if a.conn != e.conn {
		// The connection has ended meanwhile; TIME-WAIT may have what is left of it.
		if a.pkt != nil && a.conn != nil {
			e.proto.handleTimeWait(a.conn, a.id, a.pkt)
		} else if a.pkt != nil {
			a.pkt.Release()
		}
		return
	}
	if a.pkt == nil {
		e.handleError(a)
		return
	}
	var s segment
	if !s.parse(a.pkt) {
		e.stack.Stats().TCP.InErrs.Inc()
		a.pkt.Release()
		return
	}
	switch {
	case e.state == StateListen:
		if e.listener.forward(a, &s) {
			return
		}
		e.listener.handle(&a.id, &s, a.seq)
	case a.conn == nil:
		e.proto.replyReset(nil, &a.id, &s) // it listens no more
	default:
		e.handleSegment(&s)
	}
	a.pkt.Release()
}
