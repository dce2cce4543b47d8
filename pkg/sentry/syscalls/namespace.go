package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
)

var namespaceSyscalls = []kernel.Syscall{
	{Number: unix.SYS_UNSHARE, Name: "unshare", Fn: unshare, Args: []strace.Format{strace.CloneFlags}},
	{Number: unix.SYS_SETNS, Name: "setns", Fn: setns, Args: []strace.Format{strace.FD, strace.CloneFlags}},
}

func unshare(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := uint64(a.Uint(0))
	const known = unix.CLONE_FILES | unix.CLONE_FS | unix.CLONE_SYSVSEM | unix.CLONE_THREAD | unix.CLONE_SIGHAND | unix.CLONE_VM |
		unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUSER | unix.CLONE_NEWCGROUP
	if flags&^known != 0 {
		return 0, unix.EINVAL
	}
	return 0, t.Unshare(flags)
}

func setns(t *kernel.Task, a arch.Args) (uintptr, error) {
	fd, typ := a.Int(0), uint64(a.Uint(1))
	f := t.FDTable().Get(fd)
	if f == nil {
		return 0, unix.EBADF
	}
	defer f.DecRef(t)
	if p, ok := f.File().(*pidfdFile); ok {
		if typ == 0 {
			return 0, unix.EINVAL
		}
		return 0, t.SetNSFrom(p.tg.Leader(), typ)
	}
	ns, ok := f.File().(kernel.NamespaceFile)
	if !ok {
		return 0, unix.EINVAL
	}
	return 0, t.SetNS(ns.Namespace(), typ)
}
