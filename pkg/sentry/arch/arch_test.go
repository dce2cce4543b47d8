package arch

import (
	"bytes"
	"math/rand"
	"testing"
	"unsafe"

	"runsc/pkg/sentry/usermem"

	"golang.org/x/sys/unix"
)

func TestLayout(t *testing.T) {
	for _, tc := range []struct {
		name      string
		got, want uintptr
	}{
		{"Registers", unsafe.Sizeof(Registers{}), SizeofRegisters},
		{"Registers like ptrace's", unsafe.Sizeof(Registers{}), unsafe.Sizeof(unix.PtraceRegs{})},
		{"OrigRax", unsafe.Offsetof(Registers{}.OrigRax), unsafe.Offsetof(unix.PtraceRegs{}.Orig_rax)},
		{"Rsp", unsafe.Offsetof(Registers{}.Rsp), unsafe.Offsetof(unix.PtraceRegs{}.Rsp)},
		{"GsBase", unsafe.Offsetof(Registers{}.GsBase), unsafe.Offsetof(unix.PtraceRegs{}.Gs_base)},
		{"SignalInfo", unsafe.Sizeof(SignalInfo{}), SizeofSignalInfo},
		{"SignalAct", unsafe.Sizeof(SignalAct{}), SizeofSignalAct},
		{"SignalStack", unsafe.Sizeof(SignalStack{}), SizeofSignalStack},
		{"frame's ucontext", frameInfo - frameUC, 304},
	} {
		if tc.got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, tc.got, tc.want)
		}
	}
}

func TestSyscallAccessors(t *testing.T) {
	c := NewContext()
	c.SetSyscall(1, Args{1, 2, 3, 4, 5, 6})
	c.SetIP(0x1002)
	if a := c.Args(); c.SyscallNo() != 1 || a != (Args{1, 2, 3, 4, 5, 6}) {
		t.Errorf("call %d%v", c.SyscallNo(), a)
	}
	c.SetReturn(^uintptr(3))
	if c.Return() != ^uintptr(3) {
		t.Errorf("return %#x", c.Return())
	}
	c.RestartSyscall()
	if c.IP() != 0x1000 || c.Return() != 1 {
		t.Errorf("restart: ip %#x rax %d", c.IP(), c.Return())
	}
	if c.SetTLS(1<<63) || !c.SetTLS(0x7000) || c.TLS() != 0x7000 {
		t.Error("SetTLS")
	}
	if a := (Args{1<<32 | 0xffffffff}); a.Int(0) != -1 || a.Uint(0) != 0xffffffff {
		t.Error("Args: upper halves count")
	}
}

// memory is application memory at base.
type memory struct {
	usermem.Bytes
	base uintptr
}

func (m *memory) CopyOut(a uintptr, b []byte) (int, error) { return m.Bytes.CopyOut(a-m.base, b) }
func (m *memory) CopyIn(a uintptr, b []byte) (int, error)  { return m.Bytes.CopyIn(a-m.base, b) }

func newMemory() *memory { return &memory{usermem.Bytes{B: make([]byte, 1<<16)}, 0x7000_0000_0000} }

// busy is a context with every register different.
func busy(sp uintptr) *Context {
	c := NewContext()
	r := &c.Regs
	for i, p := range []*uint64{&r.R8, &r.R9, &r.R10, &r.R11, &r.R12, &r.R13, &r.R14, &r.R15, &r.Rdi, &r.Rsi, &r.Rbp, &r.Rbx, &r.Rdx, &r.Rax, &r.Rcx} {
		*p = uint64(i)<<56 | 0x1234
	}
	r.Rip, r.Rsp = 0x401000, uint64(sp)
	r.Eflags |= FlagZF | FlagDF
	r.FsBase = 0x5000
	for i := range 16 { // xmm0
		c.FP[160+i] = byte(i + 1)
	}
	return c
}

func TestSignalFrameRoundTrip(t *testing.T) {
	m := newMemory()
	for _, tc := range []struct {
		name  string
		flags uint64
		stack SignalStack
		alt   bool
	}{
		{"plain", 0, SignalStack{Flags: SsDisable}, false},
		{"alternate", SaOnStack, SignalStack{Addr: 0x7000_0000_0000, Size: 8192}, true},
		{"alternate not asked", 0, SignalStack{Addr: 0x7000_0000_0000, Size: 8192}, false},
	} {
		sp := m.base + 0xfff3
		c := busy(sp)
		before, fp := c.Regs, c.FP.Clone()
		info := NewFaultSignal(int32(unix.SIGSEGV), SegvMapErr, 0xdead)
		c.CR2 = 0xdead
		act := SignalAct{Handler: 0x402000, Restorer: 0x403000, Flags: SaRestorer | SaSigInfo | tc.flags}
		if err := c.SignalSetup(m, &act, &info, &tc.stack, 0x55); err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		r := &c.Regs
		if r.Rip != 0x402000 || r.Rdi != uint64(unix.SIGSEGV) || r.Eflags&FlagDF != 0 || (r.Rsp+8)%16 != 0 || r.FsBase != before.FsBase {
			t.Errorf("%s: registers in the handler: %+v", tc.name, *r)
		}
		if onAlt := tc.stack.Contains(c.Stack()); onAlt != tc.alt {
			t.Errorf("%s: on the alternate stack: %v", tc.name, onAlt)
		}
		if !tc.alt && c.Stack() > sp-redZone {
			t.Errorf("%s: the frame is in the red zone", tc.name)
		}
		if !bytes.Equal(c.FP, NewFPState()) {
			t.Errorf("%s: FP state in the handler is not initial", tc.name)
		}
		var b [SizeofSignalInfo]byte
		m.CopyIn(uintptr(r.Rsi), b[:])
		if le.Uint32(b[:]) != uint32(unix.SIGSEGV) || le.Uint64(b[16:]) != 0xdead {
			t.Errorf("%s: siginfo %x", tc.name, b[:24])
		}
		m.CopyIn(c.Stack(), b[:8])
		if le.Uint64(b[:]) != 0x403000 {
			t.Errorf("%s: return address %x", tc.name, b[:8])
		}
		// The handler returns: its ret pops the address, the restorer calls rt_sigreturn.
		c.SetStack(c.Stack() + 8)
		mask, stack, err := c.SignalRestore(m)
		if err != nil || mask != 0x55 || stack != tc.stack {
			t.Errorf("%s: restore: mask %#x stack %+v: %v", tc.name, mask, stack, err)
		}
		if c.Regs != before {
			t.Errorf("%s: registers\n%+v, want\n%+v", tc.name, c.Regs, before)
		}
		if !bytes.Equal(c.FP, fp) {
			t.Errorf("%s: FP state differs", tc.name)
		}
	}
}

func TestSignalSetupRefuses(t *testing.T) {
	m := newMemory()
	info := NewKernelSignal(int32(unix.SIGUSR1))
	for _, tc := range []struct {
		name  string
		sp    uintptr
		flags uint64
		stack SignalStack
	}{
		{"no restorer", m.base + 0xf000, 0, SignalStack{}},
		{"no room", m.base + 100, SaRestorer, SignalStack{}},
		{"wraps", 100, SaRestorer, SignalStack{}},
		{"kernel address", 1 << 63, SaRestorer, SignalStack{}},
		{"small alternate stack", m.base + 0xf000, SaRestorer | SaOnStack, SignalStack{Addr: 0x7000_0000_1000, Size: 1024}},
		{"alternate stack used up", m.base + 0x1100, SaRestorer | SaOnStack, SignalStack{Addr: 0x7000_0000_1000, Size: 8192}},
		{"alternate stack wraps", m.base, SaRestorer | SaOnStack, SignalStack{Addr: 1 << 63, Size: 1<<63 + 50}},
	} {
		c := busy(tc.sp)
		before := c.Regs
		act := SignalAct{Handler: 0x402000, Restorer: 0x403000, Flags: tc.flags}
		if err := c.SignalSetup(m, &act, &info, &tc.stack, 0); err != unix.EFAULT {
			t.Errorf("%s: %v", tc.name, err)
		}
		if c.Regs != before {
			t.Errorf("%s: registers changed", tc.name)
		}
	}
}

func TestSignalRestoreDistrustsTheFrame(t *testing.T) {
	for _, tc := range []struct {
		name   string
		poison func(frame []byte, fp []byte)
		ok     bool
	}{
		{"untouched", func(f, fp []byte) {}, true},
		{"kernel flags", func(f, fp []byte) { le.PutUint64(f[frameSigcontext+17*8:], ^uint64(0)) }, true},
		{"kernel selectors", func(f, fp []byte) { le.PutUint64(f[frameSigcontext+144:], 0x0018_0000_0000_0010) }, true},
		{"no FP state", func(f, fp []byte) { le.PutUint64(f[frameFPPointer:], 0) }, true},
		{"FP state without magic", func(f, fp []byte) { le.PutUint32(fp[offSoftware:], 0) }, true},
		{"FP state of silly size", func(f, fp []byte) { le.PutUint32(fp[offSoftware+16:], 0xfffffff0) }, true},
		{"unaligned FP state", func(f, fp []byte) { f[frameFPPointer]++ }, false},
		{"FP state elsewhere", func(f, fp []byte) { le.PutUint64(f[frameFPPointer:], 1<<40) }, false},
		{"MXCSR", func(f, fp []byte) { le.PutUint32(fp[offMXCSR:], 1<<31) }, false},
		{"unknown component", func(f, fp []byte) { le.PutUint64(fp[offXStateBV:], 1<<62) }, false},
		{"compacted", func(f, fp []byte) { le.PutUint64(fp[offXCompBV:], 1<<63) }, false},
		{"reserved header", func(f, fp []byte) { fp[560] = 1 }, false},
	} {
		m := newMemory()
		c := busy(m.base + 0xff00)
		info := NewKernelSignal(int32(unix.SIGUSR1))
		act := SignalAct{Handler: 0x402000, Restorer: 0x403000, Flags: SaRestorer}
		if err := c.SignalSetup(m, &act, &info, &SignalStack{}, 0); err != nil {
			t.Fatal(err)
		}
		frame := m.B[c.Stack()-m.base:]
		fp := m.B[uintptr(le.Uint64(frame[frameFPPointer:]))-m.base:]
		tc.poison(frame, fp)
		c.SetStack(c.Stack() + 8)
		before := c.Regs
		_, _, err := c.SignalRestore(m)
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", tc.name, err)
		}
		if err != nil && c.Regs != before {
			t.Errorf("%s: registers changed", tc.name)
		}
		r := c.Regs
		if r.Eflags&^(userFlags|FlagIF|flagFixed) != 0 || r.Cs&3 != 3 || (r.Cs != userCS && r.Cs != userCS32) || r.Ss != userSS {
			t.Errorf("%s: unsafe registers %+v", tc.name, r)
		}
	}
}

// The frame shows ID, but it does not change it.
func TestSignalRestoreKeepsID(t *testing.T) {
	for _, id := range []uint64{0, FlagID} {
		m := newMemory()
		c := busy(m.base + 0xff00)
		c.Regs.Eflags |= FlagID
		info := NewKernelSignal(int32(unix.SIGUSR1))
		act := SignalAct{Handler: 0x402000, Restorer: 0x403000, Flags: SaRestorer}
		if err := c.SignalSetup(m, &act, &info, &SignalStack{}, 0); err != nil {
			t.Fatal(err)
		}
		if saved := le.Uint64(m.B[c.Stack()-m.base+frameSigcontext+17*8:]); saved&FlagID == 0 || c.Regs.Eflags&FlagID == 0 {
			t.Errorf("flags %#x in the handler, %#x in its frame", c.Regs.Eflags, saved)
		}
		c.SetStack(c.Stack() + 8)
		c.Regs.Eflags = c.Regs.Eflags&^FlagID | id // by popf
		if _, _, err := c.SignalRestore(m); err != nil || c.Regs.Eflags&FlagID != id {
			t.Errorf("flags %#x after the handler left ID %#x: %v", c.Regs.Eflags, id, err)
		}
	}
}

func FuzzSignalRestore(f *testing.F) {
	m := newMemory()
	c := busy(m.base + 0xff00)
	info := NewKernelSignal(int32(unix.SIGUSR1))
	act := SignalAct{Handler: 0x402000, Restorer: 0x403000, Flags: SaRestorer}
	if err := c.SignalSetup(m, &act, &info, &SignalStack{}, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(uint16(c.Stack()+8-m.base), m.B[c.Stack()-m.base:])
	f.Fuzz(func(t *testing.T, sp uint16, b []byte) {
		m := newMemory()
		copy(m.B[max(int(sp)-8, 0):], b)
		c := NewContext()
		c.SetStack(m.base + uintptr(sp))
		if _, _, err := c.SignalRestore(m); err == nil {
			if c.Regs.Eflags&^(userFlags|FlagIF|flagFixed) != 0 || c.Regs.Cs&3 != 3 {
				t.Fatalf("unsafe registers %+v", c.Regs)
			}
			if le.Uint32(c.FP[offMXCSR:])&^cpu.mxcsrMask != 0 || le.Uint64(c.FP[offXStateBV:])&^cpu.xcr0 != 0 {
				t.Fatal("unsafe FP state")
			}
		}
	})
}

func TestFPStateLoadDistrustsRandomBytes(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for range 2000 {
		f := NewFPState()
		src := f.Clone()[:sizeofLegacyFP+rnd.Intn(len(f)-sizeofLegacyFP+1)]
		for range rnd.Intn(4) {
			src[rnd.Intn(len(src))] = byte(rnd.Int())
		}
		if f.Load(src, rnd.Uint64()) == nil && le.Uint64(f[offXStateBV:])&^cpu.xcr0 != 0 {
			t.Fatal("unsafe components")
		}
	}
}

func TestForkIsDeep(t *testing.T) {
	c := busy(0x1000)
	f := c.Fork()
	f.FP[160], f.Regs.Rax = 99, 99
	if c.FP[160] == 99 || c.Regs.Rax == 99 {
		t.Error("Fork shares state")
	}
}

func TestFitFP(t *testing.T) {
	c := busy(0x1000)
	want := c.FP.Clone()
	c.FP = c.FP[:sizeofLegacyFP+sizeofXStateHeader] // a host without AVX
	if err := c.FitFP(); err != nil || !bytes.Equal(c.FP, want) {
		t.Errorf("from a smaller host: %v", err)
	}
	c.FP = append(c.FP, make([]byte, 4096)...)
	if err := c.FitFP(); err != nil || !bytes.Equal(c.FP, want) {
		t.Errorf("from a larger host: %v", err)
	}
	c.FP = append(c.FP, make([]byte, 4096)...)
	le.PutUint64(c.FP[offXStateBV:], 1<<40)
	if err := c.FitFP(); err == nil {
		t.Error("a component that this host lacks was accepted")
	}
}
