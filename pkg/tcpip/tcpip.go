package tcpip

import (
	"fmt"
	"net/netip"
	"time"
)

// NICID numbers an interface of a stack; it is the interface index that applications see
// (netdevice(7)). 0 is none or any; lo is 1.
type NICID int32

// LinkAddress is the hardware address of an Ethernet-like interface.
type LinkAddress [6]byte

// Broadcast is the link address of all stations.
var Broadcast = LinkAddress{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

// IsMulticast says whether a is a group address (bit 0 of the first byte), broadcast included.
func (a LinkAddress) IsMulticast() bool { return a[0]&1 != 0 }

// String is the usual form of six hexadecimal bytes.
func (a LinkAddress) String() string {
	return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", a[0], a[1], a[2], a[3], a[4], a[5])
}

// FullAddress is a socket address: where a packet comes from or goes to.
type FullAddress struct {
	// NIC is the interface, where it matters (link-local addresses, packet sockets).
	NIC NICID
	// Addr is the IP address; the zero Addr is not given, which for Bind means any address
	// of the socket's family. An unspecified address (0.0.0.0, ::) is the same.
	Addr netip.Addr
	// Port is the UDP or TCP port, the identifier of a ping socket, or the protocol of a
	// raw one.
	Port uint16
	// Link is the hardware address, of packet sockets only.
	Link LinkAddress
	// Protocol is the Ethernet type, of packet sockets only.
	Protocol uint16
	// PacketType is PACKET_HOST… (packet(7)) of a received packet, of packet sockets only.
	PacketType uint8
}

// Clock is the time of a stack. Tests have their own.
type Clock interface {
	// Now is the wall clock's time: packet time stamps.
	Now() time.Time
	// Monotonic is the time since some fixed moment; it never goes back.
	Monotonic() time.Duration
	// AfterFunc calls f on a goroutine of its own after d.
	AfterFunc(d time.Duration, f func()) Timer
}

// Timer is one call that is to come.
type Timer interface {
	// Stop prevents the call and says whether it did; false: it was made or is being made.
	Stop() bool
	// Reset makes the call come d from now, and says whether it was still to come.
	Reset(d time.Duration) bool
}

// RealClock is the host's clock.
type RealClock struct{}

var processStart = time.Now()

// Now implements Clock.
func (RealClock) Now() time.Time { return time.Now() }

// Monotonic implements Clock.
func (RealClock) Monotonic() time.Duration { return time.Since(processStart) }

// AfterFunc implements Clock.
func (RealClock) AfterFunc(d time.Duration, f func()) Timer { return time.AfterFunc(d, f) }
