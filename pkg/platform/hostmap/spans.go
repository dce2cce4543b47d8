package hostmap

import "sort"

// span is the half-open range [start, end) of addresses.
type span struct{ start, end uintptr }

// spans is a set of addresses: sorted, disjoint, never adjacent.
type spans []span

// find returns the index of the first span that ends at or behind addr.
func (s spans) find(addr uintptr) int {
	return sort.Search(len(s), func(i int) bool { return s[i].end >= addr })
}

// add puts [start, end) into the set.
func (s *spans) add(start, end uintptr) {
	i := s.find(start)
	j := i
	for ; j < len(*s) && (*s)[j].start <= end; j++ {
		start, end = min(start, (*s)[j].start), max(end, (*s)[j].end)
	}
	s.replace(i, j, span{start, end})
}

// remove takes [start, end) out of the set.
func (s *spans) remove(start, end uintptr) {
	i := s.find(start + 1)
	j := i
	var keep [2]span
	n := 0
	for ; j < len(*s) && (*s)[j].start < end; j++ {
		old := (*s)[j]
		if old.start < start {
			keep[n] = span{old.start, start}
			n++
		}
		if old.end > end {
			keep[n] = span{end, old.end}
			n++
		}
	}
	s.replace(i, j, keep[:n]...)
}

// replace puts with in the place of elements [i, j).
func (s *spans) replace(i, j int, with ...span) {
	old := *s
	tail := old[j:]
	if grow := len(with) - (j - i); grow <= 0 {
		copy(old[i:], with)
		copy(old[i+len(with):], tail)
		*s = old[:len(old)+grow]
		return
	}
	out := append(old, with[:len(with)-(j-i)]...)
	copy(out[i+len(with):], out[j:len(old)])
	copy(out[i:], with)
	*s = out
}

// within calls f for each part of the set in [start, end), in order.
func (s spans) within(start, end uintptr, f func(start, end uintptr)) {
	for i := s.find(start + 1); i < len(s) && s[i].start < end; i++ {
		f(max(start, s[i].start), min(end, s[i].end))
	}
}
