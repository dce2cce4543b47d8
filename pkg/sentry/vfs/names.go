package vfs

import (
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
)

// toParent walks to the directory that the last component of the pathname is in, and pins
// it. kind says what the last component is.
func (w *walker) toParent() (kind lastKind, name string, slash bool, err error) {
	if err = w.begin(); err != nil {
		return
	}
	kind, name, slash, err = w.walkParent()
	if err != nil || kind != lastNormal {
		return
	}
	if err = w.checkSearch(); err != nil {
		return
	}
	if len(name) > NameMax {
		err = unix.ENAMETOOLONG
		return
	}
	err = w.pin()
	return
}

// mayCreate says whether the caller may make entries in dir, whose dirMu is held.
func mayCreate(c *auth.Credentials, dir Directory) error {
	if dir.Base().dead.Load() {
		return unix.ENOENT
	}
	return CheckPermission(c, dir, MayWrite|MayExec)
}

// mayDelete says whether the caller may remove the entry victim of dir.
func mayDelete(c *auth.Credentials, dir Directory, victim *Dentry) error {
	if err := CheckPermission(c, dir, MayWrite|MayExec); err != nil {
		return err
	}
	mode, dirUID, _ := dir.Owner()
	if mode&unix.S_ISVTX == 0 {
		return nil
	}
	_, uid, gid := victim.inode.Owner()
	if c.FSUID == uid || c.FSUID == dirUID || capable(c, unix.CAP_FOWNER, uid, gid) {
		return nil
	}
	return unix.EPERM
}

// newOwner is the owner and mode of what ctx makes in dir; typ is its S_IFMT type.
func newOwner(ctx context.Context, dir Inode, typ, mode uint32) NewOwner {
	c := ctx.Credentials()
	o := NewOwner{Mode: mode & 0o7777, UID: c.FSUID, GID: c.FSGID}
	if typ != unix.S_IFLNK {
		o.Mode &^= ctx.Umask()
	}
	dirMode, _, dirGID := dir.Owner()
	if dirMode&unix.S_ISGID != 0 {
		o.GID = dirGID
		if typ == unix.S_IFDIR {
			o.Mode |= unix.S_ISGID
		} else if o.Mode&(unix.S_ISGID|unix.S_IXGRP) == unix.S_ISGID|unix.S_IXGRP &&
			!c.InGroup(dirGID) && !c.HasCapability(unix.CAP_FSETID) {
			o.Mode &^= unix.S_ISGID
		}
	}
	return o
}

// instantiate caches the inode that was just made as child name of parent, whose dirMu is
// held, and returns its dentry with a reference.
func (w *walker) instantiate(parent *Dentry, dir Directory, name string, inode Inode) *Dentry {
	d := newDentry(&w.v.cache, parent, strings.Clone(name), inode)
	if dir.Caching() != CacheNone {
		if old := parent.kids.insert(d.Name(), d); old != nil {
			old.forget(w.ctx)
		}
	}
	return d
}

// nameFreed updates the cache after d lost its name in parent, whose dirMu is held.
func (w *walker) nameFreed(parent *Dentry, dir Directory, d *Dentry) {
	name := d.Name()
	if !d.has(dentryHashed) {
		return
	}
	if dir.Caching() == CacheAll {
		neg := newDentry(&w.v.cache, parent, name, nil)
		parent.kids.insert(name, neg)
		neg.DecRef(w.ctx)
		return
	}
	parent.kids.remove(name, d)
}

// maker carries out the making of one kind of object.
type maker struct {
	typ    uint32
	mode   uint32
	rdev   uint64
	target string // of a symlink
}

func (m *maker) make(ctx context.Context, dir Directory, name string) (Inode, error) {
	o := newOwner(ctx, dir, m.typ, m.mode)
	switch m.typ {
	case unix.S_IFDIR:
		return dir.Mkdir(ctx, name, o)
	case unix.S_IFLNK:
		o.Mode = 0o777
		return dir.Symlink(ctx, name, m.target, o)
	case unix.S_IFREG:
		return dir.Create(ctx, name, o)
	}
	o.Mode |= m.typ
	return dir.Mknod(ctx, name, o, m.rdev)
}

// makeAt makes an object that must not exist. It returns its place, with references.
func (v *VFS) makeAt(ctx context.Context, op *PathOp, m maker) (Path, error) {
	w := v.newWalker(ctx, op)
	for {
		p, err := w.makeOnce(&m)
		w.release()
		if err != errRetry {
			return p, err
		}
		w.pinAll = true
	}
}

func (w *walker) makeOnce(m *maker) (Path, error) {
	kind, name, slash, err := w.toParent()
	if err != nil {
		return Path{}, err
	}
	if kind != lastNormal {
		return Path{}, unix.EEXIST
	}
	parent := w.cur.Dentry
	dir := parent.inode.(Directory)
	b := dir.Base()
	b.dirMu.Lock()
	d, err := w.lookupToMake(dir, name)
	if err == nil {
		b.dirMu.Unlock()
		d.DecRef(w.ctx)
		return Path{}, unix.EEXIST
	}
	if err == unix.ENOENT {
		err = nil
		if slash && m.typ != unix.S_IFDIR {
			err = unix.ENOENT
		}
	}
	if err == nil {
		err = w.cur.Mount.getWrite()
	}
	if err != nil {
		b.dirMu.Unlock()
		return Path{}, err
	}
	d, err = w.makeLocked(parent, dir, name, m)
	b.dirMu.Unlock()
	w.cur.Mount.putWrite()
	if err != nil {
		return Path{}, err
	}
	notifyCreate(parent, d)
	w.cur.Mount.IncRef()
	return Path{w.cur.Mount, d}, nil
}

// makeLocked makes name in the directory, whose dirMu is held.
func (w *walker) makeLocked(parent *Dentry, dir Directory, name string, m *maker) (*Dentry, error) {
	if err := mayCreate(w.creds, dir); err != nil {
		return nil, err
	}
	sb := w.cur.Mount.sb
	sb.beginChange()
	inode, err := m.make(w.ctx, dir, name)
	sb.endChange()
	if err != nil {
		return nil, err
	}
	return w.instantiate(parent, dir, name, inode), nil
}

// MkdirAt is mkdirat(2).
func (v *VFS) MkdirAt(ctx context.Context, op *PathOp, mode uint32) error {
	return v.makeOnly(ctx, op, maker{typ: unix.S_IFDIR, mode: mode & 0o1777})
}

func (v *VFS) makeOnly(ctx context.Context, op *PathOp, m maker) error {
	p, err := v.makeAt(ctx, op, m)
	if err == nil {
		p.DecRef(ctx)
	}
	return err
}

// MknodAt is mknodat(2); mode holds type and permissions.
func (v *VFS) MknodAt(ctx context.Context, op *PathOp, mode uint32, rdev uint64) error {
	p, err := v.MakeNodeAt(ctx, op, mode, rdev)
	if err == nil {
		p.DecRef(ctx)
	}
	return err
}

// MakeNodeAt is MknodAt for bind(2) of a unix socket: it returns the place, with
// references, so that the endpoint can be put there (InodeBase.SwapSpecial).
func (v *VFS) MakeNodeAt(ctx context.Context, op *PathOp, mode uint32, rdev uint64) (Path, error) {
	m := maker{typ: mode & unix.S_IFMT, mode: mode & 0o7777, rdev: rdev}
	switch m.typ {
	case 0:
		m.typ = unix.S_IFREG
	case unix.S_IFREG, unix.S_IFIFO, unix.S_IFSOCK:
	case unix.S_IFCHR, unix.S_IFBLK:
		// A whiteout, 0/0, is harmless.
		if !(m.typ == unix.S_IFCHR && rdev == 0) && !ctx.Credentials().HasCapability(unix.CAP_MKNOD) {
			return Path{}, unix.EPERM
		}
	case unix.S_IFDIR:
		return Path{}, unix.EPERM
	default:
		return Path{}, unix.EINVAL
	}
	return v.makeAt(ctx, op, m)
}

// SymlinkAt is symlinkat(2).
func (v *VFS) SymlinkAt(ctx context.Context, op *PathOp, target string) error {
	if target == "" {
		return unix.ENOENT
	}
	return v.makeOnly(ctx, op, maker{typ: unix.S_IFLNK, target: target})
}

// LinkAt is linkat(2): target is what exists, op the new name.
func (v *VFS) LinkAt(ctx context.Context, target, op *PathOp) error {
	p, err := v.resolve(ctx, target)
	if err != nil {
		return err
	}
	defer p.DecRef(ctx)
	if target.Pathname == "" && !ctx.Credentials().HasCapability(unix.CAP_DAC_READ_SEARCH) {
		return unix.ENOENT
	}
	w := v.newWalker(ctx, op)
	for {
		err := w.linkOnce(p)
		w.release()
		if err != errRetry {
			return err
		}
		w.pinAll = true
	}
}

func (w *walker) linkOnce(target Path) error {
	kind, name, slash, err := w.toParent()
	if err != nil {
		return err
	}
	if kind != lastNormal {
		return unix.EEXIST
	}
	parent := w.cur.Dentry
	dir := parent.inode.(Directory)
	mode, _, _ := target.Inode().Owner()
	lookup := w.lookupToMake
	if w.cur.Mount != target.Mount || mode&unix.S_IFMT == unix.S_IFDIR || target.Dentry.has(dentryNoLink) {
		lookup = w.lookupLocked // EEXIST comes before their errors
	}
	b := dir.Base()
	b.dirMu.Lock()
	d, err := lookup(dir, name)
	if err == nil {
		b.dirMu.Unlock()
		d.DecRef(w.ctx)
		return unix.EEXIST
	}
	switch {
	case err != unix.ENOENT || slash:
	case w.cur.Mount.getWrite() != nil:
		err = unix.EROFS
	default:
		switch err = mayCreate(w.creds, dir); {
		case w.cur.Mount != target.Mount:
			err = unix.EXDEV
		case err != nil:
		case mode&unix.S_IFMT == unix.S_IFDIR:
			err = unix.EPERM
		case target.Dentry.has(dentryNoLink):
			err = unix.ENOENT
		default:
			sb := w.cur.Mount.sb
			sb.beginChange()
			err = dir.Link(w.ctx, name, target.Inode())
			sb.endChange()
		}
		w.cur.Mount.putWrite()
	}
	if err == nil {
		target.Inode().Base().IncRef()
		d = w.instantiate(parent, dir, name, target.Inode())
	}
	b.dirMu.Unlock()
	if err != nil {
		return err
	}
	notifyInode(target.Inode(), unix.IN_ATTRIB)
	notifyCreate(parent, d)
	d.DecRef(w.ctx)
	return nil
}

// UnlinkAt is unlink(2).
func (v *VFS) UnlinkAt(ctx context.Context, op *PathOp) error { return v.removeAt(ctx, op, false) }

// RmdirAt is rmdir(2).
func (v *VFS) RmdirAt(ctx context.Context, op *PathOp) error { return v.removeAt(ctx, op, true) }

func (v *VFS) removeAt(ctx context.Context, op *PathOp, rmdir bool) error {
	w := v.newWalker(ctx, op)
	for {
		err := w.removeOnce(rmdir)
		w.release()
		if err != errRetry {
			return err
		}
		w.pinAll = true
	}
}

func (w *walker) removeOnce(rmdir bool) error {
	kind, name, slash, err := w.toParent()
	if err != nil {
		return err
	}
	if kind != lastNormal {
		switch {
		case !rmdir:
			return unix.EISDIR
		case kind == lastDot:
			return unix.EINVAL
		case kind == lastDotDot:
			return unix.ENOTEMPTY
		}
		return unix.EBUSY
	}
	parent := w.cur.Dentry
	dir := parent.inode.(Directory)
	b := dir.Base()
	b.dirMu.Lock()
	d, err := w.lookupLocked(dir, name)
	if err != nil {
		b.dirMu.Unlock()
		return err
	}
	if slash && !rmdir {
		if err = unix.ENOTDIR; d.kids != nil {
			err = unix.EISDIR
		}
	} else if err = w.cur.Mount.getWrite(); err == nil {
		err = w.removeLocked(parent, dir, name, d, rmdir)
		w.cur.Mount.putWrite()
	}
	b.dirMu.Unlock()
	if err == nil {
		mask := uint32(unix.IN_DELETE)
		if rmdir {
			mask |= unix.IN_ISDIR
			d.evictBelow(w.ctx) // names that it did not have
		} else {
			notifyInode(d.inode, unix.IN_ATTRIB)
		}
		notifyName(parent, mask, 0, name)
	}
	d.DecRef(w.ctx)
	return err
}

func (w *walker) removeLocked(parent *Dentry, dir Directory, name string, d *Dentry, rmdir bool) error {
	if err := mayDelete(w.creds, dir, d); err != nil {
		return err
	}
	switch {
	case rmdir && d.kids == nil:
		return unix.ENOTDIR
	case !rmdir && d.kids != nil:
		return unix.EISDIR
	case d.mounts.Load() != nil || d == w.op.Root.Dentry && rmdir:
		return unix.EBUSY
	}
	sb := w.cur.Mount.sb
	sb.beginChange()
	defer sb.endChange()
	if rmdir {
		b := d.inode.Base()
		b.dirMu.Lock()
		defer b.dirMu.Unlock()
		if err := dir.Rmdir(w.ctx, name, d.inode); err != nil {
			return err
		}
		b.dead.Store(true)
	} else if err := dir.Unlink(w.ctx, name, d.inode); err != nil {
		return err
	}
	d.flags.Or(dentryDeleted)
	w.nameFreed(parent, dir, d)
	return nil
}

// lockTwo locks the directories of a rename, an ancestor first, and returns how to unlock
// them. One of them may be the other. d1 and d2 are in filesystem sb; moves between
// directories exclude each other there.
func lockTwo(sb *superblock, d1, d2 *Dentry) (unlock func()) {
	b1, b2 := d1.inode.Base(), d2.inode.Base()
	if b1 == b2 {
		b1.dirMu.Lock()
		return b1.dirMu.Unlock
	}
	sb.renameMu.Lock()
	if d2.isAncestorOf(d1) || !d1.isAncestorOf(d2) && uintptr(unsafe.Pointer(b2)) < uintptr(unsafe.Pointer(b1)) {
		b1, b2 = b2, b1
	}
	b1.dirMu.Lock()
	b2.dirMu.Lock()
	return func() {
		b2.dirMu.Unlock()
		b1.dirMu.Unlock()
		sb.renameMu.Unlock()
	}
}

// isAncestorOf says whether e is below d, or is d.
func (d *Dentry) isAncestorOf(e *Dentry) bool {
	for ; e != nil; e = e.Parent() {
		if e == d {
			return true
		}
	}
	return false
}
