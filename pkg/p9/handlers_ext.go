package p9

import (
	"golang.org/x/sys/unix"
)

// handleExtension carries out the requests from Twalkgetattr up.
func (cn *conn) handleExtension(r *request, d *decoder) error {
	switch r.typ {
	case tWalkgetattr:
		return cn.walkgetattr(r, d)
	case tUopen:
		return cn.uopen(r, d)
	case tUcreate:
		return cn.ucreate(r, d)
	case tUmkdir, tUmknod, tUsymlink:
		return cn.makeExtended(r, d)
	case tAllocate:
		return cn.allocate(r, d)
	case tSetattrclunk:
		return cn.setattrclunk(r, d)
	case tUsetattr:
		return cn.usetattr(r, d)
	case tFlushf:
		return cn.withFID(d, nil, func(f *fid) error {
			h, err := f.opened()
			if err != nil {
				return err
			}
			return h.Flush()
		})
	case tChannel:
		return cn.channel(r, d)
	case tLconnect:
		return cn.lconnect(r, d)
	case tWalkopen:
		return cn.walkopen(r, d)
	case tReaddirplus:
		return cn.readdirplus(r, d)
	case tUlink:
		return cn.link(r, d)
	case tRenameat2:
		return cn.renameat(r, d)
	case tGetxattr, tListxattr:
		return cn.readXattr(r, d)
	case tSetxattr:
		return cn.setxattr(r, d)
	case tRemovexattr:
		return cn.removexattr(r, d)
	}
	return unix.EOPNOTSUPP
}

func (cn *conn) walkgetattr(r *request, d *decoder) error {
	n := d.u32()
	count := int(d.u16())
	if d.bad || count > MaxWalk {
		return unix.EINVAL
	}
	var names [MaxWalk]string
	var fids [MaxWalk]uint32
	if count == 0 {
		fids[0] = d.u32()
	}
	for i := range names[:count] {
		fids[i] = d.u32()
		names[i] = d.str()
	}
	if !d.ok() {
		return unix.EINVAL
	}
	for i, newN := range fids[:max(count, 1)] {
		if newN == NoFID {
			continue
		}
		if !cn.vacant(newN) {
			return unix.EBADF
		}
		for _, other := range fids[:i] {
			if other == newN {
				return unix.EBADF
			}
		}
	}
	f, err := cn.lookup(n)
	if err != nil {
		return err
	}
	defer f.unref()
	if count == 0 {
		a, err := f.node.GetAttr()
		if err != nil {
			return err
		}
		r.out.u32(0)
		r.out.u16(1)
		r.out.full(&a)
		return cn.bind(fids[0], f.node.ref(), nil)
	}
	at := f.node.ref()
	defer func() { at.unref() }()
	head := len(r.out.b)
	r.out.u32(0)
	r.out.u16(0)
	done := 0
	for i, name := range names[:count] {
		if err = checkName(name); err != nil {
			break
		}
		child, a, werr := at.Walk(name)
		if werr != nil {
			err = werr
			break
		}
		next := newSharedNode(child)
		at.unref()
		at = next
		if fids[i] != NoFID {
			if err = cn.bind(fids[i], next.ref(), nil); err != nil {
				break
			}
		}
		r.out.full(&a)
		done++
		if a.QID.Type != QTDir {
			break
		}
	}
	end := len(r.out.b)
	r.out.b = r.out.b[:head]
	if err != nil {
		r.out.u32(uint32(errnoOf(err)))
	} else {
		r.out.u32(0)
	}
	r.out.u16(uint16(done))
	r.out.b = r.out.b[:end]
	return nil
}

func (cn *conn) uopen(r *request, d *decoder) error {
	var newN, flags uint32
	return cn.withFID(d, func() { newN, flags = d.u32(), d.u32() }, func(f *fid) error {
		if flags&unix.O_ACCMODE == unix.O_ACCMODE {
			return unix.EINVAL
		}
		if !cn.vacant(newN) {
			return unix.EBADF
		}
		a, err := f.node.GetAttr()
		if err != nil {
			return err
		}
		h, err := f.node.Open(flags & openFlags)
		if err != nil {
			return err
		}
		r.out.qid(a.QID)
		r.out.u32(cn.iounit())
		return cn.donateAndBind(r, newN, f.node.ref(), h)
	})
}

// donateAndBind binds a newly opened file, whose node's reference and handle it takes over,
// to newN, and sends its descriptor along. With NoFID the descriptor is all there is.
func (cn *conn) donateAndBind(r *request, newN uint32, node *sharedNode, h Handle) error {
	opened := newFID(node, h)
	hostFD := h.FD()
	if newN == NoFID {
		if hostFD < 0 {
			opened.unref()
			return unix.EOPNOTSUPP
		}
	} else {
		opened.refs.Add(1) // the table's
		if err := cn.insert(newN, opened); err != nil {
			opened.unref()
			return err
		}
	}
	r.donate = hostFD
	r.after = fidCloser{opened}
	return nil
}

func (cn *conn) walkopen(r *request, d *decoder) error {
	var newN, flags uint32
	var name string
	return cn.withFID(d, func() { newN, name, flags = d.u32(), d.str(), d.u32() }, func(f *fid) error {
		if err := checkName(name); err != nil {
			return err
		}
		if flags&unix.O_ACCMODE == unix.O_ACCMODE {
			return unix.EINVAL
		}
		if newN == NoFID || !cn.vacant(newN) {
			return unix.EBADF
		}
		node, a, err := f.node.Walk(name)
		if err != nil {
			return err
		}
		h, err := node.Open(flags & openFlags)
		if err != nil {
			node.Close()
			return err
		}
		if err := cn.bind(newN, newSharedNode(node), nil); err != nil {
			h.Close()
			return err
		}
		r.after = h
		if h.FD() < 0 {
			if f, err := cn.remove(newN); err == nil {
				f.unref()
			}
			return unix.EOPNOTSUPP
		}
		r.donate = h.FD()
		r.out.full(&a)
		return nil
	})
}

func (cn *conn) ucreate(r *request, d *decoder) error {
	var newN, flags, mode, uid, gid uint32
	var name string
	decode := func() {
		newN, name, flags, mode, uid, gid = d.u32(), d.str(), d.u32(), d.u32(), d.u32(), d.u32()
	}
	return cn.withFID(d, decode, func(f *fid) error {
		tmpfile := flags&unix.O_TMPFILE == unix.O_TMPFILE
		if tmpfile {
			name = ""
			flags &= unix.O_ACCMODE | unix.O_EXCL | unix.O_TMPFILE
		} else {
			if err := checkName(name); err != nil {
				return err
			}
			flags = flags&(unix.O_ACCMODE|unix.O_TRUNC) | unix.O_EXCL
		}
		if flags&unix.O_ACCMODE == unix.O_ACCMODE {
			return unix.EINVAL
		}
		if newN == NoFID || !cn.vacant(newN) {
			return unix.EBADF
		}
		node, h, err := f.node.Create(name, flags, mode&modeBits, uid, gid)
		if err != nil {
			return err
		}
		a, err := node.GetAttr()
		if err != nil {
			h.Close()
			node.Close()
			return err
		}
		r.out.full(&a)
		if h.FD() < 0 {
			return cn.bind(newN, newSharedNode(node), h)
		}
		// The client has what it needs to use the file; the fid is the inode's.
		if err := cn.bind(newN, newSharedNode(node), nil); err != nil {
			h.Close()
			return err
		}
		r.donate = h.FD()
		r.after = h
		return nil
	})
}

// makeExtended is Tumkdir, Tumknod and Tusymlink.
func (cn *conn) makeExtended(r *request, d *decoder) error {
	var name, target string
	var newN, mode, major, minor, uid, gid uint32
	decode := func() {
		newN, name = d.u32(), d.str()
		switch r.typ {
		case tUsymlink:
			target = d.str()
		case tUmkdir:
			mode = d.u32()
		case tUmknod:
			mode, major, minor = d.u32(), d.u32(), d.u32()
		}
		uid, gid = d.u32(), d.u32()
	}
	return cn.withFID(d, decode, func(f *fid) error {
		return cn.makeNode(r, f, newN, name, target, mode, major, minor, uid, gid)
	})
}

func (cn *conn) allocate(r *request, d *decoder) error {
	var mode uint32
	var offset, length uint64
	decode := func() { mode, offset, length = d.u32(), d.u64(), d.u64() }
	return cn.withFID(d, decode, func(f *fid) error {
		if int64(offset) < 0 || int64(length) <= 0 {
			return unix.EINVAL
		}
		if int64(offset+length) < 0 {
			return unix.EFBIG
		}
		h, err := f.opened()
		if err != nil {
			return err
		}
		return h.Allocate(mode, offset, length)
	})
}

func (cn *conn) setattrclunk(r *request, d *decoder) error {
	n := d.u32()
	set := d.setAttr()
	if !d.ok() {
		return unix.EINVAL
	}
	f, err := cn.remove(n)
	if err != nil {
		return err
	}
	defer f.unref()
	return setAttr(f, set)
}

func (cn *conn) usetattr(r *request, d *decoder) error {
	var set SetAttr
	return cn.withFID(d, func() { set = d.setAttr() }, func(f *fid) error {
		if err := setAttr(f, set); err != nil {
			return err
		}
		a, err := f.node.GetAttr()
		if err != nil {
			return err
		}
		r.out.full(&a)
		return nil
	})
}

// ownedFD is a descriptor that is closed once it has been sent.
type ownedFD int

func (fd ownedFD) Close() { unix.Close(int(fd)) }

func (cn *conn) lconnect(r *request, d *decoder) error {
	var sockType uint32
	return cn.withFID(d, func() { sockType = d.u32() }, func(f *fid) error {
		switch sockType {
		case unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET:
		default:
			return unix.EINVAL
		}
		fd, err := f.node.Connect(sockType)
		if err != nil {
			return err
		}
		r.donate = fd
		r.after = ownedFD(fd)
		return nil
	})
}
