package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/strace"
)

var prctlSyscalls = []kernel.Syscall{
	{Number: unix.SYS_PRCTL, Name: "prctl", Fn: prctl, Args: []strace.Format{strace.PrctlOption, strace.Hex, strace.Hex, strace.Hex, strace.Hex}},
	{Number: unix.SYS_ARCH_PRCTL, Name: "arch_prctl", Fn: archPrctl, Args: []strace.Format{strace.ArchPrctlCode, strace.Hex}},
}

// secureBitsMask are the securebits that exist, with their locks.
const secureBitsMask = 0xff

func prctl(t *kernel.Task, a arch.Args) (uintptr, error) {
	arg := a.Pointer(1)
	rest := a[2] | a[3] | a[4]
	switch a.Int(0) {
	case unix.PR_SET_PDEATHSIG:
		if arg > kernel.NumSignals {
			return 0, unix.EINVAL
		}
		t.SetParentDeathSignal(int32(arg))
	case unix.PR_GET_PDEATHSIG:
		v := t.ParentDeathSignal()
		return 0, kernel.CopyOut(t, arg, &v)
	case unix.PR_GET_DUMPABLE:
		return uintptr(t.MemoryManager().Dumpable()), nil
	case unix.PR_SET_DUMPABLE:
		if arg > 1 {
			return 0, unix.EINVAL
		}
		t.MemoryManager().SetDumpable(int(arg))
	case unix.PR_GET_KEEPCAPS:
		return uintptr(t.Credentials().SecureBits >> linux.SecureKeepCaps & 1), nil
	case unix.PR_SET_KEEPCAPS:
		c := t.Credentials().Clone()
		if arg > 1 {
			return 0, unix.EINVAL
		}
		if c.SecureBits&(1<<linux.SecureKeepCapsLocked) != 0 {
			return 0, unix.EPERM
		}
		c.SecureBits = c.SecureBits&^(1<<linux.SecureKeepCaps) | uint32(arg)<<linux.SecureKeepCaps
		t.SetCredentials(c)
	case unix.PR_SET_NAME:
		b := make([]byte, 16)
		n, err := t.MemoryManager().CopyIn(arg, b)
		name := unix.ByteSliceToString(b[:n])
		if err != nil && len(name) == n {
			return 0, err
		}
		t.SetName(name)
	case unix.PR_GET_NAME:
		var b [16]byte
		copy(b[:15], t.Name())
		return 0, t.CopyOutBytes(arg, b[:])
	case unix.PR_GET_TIMING:
		return 0, nil
	case unix.PR_SET_TIMING:
		if arg != 0 {
			return 0, unix.EINVAL
		}
	case unix.PR_SET_SECCOMP:
		switch arg {
		case unix.SECCOMP_MODE_STRICT:
			return 0, t.SetSeccompStrict()
		case unix.SECCOMP_MODE_FILTER:
			return addFilter(t, 0, a.Pointer(2))
		}
		return 0, unix.EINVAL
	case unix.PR_GET_SECCOMP:
		mode, _ := t.SeccompMode()
		return uintptr(mode), nil
	case unix.PR_CAPBSET_READ:
		if arg > auth.LastCap {
			return 0, unix.EINVAL
		}
		if t.Credentials().Bounding.Has(int(arg)) {
			return 1, nil
		}
		return 0, nil
	case unix.PR_CAPBSET_DROP:
		c := t.Credentials().Clone()
		if arg > auth.LastCap {
			return 0, unix.EINVAL
		}
		if !c.HasCapability(unix.CAP_SETPCAP) {
			return 0, unix.EPERM
		}
		c.Bounding &^= auth.CapSetOf(int(arg))
		t.SetCredentials(c)
	case unix.PR_GET_SECUREBITS:
		return uintptr(t.Credentials().SecureBits), nil
	case unix.PR_SET_SECUREBITS:
		return 0, setSecureBits(t, uint32(arg))
	case unix.PR_SET_TIMERSLACK:
		t.SetSched(func(s *kernel.SchedState) { s.TimerSlack = uint64(arg) })
	case unix.PR_GET_TIMERSLACK:
		if s := t.Sched().TimerSlack; s != 0 {
			return uintptr(s), nil
		}
		return 50000, nil
	case unix.PR_SET_CHILD_SUBREAPER:
		t.ThreadGroup().SetSubreaper(arg != 0)
	case unix.PR_GET_CHILD_SUBREAPER:
		v := int32(0)
		if t.ThreadGroup().IsSubreaper() {
			v = 1
		}
		return 0, kernel.CopyOut(t, arg, &v)
	case unix.PR_SET_NO_NEW_PRIVS:
		if arg != 1 || rest != 0 {
			return 0, unix.EINVAL
		}
		t.SetNoNewPrivs()
	case unix.PR_GET_NO_NEW_PRIVS:
		if arg|rest != 0 {
			return 0, unix.EINVAL
		}
		if t.NoNewPrivs() {
			return 1, nil
		}
		return 0, nil
	case unix.PR_GET_TID_ADDRESS:
		v := uint64(t.ClearTID())
		return 0, kernel.CopyOut(t, arg, &v)
	case unix.PR_SET_THP_DISABLE:
		if rest != 0 {
			return 0, unix.EINVAL
		}
	case unix.PR_GET_THP_DISABLE:
		if arg|rest != 0 {
			return 0, unix.EINVAL
		}
		return 0, nil
	case unix.PR_CAP_AMBIENT:
		return capAmbient(t, arg, a.Pointer(2), a[3]|a[4])
	case unix.PR_SET_VMA:
		return 0, setVMAName(t, a)
	case unix.PR_SET_MM:
		return 0, unix.EPERM
	case unix.PR_SET_PTRACER, unix.PR_MCE_KILL:
		return 0, nil
	case unix.PR_MCE_KILL_GET:
		return unix.PR_MCE_KILL_DEFAULT, nil
	case unix.PR_GET_SPECULATION_CTRL:
		return 0, nil // PR_SPEC_NOT_AFFECTED
	default:
		return 0, t.Unsupported("prctl", uint64(a.Uint(0)), unix.EINVAL)
	}
	return 0, nil
}

func setSecureBits(t *kernel.Task, v uint32) error {
	c := t.Credentials().Clone()
	if v&^secureBitsMask != 0 {
		return unix.EINVAL
	}
	if !c.HasCapability(unix.CAP_SETPCAP) {
		return unix.EPERM
	}
	// A lock bit (the odd ones) holds itself and the bit below it (capabilities(7)).
	locks := c.SecureBits & 0xaa
	if (c.SecureBits^v)&(locks|locks>>1) != 0 {
		return unix.EPERM
	}
	c.SecureBits = v
	t.SetCredentials(c)
	return nil
}

func capAmbient(t *kernel.Task, op, cp, rest uintptr) (uintptr, error) {
	c := t.Credentials().Clone()
	if op == unix.PR_CAP_AMBIENT_CLEAR_ALL {
		if cp|rest != 0 {
			return 0, unix.EINVAL
		}
		c.Ambient = 0
		t.SetCredentials(c)
		return 0, nil
	}
	if cp > auth.LastCap || rest != 0 {
		return 0, unix.EINVAL
	}
	bit := auth.CapSetOf(int(cp))
	switch op {
	case unix.PR_CAP_AMBIENT_IS_SET:
		if c.Ambient&bit != 0 {
			return 1, nil
		}
		return 0, nil
	case unix.PR_CAP_AMBIENT_RAISE:
		if c.Permitted&c.Inheritable&bit == 0 || c.SecureBits&(1<<linux.SecureNoCapAmbientRaise) != 0 {
			return 0, unix.EPERM
		}
		c.Ambient |= bit
	case unix.PR_CAP_AMBIENT_LOWER:
		c.Ambient &^= bit
	default:
		return 0, unix.EINVAL
	}
	t.SetCredentials(c)
	return 0, nil
}

// Codes of arch_prctl(2).
const (
	archSetGS = 0x1001
	archSetFS = 0x1002
	archGetFS = 0x1003
	archGetGS = 0x1004
)

func archPrctl(t *kernel.Task, a arch.Args) (uintptr, error) {
	ac := t.Arch()
	switch a.Int(0) {
	case archSetFS:
		if !ac.SetTLS(a.Pointer(1)) {
			return 0, unix.EPERM
		}
	case archSetGS:
		if !ac.SetGSBase(a.Pointer(1)) {
			return 0, unix.EPERM
		}
	case archGetFS:
		v := uint64(ac.TLS())
		return 0, kernel.CopyOut(t, a.Pointer(1), &v)
	case archGetGS:
		v := uint64(ac.GSBase())
		return 0, kernel.CopyOut(t, a.Pointer(1), &v)
	default:
		return 0, unix.EINVAL
	}
	return 0, nil
}
