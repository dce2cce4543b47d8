package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/vfs"
)

// pathOp says where the walk of path begins for t: at its root, at its working directory
// or at dirfd. The caller calls release when the walk is done. EBADF: dirfd is not open;
// ENOENT: path is empty and emptyPath (AT_EMPTY_PATH) is not set.
func pathOp(t *kernel.Task, dirfd int32, path string, emptyPath, noFollow bool) (op vfs.PathOp, release func(), err error) {
	if path == "" && !emptyPath {
		return op, nil, unix.ENOENT
	}
	op = vfs.PathOp{Pathname: path, NoFollow: noFollow, EmptyPath: emptyPath, Root: t.FSContext().Root()}
	if path != "" && path[0] == '/' {
		op.Start = op.Root
		return op, func() { op.Root.DecRef(t) }, nil
	}
	if dirfd == unix.AT_FDCWD {
		op.Start = t.FSContext().WorkingDirectory()
		return op, func() { op.Start.DecRef(t); op.Root.DecRef(t) }, nil
	}
	f := t.FDTable().Get(dirfd)
	if f == nil {
		op.Root.DecRef(t)
		return op, nil, unix.EBADF
	}
	op.Start = f.Path()
	return op, func() { f.DecRef(t); op.Root.DecRef(t) }, nil
}
