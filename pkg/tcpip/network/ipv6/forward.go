package ipv6

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// forward passes on a packet that is not for this host, if this host is a router, and takes it
// (RFC 8200 section 3, RFC 4443 sections 3.1 to 3.3). Nothing of it is consumed.
func (e *endpoint) forward(pkt *buffer.Packet) {
	defer pkt.Release()
	stats := &e.stack.Stats().IP6
	src, dst := pkt.Source, pkt.Destination
	switch {
	case !e.stack.Settings().IPv6Forwarding.Load() || e.loopback || pkt.PacketType != packetHost,
		src.IsUnspecified() || src.IsLoopback(), // RFC 4291 sections 2.5.2 and 2.5.3
		dst.IsLinkLocalUnicast():                // section 2.5.6; a stranger's address
		stats.InAddrErrors.Inc()
		return
	}
	if pkt.TTL <= 1 {
		e.SendError(stack.ICMPError{Kind: stack.ErrorTimeExceeded}, pkt)
		stats.InHdrErrors.Inc()
		return
	}
	// Of the extension headers only the hop-by-hop options are a router's business (RFC 8200
	// section 4).
	b, _ := pkt.Peek(header.IPv6Size)
	if header.IPv6(b).NextHeader() == header.ProtocolHopByHop {
		w := headerWalk{endpoint: e, pkt: pkt, offset: header.IPv6Size, naming: nextHeaderOffset, next: header.ProtocolHopByHop}
		if b, ok := w.header(); !ok || !w.options(header.IPv6Options(b)) {
			return
		}
	}
	r, err := e.stack.FindRoute(stack.RouteQuery{Destination: dst, Source: src, AnySource: true, InNIC: e.nic.ID(), Mark: pkt.Mark, TOS: pkt.TOS})
	if err != nil {
		stats.InNoRoutes.Inc()
		switch err {
		case unix.EACCES:
			e.SendError(stack.ICMPError{Kind: stack.ErrorProhibited}, pkt)
		case unix.EHOSTUNREACH:
			e.SendError(stack.ICMPError{Kind: stack.ErrorHostUnreachable}, pkt)
		case unix.ENETUNREACH:
			e.SendError(stack.ICMPError{Kind: stack.ErrorNetUnreachable}, pkt)
		}
		return
	}
	if r.Local || r.Multicast || r.NIC.IsLoopback() {
		stats.InAddrErrors.Inc()
		return
	}
	if src.IsLinkLocalUnicast() && r.NIC != e.nic {
		e.sendError(header.ICMPv6Unreachable, header.ICMPv6BeyondScope, 0, pkt)
		stats.InAddrErrors.Inc()
		return
	}
	if size := wireSize(pkt); size > r.LinkMTU() {
		// Routers do not fragment (RFC 8200 section 5).
		stats.InTooBigErrors.Inc()
		stats.FragFails.Inc()
		e.SendError(stack.ICMPError{Kind: stack.ErrorPacketTooBig, MTU: r.LinkMTU()}, pkt)
		return
	}
	if r.NIC == e.nic {
		e.sendRedirect(r, pkt)
	}
	stats.ForwDatagrams.Inc()
	out := e.rewrite(pkt)
	r.NIC.WritePacket(r.NextHop, header.EtherTypeIPv6, out)
}

// wireSize is the size in bytes of the largest packet that pkt is on the wire: its segments', if it
// was put together from such.
func wireSize(pkt *buffer.Packet) uint32 {
	n := pkt.Len()
	switch pkt.Segmentation.Type {
	case buffer.SegmentTCP6:
		n = min(n, header.IPv6Size+header.TCPMaximumSize+int(pkt.Segmentation.Size))
	case buffer.SegmentUDP:
		n = min(n, header.IPv6Size+header.UDPSize+int(pkt.Segmentation.Size))
	}
	return uint32(n)
}

// rewrite returns a copy of a packet to be sent on, with one hop less. The payload is shared.
func (e *endpoint) rewrite(pkt *buffer.Packet) *buffer.Packet {
	out := buffer.New()
	out.CopyProperties(pkt)
	n := header.IPv6Size
	b, _ := pkt.Peek(n)
	pieces := pkt.Segmentation.Type == buffer.SegmentTCP6 && header.IPv6(b).NextHeader() == header.ProtocolTCP && pkt.Checksum != buffer.ChecksumPartial
	if pieces {
		if t, ok := pkt.Peek(n + header.TCPMinimumSize); ok {
			n, b = len(t), t
		}
	}
	h := out.Push(n)
	copy(h, b)
	ip := header.IPv6(h[:header.IPv6Size])
	ip.SetHopLimit(ip.HopLimit() - 1)
	out.NetworkHeader, out.TransportHeader = h[:header.IPv6Size], h[header.IPv6Size:]
	out.Transport = ip.NextHeader()
	out.AppendFrom(pkt, n, pkt.Len()-n)
	if pieces && n > header.IPv6Size {
		// What was put together is cut up again: the checksums of the pieces are computed
		// from the whole's.
		length := out.Len() - header.IPv6Size
		sum := checksum.PseudoHeader(header.ProtocolTCP, pkt.Source, pkt.Destination, uint32(length))
		header.TCP(out.TransportHeader).SetChecksumField(checksum.Fold(sum))
		out.Checksum, out.ChecksumOffset = buffer.ChecksumPartial, 16
	}
	return out
}

// sendRedirect tells a neighbour that sent us a packet that the next hop is its neighbour, too
// (RFC 4861 section 8.2). pkt is only looked at.
func (e *endpoint) sendRedirect(r *stack.Route, pkt *buffer.Packet) {
	if r.NextHop != pkt.Destination && !r.NextHop.IsLinkLocalUnicast() {
		return
	}
	back, err := e.stack.FindRoute(stack.RouteQuery{Destination: pkt.Source, NIC: e.nic.ID()})
	src := e.linkLocalSource()
	if err != nil || back.Local || back.NextHop != pkt.Source || !src.IsValid() || !e.protocol.limiter.Allow(pkt.Source) {
		return
	}
	b := make([]byte, header.NDPRedirectSize, header.IPv6MinimumMTU)
	header.NDPRedirect(b).Encode(r.NextHop, pkt.Destination)
	if x, ok := e.nic.Neighbour(r.NextHop); ok && x.Link != (tcpip.LinkAddress{}) {
		at := len(b)
		b = b[:at+header.NDPLinkOptionSize]
		header.NDPLinkOption(b[at:]).Encode(header.NDPOptionTargetLink, x.Link)
	}
	// The redirected header option, with as much of the packet as fits (section 4.6.3).
	at := len(b)
	room := (header.IPv6MinimumMTU - header.IPv6Size - at) &^ 7
	n := min(8+pkt.Len(), room)
	size := (n + 7) &^ 7
	b = b[:at+size]
	clear(b[at:])
	b[at], b[at+1] = header.NDPOptionRedirected, uint8(size/8)
	pkt.CopyTo(b[at+8:at+n], 0)
	e.send(message{src: src, dst: pkt.Source, hopLimit: header.NDPHopLimit, b: b})
}
