package ipv4

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// handleICMP takes a message (RFC 792, RFC 1122 section 3.2.2), whose IP header is consumed.
// Redirects are shown to raw sockets only: a neighbour has no say in where packets go.
func (e *endpoint) handleICMP(pkt *buffer.Packet) {
	e.icmp.InMsgs.Inc()
	b, ok := pkt.Peek(header.ICMPv4Size)
	if !ok {
		e.icmp.InErrors.Inc()
		pkt.Release()
		return
	}
	if pkt.Checksum == buffer.ChecksumUnknown {
		if !checksum.OK(stack.PacketSum(pkt, 0)) {
			e.icmp.InErrors.Inc()
			e.icmp.InCsumErrors.Inc()
			pkt.Release()
			return
		}
	}
	h := header.ICMPv4(b)
	e.icmp.InType[h.Type()].Inc()
	if h.Type() == header.ICMPv4EchoReply && e.stack.TransportProtocol(header.ProtocolICMPv4) != nil {
		e.stack.DeliverTransport(e.nic, pkt)
		return
	}
	e.stack.DeliverRaw(pkt)
	switch h.Type() {
	case header.ICMPv4Echo:
		e.echo(pkt)
	case header.ICMPv4TimestampRequest:
		e.timestampReply(pkt)
	case header.ICMPv4Unreachable, header.ICMPv4TimeExceeded, header.ICMPv4ParameterProblem:
		e.handleError(pkt)
	}
	pkt.Release()
}

// answerable says whether a request may be answered: those to everybody are not, by default (RFC
// 1122 section 3.2.2.6).
func (e *endpoint) answerable(pkt *buffer.Packet) bool {
	if pkt.Local != pkt.Destination && e.stack.Settings().IgnoreBroadcastEcho.Load() {
		return false
	}
	return pkt.Local.IsValid() && !pkt.Source.IsUnspecified()
}

// reply sends an answer, which begins with its ICMP header, to the sender of pkt.
func (e *endpoint) reply(pkt, out *buffer.Packet) {
	r, err := e.stack.FindRoute(stack.RouteQuery{Destination: pkt.Source, Source: pkt.Local, TOS: pkt.TOS})
	if err != nil {
		e.stats.OutNoRoutes.Inc()
		out.Release()
		return
	}
	params := stack.NetworkParams{Transport: header.ProtocolICMPv4, TOS: pkt.TOS}
	if len(pkt.NetworkHeader) > header.IPv4MinimumSize {
		params.Options = echoOptions(nil, header.IPv4(pkt.NetworkHeader).Options())
	}
	r.WritePacket(params, out)
}

// echo answers an echo request, whose payload it sends back without copying it.
func (e *endpoint) echo(pkt *buffer.Packet) {
	if !e.answerable(pkt) {
		return
	}
	b, _ := pkt.Peek(header.ICMPv4Size)
	out := buffer.New()
	h := header.ICMPv4(out.Push(header.ICMPv4Size))
	copy(h, b)
	h.SetType(header.ICMPv4EchoReply)
	out.TransportHeader = h
	out.AppendFrom(pkt, header.ICMPv4Size, pkt.Len()-header.ICMPv4Size)
	h.SetChecksumField(0)
	h.SetChecksumField(checksum.Finish(stack.PacketSum(out, 0)))
	e.reply(pkt, out)
}

// timestampReply answers a timestamp request (RFC 1122 section 3.2.2.8).
func (e *endpoint) timestampReply(pkt *buffer.Packet) {
	b, ok := pkt.Peek(header.ICMPv4TimestampFullSize)
	if !ok || !e.answerable(pkt) {
		return
	}
	now := milliseconds(e.stack.Clock().Now())
	out := buffer.New()
	h := out.Push(header.ICMPv4TimestampFullSize)
	copy(h, b)
	header.ICMPv4(h).SetType(header.ICMPv4TimestampReply)
	header.ICMPv4(h).SetCode(0)
	header.ICMPv4Timestamp(h).SetTimes(header.ICMPv4Timestamp(b).Originate(), now, now)
	header.ICMPv4(h).SetChecksum(0)
	out.TransportHeader = h
	e.reply(pkt, out)
}

// meaning is what an ICMP error means for a socket (RFC 1122 sections 3.2.2.1 and 4.2.3.9, icmp(7)
// and ip(7), as Linux has it).
type meaning struct {
	errno unix.Errno
	hard  bool
}

var unreachableMeanings = [...]meaning{
	header.ICMPv4NetUnreachable:      {unix.ENETUNREACH, false},
	header.ICMPv4HostUnreachable:     {unix.EHOSTUNREACH, false},
	header.ICMPv4ProtocolUnreachable: {unix.ENOPROTOOPT, true},
	header.ICMPv4PortUnreachable:     {unix.ECONNREFUSED, true},
	header.ICMPv4FragmentationNeeded: {unix.EMSGSIZE, false},
	header.ICMPv4SourceRouteFailed:   {unix.EOPNOTSUPP, false},
	header.ICMPv4NetUnknown:          {unix.ENETUNREACH, true},
	header.ICMPv4HostUnknown:         {unix.EHOSTDOWN, true},
	header.ICMPv4HostIsolated:        {unix.ENONET, true},
	header.ICMPv4NetProhibited:       {unix.ENETUNREACH, true},
	header.ICMPv4HostProhibited:      {unix.EHOSTUNREACH, true},
	header.ICMPv4NetUnreachableTOS:   {unix.ENETUNREACH, false},
	header.ICMPv4HostUnreachableTOS:  {unix.EHOSTUNREACH, false},
	header.ICMPv4AdminProhibited:     {unix.EHOSTUNREACH, true},
	header.ICMPv4PrecedenceViolation: {unix.EHOSTUNREACH, true},
	header.ICMPv4PrecedenceCutoff:    {unix.EHOSTUNREACH, true},
}

// originICMP is SO_EE_ORIGIN_ICMP (ip(7), IP_RECVERR).
const originICMP = 2

// quoteMaximum is how much of a quoted packet is looked at, in bytes.
const quoteMaximum = 576

// handleError tells the socket whose packet an ICMP error quotes.
func (e *endpoint) handleError(pkt *buffer.Packet) {
	b, ok := pkt.Peek(min(pkt.Len(), header.ICMPv4Size+quoteMaximum))
	if !ok {
		return
	}
	h := header.ICMPv4(b)
	q := header.IPv4(h.Payload())
	if len(q) < header.IPv4MinimumSize || q[0]>>4 != 4 || q.HeaderLength() < header.IPv4MinimumSize ||
		len(q) < q.HeaderLength()+8 || q.FragmentOffset() != 0 {
		e.icmp.InErrors.Inc()
		return
	}
	src, dst := q.Source(), q.Destination()
	if !e.stack.IsLocal(0, src) {
		return // not a packet of ours
	}
	te := stack.TransportError{Origin: originICMP, Type: h.Type(), Code: h.Code(), Offender: pkt.Source}
	quoted := q[q.HeaderLength():]
	id := quotedID(q.Protocol(), quoted)
	id.LocalAddr, id.RemoteAddr = src, dst
	switch h.Type() {
	case header.ICMPv4TimeExceeded:
		te.Errno = unix.EHOSTUNREACH
	case header.ICMPv4ParameterProblem:
		te.Errno, te.Hard = unix.EPROTO, true
	default:
		if int(h.Code()) >= len(unreachableMeanings) {
			return
		}
		m := unreachableMeanings[h.Code()]
		te.Errno, te.Hard = m.errno, m.hard
		if h.Code() == header.ICMPv4FragmentationNeeded {
			te.MTU = nextMTU(uint32(h.MTU()), uint32(q.TotalLength()))
			if te.MTU == 0 {
				return
			}
			// Only who sends to dst may be told to send less (RFC 5927 section 7): an
			// error that fits no socket changes nothing. TCP knows more, and does it
			// itself.
			if q.Protocol() != header.ProtocolTCP && e.stack.FindTransport(0, false, q.Protocol(), id) != nil {
				e.stack.SetPathMTU(dst, te.MTU)
			}
		}
	}
	e.stack.DeliverError(e.nic, false, q.Protocol(), id, te, quoted)
}

// quotedID finds the ports in the front of a quoted packet of this host.
func quotedID(protocol uint8, quoted []byte) (id stack.TransportID) {
	switch protocol {
	case header.ProtocolTCP, header.ProtocolUDP, header.ProtocolUDPLite, header.ProtocolSCTP:
		h := header.UDP(quoted)
		id.LocalPort, id.RemotePort = h.SourcePort(), h.DestinationPort()
	case header.ProtocolICMPv4:
		if h := header.ICMPv4(quoted); h.Type() == header.ICMPv4Echo {
			id.LocalPort = h.Ident()
		}
	}
	return id
}

// plateaus are the usual MTUs (RFC 1191 section 7.1).
var plateaus = [...]uint32{32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68}

// nextMTU is the path MTU that a message "fragmentation needed" about a packet of size bytes
// says, or, of an old router that says 0, the next plateau (RFC 1191 section 5). 0: the message
// makes no sense.
func nextMTU(mtu, size uint32) uint32 {
	if mtu == 0 {
		for _, p := range plateaus {
			if p < size {
				return p
			}
		}
		return 0
	}
	if mtu < header.IPv4MinimumMTU || mtu >= size {
		return 0
	}
	return mtu
}

// countICMP counts a message that goes out.
func (e *endpoint) countICMP(t uint8) {
	e.icmp.OutMsgs.Inc()
	e.icmp.OutType[t].Inc()
}
