package vdso

import (
	"sync/atomic"
	"unsafe"
)

// params is the parameter page. Its layout is known to text_amd64.s. The sentry writes it
// under Clock.mu, applications only read it.
type params struct {
	seq      atomic.Uint32 // odd while the fields below change
	mode     atomic.Uint32 // 1: the counter may be used; 0: make the system call
	tscBase  atomic.Uint64
	valid    atomic.Uint64 // cycles from tscBase for which the line holds
	mult     atomic.Uint64 // nanoseconds per cycle, times 2^32
	monoBase atomic.Int64  // CLOCK_MONOTONIC at tscBase
	numCPU   atomic.Uint32
	cpuMode  atomic.Uint32 // 1: getcpu may use the CPU number segment
	// coarseRes is clock_getres(2) of the coarse clocks, in nanoseconds.
	coarseRes atomic.Int64
	_         [8]byte
	// offsets are the clocks by id, relative to CLOCK_MONOTONIC.
	offsets [numClocks]atomic.Int64
}

// The struct fits its page and starts its table where the text reads it.
var (
	_ [VVarSize - unsafe.Sizeof(params{})]byte
	_ [64 - unsafe.Offsetof(params{}.offsets)]byte
	_ [unsafe.Offsetof(params{}.offsets) - 64]byte
	_ [unsafe.Offsetof(params{}.coarseRes) - 48]byte
)

// line is a consistent copy of the part of params that makes up the time.
type line struct {
	tscBase, valid, mult uint64
	monoBase             int64
}

// at is the line's time at the counter value tsc. inside is false beyond the line's end,
// where at extrapolates.
func (l line) at(tsc uint64) (ns int64, inside bool) {
	var delta uint64
	if tsc > l.tscBase { // another CPU's counter may be a few cycles behind
		delta = tsc - l.tscBase
	}
	return l.monoBase + scale(delta, l.mult), delta <= l.valid
}

// read takes a snapshot of the line and the offset of a clock. ok is false when the page is
// switched off; writers are waited for (they are goroutines of this process, and quick).
func (p *params) read(clock int, src source) (ns int64, ok bool) {
	for range 64 {
		seq := p.seq.Load()
		if seq&1 != 0 {
			continue
		}
		if p.mode.Load() == 0 {
			return 0, false
		}
		l := line{p.tscBase.Load(), p.valid.Load(), p.mult.Load(), p.monoBase.Load()}
		off := p.offsets[clock].Load()
		ns, ok = l.at(src.TSC())
		if p.seq.Load() == seq {
			return ns + off, ok
		}
	}
	return 0, false
}

// update publishes what f returns. f runs between the two changes of the sequence number, and
// reads the counter there: no reader can use the old line for a later counter value.
func (p *params) update(f func(old line) (line, uint32, *[numClocks]int64)) {
	p.seq.Add(1)
	l, mode, offsets := f(line{p.tscBase.Load(), p.valid.Load(), p.mult.Load(), p.monoBase.Load()})
	p.mode.Store(mode)
	p.tscBase.Store(l.tscBase)
	p.valid.Store(l.valid)
	p.mult.Store(l.mult)
	p.monoBase.Store(l.monoBase)
	for i, o := range offsets {
		p.offsets[i].Store(o)
	}
	p.seq.Add(1)
}
