// Package timerfd implements timerfd_create(2): a timer that is read and waited for.
//
// A TimerFD is a vfs.File over a lazy ktime.Timer: after an expiry nobody has read yet, a
// periodic timer sleeps, and the reader is told how many periods have passed. So a timer
// that nobody reads costs nothing.
//
// Lock order: the timer's lock → TimerFD.mu → waiter queue. Timer methods are therefore
// called without mu.
package timerfd

import (
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/ktime"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// tfdIocSetTicks is TFD_IOC_SET_TICKS, _IOW('T', 0, u64).
const tfdIocSetTicks = 0x40085400

// TimerFD is the file.
type TimerFD struct {
	vfs.FileDefaults
	waiter.Queue
	clockID int32
	timer   ktime.Timer

	mu       sync.Mutex // guards the fields below
	count    uint64     // expirations not read yet, apart from those that timer.Forward finds
	setFlags uint32     // of the last Set, for fdinfo
}

// New makes a timer that is off, on the clock that timerfd_create(2) calls clockID.
func New(clock ktime.Clock, clockID int32) *TimerFD {
	f := &TimerFD{clockID: clockID}
	f.timer.InitLazy(clock, f)
	return f
}

// NewFile is timerfd_create(2); flags may have TFD_NONBLOCK.
func NewFile(clock ktime.Clock, clockID int32, flags uint32) *vfs.FileDescription {
	return vfs.NewAnonFile("[timerfd]", New(clock, clockID), unix.O_RDWR|flags&unix.TFD_NONBLOCK)
}

// TimerExpired implements ktime.Listener.
func (f *TimerFD) TimerExpired(n uint64) {
	f.mu.Lock()
	f.count += n
	f.mu.Unlock()
	f.Notify(waiter.EventIn | waiter.EventRdNorm)
}

// TimerSet implements ktime.SetListener: what expired before is forgotten.
func (f *TimerFD) TimerSet() {
	f.mu.Lock()
	f.count = 0
	f.mu.Unlock()
}

// Set is timerfd_settime(2), times in nanoseconds, with flags of TFD_TIMER_ABSTIME and
// TFD_TIMER_CANCEL_ON_SET (which never happens: nobody sets the clock). first == 0 turns
// the timer off.
func (f *TimerFD) Set(flags uint32, first, interval int64) (left, oldInterval int64) {
	f.mu.Lock()
	f.setFlags = flags
	f.mu.Unlock()
	return f.timer.Set(first, interval, flags&unix.TFD_TIMER_ABSTIME != 0 && first != 0)
}

// Get is timerfd_gettime(2).
func (f *TimerFD) Get() (left, interval int64) { return f.timer.Get() }

// Release implements vfs.File.
func (f *TimerFD) Release(context.Context) { f.timer.Destroy() }

// Seekable implements vfs.File.
func (f *TimerFD) Seekable() bool { return false }

// Seek implements vfs.File: lseek(2) has no effect and no error, as in Linux.
func (*TimerFD) Seek(context.Context, int64, int32, int64) (int64, error) { return 0, nil }

// Read implements vfs.File. EAGAIN: the timer has not expired since the last time.
func (f *TimerFD) Read(_ context.Context, dst usermem.Sequence, _ int64) (int, error) {
	if dst.Len() < 8 {
		return 0, unix.EINVAL
	}
	f.mu.Lock()
	n := f.count
	f.count = 0
	f.mu.Unlock()
	if n == 0 {
		return 0, unix.EAGAIN
	}
	n += f.timer.Forward()
	var buf [8]byte
	binary.NativeEndian.PutUint64(buf[:], n)
	if _, err := dst.CopyOut(buf[:]); err != nil {
		return 0, err
	}
	return 8, nil
}

// Readiness implements waiter.Waitable.
func (f *TimerFD) Readiness(mask waiter.EventMask) waiter.EventMask {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == 0 {
		return 0
	}
	return mask & waiter.EventIn
}

// Ioctl implements vfs.File.
func (f *TimerFD) Ioctl(_ context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	if request != tfdIocSetTicks {
		return 0, unix.ENOTTY
	}
	var buf [8]byte
	if _, err := io.CopyIn(uintptr(arg), buf[:]); err != nil {
		return 0, err
	}
	n := binary.NativeEndian.Uint64(buf[:])
	if n == 0 {
		return 0, unix.EINVAL
	}
	f.mu.Lock()
	f.count = n
	f.mu.Unlock()
	f.Notify(waiter.EventIn | waiter.EventRdNorm)
	return 0, nil
}

// FDInfo is the file's part of /proc/PID/fdinfo.
func (f *TimerFD) FDInfo() string {
	left, interval := f.timer.Get()
	f.mu.Lock()
	defer f.mu.Unlock()
	return fmt.Sprintf("clockid: %d\nticks: %d\nsettime flags: 0%o\nit_value: (%d, %d)\nit_interval: (%d, %d)\n",
		f.clockID, f.count, f.setFlags, left/1e9, left%1e9, interval/1e9, interval%1e9)
}
