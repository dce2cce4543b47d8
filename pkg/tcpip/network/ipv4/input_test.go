package ipv4_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/stack"
)

const udp = header.ProtocolUDP

func TestWhichPacketsAreTaken(t *testing.T) {
	group := netip.MustParseAddr("239.1.1.1")
	for name, c := range map[string]struct {
		src, dst string
		taken    bool
	}{
		"unicast":                    {"192.0.2.9", "192.0.2.1", true},
		"from afar":                  {"198.51.100.1", "192.0.2.1", true},
		"prefix broadcast":           {"192.0.2.9", "192.0.2.255", true},
		"limited broadcast":          {"192.0.2.9", "255.255.255.255", true},
		"all systems":                {"192.0.2.9", "224.0.0.1", true},
		"our group":                  {"192.0.2.9", "239.1.1.1", true},
		"another group":              {"192.0.2.9", "239.1.1.2", false},
		"another host":               {"192.0.2.9", "192.0.2.2", false},
		"another network":            {"192.0.2.9", "198.51.100.1", false},
		"to loopback":                {"192.0.2.9", "127.0.0.1", false},
		"from loopback":              {"127.0.0.1", "192.0.2.1", false},
		"from a group":               {"239.1.1.1", "192.0.2.1", false},
		"from broadcast":             {"255.255.255.255", "192.0.2.1", false},
		"from the prefix broadcast":  {"192.0.2.255", "192.0.2.1", false},
		"from ourselves":             {"192.0.2.1", "192.0.2.1", false},
		"from ourselves, broadcast":  {"192.0.2.1", "192.0.2.255", true}, // as NIC.LoopBack gives it back
		"from nobody":                {"0.0.0.0", "192.0.2.1", false},
		"from nobody to everybody":   {"0.0.0.0", "255.255.255.255", true},
		"from nobody to a group":     {"0.0.0.0", "239.1.1.1", true},
		"from this network":          {"0.1.2.3", "192.0.2.1", false},
		"to nobody":                  {"192.0.2.9", "0.0.0.0", false},
		"to this network":            {"192.0.2.9", "0.0.0.1", false},
		"other network's broadcast":  {"192.0.2.9", "198.51.100.255", false},
		"from a reserved address":    {"240.0.0.1", "192.0.2.1", true}, // as Linux has it
		"network address of our net": {"192.0.2.9", "192.0.2.0", false},
	} {
		_, tr := newTransport(udp)
		w := newWorld(t, capture.Options{}, tr)
		w.nic.JoinGroup(group)
		w.take()
		e := w.bind(udp, stack.TransportID{LocalPort: 53})
		w.inject(header.IPv4Fields{Protocol: udp, Source: netip.MustParseAddr(c.src), Destination: netip.MustParseAddr(c.dst), TTL: 9, TOS: 8}, datagram(1, 53, nil))
		got := e.take()
		if taken := len(got) == 1; taken != c.taken {
			t.Errorf("%s: taken %v", name, taken)
			continue
		}
		w.none() // nothing is answered
		if !c.taken {
			if c.dst != "239.1.1.2" && w.s.Stats().IP.InAddrErrors.Load() != 1 {
				t.Errorf("%s: not counted", name)
			}
			continue
		}
		g := got[0]
		if g.source.String() != c.src || g.destination.String() != c.dst || g.local != us || g.ttl != 9 || g.tos != 8 || g.nic != 2 {
			t.Errorf("%s: %+v", name, g)
		}
		if g.id != (stack.TransportID{LocalAddr: g.destination, RemoteAddr: g.source, LocalPort: 53, RemotePort: 1}) {
			t.Errorf("%s: id %v", name, g.id)
		}
	}
}

func TestFramesFromOurselvesAreNotBelieved(t *testing.T) {
	_, tr := newTransport(udp)
	w := newWorld(t, capture.Options{Ethernet: true}, tr)
	e := w.bind(udp, stack.TransportID{LocalPort: 53})
	b := packet(header.IPv4Fields{Protocol: udp, Source: us, Destination: netip.MustParseAddr("192.0.2.255")}, datagram(1, 53, nil))
	w.link.Inject(0, ethernet(tcpip.Broadcast, header.EtherTypeIPv4, b))
	if len(e.take()) != 0 {
		t.Error("a frame from our own address was taken")
	}
}

// ethernet makes a frame from the peer.
func ethernet(dst tcpip.LinkAddress, etherType uint16, payload []byte) []byte {
	b := make([]byte, header.EthernetSize+len(payload))
	header.Ethernet(b).Encode(header.EthernetFields{Source: peerLink, Destination: dst, Type: etherType})
	copy(b[header.EthernetSize:], payload)
	return b
}

func TestMalformedHeaders(t *testing.T) {
	good := packet(header.IPv4Fields{Protocol: udp, Source: peer, Destination: us}, datagram(1, 53, []byte("12345678")))
	for name, f := range map[string]func(b []byte) []byte{
		"nothing":               func(b []byte) []byte { return nil },
		"half a header":         func(b []byte) []byte { return b[:19] },
		"version 5":             func(b []byte) []byte { b[0] = 0x55; return b },
		"version 6":             func(b []byte) []byte { b[0] = 0x65; return b },
		"header of 16 bytes":    func(b []byte) []byte { b[0] = 0x44; return b },
		"header beyond the end": func(b []byte) []byte { b[0] = 0x4f; return b[:40] },
		"total less than it":    func(b []byte) []byte { b[2], b[3] = 0, 19; return b },
		"cut off":               func(b []byte) []byte { return b[:len(b)-1] },
		"wrong checksum":        func(b []byte) []byte { b[10]++; return b },
	} {
		_, tr := newTransport(udp)
		w := newWorld(t, capture.Options{}, tr)
		e := w.bind(udp, stack.TransportID{LocalPort: 53})
		b := f(bytes.Clone(good))
		if len(b) >= 20 && name != "wrong checksum" {
			h := header.IPv4(b)
			if n := h.HeaderLength(); n <= len(b) && n >= 12 {
				h.UpdateChecksum()
			}
		}
		w.link.Inject(header.EtherTypeIPv4, b)
		st := &w.s.Stats().IP
		if len(e.take()) != 0 || st.InHdrErrors.Load()+st.InTruncatedPkts.Load() != 1 || st.InReceives.Load() != 1 {
			t.Errorf("%s: it was taken, or not counted", name)
		}
		if (st.InCsumErrors.Load() == 1) != (name == "wrong checksum") || (st.InTruncatedPkts.Load() == 1) != (name == "cut off") {
			t.Errorf("%s: counted as something else", name)
		}
		w.none()
	}
}

func TestPaddingIsCutOff(t *testing.T) {
	_, tr := newTransport(udp)
	w := newWorld(t, capture.Options{}, tr)
	e := w.bind(udp, stack.TransportID{LocalPort: 53})
	b := packet(header.IPv4Fields{Protocol: udp, Source: peer, Destination: us}, datagram(1, 53, []byte("x")))
	w.link.Inject(header.EtherTypeIPv4, append(b, "padding of a short frame"...))
	if got := e.take(); len(got) != 1 || len(got[0].payload) != header.UDPSize+1 {
		t.Errorf("%+v", got)
	}
}

func TestUnknownProtocolIsRefused(t *testing.T) {
	w := newWorld(t, capture.Options{})
	w.inject(header.IPv4Fields{Protocol: 99, Source: peer, Destination: us}, numbers(100))
	h := w.one()
	m := header.ICMPv4(h.Payload())
	if m.Type() != header.ICMPv4Unreachable || m.Code() != header.ICMPv4ProtocolUnreachable || h.Destination() != peer || h.Source() != us {
		t.Errorf("%x", []byte(h))
	}
}

// send injects the fragments of a packet, of whose payload of 8-byte blocks parts gives the first
// and the last block (exclusive).
func (w *world) fragments(f header.IPv4Fields, payload []byte, parts ...[2]int) {
	for _, p := range parts {
		g := f
		end := min(p[1]*8, len(payload))
		g.FragmentOffset = uint16(p[0] * 8)
		if end < len(payload) {
			g.Flags = header.IPv4FlagMoreFragments
		}
		w.inject(g, payload[p[0]*8:end])
	}
}

func TestReassembly(t *testing.T) {
	_, tr := newTransport(udp)
	w := newWorld(t, capture.Options{}, tr)
	e := w.bind(udp, stack.TransportID{LocalPort: 53})
	payload := datagram(1, 53, numbers(93))
	f := header.IPv4Fields{Protocol: udp, Source: peer, Destination: us, ID: 7, TOS: 2}
	w.fragments(f, payload, [2]int{6, 99}, [2]int{0, 3}, [2]int{3, 6})
	got := e.take()
	if len(got) != 1 || !bytes.Equal(got[0].payload, payload) {
		t.Fatalf("%+v", got)
	}
	h := got[0].header
	if !h.ChecksumOK() || h.IsFragment() || int(h.TotalLength()) != 20+len(payload) || h.ID() != 7 || h.TOS() != 2 || got[0].tos != 2 {
		t.Errorf("the header is %x", []byte(h))
	}
	st := &w.s.Stats().IP
	if st.ReasmReqds.Load() != 3 || st.ReasmOKs.Load() != 1 || st.ReasmFails.Load() != 0 || st.InDelivers.Load() != 1 {
		t.Errorf("%d, %d, %d, %d", st.ReasmReqds.Load(), st.ReasmOKs.Load(), st.ReasmFails.Load(), st.InDelivers.Load())
	}
	// An overlap gives the packet up.
	w.fragments(f, payload, [2]int{0, 4}, [2]int{3, 6}, [2]int{6, 99})
	if len(e.take()) != 0 || st.ReasmFails.Load() != 1 {
		t.Error("overlapping fragments made a packet")
	}
	w.clock.Advance(30 * time.Second) // forget the rest of it
	// Congestion in one of them is kept.
	f.ID, f.TOS = 8, 2
	w.fragments(f, payload, [2]int{0, 3})
	f.TOS = 3
	w.fragments(f, payload, [2]int{3, 99})
	if got := e.take(); len(got) != 1 || got[0].tos != 3 || got[0].header.TOS() != 3 || !got[0].header.ChecksumOK() {
		t.Errorf("congestion: %+v", got)
	}
	w.take()
	// More than a packet can have.
	f.ID, f.FragmentOffset = 9, 65528
	fails := st.ReasmFails.Load()
	w.inject(f, numbers(8))
	f.FragmentOffset, f.Flags = 65512, 0
	w.inject(f, numbers(8))
	if st.ReasmFails.Load() != fails+2 {
		t.Errorf("too long: %d fails", st.ReasmFails.Load()-fails)
	}
	// The header of the first fragment, with options, may make it too long only together.
	f = header.IPv4Fields{Protocol: udp, Source: peer, Destination: us, ID: 10, FragmentOffset: 65480}
	w.inject(f, numbers(32))
	f.FragmentOffset, f.Flags, f.Options = 0, header.IPv4FlagMoreFragments, make([]byte, 40)
	for at := 0; at < 65480; at += 1400 {
		f.FragmentOffset = uint16(at)
		w.inject(f, numbers(min(1400, 65480-at)))
		f.Options = nil
	}
	if len(e.take()) != 0 || st.ReasmFails.Load() != fails+3 {
		t.Errorf("too long with options: %d fails", st.ReasmFails.Load()-fails)
	}
	w.none()
}

func TestReassemblyTakesTooLong(t *testing.T) {
	w := newWorld(t, capture.Options{})
	payload := datagram(1, 53, numbers(93))
	f := header.IPv4Fields{Protocol: udp, Source: peer, Destination: us, ID: 7}
	w.fragments(f, payload, [2]int{0, 3})
	f.ID = 8
	w.fragments(f, payload, [2]int{3, 6}) // without the first
	w.clock.Advance(30*time.Second - 1)
	w.none()
	w.clock.Advance(1)
	h := w.one() // only about the one whose first fragment came (RFC 792)
	m := header.ICMPv4(h.Payload())
	if m.Type() != header.ICMPv4TimeExceeded || m.Code() != header.ICMPv4ReassemblyTimeout || h.Destination() != peer || header.IPv4(m.Payload()).ID() != 7 {
		t.Errorf("%x", []byte(h))
	}
	st := &w.s.Stats().IP
	if st.ReasmTimeout.Load() != 2 || st.ReasmFails.Load() != 2 || w.clock.Pending() != 0 {
		t.Errorf("%d timeouts, %d fails, %d timers", st.ReasmTimeout.Load(), st.ReasmFails.Load(), w.clock.Pending())
	}
	// The interface may be gone by then.
	w.fragments(f, payload, [2]int{0, 3})
	w.s.RemoveNIC(2)
	w.clock.Advance(time.Minute)
}

func TestFragmentsInAFloodAreBounded(t *testing.T) {
	w := newWorld(t, capture.Options{})
	f := header.IPv4Fields{Protocol: udp, Source: peer, Destination: us, Flags: header.IPv4FlagMoreFragments}
	for i := range 20000 {
		f.ID = uint16(i)
		w.inject(f, numbers(8))
	}
	if w.s.Stats().IP.ReasmReqds.Load() != 20000 {
		t.Error("not all were looked at")
	}
	// Without the bound, all 20,000 would time out.
	w.clock.Advance(time.Minute)
	if n := w.s.Stats().IP.ReasmTimeout.Load(); n == 0 || n > 4<<20/512 {
		t.Errorf("%d packets were kept", n)
	}
}

func TestRawSocketsSeeWhatComesIn(t *testing.T) {
	w := newWorld(t, capture.Options{})
	icmpRaw, igmpRaw, other := &endpoint{}, &endpoint{}, &endpoint{}
	w.s.RegisterRaw(false, header.ProtocolICMPv4, icmpRaw)
	w.s.RegisterRaw(false, header.ProtocolIGMP, igmpRaw)
	w.s.RegisterRaw(false, 99, other)
	w.inject(header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, icmp(header.ICMPv4Fields{Type: header.ICMPv4Echo}, nil))
	w.inject(header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, icmp(header.ICMPv4Fields{Type: header.ICMPv4EchoReply}, nil))
	w.inject(header.IPv4Fields{Protocol: 2, Source: peer, Destination: us}, numbers(8))
	w.inject(header.IPv4Fields{Protocol: 99, Source: peer, Destination: us}, numbers(8))
	a, b, c := icmpRaw.take(), igmpRaw.take(), other.take()
	if len(a) != 2 || len(b) != 1 || len(c) != 1 {
		t.Fatalf("%d, %d and %d packets", len(a), len(b), len(c))
	}
	if len(a[0].header) != 20 || a[0].payload[0] != header.ICMPv4Echo {
		t.Errorf("%+v", a[0])
	}
	if w.one().Payload()[0] != header.ICMPv4EchoReply {
		t.Error("the echo was not answered besides")
	}
}

func TestPacketsInPieces(t *testing.T) {
	_, tr := newTransport(udp)
	w := newWorld(t, capture.Options{}, tr)
	e := w.bind(udp, stack.TransportID{LocalPort: 53})
	b := packet(header.IPv4Fields{Protocol: udp, Source: peer, Destination: us, Options: []byte{1, 1, 1, 1}}, datagram(1, 53, numbers(50)))
	for _, n := range []int{1, 3, 19, 21, 25, 30} {
		p := buffer.New()
		for rest := b; len(rest) > 0; {
			k := min(n, len(rest))
			p.Append(rest[:k])
			rest = rest[k:]
		}
		p.Append([]byte("padding"))
		w.link.InjectPacket(header.EtherTypeIPv4, p)
		if got := e.take(); len(got) != 1 || !bytes.Equal(got[0].payload, b[24:]) || !bytes.Equal(got[0].header, b[:24]) {
			t.Errorf("pieces of %d: %+v", n, got)
		}
	}
}
