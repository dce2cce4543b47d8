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
			p.m.HandleFault(addr(rnd), at)
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
		c.m.HandleFault(a, memmap.Write)
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
