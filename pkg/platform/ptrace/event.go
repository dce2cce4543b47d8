package ptrace

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/memmap"
)

// Numbers of exceptions, as signal frames show them.
const (
	trapDivide     = 0
	trapDebug      = 1
	trapBreakpoint = 3
	trapOpcode     = 6
	trapProtection = 13
	trapPage       = 14
	trapFP         = 16
	trapAlignment  = 17

	errPresent = 1 << 0
	errUser    = 1 << 2
	errExecute = 1 << 4
)

// maxInstruction is the length of the longest x86 instruction in bytes.
const maxInstruction = 15

// event makes an Event of a stop and stores the application's registers in ac. ok is
// false if the application knows nothing of the stop and has to go on.
func (c *taskContext) event(th *thread, ws unix.WaitStatus, ac *arch.Context) (ev platform.Event, ok bool, err error) {
	sig := ws.StopSignal()
	if ws>>16 != 0 {
		return ev, false, nil // a stop that no signal caused
	}
	if sig == syscallStop {
		if err := th.getRegs(&ac.Regs); err != nil {
			return ev, false, err
		}
		return c.syscallEvent(th, ac)
	}
	var info arch.SignalInfo
	switch sig {
	case unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGTRAP, unix.SIGSYS:
		if err := th.siginfo(&info); err != nil {
			return ev, false, err
		}
		if info.Code <= 0 { // somebody on the host sent it
			return ev, false, nil
		}
	default:
		// A kick, for this task or stale, or a signal from the host.
		if !c.pending.Swap(false) {
			return ev, false, nil
		}
		if err := th.getRegs(&ac.Regs); err != nil {
			return ev, false, err
		}
		ac.Regs.OrigRax = ^uint64(0)
		return platform.Event{Kind: platform.EventInterrupt}, true, nil
	}
	if err := th.getRegs(&ac.Regs); err != nil {
		return ev, false, err
	}
	ac.Regs.OrigRax = ^uint64(0)
	return c.signalEvent(ac, sig, &info), true, nil
}

// syscallEvent tells the instruction `syscall` from `int $0x80` and `sysenter`, which
// enter the 32-bit interface that applications do not have here: they fault, as on a
// kernel without it. `syscall` leaves the address of the next instruction in RCX.
func (c *taskContext) syscallEvent(th *thread, ac *arch.Context) (platform.Event, bool, error) {
	if ac.Regs.Rcx == ac.Regs.Rip {
		return platform.Event{Kind: platform.EventSyscall}, true, nil
	}
	var info struct { // the start of struct ptrace_syscall_info
		op   uint8
		_    [3]uint8
		arch uint32
		_    [80]uint8
	}
	if e := th.ptrace(unix.PTRACE_GET_SYSCALL_INFO, unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info))); e != 0 {
		return platform.Event{}, false, fmt.Errorf("reading the system call of stub %d: %w", th.tid, e)
	}
	if info.arch == unix.AUDIT_ARCH_X86_64 {
		return platform.Event{Kind: platform.EventSyscall}, true, nil
	}
	ac.Regs.Rax = ac.Regs.OrigRax
	ac.Regs.Rip -= 2
	ac.Regs.OrigRax = ^uint64(0)
	ac.TrapNo, ac.ErrorCode = trapProtection, 0x80<<3|2
	return platform.Event{Kind: platform.EventSignal, Info: arch.NewKernelSignal(int32(unix.SIGSEGV))}, true, nil
}

// signalEvent makes an Event of a synchronous signal.
func (c *taskContext) signalEvent(ac *arch.Context, sig unix.Signal, info *arch.SignalInfo) platform.Event {
	addr := uintptr(info.Addr())
	mapping := false
	ac.ErrorCode = 0
	switch sig {
	case unix.SIGSEGV:
		if mapping = info.Code != arch.SiKernel; !mapping {
			ac.TrapNo = trapProtection
		}
	case unix.SIGBUS:
		if mapping = info.Code != arch.BusAdrAln; !mapping {
			ac.TrapNo = trapAlignment
		}
	case unix.SIGILL:
		ac.TrapNo = trapOpcode
	case unix.SIGFPE:
		if ac.TrapNo = trapFP; info.Code == arch.FpeIntDiv {
			ac.TrapNo = trapDivide
		}
	case unix.SIGTRAP:
		if ac.TrapNo = trapDebug; info.Code == arch.SiKernel {
			ac.TrapNo = trapBreakpoint
		}
	case unix.SIGSYS:
		// A call through the vsyscall page: the host has emulated the return already,
		// but for the result. The application sees an ordinary system call.
		ac.Regs.OrigRax = uint64(uint32(info.Syscall()))
		return platform.Event{Kind: platform.EventSyscall}
	}
	if !mapping {
		return platform.Event{Kind: platform.EventSignal, Info: *info}
	}
	ac.TrapNo, ac.CR2, ac.ErrorCode = trapPage, uint64(addr), errUser
	if info.Code == arch.SegvAccErr && sig == unix.SIGSEGV {
		ac.ErrorCode |= errPresent
	}
	ev := platform.Event{Kind: platform.EventFault, Addr: addr, Access: memmap.Read, AccessUnknown: true, Info: *info}
	// The instruction itself could not be fetched. If that is true of its second half only,
	// the address might as well be that of data; it is taken for code when the repair of
	// data did not help.
	rip := uintptr(ac.Regs.Rip)
	fault := [2]uintptr{rip, addr}
	if addr == rip || fault == c.lastFault && addr-rip < maxInstruction && addr&(memmap.PageSize-1) == 0 {
		ev.Access, ev.AccessUnknown = memmap.Execute, false
		ac.ErrorCode |= errExecute
	}
	c.lastFault = fault
	return ev
}
