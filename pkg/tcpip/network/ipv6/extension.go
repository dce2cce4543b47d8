package ipv6

import (
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

const (
	// maxHeaders is how many extension headers a packet may have, and maxOptions how many
	// options one of them may, padding not counted (RFC 8504 section 5.3). More than that is
	// only work for us.
	maxHeaders = 8
	maxOptions = 8

	// nextHeaderOffset is the place of that field in the fixed header, and
	// payloadLengthOffset of that one.
	nextHeaderOffset    = 6
	payloadLengthOffset = 4
)

// headerWalk is a way through the extension headers of a packet, of which nothing is consumed.
type headerWalk struct {
	endpoint *endpoint
	pkt      *buffer.Packet
	// next is the protocol of what begins at offset, and naming is the place of the byte
	// that says so. All places are from the fixed header on.
	next           uint8
	offset, naming int
	headers        int
	// routerAlert: there was that option. fragmented: the packet came with a fragment
	// header.
	routerAlert, fragmented bool
}

// Results of walk.
type walkResult int

const (
	// walkDone: next is no extension header.
	walkDone walkResult = iota
	// walkDrop: the packet is to be dropped; walkTaken: it was taken.
	walkDrop
	walkTaken
	// walkReassembled: pkt is another one, whose headers are to be walked on.
	walkReassembled
)

// walk goes on to what is not an extension header, doing what those on the way ask of a
// destination (RFC 8200 section 4).
func (w *headerWalk) walk() walkResult {
	for {
		switch w.next {
		case header.ProtocolHopByHop:
			if w.offset != header.IPv6Size {
				return walkDone
			}
		case header.ProtocolDestination, header.ProtocolRouting, header.ProtocolFragment:
		default:
			return walkDone
		}
		b, ok := w.header()
		if !ok {
			return walkDrop
		}
		switch w.next {
		case header.ProtocolHopByHop, header.ProtocolDestination:
			if !w.options(header.IPv6Options(b)) {
				return walkDrop
			}
		case header.ProtocolRouting:
			if r := header.IPv6Routing(b); r.SegmentsLeft() != 0 {
				// Of no type are we a node to be visited: type 0 is not obeyed since
				// RFC 5095, and is treated like one that is not known (section 3
				// there, RFC 8200 section 4.4).
				w.parameterProblem(header.ICMPv6ErroneousField, w.offset+2)
				return walkDrop
			}
		case header.ProtocolFragment:
			f := header.IPv6Fragment(b)
			w.fragmented = true
			if !f.IsAtomic() {
				return w.endpoint.protocol.fragment.add(w, f)
			}
			// The only piece of its packet: it has nothing to wait for, nor to do with
			// pieces that claim the same identification (RFC 6946 section 4).
		}
		w.naming = w.offset
		w.offset += len(b)
		w.next = b[0]
	}
}

// header returns the extension header at offset in one piece.
func (w *headerWalk) header() ([]byte, bool) {
	if w.headers++; w.headers > maxHeaders {
		w.endpoint.stack.Stats().IP6.InHdrErrors.Inc()
		return nil, false
	}
	b, ok := w.pkt.Peek(w.offset + header.IPv6ExtensionMinimumSize)
	n := header.IPv6FragmentSize
	if ok {
		if w.next != header.ProtocolFragment {
			n = header.IPv6Options(b[w.offset:]).HeaderLength()
		}
		b, ok = w.pkt.Peek(w.offset + n)
	}
	if !ok {
		// The length of the header, or of the packet, is wrong (RFC 4443 section 3.4).
		w.parameterProblem(header.ICMPv6ErroneousField, w.offset+1)
		return nil, false
	}
	return b[w.offset : w.offset+n : w.offset+n], true
}

// options goes through the options of a hop-by-hop or destination options header and says whether
// the packet may go on (RFC 8200 section 4.2).
func (w *headerWalk) options(h header.IPv6Options) bool {
	o := header.WalkIPv6Options(h.Options())
	for n := 0; o.Next(); n++ {
		if n >= maxOptions {
			w.endpoint.stack.Stats().IP6.InHdrErrors.Inc()
			return false
		}
		if w.next == header.ProtocolHopByHop && o.Type == header.IPv6OptionRouterAlert {
			if len(o.Data) == 2 {
				w.routerAlert = true
				continue
			}
			w.parameterProblem(header.ICMPv6ErroneousField, w.offset+2+o.Offset+1)
			return false
		}
		switch o.Action() {
		case header.IPv6OptionActionSkip:
			continue
		case header.IPv6OptionActionReport:
			w.parameterProblem(header.ICMPv6UnknownOption, w.offset+2+o.Offset)
		case header.IPv6OptionActionReportNotMulticast:
			if !w.pkt.Destination.IsMulticast() {
				w.parameterProblem(header.ICMPv6UnknownOption, w.offset+2+o.Offset)
			}
		}
		w.endpoint.stack.Stats().IP6.InHdrErrors.Inc()
		return false
	}
	if o.Malformed() {
		w.parameterProblem(header.ICMPv6ErroneousField, w.offset+2+o.Offset)
		return false
	}
	return true
}

// parameterProblem tells the sender what is wrong with the byte at place (RFC 4443 section 3.4).
func (w *headerWalk) parameterProblem(code uint8, place int) {
	w.endpoint.stack.Stats().IP6.InHdrErrors.Inc()
	w.endpoint.SendError(stack.ICMPError{Kind: stack.ErrorParameter, Code: code, Pointer: uint32(place)}, w.pkt)
}
