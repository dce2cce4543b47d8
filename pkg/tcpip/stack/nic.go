package stack

import (
	"net/netip"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
)

// NIC is an interface of a stack.
type NIC struct {
}

// ID, Name, Stack and Link are what it was made with. SetName: EEXIST.
func (n *NIC) ID() tcpip.NICID           { panic("unwritten") }
func (n *NIC) Name() string              { panic("unwritten") }
func (n *NIC) SetName(name string) error { panic("unwritten") }
func (n *NIC) Stack() *Stack             { panic("unwritten") }
func (n *NIC) Link() LinkEndpoint        { panic("unwritten") }

// Up, SetUp: addresses of an interface that is down do not work, but stay. Its routes go.
func (n *NIC) Up() bool      { panic("unwritten") }
func (n *NIC) SetUp(up bool) { panic("unwritten") }

// MTU in bytes. SetMTU: EINVAL.
func (n *NIC) MTU() uint32             { panic("unwritten") }
func (n *NIC) SetMTU(mtu uint32) error { panic("unwritten") }

// Promiscuous and all-multicast are counted.
func (n *NIC) SetPromiscuous(on bool)  { panic("unwritten") }
func (n *NIC) SetAllMulticast(on bool) { panic("unwritten") }

// IsLoopback says whether the link is lo's.
func (n *NIC) IsLoopback() bool { panic("unwritten") }

// Endpoint is the network protocol's part of the NIC, nil if the stack has none.
func (n *NIC) Endpoint(etherType uint16) NetworkEndpoint { panic("unwritten") }

// Stats are the interface's counters.
func (n *NIC) Stats() *NICStats { panic("unwritten") }

// Addresses in the order in which they were added. AddAddress makes the local and prefix routes
// too. EEXIST. RemoveAddress: EADDRNOTAVAIL. UpdateAddress changes an address (lifetimes,
// Tentative, Duplicate, Deprecated) by f.
func (n *NIC) Addresses() []Address                                   { panic("unwritten") }
func (n *NIC) AddAddress(a Address) error                             { panic("unwritten") }
func (n *NIC) RemoveAddress(p netip.Prefix) error                     { panic("unwritten") }
func (n *NIC) UpdateAddress(addr netip.Addr, f func(a *Address)) bool { panic("unwritten") }

// Address returns the entry of addr. HasAddress: it is there and not tentative.
func (n *NIC) Address(addr netip.Addr) (Address, bool) { panic("unwritten") }
func (n *NIC) HasAddress(addr netip.Addr) bool         { panic("unwritten") }

// IsBroadcast says whether addr is a broadcast address on this interface.
func (n *NIC) IsBroadcast(addr netip.Addr) bool { panic("unwritten") }

// SourceFor chooses a source address for dst among those of this interface; zero: none.
func (n *NIC) SourceFor(dst netip.Addr) netip.Addr { panic("unwritten") }

// JoinGroup and LeaveGroup are counted. InGroup says whether packets to the group are taken.
func (n *NIC) JoinGroup(group netip.Addr) error  { panic("unwritten") }
func (n *NIC) LeaveGroup(group netip.Addr) error { panic("unwritten") }
func (n *NIC) InGroup(group netip.Addr) bool     { panic("unwritten") }
func (n *NIC) Groups() []netip.Addr              { panic("unwritten") }

// WritePacket sends a packet that begins with its network header to nextHop, whose link address
// it finds, or keeps the packet until it is found; EHOSTUNREACH is told to its sender as an ICMP
// error then. It takes pkt. WriteTo sends it to a known link address. Both cut up and complete
// in software what the link cannot.
func (n *NIC) WritePacket(nextHop netip.Addr, etherType uint16, pkt *buffer.Packet) error {
	panic("unwritten")
}
func (n *NIC) WriteTo(dst tcpip.LinkAddress, etherType uint16, pkt *buffer.Packet) error {
	panic("unwritten")
}

// WritePackets is WritePacket of several packets for one next hop, in order.
func (n *NIC) WritePackets(nextHop netip.Addr, etherType uint16, pkts []*buffer.Packet) error {
	panic("unwritten")
}

// ConfirmNeighbour tells that addr has the link address link: solicited by an answer to
// Solicit, else by something the neighbour sent. override: replace another address.
// SetRouter as RFC 4861 section 7.2.5.
func (n *NIC) ConfirmNeighbour(addr netip.Addr, link tcpip.LinkAddress, solicited, override, isRouter bool) {
	panic("unwritten")
}

// LearnNeighbour makes or updates an entry as stale, from a request that came (RFC 826, RFC
// 4861 section 7.2.3).
func (n *NIC) LearnNeighbour(addr netip.Addr, link tcpip.LinkAddress) { panic("unwritten") }

// Neighbours is the table. SetNeighbour sets an entry by hand (permanent, or as State says).
// RemoveNeighbour: ENOENT.
func (n *NIC) Neighbours() []Neighbour               { panic("unwritten") }
func (n *NIC) SetNeighbour(e Neighbour) error        { panic("unwritten") }
func (n *NIC) RemoveNeighbour(addr netip.Addr) error { panic("unwritten") }
