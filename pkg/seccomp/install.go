package seccomp

import (
	"fmt"
	"runtime"
	"unsafe"

	"runsc/pkg/bpf"

	"golang.org/x/sys/unix"
)

// Install sets no_new_privs and puts the filter on every thread of the process. There is
// no way back. It fails if a thread already has a filter of its own that others have not.
func Install(prog []bpf.Instruction) error {
	if _, err := bpf.CompileSeccomp(prog, SizeofData); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	// Both calls must come from one thread: seccomp(2) wants the caller's no_new_privs
	// and passes it on to the other threads with the filter.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("seccomp: setting no_new_privs: %w", err)
	}
	f := unix.SockFprog{Len: uint16(len(prog)), Filter: (*unix.SockFilter)(unsafe.Pointer(unsafe.SliceData(prog)))}
	tid, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&f)))
	runtime.KeepAlive(prog)
	if errno != 0 {
		return fmt.Errorf("seccomp: installing a filter of %d instructions: %w", len(prog), errno)
	}
	if tid != 0 {
		return fmt.Errorf("seccomp: thread %d has another filter already", tid)
	}
	return nil
}

// InstallRules builds and installs the usual filter of a Go process: dangerous calls and
// SIGSYS's handler kill at once unless allow names them, the calls of allow are allowed,
// those of more get its actions, any other one ends the process with its name (see the
// package comment).
func InstallRules(allow Rules, more ...RuleSet) error {
	sets := []RuleSet{{trapRules(), KillProcess}, {allow, Allow}}
	sets = append(sets, more...)
	sets = append(sets, RuleSet{DangerousRules(), KillProcess}, RuleSet{probeRules(), Errno(unix.ENOSYS)})
	prog, err := Build(sets, Trap)
	if err != nil {
		return err
	}
	return Install(prog)
}
