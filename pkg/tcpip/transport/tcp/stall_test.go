package tcp_test

import (
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/transport/tcp"
)

// TestLoopbackNeedsNoTime: over lo, where packets are delivered by who sends them, a transfer never
// waits for a timer, whatever the sizes of reads and writes are: time stands still here.
func TestLoopbackNeedsNoTime(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 3))
		clock := faketime.New()
		clock.Advance(1e9)
		s := newLoopback(t, clock)
		host := []string{"127.0.0.1", "::1"}[seed%2]
		l := tcp.NewEndpoint(s, host == "::1")
		is(t, "bind", l.Bind(addr(host, 80)), nil)
		is(t, "listen", l.Listen(1), nil)
		a := tcp.NewEndpoint(s, host == "::1")
		is(t, "connect", a.Connect(addr(host, 80)), unix.EINPROGRESS)
		b, _, err := l.AcceptEndpoint()
		is(t, "accept", err, nil)
		if seed%3 == 0 {
			a.SetNoDelay(true)
		}
		write, read := 1<<rng.IntN(20), 1<<rng.IntN(20)
		total := min(1<<(10+rng.IntN(14)), 3000*min(write, read))
		sent, got := 0, 0
		for got < total {
			before := sent + got
			if n := min(write, total-sent); n > 0 {
				n, err := a.Send(&source{make([]byte, n)}, tcpip.SendOptions{})
				if err != nil && err != unix.EAGAIN {
					t.Fatal(err)
				}
				sent += n
			}
			if rng.IntN(3) != 0 || sent == total || before == sent+got {
				r, err := b.Receive(&sink{room: read}, tcpip.ReceiveOptions{})
				if err != nil && err != unix.EAGAIN {
					t.Fatal(err)
				}
				got += r.N
			}
			if sent+got == before {
				t.Errorf("seed %d: writes of %d, reads of %d: stuck after %d sent, %d received of %d", seed, write, read, sent, got, total)
				break
			}
		}
	}
}
