package tmpfs

import (
	"sort"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// node is what all kinds of inodes share.
type node struct {
	vfs.InodeBase
	fs  *Filesystem
	ino uint64

	mode     atomic.Uint32
	uid, gid atomic.Uint32
	nlink    atomic.Uint32

	atime, mtime, ctime atomic.Int64
	btime               int64

	mu     sync.Mutex // guards the field below, and changes of the owner
	xattrs map[string]string
}

func (n *node) init(ctx context.Context, fs *Filesystem, mode uint32, o vfs.NewOwner) {
	n.fs, n.ino = fs, fs.lastIno.Add(1)
	n.mode.Store(mode)
	n.uid.Store(uint32(o.UID))
	n.gid.Store(uint32(o.GID))
	n.nlink.Store(1)
	n.btime = ctx.RealTime()
	n.atime.Store(n.btime)
	n.mtime.Store(n.btime)
	n.ctime.Store(n.btime)
}

func (n *node) self() *node { return n }

// FS implements vfs.Inode.
func (n *node) FS() vfs.Filesystem { return n.fs }

// InodeNumber implements vfs.InodeNumberer.
func (n *node) InodeNumber() uint64 { return n.ino }

// Owner implements vfs.Inode.
func (n *node) Owner() (uint32, auth.KUID, auth.KGID) {
	return n.mode.Load(), auth.KUID(n.uid.Load()), auth.KGID(n.gid.Load())
}

// Stat implements vfs.Inode.
func (n *node) Stat(context.Context) (vfs.Attr, error) {
	return vfs.Attr{
		Dev: n.fs.dev, Ino: n.ino, Mode: n.mode.Load(), Nlink: n.nlink.Load(),
		UID: auth.KUID(n.uid.Load()), GID: auth.KGID(n.gid.Load()), Blksize: pageSize,
		Atime: n.atime.Load(), Mtime: n.mtime.Load(), Ctime: n.ctime.Load(), Btime: n.btime,
	}, nil
}

// SetAttr implements vfs.Inode, without SetSize.
func (n *node) SetAttr(ctx context.Context, a vfs.SetAttr) error {
	now := ctx.RealTime()
	n.mu.Lock()
	defer n.mu.Unlock()
	if a.Mask&vfs.SetMode != 0 {
		n.mode.Store(n.mode.Load()&unix.S_IFMT | a.Mode)
	}
	if a.Mask&vfs.SetUID != 0 {
		n.uid.Store(uint32(a.UID))
	}
	if a.Mask&vfs.SetGID != 0 {
		n.gid.Store(uint32(a.GID))
	}
	switch {
	case a.Mask&vfs.SetAtimeNow != 0:
		n.atime.Store(now)
	case a.Mask&vfs.SetAtime != 0:
		n.atime.Store(a.Atime)
	}
	switch {
	case a.Mask&vfs.SetMtimeNow != 0:
		n.mtime.Store(now)
	case a.Mask&vfs.SetMtime != 0:
		n.mtime.Store(a.Mtime)
	}
	n.ctime.Store(now)
	return nil
}

// TouchAtime implements vfs.AtimeToucher.
func (n *node) TouchAtime(now int64, relatime bool) {
	old := n.atime.Load()
	if relatime && old > n.mtime.Load() && old > n.ctime.Load() && now-old < 24*3600*1e9 {
		return
	}
	n.atime.Store(now)
}

// modified notes a change of content.
func (n *node) modified(now int64) {
	n.mtime.Store(now)
	n.ctime.Store(now)
}

// Release implements vfs.Inode.
func (n *node) Release(context.Context) { n.fs.inodes.Add(-1) }

// Open implements vfs.Inode for nodes that vfs opens itself.
func (n *node) Open(context.Context, uint32) (vfs.File, error) { return nil, unix.ENXIO }

// maxXattrs bounds the bytes of a node's extended attributes.
const maxXattrs = 128 << 10

// GetXattr implements vfs.Xattrs.
func (n *node) GetXattr(_ context.Context, name string) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	v, ok := n.xattrs[name]
	if !ok {
		return "", unix.ENODATA
	}
	return v, nil
}

// SetXattr implements vfs.Xattrs.
func (n *node) SetXattr(ctx context.Context, name, value string, flags uint32) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	old, ok := n.xattrs[name]
	switch {
	case ok && flags&unix.XATTR_CREATE != 0:
		return unix.EEXIST
	case !ok && flags&unix.XATTR_REPLACE != 0:
		return unix.ENODATA
	}
	size := len(name) + len(value) - len(old)
	for k, v := range n.xattrs {
		size += len(k) + len(v)
	}
	if size > maxXattrs {
		return unix.ENOSPC
	}
	if n.xattrs == nil {
		n.xattrs = make(map[string]string)
	}
	n.xattrs[name] = value
	n.ctime.Store(ctx.RealTime())
	return nil
}

// ListXattr implements vfs.Xattrs.
func (n *node) ListXattr(context.Context) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	names := make([]string, 0, len(n.xattrs))
	for k := range n.xattrs {
		names = append(names, k)
	}
	sort.Strings(names)
	return names, nil
}

// RemoveXattr implements vfs.Xattrs.
func (n *node) RemoveXattr(ctx context.Context, name string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.xattrs[name]; !ok {
		return unix.ENODATA
	}
	delete(n.xattrs, name)
	n.ctime.Store(ctx.RealTime())
	return nil
}

// symlink is a symbolic link.
type symlink struct {
	node
	target string
}

// Readlink implements vfs.Symlink.
func (s *symlink) Readlink(context.Context) (string, error) { return s.target, nil }

// Stat implements vfs.Inode.
func (s *symlink) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := s.node.Stat(ctx)
	a.Size = uint64(len(s.target))
	return a, err
}

// special is a FIFO, socket or device node.
type special struct {
	node
	rdev uint64
}

// Stat implements vfs.Inode.
func (s *special) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := s.node.Stat(ctx)
	a.Rdev = s.rdev
	return a, err
}
