package ipv6

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// ra makes a router advertisement from src to all nodes.
func ra(src netip.Addr, f header.NDPRouterAdvertFields, opts ...[]byte) []byte {
	b := make([]byte, header.NDPRouterAdvertSize)
	header.NDPRouterAdvert(b).Encode(f)
	return ndp(src, header.IPv6AllNodes, append([][]byte{b}, opts...)...)
}

func lifetimeOf(d time.Duration) header.NDPRouterAdvertFields {
	return header.NDPRouterAdvertFields{Lifetime: d}
}

func prefixOpt(p string, onLink, autonomous bool, valid, preferred time.Duration) []byte {
	var b [header.NDPPrefixOptionSize]byte
	header.NDPPrefix(b[:]).Encode(header.NDPPrefixFields{Prefix: prefix(p), OnLink: onLink, Autonomous: autonomous, Valid: valid, Preferred: preferred})
	return b[:]
}

func mtuOpt(mtu uint32) []byte {
	var b [header.NDPMTUOptionSize]byte
	header.NDPMTU(b[:]).Encode(mtu)
	return b[:]
}

// gateways are those of the default routes, the best first.
func (h *host) gateways() []netip.Addr {
	var list []stack.RouteEntry
	for _, r := range h.stack.Routes() {
		if r.Destination == prefix("::/0") && r.NIC == h.nic.ID() {
			list = append(list, r)
		}
	}
	slices.SortStableFunc(list, func(a, b stack.RouteEntry) int { return int(a.Metric) - int(b.Metric) })
	if len(list) > 0 {
		// The order in the list is that of their use, unless a longer prefix has the address.
		r, err := h.stack.FindRoute(stack.RouteQuery{Destination: addr("2001:db8:fedc::1"), Source: ourLL, AnySource: true})
		if err != nil || r.NextHop != list[0].Gateway && r.Entry.Destination.Bits() == 0 {
			h.t.Errorf("the next hop is %+v, %v", r, err)
		}
	}
	var out []netip.Addr
	for _, r := range list {
		out = append(out, r.Gateway)
	}
	return out
}

// hasRoute says whether there is a route to p that has no gateway.
func (h *host) hasRoute(p string) bool {
	return slices.ContainsFunc(h.stack.Routes(), func(r stack.RouteEntry) bool {
		return r.Destination == prefix(p) && !r.Gateway.IsValid() && r.NIC == h.nic.ID() && r.Table == stack.TableMain
	})
}

func (h *host) expectGateways(want ...netip.Addr) {
	h.t.Helper()
	if got := h.gateways(); !slices.Equal(got, want) {
		h.t.Errorf("default routers %v, want %v", got, want)
	}
}

// RFC 4861 sections 6.1.2 and 6.3.4.
func TestRouterAdvertisements(t *testing.T) {
	good := ra(peerLL, lifetimeOf(time.Hour), sourceLink(peerLink))
	with := func(f func(b []byte)) []byte { b := slices.Clone(good); f(b); return b }
	for _, test := range []struct {
		name   string
		b      []byte
		accept bool
	}{
		{"valid", good, true},
		{"without options", ra(peerLL, lifetimeOf(time.Hour)), true},
		{"section 4.6: unknown options are ignored", ra(peerLL, lifetimeOf(time.Hour), []byte{222, 1, 0, 0, 0, 0, 0, 0}), true},
		{"6.1.2: source is not link-local", ra(peerGlobal, lifetimeOf(time.Hour)), false},
		{"6.1.2: hop limit 254", with(func(b []byte) { b[7] = 254 }), false},
		{"6.1.2: wrong checksum", with(func(b []byte) { b[43]++ }), false},
		{"6.1.2: code 1", with(func(b []byte) { b[41] = 1; icmp(peerLL, header.IPv6AllNodes, b[40:]) }), false},
		{"6.1.2: less than 16 bytes", ndp(peerLL, header.IPv6AllNodes, good[40:52]), false},
		{"6.1.2: an option of length 0", ra(peerLL, lifetimeOf(time.Hour), make([]byte, 8)), false},
		{"RFC 6980 section 5: in a fragment", ip(peerLL, header.IPv6AllNodes, header.ProtocolFragment, 255,
			fragmentHeader(header.ProtocolICMPv6, 0, false, 1), good[40:]), false},
		{"from this host", ra(ourLL, lifetimeOf(time.Hour)), false},
		{"lifetime 0: no default router", ra(peerLL, lifetimeOf(0)), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, hostOptions{ra: true})
			h.receive(test.b)
			if !test.accept {
				h.expectGateways()
				return
			}
			h.expectGateways(peerLL)
			r, err := h.stack.FindRoute(stack.RouteQuery{Destination: remote, Source: ourLL, AnySource: true})
			if err != nil || r.NextHop != peerLL || r.NIC != h.nic {
				t.Errorf("the route to elsewhere is %+v, %v", r, err)
			}
			if n, ok := h.nic.Neighbour(peerLL); ok && !n.Router {
				t.Error("the neighbour is not marked as a router")
			}
		})
	}
}

func TestAdvertisementsAreForHostsThatWantThem(t *testing.T) {
	for _, test := range []struct {
		name string
		o    hostOptions
	}{{"accept_ra is off", hostOptions{}}, {"section 6.2.7: a router does not listen", hostOptions{ra: true, forwarding: true}}} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, test.o)
			h.receive(ra(peerLL, lifetimeOf(time.Hour), prefixOpt("2001:db8:7::/64", true, true, time.Hour, time.Hour)))
			h.expectGateways()
			if h.hasRoute("2001:db8:7::/64") || len(h.nic.Addresses()) != 1 {
				t.Errorf("the prefix was believed: %v", h.nic.Addresses())
			}
		})
	}
}

// RFC 4861 sections 6.3.4 and 6.3.5.
func TestRouterLifetime(t *testing.T) {
	h := newHost(t, hostOptions{ra: true})
	h.receive(ra(peerLL, lifetimeOf(30*time.Second)))
	h.clock.Advance(30*time.Second - 1)
	h.expectGateways(peerLL)
	h.clock.Advance(1)
	h.expectGateways()

	h.receive(ra(peerLL, lifetimeOf(30*time.Second)))
	h.clock.Advance(20 * time.Second)
	h.receive(ra(peerLL, lifetimeOf(30*time.Second)))
	h.clock.Advance(20 * time.Second)
	h.expectGateways(peerLL) // the second one counts

	h.receive(ra(peerLL, lifetimeOf(0)))
	h.expectGateways() // at once
}

// RFC 4191 section 3.2 and RFC 4861 section 6.3.6.
func TestChoiceOfRouters(t *testing.T) {
	third := addr("fe80::3333")
	preference := func(p uint8) header.NDPRouterAdvertFields {
		return header.NDPRouterAdvertFields{Lifetime: time.Hour, Preference: p}
	}
	h := newHost(t, hostOptions{ra: true})
	h.receive(ra(otherLL, preference(header.NDPPreferenceLow)))
	h.receive(ra(peerLL, preference(header.NDPPreferenceMedium), sourceLink(peerLink)))
	h.expectGateways(peerLL, otherLL)
	h.receive(ra(third, preference(header.NDPPreferenceHigh), sourceLink(otherLink)))
	h.expectGateways(third, peerLL, otherLL)
	h.receive(ra(third, preference(header.NDPPreferenceReserved))) // medium, and younger
	h.expectGateways(third, peerLL, otherLL)
	h.receive(ra(third, preference(header.NDPPreferenceLow)))
	h.expectGateways(peerLL, third, otherLL)

	// The best one stops to answer, and comes back.
	fail := func(a netip.Addr, state stack.NeighbourState, link tcpip.LinkAddress) {
		if err := h.nic.SetNeighbour(stack.Neighbour{Addr: a, Link: link, State: state}); err != nil {
			t.Fatal(err)
		}
	}
	fail(peerLL, stack.NeighbourFailed, tcpip.LinkAddress{})
	h.expectGateways(third, otherLL, peerLL)
	fail(peerLL, stack.NeighbourReachable, peerLink)
	h.expectGateways(peerLL, third, otherLL)
	fail(peerLL, stack.NeighbourFailed, tcpip.LinkAddress{})
	h.receive(ra(peerLL, preference(header.NDPPreferenceMedium), sourceLink(peerLink)))
	h.expectGateways(peerLL, third, otherLL)

	// RFC 4861 section 7.2.5: it is no router any more.
	h.receive(ndp(peerLL, header.IPv6AllNodes, advertise(peerLL, false, false, true), targetLink(peerLink)))
	h.expectGateways(third, otherLL)
}

func TestRoutersAreBounded(t *testing.T) {
	h := newHost(t, hostOptions{ra: true})
	for i := range 1000 {
		a := peerLL.As16()
		a[14], a[15] = byte(i>>8), byte(i)
		h.receive(ra(netip.AddrFrom16(a), lifetimeOf(time.Hour)))
	}
	if n := len(h.gateways()); n != maxRouters {
		t.Errorf("%d default routers", n)
	}
	h.clock.Advance(time.Hour)
	h.expectGateways()
}

func TestStaticDefaultRouteComesFirst(t *testing.T) {
	h := newHost(t, hostOptions{ra: true, addresses: []string{"2001:db8::1/64"}})
	h.route("::/0", "fe80::99")
	h.receive(ra(peerLL, lifetimeOf(time.Hour)))
	if r := h.findRoute(remote); r.NextHop != addr("fe80::99") {
		t.Errorf("the next hop is %v", r.NextHop)
	}
	h.receive(ra(peerLL, lifetimeOf(0)))
	if r := h.findRoute(remote); r.NextHop != addr("fe80::99") {
		t.Errorf("after the router has gone the next hop is %v", r.NextHop)
	}
}

// RFC 4861 section 6.3.7, RFC 7559.
func TestSoliciting(t *testing.T) {
	solicitations := func(h *host) (n int) {
		for _, f := range h.take() {
			if next, b := f.payload(); next == header.ProtocolICMPv6 && b[0] == header.ICMPv6RouterSolicit {
				n++
				m := header.NDPRouterSolicit(f.icmp(header.ICMPv6RouterSolicit))
				if link, ok := linkOption(m.Options(), header.NDPOptionSourceLink); !m.Valid() || !ok || link != ourLink {
					t.Errorf("solicitation %x", []byte(m))
				}
				if f.ip().Source() != ourLL || f.ip().Destination() != header.IPv6AllRouters || f.ip().HopLimit() != 255 {
					t.Errorf("sent %v", f)
				}
			}
		}
		return n
	}
	h := newHost(t, hostOptions{ra: true, dad: true})
	h.clock.Advance(time.Second)
	if n := solicitations(h); n != 0 {
		t.Errorf("%d solicitations from a tentative address", n)
	}
	h.clock.Advance(2 * time.Second) // DAD took 1 to 2 s, and the first comes within 1 s
	if n := solicitations(h); n != 1 {
		t.Errorf("%d solicitations after the link-local address is ready", n)
	}
	h.clock.Advance(4500 * time.Millisecond)
	if n := solicitations(h); n != 1 {
		t.Errorf("%d more within 4.5 s", n)
	}
	h.clock.Advance(24 * time.Hour)
	if n := solicitations(h); n < 24 || n > 45 {
		t.Errorf("%d in a day, want about one an hour", n)
	}
	h.receive(ra(peerLL, lifetimeOf(0), prefixOpt("2001:db8:7::/64", true, false, time.Hour, time.Hour)))
	h.clock.Advance(3 * time.Hour)
	if n := solicitations(h); n == 0 {
		t.Error("RFC 7559 section 2.1: one that is no default router ended the search")
	}
	h.receive(ra(peerLL, lifetimeOf(2*time.Hour)))
	h.clock.Advance(2*time.Hour - 1)
	if n := solicitations(h); n != 0 {
		t.Errorf("%d though a router is known", n)
	}
	h.clock.Advance(3 * time.Second)
	if n := solicitations(h); n != 1 {
		t.Errorf("%d after the last router has gone", n)
	}
}

func TestRoutersDoNotSolicit(t *testing.T) {
	h := newHost(t, hostOptions{ra: true, forwarding: true})
	h.clock.Advance(time.Hour)
	for _, f := range h.take() {
		if next, b := f.payload(); next == header.ProtocolICMPv6 && b[0] == header.ICMPv6RouterSolicit {
			t.Fatal("a router solicits")
		}
	}
	for _, g := range routerGroups {
		if !h.nic.InGroup(g) {
			t.Errorf("a router is not in %v", g)
		}
	}
}

func TestBecomingARouter(t *testing.T) {
	h := newHost(t, hostOptions{ra: true})
	h.receive(ra(peerLL, lifetimeOf(time.Hour)))
	h.stack.Settings().IPv6Forwarding.Store(true)
	h.ep.SettingsChanged()
	h.expectGateways() // RFC 4861 section 6.2.7, as Linux does
	if !h.nic.InGroup(header.IPv6AllRouters) {
		t.Error("not in the group of routers")
	}
	h.stack.Settings().IPv6Forwarding.Store(false)
	h.ep.SettingsChanged()
	if h.nic.InGroup(header.IPv6AllRouters) {
		t.Error("still in the group of routers")
	}
	h.take()
	h.clock.Advance(2 * time.Second)
	n := 0
	for _, f := range h.take() {
		if next, b := f.payload(); next == header.ProtocolICMPv6 && b[0] == header.ICMPv6RouterSolicit {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d solicitations as a host again", n)
	}
}

// RFC 4861 section 6.3.4.
func TestAdvertisedParameters(t *testing.T) {
	h := newHost(t, hostOptions{ra: true, addresses: []string{"2001:db8::1/64"}})
	h.neighbour(peerGlobal, peerLink)
	h.neighbour(peerLL, peerLink)
	hopLimit := func() uint8 {
		h.findRoute(peerGlobal).WritePacket(stack.NetworkParams{Transport: 17}, packet(udp(1, 2, 3)))
		return h.one().ip().HopLimit()
	}
	h.receive(ra(peerLL, header.NDPRouterAdvertFields{HopLimit: 33}))
	if n := hopLimit(); n != 33 {
		t.Errorf("the hop limit is %d", n)
	}
	h.receive(ra(peerLL, header.NDPRouterAdvertFields{HopLimit: 0}))
	if n := hopLimit(); n != 33 {
		t.Errorf("not specified, the hop limit is %d", n)
	}

	mtu := func(dst netip.Addr) uint32 { return h.findRoute(dst).MTU() }
	h.receive(ra(peerLL, lifetimeOf(time.Hour), prefixOpt("2001:db8:7::/64", true, false, time.Hour, time.Hour)))
	for _, test := range []struct {
		name    string
		mtu     uint32
		want    uint32
		comment string
	}{
		{"in range", 1400, 1400, ""},
		{"less than the minimum", 1279, 1400, "ignored"},
		{"more than the link's", 1501, 1400, "ignored"},
		{"the link's own", 1500, 1500, ""},
		{"the minimum", 1280, 1280, ""},
	} {
		h.receive(ra(peerLL, lifetimeOf(time.Hour), mtuOpt(test.mtu)))
		if a, b := mtu(remote), mtu(addr("2001:db8:7::9")); a != test.want || b != test.want {
			t.Errorf("%s: MTU %d elsewhere and %d on the link, want %d", test.name, a, b, test.want)
		}
	}
	// Routes that advertisements did not make are kept within it, too.
	h.findRoute(peerGlobal).WritePacket(stack.NetworkParams{Transport: 17}, packet(udp(1, 2, 1300)))
	if n := len(h.take()); n != 2 {
		t.Errorf("1300 bytes went in %d packets, at an MTU of 1280", n)
	}
	h.nic.SetUp(false)
	h.nic.SetUp(true)
	h.take()
	h.neighbour(peerGlobal, peerLink)
	if n := hopLimit(); n != 64 {
		t.Errorf("after the interface was down the hop limit is %d", n)
	}
}

func TestRetransTimerIsThatOfDAD(t *testing.T) {
	h := newHost(t, hostOptions{ra: true, dad: true})
	h.clock.Advance(5 * time.Second)
	for _, test := range []struct{ advertised, want time.Duration }{
		{3 * time.Second, 3 * time.Second},
		{0, 3 * time.Second},
		{time.Millisecond, 100 * time.Millisecond}, // within reason
		{time.Hour, time.Minute},
	} {
		h.receive(ra(peerLL, header.NDPRouterAdvertFields{RetransTimer: test.advertised}))
		h.add("2001:db8::55/64")
		h.clock.Advance(test.want - 1)
		if h.nic.HasAddress(addr("2001:db8::55")) {
			t.Errorf("RetransTimer %v: detection took less than %v", test.advertised, test.want)
		}
		h.clock.Advance(1)
		if !h.nic.HasAddress(addr("2001:db8::55")) {
			t.Errorf("RetransTimer %v: detection takes longer than %v", test.advertised, test.want)
		}
		h.nic.RemoveAddress(prefix("2001:db8::55/64"))
	}
}

// RFC 4861 section 6.3.4.
func TestAdvertisedTimesAreThoseOfNeighbours(t *testing.T) {
	h := newHost(t, hostOptions{ra: true, addresses: []string{"2001:db8::1/64"}})
	h.receive(ra(peerLL, header.NDPRouterAdvertFields{Lifetime: time.Hour, RetransTimer: 3 * time.Second, ReachableTime: 10 * time.Minute}))
	h.findRoute(peerGlobal).WritePacket(stack.NetworkParams{Transport: 17}, packet(udp(1, 2, 3)))
	h.one().icmp(header.ICMPv6NeighborSolicit)
	h.clock.Advance(3*time.Second - 1)
	h.none("not asked again yet")
	h.clock.Advance(1)
	h.one().icmp(header.ICMPv6NeighborSolicit)
	h.receive(ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, true), targetLink(peerLink)))
	state := func() stack.NeighbourState { n, _ := h.nic.Neighbour(peerGlobal); return n.State }
	h.clock.Advance(5*time.Minute - 1)
	if s := state(); s != stack.NeighbourReachable {
		t.Errorf("after 5 minutes the state is %#x", s)
	}
	h.clock.Advance(10 * time.Minute)
	if s := state(); s != stack.NeighbourStale {
		t.Errorf("after 15 minutes the state is %#x", s)
	}
}

func redirectMessage(src, dst, target, destination netip.Addr, opts ...[]byte) []byte {
	b := make([]byte, header.NDPRedirectSize)
	header.NDPRedirect(b).Encode(target, destination)
	return ndp(src, dst, append([][]byte{b}, opts...)...)
}

// RFC 4861 sections 8.1 and 8.3.
func TestRedirects(t *testing.T) {
	router := addr("fe80::99")
	better := otherLL
	good := redirectMessage(router, ourGlobal, better, remote, targetLink(otherLink))
	for _, test := range []struct {
		name string
		b    []byte
		prep func(h *host)
		// next is the next hop to remote afterwards.
		next netip.Addr
	}{
		{"to a better router", good, nil, better},
		{"to the destination itself", redirectMessage(router, ourGlobal, remote, remote), nil, remote},
		{"not from the first hop", redirectMessage(peerLL, ourGlobal, better, remote), nil, router},
		{"8.1: source is not link-local", redirectMessage(peerGlobal, ourGlobal, better, remote), nil, router},
		{"8.1: hop limit 254", func() []byte { b := slices.Clone(good); b[7] = 254; return b }(), nil, router},
		{"8.1: code 1", func() []byte { b := slices.Clone(good); b[41] = 1; icmp(router, ourGlobal, b[40:]); return b }(), nil, router},
		{"8.1: less than 40 bytes", ndp(router, ourGlobal, good[40:70]), nil, router},
		{"8.1: destination is a group", redirectMessage(router, ourGlobal, better, header.IPv6AllNodes), nil, router},
		{"8.1: target is neither link-local nor the destination", redirectMessage(router, ourGlobal, addr("2001:db8::5"), remote), nil, router},
		{"8.1: an option of length 0", redirectMessage(router, ourGlobal, better, remote, make([]byte, 8)), nil, router},
		{"to ourselves", redirectMessage(router, ourGlobal, ourLL, remote), nil, router},
		{"to a group", redirectMessage(router, header.IPv6AllNodes, better, remote), nil, router},
		{"accept_redirects is off", good, func(h *host) { h.stack.Settings().IPv6AcceptRedirects.Store(false) }, router},
		{"a router is not told", good, func(h *host) { h.stack.Settings().IPv6Forwarding.Store(true) }, router},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}})
			h.route("2001:db8:ffff::/48", router.String())
			if test.prep != nil {
				test.prep(h)
			}
			h.receive(test.b)
			if r := h.findRoute(remote); r.NextHop != test.next {
				t.Errorf("the next hop is %v, want %v", r.NextHop, test.next)
			}
			if r := h.findRoute(addr("2001:db8:ffff::a")); r.NextHop != router {
				t.Errorf("the next hop to others is %v", r.NextHop)
			}
			if test.next == better {
				if n, _ := h.nic.Neighbour(better); n.Link != otherLink || !n.Router {
					t.Errorf("the new first hop's entry is %+v", n)
				}
			}
		})
	}
}

func TestRedirectsEnd(t *testing.T) {
	router := addr("fe80::99")
	redirected := func(t *testing.T) *host {
		h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}})
		h.route("2001:db8:ffff::/48", router.String())
		h.receive(redirectMessage(router, ourGlobal, otherLL, remote, targetLink(otherLink)))
		if r := h.findRoute(remote); r.NextHop != otherLL {
			t.Fatalf("the next hop is %v", r.NextHop)
		}
		return h
	}
	back := func(h *host) {
		h.t.Helper()
		if r := h.findRoute(remote); r.NextHop != router {
			h.t.Errorf("the next hop is still %v", r.NextHop)
		}
	}
	t.Run("with time", func(t *testing.T) {
		h := redirected(t)
		h.clock.Advance(redirectLifetime)
		back(h)
	})
	t.Run("the new first hop does not answer", func(t *testing.T) {
		h := redirected(t)
		h.nic.SetNeighbour(stack.Neighbour{Addr: otherLL, State: stack.NeighbourFailed})
		back(h)
	})
	t.Run("the new first hop is no router", func(t *testing.T) {
		h := redirected(t)
		h.receive(ndp(otherLL, header.IPv6AllNodes, advertise(otherLL, false, false, true), targetLink(otherLink)))
		back(h)
	})
	t.Run("replaced by another, which only the new first hop may say", func(t *testing.T) {
		h := redirected(t)
		h.receive(redirectMessage(router, ourGlobal, peerLL, remote))
		if r := h.findRoute(remote); r.NextHop != otherLL {
			t.Errorf("the old router's redirect was obeyed: %v", r.NextHop)
		}
		h.receive(redirectMessage(otherLL, ourGlobal, peerLL, remote))
		if r := h.findRoute(remote); r.NextHop != peerLL {
			t.Errorf("the next hop is %v", r.NextHop)
		}
	})
}

func TestRedirectsAreBounded(t *testing.T) {
	h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}})
	h.route("2001:db8:ffff::/48", "fe80::99")
	before := len(h.stack.Routes())
	for i := range 1000 {
		d := remote.As16()
		d[14], d[13] = byte(i), byte(i>>8)
		h.receive(redirectMessage(addr("fe80::99"), ourGlobal, otherLL, netip.AddrFrom16(d)))
	}
	if n := len(h.stack.Routes()) - before; n != maxRedirects {
		t.Errorf("%d routes by redirects", n)
	}
	h.clock.Advance(redirectLifetime)
	if n := len(h.stack.Routes()) - before; n != 0 {
		t.Errorf("%d routes are left", n)
	}
}

// autoAddr is the address that the host makes of a prefix.
func autoAddr(p string) netip.Addr {
	a := prefix(p).Addr().As16()
	id := header.InterfaceID(ourLink)
	copy(a[8:], id[:])
	return netip.AddrFrom16(a)
}

// RFC 4861 section 6.3.4, RFC 4862 section 5.5.3.
func TestPrefixOptions(t *testing.T) {
	const p = "2001:db8:7::/64"
	for _, test := range []struct {
		name            string
		option          []byte
		onLink, address bool
		deprecated      bool
	}{
		{"on-link and autonomous", prefixOpt(p, true, true, 2*time.Hour, time.Hour), true, true, false},
		{"on-link only", prefixOpt(p, true, false, time.Hour, time.Hour), true, false, false},
		{"RFC 5942 section 4: autonomous only", prefixOpt(p, false, true, time.Hour, time.Hour), false, true, false},
		{"5.5.3 a: neither", prefixOpt(p, false, false, time.Hour, time.Hour), false, false, false},
		{"for ever", prefixOpt(p, true, true, header.NDPInfinite, header.NDPInfinite), true, true, false},
		{"5.5.3 d: valid for no time", prefixOpt(p, true, true, 0, 0), false, false, false},
		{"5.5.3 c: preferred for longer than valid", prefixOpt(p, true, true, time.Hour, 2*time.Hour), true, false, false},
		{"5.5.4: preferred for no time", prefixOpt(p, true, true, time.Hour, 0), true, true, true},
		{"5.5.3 d: 63 bits", prefixOpt("2001:db8:8::/63", true, true, time.Hour, time.Hour), false, false, false},
		{"5.5.3 d: 65 bits", prefixOpt("2001:db8:7::/65", true, true, time.Hour, time.Hour), false, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, hostOptions{ra: true})
			h.receive(ra(peerLL, lifetimeOf(0), test.option))
			if got := h.hasRoute(p); got != test.onLink {
				t.Errorf("the prefix is on the link: %v", got)
			}
			a, ok := h.nic.Address(autoAddr(p))
			if ok != test.address || a.Deprecated != test.deprecated {
				t.Errorf("the address is %+v, %v", a, ok)
			}
			if ok && (a.Prefix.Bits() != 64 || !a.Temporary) {
				t.Errorf("the address is %+v", a)
			}
		})
	}
	t.Run("5.5.3 b: link-local", func(t *testing.T) {
		h := newHost(t, hostOptions{ra: true, addresses: []string{"fe80::77/64"}})
		h.receive(ra(peerLL, lifetimeOf(0), prefixOpt("fe80::/64", true, true, time.Hour, time.Hour)))
		if _, ok := h.nic.Address(ourLL); ok {
			t.Error("an address was made")
		}
		h.receive(ra(peerLL, lifetimeOf(0), prefixOpt("fe80::/64", true, true, 0, 0)))
		if !h.hasRoute("fe80::/64") {
			t.Error("the link-local prefix was taken away")
		}
	})
	t.Run("a prefix of everything or of groups", func(t *testing.T) {
		h := newHost(t, hostOptions{ra: true})
		h.receive(ra(peerLL, lifetimeOf(0), prefixOpt("::/0", true, false, time.Hour, time.Hour), prefixOpt("ff00::/8", true, false, time.Hour, time.Hour)))
		if h.hasRoute("::/0") || h.hasRoute("ff00::/8") {
			t.Error("it is on the link")
		}
	})
	t.Run("autoconf is off", func(t *testing.T) {
		h := newHost(t, hostOptions{ra: true})
		h.stack.Settings().Autoconf.Store(false)
		h.receive(ra(peerLL, lifetimeOf(0), prefixOpt(p, true, true, time.Hour, time.Hour)))
		if _, ok := h.nic.Address(autoAddr(p)); ok || !h.hasRoute(p) {
			t.Error("an address was made, or the prefix is not on the link")
		}
	})
	t.Run("a link without addresses", func(t *testing.T) {
		h := newHost(t, hostOptions{ra: true, noResolution: true, addresses: []string{"fe80::77/64"}})
		h.receive(ra(peerLL, lifetimeOf(0), prefixOpt(p, true, true, time.Hour, time.Hour)))
		if _, ok := h.nic.Address(autoAddr(p)); ok || !h.hasRoute(p) {
			t.Error("an address was made, or the prefix is not on the link")
		}
	})
}

// RFC 4861 section 6.3.5, RFC 4862 sections 5.5.3 e and 5.5.4.
func TestLifetimesOfPrefixes(t *testing.T) {
	const p = "2001:db8:7::/64"
	type message struct {
		at               time.Duration // since the one before
		valid, preferred time.Duration
	}
	hour := time.Hour
	const forEver = time.Duration(1 << 62)
	for _, test := range []struct {
		name     string
		messages []message
		// After the last one: until when it is preferred and valid, and the prefix on the link.
		preferred, valid, onLink time.Duration
	}{
		{"once", []message{{0, 2 * hour, hour}}, hour, 2 * hour, 2 * hour},
		{"renewed", []message{{0, 2 * hour, hour}, {hour / 2, 2 * hour, hour}}, hour, 2 * hour, 2 * hour},
		{"for ever", []message{{0, header.NDPInfinite, header.NDPInfinite}}, forEver, forEver, forEver},
		{"e.1: longer than two hours", []message{{0, 9 * hour, 9 * hour}, {hour, 3 * hour, hour}}, hour, 3 * hour, 3 * hour},
		{"e.1: longer than what is left", []message{{0, hour, hour}, {hour / 2, hour * 3 / 4, hour / 2}}, hour / 2, hour * 3 / 4, hour * 3 / 4},
		{"e.2: shorter than what is left, which is two hours at most", []message{{0, 2 * hour, hour}, {hour / 2, hour, hour / 2}}, hour / 2, hour * 3 / 2, hour},
		{"e.2: it cannot be taken away", []message{{0, hour, hour}, {hour / 2, 0, 0}}, 0, hour / 2, 0},
		{"e.3: two hours are left in any case", []message{{0, 9 * hour, 9 * hour}, {hour, 0, 0}}, 0, 2 * hour, 0},
		{"e.3: and of an infinite lifetime", []message{{0, header.NDPInfinite, header.NDPInfinite}, {hour, time.Second, time.Second}}, time.Second, 2 * hour, time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, hostOptions{ra: true})
			for _, m := range test.messages {
				h.clock.Advance(m.at)
				h.receive(ra(peerLL, lifetimeOf(0), prefixOpt(p, true, true, m.valid, m.preferred)))
			}
			a := autoAddr(p)
			start := h.clock.Monotonic()
			states := []struct {
				what  string
				until time.Duration
				now   func() bool
			}{
				{"preferred", test.preferred, func() bool { x, ok := h.nic.Address(a); return ok && !x.Deprecated }},
				{"valid", test.valid, func() bool { _, ok := h.nic.Address(a); return ok }},
				{"on the link", test.onLink, func() bool { return h.hasRoute(p) }},
			}
			var times []time.Duration
			for _, s := range states {
				times = append(times, s.until-1, s.until, s.until+time.Minute, 1000*time.Hour)
			}
			slices.Sort(times)
			for _, at := range times {
				if at < 0 || at > 2000*time.Hour {
					continue
				}
				h.clock.Advance(start + at - h.clock.Monotonic())
				for _, s := range states {
					if want := s.until == forEver || at < s.until; s.now() != want {
						t.Errorf("after %v it is %s: %v, want %v", at, s.what, !want, want)
					}
				}
			}
		})
	}
}

func TestRemainingLifetimesAreShown(t *testing.T) {
	h := newHost(t, hostOptions{ra: true})
	h.receive(ra(peerLL, lifetimeOf(0), prefixOpt("2001:db8:7::/64", true, true, 2*time.Hour, time.Hour)))
	h.clock.Advance(10 * time.Minute)
	a, _ := h.nic.Address(autoAddr("2001:db8:7::/64"))
	if a.Valid != 110*time.Minute || a.Preferred != 50*time.Minute {
		t.Errorf("lifetimes of %v and %v are left", a.Valid, a.Preferred)
	}
}

func TestPrefixesAndAddressesAreBounded(t *testing.T) {
	h := newHost(t, hostOptions{ra: true})
	routes := len(h.stack.Routes())
	for i := range 1000 {
		a := addr("2001:db8::").As16()
		a[6], a[7] = byte(i>>8), byte(i)
		p := netip.PrefixFrom(netip.AddrFrom16(a), 64).String()
		h.receive(ra(peerLL, lifetimeOf(0), prefixOpt(p, true, true, time.Hour, time.Hour)))
	}
	if n := len(h.nic.Addresses()); n != 1+maxAuto {
		t.Errorf("%d addresses", n)
	}
	if n := len(h.stack.Routes()) - routes; n != maxPrefixes+maxAuto { // and a local one for each address
		t.Errorf("%d routes", n)
	}
	if n := len(h.ep.work); n != 0 {
		t.Errorf("%d things wait to be done", n)
	}
	h.clock.Advance(time.Hour)
	if n, m := len(h.nic.Addresses()), len(h.stack.Routes())-routes; n != 1 || m != 0 {
		t.Errorf("%d addresses and %d routes are left", n, m)
	}
}

// An advertisement with as many prefixes as fit in a packet does not do more than others.
func TestOneAdvertisementWithManyPrefixes(t *testing.T) {
	h := newHost(t, hostOptions{ra: true})
	var opts [][]byte
	for i := range 2000 {
		a := addr("2001:db8::").As16()
		a[6], a[7] = byte(i>>8), byte(i)
		opts = append(opts, prefixOpt(netip.PrefixFrom(netip.AddrFrom16(a), 64).String(), true, true, time.Hour, time.Hour))
	}
	h.receive(ra(peerLL, lifetimeOf(0), opts...))
	if n := len(h.nic.Addresses()); n != 1+maxAuto {
		t.Errorf("%d addresses", n)
	}
}

// RFC 4862 section 5.4.5: and it is not tried again with every advertisement.
func TestDuplicateOfAnAutomaticAddress(t *testing.T) {
	const p = "2001:db8:7::/64"
	h := newHost(t, hostOptions{ra: true, dad: true})
	h.clock.Advance(5 * time.Second)
	h.take()
	h.receive(ra(peerLL, lifetimeOf(0), prefixOpt(p, true, true, time.Hour, time.Hour)))
	a := autoAddr(p)
	if x, ok := h.nic.Address(a); !ok || !x.Tentative {
		t.Fatalf("the address is %+v, %v", x, ok)
	}
	h.clock.Advance(time.Second) // RFC 4862 section 5.4.2: a delay of up to a second
	if n := len(h.probes()); n != 1 {
		t.Fatalf("%d probes", n)
	}
	h.receive(ndp(a, header.IPv6AllNodes, advertise(a, false, false, true), targetLink(peerLink)))
	if _, ok := h.nic.Address(a); ok {
		t.Error("the duplicate is still there")
	}
	h.receive(ra(peerLL, lifetimeOf(0), prefixOpt(p, true, true, time.Hour, time.Hour)))
	h.clock.Advance(time.Minute)
	if _, ok := h.nic.Address(a); ok || len(h.probes()) != 0 {
		t.Error("it was tried again")
	}
	if !h.hasRoute(p) {
		t.Error("the prefix is not on the link any more")
	}
}

// What another stack on this link had learned, from which this one took over.
func TestLearnedStateIsTakenOver(t *testing.T) {
	const p = "2001:db8:7::/64"
	h := newHost(t, hostOptions{ra: true})
	a := stack.Address{Prefix: netip.PrefixFrom(autoAddr(p), 64), NoDAD: true, Temporary: true, Valid: time.Hour, Preferred: time.Minute}
	if err := h.nic.AddAddress(a); err != nil {
		t.Fatal(err)
	}
	if err := h.stack.AddRoute(stack.RouteEntry{Destination: prefix("::/0"), Gateway: peerLL, NIC: h.nic.ID(), Protocol: protocolRA}); err != nil {
		t.Fatal(err)
	}
	h.receive(ra(peerLL, lifetimeOf(time.Hour), prefixOpt(p, true, true, 10*time.Hour, 5*time.Hour)))
	x, _ := h.nic.Address(autoAddr(p))
	if x.Valid != 10*time.Hour || x.Preferred != 5*time.Hour || x.Deprecated {
		t.Errorf("the address is %+v", x)
	}
	h.expectGateways(peerLL)
	h.clock.Advance(time.Hour)
	h.expectGateways()
	h.receive(ra(peerLL, lifetimeOf(0), prefixOpt(p, true, true, 0, 0)))
	if x, _ = h.nic.Address(autoAddr(p)); x.Valid != 2*time.Hour || !x.Deprecated {
		t.Errorf("the address is %+v", x)
	}
	h.clock.Advance(2 * time.Hour)
	if _, ok := h.nic.Address(autoAddr(p)); ok {
		t.Error("the address is still there")
	}
}

func TestAnAddressSetByHandIsNotTakenOver(t *testing.T) {
	const p = "2001:db8:7::/64"
	h := newHost(t, hostOptions{ra: true})
	if err := h.nic.AddAddress(stack.Address{Prefix: netip.PrefixFrom(autoAddr(p), 64)}); err != nil {
		t.Fatal(err)
	}
	h.receive(ra(peerLL, lifetimeOf(0), prefixOpt(p, true, true, time.Hour, time.Hour)))
	h.clock.Advance(2 * time.Hour)
	x, ok := h.nic.Address(autoAddr(p))
	if !ok || x.Deprecated || x.Valid != 0 {
		t.Errorf("the address is %+v, %v", x, ok)
	}
	if !h.hasRoute(p) {
		t.Error("the address's own route to the prefix has gone with the advertised one")
	}
}

func TestInterfaceThatGoesDownForgetsItsRouters(t *testing.T) {
	const p = "2001:db8:7::/64"
	h := newHost(t, hostOptions{ra: true, addresses: []string{"2001:db8::1/64"}})
	h.receive(ra(peerLL, lifetimeOf(time.Hour), prefixOpt(p, true, true, time.Hour, time.Hour), mtuOpt(1400)))
	h.receive(redirectMessage(peerLL, ourGlobal, otherLL, remote))
	h.nic.SetUp(false)
	if _, ok := h.nic.Address(autoAddr(p)); ok {
		t.Error("the automatic address is still there")
	}
	if _, ok := h.nic.Address(ourGlobal); !ok {
		t.Error("the address that was set by hand has gone")
	}
	if n := h.clock.Pending(); n != 0 {
		t.Errorf("%d timers are set", n)
	}
	h.nic.SetUp(true)
	h.expectGateways()
	if h.hasRoute(p) || h.ep.linkMTU.Load() != 0 {
		t.Error("the prefix or the MTU is still known")
	}
	h.take()
	h.clock.Advance(3 * time.Second)
	h.receive(ra(peerLL, lifetimeOf(time.Hour), prefixOpt(p, true, true, time.Hour, time.Hour)))
	h.expectGateways(peerLL)
	if !h.nic.HasAddress(autoAddr(p)) || !h.hasRoute(p) {
		t.Error("advertisements are not obeyed any more")
	}
}
