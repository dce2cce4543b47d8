package systrap

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/platform/affinity"
	"runsc/pkg/platform/hostmap"
	"runsc/pkg/sentry/arch"
)

// addressSpace is a stub process.
type addressSpace struct {
	*process

	threadsMu sync.Mutex // guards the fields below
	threads   []*thread  // all, by slot of the process
	idle      []*thread  // those that no context has
	broken    []*thread  // those that could not be made
	ended     bool       // died was here
}

// AnswerProcessID implements platform.ProcessIDAnswerer.
func (as *addressSpace) AnswerProcessID(pid int32) {
	as.Mu.Lock() // the window must be this process's
	defer as.Mu.Unlock()
	set(&as.page.pid, uint32(pid))
}

var _ platform.ProcessIDAnswerer = (*addressSpace)(nil)

// thread is a thread of a stub process that runs application code of one context at a time.
type thread struct {
	as     *addressSpace
	tid    int
	slot   int    // of Platform.threads
	addr   uint64 // of the slot in the stub process
	shared *shared
	bound  affinity.Thread
	mem    []byte // the slot

	// What was last loaded into the segment bases.
	fsBase, gsBase uint64
}

// Release implements platform.AddressSpace. The process is reaped by its watcher.
func (as *addressSpace) Release() { as.kill() }

// died frees what the process held, but for the slots that contexts have: they may be about to
// write to them, and give them back with the thread.
func (as *addressSpace) died() {
	as.threadsMu.Lock()
	for _, th := range as.threads {
		atomic.StoreUint32(&th.shared.state, stateDead)
		futexWakeAll(&th.shared.state)
	}
	for _, th := range append(as.idle, as.broken...) {
		as.p.threads.give(th.slot)
	}
	as.threads, as.idle, as.broken, as.ended = nil, nil, nil, true
	as.threadsMu.Unlock()
	as.leaveWindow()
	as.p.processes.Done()
}

// acquire returns a thread that no context has.
func (as *addressSpace) acquire() (*thread, error) {
	as.threadsMu.Lock()
	if n := len(as.idle); n > 0 {
		th := as.idle[n-1]
		as.idle = as.idle[:n-1]
		as.threadsMu.Unlock()
		return th, nil
	}
	th, err := as.newThread()
	as.threadsMu.Unlock()
	if err != nil {
		return nil, err
	}
	// Without the lock, which died needs to end this if it takes too long.
	if err := as.start(th); err != nil {
		as.putAway(th, &as.broken)
		return nil, err
	}
	return th, nil
}

// release takes a thread back. It sleeps in the stub until it has the next context.
func (as *addressSpace) release(th *thread) { as.putAway(th, &as.idle) }

// putAway adds a thread that nobody uses to one of the lists.
func (as *addressSpace) putAway(th *thread, list *[]*thread) {
	as.threadsMu.Lock()
	defer as.threadsMu.Unlock()
	if as.ended {
		as.p.threads.give(th.slot)
		return
	}
	*list = append(*list, th)
}

// newThread takes a slot for a thread. threadsMu is locked.
func (as *addressSpace) newThread() (*thread, error) {
	if as.ended {
		return nil, errDead{as.pid}
	}
	index := len(as.threads)
	if index == maxThreads {
		return nil, unix.EAGAIN
	}
	slot, err := as.p.threads.take()
	if err != nil {
		return nil, err
	}
	addr := uint64(threadsBase + index*slotSize)
	th := &thread{as: as, slot: slot, addr: addr, mem: as.p.threads.bytes(slot), shared: (*shared)(as.p.threads.pointer(slot))}
	s := th.shared
	*s = shared{state: stateApp, self: addr, gs: addr, regs: arch.NewRegisters()}
	// It inherits the helper's FS base, which is none of the application's.
	th.fsBase, th.gsBase = ^uint64(0), addr
	as.threads = append(as.threads, th)
	return th, nil
}

// start makes the thread for a slot.
func (as *addressSpace) start(th *thread) error {
	s, addr := th.shared, th.addr
	as.Mu.Lock()
	if as.dead.Load() {
		as.Mu.Unlock()
		return errDead{as.pid}
	}
	as.page.altStack.sp, as.page.altStack.flags, as.page.altStack.size = addr+offAltStack, 0, altStack
	as.Calls.List[0] = hostmap.Call{Nr: unix.SYS_MMAP, Args: [6]uint64{addr, slotSize, unix.PROT_READ | unix.PROT_WRITE,
		unix.MAP_SHARED | unix.MAP_FIXED, uint64(as.p.threads.file.Fd()), uint64(as.p.threads.offset(th.slot))}}
	as.Calls.List[1] = hostmap.Call{Nr: unix.SYS_CLONE, Args: [6]uint64{threadFlags, 0, 0, 0, addr}, Child: codeBase + offThread}
	err := as.execute(2)
	if err == nil {
		// The window must not change until the thread has used it. Another thread could
		// write to its slot and make this wait last for ever.
		stop := as.killLater()
		th.sleepUntilEvent()
		stop()
		th.bound.Inherit(&as.bound)
	}
	as.Mu.Unlock()
	if err != nil {
		return err
	}
	if as.dead.Load() || s.kind != kindStarted {
		return errDead{as.pid}
	}
	th.tid = int(s.tid)
	th.bound.TID = th.tid
	if err := tgkill(as.pid, th.tid, 0); err != nil {
		return fmt.Errorf("thread %d of stub process %d: %w", th.tid, as.pid, err)
	}
	return nil
}

// killLater kills the process unless the returned function is called soon: in time for
// whatever a thread of it does in the stub.
func (as *addressSpace) killLater() (stop func() bool) {
	return time.AfterFunc(kicks*kickEvery, as.kill).Stop
}

// sleepUntilEvent waits until the thread has an event, or is dead.
func (th *thread) sleepUntilEvent() {
	s := th.shared
	if !atomic.CompareAndSwapUint32(&s.state, stateApp, stateAppWatched) {
		return
	}
	for atomic.LoadUint32(&s.state) == stateAppWatched && !th.as.dead.Load() {
		futexSleep(&s.state, stateAppWatched)
	}
}

// answer gives control to the thread.
func (th *thread) answer(a uint32) {
	s := th.shared
	set(&s.answer, a)
	if atomic.SwapUint32(&s.state, stateApp) == stateSentrySleep {
		unix.RawSyscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(&s.state)), futexWake, 1)
	}
}

// at is the sentry's view of n bytes at an address of the thread's slot, or nil if they do not lie
// in it.
func (th *thread) at(addr uint64, n int) []byte {
	off := addr - th.addr
	if off > slotSize || off+uint64(n) > slotSize {
		return nil
	}
	return th.mem[off : off+uint64(n) : off+uint64(n)]
}
