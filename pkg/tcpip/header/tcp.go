package header

import "runsc/pkg/tcpip/checksum"

// Sizes of TCP headers in bytes (RFC 9293 section 3.1).
const (
	TCPMinimumSize    = 20
	TCPMaximumSize    = 60
	TCPOptionsMaximum = TCPMaximumSize - TCPMinimumSize
	// TCPDefaultMSS4 and TCPDefaultMSS6 are what a peer takes that names no MSS (RFC 9293
	// section 3.7.1).
	TCPDefaultMSS4 = 536
	TCPDefaultMSS6 = 1220
)

// TCPFlags are the control bits (RFC 9293 section 3.1, RFC 3168 section 6.1).
type TCPFlags uint8

// The control bits.
const (
	TCPFlagFin TCPFlags = 1 << iota
	TCPFlagSyn
	TCPFlagRst
	TCPFlagPsh
	TCPFlagAck
	TCPFlagUrg
	TCPFlagEce
	TCPFlagCwr
)

// Has says whether all of mask are set.
func (f TCPFlags) Has(mask TCPFlags) bool { return f&mask == mask }

// String is a letter per flag, as in "SA" or ".": FSRPAUEC.
func (f TCPFlags) String() string {
	if f == 0 {
		return "."
	}
	var b [8]byte
	n := 0
	for i := range 8 {
		if f&(1<<i) != 0 {
			b[n] = "FSRPAUEC"[i]
			n++
		}
	}
	return string(b[:n])
}

// TCP is a view of a TCP header (RFC 9293 section 3.1).
type TCP []byte

// TCPFields are the fields of a TCP header.
type TCPFields struct {
	SourcePort, DestinationPort uint16
	Sequence, Acknowledgment    uint32
	// HeaderLength is in bytes, a multiple of four; 0: TCPMinimumSize. The options are the
	// caller's to write, at TCPMinimumSize (TCPOptions.Encode).
	HeaderLength int
	Flags        TCPFlags
	// Window is the field, not yet scaled.
	Window, UrgentPointer uint16
}

// Valid says whether the header with its options lies in the view.
func (h TCP) Valid() bool {
	if len(h) < TCPMinimumSize {
		return false
	}
	n := h.HeaderLength()
	return n >= TCPMinimumSize && n <= len(h)
}

// SourcePort is the sender's port.
func (h TCP) SourcePort() uint16 { return be.Uint16(h[0:]) }

// DestinationPort is the receiver's port.
func (h TCP) DestinationPort() uint16 { return be.Uint16(h[2:]) }

// Sequence is the number of the first byte of the payload, or of SYN.
func (h TCP) Sequence() uint32 { return be.Uint32(h[4:]) }

// Acknowledgment is the number of the byte that is expected next, if TCPFlagAck is set.
func (h TCP) Acknowledgment() uint32 { return be.Uint32(h[8:]) }

// HeaderLength is the header's size in bytes, options included.
func (h TCP) HeaderLength() int { return int(h[12]>>4) * 4 }

// Flags are the control bits.
func (h TCP) Flags() TCPFlags { return TCPFlags(h[13]) }

// Window is the window field, not scaled.
func (h TCP) Window() uint16 { return be.Uint16(h[14:]) }

// Checksum is the checksum field.
func (h TCP) Checksum() uint16 { return be.Uint16(h[16:]) }

// UrgentPointer is an offset from Sequence, if TCPFlagUrg is set.
func (h TCP) UrgentPointer() uint16 { return be.Uint16(h[18:]) }

// Options are the bytes of the options, padding included; see ParseOptions.
func (h TCP) Options() []byte { return h[TCPMinimumSize:h.HeaderLength()] }

// Payload is what follows the header in the view.
func (h TCP) Payload() []byte { return h[h.HeaderLength():] }

// SetSourcePort sets the sender's port. The checksum is not updated.
func (h TCP) SetSourcePort(p uint16) { be.PutUint16(h[0:], p) }

// SetDestinationPort sets the receiver's port. The checksum is not updated.
func (h TCP) SetDestinationPort(p uint16) { be.PutUint16(h[2:], p) }

// SetSequence sets the number of the first byte.
func (h TCP) SetSequence(n uint32) { be.PutUint32(h[4:], n) }

// SetAcknowledgment sets the number of the byte that is expected next.
func (h TCP) SetAcknowledgment(n uint32) { be.PutUint32(h[8:], n) }

// SetHeaderLength sets the header's size in bytes, a multiple of four.
func (h TCP) SetHeaderLength(n int) { h[12] = uint8(n/4) << 4 }

// SetFlags sets the control bits.
func (h TCP) SetFlags(f TCPFlags) { h[13] = uint8(f) }

// SetWindow sets the window field.
func (h TCP) SetWindow(w uint16) { be.PutUint16(h[14:], w) }

// SetUrgentPointer sets the urgent pointer.
func (h TCP) SetUrgentPointer(p uint16) { be.PutUint16(h[18:], p) }

// SetChecksumField sets the checksum field to the value.
func (h TCP) SetChecksumField(sum uint16) { be.PutUint16(h[16:], sum) }

// SetChecksum computes the checksum and stores it. partial is the sum of the pseudo-header and of
// the payload that is not in the view.
func (h TCP) SetChecksum(partial uint32) {
	h.SetChecksumField(0)
	h.SetChecksumField(checksum.Finish(checksum.Sum(h, partial)))
}

// ChecksumOK says whether the checksum is right, with partial as for SetChecksum.
func (h TCP) ChecksumOK(partial uint32) bool { return checksum.OK(checksum.Sum(h, partial)) }

// Encode writes the fixed header with a checksum of 0, and leaves the options alone.
func (h TCP) Encode(f TCPFields) {
	n := max(f.HeaderLength, TCPMinimumSize)
	_ = h[n-1]
	h.SetSourcePort(f.SourcePort)
	h.SetDestinationPort(f.DestinationPort)
	h.SetSequence(f.Sequence)
	h.SetAcknowledgment(f.Acknowledgment)
	h.SetHeaderLength(n)
	h.SetFlags(f.Flags)
	h.SetWindow(f.Window)
	h.SetChecksumField(0)
	h.SetUrgentPointer(f.UrgentPointer)
}
