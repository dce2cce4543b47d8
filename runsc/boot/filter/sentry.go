package filter

import "golang.org/x/sys/unix"

// Flags of messages that the sentry sends and receives.
const (
	sendFlags    = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL | unix.MSG_MORE
	receiveFlags = unix.MSG_DONTWAIT | unix.MSG_CMSG_CLOEXEC | unix.MSG_PEEK | unix.MSG_TRUNC | unix.MSG_WAITALL | unix.MSG_WAITFORONE
)

// sentryRules are what the sentry does with the descriptors that it was given or that the
// gofer donates.
func sentryRules() rules {
	return rules{
		// Files by descriptor.
		unix.SYS_READ:            nil,
		unix.SYS_WRITE:           nil,
		unix.SYS_PREAD64:         nil,
		unix.SYS_PWRITE64:        nil,
		unix.SYS_READV:           nil,
		unix.SYS_WRITEV:          nil,
		unix.SYS_PREADV:          nil,
		unix.SYS_PWRITEV:         nil,
		unix.SYS_PREADV2:         nil,
		unix.SYS_PWRITEV2:        nil,
		unix.SYS_LSEEK:           nil,
		unix.SYS_FSTAT:           nil,
		unix.SYS_FSTATFS:         nil,
		unix.SYS_FSYNC:           nil,
		unix.SYS_FDATASYNC:       nil,
		unix.SYS_FTRUNCATE:       nil,
		unix.SYS_FALLOCATE:       nil,
		unix.SYS_FADVISE64:       nil,
		unix.SYS_SYNC_FILE_RANGE: nil,
		unix.SYS_CLOSE:           nil,
		unix.SYS_DUP:             nil,
		unix.SYS_FCNTL:           among(1, unix.F_GETFL, unix.F_SETFL, unix.F_GETFD, unix.F_DUPFD_CLOEXEC, unix.F_ADD_SEALS, unix.F_GET_SEALS),
		unix.SYS_MEMFD_CREATE:    nil,
		unix.SYS_MSYNC:           nil,

		// The barrier of membarrier(2): what the host offers, and the one for all.
		unix.SYS_MEMBARRIER: among(0, 0, 1),

		// Waiting. Words of application memory that other processes of the host see do
		// not exist: all futexes are private (goRuntimeRules).
		unix.SYS_PPOLL: nil,
		unix.SYS_POLL:  nil,

		// Sockets: the gofer, the control connection, host sockets that were donated, packets.
		unix.SYS_SENDMSG:     {{nil, nil, only(sendFlags)}},
		unix.SYS_SENDMMSG:    {{nil, nil, nil, only(sendFlags)}},
		unix.SYS_RECVMSG:     {{nil, nil, only(receiveFlags)}},
		unix.SYS_RECVMMSG:    {{nil, nil, nil, only(receiveFlags)}},
		unix.SYS_SENDTO:      {{nil, nil, nil, only(sendFlags), equal(0), equal(0)}}, // no address
		unix.SYS_RECVFROM:    {{nil, nil, nil, only(receiveFlags)}},
		unix.SYS_SHUTDOWN:    nil,
		unix.SYS_GETSOCKNAME: nil, // net.FileConn asks
		unix.SYS_GETPEERNAME: nil,
		unix.SYS_GETSOCKOPT:  socketOptions(unix.SO_PEERCRED, unix.SO_ERROR, unix.SO_TYPE, unix.SO_DOMAIN, unix.SO_SNDBUF, unix.SO_RCVBUF),
		unix.SYS_SETSOCKOPT:  socketOptions(unix.SO_SNDTIMEO, unix.SO_RCVTIMEO),

		// Terminals.
		unix.SYS_IOCTL: among(1, unix.TCGETS, unix.TCSETS, unix.TCSETSW, unix.TCSETSF, unix.TIOCGWINSZ, unix.TIOCSWINSZ),
	}
}

// socketOptions are rules for options of level SOL_SOCKET.
func socketOptions(names ...uint64) []rule {
	rs := among(2, names...)
	for i := range rs {
		rs[i][1] = equal(unix.SOL_SOCKET)
	}
	return rs
}
