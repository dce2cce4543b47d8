package header

import (
	"net/netip"
	"time"
)

// Sizes of MLD messages in bytes (RFC 2710 section 3, RFC 3810 section 5).
const (
	MLDSize         = 24
	MLDv2QuerySize  = 28 // without the sources
	MLDv2ReportSize = 8  // without the records
)

// MLD is a view of a message of MLDv1, the whole ICMPv6 message (RFC 2710 section 3). Its type is
// ICMPv6MLDQuery, ICMPv6MLDReport or ICMPv6MLDDone. Convert to ICMPv6 for type and checksum.
type MLD []byte

// MLDFields are the fields of an MLDv1 message.
type MLDFields struct {
	Type uint8
	// MaxResponse is of queries, in milliseconds.
	MaxResponse time.Duration
	Group       netip.Addr
}

// Valid says whether the message is complete and of one of the three types.
func (h MLD) Valid() bool {
	return len(h) >= MLDSize && h[0] >= ICMPv6MLDQuery && h[0] <= ICMPv6MLDDone
}

// QueryVersion is the version of a query, or 0 for one that must be ignored (RFC 3810 section
// 8.1). The view has to end with the message.
func (h MLD) QueryVersion() int {
	switch {
	case len(h) >= MLDv2QuerySize:
		return 2
	case len(h) == MLDSize:
		return 1
	}
	return 0
}

// MaxResponseTime is within which time a query of version 1 is to be answered.
func (h MLD) MaxResponseTime() time.Duration {
	return time.Duration(be.Uint16(h[4:])) * time.Millisecond
}

// Group is the group's address; unspecified in a general query.
func (h MLD) Group() netip.Addr { return get16(h[8:24]) }

// Encode writes the message with a checksum of 0.
func (h MLD) Encode(f MLDFields) {
	encodeNDP(h, f.Type, MLDSize)
	be.PutUint16(h[4:], uint16(units(f.MaxResponse, time.Millisecond, 1<<16-1)))
	put16(h[8:24], f.Group)
}

// MLDv2Query is a view of a query of version 2, the whole ICMPv6 message (RFC 3810 section 5.1).
type MLDv2Query []byte

// Valid says whether the message with its sources lies in the view.
func (h MLDv2Query) Valid() bool {
	return len(h) >= MLDv2QuerySize && h[0] == ICMPv6MLDQuery && MLDv2QuerySize+16*h.Count() <= len(h)
}

// MaxResponseTime is within which time the query is to be answered.
func (h MLDv2Query) MaxResponseTime() time.Duration {
	return time.Duration(float16(be.Uint16(h[4:]))) * time.Millisecond
}

// Group is the group's address; unspecified in a general query.
func (h MLDv2Query) Group() netip.Addr { return get16(h[8:24]) }

// SuppressRouter is the S flag, of no interest to hosts.
func (h MLDv2Query) SuppressRouter() bool { return h[24]&8 != 0 }

// Robustness is the querier's robustness variable; 0: more than 7.
func (h MLDv2Query) Robustness() uint8 { return h[24] & 7 }

// Interval is the time between the querier's general queries.
func (h MLDv2Query) Interval() time.Duration { return time.Duration(float8(h[25])) * time.Second }

// Count is the number of sources.
func (h MLDv2Query) Count() int { return int(be.Uint16(h[26:])) }

// Source is source i, less than Count.
func (h MLDv2Query) Source(i int) netip.Addr { return addressAt16(h[MLDv2QuerySize:], i) }

// Encode writes the message with a checksum of 0 and returns its size in bytes: 28 and 16 per
// source.
func (h MLDv2Query) Encode(f GroupQueryFields) int {
	n := MLDv2QuerySize + 16*len(f.Sources)
	_ = h[n-1]
	encodeNDP(h, ICMPv6MLDQuery, MLDv2QuerySize)
	be.PutUint16(h[4:], toFloat16(int64(f.MaxResponse/time.Millisecond)))
	put16(h[8:24], f.Group)
	h[24] = flag(f.SuppressRouter, 8) | min(f.Robustness, 8)&7
	h[25] = toFloat8(int64(f.Interval / time.Second))
	be.PutUint16(h[26:], uint16(len(f.Sources)))
	for i, a := range f.Sources {
		put16(h[MLDv2QuerySize+16*i:], a)
	}
	return n
}

// float16 is the number that a code of two bytes means: itself below 32768, otherwise a mantissa of
// twelve bits and an exponent of three (RFC 3810 section 5.1.3).
func float16(code uint16) int64 {
	if code < 1<<15 {
		return int64(code)
	}
	return int64(code&0xfff|0x1000) << (code>>12&7 + 3)
}

// toFloat16 is the code of the greatest number that is not more than v.
func toFloat16(v int64) uint16 {
	if v < 1<<15 {
		return uint16(max(v, 0))
	}
	exp := 0
	for exp < 7 && v>>(exp+3) > 0x1fff {
		exp++
	}
	return 0x8000 | uint16(exp)<<12 | uint16(min(v>>(exp+3), 0x1fff))&0xfff
}
