package p9

import (
	"encoding/binary"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxFDs is how many descriptors one recvmsg may bring; the kernel drops the rest. A
// message of this protocol carries one.
const maxFDs = 4

// lostFD stands for a descriptor that was sent, but could not be received.
const lostFD = -2

// socket is a connected stream socket in blocking mode. The system calls are made directly:
// Go's poller would cost two goroutine switches a message, and the message headers live in
// the struct so that nothing is allocated. At most one goroutine may be in send and one in
// recv at a time.
type socket struct {
	fd int

	sendHdr unix.Msghdr
	sendIov unix.Iovec
	sendOOB [24]byte // one cmsghdr and one descriptor, padded

	recvHdr unix.Msghdr
	recvIov unix.Iovec
	recvOOB [16 + 4*maxFDs]byte
}

// send writes all of b, with the descriptor donate (unless it is negative) beside its first
// byte. It never blocks in sendmsg, whose blocking form the sentry's filter does not allow,
// but in ppoll. After an error the stream is broken.
func (s *socket) send(b []byte, donate int) error {
	for len(b) > 0 {
		s.sendIov.Base = &b[0]
		s.sendIov.SetLen(len(b))
		s.sendHdr.Iov = &s.sendIov
		s.sendHdr.SetIovlen(1)
		s.sendHdr.Control = nil
		s.sendHdr.SetControllen(0)
		if donate >= 0 {
			h := (*unix.Cmsghdr)(unsafe.Pointer(&s.sendOOB[0]))
			h.Level = unix.SOL_SOCKET
			h.Type = unix.SCM_RIGHTS
			h.SetLen(unix.CmsgLen(4))
			binary.NativeEndian.PutUint32(s.sendOOB[unix.CmsgLen(0):], uint32(donate))
			s.sendHdr.Control = &s.sendOOB[0]
			s.sendHdr.SetControllen(unix.CmsgSpace(4))
		}
		n, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(s.fd),
			uintptr(unsafe.Pointer(&s.sendHdr)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		switch errno {
		case 0:
			b = b[n:]
			donate = -1
		case unix.EINTR:
		case unix.EAGAIN:
			if err := s.waitWritable(); err != nil {
				return err
			}
		case unix.ETOOMANYREFS, unix.ENOBUFS, unix.ENOMEM:
			// Too many descriptors in flight, or no memory: both pass.
			runtime.Gosched()
			if err := s.waitWritable(); err != nil {
				return err
			}
		default:
			return errno
		}
	}
	s.sendIov.Base = nil
	return nil
}

func (s *socket) waitWritable() error {
	p := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLOUT}}
	for {
		_, err := unix.Ppoll(p, nil, nil)
		if err == nil && p[0].Revents&(unix.POLLERR|unix.POLLHUP|unix.POLLNVAL) != 0 {
			return unix.EPIPE
		}
		if err != unix.EINTR {
			return err
		}
	}
}

// recv reads at least one byte and returns how many, and the descriptors that came along,
// in an array that the next recv overwrites. No bytes and no error mean end of file. A
// descriptor for which this process has no room is lost, and lostFD in its place.
func (s *socket) recv(b []byte, fds *[maxFDs]int32) (n, nfds int, err error) {
	for {
		s.recvIov.Base = &b[0]
		s.recvIov.SetLen(len(b))
		s.recvHdr.Iov = &s.recvIov
		s.recvHdr.SetIovlen(1)
		s.recvHdr.Control = &s.recvOOB[0]
		s.recvHdr.SetControllen(len(s.recvOOB))
		r, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(s.fd),
			uintptr(unsafe.Pointer(&s.recvHdr)), unix.MSG_CMSG_CLOEXEC)
		if errno == unix.EINTR {
			continue
		}
		s.recvIov.Base = nil
		if errno != 0 {
			return 0, 0, errno
		}
		n = int(r)
		break
	}
	oob := s.recvOOB[:min(int(s.recvHdr.Controllen), len(s.recvOOB))]
	if len(oob) <= unix.CmsgLen(0) {
		return n, s.lost(fds, 0), nil
	}
	// The kernel writes this header, so its length can be believed once it is bounded; the
	// buffer has room for one.
	h := (*unix.Cmsghdr)(unsafe.Pointer(&oob[0]))
	if h.Level != unix.SOL_SOCKET || h.Type != unix.SCM_RIGHTS {
		return n, 0, nil
	}
	data := oob[unix.CmsgLen(0):min(int(h.Len), len(oob))]
	for len(data) >= 4 && nfds < maxFDs {
		fds[nfds] = int32(binary.NativeEndian.Uint32(data))
		nfds++
		data = data[4:]
	}
	return n, s.lost(fds, nfds), nil
}

// lost adds lostFD to the nfds descriptors that recv received, if more were sent.
func (s *socket) lost(fds *[maxFDs]int32, nfds int) int {
	if s.recvHdr.Flags&unix.MSG_CTRUNC != 0 && nfds < maxFDs {
		fds[nfds] = lostFD
		nfds++
	}
	return nfds
}

// read reads at least one byte and refuses descriptors: read(2) closes any that came.
func (s *socket) read(b []byte) (int, error) {
	for {
		n, err := unix.Read(s.fd, b)
		if err != unix.EINTR {
			return n, err
		}
	}
}

// shutdown ends both directions: it wakes whoever is in send or recv.
func (s *socket) shutdown() { unix.Shutdown(s.fd, unix.SHUT_RDWR) }
