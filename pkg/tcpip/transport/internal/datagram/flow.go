package datagram

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// Flow is how a datagram is to be sent.
type Flow struct {
	Route  *stack.Route
	Params stack.NetworkParams
	// Port is the destination's, LocalPort this socket's.
	Port, LocalPort uint16
	// discovery is tcpip.MTUDiscovery*.
	discovery int32
	mark      uint32
	priority  int32
}

// V6 says whether it is of IPv6.
func (f *Flow) V6() bool { return f.Route.Destination.Is6() }

// Prepare finds out how to send, by the options of the call and of the socket. Errors: EDESTADDRREQ,
// EAFNOSUPPORT, EINVAL, EACCES for broadcast, and those of FindRoute.
//
// wantPort: the destination's port may not be 0.
func (s *Socket) Prepare(f *Flow, o *tcpip.SendOptions, wantPort bool) error {
	s.mu.Lock()
	err := s.prepare(f, o, wantPort)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	if f.Route.Broadcast && !s.opts.Broadcast.Load() {
		return unix.EACCES
	}
	s.params(f, &o.Control)
	return nil
}

// Ready is the last question before a datagram is made, after Prepare and Fits: the pending error,
// which is cleared, or EPIPE when the socket is shut down for writing.
func (s *Socket) Ready() error {
	if err := s.Rx.TakePending(); err != nil {
		return err
	}
	if s.isShut(tcpip.ShutdownWrite) {
		return unix.EPIPE
	}
	return nil
}

// prepare fills in the route and the ports. s.mu is held.
func (s *Socket) prepare(f *Flow, o *tcpip.SendOptions, wantPort bool) error {
	if err := s.autobind(); err != nil {
		return err
	}
	f.LocalPort = s.port
	var dst netip.Addr
	scope := tcpip.NICID(0)
	if to := o.To; to != nil {
		if wantPort && to.Port == 0 {
			return unix.EINVAL
		}
		f.Port = to.Port
		if dst = to.Addr; !dst.IsValid() {
			dst = header.IPv4Any
			if s.kind.V6 {
				dst = header.IPv6Any
			}
		}
		if needsScope(dst) {
			scope = to.NIC
		}
		var err error
		if dst, err = s.reachable(dst); err != nil {
			return err
		}
	} else {
		if !s.connected.Load() {
			return unix.EDESTADDRREQ
		}
		f.Port, dst, scope = s.remote.Port, s.remote.Addr, s.remote.NIC
	}
	if d := s.device(); dst.Is6() && d != 0 {
		if n := o.Control.NIC; o.Control.HasPacketInfo && n != 0 && n != d || scope != 0 && scope != d {
			return unix.EINVAL
		}
	}
	q := s.query(dst, scope, o)
	if o.To == nil && s.route != nil && s.routeQuery == q && s.route.Valid() {
		f.Route = s.route
		return nil
	}
	r, err := s.find(q)
	if err != nil {
		if err == unix.EADDRNOTAVAIL && o.Control.HasPacketInfo && o.Control.Source.IsValid() {
			return unix.EINVAL
		}
		return err
	}
	if f.Route = r; o.To == nil {
		s.route, s.routeQuery = r, q
	}
	return nil
}

// reachable says whether the socket, as it is bound, can send to dst at all, and returns dst, or this
// host's address instead of the unspecified one. s.mu is held.
func (s *Socket) reachable(dst netip.Addr) (netip.Addr, error) {
	v4, v6 := s.families()
	switch {
	case dst.Is4In6(), !s.kind.V6 && dst.Is6():
		return dst, unix.EAFNOSUPPORT
	case dst.Is4() && !v4:
		return dst, unix.ENETUNREACH
	case dst == header.IPv6Any && !v6:
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), nil
	case dst == header.IPv6Any:
		return header.IPv6Loopback, nil
	case dst.Is6() && !v6:
		return dst, unix.EAFNOSUPPORT
	}
	return dst, nil
}

// query is what to ask the route tables for. s.mu is held.
func (s *Socket) query(dst netip.Addr, scope tcpip.NICID, o *tcpip.SendOptions) stack.RouteQuery {
	q := stack.RouteQuery{
		Destination: dst, Source: s.source, NIC: s.device(), Mark: s.opts.Mark.Load(),
		TOS:       uint8(s.opts.TOS.Load()),
		AnySource: s.anySource(), DontRoute: o.DontRoute || s.opts.DontRoute.Load(),
	}
	if dst.Is6() {
		q.TOS = uint8(s.opts.TrafficClass.Load())
	}
	if scope != 0 {
		q.NIC = scope
	}
	if c := &o.Control; c.HasTOS || c.HasPacketInfo {
		if c.HasTOS {
			q.TOS = c.TOS
		}
		if c.HasPacketInfo {
			if c.NIC != 0 {
				q.NIC = c.NIC
			}
			if a := unspecifiedIsNone(c.Source); a.IsValid() {
				q.Source = a
			}
		}
	}
	if dst.IsMulticast() {
		s.opts.Mu.Lock()
		if dst.Is6() {
			if q.NIC == 0 {
				q.NIC = s.opts.MulticastNIC6
			}
		} else {
			if q.NIC == 0 {
				q.NIC = s.opts.MulticastNIC
			}
			if !q.Source.IsValid() {
				q.Source = unspecifiedIsNone(s.opts.MulticastSource)
			}
		}
		s.opts.Mu.Unlock()
	}
	return q
}

// find asks for a route, and counts if there is none.
func (s *Socket) find(q stack.RouteQuery) (*stack.Route, error) {
	r, err := s.stack.FindRoute(q)
	if err == unix.ENETUNREACH {
		if q.Destination.Is6() {
			s.stack.Stats().IP6.OutNoRoutes.Inc()
		} else {
			s.stack.Stats().IP.OutNoRoutes.Inc()
		}
	}
	return r, err
}

// params fills in the header's fields.
func (s *Socket) params(f *Flow, c *tcpip.SendControl) {
	o, p := &s.opts, &f.Params
	p.Transport = s.kind.Transport
	var ttl int32
	if f.V6() {
		f.discovery = o.MTUDiscovery6.Load()
		p.TOS = uint8(o.TrafficClass.Load())
		if ttl = o.HopLimit.Load(); f.Route.Multicast {
			ttl = o.MulticastHopLimit.Load()
			p.NoMulticastLoop = !o.MulticastLoop6.Load()
		}
	} else {
		f.discovery = o.MTUDiscovery4.Load()
		p.TOS = uint8(o.TOS.Load())
		if ttl = o.TTL.Load(); f.Route.Multicast {
			ttl = o.MulticastTTL.Load()
			p.NoMulticastLoop = !o.MulticastLoop4.Load()
		}
		o.Mu.Lock()
		p.Options = o.IPOptions4
		o.Mu.Unlock()
	}
	if p.TTL = uint8(ttl); c.HasTTL {
		p.TTL = c.TTL
	}
	p.ZeroTTL = f.Route.Multicast && p.TTL == 0
	if c.HasTOS {
		p.TOS = c.TOS
	}
	switch f.discovery {
	case tcpip.MTUDiscoveryWant:
		p.DontFragment, p.FragmentHere = true, true
	case tcpip.MTUDiscoveryDo:
		p.DontFragment = true
	case tcpip.MTUDiscoveryProbe:
		p.DontFragment, p.IgnorePathMTU = true, true
	case tcpip.MTUDiscoveryInterface, tcpip.MTUDiscoveryOmit:
		p.IgnorePathMTU = true
	}
	if f.V6() {
		if o.DontFragment6.Load() {
			p.DontFragment = true
		}
		p.FragmentHere = f.mayFragment() && !o.DontFragment6.Load()
	}
	f.mark, f.priority = o.Mark.Load(), o.Priority.Load()
}

// mayFragment says whether a datagram that does not fit may be cut up here (ip(7), IP_MTU_DISCOVER).
func (f *Flow) mayFragment() bool {
	switch f.discovery {
	case tcpip.MTUDiscoveryDo, tcpip.MTUDiscoveryProbe, tcpip.MTUDiscoveryInterface:
		return false
	}
	return true
}

// headerLength is the size of the IP header in bytes.
func (f *Flow) headerLength() int {
	if f.V6() {
		return header.IPv6Size
	}
	return header.IPv4MinimumSize + (len(f.Params.Options)+3)&^3
}

// MTU is the largest packet that goes to the destination in one piece, as the socket looks at it.
func (f *Flow) MTU() uint32 {
	if f.Params.IgnorePathMTU {
		return f.Route.LinkMTU()
	}
	return f.Route.MTU()
}

// smallestMTU is what every path carries (RFC 791 section 3.2, RFC 8200 section 5): packets as small
// need no look at the tables.
func (f *Flow) smallestMTU() int {
	if f.V6() {
		return header.IPv6MinimumMTU
	}
	return header.IPv4MinimumMTU
}

// Fits says whether n bytes, the transport header included, go in one packet. EMSGSIZE: they do not,
// and may not be cut up, or are more than any packet has.
func (s *Socket) Fits(f *Flow, n int) (bool, error) {
	hdr := f.headerLength()
	limit := header.IPv4MaximumTotal - hdr
	if f.V6() {
		limit = header.IPv6MaximumPayload
	}
	if n > limit {
		return false, s.TooLong(f, f.MTU())
	}
	if hdr+n <= f.smallestMTU() {
		return true, nil
	}
	mtu := f.MTU()
	if hdr+n <= int(mtu) {
		return true, nil
	}
	if !f.mayFragment() || f.V6() && s.opts.DontFragment6.Load() {
		return false, s.TooLong(f, mtu)
	}
	return false, nil
}

// Write sends a packet that begins with its transport header, which it takes. The caller calls
// f.Route.Flush when it has sent all. Dropped: see there.
func (s *Socket) Write(f *Flow, pkt *buffer.Packet) error {
	pkt.Mark, pkt.Priority, pkt.Deferred = f.mark, f.priority, true
	return s.written(f, f.Route.WritePacket(f.Params, pkt))
}

// WriteHeaderIncluded is Write for a packet that begins with its IP header.
func (s *Socket) WriteHeaderIncluded(f *Flow, pkt *buffer.Packet) error {
	pkt.Mark, pkt.Priority, pkt.Deferred = f.mark, f.priority, true
	return s.written(f, f.Route.Endpoint.WriteHeaderIncluded(f.Route, pkt))
}

func (s *Socket) written(f *Flow, err error) error {
	switch err {
	case unix.EMSGSIZE:
		return s.TooLong(f, f.MTU())
	case unix.ENOBUFS:
		recvErr := &s.opts.ReceiveErrors4
		if f.V6() {
			recvErr = &s.opts.ReceiveErrors6
		}
		if !recvErr.Load() {
			return Dropped
		}
	}
	return err
}

// Dropped is what Write returns instead of ENOBUFS, the link is full, if the application is not to
// know: it did not ask for that (IP_RECVERR), and datagrams may get lost.
var Dropped error = dropped{}

type dropped struct{}

func (dropped) Error() string { return "the link is full" }
