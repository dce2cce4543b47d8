package overlay

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/mappings"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// Open implements vfs.Inode.
func (r *regular) Open(ctx context.Context, flags uint32) (vfs.File, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		if err := r.copyUp(false); err != nil {
			return nil, err
		}
	}
	f := &file{r: r, flags: flags}
	if _, err := f.layer(ctx); err != nil {
		return nil, err
	}
	return f, nil
}

// file is an open regular file.
type file struct {
	vfs.FileDefaults
	waiter.AlwaysReady
	r     *regular
	flags uint32

	open atomic.Pointer[layerFile]
	mu   sync.Mutex // guards changes of open, and the field below
	old  vfs.File   // the lower file, once open is the upper one
}

// layerFile is the file of one layer.
type layerFile struct {
	vfs.File
	upper bool
}

// layer is the file of the layer that counts now.
func (f *file) layer(ctx context.Context) (vfs.File, error) {
	upper := f.r.upper.Load() != nil
	if l := f.open.Load(); l != nil && l.upper == upper {
		return l.File, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	upper = f.r.upper.Load() != nil
	l := f.open.Load()
	if l != nil && l.upper == upper {
		return l.File, nil
	}
	file, err := f.r.top().Open(ctx, f.flags&^(unix.O_CREAT|unix.O_EXCL|unix.O_TRUNC))
	if err != nil {
		return nil, err
	}
	if l != nil {
		f.old = l.File // somebody may be reading from it
	}
	f.open.Store(&layerFile{file, upper})
	return file, nil
}

// Release implements vfs.File.
func (f *file) Release(ctx context.Context) {
	if l := f.open.Load(); l != nil {
		l.Release(ctx)
	}
	if f.old != nil {
		f.old.Release(ctx)
	}
}

// Read implements vfs.File.
func (f *file) Read(ctx context.Context, dst usermem.Sequence, offset int64) (int, error) {
	l, err := f.layer(ctx)
	if err != nil {
		return 0, err
	}
	return l.Read(ctx, dst, offset)
}

// Write implements vfs.File.
func (f *file) Write(ctx context.Context, src usermem.Sequence, offset int64, appendMode bool) (int, int64, error) {
	l, err := f.layer(ctx)
	if err != nil {
		return 0, offset, err
	}
	return l.Write(ctx, src, offset, appendMode)
}

// Seek implements vfs.File.
func (f *file) Seek(ctx context.Context, offset int64, whence int32, current int64) (int64, error) {
	l, err := f.layer(ctx)
	if err != nil {
		return 0, err
	}
	return l.Seek(ctx, offset, whence, current)
}

// Sync implements vfs.File.
func (f *file) Sync(ctx context.Context, dataOnly bool) error {
	if f.r.upper.Load() == nil {
		return nil
	}
	l, err := f.layer(ctx)
	if err != nil {
		return err
	}
	return l.Sync(ctx, dataOnly)
}

// Allocate implements vfs.File.
func (f *file) Allocate(ctx context.Context, mode uint32, offset, length int64) error {
	l, err := f.layer(ctx)
	if err != nil {
		return err
	}
	return l.Allocate(ctx, mode, offset, length)
}

// Ioctl implements vfs.File.
func (f *file) Ioctl(ctx context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	l, err := f.layer(ctx)
	if err != nil {
		return 0, err
	}
	return l.Ioctl(ctx, io, request, arg)
}

// Mappable implements vfs.File.
func (f *file) Mappable(ctx context.Context) (memmap.Mappable, error) {
	if err := f.r.show(ctx); err != nil {
		return nil, err
	}
	return f.r, nil
}

// show makes sure that there is something for mappings to show.
func (r *regular) show(ctx context.Context) error {
	if r.shown.Load() != nil {
		return nil
	}
	r.copyMu.Lock() // the layer stays the same
	defer r.copyMu.Unlock()
	if r.shown.Load() != nil {
		return nil
	}
	s, err := showFile(r.top(), r.upper.Load() != nil)
	if err != nil {
		return err
	}
	r.shown.Store(s)
	return nil
}

func showFile(i vfs.Inode, writable bool) (*shownFile, error) {
	flags := uint32(unix.O_RDONLY)
	if writable {
		flags = unix.O_RDWR
	}
	f, err := i.Open(kernel, flags)
	if err != nil {
		return nil, err
	}
	m, err := f.Mappable(kernel)
	if err != nil {
		f.Release(kernel)
		return nil, err
	}
	return &shownFile{f, m}, nil
}

// switchOver makes the complete copy upper, whose reference passes to the node, the file.
// Mappings go over to it. copyMu is held.
func (r *regular) switchOver(upper vfs.Inode) error {
	old := r.shown.Load()
	if old == nil {
		r.setUpper(upper)
		return nil
	}
	s, err := showFile(upper, true)
	if err != nil {
		return err
	}
	err = r.mappings.With(func(c mappings.Change) error {
		var err error
		c.Each(func(m mappings.Mapping) {
			if err == nil {
				err = s.mappable.AddMapping(m.Space, m.Range, m.Offset, m.Writable)
			}
		})
		if err != nil {
			return err
		}
		r.setUpper(upper)
		r.shown.Store(s) // page faults find the copy from here on
		c.Each(func(m mappings.Mapping) {
			old.mappable.RemoveMapping(m.Space, m.Range, m.Offset, m.Writable)
			m.Space.Invalidate(m.Range, false)
		})
		return nil
	})
	if err != nil {
		s.file.Release(kernel)
		return err
	}
	old.file.Release(kernel)
	return nil
}

// AddMapping implements memmap.Mappable.
func (r *regular) AddMapping(ms memmap.MappingSpace, ar usermem.AddrRange, offset uint64, writable bool) error {
	return r.mappings.With(func(c mappings.Change) error {
		if err := r.shown.Load().mappable.AddMapping(ms, ar, offset, writable); err != nil {
			return err
		}
		c.Add(ms, ar, offset, writable)
		return nil
	})
}

// RemoveMapping implements memmap.Mappable.
func (r *regular) RemoveMapping(ms memmap.MappingSpace, ar usermem.AddrRange, offset uint64, writable bool) {
	r.mappings.With(func(c mappings.Change) error {
		r.shown.Load().mappable.RemoveMapping(ms, ar, offset, writable)
		c.Remove(ms, ar, offset, writable)
		return nil
	})
}

// CopyMapping implements memmap.Mappable.
func (r *regular) CopyMapping(ms memmap.MappingSpace, src, dst usermem.AddrRange, offset uint64, writable bool) error {
	return r.mappings.With(func(c mappings.Change) error {
		if err := r.shown.Load().mappable.CopyMapping(ms, src, dst, offset, writable); err != nil {
			return err
		}
		c.Add(ms, dst, offset, writable)
		return nil
	})
}

// Translate implements memmap.Mappable.
func (r *regular) Translate(required, optional memmap.Range, at memmap.AccessType, dst []memmap.Translation) ([]memmap.Translation, error) {
	return r.shown.Load().mappable.Translate(required, optional, at, dst)
}
