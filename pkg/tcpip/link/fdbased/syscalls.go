package fdbased

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Syscall is a system call that an Endpoint makes while it runs.
type Syscall struct {
	Number uintptr
	// Flags are all flags that the call is made with, in argument FlagsArg (from 0); -1: it
	// has none.
	Flags    uint64
	FlagsArg int
}

// Syscalls lists what an Endpoint asks of the host once New has made it, besides what Go's
// run-time and its poller do. All calls but ppoll(2) have the descriptor that New was given as
// their first argument. (New sets the descriptor's O_NONBLOCK with fcntl(2), and adds it to
// an epoll instance that it makes for the poller.)
func Syscalls(k Kind) []Syscall {
	calls := []Syscall{
		{unix.SYS_PPOLL, 0, -1},
		{unix.SYS_CLOSE, 0, -1},
	}
	if k == KindPacket {
		return append(calls,
			Syscall{unix.SYS_RECVMMSG, unix.MSG_DONTWAIT, 3},
			Syscall{unix.SYS_SENDMMSG, unix.MSG_DONTWAIT, 3})
	}
	return append(calls, Syscall{unix.SYS_READV, 0, -1}, Syscall{unix.SYS_WRITEV, 0, -1})
}

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32
	_   uint32
}

func recvmmsg(fd int, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func sendmmsg(fd int, msgs []mmsghdr) (int, unix.Errno) {
	n, _, errno := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])), uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), errno
}

func readv(fd int, iov []unix.Iovec) (int, unix.Errno) {
	n, _, errno := unix.Syscall(unix.SYS_READV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	return int(n), errno
}

func writev(fd int, iov []unix.Iovec) (int, unix.Errno) {
	n, _, errno := unix.Syscall(unix.SYS_WRITEV, uintptr(fd), uintptr(unsafe.Pointer(&iov[0])), uintptr(len(iov)))
	return int(n), errno
}

// ppoll waits without a signal mask. EINTR counts as nothing ready: whoever waits looks again.
func ppoll(fds []unix.PollFd, timeout *unix.Timespec) {
	unix.Syscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&fds[0])), uintptr(len(fds)), uintptr(unsafe.Pointer(timeout)), 0, 0, 0)
}
