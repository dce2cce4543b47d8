package ptrace

import (
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A stub thread and its tracer never run at the same time, but the host's scheduler sees two
// threads and, when a CPU is idle, puts them on two. Waking an idle CPU costs 20 to 50 µs in a
// virtual machine, twice for each event. So both are bound to the CPU that the tracer was on,
// which makes an event several times cheaper.
//
// What is bound cannot be balanced. So one Switch in freeEvery is not bound, and a goroutine looks
// each slowRun after what is bound: it unbinds stub threads that have been running all that
// time, and tracers that did no Switch in that time.
const (
	slowRun   = 10 * time.Millisecond
	freeEvery = 256
)

// anyCPU is a mask that the host cuts down to what the process may use.
var anyCPU = func() (s unix.CPUSet) {
	for i := range s {
		s[i] = ^s[i]
	}
	return s
}()

// noCPU is the CPU of a thread that is not bound.
const noCPU = -1

// osThread is a thread of the sentry that traces stub threads.
type osThread struct {
	affinity *affinity
	tid      int

	mu      sync.Mutex // guards the fields below
	owned   []*thread  // the stub threads that it traces, in no order, but for leaders
	uses    uint64     // counts runs of stub threads
	cpu     int        // that it is bound to, or noCPU
	running *thread    // the stub thread of the present Switch, bound to the same CPU, or nil
	used    bool       // there was a Switch since the last look
}

// affinity binds threads.
type affinity struct {
	enabled bool // there is more than one CPU

	mu      sync.Mutex // guards the fields below; locked before osThread.mu
	wake    *sync.Cond // bound is no longer 0, or closed is set
	bound   int        // bound osThreads
	threads map[int]*osThread
	closed  bool

	stopped chan struct{}
}

func newAffinity() *affinity {
	a := &affinity{enabled: runtime.NumCPU() > 1, threads: map[int]*osThread{}, stopped: make(chan struct{})}
	a.wake = sync.NewCond(&a.mu)
	if a.enabled {
		go a.watch()
	} else {
		close(a.stopped)
	}
	return a
}

func (a *affinity) close() {
	a.mu.Lock()
	a.closed = true
	a.wake.Signal()
	a.mu.Unlock()
	<-a.stopped
}

// osThread returns what is known of the sentry's thread tid.
func (a *affinity) osThread(tid int) *osThread {
	a.mu.Lock()
	defer a.mu.Unlock()
	o := a.threads[tid]
	if o == nil {
		o = &osThread{affinity: a, tid: tid, cpu: noCPU}
		a.threads[tid] = o
	}
	return o
}

// watch looks after what is bound. It sleeps while nothing is.
func (a *affinity) watch() {
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
func (a *affinity) look(o *osThread) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.cpu == noCPU {
		return
	}
	if o.used && !a.closed {
		o.used = false
		return
	}
	if o.running != nil {
		o.running.setCPU(noCPU)
		o.running = nil
	}
	o.setCPU(noCPU)
	a.bound--
}

// setCPU binds o, or unbinds it for noCPU. Preconditions: o.mu is locked.
func (o *osThread) setCPU(cpu int) {
	if o.cpu != cpu {
		o.cpu = cpu
		setAffinity(o.tid, cpu)
	}
}

// setCPU does the same for a stub thread. Preconditions: the mu of its tracer's osThread is
// locked.
func (t *thread) setCPU(cpu int) {
	if t.cpu != cpu {
		t.cpu = cpu
		setAffinity(t.tid, cpu)
	}
}

// boundTo is the CPU that t is bound to.
func (t *thread) boundTo() int {
	if t.tracer == nil {
		return noCPU
	}
	t.tracer.mu.Lock()
	defer t.tracer.mu.Unlock()
	return t.cpu
}

// begin is called by the tracer o before it lets t run; o is nil while the zygote is made.
// free says that this time both may run anywhere.
func (o *osThread) begin(t *thread, free bool) {
	if o == nil {
		return
	}
	o.mu.Lock()
	o.uses++
	t.lastUse = o.uses
	if !o.affinity.enabled {
		o.mu.Unlock()
		return
	}
	if free || o.cpu == noCPU {
		o.mu.Unlock()
		o.affinity.rebind(o, t, free)
		return
	}
	t.setCPU(o.cpu)
	o.running, o.used = t, true
	o.mu.Unlock()
}

// rebind is the slow part of begin.
func (a *affinity) rebind(o *osThread, t *thread, free bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	if free {
		if o.cpu != noCPU {
			a.bound--
		}
		o.setCPU(noCPU)
		t.setCPU(noCPU)
		return
	}
	var cpu uint32
	unix.RawSyscall(unix.SYS_GETCPU, uintptr(unsafe.Pointer(&cpu)), 0, 0)
	if o.cpu == noCPU {
		if a.bound++; a.bound == 1 {
			a.wake.Signal()
		}
	}
	o.setCPU(int(cpu))
	t.setCPU(int(cpu))
	o.running, o.used = t, true
}

// end is called when the stub thread of begin has stopped.
func (o *osThread) end() {
	if o == nil {
		return
	}
	o.mu.Lock()
	o.running = nil
	o.mu.Unlock()
}

// setAffinity fails only when the CPU went away or the thread ended, which does no harm.
func setAffinity(tid, cpu int) {
	set := anyCPU
	if cpu != noCPU {
		set = unix.CPUSet{}
		set.Set(cpu)
	}
	unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, uintptr(tid), unsafe.Sizeof(set), uintptr(unsafe.Pointer(&set)))
}
