package syscalls

import (
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

var xattrSyscalls = []kernel.Syscall{
	{Number: unix.SYS_SETXATTR, Name: "setxattr", Fn: setxattr, Args: []strace.Format{strace.Path, strace.String, strace.Hex, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_LSETXATTR, Name: "lsetxattr", Fn: lsetxattr, Args: []strace.Format{strace.Path, strace.String, strace.Hex, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_FSETXATTR, Name: "fsetxattr", Fn: fsetxattr, Args: []strace.Format{strace.FD, strace.String, strace.Hex, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_GETXATTR, Name: "getxattr", Fn: getxattr, Args: []strace.Format{strace.Path, strace.String, strace.Hex, strace.Dec64}},
	{Number: unix.SYS_LGETXATTR, Name: "lgetxattr", Fn: lgetxattr, Args: []strace.Format{strace.Path, strace.String, strace.Hex, strace.Dec64}},
	{Number: unix.SYS_FGETXATTR, Name: "fgetxattr", Fn: fgetxattr, Args: []strace.Format{strace.FD, strace.String, strace.Hex, strace.Dec64}},
	{Number: unix.SYS_LISTXATTR, Name: "listxattr", Fn: listxattr, Args: []strace.Format{strace.Path, strace.Hex, strace.Dec64}},
	{Number: unix.SYS_LLISTXATTR, Name: "llistxattr", Fn: llistxattr, Args: []strace.Format{strace.Path, strace.Hex, strace.Dec64}},
	{Number: unix.SYS_FLISTXATTR, Name: "flistxattr", Fn: flistxattr, Args: []strace.Format{strace.FD, strace.Hex, strace.Dec64}},
	{Number: unix.SYS_REMOVEXATTR, Name: "removexattr", Fn: removexattr, Args: []strace.Format{strace.Path, strace.String}},
	{Number: unix.SYS_LREMOVEXATTR, Name: "lremovexattr", Fn: lremovexattr, Args: []strace.Format{strace.Path, strace.String}},
	{Number: unix.SYS_FREMOVEXATTR, Name: "fremovexattr", Fn: fremovexattr, Args: []strace.Format{strace.FD, strace.String}},
}

func xattrName(t *kernel.Task, addr uintptr) (string, error) {
	name, err := t.CopyInString(addr, vfs.XattrNameMax)
	if err == unix.ENAMETOOLONG || err == nil && name == "" {
		return "", unix.ERANGE
	}
	return name, err
}

// setArgs reads the last four arguments of setxattr(2) and returns what sets the attribute.
func setArgs(t *kernel.Task, a arch.Args) (func(vfs.Path) error, error) {
	flags := a.Uint(4)
	if flags&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 {
		return nil, unix.EINVAL
	}
	name, err := xattrName(t, a.Pointer(1))
	if err != nil {
		return nil, err
	}
	if a.Size(3) > vfs.XattrSizeMax {
		return nil, unix.E2BIG
	}
	value := make([]byte, a.Size(3))
	if len(value) > 0 {
		if err := t.CopyInBytes(a.Pointer(2), value); err != nil {
			return nil, err
		}
	}
	return func(p vfs.Path) error { return p.SetXattr(t, name, string(value), flags) }, nil
}

func setxattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	set, err := setArgs(t, a)
	if err != nil {
		return 0, err
	}
	return onPlace(t, unix.AT_FDCWD, a.Pointer(0), 0, set)
}

func lsetxattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	set, err := setArgs(t, a)
	if err != nil {
		return 0, err
	}
	return onPlace(t, unix.AT_FDCWD, a.Pointer(0), unix.AT_SYMLINK_NOFOLLOW, set)
}

func fsetxattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	set, err := setArgs(t, a)
	if err != nil {
		return 0, err
	}
	return onFile(t, a.Int(0), set)
}

// copyOutSized stores s at addr if it fits in size bytes, and returns its length; size 0
// only asks for that. ERANGE.
func copyOutSized(t *kernel.Task, addr, size uintptr, s string) (uintptr, error) {
	if size == 0 {
		return uintptr(len(s)), nil
	}
	if uintptr(len(s)) > size {
		return 0, unix.ERANGE
	}
	return uintptr(len(s)), t.CopyOutBytes(addr, []byte(s))
}

func getXattr(t *kernel.Task, a arch.Args, on func(func(vfs.Path) error) (uintptr, error)) (uintptr, error) {
	name, err := xattrName(t, a.Pointer(1))
	if err != nil {
		return 0, err
	}
	var n uintptr
	_, err = on(func(p vfs.Path) error {
		value, err := p.GetXattr(t, name)
		if err != nil {
			return err
		}
		n, err = copyOutSized(t, a.Pointer(2), a.Pointer(3), value)
		return err
	})
	return n, err
}

// atPath and atFile say what the system calls of a family work on.
func atPath(t *kernel.Task, addr uintptr, flags int32) func(func(vfs.Path) error) (uintptr, error) {
	return func(f func(vfs.Path) error) (uintptr, error) { return onPlace(t, unix.AT_FDCWD, addr, flags, f) }
}

func atFile(t *kernel.Task, fd int32) func(func(vfs.Path) error) (uintptr, error) {
	return func(f func(vfs.Path) error) (uintptr, error) { return onFile(t, fd, f) }
}

func getxattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	return getXattr(t, a, atPath(t, a.Pointer(0), 0))
}

func lgetxattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	return getXattr(t, a, atPath(t, a.Pointer(0), unix.AT_SYMLINK_NOFOLLOW))
}

func fgetxattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	return getXattr(t, a, atFile(t, a.Int(0)))
}

func listXattrs(t *kernel.Task, a arch.Args, on func(func(vfs.Path) error) (uintptr, error)) (uintptr, error) {
	var n uintptr
	_, err := on(func(p vfs.Path) error {
		names, err := p.ListXattr(t)
		if err != nil {
			return err
		}
		s := ""
		if len(names) > 0 {
			s = strings.Join(names, "\x00") + "\x00"
		}
		if len(s) > vfs.XattrListMax {
			return unix.E2BIG
		}
		n, err = copyOutSized(t, a.Pointer(1), a.Pointer(2), s)
		return err
	})
	return n, err
}

func listxattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	return listXattrs(t, a, atPath(t, a.Pointer(0), 0))
}

func llistxattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	return listXattrs(t, a, atPath(t, a.Pointer(0), unix.AT_SYMLINK_NOFOLLOW))
}

func flistxattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	return listXattrs(t, a, atFile(t, a.Int(0)))
}

func removeXattr(t *kernel.Task, a arch.Args, on func(func(vfs.Path) error) (uintptr, error)) (uintptr, error) {
	name, err := xattrName(t, a.Pointer(1))
	if err != nil {
		return 0, err
	}
	return on(func(p vfs.Path) error { return p.RemoveXattr(t, name) })
}

func removexattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	return removeXattr(t, a, atPath(t, a.Pointer(0), 0))
}

func lremovexattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	return removeXattr(t, a, atPath(t, a.Pointer(0), unix.AT_SYMLINK_NOFOLLOW))
}

func fremovexattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	return removeXattr(t, a, atFile(t, a.Int(0)))
}
