package arch

import "encoding/binary"

// SignalSet is sigset_t: bit n-1 is signal n.
type SignalSet uint64

// SignalBit is the set of one signal.
func SignalBit(signo int32) SignalSet { return 1 << uint(signo-1) }

// Handlers that are no addresses.
const (
	SigDfl = 0
	SigIgn = 1
)

// Flags of SignalAct.
const (
	SaNoCldStop = 0x1
	SaNoCldWait = 0x2
	SaSigInfo   = 0x4
	SaRestorer  = 0x04000000
	SaOnStack   = 0x08000000
	SaRestart   = 0x10000000
	SaNoDefer   = 0x40000000
	SaResetHand = 0x80000000
	SaExpose    = 0x800 // SA_EXPOSE_TAGBITS
	// SaUnsupported is refused, so that programs can tell which flags a kernel knows.
	SaUnsupported = 0x400
)

// SignalAct is the kernel's struct sigaction.
type SignalAct struct {
	Handler  uint64
	Flags    uint64
	Restorer uint64
	Mask     SignalSet
}

// SizeofSignalAct is the size of struct sigaction in bytes.
const SizeofSignalAct = 32

// Flags of SignalStack.
const (
	SsOnStack    = 1
	SsDisable    = 2
	SsAutodisarm = 1 << 31
)

// SignalStack is stack_t, the alternate signal stack.
type SignalStack struct {
	Addr  uint64
	Flags uint32
	_     uint32
	Size  uint64
}

// SizeofSignalStack is the size of stack_t in bytes.
const SizeofSignalStack = 24

// Contains says whether sp lies on the stack: above its lowest address, at most at its end.
func (s *SignalStack) Contains(sp uintptr) bool {
	return s.Size != 0 && uint64(sp) > s.Addr && uint64(sp)-s.Addr <= s.Size
}

// Enabled says whether there is a stack.
func (s *SignalStack) Enabled() bool { return s.Size != 0 && s.Flags&SsDisable == 0 }

// InUse says whether a task whose stack pointer is sp runs on the stack, as sigaltstack(2)
// sees it: one that disarms itself is never in use.
func (s *SignalStack) InUse(sp uintptr) bool {
	return s.Enabled() && s.Flags&SsAutodisarm == 0 && s.Contains(sp)
}

// Codes of signals that are not special to one signal.
const (
	SiUser    = 0
	SiKernel  = 0x80
	SiQueue   = -1
	SiTimer   = -2
	SiMesgQ   = -3
	SiAsyncIO = -4
	SiSigIO   = -5
	SiTkill   = -6
)

// Codes of SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGCHLD, SIGSYS.
const (
	SegvMapErr = 1
	SegvAccErr = 2
	BusAdrAln  = 1
	BusAdrErr  = 2
	BusObjErr  = 3

	FpeIntDiv = 1
	IllIllOpn = 2

	TrapBrkpt  = 1
	TrapTrace  = 2
	TrapHWBkpt = 4

	CldExited    = 1
	CldKilled    = 2
	CldDumped    = 3
	CldTrapped   = 4
	CldStopped   = 5
	CldContinued = 6

	SysSeccomp = 1
)

// SignalInfo is siginfo_t. Its union is read and written by the methods; which member
// counts depends on signal and code (sigaction(2)).
type SignalInfo struct {
	Signo  int32
	Errno  int32
	Code   int32
	_      int32
	Fields [112]byte
}

// SizeofSignalInfo is the size of siginfo_t in bytes.
const SizeofSignalInfo = 128

// NewKernelSignal is a signal that the kernel itself sends (SI_KERNEL).
func NewKernelSignal(signo int32) SignalInfo { return SignalInfo{Signo: signo, Code: SiKernel} }

// NewFaultSignal is SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGTRAP for addr.
func NewFaultSignal(signo, code int32, addr uint64) SignalInfo {
	s := SignalInfo{Signo: signo, Code: code}
	s.SetAddr(addr)
	return s
}

// NewUserSignal is what kill(2) sends (SI_USER), or with code SiTkill tgkill(2).
func NewUserSignal(signo, code, pid, uid int32) SignalInfo {
	s := SignalInfo{Signo: signo, Code: code}
	s.SetPID(pid)
	s.SetUID(uid)
	return s
}

func (s *SignalInfo) i32(off int) int32 { return int32(binary.LittleEndian.Uint32(s.Fields[off:])) }
func (s *SignalInfo) setI32(off int, v int32) {
	binary.LittleEndian.PutUint32(s.Fields[off:], uint32(v))
}
func (s *SignalInfo) u64(off int) uint64 { return binary.LittleEndian.Uint64(s.Fields[off:]) }
func (s *SignalInfo) setU64(off int, v uint64) {
	binary.LittleEndian.PutUint64(s.Fields[off:], v)
}

// PID is si_pid, the sender or the child.
func (s *SignalInfo) PID() int32 { return s.i32(0) }

// SetPID sets si_pid.
func (s *SignalInfo) SetPID(v int32) { s.setI32(0, v) }

// UID is si_uid.
func (s *SignalInfo) UID() int32 { return s.i32(4) }

// SetUID sets si_uid.
func (s *SignalInfo) SetUID(v int32) { s.setI32(4, v) }

// Status is si_status of SIGCHLD.
func (s *SignalInfo) Status() int32 { return s.i32(8) }

// SetStatus sets si_status.
func (s *SignalInfo) SetStatus(v int32) { s.setI32(8, v) }

// Utime is si_utime of SIGCHLD, in clock ticks.
func (s *SignalInfo) Utime() int64 { return int64(s.u64(16)) }

// SetUtime sets si_utime.
func (s *SignalInfo) SetUtime(v int64) { s.setU64(16, uint64(v)) }

// Stime is si_stime of SIGCHLD, in clock ticks.
func (s *SignalInfo) Stime() int64 { return int64(s.u64(24)) }

// SetStime sets si_stime.
func (s *SignalInfo) SetStime(v int64) { s.setU64(24, uint64(v)) }

// Addr is si_addr of a fault.
func (s *SignalInfo) Addr() uint64 { return s.u64(0) }

// SetAddr sets si_addr.
func (s *SignalInfo) SetAddr(v uint64) { s.setU64(0, v) }

// AddrLSB is si_addr_lsb of a machine check.
func (s *SignalInfo) AddrLSB() int16 { return int16(binary.LittleEndian.Uint16(s.Fields[8:])) }

// SetAddrLSB sets si_addr_lsb.
func (s *SignalInfo) SetAddrLSB(v int16) { binary.LittleEndian.PutUint16(s.Fields[8:], uint16(v)) }

// Value is si_value, as 64 bits: sival_ptr.
func (s *SignalInfo) Value() uint64 { return s.u64(8) }

// SetValue sets si_value.
func (s *SignalInfo) SetValue(v uint64) { s.setU64(8, v) }

// Int is si_value as sival_int.
func (s *SignalInfo) Int() int32 { return s.i32(8) }

// TimerID is si_timerid.
func (s *SignalInfo) TimerID() int32 { return s.i32(0) }

// SetTimerID sets si_timerid.
func (s *SignalInfo) SetTimerID(v int32) { s.setI32(0, v) }

// Overrun is si_overrun of a timer.
func (s *SignalInfo) Overrun() int32 { return s.i32(4) }

// SetOverrun sets si_overrun.
func (s *SignalInfo) SetOverrun(v int32) { s.setI32(4, v) }

// Band is si_band of SIGIO.
func (s *SignalInfo) Band() int64 { return int64(s.u64(0)) }

// SetBand sets si_band.
func (s *SignalInfo) SetBand(v int64) { s.setU64(0, uint64(v)) }

// FD is si_fd of SIGIO.
func (s *SignalInfo) FD() int32 { return s.i32(8) }

// SetFD sets si_fd.
func (s *SignalInfo) SetFD(v int32) { s.setI32(8, v) }

// CallAddr is si_call_addr of SIGSYS.
func (s *SignalInfo) CallAddr() uint64 { return s.u64(0) }

// SetCallAddr sets si_call_addr.
func (s *SignalInfo) SetCallAddr(v uint64) { s.setU64(0, v) }

// Syscall is si_syscall of SIGSYS.
func (s *SignalInfo) Syscall() int32 { return s.i32(8) }

// SetSyscall sets si_syscall.
func (s *SignalInfo) SetSyscall(v int32) { s.setI32(8, v) }

// Arch is si_arch of SIGSYS, an AUDIT_ARCH value.
func (s *SignalInfo) Arch() uint32 { return uint32(s.i32(12)) }

// SetArch sets si_arch.
func (s *SignalInfo) SetArch(v uint32) { s.setI32(12, int32(v)) }

// NewTimerSignal is the expiration of a POSIX timer (SI_TIMER).
func NewTimerSignal(signo, id int32, value uint64) SignalInfo {
	s := SignalInfo{Signo: signo, Code: SiTimer}
	s.SetTimerID(id)
	s.SetValue(value)
	return s
}
