package vfs

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/waiter"
)

// File is the filesystem's half of an open file description; the other half, with offset,
// flags, locks and references, is FileDescription. Implementations embed FileDefaults, which
// refuses what they lack with Linux's errors.
//
// Calls never block: a file that has nothing returns EAGAIN, and the system call waits by
// the file's Waitable half and tries again, unless O_NONBLOCK is set.
type File interface {
	waiter.Waitable
	// Release is called once, when the last reference to the description is gone. The
	// inode's reference is vfs's business.
	Release(ctx context.Context)

	// Seekable says whether the file has a position; if not, offsets are -1 and pread(2)
	// fails with ESPIPE, as does lseek(2) if Seek returns ErrDefault.
	Seekable() bool
	// Read fills dst from offset on. 0 is end of file.
	Read(ctx context.Context, dst usermem.Sequence, offset int64) (int, error)
	// Write stores src at offset, or at the end of the file, atomically, if
	// appendMode is set. end is the position behind what was written.
	Write(ctx context.Context, src usermem.Sequence, offset int64, appendMode bool) (n int, end int64, err error)
	// Seek returns the new position for lseek(2)'s whence (all of them, SEEK_DATA and
	// SEEK_HOLE too); current is the present one. vfs handles SEEK_SET, SEEK_CUR and SEEK_END
	// of seekable files whose Seek returns ErrDefault.
	Seek(ctx context.Context, offset int64, whence int32, current int64) (int64, error)
	// IterDirents calls sink for entries from the cookie offset on, "." and ".." included,
	// until sink returns false or the end; it returns the cookie of the next entry.
	IterDirents(ctx context.Context, offset int64, sink DirentSink) (int64, error)
	// Ioctl carries out request; arg is a value or an address in io. ENOTTY: unknown.
	Ioctl(ctx context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error)
	// Mappable is what mmap(2) of the file shows. ENODEV: it cannot be mapped.
	Mappable(ctx context.Context) (memmap.Mappable, error)
	// Sync is fsync(2), or fdatasync(2) with dataOnly.
	Sync(ctx context.Context, dataOnly bool) error
	// Allocate is fallocate(2).
	Allocate(ctx context.Context, mode uint32, offset, length int64) error
	// FlagsChanged tells of fcntl(F_SETFL): the new status flags. An error refuses.
	FlagsChanged(flags uint32) error
}

// Dirent is a directory entry. Next is the cookie of the entry behind it.
type Dirent struct {
	Name string
	Ino  uint64
	Type uint8 // unix.DT_*
	Next int64
}

// DirentSink takes directory entries; false means that it is full and the entry was not
// taken.
type DirentSink interface{ Add(d Dirent) bool }

// ErrDefault is Seek's answer of files that leave seeking to vfs: positions count bytes, the
// end is the inode's size, there are no holes. It never reaches an application.
var ErrDefault error = defaultError{}

type defaultError struct{}

func (defaultError) Error() string { return "vfs: default behaviour wanted" }

// IOTimeouts is implemented by files whose blocking reads and writes end by themselves with
// EAGAIN: sockets with SO_RCVTIMEO, SO_SNDTIMEO. 0: never. Nanoseconds.
type IOTimeouts interface {
	ReadTimeout() int64
	WriteTimeout() int64
}

// Positioner is implemented by seekable files that keep the position themselves (files of
// the host, whose position other processes share). Seek then moves it; Read and Write serve
// pread(2) and pwrite(2).
type Positioner interface {
	ReadAtPosition(ctx context.Context, dst usermem.Sequence) (int, error)
	WriteAtPosition(ctx context.Context, src usermem.Sequence) (int, error)
}

// FileDefaults refuses everything with the errors of a Linux file without that operation.
// Embed it, with waiter.AlwaysReady or a waiter.Queue beside it.
type FileDefaults struct{}

// Release implements File.
func (FileDefaults) Release(context.Context) {}

// Seekable implements File.
func (FileDefaults) Seekable() bool { return true }

// Read implements File.
func (FileDefaults) Read(context.Context, usermem.Sequence, int64) (int, error) {
	return 0, unix.EINVAL
}

// Write implements File.
func (FileDefaults) Write(context.Context, usermem.Sequence, int64, bool) (int, int64, error) {
	return 0, 0, unix.EINVAL
}

// Seek implements File.
func (FileDefaults) Seek(context.Context, int64, int32, int64) (int64, error) { return 0, ErrDefault }

// IterDirents implements File.
func (FileDefaults) IterDirents(context.Context, int64, DirentSink) (int64, error) {
	return 0, unix.ENOTDIR
}

// Ioctl implements File.
func (FileDefaults) Ioctl(context.Context, usermem.IO, uint32, uint64) (uint64, error) {
	return 0, unix.ENOTTY
}

// Mappable implements File.
func (FileDefaults) Mappable(context.Context) (memmap.Mappable, error) { return nil, unix.ENODEV }

// Sync implements File.
func (FileDefaults) Sync(context.Context, bool) error { return unix.EINVAL }

// Allocate implements File.
func (FileDefaults) Allocate(context.Context, uint32, int64, int64) error { return unix.EOPNOTSUPP }

// FlagsChanged implements File.
func (FileDefaults) FlagsChanged(uint32) error { return nil }
