package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/fs/eventfd"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

var ioSyscalls = []kernel.Syscall{
	{Number: unix.SYS_READ, Name: "read", Fn: read, Args: []strace.Format{strace.FD, strace.ReadBuf, strace.Dec64}},
	{Number: unix.SYS_WRITE, Name: "write", Fn: write, Args: []strace.Format{strace.FD, strace.WriteBuf, strace.Dec64}},
	{Number: unix.SYS_PREAD64, Name: "pread64", Fn: pread64, Args: []strace.Format{strace.FD, strace.ReadBuf, strace.Dec64, strace.Dec64}},
	{Number: unix.SYS_PWRITE64, Name: "pwrite64", Fn: pwrite64, Args: []strace.Format{strace.FD, strace.WriteBuf, strace.Dec64, strace.Dec64}},
	{Number: unix.SYS_READV, Name: "readv", Fn: readv, Args: []strace.Format{strace.FD, strace.ReadIovec, strace.Dec}},
	{Number: unix.SYS_WRITEV, Name: "writev", Fn: writev, Args: []strace.Format{strace.FD, strace.WriteIovec, strace.Dec}},
	{Number: unix.SYS_PREADV, Name: "preadv", Fn: preadv, Args: []strace.Format{strace.FD, strace.ReadIovec, strace.Dec, strace.Dec64, strace.Dec64}},
	{Number: unix.SYS_PWRITEV, Name: "pwritev", Fn: pwritev, Args: []strace.Format{strace.FD, strace.WriteIovec, strace.Dec, strace.Dec64, strace.Dec64}},
	{Number: unix.SYS_PREADV2, Name: "preadv2", Fn: preadv2, Args: []strace.Format{strace.FD, strace.ReadIovec, strace.Dec, strace.Dec64, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_PWRITEV2, Name: "pwritev2", Fn: pwritev2, Args: []strace.Format{strace.FD, strace.WriteIovec, strace.Dec, strace.Dec64, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_LSEEK, Name: "lseek", Fn: lseek, Args: []strace.Format{strace.FD, strace.Dec64, strace.SeekWhence}},
	{Number: unix.SYS_FSYNC, Name: "fsync", Fn: fsync, Args: []strace.Format{strace.FD}},
	{Number: unix.SYS_FDATASYNC, Name: "fdatasync", Fn: fdatasync, Args: []strace.Format{strace.FD}},
	{Number: unix.SYS_SYNC, Name: "sync", Fn: syncAll},
	{Number: unix.SYS_SYNCFS, Name: "syncfs", Fn: syncfs, Args: []strace.Format{strace.FD}},
	{Number: unix.SYS_SYNC_FILE_RANGE, Name: "sync_file_range", Fn: syncFileRange, Args: []strace.Format{strace.FD, strace.Dec64, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_FADVISE64, Name: "fadvise64", Fn: fadvise64, Args: []strace.Format{strace.FD, strace.Dec64, strace.Dec64, strace.Dec}, Support: kernel.Recorded, Note: "advice is checked and ignored"},
	{Number: unix.SYS_READAHEAD, Name: "readahead", Fn: readahead, Args: []strace.Format{strace.FD, strace.Dec64, strace.Dec64}, Support: kernel.Recorded, Note: "checked and ignored"},
	{Number: unix.SYS_FTRUNCATE, Name: "ftruncate", Fn: ftruncate, Args: []strace.Format{strace.FD, strace.Dec64}},
	{Number: unix.SYS_FALLOCATE, Name: "fallocate", Fn: fallocate, Args: []strace.Format{strace.FD, strace.Hex, strace.Dec64, strace.Dec64}},
}

// getFile returns the open file at fd with a reference. EBADF.
func getFile(t *kernel.Task, fd int32) (*vfs.FileDescription, error) {
	if f := t.FDTable().Get(fd); f != nil {
		return f, nil
	}
	return nil, unix.EBADF
}

// offsetCurrent stands for the file's own position in doRead and doWrite.
const offsetCurrent = -1

// doRead reads at offset, or the file's position, and waits for data unless nowait.
func doRead(t *kernel.Task, f *vfs.FileDescription, dst usermem.Sequence, offset int64, nowait bool) (int, error) {
	if s, ok := f.File().(socket.Socket); ok && offset == offsetCurrent {
		return readSocket(t, f, s, dst, nowait)
	}
	n, err := readOnce(t, f, dst, offset)
	if err == unix.EAGAIN && n == 0 && !nowait && !f.Nonblocking() {
		n, err = readWait(t, f, dst, offset)
	}
	if n > 0 {
		return n, nil
	}
	return n, err
}

func readOnce(t *kernel.Task, f *vfs.FileDescription, dst usermem.Sequence, offset int64) (int, error) {
	if offset == offsetCurrent {
		return f.Read(t, dst)
	}
	return f.PRead(t, dst, offset)
}

// readWait is the slow half of doRead.
func readWait(t *kernel.Task, f *vfs.FileDescription, dst usermem.Sequence, offset int64) (int, error) {
	deadline := int64(0)
	if o, ok := f.File().(vfs.IOTimeouts); ok {
		if d := o.ReadTimeout(); d > 0 {
			deadline = t.Monotonic() + d
		}
	}
	e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: t.Waker()}
	if err := f.EventRegister(&e); err != nil {
		return 0, err
	}
	defer f.EventUnregister(&e)
	for {
		n, err := readOnce(t, f, dst, offset)
		if err != unix.EAGAIN || n > 0 {
			return n, err
		}
		if err := blockUntil(t, deadline); err != nil {
			return 0, err
		}
	}
}

// blockUntil parks t; deadline 0 is none, and EAGAIN the result when it passed.
func blockUntil(t *kernel.Task, deadline int64) error {
	if deadline == 0 {
		return t.Block()
	}
	switch err := t.BlockUntil(deadline); err {
	case unix.ETIMEDOUT:
		return unix.EAGAIN
	case linux.ERESTARTSYS:
		return unix.EINTR // a call with a time-out does not start anew (signal(7))
	default:
		return err
	}
}

// writeMode is how a write deals with O_APPEND.
type writeMode uint8

const (
	writeAsFile writeMode = iota
	writeAppend
	writeNoAppend
)

func writeOnce(t *kernel.Task, f *vfs.FileDescription, src usermem.Sequence, offset int64, mode writeMode) (int, error) {
	switch {
	case mode == writeAsFile && offset == offsetCurrent:
		return f.Write(t, src)
	case mode == writeAsFile:
		return f.PWrite(t, src, offset)
	case offset == offsetCurrent:
		return f.WriteFlags(t, src, mode == writeAppend)
	default:
		return f.PWriteFlags(t, src, offset, mode == writeAppend)
	}
}

// doWrite writes at offset, or the file's position; for streams it waits until all is
// written unless nowait.
func doWrite(t *kernel.Task, f *vfs.FileDescription, src usermem.Sequence, offset int64, mode writeMode, nowait bool) (int, error) {
	if s, ok := f.File().(socket.Socket); ok && offset == offsetCurrent {
		return writeSocket(t, f, s, src, nowait)
	}
	n, err := writeOnce(t, f, src, offset, mode)
	if _, ok := f.File().(*eventfd.EventFD); ok && src.Len() > 8 {
		src = src.TakeFirst(8) // one value a call
	}
	if !f.Seekable() && n < src.Len() && (err == unix.EAGAIN || err == nil && n > 0) && !nowait && !f.Nonblocking() {
		var more int
		more, err = writeWait(t, f, src.DropFirst(n), offset, mode)
		n += more
	}
	if n > 0 {
		return n, nil
	}
	if err == unix.EPIPE {
		sendSIGPIPE(t, f)
	}
	return n, err
}

// writeWait is the slow half of doWrite.
func writeWait(t *kernel.Task, f *vfs.FileDescription, src usermem.Sequence, offset int64, mode writeMode) (int, error) {
	deadline := int64(0)
	if o, ok := f.File().(vfs.IOTimeouts); ok {
		if d := o.WriteTimeout(); d > 0 {
			deadline = t.Monotonic() + d
		}
	}
	e := waiter.Entry{Mask: waiter.WritableEvents, Listener: t.Waker()}
	if err := f.EventRegister(&e); err != nil {
		return 0, err
	}
	defer f.EventUnregister(&e)
	done := 0
	for {
		n, err := writeOnce(t, f, src, offset, mode)
		done += n
		src = src.DropFirst(n)
		if err != nil && err != unix.EAGAIN || src.Len() == 0 || err == nil && n == 0 {
			return done, err
		}
		if err == nil {
			continue
		}
		if err := blockUntil(t, deadline); err != nil {
			return done, err
		}
	}
}

// sendSIGPIPE tells the calling thread that nobody reads what it writes to f. Sockets that are
// no streams have no such signal.
func sendSIGPIPE(t *kernel.Task, f *vfs.FileDescription) {
	if s, ok := f.File().(socket.Socket); ok && s.Type() != unix.SOCK_STREAM {
		return
	}
	info := arch.NewUserSignal(int32(unix.SIGPIPE), 0, t.PID(), int32(t.UserNamespace().UID(t.Credentials().RealUID)))
	t.SendSignal(&info)
}

func read(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	if !f.Readable() {
		return 0, unix.EBADF
	}
	dst, err := t.IO(a.Pointer(1), a.Pointer(2))
	if err != nil {
		return 0, err
	}
	n, err := doRead(t, f, dst, offsetCurrent, false)
	return uintptr(n), err
}

func write(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	if !f.Writable() {
		return 0, unix.EBADF
	}
	src, err := t.IO(a.Pointer(1), a.Pointer(2))
	if err != nil {
		return 0, err
	}
	n, err := doWrite(t, f, src, offsetCurrent, writeAsFile, false)
	return uintptr(n), err
}

func pread64(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int64(3) < 0 {
		return 0, unix.EINVAL
	}
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	dst, err := t.IO(a.Pointer(1), a.Pointer(2))
	if err != nil {
		return 0, err
	}
	n, err := doRead(t, f, dst, a.Int64(3), false)
	return uintptr(n), err
}

func pwrite64(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int64(3) < 0 {
		return 0, unix.EINVAL
	}
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	src, err := t.IO(a.Pointer(1), a.Pointer(2))
	if err != nil {
		return 0, err
	}
	n, err := doWrite(t, f, src, a.Int64(3), writeAsFile, false)
	return uintptr(n), err
}

func readv(t *kernel.Task, a arch.Args) (uintptr, error) {
	return vectorRead(t, a, offsetCurrent, 0)
}

func writev(t *kernel.Task, a arch.Args) (uintptr, error) {
	return vectorWrite(t, a, offsetCurrent, 0)
}

func preadv(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int64(3) < 0 {
		return 0, unix.EINVAL
	}
	return vectorRead(t, a, a.Int64(3), 0)
}

func pwritev(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int64(3) < 0 {
		return 0, unix.EINVAL
	}
	return vectorWrite(t, a, a.Int64(3), 0)
}

func preadv2(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int64(3) < -1 {
		return 0, unix.EINVAL
	}
	return vectorRead(t, a, a.Int64(3), a.Uint(5))
}

func pwritev2(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int64(3) < -1 {
		return 0, unix.EINVAL
	}
	return vectorWrite(t, a, a.Int64(3), a.Uint(5))
}

// The flags of preadv2(2) and pwritev2(2).
const (
	rwfHipri    = 0x1
	rwfDsync    = 0x2
	rwfSync     = 0x4
	rwfNowait   = 0x8
	rwfAppend   = 0x10
	rwfNoAppend = 0x20
)

// checkReadFlags refuses what a read has no use for.
func checkReadFlags(flags uint32) error {
	if flags&^(rwfHipri|rwfNowait) != 0 {
		return unix.EOPNOTSUPP
	}
	return nil
}

// writeModeOf checks the flags of a write; they say how it appends.
func writeModeOf(flags uint32) (writeMode, error) {
	if flags&^(rwfHipri|rwfDsync|rwfSync|rwfNowait|rwfAppend|rwfNoAppend) != 0 {
		return writeAsFile, unix.EOPNOTSUPP
	}
	switch flags & (rwfAppend | rwfNoAppend) {
	case rwfAppend:
		return writeAppend, nil
	case rwfNoAppend:
		return writeNoAppend, nil
	case rwfAppend | rwfNoAppend:
		return writeAsFile, unix.EINVAL
	}
	return writeAsFile, nil
}

func vectorRead(t *kernel.Task, a arch.Args, offset int64, flags uint32) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	if offset != offsetCurrent && !f.PathOnly() && !f.Seekable() {
		return 0, unix.ESPIPE
	}
	if !f.Readable() {
		return 0, unix.EBADF
	}
	dst, err := t.IOVec(a.Pointer(1), int(a.Int(2)))
	if err != nil {
		return 0, err
	}
	if err := checkReadFlags(flags); err != nil {
		return 0, err
	}
	n, err := doRead(t, f, dst, offset, flags&rwfNowait != 0)
	return uintptr(n), err
}

func vectorWrite(t *kernel.Task, a arch.Args, offset int64, flags uint32) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	if offset != offsetCurrent && !f.PathOnly() && !f.Seekable() {
		return 0, unix.ESPIPE
	}
	if !f.Writable() {
		return 0, unix.EBADF
	}
	src, err := t.IOVec(a.Pointer(1), int(a.Int(2)))
	if err != nil {
		return 0, err
	}
	mode, err := writeModeOf(flags)
	if err != nil {
		return 0, err
	}
	n, err := doWrite(t, f, src, offset, mode, flags&rwfNowait != 0)
	if n > 0 && flags&(rwfDsync|rwfSync) != 0 {
		if err := f.Sync(t, flags&rwfSync == 0); err != nil {
			return 0, err
		}
	}
	return uintptr(n), err
}

func lseek(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	n, err := f.Seek(t, a.Int64(1), a.Int(2))
	return uintptr(n), err
}

func fsync(t *kernel.Task, a arch.Args) (uintptr, error) { return syncFile(t, a.Int(0), false) }

func fdatasync(t *kernel.Task, a arch.Args) (uintptr, error) { return syncFile(t, a.Int(0), true) }

func syncFile(t *kernel.Task, fd int32, dataOnly bool) (uintptr, error) {
	f, err := getFile(t, fd)
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	return 0, f.Sync(t, dataOnly)
}

func syncAll(t *kernel.Task, a arch.Args) (uintptr, error) {
	if ns := t.MountNamespace(); ns != nil {
		ns.Sync(t)
	}
	return 0, nil
}

func syncfs(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	if f.PathOnly() {
		return 0, unix.EBADF
	}
	return 0, f.Inode().FS().Sync(t)
}

func syncFileRange(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	const all = unix.SYNC_FILE_RANGE_WAIT_BEFORE | unix.SYNC_FILE_RANGE_WRITE | unix.SYNC_FILE_RANGE_WAIT_AFTER
	offset, n := a.Int64(1), a.Int64(2)
	switch {
	case a.Uint(3)&^all != 0 || offset < 0 || n < 0 || offset+n < 0:
		return 0, unix.EINVAL
	case f.PathOnly():
		return 0, unix.EBADF
	}
	switch f.FileType() {
	case unix.S_IFREG, unix.S_IFBLK, unix.S_IFDIR, unix.S_IFLNK:
	default:
		return 0, unix.ESPIPE
	}
	if a.Uint(3) == 0 {
		return 0, nil
	}
	return 0, f.Sync(t, true)
}

func fadvise64(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	switch {
	case f.PathOnly():
		return 0, unix.EBADF
	case f.FileType() == unix.S_IFIFO:
		return 0, unix.ESPIPE
	case a.Int64(2) < 0 || uint32(a.Int(3)) > unix.FADV_NOREUSE:
		return 0, unix.EINVAL
	}
	return 0, nil
}

func readahead(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	switch {
	case !f.Readable():
		return 0, unix.EBADF
	case f.FileType() != unix.S_IFREG:
		return 0, unix.EINVAL
	}
	return 0, nil
}

func ftruncate(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int64(1) < 0 {
		return 0, unix.EINVAL
	}
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	return 0, f.Truncate(t, a.Int64(1))
}

func fallocate(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	return 0, f.Allocate(t, a.Uint(1), a.Int64(2), a.Int64(3))
}
