package ptrace

import (
	"errors"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform/affinity"
	"runsc/pkg/platform/hostmap"
	"runsc/pkg/sentry/arch"
)

// tracer is the OS thread that owns the zygote and the leaders of all stub processes.
// Others ask it to do things by requests.
type tracer struct {
	orders   *orderMemory
	affinity *affinity.Set
	requests chan request
	done     chan struct{} // closed when the tracer has ended

	reaping sync.WaitGroup // released address spaces

	osThreads sync.Map // int, a thread ID of the sentry → *osThread

	// The fields below belong to the tracer's goroutine.
	zygote *thread
	spare  *addressSpace // made ahead of need
}

// request is something that only the tracer can do.
type request struct {
	f    func() error
	done chan error
}

// osThread returns what is known of the sentry's thread tid.
func (t *tracer) osThread(tid int) *osThread {
	if o, ok := t.osThreads.Load(tid); ok {
		return o.(*osThread)
	}
	o, _ := t.osThreads.LoadOrStore(tid, &osThread{tid: tid, turns: t.affinity.OSThread(tid)})
	return o.(*osThread)
}

var errClosed = errors.New("the platform is closed")

func startTracer(m *orderMemory, a *affinity.Set) (*tracer, error) {
	t := &tracer{orders: m, affinity: a, requests: make(chan request), done: make(chan struct{})}
	started := make(chan error)
	go t.serve(started)
	return t, <-started
}

// serve never unlocks its OS thread: it ends with the goroutine, and the host then kills
// what it still traces.
func (t *tracer) serve(started chan<- error) {
	runtime.LockOSThread()
	defer close(t.done)
	var err error
	t.zygote, err = newZygote()
	if err == nil {
		t.zygote.tracer = t.osThread(gettid())
	}
	started <- err
	if err != nil {
		return
	}
	for {
		// Making a spare process is the work of idle moments.
		if t.spare == nil {
			select {
			case r, ok := <-t.requests:
				if !ok {
					t.end()
					return
				}
				r.done <- r.f()
				continue
			default:
				t.spare, _ = t.fork()
			}
		}
		r, ok := <-t.requests
		if !ok {
			t.end()
			return
		}
		r.done <- r.f()
	}
}

// end kills what is left.
func (t *tracer) end() {
	if t.spare != nil {
		t.spare.kill()
	}
	unix.Tgkill(t.zygote.tgid, t.zygote.tid, unix.SIGKILL)
	t.zygote.reap()
}

// stop ends the tracer and waits until all processes are gone.
func (t *tracer) stop() {
	close(t.requests)
	<-t.done
	t.reaping.Wait()
}

// do lets the tracer run f.
func (t *tracer) do(f func() error) error {
	r := request{f, make(chan error, 1)}
	t.requests <- r
	return <-r.done
}

func (t *tracer) newAddressSpace() (as *addressSpace, err error) {
	err = t.do(func() error {
		if as, t.spare = t.spare, nil; as != nil {
			return nil
		}
		as, err = t.fork()
		return err
	})
	return as, err
}

// fork makes a stub process.
func (t *tracer) fork() (*addressSpace, error) {
	slot, err := t.orders.take()
	if err != nil {
		return nil, err
	}
	pid, err := t.zygote.syscall(stubSyscall, unix.SYS_CLONE, arch.Args{processFlags})
	if err != nil {
		t.orders.give(slot)
		return nil, err
	}
	// It inherits the zygote's CPU.
	leader := &thread{tgid: int(pid), tid: int(pid), tracer: t.zygote.tracer, bound: affinity.Thread{TID: int(pid)}}
	leader.bound.Inherit(&t.zygote.bound)
	as := &addressSpace{tracer: t, leader: leader, slot: slot, threads: map[int]*thread{}, asked: map[int]int{}}
	as.Calls = hostmap.Recorder{Limit: stubBase, List: t.orders.list(slot), Run: as.execute}
	if _, err := leader.wait(); err != nil { // it starts with a stop
		as.kill()
		return nil, err
	}
	if _, err := leader.syscall(stubSyscall, unix.SYS_MMAP, arch.Args{
		ordersBase, ordersSize, unix.PROT_READ, unix.MAP_SHARED | unix.MAP_FIXED, t.orders.file.Fd(), uintptr(slot * ordersSize),
	}); err != nil {
		as.kill()
		return nil, err
	}
	if as.spare, err = as.cloneThread(); err != nil {
		as.kill()
		return nil, err
	}
	return as, nil
}

// cloneThread makes a thread in as that nobody traces. It sleeps in the stub. The tracer
// calls it.
func (as *addressSpace) cloneThread() (*thread, error) {
	tid, err := as.leader.syscall(stubClone, unix.SYS_CLONE, arch.Args{threadFlags})
	if err != nil {
		return nil, err
	}
	th := &thread{tgid: as.leader.tid, tid: int(tid), bound: affinity.Thread{TID: int(tid)}}
	th.bound.Inherit(&as.leader.bound)
	return th, nil
}

// newThread lets the tracer make a thread in as that nobody traces.
func (t *tracer) newThread(as *addressSpace) (th *thread, err error) {
	err = t.do(func() error {
		th, err = as.cloneThread()
		return err
	})
	return th, err
}
