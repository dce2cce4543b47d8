package stack

import (
	"net/netip"
	"time"

	"runsc/pkg/tcpip"
)

// Address is an address of a NIC, with its prefix.
type Address struct {
	Prefix netip.Prefix
	// Peer is the other end of a point-to-point link; zero: none.
	Peer netip.Addr
	// Broadcast is the prefix's broadcast address, IPv4 only; zero: none.
	Broadcast netip.Addr
	// Scope is RT_SCOPE_* and Label IFA_LABEL (rtnetlink(7)).
	Scope uint8
	Label string
	// Tentative: duplicate address detection is not done (RFC 4862 section 5.4).
	// Duplicate: it failed. NoDAD: it is not to be done. Deprecated: not for new
	// connections. Temporary: made by SLAAC or DHCP, not permanent.
	Tentative, Duplicate, NoDAD, Deprecated, Temporary bool
	// NoPrefixRoute: no route to the prefix is made.
	NoPrefixRoute bool
	// Preferred and Valid are the lifetimes left; 0: forever.
	Preferred, Valid time.Duration
}

// Route tables (rtnetlink(7)).
const (
	TableDefault = 253
	TableMain    = 254
	TableLocal   = 255
)

// RouteType is RTN_* of rtnetlink(7).
type RouteType uint8

// The types.
const (
	RouteUnicast     RouteType = 1
	RouteLocal       RouteType = 2
	RouteBroadcast   RouteType = 3
	RouteAnycast     RouteType = 4
	RouteMulticast   RouteType = 5
	RouteBlackhole   RouteType = 6 // EINVAL
	RouteUnreachable RouteType = 7 // EHOSTUNREACH
	RouteProhibit    RouteType = 8 // EACCES
	RouteThrow       RouteType = 9 // the next rule decides
)

// RouteEntry is a line of a route table.
type RouteEntry struct {
	Destination netip.Prefix
	// Gateway is the next hop; zero: the destination is a neighbour.
	Gateway netip.Addr
	NIC     tcpip.NICID
	// Source is the preferred source address; zero: chosen.
	Source netip.Addr
	// Metric: the lower is taken. MTU of 0: the interface's.
	Metric, MTU uint32
	// Table of 0 is TableMain. Scope, Protocol (RTPROT_*) and Type are rtnetlink's.
	Table           uint32
	Scope, Protocol uint8
	Type            RouteType
	// OnLink: the gateway is a neighbour though no prefix says so.
	OnLink bool
}

// Rule chooses a route table (ip-rule(8)).
type Rule struct {
	Priority uint32
	V6       bool
	// Source and Destination are prefixes; not valid: any. NIC (oif of local packets) 0: any.
	Source, Destination netip.Prefix
	InNIC, OutNIC       tcpip.NICID
	Mark, MarkMask      uint32
	TOS                 uint8
	Table               uint32
	// Action is FR_ACT_TO_TBL (1), BLACKHOLE (6), UNREACHABLE (7), PROHIBIT (8).
	Action uint8
	Invert bool
}

// NeighbourState is NUD_* of rtnetlink(7).
type NeighbourState uint16

// The states (RFC 4861 section 7.3.2).
const (
	NeighbourIncomplete NeighbourState = 0x01
	NeighbourReachable  NeighbourState = 0x02
	NeighbourStale      NeighbourState = 0x04
	NeighbourDelay      NeighbourState = 0x08
	NeighbourProbe      NeighbourState = 0x10
	NeighbourFailed     NeighbourState = 0x20
	NeighbourNoARP      NeighbourState = 0x40
	NeighbourPermanent  NeighbourState = 0x80
)

// Neighbour is an entry of a NIC's neighbour table.
type Neighbour struct {
	Addr  netip.Addr
	Link  tcpip.LinkAddress
	State NeighbourState
	// Router: the entry is a router's (RFC 4861 section 6.3.4).
	Router bool
	// Updated is when the state was last confirmed, of the stack's monotonic clock.
	Updated time.Duration
}

// Change is what Observers hear of (rtnetlink's multicast groups).
type Change struct {
	Removed bool
	// One of these is set.
	NIC       *NIC
	Address   *Address
	Route     *RouteEntry
	Neighbour *Neighbour
	Rule      *Rule
	// On is the NIC of an Address or a Neighbour.
	On *NIC
}

// Observer hears of changes of a stack, after they were made, without a lock.
type Observer interface {
	StackChanged(Change)
}
