package syscalls

import (
	"math"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/ktime"
	"runsc/pkg/sentry/loader/vdso"
	"runsc/pkg/sentry/strace"
)

var timeSyscalls = []kernel.Syscall{
	{Number: unix.SYS_CLOCK_GETTIME, Name: "clock_gettime", Fn: clockGettime, Args: []strace.Format{strace.ClockID, strace.TimespecOut}},
	{Number: unix.SYS_CLOCK_GETRES, Name: "clock_getres", Fn: clockGetres, Args: []strace.Format{strace.ClockID, strace.TimespecOut}},
	{Number: unix.SYS_CLOCK_SETTIME, Name: "clock_settime", Fn: clockSettime, Args: []strace.Format{strace.ClockID, strace.Timespec}, Support: kernel.Partial, Note: "always EPERM"},
	{Number: unix.SYS_CLOCK_ADJTIME, Name: "clock_adjtime", Fn: clockAdjtime, Args: []strace.Format{strace.ClockID, strace.Hex}, Support: kernel.Partial, Note: "always EPERM"},
	{Number: unix.SYS_ADJTIMEX, Name: "adjtimex", Fn: adjtimex, Args: []strace.Format{strace.Hex}, Support: kernel.Partial, Note: "always EPERM"},
	{Number: unix.SYS_SETTIMEOFDAY, Name: "settimeofday", Fn: settimeofday, Args: []strace.Format{strace.Timeval, strace.Hex}, Support: kernel.Partial, Note: "always EPERM"},
	{Number: unix.SYS_CLOCK_NANOSLEEP, Name: "clock_nanosleep", Fn: clockNanosleep, Args: []strace.Format{strace.ClockID, strace.Hex, strace.Timespec, strace.TimespecOut}},
	{Number: unix.SYS_NANOSLEEP, Name: "nanosleep", Fn: nanosleep, Args: []strace.Format{strace.Timespec, strace.TimespecOut}},
	{Number: unix.SYS_GETTIMEOFDAY, Name: "gettimeofday", Fn: gettimeofday, Args: []strace.Format{strace.TimevalOut, strace.Hex}},
	{Number: unix.SYS_TIME, Name: "time", Fn: timeCall, Args: []strace.Format{strace.Hex}},
	{Number: unix.SYS_ALARM, Name: "alarm", Fn: alarm, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_SETITIMER, Name: "setitimer", Fn: setitimer, Args: []strace.Format{strace.Dec, strace.Itimerval, strace.ItimervalOut}},
	{Number: unix.SYS_GETITIMER, Name: "getitimer", Fn: getitimer, Args: []strace.Format{strace.Dec, strace.ItimervalOut}},
	{Number: unix.SYS_TIMER_CREATE, Name: "timer_create", Fn: timerCreate, Args: []strace.Format{strace.ClockID, strace.Hex, strace.Hex}},
	{Number: unix.SYS_TIMER_SETTIME, Name: "timer_settime", Fn: timerSettime, Args: []strace.Format{strace.Dec, strace.Hex, strace.Itimerspec, strace.ItimerspecOut}},
	{Number: unix.SYS_TIMER_GETTIME, Name: "timer_gettime", Fn: timerGettime, Args: []strace.Format{strace.Dec, strace.ItimerspecOut}},
	{Number: unix.SYS_TIMER_GETOVERRUN, Name: "timer_getoverrun", Fn: timerGetoverrun, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_TIMER_DELETE, Name: "timer_delete", Fn: timerDelete, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_TIMES, Name: "times", Fn: times, Args: []strace.Format{strace.Hex}},
	{Number: unix.SYS_GETRUSAGE, Name: "getrusage", Fn: getrusage, Args: []strace.Format{strace.Dec, strace.Rusage}},
}

const nsPerSec = 1_000_000_000

// timespec checks and converts; the result saturates.
func durationOf(ts unix.Timespec) (int64, error) {
	if ts.Sec < 0 || ts.Nsec < 0 || ts.Nsec >= nsPerSec {
		return 0, unix.EINVAL
	}
	if ts.Sec >= math.MaxInt64/nsPerSec {
		return math.MaxInt64, nil
	}
	return ts.Sec*nsPerSec + ts.Nsec, nil
}

func copyInDuration(t *kernel.Task, addr uintptr) (int64, error) {
	var ts unix.Timespec
	if err := kernel.CopyIn(t, addr, &ts); err != nil {
		return 0, err
	}
	return durationOf(ts)
}

// addDuration is now+d without overflow.
func addDuration(now, d int64) int64 {
	if d > math.MaxInt64-now {
		return math.MaxInt64
	}
	return now + d
}

func timevalDuration(tv unix.Timeval) (int64, error) {
	if tv.Sec < 0 || tv.Usec < 0 || tv.Usec >= 1_000_000 {
		return 0, unix.EINVAL
	}
	if tv.Sec >= math.MaxInt64/nsPerSec {
		return math.MaxInt64, nil
	}
	return tv.Sec*nsPerSec + tv.Usec*1000, nil
}

// clockOf finds the clock with that number. Numbers below 0 are CPU-time clocks of a
// process or thread: ~id<<3 | per-thread 4 | kind (clock_getcpuclockid(3)).
func clockOf(t *kernel.Task, id int32) (ktime.Clock, error) {
	k := t.Kernel()
	switch id {
	case unix.CLOCK_REALTIME, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_REALTIME_ALARM:
		return k.Realtime(), nil
	case unix.CLOCK_MONOTONIC, unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_MONOTONIC_COARSE:
		return k.Monotonic(), nil
	case unix.CLOCK_BOOTTIME, unix.CLOCK_BOOTTIME_ALARM:
		return k.Boottime(), nil
	case unix.CLOCK_TAI:
		return k.Realtime(), nil
	case unix.CLOCK_PROCESS_CPUTIME_ID:
		return t.ThreadGroup().CPUClock(false), nil
	case unix.CLOCK_THREAD_CPUTIME_ID:
		return t.CPUClock(), nil
	}
	if id >= 0 || id&3 == 3 {
		return nil, unix.EINVAL
	}
	pid := ^(id >> 3)
	target := t
	if pid != 0 {
		target = t.PIDNamespace().Task(pid)
	}
	if target == nil {
		return nil, unix.EINVAL
	}
	if id&4 != 0 {
		if target.ThreadGroup() != t.ThreadGroup() {
			return nil, unix.EINVAL
		}
		return target.CPUClock(), nil
	}
	return target.ThreadGroup().CPUClock(id&3 == 1), nil
}

func clockGettime(t *kernel.Task, a arch.Args) (uintptr, error) {
	var now int64
	if id := a.Int(0); vdso.IsUserClock(id) {
		// The same clock that applications read without asking.
		now = t.Kernel().VDSO().Now(id)
	} else {
		c, err := clockOf(t, id)
		if err != nil {
			return 0, err
		}
		now = c.Now()
	}
	ts := unix.NsecToTimespec(now)
	return 0, kernel.CopyOut(t, a.Pointer(1), &ts)
}

func clockGetres(t *kernel.Task, a arch.Args) (uintptr, error) {
	id := a.Int(0)
	if _, err := clockOf(t, id); err != nil {
		return 0, err
	}
	ts := unix.Timespec{Nsec: 1}
	if id == unix.CLOCK_REALTIME_COARSE || id == unix.CLOCK_MONOTONIC_COARSE {
		ts.Nsec = 4_000_000
	}
	if p := a.Pointer(1); p != 0 {
		return 0, kernel.CopyOut(t, p, &ts)
	}
	return 0, nil
}

func clockSettime(t *kernel.Task, a arch.Args) (uintptr, error) {
	if _, err := copyInDuration(t, a.Pointer(1)); err != nil {
		return 0, err
	}
	if a.Int(0) != unix.CLOCK_REALTIME {
		return 0, unix.EINVAL
	}
	return 0, unix.EPERM
}

func clockAdjtime(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int(0) != unix.CLOCK_REALTIME {
		return 0, unix.EINVAL
	}
	return adjtimexAt(t, a.Pointer(1))
}

func adjtimex(t *kernel.Task, a arch.Args) (uintptr, error) { return adjtimexAt(t, a.Pointer(0)) }

// adjtimexAt answers questions (modes 0) and refuses changes.
func adjtimexAt(t *kernel.Task, addr uintptr) (uintptr, error) {
	var x unix.Timex
	if err := kernel.CopyIn(t, addr, &x); err != nil {
		return 0, err
	}
	if x.Modes != 0 {
		return 0, unix.EPERM
	}
	const staUnsync, timeError = 0x40, 5
	x = unix.Timex{Status: staUnsync, Tick: 10000, Maxerror: 16000000, Esterror: 16000000, Tolerance: 32768000, Precision: 1,
		Time: unix.NsecToTimeval(t.RealTime())}
	return timeError, kernel.CopyOut(t, addr, &x)
}

func settimeofday(t *kernel.Task, a arch.Args) (uintptr, error) {
	if p := a.Pointer(0); p != 0 {
		var tv unix.Timeval
		if err := kernel.CopyIn(t, p, &tv); err != nil {
			return 0, err
		}
		if tv.Usec < 0 || tv.Usec > 1_000_000 || tv.Sec < 0 {
			return 0, unix.EINVAL
		}
	}
	return 0, unix.EPERM
}

func gettimeofday(t *kernel.Task, a arch.Args) (uintptr, error) {
	if p := a.Pointer(0); p != 0 {
		tv := unix.NsecToTimeval(t.RealTime())
		if err := kernel.CopyOut(t, p, &tv); err != nil {
			return 0, err
		}
	}
	if p := a.Pointer(1); p != 0 {
		var tz [2]int32
		return 0, kernel.CopyOut(t, p, &tz)
	}
	return 0, nil
}

func timeCall(t *kernel.Task, a arch.Args) (uintptr, error) {
	sec := t.RealTime() / nsPerSec
	if p := a.Pointer(0); p != 0 {
		if err := kernel.CopyOut(t, p, &sec); err != nil {
			return 0, err
		}
	}
	return uintptr(sec), nil
}

// sleepRestart goes on with a relative sleep that a signal without handler interrupted.
type sleepRestart struct {
	clock    ktime.Clock
	deadline int64 // on clock
	rem      uintptr
}

// Restart implements kernel.RestartBlock.
func (s *sleepRestart) Restart(t *kernel.Task) (uintptr, error) {
	return sleepUntil(t, s.clock, s.deadline, false, s.rem)
}

// sleepTimer wakes a task when a clock other than CLOCK_MONOTONIC reaches a time.
type sleepTimer struct{ t *kernel.Task }

// TimerExpired implements ktime.Listener.
func (s *sleepTimer) TimerExpired(uint64) { s.t.Wake() }

// sleepUntil sleeps until clock shows deadline. absolute says how an interruption ends:
// absolute sleeps restart as they were, relative ones by restart_syscall(2).
func sleepUntil(t *kernel.Task, clock ktime.Clock, deadline int64, absolute bool, rem uintptr) (uintptr, error) {
	var timer *ktime.Timer
	if clock != t.Kernel().Monotonic() {
		timer = ktime.NewTimer(clock, &sleepTimer{t})
		timer.Set(deadline, 0, true)
		defer timer.Destroy()
	}
	for {
		left := deadline - clock.Now()
		if left <= 0 {
			return 0, nil
		}
		var err error
		if timer != nil {
			err = t.Block()
		} else {
			err = t.BlockUntil(deadline)
		}
		switch {
		case err == nil || err == unix.ETIMEDOUT:
			continue
		case absolute:
			return 0, linux.ERESTARTNOHAND
		}
		if rem != 0 {
			ts := unix.NsecToTimespec(max(deadline-clock.Now(), 0))
			if err := kernel.CopyOut(t, rem, &ts); err != nil {
				return 0, err
			}
		}
		return 0, t.SetRestartBlock(&sleepRestart{clock, deadline, rem})
	}
}

func nanosleep(t *kernel.Task, a arch.Args) (uintptr, error) {
	d, err := copyInDuration(t, a.Pointer(0))
	if err != nil {
		return 0, err
	}
	c := t.Kernel().Monotonic()
	return sleepUntil(t, c, addDuration(c.Now(), d), false, a.Pointer(1))
}

func clockNanosleep(t *kernel.Task, a arch.Args) (uintptr, error) {
	id, flags := a.Int(0), a.Int(1)
	if flags&^unix.TIMER_ABSTIME != 0 {
		return 0, unix.EINVAL
	}
	if id == unix.CLOCK_THREAD_CPUTIME_ID {
		return 0, unix.EINVAL
	}
	c, err := clockOf(t, id)
	if err != nil {
		return 0, err
	}
	switch id {
	case unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE:
		return 0, unix.EOPNOTSUPP
	}
	d, err := copyInDuration(t, a.Pointer(2))
	if err != nil {
		return 0, err
	}
	if flags&unix.TIMER_ABSTIME != 0 {
		return sleepUntil(t, c, d, true, 0)
	}
	if c == t.Kernel().Realtime() {
		// Relative sleeps do not follow changes of the real-time clock.
		c = t.Kernel().Monotonic()
	}
	return sleepUntil(t, c, addDuration(c.Now(), d), false, a.Pointer(3))
}

func alarm(t *kernel.Task, a arch.Args) (uintptr, error) {
	timer := t.ThreadGroup().IntervalTimer(unix.ITIMER_REAL)
	left, _ := timer.Set(int64(a.Uint(0))*nsPerSec, 0, false)
	secs := left / nsPerSec
	if rest := left % nsPerSec; rest >= nsPerSec/2 || secs == 0 && rest > 0 {
		secs++
	}
	return uintptr(secs), nil
}

// itimerval is struct itimerval.
type itimerval struct{ Interval, Value unix.Timeval }

func copyOutItimerval(t *kernel.Task, addr uintptr, left, interval int64) error {
	// Rounded up, so that an armed timer never reads as off.
	v := itimerval{unix.NsecToTimeval(interval), unix.NsecToTimeval((left + 999) / 1000 * 1000)}
	return kernel.CopyOut(t, addr, &v)
}

func setitimer(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Uint(0) > 2 {
		return 0, unix.EINVAL
	}
	var v itimerval
	if p := a.Pointer(1); p != 0 {
		if err := kernel.CopyIn(t, p, &v); err != nil {
			return 0, err
		}
	}
	first, err := timevalDuration(v.Value)
	if err != nil {
		return 0, err
	}
	interval, err := timevalDuration(v.Interval)
	if err != nil {
		return 0, err
	}
	if first == 0 {
		interval = 0
	}
	left, old := t.ThreadGroup().IntervalTimer(int(a.Uint(0))).Set(first, interval, false)
	if p := a.Pointer(2); p != 0 {
		return 0, copyOutItimerval(t, p, left, old)
	}
	return 0, nil
}

func getitimer(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Uint(0) > 2 {
		return 0, unix.EINVAL
	}
	left, interval := t.ThreadGroup().IntervalTimer(int(a.Uint(0))).Get()
	return 0, copyOutItimerval(t, a.Pointer(1), left, interval)
}

// sigevent is struct sigevent as timer_create(2) takes it.
type sigevent struct {
	Value  uint64
	Signo  int32
	Notify int32
	TID    int32
	_      [11]int32
}

// Notify values of struct sigevent (sigevent(7)).
const (
	sigevSignal   = 0
	sigevNone     = 1
	sigevThread   = 2
	sigevThreadID = 4
)

func timerCreate(t *kernel.Task, a arch.Args) (uintptr, error) {
	id := a.Int(0)
	c, err := clockOf(t, id)
	if err != nil {
		return 0, err
	}
	switch id {
	case unix.CLOCK_MONOTONIC_RAW, unix.CLOCK_REALTIME_COARSE, unix.CLOCK_MONOTONIC_COARSE:
		return 0, unix.EOPNOTSUPP
	}
	ev := sigevent{Signo: int32(unix.SIGALRM)}
	if p := a.Pointer(1); p != 0 {
		if err := kernel.CopyIn(t, p, &ev); err != nil {
			return 0, err
		}
	}
	var target *kernel.Task
	switch ev.Notify {
	case sigevNone:
		ev.Signo = 0
	case sigevSignal, sigevThread:
	case sigevThreadID, sigevThreadID | sigevThread:
		target = t.PIDNamespace().Task(ev.TID)
		if target == nil || target.ThreadGroup() != t.ThreadGroup() {
			return 0, unix.EINVAL
		}
	default:
		return 0, unix.EINVAL
	}
	if ev.Notify != sigevNone && (ev.Signo < 1 || ev.Signo > kernel.NumSignals) {
		return 0, unix.EINVAL
	}
	timer, err := t.ThreadGroup().NewPosixTimer(c, ev.Signo, ev.Value, a.Pointer(1) == 0, target)
	if err != nil {
		return 0, err
	}
	if err := kernel.CopyOut(t, a.Pointer(2), &timer.ID); err != nil {
		t.ThreadGroup().DeletePosixTimer(timer.ID)
		return 0, err
	}
	return 0, nil
}

// itimerspec is struct itimerspec.
type itimerspec struct{ Interval, Value unix.Timespec }

func (s *itimerspec) durations() (first, interval int64, err error) {
	if first, err = durationOf(s.Value); err != nil {
		return 0, 0, err
	}
	interval, err = durationOf(s.Interval)
	return first, interval, err
}

func copyOutItimerspec(t *kernel.Task, addr uintptr, left, interval int64) error {
	s := itimerspec{unix.NsecToTimespec(interval), unix.NsecToTimespec(left)}
	return kernel.CopyOut(t, addr, &s)
}

func timerSettime(t *kernel.Task, a arch.Args) (uintptr, error) {
	var s itimerspec
	if a.Pointer(2) == 0 {
		return 0, unix.EINVAL
	}
	if err := kernel.CopyIn(t, a.Pointer(2), &s); err != nil {
		return 0, err
	}
	first, interval, err := s.durations()
	if err != nil {
		return 0, err
	}
	p := t.ThreadGroup().PosixTimer(a.Int(0))
	if p == nil {
		return 0, unix.EINVAL
	}
	absolute := a.Int(1)&unix.TIMER_ABSTIME != 0
	if first == 0 {
		absolute = false
	}
	left, old := p.Timer().Set(first, interval, absolute)
	if addr := a.Pointer(3); addr != 0 {
		return 0, copyOutItimerspec(t, addr, left, old)
	}
	return 0, nil
}

func timerGettime(t *kernel.Task, a arch.Args) (uintptr, error) {
	p := t.ThreadGroup().PosixTimer(a.Int(0))
	if p == nil {
		return 0, unix.EINVAL
	}
	left, interval := p.Timer().Get()
	return 0, copyOutItimerspec(t, a.Pointer(1), left, interval)
}

func timerGetoverrun(t *kernel.Task, a arch.Args) (uintptr, error) {
	p := t.ThreadGroup().PosixTimer(a.Int(0))
	if p == nil {
		return 0, unix.EINVAL
	}
	return uintptr(p.Overrun()), nil
}

func timerDelete(t *kernel.Task, a arch.Args) (uintptr, error) {
	return 0, t.ThreadGroup().DeletePosixTimer(a.Int(0))
}

// ticks converts nanoseconds to clock ticks (USER_HZ, 100 a second).
func ticks(ns int64) int64 { return ns / (nsPerSec / 100) }

func times(t *kernel.Task, a arch.Args) (uintptr, error) {
	if p := a.Pointer(0); p != 0 {
		u, s := t.ThreadGroup().CPUTime()
		c := t.ThreadGroup().ChildrenTimes()
		tms := [4]int64{ticks(u), ticks(s), ticks(c.User), ticks(c.System)}
		if err := kernel.CopyOut(t, p, &tms); err != nil {
			return 0, err
		}
	}
	return uintptr(ticks(t.Monotonic())), nil
}

func rusageOf(c kernel.ChildTimes) unix.Rusage {
	return unix.Rusage{Utime: unix.NsecToTimeval(c.User), Stime: unix.NsecToTimeval(c.System), Maxrss: int64(c.MaxRSS / 1024)}
}

func getrusage(t *kernel.Task, a arch.Args) (uintptr, error) {
	tg := t.ThreadGroup()
	var c kernel.ChildTimes
	switch a.Int(0) {
	case unix.RUSAGE_SELF:
		c.User, c.System = tg.CPUTime()
	case unix.RUSAGE_THREAD:
		c.User, c.System = t.CPUTime()
	case unix.RUSAGE_CHILDREN:
		c = tg.ChildrenTimes()
	default:
		return 0, unix.EINVAL
	}
	if a.Int(0) != unix.RUSAGE_CHILDREN {
		c.MaxRSS = t.MemoryManager().MaxRSS()
	}
	ru := rusageOf(c)
	if a.Int(0) == unix.RUSAGE_THREAD {
		ru.Nvcsw = int64(t.ContextSwitches())
	}
	return 0, kernel.CopyOut(t, a.Pointer(1), &ru)
}
