package ipv4

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// WritePacket implements stack.InternetEndpoint.
func (e *endpoint) WritePacket(r *stack.Route, params stack.NetworkParams, pkt *buffer.Packet) error {
	f := header.IPv4Fields{
		TOS:         params.TOS,
		TTL:         params.TTL,
		Protocol:    params.Transport,
		Source:      r.Source,
		Destination: r.Destination,
		Options:     params.Options,
	}
	if f.TTL == 0 && !params.ZeroTTL {
		f.TTL = uint8(e.stack.Settings().IPDefaultTTL.Load())
	}
	if params.RouterAlert {
		f.Options = withRouterAlert(params.Options)
	}
	if len(f.Options) > 0 {
		f.Options = e.ownOptions(f.Options, r.Source)
	}
	n := f.HeaderLength()
	total := n + pkt.Len()
	if total > header.IPv4MaximumTotal || len(f.Options) > header.IPv4OptionsMaximum {
		e.stats.OutDiscards.Inc()
		pkt.Release()
		return unix.EMSGSIZE
	}
	f.TotalLength = uint16(total)
	mtu := r.LinkMTU()
	if !params.IgnorePathMTU {
		mtu = r.MTU()
	}
	fits := uint32(total) <= mtu || pkt.Segmentation.Type != buffer.SegmentNone
	switch {
	case fits && params.DontFragment:
		// Nobody cuts it up, so nobody looks at the identification (RFC 6864 section 4.1).
		f.Flags = header.IPv4FlagDontFragment
	case fits:
		f.ID = e.nextID(r.Source, r.Destination, params.Transport, segments(pkt))
	case params.DontFragment && !params.FragmentHere:
		e.stats.FragFails.Inc()
		pkt.Release()
		return unix.EMSGSIZE
	default:
		f.ID = e.nextID(r.Source, r.Destination, params.Transport, 1)
	}
	e.stats.OutRequests.Inc()
	pkt.Source, pkt.Destination, pkt.Transport = r.Source, r.Destination, params.Transport
	pkt.TTL, pkt.TOS = f.TTL, f.TOS
	if params.Transport == header.ProtocolICMPv4 {
		if b, ok := pkt.Peek(1); ok {
			e.countICMP(b[0])
		}
	}
	if !fits {
		return e.writeFragments(r, &f, mtu, params.NoMulticastLoop, pkt)
	}
	h := header.IPv4(pkt.Push(n))
	h.Encode(f)
	pkt.NetworkHeader = h
	if r.Multicast || r.Broadcast {
		e.countGroup(r)
		e.loopBack(r, params.NoMulticastLoop, pkt)
		if f.TTL == 0 && !r.NIC.IsLoopback() {
			pkt.Release()
			return nil
		}
	}
	e.stats.OutOctets.Add(uint64(total))
	return e.count(r.NIC.WritePacket(r.NextHop, header.EtherTypeIPv4, pkt))
}

// withRouterAlert returns options with that one in front, if there is room. It allocates, which only
// the few packets that have it shall cost.
func withRouterAlert(options []byte) []byte {
	if len(options)+header.IPv4RouterAlertSize > header.IPv4OptionsMaximum {
		return options
	}
	alert := header.IPv4RouterAlert()
	return append(alert[:], options...)
}

// segments is how many packets a packet becomes on the wire, each of which needs an
// identification.
func segments(pkt *buffer.Packet) int {
	if pkt.Segmentation.Type == buffer.SegmentNone || pkt.Segmentation.Size == 0 {
		return 1
	}
	return pkt.Len()/int(pkt.Segmentation.Size) + 1
}

// count counts an error of the link.
func (e *endpoint) count(err error) error {
	if err != nil {
		e.stats.OutDiscards.Inc()
	}
	return err
}

func (e *endpoint) countGroup(r *stack.Route) {
	if r.Multicast {
		e.stats.OutMcastPkts.Inc()
	} else {
		e.stats.OutBcastPkts.Inc()
	}
}

// loopBack gives this host its copy of a packet to a group that it is a member of, or to everybody
// on the link (RFC 1112 section 6.1).
func (e *endpoint) loopBack(r *stack.Route, noLoop bool, pkt *buffer.Packet) {
	if r.NIC.IsLoopback() || r.Multicast && (noLoop || !r.NIC.InGroup(r.Destination)) {
		return
	}
	r.NIC.LoopBack(header.EtherTypeIPv4, pkt.Clone())
}

// writeFragments cuts a packet that begins with its transport header into fragments that fit mtu
// (RFC 791 section 3.2), whose header has the fields f.
func (e *endpoint) writeFragments(r *stack.Route, f *header.IPv4Fields, mtu uint32, noLoop bool, pkt *buffer.Packet) error {
	// The checksum covers what the fragments have only together.
	stack.CompleteChecksum(pkt)
	list, ok := e.fragment(f, mtu, pkt)
	pkt.Release()
	if !ok {
		e.stats.FragFails.Inc()
		return unix.EMSGSIZE
	}
	e.stats.FragOKs.Inc()
	e.stats.FragCreates.Add(uint64(len(list)))
	for _, p := range list {
		e.stats.OutOctets.Add(uint64(p.Len()))
		if r.Multicast || r.Broadcast {
			e.countGroup(r)
			e.loopBack(r, noLoop, p)
		}
	}
	if f.TTL == 0 && !r.NIC.IsLoopback() {
		for _, p := range list {
			p.Release()
		}
		return nil
	}
	return e.count(r.NIC.WritePackets(r.NextHop, header.EtherTypeIPv4, list))
}

// fragment returns the fragments of pkt, which begins with the payload and is only looked at.
// f.FragmentOffset and f.Flags are those of the whole, which may be a fragment itself.
func (e *endpoint) fragment(f *header.IPv4Fields, mtu uint32, pkt *buffer.Packet) ([]*buffer.Packet, bool) {
	var store [header.IPv4OptionsMaximum]byte
	size := pkt.Len()
	options := f.Options
	var list []*buffer.Packet
	for at := 0; at < size; {
		g := *f
		g.Options = options
		n := g.HeaderLength()
		room := (int(mtu) - n) &^ 7
		if room <= 0 {
			for _, p := range list {
				p.Release()
			}
			return nil, false
		}
		if rest := size - at; rest <= int(mtu)-n {
			room = rest
		} else {
			g.Flags |= header.IPv4FlagMoreFragments
		}
		g.FragmentOffset += uint16(at)
		g.TotalLength = uint16(n + room)
		p := buffer.New()
		p.CopyProperties(pkt)
		p.Segmentation = buffer.Segmentation{}
		p.Source, p.Destination, p.Transport = f.Source, f.Destination, f.Protocol
		h := header.IPv4(p.Push(n))
		h.Encode(g)
		p.NetworkHeader = h
		p.AppendFrom(pkt, at, room)
		list = append(list, p)
		if at == 0 {
			options = copiedOptions(store[:0], options)
		}
		at += room
	}
	return list, true
}

// WriteHeaderIncluded implements stack.InternetEndpoint (raw(7), "IP_HDRINCL"): the total length
// and the checksum are always ours, the source and the identification if they are 0. EMSGSIZE:
// it does not fit the interface's MTU, since such packets are not cut up; EINVAL: there is no
// whole header.
func (e *endpoint) WriteHeaderIncluded(r *stack.Route, pkt *buffer.Packet) error {
	size := pkt.Len()
	b, ok := pkt.Own(header.IPv4MinimumSize)
	if ok {
		if n := header.IPv4(b).HeaderLength(); n > header.IPv4MinimumSize {
			b, ok = pkt.Own(n)
		}
	}
	h := header.IPv4(b)
	if !ok || h.HeaderLength() < header.IPv4MinimumSize {
		pkt.Release()
		return unix.EINVAL
	}
	if uint32(size) > r.NIC.MTU() || size > header.IPv4MaximumTotal {
		e.stats.OutDiscards.Inc()
		pkt.Release()
		return unix.EMSGSIZE
	}
	n := h.HeaderLength()
	h = h[:n:n]
	if h.Source().IsUnspecified() {
		h.SetSource(r.Source)
	}
	if h.ID() == 0 {
		h.SetID(e.nextID(h.Source(), h.Destination(), h.Protocol(), 1))
	}
	h.SetTotalLength(uint16(size))
	h.UpdateChecksum()
	pkt.NetworkHeader, pkt.TransportHeader = h, nil
	pkt.Source, pkt.Destination, pkt.Transport = h.Source(), h.Destination(), h.Protocol()
	e.stats.OutRequests.Inc()
	e.stats.OutOctets.Add(uint64(size))
	if pkt.Transport == header.ProtocolICMPv4 && size > n {
		if b, ok := pkt.Peek(n + 1); ok {
			e.countICMP(b[n])
		}
	}
	if r.Multicast || r.Broadcast {
		e.countGroup(r)
		e.loopBack(r, false, pkt)
	}
	return e.count(r.NIC.WritePacket(r.NextHop, header.EtherTypeIPv4, pkt))
}
