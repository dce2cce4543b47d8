// Package spin looks at a word of shared memory until another process changes it, for as long as
// that is cheaper than to sleep.
//
// A process that is woken on an idle CPU of a virtual machine runs 20 to 50 µs later; one that
// looks sees an answer after a fraction of a microsecond. Looking helps only if the other side
// runs on another CPU, which is why each side publishes its CurrentCPU.
package spin

import (
	"sync"
	"time"
)

// While looks at *word until it is not value, which is true, or the time stamp counter has
// advanced by cycles. The goroutine cannot be preempted meanwhile.
func While(word *uint32, value uint32, cycles uint64) bool

// CurrentCPU is the number of the CPU that the caller runs on, or did a moment ago.
func CurrentCPU() uint32

// Counter is the time stamp counter.
func Counter() uint64

// CyclesPerMicrosecond is the counter's rate, roughly, measured in 20 µs when it is first asked
// for: it only bounds how long to look for something.
var CyclesPerMicrosecond = sync.OnceValue(measure)

func measure() uint64 {
	begin, tsc := time.Now(), Counter()
	for time.Since(begin) < 20*time.Microsecond {
	}
	return max(1, (Counter()-tsc)*1000/uint64(time.Since(begin).Nanoseconds()))
}
