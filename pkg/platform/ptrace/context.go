package ptrace

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/arch"
)

// freeEvery is how often a Switch is not bound to a CPU.
const freeEvery = 256

// taskContext is one task's platform.Context. Only the task's goroutine uses the fields
// that are not atomic.
type taskContext struct {
	// pending is set by Interrupt until a Switch has returned EventInterrupt for it; running
	// is the thread that Switch has handed control to. Interrupt sets pending and
	// then looks at running, Switch sets running and then looks at pending: one of them sees
	// the other.
	pending atomic.Bool
	running atomic.Pointer[thread]

	last   *thread       // the thread of the last Switch,
	lastAS *addressSpace // its address space
	tid    int           // and the OS thread that traces it

	fpOn *thread // the thread that holds FP state as it is in the arch.Context

	lastFault [2]uintptr // the last fault's instruction and address
	switches  uint       // how many there were
}

// Interrupt implements platform.Context.
func (c *taskContext) Interrupt() {
	c.pending.Store(true)
	if th := c.running.Load(); th != nil {
		// The thread may have stopped by itself meanwhile, and may run for another
		// task: the signal is ignored then.
		th.kick()
	}
}

// PullFullState implements platform.Context. FP state is saved at each event, because the
// task may next run on another OS thread, which could not fetch it from this one's stub
// thread.
func (c *taskContext) PullFullState(platform.AddressSpace, *arch.Context) error { return nil }

// FullStateChanged implements platform.Context.
func (c *taskContext) FullStateChanged() { c.fpOn = nil }

// Sleep implements platform.Context. The stub thread is stopped anyway.
func (c *taskContext) Sleep() {}

// Release implements platform.Context.
func (c *taskContext) Release() { c.last, c.lastAS, c.fpOn = nil, nil, nil }

// Switch implements platform.Context.
func (c *taskContext) Switch(pas platform.AddressSpace, ac *arch.Context) (platform.Event, error) {
	if c.pending.Load() && c.pending.Swap(false) {
		return platform.Event{Kind: platform.EventInterrupt}, nil
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	th, err := c.thread(pas.(*addressSpace))
	if err != nil {
		return platform.Event{}, err
	}
	th.mu.Lock()
	defer th.mu.Unlock()
	if c.fpOn != th || th.fpOf != c {
		if e := th.setFP(ac.FP); e == unix.EINVAL {
			// A state that only this host refuses, because of a component that takes a
			// permission. On Linux the application would have seen this signal when it
			// loaded the state.
			ac.FP.Reset()
			c.fpOn = nil
			return platform.Event{Kind: platform.EventSignal, Info: arch.NewKernelSignal(int32(unix.SIGSEGV))}, nil
		} else if e != 0 {
			return platform.Event{}, fmt.Errorf("writing FP state of stub %d: %w", th.tid, e)
		}
		c.fpOn, th.fpOf = th, c
	}
	if err := load(th, &ac.Regs); err != nil {
		return platform.Event{}, err
	}

	c.running.Store(th)
	defer c.running.Store(nil)
	if c.pending.Load() && c.pending.Swap(false) {
		return platform.Event{Kind: platform.EventInterrupt}, nil
	}
	c.switches++
	th.tracer.begin(th, c.switches%freeEvery == 0)
	defer th.tracer.end()
	for {
		if e := th.ptrace(unix.PTRACE_SYSEMU, 0, 0); e != 0 {
			return platform.Event{}, fmt.Errorf("resuming stub %d: %w", th.tid, e)
		}
		ws, err := th.wait()
		if err != nil {
			return platform.Event{}, err
		}
		ev, ok, err := c.event(th, ws, ac)
		if err != nil {
			return platform.Event{}, err
		}
		if ok {
			return ev, th.getFP(ac.FP)
		}
	}
}

// thread is the thread to run on. The calling goroutine is locked.
func (c *taskContext) thread(as *addressSpace) (*thread, error) {
	tid := gettid()
	if c.last != nil && c.lastAS == as && c.tid == tid && !c.last.dead.Load() {
		return c.last, nil
	}
	th, err := as.ownThread(tid)
	if err != nil {
		return nil, err
	}
	c.last, c.lastAS, c.tid = th, as, tid
	return th, nil
}

// load writes the registers to a stub thread. User code can have segment bases that
// ptrace does not accept (wrfsbase takes any canonical address), and such a base is lost; the
// same goes for selectors of a lower RPL, which get RPL 3 and so name the same segment.
func load(th *thread, r *arch.Registers) error {
	if id := r.Eflags & arch.FlagID; id != th.id {
		if err := th.setID(id); err != nil {
			return err
		}
	}
	e := th.setRegs(r)
	if e == unix.EIO {
		old := *r
		r.Sanitize(&old)
		if r.FsBase >= arch.MaxUserAddress {
			r.FsBase = 0
		}
		if r.GsBase >= arch.MaxUserAddress {
			r.GsBase = 0
		}
		for _, s := range []*uint64{&r.Ds, &r.Es, &r.Fs, &r.Gs} {
			if *s != 0 {
				*s |= 3
			}
		}
		e = th.setRegs(r)
	}
	if e != 0 {
		return fmt.Errorf("writing registers of stub %d: %w", th.tid, e)
	}
	return nil
}

// siginfo reads what came with the signal that stopped the thread.
func (t *thread) siginfo(info *arch.SignalInfo) error {
	if e := t.ptrace(unix.PTRACE_GETSIGINFO, 0, uintptr(unsafe.Pointer(info))); e != 0 {
		return fmt.Errorf("reading the signal of stub %d: %w", t.tid, e)
	}
	return nil
}
