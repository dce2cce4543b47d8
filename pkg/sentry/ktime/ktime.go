// Package ktime has the kernel's clocks and the timers that run on them.
//
// A Clock tells the time in nanoseconds and can be asked to look at a Timer when a time has
// come. HostClock is CLOCK_REALTIME, CLOCK_MONOTONIC or CLOCK_BOOTTIME of the sandbox: the
// host's clock plus an offset (a restored sandbox goes on where the saved one stopped). A
// clock that does not advance with the host's, such as the CPU time of a thread group or
// the ManualClock of tests, embeds AlarmList: whoever makes the clock advance calls Expire.
//
// A Timer is what setitimer(2), timer_create(2), timerfd_create(2), alarm(2) and RLIMIT_CPU
// are made of: it has a next expiry, an interval, and a Listener to tell. Sleeping tasks use
// Blocker.BlockUntil instead. An armed timer costs memory and no goroutine.
//
// The Listener runs with the timer's lock held, so that after Set or Destroy returned no
// report of the setting before is under way. Therefore:
//
// Lock order: Timer.mu → what the Listener takes (signal locks, a file's lock, waiter
// queues) and Timer.mu → AlarmList.mu. Never call a Timer's method with a lock held that
// its Listener takes, and never from within the Listener.
package ktime

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Never is later than any time that a clock reaches.
const Never = int64(math.MaxInt64)

// Clock is a clock that timers can run on. Implementations are pointers.
type Clock interface {
	// Now is the time in nanoseconds. It must not block, and takes no lock that is held
	// while Timer methods are called.
	Now() int64
	// Arm asks for a call of t.Check once Now() has reached deadline. It replaces what
	// t asked before. A call too early or too often does no harm. Arm itself never calls
	// Check. It is called with t's lock held.
	Arm(t *Timer, deadline int64)
	// Disarm withdraws t's request. A Check that is under way does no harm.
	Disarm(t *Timer)
}

// HostClock is one of the host's clocks with an offset.
type HostClock struct {
	id     int32
	saved  int64 // Now() when the sandbox was saved; 0: it was not
	offset atomic.Int64
}

// NewRealtime returns CLOCK_REALTIME.
func NewRealtime() *HostClock { return &HostClock{id: unix.CLOCK_REALTIME} }

// NewMonotonic returns CLOCK_MONOTONIC, offset nanoseconds ahead of the host's.
func NewMonotonic(offset int64) *HostClock {
	c := &HostClock{id: unix.CLOCK_MONOTONIC}
	c.offset.Store(offset)
	return c
}

// NewBoottime returns CLOCK_BOOTTIME, offset nanoseconds ahead of the host's.
func NewBoottime(offset int64) *HostClock {
	c := &HostClock{id: unix.CLOCK_BOOTTIME}
	c.offset.Store(offset)
	return c
}

// ID is the number of the clock, such as CLOCK_MONOTONIC.
func (c *HostClock) ID() int32 { return c.id }

// Offset is how far the clock is ahead of the host's, in nanoseconds (the vDSO's data needs
// it).
func (c *HostClock) Offset() int64 { return c.offset.Load() }

// SetOffset changes the offset; timers that are armed notice at their next Check.
func (c *HostClock) SetOffset(ns int64) { c.offset.Store(ns) }

// Now implements Clock.
func (c *HostClock) Now() int64 { return hostNow(c.id) + c.offset.Load() }

// BeforeSave notes the time at which the clock stops.
func (c *HostClock) BeforeSave() { c.saved = c.Now() }

// AfterLoad lets every clock but CLOCK_REALTIME go on from where it was saved.
func (c *HostClock) AfterLoad() {
	if c.id != unix.CLOCK_REALTIME && c.saved != 0 {
		c.offset.Store(c.saved - hostNow(c.id))
		c.saved = 0
	}
}

// maxHostSleep bounds how long a timer on the host's real-time clock sleeps at a time: the
// Go run-time's timers run on the monotonic clock, so a step of the real-time clock is
// noticed only when the timer looks again.
const maxHostSleep = time.Minute

// Arm implements Clock.
func (c *HostClock) Arm(t *Timer, deadline int64) {
	d := time.Duration(deadline - c.Now())
	if c.id == unix.CLOCK_REALTIME && d > maxHostSleep {
		d = maxHostSleep
	}
	if d <= near {
		if t.host != nil {
			t.host.Stop()
		}
		host.Arm(t, hostNow(unix.CLOCK_MONOTONIC)+int64(d))
		return
	}
	host.Disarm(t)
	d -= runtimeSlack
	if t.host == nil {
		t.host = time.AfterFunc(d, t.Check)
		return
	}
	t.host.Reset(d)
}

// Disarm implements Clock.
func (c *HostClock) Disarm(t *Timer) {
	if t.host != nil {
		t.host.Stop()
	}
	host.Disarm(t)
}

// monotonicBase pairs a reading of the host's CLOCK_MONOTONIC with one of Go's, which
// differ by a constant; so that Now needs the vDSO only, through the time package.
var monotonicBase = sync.OnceValue(func() (b struct {
	at   time.Time
	mono int64
}) {
	best := time.Duration(math.MaxInt64)
	for range 8 {
		before := time.Now()
		var ts unix.Timespec
		if unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) != nil {
			continue
		}
		// The reading lies between before and after. Assuming it at the end keeps the
		// clock from running ahead of the host's.
		after := time.Now()
		if d := after.Sub(before); d < best {
			best, b.at, b.mono = d, after, ts.Nano()
		}
	}
	return b
})

func hostNow(id int32) int64 {
	switch id {
	case unix.CLOCK_REALTIME:
		return time.Now().UnixNano()
	case unix.CLOCK_MONOTONIC:
		b := monotonicBase()
		return b.mono + int64(time.Since(b.at))
	}
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic("ktime: clock_gettime: " + err.Error())
	}
	return ts.Nano()
}
