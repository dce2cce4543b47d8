// Package segment keeps sets of non-overlapping ranges, each with a value: the VMAs of an
// address space, the pages behind them, the used parts of a file.
//
// A Set is a sorted list of leaves of at most 64 segments. A look-up is a binary search over
// the leaves and one inside a leaf; an insertion moves at most one leaf's worth of entries
// and, once in some 32 insertions, the list of leaf pointers. That is a B-tree with one wide
// root: for the sizes met here (tens to a hundred thousand segments) it is faster than a
// deeper one and has a tenth of the code. Each leaf remembers its widest inner gap, so that
// the search for free space looks into few leaves.
//
// The type of the values says what happens when segments meet or are cut (Value): Insert
// joins neighbours whose values agree, Isolate and RemoveRange split. Values that must never
// join return false from Merge.
//
// An Iter names a segment. Any change of the set invalidates all Iters except the one that
// the changing method returns.
//
// A Set has no lock; readers may run together.
package segment

import "fmt"

// Key is a position: an address or an offset.
type Key interface{ ~uintptr | ~uint64 }

// Range is the half-open range [Start, End).
type Range[K Key] struct{ Start, End K }

// Length is the size of the range.
func (r Range[K]) Length() K { return r.End - r.Start }

// Intersect is what r and o share, empty if nothing.
func (r Range[K]) Intersect(o Range[K]) Range[K] {
	r.Start, r.End = max(r.Start, o.Start), min(r.End, o.End)
	if r.End < r.Start {
		r.End = r.Start
	}
	return r
}

// String is like "[1000,2000)".
func (r Range[K]) String() string { return fmt.Sprintf("[%x,%x)", uint64(r.Start), uint64(r.End)) }

// Value is what a segment carries.
type Value[K Key, V any] interface {
	// Merge returns the value of the segment that the receiver's range r and the range
	// that follows it, with value v, form together, or false if they stay apart.
	Merge(r Range[K], next Range[K], v V) (V, bool)
	// Split returns the values of the two parts of r cut at at, r.Start < at < r.End.
	Split(r Range[K], at K) (V, V)
}

// leafMax is the number of segments in a full leaf.
const leafMax = 64

type leaf[K Key, V Value[K, V]] struct {
	ranges []Range[K] // sorted; never empty
	values []V
	gap    K // widest gap between two neighbours in this leaf, if gapOK
	gapOK  bool
}

// Set is a set of segments. The zero Set is empty and ready.
type Set[K Key, V Value[K, V]] struct {
	leaves []*leaf[K, V] // sorted; none empty
	n      int
}

// Iter names a segment of a set, or its end.
type Iter[K Key, V Value[K, V]] struct {
	s    *Set[K, V]
	l, i int
}

// Len is the number of segments.
func (s *Set[K, V]) Len() int { return s.n }

// Clear removes every segment.
func (s *Set[K, V]) Clear() { s.leaves, s.n = nil, 0 }

// Clone copies the set, with the values as they are.
func (s *Set[K, V]) Clone() Set[K, V] {
	c := Set[K, V]{leaves: make([]*leaf[K, V], len(s.leaves)), n: s.n}
	for i, lf := range s.leaves {
		c.leaves[i] = &leaf[K, V]{ranges: append([]Range[K](nil), lf.ranges...), values: append([]V(nil), lf.values...)}
	}
	return c
}

// First is the lowest segment.
func (s *Set[K, V]) First() Iter[K, V] { return Iter[K, V]{s, 0, 0} }

// Last is the highest segment.
func (s *Set[K, V]) Last() Iter[K, V] {
	if s.n == 0 {
		return s.First()
	}
	l := len(s.leaves) - 1
	return Iter[K, V]{s, l, len(s.leaves[l].ranges) - 1}
}

// LowerBound is the first segment that ends above k: the one that contains k, or else the
// next one.
func (s *Set[K, V]) LowerBound(k K) Iter[K, V] {
	lo, hi := 0, len(s.leaves)
	for lo < hi {
		m := int(uint(lo+hi) >> 1)
		r := s.leaves[m].ranges
		if r[len(r)-1].End > k {
			hi = m
		} else {
			lo = m + 1
		}
	}
	if lo == len(s.leaves) {
		return Iter[K, V]{s, lo, 0}
	}
	r := s.leaves[lo].ranges
	a, b := 0, len(r)
	for a < b {
		m := int(uint(a+b) >> 1)
		if r[m].End > k {
			b = m
		} else {
			a = m + 1
		}
	}
	return Iter[K, V]{s, lo, a}
}

// Find is the segment that contains k; Ok is false if there is none.
func (s *Set[K, V]) Find(k K) Iter[K, V] {
	it := s.LowerBound(k)
	if it.Ok() && it.Start() > k {
		return Iter[K, V]{s, len(s.leaves), 0}
	}
	return it
}

// IsFree says whether no segment meets r.
func (s *Set[K, V]) IsFree(r Range[K]) bool {
	it := s.LowerBound(r.Start)
	return !it.Ok() || it.Start() >= r.End
}

// Covers says whether every position of r lies in a segment.
func (s *Set[K, V]) Covers(r Range[K]) bool {
	for it := s.LowerBound(r.Start); it.Ok() && it.Start() <= r.Start; it = it.Next() {
		if it.End() >= r.End {
			return true
		}
		r.Start = it.End()
	}
	return r.Start >= r.End
}

// CoveredLength is how much of r lies in segments.
func (s *Set[K, V]) CoveredLength(r Range[K]) K {
	var n K
	for it := s.LowerBound(r.Start); it.Ok() && it.Start() < r.End; it = it.Next() {
		n += it.Range().Intersect(r).Length()
	}
	return n
}

// Ok says whether the iterator names a segment.
func (it Iter[K, V]) Ok() bool {
	return it.s != nil && it.l >= 0 && it.l < len(it.s.leaves) && it.i < len(it.s.leaves[it.l].ranges)
}

// Range is the segment's range.
func (it Iter[K, V]) Range() Range[K] { return it.s.leaves[it.l].ranges[it.i] }

// Start is where the segment begins.
func (it Iter[K, V]) Start() K { return it.s.leaves[it.l].ranges[it.i].Start }

// End is where it ends.
func (it Iter[K, V]) End() K { return it.s.leaves[it.l].ranges[it.i].End }

// Value points at the segment's value, which may be changed in place; the pointer holds
// until the set changes.
func (it Iter[K, V]) Value() *V { return &it.s.leaves[it.l].values[it.i] }

// Next is the following segment.
func (it Iter[K, V]) Next() Iter[K, V] {
	it.i++
	if it.i == len(it.s.leaves[it.l].ranges) {
		it.l, it.i = it.l+1, 0
	}
	return it
}

// Prev is the segment before; of the end it is the last one.
func (it Iter[K, V]) Prev() Iter[K, V] {
	if it.i > 0 {
		it.i--
		return it
	}
	it.l--
	if it.l >= 0 {
		it.i = len(it.s.leaves[it.l].ranges) - 1
	}
	return it
}

// Insert adds the segment r, which must be free and not empty, joined with its neighbours
// where their values agree, and returns the segment that holds r.
func (s *Set[K, V]) Insert(r Range[K], v V) Iter[K, V] {
	it := s.InsertApart(r, v)
	it, _ = s.mergeNext(it)
	if p := it.Prev(); p.Ok() {
		if m, ok := s.mergeNext(p); ok {
			return m
		}
	}
	return it
}

// InsertApart is Insert without joining.
func (s *Set[K, V]) InsertApart(r Range[K], v V) Iter[K, V] {
	if r.Start >= r.End {
		panic(fmt.Sprintf("segment: inserting the empty range %v", r))
	}
	it := s.LowerBound(r.Start)
	if it.Ok() && it.Start() < r.End {
		panic(fmt.Sprintf("segment: inserting %v over %v", r, it.Range()))
	}
	return s.insertBefore(it, r, v)
}

func (s *Set[K, V]) insertBefore(it Iter[K, V], r Range[K], v V) Iter[K, V] {
	s.n++
	if len(s.leaves) == 0 {
		s.leaves = append(s.leaves, &leaf[K, V]{})
		it = Iter[K, V]{s, 0, 0}
	} else if it.l == len(s.leaves) {
		it.l--
		it.i = len(s.leaves[it.l].ranges)
	}
	lf := s.leaves[it.l]
	if len(lf.ranges) == leafMax {
		// Ascending insertion is the usual case; it leaves full leaves behind.
		cut := leafMax / 2
		if it.i == leafMax {
			cut = leafMax
		}
		nl := &leaf[K, V]{
			ranges: append(make([]Range[K], 0, leafMax), lf.ranges[cut:]...),
			values: append(make([]V, 0, leafMax), lf.values[cut:]...),
		}
		clear(lf.values[cut:])
		lf.ranges, lf.values, lf.gapOK = lf.ranges[:cut], lf.values[:cut], false
		s.leaves = append(s.leaves, nil)
		copy(s.leaves[it.l+2:], s.leaves[it.l+1:])
		s.leaves[it.l+1] = nl
		if it.i >= cut {
			it.l, it.i = it.l+1, it.i-cut
			lf = nl
		}
	}
	var zero V
	lf.ranges = append(lf.ranges, Range[K]{})
	lf.values = append(lf.values, zero)
	copy(lf.ranges[it.i+1:], lf.ranges[it.i:])
	copy(lf.values[it.i+1:], lf.values[it.i:])
	lf.ranges[it.i], lf.values[it.i] = r, v
	lf.gapOK = false
	return it
}

// Remove removes the segment and returns the one that followed it.
func (s *Set[K, V]) Remove(it Iter[K, V]) Iter[K, V] {
	lf := s.leaves[it.l]
	n := len(lf.ranges) - 1
	copy(lf.ranges[it.i:], lf.ranges[it.i+1:])
	copy(lf.values[it.i:], lf.values[it.i+1:])
	var zero V
	lf.values[n] = zero
	lf.ranges, lf.values, lf.gapOK = lf.ranges[:n], lf.values[:n], false
	s.n--
	if n == 0 {
		s.dropLeaf(it.l)
		it.i = 0
		return it
	}
	// Thin neighbours become one leaf, so that the list of leaves stays short.
	if it.l+1 < len(s.leaves) {
		if nx := s.leaves[it.l+1]; n+len(nx.ranges) <= leafMax/2 {
			lf.ranges = append(lf.ranges, nx.ranges...)
			lf.values = append(lf.values, nx.values...)
			s.dropLeaf(it.l + 1)
			return it
		}
	}
	if it.i == n {
		it.l, it.i = it.l+1, 0
	}
	return it
}

func (s *Set[K, V]) dropLeaf(l int) {
	copy(s.leaves[l:], s.leaves[l+1:])
	s.leaves[len(s.leaves)-1] = nil
	s.leaves = s.leaves[:len(s.leaves)-1]
}

// RemoveRange removes everything in r, cutting segments at its ends, and returns the
// segment that follows.
func (s *Set[K, V]) RemoveRange(r Range[K]) Iter[K, V] {
	it := s.LowerBound(r.Start)
	for it.Ok() && it.Start() < r.End {
		it = s.Remove(s.Isolate(it, r))
	}
	return it
}

// split cuts the segment at k, strictly inside it, and returns the left part.
func (s *Set[K, V]) split(it Iter[K, V], k K) Iter[K, V] {
	r := it.Range()
	a, b := (*it.Value()).Split(r, k)
	lf := s.leaves[it.l]
	lf.ranges[it.i].End, lf.values[it.i] = k, a
	right := s.insertBefore(Iter[K, V]{s, it.l, it.i + 1}, Range[K]{k, r.End}, b)
	return right.Prev()
}

// Isolate cuts the segment so that the part in r stands alone, and returns that part. The
// segment and r share something. What Value returned before is not valid any more.
func (s *Set[K, V]) Isolate(it Iter[K, V], r Range[K]) Iter[K, V] {
	if it.Start() < r.Start {
		it = s.split(it, r.Start).Next()
	}
	if it.End() > r.End {
		it = s.split(it, r.End)
	}
	return it
}

// SplitAt cuts the segment around k, if k lies strictly inside one.
func (s *Set[K, V]) SplitAt(k K) {
	if it := s.Find(k); it.Ok() && it.Start() < k {
		s.split(it, k)
	}
}

// mergeNext joins the segment with the next one if they touch and agree.
func (s *Set[K, V]) mergeNext(it Iter[K, V]) (Iter[K, V], bool) {
	n := it.Next()
	if !n.Ok() || n.Start() != it.End() {
		return it, false
	}
	v, ok := (*it.Value()).Merge(it.Range(), n.Range(), *n.Value())
	if !ok {
		return it, false
	}
	end := n.End()
	s.Remove(n)
	lf := s.leaves[it.l]
	lf.ranges[it.i].End, lf.values[it.i], lf.gapOK = end, v, false
	return it, true
}

// MergeRange joins what can be joined among the segments that meet or touch r.
func (s *Set[K, V]) MergeRange(r Range[K]) {
	it := s.LowerBound(r.Start)
	if p := it.Prev(); p.Ok() && p.End() == r.Start {
		it = p
	}
	for it.Ok() && it.Start() <= r.End {
		var ok bool
		if it, ok = s.mergeNext(it); !ok {
			it = it.Next()
		}
	}
}

// Resize moves the segment's ends; the new range is not empty and meets no other segment.
// The value is the caller's business.
func (it Iter[K, V]) Resize(r Range[K]) {
	if r.Start >= r.End {
		panic(fmt.Sprintf("segment: resizing to the empty range %v", r))
	}
	if p := it.Prev(); p.Ok() && p.End() > r.Start {
		panic(fmt.Sprintf("segment: resizing %v to %v over %v", it.Range(), r, p.Range()))
	}
	if n := it.Next(); n.Ok() && n.Start() < r.End {
		panic(fmt.Sprintf("segment: resizing %v to %v over %v", it.Range(), r, n.Range()))
	}
	lf := it.s.leaves[it.l]
	lf.ranges[it.i], lf.gapOK = r, false
}
