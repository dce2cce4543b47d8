package udp_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/bpf"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/stack"
	. "runsc/pkg/tcpip/transport/internal/nettest"
	"runsc/pkg/tcpip/transport/udp"
	"runsc/pkg/waiter"
)

// family is what differs between tests over IPv4 and IPv6.
type family struct {
	name           string
	v6             bool
	lo, own, other netip.Addr
	any            netip.Addr
	group          netip.Addr
}

var families = []family{
	{"v4", false, Loopback4, Addr4(1), Addr4(2), netip.MustParseAddr("0.0.0.0"), netip.MustParseAddr("239.1.2.3")},
	{"v6", true, Loopback6, Addr6(1), Addr6(2), netip.MustParseAddr("::"), netip.MustParseAddr("ff05::1234")},
}

// both runs a test over IPv4 and over IPv6.
func both(t *testing.T, f func(t *testing.T, v family)) {
	for _, v := range families {
		t.Run(v.name, func(t *testing.T) { f(t, v) })
	}
}

func host(t testing.TB) *Host { return NewHost(t, capture.Options{}, udp.New) }

// endpoint makes a socket that is closed at the end of the test.
func endpoint(t testing.TB, h *Host, v6 bool) *udp.Endpoint {
	e := udp.NewEndpoint(h.Stack, v6)
	t.Cleanup(e.Close)
	return e
}

// bound makes a socket bound to an address.
func bound(t testing.TB, h *Host, v6 bool, a netip.Addr, port uint16) *udp.Endpoint {
	t.Helper()
	e := endpoint(t, h, v6)
	OK(t, e.Bind(To(a, port)))
	return e
}

func stats(h *Host, v family) *stack.UDPStats {
	if v.v6 {
		return &h.Stats().UDP6
	}
	return &h.Stats().UDP
}

func recvErr(e *udp.Endpoint, v family) {
	if v.v6 {
		e.Options().ReceiveErrors6.Store(true)
	} else {
		e.Options().ReceiveErrors4.Store(true)
	}
}

func TestDatagramsByLo(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		a, b := endpoint(t, h, v.v6), bound(t, h, v.v6, v.lo, 5000)
		OK(t, SendTo(a, "hello", To(v.lo, 5000)))
		r := WantData(t, b, "hello")
		if a.LocalAddress().Port != r.From.Port || r.From.Addr != v.lo || r.From.NIC != 0 {
			t.Errorf("from %+v", r.From)
		}
		OK(t, SendTo(b, "back", r.From))
		WantData(t, a, "back")
		WantError(t, a, unix.EAGAIN)
		s := stats(h, v)
		if s.OutDatagrams.Load() != 2 || s.InDatagrams.Load() != 2 {
			t.Errorf("%d sent, %d received", s.OutDatagrams.Load(), s.InDatagrams.Load())
		}
	})
}

func TestDatagramsByWire(t *testing.T) {
	for _, offload := range []stack.Capabilities{0, stack.CapTXChecksum | stack.CapRXChecksum} {
		both(t, func(t *testing.T, v family) {
			n := New(t, pipe.Options{Offload: offload}, udp.New)
			a, b := endpoint(t, n.A, v.v6), bound(t, n.B, v.v6, v.other, 5000)
			for _, size := range []int{0, 1, 2, 1471, 1472, 1473, 9001, 65507} {
				data := strings.Repeat("x", size)
				OK(t, SendTo(a, data, To(v.other, 5000)))
				n.Run()
				r := WantData(t, b, data)
				if r.From.Addr != v.own {
					t.Fatalf("from %v", r.From.Addr)
				}
			}
			OK(t, SendTo(b, "back", To(v.own, a.LocalAddress().Port)))
			n.Run()
			WantData(t, a, "back")
		})
	}
}

func TestLinkLocalAddressesNeedAnInterface(t *testing.T) {
	n := New(t, pipe.Options{}, udp.New)
	a, b := endpoint(t, n.A, true), endpoint(t, n.B, true)
	Want(t, b.Bind(To(LinkLocal(2), 5000)), unix.EINVAL)
	Want(t, b.Bind(tcpip.FullAddress{Addr: LinkLocal(2), Port: 5000, NIC: 77}), unix.ENODEV)
	Want(t, b.Bind(tcpip.FullAddress{Addr: LinkLocal(2), Port: 5000, NIC: LoID}), unix.EADDRNOTAVAIL)
	OK(t, b.Bind(tcpip.FullAddress{Addr: LinkLocal(2), Port: 5000, NIC: EthID}))
	if got := b.LocalAddress(); got.NIC != EthID || got.Addr != LinkLocal(2) {
		t.Errorf("bound to %+v", got)
	}
	Want(t, a.Connect(To(LinkLocal(2), 5000)), unix.EINVAL)
	to := tcpip.FullAddress{Addr: LinkLocal(2), Port: 5000, NIC: EthID}
	OK(t, SendTo(a, "x", to))
	n.Run()
	if r := WantData(t, b, "x"); r.From.NIC != EthID || r.From.Addr != LinkLocal(1) {
		t.Errorf("from %+v", r.From)
	}
	OK(t, a.Connect(to))
	OK(t, Send(a, "y"))
	n.Run()
	r := WantData(t, b, "y")
	OK(t, b.Connect(r.From))
	OK(t, Send(b, "z"))
	n.Run()
	WantData(t, a, "z")
	if r, err := a.RemoteAddress(); err != nil || r != to {
		t.Errorf("peer %+v, %v", r, err)
	}
	// Its scope is a link of its own.
	Want(t, a.Connect(tcpip.FullAddress{Addr: LinkLocal(9), Port: 5000, NIC: LoID}), unix.EINVAL)
}

func TestSendErrors(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6)
		long := 65508
		if v.v6 {
			long = 65528
		}
		dst := To(v.lo, 9)
		for _, c := range []struct {
			name string
			n    int
			o    tcpip.SendOptions
			want error
		}{
			{"no destination", 1, tcpip.SendOptions{}, unix.EDESTADDRREQ},
			{"port 0", 1, tcpip.SendOptions{To: &tcpip.FullAddress{Addr: v.lo}}, unix.EINVAL},
			{"too long", long, tcpip.SendOptions{To: &dst}, unix.EMSGSIZE},
			{"much too long", 70000, tcpip.SendOptions{To: &dst}, unix.EMSGSIZE},
			{"the longest", long - 1, tcpip.SendOptions{To: &dst}, nil},
			{"urgent", 1, tcpip.SendOptions{To: &dst, OutOfBand: true}, unix.EOPNOTSUPP},
			{"no route", 1, tcpip.SendOptions{To: &tcpip.FullAddress{Addr: netip.MustParseAddr(map[bool]string{false: "8.8.8.8", true: "2001::1"}[v.v6]), Port: 9}}, unix.ENETUNREACH},
			{"mapped address", 1, tcpip.SendOptions{To: &tcpip.FullAddress{Addr: netip.MustParseAddr("::ffff:1.2.3.4"), Port: 9}}, unix.EAFNOSUPPORT},
			{"source of others", 1, tcpip.SendOptions{To: &dst, Control: tcpip.SendControl{HasPacketInfo: true, Source: v.other}}, unix.EINVAL},
			{"by no interface", 1, tcpip.SendOptions{To: &dst, Control: tcpip.SendControl{HasPacketInfo: true, NIC: 77}}, unix.ENODEV},
		} {
			n, err := e.Send(&Bytes{B: make([]byte, c.n)}, c.o)
			if err != c.want || err == nil && n != c.n || err != nil && n != 0 {
				t.Errorf("%s: %d, %v, want %v", c.name, n, err, c.want)
			}
		}
		bad := &Bytes{B: make([]byte, 100), Err: unix.EFAULT, FailAfter: 10}
		if n, err := e.Send(bad, tcpip.SendOptions{To: &dst}); n != 0 || err != unix.EFAULT {
			t.Errorf("bad memory: %d, %v", n, err)
		}
		if !v.v6 {
			six := To(Loopback6, 9)
			_, err := e.Send(&Bytes{}, tcpip.SendOptions{To: &six})
			Want(t, err, unix.EAFNOSUPPORT)
		}
		// Whatever failed, a port was taken: as bind to any would.
		if e.LocalAddress().Port == 0 {
			t.Error("no port was chosen")
		}
	})
}

func TestBindErrors(t *testing.T) {
	h := host(t)
	for _, c := range []struct {
		name string
		v6   bool
		only bool
		addr netip.Addr
		want error
	}{
		{"unspecified", false, false, netip.Addr{}, nil},
		{"own", false, false, Addr4(1), nil},
		{"all of 127/8", false, false, netip.MustParseAddr("127.9.9.9"), nil},
		{"group", false, false, netip.MustParseAddr("239.1.1.1"), nil},
		{"broadcast", false, false, netip.MustParseAddr("255.255.255.255"), nil},
		{"directed broadcast", false, false, netip.MustParseAddr("192.0.2.255"), nil},
		{"somebody else's", false, false, Addr4(2), unix.EADDRNOTAVAIL},
		{"IPv6", false, false, Loopback6, unix.EAFNOSUPPORT},
		{"own 6", true, false, Addr6(1), nil},
		{"somebody else's 6", true, false, Addr6(2), unix.EADDRNOTAVAIL},
		{"group 6", true, false, netip.MustParseAddr("ff05::1"), nil},
		{"link's group without a link", true, false, netip.MustParseAddr("ff02::1"), unix.EINVAL},
		{"mapped", true, false, Loopback4, nil},
		{"mapped, but IPv6 only", true, true, Loopback4, unix.EINVAL},
		{"mapped any", true, false, netip.MustParseAddr("0.0.0.0"), nil},
	} {
		e := udp.NewEndpoint(h.Stack, c.v6)
		e.Options().V6Only.Store(c.only)
		if err := e.Bind(To(c.addr, 0)); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		} else if err == nil {
			got := e.LocalAddress()
			if got.Port == 0 || got.Addr.IsValid() && c.addr.IsValid() && got.Addr != c.addr {
				t.Errorf("%s: bound to %v", c.name, got)
			}
			Want(t, e.Bind(To(c.addr, 0)), unix.EINVAL)
		} else if e.LocalAddress() != (tcpip.FullAddress{}) {
			t.Errorf("%s: bound to %v all the same", c.name, e.LocalAddress())
		}
		e.Close()
	}
	e := endpoint(t, h, false)
	e.Options().FreeBind.Store(true)
	OK(t, e.Bind(To(Addr4(77), 4000)))
	Want(t, endpoint(t, h, false).Bind(To(Addr4(77), 4000)), unix.EADDRNOTAVAIL)
}

func TestPortsConflict(t *testing.T) {
	type socket struct {
		v6, only, reuseAddr, reusePort bool
		user                           uint32
		addr                           string
	}
	for _, c := range []struct {
		name string
		a, b socket
		want error
	}{
		{"same address", socket{addr: "127.0.0.1"}, socket{addr: "127.0.0.1"}, unix.EADDRINUSE},
		{"other address", socket{addr: "127.0.0.1"}, socket{addr: "127.0.0.2"}, nil},
		{"any and one", socket{addr: "0.0.0.0"}, socket{addr: "127.0.0.2"}, unix.EADDRINUSE},
		{"IPv6 any is IPv4 too", socket{v6: true, addr: "::"}, socket{addr: "127.0.0.2"}, unix.EADDRINUSE},
		{"IPv6 only", socket{v6: true, only: true, addr: "::"}, socket{addr: "0.0.0.0"}, nil},
		{"mapped", socket{v6: true, addr: "127.0.0.1"}, socket{addr: "127.0.0.1"}, unix.EADDRINUSE},
		{"mapped and IPv6", socket{v6: true, addr: "0.0.0.0"}, socket{v6: true, only: true, addr: "::"}, nil},
		{"reuse address", socket{reuseAddr: true, addr: "127.0.0.1"}, socket{reuseAddr: true, addr: "127.0.0.1"}, nil},
		{"one reuses", socket{reuseAddr: true, addr: "127.0.0.1"}, socket{addr: "127.0.0.1"}, unix.EADDRINUSE},
		{"reuse port", socket{reusePort: true, addr: "127.0.0.1"}, socket{reusePort: true, addr: "127.0.0.1"}, nil},
		{"reuse port of others", socket{reusePort: true, addr: "127.0.0.1"}, socket{reusePort: true, user: 7, addr: "127.0.0.1"}, unix.EADDRINUSE},
	} {
		h := host(t)
		make := func(s socket) (*udp.Endpoint, error) {
			e := endpoint(t, h, s.v6)
			e.Options().V6Only.Store(s.only)
			e.Options().ReuseAddress.Store(s.reuseAddr)
			e.Options().ReusePort.Store(s.reusePort)
			e.Options().Owner.Store(s.user)
			return e, e.Bind(To(netip.MustParseAddr(s.addr), 7000))
		}
		a, err := make(c.a)
		OK(t, err)
		b, err := make(c.b)
		if err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
		b.Close()
		a.Close()
		if _, err := make(c.b); err != nil {
			t.Errorf("%s: the port is still taken: %v", c.name, err)
		}
	}
}

func TestConnect(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e, peer, other := endpoint(t, h, v.v6), bound(t, h, v.v6, v.lo, 5000), bound(t, h, v.v6, v.lo, 5001)
		if _, err := e.RemoteAddress(); err != unix.ENOTCONN {
			t.Fatalf("peer of nobody: %v", err)
		}
		OK(t, e.Connect(To(v.lo, 5000)))
		me := e.LocalAddress()
		if me.Addr != v.lo || me.Port == 0 {
			t.Errorf("local address %v", me)
		}
		OK(t, Send(e, "to the peer"))
		WantData(t, peer, "to the peer")
		OK(t, SendTo(e, "past it", To(v.lo, 5001)))
		WantData(t, other, "past it")
		// Only the peer is heard.
		OK(t, SendTo(other, "no", me))
		WantError(t, e, unix.EAGAIN)
		OK(t, SendTo(peer, "yes", me))
		WantData(t, e, "yes")
		// Another peer.
		OK(t, e.Connect(To(v.lo, 5001)))
		OK(t, SendTo(other, "now", me))
		WantData(t, e, "now")
		OK(t, SendTo(peer, "no more", me))
		WantError(t, e, unix.EAGAIN)
		Want(t, e.Bind(To(v.lo, 0)), unix.EINVAL)
		// Nobody: what was not asked for is given up.
		OK(t, e.Connect(tcpip.FullAddress{}))
		if got := e.LocalAddress(); got != (tcpip.FullAddress{}) {
			t.Errorf("local address %v after the connection", got)
		}
		Want(t, Send(e, "x"), unix.EDESTADDRREQ)
	})
}

func TestDisconnectKeepsWhatBindChose(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		other := bound(t, h, v.v6, v.lo, 5001)
		for _, c := range []struct {
			name       string
			addr       netip.Addr
			port       uint16
			keptAddr   bool
			keptPort   bool
			reachables bool
		}{
			{"address and port", v.lo, 6000, true, true, true},
			{"port", v.any, 6001, false, true, true},
			{"address", v.lo, 0, true, false, false},
		} {
			e := bound(t, h, v.v6, c.addr, c.port)
			OK(t, e.Connect(To(v.lo, 5000)))
			OK(t, e.Connect(tcpip.FullAddress{}))
			got := e.LocalAddress()
			if (got.Addr == v.lo) != c.keptAddr || (got.Port != 0) != c.keptPort {
				t.Errorf("%s: %v after the connection", c.name, got)
			}
			if c.reachables {
				OK(t, SendTo(other, "all are heard again", To(v.lo, c.port)))
				WantData(t, e, "all are heard again")
			} else {
				OK(t, e.Bind(To(v.lo, 6002)))
			}
		}
	})
}

func TestConnectToAnyIsThisHost(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e, peer := endpoint(t, h, v.v6), bound(t, h, v.v6, v.lo, 5000)
		OK(t, e.Connect(To(v.any, 5000)))
		if r, err := e.RemoteAddress(); err != nil || r.Addr != v.lo {
			t.Errorf("peer %v, %v", r, err)
		}
		OK(t, Send(e, "x"))
		WantData(t, peer, "x")
		OK(t, SendTo(e, "y", To(v.any, 5000)))
		WantData(t, peer, "y")
		OK(t, SendTo(e, "z", tcpip.FullAddress{Port: 5000}))
		WantData(t, peer, "z")
	})
}

func TestConnectedToPortZeroHasNoPeerName(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false)
	OK(t, e.Connect(To(Loopback4, 0)))
	if _, err := e.RemoteAddress(); err != unix.ENOTCONN {
		t.Errorf("peer: %v", err)
	}
	OK(t, Send(e, "x"))
}

func TestConnectErrors(t *testing.T) {
	h := host(t)
	for _, c := range []struct {
		name string
		v6   bool
		only bool
		bind string
		to   string
		want error
	}{
		{"broadcast", false, false, "", "192.0.2.255", unix.EACCES},
		{"unroutable", false, false, "", "8.8.8.8", unix.ENETUNREACH},
		{"IPv6", false, false, "", "::1", unix.EAFNOSUPPORT},
		{"IPv4 on IPv6 only", true, true, "", "127.0.0.1", unix.ENETUNREACH},
		{"IPv4 from an IPv6 address", true, false, "::1", "127.0.0.1", unix.ENETUNREACH},
		{"IPv6 from an IPv4 address", true, false, "127.0.0.1", "::1", unix.EAFNOSUPPORT},
		{"any from an IPv4 address", true, false, "127.0.0.1", "::", nil},
		{"IPv4 on both", true, false, "", "127.0.0.1", nil},
	} {
		e := endpoint(t, h, c.v6)
		e.Options().V6Only.Store(c.only)
		if c.bind != "" {
			OK(t, e.Bind(To(netip.MustParseAddr(c.bind), 0)))
		}
		to := To(netip.MustParseAddr(c.to), 9)
		if err := e.Connect(to); err != c.want {
			t.Errorf("%s: connect: %v, want %v", c.name, err, c.want)
		}
		if c.want != nil {
			if err := SendTo(e, "x", to); err != c.want {
				t.Errorf("%s: send: %v, want %v", c.name, err, c.want)
			}
			if e.Connected() {
				t.Errorf("%s: connected all the same", c.name)
			}
		}
	}
}

func TestDualStackSocket(t *testing.T) {
	h := host(t)
	dual := bound(t, h, true, netip.Addr{}, 5000)
	four, six := endpoint(t, h, false), endpoint(t, h, true)
	OK(t, SendTo(four, "4", To(Loopback4, 5000)))
	r4 := WantData(t, dual, "4")
	OK(t, SendTo(six, "6", To(Loopback6, 5000)))
	r6 := WantData(t, dual, "6")
	if r4.From.Addr != Loopback4 || r6.From.Addr != Loopback6 {
		t.Errorf("from %v and %v", r4.From, r6.From)
	}
	OK(t, SendTo(dual, "4", r4.From))
	WantData(t, four, "4")
	OK(t, SendTo(dual, "6", r6.From))
	WantData(t, six, "6")
	// Connected, it hears its peer only.
	OK(t, dual.Connect(r4.From))
	OK(t, SendTo(six, "no", To(Loopback6, 5000)))
	WantError(t, dual, unix.EAGAIN)
	OK(t, SendTo(four, "yes", To(Loopback4, 5000)))
	WantData(t, dual, "yes")
	// Bound to 0.0.0.0, it is of IPv4.
	mapped := bound(t, h, true, netip.MustParseAddr("0.0.0.0"), 5001)
	OK(t, SendTo(four, "4", To(Loopback4, 5001)))
	WantData(t, mapped, "4")
	Want(t, SendTo(mapped, "x", To(Loopback6, 5000)), unix.EAFNOSUPPORT)
}

func TestReceiveSemantics(t *testing.T) {
	h := host(t)
	a, b := endpoint(t, h, false), bound(t, h, false, Loopback4, 5000)
	send := func(s string) { t.Helper(); OK(t, SendTo(a, s, To(Loopback4, 5000))) }

	send("truncated")
	if b.ReceiveQueued() != 9 {
		t.Errorf("%d bytes queued", b.ReceiveQueued())
	}
	buf := Buffer{Room: 5}
	r, err := b.Receive(&buf, tcpip.ReceiveOptions{})
	if err != nil || string(buf.B) != "trunc" || r.N != 5 || r.MessageLen != 9 {
		t.Errorf("%q, %+v, %v", buf.B, r, err)
	}
	WantError(t, b, unix.EAGAIN) // the rest is gone

	send("")
	if b.Readiness(waiter.EventIn) == 0 || b.ReceiveQueued() != 0 || b.SendQueued() != 0 {
		t.Error("an empty datagram is not readable")
	}
	if r := WantData(t, b, ""); !r.From.Addr.IsValid() {
		t.Error("nobody sent the empty datagram")
	}

	send("peeked")
	for range 2 {
		if s, r, err := Receive(b, tcpip.ReceiveOptions{Peek: true}); s != "peeked" || err != nil || r.From.Port == 0 {
			t.Errorf("peek: %q, %v", s, err)
		}
	}
	if got := h.Stats().UDP.InDatagrams.Load(); got != 2 {
		t.Errorf("%d datagrams counted", got)
	}
	send("next")
	for _, c := range []struct {
		offset int
		want   string
		err    error
	}{{0, "peeked", nil}, {2, "eked", nil}, {5, "d", nil}, {6, "next", nil}, {9, "t", nil}, {10, "", unix.EAGAIN}} {
		if s, _, err := Receive(b, tcpip.ReceiveOptions{Peek: true, PeekOffset: c.offset}); s != c.want || err != c.err {
			t.Errorf("peek at %d: %q, %v", c.offset, s, err)
		}
	}
	WantData(t, b, "peeked")
	WantData(t, b, "next")

	send("lost")
	if _, err := b.Receive(&Buffer{Room: 10, Err: unix.EFAULT}, tcpip.ReceiveOptions{}); err != unix.EFAULT {
		t.Errorf("bad memory: %v", err)
	}
	WantError(t, b, unix.EAGAIN)
	if b.Drops() != 1 {
		t.Errorf("%d drops", b.Drops())
	}
	if _, _, err := Receive(b, tcpip.ReceiveOptions{ErrorQueue: true}); err != unix.EAGAIN {
		t.Errorf("from an empty error queue: %v", err)
	}
	if _, _, err := b.Accept(); err != unix.EOPNOTSUPP || b.Listen(1) != unix.EOPNOTSUPP {
		t.Error("accept and listen work")
	}
}

func TestShutdown(t *testing.T) {
	h := host(t)
	a, b := bound(t, h, false, Loopback4, 5001), bound(t, h, false, Loopback4, 5000)
	l := Listen(t, b)
	// Without a peer it takes effect and is an error, as in Linux.
	Want(t, b.Shutdown(tcpip.ShutdownRead), unix.ENOTCONN)
	if l.Mask&waiter.EventRdHUp == 0 {
		t.Error("a waiting reader is not woken")
	}
	if got := b.Readiness(waiter.AllEvents); got != waiter.EventIn|waiter.EventRdNorm|waiter.EventRdHUp|waiter.EventOut|waiter.EventWrNorm|waiter.EventWrBand {
		t.Errorf("ready for %#x", got)
	}
	if s, r, err := Receive(b, tcpip.ReceiveOptions{}); s != "" || r.N != 0 || err != nil {
		t.Errorf("who waits gets %q, %v", s, err)
	}
	WantError(t, b, unix.EAGAIN)
	OK(t, SendTo(a, "still", To(Loopback4, 5000)))
	WantData(t, b, "still")

	OK(t, a.Connect(To(Loopback4, 5000)))
	OK(t, a.Shutdown(tcpip.ShutdownWrite))
	Want(t, Send(a, "x"), unix.EPIPE)
	Want(t, SendTo(a, "x", To(Loopback4, 5000)), unix.EPIPE)
	if got := a.Readiness(waiter.EventHUp | waiter.EventRdHUp); got != 0 {
		t.Errorf("half closed is %#x", got)
	}
	OK(t, a.Shutdown(tcpip.ShutdownRead))
	if got := a.Readiness(waiter.EventHUp | waiter.EventRdHUp); got != waiter.EventHUp|waiter.EventRdHUp {
		t.Errorf("closed is %#x", got)
	}
}

func TestReadinessAndNotification(t *testing.T) {
	h := host(t)
	a, b := endpoint(t, h, false), bound(t, h, false, Loopback4, 5000)
	l := Listen(t, b)
	if got := b.Readiness(waiter.AllEvents); got != waiter.EventOut|waiter.EventWrNorm|waiter.EventWrBand {
		t.Errorf("idle: %#x", got)
	}
	OK(t, SendTo(a, "x", To(Loopback4, 5000)))
	if l.Count != 1 || l.Mask&waiter.EventIn == 0 {
		t.Errorf("%d notifications of %#x", l.Count, l.Mask)
	}
	if got := b.Readiness(waiter.ReadableEvents); got != waiter.EventIn|waiter.EventRdNorm {
		t.Errorf("readable: %#x", got)
	}
	WantData(t, b, "x")
	if got := b.Readiness(waiter.ReadableEvents); got != 0 {
		t.Errorf("read: %#x", got)
	}
}

// memory is what a datagram of a few bytes by lo is charged.
func memory(t *testing.T, h *Host) int64 {
	b := bound(t, h, false, Loopback4, 4999)
	OK(t, SendTo(endpoint(t, h, false), "x", To(Loopback4, 4999)))
	n := b.Rx.Memory()
	b.Close()
	return n
}

func TestFullQueueDropsAndCounts(t *testing.T) {
	h := host(t)
	one := memory(t, h)
	a, b := endpoint(t, h, false), bound(t, h, false, Loopback4, 5000)
	b.Options().ReceiveBuffer.Store(3*one + one/2)
	for i := range 5 {
		OK(t, SendTo(a, fmt.Sprint(i), To(Loopback4, 5000)))
	}
	s := &h.Stats().UDP
	if b.Drops() != 2 || s.RcvbufErrors.Load() != 2 || s.InErrors.Load() != 2 {
		t.Errorf("%d drops, %d RcvbufErrors, %d InErrors", b.Drops(), s.RcvbufErrors.Load(), s.InErrors.Load())
	}
	for i := range 3 {
		if r := WantData(t, b, fmt.Sprint(i)); r.Control.Dropped != 0 {
			t.Errorf("%d drops before number %d", r.Control.Dropped, i)
		}
	}
	WantError(t, b, unix.EAGAIN)
	OK(t, SendTo(a, "later", To(Loopback4, 5000)))
	if r := WantData(t, b, "later"); r.Control.Dropped != 2 {
		t.Errorf("%d drops before the last", r.Control.Dropped)
	}
	// A buffer smaller than a datagram takes one all the same.
	b.Options().ReceiveBuffer.Store(1)
	OK(t, SendTo(a, "first", To(Loopback4, 5000)))
	OK(t, SendTo(a, "second", To(Loopback4, 5000)))
	WantData(t, b, "first")
	WantError(t, b, unix.EAGAIN)
}

func TestReuse(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		var shared []*udp.Endpoint
		for range 4 {
			e := endpoint(t, h, v.v6)
			e.Options().ReusePort.Store(true)
			OK(t, e.Bind(To(v.lo, 5000)))
			shared = append(shared, e)
		}
		senders := 64
		for range senders {
			e := endpoint(t, h, v.v6)
			// All of one sender go to one socket.
			OK(t, SendTo(e, "1", To(v.lo, 5000)))
			OK(t, SendTo(e, "2", To(v.lo, 5000)))
			n := 0
			for _, s := range shared {
				if s.Rx.Len()%2 != 0 {
					t.Fatal("datagrams of one sender went to two sockets")
				}
				n += s.Rx.Len()
			}
		}
		for i, s := range shared {
			if s.Rx.Len() == 0 || s.Rx.Len() == 2*senders {
				t.Errorf("socket %d got %d of %d datagrams", i, s.Rx.Len(), 2*senders)
			}
		}
		// By SO_REUSEADDR, the last one bound gets all.
		var first, last *udp.Endpoint
		for _, e := range []**udp.Endpoint{&first, &last} {
			*e = endpoint(t, h, v.v6)
			(*e).Options().ReuseAddress.Store(true)
			OK(t, (*e).Bind(To(v.lo, 5001)))
		}
		OK(t, SendTo(shared[0], "x", To(v.lo, 5001)))
		WantData(t, last, "x")
		WantError(t, first, unix.EAGAIN)
	})
}

func TestReuseMayBeAgreedToLater(t *testing.T) {
	h := host(t)
	a, b := bound(t, h, false, Loopback4, 5000), endpoint(t, h, false)
	b.Options().ReuseAddress.Store(true)
	b.ReuseChanged() // not bound: nothing to tell
	Want(t, b.Bind(To(Loopback4, 5000)), unix.EADDRINUSE)
	a.Options().ReuseAddress.Store(true)
	a.ReuseChanged()
	OK(t, b.Bind(To(Loopback4, 5000)))
}

func TestBindToDevice(t *testing.T) {
	n := New(t, pipe.Options{}, udp.New)
	a := endpoint(t, n.A, false)
	lo, eth := bound(t, n.B, false, netip.Addr{}, 5000), bound(t, n.B, false, netip.Addr{}, 5001)
	Want(t, lo.SetDevice(99), unix.ENODEV)
	OK(t, lo.SetDevice(LoID))
	OK(t, eth.SetDevice(EthID))
	OK(t, SendTo(a, "x", To(Addr4(2), 5000)))
	OK(t, SendTo(a, "x", To(Addr4(2), 5001)))
	n.Run()
	WantError(t, lo, unix.EAGAIN)
	WantData(t, eth, "x")
	b := endpoint(t, n.B, false)
	OK(t, SendTo(b, "y", To(Loopback4, 5000)))
	OK(t, SendTo(b, "y", To(Loopback4, 5001)))
	WantData(t, lo, "y")
	WantError(t, eth, unix.EAGAIN)
	OK(t, eth.SetDevice(0))
	OK(t, SendTo(b, "z", To(Loopback4, 5001)))
	WantData(t, eth, "z")
}

func TestFilterDropsAndCuts(t *testing.T) {
	h := host(t)
	a, b := endpoint(t, h, false), bound(t, h, false, Loopback4, 5000)
	// The first byte of the payload says how many bytes of the datagram to keep.
	p, err := bpf.Compile([]bpf.Instruction{bpf.Stmt(bpf.LD|bpf.B|bpf.ABS, 8), bpf.Stmt(bpf.RET|bpf.A, 0)})
	OK(t, err)
	b.Options().Filter.Store(&p)
	for _, s := range []string{"\x00dropped", "\x0bcut", "\xffwhole", "\x02less than a header"} {
		OK(t, SendTo(a, s, To(Loopback4, 5000)))
	}
	WantData(t, b, "\x0bcu")
	WantData(t, b, "\xffwhole")
	WantData(t, b, "")
	WantError(t, b, unix.EAGAIN)
	if b.Drops() != 1 || h.Stats().UDP.InErrors.Load() != 1 {
		t.Errorf("%d drops, %d errors", b.Drops(), h.Stats().UDP.InErrors.Load())
	}
	b.Options().Filter.Store(nil)
	OK(t, SendTo(a, "\x00", To(Loopback4, 5000)))
	WantData(t, b, "\x00")
}

func TestCloseFreesAndForgets(t *testing.T) {
	h := host(t)
	a, b := endpoint(t, h, false), bound(t, h, false, Loopback4, 5000)
	OK(t, b.JoinGroup(tcpip.GroupMembership{Group: families[0].group, NIC: EthID}))
	OK(t, SendTo(a, "x", To(Loopback4, 5000)))
	b.Close()
	b.Close()
	if b.Rx.Len() != 0 || b.Rx.Memory() != 0 {
		t.Error("the queue is not empty")
	}
	if h.Eth.InGroup(families[0].group) {
		t.Error("the group is not left")
	}
	Want(t, b.Bind(To(Loopback4, 5000)), unix.EINVAL)
	Want(t, b.Connect(To(Loopback4, 5000)), unix.EINVAL)
	bound(t, h, false, Loopback4, 5000)
	// A packet that was on its way already.
	n := 0
	h.Bindings(17, func(*stack.Binding) bool { n++; return true })
	if n != 2 {
		t.Errorf("%d bindings", n)
	}
}

func TestAbortTellsTheApplication(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false)
	OK(t, e.Connect(To(Loopback4, 5000)))
	e.Abort()
	if e.Readiness(waiter.EventErr) == 0 || e.TakeError() != unix.ECONNABORTED || e.Connected() {
		t.Error("the socket does not know")
	}
}

func TestTimestamps(t *testing.T) {
	h := host(t)
	a, b := endpoint(t, h, false), bound(t, h, false, Loopback4, 5000)
	OK(t, SendTo(a, "x", To(Loopback4, 5000)))
	if r := WantData(t, b, "x"); !r.Control.Timestamp.IsZero() {
		t.Error("there is a time stamp that nobody asked for")
	}
	b.Options().Timestamps.Store(true)
	OK(t, SendTo(a, "x", To(Loopback4, 5000)))
	if r := WantData(t, b, "x"); !r.Control.Timestamp.Equal(h.Clock.Now()) {
		t.Errorf("arrived at %v, not %v", r.Control.Timestamp, h.Clock.Now())
	}
}

func TestNoPortIsLeft(t *testing.T) {
	h := host(t)
	h.Settings().PortLow.Store(40000)
	h.Settings().PortHigh.Store(40000)
	taken := bound(t, h, false, netip.Addr{}, 0)
	if got := taken.LocalAddress().Port; got != 40000 {
		t.Fatalf("port %d", got)
	}
	e := endpoint(t, h, false)
	Want(t, e.Bind(To(Loopback4, 0)), unix.EADDRINUSE)
	Want(t, e.Connect(To(Loopback4, 9)), unix.EAGAIN)
	Want(t, SendTo(e, "x", To(Loopback4, 9)), unix.EAGAIN)
	taken.Close()
	OK(t, SendTo(e, "x", To(Loopback4, 9)))
	e.Close()
	Want(t, SendTo(e, "x", To(Loopback4, 9)), unix.EAGAIN)
}

// TestSamePeerTwice has two sockets with the same four numbers: the last one is the one.
func TestSamePeerTwice(t *testing.T) {
	h := host(t)
	a, b := endpoint(t, h, false), endpoint(t, h, false)
	for _, e := range []*udp.Endpoint{a, b} {
		e.Options().ReuseAddress.Store(true)
		OK(t, e.Bind(To(Loopback4, 5000)))
		OK(t, e.Connect(To(Loopback4, 6000)))
	}
	peer := bound(t, h, false, Loopback4, 6000)
	OK(t, SendTo(peer, "x", To(Loopback4, 5000)))
	WantData(t, b, "x")
	WantError(t, a, unix.EAGAIN)
}

func TestScopeAgainstDevice(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, true)
	OK(t, e.SetDevice(LoID))
	Want(t, e.Bind(tcpip.FullAddress{Addr: LinkLocal(1), NIC: EthID}), unix.EINVAL)
	OK(t, e.SetDevice(EthID))
	OK(t, e.Bind(To(LinkLocal(1), 0))) // the device's
}
