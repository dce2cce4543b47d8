package stack

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
)

// Times and counts of neighbour unreachability detection (RFC 4861 section 10), which ARP
// entries go by too, as in Linux (net.ipv4.neigh.*).
const (
	reachableTime     = 30 * time.Second // times a random factor of 0.5 to 1.5
	retransmitTime    = time.Second
	delayFirstProbe   = 5 * time.Second
	maxMulticastProbe = 3
	maxUnicastProbe   = 3
)

// Bounds, since whoever is on the link decides how many neighbours there seem to be.
const (
	// neighbourLimit is the number of entries of an interface (gc_thresh3).
	neighbourLimit = 1024
	// evictAtOnce is how many are thrown out when it is reached.
	evictAtOnce = neighbourLimit / 16
	// pendingLimit and pendingMemory bound the packets that wait for one neighbour, and
	// pendingMemoryAll those of an interface, in bytes.
	pendingLimit     = 128
	pendingMemory    = 212992
	pendingMemoryAll = 4 << 20
)

// neighbourTable is the neighbours of a NIC.
type neighbourTable struct {
	table[netip.Addr, *neighbour]
	mu      sync.Mutex // guards changes of the table
	pending atomic.Int64
	// reachable6 and retransmit6 are what SetNeighbourTimes6 set, as time.Duration; 0: the
	// defaults.
	reachable6, retransmit6 atomic.Int64
}

// SetNeighbourTimes6 sets how long an IPv6 neighbour counts as reachable, but for a random factor,
// and the time between two questions for it; 0: RFC 4861's. A router may advertise them (RFC 4861
// section 6.3.4). They hold for times that begin later.
func (n *NIC) SetNeighbourTimes6(reachable, retransmit time.Duration) {
	n.neighbours.reachable6.Store(int64(reachable))
	n.neighbours.retransmit6.Store(int64(retransmit))
}

// full says whether there are so many entries that no more may be set by hand.
func (t *neighbourTable) full() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n >= permanentLimit
}

// neighbour is an entry. Its link address and state are one word, so that a packet reads both
// without a lock.
type neighbour struct {
	nic  *NIC
	addr netip.Addr

	word atomic.Uint64 // link address << 16 | state
	// confirmed is set by upper layers and by answers, used by senders; the timer and the
	// eviction look at them and clear them.
	confirmed, used atomic.Bool

	mu       sync.Mutex // guards the fields below
	pending  []pendingPacket
	memory   int
	timer    tcpip.Timer   `state:"nosave"`
	deadline time.Duration // when the timer is meant to run; 0: not
	probes   int
	updated  time.Duration
	router   bool
	gone     bool // it is not in the table any more
}

type pendingPacket struct {
	pkt       *buffer.Packet
	etherType uint16
	memory    int // what it counts for
}

func pack(link tcpip.LinkAddress, state NeighbourState) uint64 {
	var w uint64
	for _, b := range link {
		w = w<<8 | uint64(b)
	}
	return w<<16 | uint64(state)
}

func unpack(w uint64) (link tcpip.LinkAddress, state NeighbourState) {
	for i := range link {
		link[i] = byte(w >> (56 - 8*i))
	}
	return link, NeighbourState(w)
}

func (e *neighbour) state() NeighbourState { return NeighbourState(e.word.Load()) }

// usable states have a link address that packets are sent to.
const usableStates = NeighbourReachable | NeighbourStale | NeighbourDelay | NeighbourProbe |
	NeighbourNoARP | NeighbourPermanent

// neighbour returns the entry of addr, or nil.
func (n *NIC) neighbour(addr netip.Addr) *neighbour {
	return n.neighbours.get(n.stack.keys.addr(addr), addr)
}

// obtainNeighbour returns the entry of addr, a new one (state 0) if there is none.
func (n *NIC) obtainNeighbour(addr netip.Addr) *neighbour {
	h := n.stack.keys.addr(addr)
	t := &n.neighbours
	if e := t.get(h, addr); e != nil {
		return e
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if e := t.get(h, addr); e != nil {
		return e
	}
	if t.n >= neighbourLimit {
		n.evictNeighbours()
	}
	e := &neighbour{nic: n, addr: addr}
	t.put(h, addr, e)
	return e
}

// evictNeighbours throws out the entries that are missed least: failed ones, then those whose
// address nobody can use or used lately. The table's lock is held.
func (n *NIC) evictNeighbours() {
	type candidate struct {
		e    *neighbour
		cost int
	}
	var list []candidate
	n.neighbours.each(func(_ netip.Addr, e *neighbour) bool {
		cost := 0
		switch used := e.used.Swap(false); e.state() {
		case NeighbourPermanent, NeighbourNoARP:
			return true
		case 0, NeighbourFailed:
		case NeighbourIncomplete:
			cost = 2
		case NeighbourStale:
			cost = 1
			if used {
				cost = 3
			}
		default:
			cost = 4
			if used {
				cost = 5
			}
		}
		list = append(list, candidate{e, cost})
		return true
	})
	slices.SortFunc(list, func(a, b candidate) int { return a.cost - b.cost })
	for _, c := range list[:min(len(list), evictAtOnce)] {
		n.neighbours.remove(n.stack.keys.addr(c.e.addr), c.e.addr)
		c.e.end()
	}
}

// end takes an entry out of work: it is out of the table.
func (e *neighbour) end() {
	e.mu.Lock()
	e.gone = true
	e.disarm()
	dropped := e.takePending()
	e.mu.Unlock()
	for _, p := range dropped {
		p.pkt.Release()
	}
}

// takePending empties the queue. e.mu is held.
func (e *neighbour) takePending() []pendingPacket {
	list := e.pending
	e.nic.neighbours.pending.Add(int64(-e.memory))
	e.pending, e.memory = nil, 0
	return list
}

// resolve returns the link address of addr. If it is not known, pkts, of which it takes none
// otherwise, wait for it, and false is returned.
func (n *NIC) resolve(addr netip.Addr, etherType uint16, pkts []*buffer.Packet) (tcpip.LinkAddress, bool) {
	e := n.neighbour(addr)
	if e == nil {
		e = n.obtainNeighbour(addr)
	}
	for {
		w := e.word.Load()
		if !e.used.Load() {
			e.used.Store(true)
		}
		if w&uint64(usableStates) != 0 && w&uint64(NeighbourStale) == 0 {
			link, _ := unpack(w)
			return link, true
		}
		link, known, gone := e.resolve(etherType, pkts)
		if !gone {
			return link, known
		}
		e = n.obtainNeighbour(addr)
	}
}

// resolve is the slow part: the entry is stale, or has no link address.
func (e *neighbour) resolve(etherType uint16, pkts []*buffer.Packet) (tcpip.LinkAddress, bool, bool) {
	e.mu.Lock()
	if e.gone {
		e.mu.Unlock()
		return tcpip.LinkAddress{}, false, true
	}
	link, state := unpack(e.word.Load())
	if state == NeighbourStale {
		// RFC 4861 section 7.3.3: use it, and see whether it answers.
		e.set(link, NeighbourDelay)
		e.arm(delayFirstProbe)
		c := e.change()
		e.mu.Unlock()
		e.nic.stack.notify(c...)
		return link, true, false
	}
	if state&usableStates != 0 {
		e.mu.Unlock()
		return link, true, false
	}
	var dropped []*buffer.Packet
	for _, p := range pkts {
		// A fragment counts for its part of the packet only, so that a large datagram is not
		// too much.
		dropped = e.enqueue(pendingPacket{p, etherType, p.MemoryShare()}, dropped)
	}
	var c []Change
	start := state != NeighbourIncomplete
	source := pkts[0].Source
	if start {
		e.set(tcpip.LinkAddress{}, NeighbourIncomplete)
		e.probes = 1
		e.arm(e.retransmitTime())
		c = e.change()
	}
	e.mu.Unlock()
	for _, p := range dropped {
		e.nic.stats.TXDropped.Inc()
		p.Release()
	}
	if start {
		e.nic.stack.notify(c...)
		e.solicit(source, tcpip.LinkAddress{})
	}
	return tcpip.LinkAddress{}, false, false
}

// enqueue keeps a packet, at the cost of the oldest ones (RFC 4861 section 7.2.2). e.mu is held.
func (e *neighbour) enqueue(p pendingPacket, dropped []*buffer.Packet) []*buffer.Packet {
	all := &e.nic.neighbours.pending
	for len(e.pending) > 0 && (len(e.pending) >= pendingLimit || e.memory+p.memory > pendingMemory) {
		first := e.pending[0]
		e.pending = e.pending[1:]
		e.memory -= first.memory
		all.Add(-int64(first.memory))
		dropped = append(dropped, first.pkt)
	}
	if all.Add(int64(p.memory)) > pendingMemoryAll {
		all.Add(-int64(p.memory))
		return append(dropped, p.pkt)
	}
	e.pending = append(e.pending, p)
	e.memory += p.memory
	return dropped
}

// solicit asks for the address, by unicast if to is not zero. No lock is held.
func (e *neighbour) solicit(source netip.Addr, to tcpip.LinkAddress) {
	n := e.nic
	ep := n.internet(e.addr)
	if ep == nil {
		return
	}
	if !source.IsValid() || source.Is6() != e.addr.Is6() || !n.stack.IsLocal(0, source) || source.Is6() && !n.HasAddress(source) {
		source = n.SourceFor(e.addr)
	}
	ep.Solicit(e.addr, source, to)
}

// set changes link address and state. e.mu is held.
func (e *neighbour) set(link tcpip.LinkAddress, state NeighbourState) {
	e.word.Store(pack(link, state))
	e.updated = e.nic.stack.clock.Monotonic()
	e.disarm()
}

// reachable makes the entry so. e.mu is held.
func (e *neighbour) reachable(link tcpip.LinkAddress) {
	e.confirmed.Store(false)
	e.set(link, NeighbourReachable)
	e.arm(e.reachableTime())
}

// reachableTime is a new random one (RFC 4861 section 6.3.2).
func (e *neighbour) reachableTime() time.Duration {
	d := e.time6(&e.nic.neighbours.reachable6, reachableTime)
	return d/2 + time.Duration(e.nic.stack.Random()%uint64(d))
}

// retransmitTime is how long to wait for an answer.
func (e *neighbour) retransmitTime() time.Duration {
	return e.time6(&e.nic.neighbours.retransmit6, retransmitTime)
}

// time6 is the time set if there is one and the entry is IPv6's, and otherwise is the default.
func (e *neighbour) time6(set *atomic.Int64, otherwise time.Duration) time.Duration {
	if d := time.Duration(set.Load()); d > 0 && e.addr.Is6() {
		return d
	}
	return otherwise
}

// arm sets the timer. e.mu is held.
func (e *neighbour) arm(d time.Duration) {
	clock := e.nic.stack.clock
	e.deadline = clock.Monotonic() + d
	if e.timer == nil {
		e.timer = clock.AfterFunc(d, e.expire)
	} else {
		e.timer.Reset(d)
	}
}

// disarm stops the timer. e.mu is held.
func (e *neighbour) disarm() {
	if e.deadline != 0 {
		e.deadline = 0
		e.timer.Stop()
	}
}

// change is what observers are told. e.mu is held.
func (e *neighbour) change() []Change {
	if !e.nic.stack.observed() {
		return nil
	}
	c := e.export()
	return []Change{{Neighbour: &c, On: e.nic}}
}

func (e *neighbour) export() Neighbour {
	link, state := unpack(e.word.Load())
	return Neighbour{Addr: e.addr, Link: link, State: state, Router: e.router, Updated: e.updated}
}

// expire is what the timer does.
func (e *neighbour) expire() {
	e.mu.Lock()
	if e.gone || e.deadline == 0 || e.nic.stack.clock.Monotonic() < e.deadline {
		e.mu.Unlock() // it was set anew while this call was on its way
		return
	}
	e.deadline = 0
	link, state := unpack(e.word.Load())
	var failed []pendingPacket
	ask := false
	to := tcpip.LinkAddress{}
	switch state {
	case NeighbourReachable:
		if e.confirmed.Swap(false) {
			e.arm(e.reachableTime())
			e.mu.Unlock()
			return
		}
		e.set(link, NeighbourStale)
	case NeighbourDelay:
		if e.confirmed.Swap(false) {
			e.reachable(link)
			break
		}
		e.set(link, NeighbourProbe)
		e.probes, ask, to = 1, true, link
		e.arm(e.retransmitTime())
	case NeighbourProbe:
		if e.probes >= maxUnicastProbe {
			e.set(tcpip.LinkAddress{}, NeighbourFailed)
			break
		}
		e.probes++
		ask, to = true, link
		e.arm(e.retransmitTime())
	case NeighbourIncomplete:
		if e.probes >= maxMulticastProbe {
			e.set(tcpip.LinkAddress{}, NeighbourFailed)
			failed = e.takePending()
			break
		}
		e.probes++
		ask = true
		e.arm(e.retransmitTime())
	}
	var source netip.Addr
	if len(e.pending) > 0 {
		source = e.pending[0].pkt.Source
	}
	var c []Change
	if e.state() != state {
		c = e.change()
	}
	e.mu.Unlock()
	e.nic.stack.notify(c...)
	if ask {
		e.solicit(source, to)
	}
	for _, p := range failed {
		e.unreachable(p.pkt)
	}
}

// unreachable tells the sender of a packet that waited in vain (RFC 1122 section 2.3.2.2, RFC
// 4861 section 7.2.2).
func (e *neighbour) unreachable(pkt *buffer.Packet) {
	e.nic.stats.TXDropped.Inc()
	if ep := e.nic.internet(e.addr); ep != nil {
		pkt.NIC = e.nic.id
		if _, ok := pkt.Consume(len(pkt.NetworkHeader) + len(pkt.TransportHeader)); ok {
			ep.SendError(ICMPError{Kind: ErrorHostUnreachable}, pkt)
		}
	}
	pkt.Release()
}

// flush sends what waited. No lock is held.
func (e *neighbour) flush(link tcpip.LinkAddress, list []pendingPacket) {
	for _, p := range list {
		e.nic.WriteTo(link, p.etherType, p.pkt)
	}
}

// ConfirmNeighbour tells that addr has the link address link: solicited by an answer to
// Solicit, else by something the neighbour sent. override: replace another address.
// isRouter as RFC 4861 section 7.2.5. A zero link is none.
func (n *NIC) ConfirmNeighbour(addr netip.Addr, link tcpip.LinkAddress, solicited, override, isRouter bool) {
	e := n.neighbour(addr)
	if e == nil {
		return
	}
	e.mu.Lock()
	old, state := unpack(e.word.Load())
	given := link != tcpip.LinkAddress{}
	var send []pendingPacket
	switch {
	case e.gone || state == NeighbourPermanent || state == NeighbourNoARP:
		e.mu.Unlock()
		return
	case state&usableStates == 0:
		if !given {
			e.mu.Unlock()
			return
		}
		e.router = isRouter
		if solicited {
			e.reachable(link)
		} else {
			e.set(link, NeighbourStale)
		}
		send = e.takePending()
	case given && link != old && !override:
		if state != NeighbourReachable {
			e.mu.Unlock()
			return
		}
		e.set(old, NeighbourStale)
		link = old
	default:
		changed := given && link != old
		if !given {
			link = old
		}
		e.router = isRouter
		switch {
		case solicited:
			e.reachable(link)
		case changed:
			e.set(link, NeighbourStale)
		}
	}
	c := e.change()
	e.mu.Unlock()
	n.stack.notify(c...)
	e.flush(link, send)
}

// LearnNeighbour makes or updates an entry as stale, from a request that came (RFC 826, RFC
// 4861 section 7.2.3).
func (n *NIC) LearnNeighbour(addr netip.Addr, link tcpip.LinkAddress) {
	e := n.obtainNeighbour(addr)
	e.mu.Lock()
	old, state := unpack(e.word.Load())
	if e.gone || state == NeighbourPermanent || state == NeighbourNoARP || state&usableStates != 0 && old == link {
		e.mu.Unlock()
		return
	}
	send := e.takePending()
	if len(send) > 0 {
		// What waits is sent to a stale entry, which is then verified.
		e.set(link, NeighbourDelay)
		e.arm(delayFirstProbe)
	} else {
		e.set(link, NeighbourStale)
	}
	c := e.change()
	e.mu.Unlock()
	n.stack.notify(c...)
	e.flush(link, send)
}

// confirmByUpperLayer is progress of a connection: the neighbour gets what it is sent (RFC 4861
// section 7.3.1). It costs a look-up as long as the entry is known to be reachable.
func (n *NIC) confirmByUpperLayer(addr netip.Addr) {
	if n.caps&CapResolution == 0 {
		return
	}
	e := n.neighbour(addr)
	if e == nil {
		return
	}
	if !e.confirmed.Load() {
		e.confirmed.Store(true)
	}
	if e.state()&(NeighbourStale|NeighbourDelay|NeighbourProbe) == 0 {
		return
	}
	e.mu.Lock()
	link, state := unpack(e.word.Load())
	if e.gone || state&(NeighbourStale|NeighbourDelay|NeighbourProbe) == 0 {
		e.mu.Unlock()
		return
	}
	e.reachable(link)
	c := e.change()
	e.mu.Unlock()
	n.stack.notify(c...)
}

// SetRouter sets whether the entry, if there is one, is a router's (RFC 4861 section 6.3.4).
func (n *NIC) SetRouter(addr netip.Addr, isRouter bool) {
	if e := n.neighbour(addr); e != nil {
		e.mu.Lock()
		e.router = isRouter
		e.mu.Unlock()
	}
}

// Neighbour returns the entry of addr.
func (n *NIC) Neighbour(addr netip.Addr) (Neighbour, bool) {
	e := n.neighbour(addr)
	if e == nil {
		return Neighbour{}, false
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.export(), true
}

// Neighbours is the table, in order of addresses. SetNeighbour sets an entry by hand (permanent,
// or as State says). RemoveNeighbour: ENOENT.
func (n *NIC) Neighbours() []Neighbour {
	var list []Neighbour
	n.neighbours.each(func(_ netip.Addr, e *neighbour) bool {
		e.mu.Lock()
		list = append(list, e.export())
		e.mu.Unlock()
		return true
	})
	slices.SortFunc(list, func(a, b Neighbour) int { return a.Addr.Compare(b.Addr) })
	return list
}

// SetNeighbour sets an entry by hand: a State of 0 is permanent. EINVAL: the address cannot have
// an entry, or the state needs a link address; ENOBUFS: the table is full.
func (n *NIC) SetNeighbour(v Neighbour) error {
	if v.State == 0 {
		v.State = NeighbourPermanent
	}
	if !v.Addr.IsValid() || v.Addr.IsMulticast() || v.Addr.IsUnspecified() || v.State&(v.State-1) != 0 ||
		v.State&usableStates != 0 && v.State != NeighbourNoARP && v.Link == (tcpip.LinkAddress{}) {
		return unix.EINVAL
	}
	if n.neighbour(v.Addr) == nil && n.neighbours.full() {
		return unix.ENOBUFS
	}
	e := n.obtainNeighbour(v.Addr)
	e.mu.Lock()
	if e.gone {
		e.mu.Unlock()
		return unix.ENOBUFS
	}
	e.router = v.Router
	var send []pendingPacket
	ask := tcpip.LinkAddress{}
	asking := false
	switch v.State {
	case NeighbourReachable:
		e.reachable(v.Link)
	case NeighbourDelay:
		e.set(v.Link, v.State)
		e.arm(delayFirstProbe)
	case NeighbourProbe, NeighbourIncomplete:
		e.set(v.Link, v.State)
		e.probes, asking, ask = 1, true, v.Link
		e.arm(e.retransmitTime())
	default:
		e.set(v.Link, v.State)
	}
	if v.State&usableStates != 0 || v.State == NeighbourFailed {
		send = e.takePending()
	}
	c := e.change()
	e.mu.Unlock()
	n.stack.notify(c...)
	if asking {
		e.solicit(netip.Addr{}, ask)
	}
	if v.State == NeighbourFailed {
		for _, p := range send {
			e.unreachable(p.pkt)
		}
		return nil
	}
	e.flush(v.Link, send)
	return nil
}

// RemoveNeighbour removes an entry, with the packets that wait for it. ENOENT.
func (n *NIC) RemoveNeighbour(addr netip.Addr) error {
	t := &n.neighbours
	h := n.stack.keys.addr(addr)
	t.mu.Lock()
	e := t.get(h, addr)
	if e != nil {
		t.remove(h, addr)
	}
	t.mu.Unlock()
	if e == nil {
		return unix.ENOENT
	}
	e.end()
	v := e.export()
	n.stack.notify(Change{Neighbour: &v, On: n, Removed: true})
	return nil
}

// flushNeighbours removes all entries; those set by hand only if all is set.
func (n *NIC) flushNeighbours(all bool) {
	t := &n.neighbours
	t.mu.Lock()
	var list []*neighbour
	t.each(func(addr netip.Addr, e *neighbour) bool {
		if all || e.state()&(NeighbourPermanent|NeighbourNoARP) == 0 {
			t.remove(n.stack.keys.addr(addr), addr)
			list = append(list, e)
		}
		return true
	})
	t.mu.Unlock()
	for _, e := range list {
		e.end()
	}
}
