package ipv6

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/network/internal/errorlimit"
	"runsc/pkg/tcpip/stack"
)

// icmpError makes a packet with an ICMPv6 error.
func icmpError(src, dst netip.Addr, t, code uint8, rest uint32, quoted []byte) []byte {
	b := make([]byte, header.ICMPv6Size)
	h := header.ICMPv6(b)
	h.Encode(header.ICMPv6Fields{Type: t, Code: code})
	h.SetPointer(rest)
	return ip(src, dst, header.ProtocolICMPv6, 64, icmp(src, dst, append(b, quoted...)))
}

// RFC 4443 section 4.
func TestEcho(t *testing.T) {
	for _, test := range []struct {
		name     string
		src, dst netip.Addr
		edit     func(b []byte)
		// from is who answers; zero: nobody.
		from netip.Addr
	}{
		{"unicast", peerGlobal, ourGlobal, nil, ourGlobal},
		{"link-local", peerLL, ourLL, nil, ourLL},
		{"link-local from a global address", peerGlobal, ourLL, nil, ourLL},
		{"section 4.2: to a group, answered from a unicast address", peerGlobal, header.IPv6AllNodes, nil, ourGlobal},
		{"to a group from a link-local address", peerLL, header.IPv6AllNodes, nil, ourLL},
		{"from nobody", header.IPv6Any, ourGlobal, nil, netip.Addr{}},
		{"wrong checksum", peerGlobal, ourGlobal, func(b []byte) { b[len(b)-1]++ }, netip.Addr{}},
		{"unknown code", peerGlobal, ourGlobal, func(b []byte) { b[41] = 1; icmp(peerGlobal, ourGlobal, b[40:]) }, netip.Addr{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{})
			sent := h.stack.Stats().ICMP6.OutMsgs.Load()
			b := echo(test.src, test.dst, header.ICMPv6EchoRequest, 0x1234, 0xfffe, "the quick brown fox")
			header.IPv6(b).SetTrafficClass(0xb9)
			if test.edit != nil {
				test.edit(b)
			}
			h.receive(b)
			if !test.from.IsValid() {
				h.none(test.name)
				if n := h.stack.Stats().ICMP6.OutMsgs.Load(); n != sent {
					t.Errorf("%d messages were sent, maybe to this host itself", n-sent)
				}
				return
			}
			f := h.one()
			m := f.icmp(header.ICMPv6EchoReply)
			if m.Code() != 0 || m.Ident() != 0x1234 || m.Sequence() != 0xfffe || string(m.Payload()) != "the quick brown fox" {
				t.Errorf("reply %x", []byte(m))
			}
			if f.ip().Source() != test.from || f.ip().Destination() != test.src || f.ip().TrafficClass() != 0xb8 || f.ip().HopLimit() != 64 {
				t.Errorf("sent %v of class %#x, hop limit %d", f, f.ip().TrafficClass(), f.ip().HopLimit())
			}
		})
	}
}

func TestLongEchoIsAnsweredInFragments(t *testing.T) {
	h := onLink(t, hostOptions{mtu: 1280})
	h.receive(echo(peerGlobal, ourGlobal, header.ICMPv6EchoRequest, 1, 1, string(make([]byte, 3000))))
	if n := len(h.take()); n != 3 {
		t.Errorf("%d fragments, want 3", n)
	}
}

func TestICMPIsShownToRawSockets(t *testing.T) {
	h := onLink(t, hostOptions{})
	var r raw
	h.stack.RegisterRaw(true, header.ProtocolICMPv6, &r)
	for typ := range 256 {
		b := make([]byte, 40)
		b[0] = byte(typ)
		h.receive(ip(peerGlobal, ourGlobal, header.ProtocolICMPv6, 64, icmp(peerGlobal, ourGlobal, b)))
	}
	if len(r.got) != 256 {
		t.Fatalf("%d of 256 types arrived", len(r.got))
	}
	for i, b := range r.got {
		if int(b[0]) != i || len(b) != 40 {
			t.Errorf("message %d: %x", i, b)
		}
	}
	if n := h.stack.Stats().ICMP6.InMsgs.Load(); n != 256 {
		t.Errorf("InMsgs is %d", n)
	}
	short := ip(peerGlobal, ourGlobal, header.ProtocolICMPv6, 64, []byte{1, 2, 3})
	h.receive(short)
	if len(r.got) != 256 || h.stack.Stats().ICMP6.InErrors.Load() == 0 {
		t.Error("a message without a whole header was shown")
	}
}

// RFC 4443 section 3, and the errnos of Linux.
func TestErrorsReachTheirEndpoint(t *testing.T) {
	id := stack.TransportID{LocalAddr: ourGlobal, RemoteAddr: remote, LocalPort: 1000, RemotePort: 53}
	quoted := ip(ourGlobal, remote, header.ProtocolUDP, 61, udp(1000, 53, 20))
	for _, test := range []struct {
		name    string
		t, code uint8
		rest    uint32
		errno   unix.Errno
		hard    bool
	}{
		{"no route", 1, 0, 0, unix.ENETUNREACH, false},
		{"prohibited", 1, 1, 0, unix.EACCES, true},
		{"beyond scope", 1, 2, 0, unix.EHOSTUNREACH, false},
		{"address unreachable", 1, 3, 0, unix.EHOSTUNREACH, false},
		{"port unreachable", 1, 4, 0, unix.ECONNREFUSED, true},
		{"source policy", 1, 5, 0, unix.EACCES, true},
		{"reject route", 1, 6, 0, unix.EACCES, true},
		{"unreachable, unknown code", 1, 77, 0, unix.EPROTO, true},
		{"too big", 2, 0, 1400, unix.EMSGSIZE, false},
		{"too big, any code", 2, 9, 1400, unix.EMSGSIZE, false},
		{"hop limit", 3, 0, 0, unix.EHOSTUNREACH, false},
		{"reassembly time", 3, 1, 0, unix.EHOSTUNREACH, false},
		{"erroneous field", 4, 0, 6, unix.EPROTO, true},
		{"unknown next header", 4, 1, 6, unix.EPROTO, true},
		{"section 2.4 a: unknown error", 100, 3, 0, unix.EPROTO, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{})
			h.udp.bind(t, id)
			h.receive(icmpError(peerGlobal, ourGlobal, test.t, test.code, test.rest, quoted))
			if len(h.udp.errors) != 1 {
				t.Fatalf("%d errors arrived", len(h.udp.errors))
			}
			want := stack.TransportError{Errno: test.errno, Hard: test.hard, Origin: 3, Type: test.t, Code: test.code, Offender: peerGlobal}
			if test.t == 2 {
				want.MTU = test.rest
			}
			if e := h.udp.errors[0]; e != want {
				t.Errorf("error %+v, want %+v", e, want)
			}
			if h.udp.errorIDs[0] != id || !slices.Equal(h.udp.quoted[0], quoted[header.IPv6Size:]) {
				t.Errorf("about %+v, quoting %x", h.udp.errorIDs[0], h.udp.quoted[0])
			}
		})
	}
}

func TestErrorsThatAreNotBelieved(t *testing.T) {
	id := stack.TransportID{LocalAddr: ourGlobal, RemoteAddr: remote, LocalPort: 1000, RemotePort: 53}
	good := ip(ourGlobal, remote, header.ProtocolUDP, 61, udp(1000, 53, 20))
	for _, test := range []struct {
		name   string
		t      uint8
		rest   uint32
		quoted []byte
	}{
		{"about a packet that was not ours", 1, 0, ip(remote, ourGlobal, header.ProtocolUDP, 61, udp(1000, 53, 20))},
		{"about a packet that was not ours, too big", 2, 1400, ip(peerGlobal, remote, 99, 61, udp(1000, 53, 20))},
		{"quoting no header", 1, 0, good[:39]},
		{"quoting IPv4", 1, 0, append([]byte{0x45}, good[1:]...)},
		{"quoting no ports", 1, 0, good[:43]},
		{"quoting a later fragment", 1, 0, ip(ourGlobal, remote, header.ProtocolFragment, 61, fragmentHeader(header.ProtocolUDP, 8, false, 1), udp(1000, 53, 20))},
		{"quoting a header that is cut off", 1, 0, ip(ourGlobal, remote, header.ProtocolDestination, 61, []byte{17, 4, 0, 0, 0, 0, 0, 0})},
		{"RFC 8201 section 4: less than any link has", 2, 1279, good},
		{"an MTU of 0", 2, 0, good},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{})
			h.route("2001:db8:ffff::/48", "fe80::99")
			h.udp.bind(t, id)
			h.receive(icmpError(peerGlobal, ourGlobal, test.t, 0, test.rest, test.quoted))
			if len(h.udp.errors) != 0 {
				t.Errorf("the endpoint heard of %+v", h.udp.errors)
			}
			if mtu := h.findRoute(remote).MTU(); mtu != 1500 {
				t.Errorf("the path MTU is %d", mtu)
			}
		})
	}
}

func TestQuotedExtensionHeadersAreSkipped(t *testing.T) {
	h := onLink(t, hostOptions{})
	h.udp.bind(t, stack.TransportID{LocalAddr: ourGlobal, RemoteAddr: remote, LocalPort: 1000, RemotePort: 53})
	quoted := ip(ourGlobal, remote, header.ProtocolHopByHop, 61, options(header.ProtocolFragment), fragmentHeader(header.ProtocolUDP, 0, true, 1), udp(1000, 53, 20))
	h.receive(icmpError(peerGlobal, ourGlobal, 1, 4, 0, quoted))
	if len(h.udp.errors) != 1 || h.udp.errors[0].Errno != unix.ECONNREFUSED {
		t.Errorf("errors %+v", h.udp.errors)
	}
}

// RFC 8201 section 4.
func TestPathMTU(t *testing.T) {
	id := stack.TransportID{LocalAddr: ourGlobal, RemoteAddr: remote, LocalPort: 1000, RemotePort: 53}
	for _, test := range []struct {
		name     string
		protocol uint8
		bind     bool
		mtu      uint32
		want     uint32
	}{
		{"of a socket", header.ProtocolUDP, true, 1400, 1400},
		{"the minimum", header.ProtocolUDP, true, 1280, 1280},
		{"more than the link has", header.ProtocolUDP, true, 9000, 1500},
		{"nobody may have sent that", header.ProtocolUDP, false, 1400, 1500},
		{"of a protocol without ports", 99, false, 1400, 1400},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{})
			h.route("2001:db8:ffff::/48", "fe80::99")
			if test.bind {
				h.udp.bind(t, id)
			}
			h.receive(icmpError(peerGlobal, ourGlobal, 2, 0, test.mtu, ip(ourGlobal, remote, test.protocol, 61, udp(1000, 53, 1420))))
			if mtu := h.findRoute(remote).MTU(); mtu != test.want {
				t.Errorf("the path MTU is %d, want %d", mtu, test.want)
			}
			h.clock.Advance(11 * time.Minute)
			if mtu := h.findRoute(remote).MTU(); mtu != 1500 {
				t.Errorf("the path MTU is still %d after 11 minutes", mtu)
			}
		})
	}
}

func TestErrorAboutAPing(t *testing.T) {
	h := onLink(t, hostOptions{})
	q, ok := parseQuote(echo(ourGlobal, remote, header.ICMPv6EchoRequest, 0x4321, 5, "x"))
	want := stack.TransportID{LocalAddr: ourGlobal, RemoteAddr: remote, LocalPort: 0x4321}
	if !ok || q.id != want || q.transport != header.ProtocolICMPv6 || q.payload[0] != header.ICMPv6EchoRequest {
		t.Errorf("quote %+v, %v", q, ok)
	}
	h.none("nothing happened")
}

// RFC 4443 sections 2.4 e and 3.
func TestSentErrors(t *testing.T) {
	tooBig := stack.ICMPError{Kind: stack.ErrorPacketTooBig, MTU: 1300}
	unknownOption := stack.ICMPError{Kind: stack.ErrorParameter, Code: header.ICMPv6UnknownOption, Pointer: 42}
	port := stack.ICMPError{Kind: stack.ErrorPortUnreachable}
	packetOf := func(src, dst netip.Addr) []byte { return ip(src, dst, header.ProtocolUDP, 64, udp(1, 2, 30)) }
	plain := packetOf(peerGlobal, ourGlobal)
	all := header.IPv6AllNodes
	for _, test := range []struct {
		name       string
		e          stack.ICMPError
		b          []byte
		packetType uint8
		t, code    uint8 // 0: nothing is sent
		rest       uint32
	}{
		{"port unreachable", port, plain, 0, 1, 4, 0},
		{"host unreachable", stack.ICMPError{Kind: stack.ErrorHostUnreachable}, plain, 0, 1, 3, 0},
		{"net unreachable", stack.ICMPError{Kind: stack.ErrorNetUnreachable}, plain, 0, 1, 0, 0},
		{"prohibited", stack.ICMPError{Kind: stack.ErrorProhibited}, plain, 0, 1, 1, 0},
		{"protocol unreachable", stack.ICMPError{Kind: stack.ErrorProtocolUnreachable}, plain, 0, 4, 1, 6},
		{"time exceeded", stack.ICMPError{Kind: stack.ErrorTimeExceeded}, plain, 0, 3, 0, 0},
		{"reassembly time", stack.ICMPError{Kind: stack.ErrorReassemblyTime}, plain, 0, 3, 1, 0},
		{"too big", tooBig, plain, 0, 2, 0, 1300},
		{"parameter", stack.ICMPError{Kind: stack.ErrorParameter, Code: 0, Pointer: 4}, plain, 0, 4, 0, 4},
		{"unknown kind", stack.ICMPError{Kind: 99}, plain, 0, 0, 0, 0},
		{"e.1: about an error", port, icmpError(peerGlobal, ourGlobal, 1, 4, 0, plain), 0, 0, 0, 0},
		{"e.1: about an error of unknown type", port, icmpError(peerGlobal, ourGlobal, 127, 4, 0, plain), 0, 0, 0, 0},
		{"e.1: about an error behind extension headers", port, ip(peerGlobal, ourGlobal, header.ProtocolDestination, 64,
			options(header.ProtocolICMPv6), icmpError(peerGlobal, ourGlobal, 1, 4, 0, plain)[40:]), 0, 0, 0, 0},
		{"e.1: about what may be an error, as it is not in the packet", port, ip(peerGlobal, ourGlobal, header.ProtocolICMPv6, 64), 0, 0, 0, 0},
		{"e.1: about a later fragment of an ICMPv6 message", port, ip(peerGlobal, ourGlobal, header.ProtocolFragment, 64,
			fragmentHeader(header.ProtocolICMPv6, 8, false, 1), make([]byte, 8)), 0, 0, 0, 0},
		{"about an echo request", port, ping(peerGlobal, ourGlobal, 1), 0, 1, 4, 0},
		{"e.2: about a redirect", port, ip(peerGlobal, ourGlobal, header.ProtocolICMPv6, 255, []byte{header.ICMPv6Redirect, 0, 0, 0, 0, 0, 0, 0}), 0, 0, 0, 0},
		{"e.3: to a group", port, packetOf(peerGlobal, all), 0, 0, 0, 0},
		{"e.3: to a group, too big", tooBig, packetOf(peerGlobal, all), 0, 2, 0, 1300},
		{"e.3: to a group, unknown option", unknownOption, packetOf(peerGlobal, all), 0, 4, 2, 42},
		{"e.4: as a link-layer multicast", port, plain, 2, 0, 0, 0},
		{"e.4: too big, as a link-layer multicast", tooBig, plain, 2, 2, 0, 1300},
		{"e.5: as a link-layer broadcast", port, plain, 1, 0, 0, 0},
		{"e.6: from nobody", port, packetOf(header.IPv6Any, ourGlobal), 0, 0, 0, 0},
		{"e.6: from a group", port, packetOf(all, ourGlobal), 0, 0, 0, 0},
		{"no IPv6 packet", port, make([]byte, 60), 0, 0, 0, 0},
		{"less than a header", port, plain[:39], 0, 0, 0, 0},
		{"c: as much as fits", port, ip(peerGlobal, ourGlobal, header.ProtocolUDP, 64, udp(1, 2, 1400)), 0, 1, 4, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := onLink(t, hostOptions{})
			// With nothing consumed, and with headers consumed as a transport has it.
			for _, consumed := range []int{0, header.IPv6Size, header.IPv6Size + header.UDPSize} {
				if consumed > len(test.b) {
					continue
				}
				pkt := buffer.NewFrom(test.b)
				pkt.PacketType = test.packetType
				if consumed > 0 {
					pkt.NetworkHeader, _ = pkt.Consume(header.IPv6Size)
				}
				if consumed > header.IPv6Size {
					pkt.TransportHeader, _ = pkt.Consume(header.UDPSize)
				}
				h.ep.SendError(test.e, pkt)
				if pkt.Consumed() != consumed {
					t.Errorf("%d bytes are consumed, %d were", pkt.Consumed(), consumed)
				}
				pkt.Release()
				if test.t == 0 {
					h.none(test.name)
					continue
				}
				f := h.one()
				f.expectError(test.t, test.code, test.rest, test.b)
				if f.ip().Destination() != peerGlobal || f.ip().Source() != ourGlobal {
					t.Errorf("sent %v", f)
				}
			}
		})
	}
}

// RFC 4443 section 2.2 a.
func TestErrorsComeFromTheAddressThatWasMeant(t *testing.T) {
	h := onLink(t, hostOptions{addresses: []string{"2001:db8::a/64", "2001:db8::b/64"}})
	h.udp.refuse = true
	for _, a := range []string{"2001:db8::a", "2001:db8::b", "2001:db8::1"} {
		h.receive(ip(peerGlobal, addr(a), header.ProtocolUDP, 64, udp(1, 2, 1)))
		if f := h.one(); f.ip().Source() != addr(a) {
			t.Errorf("the error about a packet to %v is %v", a, f)
		}
	}
}

// RFC 4443 section 2.4 f.
func TestErrorsAreLimited(t *testing.T) {
	h := onLink(t, hostOptions{})
	h.udp.refuse = true
	refused := func(n int) int {
		for range n {
			h.receive(ip(peerGlobal, ourGlobal, header.ProtocolUDP, 64, udp(1, 2, 1)))
		}
		return len(h.take())
	}
	if n := refused(100); n != errorlimit.Burst {
		t.Errorf("%d errors at once, want %d", n, errorlimit.Burst)
	}
	if n := h.stack.Stats().ICMP6.OutRateLimited.Load(); n != 100-errorlimit.Burst {
		t.Errorf("OutRateLimited is %d", n)
	}
	h.clock.Advance(errorlimit.Interval - 1)
	if n := refused(10); n != 0 {
		t.Errorf("%d errors too early", n)
	}
	h.clock.Advance(1)
	if n := refused(10); n != 1 {
		t.Errorf("%d errors after a second, want 1", n)
	}
	h.clock.Advance(time.Hour)
	if n := refused(100); n != errorlimit.Burst {
		t.Errorf("%d errors after an hour, want %d", n, errorlimit.Burst)
	}
}

func TestErrorsToAllTogetherAreLimited(t *testing.T) {
	h := onLink(t, hostOptions{})
	h.udp.refuse = true
	h.route("::/0", "fe80::99")
	for i := range 1000 {
		src := remote.As16()
		src[15], src[14] = byte(i), byte(i>>8)
		h.receive(ip(netip.AddrFrom16(src), ourGlobal, header.ProtocolUDP, 64, udp(1, 2, 1)))
	}
	if n := len(h.take()); n != errorlimit.TotalBurst {
		t.Errorf("%d errors, want %d", n, errorlimit.TotalBurst)
	}
}

func TestErrorsToThisHostAreNotLimited(t *testing.T) {
	h := onLink(t, hostOptions{})
	h.udp.refuse = true
	h.udp.bind(t, stack.TransportID{LocalAddr: ourGlobal, RemoteAddr: ourGlobal, LocalPort: 1, RemotePort: 2})
	r := h.findRoute(ourGlobal)
	for range 100 {
		if err := r.WritePacket(stack.NetworkParams{Transport: header.ProtocolUDP}, packet(udp(1, 2, 1))); err != nil {
			t.Fatal(err)
		}
	}
	h.eventually("every datagram is refused", func() bool {
		h.udp.mu.Lock()
		defer h.udp.mu.Unlock()
		return len(h.udp.errors) == 100
	})
	if e := h.udp.errors[0]; e.Errno != unix.ECONNREFUSED || e.Offender != ourGlobal {
		t.Errorf("error %+v", e)
	}
}

// RFC 4861 section 7.2.2: who sent a packet to a neighbour that does not answer hears of it.
func TestUnresolvedNeighbourIsAnErrorForTheSender(t *testing.T) {
	h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}})
	h.udp.bind(t, stack.TransportID{LocalAddr: ourGlobal, RemoteAddr: peerGlobal, LocalPort: 1000, RemotePort: 53})
	r := h.findRoute(peerGlobal)
	if err := r.WritePacket(stack.NetworkParams{Transport: header.ProtocolUDP}, packet(udp(1000, 53, 1))); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f := h.one()
		m := header.NDPNeighborSolicit(f.icmp(header.ICMPv6NeighborSolicit))
		if m.Target() != peerGlobal {
			t.Errorf("asked for %v", m.Target())
		}
		h.clock.Advance(time.Second)
	}
	h.eventually("the error arrives", func() bool {
		h.udp.mu.Lock()
		defer h.udp.mu.Unlock()
		return len(h.udp.errors) == 1
	})
	if e := h.udp.errors[0]; e.Errno != unix.EHOSTUNREACH || e.Type != 1 || e.Code != 3 {
		t.Errorf("error %+v", e)
	}
}
