package vfs

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
)

// superblock counts the mounts and files that use a Filesystem.
type superblock struct {
	fs       Filesystem
	root     *Dentry
	readOnly atomic.Bool
	refs     atomic.Int64
}

func (s *superblock) decRef(ctx context.Context) {
	if s.refs.Add(-1) == 0 {
		s.root.DecRef(ctx)
		s.fs.Release(ctx)
	}
}

// Mount is one place where a tree of dentries appears.
type Mount struct {
	vfs  *VFS // nil: the mount of files without a path
	sb   *superblock
	id   int32
	root *Dentry // a reference is held

	// refs counts Paths and the namespace that the mount is in.
	refs atomic.Int64

	// flags are mountFlagsMask of mount(2).
	flags atomic.Uint64

	// writers counts files open for writing and changes in progress; a mount with
	// writers is not remounted read-only. Negative: read-only.
	writers atomic.Int64

	// at is where the mount is attached; nil when it is not (the root of a namespace,
	// a detached mount).
	at atomic.Pointer[attachment]

	// The fields below are guarded by VFS.mountMu.
	ns          *MountNamespace
	children    []*Mount
	source      string
	propagation uint32 // MS_PRIVATE, MS_SHARED, MS_SLAVE, MS_UNBINDABLE
	peerGroup   int32
	detached    bool // its references of parent and mountpoint are gone
}

// attachment is the place that a mount covers. It is immutable and holds references.
type attachment struct {
	parent *Mount
	dentry *Dentry
}

// mountFlagsMask are the flags that a mount, rather than the filesystem, has.
const mountFlagsMask = unix.MS_RDONLY | unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC |
	unix.MS_NOATIME | unix.MS_NODIRATIME | unix.MS_RELATIME | unix.MS_STRICTATIME | unix.MS_NOSYMFOLLOW

// ID is the mount's number in mountinfo.
func (m *Mount) ID() int32 { return m.id }

// Root is the dentry that appears at the mount's top.
func (m *Mount) Root() *Dentry { return m.root }

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
	if n := m.refs.Add(-1); n == 0 {
		m.root.DecRef(ctx)
		m.sb.decRef(ctx)
	} else if n < 0 {
		panic("vfs: mount released twice")
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
