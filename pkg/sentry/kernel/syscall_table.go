package kernel

import (
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/strace"
)

// MaxSyscall is one more than the highest system call number that the table can hold.
const MaxSyscall = 512

// SyscallFn carries out a system call for t. It returns the value for RAX, or an error that
// holds a unix.Errno or one of the restart results of pkg/abi/linux. The value counts only
// if the error is nil.
type SyscallFn func(t *Task, a arch.Args) (uintptr, error)

// Support says how much of a system call works.
type Support uint8

// The levels of support.
const (
	// Full: as the manual page says.
	Full Support = iota
	// Partial: what the note leaves out returns a clear error.
	Partial
	// Recorded: accepted and reported back, without further effect; the note says so.
	Recorded
	// Unimplemented: always the error of the note (ENOSYS if none).
	Unimplemented
)

// Syscall is one row of the table.
type Syscall struct {
	Number  uintptr
	Name    string
	Fn      SyscallFn
	Args    []strace.Format
	Support Support
	Note    string
}

// SyscallTable is what the run loop dispatches by, indexed by number. It is immutable.
type SyscallTable [MaxSyscall]Syscall

// SyscallTracer is told of every system call while --strace is on.
type SyscallTracer interface {
	Enter(t *Task, s *Syscall, a arch.Args)
	Exit(t *Task, s *Syscall, a arch.Args, ret uintptr, err error, nanoseconds int64)
}
