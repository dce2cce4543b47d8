package header

// Kinds of TCP options (RFC 9293 section 3.2, RFC 7323, RFC 2018, RFC 7413, RFC 2385).
const (
	TCPOptionEnd           = 0
	TCPOptionNop           = 1
	TCPOptionMSS           = 2
	TCPOptionWindowScale   = 3
	TCPOptionSACKPermitted = 4
	TCPOptionSACK          = 5
	TCPOptionTimestamp     = 8
	TCPOptionMD5           = 19
	TCPOptionFastOpen      = 34
)

// Limits of TCP options.
const (
	// TCPMaximumWindowScale is the greatest shift (RFC 7323 section 2.3).
	TCPMaximumWindowScale = 14
	// TCPMaximumSACKBlocks is how many blocks fit into a header; with a timestamp one less
	// (RFC 2018 section 3).
	TCPMaximumSACKBlocks = 4
	// Sizes of a fast open cookie in bytes (RFC 7413 section 2).
	TCPMinimumCookie = 4
	TCPMaximumCookie = 16

	// TCPTimestampSize is what a timestamp takes of each segment, with padding.
	TCPTimestampSize = 12
)

// SACKBlock is a range of sequence numbers that arrived: from Start up to but not including End.
// Nothing is known about hostile ones, Start may be behind End.
type SACKBlock struct{ Start, End uint32 }

// TCPOptions are the options of a segment.
type TCPOptions struct {
	// MSS is the greatest segment in bytes that the sender takes; 0: none was given.
	MSS uint16
	// WindowScale is at most TCPMaximumWindowScale.
	WindowScale                                            uint8
	HasWindowScale, SACKPermitted, HasTimestamp, HasCookie bool
	// TSVal and TSEcr are the timestamp and its echo.
	TSVal, TSEcr uint32
	// SACKBlocks are the first SACKCount of them.
	SACKCount  int
	SACKBlocks [TCPMaximumSACKBlocks]SACKBlock
	// Cookie is the first CookieLength bytes; with HasCookie and none of them it is the
	// request for one.
	CookieLength int
	Cookie       [TCPMaximumCookie]byte
}

// ParseOptions sets o to the options of a valid header. Options that only a SYN may have (MSS,
// window scale, SACK permitted, fast open) are left out of other segments. It returns what Parse
// does.
func (h TCP) ParseOptions(o *TCPOptions) bool {
	ok := o.Parse(h.Options())
	if h.Flags()&TCPFlagSyn == 0 {
		o.MSS, o.WindowScale, o.CookieLength = 0, 0, 0
		o.HasWindowScale, o.SACKPermitted, o.HasCookie = false, false, false
	}
	return ok
}

// Parse sets o to the options in b. It takes hostile bytes: at an option whose length is less than
// two or beyond the end it stops, keeps what it has and returns false. Unknown options, and known
// ones of a size that they cannot have, are skipped. A greater window scale than allowed is
// TCPMaximumWindowScale (RFC 7323 section 2.3). It does not allocate.
func (o *TCPOptions) Parse(b []byte) bool {
	*o = TCPOptions{}
	// What nearly every segment of an established connection has (RFC 7323 appendix A).
	if len(b) == TCPTimestampSize && be.Uint32(b) == TCPOptionNop<<24|TCPOptionNop<<16|TCPOptionTimestamp<<8|10 {
		o.HasTimestamp, o.TSVal, o.TSEcr = true, be.Uint32(b[4:]), be.Uint32(b[8:])
		return true
	}
	for len(b) > 0 {
		switch b[0] {
		case TCPOptionEnd:
			return true
		case TCPOptionNop:
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return false
		}
		o.parse(b[0], b[2:b[1]])
		b = b[b[1]:]
	}
	return true
}

// parse takes one option without its kind and length bytes.
func (o *TCPOptions) parse(kind uint8, data []byte) {
	switch kind {
	case TCPOptionMSS:
		if len(data) == 2 {
			o.MSS = be.Uint16(data)
		}
	case TCPOptionWindowScale:
		if len(data) == 1 {
			o.WindowScale, o.HasWindowScale = min(data[0], TCPMaximumWindowScale), true
		}
	case TCPOptionSACKPermitted:
		if len(data) == 0 {
			o.SACKPermitted = true
		}
	case TCPOptionSACK:
		if len(data) == 0 || len(data)%8 != 0 {
			return
		}
		o.SACKCount = min(len(data)/8, TCPMaximumSACKBlocks)
		for i := range o.SACKCount {
			o.SACKBlocks[i] = SACKBlock{be.Uint32(data[8*i:]), be.Uint32(data[8*i+4:])}
		}
	case TCPOptionTimestamp:
		if len(data) == 8 {
			o.HasTimestamp, o.TSVal, o.TSEcr = true, be.Uint32(data), be.Uint32(data[4:])
		}
	case TCPOptionFastOpen:
		n := len(data)
		if n == 0 || n >= TCPMinimumCookie && n <= TCPMaximumCookie && n%2 == 0 {
			o.HasCookie, o.CookieLength = true, n
			clear(o.Cookie[copy(o.Cookie[:], data):]) // there may have been a longer one
		}
	}
}

// SACK is the blocks that are there. It aliases o.
func (o *TCPOptions) SACK() []SACKBlock { return o.SACKBlocks[:o.SACKCount] }

// Length is how many bytes Encode writes, a multiple of four and at most TCPOptionsMaximum.
func (o *TCPOptions) Length() int {
	n := o.fixedLength()
	return n + sackLength(o.sackFit(n))
}

// fixedLength is the length of all but the SACK blocks.
func (o *TCPOptions) fixedLength() int {
	n := 0
	if o.MSS != 0 {
		n += 4
	}
	switch {
	case o.HasTimestamp:
		n += TCPTimestampSize // with SACK permitted in the place of padding
	case o.SACKPermitted:
		n += 4
	}
	if o.HasWindowScale {
		n += 4
	}
	if o.HasCookie {
		n += (2 + o.CookieLength + 3) &^ 3
	}
	return n
}

// sackFit is how many SACK blocks fit behind n bytes of other options.
func (o *TCPOptions) sackFit(n int) int {
	return max(0, min(o.SACKCount, (TCPOptionsMaximum-n-4)/8))
}

func sackLength(blocks int) int {
	if blocks == 0 {
		return 0
	}
	return 4 + 8*blocks
}

// Encode writes the options to b, each padded to four bytes, and returns Length, for which b has to
// have room. SACK blocks that do not fit into a header are left out, the last ones first; nothing
// else can be too long.
func (o *TCPOptions) Encode(b []byte) int {
	i := 0
	if o.MSS != 0 {
		be.PutUint32(b, TCPOptionMSS<<24|4<<16|uint32(o.MSS))
		i += 4
	}
	switch {
	case o.HasTimestamp:
		pad := uint32(TCPOptionNop<<24 | TCPOptionNop<<16)
		if o.SACKPermitted {
			pad = TCPOptionSACKPermitted<<24 | 2<<16
		}
		be.PutUint32(b[i:], pad|TCPOptionTimestamp<<8|10)
		be.PutUint32(b[i+4:], o.TSVal)
		be.PutUint32(b[i+8:], o.TSEcr)
		i += TCPTimestampSize
	case o.SACKPermitted:
		be.PutUint32(b[i:], TCPOptionNop<<24|TCPOptionNop<<16|TCPOptionSACKPermitted<<8|2)
		i += 4
	}
	if o.HasWindowScale {
		be.PutUint32(b[i:], TCPOptionNop<<24|TCPOptionWindowScale<<16|3<<8|uint32(o.WindowScale))
		i += 4
	}
	if o.HasCookie {
		n := 2 + o.CookieLength
		for ; n%4 != 0; n++ {
			b[i] = TCPOptionNop
			i++
		}
		b[i], b[i+1] = TCPOptionFastOpen, uint8(2+o.CookieLength)
		i += 2 + copy(b[i+2:], o.Cookie[:o.CookieLength])
	}
	if k := o.sackFit(i); k > 0 {
		be.PutUint32(b[i:], TCPOptionNop<<24|TCPOptionNop<<16|TCPOptionSACK<<8|uint32(2+8*k))
		i += 4
		for _, s := range o.SACKBlocks[:k] {
			be.PutUint32(b[i:], s.Start)
			be.PutUint32(b[i+4:], s.End)
			i += 8
		}
	}
	return i
}
