package platformtest

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/memmap"
)

// peek lets the application read addr: the value, or a fault.
func (c *cpu) peek(addr uintptr) (uint64, bool) {
	c.t.Helper()
	copy(c.f.Mem, load)
	return c.access(addr)
}

// poke lets the application write v to addr and says whether it could.
func (c *cpu) poke(addr uintptr, v uint64) bool {
	c.t.Helper()
	copy(c.f.Mem, store)
	c.ac.Regs.Rax = v
	_, ok := c.access(addr)
	return ok
}

func (c *cpu) access(addr uintptr) (uint64, bool) {
	c.t.Helper()
	c.ac.SetIP(codeAddr)
	c.ac.Regs.Rdi = uint64(addr)
	for {
		ev, err := c.c.Switch(c.as, c.ac)
		must(c.t, err)
		switch ev.Kind {
		case platform.EventSyscall:
			return c.ac.Regs.OrigRax, true
		case platform.EventFault:
			if ev.Addr != addr {
				c.t.Fatalf("fault at %#x, want %#x", ev.Addr, addr)
			}
			return 0, false
		case platform.EventSignal:
			return 0, false
		}
	}
}

func testMapping(t *testing.T, p platform.Platform) {
	pr := newProgram(t, p)
	c := pr.cpu()
	at := uintptr(0x7000_0000)
	for i := range 4 {
		pr.f.setU64(dataOff+i*page, uint64(100+i))
	}
	fr := memmap.Range{Start: dataOff, End: dataOff + 4*page}
	for _, precommit := range []bool{false, true} {
		must(t, c.as.MapFile(at, pr.f, fr, memmap.ReadWrite, precommit))
		for i := range uintptr(4) {
			if v, ok := c.peek(at + i*page); !ok || v != uint64(100+i) {
				t.Fatalf("page %d: %d %v", i, v, ok)
			}
		}
		if !c.poke(at+page, 7) || pr.f.u64(dataOff+page) != 7 {
			t.Error("a write does not reach the file")
		}
		pr.f.setU64(dataOff+page, 101)
		// Protect at once, with a hole in the middle.
		must(t, c.as.Unmap(at+2*page, page))
		must(t, c.as.Protect(at, 4*page, memmap.Read))
		for i, want := range []bool{true, true, false, true} {
			if _, ok := c.peek(at + uintptr(i)*page); ok != want {
				t.Errorf("page %d readable: %v", i, ok)
			}
			if c.poke(at+uintptr(i)*page, 1) {
				t.Errorf("page %d is writable", i)
			}
		}
		must(t, c.as.Protect(at, page, memmap.NoAccess))
		if _, ok := c.peek(at); ok {
			t.Error("readable without access")
		}
		must(t, c.as.Unmap(at-page, 10*page))
		if _, ok := c.peek(at + page); ok {
			t.Error("readable after Unmap")
		}
		must(t, c.as.Unmap(at-page, 10*page))
	}
	// Replacing.
	must(t, c.as.MapFile(at, pr.f, fr, memmap.Read, false))
	must(t, c.as.MapFile(at, pr.f, memmap.Range{Start: dataOff + 3*page, End: dataOff + 4*page}, memmap.Read, false))
	if v, _ := c.peek(at); v != 103 {
		t.Errorf("after replacing: %d", v)
	}
}

func testBatch(t *testing.T, p platform.Platform) {
	pr := newProgram(t, p)
	c := pr.cpu()
	at := uintptr(0x7000_0000)
	pr.f.setU64(dataOff, 1)
	pr.f.setU64(dataOff+page, 2)
	one, two := memmap.Range{Start: dataOff, End: dataOff + page}, memmap.Range{Start: dataOff + page, End: dataOff + 2*page}
	must(t, c.as.Batch(func(o platform.Ops) {
		o.MapFile(at, pr.f, one, memmap.ReadWrite, false)
		o.MapFile(at+page, pr.f, one, memmap.ReadWrite, false)
		o.Unmap(at, page)
		o.MapFile(at+page, pr.f, two, memmap.ReadWrite, false)
		o.Protect(at, 2*page, memmap.Read)
	}))
	if _, ok := c.peek(at); ok {
		t.Error("the unmapped page is there")
	}
	if v, ok := c.peek(at + page); !ok || v != 2 {
		t.Errorf("the replaced page: %d %v", v, ok)
	}
	if c.poke(at+page, 3) {
		t.Error("the protected page is writable")
	}
	must(t, c.as.Batch(func(platform.Ops) {}))
}

func testLargeBatch(t *testing.T, p platform.Platform) {
	pr := newProgram(t, p)
	c := pr.cpu()
	for range 2 { // once by a goroutine that never ran the application, once by one that did
		must(t, c.as.Batch(func(o platform.Ops) {
			for i := range uintptr(1000) {
				o.MapFile(0x1_0000_0000+2*i*page, pr.f, memmap.Range{Start: dataOff + uint64(i%4)*page, End: dataOff + uint64(i%4+1)*page}, memmap.Read, false)
			}
		}))
		for i := range 4 {
			pr.f.setU64(dataOff+i*page, uint64(i))
		}
		for _, i := range []uintptr{0, 1, 255, 256, 257, 511, 512, 998, 999} {
			if v, ok := c.peek(0x1_0000_0000 + 2*i*page); !ok || v != uint64(i%4) {
				t.Fatalf("mapping %d: %d %v", i, v, ok)
			}
		}
		must(t, c.as.Protect(0x1_0000_0000, 2000*page, memmap.NoAccess))
		if _, ok := c.peek(0x1_0000_0000 + 2*999*page); ok {
			t.Error("Protect left out the last mapping")
		}
		must(t, c.as.Unmap(0x1_0000_0000, 2000*page))
	}
}

func testMappingErrors(t *testing.T, p platform.Platform) {
	pr := newProgram(t, p)
	c := pr.cpu()
	ro, err := unix.Open("/dev/zero", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	must(t, err)
	bad := &badFile{fd: ro}
	fr := memmap.Range{Start: 0, End: page}
	if err := c.as.MapFile(0x7000_0000, bad, fr, memmap.ReadWrite, false); err != unix.EACCES {
		t.Errorf("writable mapping of a read-only descriptor: %v", err)
	}
	unix.Close(ro)
	bad.fd = 1 << 20 // the number that was closed may be in use again
	if err := c.as.MapFile(0x7000_0000, bad, fr, memmap.Read, false); err != unix.EBADF {
		t.Errorf("mapping of a bad descriptor: %v", err)
	}
	err = c.as.Batch(func(o platform.Ops) {
		o.MapFile(0x7000_0000, bad, fr, memmap.Read, false)
		o.MapFile(0x7000_0000, pr.f, fr, memmap.Read, false)
	})
	if err != unix.EBADF {
		t.Errorf("batch with a bad member: %v", err)
	}
	if _, ok := c.peek(0x7000_0000); !ok {
		t.Error("a bad member kept the next from being carried out")
	}
}

type badFile struct {
	File
	fd int
}

func (b *badFile) FD() int { return b.fd }

// testOutOfReach: nothing outside of UserRange can be mapped, and what the platform itself
// has there cannot be written.
func testOutOfReach(t *testing.T, p platform.Platform, o Options) {
	pr := newProgram(t, p)
	c := pr.cpu()
	_, max := p.UserRange()
	fr := memmap.Range{Start: 0, End: page}
	for _, addr := range []uintptr{max, max - page + 1, max + 5*page, ^uintptr(page - 1)} {
		if err := c.as.MapFile(addr, pr.f, fr, memmap.AnyAccess, false); err == nil {
			t.Errorf("mapped at %#x", addr)
		}
		if err := c.as.Unmap(addr, page); err == nil {
			t.Errorf("unmapped at %#x", addr)
		}
	}
	must(t, c.as.MapFile(max-page, pr.f, fr, memmap.ReadWrite, false))
	if !c.poke(max-page+2048, 1) {
		t.Error("the last page cannot be used")
	}
	// Each page near to where the platform has something, and some of what lies between.
	const near, far = 64 * page, 4093 * page
	for addr := max; addr < 1<<47-page; {
		if start, end := o.Writable[0], o.Writable[1]; addr >= start && addr < end {
			addr = end
		}
		if c.poke(addr, 0) {
			t.Fatalf("the application can write at %#x", addr)
		}
		next := addr + far
		for _, edge := range []uintptr{max, o.Writable[0], o.Writable[1], o.Code[0], o.Code[1], 1<<47 - page} {
			if addr+page > edge-near && addr < edge+near {
				next = addr + page
				break
			}
			if addr < edge-near {
				next = min(next, edge-near)
			}
		}
		addr = next
	}
}

// testJumps: whatever code the platform has in the address space, the application can jump
// anywhere in it. It may break its own process, but a Switch ends when it is interrupted, and
// no system call reaches the host.
func testJumps(t *testing.T, p platform.Platform, o Options) {
	pr := newProgram(t, p)
	c := pr.cpu()
	// In an address space that nobody breaks. movzwl (%rdi),%edi; mov $39,%eax; syscall: what is read
	// must not be taken for a number, since Linux keeps some (uprobe, 336) from filters.
	reader := newProgram(t, p, 0x0f, 0xb7, 0x3f, 0xb8, 39, 0, 0, 0, 0x0f, 0x05).cpu()
	filler := func(addr uintptr) bool {
		_, ok := reader.access(addr - 1)
		return ok && reader.ac.Args()[0] == 0xcccc
	}
	for addr := o.Code[0]; addr < o.Code[1]; addr++ {
		if addr > o.Code[0] && filler(addr) {
			continue
		}
		c.ac.SetIP(addr)
		c.ac.Regs.Rax = unix.SYS_EXIT_GROUP
		c.ac.Regs.R8 = uint64(dataAddr)
		timer := time.AfterFunc(500*time.Microsecond, c.c.Interrupt)
		begin := time.Now()
		_, err := c.c.Switch(c.as, c.ac)
		timer.Stop()
		if d := time.Since(begin); d > 10*time.Second {
			t.Errorf("jump to %#x: an interrupt took %v", addr, d)
		}
		if err != nil {
			if !o.MayBreak {
				t.Fatalf("jump to %#x: %v", addr, err)
			}
			pr = newProgram(t, p)
			c = pr.cpu()
		}
	}
	if _, ok := newProgram(t, p).cpu().peek(dataAddr); !ok {
		t.Error("other address spaces are broken")
	}
}

func testIsolation(t *testing.T, p platform.Platform) {
	a, b := newProgram(t, p).cpu(), newProgram(t, p).cpu()
	fr := memmap.Range{Start: dataOff, End: dataOff + page}
	must(t, a.as.MapFile(0x7000_0000, a.f, fr, memmap.ReadWrite, false))
	if _, ok := b.peek(0x7000_0000); ok {
		t.Error("a mapping of one address space is in another")
	}
	must(t, b.as.MapFile(0x7000_0000, a.f, fr, memmap.ReadWrite, false))
	if !a.poke(0x7000_0000, 99) {
		t.Error("write failed")
	}
	if v, _ := b.peek(0x7000_0000); v != 99 {
		t.Errorf("a shared page shows %d", v)
	}
}
