package gofer

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/p9"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// directory implements vfs.Directory.
type directory struct {
	inode

	listMu sync.Mutex // guards the fields below
	list   *listing   // exclusive mode: what is in the directory; nil if that is not known
	misses int        // lookups that had to ask since list was made
	large  bool       // too many entries for a listing
}

// Caching implements vfs.Directory.
func (d *directory) Caching() vfs.Caching {
	if d.fs.shared {
		return vfs.CacheRevalidate
	}
	return vfs.CacheAll
}

// Lookup implements vfs.Directory.
func (d *directory) Lookup(_ context.Context, name string) (vfs.Inode, error) {
	if i, err := d.lookupListed(name); i != nil || err != nil {
		return i, err
	}
	file, err := d.fid()
	if err != nil {
		return nil, err
	}
	var r [1]p9.WalkResult
	if _, err := file.Walk([]string{name}, r[:]); err != nil {
		return nil, d.fs.failed(err)
	}
	return d.fs.adopt(d, name, r[0])
}

// LookupPath implements vfs.BatchLooker.
func (d *directory) LookupPath(ctx context.Context, names []string) ([]vfs.Inode, error) {
	if len(names) > p9.MaxWalk {
		names = names[:p9.MaxWalk]
	}
	if i, err := d.lookupListed(names[0]); err == unix.ENOENT {
		return nil, nil
	} else if err != nil {
		return nil, err
	} else if i != nil {
		if _, isDir := i.(*directory); !isDir {
			return []vfs.Inode{i}, nil
		}
		vfs.PutInode(ctx, i) // the walk of all names brings it back
	}
	file, err := d.fid()
	if err != nil {
		return nil, err
	}
	var r [p9.MaxWalk]p9.WalkResult
	n, err := file.Walk(names, r[:len(names)])
	inodes := make([]vfs.Inode, n)
	for i, parent := 0, d; i < n; i++ {
		var aerr error
		if inodes[i], aerr = d.fs.adopt(parent, names[i], r[i]); aerr != nil {
			for _, x := range r[i+1 : n] {
				x.File.Close()
			}
			inodes, err = inodes[:i], aerr
			break
		}
		parent, _ = inodes[i].(*directory) // the last one may be anything
	}
	if err == nil || err == unix.ENOENT && n > 0 {
		return inodes, nil
	}
	for _, i := range inodes {
		vfs.PutInode(ctx, i)
	}
	return nil, d.fs.failed(err)
}

// Revalidate implements vfs.Revalidator.
func (d *directory) Revalidate(ctx context.Context, name string, child vfs.Inode) (bool, error) {
	if child != nil {
		n, err := d.RevalidatePath(ctx, []string{name}, []vfs.Inode{child})
		return n == 1, err
	}
	file, err := d.fid()
	if err != nil {
		return false, err
	}
	var r [1]p9.WalkResult
	switch _, err := file.Probe([]string{name}, r[:]); err {
	case nil:
		return false, nil
	case unix.ENOENT:
		return true, nil
	default:
		return false, d.fs.failed(err)
	}
}

// RevalidatePath implements vfs.BatchRevalidator.
func (d *directory) RevalidatePath(_ context.Context, names []string, children []vfs.Inode) (int, error) {
	names = names[:min(len(names), len(children), p9.MaxWalk)]
	file, err := d.fid()
	if err != nil {
		return 0, err
	}
	var r [p9.MaxWalk]p9.WalkResult
	n, err := file.Probe(names, r[:len(names)])
	for i := range r[:n] {
		c := children[i].(node).common()
		if c.key != r[i].Attr.QID.Path || !c.sameType(&r[i].Attr) {
			return i, nil
		}
		c.learn(&r[i].Attr)
	}
	switch err {
	case nil, unix.ENOENT, unix.ENOTDIR:
		return n, nil
	}
	if n > 0 {
		return n, nil // what is behind will be asked for again
	}
	return 0, d.fs.failed(err)
}

// made makes an inode of what was just created in d as name ("" if it has none).
func (d *directory) made(name string, r p9.WalkResult, err error) (vfs.Inode, error) {
	d.outdated()
	if name != "" {
		d.nameChanged(name, true, err)
	}
	if err != nil {
		return nil, d.fs.failed(err)
	}
	i, err := d.fs.adopt(d, name, r)
	if err != nil {
		return nil, err
	}
	if !d.fs.shared {
		i.(node).common().bare.Store(true)
	}
	return i, nil
}

// Create implements vfs.Directory. The host descriptor that comes with the file serves the
// open that follows.
func (d *directory) Create(_ context.Context, name string, o vfs.NewOwner) (vfs.Inode, error) {
	return d.create(name, unix.O_RDWR, o)
}

// Tmpfile implements vfs.TmpfileDirectory.
func (d *directory) Tmpfile(_ context.Context, o vfs.NewOwner) (vfs.Inode, error) {
	return d.create("", unix.O_RDWR|unix.O_TMPFILE, o)
}

func (d *directory) create(name string, flags uint32, o vfs.NewOwner) (vfs.Inode, error) {
	file, err := d.fid()
	if err != nil {
		return nil, err
	}
	r, host, err := file.Create(name, flags, o.Mode&0o7777, uint32(o.UID), uint32(o.GID))
	i, err := d.made(name, r, err)
	if host == nil {
		return i, err
	}
	if reg, ok := i.(*regular); ok {
		reg.give(host)
	} else {
		host.Close()
	}
	return i, err
}

// Mkdir implements vfs.Directory.
func (d *directory) Mkdir(_ context.Context, name string, o vfs.NewOwner) (vfs.Inode, error) {
	file, err := d.fid()
	if err != nil {
		return nil, err
	}
	r, err := file.Mkdir(name, o.Mode&0o7777, uint32(o.UID), uint32(o.GID))
	return d.made(name, r, err)
}

// Mknod implements vfs.Directory.
func (d *directory) Mknod(_ context.Context, name string, o vfs.NewOwner, rdev uint64) (vfs.Inode, error) {
	file, err := d.fid()
	if err != nil {
		return nil, err
	}
	r, err := file.Mknod(name, o.Mode, unix.Major(rdev), unix.Minor(rdev), uint32(o.UID), uint32(o.GID))
	return d.made(name, r, err)
}

// Symlink implements vfs.Directory.
func (d *directory) Symlink(_ context.Context, name, target string, o vfs.NewOwner) (vfs.Inode, error) {
	file, err := d.fid()
	if err != nil {
		return nil, err
	}
	r, err := file.Symlink(name, target, uint32(o.UID), uint32(o.GID))
	return d.made(name, r, err)
}

// Link implements vfs.Directory.
func (d *directory) Link(_ context.Context, name string, target vfs.Inode) error {
	t, ok := target.(node)
	if !ok || t.common().fs != d.fs {
		return unix.EXDEV
	}
	i := t.common()
	file, err := d.fid()
	if err != nil {
		return err
	}
	from, err := i.fid()
	if err != nil {
		return err
	}
	i.outdated()
	before := i.began()
	a, err := file.Link(from, name)
	d.outdated()
	d.nameChanged(name, true, err)
	if err != nil {
		return d.fs.failed(err)
	}
	i.ended(before, &a)
	return nil
}

// Unlink implements vfs.Directory.
func (d *directory) Unlink(ctx context.Context, name string, child vfs.Inode) error {
	return d.remove(ctx, name, child, 0)
}

// Rmdir implements vfs.Directory.
func (d *directory) Rmdir(ctx context.Context, name string, child vfs.Inode) error {
	return d.remove(ctx, name, child, unix.AT_REMOVEDIR)
}

func (d *directory) remove(ctx context.Context, name string, child vfs.Inode, flags uint32) error {
	file, err := d.fid()
	if err != nil {
		return err
	}
	err = file.Unlink(name, flags)
	d.outdated()
	d.nameChanged(name, false, err)
	if c, ok := child.(node); ok && err == nil {
		c.common().unlinked(ctx, d, name)
	}
	return d.fs.failed(err)
}

// Rename implements vfs.Directory.
func (d *directory) Rename(ctx context.Context, name string, child vfs.Inode, newDir vfs.Directory, newName string, replaced vfs.Inode, flags uint32) error {
	to, ok := newDir.(*directory)
	if !ok || to.fs != d.fs {
		return unix.EXDEV
	}
	file, err := d.fid()
	if err != nil {
		return err
	}
	toFile, err := to.fid()
	if err != nil {
		return err
	}
	for _, i := range []vfs.Inode{child, replaced} {
		if c, ok := i.(node); ok {
			// While the file can still be found where it was listed.
			if _, err := c.common().fid(); err != nil {
				return err
			}
		}
	}
	err = file.Rename(name, toFile, newName, flags)
	d.outdated()
	to.outdated()
	exchange := flags&unix.RENAME_EXCHANGE != 0
	d.nameChanged(name, exchange, err)
	to.nameChanged(newName, true, err)
	if c, ok := child.(node); ok {
		c.common().outdated()
		if err == nil {
			c.common().moved(ctx, to, newName)
		}
	}
	if c, ok := replaced.(node); ok && exchange {
		c.common().outdated()
		if err == nil {
			c.common().moved(ctx, d, name)
		}
	} else if ok && err == nil {
		c.common().unlinked(ctx, to, newName)
	}
	return d.fs.failed(err)
}

// Open implements vfs.Inode.
func (d *directory) Open(context.Context, uint32) (vfs.File, error) {
	return &dirFile{d: d}, nil
}

// dirFile implements vfs.File for a directory. vfs calls IterDirents with the description's
// lock held.
type dirFile struct {
	vfs.FileDefaults
	waiter.AlwaysReady
	d *directory

	handle  *p9.ClientFile `state:"nosave"` // open fid; nil until it is needed
	entries []p9.Dirent    // read ahead
	at      uint64         // cookie in front of entries
}

// opened returns the open fid.
func (f *dirFile) opened() (*p9.ClientFile, error) {
	if f.handle == nil {
		file, err := f.d.fid()
		if err != nil {
			return nil, err
		}
		h, host, err := file.Open(unix.O_RDONLY | unix.O_DIRECTORY)
		if err != nil {
			return nil, f.d.fs.failed(err)
		}
		if host != nil {
			host.Close()
		}
		f.handle = h
	}
	return f.handle, nil
}

// IterDirents implements vfs.File. Cookies are the gofer's.
func (f *dirFile) IterDirents(_ context.Context, offset int64, sink vfs.DirentSink) (int64, error) {
	h, err := f.opened()
	if err != nil {
		return offset, err
	}
	at := uint64(offset)
	if at != f.at || at == 0 {
		f.entries, f.at = f.entries[:0], at
	}
	for {
		if len(f.entries) == 0 {
			f.entries, err = h.ReadDir(f.at, nil)
			if err != nil || len(f.entries) == 0 {
				return int64(f.at), f.d.fs.failed(err)
			}
		}
		e := &f.entries[0]
		if !sink.Add(vfs.Dirent{Name: e.Name, Ino: e.QID.Path, Type: e.Type, Next: int64(e.Offset)}) {
			return int64(f.at), nil
		}
		f.at = e.Offset
		f.entries = f.entries[1:]
	}
}

// Sync implements vfs.File.
func (f *dirFile) Sync(_ context.Context, dataOnly bool) error {
	// A fid of its own: IterDirents may be opening f's.
	file, err := f.d.fid()
	if err != nil {
		return err
	}
	h, host, err := file.Open(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return f.d.fs.failed(err)
	}
	if host != nil {
		host.Close()
	}
	defer h.Close()
	return f.d.fs.failed(h.Sync(dataOnly))
}

// Release implements vfs.File.
func (f *dirFile) Release(context.Context) { f.handle.Close() }
