package header

import (
	"net/netip"

	"runsc/pkg/tcpip"
)

// Well-known addresses. They are constants in all but name.
var (
	IPv4Any        = netip.AddrFrom4([4]byte{})
	IPv4Broadcast  = netip.AddrFrom4([4]byte{255, 255, 255, 255})
	IPv4AllSystems = netip.AddrFrom4([4]byte{224, 0, 0, 1})
	IPv4AllRouters = netip.AddrFrom4([4]byte{224, 0, 0, 2})
	// IPv4IGMPv3Routers is where reports of version 3 go (RFC 3376 section 4.2.14).
	IPv4IGMPv3Routers = netip.AddrFrom4([4]byte{224, 0, 0, 22})

	IPv6Any        = netip.IPv6Unspecified()
	IPv6Loopback   = netip.IPv6Loopback()
	IPv6AllNodes   = netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 15: 1})
	IPv6AllRouters = netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 15: 2})
	// IPv6MLDv2Routers is where reports of version 2 go (RFC 3810 section 5.2.14).
	IPv6MLDv2Routers = netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 15: 0x16})
)

// SolicitedNode is the group in which the owners of an IPv6 address listen for solicitations (RFC
// 4291 section 2.7.1).
func SolicitedNode(a netip.Addr) netip.Addr {
	v := a.As16()
	return netip.AddrFrom16([16]byte{0: 0xff, 1: 2, 11: 1, 12: 0xff, 13: v[13], 14: v[14], 15: v[15]})
}

// MulticastLink is the Ethernet group of an IPv4 or IPv6 group (RFC 1112 section 6.4, RFC 2464
// section 7).
func MulticastLink(group netip.Addr) tcpip.LinkAddress {
	if group.Is4() {
		v := group.As4()
		return tcpip.LinkAddress{1, 0, 0x5e, v[1] & 0x7f, v[2], v[3]}
	}
	v := group.As16()
	return tcpip.LinkAddress{0x33, 0x33, v[12], v[13], v[14], v[15]}
}

// InterfaceID is the modified EUI-64 interface identifier of an Ethernet address (RFC 4291 appendix
// A).
func InterfaceID(a tcpip.LinkAddress) [8]byte {
	return [8]byte{a[0] ^ 2, a[1], a[2], 0xff, 0xfe, a[3], a[4], a[5]}
}

// LinkLocal is the link-local IPv6 address of an Ethernet address (RFC 2464 section 5).
func LinkLocal(a tcpip.LinkAddress) netip.Addr {
	v := [16]byte{0: 0xfe, 1: 0x80}
	id := InterfaceID(a)
	copy(v[8:], id[:])
	return netip.AddrFrom16(v)
}
