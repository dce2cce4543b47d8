package tmpfs

import (
	"sort"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// direntSize is what an entry adds to the size of a directory, as on Linux.
const direntSize = 20

// directory is a directory. vfs's lock serializes changes; mu is for those who list it.
type directory struct {
	node
	parent atomic.Pointer[directory]
	file   dirFile

	mu      sync.RWMutex // guards the fields below
	entries map[string]*entry
	list    []*entry // by rising cookie; removed entries stay until enough are
	gone    int      // removed entries in list
	next    int64    // cookie of the next entry
}

// entry is a name. It holds a reference on the inode.
type entry struct {
	name   string
	inode  inode
	cookie int64
	gone   bool
}

// inode is any kind of node.
type inode interface {
	vfs.Inode
	self() *node
}

// firstCookie follows "." and "..".
const firstCookie = 2

func (fs *Filesystem) newDirectory(ctx context.Context, o vfs.NewOwner) *directory {
	d := &directory{}
	d.init(ctx, fs, unix.S_IFDIR|o.Mode, o)
	d.nlink.Store(2)
	d.file.d = d
	return d
}

func (d *directory) add(name string, i inode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.entries == nil {
		d.entries = make(map[string]*entry)
		d.next = firstCookie
	}
	e := &entry{name: name, inode: i, cookie: d.next}
	d.next++
	d.entries[name] = e
	d.list = append(d.list, e)
}

// remove takes the entry out and returns its inode, whose reference passes to the caller.
func (d *directory) remove(name string) inode {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.entries[name]
	if e == nil {
		return nil
	}
	delete(d.entries, name)
	e.gone = true
	d.gone++
	if d.gone > 16 && d.gone > len(d.list)/2 {
		kept := d.list[:0]
		for _, e := range d.list {
			if !e.gone {
				kept = append(kept, e)
			}
		}
		clear(d.list[len(kept):])
		d.list, d.gone = kept, 0
	}
	return e.inode
}

func (d *directory) get(name string) inode {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if e := d.entries[name]; e != nil {
		return e.inode
	}
	return nil
}

func (d *directory) isEmpty() bool {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return len(d.entries) == 0
}

// empty drops everything below d.
func (d *directory) empty(ctx context.Context) {
	d.mu.Lock()
	entries := d.entries
	d.entries, d.list = nil, nil
	d.mu.Unlock()
	for _, e := range entries {
		if sub, ok := e.inode.(*directory); ok {
			sub.empty(ctx)
		}
		vfs.PutInode(ctx, e.inode)
	}
}

// Caching implements vfs.Directory.
func (d *directory) Caching() vfs.Caching { return vfs.CacheAll }

// Lookup implements vfs.Directory.
func (d *directory) Lookup(_ context.Context, name string) (vfs.Inode, error) {
	i := d.get(name)
	if i == nil {
		return nil, unix.ENOENT
	}
	i.Base().IncRef()
	return i, nil
}

// attach adds the new node i, whose one reference becomes the name's, and returns it with
// another for the caller.
func (d *directory) attach(ctx context.Context, name string, i inode) vfs.Inode {
	i.Base().IncRef()
	d.add(name, i)
	d.modified(ctx.RealTime())
	return i
}

// Create implements vfs.Directory.
func (d *directory) Create(ctx context.Context, name string, o vfs.NewOwner) (vfs.Inode, error) {
	if err := d.fs.chargeInode(); err != nil {
		return nil, err
	}
	return d.attach(ctx, name, d.fs.newRegular(ctx, o)), nil
}

// Tmpfile implements vfs.TmpfileDirectory.
func (d *directory) Tmpfile(ctx context.Context, o vfs.NewOwner) (vfs.Inode, error) {
	if err := d.fs.chargeInode(); err != nil {
		return nil, err
	}
	r := d.fs.newRegular(ctx, o)
	r.nlink.Store(0)
	r.linkable = true
	return r, nil
}

// Mkdir implements vfs.Directory.
func (d *directory) Mkdir(ctx context.Context, name string, o vfs.NewOwner) (vfs.Inode, error) {
	if err := d.fs.chargeInode(); err != nil {
		return nil, err
	}
	c := d.fs.newDirectory(ctx, o)
	c.parent.Store(d)
	d.nlink.Add(1)
	return d.attach(ctx, name, c), nil
}

// Mknod implements vfs.Directory.
func (d *directory) Mknod(ctx context.Context, name string, o vfs.NewOwner, rdev uint64) (vfs.Inode, error) {
	if o.Mode&unix.S_IFMT == unix.S_IFREG {
		return d.Create(ctx, name, o)
	}
	if err := d.fs.chargeInode(); err != nil {
		return nil, err
	}
	s := &special{rdev: rdev}
	s.init(ctx, d.fs, o.Mode, o)
	return d.attach(ctx, name, s), nil
}

// Symlink implements vfs.Directory.
func (d *directory) Symlink(ctx context.Context, name, target string, o vfs.NewOwner) (vfs.Inode, error) {
	if err := d.fs.chargeInode(); err != nil {
		return nil, err
	}
	s := &symlink{target: target}
	s.init(ctx, d.fs, unix.S_IFLNK|0o777, o)
	return d.attach(ctx, name, s), nil
}

// Link implements vfs.Directory.
func (d *directory) Link(ctx context.Context, name string, target vfs.Inode) error {
	t, ok := target.(inode)
	if !ok || t.self().fs != d.fs {
		return unix.EXDEV
	}
	n := t.self()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nlink.Load() == 0 {
		if r, ok := t.(*regular); !ok || !r.linkable {
			return unix.ENOENT
		}
	}
	n.nlink.Add(1)
	n.ctime.Store(ctx.RealTime())
	d.attach(ctx, name, t) // the reference that attach adds is the name's
	return nil
}

// Unlink implements vfs.Directory.
func (d *directory) Unlink(ctx context.Context, name string, _ vfs.Inode) error {
	i := d.remove(name)
	if i == nil {
		return unix.ENOENT
	}
	d.dropped(ctx, i)
	return nil
}

// dropped is called when i, no directory, lost a name in d.
func (d *directory) dropped(ctx context.Context, i inode) {
	now := ctx.RealTime()
	n := i.self()
	n.mu.Lock()
	n.nlink.Add(^uint32(0))
	n.mu.Unlock()
	n.ctime.Store(now)
	d.modified(now)
	vfs.PutInode(ctx, i)
}

// Rmdir implements vfs.Directory.
func (d *directory) Rmdir(ctx context.Context, name string, child vfs.Inode) error {
	if !child.(*directory).isEmpty() {
		return unix.ENOTEMPTY
	}
	if i := d.remove(name); i != nil {
		d.droppedDir(ctx, i.(*directory))
	}
	return nil
}

func (d *directory) droppedDir(ctx context.Context, c *directory) {
	c.nlink.Store(0)
	d.nlink.Add(^uint32(0))
	now := ctx.RealTime()
	c.ctime.Store(now)
	d.modified(now)
	vfs.PutInode(ctx, c)
}

// Rename implements vfs.Directory.
func (d *directory) Rename(ctx context.Context, name string, child vfs.Inode, newDir vfs.Directory, newName string, replaced vfs.Inode, flags uint32) error {
	nd := newDir.(*directory)
	c := child.(inode)
	now := ctx.RealTime()
	if flags&unix.RENAME_EXCHANGE != 0 {
		r := replaced.(inode)
		d.replace(name, r)
		nd.replace(newName, c)
		d.moved(c, nd)
		nd.moved(r, d)
		r.self().ctime.Store(now)
	} else {
		if rd, ok := replaced.(*directory); ok && !rd.isEmpty() {
			return unix.ENOTEMPTY
		}
		if flags&unix.RENAME_WHITEOUT != 0 {
			if err := d.fs.chargeInode(); err != nil {
				return err
			}
		}
		if replaced != nil {
			old := nd.remove(newName)
			if rd, ok := old.(*directory); ok {
				nd.droppedDir(ctx, rd)
			} else if old != nil {
				nd.dropped(ctx, old)
			}
		}
		d.remove(name) // its reference is the new name's
		nd.add(newName, c)
		d.moved(c, nd)
		if flags&unix.RENAME_WHITEOUT != 0 {
			w := &special{}
			w.init(ctx, d.fs, unix.S_IFCHR, vfs.NewOwner{UID: ctx.Credentials().FSUID, GID: ctx.Credentials().FSGID})
			d.add(name, w)
		}
	}
	c.self().ctime.Store(now)
	d.modified(now)
	nd.modified(now)
	return nil
}

// replace makes i the inode of an existing name; references are exchanged.
func (d *directory) replace(name string, i inode) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.entries[name].inode = i
}

// moved updates parents after c went from d to nd.
func (d *directory) moved(c inode, nd *directory) {
	if sub, ok := c.(*directory); ok && d != nd {
		sub.parent.Store(nd)
		d.nlink.Add(^uint32(0))
		nd.nlink.Add(1)
	}
}

// Stat implements vfs.Inode.
func (d *directory) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := d.node.Stat(ctx)
	d.mu.RLock()
	a.Size = uint64(len(d.entries)+2) * direntSize
	d.mu.RUnlock()
	return a, err
}

// Open implements vfs.Inode.
func (d *directory) Open(context.Context, uint32) (vfs.File, error) {
	return &d.file, nil
}

// dirFile is an open directory; it has no state of its own.
type dirFile struct {
	vfs.FileDefaults
	waiter.AlwaysReady
	d *directory
}

// Read implements vfs.File.
func (f *dirFile) Read(context.Context, usermem.Sequence, int64) (int, error) { return 0, unix.EISDIR }

// Sync implements vfs.File.
func (f *dirFile) Sync(context.Context, bool) error { return nil }

// Seek implements vfs.File: cookies are the positions.
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

// IterDirents implements vfs.File.
func (f *dirFile) IterDirents(_ context.Context, offset int64, sink vfs.DirentSink) (int64, error) {
	d := f.d
	if offset == 0 {
		if !sink.Add(vfs.Dirent{Name: ".", Ino: d.ino, Type: unix.DT_DIR, Next: 1}) {
			return 0, nil
		}
		offset = 1
	}
	if offset == 1 {
		up := d.parent.Load()
		if up == nil {
			up = d
		}
		if !sink.Add(vfs.Dirent{Name: "..", Ino: up.ino, Type: unix.DT_DIR, Next: firstCookie}) {
			return 1, nil
		}
		offset = firstCookie
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	i := sort.Search(len(d.list), func(i int) bool { return d.list[i].cookie >= offset })
	for ; i < len(d.list); i++ {
		e := d.list[i]
		if e.gone {
			continue
		}
		n := e.inode.self()
		if !sink.Add(vfs.Dirent{Name: e.name, Ino: n.ino, Type: uint8(n.mode.Load() >> 12 & 15), Next: e.cookie + 1}) {
			return e.cookie, nil
		}
		offset = e.cookie + 1
	}
	return offset, nil
}
