package gofer

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
)

const (
	smallXattr = 256
	maxXattr   = 64 << 10 // XATTR_SIZE_MAX
)

// hasNone says whether the file is known to have no extended attributes at all: most have
// none, and file capabilities are asked for at every exec and first write.
func (i *inode) hasNone() bool {
	if i.fs.shared {
		return false
	}
	if i.bare.Load() {
		return true
	}
	file, err := i.fid()
	if err != nil {
		return false
	}
	names, err := file.ListXattr()
	if err == nil && len(names) == 0 {
		i.bare.Store(true)
		return true
	}
	return false
}

// DropsCapabilities implements vfs.CapabilityDropper: the host does, for what is written through a
// descriptor of its own and for owners that the gofer changes.
func (*inode) DropsCapabilities() {}

// GetXattr implements vfs.Xattrs.
func (i *inode) GetXattr(_ context.Context, name string) (string, error) {
	if i.hasNone() {
		return "", unix.ENODATA
	}
	file, err := i.fid()
	if err != nil {
		return "", err
	}
	buf := make([]byte, smallXattr)
	n, err := file.GetXattr(name, buf)
	if err == unix.ERANGE {
		buf = make([]byte, maxXattr)
		n, err = file.GetXattr(name, buf)
	}
	if err != nil {
		return "", i.fs.failed(err)
	}
	return string(buf[:n]), nil
}

// SetXattr implements vfs.Xattrs.
func (i *inode) SetXattr(_ context.Context, name, value string, flags uint32) error {
	file, err := i.fid()
	if err != nil {
		return err
	}
	defer i.outdated()
	err = file.SetXattr(name, []byte(value), flags)
	i.bare.Store(false)
	return i.fs.failed(err)
}

// ListXattr implements vfs.Xattrs.
func (i *inode) ListXattr(context.Context) ([]string, error) {
	if !i.fs.shared && i.bare.Load() {
		return nil, nil
	}
	file, err := i.fid()
	if err != nil {
		return nil, err
	}
	names, err := file.ListXattr()
	return names, i.fs.failed(err)
}

// RemoveXattr implements vfs.Xattrs.
func (i *inode) RemoveXattr(_ context.Context, name string) error {
	if i.hasNone() {
		return unix.ENODATA
	}
	file, err := i.fid()
	if err != nil {
		return err
	}
	defer i.outdated()
	return i.fs.failed(file.RemoveXattr(name))
}
