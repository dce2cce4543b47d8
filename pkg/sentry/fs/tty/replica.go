package tty

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// Replica is an open file of a Terminal: /dev/pts/N, /dev/tty or /dev/console.
type Replica struct {
	vfs.FileDefaults
	t        *Terminal
	hangups  int // of the terminal when the file was opened
	nonblock atomic.Bool
	readable bool
}

// Open opens the replica with open(2)'s flags; it becomes the controlling terminal of a
// session leader without one unless O_NOCTTY is set. EIO: the other side is gone; EBUSY: TIOCEXCL.
func (t *Terminal) Open(ctx context.Context, flags uint32) (*Replica, error) {
	t.mu.Lock()
	if t.peerClosed {
		t.mu.Unlock()
		return nil, unix.EIO
	}
	if t.exclusive && t.opens > 0 && !ctx.Credentials().HasCapability(unix.CAP_SYS_ADMIN) {
		t.mu.Unlock()
		return nil, unix.EBUSY
	}
	t.opens++
	t.vacant = false
	f := &Replica{t: t, hangups: t.hangups, readable: flags&unix.O_ACCMODE != unix.O_WRONLY}
	f.nonblock.Store(flags&unix.O_NONBLOCK != 0)
	t.mu.Unlock()
	if flags&unix.O_NOCTTY == 0 && f.readable && t.jobs.IsLeader(ctx) && t.jobs.Controlling(ctx) == nil {
		t.acquire(ctx, false)
	}
	return f, nil
}

// acquire makes t the controlling terminal of the caller's session. EPERM: it controls
// another one, unless steal is set.
func (t *Terminal) acquire(ctx context.Context, steal bool) error {
	s, g := t.jobs.Session(ctx), t.jobs.Group(ctx)
	if s == nil {
		return unix.EPERM
	}
	t.mu.Lock()
	old := t.session
	if old != nil && !steal {
		t.mu.Unlock()
		return unix.EPERM
	}
	t.session, t.foreground = s, g
	t.mu.Unlock()
	if old != nil && old != s {
		t.jobs.SetControlling(old, nil)
	}
	t.jobs.SetControlling(s, t)
	return nil
}

// Terminal is what the file shows.
func (f *Replica) Terminal() *Terminal { return f.t }

// Seekable implements vfs.File.
func (f *Replica) Seekable() bool { return false }

// Release implements vfs.File.
func (f *Replica) Release(context.Context) {
	t := f.t
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.opens--; t.opens == 0 {
		t.vacant, t.exclusive = true, false
		t.peer.notify(waiter.EventIn | waiter.EventOut | waiter.EventHUp)
	}
}

// Read implements vfs.File.
func (f *Replica) Read(ctx context.Context, dst usermem.Sequence, _ int64) (int, error) {
	return f.t.read(ctx, dst, f.nonblock.Load(), f.hangups)
}

// Write implements vfs.File.
func (f *Replica) Write(ctx context.Context, src usermem.Sequence, _ int64, _ bool) (int, int64, error) {
	n, err := f.t.write(ctx, src, f.hangups)
	return n, 0, err
}

// FlagsChanged implements vfs.File.
func (f *Replica) FlagsChanged(flags uint32) error {
	f.nonblock.Store(flags&unix.O_NONBLOCK != 0)
	return nil
}

// Readiness implements waiter.Waitable.
func (f *Replica) Readiness(mask waiter.EventMask) waiter.EventMask {
	return f.t.readiness(mask, f.hangups)
}

// EventRegister implements waiter.Waitable.
func (f *Replica) EventRegister(e *waiter.Entry) error { return f.t.queue.EventRegister(e) }

// EventUnregister implements waiter.Waitable.
func (f *Replica) EventUnregister(e *waiter.Entry) { f.t.queue.EventUnregister(e) }

// Ioctl implements vfs.File.
func (f *Replica) Ioctl(ctx context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	f.t.mu.Lock()
	dead := f.t.hangups != f.hangups
	f.t.mu.Unlock()
	if dead {
		if request == unix.TIOCSPGRP {
			return 0, unix.ENOTTY
		}
		return 0, unix.EIO
	}
	return f.t.ioctl(ctx, io, request, arg, caller{readable: f.readable})
}
