package mqueue

import (
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/pseudo"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// Limits (/proc/sys/fs/mqueue) and their hard bounds (mq_overview(7)).
const (
	maxQueues       = 256   // queues_max
	defaultMessages = 10    // msg_default and msg_max
	defaultSize     = 8192  // msgsize_default and msgsize_max, bytes
	hardMessages    = 65536 // HARD_MSGMAX
	hardSize        = 16 << 20
	// messageOverhead is what a message counts beside its bytes (RLIMIT_MSGQUEUE).
	messageOverhead = 80
	mqueueMagic     = 0x19800202
	rootIno         = 1
)

// Attr is what a queue can hold.
type Attr struct {
	MaxMessages int64
	MessageSize int64 // bytes
}

// Creator is implemented by Contexts of mq_open(3).
type Creator interface {
	// QueueAttr is what a new queue is to hold; ok is false for the default.
	QueueAttr() (a Attr, ok bool)
	// QueueLimit is RLIMIT_MSGQUEUE in bytes.
	QueueLimit() uint64
}

// Filesystem is the message queues of an IPC namespace.
type Filesystem struct {
	pseudo.FS
	root *root

	mu     sync.Mutex // guards the fields below
	queues map[string]*Queue
	count  int                  // queues with a name or an open file
	bytes  map[auth.KUID]uint64 // what users' queues can hold
}

// New makes a namespace's filesystem.
func New(ctx context.Context, v *vfs.VFS) *Filesystem {
	f := &Filesystem{
		FS:     pseudo.FS{Type: "mqueue", Magic: mqueueMagic, Device: v.AnonDev()},
		queues: make(map[string]*Queue),
		bytes:  make(map[auth.KUID]uint64),
	}
	f.root = &root{fs: f}
	f.NewIno()
	f.root.Init(f, rootIno, unix.S_IFDIR|unix.S_ISVTX|0o777, auth.RootUID, auth.RootGID, ctx.RealTime())
	return f
}

// Root implements vfs.Filesystem.
func (f *Filesystem) Root() vfs.Inode { return f.root }

// root is the one directory.
type root struct {
	pseudo.Node
	vfs.ReadOnlyDir
	fs *Filesystem
}

// Caching implements vfs.Directory. Queues come and go through several mounts.
func (*root) Caching() vfs.Caching { return vfs.CacheNone }

// Lookup implements vfs.Directory.
func (r *root) Lookup(_ context.Context, name string) (vfs.Inode, error) {
	r.fs.mu.Lock()
	defer r.fs.mu.Unlock()
	if q := r.fs.queues[name]; q != nil {
		q.IncRef()
		return q, nil
	}
	return nil, unix.ENOENT
}

// Create implements vfs.Directory.
func (r *root) Create(ctx context.Context, name string, o vfs.NewOwner) (vfs.Inode, error) {
	a, limit := Attr{defaultMessages, defaultSize}, ^uint64(0)
	if c, ok := ctx.(Creator); ok {
		limit = c.QueueLimit()
		if want, ok := c.QueueAttr(); ok {
			a = want
		}
	}
	creds := ctx.Credentials()
	privileged := creds.HasCapability(unix.CAP_SYS_RESOURCE)
	if err := a.check(privileged); err != nil {
		return nil, err
	}
	f := r.fs
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.queues[name] != nil {
		return nil, unix.EEXIST
	}
	if f.count >= maxQueues && !privileged {
		return nil, unix.ENOSPC
	}
	size := uint64(a.MaxMessages) * uint64(a.MessageSize+messageOverhead)
	if f.bytes[creds.RealUID]+size > limit {
		return nil, unix.EMFILE
	}
	q := &Queue{fs: f, attr: a, payer: creds.RealUID, charged: size}
	q.Init(f, f.NewIno(), unix.S_IFREG|o.Mode&0o7777, o.UID, o.GID, ctx.RealTime())
	q.IncRef() // the directory's
	f.queues[name] = q
	f.count++
	f.bytes[q.payer] += size
	return q, nil
}

// check refuses what nobody, or only a privileged caller, can have.
func (a Attr) check(privileged bool) error {
	if a.MaxMessages <= 0 || a.MessageSize <= 0 {
		return unix.EINVAL
	}
	messages, size := int64(defaultMessages), int64(defaultSize)
	if privileged {
		messages, size = hardMessages, hardSize
	}
	if a.MaxMessages > messages || a.MessageSize > size {
		return unix.EINVAL
	}
	return nil
}

// Unlink implements vfs.Directory.
func (r *root) Unlink(ctx context.Context, name string, child vfs.Inode) error {
	r.fs.mu.Lock()
	q := r.fs.queues[name]
	if q == nil || q != child {
		r.fs.mu.Unlock()
		return unix.ENOENT
	}
	delete(r.fs.queues, name)
	r.fs.mu.Unlock()
	vfs.PutInode(ctx, q)
	return nil
}

// Open implements vfs.Inode.
func (r *root) Open(context.Context, uint32) (vfs.File, error) { return pseudo.NewDirFile(r), nil }

// Entries implements pseudo.Lister.
func (r *root) Entries(context.Context) ([]pseudo.Entry, error) {
	r.fs.mu.Lock()
	defer r.fs.mu.Unlock()
	list := make([]pseudo.Entry, 0, len(r.fs.queues))
	for name, q := range r.fs.queues {
		list = append(list, pseudo.Entry{Name: name, Ino: q.InodeNumber(), Type: unix.DT_REG})
	}
	slices.SortFunc(list, func(a, b pseudo.Entry) int { return strings.Compare(a.Name, b.Name) })
	return list, nil
}

// Finder finds the queues of the task behind a Context.
type Finder interface {
	QueuesOf(ctx context.Context) *Filesystem
}

// Type is the filesystem type, for mount(2): every mount shows the queues of the mounter's
// IPC namespace.
type Type struct{ Finder Finder }

// NewFilesystem implements vfs.FilesystemType.
func (t *Type) NewFilesystem(ctx context.Context, _ *vfs.VFS, _, _ string) (vfs.Filesystem, error) {
	return t.Finder.QueuesOf(ctx), nil
}

// NeedsDevice implements vfs.FilesystemType.
func (*Type) NeedsDevice() bool { return false }

// UserMountable implements vfs.FilesystemType.
func (*Type) UserMountable() bool { return true }
