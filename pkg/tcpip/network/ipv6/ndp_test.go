package ipv6

import (
	"net/netip"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// solicit and advertise make the fixed part of a neighbour solicitation and advertisement.
func solicit(target netip.Addr) []byte {
	b := make([]byte, header.NDPNeighborSolicitSize)
	header.NDPNeighborSolicit(b).Encode(target)
	return b
}

func advertise(target netip.Addr, router, solicited, override bool) []byte {
	b := make([]byte, header.NDPNeighborAdvertSize)
	header.NDPNeighborAdvert(b).Encode(header.NDPNeighborAdvertFields{Router: router, Solicited: solicited, Override: override, Target: target})
	return b
}

func sourceLink(link tcpip.LinkAddress) []byte { return linkOpt(header.NDPOptionSourceLink, link) }
func targetLink(link tcpip.LinkAddress) []byte { return linkOpt(header.NDPOptionTargetLink, link) }

// expectAdvert checks that the frame is an advertisement of target.
func (f frame) expectAdvert(target, to netip.Addr, router, solicited bool) {
	f.h.t.Helper()
	m := header.NDPNeighborAdvert(f.icmp(header.ICMPv6NeighborAdvert))
	if !m.Valid() || m.Target() != target || m.Router() != router || m.Solicited() != solicited || !m.Override() {
		f.h.t.Errorf("advertisement of %v, router %v, solicited %v, override %v", m.Target(), m.Router(), m.Solicited(), m.Override())
	}
	if link, ok := linkOption(m.Options(), header.NDPOptionTargetLink); !ok || link != ourLink {
		f.h.t.Errorf("the advertisement has the link address %v, %v", link, ok)
	}
	if f.ip().HopLimit() != 255 || f.ip().Source() != target || f.ip().Destination() != to {
		f.h.t.Errorf("sent %v, hop limit %d", f, f.ip().HopLimit())
	}
}

// RFC 4861 sections 7.1.1, 7.2.3 and 7.2.4.
func TestNeighborSolicitations(t *testing.T) {
	group := header.SolicitedNode(ourGlobal)
	with := func(b []byte, f func(b []byte)) []byte { f(b); return b }
	for _, test := range []struct {
		name string
		b    []byte
		// to is where the answer goes; zero: there is none.
		to netip.Addr
		// learned: the sender's link address is known afterwards.
		learned bool
	}{
		{"multicast", ndp(peerGlobal, group, solicit(ourGlobal), sourceLink(peerLink)), peerGlobal, true},
		{"unicast", ndp(peerGlobal, ourGlobal, solicit(ourGlobal), sourceLink(peerLink)), peerGlobal, true},
		{"from a link-local address", ndp(peerLL, group, solicit(ourGlobal), sourceLink(peerLink)), peerLL, true},
		{"RFC 4862 section 5.4.3: a probe for our address", ndp(header.IPv6Any, group, solicit(ourGlobal)), header.IPv6AllNodes, false},
		{"7.1.1: hop limit 254", with(ndp(peerGlobal, group, solicit(ourGlobal), sourceLink(peerLink)), func(b []byte) { b[7] = 254 }), netip.Addr{}, false},
		{"7.1.1: code 1", ndp(peerGlobal, group, with(solicit(ourGlobal), func(b []byte) { b[1] = 1 }), sourceLink(peerLink)), netip.Addr{}, false},
		{"7.1.1: target is a group", ndp(peerGlobal, group, solicit(group), sourceLink(peerLink)), netip.Addr{}, false},
		{"7.1.1: less than 24 bytes", ndp(peerGlobal, group, solicit(ourGlobal)[:20]), netip.Addr{}, false},
		{"7.1.1: an option of length 0", ndp(peerGlobal, group, solicit(ourGlobal), make([]byte, 8)), netip.Addr{}, false},
		{"7.1.1: an option that is cut off", ndp(peerGlobal, group, solicit(ourGlobal), []byte{1, 2, 2, 0, 0, 0, 0, 2}), netip.Addr{}, false},
		{"7.1.1: a probe not to the solicited-node group", ndp(header.IPv6Any, ourGlobal, solicit(ourGlobal)), netip.Addr{}, false},
		{"7.1.1: a probe with a link address", ndp(header.IPv6Any, group, solicit(ourGlobal), sourceLink(peerLink)), netip.Addr{}, false},
		{"somebody else's address", ndp(peerGlobal, group, solicit(addr("2001:db8::2:1")), sourceLink(peerLink)), netip.Addr{}, false},
		{"section 4.6: unknown options are ignored", ndp(peerGlobal, group, solicit(ourGlobal), []byte{200, 1, 1, 2, 3, 4, 5, 6}, sourceLink(peerLink)), peerGlobal, true},
		{"a link address that is a group", ndp(peerGlobal, group, solicit(ourGlobal), sourceLink(tcpip.LinkAddress{0x33, 0x33, 0, 0, 0, 1})), peerGlobal, false},
		{"RFC 6980 section 5: in a fragment", ip(peerGlobal, group, header.ProtocolFragment, 255,
			fragmentHeader(header.ProtocolICMPv6, 0, false, 1), ndp(peerGlobal, group, solicit(ourGlobal), sourceLink(peerLink))[40:]), netip.Addr{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}})
			h.receive(test.b)
			n, known := h.nic.Neighbour(header.IPv6(test.b).Source())
			if test.learned != (known && n.Link == peerLink && n.State&stack.NeighbourIncomplete == 0) {
				t.Errorf("the neighbour's entry is %+v, %v", n, known)
			}
			if !test.to.IsValid() {
				h.none(test.name)
				return
			}
			f := h.one()
			if !test.learned && test.to != header.IPv6AllNodes {
				f.icmp(header.ICMPv6NeighborSolicit) // whom to answer has to be found out
				return
			}
			f.expectAdvert(ourGlobal, test.to, false, test.to != header.IPv6AllNodes)
		})
	}
}

func TestRoutersSaySo(t *testing.T) {
	h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}, forwarding: true})
	h.receive(ndp(peerGlobal, header.SolicitedNode(ourGlobal), solicit(ourGlobal), sourceLink(peerLink)))
	h.one().expectAdvert(ourGlobal, peerGlobal, true, true)
}

// RFC 4861 sections 7.1.2 and 7.2.5.
func TestNeighborAdvertisements(t *testing.T) {
	with := func(b []byte, f func(b []byte)) []byte { f(b); return b }
	all := header.IPv6AllNodes
	for _, test := range []struct {
		name  string
		known stack.NeighbourState // 0: no entry; otherwise with otherLink
		b     []byte
		state stack.NeighbourState
		link  tcpip.LinkAddress
	}{
		{"no entry: nothing is made", 0, ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, true), targetLink(peerLink)), 0, tcpip.LinkAddress{}},
		{"incomplete, solicited", stack.NeighbourIncomplete, ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, true), targetLink(peerLink)), stack.NeighbourReachable, peerLink},
		{"incomplete, unsolicited", stack.NeighbourIncomplete, ndp(peerGlobal, all, advertise(peerGlobal, false, false, true), targetLink(peerLink)), stack.NeighbourStale, peerLink},
		{"incomplete, without a link address", stack.NeighbourIncomplete, ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, true)), stack.NeighbourIncomplete, tcpip.LinkAddress{}},
		{"stale, another address, override", stack.NeighbourStale, ndp(peerGlobal, all, advertise(peerGlobal, false, false, true), targetLink(peerLink)), stack.NeighbourStale, peerLink},
		{"stale, another address, override, solicited", stack.NeighbourStale, ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, true), targetLink(peerLink)), stack.NeighbourReachable, peerLink},
		{"stale, another address, no override", stack.NeighbourStale, ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, false), targetLink(peerLink)), stack.NeighbourStale, otherLink},
		{"reachable, another address, no override", stack.NeighbourReachable, ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, false), targetLink(peerLink)), stack.NeighbourStale, otherLink},
		{"stale, the same address, solicited", stack.NeighbourStale, ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, false), targetLink(otherLink)), stack.NeighbourReachable, otherLink},
		{"stale, no address, solicited", stack.NeighbourStale, ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, false)), stack.NeighbourReachable, otherLink},
		{"reachable, no address, unsolicited", stack.NeighbourReachable, ndp(peerGlobal, all, advertise(peerGlobal, false, false, true)), stack.NeighbourReachable, otherLink},
		{"7.1.2: hop limit 1", stack.NeighbourStale, with(ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, true), targetLink(peerLink)), func(b []byte) { b[7] = 1 }), stack.NeighbourStale, otherLink},
		{"7.1.2: code 1", stack.NeighbourStale, ndp(peerGlobal, ourGlobal, with(advertise(peerGlobal, false, true, true), func(b []byte) { b[1] = 1 }), targetLink(peerLink)), stack.NeighbourStale, otherLink},
		{"7.1.2: solicited, to a group", stack.NeighbourStale, ndp(peerGlobal, all, advertise(peerGlobal, false, true, true), targetLink(peerLink)), stack.NeighbourStale, otherLink},
		{"7.1.2: less than 24 bytes", stack.NeighbourStale, ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, true)[:23]), stack.NeighbourStale, otherLink},
		{"7.1.2: an option of length 0", stack.NeighbourStale, ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, true), make([]byte, 8)), stack.NeighbourStale, otherLink},
		{"a link address that is a group", stack.NeighbourStale, ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, true), targetLink(tcpip.Broadcast)), stack.NeighbourStale, otherLink},
		{"a wrong checksum", stack.NeighbourStale, with(ndp(peerGlobal, ourGlobal, advertise(peerGlobal, false, true, true), targetLink(peerLink)), func(b []byte) { b[42]++ }), stack.NeighbourStale, otherLink},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}})
			switch test.known {
			case 0:
			case stack.NeighbourIncomplete:
				h.findRoute(peerGlobal).WritePacket(stack.NetworkParams{Transport: 17}, packet(udp(1, 2, 3)))
			default:
				if err := h.nic.SetNeighbour(stack.Neighbour{Addr: peerGlobal, Link: otherLink, State: test.known}); err != nil {
					t.Fatal(err)
				}
			}
			h.take()
			h.receive(test.b)
			n, _ := h.nic.Neighbour(peerGlobal)
			if n.State != test.state || n.Link != test.link {
				t.Errorf("the entry is %v in state %#x, want %v in state %#x", n.Link, n.State, test.link, test.state)
			}
			if f := h.take(); (len(f) == 1) != (test.known == stack.NeighbourIncomplete && test.state != test.known) {
				t.Errorf("%d waiting packets were sent", len(f))
			}
		})
	}
}

func TestNobodyElseAnswersForOurAddress(t *testing.T) {
	h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}})
	h.receive(ndp(peerGlobal, header.IPv6AllNodes, advertise(ourGlobal, false, false, true), targetLink(peerLink)))
	if _, ok := h.nic.Neighbour(ourGlobal); ok || !h.nic.HasAddress(ourGlobal) {
		t.Error("another node's claim to our address was believed")
	}
}

// RFC 4861 section 6.2.6.
func TestRouterSolicitations(t *testing.T) {
	rs := make([]byte, header.NDPRouterSolicitSize)
	header.NDPRouterSolicit(rs).Encode()
	for _, test := range []struct {
		name       string
		forwarding bool
		b          []byte
		learned    bool
		invalid    bool
	}{
		{"to a router", true, ndp(peerLL, header.IPv6AllRouters, rs, sourceLink(peerLink)), true, false},
		{"to a host", false, ndp(peerLL, ourLL, rs, sourceLink(peerLink)), false, false},
		{"6.1.1: from nobody, with a link address", true, ndp(header.IPv6Any, header.IPv6AllRouters, rs, sourceLink(peerLink)), false, true},
		{"from nobody", true, ndp(header.IPv6Any, header.IPv6AllRouters, rs), false, false},
		{"6.1.1: too short", true, ndp(peerLL, header.IPv6AllRouters, rs[:4], []byte{0, 0, 0}), false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, hostOptions{forwarding: test.forwarding})
			h.receive(test.b)
			if _, ok := h.nic.Neighbour(peerLL); ok != test.learned {
				t.Errorf("the sender's entry is there: %v", ok)
			}
			if n := h.stack.Stats().ICMP6.InErrors.Load(); (n != 0) != test.invalid {
				t.Errorf("%d errors", n)
			}
			h.none("this host advertises nothing")
		})
	}
}

// RFC 4861 section 7.2.2.
func TestSolicit(t *testing.T) {
	target := addr("2001:db8::abcd:1234")
	h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}})
	h.ep.Solicit(target, ourGlobal, tcpip.LinkAddress{})
	f := h.one()
	m := header.NDPNeighborSolicit(f.icmp(header.ICMPv6NeighborSolicit))
	if link, ok := linkOption(m.Options(), header.NDPOptionSourceLink); !ok || link != ourLink || m.Target() != target {
		t.Errorf("solicitation of %v with the link address %v, %v", m.Target(), link, ok)
	}
	if g := addr("ff02::1:ffcd:1234"); f.ip().Destination() != g || f.to != header.MulticastLink(g) || f.ip().Source() != ourGlobal || f.ip().HopLimit() != 255 {
		t.Errorf("sent %v, hop limit %d", f, f.ip().HopLimit())
	}
	h.ep.Solicit(target, ourGlobal, peerLink)
	if f = h.one(); f.ip().Destination() != target || f.to != peerLink {
		t.Errorf("the unicast solicitation is %v", f)
	}
	h.ep.Solicit(target, remote, tcpip.LinkAddress{})
	if f = h.one(); f.ip().Source() != ourGlobal {
		t.Errorf("from an address that is not ours: %v", f)
	}
	h.ep.Solicit(peerLL, netip.Addr{}, tcpip.LinkAddress{})
	if f = h.one(); f.ip().Source() != ourLL {
		t.Errorf("for a link-local target: %v", f)
	}
}

func TestSolicitWithoutAnAddressIsNotAProbe(t *testing.T) {
	h := newHost(t, hostOptions{dad: true})
	h.ep.Solicit(peerLL, ourLL, tcpip.LinkAddress{}) // ours is tentative
	for _, f := range h.take() {
		if m := header.NDPNeighborSolicit(f.ip().Payload()); f.ip().NextHeader() == header.ProtocolICMPv6 && m.Valid() && m.Target() == peerLL {
			t.Errorf("sent %v", f)
		}
	}
}

// expectProbe checks that the frame is a probe of duplicate address detection.
func (f frame) expectProbe(target netip.Addr) (nonce [6]byte) {
	f.h.t.Helper()
	m := header.NDPNeighborSolicit(f.icmp(header.ICMPv6NeighborSolicit))
	if !m.Valid() || m.Target() != target || f.ip().Source() != header.IPv6Any || f.ip().Destination() != header.SolicitedNode(target) || f.ip().HopLimit() != 255 {
		f.h.t.Errorf("sent %v for %v", f, m.Target())
	}
	if hasOption(m.Options(), header.NDPOptionSourceLink) {
		f.h.t.Error("a probe with a link address")
	}
	nonce, ok := nonceOption(m.Options())
	if !ok {
		f.h.t.Error("a probe without a nonce")
	}
	return nonce
}

// probes are the neighbour solicitations that were sent, without the reports of groups.
func (h *host) probes() []frame {
	var list []frame
	for _, f := range h.take() {
		if next, b := f.payload(); next == header.ProtocolICMPv6 && b[0] == header.ICMPv6NeighborSolicit {
			list = append(list, f)
		}
	}
	return list
}

// RFC 4862 section 5.4.
func TestDuplicateAddressDetection(t *testing.T) {
	a := addr("2001:db8::55")
	group := header.SolicitedNode(a)
	nonceOpt := func(nonce [6]byte) []byte {
		var b [header.NDPNonceOptionSize]byte
		header.NDPNonce(b[:]).Encode(nonce)
		return b[:]
	}
	for _, test := range []struct {
		name string
		// meanwhile happens while the address is tentative; nonce is that of our probe.
		meanwhile func(h *host, nonce [6]byte)
		duplicate bool
	}{
		{"nobody objects", func(*host, [6]byte) {}, false},
		{"5.4.4: somebody has it", func(h *host, _ [6]byte) {
			h.receive(ndp(a, header.IPv6AllNodes, advertise(a, false, false, true), targetLink(peerLink)))
		}, true},
		{"5.4.3: somebody else wants it", func(h *host, _ [6]byte) {
			h.receive(ndp(header.IPv6Any, group, solicit(a)))
		}, true},
		{"RFC 7527: somebody else wants it, with a nonce of theirs", func(h *host, nonce [6]byte) {
			nonce[0]++
			h.receive(ndp(header.IPv6Any, group, solicit(a), nonceOpt(nonce)))
		}, true},
		{"RFC 7527 section 4.1: our own probe comes back", func(h *host, nonce [6]byte) {
			h.receive(ndp(header.IPv6Any, group, solicit(a), nonceOpt(nonce)))
		}, false},
		{"5.4.3: somebody wants to resolve it", func(h *host, _ [6]byte) {
			h.receive(ndp(peerGlobal, group, solicit(a), sourceLink(peerLink)))
		}, false},
		{"an advertisement of another address", func(h *host, _ [6]byte) {
			h.receive(ndp(peerGlobal, header.IPv6AllNodes, advertise(peerGlobal, false, false, true), targetLink(peerLink)))
		}, false},
		{"an advertisement that a router forwarded", func(h *host, _ [6]byte) {
			b := ndp(a, header.IPv6AllNodes, advertise(a, false, false, true), targetLink(peerLink))
			b[7] = 254
			h.receive(b)
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, hostOptions{dad: true})
			h.clock.Advance(5 * time.Second)
			h.take()
			h.add("2001:db8::55/64")
			if got, _ := h.nic.Address(a); !got.Tentative || h.nic.HasAddress(a) || !h.nic.InGroup(group) {
				t.Errorf("the address begins as %+v, in its group: %v", got, h.nic.InGroup(group))
			}
			p := h.probes()
			if len(p) != 1 {
				t.Fatalf("%d probes", len(p))
			}
			nonce := p[0].expectProbe(a)
			h.clock.Advance(time.Second / 2)
			h.take()
			test.meanwhile(h, nonce)
			h.none("a tentative address is not answered for")
			// What comes to a tentative address is not ours (RFC 4862 section 5.4).
			h.receive(ip(peerGlobal, a, header.ProtocolUDP, 64, udp(1, 2, 3)))
			if len(h.udp.takeUnknown()) != 0 {
				t.Error("a packet to a tentative address was delivered")
			}
			h.clock.Advance(time.Second / 2)
			got, _ := h.nic.Address(a)
			if got.Duplicate != test.duplicate || got.Tentative != test.duplicate || h.nic.HasAddress(a) == test.duplicate {
				t.Errorf("the address ends as %+v", got)
			}
			h.clock.Advance(time.Minute)
			if p := h.probes(); len(p) != 0 {
				t.Errorf("%d more probes", len(p))
			}
			h.receive(ip(peerGlobal, a, header.ProtocolUDP, 64, udp(1, 2, 3)))
			if n := len(h.udp.takeUnknown()); (n == 0) != test.duplicate {
				t.Errorf("%d packets to the address were delivered", n)
			}
		})
	}
}

func TestDADSettings(t *testing.T) {
	a := addr("2001:db8::55")
	for _, test := range []struct {
		name      string
		transmits int32
		accept    bool
		noDAD     bool
		probes    int
		ready     time.Duration
	}{
		{"RFC 4862 section 5.1: DupAddrDetectTransmits of 1", 1, true, false, 1, time.Second},
		{"three probes", 3, true, false, 3, 3 * time.Second},
		{"none", 0, true, false, 0, 0},
		{"accept_dad of 0", 1, false, false, 0, 0},
		{"IFA_F_NODAD", 1, true, true, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, hostOptions{dad: true})
			h.clock.Advance(5 * time.Second)
			h.take()
			h.stack.Settings().DADTransmits.Store(test.transmits)
			h.stack.Settings().AcceptDAD.Store(test.accept)
			if err := h.nic.AddAddress(stack.Address{Prefix: prefix("2001:db8::55/64"), NoDAD: test.noDAD}); err != nil {
				t.Fatal(err)
			}
			if test.ready > 0 {
				h.clock.Advance(test.ready - 1)
				if h.nic.HasAddress(a) {
					t.Error("the address is used too early")
				}
				h.clock.Advance(1)
			}
			if !h.nic.HasAddress(a) || !h.nic.InGroup(header.SolicitedNode(a)) {
				t.Error("the address is not used, or its group was not joined")
			}
			p := h.probes()
			if len(p) != test.probes {
				t.Errorf("%d probes, want %d", len(p), test.probes)
			}
			seen := map[[6]byte]bool{}
			for _, f := range p {
				seen[f.expectProbe(a)] = true
			}
			if len(seen) != len(p) {
				t.Error("two probes have the same nonce")
			}
		})
	}
}

func TestLinksWithoutNeighboursNeedNoDetection(t *testing.T) {
	h := newHost(t, hostOptions{dad: true, noResolution: true, addresses: []string{"2001:db8::1/64"}})
	if !h.nic.HasAddress(ourGlobal) || len(h.probes()) != 0 {
		t.Error("the address is tentative, or was probed")
	}
}

func TestAddressesOfAnInterfaceThatComesUpAreProbed(t *testing.T) {
	h := newHost(t, hostOptions{dad: true, down: true, addresses: []string{"2001:db8::1/64", "2001:db8::5/64"}})
	h.clock.Advance(time.Minute)
	h.none("the interface is down")
	h.nic.SetUp(true)
	// RFC 4862 section 5.4.2: not all at once.
	if h.nic.HasAddress(ourGlobal) {
		t.Error("an address is used at once")
	}
	h.clock.Advance(3 * time.Second)
	seen := map[netip.Addr]int{}
	for _, f := range h.probes() {
		seen[header.NDPNeighborSolicit(f.icmp(header.ICMPv6NeighborSolicit)).Target()]++
	}
	if len(seen) != 3 || seen[ourGlobal] != 1 || seen[addr("2001:db8::5")] != 1 || seen[ourLL] != 1 {
		t.Errorf("probes of %v", seen)
	}
	for _, a := range []netip.Addr{ourGlobal, addr("2001:db8::5"), ourLL} {
		if !h.nic.HasAddress(a) {
			t.Errorf("%v is not used", a)
		}
	}
	// Down and up again, they are probed again.
	h.nic.SetUp(false)
	h.take()
	h.nic.SetUp(true)
	if got, _ := h.nic.Address(ourGlobal); !got.Tentative {
		t.Error("the address is not tentative again")
	}
	h.clock.Advance(3 * time.Second)
	if n := len(h.probes()); n != 3 || !h.nic.HasAddress(ourGlobal) {
		t.Errorf("%d probes", n)
	}
}

func TestRemovedAddressLeavesItsGroup(t *testing.T) {
	h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64", "2001:db8:1::1/64"}})
	g := header.SolicitedNode(ourGlobal)
	for _, p := range []string{"2001:db8::1/64", "2001:db8:1::1/64"} {
		if !h.nic.InGroup(g) {
			t.Error("not in the group of an address that is there")
		}
		if err := h.nic.RemoveAddress(prefix(p)); err != nil {
			t.Fatal(err)
		}
	}
	// The link-local address has the same last bytes, so it is still needed.
	if !h.nic.InGroup(g) {
		t.Error("the group was left though the link-local address needs it")
	}
	if err := h.nic.RemoveAddress(netip.PrefixFrom(ourLL, 64)); err != nil {
		t.Fatal(err)
	}
	if h.nic.InGroup(g) {
		t.Error("the group was not left")
	}
}

func TestAddressRemovedDuringDetection(t *testing.T) {
	h := newHost(t, hostOptions{dad: true})
	h.clock.Advance(5 * time.Second)
	h.add("2001:db8::55/64")
	h.nic.RemoveAddress(prefix("2001:db8::55/64"))
	h.take()
	h.clock.Advance(time.Minute)
	if p := h.probes(); len(p) != 0 {
		t.Errorf("%d probes of an address that was removed", len(p))
	}
	if _, ok := h.nic.Address(addr("2001:db8::55")); ok {
		t.Error("it came back")
	}
}

// RFC 4862 section 5.3.
func TestLinkLocalAddress(t *testing.T) {
	for _, test := range []struct {
		name string
		o    hostOptions
		want netip.Addr
	}{
		{"made of the link address", hostOptions{}, addr("fe80::ff:fe00:1")},
		{"one is there already", hostOptions{addresses: []string{"fe80::77/64"}}, addr("fe80::77")},
		{"no link address", hostOptions{noResolution: true}, netip.Addr{}},
		{"a global address does not count", hostOptions{addresses: []string{"2001:db8::1/64"}}, addr("fe80::ff:fe00:1")},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, test.o)
			var got []netip.Addr
			for _, a := range h.nic.Addresses() {
				if a.Prefix.Addr().IsLinkLocalUnicast() {
					got = append(got, a.Prefix.Addr())
				}
			}
			if !test.want.IsValid() && len(got) != 0 || test.want.IsValid() && (len(got) != 1 || got[0] != test.want) {
				t.Errorf("link-local addresses %v, want %v", got, test.want)
			}
			h.nic.SetUp(false)
			_, left := h.nic.Address(ourLL)
			if left {
				t.Error("the address that was made is there while the interface is down")
			}
			h.nic.SetUp(true)
			if test.want.IsValid() && !h.nic.HasAddress(test.want) {
				t.Error("it is not there when the interface comes up again")
			}
		})
	}
}

func TestLoopbackHasNoDiscovery(t *testing.T) {
	h := newHost(t, hostOptions{dad: true})
	if err := h.lo.AddAddress(stack.Address{Prefix: prefix("2001:db8:9::1/128")}); err != nil {
		t.Fatal(err)
	}
	if !h.lo.HasAddress(addr("2001:db8:9::1")) || !h.lo.HasAddress(header.IPv6Loopback) {
		t.Error("an address of lo cannot be used at once")
	}
	if g := h.lo.Groups(); len(g) != 0 {
		t.Errorf("lo is in the groups %v", g)
	}
}
