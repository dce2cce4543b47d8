package p9

import (
	"golang.org/x/sys/unix"
)

// openFlags are the flags of open(2) that reach a Node.
const openFlags = unix.O_ACCMODE | unix.O_TRUNC | unix.O_DIRECTORY

// modeBits are the bits of a mode that a request may set.
const modeBits = 0o7777

// handle carries out any request but Tflush: it appends the reply's body to r.out, or
// returns the error to reply with.
func (cn *conn) handle(r *request, d *decoder) error {
	if r.typ == tVersion {
		return cn.version(r, d)
	}
	if !cn.versioned {
		return unix.EINVAL
	}
	if r.typ >= tWalkgetattr {
		if cn.extension == 0 {
			return unix.EOPNOTSUPP
		}
		return cn.handleExtension(r, d)
	}
	switch r.typ {
	case tAttach:
		return cn.attach(r, d)
	case tWalk:
		return cn.walk(r, d)
	case tClunk:
		return cn.clunk(r, d)
	case tGetattr:
		return cn.getattr(r, d)
	case tSetattr:
		return cn.setattr(r, d)
	case tStatfs:
		return cn.statfs(r, d)
	case tReadlink:
		return cn.readlink(r, d)
	case tLopen:
		return cn.lopen(r, d)
	case tLcreate:
		return cn.lcreate(r, d)
	case tMkdir, tSymlink, tMknod:
		return cn.makePlain(r, d)
	case tLink:
		return cn.link(r, d)
	case tRenameat:
		return cn.renameat(r, d)
	case tUnlinkat:
		return cn.unlinkat(r, d)
	case tRead:
		return cn.read(r, d)
	case tWrite:
		return cn.write(r, d)
	case tReaddir:
		return cn.readdir(r, d)
	case tFsync:
		return cn.fsync(r, d)
	case tXattrwalk:
		return cn.xattrwalk(r, d)
	case tXattrcreate:
		return cn.xattrcreate(r, d)
	}
	return unix.EOPNOTSUPP
}

// withFID decodes the fid that every such request starts with, and the rest by decode, and
// then runs act. Nothing is acted on before the whole request has been decoded.
func (cn *conn) withFID(d *decoder, decode func(), act func(f *fid) error) error {
	n := d.u32()
	if decode != nil {
		decode()
	}
	if !d.ok() {
		return unix.EINVAL
	}
	f, err := cn.lookup(n)
	if err != nil {
		return err
	}
	defer f.unref()
	return act(f)
}

func (cn *conn) attach(r *request, d *decoder) error {
	n, afid := d.u32(), d.u32()
	d.str() // uname
	aname := d.str()
	d.u32() // n_uname
	if !d.ok() || afid != NoFID || n == NoFID {
		return unix.EINVAL
	}
	node, err := cn.attacher.Attach(aname)
	if err != nil {
		return err
	}
	a, err := node.GetAttr()
	if err != nil {
		node.Close()
		return err
	}
	r.out.qid(a.QID)
	return cn.bind(n, newSharedNode(node), nil)
}

// walk is Twalk: qids only, and newfid is bound only if every component was there.
func (cn *conn) walk(r *request, d *decoder) error {
	n, newN := d.u32(), d.u32()
	count := int(d.u16())
	if d.bad || count > MaxWalk {
		return unix.EINVAL
	}
	var names [MaxWalk]string
	for i := range names[:count] {
		names[i] = d.str()
	}
	if !d.ok() || newN == NoFID {
		return unix.EINVAL
	}
	f, err := cn.lookup(n)
	if err != nil {
		return err
	}
	defer f.unref()
	if newN != n && !cn.vacant(newN) {
		return unix.EBADF
	}
	f.mu.Lock()
	busy := f.handle != nil || f.xattr != nil
	f.mu.Unlock()
	if busy {
		return unix.EBUSY
	}
	at := f.node.ref()
	var qids [MaxWalk]QID
	done := 0
	for done < count && err == nil {
		if done > 0 && qids[done-1].Type != QTDir {
			err = unix.ENOTDIR
			break
		}
		if err = checkName(names[done]); err != nil {
			break
		}
		child, a, werr := at.Walk(names[done])
		if err = werr; err == nil {
			at.unref()
			at = newSharedNode(child)
			qids[done] = a.QID
			done++
		}
	}
	if err != nil && done == 0 {
		at.unref()
		return err
	}
	r.out.u16(uint16(done))
	for _, q := range qids[:done] {
		r.out.qid(q)
	}
	if err != nil { // some were walked: that is no error, but newfid stays unbound
		at.unref()
		return nil
	}
	if newN == n {
		old, err := cn.remove(n)
		if err != nil {
			at.unref()
			return err
		}
		old.unref()
	}
	return cn.bind(newN, at, nil)
}

func (cn *conn) clunk(r *request, d *decoder) error {
	n := d.u32()
	if !d.ok() {
		return unix.EINVAL
	}
	f, err := cn.remove(n)
	if err != nil {
		return err
	}
	err = f.commitXattr()
	f.unref()
	return err
}

func (cn *conn) getattr(r *request, d *decoder) error {
	return cn.withFID(d, func() { d.u64() }, func(f *fid) error {
		a, err := f.node.GetAttr()
		if err != nil {
			return err
		}
		r.out.full(&a)
		return nil
	})
}

func (cn *conn) setattr(r *request, d *decoder) error {
	var set SetAttr
	return cn.withFID(d, func() { set = d.setAttr() }, func(f *fid) error {
		return setAttr(f, set)
	})
}

func setAttr(f *fid, set SetAttr) error {
	const billion = 1000 * 1000 * 1000
	switch {
	case set.Valid&^setAll != 0:
		return unix.EINVAL
	case set.Valid&SetATimeSet != 0 && uint64(set.ATime.Nsec) >= billion:
		return unix.EINVAL
	case set.Valid&SetMTimeSet != 0 && uint64(set.MTime.Nsec) >= billion:
		return unix.EINVAL
	case set.Valid&SetSize != 0 && int64(set.Size) < 0:
		return unix.EINVAL
	}
	set.Mode &= modeBits
	return f.node.SetAttr(set)
}

func (cn *conn) statfs(r *request, d *decoder) error {
	return cn.withFID(d, nil, func(f *fid) error {
		s, err := f.node.StatFS()
		if err != nil {
			return err
		}
		r.out.fsStat(&s)
		return nil
	})
}

func (cn *conn) readlink(r *request, d *decoder) error {
	return cn.withFID(d, nil, func(f *fid) error {
		target, err := f.node.Readlink()
		if err != nil {
			return err
		}
		if len(target) > maxTarget {
			return unix.ENAMETOOLONG
		}
		r.out.str(target)
		return nil
	})
}

// iounit returns the most that one Tread or Twrite moves.
func (cn *conn) iounit() uint32 { return cn.msize - ioHeaderSize }

func (cn *conn) lopen(r *request, d *decoder) error {
	var flags uint32
	return cn.withFID(d, func() { flags = d.u32() }, func(f *fid) error {
		if flags&unix.O_ACCMODE == unix.O_ACCMODE {
			return unix.EINVAL
		}
		a, err := f.node.GetAttr()
		if err != nil {
			return err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.handle != nil || f.xattr != nil {
			return unix.EBUSY
		}
		h, err := f.node.Open(flags & openFlags)
		if err != nil {
			return err
		}
		f.handle = h
		r.out.qid(a.QID)
		r.out.u32(cn.iounit())
		if cn.extension > 0 {
			// Another request may clunk the fid before the descriptor is sent.
			f.refs.Add(1)
			r.after = fidCloser{f}
			r.donate = h.FD()
		}
		return nil
	})
}

// lcreate is Tlcreate: the fid of the directory becomes that of the new file.
func (cn *conn) lcreate(r *request, d *decoder) error {
	n := d.u32()
	name := d.str()
	flags, mode, gid := d.u32(), d.u32(), d.u32()
	if !d.ok() || flags&unix.O_ACCMODE == unix.O_ACCMODE {
		return unix.EINVAL
	}
	if err := checkName(name); err != nil {
		return err
	}
	f, err := cn.lookup(n)
	if err != nil {
		return err
	}
	defer f.unref()
	if _, err := f.opened(); err == nil {
		return unix.EBUSY
	}
	node, h, err := f.node.Create(name, flags&openFlags|unix.O_EXCL, mode&modeBits, NoID, gid)
	if err != nil {
		return err
	}
	a, err := node.GetAttr()
	if err != nil {
		h.Close()
		node.Close()
		return err
	}
	created := newFID(newSharedNode(node), h)
	cn.mu.Lock()
	if cn.fids[n] != f { // clunked meanwhile
		cn.mu.Unlock()
		created.unref()
		return unix.EBADF
	}
	created.refs.Add(1) // until the descriptor has been sent
	cn.fids[n] = created
	cn.mu.Unlock()
	f.unref() // the table's
	r.out.qid(a.QID)
	r.out.u32(cn.iounit())
	r.after = fidCloser{created}
	if cn.extension > 0 {
		r.donate = h.FD()
	}
	return nil
}

// fidCloser drops a reference once the reply has been sent.
type fidCloser struct{ f *fid }

func (c fidCloser) Close() { c.f.unref() }

// makePlain is Tmkdir, Tsymlink and Tmknod.
func (cn *conn) makePlain(r *request, d *decoder) error {
	var name, target string
	var mode, major, minor, gid uint32
	decode := func() {
		name = d.str()
		switch r.typ {
		case tSymlink:
			target = d.str()
		case tMkdir:
			mode = d.u32()
		case tMknod:
			mode, major, minor = d.u32(), d.u32(), d.u32()
		}
		gid = d.u32()
	}
	return cn.withFID(d, decode, func(f *fid) error {
		return cn.makeNode(r, f, NoFID, name, target, mode, major, minor, NoID, gid)
	})
}

// makeNode makes anything that is not opened at once, and appends the qid or, for the
// extensions' requests, the attributes.
func (cn *conn) makeNode(r *request, f *fid, newN uint32, name, target string, mode, major, minor, uid, gid uint32) error {
	if err := checkName(name); err != nil {
		return err
	}
	if !cn.vacant(newN) {
		return unix.EBADF
	}
	var node Node
	var err error
	switch r.typ {
	case tMkdir, tUmkdir:
		node, err = f.node.Mkdir(name, mode&modeBits, uid, gid)
	case tMknod, tUmknod:
		node, err = f.node.Mknod(name, mode&(unix.S_IFMT|modeBits), major, minor, uid, gid)
	default:
		if len(target) == 0 || len(target) > maxTarget {
			return unix.ENOENT
		}
		for i := 0; i < len(target); i++ {
			if target[i] == 0 {
				return unix.EINVAL
			}
		}
		node, err = f.node.Symlink(name, target, uid, gid)
	}
	if err != nil {
		return err
	}
	a, err := node.GetAttr()
	if err != nil {
		node.Close()
		return err
	}
	if r.typ >= tWalkgetattr {
		r.out.full(&a)
	} else {
		r.out.qid(a.QID)
	}
	return cn.bind(newN, newSharedNode(node), nil)
}

func (cn *conn) link(r *request, d *decoder) error {
	var targetN uint32
	var name string
	return cn.withFID(d, func() { targetN, name = d.u32(), d.str() }, func(f *fid) error {
		if err := checkName(name); err != nil {
			return err
		}
		target, err := cn.lookup(targetN)
		if err != nil {
			return err
		}
		defer target.unref()
		if err := f.node.Link(name, target.node.Node); err != nil {
			return err
		}
		if r.typ == tUlink {
			a, err := target.node.GetAttr()
			if err != nil {
				return err
			}
			r.out.full(&a)
		}
		return nil
	})
}

func (cn *conn) renameat(r *request, d *decoder) error {
	var oldName, newName string
	var newDirN, flags uint32
	decode := func() {
		oldName, newDirN, newName = d.str(), d.u32(), d.str()
		if r.typ == tRenameat2 {
			flags = d.u32()
		}
	}
	return cn.withFID(d, decode, func(f *fid) error {
		if err := checkName(oldName); err != nil {
			return err
		}
		if err := checkName(newName); err != nil {
			return err
		}
		newDir, err := cn.lookup(newDirN)
		if err != nil {
			return err
		}
		defer newDir.unref()
		return f.node.Rename(oldName, newDir.node.Node, newName, flags)
	})
}

func (cn *conn) unlinkat(r *request, d *decoder) error {
	var name string
	var flags uint32
	return cn.withFID(d, func() { name, flags = d.str(), d.u32() }, func(f *fid) error {
		if err := checkName(name); err != nil {
			return err
		}
		if flags&^unix.AT_REMOVEDIR != 0 {
			return unix.EINVAL
		}
		return f.node.Unlink(name, flags)
	})
}

func (cn *conn) read(r *request, d *decoder) error {
	var offset uint64
	var count uint32
	return cn.withFID(d, func() { offset, count = d.u64(), d.u32() }, func(f *fid) error {
		if count > cn.iounit() {
			return unix.EINVAL
		}
		if data, ok := f.xattrValue(); ok {
			data = data[min(offset, uint64(len(data))):]
			data = data[:min(int(count), len(data))]
			r.out.u32(uint32(len(data)))
			r.out.b = append(r.out.b, data...)
			return nil
		}
		h, err := f.opened()
		if err != nil {
			return err
		}
		r.out.u32(0)
		at := len(r.out.b)
		n, err := h.ReadAt(r.out.room(int(count)), offset)
		if err != nil {
			return err
		}
		n = max(0, min(n, int(count)))
		r.out.b = r.out.b[:at-4]
		r.out.u32(uint32(n))
		r.out.b = r.out.b[:at+n]
		return nil
	})
}

func (cn *conn) write(r *request, d *decoder) error {
	var offset uint64
	var data []byte
	return cn.withFID(d, func() { offset, data = d.u64(), d.bytes(int(d.u32())) }, func(f *fid) error {
		if n, ok, err := f.fillXattr(offset, data); ok {
			if err == nil {
				r.out.u32(uint32(n))
			}
			return err
		}
		h, err := f.opened()
		if err != nil {
			return err
		}
		n, err := h.WriteAt(data, offset)
		if err != nil {
			return err
		}
		r.out.u32(uint32(n))
		return nil
	})
}

func (cn *conn) readdir(r *request, d *decoder) error {
	var offset uint64
	var count uint32
	return cn.withFID(d, func() { offset, count = d.u64(), d.u32() }, func(f *fid) error {
		if count > cn.iounit() {
			return unix.EINVAL
		}
		h, err := f.opened()
		if err != nil {
			return err
		}
		r.out.u32(0)
		at := len(r.out.b)
		limit := at + int(count)
		refused := false
		err = h.ReadDir(offset, func(entry *Dirent) bool {
			if len(r.out.b)+entry.encodedSize() > limit {
				refused = true
				return false
			}
			r.out.dirent(entry)
			return true
		})
		end := len(r.out.b)
		if err != nil && end == at {
			return err
		}
		if refused && end == at {
			return unix.EINVAL // no room for a single entry, as in getdents64(2)
		}
		r.out.b = r.out.b[:at-4]
		r.out.u32(uint32(end - at))
		r.out.b = r.out.b[:end]
		return nil
	})
}

// readdirplus is Treaddirplus.
func (cn *conn) readdirplus(r *request, d *decoder) error {
	var offset uint64
	var count uint32
	return cn.withFID(d, func() { offset, count = d.u64(), d.u32() }, func(f *fid) error {
		if count > cn.iounit() {
			return unix.EINVAL
		}
		h, err := f.opened()
		if err != nil {
			return err
		}
		head := len(r.out.b)
		r.out.u8(0)
		r.out.u32(0)
		at := len(r.out.b)
		limit := at + int(count)
		refused := false
		err = h.ReadDir(offset, func(entry *Dirent) bool {
			if len(r.out.b)+entry.encodedSize()+fullSize > limit {
				refused = true
				return false
			}
			var a Attr
			if ValidName(entry.Name) {
				if st, err := h.Stat(entry.Name); err == nil {
					a = st
				}
			}
			r.out.dirent(entry)
			r.out.full(&a)
			return true
		})
		end := len(r.out.b)
		if err != nil && end == at {
			return err
		}
		if refused && end == at {
			return unix.EINVAL
		}
		r.out.b = r.out.b[:head]
		if err == nil && !refused {
			r.out.u8(1)
		} else {
			r.out.u8(0)
		}
		r.out.u32(uint32(end - at))
		r.out.b = r.out.b[:end]
		return nil
	})
}

func (cn *conn) fsync(r *request, d *decoder) error {
	var dataOnly uint32
	decode := func() {
		if len(d.b) > 0 { // diod's clients leave it out
			dataOnly = d.u32()
		}
	}
	return cn.withFID(d, decode, func(f *fid) error {
		h, err := f.opened()
		if err != nil {
			return err
		}
		return h.Sync(dataOnly != 0)
	})
}
