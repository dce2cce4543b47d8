package pgalloc

import (
	"bytes"
	"math/rand"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
)

func newFile(t testing.TB) *MemoryFile {
	t.Helper()
	f, err := New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

func isZero(b []byte) bool { return bytes.Count(b, []byte{0}) == len(b) }

func TestAllocatedMemoryIsZeroAfterReuse(t *testing.T) {
	f := newFile(t)
	for i := 0; i < 5; i++ {
		fr, err := f.Allocate(64<<10, AllocOpts{})
		if err != nil {
			t.Fatal(err)
		}
		b := f.Bytes(fr)
		if !isZero(b) {
			t.Fatalf("round %d: allocated memory is not zero", i)
		}
		for j := range b {
			b[j] = 0xaa
		}
		f.DecRef(fr)
		if i%2 == 1 {
			f.Reclaim()
		}
	}
	f.Reclaim()
	if n := f.Allocated(); n != 0 {
		t.Errorf("Allocated() = %d after all was freed", n)
	}
	if n, err := f.Usage(); err != nil || n != 0 {
		t.Errorf("Usage() = %d, %v after all was freed", n, err)
	}
}

func TestReferencesArePerPage(t *testing.T) {
	f := newFile(t)
	fr, _ := f.Allocate(4*pageSize, AllocOpts{})
	mid := memmap.Range{Start: fr.Start + pageSize, End: fr.Start + 3*pageSize}
	f.IncRef(mid)
	if got := f.Refs(mid); got != 2 {
		t.Errorf("Refs(mid) = %d, want 2", got)
	}
	if got := f.UniqueLength(fr); got != pageSize {
		t.Errorf("UniqueLength = %d, want a page", got)
	}
	f.Bytes(mid)[0] = 7
	f.DecRef(fr)
	f.Reclaim()
	if f.Bytes(mid)[0] != 7 {
		t.Error("a page with a reference was reclaimed")
	}
	if got := f.Allocated(); got != 2*pageSize {
		t.Errorf("Allocated() = %d, want two pages", got)
	}
	f.DecRef(mid)
	if got := f.Allocated(); got != 0 {
		t.Errorf("Allocated() = %d, want 0", got)
	}
}

func TestPlacement(t *testing.T) {
	f := newFile(t)
	a, _ := f.Allocate(pageSize, AllocOpts{})
	b, _ := f.Allocate(2<<20, AllocOpts{Align: 2 << 20})
	if b.Start%(2<<20) != 0 {
		t.Errorf("aligned allocation at %x", b.Start)
	}
	c, _ := f.Allocate(3*pageSize, AllocOpts{At: a.End})
	if c.Start != a.End {
		t.Errorf("allocation at %x, wished for %x", c.Start, a.End)
	}
	d, _ := f.Allocate(pageSize, AllocOpts{At: a.Start})
	if d.Overlaps(a) || d.Overlaps(b) || d.Overlaps(c) {
		t.Errorf("allocation %v overlaps", d)
	}
	if _, err := f.Allocate(f.capacity, AllocOpts{}); err == nil {
		t.Error("an allocation of the whole file succeeded")
	}
}

func TestPresentPagesAreReused(t *testing.T) {
	f := newFile(t)
	fr, _ := f.Allocate(64<<10, AllocOpts{Overwrite: true})
	clear(f.Bytes(fr))
	f.DecRef(fr)
	again, _ := f.Allocate(16<<10, AllocOpts{Overwrite: true})
	if !fr.IsSupersetOf(again) {
		t.Errorf("copy went to %v, not to the pooled %v", again, fr)
	}
	z, _ := f.Allocate(16<<10, AllocOpts{})
	if fr.Overlaps(z) {
		t.Errorf("a zero allocation got pooled pages %v", z)
	}
	f.DecRef(again)
	f.DecRef(z)
	f.Reclaim()
	if n := f.used.Len(); n != 0 {
		t.Errorf("%d ranges are left", n)
	}
}

func TestCommitAndResident(t *testing.T) {
	f := newFile(t)
	fr, _ := f.Allocate(1<<20, AllocOpts{})
	f.Bytes(fr)[5*pageSize] = 1
	if n := f.Resident(fr); n != pageSize {
		t.Errorf("Resident = %d after one page was touched", n)
	}
	if err := f.Commit(fr); err != nil {
		t.Fatal(err)
	}
	if n := f.Resident(fr); n != 1<<20 {
		t.Errorf("Resident = %d after Commit", n)
	}
	f.Decommit(fr)
	if n := f.Resident(fr); n != 0 || !isZero(f.Bytes(fr)) {
		t.Errorf("Resident = %d after Decommit", n)
	}
}

func TestConcurrentUse(t *testing.T) {
	f := newFile(t)
	var wg sync.WaitGroup
	for g := 0; g < 4; g++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewSource(int64(g)))
			var mine []memmap.Range
			for i := 0; i < 2000; i++ {
				if len(mine) < 20 && rnd.Intn(2) == 0 {
					o := AllocOpts{Overwrite: rnd.Intn(2) == 0}
					fr, err := f.Allocate(uint64(1+rnd.Intn(8))*pageSize, o)
					if err != nil {
						t.Error(err)
						return
					}
					b := f.Bytes(fr)
					if !o.Overwrite && b[0] != 0 {
						t.Error("dirty memory")
						return
					}
					for j := 0; j < len(b); j += pageSize {
						b[j] = byte(g + 1)
					}
					mine = append(mine, fr)
				} else if len(mine) > 0 {
					fr := mine[len(mine)-1]
					mine = mine[:len(mine)-1]
					if f.Bytes(fr)[0] != byte(g+1) {
						t.Error("memory belongs to two")
						return
					}
					f.DecRef(fr)
				}
			}
			for _, fr := range mine {
				f.DecRef(fr)
			}
		}()
	}
	wg.Wait()
	f.Reclaim()
	if n := f.used.Len(); n != 0 {
		t.Errorf("%d ranges are left", n)
	}
}

func TestReattach(t *testing.T) {
	f := newFile(t)
	a, _ := f.Allocate(8*pageSize, AllocOpts{})
	b, _ := f.Allocate(2*pageSize, AllocOpts{Overwrite: true})
	f.Bytes(a)[3*pageSize] = 42
	f.Bytes(b)[0] = 1
	f.DecRef(b)
	ranges, err := f.Committed()
	if err != nil || len(ranges) != 1 || ranges[0] != (memmap.Range{Start: a.Start + 3*pageSize, End: a.Start + 4*pageSize}) {
		t.Fatalf("Committed() = %v, %v", ranges, err)
	}
	fd, err := unix.MemfdCreate("test", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	saved := append([]byte(nil), f.Bytes(ranges[0])...)
	unix.Close(f.fd)
	if err := f.Reattach(fd); err != nil {
		t.Fatal(err)
	}
	copy(f.Bytes(ranges[0]), saved)
	if f.Bytes(a)[3*pageSize] != 42 || f.Refs(a) != 1 {
		t.Error("memory was lost")
	}
	if n, _ := f.Usage(); n != pageSize {
		t.Errorf("Usage() = %d after a page was restored", n)
	}
}

func BenchmarkAllocateFree(b *testing.B) {
	f := newFile(b)
	b.ReportAllocs()
	for b.Loop() {
		fr, _ := f.Allocate(64<<10, AllocOpts{})
		f.DecRef(fr)
	}
}

func BenchmarkCopyTarget(b *testing.B) {
	f := newFile(b)
	b.ReportAllocs()
	for b.Loop() {
		fr, _ := f.Allocate(64<<10, AllocOpts{Overwrite: true})
		clear(f.Bytes(fr))
		f.DecRef(fr)
	}
}
