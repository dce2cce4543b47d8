package header

// Ethernet types (IEEE 802 numbers, RFC 9542 appendix B).
const (
	EtherTypeIPv4 = 0x0800
	EtherTypeARP  = 0x0806
	EtherTypeVLAN = 0x8100
	EtherTypeIPv6 = 0x86dd
	// EtherTypeMinimum is the least value that is a type; smaller ones are 802.3 lengths.
	EtherTypeMinimum = 0x0600
)

// Protocol numbers of IPv4's protocol and IPv6's next header field (IANA).
const (
	ProtocolHopByHop    = 0
	ProtocolICMPv4      = 1
	ProtocolIGMP        = 2
	ProtocolIPv4        = 4
	ProtocolTCP         = 6
	ProtocolUDP         = 17
	ProtocolIPv6        = 41
	ProtocolRouting     = 43
	ProtocolFragment    = 44
	ProtocolGRE         = 47
	ProtocolESP         = 50
	ProtocolAH          = 51
	ProtocolICMPv6      = 58
	ProtocolNoNext      = 59
	ProtocolDestination = 60
	ProtocolSCTP        = 132
	ProtocolUDPLite     = 136
	ProtocolRaw         = 255
)

// Parts of the byte that is IPv4's type of service and IPv6's traffic class (RFC 2474 section 3,
// RFC 3168 section 5).
const (
	DSCPMask  = 0xfc
	DSCPShift = 2
	ECNMask   = 0x03

	ECNNotCapable  = 0
	ECNCapable1    = 1
	ECNCapable0    = 2
	ECNCongestion  = 3
	DSCPDefault    = 0
	DSCPExpedited  = 46
	DSCPNetControl = 48
)

// IPVersion is the version in a packet's first byte, 0 for an empty one.
func IPVersion(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	return int(b[0] >> 4)
}
