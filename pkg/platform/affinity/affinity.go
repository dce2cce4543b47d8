// Package affinity keeps two threads that take turns on one CPU: a thread of a stub process
// and the OS thread of the sentry that looks after it.
//
// They never run at the same time, but the host's scheduler sees two threads and, when a CPU is
// idle, puts them on two. Waking an idle CPU costs 20 to 50 µs in a virtual machine, twice for
// each event. So both are bound to the CPU that the sentry's thread was on, which makes an event
// several times cheaper.
//
// What is bound cannot be balanced. So callers let a turn now and then be free, and a goroutine looks
// each slowRun after what is bound: it unbinds stub threads that have been running all that
// time, and OS threads that had no turn in that time. Nothing runs while nothing is bound.
//
// Lock order: Set.mu → OSThread.mu; both are leaves.
package affinity

import (
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const slowRun = 10 * time.Millisecond

// anyCPU is a mask that the host cuts down to what the process may use.
var anyCPU = func() (s unix.CPUSet) {
	for i := range s {
		s[i] = ^s[i]
	}
	return s
}()

// Thread is a thread of a stub process.
type Thread struct {
	TID int

	// cpu is 1 + the CPU that it is bound to, 0 if it is not, or -1 - the CPU that it avoids. It
	// is guarded by the mu of the OSThread whose turn it has, or else belongs to its owner.
	cpu int
}

// Avoid lets t, which has no turn, run on all CPUs but one. The next turn ends that.
func (t *Thread) Avoid(cpu int) { t.setCPU(-1 - cpu) }

// OSThread is a thread of the sentry.
type OSThread struct {
	set *Set
	tid int

	mu      sync.Mutex // guards the fields below
	cpu     int        // as Thread.cpu
	running *Thread    // the stub thread that has the turn, bound to the same CPU, or nil
	used    bool       // there was a turn since the last look
}

// Set binds threads.
type Set struct {
	enabled bool // there is more than one CPU

	mu      sync.Mutex // guards the fields below
	wake    *sync.Cond // bound is no longer 0, or closed is set
	bound   int        // bound OSThreads
	threads map[int]*OSThread
	closed  bool

	stopped chan struct{}
}

// New makes a Set. Close ends it.
func New() *Set {
	a := &Set{enabled: runtime.NumCPU() > 1, threads: map[int]*OSThread{}, stopped: make(chan struct{})}
	a.wake = sync.NewCond(&a.mu)
	if a.enabled {
		go a.watch()
	} else {
		close(a.stopped)
	}
	return a
}

// Close unbinds everything.
func (a *Set) Close() {
	a.mu.Lock()
	a.closed = true
	a.wake.Signal()
	a.mu.Unlock()
	<-a.stopped
}

// OSThread returns what is known of the sentry's thread tid.
func (a *Set) OSThread(tid int) *OSThread {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.threads[tid]
	if o == nil {
		o = &OSThread{set: a, tid: tid}
		a.threads[tid] = o
	}
	return o
}

// watch looks after what is bound. It sleeps while nothing is.
func (a *Set) watch() {
	defer close(a.stopped)
	for {
		a.mu.Lock()
		for a.bound == 0 && !a.closed {
			a.wake.Wait()
		}
		for _, o := range a.threads {
			a.look(o)
		}
		closed := a.closed
		a.mu.Unlock()
		if closed {
			return
		}
		time.Sleep(slowRun)
	}
}

// look unbinds o or its stub if they have been idle or busy for long. Preconditions: a.mu
// is locked.
func (a *Set) look(o *OSThread) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cpu == 0 {
		return
	}
	if o.used && !a.closed {
		o.used = false
		return
	}
	if o.running != nil {
		o.running.setCPU(0)
		o.running = nil
	}
	o.setCPU(0)
	a.bound--
}

// setCPU binds o, or unbinds it for 0. Preconditions: o.mu is locked.
func (o *OSThread) setCPU(cpu int) {
	if o.cpu != cpu {
		o.cpu = cpu
		setAffinity(o.tid, cpu)
	}
}

// setCPU does the same for a stub thread. Preconditions: the mu of its tracer's osThread is
// locked.
func (t *Thread) setCPU(cpu int) {
	if t.cpu != cpu {
		t.cpu = cpu
		setAffinity(t.TID, cpu)
	}
}

// Inherit says that t was cloned from the thread from, which is bound or not.
func (t *Thread) Inherit(from *Thread) { t.cpu = from.cpu }

// Begin gives t the turn. The calling goroutine is locked to o. free says that this time both
// may run anywhere.
func (o *OSThread) Begin(t *Thread, free bool) {
	o.mu.Lock()
	if !o.set.enabled {
		o.mu.Unlock()
		return
	}
	if free || o.cpu == 0 {
		o.mu.Unlock()
		o.set.rebind(o, t, free)
		return
	}
	t.setCPU(o.cpu)
	o.running, o.used = t, true
	o.mu.Unlock()
}

// rebind is the slow part of Begin.
func (a *Set) rebind(o *OSThread, t *Thread, free bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if free {
		if o.cpu != 0 {
			a.bound--
		}
		o.setCPU(0)
		t.setCPU(0)
		return
	}
	var cpu uint32
	unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	if o.cpu == 0 {
		if a.bound++; a.bound == 1 {
			a.wake.Signal()
		}
	}
	o.setCPU(int(cpu) + 1)
	t.setCPU(int(cpu) + 1)
	o.running, o.used = t, true
}

// End takes the turn back: the stub thread has stopped.
func (o *OSThread) End() {
	o.mu.Lock()
	o.running = nil
	o.mu.Unlock()
}

// setAffinity fails only when the CPU went away or the thread ended, which does no harm.
func setAffinity(tid, cpu int) {
	set := anyCPU
	if cpu > 0 {
		set = unix.CPUSet{}
		set.Set(cpu - 1)
	} else if cpu < 0 {
		set.Clear(-1 - cpu)
	}
	unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, uintptr(tid), unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
}
