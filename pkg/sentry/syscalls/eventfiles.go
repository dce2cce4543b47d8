package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/fs/eventfd"
	"runsc/pkg/sentry/fs/pipe"
	"runsc/pkg/sentry/fs/signalfd"
	"runsc/pkg/sentry/fs/timerfd"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

// Files that exist to be waited for: pipes, eventfd, timerfd, signalfd.

var eventFileSyscalls = []kernel.Syscall{
	{Number: unix.SYS_PIPE, Name: "pipe", Fn: pipe1, Args: []strace.Format{strace.PipeFDsOut}},
	{Number: unix.SYS_PIPE2, Name: "pipe2", Fn: pipe2, Args: []strace.Format{strace.PipeFDsOut, strace.OpenFlags}},
	{Number: unix.SYS_EVENTFD, Name: "eventfd", Fn: eventfd1, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_EVENTFD2, Name: "eventfd2", Fn: eventfd2, Args: []strace.Format{strace.Dec, strace.Hex}},
	{Number: unix.SYS_TIMERFD_CREATE, Name: "timerfd_create", Fn: timerfdCreate, Args: []strace.Format{strace.ClockID, strace.Hex}},
	{Number: unix.SYS_TIMERFD_SETTIME, Name: "timerfd_settime", Fn: timerfdSettime, Args: []strace.Format{strace.FD, strace.Hex, strace.Itimerspec, strace.ItimerspecOut}, Note: "TFD_TIMER_CANCEL_ON_SET has no effect: nobody sets the clock"},
	{Number: unix.SYS_TIMERFD_GETTIME, Name: "timerfd_gettime", Fn: timerfdGettime, Args: []strace.Format{strace.FD, strace.ItimerspecOut}},
	{Number: unix.SYS_SIGNALFD, Name: "signalfd", Fn: signalfd1, Args: []strace.Format{strace.FD, strace.SigSet, strace.Dec}},
	{Number: unix.SYS_SIGNALFD4, Name: "signalfd4", Fn: signalfd4, Args: []strace.Format{strace.FD, strace.SigSet, strace.Dec, strace.Hex}},
}

// PipeLimits are k's limits of pipes (/proc/sys/fs/pipe-*). They also open FIFOs: boot gives
// them to VFS.SetFIFOOpener.
func PipeLimits(k *kernel.Kernel) *pipe.Limits {
	return k.Extra("pipe", func() any { return &pipe.Limits{} }).(*pipe.Limits)
}

// maxFDs is t's RLIMIT_NOFILE.
func maxFDs(t *kernel.Task) uint64 {
	return t.ThreadGroup().Limits().Get(unix.RLIMIT_NOFILE).Cur
}

// newDescriptor gives f, whose reference it takes over, the lowest free number.
func newDescriptor(t *kernel.Task, f *vfs.FileDescription, cloexec bool) (uintptr, error) {
	defer f.DecRef(t)
	fd, err := t.FDTable().New(0, f, cloexec, maxFDs(t))
	if err != nil {
		return 0, err
	}
	return uintptr(fd), nil
}

// newDescriptors gives two files, whose references it takes over, numbers and stores them at
// addr.
func newDescriptors(t *kernel.Task, f, g *vfs.FileDescription, cloexec bool, addr uintptr) error {
	defer f.DecRef(t)
	defer g.DecRef(t)
	fds, err := t.FDTable().NewMany(0, []*vfs.FileDescription{f, g}, cloexec, maxFDs(t))
	if err != nil {
		return err
	}
	pair := [2]int32{fds[0], fds[1]}
	if err := kernel.CopyOut(t, addr, &pair); err != nil {
		removeFD(t, fds[0])
		removeFD(t, fds[1])
		return err
	}
	return nil
}

func pipe1(t *kernel.Task, a arch.Args) (uintptr, error) { return 0, newPipe(t, a.Pointer(0), 0) }

func pipe2(t *kernel.Task, a arch.Args) (uintptr, error) {
	return 0, newPipe(t, a.Pointer(0), a.Uint(1))
}

func newPipe(t *kernel.Task, addr uintptr, flags uint32) error {
	if flags&^(unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_DIRECT) != 0 {
		return unix.EINVAL
	}
	r, w := PipeLimits(t.Kernel()).NewFiles(t, flags)
	return newDescriptors(t, r, w, flags&unix.O_CLOEXEC != 0, addr)
}

func eventfd1(t *kernel.Task, a arch.Args) (uintptr, error) {
	return newDescriptor(t, eventfd.NewFile(uint64(a.Uint(0)), 0), false)
}

func eventfd2(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Uint(1)
	if flags&^(unix.EFD_SEMAPHORE|unix.EFD_CLOEXEC|unix.EFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	return newDescriptor(t, eventfd.NewFile(uint64(a.Uint(0)), flags), flags&unix.EFD_CLOEXEC != 0)
}

func timerfdCreate(t *kernel.Task, a arch.Args) (uintptr, error) {
	id, flags := a.Int(0), a.Uint(1)
	if flags&^(unix.TFD_CLOEXEC|unix.TFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	switch id {
	case unix.CLOCK_REALTIME, unix.CLOCK_MONOTONIC, unix.CLOCK_BOOTTIME:
	case unix.CLOCK_REALTIME_ALARM, unix.CLOCK_BOOTTIME_ALARM:
		if !t.Credentials().HasCapability(unix.CAP_WAKE_ALARM) {
			return 0, unix.EPERM
		}
	default:
		return 0, unix.EINVAL
	}
	clock, err := clockOf(t, id)
	if err != nil {
		return 0, err
	}
	return newDescriptor(t, timerfd.NewFile(clock, id, flags), flags&unix.TFD_CLOEXEC != 0)
}

// fileAs returns the File at fd if it is an F, with a reference on its description. EBADF:
// nothing is open there; EINVAL: something else is.
func fileAs[F vfs.File](t *kernel.Task, fd int32) (f F, desc *vfs.FileDescription, err error) {
	desc = t.FDTable().Get(fd)
	if desc == nil {
		return f, nil, unix.EBADF
	}
	if desc.PathOnly() {
		desc.DecRef(t)
		return f, nil, unix.EBADF
	}
	f, ok := desc.File().(F)
	if !ok {
		desc.DecRef(t)
		return f, nil, unix.EINVAL
	}
	return f, desc, nil
}

// timerSpec is struct itimerspec.
type timerSpec struct{ Interval, Value unix.Timespec }

func timerfdSettime(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Uint(1)
	var spec timerSpec
	if err := kernel.CopyIn(t, a.Pointer(2), &spec); err != nil {
		return 0, err
	}
	first, err := durationOf(spec.Value)
	if err != nil {
		return 0, err
	}
	interval, err := durationOf(spec.Interval)
	if err != nil {
		return 0, err
	}
	if flags&^(unix.TFD_TIMER_ABSTIME|unix.TFD_TIMER_CANCEL_ON_SET) != 0 {
		return 0, unix.EINVAL
	}
	f, desc, err := fileAs[*timerfd.TimerFD](t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	return 0, copyOutTimerSpec(t, a.Pointer(3))(f.Set(flags, first, interval))
}

func timerfdGettime(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, desc, err := fileAs[*timerfd.TimerFD](t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	left, interval := f.Get()
	spec := timerSpec{unix.NsecToTimespec(interval), unix.NsecToTimespec(left)}
	return 0, kernel.CopyOut(t, a.Pointer(1), &spec)
}

// copyOutTimerSpec stores what a timer was set to at addr, unless that is 0.
func copyOutTimerSpec(t *kernel.Task, addr uintptr) func(left, interval int64) error {
	return func(left, interval int64) error {
		if addr == 0 {
			return nil
		}
		spec := timerSpec{unix.NsecToTimespec(interval), unix.NsecToTimespec(left)}
		return kernel.CopyOut(t, addr, &spec)
	}
}

func signalfd1(t *kernel.Task, a arch.Args) (uintptr, error) {
	return newSignalFD(t, a.Int(0), a.Pointer(1), a.Size(2), 0)
}

func signalfd4(t *kernel.Task, a arch.Args) (uintptr, error) {
	return newSignalFD(t, a.Int(0), a.Pointer(1), a.Size(2), a.Uint(3))
}

func newSignalFD(t *kernel.Task, fd int32, addr uintptr, size uint, flags uint32) (uintptr, error) {
	if err := checkSigSetSize(size); err != nil {
		return 0, err
	}
	if flags&^(unix.SFD_CLOEXEC|unix.SFD_NONBLOCK) != 0 {
		return 0, unix.EINVAL
	}
	var set arch.SignalSet
	if err := kernel.CopyIn(t, addr, &set); err != nil {
		return 0, err
	}
	if fd == -1 {
		return newDescriptor(t, signalfd.NewFile(t, set, flags), flags&unix.SFD_CLOEXEC != 0)
	}
	f, desc, err := fileAs[*signalfd.SignalFD](t, fd)
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	f.SetMask(set)
	return uintptr(fd), nil
}
