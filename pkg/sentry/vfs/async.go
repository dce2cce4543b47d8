package vfs

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/waiter"
)

// AsyncOwner is the process, process group or thread that F_SETOWN names. It is told of
// I/O that became possible on a file with O_ASYNC (fcntl(2), "Managing signals").
type AsyncOwner interface {
	// SignalIO sends signo, or SIGIO if it is 0, with si_fd and si_band. It is called
	// with locks of the file held: it must be quick and not touch the file.
	SignalIO(signo int32, fd int32, band int64)
	// SignalUrgent sends SIGURG, likewise.
	SignalUrgent()
}

// UrgentFile is implemented by files whose owner hears of urgent data (POLLPRI) by SIGURG,
// with or without O_ASYNC: sockets.
type UrgentFile interface{ HasUrgentData() }

// asyncIO is the O_ASYNC state of a file description.
type asyncIO struct {
	mu    sync.Mutex // guards the fields below
	owner AsyncOwner
	signo int32
	num   int32 // the descriptor that O_ASYNC was set through, for si_fd
	entry *waiter.Entry
	// urgent listens for urgent data while there is an owner.
	urgent *waiter.Entry
}

// AsyncOwner returns the owner and signal, as set; nil and 0 at first.
func (fd *FileDescription) AsyncOwner() (AsyncOwner, int32) {
	a := &fd.async
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.owner, a.signo
}

// SetAsyncOwner is F_SETOWN; num is the descriptor's number. nil removes the owner.
func (fd *FileDescription) SetAsyncOwner(o AsyncOwner, num int32) {
	a := &fd.async
	a.mu.Lock()
	a.owner, a.num = o, num
	_, may := fd.file.(UrgentFile)
	var add, remove *waiter.Entry
	switch {
	case o != nil && a.urgent == nil && may:
		add = &waiter.Entry{Mask: waiter.EventPri, Listener: (*urgentIO)(a)}
		a.urgent = add
	case o == nil && a.urgent != nil:
		remove = a.urgent
		a.urgent = nil
	}
	a.mu.Unlock()
	if add != nil {
		fd.file.EventRegister(add)
	}
	if remove != nil {
		fd.file.EventUnregister(remove)
	}
}

// SetAsyncSignal is F_SETSIG; num is the descriptor's number.
func (fd *FileDescription) SetAsyncSignal(signo, num int32) error {
	if signo < 0 || signo > 64 {
		return unix.EINVAL
	}
	a := &fd.async
	a.mu.Lock()
	defer a.mu.Unlock()
	a.signo, a.num = signo, num
	return nil
}

// flagsChanged starts or stops listening for I/O.
func (a *asyncIO) flagsChanged(fd *FileDescription, flags uint32) {
	a.mu.Lock()
	e := a.entry
	switch on := flags&unix.O_ASYNC != 0; {
	case on && e == nil:
		e = &waiter.Entry{Mask: waiter.AllEvents, Listener: a}
		a.entry = e
		a.mu.Unlock()
		fd.file.EventRegister(e)
	case !on && e != nil:
		a.entry = nil
		a.mu.Unlock()
		fd.file.EventUnregister(e)
	default:
		a.mu.Unlock()
	}
}

func (a *asyncIO) stop(fd *FileDescription) {
	if fd.status.Load()&unix.O_ASYNC != 0 {
		a.flagsChanged(fd, 0)
	}
	a.mu.Lock()
	e := a.urgent
	a.urgent = nil
	a.mu.Unlock()
	if e != nil {
		fd.file.EventUnregister(e)
	}
}

// urgentIO is asyncIO as the listener for urgent data.
type urgentIO asyncIO

// NotifyEvent implements waiter.Listener.
func (u *urgentIO) NotifyEvent(waiter.EventMask) {
	a := (*asyncIO)(u)
	a.mu.Lock()
	o := a.owner
	a.mu.Unlock()
	if o != nil {
		o.SignalUrgent()
	}
}

// NotifyEvent implements waiter.Listener.
func (a *asyncIO) NotifyEvent(mask waiter.EventMask) {
	a.mu.Lock()
	o, signo, num := a.owner, a.signo, a.num
	a.mu.Unlock()
	if o != nil {
		o.SignalIO(signo, num, int64(mask))
	}
}
