package stack

import (
	"net/netip"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
)

// Config is what a stack is made of.
type Config struct {
	// Clock of nil is the host's.
	Clock tcpip.Clock
	// Networks and Transports make the protocols (ipv4.New, tcp.New …).
	Networks   []func(*Stack) NetworkProtocol
	Transports []func(*Stack) TransportProtocol
	// Seed makes secrets (hash keys) predictable in tests; nil: real randomness.
	Seed []byte
}

// Stack is the network of one namespace.
type Stack struct {
}

// New makes a stack without interfaces.
func New(c Config) *Stack { panic("unwritten") }

// Close ends every endpoint, protocol, NIC and link, and waits for their goroutines.
func (s *Stack) Close() { panic("unwritten") }

// Clock is the stack's clock.
func (s *Stack) Clock() tcpip.Clock { panic("unwritten") }

// Hash is a keyed hash (SipHash-2-4) of b, with a secret of this stack, for port selection
// (RFC 6056) and initial sequence numbers (RFC 6528). purpose keeps uses apart.
func (s *Stack) Hash(purpose uint64, b []byte) uint64 { panic("unwritten") }

// Random returns random bits nobody can foretell.
func (s *Stack) Random() uint64 { panic("unwritten") }

// TransportProtocol returns the transport of that number, nil if the stack has none.
func (s *Stack) TransportProtocol(number uint8) TransportProtocol { panic("unwritten") }

// HasNetwork says whether the stack has the protocol.
func (s *Stack) HasNetwork(etherType uint16) bool { panic("unwritten") }

// Settings are what sysctl(8) changes (net.ipv4.*, net.ipv6.*, net.core.*).
func (s *Stack) Settings() *Settings { panic("unwritten") }

// Stats are the stack's counters (/proc/net/snmp, snmp6, netstat).
func (s *Stack) Stats() *Stats { panic("unwritten") }

// AddObserver and RemoveObserver: o hears of changes.
func (s *Stack) AddObserver(o Observer)    { panic("unwritten") }
func (s *Stack) RemoveObserver(o Observer) { panic("unwritten") }

// CreateNIC makes an interface. It is down and has no addresses. id of 0 is the next free one.
// EEXIST: the id or the name is taken.
func (s *Stack) CreateNIC(id tcpip.NICID, name string, link LinkEndpoint) (*NIC, error) {
	panic("unwritten")
}

// RemoveNIC takes an interface away with its addresses and routes, and closes its link.
// ENODEV.
func (s *Stack) RemoveNIC(id tcpip.NICID) error { panic("unwritten") }

// NIC returns an interface, or nil; NICByName likewise; NICs returns all by rising id.
func (s *Stack) NIC(id tcpip.NICID) *NIC    { panic("unwritten") }
func (s *Stack) NICByName(name string) *NIC { panic("unwritten") }
func (s *Stack) NICs() []*NIC               { panic("unwritten") }

// IsLocal says whether a is an address of this host: of nic, or of any if it is 0.
func (s *Stack) IsLocal(nic tcpip.NICID, a netip.Addr) bool { panic("unwritten") }

// AddRoute. EEXIST: there is the same with that metric; ENETUNREACH: the gateway is not a
// neighbour; ENODEV. RemoveRoute removes the first that fits e, whose zero fields fit
// everything. ESRCH. Routes are those set and those that addresses made, of all tables.
func (s *Stack) AddRoute(e RouteEntry) error    { panic("unwritten") }
func (s *Stack) RemoveRoute(e RouteEntry) error { panic("unwritten") }
func (s *Stack) Routes() []RouteEntry           { panic("unwritten") }

// AddRule, RemoveRule and Rules, by rising priority. A stack begins with Linux's three for each
// version of IP (local, main, default).
func (s *Stack) AddRule(r Rule) error    { panic("unwritten") }
func (s *Stack) RemoveRule(r Rule) error { panic("unwritten") }
func (s *Stack) Rules() []Rule           { panic("unwritten") }

// RouteQuery is what FindRoute goes by.
type RouteQuery struct {
	Destination netip.Addr
	// Source of zero is chosen (RFC 6724 for IPv6).
	Source netip.Addr
	// NIC of 0 is any.
	NIC  tcpip.NICID
	Mark uint32
	TOS  uint8
	// AnySource: Source need not be of this host (IP_FREEBIND, IP_TRANSPARENT).
	AnySource bool
	// DontRoute: only neighbours.
	DontRoute bool
}

// Route is a way to a destination. It is a value that never changes; when the tables have,
// Valid says so, and its user asks again.
type Route struct {
	Source, Destination, NextHop netip.Addr
	NIC                          *NIC
	Endpoint                     InternetEndpoint
	// Entry is the line of the table that was taken.
	Entry RouteEntry
	// Local: for this host, by lo.
	Local, Broadcast, Multicast bool
}

// FindRoute. ENETUNREACH, EHOSTUNREACH, EACCES, EINVAL as the route's type says; EADDRNOTAVAIL:
// Source is not of this host.
func (s *Stack) FindRoute(q RouteQuery) (*Route, error) { panic("unwritten") }

// Valid says whether FindRoute would still give this route, which costs one atomic load.
func (r *Route) Valid() bool { panic("unwritten") }

// MTU is the path's MTU in bytes, IP header included, as known now (RFC 1191, RFC 8201).
func (r *Route) MTU() uint32 { panic("unwritten") }

// WritePacket sends a packet, which it takes: see InternetEndpoint.WritePacket.
func (r *Route) WritePacket(params NetworkParams, pkt *buffer.Packet) error { panic("unwritten") }

// ConfirmNeighbour tells that the next hop answers (RFC 4861 section 7.3.1).
func (r *Route) ConfirmNeighbour() { panic("unwritten") }

// SetPathMTU records that packets to dst may not be longer than mtu, for 10 minutes; values
// under the protocol's minimum are raised to it.
func (s *Stack) SetPathMTU(dst netip.Addr, mtu uint32) { panic("unwritten") }

// Binding is an entry of the demultiplexer.
type Binding struct {
	Transport uint8
	// V4 and V6: which versions' packets it takes. Addresses of ID that are zero are any.
	V4, V6 bool
	ID     TransportID
	// NIC of 0 is any.
	NIC      tcpip.NICID
	Endpoint TransportEndpoint
	// ReusePort: Bindings of the same ID, all with it, share packets by the hash of their
	// sender. ReuseAddress: they may coexist; the last bound gets unicast packets.
	ReusePort, ReuseAddress bool
}

// Register makes b find packets. The most specific binding gets them: with the remote address
// before without, with the local address before without, of the NIC before any; multicast and
// broadcast packets of UDP go to all that fit. EADDRINUSE: the same is there. The caller keeps b
// unchanged until it is unregistered.
func (s *Stack) Register(b *Binding) error { panic("unwritten") }

// Unregister removes b. A packet may still be delivered during the call, not after it has
// been, but for those on their way already: endpoints check their state.
func (s *Stack) Unregister(b *Binding) { panic("unwritten") }

// FindTransport returns the binding that a packet would go to, or nil.
func (s *Stack) FindTransport(nic tcpip.NICID, v6 bool, transport uint8, id TransportID) *Binding {
	panic("unwritten")
}

// Bindings calls f for every binding of a transport until it returns false (/proc/net/tcp,
// sock_diag).
func (s *Stack) Bindings(transport uint8, f func(*Binding) bool) { panic("unwritten") }

// DeliverTransport takes a packet for this host, whose network header is consumed and whose
// fields the network layer has set.
func (s *Stack) DeliverTransport(nic *NIC, pkt *buffer.Packet) { panic("unwritten") }

// DeliverError tells the endpoint that sent a packet of an ICMP error. v6, transport and id are
// of the quoted packet, seen from here.
func (s *Stack) DeliverError(nic *NIC, v6 bool, transport uint8, id TransportID, e TransportError, quoted []byte) {
	panic("unwritten")
}

// RegisterRaw makes e see a copy of every packet of that IP version and transport protocol
// (0: all) that is for this host; RegisterPacket of every frame of nic (0: all) and etherType
// (ETH_P_ALL, 3: all, outgoing ones too).
func (s *Stack) RegisterRaw(v6 bool, transport uint8, e RawEndpoint)   { panic("unwritten") }
func (s *Stack) UnregisterRaw(v6 bool, transport uint8, e RawEndpoint) { panic("unwritten") }
func (s *Stack) RegisterPacket(nic tcpip.NICID, etherType uint16, e PacketEndpoint) {
	panic("unwritten")
}
func (s *Stack) UnregisterPacket(nic tcpip.NICID, etherType uint16, e PacketEndpoint) {
	panic("unwritten")
}

// PortRequest asks for a local port.
type PortRequest struct {
	Transport uint8
	V4, V6    bool
	Addr      netip.Addr // zero: any
	NIC       tcpip.NICID
	// Port of 0 is chosen from the ephemeral range; the one taken is put here.
	Port                    uint16
	ReuseAddress, ReusePort bool
	// User owns the ports shared by ReusePort: others may not join.
	User uint32
	// Listening: a TCP listener, which conflicts with others even with ReuseAddress.
	Listening bool
}

// ReservePort. EADDRINUSE: taken, or no free port. The reservation is r itself, which the caller
// keeps unchanged until ReleasePort.
func (s *Stack) ReservePort(r *PortRequest) error { panic("unwritten") }

// ReserveConnectPort chooses a port for a connection to remote from local, such that the four
// numbers are not in use (RFC 6056 section 3.3.4): ports of other connections to elsewhere may
// be taken again. usable is asked for each candidate; TCP says no for one in TIME_WAIT.
// EADDRNOTAVAIL: none is free.
func (s *Stack) ReserveConnectPort(r *PortRequest, remote netip.AddrPort, local netip.Addr, usable func(port uint16) bool) error {
	panic("unwritten")
}

// ReleasePort ends a reservation.
func (s *Stack) ReleasePort(r *PortRequest) { panic("unwritten") }
