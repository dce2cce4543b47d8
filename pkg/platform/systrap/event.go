package systrap

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/memmap"
)

// Exceptions and bits of a page fault's error code, as signal frames show them.
const (
	trapProtection = 13
	trapPage       = 14

	errWrite   = 1 << 1
	errExecute = 1 << 4
)

// event makes an Event of what the thread has posted and stores the application's registers
// in ac. Everything is copied from the slot once, before it is looked at.
func (c *taskContext) event(ac *arch.Context) (platform.Event, error) {
	s := c.th.shared
	kind, signo := s.kind, unix.Signal(s.signo)
	c.patched = false
	switch kind {
	case kindPatched:
		c.take(ac)
		c.patched = true
		return syscallEvent(ac, ac.Regs.Rax), nil
	case kindSignal:
		c.take(ac)
		return c.signalEvent(ac, signo, s.frame, s.info), nil
	case kindBadState:
		c.fpLoad, c.fpStored = true, true
		ac.FP.Reset()
		ac.TrapNo, ac.ErrorCode = trapProtection, 0
		return platform.Event{Kind: platform.EventSignal, Info: arch.NewKernelSignal(int32(unix.SIGSEGV))}, nil
	}
	// A kick on the way back, or nonsense: the registers are as they were.
	return c.interrupted(ac), nil
}

// take copies the registers.
func (c *taskContext) take(ac *arch.Context) {
	c.last = c.th.shared.regs
	r := c.last
	// These cannot change in the application, or not in a way that counts.
	r.FsBase, r.GsBase = ac.Regs.FsBase, ac.Regs.GsBase
	r.Ds, r.Es, r.Fs, r.Gs = ac.Regs.Ds, ac.Regs.Es, ac.Regs.Fs, ac.Regs.Gs
	r.Sanitize(&ac.Regs)
	r.OrigRax = ^uint64(0)
	c.last = r
	ac.Regs = r
}

// interrupted is the event of a kick. A stale one means nothing, but the run loop does no
// harm by looking.
func (c *taskContext) interrupted(ac *arch.Context) platform.Event {
	c.pending.Store(false)
	return platform.Event{Kind: platform.EventInterrupt}
}

// syscallEvent is the event of system call nr, of which the kernel looks at the lower half.
func syscallEvent(ac *arch.Context, nr uint64) platform.Event {
	ac.Regs.OrigRax = nr
	ac.Regs.Rax = ^uint64(unix.ENOSYS) + 1
	return platform.Event{Kind: platform.EventSyscall}
}

// signalEvent makes an Event of a signal. frame and info are the addresses of its struct
// ucontext and siginfo_t.
func (c *taskContext) signalEvent(ac *arch.Context, sig unix.Signal, frame, infoAddr uint64) platform.Event {
	var uc [ucEnd]byte
	var info arch.SignalInfo
	ucMem, infoMem := c.th.at(frame, ucEnd), c.th.at(infoAddr, arch.SizeofSignalInfo)
	if sig == kickSignal || ucMem == nil || infoMem == nil {
		return c.interrupted(ac)
	}
	copy(uc[:], ucMem)
	info.Signo = int32(binary.LittleEndian.Uint32(infoMem))
	info.Errno = int32(binary.LittleEndian.Uint32(infoMem[4:]))
	info.Code = int32(binary.LittleEndian.Uint32(infoMem[8:]))
	copy(info.Fields[:], infoMem[16:])
	info.Signo = int32(sig)
	if info.Code <= 0 { // somebody on the host sent it
		return c.interrupted(ac)
	}
	ac.TrapNo = binary.LittleEndian.Uint64(uc[ucTRAPNO:])
	ac.ErrorCode = binary.LittleEndian.Uint64(uc[ucERR:])
	switch sig {
	case unix.SIGSYS:
		if info.Arch() == unix.AUDIT_ARCH_X86_64 {
			// The host takes a number such as -ERESTARTSYS for a result and changes RAX
			// and RIP. A call through the vsyscall page has returned already.
			nr := ac.Regs.Rax
			if uint32(nr) != uint32(info.Syscall()) {
				nr = uint64(uint32(info.Syscall()))
			}
			if info.CallAddr() < arch.MaxUserAddress {
				ac.Regs.Rip = info.CallAddr()
			}
			ev := syscallEvent(ac, nr)
			ev.Hot = c.p.patch && c.hot(ac.IP())
			return ev
		}
		// `int $0x80` and `sysenter` enter the 32-bit interface, which applications do
		// not have here: they fault, as on a kernel without it.
		ac.Regs.Rip -= 2
		ac.TrapNo, ac.ErrorCode = trapProtection, 0x80<<3|2
		return platform.Event{Kind: platform.EventSignal, Info: arch.NewKernelSignal(int32(unix.SIGSEGV))}
	case unix.SIGSEGV, unix.SIGBUS:
		if ac.TrapNo != trapPage {
			break
		}
		ac.CR2 = binary.LittleEndian.Uint64(uc[ucCR2:])
		at := memmap.Read
		if ac.ErrorCode&errExecute != 0 {
			at = memmap.Execute
		} else if ac.ErrorCode&errWrite != 0 {
			at = memmap.Write
		}
		return platform.Event{Kind: platform.EventFault, Addr: uintptr(info.Addr()), Access: at, Info: info}
	case unix.SIGILL, unix.SIGFPE, unix.SIGTRAP:
	default:
		return c.interrupted(ac)
	}
	return platform.Event{Kind: platform.EventSignal, Info: info}
}
