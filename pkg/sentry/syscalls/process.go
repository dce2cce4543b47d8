package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

var processSyscalls = []kernel.Syscall{
	{Number: unix.SYS_CLONE, Name: "clone", Fn: clone, Args: []strace.Format{strace.CloneFlags, strace.Hex, strace.Hex, strace.Hex, strace.Hex}},
	{Number: unix.SYS_FORK, Name: "fork", Fn: fork},
	{Number: unix.SYS_VFORK, Name: "vfork", Fn: vfork},
	{Number: unix.SYS_CLONE3, Name: "clone3", Fn: clone3, Args: []strace.Format{strace.CloneArgs, strace.Dec64}},
	{Number: unix.SYS_EXECVE, Name: "execve", Fn: execve, Args: []strace.Format{strace.Path, strace.Argv, strace.Envp}},
	{Number: unix.SYS_EXECVEAT, Name: "execveat", Fn: execveat, Args: []strace.Format{strace.AtFD, strace.Path, strace.Argv, strace.Envp, strace.AtFlags}},
	{Number: unix.SYS_EXIT, Name: "exit", Fn: exit, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_EXIT_GROUP, Name: "exit_group", Fn: exitGroup, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_WAIT4, Name: "wait4", Fn: wait4, Args: []strace.Format{strace.Dec, strace.WaitStatusOut, strace.WaitOptions, strace.Rusage}},
	{Number: unix.SYS_WAITID, Name: "waitid", Fn: waitid, Args: []strace.Format{strace.Dec, strace.Dec, strace.SigInfoOut, strace.WaitOptions, strace.Rusage}},
	{Number: unix.SYS_GETPID, Name: "getpid", Fn: getpid},
	{Number: unix.SYS_GETPPID, Name: "getppid", Fn: getppid},
	{Number: unix.SYS_GETTID, Name: "gettid", Fn: gettid},
	{Number: unix.SYS_SET_TID_ADDRESS, Name: "set_tid_address", Fn: setTIDAddress, Args: []strace.Format{strace.Hex}},
	{Number: unix.SYS_GETPGRP, Name: "getpgrp", Fn: getpgrp},
	{Number: unix.SYS_GETPGID, Name: "getpgid", Fn: getpgid, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_SETPGID, Name: "setpgid", Fn: setpgid, Args: []strace.Format{strace.Dec, strace.Dec}},
	{Number: unix.SYS_GETSID, Name: "getsid", Fn: getsid, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_SETSID, Name: "setsid", Fn: setsid},
	{Number: unix.SYS_RESTART_SYSCALL, Name: "restart_syscall", Fn: restartSyscall},
	{Number: unix.SYS_PERSONALITY, Name: "personality", Fn: personality, Args: []strace.Format{strace.Hex}, Support: kernel.Partial, Note: "PER_LINUX and ADDR_NO_RANDOMIZE only"},
}

// cloneFlagsMask are the flags that clone(2) knows, without the exit signal's byte.
const cloneFlagsMask = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_PIDFD |
	unix.CLONE_PTRACE | unix.CLONE_VFORK | unix.CLONE_PARENT | unix.CLONE_THREAD | unix.CLONE_NEWNS |
	unix.CLONE_SYSVSEM | unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID |
	unix.CLONE_DETACHED | unix.CLONE_UNTRACED | unix.CLONE_CHILD_SETTID | unix.CLONE_NEWCGROUP |
	unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_IO |
	unix.CLONE_CLEAR_SIGHAND | unix.CLONE_NEWTIME

// doClone checks the flags (clone(2), "ERRORS"), makes the child and starts it.
func doClone(t *kernel.Task, a *kernel.CloneArgs) (uintptr, error) {
	f := a.Flags
	has := func(flags uint64) bool { return f&flags == flags }
	switch {
	case has(unix.CLONE_NEWNS | unix.CLONE_FS),
		has(unix.CLONE_NEWUSER | unix.CLONE_FS),
		has(unix.CLONE_THREAD) && !has(unix.CLONE_SIGHAND),
		has(unix.CLONE_SIGHAND) && !has(unix.CLONE_VM),
		has(unix.CLONE_CLEAR_SIGHAND | unix.CLONE_SIGHAND),
		has(unix.CLONE_NEWIPC | unix.CLONE_SYSVSEM),
		f&(unix.CLONE_THREAD|unix.CLONE_PARENT) != 0 && f&unix.CLONE_NEWPID != 0,
		has(unix.CLONE_THREAD) && f&unix.CLONE_NEWUSER != 0,
		f&unix.CLONE_NEWTIME != 0:
		return 0, unix.EINVAL
	}
	if has(unix.CLONE_PARENT) && t.PID() == 1 {
		return 0, unix.EINVAL
	}
	child, nr, err := t.Clone(a)
	if err != nil {
		return 0, err
	}
	if f&unix.CLONE_PIDFD != 0 {
		if err := installPIDFD(t, child, a.PIDFD); err != nil {
			child.ThreadGroup().Abandon()
			return 0, err
		}
	}
	child.Start()
	t.PtraceCloneEvent(child, a)
	if f&unix.CLONE_VFORK != 0 {
		t.VforkWait(child)
		t.PtraceVforkDone(child)
	}
	return uintptr(nr), nil
}

func clone(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := uint64(uint32(a[0]))
	ca := kernel.CloneArgs{
		Flags:      flags &^ 0xff & cloneFlagsMask,
		ExitSignal: int32(flags & 0xff),
		Stack:      a.Pointer(1),
		ParentTID:  a.Pointer(2),
		PIDFD:      a.Pointer(2),
		ChildTID:   a.Pointer(3),
		TLS:        a.Pointer(4),
	}
	if ca.ExitSignal > kernel.NumSignals {
		return 0, unix.EINVAL
	}
	if ca.Flags&unix.CLONE_PIDFD != 0 && ca.Flags&(unix.CLONE_PARENT_SETTID|unix.CLONE_DETACHED) != 0 {
		return 0, unix.EINVAL
	}
	ca.Flags &^= unix.CLONE_DETACHED | unix.CLONE_CLEAR_SIGHAND
	return doClone(t, &ca)
}

func fork(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doClone(t, &kernel.CloneArgs{ExitSignal: int32(unix.SIGCHLD)})
}

func vfork(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doClone(t, &kernel.CloneArgs{Flags: unix.CLONE_VM | unix.CLONE_VFORK, ExitSignal: int32(unix.SIGCHLD)})
}

// Sizes of struct clone_args: the first and the present one.
const (
	cloneArgsSizeVer0 = 64
	cloneArgsSize     = 88
)

func clone3(t *kernel.Task, a arch.Args) (uintptr, error) {
	var c linux.CloneArgs
	if err := copyInExtensible(t, a.Pointer(0), a.Size(1), cloneArgsSizeVer0, &c); err != nil {
		return 0, err
	}
	ca := kernel.CloneArgs{
		Flags: c.Flags, ExitSignal: int32(c.ExitSignal), TLS: uintptr(c.TLS),
		ParentTID: uintptr(c.ParentTID), ChildTID: uintptr(c.ChildTID), PIDFD: uintptr(c.PIDFD),
	}
	switch {
	case c.Flags&^uint64(cloneFlagsMask) != 0 || c.Flags&(unix.CLONE_DETACHED|0xff) != 0,
		c.ExitSignal > kernel.NumSignals,
		c.Flags&(unix.CLONE_THREAD|unix.CLONE_PARENT) != 0 && c.ExitSignal != 0,
		(c.Stack == 0) != (c.StackSize == 0),
		c.SetTIDSize > 32, (c.SetTID == 0) != (c.SetTIDSize == 0):
		return 0, unix.EINVAL
	}
	if c.Stack != 0 {
		ca.Stack = uintptr(c.Stack + c.StackSize)
	}
	if c.SetTIDSize > 0 {
		tids, err := kernel.CopyInSlice[int32](t, uintptr(c.SetTID), int(c.SetTIDSize))
		if err != nil {
			return 0, err
		}
		if !t.Credentials().HasCapability(unix.CAP_SYS_ADMIN) && !t.Credentials().HasCapability(unix.CAP_CHECKPOINT_RESTORE) {
			return 0, unix.EPERM
		}
		ca.SetTIDs = tids
	}
	if c.Flags&unix.CLONE_INTO_CGROUP != 0 {
		return 0, unix.EOPNOTSUPP
	}
	return doClone(t, &ca)
}

// copyInExtensible reads a structure that grows with kernel versions (clone3(2),
// openat2(2), sched_setattr(2)): size is what the application has, min the first version's.
// E2BIG: it is larger than ours and the rest is not zero.
func copyInExtensible[T any](t *kernel.Task, addr uintptr, size, min uint, v *T) error {
	if size < min {
		return unix.EINVAL
	}
	if size > 4096 {
		return unix.E2BIG
	}
	buf := make([]byte, size)
	if err := t.CopyInBytes(addr, buf); err != nil {
		return err
	}
	n := copy(asBytes(v), buf)
	for _, b := range buf[n:] {
		if b != 0 {
			return unix.E2BIG
		}
	}
	return nil
}

// Bounds of execve(2): one string, and all of them.
const (
	maxArgString = 32 * 4096
	maxArgTotal  = 6 << 20
)

func execve(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doExec(t, unix.AT_FDCWD, a.Pointer(0), a.Pointer(1), a.Pointer(2), 0)
}

func execveat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doExec(t, a.Int(0), a.Pointer(1), a.Pointer(2), a.Pointer(3), a.Int(4))
}

func doExec(t *kernel.Task, dirfd int32, pathAddr, argvAddr, envvAddr uintptr, flags int32) (uintptr, error) {
	if flags&^(unix.AT_EMPTY_PATH|unix.AT_SYMLINK_NOFOLLOW) != 0 {
		return 0, unix.EINVAL
	}
	path, err := t.CopyInPath(pathAddr)
	if err != nil {
		return 0, err
	}
	argv, err := t.CopyInStrings(argvAddr, maxArgString-1, maxArgTotal)
	if err != nil {
		return 0, err
	}
	envv, err := t.CopyInStrings(envvAddr, maxArgString-1, maxArgTotal)
	if err != nil {
		return 0, err
	}
	file, filename, cloexec, err := openExecutable(t, dirfd, path, flags)
	if err != nil {
		return 0, err
	}
	defer file.DecRef(t)
	if len(argv) == 0 {
		argv = []string{""} // as Linux does since 5.18
	}
	return 0, t.Exec(&kernel.ExecArgs{File: file, Filename: filename, Argv: argv, Envv: envv, CloseOnExecPath: cloexec})
}

// openExecutable opens what execveat(2) names. filename is what AT_EXECFN shows.
func openExecutable(t *kernel.Task, dirfd int32, path string, flags int32) (file *vfs.FileDescription, filename string, cloexec bool, err error) {
	pop, release, err := pathOp(t, dirfd, path, flags&unix.AT_EMPTY_PATH != 0, flags&unix.AT_SYMLINK_NOFOLLOW != 0)
	if err != nil {
		return nil, "", false, err
	}
	defer release()
	file, err = t.Kernel().VFS().OpenExecutable(t, pop)
	if err != nil {
		return nil, "", false, err
	}
	filename = path
	if dirfd != unix.AT_FDCWD && (path == "" || path[0] != '/') {
		filename = "/dev/fd/" + itoa(int(dirfd))
		if path != "" {
			filename += "/" + path
		}
		if f, c := t.FDTable().GetFlags(dirfd); f != nil {
			f.DecRef(t)
			cloexec = c
		}
	}
	return file, filename, cloexec, nil
}

func exit(t *kernel.Task, a arch.Args) (uintptr, error) {
	t.ExitThread(a.Uint(0) & 0xff << 8)
	return 0, nil
}

func exitGroup(t *kernel.Task, a arch.Args) (uintptr, error) {
	t.ExitGroup(a.Uint(0) & 0xff << 8)
	return 0, nil
}

func wait4(t *kernel.Task, a arch.Args) (uintptr, error) {
	pid, options := a.Int(0), a.Uint(2)
	const known = unix.WNOHANG | unix.WUNTRACED | unix.WCONTINUED | unix.WNOTHREAD | unix.WCLONE | unix.WALL
	if options&^uint32(known&0xffffffff) != 0 {
		return 0, unix.EINVAL
	}
	o := kernel.WaitOptions{Exited: true}
	waitFlags(&o, options)
	switch {
	case pid > 0:
		o.PID = pid
	case pid == 0:
		o.Group = t.ThreadGroup().ProcessGroup().IDIn(t.PIDNamespace())
	case pid == -1<<31:
		return 0, unix.ESRCH
	case pid < -1:
		o.Group = -pid
	}
	r, err := t.Wait(&o)
	if err != nil {
		return 0, err
	}
	if r.PID == 0 {
		return 0, nil
	}
	if p := a.Pointer(1); p != 0 {
		if err := kernel.CopyOut(t, p, &r.Status); err != nil {
			return 0, err
		}
	}
	if p := a.Pointer(3); p != 0 {
		ru := rusageOf(r.Times)
		if err := kernel.CopyOut(t, p, &ru); err != nil {
			return 0, err
		}
	}
	return uintptr(r.PID), nil
}

func waitFlags(o *kernel.WaitOptions, options uint32) {
	o.NoHang = options&unix.WNOHANG != 0
	o.Stopped = o.Stopped || options&unix.WUNTRACED != 0
	o.Continued = options&unix.WCONTINUED != 0
	o.NoThread = options&unix.WNOTHREAD != 0
	o.Clone = options&(unix.WCLONE&0xffffffff) != 0
	o.All = options&unix.WALL != 0
}

func waitid(t *kernel.Task, a arch.Args) (uintptr, error) {
	which, id, options := a.Int(0), a.Int(1), a.Uint(3)
	const known = unix.WNOHANG | unix.WNOWAIT | unix.WEXITED | unix.WSTOPPED | unix.WCONTINUED | unix.WNOTHREAD | unix.WCLONE | unix.WALL
	if options&^uint32(known&0xffffffff) != 0 || options&(unix.WEXITED|unix.WSTOPPED|unix.WCONTINUED) == 0 {
		return 0, unix.EINVAL
	}
	o := kernel.WaitOptions{Exited: options&unix.WEXITED != 0, NoReap: options&unix.WNOWAIT != 0}
	waitFlags(&o, options)
	switch which {
	case unix.P_ALL:
	case unix.P_PID:
		if id <= 0 {
			return 0, unix.EINVAL
		}
		o.PID = id
	case unix.P_PGID:
		if id < 0 {
			return 0, unix.EINVAL
		}
		if o.Group = id; id == 0 {
			o.Group = t.ThreadGroup().ProcessGroup().IDIn(t.PIDNamespace())
		}
	case unix.P_PIDFD:
		tg, nonblock, err := threadGroupOfPIDFD(t, id)
		if err != nil {
			return 0, err
		}
		o.Child = tg
		if nonblock && !o.NoHang {
			o.NoHang = true
			r, err := t.Wait(&o)
			if err == nil && r.PID == 0 {
				return 0, unix.EAGAIN
			}
			return waitidResult(t, a, r, err)
		}
	default:
		return 0, unix.EINVAL
	}
	r, err := t.Wait(&o)
	return waitidResult(t, a, r, err)
}

func waitidResult(t *kernel.Task, a arch.Args, r kernel.WaitResult, err error) (uintptr, error) {
	if err != nil {
		return 0, err
	}
	var info arch.SignalInfo
	if r.PID != 0 {
		info.Signo = int32(unix.SIGCHLD)
		info.Code = r.Code
		info.SetPID(r.PID)
		info.SetUID(int32(r.UID))
		info.SetStatus(r.Value)
	}
	if p := a.Pointer(2); p != 0 {
		if err := kernel.CopyOut(t, p, &info); err != nil {
			return 0, err
		}
	}
	if p := a.Pointer(4); p != 0 && r.PID != 0 {
		ru := rusageOf(r.Times)
		if err := kernel.CopyOut(t, p, &ru); err != nil {
			return 0, err
		}
	}
	return 0, nil
}

func getpid(t *kernel.Task, a arch.Args) (uintptr, error) {
	pid := t.PID()
	t.AnswerProcessID(pid)
	return uintptr(pid), nil
}
func gettid(t *kernel.Task, a arch.Args) (uintptr, error) { return uintptr(t.ThreadID()), nil }

func getppid(t *kernel.Task, a arch.Args) (uintptr, error) {
	p := t.ThreadGroup().Parent()
	if p == nil {
		return 0, nil
	}
	return uintptr(t.PIDNamespace().TGIDOf(p)), nil
}

func setTIDAddress(t *kernel.Task, a arch.Args) (uintptr, error) {
	t.SetClearTID(a.Pointer(0))
	return uintptr(t.ThreadID()), nil
}

// processOf finds the process pid, 0 being the caller's own.
func processOf(t *kernel.Task, pid int32) (*kernel.ThreadGroup, error) {
	if pid == 0 {
		return t.ThreadGroup(), nil
	}
	task := t.PIDNamespace().Task(pid)
	if pid < 0 || task == nil {
		return nil, unix.ESRCH
	}
	return task.ThreadGroup(), nil
}

func getpgrp(t *kernel.Task, a arch.Args) (uintptr, error) {
	return uintptr(t.ThreadGroup().ProcessGroup().IDIn(t.PIDNamespace())), nil
}

func getpgid(t *kernel.Task, a arch.Args) (uintptr, error) {
	tg, err := processOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	pg := tg.ProcessGroup()
	if pg == nil {
		return 0, unix.ESRCH
	}
	return uintptr(pg.IDIn(t.PIDNamespace())), nil
}

func setpgid(t *kernel.Task, a arch.Args) (uintptr, error) {
	return 0, t.SetPGID(a.Int(0), a.Int(1))
}

func getsid(t *kernel.Task, a arch.Args) (uintptr, error) {
	tg, err := processOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	s := tg.Session()
	if s == nil {
		return 0, unix.ESRCH
	}
	return uintptr(s.IDIn(t.PIDNamespace())), nil
}

func setsid(t *kernel.Task, a arch.Args) (uintptr, error) {
	id, err := t.ThreadGroup().SetSID()
	return uintptr(id), err
}

func restartSyscall(t *kernel.Task, a arch.Args) (uintptr, error) { return t.RestartInterrupted() }

func personality(t *kernel.Task, a arch.Args) (uintptr, error) {
	old := t.Personality()
	if p := a.Uint(0); p != 0xffffffff {
		if p&^uint32(kernel.AddrNoRandomize) != 0 {
			return 0, unix.EINVAL
		}
		t.SetPersonality(p)
	}
	return uintptr(old), nil
}
