package syscalls

import (
	"slices"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// aioPoll is a request IOCB_CMD_POLL: one poll(2) of a file, whose event comes when the file
// is ready. It is the only request that is still under way when io_submit(2) returns.
//
// It listens to the file, which must not be touched from there: a poll that is done stays in
// the context's list until reap lets go of the file.
type aioPoll struct {
	c         *aioContext
	file      *vfs.FileDescription
	entry     waiter.Entry
	data, obj uint64

	listed, done bool // guarded by c.mu: it is in c.polls; its event is there
}

// submitPoll begins r, which is at addr in the application. The poll takes over the reference
// to f if there is no error.
func (c *aioContext) submitPoll(f *vfs.FileDescription, r *aioRequest, addr uintptr) error {
	if r.Buf>>16 != 0 || r.Offset != 0 || r.Bytes != 0 || r.RWFlags != 0 {
		return unix.EINVAL
	}
	p := &aioPoll{c: c, file: f, data: r.Data, obj: uint64(addr)}
	p.entry = waiter.Entry{Mask: waiter.EventMask(r.Buf) | waiter.EventErr | waiter.EventHUp, Listener: p}
	if err := f.EventRegister(&p.entry); err != nil {
		return unix.EINVAL // the file has no poll operation
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		f.EventUnregister(&p.entry)
		return unix.EINVAL
	}
	p.listed = true
	c.polls = append(c.polls, p)
	c.waiting++
	c.mu.Unlock()
	// Nothing is heard before p is in the list; what came since is seen here.
	if ready := f.Readiness(p.entry.Mask); ready != 0 {
		p.NotifyEvent(ready)
	}
	return nil
}

// NotifyEvent implements waiter.Listener.
func (p *aioPoll) NotifyEvent(mask waiter.EventMask) {
	c := p.c
	c.mu.Lock()
	if !p.listed || p.done || c.closed {
		c.mu.Unlock()
		return
	}
	c.finishPollLocked(p, mask)
	c.mu.Unlock()
	c.done.Notify(waiter.EventIn)
}

// finishPollLocked makes p's event. c.mu is locked.
func (c *aioContext) finishPollLocked(p *aioPoll, mask waiter.EventMask) {
	p.done = true
	c.waiting--
	c.events = append(c.events, aioEvent{Data: p.data, Obj: p.obj, Res: int64(mask)})
}

// cancelPoll ends the poll that was submitted from addr with an event that has no bits, and
// says whether there was one.
func (c *aioContext) cancelPoll(addr uintptr) bool {
	c.mu.Lock()
	i := slices.IndexFunc(c.polls, func(p *aioPoll) bool { return p.obj == uint64(addr) && !p.done })
	if i >= 0 {
		c.finishPollLocked(c.polls[i], 0)
	}
	c.mu.Unlock()
	if i >= 0 {
		c.done.Notify(waiter.EventIn)
	}
	return i >= 0
}

// reap lets go of the files of polls that are done, or of all if the context is closed.
func (c *aioContext) reap(ctx context.Context) {
	c.mu.Lock()
	if len(c.polls) == c.waiting && !c.closed {
		c.mu.Unlock()
		return
	}
	var gone, left []*aioPoll
	for _, p := range c.polls {
		if p.done || c.closed {
			gone = append(gone, p)
		} else {
			left = append(left, p)
		}
	}
	c.polls = left
	c.mu.Unlock()
	// Without c.mu: a listener takes it with the file's queue locked.
	for _, p := range gone {
		p.file.EventUnregister(&p.entry)
		p.file.DecRef(ctx)
	}
}

// fullLocked says whether the context has no room for another request. c.mu is locked.
func (c *aioContext) fullLocked() bool { return len(c.events)+c.waiting >= c.max }

// closeWith ends all that is under way and wakes those who wait for events.
func (c *aioContext) closeWith(ctx context.Context) {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.done.Notify(waiter.EventIn)
	c.reap(ctx)
}

// aioSigset is struct __aio_sigset.
type aioSigset struct{ Mask, Size uint64 }

func ioPgetevents(t *kernel.Task, a arch.Args) (uintptr, error) {
	if p := a.Pointer(5); p != 0 {
		var set aioSigset
		if err := kernel.CopyIn(t, p, &set); err != nil {
			return 0, err
		}
		if err := setTemporaryMask(t, uintptr(set.Mask), uint(set.Size)); err != nil {
			return 0, err
		}
	}
	n, err := aioGetevents(t, &a)
	if err != unix.EINTR {
		t.RestoreMask()
	}
	return n, err
}
