package vfs

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
)

// Attr is what stat(2) and statx(2) report of an inode. Times are nanoseconds since the
// epoch. Dev is filled in by vfs from the filesystem unless it is set.
type Attr struct {
	Dev                        uint64 // unix.Mkdev form
	Ino                        uint64
	Mode                       uint32 // S_IFMT type and permission bits
	Nlink                      uint32
	UID                        auth.KUID
	GID                        auth.KGID
	Rdev                       uint64 // of device nodes, unix.Mkdev form
	Size                       uint64 // bytes
	Blocks                     uint64 // 512-byte units
	Blksize                    uint32
	Atime, Mtime, Ctime, Btime int64
}

// SetAttrMask says which fields of a SetAttr count.
type SetAttrMask uint32

// The fields of SetAttr.
const (
	SetMode SetAttrMask = 1 << iota
	SetUID
	SetGID
	SetSize
	SetAtime
	SetMtime
	// SetAtimeNow and SetMtimeNow come with SetAtime/SetMtime: use the current time.
	SetAtimeNow
	SetMtimeNow
	// SetCtime only touches ctime (every change does that too).
	SetCtime
)

// SetAttr is a change of attributes. vfs has checked permissions and cleared set-id bits
// where chown and write demand it (they then are part of the change).
type SetAttr struct {
	Mask         SetAttrMask
	Mode         uint32 // permission bits only
	UID          auth.KUID
	GID          auth.KGID
	Size         uint64
	Atime, Mtime int64
}

// StatFS is what statfs(2) reports.
type StatFS struct {
	Type                            int64 // magic number, unix.TMPFS_MAGIC …
	BlockSize                       int64
	Blocks, BlocksFree, BlocksAvail uint64
	Files, FilesFree                uint64
	NameLength                      int64
}

// Filesystem is a mounted (or mountable) tree of inodes.
type Filesystem interface {
	// TypeName is the name in /proc/filesystems, such as "tmpfs".
	TypeName() string
	// Root is the inode at the top.
	Root() Inode
	// Dev is the device number of its inodes.
	Dev() uint64
	StatFS(ctx context.Context) (StatFS, error)
	// Options is the filesystem's part of the options in /proc/mounts, such as
	// "size=64k,mode=700"; empty if none.
	Options() string
	// Sync writes back what is dirty.
	Sync(ctx context.Context) error
	// Release is called when the last mount and the last file are gone.
	Release(ctx context.Context)
}

// Caching says what vfs may remember of the children of a directory.
type Caching uint8

const (
	// CacheAll: only this sentry changes the directory; positive and negative dentries
	// hold for ever (tmpfs, an exclusive gofer mount).
	CacheAll Caching = iota
	// CacheRevalidate: vfs asks the Revalidator before it uses a cached child.
	CacheRevalidate
	// CacheNone: children are looked up every time (proc).
	CacheNone
)

// Inode is one object of a filesystem. Implementations embed InodeBase, and one of the
// kinds below tells what else it can do: a Directory has mode S_IFDIR, a Symlink S_IFLNK.
//
// vfs has checked permissions, name lengths, read-only mounts and file types before it
// calls; an inode only carries out. Calls that change a directory run with that
// directory's lock held (both directories' for Rename), Lookup with it held at least shared.
type Inode interface {
	// Base is the state that vfs itself keeps in every inode.
	Base() *InodeBase
	FS() Filesystem
	// Owner returns what permission checks need, from memory, without blocking.
	Owner() (mode uint32, uid auth.KUID, gid auth.KGID)
	// Stat returns all attributes.
	Stat(ctx context.Context) (Attr, error)
	SetAttr(ctx context.Context, a SetAttr) error
	// Open makes the implementation of an open file description. flags are open(2)'s; a
	// created file is opened by the same call. O_TRUNC was carried out already. FIFOs,
	// sockets and device nodes are opened by vfs; Open is not called for them unless the
	// inode implements SpecialOpener.
	Open(ctx context.Context, flags uint32) (File, error)
	// Release is called when the last reference (dentry, open file, mapping) is gone.
	Release(ctx context.Context)
}

// NewOwner is the owner and mode of an object about to be created; vfs has applied umask
// and the parent's set-group-id rule.
type NewOwner struct {
	Mode uint32 // permission bits; with type bits for Mknod
	UID  auth.KUID
	GID  auth.KGID
}

// Directory is an inode with entries.
type Directory interface {
	Inode
	// Caching is constant for an inode.
	Caching() Caching
	// Lookup returns the child, with a reference for the caller. ENOENT: there is none.
	Lookup(ctx context.Context, name string) (Inode, error)
	// Create makes a regular file. It does not exist, as far as vfs knows; EEXIST says
	// that somebody else made it.
	Create(ctx context.Context, name string, o NewOwner) (Inode, error)
	Mkdir(ctx context.Context, name string, o NewOwner) (Inode, error)
	// Mknod makes a FIFO, socket, device node or regular file by o.Mode's type.
	Mknod(ctx context.Context, name string, o NewOwner, rdev uint64) (Inode, error)
	Symlink(ctx context.Context, name, target string, o NewOwner) (Inode, error)
	// Link adds name for target, an inode of the same filesystem.
	Link(ctx context.Context, name string, target Inode) error
	// Unlink removes the name of child, not a directory.
	Unlink(ctx context.Context, name string, child Inode) error
	// Rmdir removes child, a directory; ENOTEMPTY.
	Rmdir(ctx context.Context, name string, child Inode) error
	// Rename moves child from name to newName in newDir, replacing replaced (nil if
	// none; an empty directory or a non-directory, checked by vfs) or, with
	// RENAME_EXCHANGE, exchanging with it. flags are renameat2(2)'s.
	Rename(ctx context.Context, name string, child Inode, newDir Directory, newName string, replaced Inode, flags uint32) error
}

// TmpfileDirectory can make a file without a name (O_TMPFILE).
type TmpfileDirectory interface {
	Tmpfile(ctx context.Context, o NewOwner) (Inode, error)
}

// Symlink is a symbolic link.
type Symlink interface {
	Inode
	Readlink(ctx context.Context) (string, error)
}

// MagicLink is a symlink of /proc that leads to an object rather than to a path
// (/proc/self/fd/3, /proc/self/exe, /proc/self/root).
type MagicLink interface {
	Symlink
	// Target returns the place with references for the caller, or ok=false: follow
	// Readlink's text.
	Target(ctx context.Context) (p Path, ok bool, err error)
}

// SpecialOpener is implemented by inodes whose Open serves their file type itself: device
// nodes of devtmpfs, ptys, host stdio.
type SpecialOpener interface{ OpensItself() }

// Xattrs is implemented by inodes with extended attributes. Namespace permission checks
// (xattr(7)) are vfs's. Get with ENODATA; Set flags are XATTR_CREATE, XATTR_REPLACE.
type Xattrs interface {
	GetXattr(ctx context.Context, name string) (string, error)
	SetXattr(ctx context.Context, name, value string, flags uint32) error
	ListXattr(ctx context.Context) ([]string, error)
	RemoveXattr(ctx context.Context, name string) error
}

// CapabilityDropper is implemented by inodes whose filesystem itself takes file capabilities away
// when the file is written to, truncated or given to somebody else, so that vfs need not ask.
type CapabilityDropper interface{ DropsCapabilities() }

// BatchLooker is implemented by directories whose Lookup is a round trip: it looks up
// names[0], names[1] in it, and so on, in one trip. It returns the inodes that it found, one
// per name, and stops early at the first that is missing, is not a directory or is a symlink;
// fewer than names with a nil error means that the next does not exist.
type BatchLooker interface {
	LookupPath(ctx context.Context, names []string) ([]Inode, error)
}

// Revalidator is implemented by directories with CacheRevalidate.
type Revalidator interface {
	// Revalidate says whether name still leads to child (nil: to nothing), and
	// refreshes child's attributes.
	Revalidate(ctx context.Context, name string, child Inode) (bool, error)
}

// NotDir gives an inode that is no directory nothing; embedding InodeBase is enough. The
// defaults below serve directories that cannot be changed (proc, devpts).

// ReadOnlyDir refuses every change with EPERM; embed it in synthetic directories.
type ReadOnlyDir struct{}

// Create implements Directory.
func (ReadOnlyDir) Create(context.Context, string, NewOwner) (Inode, error) { return nil, unix.EPERM }

// Mkdir implements Directory.
func (ReadOnlyDir) Mkdir(context.Context, string, NewOwner) (Inode, error) { return nil, unix.EPERM }

// Mknod implements Directory.
func (ReadOnlyDir) Mknod(context.Context, string, NewOwner, uint64) (Inode, error) {
	return nil, unix.EPERM
}

// Symlink implements Directory.
func (ReadOnlyDir) Symlink(context.Context, string, string, NewOwner) (Inode, error) {
	return nil, unix.EPERM
}

// Link implements Directory.
func (ReadOnlyDir) Link(context.Context, string, Inode) error { return unix.EPERM }

// Unlink implements Directory.
func (ReadOnlyDir) Unlink(context.Context, string, Inode) error { return unix.EPERM }

// Rmdir implements Directory.
func (ReadOnlyDir) Rmdir(context.Context, string, Inode) error { return unix.EPERM }

// Rename implements Directory.
func (ReadOnlyDir) Rename(context.Context, string, Inode, Directory, string, Inode, uint32) error {
	return unix.EPERM
}
