package errorlimit

import (
	"net/netip"
	"testing"
	"time"

	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/stack"
)

func newLimiter() (*Limiter, *faketime.Clock) {
	clock := faketime.New()
	l := &Limiter{}
	l.Init(stack.New(stack.Config{Clock: clock, Seed: []byte("seed")}), 1)
	return l, clock
}

// count is how many of n messages are allowed.
func count(n int, allow func(i int) bool) (sum int) {
	for i := range n {
		if allow(i) {
			sum++
		}
	}
	return sum
}

func TestOneDestination(t *testing.T) {
	for _, dst := range []string{"10.0.0.1", "2001:db8::1"} {
		l, clock := newLimiter()
		one := func(int) bool { return l.Allow(netip.MustParseAddr(dst)) }
		for _, test := range []struct {
			wait time.Duration
			want int
		}{
			{0, Burst}, {Interval - 1, 0}, {1, 1}, {3 * Interval, 3}, {Interval / 2, 0}, {Interval / 2, 1}, {time.Hour, Burst},
		} {
			clock.Advance(test.wait)
			if got := count(100, one); got != test.want {
				t.Errorf("%s: %d after %v more, want %d", dst, got, test.wait, test.want)
			}
		}
	}
}

func TestAllDestinationsTogether(t *testing.T) {
	l, clock := newLimiter()
	each := func(i int) bool { return l.Allow(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})) }
	if got := count(1000, each); got != TotalBurst {
		t.Errorf("%d of 1000, want %d", got, TotalBurst)
	}
	clock.Advance(3 * TotalInterval)
	if got := count(10, func(int) bool { return l.AllowAny() }); got != 3 {
		t.Errorf("%d without a destination, want 3", got)
	}
}

func TestAFloodUsesUpNobodyElsesTokens(t *testing.T) {
	l, _ := newLimiter()
	flooder, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	if got := count(10000, func(int) bool { return l.Allow(flooder) }); got != Burst {
		t.Fatalf("%d for who floods", got)
	}
	if !l.Allow(other) {
		t.Error("none for another one")
	}
}
