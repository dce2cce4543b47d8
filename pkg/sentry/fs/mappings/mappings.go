// Package mappings remembers which address spaces show which part of a file, for
// filesystems whose files are mapped: when content goes away (truncation, hole punching) or
// moves (copy-up), the address spaces must forget what they translated.
//
// A List belongs to one memmap.Mappable, which calls it from the methods of the same names.
// Its lock is the lock for mappings lists of memmap's lock order: Invalidate of address
// spaces is called with it held.
package mappings

import (
	"sync"

	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// Mapping is a range of an address space that shows a file from Offset on.
type Mapping struct {
	Space    memmap.MappingSpace
	Range    usermem.AddrRange
	Offset   uint64
	Writable bool
}

// List is a set of mappings. The zero value is empty and ready.
type List struct {
	mu     sync.Mutex // guards the field below
	spaces map[memmap.MappingSpace][]Mapping
}

// Add remembers a mapping.
func (l *List) Add(ms memmap.MappingSpace, ar usermem.AddrRange, offset uint64, writable bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.add(Mapping{ms, ar, offset, writable})
}

func (l *List) add(m Mapping) {
	if l.spaces == nil {
		l.spaces = make(map[memmap.MappingSpace][]Mapping)
	}
	l.spaces[m.Space] = append(l.spaces[m.Space], m)
}

// Remove forgets what ms maps at ar from offset on: a part of what was added, or several
// pieces that were added one by one.
func (l *List) Remove(ms memmap.MappingSpace, ar usermem.AddrRange, offset uint64, writable bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(ms, ar, offset, writable)
}

func (l *List) remove(ms memmap.MappingSpace, ar usermem.AddrRange, offset uint64, writable bool) {
	old := l.spaces[ms]
	var kept []Mapping
	for _, m := range old {
		cut := m.Range.Intersect(ar)
		if cut.Length() == 0 || m.Writable != writable ||
			m.Offset+uint64(cut.Start-m.Range.Start) != offset+uint64(cut.Start-ar.Start) {
			kept = append(kept, m)
			continue
		}
		if m.Range.Start < cut.Start {
			left := m
			left.Range.End = cut.Start
			kept = append(kept, left)
		}
		if cut.End < m.Range.End {
			right := m
			right.Range.Start = cut.End
			right.Offset += uint64(cut.End - m.Range.Start)
			kept = append(kept, right)
		}
	}
	if len(kept) == 0 {
		delete(l.spaces, ms)
		return
	}
	l.spaces[ms] = kept
}

// With calls f with the list locked, so that what f does elsewhere and the change of the list
// happen together: Change is how f changes it.
func (l *List) With(f func(Change) error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return f(Change{l})
}

// Change changes a locked List.
type Change struct{ l *List }

// Add is List.Add.
func (c Change) Add(ms memmap.MappingSpace, ar usermem.AddrRange, offset uint64, writable bool) {
	c.l.add(Mapping{ms, ar, offset, writable})
}

// Remove is List.Remove.
func (c Change) Remove(ms memmap.MappingSpace, ar usermem.AddrRange, offset uint64, writable bool) {
	c.l.remove(ms, ar, offset, writable)
}

// Each calls f with each mapping.
func (c Change) Each(f func(Mapping)) {
	for _, ms := range c.l.spaces {
		for _, m := range ms {
			f(m)
		}
	}
}

// IsEmpty says whether nothing is mapped.
func (l *List) IsEmpty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.spaces) == 0
}

// Invalidate makes the address spaces forget the file's range r, page-aligned; private also
// their copies.
func (l *List) Invalidate(r memmap.Range, private bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	Change{l}.Each(func(m Mapping) {
		part := memmap.Range{Start: m.Offset, End: m.Offset + uint64(m.Range.Length())}.Intersect(r)
		if part.Length() > 0 {
			base := m.Range.Start - uintptr(m.Offset)
			m.Space.Invalidate(usermem.AddrRange{Start: base + uintptr(part.Start), End: base + uintptr(part.End)}, private)
		}
	})
}
