package header

import (
	"bytes"
	"slices"
	"testing"

	"runsc/pkg/tcpip/checksum"
)

var ipv6Fields = IPv6Fields{
	TrafficClass: 0xb9, FlowLabel: 0xfedcb, PayloadLength: 5, NextHeader: ProtocolTCP, HopLimit: 63,
	Source: addr6a, Destination: addr6b,
}

func TestIPv6RoundTrip(t *testing.T) {
	h := IPv6(dirty(50))
	h.Encode(ipv6Fields)
	got := IPv6Fields{h.TrafficClass(), h.FlowLabel(), h.PayloadLength(), h.NextHeader(), h.HopLimit(), h.Source(), h.Destination()}
	if !h.Valid(50) || got != ipv6Fields || h.ECN() != 1 {
		t.Errorf("got %+v", got)
	}
	if len(h.Payload()) != 5 || len(h[:42].Payload()) != 2 || len(h[:40].Payload()) != 0 {
		t.Error("the payload is wrong")
	}
	h.SetECN(ECNCongestion)
	h.SetFlowLabel(1)
	if h.TrafficClass() != 0xbb || h.FlowLabel() != 1 || h[0]>>4 != 6 {
		t.Errorf("%x", []byte(h[:4]))
	}
	if got, want := h.PseudoHeader(6, 70000), checksum.PseudoHeader(6, addr6a, addr6b, 70000); got != want {
		t.Errorf("PseudoHeader = %#x, want %#x", got, want)
	}
}

func TestIPv6LengthsAreChecked(t *testing.T) {
	for _, c := range []struct {
		name               string
		first              byte
		payload, len, size int
		want               bool
	}{
		{"plain", 0x60, 0, 40, 40, true},
		{"payload elsewhere", 0x60, 65535, 40, 65575, true},
		{"padding", 0x60, 0, 60, 60, true},
		{"version 4", 0x40, 0, 40, 40, false},
		{"cut", 0x60, 1, 40, 40, false},
		{"short", 0x60, 0, 39, 40, false},
	} {
		h := IPv6(make([]byte, c.len))
		h[0] = c.first
		h.SetPayloadLength(uint16(c.payload))
		if got := h.Valid(c.size); got != c.want {
			t.Errorf("%s: Valid = %v", c.name, got)
		}
	}
}

func fragment(next uint8, offset uint16, more bool) []byte {
	h := IPv6Fragment(dirty(8))
	h.Encode(IPv6FragmentFields{NextHeader: next, Offset: offset, MoreFragments: more, ID: 7})
	return h
}

func TestIPv6ExtensionWalk(t *testing.T) {
	hop := IPv6RouterAlert(ProtocolRouting)
	routing := IPv6Routing(dirty(24))
	routing.Encode(ProtocolDestination, IPv6RoutingMobile, 1, make([]byte, 20))
	dst := []byte{ProtocolFragment, 0, 1, 4, 0, 0, 0, 0}
	ah := append([]byte{ProtocolTCP, 4}, make([]byte, 22)...)
	for _, c := range []struct {
		name       string
		next       uint8
		in         []byte
		types      []uint8
		protocol   uint8
		offset     int
		nameOffset int
		malformed  bool
	}{
		{"none", ProtocolTCP, []byte{1, 2}, nil, ProtocolTCP, 0, -1, false},
		{"no next header", ProtocolNoNext, nil, nil, ProtocolNoNext, 0, -1, false},
		{"all", ProtocolHopByHop, slices.Concat(hop[:], routing, dst, fragment(ProtocolAH, 0, true), ah, []byte{9}),
			[]uint8{0, 43, 60, 44, 51}, ProtocolTCP, 72, 48, false},
		{"a later fragment", ProtocolFragment, slices.Concat(fragment(ProtocolDestination, 8, false), dst),
			[]uint8{44}, ProtocolDestination, 8, 0, false},
		{"second hop-by-hop", ProtocolDestination, slices.Concat([]byte{ProtocolHopByHop, 0, 1, 4, 0, 0, 0, 0}, hop[:]),
			[]uint8{60}, ProtocolHopByHop, 8, 0, false},
		{"cut", ProtocolDestination, []byte{6, 0, 1, 4, 0, 0, 0}, nil, ProtocolDestination, 0, -1, true},
		{"empty", ProtocolHopByHop, nil, nil, ProtocolHopByHop, 0, -1, true},
		{"too long", ProtocolDestination, []byte{60, 0, 1, 4, 0, 0, 0, 0, 6, 255, 1, 4, 0, 0, 0, 0}, []uint8{60}, ProtocolDestination, 8, 0, true},
	} {
		var types []uint8
		w := WalkIPv6Extensions(c.next, c.in)
		for w.Next() {
			types = append(types, w.Type)
		}
		if w.Next() {
			t.Errorf("%s: Next after the end", c.name)
		}
		if !slices.Equal(types, c.types) || w.Protocol() != c.protocol || w.Offset() != c.offset ||
			w.NextHeaderOffset() != c.nameOffset || w.Malformed() != c.malformed {
			t.Errorf("%s: types %v, then %d at %d, named at %d, malformed %v", c.name, types,
				w.Protocol(), w.Offset(), w.NextHeaderOffset(), w.Malformed())
		}
	}
}

func TestIPv6FragmentRoundTrip(t *testing.T) {
	f := IPv6FragmentFields{NextHeader: ProtocolUDP, Offset: 65528, MoreFragments: true, ID: 0xdeadbeef}
	h := IPv6Fragment(dirty(8))
	h.Encode(f)
	if got := (IPv6FragmentFields{h.NextHeader(), h.Offset(), h.MoreFragments(), h.ID()}); !h.Valid() || got != f || h.IsAtomic() {
		t.Errorf("got %+v", got)
	}
	h.SetFragment(0, false)
	if h[3] |= 6; !h.IsAtomic() || h.Offset() != 0 || h.MoreFragments() {
		t.Error("reserved bits count")
	}
}

func TestIPv6RoutingRoundTrip(t *testing.T) {
	h := IPv6Routing(dirty(8))
	h.Encode(ProtocolUDP, IPv6RoutingSegment, 3, []byte{1, 2, 3, 4})
	if !h.Valid() || h.NextHeader() != ProtocolUDP || h.RoutingType() != 4 || h.SegmentsLeft() != 3 || !bytes.Equal(h.Data(), []byte{1, 2, 3, 4}) {
		t.Errorf("%x", []byte(h))
	}
}

func TestIPv6OptionsArePadded(t *testing.T) {
	for n := range 20 {
		// One option of n bytes in all; 1 byte cannot be one.
		if n == 1 {
			continue
		}
		var in []byte
		if n > 0 {
			in = append([]byte{0x1e, byte(n - 2)}, make([]byte, n-2)...)
		}
		h := IPv6Options(dirty(40))
		size := h.Encode(ProtocolTCP, in)
		h = h[:size]
		if size%8 != 0 || size != IPv6OptionsLength(n) || !h.Valid() || h.HeaderLength() != size || h.NextHeader() != ProtocolTCP {
			t.Fatalf("%d bytes: %x", n, []byte(h))
		}
		w, count := WalkIPv6Options(h.Options()), 0
		for w.Next() {
			count++
			if w.Type != 0x1e || len(w.Data) != n-2 || w.Offset != 0 {
				t.Errorf("%d bytes: option %#x of %d", n, w.Type, len(w.Data))
			}
		}
		if w.Malformed() || count != min(n, 1) {
			t.Errorf("%d bytes: %d options, malformed %v", n, count, w.Malformed())
		}
	}
}

func TestIPv6OptionWalkStopsAtMalformed(t *testing.T) {
	for _, in := range [][]byte{{5}, {5, 1}, {0, 1}, {1, 5, 0, 0}, {0, 0, 0xc2, 4, 0, 0, 0}} {
		w := WalkIPv6Options(in)
		if w.Next() || !w.Malformed() || w.Next() {
			t.Errorf("%x: not malformed", in)
		}
	}
	w := WalkIPv6Options([]byte{0, 0xc2, 0})
	if !w.Next() || w.Offset != 1 || w.Action() != IPv6OptionActionReportNotMulticast || len(w.Data) != 0 {
		t.Errorf("%+v", w)
	}
}

func FuzzIPv6(f *testing.F) {
	h := IPv6(dirty(50))
	h.Encode(ipv6Fields)
	f.Add([]byte(h), 0)
	f.Fuzz(func(t *testing.T, b []byte, more int) {
		h := IPv6(b)
		if !h.Valid(len(b) + more&0xffff) {
			return
		}
		getters(t, h)
		again := IPv6(dirty(IPv6Size))
		again.Encode(IPv6Fields{h.TrafficClass(), h.FlowLabel(), h.PayloadLength(), h.NextHeader(), h.HopLimit(), h.Source(), h.Destination()})
		if !bytes.Equal(again, h[:IPv6Size]) {
			t.Fatalf("%x became %x", []byte(h), []byte(again))
		}
	})
}

func FuzzIPv6Extensions(f *testing.F) {
	hop := IPv6RouterAlert(ProtocolFragment)
	f.Add(uint8(0), slices.Concat(hop[:], fragment(ProtocolDestination, 0, true), []byte{6, 0, 1, 4, 0, 0, 0, 0}))
	f.Add(uint8(43), []byte{6, 0, 0, 1, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, next uint8, b []byte) {
		w := WalkIPv6Extensions(next, b)
		at := 0
		for w.Next() {
			switch w.Type {
			case ProtocolHopByHop, ProtocolDestination:
				h := IPv6Options(w.Header)
				if !h.Valid() || h.HeaderLength() != len(h) {
					t.Fatalf("options %x", []byte(h))
				}
				getters(t, h)
				for o := WalkIPv6Options(h.Options()); o.Next(); {
					_ = o.Action()
				}
			case ProtocolRouting:
				if !IPv6Routing(w.Header).Valid() {
					t.Fatalf("routing %x", w.Header)
				}
				getters(t, IPv6Routing(w.Header))
			case ProtocolFragment:
				getters(t, IPv6Fragment(w.Header))
			}
			if w.NextHeaderOffset() != at || b[at] != w.Protocol() || w.Offset() != at+len(w.Header) {
				t.Fatalf("at %d: named at %d, next at %d", at, w.NextHeaderOffset(), w.Offset())
			}
			at = w.Offset()
		}
		_ = b[w.Offset():]
	})
}
