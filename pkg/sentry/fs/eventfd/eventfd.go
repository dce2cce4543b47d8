// Package eventfd implements eventfd(2): a counter that is read, written and waited for.
//
// An EventFD is a vfs.File; kernel code that signals one (aio, a device) calls Signal. The
// one lock, EventFD.mu, guards the buffer for the eight bytes too and is held while they are
// copied from or to the application.
package eventfd

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// maxCount is the highest value of the counter.
const maxCount = math.MaxUint64 - 1

// EventFD is the counter.
type EventFD struct {
	vfs.FileDefaults
	waiter.Queue
	semaphore bool

	mu    sync.Mutex // guards the fields below
	count uint64
	buf   [8]byte
}

// New makes a counter; with semaphore (EFD_SEMAPHORE) each read takes one.
func New(initial uint64, semaphore bool) *EventFD {
	return &EventFD{count: initial, semaphore: semaphore}
}

// NewFile is eventfd2(2): flags may have EFD_SEMAPHORE and EFD_NONBLOCK.
func NewFile(initial uint64, flags uint32) *vfs.FileDescription {
	e := New(initial, flags&unix.EFD_SEMAPHORE != 0)
	return vfs.NewAnonFile("[eventfd]", e, unix.O_RDWR|flags&unix.EFD_NONBLOCK)
}

// Seekable implements vfs.File.
func (e *EventFD) Seekable() bool { return false }

// Seek implements vfs.File: lseek(2) has no effect and no error, as in Linux.
func (*EventFD) Seek(context.Context, int64, int32, int64) (int64, error) { return 0, nil }

// Read implements vfs.File. EAGAIN: the counter is 0.
func (e *EventFD) Read(_ context.Context, dst usermem.Sequence, _ int64) (int, error) {
	if dst.Len() < 8 {
		return 0, unix.EINVAL
	}
	e.mu.Lock()
	if e.count == 0 {
		e.mu.Unlock()
		return 0, unix.EAGAIN
	}
	n := e.count
	if e.semaphore {
		n = 1
	}
	e.count -= n
	binary.NativeEndian.PutUint64(e.buf[:], n)
	_, err := dst.CopyOut(e.buf[:])
	e.mu.Unlock()
	e.Notify(waiter.EventOut | waiter.EventWrNorm)
	if err != nil {
		return 0, err // the count is gone, as in Linux
	}
	return 8, nil
}

// Write implements vfs.File. EINVAL: not 8 bytes, or the largest value;
// EAGAIN: the counter would become too high.
func (e *EventFD) Write(_ context.Context, src usermem.Sequence, _ int64, _ bool) (int, int64, error) {
	if src.Len() != 8 {
		return 0, 0, unix.EINVAL
	}
	e.mu.Lock()
	if _, err := src.CopyIn(e.buf[:]); err != nil {
		e.mu.Unlock()
		return 0, 0, err
	}
	n := binary.NativeEndian.Uint64(e.buf[:])
	switch {
	case n == math.MaxUint64:
		e.mu.Unlock()
		return 0, 0, unix.EINVAL
	case e.count > maxCount || n > maxCount-e.count:
		e.mu.Unlock()
		return 0, 0, unix.EAGAIN
	}
	e.count += n
	e.mu.Unlock()
	e.Notify(waiter.EventIn | waiter.EventRdNorm)
	return 8, 0, nil
}

// Signal adds n on behalf of the kernel; the counter stops at its highest value.
func (e *EventFD) Signal(n uint64) {
	e.mu.Lock()
	e.count += min(n, math.MaxUint64-e.count)
	e.mu.Unlock()
	e.Notify(waiter.EventIn | waiter.EventRdNorm)
}

// Readiness implements waiter.Waitable.
func (e *EventFD) Readiness(mask waiter.EventMask) waiter.EventMask {
	e.mu.Lock()
	defer e.mu.Unlock()
	var r waiter.EventMask
	if e.count > 0 {
		r |= waiter.EventIn
	}
	if e.count < maxCount {
		r |= waiter.EventOut
	}
	if e.count == math.MaxUint64 {
		r |= waiter.EventErr
	}
	return r & mask
}

// FDInfo is the file's part of /proc/PID/fdinfo.
func (e *EventFD) FDInfo() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return fmt.Sprintf("eventfd-count: %16x\n", e.count)
}
