package ipv4

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// forward takes a packet, whose header is consumed, that is for another host (RFC 1812 section
// 5.2.1).
func (e *endpoint) forward(pkt *buffer.Packet) {
	defer pkt.Release()
	src, dst := pkt.Source, pkt.Destination
	// RFC 1812 section 5.3.4: what was broadcast on the link is not forwarded; RFC 3927
	// section 2.6.2: nor what is link-local.
	if !e.stack.Settings().IPForward.Load() || pkt.PacketType != packetHost || dst.IsLoopback() ||
		src.IsUnspecified() || src.IsLinkLocalUnicast() || dst.IsLinkLocalUnicast() || dst.As4()[0] >= 240 {
		e.stats.InAddrErrors.Inc()
		return
	}
	if pkt.TTL <= 1 {
		e.stats.InHdrErrors.Inc()
		e.SendError(stack.ICMPError{Kind: stack.ErrorTimeExceeded}, pkt)
		return
	}
	r, err := e.stack.FindRoute(stack.RouteQuery{Source: src, Destination: dst, AnySource: true, InNIC: e.nic.ID(), TOS: pkt.TOS})
	if err != nil {
		e.stats.InNoRoutes.Inc()
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
	if r.Local || r.Broadcast || r.Multicast {
		// Directed broadcasts are not forwarded (RFC 2644 section 2).
		e.stats.InAddrErrors.Inc()
		return
	}
	if len(pkt.NetworkHeader) > header.IPv4MinimumSize && !e.inputOptions(pkt, r.NIC.SourceFor(r.NextHop)) {
		return
	}
	old := header.IPv4(pkt.NetworkHeader)
	total := len(old) + pkt.Len()
	mtu := r.LinkMTU()
	out := buffer.New()
	out.CopyProperties(pkt)
	if out.Checksum == buffer.ChecksumVerified {
		out.Checksum = buffer.ChecksumUnknown
	}
	if uint32(total) > mtu && pkt.Segmentation.Type == buffer.SegmentNone {
		defer out.Release()
		if old.DontFragment() {
			e.stats.FragFails.Inc()
			e.SendError(stack.ICMPError{Kind: stack.ErrorPacketTooBig, MTU: mtu}, pkt)
			return
		}
		out.AppendFrom(pkt, 0, pkt.Len())
		stack.CompleteChecksum(out)
		f := header.IPv4Fields{TOS: old.TOS(), ID: old.ID(), Flags: old.Flags(), FragmentOffset: old.FragmentOffset(),
			TTL: old.TTL() - 1, Protocol: old.Protocol(), Source: src, Destination: dst, Options: old.Options()}
		list, ok := e.fragment(&f, mtu, out)
		if !ok {
			e.stats.FragFails.Inc()
			return
		}
		e.stats.FragOKs.Inc()
		e.stats.FragCreates.Add(uint64(len(list)))
		e.stats.ForwDatagrams.Inc()
		e.count(r.NIC.WritePackets(r.NextHop, header.EtherTypeIPv4, list))
		return
	}
	h := header.IPv4(out.Push(len(old)))
	copy(h, old)
	h.DecrementTTL()
	out.NetworkHeader = h
	out.AppendFrom(pkt, 0, pkt.Len())
	e.stats.ForwDatagrams.Inc()
	e.stats.OutOctets.Add(uint64(total))
	e.count(r.NIC.WritePacket(r.NextHop, header.EtherTypeIPv4, out))
}
