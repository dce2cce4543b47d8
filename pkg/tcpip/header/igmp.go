package header

import (
	"net/netip"
	"time"

	"runsc/pkg/tcpip/checksum"
)

// Sizes of IGMP messages in bytes (RFC 2236 section 2, RFC 3376 section 4).
const (
	IGMPSize         = 8
	IGMPv3QuerySize  = 12 // without the sources
	IGMPv3ReportSize = 8  // without the records
)

// Types of IGMP messages.
const (
	IGMPTypeQuery    = 0x11
	IGMPTypeReportV1 = 0x12
	IGMPTypeReportV2 = 0x16
	IGMPTypeLeave    = 0x17
	IGMPTypeReportV3 = 0x22
)

// IGMP is a view of an IGMP message (RFC 2236).
type IGMP []byte

// IGMPFields are the fields of an IGMPv2 message.
type IGMPFields struct {
	Type uint8
	// MaxResponse is of queries, in tenths of a second; 0 in IGMPv1's.
	MaxResponse uint8
	Group       netip.Addr
}

// Valid says whether the header is complete. What kind of query or report it is depends on the
// length, too: see QueryVersion.
func (h IGMP) Valid() bool { return len(h) >= IGMPSize }

// Type is IGMPTypeQuery and so on.
func (h IGMP) Type() uint8 { return h[0] }

// QueryVersion is the version of a query, or 0 for one that must be ignored (RFC 3376 section
// 7.1). The view has to end with the message.
func (h IGMP) QueryVersion() int {
	switch {
	case len(h) >= IGMPv3QuerySize:
		return 3
	case len(h) != IGMPSize:
		return 0
	case h[1] == 0:
		return 1
	}
	return 2
}

// MaxResponseTime is within which time a query of version 2 is to be answered.
func (h IGMP) MaxResponseTime() time.Duration { return time.Duration(h[1]) * time.Second / 10 }

// Checksum is the checksum field.
func (h IGMP) Checksum() uint16 { return be.Uint16(h[2:]) }

// Group is the group's address; unspecified in a general query.
func (h IGMP) Group() netip.Addr { return get4(h[4:8]) }

// SetChecksumField sets the checksum field to the value.
func (h IGMP) SetChecksumField(sum uint16) { be.PutUint16(h[2:], sum) }

// SetChecksum computes the checksum of all of the message and stores it. partial is the sum of what
// is not in the view. It does for IGMPv3, too.
func (h IGMP) SetChecksum(partial uint32) {
	h.SetChecksumField(0)
	h.SetChecksumField(checksum.Finish(checksum.Sum(h, partial)))
}

// ChecksumOK says whether the checksum is right, with partial as for SetChecksum.
func (h IGMP) ChecksumOK(partial uint32) bool { return checksum.OK(checksum.Sum(h, partial)) }

// Encode writes the message with a checksum of 0.
func (h IGMP) Encode(f IGMPFields) {
	_ = h[IGMPSize-1]
	h[0], h[1] = f.Type, f.MaxResponse
	h.SetChecksumField(0)
	put4(h[4:8], f.Group)
}

// IGMPv3Query is a view of a query of version 3 (RFC 3376 section 4.1).
type IGMPv3Query []byte

// Valid says whether the message with its sources lies in the view.
func (h IGMPv3Query) Valid() bool {
	return len(h) >= IGMPv3QuerySize && h[0] == IGMPTypeQuery && IGMPv3QuerySize+4*h.Count() <= len(h)
}

// MaxResponseTime is within which time the query is to be answered.
func (h IGMPv3Query) MaxResponseTime() time.Duration {
	return time.Duration(float8(h[1])) * time.Second / 10
}

// Group is the group's address; unspecified in a general query.
func (h IGMPv3Query) Group() netip.Addr { return get4(h[4:8]) }

// SuppressRouter is the S flag, of no interest to hosts.
func (h IGMPv3Query) SuppressRouter() bool { return h[8]&8 != 0 }

// Robustness is the querier's robustness variable; 0: more than 7.
func (h IGMPv3Query) Robustness() uint8 { return h[8] & 7 }

// Interval is the time between the querier's general queries.
func (h IGMPv3Query) Interval() time.Duration { return time.Duration(float8(h[9])) * time.Second }

// Count is the number of sources.
func (h IGMPv3Query) Count() int { return int(be.Uint16(h[10:])) }

// Source is source i, less than Count.
func (h IGMPv3Query) Source(i int) netip.Addr { return addressAt4(h[IGMPv3QuerySize:], i) }

// GroupQueryFields are the fields of a query of IGMPv3 or MLDv2. Times are rounded down to what the
// code can tell.
type GroupQueryFields struct {
	MaxResponse    time.Duration
	Group          netip.Addr
	SuppressRouter bool
	Robustness     uint8
	Interval       time.Duration
	Sources        []netip.Addr
}

// Encode writes the message with a checksum of 0 and returns its size in bytes: 12 and 4 per source.
func (h IGMPv3Query) Encode(f GroupQueryFields) int {
	n := IGMPv3QuerySize + 4*len(f.Sources)
	_ = h[n-1]
	h[0], h[1] = IGMPTypeQuery, toFloat8(int64(f.MaxResponse/(time.Second/10)))
	be.PutUint16(h[2:], 0)
	put4(h[4:8], f.Group)
	h[8] = flag(f.SuppressRouter, 8) | min(f.Robustness, 8)&7
	h[9] = toFloat8(int64(f.Interval / time.Second))
	be.PutUint16(h[10:], uint16(len(f.Sources)))
	for i, a := range f.Sources {
		put4(h[IGMPv3QuerySize+4*i:], a)
	}
	return n
}

// float8 is the number that a code of one byte means: itself below 128, otherwise a mantissa of
// four bits and an exponent of three (RFC 3376 section 4.1.1, RFC 3810 section 5.1.9).
func float8(code uint8) int64 {
	if code < 128 {
		return int64(code)
	}
	return int64(code&0xf|0x10) << (code>>4&7 + 3)
}

// toFloat8 is the code of the greatest number that is not more than v.
func toFloat8(v int64) uint8 {
	if v < 128 {
		return uint8(max(v, 0))
	}
	exp := 0
	for exp < 7 && v>>(exp+3) > 0x1f {
		exp++
	}
	return 0x80 | uint8(exp)<<4 | uint8(min(v>>(exp+3), 0x1f))&0xf
}
