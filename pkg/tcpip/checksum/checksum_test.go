package checksum

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// naive is RFC 1071 section 4.1 word for word.
func naive(b []byte) uint16 {
	var sum uint64
	for ; len(b) > 1; b = b[2:] {
		sum += uint64(b[0])<<8 | uint64(b[1])
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}

func random(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	fill := r.IntN(4) // all ones and zeros find lost carries
	for i := range b {
		switch fill {
		case 0:
			b[i] = 0xff
		case 1:
			b[i] = byte(-r.IntN(2))
		default:
			b[i] = byte(r.Uint32())
		}
	}
	return b
}

func TestSumIsTheNaiveSumAtAllLengthsAndAlignments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 300 {
		for range 4 {
			for align := range 9 {
				b := random(r, n+align)[align:]
				initial := r.Uint32() >> r.IntN(32)
				got := Sum(b, initial)
				if want := Combine(naive(b), Fold(initial)); got > 0xffff || uint16(got) != want {
					t.Fatalf("Sum of %d bytes at alignment %d from %#x = %#x, want %#x", n, align, initial, got, want)
				}
			}
		}
	}
}

func TestLongSums(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 50 {
		b := random(r, r.IntN(1<<17))
		if got, want := Sum(b, 0), naive(b); got != uint32(want) {
			t.Fatalf("Sum of %d bytes = %#x, want %#x", len(b), got, want)
		}
	}
}

func TestAddOfPiecesIsSumOfTheWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 3000 {
		b := random(r, r.IntN(2000))
		checkSplit(t, b, r)
	}
}

func checkSplit(t *testing.T, b []byte, r *rand.Rand) {
	t.Helper()
	partial, odd := uint32(0), false
	cuts := []int{}
	for rest := b; len(rest) > 0; {
		n := r.IntN(len(rest) + 1)
		cuts = append(cuts, n)
		partial, odd = Add(partial, rest[:n], odd)
		if partial > 0xffff {
			t.Fatalf("Add = %#x, not folded", partial)
		}
		rest = rest[n:]
	}
	if want := naive(b); Fold(partial) != want || odd != (len(b)%2 == 1) {
		t.Fatalf("%d bytes in pieces %v: %#x, odd %v; want %#x", len(b), cuts, partial, odd, want)
	}
}

func TestFold(t *testing.T) {
	for _, c := range []struct {
		in   uint32
		want uint16
	}{{0, 0}, {0xffff, 0xffff}, {0x10000, 1}, {0x1ffff, 1}, {0xffff0000, 0xffff}, {0xffffffff, 0xffff}, {0xfffeffff, 0xfffe}, {0xffff0001, 1}} {
		if got := Fold(c.in); got != c.want {
			t.Errorf("Fold(%#x) = %#x, want %#x", c.in, got, c.want)
		}
	}
}

func TestExampleOfRFC1071(t *testing.T) {
	b := []byte{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7}
	if got := Sum(b, 0); got != 0xddf2 {
		t.Errorf("Sum = %#x, want 0xddf2", got)
	}
	if got := Finish(Sum(b, 0)); got != 0x220d {
		t.Errorf("Finish = %#x, want 0x220d", got)
	}
	if !OK(Sum(append(b, 0x22, 0x0d), 0)) {
		t.Error("OK is false with the checksum in place")
	}
}

func TestPseudoHeader(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 1000 {
		for _, size := range []int{4, 16} {
			b := random(r, 2*size)
			src, _ := netip.AddrFromSlice(b[:size])
			dst, _ := netip.AddrFromSlice(b[size:])
			proto, length := uint8(r.Uint32()), r.Uint32()
			if size == 4 {
				length &= 0xffff
				b = append(b, 0, proto)
				b = binary.BigEndian.AppendUint16(b, uint16(length))
			} else {
				b = binary.BigEndian.AppendUint32(b, length)
				b = append(b, 0, 0, 0, proto)
			}
			if got, want := PseudoHeader(proto, src, dst, length), naive(b); got != uint32(want) {
				t.Fatalf("PseudoHeader(%d, %v, %v, %d) = %#x, want %#x", proto, src, dst, length, got, want)
			}
		}
	}
	if got := PseudoHeader(17, netip.Addr{}, netip.IPv4Unspecified(), 8); got != 25 {
		t.Errorf("PseudoHeader with a zero address = %d, want 25", got)
	}
}

func TestUpdateIsTheSameAsComputingAgain(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for range 5000 {
		b := random(r, 40)
		b[0] = 0x45 // a header is never all zeros, where the two zeros would matter
		check := Finish(Sum(b, 0))
		old := append([]byte(nil), b...)
		at := 2 + 2*r.IntN(8)
		copy(b[at:], random(r, 2))
		got := Update16(check, binary.BigEndian.Uint16(old[at:]), binary.BigEndian.Uint16(b[at:]))
		if want := Finish(Sum(b, 0)); got != want {
			t.Fatalf("Update16 = %#x, want %#x", got, want)
		}
		old, check = append(old[:0], b...), got
		copy(b[at:], random(r, 4))
		got = Update32(check, binary.BigEndian.Uint32(old[at:]), binary.BigEndian.Uint32(b[at:]))
		if want := Finish(Sum(b, 0)); got != want {
			t.Fatalf("Update32 = %#x, want %#x", got, want)
		}
		old, check = append(old[:0], b...), got
		copy(b[at:], random(r, 16))
		got = UpdateAddr(check, netip.AddrFrom16([16]byte(old[at:])), netip.AddrFrom16([16]byte(b[at:])))
		if want := Finish(Sum(b, 0)); got != want {
			t.Fatalf("UpdateAddr = %#x, want %#x", got, want)
		}
	}
	// The example of RFC 1624 section 4, which equation 2 gets wrong.
	if got := Update16(0xdd2f, 0x5555, 0x3285); got != 0x0000 {
		t.Errorf("Update16(0xdd2f, 0x5555, 0x3285) = %#x, want 0", got)
	}
}

func TestNothingAllocates(t *testing.T) {
	b := make([]byte, 1460)
	a := netip.IPv6Loopback()
	if n := testing.AllocsPerRun(10, func() {
		sum := PseudoHeader(6, a, a, 1460)
		sum, _ = Add(sum, b, true)
		sink = Finish(sum)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var sink uint16

func FuzzSum(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint64(1))
	f.Add(make([]byte, 100), uint64(2))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		if got, want := Sum(b, 0), naive(b); got != uint32(want) {
			t.Fatalf("Sum = %#x, want %#x", got, want)
		}
		if len(b) > 0 && Fold(uint32(bits.ReverseBytes16(naive(b[1:])))+uint32(b[0])<<8) != naive(b) {
			t.Fatal("the naive sum is wrong")
		}
		checkSplit(t, b, rand.New(rand.NewPCG(seed, 0)))
	})
}

func BenchmarkSum(b *testing.B) {
	for _, n := range []int{20, 40, 64, 576, 1460, 9000, 65536} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			data := make([]byte, n)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			var sum uint32
			for b.Loop() {
				sum = Sum(data, sum)
			}
			sink = Fold(sum)
		})
	}
}

func BenchmarkPseudoHeader(b *testing.B) {
	for _, a := range []netip.Addr{netip.AddrFrom4([4]byte{10, 0, 0, 1}), netip.IPv6Loopback()} {
		b.Run(fmt.Sprintf("%dbits", a.BitLen()), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				sink = uint16(PseudoHeader(6, a, a, 1460))
			}
		})
	}
}
