package netlink

import "encoding/binary"

// Sizes of headers in bytes.
const (
	sizeofHeader = 16
	sizeofAttr   = 4
)

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

// attribute finds the first attribute of type typ in b.
func attribute(b []byte, typ uint16) (value []byte, ok bool) {
	for len(b) >= sizeofAttr {
		n := int(binary.NativeEndian.Uint16(b))
		if n < sizeofAttr || n > len(b) {
			return nil, false
		}
		if binary.NativeEndian.Uint16(b[2:])&0x3fff == typ {
			return b[sizeofAttr:n], true
		}
		b = b[min(align(n), len(b)):]
	}
	return nil, false
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

// attr appends an attribute.
func (w *builder) attr(typ uint16, value []byte) {
	w.u16(uint16(sizeofAttr + len(value)))
	w.u16(typ)
	w.b = append(w.b, value...)
	w.pad()
}

func (w *builder) attrU32(typ uint16, v uint32) {
	w.attr(typ, binary.NativeEndian.AppendUint32(nil, v))
}

func (w *builder) attrString(typ uint16, s string) { w.attr(typ, append([]byte(s), 0)) }
