package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/waiter"
)

var restartBlockResult = linux.ERESTART_RESTARTBLOCK

// taskWaker is the Listener by which queues wake a task.
type taskWaker struct{ t *Task }

// NotifyEvent implements waiter.Listener.
func (w *taskWaker) NotifyEvent(waiter.EventMask) { w.t.Wake() }

// Waker implements context.Blocker.
func (t *Task) Waker() waiter.Listener { return &t.waker }

// Wake ends the present Block, or the next one, of t. Any goroutine may call it.
func (t *Task) Wake() {
	select {
	case t.wakeC <- struct{}{}:
	default:
	}
}

// interrupt ends a Block that a signal may interrupt, and makes the platform return to the
// run loop. The caller has changed what the run loop is to see before.
//
// The token comes last: who takes it looks at attention, and would go back to sleep for
// good if that were not set yet.
func (t *Task) interrupt() {
	t.kick()
	select {
	case t.interruptC <- struct{}{}:
	default:
	}
}

// kick makes the run loop look around without disturbing a sleeping system call.
func (t *Task) kick() {
	t.attention.Store(true)
	t.pctx.Interrupt()
}

// Interrupted implements context.Blocker: a signal that would be delivered, a stop or the
// end of the task is pending.
func (t *Task) Interrupted() bool {
	if !t.attention.Load() {
		return false
	}
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	return t.interruptedLocked()
}

func (t *Task) interruptedLocked() bool {
	return t.killed || t.tg.exiting || t.stopPendingLocked() || t.ptrace.trapPending() ||
		(t.pending.set|t.tg.pending.set)&^t.mask != 0
}

// Killed says whether the task is to exit; sleeps that ignore other signals test it.
func (t *Task) Killed() bool {
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	return t.killed
}

// Block implements context.Blocker.
func (t *Task) Block() error { return t.block(nil) }

// BlockUntil implements context.Blocker.
func (t *Task) BlockUntil(deadline int64) error {
	left := deadline - t.k.monotonic.Now()
	if left <= 0 {
		select {
		case <-t.wakeC:
			return nil
		default:
		}
		if t.Interrupted() {
			return linux.ERESTARTSYS
		}
		return unix.ETIMEDOUT
	}
	s := t.startTimeout(deadline)
	defer s.timer.Stop()
	return t.block(s.c)
}

func (t *Task) block(timeout <-chan struct{}) error {
	// A wake-up that already came needs no sleep.
	select {
	case <-t.wakeC:
		return nil
	default:
	}
	t.asleep(StateSleeping)
	defer t.awake()
	for {
		if t.Interrupted() {
			return linux.ERESTARTSYS
		}
		select {
		case <-t.wakeC:
			return nil
		case <-t.interruptC:
			// Perhaps stale; the loop looks.
		case <-timeout:
			return unix.ETIMEDOUT
		}
	}
}

// BlockUninterruptible parks until the Waker is notified or the task is killed (EINTR).
// vfork(2) parents and exec's wait for siblings sleep so.
func (t *Task) BlockUninterruptible() error {
	t.asleep(StateDiskSleep)
	defer t.awake()
	for {
		if t.Killed() {
			return unix.EINTR
		}
		select {
		case <-t.wakeC:
			return nil
		case <-t.interruptC:
		}
	}
}

// asleep begins a sleep, whose time is nobody's CPU time; awake ends it.
func (t *Task) asleep(s TaskState) {
	t.pctx.Sleep()
	t.times.sleep(t.k.cpuShare.now())
	t.k.cpuShare.change(-1)
	t.setState(s)
}

func (t *Task) awake() {
	t.setState(StateRunning)
	t.k.cpuShare.change(1)
	t.times.wake(t.k.cpuShare.now())
}

func (t *Task) setState(s TaskState) { t.state.Store(uint32(s)) }

// RestartInterrupted is restart_syscall(2).
func (t *Task) RestartInterrupted() (uintptr, error) {
	b := t.restartBlock
	if b == nil {
		return 0, unix.EINTR
	}
	t.restartBlock = nil
	return b.Restart(t)
}
