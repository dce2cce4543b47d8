package gofer

import (
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxIovecs is IOV_MAX.
const maxIovecs = 1024

// hostIO moves bytes between a host descriptor and blocks of application memory, in place.
// It implements usermem.BlockReader and BlockWriter.
type hostIO struct {
	fd     int
	offset int64
	flags  int // RWF_*
	iovs   []unix.Iovec
}

var hostIOPool = sync.Pool{New: func() any { return &hostIO{iovs: make([]unix.Iovec, 0, 16)} }}

func newHostIO(fd int, offset int64, flags int) *hostIO {
	io := hostIOPool.Get().(*hostIO)
	io.fd, io.offset, io.flags = fd, offset, flags
	return io
}

func (io *hostIO) free() {
	clear(io.iovs)
	io.iovs = io.iovs[:0]
	hostIOPool.Put(io)
}

// ReadToBlocks implements usermem.BlockReader.
func (io *hostIO) ReadToBlocks(dsts [][]byte) (int, error) { return io.move(unix.SYS_PREADV2, dsts) }

// WriteFromBlocks implements usermem.BlockWriter.
func (io *hostIO) WriteFromBlocks(srcs [][]byte) (int, error) {
	return io.move(unix.SYS_PWRITEV2, srcs)
}

// move makes the system calls that it takes; one, as a rule.
func (io *hostIO) move(trap uintptr, blocks [][]byte) (int, error) {
	total := 0
	for len(blocks) > 0 {
		io.iovs = io.iovs[:0]
		want := 0
		for len(blocks) > 0 && len(io.iovs) < maxIovecs {
			if b := blocks[0]; len(b) > 0 {
				v := unix.Iovec{Base: unsafe.SliceData(b)}
				v.SetLen(len(b))
				io.iovs = append(io.iovs, v)
				want += len(b)
			}
			blocks = blocks[1:]
		}
		if want == 0 {
			break
		}
		n, err := io.call(trap)
		total += n
		io.offset += int64(n)
		if err != nil || n < want {
			return total, err
		}
	}
	return total, nil
}

func (io *hostIO) call(trap uintptr) (int, error) {
	for {
		n, _, errno := unix.Syscall6(trap, uintptr(io.fd), uintptr(unsafe.Pointer(unsafe.SliceData(io.iovs))),
			uintptr(len(io.iovs)), uintptr(io.offset), 0, uintptr(io.flags))
		switch errno {
		case 0:
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}
