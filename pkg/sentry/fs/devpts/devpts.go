// Package devpts is the filesystem of pseudoterminals (pts(4)): a node ptmx, whose open
// makes a new pair, and a device node for the replica of each.
//
// Every mount is an instance of its own, with its own numbers. Terminals themselves are
// package tty's. A container's console, whose other side is a terminal of the host, can be
// given a number here, so that ttyname(3) finds it.
//
// Lock order: Filesystem.mu → nothing; no terminal's lock is taken with it held.
package devpts

import (
	"fmt"
	"sort"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/pseudo"
	"runsc/pkg/sentry/fs/tty"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// Inode numbers: the root, ptmx, and replica N at replicaIno+N.
const (
	rootIno    = 1
	ptmxIno    = 2
	replicaIno = 3
)

// maxTerminals is the most pseudoterminals of an instance, as kernel.pty.max.
const maxTerminals = 4096

// Options are the mount options of pts(4).
type Options struct {
	UID      *auth.KUID // of replicas; nil: that of whoever opens ptmx
	GID      *auth.KGID
	Mode     uint32 // of replicas
	PtmxMode uint32
	Max      int
}

// DefaultOptions are those of a mount without options.
func DefaultOptions() Options { return Options{Mode: 0o600, Max: maxTerminals} }

// ParseOptions reads mount(2)'s data over o. EINVAL (wrapped): unknown or malformed.
func ParseOptions(data string, ns *auth.UserNamespace, o *Options) error {
	for opt := range strings.SplitSeq(data, ",") {
		key, value, _ := strings.Cut(opt, "=")
		base := 8
		switch key {
		case "", "newinstance":
			continue
		case "gid", "uid", "max":
			base = 10
		case "mode", "ptmxmode":
		default:
			return fmt.Errorf("devpts: option %q: %w", opt, unix.EINVAL)
		}
		n, err := strconv.ParseUint(value, base, 32)
		if err != nil {
			return fmt.Errorf("devpts: option %q: %w", opt, unix.EINVAL)
		}
		switch key {
		case "uid":
			id := ns.KUID(uint32(n))
			o.UID = &id
		case "gid":
			id := ns.KGID(uint32(n))
			o.GID = &id
		case "max":
			o.Max = int(min(n, maxTerminals))
		case "mode":
			o.Mode = uint32(n) & 0o777
		case "ptmxmode":
			o.PtmxMode = uint32(n) & 0o777
		}
	}
	return nil
}

// Type is the filesystem type, for mount(2).
type Type struct{ Jobs tty.Jobs }

// NewFilesystem implements vfs.FilesystemType.
func (t *Type) NewFilesystem(ctx context.Context, v *vfs.VFS, _, data string) (vfs.Filesystem, error) {
	o := DefaultOptions()
	if err := ParseOptions(data, ctx.Credentials().UserNS, &o); err != nil {
		return nil, unix.EINVAL
	}
	return New(ctx, v, t.Jobs, o), nil
}

// NeedsDevice implements vfs.FilesystemType.
func (*Type) NeedsDevice() bool { return false }

// UserMountable implements vfs.FilesystemType.
func (*Type) UserMountable() bool { return true }

// Filesystem is an instance.
type Filesystem struct {
	pseudo.FS
	vfs  *vfs.VFS
	jobs tty.Jobs
	opts Options
	root *root
	ptmx *ptmx

	mu       sync.Mutex // guards the field below
	replicas map[int]*replica
}

// New makes an instance.
func New(ctx context.Context, v *vfs.VFS, jobs tty.Jobs, o Options) *Filesystem {
	if jobs == nil {
		jobs = tty.NoJobs{}
	}
	fs := &Filesystem{
		FS:  pseudo.FS{Type: "devpts", Magic: unix.DEVPTS_SUPER_MAGIC, Device: v.AnonDev()},
		vfs: v, jobs: jobs, opts: o, replicas: map[int]*replica{},
	}
	now := ctx.RealTime()
	fs.root = &root{fs: fs}
	fs.root.Init(fs, rootIno, unix.S_IFDIR|0o755, auth.RootUID, auth.RootGID, now)
	fs.ptmx = &ptmx{fs: fs}
	fs.ptmx.Init(fs, ptmxIno, unix.S_IFCHR|o.PtmxMode, auth.RootUID, auth.RootGID, now)
	return fs
}

// Root implements vfs.Filesystem.
func (fs *Filesystem) Root() vfs.Inode { return fs.root }

// Options implements vfs.Filesystem.
func (fs *Filesystem) Options() string {
	s := ""
	if fs.opts.UID != nil {
		s += fmt.Sprintf("uid=%d,", *fs.opts.UID)
	}
	if fs.opts.GID != nil {
		s += fmt.Sprintf("gid=%d,", *fs.opts.GID)
	}
	s += fmt.Sprintf("mode=%03o,ptmxmode=%03o", fs.opts.Mode, fs.opts.PtmxMode)
	if fs.opts.Max != maxTerminals {
		s += fmt.Sprintf(",max=%d", fs.opts.Max)
	}
	return s
}

// opener opens a terminal's replica: a tty.Master or a console.
type opener interface {
	OpenReplica(ctx context.Context, flags uint32) (*tty.Replica, error)
	Terminal() *tty.Terminal
}

// add makes the replica node of a terminal with the lowest free number. ENOSPC: too many.
func (fs *Filesystem) add(ctx context.Context, o func(index int) (opener, error)) (opener, error) {
	fs.mu.Lock()
	index := 0
	for fs.replicas[index] != nil {
		index++
	}
	if index >= fs.opts.Max {
		fs.mu.Unlock()
		return nil, unix.ENOSPC
	}
	r := &replica{}
	fs.replicas[index] = r // taken; without a terminal it is not seen
	fs.mu.Unlock()
	term, err := o(index)
	if err != nil {
		fs.mu.Lock()
		delete(fs.replicas, index)
		fs.mu.Unlock()
		return nil, err
	}
	c := ctx.Credentials()
	uid, gid := c.FSUID, c.FSGID
	if fs.opts.UID != nil {
		uid = *fs.opts.UID
	}
	if fs.opts.GID != nil {
		gid = *fs.opts.GID
	}
	r.Init(fs, uint64(replicaIno+index), unix.S_IFCHR|fs.opts.Mode, uid, gid, ctx.RealTime())
	fs.mu.Lock()
	r.term = term
	fs.mu.Unlock()
	return term, nil
}

// remove forgets the replica number index.
func (fs *Filesystem) remove(ctx context.Context, index int) {
	fs.mu.Lock()
	r := fs.replicas[index]
	delete(fs.replicas, index)
	fs.mu.Unlock()
	if r != nil {
		vfs.PutInode(ctx, r)
	}
}

// NewPair makes a pseudoterminal and returns its master's file.
func (fs *Filesystem) NewPair(ctx context.Context) (*tty.Master, error) {
	o, err := fs.add(ctx, func(index int) (opener, error) {
		return tty.NewPair(fs.jobs, owner{fs}, index), nil
	})
	if err != nil {
		return nil, err
	}
	return o.(*tty.Master), nil
}

// console opens a terminal whose other side is on the host.
type console struct{ host *tty.HostTTY }

// OpenReplica implements opener.
func (c console) OpenReplica(ctx context.Context, flags uint32) (*tty.Replica, error) {
	return c.host.Terminal().Open(ctx, flags)
}

// Terminal implements opener.
func (c console) Terminal() *tty.Terminal { return c.host.Terminal() }

// NewConsole takes over a descriptor of a host terminal and shows it as /dev/pts/N, N being
// its Terminal's Index.
func (fs *Filesystem) NewConsole(ctx context.Context, file *fd.FD) (*tty.HostTTY, error) {
	o, err := fs.add(ctx, func(index int) (opener, error) {
		h, err := tty.NewHostTTY(file, fs.jobs, owner{fs}, index)
		if err != nil {
			return nil, err
		}
		return console{h}, nil
	})
	if err != nil {
		return nil, err
	}
	return o.(console).host, nil
}

// owner is the filesystem as tty.Owner.
type owner struct{ fs *Filesystem }

var background = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

// MasterClosed implements tty.Owner.
func (o owner) MasterClosed(t *tty.Terminal) { o.fs.remove(background, t.Index()) }

// OpenPeer implements tty.Owner: TIOCGPTPEER.
func (o owner) OpenPeer(ctx context.Context, t *tty.Terminal, flags uint32) (uint64, error) {
	o.fs.mu.Lock()
	r := o.fs.replicas[t.Index()]
	o.fs.mu.Unlock()
	if r == nil || r.term == nil {
		return 0, unix.EIO
	}
	f, err := r.term.OpenReplica(ctx, flags)
	if err != nil {
		return 0, err
	}
	r.IncRef()
	name := "/dev/pts/" + strconv.Itoa(t.Index())
	file := vfs.NewFileDescription(vfs.AnonPath(name, r), f, flags)
	n, err := o.fs.jobs.InstallFile(ctx, file, flags&unix.O_CLOEXEC != 0)
	if err != nil {
		file.DecRef(ctx)
		return 0, err
	}
	return uint64(n), nil
}

// root is the top directory.
type root struct {
	pseudo.Node
	vfs.ReadOnlyDir
	fs *Filesystem
}

// Caching implements vfs.Directory.
func (*root) Caching() vfs.Caching { return vfs.CacheNone }

// Lookup implements vfs.Directory.
func (d *root) Lookup(_ context.Context, name string) (vfs.Inode, error) {
	if name == "ptmx" {
		d.fs.ptmx.IncRef()
		return d.fs.ptmx, nil
	}
	n, err := strconv.Atoi(name)
	if err != nil || strconv.Itoa(n) != name {
		return nil, unix.ENOENT
	}
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	r := d.fs.replicas[n]
	if r == nil || r.term == nil {
		return nil, unix.ENOENT
	}
	r.IncRef()
	return r, nil
}

// Entries implements pseudo.Lister.
func (d *root) Entries(context.Context) ([]pseudo.Entry, error) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	out := []pseudo.Entry{{Name: "ptmx", Ino: ptmxIno, Type: unix.DT_CHR, Cookie: 3}}
	for n, r := range d.fs.replicas {
		if r.term != nil {
			out = append(out, pseudo.Entry{Name: strconv.Itoa(n), Ino: uint64(replicaIno + n), Type: unix.DT_CHR, Cookie: int64(4 + n)})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Cookie < out[j].Cookie })
	return out, nil
}

// Open implements vfs.Inode.
func (d *root) Open(context.Context, uint32) (vfs.File, error) { return pseudo.NewDirFile(d), nil }

// ptmx is the node that makes pairs.
type ptmx struct {
	pseudo.Node
	fs *Filesystem
}

// OpensItself implements vfs.SpecialOpener.
func (*ptmx) OpensItself() {}

// Open implements vfs.Inode.
func (p *ptmx) Open(ctx context.Context, _ uint32) (vfs.File, error) {
	m, err := p.fs.NewPair(ctx)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Stat implements vfs.Inode.
func (p *ptmx) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := p.Node.Stat(ctx)
	a.Rdev = unix.Mkdev(5, 2)
	return a, err
}

// replica is a terminal's node.
type replica struct {
	pseudo.Node
	term opener // guarded by Filesystem.mu until it is set
}

// OpensItself implements vfs.SpecialOpener.
func (*replica) OpensItself() {}

// Open implements vfs.Inode.
func (r *replica) Open(ctx context.Context, flags uint32) (vfs.File, error) {
	f, err := r.term.OpenReplica(ctx, flags)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Stat implements vfs.Inode.
func (r *replica) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := r.Node.Stat(ctx)
	a.Rdev = r.term.Terminal().DeviceNumber()
	return a, err
}

// PtmxDevice opens device nodes with ptmx's number that lie outside: /dev/ptmx, beside the
// directory on which an instance is mounted.
type PtmxDevice struct{ VFS *vfs.VFS }

// OpenDevice implements vfs.DeviceOpener. ENODEV: no instance is mounted at "pts" beside it.
func (d PtmxDevice) OpenDevice(ctx context.Context, p vfs.Path, _ uint64, _ uint32) (vfs.File, error) {
	parent := p.Dentry.Parent()
	if parent == nil {
		return nil, unix.ENODEV
	}
	dir := vfs.Path{Mount: p.Mount, Dentry: parent}
	pts, err := d.VFS.LookupAt(ctx, &vfs.PathOp{Root: dir, Start: dir, Pathname: "pts"})
	if err != nil {
		return nil, unix.ENODEV
	}
	defer pts.DecRef(ctx)
	fs, ok := pts.Mount.Filesystem().(*Filesystem)
	if !ok {
		return nil, unix.ENODEV
	}
	m, err := fs.NewPair(ctx)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// Register makes the terminals' devices known to v: /dev/tty, /dev/ptmx, and /dev/console if
// there is one.
func Register(v *vfs.VFS, jobs tty.Jobs, console *tty.Terminal) {
	if jobs == nil {
		jobs = tty.NoJobs{}
	}
	v.RegisterDevice(unix.S_IFCHR, 5, 0, tty.CurrentDevice{Jobs: jobs})
	v.RegisterDevice(unix.S_IFCHR, 5, 1, tty.ConsoleDevice{Terminal: console})
	v.RegisterDevice(unix.S_IFCHR, 5, 2, PtmxDevice{v})
	v.RegisterFilesystemType("devpts", &Type{jobs})
}
