package ipv4

import (
	"net/netip"
	"slices"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/network/internal/fragment"
	"runsc/pkg/tcpip/stack"
)

// packetHost is PACKET_HOST (packet(7)): the frame was for this host alone.
const packetHost = 0

// HandlePacket implements stack.NetworkEndpoint (RFC 1122 section 3.2.1).
func (e *endpoint) HandlePacket(pkt *buffer.Packet) {
	e.stats.InReceives.Inc()
	e.stats.InOctets.Add(uint64(pkt.Len()))
	h, ok := e.parse(pkt)
	if !ok {
		pkt.Release()
		return
	}
	pkt.NetworkHeader = h
	pkt.Source, pkt.Destination = h.Source(), h.Destination()
	pkt.Transport, pkt.TTL, pkt.TOS = h.Protocol(), h.TTL(), h.TOS()
	if !e.plausible(pkt) {
		e.stats.InAddrErrors.Inc()
		pkt.Release()
		return
	}
	switch dst := pkt.Destination; {
	case e.stack.IsLocal(0, dst):
		pkt.Local = dst
	case dst.IsMulticast():
		e.stats.InMcastPkts.Inc()
		if !e.nic.InGroup(dst) {
			pkt.Release()
			return
		}
		pkt.Local = e.nic.SourceFor(pkt.Source)
	case e.nic.IsBroadcast(dst):
		e.stats.InBcastPkts.Inc()
		pkt.Local = e.nic.SourceFor(pkt.Source)
	default:
		e.forward(pkt)
		return
	}
	if len(h) > header.IPv4MinimumSize && !e.inputOptions(pkt, pkt.Local) {
		pkt.Release()
		return
	}
	if header.IPv4(pkt.NetworkHeader).IsFragment() {
		if pkt = e.reassemble(pkt); pkt == nil {
			return
		}
	}
	e.stats.InDelivers.Inc()
	switch pkt.Transport {
	case header.ProtocolICMPv4:
		e.handleICMP(pkt)
	case header.ProtocolIGMP:
		e.stack.DeliverRaw(pkt)
		e.groups.handle(pkt)
		pkt.Release()
	default:
		e.stack.DeliverTransport(e.nic, pkt)
	}
}

// parse checks and consumes the header, and cuts off what lies behind the packet.
func (e *endpoint) parse(pkt *buffer.Packet) (header.IPv4, bool) {
	size := pkt.Len()
	b, ok := pkt.Peek(header.IPv4MinimumSize)
	if ok {
		if n := header.IPv4(b).HeaderLength(); n > header.IPv4MinimumSize {
			b, ok = pkt.Peek(n)
		}
	}
	h := header.IPv4(b)
	if !ok || !h.Valid(size) {
		if ok && h[0]>>4 == 4 && int(h.TotalLength()) > size {
			e.stats.InTruncatedPkts.Inc()
		} else {
			e.stats.InHdrErrors.Inc()
		}
		return nil, false
	}
	n := h.HeaderLength()
	h = h[:n:n]
	if !h.ChecksumOK() {
		e.stats.InCsumErrors.Inc()
		e.stats.InHdrErrors.Inc()
		return nil, false
	}
	if total := int(h.TotalLength()); total < size {
		pkt.Truncate(total)
		// Padding may have been copied with the rest; the header lies where it was, in
		// front.
		b, _ = pkt.Peek(n)
		h = header.IPv4(b[:n:n])
	}
	pkt.Consume(n)
	return h, true
}

// plausible says whether a packet with these addresses can have come in here (RFC 1122 section
// 3.2.1.3, RFC 1812 section 5.3.7).
func (e *endpoint) plausible(pkt *buffer.Packet) bool {
	src, dst := pkt.Source, pkt.Destination
	switch {
	case src.IsMulticast(), src == header.IPv4Broadcast, e.nic.IsBroadcast(src):
		return false
	case isThisNetwork(dst):
		return false
	case src.IsUnspecified():
		// A host that does not know its address yet may talk to everybody.
		return dst.IsMulticast() || dst == header.IPv4Broadcast
	case isThisNetwork(src):
		return false
	}
	if e.nic.IsLoopback() {
		return true
	}
	if src.IsLoopback() || dst.IsLoopback() {
		return false
	}
	// This host's own packets come back from outside only if somebody pretends; those to
	// groups and broadcasts are given back by NIC.LoopBack, without a link header.
	return !pkt.HasLink && (dst.IsMulticast() || e.nic.IsBroadcast(dst)) || !e.stack.IsLocal(0, src)
}

// isThisNetwork says whether a is in 0.0.0.0/8.
func isThisNetwork(a netip.Addr) bool { return a.As4()[0] == 0 }

// inputOptions reads and fills in the options. pkt.NetworkHeader is a copy then if they were
// changed. false: the packet is to be dropped.
func (e *endpoint) inputOptions(pkt *buffer.Packet, self netip.Addr) bool {
	if !self.IsValid() {
		self = header.IPv4Any
	}
	h := header.IPv4(slices.Clone(pkt.NetworkHeader))
	changed, fault := e.fillOptions(h.Options(), self)
	if fault != nil {
		e.stats.InHdrErrors.Inc()
		switch {
		case fault.sourceRoute:
			e.sendSourceRouteFailed(pkt)
		case fault.report:
			e.SendError(stack.ICMPError{Kind: stack.ErrorParameter, Pointer: uint32(fault.pointer)}, pkt)
		}
		return false
	}
	if changed {
		h.UpdateChecksum()
		pkt.NetworkHeader = h
	}
	return true
}

// reassemble takes a fragment and returns the whole packet if that is complete, or nil.
func (e *endpoint) reassemble(pkt *buffer.Packet) *buffer.Packet {
	e.stats.ReasmReqds.Inc()
	h := header.IPv4(pkt.NetworkHeader)
	offset, more := int(h.FragmentOffset()), h.MoreFragments()
	if offset+pkt.Len()+len(h) > header.IPv4MaximumTotal {
		e.stats.ReasmFails.Inc()
		pkt.Release()
		return nil
	}
	key := fragment.Key{Source: pkt.Source, Destination: pkt.Destination, ID: uint32(h.ID()), Protocol: pkt.Transport, NIC: e.nic.ID()}
	whole, outcome := e.fragments.Add(key, offset, more, pkt)
	switch outcome {
	case fragment.Failed:
		e.stats.ReasmFails.Inc()
		return nil
	case fragment.Waiting:
		return nil
	}
	h = header.IPv4(whole.NetworkHeader)
	if len(h)+whole.Len() > header.IPv4MaximumTotal {
		e.stats.ReasmFails.Inc()
		whole.Release()
		return nil
	}
	e.stats.ReasmOKs.Inc()
	h.SetTotalLength(uint16(len(h) + whole.Len()))
	h.SetFragment(0, 0)
	h.SetTOS(whole.TOS)
	h.UpdateChecksum()
	return whole
}
