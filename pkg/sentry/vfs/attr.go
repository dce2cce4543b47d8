package vfs

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
)

// LookupAt walks to op's place and returns it with references.
func (v *VFS) LookupAt(ctx context.Context, op *PathOp) (Path, error) { return v.resolve(ctx, op) }

// StatAt is stat(2), lstat(2) with NoFollow.
func (v *VFS) StatAt(ctx context.Context, op *PathOp) (Attr, error) {
	p, err := v.resolve(ctx, op)
	if err != nil {
		return Attr{}, err
	}
	a, err := statInode(ctx, p.Inode())
	p.DecRef(ctx)
	return a, err
}

// Stat returns the attributes of the object at p.
func (p Path) Stat(ctx context.Context) (Attr, error) { return statInode(ctx, p.Inode()) }

func statInode(ctx context.Context, i Inode) (Attr, error) {
	a, err := i.Stat(ctx)
	if err == nil && a.Dev == 0 {
		a.Dev = i.FS().Dev()
	}
	return a, err
}

// ReadlinkAt is readlinkat(2). EINVAL: not a symlink (ENOENT for an empty pathname).
func (v *VFS) ReadlinkAt(ctx context.Context, op *PathOp) (string, error) {
	o := *op
	o.NoFollow, o.EmptyPath = true, true
	p, err := v.resolve(ctx, &o)
	if err != nil {
		return "", err
	}
	defer p.DecRef(ctx)
	s, ok := p.Inode().(Symlink)
	if !ok {
		if op.Pathname == "" {
			return "", unix.ENOENT
		}
		return "", unix.EINVAL
	}
	touchAtime(ctx, p.Mount, s)
	return s.Readlink(ctx)
}

// AccessAt is faccessat2(2): mask is of R_OK, W_OK, X_OK. Without effective, the real ids
// count.
func (v *VFS) AccessAt(ctx context.Context, op *PathOp, mask uint32, effective bool) error {
	c := ctx.Credentials()
	if !effective && (c.RealUID != c.FSUID || c.RealGID != c.FSGID || c.Effective != c.Permitted || c.RealUID != auth.RootUID && c.Effective != 0) {
		c = c.Clone()
		c.FSUID, c.FSGID = c.RealUID, c.RealGID
		if c.SecureBits&secbitNoSetuidFixup == 0 {
			if c.UserNS.UID(c.RealUID) != 0 {
				c.Effective = 0
			} else {
				c.Effective = c.Permitted
			}
		}
	}
	w := v.newWalker(ctx, op)
	w.creds = c
	var p Path
	for {
		var err error
		if p, err = w.walkAll(); err == nil {
			break
		} else if err != errRetry {
			return err
		}
		w.pinAll = true
	}
	defer p.DecRef(ctx)
	i := p.Inode()
	mode, _, _ := i.Owner()
	typ := mode & unix.S_IFMT
	if mask&MayExec != 0 && typ == unix.S_IFREG && p.Mount.Flags()&unix.MS_NOEXEC != 0 {
		return unix.EACCES
	}
	if err := CheckPermission(c, i, mask); err != nil {
		return err
	}
	if mask&MayWrite != 0 && p.Mount.ReadOnly() && (typ == unix.S_IFREG || typ == unix.S_IFDIR || typ == unix.S_IFLNK) {
		return unix.EROFS
	}
	return nil
}

// secbitNoSetuidFixup is SECBIT_NO_SETUID_FIXUP.
const secbitNoSetuidFixup = 1 << 2

// change carries out a on the object at p, with the mount's consent, and tells watchers.
func (p Path) change(ctx context.Context, a SetAttr) error {
	if err := p.Mount.getWrite(); err != nil {
		return err
	}
	defer p.Mount.putWrite()
	err := p.Inode().SetAttr(ctx, a)
	if err == nil {
		notifyPath(p.Dentry, unix.IN_ATTRIB)
	}
	return err
}

// Chmod is chmod(2) of the object at p.
func (p Path) Chmod(ctx context.Context, mode uint32) error {
	if p.Mount.ReadOnly() {
		return unix.EROFS
	}
	c, i := ctx.Credentials(), p.Inode()
	old, uid, gid := i.Owner()
	if old&unix.S_IFMT == unix.S_IFLNK {
		return unix.EOPNOTSUPP
	}
	if !ownerOrCapable(c, i) {
		return unix.EPERM
	}
	mode &= 0o7777
	if !c.InGroup(gid) && !capable(c, unix.CAP_FSETID, uid, gid) {
		mode &^= unix.S_ISGID
	}
	i.Base().PrivilegesChanged()
	return p.change(ctx, SetAttr{Mask: SetMode, Mode: mode})
}

// Chown is chown(2) of the object at p; an id of auth.NoID stays.
func (p Path) Chown(ctx context.Context, uid auth.KUID, gid auth.KGID) error {
	if p.Mount.ReadOnly() {
		return unix.EROFS
	}
	c, i := ctx.Credentials(), p.Inode()
	mode, oldUID, oldGID := i.Owner()
	var a SetAttr
	can := capable(c, unix.CAP_CHOWN, oldUID, oldGID)
	if uint32(uid) != auth.NoID {
		if !can && (c.FSUID != oldUID || uid != oldUID) {
			return unix.EPERM
		}
		a.Mask |= SetUID
		a.UID = uid
	}
	if uint32(gid) != auth.NoID {
		if !can && (c.FSUID != oldUID || gid != oldGID && !c.InGroup(gid)) {
			return unix.EPERM
		}
		a.Mask |= SetGID
		a.GID = gid
	}
	if mode&unix.S_IFMT != unix.S_IFDIR {
		if kill := killedBits(mode); kill != 0 {
			a.Mask |= SetMode
			a.Mode = mode & 0o7777 &^ kill
		}
		i.Base().PrivilegesChanged()
		if a.Mask != 0 {
			dropCapabilities(ctx, i)
		}
	}
	if a.Mask == 0 {
		a.Mask = SetCtime
	}
	return p.change(ctx, a)
}

// TimeSpec is one of utimensat(2)'s times.
type TimeSpec struct {
	Nanos     int64 // since the epoch
	Now, Omit bool
}

// SetTimes is utimensat(2) of the object at p. Both nil pointers of the system call are
// Now in both, with the weaker permission of utime(2)'s NULL.
func (p Path) SetTimes(ctx context.Context, atime, mtime TimeSpec) error {
	if atime.Omit && mtime.Omit {
		return nil
	}
	if p.Mount.ReadOnly() {
		return unix.EROFS
	}
	i := p.Inode()
	if !ownerOrCapable(ctx.Credentials(), i) {
		if !atime.Now || !mtime.Now {
			return unix.EPERM
		}
		if err := CheckPermission(ctx.Credentials(), i, MayWrite); err != nil {
			return err
		}
	}
	var a SetAttr
	if !atime.Omit {
		a.Mask |= SetAtime
		a.Atime = atime.Nanos
		if atime.Now {
			a.Mask |= SetAtimeNow
			a.Atime = ctx.RealTime()
		}
	}
	if !mtime.Omit {
		a.Mask |= SetMtime
		a.Mtime = mtime.Nanos
		if mtime.Now {
			a.Mask |= SetMtimeNow
			a.Mtime = ctx.RealTime()
		}
	}
	return p.change(ctx, a)
}

// truncate sets the size of a regular file, whose write access the caller holds.
func truncate(ctx context.Context, i Inode, size int64) error {
	if err := dropPrivileges(ctx, i); err != nil {
		return err
	}
	return i.SetAttr(ctx, SetAttr{Mask: SetSize | SetMtime | SetMtimeNow, Size: uint64(size), Mtime: ctx.RealTime()})
}

// checkSize enforces RLIMIT_FSIZE on a new size.
func checkSize(ctx context.Context, size int64) error {
	if size < 0 {
		return unix.EINVAL
	}
	if uint64(size) > ctx.FileSizeLimit() {
		ctx.FileSizeExceeded()
		return unix.EFBIG
	}
	return nil
}

// Truncate is truncate(2) of the file at p.
func (p Path) Truncate(ctx context.Context, size int64) error {
	if size < 0 {
		return unix.EINVAL
	}
	i := p.Inode()
	switch mode, _, _ := i.Owner(); mode & unix.S_IFMT {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return unix.EISDIR
	default:
		return unix.EINVAL
	}
	if err := p.Mount.getWrite(); err != nil {
		return err
	}
	defer p.Mount.putWrite()
	if err := CheckPermission(ctx.Credentials(), i, MayWrite); err != nil {
		return err
	}
	if err := i.Base().GetWriteAccess(); err != nil {
		return err
	}
	defer i.Base().PutWriteAccess()
	if err := checkSize(ctx, size); err != nil {
		return err
	}
	if err := truncate(ctx, i, size); err != nil {
		return err
	}
	notifyPath(p.Dentry, unix.IN_MODIFY)
	return nil
}

// Truncate is ftruncate(2).
func (fd *FileDescription) Truncate(ctx context.Context, size int64) error {
	switch {
	case fd.pathOnly:
		return unix.EBADF
	case size < 0 || fd.typ != unix.S_IFREG || !fd.writable:
		return unix.EINVAL
	}
	if err := checkSize(ctx, size); err != nil {
		return err
	}
	if err := truncate(ctx, fd.inode, size); err != nil {
		return err
	}
	fd.notify(unix.IN_MODIFY)
	return nil
}

// The modes of fallocate(2) that are known.
const fallocModes = unix.FALLOC_FL_KEEP_SIZE | unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_COLLAPSE_RANGE |
	unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_INSERT_RANGE | unix.FALLOC_FL_UNSHARE_RANGE

// Allocate is fallocate(2).
func (fd *FileDescription) Allocate(ctx context.Context, mode uint32, offset, length int64) error {
	switch {
	case fd.pathOnly:
		return unix.EBADF
	case offset < 0 || length <= 0:
		return unix.EINVAL
	case mode&^fallocModes != 0,
		mode&unix.FALLOC_FL_PUNCH_HOLE != 0 && mode != unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE:
		return unix.EOPNOTSUPP
	case mode&unix.FALLOC_FL_COLLAPSE_RANGE != 0 && mode != unix.FALLOC_FL_COLLAPSE_RANGE,
		mode&unix.FALLOC_FL_INSERT_RANGE != 0 && mode != unix.FALLOC_FL_INSERT_RANGE:
		return unix.EINVAL
	case !fd.writable:
		return unix.EBADF
	}
	switch fd.typ {
	case unix.S_IFREG:
	case unix.S_IFIFO:
		return unix.ESPIPE
	case unix.S_IFDIR:
		return unix.EISDIR
	default:
		return unix.ENODEV
	}
	if offset+length < 0 {
		return unix.EFBIG
	}
	if mode&(unix.FALLOC_FL_KEEP_SIZE|unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_COLLAPSE_RANGE) == 0 {
		if err := checkSize(ctx, offset+length); err != nil {
			return err
		}
	}
	if err := dropPrivileges(ctx, fd.inode); err != nil {
		return err
	}
	if err := fd.file.Allocate(ctx, mode, offset, length); err != nil {
		return err
	}
	fd.notify(unix.IN_MODIFY)
	return nil
}

// StatFSAt is statfs(2).
func (v *VFS) StatFSAt(ctx context.Context, op *PathOp) (StatFS, uint64, error) {
	p, err := v.resolve(ctx, op)
	if err != nil {
		return StatFS{}, 0, err
	}
	defer p.DecRef(ctx)
	return p.StatFS(ctx)
}

// StatFS is statfs(2) of the object at p; it returns the mount's flags too, as ST_*.
func (p Path) StatFS(ctx context.Context) (StatFS, uint64, error) {
	s, err := p.Inode().FS().StatFS(ctx)
	f := p.Mount.Flags()
	const same = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	st := f&same | 0x20 // ST_VALID
	if f&unix.MS_NOATIME != 0 {
		st |= 0x400
	}
	if f&unix.MS_NODIRATIME != 0 {
		st |= 0x800
	}
	if f&unix.MS_RELATIME != 0 {
		st |= 0x1000
	}
	if p.Mount.sb.readOnly.Load() {
		st |= unix.MS_RDONLY
	}
	return s, st, err
}

// AtimeToucher is implemented by inodes that keep their own access time in memory.
type AtimeToucher interface {
	// TouchAtime sets atime to now; with relatime only if it is not newer than mtime
	// or ctime, or a day old.
	TouchAtime(now int64, relatime bool)
}

// touchAtime notes an access through mount m.
func touchAtime(ctx context.Context, m *Mount, i Inode) {
	t, ok := i.(AtimeToucher)
	if !ok {
		return
	}
	f := m.flags.Load()
	if f&(unix.MS_NOATIME|unix.MS_RDONLY) != 0 || m.vfs == nil {
		return
	}
	if f&unix.MS_NODIRATIME != 0 {
		if _, dir := i.(Directory); dir {
			return
		}
	}
	t.TouchAtime(ctx.RealTime(), f&unix.MS_STRICTATIME == 0)
}

// accessed notes that n bytes were read.
func (fd *FileDescription) accessed(ctx context.Context, n int) {
	if n <= 0 {
		return
	}
	if fd.status.Load()&unix.O_NOATIME == 0 {
		touchAtime(ctx, fd.path.Mount, fd.inode)
	}
	fd.notify(unix.IN_ACCESS)
}
