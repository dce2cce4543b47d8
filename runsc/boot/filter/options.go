package filter

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/seccomp"
)

// controlRules are what the control server does with its listening socket.
func controlRules(fd int) rules {
	return rules{
		unix.SYS_LISTEN:  {{equal(fd)}},
		unix.SYS_ACCEPT:  {{equal(fd)}},
		unix.SYS_ACCEPT4: {{equal(fd)}},
	}
}

// hostNetworkRules are what sockets of the host need. Still there are none but those of IP:
// no packet sockets, no netlink, no unix sockets.
func hostNetworkRules() rules {
	r := rules{
		unix.SYS_CONNECT:    nil,
		unix.SYS_BIND:       nil,
		unix.SYS_LISTEN:     nil,
		unix.SYS_ACCEPT:     nil,
		unix.SYS_ACCEPT4:    nil,
		unix.SYS_GETSOCKOPT: nil,
		unix.SYS_SETSOCKOPT: nil,
		unix.SYS_SENDTO:     nil,
		unix.SYS_RECVFROM:   nil,
		unix.SYS_SENDMSG:    nil,
		unix.SYS_RECVMSG:    nil,
		unix.SYS_SENDMMSG:   nil,
		unix.SYS_RECVMMSG:   nil,
		unix.SYS_IOCTL:      among(1, unix.TIOCINQ, unix.TIOCOUTQ),
	}
	for _, family := range []uint64{unix.AF_INET, unix.AF_INET6} {
		for _, typ := range []uint64{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			// The type comes with SOCK_NONBLOCK or SOCK_CLOEXEC in its upper bits.
			r[unix.SYS_SOCKET] = append(r[unix.SYS_SOCKET], rule{equal(family), seccomp.MaskedEqual(^uint64(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC), typ)})
		}
	}
	return r
}

// profileRules are what Go's CPU profile needs.
func profileRules() rules {
	return rules{
		unix.SYS_SETITIMER:     nil,
		unix.SYS_TIMER_CREATE:  nil,
		unix.SYS_TIMER_SETTIME: nil,
		unix.SYS_TIMER_DELETE:  nil,
	}
}
