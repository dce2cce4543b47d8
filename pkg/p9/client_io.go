package p9

import (
	"strings"

	"golang.org/x/sys/unix"
)

// The methods below work on a fid that Open or Create opened, except for the extended
// attributes.

// ReadAt reads up to len(p) bytes at offset; fewer only at the end of the file.
func (f *ClientFile) ReadAt(p []byte, offset uint64) (int, error) {
	done := 0
	for done < len(p) {
		want := min(len(p)-done, f.c.MaxIO())
		n, err := f.read(p[done:done+want], offset+uint64(done))
		done += n
		if err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
		if n < want {
			break
		}
	}
	return done, nil
}

func (f *ClientFile) read(p []byte, offset uint64) (int, error) {
	cl, err := f.begin(tRead)
	if err != nil {
		return 0, err
	}
	cl.req.u64(offset)
	cl.req.u32(uint32(len(p)))
	d, err := f.c.roundTrip(cl)
	if err != nil {
		return 0, err
	}
	data := d.bytes(int(d.u32()))
	if len(data) > len(p) {
		return 0, f.c.bad(cl)
	}
	n := copy(p, data)
	return n, f.c.finish(cl, &d)
}

// WriteAt writes p at offset and returns how much was written, which is less than all only
// with an error or when the server wrote less.
func (f *ClientFile) WriteAt(p []byte, offset uint64) (int, error) {
	done := 0
	for done < len(p) {
		want := min(len(p)-done, f.c.MaxIO())
		n, err := f.write(p[done:done+want], offset+uint64(done))
		done += n
		if err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
		if n < want {
			break
		}
	}
	return done, nil
}

func (f *ClientFile) write(p []byte, offset uint64) (int, error) {
	cl, err := f.begin(tWrite)
	if err != nil {
		return 0, err
	}
	cl.req.u64(offset)
	cl.req.u32(uint32(len(p)))
	cl.req.b = append(cl.req.b, p...)
	d, err := f.c.roundTrip(cl)
	if err != nil {
		return 0, err
	}
	n := int(d.u32())
	if n > len(p) {
		return 0, f.c.bad(cl)
	}
	return n, f.c.finish(cl, &d)
}

// ReadDir appends to entries what follows the entry whose Offset is offset (0: from the
// start), as much as fits into one reply. Nothing is appended at the end.
func (f *ClientFile) ReadDir(offset uint64, entries []Dirent) ([]Dirent, error) {
	cl, err := f.begin(tReaddir)
	if err != nil {
		return entries, err
	}
	cl.req.u64(offset)
	cl.req.u32(uint32(min(f.c.MaxIO(), keepBufferSize)))
	d, err := f.c.roundTrip(cl)
	if err != nil {
		return entries, err
	}
	had := len(entries)
	list := decoder{b: d.bytes(int(d.u32()))}
	for len(list.b) > 0 {
		entry := list.dirent()
		if list.bad {
			break
		}
		if entry.Name != "." && entry.Name != ".." && !ValidName(entry.Name) {
			list.fail()
			break
		}
		entries = append(entries, entry)
	}
	if list.bad {
		d.fail()
	}
	if err := f.c.finish(cl, &d); err != nil {
		return entries[:had], err
	}
	return entries, nil
}

// ReadDirPlus is ReadDir with the attributes of each entry: attrs grows as entries does.
// Attr.Valid is 0 where the server has none. eof says that nothing follows.
func (f *ClientFile) ReadDirPlus(offset uint64, entries []Dirent, attrs []Attr) (_ []Dirent, _ []Attr, eof bool, err error) {
	cl, err := f.beginExt(tReaddirplus)
	if err != nil {
		return entries, attrs, false, err
	}
	cl.req.u64(offset)
	cl.req.u32(uint32(min(f.c.MaxIO(), 4*keepBufferSize)))
	d, err := f.c.roundTrip(cl)
	if err != nil {
		return entries, attrs, false, err
	}
	hadEntries, hadAttrs := len(entries), len(attrs)
	eof = d.u8() != 0
	list := decoder{b: d.bytes(int(d.u32()))}
	for len(list.b) > 0 {
		entry := list.dirent()
		var a Attr
		list.full(&a)
		if list.bad {
			break
		}
		if entry.Name != "." && entry.Name != ".." && !ValidName(entry.Name) {
			list.fail()
			break
		}
		entries = append(entries, entry)
		attrs = append(attrs, a)
	}
	if list.bad {
		d.fail()
	}
	if err := f.c.finish(cl, &d); err != nil {
		return entries[:hadEntries], attrs[:hadAttrs], false, err
	}
	return entries, attrs, eof || len(entries) == hadEntries, nil
}

// Sync is fsync(2), or fdatasync(2).
func (f *ClientFile) Sync(dataOnly bool) error {
	cl, err := f.begin(tFsync)
	if err != nil {
		return err
	}
	var flag uint32
	if dataOnly {
		flag = 1
	}
	cl.req.u32(flag)
	return f.c.empty(cl)
}

// Flush returns what close(2) of the file would.
func (f *ClientFile) Flush() error {
	cl, err := f.beginExt(tFlushf)
	if err != nil {
		return err
	}
	return f.c.empty(cl)
}

// Allocate is fallocate(2).
func (f *ClientFile) Allocate(mode uint32, offset, length uint64) error {
	cl, err := f.beginExt(tAllocate)
	if err != nil {
		return err
	}
	cl.req.u32(mode)
	cl.req.u64(offset)
	cl.req.u64(length)
	return f.c.empty(cl)
}

// GetXattr copies the value of an extended attribute into buf and returns its size; with an
// empty buf only the size. ERANGE when it does not fit, ENODATA when there is none.
func (f *ClientFile) GetXattr(name string, buf []byte) (int, error) {
	if len(name) > maxXattrName {
		return 0, unix.ERANGE
	}
	cl, err := f.beginExt(tGetxattr)
	if err != nil {
		return 0, err
	}
	cl.req.str(name)
	return f.c.sized(cl, buf)
}

// sized sends a request that ends with the size of buf, and whose reply is that many bytes
// or, if buf is empty, only their number.
func (c *Client) sized(cl *call, buf []byte) (int, error) {
	buf = buf[:min(len(buf), maxXattrValue, c.MaxIO())]
	cl.req.u32(uint32(len(buf)))
	d, err := c.roundTrip(cl)
	if err != nil {
		return 0, err
	}
	n := int(d.u32())
	if len(buf) > 0 {
		if n > len(buf) {
			return 0, c.bad(cl)
		}
		copy(buf, d.bytes(n))
	} else if n > maxXattrValue {
		return 0, c.bad(cl)
	}
	return n, c.finish(cl, &d)
}

// SetXattr sets an extended attribute; flags are XATTR_CREATE and XATTR_REPLACE.
func (f *ClientFile) SetXattr(name string, value []byte, flags uint32) error {
	switch {
	case len(name) > maxXattrName:
		return unix.ERANGE
	case len(value) > maxXattrValue || len(value) > f.c.MaxIO()-maxXattrName:
		return unix.E2BIG
	}
	cl, err := f.beginExt(tSetxattr)
	if err != nil {
		return err
	}
	cl.req.str(name)
	cl.req.u32(flags)
	cl.req.u32(uint32(len(value)))
	cl.req.b = append(cl.req.b, value...)
	return f.c.empty(cl)
}

// ListXattr returns the names of the extended attributes.
func (f *ClientFile) ListXattr() ([]string, error) {
	cl, err := f.beginExt(tListxattr)
	if err != nil {
		return nil, err
	}
	buf := make([]byte, min(maxXattrValue, f.c.MaxIO()))
	n, err := f.c.sized(cl, buf)
	if err != nil || n == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(buf[:n]), "\x00"), "\x00"), nil
}

// RemoveXattr removes an extended attribute.
func (f *ClientFile) RemoveXattr(name string) error {
	if len(name) > maxXattrName {
		return unix.ERANGE
	}
	cl, err := f.beginExt(tRemovexattr)
	if err != nil {
		return err
	}
	cl.req.str(name)
	return f.c.empty(cl)
}
