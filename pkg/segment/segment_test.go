package segment

import (
	"math/rand"
	"testing"
)

// tag joins with an equal tag.
type tag byte

func (t tag) Merge(_, _ Range[uint64], o tag) (tag, bool) { return t, t == o }
func (t tag) Split(Range[uint64], uint64) (tag, tag)      { return t, t }

// model is the naive set: one tag per position, 0 is free.
type model [4096]tag

func (m *model) check(t *testing.T, s *Set[uint64, tag], merged bool) {
	t.Helper()
	n, last := 0, Range[uint64]{}
	var lastTag tag
	var got model
	for it := s.First(); it.Ok(); it = it.Next() {
		r := it.Range()
		if r.Start >= r.End || n > 0 && r.Start < last.End {
			t.Fatalf("segment %v after %v", r, last)
		}
		if merged && n > 0 && r.Start == last.End && lastTag == *it.Value() {
			t.Fatalf("segments %v and %v did not join", last, r)
		}
		for k := r.Start; k < r.End; k++ {
			got[k] = *it.Value()
		}
		last, lastTag = r, *it.Value()
		n++
	}
	if n != s.Len() {
		t.Fatalf("Len() = %d, counted %d", s.Len(), n)
	}
	if got != *m {
		t.Fatalf("content differs from the model")
	}
	for it, i := s.Last(), 0; it.Ok(); it, i = it.Prev(), i+1 {
		if i > n {
			t.Fatal("going back does not end")
		}
	}
}

func (m *model) fit(w Range[uint64], length, align uint64, low bool) (uint64, bool) {
	best, ok := uint64(0), false
	for a := uint64(0); a+length <= w.End; a += align {
		if a < w.Start {
			continue
		}
		free := true
		for k := a; k < a+length; k++ {
			if m[k] != 0 {
				free = false
				break
			}
		}
		if free {
			best, ok = a, true
			if low {
				return best, true
			}
		}
	}
	return best, ok
}

// run carries out the operations that ops encodes, four bytes each, on both.
func run(t *testing.T, ops []byte) {
	var s Set[uint64, tag]
	var m model
	for ; len(ops) >= 5; ops = ops[5:] {
		start := uint64(ops[1])<<4 | uint64(ops[2]&15)
		r := Range[uint64]{start, min(start+1+uint64(ops[3]%64), uint64(len(m)))}
		v := tag(ops[4]%3 + 1)
		switch ops[0] % 5 {
		case 0, 1:
			s.RemoveRange(r)
			it := s.Insert(r, v)
			if x := it.Range(); x.Start > r.Start || x.End < r.End || *it.Value() != v {
				t.Fatalf("Insert(%v) returned %v", r, x)
			}
			for k := r.Start; k < r.End; k++ {
				m[k] = v
			}
		case 2:
			s.RemoveRange(r)
			for k := r.Start; k < r.End; k++ {
				m[k] = 0
			}
		case 3:
			length, align := uint64(ops[3]%32)+1, uint64(1)<<(ops[4]%5)
			w := Range[uint64]{start, uint64(len(m))}
			if ops[2]&16 != 0 {
				w = Range[uint64]{0, start}
			}
			for _, low := range []bool{true, false} {
				want, wok := m.fit(w, length, align, low)
				got, ok := s.FirstFit(w, length, align)
				if !low {
					got, ok = s.LastFit(w, length, align)
				}
				if ok != wok || ok && got != want {
					t.Fatalf("fit(%v, %d, %d, low=%v) = %d, %v; want %d, %v", w, length, align, low, got, ok, want, wok)
				}
			}
		case 4:
			s.SplitAt(start)
			if it := s.Find(start); it.Ok() != (m[start] != 0) {
				t.Fatalf("Find(%d).Ok() = %v", start, it.Ok())
			}
			free, cov := true, uint64(0)
			for k := r.Start; k < r.End; k++ {
				if m[k] != 0 {
					free = false
					cov++
				}
			}
			if s.IsFree(r) != free || s.CoveredLength(r) != cov || s.Covers(r) != (cov == r.Length()) {
				t.Fatalf("IsFree, CoveredLength or Covers of %v is wrong", r)
			}
			s.MergeRange(Range[uint64]{start, start})
		}
	}
	m.check(t, &s, true)
	c := s.Clone()
	s.RemoveRange(Range[uint64]{0, uint64(len(m))})
	m.check(t, &c, true)
}

func TestAgainstModel(t *testing.T) {
	for seed := int64(0); seed < 60; seed++ {
		rnd := rand.New(rand.NewSource(seed))
		ops := make([]byte, 5*(100+rnd.Intn(3000)))
		rnd.Read(ops)
		if seed%2 == 0 { // many small segments: several leaves
			for i := 0; i+4 < len(ops); i += 5 {
				ops[i+3] %= 3
			}
		}
		run(t, ops)
	}
}

func FuzzSet(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 2, 1, 5, 2, 0, 3, 0, 0, 9, 1, 4, 1, 2, 9, 9})
	f.Fuzz(func(t *testing.T, ops []byte) { run(t, ops) })
}

func TestResizeRefusesOverlap(t *testing.T) {
	var s Set[uint64, tag]
	s.Insert(Range[uint64]{0, 10}, 1)
	it := s.Insert(Range[uint64]{20, 30}, 2)
	it.Resize(Range[uint64]{10, 40})
	if got := s.Find(39); !got.Ok() || got.Start() != 10 {
		t.Fatal("Resize had no effect")
	}
	defer func() {
		if recover() == nil {
			t.Fatal("Resize over a neighbour did not panic")
		}
	}()
	it.Resize(Range[uint64]{9, 40})
}

func filled(n int) *Set[uint64, tag] {
	s := &Set[uint64, tag]{}
	for i := 0; i < n; i++ {
		s.Insert(Range[uint64]{uint64(i) * 8192, uint64(i)*8192 + 4096}, 1)
	}
	return s
}

func BenchmarkFind10000(b *testing.B) {
	s := filled(10000)
	b.ReportAllocs()
	k := uint64(0)
	for b.Loop() {
		k = (k*1103515245 + 12345) % (10000 * 8192)
		s.Find(k)
	}
}

func BenchmarkInsertRemove10000(b *testing.B) {
	s := filled(10000)
	b.ReportAllocs()
	k := uint64(0)
	for b.Loop() {
		k = (k*1103515245 + 12345) % 10000
		r := Range[uint64]{k*8192 + 4096, k*8192 + 8000}
		s.Insert(r, 2)
		s.RemoveRange(r)
	}
}

func BenchmarkLastFit10000(b *testing.B) {
	s := filled(10000)
	b.ReportAllocs()
	for b.Loop() {
		s.LastFit(Range[uint64]{0, 10000 * 8192}, 8192, 1)
	}
}
