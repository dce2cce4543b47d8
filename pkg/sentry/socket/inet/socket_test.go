package inet

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/stack"
)

// What applications see is tested against Linux by test/syscalls/inet_*.c; here is what a test
// from outside cannot make happen, or not reliably.

func TestAddressesComeBack(t *testing.T) {
	for _, text := range []string{"0.0.0.0", "127.0.0.1", "192.0.2.255"} {
		a := addr(unix.AF_INET, text, 4711)
		full, err := parse4(a.Bytes())
		if err != nil || full.Addr != netip.MustParseAddr(text) || full.Port != 4711 {
			t.Errorf("%s: %+v, %v", text, full, err)
		}
		// The mapped form.
		b := addr(unix.AF_INET6, text, 4711)
		full, mapped, err := parse6(b.Bytes())
		if err != nil || !mapped || full.Addr != netip.MustParseAddr(text) {
			t.Errorf("%s mapped: %+v, %v, %v", text, full, mapped, err)
		}
	}
	for _, text := range []string{"::", "::1", "2001:db8::1", "fe80::1", "ff02::1"} {
		var a socket.Addr
		put6(&a, tcpip.FullAddress{Addr: netip.MustParseAddr(text), Port: 1, NIC: 3})
		full, mapped, err := parse6(a.Bytes())
		want := tcpip.NICID(0)
		if full.Addr.IsLinkLocalUnicast() || full.Addr.IsLinkLocalMulticast() {
			want = 3
		}
		if err != nil || mapped || full.Addr != netip.MustParseAddr(text) || full.NIC != want {
			t.Errorf("%s: %+v, %v, %v", text, full, mapped, err)
		}
		// The old form is without the scope.
		if full, _, err := parse6(a.Bytes()[:minSockaddrIn6]); err != nil || full.NIC != 0 {
			t.Errorf("%s, short: %+v, %v", text, full, err)
		}
	}
}

func TestBlockedReceiveIsInterrupted(t *testing.T) {
	families(t, func(t *testing.T, family int) {
		n := world(t)
		ua, _ := n.udpPair(t, family)
		ta, _ := n.tcpPair(t, family)
		for _, s := range []*Socket{ua, ta} {
			ctx := newTask()
			ctx.intr <- struct{}{}
			if _, err := recv(ctx, s, 1, 0); err != linux.ERESTARTSYS {
				t.Errorf("type %d: %v, want ERESTARTSYS", s.Type(), err)
			}
			if err := s.SetSockOpt(ctx, unix.SOL_SOCKET, unix.SO_RCVTIMEO, timeval(time.Hour)); err != nil {
				t.Fatal(err)
			}
			ctx.intr <- struct{}{}
			if _, err := recv(ctx, s, 1, 0); err != unix.EINTR {
				t.Errorf("type %d with a time-out: %v, want EINTR", s.Type(), err)
			}
		}
	})
}

func timeval(d time.Duration) []byte {
	b := make([]byte, 16)
	b[0], b[1] = byte(d/time.Second), byte(d/time.Second>>8)
	return b
}

func TestAcceptIsInterrupted(t *testing.T) {
	n := world(t)
	l := n.sock(t, unix.AF_INET, unix.SOCK_STREAM, 0)
	if err := l.Listen(newTask(), 1); err != nil {
		t.Fatal(err)
	}
	ctx := newTask()
	ctx.intr <- struct{}{}
	if _, err := l.Accept(ctx, nil, false); err != linux.ERESTARTSYS {
		t.Errorf("%v", err)
	}
	if _, err := l.Accept(ctx, nil, true); err != unix.EAGAIN {
		t.Errorf("nonblocking: %v", err)
	}
}

func TestReadAndWriteNeverBlock(t *testing.T) {
	n := world(t)
	a, b := n.tcpPair(t, unix.AF_INET)
	ctx := newTask()
	buf := make([]byte, 1<<20)
	if _, err := b.Read(ctx, usermem.BytesSequence(buf), -1); err != unix.EAGAIN {
		t.Errorf("read: %v", err)
	}
	if m, err := b.Read(ctx, usermem.Sequence{}, -1); m != 0 || err != nil {
		t.Errorf("read of nothing: %d, %v", m, err)
	}
	total := 0
	for {
		m, _, err := a.Write(ctx, usermem.BytesSequence(buf), -1, false)
		total += m
		if err == unix.EAGAIN {
			break
		}
		if err != nil || total > 64<<20 {
			t.Fatalf("write: %v after %d bytes", err, total)
		}
	}
	if total == 0 {
		t.Error("nothing was written")
	}
}

func TestLingeringCloseWaits(t *testing.T) {
	n := world(t)
	for _, c := range []struct {
		name         string
		unread, time bool
	}{{"until acknowledged", false, false}, {"the time", false, true}, {"not with unread data", true, false}} {
		a, b := n.tcpPair(t, unix.AF_INET)
		o := a.ep.Options()
		o.Mu.Lock()
		o.Linger, o.LingerTime = true, 10*time.Second
		if c.time {
			o.LingerTime = 30 * time.Millisecond
		}
		o.Mu.Unlock()
		if c.unread {
			if _, err := send(newTask(), b, "unread", 0); err != nil {
				t.Fatal(err)
			}
		}
		if c.time {
			// Nobody reads, and the window is closed: the end of the stream cannot go.
			buf := make([]byte, 1<<20)
			for {
				if _, _, err := a.Write(newTask(), usermem.BytesSequence(buf), -1, false); err != nil {
					break
				}
			}
		} else if _, err := send(newTask(), a, "data", 0); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		a.Close(newTask())
		if d := time.Since(start); d > 5*time.Second || c.time && d < 30*time.Millisecond {
			t.Errorf("%s: close took %v", c.name, d)
		}
	}
}

func TestNamespaceKnowsItsSockets(t *testing.T) {
	n := world(t)
	a, b := n.udpPair(t, unix.AF_INET)
	if l := len(n.Sockets()); l != 2 {
		t.Errorf("%d sockets", l)
	}
	if a.Cookie() == 0 || a.Cookie() == b.Cookie() {
		t.Errorf("cookies %d and %d", a.Cookie(), b.Cookie())
	}
	a.Close(newTask())
	if s := n.Sockets(); len(s) != 1 || s[0] != &b.Core {
		t.Errorf("after one was closed: %d sockets", len(s))
	}
	if NamespaceOf(n.Layer()) != n || NamespaceOf(socket.NewStack()) != nil {
		t.Error("NamespaceOf")
	}
	if a.Namespace() != n || a.Endpoint() != a.ep || n.Stack() != n.stack {
		t.Error("accessors")
	}
}

func TestPingRange(t *testing.T) {
	n := world(t)
	p := &provider{n, unix.AF_INET}
	ctx := nobody()
	ask := func() error {
		s, err := p.Socket(ctx, unix.SOCK_DGRAM, unix.IPPROTO_ICMP)
		if err == nil {
			s.Release(ctx)
		}
		return err
	}
	if err := ask(); err != unix.EACCES {
		t.Errorf("by default: %v", err)
	}
	set := n.stack.Settings()
	set.PingGroupLow.Store(1000)
	set.PingGroupHigh.Store(1000)
	if err := ask(); err != nil {
		t.Errorf("own group: %v", err)
	}
	set.PingGroupLow.Store(2000)
	set.PingGroupHigh.Store(3000)
	if err := ask(); err != unix.EACCES {
		t.Errorf("another group: %v", err)
	}
	c := *ctx.Creds
	c.Groups = append(c.Groups, 2500)
	ctx.Creds = &c
	if err := ask(); err != nil {
		t.Errorf("supplementary group: %v", err)
	}
}

func TestLoopbackUpAndDown(t *testing.T) {
	st := NewStack(nil)
	defer st.Close()
	lo := st.NIC(1)
	if lo.Up() || len(lo.Addresses()) != 0 || Flags(lo) != unix.IFF_LOOPBACK {
		t.Errorf("new: up %v, %v, flags %#x", lo.Up(), lo.Addresses(), Flags(lo))
	}
	list := func() string {
		s := ""
		for _, a := range lo.Addresses() {
			s += a.Prefix.String() + " "
		}
		return s
	}
	SetUp(lo, true)
	if l := list(); l != "127.0.0.1/8 ::1/128 " {
		t.Errorf("up: %s", l)
	}
	SetUp(lo, true) // again changes nothing
	SetUp(lo, false)
	if l := list(); l != "127.0.0.1/8 " {
		t.Errorf("down: %s", l)
	}
	// Another address of IPv4 is enough.
	lo.RemoveAddress(loopbackPrefix4)
	lo.AddAddress(stack.Address{Prefix: netip.MustParsePrefix("10.0.0.1/32")})
	st.Settings().IPv6Disabled.Store(true)
	SetUp(lo, true)
	if l := list(); l != "10.0.0.1/32 " {
		t.Errorf("up again: %s", l)
	}
}

// The hot paths of a socket take nothing from the heap once pools are warm.
func TestMessagesAllocateNothing(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector makes pools forget")
	}
	n := world(t)
	ctx := newTask()
	out, in := make([]byte, 1000), make([]byte, 2000)
	ua, ub := n.udpPair(t, unix.AF_INET)
	ta, tb := n.tcpPair(t, unix.AF_INET)
	to := name(t, ub)
	for _, c := range []struct {
		name string
		a, b *Socket
		to   *socket.Addr
	}{{"udp", ua, ub, nil}, {"udp, sendto", ua, ub, to}, {"tcp", ta, tb, nil}} {
		var from socket.Addr
		sm := &socket.Message{Data: usermem.BytesSequence(out), Flags: unix.MSG_DONTWAIT, To: c.to}
		rm := &socket.Message{Data: usermem.BytesSequence(in), Flags: unix.MSG_DONTWAIT, From: &from}
		got := testing.AllocsPerRun(200, func() {
			if _, err := c.a.SendMsg(ctx, sm); err != nil {
				t.Fatal(err)
			}
			if _, err := c.b.RecvMsg(ctx, rm); err != nil {
				t.Fatal(err)
			}
		})
		if got > 0.5 {
			t.Errorf("%s: %v allocations a message", c.name, got)
		}
	}
}

func benchmarkMessages(b *testing.B, a, z *Socket, size int) {
	ctx := newTask()
	out, in := make([]byte, size), make([]byte, size)
	sm := &socket.Message{Data: usermem.BytesSequence(out), Flags: unix.MSG_DONTWAIT}
	rm := &socket.Message{Data: usermem.BytesSequence(in), Flags: unix.MSG_DONTWAIT | unix.MSG_WAITALL}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := a.SendMsg(ctx, sm); err != nil || n != size {
			b.Fatal(n, err)
		}
		if n, err := z.RecvMsg(ctx, rm); err != nil || n != size {
			b.Fatal(n, err)
		}
	}
}

func BenchmarkUDP(b *testing.B) {
	x, y := world(b).udpPair(b, unix.AF_INET)
	benchmarkMessages(b, x, y, 1000)
}

func BenchmarkTCPSmall(b *testing.B) {
	x, y := world(b).tcpPair(b, unix.AF_INET)
	benchmarkMessages(b, x, y, 100)
}

func BenchmarkTCPLarge(b *testing.B) {
	x, y := world(b).tcpPair(b, unix.AF_INET)
	benchmarkMessages(b, x, y, 32<<10)
}
