package header

import (
	"net/netip"

	"runsc/pkg/tcpip/checksum"
)

// Sizes of IPv6 in bytes (RFC 8200 sections 3 and 5).
const (
	IPv6Size           = 40
	IPv6MinimumMTU     = 1280
	IPv6MaximumPayload = 65535
)

// IPv6 is a view of an IPv6 header (RFC 8200 section 3).
type IPv6 []byte

// IPv6Fields are the fields of an IPv6 header.
type IPv6Fields struct {
	TrafficClass uint8
	// FlowLabel has 20 bits.
	FlowLabel uint32
	// PayloadLength is that of all that follows the fixed header, in bytes.
	PayloadLength        uint16
	NextHeader, HopLimit uint8
	Source, Destination  netip.Addr
}

// Valid says whether the header lies in the view and the payload fits into size, the bytes of the
// packet from here on. A payload length of 0 is an empty payload: jumbograms (RFC 2675) are not
// known here.
func (h IPv6) Valid(size int) bool {
	return len(h) >= IPv6Size && h[0]>>4 == 6 && IPv6Size+int(h.PayloadLength()) <= size
}

// TrafficClass is DSCP and ECN.
func (h IPv6) TrafficClass() uint8 { return uint8(be.Uint16(h) >> 4) }

// ECN is the congestion bits of TrafficClass.
func (h IPv6) ECN() uint8 { return h.TrafficClass() & ECNMask }

// FlowLabel has 20 bits.
func (h IPv6) FlowLabel() uint32 { return be.Uint32(h) & 0xfffff }

// PayloadLength is the size of extension headers and payload in bytes.
func (h IPv6) PayloadLength() uint16 { return be.Uint16(h[4:]) }

// NextHeader is the protocol of what follows: an extension header or the payload.
func (h IPv6) NextHeader() uint8 { return h[6] }

// HopLimit is how many more hops the packet may make.
func (h IPv6) HopLimit() uint8 { return h[7] }

// Source is the sender's address.
func (h IPv6) Source() netip.Addr { return get16(h[8:24]) }

// Destination is the receiver's address.
func (h IPv6) Destination() netip.Addr { return get16(h[24:40]) }

// Payload is the part of extension headers and payload that lies in the view, without padding.
func (h IPv6) Payload() []byte {
	return h[IPv6Size:min(IPv6Size+int(h.PayloadLength()), len(h))]
}

// SetClassAndLabel sets the version, the traffic class and the flow label.
func (h IPv6) SetClassAndLabel(class uint8, label uint32) {
	be.PutUint32(h, 6<<28|uint32(class)<<20|label&0xfffff)
}

// SetTrafficClass sets DSCP and ECN.
func (h IPv6) SetTrafficClass(class uint8) { h.SetClassAndLabel(class, h.FlowLabel()) }

// SetECN sets the congestion bits of the traffic class.
func (h IPv6) SetECN(ecn uint8) { h.SetTrafficClass(h.TrafficClass()&^ECNMask | ecn&ECNMask) }

// SetFlowLabel sets the flow label of 20 bits.
func (h IPv6) SetFlowLabel(label uint32) { h.SetClassAndLabel(h.TrafficClass(), label) }

// SetPayloadLength sets the size of all that follows in bytes.
func (h IPv6) SetPayloadLength(n uint16) { be.PutUint16(h[4:], n) }

// SetNextHeader sets the protocol of what follows.
func (h IPv6) SetNextHeader(p uint8) { h[6] = p }

// SetHopLimit sets the number of hops.
func (h IPv6) SetHopLimit(n uint8) { h[7] = n }

// SetSource sets the sender's address.
func (h IPv6) SetSource(a netip.Addr) { put16(h[8:24], a) }

// SetDestination sets the receiver's address.
func (h IPv6) SetDestination(a netip.Addr) { put16(h[24:40], a) }

// PseudoHeader is the partial sum of the transport's pseudo-header with this header's addresses, as
// checksum.PseudoHeader but faster. length is that of the transport header and payload in bytes. With
// a routing header the final destination counts, which this does not know (RFC 8200 section 8.1).
func (h IPv6) PseudoHeader(protocol uint8, length uint32) uint32 {
	return checksum.Sum(h[8:40], length>>16+length&0xffff+uint32(protocol))
}

// Encode writes the header.
func (h IPv6) Encode(f IPv6Fields) {
	_ = h[IPv6Size-1]
	h.SetClassAndLabel(f.TrafficClass, f.FlowLabel)
	h.SetPayloadLength(f.PayloadLength)
	h.SetNextHeader(f.NextHeader)
	h.SetHopLimit(f.HopLimit)
	h.SetSource(f.Source)
	h.SetDestination(f.Destination)
}
