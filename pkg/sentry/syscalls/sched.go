package syscalls

import (
	"runtime"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
)

var schedSyscalls = []kernel.Syscall{
	{Number: unix.SYS_SCHED_YIELD, Name: "sched_yield", Fn: schedYield},
	{Number: unix.SYS_SCHED_SETAFFINITY, Name: "sched_setaffinity", Fn: schedSetaffinity, Args: []strace.Format{strace.Dec, strace.Dec64, strace.Hex}, Support: kernel.Recorded, Note: "the host schedules"},
	{Number: unix.SYS_SCHED_GETAFFINITY, Name: "sched_getaffinity", Fn: schedGetaffinity, Args: []strace.Format{strace.Dec, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_SCHED_SETSCHEDULER, Name: "sched_setscheduler", Fn: schedSetscheduler, Args: []strace.Format{strace.Dec, strace.Dec, strace.Hex}, Support: kernel.Recorded, Note: "the host schedules"},
	{Number: unix.SYS_SCHED_GETSCHEDULER, Name: "sched_getscheduler", Fn: schedGetscheduler, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_SCHED_SETPARAM, Name: "sched_setparam", Fn: schedSetparam, Args: []strace.Format{strace.Dec, strace.Hex}, Support: kernel.Recorded, Note: "the host schedules"},
	{Number: unix.SYS_SCHED_GETPARAM, Name: "sched_getparam", Fn: schedGetparam, Args: []strace.Format{strace.Dec, strace.Hex}},
	{Number: unix.SYS_SCHED_GET_PRIORITY_MAX, Name: "sched_get_priority_max", Fn: schedGetPriorityMax, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_SCHED_GET_PRIORITY_MIN, Name: "sched_get_priority_min", Fn: schedGetPriorityMin, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_SCHED_RR_GET_INTERVAL, Name: "sched_rr_get_interval", Fn: schedRRGetInterval, Args: []strace.Format{strace.Dec, strace.TimespecOut}},
	{Number: unix.SYS_SCHED_SETATTR, Name: "sched_setattr", Fn: schedSetattr, Args: []strace.Format{strace.Dec, strace.Hex, strace.Hex}, Support: kernel.Recorded, Note: "the host schedules"},
	{Number: unix.SYS_SCHED_GETATTR, Name: "sched_getattr", Fn: schedGetattr, Args: []strace.Format{strace.Dec, strace.Hex, strace.Dec, strace.Hex}},
	{Number: unix.SYS_GETPRIORITY, Name: "getpriority", Fn: getpriority, Args: []strace.Format{strace.Dec, strace.Dec}},
	{Number: unix.SYS_SETPRIORITY, Name: "setpriority", Fn: setpriority, Args: []strace.Format{strace.Dec, strace.Dec, strace.Dec}, Support: kernel.Recorded, Note: "the host schedules"},
	{Number: unix.SYS_IOPRIO_GET, Name: "ioprio_get", Fn: ioprioGet, Args: []strace.Format{strace.Dec, strace.Dec}},
	{Number: unix.SYS_IOPRIO_SET, Name: "ioprio_set", Fn: ioprioSet, Args: []strace.Format{strace.Dec, strace.Dec, strace.Dec}, Support: kernel.Recorded, Note: "the host schedules"},
}

func schedYield(t *kernel.Task, a arch.Args) (uintptr, error) {
	runtime.Gosched()
	return 0, nil
}

// taskOf finds the thread tid, 0 being the caller.
func taskOf(t *kernel.Task, tid int32) (*kernel.Task, error) {
	if tid < 0 {
		return nil, unix.EINVAL
	}
	if tid == 0 {
		return t, nil
	}
	if task := t.PIDNamespace().Task(tid); task != nil {
		return task, nil
	}
	return nil, unix.ESRCH
}

// maySchedule is the permission check of sched_setscheduler(2) and its kin.
func maySchedule(t, target *kernel.Task) bool {
	c, d := t.Credentials(), target.Credentials()
	return c.EffectiveUID == d.EffectiveUID || c.EffectiveUID == d.RealUID || c.HasCapabilityIn(unix.CAP_SYS_NICE, d.UserNS)
}

func schedSetaffinity(t *kernel.Task, a arch.Args) (uintptr, error) {
	target, err := taskOf(t, a.Int(0))
	if err != nil {
		return 0, unix.ESRCH
	}
	n := min(a.Size(1), 1024)
	mask := make([]byte, n)
	if err := t.CopyInBytes(a.Pointer(2), mask); err != nil {
		return 0, err
	}
	if !maySchedule(t, target) {
		return 0, unix.EPERM
	}
	all := cpuMask(t)
	any := false
	for i := range all {
		if i >= len(mask) {
			all[i] = 0
		} else {
			all[i] &= mask[i]
		}
		any = any || all[i] != 0
	}
	if !any {
		return 0, unix.EINVAL
	}
	target.SetSched(func(s *kernel.SchedState) { s.Affinity = all })
	return 0, nil
}

// cpuMask has a bit for each CPU, in whole 8-byte words.
func cpuMask(t *kernel.Task) []byte {
	n := t.Kernel().NumCPU()
	b := make([]byte, (n+63)/64*8)
	for i := range n {
		b[i/8] |= 1 << (i % 8)
	}
	return b
}

func schedGetaffinity(t *kernel.Task, a arch.Args) (uintptr, error) {
	target, err := taskOf(t, a.Int(0))
	if err != nil {
		return 0, unix.ESRCH
	}
	mask := target.Sched().Affinity
	if mask == nil {
		mask = cpuMask(t)
	}
	if a.Size(1) < uint(len(mask)) || a.Size(1)&7 != 0 {
		return 0, unix.EINVAL
	}
	return uintptr(len(mask)), t.CopyOutBytes(a.Pointer(2), mask)
}

// resetOnFork is SCHED_RESET_ON_FORK.
const resetOnFork = 0x40000000

// setPolicy checks and records a policy (sched(7)).
func setPolicy(t, target *kernel.Task, policy, priority int32, nice *int32) error {
	reset := policy&resetOnFork != 0
	policy &^= resetOnFork
	switch policy {
	case unix.SCHED_NORMAL, unix.SCHED_BATCH, unix.SCHED_IDLE:
		if priority != 0 {
			return unix.EINVAL
		}
	case unix.SCHED_FIFO, unix.SCHED_RR:
		if priority < 1 || priority > 99 {
			return unix.EINVAL
		}
		if !t.Credentials().HasCapability(unix.CAP_SYS_NICE) {
			return unix.EPERM
		}
	default:
		return unix.EINVAL
	}
	if !maySchedule(t, target) {
		return unix.EPERM
	}
	target.SetSched(func(s *kernel.SchedState) {
		s.Policy, s.Priority, s.ResetOnFork = policy, priority, reset
		if nice != nil {
			s.Nice = *nice
		}
	})
	return nil
}

func schedSetscheduler(t *kernel.Task, a arch.Args) (uintptr, error) {
	var prio int32
	if a.Pointer(2) == 0 || a.Int(1) < 0 {
		return 0, unix.EINVAL
	}
	if err := kernel.CopyIn(t, a.Pointer(2), &prio); err != nil {
		return 0, err
	}
	target, err := taskOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	return 0, setPolicy(t, target, a.Int(1), prio, nil)
}

func schedGetscheduler(t *kernel.Task, a arch.Args) (uintptr, error) {
	target, err := taskOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	s := target.Sched()
	p := s.Policy
	if s.ResetOnFork {
		p |= resetOnFork
	}
	return uintptr(p), nil
}

func schedSetparam(t *kernel.Task, a arch.Args) (uintptr, error) {
	var prio int32
	if a.Pointer(1) == 0 {
		return 0, unix.EINVAL
	}
	if err := kernel.CopyIn(t, a.Pointer(1), &prio); err != nil {
		return 0, err
	}
	target, err := taskOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	return 0, setPolicy(t, target, target.Sched().Policy, prio, nil)
}

func schedGetparam(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Pointer(1) == 0 {
		return 0, unix.EINVAL
	}
	target, err := taskOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	prio := target.Sched().Priority
	return 0, kernel.CopyOut(t, a.Pointer(1), &prio)
}

func schedGetPriorityMax(t *kernel.Task, a arch.Args) (uintptr, error) {
	switch a.Int(0) {
	case unix.SCHED_FIFO, unix.SCHED_RR:
		return 99, nil
	case unix.SCHED_NORMAL, unix.SCHED_BATCH, unix.SCHED_IDLE, unix.SCHED_DEADLINE:
		return 0, nil
	}
	return 0, unix.EINVAL
}

func schedGetPriorityMin(t *kernel.Task, a arch.Args) (uintptr, error) {
	if v, err := schedGetPriorityMax(t, a); v == 0 {
		return 0, err
	}
	return 1, nil
}

func schedRRGetInterval(t *kernel.Task, a arch.Args) (uintptr, error) {
	target, err := taskOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	ts := unix.Timespec{Nsec: 4_000_000}
	switch target.Sched().Policy {
	case unix.SCHED_FIFO:
		ts.Nsec = 0
	case unix.SCHED_RR:
		ts.Nsec = 100_000_000
	}
	return 0, kernel.CopyOut(t, a.Pointer(1), &ts)
}

// schedAttr is struct sched_attr, first version (sched_setattr(2)).
type schedAttr struct {
	Size                      uint32
	Policy                    uint32
	Flags                     uint64
	Nice                      int32
	Priority                  uint32
	Runtime, Deadline, Period uint64
}

func schedSetattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Pointer(1) == 0 || a.Uint(2) != 0 || a.Int(0) < 0 {
		return 0, unix.EINVAL
	}
	var size uint32
	if err := kernel.CopyIn(t, a.Pointer(1), &size); err != nil {
		return 0, err
	}
	if size == 0 {
		size = 48
	}
	var at schedAttr
	if err := copyInExtensible(t, a.Pointer(1), uint(size), 48, &at); err != nil {
		if err == unix.EINVAL {
			err = unix.E2BIG
		}
		return 0, err
	}
	target, err := taskOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	if at.Flags&^uint64(1) != 0 {
		return 0, unix.EINVAL
	}
	policy := int32(at.Policy)
	if at.Flags&1 != 0 {
		policy |= resetOnFork
	}
	return 0, setPolicy(t, target, policy, int32(at.Priority), &at.Nice)
}

func schedGetattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Pointer(1) == 0 || a.Uint(2) < 48 || a.Uint(2) > 4096 || a.Uint(3) != 0 {
		return 0, unix.EINVAL
	}
	target, err := taskOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	s := target.Sched()
	at := schedAttr{Size: 48, Policy: uint32(s.Policy), Nice: s.Nice, Priority: uint32(s.Priority)}
	if s.ResetOnFork {
		at.Flags = 1
	}
	return 0, kernel.CopyOut(t, a.Pointer(1), &at)
}

// prioTargets are the threads that getpriority(2)'s which and who name.
func prioTargets(t *kernel.Task, which, who int32) ([]*kernel.Task, error) {
	var out []*kernel.Task
	switch which {
	case unix.PRIO_PROCESS:
		if task, err := taskOf(t, who); err == nil {
			out = append(out, task)
		}
	case unix.PRIO_PGRP:
		pg := t.ThreadGroup().ProcessGroup()
		if who != 0 {
			pg = t.PIDNamespace().ProcessGroup(who)
		}
		if pg != nil {
			for _, tg := range pg.Members() {
				out = append(out, tg.Leader())
			}
		}
	case unix.PRIO_USER:
		uid := t.Credentials().RealUID
		if who != 0 {
			uid = t.UserNamespace().KUID(uint32(who))
		}
		for _, task := range t.PIDNamespace().Tasks() {
			if task.Credentials().RealUID == uid {
				out = append(out, task)
			}
		}
	default:
		return nil, unix.EINVAL
	}
	if len(out) == 0 {
		return nil, unix.ESRCH
	}
	return out, nil
}

func getpriority(t *kernel.Task, a arch.Args) (uintptr, error) {
	l, err := prioTargets(t, a.Int(0), a.Int(1))
	if err != nil {
		return 0, err
	}
	best := int32(19)
	for _, task := range l {
		best = min(best, task.Sched().Nice)
	}
	return uintptr(20 - best), nil // the raw call's range is 40..1
}

func setpriority(t *kernel.Task, a arch.Args) (uintptr, error) {
	l, err := prioTargets(t, a.Int(0), a.Int(1))
	if err != nil {
		return 0, err
	}
	nice := min(max(a.Int(2), -20), 19)
	for _, task := range l {
		if !maySchedule(t, task) {
			return 0, unix.EPERM
		}
		limit := task.ThreadGroup().Limits().Get(13).Cur // RLIMIT_NICE: 20-nice
		if nice < task.Sched().Nice && uint64(20-nice) > limit && !t.Credentials().HasCapability(unix.CAP_SYS_NICE) {
			return 0, unix.EACCES
		}
		task.SetSched(func(s *kernel.SchedState) { s.Nice = nice })
	}
	return 0, nil
}

func ioprioGet(t *kernel.Task, a arch.Args) (uintptr, error) {
	l, err := prioTargets(t, a.Int(0)-1, a.Int(1))
	if err != nil {
		return 0, err
	}
	return uintptr(l[0].Sched().IOPrio), nil
}

func ioprioSet(t *kernel.Task, a arch.Args) (uintptr, error) {
	l, err := prioTargets(t, a.Int(0)-1, a.Int(1))
	if err != nil {
		return 0, err
	}
	class, data := a.Int(2)>>13, a.Int(2)&0x1fff
	if class < 0 || class > 3 || data > 7 {
		return 0, unix.EINVAL
	}
	if class == 1 && !t.Credentials().HasCapability(unix.CAP_SYS_ADMIN) {
		return 0, unix.EPERM
	}
	for _, task := range l {
		task.SetSched(func(s *kernel.SchedState) { s.IOPrio = a.Int(2) })
	}
	return 0, nil
}
