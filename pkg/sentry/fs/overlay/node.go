package overlay

import (
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/mappings"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/vfs"
)

// node is an object of the joined tree: what all kinds share. The kinds below embed it.
type node struct {
	vfs.InodeBase
	fs   *Filesystem
	self vfs.Inode // the kind that embeds the node

	// Immutable. lower is what a non-directory was, or is; lowers what a directory is
	// merged with, topmost first. References are held.
	lower  vfs.Inode
	lowers []vfs.Directory
	origin lowerID // of lower or lowers[0]

	// upper holds a reference once it is set; it does not change any more then.
	upper atomic.Pointer[upperInode]

	copyMu sync.Mutex // held for a copy-up, and while names of the node change

	// loc is where the node was found; nil for the root and for what has no name. It
	// holds a reference on the parent. Changed with copyMu held.
	loc atomic.Pointer[place]

	// upMu is held, of a directory, while its upper directory changes.
	upMu sync.Mutex

	// extraLinks is how many names in lower filesystems the copied file still has.
	extraLinks atomic.Int32
}

// upperInode is an inode in a pointer. dir is the same as a directory, or nil.
type upperInode struct {
	inode vfs.Inode
	dir   vfs.Directory
}

type place struct {
	parent *node
	name   string
}

func (n *node) inode() vfs.Inode     { return n.self }
func (n *node) base() *vfs.InodeBase { return &n.InodeBase }
func (n *node) overlay() *node       { return n }

// upperMark distinguishes numbers of upper inodes from those of lower ones.
const upperMark = 1 << 48

// newNode makes a node with one reference. It takes over references on upper, lower and
// lowers, and adds one on parent. At least one of the three is set.
func (fs *Filesystem) newNode(upper, lower vfs.Inode, lowers []vfs.Directory, parent *node, name string) *node {
	top := upper
	if top == nil {
		if top = lower; lower == nil {
			top = lowers[0]
		}
	}
	var n *node
	switch top.(type) {
	case vfs.Directory:
		d := new(directory)
		n, d.self = &d.node, d
	case vfs.Symlink:
		s := new(symlink)
		n, s.self = &s.node, s
	default:
		mode, _, _ := top.Owner()
		if mode&unix.S_IFMT == unix.S_IFREG {
			r := new(regular)
			n, r.self = &r.node, r
		} else {
			s := new(special)
			n, s.self = &s.node, s
		}
	}
	n.fs, n.lower, n.lowers = fs, lower, lowers
	if lower != nil {
		n.origin = idOf(lower)
	} else if len(lowers) > 0 {
		n.origin = idOf(lowers[0])
	}
	if upper != nil {
		n.setUpper(upper)
	}
	if parent != nil {
		parent.IncRef()
		n.loc.Store(&place{parent, name})
	}
	return n
}

func idOf(i vfs.Inode) lowerID { return lowerID{i.FS(), inodeNumber(i)} }

func inodeNumber(i vfs.Inode) uint64 {
	if n, ok := i.(vfs.InodeNumberer); ok {
		return n.InodeNumber()
	}
	a, err := i.Stat(kernel)
	if err != nil {
		return 0
	}
	return a.Ino
}

// kernel is the context of copy-up: the overlay itself, not its caller, works on the layers.
var kernel = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

func (n *node) setUpper(i vfs.Inode) {
	u := &upperInode{inode: i}
	u.dir, _ = i.(vfs.Directory)
	n.upper.Store(u)
}

// top is the inode that counts now.
func (n *node) top() vfs.Inode {
	if u := n.upper.Load(); u != nil {
		return u.inode
	}
	if n.lower != nil {
		return n.lower
	}
	return n.lowers[0]
}

// upperDir is the upper directory, or nil.
func (n *node) upperDir() vfs.Directory {
	if u := n.upper.Load(); u != nil {
		return u.dir
	}
	return nil
}

// FS implements vfs.Inode.
func (n *node) FS() vfs.Filesystem { return n.fs }

// InodeNumber implements vfs.InodeNumberer: the number before copy-up stays.
func (n *node) InodeNumber() uint64 {
	if n.origin.fs != nil {
		return n.origin.ino
	}
	return inodeNumber(n.upper.Load().inode) | upperMark
}

// Owner implements vfs.Inode.
func (n *node) Owner() (uint32, auth.KUID, auth.KGID) { return n.top().Owner() }

// Stat implements vfs.Inode.
func (n *node) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := n.top().Stat(ctx)
	if err != nil {
		return a, err
	}
	a.Dev, a.Ino = n.fs.dev, n.InodeNumber()
	if a.Mode&unix.S_IFMT == unix.S_IFDIR {
		if len(n.lowers) > 0 && n.upper.Load() != nil {
			a.Nlink = 1 // not counted in merged directories, as Linux does
		}
	} else if a.Nlink > 0 || n.extraLinks.Load() > 0 {
		a.Nlink += uint32(n.extraLinks.Load())
	}
	return a, nil
}

// SetAttr implements vfs.Inode.
func (n *node) SetAttr(ctx context.Context, a vfs.SetAttr) error {
	empty := a.Mask&vfs.SetSize != 0 && a.Size == 0
	if err := n.copyUp(empty); err != nil {
		return err
	}
	return n.top().SetAttr(ctx, a)
}

// TouchAtime implements vfs.AtimeToucher: only copies keep access times.
func (n *node) TouchAtime(now int64, relatime bool) {
	if u := n.upper.Load(); u != nil {
		if t, ok := u.inode.(vfs.AtimeToucher); ok {
			t.TouchAtime(now, relatime)
		}
	}
}

// Open implements vfs.Inode for what vfs opens itself.
func (n *node) Open(ctx context.Context, flags uint32) (vfs.File, error) {
	return n.top().Open(ctx, flags)
}

// Release implements vfs.Inode.
func (n *node) Release(ctx context.Context) {
	if n.lower != nil {
		n.fs.mu.Lock()
		if n.fs.linked[n.origin] == n {
			delete(n.fs.linked, n.origin)
		}
		n.fs.mu.Unlock()
	}
	if u := n.upper.Load(); u != nil {
		vfs.PutInode(ctx, u.inode)
	}
	if n.lower != nil {
		vfs.PutInode(ctx, n.lower)
	}
	for _, l := range n.lowers {
		vfs.PutInode(ctx, l)
	}
	if p := n.loc.Load(); p != nil {
		vfs.PutInode(ctx, p.parent.self)
	}
}

// moveTo says where the node is now; nil: nowhere. The old parent's reference passes to the
// caller. copyMu is held.
func (n *node) moveTo(p *place) (old *node) {
	if p != nil {
		p.parent.IncRef()
	}
	if o := n.loc.Swap(p); o != nil {
		return o.parent
	}
	return nil
}

// privateXattr is the prefix of attributes that belong to the overlay.
const privateXattr = "trusted.overlay."

const opaqueXattr = privateXattr + "opaque"

func (n *node) xattrs() (vfs.Xattrs, error) {
	if x, ok := n.top().(vfs.Xattrs); ok {
		return x, nil
	}
	return nil, unix.EOPNOTSUPP
}

// GetXattr implements vfs.Xattrs.
func (n *node) GetXattr(ctx context.Context, name string) (string, error) {
	x, err := n.xattrs()
	if err != nil {
		return "", err
	}
	if strings.HasPrefix(name, privateXattr) {
		return "", unix.ENODATA
	}
	return x.GetXattr(ctx, name)
}

// SetXattr implements vfs.Xattrs.
func (n *node) SetXattr(ctx context.Context, name, value string, flags uint32) error {
	if strings.HasPrefix(name, privateXattr) {
		return unix.EPERM
	}
	if err := n.copyUp(false); err != nil {
		return err
	}
	x, err := n.xattrs()
	if err != nil {
		return err
	}
	return x.SetXattr(ctx, name, value, flags)
}

// ListXattr implements vfs.Xattrs.
func (n *node) ListXattr(ctx context.Context) ([]string, error) {
	x, err := n.xattrs()
	if err != nil {
		return nil, nil
	}
	names, err := x.ListXattr(ctx)
	kept := names[:0]
	for _, name := range names {
		if !strings.HasPrefix(name, privateXattr) {
			kept = append(kept, name)
		}
	}
	return kept, err
}

// RemoveXattr implements vfs.Xattrs.
func (n *node) RemoveXattr(ctx context.Context, name string) error {
	x, err := n.xattrs()
	if err != nil {
		return err
	}
	if _, err := n.GetXattr(ctx, name); err != nil {
		return err
	}
	if err := n.copyUp(false); err != nil {
		return err
	}
	if x, err = n.xattrs(); err != nil {
		return err
	}
	return x.RemoveXattr(ctx, name)
}

// symlink is a symbolic link.
type symlink struct{ node }

// Readlink implements vfs.Symlink.
func (s *symlink) Readlink(ctx context.Context) (string, error) {
	return s.top().(vfs.Symlink).Readlink(ctx)
}

// special is a FIFO, socket or device node, which vfs opens.
type special struct{ node }

// regular is a regular file.
type regular struct {
	node

	mappings mappings.List
	// shown is what mappings show: the lower file's Mappable or the upper one's. It is
	// read without a lock by page faults, and changes once, with the list locked.
	shown atomic.Pointer[shownFile]
}

// shownFile is an open file of a layer and what it shows when mapped.
type shownFile struct {
	file     vfs.File
	mappable memmap.Mappable
}

// Release implements vfs.Inode.
func (r *regular) Release(ctx context.Context) {
	if s := r.shown.Load(); s != nil {
		s.file.Release(ctx)
	}
	r.node.Release(ctx)
}
