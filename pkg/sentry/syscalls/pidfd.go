package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

var pidfdSyscalls = []kernel.Syscall{
	{Number: unix.SYS_PIDFD_OPEN, Name: "pidfd_open", Fn: pidfdOpen, Args: []strace.Format{strace.Dec, strace.Hex}},
	{Number: unix.SYS_PIDFD_SEND_SIGNAL, Name: "pidfd_send_signal", Fn: pidfdSendSignal, Args: []strace.Format{strace.FD, strace.Signal, strace.SigInfo, strace.Hex}},
	{Number: unix.SYS_PIDFD_GETFD, Name: "pidfd_getfd", Fn: pidfdGetFD, Args: []strace.Format{strace.FD, strace.FD, strace.Hex}},
}

// pidfdFile is the File of a pidfd: readable once the process has ended.
type pidfdFile struct {
	vfs.FileDefaults
	tg *kernel.ThreadGroup
}

// Seekable implements vfs.File.
func (*pidfdFile) Seekable() bool { return false }

// Read implements vfs.File.
func (*pidfdFile) Read(context.Context, usermem.Sequence, int64) (int, error) { return 0, unix.EINVAL }

// Readiness implements waiter.Waitable.
func (p *pidfdFile) Readiness(mask waiter.EventMask) waiter.EventMask {
	select {
	case <-p.tg.Done():
		return mask & (waiter.EventIn | waiter.EventRdNorm)
	default:
		return 0
	}
}

// EventRegister implements waiter.Waitable.
func (p *pidfdFile) EventRegister(e *waiter.Entry) error { return p.tg.ExitEvents().EventRegister(e) }

// EventUnregister implements waiter.Waitable.
func (p *pidfdFile) EventUnregister(e *waiter.Entry) { p.tg.ExitEvents().EventUnregister(e) }

// ThreadGroup is for /proc/self/fdinfo.
func (p *pidfdFile) ThreadGroup() *kernel.ThreadGroup { return p.tg }

func newPIDFD(t *kernel.Task, tg *kernel.ThreadGroup, flags uint32) (int32, error) {
	file := vfs.NewAnonFile("[pidfd]", &pidfdFile{tg: tg}, unix.O_RDWR|flags)
	defer file.DecRef(t)
	return t.FDTable().New(0, file, true, t.ThreadGroup().Limits().Get(unix.RLIMIT_NOFILE).Cur)
}

func installPIDFD(t, child *kernel.Task, addr uintptr) error {
	fd, err := newPIDFD(t, child.ThreadGroup(), 0)
	if err != nil {
		return err
	}
	if err := kernel.CopyOut(t, addr, &fd); err != nil {
		removeFD(t, fd)
		return err
	}
	return nil
}

func removeFD(t *kernel.Task, fd int32) {
	if f := t.FDTable().Remove(fd); f != nil {
		t.FDTable().CloseFile(t, f)
	}
}

func pidfdOpen(t *kernel.Task, a arch.Args) (uintptr, error) {
	pid, flags := a.Int(0), a.Uint(1)
	if flags&^unix.PIDFD_NONBLOCK != 0 || pid <= 0 {
		return 0, unix.EINVAL
	}
	task := t.PIDNamespace().Task(pid)
	if task == nil {
		return 0, unix.ESRCH
	}
	tg := task.ThreadGroup()
	if tg.Leader() != task {
		return 0, unix.EINVAL
	}
	fd, err := newPIDFD(t, tg, flags)
	return uintptr(fd), err
}

// processDirectory is the inode of /proc/PID, which pidfd_send_signal(2) takes for a pidfd.
type processDirectory interface {
	ProcessOfDirectory() *kernel.ThreadGroup // nil: of a thread
}

func threadGroupToSignal(t *kernel.Task, fd int32) (*kernel.ThreadGroup, error) {
	tg, _, err := threadGroupOfPIDFD(t, fd)
	if err == nil {
		return tg, nil
	}
	f := t.FDTable().Get(fd)
	if f == nil {
		return nil, unix.EBADF
	}
	defer f.DecRef(t)
	if d, ok := f.Inode().(processDirectory); ok && !f.PathOnly() {
		if tg := d.ProcessOfDirectory(); tg != nil {
			return tg, nil
		}
	}
	return nil, err
}

func threadGroupOfPIDFD(t *kernel.Task, fd int32) (tg *kernel.ThreadGroup, nonblock bool, err error) {
	f := t.FDTable().Get(fd)
	if f == nil {
		return nil, false, unix.EBADF
	}
	defer f.DecRef(t)
	p, ok := f.File().(*pidfdFile)
	if !ok {
		return nil, false, unix.EBADF
	}
	return p.tg, f.StatusFlags()&unix.O_NONBLOCK != 0, nil
}

func pidfdSendSignal(t *kernel.Task, a arch.Args) (uintptr, error) {
	tg, err := threadGroupToSignal(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	if a.Uint(3) != 0 {
		return 0, unix.EINVAL
	}
	signo := a.Int(1)
	info := arch.NewUserSignal(signo, arch.SiUser, t.PID(), int32(t.UserNamespace().UID(t.Credentials().RealUID)))
	if p := a.Pointer(2); p != 0 {
		if err := kernel.CopyIn(t, p, &info); err != nil {
			return 0, err
		}
		if info.Signo != signo {
			return 0, unix.EINVAL
		}
		if (info.Code >= 0 || info.Code == arch.SiTkill) && tg != t.ThreadGroup() {
			return 0, unix.EPERM
		}
	}
	return 0, signalProcess(t, tg, &info)
}

func pidfdGetFD(t *kernel.Task, a arch.Args) (uintptr, error) {
	tg, _, err := threadGroupOfPIDFD(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	if a.Uint(2) != 0 {
		return 0, unix.EINVAL
	}
	leader := tg.Leader()
	if !t.MayTrace(leader) {
		return 0, unix.EPERM
	}
	fds := leader.WithFDTable()
	if fds == nil {
		return 0, unix.ESRCH
	}
	defer fds.DecRef(t)
	f := fds.Get(a.Int(1))
	if f == nil {
		return 0, unix.EBADF
	}
	defer f.DecRef(t)
	fd, err := t.FDTable().New(0, f, true, t.ThreadGroup().Limits().Get(unix.RLIMIT_NOFILE).Cur)
	return uintptr(fd), err
}
