// Package fd gives a host file descriptor an owner.
//
// A bare int says nothing about who must close it, and a descriptor that is closed twice
// closes somebody else's file. An FD owns its descriptor until Close or Release; both may be
// called any number of times and from any goroutine, and only the first call has an effect.
//
// The package knows nothing of what the descriptor refers to, starts no goroutine, and sets
// no finalizer: a descriptor that is lost is a leak that tests find (see OpenCount), not
// something the garbage collector mends at a time of its choosing.
//
// Callers that use the number while another goroutine may close the FD must bring their own
// exclusion (a reference count, a lock): the kernel reuses numbers at once.
package fd

import (
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// FD owns one host file descriptor. The zero value owns descriptor 0; use New.
type FD struct {
	n atomic.Int32 // -1 once closed or released
}

// New makes an FD that owns the descriptor n. A negative n makes a closed FD.
func New(n int) *FD {
	f := &FD{}
	f.n.Store(int32(n))
	return f
}

// Dup makes an FD that owns a close-on-exec duplicate of the descriptor n.
func Dup(n int) (*FD, error) {
	d, err := unix.FcntlInt(uintptr(n), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return New(d), nil
}

// FromFile takes the descriptor out of an os.File, which is closed. The descriptor is put in
// blocking mode, as a file outside Go's poller should be. It may be one of O_PATH.
func FromFile(f *os.File) (*FD, error) {
	n, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f.Close()
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFL, 0)
	if err == nil && flags&unix.O_NONBLOCK != 0 {
		_, err = unix.FcntlInt(uintptr(n), unix.F_SETFL, flags&^unix.O_NONBLOCK)
	}
	if err != nil {
		unix.Close(n)
		return nil, err
	}
	return New(n), nil
}

// OpenAt opens name below the directory dirfd. O_CLOEXEC is always set.
func OpenAt(dirfd int, name string, flags int, mode uint32) (*FD, error) {
	for {
		n, err := unix.Openat(dirfd, name, flags|unix.O_CLOEXEC, mode)
		if err == nil {
			return New(n), nil
		}
		if err != unix.EINTR {
			return nil, err
		}
	}
}

// Num returns the descriptor, or -1 when it is no longer owned.
func (f *FD) Num() int { return int(f.n.Load()) }

// Release ends the ownership without closing and returns the descriptor, which the caller
// now owns, or -1.
func (f *FD) Release() int { return int(f.n.Swap(-1)) }

// Close closes the descriptor. The second and later calls do nothing and return nil.
func (f *FD) Close() error {
	n := f.Release()
	if n < 0 {
		return nil
	}
	return unix.Close(n)
}

// OpenCount counts the descriptors that this process has open, for tests that look for
// leaks. It returns -1 when /proc is not there.
func OpenCount() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return -1
	}
	return len(entries) - 1 // the directory itself was open
}

// Retry makes a host call again for as long as a signal interrupts it.
func Retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
