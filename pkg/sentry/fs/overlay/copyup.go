package overlay

import (
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

// copyUp makes sure that the node has an upper inode. empty: the content will be truncated
// anyway. EROFS: there is no upper filesystem.
func (n *node) copyUp(empty bool) error {
	if n.upper.Load() != nil {
		return nil
	}
	if n.fs.upper == nil {
		return unix.EROFS
	}
	for {
		p := n.loc.Load()
		if p != nil {
			if err := p.parent.copyUp(false); err != nil {
				return err
			}
		}
		n.copyMu.Lock()
		if n.upper.Load() != nil {
			n.copyMu.Unlock()
			return nil
		}
		if q := n.loc.Load(); q != nil && q.parent.upper.Load() == nil {
			n.copyMu.Unlock() // moved meanwhile
			continue
		}
		err := n.copyUpLocked(empty)
		n.copyMu.Unlock()
		return err
	}
}

// copyUpLocked does the copy. copyMu is held, and the parent has an upper directory.
func (n *node) copyUpLocked(empty bool) error {
	mode, uid, gid := n.Owner()
	owner := vfs.NewOwner{Mode: mode & 0o7777, UID: uid, GID: gid}
	p := n.loc.Load()
	var dir vfs.Directory
	if p != nil {
		dir = p.parent.upperDir()
	} else {
		dir = n.fs.root.upperDir() // of a file without a name; only a place to make it
	}
	lower := n.top()
	var made vfs.Inode
	var err error
	switch mode & unix.S_IFMT {
	case unix.S_IFREG:
		made, err = n.copyFile(dir, p, owner, lower, empty)
	default:
		if p == nil {
			return unix.ENOENT // a removed directory or node; nobody will see the change
		}
		p.parent.upMu.Lock()
		switch mode & unix.S_IFMT {
		case unix.S_IFDIR:
			made, err = dir.Mkdir(kernel, p.name, owner)
		case unix.S_IFLNK:
			var target string
			if target, err = lower.(vfs.Symlink).Readlink(kernel); err == nil {
				made, err = dir.Symlink(kernel, p.name, target, owner)
			}
		default:
			var a vfs.Attr
			if a, err = lower.Stat(kernel); err == nil {
				owner.Mode |= mode & unix.S_IFMT
				made, err = dir.Mknod(kernel, p.name, owner, a.Rdev)
			}
		}
		p.parent.upMu.Unlock()
		if err == nil {
			err = copyAttributes(kernel, lower, made)
		}
	}
	if err != nil {
		if made != nil {
			vfs.PutInode(kernel, made)
		}
		return err
	}
	if n.lower != nil {
		if a, err := n.lower.Stat(kernel); err == nil && a.Nlink > 1 {
			n.extraLinks.Store(int32(a.Nlink) - 1)
		}
	}
	if p != nil {
		n.fs.replace(n, made)
	}
	if r, ok := n.self.(*regular); ok {
		return r.switchOver(made)
	}
	n.setUpper(made)
	return nil
}

// copyFile copies a regular file's content, under no name until it is complete if the upper
// filesystem can do that.
func (n *node) copyFile(dir vfs.Directory, p *place, owner vfs.NewOwner, lower vfs.Inode, empty bool) (vfs.Inode, error) {
	t, ok := dir.(vfs.TmpfileDirectory)
	if !ok && p == nil {
		return nil, unix.EOPNOTSUPP
	}
	var made vfs.Inode
	var err error
	if ok {
		made, err = t.Tmpfile(kernel, owner)
	} else {
		p.parent.upMu.Lock()
		defer p.parent.upMu.Unlock()
		made, err = dir.Create(kernel, p.name, owner)
	}
	if err != nil {
		return nil, err
	}
	if !empty {
		err = copyContent(lower, made)
	}
	if err == nil {
		err = copyAttributes(kernel, lower, made)
	}
	if err == nil && ok && p != nil {
		p.parent.upMu.Lock()
		err = dir.Link(kernel, p.name, made)
		p.parent.upMu.Unlock()
	}
	if err != nil {
		if !ok {
			dir.Unlink(kernel, p.name, made)
		}
		vfs.PutInode(kernel, made)
		return nil, err
	}
	return made, nil
}

// copyBuffers holds buffers for content.
var copyBuffers = sync.Pool{New: func() any { return new([256 << 10]byte) }}

// copyContent copies the bytes of from to to, and leaves holes.
func copyContent(from, to vfs.Inode) error {
	src, err := from.Open(kernel, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer src.Release(kernel)
	dst, err := to.Open(kernel, unix.O_RDWR)
	if err != nil {
		return err
	}
	defer dst.Release(kernel)
	a, err := from.Stat(kernel)
	if err != nil {
		return err
	}
	size := int64(a.Size)
	buf := copyBuffers.Get().(*[256 << 10]byte)
	defer copyBuffers.Put(buf)
	for pos := int64(0); pos < size; {
		end := size
		if data, err := src.Seek(kernel, pos, unix.SEEK_DATA, pos); err == nil {
			pos = data
			if hole, err := src.Seek(kernel, pos, unix.SEEK_HOLE, pos); err == nil {
				end = hole
			}
		} else if err == unix.ENXIO {
			break // a hole to the end
		}
		for pos < end {
			b := buf[:min(end-pos, int64(len(buf)))]
			n, err := src.Read(kernel, usermem.BytesSequence(b), pos)
			if err != nil {
				return err
			}
			if n == 0 {
				return unix.EIO // shorter than it said
			}
			for b = b[:n]; len(b) > 0; {
				m, _, err := dst.Write(kernel, usermem.BytesSequence(b), pos, false)
				if err != nil {
					return err
				}
				b = b[m:]
				pos += int64(m)
			}
		}
	}
	return to.SetAttr(kernel, vfs.SetAttr{Mask: vfs.SetSize, Size: a.Size})
}

// copyAttributes copies owner, mode, extended attributes and times.
func copyAttributes(ctx context.Context, from, to vfs.Inode) error {
	if x, ok := from.(vfs.Xattrs); ok {
		if y, ok := to.(vfs.Xattrs); ok {
			names, _ := x.ListXattr(ctx) // refused: there are none to copy
			for _, name := range names {
				if strings.HasPrefix(name, privateXattr) {
					continue
				}
				v, err := x.GetXattr(ctx, name)
				if err != nil {
					continue
				}
				if err := y.SetXattr(ctx, name, v, 0); err != nil && err != unix.EOPNOTSUPP {
					return err
				}
			}
		}
	}
	a, err := from.Stat(ctx)
	if err != nil {
		return err
	}
	s := vfs.SetAttr{Mask: vfs.SetUID | vfs.SetGID | vfs.SetAtime | vfs.SetMtime, UID: a.UID, GID: a.GID, Atime: a.Atime, Mtime: a.Mtime}
	if a.Mode&unix.S_IFMT != unix.S_IFLNK {
		s.Mask |= vfs.SetMode
		s.Mode = a.Mode & 0o7777
	}
	return to.SetAttr(ctx, s)
}
