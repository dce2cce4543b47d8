package syscalls

import (
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/bpf"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
)

var systemSyscalls = []kernel.Syscall{
	{Number: unix.SYS_UNAME, Name: "uname", Fn: uname, Args: []strace.Format{strace.UnameOut}},
	{Number: unix.SYS_SYSINFO, Name: "sysinfo", Fn: sysinfo, Args: []strace.Format{strace.Hex}},
	{Number: unix.SYS_SETHOSTNAME, Name: "sethostname", Fn: sethostname, Args: []strace.Format{strace.String, strace.Dec}},
	{Number: unix.SYS_SETDOMAINNAME, Name: "setdomainname", Fn: setdomainname, Args: []strace.Format{strace.String, strace.Dec}},
	{Number: unix.SYS_GETRANDOM, Name: "getrandom", Fn: getrandom, Args: []strace.Format{strace.Hex, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_GETRLIMIT, Name: "getrlimit", Fn: getrlimit, Args: []strace.Format{strace.RlimitResource, strace.RlimitOut}},
	{Number: unix.SYS_SETRLIMIT, Name: "setrlimit", Fn: setrlimit, Args: []strace.Format{strace.RlimitResource, strace.Rlimit}},
	{Number: unix.SYS_PRLIMIT64, Name: "prlimit64", Fn: prlimit64, Args: []strace.Format{strace.Dec, strace.RlimitResource, strace.Rlimit, strace.RlimitOut}},
	{Number: unix.SYS_GETCPU, Name: "getcpu", Fn: getcpu, Args: []strace.Format{strace.Hex, strace.Hex, strace.Hex}},
	{Number: unix.SYS_SYSLOG, Name: "syslog", Fn: syslogCall, Args: []strace.Format{strace.Dec, strace.Hex, strace.Dec}, Support: kernel.Partial, Note: "an empty log"},
	{Number: unix.SYS_SECCOMP, Name: "seccomp", Fn: seccompCall, Args: []strace.Format{strace.Dec, strace.Hex, strace.Hex}, Support: kernel.Partial, Note: "no user notification"},
	{Number: unix.SYS_RSEQ, Name: "rseq", Fn: rseq, Args: []strace.Format{strace.Hex, strace.Dec, strace.Dec, strace.Hex}, Support: kernel.Unimplemented, Note: "ENOSYS: the host decides which threads run at once"},
	{Number: unix.SYS_REBOOT, Name: "reboot", Fn: reboot, Args: []strace.Format{strace.Hex, strace.Hex, strace.Hex, strace.Hex}, Support: kernel.Partial, Note: "always EPERM"},
	{Number: unix.SYS_VHANGUP, Name: "vhangup", Fn: vhangup},
	{Number: unix.SYS_IOPL, Name: "iopl", Fn: denied, Args: []strace.Format{strace.Dec}, Support: kernel.Partial, Note: "always EPERM"},
	{Number: unix.SYS_IOPERM, Name: "ioperm", Fn: denied, Args: []strace.Format{strace.Hex, strace.Hex, strace.Dec}, Support: kernel.Partial, Note: "always EPERM"},
}

// asBytes shows a fixed-layout value as bytes.
func asBytes[T any](v *T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(v)), unsafe.Sizeof(*v))
}

func itoa(n int) string { return strconv.Itoa(n) }

// denied is the answer of calls that need hardware or a machine of one's own.
func denied(t *kernel.Task, a arch.Args) (uintptr, error) { return 0, unix.EPERM }

func reboot(t *kernel.Task, a arch.Args) (uintptr, error) { return 0, unix.EPERM }

func vhangup(t *kernel.Task, a arch.Args) (uintptr, error) {
	if !t.Credentials().HasCapability(unix.CAP_SYS_TTY_CONFIG) {
		return 0, unix.EPERM
	}
	return 0, nil
}

func uname(t *kernel.Task, a arch.Args) (uintptr, error) {
	host, domain := t.UTSNamespace().Names()
	var u unix.Utsname
	copy(u.Sysname[:64], kernel.Sysname)
	copy(u.Nodename[:64], host)
	copy(u.Release[:64], kernel.Release)
	copy(u.Version[:64], kernel.Version)
	copy(u.Machine[:64], kernel.Machine)
	copy(u.Domainname[:64], domain)
	return 0, kernel.CopyOut(t, a.Pointer(0), &u)
}

func sysinfo(t *kernel.Task, a arch.Args) (uintptr, error) {
	k := t.Kernel()
	total := k.TotalMemory()
	used, err := k.MemoryFile().Usage()
	if err != nil {
		return 0, err
	}
	used = min(used, total)
	load := k.LoadAverage()
	s := unix.Sysinfo_t{
		Uptime:   k.Uptime() / nsPerSec,
		Totalram: total, Freeram: total - used, Unit: 1,
		Procs: uint16(min(len(k.Tasks()), 65535)),
	}
	for i, l := range load {
		s.Loads[i] = uint64(l * 65536)
	}
	return 0, kernel.CopyOut(t, a.Pointer(0), &s)
}

func setName(t *kernel.Task, a arch.Args, set func(string)) (uintptr, error) {
	n := a.Int(1)
	if n < 0 || n > 64 {
		return 0, unix.EINVAL
	}
	if !t.Credentials().HasCapabilityIn(unix.CAP_SYS_ADMIN, t.UTSNamespace().UserNamespace()) {
		return 0, unix.EPERM
	}
	b := make([]byte, n)
	if err := t.CopyInBytes(a.Pointer(0), b); err != nil {
		return 0, err
	}
	set(unix.ByteSliceToString(b))
	return 0, nil
}

func sethostname(t *kernel.Task, a arch.Args) (uintptr, error) {
	return setName(t, a, t.UTSNamespace().SetHostname)
}

func setdomainname(t *kernel.Task, a arch.Args) (uintptr, error) {
	return setName(t, a, t.UTSNamespace().SetDomainname)
}

func getrandom(t *kernel.Task, a arch.Args) (uintptr, error) {
	n, flags := a.Size(1), a.Uint(2)
	const insecure = 4
	if flags&^(unix.GRND_NONBLOCK|unix.GRND_RANDOM|insecure) != 0 || flags&(unix.GRND_RANDOM|insecure) == unix.GRND_RANDOM|insecure {
		return 0, unix.EINVAL
	}
	n = min(n, 1<<25)
	var buf [1024]byte
	done := uint(0)
	for done < n {
		b := buf[:min(uint(len(buf)), n-done)]
		kernel.Random(b)
		m, err := t.MemoryManager().CopyOut(a.Pointer(0)+uintptr(done), b)
		done += uint(m)
		if err != nil {
			if done > 0 {
				break
			}
			return 0, err
		}
	}
	return uintptr(done), nil
}

func getrlimit(t *kernel.Task, a arch.Args) (uintptr, error) {
	r := a.Uint(0)
	if r >= kernel.NumLimits {
		return 0, unix.EINVAL
	}
	l := t.ThreadGroup().Limits().Get(int(r))
	return 0, kernel.CopyOut(t, a.Pointer(1), &l)
}

func setrlimit(t *kernel.Task, a arch.Args) (uintptr, error) {
	var l kernel.Limit
	if err := kernel.CopyIn(t, a.Pointer(1), &l); err != nil {
		return 0, err
	}
	return 0, setLimit(t, t.ThreadGroup(), a.Uint(0), l)
}

// nrOpen is /proc/sys/fs/nr_open, the most that RLIMIT_NOFILE can be.
const nrOpen = 1 << 20

func setLimit(t *kernel.Task, tg *kernel.ThreadGroup, r uint32, l kernel.Limit) error {
	if r >= kernel.NumLimits {
		return unix.EINVAL
	}
	if r == unix.RLIMIT_NOFILE && l.Max > nrOpen {
		return unix.EPERM
	}
	if _, err := tg.Limits().Set(int(r), l, t.Credentials().HasRootCapability(unix.CAP_SYS_RESOURCE)); err != nil {
		return err
	}
	if r == unix.RLIMIT_CPU {
		tg.ArmCPULimit()
	}
	return nil
}

func prlimit64(t *kernel.Task, a arch.Args) (uintptr, error) {
	r := a.Uint(1)
	if r >= kernel.NumLimits {
		return 0, unix.EINVAL
	}
	var l kernel.Limit
	if p := a.Pointer(2); p != 0 {
		if err := kernel.CopyIn(t, p, &l); err != nil {
			return 0, err
		}
	}
	tg, err := processOf(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	if tg != t.ThreadGroup() {
		c, d := t.Credentials(), tg.Leader().Credentials()
		same := c.RealUID == d.RealUID && c.RealUID == d.EffectiveUID && c.RealUID == d.SavedUID &&
			c.RealGID == d.RealGID && c.RealGID == d.EffectiveGID && c.RealGID == d.SavedGID
		if !same && !c.HasCapabilityIn(unix.CAP_SYS_RESOURCE, d.UserNS) {
			return 0, unix.EPERM
		}
	}
	old := tg.Limits().Get(int(r))
	if a.Pointer(2) != 0 {
		if err := setLimit(t, tg, r, l); err != nil {
			return 0, err
		}
	}
	if p := a.Pointer(3); p != 0 {
		return 0, kernel.CopyOut(t, p, &old)
	}
	return 0, nil
}

func getcpu(t *kernel.Task, a arch.Args) (uintptr, error) {
	cpu, node := uint32(t.CPU()), uint32(0)
	if p := a.Pointer(0); p != 0 {
		if err := kernel.CopyOut(t, p, &cpu); err != nil {
			return 0, err
		}
	}
	if p := a.Pointer(1); p != 0 {
		return 0, kernel.CopyOut(t, p, &node)
	}
	return 0, nil
}

// syslogCall answers for a kernel log that is empty (syslog(2)).
func syslogCall(t *kernel.Task, a arch.Args) (uintptr, error) {
	const (
		actionRead       = 2
		actionReadAll    = 3
		actionReadClear  = 4
		actionSizeUnread = 9
		actionSizeBuffer = 10
	)
	switch typ := a.Int(0); typ {
	case 0, 1:
		return 0, nil
	case actionReadAll, actionReadClear, actionRead:
		if a.Pointer(1) == 0 || a.Int(2) < 0 {
			return 0, unix.EINVAL
		}
		return 0, nil
	case actionSizeUnread:
		return 0, nil
	case actionSizeBuffer:
		return 1 << 17, nil
	case 5, 6, 7, 8:
		if !t.Credentials().HasCapability(unix.CAP_SYSLOG) && !t.Credentials().HasCapability(unix.CAP_SYS_ADMIN) {
			return 0, unix.EPERM
		}
		return 0, nil
	}
	return 0, unix.EINVAL
}

// maxFilterLen is BPF_MAXINSNS.
const maxFilterLen = 4096

func seccompCall(t *kernel.Task, a arch.Args) (uintptr, error) {
	op, flags, addr := a.Uint(0), a.Uint(1), a.Pointer(2)
	switch op {
	case unix.SECCOMP_SET_MODE_STRICT:
		if flags != 0 || addr != 0 {
			return 0, unix.EINVAL
		}
		return 0, t.SetSeccompStrict()
	case unix.SECCOMP_SET_MODE_FILTER:
		return addFilter(t, flags, addr)
	case unix.SECCOMP_GET_ACTION_AVAIL:
		if flags != 0 {
			return 0, unix.EINVAL
		}
		var action uint32
		if err := kernel.CopyIn(t, addr, &action); err != nil {
			return 0, err
		}
		switch action {
		case unix.SECCOMP_RET_KILL_PROCESS, unix.SECCOMP_RET_KILL_THREAD, unix.SECCOMP_RET_TRAP, unix.SECCOMP_RET_ERRNO,
			unix.SECCOMP_RET_TRACE, unix.SECCOMP_RET_LOG, unix.SECCOMP_RET_ALLOW:
			return 0, nil
		}
		return 0, unix.EOPNOTSUPP
	}
	return 0, unix.EINVAL
}

func addFilter(t *kernel.Task, flags uint32, addr uintptr) (uintptr, error) {
	const known = unix.SECCOMP_FILTER_FLAG_TSYNC | unix.SECCOMP_FILTER_FLAG_LOG | unix.SECCOMP_FILTER_FLAG_SPEC_ALLOW | unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH
	if flags&^known != 0 {
		return 0, unix.EINVAL
	}
	var prog struct {
		Len    uint16
		_      [6]byte
		Filter uint64
	}
	if err := kernel.CopyIn(t, addr, &prog); err != nil {
		return 0, err
	}
	if prog.Len == 0 || prog.Len > maxFilterLen {
		return 0, unix.EINVAL
	}
	insns, err := kernel.CopyInSlice[bpf.Instruction](t, uintptr(prog.Filter), int(prog.Len))
	if err != nil {
		return 0, err
	}
	if !t.NoNewPrivs() && !t.Credentials().HasCapability(unix.CAP_SYS_ADMIN) {
		return 0, unix.EACCES
	}
	tid, err := t.AddSeccompFilter(insns, flags&unix.SECCOMP_FILTER_FLAG_LOG != 0, flags&unix.SECCOMP_FILTER_FLAG_TSYNC != 0)
	if tid != 0 && flags&unix.SECCOMP_FILTER_FLAG_TSYNC_ESRCH != 0 {
		return 0, unix.ESRCH
	}
	return uintptr(tid), err
}

// rseq: restartable sequences are not offered; libc and others then use atomics.
func rseq(t *kernel.Task, a arch.Args) (uintptr, error) { return 0, unix.ENOSYS }
