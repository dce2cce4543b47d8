package mappings

import (
	"slices"
	"testing"

	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

type space struct{ gone []usermem.AddrRange }

func (s *space) Invalidate(ar usermem.AddrRange, _ bool) { s.gone = append(s.gone, ar) }

func ar(start, end uintptr) usermem.AddrRange { return usermem.AddrRange{Start: start, End: end} }

func TestRemoveCutsPieces(t *testing.T) {
	var l List
	var a, b space
	l.Add(&a, ar(0x10000, 0x20000), 0x4000, true)
	l.Add(&b, ar(0x10000, 0x11000), 0x4000, false)
	l.Remove(&a, ar(0x14000, 0x18000), 0x8000, true) // the middle
	l.Remove(&a, ar(0x10000, 0x11000), 0x9000, true) // another offset: not this mapping
	l.Remove(&b, ar(0x10000, 0x11000), 0x4000, true) // not writable: not this one
	l.Invalidate(memmap.Range{Start: 0, End: 1 << 20}, false)
	slices.SortFunc(a.gone, func(x, y usermem.AddrRange) int { return int(x.Start) - int(y.Start) })
	if want := []usermem.AddrRange{ar(0x10000, 0x14000), ar(0x18000, 0x20000)}; !slices.Equal(a.gone, want) {
		t.Fatalf("%v, want %v", a.gone, want)
	}
	if len(b.gone) != 1 {
		t.Fatal(b.gone)
	}
	a.gone = nil
	l.Invalidate(memmap.Range{Start: 0x7000, End: 0xd000}, true)
	slices.SortFunc(a.gone, func(x, y usermem.AddrRange) int { return int(x.Start) - int(y.Start) })
	if want := []usermem.AddrRange{ar(0x13000, 0x14000), ar(0x18000, 0x19000)}; !slices.Equal(a.gone, want) {
		t.Fatalf("%v, want %v", a.gone, want)
	}
	l.Remove(&a, ar(0x10000, 0x20000), 0x4000, true) // all that is left, in one go
	l.Remove(&b, ar(0x10000, 0x11000), 0x4000, false)
	if !l.IsEmpty() {
		t.Fatal("not empty")
	}
}
