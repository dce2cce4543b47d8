package vfs

import (
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
)

// Files without a path: pipes, sockets, event files. Each has an inode on a filesystem that
// is mounted nowhere, and a complete name such as "pipe:[12]".

// anonFS is a filesystem of inodes that have no names.
type anonFS struct {
	name  string
	minor uint32
	magic int64
}

// The kernel's own filesystems; minor numbers are constant so that st_dev is.
var (
	pipeFS  = &anonFS{"pipefs", 13, 0x50495045}
	sockFS  = &anonFS{"sockfs", 8, 0x534f434b}
	eventFS = &anonFS{"anon_inodefs", 14, 0x09041934}
)

// anonMount is the mount of all files without a path. It has no flags, no references and
// no namespace, and never changes.
var anonMount = &Mount{sb: &superblock{fs: eventFS}}

// noTask is the context of accesses on nobody's behalf.
var noTask = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

// TypeName implements Filesystem.
func (f *anonFS) TypeName() string { return f.name }

// Root implements Filesystem.
func (f *anonFS) Root() Inode { return nil }

// Dev implements Filesystem.
func (f *anonFS) Dev() uint64 { return unix.Mkdev(0, f.minor) }

// StatFS implements Filesystem.
func (f *anonFS) StatFS(context.Context) (StatFS, error) {
	return StatFS{Type: f.magic, BlockSize: 4096, NameLength: 255}, nil
}

// Options implements Filesystem.
func (f *anonFS) Options() string { return "" }

// Sync implements Filesystem.
func (f *anonFS) Sync(context.Context) error { return nil }

// Release implements Filesystem.
func (f *anonFS) Release(context.Context) {}

// AnonInode is the inode of a file without a path. Owner and times can be changed, as
// fchown(2) and fchmod(2) of a pipe or socket do.
type AnonInode struct {
	InodeBase
	fs  *anonFS
	ino uint64

	mode     atomic.Uint32
	uid, gid atomic.Uint32
	atime    atomic.Int64
	mtime    atomic.Int64
	ctime    atomic.Int64
}

// lastAnonIno numbers them; numbers are names only, so kernels in one process may share it.
var lastAnonIno atomic.Uint64

// eventIno is the number of the one inode that Linux gives all event files.
const eventIno = 1

// NewAnonInode makes the inode for name: "pipe" and "socket" get an inode of that type, any
// other ("[eventpoll]", "[eventfd]") one without a type. The reference is the caller's.
func NewAnonInode(ctx context.Context, name string) *AnonInode {
	i := &AnonInode{fs: eventFS, ino: eventIno}
	mode := uint32(0o600)
	switch name {
	case "pipe":
		i.fs, mode = pipeFS, unix.S_IFIFO|0o600
	case "socket":
		i.fs, mode = sockFS, unix.S_IFSOCK|0o777
	}
	if i.fs != eventFS {
		i.ino = 1024 + lastAnonIno.Add(1)
	}
	i.mode.Store(mode)
	if ctx != nil {
		c := ctx.Credentials()
		i.uid.Store(uint32(c.FSUID))
		i.gid.Store(uint32(c.FSGID))
		now := ctx.RealTime()
		i.atime.Store(now)
		i.mtime.Store(now)
		i.ctime.Store(now)
	}
	return i
}

// FS implements Inode.
func (i *AnonInode) FS() Filesystem { return i.fs }

// InodeNumber implements InodeNumberer.
func (i *AnonInode) InodeNumber() uint64 { return i.ino }

// Owner implements Inode.
func (i *AnonInode) Owner() (uint32, auth.KUID, auth.KGID) {
	return i.mode.Load(), auth.KUID(i.uid.Load()), auth.KGID(i.gid.Load())
}

// Stat implements Inode.
func (i *AnonInode) Stat(context.Context) (Attr, error) {
	mode, uid, gid := i.Owner()
	return Attr{
		Ino: i.ino, Mode: mode, Nlink: 1, UID: uid, GID: gid, Blksize: 4096,
		Atime: i.atime.Load(), Mtime: i.mtime.Load(), Ctime: i.ctime.Load(),
	}, nil
}

// SetAttr implements Inode.
func (i *AnonInode) SetAttr(ctx context.Context, a SetAttr) error {
	now := ctx.RealTime()
	if a.Mask&SetMode != 0 {
		i.mode.Store(i.mode.Load()&unix.S_IFMT | a.Mode)
	}
	if a.Mask&SetUID != 0 {
		i.uid.Store(uint32(a.UID))
	}
	if a.Mask&SetGID != 0 {
		i.gid.Store(uint32(a.GID))
	}
	if a.Mask&SetAtimeNow != 0 {
		i.atime.Store(now)
	} else if a.Mask&SetAtime != 0 {
		i.atime.Store(a.Atime)
	}
	if a.Mask&SetMtimeNow != 0 {
		i.mtime.Store(now)
	} else if a.Mask&SetMtime != 0 {
		i.mtime.Store(a.Mtime)
	}
	i.ctime.Store(now)
	return nil
}

// Open implements Inode: event files cannot be opened by /proc/PID/fd.
func (i *AnonInode) Open(context.Context, uint32) (File, error) { return nil, unix.ENXIO }

// Release implements Inode.
func (i *AnonInode) Release(context.Context) {}

// NewAnonFile makes an open file without a path. name is "pipe", "socket" or that of an
// event file, such as "[eventpoll]" or "inotify". flags are open(2)'s: access mode and status
// flags. The owner is root; system calls that create files for a task use NewAnonFileAt.
func NewAnonFile(name string, f File, flags uint32) *FileDescription {
	return NewAnonFileAt(name, NewAnonInode(nil, name), f, flags)
}

// NewAnonFileAt is NewAnonFile with the inode given, whose reference passes to it: the two
// ends of a pipe share one, and a socket's belongs to its creator.
func NewAnonFileAt(name string, inode Inode, f File, flags uint32) *FileDescription {
	return NewFileDescription(AnonPath(name, inode), f, flags)
}

// AnonPath makes the place of a file without a path, as NewAnonFile names it; a reference on
// inode passes to it. A name that begins with "/" is shown as it is.
func AnonPath(name string, inode Inode) Path {
	if n, ok := inode.(InodeNumberer); ok && (name == "pipe" || name == "socket") {
		name += ":[" + utoa(n.InodeNumber()) + "]"
	} else if !strings.HasPrefix(name, "/") {
		name = "anon_inode:" + name
	}
	return NamedAnonPath(name, inode)
}

// NamedAnonPath is AnonPath with a complete name.
func NamedAnonPath(name string, inode Inode) Path {
	d := newDentry(nil, nil, name, inode)
	d.flags.Or(dentryAnon)
	return Path{anonMount, d}
}

func utoa(n uint64) string {
	var b [20]byte
	i := len(b)
	for {
		i--
		b[i] = byte('0' + n%10)
		if n /= 10; n == 0 {
			return string(b[i:])
		}
	}
}
