package inet

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip"
)

const (
	sizeofSockaddrIn = 16
	// sizeofSockaddrIn6 is struct sockaddr_in6; minSockaddrIn6 what RFC 2133 had, without
	// sin6_scope_id, which is still taken.
	sizeofSockaddrIn6 = 28
	minSockaddrIn6    = 24
)

var (
	any4      = netip.IPv4Unspecified()
	any6      = netip.IPv6Unspecified()
	loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	loopback6 = netip.IPv6Loopback()
)

// parse4 reads a struct sockaddr_in, whose family was looked at. EINVAL: it is too short.
func parse4(b []byte) (tcpip.FullAddress, error) {
	if len(b) < sizeofSockaddrIn {
		return tcpip.FullAddress{}, unix.EINVAL
	}
	return tcpip.FullAddress{
		Addr: netip.AddrFrom4([4]byte(b[4:8])),
		Port: binary.BigEndian.Uint16(b[2:]),
	}, nil
}

// parse6 reads a struct sockaddr_in6, whose family was looked at. mapped: it was an IPv4-mapped
// address. EINVAL: it is too short.
func parse6(b []byte) (a tcpip.FullAddress, mapped bool, err error) {
	if len(b) < minSockaddrIn6 {
		return a, false, unix.EINVAL
	}
	ip := netip.AddrFrom16([16]byte(b[8:24]))
	a = tcpip.FullAddress{Addr: ip.Unmap(), Port: binary.BigEndian.Uint16(b[2:])}
	if len(b) >= sizeofSockaddrIn6 && scoped(ip) {
		a.NIC = tcpip.NICID(binary.NativeEndian.Uint32(b[24:]))
	}
	return a, ip.Is4In6(), nil
}

// scoped says whether an address means something on one link only (RFC 4007).
func scoped(a netip.Addr) bool {
	return a.Is6() && (a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast())
}

// put4 writes a struct sockaddr_in.
func put4(to *socket.Addr, a tcpip.FullAddress) {
	var b [sizeofSockaddrIn]byte
	binary.NativeEndian.PutUint16(b[:], unix.AF_INET)
	binary.BigEndian.PutUint16(b[2:], a.Port)
	if a.Addr.Is4() {
		ip := a.Addr.As4()
		copy(b[4:], ip[:])
	}
	to.Set(b[:])
}

// put6 writes a struct sockaddr_in6.
func put6(to *socket.Addr, a tcpip.FullAddress) {
	var b [sizeofSockaddrIn6]byte
	binary.NativeEndian.PutUint16(b[:], unix.AF_INET6)
	binary.BigEndian.PutUint16(b[2:], a.Port)
	if a.Addr.IsValid() {
		ip := a.Addr.As16() // IPv4 becomes mapped
		copy(b[8:], ip[:])
		if scoped(a.Addr) {
			binary.NativeEndian.PutUint32(b[24:], uint32(a.NIC))
		}
	}
	to.Set(b[:])
}

// put writes a in the form of the socket's family.
func (s *Socket) put(to *socket.Addr, a tcpip.FullAddress) {
	if s.v6() {
		put6(to, a)
	} else {
		put4(to, a)
	}
}
