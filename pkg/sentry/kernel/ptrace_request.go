package kernel

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
)

// PtraceTraceMe is PTRACE_TRACEME: the parent becomes the caller's tracer. EPERM: it is
// traced already.
func (t *Task) PtraceTraceMe() error {
	k := t.k
	k.tasksMu.Lock()
	defer k.tasksMu.Unlock()
	parent := t.tg.parent
	if t.ptrace.traced() {
		return unix.EPERM
	}
	if parent == nil {
		return nil // there is nobody to trace it, as with a parent in an outer namespace
	}
	tracer := t.tg.leader.creator
	if tracer == nil || tracer.tg != parent || tracer.exited.Load() {
		tracer = parent.leader
	}
	if tracer.exited.Load() {
		return nil
	}
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	t.ptraceLink(tracer, false, 0)
	return nil
}

// PtraceAttach is PTRACE_ATTACH, or with seize PTRACE_SEIZE with these options. EPERM: the
// caller may not trace c, or c is traced already or is ending.
func (t *Task) PtraceAttach(c *Task, seize bool, options uint32) error {
	if c.tg == t.tg || !t.MayTrace(c) {
		return unix.EPERM
	}
	k := t.k
	k.tasksMu.Lock()
	defer k.tasksMu.Unlock()
	if c.ptrace.traced() || c.exited.Load() || t.exited.Load() {
		return unix.EPERM
	}
	c.tg.signalMu.Lock()
	defer c.tg.signalMu.Unlock()
	c.ptraceLink(t, seize, options)
	if !seize {
		info := arch.NewKernelSignal(int32(unix.SIGSTOP))
		c.sendLocked(&info, false, nil)
	}
	if c.stopped {
		// It leaves the plain stop of its group for one that the tracer sees.
		c.wakeFromStop()
	}
	return nil
}

// PtraceTracee says whether c is a tracee of the calling thread (ESRCH: no) and, if stopped
// is set, whether it has stopped (ESRCH).
func (t *Task) PtraceTracee(c *Task, stopped bool) error {
	c.tg.signalMu.Lock()
	defer c.tg.signalMu.Unlock()
	return t.traceeLocked(c, stopped)
}

func (t *Task) traceeLocked(c *Task, stopped bool) error {
	if c.ptrace.tracer.Load() != t {
		return unix.ESRCH
	}
	if stopped && (!c.ptrace.stopped || c.ptrace.listening || c.killed && c.ptrace.stop != stopExit) {
		return unix.ESRCH
	}
	return nil
}

// withStopped runs f on a stopped tracee, which cannot go on meanwhile. f must not touch
// application memory.
func (t *Task) withStopped(c *Task, f func() error) error {
	c.tg.signalMu.Lock()
	defer c.tg.signalMu.Unlock()
	if err := t.traceeLocked(c, true); err != nil {
		return err
	}
	return f()
}

// PtraceInterrupt is PTRACE_INTERRUPT. EIO: c is not seized.
func (t *Task) PtraceInterrupt(c *Task) error {
	c.tg.signalMu.Lock()
	defer c.tg.signalMu.Unlock()
	if err := t.traceeLocked(c, false); err != nil {
		return err
	}
	p := &c.ptrace
	if !p.seized {
		return unix.EIO
	}
	p.trapStop = true
	if p.listening {
		p.stopped = false
	}
	c.interrupt()
	return nil
}

// PtraceListen is PTRACE_LISTEN. EIO: c is not seized or not in a group-stop.
func (t *Task) PtraceListen(c *Task) error {
	return t.withStopped(c, func() error {
		p := &c.ptrace
		if !p.seized || p.stop != stopGroup {
			return unix.EIO
		}
		if p.trapNotify {
			// The change that it would wait for has come already.
			p.stopped = false
			c.wakeFromStop()
			return nil
		}
		p.listening = true
		return nil
	})
}

// PtraceResume lets c run on in one of the ways of the requests PTRACE_CONT and so on, with
// signo delivered to it, if it is not 0. EIO: no such signal or request.
func (t *Task) PtraceResume(c *Task, request int32, signo uint64) error {
	if signo > NumSignals {
		return unix.EIO
	}
	var r ptraceResume
	switch request {
	case unix.PTRACE_CONT:
	case unix.PTRACE_SYSCALL:
		r = resumeSyscall
	case unix.PTRACE_SINGLESTEP:
		r = resumeStep
	case unix.PTRACE_SYSEMU:
		r = resumeSysemu
	case unix.PTRACE_SYSEMU_SINGLESTEP:
		r = resumeSysemuStep
	default:
		return unix.EIO
	}
	return t.withStopped(c, func() error {
		p := &c.ptrace
		p.resume, p.injected, p.stopped = r, int32(signo), false
		c.wakeFromStop()
		return nil
	})
}

// PtraceDetach is PTRACE_DETACH with signal signo. EIO: no such signal.
func (t *Task) PtraceDetach(c *Task, signo uint64) error {
	if signo > NumSignals {
		return unix.EIO
	}
	t.k.tasksMu.Lock()
	defer t.k.tasksMu.Unlock()
	return t.withStopped(c, func() error {
		c.ptraceUnlink(int32(signo))
		return nil
	})
}

// PtraceSetOptions is PTRACE_SETOPTIONS; see CheckPtraceOptions.
func (t *Task) PtraceSetOptions(c *Task, options uint32) error {
	return t.withStopped(c, func() error {
		c.ptrace.options = options
		return nil
	})
}

// CheckPtraceOptions says whether all bits are known (EINVAL) and allowed (EPERM).
func CheckPtraceOptions(options uint64) error {
	switch {
	case options&^(ptraceOptionsMask|unix.PTRACE_O_SUSPEND_SECCOMP) != 0:
		return unix.EINVAL
	case options&unix.PTRACE_O_SUSPEND_SECCOMP != 0:
		return unix.EPERM
	}
	return nil
}

// PtraceEventMessage is PTRACE_GETEVENTMSG.
func (t *Task) PtraceEventMessage(c *Task) (m uint64, err error) {
	err = t.withStopped(c, func() error { m = c.ptrace.message; return nil })
	return m, err
}

// PtraceSignalInfo is PTRACE_GETSIGINFO. EINVAL: no signal caused the stop.
func (t *Task) PtraceSignalInfo(c *Task) (info arch.SignalInfo, err error) {
	err = t.withStopped(c, func() error {
		if !c.ptrace.hasInfo {
			return unix.EINVAL
		}
		info = c.ptrace.info
		return nil
	})
	return info, err
}

// PtraceSetSignalInfo is PTRACE_SETSIGINFO.
func (t *Task) PtraceSetSignalInfo(c *Task, info *arch.SignalInfo) error {
	return t.withStopped(c, func() error {
		if !c.ptrace.hasInfo {
			return unix.EINVAL
		}
		c.ptrace.info = *info
		return nil
	})
}

// PtracePeekSignals is PTRACE_PEEKSIGINFO: up to n pending signals behind the first off, of
// the process if shared is set.
func (t *Task) PtracePeekSignals(c *Task, off uint64, n int, shared bool) (out []arch.SignalInfo, err error) {
	err = t.withStopped(c, func() error {
		p := &c.pending
		if shared {
			p = &c.tg.pending
		}
		for _, q := range p.queues {
			for ; q != nil && len(out) < n; q = q.next {
				if off > 0 {
					off--
					continue
				}
				out = append(out, q.info)
			}
		}
		return nil
	})
	return out, err
}

// PtraceSignalMask is PTRACE_GETSIGMASK, and with set PTRACE_SETSIGMASK.
func (t *Task) PtraceSignalMask(c *Task, set *arch.SignalSet) (old arch.SignalSet, err error) {
	err = t.withStopped(c, func() error {
		old = c.mask
		if c.haveSavedMask {
			old = c.savedMask
		}
		if set != nil {
			c.mask = *set &^ unblockable
			c.haveSavedMask = false
			c.attention.Store(true)
		}
		return nil
	})
	return old, err
}

// PtraceRegisters is PTRACE_GETREGS.
func (t *Task) PtraceRegisters(c *Task) (r arch.Registers, err error) {
	err = t.withStopped(c, func() error { r = c.arch.Regs; return nil })
	return r, err
}

// PtraceSetRegisters is PTRACE_SETREGS by f, which changes a copy of the registers. EIO:
// registers that user code cannot have.
func (t *Task) PtraceSetRegisters(c *Task, f func(*arch.Registers) error) error {
	return t.withStopped(c, func() error {
		r := c.arch.Regs
		if err := f(&r); err != nil {
			return err
		}
		if !r.Sanitize(&c.arch.Regs) {
			return unix.EIO
		}
		r.KeepFlags(&c.arch.Regs)
		c.arch.Regs = r
		return nil
	})
}

// PtraceFP copies the XSAVE area out.
func (t *Task) PtraceFP(c *Task) (fp arch.FPState, err error) {
	err = t.withStopped(c, func() error { fp = c.arch.FP.Clone(); return nil })
	return fp, err
}

// PtraceSetFP replaces the XSAVE area. EINVAL: the processor would refuse it.
func (t *Task) PtraceSetFP(c *Task, fp []byte) error {
	return t.withStopped(c, func() error {
		if err := c.arch.FP.Load(fp, ^uint64(0)); err != nil {
			return err
		}
		c.ptrace.fpChanged = true
		return nil
	})
}

// PtraceDebugRegister reads or, with v, records debug register i. There are no hardware
// breakpoints: enabling one is ENOSPC.
func (t *Task) PtraceDebugRegister(c *Task, i int, v *uint64) (old uint64, err error) {
	err = t.withStopped(c, func() error {
		old = c.ptrace.debugRegister[i]
		switch {
		case v == nil:
		case i == 4 || i == 5:
			return unix.EIO
		case i == 7 && *v&0xff != 0:
			return unix.ENOSPC
		default:
			c.ptrace.debugRegister[i] = *v
		}
		return nil
	})
	return old, err
}

// PtraceSyscallInfo is struct ptrace_syscall_info.
type PtraceSyscallInfo struct {
	Op   uint8
	_    [3]uint8
	Arch uint32
	IP   uint64
	SP   uint64
	// The members of the union: nr and args of an entry; rval and is_error of an exit.
	Union [7]uint64
	Value uint32 // ret_data of a seccomp stop
	_     uint32
}

// PtraceSyscall is PTRACE_GET_SYSCALL_INFO; size is how much of the struct counts.
func (t *Task) PtraceSyscall(c *Task) (i PtraceSyscallInfo, size uintptr, err error) {
	err = t.withStopped(c, func() error {
		p, r := &c.ptrace, &c.arch.Regs
		i.Arch, i.IP, i.SP = unix.AUDIT_ARCH_X86_64, r.Rip, r.Rsp
		size = unsafe.Offsetof(i.Union)
		entry := func(op uint8) {
			i.Op = op
			i.Union = [7]uint64{r.OrigRax, r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9}
			size = unsafe.Offsetof(i.Value)
		}
		switch {
		case p.hasInfo && p.code == uint32(unix.SIGTRAP)|syscallGood && p.message == messageEntry:
			entry(1)
		case p.hasInfo && p.code == uint32(unix.SIGTRAP)|syscallGood && p.message == messageExit:
			i.Op = 2
			i.Union[0] = r.Rax
			if int64(r.Rax) < 0 && int64(r.Rax) >= -4095 {
				i.Union[1] = 1
			}
			size = unsafe.Offsetof(i.Union) + 9
		case p.hasInfo && p.code == uint32(unix.SIGTRAP)|unix.PTRACE_EVENT_SECCOMP<<8:
			entry(3)
			i.Value = uint32(p.message)
			size += 4
		}
		return nil
	})
	return i, size, err
}
