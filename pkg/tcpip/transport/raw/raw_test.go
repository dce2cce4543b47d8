package raw_test

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/bpf"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/transport/icmp"
	. "runsc/pkg/tcpip/transport/internal/nettest"
	"runsc/pkg/tcpip/transport/raw"
	"runsc/pkg/tcpip/transport/udp"
	"runsc/pkg/waiter"
)

// experimental is a protocol number for experiments (RFC 3692).
const experimental = 253

type family struct {
	name           string
	v6             bool
	lo, own, other netip.Addr
	group          netip.Addr
}

var families = []family{
	{"v4", false, Loopback4, Addr4(1), Addr4(2), netip.MustParseAddr("239.1.2.3")},
	{"v6", true, Loopback6, Addr6(1), Addr6(2), netip.MustParseAddr("ff05::1234")},
}

func both(t *testing.T, f func(t *testing.T, v family)) {
	for _, v := range families {
		t.Run(v.name, func(t *testing.T) { f(t, v) })
	}
}

func host(t testing.TB) *Host {
	return NewHost(t, capture.Options{}, udp.New, icmp.New4, icmp.New6)
}

func endpoint(t testing.TB, h *Host, v6 bool, protocol uint8) *raw.Endpoint {
	e := raw.NewEndpoint(h.Stack, v6, protocol)
	t.Cleanup(e.Close)
	return e
}

// payload is what a socket received, without the IP header that IPv4's show.
func payload(t testing.TB, v family, e *raw.Endpoint) (string, tcpip.ReceiveResult) {
	t.Helper()
	s, r, err := Receive(e, tcpip.ReceiveOptions{DontWait: true})
	if err != nil {
		t.Fatal(err)
	}
	if v.v6 {
		return s, r
	}
	h := header.IPv4(s)
	if !h.Valid(len(s)) || !h.ChecksumOK() || int(h.TotalLength()) != len(s) || h.Source() != r.From.Addr {
		t.Fatalf("received %.60x", s)
	}
	return string(h.Payload()), r
}

func TestPacketsOfAProtocol(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		n := New(t, pipe.Options{}, udp.New)
		a, b := endpoint(t, n.A, v.v6, experimental), endpoint(t, n.B, v.v6, experimental)
		second, other := endpoint(t, n.B, v.v6, experimental), endpoint(t, n.B, v.v6, experimental+1)
		l := Listen(t, b)
		for _, size := range []int{0, 1, 1480, 4000} {
			data := strings.Repeat("x", size)
			OK(t, SendTo(a, data, To(v.other, 0)))
			n.Run()
			for _, e := range []*raw.Endpoint{b, second} {
				got, r := payload(t, v, e)
				if got != data || r.From.Addr != v.own || r.From.Port != 0 || r.Control.TTL != 64 || r.Control.Destination != v.other {
					t.Errorf("received %.40q from %v, %+v", got, r.From, r.Control)
				}
			}
			WantError(t, other, unix.EAGAIN)
		}
		if l.Count != 4 {
			t.Errorf("%d notifications", l.Count)
		}
		if a.LocalAddress() != (tcpip.FullAddress{Port: experimental}) {
			t.Errorf("local address %v", a.LocalAddress())
		}
	})
}

func TestRawSocketsSeeWhatTransportsGet(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6, header.ProtocolUDP)
		a, b := udp.NewEndpoint(h.Stack, v.v6), udp.NewEndpoint(h.Stack, v.v6)
		defer a.Close()
		defer b.Close()
		OK(t, b.Bind(To(v.lo, 5000)))
		OK(t, SendTo(a, "data", To(v.lo, 5000)))
		got, _ := payload(t, v, e)
		if u := header.UDP(got); len(u) != 12 || string(u[8:]) != "data" || u.DestinationPort() != 5000 {
			t.Errorf("received %x", got)
		}
		WantData(t, b, "data")
		// Peeking leaves it.
		OK(t, SendTo(a, "data", To(v.lo, 5000)))
		x, _, err := Receive(e, tcpip.ReceiveOptions{Peek: true})
		y, _, _ := Receive(e, tcpip.ReceiveOptions{})
		if x != y || err != nil {
			t.Errorf("peeked %q, received %q, %v", x, y, err)
		}
	})
}

func TestBoundAndConnected(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6, experimental)
		third := Addr4(3)
		if v.v6 {
			third = Addr6(3)
		}
		inject := func(from, to netip.Addr) { h.Inject(IP(from, to, experimental, []byte("x"))) }
		seen := func(want int) {
			t.Helper()
			n := 0
			for ; e.Rx.Len() > 0; n++ {
				payload(t, v, e)
			}
			if n != want {
				t.Errorf("%d packets, want %d", n, want)
			}
		}
		inject(v.other, v.own)
		seen(1)
		Want(t, e.Bind(To(v.other, 0)), unix.EADDRNOTAVAIL)
		OK(t, e.Bind(To(v.lo, 0)))
		inject(v.other, v.own)
		seen(0)
		OK(t, e.Bind(To(v.own, 0)))
		inject(v.other, v.own)
		seen(1)
		OK(t, e.Connect(To(v.other, 0)))
		if _, err := e.RemoteAddress(); err != unix.ENOTCONN {
			t.Errorf("peer without a port: %v", err)
		}
		Want(t, e.Bind(To(v.own, 0)), unix.EINVAL)
		inject(third, v.own)
		seen(0)
		inject(v.other, v.own)
		seen(1)
		OK(t, Send(e, "to the peer"))
		if sent := h.Sent(experimental); len(sent) != 1 || !strings.HasSuffix(string(sent[0]), "to the peer") {
			t.Errorf("sent %x", sent)
		}
		OK(t, e.Connect(tcpip.FullAddress{}))
		inject(third, v.own)
		seen(1)
		Want(t, Send(e, "x"), unix.EDESTADDRREQ)
		if got := e.LocalAddress().Addr; got != v.own {
			t.Errorf("bound to %v", got)
		}
	})
}

func TestBindToDevice(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false, experimental)
	for _, c := range []struct {
		nic  tcpip.NICID
		seen int
	}{{LoID, 0}, {EthID, 1}, {0, 1}} {
		OK(t, e.SetDevice(c.nic))
		h.Inject(IP(Addr4(2), Addr4(1), experimental, []byte("x")))
		if e.Rx.Len() != c.seen {
			t.Errorf("bound to %d: %d packets", c.nic, e.Rx.Len())
		}
		for e.Rx.Len() > 0 {
			payload(t, families[0], e)
		}
	}
	Want(t, e.SetDevice(77), unix.ENODEV)
}

func TestGroupsOfRawSockets(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		member, other := endpoint(t, h, v.v6, experimental), endpoint(t, h, v.v6, experimental)
		other.Options().MulticastAll4.Store(false)
		other.Options().MulticastAll6.Store(false)
		OK(t, member.JoinGroup(tcpip.GroupMembership{Group: v.group, NIC: EthID}))
		h.Inject(IP(v.other, v.group, experimental, []byte("x")))
		payload(t, v, member)
		WantError(t, other, unix.EAGAIN)
		OK(t, other.Bind(To(v.group, 0)))
	})
}

func TestICMPFilter(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false, header.ProtocolICMPv4)
	message := func(typ uint8) []byte {
		p := ICMPError(Addr4(2), typ, 0, 0, IP(Addr4(1), Addr4(2), 1, nil))
		return p
	}
	for _, c := range []struct {
		typ  uint8
		mask uint32
		seen bool
	}{
		{8, 0, true}, {8, 1 << 8, false}, {8, ^uint32(1 << 8), true}, {0, 1, false}, {40, ^uint32(0), true}, {31, 1 << 31, false},
	} {
		e.SetICMPFilter(c.mask)
		if e.ICMPFilter() != c.mask {
			t.Error("the filter was not kept")
		}
		h.Inject(message(c.typ))
		if _, _, err := Receive(e, tcpip.ReceiveOptions{}); (err == nil) != c.seen {
			t.Errorf("type %d with mask %#x: %v", c.typ, c.mask, err)
		}
	}
	six := endpoint(t, h, true, header.ProtocolICMPv6)
	message6 := func(typ uint8) []byte {
		return ICMPError(Addr6(2), typ, 0, 0, IP(Addr6(1), Addr6(2), 58, nil))
	}
	for _, c := range []struct {
		typ  uint8
		set  []uint8
		seen bool
	}{
		{128, nil, true}, {128, []uint8{128}, false}, {129, []uint8{128, 130}, true}, {255, []uint8{255}, false}, {0, []uint8{0}, false},
	} {
		var f raw.ICMP6Filter
		for _, t := range c.set {
			f[t/32] |= 1 << (t % 32)
		}
		if c.set != nil {
			six.SetICMP6Filter(f)
		}
		if six.ICMP6Filter() != f {
			t.Error("the filter was not kept")
		}
		h.Inject(message6(c.typ))
		if _, _, err := Receive(six, tcpip.ReceiveOptions{}); (err == nil) != c.seen {
			t.Errorf("type %d with %v: %v", c.typ, c.set, err)
		}
	}
	// What is not an ICMP message has no type.
	e.SetICMPFilter(^uint32(0))
	udpRaw := endpoint(t, h, false, header.ProtocolUDP)
	udpRaw.SetICMPFilter(^uint32(0))
	h.Inject(IP(Addr4(2), Addr4(1), header.ProtocolUDP, make([]byte, 8)))
	if udpRaw.Rx.Len() != 1 {
		t.Error("UDP was filtered by type")
	}
}

func TestChecksumOption(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, true, experimental)
	if e.ChecksumOffset() != -1 {
		t.Errorf("offset %d by default", e.ChecksumOffset())
	}
	Want(t, e.SetChecksumOffset(3), unix.EINVAL)
	Want(t, e.SetChecksumOffset(70000), unix.EINVAL)
	Want(t, endpoint(t, h, true, header.ProtocolICMPv6).SetChecksumOffset(2), unix.EINVAL)
	Want(t, endpoint(t, h, false, experimental).SetChecksumOffset(2), unix.ENOPROTOOPT)
	OK(t, e.SetChecksumOffset(4))
	if e.ChecksumOffset() != 4 {
		t.Error("the option was not kept")
	}
	to := To(Addr6(2), 0)
	Want(t, SendTo(e, "short", to), unix.EINVAL)
	OK(t, SendTo(e, "datarest of it", to))
	sent := h.Sent(experimental)
	if len(sent) != 1 {
		t.Fatalf("%d packets", len(sent))
	}
	p := sent[0][header.IPv6Size:]
	sum := checksum.PseudoHeader(experimental, Addr6(1), Addr6(2), uint32(len(p)))
	if !checksum.OK(checksum.Sum(p, sum)) || string(p[:4])+string(p[6:]) != "datast of it" {
		t.Errorf("sent %q", p)
	}
	// On the way back it is checked.
	h.Inject(IP(Addr6(2), Addr6(1), experimental, p))
	p[0]++
	h.Inject(IP(Addr6(2), Addr6(1), experimental, p))
	if e.Rx.Len() != 1 || e.Drops() != 1 {
		t.Errorf("%d received, %d dropped", e.Rx.Len(), e.Drops())
	}
	OK(t, e.SetChecksumOffset(-5))
	h.Inject(IP(Addr6(2), Addr6(1), experimental, p))
	if e.Rx.Len() != 2 {
		t.Errorf("%d received", e.Rx.Len())
	}
	// UDP's checksum is never 0.
	u := endpoint(t, h, true, header.ProtocolUDP)
	OK(t, u.SetChecksumOffset(6))
	b := make([]byte, 8)
	zero := ^checksum.Fold(checksum.PseudoHeader(header.ProtocolUDP, Addr6(1), Addr6(2), 8))
	binary.BigEndian.PutUint16(b, zero)
	OK(t, SendTo(u, string(b), to))
	if got := h.Sent(header.ProtocolUDP)[0][header.IPv6Size+6:]; got[0] != 0xff || got[1] != 0xff {
		t.Errorf("checksum %x", got)
	}
}

func TestICMPv6ChecksumIsComputed(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, true, header.ProtocolICMPv6)
	if e.ChecksumOffset() != 2 {
		t.Errorf("offset %d", e.ChecksumOffset())
	}
	OK(t, SendTo(e, "\x80\x00\xff\xff\x00\x01\x00\x02ping", To(Loopback6, 0)))
	// The request and its answer.
	for _, typ := range []byte{128, 129} {
		if s, _, err := Receive(e, tcpip.ReceiveOptions{}); err != nil || s[0] != typ || s[8:] != "ping" {
			t.Errorf("received %q, %v", s, err)
		}
	}
	if got := h.Stats().ICMP6.OutType[128].Load(); got != 1 {
		t.Errorf("%d requests are counted", got)
	}
	Want(t, SendTo(e, "\x80\x00\xff", To(Loopback6, 0)), unix.EINVAL)
}

func TestHeaderIncluded(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false, header.ProtocolRaw)
	if !e.Options().HeaderIncluded.Load() {
		t.Fatal("IPPROTO_RAW is without header")
	}
	see := endpoint(t, h, false, experimental)
	p := IP(netip.MustParseAddr("0.0.0.0"), Loopback4, experimental, []byte("data"))
	header.IPv4(p).SetTTL(7)
	OK(t, SendTo(e, string(p), To(Loopback4, 0)))
	got, r := payload(t, families[0], see)
	if got != "data" || r.Control.TTL != 7 || r.From.Addr != Loopback4 {
		t.Errorf("received %q from %v, %+v", got, r.From, r.Control)
	}
	// Nothing is received by the sender, whose protocol it is not.
	WantError(t, e, unix.EAGAIN)
	Want(t, SendTo(e, string(p[:19]), To(Loopback4, 0)), unix.EINVAL)
	long := IP(Addr4(1), Addr4(2), experimental, make([]byte, 1481))
	Want(t, SendTo(e, string(long), To(Addr4(2), 0)), unix.EMSGSIZE)
	OK(t, SendTo(e, string(long[:1500]), To(Addr4(2), 0)))
	Want(t, SendTo(e, string(p), To(netip.MustParseAddr("8.8.8.8"), 0)), unix.ENETUNREACH)
	// A source of others is the sender's own risk.
	spoofed := IP(netip.MustParseAddr("9.9.9.9"), Addr4(2), experimental, nil)
	h.Wire.Take()
	OK(t, SendTo(e, string(spoofed), To(Addr4(2), 0)))
	if sent := h.Sent(experimental); len(sent) != 1 || header.IPv4(sent[0]).Source() != netip.MustParseAddr("9.9.9.9") {
		t.Errorf("sent %x", sent)
	}

	six := endpoint(t, h, true, header.ProtocolRaw)
	see6 := endpoint(t, h, true, experimental)
	p6 := IP(Loopback6, Loopback6, experimental, []byte("data"))
	OK(t, SendTo(six, string(p6), To(Loopback6, 0)))
	if got, _ := payload(t, families[1], see6); got != "data" {
		t.Errorf("received %q", got)
	}
	Want(t, SendTo(six, string(p6[:39]), To(Loopback6, 0)), unix.EINVAL)
}

func TestIPv6PortIsAProtocol(t *testing.T) {
	h := host(t)
	e, any := endpoint(t, h, true, experimental), endpoint(t, h, true, header.ProtocolRaw)
	any.Options().HeaderIncluded.Store(false)
	OK(t, SendTo(e, "x", To(Addr6(2), 0)))
	OK(t, SendTo(e, "x", To(Addr6(2), experimental)))
	Want(t, SendTo(e, "x", To(Addr6(2), experimental+1)), unix.EINVAL)
	h.Wire.Take()
	OK(t, SendTo(any, "x", To(Addr6(2), experimental+1)))
	if sent := h.Sent(experimental + 1); len(sent) != 1 {
		t.Errorf("sent %x", sent)
	}
	Want(t, SendTo(any, "x", To(Addr6(2), 256)), unix.EINVAL)
}

func TestSendErrors(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6, experimental)
		to := To(v.lo, 0)
		Want(t, SendTo(e, strings.Repeat("x", 65536), to), unix.EMSGSIZE)
		_, err := e.Send(&Bytes{}, tcpip.SendOptions{To: &to, OutOfBand: true})
		Want(t, err, unix.EOPNOTSUPP)
		_, err = e.Send(&Bytes{B: []byte("x"), Err: unix.EFAULT}, tcpip.SendOptions{To: &to})
		Want(t, err, unix.EFAULT)
		if !v.v6 {
			Want(t, SendTo(e, strings.Repeat("x", 65516), to), unix.EMSGSIZE)
			Want(t, SendTo(e, "x", To(netip.MustParseAddr("255.255.255.255"), 0)), unix.ENETUNREACH)
			Want(t, SendTo(e, "x", To(netip.MustParseAddr("192.0.2.255"), 0)), unix.EACCES)
		}
		OK(t, e.Connect(To(v.other, 0)))
		h.Wire.SetError(unix.ENOBUFS)
		OK(t, Send(e, "lost"))
		h.Wire.SetError(nil)
		OK(t, e.Shutdown(tcpip.ShutdownWrite))
		e.Rx.SetPending(unix.EPROTO)
		OK(t, Send(e, "x"))
		e.Options().HeaderIncluded.Store(true)
		p := string(IP(v.own, v.other, experimental, nil))
		Want(t, Send(e, p), unix.EPROTO)
		Want(t, Send(e, p), unix.EPIPE)
		_, _, err = Receive(e, tcpip.ReceiveOptions{OutOfBand: true})
		Want(t, err, unix.EOPNOTSUPP)
		if v.v6 {
			Want(t, SendTo(e, "x", To(Loopback4, 0)), unix.ENETUNREACH)
		}
	})
}

func TestMore(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6, experimental)
		to := To(v.lo, 0)
		more := func(s string) error {
			_, err := e.Send(&Bytes{B: []byte(s)}, tcpip.SendOptions{To: &to, More: true})
			return err
		}
		OK(t, more("one "))
		OK(t, more("two "))
		if e.SendQueued() != 8 || e.Rx.Len() != 0 {
			t.Errorf("%d bytes queued, %d packets received", e.SendQueued(), e.Rx.Len())
		}
		OK(t, SendTo(e, "three", to))
		if got, _ := payload(t, v, e); got != "one two three" {
			t.Errorf("received %q", got)
		}
		OK(t, more(""))
		Want(t, more(strings.Repeat("x", 65536)), unix.EMSGSIZE)
		OK(t, SendTo(e, "", to))
		if got, _ := payload(t, v, e); got != "" {
			t.Errorf("received %q", got)
		}
		OK(t, more("begun"))
		e.Options().MTUDiscovery4.Store(tcpip.MTUDiscoveryDo)
		e.Options().MTUDiscovery6.Store(tcpip.MTUDiscoveryDo)
		_, err := e.Send(&Bytes{B: make([]byte, 65535)}, tcpip.SendOptions{})
		Want(t, err, unix.EMSGSIZE)
		if e.SendQueued() != 0 {
			t.Errorf("%d bytes queued", e.SendQueued())
		}
		_, err = e.Send(&Bytes{}, tcpip.SendOptions{More: true})
		Want(t, err, unix.EDESTADDRREQ)
		OK(t, e.Connect(to))
		OK(t, more("x"))
	})
}

func TestErrorsOfTheNetwork(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e, asking, elsewhere := endpoint(t, h, v.v6, experimental), endpoint(t, h, v.v6, experimental), endpoint(t, h, v.v6, experimental)
		connected := endpoint(t, h, v.v6, experimental)
		typ, soft, hard := uint8(3), uint8(1), uint8(10)
		if v.v6 {
			typ, soft, hard = 1, 3, 1
		}
		for _, s := range []*raw.Endpoint{asking, elsewhere} {
			s.Options().ReceiveErrors4.Store(true)
			s.Options().ReceiveErrors6.Store(true)
		}
		OK(t, elsewhere.Bind(To(v.lo, 0)))
		OK(t, connected.Connect(To(v.other, 0)))
		OK(t, SendTo(e, "some data", To(v.other, 0)))
		about := h.Sent(experimental)[0]
		h.Inject(ICMPError(v.other, typ, soft, 0, about))
		Want(t, e.TakeError(), nil)
		Want(t, elsewhere.TakeError(), nil)
		Want(t, connected.TakeError(), nil)
		data, q := WantQueuedError(t, asking)
		if data != "some data" || q.Errno != uint32(unix.EHOSTUNREACH) || q.Destination != To(v.other, 0) || q.Type != typ || q.Code != soft {
			t.Errorf("%q, %+v", data, q)
		}
		h.Inject(ICMPError(v.other, typ, hard, 0, about))
		Want(t, e.TakeError(), nil)
		if connected.TakeError() == nil || asking.Readiness(waiter.EventErr) == 0 {
			t.Error("a hard error was not told")
		}
	})
}

func TestFilterSeesTheHeader(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false, experimental)
	// Keep as much as the first byte of the payload says, of packets whose protocol is right.
	p, err := bpf.Compile([]bpf.Instruction{
		bpf.Stmt(bpf.LD|bpf.B|bpf.ABS, 9), bpf.Jump(bpf.JMP|bpf.JEQ|bpf.K, experimental, 1, 0), bpf.Stmt(bpf.RET|bpf.K, 0),
		bpf.Stmt(bpf.LD|bpf.B|bpf.ABS, 20), bpf.Stmt(bpf.RET|bpf.A, 0)})
	OK(t, err)
	e.Options().Filter.Store(&p)
	for _, s := range []string{"\x00dropped", "\x17cut", "\xffwhole"} {
		h.Inject(IP(Addr4(2), Addr4(1), experimental, []byte(s)))
	}
	for _, w := range []string{"\x17cu", "\xffwhole"} {
		if s, _, err := Receive(e, tcpip.ReceiveOptions{}); err != nil || s[20:] != w {
			t.Errorf("received %q, %v", s, err)
		}
	}
	WantError(t, e, unix.EAGAIN)
	if e.Drops() != 1 {
		t.Errorf("%d drops", e.Drops())
	}
}

func TestFullQueue(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false, experimental)
	e.Options().ReceiveBuffer.Store(2000)
	for range 5 {
		h.Inject(IP(Addr4(2), Addr4(1), experimental, []byte("x")))
	}
	if e.Rx.Len() != 2 || e.Drops() != 3 {
		t.Errorf("%d received, %d dropped", e.Rx.Len(), e.Drops())
	}
	e.Close()
	e.Close()
	h.Inject(IP(Addr4(2), Addr4(1), experimental, []byte("x")))
	if e.Rx.Len() != 0 {
		t.Error("a closed socket receives")
	}
}

func TestReassembledPacketsHaveAHeader(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		n := New(t, pipe.Options{}, udp.New)
		a, b := endpoint(t, n.A, v.v6, experimental), endpoint(t, n.B, v.v6, experimental)
		data := strings.Repeat("0123456789", 500)
		OK(t, SendTo(a, data, To(v.other, 0)))
		n.Run()
		if got, _ := payload(t, v, b); got != data {
			t.Errorf("received %d bytes", len(got))
		}
	})
}

// FuzzPacket gives raw sockets with filters and checksums packets in which nothing has to be right.
func FuzzPacket(f *testing.F) {
	f.Add(false, uint8(1), []byte("\x08\x00\xf7\xff\x00\x00\x00\x00"), uint16(0))
	f.Add(true, uint8(58), []byte("\x80\x00\x00\x00\x00\x00\x00\x00"), uint16(2))
	f.Add(true, uint8(experimental), []byte("x"), uint16(4))
	h := host(f)
	f.Fuzz(func(t *testing.T, v6 bool, protocol uint8, b []byte, at uint16) {
		v := families[0]
		if v6 {
			v = families[1]
		}
		b = b[:min(len(b), 60000)]
		e, sender := endpoint(t, h, v6, protocol), endpoint(t, h, v6, protocol)
		e.SetICMPFilter(uint32(at))
		e.SetICMP6Filter(raw.ICMP6Filter{uint32(at), 4: uint32(at)})
		e.SetChecksumOffset(int(at))
		sender.SetChecksumOffset(int(at))
		p, err := bpf.Compile([]bpf.Instruction{bpf.Stmt(bpf.LD|bpf.B|bpf.ABS, uint32(at)), bpf.Stmt(bpf.RET|bpf.K, uint32(at))})
		OK(t, err)
		if at&1 != 0 {
			e.Options().Filter.Store(&p)
		}
		h.Inject(IP(v.other, v.own, protocol, b))
		SendTo(sender, string(b), To(v.lo, 0))
		sender.Options().HeaderIncluded.Store(true)
		SendTo(sender, string(b), To(v.lo, 0))
		SendTo(sender, string(IP(v.lo, v.lo, protocol, b)), To(v.lo, 0))
		h.Wire.Take()
		for e.Rx.Len() > 0 {
			Receive(e, tcpip.ReceiveOptions{})
		}
	})
}

func TestFilledInOptionsAreSeen(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false, experimental)
	p := make([]byte, 28, 32)
	header.IPv4(p).Encode(header.IPv4Fields{TotalLength: 32, TTL: 1, Protocol: experimental, Source: Addr4(2), Destination: Addr4(1),
		Options: []byte{header.IPv4OptionRecordRoute, 7, 4, 0, 0, 0, 0}})
	h.Inject(append(p, "data"...))
	s, r, err := Receive(e, tcpip.ReceiveOptions{})
	own := Addr4(1).As4()
	if err != nil || len(s) != 32 || s[23:27] != string(own[:]) || s[28:] != "data" || len(r.Control.IPOptions) != 8 {
		t.Errorf("received %x, %x, %v", s, r.Control.IPOptions, err)
	}
}

func TestPacketsWithoutANetworkHeader(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false, experimental)
	e.HandleRaw(buffer.NewFrom([]byte("data")))
	WantData(t, e, "data")
}

func TestErrorAfterMore(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false, experimental)
	OK(t, e.Connect(To(Addr4(2), 0)))
	_, err := e.Send(&Bytes{B: []byte("x")}, tcpip.SendOptions{More: true})
	OK(t, err)
	h.Wire.SetError(unix.ENETDOWN)
	Want(t, Send(e, "y"), unix.ENETDOWN)
}
