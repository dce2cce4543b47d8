package ipv6

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// handleICMP takes an ICMPv6 message to nic, whose network headers are consumed.
func (e *endpoint) handleICMP(nic *stack.NIC, pkt *buffer.Packet, w *headerWalk) {
	stats := &e.stack.Stats().ICMP6
	stats.InMsgs.Inc()
	b, ok := pkt.Peek(header.ICMPv6Size)
	if !ok {
		stats.InErrors.Inc()
		pkt.Release()
		return
	}
	if pkt.Checksum == buffer.ChecksumUnknown {
		sum := checksum.PseudoHeader(header.ProtocolICMPv6, pkt.Source, pkt.Destination, uint32(pkt.Len()))
		if !checksum.OK(sum + stack.PacketSum(pkt, 0)) {
			stats.InCsumErrors.Inc()
			stats.InErrors.Inc()
			pkt.Release()
			return
		}
		pkt.Checksum = buffer.ChecksumVerified
	}
	h := header.ICMPv6(b)
	stats.InType[h.Type()].Inc()
	switch t := h.Type(); t {
	case header.ICMPv6EchoRequest:
		if h.Code() == 0 {
			e.answerEcho(nic, pkt, h)
		}
	case header.ICMPv6EchoReply:
		if e.stack.TransportProtocol(header.ProtocolICMPv6) != nil {
			e.stack.DeliverTransport(nic, pkt)
			return
		}
	case header.ICMPv6NeighborSolicit, header.ICMPv6NeighborAdvert, header.ICMPv6RouterSolicit,
		header.ICMPv6RouterAdvert, header.ICMPv6Redirect:
		e.handleNDP(pkt, w.fragmented)
	case header.ICMPv6MLDQuery, header.ICMPv6MLDReport, header.ICMPv6MLDDone, header.ICMPv6MLDv2Report:
		if t == header.ICMPv6MLDQuery || t == header.ICMPv6MLDReport {
			e.handleMLD(pkt, w.routerAlert)
		}
	default:
		// Errors of unknown type are passed on, other messages of unknown type are nobody's
		// business (RFC 4443 section 2.4 a and b).
		if h.IsError() {
			e.handleError(nic, pkt)
		}
	}
	e.stack.DeliverRaw(pkt)
	pkt.Release()
}

// answerEcho answers an echo request (RFC 4443 section 4.2). pkt is only looked at.
func (e *endpoint) answerEcho(nic *stack.NIC, pkt *buffer.Packet, h header.ICMPv6) {
	q := stack.RouteQuery{Destination: pkt.Source, Source: pkt.Destination, Mark: pkt.Mark}
	if pkt.Source.IsUnspecified() {
		return
	}
	if pkt.Destination.IsMulticast() {
		q.Source = netip.Addr{}
	}
	if pkt.Source.IsLinkLocalUnicast() || pkt.Destination.IsLinkLocalUnicast() || pkt.Destination.IsMulticast() {
		q.NIC = nic.ID()
	}
	ident, sequence := h.Ident(), h.Sequence()
	r, err := e.stack.FindRoute(q)
	if err != nil {
		return
	}
	out := buffer.New()
	out.AppendFrom(pkt, header.ICMPv6Size, pkt.Len()-header.ICMPv6Size)
	reply := header.ICMPv6(out.Push(header.ICMPv6Size))
	reply.Encode(header.ICMPv6Fields{Type: header.ICMPv6EchoReply})
	reply.SetIdent(ident)
	reply.SetSequence(sequence)
	sum := checksum.PseudoHeader(header.ProtocolICMPv6, r.Source, r.Destination, uint32(out.Len()))
	reply.SetChecksumField(checksum.Finish(sum + stack.PacketSum(out, 0)))
	e.write(r, pkt.TOS, out)
}

// write sends an ICMPv6 message that is complete by a route.
func (e *endpoint) write(r *stack.Route, tos uint8, out *buffer.Packet) {
	b, _ := out.Peek(header.ICMPv6Size)
	out.TransportHeader = b
	stats := &e.stack.Stats().ICMP6
	stats.OutMsgs.Inc()
	stats.OutType[b[0]].Inc()
	// The congestion bits are the network's to set (RFC 3168 section 5).
	if r.WritePacket(stack.NetworkParams{Transport: header.ProtocolICMPv6, TOS: tos &^ header.ECNMask}, out) != nil {
		stats.OutErrors.Inc()
	}
}

// handleError tells the sender of a packet of this host what became of it (RFC 4443 section 2.4).
// pkt is the error, which is only looked at.
func (e *endpoint) handleError(nic *stack.NIC, pkt *buffer.Packet) {
	b, _ := pkt.Peek(pkt.Len())
	h := header.ICMPv6(b)
	q, ok := parseQuote(h.Payload())
	if !ok || !e.stack.IsLocal(0, q.id.LocalAddr) || q.id.RemoteAddr.Is4In6() {
		e.stack.Stats().ICMP6.InErrors.Inc()
		return
	}
	err := stack.TransportError{
		Origin:   originICMP6,
		Type:     h.Type(),
		Code:     h.Code(),
		Offender: pkt.Source,
	}
	err.Errno, err.Hard = errnoOf(h.Type(), h.Code())
	if h.Type() == header.ICMPv6PacketTooBig {
		if h.MTU() < header.IPv6MinimumMTU {
			// RFC 8201 section 4: no link is like that.
			e.stack.Stats().ICMP6.InErrors.Inc()
			return
		}
		err.MTU = h.MTU()
		if e.believable(q) {
			e.stack.SetPathMTU(q.id.RemoteAddr, h.MTU())
		}
	}
	e.stack.DeliverError(nic, true, q.transport, q.id, err, q.payload)
}

// originICMP6 is SO_EE_ORIGIN_ICMP6 (ip(7)).
const originICMP6 = 3

// believable says whether the packet that an error quotes may have been ours: of protocols with
// ports there has to be a socket that may have sent it, so that not everybody can have the path
// MTU to anybody lowered. TCP knows more, and sets the path MTU itself (RFC 5927 section 7.2).
func (e *endpoint) believable(q quote) bool {
	switch q.transport {
	case header.ProtocolTCP:
		return false
	case header.ProtocolUDP, header.ProtocolUDPLite:
		return e.stack.FindTransport(0, true, q.transport, q.id) != nil
	}
	return true
}

// quote is the packet that an error quotes, seen from its sender's side.
type quote struct {
	id        stack.TransportID
	transport uint8
	payload   []byte // from the transport header on
}

// parseQuote finds in the front of a packet what says whose it was.
func parseQuote(b []byte) (q quote, ok bool) {
	h := header.IPv6(b)
	if len(b) < header.IPv6Size || header.IPVersion(b) != 6 {
		return q, false
	}
	q.id.LocalAddr, q.id.RemoteAddr = h.Source(), h.Destination()
	w := header.WalkIPv6Extensions(h.NextHeader(), b[header.IPv6Size:])
	for w.Next() {
		if w.Type == header.ProtocolFragment && header.IPv6Fragment(w.Header).Offset() != 0 {
			return q, false // no ports
		}
	}
	if w.Malformed() {
		return q, false
	}
	q.transport = w.Protocol()
	q.payload = b[header.IPv6Size+w.Offset():]
	switch q.transport {
	case header.ProtocolTCP, header.ProtocolUDP, header.ProtocolUDPLite, header.ProtocolSCTP:
		if len(q.payload) < 4 {
			return q, false
		}
		q.id.LocalPort, q.id.RemotePort = be.Uint16(q.payload), be.Uint16(q.payload[2:])
	case header.ProtocolICMPv6:
		if m := header.ICMPv6(q.payload); m.Valid() && m.Type() == header.ICMPv6EchoRequest {
			q.id.LocalPort = m.Ident()
		}
	}
	return q, true
}

// errnoOf is what an error means for a socket, as Linux has it, and whether it ends a connection
// attempt.
func errnoOf(t, code uint8) (unix.Errno, bool) {
	switch t {
	case header.ICMPv6Unreachable:
		switch code {
		case header.ICMPv6NoRoute:
			return unix.ENETUNREACH, false
		case header.ICMPv6AdminProhibited, header.ICMPv6SourcePolicy, header.ICMPv6RejectRoute:
			return unix.EACCES, true
		case header.ICMPv6BeyondScope, header.ICMPv6AddressUnreachable:
			return unix.EHOSTUNREACH, false
		case header.ICMPv6PortUnreachable:
			return unix.ECONNREFUSED, true
		}
		return unix.EPROTO, true
	case header.ICMPv6PacketTooBig:
		return unix.EMSGSIZE, false
	case header.ICMPv6TimeExceeded:
		return unix.EHOSTUNREACH, false
	case header.ICMPv6ParameterProblem:
		return unix.EPROTO, true
	}
	return unix.EPROTO, false
}
