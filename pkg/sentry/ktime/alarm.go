package ktime

import (
	"sync"
	"sync/atomic"
)

// alarm is a timer's place in an AlarmList.
type alarm struct {
	deadline int64
	pos      int // index in the heap plus one; 0: not in it
}

// AlarmList holds the timers of a clock that the kernel advances itself. It implements Arm
// and Disarm of Clock; whoever advances the clock calls Expire, or compares Next first,
// which is one atomic load (a CPU clock's accounting does so at each tick). The zero value
// is empty.
type AlarmList struct {
	// Kick, if not nil, is told when the earliest deadline changed, so that the owner
	// can begin to account the clock more closely. It is called with Timer locks held and
	// must not call timers.
	Kick Kicker

	next atomic.Int64 // earliest deadline + 1, or 0 if none: the zero value is right

	mu   sync.Mutex // guards heap and the alarms of the timers in it
	heap []*Timer
}

// Kicker hears that a clock's earliest deadline changed.
type Kicker interface{ AlarmChanged(next int64) }

// Next is the earliest deadline, or Never.
func (l *AlarmList) Next() int64 {
	if n := l.next.Load(); n != 0 {
		return n - 1
	}
	return Never
}

// Arm implements part of Clock.
func (l *AlarmList) Arm(t *Timer, deadline int64) {
	l.mu.Lock()
	t.alarm.deadline = deadline
	if t.alarm.pos == 0 {
		l.heap = append(l.heap, t)
		t.alarm.pos = len(l.heap)
	}
	l.fix(t.alarm.pos - 1)
	l.unlock()
}

// Disarm implements part of Clock.
func (l *AlarmList) Disarm(t *Timer) {
	if l.next.Load() == 0 {
		return // empty: what t itself armed before was removed
	}
	l.mu.Lock()
	if t.alarm.pos != 0 {
		l.remove(t.alarm.pos - 1)
	}
	l.unlock()
}

// Expire calls Check of every timer whose deadline is at most now. The caller holds no lock
// that a Listener takes.
func (l *AlarmList) Expire(now int64) {
	for l.Next() <= now {
		l.mu.Lock()
		if len(l.heap) == 0 || l.heap[0].alarm.deadline > now {
			l.mu.Unlock()
			return
		}
		t := l.heap[0]
		l.remove(0)
		l.unlock()
		t.Check()
	}
}

// unlock publishes the earliest deadline and lets go.
func (l *AlarmList) unlock() {
	n := int64(0)
	if len(l.heap) > 0 {
		n = min(l.heap[0].alarm.deadline, Never-1) + 1
	}
	changed := l.next.Swap(n) != n
	l.mu.Unlock()
	if changed && l.Kick != nil {
		l.Kick.AlarmChanged(l.Next())
	}
}

func (l *AlarmList) less(i, j int) bool {
	return l.heap[i].alarm.deadline < l.heap[j].alarm.deadline
}

func (l *AlarmList) swap(i, j int) {
	l.heap[i], l.heap[j] = l.heap[j], l.heap[i]
	l.heap[i].alarm.pos, l.heap[j].alarm.pos = i+1, j+1
}

// fix restores the heap's order around index i.
func (l *AlarmList) fix(i int) {
	for i > 0 && l.less(i, (i-1)/2) {
		l.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	for {
		c := 2*i + 1
		if c >= len(l.heap) {
			return
		}
		if c+1 < len(l.heap) && l.less(c+1, c) {
			c++
		}
		if !l.less(c, i) {
			return
		}
		l.swap(i, c)
		i = c
	}
}

func (l *AlarmList) remove(i int) {
	last := len(l.heap) - 1
	t := l.heap[i]
	l.swap(i, last)
	l.heap[last] = nil
	l.heap = l.heap[:last]
	t.alarm.pos = 0
	if i < last {
		l.fix(i)
	}
}

// ManualClock is a clock for tests: it stands until Advance moves it.
type ManualClock struct {
	AlarmList
	now atomic.Int64
}

// NewManualClock returns a clock that shows now.
func NewManualClock(now int64) *ManualClock {
	c := &ManualClock{}
	c.now.Store(now)
	return c
}

// Now implements Clock.
func (c *ManualClock) Now() int64 { return c.now.Load() }

// Advance moves the clock by d nanoseconds, stopping at each deadline on the way.
func (c *ManualClock) Advance(d int64) {
	end := c.now.Load() + d
	for {
		n := c.Next()
		if n > end {
			break
		}
		c.now.Store(max(n, c.now.Load()))
		c.Expire(c.Now())
	}
	c.now.Store(end)
}
