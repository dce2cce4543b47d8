package header

import "runsc/pkg/tcpip"

// EthernetSize is the size of an Ethernet II header, without a VLAN tag or preamble.
const EthernetSize = 14

// Ethernet is a view of an Ethernet II header (RFC 894).
type Ethernet []byte

// EthernetFields are the fields of an Ethernet header.
type EthernetFields struct {
	Source, Destination tcpip.LinkAddress
	Type                uint16
}

// Valid says whether the header is complete.
func (h Ethernet) Valid() bool { return len(h) >= EthernetSize }

// Destination is the station that the frame is for.
func (h Ethernet) Destination() tcpip.LinkAddress { return tcpip.LinkAddress(h[0:6]) }

// Source is the station that sent the frame.
func (h Ethernet) Source() tcpip.LinkAddress { return tcpip.LinkAddress(h[6:12]) }

// Type is an EtherType, or a length if it is less than EtherTypeMinimum.
func (h Ethernet) Type() uint16 { return be.Uint16(h[12:]) }

// Payload is what follows the header in the view, padding included.
func (h Ethernet) Payload() []byte { return h[EthernetSize:] }

// SetDestination sets the station that the frame is for.
func (h Ethernet) SetDestination(a tcpip.LinkAddress) { copy(h[0:6], a[:]) }

// SetSource sets the station that sends the frame.
func (h Ethernet) SetSource(a tcpip.LinkAddress) { copy(h[6:12], a[:]) }

// SetType sets the EtherType.
func (h Ethernet) SetType(t uint16) { be.PutUint16(h[12:], t) }

// Encode writes the header.
func (h Ethernet) Encode(f EthernetFields) {
	_ = h[EthernetSize-1]
	h.SetDestination(f.Destination)
	h.SetSource(f.Source)
	h.SetType(f.Type)
}
