// Package pseudo is what filesystems without stored content are made of: proc, sysfs, devpts.
//
// A Node is an inode with attributes in memory. Dir is a directory with a fixed set of
// children; directories whose children come and go implement vfs.Directory themselves, on
// Node, and use DirFile for their open files. Text is a regular file whose content a
// Generator writes. Link is a symlink.
//
// An open Text has the content of the moment in which it was first read: a reader that takes
// it in pieces sees one consistent text, and a read from the beginning makes it anew, as
// Linux's seq files do. No lock is held while content is generated (generators look at the
// whole kernel) or copied to the application.
package pseudo

import (
	"bytes"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// FS is the part of a filesystem that all pseudo filesystems have; embed it and add Root.
type FS struct {
	Type    string // in /proc/filesystems
	Magic   int64  // statfs(2)'s f_type
	Device  uint64 // from VFS.AnonDev
	lastIno atomic.Uint64
}

// TypeName implements vfs.Filesystem.
func (f *FS) TypeName() string { return f.Type }

// Dev implements vfs.Filesystem.
func (f *FS) Dev() uint64 { return f.Device }

// StatFS implements vfs.Filesystem.
func (f *FS) StatFS(context.Context) (vfs.StatFS, error) {
	return vfs.StatFS{Type: f.Magic, BlockSize: 4096, NameLength: 255}, nil
}

// Options implements vfs.Filesystem.
func (*FS) Options() string { return "" }

// Sync implements vfs.Filesystem.
func (*FS) Sync(context.Context) error { return nil }

// Release implements vfs.Filesystem.
func (*FS) Release(context.Context) {}

// NewIno gives an inode a number.
func (f *FS) NewIno() uint64 { return f.lastIno.Add(1) }

// Node is an inode with attributes in memory. Embed it and add Open.
type Node struct {
	vfs.InodeBase
	fs   vfs.Filesystem
	ino  uint64
	mode atomic.Uint32
	uid  atomic.Uint32
	gid  atomic.Uint32
	time int64 // of all changes
	// fixed nodes refuse chmod(2) and the like with EPERM.
	fixed bool
}

// Init prepares the node; mode has type bits. now is the time stamp of all times.
func (n *Node) Init(fs vfs.Filesystem, ino uint64, mode uint32, uid auth.KUID, gid auth.KGID, now int64) {
	n.fs, n.ino, n.time = fs, ino, now
	n.mode.Store(mode)
	n.uid.Store(uint32(uid))
	n.gid.Store(uint32(gid))
}

// Fix makes attributes immutable for applications.
func (n *Node) Fix() { n.fixed = true }

// FS implements vfs.Inode.
func (n *Node) FS() vfs.Filesystem { return n.fs }

// InodeNumber implements vfs.InodeNumberer.
func (n *Node) InodeNumber() uint64 { return n.ino }

// Owner implements vfs.Inode.
func (n *Node) Owner() (uint32, auth.KUID, auth.KGID) {
	return n.mode.Load(), auth.KUID(n.uid.Load()), auth.KGID(n.gid.Load())
}

// Stat implements vfs.Inode.
func (n *Node) Stat(context.Context) (vfs.Attr, error) {
	mode, uid, gid := n.Owner()
	a := vfs.Attr{Ino: n.ino, Mode: mode, Nlink: 1, UID: uid, GID: gid, Blksize: 4096,
		Atime: n.time, Mtime: n.time, Ctime: n.time}
	if mode&unix.S_IFMT == unix.S_IFDIR {
		a.Nlink = 2
	}
	return a, nil
}

// SetAttr implements vfs.Inode. Times are not kept; sizes cannot change (O_TRUNC of a file
// that is written to means nothing).
func (n *Node) SetAttr(_ context.Context, a vfs.SetAttr) error {
	if n.fixed && a.Mask&(vfs.SetMode|vfs.SetUID|vfs.SetGID) != 0 {
		return unix.EPERM
	}
	if a.Mask&vfs.SetMode != 0 {
		n.mode.Store(n.mode.Load()&unix.S_IFMT | a.Mode)
	}
	if a.Mask&vfs.SetUID != 0 {
		n.uid.Store(uint32(a.UID))
	}
	if a.Mask&vfs.SetGID != 0 {
		n.gid.Store(uint32(a.GID))
	}
	return nil
}

// Open implements vfs.Inode for kinds that cannot be opened.
func (*Node) Open(context.Context, uint32) (vfs.File, error) { return nil, unix.ENXIO }

// Release implements vfs.Inode.
func (*Node) Release(context.Context) {}

// Entry is a name in a directory.
type Entry struct {
	Name string
	Ino  uint64
	Type uint8 // unix.DT_*
	// Cookie, if not 0, is a position that stays the entry's when others come and go; it
	// is above 2 and rises along the list.
	Cookie int64
}

// TypeOf is the DT_* value of a mode.
func TypeOf(mode uint32) uint8 { return uint8(mode & unix.S_IFMT >> 12) }

// Lister is a directory's content.
type Lister interface {
	// Entries are the names, without "." and "..".
	Entries(ctx context.Context) ([]Entry, error)
	InodeNumber() uint64
}

// DirFile is an open directory. It lists the names that were there when reading began.
type DirFile struct {
	vfs.FileDefaults
	waiter.AlwaysReady
	list Lister

	mu   sync.Mutex // guards the field below
	snap []Entry
}

// NewDirFile opens l.
func NewDirFile(l Lister) *DirFile { return &DirFile{list: l} }

// Read implements vfs.File.
func (*DirFile) Read(context.Context, usermem.Sequence, int64) (int, error) { return 0, unix.EISDIR }

// Sync implements vfs.File.
func (*DirFile) Sync(context.Context, bool) error { return nil }

// IterDirents implements vfs.File.
func (f *DirFile) IterDirents(ctx context.Context, offset int64, sink vfs.DirentSink) (int64, error) {
	f.mu.Lock()
	snap := f.snap
	f.mu.Unlock()
	if offset == 0 || snap == nil {
		entries, err := f.list.Entries(ctx)
		if err != nil {
			return offset, err
		}
		snap = entries
		f.mu.Lock()
		f.snap = snap
		f.mu.Unlock()
	}
	ino := f.list.InodeNumber()
	for i, name := range []string{".", ".."} {
		if offset <= int64(i) {
			if !sink.Add(vfs.Dirent{Name: name, Ino: ino, Type: unix.DT_DIR, Next: int64(i) + 1}) {
				return offset, nil
			}
			offset = int64(i) + 1
		}
	}
	for i, e := range snap {
		cookie := e.Cookie
		if cookie == 0 {
			cookie = int64(i) + 2
		}
		if cookie < offset {
			continue
		}
		if !sink.Add(vfs.Dirent{Name: e.Name, Ino: e.Ino, Type: e.Type, Next: cookie + 1}) {
			return cookie, nil
		}
		offset = cookie + 1
	}
	return offset, nil
}

// Seek implements vfs.File.
func (*DirFile) Seek(_ context.Context, offset int64, whence int32, current int64) (int64, error) {
	switch whence {
	case unix.SEEK_CUR:
		offset += current
	case unix.SEEK_SET:
	default:
		return 0, unix.EINVAL
	}
	if offset < 0 {
		return 0, unix.EINVAL
	}
	return offset, nil
}

// Dir is a directory whose children are fixed when the filesystem is made.
type Dir struct {
	Node
	vfs.ReadOnlyDir
	names    []string
	children map[string]vfs.Inode
}

// NewDir makes a directory. The children's references pass to it; names are listed in the
// order in which they are added.
func NewDir(fs vfs.Filesystem, ino uint64, mode uint32, now int64) *Dir {
	d := &Dir{children: map[string]vfs.Inode{}}
	d.Init(fs, ino, unix.S_IFDIR|mode, auth.RootUID, auth.RootGID, now)
	d.Fix()
	return d
}

// Add gives the directory a child, before it can be seen.
func (d *Dir) Add(name string, child vfs.Inode) {
	if d.children[name] == nil {
		d.names = append(d.names, name)
	}
	d.children[name] = child
}

// Child is the child of that name, without a reference, or nil.
func (d *Dir) Child(name string) vfs.Inode { return d.children[name] }

// Caching implements vfs.Directory.
func (*Dir) Caching() vfs.Caching { return vfs.CacheAll }

// Lookup implements vfs.Directory.
func (d *Dir) Lookup(_ context.Context, name string) (vfs.Inode, error) {
	c := d.children[name]
	if c == nil {
		return nil, unix.ENOENT
	}
	c.Base().IncRef()
	return c, nil
}

// Entries implements Lister.
func (d *Dir) Entries(context.Context) ([]Entry, error) {
	out := make([]Entry, 0, len(d.names))
	for _, n := range d.names {
		out = append(out, EntryOf(n, d.children[n]))
	}
	return out, nil
}

// EntryOf is the entry of an inode that knows its number.
func EntryOf(name string, i vfs.Inode) Entry {
	mode, _, _ := i.Owner()
	e := Entry{Name: name, Type: TypeOf(mode)}
	if n, ok := i.(vfs.InodeNumberer); ok {
		e.Ino = n.InodeNumber()
	}
	return e
}

// Stat implements vfs.Inode.
func (d *Dir) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := d.Node.Stat(ctx)
	for _, c := range d.children {
		if mode, _, _ := c.Owner(); mode&unix.S_IFMT == unix.S_IFDIR {
			a.Nlink++
		}
	}
	return a, err
}

// Open implements vfs.Inode.
func (d *Dir) Open(context.Context, uint32) (vfs.File, error) { return NewDirFile(d), nil }

// Link is a symlink with a fixed text.
type Link struct {
	Node
	target string
}

// NewLink makes a symlink.
func NewLink(fs vfs.Filesystem, ino uint64, target string, now int64) *Link {
	l := &Link{target: target}
	l.Init(fs, ino, unix.S_IFLNK|0o777, auth.RootUID, auth.RootGID, now)
	return l
}

// Readlink implements vfs.Symlink.
func (l *Link) Readlink(context.Context) (string, error) { return l.target, nil }

// Stat implements vfs.Inode.
func (l *Link) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := l.Node.Stat(ctx)
	a.Size = uint64(len(l.target))
	return a, err
}

// Generator writes the content of a file.
type Generator interface {
	Generate(ctx context.Context, b *bytes.Buffer) error
}

// Setter is a Generator that also takes writes: each write is one value, whole. offset is
// the position of the write.
type Setter interface {
	Set(ctx context.Context, value []byte, offset int64) error
}

// Opener is a Generator with a say in who may open it.
type Opener interface {
	CheckOpen(ctx context.Context, flags uint32) error
}

// Text is a regular file with generated content.
type Text struct {
	Node
	gen  Generator
	size uint64 // st_size
}

// NewText makes a file.
func NewText(fs vfs.Filesystem, ino uint64, mode uint32, g Generator, now int64) *Text {
	t := &Text{gen: g}
	t.Init(fs, ino, unix.S_IFREG|mode, auth.RootUID, auth.RootGID, now)
	t.Fix()
	return t
}

// SetSize sets what stat(2) shows as size; sysfs has pages.
func (t *Text) SetSize(n uint64) { t.size = n }

// Stat implements vfs.Inode.
func (t *Text) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := t.Node.Stat(ctx)
	a.Size = t.size
	return a, err
}

// Open implements vfs.Inode.
func (t *Text) Open(ctx context.Context, flags uint32) (vfs.File, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		if _, ok := t.gen.(Setter); !ok {
			return nil, unix.EACCES
		}
	}
	return NewTextFile(ctx, t.gen, flags)
}

// TextFile is an open Text.
type TextFile struct {
	vfs.FileDefaults
	waiter.AlwaysReady
	gen Generator

	mu   sync.Mutex // guards the field below, not what it leads to, which is immutable
	snap []byte
}

// NewTextFile opens g.
func NewTextFile(ctx context.Context, g Generator, flags uint32) (*TextFile, error) {
	if o, ok := g.(Opener); ok {
		if err := o.CheckOpen(ctx, flags); err != nil {
			return nil, err
		}
	}
	return &TextFile{gen: g}, nil
}

// Read implements vfs.File.
func (f *TextFile) Read(ctx context.Context, dst usermem.Sequence, offset int64) (int, error) {
	f.mu.Lock()
	snap := f.snap
	f.mu.Unlock()
	if offset == 0 || snap == nil {
		var b bytes.Buffer
		if err := f.gen.Generate(ctx, &b); err != nil {
			return 0, err
		}
		snap = b.Bytes()
		if snap == nil {
			snap = []byte{}
		}
		f.mu.Lock()
		f.snap = snap
		f.mu.Unlock()
	}
	if offset >= int64(len(snap)) {
		return 0, nil
	}
	snap = snap[offset:]
	return dst.CopyOut(snap[:min(len(snap), dst.Len())])
}

// maxWrite is the longest value that a file takes.
const maxWrite = 64 << 10

// Write implements vfs.File.
func (f *TextFile) Write(ctx context.Context, src usermem.Sequence, offset int64, _ bool) (int, int64, error) {
	s, ok := f.gen.(Setter)
	if !ok {
		return 0, 0, unix.EIO
	}
	n := src.Len()
	if n > maxWrite {
		return 0, 0, unix.EINVAL
	}
	b := make([]byte, n)
	if _, err := src.CopyIn(b); err != nil {
		return 0, 0, err
	}
	if err := s.Set(ctx, b, offset); err != nil {
		return 0, 0, err
	}
	return n, offset + int64(n), nil
}

// Seek implements vfs.File. The end of such a file is not known.
func (f *TextFile) Seek(_ context.Context, offset int64, whence int32, current int64) (int64, error) {
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

// Sync implements vfs.File.
func (f *TextFile) Sync(context.Context, bool) error { return nil }

// String is a Generator of constant text.
type String string

// Generate implements Generator.
func (s String) Generate(_ context.Context, b *bytes.Buffer) error {
	b.WriteString(string(s))
	return nil
}
