package tcp

// Sequence numbers wrap around, so they are compared by the sign of their difference (RFC 9293
// section 3.4): a is before b if it is less than 2^31 behind it.

func before(a, b uint32) bool        { return int32(a-b) < 0 }
func after(a, b uint32) bool         { return int32(a-b) > 0 }
func beforeOrEqual(a, b uint32) bool { return int32(a-b) <= 0 }
func afterOrEqual(a, b uint32) bool  { return int32(a-b) >= 0 }

// between says whether a is in [low, high).
func between(a, low, high uint32) bool { return a-low < high-low }

func later(a, b uint32) uint32 {
	if after(a, b) {
		return a
	}
	return b
}

func earlier(a, b uint32) uint32 {
	if before(a, b) {
		return a
	}
	return b
}
