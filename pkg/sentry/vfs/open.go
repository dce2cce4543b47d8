package vfs

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/waiter"
)

// OpenOpts are open(2)'s flags and mode, and what a program execution asks.
type OpenOpts struct {
	Flags uint32
	Mode  uint32
	// Exec: the file is about to be executed: it must be a regular file with execute
	// permission on a mount without MS_NOEXEC (EACCES).
	Exec bool
}

// tmpfileFlag is O_TMPFILE without O_DIRECTORY.
const tmpfileFlag = unix.O_TMPFILE &^ unix.O_DIRECTORY

// normalizeOpenFlags drops and adds flags as open(2) does, and refuses senseless ones.
func normalizeOpenFlags(f uint32) (uint32, error) {
	if f&unix.O_PATH != 0 {
		return f & (unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC), nil
	}
	if f&tmpfileFlag != 0 {
		if f&unix.O_TMPFILE != unix.O_TMPFILE || f&unix.O_CREAT != 0 || f&unix.O_ACCMODE == unix.O_RDONLY {
			return 0, unix.EINVAL
		}
	} else if f&(unix.O_CREAT|unix.O_DIRECTORY) == unix.O_CREAT|unix.O_DIRECTORY {
		return 0, unix.EINVAL
	}
	if f&unix.O_SYNC&^unix.O_DSYNC != 0 {
		f |= unix.O_DSYNC
	}
	return f, nil
}

// OpenAt is openat(2). The description has one reference, the caller's.
func (v *VFS) OpenAt(ctx context.Context, op *PathOp, opts OpenOpts) (*FileDescription, error) {
	flags, err := normalizeOpenFlags(opts.Flags)
	if err != nil {
		return nil, err
	}
	o := *op
	if flags&unix.O_NOFOLLOW != 0 || flags&(unix.O_CREAT|unix.O_EXCL) == unix.O_CREAT|unix.O_EXCL {
		o.NoFollow = true
	}
	if flags&unix.O_CREAT != 0 {
		return v.openCreate(ctx, &o, flags, opts.Mode)
	}
	p, err := v.resolve(ctx, &o)
	if err != nil {
		return nil, err
	}
	if flags&tmpfileFlag != 0 {
		fd, err := v.openTmpfile(ctx, p, flags, opts.Mode)
		p.DecRef(ctx)
		return fd, err
	}
	fd, err := v.openPath(ctx, p, flags, opts.Exec, false)
	if err != nil {
		p.DecRef(ctx)
	}
	return fd, err
}

// OpenPath opens the object at p, whose references stay the caller's.
func (v *VFS) OpenPath(ctx context.Context, p Path, opts OpenOpts) (*FileDescription, error) {
	flags, err := normalizeOpenFlags(opts.Flags)
	if err != nil {
		return nil, err
	}
	p.IncRef()
	fd, err := v.openPath(ctx, p, flags&^(unix.O_CREAT|unix.O_EXCL), opts.Exec, false)
	if err != nil {
		p.DecRef(ctx)
	}
	return fd, err
}

// OpenExecutable opens a program, or its interpreter, for execve(2).
func (v *VFS) OpenExecutable(ctx context.Context, op PathOp) (*FileDescription, error) {
	return v.OpenAt(ctx, &op, OpenOpts{Flags: unix.O_RDONLY, Exec: true})
}

func (v *VFS) openCreate(ctx context.Context, op *PathOp, flags, mode uint32) (*FileDescription, error) {
	w := v.newWalker(ctx, op)
	for {
		p, created, err := w.openOrMake(flags, mode)
		w.release()
		if err == errRetry {
			w.pinAll = true
			continue
		}
		if err != nil {
			return nil, err
		}
		fd, err := v.openPath(ctx, p, flags, false, created)
		if err != nil {
			p.DecRef(ctx)
		}
		return fd, err
	}
}

// openOrMake walks to the file of open(O_CREAT) and makes it if it is missing. The place
// comes with references.
func (w *walker) openOrMake(flags, mode uint32) (p Path, created bool, err error) {
	if err := w.begin(); err != nil {
		return Path{}, false, err
	}
	for {
		kind, name, slash, err := w.walkParent()
		if err != nil {
			return Path{}, false, err
		}
		if kind != lastNormal || slash {
			if kind == lastRoot && w.cur.Dentry.kids == nil {
				break // a magic link led to a file
			}
			return Path{}, false, unix.EISDIR
		}
		var link bool
		unasked := flags&unix.O_EXCL != 0 && w.mayBeFree(w.cur.Dentry.inode.(Directory), name)
		if !unasked {
			link, err = w.child(name, !w.op.NoFollow)
		}
		if unasked || err == unix.ENOENT && w.missing {
			d, made, err := w.makeForOpen(name, flags, mode)
			if err != nil {
				return Path{}, false, err
			}
			if made {
				return Path{w.cur.Mount, d}, true, nil
			}
			d.DecRef(w.ctx)
			continue // somebody else made it: look again
		}
		if err != nil {
			return Path{}, false, err
		}
		if !link {
			break
		}
	}
	if flags&unix.O_EXCL != 0 {
		return Path{}, false, unix.EEXIST
	}
	p, err = w.take()
	return p, false, err
}

// makeForOpen makes name in the current directory. If it made it, the references of dentry
// and mount are the caller's; if it exists by now, the dentry's, and the walker is put back
// before it.
func (w *walker) makeForOpen(name string, flags, mode uint32) (d *Dentry, made bool, err error) {
	if err := w.pin(); err != nil {
		return nil, false, err
	}
	parent := w.cur.Dentry
	dir := parent.inode.(Directory)
	b := dir.Base()
	b.dirMu.Lock()
	if d, err = w.lookupToMake(dir, name); err == nil {
		b.dirMu.Unlock()
		w.rest = name
		return d, false, nil
	}
	if err == unix.ENOENT {
		err = w.cur.Mount.getWrite()
	}
	if err == nil {
		m := maker{typ: unix.S_IFREG, mode: mode & 0o7777}
		d, err = w.makeLocked(parent, dir, name, &m)
		w.cur.Mount.putWrite()
		if err == unix.EEXIST && flags&unix.O_EXCL == 0 {
			// Behind the sentry's back. What the cache says is wrong.
			if n := parent.kids.find(name); n != nil && n.inode == nil {
				parent.kids.remove(name, n)
				n.forget(w.ctx)
			}
			err = errRetry
		}
	}
	b.dirMu.Unlock()
	if err != nil {
		return nil, false, err
	}
	w.cur.Mount.IncRef()
	notifyCreate(parent, d)
	return d, true, nil
}

// openTmpfile makes a file without a name in the directory p.
func (v *VFS) openTmpfile(ctx context.Context, p Path, flags, mode uint32) (*FileDescription, error) {
	dir := p.Inode()
	t, ok := dir.(TmpfileDirectory)
	if p.Dentry.kids == nil {
		return nil, unix.ENOTDIR
	}
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	if err := p.Mount.getWrite(); err != nil {
		return nil, err
	}
	defer p.Mount.putWrite()
	if err := CheckPermission(ctx.Credentials(), dir, MayWrite|MayExec); err != nil {
		return nil, err
	}
	inode, err := t.Tmpfile(ctx, newOwner(ctx, dir, unix.S_IFREG, mode))
	if err != nil {
		return nil, err
	}
	name := "#0"
	if n, ok := inode.(InodeNumberer); ok {
		name = "#" + utoa(n.InodeNumber())
	}
	d := newDentry(&v.cache, p.Dentry, name, inode)
	d.flags.Or(dentryDeleted)
	if flags&unix.O_EXCL != 0 {
		d.flags.Or(dentryNoLink)
	}
	p.Mount.IncRef()
	q := Path{p.Mount, d}
	fd, err := v.openPath(ctx, q, flags&^unix.O_TMPFILE, false, true)
	if err != nil {
		q.DecRef(ctx)
		return nil, err
	}
	fd.status.Or(flags & unix.O_TMPFILE)
	return fd, nil
}

// openPath opens the object at p, whose references pass to the description unless there is
// an error. A file that was just created needs no permission.
func (v *VFS) openPath(ctx context.Context, p Path, flags uint32, exec, created bool) (*FileDescription, error) {
	inode := p.Inode()
	mode, _, _ := inode.Owner()
	typ := mode & unix.S_IFMT
	if flags&unix.O_DIRECTORY != 0 && typ != unix.S_IFDIR {
		return nil, unix.ENOTDIR
	}
	if flags&unix.O_PATH != 0 {
		return NewFileDescription(p, pathFile{}, flags), nil
	}
	write := flags&unix.O_ACCMODE != unix.O_RDONLY || flags&unix.O_TRUNC != 0 && !created
	switch typ {
	case unix.S_IFLNK:
		return nil, unix.ELOOP
	case unix.S_IFDIR:
		if write || flags&unix.O_CREAT != 0 {
			return nil, unix.EISDIR
		}
	case unix.S_IFCHR, unix.S_IFBLK:
		if p.Mount.Flags()&unix.MS_NODEV != 0 {
			return nil, unix.EACCES
		}
	}
	if exec && (typ != unix.S_IFREG || p.Mount.Flags()&unix.MS_NOEXEC != 0) {
		return nil, unix.EACCES
	}
	if !created {
		if err := CheckPermission(ctx.Credentials(), inode, openMask(flags, exec)); err != nil {
			return nil, err
		}
	}
	if exec {
		// Whoever loads the program denies writing for longer.
		if err := inode.Base().DenyWriteAccess(); err != nil {
			return nil, err
		}
		inode.Base().AllowWriteAccess()
	}
	if flags&unix.O_NOATIME != 0 && !ownerOrCapable(ctx.Credentials(), inode) {
		return nil, unix.EPERM
	}
	counted := write && typ == unix.S_IFREG
	if counted {
		if err := p.Mount.getWrite(); err != nil {
			return nil, err
		}
		if err := inode.Base().GetWriteAccess(); err != nil {
			p.Mount.putWrite()
			return nil, err
		}
	}
	fd, err := v.openInode(ctx, p, typ, flags, created)
	if err != nil {
		if counted {
			inode.Base().PutWriteAccess()
			p.Mount.putWrite()
		}
		return nil, err
	}
	if counted && flags&unix.O_ACCMODE == unix.O_RDONLY { // O_TRUNC alone
		inode.Base().PutWriteAccess()
		p.Mount.putWrite()
	} else {
		fd.writeAccess = counted
	}
	fd.notify(unix.IN_OPEN)
	return fd, nil
}

func openMask(flags uint32, exec bool) uint32 {
	var mask uint32
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		mask = MayRead
	case unix.O_WRONLY:
		mask = MayWrite
	default:
		mask = MayRead | MayWrite
	}
	if exec {
		mask = MayExec
	}
	if flags&unix.O_TRUNC != 0 {
		mask |= MayWrite
	}
	return mask
}

func (v *VFS) openInode(ctx context.Context, p Path, typ, flags uint32, created bool) (*FileDescription, error) {
	inode := p.Inode()
	if flags&unix.O_TRUNC != 0 && typ == unix.S_IFREG && !created {
		if err := truncate(ctx, inode, 0); err != nil {
			return nil, err
		}
	}
	var f File
	var err error
	_, self := inode.(SpecialOpener)
	switch {
	case self || typ == unix.S_IFREG || typ == unix.S_IFDIR:
		f, err = inode.Open(ctx, flags)
	case typ == unix.S_IFIFO:
		v.mu.RLock()
		o := v.fifos
		v.mu.RUnlock()
		if o == nil {
			return nil, unix.ENXIO
		}
		f, err = o.OpenFIFO(ctx, inode, flags)
	case typ == unix.S_IFCHR || typ == unix.S_IFBLK:
		var a Attr
		if a, err = inode.Stat(ctx); err != nil {
			return nil, err
		}
		o := v.device(typ, a.Rdev)
		if o == nil {
			return nil, unix.ENXIO
		}
		f, err = o.OpenDevice(ctx, p, a.Rdev, flags)
	case typ == unix.S_IFSOCK:
		return nil, unix.ENXIO
	default:
		f, err = inode.Open(ctx, flags) // event files refuse with their own error
	}
	if err != nil {
		return nil, err
	}
	return NewFileDescription(p, f, flags), nil
}

// pathFile is the File of O_PATH descriptions; nothing reaches it.
type pathFile struct {
	FileDefaults
	waiter.AlwaysReady
}
