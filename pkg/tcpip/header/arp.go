package header

import (
	"net/netip"

	"runsc/pkg/tcpip"
)

// ARPSize is the size of a packet that maps IPv4 to Ethernet addresses.
const ARPSize = 28

// Operations and the hardware type (RFC 826, IANA arp-parameters).
const (
	ARPRequest          = 1
	ARPReply            = 2
	ARPHardwareEthernet = 1
)

// ARP is a view of an ARP packet for IPv4 over Ethernet (RFC 826).
type ARP []byte

// ARPFields are the fields of an ARP packet.
type ARPFields struct {
	Operation              uint16
	SenderLink, TargetLink tcpip.LinkAddress
	SenderIP, TargetIP     netip.Addr
}

// Valid says whether the packet is complete and of IPv4 over Ethernet. Any operation is valid.
func (h ARP) Valid() bool {
	return len(h) >= ARPSize && be.Uint16(h) == ARPHardwareEthernet &&
		be.Uint16(h[2:]) == EtherTypeIPv4 && h[4] == 6 && h[5] == 4
}

// Operation is ARPRequest or ARPReply, or something that nobody answers.
func (h ARP) Operation() uint16 { return be.Uint16(h[6:]) }

// SenderLink is the sender's link address.
func (h ARP) SenderLink() tcpip.LinkAddress { return tcpip.LinkAddress(h[8:14]) }

// SenderIP is the sender's IPv4 address; unspecified in a probe (RFC 5227 section 2.1.1).
func (h ARP) SenderIP() netip.Addr { return get4(h[14:18]) }

// TargetLink is the target's link address; meaningless in a request.
func (h ARP) TargetLink() tcpip.LinkAddress { return tcpip.LinkAddress(h[18:24]) }

// TargetIP is the address that is asked for.
func (h ARP) TargetIP() netip.Addr { return get4(h[24:28]) }

// SetOperation sets the operation.
func (h ARP) SetOperation(op uint16) { be.PutUint16(h[6:], op) }

// SetSenderLink sets the sender's link address.
func (h ARP) SetSenderLink(a tcpip.LinkAddress) { copy(h[8:14], a[:]) }

// SetSenderIP sets the sender's IPv4 address.
func (h ARP) SetSenderIP(a netip.Addr) { put4(h[14:18], a) }

// SetTargetLink sets the target's link address.
func (h ARP) SetTargetLink(a tcpip.LinkAddress) { copy(h[18:24], a[:]) }

// SetTargetIP sets the target's IPv4 address.
func (h ARP) SetTargetIP(a netip.Addr) { put4(h[24:28], a) }

// Encode writes the packet.
func (h ARP) Encode(f ARPFields) {
	_ = h[ARPSize-1]
	be.PutUint16(h, ARPHardwareEthernet)
	be.PutUint16(h[2:], EtherTypeIPv4)
	h[4], h[5] = 6, 4
	h.SetOperation(f.Operation)
	h.SetSenderLink(f.SenderLink)
	h.SetSenderIP(f.SenderIP)
	h.SetTargetLink(f.TargetLink)
	h.SetTargetIP(f.TargetIP)
}
