package mm

import (
	"sync"
	"testing"

	"runsc/pkg/platform"
	"runsc/pkg/seccomp"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/usermem"
)

// fakePlatform maps nothing; its address spaces remember what they were told.
type fakePlatform struct{}

func (*fakePlatform) Name() string                 { return "fake" }
func (*fakePlatform) NewContext() platform.Context { return nil }
func (*fakePlatform) UserRange() (lo, hi uintptr)  { return 0x1000, 0x7ffffffff000 }
func (*fakePlatform) SeccompRules() seccomp.Rules  { return seccomp.Rules{} }
func (*fakePlatform) Close()                       {}
func (*fakePlatform) NewAddressSpace() (platform.AddressSpace, error) {
	return &fakeAS{}, nil
}

// mapping is one host mapping.
type mapping struct {
	ar   usermem.AddrRange
	file memmap.File
	off  uint64
	at   memmap.AccessType
}

type fakeAS struct {
	mu       sync.Mutex
	maps     []mapping // unordered, disjoint
	ops      int
	batches  int
	released bool
}

func (a *fakeAS) cut(ar usermem.AddrRange) {
	var out []mapping
	for _, m := range a.maps {
		if !m.ar.Overlaps(ar) {
			out = append(out, m)
			continue
		}
		if m.ar.Start < ar.Start {
			l := m
			l.ar.End = ar.Start
			out = append(out, l)
		}
		if m.ar.End > ar.End {
			r := m
			r.off += uint64(ar.End - m.ar.Start)
			r.ar.Start = ar.End
			out = append(out, r)
		}
	}
	a.maps = out
}

func (a *fakeAS) mapFile(addr uintptr, f memmap.File, fr memmap.Range, at memmap.AccessType, _ bool) error {
	a.ops++
	ar := usermem.AddrRange{Start: addr, End: addr + uintptr(fr.Length())}
	a.cut(ar)
	a.maps = append(a.maps, mapping{ar, f, fr.Start, at})
	return nil
}

func (a *fakeAS) unmap(addr, length uintptr) error {
	a.ops++
	a.cut(usermem.AddrRange{Start: addr, End: addr + length})
	return nil
}

func (a *fakeAS) protect(addr, length uintptr, at memmap.AccessType) error {
	a.ops++
	ar := usermem.AddrRange{Start: addr, End: addr + length}
	var changed []mapping
	for _, m := range a.maps {
		if m.ar.Overlaps(ar) {
			p := m.ar.Intersect(ar)
			changed = append(changed, mapping{p, m.file, m.off + uint64(p.Start-m.ar.Start), at})
		}
	}
	a.cut(ar)
	a.maps = append(a.maps, changed...)
	return nil
}

func (a *fakeAS) MapFile(addr uintptr, f memmap.File, fr memmap.Range, at memmap.AccessType, p bool) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.batches++
	return a.mapFile(addr, f, fr, at, p)
}

func (a *fakeAS) Unmap(addr, length uintptr) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.batches++
	return a.unmap(addr, length)
}

func (a *fakeAS) Protect(addr, length uintptr, at memmap.AccessType) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.batches++
	return a.protect(addr, length, at)
}

type fakeOps struct{ a *fakeAS }

func (o fakeOps) MapFile(addr uintptr, f memmap.File, fr memmap.Range, at memmap.AccessType, p bool) error {
	return o.a.mapFile(addr, f, fr, at, p)
}
func (o fakeOps) Unmap(addr, length uintptr) error { return o.a.unmap(addr, length) }
func (o fakeOps) Protect(addr, length uintptr, at memmap.AccessType) error {
	return o.a.protect(addr, length, at)
}

func (a *fakeAS) Batch(f func(platform.Ops)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.batches++
	f(fakeOps{a})
	return nil
}

func (a *fakeAS) Release() { a.released = true }

// page finds the block behind addr if at is allowed.
func (a *fakeAS) page(addr uintptr, at memmap.AccessType) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.maps {
		if m.ar.Contains(addr) && m.at.SupersetOf(at) {
			off := m.off + uint64(memmap.PageDown(addr)-m.ar.Start)
			b, err := m.file.Blocks(memmap.Range{Start: off, End: off + pageSize}, at, nil)
			if err != nil {
				return nil
			}
			return b[0]
		}
	}
	return nil
}

// app is a program that runs in an address space.
type app struct {
	t testing.TB
	m *MemoryManager
}

func newApp(t testing.TB) *app {
	t.Helper()
	mf, err := pgalloc.New()
	if err != nil {
		t.Fatal(err)
	}
	m, err := New(&fakePlatform{}, mf)
	if err == nil {
		err = m.Settle()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(mf.Close)
	return &app{t, m}
}

func (p *app) as() *fakeAS { return p.m.as.(*fakeAS) }

// touch does one access, with faults repaired; an error is the signal.
func (p *app) touch(addr uintptr, at memmap.AccessType, b *byte) error {
	for i := 0; i < 10; i++ {
		if pg := p.as().page(addr, at); pg != nil {
			if at.Write {
				pg[addr%pageSize] = *b
			} else {
				*b = pg[addr%pageSize]
			}
			return nil
		}
		if err := p.m.HandleFault(Fault{Addr: addr, Access: at}); err != nil {
			return err
		}
	}
	p.t.Fatalf("fault at %x (%v) is never repaired", addr, at)
	return nil
}

func (p *app) load(addr uintptr) byte {
	p.t.Helper()
	var b byte
	if err := p.touch(addr, memmap.Read, &b); err != nil {
		p.t.Fatalf("load %x: %v", addr, err)
	}
	return b
}

func (p *app) store(addr uintptr, b byte) {
	p.t.Helper()
	if err := p.touch(addr, memmap.Write, &b); err != nil {
		p.t.Fatalf("store %x: %v", addr, err)
	}
}

func (p *app) fault(addr uintptr, at memmap.AccessType) error {
	var b byte
	return p.touch(addr, at, &b)
}

func (p *app) mmap(o MMapOpts) uintptr {
	p.t.Helper()
	if !o.MaxPerms.Any() {
		o.MaxPerms = memmap.AnyAccess
	}
	a, err := p.m.MMap(o)
	if err != nil {
		p.t.Fatalf("mmap: %v", err)
	}
	return a
}

func (p *app) anon(length uint64) uintptr {
	p.t.Helper()
	return p.mmap(MMapOpts{Length: length, Perms: memmap.ReadWrite, Private: true})
}

// check compares the host's mappings with the PMAs, and PMAs with VMAs.
func (p *app) check() {
	p.t.Helper()
	m := p.m
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	m.activeMu.RLock()
	defer m.activeMu.RUnlock()
	var n, mapped uintptr
	for it := m.pmas.First(); it.Ok(); it = it.Next() {
		n += it.Range().Length()
		if !m.vmas.Covers(it.Range()) {
			p.t.Fatalf("pages at %v have no VMA", it.Range())
		}
		for vit := m.vmas.LowerBound(it.Start()); vit.Ok() && vit.Start() < it.End(); vit = vit.Next() {
			want := *it.Value()
			want.restrict(vit.Value().eff())
			if want.eff != it.Value().eff {
				p.t.Fatalf("pages at %v allow %v, not %v", it.Range(), it.Value().eff, want.eff)
			}
		}
	}
	for _, h := range p.as().maps {
		mapped += h.ar.Length()
		for a := h.ar.Start; a < h.ar.End; {
			it := m.pmas.Find(a)
			if !it.Ok() {
				p.t.Fatalf("host maps %x, where no pages are", a)
			}
			v := it.Value()
			if v.file != h.file || v.off+uint64(a-it.Start()) != h.off+uint64(a-h.ar.Start) || v.eff != h.at {
				p.t.Fatalf("host maps %x as %v, pages say %+v", a, h, *v)
			}
			a = min(it.End(), h.ar.End)
		}
	}
	if n != mapped {
		p.t.Fatalf("%d bytes of pages, %d bytes mapped", n, mapped)
	}
	var s sizes
	for it := m.vmas.First(); it.Ok(); it = it.Next() {
		s.add(it.Value(), it.Range().Length())
	}
	if s.as != m.sizes.as || s.data != m.sizes.data || s.locked != m.sizes.locked {
		p.t.Fatalf("sizes %+v, counted %+v", m.sizes, s)
	}
}

// end lets go of everything and says what of the memory file is left.
func (p *app) end() uint64 {
	p.m.DecUsers()
	return p.m.mf.Allocated()
}

func (p *app) fork() *app {
	p.t.Helper()
	n, err := p.m.Fork()
	if err != nil {
		p.t.Fatal(err)
	}
	return &app{p.t, n}
}
