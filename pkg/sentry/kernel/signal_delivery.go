package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
)

// deliverSignals is what the run loop does before it returns to the application: it takes
// part in stops, delivers pending signals, and settles how an interrupted system call ends.
// It returns true if the task must exit.
func (t *Task) deliverSignals() (exit bool) {
	tg := t.tg
	// Tokens that are in flight concern what is looked at below.
	t.attention.Store(false)
	for {
		tg.signalMu.Lock()
		if t.killed {
			tg.signalMu.Unlock()
			return true
		}
		if t.stopPendingLocked() {
			t.participateInStop() // releases signalMu
			continue
		}
		if t.ptrace.trapPending() && t.ptraceInterruptStop() { // releases signalMu
			continue
		}
		q := t.k.dequeueSignal(&t.pending, t.mask)
		if q == nil {
			q = t.k.dequeueSignal(&tg.pending, t.mask)
		}
		if q == nil {
			tg.signalMu.Unlock()
			break
		}
		info := q.info
		if q.timer != nil && !q.timer.delivered(&info) {
			tg.signalMu.Unlock()
			continue
		}
		if t.ptrace.traced() && info.Signo != int32(unix.SIGKILL) {
			if !t.ptraceSignalStop(&info) { // releases and takes signalMu
				tg.signalMu.Unlock()
				continue
			}
		}
		t.deliverOne(&info) // releases signalMu
	}
	t.settleRestart(nil)
	if t.haveSavedMask {
		t.haveSavedMask = false
		t.SetSignalMask(t.savedMask)
		if t.attention.Load() {
			return t.deliverSignals()
		}
	}
	return false
}

// deliverOne acts on a signal taken from a queue. signalMu is held and released.
func (t *Task) deliverOne(info *arch.SignalInfo) {
	tg := t.tg
	signo := info.Signo
	act := tg.handlers.actions[signo]
	bit := arch.SignalBit(signo)
	switch {
	case act.Handler == arch.SigIgn:
		tg.signalMu.Unlock()
	case act.Handler == arch.SigDfl && bit&ignoredByDefault != 0:
		tg.signalMu.Unlock()
	case act.Handler == arch.SigDfl && tg.isInit() && info.Code <= 0 && info.PID() != 0 && bit&unblockable == 0:
		// It was queued while init blocked it (see dropsLocked).
		tg.signalMu.Unlock()
	case act.Handler == arch.SigDfl && bit&stopSignals != 0:
		if signo != int32(unix.SIGSTOP) && !t.stopAllowed() { // releases and takes signalMu
			tg.signalMu.Unlock()
			return
		}
		t.startGroupStopLocked(signo)
		tg.signalMu.Unlock()
	case act.Handler == arch.SigDfl:
		status := uint32(signo)
		if bit&coreSignals != 0 && tg.limits.Get(unix.RLIMIT_CORE).Cur != 0 {
			status |= 0x80
		}
		addr := uintptr(0)
		if bit&synchronousSignals != 0 {
			addr = uintptr(info.Addr())
		}
		first := !tg.exiting
		t.groupExitLocked(status)
		tg.signalMu.Unlock()
		if first && t.k.reporter != nil {
			t.k.reporter.FatalSignal(t, signo, addr)
		}
	default:
		if act.Flags&arch.SaResetHand != 0 {
			tg.handlers.actions[signo] = arch.SignalAct{Handler: arch.SigDfl}
		}
		tg.signalMu.Unlock()
		t.deliverToHandler(info, &act)
	}
}

// stopAllowed says whether a job-control stop signal stops the group: not if its process
// group is orphaned. signalMu is released while the tree is looked at.
func (t *Task) stopAllowed() bool {
	tg := t.tg
	tg.signalMu.Unlock()
	t.k.tasksMu.RLock()
	orphaned := tg.group != nil && tg.group.orphanedLocked()
	t.k.tasksMu.RUnlock()
	tg.signalMu.Lock()
	// A SIGCONT may have come meanwhile; as in Linux, the stop then is off.
	return !orphaned
}

// deliverToHandler builds the frame on the application's stack.
func (t *Task) deliverToHandler(info *arch.SignalInfo, act *arch.SignalAct) {
	t.settleRestart(act)
	mask := t.mask
	if t.haveSavedMask {
		mask = t.savedMask
		t.haveSavedMask = false
	}
	if err := t.pctx.PullFullState(t.mm.AddressSpace(), t.arch); err != nil {
		t.platformFailed(err)
		return
	}
	stepping := t.ptraceClearStep()
	if err := t.arch.SignalSetup(t.mm, act, info, &t.altStack, mask); err != nil {
		// No room for the frame: SIGSEGV, which kills if it is this very signal.
		seg := arch.NewKernelSignal(int32(unix.SIGSEGV))
		if info.Signo == int32(unix.SIGSEGV) {
			t.tg.signalMu.Lock()
			t.tg.handlers.actions[unix.SIGSEGV].Handler = arch.SigDfl
			t.tg.signalMu.Unlock()
		}
		t.forceSignal(&seg)
		return
	}
	t.pctx.FullStateChanged()
	newMask := t.mask | act.Mask
	if act.Flags&arch.SaNoDefer == 0 {
		newMask |= arch.SignalBit(info.Signo)
	}
	t.SetSignalMask(newMask)
	if t.altStack.Flags&arch.SsAutodisarm != 0 && t.altStack.Flags&arch.SsDisable == 0 {
		t.altStack = arch.SignalStack{Flags: arch.SsDisable}
	}
	t.ptraceStepIntoHandler(stepping)
}

// settleRestart decides what becomes of the system call that just returned a restart
// result: act is the handler that runs now, nil if none does.
func (t *Task) settleRestart(act *arch.SignalAct) {
	r := t.restart
	if r == nil {
		return
	}
	t.restart = nil
	if act != nil {
		switch {
		case r == linux.ERESTARTNOINTR:
		case r == linux.ERESTARTSYS && act.Flags&arch.SaRestart != 0:
		default:
			return // EINTR is in RAX already
		}
		t.arch.RestartSyscall()
		return
	}
	if r == linux.ERESTART_RESTARTBLOCK {
		t.arch.RestartSyscallWithRestartBlock()
		return
	}
	t.arch.RestartSyscall()
}

// SignalMask is the set of blocked signals.
func (t *Task) SignalMask() arch.SignalSet { return t.mask }

// SetSignalMask blocks set, and nothing else. Pending signals that it unblocks are delivered
// before the task returns to the application; group signals that it now blocks are offered to
// the other threads.
func (t *Task) SetSignalMask(set arch.SignalSet) {
	set &^= unblockable
	tg := t.tg
	tg.signalMu.Lock()
	defer tg.signalMu.Unlock()
	blockedNow := set &^ t.mask & tg.pending.set
	t.mask = set
	if (t.pending.set|tg.pending.set)&^set != 0 {
		t.attention.Store(true)
	}
	if blockedNow != 0 {
		tg.retargetLocked(t, blockedNow)
	}
}

// retargetLocked finds other threads for group signals that t no longer takes.
func (tg *ThreadGroup) retargetLocked(t *Task, set arch.SignalSet) {
	for _, s := range tg.tasksSnapshot() {
		if s != t && !s.killed && !s.exited.Load() && set&^s.mask != 0 {
			set &= s.mask
			s.interrupt()
			if set == 0 {
				return
			}
		}
	}
}

// SetTemporaryMask blocks set until the present system call has returned and its signals
// are delivered (sigsuspend(2), ppoll(2), pselect(2), epoll_pwait(2)).
func (t *Task) SetTemporaryMask(set arch.SignalSet) {
	if !t.haveSavedMask {
		t.savedMask, t.haveSavedMask = t.mask, true
	}
	t.SetSignalMask(set)
}

// KeepTemporaryMask is called by such a system call when it was not interrupted: the old
// mask comes back at once.
func (t *Task) RestoreMask() {
	if t.haveSavedMask {
		t.haveSavedMask = false
		t.SetSignalMask(t.savedMask)
	}
}

// PendingSignals are those that are blocked and waiting, for sigpending(2).
func (t *Task) PendingSignals() arch.SignalSet {
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	return (t.pending.set | t.tg.pending.set) & t.mask
}

// SignalSets returns what /proc/PID/status shows: pending of the thread and of the process,
// blocked, ignored and caught.
func (t *Task) SignalSets() (thread, shared, blocked, ignored, caught arch.SignalSet) {
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	for i := int32(1); i <= NumSignals; i++ {
		switch t.tg.handlers.actions[i].Handler {
		case arch.SigDfl:
		case arch.SigIgn:
			ignored |= arch.SignalBit(i)
		default:
			caught |= arch.SignalBit(i)
		}
	}
	return t.pending.set, t.tg.pending.set, t.mask, ignored, caught
}

// SetSignalAction installs act (nil: only asks) and returns the old action. An action
// that ignores the signal drops those pending (sigaction(2)).
func (tg *ThreadGroup) SetSignalAction(signo int32, act *arch.SignalAct) (arch.SignalAct, error) {
	if signo < 1 || signo > NumSignals {
		return arch.SignalAct{}, unix.EINVAL
	}
	tg.signalMu.Lock()
	defer tg.signalMu.Unlock()
	old := tg.handlers.actions[signo]
	if act == nil {
		return old, nil
	}
	if arch.SignalBit(signo)&unblockable != 0 {
		return old, unix.EINVAL
	}
	a := *act
	a.Mask &^= unblockable
	tg.handlers.actions[signo] = a
	if tg.handlers.ignores(signo) {
		tg.discardFromAll(arch.SignalBit(signo))
	}
	return old, nil
}

// AlternateStack is sigaltstack(2)'s; SetAlternateStack installs one that was checked.
func (t *Task) AlternateStack() arch.SignalStack { return t.altStack }

// SetAlternateStack installs s.
func (t *Task) SetAlternateStack(s arch.SignalStack) { t.altStack = s }

// SignalReturn is rt_sigreturn(2).
func (t *Task) SignalReturn() error {
	// The FP state of now is not asked for: all of it is replaced. If the frame is bad, the signal
	// that says so asks for it.
	mask, stack, err := t.arch.SignalRestore(t.mm)
	if err != nil {
		info := arch.NewKernelSignal(int32(unix.SIGSEGV))
		t.forceSignal(&info)
		t.noReturn = true
		return nil
	}
	t.pctx.FullStateChanged()
	t.restart = nil
	t.SetSignalMask(mask)
	// As in Linux, errors of the stack are ignored here.
	if stack.Flags&^(arch.SsOnStack|arch.SsDisable|arch.SsAutodisarm) == 0 {
		stack.Flags &^= arch.SsOnStack
		t.altStack = stack
	}
	t.noReturn = true
	return nil
}

// TakeSignal removes and returns a pending signal of set, for sigtimedwait(2) and
// signalfd(2). ok is false if there is none.
func (t *Task) TakeSignal(set arch.SignalSet) (info arch.SignalInfo, ok bool) {
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	return t.takeSignalLocked(set)
}

func (t *Task) takeSignalLocked(set arch.SignalSet) (info arch.SignalInfo, ok bool) {
	tg := t.tg
	for {
		q := t.k.dequeueSignal(&t.pending, ^set)
		if q == nil {
			q = t.k.dequeueSignal(&tg.pending, ^set)
		}
		if q == nil {
			return arch.SignalInfo{}, false
		}
		info = q.info
		if q.timer == nil || q.timer.delivered(&info) {
			return info, true
		}
	}
}

// WaitSignal is sigtimedwait(2): it blocks until a signal of set is pending, the deadline
// (CLOCK_MONOTONIC ns; negative: none) passes (EAGAIN), or another signal interrupts (EINTR).
func (t *Task) WaitSignal(set arch.SignalSet, deadline int64) (arch.SignalInfo, error) {
	set &^= unblockable
	for {
		if info, ok := t.TakeSignal(set); ok {
			return info, nil
		}
		// While it waits the signals count as unblocked, so that senders wake it and do not
		// drop ignored ones.
		t.tg.signalMu.Lock()
		old := t.mask
		t.realMask = set
		t.mask &^= set
		pending := t.interruptedLocked()
		t.tg.signalMu.Unlock()
		var err error
		if !pending {
			if deadline < 0 {
				err = t.Block()
			} else {
				err = t.BlockUntil(deadline)
			}
		}
		t.tg.signalMu.Lock()
		t.realMask, t.mask = 0, old
		t.attention.Store(true)
		info, ok := t.takeSignalLocked(set)
		// Signals of the process that came meanwhile were offered to t alone.
		if left := t.tg.pending.set & set & old; left != 0 {
			t.tg.retargetLocked(t, left)
		}
		t.tg.signalMu.Unlock()
		if ok {
			return info, nil
		}
		switch {
		case err == unix.ETIMEDOUT:
			return arch.SignalInfo{}, unix.EAGAIN
		case err != nil || t.Interrupted():
			return arch.SignalInfo{}, unix.EINTR
		}
	}
}
