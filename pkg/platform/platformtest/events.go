package platformtest

import (
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/memmap"
)

func testSyscall(t *testing.T, p platform.Platform) {
	c := newProgram(t, p, 0x0f, 0x05, 0x0f, 0x05).cpu() // syscall; syscall
	r := &c.ac.Regs
	r.Rax, r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = 39, 1, 2, 3, 4, 5, 6
	c.run(platform.EventSyscall)
	if nr, a := c.ac.SyscallNo(), c.ac.Args(); nr != 39 || a != (arch.Args{1, 2, 3, 4, 5, 6}) {
		t.Errorf("call %d%v", nr, a)
	}
	if c.ac.IP() != codeAddr+2 || int64(c.ac.Return()) != -int64(unix.ENOSYS) {
		t.Errorf("ip %#x, rax %d", c.ac.IP(), int64(c.ac.Return()))
	}
	c.ac.SetReturn(231)
	c.run(platform.EventSyscall)
	if nr := c.ac.SyscallNo(); nr != 231 {
		t.Errorf("second call %d: the result of the first did not arrive", nr)
	}
	c.ac.SetReturn(77)
	c.ac.RestartSyscall()
	c.run(platform.EventSyscall)
	if nr := c.ac.SyscallNo(); nr != 231 || c.ac.IP() != codeAddr+4 {
		t.Errorf("restarted call %d at %#x", nr, c.ac.IP())
	}
}

func testRegisters(t *testing.T, p platform.Platform) {
	c := newProgram(t, p, 0x0f, 0x05, 0x0f, 0x05).cpu()
	r := &c.ac.Regs
	for i, v := range []*uint64{&r.R15, &r.R14, &r.R13, &r.R12, &r.Rbp, &r.Rbx, &r.R10, &r.R9, &r.R8, &r.Rax, &r.Rdx, &r.Rsi, &r.Rdi} {
		*v = uint64(i+1) * 0x0101_0101_0101_0101
	}
	r.Eflags |= arch.FlagCF | arch.FlagDF | arch.FlagOF | arch.FlagID
	want := *r
	want.OrigRax, want.Rax = r.Rax, ^uint64(unix.ENOSYS-1)
	want.Rip += 2
	want.Rcx = want.Rip
	want.R11 = want.Eflags
	c.run(platform.EventSyscall)
	if *r != want {
		t.Errorf("registers\n%+v, want\n%+v", *r, want)
	}
	// As after execve. The selectors are of a lower RPL, as user code may load them.
	r.Eflags &^= arch.FlagID
	r.Ds, r.Es, r.Fs, r.Gs = 0x28, 0x28, 1, 2
	c.run(platform.EventSyscall)
	if r.Eflags&arch.FlagID != 0 || r.R11&arch.FlagID != 0 || r.Rip != want.Rip+2 {
		t.Errorf("registers\n%+v, want ID clear at %#x", *r, want.Rip+2)
	}
}

// testNoRestart: no value in RAX makes the host restart anything.
func testNoRestart(t *testing.T, p platform.Platform) {
	c := newProgram(t, p, 0x0f, 0x05, 0xeb, 0xfe).cpu() // syscall; self: jmp self
	for _, v := range []int64{-512, -513, -514, -516} {
		c.ac.SetIP(codeAddr)
		c.run(platform.EventSyscall)
		c.ac.SetReturn(uintptr(v))
		c.c.Interrupt()
		c.run(platform.EventInterrupt)
		c.c.Interrupt()
		c.run(platform.EventInterrupt)
		if c.ac.IP() != codeAddr+2 || int64(c.ac.Return()) != v {
			t.Errorf("after a result of %d: ip %#x, rax %d", v, c.ac.IP(), int64(c.ac.Return()))
		}
	}
}

var (
	load  = []byte{0x48, 0x8b, 0x07, 0x0f, 0x05} // mov (%rdi),%rax; syscall
	store = []byte{0x48, 0x89, 0x07, 0x0f, 0x05} // mov %rax,(%rdi); syscall
	jump  = []byte{0xff, 0xe7}                   // jmp *%rdi
)

func testFaults(t *testing.T, p platform.Platform) {
	for _, tc := range []struct {
		name   string
		code   []byte
		addr   uintptr
		access memmap.AccessType
		signo  unix.Signal
		code2  int32
	}{
		{"read of nothing", load, 0x123456, memmap.Read, unix.SIGSEGV, arch.SegvMapErr},
		{"read of page 0", load, 8, memmap.Read, unix.SIGSEGV, arch.SegvMapErr},
		{"write to nothing", store, 0x123456, memmap.Write, unix.SIGSEGV, arch.SegvMapErr},
		{"write to code", store, codeAddr + 100, memmap.Write, unix.SIGSEGV, arch.SegvAccErr},
		{"jump to nothing", jump, 0x123456, memmap.Execute, unix.SIGSEGV, arch.SegvMapErr},
		{"jump to data", jump, dataAddr + 5, memmap.Execute, unix.SIGSEGV, arch.SegvAccErr},
	} {
		c := newProgram(t, p, tc.code...).cpu()
		c.ac.Regs.Rdi = uint64(tc.addr)
		ev := c.run(platform.EventFault)
		if ev.Addr != tc.addr {
			t.Errorf("%s: address %#x, want %#x", tc.name, ev.Addr, tc.addr)
		}
		if ev.AccessUnknown {
			if tc.access.Execute {
				t.Errorf("%s: access is unknown", tc.name)
			}
		} else if !ev.Access.SupersetOf(tc.access) || tc.access == memmap.Read && ev.Access.Write {
			t.Errorf("%s: access %v, want %v", tc.name, ev.Access, tc.access)
		}
		if ev.Info.Signo != int32(tc.signo) || ev.Info.Code != tc.code2 || ev.Info.Addr() != uint64(tc.addr) {
			t.Errorf("%s: signal %d code %d address %#x", tc.name, ev.Info.Signo, ev.Info.Code, ev.Info.Addr())
		}
		if c.ac.Regs.OrigRax != ^uint64(0) || c.ac.TrapNo != 14 || c.ac.CR2 != uint64(tc.addr) {
			t.Errorf("%s: orig_rax %d trap %d cr2 %#x", tc.name, int64(c.ac.Regs.OrigRax), c.ac.TrapNo, c.ac.CR2)
		}
	}
}

// testFaultRepair: after the page was mapped the same instruction goes on.
func testFaultRepair(t *testing.T, p platform.Platform) {
	pr := newProgram(t, p, load...)
	pr.f.setU64(dataOff, 4242)
	c := pr.cpu()
	c.ac.Regs.Rdi = 0x70_0000
	c.run(platform.EventFault)
	must(t, c.as.MapFile(0x70_0000, pr.f, memmap.Range{Start: dataOff, End: dataOff + page}, memmap.Read, false))
	c.run(platform.EventSyscall)
	if nr := c.ac.SyscallNo(); nr != 4242 {
		t.Errorf("read %d", nr)
	}
	// A host file that is too short: SIGBUS, and the application can be told so.
	must(t, unix.Ftruncate(pr.f.FD(), dataOff))
	c.ac.SetIP(codeAddr)
	if ev := c.run(platform.EventFault); ev.Info.Signo != int32(unix.SIGBUS) || ev.Addr != 0x70_0000 {
		t.Errorf("beyond the file: %+v", ev)
	}
	must(t, unix.Ftruncate(pr.f.FD(), 32*page))
}

// testStraddle: the second half of an instruction lies on a page that may be read but not
// executed. Sooner or later the platform says so.
func testStraddle(t *testing.T, p platform.Platform) {
	pr := newProgram(t, p)
	copy(pr.f.Mem[page-2:], load)
	must(t, pr.as.Protect(codeAddr+page, page, memmap.ReadWrite))
	c := pr.cpu()
	c.ac.SetIP(codeAddr + page - 2)
	c.ac.Regs.Rdi = uint64(dataAddr)
	for range 3 {
		ev := c.run(platform.EventFault)
		if ev.Addr != codeAddr+page {
			t.Fatalf("fault at %#x", ev.Addr)
		}
		if ev.Access.Execute && !ev.AccessUnknown {
			return
		}
	}
	t.Error("the platform does not see that it is code")
}

func testSignals(t *testing.T, p platform.Platform) {
	for _, tc := range []struct {
		name  string
		code  []byte
		signo unix.Signal
		code2 int32
		ip    uintptr // offset of the reported instruction
		trap  uint64
	}{
		{"division by zero", []byte{0x31, 0xc9, 0xf7, 0xf1}, unix.SIGFPE, arch.FpeIntDiv, 2, 0},
		{"ud2", []byte{0x0f, 0x0b}, unix.SIGILL, arch.IllIllOpn, 0, 6},
		{"int3", []byte{0xcc}, unix.SIGTRAP, arch.SiKernel, 1, 3},
		{"hlt", []byte{0xf4}, unix.SIGSEGV, arch.SiKernel, 0, 13},
		{"non-canonical address", []byte{0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0x70, 0x48, 0x8b, 0x00}, unix.SIGSEGV, arch.SiKernel, 10, 13},
		// pushf; orl $0x40000,(%rsp); popf; mov 1(%rsp),%eax
		{"alignment", []byte{0x9c, 0x81, 0x0c, 0x24, 0, 0, 4, 0, 0x9d, 0x8b, 0x44, 0x24, 0x01}, unix.SIGBUS, arch.BusAdrAln, 9, 17},
	} {
		c := newProgram(t, p, tc.code...).cpu()
		ev := c.run(platform.EventSignal)
		if ev.Info.Signo != int32(tc.signo) || ev.Info.Code != tc.code2 || c.ac.IP() != codeAddr+tc.ip || c.ac.TrapNo != tc.trap {
			t.Errorf("%s: signal %d code %d at +%d, trap %d", tc.name, ev.Info.Signo, ev.Info.Code, c.ac.IP()-codeAddr, c.ac.TrapNo)
		}
	}
}

func testSingleStep(t *testing.T, p platform.Platform) {
	c := newProgram(t, p, 0x90, 0x90, 0x0f, 0x05, 0x90).cpu() // nop; nop; syscall; nop
	c.ac.SetSingleStep(true)
	for i := uintptr(1); i <= 2; i++ {
		if ev := c.run(platform.EventSignal); ev.Info.Signo != int32(unix.SIGTRAP) || c.ac.IP() != codeAddr+i {
			t.Fatalf("step %d: signal %d at +%d", i, ev.Info.Signo, c.ac.IP()-codeAddr)
		}
		if !c.ac.SingleStep() {
			t.Fatal("the trap flag got lost")
		}
	}
	c.ac.SetSingleStep(false)
	c.run(platform.EventSyscall)
}

func testInt80(t *testing.T, p platform.Platform) {
	c := newProgram(t, p, 0xcd, 0x80).cpu()
	c.ac.Regs.Rax = 20
	ev := c.run(platform.EventSignal)
	if ev.Info.Signo != int32(unix.SIGSEGV) || c.ac.IP() != codeAddr || c.ac.Return() != 20 {
		t.Errorf("signal %d at +%d, rax %d", ev.Info.Signo, c.ac.IP()-codeAddr, c.ac.Return())
	}
}

// testVsyscall: a call through the vsyscall page is a system call like others, or a fault
// if the host has no such page.
func testVsyscall(t *testing.T, p platform.Platform) {
	// mov $0xffffffffff600400,%rax (time); call *%rax; syscall
	c := newProgram(t, p, 0x48, 0xc7, 0xc0, 0x00, 0x04, 0x60, 0xff, 0xff, 0xd0, 0x0f, 0x05).cpu()
	ev, err := c.c.Switch(c.as, c.ac)
	must(t, err)
	switch ev.Kind {
	case platform.EventFault, platform.EventSignal:
		t.Logf("no vsyscall page here: %+v", ev)
		return
	case platform.EventSyscall:
	default:
		t.Fatalf("event %+v", ev)
	}
	if nr := c.ac.SyscallNo(); nr != unix.SYS_TIME || c.ac.IP() != codeAddr+9 {
		t.Fatalf("call %d, ip +%d", nr, c.ac.IP()-codeAddr)
	}
	c.ac.SetReturn(12345)
	c.run(platform.EventSyscall)
	if nr := c.ac.SyscallNo(); nr != 12345 {
		t.Errorf("the result did not arrive: %d", nr)
	}
}

func testSegmentBases(t *testing.T, p platform.Platform) {
	// mov %fs:0,%rax; mov %gs:0,%rdi; syscall
	pr := newProgram(t, p, 0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x65, 0x48, 0x8b, 0x3c, 0x25, 0, 0, 0, 0, 0x0f, 0x05)
	pr.f.setU64(dataOff, 111)
	pr.f.setU64(dataOff+page, 222)
	a, b := pr.cpu(), pr.cpu()
	a.ac.SetTLS(dataAddr)
	a.ac.SetGSBase(dataAddr + page)
	b.ac.SetTLS(dataAddr + page)
	b.ac.SetGSBase(dataAddr)
	for range 3 {
		for _, tc := range []struct {
			c      *cpu
			fs, gs uintptr
		}{{a, 111, 222}, {b, 222, 111}} {
			tc.c.ac.SetIP(codeAddr)
			tc.c.run(platform.EventSyscall)
			if nr, arg := tc.c.ac.SyscallNo(), tc.c.ac.Args()[0]; nr != tc.fs || arg != tc.gs {
				t.Fatalf("fs:0 = %d, gs:0 = %d, want %d, %d", nr, arg, tc.fs, tc.gs)
			}
		}
	}
	if arch.HWCap2()&2 == 0 {
		return
	}
	// wrfsbase %rdi; syscall
	pr = newProgram(t, p, 0xf3, 0x48, 0x0f, 0xae, 0xd7, 0x0f, 0x05)
	for _, base := range []uint64{0x1234_5678_9000, 0xffff_8000_0000_0000} {
		c := pr.cpu()
		c.ac.Regs.Rdi = base
		c.run(platform.EventSyscall)
		if c.ac.Regs.FsBase != base {
			t.Errorf("fs base %#x, want %#x", c.ac.Regs.FsBase, base)
		}
		c.ac.SetIP(codeAddr)
		c.run(platform.EventSyscall)
	}
}
