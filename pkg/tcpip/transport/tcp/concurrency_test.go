package tcp_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/transport/tcp"
	"runsc/pkg/waiter"
)

// TestBothWaysAtOnce sends in both directions of several connections of one stack at a time, by
// goroutines that meet in the endpoints' backlogs.
func TestBothWaysAtOnce(t *testing.T) {
	s := newLoopback(t, nil)
	size := 8 << 20
	if testing.Short() {
		size = 1 << 20
	}
	var wg sync.WaitGroup
	for i := range 3 {
		host := []string{"127.0.0.1", "::1"}[i%2]
		a, b := pair(t, s, host)
		for _, d := range [][2]*tcp.Endpoint{{a, b}, {b, a}} {
			want := pattern(size)
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 1))
				for rest := want; len(rest) > 0; {
					n := min(len(rest), 1+rng.IntN(200_000))
					if rng.IntN(3) == 0 {
						n = min(len(rest), 1+rng.IntN(100))
					}
					if _, err := (conn{t, d[0]}).Write(rest[:n]); err != nil {
						t.Error(err)
						return
					}
					rest = rest[n:]
				}
				if err := d[0].Shutdown(tcpip.ShutdownWrite); err != nil {
					t.Error(err)
				}
			})
			wg.Go(func() {
				got, err := io.ReadAll(conn{t, d[1]})
				if err != nil || !bytes.Equal(got, want) {
					t.Errorf("%d bytes came, %v", len(got), err)
				}
			})
		}
	}
	wg.Wait()
}

// TestManyConnections opens, uses and closes connections from several goroutines, with everything
// else that an application may call in between.
func TestManyConnections(t *testing.T) {
	s := newLoopback(t, nil)
	l := tcp.NewEndpoint(s, true)
	if err := l.Bind(addr("::", 0)); err != nil {
		t.Fatal(err)
	}
	if err := l.Listen(100); err != nil {
		t.Fatal(err)
	}
	port := l.LocalAddress().Port
	n := 300
	if testing.Short() {
		n = 60
	}
	var clients, servers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		servers.Go(func() {
			w := &waker{make(chan struct{}, 1)}
			entry := waiter.Entry{Mask: waiter.ReadableEvents, Listener: w}
			_ = l.EventRegister(&entry)
			defer l.EventUnregister(&entry)
			for {
				c, _, err := l.AcceptEndpoint()
				if err == unix.EAGAIN {
					select {
					case <-w.c:
					case <-time.After(10 * time.Millisecond):
					case <-stop:
						return
					}
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				servers.Go(func() {
					// Echo.
					if b, err := io.ReadAll(conn{t, c}); err == nil {
						_, _ = conn{t, c}.Write(b)
					}
					c.Close()
				})
			}
		})
	}
	for g := range 4 {
		clients.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 2))
			for i := range n {
				host := []string{"127.0.0.1", "::1"}[i%2]
				c := tcp.NewEndpoint(s, host == "::1")
				if err := block(t, c, waiter.WritableEvents, func() error { return c.Connect(addr(host, port)) }); err != nil {
					t.Error(err)
					return
				}
				msg := pattern(1 + rng.IntN(20_000))
				switch rng.IntN(8) {
				case 0:
					c.Abort()
					continue
				case 1:
					_, _ = conn{t, c}.Write(msg)
					c.Close()
					continue
				}
				if _, err := (conn{t, c}).Write(msg); err != nil {
					t.Error(err)
				}
				_ = c.Info()
				_ = c.Readiness(waiter.AllEvents)
				_ = c.Shutdown(tcpip.ShutdownWrite)
				got, err := io.ReadAll(conn{t, c})
				if err != nil || !bytes.Equal(got, msg) {
					t.Errorf("the echo of %d bytes is %d bytes, %v", len(msg), len(got), err)
				}
				c.Close()
			}
		})
	}
	watcher := make(chan struct{})
	go func() {
		defer close(watcher)
		p := s.TransportProtocol(6).(*tcp.Protocol)
		for {
			p.Connections(func(tcp.Connection) bool { return true })
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	clients.Wait()
	close(stop)
	servers.Wait()
	<-watcher
	l.Close()
}

// TestCloseOfStack ends a stack whose connections are in use.
func TestCloseOfStack(t *testing.T) {
	s := newLoopback(t, nil)
	var wg sync.WaitGroup
	for range 10 {
		a, b := pair(t, s, "127.0.0.1")
		wg.Go(func() {
			for {
				n, err := a.Send(&source{make([]byte, 50_000)}, tcpip.SendOptions{})
				if err != nil && err != unix.EAGAIN {
					return
				}
				if n == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		})
		wg.Go(func() {
			for {
				r, err := b.Receive(&sink{room: 100_000}, tcpip.ReceiveOptions{})
				if err == unix.EAGAIN {
					time.Sleep(time.Millisecond)
					continue
				}
				if err != nil || r.N == 0 {
					return
				}
			}
		})
	}
	time.Sleep(20 * time.Millisecond)
	s.Close()
	wg.Wait()
}
