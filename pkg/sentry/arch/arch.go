// Package arch is the machine that application code sees: x86-64 registers, floating point
// state, the frame of a signal handler and the structures that belong to it.
//
// Context is the state of one task's CPU while the task is in the sentry. The task's
// goroutine owns it; a platform reads and writes it inside Switch. The kernel package reads
// a system call from it (SyscallNo, Args), stores the result (SetReturn, RestartSyscall) and
// makes signal handlers run (SignalSetup, SignalRestore).
//
// Layouts are Linux's: Registers is struct user_regs_struct, SignalInfo is siginfo_t,
// SignalAct is the kernel's struct sigaction, SignalStack is stack_t. So they can be
// copied to and from application memory and to and from the host's ptrace as they are.
//
// FPState is an XSAVE area in the standard (not compacted) format and of the host's size,
// which is also what ptrace's NT_X86_XSTATE and a signal frame hold. Everything that an application
// can write to it (by rt_sigreturn or PTRACE_SETREGSET) is checked before it is believed:
// hosts refuse a bad state, and a refused state must end in the application's SIGSEGV, never
// in the sentry. The same goes for flags and segment selectors (Registers.Sanitize).
//
// Nothing here locks. Everything but scratch memory can be saved.
//
// Sources: signal(7), sigaction(2), sigaltstack(2), ptrace(2), the uapi headers
// asm/sigcontext.h, asm/ucontext.h and asm-generic/siginfo.h, and Intel's manual, volume 1, chapter 13.
package arch

// Registers is struct user_regs_struct.
type Registers struct {
	R15, R14, R13, R12, Rbp, Rbx, R11, R10, R9, R8 uint64
	Rax, Rcx, Rdx, Rsi, Rdi                        uint64
	// OrigRax is the number of the system call that the task is in, or -1.
	OrigRax         uint64
	Rip, Cs, Eflags uint64
	Rsp, Ss         uint64
	FsBase, GsBase  uint64
	Ds, Es, Fs, Gs  uint64
}

// SizeofRegisters is the size of struct user_regs_struct in bytes.
const SizeofRegisters = 27 * 8

// Selectors of Linux's GDT that user code can have in CS and SS.
const (
	userCS   = 0x33
	userCS32 = 0x23
	userSS   = 0x2b
)

// Bits of the flags register.
const (
	FlagCF = 1 << 0
	FlagPF = 1 << 2
	FlagAF = 1 << 4
	FlagZF = 1 << 6
	FlagSF = 1 << 7
	FlagTF = 1 << 8
	FlagIF = 1 << 9
	FlagDF = 1 << 10
	FlagOF = 1 << 11
	FlagRF = 1 << 16
	FlagAC = 1 << 18
	FlagID = 1 << 21

	flagFixed = 1 << 1 // always set
	// userFlags are those that user code may choose.
	userFlags = FlagCF | FlagPF | FlagAF | FlagZF | FlagSF | FlagTF | FlagDF | FlagOF | FlagRF | FlagAC | FlagID
)

// MaxUserAddress is the end of what Linux lets user code address with four-level page
// tables (TASK_SIZE_MAX).
const MaxUserAddress = 1<<47 - 4096

// noSyscall in OrigRax means that the task did not come by a system call.
const noSyscall = ^uint64(0)

// Sanitize makes registers that an application chose safe to load: flags that user code
// may not choose come from old, and so do selectors that it cannot have. It reports
// false if a segment base lies outside of user addresses (EIO for ptrace(2)).
func (r *Registers) Sanitize(old *Registers) bool {
	r.Eflags = r.Eflags&userFlags | FlagIF | flagFixed
	if r.Cs != userCS && r.Cs != userCS32 {
		r.Cs = old.Cs
	}
	if r.Ss != userSS && r.Ss != 0 {
		r.Ss = old.Ss
	}
	r.Ds, r.Es, r.Fs, r.Gs = old.Ds, old.Es, old.Fs, old.Gs
	return r.FsBase < MaxUserAddress && r.GsBase < MaxUserAddress
}

// KeepFlags takes the flags from old that user code can change by itself, but neither
// rt_sigreturn(2) nor ptrace(2).
func (r *Registers) KeepFlags(old *Registers) {
	r.Eflags = r.Eflags&^FlagID | old.Eflags&FlagID
}

// Context is a task's CPU state.
type Context struct {
	Regs Registers
	// FP is current only when the platform was asked for it (PullFullState), and its
	// changes count only when the platform is told (FullStateChanged).
	FP FPState

	// TrapNo, ErrorCode and CR2 describe the last exception, as signal frames show it.
	TrapNo, ErrorCode, CR2 uint64

	scratch []byte `state:"nosave"` // where signal frames are built
}

// NewRegisters are the registers at the start of a program: everything zero but what the
// CPU needs.
func NewRegisters() Registers {
	return Registers{Cs: userCS, Ss: userSS, Eflags: FlagIF | flagFixed, OrigRax: noSyscall}
}

// NewContext is the state at the start of a program.
func NewContext() *Context { return &Context{Regs: NewRegisters(), FP: NewFPState()} }

// Reset makes c the state at the start of a program, for execve(2).
func (c *Context) Reset() {
	c.Regs = NewRegisters()
	c.FP.Reset()
	c.TrapNo, c.ErrorCode, c.CR2 = 0, 0, 0
}

// Fork is a deep copy, for clone(2).
func (c *Context) Fork() *Context {
	f := *c
	f.FP = c.FP.Clone()
	f.scratch = nil
	return &f
}

// FitFP brings FP state that was saved on another host to this host's size. It fails if
// the state uses a component that this host lacks.
func (c *Context) FitFP() error {
	if len(c.FP) == cpu.xsaveSize {
		return nil
	}
	f := NewFPState()
	if err := f.Load(c.FP, ^uint64(0)); err != nil {
		return err
	}
	c.FP = f
	return nil
}

// Args are the arguments of a system call.
type Args [6]uintptr

// Int is argument i as an int; the upper half is ignored, as the kernel does.
func (a *Args) Int(i int) int32 { return int32(a[i]) }

// Uint is argument i as an unsigned int.
func (a *Args) Uint(i int) uint32 { return uint32(a[i]) }

// Int64 is argument i as a long.
func (a *Args) Int64(i int) int64 { return int64(a[i]) }

// Uint64 is argument i as an unsigned long.
func (a *Args) Uint64(i int) uint64 { return uint64(a[i]) }

// Size is argument i as a size_t.
func (a *Args) Size(i int) uint { return uint(a[i]) }

// Pointer is argument i as an address.
func (a *Args) Pointer(i int) uintptr { return a[i] }

// Mode is argument i as a mode_t, which has 16 bits in the kernel.
func (a *Args) Mode(i int) uint32 { return uint32(uint16(a[i])) }

// SyscallNo is the number of the system call that the task is in. Like the kernel, it looks
// at the lower half only.
func (c *Context) SyscallNo() uintptr { return uintptr(uint32(c.Regs.OrigRax)) }

// Args are the arguments of the system call that the task is in.
func (c *Context) Args() Args {
	r := &c.Regs
	return Args{uintptr(r.Rdi), uintptr(r.Rsi), uintptr(r.Rdx), uintptr(r.R10), uintptr(r.R8), uintptr(r.R9)}
}

// SetSyscall makes number nr with args a the system call that the task is in, for a tracer
// that changes it.
func (c *Context) SetSyscall(nr uintptr, a Args) {
	r := &c.Regs
	r.OrigRax = uint64(nr)
	r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = uint64(a[0]), uint64(a[1]), uint64(a[2]), uint64(a[3]), uint64(a[4]), uint64(a[5])
}

// Return is the result of the system call.
func (c *Context) Return() uintptr { return uintptr(c.Regs.Rax) }

// SetReturn stores the result of the system call, a negative errno for an error.
func (c *Context) SetReturn(v uintptr) { c.Regs.Rax = uint64(v) }

// IP is the instruction pointer.
func (c *Context) IP() uintptr { return uintptr(c.Regs.Rip) }

// SetIP sets the instruction pointer.
func (c *Context) SetIP(v uintptr) { c.Regs.Rip = uint64(v) }

// Stack is the stack pointer.
func (c *Context) Stack() uintptr { return uintptr(c.Regs.Rsp) }

// SetStack sets the stack pointer.
func (c *Context) SetStack(v uintptr) { c.Regs.Rsp = uint64(v) }

// TLS is the base of FS, where thread-local storage lies.
func (c *Context) TLS() uintptr { return uintptr(c.Regs.FsBase) }

// SetTLS sets the base of FS. It reports false, and does nothing, for an address that user
// code cannot have (EPERM for arch_prctl(2)).
func (c *Context) SetTLS(v uintptr) bool {
	if v >= MaxUserAddress {
		return false
	}
	c.Regs.Fs, c.Regs.FsBase = 0, uint64(v)
	return true
}

// GSBase is the base of GS.
func (c *Context) GSBase() uintptr { return uintptr(c.Regs.GsBase) }

// SetGSBase is SetTLS for GS.
func (c *Context) SetGSBase(v uintptr) bool {
	if v >= MaxUserAddress {
		return false
	}
	c.Regs.Gs, c.Regs.GsBase = 0, uint64(v)
	return true
}

// sizeofSyscallInsn is the length of the instruction `syscall`.
const sizeofSyscallInsn = 2

// RestartSyscall makes the task carry out its system call again when it goes on.
func (c *Context) RestartSyscall() {
	c.Regs.Rip -= sizeofSyscallInsn
	c.Regs.Rax = c.Regs.OrigRax
}

// sysRestart is the number of restart_syscall(2).
const sysRestart = 219

// RestartSyscallWithRestartBlock makes the task call restart_syscall(2) when it goes on.
func (c *Context) RestartSyscallWithRestartBlock() {
	c.Regs.Rip -= sizeofSyscallInsn
	c.Regs.Rax = sysRestart
}

// LeaveSyscall forgets that the task is in a system call, so that its result is no longer
// taken for one that may be restarted.
func (c *Context) LeaveSyscall() { c.Regs.OrigRax = noSyscall }

// SingleStep says whether the task stops after each instruction.
func (c *Context) SingleStep() bool { return c.Regs.Eflags&FlagTF != 0 }

// SetSingleStep turns single-stepping on or off.
func (c *Context) SetSingleStep(on bool) {
	c.Regs.Eflags &^= FlagTF
	if on {
		c.Regs.Eflags |= FlagTF
	}
}
