package ipv4

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"time"

	"runsc/pkg/tcpip/header"
)

// optionFault says what is wrong with a packet's options: where, in the header, and whether
// the sender is told (parameter problem).
type optionFault struct {
	pointer int
	report  bool
	// sourceRoute: they have a source route, which is refused.
	sourceRoute bool
}

// milliseconds is the time stamp of options and ICMP: since midnight UT (RFC 791 section 3.1, RFC
// 792).
func milliseconds(t time.Time) uint32 {
	t = t.UTC()
	return uint32((t.Hour()*3600+t.Minute()*60+t.Second())*1000 + t.Nanosecond()/1e6)
}

// fillOptions reads a packet's options and fills in what they ask for: self is the address that
// records the visit. changed says that it has written to them.
func (e *endpoint) fillOptions(options []byte, self netip.Addr) (changed bool, fault *optionFault) {
	w := header.WalkIPv4Options(options)
	for w.Next() {
		at := header.IPv4MinimumSize + w.Offset
		switch w.Type {
		case header.IPv4OptionLooseSourceRoute, header.IPv4OptionStrictSourceRoute:
			// RFC 7126 sections 4.3 and 4.4: packets with source routes are dropped.
			return changed, &optionFault{pointer: at, sourceRoute: true}
		case header.IPv4OptionRecordRoute:
			c, bad := recordRoute(w.Option, self)
			if bad >= 0 {
				return changed, &optionFault{pointer: at + bad, report: true}
			}
			changed = changed || c
		case header.IPv4OptionTimestamp:
			c, bad := timestamp(w.Option, self, milliseconds(e.stack.Clock().Now()), func(a netip.Addr) bool { return e.stack.IsLocal(0, a) })
			if bad >= 0 {
				return changed, &optionFault{pointer: at + bad, report: true}
			}
			changed = changed || c
		}
	}
	if w.Malformed() {
		return changed, &optionFault{pointer: header.IPv4MinimumSize + w.Offset + 1, report: true}
	}
	return changed, nil
}

// ownOptions are the options of a packet of this host: in those that record the way it begins with
// the source, as in Linux. It allocates, which only packets with options shall cost.
func (e *endpoint) ownOptions(options []byte, source netip.Addr) []byte {
	options = slices.Clone(options)
	e.fillOptions(options, source)
	return options
}

// recordRoute adds self to a record route option (RFC 791 section 3.1, "Record Route"). bad is the
// offset of what is wrong in it, -1: nothing is.
func recordRoute(o []byte, self netip.Addr) (changed bool, bad int) {
	if len(o) < 3 {
		return false, 1
	}
	ptr := int(o[2])
	switch {
	case ptr < 4:
		return false, 2
	case ptr > len(o):
		return false, -1 // full: the packet goes on
	case ptr+3 > len(o):
		return false, 2
	}
	a := self.As4()
	copy(o[ptr-1:], a[:])
	o[2] += 4
	return true, -1
}

// timestamp adds the time now to a timestamp option (RFC 791 section 3.1, "Internet Timestamp").
func timestamp(o []byte, self netip.Addr, now uint32, ours func(netip.Addr) bool) (changed bool, bad int) {
	if len(o) < 4 {
		return false, 1
	}
	ptr, flag := int(o[2]), o[3]&0xf
	size := 8
	switch {
	case flag == header.IPv4TimestampOnly:
		size = 4
	case flag != header.IPv4TimestampAndAddress && flag != header.IPv4TimestampPrespecified:
		return false, 3
	}
	switch {
	case ptr < 5:
		return false, 2
	case ptr > len(o):
		if flag == header.IPv4TimestampPrespecified {
			return false, -1 // the list has been gone through
		}
		if o[3]>>4 == 0xf {
			return false, 3 // the overflow count is full: an error, says RFC 791
		}
		o[3] += 1 << 4
		return true, -1
	case ptr-1+size > len(o):
		return false, 2
	}
	slot := o[ptr-1:]
	switch flag {
	case header.IPv4TimestampAndAddress:
		a := self.As4()
		copy(slot, a[:])
		slot = slot[4:]
	case header.IPv4TimestampPrespecified:
		if !ours(netip.AddrFrom4([4]byte(slot[:4]))) {
			return false, -1
		}
		slot = slot[4:]
	}
	binary.BigEndian.PutUint32(slot, now)
	o[2] += uint8(size)
	return true, -1
}

// echoOptions are the options that the answer to an echo or timestamp request has: those of the
// request that record the way (RFC 1122 section 3.2.2.6). dst has room for 40 bytes.
func echoOptions(dst, options []byte) []byte {
	w := header.WalkIPv4Options(options)
	for w.Next() {
		switch w.Type {
		case header.IPv4OptionRecordRoute, header.IPv4OptionTimestamp:
			dst = append(dst, w.Option...)
		}
	}
	for len(dst)%4 != 0 {
		dst = append(dst, header.IPv4OptionEnd)
	}
	return dst
}

// copiedOptions are the options that fragments after the first have (RFC 791 section 3.1). dst has
// room for 40 bytes.
func copiedOptions(dst, options []byte) []byte {
	w := header.WalkIPv4Options(options)
	for w.Next() {
		if w.Type&header.IPv4OptionCopied != 0 {
			dst = append(dst, w.Option...)
		}
	}
	for len(dst)%4 != 0 {
		dst = append(dst, header.IPv4OptionEnd)
	}
	return dst
}
