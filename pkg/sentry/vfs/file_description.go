package vfs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/waiter"
)

// FileDescription is an open file description (open(2)): what file descriptors refer to.
type FileDescription struct {
	refs atomic.Int64

	file  File
	path  Path
	inode Inode
	typ   uint32 // S_IFMT part of the mode
	// mode is O_RDONLY, O_WRONLY, O_RDWR or O_PATH.
	readable, writable, pathOnly, seekable bool
	positioner                             Positioner // nil: off is the position
	// writeAccess: this description counts in InodeBase.writers, and in the mount's.
	writeAccess bool

	// status holds the flags of fcntl(F_GETFL): access mode and status flags.
	status atomic.Uint32

	// locked is set once a lock was taken through the description, so that closing
	// one that never had any is cheap.
	locked atomic.Bool

	mu  sync.Mutex // guards the field below, and is held while it is used
	off int64

	async asyncIO
}

// settableFlags are the flags that F_SETFL changes.
const settableFlags = unix.O_APPEND | unix.O_NONBLOCK | unix.O_DIRECT | unix.O_NOATIME | unix.O_ASYNC

// NewFileDescription makes an open file description, with one reference, of f at p, whose
// references pass to it. flags are open(2)'s. It does not count as a writer; files opened by
// path come from VFS.OpenAt.
func NewFileDescription(p Path, f File, flags uint32) *FileDescription {
	fd := &FileDescription{file: f, path: p, inode: p.Dentry.inode}
	fd.refs.Store(1)
	if mode, _, _ := fd.inode.Owner(); true {
		fd.typ = mode & unix.S_IFMT
	}
	if flags&unix.O_PATH != 0 {
		fd.pathOnly = true
	} else {
		acc := flags & unix.O_ACCMODE
		fd.readable = acc == unix.O_RDONLY || acc == unix.O_RDWR
		fd.writable = acc == unix.O_WRONLY || acc == unix.O_RDWR
		fd.seekable = f.Seekable()
		fd.positioner, _ = f.(Positioner)
	}
	fd.status.Store(flags &^ (unix.O_CREAT | unix.O_EXCL | unix.O_NOCTTY | unix.O_TRUNC | unix.O_CLOEXEC))
	return fd
}

// IncRef adds a reference; the caller has one.
func (fd *FileDescription) IncRef() {
	if fd.refs.Add(1) <= 1 {
		panic("vfs: reference on a closed file description")
	}
}

// TryIncRef adds a reference unless the last one is gone (a lock-free reader of a
// descriptor table may come too late).
func (fd *FileDescription) TryIncRef() bool {
	for {
		n := fd.refs.Load()
		if n <= 0 {
			return false
		}
		if fd.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// DecRef drops a reference; the last one closes the file.
func (fd *FileDescription) DecRef(ctx context.Context) {
	switch n := fd.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("vfs: file description closed twice")
	}
	fd.async.stop(fd)
	if fd.locked.Load() {
		fd.inode.Base().more().locks.releaseDescription(fd)
	}
	if !fd.pathOnly {
		if fd.writeAccess {
			fd.inode.Base().PutWriteAccess()
			fd.path.Mount.putWrite()
		}
		mask := uint32(unix.IN_CLOSE_NOWRITE)
		if fd.writable {
			mask = unix.IN_CLOSE_WRITE
		}
		fd.notify(mask)
		fd.file.Release(ctx)
	}
	fd.path.DecRef(ctx)
}

// File is the filesystem's half.
func (fd *FileDescription) File() File { return fd.file }

// Path is the place at which the file was opened. The references are fd's.
func (fd *FileDescription) Path() Path { return fd.path }

// Inode is the file itself.
func (fd *FileDescription) Inode() Inode { return fd.inode }

// FileType is the S_IFMT part of the mode.
func (fd *FileDescription) FileType() uint32 { return fd.typ }

// Readable says whether it was opened for reading.
func (fd *FileDescription) Readable() bool { return fd.readable }

// Writable says whether it was opened for writing.
func (fd *FileDescription) Writable() bool { return fd.writable }

// PathOnly says whether it was opened with O_PATH: most operations fail with EBADF.
func (fd *FileDescription) PathOnly() bool { return fd.pathOnly }

// Seekable says whether it has a position.
func (fd *FileDescription) Seekable() bool { return fd.seekable }

// Nonblocking says whether O_NONBLOCK is set.
func (fd *FileDescription) Nonblocking() bool { return fd.status.Load()&unix.O_NONBLOCK != 0 }

// StatusFlags are those of F_GETFL, access mode included.
func (fd *FileDescription) StatusFlags() uint32 { return fd.status.Load() }

// SetStatusFlags is F_SETFL: flags that it cannot change are ignored.
func (fd *FileDescription) SetStatusFlags(ctx context.Context, flags uint32) error {
	old := fd.status.Load()
	flags = old&^settableFlags | flags&settableFlags
	if (flags^old)&unix.O_NOATIME != 0 && flags&unix.O_NOATIME != 0 && !ownerOrCapable(ctx.Credentials(), fd.inode) {
		return unix.EPERM
	}
	if flags == old {
		return nil
	}
	if err := fd.file.FlagsChanged(flags); err != nil {
		return err
	}
	fd.status.Store(flags)
	fd.async.flagsChanged(fd, flags)
	return nil
}

// Readiness implements waiter.Waitable.
func (fd *FileDescription) Readiness(mask waiter.EventMask) waiter.EventMask {
	return fd.file.Readiness(mask)
}

// EventRegister implements waiter.Waitable.
func (fd *FileDescription) EventRegister(e *waiter.Entry) error { return fd.file.EventRegister(e) }

// EventUnregister implements waiter.Waitable.
func (fd *FileDescription) EventUnregister(e *waiter.Entry) { fd.file.EventUnregister(e) }

// Read reads at the file's position and moves it. EAGAIN: wait for readiness.
func (fd *FileDescription) Read(ctx context.Context, dst usermem.Sequence) (int, error) {
	switch {
	case !fd.readable:
		return 0, unix.EBADF
	case fd.typ == unix.S_IFDIR:
		return 0, unix.EISDIR
	}
	if !fd.seekable {
		n, err := fd.file.Read(ctx, dst, -1)
		fd.accessed(ctx, n)
		return n, err
	}
	if fd.positioner != nil {
		n, err := fd.positioner.ReadAtPosition(ctx, dst)
		fd.accessed(ctx, n)
		return n, err
	}
	fd.mu.Lock()
	n, err := fd.file.Read(ctx, dst, fd.off)
	if n > 0 {
		fd.off += int64(n)
	}
	fd.mu.Unlock()
	fd.accessed(ctx, n)
	return n, err
}

// PRead reads at offset. ESPIPE: the file has no positions.
func (fd *FileDescription) PRead(ctx context.Context, dst usermem.Sequence, offset int64) (int, error) {
	switch {
	case offset < 0:
		return 0, unix.EINVAL
	case fd.pathOnly:
		return 0, unix.EBADF
	case !fd.seekable:
		return 0, unix.ESPIPE
	case !fd.readable:
		return 0, unix.EBADF
	case fd.typ == unix.S_IFDIR:
		return 0, unix.EISDIR
	}
	n, err := fd.file.Read(ctx, dst, offset)
	fd.accessed(ctx, n)
	return n, err
}

// Write writes at the file's position, or its end with O_APPEND, and moves it.
func (fd *FileDescription) Write(ctx context.Context, src usermem.Sequence) (int, error) {
	if !fd.writable {
		return 0, unix.EBADF
	}
	if !fd.seekable {
		n, _, err := fd.file.Write(ctx, src, -1, false)
		if n > 0 {
			fd.notify(unix.IN_MODIFY)
		}
		return n, err
	}
	if fd.positioner != nil {
		n, err := fd.positioner.WriteAtPosition(ctx, src)
		if n > 0 {
			fd.notify(unix.IN_MODIFY)
		}
		return n, err
	}
	fd.mu.Lock()
	defer fd.mu.Unlock()
	n, end, err := fd.write(ctx, src, fd.off, fd.status.Load()&unix.O_APPEND != 0)
	if n > 0 {
		fd.off = end
	}
	return n, err
}

// PWrite writes at offset (at the end with O_APPEND, as Linux does).
func (fd *FileDescription) PWrite(ctx context.Context, src usermem.Sequence, offset int64) (int, error) {
	return fd.pwrite(ctx, src, offset, fd.status.Load()&unix.O_APPEND != 0)
}

// PWriteFlags is PWrite with RWF_APPEND or RWF_NOAPPEND of pwritev2(2).
func (fd *FileDescription) PWriteFlags(ctx context.Context, src usermem.Sequence, offset int64, appendMode bool) (int, error) {
	return fd.pwrite(ctx, src, offset, appendMode)
}

// WriteFlags is Write with another idea of O_APPEND (pwritev2(2) with offset -1).
func (fd *FileDescription) WriteFlags(ctx context.Context, src usermem.Sequence, appendMode bool) (int, error) {
	if !fd.seekable || fd.positioner != nil {
		return fd.Write(ctx, src)
	}
	if !fd.writable {
		return 0, unix.EBADF
	}
	fd.mu.Lock()
	defer fd.mu.Unlock()
	n, end, err := fd.write(ctx, src, fd.off, appendMode)
	if n > 0 {
		fd.off = end
	}
	return n, err
}

func (fd *FileDescription) pwrite(ctx context.Context, src usermem.Sequence, offset int64, appendMode bool) (int, error) {
	switch {
	case offset < 0:
		return 0, unix.EINVAL
	case fd.pathOnly:
		return 0, unix.EBADF
	case !fd.seekable:
		return 0, unix.ESPIPE
	case !fd.writable:
		return 0, unix.EBADF
	}
	n, _, err := fd.write(ctx, src, offset, appendMode)
	return n, err
}

// write does what is common to writes of seekable files.
func (fd *FileDescription) write(ctx context.Context, src usermem.Sequence, offset int64, appendMode bool) (int, int64, error) {
	if src.Len() == 0 {
		return 0, offset, nil
	}
	if fd.typ == unix.S_IFREG {
		if limit := ctx.FileSizeLimit(); limit < 1<<63-1 {
			at := offset
			if appendMode {
				if a, err := fd.inode.Stat(ctx); err == nil {
					at = int64(a.Size)
				}
			}
			if at >= int64(limit) {
				ctx.FileSizeExceeded()
				return 0, offset, unix.EFBIG
			}
			src = src.TakeFirst(int(min(int64(src.Len()), int64(limit)-at)))
		}
		if !appendMode {
			if offset == maxFileOffset {
				return 0, offset, unix.EFBIG
			}
			src = src.TakeFirst(int(min(int64(src.Len()), maxFileOffset-offset)))
		}
		if err := dropPrivileges(ctx, fd.inode); err != nil {
			return 0, offset, err
		}
	}
	n, end, err := fd.file.Write(ctx, src, offset, appendMode)
	if n > 0 {
		fd.notify(unix.IN_MODIFY)
	}
	return n, end, err
}

// maxFileOffset is the largest size that a file can have.
const maxFileOffset = 1<<63 - 1

// Offset is the file's position.
func (fd *FileDescription) Offset() int64 {
	if fd.positioner != nil {
		n, _ := fd.file.Seek(noTask, 0, unix.SEEK_CUR, 0)
		return n
	}
	fd.mu.Lock()
	defer fd.mu.Unlock()
	return fd.off
}

// Seek is lseek(2).
func (fd *FileDescription) Seek(ctx context.Context, offset int64, whence int32) (int64, error) {
	if fd.pathOnly {
		return 0, unix.EBADF
	}
	if whence < 0 || whence > unix.SEEK_HOLE {
		return 0, unix.EINVAL
	}
	if !fd.seekable {
		n, err := fd.file.Seek(ctx, offset, whence, 0)
		if err == ErrDefault {
			err = unix.ESPIPE
		}
		return n, err
	}
	fd.mu.Lock()
	defer fd.mu.Unlock()
	n, err := fd.file.Seek(ctx, offset, whence, fd.off)
	if err == ErrDefault {
		n, err = fd.defaultSeek(ctx, offset, whence)
	}
	if err != nil {
		return 0, err
	}
	fd.off = n
	return n, nil
}

func (fd *FileDescription) defaultSeek(ctx context.Context, offset int64, whence int32) (int64, error) {
	var base int64
	switch whence {
	case unix.SEEK_CUR:
		base = fd.off
	case unix.SEEK_END, unix.SEEK_DATA, unix.SEEK_HOLE:
		a, err := fd.inode.Stat(ctx)
		if err != nil {
			return 0, err
		}
		size := int64(a.Size)
		switch {
		case whence == unix.SEEK_END:
			base = size
		case offset < 0 || offset >= size:
			return 0, unix.ENXIO
		case whence == unix.SEEK_HOLE:
			return size, nil
		}
	}
	n := base + offset
	switch {
	case offset > 0 && n < base:
		return 0, unix.EOVERFLOW
	case n < 0:
		return 0, unix.EINVAL
	}
	return n, nil
}

// IterDirents passes the entries at the position to sink and moves the position.
func (fd *FileDescription) IterDirents(ctx context.Context, sink DirentSink) error {
	if !fd.readable {
		return unix.EBADF
	}
	if fd.typ != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	fd.mu.Lock()
	defer fd.mu.Unlock()
	if fd.path.Dentry.IsDeleted() {
		return unix.ENOENT
	}
	next, err := fd.file.IterDirents(ctx, fd.off, sink)
	fd.off = next
	fd.accessed(ctx, 1)
	return err
}

// Ioctl is ioctl(2), without the requests that every file has (FIONBIO …).
func (fd *FileDescription) Ioctl(ctx context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	if fd.pathOnly {
		return 0, unix.EBADF
	}
	return fd.file.Ioctl(ctx, io, request, arg)
}

// Mappable is what mmap(2) of the file shows.
func (fd *FileDescription) Mappable(ctx context.Context) (memmap.Mappable, error) {
	if fd.pathOnly {
		return nil, unix.EBADF
	}
	m, err := fd.file.Mappable(ctx)
	if err == nil {
		fd.accessed(ctx, 1)
	}
	return m, err
}

// NoExec says whether the mount forbids executable mappings.
func (fd *FileDescription) NoExec() bool { return fd.path.Mount.Flags()&unix.MS_NOEXEC != 0 }

// Sync is fsync(2), or fdatasync(2).
func (fd *FileDescription) Sync(ctx context.Context, dataOnly bool) error {
	if fd.pathOnly {
		return unix.EBADF
	}
	return fd.file.Sync(ctx, dataOnly)
}

// Stat returns the file's attributes.
func (fd *FileDescription) Stat(ctx context.Context) (Attr, error) { return statInode(ctx, fd.inode) }

// MappedName is the name in /proc/PID/maps. It and the next two implement the mm package's
// view of what is mapped.
func (fd *FileDescription) MappedName() string { return fd.path.String() }

// DeviceID is the device number of the file's filesystem.
func (fd *FileDescription) DeviceID() uint64 { return fd.inode.FS().Dev() }

// InodeID is the inode number.
func (fd *FileDescription) InodeID() uint64 {
	if n, ok := fd.inode.(InodeNumberer); ok {
		return n.InodeNumber()
	}
	a, err := fd.inode.Stat(noTask)
	if err != nil {
		return 0
	}
	return a.Ino
}

// InodeNumberer is implemented by inodes that know their number without asking a server.
type InodeNumberer interface{ InodeNumber() uint64 }
