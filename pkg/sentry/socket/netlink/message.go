package netlink

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Sizes of headers in bytes.
const (
	sizeofHeader = 16
	sizeofAttr   = 4
)

// Bits of an attribute's type that are not its number.
const attrTypeMask = 0x3fff

// header is struct nlmsghdr.
type header struct {
	length uint32
	typ    uint16
	flags  uint16
	seq    uint32
	port   uint32
}

func align(n int) int { return (n + 3) &^ 3 }

// next takes the first message off b: its header, its payload, and what is behind it. ok is
// false at the end and at a message that is not whole.
func next(b []byte) (h header, payload, rest []byte, ok bool) {
	if len(b) < sizeofHeader {
		return h, nil, nil, false
	}
	h = header{
		length: binary.NativeEndian.Uint32(b),
		typ:    binary.NativeEndian.Uint16(b[4:]),
		flags:  binary.NativeEndian.Uint16(b[6:]),
		seq:    binary.NativeEndian.Uint32(b[8:]),
		port:   binary.NativeEndian.Uint32(b[12:]),
	}
	if h.length < sizeofHeader || uint64(h.length) > uint64(len(b)) {
		return h, nil, nil, false
	}
	return h, b[sizeofHeader:h.length], b[min(align(int(h.length)), len(b)):], true
}

// builder makes a datagram of netlink messages.
type builder struct {
	b     []byte
	start int // of the message that is being built
}

// begin starts a message; end must follow.
func (w *builder) begin(h header) {
	w.start = len(w.b)
	w.b = binary.NativeEndian.AppendUint32(w.b, 0)
	w.b = binary.NativeEndian.AppendUint16(w.b, h.typ)
	w.b = binary.NativeEndian.AppendUint16(w.b, h.flags)
	w.b = binary.NativeEndian.AppendUint32(w.b, h.seq)
	w.b = binary.NativeEndian.AppendUint32(w.b, h.port)
}

func (w *builder) end() {
	binary.NativeEndian.PutUint32(w.b[w.start:], uint32(len(w.b)-w.start))
	w.pad()
}

func (w *builder) pad() {
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

func (w *builder) bytes(v ...byte) { w.b = append(w.b, v...) }
func (w *builder) u16(v uint16)    { w.b = binary.NativeEndian.AppendUint16(w.b, v) }
func (w *builder) u32(v uint32)    { w.b = binary.NativeEndian.AppendUint32(w.b, v) }
func (w *builder) u64(v uint64)    { w.b = binary.NativeEndian.AppendUint64(w.b, v) }

// attr appends an attribute.
func (w *builder) attr(typ uint16, value []byte) {
	w.u16(uint16(sizeofAttr + len(value)))
	w.u16(typ)
	w.b = append(w.b, value...)
	w.pad()
}

func (w *builder) attrU8(typ uint16, v uint8) { w.attr(typ, []byte{v}) }

func (w *builder) attrU16(typ, v uint16) {
	w.attr(typ, binary.NativeEndian.AppendUint16(nil, v))
}

func (w *builder) attrU32(typ uint16, v uint32) {
	w.attr(typ, binary.NativeEndian.AppendUint32(nil, v))
}

func (w *builder) attrU64(typ uint16, v uint64) {
	w.attr(typ, binary.NativeEndian.AppendUint64(nil, v))
}

func (w *builder) attrString(typ uint16, s string) { w.attr(typ, append([]byte(s), 0)) }

func (w *builder) attrAddr(typ uint16, a netip.Addr) { w.attr(typ, a.AsSlice()) }

// nest starts an attribute of attributes; its result goes to unnest.
func (w *builder) nest(typ uint16) int {
	at := len(w.b)
	w.u16(0)
	w.u16(typ)
	return at
}

func (w *builder) unnest(at int) {
	binary.NativeEndian.PutUint16(w.b[at:], uint16(len(w.b)-at))
	w.pad()
}

// attribute is one attribute of a request.
type attribute struct {
	value []byte
	off   int // where in the message its header is
}

// attributes are those of a request by type; a nil value is one that is not there.
type attributes []attribute

func (a attributes) has(typ uint16) bool { return a[typ].value != nil }

func (a attributes) bytes(typ uint16) []byte { return a[typ].value }

func (a attributes) u8(typ uint16) uint8 {
	if v := a[typ].value; len(v) >= 1 {
		return v[0]
	}
	return 0
}

func (a attributes) u16(typ uint16) uint16 {
	if v := a[typ].value; len(v) >= 2 {
		return binary.NativeEndian.Uint16(v)
	}
	return 0
}

func (a attributes) u32(typ uint16) uint32 {
	if v := a[typ].value; len(v) >= 4 {
		return binary.NativeEndian.Uint32(v)
	}
	return 0
}

// text is a string with or without its zero.
func (a attributes) text(typ uint16) string { return cString(a[typ].value) }

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// addr is an address of a family; the zero Addr without an error if there is none. ERANGE: it
// is too short.
func (a attributes) addr(typ uint16, v6 bool) (netip.Addr, error) {
	v := a[typ].value
	if v == nil {
		return netip.Addr{}, nil
	}
	n := 4
	if v6 {
		n = 16
	}
	if len(v) < n {
		return netip.Addr{}, a.refuse(unix.ERANGE, typ, "the address is too short")
	}
	addr, _ := netip.AddrFromSlice(v[:n])
	return addr, nil
}

// refuse makes an error about an attribute.
func (a attributes) refuse(errno unix.Errno, typ uint16, words string) error {
	return &refusal{errno: errno, words: words, off: a[typ].off}
}

// shape is what a type of attribute must look like.
type shape uint8

const (
	unknown shape = iota // not known here; skipped, or refused if the check is strict
	isU8
	isU16
	isU32
	isU64
	isBytes // of any length
	isNested
)

// least is how many bytes the value has at least, exactly so if the check is strict.
func (s shape) least() (n int, fixed bool) {
	switch s {
	case isU8:
		return 1, true
	case isU16:
		return 2, true
	case isU32:
		return 4, true
	case isU64:
		return 8, true
	}
	return 0, false
}

// parse takes attributes apart; off is where in the message b begins. Types beyond shapes are
// skipped, or refused if strict. ERANGE: one is too short.
func parse(b []byte, off int, shapes []shape, strict bool) (attributes, error) {
	a := make(attributes, len(shapes))
	for len(b) >= sizeofAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < sizeofAttr || n > len(b) {
			break
		}
		typ := binary.NativeEndian.Uint16(b[2:]) & attrTypeMask
		v := b[sizeofAttr:n:n]
		switch {
		case int(typ) >= len(shapes) || shapes[typ] == unknown:
			if strict && typ != 0 {
				return nil, &refusal{errno: unix.EINVAL, words: "unknown attribute", off: off}
			}
		default:
			least, fixed := shapes[typ].least()
			if len(v) < least || strict && fixed && len(v) != least {
				errno := unix.ERANGE
				if strict {
					errno = unix.EINVAL
				}
				return nil, &refusal{errno: errno, words: "the attribute has a wrong length", off: off}
			}
			a[typ] = attribute{v, off}
		}
		skip := min(align(n), len(b))
		b, off = b[skip:], off+skip
	}
	if strict && len(b) > 0 {
		return nil, &refusal{errno: unix.EINVAL, words: "bytes are left behind the attributes"}
	}
	return a, nil
}

// refusal is an error with words for whoever asked (NETLINK_EXT_ACK).
type refusal struct {
	errno unix.Errno
	words string
	off   int // of the offending attribute in the message; 0: none
}

// Error implements error.
func (r *refusal) Error() string { return r.errno.Error() + ": " + r.words }

// refuse makes an error that is about no attribute.
func refuse(errno unix.Errno, words string) error { return &refusal{errno: errno, words: words} }

// errnoOf is the number of an error.
func errnoOf(err error) unix.Errno {
	switch e := err.(type) {
	case nil:
		return 0
	case unix.Errno:
		return e
	case *refusal:
		return e.errno
	}
	return unix.EINVAL
}

// Flags of NLMSG_ERROR and its attributes (netlink(7), NETLINK_EXT_ACK).
const (
	flagCapped  = 0x100
	flagAckTLVs = 0x200
	errAttrMsg  = 1
	errAttrOffs = 2
)

// acknowledge is NLMSG_ERROR; without an error it is an ACK. capped: NETLINK_CAP_ACK; extended:
// NETLINK_EXT_ACK.
func acknowledge(h header, payload []byte, port uint32, err error, capped, extended bool) []byte {
	var w builder
	reply := header{typ: unix.NLMSG_ERROR, seq: h.seq, port: port}
	errno := errnoOf(err)
	whole := errno != 0 && !capped
	if !whole {
		reply.flags |= flagCapped
	}
	r, _ := err.(*refusal)
	if r != nil && extended {
		reply.flags |= flagAckTLVs
	} else {
		r = nil
	}
	w.begin(reply)
	w.u32(-uint32(errno))
	w.u32(h.length)
	w.u16(h.typ)
	w.u16(h.flags)
	w.u32(h.seq)
	w.u32(h.port)
	if whole {
		w.bytes(payload...)
		w.pad()
	}
	if r != nil {
		if r.words != "" {
			w.attrString(errAttrMsg, r.words)
		}
		if r.off != 0 {
			w.attrU32(errAttrOffs, uint32(r.off))
		}
	}
	w.end()
	return w.b
}
