package header

import (
	"net/netip"

	"runsc/pkg/tcpip/checksum"
)

// Sizes of IPv4 in bytes (RFC 791 section 3.1).
const (
	IPv4MinimumSize  = 20
	IPv4MaximumSize  = 60
	IPv4MaximumTotal = 65535
	// IPv4MinimumMTU is the least MTU of a link (RFC 791 section 3.2); IPv4MinimumReassembly
	// what every host accepts (RFC 1122 section 3.3.2).
	IPv4MinimumMTU        = 68
	IPv4MinimumReassembly = 576
)

// Bits of the byte that IPv4Fields.Flags and IPv4.Flags have, the upper three of the 16-bit field
// shifted down.
const (
	IPv4FlagMoreFragments = 1
	IPv4FlagDontFragment  = 2
)

// IPv4 is a view of an IPv4 header (RFC 791).
type IPv4 []byte

// IPv4Fields are the fields of an IPv4 header.
type IPv4Fields struct {
	TOS uint8
	// TotalLength is that of header and payload in bytes.
	TotalLength uint16
	ID          uint16
	Flags       uint8
	// FragmentOffset is in bytes, a multiple of 8.
	FragmentOffset uint16
	TTL, Protocol  uint8
	Source         netip.Addr
	Destination    netip.Addr
	// Options are at most 40 bytes; Encode pads them to a multiple of four.
	Options []byte
}

// HeaderLength is the size in bytes that Encode writes.
func (f *IPv4Fields) HeaderLength() int { return IPv4MinimumSize + (len(f.Options)+3)&^3 }

// Valid says whether the header lies in the view and the lengths agree with each other and with
// size, the bytes of the packet from here on. size may be more than TotalLength (padding).
func (h IPv4) Valid(size int) bool {
	if len(h) < IPv4MinimumSize || h[0]>>4 != 4 {
		return false
	}
	n, total := h.HeaderLength(), int(h.TotalLength())
	return n >= IPv4MinimumSize && n <= len(h) && n <= total && total <= size
}

// HeaderLength is the header's size in bytes, options included.
func (h IPv4) HeaderLength() int { return int(h[0]&0xf) * 4 }

// TOS is the type of service: DSCP and ECN.
func (h IPv4) TOS() uint8 { return h[1] }

// ECN is the congestion bits of TOS.
func (h IPv4) ECN() uint8 { return h[1] & ECNMask }

// TotalLength is the packet's size in bytes, header included.
func (h IPv4) TotalLength() uint16 { return be.Uint16(h[2:]) }

// PayloadLength is the size of what follows the header in bytes.
func (h IPv4) PayloadLength() int { return int(h.TotalLength()) - h.HeaderLength() }

// ID is the identification that fragments of a packet share.
func (h IPv4) ID() uint16 { return be.Uint16(h[4:]) }

// Flags are IPv4FlagMoreFragments and IPv4FlagDontFragment.
func (h IPv4) Flags() uint8 { return h[6] >> 5 }

// MoreFragments says that this is a fragment and not the last.
func (h IPv4) MoreFragments() bool { return h.Flags()&IPv4FlagMoreFragments != 0 }

// DontFragment says that routers must not cut the packet.
func (h IPv4) DontFragment() bool { return h.Flags()&IPv4FlagDontFragment != 0 }

// FragmentOffset is the place of this payload in the whole one in bytes.
func (h IPv4) FragmentOffset() uint16 { return be.Uint16(h[6:]) << 3 }

// IsFragment says that this is a part of a packet only.
func (h IPv4) IsFragment() bool { return be.Uint16(h[6:])&0x3fff != 0 }

// TTL is how many more hops the packet may make.
func (h IPv4) TTL() uint8 { return h[8] }

// Protocol is that of the payload.
func (h IPv4) Protocol() uint8 { return h[9] }

// Checksum is the checksum field.
func (h IPv4) Checksum() uint16 { return be.Uint16(h[10:]) }

// Source is the sender's address.
func (h IPv4) Source() netip.Addr { return get4(h[12:16]) }

// Destination is the receiver's address.
func (h IPv4) Destination() netip.Addr { return get4(h[16:20]) }

// Options are the bytes behind the fixed header, padding included; see WalkIPv4Options.
func (h IPv4) Options() []byte { return h[IPv4MinimumSize:h.HeaderLength()] }

// Payload is the part of the payload that lies in the view, without padding behind it.
func (h IPv4) Payload() []byte {
	return h[h.HeaderLength():min(int(h.TotalLength()), len(h))]
}

// SetHeaderLength sets the header's size in bytes, a multiple of four, and the version.
func (h IPv4) SetHeaderLength(n int) { h[0] = 4<<4 | uint8(n/4) }

// SetTOS sets DSCP and ECN.
func (h IPv4) SetTOS(tos uint8) { h[1] = tos }

// SetECN sets the congestion bits of TOS. The checksum is not updated.
func (h IPv4) SetECN(ecn uint8) { h[1] = h[1]&^ECNMask | ecn&ECNMask }

// SetTotalLength sets the packet's size in bytes.
func (h IPv4) SetTotalLength(n uint16) { be.PutUint16(h[2:], n) }

// SetID sets the identification.
func (h IPv4) SetID(id uint16) { be.PutUint16(h[4:], id) }

// SetFragment sets the flags and the offset in bytes, a multiple of 8.
func (h IPv4) SetFragment(flags uint8, offset uint16) {
	be.PutUint16(h[6:], uint16(flags)<<13|offset>>3)
}

// SetTTL sets the number of hops. The checksum is not updated: see DecrementTTL.
func (h IPv4) SetTTL(ttl uint8) { h[8] = ttl }

// DecrementTTL is what a router does: one hop less and the checksum adjusted (RFC 1812 section
// 5.3.1). The TTL must not be 0.
func (h IPv4) DecrementTTL() {
	old := be.Uint16(h[8:])
	h[8]--
	h.SetChecksumField(checksum.Update16(h.Checksum(), old, be.Uint16(h[8:])))
}

// SetProtocol sets the payload's protocol.
func (h IPv4) SetProtocol(p uint8) { h[9] = p }

// SetChecksumField sets the checksum field to the value.
func (h IPv4) SetChecksumField(sum uint16) { be.PutUint16(h[10:], sum) }

// SetSource sets the sender's address.
func (h IPv4) SetSource(a netip.Addr) { put4(h[12:16], a) }

// SetDestination sets the receiver's address.
func (h IPv4) SetDestination(a netip.Addr) { put4(h[16:20], a) }

// UpdateChecksum computes the header's checksum and stores it.
func (h IPv4) UpdateChecksum() {
	h.SetChecksumField(0)
	h.SetChecksumField(checksum.Finish(checksum.Sum(h[:h.HeaderLength()], 0)))
}

// ChecksumOK says whether the header's checksum is right.
func (h IPv4) ChecksumOK() bool { return checksum.OK(checksum.Sum(h[:h.HeaderLength()], 0)) }

// PseudoHeader is the partial sum of the transport's pseudo-header with this header's addresses, as
// checksum.PseudoHeader but faster. length is that of the transport header and payload in bytes. With
// a source route option the last address of the route counts, which this does not know.
func (h IPv4) PseudoHeader(protocol uint8, length uint32) uint32 {
	return checksum.Sum(h[12:20], length>>16+length&0xffff+uint32(protocol))
}

// Encode writes the header with its options and checksum.
func (h IPv4) Encode(f IPv4Fields) {
	n := f.HeaderLength()
	_ = h[n-1]
	h.SetHeaderLength(n)
	h.SetTOS(f.TOS)
	h.SetTotalLength(f.TotalLength)
	h.SetID(f.ID)
	h.SetFragment(f.Flags, f.FragmentOffset)
	h.SetTTL(f.TTL)
	h.SetProtocol(f.Protocol)
	h.SetSource(f.Source)
	h.SetDestination(f.Destination)
	k := copy(h[IPv4MinimumSize:n], f.Options)
	clear(h[IPv4MinimumSize+k : n]) // IPv4OptionEnd
	h.UpdateChecksum()
}
