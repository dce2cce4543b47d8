package fsgofer

import (
	"bytes"
	"strings"

	"golang.org/x/sys/unix"
)

// xattrAllowed says whether the client may use an extended attribute: those of the user, and
// file capabilities. The host's own (overlayfs's trusted.overlay.*, labels, ACLs) are not
// for it.
func xattrAllowed(name string) bool {
	return (strings.HasPrefix(name, "user.") && len(name) > len("user.")) || name == "security.capability"
}

// hasXattr says whether a file of this type can have such attributes: user(7) attributes
// are for regular files and directories only.
func (n *node) hasXattr() bool { return n.typ == unix.S_IFREG || n.typ == unix.S_IFDIR }

// GetXattr implements p9.Node. The file is opened, because the system calls do not take
// O_PATH descriptors.
func (n *node) GetXattr(name string, buf []byte) (int, error) {
	if !xattrAllowed(name) {
		return 0, unix.EOPNOTSUPP
	}
	if !n.hasXattr() {
		return 0, unix.ENODATA
	}
	f, err := n.s.reopen(n.fd.Num(), unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return unix.Fgetxattr(f.Num(), name, buf)
}

// ListXattr implements p9.Node.
func (n *node) ListXattr(buf []byte) (int, error) {
	if !n.hasXattr() {
		return 0, nil
	}
	f, err := n.s.reopen(n.fd.Num(), unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	all := make([]byte, 4096)
	size, err := unix.Flistxattr(f.Num(), all)
	if err == unix.ERANGE {
		all = make([]byte, 64<<10) // XATTR_LIST_MAX
		size, err = unix.Flistxattr(f.Num(), all)
	}
	if err != nil {
		return 0, err
	}
	done := 0
	for rest := all[:size]; len(rest) > 0; {
		name, more, _ := bytes.Cut(rest, []byte{0})
		rest = more
		if !xattrAllowed(string(name)) {
			continue
		}
		if len(buf) > 0 {
			if done+len(name)+1 > len(buf) {
				return 0, unix.ERANGE
			}
			copy(buf[done:], name)
			buf[done+len(name)] = 0
		}
		done += len(name) + 1
	}
	return done, nil
}

// SetXattr implements p9.Node.
func (n *node) SetXattr(name string, value []byte, flags uint32) error {
	return n.changeXattr(name, func(f int) error {
		return unix.Fsetxattr(f, name, value, int(flags))
	})
}

// RemoveXattr implements p9.Node.
func (n *node) RemoveXattr(name string) error {
	return n.changeXattr(name, func(f int) error { return unix.Fremovexattr(f, name) })
}

func (n *node) changeXattr(name string, change func(f int) error) error {
	if err := n.s.writable(); err != nil {
		return err
	}
	if !xattrAllowed(name) {
		return unix.EOPNOTSUPP
	}
	if !n.hasXattr() {
		return unix.EPERM
	}
	// A descriptor open for reading will do, but an overlay's lower file is copied up only
	// by the change itself.
	f, err := n.s.reopen(n.fd.Num(), unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	return change(f.Num())
}
