package proc

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/pseudo"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/vfs"
)

// executable is what exec stores in mm (loader.Executable).
type executable interface{ File() *vfs.FileDescription }

// pathLink is /proc/PID/cwd, root or exe: a symlink to a place.
type pathLink struct {
	taskNode
	which string
}

func makePathLink(d *taskDir, ino uint64) vfs.Inode {
	l := &pathLink{}
	l.init(d.fs, d.t, ino, unix.S_IFLNK|0o777)
	for i := range taskFiles {
		if uint64(i+2) == ino&511 {
			l.which = taskFiles[i].name
		}
	}
	return l
}

// place returns where the link leads, with references. ENOENT: nowhere (a zombie).
func (l *pathLink) place(ctx context.Context) (vfs.Path, error) {
	if !mayTrace(ctx, l.t) {
		return vfs.Path{}, unix.EACCES
	}
	if l.which == "exe" {
		m := l.t.WithMM()
		if m == nil {
			return vfs.Path{}, unix.ENOENT
		}
		defer m.DecUsers()
		e := m.Executable()
		if e == nil {
			return vfs.Path{}, unix.ENOENT
		}
		defer e.DecRef()
		x, ok := e.(executable)
		if !ok {
			return vfs.Path{}, unix.ENOENT
		}
		p := x.File().Path()
		p.IncRef()
		return p, nil
	}
	fs := l.t.WithFSContext()
	if fs == nil {
		return vfs.Path{}, unix.ENOENT
	}
	defer fs.DecRef(ctx)
	if l.which == "cwd" {
		return fs.WorkingDirectory(), nil
	}
	return fs.Root(), nil
}

// nameOf is p's name as the caller sees it.
func nameOf(ctx context.Context, v *vfs.VFS, p vfs.Path) string {
	t, ok := ctx.(*kernel.Task)
	if !ok {
		return p.String()
	}
	root := t.FSContext().Root()
	defer root.DecRef(ctx)
	// Only getcwd(2) says of a place that it cannot be reached from the caller's root.
	return strings.TrimPrefix(v.PathName(root, p), "(unreachable)")
}

// Readlink implements vfs.Symlink.
func (l *pathLink) Readlink(ctx context.Context) (string, error) {
	p, err := l.place(ctx)
	if err != nil {
		return "", err
	}
	defer p.DecRef(ctx)
	return nameOf(ctx, l.taskNode.fs.k.VFS(), p), nil
}

// Target implements vfs.MagicLink.
func (l *pathLink) Target(ctx context.Context) (vfs.Path, bool, error) {
	p, err := l.place(ctx)
	return p, err == nil, err
}

// fdDir is /proc/PID/fd or fdinfo.
type fdDir struct {
	taskNode
	vfs.ReadOnlyDir
	info bool
}

func makeFDDir(d *taskDir, ino uint64) vfs.Inode {
	n := &fdDir{}
	i, _ := findTaskSpec("fdinfo")
	n.info = ino&511 == uint64(i+2)
	mode := uint32(unix.S_IFDIR | 0o500)
	if n.info {
		mode = unix.S_IFDIR | 0o555
	}
	n.init(d.fs, d.t, ino, mode)
	return n
}

// descriptor is the task's open file numbered fd, with a reference, or nil.
func descriptor(ctx context.Context, t *kernel.Task, fd int32) (f *vfs.FileDescription, cloexec bool) {
	table := t.WithFDTable()
	if table == nil {
		return nil, false
	}
	defer table.DecRef(ctx)
	return table.GetFlags(fd)
}

// Caching implements vfs.Directory.
func (*fdDir) Caching() vfs.Caching { return vfs.CacheNone }

func (d *fdDir) ino(fd int32) uint64 {
	base := uint64(fdIno)
	if d.info {
		base = fdInfoIno
	}
	return base + uint64(fd)%(fdInfoIno-fdIno)
}

// Lookup implements vfs.Directory.
func (d *fdDir) Lookup(ctx context.Context, name string) (vfs.Inode, error) {
	n, err := strconv.ParseInt(name, 10, 32)
	if err != nil || n < 0 || strconv.FormatInt(n, 10) != name {
		return nil, unix.ENOENT
	}
	if !mayTrace(ctx, d.t) {
		return nil, unix.EACCES
	}
	f, _ := descriptor(ctx, d.t, int32(n))
	if f == nil {
		return nil, unix.ENOENT
	}
	defer f.DecRef(ctx)
	if d.info {
		i := &fdInfo{fd: int32(n)}
		i.init(d.fs, d.t, d.ino(int32(n)), unix.S_IFREG|0o444)
		return i, nil
	}
	l := &fdLink{fd: int32(n)}
	mode := uint32(unix.S_IFLNK | 0o100)
	if f.Readable() || f.PathOnly() {
		mode |= 0o400
	}
	if f.Writable() {
		mode |= 0o200
	}
	l.init(d.fs, d.t, d.ino(int32(n)), mode)
	return l, nil
}

// Entries implements pseudo.Lister.
func (d *fdDir) Entries(ctx context.Context) ([]pseudo.Entry, error) {
	if !mayTrace(ctx, d.t) {
		return nil, unix.EACCES
	}
	table := d.t.WithFDTable()
	if table == nil {
		return nil, nil
	}
	defer table.DecRef(ctx)
	fds := table.FDs()
	sort.Slice(fds, func(i, j int) bool { return fds[i] < fds[j] })
	typ := uint8(unix.DT_LNK)
	if d.info {
		typ = unix.DT_REG
	}
	out := make([]pseudo.Entry, 0, len(fds))
	for _, n := range fds {
		out = append(out, pseudo.Entry{Name: strconv.Itoa(int(n)), Ino: d.taskNode.fs.taskIno(d.t, d.ino(n)), Type: typ, Cookie: 3 + int64(n)})
	}
	return out, nil
}

// Open implements vfs.Inode.
func (d *fdDir) Open(ctx context.Context, _ uint32) (vfs.File, error) {
	if !mayTrace(ctx, d.t) {
		return nil, unix.EACCES
	}
	return pseudo.NewDirFile(d), nil
}

// fdLink is /proc/PID/fd/N: a magic link to the open file's inode.
type fdLink struct {
	taskNode
	fd int32
}

// Readlink implements vfs.Symlink.
func (l *fdLink) Readlink(ctx context.Context) (string, error) {
	p, _, err := l.Target(ctx)
	if err != nil {
		return "", err
	}
	defer p.DecRef(ctx)
	return nameOf(ctx, l.taskNode.fs.k.VFS(), p), nil
}

// Target implements vfs.MagicLink.
func (l *fdLink) Target(ctx context.Context) (vfs.Path, bool, error) {
	if !mayTrace(ctx, l.t) {
		return vfs.Path{}, false, unix.EACCES
	}
	f, _ := descriptor(ctx, l.t, l.fd)
	if f == nil {
		return vfs.Path{}, false, unix.ENOENT
	}
	defer f.DecRef(ctx)
	p := f.Path()
	p.IncRef()
	return p, true, nil
}

// Stat implements vfs.Inode: programs expect the size of the buffer that they need.
func (l *fdLink) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := l.taskNode.Stat(ctx)
	a.Size = 64
	return a, err
}

// fdInfo is /proc/PID/fdinfo/N.
type fdInfo struct {
	taskNode
	fd int32
}

// Open implements vfs.Inode.
func (i *fdInfo) Open(ctx context.Context, flags uint32) (vfs.File, error) {
	if !mayTrace(ctx, i.t) {
		return nil, unix.EACCES
	}
	return pseudo.NewTextFile(ctx, i, flags)
}

// Generate implements pseudo.Generator.
func (i *fdInfo) Generate(ctx context.Context, b *bytes.Buffer) error {
	f, cloexec := descriptor(ctx, i.t, i.fd)
	if f == nil {
		return unix.ENOENT
	}
	defer f.DecRef(ctx)
	pos := int64(0)
	if f.Seekable() {
		pos = f.Offset()
	}
	flags := f.StatusFlags()
	if cloexec {
		flags |= unix.O_CLOEXEC
	}
	fmt.Fprintf(b, "pos:\t%d\nflags:\t0%o\nmnt_id:\t%d\nino:\t%d\n", pos, flags, f.Path().Mount.ID(), f.InodeID())
	if x, ok := f.File().(interface{ FDInfo() string }); ok {
		b.WriteString(x.FDInfo())
	}
	return nil
}
