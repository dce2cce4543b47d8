// Package signalfd implements signalfd(2): pending signals that are read and waited for.
//
// Whose signals? As in Linux those of the task that reads, not of the one that made the
// file. A Source is a task as this package sees it; kernel.Task implements it. A reader is
// found through its Context, one who registers for events through its Listener (a task's
// Waker tells its Source); for listeners that are no task, such as epoll's items, it is the
// last task that used the file.
//
// The mask and the last Source are atomic; the one lock is a leaf that remembers on which
// queue an entry went. A Source's queue is notified with the kernel's signal lock held, and
// Readiness may take that lock.
package signalfd

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// Source is a task's pending signals.
type Source interface {
	// TakeSignal removes and returns a pending signal of set.
	TakeSignal(set arch.SignalSet) (arch.SignalInfo, bool)
	// PendingSignals are the signals pending for the thread or its process.
	PendingSignals() arch.SignalSet
	// SignalQueue is notified with EventIn when a signal becomes pending.
	SignalQueue() *waiter.Queue
}

// sourceListener is implemented by the Waker of a task; the result is a Source.
type sourceListener interface{ SignalSource() any }

// infoSize is the size of struct signalfd_siginfo.
const infoSize = 128

// unmaskable signals are never delivered through a signalfd.
const unmaskable = arch.SignalSet(1<<(unix.SIGKILL-1) | 1<<(unix.SIGSTOP-1))

// SignalFD is the file.
type SignalFD struct {
	vfs.FileDefaults
	mask atomic.Uint64
	last atomic.Pointer[sourceBox]

	mu     sync.Mutex // guards queues
	queues map[*waiter.Entry]*waiter.Queue
}

type sourceBox struct{ Source }

// New makes a file for the signals in mask; src is the task that makes it.
func New(src Source, mask arch.SignalSet) *SignalFD {
	f := &SignalFD{queues: make(map[*waiter.Entry]*waiter.Queue)}
	f.SetMask(mask)
	f.last.Store(&sourceBox{src})
	return f
}

// NewFile is signalfd4(2); flags may have SFD_NONBLOCK.
func NewFile(src Source, mask arch.SignalSet, flags uint32) *vfs.FileDescription {
	return vfs.NewAnonFile("[signalfd]", New(src, mask), unix.O_RDWR|flags&unix.SFD_NONBLOCK)
}

// SetMask replaces the signals that are read.
func (f *SignalFD) SetMask(mask arch.SignalSet) {
	f.mask.Store(uint64(mask &^ unmaskable))
	if b := f.last.Load(); b != nil {
		b.SignalQueue().Notify(waiter.EventIn)
	}
}

func (f *SignalFD) set() arch.SignalSet { return arch.SignalSet(f.mask.Load()) }

// source finds the task behind v, a Context or a Listener.
func (f *SignalFD) source(v any) Source {
	var src Source
	switch s := v.(type) {
	case Source:
		src = s
	case sourceListener:
		src, _ = s.SignalSource().(Source)
	}
	b := f.last.Load()
	if src == nil {
		return b.Source
	}
	if b.Source != src {
		f.last.Store(&sourceBox{src})
	}
	return src
}

// Seekable implements vfs.File.
func (f *SignalFD) Seekable() bool { return false }

// Seek implements vfs.File: lseek(2) has no effect and no error, as in Linux.
func (*SignalFD) Seek(context.Context, int64, int32, int64) (int64, error) { return 0, nil }

// Read implements vfs.File: as many signals as are pending and fit.
func (f *SignalFD) Read(ctx context.Context, dst usermem.Sequence, _ int64) (int, error) {
	if dst.Len() < infoSize {
		return 0, unix.EINVAL
	}
	src := f.source(ctx)
	done := 0
	for dst.Len() >= infoSize {
		info, ok := src.TakeSignal(f.set())
		if !ok {
			break
		}
		b := encode(&info)
		if _, err := dst.CopyOut(b[:]); err != nil {
			if done > 0 {
				return done, nil
			}
			return 0, err
		}
		dst = dst.DropFirst(infoSize)
		done += infoSize
	}
	if done == 0 {
		return 0, unix.EAGAIN
	}
	return done, nil
}

// encode writes struct signalfd_siginfo.
func encode(s *arch.SignalInfo) (b [infoSize]byte) {
	u32 := func(off int, v uint32) { binary.NativeEndian.PutUint32(b[off:], v) }
	u64 := func(off int, v uint64) { binary.NativeEndian.PutUint64(b[off:], v) }
	u32(0, uint32(s.Signo))
	u32(4, uint32(s.Errno))
	u32(8, uint32(s.Code))
	value := func() {
		u32(44, uint32(s.Int()))
		u64(48, s.Value())
	}
	switch signo := unix.Signal(s.Signo); {
	case s.Code == arch.SiTimer:
		u32(24, uint32(s.TimerID()))
		u32(32, uint32(s.Overrun()))
		value()
	case s.Code == arch.SiSigIO || signo == unix.SIGIO && s.Code > 0 && s.Code < arch.SiKernel:
		u32(28, uint32(s.Band()))
		u32(20, uint32(s.FD()))
	case s.Code == arch.SiUser || s.Code == arch.SiTkill || s.Code == arch.SiKernel:
		u32(12, uint32(s.PID()))
		u32(16, uint32(s.UID()))
	case s.Code < 0: // SI_QUEUE, SI_MESGQ, SI_ASYNCIO and what rt_sigqueueinfo(2) makes up
		u32(12, uint32(s.PID()))
		u32(16, uint32(s.UID()))
		value()
	case signo == unix.SIGCHLD:
		u32(12, uint32(s.PID()))
		u32(16, uint32(s.UID()))
		u32(40, uint32(s.Status()))
		u64(56, uint64(s.Utime()))
		u64(64, uint64(s.Stime()))
	case signo == unix.SIGSYS:
		u64(88, s.CallAddr())
		u32(84, uint32(s.Syscall()))
		u32(96, s.Arch())
	case signo == unix.SIGSEGV, signo == unix.SIGBUS, signo == unix.SIGFPE, signo == unix.SIGILL, signo == unix.SIGTRAP:
		u64(72, s.Addr())
		binary.NativeEndian.PutUint16(b[80:], uint16(s.AddrLSB()))
	default:
		u32(12, uint32(s.PID()))
		u32(16, uint32(s.UID()))
		value()
	}
	return b
}

// Readiness implements waiter.Waitable, for the last task that used the file.
func (f *SignalFD) Readiness(mask waiter.EventMask) waiter.EventMask {
	return f.readiness(f.last.Load().Source, mask)
}

// ReadinessFor is Readiness for the task behind ctx; poll(2) and select(2) prefer it.
func (f *SignalFD) ReadinessFor(ctx context.Context, mask waiter.EventMask) waiter.EventMask {
	return f.readiness(f.source(ctx), mask)
}

func (f *SignalFD) readiness(src Source, mask waiter.EventMask) waiter.EventMask {
	if src.PendingSignals()&f.set() == 0 {
		return 0
	}
	return mask & waiter.EventIn
}

// EventRegister implements waiter.Waitable.
func (f *SignalFD) EventRegister(e *waiter.Entry) error {
	q := f.source(e.Listener).SignalQueue()
	f.mu.Lock()
	f.queues[e] = q
	f.mu.Unlock()
	return q.EventRegister(e)
}

// EventUnregister implements waiter.Waitable.
func (f *SignalFD) EventUnregister(e *waiter.Entry) {
	f.mu.Lock()
	q := f.queues[e]
	delete(f.queues, e)
	f.mu.Unlock()
	if q != nil {
		q.EventUnregister(e)
	}
}

// FDInfo is the file's part of /proc/PID/fdinfo.
func (f *SignalFD) FDInfo() string { return fmt.Sprintf("sigmask:\t%016x\n", f.mask.Load()) }
