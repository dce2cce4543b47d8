package ipv6

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// What is done to a packet of FuzzPacket before it is received.
const (
	fuzzHeader   = 1 << iota // version, length and addresses are put right
	fuzzICMP                 // and if it is an ICMPv6 message, its checksum, too
	fuzzOneHop               // the hop limit is 255
	fuzzToAll                // the destination is all nodes, not our address
	fuzzFromLink             // the source is link-local
	fuzzAdvance              // some time goes by after it
)

// fuzzInput makes an input of FuzzPacket.
func fuzzInput(flags byte, packets ...[]byte) []byte {
	var in []byte
	for _, p := range packets {
		in = append(in, flags, byte(len(p)>>8), byte(len(p)))
		in = append(in, p...)
	}
	return in
}

// FuzzPacket gives packets to a live stack: a router if the first byte is odd. Whatever comes, it
// does not panic, keeps no more than its limits, and sends nothing but well-formed packets.
func FuzzPacket(f *testing.F) {
	all := header.IPv6AllNodes
	add := func(flags byte, packets ...[]byte) {
		for _, first := range []byte{0, 1} {
			f.Add(append([]byte{first}, fuzzInput(flags, packets...)...))
		}
	}
	add(0, ping(peerGlobal, ourGlobal, 1))
	add(fuzzHeader, ip(peerGlobal, ourGlobal, header.ProtocolUDP, 64, udp(1, 2, 100)))
	add(0, ip(peerGlobal, remote, header.ProtocolUDP, 64, udp(1, 2, 100)))
	add(0, ip(peerGlobal, ourGlobal, header.ProtocolHopByHop, 64, options(header.ProtocolDestination, 5, 2, 0, 0), options(header.ProtocolRouting, 0x9e, 2, 1, 1),
		routing(header.ProtocolUDP, 0, 0, remote), udp(1, 2, 3)))
	add(0, ip(peerGlobal, ourGlobal, header.ProtocolFragment, 64, fragmentHeader(header.ProtocolUDP, 0, true, 1), udp(1, 2, 8)),
		ip(peerGlobal, ourGlobal, header.ProtocolFragment, 64, fragmentHeader(header.ProtocolUDP, 16, false, 1), udp(1, 2, 3)))
	add(fuzzAdvance, icmpError(peerGlobal, ourGlobal, 2, 0, 1300, ip(ourGlobal, remote, header.ProtocolUDP, 64, udp(1000, 53, 3))))
	add(fuzzHeader|fuzzICMP, icmpError(peerGlobal, ourGlobal, 1, 4, 0, ip(ourGlobal, remote, header.ProtocolUDP, 64, udp(1000, 53, 3))))
	add(fuzzHeader|fuzzICMP|fuzzOneHop|fuzzFromLink|fuzzToAll|fuzzAdvance, ra(peerLL, lifetimeOf(time.Hour), sourceLink(peerLink), mtuOpt(1400),
		prefixOpt("2001:db8:7::/64", true, true, time.Hour, time.Hour)))
	add(0, ndp(peerGlobal, header.SolicitedNode(ourGlobal), solicit(ourGlobal), sourceLink(peerLink)))
	add(0, ndp(peerGlobal, all, advertise(peerGlobal, true, false, true), targetLink(peerLink)))
	add(0, redirectMessage(addr("fe80::99"), ourGlobal, otherLL, remote, targetLink(otherLink)))
	add(fuzzAdvance, mldPacket(peerLL, all, query1(header.IPv6Any, time.Second)), mldPacket(peerLL, all, query2(groupA, time.Second, remote)))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) == 0 {
			return
		}
		h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}, ra: true, forwarding: in[0]&1 != 0})
		h.udp.refuse = in[0]&2 != 0
		h.route("2001:db8:ffff::/48", "fe80::99")
		h.udp.bind(t, stack.TransportID{LocalAddr: ourGlobal, RemoteAddr: remote, LocalPort: 1000, RemotePort: 53})
		for in = in[1:]; len(in) >= 3; {
			flags, n := in[0], int(in[1])<<8|int(in[2])
			n = min(n, len(in)-3)
			b := slices.Clone(in[3 : 3+n])
			in = in[3+n:]
			b = repair(b, flags)
			h.receive(b)
			if flags&fuzzAdvance != 0 {
				h.clock.Advance(time.Duration(flags) * 100 * time.Millisecond)
			}
			check(t, h, b)
		}
		h.clock.Advance(2 * time.Minute)
		check(t, h, nil)
		if n := h.ep.protocol.fragment.packets.Memory(); n != 0 {
			t.Errorf("after two minutes %d bytes of fragments are kept", n)
		}
	})
}

func repair(b []byte, flags byte) []byte {
	if flags&fuzzHeader == 0 || len(b) < header.IPv6Size || len(b) > 65000 {
		return b
	}
	h := header.IPv6(b)
	b[0] = 6<<4 | b[0]&0xf
	h.SetPayloadLength(uint16(len(b) - header.IPv6Size))
	if flags&fuzzOneHop != 0 {
		h.SetHopLimit(255)
	}
	h.SetSource(peerGlobal)
	if flags&fuzzFromLink != 0 {
		h.SetSource(peerLL)
	}
	h.SetDestination(ourGlobal)
	if flags&fuzzToAll != 0 {
		h.SetDestination(header.IPv6AllNodes)
	}
	w := header.WalkIPv6Extensions(h.NextHeader(), h.Payload())
	for w.Next() {
	}
	if m := h.Payload()[w.Offset():]; flags&fuzzICMP != 0 && w.Protocol() == header.ProtocolICMPv6 && len(m) >= header.ICMPv6Size {
		icmp(h.Source(), h.Destination(), m)
	}
	return b
}

// check checks what must hold whatever came.
func check(t *testing.T, h *host, b []byte) {
	t.Helper()
	h.udp.takeUnknown()
	for _, f := range h.take() {
		ip := f.ip()
		if !ip.Valid(len(f.b)) || header.IPv6Size+int(ip.PayloadLength()) != len(f.b) || len(f.b) > 1500 {
			t.Fatalf("after %x a malformed packet was sent: %x", b, f.b)
		}
		if next, m := f.payload(); next == header.ProtocolICMPv6 && len(m) > 0 && m[0] < 128 && !slices.Equal(f.b[40:], b[min(40, len(b)):]) && ip.Source() == ourGlobal {
			f.icmp(m[0]) // an error of our own has a checksum
			if isError(header.IPv6(m[8:])) {
				t.Fatalf("an error was answered with an error: %x", f.b)
			}
			if src := header.IPv6(m[8:]).Source(); src.IsMulticast() || src.IsUnspecified() || ip.Destination() != src {
				t.Fatalf("an error to %v about a packet of %v", ip.Destination(), src)
			}
		}
	}
	e := h.ep
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.routers) > maxRouters || len(e.prefixes) > maxPrefixes || len(e.auto) > maxAuto || len(e.redirects) > maxRedirects || len(e.work) != 0 || e.working {
		t.Fatalf("%d routers, %d prefixes, %d addresses, %d redirects, %d waiting", len(e.routers), len(e.prefixes), len(e.auto), len(e.redirects), len(e.work))
	}
	if n := e.protocol.fragment.packets.Memory(); n > reassemblyMemory {
		t.Fatalf("%d bytes of fragments", n)
	}
	for _, g := range e.mld.groups {
		if len(g.sources) > maxQueriedSources {
			t.Fatalf("%d queried sources", len(g.sources))
		}
	}
	if mtu := e.linkMTU.Load(); mtu != 0 && (mtu < header.IPv6MinimumMTU || mtu > 1500) {
		t.Fatalf("the link's MTU is %d", mtu)
	}
}

// FuzzNDPOptions gives options of router advertisements and redirects to a live stack.
func FuzzNDPOptions(f *testing.F) {
	f.Add(uint16(1800), slices.Concat(sourceLink(peerLink), mtuOpt(1400)))
	f.Add(uint16(0), prefixOpt("2001:db8:7::/64", true, true, time.Hour, time.Hour))
	f.Add(uint16(1), slices.Concat(prefixOpt("2001:db8:7::/64", true, true, header.NDPInfinite, 0), prefixOpt("2001:db8:8::/33", true, true, 5*time.Second, time.Second)))
	f.Add(uint16(9), []byte{24, 1, 0, 0, 0, 0, 0, 9})
	f.Add(uint16(9), make([]byte, 8))
	f.Fuzz(func(t *testing.T, seconds uint16, opts []byte) {
		h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}, ra: true})
		h.route("2001:db8:ffff::/48", "fe80::99")
		opts = opts[:min(len(opts), 60000)]
		w := header.WalkNDPOptions(opts)
		for w.Next() {
		}
		valid := !w.Malformed()
		h.receive(ra(peerLL, lifetimeOf(time.Duration(seconds)*time.Second), opts))
		if got := len(h.gateways()) == 1; got != (valid && seconds > 0) {
			t.Errorf("valid %v, lifetime %d: a default router is known: %v", valid, seconds, got)
		}
		h.receive(redirectMessage(addr("fe80::99"), ourGlobal, otherLL, remote, opts))
		check(t, h, nil)
		for _, a := range h.nic.Addresses() {
			if p := a.Prefix; p.Bits() != 64 || !p.Addr().Is6() || p.Addr().IsMulticast() {
				t.Errorf("the address %v was made", p)
			}
		}
		var tentative []netip.Addr
		h.clock.Advance(70000 * time.Second)
		for _, a := range h.nic.Addresses() {
			if a.Tentative {
				tentative = append(tentative, a.Prefix.Addr())
			}
		}
		if len(tentative) != 0 || len(h.gateways()) != 0 && valid {
			t.Errorf("after 70,000 s tentative %v, routers %v", tentative, h.gateways())
		}
		check(t, h, nil)
	})
}
