package stack

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

// NIC is an interface of a stack.
type NIC struct {
	id    tcpip.NICID
	stack *Stack
	link  LinkEndpoint
	caps  Capabilities
	// endpoints do not change after newNIC.
	endpoints []nicEndpoint
	stats     NICStats

	// upMu keeps SetUp's calls of Enable and Disable in order. It is taken before stack.mu.
	upMu sync.Mutex

	name        atomic.Pointer[string] // replaced under stack.mu
	up          atomic.Bool            // changed under stack.mu
	promiscuous atomic.Int32
	allMulti    atomic.Int32

	// addresses is replaced under stack.mu; lifetimes is the timer for the next address that
	// is over.
	addresses atomic.Pointer[addressSet]
	lifetimes tcpip.Timer `state:"nosave"`

	groupMu sync.Mutex // guards changes of groups
	groups  atomic.Pointer[map[netip.Addr]int]

	neighbours neighbourTable
}

type nicEndpoint struct {
	etherType uint16
	endpoint  NetworkEndpoint
}

func newNIC(s *Stack, id tcpip.NICID, name string, link LinkEndpoint) *NIC {
	n := &NIC{id: id, stack: s, link: link, caps: link.Capabilities()}
	n.name.Store(&name)
	n.addresses.Store(&addressSet{})
	n.groups.Store(&map[netip.Addr]int{})
	for _, p := range s.networks {
		if p.EtherType() == header.EtherTypeARP && n.caps&CapResolution == 0 {
			continue
		}
		if ep := p.NewEndpoint(n); ep != nil {
			n.endpoints = append(n.endpoints, nicEndpoint{p.EtherType(), ep})
		}
	}
	return n
}

// close ends what the NIC has of timers and packets. It is out of the stack's table and down.
func (n *NIC) close() {
	n.stack.mu.Lock()
	if n.lifetimes != nil {
		n.lifetimes.Stop()
	}
	n.stack.mu.Unlock()
	n.flushNeighbours(true)
}

// ID is the interface's index.
func (n *NIC) ID() tcpip.NICID { return n.id }

// Name is what it was made with, or SetName set.
func (n *NIC) Name() string { return *n.name.Load() }

// SetName gives it another name. EEXIST.
func (n *NIC) SetName(name string) error {
	n.stack.mu.Lock()
	if x := n.stack.nics.Load().byName(name); x != nil && x != n {
		n.stack.mu.Unlock()
		return unix.EEXIST
	}
	n.name.Store(&name)
	n.stack.mu.Unlock()
	n.stack.notify(Change{NIC: n})
	return nil
}

// Stack is the stack that it belongs to.
func (n *NIC) Stack() *Stack { return n.stack }

// Link is what it was made with.
func (n *NIC) Link() LinkEndpoint { return n.link }

// Up says whether the interface works.
func (n *NIC) Up() bool { return n.up.Load() }

// SetUp starts and ends its work. The addresses of an interface that is down stay, and IPv4's
// stay addresses of this host, as in Linux; its routes go, and so do its neighbours that were not
// set by hand.
func (n *NIC) SetUp(up bool) {
	n.upMu.Lock()
	defer n.upMu.Unlock()
	s := n.stack
	s.mu.Lock()
	if n.up.Load() == up || up && s.nics.Load().byID[n.id] != n {
		s.mu.Unlock()
		return
	}
	list := n.addresses.Load().list
	before := n.madeRoutes(list)
	n.up.Store(up)
	after := n.madeRoutes(list)
	removed, added := s.changeMade(before, after)
	if !up {
		removed = append(removed, s.dropRoutes(func(l *routeLine) bool {
			return l.NIC == n.id && (l.Type != RouteLocal || l.Destination.Addr().Is6())
		})...)
	}
	s.generation.Add(1)
	s.mu.Unlock()
	if !up {
		for _, e := range n.endpoints {
			e.endpoint.Disable()
		}
		n.flushNeighbours(false)
	}
	s.notify(Change{NIC: n})
	s.notifyRoutes(true, removed)
	s.notifyRoutes(false, added)
	if up {
		for _, e := range n.endpoints {
			e.endpoint.Enable()
		}
	}
}

// MTU is the link's, in bytes.
func (n *NIC) MTU() uint32 { return n.link.MTU() }

// SetMTU. EINVAL: less than IPv4 needs, or more than a packet can be.
func (n *NIC) SetMTU(mtu uint32) error {
	if mtu < header.IPv4MinimumMTU || mtu > 65536 {
		return unix.EINVAL
	}
	n.link.SetMTU(mtu)
	n.stack.generation.Add(1)
	n.stack.notify(Change{NIC: n})
	return nil
}

// SetLinkAddress changes the hardware address.
func (n *NIC) SetLinkAddress(a tcpip.LinkAddress) {
	n.link.SetLinkAddress(a)
	n.stack.notify(Change{NIC: n})
}

// SetPromiscuous is counted: the interface shows frames for others to packet sockets until it
// was switched off as often as on.
func (n *NIC) SetPromiscuous(on bool) { count(&n.promiscuous, on) }

// SetAllMulticast is counted likewise: packets of all groups are taken.
func (n *NIC) SetAllMulticast(on bool) { count(&n.allMulti, on) }

// Promiscuous says whether it is.
func (n *NIC) Promiscuous() bool { return n.promiscuous.Load() > 0 }

// AllMulticast says whether all groups are taken.
func (n *NIC) AllMulticast() bool { return n.allMulti.Load() > 0 }

func count(c *atomic.Int32, on bool) {
	if on {
		c.Add(1)
	} else {
		c.Add(-1)
	}
}

// IsLoopback says whether the link is lo's.
func (n *NIC) IsLoopback() bool { return n.caps&CapLoopback != 0 }

// Endpoint is the network protocol's part of the NIC, nil if the stack has none.
func (n *NIC) Endpoint(etherType uint16) NetworkEndpoint {
	for i := range n.endpoints {
		if n.endpoints[i].etherType == etherType {
			return n.endpoints[i].endpoint
		}
	}
	return nil
}

// internet is the endpoint of an address's version of IP, or nil.
func (n *NIC) internet(a netip.Addr) InternetEndpoint {
	ep, _ := n.Endpoint(etherTypeOf(a)).(InternetEndpoint)
	return ep
}

func etherTypeOf(a netip.Addr) uint16 {
	if a.Is6() {
		return header.EtherTypeIPv6
	}
	return header.EtherTypeIPv4
}

// Stats are the interface's counters.
func (n *NIC) Stats() *NICStats { return &n.stats }

// Types of packets (packet(7)).
const (
	packetHost      = 0
	packetBroadcast = 1
	packetMulticast = 2
	packetOtherHost = 3
	packetOutgoing  = 4
)

// DeliverPackets implements LinkDispatcher.
func (n *NIC) DeliverPackets(pkts []*buffer.Packet) {
	up := n.up.Load()
	for _, pkt := range pkts {
		if pkt.Looped != 0 {
			n.stack.deliverLooped(pkt)
			continue
		}
		n.stats.RXPackets.Inc()
		n.stats.RXBytes.Add(uint64(pkt.Len() + len(pkt.LinkHeader)))
		if !up {
			n.stats.RXDropped.Inc()
			pkt.Release()
			continue
		}
		n.deliver(pkt)
	}
}

func (n *NIC) deliver(pkt *buffer.Packet) {
	pkt.NIC = n.id
	pkt.PacketType = packetHost
	if pkt.HasLink && n.caps&CapLoopback == 0 {
		switch {
		case pkt.LinkDestination == tcpip.Broadcast:
			pkt.PacketType = packetBroadcast
		case pkt.LinkDestination.IsMulticast():
			pkt.PacketType = packetMulticast
			n.stats.RXMulticast.Inc()
		case pkt.LinkDestination != n.link.LinkAddress():
			pkt.PacketType = packetOtherHost
			if !n.Promiscuous() {
				n.stats.RXDropped.Inc()
				pkt.Release()
				return
			}
		}
	}
	n.stack.tap(n.id, pkt)
	ep := n.Endpoint(pkt.EtherType)
	if ep == nil || pkt.PacketType == packetOtherHost {
		pkt.Release()
		return
	}
	ep.HandlePacket(pkt)
}

// LoopBack gives the copy of a multicast or broadcast packet, which begins with its network header
// and which it takes, back to this host's own sockets as one that came in by n (RFC 1112 section
// 6.1). It takes the way through lo's link, so that it is delivered without the sender's locks:
// by Route.Flush if it is Deferred.
func (n *NIC) LoopBack(etherType uint16, pkt *buffer.Packet) {
	lo := n.stack.Loopback()
	if lo == nil {
		pkt.Release()
		return
	}
	pkt.EtherType, pkt.Looped = etherType, n.id
	b := newBatch(pkt)
	lo.link.WritePackets(b.pkts)
	b.free()
}

// deliverLooped delivers what LoopBack sent.
func (s *Stack) deliverLooped(pkt *buffer.Packet) {
	n := s.NIC(pkt.Looped)
	pkt.Looped = 0
	ep := NetworkEndpoint(nil)
	if n != nil && n.Up() {
		ep = n.Endpoint(pkt.EtherType)
	}
	if ep == nil {
		pkt.Release()
		return
	}
	pkt.NIC, pkt.PacketType = n.id, packetMulticast
	ep.HandlePacket(pkt)
}

// WritePacket sends a packet that begins with its network header to nextHop, whose link address
// it finds, or keeps the packet until it is found; EHOSTUNREACH is told to its sender as an ICMP
// error then. It takes pkt. ENETDOWN: the interface is down; ENOBUFS: the link is full.
// WriteTo sends it to a known link address. Both cut up and complete in software what the link
// cannot.
func (n *NIC) WritePacket(nextHop netip.Addr, etherType uint16, pkt *buffer.Packet) error {
	b := newBatch(pkt)
	err := n.WritePackets(nextHop, etherType, b.pkts)
	b.free()
	return err
}

// WriteTo: see WritePacket.
func (n *NIC) WriteTo(dst tcpip.LinkAddress, etherType uint16, pkt *buffer.Packet) error {
	b := newBatch(pkt)
	err := n.transmit(dst, etherType, b.pkts)
	b.free()
	return err
}

// WritePackets is WritePacket of several packets for one next hop, in order. pkts itself stays
// the caller's.
func (n *NIC) WritePackets(nextHop netip.Addr, etherType uint16, pkts []*buffer.Packet) error {
	var dst tcpip.LinkAddress
	if n.caps&CapResolution != 0 {
		switch {
		case nextHop.IsMulticast():
			dst = header.MulticastLink(nextHop)
		case nextHop.Is4() && n.IsBroadcast(nextHop):
			dst = tcpip.Broadcast
		default:
			var known bool
			if dst, known = n.resolve(nextHop, etherType, pkts); !known {
				return nil
			}
		}
	}
	return n.transmit(dst, etherType, pkts)
}

// transmit hands packets to the link. It takes them.
func (n *NIC) transmit(dst tcpip.LinkAddress, etherType uint16, pkts []*buffer.Packet) error {
	if !n.up.Load() {
		n.stats.TXDropped.Add(uint64(len(pkts)))
		for _, p := range pkts {
			p.Release()
		}
		return unix.ENETDOWN
	}
	for _, p := range pkts {
		if n.needsSoftware(p) {
			b := n.segment(pkts)
			err := n.send(dst, etherType, b.pkts)
			b.free()
			return err
		}
	}
	return n.send(dst, etherType, pkts)
}

// send pushes the link header and sends packets that the link can take.
func (n *NIC) send(dst tcpip.LinkAddress, etherType uint16, pkts []*buffer.Packet) error {
	ethernet := n.caps&CapResolution != 0
	var src tcpip.LinkAddress
	if ethernet {
		src = n.link.LinkAddress()
	}
	bytes := 0
	tapped := n.stack.tapsOutgoing()
	for _, p := range pkts {
		p.EtherType = etherType
		if ethernet {
			h := header.Ethernet(p.Push(header.EthernetSize))
			h.Encode(header.EthernetFields{Source: src, Destination: dst, Type: etherType})
			p.LinkHeader = h
			p.LinkSource, p.LinkDestination, p.HasLink = src, dst, true
		}
		bytes += p.Len()
		if tapped {
			n.stack.tapOutgoing(n.id, p)
		}
	}
	n.stats.TXPackets.Add(uint64(len(pkts)))
	n.stats.TXBytes.Add(uint64(bytes))
	err := n.link.WritePackets(pkts)
	if err != nil {
		n.stats.TXDropped.Inc()
	}
	return err
}

// batch is a slice of packets that costs no allocation.
type batch struct {
	pkts  []*buffer.Packet
	store [64]*buffer.Packet
}

var batches = sync.Pool{New: func() any { return new(batch) }}

func newBatch(pkt *buffer.Packet) *batch {
	b := batches.Get().(*batch)
	b.store[0] = pkt
	b.pkts = b.store[:1]
	return b
}

func (b *batch) free() {
	clear(b.store[:min(len(b.pkts), len(b.store))])
	b.pkts = nil
	batches.Put(b)
}
