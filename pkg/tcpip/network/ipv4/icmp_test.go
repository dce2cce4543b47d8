package ipv4_test

import (
	"bytes"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/stack"
)

// ping injects an echo request to dst.
func (w *world) ping(src, dst netip.Addr, payload []byte, f ...func(*header.IPv4Fields)) {
	fields := header.IPv4Fields{Protocol: header.ProtocolICMPv4, Source: src, Destination: dst}
	for _, x := range f {
		x(&fields)
	}
	w.inject(fields, icmp(header.ICMPv4Fields{Type: header.ICMPv4Echo, Rest: [4]byte{1, 2, 3, 4}}, payload))
}

func TestEchoIsAnswered(t *testing.T) {
	for _, n := range []int{0, 1, 7, 56, 1472} {
		w := newWorld(t, capture.Options{})
		w.ping(peer, us, numbers(n), func(f *header.IPv4Fields) { f.TOS = 0x10 })
		h := w.one()
		m := header.ICMPv4(h.Payload())
		if h.Source() != us || h.Destination() != peer || h.TOS() != 0x10 || h.TTL() != 64 || h.Protocol() != 1 {
			t.Errorf("the answer's header is %x", []byte(h[:20]))
		}
		if m.Type() != header.ICMPv4EchoReply || m.Ident() != 0x102 || m.Sequence() != 0x304 ||
			!bytes.Equal(m.Payload(), numbers(n)) || !checksum.OK(checksum.Sum(m, 0)) {
			t.Errorf("the answer is %x", []byte(m))
		}
		st := &w.s.Stats().ICMP
		if st.InMsgs.Load() != 1 || st.InType[8].Load() != 1 || st.OutMsgs.Load() != 1 || st.OutType[0].Load() != 1 {
			t.Errorf("%d in, %d out", st.InMsgs.Load(), st.OutMsgs.Load())
		}
	}
}

func TestLongEchoIsAnsweredInFragments(t *testing.T) {
	w := newWorld(t, capture.Options{})
	payload := numbers(5000)
	m := icmp(header.ICMPv4Fields{Type: header.ICMPv4Echo}, payload)
	w.fragments(header.IPv4Fields{Protocol: 1, Source: peer, Destination: us, ID: 1}, m, [2]int{0, 185}, [2]int{185, 370}, [2]int{370, 555}, [2]int{555, 999})
	var whole []byte
	list := w.take()
	for i, h := range list {
		if len(h) > 1500 || int(h.FragmentOffset()) != len(whole) || h.MoreFragments() != (i < len(list)-1) || h.ID() != list[0].ID() {
			t.Fatalf("fragment %d: %x", i, []byte(h[:20]))
		}
		whole = append(whole, h.Payload()...)
	}
	if len(list) != 4 || len(whole) != len(m) || !bytes.Equal(whole[8:], payload) || !checksum.OK(checksum.Sum(whole, 0)) {
		t.Errorf("%d fragments of %d bytes", len(list), len(whole))
	}
}

func TestEchoThatIsNotAnswered(t *testing.T) {
	broadcast := netip.MustParseAddr("192.0.2.255")
	for name, f := range map[string]func(w *world){
		"broadcast":   func(w *world) { w.ping(peer, broadcast, nil) },
		"group":       func(w *world) { w.ping(peer, header.IPv4AllSystems, nil) },
		"from nobody": func(w *world) { w.ping(header.IPv4Any, header.IPv4Broadcast, nil) },
		"wrong checksum": func(w *world) {
			w.inject(header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, []byte{8, 0, 1, 2, 0, 0, 0, 0})
		},
		"too short": func(w *world) {
			w.inject(header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, []byte{8, 0, 0xf7, 0xff})
		},
		"a reply": func(w *world) {
			w.inject(header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, icmp(header.ICMPv4Fields{Type: header.ICMPv4EchoReply}, nil))
		},
		"an unknown type": func(w *world) {
			w.inject(header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, icmp(header.ICMPv4Fields{Type: 77}, nil))
		},
		"a redirect": func(w *world) {
			w.inject(header.IPv4Fields{Protocol: 1, Source: gateway, Destination: us}, icmp(header.ICMPv4Fields{Type: header.ICMPv4Redirect, Code: 1, Rest: [4]byte{192, 0, 2, 77}},
				packet(header.IPv4Fields{Protocol: udp, Source: us, Destination: far}, datagram(1, 2, nil))))
			if r := w.route(stack.RouteQuery{Destination: far}); r.NextHop != gateway {
				w.t.Errorf("a redirect was obeyed: %v", r.NextHop)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, capture.Options{})
			f(w)
			w.none()
		})
	}
	w := newWorld(t, capture.Options{})
	w.s.Settings().IgnoreBroadcastEcho.Store(false)
	w.ping(peer, broadcast, nil)
	if h := w.one(); h.Source() != us {
		t.Errorf("the answer to a broadcast comes from %v", h.Source())
	}
	w.s.Stats().ICMP.InErrors.Store(0)
	w.inject(header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, []byte{8, 0, 1, 2, 0, 0, 0, 0})
	if st := &w.s.Stats().ICMP; st.InErrors.Load() != 1 || st.InCsumErrors.Load() != 1 {
		t.Errorf("a wrong checksum counts %d and %d", st.InErrors.Load(), st.InCsumErrors.Load())
	}
	// Where there is no way back there is no answer.
	w.s.RemoveRoute(stack.RouteEntry{Destination: netip.MustParsePrefix("0.0.0.0/0")})
	w.ping(far, us, nil)
	w.none()
	if w.s.Stats().IP.OutNoRoutes.Load() != 1 {
		t.Error("that is not counted")
	}
}

func TestEchoRepliesGoToTheirSocket(t *testing.T) {
	_, tr := newTransport(header.ProtocolICMPv4)
	w := newWorld(t, capture.Options{}, tr)
	e := w.bind(header.ProtocolICMPv4, stack.TransportID{LocalPort: 0x102})
	w.inject(header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, icmp(header.ICMPv4Fields{Type: header.ICMPv4EchoReply, Rest: [4]byte{1, 2}}, []byte("x")))
	w.inject(header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, icmp(header.ICMPv4Fields{Type: header.ICMPv4EchoReply, Rest: [4]byte{1, 3}}, []byte("x")))
	if got := e.take(); len(got) != 1 || len(got[0].payload) != 9 || got[0].payload[5] != 2 {
		t.Errorf("%+v", got)
	}
}

func TestTimestamps(t *testing.T) {
	w := newWorld(t, capture.Options{})
	m := icmp(header.ICMPv4Fields{Type: header.ICMPv4TimestampRequest, Rest: [4]byte{0, 5, 0, 6}}, append([]byte{0, 0, 0, 9}, make([]byte, 8)...))
	w.inject(header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, m)
	h := w.one()
	now := w.clock.Now().UTC()
	want := uint32(((now.Hour()*60+now.Minute())*60+now.Second())*1000 + now.Nanosecond()/1e6)
	r := header.ICMPv4(h.Payload())
	ts := header.ICMPv4Timestamp(r)
	if r.Type() != header.ICMPv4TimestampReply || r.Ident() != 5 || r.Sequence() != 6 || len(r) != 20 ||
		ts.Originate() != 9 || ts.Receive() != want || ts.Transmit() != want || !checksum.OK(checksum.Sum(r, 0)) {
		t.Errorf("%x, want %x for the time", []byte(r), want)
	}
	w.inject(header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, m[:12])
	w.inject(header.IPv4Fields{Protocol: 1, Source: peer, Destination: header.IPv4AllSystems}, m)
	w.none()
}

// sent is a datagram as this host would have sent it, and an ICMP error about it.
func errorAbout(f header.ICMPv4Fields, q header.IPv4Fields, payload []byte) []byte {
	if q.TotalLength == 0 {
		q.TotalLength = 1500
	}
	return icmp(f, packet(q, payload))
}

func TestWhatErrorsMeanForASocket(t *testing.T) {
	type test struct {
		t, code uint8
		errno   unix.Errno
		hard    bool
	}
	list := []test{
		{header.ICMPv4TimeExceeded, 0, unix.EHOSTUNREACH, false},
		{header.ICMPv4TimeExceeded, 1, unix.EHOSTUNREACH, false},
		{header.ICMPv4ParameterProblem, 0, unix.EPROTO, true},
	}
	for code, m := range []test{
		{errno: unix.ENETUNREACH}, {errno: unix.EHOSTUNREACH}, {errno: unix.ENOPROTOOPT, hard: true}, {errno: unix.ECONNREFUSED, hard: true},
		{}, {errno: unix.EOPNOTSUPP}, {errno: unix.ENETUNREACH, hard: true}, {errno: unix.EHOSTDOWN, hard: true}, {errno: unix.ENONET, hard: true},
		{errno: unix.ENETUNREACH, hard: true}, {errno: unix.EHOSTUNREACH, hard: true}, {errno: unix.ENETUNREACH}, {errno: unix.EHOSTUNREACH},
		{errno: unix.EHOSTUNREACH, hard: true}, {errno: unix.EHOSTUNREACH, hard: true}, {errno: unix.EHOSTUNREACH, hard: true},
	} {
		if code != header.ICMPv4FragmentationNeeded {
			list = append(list, test{header.ICMPv4Unreachable, uint8(code), m.errno, m.hard})
		}
	}
	_, tr := newTransport(udp)
	w := newWorld(t, capture.Options{}, tr)
	id := stack.TransportID{LocalAddr: us, RemoteAddr: far, LocalPort: 53, RemotePort: 999}
	e := w.bind(udp, id)
	for _, c := range list {
		w.inject(header.IPv4Fields{Protocol: 1, Source: gateway, Destination: us}, errorAbout(header.ICMPv4Fields{Type: c.t, Code: c.code},
			header.IPv4Fields{Protocol: udp, Source: us, Destination: far, Options: []byte{1, 1, 1, 1}}, datagram(53, 999, []byte("quoted"))))
		got := e.takeErrors()
		want := stack.TransportError{Errno: c.errno, Hard: c.hard, Origin: 2, Type: c.t, Code: c.code, Offender: gateway}
		if len(got) != 1 || got[0] != want || e.id != id {
			t.Errorf("type %d code %d: %+v of %v, want %+v", c.t, c.code, got, e.id, want)
		}
		if q := e.quoted[len(e.quoted)-1]; !bytes.Equal(q, datagram(53, 999, []byte("quoted"))) {
			t.Errorf("type %d code %d: quoted %x", c.t, c.code, q)
		}
	}
	w.none()
}

func TestErrorsThatAreIgnored(t *testing.T) {
	_, tr := newTransport(udp)
	w := newWorld(t, capture.Options{}, tr)
	e := w.bind(udp, stack.TransportID{LocalPort: 53})
	ours := header.IPv4Fields{Protocol: udp, Source: us, Destination: far}
	good := header.ICMPv4Fields{Type: header.ICMPv4Unreachable, Code: 1}
	with := func(f func(q *header.IPv4Fields)) header.IPv4Fields { q := ours; f(&q); return q }
	for name, m := range map[string][]byte{
		"not ours":          errorAbout(good, with(func(q *header.IPv4Fields) { q.Source = peer }), datagram(53, 1, nil)),
		"other port":        errorAbout(good, ours, datagram(54, 1, nil)),
		"other protocol":    errorAbout(good, with(func(q *header.IPv4Fields) { q.Protocol = 6 }), datagram(53, 1, nil)),
		"a later fragment":  errorAbout(good, with(func(q *header.IPv4Fields) { q.FragmentOffset = 8 }), datagram(53, 1, nil)),
		"unknown code":      errorAbout(header.ICMPv4Fields{Type: header.ICMPv4Unreachable, Code: 16}, ours, datagram(53, 1, nil)),
		"source quench":     errorAbout(header.ICMPv4Fields{Type: header.ICMPv4SourceQuench}, ours, datagram(53, 1, nil)),
		"seven bytes":       errorAbout(good, ours, datagram(53, 1, nil)[:7]),
		"no packet":         icmp(good, nil),
		"half a header":     icmp(good, packet(ours, nil)[:19]),
		"version 6":         icmp(good, append([]byte{0x65}, make([]byte, 60)...)),
		"a header of 16":    icmp(good, append([]byte{0x44}, make([]byte, 60)...)),
		"a header too long": icmp(good, append([]byte{0x4f}, make([]byte, 60)...)),
	} {
		w.inject(header.IPv4Fields{Protocol: 1, Source: gateway, Destination: us}, m)
		if got := e.takeErrors(); len(got) != 0 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	w.inject(header.IPv4Fields{Protocol: 1, Source: gateway, Destination: us}, errorAbout(good, ours, datagram(53, 1, nil)))
	if got := e.takeErrors(); len(got) != 1 {
		t.Error("the good one was ignored, too")
	}
	w.none() // errors are never answered
}

func TestErrorsAboutPings(t *testing.T) {
	_, tr := newTransport(header.ProtocolICMPv4)
	w := newWorld(t, capture.Options{}, tr)
	e := w.bind(header.ProtocolICMPv4, stack.TransportID{LocalPort: 0x102})
	for _, c := range []struct {
		t    uint8
		want int
	}{{header.ICMPv4Echo, 1}, {header.ICMPv4EchoReply, 0}} {
		q := icmp(header.ICMPv4Fields{Type: c.t, Rest: [4]byte{1, 2}}, nil)
		w.inject(header.IPv4Fields{Protocol: 1, Source: gateway, Destination: us},
			errorAbout(header.ICMPv4Fields{Type: header.ICMPv4TimeExceeded}, header.IPv4Fields{Protocol: 1, Source: us, Destination: far}, q))
		if got := e.takeErrors(); len(got) != c.want {
			t.Errorf("about type %d: %+v", c.t, got)
		}
	}
}

func TestPathMTUDiscovery(t *testing.T) {
	for name, c := range map[string]struct {
		mtu, size uint16
		bound     bool
		want      uint32 // for the socket; 0: nothing
		path      uint32
	}{
		"a router that knows":     {1400, 1500, true, 1400, 1400},
		"an old router":           {0, 1500, true, 1492, 1492},
		"an old router, 1492":     {0, 1492, true, 1006, 1006},
		"an old router, nonsense": {0, 60, true, 0, 1500},
		"not less":                {1500, 1500, true, 0, 1500},
		"tiny":                    {68, 1500, true, 68, 552},
		"less than IP has":        {67, 1500, true, 0, 1500},
		"about no socket's":       {1400, 1500, false, 0, 1500},
	} {
		_, tr := newTransport(udp)
		w := newWorld(t, capture.Options{}, tr)
		var e *endpoint
		if c.bound {
			e = w.bind(udp, stack.TransportID{LocalPort: 53})
		}
		f := header.ICMPv4Fields{Type: header.ICMPv4Unreachable, Code: header.ICMPv4FragmentationNeeded, Rest: [4]byte{0, 0, byte(c.mtu >> 8), byte(c.mtu)}}
		w.inject(header.IPv4Fields{Protocol: 1, Source: gateway, Destination: us},
			errorAbout(f, header.IPv4Fields{Protocol: udp, Source: us, Destination: far, TotalLength: c.size}, datagram(53, 1, nil)))
		if got := w.route(stack.RouteQuery{Destination: far}).MTU(); got != c.path {
			t.Errorf("%s: the path MTU is %d, want %d", name, got, c.path)
		}
		if !c.bound {
			continue
		}
		got := e.takeErrors()
		if c.want == 0 {
			if len(got) != 0 {
				t.Errorf("%s: %+v", name, got)
			}
			continue
		}
		if len(got) != 1 || got[0].Errno != unix.EMSGSIZE || got[0].MTU != c.want || got[0].Hard {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestTCPSetsThePathMTUItself(t *testing.T) {
	_, tr := newTransport(header.ProtocolTCP)
	w := newWorld(t, capture.Options{}, tr)
	e := w.bind(header.ProtocolTCP, stack.TransportID{LocalPort: 53})
	w.inject(header.IPv4Fields{Protocol: 1, Source: gateway, Destination: us},
		errorAbout(header.ICMPv4Fields{Type: 3, Code: 4, Rest: [4]byte{0, 0, 4, 0}}, header.IPv4Fields{Protocol: 6, Source: us, Destination: far}, datagram(53, 1, nil)))
	if got := e.takeErrors(); len(got) != 1 || got[0].MTU != 1024 {
		t.Errorf("%+v", got)
	}
	if got := w.route(stack.RouteQuery{Destination: far}).MTU(); got != 1500 {
		t.Errorf("the path MTU is %d", got)
	}
}

func TestPortUnreachableQuotesThePacket(t *testing.T) {
	_, tr := newTransport(udp)
	w := newWorld(t, capture.Options{}, tr)
	e := w.bind(udp, stack.TransportID{LocalPort: 53})
	e.refuse = w.nic
	for _, n := range []int{0, 100, 2000} {
		b := packet(header.IPv4Fields{Protocol: udp, Source: peer, Destination: us, ID: 5}, datagram(1, 53, numbers(n)))
		w.link.Inject(header.EtherTypeIPv4, b)
		h := w.one()
		m := header.ICMPv4(h.Payload())
		if m.Type() != header.ICMPv4Unreachable || m.Code() != header.ICMPv4PortUnreachable || h.TOS() != 0xc0 ||
			h.Source() != us || h.Destination() != peer || !checksum.OK(checksum.Sum(m, 0)) {
			t.Errorf("%x", []byte(h[:28]))
		}
		if want := b[:min(len(b), 576-28)]; !bytes.Equal(m.Payload(), want) {
			t.Errorf("of %d bytes it quotes %d, want %d", len(b), len(m.Payload()), len(want))
		}
		w.clock.Advance(time.Minute)
	}
}

func TestErrorsThatMayNotBeSent(t *testing.T) {
	_, tr := newTransport(udp)
	for name, c := range map[string]struct {
		f       header.IPv4Fields
		payload []byte
	}{
		"about a group":     {header.IPv4Fields{Protocol: udp, Source: peer, Destination: header.IPv4AllSystems}, datagram(1, 53, nil)},
		"about a broadcast": {header.IPv4Fields{Protocol: udp, Source: peer, Destination: header.IPv4Broadcast}, datagram(1, 53, nil)},
		"to nobody":         {header.IPv4Fields{Protocol: udp, Source: header.IPv4Any, Destination: header.IPv4Broadcast}, datagram(1, 53, nil)},
	} {
		w := newWorld(t, capture.Options{}, tr)
		w.bind(udp, stack.TransportID{LocalPort: 53}).refuse = w.nic
		w.inject(c.f, c.payload)
		if got := w.take(); len(got) != 0 {
			t.Errorf("%s: %x", name, got)
		}
	}
	// The rules themselves.
	w := newWorld(t, capture.Options{})
	ep := w.nic.Endpoint(header.EtherTypeIPv4).(stack.InternetEndpoint)
	for name, c := range map[string]struct {
		f          header.IPv4Fields
		payload    []byte
		packetType uint8
		want       int
	}{
		"a datagram":           {header.IPv4Fields{Protocol: udp, Source: peer, Destination: us}, datagram(1, 2, nil), 0, 1},
		"broadcast by link":    {header.IPv4Fields{Protocol: udp, Source: peer, Destination: us}, datagram(1, 2, nil), 1, 0},
		"multicast by link":    {header.IPv4Fields{Protocol: udp, Source: peer, Destination: us}, datagram(1, 2, nil), 2, 0},
		"from a group":         {header.IPv4Fields{Protocol: udp, Source: header.IPv4AllSystems, Destination: us}, datagram(1, 2, nil), 0, 0},
		"from this network":    {header.IPv4Fields{Protocol: udp, Source: netip.MustParseAddr("0.0.0.7"), Destination: us}, datagram(1, 2, nil), 0, 0},
		"a later fragment":     {header.IPv4Fields{Protocol: udp, Source: peer, Destination: us, FragmentOffset: 8}, datagram(1, 2, nil), 0, 0},
		"the first fragment":   {header.IPv4Fields{Protocol: udp, Source: peer, Destination: us, Flags: 1}, datagram(1, 2, nil), 0, 1},
		"an echo":              {header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, icmp(header.ICMPv4Fields{Type: 8}, nil), 0, 1},
		"an error":             {header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, icmp(header.ICMPv4Fields{Type: 3}, nil), 0, 0},
		"a redirect":           {header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, icmp(header.ICMPv4Fields{Type: 5}, nil), 0, 0},
		"an unknown ICMP type": {header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, icmp(header.ICMPv4Fields{Type: 99}, nil), 0, 0},
		"an empty ICMP":        {header.IPv4Fields{Protocol: 1, Source: peer, Destination: us}, nil, 0, 0},
	} {
		p := buffer.NewFrom(packet(c.f, c.payload))
		p.NetworkHeader, _ = p.Consume(20)
		p.PacketType = c.packetType
		ep.SendError(stack.ICMPError{Kind: stack.ErrorPortUnreachable}, p)
		if p.Len() != len(c.payload) {
			t.Errorf("%s: the packet was changed", name)
		}
		p.Release()
		if got := w.take(); len(got) != c.want {
			t.Errorf("%s: %d errors, want %d", name, len(got), c.want)
		}
		w.clock.Advance(10 * time.Second)
	}
	p := buffer.NewFrom([]byte("no header"))
	ep.SendError(stack.ICMPError{Kind: stack.ErrorPortUnreachable}, p)
	p.Release()
	w.none()
}

func TestKindsOfErrors(t *testing.T) {
	w := newWorld(t, capture.Options{})
	ep := w.nic.Endpoint(header.EtherTypeIPv4).(stack.InternetEndpoint)
	for _, c := range []struct {
		e       stack.ICMPError
		t, code uint8
		rest    [4]byte
	}{
		{stack.ICMPError{Kind: stack.ErrorPortUnreachable}, 3, 3, [4]byte{}},
		{stack.ICMPError{Kind: stack.ErrorHostUnreachable}, 3, 1, [4]byte{}},
		{stack.ICMPError{Kind: stack.ErrorNetUnreachable}, 3, 0, [4]byte{}},
		{stack.ICMPError{Kind: stack.ErrorProtocolUnreachable}, 3, 2, [4]byte{}},
		{stack.ICMPError{Kind: stack.ErrorProhibited}, 3, 13, [4]byte{}},
		{stack.ICMPError{Kind: stack.ErrorTimeExceeded}, 11, 0, [4]byte{}},
		{stack.ICMPError{Kind: stack.ErrorReassemblyTime}, 11, 1, [4]byte{}},
		{stack.ICMPError{Kind: stack.ErrorPacketTooBig, MTU: 1400}, 3, 4, [4]byte{0, 0, 5, 120}},
		{stack.ICMPError{Kind: stack.ErrorPacketTooBig, MTU: 70000}, 3, 4, [4]byte{0, 0, 255, 255}},
		{stack.ICMPError{Kind: stack.ErrorParameter, Pointer: 20, Code: 1}, 12, 1, [4]byte{20}},
	} {
		p := buffer.NewFrom(packet(header.IPv4Fields{Protocol: udp, Source: far, Destination: peer}, datagram(1, 2, nil)))
		p.NetworkHeader, _ = p.Consume(20)
		ep.SendError(c.e, p)
		p.Release()
		h := w.one()
		m := header.ICMPv4(h.Payload())
		if m.Type() != c.t || m.Code() != c.code || [4]byte(m[4:8]) != c.rest || h.Source() != us || h.Destination() != far {
			t.Errorf("%+v: %x", c.e, []byte(h))
		}
		w.clock.Advance(10 * time.Second)
	}
	p := buffer.NewFrom(packet(header.IPv4Fields{Protocol: udp, Source: far, Destination: peer}, datagram(1, 2, nil)))
	p.NetworkHeader, _ = p.Consume(20)
	ep.SendError(stack.ICMPError{Kind: 99}, p) // not of IPv4
	w.none()
	// No way back.
	w.s.RemoveRoute(stack.RouteEntry{Destination: netip.MustParsePrefix("0.0.0.0/0")})
	ep.SendError(stack.ICMPError{Kind: stack.ErrorPortUnreachable}, p)
	w.none()
	if w.s.Stats().ICMP.OutErrors.Load() != 1 {
		t.Error("that is not counted")
	}
	p.Release()
}

func TestErrorsAreLimited(t *testing.T) {
	w := newWorld(t, capture.Options{})
	unknown := func(src netip.Addr) int {
		w.inject(header.IPv4Fields{Protocol: 99, Source: src, Destination: us}, numbers(8))
		return len(w.take())
	}
	n := 0
	for range 100 {
		n += unknown(peer)
	}
	if n != 6 {
		t.Errorf("one host got %d errors at once", n)
	}
	if got := w.s.Stats().ICMP.OutRateLimited.Load(); got != 94 {
		t.Errorf("%d were counted as limited", got)
	}
	n = 0
	for range 100 {
		w.clock.Advance(100 * time.Millisecond)
		n += unknown(peer)
	}
	if n != 10 {
		t.Errorf("it got %d in ten seconds", n)
	}
	w.clock.Advance(time.Minute)
	n = 0
	for i := range 1000 {
		n += unknown(netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)}))
	}
	if n != 50 {
		t.Errorf("1000 hosts got %d at once", n)
	}
	// How large a packet may be is always told.
	ep := w.nic.Endpoint(header.EtherTypeIPv4).(stack.InternetEndpoint)
	p := buffer.NewFrom(packet(header.IPv4Fields{Protocol: udp, Source: far, Destination: peer}, datagram(1, 2, nil)))
	p.NetworkHeader, _ = p.Consume(20)
	for range 100 {
		ep.SendError(stack.ICMPError{Kind: stack.ErrorPacketTooBig, MTU: 1000}, p)
	}
	p.Release()
	if got := len(w.take()); got != 100 {
		t.Errorf("%d of 100 messages about the path MTU were sent", got)
	}
}

// Who sends to a neighbour that does not answer gets EHOSTUNREACH, by an error of his own host.
func TestSilentNeighbour(t *testing.T) {
	_, tr := newTransport(udp)
	w := newWorld(t, capture.Options{Ethernet: true}, tr)
	e := w.bind(udp, stack.TransportID{LocalPort: 53})
	w.link.Take()
	r := w.route(stack.RouteQuery{Destination: peer})
	p := buffer.New()
	h := header.UDP(p.Push(header.UDPSize))
	copy(h, datagram(53, 999, nil))
	p.TransportHeader = h
	if err := r.WritePacket(stack.NetworkParams{Transport: udp}, p); err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(3 * time.Second)
	if sent := w.link.Take(); len(sent) != 3 || sent[0].EtherType != header.EtherTypeARP {
		t.Fatalf("%d frames were sent, want 3 requests", len(sent))
	}
	eventually(t, "an error", func() bool { e.mu.Lock(); defer e.mu.Unlock(); return len(e.errors) > 0 })
	if got := e.takeErrors(); got[0].Errno != unix.EHOSTUNREACH || got[0].Offender != us || len(got) != 1 {
		t.Errorf("%+v", got)
	}
	if e.id != (stack.TransportID{LocalAddr: us, RemoteAddr: peer, LocalPort: 53, RemotePort: 999}) {
		t.Errorf("id %v", e.id)
	}
}
