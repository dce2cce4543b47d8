package mm

import (
	"math/rand"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// TestConcurrentChanges runs faults, copies, mappings, forks and invalidations together.
// What it looks for are races, deadlocks, leaks, and host mappings that do not follow.
func TestConcurrentChanges(t *testing.T) {
	p := newApp(t)
	f := newFile(t, p.m.mf, "file", 16)
	const base, pages = uintptr(0x10000000), 64
	reset := func(i int, rnd *rand.Rand) {
		o := MMapOpts{
			Addr: base + uintptr(rnd.Intn(pages-8))*pageSize, Length: uint64(1+rnd.Intn(8)) * pageSize,
			Fixed: true, Perms: memmap.ReadWrite, MaxPerms: memmap.AnyAccess, Private: rnd.Intn(3) != 0,
		}
		if rnd.Intn(2) == 0 {
			o.Mappable, o.Identity, o.Offset = f, f, uint64(rnd.Intn(8))*pageSize
		}
		if _, err := p.m.MMap(o); err != nil {
			t.Error(err)
		}
	}
	var wg sync.WaitGroup
	end := time.Now().Add(700 * time.Millisecond)
	run := func(seed int64, work func(rnd *rand.Rand)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rnd := rand.New(rand.NewSource(seed))
			for time.Now().Before(end) {
				work(rnd)
			}
		}()
	}
	addr := func(rnd *rand.Rand) uintptr { return base + uintptr(rnd.Intn(pages*pageSize)) }
	run(1, func(rnd *rand.Rand) { reset(0, rnd) })
	run(2, func(rnd *rand.Rand) { p.m.MUnmap(base+uintptr(rnd.Intn(pages))*pageSize, 2*pageSize) })
	run(3, func(rnd *rand.Rand) {
		p.m.MProtect(base+uintptr(rnd.Intn(pages))*pageSize, 3*pageSize, memmap.AccessType{Read: true, Write: rnd.Intn(3) != 0}, false)
	})
	for s := int64(4); s < 6; s++ {
		run(s, func(rnd *rand.Rand) {
			at := memmap.Read
			if rnd.Intn(2) == 0 {
				at = memmap.Write
			}
			p.m.HandleFault(Fault{Addr: addr(rnd), Access: at})
		})
	}
	run(7, func(rnd *rand.Rand) {
		b := make([]byte, rnd.Intn(5*pageSize))
		if rnd.Intn(2) == 0 {
			p.m.CopyIn(addr(rnd), b)
		} else {
			p.m.CopyOut(addr(rnd), b)
		}
	})
	run(8, func(rnd *rand.Rand) {
		a := addr(rnd)
		p.m.CopyOutFrom(usermem.AddrRange{Start: a, End: a + 9000}, &usermem.ReaderFromBytes{B: make([]byte, 9000)})
	})
	run(9, func(rnd *rand.Rand) {
		n, err := p.m.Fork()
		if err != nil {
			t.Error(err)
			return
		}
		for i := 0; i < 5; i++ {
			n.CopyOut(addr(rnd), []byte{1, 2, 3})
		}
		c := &app{t, n}
		c.check()
		c.end()
	})
	run(10, func(rnd *rand.Rand) {
		f.truncate(uint64(rnd.Intn(16)) * pageSize)
		f.mu.Lock()
		f.size = 16 * pageSize
		f.mu.Unlock()
		p.m.MAdvise(base+uintptr(rnd.Intn(pages))*pageSize, 4*pageSize, unix.MADV_DONTNEED)
	})
	run(11, func(rnd *rand.Rand) {
		p.m.MRemap(base+uintptr(rnd.Intn(pages))*pageSize, pageSize, pageSize, MRemapOpts{
			MayMove: true, Fixed: true, NewAddr: base + uintptr(rnd.Intn(pages))*pageSize,
		})
		p.m.Usage()
	})
	wg.Wait()
	p.check()
	p.m.DecUsers()
	if f.refs.Load() != 0 || len(f.mappings) != 0 {
		t.Errorf("%d references, %d mappings of the file are left", f.refs.Load(), len(f.mappings))
	}
	f.mf.DecRef(f.fr)
	if n := f.mf.Allocated(); n != 0 {
		t.Errorf("%d bytes leaked", n)
	}
}

func benchApp(b *testing.B) (*app, uintptr) {
	p := newApp(b)
	p.m.as, p.m.p = &quietAS{}, &quietPlatform{}
	for i := uintptr(0); i < 50; i++ { // a program with some VMAs
		p.mmap(MMapOpts{Addr: 0x10000000 + i*0x100000, Length: 0x10000, Fixed: true, Perms: memmap.ReadWrite, Private: true})
	}
	a := p.anon(1 << 20)
	p.m.ZeroOut(a, 1<<20)
	return p, a
}

func BenchmarkCopyIn16(b *testing.B) {
	p, a := benchApp(b)
	var buf [16]byte
	b.ReportAllocs()
	for b.Loop() {
		p.m.CopyIn(a+100, buf[:])
	}
}

func BenchmarkCopyOut4096(b *testing.B) {
	p, a := benchApp(b)
	var buf [4096]byte
	b.ReportAllocs()
	for b.Loop() {
		p.m.CopyOut(a+4096, buf[:])
	}
}

func BenchmarkCopyOutFrom4096(b *testing.B) {
	p, a := benchApp(b)
	r := &usermem.ReaderFromBytes{}
	buf := make([]byte, 4096)
	b.ReportAllocs()
	for b.Loop() {
		r.B = buf
		p.m.CopyOutFrom(usermem.AddrRange{Start: a, End: a + 4096}, r)
	}
}

func BenchmarkLoadUint32(b *testing.B) {
	p, a := benchApp(b)
	b.ReportAllocs()
	for b.Loop() {
		p.m.LoadUint32(a)
	}
}

func BenchmarkMmapMunmap64K(b *testing.B) {
	p, _ := benchApp(b)
	b.ReportAllocs()
	for b.Loop() {
		a, _ := p.m.MMap(MMapOpts{Length: 64 << 10, Perms: memmap.ReadWrite, Private: true})
		p.m.MUnmap(a, 64<<10)
	}
}

func BenchmarkForkExit(b *testing.B) {
	p, _ := benchApp(b)
	b.ReportAllocs()
	for b.Loop() {
		c := p.fork()
		c.m.DecUsers()
	}
}

func BenchmarkCowFault(b *testing.B) {
	p, a := benchApp(b)
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		c := p.fork()
		b.StartTimer()
		c.m.HandleFault(Fault{Addr: a, Access: memmap.Write})
		b.StopTimer()
		c.m.DecUsers()
		b.StartTimer()
	}
}

// quietAS is a host that costs nothing, for benchmarks.
type quietAS struct{ fakeAS }

func (a *quietAS) Batch(f func(platform.Ops)) error { f(quietOps{a}); return nil }

type quietOps struct{ a *quietAS }

func (quietOps) MapFile(uintptr, memmap.File, memmap.Range, memmap.AccessType, bool) error {
	return nil
}
func (quietOps) Unmap(uintptr, uintptr) error                      { return nil }
func (quietOps) Protect(uintptr, uintptr, memmap.AccessType) error { return nil }

type quietPlatform struct{ fakePlatform }

func (*quietPlatform) NewAddressSpace() (platform.AddressSpace, error) { return &quietAS{}, nil }

// slowReader stops in the middle of an I/O until it is told to go on.
type slowReader struct{ begun, goOn chan struct{} }

func (r *slowReader) ReadToBlocks(dsts [][]byte) (int, error) {
	close(r.begun)
	<-r.goOn
	n := 0
	for _, d := range dsts {
		for i := range d {
			d[i] = 7
		}
		n += len(d)
	}
	return n, nil
}

func startRead(p *app, ar usermem.AddrRange) (finish func()) {
	r := &slowReader{make(chan struct{}), make(chan struct{})}
	done := make(chan struct{})
	go func() {
		p.m.CopyOutFrom(ar, r)
		close(done)
	}()
	<-r.begun
	return func() {
		close(r.goOn)
		<-done
	}
}

func TestSlowReadStopsNobody(t *testing.T) {
	p := newApp(t)
	a := p.anon(16 * pageSize)
	p.store(a, 1)
	finish := startRead(p, usermem.AddrRange{Start: a + 10, End: a + 2*pageSize})
	// All of this goes on during the read.
	b := p.anon(pageSize)
	p.store(b, 1)
	c := p.fork()
	p.store(a+100, 9)
	p.store(a+3*pageSize, 2)
	if err := p.m.MProtect(b, pageSize, memmap.Read, false); err != nil {
		t.Error(err)
	}
	finish()
	if p.load(a+10) != 7 || p.load(a+100) != 7 || p.load(a+2*pageSize-1) != 7 {
		t.Error("the read's data did not reach the parent")
	}
	if c.load(a) != 1 || c.load(a+10) != 0 || c.load(a+3*pageSize) != 0 {
		t.Error("the child saw what happened after the fork")
	}
	p.check()
	c.check()
	c.end()
	if left := p.end(); left != 0 {
		t.Errorf("%d bytes leaked", left)
	}
}

func TestPagesOutliveTheirMappingDuringIO(t *testing.T) {
	p := newApp(t)
	mf := p.m.mf
	a := p.anon(4 * pageSize)
	first := startRead(p, usermem.AddrRange{Start: a, End: a + pageSize})
	p.m.MUnmap(a, pageSize)
	second := startRead(p, usermem.AddrRange{Start: a + pageSize, End: a + 2*pageSize})
	p.m.MUnmap(a+pageSize, pageSize)
	mf.Reclaim()
	if n := mf.Allocated(); n != 4*pageSize {
		t.Errorf("%d bytes are allocated while I/O uses them, want 4 pages", n)
	}
	second()
	if n := mf.Allocated(); n < 3*pageSize {
		t.Errorf("pages of the first I/O were freed: %d bytes are left", n)
	}
	first()
	if n := mf.Allocated(); n != 2*pageSize {
		t.Errorf("%d bytes are allocated after the I/O, want 2 pages", n)
	}
}
