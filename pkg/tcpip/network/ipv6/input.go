package ipv6

import (
	"net/netip"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// Types of packets (packet(7)).
const packetHost = 0

// HandlePacket implements stack.NetworkEndpoint.
func (e *endpoint) HandlePacket(pkt *buffer.Packet) {
	stats := &e.stack.Stats().IP6
	stats.InReceives.Inc()
	stats.InOctets.Add(uint64(pkt.Len()))
	if e.stack.Settings().IPv6Disabled.Load() {
		stats.InDiscards.Inc()
		pkt.Release()
		return
	}
	b, ok := pkt.Peek(header.IPv6Size)
	h := header.IPv6(b)
	if !ok || !h.Valid(pkt.Len()) {
		if ok && header.IPVersion(b) == 6 {
			stats.InTruncatedPkts.Inc()
		} else {
			stats.InHdrErrors.Inc()
		}
		pkt.Release()
		return
	}
	// What is behind the payload is padding of the link.
	if size := header.IPv6Size + int(h.PayloadLength()); size < pkt.Len() {
		pkt.Truncate(size)
	}
	src, dst := h.Source(), h.Destination()
	if !e.plausible(src, dst) {
		stats.InAddrErrors.Inc()
		pkt.Release()
		return
	}
	pkt.NetworkHeader, pkt.TransportHeader = nil, nil
	pkt.Source, pkt.Destination = src, dst
	pkt.TTL, pkt.TOS, pkt.FlowLabel = h.HopLimit(), h.TrafficClass(), h.FlowLabel()
	nic := e.nic
	if dst.IsMulticast() {
		stats.InMcastPkts.Inc()
		if !nic.InGroup(dst) {
			stats.InAddrErrors.Inc()
			pkt.Release()
			return
		}
		pkt.Local = nic.LocalFor(dst, src)
	} else {
		if nic = e.owner(dst); nic == nil {
			e.forward(pkt)
			return
		}
		pkt.Local = dst
		pkt.NIC = nic.ID()
	}
	next := h.NextHeader()
	switch next {
	case header.ProtocolTCP, header.ProtocolUDP:
		// The usual case, without extension headers.
		pkt.NetworkHeader, _ = pkt.Consume(header.IPv6Size)
		pkt.Transport = next
		stats.InDelivers.Inc()
		e.stack.DeliverTransport(nic, pkt)
	default:
		e.receive(nic, pkt)
	}
}

// plausible says whether the addresses of a packet that came in are those of packets at all.
func (e *endpoint) plausible(src, dst netip.Addr) bool {
	switch {
	case src.IsMulticast(), dst.IsUnspecified(): // RFC 4291 sections 2.7 and 2.5.2
		return false
	case src.Is4In6(), dst.Is4In6():
		// Here such an address would be the IPv4 host's, who did not send this
		// (draft-itojun-v6ops-v4mapped-harmful).
		return false
	}
	if e.loopback {
		return true
	}
	if src.IsLoopback() || dst.IsLoopback() { // RFC 4291 section 2.5.3
		return false
	}
	// Scopes that never leave an interface, and the reserved one (RFC 4291 section 2.7).
	return !dst.IsMulticast() || dst.As16()[1]&0xf > 1
}

// owner is the interface that has dst, a unicast address that a packet came to, or nil. That may be
// another one than where it came in, unless the address is of one link only. What comes by lo
// belongs to the interface whose address it is, so that link-local addresses keep their meaning.
func (e *endpoint) owner(dst netip.Addr) *stack.NIC {
	if dst.IsLinkLocalUnicast() {
		if !e.loopback {
			if e.nic.HasAddress(dst) {
				return e.nic
			}
			return nil
		}
		for _, n := range e.stack.NICs() {
			if n.HasAddress(dst) {
				return n
			}
		}
		return nil
	}
	if e.nic.HasAddress(dst) || e.stack.IsLocal(0, dst) {
		return e.nic
	}
	return nil
}

// receive goes through the extension headers of a packet for this host, nothing of which is
// consumed, and delivers what is behind them.
func (e *endpoint) receive(nic *stack.NIC, pkt *buffer.Packet) {
	w := headerWalk{endpoint: e, pkt: pkt, offset: header.IPv6Size, naming: nextHeaderOffset}
	b, _ := pkt.Peek(header.IPv6Size)
	w.next = header.IPv6(b).NextHeader()
	for {
		switch w.walk() {
		case walkDrop:
			w.pkt.Release()
			return
		case walkTaken:
			return
		case walkReassembled:
			continue
		}
		break
	}
	e.deliver(nic, &w)
}

// deliver hands a packet to the protocol behind its headers.
func (e *endpoint) deliver(nic *stack.NIC, w *headerWalk) {
	pkt := w.pkt
	pkt.NetworkHeader, _ = pkt.Consume(w.offset)
	pkt.Transport = w.next
	stats := &e.stack.Stats().IP6
	switch w.next {
	case header.ProtocolNoNext: // RFC 8200 section 4.7
		stats.InDelivers.Inc()
		e.stack.DeliverRaw(pkt)
		pkt.Release()
	case header.ProtocolICMPv6:
		stats.InDelivers.Inc()
		e.handleICMP(nic, pkt, w)
	case header.ProtocolHopByHop:
		// Not behind the fixed header, it is a header that nobody knows (RFC 8200 section
		// 4.1), not a protocol that somebody may have.
		e.SendError(stack.ICMPError{Kind: stack.ErrorProtocolUnreachable}, pkt)
		stats.InHdrErrors.Inc()
		pkt.Release()
	default:
		stats.InDelivers.Inc()
		e.stack.DeliverTransport(nic, pkt)
	}
}
