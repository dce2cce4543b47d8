package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

var pathSyscalls = []kernel.Syscall{
	{Number: unix.SYS_ACCESS, Name: "access", Fn: access, Args: []strace.Format{strace.Path, strace.Oct}},
	{Number: unix.SYS_FACCESSAT, Name: "faccessat", Fn: faccessat, Args: []strace.Format{strace.AtFD, strace.Path, strace.Oct}},
	{Number: unix.SYS_FACCESSAT2, Name: "faccessat2", Fn: faccessat2, Args: []strace.Format{strace.AtFD, strace.Path, strace.Oct, strace.AtFlags}},
	{Number: unix.SYS_MKDIR, Name: "mkdir", Fn: mkdir, Args: []strace.Format{strace.Path, strace.Oct}},
	{Number: unix.SYS_MKDIRAT, Name: "mkdirat", Fn: mkdirat, Args: []strace.Format{strace.AtFD, strace.Path, strace.Oct}},
	{Number: unix.SYS_MKNOD, Name: "mknod", Fn: mknod, Args: []strace.Format{strace.Path, strace.Oct, strace.Hex}},
	{Number: unix.SYS_MKNODAT, Name: "mknodat", Fn: mknodat, Args: []strace.Format{strace.AtFD, strace.Path, strace.Oct, strace.Hex}},
	{Number: unix.SYS_RMDIR, Name: "rmdir", Fn: rmdir, Args: []strace.Format{strace.Path}},
	{Number: unix.SYS_UNLINK, Name: "unlink", Fn: unlink, Args: []strace.Format{strace.Path}},
	{Number: unix.SYS_UNLINKAT, Name: "unlinkat", Fn: unlinkat, Args: []strace.Format{strace.AtFD, strace.Path, strace.AtFlags}},
	{Number: unix.SYS_SYMLINK, Name: "symlink", Fn: symlink, Args: []strace.Format{strace.Path, strace.Path}},
	{Number: unix.SYS_SYMLINKAT, Name: "symlinkat", Fn: symlinkat, Args: []strace.Format{strace.Path, strace.AtFD, strace.Path}},
	{Number: unix.SYS_LINK, Name: "link", Fn: link, Args: []strace.Format{strace.Path, strace.Path}},
	{Number: unix.SYS_LINKAT, Name: "linkat", Fn: linkat, Args: []strace.Format{strace.AtFD, strace.Path, strace.AtFD, strace.Path, strace.AtFlags}},
	{Number: unix.SYS_RENAME, Name: "rename", Fn: rename, Args: []strace.Format{strace.Path, strace.Path}},
	{Number: unix.SYS_RENAMEAT, Name: "renameat", Fn: renameat, Args: []strace.Format{strace.AtFD, strace.Path, strace.AtFD, strace.Path}},
	{Number: unix.SYS_RENAMEAT2, Name: "renameat2", Fn: renameat2, Args: []strace.Format{strace.AtFD, strace.Path, strace.AtFD, strace.Path, strace.Hex}},
	{Number: unix.SYS_READLINK, Name: "readlink", Fn: readlink, Args: []strace.Format{strace.Path, strace.ReadBuf, strace.Dec64}},
	{Number: unix.SYS_READLINKAT, Name: "readlinkat", Fn: readlinkat, Args: []strace.Format{strace.AtFD, strace.Path, strace.ReadBuf, strace.Dec64}},
	{Number: unix.SYS_CHMOD, Name: "chmod", Fn: chmod, Args: []strace.Format{strace.Path, strace.Oct}},
	{Number: unix.SYS_FCHMOD, Name: "fchmod", Fn: fchmod, Args: []strace.Format{strace.FD, strace.Oct}},
	{Number: unix.SYS_FCHMODAT, Name: "fchmodat", Fn: fchmodat, Args: []strace.Format{strace.AtFD, strace.Path, strace.Oct}},
	{Number: unix.SYS_FCHMODAT2, Name: "fchmodat2", Fn: fchmodat2, Args: []strace.Format{strace.AtFD, strace.Path, strace.Oct, strace.AtFlags}},
	{Number: unix.SYS_CHOWN, Name: "chown", Fn: chown, Args: []strace.Format{strace.Path, strace.Dec, strace.Dec}},
	{Number: unix.SYS_LCHOWN, Name: "lchown", Fn: lchown, Args: []strace.Format{strace.Path, strace.Dec, strace.Dec}},
	{Number: unix.SYS_FCHOWN, Name: "fchown", Fn: fchown, Args: []strace.Format{strace.FD, strace.Dec, strace.Dec}},
	{Number: unix.SYS_FCHOWNAT, Name: "fchownat", Fn: fchownat, Args: []strace.Format{strace.AtFD, strace.Path, strace.Dec, strace.Dec, strace.AtFlags}},
	{Number: unix.SYS_UTIME, Name: "utime", Fn: utime, Args: []strace.Format{strace.Path, strace.Utimbuf}},
	{Number: unix.SYS_UTIMES, Name: "utimes", Fn: utimes, Args: []strace.Format{strace.Path, strace.Timeval}},
	{Number: unix.SYS_FUTIMESAT, Name: "futimesat", Fn: futimesat, Args: []strace.Format{strace.AtFD, strace.Path, strace.Timeval}},
	{Number: unix.SYS_UTIMENSAT, Name: "utimensat", Fn: utimensat, Args: []strace.Format{strace.AtFD, strace.Path, strace.Timespec, strace.AtFlags}},
	{Number: unix.SYS_TRUNCATE, Name: "truncate", Fn: truncate, Args: []strace.Format{strace.Path, strace.Dec64}},
	{Number: unix.SYS_UMASK, Name: "umask", Fn: umask, Args: []strace.Format{strace.Oct}},
	{Number: unix.SYS_GETCWD, Name: "getcwd", Fn: getcwd, Args: []strace.Format{strace.ReadBuf, strace.Dec64}},
	{Number: unix.SYS_CHDIR, Name: "chdir", Fn: chdir, Args: []strace.Format{strace.Path}},
	{Number: unix.SYS_FCHDIR, Name: "fchdir", Fn: fchdir, Args: []strace.Format{strace.FD}},
	{Number: unix.SYS_CHROOT, Name: "chroot", Fn: chroot, Args: []strace.Format{strace.Path}},
}

func access(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doAccess(t, unix.AT_FDCWD, a.Pointer(0), a.Uint(1), 0)
}

func faccessat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doAccess(t, a.Int(0), a.Pointer(1), a.Uint(2), 0)
}

func faccessat2(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doAccess(t, a.Int(0), a.Pointer(1), a.Uint(2), a.Int(3))
}

func doAccess(t *kernel.Task, dirfd int32, addr uintptr, mode uint32, flags int32) (uintptr, error) {
	if mode&^7 != 0 || flags&^(unix.AT_EACCESS|unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	var p pathArgs
	if err := p.initFlags(t, dirfd, addr, flags); err != nil {
		return 0, err
	}
	defer p.release(t)
	return 0, t.Kernel().VFS().AccessAt(t, &p.op, mode, flags&unix.AT_EACCESS != 0)
}

func mkdir(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doMkdir(t, unix.AT_FDCWD, a.Pointer(0), a.Mode(1))
}

func mkdirat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doMkdir(t, a.Int(0), a.Pointer(1), a.Mode(2))
}

func doMkdir(t *kernel.Task, dirfd int32, addr uintptr, mode uint32) (uintptr, error) {
	var p pathArgs
	if err := p.init(t, dirfd, addr); err != nil {
		return 0, err
	}
	defer p.release(t)
	return 0, t.Kernel().VFS().MkdirAt(t, &p.op, mode)
}

func mknod(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doMknod(t, unix.AT_FDCWD, a.Pointer(0), a.Mode(1), a.Uint(2))
}

func mknodat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doMknod(t, a.Int(0), a.Pointer(1), a.Mode(2), a.Uint(3))
}

func doMknod(t *kernel.Task, dirfd int32, addr uintptr, mode, dev uint32) (uintptr, error) {
	var p pathArgs
	if err := p.init(t, dirfd, addr); err != nil {
		return 0, err
	}
	defer p.release(t)
	// The system call's dev_t is 32 bits: 12 of major, 20 of minor.
	rdev := unix.Mkdev(dev>>8&0xfff, dev&0xff|dev>>12&0xfff00)
	return 0, t.Kernel().VFS().MknodAt(t, &p.op, mode, rdev)
}

func rmdir(t *kernel.Task, a arch.Args) (uintptr, error) {
	return remove(t, unix.AT_FDCWD, a.Pointer(0), true)
}

func unlink(t *kernel.Task, a arch.Args) (uintptr, error) {
	return remove(t, unix.AT_FDCWD, a.Pointer(0), false)
}

func unlinkat(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int(2)&^unix.AT_REMOVEDIR != 0 {
		return 0, unix.EINVAL
	}
	return remove(t, a.Int(0), a.Pointer(1), a.Int(2) != 0)
}

func remove(t *kernel.Task, dirfd int32, addr uintptr, dir bool) (uintptr, error) {
	var p pathArgs
	if err := p.init(t, dirfd, addr); err != nil {
		return 0, err
	}
	defer p.release(t)
	if dir {
		return 0, t.Kernel().VFS().RmdirAt(t, &p.op)
	}
	return 0, t.Kernel().VFS().UnlinkAt(t, &p.op)
}

func symlink(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doSymlink(t, a.Pointer(0), unix.AT_FDCWD, a.Pointer(1))
}

func symlinkat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doSymlink(t, a.Pointer(0), a.Int(1), a.Pointer(2))
}

func doSymlink(t *kernel.Task, targetAddr uintptr, dirfd int32, addr uintptr) (uintptr, error) {
	target, err := t.CopyInPath(targetAddr)
	if err != nil {
		return 0, err
	}
	var p pathArgs
	if err := p.init(t, dirfd, addr); err != nil {
		return 0, err
	}
	defer p.release(t)
	return 0, t.Kernel().VFS().SymlinkAt(t, &p.op, target)
}

func link(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doLink(t, unix.AT_FDCWD, a.Pointer(0), unix.AT_FDCWD, a.Pointer(1), 0)
}

func linkat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doLink(t, a.Int(0), a.Pointer(1), a.Int(2), a.Pointer(3), a.Int(4))
}

func doLink(t *kernel.Task, oldfd int32, oldAddr uintptr, newfd int32, newAddr uintptr, flags int32) (uintptr, error) {
	if flags&^(unix.AT_SYMLINK_FOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	var from, to pathArgs
	if err := from.initFlags(t, oldfd, oldAddr, flags&unix.AT_EMPTY_PATH); err != nil {
		return 0, err
	}
	defer from.release(t)
	from.op.NoFollow = flags&unix.AT_SYMLINK_FOLLOW == 0
	if err := to.init(t, newfd, newAddr); err != nil {
		return 0, err
	}
	defer to.release(t)
	return 0, t.Kernel().VFS().LinkAt(t, &from.op, &to.op)
}

func rename(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doRename(t, unix.AT_FDCWD, a.Pointer(0), unix.AT_FDCWD, a.Pointer(1), 0)
}

func renameat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doRename(t, a.Int(0), a.Pointer(1), a.Int(2), a.Pointer(3), 0)
}

func renameat2(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doRename(t, a.Int(0), a.Pointer(1), a.Int(2), a.Pointer(3), a.Uint(4))
}

func doRename(t *kernel.Task, oldfd int32, oldAddr uintptr, newfd int32, newAddr uintptr, flags uint32) (uintptr, error) {
	var from, to pathArgs
	if err := from.init(t, oldfd, oldAddr); err != nil {
		return 0, err
	}
	defer from.release(t)
	if err := to.init(t, newfd, newAddr); err != nil {
		return 0, err
	}
	defer to.release(t)
	return 0, t.Kernel().VFS().RenameAt(t, &from.op, &to.op, flags)
}

func readlink(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doReadlink(t, unix.AT_FDCWD, a.Pointer(0), a.Pointer(1), a.Int(2), 0)
}

func readlinkat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doReadlink(t, a.Int(0), a.Pointer(1), a.Pointer(2), a.Int(3), unix.AT_EMPTY_PATH)
}

func doReadlink(t *kernel.Task, dirfd int32, addr, buf uintptr, size, flags int32) (uintptr, error) {
	if size <= 0 {
		return 0, unix.EINVAL
	}
	var p pathArgs
	if err := p.initFlags(t, dirfd, addr, flags); err != nil {
		return 0, err
	}
	defer p.release(t)
	s, err := t.Kernel().VFS().ReadlinkAt(t, &p.op)
	if err != nil {
		return 0, err
	}
	s = s[:min(len(s), int(size))]
	if err := t.CopyOutBytes(buf, []byte(s)); err != nil {
		return 0, err
	}
	return uintptr(len(s)), nil
}

// onPlace carries out f on the place that a pathname argument names.
func onPlace(t *kernel.Task, dirfd int32, addr uintptr, flags int32, f func(vfs.Path) error) (uintptr, error) {
	p, err := place(t, dirfd, addr, flags)
	if err != nil {
		return 0, err
	}
	defer p.DecRef(t)
	return 0, f(p)
}

// onFile carries out f on the place of an open file; EBADF for O_PATH.
func onFile(t *kernel.Task, fd int32, f func(vfs.Path) error) (uintptr, error) {
	file, err := getFile(t, fd)
	if err != nil {
		return 0, err
	}
	defer file.DecRef(t)
	if file.PathOnly() {
		return 0, unix.EBADF
	}
	return 0, f(file.Path())
}

func chmod(t *kernel.Task, a arch.Args) (uintptr, error) {
	return onPlace(t, unix.AT_FDCWD, a.Pointer(0), 0, func(p vfs.Path) error { return p.Chmod(t, a.Mode(1)) })
}

func fchmod(t *kernel.Task, a arch.Args) (uintptr, error) {
	return onFile(t, a.Int(0), func(p vfs.Path) error { return p.Chmod(t, a.Mode(1)) })
}

func fchmodat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return onPlace(t, a.Int(0), a.Pointer(1), 0, func(p vfs.Path) error { return p.Chmod(t, a.Mode(2)) })
}

func fchmodat2(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Int(3)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return onPlace(t, a.Int(0), a.Pointer(1), flags, func(p vfs.Path) error { return p.Chmod(t, a.Mode(2)) })
}

// changeOwner is chown(2) with ids of the caller's user namespace. EINVAL: one means nothing
// there.
func changeOwner(t *kernel.Task, p vfs.Path, uid, gid uint32) error {
	ns := t.UserNamespace()
	kuid, kgid := auth.KUID(auth.NoID), auth.KGID(auth.NoID)
	if uid != auth.NoID {
		if kuid = ns.KUID(uid); uint32(kuid) == auth.NoID {
			return unix.EINVAL
		}
	}
	if gid != auth.NoID {
		if kgid = ns.KGID(gid); uint32(kgid) == auth.NoID {
			return unix.EINVAL
		}
	}
	return p.Chown(t, kuid, kgid)
}

func chown(t *kernel.Task, a arch.Args) (uintptr, error) {
	return onPlace(t, unix.AT_FDCWD, a.Pointer(0), 0, func(p vfs.Path) error { return changeOwner(t, p, a.Uint(1), a.Uint(2)) })
}

func lchown(t *kernel.Task, a arch.Args) (uintptr, error) {
	return onPlace(t, unix.AT_FDCWD, a.Pointer(0), unix.AT_SYMLINK_NOFOLLOW, func(p vfs.Path) error { return changeOwner(t, p, a.Uint(1), a.Uint(2)) })
}

func fchown(t *kernel.Task, a arch.Args) (uintptr, error) {
	return onFile(t, a.Int(0), func(p vfs.Path) error { return changeOwner(t, p, a.Uint(1), a.Uint(2)) })
}

func fchownat(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Int(4)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	return onPlace(t, a.Int(0), a.Pointer(1), flags, func(p vfs.Path) error { return changeOwner(t, p, a.Uint(2), a.Uint(3)) })
}

// bothNow are the times of a null pointer.
var bothNow = [2]vfs.TimeSpec{{Now: true}, {Now: true}}

func utime(t *kernel.Task, a arch.Args) (uintptr, error) {
	times := bothNow
	if addr := a.Pointer(1); addr != 0 {
		var b [2]int64
		if err := kernel.CopyIn(t, addr, &b); err != nil {
			return 0, err
		}
		times = [2]vfs.TimeSpec{{Nanos: b[0] * 1e9}, {Nanos: b[1] * 1e9}}
	}
	return setTimes(t, unix.AT_FDCWD, a.Pointer(0), 0, times)
}

func utimes(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doUtimes(t, unix.AT_FDCWD, a.Pointer(0), a.Pointer(1))
}

func futimesat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doUtimes(t, a.Int(0), a.Pointer(1), a.Pointer(2))
}

func doUtimes(t *kernel.Task, dirfd int32, addr, timesAddr uintptr) (uintptr, error) {
	times := bothNow
	if timesAddr != 0 {
		var tv [2]unix.Timeval
		if err := kernel.CopyIn(t, timesAddr, &tv); err != nil {
			return 0, err
		}
		for i, v := range tv {
			if v.Usec < 0 || v.Usec >= 1e6 {
				return 0, unix.EINVAL
			}
			times[i] = vfs.TimeSpec{Nanos: v.Sec*1e9 + v.Usec*1e3}
		}
	}
	return setTimes(t, dirfd, addr, 0, times)
}

func utimensat(t *kernel.Task, a arch.Args) (uintptr, error) {
	times := bothNow
	if addr := a.Pointer(2); addr != 0 {
		var ts [2]unix.Timespec
		if err := kernel.CopyIn(t, addr, &ts); err != nil {
			return 0, err
		}
		for i, v := range ts {
			switch {
			case v.Nsec == unix.UTIME_NOW:
			case v.Nsec == unix.UTIME_OMIT:
				times[i] = vfs.TimeSpec{Omit: true}
			case v.Nsec < 0 || v.Nsec >= 1e9:
				return 0, unix.EINVAL
			default:
				times[i] = vfs.TimeSpec{Nanos: v.Sec*1e9 + v.Nsec}
			}
		}
	}
	if times[0].Omit && times[1].Omit {
		return 0, nil
	}
	flags := a.Int(3)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH) != 0 {
		return 0, unix.EINVAL
	}
	if a.Pointer(1) == 0 && a.Int(0) != unix.AT_FDCWD { // futimens(3)
		if flags != 0 {
			return 0, unix.EINVAL
		}
		return onFile(t, a.Int(0), func(p vfs.Path) error { return p.SetTimes(t, times[0], times[1]) })
	}
	return setTimes(t, a.Int(0), a.Pointer(1), flags, times)
}

func setTimes(t *kernel.Task, dirfd int32, addr uintptr, flags int32, times [2]vfs.TimeSpec) (uintptr, error) {
	return onPlace(t, dirfd, addr, flags, func(p vfs.Path) error { return p.SetTimes(t, times[0], times[1]) })
}

func truncate(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int64(1) < 0 {
		return 0, unix.EINVAL
	}
	return onPlace(t, unix.AT_FDCWD, a.Pointer(0), 0, func(p vfs.Path) error { return p.Truncate(t, a.Int64(1)) })
}

func umask(t *kernel.Task, a arch.Args) (uintptr, error) {
	return uintptr(t.FSContext().SwapUmask(a.Uint(0) & 0o777)), nil
}

func getcwd(t *kernel.Task, a arch.Args) (uintptr, error) {
	root, cwd := t.FSContext().Root(), t.FSContext().WorkingDirectory()
	defer root.DecRef(t)
	defer cwd.DecRef(t)
	if cwd.Dentry.IsDeleted() {
		return 0, unix.ENOENT
	}
	s := t.Kernel().VFS().PathName(root, cwd)
	switch {
	case uintptr(len(s)+1) > a.Pointer(1):
		return 0, unix.ERANGE
	case len(s)+1 > vfs.PathMax:
		return 0, unix.ENAMETOOLONG
	}
	if err := t.CopyOutBytes(a.Pointer(0), append([]byte(s), 0)); err != nil {
		return 0, err
	}
	return uintptr(len(s) + 1), nil
}

func chdir(t *kernel.Task, a arch.Args) (uintptr, error) {
	p, err := place(t, unix.AT_FDCWD, a.Pointer(0), 0)
	if err != nil {
		return 0, err
	}
	return 0, enterDirectory(t, p)
}

func fchdir(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	p := f.Path()
	p.IncRef()
	return 0, enterDirectory(t, p)
}

// enterDirectory makes p, whose references it takes over, the working directory.
func enterDirectory(t *kernel.Task, p vfs.Path) error {
	if err := mayEnter(t, p); err != nil {
		p.DecRef(t)
		return err
	}
	t.FSContext().SetWorkingDirectory(t, p)
	return nil
}

func mayEnter(t *kernel.Task, p vfs.Path) error {
	if _, ok := p.Inode().(vfs.Directory); !ok {
		return unix.ENOTDIR
	}
	return vfs.CheckPermission(t.Credentials(), p.Inode(), vfs.MayExec)
}

func chroot(t *kernel.Task, a arch.Args) (uintptr, error) {
	p, err := place(t, unix.AT_FDCWD, a.Pointer(0), 0)
	if err != nil {
		return 0, err
	}
	if err = mayEnter(t, p); err == nil && !t.Credentials().HasCapability(unix.CAP_SYS_CHROOT) {
		err = unix.EPERM
	}
	if err != nil {
		p.DecRef(t)
		return 0, err
	}
	t.FSContext().SetRoot(t, p)
	return 0, nil
}
