package kernel

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/ktime"
)

// groupTimers are a process's interval timers (setitimer(2)) and POSIX timers
// (timer_create(2)).
//
// Lock order: mu → ktime.Timer's lock → tasksMu → signalMu → PosixTimer.mu. Neither mu nor
// a Timer's method may be taken with signalMu held.
type groupTimers struct {
	mu       sync.Mutex // guards the fields below
	interval [3]*ktime.Timer
	cpuLimit *ktime.Timer
	posix    map[int32]*PosixTimer
	nextID   int32
}

// itimer sends the signal of one setitimer(2) timer.
type itimer struct {
	tg    *ThreadGroup
	signo int32
}

// TimerExpired implements ktime.Listener.
func (i *itimer) TimerExpired(uint64) {
	info := arch.NewKernelSignal(i.signo)
	i.tg.SendSignal(&info)
}

// IntervalTimer is the timer of setitimer(2)'s which (ITIMER_REAL, VIRTUAL or PROF).
func (tg *ThreadGroup) IntervalTimer(which int) *ktime.Timer {
	g := &tg.timers
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.interval[which] == nil {
		var clock ktime.Clock
		signo := unix.SIGALRM
		switch which {
		case unix.ITIMER_REAL:
			clock = tg.k.monotonic
		case unix.ITIMER_VIRTUAL:
			clock, signo = tg.CPUClock(true), unix.SIGVTALRM
		case unix.ITIMER_PROF:
			clock, signo = tg.CPUClock(false), unix.SIGPROF
		}
		g.interval[which] = ktime.NewTimer(clock, &itimer{tg, int32(signo)})
	}
	return g.interval[which]
}

// PosixTimer is a timer of timer_create(2).
type PosixTimer struct {
	ID    int32
	tg    *ThreadGroup
	timer *ktime.Timer
	info  arch.SignalInfo
	none  bool  // SIGEV_NONE
	task  *Task // SIGEV_THREAD_ID

	mu      sync.Mutex // guards the fields below
	queued  bool       // its signal is pending
	gone    bool       // deleted
	overrun int64      // expirations since the signal was queued
	last    int32      // timer_getoverrun(2)
}

// NewPosixTimer is timer_create(2). signo 0 means SIGEV_NONE; task is set for
// SIGEV_THREAD_ID. EAGAIN: the process has too many.
func (tg *ThreadGroup) NewPosixTimer(clock ktime.Clock, signo int32, value uint64, idAsValue bool, task *Task) (*PosixTimer, error) {
	g := &tg.timers
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.posix) >= 4096 {
		return nil, unix.EAGAIN
	}
	if g.posix == nil {
		g.posix = map[int32]*PosixTimer{}
	}
	for g.posix[g.nextID] != nil {
		g.nextID = (g.nextID + 1) & 0x7fffffff
	}
	p := &PosixTimer{ID: g.nextID, tg: tg, none: signo == 0, task: task}
	g.nextID = (g.nextID + 1) & 0x7fffffff
	if idAsValue {
		value = uint64(p.ID)
	}
	p.info = arch.NewTimerSignal(signo, p.ID, value)
	p.timer = ktime.NewTimer(clock, p)
	g.posix[p.ID] = p
	return p, nil
}

// PosixTimer finds a timer, or nil.
func (tg *ThreadGroup) PosixTimer(id int32) *PosixTimer {
	tg.timers.mu.Lock()
	defer tg.timers.mu.Unlock()
	return tg.timers.posix[id]
}

// PosixTimers lists the timers, for /proc/PID/timers.
func (tg *ThreadGroup) PosixTimers() []*PosixTimer {
	tg.timers.mu.Lock()
	defer tg.timers.mu.Unlock()
	var out []*PosixTimer
	for _, p := range tg.timers.posix {
		out = append(out, p)
	}
	return out
}

// DeletePosixTimer is timer_delete(2).
func (tg *ThreadGroup) DeletePosixTimer(id int32) error {
	g := &tg.timers
	g.mu.Lock()
	p := g.posix[id]
	delete(g.posix, id)
	g.mu.Unlock()
	if p == nil {
		return unix.EINVAL
	}
	p.destroy()
	return nil
}

func (p *PosixTimer) destroy() {
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	p.timer.Destroy()
}

// Timer is what timer_settime(2) sets.
func (p *PosixTimer) Timer() *ktime.Timer { return p.timer }

// Overrun is timer_getoverrun(2).
func (p *PosixTimer) Overrun() int32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last
}

// TimerExpired implements ktime.Listener.
func (p *PosixTimer) TimerExpired(n uint64) {
	if p.none {
		return
	}
	p.mu.Lock()
	if p.gone || p.queued {
		p.overrun += int64(n)
		p.mu.Unlock()
		return
	}
	p.queued = true
	p.overrun = int64(n) - 1
	info := p.info
	p.mu.Unlock()

	k := p.tg.k
	k.tasksMu.RLock()
	defer k.tasksMu.RUnlock()
	p.tg.signalMu.Lock()
	defer p.tg.signalMu.Unlock()
	t, group := p.tg.leader, true
	if p.task != nil {
		t, group = p.task, false
	}
	if t.sendLocked(&info, group, p) != nil {
		p.signalDropped()
	}
}

// delivered fills in the overrun count when the signal leaves its queue; false: the timer
// is gone, and so is its signal. signalMu is held.
func (p *PosixTimer) delivered(info *arch.SignalInfo) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queued = false
	if p.gone {
		return false
	}
	p.last = int32(min(p.overrun, 0x7fffffff))
	p.overrun = 0
	info.SetOverrun(p.last)
	return true
}

// signalDropped: the signal left its queue without being delivered.
func (p *PosixTimer) signalDropped() {
	p.mu.Lock()
	p.queued = false
	p.mu.Unlock()
}

// exec deletes the POSIX timers; interval timers survive (execve(2)).
func (g *groupTimers) exec() {
	g.mu.Lock()
	old := g.posix
	g.posix = nil
	g.mu.Unlock()
	for _, p := range old {
		p.destroy()
	}
}

// destroy ends all timers of an exiting process.
func (g *groupTimers) destroy() {
	g.exec()
	g.mu.Lock()
	old := append(g.interval[:], g.cpuLimit)
	g.interval, g.cpuLimit = [3]*ktime.Timer{}, nil
	g.mu.Unlock()
	for _, t := range old {
		if t != nil {
			t.Destroy()
		}
	}
}
