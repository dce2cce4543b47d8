package fdbased

import (
	"bytes"
	"net/netip"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/internal/frame"
)

const (
	// groFlows is how many connections a batch is looked through for at once.
	groFlows = 8
	// groReference is of how many segments at most a packet is put together by reference; of
	// more, the data is copied together. Small, so that Packet does not allocate.
	groReference = 4
)

// gro puts segments of TCP that follow each other into one packet, within one batch: generic
// receive offload, for hosts whose device does not do it. Everything above then works once per
// packet instead of once per segment.
//
// Segments become one only if nothing but their data would tell them apart: same connection,
// adjacent sequence numbers, same acknowledgment, window, options and IP header fields, no flag
// but ACK and PSH, right checksums, and all of the size of the first but for the last, which may
// be shorter. What cannot be put together stays as it came. The order of each connection's packets
// is kept.
//
// The result has Segmentation, and ChecksumPartial with the sum of the pseudo header, as if this
// host had made it to be cut up.
type gro struct {
	flows [groFlows]groFlow
	// n is how many of flows are in use.
	n int
	// next is which flow gives way when there are too many.
	next int
	// views is for TakeViews.
	views []buffer.View
}

// groFlow is a packet that segments may be added to.
type groFlow struct {
	first segment
	// members are the packets that belong together; the first is the one of first.
	members [receiveBatch]*buffer.Packet
	count   int
	// end is the sequence number of the byte behind the data so far; size the length of the
	// IP packet so far.
	end  uint32
	size int
	push bool
	// verified: the first member's checksum is known to be right.
	verified bool
	// closed: nothing may be added any more.
	closed bool
}

// segment is what a packet is known by.
type segment struct {
	v6 bool
	// ip and tcp are the headers in the packet; data is how many bytes follow.
	ip, tcp []byte
	data    int
}

// parse looks at a packet. tcp: it is a whole segment of TCP; mergeable: it may be put together
// with others.
func (s *segment) parse(p *buffer.Packet) (tcp, mergeable bool) {
	size := p.Len()
	var ipSize int
	plain := true // the IP header has nothing that a merged one could not say
	switch p.EtherType {
	case header.EtherTypeIPv4:
		b, ok := p.Peek(header.IPv4MinimumSize)
		if !ok || b[9] != header.ProtocolTCP || b[0] != 0x45 {
			return false, false
		}
		h := header.IPv4(b)
		if h.IsFragment() || int(h.TotalLength()) != size || !h.ChecksumOK() {
			plain = false
		}
		ipSize, s.v6 = header.IPv4MinimumSize, false
	case header.EtherTypeIPv6:
		b, ok := p.Peek(header.IPv6Size)
		if !ok || b[6] != header.ProtocolTCP || b[0]>>4 != 6 {
			return false, false
		}
		if int(header.IPv6(b).PayloadLength()) != size-header.IPv6Size {
			plain = false
		}
		ipSize, s.v6 = header.IPv6Size, true
	default:
		return false, false
	}
	b, ok := p.Peek(ipSize + header.TCPMinimumSize)
	if !ok {
		return false, false
	}
	n := header.TCP(b[ipSize:]).HeaderLength()
	if n < header.TCPMinimumSize {
		return false, false
	}
	if b, ok = p.Peek(ipSize + n); !ok {
		return false, false
	}
	s.ip, s.tcp = b[:ipSize], b[ipSize:]
	s.data = size - ipSize - n
	flags := header.TCP(s.tcp).Flags()
	mergeable = plain && s.data > 0 && flags&^header.TCPFlagPsh == header.TCPFlagAck && p.Segmentation.Type == buffer.SegmentNone
	return true, mergeable
}

// sameFlow says whether both are of one connection and direction.
func (s *segment) sameFlow(o *segment) bool {
	if s.v6 != o.v6 || !bytes.Equal(s.tcp[:4], o.tcp[:4]) {
		return false
	}
	if s.v6 {
		return bytes.Equal(s.ip[8:40], o.ip[8:40])
	}
	return bytes.Equal(s.ip[12:20], o.ip[12:20])
}

// sameHeader says whether a merged packet can say all that o's headers say, apart from the data's
// place, for a segment of the same flow.
func (s *segment) sameHeader(o *segment) bool {
	if s.v6 {
		// Version, class and label; hop limit.
		if !bytes.Equal(s.ip[:4], o.ip[:4]) || s.ip[7] != o.ip[7] {
			return false
		}
	} else if s.ip[1] != o.ip[1] || s.ip[6] != o.ip[6] || s.ip[8] != o.ip[8] {
		// TOS, don't-fragment flag, TTL.
		return false
	}
	a, b := s.tcp, o.tcp
	return len(a) == len(b) && bytes.Equal(a[8:12], b[8:12]) && bytes.Equal(a[14:16], b[14:16]) && bytes.Equal(a[20:], b[20:])
}

// verify says whether the checksum of p, which s was parsed from, is right.
func (s *segment) verify(p *buffer.Packet) bool {
	if p.Checksum != buffer.ChecksumUnknown {
		return true
	}
	var store [8][]byte
	partial, odd := s.pseudoHeader(len(s.tcp)+s.data), false
	skip := len(s.ip)
	for _, b := range p.Slices(store[:0]) {
		n := min(skip, len(b))
		skip -= n
		partial, odd = checksum.Add(partial, b[n:], odd)
	}
	if !checksum.OK(partial) {
		return false
	}
	p.Checksum = buffer.ChecksumVerified
	return true
}

func (s *segment) pseudoHeader(length int) uint32 {
	var src, dst netip.Addr
	if s.v6 {
		src, dst = header.IPv6(s.ip).Source(), header.IPv6(s.ip).Destination()
	} else {
		src, dst = header.IPv4(s.ip).Source(), header.IPv4(s.ip).Destination()
	}
	return checksum.PseudoHeader(header.ProtocolTCP, src, dst, uint32(length))
}

// coalesce works on the packets of a batch, whose link headers are consumed, and returns those
// that are left, in pkts. There are at most receiveBatch.
func (g *gro) coalesce(pkts []*buffer.Packet) []*buffer.Packet {
	g.n, g.next = 0, 0
	merged := false
	for i, p := range pkts {
		var s segment
		tcp, mergeable := s.parse(p)
		if !tcp {
			continue
		}
		var f *groFlow
		for j := range g.flows[:g.n] {
			if g.flows[j].first.sameFlow(&s) {
				f = &g.flows[j]
				break
			}
		}
		if f != nil && mergeable && f.add(p, &s) {
			pkts[i] = nil
			merged = true
			continue
		}
		switch {
		case f != nil: // what follows must not overtake this one
			g.finish(f, pkts)
		case !mergeable:
			continue
		case g.n < groFlows:
			f = &g.flows[g.n]
			g.n++
		default:
			f = &g.flows[g.next]
			g.next = (g.next + 1) % groFlows
			g.finish(f, pkts)
		}
		f.begin(p, &s, mergeable)
	}
	for j := range g.flows[:g.n] {
		g.finish(&g.flows[j], pkts)
		g.flows[j].first = segment{}
	}
	if !merged {
		return pkts
	}
	left := pkts[:0]
	for _, p := range pkts {
		if p != nil {
			left = append(left, p)
		}
	}
	clear(pkts[len(left):])
	return left
}

// begin makes p the first packet of f.
func (f *groFlow) begin(p *buffer.Packet, s *segment, mergeable bool) {
	f.first = *s
	f.members[0], f.count = p, 1
	f.end = header.TCP(s.tcp).Sequence() + uint32(s.data)
	f.size = p.Len()
	f.push = header.TCP(s.tcp).Flags().Has(header.TCPFlagPsh)
	f.verified = false
	f.closed = !mergeable || f.push
}

// add appends p to f and says whether it could.
func (f *groFlow) add(p *buffer.Packet, s *segment) bool {
	first := &f.first
	if f.closed || s.data > first.data || f.size+s.data > buffer.MaxPacket ||
		header.TCP(s.tcp).Sequence() != f.end || !first.sameHeader(s) {
		return false
	}
	if !f.verified {
		if f.verified = first.verify(f.members[0]); !f.verified {
			return false
		}
	}
	if !s.verify(p) {
		return false
	}
	f.members[f.count] = p
	f.count++
	f.end += uint32(s.data)
	f.size += s.data
	f.push = header.TCP(s.tcp).Flags().Has(header.TCPFlagPsh)
	f.closed = f.push || s.data < first.data
	return true
}

// finish puts the members of f together, in place of the first of them in pkts.
func (g *gro) finish(f *groFlow, pkts []*buffer.Packet) {
	if f.count > 1 {
		p := f.members[0]
		q := g.join(f)
		if q != p {
			for i := range pkts {
				if pkts[i] == p {
					pkts[i] = q
				}
			}
			p.Release()
		}
	}
	clear(f.members[:f.count])
	f.count = 0
}

// join returns a packet of all the data of f: the first member if it can. The others are
// released.
func (g *gro) join(f *groFlow) *buffer.Packet {
	first := &f.first
	head := len(first.ip) + len(first.tcp)
	p := f.members[0]
	if f.count <= groReference {
		for _, m := range f.members[1:f.count] {
			m.Consume(head)
			g.views = m.TakeViews(g.views[:0])
			for _, v := range g.views {
				p.AppendView(v)
			}
			m.Release()
		}
		clear(g.views)
	} else {
		link := p.Consumed()
		v := buffer.NewView(link + f.size)
		b := v.Bytes()
		p.Unconsume(link)
		b = b[p.CopyTo(b, 0):]
		p.Consume(link)
		for _, m := range f.members[1:f.count] {
			b = b[m.CopyTo(b, head):]
			m.Release()
		}
		q := buffer.NewWith(v)
		if link > 0 {
			frame.Open(q)
		} else {
			q.EtherType = p.EtherType
		}
		p = q
	}
	b, _ := p.Peek(head)
	merged := segment{v6: first.v6, ip: b[:len(first.ip)], tcp: b[len(first.ip):]}
	p.Segmentation = buffer.Segmentation{Type: buffer.SegmentTCP4, Size: uint16(first.data)}
	if merged.v6 {
		p.Segmentation.Type = buffer.SegmentTCP6
		header.IPv6(merged.ip).SetPayloadLength(uint16(f.size - header.IPv6Size))
	} else {
		header.IPv4(merged.ip).SetTotalLength(uint16(f.size))
		header.IPv4(merged.ip).UpdateChecksum()
	}
	t := header.TCP(merged.tcp)
	if f.push {
		t.SetFlags(t.Flags() | header.TCPFlagPsh)
	}
	p.Checksum, p.ChecksumOffset = buffer.ChecksumPartial, 16
	t.SetChecksumField(checksum.Fold(merged.pseudoHeader(f.size - len(merged.ip))))
	return p
}
