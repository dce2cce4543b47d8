package ipv6

import (
	"time"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/network/internal/fragment"
	"runsc/pkg/tcpip/stack"
)

const (
	// reassemblyTime is how long fragments wait for each other (RFC 8200 section 4.5).
	reassemblyTime = 60 * time.Second
	// reassemblyMemory is what all of a stack's fragments may take, in bytes
	// (net.ipv6.ip6frag_high_thresh).
	reassemblyMemory = 4 << 20
)

// reassembler is the protocol's side of package fragment.
type reassembler struct {
	protocol *protocol
	packets  *fragment.Reassembler
}

func (r *reassembler) init(p *protocol) {
	r.protocol = p
	r.packets = fragment.New(p.stack.Clock(), reassemblyTime, reassemblyMemory, r)
}

func (r *reassembler) close() { r.packets.Close() }

// add takes the packet of w, which stands at its fragment header f, and makes w go on behind the
// headers of the whole packet if that is complete now (RFC 8200 section 4.5).
func (r *reassembler) add(w *headerWalk, f header.IPv6Fragment) walkResult {
	stats := &r.protocol.stack.Stats().IP6
	stats.ReasmReqds.Inc()
	pkt := w.pkt
	data := w.offset + header.IPv6FragmentSize
	size := pkt.Len() - data
	offset, more := int(f.Offset()), f.MoreFragments()
	switch {
	case more && size%8 != 0:
		w.parameterProblem(header.ICMPv6ErroneousField, payloadLengthOffset)
		stats.ReasmFails.Inc()
		return walkDrop
	case w.offset-header.IPv6Size+offset+size > header.IPv6MaximumPayload:
		w.parameterProblem(header.ICMPv6ErroneousField, w.offset+2)
		stats.ReasmFails.Inc()
		return walkDrop
	case offset == 0 && !firstFragmentComplete(f.NextHeader(), pkt, data):
		w.parameterProblem(header.ICMPv6IncompleteFirstFrag, 0)
		stats.ReasmFails.Inc()
		return walkDrop
	}
	key := fragment.Key{Source: pkt.Source, Destination: pkt.Destination, ID: f.ID()}
	if pkt.Source.IsLinkLocalUnicast() || pkt.Destination.IsLinkLocalUnicast() || pkt.Destination.IsMulticast() {
		key.NIC = pkt.NIC
	}
	pkt.NetworkHeader, _ = pkt.Consume(data)
	whole, outcome := r.packets.Add(key, offset, more, pkt)
	switch outcome {
	case fragment.Failed:
		stats.ReasmFails.Inc()
		return walkTaken
	case fragment.Waiting:
		return walkTaken
	}
	stats.ReasmOKs.Inc()
	w.wholePacket(whole)
	return walkReassembled
}

// firstFragmentComplete says whether a first fragment has all headers up to the transport's (RFC
// 7112 section 5). next is the protocol of what begins at offset.
func firstFragmentComplete(next uint8, pkt *buffer.Packet, offset int) bool {
	b, _ := pkt.Peek(pkt.Len())
	b = b[offset:]
	w := header.WalkIPv6Extensions(next, b)
	for w.Next() {
	}
	if w.Malformed() {
		return false
	}
	left := len(b) - w.Offset()
	switch w.Protocol() {
	case header.ProtocolTCP:
		return left >= header.TCPMinimumSize
	case header.ProtocolUDP, header.ProtocolUDPLite:
		return left >= header.UDPSize
	case header.ProtocolICMPv6:
		return left >= header.ICMPv6Size
	}
	return true
}

// wholePacket makes w go on in what package fragment made, which it takes: in front of it go the
// headers of the first fragment, but for the fragment header (RFC 8200 section 4.5).
func (w *headerWalk) wholePacket(data *buffer.Packet) {
	n := len(data.NetworkHeader) - header.IPv6FragmentSize
	v := buffer.NewView(n)
	h := header.IPv6(v.Bytes())
	copy(h, data.NetworkHeader)
	w.offset, w.naming = n, lastNextHeader(h)
	w.next = data.NetworkHeader[n]
	h[w.naming] = w.next
	h.SetPayloadLength(uint16(n - header.IPv6Size + data.Len()))
	h.SetTrafficClass(data.TOS)
	w.pkt = buffer.NewWith(v)
	w.pkt.CopyProperties(data)
	w.pkt.AppendFrom(data, 0, data.Len())
	data.Release()
}

// lastNextHeader is the place of the byte that names what follows h, a fixed header with those
// extension headers that stand in front of a fragment header.
func lastNextHeader(h []byte) int {
	w := header.WalkIPv6Extensions(h[nextHeaderOffset], h[header.IPv6Size:])
	for w.Offset() < len(h)-header.IPv6Size && w.Next() {
	}
	if w.NextHeaderOffset() < 0 {
		return nextHeaderOffset
	}
	return header.IPv6Size + w.NextHeaderOffset()
}

// ReassemblyExpired implements fragment.Owner.
func (r *reassembler) ReassemblyExpired(first *buffer.Packet) {
	stats := &r.protocol.stack.Stats().IP6
	stats.ReasmTimeout.Inc()
	stats.ReasmFails.Inc()
	if first == nil {
		return
	}
	if nic := r.protocol.stack.NIC(first.NIC); nic != nil {
		if e, ok := nic.Endpoint(header.EtherTypeIPv6).(*endpoint); ok {
			e.SendError(stack.ICMPError{Kind: stack.ErrorReassemblyTime}, first)
		}
	}
	first.Release()
}
