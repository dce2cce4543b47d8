package syscalls

import (
	"encoding/binary"
	"math"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/fs/epoll"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

var epollSyscalls = []kernel.Syscall{
	{Number: unix.SYS_EPOLL_CREATE, Name: "epoll_create", Fn: epollCreate, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_EPOLL_CREATE1, Name: "epoll_create1", Fn: epollCreate1, Args: []strace.Format{strace.Hex}},
	{Number: unix.SYS_EPOLL_CTL, Name: "epoll_ctl", Fn: epollCtl, Args: []strace.Format{strace.FD, strace.EpollOp, strace.FD, strace.EpollEvent}},
	{Number: unix.SYS_EPOLL_WAIT, Name: "epoll_wait", Fn: epollWait, Args: []strace.Format{strace.FD, strace.EpollEventsOut, strace.Dec, strace.Dec}},
	{Number: unix.SYS_EPOLL_PWAIT, Name: "epoll_pwait", Fn: epollPwait, Args: []strace.Format{strace.FD, strace.EpollEventsOut, strace.Dec, strace.Dec, strace.SigSet, strace.Dec}},
	{Number: unix.SYS_EPOLL_PWAIT2, Name: "epoll_pwait2", Fn: epollPwait2, Args: []strace.Format{strace.FD, strace.EpollEventsOut, strace.Dec, strace.Timespec, strace.SigSet, strace.Dec}},
}

// sizeofEpollEvent is the size of struct epoll_event, which is packed on x86.
const sizeofEpollEvent = 12

func epollCreate(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int(0) <= 0 {
		return 0, unix.EINVAL
	}
	return newEpoll(t, false)
}

func epollCreate1(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Uint(0)&^unix.EPOLL_CLOEXEC != 0 {
		return 0, unix.EINVAL
	}
	return newEpoll(t, a.Uint(0) != 0)
}

func newEpoll(t *kernel.Task, cloexec bool) (uintptr, error) {
	return newDescriptor(t, vfs.NewAnonFile("[eventpoll]", epoll.New(), unix.O_RDWR), cloexec)
}

func epollCtl(t *kernel.Task, a arch.Args) (uintptr, error) {
	epfd, op, fd := a.Int(0), a.Int(1), a.Int(2)
	var ev epoll.Event
	if op != unix.EPOLL_CTL_DEL {
		var b [sizeofEpollEvent]byte
		if err := t.CopyInBytes(a.Pointer(3), b[:]); err != nil {
			return 0, err
		}
		ev.Events = binary.LittleEndian.Uint32(b[:])
		ev.Data = binary.LittleEndian.Uint64(b[4:])
	}
	ep, desc, err := fileAs[*epoll.EventPoll](t, epfd)
	if err == unix.EBADF {
		return 0, err
	}
	if err == nil {
		defer desc.DecRef(t)
	}
	target := t.FDTable().Get(fd)
	if target == nil {
		return 0, unix.EBADF
	}
	defer target.DecRef(t)
	if target.PathOnly() {
		return 0, unix.EBADF
	}
	if err != nil {
		return 0, err
	}
	switch op {
	case unix.EPOLL_CTL_ADD:
		err = ep.Add(fd, target, ev)
	case unix.EPOLL_CTL_MOD:
		err = ep.Modify(fd, target, ev)
	case unix.EPOLL_CTL_DEL:
		err = ep.Delete(fd, target)
	default:
		err = unix.EINVAL
	}
	return 0, err
}

// deadlineOf turns a timeout in milliseconds into a deadline: negative is never, 0 is now.
func deadlineOf(t *kernel.Task, ms int32) int64 {
	switch {
	case ms < 0:
		return epoll.NoDeadline
	case ms == 0:
		return 0
	}
	return addDuration(t.Monotonic(), int64(ms)*1e6)
}

func epollWait(t *kernel.Task, a arch.Args) (uintptr, error) {
	return waitEpoll(t, a, deadlineOf(t, a.Int(3)))
}

func epollPwait(t *kernel.Task, a arch.Args) (uintptr, error) {
	return pwaitEpoll(t, a, deadlineOf(t, a.Int(3)))
}

func epollPwait2(t *kernel.Task, a arch.Args) (uintptr, error) {
	deadline := epoll.NoDeadline
	if p := a.Pointer(3); p != 0 {
		d, err := copyInDuration(t, p)
		if err != nil {
			return 0, err
		}
		if deadline = 0; d > 0 {
			deadline = addDuration(t.Monotonic(), d)
		}
	}
	return pwaitEpoll(t, a, deadline)
}

// pwaitEpoll waits with the signal mask at argument 4, of the size in argument 5.
func pwaitEpoll(t *kernel.Task, a arch.Args, deadline int64) (uintptr, error) {
	if err := setTemporaryMask(t, a.Pointer(4), a.Size(5)); err != nil {
		return 0, err
	}
	n, err := waitEpoll(t, a, deadline)
	if err != unix.EINTR {
		t.RestoreMask()
	}
	return n, err
}

// setTemporaryMask blocks the signals at addr for the rest of the system call; 0 changes
// nothing. The caller calls RestoreMask unless the call was interrupted.
func setTemporaryMask(t *kernel.Task, addr uintptr, size uint) error {
	if addr == 0 {
		return nil
	}
	if err := checkSigSetSize(size); err != nil {
		return err
	}
	var set arch.SignalSet
	if err := kernel.CopyIn(t, addr, &set); err != nil {
		return err
	}
	t.SetTemporaryMask(set)
	return nil
}

// epollBuffer is the memory of an epoll_wait(2).
type epollBuffer struct {
	events [512]epoll.Event
	bytes  [512 * sizeofEpollEvent]byte
}

var epollBuffers = sync.Pool{New: func() any { return new(epollBuffer) }}

func waitEpoll(t *kernel.Task, a arch.Args, deadline int64) (uintptr, error) {
	max := a.Int(2)
	if max <= 0 || max > math.MaxInt32/sizeofEpollEvent {
		return 0, unix.EINVAL
	}
	ep, desc, err := fileAs[*epoll.EventPoll](t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	buf := epollBuffers.Get().(*epollBuffer)
	defer epollBuffers.Put(buf)
	events := buf.events[:]
	if int(max) > len(events) {
		// One call returns all that is ready, as programs may expect.
		if n := ep.Len(); n > len(events) {
			events = make([]epoll.Event, n)
		}
	}
	n, err := ep.Wait(t, events[:min(int(max), len(events))], deadline)
	if err != nil {
		return 0, err
	}
	to := a.Pointer(1)
	for part := range slices.Chunk(events[:n], len(buf.events)) {
		for i, e := range part {
			b := buf.bytes[i*sizeofEpollEvent:]
			binary.LittleEndian.PutUint32(b, e.Events)
			binary.LittleEndian.PutUint64(b[4:], e.Data)
		}
		size := len(part) * sizeofEpollEvent
		if err := t.CopyOutBytes(to, buf.bytes[:size]); err != nil {
			return 0, err
		}
		to += uintptr(size)
	}
	return uintptr(n), nil
}
