package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/waiter"
)

// ExitThread is exit(2): the calling thread ends with this wait(2) status once its system
// call has returned.
func (t *Task) ExitThread(status uint32) {
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	t.exitCode = status
	t.killed = true
	t.attention.Store(true)
}

// ExitGroup is exit_group(2) by a thread of the group.
func (t *Task) ExitGroup(status uint32) {
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	t.groupExitLocked(status)
}

// groupExitLocked makes every thread of the group exit. The first caller decides the
// status. signalMu is held.
func (t *Task) groupExitLocked(status uint32) {
	tg := t.tg
	if !tg.exiting {
		tg.exiting = true
		tg.exitCode = status
	}
	tg.endGroupStopLocked(false)
	for _, s := range tg.tasksSnapshot() {
		if !s.killed {
			s.killed = true
			s.exitCode = tg.exitCode
		}
		if s.ptrace.stopped && s.ptrace.stop == stopExit {
			s.ptrace.stopped = false
		}
		s.interrupt()
		s.start() // one that never ran has to, so that it can exit
	}
}

// exit ends the task; it runs on the task's goroutine, last.
func (t *Task) exit() {
	k, tg := t.k, t.tg
	t.ptraceExitEvent()

	k.tasksMu.Lock()
	tg.signalMu.Lock()
	t.killed = true
	tg.live--
	lastThread := tg.live == 0
	if lastThread && !tg.exiting {
		tg.exiting = true
		tg.exitCode = t.exitCode // the last thread's, as since Linux 5.17
	}
	// Threads that were to handle group signals hand them on.
	if tg.pending.set != 0 {
		tg.retargetLocked(t, tg.pending.set)
	}
	stopReached := tg.stopReachedLocked()
	tg.signalMu.Unlock()
	k.tasksMu.Unlock()
	if stopReached {
		tg.notifyParentStop()
	}

	if lastThread {
		tg.timers.destroy()
	}
	t.releaseMM()
	t.imageMu.Lock()
	fds, fs := t.fds, t.fs
	t.fds, t.fs = nil, nil
	t.imageMu.Unlock()
	ctx := &exitContext{t}
	fds.DecRef(ctx)
	if lastThread {
		tg.disassociateTTY()
	}
	fs.DecRef(ctx)
	t.exitSemaphores()
	t.pctx.Release()
	if lastThread {
		tg.exitPIDNamespace()
	}
	t.exitNotify()
}

// releaseMM lets go of the address space: robust futexes are marked, the clear-tid word is
// cleared and woken, a vfork(2) parent goes on.
func (t *Task) releaseMM() {
	t.imageMu.Lock()
	m := t.mm
	t.imageMu.Unlock()
	if m == nil {
		return
	}
	t.exitRobustList()
	if t.clearTID != 0 && m.Users() > 1 {
		var zero [4]byte
		if _, err := m.CopyOut(t.clearTID, zero[:]); err == nil {
			t.futexWake(t.clearTID)
		}
	}
	t.clearTID = 0
	t.imageMu.Lock()
	t.mm = nil
	t.imageMu.Unlock()
	m.DecUsers()
	t.vforkFinished()
}

// vforkFinished lets a parent that waits in vfork(2) go on.
func (t *Task) vforkFinished() {
	t.k.tasksMu.Lock()
	p := t.vforkWaiter
	t.vforkWaiter = nil
	t.k.tasksMu.Unlock()
	if p != nil {
		t.vforkDone.Store(true)
		p.Wake()
	}
}

// exitNotify takes the task out of the tree as far as its role allows, and tells those who
// wait for it.
func (t *Task) exitNotify() {
	k, tg := t.k, t.tg
	k.tasksMu.Lock()
	defer k.tasksMu.Unlock()
	t.exited.Store(true)
	t.setState(StateZombie)
	k.detachTracees(t)

	// Children that this thread made hear of its death (PR_SET_PDEATHSIG).
	for c := range tg.children {
		for _, ct := range c.tasks {
			if ct.creator == t {
				ct.creator = nil
				if s := ct.pdeathSig.Load(); s != 0 {
					info := arch.NewKernelSignal(s)
					info.Code = arch.SiUser
					info.SetPID(t.pids.in(ct.pids.ns))
					ct.tg.signalMu.Lock()
					ct.sendLocked(&info, true, nil)
					ct.tg.signalMu.Unlock()
				}
			}
		}
	}

	if t != tg.leader {
		t.ptraceExited()
		k.removeThread(t)
	}
	if e := tg.execing; e != nil {
		e.Wake()
	}
	tg.maybeZombie()
	if tg.pidns.dead {
		k.exitCond.Broadcast()
	}
}

// removeThread takes a thread that nobody waits for out of the tree. tasksMu is held for
// writing.
func (k *Kernel) removeThread(t *Task) {
	tg := t.tg
	tg.signalMu.Lock()
	for i, s := range tg.tasks {
		if s == t {
			tasks := append([]*Task(nil), tg.tasks[:i]...)
			tg.setTasks(append(tasks, tg.tasks[i+1:]...))
			break
		}
	}
	k.discardSignals(&t.pending, ^arch.SignalSet(0))
	tg.times.addExited(&t.times)
	tg.signalMu.Unlock()
	t.forget()
}

// forget removes a task's numbers and its charge to the user.
func (t *Task) forget() {
	if t.reaped {
		return
	}
	t.reaped = true
	t.setState(StateDead)
	t.pids.free(t)
	delete(t.k.tasks, t)
	t.k.unchargeTask(t.Credentials().RealUID)
}

// maybeZombie turns the group into a zombie once its last thread has exited, and tells the
// parent. tasksMu is held for writing.
func (tg *ThreadGroup) maybeZombie() {
	k := tg.k
	if tg.zombie || len(tg.tasks) != 1 || !tg.leader.exited.Load() {
		return
	}
	tg.exitGroups = tg.affectedGroupsLocked()
	tg.zombie = true
	k.reparentChildren(tg)
	close(tg.done)
	tg.exitWaiters.Notify(waiter.EventIn)

	tg.orphanedGroupsAfterExit()

	p := tg.parent
	if tr := tg.leader.ptrace.tracer.Load(); tr != nil {
		// The tracer hears of it first; the parent when that has waited (ptrace(2)).
		tg.sendExitSignal(tr.tg, false)
		tr.tg.notifyWaiters()
		return
	}
	if p == nil || p.reapsAutomatically(tg) {
		if p != nil {
			tg.sendExitSignal(p, true)
			p.notifyWaiters()
		}
		k.reap(tg)
		return
	}
	tg.sendExitSignal(p, false)
	p.notifyWaiters()
}

// reapsAutomatically says whether p does not want zombies: it ignores SIGCHLD or set
// SA_NOCLDWAIT, or will never wait because it is exiting.
func (p *ThreadGroup) reapsAutomatically(child *ThreadGroup) bool {
	p.signalMu.Lock()
	defer p.signalMu.Unlock()
	if p.exiting && p.pidns.dead && p.isInit() {
		return true
	}
	if child.leader.exitSignal != int32(unix.SIGCHLD) || child.leader.ptrace.traced() {
		return false
	}
	a := p.handlers.actions[unix.SIGCHLD]
	return a.Handler == arch.SigIgn || a.Flags&arch.SaNoCldWait != 0
}

// sendExitSignal sends the clone(2) exit signal, usually SIGCHLD.
func (tg *ThreadGroup) sendExitSignal(p *ThreadGroup, auto bool) {
	l := tg.leader
	signo := l.exitSignal
	if signo <= 0 {
		return
	}
	if auto && signo == int32(unix.SIGCHLD) {
		p.signalMu.Lock()
		ignored := p.handlers.actions[signo].Handler == arch.SigIgn
		p.signalMu.Unlock()
		if ignored {
			return
		}
	}
	info := tg.childInfo(p, tg.exitCode)
	info.Signo = signo
	p.sendSignalLocked(&info, nil)
}

// childInfo is the SIGCHLD siginfo for an ended child, as p sees it.
func (tg *ThreadGroup) childInfo(p *ThreadGroup, status uint32) arch.SignalInfo {
	info := arch.SignalInfo{Signo: int32(unix.SIGCHLD)}
	code, st := exitCodeOf(status)
	info.Code = code
	info.SetPID(tg.leader.pids.in(p.pidns))
	info.SetUID(int32(p.leader.UserNamespace().UID(tg.leader.Credentials().RealUID)))
	info.SetStatus(st)
	u, s := tg.CPUTime()
	info.SetUtime(u / nsPerTick)
	info.SetStime(s / nsPerTick)
	return info
}

// exitCodeOf splits a wait(2) status into si_code and si_status.
func exitCodeOf(status uint32) (code, st int32) {
	switch {
	case status&0x7f == 0:
		return arch.CldExited, int32(status >> 8 & 0xff)
	case status&0x80 != 0:
		return arch.CldDumped, int32(status & 0x7f)
	}
	return arch.CldKilled, int32(status & 0x7f)
}

// reparentChildren gives the children of an ending group to the nearest subreaper, or to
// the namespace's init (prctl(2), PR_SET_CHILD_SUBREAPER). tasksMu is held for writing.
func (k *Kernel) reparentChildren(tg *ThreadGroup) {
	if len(tg.children) == 0 {
		return
	}
	heir := tg.pidns.init
	for p := tg.parent; p != nil; p = p.parent {
		if p.pidns != tg.pidns {
			break
		}
		if p.subreaper && !p.zombie && !p.exiting {
			heir = p
			break
		}
	}
	if heir == tg {
		heir = nil
	}
	for c := range tg.children {
		delete(tg.children, c)
		c.parent = heir
		if heir == nil {
			if c.zombie {
				k.reap(c)
			}
			continue
		}
		c.leader.exitSignal = int32(unix.SIGCHLD)
		heir.children[c] = struct{}{}
		if c.zombie {
			if heir.reapsAutomatically(c) {
				k.reap(c)
			} else {
				c.sendExitSignal(heir, false)
				heir.notifyWaiters()
			}
		}
	}
}

// reap forgets a zombie. tasksMu is held for writing.
func (k *Kernel) reap(tg *ThreadGroup) {
	if tg.reaped {
		return
	}
	tg.reaped = true
	if p := tg.parent; p != nil {
		delete(p.children, tg)
		p.times.addChild(tg)
	}
	tg.leaveProcessGroup()
	tg.signalMu.Lock()
	tg.leader.ptraceUnlink(0)
	k.discardSignals(&tg.pending, ^arch.SignalSet(0))
	k.discardSignals(&tg.leader.pending, ^arch.SignalSet(0))
	tg.signalMu.Unlock()
	tg.leader.forget()
	if tg.pidns.dead {
		k.exitCond.Broadcast()
	}
}

// exitPIDNamespace is what the end of a namespace's init does: everyone else in it is
// killed, and waited for (pid_namespaces(7), "The namespace init process").
func (tg *ThreadGroup) exitPIDNamespace() {
	ns, k := tg.pidns, tg.k
	if ns.init != tg {
		return
	}
	k.tasksMu.Lock()
	defer k.tasksMu.Unlock()
	ns.dead = true
	for _, t := range ns.tasks {
		if t.tg != tg {
			t.tg.signalMu.Lock()
			t.groupExitLocked(uint32(unix.SIGKILL))
			t.tg.signalMu.Unlock()
		}
	}
	for {
		for c := range tg.children {
			if c.zombie {
				k.reap(c)
			}
		}
		left := 0
		for _, t := range ns.tasks {
			if t.tg != tg {
				left++
			}
		}
		if left == 0 {
			return
		}
		k.exitCond.Wait()
	}
}

// chargeTask counts a new task against its user's RLIMIT_NPROC, unless it is exempt.
func (k *Kernel) chargeTask(u auth.KUID, limit uint64, exempt bool) error {
	k.sigqueueMu.Lock()
	defer k.sigqueueMu.Unlock()
	if k.userTasks[u] >= limit && !exempt {
		return unix.EAGAIN
	}
	k.userTasks[u]++
	return nil
}

func (k *Kernel) unchargeTask(u auth.KUID) {
	k.sigqueueMu.Lock()
	defer k.sigqueueMu.Unlock()
	if k.userTasks[u]--; k.userTasks[u] == 0 {
		delete(k.userTasks, u)
	}
}
