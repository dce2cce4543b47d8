package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/vfs"
)

// pathArgs is a vfs.PathOp made of a system call's arguments, with the references that it
// needs. It lives on the stack:
//
//	var p pathArgs
//	if err := p.init(t, a.Int(0), a.Pointer(1)); err != nil {
//		return 0, err
//	}
//	defer p.release(t)
type pathArgs struct {
	op   vfs.PathOp
	file *vfs.FileDescription // of dirfd
}

// init reads the pathname at addr and finds where it begins: at the root, at the working
// directory (AT_FDCWD) or at dirfd. ENOENT: it is empty; EBADF.
func (p *pathArgs) init(t *kernel.Task, dirfd int32, addr uintptr) error {
	return p.initFlags(t, dirfd, addr, 0)
}

// initFlags is init with AT_EMPTY_PATH and AT_SYMLINK_NOFOLLOW.
func (p *pathArgs) initFlags(t *kernel.Task, dirfd int32, addr uintptr, flags int32) error {
	name := ""
	if addr != 0 || flags&unix.AT_EMPTY_PATH == 0 {
		var err error
		if name, err = t.CopyInPath(addr); err != nil {
			return err
		}
	}
	return p.initName(t, dirfd, name, flags)
}

func (p *pathArgs) initName(t *kernel.Task, dirfd int32, name string, flags int32) error {
	if name == "" && flags&unix.AT_EMPTY_PATH == 0 {
		return unix.ENOENT
	}
	p.op.Pathname = name
	p.op.EmptyPath = flags&unix.AT_EMPTY_PATH != 0
	p.op.NoFollow = flags&unix.AT_SYMLINK_NOFOLLOW != 0
	fs := t.FSContext()
	switch {
	case name != "" && name[0] == '/':
		p.op.Root = fs.Root()
		p.op.Start = p.op.Root
		p.op.Root.IncRef()
	case dirfd == unix.AT_FDCWD:
		p.op.Root = fs.Root()
		p.op.Start = fs.WorkingDirectory()
	default:
		f := t.FDTable().Get(dirfd)
		if f == nil {
			return unix.EBADF
		}
		p.file = f
		p.op.Root = fs.Root()
		p.op.Start = f.Path()
	}
	return nil
}

// release drops the references.
func (p *pathArgs) release(t *kernel.Task) {
	p.op.Root.DecRef(t)
	if p.file != nil {
		p.file.DecRef(t)
	} else {
		p.op.Start.DecRef(t)
	}
}

// place walks to the place that a pathname argument names, with references for the caller.
func place(t *kernel.Task, dirfd int32, addr uintptr, flags int32) (vfs.Path, error) {
	var p pathArgs
	if err := p.initFlags(t, dirfd, addr, flags); err != nil {
		return vfs.Path{}, err
	}
	defer p.release(t)
	return t.Kernel().VFS().LookupAt(t, &p.op)
}
