package syscalls

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
)

var ptraceSyscalls = []kernel.Syscall{
	{Number: unix.SYS_PTRACE, Name: "ptrace", Fn: ptrace, Args: []strace.Format{strace.PtraceRequest, strace.Dec, strace.Hex, strace.Hex}, Support: kernel.Partial, Note: "no hardware breakpoints"},
}

// Offsets in struct user (sys/user.h).
const (
	userDebugRegisters = 848
	sizeofUser         = 912
)

// Note types of PTRACE_GETREGSET.
const (
	ntPRStatus  = 1
	ntPRFPReg   = 2
	ntX86XState = 0x202
)

func ptrace(t *kernel.Task, a arch.Args) (uintptr, error) {
	request, addr, data := a.Int(0), a.Pointer(2), a.Pointer(3)
	if request == unix.PTRACE_TRACEME {
		return 0, t.PtraceTraceMe()
	}
	c := t.PIDNamespace().Task(a.Int(1))
	if c == nil {
		return 0, unix.ESRCH
	}
	switch request {
	case unix.PTRACE_ATTACH:
		return 0, t.PtraceAttach(c, false, 0)
	case unix.PTRACE_SEIZE:
		if addr != 0 || kernel.CheckPtraceOptions(uint64(data)) == unix.EINVAL {
			return 0, unix.EIO
		}
		if err := kernel.CheckPtraceOptions(uint64(data)); err != nil {
			return 0, err
		}
		return 0, t.PtraceAttach(c, true, uint32(data))
	case unix.PTRACE_INTERRUPT:
		return 0, t.PtraceInterrupt(c)
	case unix.PTRACE_KILL:
		if err := t.PtraceTracee(c, false); err != nil {
			return 0, err
		}
		info := arch.NewKernelSignal(int32(unix.SIGKILL))
		return 0, c.SendSignal(&info)
	}
	if err := t.PtraceTracee(c, true); err != nil {
		return 0, err
	}
	switch request {
	case unix.PTRACE_LISTEN:
		return 0, t.PtraceListen(c)
	case unix.PTRACE_DETACH:
		return 0, t.PtraceDetach(c, uint64(data))
	case unix.PTRACE_SETOPTIONS:
		if err := kernel.CheckPtraceOptions(uint64(data)); err != nil {
			return 0, err
		}
		return 0, t.PtraceSetOptions(c, uint32(data))
	case unix.PTRACE_GETEVENTMSG:
		m, err := t.PtraceEventMessage(c)
		if err != nil {
			return 0, err
		}
		return 0, kernel.CopyOut(t, data, &m)
	case unix.PTRACE_PEEKTEXT, unix.PTRACE_PEEKDATA, unix.PTRACE_POKETEXT, unix.PTRACE_POKEDATA:
		return 0, ptraceMemory(t, c, request, addr, data)
	case unix.PTRACE_PEEKUSR, unix.PTRACE_POKEUSR:
		return 0, ptraceUser(t, c, request, addr, data)
	case unix.PTRACE_GETSIGINFO, unix.PTRACE_SETSIGINFO, unix.PTRACE_PEEKSIGINFO, unix.PTRACE_GETSIGMASK, unix.PTRACE_SETSIGMASK:
		return ptraceSignals(t, c, request, addr, data)
	case unix.PTRACE_GET_SYSCALL_INFO:
		i, size, err := t.PtraceSyscall(c)
		if err != nil {
			return 0, err
		}
		b := asBytes(&i)
		return size, t.CopyOutBytes(data, b[:min(size, addr)])
	case unix.PTRACE_GETREGS:
		_, err := ptraceRegset(t, c, ntPRStatus, false, data, arch.SizeofRegisters)
		return 0, err
	case unix.PTRACE_SETREGS:
		_, err := ptraceRegset(t, c, ntPRStatus, true, data, arch.SizeofRegisters)
		return 0, err
	case unix.PTRACE_GETFPREGS:
		_, err := ptraceRegset(t, c, ntPRFPReg, false, data, 512)
		return 0, err
	case unix.PTRACE_SETFPREGS:
		_, err := ptraceRegset(t, c, ntPRFPReg, true, data, 512)
		return 0, err
	case unix.PTRACE_GETREGSET, unix.PTRACE_SETREGSET:
		var v iovec
		if err := kernel.CopyIn(t, data, &v); err != nil {
			return 0, err
		}
		n, err := ptraceRegset(t, c, uint32(addr), request == unix.PTRACE_SETREGSET, uintptr(v.Base), v.Len)
		if err != nil {
			return 0, err
		}
		v.Len = n
		return 0, kernel.CopyOut(t, data, &v)
	}
	return 0, t.PtraceResume(c, request, uint64(data))
}

// ptraceMemory reads or writes a word of the tracee's memory, whatever its protection.
func ptraceMemory(t, c *kernel.Task, request int32, addr, data uintptr) error {
	m := c.WithMM()
	if m == nil {
		return unix.EIO
	}
	defer m.DecUsers()
	var b [8]byte
	if request == unix.PTRACE_POKETEXT || request == unix.PTRACE_POKEDATA {
		binary.LittleEndian.PutUint64(b[:], uint64(data))
		if n, _ := m.CopyOutForce(addr, b[:]); n != len(b) {
			return unix.EIO
		}
		return nil
	}
	if n, _ := m.CopyInForce(addr, b[:]); n != len(b) {
		return unix.EIO
	}
	return t.CopyOutBytes(data, b[:])
}

// ptraceUser reads or writes a word of struct user: registers and debug registers.
func ptraceUser(t, c *kernel.Task, request int32, addr, data uintptr) error {
	if addr%8 != 0 || addr >= sizeofUser {
		return unix.EIO
	}
	word, value := int(addr/8), uint64(data)
	debug := addr >= userDebugRegisters
	if request == unix.PTRACE_POKEUSR {
		switch {
		case addr < arch.SizeofRegisters:
			return t.PtraceSetRegisters(c, func(r *arch.Registers) error {
				binary.LittleEndian.PutUint64(asBytes(r)[addr:], value)
				return nil
			})
		case debug:
			_, err := t.PtraceDebugRegister(c, word-userDebugRegisters/8, &value)
			return err
		}
		return unix.EIO
	}
	value = 0
	var err error
	switch {
	case addr < arch.SizeofRegisters:
		var r arch.Registers
		r, err = t.PtraceRegisters(c)
		value = binary.LittleEndian.Uint64(asBytes(&r)[addr:])
	case debug:
		value, err = t.PtraceDebugRegister(c, word-userDebugRegisters/8, nil)
	}
	if err != nil {
		return err
	}
	return kernel.CopyOut(t, data, &value)
}

// peekSigInfoArgs is struct ptrace_peeksiginfo_args.
type peekSigInfoArgs struct {
	Off   uint64
	Flags uint32
	Nr    int32
}

// maxPeekedSignals bounds one PTRACE_PEEKSIGINFO; its result says how many there were.
const maxPeekedSignals = 1024

func ptraceSignals(t, c *kernel.Task, request int32, addr, data uintptr) (uintptr, error) {
	switch request {
	case unix.PTRACE_GETSIGINFO:
		info, err := t.PtraceSignalInfo(c)
		if err != nil {
			return 0, err
		}
		return 0, kernel.CopyOut(t, data, &info)
	case unix.PTRACE_SETSIGINFO:
		var info arch.SignalInfo
		if err := kernel.CopyIn(t, data, &info); err != nil {
			return 0, err
		}
		return 0, t.PtraceSetSignalInfo(c, &info)
	case unix.PTRACE_PEEKSIGINFO:
		var args peekSigInfoArgs
		if err := kernel.CopyIn(t, addr, &args); err != nil {
			return 0, err
		}
		const shared = 1 // PTRACE_PEEKSIGINFO_SHARED
		if args.Flags&^shared != 0 || args.Nr < 0 {
			return 0, unix.EINVAL
		}
		infos, err := t.PtracePeekSignals(c, args.Off, int(min(args.Nr, maxPeekedSignals)), args.Flags&shared != 0)
		if err != nil {
			return 0, err
		}
		return uintptr(len(infos)), kernel.CopyOutSlice(t, data, infos)
	}
	if addr != unsafe.Sizeof(arch.SignalSet(0)) {
		return 0, unix.EINVAL
	}
	if request == unix.PTRACE_SETSIGMASK {
		var set arch.SignalSet
		if err := kernel.CopyIn(t, data, &set); err != nil {
			return 0, err
		}
		_, err := t.PtraceSignalMask(c, &set)
		return 0, err
	}
	set, err := t.PtraceSignalMask(c, nil)
	if err != nil {
		return 0, err
	}
	return 0, kernel.CopyOut(t, data, &set)
}

// ptraceRegset copies up to length bytes of a register set between the tracee and the
// caller's memory at addr, and returns how many. EINVAL: no such set, or not whole registers.
func ptraceRegset(t, c *kernel.Task, note uint32, set bool, addr uintptr, length uint64) (uint64, error) {
	fp, err := t.PtraceFP(c)
	if err != nil {
		return 0, err
	}
	size, unit := uint64(arch.SizeofRegisters), uint64(8)
	switch note {
	case ntPRStatus:
	case ntPRFPReg:
		size, unit = uint64(len(fp.Legacy())), 4
	case ntX86XState:
		size = uint64(len(fp))
	default:
		return 0, unix.EINVAL
	}
	if length%unit != 0 {
		return 0, unix.EINVAL
	}
	n := min(length, size)
	if !set {
		b := []byte(fp)
		if note == ntPRStatus {
			r, err := t.PtraceRegisters(c)
			if err != nil {
				return 0, err
			}
			b = asBytes(&r)
		}
		return n, t.CopyOutBytes(addr, b[:n])
	}
	b := make([]byte, n)
	if err := t.CopyInBytes(addr, b); err != nil {
		return 0, err
	}
	switch note {
	case ntPRStatus:
		return n, t.PtraceSetRegisters(c, func(r *arch.Registers) error {
			copy(asBytes(r), b)
			return nil
		})
	case ntPRFPReg:
		// The header's first bits say that x87 and SSE state are there; the bytes that
		// are software's stay.
		const software, header, x87AndSSE = 464, 512, 3
		copy(fp[:software], b)
		fp[header] |= x87AndSSE
		return n, t.PtraceSetFP(c, fp)
	}
	if n != size {
		return 0, unix.EFAULT
	}
	return n, t.PtraceSetFP(c, b)
}
