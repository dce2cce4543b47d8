// Package overlay joins an upper filesystem, which takes all changes, and lower ones, which
// are never changed, into one tree (the overlayfs of Linux,
// Documentation/filesystems/overlayfs.rst).
//
// A node is an object of the joined tree. It has an inode in the upper filesystem, or in a
// lower one, or, for directories, both. Before a change an object that only exists in a
// lower filesystem is copied up. A name that is removed while a lower filesystem still has
// it becomes a whiteout in the upper one, a character device 0/0.
//
// What Linux keeps in extended attributes of the upper filesystem, because it has to survive,
// is kept in memory here: Filesystem.nodes holds the node of every upper object, with the
// lower directories that it is merged with and the lower file that it was copied from.
// Hence directories can be renamed without EXDEV, inode numbers stay what they were before
// the copy-up, and all hard links of a lower file lead to its one copy.
// Whiteouts and opaque directories also have Linux's form in the upper filesystem, for who
// looks at it directly or mounts it again.
//
// An open file or mapping of a lower file goes over to the copy when there is one: reads and
// page faults look at node.upper each time, and copy-up makes address spaces forget the lower
// file's pages.
//
// Lock order: vfs's directory locks → node.copyMu (two by address) → node.upMu (two by
// address) → Filesystem.mu, the list of mappings → locks of the layers. Layers see calls
// that change a directory one at a time because of upMu, which stands in for vfs's lock.
package overlay

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/vfs"
)

// Magic is OVERLAYFS_SUPER_MAGIC.
const Magic = 0x794c7630

// Filesystem is an overlay.
type Filesystem struct {
	dev     uint64
	options string
	upper   vfs.Filesystem // nil: read-only
	lowers  []vfs.Filesystem
	root    *node

	mu sync.Mutex // guards the fields below
	// nodes holds, with a reference, the node of each upper object with a name.
	nodes map[vfs.Inode]*node
	// linked finds the node of a lower file with several names, without a reference.
	linked map[lowerID]*node
}

// lowerID names a lower object for ever.
type lowerID struct {
	fs  vfs.Filesystem
	ino uint64
}

// Options describe an overlay.
type Options struct {
	// Upper takes changes; nil makes the overlay read-only. UpperRoot and LowerRoots are
	// directories in them to join; the roots if nil.
	Upper      vfs.Filesystem
	UpperRoot  vfs.Inode
	Lowers     []vfs.Filesystem // topmost first
	LowerRoots []vfs.Inode
	// Text is what /proc/mounts shows.
	Text string
	// Borrowed: the layers belong to other mounts and are not released with the overlay.
	Borrowed bool
}

// New joins filesystems, the references on which pass to the overlay unless they are
// borrowed.
func New(ctx context.Context, v *vfs.VFS, o Options) (*Filesystem, error) {
	fs := &Filesystem{
		dev: v.AnonDev(), options: o.Text, upper: o.Upper, lowers: o.Lowers,
		nodes: make(map[vfs.Inode]*node), linked: make(map[lowerID]*node),
	}
	if len(o.Lowers) == 0 {
		return nil, unix.EINVAL
	}
	var lowers []vfs.Directory
	for i, l := range o.Lowers {
		r := l.Root()
		if o.LowerRoots != nil && o.LowerRoots[i] != nil {
			r = o.LowerRoots[i]
		}
		d, ok := r.(vfs.Directory)
		if !ok {
			return nil, unix.ENOTDIR
		}
		d.Base().IncRef()
		lowers = append(lowers, d)
	}
	var upper vfs.Inode
	if o.Upper != nil {
		upper = o.Upper.Root()
		if o.UpperRoot != nil {
			upper = o.UpperRoot
		}
		upper.Base().IncRef()
		if o.UpperRoot == nil {
			// A fresh upper root looks like the lower one.
			if err := copyAttributes(ctx, lowers[0], upper); err != nil {
				return nil, err
			}
		}
	}
	fs.root = fs.newNode(upper, nil, lowers, nil, "")
	if o.Borrowed {
		fs.upper, fs.lowers = borrowed{fs.upper}, nil
		if o.Upper == nil {
			fs.upper = nil
		}
	}
	return fs, nil
}

// borrowed is a filesystem that is not released.
type borrowed struct{ vfs.Filesystem }

// Release implements vfs.Filesystem.
func (borrowed) Release(context.Context) {}

// TypeName implements vfs.Filesystem.
func (*Filesystem) TypeName() string { return "overlay" }

// Root implements vfs.Filesystem.
func (fs *Filesystem) Root() vfs.Inode { return fs.root.inode() }

// Dev implements vfs.Filesystem.
func (fs *Filesystem) Dev() uint64 { return fs.dev }

// StatFS implements vfs.Filesystem: the upper filesystem's numbers.
func (fs *Filesystem) StatFS(ctx context.Context) (vfs.StatFS, error) {
	var s vfs.StatFS
	var err error
	if fs.upper != nil {
		s, err = fs.upper.StatFS(ctx)
	} else {
		s, err = fs.root.lowers[0].FS().StatFS(ctx)
	}
	s.Type = Magic
	return s, err
}

// Options implements vfs.Filesystem.
func (fs *Filesystem) Options() string { return fs.options }

// Sync implements vfs.Filesystem.
func (fs *Filesystem) Sync(ctx context.Context) error {
	if fs.upper == nil {
		return nil
	}
	return fs.upper.Sync(ctx)
}

// Release implements vfs.Filesystem. vfs has dropped its reference on the root.
func (fs *Filesystem) Release(ctx context.Context) {
	fs.mu.Lock()
	nodes := fs.nodes
	fs.nodes, fs.linked = nil, nil
	fs.mu.Unlock()
	for _, n := range nodes {
		vfs.PutInode(ctx, n.inode())
	}
	if fs.upper != nil {
		fs.upper.Release(ctx)
	}
	for _, l := range fs.lowers {
		l.Release(ctx)
	}
}

// remember makes n the node of its upper inode, with a reference of the table's own. If
// there is one already it is returned, with a reference for the caller.
func (fs *Filesystem) remember(n *node, upper vfs.Inode) (other *node) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if o := fs.nodes[upper]; o != nil {
		o.base().IncRef()
		return o
	}
	if fs.nodes != nil {
		n.base().IncRef()
		fs.nodes[upper] = n
	}
	return nil
}

// replace is remember for a node that was copied up: whoever looked the copy up before the
// copy was complete does not count.
func (fs *Filesystem) replace(n *node, upper vfs.Inode) {
	fs.mu.Lock()
	o := fs.nodes[upper]
	if fs.nodes != nil && o != n {
		n.base().IncRef()
		fs.nodes[upper] = n
	} else {
		o = nil
	}
	fs.mu.Unlock()
	if o != nil {
		vfs.PutInode(kernel, o.self)
	}
}

// find returns the node of an upper inode, with a reference, or nil.
func (fs *Filesystem) find(upper vfs.Inode) *node {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.nodes[upper]
	if n != nil {
		n.base().IncRef()
	}
	return n
}

// forget takes n, which has no name any more, out of the tables. The reference that the
// table had passes to the caller if it returns true.
func (fs *Filesystem) forget(n *node, upper vfs.Inode) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.nodes[upper] != n {
		return false
	}
	delete(fs.nodes, upper)
	return true
}
