package fdbased

import (
	"net/netip"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
)

// segmentFields are what tests vary of a segment of TCP.
type segmentFields struct {
	v6              bool
	port            uint16
	seq, ack        uint32
	window          uint16
	flags           header.TCPFlags // ACK is added
	options         []byte
	ttl, tos        uint8
	id              uint16
	ipFlags         uint8
	ipOptions       []byte
	fragment        uint16
	mss             uint16 // leave segmentation and checksum to the link
	damaged         bool
	damagedIPHeader bool
}

var (
	src4, dst4 = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	src6, dst6 = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
)

// tcp4 puts Ethernet, IP and TCP headers in front of p's data, by f.
func tcp4(p *buffer.Packet, f segmentFields) {
	data := p.Len()
	n := header.TCPMinimumSize + len(f.options)
	t := header.TCP(p.Push(n))
	p.TransportHeader = t
	t.Encode(header.TCPFields{SourcePort: 1000 + f.port, DestinationPort: 80, Sequence: f.seq, Acknowledgment: f.ack,
		HeaderLength: n, Flags: f.flags | header.TCPFlagAck, Window: f.window})
	copy(t[header.TCPMinimumSize:], f.options)
	src, dst := src4, dst4
	if f.v6 {
		src, dst = src6, dst6
	}
	pseudo := checksum.PseudoHeader(header.ProtocolTCP, src, dst, uint32(n+data))
	if f.mss != 0 {
		t.SetChecksumField(checksum.Fold(pseudo))
		p.Checksum, p.ChecksumOffset = buffer.ChecksumPartial, 16
		p.Segmentation = buffer.Segmentation{Type: buffer.SegmentTCP4, Size: f.mss}
		if f.v6 {
			p.Segmentation.Type = buffer.SegmentTCP6
		}
	} else {
		b := make([]byte, p.Len())
		p.CopyTo(b, 0)
		t.SetChecksum(checksum.Sum(b[n:], pseudo))
		if f.damaged {
			t.SetChecksumField(t.Checksum() ^ 1)
		}
	}
	etherType := uint16(header.EtherTypeIPv4)
	if f.v6 {
		h := header.IPv6(p.Push(header.IPv6Size))
		h.Encode(header.IPv6Fields{TrafficClass: f.tos, PayloadLength: uint16(n + data), NextHeader: header.ProtocolTCP, HopLimit: 64 + f.ttl, Source: src, Destination: dst})
		p.NetworkHeader = h
		etherType = header.EtherTypeIPv6
	} else {
		h := header.IPv4(p.Push(header.IPv4MinimumSize + len(f.ipOptions)))
		h.Encode(header.IPv4Fields{TOS: f.tos, TotalLength: uint16(len(h) + n + data), ID: f.id, Flags: f.ipFlags, FragmentOffset: f.fragment,
			TTL: 64 + f.ttl, Protocol: header.ProtocolTCP, Source: src, Destination: dst, Options: f.ipOptions})
		h.UpdateChecksum()
		if f.damagedIPHeader {
			h.SetChecksumField(h.Checksum() ^ 1)
		}
		p.NetworkHeader = h
	}
	p.LinkHeader = p.Push(header.EthernetSize)
	header.Ethernet(p.LinkHeader).Encode(header.EthernetFields{Source: linkA, Destination: linkB, Type: etherType})
}
