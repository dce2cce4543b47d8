package proc

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/mm"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// memNode is /proc/PID/mem.
type memNode struct{ taskNode }

func makeMem(d *taskDir, ino uint64) vfs.Inode {
	n := &memNode{}
	n.init(d.fs, d.t, ino, unix.S_IFREG|0o600)
	return n
}

// Open implements vfs.Inode. The file shows the address space that the task has now.
func (n *memNode) Open(ctx context.Context, _ uint32) (vfs.File, error) {
	if !mayTrace(ctx, n.t) {
		return nil, unix.EACCES
	}
	m := n.t.WithMM()
	if m == nil {
		return nil, unix.ESRCH
	}
	m.DecUsers()
	return &memFile{m: m}, nil
}

// memFile does not keep the address space alive; each access does for itself. Memory is seen
// as a debugger sees it: protections do not hold.
type memFile struct {
	vfs.FileDefaults
	waiter.AlwaysReady
	m *mm.MemoryManager
}

const memChunk = 64 << 10

// Read implements vfs.File. EIO: nothing is mapped at offset.
func (f *memFile) Read(_ context.Context, dst usermem.Sequence, offset int64) (int, error) {
	return f.transfer(dst, offset, func(addr uintptr, part usermem.Sequence, b []byte) (int, error) {
		n, err := f.m.CopyInForce(addr, b)
		if n > 0 {
			return part.CopyOut(b[:n])
		}
		return 0, err
	})
}

// Write implements vfs.File.
func (f *memFile) Write(_ context.Context, src usermem.Sequence, offset int64, _ bool) (int, int64, error) {
	n, err := f.transfer(src, offset, func(addr uintptr, part usermem.Sequence, b []byte) (int, error) {
		if _, err := part.CopyIn(b); err != nil {
			return 0, err
		}
		return f.m.CopyOutForce(addr, b)
	})
	return n, offset + int64(n), err
}

// transfer goes through s in chunks. No lock of the address space is held while the
// caller's memory, which may be the same, is copied.
func (f *memFile) transfer(s usermem.Sequence, offset int64, step func(addr uintptr, part usermem.Sequence, b []byte) (int, error)) (int, error) {
	if !f.m.IncUsers() {
		return 0, nil
	}
	defer f.m.DecUsers()
	done := 0
	buf := make([]byte, min(s.Len(), memChunk))
	for s.Len() > 0 {
		b := buf[:min(len(buf), s.Len())]
		n, err := step(uintptr(offset)+uintptr(done), s.TakeFirst(len(b)), b)
		done += n
		if n < len(b) {
			if done == 0 {
				if err == nil || err == unix.EFAULT {
					err = unix.EIO
				}
				return 0, err
			}
			break
		}
		s = s.DropFirst(n)
	}
	return done, nil
}

// Seek implements vfs.File: addresses may be "negative".
func (f *memFile) Seek(_ context.Context, offset int64, whence int32, current int64) (int64, error) {
	switch whence {
	case unix.SEEK_SET:
		return offset, nil
	case unix.SEEK_CUR:
		return current + offset, nil
	}
	return 0, unix.EINVAL
}
