package header

import (
	"testing"
)

func cookie(s string) (c [TCPMaximumCookie]byte) {
	copy(c[:], s)
	return c
}

func TestTCPOptionsRoundTrip(t *testing.T) {
	blocks := [4]SACKBlock{{1, 2}, {3, 4}, {0xfffffff0, 6}, {7, 8}}
	for _, c := range []struct {
		name string
		o    TCPOptions
		want int
	}{
		{"none", TCPOptions{}, 0},
		{"MSS", TCPOptions{MSS: 65535}, 4},
		{"timestamp", TCPOptions{HasTimestamp: true, TSVal: 1, TSEcr: 0xffffffff}, 12},
		{"SACK permitted", TCPOptions{SACKPermitted: true}, 4},
		{"Linux's SYN", TCPOptions{MSS: 1460, SACKPermitted: true, HasTimestamp: true, TSVal: 5, HasWindowScale: true, WindowScale: 7}, 20},
		{"window scale of 0", TCPOptions{HasWindowScale: true}, 4},
		{"cookie request", TCPOptions{HasCookie: true}, 4},
		{"cookie", TCPOptions{HasCookie: true, CookieLength: 8, Cookie: cookie("12345678")}, 12},
		{"all of a SYN", TCPOptions{MSS: 1, SACKPermitted: true, HasTimestamp: true, HasWindowScale: true, WindowScale: 14, HasCookie: true, CookieLength: 16, Cookie: cookie("0123456789abcdef")}, 40},
		{"one block", TCPOptions{SACKCount: 1, SACKBlocks: [4]SACKBlock{{9, 10}}}, 12},
		{"four blocks", TCPOptions{SACKCount: 4, SACKBlocks: blocks}, 36},
		{"three blocks and timestamp", TCPOptions{HasTimestamp: true, SACKCount: 3, SACKBlocks: [4]SACKBlock{{1, 2}, {3, 4}, {5, 6}}}, 40},
	} {
		b := dirty(TCPOptionsMaximum)
		n := c.o.Encode(b)
		var got TCPOptions
		if n != c.want || c.o.Length() != n || !got.Parse(b[:n]) || got != c.o {
			t.Errorf("%s: %d bytes %x: got %+v", c.name, n, b[:n], got)
		}
		for i := n; i < len(b); i++ {
			if b[i] != 0xa5 {
				t.Errorf("%s: byte %d behind the end was written", c.name, i)
			}
		}
	}
}

func TestTCPSACKBlocksThatDoNotFitAreLeftOut(t *testing.T) {
	o := TCPOptions{HasTimestamp: true, SACKCount: 4, SACKBlocks: [4]SACKBlock{{1, 2}, {3, 4}, {5, 6}, {7, 8}}}
	b := dirty(40)
	n := o.Encode(b)
	var got TCPOptions
	if n != 40 || o.Length() != 40 || !got.Parse(b) || len(got.SACK()) != 3 || got.SACK()[2] != (SACKBlock{5, 6}) {
		t.Errorf("%d bytes, %+v", n, got)
	}
	o = TCPOptions{MSS: 1, HasTimestamp: true, HasWindowScale: true, HasCookie: true, CookieLength: 16, SACKCount: 1}
	if n := o.Encode(b); n != 40 || o.Length() != 40 {
		t.Errorf("%d bytes", n)
	}
}

func TestTCPOptionsWithHostileLengths(t *testing.T) {
	mss := TCPOptions{MSS: 0x102}
	for _, c := range []struct {
		name string
		in   []byte
		want TCPOptions
		ok   bool
	}{
		{"empty", nil, TCPOptions{}, true},
		{"no-operations", []byte{1, 1, 1, 1}, TCPOptions{}, true},
		{"end hides the rest", []byte{0, 2, 4, 1, 2}, TCPOptions{}, true},
		{"length 0", []byte{2, 4, 1, 2, 3, 0, 7, 0}, mss, false},
		{"length 1", []byte{2, 4, 1, 2, 3, 1, 7, 0}, mss, false},
		{"length 0 of an unknown kind", []byte{2, 4, 1, 2, 77, 0, 0, 0}, mss, false},
		{"no length", []byte{2, 4, 1, 2, 1, 1, 1, 8}, mss, false},
		{"too long by one", []byte{2, 4, 1, 2, 3, 4, 7}, mss, false},
		{"length 255", []byte{2, 4, 1, 2, 5, 255, 0, 0}, mss, false},
		{"unknown", []byte{77, 3, 9, 2, 4, 1, 2}, mss, true},
		{"MSS of 3 bytes", []byte{2, 3, 9, 1}, TCPOptions{}, true},
		{"window scale of 2 bytes", []byte{3, 2, 1, 1}, TCPOptions{}, true},
		{"window scale of 255", []byte{3, 3, 255}, TCPOptions{HasWindowScale: true, WindowScale: 14}, true},
		{"SACK permitted of 3 bytes", []byte{4, 3, 1}, TCPOptions{}, true},
		{"SACK without blocks", []byte{5, 2}, TCPOptions{}, true},
		{"SACK of 9 bytes", []byte{5, 9, 0, 0, 0, 1, 0, 0, 0}, TCPOptions{}, true},
		{"timestamp of 6 bytes", []byte{8, 6, 1, 2, 3, 4}, TCPOptions{}, true},
		{"cookie of 3 bytes", []byte{34, 5, 1, 2, 3}, TCPOptions{}, true},
		{"cookie of 5 bytes", []byte{34, 7, 1, 2, 3, 4, 5}, TCPOptions{}, true},
		{"cookie of 18 bytes", append([]byte{34, 20}, make([]byte, 18)...), TCPOptions{}, true},
		{"five blocks", append([]byte{5, 42}, make([]byte, 40)...), TCPOptions{SACKCount: 4}, true},
		{"twelve bytes that are not a timestamp", []byte{1, 1, 8, 9, 0, 0, 0, 0, 0, 0, 0, 0}, TCPOptions{}, true},
	} {
		got := TCPOptions{TSVal: 99, SACKCount: 3} // left over
		if ok := got.Parse(c.in); ok != c.ok || got != c.want {
			t.Errorf("%s: %v, %+v", c.name, ok, got)
		}
	}
}

func TestTCPOptionsOfASynAreLeftOutOfOtherSegments(t *testing.T) {
	o := TCPOptions{MSS: 9, HasWindowScale: true, WindowScale: 3, SACKPermitted: true, HasTimestamp: true, TSVal: 4, HasCookie: true}
	h := TCP(dirty(60))
	h.Encode(TCPFields{HeaderLength: 20 + o.Encode(h[20:]), Flags: TCPFlagSyn})
	var got TCPOptions
	if !h.ParseOptions(&got) || got != o {
		t.Errorf("with SYN: %+v", got)
	}
	h.SetFlags(TCPFlagAck)
	if want := (TCPOptions{HasTimestamp: true, TSVal: 4}); !h.ParseOptions(&got) || got != want {
		t.Errorf("without SYN: %+v", got)
	}
}

func TestTCPOptionsDoNotAllocate(t *testing.T) {
	b := make([]byte, 40)
	o := TCPOptions{HasTimestamp: true, SACKCount: 3}
	if n := testing.AllocsPerRun(10, func() {
		o.Encode(b)
		o.Parse(b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzTCPOptions(f *testing.F) {
	b := make([]byte, 40)
	o := TCPOptions{HasTimestamp: true, SACKCount: 3}
	f.Add(b[:o.Encode(b)])
	f.Add([]byte{2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7})
	f.Fuzz(func(t *testing.T, in []byte) {
		var o, again TCPOptions
		o.Parse(in)
		b := dirty(TCPOptionsMaximum)
		n := o.Encode(b)
		if n%4 != 0 || n != o.Length() || !again.Parse(b[:n]) {
			t.Fatalf("%+v: %d bytes %x", o, n, b[:n])
		}
		fit := again.SACKCount
		again.SACKCount, again.SACKBlocks = o.SACKCount, o.SACKBlocks
		if fit > o.SACKCount || again != o {
			t.Fatalf("%+v became %+v", o, again)
		}
	})
}

func BenchmarkTCPOptionsParse(b *testing.B) {
	for name, o := range map[string]TCPOptions{
		"timestamp": {HasTimestamp: true},
		"sack":      {HasTimestamp: true, SACKCount: 3},
		"syn":       {MSS: 1460, SACKPermitted: true, HasTimestamp: true, HasWindowScale: true},
	} {
		b.Run(name, func(b *testing.B) {
			buf := make([]byte, 40)
			buf = buf[:o.Encode(buf)]
			b.ReportAllocs()
			for b.Loop() {
				o.Parse(buf)
			}
		})
	}
}
