package kernel

import "runsc/pkg/sentry/ktime"

// sleepTimeout ends a task's BlockUntil. A task has at most one, made by its first sleep
// with a deadline and used again by each later one; owned by the task goroutine.
type sleepTimeout struct {
	timer ktime.Timer
	// c has a token once the deadline has passed; capacity 1.
	c chan struct{} `state:"nosave"`
}

// TimerExpired implements ktime.Listener.
func (s *sleepTimeout) TimerExpired(uint64) {
	select {
	case s.c <- struct{}{}:
	default:
	}
}

// startTimeout arms the task's timeout for deadline (CLOCK_MONOTONIC, ns).
func (t *Task) startTimeout(deadline int64) *sleepTimeout {
	s := t.timeout
	if s == nil {
		s = &sleepTimeout{}
		s.timer.Init(t.k.monotonic, s)
		t.timeout = s
	}
	if s.c == nil {
		s.c = make(chan struct{}, 1)
	}
	select {
	case <-s.c: // of a sleep that ended otherwise
	default:
	}
	s.timer.Set(deadline, 0, true)
	return s
}
