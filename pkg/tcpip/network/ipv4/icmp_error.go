package ipv4

import (
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// errorMaximum is the greatest ICMP error in bytes, IP header included (RFC 1812 section 4.3.2.3).
const errorMaximum = 576

// tosError is the type of service of ICMP errors: internetwork control (RFC 1812 section
// 4.3.2.5).
const tosError = 0xc0

// SendError implements stack.InternetEndpoint.
func (e *endpoint) SendError(err stack.ICMPError, pkt *buffer.Packet) {
	var f header.ICMPv4Fields
	f.Type = header.ICMPv4Unreachable
	switch err.Kind {
	case stack.ErrorPortUnreachable:
		f.Code = header.ICMPv4PortUnreachable
	case stack.ErrorHostUnreachable:
		f.Code = header.ICMPv4HostUnreachable
	case stack.ErrorNetUnreachable:
		f.Code = header.ICMPv4NetUnreachable
	case stack.ErrorProtocolUnreachable:
		f.Code = header.ICMPv4ProtocolUnreachable
	case stack.ErrorProhibited:
		f.Code = header.ICMPv4AdminProhibited
	case stack.ErrorPacketTooBig:
		f.Code = header.ICMPv4FragmentationNeeded
		mtu := min(err.MTU, header.IPv4MaximumTotal)
		f.Rest[2], f.Rest[3] = uint8(mtu>>8), uint8(mtu)
	case stack.ErrorTimeExceeded:
		f.Type, f.Code = header.ICMPv4TimeExceeded, header.ICMPv4TTLExceeded
	case stack.ErrorReassemblyTime:
		f.Type, f.Code = header.ICMPv4TimeExceeded, header.ICMPv4ReassemblyTimeout
	case stack.ErrorParameter:
		f.Type, f.Code = header.ICMPv4ParameterProblem, err.Code
		f.Rest[0] = uint8(err.Pointer)
	default:
		return // of IPv6 only
	}
	e.sendError(f, pkt)
}

// sendSourceRouteFailed refuses a source route (RFC 1122 section 3.2.2.1, code 5).
func (e *endpoint) sendSourceRouteFailed(pkt *buffer.Packet) {
	e.sendError(header.ICMPv4Fields{Type: header.ICMPv4Unreachable, Code: header.ICMPv4SourceRouteFailed}, pkt)
}

// mayAnswer says whether an error may be sent about pkt (RFC 1122 section 3.2.2).
func (e *endpoint) mayAnswer(pkt *buffer.Packet) bool {
	h := header.IPv4(pkt.NetworkHeader)
	if len(h) < header.IPv4MinimumSize {
		return false
	}
	src, dst := h.Source(), h.Destination()
	switch {
	case dst.IsMulticast(), e.nic.IsBroadcast(dst), pkt.PacketType != packetHost,
		src.IsUnspecified(), src.IsMulticast(), e.nic.IsBroadcast(src), isThisNetwork(src),
		h.FragmentOffset() != 0:
		return false
	}
	if h.Protocol() == header.ProtocolICMPv4 {
		t := pkt.TransportHeader
		if len(t) == 0 {
			var ok bool
			if t, ok = pkt.Peek(1); !ok {
				return false
			}
		}
		switch t[0] {
		case header.ICMPv4EchoReply, header.ICMPv4Echo, header.ICMPv4RouterAdvert, header.ICMPv4RouterSolicit,
			header.ICMPv4TimestampRequest, header.ICMPv4TimestampReply, header.ICMPv4InfoRequest,
			header.ICMPv4InfoReply, header.ICMPv4AddressMask, header.ICMPv4AddressMaskReply:
		default:
			return false // errors, and what may be one
		}
	}
	return true
}

// sendError sends an error about pkt, which is only looked at.
func (e *endpoint) sendError(f header.ICMPv4Fields, pkt *buffer.Packet) {
	if !e.mayAnswer(pkt) {
		return
	}
	h := header.IPv4(pkt.NetworkHeader)
	q := stack.RouteQuery{Destination: h.Source(), TOS: tosError}
	if e.stack.IsLocal(0, h.Destination()) {
		q.Source = h.Destination()
	}
	r, err := e.stack.FindRoute(q)
	if err != nil {
		e.icmp.OutErrors.Inc()
		return
	}
	tooBig := f.Type == header.ICMPv4Unreachable && f.Code == header.ICMPv4FragmentationNeeded
	if !r.Local && !tooBig && !e.limit.Allow(h.Source()) {
		e.icmp.OutRateLimited.Inc()
		return
	}
	out := buffer.New()
	icmp := header.ICMPv4(out.Push(header.ICMPv4Size))
	icmp.Encode(f)
	out.TransportHeader = icmp
	room := errorMaximum - header.IPv4MinimumSize - header.ICMPv4Size - len(h)
	transport := pkt.TransportHeader[:min(len(pkt.TransportHeader), room)]
	rest := min(pkt.Len(), room-len(transport))
	v := buffer.NewView(len(h) + len(transport) + rest)
	n := copy(v.Bytes(), h)
	n += copy(v.Bytes()[n:], transport)
	pkt.CopyTo(v.Bytes()[n:], 0)
	out.AppendView(v)
	icmp.SetChecksum(stack.PacketSum(out, header.ICMPv4Size))
	r.WritePacket(stack.NetworkParams{Transport: header.ProtocolICMPv4, TOS: tosError}, out)
}
