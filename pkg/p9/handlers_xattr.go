package p9

import (
	"strings"

	"golang.org/x/sys/unix"
)

// xattrFID is the state of a fid that Txattrwalk or Txattrcreate made: plain 9P2000.L reads
// and writes extended attributes as if they were files.
type xattrFID struct {
	reading bool
	name    string
	value   []byte
	flags   uint32
	filled  int // how much of value was written
}

func checkXattrName(name string) error {
	switch {
	case name == "" || len(name) > maxXattrName:
		return unix.ERANGE
	case strings.IndexByte(name, 0) >= 0:
		return unix.EINVAL
	}
	return nil
}

// readXattr is Tgetxattr and Tlistxattr.
func (cn *conn) readXattr(r *request, d *decoder) error {
	var name string
	var size uint32
	decode := func() {
		if r.typ == tGetxattr {
			name = d.str()
		}
		size = d.u32()
	}
	return cn.withFID(d, decode, func(f *fid) error {
		if size > maxXattrValue || size > cn.iounit() {
			return unix.EINVAL
		}
		if r.typ == tGetxattr {
			if err := checkXattrName(name); err != nil {
				return err
			}
		}
		r.out.u32(0)
		at := len(r.out.b)
		buf := r.out.room(int(size))
		var n int
		var err error
		if r.typ == tGetxattr {
			n, err = f.node.GetXattr(name, buf)
		} else {
			n, err = f.node.ListXattr(buf)
		}
		if err != nil {
			return err
		}
		if n > maxXattrValue || (size > 0 && n > int(size)) {
			return unix.ERANGE
		}
		r.out.b = r.out.b[:at-4]
		r.out.u32(uint32(n))
		if size > 0 {
			r.out.b = r.out.b[:at+n]
		}
		return nil
	})
}

func (cn *conn) setxattr(r *request, d *decoder) error {
	var name string
	var flags uint32
	var value []byte
	decode := func() { name, flags, value = d.str(), d.u32(), d.bytes(int(d.u32())) }
	return cn.withFID(d, decode, func(f *fid) error {
		return f.setXattr(name, value, flags)
	})
}

func (f *fid) setXattr(name string, value []byte, flags uint32) error {
	if err := checkXattrName(name); err != nil {
		return err
	}
	if len(value) > maxXattrValue {
		return unix.E2BIG
	}
	if flags&^(unix.XATTR_CREATE|unix.XATTR_REPLACE) != 0 {
		return unix.EINVAL
	}
	return f.node.SetXattr(name, value, flags)
}

func (cn *conn) removexattr(r *request, d *decoder) error {
	var name string
	return cn.withFID(d, func() { name = d.str() }, func(f *fid) error {
		if err := checkXattrName(name); err != nil {
			return err
		}
		return f.node.RemoveXattr(name)
	})
}

// xattrwalk is Txattrwalk: newfid reads the value of the attribute or, when the name is
// empty, the list of names.
func (cn *conn) xattrwalk(r *request, d *decoder) error {
	var newN uint32
	var name string
	return cn.withFID(d, func() { newN, name = d.u32(), d.str() }, func(f *fid) error {
		if newN == NoFID || !cn.vacant(newN) {
			return unix.EBADF
		}
		buf := make([]byte, maxXattrValue)
		var n int
		var err error
		if name == "" {
			n, err = f.node.ListXattr(buf)
		} else if err = checkXattrName(name); err == nil {
			n, err = f.node.GetXattr(name, buf)
		}
		if err != nil {
			return err
		}
		value := append([]byte(nil), buf[:min(n, len(buf))]...)
		r.out.u64(uint64(len(value)))
		newFID := newFID(f.node.ref(), nil)
		newFID.xattr = &xattrFID{reading: true, value: value}
		return cn.insert(newN, newFID)
	})
}

// xattrcreate is Txattrcreate: the fid takes the value by Twrite, and sets it at Tclunk.
func (cn *conn) xattrcreate(r *request, d *decoder) error {
	var name string
	var size uint64
	var flags uint32
	decode := func() { name, size, flags = d.str(), d.u64(), d.u32() }
	return cn.withFID(d, decode, func(f *fid) error {
		if err := checkXattrName(name); err != nil {
			return err
		}
		if size > maxXattrValue {
			return unix.E2BIG
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.handle != nil || f.xattr != nil {
			return unix.EBUSY
		}
		f.xattr = &xattrFID{name: name, value: make([]byte, size), flags: flags}
		return nil
	})
}

// xattrValue returns what a fid of Txattrwalk reads.
func (f *fid) xattrValue() ([]byte, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.xattr == nil || !f.xattr.reading {
		return nil, false
	}
	return f.xattr.value, true
}

// fillXattr writes to a fid of Txattrcreate; ok says whether it is one.
func (f *fid) fillXattr(offset uint64, data []byte) (n int, ok bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := f.xattr
	if x == nil {
		return 0, false, nil
	}
	if x.reading {
		return 0, true, unix.EBADF
	}
	if offset != uint64(x.filled) || len(data) > len(x.value)-x.filled {
		return 0, true, unix.EINVAL
	}
	copy(x.value[x.filled:], data)
	x.filled += len(data)
	return len(data), true, nil
}

// commitXattr ends a fid of Txattrcreate. As v9fs has it, a value of size 0 with
// XATTR_REPLACE removes the attribute.
func (f *fid) commitXattr() error {
	f.mu.Lock()
	x := f.xattr
	f.mu.Unlock()
	switch {
	case x == nil || x.reading:
		return nil
	case x.filled != len(x.value):
		return unix.EINVAL
	case len(x.value) == 0 && x.flags == unix.XATTR_REPLACE:
		return f.node.RemoveXattr(x.name)
	}
	return f.setXattr(x.name, x.value, x.flags)
}
