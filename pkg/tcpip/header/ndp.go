package header

import (
	"net/netip"
	"time"
)

// Sizes of neighbour discovery messages without options, in bytes (RFC 4861 section 4).
const (
	NDPRouterSolicitSize   = 8
	NDPRouterAdvertSize    = 16
	NDPNeighborSolicitSize = 24
	NDPNeighborAdvertSize  = 24
	NDPRedirectSize        = 40

	// NDPHopLimit is what every message is sent with; others are ignored, since a router
	// forwarded them (RFC 4861 section 6.1).
	NDPHopLimit = 255
)

// Router preferences, two bits (RFC 4191 section 2.1). NDPPreferenceReserved counts as medium in a
// router advertisement.
const (
	NDPPreferenceMedium   = 0
	NDPPreferenceHigh     = 1
	NDPPreferenceReserved = 2
	NDPPreferenceLow      = 3
)

// The NDP types are views of the whole ICMPv6 message, its type byte first; convert to ICMPv6 for
// the checksum. Valid also looks at the code and that every option has a length and is complete, as
// RFC 4861 sections 6.1, 7.1 and 8.1 demand. The checksum, the hop limit and the addresses are the
// caller's to check.

func validNDP(h []byte, t uint8, size int) bool {
	if len(h) < size || h[0] != t || h[1] != 0 {
		return false
	}
	w := WalkNDPOptions(h[size:])
	for w.Next() {
	}
	return !w.Malformed()
}

func encodeNDP(h []byte, t uint8, size int) {
	clear(h[:size])
	h[0] = t
}

// NDPRouterSolicit is a router solicitation (RFC 4861 section 4.1).
type NDPRouterSolicit []byte

// Valid says whether the message with its options is well-formed.
func (h NDPRouterSolicit) Valid() bool {
	return validNDP(h, ICMPv6RouterSolicit, NDPRouterSolicitSize)
}

// Options are the bytes of the options; see WalkNDPOptions.
func (h NDPRouterSolicit) Options() []byte { return h[NDPRouterSolicitSize:] }

// Encode writes the message without options and with a checksum of 0.
func (h NDPRouterSolicit) Encode() { encodeNDP(h, ICMPv6RouterSolicit, NDPRouterSolicitSize) }

// NDPRouterAdvert is a router advertisement (RFC 4861 section 4.2).
type NDPRouterAdvert []byte

// NDPRouterAdvertFields are the fields of a router advertisement. Durations are rounded down to the
// field's unit and limited to its greatest value.
type NDPRouterAdvertFields struct {
	HopLimit       uint8
	Managed, Other bool
	// Preference is NDPPreference….
	Preference uint8
	// Lifetime is that of the default router, in seconds; 0: it is not one.
	Lifetime time.Duration
	// ReachableTime and RetransTimer are in milliseconds; 0: not specified.
	ReachableTime, RetransTimer time.Duration
}

// Valid says whether the message with its options is well-formed.
func (h NDPRouterAdvert) Valid() bool {
	return validNDP(h, ICMPv6RouterAdvert, NDPRouterAdvertSize)
}

// HopLimit is what hosts should send with; 0: not specified.
func (h NDPRouterAdvert) HopLimit() uint8 { return h[4] }

// Managed says that addresses come from DHCPv6.
func (h NDPRouterAdvert) Managed() bool { return h[5]&0x80 != 0 }

// Other says that other configuration comes from DHCPv6.
func (h NDPRouterAdvert) Other() bool { return h[5]&0x40 != 0 }

// Preference is NDPPreference… (RFC 4191 section 2.2).
func (h NDPRouterAdvert) Preference() uint8 { return h[5] >> 3 & 3 }

// Lifetime is how long the sender is a default router; 0: it is not one.
func (h NDPRouterAdvert) Lifetime() time.Duration {
	return time.Duration(be.Uint16(h[6:])) * time.Second
}

// ReachableTime is how long a neighbour counts as reachable after it was heard; 0: not specified.
func (h NDPRouterAdvert) ReachableTime() time.Duration {
	return time.Duration(be.Uint32(h[8:])) * time.Millisecond
}

// RetransTimer is the time between solicitations; 0: not specified.
func (h NDPRouterAdvert) RetransTimer() time.Duration {
	return time.Duration(be.Uint32(h[12:])) * time.Millisecond
}

// Options are the bytes of the options; see WalkNDPOptions.
func (h NDPRouterAdvert) Options() []byte { return h[NDPRouterAdvertSize:] }

// Encode writes the message without options and with a checksum of 0.
func (h NDPRouterAdvert) Encode(f NDPRouterAdvertFields) {
	encodeNDP(h, ICMPv6RouterAdvert, NDPRouterAdvertSize)
	h[4] = f.HopLimit
	h[5] = flag(f.Managed, 0x80) | flag(f.Other, 0x40) | f.Preference&3<<3
	be.PutUint16(h[6:], uint16(units(f.Lifetime, time.Second, 1<<16-1)))
	be.PutUint32(h[8:], uint32(units(f.ReachableTime, time.Millisecond, 1<<32-1)))
	be.PutUint32(h[12:], uint32(units(f.RetransTimer, time.Millisecond, 1<<32-1)))
}

// flag is bit if on and 0 otherwise.
func flag(on bool, bit uint8) uint8 {
	if on {
		return bit
	}
	return 0
}

// units is d in a field's unit, within 0 and limit.
func units(d, unit time.Duration, limit int64) int64 { return max(0, min(int64(d/unit), limit)) }

// NDPNeighborSolicit is a neighbour solicitation (RFC 4861 section 4.3).
type NDPNeighborSolicit []byte

// Valid says whether the message with its options is well-formed.
func (h NDPNeighborSolicit) Valid() bool {
	return validNDP(h, ICMPv6NeighborSolicit, NDPNeighborSolicitSize)
}

// Target is the address whose owner is asked.
func (h NDPNeighborSolicit) Target() netip.Addr { return get16(h[8:24]) }

// Options are the bytes of the options; see WalkNDPOptions.
func (h NDPNeighborSolicit) Options() []byte { return h[NDPNeighborSolicitSize:] }

// SetTarget sets the address whose owner is asked.
func (h NDPNeighborSolicit) SetTarget(a netip.Addr) { put16(h[8:24], a) }

// Encode writes the message without options and with a checksum of 0.
func (h NDPNeighborSolicit) Encode(target netip.Addr) {
	encodeNDP(h, ICMPv6NeighborSolicit, NDPNeighborSolicitSize)
	h.SetTarget(target)
}

// NDPNeighborAdvert is a neighbour advertisement (RFC 4861 section 4.4).
type NDPNeighborAdvert []byte

// NDPNeighborAdvertFields are the fields of a neighbour advertisement.
type NDPNeighborAdvertFields struct {
	Router, Solicited, Override bool
	Target                      netip.Addr
}

// Valid says whether the message with its options is well-formed.
func (h NDPNeighborAdvert) Valid() bool {
	return validNDP(h, ICMPv6NeighborAdvert, NDPNeighborAdvertSize)
}

// Router says that the sender is a router.
func (h NDPNeighborAdvert) Router() bool { return h[4]&0x80 != 0 }

// Solicited says that this answers a unicast solicitation: it confirms reachability.
func (h NDPNeighborAdvert) Solicited() bool { return h[4]&0x40 != 0 }

// Override says that the link address replaces one that is known.
func (h NDPNeighborAdvert) Override() bool { return h[4]&0x20 != 0 }

// Target is the address that the sender has.
func (h NDPNeighborAdvert) Target() netip.Addr { return get16(h[8:24]) }

// Options are the bytes of the options; see WalkNDPOptions.
func (h NDPNeighborAdvert) Options() []byte { return h[NDPNeighborAdvertSize:] }

// SetTarget sets the address that the sender has.
func (h NDPNeighborAdvert) SetTarget(a netip.Addr) { put16(h[8:24], a) }

// Encode writes the message without options and with a checksum of 0.
func (h NDPNeighborAdvert) Encode(f NDPNeighborAdvertFields) {
	encodeNDP(h, ICMPv6NeighborAdvert, NDPNeighborAdvertSize)
	h[4] = flag(f.Router, 0x80) | flag(f.Solicited, 0x40) | flag(f.Override, 0x20)
	h.SetTarget(f.Target)
}

// NDPRedirect is a redirect (RFC 4861 section 4.5).
type NDPRedirect []byte

// Valid says whether the message with its options is well-formed.
func (h NDPRedirect) Valid() bool { return validNDP(h, ICMPv6Redirect, NDPRedirectSize) }

// Target is the better first hop; it is Destination if that is a neighbour.
func (h NDPRedirect) Target() netip.Addr { return get16(h[8:24]) }

// Destination is the address that is reached by Target.
func (h NDPRedirect) Destination() netip.Addr { return get16(h[24:40]) }

// Options are the bytes of the options; see WalkNDPOptions.
func (h NDPRedirect) Options() []byte { return h[NDPRedirectSize:] }

// Encode writes the message without options and with a checksum of 0.
func (h NDPRedirect) Encode(target, destination netip.Addr) {
	encodeNDP(h, ICMPv6Redirect, NDPRedirectSize)
	put16(h[8:24], target)
	put16(h[24:40], destination)
}
