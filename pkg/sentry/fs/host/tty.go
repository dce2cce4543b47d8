package host

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
)

// Ioctl implements vfs.File. Of terminals, settings and window size reach the host. Sessions
// and process groups do not: the host's terminal controls none of the sandbox's, and says
// ENOTTY to who asks.
func (f *file) Ioctl(_ context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	if !f.i.terminal {
		return 0, unix.ENOTTY
	}
	addr := uintptr(arg)
	switch request {
	case unix.TCGETS:
		// The kernel's struct termios is shorter than x/sys's, which has room for speeds.
		var t unix.Termios
		if err := f.ioctl(unix.TCGETS, unsafe.Pointer(&t)); err != nil {
			return 0, err
		}
		_, err := io.CopyOut(addr, bytes(unsafe.Pointer(&t), sizeofKernelTermios))
		return 0, err
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF:
		if !f.i.ttyAllowed {
			return 0, unix.EPERM
		}
		var t unix.Termios
		if _, err := io.CopyIn(addr, bytes(unsafe.Pointer(&t), sizeofKernelTermios)); err != nil {
			return 0, err
		}
		return 0, f.ioctl(uintptr(request), unsafe.Pointer(&t))
	case unix.TIOCGWINSZ:
		var w unix.Winsize
		if err := f.ioctl(unix.TIOCGWINSZ, unsafe.Pointer(&w)); err != nil {
			return 0, err
		}
		_, err := io.CopyOut(addr, bytes(unsafe.Pointer(&w), unsafe.Sizeof(w)))
		return 0, err
	case unix.TIOCSWINSZ:
		if !f.i.ttyAllowed {
			return 0, unix.EPERM
		}
		var w unix.Winsize
		if _, err := io.CopyIn(addr, bytes(unsafe.Pointer(&w), unsafe.Sizeof(w))); err != nil {
			return 0, err
		}
		return 0, f.ioctl(unix.TIOCSWINSZ, unsafe.Pointer(&w))
	}
	return 0, unix.ENOTTY
}

// sizeofKernelTermios is what TCGETS moves: four flag words, the line discipline, 19
// control characters.
const sizeofKernelTermios = 36

func bytes(p unsafe.Pointer, n uintptr) []byte { return unsafe.Slice((*byte)(p), n) }

func (f *file) ioctl(request uintptr, arg unsafe.Pointer) error {
	for {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(f.i.fd.Num()), request, uintptr(arg))
		switch errno {
		case 0:
			return nil
		case unix.EINTR:
			continue
		}
		return errno
	}
}
