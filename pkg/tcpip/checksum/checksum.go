// Package checksum computes the Internet checksum (RFC 1071): the one's complement of the
// one's complement sum of 16-bit words in network order, a last odd byte being the high half of
// a word.
//
// Partial sums are plain uint32. What Sum, Add and PseudoHeader return is at most 0xffff, so
// that up to 65,537 of them can be added with + before the next call folds them. A checksum is
// built in three steps: a pseudo-header or 0, Sum over the parts, Finish:
//
//	partial := checksum.PseudoHeader(17, src, dst, length)
//	partial = checksum.Sum(header, partial)
//	partial = checksum.Sum(payload, partial) // header has an even length
//	field := checksum.Finish(partial)
//
// Data that is cut at odd offsets goes through Add, which hands the parity from piece to piece:
//
//	odd := false
//	for _, piece := range pieces {
//		partial, odd = checksum.Add(partial, piece, odd)
//	}
//
// Data that arrived with its checksum in place is good if OK says so of its partial sum.
//
// Nothing here allocates, locks or keeps a reference to what it reads.
package checksum

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
)

// Sum adds b, which begins at an even offset of the data, to partial. The result is at most
// 0xffff.
func Sum(b []byte, partial uint32) uint32 {
	// One's complement addition does not care about the byte order (RFC 1071 section 2 (B)),
	// so words are read as this machine likes them and the result is swapped once.
	var acc, carry uint64
	for len(b) >= 64 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[8:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[16:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[24:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[32:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[40:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[48:]), carry)
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b[56:]), carry)
		b = b[64:]
	}
	for len(b) >= 8 {
		acc, carry = bits.Add64(acc, binary.LittleEndian.Uint64(b), carry)
		b = b[8:]
	}
	var last uint64
	shift := 0
	if len(b) >= 4 {
		last = uint64(binary.LittleEndian.Uint32(b))
		b, shift = b[4:], 32
	}
	if len(b) >= 2 {
		last |= uint64(binary.LittleEndian.Uint16(b)) << shift
		b, shift = b[2:], shift+16
	}
	if len(b) == 1 {
		last |= uint64(b[0]) << shift
	}
	acc, carry = bits.Add64(acc, last, carry)
	// The carry goes in after the halves were added: acc may be all ones.
	acc = acc>>32 + acc&0xffffffff + carry
	acc = acc>>32 + acc&0xffffffff
	return uint32(Fold(uint32(Fold(partial)) + swap(uint32(acc))))
}

func swap(sum uint32) uint32 { return uint32(bits.ReverseBytes16(Fold(sum))) }

// Add adds b to partial like Sum. odd says that b begins at an odd offset of the data; the
// second result says the same of what follows b.
func Add(partial uint32, b []byte, odd bool) (uint32, bool) {
	end := odd != (len(b)&1 == 1)
	if !odd {
		return Sum(b, partial), end
	}
	// Swapping the bytes of a sum is the same as shifting the data by one (RFC 1071 section 2
	// (B)).
	return uint32(Fold(uint32(Fold(partial)) + swap(Sum(b, 0)))), end
}

// Fold brings a partial sum down to 16 bits, without the final complement.
func Fold(partial uint32) uint16 {
	partial = partial>>16 + partial&0xffff
	return uint16(partial>>16 + partial)
}

// Finish is the checksum of a partial sum: what goes into a header's field.
func Finish(partial uint32) uint16 { return ^Fold(partial) }

// OK says whether partial, a sum over data with its checksum in place, shows no error.
func OK(partial uint32) bool { return Fold(partial) == 0xffff }

// Combine adds two folded sums, of data at even offsets.
func Combine(a, b uint16) uint16 { return Fold(uint32(a) + uint32(b)) }

// PseudoHeader is the partial sum of the pseudo-header of IPv4 (RFC 9293 section 3.1) or IPv6
// (RFC 8200 section 8.1). length is that of the transport header and its payload in bytes. Both
// addresses are of the same family; one that is not valid counts as unspecified.
func PseudoHeader(protocol uint8, src, dst netip.Addr, length uint32) uint32 {
	return uint32(Fold(address(src) + address(dst) + length>>16 + length&0xffff + uint32(protocol)))
}

// address is the partial sum of an address, at most 8 * 0xffff.
func address(a netip.Addr) uint32 {
	if a.Is4() {
		b := a.As4()
		return uint32(binary.BigEndian.Uint16(b[:])) + uint32(binary.BigEndian.Uint16(b[2:]))
	}
	b := a.As16()
	return uint32(swap64(binary.LittleEndian.Uint64(b[:]))) + uint32(swap64(binary.LittleEndian.Uint64(b[8:])))
}

// swap64 is the network-order sum of four words that were read as one little-endian number.
func swap64(v uint64) uint16 {
	v = v>>32 + v&0xffffffff
	v = v>>32 + v&0xffffffff
	return bits.ReverseBytes16(Fold(uint32(v)))
}

// Update16 is the checksum field check after one word that it covers went from old to new (RFC
// 1624 section 3, equation 3). The word is at an even offset of the data.
func Update16(check, old, new uint16) uint16 {
	return ^Fold(uint32(^check) + uint32(^old) + uint32(new))
}

// Update32 is Update16 for two words.
func Update32(check uint16, old, new uint32) uint16 {
	return Update16(Update16(check, uint16(old>>16), uint16(new>>16)), uint16(old), uint16(new))
}

// UpdateAddr is Update16 for an address, in a header or in a pseudo-header. The addresses may be
// of different families (RFC 7915 translation).
func UpdateAddr(check uint16, old, new netip.Addr) uint16 {
	return ^Fold(uint32(^check) + uint32(^Fold(address(old))) + address(new))
}
