package ptrace

import (
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform/hostmap"
	"runsc/pkg/sentry/arch"
)

// addressSpace is a stub process.
type addressSpace struct {
	hostmap.Space

	tracer *tracer
	leader *thread // used by the tracer only
	slot   int     // of the order memory

	released atomic.Bool

	threadsMu sync.Mutex      // guards the fields below
	threads   map[int]*thread // by the OS thread that traces them
	asked     map[int]int     // how often an OS thread without a thread here used the leader
	spare     *thread         // a thread that nobody traces yet, or nil
}

// execute makes a thread of the process carry out the first n orders: the one that the
// calling OS thread traces, which cannot be running now, or else the leader. as.Mu is locked.
func (as *addressSpace) execute(n int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if th := as.threadForChange(gettid()); th != nil {
		return as.executeOn(th, n)
	}
	return as.tracer.do(func() error { return as.executeOn(as.leader, n) })
}

// executeOn carries out the first n orders on a thread that the caller traces. After an error
// the rest of the list is carried out nevertheless.
func (as *addressSpace) executeOn(th *thread, n int) error {
	var first error
	end := uint64(ordersBase + n*hostmap.SizeofCall)
	for at := uint64(ordersBase); at < end; at += hostmap.SizeofCall {
		r := stubRegs(stubOrders)
		r.Rbx, r.R12 = at, end
		if err := th.run(&r); err != nil {
			return err
		}
		if at = r.Rbx; at < end && first == nil { // stopped at this one
			first = unix.Errno(-r.Rax)
		}
	}
	return first
}

// leaderUses is how many changes an OS thread leaves to the leader before it gets a thread
// of its own, which takes as long as a few changes.
const leaderUses = 4

// threadForChange is the thread with which the calling OS thread, which is locked, changes
// memory, or nil for the leader.
func (as *addressSpace) threadForChange(tid int) *thread {
	as.threadsMu.Lock()
	th := as.threads[tid]
	if th == nil {
		as.asked[tid]++
	}
	often := as.asked[tid] > leaderUses
	as.threadsMu.Unlock()
	if th == nil && often {
		th, _ = as.ownThread(tid)
	}
	return th
}

// ownThread is the thread for the calling OS thread, which is locked. It is made if there
// is none.
func (as *addressSpace) ownThread(tid int) (*thread, error) {
	as.threadsMu.Lock()
	th := as.threads[tid]
	if th != nil {
		as.threadsMu.Unlock()
		return th, nil
	}
	th, as.spare = as.spare, nil
	as.threadsMu.Unlock()
	o := as.tracer.osThread(tid)
	o.makeRoom()
	if th == nil {
		var err error
		if th, err = as.tracer.newThread(as); err != nil {
			return nil, err
		}
	}
	if err := th.seize(); err != nil {
		return nil, err
	}
	th.as, th.tracer = as, o
	as.threadsMu.Lock()
	as.threads[tid] = th
	as.threadsMu.Unlock()
	o.mu.Lock()
	o.owned = append(o.owned, th)
	o.mu.Unlock()
	return th, nil
}

// maxOwned bounds the stub threads that one OS thread traces. Without a bound a sandbox of
// many processes would have a thread in each of them for each thread of the sentry.
const maxOwned = 32

// makeRoom forgets threads of released address spaces and, if there are still too many,
// ends the one that was not used for longest. o is the calling OS thread.
func (o *osThread) makeRoom() {
	o.mu.Lock()
	o.owned = slices.DeleteFunc(o.owned, func(t *thread) bool { return t.as.released.Load() })
	if len(o.owned) < maxOwned {
		o.mu.Unlock()
		return
	}
	oldest := 0
	for i, t := range o.owned {
		if t.lastUse < o.owned[oldest].lastUse {
			oldest = i
		}
	}
	t := o.owned[oldest]
	o.owned = slices.Delete(o.owned, oldest, oldest+1)
	o.mu.Unlock()
	t.as.threadsMu.Lock()
	delete(t.as.threads, o.tid)
	delete(t.as.asked, o.tid)
	t.as.threadsMu.Unlock()
	t.exit()
}

// exit ends a thread. The caller traces it.
func (t *thread) exit() {
	// It fails because the thread ends, or because the whole process was killed.
	t.syscall(stubSyscall, unix.SYS_EXIT, arch.Args{})
}

// Release implements platform.AddressSpace. The process is killed at once and reaped by
// another goroutine.
func (as *addressSpace) Release() {
	as.released.Store(true)
	as.tracer.reaping.Add(1)
	go func() {
		defer as.tracer.reaping.Done()
		as.kill()
	}()
}

// kill ends the process and frees what it held.
func (as *addressSpace) kill() {
	if !as.leader.dead.Load() {
		unix.Tgkill(as.leader.tgid, as.leader.tid, unix.SIGKILL)
	}
	as.threadsMu.Lock() // a thread that ends just now is no longer in the map, its tracer reaps it
	threads := slices.Collect(maps.Values(as.threads))
	as.threadsMu.Unlock()
	for _, th := range threads {
		th.reap()
	}
	as.leader.reap()
	as.tracer.orders.give(as.slot)
}
