package fragment

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/internal/faketime"
)

var (
	src = netip.MustParseAddr("192.0.2.1")
	dst = netip.MustParseAddr("192.0.2.2")
)

func key(id uint32) Key { return Key{Source: src, Destination: dst, ID: id, Protocol: 17} }

// owner keeps what expired.
type owner struct {
	expired int
	firsts  [][]byte
}

func (o *owner) ReassemblyExpired(first *buffer.Packet) {
	o.expired++
	if first == nil {
		return
	}
	b := make([]byte, first.Len())
	first.CopyTo(b, 0)
	o.firsts = append(o.firsts, b)
	first.Release()
}

// piece is a fragment with a header of two bytes, its TOS and '!', consumed.
func piece(tos uint8, b []byte) *buffer.Packet {
	p := buffer.NewFrom(append([]byte{tos, '!'}, b...))
	p.NetworkHeader, _ = p.Consume(2)
	p.TOS = tos
	p.Source = src
	return p
}

func content(p *buffer.Packet) []byte {
	b := make([]byte, p.Len())
	p.CopyTo(b, 0)
	p.Release()
	return b
}

func numbers(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

func TestAnyOrderOfPiecesGivesTheWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	clock := faketime.New()
	re := New(clock, time.Minute, 1<<20, &owner{})
	for id := range uint32(300) {
		whole := numbers(1 + r.IntN(4000))
		type cut struct{ from, to int }
		var cuts []cut
		for at := 0; at < len(whole); {
			n := 8 * (1 + r.IntN(100))
			cuts = append(cuts, cut{at, min(at+n, len(whole))})
			at += n
		}
		r.Shuffle(len(cuts), func(i, j int) { cuts[i], cuts[j] = cuts[j], cuts[i] })
		for i, c := range cuts {
			if i > 0 && r.IntN(3) == 0 { // one that came before
				d := cuts[r.IntN(i)]
				if p, o := re.Add(key(id), d.from, d.to != len(whole), piece(0, whole[d.from:d.to])); p != nil || o != Waiting {
					t.Fatalf("a duplicate gave %v", o)
				}
			}
			p, o := re.Add(key(id), c.from, c.to != len(whole), piece(uint8(c.from), whole[c.from:c.to]))
			if i < len(cuts)-1 {
				if p != nil || o != Waiting {
					t.Fatalf("piece %d of %d: %v", i, len(cuts), o)
				}
				continue
			}
			if o != Complete || p.Source != src || string(p.NetworkHeader) != "\x00!" || p.Consumed() != 0 {
				t.Fatalf("the last of %d pieces: %v, %+v", len(cuts), o, p)
			}
			if got := content(p); !bytes.Equal(got, whole) {
				t.Fatalf("%d bytes in %d pieces came out as %x", len(whole), len(cuts), got)
			}
		}
		if re.Memory() != 0 {
			t.Fatalf("%d bytes are kept for nothing", re.Memory())
		}
	}
	clock.Advance(time.Hour)
	if clock.Pending() != 0 {
		t.Error("a timer runs without a packet to wait for")
	}
}

func TestPiecesThatContradict(t *testing.T) {
	type add struct {
		from, size int
		more       bool
		want       Outcome
	}
	for name, adds := range map[string][]add{
		"overlap behind":             {{0, 16, true, Waiting}, {8, 16, true, Failed}},
		"overlap before":             {{8, 16, true, Waiting}, {0, 16, true, Failed}},
		"inside another":             {{0, 32, true, Waiting}, {8, 8, true, Failed}},
		"around another":             {{8, 8, true, Waiting}, {0, 32, true, Failed}},
		"same place, longer":         {{0, 8, true, Waiting}, {0, 16, true, Failed}},
		"same place, shorter":        {{0, 16, true, Waiting}, {0, 8, true, Failed}},
		"behind the end":             {{16, 4, false, Waiting}, {24, 8, true, Failed}},
		"over the end":               {{16, 4, false, Waiting}, {8, 16, true, Failed}},
		"a second end":               {{16, 4, false, Waiting}, {8, 8, false, Failed}},
		"an end before others":       {{16, 8, true, Waiting}, {8, 8, false, Failed}},
		"nothing":                    {{0, 0, true, Failed}},
		"nothing after cutting":      {{0, 7, true, Failed}},
		"too far":                    {{65528, 8, false, Failed}},
		"far, but not too far":       {{65520, 15, false, Waiting}},
		"negative":                   {{-8, 8, true, Failed}},
		"cut to whole blocks":        {{0, 15, true, Waiting}, {8, 8, false, Complete}},
		"the same again is ignored":  {{0, 16, true, Waiting}, {0, 16, true, Waiting}, {16, 1, false, Complete}},
		"the end again is ignored":   {{8, 1, false, Waiting}, {8, 1, false, Waiting}, {0, 8, true, Complete}},
		"forgotten after a conflict": {{0, 16, true, Waiting}, {8, 16, true, Failed}, {16, 8, false, Waiting}, {0, 16, true, Complete}},
		"whole in one":               {{0, 8, false, Complete}},
	} {
		re := New(faketime.New(), time.Minute, 1<<20, &owner{})
		for i, a := range adds {
			p, o := re.Add(key(1), a.from, a.more, piece(0, numbers(a.size)))
			if o != a.want {
				t.Errorf("%s: piece %d: %v, want %v", name, i, o, a.want)
			}
			if (p != nil) != (o == Complete) {
				t.Errorf("%s: piece %d: %v with packet %v", name, i, o, p)
			}
		}
		re.Close()
		if re.Memory() != 0 {
			t.Errorf("%s: %d bytes are kept after Close", name, re.Memory())
		}
	}
}

func TestKeysAreKeptApart(t *testing.T) {
	re := New(faketime.New(), time.Minute, 1<<20, &owner{})
	base := key(1)
	for i, k := range []Key{base, {Source: dst, Destination: src, ID: 1, Protocol: 17}, key(2),
		{Source: src, Destination: dst, ID: 1, Protocol: 6}, {Source: src, Destination: dst, ID: 1, Protocol: 17, NIC: 3}} {
		if _, o := re.Add(k, 0, true, piece(0, numbers(8))); o != Waiting {
			t.Errorf("the first piece of key %d: %v", i, o)
		}
	}
	if p, o := re.Add(base, 8, false, piece(0, []byte("x"))); o != Complete || len(content(p)) != 9 {
		t.Errorf("the second piece: %v", o)
	}
	re.Close()
	if _, o := re.Add(base, 0, true, piece(0, numbers(8))); o != Failed {
		t.Errorf("after Close: %v", o)
	}
}

func TestCongestionMarksOfPieces(t *testing.T) {
	const notCapable, capable1, capable0, congested = 0, 1, 2, 3
	for _, c := range []struct {
		a, b, want uint8
		outcome    Outcome
	}{
		{notCapable, notCapable, notCapable, Complete},
		{capable0, congested, congested, Complete},
		{congested, capable1, congested, Complete},
		{congested, congested, congested, Complete},
		{capable0, capable0, capable0, Complete},
		{capable0, notCapable, capable0, Complete},
		{notCapable, congested, 0, Failed},
		{congested, notCapable, 0, Failed},
	} {
		re := New(faketime.New(), time.Minute, 1<<20, &owner{})
		re.Add(key(1), 0, true, piece(c.a, numbers(8)))
		p, o := re.Add(key(1), 8, false, piece(c.b, numbers(8)))
		if o != c.outcome {
			t.Errorf("%d and %d: %v, want %v", c.a, c.b, o, c.outcome)
		}
		if p != nil {
			if p.TOS != c.want {
				t.Errorf("%d and %d: ECN %d, want %d", c.a, c.b, p.TOS, c.want)
			}
			p.Release()
		}
		if re.Memory() != 0 {
			t.Errorf("%d and %d: %d bytes are kept", c.a, c.b, re.Memory())
		}
	}
}

func TestTimeIsOver(t *testing.T) {
	clock := faketime.New()
	o := &owner{}
	re := New(clock, 30*time.Second, 1<<20, o)
	re.Add(key(1), 0, true, piece(0, []byte("12345678")))
	clock.Advance(10 * time.Second)
	re.Add(key(2), 8, true, piece(0, []byte("12345678")))
	re.Add(key(1), 8, true, piece(0, []byte("12345678"))) // does not prolong
	clock.Advance(20*time.Second - 1)
	if o.expired != 0 {
		t.Fatal("over too early")
	}
	clock.Advance(1)
	if o.expired != 1 || len(o.firsts) != 1 || string(o.firsts[0]) != "12345678" {
		t.Fatalf("%d expired, first pieces %q", o.expired, o.firsts)
	}
	clock.Advance(10 * time.Second)
	if o.expired != 2 || len(o.firsts) != 1 || re.Memory() != 0 || clock.Pending() != 0 {
		t.Errorf("%d expired, %d with a first piece, %d bytes, %d timers", o.expired, len(o.firsts), re.Memory(), clock.Pending())
	}
	// A later piece begins anew.
	if _, out := re.Add(key(1), 8, false, piece(0, numbers(8))); out != Waiting {
		t.Errorf("a piece of what is over: %v", out)
	}
}

func TestMemoryIsBounded(t *testing.T) {
	const limit = 100_000
	clock := faketime.New()
	re := New(clock, 30*time.Second, limit, &owner{})
	for id := range uint32(10_000) {
		re.Add(key(id), 8*int(id%1000), true, piece(0, numbers(8)))
		if re.Memory() > limit {
			t.Fatalf("%d bytes after %d packets", re.Memory(), id)
		}
	}
	if len(re.entries) == 0 || len(re.entries) > limit/entryOverhead || len(re.entries) != re.order.Len() {
		t.Errorf("%d packets wait", len(re.entries))
	}
	// The newest are there.
	if _, ok := re.entries[key(9999)]; !ok {
		t.Error("the newest packet was given up")
	}
	// A large chunk counts as what it keeps, not as the bytes of the fragment.
	v := buffer.NewView(60000)
	v.Truncate(8)
	re.Add(key(1<<20), 0, true, buffer.NewWith(v))
	if re.Memory() < 60000 || re.Memory() > limit {
		t.Errorf("%d bytes with a large chunk", re.Memory())
	}
	// More than all of the memory in one packet gives that up.
	var last Outcome
	for i := range 4 {
		v := buffer.NewView(60000)
		v.Truncate(8)
		if _, last = re.Add(key(1<<21), 8*i, true, buffer.NewWith(v)); last == Failed {
			break
		}
	}
	if last != Failed || re.Memory() > limit {
		t.Errorf("a packet larger than the memory: %v, %d bytes", last, re.Memory())
	}
	re.Close()
	if re.Memory() != 0 {
		t.Errorf("%d bytes after Close", re.Memory())
	}
}

func FuzzReassembly(f *testing.F) {
	f.Add([]byte{0, 1, 8, 0, 1, 0, 8, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		clock := faketime.New()
		const limit = 20_000
		re := New(clock, 30*time.Second, limit, &owner{})
		whole := numbers(4096)
		for len(b) >= 4 {
			id, offset, size, flags := b[0]&3, 8*int(b[1]), int(b[2]), b[3]
			b = b[4:]
			if flags&0x80 != 0 {
				clock.Advance(time.Duration(flags&0x7f) * time.Second)
			}
			p, o := re.Add(key(uint32(id)), offset, flags&1 != 0, piece(flags>>1&3, whole[offset:offset+size]))
			if re.Memory() > limit {
				t.Fatalf("%d bytes", re.Memory())
			}
			if (p != nil) != (o == Complete) {
				t.Fatalf("%v with %v", o, p)
			}
			if p != nil {
				if got := content(p); !bytes.Equal(got, whole[:len(got)]) {
					t.Fatalf("bytes in wrong places: %x", got)
				}
			}
		}
		clock.Advance(time.Minute)
		if re.Memory() != 0 || clock.Pending() != 0 {
			t.Fatalf("%d bytes, %d timers at the end", re.Memory(), clock.Pending())
		}
	})
}
