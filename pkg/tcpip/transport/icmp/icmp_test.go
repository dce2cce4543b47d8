package icmp_test

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/bpf"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/icmp"
	. "runsc/pkg/tcpip/transport/internal/nettest"
	"runsc/pkg/waiter"
)

// family is what differs between the versions.
type family struct {
	name            string
	v6              bool
	lo, own, other  netip.Addr
	request, reply  uint8
	protocol        uint8
	unreachable     uint8
	port            uint8
	packetTooBig    uint8
	packetTooBigSub uint8
}

var families = []family{
	{"v4", false, Loopback4, Addr4(1), Addr4(2), header.ICMPv4Echo, header.ICMPv4EchoReply, header.ProtocolICMPv4,
		header.ICMPv4Unreachable, header.ICMPv4HostProhibited, header.ICMPv4Unreachable, header.ICMPv4FragmentationNeeded},
	{"v6", true, Loopback6, Addr6(1), Addr6(2), header.ICMPv6EchoRequest, header.ICMPv6EchoReply, header.ProtocolICMPv6,
		header.ICMPv6Unreachable, header.ICMPv6AdminProhibited, header.ICMPv6PacketTooBig, 0},
}

func both(t *testing.T, f func(t *testing.T, v family)) {
	for _, v := range families {
		t.Run(v.name, func(t *testing.T) { f(t, v) })
	}
}

func host(t testing.TB) *Host { return NewHost(t, capture.Options{}, icmp.New4, icmp.New6) }

func endpoint(t testing.TB, h *Host, v6 bool) *icmp.Endpoint {
	e := icmp.NewEndpoint(h.Stack, v6)
	t.Cleanup(e.Close)
	return e
}

// echo is a message as ping sends it: the identifier and checksum are not its matter.
func echo(t uint8, sequence uint16, data string) string {
	return string([]byte{t, 0, 0xab, 0xcd, 0xff, 0xff, byte(sequence >> 8), byte(sequence)}) + data
}

func TestPing(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		n := New(t, pipe.Options{}, icmp.New4, icmp.New6)
		a, second := endpoint(t, n.A, v.v6), endpoint(t, n.A, v.v6)
		l := Listen(t, a)
		OK(t, SendTo(second, echo(v.request, 0, ""), To(v.other, 0)))
		for i, dst := range []netip.Addr{v.other, v.lo, v.own} {
			for _, size := range []int{0, 56, 1472, 5000} {
				data := strings.Repeat("x", size)
				l.Count = 0
				OK(t, SendTo(a, echo(v.request, uint16(i), data), To(dst, 1234)))
				n.Run()
				got, r, err := Receive(a, tcpip.ReceiveOptions{})
				if err != nil || len(got) != 8+size || got[0] != v.reply || got[7] != byte(i) || got[8:] != data {
					t.Fatalf("answer %.40q, %v", got, err)
				}
				if id := uint16(got[4])<<8 | uint16(got[5]); id != a.LocalAddress().Port || id == 0xffff {
					t.Errorf("identifier %d, port %d", id, a.LocalAddress().Port)
				}
				if r.From.Addr != dst || r.From.Port != 0 || r.Control.TTL != 64 || l.Count != 1 {
					t.Errorf("from %v, %+v, %d notifications", r.From, r.Control, l.Count)
				}
			}
		}
		WantError(t, a, unix.EAGAIN)
		if second.Rx.Len() != 1 {
			t.Errorf("the other socket got %d replies", second.Rx.Len())
		}
		out := &n.A.Stats().ICMP
		if v.v6 {
			out = &n.A.Stats().ICMP6
		}
		if got := out.OutType[v.request].Load(); got != 13 {
			t.Errorf("%d requests are counted", got)
		}
	})
}

func TestIdentifierIsThePort(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		a, b := endpoint(t, h, v.v6), endpoint(t, h, v.v6)
		OK(t, a.Bind(tcpip.FullAddress{Port: 77}))
		Want(t, a.Bind(tcpip.FullAddress{Port: 78}), unix.EINVAL)
		b.Options().ReuseAddress.Store(false)
		Want(t, b.Bind(tcpip.FullAddress{Port: 77}), unix.EADDRINUSE)
		last := endpoint(t, h, v.v6)
		OK(t, last.Bind(tcpip.FullAddress{Port: 77}))
		OK(t, SendTo(a, echo(v.request, 1, "z"), To(v.lo, 0)))
		if got, _, err := Receive(last, tcpip.ReceiveOptions{}); err != nil || got[8:] != "z" {
			t.Errorf("of two with one identifier, the last one got %q, %v", got, err)
		}
		last.Close()
		Want(t, b.Bind(To(v.other, 78)), unix.EADDRNOTAVAIL)
		group := netip.MustParseAddr("224.0.0.1")
		if v.v6 {
			group = netip.MustParseAddr("ff05::1")
		}
		Want(t, b.Bind(To(group, 78)), unix.EADDRNOTAVAIL)
		OK(t, b.Bind(To(v.lo, 78)))
		OK(t, SendTo(a, echo(v.request, 1, "x"), To(v.lo, 0)))
		OK(t, SendTo(b, echo(v.request, 2, "y"), To(v.lo, 0)))
		for e, w := range map[*icmp.Endpoint]string{a: "x", b: "y"} {
			got, _, err := Receive(e, tcpip.ReceiveOptions{})
			if err != nil || got[8:] != w || got[5] != byte(e.LocalAddress().Port) {
				t.Errorf("got %q, %v; want %q", got, err, w)
			}
		}
		// A reply to another identifier is nobody's.
		h.Inject(reply(v, v.other, 99, true))
		if a.Rx.Len()+b.Rx.Len() != 0 {
			t.Error("somebody got the reply")
		}
	})
}

// reply is an echo reply to this host.
func reply(v family, from netip.Addr, ident uint16, sum bool) []byte {
	p := ICMPError(from, v.reply, 0, uint32(ident)<<16|1, IP(v.own, from, v.protocol, nil))
	n := 20
	if v.v6 {
		n = 40
	}
	if !sum {
		p[n+2] ^= 1
	}
	return p
}

func TestConnectedSocketHearsAll(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6)
		OK(t, e.Connect(To(v.other, 5)))
		if r, err := e.RemoteAddress(); err != nil || r.Addr != v.other {
			t.Errorf("peer %v, %v", r, err)
		}
		OK(t, Send(e, echo(v.request, 1, "")))
		if sent := h.Sent(v.protocol); len(sent) != 1 {
			t.Fatalf("%d packets sent", len(sent))
		}
		third := Addr4(9)
		if v.v6 {
			third = Addr6(9)
		}
		h.Inject(reply(v, third, e.LocalAddress().Port, true))
		h.Inject(reply(v, third, e.LocalAddress().Port, false))
		if got, r, err := Receive(e, tcpip.ReceiveOptions{}); err != nil || r.From.Addr != third || got[0] != v.reply {
			t.Errorf("got %q from %v, %v", got, r.From, err)
		}
		WantError(t, e, unix.EAGAIN)
	})
}

func TestSendErrors(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6)
		dst := To(v.lo, 0)
		request := echo(v.request, 1, "")
		foreign := To(Loopback6, 0)
		foreignError := error(unix.EAFNOSUPPORT)
		if v.v6 {
			foreign, foreignError = To(Loopback4, 0), unix.EINVAL
		}
		for _, c := range []struct {
			name, data string
			o          tcpip.SendOptions
			want       error
		}{
			{"short", request[:7], tcpip.SendOptions{To: &dst}, unix.EINVAL},
			{"reply", echo(v.reply, 1, ""), tcpip.SendOptions{To: &dst}, unix.EINVAL},
			{"code", "\x08\x01" + request[2:], tcpip.SendOptions{To: &dst}, unix.EINVAL},
			{"urgent", request, tcpip.SendOptions{To: &dst, OutOfBand: true}, unix.EOPNOTSUPP},
			{"no destination", request, tcpip.SendOptions{}, unix.EDESTADDRREQ},
			{"huge", strings.Repeat("\x08", 65536), tcpip.SendOptions{To: &dst}, unix.EMSGSIZE},
			{"too long", echo(v.request, 1, strings.Repeat("x", 65528)), tcpip.SendOptions{To: &dst}, unix.EMSGSIZE},
			{"other family", request, tcpip.SendOptions{To: &foreign}, foreignError},
			{"good", request, tcpip.SendOptions{To: &dst}, nil},
		} {
			n, err := e.Send(&Bytes{B: []byte(c.data)}, c.o)
			if err != c.want || err == nil && n != len(c.data) {
				t.Errorf("%s: %d, %v, want %v", c.name, n, err, c.want)
			}
		}
		_, err := e.Send(&Bytes{B: []byte(request), Err: unix.EFAULT, FailAfter: 2}, tcpip.SendOptions{To: &dst})
		Want(t, err, unix.EFAULT)
		e.Options().MTUDiscovery4.Store(tcpip.MTUDiscoveryDo)
		e.Options().MTUDiscovery6.Store(tcpip.MTUDiscoveryDo)
		Want(t, SendTo(e, echo(v.request, 1, strings.Repeat("x", 1500)), To(v.other, 0)), unix.EMSGSIZE)
		OK(t, e.Connect(dst))
		OK(t, e.Shutdown(tcpip.ShutdownWrite))
		Want(t, Send(e, request), unix.EPIPE)
		_, _, err = Receive(e, tcpip.ReceiveOptions{OutOfBand: true})
		Want(t, err, unix.EOPNOTSUPP)
		if v.v6 {
			Want(t, e.Connect(To(Loopback4, 0)), unix.ENETUNREACH)
		}
		if e.SendQueued() != 0 {
			t.Error("something is queued")
		}
	})
}

func TestLinkErrors(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false)
	OK(t, e.Connect(To(Addr4(2), 0)))
	h.Wire.SetError(unix.ENOBUFS)
	OK(t, Send(e, echo(8, 1, "")))
	e.Options().ReceiveErrors4.Store(true)
	Want(t, Send(e, echo(8, 1, "")), unix.ENOBUFS)
}

func TestErrorsOfTheNetwork(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6)
		OK(t, e.Connect(To(v.other, 0)))
		request := echo(v.request, 1, "data")
		OK(t, Send(e, request))
		about := h.Sent(v.protocol)[0]
		h.Inject(ICMPError(v.other, v.unreachable, v.port, 0, about))
		if e.Readiness(waiter.EventErr) == 0 {
			t.Error("no error is shown")
		}
		if err := e.TakeError(); err != unix.EHOSTUNREACH && err != unix.EACCES {
			t.Errorf("error %v", err)
		}
		e.Options().ReceiveErrors4.Store(true)
		e.Options().ReceiveErrors6.Store(true)
		h.Inject(ICMPError(v.other, v.unreachable, 0, 0, about))
		data, q := WantQueuedError(t, e)
		if len(data) != len(request) || data[0] != v.request || data[8:] != "data" {
			t.Errorf("quoted is %q", data)
		}
		if q.Errno != uint32(unix.ENETUNREACH) || q.Destination != To(v.other, 0) || q.Offender != v.other {
			t.Errorf("got %+v", q)
		}
	})
}

func TestFilterAndDevice(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false)
	p, err := bpf.Compile([]bpf.Instruction{bpf.Stmt(bpf.LD|bpf.B|bpf.ABS, 8), bpf.Stmt(bpf.RET|bpf.A, 0)})
	OK(t, err)
	e.Options().Filter.Store(&p)
	for _, s := range []string{"\x00dropped", "\x0acut", "\xffwhole"} {
		OK(t, SendTo(e, echo(8, 1, s), To(Loopback4, 0)))
	}
	for _, w := range []string{"\x0ac", "\xffwhole"} {
		if got, _, err := Receive(e, tcpip.ReceiveOptions{}); err != nil || got[8:] != w {
			t.Errorf("got %q, %v; want %q", got, err, w)
		}
	}
	WantError(t, e, unix.EAGAIN)
	if e.Drops() != 1 {
		t.Errorf("%d drops", e.Drops())
	}
	e.Options().Filter.Store(nil)
	OK(t, e.SetDevice(EthID))
	h.Inject(reply(families[0], Addr4(2), e.LocalAddress().Port, true))
	if e.Rx.Len() != 1 {
		t.Error("the reply is lost")
	}
}

// FuzzPacket gives a stack ICMP messages in which nothing has to be right.
func FuzzPacket(f *testing.F) {
	for _, v := range families {
		f.Add(v.v6, []byte(echo(v.request, 1, "data")), true)
		f.Add(v.v6, []byte(echo(v.reply, 1, "data")), true)
		p := ICMPError(v.other, v.unreachable, v.port, 0, IP(v.own, v.other, v.protocol, []byte(echo(v.request, 1, ""))))
		f.Add(v.v6, p[len(p)-8-28:], false)
	}
	h := host(f)
	var sockets []*icmp.Endpoint
	for _, v := range families {
		e := endpoint(f, h, v.v6)
		e.Options().ReceiveErrors4.Store(true)
		e.Options().ReceiveErrors6.Store(true)
		OK(f, e.Bind(tcpip.FullAddress{Port: 0xffff}))
		sockets = append(sockets, e)
	}
	f.Fuzz(func(t *testing.T, v6 bool, b []byte, sum bool) {
		v := families[0]
		if v6 {
			v = families[1]
		}
		b = b[:min(len(b), 60000)]
		if sum && len(b) >= 8 {
			p := ICMPError(v.other, b[0], b[1], 0, append(IP(v.own, v.other, v.protocol, nil), b[8:]...))
			h.Inject(p)
		}
		h.Inject(IP(v.other, v.own, v.protocol, b))
		h.Wire.Take()
		for _, e := range sockets {
			if m := e.Rx.Memory(); m > e.Options().ReceiveBuffer.Load()+1<<17 {
				t.Fatalf("%d bytes of memory", m)
			}
			for {
				_, _, err := Receive(e, tcpip.ReceiveOptions{ErrorQueue: true})
				if err != nil {
					break
				}
			}
			for {
				if _, _, err := Receive(e, tcpip.ReceiveOptions{DontWait: true}); err == unix.EAGAIN {
					break
				}
			}
		}
	})
}

func TestPortsOfMessages(t *testing.T) {
	for _, v := range families {
		p := icmp.New4(nil)
		if v.v6 {
			p = icmp.New6(nil)
		}
		for _, c := range []struct {
			message  string
			src, dst uint16
			ok       bool
		}{
			{echo(v.request, 1, "")[:4] + "\xab\xcd\x00\x01", 0xabcd, 0, true}, {echo(v.reply, 1, "")[:4] + "\xab\xcd\x00\x01x", 0, 0xabcd, true},
			{echo(v.unreachable, 1, ""), 0, 0, true}, {echo(v.reply, 1, "")[:7], 0, 0, false},
		} {
			pkt := buffer.NewFrom([]byte(c.message))
			if src, dst, ok := p.ParsePorts(pkt); src != c.src || dst != c.dst || ok != c.ok || pkt.Len() != len(c.message) {
				t.Errorf("%s: ports of %x are %d and %d, %v", v.name, c.message, src, dst, ok)
			}
			p.HandleUnknown(stack.TransportID{}, pkt)
		}
		if p.Number() != v.protocol {
			t.Errorf("%s: number %d", v.name, p.Number())
		}
	}
}

func TestOnlyRepliesAreReceived(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false)
	for _, m := range []string{echo(header.ICMPv4Echo, 1, ""), "short", ""} {
		e.HandlePacket(stack.TransportID{}, buffer.NewFrom([]byte(m)))
	}
	WantError(t, e, unix.EAGAIN)
}
