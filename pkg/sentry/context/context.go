// Package context is what the kernel's lower layers (vfs, filesystems, sockets) may know of
// the task on whose behalf they run. kernel.Task implements Context; boot and tests use
// Background.
//
// It exists so that a filesystem never imports the kernel. Things that only one filesystem
// needs (proc's idea of "self", a terminal's session) are not here: such a package declares
// a small interface of its own and asserts the Context to it.
package context

import (
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/waiter"
)

// Context is a task, or a stand-in for one.
type Context interface {
	// Credentials are the task's; they are immutable.
	Credentials() *auth.Credentials
	// Umask is the file mode creation mask.
	Umask() uint32
	// RealTime is CLOCK_REALTIME, in nanoseconds since the epoch.
	RealTime() int64
	// FileSizeLimit is RLIMIT_FSIZE in bytes. A write that would begin beyond it calls
	// FileSizeExceeded (which sends SIGXFSZ) and fails with EFBIG.
	FileSizeLimit() uint64
	FileSizeExceeded()
	Blocker
}

// Blocker parks the calling task.
//
// The pattern, which never loses a wake-up:
//
//	e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: ctx.Waker()}
//	obj.EventRegister(&e)
//	defer obj.EventUnregister(&e)
//	for {
//		if n, err := try(); err != unix.EAGAIN { return n, err }
//		if err := ctx.Block(); err != nil { return 0, err }
//	}
type Blocker interface {
	// Waker is the Listener that ends Block. A wake-up before Block is remembered; a
	// stale one makes Block return early, so callers always loop.
	Waker() waiter.Listener
	// Block parks until the Waker is notified (nil) or a signal interrupts the task
	// (linux.ERESTARTSYS).
	Block() error
	// BlockUntil is Block with a deadline on CLOCK_MONOTONIC, in nanoseconds; it then
	// returns ETIMEDOUT.
	BlockUntil(deadline int64) error
	// Monotonic is CLOCK_MONOTONIC in nanoseconds.
	Monotonic() int64
	// Interrupted says whether a signal is pending that Block would return for.
	Interrupted() bool
}

// ThreadID is implemented by Contexts that are tasks: the thread and thread-group ids in
// the root pid namespace of the sandbox, 0 if there is none. Locks and sockets record them.
type ThreadID interface {
	RootTID() int32
	RootTGID() int32
}

// Background is a Context without a task, with the credentials given. It never blocks:
// Block returns EINTR at once.
type Background struct{ Creds *auth.Credentials }

// Credentials implements Context.
func (b *Background) Credentials() *auth.Credentials { return b.Creds }

// Umask implements Context.
func (*Background) Umask() uint32 { return 0 }

// RealTime implements Context.
func (*Background) RealTime() int64 { return time.Now().UnixNano() }

// FileSizeLimit implements Context.
func (*Background) FileSizeLimit() uint64 { return unix.RLIM_INFINITY }

// FileSizeExceeded implements Context.
func (*Background) FileSizeExceeded() {}

// Waker implements Blocker.
func (*Background) Waker() waiter.Listener { return nobody{} }

// Block implements Blocker.
func (*Background) Block() error { return unix.EINTR }

// BlockUntil implements Blocker.
func (*Background) BlockUntil(int64) error { return unix.EINTR }

// Monotonic implements Blocker.
func (*Background) Monotonic() int64 {
	var ts unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// Interrupted implements Blocker.
func (*Background) Interrupted() bool { return false }

type nobody struct{}

// NotifyEvent implements waiter.Listener.
func (nobody) NotifyEvent(waiter.EventMask) {}
