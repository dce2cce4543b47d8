package seccomp

import (
	"bytes"
	"fmt"
	"strconv"

	"golang.org/x/sys/unix"
)

// DangerousRules are the calls that kill the process at once when they are not allowed:
// those that would lead out of the sandbox or widen what it sees of the host.
func DangerousRules() Rules {
	r := Rules{}
	for _, nr := range []uintptr{
		unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_FORK, unix.SYS_VFORK,
		unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PIDFD_GETFD, unix.SYS_KCMP,
		unix.SYS_OPEN, unix.SYS_OPENAT, unix.SYS_OPENAT2, unix.SYS_CREAT, unix.SYS_OPEN_BY_HANDLE_AT,
		unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND,
		unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSMOUNT,
		unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_SETNS, unix.SYS_UNSHARE,
		unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_KEYCTL,
		unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_KEXEC_LOAD,
		unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID,
		unix.SYS_CAPSET, unix.SYS_PERSONALITY, unix.SYS_MODIFY_LDT, unix.SYS_IOPL, unix.SYS_IOPERM,
	} {
		r[nr] = nil
	}
	return r
}

// probeRules are calls that libraries try first and do without if they fail with ENOSYS.
// clone3(2) has its flags behind a pointer, where a filter cannot look.
func probeRules() Rules { return Rules{unix.SYS_CLONE3: nil} }

// trapRules protect the reaction to Trap: no call may touch the handler of SIGSYS.
func trapRules() Rules {
	return Rules{unix.SYS_RT_SIGACTION: {{Int32(int32(unix.SIGSYS))}}}
}

// Describe looks in the last words of a Go process (what it wrote to standard error or to
// its crash output) for a filter violation, and returns one line that names the call, like
// "system call filter: socket is not allowed", or "" if there was none.
func Describe(lastWords []byte) string {
	_, rest, found := bytes.Cut(lastWords, []byte("SIGSYS: bad system call"))
	if !found {
		return ""
	}
	// Go prints the registers as "rax    0x29"; the kernel leaves the call's number there.
	for line := range bytes.Lines(rest) {
		f := bytes.Fields(line)
		if len(f) == 2 && string(f[0]) == "rax" {
			if nr, err := strconv.ParseUint(string(f[1]), 0, 64); err == nil {
				return fmt.Sprintf("system call filter: %s is not allowed", SyscallName(uintptr(nr)))
			}
		}
	}
	return "system call filter: a call is not allowed"
}

// DescribeStatus is the same for a process that left no words: it tells a death by filter
// from others.
func DescribeStatus(ws unix.WaitStatus) string {
	if ws.Signaled() && ws.Signal() == unix.SIGSYS {
		return "system call filter: killed for a dangerous call (its number is in the host's audit log)"
	}
	return ""
}
