package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
)

var signalSyscalls = []kernel.Syscall{
	{Number: unix.SYS_KILL, Name: "kill", Fn: kill, Args: []strace.Format{strace.Dec, strace.Signal}},
	{Number: unix.SYS_TKILL, Name: "tkill", Fn: tkill, Args: []strace.Format{strace.Dec, strace.Signal}},
	{Number: unix.SYS_TGKILL, Name: "tgkill", Fn: tgkill, Args: []strace.Format{strace.Dec, strace.Dec, strace.Signal}},
	{Number: unix.SYS_RT_SIGQUEUEINFO, Name: "rt_sigqueueinfo", Fn: rtSigqueueinfo, Args: []strace.Format{strace.Dec, strace.Signal, strace.SigInfo}},
	{Number: unix.SYS_RT_TGSIGQUEUEINFO, Name: "rt_tgsigqueueinfo", Fn: rtTgsigqueueinfo, Args: []strace.Format{strace.Dec, strace.Dec, strace.Signal, strace.SigInfo}},
	{Number: unix.SYS_RT_SIGACTION, Name: "rt_sigaction", Fn: rtSigaction, Args: []strace.Format{strace.Signal, strace.SigAction, strace.SigActionOut, strace.Dec}},
	{Number: unix.SYS_RT_SIGPROCMASK, Name: "rt_sigprocmask", Fn: rtSigprocmask, Args: []strace.Format{strace.SigMaskHow, strace.SigSet, strace.SigSetOut, strace.Dec}},
	{Number: unix.SYS_RT_SIGPENDING, Name: "rt_sigpending", Fn: rtSigpending, Args: []strace.Format{strace.SigSetOut, strace.Dec}},
	{Number: unix.SYS_RT_SIGSUSPEND, Name: "rt_sigsuspend", Fn: rtSigsuspend, Args: []strace.Format{strace.SigSet, strace.Dec}},
	{Number: unix.SYS_RT_SIGTIMEDWAIT, Name: "rt_sigtimedwait", Fn: rtSigtimedwait, Args: []strace.Format{strace.SigSet, strace.SigInfoOut, strace.Timespec, strace.Dec}},
	{Number: unix.SYS_RT_SIGRETURN, Name: "rt_sigreturn", Fn: rtSigreturn},
	{Number: unix.SYS_SIGALTSTACK, Name: "sigaltstack", Fn: sigaltstack, Args: []strace.Format{strace.Hex, strace.Hex}},
	{Number: unix.SYS_PAUSE, Name: "pause", Fn: pause},
}

// mayKill is kill(2)'s permission check.
func mayKill(t *kernel.Task, tg *kernel.ThreadGroup, signo int32) bool {
	if tg == t.ThreadGroup() {
		return true
	}
	c, d := t.Credentials(), tg.Leader().Credentials()
	if c.EffectiveUID == d.SavedUID || c.EffectiveUID == d.RealUID || c.RealUID == d.SavedUID || c.RealUID == d.RealUID {
		return true
	}
	if c.HasCapabilityIn(unix.CAP_KILL, d.UserNS) {
		return true
	}
	return signo == int32(unix.SIGCONT) && tg.Session() == t.ThreadGroup().Session()
}

// signalProcess sends info to tg if t may. Signal 0 only checks.
func signalProcess(t *kernel.Task, tg *kernel.ThreadGroup, info *arch.SignalInfo) error {
	if uint32(info.Signo) > kernel.NumSignals {
		return unix.EINVAL
	}
	if !mayKill(t, tg, info.Signo) {
		return unix.EPERM
	}
	if tg.IsReaped() {
		return unix.ESRCH
	}
	c := *info
	if info.Code == arch.SiUser || info.Code == arch.SiTkill {
		c.SetPID(tg.PIDNamespace().TGIDOf(t.ThreadGroup()))
	}
	return tg.SendSignal(&c)
}

func userSignal(t *kernel.Task, signo, code int32) arch.SignalInfo {
	return arch.NewUserSignal(signo, code, t.PID(), int32(t.UserNamespace().UID(t.Credentials().RealUID)))
}

func kill(t *kernel.Task, a arch.Args) (uintptr, error) {
	pid, signo := a.Int(0), a.Int(1)
	if uint32(signo) > kernel.NumSignals {
		return 0, unix.EINVAL
	}
	info := userSignal(t, signo, arch.SiUser)
	if pid > 0 {
		task := t.PIDNamespace().Task(pid)
		if task == nil {
			return 0, unix.ESRCH
		}
		return 0, signalProcess(t, task.ThreadGroup(), &info)
	}
	var targets []*kernel.ThreadGroup
	switch {
	case pid == -1:
		for _, tg := range t.PIDNamespace().ThreadGroups() {
			if tg != t.ThreadGroup() && t.PIDNamespace().TGIDOf(tg) != 1 {
				targets = append(targets, tg)
			}
		}
	case pid == -1<<31:
		return 0, unix.ESRCH
	default:
		pg := t.ThreadGroup().ProcessGroup()
		if pid != 0 {
			pg = t.PIDNamespace().ProcessGroup(-pid)
		}
		if pg == nil {
			return 0, unix.ESRCH
		}
		targets = pg.Members()
	}
	if len(targets) == 0 {
		return 0, unix.ESRCH
	}
	var last error = unix.EPERM
	done := false
	for _, tg := range targets {
		err := signalProcess(t, tg, &info)
		if err == nil {
			done = true
		} else if err != unix.EPERM {
			last = err
		}
	}
	if done {
		return 0, nil
	}
	return 0, last
}

// signalThread sends info to the thread tid, of process tgid if that is not 0.
func signalThread(t *kernel.Task, tgid, tid int32, info *arch.SignalInfo) error {
	if uint32(info.Signo) > kernel.NumSignals {
		return unix.EINVAL
	}
	task := t.PIDNamespace().Task(tid)
	if task == nil || tgid != 0 && t.PIDNamespace().TGIDOf(task.ThreadGroup()) != tgid {
		return unix.ESRCH
	}
	if !mayKill(t, task.ThreadGroup(), info.Signo) {
		return unix.EPERM
	}
	if info.Code == arch.SiTkill {
		info.SetPID(task.PIDNamespace().TGIDOf(t.ThreadGroup()))
	}
	return task.SendSignal(info)
}

func tkill(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int(0) <= 0 {
		return 0, unix.EINVAL
	}
	info := userSignal(t, a.Int(1), arch.SiTkill)
	return 0, signalThread(t, 0, a.Int(0), &info)
}

func tgkill(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int(0) <= 0 || a.Int(1) <= 0 {
		return 0, unix.EINVAL
	}
	info := userSignal(t, a.Int(2), arch.SiTkill)
	return 0, signalThread(t, a.Int(0), a.Int(1), &info)
}

// copyInQueuedInfo reads the siginfo of rt_sigqueueinfo(2); codes of the kernel may only be
// sent to oneself.
func copyInQueuedInfo(t *kernel.Task, addr uintptr, signo int32, self bool) (arch.SignalInfo, error) {
	var info arch.SignalInfo
	if err := kernel.CopyIn(t, addr, &info); err != nil {
		return info, err
	}
	info.Signo = signo
	if (info.Code >= 0 || info.Code == arch.SiTkill) && !self {
		return info, unix.EPERM
	}
	return info, nil
}

func rtSigqueueinfo(t *kernel.Task, a arch.Args) (uintptr, error) {
	info, err := copyInQueuedInfo(t, a.Pointer(2), a.Int(1), a.Int(0) == t.PID())
	if err != nil {
		return 0, err
	}
	task := t.PIDNamespace().Task(a.Int(0))
	if task == nil {
		return 0, unix.ESRCH
	}
	if uint32(info.Signo) > kernel.NumSignals {
		return 0, unix.EINVAL
	}
	if !mayKill(t, task.ThreadGroup(), info.Signo) {
		return 0, unix.EPERM
	}
	return 0, task.ThreadGroup().SendSignal(&info)
}

func rtTgsigqueueinfo(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int(0) <= 0 || a.Int(1) <= 0 {
		return 0, unix.EINVAL
	}
	info, err := copyInQueuedInfo(t, a.Pointer(3), a.Int(2), a.Int(1) == t.ThreadID())
	if err != nil {
		return 0, err
	}
	return 0, signalThread(t, a.Int(0), a.Int(1), &info)
}

func checkSigSetSize(n uint) error {
	if n != 8 {
		return unix.EINVAL
	}
	return nil
}

func rtSigaction(t *kernel.Task, a arch.Args) (uintptr, error) {
	if err := checkSigSetSize(a.Size(3)); err != nil {
		return 0, err
	}
	var act *arch.SignalAct
	if p := a.Pointer(1); p != 0 {
		act = &arch.SignalAct{}
		if err := kernel.CopyIn(t, p, act); err != nil {
			return 0, err
		}
		act.Flags &^= arch.SaUnsupported
	}
	old, err := t.ThreadGroup().SetSignalAction(a.Int(0), act)
	if err != nil {
		return 0, err
	}
	if p := a.Pointer(2); p != 0 {
		return 0, kernel.CopyOut(t, p, &old)
	}
	return 0, nil
}

func rtSigprocmask(t *kernel.Task, a arch.Args) (uintptr, error) {
	if err := checkSigSetSize(a.Size(3)); err != nil {
		return 0, err
	}
	old := t.SignalMask()
	if p := a.Pointer(1); p != 0 {
		var set arch.SignalSet
		if err := kernel.CopyIn(t, p, &set); err != nil {
			return 0, err
		}
		switch a.Int(0) {
		case unix.SIG_BLOCK:
			set |= old
		case unix.SIG_UNBLOCK:
			set = old &^ set
		case unix.SIG_SETMASK:
		default:
			return 0, unix.EINVAL
		}
		t.SetSignalMask(set)
	}
	if p := a.Pointer(2); p != 0 {
		return 0, kernel.CopyOut(t, p, &old)
	}
	return 0, nil
}

func rtSigpending(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Size(1) > 8 {
		return 0, unix.EINVAL
	}
	set := t.PendingSignals()
	return 0, t.CopyOutBytes(a.Pointer(0), asBytes(&set)[:a.Size(1)])
}

func rtSigsuspend(t *kernel.Task, a arch.Args) (uintptr, error) {
	if err := checkSigSetSize(a.Size(1)); err != nil {
		return 0, err
	}
	var set arch.SignalSet
	if err := kernel.CopyIn(t, a.Pointer(0), &set); err != nil {
		return 0, err
	}
	t.SetTemporaryMask(set)
	return 0, sleepForSignal(t)
}

// sleepForSignal parks until a signal interrupts.
func sleepForSignal(t *kernel.Task) error {
	for t.Block() == nil {
	}
	return linux.ERESTARTNOHAND
}

func pause(t *kernel.Task, a arch.Args) (uintptr, error) { return 0, sleepForSignal(t) }

func rtSigtimedwait(t *kernel.Task, a arch.Args) (uintptr, error) {
	if err := checkSigSetSize(a.Size(3)); err != nil {
		return 0, err
	}
	var set arch.SignalSet
	if err := kernel.CopyIn(t, a.Pointer(0), &set); err != nil {
		return 0, err
	}
	deadline := int64(-1)
	if p := a.Pointer(2); p != 0 {
		d, err := copyInDuration(t, p)
		if err != nil {
			return 0, err
		}
		deadline = addDuration(t.Monotonic(), d)
	}
	info, err := t.WaitSignal(set, deadline)
	if err != nil {
		return 0, err
	}
	if p := a.Pointer(1); p != 0 {
		if err := kernel.CopyOut(t, p, &info); err != nil {
			return 0, err
		}
	}
	return uintptr(info.Signo), nil
}

func rtSigreturn(t *kernel.Task, a arch.Args) (uintptr, error) { return 0, t.SignalReturn() }

// minSigStackSize is MINSIGSTKSZ.
const minSigStackSize = 2048

func sigaltstack(t *kernel.Task, a arch.Args) (uintptr, error) {
	cur := t.AlternateStack()
	onStack := cur.InUse(t.Arch().Stack())
	old := cur
	if onStack {
		old.Flags |= arch.SsOnStack
	}
	if p := a.Pointer(0); p != 0 {
		var s arch.SignalStack
		if err := kernel.CopyIn(t, p, &s); err != nil {
			return 0, err
		}
		if onStack {
			return 0, unix.EPERM
		}
		switch s.Flags &^ arch.SsAutodisarm {
		case arch.SsDisable:
			s.Addr, s.Size = 0, 0
		case 0, arch.SsOnStack:
			if s.Size < minSigStackSize {
				return 0, unix.ENOMEM
			}
			s.Flags &^= arch.SsOnStack
		default:
			return 0, unix.EINVAL
		}
		t.SetAlternateStack(s)
	}
	if p := a.Pointer(1); p != 0 {
		return 0, kernel.CopyOut(t, p, &old)
	}
	return 0, nil
}
