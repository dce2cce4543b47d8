package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
)

// groupStop is the job-control state of a process, guarded by signalMu. A stop signal sets
// pending; each thread halts before it returns to the application; when the last has, the
// stop is reached and the parent is told. SIGCONT and SIGKILL end it.
type groupStop struct {
	pending    bool
	signo      int32 // that caused it
	reached    bool
	unreported bool // reached, and no wait(2) has seen it
	continued  bool // ended by SIGCONT, and no wait(2) has seen it
	tellParent bool // of the continuation; done by the first thread to run
}

func (t *Task) stopPendingLocked() bool {
	return !t.killed && (t.tg.stop.pending && !t.ptrace.stopTaken || t.tg.stop.tellParent)
}

// startGroupStopLocked begins a stop by signo.
func (t *Task) startGroupStopLocked(signo int32) {
	tg := t.tg
	if tg.exiting {
		return
	}
	if tg.stop.pending {
		// Tracees that run although the group is stopped stop again.
		for _, s := range tg.tasksSnapshot() {
			if s.ptrace.stopTaken {
				s.ptrace.stopTaken = false
				s.interrupt()
			}
		}
		return
	}
	tg.stop = groupStop{pending: true, signo: signo}
	for _, s := range tg.tasksSnapshot() {
		if s != t {
			s.interrupt()
		}
	}
	t.attention.Store(true)
}

// endGroupStopLocked ends a stop, by SIGCONT or because the group is to die.
func (tg *ThreadGroup) endGroupStopLocked(byCont bool) {
	s := &tg.stop
	if !s.pending {
		return
	}
	was := s.reached
	*s = groupStop{signo: s.signo}
	if byCont && was {
		s.continued, s.tellParent = true, true
	}
	for _, t := range tg.tasksSnapshot() {
		p := &t.ptrace
		p.stopTaken = false
		if byCont && p.seized && p.traced() {
			p.trapNotify = true
			if p.listening {
				p.stopped = false
			}
		}
		t.interrupt()
	}
}

// stopReachedLocked checks whether every live thread has halted, and marks the stop.
func (tg *ThreadGroup) stopReachedLocked() bool {
	if !tg.stop.pending || tg.stop.reached || tg.live == 0 {
		return false
	}
	for _, t := range tg.tasksSnapshot() {
		if !t.stopped && !t.killed && !t.exited.Load() {
			return false
		}
	}
	tg.stop.reached, tg.stop.unreported = true, true
	return true
}

// participateInStop halts the task while its group is stopped. signalMu is held and
// released.
func (t *Task) participateInStop() {
	tg := t.tg
	if tg.stop.tellParent {
		tg.stop.tellParent = false
		tg.signalMu.Unlock()
		tg.notifyParent(arch.CldContinued, int32(unix.SIGCONT))
		return
	}
	if t.ptrace.traced() {
		t.ptraceGroupStop()
		return
	}
	t.stopped = true
	t.asleep(StateStopped)
	reached := tg.stopReachedLocked()
	tg.signalMu.Unlock()
	if reached {
		tg.notifyParentStop()
	}
	for {
		tg.signalMu.Lock()
		if !tg.stop.pending || t.killed || t.ptrace.traced() {
			t.stopped = false
			tg.signalMu.Unlock()
			break
		}
		tg.signalMu.Unlock()
		<-t.interruptC
	}
	t.awake()
	t.attention.Store(true)
}

func (tg *ThreadGroup) notifyParentStop() {
	tg.signalMu.Lock()
	signo := tg.stop.signo
	tg.signalMu.Unlock()
	tg.notifyParent(arch.CldStopped, signo)
}

// notifyParent sends SIGCHLD for a stop or continuation unless the parent set
// SA_NOCLDSTOP, and wakes its wait(2).
func (tg *ThreadGroup) notifyParent(code, status int32) {
	tg.k.tasksMu.RLock()
	defer tg.k.tasksMu.RUnlock()
	p := tg.parent
	if p == nil {
		return
	}
	p.signalMu.Lock()
	quiet := p.handlers.actions[unix.SIGCHLD].Flags&arch.SaNoCldStop != 0
	p.signalMu.Unlock()
	if !quiet {
		info := tg.childInfo(p, 0)
		info.Code = code
		info.SetStatus(status)
		p.sendSignalLocked(&info, nil)
	}
	p.notifyWaiters()
}

// Stopped says whether a group stop has been reached.
func (tg *ThreadGroup) Stopped() bool {
	tg.signalMu.Lock()
	defer tg.signalMu.Unlock()
	return tg.stop.reached
}
