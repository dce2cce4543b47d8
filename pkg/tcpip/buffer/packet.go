// Package buffer holds packets.
//
// A Packet is a row of bytes: a small array in the packet itself, filled from its end towards
// its beginning with headers (Push), followed by Views of pooled, reference-counted memory. So
// a transport puts a reference to its send queue behind the headers that each layer pushes in
// front, and the link writes all of it with one scatter-gather call: no byte is copied between
// socket buffer and link. On the way in, a layer takes its header off the front (Consume); the
// header's bytes stay where they are, and a transport moves the rest to its receive queue by
// reference (TakeViews).
//
// Ownership: a Packet has one owner. Whoever is given one passes it on or releases it, whatever
// happens; a function that only looks says so. To keep a packet and pass it on, Clone it: the
// clone shares the memory, which nobody may write any more, but not the headers of the array.
//
// A Packet has no lock: it is used by one goroutine at a time.
package buffer

import (
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"runsc/pkg/tcpip"
)

const (
	// MaxHeader is the room for pushed headers: Ethernet 14, IPv6 40 with 24 of extensions,
	// or IPv4 with options 60, and TCP with options 60.
	MaxHeader = 144
	// MaxPacket is the largest packet, an offloaded one included, without its link header.
	MaxPacket = 65535
	// packetMemory is about the size of a Packet itself, in bytes. With it, a small packet is
	// charged what Linux charges (832), so that as many fit into a socket's buffer.
	packetMemory = 576
)

// Checksum says what is known of the checksum of the transport header.
type Checksum uint8

const (
	// ChecksumUnknown: received, to be checked; sent: it is complete.
	ChecksumUnknown Checksum = iota
	// ChecksumVerified: received: it is right, or the packet never left this machine.
	ChecksumVerified
	// ChecksumPartial: the field holds the folded sum of the pseudo header, not inverted.
	// Whoever puts the packet on a wire adds the rest, from the transport header on
	// (virtio_net_hdr's NEEDS_CSUM). Received: it never was on a wire and needs no check.
	ChecksumPartial
)

// SegmentationType is what kind of offloaded packet it is.
type SegmentationType uint8

// The types.
const (
	SegmentNone SegmentationType = iota
	SegmentTCP4
	SegmentTCP6
	SegmentUDP
)

// Segmentation asks the link to cut the packet's payload into packets of Size bytes each (GSO),
// or says that it was put together from such (GRO). ChecksumPartial goes with it when sending.
type Segmentation struct {
	Type SegmentationType
	Size uint16
}

// Packet is one packet, on its way in or out.
type Packet struct {
	head     [MaxHeader]byte
	start    int // head[start:] is in use
	consumed int // bytes taken off the front
	size     int // bytes of all the views
	views    []View
	inline   [4]View

	// LinkHeader, NetworkHeader and TransportHeader are set by the layer that pushes or
	// consumes the header.
	LinkHeader, NetworkHeader, TransportHeader []byte

	// NIC is where the packet came in.
	NIC tcpip.NICID
	// Looped is the interface, besides lo, by which a multicast or broadcast packet of this
	// host left, of the copy that comes back through lo's link; 0: it is none.
	Looped tcpip.NICID
	// EtherType is the network protocol, in host order.
	EtherType uint16
	// LinkSource and LinkDestination are the frame's addresses, if HasLink.
	LinkSource, LinkDestination tcpip.LinkAddress
	HasLink                     bool
	// PacketType is PACKET_HOST… (packet(7)) of a packet that came in.
	PacketType uint8
	// Time is when it came in, if the stack takes time stamps.
	Time time.Time

	// Source, Destination, Transport (protocol number), TTL, TOS and FlowLabel are the IP
	// header's, set by the network layer on the way in.
	Source, Destination netip.Addr
	Transport           uint8
	TTL, TOS            uint8
	FlowLabel           uint32
	// Local is the address of this host that the packet is for: Destination, or the
	// interface's own if that is a broadcast or multicast address.
	Local netip.Addr

	Checksum Checksum
	// ChecksumOffset is the place of the checksum in the transport header, for
	// ChecksumPartial. Transport headers begin at len(LinkHeader)+len(NetworkHeader).
	ChecksumOffset uint16
	Segmentation   Segmentation
	// Mark and Priority are the sending socket's.
	Mark     uint32
	Priority int32
	// Deferred: the sender calls Route.Flush as soon as it holds no lock, and lo may wait for
	// that with the delivery (see stack.Flusher). Other links do not look.
	Deferred bool
}

var packets = sync.Pool{New: func() any { return new(Packet) }}

// New returns an empty packet.
func New() *Packet {
	p := packets.Get().(*Packet)
	p.start = MaxHeader
	p.views = p.inline[:0]
	return p
}

// NewWith returns a packet of one View, which it takes.
func NewWith(v View) *Packet {
	p := New()
	p.AppendView(v)
	return p
}

// NewFrom returns a packet with a copy of b as its data.
func NewFrom(b []byte) *Packet {
	v := NewView(len(b))
	copy(v.Bytes(), b)
	return NewWith(v)
}

// Release gives up the packet. The slices that it handed out are not valid any more.
func (p *Packet) Release() {
	if p.views == nil {
		panic("buffer: a packet was released twice")
	}
	for i := range p.views {
		p.views[i].Release()
	}
	*p = Packet{}
	packets.Put(p)
}

// Clone returns another packet with the same bytes, as many of them consumed, and the same
// properties. What the views hold is shared, and may not be written any more.
func (p *Packet) Clone() *Packet {
	c := packets.Get().(*Packet)
	*c = *p
	c.views = c.inline[:0]
	for _, v := range p.views {
		c.views = append(c.views, v.Clone())
	}
	// Header slices into the array are to be into that of the clone. Those into views stay: the
	// clone has a reference to the same memory.
	moved := func(h []byte) []byte {
		if at := offsetIn(p.head[:], h); at >= 0 {
			return c.head[at : at+len(h)]
		}
		return h
	}
	c.LinkHeader, c.NetworkHeader, c.TransportHeader = moved(p.LinkHeader), moved(p.NetworkHeader), moved(p.TransportHeader)
	return c
}

// offsetIn returns where in b the bytes of h lie, or -1 if they are other memory.
func offsetIn(b, h []byte) int {
	if len(h) == 0 || len(b) == 0 {
		return -1
	}
	at := uintptr(unsafe.Pointer(&h[0])) - uintptr(unsafe.Pointer(&b[0]))
	if at >= uintptr(len(b)) || int(at)+len(h) > len(b) {
		return -1
	}
	return int(at)
}

// Len is the number of bytes that are not consumed.
func (p *Packet) Len() int { return MaxHeader - p.start + p.size - p.consumed }

// Memory is the memory that the packet keeps, in bytes, its own included.
func (p *Packet) Memory() int {
	n := packetMemory
	for _, v := range p.views {
		n += v.Memory()
	}
	return n
}

// MemoryShare is Memory, but that of a chunk which others have Views of is divided among all of
// them: fragments of one packet together have about the size of that packet. It changes when they
// let go of it.
func (p *Packet) MemoryShare() int {
	n := packetMemory
	for _, v := range p.views {
		n += v.share()
	}
	return n
}

// Push puts a header of n bytes, of whatever content, in front and returns it. Nothing may be
// consumed, and the pushed headers together may not be longer than MaxHeader.
func (p *Packet) Push(n int) []byte {
	if p.consumed != 0 {
		panic("buffer: a header is pushed in front of consumed bytes")
	}
	p.start -= n
	return p.head[p.start : p.start+n]
}

// PushRoom is how many bytes can be pushed.
func (p *Packet) PushRoom() int { return p.start }

// AppendView adds v, which the packet takes, behind all data.
func (p *Packet) AppendView(v View) {
	p.size += v.Len()
	p.views = append(p.views, v)
}

// Append copies b behind all data.
func (p *Packet) Append(b []byte) {
	v := NewView(len(b))
	copy(v.Bytes(), b)
	p.AppendView(v)
}

// headLeft is the number of bytes in the header array that are not consumed.
func (p *Packet) headLeft() int {
	return max(MaxHeader-p.start-p.consumed, 0)
}

// front returns the first n unconsumed bytes in one piece.
func (p *Packet) front(n int) ([]byte, bool) {
	if n > p.Len() {
		return nil, false
	}
	if n == 0 {
		return nil, true
	}
	if left := p.headLeft(); left >= n {
		at := p.start + p.consumed
		return p.head[at : at+n], true
	} else if left == 0 {
		at := p.consumed - (MaxHeader - p.start)
		for i := range p.views {
			if l := p.views[i].Len(); at >= l {
				at -= l
				continue
			} else if at+n <= l {
				return p.views[i].b[at : at+n], true
			}
			break
		}
	}
	p.gather(n)
	return p.front(n)
}

// gather makes the first n unconsumed bytes contiguous. What was consumed stays valid.
func (p *Packet) gather(n int) {
	v := NewView(n)
	p.CopyTo(v.Bytes(), 0)
	skip := n - p.headLeft() // of the views
	at := max(p.consumed-(MaxHeader-p.start), 0)
	var views []View
	for i := range p.views {
		w := p.views[i]
		switch l := w.Len(); {
		case at >= l: // consumed: stays as it is
			at -= l
			views = append(views, w)
			continue
		case at > 0: // split behind what is consumed
			views = append(views, w.Slice(0, at))
			w.TrimFront(at)
			at = 0
		}
		if v.c != nil {
			views = append(views, v)
			v = View{}
		}
		drop := min(skip, w.Len())
		w.TrimFront(drop)
		skip -= drop
		if w.Len() == 0 {
			w.Release()
			continue
		}
		views = append(views, w)
	}
	if v.c != nil {
		views = append(views, v)
	}
	if left := p.headLeft(); left > 0 {
		// The array is used up to its end, so what was consumed of it moves to a View, too.
		// Header slices stay good: nothing is pushed, and so written, while bytes are consumed.
		if p.consumed > 0 {
			w := NewView(p.consumed)
			copy(w.Bytes(), p.head[p.start:p.start+p.consumed])
			views = append([]View{w}, views...)
		}
		p.start = MaxHeader
	}
	p.views = views
	p.size = 0
	for i := range views {
		p.size += views[i].Len()
	}
}

// Own returns the first n unconsumed bytes in one piece that may be written, which is a copy if
// somebody shares them. false: there are not as many.
func (p *Packet) Own(n int) ([]byte, bool) {
	b, ok := p.front(n)
	if !ok || n <= p.headLeft() || !p.shared() {
		return b, ok
	}
	p.gather(n)
	return p.front(n)
}

// shared says whether the first unconsumed bytes are of a View that is.
func (p *Packet) shared() bool {
	at := max(p.consumed-(MaxHeader-p.start), 0)
	for i := range p.views {
		if l := p.views[i].Len(); at < l {
			return p.views[i].Shared()
		} else {
			at -= l
		}
	}
	return false
}

// AppendFrom puts n unconsumed bytes of q, from offset on, behind all data. They are shared, but
// for those of q's header array, which are copied. There must be as many.
func (p *Packet) AppendFrom(q *Packet, offset, n int) {
	if left := q.headLeft(); offset < left {
		k := min(left-offset, n)
		p.Append(q.head[MaxHeader-left+offset : MaxHeader-left+offset+k])
		offset, n = left, n-k
	}
	offset += q.consumed - (MaxHeader - q.start)
	for i := range q.views {
		if n == 0 {
			return
		}
		l := q.views[i].Len()
		if offset >= l {
			offset -= l
			continue
		}
		k := min(l-offset, n)
		p.AppendView(q.views[i].Slice(offset, offset+k))
		offset, n = 0, n-k
	}
	if n != 0 {
		panic("buffer: AppendFrom beyond the end of the packet")
	}
}

// CopyProperties sets all but the bytes, the header slices and the link header's fields to those
// of q.
func (p *Packet) CopyProperties(q *Packet) {
	p.NIC, p.EtherType, p.PacketType, p.Time = q.NIC, q.EtherType, q.PacketType, q.Time
	p.Source, p.Destination, p.Local = q.Source, q.Destination, q.Local
	p.Transport, p.TTL, p.TOS, p.FlowLabel = q.Transport, q.TTL, q.TOS, q.FlowLabel
	p.Checksum, p.ChecksumOffset, p.Segmentation = q.Checksum, q.ChecksumOffset, q.Segmentation
	p.Mark, p.Priority, p.Deferred = q.Mark, q.Priority, q.Deferred
}

// Peek returns the first n unconsumed bytes in one piece without consuming them. false: there
// are not as many.
func (p *Packet) Peek(n int) ([]byte, bool) { return p.front(n) }

// Consume takes n bytes off the front and returns them in one piece. false: there are not as
// many, and nothing was taken.
func (p *Packet) Consume(n int) ([]byte, bool) {
	b, ok := p.front(n)
	if ok {
		p.consumed += n
	}
	return b, ok
}

// Unconsume gives back the last n consumed bytes: n at most what was consumed.
func (p *Packet) Unconsume(n int) { p.consumed -= n }

// Consumed is the number of bytes taken off the front.
func (p *Packet) Consumed() int { return p.consumed }

// Truncate drops all but the first n unconsumed bytes.
func (p *Packet) Truncate(n int) {
	drop := p.Len() - n
	for drop > 0 && len(p.views) > 0 {
		v := &p.views[len(p.views)-1]
		d := min(drop, v.Len())
		v.Truncate(v.Len() - d)
		p.size -= d
		drop -= d
		if v.Len() == 0 {
			v.Release()
			p.views = p.views[:len(p.views)-1]
		}
	}
	if drop > 0 {
		// The header array is used up to its end, so the remaining bytes get a View.
		v := NewView(MaxHeader - p.start - drop)
		copy(v.Bytes(), p.head[p.start:])
		p.start = MaxHeader
		p.AppendView(v)
	}
}

// Slices appends the unconsumed bytes to dst, piece by piece, and returns it. They belong to
// the packet.
func (p *Packet) Slices(dst [][]byte) [][]byte {
	if left := p.headLeft(); left > 0 {
		dst = append(dst, p.head[MaxHeader-left:])
	}
	at := max(p.consumed-(MaxHeader-p.start), 0)
	for i := range p.views {
		b := p.views[i].b
		if at >= len(b) {
			at -= len(b)
			continue
		}
		dst = append(dst, b[at:])
		at = 0
	}
	return dst
}

// CopyTo copies unconsumed bytes, from offset on, to b and returns how many.
func (p *Packet) CopyTo(b []byte, offset int) int {
	var store [8][]byte
	n := 0
	for _, s := range p.Slices(store[:0]) {
		if offset >= len(s) {
			offset -= len(s)
			continue
		}
		n += copy(b[n:], s[offset:])
		offset = 0
		if n == len(b) {
			break
		}
	}
	return n
}

// WriteTo hands unconsumed bytes, from offset on and limit at most, to dst and returns how many
// it took.
func (p *Packet) WriteTo(dst tcpip.Sink, offset, limit int) (int, error) {
	var store [8][]byte
	n := 0
	for _, s := range p.Slices(store[:0]) {
		if offset >= len(s) {
			offset -= len(s)
			continue
		}
		s = s[offset:]
		offset = 0
		s = s[:min(len(s), limit-n, dst.Len())]
		if len(s) == 0 {
			break
		}
		m, err := dst.Write(s)
		n += m
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// TakeViews moves the unconsumed bytes to dst as Views that the caller owns. The packet keeps
// what was consumed, header slices included, until it is released.
func (p *Packet) TakeViews(dst []View) []View {
	if left := p.headLeft(); left > 0 {
		v := NewView(left)
		copy(v.Bytes(), p.head[MaxHeader-left:])
		dst = append(dst, v)
	}
	at := max(p.consumed-(MaxHeader-p.start), 0)
	for i := range p.views {
		l := p.views[i].Len()
		if at >= l {
			at -= l
			continue
		}
		dst = append(dst, p.views[i].Slice(at, l))
		at = 0
	}
	p.Truncate(0)
	return dst
}

// Fill reads n bytes from src into Views behind all data. On an error (EFAULT) the bytes read so
// far are there.
func (p *Packet) Fill(src tcpip.Source, n int) error {
	for n > 0 {
		v := NewView(min(n, MaxPacket))
		m, err := src.Read(v.Bytes())
		v.Truncate(m)
		p.AppendView(v)
		if err != nil {
			return err
		}
		if n -= m; m == 0 {
			break
		}
	}
	return nil
}
