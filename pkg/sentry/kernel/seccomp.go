package kernel

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/bpf"
	"runsc/pkg/sentry/arch"
)

// seccompState is seccomp(2) of the application: filters of its own, run over its system
// calls before the sentry looks at them. Owned by the task goroutine; TSYNC replaces the
// siblings' under signalMu, so readers from the run loop see either.
type seccompState struct {
	mode    int32           // SECCOMP_MODE_*
	filters []seccompFilter // newest last; never modified in place
	total   int             // instructions, filters counted with their overhead
}

type seccompFilter struct {
	program bpf.Program
	log     bool
}

func (s seccompState) forChild() seccompState { return s }

func (s *seccompState) exec() {}

// Limits of seccomp(2): instructions of all filters of a thread, 4 more for each filter.
const (
	maxFilterInstructions = 32768
	filterOverhead        = 4
	seccompDataSize       = 64
)

// SeccompMode is what /proc/PID/status shows.
func (t *Task) SeccompMode() (mode, filters int) {
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	return int(t.seccomp.mode), len(t.seccomp.filters)
}

// SetSeccompStrict is SECCOMP_SET_MODE_STRICT. EINVAL: a filter is in force.
func (t *Task) SetSeccompStrict() error {
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	if t.seccomp.mode == unix.SECCOMP_MODE_FILTER {
		return unix.EINVAL
	}
	t.mm.AskForProcessID()
	t.seccomp.mode = unix.SECCOMP_MODE_STRICT
	return nil
}

// AddSeccompFilter is SECCOMP_SET_MODE_FILTER. The caller has checked no_new_privs or
// CAP_SYS_ADMIN. With tsync every thread of the group gets the filters; the number of a thread
// whose filters are no ancestor of the caller's is returned, and nothing is changed.
func (t *Task) AddSeccompFilter(insns []bpf.Instruction, log, tsync bool) (int32, error) {
	p, err := bpf.CompileSeccomp(insns, seccompDataSize)
	if err != nil {
		return 0, unix.EINVAL
	}
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	if t.seccomp.mode == unix.SECCOMP_MODE_STRICT {
		return 0, unix.EINVAL
	}
	total := t.seccomp.total + p.Length() + filterOverhead
	if total > maxFilterInstructions {
		return 0, unix.ENOMEM
	}
	if tsync {
		for _, s := range t.tg.tasksSnapshot() {
			if s != t && !s.killed && !s.seccomp.ancestorOf(&t.seccomp) {
				return s.ThreadID(), nil
			}
		}
	}
	fs := append(append([]seccompFilter(nil), t.seccomp.filters...), seccompFilter{p, log})
	n := seccompState{mode: unix.SECCOMP_MODE_FILTER, filters: fs, total: total}
	t.mm.AskForProcessID()
	t.seccomp = n
	if tsync {
		for _, s := range t.tg.tasksSnapshot() {
			s.seccomp = n
			if t.NoNewPrivs() {
				s.SetNoNewPrivs()
			}
		}
	}
	return 0, nil
}

func (s *seccompState) ancestorOf(o *seccompState) bool {
	if s.mode == unix.SECCOMP_MODE_STRICT || len(s.filters) > len(o.filters) {
		return false
	}
	return len(s.filters) == 0 || &s.filters[0] == &o.filters[0] || len(s.filters) <= len(o.filters) && s.total <= o.total
}

// hasSyscallHooks says whether system calls of the task are looked at by others.
func (t *Task) hasSyscallHooks() bool { return t.seccomp.mode != 0 || t.ptrace.traced() }

// syscallEnterHooks runs ptrace and seccomp before a system call. It may change *nr, and
// returns true if the call must not be carried out; then the registers hold the result.
func (t *Task) syscallEnterHooks(nr *uintptr) (skip bool) {
	if t.ptrace.traced() {
		if t.ptraceSyscallEnter(nr) {
			return true
		}
	}
	switch t.seccomp.mode {
	case unix.SECCOMP_MODE_STRICT:
		switch *nr {
		case unix.SYS_READ, unix.SYS_WRITE, unix.SYS_EXIT, unix.SYS_RT_SIGRETURN:
			return false
		}
		t.ExitThread(uint32(unix.SIGKILL))
		return true
	case unix.SECCOMP_MODE_FILTER:
		return t.runFilters(nr, false)
	}
	return false
}

func (t *Task) syscallExitHooks(nr uintptr) {
	if t.ptrace.traced() {
		t.ptraceSyscallExit(nr)
	}
}

// runFilters runs every filter; the strictest result counts, the newest filter's of equals
// (seccomp(2)).
// After a tracer has seen the call (retraced), the filters look at what it made of it.
func (t *Task) runFilters(call *uintptr, retraced bool) (skip bool) {
	nr := *call
	var data [seccompDataSize]byte
	le := binary.LittleEndian
	le.PutUint32(data[0:], uint32(nr))
	le.PutUint32(data[4:], unix.AUDIT_ARCH_X86_64)
	le.PutUint64(data[8:], uint64(t.arch.IP()))
	args := t.arch.Args()
	for i, a := range args {
		le.PutUint64(data[16+8*i:], uint64(a))
	}
	ret := uint32(unix.SECCOMP_RET_ALLOW)
	for i := len(t.seccomp.filters) - 1; i >= 0; i-- {
		r := t.seccomp.filters[i].program.RunNative(data[:])
		// As signed numbers the actions are ordered by strictness.
		if int32(r&unix.SECCOMP_RET_ACTION_FULL) < int32(ret&unix.SECCOMP_RET_ACTION_FULL) {
			ret = r
		}
	}
	value := ret & unix.SECCOMP_RET_DATA
	switch ret & unix.SECCOMP_RET_ACTION_FULL {
	case unix.SECCOMP_RET_ALLOW, unix.SECCOMP_RET_LOG:
		return false
	case unix.SECCOMP_RET_ERRNO:
		t.arch.SetReturn(-uintptr(min(value, 4095)))
	case unix.SECCOMP_RET_TRAP:
		info := arch.SignalInfo{Signo: int32(unix.SIGSYS), Code: arch.SysSeccomp, Errno: int32(value)}
		info.SetCallAddr(uint64(t.arch.IP()))
		info.SetSyscall(int32(nr))
		info.SetArch(unix.AUDIT_ARCH_X86_64)
		// The handler sees the number in RAX, as if the call had not begun.
		t.arch.SetReturn(nr)
		t.forceSignal(&info)
	case unix.SECCOMP_RET_TRACE:
		if retraced {
			return false
		}
		if t.ptraceSeccomp(value) {
			if int32(t.arch.Regs.OrigRax) < 0 || t.Killed() {
				return true
			}
			*call = t.arch.SyscallNo()
			return t.runFilters(call, true)
		}
		t.arch.SetReturn(errnoResult(unix.ENOSYS))
	case unix.SECCOMP_RET_KILL_THREAD:
		if len(t.tg.cpuTasks()) > 1 {
			t.ExitThread(uint32(unix.SIGSYS))
			break
		}
		t.ExitGroup(uint32(unix.SIGSYS) | 0x80)
	case unix.SECCOMP_RET_USER_NOTIF:
		t.arch.SetReturn(errnoResult(unix.ENOSYS))
	default:
		t.ExitGroup(uint32(unix.SIGSYS) | 0x80)
	}
	return true
}
