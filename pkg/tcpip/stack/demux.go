package stack

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
)

// Binding is an entry of the demultiplexer.
type Binding struct {
	Transport uint8
	// V4 and V6: which versions' packets it takes. Addresses of ID that are zero are any.
	V4, V6 bool
	ID     TransportID
	// NIC of 0 is any.
	NIC      tcpip.NICID
	Endpoint TransportEndpoint
	// ReusePort: Bindings of the same ID, all with it, share packets by the hash of their
	// sender. ReuseAddress: they may coexist; the last bound gets unicast packets.
	ReusePort, ReuseAddress bool
}

// The tiers of bindings, from the most specific to the least. A packet is looked for in each,
// with those of its numbers that the tier has.
const (
	tierConnected = iota // remote and local address
	tierRemote           // remote address only
	tierLocal            // local address only
	tierAny
	tiers
)

// demux is the tables by which packets find bindings: one hash table for all transports and
// tiers, read without a lock.
type demux struct {
	stack *Stack
	table table[demuxKey, *bindingGroup]
	// count has how many bindings a transport has in a tier, so that empty tiers cost
	// nothing.
	count [256][tiers]atomic.Int32
	mu    sync.Mutex // guards changes
}

type demuxKey struct {
	id        TransportID
	transport uint8
}

// bindingGroup is the bindings of one key in the order in which they were bound.
type bindingGroup struct {
	list atomic.Pointer[[]*Binding] // copied when it is changed
}

func (d *demux) init(s *Stack) { d.stack = s }

// normalize makes unspecified addresses zero.
func (id *TransportID) normalize() {
	if id.LocalAddr.IsValid() && id.LocalAddr.IsUnspecified() {
		id.LocalAddr = netip.Addr{}
	}
	if id.RemoteAddr.IsValid() && id.RemoteAddr.IsUnspecified() {
		id.RemoteAddr = netip.Addr{}
	}
}

func (id *TransportID) tier() int {
	switch local, remote := id.LocalAddr.IsValid(), id.RemoteAddr.IsValid(); {
	case local && remote:
		return tierConnected
	case remote:
		return tierRemote
	case local:
		return tierLocal
	}
	return tierAny
}

// keyOf is what a packet with the numbers id is looked for by in a tier.
func keyOf(tier int, id *TransportID) TransportID {
	k := TransportID{LocalPort: id.LocalPort}
	if tier == tierConnected || tier == tierRemote {
		k.RemoteAddr, k.RemotePort = id.RemoteAddr, id.RemotePort
	}
	if tier == tierConnected || tier == tierLocal {
		k.LocalAddr = id.LocalAddr
	}
	return k
}

// Register makes b find packets. The most specific binding gets them: with the remote address
// before without, with the local address before without, of the NIC before any; multicast and
// broadcast packets of UDP go to all that fit. EADDRINUSE: the same is there. The caller keeps b
// unchanged until it is unregistered. A binding with a remote address matches its RemotePort
// even if that is 0; LocalPort is always matched.
func (s *Stack) Register(b *Binding) error {
	d := &s.demux
	key, h := s.bindingKey(b)
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.table.get(h, key)
	if g == nil {
		g = &bindingGroup{}
		g.list.Store(&[]*Binding{b})
		d.table.put(h, key, g)
	} else {
		old := *g.list.Load()
		for _, x := range old {
			if x == b || x.NIC == b.NIC && (x.V4 && b.V4 || x.V6 && b.V6) &&
				!(x.ReusePort && b.ReusePort) && !(x.ReuseAddress && b.ReuseAddress) {
				return unix.EADDRINUSE
			}
		}
		list := append(slices.Clip(slices.Clone(old)), b)
		g.list.Store(&list)
	}
	d.count[b.Transport][key.id.tier()].Add(1)
	return nil
}

// Unregister removes b. A packet may still be delivered during the call, not after it has
// been, but for those on their way already: endpoints check their state.
func (s *Stack) Unregister(b *Binding) {
	d := &s.demux
	key, h := s.bindingKey(b)
	d.mu.Lock()
	defer d.mu.Unlock()
	g := d.table.get(h, key)
	if g == nil {
		return
	}
	old := *g.list.Load()
	i := slices.Index(old, b)
	if i < 0 {
		return
	}
	if len(old) == 1 {
		d.table.remove(h, key)
		g.list.Store(&[]*Binding{})
	} else {
		list := slices.Delete(slices.Clone(old), i, i+1)
		g.list.Store(&list)
	}
	d.count[b.Transport][key.id.tier()].Add(-1)
}

// bindingKey is where b is in the table, and the hash of that.
func (s *Stack) bindingKey(b *Binding) (demuxKey, uint64) {
	key := demuxKey{b.ID, b.Transport}
	key.id.normalize()
	return key, s.keys.id(b.Transport, &key.id)
}

// takes says whether the binding is for packets of that version that came in by nic; 0: by any.
func (b *Binding) takes(nic tcpip.NICID, v6 bool) bool {
	return (b.V6 && v6 || b.V4 && !v6) && (b.NIC == 0 || nic == 0 || b.NIC == nic)
}

// rank orders bindings of one key that take a packet: those of the NIC before any, those of one
// version of IP before those of both.
func (b *Binding) rank() int {
	r := 0
	if b.NIC != 0 {
		r += 2
	}
	if b.V4 != b.V6 {
		r++
	}
	return r
}

// best is the binding of the group that a unicast packet goes to, or nil. h is the hash of the
// packet's numbers.
func (g *bindingGroup) best(nic tcpip.NICID, v6 bool, h uint64) *Binding {
	list := *g.list.Load()
	var best *Binding
	same := 0
	for i := len(list) - 1; i >= 0; i-- {
		b := list[i]
		if !b.takes(nic, v6) {
			continue
		}
		switch {
		case best == nil || b.rank() > best.rank():
			best, same = b, 1
		case best.ReusePort && b.ReusePort && b.rank() == best.rank():
			same++
		}
	}
	if same <= 1 {
		return best
	}
	k := int(h >> 32 * uint64(same) >> 32)
	for _, b := range list {
		if b.ReusePort && b.takes(nic, v6) && b.rank() == best.rank() {
			if k == 0 {
				return b
			}
			k--
		}
	}
	return best
}

// FindTransport returns the binding that a packet would go to, or nil. nic of 0: of any
// interface.
func (s *Stack) FindTransport(nic tcpip.NICID, v6 bool, transport uint8, id TransportID) *Binding {
	return s.find(nic, v6, transport, &id)
}

func (s *Stack) find(nic tcpip.NICID, v6 bool, transport uint8, id *TransportID) *Binding {
	d := &s.demux
	full := s.keys.id(transport, id)
	for tier := range tiers {
		if d.count[transport][tier].Load() == 0 {
			continue
		}
		key, h := demuxKey{*id, transport}, full
		if tier != tierConnected {
			key.id = keyOf(tier, id)
			h = s.keys.id(transport, &key.id)
		}
		if g := d.table.get(h, key); g != nil {
			if b := g.best(nic, v6, full); b != nil {
				return b
			}
		}
	}
	return nil
}

// findAll appends to dst every binding that takes a multicast or broadcast packet.
func (s *Stack) findAll(nic tcpip.NICID, v6 bool, transport uint8, id *TransportID, dst []*Binding) []*Binding {
	d := &s.demux
	for tier := range tiers {
		if d.count[transport][tier].Load() == 0 {
			continue
		}
		key := demuxKey{keyOf(tier, id), transport}
		if g := d.table.get(s.keys.id(transport, &key.id), key); g != nil {
			for _, b := range *g.list.Load() {
				if b.takes(nic, v6) {
					dst = append(dst, b)
				}
			}
		}
	}
	return dst
}

// Bindings calls f, without a lock, for every binding of a transport until it returns false
// (/proc/net/tcp, sock_diag).
func (s *Stack) Bindings(transport uint8, f func(*Binding) bool) {
	for _, b := range s.demux.all(transport) {
		if !f(b) {
			return
		}
	}
}

// all is every binding of a transport, of all if it is 0.
func (d *demux) all(transport uint8) []*Binding {
	d.mu.Lock()
	defer d.mu.Unlock()
	var list []*Binding
	d.table.each(func(k demuxKey, g *bindingGroup) bool {
		if transport == 0 || k.transport == transport {
			list = append(list, *g.list.Load()...)
		}
		return true
	})
	return list
}

// abortAll ends the endpoints of all bindings.
func (d *demux) abortAll() {
	for _, b := range d.all(0) {
		if e, ok := b.Endpoint.(interface{ Abort() }); ok {
			e.Abort()
		}
	}
}
