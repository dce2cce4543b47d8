package stack

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
)

// Capabilities of a link.
type Capabilities uint32

const (
	// CapLoopback: what is written comes back; no neighbours, no ARP.
	CapLoopback Capabilities = 1 << iota
	// CapResolution: the link has Ethernet headers, and neighbours' addresses have to be
	// found (ARP, NDP).
	CapResolution
	// CapTXChecksum: the link completes buffer.ChecksumPartial.
	CapTXChecksum
	// CapRXChecksum: the link says ChecksumVerified or ChecksumPartial where it knows.
	CapRXChecksum
	// CapSegmentation: the link cuts up packets with Segmentation (TCP).
	CapSegmentation
	// CapUDPSegmentation: it does so with SegmentUDP.
	CapUDPSegmentation
)

// LinkEndpoint is where frames come from and go to. One that lacks CapTXChecksum or
// CapSegmentation is never given such packets: the NIC does it in software.
type LinkEndpoint interface {
	// MTU is the largest network packet in bytes, without the link header.
	MTU() uint32
	SetMTU(mtu uint32)
	// LinkAddress is the hardware address; zero if there is none.
	LinkAddress() tcpip.LinkAddress
	SetLinkAddress(tcpip.LinkAddress)
	Capabilities() Capabilities
	// MaxSegmentation is the largest packet that CapSegmentation takes, in bytes.
	MaxSegmentation() uint32
	// HardwareType is ARPHRD_* (netdevice(7)).
	HardwareType() uint16

	// Attach starts to deliver to d. nil stops it: when Attach(nil) has returned, nothing is
	// delivered any more.
	Attach(d LinkDispatcher)
	// WritePackets sends packets with their link headers pushed, in order. It takes them
	// all. ENOBUFS: some were dropped because the link is full.
	WritePackets(pkts []*buffer.Packet) error
	// Close ends the link and waits for its goroutines.
	Close()
}

// LinkDispatcher is who takes what came.
type LinkDispatcher interface {
	// DeliverPackets takes received packets. The link has consumed the link header, and set
	// LinkHeader, EtherType, LinkSource, LinkDestination and HasLink where it has one, and
	// Checksum and Segmentation where it knows. pkts itself belongs to the caller again
	// after the call.
	DeliverPackets(pkts []*buffer.Packet)
}

// NetworkProtocol is ARP, IPv4 or IPv6 of one stack.
type NetworkProtocol interface {
	// EtherType is the protocol's number.
	EtherType() uint16
	// NewEndpoint makes the protocol's part of a NIC, which calls Enable and Disable when it
	// goes up and down.
	NewEndpoint(nic *NIC) NetworkEndpoint
	// Close stops the protocol's timers.
	Close()
}

// NetworkEndpoint is a network protocol on one NIC.
type NetworkEndpoint interface {
	// HandlePacket takes a packet that came in, from the network header on.
	HandlePacket(pkt *buffer.Packet)
	Enable()
	Disable()
}

// InternetEndpoint is a NetworkEndpoint of IPv4 or IPv6.
type InternetEndpoint interface {
	NetworkEndpoint

	// WritePacket puts the network header in front of a packet that begins with its
	// transport header (TransportHeader is set), cuts it into fragments if it has to, and
	// sends it to the route's next hop. It takes pkt. EMSGSIZE: it does not fit the path MTU
	// and may not be fragmented; the route's MTU says how much does.
	WritePacket(r *Route, params NetworkParams, pkt *buffer.Packet) error
	// WriteHeaderIncluded sends a packet that begins with its network header (IP_HDRINCL),
	// whose missing fields are filled in as raw(7) says.
	WriteHeaderIncluded(r *Route, pkt *buffer.Packet) error

	// AddressAdded and AddressRemoved are called after the NIC's list has changed (duplicate
	// address detection, solicited-node groups). Without a lock of the NIC.
	AddressAdded(a Address)
	AddressRemoved(a Address)
	// JoinGroup and LeaveGroup are called for the first and the last member of a group on
	// the NIC (IGMP, MLD), with the sources that are wanted or not.
	JoinGroup(group netip.Addr)
	LeaveGroup(group netip.Addr)

	// Solicit asks for the link address of a neighbour (ARP request, neighbour
	// solicitation): by unicast if to is not zero. The answer comes to
	// NIC.ConfirmNeighbour.
	Solicit(target, source netip.Addr, to tcpip.LinkAddress)

	// SendError answers pkt, which came in and is only looked at, with an ICMP error, within
	// the rules and rate limits of RFC 1122 section 3.2.2 and RFC 4443 section 2.4. What it
	// quotes is NetworkHeader, TransportHeader if it is set, and the unconsumed bytes.
	SendError(e ICMPError, pkt *buffer.Packet)
}

// ICMPErrorKind is what went wrong with a packet.
type ICMPErrorKind uint8

// The kinds.
const (
	ErrorPortUnreachable ICMPErrorKind = iota
	ErrorHostUnreachable
	ErrorNetUnreachable
	ErrorProtocolUnreachable
	ErrorProhibited
	ErrorTimeExceeded
	ErrorReassemblyTime
	ErrorPacketTooBig
	ErrorParameter
)

// ICMPError is an error to be told to the sender of a packet.
type ICMPError struct {
	Kind ICMPErrorKind
	// MTU is that of the next hop, for ErrorPacketTooBig; Pointer the offending byte, for
	// ErrorParameter, and Code its code.
	MTU     uint32
	Pointer uint32
	Code    uint8
}

// NetworkParams are the fields of a network header that a transport chooses.
type NetworkParams struct {
	Transport uint8
	// TTL of 0 is the stack's default, unless ZeroTTL is set: a packet to a group that does
	// not leave this host (RFC 1112 section 6.1).
	TTL     uint8
	ZeroTTL bool
	TOS     uint8
	// DontFragment: the packet may not be cut up, here or on the way. FragmentHere lets it
	// be cut up here all the same (IPv6, and IP_PMTUDISC_WANT of datagrams).
	DontFragment, FragmentHere bool
	// IgnorePathMTU: only the interface's MTU counts (IP_PMTUDISC_PROBE, INTERFACE, OMIT).
	IgnorePathMTU bool
	// NoMulticastLoop: a packet to a group is not given back to this host's own members
	// (IP_MULTICAST_LOOP off).
	NoMulticastLoop bool
	FlowLabel       uint32
	// Options are IPv4's options, padded to a multiple of 4, 40 at most.
	Options []byte
	// RouterAlert asks for that option (RFC 2113, RFC 2711).
	RouterAlert bool
}

// TransportID is the four numbers by which a packet finds its endpoint, from this host's point
// of view. In a registration a zero address or port is any.
type TransportID struct {
	LocalAddr, RemoteAddr netip.Addr
	LocalPort, RemotePort uint16
}

// TransportProtocol is TCP, UDP, ICMP of one stack.
type TransportProtocol interface {
	// Number is the protocol number.
	Number() uint8
	// ParsePorts finds the ports in the packet's first unconsumed bytes, which it only looks
	// at. false: malformed, to be dropped.
	ParsePorts(pkt *buffer.Packet) (src, dst uint16, ok bool)
	// HandleUnknown takes a packet for which there is no endpoint.
	HandleUnknown(id TransportID, pkt *buffer.Packet)
	// Close stops the protocol's timers and ends endpoints that live without a socket.
	Close()
}

// TransportEndpoint is what packets are delivered to.
type TransportEndpoint interface {
	// HandlePacket takes a packet from the transport header on. It runs on the goroutine of
	// the link, without any lock, and must not wait for anything that takes long.
	HandlePacket(id TransportID, pkt *buffer.Packet)
	// HandleError tells of an ICMP error about a packet that the endpoint sent; id is that of
	// the packet as sent. quoted is what the error quotes, from the transport header on,
	// valid during the call.
	HandleError(id TransportID, e TransportError, quoted []byte)
}

// TransportError is an error that came from the network.
type TransportError struct {
	// Errno is what it means for a socket (EHOSTUNREACH …; EMSGSIZE with MTU).
	Errno unix.Errno
	// Hard: it ends a connection attempt (RFC 1122 section 4.2.3.9).
	Hard bool
	// MTU is the path MTU, for EMSGSIZE. The network layer has called SetPathMTU, but for
	// TCP, which does so itself if the error is about something in flight.
	MTU uint32
	// Origin (SO_EE_ORIGIN_*), Type, Code and Offender are as in tcpip.QueuedError.
	Origin, Type, Code uint8
	Offender           netip.Addr
}

// RawEndpoint sees IP packets beside the transports.
type RawEndpoint interface {
	// HandleRaw takes a packet whose network header is consumed (NetworkHeader has it).
	HandleRaw(pkt *buffer.Packet)
}

// PacketEndpoint sees frames, in and out.
type PacketEndpoint interface {
	// HandleFrame takes a packet that begins with the network header; LinkHeader is set if
	// the link has one. PacketType says which way it goes.
	HandleFrame(nic tcpip.NICID, pkt *buffer.Packet)
}
