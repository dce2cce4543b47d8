// Package loopback is the link of the interface lo: what is written to it comes in again.
//
// Nothing is copied. The packet that the sender wrote is the one that the receiver gets, with
// its header slices cleared and its headers to be consumed anew; the bytes behind them are
// shared with the sender's queue and are read only, as everywhere. A checksum that the sender
// left to the link (buffer.ChecksumPartial) stays so, which says to the receiver that it needs
// no check, and a packet of 64 KiB that the sender left to the link to be cut up stays whole.
//
// WritePackets only queues. It runs in the middle of a transport, whose endpoint is locked;
// delivery there would call the peer, whose answer would come back to the lock, and two
// endpoints that send to each other would wait for each other for ever. So delivery belongs to
// one goroutine at a time, the drainer, which takes packets off the queue until it is empty and
// delivers them without any lock; what they bring forth is queued behind them, so that the
// depth of the stack does not grow with the length of a conversation. The drainer is
//
//   - the sender itself, when it has unlocked everything and calls Flush. That is the usual
//     case for sockets: packets that are marked buffer.Packet.Deferred promise it. The peer has
//     the packet when send(2) returns, and no goroutine is woken for the delivery. A sender does
//     so for budget packets; if there is still more (others send too), a goroutine goes on;
//   - a goroutine, started by the first packet that is not Deferred (timers, ICMP, resets) when
//     nobody drains. It ends when the queue is empty: an idle link has no goroutine at all.
//
// Packets are delivered in the order in which they were written. The queue has a limit in packets
// and in bytes, which the buffers of sockets stay under in practice; WritePackets drops what is
// over it, as Linux does with net.core.netdev_max_backlog.
//
// Locks: Endpoint.mu is a leaf. It is not held during delivery.
package loopback

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

const (
	// DefaultMTU is that of lo in Linux, in bytes.
	DefaultMTU = 65536

	// batchSize is how many packets are delivered by one call of the dispatcher.
	batchSize = 32
	// budget is how many packets Flush delivers before it leaves the rest to a goroutine.
	budget = 256
	// maxPackets and maxBytes bound the queue.
	maxPackets = 16384
	maxBytes   = 64 << 20
)

// Endpoint is a loopback link. It implements stack.LinkEndpoint and stack.Flusher.
type Endpoint struct {
	mtu atomic.Uint32
	// queued is the length of queue, written with mu held.
	queued atomic.Int64

	mu sync.Mutex // guards the fields below
	// idle is signalled when draining becomes false. Its lock is mu, set before it is waited for.
	idle       sync.Cond `state:"nosave"`
	dispatcher stack.LinkDispatcher
	closed     bool
	// draining: some goroutine is the drainer.
	draining bool
	// queue[head:] is what is to be delivered; bytes is its size.
	queue []*buffer.Packet
	head  int
	bytes int

	// batch belongs to the drainer.
	batch [batchSize]*buffer.Packet
}

var (
	_ stack.LinkEndpoint = (*Endpoint)(nil)
	_ stack.Flusher      = (*Endpoint)(nil)
)

// New makes a loopback link with the MTU of Linux.
func New() *Endpoint {
	e := &Endpoint{}
	e.mtu.Store(DefaultMTU)
	return e
}

// MTU implements stack.LinkEndpoint.
func (e *Endpoint) MTU() uint32 { return e.mtu.Load() }

// SetMTU implements stack.LinkEndpoint.
func (e *Endpoint) SetMTU(mtu uint32) { e.mtu.Store(mtu) }

// LinkAddress implements stack.LinkEndpoint: lo has none.
func (e *Endpoint) LinkAddress() tcpip.LinkAddress { return tcpip.LinkAddress{} }

// SetLinkAddress does nothing: no frame carries the address.
func (e *Endpoint) SetLinkAddress(tcpip.LinkAddress) {}

// Capabilities implements stack.LinkEndpoint.
func (e *Endpoint) Capabilities() stack.Capabilities {
	return stack.CapLoopback | stack.CapTXChecksum | stack.CapRXChecksum |
		stack.CapSegmentation | stack.CapUDPSegmentation
}

// MaxSegmentation implements stack.LinkEndpoint.
func (e *Endpoint) MaxSegmentation() uint32 { return buffer.MaxPacket }

// HardwareType is ARPHRD_LOOPBACK.
func (e *Endpoint) HardwareType() uint16 { return unix.ARPHRD_LOOPBACK }

// Attach implements stack.LinkEndpoint. Packets that are queued for the previous dispatcher are
// dropped. It waits for a delivery that is going on, so it must not be called from within one.
func (e *Endpoint) Attach(d stack.LinkDispatcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		d = nil
	}
	e.detach()
	e.dispatcher = d
}

// Close implements stack.LinkEndpoint. Like Attach, it waits for a delivery that is going on.
// Packets that are written afterwards are dropped.
func (e *Endpoint) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	e.detach()
}

// detach drops the queue and waits until nothing is being delivered. mu is held, and let go of
// meanwhile.
func (e *Endpoint) detach() {
	e.dispatcher = nil
	e.idle.L = &e.mu
	for {
		for _, p := range e.queue[e.head:] {
			p.Release()
		}
		clear(e.queue)
		e.queue, e.head, e.bytes = e.queue[:0], 0, 0
		e.queued.Store(0)
		if !e.draining {
			return
		}
		e.idle.Wait()
	}
}

// WritePackets implements stack.LinkEndpoint. ENOBUFS: the queue is full. A link that is not
// attached drops everything without an error.
func (e *Endpoint) WritePackets(pkts []*buffer.Packet) error {
	var err error
	start := false
	e.mu.Lock()
	if e.head > len(e.queue)/2 && len(e.queue)+len(pkts) > cap(e.queue) {
		n := copy(e.queue, e.queue[e.head:])
		clear(e.queue[n:])
		e.queue, e.head = e.queue[:n], 0
	}
	for _, p := range pkts {
		n := p.Len()
		if e.dispatcher == nil {
			p.Release()
			continue
		}
		if len(e.queue)-e.head >= maxPackets || e.bytes+n > maxBytes {
			p.Release()
			err = unix.ENOBUFS
			continue
		}
		start = start || !p.Deferred
		turnAround(p)
		e.queue = append(e.queue, p)
		e.bytes += n
	}
	e.queued.Store(int64(len(e.queue) - e.head))
	start = start && !e.draining
	if start {
		e.draining = true
	}
	e.mu.Unlock()
	if start {
		go e.drain(-1)
	}
	return err
}

// turnAround makes a packet that goes out one that comes in.
func turnAround(p *buffer.Packet) {
	// Bytes that somebody consumed of a packet on its way out would be missing.
	p.Unconsume(p.Consumed())
	p.LinkHeader, p.NetworkHeader, p.TransportHeader = nil, nil, nil
	p.HasLink = false
	p.Deferred = false
	if p.EtherType == 0 {
		if b, ok := p.Peek(1); ok && b[0]>>4 == 6 {
			p.EtherType = header.EtherTypeIPv6
		} else {
			p.EtherType = header.EtherTypeIPv4
		}
	}
}

// Flush implements stack.Flusher.
func (e *Endpoint) Flush() {
	if e.queued.Load() == 0 {
		return
	}
	e.mu.Lock()
	if e.draining || e.head == len(e.queue) {
		e.mu.Unlock()
		return
	}
	e.draining = true
	e.mu.Unlock()
	e.drain(budget)
}

// drain delivers until the queue is empty, and lets go of draining then. After limit packets,
// if it is not negative, it hands the rest to a goroutine.
func (e *Endpoint) drain(limit int) {
	for {
		e.mu.Lock()
		n := copy(e.batch[:], e.queue[e.head:])
		if n == 0 {
			e.draining = false
			e.idle.Broadcast()
			e.mu.Unlock()
			return
		}
		if limit == 0 {
			e.mu.Unlock()
			go e.drain(-1)
			return
		}
		for i, p := range e.batch[:n] {
			e.queue[e.head+i] = nil
			e.bytes -= p.Len()
		}
		e.head += n
		if e.head == len(e.queue) {
			e.queue, e.head = e.queue[:0], 0
		}
		e.queued.Store(int64(len(e.queue) - e.head))
		d := e.dispatcher // not nil: who sets it to nil empties the queue
		e.mu.Unlock()

		d.DeliverPackets(e.batch[:n])
		clear(e.batch[:n])
		if limit > 0 {
			limit = max(limit-n, 0)
		}
	}
}
