package filter

import (
	"os"

	"golang.org/x/sys/unix"

	"runsc/pkg/seccomp"
)

// Shorter names for the tables.
type (
	rules = seccomp.Rules
	rule  = seccomp.Rule
	equal = seccomp.EqualTo
)

// among is a rule for each value of argument number arg.
func among(arg int, values ...uint64) []rule {
	rs := make([]rule, len(values))
	for i, v := range values {
		rs[i][arg] = equal(v)
	}
	return rs
}

// without matches an argument that has none of bits set. The kernel takes flags and
// protections as 32 bits or more, so all are looked at.
func without(bits uint64) seccomp.Matcher { return seccomp.MaskedEqual(bits, 0) }

// only matches an int that has no bits but bits set; its upper half may be anything.
func only(bits uint32) seccomp.Matcher { return seccomp.MaskedEqual(uint64(^bits), 0) }

// goThread are the flags of clone(2) with which Go makes threads; newer versions add
// CLONE_SETTLS.
const goThread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD

// Not in package unix.
const (
	prSetVMA         = 0x53564d41
	prSetVMAAnonName = 0
	futexWaitPrivate = 128
	futexWakePrivate = 129
)

// cgoRules are what the C library needs beyond that, in a binary that is linked with it.
// cgoRefused are calls that fail with EACCES for its sake.
var (
	cgoRules   = func() rules { return nil }
	cgoRefused rules
)

// goRuntimeRules are what Go's run-time needs to live, and to die with words.
func goRuntimeRules() rules {
	self := equal(os.Getpid())
	return rules{
		// Memory.
		unix.SYS_MMAP:     {{nil, nil, without(unix.PROT_EXEC)}},
		unix.SYS_MPROTECT: {{nil, nil, without(unix.PROT_EXEC)}},
		unix.SYS_MUNMAP:   nil,
		unix.SYS_MADVISE:  nil,
		unix.SYS_MINCORE:  nil,
		unix.SYS_PRCTL:    {{equal(prSetVMA), equal(prSetVMAAnonName)}}, // names of heap mappings

		// Threads and the scheduler.
		unix.SYS_CLONE: {{equal(goThread)}, {equal(goThread | unix.CLONE_SETTLS)}},
		unix.SYS_FUTEX: {
			{nil, equal(futexWaitPrivate)},
			{nil, equal(futexWakePrivate)},
		},
		unix.SYS_GETPID:            nil,
		unix.SYS_GETTID:            nil,
		unix.SYS_SCHED_YIELD:       nil,
		unix.SYS_SCHED_GETAFFINITY: nil,
		unix.SYS_NANOSLEEP:         nil,
		unix.SYS_RESTART_SYSCALL:   nil,
		unix.SYS_CLOCK_GETTIME:     nil,
		unix.SYS_GETTIMEOFDAY:      nil,
		unix.SYS_EXIT:              nil,
		unix.SYS_EXIT_GROUP:        nil,
		unix.SYS_GETRANDOM:         nil,

		// Signals.
		unix.SYS_RT_SIGACTION:   nil, // but for SIGSYS, see package seccomp
		unix.SYS_RT_SIGPROCMASK: nil,
		unix.SYS_RT_SIGRETURN:   nil,
		unix.SYS_SIGALTSTACK:    nil,
		unix.SYS_TGKILL:         {{self}},

		// The network poller, which also serves files that can be polled.
		unix.SYS_EPOLL_CREATE1: nil,
		unix.SYS_EPOLL_CTL:     nil,
		unix.SYS_EPOLL_PWAIT:   nil,
		unix.SYS_EPOLL_PWAIT2:  nil,
		unix.SYS_EVENTFD2:      nil,
	}
}
