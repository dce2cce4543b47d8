package header

import "runsc/pkg/tcpip/checksum"

// ICMPv6Size is the size of the header that errors, echoes and group messages begin with.
const ICMPv6Size = 8

// Types of ICMPv6 messages (RFC 4443 section 2.1, RFC 4861 section 4, RFC 2710, RFC 3810). Types
// below 128 are errors.
const (
	ICMPv6Unreachable      = 1
	ICMPv6PacketTooBig     = 2
	ICMPv6TimeExceeded     = 3
	ICMPv6ParameterProblem = 4
	ICMPv6EchoRequest      = 128
	ICMPv6EchoReply        = 129
	ICMPv6MLDQuery         = 130
	ICMPv6MLDReport        = 131
	ICMPv6MLDDone          = 132
	ICMPv6RouterSolicit    = 133
	ICMPv6RouterAdvert     = 134
	ICMPv6NeighborSolicit  = 135
	ICMPv6NeighborAdvert   = 136
	ICMPv6Redirect         = 137
	ICMPv6MLDv2Report      = 143
)

// Codes of errors (RFC 4443 section 3).
const (
	ICMPv6NoRoute             = 0 // of ICMPv6Unreachable
	ICMPv6AdminProhibited     = 1
	ICMPv6BeyondScope         = 2
	ICMPv6AddressUnreachable  = 3
	ICMPv6PortUnreachable     = 4
	ICMPv6SourcePolicy        = 5
	ICMPv6RejectRoute         = 6
	ICMPv6HopLimitExceeded    = 0 // of ICMPv6TimeExceeded
	ICMPv6ReassemblyTimeout   = 1
	ICMPv6ErroneousField      = 0 // of ICMPv6ParameterProblem
	ICMPv6UnknownNextHeader   = 1
	ICMPv6UnknownOption       = 2
	ICMPv6IncompleteFirstFrag = 3 // RFC 7112
)

// ICMPv6 is a view of an ICMPv6 message (RFC 4443).
type ICMPv6 []byte

// ICMPv6Fields are the fields of an ICMPv6 header.
type ICMPv6Fields struct {
	Type, Code uint8
	// Rest is the four bytes whose meaning depends on the type, in network order. See the
	// setters.
	Rest [4]byte
}

// Valid says whether the header is complete.
func (h ICMPv6) Valid() bool { return len(h) >= ICMPv6Size }

// Type is ICMPv6EchoRequest and so on.
func (h ICMPv6) Type() uint8 { return h[0] }

// Code says more about the type.
func (h ICMPv6) Code() uint8 { return h[1] }

// IsError says that the message tells of another packet, whose front is the payload (RFC 4443
// section 2.1).
func (h ICMPv6) IsError() bool { return h[0] < 128 }

// Checksum is the checksum field.
func (h ICMPv6) Checksum() uint16 { return be.Uint16(h[2:]) }

// Ident is an echo's identifier.
func (h ICMPv6) Ident() uint16 { return be.Uint16(h[4:]) }

// Sequence is an echo's sequence number.
func (h ICMPv6) Sequence() uint16 { return be.Uint16(h[6:]) }

// MTU is that of the next hop for ICMPv6PacketTooBig.
func (h ICMPv6) MTU() uint32 { return be.Uint32(h[4:]) }

// Pointer is the offset of the fault for ICMPv6ParameterProblem.
func (h ICMPv6) Pointer() uint32 { return be.Uint32(h[4:]) }

// Payload is what follows the header: an echo's data, or the front of the packet in error.
func (h ICMPv6) Payload() []byte { return h[ICMPv6Size:] }

// SetType sets the type.
func (h ICMPv6) SetType(t uint8) { h[0] = t }

// SetCode sets the code.
func (h ICMPv6) SetCode(c uint8) { h[1] = c }

// SetIdent sets an echo's identifier.
func (h ICMPv6) SetIdent(id uint16) { be.PutUint16(h[4:], id) }

// SetSequence sets an echo's sequence number.
func (h ICMPv6) SetSequence(n uint16) { be.PutUint16(h[6:], n) }

// SetMTU sets the MTU of the next hop.
func (h ICMPv6) SetMTU(mtu uint32) { be.PutUint32(h[4:], mtu) }

// SetPointer sets the offset of the fault.
func (h ICMPv6) SetPointer(p uint32) { be.PutUint32(h[4:], p) }

// SetChecksumField sets the checksum field to the value.
func (h ICMPv6) SetChecksumField(sum uint16) { be.PutUint16(h[2:], sum) }

// SetChecksum computes the checksum and stores it. partial is the sum of the pseudo-header and of
// the payload that is not in the view. It does for all of MLD and NDP, too.
func (h ICMPv6) SetChecksum(partial uint32) {
	h.SetChecksumField(0)
	h.SetChecksumField(checksum.Finish(checksum.Sum(h, partial)))
}

// ChecksumOK says whether the checksum is right, with partial as for SetChecksum.
func (h ICMPv6) ChecksumOK(partial uint32) bool { return checksum.OK(checksum.Sum(h, partial)) }

// Encode writes the header with a checksum of 0.
func (h ICMPv6) Encode(f ICMPv6Fields) {
	_ = h[ICMPv6Size-1]
	h[0], h[1] = f.Type, f.Code
	h.SetChecksumField(0)
	copy(h[4:], f.Rest[:])
}
