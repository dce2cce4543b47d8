package stack

import (
	"math"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

// RouteQuery is what FindRoute goes by.
type RouteQuery struct {
	Destination netip.Addr
	// Source of zero is chosen (RFC 6724 for IPv6).
	Source netip.Addr
	// NIC of 0 is any.
	NIC  tcpip.NICID
	Mark uint32
	TOS  uint8
	// AnySource: Source need not be of this host (IP_FREEBIND, IP_TRANSPARENT).
	AnySource bool
	// DontRoute: only neighbours.
	DontRoute bool
	// InNIC is where a packet that is forwarded came in; 0: it is of this host.
	InNIC tcpip.NICID
}

// Route is a way to a destination. It is a value that never changes; when the tables have,
// Valid says so, and its user asks again.
type Route struct {
	Source, Destination, NextHop netip.Addr
	NIC                          *NIC
	Endpoint                     InternetEndpoint
	// Entry is the line of the table that was taken.
	Entry RouteEntry
	// Local: for this host, by lo.
	Local, Broadcast, Multicast bool

	stack      *Stack
	generation uint64
}

// routeCache has the last answers of FindRoute, which never change, so that senders without a
// connection cost no allocation. An entry is good as long as its route is valid.
type routeCache [routeCacheSize]atomic.Pointer[cachedRoute]

const routeCacheSize = 256

type cachedRoute struct {
	query RouteQuery
	route *Route
}

// slot is the place of a query in the cache.
func (s *Stack) slot(q *RouteQuery) *atomic.Pointer[cachedRoute] {
	hi, lo := words(q.Destination)
	shi, slo := words(q.Source)
	h := mix(hi^s.keys[0], lo^s.keys[1])
	h = mix(h^shi^s.keys[2], slo^s.keys[3])
	h = mix(h^uint64(q.NIC)<<32^uint64(q.Mark), uint64(q.TOS)<<32^uint64(q.InNIC)^s.keys[0])
	return &s.routes[h%routeCacheSize]
}

// FindRoute. ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL as the route's type says; EADDRNOTAVAIL:
// Source is not of this host; ENODEV: there is no such NIC. The route may be shared: nobody
// changes it.
func (s *Stack) FindRoute(q RouteQuery) (*Route, error) {
	slot := s.slot(&q)
	if c := slot.Load(); c != nil && c.query == q && c.route.Valid() {
		return c.route, nil
	}
	// Loaded before anything that it stands for: a change in between makes the route
	// invalid at once, never wrong.
	generation := s.generation.Load()
	r, err := s.findRoute(q)
	if err != nil {
		return nil, err
	}
	r.stack, r.generation = s, generation
	slot.Store(&cachedRoute{q, r})
	return r, nil
}

func (s *Stack) findRoute(q RouteQuery) (*Route, error) {
	nt := s.nics.Load()
	v6 := q.Destination.Is6()
	if !q.Destination.IsValid() || q.Destination.Is4In6() {
		return nil, unix.EINVAL
	}
	if q.Source.IsValid() {
		switch {
		case q.Source.Is6() != v6:
			return nil, unix.EINVAL
		case q.Source.IsUnspecified():
			q.Source = netip.Addr{}
		case q.AnySource:
		case q.Source.IsMulticast():
			return nil, unix.EINVAL
		case !s.IsLocal(0, q.Source):
			return nil, unix.EADDRNOTAVAIL
		}
	}
	if q.Destination.IsUnspecified() {
		// This host (RFC 1122 section 3.2.1.3 has it as a source only; BSD and Linux send
		// to themselves).
		switch {
		case q.Source.IsValid():
			q.Destination = q.Source
		case v6:
			q.Destination = header.IPv6Loopback
		default:
			q.Destination = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		}
	}
	if q.NIC != 0 {
		n := nt.byID[q.NIC]
		if n == nil {
			return nil, unix.ENODEV
		}
		if !n.Up() {
			return nil, unix.ENETUNREACH
		}
	}
	if v6 {
		return s.findRoute6(nt, &q)
	}
	return s.findRoute4(nt, &q)
}

// owner is the interface that has the address a, or nil.
func (t *nicTable) owner(a netip.Addr) *NIC {
	for _, n := range t.sorted {
		if _, ok := n.Address(a); ok {
			return n
		}
	}
	return nil
}

func (s *Stack) findRoute4(nt *nicTable, q *RouteQuery) (*Route, error) {
	dst := q.Destination
	limited := dst == header.IPv4Broadcast
	group := dst.IsMulticast()
	nic := q.NIC
	if nic == 0 && (group || limited) && q.Source.IsValid() {
		// The source says by which interface (RFC 1122 section 3.3.4.2).
		if n := nt.owner(q.Source); n != nil && n.Up() {
			return s.direct(nt, n, q)
		}
	}
	if nic != 0 && (dst.IsLinkLocalMulticast() || limited) {
		return s.direct(nt, nt.byID[nic], q)
	}
	l, err := s.findLine(nt, q)
	if err != nil {
		if err == unix.ENETUNREACH && nic != 0 && q.InNIC == 0 {
			// What the tables do not know is a neighbour of the interface that was asked
			// for, as in Linux: how a DHCP client talks.
			return s.direct(nt, nt.byID[nic], q)
		}
		return nil, err
	}
	if !limited && !group && dst.As4()[0] == 0 {
		return nil, unix.EINVAL
	}
	return s.routeBy(nt, q, l)
}

func (s *Stack) findRoute6(nt *nicTable, q *RouteQuery) (*Route, error) {
	if q.NIC == 0 && q.Source.IsLinkLocalUnicast() && (q.Destination.IsMulticast() || q.Destination.IsLinkLocalUnicast()) {
		// A link-local source says which link (RFC 4007 section 6).
		if n := nt.owner(q.Source); n != nil && n.Up() && !s.IsLocal(0, q.Destination) {
			return s.direct(nt, n, q)
		}
	}
	l, err := s.findLine(nt, q)
	if err != nil {
		if err == unix.ENETUNREACH && q.NIC != 0 && (q.Destination.IsMulticast() || q.Destination.IsLinkLocalUnicast()) {
			return s.direct(nt, nt.byID[q.NIC], q)
		}
		return nil, err
	}
	return s.routeBy(nt, q, l)
}

// findLine goes through the rules.
func (s *Stack) findLine(nt *nicTable, q *RouteQuery) (*routeLine, error) {
	r := s.routing.Load()
	v6 := q.Destination.Is6()
	rules := r.rules(v6)
	for i := range rules {
		rule := &rules[i]
		if !rule.matches(q) {
			continue
		}
		switch rule.Action {
		case ruleBlackhole:
			return nil, unix.EINVAL
		case ruleUnreachable:
			return nil, unix.ENETUNREACH
		case ruleProhibit:
			return nil, unix.EACCES
		case ruleToTable:
		default:
			continue
		}
		f := r.table(v6, rule.Table)
		if f == nil {
			continue
		}
		l := f.find(q.Destination, q.NIC, q.DontRoute, nt)
		if l == nil {
			continue
		}
		switch l.Type {
		case RouteThrow:
			continue
		case RouteBlackhole:
			return nil, unix.EINVAL
		case RouteUnreachable:
			return nil, unix.EHOSTUNREACH
		case RouteProhibit:
			return nil, unix.EACCES
		}
		return l, nil
	}
	return nil, unix.ENETUNREACH
}

// routeBy makes the route of a line.
func (s *Stack) routeBy(nt *nicTable, q *RouteQuery, l *routeLine) (*Route, error) {
	r := &Route{Source: q.Source, Destination: q.Destination, NextHop: q.Destination, Entry: l.RouteEntry}
	switch {
	case l.Type == RouteLocal || l.Type == RouteAnycast:
		r.Local = true
		r.NIC = nt.loopback
		if r.NIC == nil || !r.NIC.Up() {
			return nil, unix.ENETUNREACH
		}
		if !r.Source.IsValid() {
			r.Source = l.Source
			if !r.Source.IsValid() || q.Destination.Is6() {
				r.Source = q.Destination
			}
		}
	default:
		r.NIC = nt.byID[l.NIC]
		if r.NIC == nil {
			return nil, unix.ENETUNREACH
		}
		r.Multicast = q.Destination.IsMulticast()
		r.Broadcast = l.Type == RouteBroadcast || q.Destination == header.IPv4Broadcast
		if l.Gateway.IsValid() && !r.Multicast && !r.Broadcast {
			r.NextHop = l.Gateway
		}
	}
	return s.finish(nt, q, r)
}

// direct makes a route to a destination on n's link.
func (s *Stack) direct(nt *nicTable, n *NIC, q *RouteQuery) (*Route, error) {
	r := &Route{Source: q.Source, Destination: q.Destination, NextHop: q.Destination, NIC: n,
		Multicast: q.Destination.IsMulticast(), Broadcast: n.IsBroadcast(q.Destination)}
	r.Entry = RouteEntry{Destination: netip.PrefixFrom(q.Destination, q.Destination.BitLen()), NIC: n.id,
		Table: TableMain, Scope: scopeLink, Type: RouteUnicast}
	return s.finish(nt, q, r)
}

// finish chooses the source and the protocol's endpoint.
func (s *Stack) finish(nt *nicTable, q *RouteQuery, r *Route) (*Route, error) {
	if q.InNIC != 0 {
		r.Source = netip.Addr{}
	} else if !r.Source.IsValid() {
		if r.Source = r.Entry.Source; !r.Source.IsValid() {
			r.Source = nt.sourceFor(r.NIC, r.NextHop, r.Destination)
		}
		if !r.Source.IsValid() {
			if q.Destination.Is6() {
				if !r.Multicast {
					return nil, unix.EADDRNOTAVAIL
				}
				r.Source = header.IPv6Any
			} else {
				r.Source = header.IPv4Any
			}
		}
	}
	etherType := uint16(header.EtherTypeIPv4)
	if q.Destination.Is6() {
		etherType = header.EtherTypeIPv6
	}
	var ok bool
	if r.Endpoint, ok = r.NIC.Endpoint(etherType).(InternetEndpoint); !ok {
		return nil, unix.ENETUNREACH
	}
	return r, nil
}

// Valid says whether FindRoute would still give this route, which costs one atomic load.
func (r *Route) Valid() bool { return r.generation == r.stack.generation.Load() }

// MTU is the path's MTU in bytes, IP header included, as known now (RFC 1191, RFC 8201).
func (r *Route) MTU() uint32 {
	mtu := r.LinkMTU()
	if p := r.stack.pathMTU.get(r.stack, r.Destination); p != 0 {
		mtu = min(mtu, p)
	}
	return mtu
}

// LinkMTU is the MTU of the interface in bytes, or that of the route if it has one. No packet of
// IPv4 is longer than 65535 bytes, though lo would take it.
func (r *Route) LinkMTU() uint32 {
	mtu := r.NIC.MTU()
	if mtu > math.MaxUint16 && r.Destination.Is4() {
		mtu = math.MaxUint16
	}
	if r.Entry.MTU != 0 {
		mtu = min(mtu, r.Entry.MTU)
	}
	return mtu
}

// WritePacket sends a packet, which it takes: see InternetEndpoint.WritePacket.
func (r *Route) WritePacket(params NetworkParams, pkt *buffer.Packet) error {
	return r.Endpoint.WritePacket(r, params, pkt)
}

// ConfirmNeighbour tells that the next hop answers (RFC 4861 section 7.3.1).
func (r *Route) ConfirmNeighbour() { r.NIC.confirmByUpperLayer(r.NextHop) }
