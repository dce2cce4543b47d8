package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

var mountSyscalls = []kernel.Syscall{
	{Number: unix.SYS_MOUNT, Name: "mount", Fn: mount, Args: []strace.Format{strace.Path, strace.Path, strace.String, strace.MountFlags, strace.String}, Support: kernel.Partial, Note: "propagation is recorded; nothing propagates"},
	{Number: unix.SYS_UMOUNT2, Name: "umount2", Fn: umount2, Args: []strace.Format{strace.Path, strace.Hex}},
	{Number: unix.SYS_PIVOT_ROOT, Name: "pivot_root", Fn: pivotRoot, Args: []strace.Format{strace.Path, strace.Path}},
}

// msMgcMask and msMgcVal mark the flags word of old programs.
const (
	msMgcMask = 0xffff0000
	msMgcVal  = 0xc0ed0000
)

func mount(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Uint64(3)
	if flags&msMgcMask == msMgcVal {
		flags &^= msMgcMask
	}
	optional := func(i, max int) (string, error) {
		if a.Pointer(i) == 0 {
			return "", nil
		}
		return t.CopyInString(a.Pointer(i), max)
	}
	fstype, err := optional(2, vfs.PathMax-1)
	if err != nil {
		return 0, err
	}
	source, err := optional(0, vfs.PathMax-1)
	if err != nil {
		return 0, err
	}
	data, err := optional(4, 4095)
	if err == unix.ENAMETOOLONG {
		err = unix.EINVAL
	}
	if err != nil {
		return 0, err
	}
	var target pathArgs
	if err := target.init(t, unix.AT_FDCWD, a.Pointer(1)); err != nil {
		return 0, err
	}
	defer target.release(t)
	r := vfs.MountRequest{SourceName: source, Target: &target.op, Type: fstype, Flags: flags, Data: data}
	if flags&unix.MS_REMOUNT == 0 && flags&(unix.MS_BIND|unix.MS_MOVE) != 0 {
		var s pathArgs
		if source == "" {
			return 0, unix.EINVAL
		}
		if err := s.initName(t, unix.AT_FDCWD, source, 0); err != nil {
			return 0, err
		}
		defer s.release(t)
		r.Source = &s.op
	}
	return 0, t.Kernel().VFS().Mount(t, t.MountNamespace(), &r)
}

func umount2(t *kernel.Task, a arch.Args) (uintptr, error) {
	var p pathArgs
	if err := p.init(t, unix.AT_FDCWD, a.Pointer(0)); err != nil {
		return 0, err
	}
	defer p.release(t)
	return 0, t.Kernel().VFS().Unmount(t, t.MountNamespace(), &p.op, int(a.Int(1)))
}

func pivotRoot(t *kernel.Task, a arch.Args) (uintptr, error) {
	var n, o pathArgs
	if err := n.init(t, unix.AT_FDCWD, a.Pointer(0)); err != nil {
		return 0, err
	}
	defer n.release(t)
	if err := o.init(t, unix.AT_FDCWD, a.Pointer(1)); err != nil {
		return 0, err
	}
	defer o.release(t)
	from, to, err := t.Kernel().VFS().PivotRoot(t, t.MountNamespace(), n.op.Root, &n.op, &o.op)
	if err != nil {
		return 0, err
	}
	defer from.DecRef(t)
	defer to.DecRef(t)
	seen := make(map[*kernel.FSContext]bool)
	for _, o := range t.Kernel().Tasks() {
		fs := o.WithFSContext()
		if fs == nil {
			continue
		}
		if !seen[fs] {
			seen[fs] = true
			fs.ReplaceRoot(t, from, to)
		}
		fs.DecRef(t)
	}
	return 0, nil
}
