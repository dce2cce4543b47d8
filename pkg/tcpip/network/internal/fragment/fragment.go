// Package fragment puts packets together again from their fragments (RFC 791 section 3.2, RFC
// 815, RFC 8200 section 4.5), for IPv4 and IPv6 alike.
//
// A Reassembler keeps, for each packet that is on its way, the fragments that came, sorted by
// their offsets. When they are complete, Add returns the packet. What senders can make it do is
// bounded: an entry lives for a fixed time from its first fragment on (RFC 1122 section 3.3.2,
// RFC 8200 section 4.5), all of them together keep a fixed amount of memory, and if a fragment
// needs more, the oldest packets are given up. Fragments that overlap others in any way but
// being the same are an attack, and their packet is given up (RFC 5722 section 4, RFC 8900
// section 3.7; Linux does so for IPv4 as well).
//
// The network protocol checks what its RFC says of a single fragment (lengths, what follows the
// fragment header), calls Add, and does the answers: an Owner hears of packets that were not
// complete in time.
//
// Locks: Reassembler.mu is a leaf; the Owner is called without it. One timer runs, and only while
// there are entries.
package fragment

import (
	"container/list"
	"net/netip"
	"slices"
	"sync"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
)

// Key is what the fragments of one packet have in common.
type Key struct {
	Source, Destination netip.Addr
	ID                  uint32
	// Protocol is a part of IPv4's key (RFC 791 section 3.2) and 0 in IPv6's.
	Protocol uint8
	// NIC keeps links apart, whose link-local addresses may be the same.
	NIC tcpip.NICID
}

// Owner is the network protocol.
type Owner interface {
	// ReassemblyExpired tells that a packet was not complete in time. first is its fragment
	// of offset 0, as it was given to Add, or nil if that did not come; the Owner takes it.
	// No lock is held.
	ReassemblyExpired(first *buffer.Packet)
}

// Outcome is what became of a fragment.
type Outcome int

const (
	// Waiting: the fragment was kept, or was there already.
	Waiting Outcome = iota
	// Complete: it was the last one that was missing.
	Complete
	// Failed: it does not fit to the others, or to the bounds, and was dropped, and so was
	// its packet, if it contradicts it.
	Failed
)

// Memory that an entry and a fragment take besides the packet, in bytes, roughly.
const (
	entryOverhead    = 256
	fragmentOverhead = 64
)

// MaxSize is the largest packet, in bytes from the first fragment's unconsumed bytes on.
const MaxSize = 65535

// Reassembler is the packets on their way to one stack by one protocol.
type Reassembler struct {
	clock     tcpip.Clock
	lifetime  time.Duration
	maxMemory int
	owner     Owner

	mu      sync.Mutex // guards the fields below
	entries map[Key]*list.Element
	order   list.List // of *entry, the oldest first
	memory  int
	timer   tcpip.Timer `state:"nosave"`
	armed   bool
	closed  bool
}

// entry is a packet that is not complete.
type entry struct {
	key     Key
	until   time.Duration // monotonic
	parts   []part        // by rising offset, without overlaps
	have    int           // bytes that the parts have
	total   int           // bytes of the whole, -1 as long as the last fragment is missing
	memory  int
	ecnSeen uint8 // bit i: some fragment had the ECN field i
}

type part struct {
	offset, size int
	pkt          *buffer.Packet
}

// New returns a Reassembler for packets that must be complete within lifetime and together take
// maxMemory bytes at most.
func New(clock tcpip.Clock, lifetime time.Duration, maxMemory int, owner Owner) *Reassembler {
	return &Reassembler{clock: clock, lifetime: lifetime, maxMemory: maxMemory, owner: owner, entries: map[Key]*list.Element{}}
}

// Add takes a fragment, whose headers are consumed: what is left is its part of the whole, which
// begins at offset bytes. more: others follow. A part that others follow is cut to a multiple of
// 8 bytes.
//
// When the packet is complete, it is returned: all the parts' bytes, nothing consumed, with the
// properties of the first fragment. NetworkHeader is a copy of the first fragment's that may be
// written and is not a part of the packet's bytes, since its fields are those of a fragment
// still; the other header slices are nil. TOS has the ECN field of all fragments together (RFC
// 3168 section 5.3).
func (r *Reassembler) Add(key Key, offset int, more bool, pkt *buffer.Packet) (*buffer.Packet, Outcome) {
	size := pkt.Len()
	if more {
		size &^= 7
	}
	if size == 0 || offset < 0 || offset+size > MaxSize {
		pkt.Release()
		return nil, Failed
	}
	pkt.Truncate(size)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		pkt.Release()
		return nil, Failed
	}
	at := r.entries[key]
	if at == nil {
		e := &entry{key: key, until: r.clock.Monotonic() + r.lifetime, total: -1, memory: entryOverhead}
		at = r.order.PushBack(e)
		r.entries[key] = at
		r.memory += e.memory
		r.arm()
	}
	e := at.Value.(*entry)
	outcome := e.add(part{offset, size, pkt}, more)
	switch outcome {
	case Failed:
		pkt.Release()
		r.drop(at)
		return nil, Failed
	case Waiting:
		pkt.Release() // a duplicate
		return nil, Waiting
	}
	n := pkt.Memory() + fragmentOverhead
	e.memory += n
	r.memory += n
	if e.total == e.have {
		r.remove(at)
		return e.join()
	}
	for r.memory > r.maxMemory {
		oldest := r.order.Front()
		r.drop(oldest)
		if oldest == at {
			return nil, Failed
		}
	}
	return nil, Waiting
}

// add puts p to its place. Complete: it is kept; Waiting: it is there already; Failed: the packet
// is to be given up.
func (e *entry) add(p part, more bool) Outcome {
	end := p.offset + p.size
	if e.total >= 0 && (end > e.total || !more && end != e.total) {
		return Failed
	}
	i := len(e.parts)
	if i > 0 && e.parts[i-1].offset >= p.offset {
		i, _ = slices.BinarySearchFunc(e.parts, p.offset, func(q part, offset int) int { return q.offset - offset })
	}
	if i < len(e.parts) {
		next := e.parts[i]
		if next.offset == p.offset && next.size == p.size {
			return Waiting
		}
		if end > next.offset || !more {
			return Failed
		}
	}
	if i > 0 {
		if prev := e.parts[i-1]; prev.offset+prev.size > p.offset {
			return Failed
		}
	}
	if !more {
		e.total = end
	}
	e.parts = slices.Insert(e.parts, i, p)
	e.have += p.size
	e.ecnSeen |= 1 << (p.pkt.TOS & 3)
	return Complete
}

// join makes the packet of the parts, which it takes.
func (e *entry) join() (*buffer.Packet, Outcome) {
	// RFC 3168 section 5.3: congestion that any fragment saw is kept, unless another one says
	// that the sender does not know of it.
	const notCapable, congested = 1 << 0, 1 << 3
	if e.ecnSeen&congested != 0 && e.ecnSeen&notCapable != 0 {
		e.release()
		return nil, Failed
	}
	first := e.parts[0].pkt
	out := buffer.New()
	out.CopyProperties(first)
	out.NetworkHeader = slices.Clone(first.NetworkHeader)
	out.Checksum = buffer.ChecksumUnknown
	out.Segmentation = buffer.Segmentation{}
	if e.ecnSeen&congested != 0 {
		out.TOS |= 3
	}
	for _, p := range e.parts {
		out.AppendFrom(p.pkt, 0, p.size)
	}
	e.release()
	return out, Complete
}

func (e *entry) release() {
	for _, p := range e.parts {
		p.pkt.Release()
	}
	e.parts = nil
}

// remove takes an entry out of the tables. r.mu is held.
func (r *Reassembler) remove(at *list.Element) *entry {
	e := r.order.Remove(at).(*entry)
	delete(r.entries, e.key)
	r.memory -= e.memory
	return e
}

// drop removes an entry with its fragments. r.mu is held.
func (r *Reassembler) drop(at *list.Element) { r.remove(at).release() }

// arm sets the timer for the oldest entry, if it is not set. r.mu is held.
func (r *Reassembler) arm() {
	if r.armed || r.order.Len() == 0 || r.closed {
		return
	}
	r.armed = true
	d := r.order.Front().Value.(*entry).until - r.clock.Monotonic()
	if r.timer == nil {
		r.timer = r.clock.AfterFunc(d, r.expire)
	} else {
		r.timer.Reset(d)
	}
}

// expire gives up what was not complete in time.
func (r *Reassembler) expire() {
	var over []*entry
	r.mu.Lock()
	r.armed = false
	now := r.clock.Monotonic()
	for at := r.order.Front(); at != nil && at.Value.(*entry).until <= now; at = r.order.Front() {
		over = append(over, r.remove(at))
	}
	r.arm()
	r.mu.Unlock()
	for _, e := range over {
		var first *buffer.Packet
		if len(e.parts) > 0 && e.parts[0].offset == 0 {
			first = e.parts[0].pkt
			e.parts = e.parts[1:]
		}
		e.release()
		r.owner.ReassemblyExpired(first)
	}
}

// Memory is what the fragments keep now, in bytes.
func (r *Reassembler) Memory() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.memory
}

// Close drops everything and stops the timer. Add fails then.
func (r *Reassembler) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for r.order.Len() > 0 {
		r.drop(r.order.Front())
	}
	if r.timer != nil {
		r.timer.Stop()
	}
}
