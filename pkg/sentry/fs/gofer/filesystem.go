package gofer

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/pkg/p9"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/vfs"
)

// Options describe one mount.
type Options struct {
	// Shared: others change the files too, so nothing is cached unasked.
	Shared bool

	// IdleFDs is how many host descriptors of files that nobody has open are kept, in
	// exclusive mode. 0 means DefaultIdleFDs.
	IdleFDs int
}

// DefaultIdleFDs is the default of Options.IdleFDs.
const DefaultIdleFDs = 4096

// Filesystem is one connection to a gofer.
type Filesystem struct {
	shared  bool
	idleFDs int64
	dev     uint64
	client  *p9.Client `state:"nosave"`
	root    vfs.Inode

	hostFDs  atomic.Int64 // hostFiles there are
	listed   atomic.Int64 // entries of all listings
	reported atomic.Bool  // that the gofer is gone

	// epoch goes up when an inode is released whose attributes may not be those of a
	// listing any more: then no listing's attributes are used.
	epoch atomic.Uint64

	mu     sync.Mutex      // guards the field below
	inodes map[uint64]node // by QID path
}

// node is any of this package's inodes.
type node interface {
	vfs.Inode
	common() *inode
}

// New mounts what the gofer at the other end of the socket sock serves; the descriptor belongs
// to the filesystem from now on, even on failure.
func New(v *vfs.VFS, sock int, o Options) (*Filesystem, error) {
	client, err := p9.NewClient(sock, p9.MaxMessageSize)
	if err != nil {
		return nil, err
	}
	if client.Extension() == 0 {
		client.Close()
		return nil, unix.EPROTO
	}
	fs := &Filesystem{
		shared:  o.Shared,
		idleFDs: int64(o.IdleFDs),
		dev:     v.AnonDev(),
		client:  client,
		inodes:  map[uint64]node{},
	}
	if fs.idleFDs == 0 {
		fs.idleFDs = DefaultIdleFDs
	}
	client.Relieve = v.Relieve
	root, err := client.Attach("")
	if err == nil {
		var a p9.Attr
		if a, err = root.GetAttr(); err == nil {
			fs.root, err = fs.adopt(nil, "", p9.WalkResult{File: root, Attr: a})
			return fs, err
		}
	}
	client.Close()
	return nil, err
}

// TypeName implements vfs.Filesystem.
func (*Filesystem) TypeName() string { return "9p" }

// Root implements vfs.Filesystem.
func (fs *Filesystem) Root() vfs.Inode { return fs.root }

// Dev implements vfs.Filesystem.
func (fs *Filesystem) Dev() uint64 { return fs.dev }

// Options implements vfs.Filesystem.
func (fs *Filesystem) Options() string {
	if fs.shared {
		return "trans=fd,access=any,cache=none"
	}
	return "trans=fd,access=any,cache=loose"
}

// StatFS implements vfs.Filesystem.
func (fs *Filesystem) StatFS(context.Context) (vfs.StatFS, error) {
	s, err := fs.root.(node).common().file.Load().StatFS()
	if err != nil {
		return vfs.StatFS{}, fs.failed(err)
	}
	return vfs.StatFS{
		Type:        int64(s.Type),
		BlockSize:   int64(s.BlockSize),
		Blocks:      s.Blocks,
		BlocksFree:  s.BlocksFree,
		BlocksAvail: s.BlocksAvailable,
		Files:       s.Files,
		FilesFree:   s.FilesFree,
		NameLength:  int64(s.NameLength),
	}, nil
}

// Sync implements vfs.Filesystem: files that were written to are flushed to the host's disk.
func (fs *Filesystem) Sync(ctx context.Context) error {
	var dirty []*regular
	fs.mu.Lock()
	for _, n := range fs.inodes {
		if r, ok := n.(*regular); ok && r.dirty.Load() && r.TryIncRef() {
			dirty = append(dirty, r)
		}
	}
	fs.mu.Unlock()
	var first error
	for _, r := range dirty {
		if err := r.sync(true); err != nil && first == nil {
			first = err
		}
		vfs.PutInode(ctx, r)
	}
	return first
}

// Release implements vfs.Filesystem.
func (fs *Filesystem) Release(context.Context) { fs.client.Close() }

// Err returns why the gofer cannot be reached any more, or nil.
func (fs *Filesystem) Err() error { return fs.client.Dead() }

// failed passes on an error of a request, and says in the log, once, that the gofer is gone. A
// limit of the sandbox or its gofer that was reached is the whole system's to the application.
func (fs *Filesystem) failed(err error) error {
	if err == unix.EMFILE {
		return unix.ENFILE
	}
	if err == unix.EIO && !fs.reported.Load() {
		if why := fs.client.Dead(); why != nil && !fs.reported.Swap(true) {
			log.Warningf("gofer: the file server is gone, its files fail from now on: %v", why)
		}
	}
	return err
}

// adopt returns the inode for what a walk found in d (nil for the root), with a reference for
// the caller: the one that there is already, or a new one that takes over the fid. A directory
// that is found inside itself is refused with ELOOP: vfs's locks rely on trees being trees.
func (fs *Filesystem) adopt(d *directory, name string, r p9.WalkResult) (vfs.Inode, error) {
	key := r.Attr.QID.Path
	fs.mu.Lock()
	n := fs.inodes[key]
	if n != nil && n.common().sameType(&r.Attr) && n.common().TryIncRef() {
		fs.mu.Unlock()
		if dir, ok := n.(*directory); ok && d.isBelow(dir) {
			r.File.Close()
			vfs.PutInode(nil, n)
			return nil, unix.ELOOP
		}
		n.common().giveFID(r.File)
		n.common().learn(&r.Attr)
		n.common().found(d, name)
		return n, nil
	}
	n = fs.newInode(r)
	if d != nil {
		d.IncRef()
		n.common().dir, n.common().name = d, name
	}
	fs.inodes[key] = n
	fs.mu.Unlock()
	return n, nil
}

// maxDepth bounds the search for a directory's ancestors, which others may move meanwhile.
const maxDepth = 4096

// isBelow says whether d (nil: no) is dir or lies somewhere below it.
func (d *directory) isBelow(dir *directory) bool {
	for depth := 0; d != nil; depth++ {
		if d == dir || depth > maxDepth {
			return true
		}
		d.walkMu.Lock()
		up := d.dir
		d.walkMu.Unlock()
		d = up
	}
	return false
}

// adoptListed returns the inode for an entry of d's listing, made in epoch, without a fid for
// the time being; nil if the attributes are too old.
func (fs *Filesystem) adoptListed(d *directory, name string, a *p9.Attr, epoch uint64) vfs.Inode {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.inodes[a.QID.Path]
	if n != nil && n.common().sameType(a) {
		if _, isDir := n.(*directory); isDir {
			return nil // adopt looks at it closely
		}
		if n.common().TryIncRef() {
			return n
		}
	}
	// An inode that was changed raises the epoch before it leaves the table.
	if fs.epoch.Load() != epoch {
		return nil
	}
	n = fs.newInode(p9.WalkResult{Attr: *a})
	d.IncRef()
	i := n.common()
	i.dir, i.name = d, name
	fs.inodes[a.QID.Path] = n
	return n
}

// forget takes a released inode out of the table, unless a new one has its place.
func (fs *Filesystem) forget(i *inode) {
	fs.mu.Lock()
	if n := fs.inodes[i.key]; n != nil && n.common() == i {
		delete(fs.inodes, i.key)
	}
	fs.mu.Unlock()
}
