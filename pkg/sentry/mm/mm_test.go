package mm

import (
	"bytes"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
)

func TestAnonymousMemoryIsMappedEarly(t *testing.T) {
	p := newApp(t)
	a := p.anon(10 * pageSize)
	if got := len(p.as().maps); got != 1 {
		t.Fatalf("%d host mappings after mmap, want 1", got)
	}
	before := p.as().ops
	for i := uintptr(0); i < 10; i++ {
		p.store(a+i*pageSize, byte(i))
	}
	if p.as().ops != before {
		t.Error("touching fresh memory changed host mappings")
	}
	if p.load(a+3*pageSize) != 3 || p.load(a+1) != 0 {
		t.Error("memory does not hold what was stored")
	}
	b := p.anon(pageSize)
	p.check()
	if b+pageSize == a && p.m.vmas.Len() != 1 {
		t.Error("adjacent anonymous VMAs did not merge")
	}
	if left := p.end(); left != 0 {
		t.Errorf("%d bytes leaked", left)
	}
}

func TestHugeReservationIsBackedInChunks(t *testing.T) {
	p := newApp(t)
	a := p.mmap(MMapOpts{Length: 1 << 40, Perms: memmap.ReadWrite, Private: true, NoReserve: true})
	if p.m.mf.Allocated() != 0 {
		t.Error("a terabyte was backed at once")
	}
	p.store(a+5<<30, 1)
	if got := p.m.mf.Allocated(); got != lazyChunkHuge {
		t.Errorf("a touch backed %d bytes", got)
	}
	p.check()
	if err := p.m.MUnmap(a, 1<<40); err != nil {
		t.Fatal(err)
	}
	p.check()
	if p.m.mf.Allocated() != 0 || len(p.as().maps) != 0 {
		t.Error("munmap left something")
	}
}

func TestFaultsAreSignals(t *testing.T) {
	p := newApp(t)
	ro := p.mmap(MMapOpts{Length: pageSize, Perms: memmap.Read, Private: true})
	none := p.mmap(MMapOpts{Length: pageSize, Private: true})
	for _, c := range []struct {
		addr uintptr
		at   memmap.AccessType
		want error
	}{
		{ro, memmap.Write, errAccErr},
		{ro, memmap.Execute, errAccErr},
		{none, memmap.Read, errAccErr},
		{0x1000, memmap.Read, errMapErr},
		{^uintptr(0), memmap.Write, errMapErr},
	} {
		if got := p.fault(c.addr, c.at); got != c.want {
			t.Errorf("%v at %x: %v, want %v", c.at, c.addr, got, c.want)
		}
	}
	if _, err := p.m.CopyOut(ro, []byte{1}); err != unix.EFAULT {
		t.Errorf("CopyOut to read-only memory: %v", err)
	}
	if _, err := p.m.CopyIn(none, make([]byte, 1)); err != unix.EFAULT {
		t.Errorf("CopyIn of PROT_NONE memory: %v", err)
	}
}

func TestForkCopiesOnWrite(t *testing.T) {
	p := newApp(t)
	a := p.anon(1 << 20)
	shared := p.mmap(MMapOpts{Length: pageSize, Perms: memmap.ReadWrite})
	p.store(a, 1)
	p.store(a+512<<10, 2)
	p.store(shared, 3)
	c := p.fork()
	p.check()
	c.check()
	c.store(a, 10)
	c.store(shared, 30)
	if p.load(a) != 1 || c.load(a) != 10 || c.load(a+512<<10) != 2 {
		t.Error("a child's write is wrong or was seen by the parent")
	}
	if p.load(shared) != 30 {
		t.Error("shared memory is not shared")
	}
	p.store(a+512<<10, 20)
	if c.load(a+512<<10) != 2 {
		t.Error("a parent's write was seen by the child")
	}
	// CopyOut breaks copy-on-write too.
	if _, err := p.m.CopyOut(a+100, []byte{77}); err != nil {
		t.Fatal(err)
	}
	if c.load(a+100) != 0 {
		t.Error("the sentry's copy to the parent was seen by the child")
	}
	p.check()
	c.check()
	c.end()
	before := p.as().ops
	for i := uintptr(0); i < 1<<20; i += pageSize {
		p.store(a+i, 9)
	}
	if n := p.as().ops - before; n > 4 {
		t.Errorf("%d changes of host mappings to take back unshared memory", n)
	}
	p.check()
	if left := p.end(); left != 0 {
		t.Errorf("%d bytes leaked", left)
	}
}

// What was written to after one fork is copied by the next, so that neither side faults there.
func TestForkCopiesWhatWasHot(t *testing.T) {
	p := newApp(t)
	a := p.anon(1 << 20)
	for i := uintptr(0); i < 1<<20; i += pageSize {
		p.store(a+i, 1)
	}
	faults := func(q *app, addr uintptr) bool { return q.as().page(addr, memmap.Write) == nil }
	byParent, byChild, cold := a, a+256<<10, a+512<<10
	c := p.fork()
	for _, addr := range []uintptr{byParent, byChild, cold} {
		if !faults(p, addr) || !faults(c, addr) {
			t.Errorf("%#x can be written without a fault after the first fork", addr)
		}
	}
	p.store(byParent, 2)
	c.store(byChild, 3)
	c.end()
	for i := 0; i < 3; i++ {
		c = p.fork()
		p.check()
		c.check()
		if faults(p, byParent) || faults(c, byParent) || faults(c, byChild) {
			t.Error("what was written to after the last fork faults again")
		}
		if !faults(p, cold) || !faults(c, cold) {
			t.Error("what was not written to is not shared")
		}
		c.store(byParent, 4)
		c.store(byChild, 5)
		if p.load(byParent) != 2 || p.load(byChild) != 1 || c.load(byParent) != 4 || c.load(byParent+pageSize) != 1 {
			t.Error("parent and child do not have pages of their own")
		}
		c.end()
	}
	// With another thread about, a copy would not be of one moment.
	p.m.IncUsers()
	c = p.fork()
	if !faults(p, byParent) || !faults(c, byParent) {
		t.Error("memory that others may be writing to was copied")
	}
	c.end()
	p.m.DecUsers()
	p.store(byParent, 2)
	// It is forgotten after a while, unless it is written to again.
	for i := 0; i < hotFor; i++ {
		p.fork().end()
	}
	c = p.fork()
	if !faults(c, byParent) {
		t.Error("what is not written to any more is copied for ever")
	}
	c.end()
	if left := p.end(); left != 0 {
		t.Errorf("%d bytes leaked", left)
	}
}

// The data of a program that its children write to, but not itself, stays a file's in the parent.
func TestForkCopiesFilePagesForTheChild(t *testing.T) {
	p := newApp(t)
	f := newFile(t, p.m.mf, "data", 64)
	a := p.mmap(MMapOpts{Length: 256 << 10, Perms: memmap.ReadWrite, Private: true, Mappable: f, Identity: f})
	c := p.fork()
	c.store(a+pageSize, 9)
	c.end()
	c = p.fork()
	if c.as().page(a+pageSize, memmap.Write) == nil {
		t.Error("the child has no pages of its own")
	}
	if c.as().page(a+128<<10, memmap.Write) != nil {
		t.Error("the child got a copy of what nobody wrote to")
	}
	c.store(a+pageSize, 8)
	if c.load(a) != p.load(a) || p.load(a+pageSize) == 8 {
		t.Error("wrong pages")
	}
	p.check()
	c.check()
	c.end()
	mf := p.m.mf
	if left := p.end(); left != f.size || mf.Refs(f.fr) != 1 {
		t.Errorf("%d bytes are left, the file has %d references", left, mf.Refs(f.fr))
	}
}

func TestMunmapInTheMiddleAndFixed(t *testing.T) {
	p := newApp(t)
	a := p.anon(8 * pageSize)
	for i := uintptr(0); i < 8; i++ {
		p.store(a+i*pageSize, byte(i+1))
	}
	if err := p.m.MUnmap(a+2*pageSize, 2*pageSize); err != nil {
		t.Fatal(err)
	}
	p.check()
	if p.fault(a+2*pageSize, memmap.Read) != errMapErr || p.load(a+4*pageSize) != 5 {
		t.Error("munmap removed the wrong pages")
	}
	p.mmap(MMapOpts{Addr: a + pageSize, Length: 4 * pageSize, Fixed: true, Perms: memmap.ReadWrite, Private: true})
	p.check()
	for i, want := range []byte{1, 0, 0, 0, 0, 6, 7, 8} {
		if got := p.load(a + uintptr(i)*pageSize); got != want {
			t.Errorf("page %d holds %d, want %d", i, got, want)
		}
	}
	if _, err := p.m.MMap(MMapOpts{Addr: a, Length: pageSize, Fixed: true, NoReplace: true, Private: true}); err != unix.EEXIST {
		t.Errorf("MAP_FIXED_NOREPLACE: %v", err)
	}
}

func TestMProtect(t *testing.T) {
	p := newApp(t)
	a := p.anon(4 * pageSize)
	p.store(a+pageSize, 5)
	if err := p.m.MProtect(a+pageSize, pageSize, memmap.Read, false); err != nil {
		t.Fatal(err)
	}
	p.check()
	if p.fault(a+pageSize, memmap.Write) != errAccErr || p.load(a+pageSize) != 5 {
		t.Error("protection is wrong")
	}
	p.store(a, 1)
	if err := p.m.MProtect(a, 4*pageSize, memmap.ReadWrite, false); err != nil {
		t.Fatal(err)
	}
	p.check()
	if p.m.vmas.Len() != 1 {
		t.Errorf("%d VMAs, want them joined", p.m.vmas.Len())
	}
	// A PROT_NONE reservation is backed when it becomes usable.
	r := p.mmap(MMapOpts{Length: 1 << 30, Private: true, NoReserve: true})
	if err := p.m.MProtect(r, 1<<20, memmap.ReadWrite, false); err != nil {
		t.Fatal(err)
	}
	ops := p.as().ops
	p.store(r+5*pageSize, 1)
	if p.as().ops != ops {
		t.Error("memory was not mapped by mprotect")
	}
	p.check()
	if err := p.m.MUnmap(a+pageSize, pageSize); err != nil {
		t.Fatal(err)
	}
	if err := p.m.MProtect(a, 4*pageSize, memmap.Read, false); err != unix.ENOMEM {
		t.Errorf("mprotect over a hole: %v", err)
	}
	p.check()
}

func TestCopiesAcrossPages(t *testing.T) {
	p := newApp(t)
	a := p.anon(3 * pageSize)
	src := bytes.Repeat([]byte("0123456789abcde"), 500)
	if n, err := p.m.CopyOut(a+100, src); n != len(src) || err != nil {
		t.Fatalf("CopyOut = %d, %v", n, err)
	}
	dst := make([]byte, len(src))
	if n, err := p.m.CopyIn(a+100, dst); n != len(src) || err != nil || !bytes.Equal(src, dst) {
		t.Fatalf("CopyIn = %d, %v", n, err)
	}
	// Across the end of the mapping: what fits is copied.
	if n, err := p.m.CopyIn(a+3*pageSize-10, dst[:20]); n != 10 || err != unix.EFAULT {
		t.Errorf("CopyIn over the end = %d, %v", n, err)
	}
	if n, err := p.m.ZeroOut(a, 2*pageSize); n != 2*pageSize || err != nil {
		t.Errorf("ZeroOut = %d, %v", n, err)
	}
	if v, err := p.m.CompareAndSwapUint32(a+8, 0, 7); v != 0 || err != nil {
		t.Errorf("CompareAndSwapUint32 = %d, %v", v, err)
	}
	if v, err := p.m.LoadUint32(a + 8); v != 7 || err != nil {
		t.Errorf("LoadUint32 = %d, %v", v, err)
	}
	if _, err := p.m.LoadUint32(a + 2); err != unix.EINVAL {
		t.Errorf("unaligned LoadUint32: %v", err)
	}
}

func TestBrk(t *testing.T) {
	p := newApp(t)
	p.m.SetBrkStart(0x500000)
	start := p.m.Brk(0)
	if got := p.m.Brk(start + 100); got != start+100 {
		t.Fatalf("Brk = %x", got)
	}
	p.store(start+pageSize-1, 4)
	if got := p.m.Brk(start + 1<<20); got != start+1<<20 {
		t.Fatalf("Brk = %x", got)
	}
	p.check()
	if p.m.vmas.Len() != 1 || p.m.pmas.Len() != 1 {
		t.Errorf("%d VMAs and %d PMAs for one heap", p.m.vmas.Len(), p.m.pmas.Len())
	}
	p.m.Brk(start + 1)
	if p.load(start+pageSize-1) != 4 || p.fault(start+pageSize, memmap.Read) != errMapErr {
		t.Error("shrinking the heap is wrong")
	}
	if got := p.m.Brk(start - 1); got != start+1 {
		t.Errorf("Brk below the start = %x", got)
	}
	p.check()
}

func TestStackGrowsToItsLimit(t *testing.T) {
	p := newApp(t)
	ar, err := p.m.MapStack(false)
	if err != nil {
		t.Fatal(err)
	}
	p.store(ar.End-1, 1)
	p.store(ar.Start-1<<20, 2)
	p.check()
	p.store(ar.End-8<<20, 3)
	if got := p.fault(ar.End-8<<20-1, memmap.Write); got != errMapErr {
		t.Errorf("stack beyond its limit: %v", got)
	}
	p.check()
	// A mapping below keeps its distance.
	q := newApp(t)
	ar, _ = q.m.MapStack(false)
	q.mmap(MMapOpts{Addr: ar.Start - 3<<20, Length: pageSize, Fixed: true, Perms: memmap.ReadWrite, Private: true})
	q.store(ar.Start-3<<20+pageSize+stackGuardGap, 1)
	if got := q.fault(ar.Start-3<<20+pageSize+stackGuardGap-1, memmap.Write); got != errMapErr {
		t.Errorf("stack into its guard gap: %v", got)
	}
	// The sentry's own accesses grow it too.
	if _, err := newStack(t).CopyOut(1, []byte{1}); err != unix.EFAULT {
		t.Errorf("CopyOut at 1: %v", err)
	}
}

func newStack(t *testing.T) *MemoryManager {
	p := newApp(t)
	ar, _ := p.m.MapStack(false)
	if _, err := p.m.CopyOut(ar.Start-200<<10, []byte{1}); err != nil {
		t.Errorf("CopyOut below the stack: %v", err)
	}
	p.check()
	return p.m
}

func TestFaultOfUnknownKind(t *testing.T) {
	p := newApp(t)
	a := p.anon(2 * pageSize)
	p.m.MProtect(a, pageSize, memmap.Read, false)
	// A write to read-only memory by a platform that cannot say so.
	if err := p.m.HandleFault(Fault{Addr: a, Access: memmap.NoAccess}); err != nil {
		t.Errorf("first fault: %v; it could have been repaired by another thread", err)
	}
	if err := p.m.HandleFault(Fault{Addr: a, Access: memmap.NoAccess}); err != errAccErr {
		t.Errorf("second fault: %v, want SEGV_ACCERR", err)
	}
	// A write to a copy-on-write page is repaired.
	p.store(a+pageSize, 1)
	c := p.fork()
	if err := p.m.HandleFault(Fault{Addr: a + pageSize, Access: memmap.NoAccess}); err != nil {
		t.Fatal(err)
	}
	if p.as().page(a+pageSize, memmap.Write) == nil {
		t.Error("the page is still write-protected")
	}
	p.check()
	c.end()
}

func TestReattach(t *testing.T) {
	p := newApp(t)
	a := p.anon(4 * pageSize)
	p.store(a, 1)
	p.m.MProtect(a+pageSize, pageSize, memmap.Read, false)
	old := p.as()
	p.m.ForgetFiles()
	if err := p.m.Reattach(&fakePlatform{}); err != nil {
		t.Fatal(err)
	}
	if p.as() == old || p.load(a) != 1 {
		t.Error("memory is not mapped in the new address space")
	}
	p.check()
}

func TestTooManyMappings(t *testing.T) {
	p := newApp(t)
	p.m.as = &quietAS{}
	a := p.mmap(MMapOpts{Length: 2 * maxMapCount * pageSize, Private: true})
	var err error
	for i := uintptr(0); err == nil && i < maxMapCount; i++ {
		err = p.m.MProtect(a+2*i*pageSize, pageSize, memmap.Read, false)
	}
	if err != unix.ENOMEM {
		t.Fatalf("%d mappings: %v, want ENOMEM", p.m.vmas.Len(), err)
	}
	if _, err := p.m.MMap(MMapOpts{Length: pageSize, Perms: memmap.Read, Private: true}); err != unix.ENOMEM {
		t.Errorf("one mapping more: %v", err)
	}
	if err := p.m.MUnmap(a+maxMapCount*2*pageSize-2*pageSize, pageSize); err != unix.ENOMEM {
		t.Errorf("a hole in the last mapping: %v", err)
	}
	if err := p.m.MUnmap(a, maxMapCount*pageSize); err != nil {
		t.Errorf("unmapping: %v", err)
	}
}

func TestCopyOnWriteOfALargeHeapStaysBelowTheHostsLimit(t *testing.T) {
	p := newApp(t)
	p.m.as, p.m.p = &quietAS{}, &quietPlatform{}
	const size = 4 << 30
	a := p.anon(size)
	for off := uintptr(0); off < size; off += lazyChunk {
		if err := p.m.HandleFault(Fault{Addr: a + off, Access: memmap.Write}); err != nil {
			t.Fatal(err)
		}
	}
	c := p.fork()
	// Every second chunk first, so that no two copies are neighbours.
	for _, first := range []uintptr{0, cowChunk} {
		for off := first; off < size; off += 2 * cowChunk {
			if err := p.m.HandleFault(Fault{Addr: a + off, Access: memmap.Write}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := p.m.pmas.Len(); n > 40000 {
		t.Errorf("%d ranges of pages", n)
	}
	c.end()
	if left := p.end(); left != 0 {
		t.Errorf("%d bytes leaked", left)
	}
}

func TestObviousOvercommitIsRefused(t *testing.T) {
	p := newApp(t)
	p.m.mf.SetTotalMemory(1 << 30)
	for _, c := range []struct {
		o    MMapOpts
		want error
	}{
		{MMapOpts{Length: 1 << 30, Private: true, Perms: memmap.ReadWrite}, nil},
		{MMapOpts{Length: 2 << 30, Private: true, Perms: memmap.ReadWrite}, unix.ENOMEM},
		{MMapOpts{Length: 2 << 30, Perms: memmap.ReadWrite}, unix.ENOMEM},
		{MMapOpts{Length: 2 << 30, Private: true, Perms: memmap.ReadWrite, NoReserve: true}, nil},
		{MMapOpts{Length: 2 << 30, Private: true}, nil},
	} {
		if _, err := p.m.MMap(c.o); err != c.want {
			t.Errorf("%+v: %v, want %v", c.o, err, c.want)
		}
	}
}
