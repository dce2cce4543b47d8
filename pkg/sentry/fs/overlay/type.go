package overlay

import (
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/vfs"
)

// Type is overlay for mount(2): "lowerdir=A:B,upperdir=U,workdir=W", directories that the
// caller sees. It implements vfs.PathFilesystemType.
type Type struct{}

// maxLowers bounds the layers, as Linux does.
const maxLowers = 500

// NewFilesystem implements vfs.FilesystemType. Layers are paths; see NewFilesystemAt.
func (Type) NewFilesystem(context.Context, *vfs.VFS, string, string) (vfs.Filesystem, error) {
	return nil, unix.EINVAL
}

// NeedsDevice implements vfs.FilesystemType.
func (Type) NeedsDevice() bool { return false }

// UserMountable implements vfs.FilesystemType.
func (Type) UserMountable() bool { return true }

// onPaths is an overlay of directories that are mounted elsewhere; it keeps them so.
type onPaths struct {
	*Filesystem
	paths []vfs.Path
}

// Release implements vfs.Filesystem.
func (o *onPaths) Release(ctx context.Context) {
	o.Filesystem.Release(ctx)
	for _, p := range o.paths {
		p.DecRef(ctx)
	}
}

// NewFilesystemAt implements vfs.PathFilesystemType.
func (Type) NewFilesystemAt(ctx context.Context, v *vfs.VFS, op vfs.PathOp, _, data string) (vfs.Filesystem, error) {
	var lower, upper, work string
	for opt := range strings.SplitSeq(data, ",") {
		key, value, _ := strings.Cut(opt, "=")
		switch key {
		case "lowerdir":
			lower = value
		case "upperdir":
			upper = value
		case "workdir":
			work = value
		case "", "index", "metacopy", "redirect_dir", "xino", "nfs_export", "userxattr", "volatile", "uuid":
		default:
			return nil, unix.EINVAL
		}
	}
	names := strings.Split(lower, ":")
	if lower == "" || len(names) > maxLowers || (upper == "") != (work == "") {
		return nil, unix.EINVAL
	}
	o := Options{Borrowed: true, Text: data}
	var paths []vfs.Path
	fail := func(err error) (vfs.Filesystem, error) {
		for _, p := range paths {
			p.DecRef(ctx)
		}
		return nil, err
	}
	lookup := func(name string) (vfs.Directory, error) {
		op.Pathname, op.NoFollow = name, false
		p, err := v.LookupAt(ctx, &op)
		if err != nil {
			return nil, err
		}
		paths = append(paths, p)
		d, ok := p.Inode().(vfs.Directory)
		if !ok {
			return nil, unix.ENOTDIR
		}
		return d, nil
	}
	for _, name := range names {
		d, err := lookup(name)
		if err != nil {
			return fail(err)
		}
		o.Lowers, o.LowerRoots = append(o.Lowers, d.FS()), append(o.LowerRoots, d)
	}
	if upper != "" {
		d, err := lookup(upper)
		if err != nil {
			return fail(err)
		}
		if paths[len(paths)-1].Mount.ReadOnly() {
			return fail(unix.EROFS)
		}
		o.Upper, o.UpperRoot = d.FS(), d
		w, err := lookup(work)
		if err != nil {
			return fail(err)
		}
		if w.FS() != d.FS() {
			return fail(unix.EINVAL)
		}
	}
	fs, err := New(ctx, v, o)
	if err != nil {
		return fail(err)
	}
	return &onPaths{fs, paths}, nil
}
