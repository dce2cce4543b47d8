package vdso

import (
	"math/bits"
	"os"
	"strings"
	"time"
	_ "unsafe" // for go:linkname
)

// source is where time comes from: the host, or a test.
type source interface {
	TSC() uint64
	// Monotonic and Realtime are the host's clocks in nanoseconds.
	Monotonic() int64
	Realtime() int64
}

type hostSource struct{}

// nanotime is the Go runtime's reading of CLOCK_MONOTONIC, by the host's vDSO. (A system call
// would take longer than what it measures.)
//
//go:linkname nanotime runtime.nanotime
func nanotime() int64

// TSC implements source.
func (hostSource) TSC() uint64 { return rdtsc() }

// Monotonic implements source.
func (hostSource) Monotonic() int64 { return nanotime() }

// Realtime implements source.
func (hostSource) Realtime() int64 { return time.Now().UnixNano() }

// clocksourceFile names what the host keeps its time by. It is read when the file can be seen.
const clocksourceFile = "/sys/devices/system/clocksource/clocksource0/current_clocksource"

// counterUsable says whether the time stamp counter ticks at a constant rate in all power
// states, and the host uses it for its own time as far as we can see.
func counterUsable() bool {
	if top, _, _, _ := cpuid(0x80000000); top < 0x80000007 {
		return false
	}
	if _, _, _, edx := cpuid(0x80000007); edx&(1<<8) == 0 {
		return false
	}
	if b, err := os.ReadFile(clocksourceFile); err == nil {
		// A guest's kvm-clock is this counter with the host's parameters. Should they
		// change, Clock.judge learns the new rate.
		name := strings.TrimSpace(string(b))
		return name == "tsc" || name == "kvm-clock"
	}
	return true
}

// scale is cycles * mult / 2^32, saturating.
func scale(cycles, mult uint64) int64 {
	hi, lo := bits.Mul64(cycles, mult)
	if hi >= 1<<31 {
		return 1<<63 - 1
	}
	return int64(hi<<32 | lo>>32)
}

// ratio is a * 2^32 / b; 0 if it is no 64-bit number.
func ratio(a, b uint64) uint64 {
	hi, lo := a>>32, a<<32
	if hi >= b {
		return 0
	}
	q, _ := bits.Div64(hi, lo, b)
	return q
}
