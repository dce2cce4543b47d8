// Package kernel is the part of the sentry that is Linux's kernel/ directory: tasks and
// thread groups, their life and death, signals, sessions and job control, pid namespaces,
// descriptor tables, limits and timers.
//
// A Task is a thread of an application. Its goroutine (task_run.go) switches into the
// application through a platform.Context, and on return carries out a system call, a fault
// or a signal. A ThreadGroup is a process: the tasks that share signal handlers and an exit
// status. A Kernel is everything together; two Kernels can live in one process.
//
// Who calls what: boot makes a Kernel, wires filesystems and the system call table in, and
// starts processes with CreateProcess and Start. Package syscalls calls methods of Task on
// the task's own goroutine. Package control asks from other goroutines (signals, ps, wait).
//
// # Lock order
//
//	Kernel.tasksMu            (the tree of tasks, namespaces, groups and sessions)
//	  ThreadGroup.signalMu    (pending signals, handlers' use, stop state, masks)
//	    Timer locks (ktime)
//	    waiter.Queue locks
//	FDTable.mu, FSContext.mu  (leaves; vfs is called without them)
//	mm's locks                (never with tasksMu or signalMu held)
//	vfs locks, then a filesystem's own, then memmap's
//
// tasksMu is held for writing by clone, exec's commit, exit, setsid, setpgid and reaping,
// and for reading by whoever looks up a task or signals one. No lock of this package is held
// while application memory is copied or while a task sleeps.
//
// Fields marked "owned by the task goroutine" are touched by no one else while it runs.
package kernel

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/kernel/futex"
	"runsc/pkg/sentry/ktime"
	"runsc/pkg/sentry/loader/vdso"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/vfs"
)

// Kernel is one user-space Linux kernel.
type Kernel struct {
	platform   platform.Platform `state:"nosave"`
	mf         *pgalloc.MemoryFile
	vfs        *vfs.VFS
	futexes    *futex.Table
	syscalls   *SyscallTable `state:"nosave"`
	realtime   ktime.Clock
	monotonic  ktime.Clock
	cpuShare   cpuShare
	boottime   ktime.Clock
	vdso       *vdso.Clock
	rootUserNS *auth.UserNamespace
	rootUTS    *UTSNamespace
	rootIPC    *IPCNamespace
	rootPIDNS  *PIDNamespace
	numCPU     int
	totalMem   uint64
	startedAt  int64 // CLOCK_MONOTONIC, ns

	tracer   atomic.Pointer[tracerBox] `state:"nosave"`
	reporter Reporter                  `state:"nosave"`

	tasksMu sync.RWMutex // guards the process tree; see the package comment
	tasks   map[*Task]struct{}
	// exitCond is signalled when a task of a dying pid namespace is gone; its lock is
	// tasksMu.
	exitCond *sync.Cond `state:"nosave"`

	tasksDone sync.WaitGroup `state:"nosave"` // task goroutines

	forks     atomic.Uint64 // for /proc/stat
	nextInode atomic.Uint64
	// netNamespaces is how many there ever were.
	netNamespaces atomic.Uint64

	sigqueueMu sync.Mutex // guards sigqueue
	sigqueue   map[auth.KUID]uint64
	userTasks  map[auth.KUID]uint64

	pauseMu    sync.Mutex // guards the fields below
	pauseCond  *sync.Cond `state:"nosave"`
	paused     bool
	pausedFlag atomic.Bool

	cpuTimers cpuTimerTicker

	// extras holds state of packages above the kernel (socket registries and the like),
	// by key; see Extra.
	extrasMu sync.Mutex
	extras   map[string]any
}

type tracerBox struct{ SyscallTracer }

// Reporter hears of what users read first when a program does not work.
type Reporter interface {
	// UnsupportedSyscall is called when ENOSYS is returned for a missing call, or a
	// command of one.
	UnsupportedSyscall(t *Task, s *Syscall, number uintptr)
	// UnsupportedCommand is called for a missing command of a call that exists.
	UnsupportedCommand(t *Task, call string, command uint64)
	// FatalSignal is called when an uncaught signal ends a thread group.
	FatalSignal(t *Task, signo int32, addr uintptr)
}

// Config is what boot decides.
type Config struct {
	Platform   platform.Platform
	MemoryFile *pgalloc.MemoryFile
	Syscalls   *SyscallTable
	VDSO       *vdso.Clock
	Hostname   string
	NumCPU     int
	TotalMem   uint64 // bytes
	Reporter   Reporter
}

// New makes a Kernel without tasks.
func New(c Config) *Kernel {
	k := &Kernel{
		platform:   c.Platform,
		mf:         c.MemoryFile,
		vfs:        vfs.New(),
		futexes:    futex.NewTable(),
		syscalls:   c.Syscalls,
		realtime:   ktime.NewRealtime(),
		monotonic:  ktime.NewMonotonic(0),
		boottime:   ktime.NewBoottime(0),
		vdso:       c.VDSO,
		rootUserNS: auth.NewRootUserNamespace(),
		numCPU:     max(c.NumCPU, 1),
		cpuShare:   cpuShare{cpus: int64(max(c.NumCPU, 1))},
		totalMem:   c.TotalMem,
		reporter:   c.Reporter,
		tasks:      map[*Task]struct{}{},
		sigqueue:   map[auth.KUID]uint64{},
		userTasks:  map[auth.KUID]uint64{},
		extras:     map[string]any{},
	}
	k.pauseCond = sync.NewCond(&k.pauseMu)
	k.exitCond = sync.NewCond(&k.tasksMu)
	k.cpuShare.clock = k.monotonic
	k.startedAt = k.monotonic.Now()
	k.rootUTS = NewUTSNamespace(k.rootUserNS, c.Hostname, "")
	k.rootIPC = NewIPCNamespace(k.rootUserNS)
	k.rootPIDNS = newRootPIDNamespace(k, k.rootUserNS)
	return k
}

// Platform runs the application code.
func (k *Kernel) Platform() platform.Platform { return k.platform }

// MemoryFile holds application memory.
func (k *Kernel) MemoryFile() *pgalloc.MemoryFile { return k.mf }

// VFS is the one file tree owner.
func (k *Kernel) VFS() *vfs.VFS { return k.vfs }

// Futexes is the table of futex waiters.
func (k *Kernel) Futexes() *futex.Table { return k.futexes }

// Syscalls is the system call table.
func (k *Kernel) Syscalls() *SyscallTable { return k.syscalls }

// Realtime, Monotonic and Boottime are the clocks.
func (k *Kernel) Realtime() ktime.Clock { return k.realtime }

// Monotonic is CLOCK_MONOTONIC.
func (k *Kernel) Monotonic() ktime.Clock { return k.monotonic }

// Boottime is CLOCK_BOOTTIME.
func (k *Kernel) Boottime() ktime.Clock { return k.boottime }

// VDSO is the clock that applications read without a system call, and its image.
func (k *Kernel) VDSO() *vdso.Clock { return k.vdso }

// RootUserNamespace is the sandbox's outermost user namespace.
func (k *Kernel) RootUserNamespace() *auth.UserNamespace { return k.rootUserNS }

// RootPIDNamespace sees every task.
func (k *Kernel) RootPIDNamespace() *PIDNamespace { return k.rootPIDNS }

// RootUTSNamespace is the first container's.
func (k *Kernel) RootUTSNamespace() *UTSNamespace { return k.rootUTS }

// RootIPCNamespace is the first container's.
func (k *Kernel) RootIPCNamespace() *IPCNamespace { return k.rootIPC }

// NumCPU is how many CPUs applications see; TotalMemory how much memory, in bytes.
func (k *Kernel) NumCPU() int { return k.numCPU }

// TotalMemory is what /proc/meminfo and sysinfo(2) call MemTotal, in bytes.
func (k *Kernel) TotalMemory() uint64 { return k.totalMem }

// Uptime is nanoseconds since the kernel was made.
func (k *Kernel) Uptime() int64 { return k.monotonic.Now() - k.startedAt }

// Forks is how many tasks were ever made.
func (k *Kernel) Forks() uint64 { return k.forks.Load() }

// SetSyscallTracer turns --strace on, or off with nil.
func (k *Kernel) SetSyscallTracer(s SyscallTracer) {
	if s == nil {
		k.tracer.Store(nil)
		return
	}
	k.tracer.Store(&tracerBox{s})
}

// Extra returns the value stored under key, made by create at first use. Packages above
// the kernel keep their per-kernel registries here; values must be saveable.
func (k *Kernel) Extra(key string, create func() any) any {
	k.extrasMu.Lock()
	defer k.extrasMu.Unlock()
	v, ok := k.extras[key]
	if !ok {
		v = create()
		k.extras[key] = v
	}
	return v
}

// Report is where unsupported calls and fatal signals are told; it may be nil.
func (k *Kernel) Report() Reporter { return k.reporter }

// Pause stops application code: every task halts before it next enters the application.
// It returns when all tasks are halted or asleep in a system call.
func (k *Kernel) Pause() {
	k.pauseMu.Lock()
	k.paused = true
	k.pausedFlag.Store(true)
	k.pauseMu.Unlock()
	k.tasksMu.RLock()
	defer k.tasksMu.RUnlock()
	for t := range k.tasks {
		t.kick()
	}
}

// Resume ends Pause.
func (k *Kernel) Resume() {
	k.pauseMu.Lock()
	defer k.pauseMu.Unlock()
	k.paused = false
	k.pausedFlag.Store(false)
	k.pauseCond.Broadcast()
}

// waitUnpaused holds the goroutine of task t while the kernel is paused.
func (k *Kernel) waitUnpaused(t *Task) {
	if !k.pausedFlag.Load() {
		return
	}
	t.asleep(StateDiskSleep)
	defer t.awake()
	k.pauseMu.Lock()
	defer k.pauseMu.Unlock()
	for k.paused {
		k.pauseCond.Wait()
	}
}

// KillAll ends every task; Wait then returns soon.
func (k *Kernel) KillAll() {
	k.Resume()
	k.tasksMu.RLock()
	groups := map[*ThreadGroup]struct{}{}
	for t := range k.tasks {
		groups[t.tg] = struct{}{}
	}
	k.tasksMu.RUnlock()
	for tg := range groups {
		tg.Kill()
	}
}

// Wait returns when no task goroutine is left.
func (k *Kernel) Wait() { k.tasksDone.Wait() }

// Tasks returns all tasks that have not been reaped.
func (k *Kernel) Tasks() []*Task {
	k.tasksMu.RLock()
	defer k.tasksMu.RUnlock()
	out := make([]*Task, 0, len(k.tasks))
	for t := range k.tasks {
		out = append(out, t)
	}
	return out
}

// NewInodeNumber gives namespace files and the like an inode number.
func (k *Kernel) NewInodeNumber() uint64 { return 0xf0000000 + k.nextInode.Add(1) }

// Random fills b from the host's random source.
func Random(b []byte) {
	if _, err := rand.Read(b); err != nil {
		panic(fmt.Sprintf("kernel: the host's random source failed: %v", err))
	}
}
