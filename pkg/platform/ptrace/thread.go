package ptrace

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform/affinity"
	"runsc/pkg/sentry/arch"
)

// kickSignal makes a running stub thread stop. No event of application code has it.
const kickSignal = uint64(unix.SIGUSR1)

const ntX86XState = 0x202

// traceOptions are set for every traced thread.
const traceOptions = unix.PTRACE_O_EXITKILL | unix.PTRACE_O_TRACESYSGOOD

// Status words of wait4 beyond those of package unix.
const syscallStop = unix.SIGTRAP | 0x80

// thread is a traced thread of a stub process.
type thread struct {
	as        *addressSpace // nil for the zygote and leaders
	tgid, tid int
	dead      atomic.Bool // it is reaped

	// mu guards the fields below. It is never contended: only goroutines on one OS thread
	// take it, one after the other.
	mu sync.Mutex

	fpOf  *taskContext   // whose FP state it holds, nil if nobody's
	holds arch.Registers // what is in its registers, if known is set
	known bool
	id    uint64 // the ID flag that it has, which PTRACE_SETREGS does not change

	tracer *osThread // nil for the zygote while it is made
	bound  affinity.Thread

	lastUse uint64 // tracer.uses when it last ran; guarded by tracer.mu
}

// ptrace makes a request that does not block.
func (t *thread) ptrace(request int, addr, data uintptr) unix.Errno {
	_, _, e := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(t.tid), addr, data, 0, 0)
	return e
}

func (t *thread) getRegs(r *arch.Registers) error {
	if e := t.ptrace(unix.PTRACE_GETREGS, 0, uintptr(unsafe.Pointer(r))); e != 0 {
		return fmt.Errorf("reading registers of stub %d: %w", t.tid, e)
	}
	t.holds, t.known = *r, true
	t.id = r.Eflags & arch.FlagID
	return nil
}

// setRegs writes the registers. The host is told to neither restart a system call that the
// thread may be stopped in nor to take its RAX for a result that asks for it: whatever it was stopped
// in is over.
func (t *thread) setRegs(r *arch.Registers) unix.Errno {
	now := *r
	now.OrigRax = ^uint64(0)
	if t.known {
		// After most system calls only the result differs.
		t.holds.OrigRax, t.holds.Rax = now.OrigRax, now.Rax
		if t.holds == now && !asksForRestart(now.Rax) {
			return t.ptrace(unix.PTRACE_POKEUSR, offRax, uintptr(now.Rax))
		}
	}
	t.known = false
	return t.ptrace(unix.PTRACE_SETREGS, 0, uintptr(unsafe.Pointer(&now)))
}

// offRax is RAX's place in struct user.
const offRax = unsafe.Offsetof(arch.Registers{}.Rax)

// asksForRestart says whether the host would restart a system call with this result
// (ERESTARTSYS to ERESTART_RESTARTBLOCK) when a signal is pending.
func asksForRestart(rax uint64) bool { return rax >= ^uint64(515) && rax <= ^uint64(511) }

func (t *thread) getFP(fp arch.FPState) error {
	iov := unix.Iovec{Base: unsafe.SliceData(fp), Len: uint64(len(fp))}
	if e := t.ptrace(unix.PTRACE_GETREGSET, ntX86XState, uintptr(unsafe.Pointer(&iov))); e != 0 {
		return fmt.Errorf("reading FP state of stub %d: %w", t.tid, e)
	}
	return nil
}

func (t *thread) setFP(fp arch.FPState) unix.Errno {
	iov := unix.Iovec{Base: unsafe.SliceData(fp), Len: uint64(len(fp))}
	return t.ptrace(unix.PTRACE_SETREGSET, ntX86XState, uintptr(unsafe.Pointer(&iov)))
}

// wait returns when the thread has stopped, with its wait status. If it ended instead the
// error says how.
func (t *thread) wait() (unix.WaitStatus, error) {
	var ws uint32
	for {
		_, _, e := unix.Syscall6(unix.SYS_WAIT4, uintptr(t.tid), uintptr(unsafe.Pointer(&ws)), unix.WALL, 0, 0, 0)
		if e == unix.EINTR {
			continue
		}
		if e != 0 {
			return 0, fmt.Errorf("waiting for stub %d: %w", t.tid, e)
		}
		s := unix.WaitStatus(ws)
		if s.Stopped() {
			return s, nil
		}
		t.dead.Store(true)
		if s.Signaled() {
			return 0, fmt.Errorf("stub %d was killed by %v", t.tid, s.Signal())
		}
		return 0, fmt.Errorf("stub %d exited with status %d", t.tid, s.ExitStatus())
	}
}

// run lets the thread run the stub code at r.Rip until it stops at a breakpoint, and
// leaves its registers in r. The thread must be stopped; application registers in it are lost.
func (t *thread) run(r *arch.Registers) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.runLocked(r)
}

func (t *thread) runLocked(r *arch.Registers) error {
	if e := t.setRegs(r); e != 0 {
		return fmt.Errorf("writing registers of stub %d: %w", t.tid, e)
	}
	t.tracer.begin(t, false)
	defer t.tracer.end()
	for {
		if e := t.ptrace(unix.PTRACE_CONT, 0, 0); e != 0 {
			return fmt.Errorf("resuming stub %d: %w", t.tid, e)
		}
		ws, err := t.wait()
		if err != nil {
			return err
		}
		if ws.StopSignal() == unix.SIGTRAP && ws>>16 == 0 {
			break
		}
		// A stale kick or a signal of somebody on the host: go on without it. Anything
		// that would be repeated for ever is an error.
		switch ws.StopSignal() {
		case unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGSYS:
			return fmt.Errorf("stub %d got %v in its own code", t.tid, ws.StopSignal())
		}
	}
	return t.getRegs(r)
}

// stubRegs are registers for running stub code at ip.
func stubRegs(ip uint64) arch.Registers {
	r := arch.NewRegisters()
	r.Rip = ip
	return r
}

// setID makes the thread set or clear its own ID flag.
func (t *thread) setID(id uint64) error {
	r := stubRegs(stubPopFlags)
	r.Rsp = stubNoID
	if id != 0 {
		r.Rsp = stubWithID
	}
	return t.runLocked(&r)
}

// syscall makes the thread carry out one system call.
func (t *thread) syscall(ip uint64, nr uintptr, a arch.Args) (uintptr, error) {
	r := stubRegs(ip)
	r.Rax = uint64(nr)
	r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = uint64(a[0]), uint64(a[1]), uint64(a[2]), uint64(a[3]), uint64(a[4]), uint64(a[5])
	if err := t.run(&r); err != nil {
		return 0, err
	}
	if r.Rax >= ^uint64(4094) {
		return 0, unix.Errno(-r.Rax)
	}
	return uintptr(r.Rax), nil
}

// seize makes the calling OS thread, which must be locked, the tracer of an untraced
// thread, and stops it.
func (t *thread) seize() error {
	if e := t.ptrace(unix.PTRACE_SEIZE, 0, traceOptions); e != 0 {
		return fmt.Errorf("tracing stub %d: %w", t.tid, e)
	}
	if e := t.ptrace(unix.PTRACE_INTERRUPT, 0, 0); e != 0 {
		return fmt.Errorf("stopping stub %d: %w", t.tid, e)
	}
	_, err := t.wait()
	return err
}

// kick makes the thread stop if it runs. Any OS thread may call it.
func (t *thread) kick() {
	unix.RawSyscall(unix.SYS_TGKILL, uintptr(t.tgid), uintptr(t.tid), uintptr(kickSignal))
}

// gettid is the caller's OS thread, which must be locked to mean anything.
func gettid() int {
	tid, _, _ := unix.RawSyscall(unix.SYS_GETTID, 0, 0, 0)
	return int(tid)
}

// kernelSigaction is struct sigaction as rt_sigaction(2) takes it.
type kernelSigaction struct {
	handler, flags, restorer, mask uint64
}

const saNoCldStop = 1

// quietSIGCHLD keeps the host from sending the sentry a SIGCHLD for every stop of a stub.
// The handler stays Go's.
func quietSIGCHLD() error {
	var sa kernelSigaction
	if _, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), 0, uintptr(unsafe.Pointer(&sa)), 8, 0, 0); e != 0 {
		return e
	}
	sa.flags |= saNoCldStop
	_, _, e := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGCHLD), uintptr(unsafe.Pointer(&sa)), 0, 8, 0, 0)
	runtime.KeepAlive(&sa)
	if e != 0 {
		return e
	}
	return nil
}

// osThread is a thread of the sentry that traces stub threads.
type osThread struct {
	tid   int
	turns *affinity.OSThread

	mu    sync.Mutex // guards the fields below
	owned []*thread  // the stub threads that it traces, in no order, but for leaders
	uses  uint64     // counts runs of stub threads
}

// begin is called before o lets t run; o is nil while the zygote is made.
func (o *osThread) begin(t *thread, free bool) {
	if o == nil {
		return
	}
	o.mu.Lock()
	o.uses++
	t.lastUse = o.uses
	o.mu.Unlock()
	o.turns.Begin(&t.bound, free)
}

// end is called when t has stopped.
func (o *osThread) end() {
	if o != nil {
		o.turns.End()
	}
}
