package tcp_test

import (
	"bytes"
	"io"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/link/loopback"
	"runsc/pkg/tcpip/network/ipv4"
	"runsc/pkg/tcpip/network/ipv6"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/tcp"
	"runsc/pkg/waiter"
)

// newLoopback returns a stack that has lo only.
func newLoopback(t testing.TB, clock tcpip.Clock) *stack.Stack {
	t.Helper()
	s := stack.New(stack.Config{
		Clock:      clock,
		Networks:   []func(*stack.Stack) stack.NetworkProtocol{ipv4.New, ipv6.New},
		Transports: []func(*stack.Stack) stack.TransportProtocol{tcp.New},
	})
	t.Cleanup(s.Close)
	lo, err := s.CreateNIC(1, "lo", loopback.New())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"127.0.0.1/8", "::1/128"} {
		if err := lo.AddAddress(stack.Address{Prefix: netip.MustParsePrefix(p), NoDAD: true, Scope: unix.RT_SCOPE_HOST}); err != nil {
			t.Fatal(err)
		}
	}
	lo.SetUp(true)
	return s
}

// source is a message to send; sink takes one.
type source struct{ b []byte }

func (s *source) Len() int { return len(s.b) }
func (s *source) Read(b []byte) (int, error) {
	n := copy(b, s.b)
	s.b = s.b[n:]
	return n, nil
}

type sink struct {
	b    []byte
	room int
}

func (s *sink) Len() int { return s.room }
func (s *sink) Write(b []byte) (int, error) {
	n := min(len(b), s.room)
	s.b = append(s.b, b[:n]...)
	s.room -= n
	return n, nil
}

// waker is a waiter that a goroutine sleeps on.
type waker struct{ c chan struct{} }

func (w *waker) NotifyEvent(waiter.EventMask) {
	select {
	case w.c <- struct{}{}:
	default:
	}
}

// block calls f until it returns something else than EAGAIN (or what is like it).
func block(t testing.TB, e *tcp.Endpoint, mask waiter.EventMask, f func() error) error {
	w := &waker{make(chan struct{}, 1)}
	entry := waiter.Entry{Mask: mask, Listener: w}
	_ = e.EventRegister(&entry)
	defer e.EventUnregister(&entry)
	deadline := time.After(20 * time.Second)
	for {
		err := f()
		if err != unix.EAGAIN && err != unix.EINPROGRESS && err != unix.EALREADY {
			return err
		}
		select {
		case <-w.c:
		case <-deadline:
			t.Errorf("nothing happened for 20 s")
			return unix.ETIMEDOUT
		}
	}
}

func addr(s string, port uint16) tcpip.FullAddress {
	return tcpip.FullAddress{Addr: netip.MustParseAddr(s), Port: port}
}

// pair returns the two ends of a connection.
func pair(t testing.TB, s *stack.Stack, host string) (client, server *tcp.Endpoint) {
	t.Helper()
	l := tcp.NewEndpoint(s, addr(host, 0).Addr.Is6())
	if err := l.Bind(addr(host, 0)); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(10); err != nil {
		t.Fatal(err)
	}
	client = tcp.NewEndpoint(s, addr(host, 0).Addr.Is6())
	if err := block(t, client, waiter.WritableEvents, func() error { return client.Connect(addr(host, l.LocalAddress().Port)) }); err != nil {
		t.Fatal("connect:", err)
	}
	err := block(t, l, waiter.ReadableEvents, func() error {
		c, _, err := l.AcceptEndpoint()
		server = c
		return err
	})
	if err != nil {
		t.Fatal("accept:", err)
	}
	l.Close()
	return client, server
}

type conn struct {
	t testing.TB
	e *tcp.Endpoint
}

func (c conn) Write(b []byte) (int, error) {
	total := 0
	for total < len(b) {
		err := block(c.t, c.e, waiter.WritableEvents, func() error {
			n, err := c.e.Send(&source{b[total:]}, tcpip.SendOptions{})
			total += n
			return err
		})
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (c conn) Read(b []byte) (int, error) {
	s := sink{b: b[:0], room: len(b)}
	n := 0
	err := block(c.t, c.e, waiter.ReadableEvents, func() error {
		r, err := c.e.Receive(&s, tcpip.ReceiveOptions{})
		n = r.N
		return err
	})
	if err == nil && n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, err
}

func pattern(n int) []byte {
	b := make([]byte, n)
	x := uint32(1)
	for i := range b {
		x = x*1664525 + 1013904223
		b[i] = byte(x >> 24)
	}
	return b
}

func TestLoopbackTransfer(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		s := newLoopback(t, nil)
		client, server := pair(t, s, host)
		want := pattern(10 << 20)
		go func() {
			conn{t, client}.Write(want)
			client.Shutdown(tcpip.ShutdownWrite)
		}()
		got, err := io.ReadAll(conn{t, server})
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: got %d bytes, %v", host, len(got), err)
		}
		if _, err := (conn{t, server}).Write([]byte("bye")); err != nil {
			t.Fatal(err)
		}
		server.Close()
		got, err = io.ReadAll(conn{t, client})
		if err != nil || string(got) != "bye" {
			t.Fatalf("%s: the other way: %q, %v", host, got, err)
		}
		client.Close()
	}
}

func BenchmarkLoopback(b *testing.B) {
	s := newLoopback(b, nil)
	client, server := pair(b, s, "127.0.0.1")
	const size = 256 << 10
	msg := make([]byte, size)
	b.SetBytes(size)
	b.ReportAllocs()
	b.ResetTimer()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, size)
		for left := b.N * size; left > 0; {
			n, err := (conn{b, server}).Read(buf)
			if err != nil {
				b.Error(err)
				return
			}
			left -= n
		}
	}()
	for range b.N {
		if _, err := (conn{b, client}).Write(msg); err != nil {
			b.Fatal(err)
		}
	}
	<-done
}

func BenchmarkPingPong(b *testing.B) {
	s := newLoopback(b, nil)
	client, server := pair(b, s, "127.0.0.1")
	client.SetNoDelay(true)
	server.SetNoDelay(true)
	b.ReportAllocs()
	msg := make([]byte, 64)
	var room [64]byte
	b.ResetTimer()
	for range b.N {
		for _, d := range [][2]*tcp.Endpoint{{client, server}, {server, client}} {
			if _, err := d[0].Send(&source{msg}, tcpip.SendOptions{}); err != nil {
				b.Fatal(err)
			}
			if r, err := d[1].Receive(&sink{b: room[:0], room: 64}, tcpip.ReceiveOptions{}); err != nil || r.N != 64 {
				b.Fatal(r.N, err)
			}
		}
	}
}

func BenchmarkConnect(b *testing.B) {
	s := newLoopback(b, nil)
	l := tcp.NewEndpoint(s, false)
	if err := l.Bind(addr("127.0.0.1", 80)); err != nil {
		b.Fatal(err)
	}
	if err := l.Listen(10); err != nil {
		b.Fatal(err)
	}
	s.Settings().TCPMaxTimeWait.Store(0)
	b.ReportAllocs()
	for range b.N {
		c := tcp.NewEndpoint(s, false)
		if err := c.Connect(addr("127.0.0.1", 80)); err != unix.EINPROGRESS {
			b.Fatal(err)
		}
		d, _, err := l.AcceptEndpoint()
		if err != nil {
			b.Fatal(err)
		}
		c.Close()
		d.Close()
	}
}
