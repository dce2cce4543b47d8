package syscalls

import (
	"encoding/binary"
	gosync "sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/fs/tmpfs"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

var fileSyscalls = []kernel.Syscall{
	{Number: unix.SYS_OPEN, Name: "open", Fn: open, Args: []strace.Format{strace.Path, strace.OpenFlags, strace.Oct}},
	{Number: unix.SYS_OPENAT, Name: "openat", Fn: openat, Args: []strace.Format{strace.AtFD, strace.Path, strace.OpenFlags, strace.Oct}},
	{Number: unix.SYS_OPENAT2, Name: "openat2", Fn: openat2, Args: []strace.Format{strace.AtFD, strace.Path, strace.Hex, strace.Dec64}},
	{Number: unix.SYS_CREAT, Name: "creat", Fn: creat, Args: []strace.Format{strace.Path, strace.Oct}},
	{Number: unix.SYS_CLOSE, Name: "close", Fn: closeFD, Args: []strace.Format{strace.FD}},
	{Number: unix.SYS_CLOSE_RANGE, Name: "close_range", Fn: closeRange, Args: []strace.Format{strace.Dec, strace.Dec, strace.Hex}},
	{Number: unix.SYS_DUP, Name: "dup", Fn: dup, Args: []strace.Format{strace.FD}},
	{Number: unix.SYS_DUP2, Name: "dup2", Fn: dup2, Args: []strace.Format{strace.FD, strace.FD}},
	{Number: unix.SYS_DUP3, Name: "dup3", Fn: dup3, Args: []strace.Format{strace.FD, strace.FD, strace.OpenFlags}},
	{Number: unix.SYS_GETDENTS, Name: "getdents", Fn: getdents, Args: []strace.Format{strace.FD, strace.Hex, strace.Dec}},
	{Number: unix.SYS_GETDENTS64, Name: "getdents64", Fn: getdents64, Args: []strace.Format{strace.FD, strace.Hex, strace.Dec}},
	{Number: unix.SYS_MEMFD_CREATE, Name: "memfd_create", Fn: memfdCreate, Args: []strace.Format{strace.String, strace.Hex}},
	{Number: unix.SYS_NAME_TO_HANDLE_AT, Name: "name_to_handle_at", Fn: notSupported, Args: []strace.Format{strace.AtFD, strace.Path, strace.Hex, strace.Hex, strace.AtFlags}, Support: kernel.Unimplemented, Note: "EOPNOTSUPP: filesystems have no handles"},
	{Number: unix.SYS_OPEN_BY_HANDLE_AT, Name: "open_by_handle_at", Fn: notSupported, Args: []strace.Format{strace.FD, strace.Hex, strace.OpenFlags}, Support: kernel.Unimplemented, Note: "EOPNOTSUPP: filesystems have no handles"},
}

func notSupported(*kernel.Task, arch.Args) (uintptr, error) { return 0, unix.EOPNOTSUPP }

// openFlagsMask are the flags that open(2) knows; others are ignored there, and EINVAL for
// openat2(2).
const openFlagsMask = unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC |
	unix.O_APPEND | unix.O_NONBLOCK | unix.O_DSYNC | unix.O_SYNC | unix.O_ASYNC | unix.O_DIRECT | linuxLargefile |
	unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_NOATIME | unix.O_CLOEXEC | unix.O_PATH | unix.O_TMPFILE

// linuxLargefile is O_LARGEFILE as the kernel knows it on x86-64 (the libc's is 0).
const linuxLargefile = 0o100000

func open(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doOpen(t, unix.AT_FDCWD, a.Pointer(0), a.Uint(1), a.Mode(2))
}

func openat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doOpen(t, a.Int(0), a.Pointer(1), a.Uint(2), a.Mode(3))
}

func creat(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doOpen(t, unix.AT_FDCWD, a.Pointer(0), unix.O_CREAT|unix.O_WRONLY|unix.O_TRUNC, a.Mode(1))
}

func doOpen(t *kernel.Task, dirfd int32, addr uintptr, flags, mode uint32) (uintptr, error) {
	var p pathArgs
	if err := p.init(t, dirfd, addr); err != nil {
		return 0, err
	}
	defer p.release(t)
	return openPath(t, &p, flags&openFlagsMask, mode)
}

func openPath(t *kernel.Task, p *pathArgs, flags, mode uint32) (uintptr, error) {
	if flags&unix.O_PATH == 0 {
		flags |= linuxLargefile
	}
	f, err := t.Kernel().VFS().OpenAt(t, &p.op, vfs.OpenOpts{Flags: flags, Mode: mode & 0o7777})
	if err != nil {
		return 0, err
	}
	return newDescriptor(t, f, flags&unix.O_CLOEXEC != 0)
}

func openat2(t *kernel.Task, a arch.Args) (uintptr, error) {
	var how unix.OpenHow
	if err := copyInExtensible(t, a.Pointer(2), a.Size(3), unix.SizeofOpenHow, &how); err != nil {
		return 0, err
	}
	const resolveMask = unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS | unix.RESOLVE_NO_SYMLINKS |
		unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT | 0x20 // RESOLVE_CACHED
	const both = unix.RESOLVE_BENEATH | unix.RESOLVE_IN_ROOT
	flags := uint32(how.Flags)
	switch {
	case how.Flags&^uint64(openFlagsMask) != 0, how.Resolve&^resolveMask != 0, how.Resolve&both == both,
		how.Mode&^0o7777 != 0,
		how.Mode != 0 && flags&unix.O_CREAT == 0 && flags&unix.O_TMPFILE != unix.O_TMPFILE,
		flags&unix.O_PATH != 0 && flags&^(unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC) != 0:
		return 0, unix.EINVAL
	}
	if how.Resolve&0x20 != 0 && flags&(unix.O_TRUNC|unix.O_CREAT|unix.O_TMPFILE&^unix.O_DIRECTORY) != 0 {
		return 0, unix.EAGAIN
	}
	var p pathArgs
	if err := p.init(t, a.Int(0), a.Pointer(1)); err != nil {
		return 0, err
	}
	defer p.release(t)
	p.op.Resolve = how.Resolve
	if how.Resolve&unix.RESOLVE_IN_ROOT != 0 && p.op.Pathname[0] == '/' {
		// The name is relative to dirfd all the same.
		var q pathArgs
		if err := q.initName(t, a.Int(0), "."+p.op.Pathname, 0); err != nil {
			return 0, err
		}
		defer q.release(t)
		q.op.Resolve, q.op.Pathname = how.Resolve, p.op.Pathname
		return openPath(t, &q, flags, uint32(how.Mode))
	}
	return openPath(t, &p, flags, uint32(how.Mode))
}

func closeFD(t *kernel.Task, a arch.Args) (uintptr, error) {
	f := t.FDTable().Remove(a.Int(0))
	if f == nil {
		return 0, unix.EBADF
	}
	return 0, t.FDTable().CloseFile(t, f)
}

func closeRange(t *kernel.Task, a arch.Args) (uintptr, error) {
	first, last, flags := a.Uint(0), a.Uint(1), a.Uint(2)
	if first > last || flags&^(unix.CLOSE_RANGE_UNSHARE|unix.CLOSE_RANGE_CLOEXEC) != 0 {
		return 0, unix.EINVAL
	}
	if flags&unix.CLOSE_RANGE_UNSHARE != 0 {
		if err := t.Unshare(unix.CLONE_FILES); err != nil {
			return 0, err
		}
	}
	fds := t.FDTable()
	in := func(fd int32) bool { return uint32(fd) >= first && uint32(fd) <= last }
	if flags&unix.CLOSE_RANGE_CLOEXEC == 0 {
		fds.RemoveIf(t, func(fd int32, _ *vfs.FileDescription, _ bool) bool { return in(fd) })
		return 0, nil
	}
	for _, fd := range fds.FDs() {
		if in(fd) {
			fds.SetCloseOnExec(fd, true) // EBADF: closed meanwhile
		}
	}
	return 0, nil
}

func dup(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	return newDescriptor(t, f, false)
}

func dup2(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int(0) == a.Int(1) {
		f, err := getFile(t, a.Int(0))
		if err != nil {
			return 0, err
		}
		f.DecRef(t)
		return uintptr(a.Int(1)), nil
	}
	return dupTo(t, a.Int(0), a.Int(1), false)
}

func dup3(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Uint(2)&^unix.O_CLOEXEC != 0 || a.Int(0) == a.Int(1) {
		return 0, unix.EINVAL
	}
	return dupTo(t, a.Int(0), a.Int(1), a.Uint(2) != 0)
}

func dupTo(t *kernel.Task, from, to int32, cloexec bool) (uintptr, error) {
	f, err := getFile(t, from)
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	old, err := t.FDTable().NewAt(to, f, cloexec, maxFDs(t))
	if err != nil {
		return 0, err
	}
	if old != nil {
		t.FDTable().CloseFile(t, old)
	}
	return uintptr(to), nil
}

// direntBuffer collects directory entries in the form of getdents64(2), or getdents(2).
type direntBuffer struct {
	buf   []byte // length is what is filled, capacity what there is
	old   bool
	small bool // an entry did not fit
}

// direntBuffers keeps buffers between calls; maxDirentBuffer bounds them.
var direntBuffers = gosync.Pool{New: func() any { return &direntBuffer{buf: make([]byte, 0, maxDirentBuffer)} }}

const maxDirentBuffer = 32 << 10

// Add implements vfs.DirentSink.
func (b *direntBuffer) Add(d vfs.Dirent) bool {
	n := len(b.buf)
	size := (19 + len(d.Name) + 1 + 7) &^ 7 // ino, off, reclen, type, name, NUL
	if b.old {
		size = (18 + len(d.Name) + 2 + 7) &^ 7 // the type is the last byte
	}
	if n+size > cap(b.buf) {
		b.small = true
		return false
	}
	b.buf = b.buf[:n+size]
	e := b.buf[n:]
	clear(e)
	binary.LittleEndian.PutUint64(e, d.Ino)
	binary.LittleEndian.PutUint64(e[8:], uint64(d.Next))
	binary.LittleEndian.PutUint16(e[16:], uint16(size))
	if b.old {
		copy(e[18:], d.Name)
		e[size-1] = d.Type
	} else {
		e[18] = d.Type
		copy(e[19:], d.Name)
	}
	return true
}

func getdents(t *kernel.Task, a arch.Args) (uintptr, error) { return doGetdents(t, a, true) }

func getdents64(t *kernel.Task, a arch.Args) (uintptr, error) { return doGetdents(t, a, false) }

func doGetdents(t *kernel.Task, a arch.Args, old bool) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	if !f.PathOnly() && f.FileType() != unix.S_IFDIR {
		return 0, unix.ENOTDIR
	}
	b := direntBuffers.Get().(*direntBuffer)
	full := b.buf
	b.old, b.small = old, false
	b.buf = full[:0:min(maxDirentBuffer, int(a.Uint(2)))]
	defer func() {
		b.buf = full[:0]
		direntBuffers.Put(b)
	}()
	start := f.Offset()
	err = f.IterDirents(t, b)
	if len(b.buf) == 0 {
		if err == nil && b.small {
			err = unix.EINVAL
		}
		return 0, err
	}
	if err := t.CopyOutBytes(a.Pointer(1), b.buf); err != nil {
		f.Seek(t, start, unix.SEEK_SET) // nobody saw the entries
		return 0, err
	}
	return uintptr(len(b.buf)), nil
}

// The flags of memfd_create(2) that x/sys lacks or that need a mask.
const (
	mfdCloexec      = 0x1
	mfdAllowSealing = 0x2
	mfdHugetlb      = 0x4
	mfdNoexecSeal   = 0x8
	mfdExec         = 0x10
	mfdHugeMask     = 0x3f << 26
)

func memfdCreate(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Uint(1)
	known := uint32(mfdCloexec | mfdAllowSealing | mfdHugetlb | mfdNoexecSeal | mfdExec)
	if flags&mfdHugetlb != 0 {
		known |= mfdHugeMask
	}
	if flags&^known != 0 || flags&(mfdNoexecSeal|mfdExec) == mfdNoexecSeal|mfdExec {
		return 0, unix.EINVAL
	}
	name, err := t.CopyInString(a.Pointer(0), 249)
	if err != nil {
		if err == unix.ENAMETOOLONG {
			err = unix.EINVAL
		}
		return 0, err
	}
	f := MemoryFS(t.Kernel()).NewMemfd(t, name, flags&(mfdAllowSealing|mfdNoexecSeal) != 0, flags&mfdNoexecSeal != 0)
	return newDescriptor(t, f, flags&mfdCloexec != 0)
}

// MemoryFS is the tmpfs, mounted nowhere, of k's memfds.
func MemoryFS(k *kernel.Kernel) *tmpfs.Filesystem {
	return k.Extra("memfd", func() any {
		ctx := tmpfs.KernelContext(k.RootUserNamespace())
		return tmpfs.New(ctx, k.VFS(), k.MemoryFile(), tmpfs.Options{})
	}).(*tmpfs.Filesystem)
}
