package vfs

import (
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
)

// Limits of xattr(7), in bytes.
const (
	XattrNameMax = 255
	XattrSizeMax = 64 << 10
	XattrListMax = 64 << 10
)

// xattrAccess checks the rules of the attribute's namespace (xattr(7), "Extended attribute
// namespaces") and returns the inode's attributes.
func (p Path) xattrAccess(ctx context.Context, name string, write bool) (Xattrs, error) {
	i, c := p.Inode(), ctx.Credentials()
	mode, uid, gid := i.Owner()
	refused := error(unix.ENODATA)
	if write {
		refused = unix.EPERM
	}
	space, rest, dot := strings.Cut(name, ".")
	if !dot {
		return nil, unix.EOPNOTSUPP
	}
	if rest == "" {
		return nil, unix.EINVAL
	}
	switch space {
	case "user":
		typ := mode & unix.S_IFMT
		if typ != unix.S_IFREG && typ != unix.S_IFDIR {
			return nil, refused
		}
		if write && typ == unix.S_IFDIR && mode&unix.S_ISVTX != 0 && !ownerOrCapable(c, i) {
			return nil, unix.EPERM
		}
		mask := uint32(MayRead)
		if write {
			mask = MayWrite
		}
		if err := CheckPermission(c, i, mask); err != nil {
			return nil, err
		}
	case "trusted":
		if !c.HasRootCapability(unix.CAP_SYS_ADMIN) {
			return nil, refused
		}
	case "security":
		if name == capabilityXattr {
			if write && !capable(c, unix.CAP_SETFCAP, uid, gid) {
				return nil, unix.EPERM
			}
		} else if write && !c.HasRootCapability(unix.CAP_SYS_ADMIN) {
			return nil, unix.EPERM
		}
	default:
		return nil, unix.EOPNOTSUPP
	}
	x, ok := i.(Xattrs)
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	return x, nil
}

// GetXattr is getxattr(2) of the object at p.
func (p Path) GetXattr(ctx context.Context, name string) (string, error) {
	x, err := p.xattrAccess(ctx, name, false)
	if err != nil {
		return "", err
	}
	return x.GetXattr(ctx, name)
}

// SetXattr is setxattr(2).
func (p Path) SetXattr(ctx context.Context, name, value string, flags uint32) error {
	if p.Mount.ReadOnly() {
		return unix.EROFS
	}
	x, err := p.xattrAccess(ctx, name, true)
	if err != nil {
		return err
	}
	if err := p.Mount.getWrite(); err != nil {
		return err
	}
	defer p.Mount.putWrite()
	if err := x.SetXattr(ctx, name, value, flags); err != nil {
		return err
	}
	p.Inode().Base().PrivilegesChanged()
	notifyPath(p.Dentry, unix.IN_ATTRIB)
	return nil
}

// RemoveXattr is removexattr(2).
func (p Path) RemoveXattr(ctx context.Context, name string) error {
	if p.Mount.ReadOnly() {
		return unix.EROFS
	}
	x, err := p.xattrAccess(ctx, name, true)
	if err != nil {
		return err
	}
	if err := p.Mount.getWrite(); err != nil {
		return err
	}
	defer p.Mount.putWrite()
	if err := x.RemoveXattr(ctx, name); err != nil {
		return err
	}
	notifyPath(p.Dentry, unix.IN_ATTRIB)
	return nil
}

// ListXattr is listxattr(2), without what the caller may not know of.
func (p Path) ListXattr(ctx context.Context) ([]string, error) {
	x, ok := p.Inode().(Xattrs)
	if !ok {
		return nil, nil
	}
	names, err := x.ListXattr(ctx)
	if err != nil {
		return nil, err
	}
	if ctx.Credentials().HasRootCapability(unix.CAP_SYS_ADMIN) {
		return names, nil
	}
	kept := make([]string, 0, len(names))
	for _, n := range names {
		if !strings.HasPrefix(n, "trusted.") {
			kept = append(kept, n)
		}
	}
	return kept, nil
}
