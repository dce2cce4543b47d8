package header

// Types of IPv4 options (RFC 791 section 3.1, RFC 2113). Bit 7 says that fragments have a copy.
const (
	IPv4OptionEnd               = 0
	IPv4OptionNop               = 1
	IPv4OptionRecordRoute       = 7
	IPv4OptionTimestamp         = 68
	IPv4OptionLooseSourceRoute  = 131
	IPv4OptionStrictSourceRoute = 137
	IPv4OptionRouterAlert       = 148

	IPv4OptionCopied    = 0x80
	IPv4OptionsMaximum  = 40
	IPv4RouterAlertSize = 4

	// Flags of the timestamp option: what is recorded.
	IPv4TimestampOnly         = 0
	IPv4TimestampAndAddress   = 1
	IPv4TimestampPrespecified = 3
)

// IPv4RouterAlert is the option that IGMP packets carry (RFC 2113 section 2.1, RFC 3376
// section 4).
func IPv4RouterAlert() [IPv4RouterAlertSize]byte {
	return [IPv4RouterAlertSize]byte{IPv4OptionRouterAlert, IPv4RouterAlertSize, 0, 0}
}

// IPv4OptionWalker goes through the options of an IPv4 header, no-operations left out.
type IPv4OptionWalker struct {
	all       []byte
	next      int
	malformed bool

	// Type is that of the current option, Offset its place in the bytes that are walked.
	Type   uint8
	Offset int
	// Option is the whole option, at least the two bytes of type and length. It is a part
	// of the packet: writing to it changes the packet.
	Option []byte
}

// WalkIPv4Options begins a walk over b, which IPv4.Options returned or an application gave.
func WalkIPv4Options(b []byte) IPv4OptionWalker { return IPv4OptionWalker{all: b} }

// Next goes on to the next option and says whether there is one.
func (w *IPv4OptionWalker) Next() bool {
	for w.next < len(w.all) && !w.malformed {
		rest := w.all[w.next:]
		w.Offset = w.next
		switch rest[0] {
		case IPv4OptionEnd:
			w.next = len(w.all)
			return false
		case IPv4OptionNop:
			w.next++
			continue
		}
		if len(rest) < 2 || rest[1] < 2 || int(rest[1]) > len(rest) {
			w.malformed = true
			return false
		}
		w.Type, w.Option = rest[0], rest[:rest[1]:rest[1]]
		w.next += len(w.Option)
		return true
	}
	return false
}

// Malformed says that the walk ended early at Offset, at an option whose length is wrong; a
// parameter problem points there (RFC 1122 section 3.2.2.5).
func (w *IPv4OptionWalker) Malformed() bool { return w.malformed }
