package tcpip

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"runsc/pkg/bpf"
)

// SocketOptions are the options that all transports share: SOL_SOCKET's (socket(7)) and those
// of the IP levels (ip(7), ipv6(7)). Plain switches are atomics, set by setsockopt and read
// where they matter; what has to be changed together is under Mu. The zero value is not ready:
// call Init.
type SocketOptions struct {
	ReuseAddress, ReusePort, Broadcast, KeepAlive, DontRoute, OutOfBandInline, NoChecksum,
	Timestamps, ReceiveErrors4, ReceiveErrors6,
	V6Only, HeaderIncluded, FreeBind, Transparent,
	// What to tell with each packet, kept here for getsockopt; transports do not look.
	PacketInfo4, PacketInfo6, ReceiveTTL, ReceiveTOS, ReceiveHopLimit, ReceiveTrafficClass,
	ReceiveOriginalDestination, ReceiveIPOptions, ReceiveFlowInfo,
	MulticastLoop4, MulticastLoop6, MulticastAll4, MulticastAll6 atomic.Bool

	// TTL and HopLimit are of unicast packets, 0: the stack's default. The others likewise.
	TTL, HopLimit, MulticastTTL, MulticastHopLimit atomic.Int32
	TOS, TrafficClass                              atomic.Uint32
	// MTUDiscovery4 and 6 are IP_PMTUDISC_*.
	MTUDiscovery4, MTUDiscovery6 atomic.Int32
	// DontFragment6 is IPV6_DONTFRAG.
	DontFragment6 atomic.Bool
	// Device is SO_BINDTODEVICE; 0: any.
	Device   atomic.Int32
	Mark     atomic.Uint32
	Priority atomic.Int32
	// ReceiveLow is SO_RCVLOWAT, at least 1.
	ReceiveLow atomic.Int32
	// Sizes of the socket's buffers in bytes, as the kernel counts (twice what setsockopt
	// was given). The Locked ones say that SO_RCVBUF or SO_SNDBUF was set: no auto-tuning.
	ReceiveBuffer, SendBuffer             atomic.Int64
	ReceiveBufferLocked, SendBufferLocked atomic.Bool
	// Owner is the user id of who made the socket: stack.PortRequest.User, /proc/net/tcp.
	Owner atomic.Uint32
	// Filter is SO_ATTACH_FILTER: a transport runs it on every packet that it is about to
	// queue, from the transport header on (raw: from the IP header on; packet: from where
	// Receive shows it). 0 drops the packet; other results are how many bytes datagram
	// sockets keep of it. nil: none.
	Filter atomic.Pointer[bpf.Program]

	Mu sync.Mutex // guards the fields below
	// Linger: SO_LINGER is on with LingerTime.
	Linger     bool
	LingerTime time.Duration
	// MulticastNIC and MulticastSource are IP_MULTICAST_IF; MulticastNIC6 is IPV6_MULTICAST_IF.
	MulticastNIC    NICID
	MulticastSource netip.Addr
	MulticastNIC6   NICID
	// IPOptions4 are the options that IPv4 packets are sent with (IP_OPTIONS).
	IPOptions4 []byte
}

// IP_PMTUDISC_* of ip(7).
const (
	MTUDiscoveryDont      = 0
	MTUDiscoveryWant      = 1
	MTUDiscoveryDo        = 2
	MTUDiscoveryProbe     = 3
	MTUDiscoveryInterface = 4
	MTUDiscoveryOmit      = 5
)

// Init sets the defaults of Linux. receive and send are the sizes of the buffers in bytes.
func (o *SocketOptions) Init(receive, send int64) {
	o.MulticastLoop4.Store(true)
	o.MulticastLoop6.Store(true)
	o.MulticastAll4.Store(true)
	o.MulticastAll6.Store(true)
	o.MulticastTTL.Store(1)
	o.MulticastHopLimit.Store(1)
	o.MTUDiscovery4.Store(MTUDiscoveryWant)
	o.MTUDiscovery6.Store(MTUDiscoveryWant)
	o.ReceiveLow.Store(1)
	o.ReceiveBuffer.Store(receive)
	o.SendBuffer.Store(send)
}

// GroupMembership is one membership of a multicast group, and the request to change it: of an
// interface (NIC, or the one that has InterfaceAddr, or the one that a route to the group
// takes), and optionally of sources (ip(7), RFC 3376 section 3, RFC 3810 section 3).
type GroupMembership struct {
	Group         netip.Addr
	NIC           NICID
	InterfaceAddr netip.Addr
	// Source is that of IP_ADD_SOURCE_MEMBERSHIP and its kin; zero: all sources.
	Source netip.Addr
}

// MulticastEndpoint is an Endpoint that can be a member of groups.
type MulticastEndpoint interface {
	Endpoint
	// JoinGroup, of a source if one is given. EADDRINUSE: it is a member; EADDRNOTAVAIL: of
	// this source; EINVAL: not a group, or a membership of all sources has a list already;
	// ENODEV: no such interface; ENOBUFS: too many.
	JoinGroup(GroupMembership) error
	// LeaveGroup, of a source if one is given; the last one ends the membership.
	// EADDRNOTAVAIL: it is not a member (EINVAL: of the group that has sources).
	LeaveGroup(GroupMembership) error
	// BlockSource and UnblockSource of a membership of all sources (IP_BLOCK_SOURCE).
	// EADDRNOTAVAIL: the source is blocked already, or not; EINVAL: not a member, or one of
	// single sources; ENOBUFS: too many sources.
	BlockSource(GroupMembership) error
	UnblockSource(GroupMembership) error
	// SetSourceFilter replaces the sources of a membership; to include none is to leave
	// (IP_MSFILTER, RFC 3376 section 3). EINVAL: not a member; ENOBUFS: too many.
	// SourceFilter returns them. EADDRNOTAVAIL: not a member.
	SetSourceFilter(m GroupMembership, include bool, sources []netip.Addr) error
	SourceFilter(GroupMembership) (include bool, sources []netip.Addr, err error)
}
