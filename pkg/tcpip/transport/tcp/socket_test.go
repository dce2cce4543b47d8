package tcp_test

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/tcp"
	"runsc/pkg/waiter"
)

func is(t *testing.T, what string, got, want error) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, not %v", what, got, want)
	}
}

func TestOptions(t *testing.T) {
	s := newLoopback(t, faketime.New())
	e := tcp.NewEndpoint(s, false)
	seconds := func(get func() time.Duration, set func(time.Duration) error, low, high int, standard time.Duration) {
		t.Helper()
		if get() != standard {
			t.Errorf("the default is %v", get())
		}
		for _, n := range []int{low - 1, high + 1} {
			if set(time.Duration(n)*time.Second) != unix.EINVAL {
				t.Errorf("%d s is taken", n)
			}
		}
		for _, n := range []int{low, high} {
			d := time.Duration(n) * time.Second
			if err := set(d); err != nil || get() != d {
				t.Errorf("%d s: %v, %v", n, err, get())
			}
		}
	}
	seconds(e.KeepIdle, e.SetKeepIdle, 1, 32767, 2*time.Hour)
	seconds(e.KeepInterval, e.SetKeepInterval, 1, 32767, 75*time.Second)
	number := func(get func() int, set func(int) error, low, high, standard int) {
		t.Helper()
		if get() != standard {
			t.Errorf("the default is %v", get())
		}
		for _, n := range []int{low - 1, high + 1} {
			if set(n) != unix.EINVAL {
				t.Errorf("%d is taken", n)
			}
		}
		for _, n := range []int{low, high} {
			if err := set(n); err != nil || get() != n {
				t.Errorf("%d: %v, %v", n, err, get())
			}
		}
	}
	number(e.KeepCount, e.SetKeepCount, 1, 127, 9)
	number(e.SynCount, e.SetSynCount, 1, 127, 6)
	number(e.MaxSegment, e.SetMaxSegment, 88, 32767, 536)
	is(t, "TCP_MAXSEG 0", e.SetMaxSegment(0), nil)
	onOff := func(get func() bool, set func(bool), standard bool) {
		t.Helper()
		if get() != standard {
			t.Errorf("the default is %v", get())
		}
		set(!standard)
		if get() == standard {
			t.Error("it did not change")
		}
		set(standard)
	}
	onOff(e.NoDelay, e.SetNoDelay, false)
	onOff(e.Cork, e.SetCork, false)
	onOff(e.QuickAck, e.SetQuickAck, true)
	if e.Linger2() != time.Minute {
		t.Errorf("TCP_LINGER2 is %v", e.Linger2())
	}
	for d, want := range map[time.Duration]time.Duration{time.Second: time.Second, time.Hour: 2 * time.Minute, -time.Second: -time.Second, 0: time.Minute} {
		if e.SetLinger2(d); e.Linger2() != want {
			t.Errorf("TCP_LINGER2 of %v is %v", d, e.Linger2())
		}
	}
	// Rounded up to what retransmissions of a SYN-ACK take: 1, 2, 4 s and so on.
	for n, want := range map[int]int{0: 0, 1: 1, 2: 3, 3: 3, 4: 7, 30: 31, 100: 127} {
		if e.SetDeferAccept(time.Duration(n) * time.Second); e.DeferAccept() != time.Duration(want)*time.Second {
			t.Errorf("TCP_DEFER_ACCEPT of %d s is %v", n, e.DeferAccept())
		}
	}
	is(t, "TCP_WINDOW_CLAMP", e.SetWindowClamp(5), nil)
	if e.WindowClamp() != 1152 {
		t.Errorf("TCP_WINDOW_CLAMP is %d", e.WindowClamp())
	}
	is(t, "TCP_WINDOW_CLAMP", e.SetWindowClamp(0), nil)
	is(t, "TCP_USER_TIMEOUT", e.SetUserTimeout(-1), unix.EINVAL)
	is(t, "TCP_USER_TIMEOUT", e.SetUserTimeout(time.Second), nil)
	if e.UserTimeout() != time.Second {
		t.Errorf("TCP_USER_TIMEOUT is %v", e.UserTimeout())
	}
	if e.NotSentLow() != 0 {
		t.Errorf("TCP_NOTSENT_LOWAT is %d", e.NotSentLow())
	}
	if e.SetNotSentLow(100); e.NotSentLow() != 100 {
		t.Errorf("TCP_NOTSENT_LOWAT is %d", e.NotSentLow())
	}
	if e.CongestionControl() != "cubic" {
		t.Errorf("TCP_CONGESTION is %s", e.CongestionControl())
	}
	is(t, "TCP_CONGESTION", e.SetCongestionControl("none"), unix.ENOENT)
	for _, n := range tcp.CongestionControls() {
		if err := e.SetCongestionControl(n); err != nil || e.CongestionControl() != n {
			t.Errorf("TCP_CONGESTION %s: %v", n, err)
		}
	}
	if !slices.Contains(tcp.CongestionControls(), "reno") {
		t.Error("there is no reno")
	}
	is(t, "TCP_FASTOPEN", e.SetFastOpen(5), unix.EOPNOTSUPP)
	is(t, "TCP_FASTOPEN", e.SetFastOpen(0), nil)
	if e.FastOpen() != 0 || e.AtMark() || e.SendUnsent() != 0 || e.V6() {
		t.Error("a fresh socket is not")
	}
	if i := e.Info(); i.State != tcp.StateClosed || i.SendMSS != 536 || i.RTO != time.Second || i.CongestionWindow != 10 {
		t.Errorf("TCP_INFO is %+v", i)
	}
}

func TestChangeOfAlgorithm(t *testing.T) {
	s := newLoopback(t, nil)
	a, b := pair(t, s, "127.0.0.1")
	for _, n := range []string{"reno", "cubic"} {
		is(t, n, a.SetCongestionControl(n), nil)
		if a.CongestionControl() != n {
			t.Errorf("it is %s", a.CongestionControl())
		}
		if _, err := (conn{t, a}).Write(pattern(100_000)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn{t, b}, make([]byte, 100_000)); err != nil {
			t.Fatal(err)
		}
	}
	is(t, "TCP_WINDOW_CLAMP 0 of a connection", a.SetWindowClamp(0), unix.EINVAL)
}

func TestBind(t *testing.T) {
	s := newLoopback(t, faketime.New())
	socket := func(v6 bool) *tcp.Endpoint { return tcp.NewEndpoint(s, v6) }
	a := socket(false)
	is(t, "an address of somebody else", a.Bind(addr("10.1.2.3", 80)), unix.EADDRNOTAVAIL)
	is(t, "an IPv6 address", a.Bind(addr("::1", 80)), unix.EAFNOSUPPORT)
	is(t, "bind", a.Bind(addr("127.0.0.1", 80)), nil)
	is(t, "bind again", a.Bind(addr("127.0.0.1", 81)), unix.EINVAL)
	if got := a.LocalAddress(); got.Addr != netip.MustParseAddr("127.0.0.1") || got.Port != 80 {
		t.Errorf("it is bound to %v", got)
	}
	b := socket(false)
	is(t, "a taken port", b.Bind(addr("127.0.0.1", 80)), unix.EADDRINUSE)
	is(t, "a taken port of any address", b.Bind(addr("0.0.0.0", 80)), unix.EADDRINUSE)
	is(t, "any port", b.Bind(tcpip.FullAddress{}), nil)
	if got := b.LocalAddress(); got.Addr.IsValid() || got.Port < 32768 {
		t.Errorf("it is bound to %v", got)
	}
	a.Close()
	c := socket(false)
	is(t, "a port that is free again", c.Bind(addr("127.0.0.1", 80)), nil)
	d := socket(true)
	is(t, "an IPv4 address of an IPv6 socket", d.Bind(addr("127.0.0.1", 82)), nil)
	if got := d.LocalAddress(); !got.Addr.Is4() {
		t.Errorf("it is bound to %v", got)
	}
	e := socket(true)
	e.Options().V6Only.Store(true)
	is(t, "an IPv4 address of a socket for IPv6 only", e.Bind(addr("127.0.0.1", 83)), unix.EINVAL)
	is(t, "IPv6 only beside IPv4", e.Bind(addr("::", 80)), nil)
	is(t, "a link-local address without interface", socket(true).Bind(addr("fe80::1", 84)), unix.EINVAL)
	f := socket(false)
	f.Options().FreeBind.Store(true)
	is(t, "IP_FREEBIND", f.Bind(addr("10.1.2.3", 85)), nil)
	if _, err := f.RemoteAddress(); err != unix.ENOTCONN {
		t.Errorf("getpeername: %v", err)
	}
}

func TestListenConflicts(t *testing.T) {
	s := newLoopback(t, faketime.New())
	var two [2]*tcp.Endpoint
	for i := range two {
		two[i] = tcp.NewEndpoint(s, false)
		two[i].Options().ReuseAddress.Store(true)
		is(t, "SO_REUSEADDR", two[i].Bind(addr("127.0.0.1", 80)), nil)
	}
	is(t, "listen", two[0].Listen(1), nil)
	is(t, "a second listener", two[1].Listen(1), unix.EADDRINUSE)
	two[0].Close()
	is(t, "the port is free", two[1].Listen(1), nil)
	is(t, "connect of a listener", two[1].Connect(addr("127.0.0.1", 80)), unix.EISCONN)
	// AF_UNSPEC makes it a plain socket again.
	is(t, "disconnect", two[1].Connect(tcpip.FullAddress{}), nil)
	if two[1].State() != tcp.StateClosed {
		t.Errorf("it is %v", two[1].State())
	}
	e := tcp.NewEndpoint(s, false)
	is(t, "listen without bind", e.Listen(1), nil)
	if e.LocalAddress().Port == 0 {
		t.Error("it has no port")
	}
	_, _, err := tcp.NewEndpoint(s, false).Accept()
	is(t, "accept without listen", err, unix.EINVAL)
}

func TestReusePort(t *testing.T) {
	s := newLoopback(t, nil)
	var ls [4]*tcp.Endpoint
	for i := range ls {
		ls[i] = tcp.NewEndpoint(s, false)
		ls[i].SetUser(1000)
		ls[i].Options().ReusePort.Store(true)
		is(t, "SO_REUSEPORT", ls[i].Bind(addr("127.0.0.1", 80)), nil)
		is(t, "listen", ls[i].Listen(100), nil)
	}
	other := tcp.NewEndpoint(s, false)
	other.SetUser(1001)
	other.Options().ReusePort.Store(true)
	is(t, "SO_REUSEPORT of another user", other.Bind(addr("127.0.0.1", 80)), unix.EADDRINUSE)
	const n = 200
	for range n {
		c := tcp.NewEndpoint(s, false)
		if err := block(t, c, waiter.WritableEvents, func() error { return c.Connect(addr("127.0.0.1", 80)) }); err != nil {
			t.Fatal(err)
		}
	}
	total := 0
	for i, l := range ls {
		got := 0
		for {
			if _, _, err := l.Accept(); err != nil {
				break
			}
			got++
		}
		if got < n/20 {
			t.Errorf("listener %d got %d of %d connections", i, got, n)
		}
		total += got
	}
	if total != n {
		t.Errorf("%d of %d connections", total, n)
	}
}

func TestDualStack(t *testing.T) {
	for _, only := range []bool{false, true} {
		s := newLoopback(t, nil)
		l := tcp.NewEndpoint(s, true)
		l.Options().V6Only.Store(only)
		l.Options().KeepAlive.Store(true)
		l.SetNoDelay(true)
		is(t, "bind", l.Bind(addr("::", 80)), nil)
		is(t, "listen", l.Listen(5), nil)
		c := tcp.NewEndpoint(s, false)
		err := block(t, c, waiter.WritableEvents, func() error { return c.Connect(addr("127.0.0.1", 80)) })
		if only {
			is(t, "IPv4 to a socket for IPv6 only", err, unix.ECONNREFUSED)
			continue
		}
		is(t, "IPv4 to an IPv6 socket", err, nil)
		d, from, err := l.AcceptEndpoint()
		if err != nil {
			t.Fatal(err)
		}
		if !d.V6() || !from.Addr.Is4() || from.Port != c.LocalAddress().Port || !d.LocalAddress().Addr.Is4() || d.LocalAddress().Port != 80 {
			t.Errorf("the connection is from %v to %v", from, d.LocalAddress())
		}
		if !d.Options().KeepAlive.Load() || !d.NoDelay() {
			t.Error("the connection did not inherit options")
		}
		if peer, err := d.RemoteAddress(); err != nil || peer != from {
			t.Errorf("getpeername: %v, %v", peer, err)
		}
		c6 := tcp.NewEndpoint(s, true)
		is(t, "connect of an IPv6 socket to IPv4", block(t, c6, waiter.WritableEvents, func() error { return c6.Connect(addr("127.0.0.1", 80)) }), nil)
	}
}

func TestConnectAddresses(t *testing.T) {
	s := newLoopback(t, nil)
	l := tcp.NewEndpoint(s, true)
	is(t, "bind", l.Bind(addr("::", 80)), nil)
	is(t, "listen", l.Listen(50), nil)
	for _, c := range []struct {
		v6, only bool
		to       string
		want     error
	}{
		{false, false, "127.0.0.1", nil},
		{false, false, "127.9.9.9", nil},
		{false, false, "0.0.0.0", nil}, // this host
		{true, false, "::", nil},
		{true, false, "::1", nil},
		{true, false, "127.0.0.1", nil},
		{true, true, "127.0.0.1", unix.ENETUNREACH},
		{false, false, "::1", unix.EAFNOSUPPORT},
		{false, false, "10.0.0.1", unix.ENETUNREACH},
		{false, false, "224.0.0.1", unix.ENETUNREACH},
		{false, false, "255.255.255.255", unix.ENETUNREACH},
		{true, false, "ff02::1", unix.ENETUNREACH},
		{true, false, "fe80::1", unix.EINVAL}, // by which interface?
	} {
		e := tcp.NewEndpoint(s, c.v6)
		e.Options().V6Only.Store(c.only)
		err := block(t, e, waiter.WritableEvents, func() error { return e.Connect(addr(c.to, 80)) })
		if err != c.want {
			t.Errorf("%s (v6 %v, only %v): %v, not %v", c.to, c.v6, c.only, err, c.want)
		}
		e.Close()
	}
	e := tcp.NewEndpoint(s, true)
	is(t, "bind to IPv4", e.Bind(addr("127.0.0.1", 0)), nil)
	is(t, "connect to IPv6", e.Connect(addr("::1", 80)), unix.ENETUNREACH)
	// Two sockets with one local port cannot have the same peer.
	var two [2]*tcp.Endpoint
	for i := range two {
		two[i] = tcp.NewEndpoint(s, false)
		two[i].Options().ReuseAddress.Store(true)
		is(t, "bind", two[i].Bind(addr("127.0.0.1", 5000)), nil)
	}
	is(t, "connect", block(t, two[0], waiter.WritableEvents, func() error { return two[0].Connect(addr("127.0.0.1", 80)) }), nil)
	is(t, "connect again", two[1].Connect(addr("127.0.0.1", 80)), unix.EADDRNOTAVAIL)
	is(t, "connect elsewhere", block(t, two[1], waiter.WritableEvents, func() error { return two[1].Connect(addr("127.0.0.2", 80)) }), nil)
}

// TestEphemeralPorts: all ports of the range can go to one peer, one more cannot, and those in
// TIME-WAIT are taken again where tcp_tw_reuse allows.
func TestEphemeralPorts(t *testing.T) {
	clock := faketime.New()
	s := newLoopback(t, clock)
	s.Settings().PortLow.Store(40000)
	s.Settings().PortHigh.Store(40009)
	l := tcp.NewEndpoint(s, false)
	is(t, "bind", l.Bind(addr("127.0.0.1", 80)), nil)
	is(t, "listen", l.Listen(100), nil)
	open := func() (*tcp.Endpoint, error) {
		c := tcp.NewEndpoint(s, false)
		err := c.Connect(addr("127.0.0.1", 80))
		if err != unix.EINPROGRESS {
			return nil, err
		}
		return c, c.Connect(addr("127.0.0.1", 80))
	}
	var all []*tcp.Endpoint
	for range 10 {
		c, err := open()
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if _, err := open(); err != unix.EADDRNOTAVAIL {
		t.Errorf("the eleventh: %v", err)
	}
	// Another peer has its own.
	m := tcp.NewEndpoint(s, false)
	is(t, "bind", m.Bind(addr("127.0.0.1", 81)), nil)
	is(t, "listen", m.Listen(100), nil)
	c := tcp.NewEndpoint(s, false)
	is(t, "another peer", c.Connect(addr("127.0.0.1", 81)), unix.EINPROGRESS)
	// Their ends go to TIME-WAIT.
	for _, c := range all {
		d, _, err := l.AcceptEndpoint()
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		d.Close()
	}
	waiting := func() (n int) {
		s.TransportProtocol(6).(*tcp.Protocol).Connections(func(c tcp.Connection) bool {
			if c.State == tcp.StateTimeWait {
				n++
			}
			return true
		})
		return n
	}
	if n := waiting(); n != 10 {
		t.Fatalf("%d connections are in TIME-WAIT", n)
	}
	if _, err := open(); err != unix.EADDRNOTAVAIL {
		t.Errorf("at once: %v", err)
	}
	clock.Advance(2 * time.Second)
	if _, err := open(); err != nil {
		t.Errorf("with tcp_tw_reuse 2 on lo, after a second: %v", err)
	}
	s.Settings().TCPReuseTimeWait.Store(0)
	if _, err := open(); err != unix.EADDRNOTAVAIL {
		t.Errorf("with tcp_tw_reuse 0: %v", err)
	}
	if n := waiting(); n != 9 {
		t.Errorf("%d connections are in TIME-WAIT", n)
	}
	clock.Advance(time.Minute)
	if n := waiting(); n != 0 {
		t.Errorf("%d connections are in TIME-WAIT", n)
	}
	if _, err := open(); err != nil {
		t.Errorf("after TIME-WAIT: %v", err)
	}
}

func TestConnections(t *testing.T) {
	s := newLoopback(t, nil)
	client, server := pair(t, s, "127.0.0.1")
	l := tcp.NewEndpoint(s, true)
	is(t, "bind", l.Bind(addr("::", 80)), nil)
	is(t, "listen", l.Listen(5), nil)
	c := tcp.NewEndpoint(s, false)
	is(t, "connect", block(t, c, waiter.WritableEvents, func() error { return c.Connect(addr("127.0.0.1", 80)) }), nil)
	is(t, "keep alive", func() error { c.SetKeepAlive(true); return nil }(), nil)
	if _, err := (conn{t, client}).Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	var got []string
	p := s.TransportProtocol(6).(*tcp.Protocol)
	p.Connections(func(x tcp.Connection) bool {
		got = append(got, fmt.Sprintf("%v %d→%d rx %d timer %d v6 %v", x.State, x.Local.Port, x.Remote.Port, x.ReceiveQueue, x.Timer, x.V6))
		return true
	})
	a, b, d := client.LocalAddress().Port, server.LocalAddress().Port, c.LocalAddress().Port
	for _, want := range []string{
		fmt.Sprintf("ESTABLISHED %d→%d rx 0", a, b), fmt.Sprintf("ESTABLISHED %d→%d rx 5", b, a),
		"LISTEN 80→0 rx 1 timer 0 v6 true", fmt.Sprintf("ESTABLISHED 80→%d rx 0 timer 0 v6 true", d),
		fmt.Sprintf("ESTABLISHED %d→80 rx 0 timer 2", d),
	} {
		if !slices.ContainsFunc(got, func(s string) bool { return strings.HasPrefix(s, want) }) {
			t.Errorf("%q is missing in %q", want, got)
		}
	}
	n := 0
	p.Connections(func(tcp.Connection) bool { n++; return false })
	if n != 1 {
		t.Errorf("called %d times after the end", n)
	}
}

// TestRouteChanges: a connection goes on by another route, and notices that there is none.
func TestRouteChanges(t *testing.T) {
	s := newLoopback(t, nil)
	client, server := pair(t, s, "127.0.0.1")
	e := stack.RouteEntry{Destination: netip.MustParsePrefix("10.0.0.0/8"), NIC: 1}
	if err := s.AddRoute(e); err != nil { // every route has to be looked for anew
		t.Fatal(err)
	}
	if _, err := (conn{t, client}).Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 5)
	if _, err := io.ReadFull(conn{t, server}, b); err != nil {
		t.Fatal(err)
	}
	s.NIC(1).SetUp(false)
	if n, err := client.Send(&source{[]byte("lost")}, tcpip.SendOptions{}); n != 4 || err != nil {
		t.Errorf("send without a route: %d, %v", n, err)
	}
	s.NIC(1).SetUp(true)
	if _, err := io.ReadFull(conn{t, server}, b[:4]); err != nil || string(b[:4]) != "lost" {
		t.Errorf("when it is back: %q, %v", b, err)
	}
}

func TestDrained(t *testing.T) {
	s := newLoopback(t, nil)
	client, server := pair(t, s, "127.0.0.1")
	if !client.Drained() {
		t.Error("an open connection has nothing to wait for")
	}
	is(t, "shutdown", client.Shutdown(tcpip.ShutdownWrite), nil)
	for range 1000 {
		if client.Drained() {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if !client.Drained() || client.State() != tcp.StateFinWait2 {
		t.Errorf("it is %v", client.State())
	}
	server.Close()
	client.Close()
	client.Close()
}

func TestNotSentLow(t *testing.T) {
	s := newLoopback(t, nil)
	client, server := pair(t, s, "127.0.0.1")
	client.SetNotSentLow(1)
	total := 0
	for {
		n, err := client.Send(&source{make([]byte, 10_000)}, tcpip.SendOptions{})
		if err == unix.EAGAIN {
			break
		}
		total += n
	}
	if u := client.SendUnsent(); u == 0 || u > 10_000 {
		t.Errorf("%d bytes are not sent", u)
	}
	if client.Readiness(waiter.EventOut) != 0 {
		t.Error("it is writable")
	}
	w := &waker{make(chan struct{}, 1)}
	entry := waiter.Entry{Mask: waiter.EventOut, Listener: w}
	_ = client.EventRegister(&entry)
	defer client.EventUnregister(&entry)
	if n, err := io.ReadFull(conn{t, server}, make([]byte, total)); err != nil {
		t.Fatal(n, err)
	}
	select {
	case <-w.c:
	case <-time.After(10 * time.Second):
		t.Error("nobody was told that it is writable again")
	}
}
