package header

import (
	"net/netip"
	"time"

	"runsc/pkg/tcpip"
)

// Types of NDP options (RFC 4861 section 4.6, RFC 3971, RFC 4191, RFC 8106).
const (
	NDPOptionSourceLink = 1
	NDPOptionTargetLink = 2
	NDPOptionPrefix     = 3
	NDPOptionRedirected = 4
	NDPOptionMTU        = 5
	NDPOptionNonce      = 14
	NDPOptionRouteInfo  = 24
	NDPOptionRDNSS      = 25
	NDPOptionDNSSL      = 31
)

// Sizes of NDP options in bytes.
const (
	NDPLinkOptionSize    = 8
	NDPPrefixOptionSize  = 32
	NDPMTUOptionSize     = 8
	NDPNonceOptionSize   = 8
	NDPRDNSSOptionSize   = 8 // without the addresses
	NDPRouteInfoBaseSize = 8 // without the prefix
)

// NDPInfinite is a lifetime of all ones: it never ends (RFC 4861 section 4.6.2). It is longer than
// every finite one.
const NDPInfinite = time.Duration(1<<63 - 1)

// lifetime reads a field of seconds in which all ones mean infinity.
func lifetime(b []byte) time.Duration {
	v := be.Uint32(b)
	if v == 1<<32-1 {
		return NDPInfinite
	}
	return time.Duration(v) * time.Second
}

// putLifetime writes what lifetime reads. Finite times that are too long are the longest one.
func putLifetime(b []byte, d time.Duration) {
	v := uint32(1<<32 - 1)
	if d != NDPInfinite {
		v = uint32(units(d, time.Second, 1<<32-2))
	}
	be.PutUint32(b, v)
}

// NDPOptionWalker goes through the options of an NDP message.
type NDPOptionWalker struct {
	rest      []byte
	malformed bool

	// Type is that of the current option.
	Type uint8
	// Option is the whole option, type and length included. Convert it to the type that
	// Type tells and ask its Valid.
	Option []byte
}

// WalkNDPOptions begins a walk over b, which a message's Options returned.
func WalkNDPOptions(b []byte) NDPOptionWalker { return NDPOptionWalker{rest: b} }

// Next goes on to the next option and says whether there is one.
func (w *NDPOptionWalker) Next() bool {
	if len(w.rest) == 0 || w.malformed {
		return false
	}
	if len(w.rest) < 8 || w.rest[1] == 0 || int(w.rest[1])*8 > len(w.rest) {
		w.malformed = true
		return false
	}
	n := int(w.rest[1]) * 8
	w.Type, w.Option = w.rest[0], w.rest[:n:n]
	w.rest = w.rest[n:]
	return true
}

// Malformed says that the walk ended at an option that is not complete or has a length of 0. The
// whole message is to be dropped (RFC 4861 section 4.6).
func (w *NDPOptionWalker) Malformed() bool { return w.malformed }

// validNDPOption says whether b is a complete option of type t and at least size bytes.
func validNDPOption(b []byte, t uint8, size int) bool {
	return len(b) >= size && b[0] == t && int(b[1])*8 >= size && int(b[1])*8 <= len(b)
}

// NDPLinkOption is a source or target link-layer address option for Ethernet (RFC 4861 section
// 4.6.1, RFC 2464 section 6).
type NDPLinkOption []byte

// Valid says whether the option is complete and of either type.
func (o NDPLinkOption) Valid() bool {
	return len(o) >= NDPLinkOptionSize && (o[0] == NDPOptionSourceLink || o[0] == NDPOptionTargetLink) && o[1] == 1
}

// Address is the link address.
func (o NDPLinkOption) Address() tcpip.LinkAddress { return tcpip.LinkAddress(o[2:8]) }

// Encode writes the option and returns its size in bytes. t is NDPOptionSourceLink or
// NDPOptionTargetLink.
func (o NDPLinkOption) Encode(t uint8, a tcpip.LinkAddress) int {
	o[0], o[1] = t, 1
	return 2 + copy(o[2:8], a[:])
}

// NDPPrefix is a prefix information option (RFC 4861 section 4.6.2).
type NDPPrefix []byte

// NDPPrefixFields are the fields of a prefix information option.
type NDPPrefixFields struct {
	Prefix             netip.Prefix
	OnLink, Autonomous bool
	// Valid and Preferred are in seconds, or NDPInfinite.
	Valid, Preferred time.Duration
}

// Valid says whether the option is complete and the prefix at most 128 bits long.
func (o NDPPrefix) Valid() bool {
	return validNDPOption(o, NDPOptionPrefix, NDPPrefixOptionSize) && o[2] <= 128
}

// Prefix is the prefix, with the bits behind its length cleared.
func (o NDPPrefix) Prefix() netip.Prefix {
	return netip.PrefixFrom(get16(o[16:32]), int(o[2])).Masked()
}

// OnLink says that addresses of the prefix are neighbours.
func (o NDPPrefix) OnLink() bool { return o[3]&0x80 != 0 }

// Autonomous says that hosts make addresses with the prefix (RFC 4862 section 5.5.3).
func (o NDPPrefix) Autonomous() bool { return o[3]&0x40 != 0 }

// ValidLifetime is how long the prefix is on the link and addresses of it may be used.
func (o NDPPrefix) ValidLifetime() time.Duration { return lifetime(o[4:]) }

// PreferredLifetime is how long addresses of the prefix are preferred.
func (o NDPPrefix) PreferredLifetime() time.Duration { return lifetime(o[8:]) }

// Encode writes the option and returns its size in bytes.
func (o NDPPrefix) Encode(f NDPPrefixFields) int {
	clear(o[:NDPPrefixOptionSize])
	o[0], o[1] = NDPOptionPrefix, NDPPrefixOptionSize/8
	o[2] = uint8(f.Prefix.Bits())
	o[3] = flag(f.OnLink, 0x80) | flag(f.Autonomous, 0x40)
	putLifetime(o[4:], f.Valid)
	putLifetime(o[8:], f.Preferred)
	put16(o[16:32], f.Prefix.Masked().Addr())
	return NDPPrefixOptionSize
}

// NDPMTU is an MTU option (RFC 4861 section 4.6.4).
type NDPMTU []byte

// Valid says whether the option is complete.
func (o NDPMTU) Valid() bool { return validNDPOption(o, NDPOptionMTU, NDPMTUOptionSize) }

// MTU is the link's MTU in bytes, any value.
func (o NDPMTU) MTU() uint32 { return be.Uint32(o[4:]) }

// Encode writes the option and returns its size in bytes.
func (o NDPMTU) Encode(mtu uint32) int {
	be.PutUint32(o, NDPOptionMTU<<24|1<<16)
	be.PutUint32(o[4:], mtu)
	return NDPMTUOptionSize
}

// NDPNonce is a nonce option of six bytes, by which a node knows its own solicitations (RFC 3971
// section 5.3.2, RFC 7527).
type NDPNonce []byte

// Valid says whether the option is complete. Longer nonces are none of ours.
func (o NDPNonce) Valid() bool {
	return validNDPOption(o, NDPOptionNonce, NDPNonceOptionSize) && o[1] == 1
}

// Nonce is the random bytes.
func (o NDPNonce) Nonce() [6]byte { return [6]byte(o[2:8]) }

// Encode writes the option and returns its size in bytes.
func (o NDPNonce) Encode(nonce [6]byte) int {
	o[0], o[1] = NDPOptionNonce, 1
	return 2 + copy(o[2:8], nonce[:])
}

// NDPRDNSS is a recursive DNS server option (RFC 8106 section 5.1).
type NDPRDNSS []byte

// Valid says whether the option is complete and has at least one whole address.
func (o NDPRDNSS) Valid() bool {
	return validNDPOption(o, NDPOptionRDNSS, NDPRDNSSOptionSize+16) && o[1]%2 == 1
}

// Lifetime is how long the servers may be used; 0: no more.
func (o NDPRDNSS) Lifetime() time.Duration { return lifetime(o[4:]) }

// Count is the number of servers.
func (o NDPRDNSS) Count() int { return int(o[1]) / 2 }

// Server is the address of server i, less than Count.
func (o NDPRDNSS) Server(i int) netip.Addr { return addressAt16(o[NDPRDNSSOptionSize:], i) }

// Encode writes the option and returns its size in bytes: 8 and 16 per server, of which there are
// 127 at most.
func (o NDPRDNSS) Encode(d time.Duration, servers ...netip.Addr) int {
	n := NDPRDNSSOptionSize + 16*len(servers)
	_ = o[n-1]
	be.PutUint32(o, NDPOptionRDNSS<<24|uint32(n/8)<<16)
	putLifetime(o[4:], d)
	for i, a := range servers {
		put16(o[NDPRDNSSOptionSize+16*i:], a)
	}
	return n
}

// NDPRouteInfo is a route information option (RFC 4191 section 2.3).
type NDPRouteInfo []byte

// Valid says whether the option is complete and long enough for its prefix.
func (o NDPRouteInfo) Valid() bool {
	return validNDPOption(o, NDPOptionRouteInfo, NDPRouteInfoBaseSize) && o[1] <= 3 &&
		o[2] <= 128 && int(o[2]) <= (int(o[1])-1)*64
}

// Prefix is where the route leads, with the bits behind its length cleared.
func (o NDPRouteInfo) Prefix() netip.Prefix {
	var a [16]byte
	copy(a[:], o[NDPRouteInfoBaseSize:int(o[1])*8])
	return netip.PrefixFrom(netip.AddrFrom16(a), int(o[2])).Masked()
}

// Preference is NDPPreference…. An option whose preference is reserved is to be ignored.
func (o NDPRouteInfo) Preference() uint8 { return o[3] >> 3 & 3 }

// Lifetime is how long the route lasts.
func (o NDPRouteInfo) Lifetime() time.Duration { return lifetime(o[4:]) }

// Encode writes the option and returns its size in bytes: 8, 16 or 24.
func (o NDPRouteInfo) Encode(p netip.Prefix, preference uint8, d time.Duration) int {
	n := NDPRouteInfoBaseSize + (p.Bits()+63)/64*8
	_ = o[n-1]
	o[0], o[1], o[2], o[3] = NDPOptionRouteInfo, uint8(n/8), uint8(p.Bits()), preference&3<<3
	putLifetime(o[4:], d)
	a := p.Masked().Addr().As16()
	copy(o[NDPRouteInfoBaseSize:n], a[:])
	return n
}
