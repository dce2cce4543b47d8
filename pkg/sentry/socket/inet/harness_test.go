package inet

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/tcpip"
	"runsc/pkg/waiter"
)

var userNS = auth.NewRootUserNamespace()

// task is a Context that can block, with memory of its own for what options point to.
type task struct {
	context.Background
	wake, intr chan struct{}
	memory     []byte
}

func newTask() *task {
	return &task{
		Background: context.Background{Creds: auth.NewRootCredentials(userNS)},
		wake:       make(chan struct{}, 1), intr: make(chan struct{}, 1),
	}
}

// nobody is a task without capabilities.
func nobody() *task {
	t := newTask()
	c := *t.Creds
	c.Effective, c.EffectiveUID, c.EffectiveGID = 0, 1000, 1000
	t.Creds = &c
	return t
}

func (t *task) Waker() waiter.Listener { return t }
func (t *task) NotifyEvent(waiter.EventMask) {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
func (t *task) Block() error {
	if err := t.BlockUntil(t.Monotonic() + int64(20*time.Second)); err != unix.ETIMEDOUT {
		return err
	}
	panic("inet: blocked for 20 s")
}
func (t *task) BlockUntil(deadline int64) error {
	select {
	case <-t.wake:
		return nil
	case <-t.intr:
		return linux.ERESTARTSYS
	case <-time.After(time.Duration(deadline - t.Monotonic())):
		return unix.ETIMEDOUT
	}
}

func (t *task) CopyInBytes(addr uintptr, b []byte) error {
	_, err := (&usermem.Bytes{B: t.memory}).CopyIn(addr, b)
	return err
}

// world makes a namespace with lo up.
func world(t testing.TB) *Namespace {
	t.Helper()
	layer, st := socket.NewStack(), NewStack(nil)
	t.Cleanup(st.Close)
	n := Register(layer, st)
	SetUp(st.NIC(1), true)
	return n
}

func (n *Namespace) sock(t testing.TB, family, typ, protocol int) *Socket {
	t.Helper()
	s, err := n.layer.Socket(newTask(), family, typ, protocol)
	if err != nil {
		t.Fatalf("socket(%d, %d, %d): %v", family, typ, protocol, err)
	}
	t.Cleanup(func() { s.Release(newTask()) })
	return s.(*Socket)
}

// addr is an address in the form of the family.
func addr(family int, a string, port uint16) *socket.Addr {
	var to socket.Addr
	full := tcpip.FullAddress{Addr: netip.MustParseAddr(a), Port: port}
	if family == unix.AF_INET {
		put4(&to, full)
	} else {
		put6(&to, full)
	}
	return &to
}

func loop(family int, port uint16) *socket.Addr {
	if family == unix.AF_INET {
		return addr(family, "127.0.0.1", port)
	}
	return addr(family, "::1", port)
}

func name(t testing.TB, s *Socket) *socket.Addr {
	t.Helper()
	var a socket.Addr
	if err := s.GetSockName(newTask(), &a); err != nil {
		t.Fatal(err)
	}
	return &a
}

// udpPair are two connected sockets.
func (n *Namespace) udpPair(t testing.TB, family int) (a, b *Socket) {
	t.Helper()
	a, b = n.sock(t, family, unix.SOCK_DGRAM, 0), n.sock(t, family, unix.SOCK_DGRAM, 0)
	for _, s := range []*Socket{a, b} {
		if err := s.Bind(newTask(), loop(family, 0)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Connect(newTask(), name(t, b), false); err != nil {
		t.Fatal(err)
	}
	if err := b.Connect(newTask(), name(t, a), false); err != nil {
		t.Fatal(err)
	}
	return a, b
}

// tcpPair is a connection.
func (n *Namespace) tcpPair(t testing.TB, family int) (client, server *Socket) {
	t.Helper()
	l := n.sock(t, family, unix.SOCK_STREAM, 0)
	if err := l.Bind(newTask(), loop(family, 0)); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(newTask(), 1); err != nil {
		t.Fatal(err)
	}
	client = n.sock(t, family, unix.SOCK_STREAM, 0)
	if err := client.Connect(newTask(), name(t, l), false); err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept(newTask(), nil, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Release(newTask()) })
	return client, s.(*Socket)
}

func send(ctx context.Context, s *Socket, b string, flags uint32) (int, error) {
	return s.SendMsg(ctx, &socket.Message{Data: usermem.BytesSequence([]byte(b)), Flags: flags})
}

func recv(ctx context.Context, s *Socket, n int, flags uint32) (string, error) {
	b := make([]byte, n)
	n, err := s.RecvMsg(ctx, &socket.Message{Data: usermem.BytesSequence(b), Flags: flags})
	return string(b[:min(n, len(b))]), err
}

// families runs a test for both.
func families(t *testing.T, f func(t *testing.T, family int)) {
	t.Run("v4", func(t *testing.T) { f(t, unix.AF_INET) })
	t.Run("v6", func(t *testing.T) { f(t, unix.AF_INET6) })
}
