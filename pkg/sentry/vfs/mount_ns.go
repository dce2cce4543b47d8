package vfs

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/waiter"
)

// MountNamespace is a tree of mounts that some tasks see (mount_namespaces(7)).
type MountNamespace struct {
	vfs   *VFS
	id    uint64
	owner *auth.UserNamespace
	refs  atomic.Int64

	// auto: one reference is dropped when the last task has left, that is, when no mount
	// of the namespace is referenced from outside of the tree. Immutable.
	auto     bool
	released atomic.Bool // that reference was dropped

	// changed tells pollers of /proc/PID/mounts; seq counts changes.
	changed waiter.Queue
	seq     atomic.Uint64

	// The fields below are guarded by VFS.mountMu.
	root   *Mount
	mounts []*Mount // in the order in which they were made
	dead   bool     // taken apart
}

// maxMounts bounds the mounts of a namespace (/proc/sys/fs/mount-max); ENOSPC.
const maxMounts = 100000

// NewMountNamespace makes a namespace with fs, whose reference passes to it, as root. It
// has one reference, the caller's.
func (v *VFS) NewMountNamespace(owner *auth.UserNamespace, fs Filesystem, source string, flags uint64) *MountNamespace {
	ns := &MountNamespace{vfs: v, id: v.lastNSID.Add(1), owner: owner}
	ns.refs.Store(1)
	m := v.mountSuper(v.newSuperblock(fs), source, flags)
	v.mountMu.Lock()
	defer v.mountMu.Unlock()
	ns.root = m
	m.setNamespace(ns)
	return ns
}

// ID is a number unique among the namespaces of the VFS.
func (ns *MountNamespace) ID() uint64 { return ns.id }

// Owner is the user namespace whose CAP_SYS_ADMIN rules the namespace.
func (ns *MountNamespace) Owner() *auth.UserNamespace { return ns.owner }

// IncRef adds a reference.
func (ns *MountNamespace) IncRef() { ns.refs.Add(1) }

// DecRef drops a reference; with the last, all mounts come off.
func (ns *MountNamespace) DecRef(ctx context.Context) {
	if ns.refs.Add(-1) != 0 {
		return
	}
	v := ns.vfs
	v.mountMu.Lock()
	if ns.dead {
		v.mountMu.Unlock()
		return // somebody found it after its end, and lost it again
	}
	ns.dead = true
	dead, places := ns.root.dismantle(nil, nil)
	v.mountMu.Unlock()
	releaseAll(ctx, dead, places)
}

// releaseIfIdle drops the reference of an auto namespace when nobody is in it. Who is not
// in it can only enter by a reference on the namespace.
func (ns *MountNamespace) releaseIfIdle(ctx context.Context) {
	ns.vfs.mountMu.RLock()
	idle := !ns.dead && ns.root.refs.Load() == ns.root.tree.Load()
	for _, m := range ns.mounts {
		if !idle {
			break
		}
		idle = m.refs.Load() == m.tree.Load()
	}
	ns.vfs.mountMu.RUnlock()
	if idle && ns.released.CompareAndSwap(false, true) {
		ns.DecRef(ctx)
	}
}

// Root is the namespace's root directory as a new task sees it, with references for the
// caller; the zero Path if the namespace has come to its end.
func (ns *MountNamespace) Root() Path {
	ns.vfs.mountMu.RLock()
	defer ns.vfs.mountMu.RUnlock()
	if ns.dead {
		return Path{}
	}
	p := Path{ns.root, ns.root.root}.top()
	p.IncRef()
	return p
}

// Changed is notified, with EventPri and EventErr, when mounts come and go; Seq tells
// whether they did.
func (ns *MountNamespace) Changed() *waiter.Queue { return &ns.changed }

// Seq counts the changes.
func (ns *MountNamespace) Seq() uint64 { return ns.seq.Load() }

func (ns *MountNamespace) touch() {
	ns.seq.Add(1)
	ns.changed.Notify(waiter.EventPri | waiter.EventErr)
}

// Clone copies the namespace for CLONE_NEWNS. paths (a task's root and working directory)
// are replaced by the same places in the copy, references included.
func (ns *MountNamespace) Clone(ctx context.Context, owner *auth.UserNamespace, paths ...*Path) *MountNamespace {
	return ns.clone(ctx, owner, false, paths...)
}

func (ns *MountNamespace) clone(ctx context.Context, owner *auth.UserNamespace, auto bool, paths ...*Path) *MountNamespace {
	v := ns.vfs
	c := &MountNamespace{vfs: v, id: v.lastNSID.Add(1), owner: owner, auto: auto}
	c.refs.Store(1)
	v.mountMu.Lock()
	copies := make(map[*Mount]*Mount)
	c.root = ns.root.copyTree(ns.root.root, copies, true)
	c.root.setNamespace(c)
	v.mountMu.Unlock()
	for _, p := range paths {
		if m := copies[p.Mount]; m != nil {
			old := p.Mount
			m.IncRef()
			p.Mount = m
			old.DecRef(ctx)
		}
	}
	return c
}

// CloneMountNamespace copies the namespace of root and returns the places in the copy that
// root and cwd, whose references stay the caller's, correspond to, with references. The copy
// lives as long as paths lead into it.
func (v *VFS) CloneMountNamespace(ctx context.Context, owner *auth.UserNamespace, root, cwd Path) (newRoot, newCwd Path, err error) {
	ns := root.Mount.Namespace()
	if ns == nil {
		return Path{}, Path{}, unix.EINVAL
	}
	root.IncRef()
	cwd.IncRef()
	ns.clone(ctx, owner, true, &root, &cwd)
	return root, cwd, nil
}

// Namespace is the namespace that the mount is in; nil if it is detached.
func (m *Mount) Namespace() *MountNamespace {
	if m.vfs == nil {
		return nil
	}
	m.vfs.mountMu.RLock()
	defer m.vfs.mountMu.RUnlock()
	return m.ns
}

// copyTree copies m, from its dentry root on, and, if all is set, the mounts below that
// place. copies maps originals to copies. VFS.mountMu is held.
func (m *Mount) copyTree(root *Dentry, copies map[*Mount]*Mount, all bool) *Mount {
	c := m.vfs.newMount(m.sb, root, m.source, m.flags.Load())
	c.propagation, c.group, c.master = m.propagation, m.group, m.master
	if copies != nil {
		copies[m] = c
	}
	if all {
		for _, k := range m.children {
			at := k.at.Load()
			if !root.isAncestorOf(at.dentry) || copies == nil && k.propagation == unix.MS_UNBINDABLE {
				continue
			}
			// The last of several mounts at one place attaches over the others.
			kc := k.copyTree(k.root, copies, true)
			kc.attach(Path{c, at.dentry}.top(), nil)
		}
	}
	return c
}

// MountRequest is mount(2).
type MountRequest struct {
	Source     *PathOp // for MS_BIND and MS_MOVE
	SourceName string
	Target     *PathOp
	Type       string
	Flags      uint64
	Data       string
}

const propagationFlags = unix.MS_SHARED | unix.MS_PRIVATE | unix.MS_SLAVE | unix.MS_UNBINDABLE

// Mount is mount(2) in the caller's namespace ns.
func (v *VFS) Mount(ctx context.Context, ns *MountNamespace, r *MountRequest) error {
	if ns == nil {
		return unix.EINVAL // the caller's root is mounted nowhere any more
	}
	if !ctx.Credentials().HasCapabilityIn(unix.CAP_SYS_ADMIN, ns.owner) {
		return unix.EPERM
	}
	target, err := v.resolve(ctx, r.Target)
	if err != nil {
		return err
	}
	defer target.DecRef(ctx)
	f := r.Flags
	switch {
	case f&(unix.MS_REMOUNT|unix.MS_BIND) == unix.MS_REMOUNT|unix.MS_BIND:
		return v.remount(ctx, ns, target, f, "", false)
	case f&unix.MS_REMOUNT != 0:
		return v.remount(ctx, ns, target, f, r.Data, true)
	case f&unix.MS_BIND != 0:
		return v.bind(ctx, ns, r.Source, target, f&unix.MS_REC != 0)
	case f&propagationFlags != 0:
		return v.setPropagation(ns, target, f)
	case f&unix.MS_MOVE != 0:
		return v.move(ctx, ns, r.Source, target)
	}
	t := v.FilesystemType(r.Type)
	if t == nil || !t.UserMountable() {
		return unix.ENODEV
	}
	var fs Filesystem
	if pt, ok := t.(PathFilesystemType); ok {
		fs, err = pt.NewFilesystemAt(ctx, v, *r.Target, r.SourceName, r.Data)
	} else {
		fs, err = t.NewFilesystem(ctx, v, r.SourceName, r.Data)
	}
	if err != nil {
		return err
	}
	return v.MountFilesystem(ctx, ns, target, fs, r.SourceName, f)
}

// MountFilesystem mounts fs, whose reference passes to the mount, at target, whose
// references stay the caller's. It asks for no capability: the runtime mounts so.
func (v *VFS) MountFilesystem(ctx context.Context, ns *MountNamespace, target Path, fs Filesystem, source string, flags uint64) error {
	m := v.mountSuper(v.newSuperblock(fs), source, flags)
	err := v.graft(ctx, ns, m, target, func() error {
		if m.root.kids == nil || target.Dentry.kids == nil {
			if m.root.kids != nil || target.Dentry.kids != nil {
				return unix.ENOTDIR
			}
		}
		return nil
	})
	if err != nil {
		m.DecRef(ctx)
	}
	return err
}

// graft attaches the new tree m at target if check allows it.
func (v *VFS) graft(ctx context.Context, ns *MountNamespace, m *Mount, target Path, check func() error) error {
	v.mountMu.Lock()
	defer v.mountMu.Unlock()
	target = target.top()
	n := 0
	m.eachBelow(func(*Mount) { n++ })
	switch {
	case target.Mount.ns != ns:
		return unix.EINVAL
	case target.Dentry.IsDeleted():
		return unix.ENOENT
	case len(ns.mounts)+n > maxMounts:
		return unix.ENOSPC
	}
	if err := check(); err != nil {
		return err
	}
	m.attach(target, ns)
	ns.touch()
	return nil
}

// BindMount makes the tree at source appear at target too (MS_BIND, MS_REC). The
// references of both stay the caller's. Capabilities are not asked for.
func (v *VFS) BindMount(ctx context.Context, ns *MountNamespace, source, target Path, recursive bool) error {
	if (source.Dentry.kids == nil) != (target.Dentry.kids == nil) {
		return unix.ENOTDIR
	}
	v.mountMu.Lock()
	if source.Mount.vfs == nil || source.Mount.propagation == unix.MS_UNBINDABLE || source.Mount.ns == nil {
		v.mountMu.Unlock()
		return unix.EINVAL
	}
	m := source.Mount.copyTree(source.Dentry, nil, recursive)
	v.mountMu.Unlock()
	err := v.graft(ctx, ns, m, target, func() error { return nil })
	if err != nil {
		v.mountMu.Lock()
		dead, places := m.dismantle(nil, nil)
		v.mountMu.Unlock()
		releaseAll(ctx, dead, places)
	}
	return err
}

func (v *VFS) bind(ctx context.Context, ns *MountNamespace, source *PathOp, target Path, recursive bool) error {
	p, err := v.resolve(ctx, source)
	if err != nil {
		return err
	}
	defer p.DecRef(ctx)
	v.mountMu.RLock()
	same := p.Mount.ns == ns
	v.mountMu.RUnlock()
	if !same {
		return unix.EINVAL
	}
	return v.BindMount(ctx, ns, p, target, recursive)
}

// Remounter is implemented by filesystems whose options can change.
type Remounter interface {
	Remount(ctx context.Context, data string) error
}

// Remount changes the flags of the mount whose root target is, as MS_REMOUNT|MS_BIND does.
func (v *VFS) Remount(ctx context.Context, ns *MountNamespace, target Path, flags uint64) error {
	return v.remount(ctx, ns, target, flags, "", false)
}

func (v *VFS) remount(ctx context.Context, ns *MountNamespace, target Path, flags uint64, data string, super bool) error {
	m := target.Mount
	v.mountMu.Lock()
	defer v.mountMu.Unlock()
	if m.ns != ns || target.Dentry != m.root {
		return unix.EINVAL
	}
	if super && data != "" {
		if r, ok := m.sb.fs.(Remounter); ok {
			if err := r.Remount(ctx, data); err != nil {
				return err
			}
		}
	}
	if err := m.setFlags(flags); err != nil {
		return err
	}
	if super {
		m.sb.readOnly.Store(flags&unix.MS_RDONLY != 0)
	}
	ns.touch()
	return nil
}

func (v *VFS) setPropagation(ns *MountNamespace, target Path, flags uint64) error {
	typ := flags & propagationFlags
	if typ&(typ-1) != 0 || flags&^(propagationFlags|unix.MS_REC|unix.MS_SILENT) != 0 {
		return unix.EINVAL
	}
	v.mountMu.Lock()
	defer v.mountMu.Unlock()
	if target.Mount.ns != ns || target.Dentry != target.Mount.root {
		return unix.EINVAL
	}
	set := func(m *Mount) {
		switch typ {
		case unix.MS_SHARED:
			if m.group == 0 {
				m.group = v.lastMountID.Add(1)
			}
		case unix.MS_SLAVE:
			if m.group != 0 {
				m.master, m.group = m.group, 0
			}
		default:
			m.group, m.master = 0, 0
		}
		m.propagation = typ
	}
	if flags&unix.MS_REC != 0 {
		target.Mount.eachBelow(set)
	} else {
		set(target.Mount)
	}
	ns.touch()
	return nil
}

// move is MS_MOVE.
func (v *VFS) move(ctx context.Context, ns *MountNamespace, source *PathOp, target Path) error {
	p, err := v.resolve(ctx, source)
	if err != nil {
		return err
	}
	defer p.DecRef(ctx)
	v.mountMu.Lock()
	target = target.top()
	m := p.Mount
	switch {
	case m.ns != ns || target.Mount.ns != ns || p.Dentry != m.root || m.at.Load() == nil:
		err = unix.EINVAL
	case (m.root.kids == nil) != (target.Dentry.kids == nil):
		err = unix.ENOTDIR
	case target.Dentry.IsDeleted():
		err = unix.ENOENT
	case m.holds(target.Mount):
		err = unix.ELOOP
	}
	if err != nil {
		v.mountMu.Unlock()
		return err
	}
	place := m.takeOff()
	m.attach(target, ns)
	v.mountMu.Unlock()
	ns.touch()
	place.DecRef(ctx)
	return nil
}

// holds says whether o is m or below it.
func (m *Mount) holds(o *Mount) bool {
	for o != m {
		at := o.at.Load()
		if at == nil {
			return false
		}
		o = at.parent
	}
	return true
}

// Unmount is umount2(2) in the caller's namespace ns.
func (v *VFS) Unmount(ctx context.Context, ns *MountNamespace, op *PathOp, flags int) error {
	if ns == nil {
		return unix.EINVAL
	}
	const known = unix.MNT_FORCE | unix.MNT_DETACH | unix.MNT_EXPIRE | unix.UMOUNT_NOFOLLOW
	if flags&^known != 0 || flags&unix.MNT_EXPIRE != 0 && flags&(unix.MNT_FORCE|unix.MNT_DETACH) != 0 {
		return unix.EINVAL
	}
	if !ctx.Credentials().HasCapabilityIn(unix.CAP_SYS_ADMIN, ns.owner) {
		return unix.EPERM
	}
	o := *op
	o.NoFollow = flags&unix.UMOUNT_NOFOLLOW != 0
	p, err := v.resolve(ctx, &o)
	if err != nil {
		return err
	}
	m := p.Mount
	v.mountMu.Lock()
	var dead []*Mount
	var places []Path
	switch {
	case m.ns != ns || p.Dentry != m.root || m == ns.root:
		err = unix.EINVAL
	case flags&unix.MNT_DETACH != 0:
		dead, places = m.dismantle(nil, nil)
	case len(m.children) > 0 || m.refs.Load() > 2: // the tree's and ours
		err = unix.EBUSY
	case flags&unix.MNT_EXPIRE != 0 && !m.expiring:
		m.expiring = true
		err = unix.EAGAIN
	default:
		dead, places = m.dismantle(nil, nil)
	}
	v.mountMu.Unlock()
	p.DecRef(ctx)
	if err == nil {
		ns.touch()
		releaseAll(ctx, dead, places)
	}
	return err
}

// PivotRoot is pivot_root(2): the mount at newRoot becomes the root, the old root moves to
// putOld. It returns the old and the new root directory, with references for the caller, who
// moves tasks whose root or working directory is the old one.
func (v *VFS) PivotRoot(ctx context.Context, ns *MountNamespace, root Path, newRoot, putOld *PathOp) (from, to Path, err error) {
	if ns == nil {
		return from, to, unix.EINVAL
	}
	if !ctx.Credentials().HasCapabilityIn(unix.CAP_SYS_ADMIN, ns.owner) {
		return from, to, unix.EPERM
	}
	n, err := v.resolve(ctx, newRoot)
	if err != nil {
		return from, to, err
	}
	defer n.DecRef(ctx)
	o, err := v.resolve(ctx, putOld)
	if err != nil {
		return from, to, err
	}
	defer o.DecRef(ctx)

	v.mountMu.Lock()
	rootMount := root.Mount
	switch {
	case n.Dentry.kids == nil || o.Dentry.kids == nil:
		err = unix.ENOTDIR
	case n.Mount.ns != ns || rootMount.ns != ns || o.Mount.ns != ns:
		err = unix.EINVAL
	case n.Dentry.IsDeleted():
		err = unix.ENOENT
	case n.Mount == rootMount || o.Mount == rootMount:
		err = unix.EBUSY
	case root.Dentry != rootMount.root, n.Dentry != n.Mount.root, n.Mount.at.Load() == nil,
		!o.isBelow(n):
		err = unix.EINVAL
	}
	if err != nil {
		v.mountMu.Unlock()
		return from, to, err
	}
	places := []Path{n.Mount.takeOff(), rootMount.takeOff()}
	if p := places[1]; p.Ok() {
		n.Mount.attach(p, ns)
	} else {
		ns.root = n.Mount
	}
	rootMount.attach(o.top(), ns)
	v.mountMu.Unlock()
	ns.touch()
	for _, p := range places {
		p.DecRef(ctx)
	}
	root.IncRef()
	n.IncRef()
	return root, n, nil
}

// isBelow says whether p is q or reached through it.
func (p Path) isBelow(q Path) bool {
	for p.Mount != q.Mount {
		at := p.Mount.at.Load()
		if at == nil {
			return false
		}
		p = Path{at.parent, at.dentry}
	}
	return q.Dentry.isAncestorOf(p.Dentry)
}

// Sync writes back all filesystems of the namespace (sync(2)).
func (ns *MountNamespace) Sync(ctx context.Context) {
	ns.vfs.mountMu.RLock()
	mounts := append([]*Mount(nil), ns.mounts...)
	for _, m := range mounts {
		m.IncRef()
	}
	ns.vfs.mountMu.RUnlock()
	done := make(map[*superblock]bool)
	for _, m := range mounts {
		if !done[m.sb] {
			done[m.sb] = true
			m.sb.fs.Sync(ctx)
		}
		m.DecRef(ctx)
	}
}
