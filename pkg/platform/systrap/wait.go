package systrap

import (
	"runtime"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/spin"
)

// Where the two sides of a hand-off run decides what it costs. Apart, on two CPUs that both have
// nothing else to do, each looks at the state word and sees the other's answer in a fraction of a
// microsecond. On one CPU the one must sleep for the other to run, which is two
// switches of the host, a few microseconds. Worst is to sleep and be woken on an idle CPU,
// which takes tens of microseconds in a virtual machine; and that is what the host's scheduler
// does when it is left alone, because it likes idle CPUs.
//
// So a context is either near, on the CPU of the sentry's thread (package affinity), or apart. It
// is apart while the application makes one system call after another, and there is a CPU for each side.
const (
	// How long the sentry looks for an event and a thread for its answer, in microseconds,
	// before they sleep.
	lookFor      = 50
	answerWithin = 20

	// A context becomes apart after apartAfter events in a row between which the application
	// ran for less than shortRun microseconds, and near after nearAfter before which it ran for
	// longer than looking lasts, or which changed the rights of pages, or when there is no CPU
	// for both sides. While a thread of the process looks for something on another CPU, new
	// rights cost an interrupt there, which is worse than to wake it here.
	apartAfter = 16
	shortRun   = 5
	nearAfter  = 4
	// partEvery is how often a context that is apart, but on one CPU, is parted.
	partEvery = 32

	// freeEvery is how often a near context runs unbound, so that the host can balance.
	freeEvery = 128
)

// roomToLook says whether there is a CPU for each context in the application and for the
// sentry's thread that looks after it.
func (p *Platform) roomToLook() bool { return 2*p.inApp.Load() <= p.cpus }

// distance is whether a context is apart, and what that is judged by.
type distance struct {
	apart bool
	run   int  // events in a row that speak for a change
	turns uint // events

	protects uint32 // of the process, as of the last event
}

// vote counts an event that speaks for a change or against it.
func (d *distance) vote(change bool, after int) {
	if !change {
		d.run = 0
	} else if d.run++; d.run >= after {
		d.apart, d.run = !d.apart, 0
	}
}

// set writes a word to a slot, unless it is there already: the thread may be looking at the
// cache line.
func set(word *uint32, v uint32) {
	if atomic.LoadUint32(word) != v {
		atomic.StoreUint32(word, v)
	}
}

// exchange answers the thread and returns when it has an event.
func (c *taskContext) exchange(th *thread, how uint32) error {
	p, s := c.p, th.shared
	protects := th.as.protects.Load()
	changed := protects != c.protects
	c.protects = protects
	if how == answerSave {
		defer th.as.killLater()()
	}
	p.inApp.Add(1)
	if c.apart {
		c.look(th, how, changed)
	} else {
		c.takeTurns(th, how, changed)
	}
	p.inApp.Add(-1)
	if atomic.LoadUint32(&s.state) == stateDead || th.as.dead.Load() {
		return errDead{th.as.pid}
	}
	return nil
}

// answer gives control to the thread. Only then may it be kicked: a thread that waits for its answer
// takes no notice.
func (c *taskContext) answer(th *thread, how uint32) {
	th.answer(how)
	if how == answerSave {
		return
	}
	c.running.Store(th)
	if c.pending.Load() {
		c.kick(th, c.events.Load(), kicks)
	}
}

// look is exchange for a context that is apart. changed says that rights of pages were changed
// since the last event.
func (c *taskContext) look(th *thread, how uint32, changed bool) {
	s := th.shared
	c.turns++
	cpu := spin.CurrentCPU()
	room := c.p.roomToLook()
	together := atomic.LoadUint32(&s.cpu) == cpu
	if together && room && c.turns%partEvery == 0 {
		// The host sees no reason to part them: they never run at the same time.
		th.bound.Avoid(int(cpu))
	}
	c.answer(th, how)
	patience := uint64(0)
	if !together && room {
		patience = lookFor * c.p.tick
	}
	set(&s.spin, uint32(min(patience, answerWithin*c.p.tick)))
	if !spin.While(&s.state, stateApp, patience) {
		th.sleepUntilEvent()
	}
	set(&s.sentryCPU, spin.CurrentCPU())
	c.vote(changed || !room || s.end-s.begin > lookFor*c.p.tick, nearAfter)
}

// takeTurns is exchange for a context that is near.
func (c *taskContext) takeTurns(th *thread, how uint32, changed bool) {
	s := th.shared
	runtime.LockOSThread()
	o := c.p.affinity.OSThread(unix.Gettid())
	c.turns++
	c.vote(!changed && c.p.roomToLook() && s.end-s.begin < shortRun*c.p.tick, apartAfter)
	set(&s.spin, 0)
	o.Begin(&th.bound, c.apart || c.turns%freeEvery == 0)
	c.answer(th, how)
	th.sleepUntilEvent()
	o.End()
	runtime.UnlockOSThread()
}
