//go:build cgo

package filter

import "golang.org/x/sys/unix"

// A binary that was linked with the C library, as `go build` does on a machine with a C
// compiler, makes its threads through it.
func init() {
	cgoRules = libcThreadRules
	// Its allocator wants to count the CPUs when threads meet.
	cgoRefused = rules{unix.SYS_OPENAT: nil}
}

// libcThread are the flags of clone(2) with which the C library makes threads.
const libcThread = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM |
	unix.CLONE_SETTLS | unix.CLONE_PARENT_SETTID | unix.CLONE_CHILD_CLEARTID

func libcThreadRules() rules {
	return rules{
		unix.SYS_CLONE:           {{equal(libcThread)}},
		unix.SYS_SET_ROBUST_LIST: nil,
		unix.SYS_RSEQ:            nil,
		unix.SYS_MREMAP:          nil,
		unix.SYS_BRK:             nil,
	}
}
