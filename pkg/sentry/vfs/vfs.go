package vfs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
)

// DefaultDentryLimit is how many unreferenced dentries a VFS keeps, unless LimitDentries says less.
const DefaultDentryLimit = 32768

// VFS is all filesystem state of a kernel that mounts share.
type VFS struct {
	cache dentryCache

	lastDev     atomic.Uint32 // minor numbers of AnonDev
	lastMountID atomic.Int32
	lastNSID    atomic.Uint64
	inotifyIDs  atomic.Uint32 // rename cookies

	watches   atomic.Int64 // inotify watches there are
	lockWaits lockWaits

	supersMu sync.Mutex // guards supers, the filesystems in use; a leaf
	supers   map[Filesystem]*superblock

	// mountMu guards the shape of all mount trees.
	mountMu sync.RWMutex

	// moveMu is held while dentries move; renameSeq is odd meanwhile.
	moveMu    sync.Mutex
	renameSeq atomic.Uint64

	// mu guards the registries below, which are filled when the kernel starts.
	mu      sync.RWMutex
	devices map[deviceKey]DeviceOpener
	fifos   FIFOOpener
	fstypes map[string]FilesystemType
	fsnames []string
}

// New makes a VFS without filesystems.
func New() *VFS {
	v := &VFS{devices: make(map[deviceKey]DeviceOpener), fstypes: make(map[string]FilesystemType)}
	v.cache.limit = DefaultDentryLimit
	v.lastDev.Store(20) // below: the kernel's own, see anon.go
	return v
}

// LimitDentries bounds the number of unreferenced dentries that are kept, each of which may cost
// a filesystem a descriptor. It is called before there are any.
func (v *VFS) LimitDentries(n int) { v.cache.limit = min(n, DefaultDentryLimit) }

// AnonDev makes up a device number, with major 0, for a new filesystem.
func (v *VFS) AnonDev() uint64 { return unix.Mkdev(0, v.lastDev.Add(1)) }

type deviceKey struct {
	typ          uint32 // S_IFCHR, S_IFBLK
	major, minor uint32
}

// AnyMinor registers a device for all minor numbers that are not registered themselves.
const AnyMinor = ^uint32(0)

// DeviceOpener opens a device node. p is the node.
type DeviceOpener interface {
	OpenDevice(ctx context.Context, p Path, rdev uint64, flags uint32) (File, error)
}

// RegisterDevice serves device nodes of type S_IFCHR or S_IFBLK with that number, on any
// filesystem mounted without MS_NODEV.
func (v *VFS) RegisterDevice(typ, major, minor uint32, o DeviceOpener) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.devices[deviceKey{typ, major, minor}] = o
}

func (v *VFS) device(typ uint32, rdev uint64) DeviceOpener {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if o := v.devices[deviceKey{typ, unix.Major(rdev), unix.Minor(rdev)}]; o != nil {
		return o
	}
	return v.devices[deviceKey{typ, unix.Major(rdev), AnyMinor}]
}

// FIFOOpener opens FIFOs. It keeps the buffer in the inode (InodeBase.SwapSpecial) and
// waits for the other end by ctx, as fifo(7) says.
type FIFOOpener interface {
	OpenFIFO(ctx context.Context, inode Inode, flags uint32) (File, error)
}

// SetFIFOOpener installs the pipe implementation.
func (v *VFS) SetFIFOOpener(o FIFOOpener) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fifos = o
}

// FilesystemType makes filesystems for mount(2).
type FilesystemType interface {
	// NewFilesystem returns the filesystem for mount(2)'s source and data ("size=1m,…").
	NewFilesystem(ctx context.Context, v *VFS, source, data string) (Filesystem, error)
	// NeedsDevice says whether it lives on a block device (no "nodev" in
	// /proc/filesystems).
	NeedsDevice() bool
	// UserMountable says whether a task with CAP_SYS_ADMIN in its namespace may mount
	// it, rather than only the runtime.
	UserMountable() bool
}

// PathFilesystemType is a FilesystemType whose options hold pathnames (overlay). at has the
// caller's root and working directory.
type PathFilesystemType interface {
	FilesystemType
	NewFilesystemAt(ctx context.Context, v *VFS, at PathOp, source, data string) (Filesystem, error)
}

// RegisterFilesystemType makes name known to mount(2).
func (v *VFS) RegisterFilesystemType(name string, t FilesystemType) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if _, ok := v.fstypes[name]; !ok {
		v.fsnames = append(v.fsnames, name)
	}
	v.fstypes[name] = t
}

// FilesystemType returns the type of that name, or nil.
func (v *VFS) FilesystemType(name string) FilesystemType {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.fstypes[name]
}

// FilesystemsText is the content of /proc/filesystems.
func (v *VFS) FilesystemsText() string {
	v.mu.RLock()
	defer v.mu.RUnlock()
	s := ""
	for _, n := range v.fsnames {
		if !v.fstypes[n].NeedsDevice() {
			s += "nodev"
		}
		s += "\t" + n + "\n"
	}
	return s
}
