package header

// Sizes and types of IPv6 extension headers (RFC 8200 section 4).
const (
	IPv6ExtensionMinimumSize = 8
	IPv6FragmentSize         = 8

	IPv6OptionPad1        = 0
	IPv6OptionPadN        = 1
	IPv6OptionRouterAlert = 5
	IPv6OptionJumbo       = 0xc2

	IPv6RoutingSource0 = 0 // deprecated by RFC 5095
	IPv6RoutingMobile  = 2
	IPv6RoutingSegment = 4

	// Values of a router alert (RFC 2711 section 2.1).
	IPv6RouterAlertMLD = 0
)

// What to do with a packet that has an option of unknown type: the type's upper two bits (RFC 8200
// section 4.2).
const (
	IPv6OptionActionSkip               = 0
	IPv6OptionActionDiscard            = 1
	IPv6OptionActionReport             = 2
	IPv6OptionActionReportNotMulticast = 3
)

// IPv6RouterAlert is the hop-by-hop options header that MLD messages carry, which are followed by
// next (RFC 2711 section 2.1, RFC 3810 section 5).
func IPv6RouterAlert(next uint8) [IPv6ExtensionMinimumSize]byte {
	return [IPv6ExtensionMinimumSize]byte{next, 0, IPv6OptionRouterAlert, 2, 0, IPv6RouterAlertMLD, IPv6OptionPadN, 0}
}

// IPv6ExtensionWalker goes through the extension headers of a packet.
type IPv6ExtensionWalker struct {
	all       []byte
	protocol  uint8
	offset    int
	naming    int
	begun     bool
	ended     bool
	malformed bool

	// Type is the current header's protocol number: ProtocolHopByHop, ProtocolRouting,
	// ProtocolFragment, ProtocolDestination or ProtocolAH.
	Type uint8
	// Header is the current header, complete. Convert it to IPv6Options, IPv6Routing or
	// IPv6Fragment, according to Type: it is long enough for their getters.
	Header []byte
}

// WalkIPv6Extensions begins a walk over b, the bytes behind the fixed header, whose next header
// field is next. b may be the front of the payload only, if it has the extension headers.
func WalkIPv6Extensions(next uint8, b []byte) IPv6ExtensionWalker {
	return IPv6ExtensionWalker{all: b, protocol: next, naming: -1}
}

// Next goes on to the next extension header and says whether there is one. The walk ends behind a
// fragment header that is not the first fragment's, since no header follows it. A hop-by-hop header
// that is not the first header is no extension header: the walk ends before it and Protocol is
// ProtocolHopByHop, which is an unrecognized next header there (RFC 8200 section 4.1).
func (w *IPv6ExtensionWalker) Next() bool {
	if w.ended {
		return false
	}
	w.ended = true
	first := !w.begun
	w.begun = true
	rest := w.all[w.offset:]
	var n int
	switch w.protocol {
	case ProtocolHopByHop:
		if !first {
			return false
		}
	case ProtocolRouting, ProtocolFragment, ProtocolDestination, ProtocolAH:
	default:
		return false
	}
	if len(rest) < IPv6ExtensionMinimumSize {
		w.malformed = true
		return false
	}
	switch w.protocol {
	case ProtocolFragment:
		n = IPv6FragmentSize
	case ProtocolAH:
		n = (int(rest[1]) + 2) * 4 // RFC 4302 section 2.2
	default:
		n = (int(rest[1]) + 1) * 8
	}
	if n < IPv6ExtensionMinimumSize || n > len(rest) {
		w.malformed = true
		return false
	}
	w.Type, w.Header = w.protocol, rest[:n:n]
	w.protocol, w.naming = rest[0], w.offset
	w.offset += n
	w.ended = w.Type == ProtocolFragment && IPv6Fragment(w.Header).Offset() != 0
	return true
}

// Protocol is what follows the headers that were walked: the payload's protocol at the end.
func (w *IPv6ExtensionWalker) Protocol() uint8 { return w.protocol }

// Offset is where that begins in the bytes that are walked.
func (w *IPv6ExtensionWalker) Offset() int { return w.offset }

// NextHeaderOffset is the place of the byte that names Protocol in the bytes that are walked; -1:
// it is the fixed header's. A parameter problem for an unknown protocol points there.
func (w *IPv6ExtensionWalker) NextHeaderOffset() int { return w.naming }

// Malformed says that the walk ended at Offset before a header that is not complete.
func (w *IPv6ExtensionWalker) Malformed() bool { return w.malformed }

// IPv6Options is a view of a hop-by-hop or destination options header (RFC 8200 sections 4.3 and
// 4.6).
type IPv6Options []byte

// Valid says whether the header lies in the view.
func (h IPv6Options) Valid() bool {
	return len(h) >= IPv6ExtensionMinimumSize && h.HeaderLength() <= len(h)
}

// NextHeader is the protocol of what follows.
func (h IPv6Options) NextHeader() uint8 { return h[0] }

// HeaderLength is the header's size in bytes.
func (h IPv6Options) HeaderLength() int { return (int(h[1]) + 1) * 8 }

// Options is the bytes of the options; see WalkIPv6Options. They begin at offset 2.
func (h IPv6Options) Options() []byte { return h[2:h.HeaderLength()] }

// SetNextHeader sets the protocol of what follows.
func (h IPv6Options) SetNextHeader(p uint8) { h[0] = p }

// IPv6OptionsLength is the size of the header that Encode writes for n bytes of options.
func IPv6OptionsLength(n int) int { return (2 + n + 7) &^ 7 }

// Encode writes a header with the options, padded, and returns its size in bytes. At most 2046
// bytes of options fit.
func (h IPv6Options) Encode(next uint8, options []byte) int {
	n := IPv6OptionsLength(len(options))
	_ = h[n-1]
	h[0], h[1] = next, uint8(n/8-1)
	pad := h[2+copy(h[2:n], options) : n]
	clear(pad) // a single byte is IPv6OptionPad1
	if len(pad) > 1 {
		pad[0], pad[1] = IPv6OptionPadN, uint8(len(pad)-2)
	}
	return n
}

// IPv6OptionWalker goes through the options of a header, padding left out.
type IPv6OptionWalker struct {
	all       []byte
	next      int
	malformed bool

	// Type is that of the current option, Offset its place in the bytes that are walked.
	Type   uint8
	Offset int
	// Data is the option's data, without type and length.
	Data []byte
}

// WalkIPv6Options begins a walk over b, which IPv6Options.Options returned.
func WalkIPv6Options(b []byte) IPv6OptionWalker { return IPv6OptionWalker{all: b} }

// Next goes on to the next option and says whether there is one.
func (w *IPv6OptionWalker) Next() bool {
	for w.next < len(w.all) && !w.malformed {
		rest := w.all[w.next:]
		w.Offset = w.next
		if rest[0] == IPv6OptionPad1 {
			w.next++
			continue
		}
		if len(rest) < 2 || 2+int(rest[1]) > len(rest) {
			w.malformed = true
			return false
		}
		n := 2 + int(rest[1])
		w.next += n
		if rest[0] == IPv6OptionPadN {
			continue
		}
		w.Type, w.Data = rest[0], rest[2:n:n]
		return true
	}
	return false
}

// Malformed says that the walk ended early at Offset, at an option that is not complete.
func (w *IPv6OptionWalker) Malformed() bool { return w.malformed }

// Action is what a node that does not know the current option has to do: IPv6OptionAction….
func (w *IPv6OptionWalker) Action() uint8 { return w.Type >> 6 }

// IPv6Routing is a view of a routing header (RFC 8200 section 4.4).
type IPv6Routing []byte

// Valid says whether the header lies in the view.
func (h IPv6Routing) Valid() bool {
	return len(h) >= IPv6ExtensionMinimumSize && h.HeaderLength() <= len(h)
}

// NextHeader is the protocol of what follows.
func (h IPv6Routing) NextHeader() uint8 { return h[0] }

// HeaderLength is the header's size in bytes.
func (h IPv6Routing) HeaderLength() int { return (int(h[1]) + 1) * 8 }

// RoutingType is IPv6Routing….
func (h IPv6Routing) RoutingType() uint8 { return h[2] }

// SegmentsLeft is how many nodes are still to be visited. A header of unknown type is skipped if
// it is 0 and is an error otherwise.
func (h IPv6Routing) SegmentsLeft() uint8 { return h[3] }

// Data is the bytes behind SegmentsLeft, which depend on the type.
func (h IPv6Routing) Data() []byte { return h[4:h.HeaderLength()] }

// SetNextHeader sets the protocol of what follows.
func (h IPv6Routing) SetNextHeader(p uint8) { h[0] = p }

// SetSegmentsLeft sets how many nodes are still to be visited.
func (h IPv6Routing) SetSegmentsLeft(n uint8) { h[3] = n }

// Encode writes a routing header of 4+len(data) bytes, a multiple of 8.
func (h IPv6Routing) Encode(next, routingType, segmentsLeft uint8, data []byte) {
	n := 4 + len(data)
	_ = h[n-1]
	h[0], h[1], h[2], h[3] = next, uint8(n/8-1), routingType, segmentsLeft
	copy(h[4:], data)
}

// IPv6Fragment is a view of a fragment header (RFC 8200 section 4.5).
type IPv6Fragment []byte

// IPv6FragmentFields are the fields of a fragment header.
type IPv6FragmentFields struct {
	NextHeader uint8
	// Offset is in bytes, a multiple of 8.
	Offset        uint16
	MoreFragments bool
	ID            uint32
}

// Valid says whether the header lies in the view.
func (h IPv6Fragment) Valid() bool { return len(h) >= IPv6FragmentSize }

// NextHeader is the protocol of the fragmented part's first header.
func (h IPv6Fragment) NextHeader() uint8 { return h[0] }

// Offset is the place of what follows in the fragmented part in bytes.
func (h IPv6Fragment) Offset() uint16 { return be.Uint16(h[2:]) &^ 7 }

// MoreFragments says that this is not the last fragment.
func (h IPv6Fragment) MoreFragments() bool { return h[3]&1 != 0 }

// IsAtomic says that the packet is its only fragment (RFC 6946).
func (h IPv6Fragment) IsAtomic() bool { return be.Uint16(h[2:])&^6 == 0 }

// ID is what the fragments of a packet share.
func (h IPv6Fragment) ID() uint32 { return be.Uint32(h[4:]) }

// SetNextHeader sets the protocol of the fragmented part's first header.
func (h IPv6Fragment) SetNextHeader(p uint8) { h[0] = p }

// SetFragment sets the offset in bytes, a multiple of 8, and whether more fragments follow.
func (h IPv6Fragment) SetFragment(offset uint16, more bool) {
	v := offset &^ 7
	if more {
		v |= 1
	}
	be.PutUint16(h[2:], v)
}

// SetID sets what the fragments of a packet share.
func (h IPv6Fragment) SetID(id uint32) { be.PutUint32(h[4:], id) }

// Encode writes the header.
func (h IPv6Fragment) Encode(f IPv6FragmentFields) {
	_ = h[IPv6FragmentSize-1]
	h[0], h[1] = f.NextHeader, 0
	h.SetFragment(f.Offset, f.MoreFragments)
	h.SetID(f.ID)
}
