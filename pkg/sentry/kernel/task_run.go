package kernel

import (
	"errors"
	"fmt"
	"runtime/debug"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/platform"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/mm"
)

// start begins the task's goroutine, once.
func (t *Task) start() {
	if t.started.Swap(true) {
		return
	}
	t.k.tasksDone.Add(1)
	go t.run()
}

// run is the life of a task: into the application, out with an event, and before each
// return to the application whatever asked for attention.
func (t *Task) run() {
	defer t.k.tasksDone.Done()
	debug.SetPanicOnFault(true) // see usermem
	t.setState(StateRunning)    // it may have been saved in its sleep
	t.k.cpuShare.change(1)
	defer t.k.cpuShare.change(-1)
	for {
		if t.attention.Load() || t.restart != nil || t.haveSavedMask {
			t.k.waitUnpaused(t)
			if t.deliverSignals() {
				break
			}
		}
		as := t.mm.AddressSpace()
		t.times.enterUser(t.k.cpuShare.now())
		ev, err := t.pctx.Switch(as, t.arch)
		t.times.leaveUser(t.k.cpuShare.now())
		if err != nil {
			t.platformFailed(err)
			break
		}
		switch ev.Kind {
		case platform.EventSyscall:
			if ev.Hot && !t.ptrace.traced() {
				t.mm.PatchSyscall(t.arch.IP(), t.arch.SyscallNo())
			}
			t.syscall()
		case platform.EventFault:
			t.fault(&ev)
		case platform.EventSignal:
			info := ev.Info
			if info.Signo == int32(unix.SIGILL) {
				if ip, ok := t.mm.PatchedReturn(t.arch.IP()); ok {
					t.arch.SetIP(ip)
					continue
				}
			}
			t.forceSignal(&info)
		case platform.EventInterrupt:
			t.attention.Store(true)
		}
	}
	t.exit()
}

// syscall carries out the system call in the registers.
func (t *Task) syscall() {
	nr := t.arch.SyscallNo()
	t.lastSyscall = nr
	if t.hasSyscallHooks() && t.syscallEnterHooks(&nr) {
		if t.hasSyscallHooks() {
			t.syscallExitHooks(nr)
		}
		return
	}
	ret, err := t.invoke(nr, t.arch.Args())
	t.finishSyscall(nr, ret, err)
}

// invoke calls the function of system call nr.
func (t *Task) invoke(nr uintptr, args arch.Args) (uintptr, error) {
	var s *Syscall
	if nr < MaxSyscall {
		s = &t.k.syscalls[nr]
	}
	if s == nil || s.Fn == nil {
		if t.k.reporter != nil {
			t.k.reporter.UnsupportedSyscall(t, s, nr)
		}
		return 0, unix.ENOSYS
	}
	tr := t.k.tracer.Load()
	if tr == nil {
		return s.Fn(t, args)
	}
	tr.Enter(t, s, args)
	begin := t.k.monotonic.Now()
	ret, err := s.Fn(t, args)
	tr.Exit(t, s, args, ret, err, t.k.monotonic.Now()-begin)
	return ret, err
}

// finishSyscall stores the result where the application finds it.
func (t *Task) finishSyscall(nr, ret uintptr, err error) {
	if t.noReturn {
		t.noReturn = false
	} else if err == nil {
		t.arch.SetReturn(ret)
	} else if linux.IsRestart(err) {
		t.restart = err
		t.arch.SetReturn(errnoResult(unix.EINTR))
	} else {
		t.arch.SetReturn(errnoResult(errnoOf(err)))
	}
	if t.hasSyscallHooks() {
		t.syscallExitHooks(nr)
	}
}

// errnoOf finds the errno in an error; an error without one is a bug of the sentry that
// the application sees as EIO.
func errnoOf(err error) unix.Errno {
	if e, ok := err.(unix.Errno); ok { // nearly always, and without errors.As's reflection
		return e
	}
	var e unix.Errno
	if errors.As(err, &e) {
		return e
	}
	return unix.EIO
}

// fault lets mm repair an application's page fault, or sends the signal.
func (t *Task) fault(ev *platform.Event) {
	f := mm.Fault{Addr: ev.Addr, Access: ev.Access, Bus: ev.Info.Signo == int32(unix.SIGBUS)}
	if ev.AccessUnknown {
		f.Access = memmap.NoAccess
	}
	err := t.mm.HandleFault(f)
	if err == nil {
		return
	}
	info := ev.Info
	if f, ok := err.(*mm.FaultError); ok {
		info = arch.NewFaultSignal(f.Signo, f.Code, uint64(ev.Addr))
	} else if info.Signo == 0 {
		info = arch.NewFaultSignal(int32(unix.SIGSEGV), 1, uint64(ev.Addr))
	}
	t.forceSignal(&info)
}

// platformFailed ends a task whose address space the host took away.
func (t *Task) platformFailed(err error) {
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	t.groupExitLocked(uint32(unix.SIGKILL))
	t.k.logf("task %d (%s): platform: %v", t.pids.nrs[0], t.name, err)
}

func (k *Kernel) logf(format string, args ...any) {
	if l, ok := k.reporter.(interface{ Warningf(string, ...any) }); ok {
		l.Warningf(format, args...)
	}
}

// String names the task in logs.
func (t *Task) String() string { return fmt.Sprintf("%d(%s)", t.pids.nrs[0], t.Name()) }

// errnoResult is what RAX holds when a system call fails with e.
func errnoResult(e unix.Errno) uintptr { return -uintptr(e) }
