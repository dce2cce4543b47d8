package ptrace

import (
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/memmap"
)

// addressSpace is a stub process.
type addressSpace struct {
	tracer *tracer
	leader *thread // used by the tracer only
	slot   int     // of the order memory

	released atomic.Bool

	mu     sync.Mutex // guards the fields below, and is held while orders are carried out
	mapped spans      // where something is mapped
	list   []order    // the sentry's view of the process's orders
	n      int        // orders in list
	failed error      // the first error of the present batch

	threadsMu sync.Mutex      // guards the fields below
	threads   map[int]*thread // by the OS thread that traces them
	asked     map[int]int     // how often an OS thread without a thread here used the leader
	spare     *thread         // a thread that nobody traces yet, or nil
}

// MapFile implements platform.Ops.
func (as *addressSpace) MapFile(addr uintptr, f memmap.File, fr memmap.Range, at memmap.AccessType, precommit bool) error {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.mapFile(addr, f, fr, at, precommit)
	return as.flush()
}

// Unmap implements platform.Ops.
func (as *addressSpace) Unmap(addr, length uintptr) error {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.unmap(addr, length)
	return as.flush()
}

// Protect implements platform.Ops.
func (as *addressSpace) Protect(addr, length uintptr, at memmap.AccessType) error {
	as.mu.Lock()
	defer as.mu.Unlock()
	as.protect(addr, length, at)
	return as.flush()
}

// Batch implements platform.AddressSpace.
func (as *addressSpace) Batch(f func(platform.Ops)) error {
	as.mu.Lock()
	defer as.mu.Unlock()
	f((*batch)(as))
	return as.flush()
}

// batch is an addressSpace with mu held: its changes wait for the end of the batch.
type batch addressSpace

// MapFile implements platform.Ops.
func (b *batch) MapFile(addr uintptr, f memmap.File, fr memmap.Range, at memmap.AccessType, precommit bool) error {
	(*addressSpace)(b).mapFile(addr, f, fr, at, precommit)
	return nil
}

// Unmap implements platform.Ops.
func (b *batch) Unmap(addr, length uintptr) error {
	(*addressSpace)(b).unmap(addr, length)
	return nil
}

// Protect implements platform.Ops.
func (b *batch) Protect(addr, length uintptr, at memmap.AccessType) error {
	(*addressSpace)(b).protect(addr, length, at)
	return nil
}

// valid says whether an application may have something in the range: the stub's own
// pages are out of reach.
func valid(addr, length uintptr) bool {
	return addr+length >= addr && addr+length <= stubBase && (addr|length)&(memmap.PageSize-1) == 0
}

// mapFile, unmap and protect add orders. Preconditions: as.mu is locked.
func (as *addressSpace) mapFile(addr uintptr, f memmap.File, fr memmap.Range, at memmap.AccessType, precommit bool) {
	length := uintptr(fr.Length())
	if length == 0 {
		return
	}
	if !valid(addr, length) {
		as.fail(unix.EINVAL)
		return
	}
	flags := uint64(unix.MAP_SHARED | unix.MAP_FIXED)
	if precommit {
		flags |= unix.MAP_POPULATE
	}
	as.order(order{nr: unix.SYS_MMAP, args: [6]uint64{uint64(addr), uint64(length), uint64(at.Prot()), flags, uint64(f.FD()), fr.Start}})
	as.mapped.add(addr, addr+length)
}

func (as *addressSpace) unmap(addr, length uintptr) {
	if length == 0 {
		return
	}
	if !valid(addr, length) {
		as.fail(unix.EINVAL)
		return
	}
	// One call from the first mapped byte to the last; holes do no harm.
	var all span
	as.mapped.within(addr, addr+length, func(start, end uintptr) {
		if all.end == 0 {
			all.start = start
		}
		all.end = end
	})
	if all.end == 0 {
		return
	}
	as.order(order{nr: unix.SYS_MUNMAP, args: [6]uint64{uint64(all.start), uint64(all.end - all.start)}})
	as.mapped.remove(addr, addr+length)
}

func (as *addressSpace) protect(addr, length uintptr, at memmap.AccessType) {
	if !valid(addr, length) {
		as.fail(unix.EINVAL)
		return
	}
	// mprotect(2) stops at holes.
	as.mapped.within(addr, addr+length, func(start, end uintptr) {
		as.order(order{nr: unix.SYS_MPROTECT, args: [6]uint64{uint64(start), uint64(end - start), uint64(at.Prot())}})
	})
}

// fail remembers the first error of a batch.
func (as *addressSpace) fail(err error) {
	if as.failed == nil {
		as.failed = err
	}
}

// order adds o to the list; a full list is carried out first.
func (as *addressSpace) order(o order) {
	if as.n == len(as.list) {
		as.execute()
	}
	as.list[as.n] = o
	as.n++
}

// flush carries out what is in the list and ends the batch. Preconditions: as.mu is locked.
func (as *addressSpace) flush() error {
	as.execute()
	err := as.failed
	as.failed = nil
	return err
}

// execute makes a thread of the process carry out the list: the one that the calling OS
// thread traces, which cannot be running now, or else the leader.
func (as *addressSpace) execute() {
	if as.n == 0 {
		return
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var err error
	if th := as.threadForChange(gettid()); th != nil {
		err = as.executeOn(th)
	} else {
		err = as.tracer.do(func() error { return as.executeOn(as.leader) })
	}
	as.n = 0
	if err != nil {
		as.fail(err)
	}
}

// executeOn carries out the list on a thread that the caller traces. After an error
// the rest of the list is carried out nevertheless.
func (as *addressSpace) executeOn(th *thread) error {
	var first error
	end := uint64(ordersBase + as.n*64)
	for at := uint64(ordersBase); at < end; at += 64 {
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
	o := as.tracer.affinity.osThread(tid)
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
