package overlay

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// collector gathers entries of one layer.
type collector struct{ entries []vfs.Dirent }

// Add implements vfs.DirentSink.
func (c *collector) Add(d vfs.Dirent) bool {
	if d.Name != "." && d.Name != ".." {
		c.entries = append(c.entries, d)
	}
	return true
}

// list reads all entries of a layer's directory.
func list(ctx context.Context, d vfs.Directory) ([]vfs.Dirent, error) {
	f, err := d.Open(kernel, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	defer f.Release(kernel)
	var c collector
	for off := int64(0); ; {
		n := len(c.entries)
		next, err := f.IterDirents(ctx, off, &c)
		if err != nil {
			return nil, err
		}
		if next == off || len(c.entries) == n {
			return c.entries, nil
		}
		off = next
	}
}

// merged returns the entries of the joined directory.
func (d *directory) merged(ctx context.Context) ([]vfs.Dirent, error) {
	var out []vfs.Dirent
	var hidden map[string]bool
	several := len(d.lowers) > 1 || len(d.lowers) == 1 && d.upper.Load() != nil
	if several {
		hidden = make(map[string]bool)
	}
	if u := d.upperDir(); u != nil {
		entries, err := list(ctx, u)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if several {
				hidden[e.Name] = true
			}
			i, err := u.Lookup(ctx, e.Name)
			if err != nil {
				continue
			}
			skip := e.Type == unix.DT_CHR && isWhiteout(i)
			if n := d.fs.find(i); n != nil {
				e.Ino = n.InodeNumber()
				vfs.PutInode(ctx, n.self)
			} else {
				e.Ino |= upperMark
			}
			vfs.PutInode(ctx, i)
			if !skip {
				out = append(out, e)
			}
		}
	}
	for k, l := range d.lowers {
		entries, err := list(ctx, l)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if hidden[e.Name] {
				continue
			}
			if k+1 < len(d.lowers) {
				hidden[e.Name] = true
			}
			if e.Type == unix.DT_CHR && len(d.fs.root.lowers) > 1 {
				if i, err := l.Lookup(ctx, e.Name); err == nil {
					skip := isWhiteout(i)
					vfs.PutInode(ctx, i)
					if skip {
						continue
					}
				}
			}
			out = append(out, e)
		}
	}
	return out, nil
}

// isEmpty says whether the joined directory has no entries.
func (d *directory) isEmpty(ctx context.Context) (bool, error) {
	e, err := d.merged(ctx)
	return len(e) == 0, err
}

// removeWhiteouts empties the upper directory of an empty joined one, so that it can be
// removed. No changes happen in it: it is being removed.
func (n *node) removeWhiteouts(ctx context.Context) error {
	u := n.upperDir()
	n.upMu.Lock()
	defer n.upMu.Unlock()
	entries, err := list(ctx, u)
	if err != nil {
		return err
	}
	for _, e := range entries {
		i, err := u.Lookup(ctx, e.Name)
		if err != nil {
			return err
		}
		if err = unix.ENOTEMPTY; isWhiteout(i) {
			err = u.Unlink(kernel, e.Name, i)
		}
		vfs.PutInode(ctx, i)
		if err != nil {
			return err
		}
	}
	return nil
}

// Open implements vfs.Inode.
func (d *directory) Open(ctx context.Context, _ uint32) (vfs.File, error) {
	return &dirFile{d: d}, nil
}

// dirFile is an open directory: a list of what was there when reading began.
type dirFile struct {
	vfs.FileDefaults
	waiter.AlwaysReady
	d *directory

	mu      sync.Mutex // guards the fields below
	listed  bool
	entries []vfs.Dirent
}

// Read implements vfs.File.
func (*dirFile) Read(context.Context, usermem.Sequence, int64) (int, error) { return 0, unix.EISDIR }

// Sync implements vfs.File.
func (*dirFile) Sync(context.Context, bool) error { return nil }

// Seek implements vfs.File.
func (f *dirFile) Seek(_ context.Context, offset int64, whence int32, current int64) (int64, error) {
	switch whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		offset += current
	default:
		return 0, unix.EINVAL
	}
	if offset < 0 {
		return 0, unix.EINVAL
	}
	return offset, nil
}

// IterDirents implements vfs.File. The cookie of an entry is its index, after "." and "..".
func (f *dirFile) IterDirents(ctx context.Context, offset int64, sink vfs.DirentSink) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if offset == 0 || !f.listed {
		e, err := f.d.merged(ctx)
		if err != nil {
			return offset, err
		}
		f.entries, f.listed = e, true
	}
	for ; offset < int64(len(f.entries))+2; offset++ {
		var e vfs.Dirent
		switch offset {
		case 0:
			e = vfs.Dirent{Name: ".", Ino: f.d.InodeNumber(), Type: unix.DT_DIR}
		case 1:
			e = vfs.Dirent{Name: "..", Ino: f.d.InodeNumber(), Type: unix.DT_DIR}
			if p := f.d.loc.Load(); p != nil {
				e.Ino = p.parent.InodeNumber()
			}
		default:
			e = f.entries[offset-2]
		}
		e.Next = offset + 1
		if !sink.Add(e) {
			break
		}
	}
	return offset, nil
}
