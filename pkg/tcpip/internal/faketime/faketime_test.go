package faketime

import (
	"slices"
	"testing"
	"time"
)

func TestAdvanceRunsTimersInOrderOfTime(t *testing.T) {
	c := New()
	var got []string
	var at []time.Duration
	note := func(s string) func() {
		return func() { got, at = append(got, s), append(at, c.Monotonic()) }
	}
	c.AfterFunc(3*time.Second, note("c"))
	c.AfterFunc(time.Second, note("a"))
	c.AfterFunc(time.Second, note("b"))
	c.AfterFunc(9*time.Second, note("late"))
	c.AfterFunc(2*time.Second, func() { c.AfterFunc(time.Second/2, note("nested")) })
	c.Advance(5 * time.Second)
	if want := []string{"a", "b", "nested", "c"}; !slices.Equal(got, want) {
		t.Errorf("ran %q, want %q", got, want)
	}
	s := time.Second
	if want := []time.Duration{s, s, 5 * s / 2, 3 * s}; !slices.Equal(at, want) {
		t.Errorf("ran at %v, want %v", at, want)
	}
	if d, ok := c.Next(); c.Monotonic() != 5*s || c.Pending() != 1 || !ok || d != 4*s {
		t.Errorf("at %v with %d timers, next in %v, %v", c.Monotonic(), c.Pending(), d, ok)
	}
	if got := c.Now().Sub(epoch); got != 5*s {
		t.Errorf("the wall clock moved by %v", got)
	}
}

func TestStopAndResetSayWhetherTheCallWasToCome(t *testing.T) {
	c := New()
	n := 0
	tm := c.AfterFunc(time.Second, func() { n++ })
	if !tm.Reset(2 * time.Second) {
		t.Error("Reset of a pending timer is false")
	}
	c.Advance(time.Second)
	if n != 0 || !tm.Stop() || tm.Stop() {
		t.Errorf("ran %d times; Stop is true once", n)
	}
	if tm.Reset(0) {
		t.Error("Reset of a stopped timer is true")
	}
	c.Advance(0)
	if n != 1 || tm.Stop() || c.Pending() != 0 {
		t.Errorf("ran %d times, %d pending", n, c.Pending())
	}
}
