package ipv6

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// WritePacket implements stack.InternetEndpoint. Beside what is said there: ENETUNREACH: IPv6 is
// switched off.
func (e *endpoint) WritePacket(r *stack.Route, params stack.NetworkParams, pkt *buffer.Packet) error {
	stats := &e.stack.Stats().IP6
	if e.stack.Settings().IPv6Disabled.Load() {
		stats.OutDiscards.Inc()
		pkt.Release()
		return unix.ENETUNREACH
	}
	size := header.IPv6Size + pkt.Len()
	if params.RouterAlert {
		size += header.IPv6ExtensionMinimumSize
	}
	if size-header.IPv6Size > header.IPv6MaximumPayload {
		stats.OutDiscards.Inc()
		pkt.Release()
		return unix.EMSGSIZE
	}
	hopLimit := params.TTL
	if hopLimit == 0 && !params.ZeroTTL {
		hopLimit = e.defaultHopLimit()
	}
	if params.FlowLabel == 0 {
		params.FlowLabel = e.protocol.flowLabel(r.Source, r.Destination, params.Transport, pkt.TransportHeader)
	}
	cut := false
	if pkt.Segmentation.Type == buffer.SegmentNone {
		// Offloaded packets have pieces that fit.
		mtu := r.LinkMTU()
		if !params.IgnorePathMTU {
			mtu = r.MTU()
		}
		if e.linkMTU.Load() != 0 {
			mtu = min(mtu, e.linkMTU.Load())
		}
		if cut = uint32(size) > mtu; cut {
			if params.DontFragment && !params.FragmentHere {
				stats.FragFails.Inc()
				pkt.Release()
				return unix.EMSGSIZE
			}
			defer pkt.Release()
			return e.writeFragments(r, params, hopLimit, pkt, int(mtu))
		}
	}
	e.pushHeader(pkt, r.Source, r.Destination, hopLimit, params)
	if !e.complete(r, params, pkt) {
		return nil
	}
	return r.NIC.WritePacket(r.NextHop, header.EtherTypeIPv6, pkt)
}

// defaultHopLimit is that of unicast packets: what a router advertised, or the host's (RFC 4861
// section 6.3.2).
func (e *endpoint) defaultHopLimit() uint8 {
	if n := e.hopLimit.Load(); n != 0 {
		return uint8(n)
	}
	return uint8(min(max(e.stack.Settings().IPv6HopLimit.Load(), 1), 255))
}

// pushHeader puts the fixed header, and a hop-by-hop header with a router alert if that is asked
// for, in front of a packet that begins with its transport header.
func (e *endpoint) pushHeader(pkt *buffer.Packet, src, dst netip.Addr, hopLimit uint8, params stack.NetworkParams) {
	n, next, payload := header.IPv6Size, params.Transport, pkt.Len()
	if params.RouterAlert {
		n += header.IPv6ExtensionMinimumSize
		payload += header.IPv6ExtensionMinimumSize
		next = header.ProtocolHopByHop
	}
	h := pkt.Push(n)
	header.IPv6(h).Encode(header.IPv6Fields{
		TrafficClass:  params.TOS,
		FlowLabel:     params.FlowLabel,
		PayloadLength: uint16(payload),
		NextHeader:    next,
		HopLimit:      hopLimit,
		Source:        src,
		Destination:   dst,
	})
	if params.RouterAlert {
		alert := header.IPv6RouterAlert(params.Transport)
		copy(h[header.IPv6Size:], alert[:])
	}
	pkt.NetworkHeader = h
	pkt.Source, pkt.Destination, pkt.Transport = src, dst, params.Transport
}

// writeFragments cuts a packet, which stays the caller's, into fragments that fit into mtu bytes,
// and sends them (RFC 8200 section 4.5).
func (e *endpoint) writeFragments(r *stack.Route, params stack.NetworkParams, hopLimit uint8, pkt *buffer.Packet, mtu int) error {
	stats := &e.stack.Stats().IP6
	headers := header.IPv6Size + header.IPv6FragmentSize
	if params.RouterAlert {
		headers += header.IPv6ExtensionMinimumSize
	}
	room := (mtu - headers) &^ 7
	if room < 8 {
		stats.FragFails.Inc()
		return unix.EMSGSIZE
	}
	// The checksum is one of the whole.
	pkt.NetworkHeader = nil
	pkt.Transport = params.Transport
	pkt.Source, pkt.Destination = r.Source, r.Destination
	stack.CompleteChecksum(pkt)
	id := e.protocol.fragmentID(r.Source, r.Destination)
	// All at once: the neighbour is looked up once, and a link that can write many with one call
	// does.
	whole := pkt.Len()
	list := make([]*buffer.Packet, 0, (whole+room-1)/room)
	for at := 0; at < whole; at += room {
		n := min(room, whole-at)
		f := buffer.New()
		f.CopyProperties(pkt)
		f.AppendFrom(pkt, at, n)
		header.IPv6Fragment(f.Push(header.IPv6FragmentSize)).Encode(header.IPv6FragmentFields{
			NextHeader:    params.Transport,
			Offset:        uint16(at),
			MoreFragments: at+n < whole,
			ID:            id,
		})
		p := params
		p.Transport = header.ProtocolFragment
		e.pushHeader(f, r.Source, r.Destination, hopLimit, p)
		stats.FragCreates.Inc()
		if e.complete(r, params, f) {
			list = append(list, f)
		}
	}
	if err := r.NIC.WritePackets(r.NextHop, header.EtherTypeIPv6, list); err != nil {
		stats.FragFails.Inc()
		return err
	}
	stats.FragOKs.Inc()
	return nil
}

// complete is the last that is done with a packet that has its headers: members of the group on
// this host get a copy if it is for one, and it is counted. false: it does not leave this host, and
// was taken.
func (e *endpoint) complete(r *stack.Route, params stack.NetworkParams, pkt *buffer.Packet) bool {
	if r.Multicast {
		if !params.NoMulticastLoop && !r.NIC.IsLoopback() && r.NIC.InGroup(r.Destination) {
			r.NIC.LoopBack(header.EtherTypeIPv6, pkt.Clone())
		}
		// RFC 4291 section 2.7, and what has no hop to make.
		if (r.Destination.IsInterfaceLocalMulticast() || params.ZeroTTL) && !r.NIC.IsLoopback() {
			pkt.Release()
			return false
		}
	}
	e.countSent(pkt, r.Destination)
	return true
}

// transmit hands a complete packet to nic, which takes it.
func (e *endpoint) transmit(pkt *buffer.Packet, nic *stack.NIC, dst, nextHop netip.Addr) error {
	e.countSent(pkt, dst)
	return nic.WritePacket(nextHop, header.EtherTypeIPv6, pkt)
}

func (e *endpoint) countSent(pkt *buffer.Packet, dst netip.Addr) {
	stats := &e.stack.Stats().IP6
	stats.OutRequests.Inc()
	stats.OutOctets.Add(uint64(pkt.Len()))
	if dst.IsMulticast() {
		stats.OutMcastPkts.Inc()
	}
}

// WriteHeaderIncluded implements stack.InternetEndpoint. Linux fills in nothing of IPv6 headers
// (raw(7), IPV6_HDRINCL), and neither does this. EINVAL: there is no header; EMSGSIZE: it is longer
// than the link takes; ENETUNREACH: IPv6 is switched off.
func (e *endpoint) WriteHeaderIncluded(r *stack.Route, pkt *buffer.Packet) error {
	err := error(nil)
	b, ok := pkt.Peek(header.IPv6Size)
	switch {
	case !ok || header.IPVersion(b) != 6:
		err = unix.EINVAL
	case uint32(pkt.Len()) > r.LinkMTU():
		err = unix.EMSGSIZE
	case e.stack.Settings().IPv6Disabled.Load():
		err = unix.ENETUNREACH
	}
	if err != nil {
		pkt.Release()
		return err
	}
	h := header.IPv6(b)
	pkt.NetworkHeader = h[:header.IPv6Size]
	pkt.Transport = h.NextHeader()
	pkt.Source, pkt.Destination = h.Source(), h.Destination()
	return e.transmit(pkt, r.NIC, r.Destination, r.NextHop)
}

// flowLabel is the label of packets for which none was chosen: the same for those of a flow, and
// such that nobody can foretell it (RFC 6437 sections 2 and 3). transport is the front of the
// transport header; the two ports are what tells flows apart.
func (p *protocol) flowLabel(src, dst netip.Addr, protocol uint8, transport []byte) uint32 {
	var b [37]byte
	s, d := src.As16(), dst.As16()
	copy(b[:], s[:])
	copy(b[16:], d[:])
	b[32] = protocol
	switch protocol {
	case header.ProtocolTCP, header.ProtocolUDP, header.ProtocolUDPLite, header.ProtocolSCTP:
		copy(b[33:], transport)
	}
	return max(uint32(p.stack.Hash(purposeFlowLabel, b[:]))&0xfffff, 1)
}

// fragmentID is the identification of the next fragmented packet from src to dst: a counter, so
// that it does not come again soon, with a secret beginning for each pair, so that nobody can
// foretell it (RFC 7739 section 5.3).
func (p *protocol) fragmentID(src, dst netip.Addr) uint32 {
	var b [32]byte
	s, d := src.As16(), dst.As16()
	copy(b[:], s[:])
	copy(b[16:], d[:])
	h := p.stack.Hash(purposeFragmentID, b[:])
	return uint32(h>>32) + p.ids[h%uint64(len(p.ids))].Add(1)
}

var be = binary.BigEndian
