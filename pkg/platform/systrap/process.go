package systrap

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform/affinity"
	"runsc/pkg/platform/hostmap"
)

// process is a stub process as the sentry sees it: its helper, which carries out orders.
type process struct {
	p    *Platform
	pid  int
	slot int // of the order windows
	page *orderPage

	reapMu     sync.Mutex // held while it is reaped, after which its ID may be somebody else's
	dead       atomic.Bool
	gone       chan struct{} // closed when it is reaped
	exitStatus int           // valid then; -1 if a signal killed it

	// Mu guards what is in the window, too, and is held while orders are carried out.
	hostmap.Space
	// protects counts batches of orders that took rights of pages away or gave them.
	protects atomic.Uint32
	bound    affinity.Thread // the helper
}

// newProcess takes a window for a process that is about to be made.
func (p *Platform) newProcess() (*process, error) {
	slot, err := p.orders.take()
	if err != nil {
		return nil, err
	}
	base := p.orders.pointer(slot)
	pr := &process{p: p, slot: slot, page: (*orderPage)(base), gone: make(chan struct{})}
	*pr.page = orderPage{patch: 1, parent: uint32(os.Getpid())}
	list := unsafe.Slice((*hostmap.Call)(unsafe.Add(base, offCalls)), maxCalls)
	pr.Calls = hostmap.Recorder{Limit: userEnd, List: list, Run: pr.execute}
	return pr, nil
}

// watch reaps the process when it ends, and ends all waiting for it. onDeath is called once.
func (pr *process) watch(onDeath func()) error {
	fd, err := unix.PidfdOpen(pr.pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("pidfd_open: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stub process")
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return err
	}
	go func() {
		defer f.Close()
		conn.Read(func(uintptr) bool {
			pr.reapMu.Lock()
			defer pr.reapMu.Unlock()
			var ws unix.WaitStatus
			pid, err := unix.Wait4(pr.pid, &ws, unix.WNOHANG|unix.WALL, nil)
			pr.exitStatus = ws.ExitStatus()
			over := pid == pr.pid || err == unix.ECHILD
			pr.dead.Store(over)
			return over
		})
		pr.dead.Store(true)
		pr.wakeSentry()
		onDeath()
		close(pr.gone)
	}()
	return nil
}

// abandon ends the process, which is not watched, and waits for that.
func (pr *process) abandon() {
	pr.kill()
	unix.Wait4(pr.pid, nil, unix.WALL, nil)
}

// kill ends the process. It is reaped by watch.
func (pr *process) kill() {
	pr.reapMu.Lock()
	defer pr.reapMu.Unlock()
	if !pr.dead.Load() {
		tgkill(pr.pid, pr.pid, unix.SIGKILL)
	}
}

func tgkill(tgid, tid int, sig unix.Signal) error {
	if _, _, e := unix.RawSyscall(unix.SYS_TGKILL, uintptr(tgid), uintptr(tid), uintptr(sig)); e != 0 {
		return e
	}
	return nil
}

// errDead is returned for a process that the host killed.
type errDead struct{ pid int }

func (e errDead) Error() string { return fmt.Sprintf("stub process %d was killed", e.pid) }

const (
	futexWait = 0
	futexWake = 1
)

// futexSleep sleeps until the word, in shared memory, is not value any more, or for no
// reason.
func futexSleep(word *uint32, value uint32) {
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(value), 0, 0, 0)
}

// futexWakeAll wakes whoever sleeps on the word. It does not block.
func futexWakeAll(word *uint32) {
	unix.RawSyscall(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1<<30)
}

func (pr *process) wakeSentry() { futexWakeAll(&pr.page.done) }

// execute makes the helper carry out the first n calls of the list. Mu is locked. The error
// is that of the last call that failed.
func (pr *process) execute(n int) error {
	if pr.dead.Load() {
		return errDead{pr.pid}
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	o := pr.p.affinity.OSThread(unix.Gettid())
	o.Begin(&pr.bound, false)
	defer o.End()
	pg := pr.page
	if slices.ContainsFunc(pr.Calls.List[:n], func(c hostmap.Call) bool { return c.Nr == unix.SYS_MPROTECT }) {
		pr.protects.Add(1)
	}
	seq := pg.seq + 1
	pg.end = uint32(offCalls + n*hostmap.SizeofCall)
	pg.failed, pg.copyOfSeq = 0, seq
	atomic.StoreUint32(&pg.seq, seq)
	futexWakeAll(&pg.seq)
	if pr.dead.Load() {
		return errDead{pr.pid}
	}
	old := seq - 1
	for atomic.LoadUint32(&pg.done) != seq {
		if pr.dead.Load() {
			return errDead{pr.pid}
		}
		futexSleep(&pg.done, old)
	}
	if e := unix.Errno(pg.failed); e != 0 {
		return e
	}
	return nil
}

// leaveWindow gives the window of a dead process back. Whoever has orders for it writes them
// to memory of its own from now on.
func (pr *process) leaveWindow() {
	pr.Mu.Lock()
	defer pr.Mu.Unlock()
	pr.page = &orderPage{}
	pr.Calls.List = make([]hostmap.Call, maxCalls)
	pr.p.orders.give(pr.slot)
}

// call makes the helper carry out calls.
func (pr *process) call(calls ...hostmap.Call) error {
	pr.Mu.Lock()
	defer pr.Mu.Unlock()
	copy(pr.Calls.List, calls)
	return pr.execute(len(calls))
}
