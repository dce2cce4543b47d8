package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/waiter"
)

// SendSignal sends info to the thread t (tgkill(2)). EAGAIN: the queue of a real-time
// signal is full. A task that has ended takes nothing and reports no error.
func (t *Task) SendSignal(info *arch.SignalInfo) error {
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	return t.sendLocked(info, false, nil)
}

// SendSignal sends info to the process (kill(2)).
func (tg *ThreadGroup) SendSignal(info *arch.SignalInfo) error {
	tg.k.tasksMu.RLock()
	defer tg.k.tasksMu.RUnlock()
	return tg.sendSignalLocked(info, nil)
}

// sendSignalLocked is SendSignal with tasksMu held at least for reading.
func (tg *ThreadGroup) sendSignalLocked(info *arch.SignalInfo, timer *PosixTimer) error {
	tg.signalMu.Lock()
	defer tg.signalMu.Unlock()
	return tg.leader.sendLocked(info, true, timer)
}

// Kill ends the process by SIGKILL.
func (tg *ThreadGroup) Kill() {
	info := arch.NewKernelSignal(int32(unix.SIGKILL))
	tg.SendSignal(&info)
}

// sendLocked queues info for t, or for its group. t.tg.signalMu is held.
func (t *Task) sendLocked(info *arch.SignalInfo, group bool, timer *PosixTimer) error {
	tg, signo := t.tg, info.Signo
	if signo == 0 {
		return nil
	}
	if t.exited.Load() && !group || tg.exiting && signo != int32(unix.SIGKILL) && tg.liveNone() {
		return nil
	}
	// Stop and continue signals cancel each other before anything else looks at them
	// (signal(7)); SIGCONT and SIGKILL end a group stop whatever their action is.
	bit := arch.SignalBit(signo)
	if bit&stopSignals != 0 {
		tg.discardFromAll(arch.SignalBit(int32(unix.SIGCONT)))
	} else if signo == int32(unix.SIGCONT) {
		tg.discardFromAll(stopSignals)
		tg.endGroupStopLocked(true)
	} else if signo == int32(unix.SIGKILL) {
		tg.endGroupStopLocked(false)
	}

	if t.dropsLocked(signo, info.Code <= 0 && info.PID() != 0) {
		if timer != nil {
			timer.signalDropped()
		}
		return nil
	}
	p := &t.pending
	if group {
		p = &tg.pending
	}
	queued, err := t.k.enqueueSignal(p, info, timer, t.Credentials().RealUID, tg.limits.Get(linux.RlimitSigPending).Cur)
	if err != nil {
		return err
	}
	if !queued {
		if timer != nil {
			timer.signalDropped()
		}
		return nil
	}
	if group {
		for _, s := range tg.tasksSnapshot() {
			s.sigWaiters.Notify(waiter.EventIn)
		}
	} else {
		t.sigWaiters.Notify(waiter.EventIn)
	}

	if signo == int32(unix.SIGKILL) {
		// It cannot be caught: the group exits at once, also while stopped or traced.
		tg.leader.groupExitLocked(uint32(unix.SIGKILL))
		return nil
	}
	if target := t.receiverLocked(signo, group); target != nil {
		target.interrupt()
	}
	return nil
}

// dropsLocked says whether signo is thrown away instead of queued: it is ignored, not
// blocked (the action may change before it is unblocked) and nobody traces the task. A
// namespace's init takes only signals that it has a handler for, and from outside, where no
// pid says who sent it, SIGKILL and SIGSTOP (pid_namespaces(7)).
func (t *Task) dropsLocked(signo int32, fromInside bool) bool {
	tg := t.tg
	unwanted := tg.isInit() && tg.handlers.actions[signo].Handler == arch.SigDfl
	if signo == int32(unix.SIGKILL) || signo == int32(unix.SIGSTOP) {
		return unwanted && fromInside
	}
	// Init too may wait for a signal that it blocks, by sigwait(3) or a signalfd.
	if (t.mask|t.realMask)&arch.SignalBit(signo) != 0 || t.ptrace.traced() {
		return false
	}
	if unwanted {
		return true
	}
	return tg.handlers.ignores(signo)
}

// receiverLocked chooses the thread that is to handle signo: t itself, or for a group signal
// the first that does not block it, the leader before the others.
func (t *Task) receiverLocked(signo int32, group bool) *Task {
	if !group {
		if t.mask&arch.SignalBit(signo) == 0 {
			return t
		}
		return nil
	}
	bit := arch.SignalBit(signo)
	var blocked *Task
	for _, s := range t.tg.tasksSnapshot() {
		if s.exited.Load() || s.killed {
			continue
		}
		if s.mask&bit == 0 {
			return s
		}
		if s.realMask&bit != 0 && blocked == nil {
			blocked = s
		}
	}
	return blocked
}

// discardFromAll drops pending signals of set from the group and its threads.
func (tg *ThreadGroup) discardFromAll(set arch.SignalSet) {
	tg.k.discardSignals(&tg.pending, set)
	for _, t := range tg.tasksSnapshot() {
		tg.k.discardSignals(&t.pending, set)
	}
}

// forceSignal delivers a synchronous signal: one that is blocked or ignored kills, since
// the instruction could not go on (signal(7)).
func (t *Task) forceSignal(info *arch.SignalInfo) {
	tg := t.tg
	tg.signalMu.Lock()
	defer tg.signalMu.Unlock()
	bit := arch.SignalBit(info.Signo)
	if t.mask&bit != 0 || tg.handlers.actions[info.Signo].Handler == arch.SigIgn {
		tg.handlers.actions[info.Signo].Handler = arch.SigDfl
		t.mask &^= bit
	}
	t.k.enqueueSignal(&t.pending, info, nil, t.Credentials().RealUID, ^uint64(0))
	t.attention.Store(true)
}

// ForceSignal is forceSignal for system calls that must raise one (SIGSYS of seccomp,
// SIGSEGV of a broken signal frame).
func (t *Task) ForceSignal(info *arch.SignalInfo) { t.forceSignal(info) }

// SendSignal sends info to every process of pg. It returns how many there were.
func (pg *ProcessGroup) SendSignal(info *arch.SignalInfo) int {
	pg.k.tasksMu.RLock()
	defer pg.k.tasksMu.RUnlock()
	n := 0
	for tg := range pg.members {
		c := *info
		tg.sendSignalLocked(&c, nil)
		n++
	}
	return n
}

// isInit says whether the group is the first of its pid namespace.
func (tg *ThreadGroup) isInit() bool { return tg.pidns.init == tg }

// notifyWaiters wakes those who wait(2) in tg.
func (tg *ThreadGroup) notifyWaiters() { tg.events.Notify(waiter.EventIn) }
