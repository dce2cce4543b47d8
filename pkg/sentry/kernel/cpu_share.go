package kernel

import (
	"sync"
	"sync/atomic"

	"runsc/pkg/sentry/ktime"
)

// cpuShare is the clock that CPU time is measured with. It is CLOCK_MONOTONIC as long as there
// is a processor for each task that is not asleep. While there are more such tasks, it runs
// slower: a task that wants to run gets a part of a processor, which only the host knows
// exactly, and which is the same for all if the host is fair. It never goes back.
type cpuShare struct {
	clock ktime.Clock
	cpus  int64

	// wanting counts the tasks that are not asleep.
	wanting atomic.Int64 `state:"nosave"`

	mu  sync.Mutex    // held while the fields below change
	seq atomic.Uint32 // odd while they do

	lost atomic.Int64 // ns of clock up to from that no task got
	from atomic.Int64
	many atomic.Int64 // wanting since then
}

// now is the time in nanoseconds.
func (c *cpuShare) now() int64 {
	for {
		seq := c.seq.Load()
		lost, from, many := c.lost.Load(), c.from.Load(), c.many.Load()
		// Read in between, so that it does not lie before from.
		now := c.clock.Now()
		if seq&1 == 0 && c.seq.Load() == seq {
			return now - lost - c.lostSince(now-from, many)
		}
	}
}

// lostSince is what none of many tasks got in a span.
func (c *cpuShare) lostSince(span, many int64) int64 {
	if many <= c.cpus {
		return 0
	}
	return span - span*c.cpus/many
}

// change says that by more tasks want to run from now on.
func (c *cpuShare) change(by int64) {
	if n := c.wanting.Add(by); max(n, n-by) <= c.cpus {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq.Add(1)
	now := c.clock.Now()
	c.lost.Add(c.lostSince(now-c.from.Load(), c.many.Load()))
	c.from.Store(now)
	c.many.Store(c.wanting.Load())
	c.seq.Add(1)
}
