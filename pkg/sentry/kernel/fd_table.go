package kernel

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/vfs"
)

// FDTable maps descriptor numbers to open file descriptions. Lookups take no lock: the slots
// are atomic pointers in a slice that is replaced when it grows.
type FDTable struct {
	refs atomic.Int64

	slots atomic.Pointer[[]atomic.Pointer[descriptor]]

	mu   sync.Mutex // guards changes
	next int32      // no free slot lies below
	used int
}

// descriptor is immutable; F_SETFD stores a new one.
type descriptor struct {
	file    *vfs.FileDescription
	cloexec bool
}

// NewFDTable makes an empty table with one reference.
func NewFDTable() *FDTable {
	f := &FDTable{}
	f.refs.Store(1)
	s := make([]atomic.Pointer[descriptor], 64)
	f.slots.Store(&s)
	return f
}

// IncRef adds a user of the table.
func (f *FDTable) IncRef() { f.refs.Add(1) }

// DecRef drops a user; the last closes every descriptor.
func (f *FDTable) DecRef(ctx context.Context) {
	if f.refs.Add(-1) > 0 {
		return
	}
	f.RemoveIf(ctx, func(int32, *vfs.FileDescription, bool) bool { return true })
}

// Shared says whether another task uses the table.
func (f *FDTable) Shared() bool { return f.refs.Load() > 1 }

// Get returns the description at fd with a reference for the caller, or nil.
func (f *FDTable) Get(fd int32) *vfs.FileDescription {
	file, _ := f.GetFlags(fd)
	return file
}

// GetFlags is Get with the close-on-exec flag.
func (f *FDTable) GetFlags(fd int32) (*vfs.FileDescription, bool) {
	for {
		s := *f.slots.Load()
		if uint32(fd) >= uint32(len(s)) {
			return nil, false
		}
		d := s[fd].Load()
		if d == nil {
			return nil, false
		}
		// The slot may have been cleared and its description released meanwhile.
		if d.file.TryIncRef() {
			return d.file, d.cloexec
		}
		if s[fd].Load() == d {
			return nil, false
		}
	}
}

// slotsFor returns slots that hold at least n; mu is held.
func (f *FDTable) slotsFor(n int32) []atomic.Pointer[descriptor] {
	s := *f.slots.Load()
	if int(n) <= len(s) {
		return s
	}
	size := len(s)
	for size < int(n) {
		size *= 2
	}
	g := make([]atomic.Pointer[descriptor], size)
	for i := range s {
		g[i].Store(s[i].Load())
	}
	f.slots.Store(&g)
	return g
}

// New installs file, with a reference of the table's own, at the lowest free number from
// min on. EMFILE: it would reach limit.
func (f *FDTable) New(min int32, file *vfs.FileDescription, cloexec bool, limit uint64) (int32, error) {
	fds, err := f.NewMany(min, []*vfs.FileDescription{file}, cloexec, limit)
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// NewMany is New for several files, all or none.
func (f *FDTable) NewMany(min int32, files []*vfs.FileDescription, cloexec bool, limit uint64) ([]int32, error) {
	if limit > 1<<20 {
		limit = 1 << 20
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	fd := max(min, f.next)
	fds := make([]int32, 0, len(files))
	for range files {
		for {
			if uint64(fd) >= limit {
				return nil, unix.EMFILE
			}
			s := f.slotsFor(fd + 1)
			if s[fd].Load() == nil {
				break
			}
			fd++
		}
		fds = append(fds, fd)
		fd++
	}
	s := *f.slots.Load()
	for i, n := range fds {
		files[i].IncRef()
		s[n].Store(&descriptor{files[i], cloexec})
	}
	f.used += len(fds)
	if min <= f.next {
		f.next = fds[len(fds)-1] + 1
	}
	return fds, nil
}

// NewAt installs file at fd and returns what was there, whose reference passes to the
// caller (dup2(2)). EBADF: fd is out of range.
func (f *FDTable) NewAt(fd int32, file *vfs.FileDescription, cloexec bool, limit uint64) (*vfs.FileDescription, error) {
	if fd < 0 || uint64(fd) >= min(limit, 1<<20) {
		return nil, unix.EBADF
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.slotsFor(fd + 1)
	file.IncRef()
	if old := s[fd].Swap(&descriptor{file, cloexec}); old != nil {
		return old.file, nil
	}
	f.used++
	return nil, nil
}

// SetCloseOnExec is fcntl(F_SETFD). EBADF.
func (f *FDTable) SetCloseOnExec(fd int32, on bool) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := *f.slots.Load()
	if uint32(fd) >= uint32(len(s)) {
		return unix.EBADF
	}
	d := s[fd].Load()
	if d == nil {
		return unix.EBADF
	}
	s[fd].Store(&descriptor{d.file, on})
	return nil
}

// Remove empties fd; the table's reference passes to the caller. nil: it was empty.
func (f *FDTable) Remove(fd int32) *vfs.FileDescription {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := *f.slots.Load()
	if uint32(fd) >= uint32(len(s)) {
		return nil
	}
	d := s[fd].Swap(nil)
	if d == nil {
		return nil
	}
	f.used--
	f.next = min(f.next, fd)
	return d.file
}

// RemoveIf closes every descriptor that pick wants.
func (f *FDTable) RemoveIf(ctx context.Context, pick func(fd int32, file *vfs.FileDescription, cloexec bool) bool) {
	var gone []*vfs.FileDescription
	f.mu.Lock()
	s := *f.slots.Load()
	for i := range s {
		if d := s[i].Load(); d != nil && pick(int32(i), d.file, d.cloexec) {
			s[i].Store(nil)
			f.used--
			f.next = min(f.next, int32(i))
			gone = append(gone, d.file)
		}
	}
	f.mu.Unlock()
	for _, file := range gone {
		f.CloseFile(ctx, file)
	}
}

// CloseFile does what close(2) does with a description taken from the table: POSIX locks
// of the table's owner go, and the reference is dropped.
func (f *FDTable) CloseFile(ctx context.Context, file *vfs.FileDescription) error {
	err := file.OnClose(ctx, f)
	file.DecRef(ctx)
	return err
}

// CloseOnExec closes descriptors marked so.
func (f *FDTable) CloseOnExec(ctx context.Context) {
	f.RemoveIf(ctx, func(_ int32, _ *vfs.FileDescription, cloexec bool) bool { return cloexec })
}

// Fork copies the descriptors below max into a table with one reference.
func (f *FDTable) Fork(max uint64) *FDTable {
	n := NewFDTable()
	f.mu.Lock()
	defer f.mu.Unlock()
	s := *f.slots.Load()
	g := make([]atomic.Pointer[descriptor], len(s))
	for i := range s {
		if uint64(i) >= max {
			break
		}
		if d := s[i].Load(); d != nil {
			d.file.IncRef()
			g[i].Store(d)
			n.used++
		}
	}
	n.slots.Store(&g)
	n.next = f.next
	return n
}

// FDs lists the numbers in use, in order.
func (f *FDTable) FDs() []int32 {
	var out []int32
	s := *f.slots.Load()
	for i := range s {
		if s[i].Load() != nil {
			out = append(out, int32(i))
		}
	}
	return out
}

// Size is how many slots the table has, for /proc/PID/status.
func (f *FDTable) Size() int { return len(*f.slots.Load()) }
