// Package header has views of the headers in a packet: byte slices with names for their fields.
//
// A view (Ethernet, ARP, IPv4, IPv6, ICMPv4, ICMPv6, UDP, TCP, IGMP…, MLD…, NDP…) is a []byte
// that begins at the header's first byte. It may end behind the header or go on into the payload;
// it copies nothing, and it holds no lock: whoever owns the bytes owns the view.
//
// Bytes from outside are hostile until Valid said true: after it no getter can panic or read
// outside the view. Valid looks at lengths and versions only, not at checksums or at what
// addresses are allowed. Where a header states the packet's length, Valid takes size, the number
// of bytes that there are from the header's start on, in this view or behind it, so that a packet
// may lie in several pieces as long as the header itself lies in one. Getters of a view for which
// Valid was not called may panic.
//
// Encode writes all of a header's fields, reserved ones as zero, and leaves the checksum zero
// (IPv4: computes it). The caller provides the room; too little is a bug and panics.
//
// Checksums: for TCP, UDP, ICMP and IGMP, SetChecksum and ChecksumOK sum the whole view and add
// partial, which the caller computes with package checksum over all that is covered besides: the
// pseudo-header, and the payload if it does not lie in the view. In that case the view's length
// has to be even, as that of every header is. Trailing bytes that are not of the packet (Ethernet
// padding) have to be cut off before.
//
// Addresses are netip.Addr without a zone; those of IPv4 are four bytes, never mapped. A zero
// Addr is written as the unspecified address. Numbers are in host order.
//
// Lists inside of headers (IPv4 options, IPv6 extension headers and their options, NDP options,
// group records) have walkers: values on the stack with Next, used as
//
//	for w := header.WalkNDPOptions(b); w.Next(); {
//		… w.Type, w.Option …
//	}
//
// Walkers take hostile bytes and stop at the first thing that is malformed; Malformed tells.
package header

import (
	"encoding/binary"
	"net/netip"
)

var be = binary.BigEndian

func get4(b []byte) netip.Addr  { return netip.AddrFrom4([4]byte(b)) }
func get16(b []byte) netip.Addr { return netip.AddrFrom16([16]byte(b)) }

// put4 writes an IPv4 address, or zeros for one that is not valid.
func put4(b []byte, a netip.Addr) {
	if !a.IsValid() {
		clear(b[:4])
		return
	}
	v := a.As4()
	copy(b[:4], v[:])
}

func put16(b []byte, a netip.Addr) {
	v := a.As16()
	copy(b[:16], v[:])
}

// addressAt4 and addressAt16 return address i of a list.
func addressAt4(b []byte, i int) netip.Addr  { return get4(b[4*i : 4*i+4]) }
func addressAt16(b []byte, i int) netip.Addr { return get16(b[16*i : 16*i+16]) }
