package gofer

import (
	"math"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/p9"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// freshFor is how long attributes that came with a walk are used in shared mode: long enough
// for the system call that walked.
const freshFor = 500 * time.Microsecond

// inode is what all kinds of inodes have.
type inode struct {
	vfs.InodeBase
	fs   *Filesystem
	key  uint64                        // QID path, and st_ino
	file atomic.Pointer[p9.ClientFile] `state:"nosave"` // see fid

	// touched says that attributes may have changed since the inode was made, gone that
	// no name is left.
	touched, gone atomic.Bool

	// mode, uid and gid are copies of attr's that permission checks read without a lock.
	// The type in mode never changes.
	mode, uid, gid atomic.Uint32

	// bare says that the file has no extended attributes (exclusive mode only).
	bare atomic.Bool

	// dir, of which a reference is held, and name are where fid finds the file: one of its
	// names, as far as is known here. dir is nil for the root; name is empty when the last
	// name that was known is gone.
	walkMu sync.Mutex // guards the fields below, and is held while fid walks
	dir    *directory
	name   string

	mu    sync.Mutex // guards the fields below
	attr  p9.Attr
	known bool  // exclusive mode: attr is what the host has
	until int64 // shared mode: attr is fresh until then, in nanoseconds since 1970
	// changes counts what made attr obsolete. An answer to a question that was asked
	// before the last change is not believed.
	changes uint64
}

// newInode makes an inode of the right kind with one reference.
func (fs *Filesystem) newInode(r p9.WalkResult) node {
	var n node
	switch r.Attr.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		n = &regular{}
	case unix.S_IFDIR:
		n = &directory{}
	case unix.S_IFLNK:
		n = &symlink{}
	default:
		n = &special{}
	}
	i := n.common()
	i.fs, i.key = fs, r.Attr.QID.Path
	i.file.Store(r.File)
	i.mu.Lock()
	i.storeLocked(&r.Attr)
	i.mu.Unlock()
	return n
}

func (i *inode) common() *inode { return i }

// sameType says whether a is of a file of this inode's type.
func (i *inode) sameType(a *p9.Attr) bool {
	return (i.mode.Load()^a.Mode)&unix.S_IFMT == 0
}

// storeLocked takes over attributes that the host has now. The caller holds mu.
func (i *inode) storeLocked(a *p9.Attr) {
	i.attr = *a
	i.attr.Size = min(a.Size, math.MaxInt64)
	i.known = true
	if i.fs.shared {
		i.until = time.Now().UnixNano() + int64(freshFor)
	}
	if old := i.mode.Load(); old != a.Mode {
		i.mode.Store(a.Mode)
		if i.fs.shared && old != 0 {
			i.PrivilegesChanged()
		}
	}
	i.uid.Store(a.UID)
	i.gid.Store(a.GID)
}

// learn takes over attributes that came with something else. In exclusive mode what is
// known is at least as good.
func (i *inode) learn(a *p9.Attr) {
	i.mu.Lock()
	if i.fs.shared || !i.known {
		i.storeLocked(a)
	}
	i.mu.Unlock()
}

// began returns what ended needs to know of the moment before a request was sent.
func (i *inode) began() uint64 {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.changes
}

// ended takes over the attributes in the reply to a request.
func (i *inode) ended(before uint64, a *p9.Attr) {
	i.mu.Lock()
	if i.changes == before && i.sameType(a) {
		i.storeLocked(a)
	}
	i.mu.Unlock()
}

// outdated says that an operation changed attributes on the host in a way that is not known
// here.
func (i *inode) outdated() {
	i.touched.Store(true)
	i.mu.Lock()
	i.changes++
	i.known = false
	i.until = 0
	i.mu.Unlock()
}

// fid returns the fid of the inode, walking to it if all that is known of the file comes from
// the listing of its directory.
func (i *inode) fid() (*p9.ClientFile, error) {
	if f := i.file.Load(); f != nil {
		return f, nil
	}
	i.walkMu.Lock()
	defer i.walkMu.Unlock()
	if f := i.file.Load(); f != nil {
		return f, nil
	}
	if i.dir == nil || i.name == "" {
		return nil, unix.ESTALE
	}
	dir, err := i.dir.fid()
	if err != nil {
		return nil, err
	}
	var r [1]p9.WalkResult
	if _, err := dir.Walk([]string{i.name}, r[:]); err != nil {
		return nil, i.fs.failed(err)
	}
	if r[0].Attr.QID.Path != i.key || !i.sameType(&r[0].Attr) {
		r[0].File.Close()
		return nil, unix.ESTALE
	}
	return i.giveFID(r[0].File), nil
}

// openFD opens the file on the host, walking to it in the same round trip if it has no fid.
func (i *inode) openFD(flags uint32) (*fd.FD, error) {
	if i.file.Load() == nil {
		if host, err := i.walkOpen(flags); host != nil || err != nil {
			return host, err
		}
	}
	file, err := i.fid()
	if err != nil {
		return nil, err
	}
	host, err := file.OpenFD(flags)
	return host, i.fs.failed(err)
}

// walkOpen is openFD for a file without a fid; neither descriptor nor error mean that it has
// one by now and is to be opened with that.
func (i *inode) walkOpen(flags uint32) (*fd.FD, error) {
	i.walkMu.Lock()
	defer i.walkMu.Unlock()
	if i.file.Load() != nil {
		return nil, nil
	}
	if i.dir == nil || i.name == "" {
		return nil, unix.ESTALE
	}
	dir, err := i.dir.fid()
	if err != nil {
		return nil, err
	}
	r, host, err := dir.WalkOpen(i.name, flags)
	if err != nil {
		return nil, i.fs.failed(err)
	}
	if r.Attr.QID.Path != i.key || !i.sameType(&r.Attr) {
		r.File.Close()
		if host != nil {
			host.Close()
		}
		return nil, unix.ESTALE
	}
	i.giveFID(r.File)
	return host, nil
}

// giveFID hands in a fid of the inode, and returns the one that is used.
func (i *inode) giveFID(f *p9.ClientFile) *p9.ClientFile {
	if i.file.CompareAndSwap(nil, f) {
		return f
	}
	f.Close()
	return i.file.Load()
}

// unlinked says that the name of the file in d was removed. If it is the one that a fid would
// be walked to, there will be none.
func (i *inode) unlinked(_ context.Context, d *directory, name string) {
	i.walkMu.Lock()
	defer i.walkMu.Unlock()
	known := i.dir == d && i.name == name
	if known {
		i.name = ""
	}
	i.mu.Lock()
	last := i.attr.NLink <= 1 || i.mode.Load()&unix.S_IFMT == unix.S_IFDIR
	if known && i.file.Load() == nil { // nobody to ask any more
		if i.attr.NLink--; last {
			i.attr.NLink = 0
		}
	}
	i.mu.Unlock()
	if last {
		i.gone.Store(true)
	}
	i.touched.Store(true)
	if !known || i.file.Load() != nil {
		i.outdated()
	}
}

// moved says that the file is now called name in d.
func (i *inode) moved(ctx context.Context, d *directory, name string) {
	i.walkMu.Lock()
	old := i.dir
	d.IncRef()
	i.dir, i.name = d, name
	i.walkMu.Unlock()
	if old != nil {
		vfs.PutInode(ctx, old)
	}
}

// found says that a walk came to the file by name in d. That matters if no other name is
// known, or if the one that is may have been moved by others.
func (i *inode) found(d *directory, name string) {
	i.walkMu.Lock()
	same := i.dir == nil || d == nil || name == "" || i.dir == d && i.name == name
	stays := i.name != "" && !i.fs.shared
	i.walkMu.Unlock()
	if !same && !stays {
		i.moved(nil, d, name)
	}
}

// path is a name of the file for messages.
func (i *inode) path() string {
	i.walkMu.Lock()
	d, name := i.dir, i.name
	i.walkMu.Unlock()
	switch {
	case d == nil:
		return "/"
	case name == "":
		return "a file without a name"
	case vfs.Inode(d) == i.fs.root:
		return "/" + name
	}
	return d.path() + "/" + name
}

// FS implements vfs.Inode.
func (i *inode) FS() vfs.Filesystem { return i.fs }

// InodeNumber implements vfs.InodeNumberer.
func (i *inode) InodeNumber() uint64 { return i.key }

// Owner implements vfs.Inode.
func (i *inode) Owner() (uint32, auth.KUID, auth.KGID) {
	return i.mode.Load(), auth.KUID(i.uid.Load()), auth.KGID(i.gid.Load())
}

// Stat implements vfs.Inode.
func (i *inode) Stat(context.Context) (vfs.Attr, error) {
	a, err := i.getAttr()
	if err != nil {
		return vfs.Attr{}, err
	}
	return i.vfsAttr(&a), nil
}

// getAttr returns attributes as good as the mode of the mount demands.
func (i *inode) getAttr() (p9.Attr, error) {
	i.mu.Lock()
	if i.known && (!i.fs.shared || time.Now().UnixNano() < i.until) {
		a := i.attr
		i.mu.Unlock()
		return a, nil
	}
	before := i.changes
	i.mu.Unlock()
	file, err := i.fid()
	if err != nil {
		return p9.Attr{}, err
	}
	a, err := file.GetAttr()
	if err != nil {
		return p9.Attr{}, i.fs.failed(err)
	}
	i.ended(before, &a)
	return a, nil
}

func (i *inode) vfsAttr(a *p9.Attr) vfs.Attr {
	return vfs.Attr{
		Ino:     i.key,
		Mode:    i.mode.Load()&unix.S_IFMT | a.Mode&^unix.S_IFMT,
		Nlink:   uint32(min(a.NLink, 1<<32-1)),
		UID:     auth.KUID(a.UID),
		GID:     auth.KGID(a.GID),
		Rdev:    a.RDev,
		Size:    a.Size,
		Blocks:  a.Blocks,
		Blksize: uint32(a.BlockSize),
		Atime:   nanos(a.ATime),
		Mtime:   nanos(a.MTime),
		Ctime:   nanos(a.CTime),
		Btime:   nanos(a.BTime),
	}
}

const second = int64(time.Second)

func nanos(t p9.Time) int64 { return t.Sec*second + t.Nsec }

func p9Time(ns int64) p9.Time {
	t := p9.Time{Sec: ns / second, Nsec: ns % second}
	if t.Nsec < 0 {
		t.Sec--
		t.Nsec += second
	}
	return t
}

// SetAttr implements vfs.Inode.
func (i *inode) SetAttr(_ context.Context, a vfs.SetAttr) error {
	return i.setAttr(a)
}

func (i *inode) setAttr(a vfs.SetAttr) error {
	var set p9.SetAttr
	if a.Mask&vfs.SetMode != 0 {
		set.Valid |= p9.SetMode
		set.Mode = a.Mode & 0o7777
	}
	if a.Mask&vfs.SetUID != 0 {
		set.Valid |= p9.SetUID
		set.UID = uint32(a.UID)
	}
	if a.Mask&vfs.SetGID != 0 {
		set.Valid |= p9.SetGID
		set.GID = uint32(a.GID)
	}
	if a.Mask&vfs.SetSize != 0 {
		set.Valid |= p9.SetSize
		set.Size = a.Size
	}
	if a.Mask&vfs.SetAtime != 0 {
		set.Valid |= p9.SetATime | p9.SetATimeSet
		set.ATime = p9Time(a.Atime)
	}
	if a.Mask&vfs.SetMtime != 0 {
		set.Valid |= p9.SetMTime | p9.SetMTimeSet
		set.MTime = p9Time(a.Mtime)
	}
	if set.Valid == 0 {
		if a.Mask&vfs.SetCtime == 0 {
			return nil
		}
		// Any change that changes nothing else.
		if mode := i.mode.Load(); mode&unix.S_IFMT != unix.S_IFLNK {
			set.Valid = p9.SetMode
			set.Mode = mode & 0o7777
		} else {
			set.Valid = p9.SetUID
			set.UID = i.uid.Load()
		}
	}
	file, err := i.fid()
	if err != nil {
		return err
	}
	i.outdated()
	before := i.began()
	got, err := file.SetGetAttr(set)
	if err != nil {
		return i.fs.failed(err)
	}
	i.ended(before, &got)
	return nil
}

// Open implements vfs.Inode for what vfs opens by itself.
func (i *inode) Open(context.Context, uint32) (vfs.File, error) { return nil, unix.ENXIO }

// Release implements vfs.Inode.
func (i *inode) Release(ctx context.Context) {
	if i.touched.Load() && !i.gone.Load() {
		// What listings say of the file is no longer true, and it will be asked again.
		i.fs.epoch.Add(1)
	}
	i.fs.forget(i)
	i.file.Load().Close()
	if i.dir != nil {
		vfs.PutInode(ctx, i.dir)
	}
}

// special is a FIFO, a socket or a device node. vfs opens it; what lives there (a FIFO's
// buffer, a bound socket) is kept by vfs.InodeBase.
type special struct{ inode }

// ConnectHost connects to a socket of the host, if the gofer allows it (flag --host-uds), and
// returns a non-blocking descriptor, which the caller owns. sockType is SOCK_STREAM…;
// ECONNREFUSED if it does not.
func (s *special) ConnectHost(sockType int) (int, error) {
	file, err := s.fid()
	if err != nil {
		return -1, err
	}
	host, err := file.Connect(uint32(sockType))
	if err != nil {
		return -1, s.fs.failed(err)
	}
	return host.Release(), nil
}

// symlink is a symbolic link, whose target never changes.
type symlink struct {
	inode
	target atomic.Pointer[string]
}

// Readlink implements vfs.Symlink.
func (s *symlink) Readlink(context.Context) (string, error) {
	if t := s.target.Load(); t != nil {
		return *t, nil
	}
	file, err := s.fid()
	if err != nil {
		return "", err
	}
	t, err := file.Readlink()
	if err != nil {
		return "", s.fs.failed(err)
	}
	s.target.Store(&t)
	return t, nil
}

// Open implements vfs.Inode.
func (s *symlink) Open(context.Context, uint32) (vfs.File, error) { return nil, unix.ELOOP }
