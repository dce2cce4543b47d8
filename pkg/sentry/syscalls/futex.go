package syscalls

import (
	"math"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/futex"
	"runsc/pkg/sentry/strace"
)

// The calls that x/sys has no numbers for.
const (
	sysFutexWaitv   = 449
	sysFutexWake    = 454
	sysFutexWait    = 455
	sysFutexRequeue = 456
)

var futexSyscalls = []kernel.Syscall{
	{Number: unix.SYS_FUTEX, Name: "futex", Fn: futexCall, Args: []strace.Format{strace.Hex, strace.FutexOp, strace.Dec, strace.Hex, strace.Hex, strace.Hex}},
	{Number: unix.SYS_SET_ROBUST_LIST, Name: "set_robust_list", Fn: setRobustList, Args: []strace.Format{strace.Hex, strace.Dec64}},
	{Number: unix.SYS_GET_ROBUST_LIST, Name: "get_robust_list", Fn: getRobustList, Args: []strace.Format{strace.Dec, strace.Hex, strace.Hex}},
	{Number: sysFutexWaitv, Name: "futex_waitv", Fn: futexWaitv, Args: []strace.Format{strace.Hex, strace.Dec, strace.Hex, strace.Timespec, strace.ClockID}},
	{Number: sysFutexWake, Name: "futex_wake", Fn: futexWake, Args: []strace.Format{strace.Hex, strace.Hex, strace.Dec, strace.Hex}},
	{Number: sysFutexWait, Name: "futex_wait", Fn: futexWait, Args: []strace.Format{strace.Hex, strace.Hex, strace.Hex, strace.Hex, strace.Timespec, strace.ClockID}},
	{Number: sysFutexRequeue, Name: "futex_requeue", Fn: futexRequeue, Args: []strace.Format{strace.Hex, strace.Hex, strace.Dec, strace.Dec}},
}

var futexWaiters = sync.Pool{New: func() any { return &futex.Waiter{} }}

// noTimeout is the deadline of a wait without timeout.
const noTimeout = math.MaxInt64

// futexSleep parks t until w is woken or CLOCK_MONOTONIC reaches deadline, and takes w off
// its queue. nil: woken; ETIMEDOUT; ERESTARTSYS: interrupted.
func futexSleep(t *kernel.Task, w *futex.Waiter, deadline int64) error {
	var err error
	for !w.Done() && err == nil {
		if deadline == noTimeout {
			err = t.Block()
		} else {
			err = t.BlockUntil(deadline)
		}
	}
	if t.Kernel().Futexes().Finish(w) {
		return nil
	}
	return err
}

// absoluteDeadline turns a time of CLOCK_REALTIME or CLOCK_MONOTONIC into one of the latter.
func absoluteDeadline(t *kernel.Task, when int64, realtime bool) int64 {
	if !realtime || when == noTimeout {
		return when
	}
	return addDuration(t.Monotonic(), when-t.RealTime())
}

// futexRestart is an interrupted FUTEX_WAIT with a timeout.
type futexRestart struct {
	addr      uintptr
	shared    bool
	val, mask uint32
	deadline  int64
}

// Restart implements kernel.RestartBlock.
func (r *futexRestart) Restart(t *kernel.Task) (uintptr, error) {
	return futexWaitUntil(t, r.addr, r.shared, r.val, r.mask, r.deadline)
}

func futexWaitUntil(t *kernel.Task, addr uintptr, shared bool, val, mask uint32, deadline int64) (uintptr, error) {
	w := futexWaiters.Get().(*futex.Waiter)
	defer futexWaiters.Put(w)
	w.Waker = t
	if err := t.Kernel().Futexes().Wait(w, t.MemoryManager(), addr, shared, val, mask); err != nil {
		return 0, err
	}
	err := futexSleep(t, w, deadline)
	if err == linux.ERESTARTSYS && deadline != noTimeout {
		err = t.SetRestartBlock(&futexRestart{addr, shared, val, mask, deadline})
	}
	return 0, err
}

func futexCall(t *kernel.Task, a arch.Args) (uintptr, error) {
	addr, op, val, addr2, val3 := a.Pointer(0), a.Uint(1), a.Uint(2), a.Pointer(4), a.Uint(5)
	shared, realtime := op&linux.FutexPrivateFlag == 0, op&linux.FutexClockRealtime != 0
	cmd := op &^ (linux.FutexPrivateFlag | linux.FutexClockRealtime)
	tab, m := t.Kernel().Futexes(), t.MemoryManager()

	deadline := int64(noTimeout)
	switch cmd {
	case linux.FutexWait, linux.FutexWaitBitset, linux.FutexLockPI, linux.FutexLockPI2, linux.FutexWaitRequeuePI:
		if p := a.Pointer(3); p != 0 {
			d, err := copyInDuration(t, p)
			if err != nil {
				return 0, err
			}
			switch {
			case cmd == linux.FutexWait:
				deadline = addDuration(t.Monotonic(), d)
			default:
				deadline = absoluteDeadline(t, d, realtime || cmd == linux.FutexLockPI)
			}
		}
	}
	if realtime && cmd != linux.FutexWaitBitset && cmd != linux.FutexWaitRequeuePI && cmd != linux.FutexLockPI2 {
		return 0, unix.ENOSYS
	}

	var n int
	var err error
	switch cmd {
	case linux.FutexWait:
		return futexWaitUntil(t, addr, shared, val, futex.MatchAny, deadline)
	case linux.FutexWaitBitset:
		return futexWaitUntil(t, addr, shared, val, val3, deadline)
	case linux.FutexWake:
		n, err = tab.Wake(m, addr, shared, futex.MatchAny, wakeCount(val))
	case linux.FutexWakeBitset:
		n, err = tab.Wake(m, addr, shared, val3, wakeCount(val))
	case linux.FutexRequeue:
		n, err = tab.Requeue(m, addr, addr2, shared, int(int32(val)), int(a.Int(3)), nil)
	case linux.FutexCmpRequeue:
		n, err = tab.Requeue(m, addr, addr2, shared, int(int32(val)), int(a.Int(3)), &val3)
	case linux.FutexWakeOp:
		n, err = tab.WakeOp(m, addr, addr2, shared, wakeCount(val), wakeCount(a.Uint(3)), val3)
	case linux.FutexLockPI, linux.FutexLockPI2:
		return lockPI(t, addr, shared, deadline)
	case linux.FutexTrylockPI:
		w := futex.Waiter{Waker: t}
		_, err = tab.LockPI(&w, m, addr, shared, uint32(t.ThreadID()), true, t)
	case linux.FutexUnlockPI:
		err = tab.UnlockPI(m, addr, shared, uint32(t.ThreadID()))
	case linux.FutexWaitRequeuePI:
		w := &futex.Waiter{Waker: t}
		if err := tab.WaitRequeuePI(w, m, addr, shared, val, val3, addr2, uint32(t.ThreadID())); err != nil {
			return 0, err
		}
		switch err := futexSleep(t, w, deadline); {
		case err == linux.ERESTARTSYS:
			return 0, linux.ERESTARTNOINTR
		case err != nil:
			return 0, err
		case !w.Acquired():
			return 0, unix.EAGAIN
		}
		return 0, nil
	case linux.FutexCmpRequeuePI:
		n, err = tab.RequeuePI(m, addr, addr2, shared, int(int32(val)), int(a.Int(3)), val3, t)
	default:
		return 0, unix.ENOSYS
	}
	return uintptr(n), err
}

// wakeCount is how many waiters a wake call with that count wakes: at least one, as in
// Linux.
func wakeCount(n uint32) int { return max(int(int32(n)), 1) }

func lockPI(t *kernel.Task, addr uintptr, shared bool, deadline int64) (uintptr, error) {
	w := &futex.Waiter{Waker: t}
	for {
		taken, err := t.Kernel().Futexes().LockPI(w, t.MemoryManager(), addr, shared, uint32(t.ThreadID()), false, t)
		if err != nil || taken {
			return 0, err
		}
		if err := futexSleep(t, w, deadline); err != nil {
			if err == linux.ERESTARTSYS {
				err = linux.ERESTARTNOINTR
			}
			return 0, err
		}
		if w.Acquired() {
			return 0, nil
		}
	}
}

func setRobustList(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Size(1) != linux.RobustListHeadSize {
		return 0, unix.EINVAL
	}
	t.SetRobustList(a.Pointer(0))
	return 0, nil
}

func getRobustList(t *kernel.Task, a arch.Args) (uintptr, error) {
	target := t
	if pid := a.Int(0); pid != 0 {
		if target = t.PIDNamespace().Task(pid); target == nil {
			return 0, unix.ESRCH
		}
	}
	if !t.MayTrace(target) {
		return 0, unix.EPERM
	}
	size, head := uint64(linux.RobustListHeadSize), uint64(target.RobustList())
	if err := kernel.CopyOut(t, a.Pointer(2), &size); err != nil {
		return 0, err
	}
	return 0, kernel.CopyOut(t, a.Pointer(1), &head)
}

// futex2Shared checks the flags of the futex2 family.
func futex2Shared(flags uint32) (shared bool, err error) {
	if flags&^(linux.Futex2SizeMask|linux.Futex2Private) != 0 || flags&linux.Futex2SizeMask != linux.Futex2SizeU32 {
		return false, unix.EINVAL
	}
	return flags&linux.Futex2Private == 0, nil
}

// futex2Deadline reads the absolute timeout of the futex2 family.
func futex2Deadline(t *kernel.Task, addr uintptr, clock int32) (int64, error) {
	if addr == 0 {
		return noTimeout, nil
	}
	if clock != unix.CLOCK_MONOTONIC && clock != unix.CLOCK_REALTIME {
		return 0, unix.EINVAL
	}
	d, err := copyInDuration(t, addr)
	if err != nil {
		return 0, err
	}
	return absoluteDeadline(t, d, clock == unix.CLOCK_REALTIME), nil
}

func copyInWaitv(t *kernel.Task, addr uintptr, n int) ([]futex.WaitSpec, error) {
	vs, err := kernel.CopyInSlice[linux.FutexWaitv](t, addr, n)
	if err != nil {
		return nil, err
	}
	specs := make([]futex.WaitSpec, n)
	for i, v := range vs {
		shared, err := futex2Shared(v.Flags)
		if err != nil || v.Reserved != 0 || v.Val > math.MaxUint32 {
			return nil, unix.EINVAL
		}
		specs[i] = futex.WaitSpec{Addr: uintptr(v.Uaddr), Val: uint32(v.Val), Shared: shared}
	}
	return specs, nil
}

func futexWaitv(t *kernel.Task, a arch.Args) (uintptr, error) {
	n := a.Uint(1)
	if a.Uint(2) != 0 || n == 0 || n > linux.FutexWaitvMax || a.Pointer(0) == 0 {
		return 0, unix.EINVAL
	}
	deadline, err := futex2Deadline(t, a.Pointer(3), a.Int(4))
	if err != nil {
		return 0, err
	}
	specs, err := copyInWaitv(t, a.Pointer(0), int(n))
	if err != nil {
		return 0, err
	}
	ws := make([]*futex.Waiter, n)
	for i := range ws {
		ws[i] = &futex.Waiter{Waker: t}
	}
	tab := t.Kernel().Futexes()
	i, done, err := tab.WaitMultiple(ws, t.MemoryManager(), specs)
	if err != nil || done {
		return uintptr(i), err
	}
	for err == nil && !anyDone(ws) {
		if deadline == noTimeout {
			err = t.Block()
		} else {
			err = t.BlockUntil(deadline)
		}
	}
	if i := tab.FinishMultiple(ws); i >= 0 {
		return uintptr(i), nil
	}
	return 0, err
}

func anyDone(ws []*futex.Waiter) bool {
	for _, w := range ws {
		if w.Done() {
			return true
		}
	}
	return false
}

func futexWake(t *kernel.Task, a arch.Args) (uintptr, error) {
	shared, err := futex2Shared(a.Uint(3))
	if err != nil || a.Uint64(1) > math.MaxUint32 {
		return 0, unix.EINVAL
	}
	n, err := t.Kernel().Futexes().Wake(t.MemoryManager(), a.Pointer(0), shared, a.Uint(1), int(a.Int(2)))
	return uintptr(n), err
}

func futexWait(t *kernel.Task, a arch.Args) (uintptr, error) {
	shared, err := futex2Shared(a.Uint(3))
	if err != nil || a.Uint64(1) > math.MaxUint32 || a.Uint64(2) > math.MaxUint32 {
		return 0, unix.EINVAL
	}
	deadline, err := futex2Deadline(t, a.Pointer(4), a.Int(5))
	if err != nil {
		return 0, err
	}
	w := futexWaiters.Get().(*futex.Waiter)
	defer futexWaiters.Put(w)
	w.Waker = t
	if err := t.Kernel().Futexes().Wait(w, t.MemoryManager(), a.Pointer(0), shared, a.Uint(1), a.Uint(2)); err != nil {
		return 0, err
	}
	return 0, futexSleep(t, w, deadline)
}

func futexRequeue(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Uint(1) != 0 || a.Pointer(0) == 0 {
		return 0, unix.EINVAL
	}
	s, err := copyInWaitv(t, a.Pointer(0), 2)
	if err != nil {
		return 0, err
	}
	if s[0].Shared != s[1].Shared {
		return 0, unix.EINVAL
	}
	val := s[0].Val
	n, err := t.Kernel().Futexes().Requeue(t.MemoryManager(), s[0].Addr, s[1].Addr, s[0].Shared, int(a.Int(2)), int(a.Int(3)), &val)
	return uintptr(n), err
}
