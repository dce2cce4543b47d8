package vfs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
)

// superblock is a Filesystem in use; mounts of it hold references.
type superblock struct {
	vfs      *VFS
	fs       Filesystem
	root     *Dentry
	readOnly atomic.Bool
	refs     atomic.Int64

	// renameMu is held to move an inode from one directory to another, so that
	// ancestry holds still.
	renameMu sync.Mutex

	// changing counts changes of names that are under way, changes those that are
	// done: lookups of many components see whether their answer is still good.
	changing atomic.Int64
	changes  atomic.Uint64
}

func (s *superblock) beginChange() { s.changing.Add(1) }

func (s *superblock) endChange() {
	s.changes.Add(1)
	s.changing.Add(-1)
}

// decRef drops a mount's reference. With the last, no dentry of the filesystem is in use,
// and the cached ones go.
func (s *superblock) decRef(ctx context.Context) {
	if s.refs.Add(-1) == 0 {
		s.vfs.supersMu.Lock()
		if s.vfs.supers[s.fs] == s {
			delete(s.vfs.supers, s.fs)
		}
		s.vfs.supersMu.Unlock()
		s.root.evictBelow(ctx)
		s.root.DecRef(ctx)
		s.fs.Release(ctx)
	}
}

// evictBelow takes what is unreferenced below d out of the cache.
func (d *Dentry) evictBelow(ctx context.Context) {
	if d.kids == nil {
		return
	}
	for _, c := range d.kids.children(nil) {
		if !c.tryIncRef() {
			continue
		}
		c.evictBelow(ctx)
		d.kids.remove(c.Name(), c) // no longer hashed, it dies with the reference
		c.DecRef(ctx)
	}
}

// Mount is one place where a tree of dentries appears.
type Mount struct {
	vfs  *VFS // nil: the mount of files without a path
	sb   *superblock
	id   int32
	root *Dentry // a reference is held

	// refs counts Paths, mounts attached below, and the namespace that the mount is in.
	refs atomic.Int64

	// tree is how many of refs are the tree's: one for the mount's place in it and one
	// for each child. auto is the namespace that goes away when no mount in it has other
	// references; nil for most mounts.
	tree atomic.Int64
	auto atomic.Pointer[MountNamespace]

	// flags are mountFlags of mount(2).
	flags atomic.Uint64

	// writers counts files open for writing and changes in progress; a mount with
	// writers is not made read-only.
	writers atomic.Int64

	// at is where the mount is attached; nil when it is not (the root of a namespace,
	// a detached mount). Changed under VFS.mountMu.
	at atomic.Pointer[attachment]

	// The fields below are guarded by VFS.mountMu.
	ns          *MountNamespace // nil: detached
	children    []*Mount
	source      string
	propagation uint64 // MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE
	group       int32  // of peers, if shared
	master      int32  // group, if slave
	expiring    bool   // MNT_EXPIRE was asked once
}

// attachment is the place that a mount covers. It is immutable and holds references.
type attachment struct {
	parent *Mount
	dentry *Dentry
}

// mountFlags are the flags of mount(2) that a mount, rather than the filesystem, has.
const mountFlags = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC |
	unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME | unix.MS_NOSYMFOLLOW

const atimeFlags = unix.MS_NOATIME | unix.MS_RELATIME | unix.MS_STRICTATIME

// normalizeMountFlags picks a mount's flags; relatime is the default.
func normalizeMountFlags(f uint64) uint64 {
	f &= mountFlags
	switch {
	case f&unix.MS_STRICTATIME != 0:
		f &^= unix.MS_RELATIME | unix.MS_NOATIME
	case f&unix.MS_NOATIME != 0:
		f &^= unix.MS_RELATIME
	default:
		f |= unix.MS_RELATIME
	}
	return f
}

// newSuperblock puts fs into use, with no mounts yet. A filesystem that is mounted already,
// such as an IPC namespace's message queues, has one superblock for all its mounts. Whoever
// mounts it again holds it mounted meanwhile.
func (v *VFS) newSuperblock(fs Filesystem) *superblock {
	v.supersMu.Lock()
	defer v.supersMu.Unlock()
	if sb := v.supers[fs]; sb != nil {
		return sb
	}
	sb := &superblock{vfs: v, fs: fs}
	sb.root = newDentry(&v.cache, nil, "", fs.Root())
	if v.supers == nil {
		v.supers = map[Filesystem]*superblock{}
	}
	v.supers[fs] = sb
	return sb
}

// newMount makes a mount of the tree at root with one reference, attached nowhere.
func (v *VFS) newMount(sb *superblock, root *Dentry, source string, flags uint64) *Mount {
	m := &Mount{vfs: v, sb: sb, id: v.lastMountID.Add(1), root: root, source: source, propagation: unix.MS_PRIVATE}
	m.refs.Store(1)
	m.tree.Store(1)
	m.flags.Store(normalizeMountFlags(flags))
	root.IncRef()
	sb.refs.Add(1)
	return m
}

// mountSuper makes the first mount of sb; the superblock's root belongs to it.
func (v *VFS) mountSuper(sb *superblock, source string, flags uint64) *Mount {
	m := v.newMount(sb, sb.root, source, flags)
	if sb.refs.Load() == 1 {
		sb.readOnly.Store(flags&unix.MS_RDONLY != 0)
	}
	return m
}

// NewDetachedMount mounts fs, whose reference passes to the mount, nowhere. The reference
// on the mount is the caller's: the kernel keeps filesystems of its own (memfd, System V
// shared memory) that way.
func (v *VFS) NewDetachedMount(fs Filesystem, source string, flags uint64) *Mount {
	return v.mountSuper(v.newSuperblock(fs), source, flags)
}

// ID is the mount's number in mountinfo.
func (m *Mount) ID() int32 { return m.id }

// Root is the dentry that appears at the mount's top.
func (m *Mount) Root() *Dentry { return m.root }

// RootPath is the mount's top. The references are the mount's.
func (m *Mount) RootPath() Path { return Path{m, m.root} }

// Filesystem is what is mounted.
func (m *Mount) Filesystem() Filesystem { return m.sb.fs }

// Flags are the MS_* flags of the mount itself.
func (m *Mount) Flags() uint64 { return m.flags.Load() }

// ReadOnly says whether nothing can be changed through the mount.
func (m *Mount) ReadOnly() bool {
	return m.flags.Load()&unix.MS_RDONLY != 0 || m.sb.readOnly.Load()
}

// IncRef adds a reference; the caller has one.
func (m *Mount) IncRef() {
	if m.vfs != nil {
		m.refs.Add(1)
	}
}

func (m *Mount) tryIncRef() bool {
	if m.vfs == nil {
		return true
	}
	for {
		n := m.refs.Load()
		if n <= 0 {
			return false
		}
		if m.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// DecRef drops a reference. With the last, a mount that was detached goes away.
func (m *Mount) DecRef(ctx context.Context) {
	if m.vfs == nil {
		return
	}
	switch n := m.refs.Add(-1); {
	case n == 0:
		m.root.DecRef(ctx)
		m.sb.decRef(ctx)
	case n < 0:
		panic("vfs: mount released twice")
	default:
		if ns := m.auto.Load(); ns != nil && n == m.tree.Load() {
			ns.releaseIfIdle(ctx)
		}
	}
}

// getWrite counts a writer; EROFS.
func (m *Mount) getWrite() error {
	if m.vfs == nil {
		return nil
	}
	m.writers.Add(1)
	if m.ReadOnly() {
		m.writers.Add(-1)
		return unix.EROFS
	}
	return nil
}

func (m *Mount) putWrite() {
	if m.vfs != nil {
		m.writers.Add(-1)
	}
}

// setFlags changes the mount's flags; EBUSY if it has writers and would be read-only.
func (m *Mount) setFlags(f uint64) error {
	old := m.flags.Load()
	if f&atimeFlags == 0 {
		f |= old & atimeFlags
	}
	f = normalizeMountFlags(f)
	m.flags.Store(f)
	// getWrite counts before it looks; whoever it let through is counted by now.
	if f&^old&unix.MS_RDONLY != 0 && m.writers.Load() > 0 {
		m.flags.Store(old)
		return unix.EBUSY
	}
	return nil
}

// attach puts the detached mount m, whose reference passes to the tree, at p, which is not
// covered. VFS.mountMu is held.
func (m *Mount) attach(p Path, ns *MountNamespace) {
	p.IncRef()
	p.Mount.tree.Add(1)
	if parent := p.Dentry.Parent(); parent != nil && !p.Dentry.has(dentryHashed) && !p.Dentry.IsDeleted() {
		// In a directory whose children are not cached, this one must be, to be found.
		parent.kids.insert(p.Dentry.Name(), p.Dentry)
	}
	m.at.Store(&attachment{p.Mount, p.Dentry})
	var ms []*Mount
	if old := p.Dentry.mounts.Load(); old != nil {
		ms = append(ms, *old...)
	}
	ms = append(ms, m)
	p.Dentry.mounts.Store(&ms)
	p.Mount.children = append(p.Mount.children, m)
	m.setNamespace(ns)
}

// setNamespace moves m and what is below it to ns (nil: none).
func (m *Mount) setNamespace(ns *MountNamespace) {
	m.eachBelow(func(c *Mount) {
		if c.ns == ns {
			return
		}
		if c.ns != nil {
			c.ns.mounts = without(c.ns.mounts, c)
		}
		c.auto.Store(nil)
		if c.ns = ns; ns != nil {
			ns.mounts = append(ns.mounts, c)
			if ns.auto {
				c.auto.Store(ns)
			}
		}
	})
}

// eachBelow calls f for m and all mounts below it, parents first.
func (m *Mount) eachBelow(f func(*Mount)) {
	f(m)
	for _, c := range m.children {
		c.eachBelow(f)
	}
}

// takeOff takes m, with what is below it, from its place. VFS.mountMu is held. The
// references of the place are left to the caller, to be dropped without the lock.
func (m *Mount) takeOff() Path {
	at := m.at.Load()
	if at == nil {
		return Path{}
	}
	ms := without(append([]*Mount(nil), *at.dentry.mounts.Load()...), m)
	if len(ms) == 0 {
		at.dentry.mounts.Store(nil)
	} else {
		at.dentry.mounts.Store(&ms)
	}
	at.parent.children = without(at.parent.children, m)
	at.parent.tree.Add(-1)
	m.at.Store(nil)
	return Path{at.parent, at.dentry}
}

// without returns ms, in place, less m.
func without(ms []*Mount, m *Mount) []*Mount {
	for i, o := range ms {
		if o == m {
			return append(ms[:i], ms[i+1:]...)
		}
	}
	return ms
}

// dismantle detaches m and all mounts below it and adds to dead and places what must be
// released without VFS.mountMu.
func (m *Mount) dismantle(dead []*Mount, places []Path) ([]*Mount, []Path) {
	for len(m.children) > 0 {
		dead, places = m.children[len(m.children)-1].dismantle(dead, places)
	}
	if p := m.takeOff(); p.Ok() {
		places = append(places, p)
	}
	m.setNamespace(nil)
	return append(dead, m), places
}

func releaseAll(ctx context.Context, dead []*Mount, places []Path) {
	for _, m := range dead {
		m.DecRef(ctx)
	}
	for _, p := range places {
		p.DecRef(ctx)
	}
}
