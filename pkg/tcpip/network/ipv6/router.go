package ipv6

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

const (
	// maxRouters is how many default routers an interface knows at most. RFC 4861 section
	// 6.3.4 wants two at least.
	maxRouters = 8
	// metricRouter is what Linux gives to routes by a default router. Those of several
	// routers are in the order in which they are to be used.
	metricRouter = 1024

	protocolRedirect = 1 // RTPROT_REDIRECT of rtnetlink(7)
	protocolRA       = 9 // RTPROT_RA

	// Of router solicitations (RFC 4861 section 10, RFC 7559 section 2).
	solicitInterval    = 4 * time.Second
	solicitMaxInterval = time.Hour
)

// defaultRouter is an entry of the default router list (RFC 4861 section 5.1).
type defaultRouter struct {
	addr  netip.Addr
	until time.Duration
	// rank is the preference of RFC 4191 section 2.1, higher is better.
	rank int
	// unreachable: the neighbour does not answer (RFC 4861 section 6.3.6).
	unreachable bool
}

// solicitation is the state of looking for a router (RFC 4861 section 6.3.7, RFC 7559).
type solicitation struct {
	due      time.Duration
	interval time.Duration // the last one; 0 before the first solicitation
	// found: a router answered.
	found bool
}

// acceptsAdvertisements says whether this interface is one of a host that listens to routers (RFC
// 4861 section 6.2.7: a router does not).
func (e *endpoint) acceptsAdvertisements() bool {
	settings := e.stack.Settings()
	return settings.AcceptRA.Load() && !settings.IPv6Forwarding.Load() && !settings.IPv6Disabled.Load() && !e.loopback
}

// beginSoliciting begins to look for a router, unless one is known or being looked for. A
// link-local address must be there first, so that a router can answer to it. e.mu is held.
func (e *endpoint) beginSoliciting() {
	if e.solicit.due != never || e.solicit.found || !e.up.Load() || !e.acceptsAdvertisements() || !e.linkLocalSource().IsValid() {
		return
	}
	// RFC 4861 section 6.3.7: not all hosts at the same moment.
	e.solicit = solicitation{due: e.now() + e.random(maxSolicitDelay)}
}

// tickSolicit sends a solicitation that is due, and sets when the next is. e.mu is held.
func (e *endpoint) tickSolicit(now time.Duration) {
	s := &e.solicit
	if s.due > now {
		return
	}
	if !e.acceptsAdvertisements() {
		s.due = never
		return
	}
	// RFC 7559 section 2, with RFC 3315's randomization of a tenth (section 14).
	next := min(2*s.interval, solicitMaxInterval)
	if s.interval == 0 {
		next = solicitInterval
	}
	s.interval = next - next/10 + e.random(next/5)
	s.due = now + s.interval
	e.later(e.sendRouterSolicit)
}

// sendRouterSolicit asks all routers to advertise themselves (RFC 4861 section 4.1).
func (e *endpoint) sendRouterSolicit() {
	var store [header.NDPRouterSolicitSize + header.NDPLinkOptionSize]byte
	b := store[:header.NDPRouterSolicitSize]
	header.NDPRouterSolicit(b).Encode()
	e.send(message{
		src: e.linkLocalSource(), dst: header.IPv6AllRouters, hopLimit: header.NDPHopLimit,
		b: e.putLink(b, header.NDPOptionSourceLink),
	})
}

// linkLocalSource is a link-local address that messages can be sent from; zero: there is none. It
// takes no lock of ours.
func (e *endpoint) linkLocalSource() netip.Addr {
	for _, a := range e.nic.Addresses() {
		if addr := a.Prefix.Addr(); addr.Is6() && addr.IsLinkLocalUnicast() && !a.Tentative && !a.Duplicate {
			return addr
		}
	}
	return netip.Addr{}
}

// handleRouterAdvert says whether the message was valid (RFC 4861 sections 6.1.2 and 6.3.4).
func (e *endpoint) handleRouterAdvert(m ndpMessage) bool {
	h := header.NDPRouterAdvert(m.b)
	if !h.Valid() || !m.src.IsLinkLocalUnicast() {
		return false
	}
	if !e.acceptsAdvertisements() || e.nic.HasAddress(m.src) {
		return true
	}
	if link, ok := linkOption(h.Options(), header.NDPOptionSourceLink); ok {
		e.nic.LearnNeighbour(m.src, link)
	}
	e.nic.SetRouter(m.src, true) // RFC 4861 section 6.3.4
	e.change(func() {
		if e.busy() || !e.up.Load() {
			return
		}
		e.advertised(m.src, h)
	})
	return true
}

// advertised takes over what a valid advertisement says. e.mu is held.
func (e *endpoint) advertised(src netip.Addr, h header.NDPRouterAdvert) {
	now := e.now()
	if hl := h.HopLimit(); hl != 0 {
		e.hopLimit.Store(uint32(hl))
	}
	// Somebody who says one millisecond wants us to flood the link, who says a day wants no
	// address to be ready and no neighbour to be missed.
	if d := h.RetransTimer(); d != 0 {
		e.retransmit = min(max(d, 100*time.Millisecond), time.Minute)
	}
	if d := h.ReachableTime(); d != 0 {
		e.reachable = min(max(d, time.Second), time.Hour)
	}
	e.nic.SetNeighbourTimes6(e.reachable, e.retransmit)
	for w := header.WalkNDPOptions(h.Options()); w.Next(); {
		switch w.Type {
		case header.NDPOptionMTU:
			if o := header.NDPMTU(w.Option); o.Valid() {
				e.advertisedMTU(o.MTU())
			}
		case header.NDPOptionPrefix:
			if o := header.NDPPrefix(w.Option); o.Valid() {
				e.advertisedPrefix(o, now)
			}
		}
	}
	e.advertisedRouter(src, h, now)
}

// advertisedRouter makes src a default router for the time it says. e.mu is held.
func (e *endpoint) advertisedRouter(src netip.Addr, h header.NDPRouterAdvert, now time.Duration) {
	lifetime := h.Lifetime()
	i := slices.IndexFunc(e.routers, func(r defaultRouter) bool { return r.addr == src })
	if lifetime == 0 {
		if i >= 0 {
			e.routers = slices.Delete(e.routers, i, i+1)
			e.orderRouters()
		}
		return
	}
	// RFC 4861 section 6.3.7 and RFC 7559 section 2.1: only a default router ends the search.
	e.solicit.due, e.solicit.found = never, true
	if i < 0 {
		if len(e.routers) >= maxRouters {
			return
		}
		e.routers = append(e.routers, defaultRouter{addr: src})
		i = len(e.routers) - 1
	}
	r := &e.routers[i]
	r.until = now + lifetime
	r.unreachable = false
	switch h.Preference() {
	case header.NDPPreferenceHigh:
		r.rank = 2
	case header.NDPPreferenceLow:
		r.rank = 0
	default: // medium, and the reserved value (RFC 4191 section 2.2)
		r.rank = 1
	}
	e.orderRouters()
}

// orderRouters makes the default routes those of the routers, in the order in which they are to be
// used: those that answer before those that do not (RFC 4861 section 6.3.6), then by preference
// (RFC 4191 section 3.2), then who was there first. e.mu is held.
func (e *endpoint) orderRouters() {
	slices.SortStableFunc(e.routers, func(a, b defaultRouter) int {
		if a.unreachable != b.unreachable {
			if a.unreachable {
				return 1
			}
			return -1
		}
		return cmp.Compare(b.rank, a.rank)
	})
	var want []stack.RouteEntry
	for i := range e.routers {
		want = append(want, stack.RouteEntry{
			Destination: netip.PrefixFrom(header.IPv6Any, 0),
			Gateway:     e.routers[i].addr,
			NIC:         e.nic.ID(),
			Metric:      metricRouter,
			MTU:         e.linkMTU.Load(),
			Table:       stack.TableMain,
			Protocol:    protocolRA,
			Type:        stack.RouteUnicast,
			OnLink:      true,
		})
	}
	same := 0
	for same < min(len(want), len(e.defaults)) && want[same] == e.defaults[same] {
		same++
	}
	for _, r := range e.defaults[same:] {
		e.withdraw(r)
	}
	for _, r := range want[same:] {
		e.install(r)
	}
	e.defaults = want
}

// install puts a route into the table, behind others of the same destination and metric: what was
// set by hand comes first. If there is one that another stack's router discovery learned, and
// somebody copied from there, it takes its place. e.mu is held.
func (e *endpoint) install(route stack.RouteEntry) {
	e.withdraw(route)
	e.later(func() {
		if e.up.Load() {
			e.stack.InsertRoute(route, false)
		}
	})
}

// withdraw removes a route that advertisements or redirects made. e.mu is held.
func (e *endpoint) withdraw(route stack.RouteEntry) {
	e.later(func() {
		e.stack.RemoveRoute(stack.RouteEntry{
			Destination: route.Destination, Gateway: route.Gateway, NIC: route.NIC, Protocol: route.Protocol,
		})
	})
}

// nextRouter is when a router's lifetime ends. e.mu is held.
func (e *endpoint) nextRouter() time.Duration {
	due := never
	for i := range e.routers {
		due = min(due, e.routers[i].until)
	}
	return due
}

// tickRouters drops routers whose lifetime is over. e.mu is held.
func (e *endpoint) tickRouters(now time.Duration) {
	n := len(e.routers)
	e.routers = slices.DeleteFunc(e.routers, func(r defaultRouter) bool { return r.until <= now })
	if len(e.routers) == n {
		return
	}
	e.orderRouters()
	if len(e.routers) == 0 {
		e.solicit.found = false
		e.beginSoliciting()
	}
}

// routerIsHost drops addr from the routers, since it says that it is none (RFC 4861 section
// 7.2.5). e.mu is held.
func (e *endpoint) routerIsHost(addr netip.Addr) {
	if i := slices.IndexFunc(e.routers, func(r defaultRouter) bool { return r.addr == addr }); i >= 0 {
		e.routers = slices.Delete(e.routers, i, i+1)
		e.orderRouters()
	}
	e.forgetRedirectsBy(addr)
}

// neighbourChanged hears that a neighbour answers or does not, and lets another router be used
// for as long as it does not (RFC 4861 section 6.3.6).
func (e *endpoint) neighbourChanged(addr netip.Addr, answers bool) {
	e.change(func() {
		for i := range e.routers {
			if r := &e.routers[i]; r.addr == addr && r.unreachable == answers {
				r.unreachable = !answers
				e.orderRouters()
				return
			}
		}
		if !answers {
			e.forgetRedirectsBy(addr)
		}
	})
}

// forgetRouters removes all that makes this node depend on routers: default routes and redirects.
// e.mu is held.
func (e *endpoint) forgetRouters() {
	e.routers = nil
	e.orderRouters()
	for i := range e.redirects {
		e.withdraw(e.redirects[i].route)
	}
	e.redirects = nil
	e.solicit = solicitation{due: never}
}

// advertisedMTU sets the MTU of the link (RFC 4861 section 6.3.4), which routes learned from
// advertisements get. Values out of range are ignored. e.mu is held.
func (e *endpoint) advertisedMTU(mtu uint32) {
	if mtu < header.IPv6MinimumMTU || mtu > e.nic.MTU() || mtu == e.linkMTU.Load() {
		return
	}
	e.linkMTU.Store(mtu)
	e.orderRouters()
	e.renewPrefixRoutes()
}
