package ktime

import (
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
)

// The Go run-time's timers are up to a millisecond late while the process is idle, because
// it then waits in epoll_wait(2). A host timer therefore sleeps by them only until it is
// nearly due; for the rest a goroutine waits in futex(2), which is as exact as the host's
// own timers. The goroutine exists only while such a timer does.

const (
	// near is how long before a deadline the goroutine takes over; runtimeSlack is how
	// late a timer of the run-time may be without doing harm.
	near         = 3 * time.Millisecond
	runtimeSlack = 2 * time.Millisecond
)

// nearTimers are the host timers that are nearly due. Deadlines are on the host's
// CLOCK_MONOTONIC.
type nearTimers struct {
	AlarmList

	word atomic.Uint32 // futex: changed to end the goroutine's sleep
	// target is when that sleep ends; Never while the goroutine makes up its mind.
	target atomic.Int64

	mu      sync.Mutex // guards running; a leaf
	running bool
}

// host is shared by all clocks of the process, as the run-time's timers are.
var host = func() *nearTimers {
	n := &nearTimers{}
	n.Kick = n
	return n
}()

// AlarmChanged implements Kicker.
func (n *nearTimers) AlarmChanged(next int64) {
	if next == Never {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.running {
		n.running = true
		go n.run()
		return
	}
	if next >= n.target.Load() {
		return // it wakes early enough
	}
	n.word.Add(1)
	futex(&n.word, linux.FutexWake, 1, nil)
}

func (n *nearTimers) run() {
	for {
		n.target.Store(Never)
		seen := n.word.Load()
		next := n.Next()
		if next == Never {
			n.mu.Lock()
			if n.Next() == Never {
				n.running = false
				n.mu.Unlock()
				return
			}
			n.mu.Unlock()
			continue
		}
		left := next - hostNow(unix.CLOCK_MONOTONIC)
		if left <= 0 {
			n.Expire(hostNow(unix.CLOCK_MONOTONIC))
			continue
		}
		n.target.Store(next)
		ts := unix.NsecToTimespec(left)
		futex(&n.word, linux.FutexWait, seen, &ts)
	}
}

// futex is futex(2) on a private word. Errors only make the caller look again.
func futex(word *atomic.Uint32, op int, val uint32, timeout *unix.Timespec) {
	unix.Syscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), uintptr(op|linux.FutexPrivateFlag), uintptr(val),
		uintptr(unsafe.Pointer(timeout)), 0, 0)
}
