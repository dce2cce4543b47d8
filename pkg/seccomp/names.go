package seccomp

import "runsc/pkg/abi/linux"

// SyscallName is the name of a system call, or "#nr" if there is none of that number.
func SyscallName(nr uintptr) string { return linux.SyscallName(nr) }
