package icmp

import (
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// Protocol finds the sockets of echo replies in one stack, for one version of ICMP.
type Protocol struct {
	number uint8
}

// New4 makes the protocol of ICMP for IPv4.
func New4(*stack.Stack) stack.TransportProtocol { return &Protocol{header.ProtocolICMPv4} }

// New6 makes that of ICMPv6.
func New6(*stack.Stack) stack.TransportProtocol { return &Protocol{header.ProtocolICMPv6} }

// Number implements stack.TransportProtocol.
func (p *Protocol) Number() uint8 { return p.number }

// echo says whether a type is an echo request or reply.
func (p *Protocol) echo(t uint8) (request, reply bool) {
	if p.number == header.ProtocolICMPv4 {
		return t == header.ICMPv4Echo, t == header.ICMPv4EchoReply
	}
	return t == header.ICMPv6EchoRequest, t == header.ICMPv6EchoReply
}

// ParsePorts implements stack.TransportProtocol. A request comes from its identifier, a reply goes to
// it; other messages have no ports.
func (p *Protocol) ParsePorts(pkt *buffer.Packet) (src, dst uint16, ok bool) {
	b, ok := pkt.Peek(header.ICMPv4Size)
	if !ok {
		return 0, 0, false
	}
	h := header.ICMPv4(b) // the identifier is at the same place in both versions
	switch request, reply := p.echo(h.Type()); {
	case request:
		return h.Ident(), 0, true
	case reply:
		return 0, h.Ident(), true
	}
	return 0, 0, true
}

// HandleUnknown implements stack.TransportProtocol: ICMP is never answered with an error.
func (p *Protocol) HandleUnknown(_ stack.TransportID, pkt *buffer.Packet) { pkt.Release() }

// Close implements stack.TransportProtocol.
func (p *Protocol) Close() {}
