package ipv6

import (
	"net/netip"
	"slices"
	"testing"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/network/internal/errorlimit"
	"runsc/pkg/tcpip/stack"
)

// gateway is a host between peerGlobal's link and another one, where remote is.
type gateway struct {
	*host
	far    *wire
	farNIC *stack.NIC
}

var farNeighbour = addr("2001:db8:ffff::9")

func newGateway(t *testing.T) *gateway {
	t.Helper()
	h := onLink(t, hostOptions{forwarding: true})
	g := &gateway{host: h, far: &wire{caps: stack.CapResolution, addr: tcpip.LinkAddress{2, 0, 0, 0, 1, 1}}}
	g.far.mtu.Store(1400)
	var err error
	if g.farNIC, err = h.stack.CreateNIC(3, "eth1", g.far); err != nil {
		t.Fatal(err)
	}
	if err := g.farNIC.AddAddress(stack.Address{Prefix: prefix("2001:db8:ffff::1/64")}); err != nil {
		t.Fatal(err)
	}
	g.farNIC.SetUp(true)
	if err := g.farNIC.SetNeighbour(stack.Neighbour{Addr: farNeighbour, Link: otherLink}); err != nil {
		t.Fatal(err)
	}
	h.clock.Advance(5e9)
	h.take()
	g.takeFar()
	return g
}

func (g *gateway) takeFar() []frame {
	g.far.mu.Lock()
	defer g.far.mu.Unlock()
	f := g.far.sent
	g.far.sent = nil
	for i := range f {
		f[i].h = g.host
	}
	return f
}

// RFC 8200, RFC 4443 section 3, RFC 4291.
func TestForwarding(t *testing.T) {
	u := uint8(header.ProtocolUDP)
	data := udp(1, 2, 30)
	between := func(src, dst netip.Addr, hopLimit uint8) []byte { return ip(src, dst, u, hopLimit, data) }
	for _, test := range []struct {
		name      string
		b         []byte
		prep      func(g *gateway)
		forwarded bool
		t, code   uint8 // the error; 0: none
		rest      uint32
	}{
		{"to the other link", between(peerGlobal, farNeighbour, 64), nil, true, 0, 0, 0},
		{"hop limit 2", between(peerGlobal, farNeighbour, 2), nil, true, 0, 0, 0},
		{"RFC 4443 section 3.3: hop limit 1", between(peerGlobal, farNeighbour, 1), nil, false, 3, 0, 0},
		{"hop limit 0", between(peerGlobal, farNeighbour, 0), nil, false, 3, 0, 0},
		{"this is no router", between(peerGlobal, farNeighbour, 64), func(g *gateway) { g.stack.Settings().IPv6Forwarding.Store(false) }, false, 0, 0, 0},
		{"RFC 4443 section 3.1: no route", between(peerGlobal, addr("2001:dead::1"), 64), nil, false, 1, 0, 0},
		{"prohibited", between(peerGlobal, addr("2001:dead::1"), 64), func(g *gateway) {
			g.stack.AddRoute(stack.RouteEntry{Destination: prefix("2001:dead::/16"), Type: stack.RouteProhibit})
		}, false, 1, 1, 0},
		{"unreachable", between(peerGlobal, addr("2001:dead::1"), 64), func(g *gateway) {
			g.stack.AddRoute(stack.RouteEntry{Destination: prefix("2001:dead::/16"), Type: stack.RouteUnreachable})
		}, false, 1, 3, 0},
		{"blackhole", between(peerGlobal, addr("2001:dead::1"), 64), func(g *gateway) {
			g.stack.AddRoute(stack.RouteEntry{Destination: prefix("2001:dead::/16"), Type: stack.RouteBlackhole})
		}, false, 0, 0, 0},
		{"RFC 4443 section 3.2: more than the next link takes", ip(peerGlobal, farNeighbour, u, 64, udp(1, 2, 1353)), nil, false, 2, 0, 1400},
		{"exactly what the next link takes", ip(peerGlobal, farNeighbour, u, 64, udp(1, 2, 1352)), nil, true, 0, 0, 0},
		{"RFC 4443 section 3.1: a link-local source", between(peerLL, farNeighbour, 64), nil, false, 1, 2, 0},
		{"RFC 4291 section 2.5.6: a link-local destination", between(peerGlobal, otherLL, 64), nil, false, 0, 0, 0},
		{"RFC 4291 section 2.5.2: no source", between(header.IPv6Any, farNeighbour, 64), nil, false, 0, 0, 0},
		{"a group", between(peerGlobal, addr("ff0e::77"), 64), nil, false, 0, 0, 0},
		{"hop-by-hop options are a router's business", ip(peerGlobal, farNeighbour, header.ProtocolHopByHop, 64, options(u, 0x9e, 0), data), nil, false, 4, 2, 42},
		{"known ones and those to be skipped go on", ip(peerGlobal, farNeighbour, header.ProtocolHopByHop, 64, options(u, 5, 2, 0, 9, 0x1e, 0), data), nil, true, 0, 0, 0},
		{"destination options are not", ip(peerGlobal, farNeighbour, header.ProtocolDestination, 64, options(u, 0x9e, 0), data), nil, true, 0, 0, 0},
		{"nor routing headers", ip(peerGlobal, farNeighbour, header.ProtocolRouting, 64, routing(u, 0, 1, remote), data), nil, true, 0, 0, 0},
		{"nor fragments", ip(peerGlobal, farNeighbour, header.ProtocolFragment, 64, fragmentHeader(u, 8, true, 1), data), nil, true, 0, 0, 0},
		{"nor protocols", ip(peerGlobal, farNeighbour, 199, 64, data), nil, true, 0, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGateway(t)
			if test.prep != nil {
				test.prep(g)
			}
			g.receive(test.b)
			far := g.takeFar()
			if (len(far) == 1) != test.forwarded {
				t.Fatalf("%d packets were forwarded", len(far))
			}
			if test.forwarded {
				want := slices.Clone(test.b)
				want[7]--
				if !slices.Equal(far[0].b, want) || far[0].to != otherLink {
					t.Errorf("forwarded to %v:\n%x\nwant\n%x", far[0].to, far[0].b, want)
				}
				if n := g.stack.Stats().IP6.ForwDatagrams.Load(); n != 1 {
					t.Errorf("ForwDatagrams is %d", n)
				}
			}
			if len(g.udp.takeUnknown()) != 0 {
				t.Error("it was delivered here, too")
			}
			if test.t == 0 {
				g.none(test.name)
				return
			}
			f := g.one()
			f.expectError(test.t, test.code, test.rest, test.b)
			if src := f.ip().Source(); src != ourGlobal && src != ourLL {
				t.Errorf("the error comes from %v", src)
			}
		})
	}
}

// The bytes that came in may be shared with packet sockets.
func TestForwardingDoesNotWriteToWhatCameIn(t *testing.T) {
	g := newGateway(t)
	b := ip(peerGlobal, farNeighbour, header.ProtocolUDP, 64, udp(1, 2, 30))
	v := buffer.NewView(len(b))
	copy(v.Bytes(), b)
	keep := v.Clone()
	pkt := buffer.NewWith(v)
	pkt.EtherType = header.EtherTypeIPv6
	g.wire.dispatcher.DeliverPackets([]*buffer.Packet{pkt})
	if len(g.takeFar()) != 1 || !slices.Equal(keep.Bytes(), b) {
		t.Error("not forwarded, or what came in was changed")
	}
	keep.Release()
}

// What a link put together from segments is cut up again.
func TestForwardingOfCoalescedSegments(t *testing.T) {
	g := newGateway(t)
	payload := make([]byte, 3000)
	for i := range payload {
		payload[i] = byte(i)
	}
	tcp := make([]byte, header.TCPMinimumSize, header.TCPMinimumSize+len(payload))
	header.TCP(tcp).Encode(header.TCPFields{SourcePort: 1, DestinationPort: 2, Sequence: 1000, Flags: header.TCPFlagAck})
	tcp = append(tcp, payload...)
	for _, partial := range []bool{false, true} {
		pkt := buffer.NewFrom(ip(peerGlobal, farNeighbour, header.ProtocolTCP, 64, tcp))
		pkt.EtherType = header.EtherTypeIPv6
		pkt.Segmentation = buffer.Segmentation{Type: buffer.SegmentTCP6, Size: 1200}
		pkt.Checksum = buffer.ChecksumVerified
		if partial {
			b, _ := pkt.Peek(header.IPv6Size + header.TCPMinimumSize)
			sum := checksum.PseudoHeader(header.ProtocolTCP, peerGlobal, farNeighbour, uint32(len(tcp)))
			header.TCP(b[header.IPv6Size:]).SetChecksumField(checksum.Fold(sum))
			pkt.Checksum, pkt.ChecksumOffset = buffer.ChecksumPartial, 16
		}
		g.wire.dispatcher.DeliverPackets([]*buffer.Packet{pkt})
		var got []byte
		far := g.takeFar()
		for _, f := range far {
			next, b := f.payload()
			h := header.TCP(b)
			if next != header.ProtocolTCP || len(f.b) > 1400 || f.ip().HopLimit() != 63 || h.Sequence() != 1000+uint32(len(got)) {
				t.Errorf("forwarded %v of %d bytes, sequence %d", f, len(f.b), h.Sequence())
			}
			if !checksum.OK(checksum.Sum(b, checksum.PseudoHeader(next, peerGlobal, farNeighbour, uint32(len(b))))) {
				t.Error("a segment's checksum is wrong")
			}
			got = append(got, b[h.HeaderLength():]...)
		}
		if len(far) != 3 || !slices.Equal(got, payload) {
			t.Errorf("%d segments with %d bytes", len(far), len(got))
		}
	}
}

// RFC 4861 section 8.2.
func TestRoutersSendRedirects(t *testing.T) {
	for _, test := range []struct {
		name    string
		dst     netip.Addr
		src     netip.Addr
		target  netip.Addr // zero: none is sent
		prepare func(g *gateway)
	}{
		{"to a neighbour", addr("2001:db8::3"), peerGlobal, addr("2001:db8::3"), nil},
		{"to another router", addr("2001:db8:eeee::1"), peerGlobal, addr("fe80::99"), func(g *gateway) { g.route("2001:db8:eeee::/48", "fe80::99") }},
		{"to a router that is known by a global address only", addr("2001:db8:eeee::1"), peerGlobal, netip.Addr{}, func(g *gateway) { g.route("2001:db8:eeee::/48", "2001:db8::9") }},
		{"the sender is no neighbour", addr("2001:db8::3"), addr("2001:db8:dddd::1"), netip.Addr{}, func(g *gateway) { g.route("2001:db8:dddd::/48", "fe80::98") }},
		{"to another link", farNeighbour, peerGlobal, netip.Addr{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := newGateway(t)
			g.neighbour(addr("2001:db8::3"), otherLink)
			if test.prepare != nil {
				test.prepare(g)
			}
			b := ip(test.src, test.dst, header.ProtocolUDP, 64, udp(1, 2, 1300))
			g.receive(b)
			near, far := g.take(), g.takeFar()
			if !test.target.IsValid() {
				if len(near)+len(far) != 1 {
					t.Errorf("%d packets were sent, want the forwarded one", len(near)+len(far))
				}
				return
			}
			if len(near) != 2 {
				t.Fatalf("%d packets were sent, want a redirect and the forwarded one", len(near))
			}
			f := near[0]
			m := header.NDPRedirect(f.icmp(header.ICMPv6Redirect))
			if !m.Valid() || m.Target() != test.target || m.Destination() != test.dst || f.ip().HopLimit() != 255 ||
				f.ip().Source() != ourLL || f.ip().Destination() != peerGlobal || len(f.b) > header.IPv6MinimumMTU {
				t.Errorf("%v of %d bytes: target %v, destination %v", f, len(f.b), m.Target(), m.Destination())
			}
			var quoted []byte
			for w := header.WalkNDPOptions(m.Options()); w.Next(); {
				if w.Type == header.NDPOptionRedirected {
					quoted = w.Option[8:]
				}
			}
			if len(quoted) < 1000 || !slices.Equal(quoted, b[:len(quoted)]) {
				t.Errorf("the redirect quotes %d bytes", len(quoted))
			}
			if want := map[netip.Addr]tcpip.LinkAddress{addr("2001:db8::3"): otherLink, addr("fe80::99"): peerLink}[test.target]; true {
				if link, ok := linkOption(m.Options(), header.NDPOptionTargetLink); !ok || link != want {
					t.Errorf("the target's link address is %v, %v", link, ok)
				}
			}
			for range 50 {
				g.receive(b)
			}
			n := 0
			for _, f := range g.take() {
				if next, p := f.payload(); next == header.ProtocolICMPv6 && p[0] == header.ICMPv6Redirect {
					n++
				}
			}
			if n != errorlimit.Burst-1 {
				t.Errorf("%d more redirects, want %d", n, errorlimit.Burst-1)
			}
		})
	}
}
