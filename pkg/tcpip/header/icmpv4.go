package header

import (
	"net/netip"

	"runsc/pkg/tcpip/checksum"
)

// ICMPv4Size is the size of the header that all ICMP messages begin with.
const ICMPv4Size = 8

// Types of ICMP messages (RFC 792, RFC 1256, RFC 1122 section 3.2.2).
const (
	ICMPv4EchoReply         = 0
	ICMPv4Unreachable       = 3
	ICMPv4SourceQuench      = 4
	ICMPv4Redirect          = 5
	ICMPv4Echo              = 8
	ICMPv4RouterAdvert      = 9
	ICMPv4RouterSolicit     = 10
	ICMPv4TimeExceeded      = 11
	ICMPv4ParameterProblem  = 12
	ICMPv4TimestampRequest  = 13
	ICMPv4TimestampReply    = 14
	ICMPv4InfoRequest       = 15
	ICMPv4InfoReply         = 16
	ICMPv4AddressMask       = 17
	ICMPv4AddressMaskReply  = 18
	ICMPv4TimestampFullSize = 20
)

// Codes of ICMPv4Unreachable (RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1).
const (
	ICMPv4NetUnreachable       = 0
	ICMPv4HostUnreachable      = 1
	ICMPv4ProtocolUnreachable  = 2
	ICMPv4PortUnreachable      = 3
	ICMPv4FragmentationNeeded  = 4
	ICMPv4SourceRouteFailed    = 5
	ICMPv4NetUnknown           = 6
	ICMPv4HostUnknown          = 7
	ICMPv4HostIsolated         = 8
	ICMPv4NetProhibited        = 9
	ICMPv4HostProhibited       = 10
	ICMPv4NetUnreachableTOS    = 11
	ICMPv4HostUnreachableTOS   = 12
	ICMPv4AdminProhibited      = 13
	ICMPv4PrecedenceViolation  = 14
	ICMPv4PrecedenceCutoff     = 15
	ICMPv4TTLExceeded          = 0 // of ICMPv4TimeExceeded
	ICMPv4ReassemblyTimeout    = 1
	ICMPv4PointerIndicatesFail = 0 // of ICMPv4ParameterProblem
	ICMPv4OptionMissing        = 1
	ICMPv4BadLength            = 2
	ICMPv4RedirectNet          = 0 // of ICMPv4Redirect
	ICMPv4RedirectHost         = 1
)

// ICMPv4 is a view of an ICMP message (RFC 792).
type ICMPv4 []byte

// ICMPv4Fields are the fields of an ICMP header.
type ICMPv4Fields struct {
	Type, Code uint8
	// Rest is the four bytes whose meaning depends on the type, in network order. See the
	// setters.
	Rest [4]byte
}

// Valid says whether the header is complete.
func (h ICMPv4) Valid() bool { return len(h) >= ICMPv4Size }

// Type is ICMPv4Echo and so on.
func (h ICMPv4) Type() uint8 { return h[0] }

// Code says more about the type.
func (h ICMPv4) Code() uint8 { return h[1] }

// IsError says that the message tells of another packet, whose front is the payload. Nothing must
// be sent in answer to errors (RFC 1122 section 3.2.2).
func (h ICMPv4) IsError() bool {
	switch h.Type() {
	case ICMPv4Unreachable, ICMPv4SourceQuench, ICMPv4Redirect, ICMPv4TimeExceeded, ICMPv4ParameterProblem:
		return true
	}
	return false
}

// Checksum is the checksum field.
func (h ICMPv4) Checksum() uint16 { return be.Uint16(h[2:]) }

// Ident is an echo's or timestamp's identifier.
func (h ICMPv4) Ident() uint16 { return be.Uint16(h[4:]) }

// Sequence is an echo's or timestamp's sequence number.
func (h ICMPv4) Sequence() uint16 { return be.Uint16(h[6:]) }

// MTU is that of the next hop for ICMPv4FragmentationNeeded, 0 from old routers (RFC 1191 section
// 4).
func (h ICMPv4) MTU() uint16 { return be.Uint16(h[6:]) }

// Pointer is the offset of the fault for ICMPv4ParameterProblem.
func (h ICMPv4) Pointer() uint8 { return h[4] }

// Gateway is the better router of ICMPv4Redirect.
func (h ICMPv4) Gateway() netip.Addr { return get4(h[4:8]) }

// Payload is what follows the header: an echo's data, or the front of the packet in error.
func (h ICMPv4) Payload() []byte { return h[ICMPv4Size:] }

// SetType sets the type.
func (h ICMPv4) SetType(t uint8) { h[0] = t }

// SetCode sets the code.
func (h ICMPv4) SetCode(c uint8) { h[1] = c }

// SetIdent sets an echo's identifier.
func (h ICMPv4) SetIdent(id uint16) { be.PutUint16(h[4:], id) }

// SetSequence sets an echo's sequence number.
func (h ICMPv4) SetSequence(n uint16) { be.PutUint16(h[6:], n) }

// SetMTU sets the MTU of the next hop.
func (h ICMPv4) SetMTU(mtu uint16) { be.PutUint16(h[6:], mtu) }

// SetPointer sets the offset of the fault.
func (h ICMPv4) SetPointer(p uint8) { h[4] = p }

// SetGateway sets the better router.
func (h ICMPv4) SetGateway(a netip.Addr) { put4(h[4:8], a) }

// SetChecksumField sets the checksum field to the value.
func (h ICMPv4) SetChecksumField(sum uint16) { be.PutUint16(h[2:], sum) }

// SetChecksum computes the checksum and stores it. partial is the sum of the payload that is not
// in the view; there is no pseudo-header.
func (h ICMPv4) SetChecksum(partial uint32) {
	h.SetChecksumField(0)
	h.SetChecksumField(checksum.Finish(checksum.Sum(h, partial)))
}

// ChecksumOK says whether the checksum is right, with partial as for SetChecksum.
func (h ICMPv4) ChecksumOK(partial uint32) bool { return checksum.OK(checksum.Sum(h, partial)) }

// Encode writes the header with a checksum of 0.
func (h ICMPv4) Encode(f ICMPv4Fields) {
	_ = h[ICMPv4Size-1]
	h[0], h[1] = f.Type, f.Code
	h.SetChecksumField(0)
	copy(h[4:], f.Rest[:])
}

// ICMPv4Timestamp is a view of a timestamp request or reply (RFC 792 page 16). Times are
// milliseconds since midnight UT.
type ICMPv4Timestamp []byte

// Valid says whether the message is complete.
func (h ICMPv4Timestamp) Valid() bool { return len(h) >= ICMPv4TimestampFullSize }

// Originate is when the sender sent the request.
func (h ICMPv4Timestamp) Originate() uint32 { return be.Uint32(h[8:]) }

// Receive is when the request arrived.
func (h ICMPv4Timestamp) Receive() uint32 { return be.Uint32(h[12:]) }

// Transmit is when the reply was sent.
func (h ICMPv4Timestamp) Transmit() uint32 { return be.Uint32(h[16:]) }

// SetTimes sets the three times.
func (h ICMPv4Timestamp) SetTimes(originate, receive, transmit uint32) {
	_ = h[ICMPv4TimestampFullSize-1]
	be.PutUint32(h[8:], originate)
	be.PutUint32(h[12:], receive)
	be.PutUint32(h[16:], transmit)
}
