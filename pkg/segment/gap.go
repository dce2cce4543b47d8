package segment

// widest is the widest gap between neighbours in the leaf.
func (lf *leaf[K, V]) widest() K {
	if !lf.gapOK {
		lf.gap = 0
		for i := 1; i < len(lf.ranges); i++ {
			lf.gap = max(lf.gap, lf.ranges[i].Start-lf.ranges[i-1].End)
		}
		lf.gapOK = true
	}
	return lf.gap
}

// fitLow is the lowest aligned start of length in the gap, if it fits.
func fitLow[K Key](gap Range[K], length, align K) (K, bool) {
	a := (gap.Start + align - 1) &^ (align - 1)
	if a < gap.Start || a > gap.End || gap.End-a < length {
		return 0, false
	}
	return a, true
}

// fitHigh is the highest one.
func fitHigh[K Key](gap Range[K], length, align K) (K, bool) {
	if gap.End < gap.Start || gap.End-gap.Start < length {
		return 0, false
	}
	a := (gap.End - length) &^ (align - 1)
	return a, a >= gap.Start
}

// FirstFit finds the lowest free range of that length in within, starting at a multiple of
// align, a power of two. It caches widths of gaps: unlike the other look-ups it must not run
// together with another one.
func (s *Set[K, V]) FirstFit(within Range[K], length, align K) (K, bool) {
	if length == 0 || within.Start >= within.End {
		return 0, false
	}
	it := s.LowerBound(within.Start)
	pos := within.Start // everything in [within.Start, pos) was looked at
	for it.Ok() && pos < within.End {
		lf := s.leaves[it.l]
		if it.i == 0 || lf.widest() >= length {
			for i := it.i; i < len(lf.ranges) && pos < within.End; i++ {
				if r := lf.ranges[i]; r.Start > pos {
					if a, ok := fitLow(Range[K]{pos, min(r.Start, within.End)}, length, align); ok {
						return a, true
					}
				}
				pos = max(pos, lf.ranges[i].End)
				if i == 0 && lf.widest() < length {
					break
				}
			}
		} else if r := lf.ranges[it.i]; r.Start > pos {
			// Entered in the middle of a leaf: the gap in front may be a part only.
			if a, ok := fitLow(Range[K]{pos, min(r.Start, within.End)}, length, align); ok {
				return a, true
			}
		}
		pos = max(pos, lf.ranges[len(lf.ranges)-1].End)
		it.l, it.i = it.l+1, 0
	}
	if pos >= within.End {
		return 0, false
	}
	return fitLow(Range[K]{pos, within.End}, length, align)
}

// LastFit is FirstFit for the highest free range.
func (s *Set[K, V]) LastFit(within Range[K], length, align K) (K, bool) {
	if length == 0 || within.Start >= within.End {
		return 0, false
	}
	pos := within.End // everything in [pos, within.End) was looked at
	it := s.LowerBound(within.End)
	if it.Ok() && it.Start() < within.End {
		pos = it.Start()
	}
	if pos <= within.Start {
		return 0, false
	}
	it = it.Prev()
	for it.Ok() && pos > within.Start {
		lf := s.leaves[it.l]
		// The gap above the entry first, which may reach into the next leaf.
		if e := lf.ranges[it.i].End; e < pos {
			if a, ok := fitHigh(Range[K]{max(e, within.Start), pos}, length, align); ok {
				return a, true
			}
		}
		pos = min(pos, lf.ranges[it.i].Start)
		if it.i > 0 && lf.widest() < length {
			pos = min(pos, lf.ranges[0].Start)
			it.i = 0
		}
		it = it.Prev()
	}
	if pos <= within.Start {
		return 0, false
	}
	return fitHigh(Range[K]{within.Start, pos}, length, align)
}
