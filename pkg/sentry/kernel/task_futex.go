package kernel

import "runsc/pkg/sentry/kernel/futex"

// exitRobustList marks the robust futexes that the task still holds (get_robust_list(2)),
// and hands its priority-inheritance futexes on.
func (t *Task) exitRobustList() {
	tid := uint32(t.ThreadID())
	if t.robustList != 0 {
		t.k.futexes.ExitRobustList(t.mm, t.robustList, tid)
		t.robustList = 0
	}
	// From here on nobody queues behind t; whoever did is served now. The robust list has to be
	// done by then: who finds no owner and an unchanged word gets ESRCH.
	t.futexesGone.Store(true)
	t.k.futexes.OwnerDied(t, tid)
}

// futexWake wakes one waiter of the word at addr, for the clear-tid protocol of
// set_tid_address(2).
func (t *Task) futexWake(addr uintptr) {
	t.k.futexes.Wake(t.mm, addr, true, ^uint32(0), 1)
	t.k.futexes.Wake(t.mm, addr, false, ^uint32(0), 1)
}

// exitSemaphores undoes SEM_UNDO operations (semop(2)) once the last thread of the process
// exits or leaves the namespace: threads share what there is to undo.
func (t *Task) exitSemaphores() {
	t.tg.signalMu.Lock()
	shared := t.tg.live > 1 || t.tg.live == 1 && t.killed
	t.tg.signalMu.Unlock()
	if !shared {
		t.ipc.Load().Sem.Exit(t.tg, t.RootTGID(), t.RealTime())
	}
}

// FutexOwner implements futex.Tasks for tid of t's pid namespace.
func (t *Task) FutexOwner(tid uint32) futex.Waker {
	o := t.pids.ns.Task(int32(tid))
	if o == nil || o.futexesGone.Load() {
		return nil
	}
	return o
}
