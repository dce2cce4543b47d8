package fdbased

import (
	"encoding/binary"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

// vnetSize is the size of a virtio_net_hdr without mergeable buffers, which Linux puts in front
// of each frame of a packet socket with PACKET_VNET_HDR or of a TAP device with IFF_VNET_HDR.
const vnetSize = 10

// vnetHeader is that header (virtio 1.2, section 5.1.6), in this machine's byte order, which is
// little endian.
//
//	0 flags  1 gso_type  2 hdr_len  4 gso_size  6 csum_start  8 csum_offset
type vnetHeader [vnetSize]byte

const (
	vnetNeedsChecksum = 1 // flags
	vnetDataValid     = 2

	vnetTCP4  = 1 // gso_type
	vnetUDP   = 3 // a datagram that is to be cut into fragments of IP
	vnetTCP6  = 4
	vnetUDPL4 = 5
	vnetECN   = 0x80 // or-ed to it
)

var le = binary.LittleEndian

// decode sets what the header says of a packet that came. A header that makes no sense says
// nothing: whoever gets the packet checks it then.
func (h *vnetHeader) decode(p *buffer.Packet) {
	switch {
	case h[0]&vnetNeedsChecksum != 0:
		start, offset := int(le.Uint16(h[6:])), le.Uint16(h[8:])
		if start+int(offset)+2 <= p.Len() {
			p.Checksum, p.ChecksumOffset = buffer.ChecksumPartial, offset
		}
	case h[0]&vnetDataValid != 0:
		p.Checksum = buffer.ChecksumVerified
	}
	size := le.Uint16(h[4:])
	if size == 0 {
		return
	}
	switch h[1] &^ vnetECN {
	case vnetTCP4:
		p.Segmentation = buffer.Segmentation{Type: buffer.SegmentTCP4, Size: size}
	case vnetTCP6:
		p.Segmentation = buffer.Segmentation{Type: buffer.SegmentTCP6, Size: size}
	case vnetUDPL4:
		p.Segmentation = buffer.Segmentation{Type: buffer.SegmentUDP, Size: size}
	}
	// vnetUDP is one datagram, as if its fragments were put together again already.
}

// encode sets the header by a packet that is to be sent.
func (h *vnetHeader) encode(p *buffer.Packet) {
	*h = vnetHeader{}
	if p.Checksum != buffer.ChecksumPartial {
		return // nor is it to be cut up: see buffer.Segmentation
	}
	start := len(p.LinkHeader) + len(p.NetworkHeader)
	h[0] = vnetNeedsChecksum
	le.PutUint16(h[6:], uint16(start))
	le.PutUint16(h[8:], p.ChecksumOffset)
	s := p.Segmentation
	headers := start + len(p.TransportHeader)
	if s.Type == buffer.SegmentNone || p.Len()-headers <= int(s.Size) {
		return
	}
	switch s.Type {
	case buffer.SegmentTCP4:
		h[1] = vnetTCP4
	case buffer.SegmentTCP6:
		h[1] = vnetTCP6
	case buffer.SegmentUDP:
		h[1] = vnetUDPL4
	}
	if t := header.TCP(p.TransportHeader); s.Type != buffer.SegmentUDP && len(t) >= header.TCPMinimumSize && t.Flags().Has(header.TCPFlagCwr) {
		h[1] |= vnetECN // CWR is of the first segment only (RFC 3168 section 6.1.2)
	}
	// Linux copies that many bytes to the linear part of its own buffer.
	le.PutUint16(h[2:], uint16(headers))
	le.PutUint16(h[4:], s.Size)
}
