package kernel

import (
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/ktime"
)

// nsPerTick is a clock tick of times(2) and /proc: USER_HZ is 100.
const nsPerTick = 10_000_000

// cpuTimes measures one task. Time between Switch's begin and end counts as user time,
// time in system calls while not asleep as system time. Nanoseconds of Kernel.cpuShare.
type cpuTimes struct {
	user, system atomic.Int64
	since        atomic.Int64 // begin of the present span; 0 while asleep
	inUser       atomic.Bool

	voluntary atomic.Uint64 // context switches: sleeps
}

func (c *cpuTimes) enterUser(now int64) {
	if s := c.since.Load(); s != 0 {
		c.system.Add(now - s)
	}
	c.since.Store(now)
	c.inUser.Store(true)
}

func (c *cpuTimes) leaveUser(now int64) {
	c.user.Add(now - c.since.Load())
	c.since.Store(now)
	c.inUser.Store(false)
}

func (c *cpuTimes) sleep(now int64) {
	if s := c.since.Load(); s != 0 {
		c.system.Add(now - s)
	}
	c.since.Store(0)
	c.voluntary.Add(1)
}

func (c *cpuTimes) wake(now int64) { c.since.Store(now) }

// read returns the times with the present span included.
func (c *cpuTimes) read(now int64) (user, system int64) {
	user, system = c.user.Load(), c.system.Load()
	if s := c.since.Load(); s != 0 && now > s {
		if c.inUser.Load() {
			user += now - s
		} else {
			system += now - s
		}
	}
	return user, system
}

// CPUTime is the task's user and system time in nanoseconds.
func (t *Task) CPUTime() (user, system int64) { return t.times.read(t.k.cpuShare.now()) }

// ContextSwitches is how often the task slept.
func (t *Task) ContextSwitches() uint64 { return t.times.voluntary.Load() }

// ChildTimes is what getrusage(2) and times(2) need of other processes.
type ChildTimes struct {
	User, System int64  // ns
	MaxRSS       uint64 // bytes
}

// groupTimes sums threads that are gone and children that were waited for.
type groupTimes struct {
	exitedUser, exitedSystem atomic.Int64

	mu       sync.Mutex // guards children
	children ChildTimes

	cpuClock  *CPUClock
	userClock *CPUClock
}

func (g *groupTimes) addExited(c *cpuTimes) {
	g.exitedUser.Add(c.user.Load())
	g.exitedSystem.Add(c.system.Load())
}

func (g *groupTimes) addChild(c *ThreadGroup) {
	t := c.childTimes()
	g.mu.Lock()
	g.children.User += t.User
	g.children.System += t.System
	g.children.MaxRSS = max(g.children.MaxRSS, t.MaxRSS)
	g.mu.Unlock()
}

// CPUTime is the process's user and system time, all threads together, in nanoseconds.
func (tg *ThreadGroup) CPUTime() (user, system int64) {
	now := tg.k.cpuShare.now()
	user, system = tg.times.exitedUser.Load(), tg.times.exitedSystem.Load()
	for _, t := range tg.cpuTasks() {
		u, s := t.times.read(now)
		user += u
		system += s
	}
	return user, system
}

// ChildrenTimes sums the children that were waited for.
func (tg *ThreadGroup) ChildrenTimes() ChildTimes {
	tg.times.mu.Lock()
	defer tg.times.mu.Unlock()
	return tg.times.children
}

// childTimes is what tg adds to its parent: its own and its children's.
func (tg *ThreadGroup) childTimes() ChildTimes {
	c := tg.ChildrenTimes()
	u, s := tg.CPUTime()
	c.User += u
	c.System += s
	return c
}

// CPUClock is a CPU-time clock: of a process (CLOCK_PROCESS_CPUTIME_ID) or of its user time
// only (ITIMER_VIRTUAL). It implements ktime.Clock; its timers are looked at by the kernel's
// ticker, which runs only while such a timer is armed.
type CPUClock struct {
	ktime.AlarmList
	tg       *ThreadGroup
	task     *Task // of one thread, if set
	userOnly bool
}

// Now implements ktime.Clock.
func (c *CPUClock) Now() int64 {
	var u, s int64
	if c.task != nil {
		u, s = c.task.CPUTime()
	} else {
		u, s = c.tg.CPUTime()
	}
	if c.userOnly {
		return u
	}
	return u + s
}

// Arm implements ktime.Clock.
func (c *CPUClock) Arm(t *ktime.Timer, deadline int64) {
	c.AlarmList.Arm(t, deadline)
	c.tg.k.cpuTimers.watch(c)
}

// CPUClock is the process's CPU-time clock; with userOnly, of its user time.
func (tg *ThreadGroup) CPUClock(userOnly bool) *CPUClock {
	tg.times.mu.Lock()
	defer tg.times.mu.Unlock()
	p := &tg.times.cpuClock
	if userOnly {
		p = &tg.times.userClock
	}
	if *p == nil {
		*p = &CPUClock{tg: tg, userOnly: userOnly}
	}
	return *p
}

// CPUClock is the thread's CPU-time clock.
func (t *Task) CPUClock() *CPUClock { return &CPUClock{tg: t.tg, task: t} }

// cpuTimerTicker looks at CPU clocks with armed timers. It sleeps as long as the nearest
// deadline allows if all threads of a process ran, so an idle process costs little and a
// busy one is seen in time.
type cpuTimerTicker struct {
	mu      sync.Mutex // guards the fields below
	clocks  map[*CPUClock]struct{}
	running bool
}

func (c *cpuTimerTicker) watch(clock *CPUClock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.clocks == nil {
		c.clocks = map[*CPUClock]struct{}{}
	}
	c.clocks[clock] = struct{}{}
	if !c.running {
		c.running = true
		go c.run()
	}
}

func (c *cpuTimerTicker) run() {
	const tick = int64(4 * time.Millisecond)
	for {
		c.mu.Lock()
		var due []*CPUClock
		sleep := int64(time.Second)
		for clock := range c.clocks {
			next := clock.Next()
			if next == ktime.Never || clock.tg.ended() {
				delete(c.clocks, clock)
				continue
			}
			left := next - clock.Now()
			if left <= 0 {
				due = append(due, clock)
				left = tick
			}
			sleep = min(sleep, left/int64(max(len(clock.tg.cpuTasks()), 1)))
		}
		if len(c.clocks) == 0 {
			c.running = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		for _, clock := range due {
			clock.Expire(clock.Now())
		}
		time.Sleep(time.Duration(max(sleep, tick)))
	}
}

// cpuTasks are the threads, without a lock that callers may hold.
func (tg *ThreadGroup) cpuTasks() []*Task {
	if l := tg.threads.Load(); l != nil {
		return *l
	}
	return nil
}

// ended says whether all threads are gone.
func (tg *ThreadGroup) ended() bool {
	select {
	case <-tg.done:
		return true
	default:
		return false
	}
}

// cpuLimit sends the signals of RLIMIT_CPU (getrlimit(2)): SIGXCPU at the soft limit and
// each second beyond it, SIGKILL at the hard one.
type cpuLimit struct{ tg *ThreadGroup }

// TimerExpired implements ktime.Listener.
func (c *cpuLimit) TimerExpired(uint64) {
	l := c.tg.limits.Get(unix.RLIMIT_CPU)
	u, s := c.tg.CPUTime()
	signo := int32(unix.SIGXCPU)
	if uint64(u+s) >= saturatingSeconds(l.Max) {
		signo = int32(unix.SIGKILL)
	}
	info := arch.NewKernelSignal(signo)
	c.tg.SendSignal(&info)
}

func saturatingSeconds(s uint64) uint64 {
	if s > 1<<33 {
		return 1 << 63
	}
	return s * 1_000_000_000
}

// ArmCPULimit puts RLIMIT_CPU into force after it was set.
func (tg *ThreadGroup) ArmCPULimit() {
	clock := tg.CPUClock(false)
	g := &tg.timers
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cpuLimit == nil {
		g.cpuLimit = ktime.NewTimer(clock, &cpuLimit{tg})
	}
	soft := tg.limits.Get(unix.RLIMIT_CPU).Cur
	if soft == unix.RLIM_INFINITY {
		g.cpuLimit.Stop()
		return
	}
	g.cpuLimit.Set(int64(min(saturatingSeconds(max(soft, 1)), 1<<62)), int64(time.Second), true)
}
