package ktime

import (
	"math"
	"sync"
	"time"
)

// Listener is told when a timer expires. Implementations are pointers.
type Listener interface {
	// TimerExpired is called with the number of expirations since the last call (more
	// than one if the timer is periodic and was late). It runs with the timer's lock
	// held: it must be quick and must not call the timer.
	TimerExpired(expirations uint64)
}

// SetListener is implemented by Listeners that have to forget about the old setting in
// the same instant as the timer does.
type SetListener interface {
	// TimerSet is called by Set with the timer's lock held, before the new setting
	// counts.
	TimerSet()
}

// minSleep is the shortest time for which a periodic timer sleeps, so that an interval of
// a nanosecond does not occupy a CPU: shorter periods are reported several at a time.
const minSleep = int64(50 * time.Microsecond)

// Timer expires once or periodically on a Clock.
type Timer struct {
	clock    Clock
	listener Listener
	// lazy timers stop after each report until Forward is called.
	lazy bool

	mu        sync.Mutex // guards the fields below
	next      int64      // time of the next expiry; Never if the timer is off
	interval  int64      // 0: one shot
	waiting   bool       // lazy: a report was made and Forward was not called since
	destroyed bool

	// host belongs to HostClock.
	host *time.Timer `state:"nosave"`
	// alarm belongs to AlarmList, which guards it by its own lock.
	alarm alarm
}

// NewTimer returns a timer that is off. Destroy it when done.
func NewTimer(clock Clock, listener Listener) *Timer {
	t := &Timer{}
	t.Init(clock, listener)
	return t
}

// Init is NewTimer for a Timer that lies in another structure.
func (t *Timer) Init(clock Clock, listener Listener) {
	t.clock, t.listener, t.next = clock, listener, Never
}

// InitLazy is Init for a timer which, when it is periodic, stays silent after it told its
// Listener of an expiry until Forward is called (as timerfd and POSIX timers do: until the
// reader or the signal's receiver comes, nobody needs to be woken again).
func (t *Timer) InitLazy(clock Clock, listener Listener) {
	t.Init(clock, listener)
	t.lazy = true
}

// Clock is the clock that the timer runs on.
func (t *Timer) Clock() Clock { return t.clock }

// Set arms the timer to expire first in first nanoseconds (or, if absolute is set, when the
// clock shows first), and then every interval nanoseconds, unless interval is 0. A relative
// first of 0 turns the timer off; an absolute one lies in the past, so callers turn off by
// first == 0, absolute == false. It returns what Get would have.
func (t *Timer) Set(first, interval int64, absolute bool) (prevLeft, prevInterval int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	prevLeft, prevInterval = t.get(now)
	if l, ok := t.listener.(SetListener); ok {
		l.TimerSet()
	}
	if t.destroyed {
		return
	}
	t.waiting = false
	t.interval = interval
	switch {
	case absolute:
		t.next = first
	case first == 0:
		t.next = Never
	case first > Never-1-max(now, 0):
		t.next = Never - 1
	default:
		t.next = now + first
	}
	if t.next == Never {
		t.clock.Disarm(t)
	} else {
		t.clock.Arm(t, t.next)
	}
	return
}

// Get returns the time left until the next expiry, 0 if the timer is off, and the interval.
// A timer that is on has at least a nanosecond left.
func (t *Timer) Get() (left, interval int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.get(t.clock.Now())
}

func (t *Timer) get(now int64) (left, interval int64) {
	if t.next == Never {
		return 0, t.interval
	}
	next := t.next
	if next <= now && t.interval > 0 {
		n := uint64(now-next)/uint64(t.interval) + 1
		next = advance(next, n, t.interval)
	}
	return max(next-now, 1), t.interval
}

// Stop turns the timer off; it can be set again.
func (t *Timer) Stop() { t.Set(0, 0, false) }

// Destroy turns the timer off for good. When it returns, no call of the Listener is under
// way and none will come.
func (t *Timer) Destroy() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.destroyed = true
	t.next, t.interval = Never, 0
	t.clock.Disarm(t)
}

// Forward lets a lazy periodic timer go on after an expiry was consumed. It returns how
// many expirations passed since the one that was reported (the overrun). It must not be
// called with a lock held that the Listener takes.
func (t *Timer) Forward() uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.waiting {
		return 0
	}
	t.waiting = false
	n := t.expire(t.clock.Now())
	t.clock.Arm(t, t.next)
	return n
}

// expire moves next behind now and returns how many expirations that passes.
// t.next must not be Never unless nothing is wanted.
func (t *Timer) expire(now int64) uint64 {
	if t.next > now {
		return 0
	}
	if t.interval == 0 {
		t.next = Never
		return 1
	}
	n := uint64(now-t.next)/uint64(t.interval) + 1
	t.next = advance(t.next, n, t.interval)
	return n
}

// advance is next + n*interval, at most just before Never.
func advance(next int64, n uint64, interval int64) int64 {
	if next > 0 && n > uint64(Never-1-next)/uint64(interval) || n > math.MaxInt64/uint64(interval) {
		return Never - 1
	}
	return next + int64(n)*interval
}

// Check looks whether the timer has expired, tells the Listener, and asks the clock for the
// next call. Clocks call it; nobody else needs to.
func (t *Timer) Check() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next == Never || t.waiting {
		return
	}
	now := t.clock.Now()
	n := t.expire(now)
	if n > 0 {
		t.listener.TimerExpired(n)
	}
	if t.next == Never {
		return
	}
	if n > 0 && t.lazy {
		t.waiting = true
		return
	}
	deadline := t.next
	if n > 0 {
		deadline = max(deadline, now+minSleep)
	}
	t.clock.Arm(t, deadline)
}

// Resume asks the clock again for the timer's next Check; the kernel calls it for every
// timer after all objects were loaded.
func (t *Timer) Resume() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next != Never && !t.waiting {
		t.clock.Arm(t, t.next)
	}
}
