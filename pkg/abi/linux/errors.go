// Package linux holds numbers and fixed-layout structures of the Linux ABI that
// golang.org/x/sys/unix lacks, and nothing else: no behaviour but encoding.
//
// Structures are plain Go structs without pointers whose layout is the C compiler's, so
// that they can be copied to and from application memory as bytes. One file per area of
// the ABI. Sources: the manual pages and the uapi headers (linux-libc-dev).
package linux

// restartErrno is a result that never reaches an application: when a system call was
// interrupted by a signal, it tells the signal delivery what to do with the call
// (signal(7), "Interruption of system calls and library functions by signal handlers").
type restartErrno int

func (e restartErrno) Error() string { return restartNames[e] }

var restartNames = map[restartErrno]string{
	512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 516: "ERESTART_RESTARTBLOCK",
}

// Results of interrupted system calls, with the kernel's own numbers. They are variables
// of type error so that returning one does not allocate; compare with ==.
var (
	// ERESTARTSYS: restart if no handler runs or the handler has SA_RESTART, else EINTR.
	ERESTARTSYS error = restartErrno(512)
	// ERESTARTNOINTR: restart always.
	ERESTARTNOINTR error = restartErrno(513)
	// ERESTARTNOHAND: restart if no handler runs, else EINTR whatever SA_RESTART says.
	ERESTARTNOHAND error = restartErrno(514)
	// ERESTART_RESTARTBLOCK: as ERESTARTNOHAND, but by restart_syscall(2), with the
	// remaining time that the task's restart block holds.
	ERESTART_RESTARTBLOCK error = restartErrno(516)
)

// IsRestart says whether err is one of the results above.
func IsRestart(err error) bool {
	_, ok := err.(restartErrno)
	return ok
}

// RestartNumber is the number of a restart result, which a tracer sees negated in the
// register of the result.
func RestartNumber(err error) int {
	e, _ := err.(restartErrno)
	return int(e)
}

// RestartFromNumber is the restart result with number n, or nil.
func RestartFromNumber(n int) error {
	switch n {
	case 512:
		return ERESTARTSYS
	case 513:
		return ERESTARTNOINTR
	case 514:
		return ERESTARTNOHAND
	case 516:
		return ERESTART_RESTARTBLOCK
	}
	return nil
}
