// Package pipe is a cable in memory, for tests of what is above the link: two Endpoints, each of
// which receives what is written to the other, after the cable has treated it as its Impairment
// says: late, slowly, in another order, twice, damaged or not at all.
//
// Time is a tcpip.Clock's. With a fake one nothing moves until the test advances it, even
// without any delay, and a run is repeated exactly by its seed: each direction has its own
// random numbers, and draws the same number of them for each packet, whatever befalls it.
//
// A packet is copied into memory of its own as it is written, as a wire would do: what comes out
// is one piece without pushed headers, and shares nothing with the sender's queues.
//
// Delivery is by the clock's timers (for the host's clock: on goroutines of their own), never
// within WritePackets, and by one at a time per direction. Locks: Endpoint.mu is a leaf; it is
// not held during delivery.
package pipe

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/internal/frame"
	"runsc/pkg/tcpip/stack"
)

// Impairment is what befalls the packets of one direction. The zero value is a perfect wire.
// Probabilities are from 0 to 1.
type Impairment struct {
	// Delay is how long a packet is on its way, Jitter up to how much longer. A packet does
	// not overtake another because of Jitter.
	Delay, Jitter time.Duration
	// Loss, Duplicate and Corrupt are the probabilities that a packet does not arrive, that it
	// arrives twice, and that one of its bits arrives flipped.
	Loss, Duplicate, Corrupt float64
	// Reorder is the probability that a packet is held back for ReorderDelay more, while
	// those behind it go on. ReorderDelay of 0 is a quarter of Delay and a millisecond.
	Reorder      float64
	ReorderDelay time.Duration
	// Rate is in bits per second; 0: without bound. Queue is how many bytes may wait for the
	// wire, DefaultQueue if 0; what comes then is dropped.
	Rate  int64
	Queue int
}

const (
	// DefaultQueue is in bytes.
	DefaultQueue = 1 << 20
	// maxFlight is how many packets a direction holds at most, whatever the delay.
	maxFlight = 1 << 16
	batchSize = 32
)

// Options is how to make a pipe. The zero value is one with IP packets, an MTU of 1500 and a
// perfect wire.
type Options struct {
	// Clock of nil is the host's.
	Clock tcpip.Clock
	// Seed of the random numbers.
	Seed uint64
	// MTU in bytes; 0: 1500.
	MTU uint32
	// Ethernet: packets have Ethernet headers, and neighbours are to be resolved. The ends
	// have the addresses 02:00:00:00:00:01 and 02.
	Ethernet bool
	// Offload is which of CapTXChecksum, CapRXChecksum, CapSegmentation and
	// CapUDPSegmentation both ends have. Such packets cross the pipe as they are.
	Offload stack.Capabilities
	// Forth is of packets from the first end to the second, Back of the others.
	Forth, Back Impairment
}

// Stats count packets that were written to the other end.
type Stats struct {
	// Written = Lost + Overflowed + those that come or came, Duplicated not included.
	Written, Lost, Overflowed            uint64
	Duplicated, Reordered, Corrupted     uint64
	Delivered, Undeliverable             uint64
	WrittenBytes, DeliveredBytes, Queued uint64
}

// Endpoint is one end. It implements stack.LinkEndpoint.
type Endpoint struct {
	clock    tcpip.Clock
	ethernet bool
	offload  stack.Capabilities
	peer     *Endpoint
	mtu      atomic.Uint32
	addr     atomic.Pointer[tcpip.LinkAddress]

	mu sync.Mutex // guards the fields below
	// idle is signalled when delivering becomes false.
	idle       sync.Cond
	dispatcher stack.LinkDispatcher
	closed     bool

	// The rest is the way towards this end.

	imp    Impairment
	random *rand.Rand
	stats  Stats
	// flight[head:] is on its way, by rising time of arrival; those of one moment by age.
	flight []arrival
	head   int
	// busyUntil is when the wire has sent what was written; last the latest arrival of a
	// packet that was not held back. Both of the monotonic clock.
	busyUntil, last time.Duration
	delivering      bool
	timer           tcpip.Timer
	batch           [batchSize]*buffer.Packet // belongs to who set delivering
}

// arrival is a packet on its way.
type arrival struct {
	at  time.Duration
	pkt *buffer.Packet
}

var _ stack.LinkEndpoint = (*Endpoint)(nil)

// New makes the two ends of a pipe.
func New(o Options) (*Endpoint, *Endpoint) {
	if o.Clock == nil {
		o.Clock = tcpip.RealClock{}
	}
	if o.MTU == 0 {
		o.MTU = 1500
	}
	var ends [2]*Endpoint
	for i := range ends {
		e := &Endpoint{clock: o.Clock, ethernet: o.Ethernet, offload: o.Offload, imp: o.Back}
		if i == 1 {
			e.imp = o.Forth
		}
		e.idle.L = &e.mu
		e.random = rand.New(rand.NewPCG(o.Seed, uint64(i)))
		e.mtu.Store(o.MTU)
		addr := tcpip.LinkAddress{}
		if o.Ethernet {
			addr = tcpip.LinkAddress{2, 0, 0, 0, 0, byte(i + 1)}
		}
		e.addr.Store(&addr)
		ends[i] = e
	}
	ends[0].peer, ends[1].peer = ends[1], ends[0]
	return ends[0], ends[1]
}

// MTU implements stack.LinkEndpoint. The pipe takes packets of any size.
func (e *Endpoint) MTU() uint32 { return e.mtu.Load() }

// SetMTU implements stack.LinkEndpoint.
func (e *Endpoint) SetMTU(mtu uint32) { e.mtu.Store(mtu) }

// LinkAddress implements stack.LinkEndpoint.
func (e *Endpoint) LinkAddress() tcpip.LinkAddress { return *e.addr.Load() }

// SetLinkAddress implements stack.LinkEndpoint.
func (e *Endpoint) SetLinkAddress(a tcpip.LinkAddress) { e.addr.Store(&a) }

// Capabilities implements stack.LinkEndpoint.
func (e *Endpoint) Capabilities() stack.Capabilities {
	if e.ethernet {
		return e.offload | stack.CapResolution
	}
	return e.offload
}

// MaxSegmentation implements stack.LinkEndpoint.
func (e *Endpoint) MaxSegmentation() uint32 { return buffer.MaxPacket }

// HardwareType is ARPHRD_ETHER, or ARPHRD_NONE without Ethernet headers.
func (e *Endpoint) HardwareType() uint16 {
	if e.ethernet {
		return unix.ARPHRD_ETHER
	}
	return unix.ARPHRD_NONE
}

// SetImpairment changes what befalls the packets that are written to this end from now on.
func (e *Endpoint) SetImpairment(imp Impairment) {
	d := e.peer
	d.mu.Lock()
	defer d.mu.Unlock()
	d.imp = imp
}

// Stats are of the packets written to this end.
func (e *Endpoint) Stats() Stats {
	d := e.peer
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.stats
	s.Queued = uint64(len(d.flight) - d.head)
	return s
}

// Attach implements stack.LinkEndpoint. It waits for a delivery that is going on. What arrives
// while nothing is attached is lost.
func (e *Endpoint) Attach(d stack.LinkDispatcher) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.dispatcher = nil
	for e.delivering {
		e.idle.Wait()
	}
	if !e.closed {
		e.dispatcher = d
	}
}

// Close implements stack.LinkEndpoint. What is on its way to this end is lost; what is on its way
// to the other arrives.
func (e *Endpoint) Close() {
	e.Attach(nil)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	for _, a := range e.flight[e.head:] {
		a.pkt.Release()
	}
	e.flight, e.head = nil, 0
	if e.timer != nil {
		e.timer.Stop()
	}
}

// WritePackets implements stack.LinkEndpoint. It never fails: a sender does not see what happens
// on the wire.
func (e *Endpoint) WritePackets(pkts []*buffer.Packet) error {
	e.mu.Lock()
	closed := e.closed
	e.mu.Unlock()
	d := e.peer
	d.mu.Lock()
	defer d.mu.Unlock()
	now := e.clock.Monotonic()
	for _, p := range pkts {
		if !closed && !d.closed {
			d.send(p, now)
		}
		p.Release()
	}
	if !d.delivering {
		d.arm(now)
	}
	return nil
}

// send puts copies of p on their way to e. e.mu is held.
func (e *Endpoint) send(p *buffer.Packet, now time.Duration) {
	imp, size := &e.imp, p.Len()
	e.stats.Written++
	e.stats.WrittenBytes += uint64(size)

	// All are drawn for every packet, so that what befalls one does not depend on others.
	lost := e.random.Float64() < imp.Loss
	twice := e.random.Float64() < imp.Duplicate
	damaged := e.random.Float64() < imp.Corrupt
	late := e.random.Float64() < imp.Reorder
	jitter := time.Duration(e.random.Float64() * float64(imp.Jitter))
	bit := e.random.Uint64()

	at := now
	if imp.Rate > 0 {
		e.busyUntil = max(e.busyUntil, now)
		limit := imp.Queue
		if limit == 0 {
			limit = DefaultQueue
		}
		wait := float64(e.busyUntil-now) / float64(time.Second)
		if int64(wait*float64(imp.Rate)/8)+int64(size) > int64(limit) {
			e.stats.Overflowed++
			return
		}
		e.busyUntil += time.Duration(float64(size) * 8 / float64(imp.Rate) * float64(time.Second))
		at = e.busyUntil
	}
	if lost { // on its way: it took its time on the wire
		e.stats.Lost++
		return
	}
	copies := 1
	if twice {
		copies = 2
	}
	if len(e.flight)-e.head+copies > maxFlight {
		e.stats.Overflowed++
		return
	}
	at = max(at+imp.Delay+jitter, e.last)
	if late {
		e.stats.Reordered++
		if imp.ReorderDelay > 0 {
			at += imp.ReorderDelay
		} else {
			at += imp.Delay/4 + time.Millisecond
		}
	} else {
		e.last = at
	}
	for i := range copies {
		c := transfer(p)
		if damaged && i == 0 && size > 0 {
			e.stats.Corrupted++
			corrupt(c, bit)
		}
		e.insert(arrival{at, c})
	}
	if twice {
		e.stats.Duplicated++
	}
}

// transfer returns a packet as it arrives at the other end.
func transfer(p *buffer.Packet) *buffer.Packet {
	v := buffer.NewView(p.Len())
	p.CopyTo(v.Bytes(), 0)
	c := buffer.NewWith(v)
	c.EtherType = p.EtherType
	c.Segmentation = p.Segmentation
	if p.Checksum == buffer.ChecksumPartial {
		c.Checksum, c.ChecksumOffset = p.Checksum, p.ChecksumOffset
		// Kept for corrupt; deliver sets it anew.
		c.NetworkHeader = v.Bytes()[:len(p.LinkHeader)+len(p.NetworkHeader)]
	}
	return c
}

// corrupt flips a bit of a packet that transfer made. A checksum that is still to be computed is
// computed before, as a card would do, so that it does not hide the damage.
func corrupt(p *buffer.Packet, bit uint64) {
	b, _ := p.Peek(p.Len())
	if start := len(p.NetworkHeader); p.Checksum == buffer.ChecksumPartial && start+int(p.ChecksumOffset)+2 <= len(b) {
		field := b[start+int(p.ChecksumOffset):]
		sum := checksum.Finish(checksum.Sum(b[start:], 0))
		if sum == 0 {
			sum = 0xffff // 0 is "none" for UDP and as good for the others
		}
		field[0], field[1] = byte(sum>>8), byte(sum)
	}
	p.Checksum = buffer.ChecksumUnknown
	bit %= uint64(len(b)) * 8
	b[bit/8] ^= 1 << (bit % 8)
}

// insert keeps flight in order.
func (e *Endpoint) insert(a arrival) {
	if e.head > len(e.flight)/2 && len(e.flight) == cap(e.flight) {
		e.flight = slices.Delete(e.flight, 0, e.head)
		e.head = 0
	}
	i := len(e.flight)
	for i > e.head && e.flight[i-1].at > a.at {
		i--
	}
	e.flight = slices.Insert(e.flight, i, a)
}

// arm sets the timer for the next arrival. e.mu is held.
func (e *Endpoint) arm(now time.Duration) {
	if e.head == len(e.flight) {
		return
	}
	d := max(e.flight[e.head].at-now, 0)
	if e.timer == nil {
		e.timer = e.clock.AfterFunc(d, e.deliver)
	} else {
		e.timer.Reset(d)
	}
}

// deliver is the timer's function: it delivers what has arrived.
func (e *Endpoint) deliver() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.delivering {
		return // the timer fired again meanwhile; the other one looks after it
	}
	for !e.closed {
		now := e.clock.Monotonic()
		n := 0
		for n < batchSize && e.head < len(e.flight) && e.flight[e.head].at <= now {
			p := e.flight[e.head].pkt
			e.flight[e.head].pkt = nil
			if e.head++; e.head == len(e.flight) {
				e.flight, e.head = e.flight[:0], 0
			}
			p.NetworkHeader = nil
			size := p.Len()
			if e.dispatcher == nil || e.ethernet && !frame.Open(p) {
				e.stats.Undeliverable++
				p.Release()
				continue
			}
			if !e.ethernet && p.EtherType == 0 && !frame.OpenIP(p) {
				p.EtherType = header.EtherTypeIPv4 // whose parser will say what is wrong
			}
			e.stats.Delivered++
			e.stats.DeliveredBytes += uint64(size)
			e.batch[n] = p
			n++
		}
		if n == 0 {
			e.arm(now)
			break
		}
		e.delivering = true
		d := e.dispatcher
		e.mu.Unlock()
		d.DeliverPackets(e.batch[:n])
		clear(e.batch[:n])
		e.mu.Lock()
		e.delivering = false
		e.idle.Broadcast()
	}
}
