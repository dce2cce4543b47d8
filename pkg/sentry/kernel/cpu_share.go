package kernel

import (
	"sync"
	"sync/atomic"
)

// cpuShare is the clock that CPU time is measured with. It is CLOCK_MONOTONIC as long as there
// is a processor for each task that is not asleep. While there are more such tasks, it runs
// slower: a task that wants to run gets a part of a processor, which only the host knows
// exactly, and which is the same for all if the host is fair.
type cpuShare struct {
	cpus int64

	// wanting counts the tasks that are not asleep.
	wanting atomic.Int64 `state:"nosave"`

	mu  sync.Mutex    // held while the fields below change
	seq atomic.Uint32 // odd while they do

	lost atomic.Int64 // ns of CLOCK_MONOTONIC up to from that no task got
	from atomic.Int64
	many atomic.Int64 // wanting since then
}

// now is the time of the clock at the time mono of CLOCK_MONOTONIC, both in nanoseconds.
func (c *cpuShare) now(mono int64) int64 {
	for {
		seq := c.seq.Load()
		lost, from, many := c.lost.Load(), c.from.Load(), c.many.Load()
		if seq&1 == 0 && c.seq.Load() == seq {
			return mono - lost - c.lostSince(mono-from, many)
		}
	}
}

// lostSince is what none of many tasks got in a span.
func (c *cpuShare) lostSince(span, many int64) int64 {
	if many <= c.cpus || span <= 0 {
		return 0
	}
	return span - span*c.cpus/many
}

// change says that by more tasks want to run from mono on.
func (c *cpuShare) change(by, mono int64) {
	if n := c.wanting.Add(by); max(n, n-by) <= c.cpus {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq.Add(1)
	c.lost.Add(c.lostSince(mono-c.from.Load(), c.many.Load()))
	c.from.Store(max(mono, c.from.Load()))
	c.many.Store(c.wanting.Load())
	c.seq.Add(1)
}

// cpuNow is the time that CPU times are measured with.
func (k *Kernel) cpuNow() int64 { return k.cpuShare.now(k.monotonic.Now()) }
