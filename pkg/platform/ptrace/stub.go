package ptrace

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/seccomp"
)

// The stub's place in every stub process: above everything that applications can map, and
// below the end of what Linux lets user code have (1<<47 - one page).
const (
	stubBase   = 0x7fff_fffe_0000
	stubSize   = 0x1000
	ordersBase = stubBase + stubSize
	ordersSize = 0x4000
	stubEnd    = ordersBase + ordersSize
	addressEnd = 1<<47 - 0x1000
)

// Parts of the stub, see stub_amd64.s.
const (
	stubSyscall  = stubBase
	stubClone    = stubBase + 32
	stubOrders   = stubBase + 64
	stubPopFlags = stubBase + 128
	stubNoID     = stubPopFlags + 8
	stubWithID   = stubNoID + 8
	stubCodeSize = 160
)

// stub is code, never called in this process.
func stub()

func stubAddress() uintptr
func forkZygote(flags uintptr) (pid uintptr)

// stubCode is the machine code of the stub.
func stubCode() []byte {
	a := stubAddress()
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&a)), stubCodeSize)
}

const (
	threadFlags  = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM
	processFlags = unix.CLONE_FILES | unix.CLONE_PARENT | unix.CLONE_PTRACE | uintptr(unix.SIGCHLD)
)

// stubFilter allows what the sentry makes stub processes do, and nothing else. Under
// PTRACE_SYSEMU the application's own calls never get as far as this filter, except those
// through the vsyscall page, which are trapped.
func stubFilter() ([]seccomp.RuleSet, seccomp.Action) {
	any := seccomp.Matcher(nil)
	allow := seccomp.Rules{
		unix.SYS_MMAP: {
			{any, any, seccomp.LessThanOrEqual(7), seccomp.MaskedEqual(^uint64(unix.MAP_POPULATE), unix.MAP_SHARED|unix.MAP_FIXED)},
		},
		unix.SYS_MUNMAP:   nil,
		unix.SYS_MPROTECT: {{any, any, seccomp.LessThanOrEqual(7)}},
		unix.SYS_CLONE: {
			{seccomp.EqualTo(threadFlags), seccomp.EqualTo(0)},
			{seccomp.EqualTo(processFlags), seccomp.EqualTo(0)},
		},
		unix.SYS_PAUSE: nil,
		unix.SYS_EXIT:  nil,
	}
	vsyscalls := seccomp.Rules{unix.SYS_GETTIMEOFDAY: nil, unix.SYS_TIME: nil, unix.SYS_GETCPU: nil}
	return []seccomp.RuleSet{{Rules: allow, Action: seccomp.Allow}, {Rules: vsyscalls, Action: seccomp.Trap}}, seccomp.KillProcess
}
