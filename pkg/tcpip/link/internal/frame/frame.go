// Package frame opens frames: what every link with Ethernet headers does with a packet before it
// delivers it. It has no state.
package frame

import (
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

// ethP8022 is ETH_P_802_2 of Linux: the EtherType that a frame counts as which has a length in
// its place (IEEE 802.3 with LLC).
const ethP8022 = 0x0004

// Open consumes the Ethernet header of a packet that came in and sets LinkHeader, LinkSource,
// LinkDestination, HasLink and EtherType by it. false: the frame is too short.
func Open(p *buffer.Packet) bool {
	b, ok := p.Consume(header.EthernetSize)
	if !ok {
		return false
	}
	h := header.Ethernet(b)
	p.LinkHeader, p.HasLink = b, true
	p.LinkSource, p.LinkDestination = h.Source(), h.Destination()
	p.EtherType = h.Type()
	if p.EtherType < header.EtherTypeMinimum {
		p.EtherType = ethP8022
	}
	return true
}

// OpenIP sets the EtherType of a packet without a link header by the version of IP. false: it is
// empty, or not IP.
func OpenIP(p *buffer.Packet) bool {
	b, ok := p.Peek(1)
	if !ok {
		return false
	}
	switch b[0] >> 4 {
	case 4:
		p.EtherType = header.EtherTypeIPv4
	case 6:
		p.EtherType = header.EtherTypeIPv6
	default:
		return false
	}
	return true
}
