package boot

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/gofer"
	"runsc/pkg/sentry/fs/overlay"
	"runsc/pkg/sentry/fs/tmpfs"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/runsc/config"
)

// defaultMounts are there unless the specification mounts something at the same place.
var defaultMounts = []MountInfo{
	{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "nodev", "noexec"}, GoferIndex: -1},
	{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "nodev", "noexec", "ro"}, GoferIndex: -1},
	{Destination: "/dev", Type: "devtmpfs", Source: "devtmpfs", Options: []string{"nosuid", "mode=755"}, GoferIndex: -1},
	{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}, GoferIndex: -1},
	{Destination: "/dev/shm", Type: "tmpfs", Source: "shm", Options: []string{"nosuid", "nodev", "noexec", "mode=1777"}, GoferIndex: -1},
	{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "nodev", "noexec"}, GoferIndex: -1},
}

func (l *Loader) goferOptions(a config.FileAccess) gofer.Options {
	return gofer.Options{Shared: a == config.FileAccessShared, IdleFDs: l.idleFDs}
}

// mount builds a container's mount namespace: the root, then what is always there, then the
// specification's mounts in order, then the masked and read-only paths.
func (l *Loader) mount(a *Args) (*vfs.MountNamespace, error) {
	ctx := rootContext(l.k)
	v := l.k.VFS()
	if len(a.GoferFDs) == 0 {
		return nil, errors.New("the gofer serves no root")
	}
	root, err := gofer.New(v, a.GoferFDs[0], l.goferOptions(a.Conf.FileAccess))
	if err != nil {
		return nil, fmt.Errorf("root filesystem: %w", err)
	}
	readOnly := a.Spec.Root != nil && a.Spec.Root.Readonly
	mounts := withDefaults(a.Mounts)
	var top vfs.Filesystem = root
	if a.Conf.Overlay2.Root || readOnly {
		// Mount points that a read-only root lacks appear all the same, in memory.
		top, err = l.overlay(ctx, root)
	}
	if err != nil {
		return nil, fmt.Errorf("overlay over the root filesystem: %w", err)
	}
	ns := v.NewMountNamespace(l.k.RootUserNamespace(), top, "none", 0)
	m := &mounter{l: l, ctx: ctx, v: v, ns: ns, root: ns.Root(), args: a}
	defer m.root.DecRef(ctx)
	for i := range mounts {
		if err := m.mountOne(&mounts[i]); err != nil {
			ns.DecRef(ctx)
			return nil, fmt.Errorf("mount %s at %s: %w", describe(&mounts[i]), mounts[i].Destination, err)
		}
	}
	if err := m.mountTmp(mounts); err != nil {
		ns.DecRef(ctx)
		return nil, fmt.Errorf("mount tmpfs at /tmp: %w", err)
	}
	if err := m.restrict(); err != nil {
		ns.DecRef(ctx)
		return nil, err
	}
	if readOnly {
		if err := v.Remount(ctx, ns, m.root, unix.MS_RDONLY); err != nil {
			ns.DecRef(ctx)
			return nil, fmt.Errorf("read-only root filesystem: %w", err)
		}
	}
	return ns, nil
}

func describe(m *MountInfo) string {
	if m.Source != "" {
		return m.Source
	}
	return m.Type
}

func withDefaults(spec []MountInfo) []MountInfo {
	given := map[string]bool{}
	for _, m := range spec {
		given[path.Clean(m.Destination)] = true
	}
	var out []MountInfo
	for _, m := range defaultMounts {
		if !given[m.Destination] {
			// A specification that mounts over /dev brings what lies below it, but for
			// what programs cannot do without.
			out = append(out, m)
		}
	}
	// Parents first: a default below a mount of the specification comes after it.
	var early, late []MountInfo
	for _, m := range out {
		if p := path.Dir(m.Destination); p != "/" && given[p] {
			late = append(late, m)
		} else {
			early = append(early, m)
		}
	}
	return append(append(early, spec...), late...)
}

// overlay puts memory over lower.
func (l *Loader) overlay(ctx context.Context, lower vfs.Filesystem) (vfs.Filesystem, error) {
	upper := tmpfs.New(ctx, l.k.VFS(), l.k.MemoryFile(), tmpfs.Options{})
	return overlay.New(ctx, l.k.VFS(), overlay.Options{Upper: upper, Lowers: []vfs.Filesystem{lower}})
}

// mounter mounts what a container's specification says.
type mounter struct {
	l    *Loader
	ctx  context.Context
	v    *vfs.VFS
	ns   *vfs.MountNamespace
	root vfs.Path
	args *Args
}

func (m *mounter) op(name string) *vfs.PathOp {
	return &vfs.PathOp{Root: m.root, Start: m.root, Pathname: name}
}

// mountOne mounts one entry. A filesystem type that the sandbox does not have is skipped
// with a warning, as Docker's users expect.
func (m *mounter) mountOne(mi *MountInfo) error {
	flags, data := mountOptions(mi.Options)
	if mi.ReadOnly {
		flags |= unix.MS_RDONLY
	}
	var fs vfs.Filesystem
	var err error
	if mi.GoferIndex >= 0 {
		if mi.GoferIndex >= len(m.args.GoferFDs) {
			return fmt.Errorf("the gofer has no socket %d", mi.GoferIndex)
		}
		fs, err = gofer.New(m.v, m.args.GoferFDs[mi.GoferIndex], m.l.goferOptions(m.args.Conf.FileAccessMounts))
		if err == nil && m.args.Conf.Overlay2.Mounts && !mi.IsFile && flags&unix.MS_RDONLY == 0 {
			fs, err = m.l.overlay(m.ctx, fs)
		}
	} else {
		typ := mi.Type
		if typ == "tmpfs" && path.Clean(mi.Destination) == "/dev" {
			typ = "devtmpfs" // the usual specification: a tmpfs that the runtime fills
		}
		t := m.v.FilesystemType(typ)
		if t == nil {
			log.Warningf("mount at %s: filesystem type %q is not supported: skipped", mi.Destination, mi.Type)
			return nil
		}
		fs, err = t.NewFilesystem(m.ctx, m.v, mi.Source, data)
	}
	if err != nil {
		return err
	}
	target, err := m.mountPoint(mi.Destination, mi.IsFile)
	if err != nil {
		return err
	}
	defer target.DecRef(m.ctx)
	source := mi.Source
	if source == "" {
		source = mi.Type
	}
	return m.v.MountFilesystem(m.ctx, m.ns, target, fs, source, flags)
}

// mountPoint returns the place of a mount, made if it is missing.
func (m *mounter) mountPoint(dest string, file bool) (vfs.Path, error) {
	dest = path.Clean("/" + dest)
	p, err := m.lookup(dest)
	if err == nil || err != unix.ENOENT {
		return p, err
	}
	at := ""
	parts := strings.Split(strings.TrimPrefix(dest, "/"), "/")
	for i, part := range parts {
		at += "/" + part
		if i == len(parts)-1 && file {
			err = m.v.MknodAt(m.ctx, m.op(at), unix.S_IFREG|0o644, 0)
		} else {
			err = m.v.MkdirAt(m.ctx, m.op(at), 0o755)
		}
		if err != nil && err != unix.EEXIST {
			return vfs.Path{}, fmt.Errorf("making the mount point: %w", err)
		}
	}
	return m.lookup(dest)
}

func (m *mounter) lookup(name string) (vfs.Path, error) {
	return lookupPath(m.ctx, m.v, m.root, name)
}

// lookupPath finds the object that name leads to, with a reference for the caller.
func lookupPath(ctx context.Context, v *vfs.VFS, root vfs.Path, name string) (vfs.Path, error) {
	f, err := v.OpenAt(ctx, &vfs.PathOp{Root: root, Start: root, Pathname: name}, vfs.OpenOpts{Flags: unix.O_PATH})
	if err != nil {
		return vfs.Path{}, err
	}
	p := f.Path()
	p.IncRef()
	f.DecRef(ctx)
	return p, nil
}

// mountTmp puts a tmpfs on /tmp if the image has none or an empty one, and nothing is
// mounted there.
func (m *mounter) mountTmp(mounts []MountInfo) error {
	for _, mi := range mounts {
		if d := path.Clean(mi.Destination); d == "/tmp" || strings.HasPrefix(d, "/tmp/") {
			return nil
		}
	}
	if f, err := m.v.OpenAt(m.ctx, m.op("/tmp"), vfs.OpenOpts{Flags: unix.O_RDONLY | unix.O_DIRECTORY}); err == nil {
		var n entryCounter
		f.IterDirents(m.ctx, &n)
		f.DecRef(m.ctx)
		if n > 2 {
			return nil
		}
	} else if err != unix.ENOENT {
		return nil // a symlink to elsewhere, a file: the image knows what it wants
	}
	return m.mountOne(&MountInfo{Destination: "/tmp", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}, GoferIndex: -1})
}

// entryCounter counts directory entries, "." and ".." included.
type entryCounter int

// Add implements vfs.DirentSink.
func (n *entryCounter) Add(vfs.Dirent) bool {
	*n++
	return *n < 4
}

// restrict applies linux.maskedPaths and linux.readonlyPaths.
func (m *mounter) restrict() error {
	lx := m.args.Spec.Linux
	if lx == nil {
		return nil
	}
	for _, p := range lx.ReadonlyPaths {
		target, err := m.lookup(p)
		if err != nil {
			continue // nothing there to protect
		}
		err = m.v.BindMount(m.ctx, m.ns, target, target, true)
		target.DecRef(m.ctx)
		if err != nil {
			return fmt.Errorf("read-only path %s: %w", p, err)
		}
		if target, err = m.lookup(p); err != nil {
			return fmt.Errorf("read-only path %s: %w", p, err)
		}
		err = m.v.Remount(m.ctx, m.ns, target, unix.MS_RDONLY|target.Mount.Flags())
		target.DecRef(m.ctx)
		if err != nil {
			return fmt.Errorf("read-only path %s: %w", p, err)
		}
	}
	for _, p := range lx.MaskedPaths {
		if err := m.mask(p); err != nil {
			return fmt.Errorf("masked path %s: %w", p, err)
		}
	}
	return nil
}

// mask hides a directory behind an empty one and a file behind /dev/null.
func (m *mounter) mask(p string) error {
	target, err := m.lookup(p)
	if err != nil {
		return nil
	}
	defer target.DecRef(m.ctx)
	if mode, _, _ := target.Inode().Owner(); mode&unix.S_IFMT != unix.S_IFDIR {
		null, err := m.lookup("/dev/null")
		if err != nil {
			return err
		}
		defer null.DecRef(m.ctx)
		return m.v.BindMount(m.ctx, m.ns, null, target, false)
	}
	empty := tmpfs.New(m.ctx, m.v, m.l.k.MemoryFile(), tmpfs.Options{Mode: 0o755, ModeSet: true})
	return m.v.MountFilesystem(m.ctx, m.ns, target, empty, "tmpfs", unix.MS_RDONLY)
}

// mountOptions splits the options of a mount into flags and the filesystem's own.
func mountOptions(opts []string) (flags uint64, data string) {
	var own []string
	for _, o := range opts {
		switch o {
		case "ro":
			flags |= unix.MS_RDONLY
		case "nosuid":
			flags |= unix.MS_NOSUID
		case "nodev":
			flags |= unix.MS_NODEV
		case "noexec":
			flags |= unix.MS_NOEXEC
		case "noatime":
			flags |= unix.MS_NOATIME
		case "nodiratime":
			flags |= unix.MS_NODIRATIME
		case "relatime":
			flags |= unix.MS_RELATIME
		case "strictatime":
			flags |= unix.MS_STRICTATIME
		case "sync":
			flags |= unix.MS_SYNCHRONOUS
		case "dirsync":
			flags |= unix.MS_DIRSYNC
		case "rw", "suid", "dev", "exec", "atime", "diratime", "async", "norelatime", "nostrictatime", "defaults", "bind", "rbind",
			"private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable", "mand", "nomand", "tmpcopyup":
		default:
			own = append(own, o)
		}
	}
	return flags, strings.Join(own, ",")
}

// directory opens the working directory, making it if it is missing, as runc does.
func (l *Loader) directory(root vfs.Path, name string) (vfs.Path, error) {
	ctx := rootContext(l.k)
	v := l.k.VFS()
	p, err := lookupPath(ctx, v, root, name)
	if err == unix.ENOENT {
		at := ""
		for _, part := range strings.Split(strings.Trim(path.Clean(name), "/"), "/") {
			at += "/" + part
			if err := v.MkdirAt(ctx, &vfs.PathOp{Root: root, Start: root, Pathname: at}, 0o755); err != nil && err != unix.EEXIST {
				return vfs.Path{}, err
			}
		}
		p, err = lookupPath(ctx, v, root, name)
	}
	if err != nil {
		return p, err
	}
	if mode, _, _ := p.Inode().Owner(); mode&unix.S_IFMT != unix.S_IFDIR {
		p.DecRef(ctx)
		return vfs.Path{}, unix.ENOTDIR
	}
	return p, nil
}

// readFile reads a small file of the container; EFBIG: it is larger than max bytes.
func readFile(ctx context.Context, v *vfs.VFS, root vfs.Path, name string, max int) ([]byte, error) {
	f, err := v.OpenAt(ctx, &vfs.PathOp{Root: root, Start: root, Pathname: name}, vfs.OpenOpts{Flags: unix.O_RDONLY | unix.O_NONBLOCK})
	if err != nil {
		return nil, err
	}
	defer f.DecRef(ctx)
	if f.FileType() != unix.S_IFREG {
		return nil, unix.EINVAL
	}
	var out []byte
	buf := make([]byte, 8192)
	for {
		n, err := f.PRead(ctx, usermem.BytesSequence(buf), int64(len(out)))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return out, nil
		}
		if out = append(out, buf[:n]...); len(out) > max {
			return nil, unix.EFBIG
		}
	}
}
