package p9

// Attacher hands out the trees of a server.
type Attacher interface {
	// Attach returns the root of the tree called aname.
	Attach(aname string) (Node, error)
}

// Node is one inode of a server's tree. Its methods are called by several goroutines at
// once, never during or after Close. Errors that hold a unix.Errno reach the client as
// they are, others as EIO. Names have been checked (see ValidName).
type Node interface {
	// Walk returns the child called name, without following symlinks, and its attributes.
	Walk(name string) (Node, Attr, error)

	GetAttr() (Attr, error)
	SetAttr(set SetAttr) error
	StatFS() (FSStat, error)
	Readlink() (string, error)

	// Open opens the file. flags have Linux's numbers and hold only an access mode,
	// O_TRUNC and O_DIRECTORY.
	Open(flags uint32) (Handle, error)

	// Create makes a regular file that does not exist and opens it. flags as in Open, and
	// O_EXCL (which is implied but for its meaning beside O_TMPFILE) and O_TMPFILE (then
	// name is empty). An owner of NoID is left to the server.
	Create(name string, flags, mode, uid, gid uint32) (Node, Handle, error)
	Mkdir(name string, mode, uid, gid uint32) (Node, error)
	Mknod(name string, mode, major, minor, uid, gid uint32) (Node, error)
	Symlink(name, target string, uid, gid uint32) (Node, error)

	// Link makes name another name of target, which the same Attacher handed out.
	Link(name string, target Node) error
	Rename(oldName string, newDir Node, newName string, flags uint32) error
	Unlink(name string, flags uint32) error

	// GetXattr and ListXattr return the size of the value; they fill buf unless that is
	// empty.
	GetXattr(name string, buf []byte) (int, error)
	ListXattr(buf []byte) (int, error)
	SetXattr(name string, value []byte, flags uint32) error
	RemoveXattr(name string) error

	// Connect connects to a socket and returns the descriptor, which the caller owns.
	Connect(sockType uint32) (int, error)

	// Close says that no fid refers to the node any more.
	Close()
}

// NoID is the uid or gid that means "whatever the server gives".
const NoID = ^uint32(0)

// Handle is an open Node. Its methods are called by several goroutines at once, never
// during or after Close.
type Handle interface {
	// FD returns a descriptor that may be given to the client, of the mode that the handle
	// was opened with, or -1. The handle keeps it.
	FD() int

	ReadAt(p []byte, offset uint64) (int, error)
	WriteAt(p []byte, offset uint64) (int, error)

	// ReadDir calls emit for the entries behind the one whose Offset is offset, until emit
	// refuses one or there are no more.
	ReadDir(offset uint64, emit func(*Dirent) bool) error

	// Stat returns the attributes of an entry of the open directory, as Node.Walk would.
	Stat(name string) (Attr, error)

	Sync(dataOnly bool) error
	Flush() error
	Allocate(mode uint32, offset, length uint64) error
	Close()
}
