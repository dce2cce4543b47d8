package fsgofer

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/p9"
)

// stickyBits are the bits of a mode that creation or chown may drop.
const stickyBits = unix.S_ISUID | unix.S_ISGID | unix.S_ISVTX

// changeDir returns why names in the directory cannot be changed.
func (n *node) changeDir() error {
	if n.typ != unix.S_IFDIR {
		return unix.ENOTDIR
	}
	return n.s.writable()
}

// Create implements p9.Node.
func (n *node) Create(name string, flags, mode, uid, gid uint32) (p9.Node, p9.Handle, error) {
	if err := n.changeDir(); err != nil {
		return nil, nil, err
	}
	tmpfile := flags&unix.O_TMPFILE == unix.O_TMPFILE
	if tmpfile {
		if flags&unix.O_ACCMODE == unix.O_RDONLY {
			return nil, nil, unix.EINVAL
		}
		name = "."
	} else {
		flags |= unix.O_CREAT | unix.O_EXCL
	}
	flags |= unix.O_NOFOLLOW
	f, err := fd.OpenAt(n.fd.Num(), name, int(flags), mode)
	if err != nil {
		return nil, nil, err
	}
	h := &handle{s: n.s, fd: f}
	// The node is made from the descriptor, not from the name, which may mean another file
	// by now.
	path, err := n.s.reopen(f.Num(), unix.O_PATH)
	if err == nil {
		var made *node
		made, err = n.s.adopt(path, mode, uid, gid)
		if err == nil {
			return made, h, nil
		}
	}
	var id unix.Statx_t
	if !tmpfile && statx(f.Num(), "", &id) == nil {
		n.removeMade(name, &id)
	}
	f.Close()
	return nil, nil, err
}

// adopt makes a node of the inode just created behind the O_PATH descriptor f, which it takes
// over, and gives it its owner and the mode bits that creation or the change of the owner
// dropped.
func (s *server) adopt(f *fd.FD, mode, uid, gid uint32) (*node, error) {
	made, a, err := s.newNode(f)
	if err != nil {
		return nil, err
	}
	if (uid != p9.NoID && uid != a.UID) || (gid != p9.NoID && gid != a.GID) {
		if err := chown(f.Num(), uid, gid); err != nil {
			made.Close()
			return nil, err
		}
		if a.Mode&(unix.S_ISUID|unix.S_ISGID) != 0 {
			if a, err = made.GetAttr(); err != nil {
				made.Close()
				return nil, err
			}
		}
	}
	if want := mode & stickyBits; want&^a.Mode != 0 && made.typ != unix.S_IFLNK {
		if err := unix.Fchmodat(s.procFD, made.name, a.Mode&0o7777|want, 0); err != nil {
			made.Close()
			return nil, err
		}
	}
	return made, nil
}

// removeMade removes a name that was just made for the inode id, if it still means that. It takes
// no descriptor: often there was none to be had.
func (n *node) removeMade(name string, id *unix.Statx_t) {
	var have unix.Statx_t
	if statx(n.fd.Num(), name, &have) != nil || have.Ino != id.Ino ||
		have.Dev_major != id.Dev_major || have.Dev_minor != id.Dev_minor {
		return
	}
	flags := 0
	if have.Mode&unix.S_IFMT == unix.S_IFDIR {
		flags = unix.AT_REMOVEDIR
	}
	unix.Unlinkat(n.fd.Num(), name, flags)
}

// adoptName is adopt for what was made by name; on failure it is removed.
func (n *node) adoptName(name string, mode, uid, gid uint32) (p9.Node, error) {
	var id unix.Statx_t
	if err := statx(n.fd.Num(), name, &id); err != nil {
		return nil, err
	}
	f, err := fd.OpenAt(n.fd.Num(), name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err == nil {
		var made *node
		if made, err = n.s.adopt(f, mode, uid, gid); err == nil {
			return made, nil
		}
	}
	n.removeMade(name, &id)
	return nil, err
}

// Mkdir implements p9.Node.
func (n *node) Mkdir(name string, mode, uid, gid uint32) (p9.Node, error) {
	if err := n.changeDir(); err != nil {
		return nil, err
	}
	if err := unix.Mkdirat(n.fd.Num(), name, mode); err != nil {
		return nil, err
	}
	return n.adoptName(name, mode, uid, gid)
}

// Mknod implements p9.Node.
func (n *node) Mknod(name string, mode, major, minor, uid, gid uint32) (p9.Node, error) {
	if err := n.changeDir(); err != nil {
		return nil, err
	}
	typ := mode & unix.S_IFMT
	switch typ {
	case 0:
		typ = unix.S_IFREG
	case unix.S_IFDIR, unix.S_IFLNK:
		return nil, unix.EPERM
	}
	if err := n.s.mayExist(typ); err != nil {
		return nil, err
	}
	dev := 0
	if typ == unix.S_IFCHR || typ == unix.S_IFBLK {
		dev = int(p9.Makedev(major, minor))
	}
	if err := unix.Mknodat(n.fd.Num(), name, typ|mode&0o7777, dev); err != nil {
		return nil, err
	}
	return n.adoptName(name, mode, uid, gid)
}

// Symlink implements p9.Node.
func (n *node) Symlink(name, target string, uid, gid uint32) (p9.Node, error) {
	if err := n.changeDir(); err != nil {
		return nil, err
	}
	if err := unix.Symlinkat(target, n.fd.Num(), name); err != nil {
		return nil, err
	}
	return n.adoptName(name, 0, uid, gid)
}

// Link implements p9.Node. /proc/self/fd leads to the inode itself, a symlink's too.
func (n *node) Link(name string, target p9.Node) error {
	if err := n.changeDir(); err != nil {
		return err
	}
	from, ok := target.(*node)
	if !ok || from.s != n.s {
		return unix.EXDEV
	}
	if from.typ == unix.S_IFDIR {
		return unix.EPERM
	}
	return unix.Linkat(n.s.procFD, from.name, n.fd.Num(), name, unix.AT_SYMLINK_FOLLOW)
}

// Rename implements p9.Node.
func (n *node) Rename(oldName string, newDir p9.Node, newName string, flags uint32) error {
	if err := n.changeDir(); err != nil {
		return err
	}
	to, ok := newDir.(*node)
	if !ok || to.s != n.s {
		return unix.EXDEV
	}
	if err := to.changeDir(); err != nil {
		return err
	}
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE) != 0 {
		return unix.EINVAL
	}
	return unix.Renameat2(n.fd.Num(), oldName, to.fd.Num(), newName, uint(flags))
}

// Unlink implements p9.Node.
func (n *node) Unlink(name string, flags uint32) error {
	if err := n.changeDir(); err != nil {
		return err
	}
	return unix.Unlinkat(n.fd.Num(), name, int(flags))
}
