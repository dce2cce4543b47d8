package ktime

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

type counter struct {
	n, calls atomic.Uint64
	sets     atomic.Uint64
}

func (c *counter) TimerExpired(n uint64) { c.n.Add(n); c.calls.Add(1) }
func (c *counter) TimerSet()             { c.sets.Add(1) }

func TestHostClocksAgreeWithTheHost(t *testing.T) {
	for _, c := range []*HostClock{NewRealtime(), NewMonotonic(0), NewBoottime(0)} {
		var a, b unix.Timespec
		unix.ClockGettime(c.ID(), &a)
		now := c.Now()
		unix.ClockGettime(c.ID(), &b)
		// A microsecond for the pairing of the two monotonic clocks.
		if now < a.Nano()-1000 || now > b.Nano()+1000 {
			t.Errorf("clock %d: %d not in [%d, %d]", c.ID(), now, a.Nano(), b.Nano())
		}
	}
	if d := NewMonotonic(int64(time.Hour)).Now() - NewMonotonic(0).Now(); d < int64(time.Hour)-int64(time.Second) || d > int64(time.Hour) {
		t.Errorf("offset of an hour moves the clock by %v", time.Duration(d))
	}
}

func TestMonotonicContinuesAfterLoad(t *testing.T) {
	c := NewMonotonic(12345)
	c.BeforeSave()
	saved := c.saved
	c.SetOffset(-int64(time.Hour)) // as if on another host
	c.AfterLoad()
	if d := c.Now() - saved; d < 0 || d > int64(time.Minute) {
		t.Errorf("clock went on %v after the save", time.Duration(d))
	}
}

func TestTimerPeriods(t *testing.T) {
	tests := []struct {
		name            string
		first, interval int64
		absolute        bool
		advance         int64
		want            uint64
		left            int64
	}{
		{"one shot not yet", 10, 0, false, 9, 0, 1},
		{"one shot", 10, 0, false, 10, 1, 0},
		{"absolute", 1010, 0, true, 10, 1, 0},
		{"absolute in the past", 5, 0, true, 1, 1, 0},
		{"periodic", 1e6, 1e6, false, 35e5, 3, 5e5},
		{"tiny interval reports overruns", 1, 1, false, 1e6, 1e6, 1},
		{"off", 0, 10, false, 100, 0, 0},
		{"huge", math.MaxInt64, 0, false, 100, 0, math.MaxInt64 - 1 - 1100},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			clock, l := NewManualClock(1000), &counter{}
			tm := NewTimer(clock, l)
			tm.Set(test.first, test.interval, test.absolute)
			clock.Advance(test.advance)
			if got := l.n.Load(); got > test.want || got+uint64(minSleep) < test.want {
				t.Errorf("%d expirations, want %d", got, test.want)
			}
			if left, _ := tm.Get(); left != test.left {
				t.Errorf("left %d, want %d", left, test.left)
			}
		})
	}
}

func TestSetReturnsOldSettingAndTellsListener(t *testing.T) {
	clock, l := NewManualClock(0), &counter{}
	tm := NewTimer(clock, l)
	tm.Set(100, 7, false)
	clock.Advance(40)
	if left, iv := tm.Set(0, 0, false); left != 60 || iv != 7 {
		t.Errorf("old setting %d, %d", left, iv)
	}
	if clock.Next() != Never {
		t.Error("a timer that is off still asks for the clock")
	}
	if l.sets.Load() != 2 {
		t.Errorf("TimerSet called %d times", l.sets.Load())
	}
}

func TestLazyTimerWaitsForForward(t *testing.T) {
	clock, l := NewManualClock(0), &counter{}
	tm := &Timer{}
	tm.InitLazy(clock, l)
	tm.Set(10, 10, false)
	clock.Advance(10)
	clock.Advance(35)
	if l.n.Load() != 1 || clock.Next() != Never {
		t.Fatalf("lazy timer reported %d and asks for %d", l.n.Load(), clock.Next())
	}
	if n := tm.Forward(); n != 3 {
		t.Errorf("overrun %d, want 3", n)
	}
	if n := tm.Forward(); n != 0 {
		t.Errorf("second Forward gives %d", n)
	}
	if left, _ := tm.Get(); left != 5 {
		t.Errorf("left %d", left)
	}
	clock.Advance(5)
	if l.n.Load() != 2 {
		t.Errorf("reports %d", l.n.Load())
	}
}

func TestNoCallAfterDestroy(t *testing.T) {
	clock := NewMonotonic(0)
	for range 200 {
		var dead atomic.Bool
		l := &deathWatch{dead: &dead}
		tm := NewTimer(clock, l)
		tm.Set(1000, 1000, false)
		time.Sleep(20 * time.Microsecond)
		tm.Destroy()
		dead.Store(true)
		tm.Set(1, 1, false)
		if l.late.Load() {
			t.Fatal("listener called after Destroy")
		}
	}
}

type deathWatch struct {
	dead *atomic.Bool
	late atomic.Bool
}

func (d *deathWatch) TimerExpired(uint64) {
	if d.dead.Load() {
		d.late.Store(true)
	}
}

func TestHostTimerFires(t *testing.T) {
	for _, c := range []Clock{NewRealtime(), NewMonotonic(0), NewBoottime(0)} {
		l := &counter{}
		tm := NewTimer(c, l)
		tm.Set(c.Now()+1e6, 1e6, true)
		for deadline := time.Now().Add(10 * time.Second); l.n.Load() < 3; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("timer did not fire")
			}
		}
		tm.Destroy()
	}
}

// TestHostTimerIsNeverEarly and, on a machine that is not overloaded, is late by much less
// than the millisecond of the run-time's timers; only the former can be asserted.
func TestHostTimerIsNeverEarly(t *testing.T) {
	c := NewMonotonic(0)
	var late []int64
	for i := range 100 {
		got := make(chan int64, 1)
		tm := NewTimer(c, listenerFunc(func() { got <- c.Now() }))
		at := c.Now() + int64(i%5)*1e6 + 1e5
		tm.Set(at, 0, true)
		now := <-got
		tm.Destroy()
		if now < at {
			t.Fatalf("expired %d ns early", at-now)
		}
		late = append(late, now-at)
	}
	slices.Sort(late)
	t.Logf("median %v late", time.Duration(late[len(late)/2]))
}

func TestAlarmListKeepsOrder(t *testing.T) {
	clock := NewManualClock(0)
	var mu sync.Mutex
	var order []int64
	var timers []*Timer
	for i := range int64(100) {
		at := (i*37)%100 + 1
		tm := NewTimer(clock, listenerFunc(func() { mu.Lock(); order = append(order, at); mu.Unlock() }))
		tm.Set(at, 0, false)
		timers = append(timers, tm)
	}
	for i, tm := range timers {
		if i%3 == 0 {
			tm.Destroy()
		}
	}
	clock.Advance(1000)
	if len(order) != 66 {
		t.Fatalf("%d timers fired", len(order))
	}
	for i := 1; i < len(order); i++ {
		if order[i] < order[i-1] {
			t.Fatalf("order %v", order)
		}
	}
}

type listenerFunc func()

func (f listenerFunc) TimerExpired(uint64) { f() }

func BenchmarkMonotonicNow(b *testing.B) {
	c := NewMonotonic(0)
	b.ReportAllocs()
	for range b.N {
		c.Now()
	}
}

func BenchmarkSetHostTimer(b *testing.B) {
	tm := NewTimer(NewMonotonic(0), &counter{})
	b.ReportAllocs()
	for range b.N {
		tm.Set(int64(time.Hour), 0, false)
	}
	tm.Destroy()
}
