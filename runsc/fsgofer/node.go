package fsgofer

import (
	"strconv"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/p9"
)

// node implements p9.Node for one inode. Immutable.
type node struct {
	s    *server
	fd   *fd.FD // O_PATH
	typ  uint32 // S_IFMT bits, which never change
	dev  uint64
	name string // of fd in ProcFD
}

// newNode makes a node of the descriptor, which it takes over even if it fails.
func (s *server) newNode(f *fd.FD) (*node, p9.Attr, error) {
	var st unix.Statx_t
	if err := statx(f.Num(), "", &st); err != nil {
		f.Close()
		return nil, p9.Attr{}, err
	}
	if err := s.mayExist(uint32(st.Mode)); err != nil {
		f.Close()
		return nil, p9.Attr{}, err
	}
	a, err := s.attr(&st)
	if err != nil {
		f.Close()
		return nil, p9.Attr{}, err
	}
	return &node{
		s:    s,
		fd:   f,
		typ:  uint32(st.Mode) & unix.S_IFMT,
		dev:  unix.Mkdev(st.Dev_major, st.Dev_minor),
		name: strconv.Itoa(f.Num()),
	}, a, nil
}

// statx asks for the attributes of what is called name in the directory n, or of n itself if
// name is empty.
func statx(n int, name string, st *unix.Statx_t) error {
	const flags = unix.AT_EMPTY_PATH | unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	return fd.Retry(func() error {
		return unix.Statx(n, name, flags, unix.STATX_BASIC_STATS|unix.STATX_BTIME, st)
	})
}

func (s *server) attr(st *unix.Statx_t) (p9.Attr, error) {
	path, err := s.qids.path(unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino)
	if err != nil {
		return p9.Attr{}, err
	}
	valid := uint64(p9.AttrBasic)
	if st.Mask&unix.STATX_BTIME != 0 {
		valid |= p9.AttrBTime
	}
	return p9.Attr{
		Valid: valid,
		QID: p9.QID{
			Type:    p9.QIDTypeOf(uint32(st.Mode)),
			Version: uint32(st.Mtime.Sec)<<10 ^ st.Mtime.Nsec ^ uint32(st.Size),
			Path:    path,
		},
		Mode:      uint32(st.Mode),
		UID:       st.Uid,
		GID:       st.Gid,
		NLink:     uint64(st.Nlink),
		RDev:      unix.Mkdev(st.Rdev_major, st.Rdev_minor),
		Size:      st.Size,
		BlockSize: uint64(st.Blksize),
		Blocks:    st.Blocks,
		ATime:     p9.Time{Sec: st.Atime.Sec, Nsec: int64(st.Atime.Nsec)},
		MTime:     p9.Time{Sec: st.Mtime.Sec, Nsec: int64(st.Mtime.Nsec)},
		CTime:     p9.Time{Sec: st.Ctime.Sec, Nsec: int64(st.Ctime.Nsec)},
		BTime:     p9.Time{Sec: st.Btime.Sec, Nsec: int64(st.Btime.Nsec)},
	}, nil
}

// Close implements p9.Node.
func (n *node) Close() { n.fd.Close() }

// Walk implements p9.Node.
func (n *node) Walk(name string) (p9.Node, p9.Attr, error) {
	if n.typ != unix.S_IFDIR {
		return nil, p9.Attr{}, unix.ENOTDIR
	}
	f, err := fd.OpenAt(n.fd.Num(), name, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, p9.Attr{}, err
	}
	child, a, err := n.s.newNode(f)
	if err != nil {
		return nil, p9.Attr{}, err
	}
	return child, a, nil
}

// GetAttr implements p9.Node.
func (n *node) GetAttr() (p9.Attr, error) {
	var st unix.Statx_t
	if err := statx(n.fd.Num(), "", &st); err != nil {
		return p9.Attr{}, err
	}
	return n.s.attr(&st)
}

// SetAttr implements p9.Node. Size comes before owner, and owner before mode, because each
// may clear the set-user-ID bit.
func (n *node) SetAttr(set p9.SetAttr) error {
	if err := n.s.writable(); err != nil {
		return err
	}
	if set.Valid&p9.SetSize != 0 {
		if err := n.truncate(int64(set.Size)); err != nil {
			return err
		}
	}
	if set.Valid&(p9.SetUID|p9.SetGID) != 0 {
		uid, gid := p9.NoID, p9.NoID
		if set.Valid&p9.SetUID != 0 {
			uid = set.UID
		}
		if set.Valid&p9.SetGID != 0 {
			gid = set.GID
		}
		if err := chown(n.fd.Num(), uid, gid); err != nil {
			return err
		}
	}
	if set.Valid&p9.SetMode != 0 {
		if n.typ == unix.S_IFLNK {
			return unix.EOPNOTSUPP
		}
		if err := unix.Fchmodat(n.s.procFD, n.name, set.Mode, 0); err != nil {
			return err
		}
	}
	if set.Valid&(p9.SetATime|p9.SetMTime) != 0 {
		ts := []unix.Timespec{
			setTime(set.Valid&p9.SetATime != 0, set.Valid&p9.SetATimeSet != 0, set.ATime),
			setTime(set.Valid&p9.SetMTime != 0, set.Valid&p9.SetMTimeSet != 0, set.MTime),
		}
		if err := unix.UtimesNanoAt(n.s.procFD, n.name, ts, 0); err != nil {
			return err
		}
	}
	return nil
}

// setTime makes one argument of utimensat(2).
func setTime(change, explicit bool, t p9.Time) unix.Timespec {
	switch {
	case !change:
		return unix.Timespec{Nsec: unix.UTIME_OMIT}
	case !explicit:
		return unix.Timespec{Nsec: unix.UTIME_NOW}
	}
	return unix.Timespec{Sec: t.Sec, Nsec: t.Nsec}
}

func (n *node) truncate(size int64) error {
	switch n.typ {
	case unix.S_IFREG:
	case unix.S_IFDIR:
		return unix.EISDIR
	default:
		return unix.EINVAL
	}
	f, err := n.s.reopen(n.fd.Num(), unix.O_WRONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Ftruncate(f.Num(), size)
}

// chown changes the owner of any inode, a symlink too, by its O_PATH descriptor.
func chown(n int, uid, gid uint32) error {
	return unix.Fchownat(n, "", int(int32(uid)), int(int32(gid)), unix.AT_EMPTY_PATH)
}

// StatFS implements p9.Node.
func (n *node) StatFS() (p9.FSStat, error) {
	var st unix.Statfs_t
	if err := fd.Retry(func() error { return unix.Fstatfs(n.fd.Num(), &st) }); err != nil {
		return p9.FSStat{}, err
	}
	return p9.FSStat{
		Type:            uint32(st.Type),
		BlockSize:       uint32(st.Bsize),
		Blocks:          st.Blocks,
		BlocksFree:      st.Bfree,
		BlocksAvailable: st.Bavail,
		Files:           st.Files,
		FilesFree:       st.Ffree,
		FSID:            uint64(uint32(st.Fsid.Val[0])) | uint64(uint32(st.Fsid.Val[1]))<<32,
		NameLength:      uint32(st.Namelen),
	}, nil
}

// Readlink implements p9.Node.
func (n *node) Readlink() (string, error) {
	if n.typ != unix.S_IFLNK {
		return "", unix.EINVAL
	}
	buf := make([]byte, unix.PathMax)
	got, err := unix.Readlinkat(n.fd.Num(), "", buf)
	if err != nil {
		return "", err
	}
	return string(buf[:got]), nil
}

// Open implements p9.Node.
func (n *node) Open(flags uint32) (p9.Handle, error) {
	access := flags & unix.O_ACCMODE
	changes := access != unix.O_RDONLY || flags&unix.O_TRUNC != 0
	switch n.typ {
	case unix.S_IFREG:
		if flags&unix.O_DIRECTORY != 0 {
			return nil, unix.ENOTDIR
		}
	case unix.S_IFDIR:
		if changes {
			return nil, unix.EISDIR
		}
		flags |= unix.O_DIRECTORY
	case unix.S_IFLNK:
		return nil, unix.ELOOP
	default:
		// Fifos and sockets are the client's own, and devices are nobody's.
		return nil, unix.ENXIO
	}
	if changes {
		if err := n.s.writable(); err != nil {
			return nil, err
		}
	}
	f, err := n.s.reopen(n.fd.Num(), int(flags))
	if err != nil {
		return nil, err
	}
	return &handle{s: n.s, fd: f, dir: n.typ == unix.S_IFDIR, dev: n.dev}, nil
}

// Connect implements p9.Node. The address is the node's name in /proc/self/fd, which leads
// to the very inode that was walked to; it is relative, so that it works in a chroot.
func (n *node) Connect(sockType uint32) (int, error) {
	if n.typ != unix.S_IFSOCK {
		return -1, unix.ECONNREFUSED
	}
	if n.s.cfg.HostUDS != UDSOpen && n.s.cfg.HostUDS != UDSAll {
		return -1, unix.ECONNREFUSED
	}
	sock, err := unix.Socket(unix.AF_UNIX, int(sockType)|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return -1, err
	}
	// Every tree of the process changes to the same directory, and nothing else in the
	// gofer uses the working directory.
	if err = unix.Fchdir(n.s.procFD); err == nil {
		err = unix.Connect(sock, &unix.SockaddrUnix{Name: n.name})
	}
	if err != nil {
		unix.Close(sock)
		return -1, err
	}
	return sock, nil
}
