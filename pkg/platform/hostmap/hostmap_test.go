package hostmap

import (
	"errors"
	"fmt"
	"math/rand"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/memmap"
)

const page = memmap.PageSize

func TestSpans(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(*spans)
		want spans
	}{
		{"one", func(s *spans) { s.add(10, 20) }, spans{{10, 20}}},
		{"neighbours become one", func(s *spans) { s.add(10, 20); s.add(20, 30); s.add(5, 10) }, spans{{5, 30}}},
		{"apart, out of order", func(s *spans) { s.add(30, 40); s.add(10, 20) }, spans{{10, 20}, {30, 40}}},
		{"the gap is filled", func(s *spans) { s.add(10, 20); s.add(30, 40); s.add(20, 30) }, spans{{10, 40}}},
		{"over several", func(s *spans) { s.add(10, 20); s.add(30, 40); s.add(50, 60); s.add(15, 55) }, spans{{10, 60}}},
		{"inside", func(s *spans) { s.add(10, 50); s.add(20, 30) }, spans{{10, 50}}},
		{"remove the middle", func(s *spans) { s.add(10, 50); s.remove(20, 30) }, spans{{10, 20}, {30, 50}}},
		{"remove the ends", func(s *spans) { s.add(10, 50); s.remove(0, 20); s.remove(40, 60) }, spans{{20, 40}}},
		{"remove all", func(s *spans) { s.add(10, 20); s.add(30, 40); s.remove(0, 100) }, spans{}},
		{"remove from several", func(s *spans) { s.add(10, 20); s.add(30, 40); s.add(50, 60); s.remove(15, 55) }, spans{{10, 15}, {55, 60}}},
		{"remove what only touches", func(s *spans) { s.add(10, 20); s.remove(20, 30); s.remove(0, 10) }, spans{{10, 20}}},
	} {
		var s spans
		if tc.do(&s); len(s) != len(tc.want) || len(s) > 0 && !reflect.DeepEqual(s, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, s, tc.want)
		}
	}
}

// TestSpansAgainstSet compares random changes with a set of single addresses.
func TestSpansAgainstSet(t *testing.T) {
	const size = 64
	rng := rand.New(rand.NewSource(1))
	var s spans
	var set [size]bool
	for i := range 20000 {
		start := uintptr(rng.Intn(size))
		end := start + 1 + uintptr(rng.Intn(size-int(start)))
		add := rng.Intn(2) == 0
		if add {
			s.add(start, end)
		} else {
			s.remove(start, end)
		}
		for a := start; a < end; a++ {
			set[a] = add
		}
		for j, sp := range s {
			if sp.start >= sp.end || j > 0 && s[j-1].end >= sp.start {
				t.Fatalf("step %d: not sorted, disjoint and apart: %v", i, s)
			}
		}
		from := uintptr(rng.Intn(size))
		to := from + 1 + uintptr(rng.Intn(size-int(from)))
		var got [size]bool
		s.within(from, to, func(start, end uintptr) {
			if start < from || end > to || start >= end {
				t.Fatalf("step %d: within(%d, %d) gives %d to %d of %v", i, from, to, start, end, s)
			}
			for a := start; a < end; a++ {
				got[a] = true
			}
		})
		for a := range uintptr(size) {
			if want := set[a] && a >= from && a < to; got[a] != want {
				t.Fatalf("step %d: %d in within(%d, %d) of %v: %v", i, a, from, to, s, got[a])
			}
		}
	}
}

// fd is a memmap.File.
type fd int

func (f fd) FD() int { return int(f) }
func (f fd) Blocks(memmap.Range, memmap.AccessType, [][]byte) ([][]byte, error) {
	return nil, unix.ENOSYS
}
func (f fd) IncRef(memmap.Range) {}
func (f fd) DecRef(memmap.Range) {}

// recorder makes a Recorder whose calls are kept as text.
func recorder(room int) (r *Recorder, log *[]string) {
	log = new([]string)
	r = &Recorder{Limit: 1 << 30, List: make([]Call, room)}
	r.Run = func(n int) error {
		for _, c := range r.List[:n] {
			switch a := c.Args; c.Nr {
			case unix.SYS_MMAP:
				*log = append(*log, fmt.Sprintf("mmap %#x+%#x prot %d flags %#x fd %d at %#x", a[0], a[1], a[2], a[3], int(a[4]), a[5]))
			case unix.SYS_MUNMAP:
				*log = append(*log, fmt.Sprintf("munmap %#x+%#x", a[0], a[1]))
			case unix.SYS_MPROTECT:
				*log = append(*log, fmt.Sprintf("mprotect %#x+%#x prot %d", a[0], a[1], a[2]))
			default:
				*log = append(*log, fmt.Sprint("call ", c.Nr))
			}
		}
		return nil
	}
	return r, log
}

func pages(first, n uint64) memmap.Range {
	return memmap.Range{Start: first * page, End: (first + n) * page}
}

func TestRecorderCalls(t *testing.T) {
	for _, tc := range []struct {
		name string
		do   func(platform.Ops)
		want []string
	}{
		{"map", func(o platform.Ops) { o.MapFile(0x10000, fd(7), pages(2, 3), memmap.ReadWrite, false) }, []string{"mmap 0x10000+0x3000 prot 3 flags 0x11 fd 7 at 0x2000"}},
		{"map at once", func(o platform.Ops) { o.MapFile(0x10000, fd(7), pages(0, 1), memmap.Read, true) }, []string{"mmap 0x10000+0x1000 prot 1 flags 0x8011 fd 7 at 0x0"}},
		{"nothing is mapped", func(o platform.Ops) {
			o.MapFile(0x10000, fd(7), pages(0, 0), memmap.Read, false)
			o.Unmap(0x10000, 0x8000)
			o.Protect(0x10000, 0x8000, memmap.Read)
			o.Unmap(0x10000, 0)
		}, nil},
		{"holes", func(o platform.Ops) {
			o.MapFile(0x11000, fd(7), pages(0, 1), memmap.Read, false)
			o.MapFile(0x13000, fd(7), pages(0, 1), memmap.Read, false)
			o.Protect(0x10000, 0x8000, memmap.NoAccess)
			o.Unmap(0x10000, 0x8000)
			o.Unmap(0x10000, 0x8000)
		}, []string{"mmap 0x11000+0x1000 prot 1 flags 0x11 fd 7 at 0x0", "mmap 0x13000+0x1000 prot 1 flags 0x11 fd 7 at 0x0",
			"mprotect 0x11000+0x1000 prot 0", "mprotect 0x13000+0x1000 prot 0", "munmap 0x11000+0x3000"}},
		{"parts", func(o platform.Ops) {
			o.MapFile(0x10000, fd(7), pages(0, 4), memmap.Read, false)
			o.Unmap(0x11000, 0x1000)
			o.Protect(0x10000, 0x3000, memmap.ReadWrite)
		}, []string{"mmap 0x10000+0x4000 prot 1 flags 0x11 fd 7 at 0x0", "munmap 0x11000+0x1000", "mprotect 0x10000+0x1000 prot 3", "mprotect 0x12000+0x1000 prot 3"}},
	} {
		r, log := recorder(16)
		tc.do(r)
		if err := r.Flush(); err != nil || !reflect.DeepEqual(*log, tc.want) && len(*log)+len(tc.want) > 0 {
			t.Errorf("%s: %v\n%q, want\n%q", tc.name, err, *log, tc.want)
		}
	}
}

// TestRecorderBounds: what is not the application's never becomes a call, and does not keep the
// rest from being carried out.
func TestRecorderBounds(t *testing.T) {
	for _, addr := range []uintptr{1 << 30, 1<<30 - page + 1, 1<<30 - page, 0x10001, ^uintptr(page - 1), ^uintptr(2*page - 1), 1 << 46} {
		for name, do := range map[string]func(platform.Ops){
			"map":     func(o platform.Ops) { o.MapFile(addr, fd(7), pages(0, 2), memmap.AnyAccess, false) },
			"unmap":   func(o platform.Ops) { o.Unmap(addr, 2*page) },
			"protect": func(o platform.Ops) { o.Protect(addr, 2*page, memmap.AnyAccess) },
		} {
			r, log := recorder(4)
			do(r)
			r.MapFile(0x10000, fd(7), pages(0, 1), memmap.Read, false)
			if err := r.Flush(); err != unix.EINVAL || len(*log) != 1 {
				t.Errorf("%s at %#x: %v %q", name, addr, err, *log)
			}
			if err := r.Flush(); err != nil {
				t.Errorf("%s at %#x: the error stays: %v", name, addr, err)
			}
		}
	}
	r, log := recorder(4)
	r.Unmap(0x10000, ^uintptr(0)&^(page-1))
	r.Protect(0x10000, ^uintptr(0)&^(page-1), memmap.AnyAccess)
	if err := r.Flush(); err != unix.EINVAL || len(*log) != 0 {
		t.Errorf("a length that wraps: %v %q", err, *log)
	}
}

// TestRecorderFullList: a list that is full is carried out, in order, and its error kept.
func TestRecorderFullList(t *testing.T) {
	r, log := recorder(3)
	inner, failing := r.Run, 2
	first := errors.New("the first")
	r.Run = func(n int) error {
		inner(n)
		if failing--; failing == 1 {
			return first
		}
		return unix.ENOMEM
	}
	for i := range uintptr(8) {
		r.MapFile(0x10000+2*i*page, fd(7), pages(uint64(i), 1), memmap.Read, false)
	}
	if n := len(*log); n != 6 {
		t.Errorf("%d calls before Flush", n)
	}
	if err := r.Flush(); err != first {
		t.Errorf("Flush: %v", err)
	}
	for i, l := range *log {
		if want := fmt.Sprintf("mmap %#x+0x1000 prot 1 flags 0x11 fd 7 at %#x", 0x10000+2*i*page, i*page); l != want {
			t.Errorf("call %d: %s, want %s", i, l, want)
		}
	}
	if len(*log) != 8 {
		t.Errorf("%d calls", len(*log))
	}
}
