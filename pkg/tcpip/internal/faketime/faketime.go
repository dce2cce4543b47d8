// Package faketime has a clock for tests of the network stack: time stands still until the test
// advances it.
//
// Clock implements tcpip.Clock. Advance runs the timers that fall due, one after another in the
// order of their times (those of one moment in the order in which they were set), on the
// goroutine that called it, and each sees the moment it was set for as the time. A timer that is
// set while Advance runs, and falls due within it, runs too. So a test is deterministic: when
// Advance has returned, everything that time can cause has happened.
//
// The clock's lock is not held while a timer's function runs: it may use the clock freely, but
// must not call Advance.
package faketime

import (
	"sort"
	"sync"
	"time"

	"runsc/pkg/tcpip"
)

// epoch is the wall clock's time when a clock is made: any will do that is not zero.
var epoch = time.Unix(1_700_000_000, 0)

// Clock is a clock that only Advance moves.
type Clock struct {
	mu     sync.Mutex // guards the fields below
	now    time.Duration
	set    uint64
	timers []*timer // that are to run, in order
}

var _ tcpip.Clock = (*Clock)(nil)

// New returns a clock at monotonic time 0.
func New() *Clock { return &Clock{} }

type timer struct {
	clock *Clock
	f     func()

	// Guarded by the clock's lock.
	at      time.Duration
	order   uint64
	pending bool
}

// Now implements tcpip.Clock.
func (c *Clock) Now() time.Time { return epoch.Add(c.Monotonic()) }

// Monotonic implements tcpip.Clock.
func (c *Clock) Monotonic() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// AfterFunc implements tcpip.Clock. f runs in a call of Advance, even for a d of 0.
func (c *Clock) AfterFunc(d time.Duration, f func()) tcpip.Timer {
	t := &timer{clock: c, f: f}
	t.Reset(d)
	return t
}

// Pending is the number of timers that are to run: 0 says that nothing would ever happen again.
func (c *Clock) Pending() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.timers)
}

// Next is how long it is until the next timer runs. false: there is none.
func (c *Clock) Next() (time.Duration, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.timers) == 0 {
		return 0, false
	}
	return c.timers[0].at - c.now, true
}

// Advance moves the time forward by d and runs what falls due until then.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	end := c.now + d
	for len(c.timers) > 0 && c.timers[0].at <= end {
		t := c.timers[0]
		c.remove(t)
		c.now = max(c.now, t.at)
		c.mu.Unlock()
		t.f()
		c.mu.Lock()
	}
	c.now = end
	c.mu.Unlock()
}

// remove takes t out of the timers that are to run. c.mu is held.
func (c *Clock) remove(t *timer) bool {
	if !t.pending {
		return false
	}
	t.pending = false
	i := sort.Search(len(c.timers), func(i int) bool { return !c.timers[i].before(t) })
	c.timers = append(c.timers[:i], c.timers[i+1:]...)
	return true
}

func (t *timer) before(u *timer) bool {
	return t.at < u.at || t.at == u.at && t.order < u.order
}

// Stop implements tcpip.Timer.
func (t *timer) Stop() bool {
	t.clock.mu.Lock()
	defer t.clock.mu.Unlock()
	return t.clock.remove(t)
}

// Reset implements tcpip.Timer.
func (t *timer) Reset(d time.Duration) bool {
	c := t.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.remove(t)
	c.set++
	t.at, t.order, t.pending = c.now+max(d, 0), c.set, true
	i := sort.Search(len(c.timers), func(i int) bool { return t.before(c.timers[i]) })
	c.timers = append(c.timers, nil)
	copy(c.timers[i+1:], c.timers[i:])
	c.timers[i] = t
	return was
}
