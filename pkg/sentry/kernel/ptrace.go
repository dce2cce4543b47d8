package kernel

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
)

// ptraceState is a task's side of ptrace(2), as tracee and as tracer.
//
// A tracee halts itself in ptraceStop on its own goroutine; its tracer finds it with stopped
// set, and reads or writes registers with signalMu held, so that a tracee that is killed
// meanwhile cannot run on before the access is over.
type ptraceState struct {
	// tracer is written with tasksMu (for writing) and signalMu held, and read with either,
	// or by the tracee itself, which looks again with a lock before it acts.
	tracer atomic.Pointer[Task]

	// Guarded by Kernel.tasksMu: whom this task traces, and the threads of other processes
	// that it traced to their end and has not waited for.
	tracees map[*Task]struct{}
	ended   []endedTracee

	// The fields below are guarded by signalMu.
	seized        bool
	options       uint32 // PTRACE_O_*
	trapStop      bool   // PTRACE_INTERRUPT, or a seized child's first stop
	trapNotify    bool   // a seized tracee is to report a change of the group stop
	stopTaken     bool   // its tracer let it run on although its group is stopped
	stopped       bool
	listening     bool // PTRACE_LISTEN
	stop          ptraceStopKind
	code          uint32 // what wait(2) shows above its low byte
	unreported    bool   // no wait(2) has seen the stop
	message       uint64 // PTRACE_GETEVENTMSG
	info          arch.SignalInfo
	hasInfo       bool
	resume        ptraceResume
	injected      int32 // the signal of the request that let it run
	fpChanged     bool
	forcedStep    bool // the trap flag is ours, not the application's
	skipExitStop  bool // the present system call is not carried out, for PTRACE_SYSEMU
	formerPIDs    pids // numbers before an exec by a thread other than the leader
	debugRegister [8]uint64
}

type endedTracee struct {
	pids   pids
	task   *Task
	status uint32
}

// ptraceStopKind says where a tracee has stopped.
type ptraceStopKind uint8

const (
	stopSignal ptraceStopKind = iota // signal-delivery-stop
	stopGroup                        // group-stop, PTRACE_EVENT_STOP
	stopSyscall
	stopEvent
	stopExit // PTRACE_EVENT_EXIT
)

// ptraceResume says how a tracee goes on.
type ptraceResume uint8

const (
	resumeCont ptraceResume = iota
	resumeSyscall
	resumeStep
	resumeSysemu
	resumeSysemuStep
)

func (r ptraceResume) steps() bool { return r == resumeStep || r == resumeSysemuStep }

const (
	eventStop         = 128 // PTRACE_EVENT_STOP
	messageEntry      = 1   // PTRACE_EVENTMSG_SYSCALL_ENTRY
	messageExit       = 2
	syscallGood       = 0x80
	ptraceOptionsMask = 0xff | unix.PTRACE_O_EXITKILL
)

// traced says whether some task traces this one.
func (p *ptraceState) traced() bool { return p.tracer.Load() != nil }

func (p *ptraceState) trapPending() bool { return p.trapStop || p.trapNotify }

// Tracer is the thread that traces t, or nil.
func (t *Task) Tracer() *Task { return t.ptrace.tracer.Load() }

// ptraceLink makes tracer trace t. tasksMu is held for writing, and t's signalMu.
func (t *Task) ptraceLink(tracer *Task, seized bool, options uint32) {
	p := &t.ptrace
	p.seized, p.options = seized, options
	p.resume, p.injected = resumeCont, 0
	p.trapStop, p.trapNotify, p.stopTaken = false, false, false
	p.tracer.Store(tracer)
	if tracer.ptrace.tracees == nil {
		tracer.ptrace.tracees = map[*Task]struct{}{}
	}
	tracer.ptrace.tracees[t] = struct{}{}
}

// ptraceUnlink ends tracing; a stopped tracee runs on, or takes part in the stop of its
// group. tasksMu is held for writing, and t's signalMu.
func (t *Task) ptraceUnlink(signo int32) {
	p := &t.ptrace
	tracer := p.tracer.Load()
	if tracer == nil {
		return
	}
	delete(tracer.ptrace.tracees, t)
	p.tracer.Store(nil)
	p.options, p.seized = 0, false
	p.trapStop, p.trapNotify, p.stopTaken = false, false, false
	p.resume, p.injected = resumeCont, signo
	p.stopped, p.listening, p.unreported = false, false, false
	t.attention.Store(true)
	t.wakeFromStop()
}

// wakeFromStop makes the loop of ptraceStop, or of participateInStop, look again.
func (t *Task) wakeFromStop() {
	select {
	case t.interruptC <- struct{}{}:
	default:
	}
}

// ptraceStop halts t until its tracer lets it run, and returns the signal that the tracer
// sends it on with. It returns at once if t is not traced or is killed (except for the exit
// event). No lock is held.
func (t *Task) ptraceStop(kind ptraceStopKind, code uint32, info *arch.SignalInfo, message uint64) int32 {
	k, tg, p := t.k, t.tg, &t.ptrace
	if !p.traced() {
		return 0
	}
	if t.mm != nil {
		// A lost address space has no such state; the task is about to die.
		_ = t.pctx.PullFullState(t.mm.AddressSpace(), t.arch)
		t.mm.UnpatchSyscalls() // the tracer sees and steps through the program's own code
	}
	k.tasksMu.RLock()
	tg.signalMu.Lock()
	tracer := p.tracer.Load()
	if tracer == nil || t.killed && kind != stopExit {
		tg.signalMu.Unlock()
		k.tasksMu.RUnlock()
		return 0
	}
	if p.forcedStep {
		p.forcedStep = false
		t.arch.SetSingleStep(false)
	}
	if t.restart != nil {
		t.arch.SetReturn(-uintptr(linux.RestartNumber(t.restart)))
	}
	p.stopped, p.listening, p.stop, p.code, p.unreported = true, false, kind, code, true
	p.message, p.injected, p.trapStop = message, 0, false
	if kind == stopGroup {
		p.trapNotify = false
	}
	if p.hasInfo = info != nil; info != nil {
		p.info = *info
	}
	t.asleep(StateTraced)
	tg.signalMu.Unlock()
	t.tellTracer(tracer, code)
	k.tasksMu.RUnlock()

	for {
		tg.signalMu.Lock()
		if !p.stopped || t.killed && kind != stopExit {
			break
		}
		tg.signalMu.Unlock()
		<-t.interruptC
	}
	p.stopped, p.listening, p.unreported = false, false, false
	if info != nil {
		*info = p.info
	}
	if p.fpChanged {
		p.fpChanged = false
		t.pctx.FullStateChanged()
	}
	// What the tracer left in the registers decides whether the call is restarted.
	t.restart = nil
	if int64(t.arch.Regs.OrigRax) >= 0 {
		if t.restart = linux.RestartFromNumber(-int(t.arch.Return())); t.restart != nil {
			t.arch.SetReturn(errnoResult(unix.EINTR))
		}
	}
	if p.resume.steps() && p.traced() && !t.arch.SingleStep() {
		p.forcedStep = true
		t.arch.SetSingleStep(true)
	}
	signo := p.injected
	p.injected = 0
	t.awake()
	t.attention.Store(true)
	tg.signalMu.Unlock()
	return signo
}

// tellTracer sends SIGCHLD for a stop and wakes wait(2). tasksMu is held for reading.
func (t *Task) tellTracer(tracer *Task, code uint32) {
	ptg := tracer.tg
	ptg.signalMu.Lock()
	a := ptg.handlers.actions[unix.SIGCHLD]
	ptg.signalMu.Unlock()
	if a.Handler != arch.SigIgn && a.Flags&arch.SaNoCldStop == 0 {
		info := arch.SignalInfo{Signo: int32(unix.SIGCHLD), Code: arch.CldTrapped}
		info.SetPID(t.pids.in(tracer.pids.ns))
		info.SetUID(int32(tracer.UserNamespace().UID(t.Credentials().RealUID)))
		info.SetStatus(int32(code & 0x7f))
		ptg.sendSignalLocked(&info, nil)
	}
	ptg.notifyWaiters()
}

// trapInfo is the siginfo of a stop that no signal caused.
func (t *Task) trapInfo(code uint32) *arch.SignalInfo {
	info := arch.NewUserSignal(int32(unix.SIGTRAP), int32(code), t.ThreadID(), int32(t.UserNamespace().UID(t.Credentials().RealUID)))
	return &info
}

// ptraceTrap stops with code, and sends itself the signal that the tracer asked for.
func (t *Task) ptraceTrap(kind ptraceStopKind, code uint32, message uint64) {
	if signo := t.ptraceStop(kind, code, t.trapInfo(code), message); signo != 0 {
		info := arch.NewKernelSignal(signo)
		t.SendSignal(&info)
	}
}

// ptraceInterruptStop is PTRACE_EVENT_STOP outside of a group stop. signalMu is held, and
// released if it returns true.
func (t *Task) ptraceInterruptStop() bool {
	p, tg := &t.ptrace, t.tg
	p.trapStop, p.trapNotify = false, false
	if !p.traced() || !p.seized {
		return false
	}
	signo := uint32(unix.SIGTRAP)
	if tg.stop.pending {
		signo = uint32(tg.stop.signo)
	}
	tg.signalMu.Unlock()
	code := signo | eventStop<<8
	t.ptraceStop(stopGroup, code, t.trapInfo(code), 0)
	return true
}

// ptraceGroupStop is a tracee's part in the stop of its group. signalMu is held and
// released.
func (t *Task) ptraceGroupStop() {
	tg, p := t.tg, &t.ptrace
	t.stopped = true
	reached := tg.stopReachedLocked()
	code := uint32(tg.stop.signo)
	seized := p.seized
	tracer := p.tracer.Load()
	tg.signalMu.Unlock()
	if reached && (tracer == nil || tracer.tg != tg.Parent()) {
		tg.notifyParentStop()
	}
	if seized {
		code |= eventStop << 8
		t.ptraceStop(stopGroup, code, t.trapInfo(code), 0)
	} else {
		t.ptraceStop(stopGroup, code, nil, 0)
	}
	tg.signalMu.Lock()
	t.stopped = false
	p.stopTaken = tg.stop.pending && p.traced()
	tg.signalMu.Unlock()
}

// ptraceSignalStop reports a signal that is about to be delivered. It returns false if the
// tracer suppressed it. signalMu is held, and released meanwhile.
func (t *Task) ptraceSignalStop(info *arch.SignalInfo) bool {
	tg := t.tg
	tracer := t.ptrace.tracer.Load()
	first := info.Signo
	tg.signalMu.Unlock()
	signo := t.ptraceStop(stopSignal, uint32(first), info, 0)
	tg.signalMu.Lock()
	if signo == 0 || t.killed {
		return false
	}
	if signo != info.Signo {
		*info = arch.NewUserSignal(signo, arch.SiUser, 0, 0)
		if tracer != nil {
			info.SetPID(tracer.pids.in(t.pids.ns))
			info.SetUID(int32(t.UserNamespace().UID(tracer.Credentials().RealUID)))
		}
	}
	if t.mask&arch.SignalBit(signo) != 0 {
		t.k.enqueueSignal(&t.pending, info, nil, t.Credentials().RealUID, ^uint64(0))
		return false
	}
	return true
}

// ptraceStepIntoHandler ends a single step that led into a signal handler.
func (t *Task) ptraceStepIntoHandler(stepping bool) {
	if stepping {
		t.ptraceTrap(stopEvent, uint32(unix.SIGTRAP), 0)
	}
}

// ptraceClearStep takes the trap flag back before it is saved in a signal frame, and says
// whether it was set for the tracer.
func (t *Task) ptraceClearStep() bool {
	if !t.ptrace.forcedStep {
		return false
	}
	t.ptrace.forcedStep = false
	t.arch.SetSingleStep(false)
	return t.ptrace.traced()
}

func (t *Task) ptraceMode() (options uint32, r ptraceResume) {
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	return t.ptrace.options, t.ptrace.resume
}

// ptraceSyscallEnter is the stop before a system call. *nr becomes what the tracer made of
// it; true: the call is not carried out.
func (t *Task) ptraceSyscallEnter(nr *uintptr) bool {
	options, r := t.ptraceMode()
	t.ptrace.skipExitStop = false
	if r != resumeSyscall && r != resumeSysemu && r != resumeSysemuStep {
		return false
	}
	code := uint32(unix.SIGTRAP)
	if options&unix.PTRACE_O_TRACESYSGOOD != 0 {
		code |= syscallGood
	}
	t.ptraceTrap(stopSyscall, code, messageEntry)
	if r != resumeSyscall {
		t.ptrace.skipExitStop = r == resumeSysemu
		return true
	}
	*nr = t.arch.SyscallNo()
	return int32(t.arch.Regs.OrigRax) < 0 || t.Killed()
}

// ptraceSyscallExit is the stop behind a system call.
func (t *Task) ptraceSyscallExit(nr uintptr) {
	options, r := t.ptraceMode()
	switch {
	case t.ptrace.skipExitStop:
		t.ptrace.skipExitStop = false
	case r == resumeSyscall:
		code := uint32(unix.SIGTRAP)
		if options&unix.PTRACE_O_TRACESYSGOOD != 0 {
			code |= syscallGood
		}
		t.ptraceTrap(stopSyscall, code, messageExit)
	case r.steps():
		info := arch.NewFaultSignal(int32(unix.SIGTRAP), arch.TrapBrkpt, uint64(t.arch.IP()))
		t.forceSignal(&info)
	}
}

// ptraceSeccomp is the stop of SECCOMP_RET_TRACE; false: nobody wants it.
func (t *Task) ptraceSeccomp(value uint32) bool {
	options, _ := t.ptraceMode()
	if !t.ptrace.traced() || options&unix.PTRACE_O_TRACESECCOMP == 0 {
		return false
	}
	t.ptraceTrap(stopEvent, uint32(unix.SIGTRAP)|unix.PTRACE_EVENT_SECCOMP<<8, uint64(value))
	return true
}

// ptraceExitEvent is the stop at the beginning of exit.
func (t *Task) ptraceExitEvent() {
	if !t.ptrace.traced() {
		return
	}
	t.tg.signalMu.Lock()
	options, status := t.ptrace.options, t.exitCode
	if t.tg.exiting {
		status = t.tg.exitCode
	}
	t.tg.signalMu.Unlock()
	if options&unix.PTRACE_O_TRACEEXIT != 0 {
		code := uint32(unix.SIGTRAP) | unix.PTRACE_EVENT_EXIT<<8
		t.ptraceStop(stopExit, code, t.trapInfo(code), uint64(status))
	}
}

// ptraceExecEvent is the stop behind a successful execve(2), or the signal that takes its
// place.
func (t *Task) ptraceExecEvent() {
	tracer := t.ptrace.tracer.Load()
	if tracer == nil {
		return
	}
	// As on Linux the new program's first registers still name the call.
	t.arch.Regs.OrigRax = uint64(t.lastSyscall)
	t.tg.signalMu.Lock()
	options, seized, former := t.ptrace.options, t.ptrace.seized, t.ptrace.formerPIDs
	t.ptrace.formerPIDs = pids{}
	t.tg.signalMu.Unlock()
	if former.ns == nil {
		former = t.pids
	}
	if options&unix.PTRACE_O_TRACEEXEC != 0 {
		t.ptraceTrap(stopEvent, uint32(unix.SIGTRAP)|unix.PTRACE_EVENT_EXEC<<8, uint64(former.in(tracer.pids.ns)))
	} else if !seized {
		info := arch.NewUserSignal(int32(unix.SIGTRAP), arch.SiUser, t.PID(), int32(t.UserNamespace().UID(t.Credentials().RealUID)))
		t.SendSignal(&info)
	}
}

// cloneEvent is the event of a clone, 0 if its flags keep it from the tracer.
func cloneEvent(a *CloneArgs) uint32 {
	switch {
	case a.Flags&unix.CLONE_UNTRACED != 0:
		return 0
	case a.Flags&unix.CLONE_VFORK != 0:
		return unix.PTRACE_EVENT_VFORK
	case a.ExitSignal != int32(unix.SIGCHLD):
		return unix.PTRACE_EVENT_CLONE
	}
	return unix.PTRACE_EVENT_FORK
}

// ptraceCloned makes t's tracer trace the child c too, if it asked for that. c does not run
// yet.
func (t *Task) ptraceCloned(c *Task, a *CloneArgs) {
	if !t.ptrace.traced() {
		return
	}
	t.k.tasksMu.Lock()
	defer t.k.tasksMu.Unlock()
	tracer := t.ptrace.tracer.Load()
	if tracer == nil || tracer.exited.Load() {
		return
	}
	options, seized := t.ptrace.options, t.ptrace.seized
	ev := cloneEvent(a)
	if (ev == 0 || options&(1<<ev) == 0) && a.Flags&unix.CLONE_PTRACE == 0 {
		return
	}
	c.tg.signalMu.Lock()
	defer c.tg.signalMu.Unlock()
	c.ptraceLink(tracer, seized, options)
	if seized {
		c.ptrace.trapStop = true
	} else {
		info := arch.NewKernelSignal(int32(unix.SIGSTOP))
		t.k.enqueueSignal(&c.pending, &info, nil, c.Credentials().RealUID, ^uint64(0))
	}
	c.attention.Store(true)
}

// PtraceCloneEvent is the parent's stop after it has started the child c.
func (t *Task) PtraceCloneEvent(c *Task, a *CloneArgs) {
	if ev := cloneEvent(a); ev != 0 {
		t.ptraceEvent(ev, c)
	}
}

// PtraceVforkDone is the parent's stop when the child of vfork(2) has let go of its memory.
func (t *Task) PtraceVforkDone(c *Task) { t.ptraceEvent(unix.PTRACE_EVENT_VFORK_DONE, c) }

// ptraceEvent stops for an event that concerns the child c, if the tracer wants it.
func (t *Task) ptraceEvent(ev uint32, c *Task) {
	tracer := t.ptrace.tracer.Load()
	if tracer == nil {
		return
	}
	if options, _ := t.ptraceMode(); options&(1<<ev) != 0 {
		t.ptraceTrap(stopEvent, uint32(unix.SIGTRAP)|ev<<8, uint64(c.pids.in(tracer.pids.ns)))
	}
}
