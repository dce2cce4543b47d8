package vfs

// Names of places: getcwd(2), /proc/PID/fd, /proc/PID/maps.

// nameBuffer is filled from its end.
type nameBuffer struct {
	buf []byte
	at  int
}

func (b *nameBuffer) prepend(s string) {
	if len(s) > b.at {
		n := make([]byte, 2*len(b.buf)+len(s))
		used := len(b.buf) - b.at
		copy(n[len(n)-used:], b.buf[b.at:])
		b.at = len(n) - used
		b.buf = n
	}
	b.at -= len(s)
	copy(b.buf[b.at:], s)
}

// pathName is the name of p as seen from root, and whether p can be reached from there.
// The zero root means the top of whatever tree p is in.
func (v *VFS) pathName(root, p Path) (string, bool) {
	for {
		seq := v.renameSeq.Load()
		s, ok := pathNameOnce(root, p)
		if seq&1 == 0 && v.renameSeq.Load() == seq {
			return s, ok
		}
		// A rename takes moveMu for an instant.
		v.moveMu.Lock()
		v.moveMu.Unlock() //lint:ignore SA2001 waiting is the point
	}
}

func pathNameOnce(root, p Path) (string, bool) {
	var small [256]byte
	b := nameBuffer{buf: small[:], at: len(small)}
	reached := !root.Ok()
	for p != root {
		if p.Dentry == p.Mount.root {
			at := p.Mount.at.Load()
			if at == nil {
				break
			}
			p = Path{at.parent, at.dentry}
			continue
		}
		l := p.Dentry.loc.Load()
		if l.parent == nil {
			break
		}
		b.prepend(l.name)
		b.prepend("/")
		p.Dentry = l.parent
	}
	if p == root {
		reached = true
	}
	if b.at == len(b.buf) {
		b.prepend("/")
	}
	return string(b.buf[b.at:]), reached
}

// PathName is the name of p for a task whose root is root: with "(unreachable)" before it
// if it lies elsewhere, and " (deleted)" behind it if the name was removed.
func (v *VFS) PathName(root, p Path) string {
	d := p.Dentry
	if d.has(dentryAnon) {
		return d.Name()
	}
	s, ok := v.pathName(root, p)
	if !ok {
		s = "(unreachable)" + s
	}
	if d.IsDeleted() {
		s += " (deleted)"
	}
	return s
}

// String is the name of p from the top of its tree.
func (p Path) String() string {
	v := p.Mount.vfs
	if v == nil {
		v = &nowhere
	}
	return v.PathName(Path{}, p)
}

// nowhere names files without a path, which never move.
var nowhere VFS

// nameInFS is the name of d from the root of its filesystem.
func (d *Dentry) nameInFS() string {
	s := ""
	for {
		l := d.loc.Load()
		if l.parent == nil {
			break
		}
		s = "/" + l.name + s
		d = l.parent
	}
	if s == "" {
		return "/"
	}
	return s
}
