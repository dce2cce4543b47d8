package p9

import "encoding/binary"

// encoder appends to a message. The caller makes sure of the room: every encoder starts
// from a buffer that grows, and lengths are checked where they come from.
type encoder struct {
	b []byte
}

// start empties the buffer but for the room of a header.
func (e *encoder) start() {
	if cap(e.b) < 256 {
		e.b = make([]byte, 0, 512)
	}
	e.b = e.b[:headerSize]
}

// finish writes the header in front of what was appended.
func (e *encoder) finish(typ uint8, tag uint16) []byte {
	binary.LittleEndian.PutUint32(e.b, uint32(len(e.b)))
	e.b[4] = typ
	binary.LittleEndian.PutUint16(e.b[5:], tag)
	return e.b
}

func (e *encoder) u8(v uint8)   { e.b = append(e.b, v) }
func (e *encoder) u16(v uint16) { e.b = binary.LittleEndian.AppendUint16(e.b, v) }
func (e *encoder) u32(v uint32) { e.b = binary.LittleEndian.AppendUint32(e.b, v) }
func (e *encoder) u64(v uint64) { e.b = binary.LittleEndian.AppendUint64(e.b, v) }

// str appends a string; one longer than its length field can say is cut, which callers
// prevent.
func (e *encoder) str(s string) {
	if len(s) > 0xffff {
		s = s[:0xffff]
	}
	e.u16(uint16(len(s)))
	e.b = append(e.b, s...)
}

// room appends n bytes of no particular content and returns them.
func (e *encoder) room(n int) []byte {
	at := len(e.b)
	if at+n <= cap(e.b) {
		e.b = e.b[:at+n]
	} else {
		grown := make([]byte, at+n)
		copy(grown, e.b)
		e.b = grown
	}
	return e.b[at:]
}

func (e *encoder) time(t Time) {
	e.u64(uint64(t.Sec))
	e.u64(uint64(t.Nsec))
}

func (e *encoder) qid(q QID) {
	e.u8(q.Type)
	e.u32(q.Version)
	e.u64(q.Path)
}

// full appends valid[8] qid mode[4] uid[4] gid[4] nlink[8] rdev[8] size[8] blksize[8]
// blocks[8] atime[16] mtime[16] ctime[16] btime[16] gen[8] data_version[8].
func (e *encoder) full(a *Attr) {
	e.u64(a.Valid)
	e.qid(a.QID)
	e.u32(a.Mode)
	e.u32(a.UID)
	e.u32(a.GID)
	e.u64(a.NLink)
	e.u64(a.RDev)
	e.u64(a.Size)
	e.u64(a.BlockSize)
	e.u64(a.Blocks)
	e.time(a.ATime)
	e.time(a.MTime)
	e.time(a.CTime)
	e.time(a.BTime)
	e.u64(a.Gen)
	e.u64(a.DataVersion)
}

func (e *encoder) setAttr(a *SetAttr) {
	e.u32(a.Valid)
	e.u32(a.Mode)
	e.u32(a.UID)
	e.u32(a.GID)
	e.u64(a.Size)
	e.time(a.ATime)
	e.time(a.MTime)
}

func (e *encoder) fsStat(s *FSStat) {
	e.u32(s.Type)
	e.u32(s.BlockSize)
	e.u64(s.Blocks)
	e.u64(s.BlocksFree)
	e.u64(s.BlocksAvailable)
	e.u64(s.Files)
	e.u64(s.FilesFree)
	e.u64(s.FSID)
	e.u32(s.NameLength)
}

func (e *encoder) dirent(d *Dirent) {
	e.qid(d.QID)
	e.u64(d.Offset)
	e.u8(d.Type)
	e.str(d.Name)
}

// decoder takes a message apart. A field that is not there reads as zero and sets bad; the
// caller looks at bad once, before it acts on anything.
type decoder struct {
	b   []byte
	bad bool
}

// ok says whether the body was exactly as long as what was read from it.
func (d *decoder) ok() bool { return !d.bad && len(d.b) == 0 }

func (d *decoder) u8() uint8 {
	if len(d.b) < 1 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) u16() uint16 {
	if len(d.b) < 2 {
		d.fail()
		return 0
	}
	v := binary.LittleEndian.Uint16(d.b)
	d.b = d.b[2:]
	return v
}

func (d *decoder) u32() uint32 {
	if len(d.b) < 4 {
		d.fail()
		return 0
	}
	v := binary.LittleEndian.Uint32(d.b)
	d.b = d.b[4:]
	return v
}

func (d *decoder) u64() uint64 {
	if len(d.b) < 8 {
		d.fail()
		return 0
	}
	v := binary.LittleEndian.Uint64(d.b)
	d.b = d.b[8:]
	return v
}

func (d *decoder) fail() {
	d.bad = true
	d.b = nil
}

// bytes returns the next n bytes, which belong to the message's buffer.
func (d *decoder) bytes(n int) []byte {
	if n < 0 || len(d.b) < n {
		d.fail()
		return nil
	}
	v := d.b[:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) str() string { return string(d.bytes(int(d.u16()))) }

func (d *decoder) time() Time {
	return Time{Sec: int64(d.u64()), Nsec: int64(d.u64())}
}

func (d *decoder) qid() QID {
	return QID{Type: d.u8(), Version: d.u32(), Path: d.u64()}
}

func (d *decoder) full(a *Attr) {
	a.Valid = d.u64()
	a.QID = d.qid()
	a.Mode = d.u32()
	a.UID = d.u32()
	a.GID = d.u32()
	a.NLink = d.u64()
	a.RDev = d.u64()
	a.Size = d.u64()
	a.BlockSize = d.u64()
	a.Blocks = d.u64()
	a.ATime = d.time()
	a.MTime = d.time()
	a.CTime = d.time()
	a.BTime = d.time()
	a.Gen = d.u64()
	a.DataVersion = d.u64()
}

func (d *decoder) setAttr() SetAttr {
	return SetAttr{
		Valid: d.u32(),
		Mode:  d.u32(),
		UID:   d.u32(),
		GID:   d.u32(),
		Size:  d.u64(),
		ATime: d.time(),
		MTime: d.time(),
	}
}

func (d *decoder) fsStat() FSStat {
	return FSStat{
		Type:            d.u32(),
		BlockSize:       d.u32(),
		Blocks:          d.u64(),
		BlocksFree:      d.u64(),
		BlocksAvailable: d.u64(),
		Files:           d.u64(),
		FilesFree:       d.u64(),
		FSID:            d.u64(),
		NameLength:      d.u32(),
	}
}

func (d *decoder) dirent() Dirent {
	return Dirent{QID: d.qid(), Offset: d.u64(), Type: d.u8(), Name: d.str()}
}
