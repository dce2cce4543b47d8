package vdso

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// numClocks bounds the clock ids that the parameter page knows.
const numClocks = unix.CLOCK_TAI + 1

// userClocks are the clocks served from the parameter page (CLOCKS in text_amd64.s).
// CLOCK_MONOTONIC_RAW is CLOCK_MONOTONIC: the host's two differ by NTP's corrections only.
const userClocks = 1<<unix.CLOCK_REALTIME | 1<<unix.CLOCK_MONOTONIC | 1<<unix.CLOCK_MONOTONIC_RAW |
	1<<unix.CLOCK_REALTIME_COARSE | 1<<unix.CLOCK_MONOTONIC_COARSE | 1<<unix.CLOCK_BOOTTIME |
	1<<unix.CLOCK_TAI

// CoarseResolution is clock_getres(2) of the coarse clocks in nanoseconds: a tick of 250 Hz.
const CoarseResolution = 4_000_000

// Limits of the line, in nanoseconds.
const (
	maxValid    = 200_000_000 // longest life of parameters
	minValid    = 1_000_000
	maxError    = 1_000  // distance from the host that a line may reach by its rate's error
	poorError   = 2_000  // a prediction worse than this shortens the next lines
	badError    = 20_000 // … and worse than this, plus 1/1000 of the time, is no prediction
	rotate      = 500_000_000
	minBaseline = 200_000
	maxBad      = 8 // bad predictions in a row before the counter is given up
)

// sample is one reading of counter and host clock.
type sample struct {
	tsc  uint64
	mono int64
	// window is the time in which both were read, in cycles: the reading may be wrong by
	// half of it.
	window uint64
}

// Options are what New needs to know of the sandbox.
type Options struct {
	// NumCPUs is how many CPUs the sandbox shows.
	NumCPUs int
	// NoCPUSegment says that applications do not run with the host's segment tables, so
	// that getcpu has to ask.
	NoCPUSegment bool
}

// Clock is the kernel's clock: CLOCK_MONOTONIC and CLOCK_REALTIME of the sandbox, for the
// sentry and, through the parameter page of its Image, for applications. All times are
// nanoseconds. Its methods may be called by any goroutine.
type Clock struct {
	image *Image  `state:"nosave"`
	page  *params `state:"nosave"`
	src   source  `state:"nosave"`
	opts  Options

	mu sync.Mutex // guards the fields below and writes of page
	// usable: the counter may be used at all.
	usable bool `state:"nosave"`
	// older and newer are samples for the rate, newer at most rotate old when it was made
	// the next older; last is the latest.
	older, newer, last sample `state:"nosave"`
	// limit is the longest life that a line gets at present.
	limit int64 `state:"nosave"`
	bad   int   `state:"nosave"` // bad predictions in a row
	// hostOffset is CLOCK_MONOTONIC here minus the host's.
	hostOffset int64 `state:"nosave"`
	// realLow and realHigh bound CLOCK_REALTIME minus CLOCK_MONOTONIC of the host.
	realLow, realHigh int64 `state:"nosave"`
	// floor is the latest time that may have been read from the page. The host's clock is
	// not returned before it has come so far.
	floor int64 `state:"nosave"`
	// savedMono is CLOCK_MONOTONIC when the kernel was saved.
	savedMono int64
}

// New makes the vDSO image and its clock. It opens nothing that it needs afterwards by path,
// and must run before the sandbox locks down.
func New(o Options) (*Clock, error) {
	c := &Clock{opts: o}
	if err := c.init(hostSource{}, counterUsable()); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Clock) init(src source, usable bool) error {
	im, err := newImage()
	if err != nil {
		return err
	}
	c.image, c.src, c.usable = im, src, usable
	c.page = (*params)(unsafe.Pointer(unsafe.SliceData(im.mem)))
	c.limit = maxValid
	c.resetReal()
	c.page.numCPU.Store(uint32(max(c.opts.NumCPUs, 1)))
	c.page.coarseRes.Store(CoarseResolution)
	if _, ok := cpuSegment(); ok && !c.opts.NoCPUSegment {
		c.page.cpuMode.Store(1)
	}
	c.older = c.sample()
	c.newer, c.last = c.older, c.older
	return nil
}

// Image is what applications map.
func (c *Clock) Image() *Image { return c.image }

// Release frees the host's resources. No application may run and no method be called.
func (c *Clock) Release() { c.image.release() }

// BeforeSave notes the time for a checkpoint.
func (c *Clock) BeforeSave() { c.savedMono = c.Monotonic() }

// AfterLoad makes the host's half again; CLOCK_MONOTONIC goes on where it was saved.
func (c *Clock) AfterLoad() error {
	if err := c.init(hostSource{}, counterUsable()); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hostOffset = c.savedMono - c.src.Monotonic()
	return nil
}

// IsUserClock says whether id is a clock that Now serves (and applications read by
// themselves).
func IsUserClock(id int32) bool {
	return id >= 0 && id < numClocks && userClocks&(1<<uint(id)) != 0
}

// Monotonic is CLOCK_MONOTONIC.
func (c *Clock) Monotonic() int64 { return c.Now(unix.CLOCK_MONOTONIC) }

// Realtime is CLOCK_REALTIME.
func (c *Clock) Realtime() int64 { return c.Now(unix.CLOCK_REALTIME) }

// Now reads the clock id, for which IsUserClock must be true.
func (c *Clock) Now(id int32) int64 {
	if ns, ok := c.page.read(int(id), c.src); ok {
		return ns
	}
	return c.refreshAndRead(int(id))
}

func (c *Clock) refreshAndRead(id int) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.usable {
		if ns, ok := c.page.read(id, c.src); ok { // somebody else did it meanwhile
			return ns
		}
		c.refresh()
	}
	if c.usable {
		// The page is fresh. If this goroutine lost the CPU for longer than the
		// page lasts, its time is still a true one.
		var ns int64
		l := line{c.page.tscBase.Load(), c.page.valid.Load(), c.page.mult.Load(), c.page.monoBase.Load()}
		ns, inside := l.at(c.src.TSC())
		if !inside {
			ns = l.monoBase + scale(l.valid, l.mult)
		}
		return ns + c.page.offsets[id].Load()
	}
	c.measureReal()
	mono := max(c.src.Monotonic()+c.hostOffset, c.floor)
	c.floor = mono
	return mono + c.offsets()[id]
}

// Refresh reads the host's clock if the parameters have passed half of their life. The
// kernel calls it when it is running anyway, so that busy applications seldom meet the end.
func (c *Clock) Refresh() {
	base, valid := c.page.tscBase.Load(), c.page.valid.Load()
	if c.page.mode.Load() == 0 || c.src.TSC()-base < valid/2 || !c.mu.TryLock() {
		return
	}
	defer c.mu.Unlock()
	c.refresh()
}

// sample reads counter and clock, several times to find a reading that nothing interrupted.
func (c *Clock) sample() sample {
	best := sample{window: ^uint64(0)}
	for range 6 {
		before := c.src.TSC()
		mono := c.src.Monotonic()
		after := c.src.TSC()
		if w := after - before; w < best.window {
			best = sample{before + w/2, mono, w}
		}
	}
	return best
}

// resetReal forgets what is known of the distance between the host's two clocks.
func (c *Clock) resetReal() { c.realLow, c.realHigh = -1<<62, 1<<62 }

// measureReal learns CLOCK_REALTIME - CLOCK_MONOTONIC of the host. It is constant until
// somebody sets the clock, so that every measurement narrows the bounds.
func (c *Clock) measureReal() {
	before := c.src.Monotonic()
	real := c.src.Realtime()
	after := c.src.Monotonic()
	low, high := real-after, real-before
	if low > c.realHigh || high < c.realLow {
		c.realLow, c.realHigh = low, high
		return
	}
	c.realLow, c.realHigh = max(low, c.realLow), min(high, c.realHigh)
}

// offsets are all clocks relative to CLOCK_MONOTONIC.
func (c *Clock) offsets() *[numClocks]int64 {
	var o [numClocks]int64
	real := c.realLow + (c.realHigh-c.realLow)/2 - c.hostOffset
	o[unix.CLOCK_REALTIME], o[unix.CLOCK_REALTIME_COARSE], o[unix.CLOCK_TAI] = real, real, real
	return &o
}

// refresh publishes new parameters, or switches the page off if the counter turns out to be
// no clock. c.mu is held.
func (c *Clock) refresh() {
	now := c.sample()
	for now.mono-c.older.mono < minBaseline && now.tsc > c.older.tsc {
		now = c.sample() // only in the first moments of a kernel
	}
	c.measureReal()
	now = c.judge(now)
	mult := ratio(uint64(now.mono-c.older.mono), now.tsc-c.older.tsc)
	if now.tsc <= c.older.tsc || mult == 0 {
		c.usable = false
	}
	c.last = now
	valid := c.life(now, mult)
	if now.mono-c.newer.mono > rotate {
		c.older, c.newer = c.newer, now
	}

	c.page.update(func(old line) (line, uint32, *[numClocks]int64) {
		tsc := c.src.TSC()
		end := tsc
		if tsc-old.tscBase > old.valid {
			end = old.tscBase + old.valid // nobody has read a later time than this
		}
		shown, _ := old.at(end)
		c.floor = max(c.floor, shown)
		if !c.usable {
			return line{}, 0, c.offsets()
		}
		host := now.mono + scale(max(tsc, now.tsc)-now.tsc, mult) + c.hostOffset
		l := line{tscBase: tsc, mult: mult, valid: ratio(uint64(valid), mult), monoBase: host}
		if ahead := c.floor - host; ahead > 0 {
			// Slow down so that the host has caught up when the line ends.
			l.monoBase = c.floor
			slower := max(valid-ahead, valid/2)
			l.mult = ratio(uint64(slower), l.valid)
		}
		return l, 1, c.offsets()
	})
}

// judge compares the host's time with what was predicted. After a counter that stopped, was
// set, or runs at another speed now (the host slept, or moved), the rate is measured anew. It
// returns the sample to go on with.
func (c *Clock) judge(now sample) sample {
	mult := c.page.mult.Load()
	if mult == 0 {
		return now // nothing was predicted yet
	}
	// Rates, not lines, are judged: a line may be slewing.
	rate := ratio(uint64(c.last.mono-c.older.mono), c.last.tsc-c.older.tsc)
	elapsed := now.mono - c.last.mono
	err := elapsed - scale(now.tsc-c.last.tsc, rate)
	if err < 0 {
		err = -err
	}
	slack := scale(now.window+c.last.window, mult)
	switch {
	case now.tsc <= c.last.tsc, elapsed < 0, err > badError+slack+elapsed/1000:
		if c.bad++; c.bad > maxBad {
			c.usable = false
			return now
		}
		c.older, c.newer = now, now
		c.limit = minValid
		for now.mono-c.older.mono < minBaseline {
			if now = c.sample(); now.tsc <= c.older.tsc {
				c.usable = false
				return now
			}
		}
	case err > poorError+slack:
		c.limit = max(c.limit/4, minValid)
		c.bad = 0
	default:
		c.limit = min(c.limit*2, maxValid)
		c.bad = 0
	}
	return now
}

// life is how long a line may last, in nanoseconds: until the error of its rate, which is
// that of the two samples over their distance, makes maxError.
func (c *Clock) life(now sample, mult uint64) int64 {
	ns := scale((now.window+c.older.window)/2, mult) + 1
	return max(min(c.limit, maxError*((now.mono-c.older.mono)/ns)), minValid/4)
}

// Frequency is the time stamp counter's rate in Hz, 0 if it is not known.
func (c *Clock) Frequency() uint64 {
	c.Monotonic() // there is a line afterwards
	mult := c.page.mult.Load()
	if mult == 0 {
		return 0
	}
	return ratio(1e9, mult)
}
