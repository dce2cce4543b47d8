package filter

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/seccomp"
	"runsc/pkg/sentry/socket/hostinet"
)

// controlRules are what the control server does with its listening socket.
func controlRules(fd int) rules {
	return rules{
		unix.SYS_LISTEN:  {{equal(fd)}},
		unix.SYS_ACCEPT:  {{equal(fd)}},
		unix.SYS_ACCEPT4: {{equal(fd)}},
	}
}

// hostNetworkRules are what sockets of the host need: those that package hostinet makes, with the
// options and flags that it passes on. Still there are no packet sockets, no raw ones, no unix
// sockets, and no other netlink than that of routes.
func hostNetworkRules() rules {
	r := rules{
		unix.SYS_CONNECT: nil,
		unix.SYS_BIND:    nil,
		unix.SYS_LISTEN:  nil,
		unix.SYS_ACCEPT4: {{nil, nil, nil, only(unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC)}},
		unix.SYS_SENDMSG: {{nil, nil, only(sendFlags | hostinet.SendFlags)}},
		unix.SYS_RECVMSG: {{nil, nil, only(receiveFlags | hostinet.ReceiveFlags)}},
		unix.SYS_IOCTL:   among(1, hostinet.IntRequests...),
	}
	for _, k := range hostinet.SocketKinds {
		// The type comes with SOCK_NONBLOCK or SOCK_CLOEXEC in its upper bits.
		r[unix.SYS_SOCKET] = append(r[unix.SYS_SOCKET], rule{
			equal(k.Family), seccomp.MaskedEqual(^uint64(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC), uint64(k.Type)), equal(k.Protocol)})
	}
	for _, o := range hostinet.OptionList {
		match := rule{nil, equal(o.Level), equal(o.Name)}
		if o.Get {
			r[unix.SYS_GETSOCKOPT] = append(r[unix.SYS_GETSOCKOPT], match)
		}
		if o.Set {
			r[unix.SYS_SETSOCKOPT] = append(r[unix.SYS_SETSOCKOPT], match)
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
