package syscalls

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

var statSyscalls = []kernel.Syscall{
	{Number: unix.SYS_STAT, Name: "stat", Fn: stat, Args: []strace.Format{strace.Path, strace.Stat}},
	{Number: unix.SYS_LSTAT, Name: "lstat", Fn: lstat, Args: []strace.Format{strace.Path, strace.Stat}},
	{Number: unix.SYS_FSTAT, Name: "fstat", Fn: fstat, Args: []strace.Format{strace.FD, strace.Stat}},
	{Number: unix.SYS_NEWFSTATAT, Name: "newfstatat", Fn: newfstatat, Args: []strace.Format{strace.AtFD, strace.Path, strace.Stat, strace.AtFlags}},
	{Number: unix.SYS_STATX, Name: "statx", Fn: statx, Args: []strace.Format{strace.AtFD, strace.Path, strace.AtFlags, strace.Hex, strace.Statx}},
	{Number: unix.SYS_STATFS, Name: "statfs", Fn: statfs, Args: []strace.Format{strace.Path, strace.Statfs}},
	{Number: unix.SYS_FSTATFS, Name: "fstatfs", Fn: fstatfs, Args: []strace.Format{strace.FD, strace.Statfs}},
	{Number: unix.SYS_USTAT, Name: "ustat", Fn: ustat, Args: []strace.Format{strace.Hex, strace.Hex}, Support: kernel.Unimplemented, Note: "obsolete"},
}

func ustat(*kernel.Task, arch.Args) (uintptr, error) { return 0, unix.ENOSYS }

// statStruct is struct stat of x86-64.
type statStruct = unix.Stat_t

func copyOutStat(t *kernel.Task, addr uintptr, a *vfs.Attr) error {
	ns := t.UserNamespace()
	s := statStruct{
		Dev: a.Dev, Ino: a.Ino, Nlink: uint64(a.Nlink), Mode: a.Mode,
		Uid: ns.UID(a.UID), Gid: ns.GID(a.GID), Rdev: a.Rdev,
		Size: int64(a.Size), Blksize: int64(a.Blksize), Blocks: int64(a.Blocks),
		Atim: timespec(a.Atime), Mtim: timespec(a.Mtime), Ctim: timespec(a.Ctime),
	}
	return kernel.CopyOut(t, addr, &s)
}

// timespec splits nanoseconds since the epoch, which may lie before it.
func timespec(ns int64) unix.Timespec {
	s, n := ns/1e9, ns%1e9
	if n < 0 {
		s, n = s-1, n+1e9
	}
	return unix.Timespec{Sec: s, Nsec: n}
}

func statPath(t *kernel.Task, dirfd int32, addr, out uintptr, flags int32) error {
	var p pathArgs
	if err := p.initFlags(t, dirfd, addr, flags); err != nil {
		return err
	}
	a, err := t.Kernel().VFS().StatAt(t, &p.op)
	p.release(t)
	if err != nil {
		return err
	}
	return copyOutStat(t, out, &a)
}

func stat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return 0, statPath(t, unix.AT_FDCWD, a.Pointer(0), a.Pointer(1), 0)
}

func lstat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return 0, statPath(t, unix.AT_FDCWD, a.Pointer(0), a.Pointer(1), unix.AT_SYMLINK_NOFOLLOW)
}

func newfstatat(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Int(3)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT|statxSyncType) != 0 {
		return 0, unix.EINVAL
	}
	return 0, statPath(t, a.Int(0), a.Pointer(1), a.Pointer(2), flags)
}

func fstat(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	at, err := f.Stat(t)
	f.DecRef(t)
	if err != nil {
		return 0, err
	}
	return 0, copyOutStat(t, a.Pointer(1), &at)
}

// statxSyncType is AT_STATX_SYNC_TYPE.
const statxSyncType = 0x6000

// statxMountID is STATX_MNT_ID.
const statxMountID = 0x1000

func statx(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags, mask := a.Int(2), a.Uint(3)
	if flags&^(unix.AT_SYMLINK_NOFOLLOW|unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT|statxSyncType) != 0 ||
		flags&statxSyncType == statxSyncType || mask&unix.STATX__RESERVED != 0 {
		return 0, unix.EINVAL
	}
	p, err := place(t, a.Int(0), a.Pointer(1), flags)
	if err != nil {
		return 0, err
	}
	defer p.DecRef(t)
	at, err := p.Stat(t)
	if err != nil {
		return 0, err
	}
	ns := t.UserNamespace()
	s := unix.Statx_t{
		Mask: unix.STATX_BASIC_STATS, Blksize: at.Blksize, Nlink: at.Nlink, Uid: ns.UID(at.UID), Gid: ns.GID(at.GID),
		Mode: uint16(at.Mode), Ino: at.Ino, Size: at.Size, Blocks: at.Blocks,
		Atime: statxTime(at.Atime), Mtime: statxTime(at.Mtime), Ctime: statxTime(at.Ctime),
		Rdev_major: unix.Major(at.Rdev), Rdev_minor: unix.Minor(at.Rdev),
		Dev_major: unix.Major(at.Dev), Dev_minor: unix.Minor(at.Dev),
		Attributes_mask: unix.STATX_ATTR_MOUNT_ROOT,
	}
	if at.Btime != 0 {
		s.Mask |= unix.STATX_BTIME
		s.Btime = statxTime(at.Btime)
	}
	if mask&statxMountID != 0 {
		s.Mask |= statxMountID
		s.Mnt_id = uint64(p.Mount.ID())
	}
	if p.Dentry == p.Mount.Root() {
		s.Attributes |= unix.STATX_ATTR_MOUNT_ROOT
	}
	return 0, kernel.CopyOut(t, a.Pointer(4), &s)
}

func statxTime(ns int64) unix.StatxTimestamp {
	ts := timespec(ns)
	return unix.StatxTimestamp{Sec: ts.Sec, Nsec: uint32(ts.Nsec)}
}

// The layouts above are the kernel's.
var (
	_ [144]byte = [unsafe.Sizeof(statStruct{})]byte{}
	_ [256]byte = [unsafe.Sizeof(unix.Statx_t{})]byte{}
	_ [120]byte = [unsafe.Sizeof(unix.Statfs_t{})]byte{}
)

func statfs(t *kernel.Task, a arch.Args) (uintptr, error) {
	p, err := place(t, unix.AT_FDCWD, a.Pointer(0), 0)
	if err != nil {
		return 0, err
	}
	defer p.DecRef(t)
	return 0, copyOutStatfs(t, a.Pointer(1), p)
}

func fstatfs(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	return 0, copyOutStatfs(t, a.Pointer(1), f.Path())
}

func copyOutStatfs(t *kernel.Task, addr uintptr, p vfs.Path) error {
	s, flags, err := p.StatFS(t)
	if err != nil {
		return err
	}
	dev := p.Inode().FS().Dev()
	out := unix.Statfs_t{
		Type: s.Type, Bsize: s.BlockSize, Blocks: s.Blocks, Bfree: s.BlocksFree, Bavail: s.BlocksAvail,
		Files: s.Files, Ffree: s.FilesFree, Namelen: s.NameLength, Frsize: s.BlockSize, Flags: int64(flags),
		Fsid: unix.Fsid{Val: [2]int32{int32(dev), int32(dev >> 32)}},
	}
	return kernel.CopyOut(t, addr, &out)
}
