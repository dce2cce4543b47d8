package udp

import (
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/internal/datagram"
)

// Protocol is UDP of one stack.
type Protocol struct {
	stack *stack.Stack
}

// New makes the protocol for stack.Config.
func New(s *stack.Stack) stack.TransportProtocol { return &Protocol{stack: s} }

// Number implements stack.TransportProtocol.
func (p *Protocol) Number() uint8 { return header.ProtocolUDP }

// ParsePorts implements stack.TransportProtocol. Only the header has to be there: errors quote no
// more.
func (p *Protocol) ParsePorts(pkt *buffer.Packet) (src, dst uint16, ok bool) {
	b, ok := pkt.Peek(header.UDPSize)
	if !ok {
		return 0, 0, false
	}
	h := header.UDP(b)
	return h.SourcePort(), h.DestinationPort(), true
}

// HandleUnknown implements stack.TransportProtocol: the sender is told that the port is unreachable,
// unless the datagram is broken or was for many.
func (p *Protocol) HandleUnknown(id stack.TransportID, pkt *buffer.Packet) {
	defer pkt.Release()
	v6 := pkt.Destination.Is6()
	stats := statsOf(p.stack, v6)
	if pkt.Local != pkt.Destination {
		stats.IgnoredMulti.Inc()
		return
	}
	b, ok := pkt.Peek(header.UDPSize)
	h := header.UDP(b)
	if !ok || !h.Valid(pkt.Len(), v6) {
		stats.InErrors.Inc()
		return
	}
	if v6 && h.Checksum() == 0 && pkt.Checksum == buffer.ChecksumUnknown || !checksumOK(h, pkt, h.DatagramLength(pkt.Len())) {
		stats.InCsumErrors.Inc()
		stats.InErrors.Inc()
		return
	}
	stats.NoPorts.Inc()
	nic := p.stack.NIC(pkt.NIC)
	if nic == nil {
		return
	}
	etherType := uint16(header.EtherTypeIPv4)
	if v6 {
		etherType = header.EtherTypeIPv6
	}
	if ep, ok := nic.Endpoint(etherType).(stack.InternetEndpoint); ok {
		ep.SendError(stack.ICMPError{Kind: stack.ErrorPortUnreachable}, pkt)
	}
}

// Close implements stack.TransportProtocol.
func (p *Protocol) Close() {}

func statsOf(s *stack.Stack, v6 bool) *stack.UDPStats {
	if v6 {
		return &s.Stats().UDP6
	}
	return &s.Stats().UDP
}

// checksumOK checks the checksum of a packet that begins with h and may have padding behind the
// datagram of n bytes. A checksum of 0 is none.
func checksumOK(h header.UDP, pkt *buffer.Packet, n int) bool {
	if pkt.Checksum != buffer.ChecksumUnknown || h.Checksum() == 0 {
		return true
	}
	if n < pkt.Len() {
		pkt.Truncate(n)
	}
	sum := checksum.PseudoHeader(header.ProtocolUDP, pkt.Source, pkt.Destination, uint32(n))
	return checksum.OK(datagram.Sum(pkt, sum))
}
