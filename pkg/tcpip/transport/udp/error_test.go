package udp_test

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/stack"
	. "runsc/pkg/tcpip/transport/internal/nettest"
	"runsc/pkg/tcpip/transport/udp"
	"runsc/pkg/waiter"
)

// unreachable is what an ICMP port unreachable looks like in the error queue.
func unreachable(v family, offender netip.Addr, to tcpip.FullAddress) tcpip.QueuedError {
	e := tcpip.QueuedError{Errno: uint32(unix.ECONNREFUSED), Origin: 2, Type: header.ICMPv4Unreachable,
		Code: header.ICMPv4PortUnreachable, Offender: offender, Destination: to}
	if v.v6 {
		e.Origin, e.Type, e.Code = 3, header.ICMPv6Unreachable, header.ICMPv6PortUnreachable
	}
	return e
}

func TestClosedPortRefusesTheConnected(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6)
		l := Listen(t, e)
		OK(t, e.Connect(To(v.lo, 9)))
		OK(t, Send(e, "x"))
		if l.Mask&waiter.EventErr == 0 || e.Readiness(waiter.EventErr) == 0 {
			t.Error("no error is shown")
		}
		WantError(t, e, unix.ECONNREFUSED)
		WantError(t, e, unix.EAGAIN)
		OK(t, Send(e, "x"))
		Want(t, Send(e, "not sent"), unix.ECONNREFUSED)
		OK(t, Send(e, "x"))
		Want(t, e.TakeError(), unix.ECONNREFUSED)
		Want(t, e.TakeError(), nil)
		if e.Readiness(waiter.EventErr) != 0 {
			t.Error("an error is shown")
		}
		if got := stats(h, v).NoPorts.Load(); got != 3 {
			t.Errorf("%d NoPorts", got)
		}
		// An error comes before data, and a bad destination before an error.
		peer := bound(t, h, v.v6, v.lo, 5000)
		OK(t, e.Connect(To(v.lo, 5000)))
		OK(t, SendTo(peer, "data", e.LocalAddress()))
		peer.Close()
		OK(t, Send(e, "x"))
		Want(t, SendTo(e, "x", To(v.lo, 0)), unix.EINVAL)
		WantError(t, e, unix.ECONNREFUSED)
		WantData(t, e, "data")
	})
}

func TestClosedPortIsNothingToTheUnconnected(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6)
		OK(t, SendTo(e, "x", To(v.lo, 9)))
		WantError(t, e, unix.EAGAIN)
		Want(t, e.TakeError(), nil)
	})
}

func TestErrorQueue(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6)
		recvErr(e, v)
		OK(t, SendTo(e, "first", To(v.lo, 9)))
		Want(t, SendTo(e, "kept back", To(v.lo, 10)), unix.ECONNREFUSED)
		OK(t, SendTo(e, "second", To(v.lo, 10)))
		if e.Readiness(waiter.EventErr) == 0 {
			t.Error("no error is shown")
		}
		data, q := WantQueuedError(t, e)
		if w := unreachable(v, v.lo, To(v.lo, 9)); data != "first" || q != w {
			t.Errorf("%q, %+v, want %+v", data, q, w)
		}
		// The pending error is that of the next one now.
		Want(t, e.TakeError(), unix.ECONNREFUSED)
		if e.Readiness(waiter.EventErr) == 0 {
			t.Error("the queue is not shown")
		}
		// What there is no room for is cut.
		buf := Buffer{Room: 3}
		r, err := e.Receive(&buf, tcpip.ReceiveOptions{ErrorQueue: true})
		if err != nil || string(buf.B) != "sec" || r.N != 3 || r.MessageLen != 6 || r.From != To(v.lo, 10) {
			t.Errorf("%q, %+v, %v", buf.B, r, err)
		}
		Want(t, e.TakeError(), nil)
		if e.Readiness(waiter.EventErr) != 0 {
			t.Error("an error is shown")
		}
		OK(t, SendTo(e, "lost", To(v.lo, 9)))
		_, err = e.Receive(&Buffer{Room: 9, Err: unix.EFAULT}, tcpip.ReceiveOptions{ErrorQueue: true})
		Want(t, err, unix.EFAULT)
		e.TakeError()
		// A last one taken from the queue is not pending any more.
		OK(t, SendTo(e, "third", To(v.lo, 9)))
		WantQueuedError(t, e)
		WantError(t, e, unix.EAGAIN)
	})
}

func TestErrorQueueIsBounded(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false)
	recvErr(e, families[0])
	e.Options().ReceiveBuffer.Store(4096)
	for range 100 {
		e.TakeError()
		OK(t, SendTo(e, strings.Repeat("x", 200), To(Loopback4, 9)))
		if e.Rx.Memory() > 4096 {
			t.Fatalf("%d bytes of memory", e.Rx.Memory())
		}
	}
	n := 0
	for {
		if _, _, err := Receive(e, tcpip.ReceiveOptions{ErrorQueue: true}); err != nil {
			break
		}
		n++
	}
	if n < 5 || n > 10 || e.Rx.Memory() != 0 {
		t.Errorf("%d errors were queued, %d bytes are left", n, e.Rx.Memory())
	}
}

// TestErrorsOfTheNetwork says, for each ICMP error, what a connected socket hears of it, and one with
// IP_RECVERR.
func TestErrorsOfTheNetwork(t *testing.T) {
	for _, c := range []struct {
		v6           bool
		typ, code    uint8
		rest         uint32
		plain, asked error
	}{
		{false, 3, 0, 0, nil, unix.ENETUNREACH},
		{false, 3, 1, 0, nil, unix.EHOSTUNREACH},
		{false, 3, 2, 0, unix.ENOPROTOOPT, unix.ENOPROTOOPT},
		{false, 3, 3, 0, unix.ECONNREFUSED, unix.ECONNREFUSED},
		{false, 3, 4, 600, unix.EMSGSIZE, unix.EMSGSIZE},
		{false, 3, 5, 0, nil, unix.EOPNOTSUPP},
		{false, 3, 6, 0, unix.ENETUNREACH, unix.ENETUNREACH},
		{false, 3, 7, 0, unix.EHOSTDOWN, unix.EHOSTDOWN},
		{false, 3, 8, 0, unix.ENONET, unix.ENONET},
		{false, 3, 9, 0, unix.ENETUNREACH, unix.ENETUNREACH},
		{false, 3, 10, 0, unix.EHOSTUNREACH, unix.EHOSTUNREACH},
		{false, 3, 11, 0, nil, unix.ENETUNREACH},
		{false, 3, 12, 0, nil, unix.EHOSTUNREACH},
		{false, 3, 13, 0, unix.EHOSTUNREACH, unix.EHOSTUNREACH},
		{false, 4, 0, 0, nil, nil},
		{false, 5, 0, 0, nil, nil},
		{false, 11, 0, 0, nil, unix.EHOSTUNREACH},
		{false, 12, 0, 0, unix.EPROTO, unix.EPROTO},
		{true, 1, 0, 0, nil, unix.ENETUNREACH},
		{true, 1, 1, 0, unix.EACCES, unix.EACCES},
		{true, 1, 3, 0, nil, unix.EHOSTUNREACH},
		{true, 1, 4, 0, unix.ECONNREFUSED, unix.ECONNREFUSED},
		{true, 1, 5, 0, unix.EACCES, unix.EACCES},
		{true, 2, 0, 1300, unix.EMSGSIZE, unix.EMSGSIZE},
		{true, 3, 0, 0, nil, unix.EHOSTUNREACH},
		{true, 4, 0, 0, unix.EPROTO, unix.EPROTO},
	} {
		v := families[0]
		if c.v6 {
			v = families[1]
		}
		for _, asked := range []bool{false, true} {
			h := host(t)
			e := endpoint(t, h, c.v6)
			OK(t, e.Connect(To(v.other, 5000)))
			want := c.plain
			if asked {
				recvErr(e, v)
				want = c.asked
			}
			OK(t, Send(e, strings.Repeat("payload", 200)))
			about := h.Sent(header.ProtocolUDP)[0]
			h.Inject(ICMPError(v.other, c.typ, c.code, c.rest, about[:min(len(about), 548)]))
			if got := e.TakeError(); got != want {
				t.Errorf("%s: type %d code %d, asked %v: %v, want %v", v.name, c.typ, c.code, asked, got, want)
			}
			if data, r, err := Receive(e, tcpip.ReceiveOptions{ErrorQueue: true}); (err == nil) != (asked && want != nil) {
				t.Errorf("%s: type %d code %d, asked %v: from the error queue: %v", v.name, c.typ, c.code, asked, err)
			} else if err == nil && (!strings.HasPrefix(data, "payload") || r.Error.Info != c.rest || r.Error.Type != c.typ || r.Error.Code != c.code || r.Error.Offender != v.other) {
				t.Errorf("%s: type %d code %d: %.20q, %+v", v.name, c.typ, c.code, data, r.Error)
			}
		}
	}
}

func TestErrorsAboutOthersDatagramsAreIgnored(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false)
	recvErr(e, families[0])
	OK(t, e.Connect(To(Addr4(2), 5000)))
	OK(t, Send(e, "x"))
	about := h.Sent(header.ProtocolUDP)[0]
	about[21]++ // the source port
	h.Inject(ICMPError(Addr4(2), 3, 3, 0, about))
	about[21]--
	about[23]++ // the destination port
	h.Inject(ICMPError(Addr4(2), 3, 3, 0, about))
	Want(t, e.TakeError(), nil)
	about[23]--
	h.Inject(ICMPError(Addr4(2), 3, 3, 0, about))
	Want(t, e.TakeError(), unix.ECONNREFUSED)
}

func TestPathMTUModes(t *testing.T) {
	const size = 1000 // of the payload; the path takes 800 then
	for _, c := range []struct {
		name      string
		mode      int32
		first     error // before the path MTU is known
		dontFrag  bool
		second    error // after
		fragments int
	}{
		{"dont", tcpip.MTUDiscoveryDont, nil, false, nil, 2},
		{"want", tcpip.MTUDiscoveryWant, nil, true, nil, 2},
		{"do", tcpip.MTUDiscoveryDo, nil, true, unix.EMSGSIZE, 0},
		{"probe", tcpip.MTUDiscoveryProbe, nil, true, nil, 1},
		{"interface", tcpip.MTUDiscoveryInterface, nil, false, nil, 1},
		{"omit", tcpip.MTUDiscoveryOmit, nil, false, nil, 1},
	} {
		h := host(t)
		e := endpoint(t, h, false)
		e.Options().MTUDiscovery4.Store(c.mode)
		OK(t, e.Connect(To(Addr4(2), 5000)))
		if err := Send(e, strings.Repeat("x", size)); err != c.first {
			t.Fatalf("%s: %v", c.name, err)
		}
		sent := h.Sent(header.ProtocolUDP)
		if len(sent) != 1 || header.IPv4(sent[0]).DontFragment() != c.dontFrag {
			t.Errorf("%s: first %x", c.name, sent)
		}
		h.SetPathMTU(Addr4(2), 800)
		if err := Send(e, strings.Repeat("x", size)); err != c.second {
			t.Errorf("%s: over the path's MTU: %v, want %v", c.name, err, c.second)
		}
		sent = h.Sent(header.ProtocolUDP)
		if len(sent) != c.fragments {
			t.Errorf("%s: %d packets over the path's MTU, want %d", c.name, len(sent), c.fragments)
		} else if len(sent) == 2 && (header.IPv4(sent[0]).DontFragment() || !header.IPv4(sent[0]).MoreFragments()) {
			t.Errorf("%s: fragments %x", c.name, sent)
		}
		// The interface's MTU holds for all.
		err := Send(e, strings.Repeat("x", 3000))
		refused := c.mode == tcpip.MTUDiscoveryDo || c.mode == tcpip.MTUDiscoveryProbe || c.mode == tcpip.MTUDiscoveryInterface
		if (err == unix.EMSGSIZE) != refused || !refused && err != nil {
			t.Errorf("%s: over the interface's MTU: %v", c.name, err)
		}
	}
}

func TestTooLongDatagramIsExplained(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6)
		e.Options().MTUDiscovery4.Store(tcpip.MTUDiscoveryDo)
		e.Options().MTUDiscovery6.Store(tcpip.MTUDiscoveryDo)
		OK(t, e.Connect(To(v.other, 5000)))
		Want(t, Send(e, strings.Repeat("x", 1473)), unix.EMSGSIZE)
		recvErr(e, v)
		Want(t, Send(e, strings.Repeat("x", 1473)), unix.EMSGSIZE)
		data, q := WantQueuedError(t, e)
		if w := (tcpip.QueuedError{Errno: uint32(unix.EMSGSIZE), Origin: 1, Info: 1500, Destination: To(v.other, 5000)}); data != "" || q != w {
			t.Errorf("%q, %+v, want %+v", data, q, w)
		}
		// It was an error of the call, not of the socket, and comes before that.
		Want(t, e.TakeError(), nil)
		e.Rx.SetPending(unix.EPROTO)
		Want(t, Send(e, strings.Repeat("x", 1473)), unix.EMSGSIZE)
		WantQueuedError(t, e)
		Want(t, Send(e, "x"), unix.EPROTO)
		// Without a peer, IPv4 does not say the port; options take their part.
		u := endpoint(t, h, v.v6)
		recvErr(u, v)
		u.Options().Mu.Lock()
		u.Options().IPOptions4 = []byte{1, 1, 1, 1, 0}
		u.Options().Mu.Unlock()
		n := 65503
		w := tcpip.QueuedError{Errno: uint32(unix.EMSGSIZE), Origin: 1, Info: 1500 - 8, Destination: To(v.other, 0)}
		if v.v6 {
			n = 65528
			w.Info, w.Destination.Port = 1500, 5000
		}
		Want(t, SendTo(u, strings.Repeat("x", n), To(v.other, 5000)), unix.EMSGSIZE)
		if _, q := WantQueuedError(t, u); q != w {
			t.Errorf("%+v, want %+v", q, w)
		}
		e.Options().MTUDiscovery6.Store(tcpip.MTUDiscoveryWant)
		e.Options().DontFragment6.Store(true)
		if v.v6 {
			Want(t, Send(e, strings.Repeat("x", 1473)), unix.EMSGSIZE)
			WantQueuedError(t, e)
		}
	})
}

func TestFullLink(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6)
		OK(t, e.Connect(To(v.other, 5000)))
		h.Wire.SetError(unix.ENOBUFS)
		OK(t, Send(e, "lost"))
		recvErr(e, v)
		Want(t, Send(e, "lost, and known"), unix.ENOBUFS)
		if got := stats(h, v); got.SndbufErrors.Load() != 2 || got.OutDatagrams.Load() != 0 {
			t.Errorf("%d SndbufErrors, %d sent", got.SndbufErrors.Load(), got.OutDatagrams.Load())
		}
		h.Wire.SetError(unix.ENETDOWN)
		Want(t, Send(e, "x"), unix.ENETDOWN)
	})
}

func TestUnknownPortIsAnswered(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		src, dst := netip.AddrPortFrom(v.other, 1234), netip.AddrPortFrom(v.own, 9)
		protocol := uint8(header.ProtocolICMPv4)
		group, port := netip.MustParseAddr("224.0.0.1"), uint8(header.ICMPv4PortUnreachable)
		if v.v6 {
			protocol = header.ProtocolICMPv6
			group, port = netip.MustParseAddr("ff02::1"), header.ICMPv6PortUnreachable
		}
		h := host(t)
		good := IP(src.Addr(), dst.Addr(), header.ProtocolUDP, UDP(src, dst, true, []byte("what")))
		h.Inject(good)
		sent := h.Sent(protocol)
		if len(sent) != 1 {
			t.Fatalf("%d answers", len(sent))
		}
		answer := sent[0][len(good)-8-4:]
		if answer[1] != port || string(answer[8:]) != string(good) {
			t.Errorf("%x is answered by %x", good, answer)
		}
		bad := append([]byte(nil), good...)
		bad[len(bad)-1]++
		h.Inject(bad)
		h.Inject(IP(src.Addr(), dst.Addr(), header.ProtocolUDP, []byte{1, 2, 0, 9, 0, 7, 0, 0}))
		h.Inject(IP(src.Addr(), dst.Addr(), header.ProtocolUDP, []byte{1, 2, 0}))
		h.Inject(IP(src.Addr(), group, header.ProtocolUDP, UDP(src, netip.AddrPortFrom(group, 9), true, nil)))
		unsummed := IP(src.Addr(), dst.Addr(), header.ProtocolUDP, UDP(src, dst, false, []byte("what")))
		h.Inject(unsummed)
		answers := 1
		s := stats(h, v)
		if v.v6 {
			answers = 0 // RFC 8200 section 8.1
		}
		if got := len(h.Sent(protocol)); got != answers {
			t.Errorf("%d answers to broken datagrams, want %d", got, answers)
		}
		if s.NoPorts.Load() != uint64(1+answers) || s.InErrors.Load() != uint64(3-answers) || s.InCsumErrors.Load() != uint64(2-answers) || s.IgnoredMulti.Load() != 1 {
			t.Errorf("%d NoPorts, %d InErrors, %d InCsumErrors, %d IgnoredMulti", s.NoPorts.Load(), s.InErrors.Load(), s.InCsumErrors.Load(), s.IgnoredMulti.Load())
		}
	})
}

func TestSourceQuenchIsIgnored(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false)
	recvErr(e, families[0])
	OK(t, e.Connect(To(Addr4(2), 5000)))
	// RFC 6633 section 4. Package ipv4 does not even tell.
	e.HandleError(stack.TransportID{RemoteAddr: Addr4(2), RemotePort: 5000}, stack.TransportError{Origin: 2, Type: header.ICMPv4SourceQuench, Errno: unix.EPROTO}, nil)
	Want(t, e.TakeError(), nil)
}

func TestImpossibleOptionsAreTooLong(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false)
	o := e.Options()
	o.Mu.Lock()
	o.IPOptions4 = make([]byte, 44)
	o.Mu.Unlock()
	Want(t, SendTo(e, "x", To(Loopback4, 9)), unix.EMSGSIZE)
}

func TestNeighbourThatIsNotThereIsASoftError(t *testing.T) {
	h := NewHost(t, capture.Options{Ethernet: true}, udp.New)
	plain, asking := endpoint(t, h, false), endpoint(t, h, false)
	asking.Options().ReceiveErrors4.Store(true)
	for _, e := range []*udp.Endpoint{plain, asking} {
		OK(t, e.Connect(To(Addr4(9), 5000)))
		OK(t, Send(e, "x"))
	}
	h.Clock.Advance(10e9)
	Eventually(t, "the error", func() bool { return asking.TakeError() == unix.EHOSTUNREACH })
	Want(t, plain.TakeError(), nil)
}
