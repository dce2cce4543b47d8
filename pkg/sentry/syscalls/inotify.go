package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

var inotifySyscalls = []kernel.Syscall{
	{Number: unix.SYS_INOTIFY_INIT, Name: "inotify_init", Fn: inotifyInit},
	{Number: unix.SYS_INOTIFY_INIT1, Name: "inotify_init1", Fn: inotifyInit1, Args: []strace.Format{strace.OpenFlags}},
	{Number: unix.SYS_INOTIFY_ADD_WATCH, Name: "inotify_add_watch", Fn: inotifyAddWatch, Args: []strace.Format{strace.FD, strace.Path, strace.Hex}},
	{Number: unix.SYS_INOTIFY_RM_WATCH, Name: "inotify_rm_watch", Fn: inotifyRmWatch, Args: []strace.Format{strace.FD, strace.Dec}},
}

func inotifyInit(t *kernel.Task, a arch.Args) (uintptr, error) {
	return newDescriptor(t, t.Kernel().VFS().NewInotify(0), false)
}

func inotifyInit1(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Uint(0)
	if flags&^(unix.IN_NONBLOCK|unix.IN_CLOEXEC) != 0 {
		return 0, unix.EINVAL
	}
	return newDescriptor(t, t.Kernel().VFS().NewInotify(flags), flags&unix.IN_CLOEXEC != 0)
}

// getInotify returns the instance at fd and its file, which is referenced. EINVAL: it is
// something else.
func getInotify(t *kernel.Task, fd int32) (*vfs.Inotify, *vfs.FileDescription, error) {
	f, err := getFile(t, fd)
	if err != nil {
		return nil, nil, err
	}
	in, ok := f.File().(*vfs.Inotify)
	if !ok {
		f.DecRef(t)
		return nil, nil, unix.EINVAL
	}
	return in, f, nil
}

func inotifyAddWatch(t *kernel.Task, a arch.Args) (uintptr, error) {
	mask := a.Uint(2)
	const modifiers = unix.IN_DONT_FOLLOW | unix.IN_EXCL_UNLINK | unix.IN_MASK_ADD | unix.IN_MASK_CREATE | unix.IN_ONESHOT | unix.IN_ONLYDIR
	if mask&(unix.IN_ALL_EVENTS|modifiers) == 0 {
		return 0, unix.EINVAL
	}
	in, f, err := getInotify(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	if mask&(unix.IN_MASK_ADD|unix.IN_MASK_CREATE) == unix.IN_MASK_ADD|unix.IN_MASK_CREATE {
		return 0, unix.EINVAL
	}
	flags := int32(0)
	if mask&unix.IN_DONT_FOLLOW != 0 {
		flags = unix.AT_SYMLINK_NOFOLLOW
	}
	p, err := place(t, unix.AT_FDCWD, a.Pointer(1), flags)
	if err != nil {
		return 0, err
	}
	defer p.DecRef(t)
	wd, err := in.Add(t, p, mask)
	return uintptr(wd), err
}

func inotifyRmWatch(t *kernel.Task, a arch.Args) (uintptr, error) {
	in, f, err := getInotify(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	return 0, in.Remove(t, a.Int(1))
}
