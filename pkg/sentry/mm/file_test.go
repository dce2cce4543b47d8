package mm

import (
	"bytes"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/usermem"
)

// fakeFile is a file in the memory file.
type fakeFile struct {
	mf   *pgalloc.MemoryFile
	refs atomic.Int64

	mu   sync.Mutex // guards the fields below
	fr   memmap.Range
	size uint64

	mapMu    sync.Mutex // guards mappings
	mappings map[MappingKey]int
}

type MappingKey struct {
	ms  memmap.MappingSpace
	ar  usermem.AddrRange
	off uint64
}

func newFile(t testing.TB, mf *pgalloc.MemoryFile, content string, pages uint64) *fakeFile {
	fr, err := mf.Allocate(pages*pageSize, pgalloc.AllocOpts{})
	if err != nil {
		t.Fatal(err)
	}
	f := &fakeFile{mf: mf, fr: fr, size: pages * pageSize, mappings: map[MappingKey]int{}}
	for i := uint64(0); i < pages; i++ {
		copy(mf.Bytes(fr)[i*pageSize:], content)
	}
	return f
}

func (f *fakeFile) AddMapping(ms memmap.MappingSpace, ar usermem.AddrRange, off uint64, w bool) error {
	f.mapMu.Lock()
	defer f.mapMu.Unlock()
	for p := ar.Start; p < ar.End; p += pageSize {
		f.mappings[MappingKey{ms, usermem.AddrRange{Start: p, End: p + pageSize}, off + uint64(p-ar.Start)}]++
	}
	return nil
}

func (f *fakeFile) RemoveMapping(ms memmap.MappingSpace, ar usermem.AddrRange, off uint64, w bool) {
	f.mapMu.Lock()
	defer f.mapMu.Unlock()
	for p := ar.Start; p < ar.End; p += pageSize {
		k := MappingKey{ms, usermem.AddrRange{Start: p, End: p + pageSize}, off + uint64(p-ar.Start)}
		if f.mappings[k]--; f.mappings[k] < 0 {
			panic("removed a mapping that was not added")
		} else if f.mappings[k] == 0 {
			delete(f.mappings, k)
		}
	}
}

func (f *fakeFile) CopyMapping(ms memmap.MappingSpace, src, dst usermem.AddrRange, off uint64, w bool) error {
	return f.AddMapping(ms, dst, off, w)
}

func (f *fakeFile) Translate(required, optional memmap.Range, at memmap.AccessType, dst []memmap.Translation) ([]memmap.Translation, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	src := optional.Intersect(memmap.Range{End: f.size})
	if src.Length() > 0 {
		dst = append(dst, memmap.Translation{Source: src, File: f.mf, Offset: f.fr.Start + src.Start, Perms: memmap.AnyAccess})
	}
	if !src.IsSupersetOf(required) {
		return dst, unix.EFAULT
	}
	return dst, nil
}

// truncate makes the file shorter, as a filesystem does it.
func (f *fakeFile) truncate(size uint64) {
	f.mu.Lock()
	f.size = size
	f.mu.Unlock()
	f.mapMu.Lock()
	defer f.mapMu.Unlock()
	for k := range f.mappings {
		if k.off >= size {
			k.ms.Invalidate(k.ar, true)
		}
	}
}

func (f *fakeFile) MappedName() string { return "/bin/prog ram" }
func (f *fakeFile) DeviceID() uint64   { return unix.Mkdev(8, 1) }
func (f *fakeFile) InodeID() uint64    { return 4711 }
func (f *fakeFile) IncRef()            { f.refs.Add(1) }
func (f *fakeFile) DecRef()            { f.refs.Add(-1) }

func TestPrivateFileMapping(t *testing.T) {
	p := newApp(t)
	f := newFile(t, p.m.mf, "hello", 20)
	a := p.mmap(MMapOpts{Length: 20 * pageSize, Perms: memmap.ReadWrite, Private: true, Mappable: f, Identity: f})
	if p.as().ops != 1 || p.load(a+19*pageSize) != 'h' || p.as().ops != 1 {
		t.Errorf("%d changes to map a file and read all of it", p.as().ops)
	}
	p.store(a+pageSize, 'J')
	if f.mf.Bytes(f.fr)[pageSize] != 'h' || p.load(a+pageSize) != 'J' || p.load(a+pageSize+1) != 'e' {
		t.Error("a private write is wrong or reached the file")
	}
	p.check()
	// Text is written by a tracer only.
	text := p.mmap(MMapOpts{Length: pageSize, Perms: memmap.AccessType{Read: true, Execute: true}, Private: true, Mappable: f, Identity: f})
	if _, err := p.m.CopyOut(text, []byte{0xcc}); err != unix.EFAULT {
		t.Errorf("CopyOut to text: %v", err)
	}
	if _, err := p.m.CopyOutForce(text, []byte{0xcc}); err != nil || p.load(text) != 0xcc || f.mf.Bytes(f.fr)[0] != 'h' {
		t.Errorf("CopyOutForce: %v", err)
	}
	if p.fault(text, memmap.Write) != errAccErr {
		t.Error("text became writable")
	}
	p.check()
	p.m.DecUsers()
	if f.refs.Load() != 0 || len(f.mappings) != 0 {
		t.Errorf("%d references, %d mappings are left", f.refs.Load(), len(f.mappings))
	}
	f.mf.DecRef(f.fr)
	if n := f.mf.Allocated(); n != 0 {
		t.Errorf("%d bytes leaked", n)
	}
}

func TestSharedFileMappingAndTruncate(t *testing.T) {
	p := newApp(t)
	f := newFile(t, p.m.mf, "data", 4)
	a := p.mmap(MMapOpts{Length: 8 * pageSize, Perms: memmap.ReadWrite, Mappable: f, Identity: f})
	p.store(a, 'D')
	if f.mf.Bytes(f.fr)[0] != 'D' {
		t.Error("a shared write did not reach the file")
	}
	if got := p.fault(a+4*pageSize, memmap.Read); got != errBusErr {
		t.Errorf("beyond the end: %v, want SIGBUS", got)
	}
	if n, err := p.m.CopyIn(a+4*pageSize-3, make([]byte, 10)); n != 3 || err != unix.EFAULT {
		t.Errorf("CopyIn over the end of the file = %d, %v", n, err)
	}
	c := p.fork()
	priv := c.mmap(MMapOpts{Length: 4 * pageSize, Perms: memmap.ReadWrite, Private: true, Mappable: f, Identity: f})
	c.store(priv+3*pageSize, 'x')
	f.truncate(2 * pageSize)
	for _, q := range []*app{p, c} {
		q.check()
		if got := q.fault(a+2*pageSize, memmap.Write); got != errBusErr {
			t.Errorf("after truncation: %v, want SIGBUS", got)
		}
	}
	if got := c.fault(priv+3*pageSize, memmap.Read); got != errBusErr {
		t.Errorf("private copy after truncation: %v, want SIGBUS", got)
	}
	if p.load(a) != 'D' {
		t.Error("the rest of the file is gone")
	}
}

func TestMRemap(t *testing.T) {
	p := newApp(t)
	a := p.anon(4 * pageSize)
	for i := uintptr(0); i < 4; i++ {
		p.store(a+i*pageSize, byte(i+1))
	}
	if _, err := p.m.MRemap(^uintptr(0)-pageSize+1, pageSize, pageSize, MRemapOpts{MayMove: true, Fixed: true, NewAddr: a}); err != unix.EFAULT {
		t.Errorf("the last page of all: %v", err)
	}
	// In the way of growing in place.
	p.mmap(MMapOpts{Addr: a + 4*pageSize, Length: pageSize, Fixed: true, Perms: memmap.Read, Private: true})
	if _, err := p.m.MRemap(a, 4*pageSize, 5*pageSize, MRemapOpts{}); err != unix.ENOMEM {
		t.Errorf("growing without room: %v", err)
	}
	b, err := p.m.MRemap(a, 4*pageSize, 9*pageSize, MRemapOpts{MayMove: true})
	if err != nil {
		t.Fatal(err)
	}
	p.check()
	for i := uintptr(0); i < 4; i++ {
		if p.load(b+i*pageSize) != byte(i+1) {
			t.Errorf("page %d was lost in the move", i)
		}
	}
	p.store(b+8*pageSize, 1)
	if p.fault(a, memmap.Read) != errMapErr {
		t.Error("the old place is still mapped")
	}
	// Shrink, then move a middle page to a fixed place.
	if _, err := p.m.MRemap(b, 9*pageSize, 3*pageSize, MRemapOpts{}); err != nil {
		t.Fatal(err)
	}
	if p.fault(b+3*pageSize, memmap.Read) != errMapErr {
		t.Error("shrinking left the tail")
	}
	to := a + 100*pageSize
	if got, err := p.m.MRemap(b+pageSize, pageSize, pageSize, MRemapOpts{MayMove: true, Fixed: true, NewAddr: to}); got != to || err != nil {
		t.Fatalf("MREMAP_FIXED = %x, %v", got, err)
	}
	if p.load(to) != 2 || p.load(b) != 1 || p.load(b+2*pageSize) != 3 {
		t.Error("moving a middle page is wrong")
	}
	p.check()
	// DONTUNMAP leaves an empty mapping behind.
	if _, err := p.m.MRemap(to, pageSize, pageSize, MRemapOpts{MayMove: true, DontUnmap: true}); err != nil {
		t.Fatal(err)
	}
	if p.load(to) != 0 {
		t.Error("MREMAP_DONTUNMAP left content")
	}
	p.check()
	// Old size 0 duplicates shared memory only.
	s := p.mmap(MMapOpts{Length: pageSize, Perms: memmap.ReadWrite})
	p.store(s, 9)
	if d, err := p.m.MRemap(s, 0, pageSize, MRemapOpts{MayMove: true}); err != nil || p.load(d) != 9 {
		t.Errorf("duplicate: %v", err)
	}
	if _, err := p.m.MRemap(b, 0, pageSize, MRemapOpts{MayMove: true}); err != unix.EINVAL {
		t.Errorf("duplicate of private memory: %v", err)
	}
	p.check()
	for _, c := range []struct {
		addr     uintptr
		old, new uint64
		o        MRemapOpts
		want     error
	}{
		{b + 1, pageSize, pageSize, MRemapOpts{}, unix.EINVAL},
		{b, pageSize, 0, MRemapOpts{}, unix.EINVAL},
		{0x20000, pageSize, 2 * pageSize, MRemapOpts{}, unix.EFAULT},
		{b, pageSize, pageSize, MRemapOpts{Fixed: true, NewAddr: to}, unix.EINVAL},
		{b, pageSize, pageSize, MRemapOpts{Fixed: true, MayMove: true, NewAddr: b}, unix.EINVAL},
		{b, pageSize, 1 << 60, MRemapOpts{MayMove: true}, unix.EINVAL},
	} {
		if _, err := p.m.MRemap(c.addr, c.old, c.new, c.o); err != c.want {
			t.Errorf("MRemap(%x, %d, %d, %+v): %v, want %v", c.addr, c.old, c.new, c.o, err, c.want)
		}
	}
	if left := p.end(); left != 0 {
		t.Errorf("%d bytes leaked", left)
	}
}

func TestMAdvise(t *testing.T) {
	p := newApp(t)
	a := p.anon(4 * pageSize)
	p.store(a, 1)
	p.store(a+pageSize, 2)
	ops := p.as().ops
	if err := p.m.MAdvise(a, pageSize, unix.MADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if p.load(a) != 0 || p.load(a+pageSize) != 2 || p.as().ops != ops {
		t.Error("MADV_DONTNEED is wrong, or changed host mappings")
	}
	c := p.fork()
	if err := c.m.MAdvise(a, 4*pageSize, unix.MADV_DONTNEED); err != nil {
		t.Fatal(err)
	}
	if c.load(a+pageSize) != 0 || p.load(a+pageSize) != 2 {
		t.Error("MADV_DONTNEED of shared pages is wrong")
	}
	c.check()
	c.end()
	for advice, want := range map[int]byte{unix.MADV_DONTFORK: 0, unix.MADV_WIPEONFORK: 0, unix.MADV_KEEPONFORK: 2} {
		if err := p.m.MAdvise(a, 4*pageSize, advice); err != nil {
			t.Fatal(err)
		}
		c := p.fork()
		if advice == unix.MADV_DONTFORK {
			if c.fault(a, memmap.Read) != errMapErr {
				t.Error("MADV_DONTFORK memory was inherited")
			}
			p.m.MAdvise(a, 4*pageSize, unix.MADV_DOFORK)
		} else if got := c.load(a + pageSize); got != want {
			t.Errorf("advice %d: the child sees %d, want %d", advice, got, want)
		}
		c.check()
		c.end()
		p.m.MAdvise(a, 4*pageSize, unix.MADV_KEEPONFORK)
	}
	s := p.mmap(MMapOpts{Length: pageSize, Perms: memmap.ReadWrite})
	p.store(s, 5)
	if err := p.m.MAdvise(s, pageSize, unix.MADV_REMOVE); err != nil || p.load(s) != 0 {
		t.Errorf("MADV_REMOVE: %v", err)
	}
	for _, c := range []struct {
		addr   uintptr
		advice int
		want   error
	}{
		{a + 1, unix.MADV_DONTNEED, unix.EINVAL},
		{a, 12345, unix.EINVAL},
		{0x20000, unix.MADV_DONTNEED, unix.ENOMEM},
		{0x20000, unix.MADV_NORMAL, unix.ENOMEM},
		{a, unix.MADV_REMOVE, unix.EINVAL},
		{s, unix.MADV_FREE, unix.EINVAL},
		{a, madvHWPoison, unix.EPERM},
	} {
		if err := p.m.MAdvise(c.addr, pageSize, c.advice); err != c.want {
			t.Errorf("MAdvise(%x, %d): %v, want %v", c.addr, c.advice, err, c.want)
		}
	}
	p.check()
}

type testLimits struct{ as, data, stack, lock uint64 }

func (l *testLimits) AddressSpaceLimit() uint64 { return l.as }
func (l *testLimits) DataLimit() uint64         { return l.data }
func (l *testLimits) StackLimit() uint64        { return l.stack }
func (l *testLimits) MemlockLimit() uint64      { return l.lock }

func TestLimits(t *testing.T) {
	const inf = ^uint64(0)
	p := newApp(t)
	l := &testLimits{inf, inf, 8 << 20, 2 * pageSize}
	p.m.SetLimits(l)
	a := p.anon(10 * pageSize)
	if err := p.m.MLock(a, 3*pageSize, false, false); err != unix.ENOMEM {
		t.Errorf("mlock over the limit: %v", err)
	}
	if err := p.m.MLock(a, 3*pageSize, false, true); err != nil {
		t.Errorf("privileged mlock: %v", err)
	}
	p.check()
	if err := p.m.MAdvise(a, pageSize, unix.MADV_DONTNEED); err != unix.EINVAL {
		t.Errorf("MADV_DONTNEED of locked memory: %v", err)
	}
	if _, err := p.m.MMap(MMapOpts{Length: pageSize, Private: true, Locked: true}); err != unix.EAGAIN {
		t.Errorf("MAP_LOCKED over the limit: %v", err)
	}
	if err := p.m.MUnlock(a, 3*pageSize); err != nil {
		t.Error(err)
	}
	l.as = 11 * pageSize
	if _, err := p.m.MMap(MMapOpts{Length: 2 * pageSize, Private: true}); err != unix.ENOMEM {
		t.Errorf("mmap over RLIMIT_AS: %v", err)
	}
	// Replacing does not count twice.
	if _, err := p.m.MMap(MMapOpts{Addr: a, Length: 10 * pageSize, Fixed: true, Private: true, MaxPerms: memmap.AnyAccess}); err != nil {
		t.Errorf("replacing under RLIMIT_AS: %v", err)
	}
	l.as, l.data = inf, pageSize
	if _, err := p.m.MMap(MMapOpts{Length: 2 * pageSize, Private: true, Perms: memmap.ReadWrite}); err != unix.ENOMEM {
		t.Errorf("mmap over RLIMIT_DATA: %v", err)
	}
	if err := p.m.MProtect(a, 10*pageSize, memmap.ReadWrite, false); err != unix.ENOMEM {
		t.Errorf("mprotect over RLIMIT_DATA: %v", err)
	}
	p.check()
}

func TestMaps(t *testing.T) {
	p := newApp(t)
	f := newFile(t, p.m.mf, "x", 2)
	p.mmap(MMapOpts{Addr: 0x400000, Length: 2 * pageSize, Fixed: true, Perms: memmap.AccessType{Read: true, Execute: true}, Private: true, Mappable: f, Identity: f})
	p.mmap(MMapOpts{Addr: 0x403000, Length: pageSize, Fixed: true, Perms: memmap.ReadWrite, Private: true, Mappable: f, Identity: f, Offset: pageSize})
	p.mmap(MMapOpts{Addr: 0x500000, Length: pageSize, Fixed: true, Perms: memmap.Read, Private: true, Name: "[vdso]"})
	p.mmap(MMapOpts{Addr: 0x600000, Length: pageSize, Fixed: true, Private: true})
	p.store(0x403000, 1)
	var b bytes.Buffer
	p.m.WriteMaps(&b)
	want := "00400000-00402000 r-xp 00000000 08:01 4711                               /bin/prog ram\n" +
		"00403000-00404000 rw-p 00001000 08:01 4711                               /bin/prog ram\n" +
		"00500000-00501000 r--p 00000000 00:00 0                                  [vdso]\n" +
		"00600000-00601000 ---p 00000000 00:00 0 \n"
	if b.String() != want {
		t.Errorf("maps:\n%swant:\n%s", b.String(), want)
	}
	b.Reset()
	p.m.WriteSmaps(&b)
	for _, s := range []string{"Private_Dirty:         4 kB\n", "VmFlags: rd ex mr mw me \n", "Size:                  8 kB\n"} {
		if !strings.Contains(b.String(), s) {
			t.Errorf("smaps lacks %q:\n%s", s, b.String())
		}
	}
	b.Reset()
	p.m.WriteSmapsRollup(&b)
	if !strings.Contains(b.String(), "[rollup]\n") {
		t.Errorf("rollup:\n%s", b.String())
	}
	u := p.m.Usage()
	if u.Size != 5*pageSize || u.Anon != pageSize || u.Data != pageSize || u.RSS == 0 {
		t.Errorf("Usage = %+v", u)
	}
	if err := p.m.SetAnonName(0x600000, pageSize, "heap"); err != nil {
		t.Error(err)
	}
	b.Reset()
	if p.m.WriteMaps(&b); !strings.Contains(b.String(), "[anon:heap]\n") {
		t.Error("the name is not shown")
	}
	if err := p.m.SetAnonName(0x400000, pageSize, "x"); err != unix.EBADF {
		t.Errorf("naming a file mapping: %v", err)
	}
	if f.refs.Load() != 2 {
		t.Errorf("%d references, want one per VMA", f.refs.Load())
	}
}

// TestFileShrinksElsewhere: a file becomes shorter and nobody tells; the host faults where the sentry
// has everything.
func TestFileShrinksElsewhere(t *testing.T) {
	for _, private := range []bool{false, true} {
		p := newApp(t)
		f := newFile(t, p.m.mf, "x", 4)
		a := p.mmap(MMapOpts{Length: 4 * pageSize, Perms: memmap.ReadWrite, Private: private, Mappable: f, Identity: f})
		for i := uintptr(0); i < 4; i++ {
			if err := p.fault(a+i*pageSize, memmap.Read); err != nil {
				t.Fatal(err)
			}
		}
		f.mu.Lock()
		f.size = pageSize
		f.mu.Unlock()
		for _, at := range []memmap.AccessType{memmap.Read, memmap.NoAccess} {
			if err := p.m.HandleFault(Fault{Addr: a + 2*pageSize, Access: at}); err != errBusErr {
				t.Errorf("private %v, %v: %v behind the end, want SIGBUS", private, at, err)
			}
		}
		if err := p.m.HandleFault(Fault{Addr: a, Access: memmap.Read}); err != nil {
			t.Errorf("private %v: %v at the page that is left", private, err)
		}
		// The host finds no room for that one.
		if err := p.m.HandleFault(Fault{Addr: a, Access: memmap.Read, Bus: true}); err != errBusErr {
			t.Errorf("private %v: %v at a page that the host does not have, want SIGBUS", private, err)
		}
	}
}

func TestFutexKeys(t *testing.T) {
	p := newApp(t)
	f := newFile(t, p.m.mf, "x", 4)
	a := p.anon(pageSize)
	s := p.mmap(MMapOpts{Length: 2 * pageSize, Perms: memmap.ReadWrite, Mappable: f, Identity: f, Offset: pageSize})
	c := p.fork()
	key := func(q *app, addr uintptr, shared bool) any {
		k, err := q.m.FutexKey(addr, shared)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if key(p, a, true) == key(c, a, true) || key(p, a, false) == key(c, a, false) {
		t.Error("private memory of two processes has one key")
	}
	if key(p, s+pageSize, true) != key(c, s+pageSize, true) || key(p, s, true) == key(p, s+4, true) {
		t.Error("keys of shared memory are wrong")
	}
	if _, err := p.m.FutexKey(0x20000, true); err != unix.EFAULT {
		t.Errorf("key of nothing: %v", err)
	}
}

// oneReader fills what it is offered, once.
type oneReader struct{ calls, n int }

func (r *oneReader) ReadToBlocks(dsts [][]byte) (int, error) {
	r.calls++
	n := 0
	for _, d := range dsts {
		for i := range d {
			d[i] = 0x5a
		}
		n += len(d)
	}
	r.n = n
	return n, nil
}

func TestCopyOutFromOffersTheWholeBuffer(t *testing.T) {
	p := newApp(t)
	f := newFile(t, p.m.mf, "x", 4)
	// Three kinds of memory side by side; nothing of the last two is present for writing.
	base := uintptr(0x10000000)
	p.mmap(MMapOpts{Addr: base, Length: pageSize, Fixed: true, Perms: memmap.ReadWrite, Private: true})
	p.mmap(MMapOpts{Addr: base + pageSize, Length: pageSize, Fixed: true, Perms: memmap.ReadWrite, Private: true, Mappable: f, Identity: f})
	p.mmap(MMapOpts{Addr: base + 2*pageSize, Length: 1 << 40, Fixed: true, Perms: memmap.ReadWrite, Private: true, NoReserve: true})
	r := &oneReader{}
	ar := usermem.AddrRange{Start: base + 10, End: base + 3*pageSize}
	if n, err := p.m.CopyOutFrom(ar, r); n != 3*pageSize-10 || err != nil || r.calls != 1 {
		t.Errorf("CopyOutFrom = %d, %v in %d calls", n, err, r.calls)
	}
	if p.load(base) != 0 || p.load(base+10) != 0x5a || p.load(base+3*pageSize-1) != 0x5a || f.mf.Bytes(f.fr)[0] != 'x' {
		t.Error("the bytes went to the wrong place")
	}
	p.check()
	// A bad end: the good part is offered.
	r = &oneReader{}
	end := base + 2*pageSize + 1<<40
	if n, err := p.m.CopyOutFrom(usermem.AddrRange{Start: end - 5, End: end + 5}, r); n != 5 || err != unix.EFAULT {
		t.Errorf("CopyOutFrom over the end = %d, %v", n, err)
	}
	if n, err := p.m.CopyOutFrom(usermem.AddrRange{Start: end, End: end + 5}, r); n != 0 || err != unix.EFAULT {
		t.Errorf("CopyOutFrom of nothing = %d, %v", n, err)
	}
}
