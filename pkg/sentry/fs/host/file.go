package host

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// file is an open donated file. All files of an inode use one descriptor of the host.
type file struct {
	vfs.FileDefaults
	i *inode
}

// positioned is a regular file: its position is the host's.
type positioned struct{ file }

func (i *inode) newFile() vfs.File {
	if i.typ == unix.S_IFREG || i.typ == unix.S_IFBLK {
		return &positioned{file{i: i}}
	}
	return &file{i: i}
}

// Seekable implements vfs.File.
func (f *file) Seekable() bool { return false }

// Seekable implements vfs.File.
func (f *positioned) Seekable() bool { return true }

// Readiness implements vfs.File.
func (f *file) Readiness(mask waiter.EventMask) waiter.EventMask { return f.i.Readiness(mask) }

// EventRegister implements vfs.File.
func (f *file) EventRegister(e *waiter.Entry) error { return f.i.EventRegister(e) }

// EventUnregister implements vfs.File.
func (f *file) EventUnregister(e *waiter.Entry) { f.i.EventUnregister(e) }

// transfer moves bytes between memory and the host's descriptor, without a copy between. It
// is a usermem.BlockReader and BlockWriter.
type transfer struct {
	i      *inode
	offset int64 // -1: the host's position
	moved  int64
}

var transfers = sync.Pool{New: func() any { return new(transfer) }}

// maxBlocks is UIO_MAXIOV.
const maxBlocks = 1024

// rwfNowait is RWF_NOWAIT.
const rwfNowait = 8

// careful says whether the host's file must not be used before poll says that it is ready:
// RWF_NOWAIT does not work there. Regular files do not need it: disks do not make one wait
// for ever.
func (i *inode) careful() bool { return i.typ == unix.S_IFCHR }

// ReadToBlocks implements usermem.BlockReader.
func (t *transfer) ReadToBlocks(dsts [][]byte) (int, error) {
	if len(dsts) > maxBlocks {
		dsts = dsts[:maxBlocks]
	}
	flags := rwfNowait
	if t.i.typ == unix.S_IFREG || t.i.typ == unix.S_IFBLK {
		flags = 0
	}
	if t.i.careful() {
		// Once some bytes are there, more are not waited for.
		if t.moved > 0 || t.i.Readiness(waiter.ReadableEvents) == 0 {
			return 0, unix.EAGAIN
		}
		flags = 0
	}
	for {
		at := int64(-1)
		if t.offset >= 0 {
			at = t.offset + t.moved
		}
		n, err := unix.Preadv2(t.i.fd.Num(), dsts, at, flags)
		switch err {
		case nil:
			t.moved += int64(n)
			return n, nil
		case unix.EINTR:
			continue
		case unix.EOPNOTSUPP:
			if flags == 0 {
				return 0, err
			}
			if t.moved > 0 || t.i.Readiness(waiter.ReadableEvents) == 0 {
				return 0, unix.EAGAIN
			}
			flags = 0
			continue
		}
		return 0, err
	}
}

// pipeChunk is what a pipe takes without blocking when poll says that it is writable.
const pipeChunk = 4096

// WriteFromBlocks implements usermem.BlockWriter.
func (t *transfer) WriteFromBlocks(srcs [][]byte) (int, error) {
	if len(srcs) > maxBlocks {
		srcs = srcs[:maxBlocks]
	}
	flags := rwfNowait
	if t.i.typ == unix.S_IFREG || t.i.typ == unix.S_IFBLK {
		flags = 0
	}
	patient := t.i.careful()
	for {
		var one [1][]byte
		if patient {
			if t.i.Readiness(waiter.WritableEvents) == 0 {
				return 0, unix.EAGAIN
			}
			one[0] = srcs[0][:min(len(srcs[0]), pipeChunk)]
			srcs, flags = one[:], 0
		}
		at := int64(-1)
		if t.offset >= 0 {
			at = t.offset + t.moved
		}
		n, err := unix.Pwritev2(t.i.fd.Num(), srcs, at, flags)
		switch err {
		case nil:
			t.moved += int64(n)
			return n, nil
		case unix.EINTR:
			continue
		case unix.EOPNOTSUPP:
			if patient || flags == 0 {
				return 0, err
			}
			patient = true
			continue
		}
		return 0, err
	}
}

func (f *file) read(dst usermem.Sequence, offset int64) (int, error) {
	if dst.Len() == 0 {
		return 0, nil
	}
	t := transfers.Get().(*transfer)
	*t = transfer{i: f.i, offset: offset}
	n, err := dst.CopyOutFrom(t)
	t.i = nil
	transfers.Put(t)
	if n > 0 {
		err = nil
	}
	return n, err
}

func (f *file) write(src usermem.Sequence, offset int64) (int, error) {
	if src.Len() == 0 {
		return 0, nil
	}
	t := transfers.Get().(*transfer)
	*t = transfer{i: f.i, offset: offset}
	done := 0
	var err error
	for src.Len() > 0 {
		var n int
		n, err = src.CopyInTo(t)
		done += n
		src = src.DropFirst(n)
		if err != nil || n == 0 {
			break
		}
	}
	t.i = nil
	transfers.Put(t)
	if done > 0 && err != unix.EAGAIN {
		err = nil
	}
	return done, err
}

// Read implements vfs.File.
func (f *file) Read(_ context.Context, dst usermem.Sequence, _ int64) (int, error) {
	return f.read(dst, -1)
}

// Write implements vfs.File.
func (f *file) Write(_ context.Context, src usermem.Sequence, _ int64, _ bool) (int, int64, error) {
	n, err := f.write(src, -1)
	return n, -1, err
}

// Sync implements vfs.File.
func (f *file) Sync(_ context.Context, dataOnly bool) error {
	return fd.Retry(func() error {
		if dataOnly {
			return unix.Fdatasync(f.i.fd.Num())
		}
		return unix.Fsync(f.i.fd.Num())
	})
}

// Read implements vfs.File: pread(2).
func (f *positioned) Read(_ context.Context, dst usermem.Sequence, offset int64) (int, error) {
	return f.read(dst, offset)
}

// Write implements vfs.File: pwrite(2). With O_APPEND the host appends.
func (f *positioned) Write(_ context.Context, src usermem.Sequence, offset int64, appendMode bool) (int, int64, error) {
	n, err := f.write(src, offset)
	return n, offset + int64(n), err
}

// ReadAtPosition implements vfs.Positioner.
func (f *positioned) ReadAtPosition(_ context.Context, dst usermem.Sequence) (int, error) {
	return f.read(dst, -1)
}

// WriteAtPosition implements vfs.Positioner.
func (f *positioned) WriteAtPosition(_ context.Context, src usermem.Sequence) (int, error) {
	return f.write(src, -1)
}

// Seek implements vfs.File.
func (f *positioned) Seek(_ context.Context, offset int64, whence int32, _ int64) (int64, error) {
	return unix.Seek(f.i.fd.Num(), offset, int(whence))
}

// Allocate implements vfs.File.
func (f *positioned) Allocate(_ context.Context, mode uint32, offset, length int64) error {
	return fd.Retry(func() error { return unix.Fallocate(f.i.fd.Num(), mode, offset, length) })
}
