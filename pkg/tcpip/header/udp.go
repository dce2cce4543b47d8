package header

import "runsc/pkg/tcpip/checksum"

// UDPSize is the size of a UDP header.
const UDPSize = 8

// UDP is a view of a UDP header (RFC 768).
type UDP []byte

// UDPFields are the fields of a UDP header.
type UDPFields struct {
	SourcePort, DestinationPort uint16
	// Length is that of header and payload in bytes.
	Length uint16
}

// Valid says whether the header lies in the view and its length agrees with size, the bytes of the
// datagram from here on. A length of 0 is that of a jumbogram over IPv6 and means size (RFC 2675
// section 4); over IPv4 it is an error.
func (h UDP) Valid(size int, v6 bool) bool {
	if len(h) < UDPSize || size < UDPSize {
		return false
	}
	n := int(h.Length())
	return n >= UDPSize && n <= size || n == 0 && v6
}

// SourcePort is the sender's port; 0: no answer is expected.
func (h UDP) SourcePort() uint16 { return be.Uint16(h[0:]) }

// DestinationPort is the receiver's port.
func (h UDP) DestinationPort() uint16 { return be.Uint16(h[2:]) }

// Length is the length field: header and payload in bytes, or 0.
func (h UDP) Length() uint16 { return be.Uint16(h[4:]) }

// DatagramLength is the length of header and payload in bytes, given the size that Valid had.
func (h UDP) DatagramLength(size int) int {
	if n := int(h.Length()); n != 0 {
		return n
	}
	return size
}

// Checksum is the checksum field; 0: the sender did not compute one.
func (h UDP) Checksum() uint16 { return be.Uint16(h[6:]) }

// Payload is the part of the payload that lies in the view, without padding behind it.
func (h UDP) Payload() []byte { return h[UDPSize:min(h.DatagramLength(len(h)), len(h))] }

// SetSourcePort sets the sender's port. The checksum is not updated.
func (h UDP) SetSourcePort(p uint16) { be.PutUint16(h[0:], p) }

// SetDestinationPort sets the receiver's port. The checksum is not updated.
func (h UDP) SetDestinationPort(p uint16) { be.PutUint16(h[2:], p) }

// SetLength sets the length of header and payload in bytes.
func (h UDP) SetLength(n uint16) { be.PutUint16(h[4:], n) }

// SetChecksumField sets the checksum field to the value.
func (h UDP) SetChecksumField(sum uint16) { be.PutUint16(h[6:], sum) }

// SetChecksum computes the checksum and stores it. partial is the sum of the pseudo-header and of
// the payload that is not in the view. A sum of 0 is stored as 0xffff, since 0 is none.
func (h UDP) SetChecksum(partial uint32) {
	h.SetChecksumField(0)
	sum := checksum.Finish(checksum.Sum(h, partial))
	if sum == 0 {
		sum = 0xffff
	}
	h.SetChecksumField(sum)
}

// ChecksumOK says whether the checksum is right, with partial as for SetChecksum. That there may be
// none (over IPv4, RFC 1122 section 4.1.3.4) is the caller's matter.
func (h UDP) ChecksumOK(partial uint32) bool { return checksum.OK(checksum.Sum(h, partial)) }

// Encode writes the header with a checksum of 0.
func (h UDP) Encode(f UDPFields) {
	_ = h[UDPSize-1]
	h.SetSourcePort(f.SourcePort)
	h.SetDestinationPort(f.DestinationPort)
	h.SetLength(f.Length)
	h.SetChecksumField(0)
}
