package p9

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
)

// ClientFile is a fid: a reference to one inode on the server, whatever becomes of its name.
// It is valid until Close. Methods may be called concurrently, but not with Close.
type ClientFile struct {
	c      *Client
	fid    uint32
	closed atomic.Bool
}

// Attach returns the root of the tree called aname.
func (c *Client) Attach(aname string) (*ClientFile, error) {
	cl, err := c.begin(tAttach)
	if err != nil {
		return nil, err
	}
	fid := c.newFID()
	cl.req.u32(fid)
	cl.req.u32(NoFID)
	cl.req.str("")
	cl.req.str(aname)
	cl.req.u32(0)
	d, err := c.roundTrip(cl)
	if err != nil {
		c.freeFID(fid)
		return nil, err
	}
	d.qid()
	if err := c.finish(cl, &d); err != nil {
		return nil, err
	}
	return &ClientFile{c: c, fid: fid}, nil
}

// Client returns the connection.
func (f *ClientFile) Client() *Client { return f.c }

// Close gives up the fid; it does not wait for the server. Later calls do nothing.
func (f *ClientFile) Close() {
	if f == nil || f.closed.Swap(true) {
		return
	}
	f.c.clunk(f.fid)
}

// beginExt is begin for a message that only the extensions have.
func (f *ClientFile) beginExt(typ uint8) (*call, error) {
	if f.c.extension == 0 {
		return nil, unix.EOPNOTSUPP
	}
	cl, err := f.c.begin(typ)
	if err != nil {
		return nil, err
	}
	cl.req.u32(f.fid)
	return cl, nil
}

// begin starts a message whose body begins with the fid.
func (f *ClientFile) begin(typ uint8) (*call, error) {
	cl, err := f.c.begin(typ)
	if err != nil {
		return nil, err
	}
	cl.req.u32(f.fid)
	return cl, nil
}

// empty sends the request and expects a reply without a body.
func (c *Client) empty(cl *call) error {
	d, err := c.roundTrip(cl)
	if err != nil {
		return err
	}
	return c.finish(cl, &d)
}

// takeFD takes over the descriptor that came with the reply; nil if none did.
func (cl *call) takeFD() *fd.FD {
	if cl.fd < 0 {
		return nil
	}
	f := fd.New(cl.fd)
	cl.fd = -1
	return f
}

// WalkResult is one component of a walk.
type WalkResult struct {
	File *ClientFile // nil for a Probe
	Attr Attr
}

// Walk walks names, of which there are at most MaxWalk, in one round trip. It fills
// results, which must be as long, from the front and returns how many components there
// were: fewer than asked for, without error, when one that is not the last is no
// directory (a symlink, say, which the server never follows); fewer with the error of the
// next component when that could not be walked. No names clone the fid into results[0].
func (f *ClientFile) Walk(names []string, results []WalkResult) (int, error) {
	return f.walk(names, results, true)
}

// Probe is Walk for callers that want the attributes only: it binds no fids.
func (f *ClientFile) Probe(names []string, results []WalkResult) (int, error) {
	if len(names) == 0 {
		return 0, unix.EINVAL
	}
	return f.walk(names, results, false)
}

func (f *ClientFile) walk(names []string, results []WalkResult, bind bool) (int, error) {
	for tries := 0; ; tries++ {
		n, err := f.walkOnce(names, results, bind)
		if !isNoRoom(err) || !f.c.relieved(tries) {
			return n, err
		}
		for _, r := range results[:n] {
			r.File.Close()
		}
	}
}

func (f *ClientFile) walkOnce(names []string, results []WalkResult, bind bool) (int, error) {
	want := max(len(names), 1)
	if len(names) > MaxWalk || len(results) < want {
		return 0, unix.EINVAL
	}
	for _, name := range names {
		if len(name) > maxName {
			return 0, unix.ENAMETOOLONG
		}
	}
	cl, err := f.beginExt(tWalkgetattr)
	if err != nil {
		return 0, err
	}
	c := f.c
	var fids [MaxWalk]uint32
	for i := range fids[:want] {
		fids[i] = NoFID
		if bind {
			fids[i] = c.newFID()
		}
	}
	cl.req.u16(uint16(len(names)))
	if len(names) == 0 {
		cl.req.u32(fids[0])
	}
	for i, name := range names {
		cl.req.u32(fids[i])
		cl.req.str(name)
	}
	d, err := c.roundTrip(cl)
	if err != nil {
		c.releaseFIDs(fids[:want])
		return 0, err
	}
	errno := unix.Errno(d.u32())
	n := int(d.u16())
	if n > want || errno > unix.EHWPOISON || (errno == 0 && n == 0) {
		return 0, c.bad(cl)
	}
	for i := range results[:n] {
		results[i] = WalkResult{}
		d.full(&results[i].Attr)
		if i < n-1 && results[i].Attr.QID.Type != QTDir {
			return 0, c.bad(cl) // nothing can lie below
		}
		if bind {
			results[i].File = &ClientFile{c: c, fid: fids[i]}
		}
	}
	if err := c.finish(cl, &d); err != nil {
		return 0, err
	}
	c.releaseFIDs(fids[n:want])
	if errno != 0 {
		return n, errno
	}
	return n, nil
}

// releaseFIDs frees those of the fids that are numbers of fids.
func (c *Client) releaseFIDs(fids []uint32) {
	for _, fid := range fids {
		if fid != NoFID {
			c.freeFID(fid)
		}
	}
}

// GetAttr returns the attributes of the file.
func (f *ClientFile) GetAttr() (Attr, error) {
	cl, err := f.begin(tGetattr)
	if err != nil {
		return Attr{}, err
	}
	cl.req.u64(AttrAll)
	d, err := f.c.roundTrip(cl)
	if err != nil {
		return Attr{}, err
	}
	var a Attr
	d.full(&a)
	return a, f.c.finish(cl, &d)
}

// SetAttr changes attributes.
func (f *ClientFile) SetAttr(set SetAttr) error {
	cl, err := f.begin(tSetattr)
	if err != nil {
		return err
	}
	cl.req.setAttr(&set)
	return f.c.empty(cl)
}

// SetGetAttr changes attributes and returns what they all are afterwards.
func (f *ClientFile) SetGetAttr(set SetAttr) (Attr, error) {
	cl, err := f.beginExt(tUsetattr)
	if err != nil {
		return Attr{}, err
	}
	cl.req.setAttr(&set)
	return f.c.fullReply(cl)
}

// SetAttrClose changes attributes and gives up the fid in one round trip.
func (f *ClientFile) SetAttrClose(set SetAttr) error {
	cl, err := f.beginExt(tSetattrclunk)
	if err != nil {
		return err
	}
	if f.closed.Swap(true) {
		f.c.release(cl)
		return unix.EBADF
	}
	cl.req.setAttr(&set)
	err = f.c.empty(cl)
	f.c.freeFID(f.fid)
	return err
}

// fullReply sends a request whose reply is the attributes of a file.
func (c *Client) fullReply(cl *call) (Attr, error) {
	d, err := c.roundTrip(cl)
	if err != nil {
		return Attr{}, err
	}
	var a Attr
	d.full(&a)
	return a, c.finish(cl, &d)
}

// StatFS returns the state of the file system that holds the file.
func (f *ClientFile) StatFS() (FSStat, error) {
	cl, err := f.begin(tStatfs)
	if err != nil {
		return FSStat{}, err
	}
	d, err := f.c.roundTrip(cl)
	if err != nil {
		return FSStat{}, err
	}
	s := d.fsStat()
	return s, f.c.finish(cl, &d)
}

// Readlink returns the target of a symlink.
func (f *ClientFile) Readlink() (string, error) {
	cl, err := f.begin(tReadlink)
	if err != nil {
		return "", err
	}
	d, err := f.c.roundTrip(cl)
	if err != nil {
		return "", err
	}
	target := d.str()
	if len(target) > maxTarget {
		return "", f.c.bad(cl)
	}
	return target, f.c.finish(cl, &d)
}

// OpenFD opens the file and returns a host descriptor; the server keeps nothing open.
func (f *ClientFile) OpenFD(flags uint32) (*fd.FD, error) {
	return f.c.requestFD(func() (*call, error) {
		cl, err := f.beginExt(tUopen)
		if err == nil {
			cl.req.u32(NoFID)
			cl.req.u32(flags)
		}
		return cl, err
	}, func(d *decoder) {
		d.qid()
		d.u32()
	})
}

// requestFD makes a request whose only effect is a descriptor, or EMFILE if this process has no
// room for it.
func (c *Client) requestFD(begin func() (*call, error), decode func(*decoder)) (*fd.FD, error) {
	for tries := 0; ; tries++ {
		cl, err := begin()
		if err != nil {
			return nil, err
		}
		d, err := c.roundTrip(cl)
		if err != nil {
			return nil, err
		}
		decode(&d)
		lost := cl.fd == lostFD
		host := cl.takeFD()
		if host == nil && !lost {
			return nil, c.bad(cl)
		}
		if err := c.finish(cl, &d); err != nil {
			if host != nil {
				host.Close()
			}
			return nil, err
		}
		if !lost {
			return host, nil
		}
		if !c.relieved(tries) {
			return nil, unix.EMFILE
		}
	}
}

// Open opens the file as a new fid, which is what reads, writes and lists it, and returns
// the host descriptor if the server gave one.
func (f *ClientFile) Open(flags uint32) (*ClientFile, *fd.FD, error) {
	cl, err := f.beginExt(tUopen)
	if err != nil {
		return nil, nil, err
	}
	c := f.c
	fid := c.newFID()
	cl.req.u32(fid)
	cl.req.u32(flags)
	d, err := c.roundTrip(cl)
	if err != nil {
		c.freeFID(fid)
		return nil, nil, err
	}
	d.qid()
	d.u32()
	host := cl.takeFD()
	if err := c.finish(cl, &d); err != nil {
		if host != nil {
			host.Close()
		}
		return nil, nil, err
	}
	return &ClientFile{c: c, fid: fid}, host, nil
}

// WalkOpen walks to name and opens what is there in one round trip: the fid is the inode's, as
// Walk's, and the descriptor is what OpenFD would return; nil if this process has no room for it.
func (f *ClientFile) WalkOpen(name string, flags uint32) (WalkResult, *fd.FD, error) {
	cl, fid, err := f.beginNew(tWalkopen, name)
	if err != nil {
		return WalkResult{}, nil, err
	}
	cl.req.u32(flags)
	return f.c.newReply(cl, fid)
}

// Create creates a regular file and opens it. The new fid stands for the inode; if the
// server gave no descriptor, it is open, too. With O_TMPFILE in flags the file has no name.
func (f *ClientFile) Create(name string, flags, mode, uid, gid uint32) (WalkResult, *fd.FD, error) {
	cl, fid, err := f.beginNew(tUcreate, name)
	if err != nil {
		return WalkResult{}, nil, err
	}
	cl.req.u32(flags)
	cl.req.u32(mode)
	cl.req.u32(uid)
	cl.req.u32(gid)
	return f.c.newReply(cl, fid)
}

// beginNew starts a request that makes a new file called name.
func (f *ClientFile) beginNew(typ uint8, name string) (*call, uint32, error) {
	if len(name) > maxName {
		return nil, 0, unix.ENAMETOOLONG
	}
	cl, err := f.beginExt(typ)
	if err != nil {
		return nil, 0, err
	}
	fid := f.c.newFID()
	cl.req.u32(fid)
	cl.req.str(name)
	return cl, fid, nil
}

// newReply sends such a request.
func (c *Client) newReply(cl *call, fid uint32) (WalkResult, *fd.FD, error) {
	d, err := c.roundTrip(cl)
	if err != nil {
		c.freeFID(fid)
		return WalkResult{}, nil, err
	}
	r := WalkResult{File: &ClientFile{c: c, fid: fid}}
	d.full(&r.Attr)
	host := cl.takeFD()
	if err := c.finish(cl, &d); err != nil {
		if host != nil {
			host.Close()
		}
		return WalkResult{}, nil, err
	}
	return r, host, nil
}

// newNode is newReply for what is not opened.
func (c *Client) newNode(cl *call, fid uint32) (WalkResult, error) {
	r, host, err := c.newReply(cl, fid)
	if host != nil {
		host.Close()
	}
	return r, err
}

// Mkdir makes a directory.
func (f *ClientFile) Mkdir(name string, mode, uid, gid uint32) (WalkResult, error) {
	cl, fid, err := f.beginNew(tUmkdir, name)
	if err != nil {
		return WalkResult{}, err
	}
	cl.req.u32(mode)
	cl.req.u32(uid)
	cl.req.u32(gid)
	return f.c.newNode(cl, fid)
}

// Mknod makes a file of the type in mode.
func (f *ClientFile) Mknod(name string, mode, major, minor, uid, gid uint32) (WalkResult, error) {
	cl, fid, err := f.beginNew(tUmknod, name)
	if err != nil {
		return WalkResult{}, err
	}
	cl.req.u32(mode)
	cl.req.u32(major)
	cl.req.u32(minor)
	cl.req.u32(uid)
	cl.req.u32(gid)
	return f.c.newNode(cl, fid)
}

// Symlink makes a symlink.
func (f *ClientFile) Symlink(name, target string, uid, gid uint32) (WalkResult, error) {
	if len(target) > maxTarget {
		return WalkResult{}, unix.ENAMETOOLONG
	}
	cl, fid, err := f.beginNew(tUsymlink, name)
	if err != nil {
		return WalkResult{}, err
	}
	cl.req.str(target)
	cl.req.u32(uid)
	cl.req.u32(gid)
	return f.c.newNode(cl, fid)
}

// Link gives target, a file of the same connection, one more name, and returns target's
// attributes.
func (f *ClientFile) Link(target *ClientFile, name string) (Attr, error) {
	if len(name) > maxName {
		return Attr{}, unix.ENAMETOOLONG
	}
	cl, err := f.beginExt(tUlink)
	if err != nil {
		return Attr{}, err
	}
	cl.req.u32(target.fid)
	cl.req.str(name)
	return f.c.fullReply(cl)
}

// Unlink removes a name; flags may hold AT_REMOVEDIR.
func (f *ClientFile) Unlink(name string, flags uint32) error {
	if len(name) > maxName {
		return unix.ENAMETOOLONG
	}
	cl, err := f.begin(tUnlinkat)
	if err != nil {
		return err
	}
	cl.req.str(name)
	cl.req.u32(flags)
	return f.c.empty(cl)
}

// Rename moves oldName of the directory f to newName of newDir; flags are renameat2(2)'s.
func (f *ClientFile) Rename(oldName string, newDir *ClientFile, newName string, flags uint32) error {
	if len(oldName) > maxName || len(newName) > maxName {
		return unix.ENAMETOOLONG
	}
	typ := uint8(tRenameat)
	if flags != 0 {
		if f.c.extension == 0 {
			return unix.EINVAL
		}
		typ = tRenameat2
	}
	cl, err := f.begin(typ)
	if err != nil {
		return err
	}
	cl.req.str(oldName)
	cl.req.u32(newDir.fid)
	cl.req.str(newName)
	if flags != 0 {
		cl.req.u32(flags)
	}
	return f.c.empty(cl)
}

// Connect connects to a unix socket of the host and returns the connection.
func (f *ClientFile) Connect(sockType uint32) (*fd.FD, error) {
	return f.c.requestFD(func() (*call, error) {
		cl, err := f.beginExt(tLconnect)
		if err == nil {
			cl.req.u32(sockType)
		}
		return cl, err
	}, func(*decoder) {})
}
