package stack

import (
	"encoding/binary"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
)

// What a link cannot do itself is done here, just before it gets the packets: checksums are
// completed and offloaded packets cut up.

// needsSoftware says whether the link cannot take p as it is.
func (n *NIC) needsSoftware(p *buffer.Packet) bool {
	return n.needsSegmenting(p) || p.Checksum == buffer.ChecksumPartial && n.caps&CapTXChecksum == 0
}

func (n *NIC) needsSegmenting(p *buffer.Packet) bool {
	switch p.Segmentation.Type {
	case buffer.SegmentNone:
		return false
	case buffer.SegmentUDP:
		// The link may lose this one while it runs.
		return n.link.Capabilities()&CapUDPSegmentation == 0
	}
	return n.caps&CapSegmentation == 0 || uint32(p.Len()) > n.link.MaxSegmentation()
}

// segment turns packets into such as the link can take. It takes them; the batch's packets are
// the result.
func (n *NIC) segment(pkts []*buffer.Packet) *batch {
	b := batches.Get().(*batch)
	b.pkts = b.store[:0]
	for _, p := range pkts {
		if n.needsSegmenting(p) {
			b.pkts = cutUp(p, b.pkts)
		} else {
			b.pkts = append(b.pkts, p)
		}
	}
	if n.caps&CapTXChecksum == 0 {
		for _, p := range b.pkts {
			CompleteChecksum(p)
		}
	}
	return b
}

// CompleteChecksum finishes a ChecksumPartial of a packet that begins with its network header; or
// with its transport header, if NetworkHeader is nil. Transport is set.
func CompleteChecksum(p *buffer.Packet) {
	if p.Checksum != buffer.ChecksumPartial {
		return
	}
	p.Checksum = buffer.ChecksumUnknown
	at := len(p.NetworkHeader)
	field := at + int(p.ChecksumOffset)
	sum := checksum.Finish(PacketSum(p, at))
	if sum == 0 && p.Transport == header.ProtocolUDP {
		sum = 0xffff // RFC 768: 0 says that there is none
	}
	if b, ok := p.Own(field + 2); ok {
		binary.BigEndian.PutUint16(b[field:], sum)
	}
}

// PacketSum is the partial checksum of the unconsumed bytes from offset on (package checksum).
func PacketSum(p *buffer.Packet, offset int) uint32 {
	var store [8][]byte
	sum, odd := uint32(0), false
	for _, s := range p.Slices(store[:0]) {
		if offset >= len(s) {
			offset -= len(s)
			continue
		}
		sum, odd = checksum.Add(sum, s[offset:], odd)
		offset = 0
	}
	return sum
}

// cutUp cuts an offloaded packet, which it takes, into packets of Segmentation.Size bytes of
// payload each, and appends them to dst. Their checksums are partial. The payload is not copied.
// A packet that is not what it says it is is dropped.
func cutUp(p *buffer.Packet, dst []*buffer.Packet) []*buffer.Packet {
	defer p.Release()
	size := int(p.Segmentation.Size)
	netLen := len(p.NetworkHeader)
	transportLen := header.UDPSize
	protocol := uint8(header.ProtocolUDP)
	if p.Segmentation.Type != buffer.SegmentUDP {
		protocol = header.ProtocolTCP
		b, ok := p.Peek(netLen + header.TCPMinimumSize)
		if !ok {
			return dst
		}
		transportLen = header.TCP(b[netLen:]).HeaderLength()
	}
	headers, ok := p.Peek(netLen + transportLen)
	if !ok || size == 0 || netLen < header.IPv4MinimumSize || transportLen < header.UDPSize || len(headers) > buffer.MaxHeader-header.EthernetSize {
		return dst
	}
	v6 := header.IPVersion(headers) == 6
	if v6 && netLen < header.IPv6Size {
		return dst
	}
	payload := p.Len() - len(headers)
	for at, i := 0, 0; at < payload || i == 0; i++ {
		n := min(size, payload-at)
		last := at+n == payload
		s := buffer.New()
		s.CopyProperties(p)
		s.Segmentation = buffer.Segmentation{}
		h := s.Push(len(headers))
		copy(h, headers)
		s.NetworkHeader, s.TransportHeader = h[:netLen:netLen], h[netLen:]
		s.AppendFrom(p, len(headers)+at, n)
		if v6 {
			header.IPv6(h).SetPayloadLength(uint16(netLen - header.IPv6Size + transportLen + n))
		} else {
			ip := header.IPv4(h)
			ip.SetTotalLength(uint16(netLen + transportLen + n))
			if !ip.DontFragment() || ip.ID() != 0 {
				ip.SetID(ip.ID() + uint16(i))
			}
			ip.UpdateChecksum()
		}
		var pseudo uint32
		if v6 {
			ip := header.IPv6(h)
			pseudo = checksum.PseudoHeader(protocol, ip.Source(), ip.Destination(), uint32(transportLen+n))
		} else {
			ip := header.IPv4(h)
			pseudo = checksum.PseudoHeader(protocol, ip.Source(), ip.Destination(), uint32(transportLen+n))
		}
		s.Checksum, s.Transport = buffer.ChecksumPartial, protocol
		if protocol == header.ProtocolUDP {
			udp := header.UDP(s.TransportHeader)
			udp.SetLength(uint16(transportLen + n))
			udp.SetChecksumField(checksum.Fold(pseudo))
			s.ChecksumOffset = 6
		} else {
			tcp := header.TCP(s.TransportHeader)
			tcp.SetSequence(tcp.Sequence() + uint32(at))
			flags := tcp.Flags()
			if !last {
				flags &^= header.TCPFlagFin | header.TCPFlagPsh
			}
			if i > 0 {
				flags &^= header.TCPFlagCwr // RFC 3168 section 6.1.2: once
			}
			tcp.SetFlags(flags)
			tcp.SetChecksumField(checksum.Fold(pseudo))
			s.ChecksumOffset = 16
		}
		dst = append(dst, s)
		at += n
	}
	return dst
}
