package ipv6

import (
	"net/netip"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// maxQuote is how much of a packet an error quotes at most, so that it always fits (RFC 4443
// section 2.4 c).
const maxQuote = header.IPv6MinimumMTU - header.IPv6Size - header.ICMPv6Size

// setICMPChecksum sets the checksum of an ICMPv6 message that lies in b as a whole.
func setICMPChecksum(b []byte, src, dst netip.Addr) {
	header.ICMPv6(b).SetChecksum(checksum.PseudoHeader(header.ProtocolICMPv6, src, dst, uint32(len(b))))
}

// SendError implements stack.InternetEndpoint (RFC 4443 section 3).
func (e *endpoint) SendError(err stack.ICMPError, pkt *buffer.Packet) {
	t, code, rest := uint8(header.ICMPv6Unreachable), uint8(0), uint32(0)
	switch err.Kind {
	case stack.ErrorPortUnreachable:
		code = header.ICMPv6PortUnreachable
	case stack.ErrorHostUnreachable:
		code = header.ICMPv6AddressUnreachable
	case stack.ErrorNetUnreachable:
		code = header.ICMPv6NoRoute
	case stack.ErrorProhibited:
		code = header.ICMPv6AdminProhibited
	case stack.ErrorProtocolUnreachable:
		t, code = header.ICMPv6ParameterProblem, header.ICMPv6UnknownNextHeader
	case stack.ErrorTimeExceeded:
		t, code = header.ICMPv6TimeExceeded, header.ICMPv6HopLimitExceeded
	case stack.ErrorReassemblyTime:
		t, code = header.ICMPv6TimeExceeded, header.ICMPv6ReassemblyTimeout
	case stack.ErrorPacketTooBig:
		t, rest = header.ICMPv6PacketTooBig, err.MTU
	case stack.ErrorParameter:
		t, code, rest = header.ICMPv6ParameterProblem, err.Code, err.Pointer
	default:
		return
	}
	e.sendError(t, code, rest, pkt)
}

// sendError answers pkt, which is only looked at, with an error. rest is the field that is the MTU
// or the pointer; that of an unknown next header is found here.
func (e *endpoint) sendError(t, code uint8, rest uint32, pkt *buffer.Packet) {
	n := min(len(pkt.NetworkHeader)+len(pkt.TransportHeader)+pkt.Len(), maxQuote)
	out := buffer.NewView(header.ICMPv6Size + n)
	defer out.Release()
	b := out.Bytes()
	quoted := b[header.ICMPv6Size:]
	at := copy(quoted, pkt.NetworkHeader)
	at += copy(quoted[at:], pkt.TransportHeader)
	pkt.CopyTo(quoted[at:], 0)
	if n < header.IPv6Size || header.IPVersion(quoted) != 6 {
		return
	}
	ip := header.IPv6(quoted)
	src, dst := ip.Source(), ip.Destination()
	if t == header.ICMPv6ParameterProblem && code == header.ICMPv6UnknownNextHeader {
		rest = unknownPointer(ip)
	}
	if !mayAnswer(t, code, src, dst, pkt.PacketType) || isError(ip) {
		return
	}
	q := stack.RouteQuery{Destination: src, Mark: pkt.Mark}
	if src.IsLinkLocalUnicast() || dst.IsLinkLocalUnicast() || dst.IsMulticast() {
		q.NIC = e.nic.ID()
	}
	if !dst.IsMulticast() && e.stack.IsLocal(0, dst) {
		q.Source = dst // RFC 4443 section 2.2 a
	}
	stats := &e.stack.Stats().ICMP6
	r, err := e.stack.FindRoute(q)
	if err != nil {
		stats.OutErrors.Inc()
		return
	}
	if !r.Local && !e.mayError(t, src) {
		stats.OutRateLimited.Inc()
		return
	}
	h := header.ICMPv6(b)
	h.Encode(header.ICMPv6Fields{Type: t, Code: code})
	h.SetPointer(rest)
	setICMPChecksum(b, r.Source, r.Destination)
	e.write(r, 0, buffer.NewWith(out.Clone()))
}

// mayAnswer says whether a packet with these addresses may be answered with an error of type t (RFC
// 4443 section 2.4 e).
func mayAnswer(t, code uint8, src, dst netip.Addr, packetType uint8) bool {
	if src.IsUnspecified() || src.IsMulticast() || src.Is4In6() {
		return false
	}
	if !dst.IsMulticast() && packetType == packetHost {
		return true
	}
	return t == header.ICMPv6PacketTooBig || t == header.ICMPv6ParameterProblem && code == header.ICMPv6UnknownOption
}

// unknownPointer is the place of the byte that names the header which nobody here knows. The
// authentication header, which others call an extension header, is one.
func unknownPointer(ip header.IPv6) uint32 {
	w := header.WalkIPv6Extensions(ip.NextHeader(), ip[header.IPv6Size:])
	for w.Protocol() != header.ProtocolAH && w.Next() {
	}
	if w.NextHeaderOffset() < 0 {
		return nextHeaderOffset
	}
	return uint32(header.IPv6Size + w.NextHeaderOffset())
}

// isError says whether a packet is an ICMPv6 error or a redirect, or may be one: errors about errors
// would never end.
func isError(ip header.IPv6) bool {
	b := ip[header.IPv6Size:]
	w := header.WalkIPv6Extensions(ip.NextHeader(), b)
	for w.Next() {
	}
	if w.Protocol() != header.ProtocolICMPv6 || w.Malformed() {
		return false
	}
	if w.Type == header.ProtocolFragment && header.IPv6Fragment(w.Header).Offset() != 0 {
		return true // it cannot be seen here
	}
	if w.Offset() >= len(b) {
		return true
	}
	t := b[w.Offset()]
	return t < header.ICMPv6EchoRequest || t == header.ICMPv6Redirect
}

// mayError takes a token for an error to dst, if there is one (RFC 4443 section 2.4 f).
func (e *endpoint) mayError(t uint8, dst netip.Addr) bool {
	if t == header.ICMPv6PacketTooBig {
		return e.protocol.limiter.AllowAny()
	}
	return e.protocol.limiter.Allow(dst)
}
