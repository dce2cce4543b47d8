package hostinet

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// The system calls of the host that package unix does not offer in this form: by bytes, without
// allocation, and without waiting. All descriptors are nonblocking.

func errno(e unix.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// first is the address of b's first byte, or nil.
func first(b []byte) unsafe.Pointer {
	if len(b) == 0 {
		return nil
	}
	return unsafe.Pointer(&b[0])
}

// call repeats a system call that a signal interrupts.
func call(nr, a, b, c, d, e, f uintptr) (uintptr, error) {
	for {
		r, _, en := unix.Syscall6(nr, a, b, c, d, e, f)
		if en != unix.EINTR {
			return r, errno(en)
		}
	}
}

func getsockopt(fd, level, name int, buf []byte) (int, error) {
	var none [1]byte
	p := first(buf)
	if p == nil {
		p = unsafe.Pointer(&none[0])
	}
	n := uint32(len(buf))
	_, err := call(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(p), uintptr(unsafe.Pointer(&n)), 0)
	return int(n), err
}

func setsockopt(fd, level, name int, val []byte) error {
	_, err := call(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(name), uintptr(first(val)), uintptr(len(val)), 0)
	return err
}

func bind(fd int, addr []byte) error {
	_, err := call(unix.SYS_BIND, uintptr(fd), uintptr(first(addr)), uintptr(len(addr)), 0, 0, 0)
	return err
}

func connect(fd int, addr []byte) error {
	_, err := call(unix.SYS_CONNECT, uintptr(fd), uintptr(first(addr)), uintptr(len(addr)), 0, 0, 0)
	return err
}

// name is getsockname(2) or getpeername(2), by number; buf is large enough for all addresses.
func name(nr uintptr, fd int, buf []byte) ([]byte, error) {
	n := uint32(len(buf))
	_, err := call(nr, uintptr(fd), uintptr(first(buf)), uintptr(unsafe.Pointer(&n)), 0, 0, 0)
	return buf[:min(int(n), len(buf))], err
}

// accept returns a nonblocking descriptor.
func accept(fd int, buf []byte) (int, []byte, error) {
	n := uint32(len(buf))
	r, err := call(unix.SYS_ACCEPT4, uintptr(fd), uintptr(first(buf)), uintptr(unsafe.Pointer(&n)), unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if err != nil {
		return -1, nil, err
	}
	return int(r), buf[:min(int(n), len(buf))], nil
}

// message is what sendmsg(2) and recvmsg(2) work with; it belongs to one call at a time.
type message struct {
	hdr     unix.Msghdr
	iov     unix.Iovec
	data    [maxChunk]byte
	addr    [128]byte
	control [maxControl]byte
}

const (
	// maxChunk is how much is moved by one call of the host, and the longest datagram.
	maxChunk = 64 << 10
	// maxControl bounds control data, in bytes.
	maxControl = 1024
)

// send sends the first n bytes of data to addr, if that is not empty.
func (m *message) send(fd, n int, addr, control []byte, flags uint32) (int, error) {
	m.iov = unix.Iovec{Base: &m.data[0], Len: uint64(n)}
	m.hdr = unix.Msghdr{Iov: &m.iov, Iovlen: 1}
	if len(addr) > 0 {
		m.hdr.Name, m.hdr.Namelen = &addr[0], uint32(len(addr))
	}
	if len(control) > 0 {
		m.hdr.Control, m.hdr.Controllen = &control[0], uint64(len(control))
	}
	r, err := call(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr)), uintptr(flags|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL), 0, 0, 0)
	return int(r), err
}

// receive fills data with up to n bytes.
func (m *message) receive(fd, n int, flags uint32) (int, error) {
	m.iov = unix.Iovec{Base: &m.data[0], Len: uint64(n)}
	m.hdr = unix.Msghdr{
		Iov: &m.iov, Iovlen: 1, Name: &m.addr[0], Namelen: uint32(len(m.addr)),
		Control: &m.control[0], Controllen: uint64(len(m.control)),
	}
	r, err := call(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m.hdr)), uintptr(flags|unix.MSG_DONTWAIT|unix.MSG_CMSG_CLOEXEC), 0, 0, 0)
	return int(r), err
}
