package kernel

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/mm"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// Task is a thread of an application.
type Task struct {
	k    *Kernel
	pids pids // its numbers; changed only by exec, under tasksMu

	// tg and creator are guarded by tasksMu; tg changes never, creator when that exits.
	tg      *ThreadGroup
	creator *Task // the thread that made it, for PDEATHSIG and __WNOTHREAD
	reaped  bool  // gone from the tree

	// Owned by the task goroutine.
	arch          *arch.Context
	pctx          platform.Context `state:"nosave"`
	restart       error            // restart result of the system call that just ended
	restartBlock  RestartBlock
	noReturn      bool // the system call set the registers itself
	savedMask     arch.SignalSet
	haveSavedMask bool
	clearTID      uintptr // set_tid_address(2)
	robustList    uintptr
	lastSyscall   uintptr

	// image is replaced by exec, and read by others.
	imageMu sync.Mutex
	mm      *mm.MemoryManager // nil once the task has let go of it
	fds     *FDTable
	fs      *FSContext
	name    string // comm, at most 15 bytes

	creds atomic.Pointer[auth.Credentials]
	uts   atomic.Pointer[UTSNamespace]
	ipc   atomic.Pointer[IPCNamespace]
	net   atomic.Pointer[NetNamespace]
	// childPIDNS is where its children go (unshare(2), setns(2) of CLONE_NEWPID).
	childPIDNS *PIDNamespace

	// The fields below are guarded by tg.signalMu.
	pending    pendingSignals
	mask       arch.SignalSet // written by the task goroutine with signalMu, read by it without
	realMask   arch.SignalSet // sigtimedwait(2): the mask to test for wake-ups
	altStack   arch.SignalStack
	killed     bool // must exit: SIGKILL, group exit, exec by a sibling
	exitStatus uint32
	stopped    bool // halted by a group stop or a ptrace stop
	exitSignal int32

	// attention is set when the run loop has something to look at before it returns to the
	// application: signals, stops, exit, pause.
	attention atomic.Bool
	// wakeC and interruptC end Block; capacity 1, a token means that something may have
	// happened.
	wakeC      chan struct{} `state:"nosave"`
	interruptC chan struct{} `state:"nosave"`
	timeout    *sleepTimeout // owned by the task goroutine
	waker      taskWaker
	sigWaiters waiter.Queue // signalfds and the like of this task

	state       atomic.Uint32 // TaskState
	started     atomic.Bool   // the goroutine has begun
	exited      atomic.Bool   // the goroutine has ended
	futexesGone atomic.Bool   // it owns no futex any more: it lets go of mm
	pdeathSig   atomic.Int32
	noNewPrivs  atomic.Bool
	vforkWaiter *Task // guarded by tasksMu: whom to tell when this task lets go of mm
	vforkDone   atomic.Bool

	personality atomic.Uint32 // personality(2)

	// Scheduling parameters are recorded and reported.
	sched SchedState

	times cpuTimes

	ptrace  ptraceState
	seccomp seccompState

	exitCode uint32 // wait(2) status of this thread; guarded by signalMu
}

// TaskState is what /proc/PID/stat shows.
type TaskState uint32

// The states.
const (
	StateRunning TaskState = iota
	StateSleeping
	StateStopped
	StateTraced
	StateZombie
	StateDead
	StateDiskSleep
)

// Letter is the state's letter in /proc/PID/stat, and its name.
func (s TaskState) Letter() (byte, string) {
	switch s {
	case StateRunning:
		return 'R', "running"
	case StateSleeping:
		return 'S', "sleeping"
	case StateStopped:
		return 'T', "stopped"
	case StateTraced:
		return 't', "tracing stop"
	case StateZombie:
		return 'Z', "zombie"
	case StateDiskSleep:
		return 'D', "disk sleep"
	}
	return 'X', "dead"
}

// RestartBlock is what restart_syscall(2) goes on with.
type RestartBlock interface {
	Restart(t *Task) (uintptr, error)
}

// ThreadGroup is a process.
type ThreadGroup struct {
	k     *Kernel
	pidns *PIDNamespace

	// Guarded by Kernel.tasksMu.
	leader     *Task
	tasks      []*Task                 // all threads until each is reaped; changed with signalMu held too
	threads    atomic.Pointer[[]*Task] // the same, for readers without a lock
	live       int                     // threads that have not begun to exit; changed with signalMu held too
	parent     *ThreadGroup
	children   map[*ThreadGroup]struct{}
	group      *ProcessGroup
	execed     bool // since it was forked; setpgid(2) refuses then
	zombie     bool // all threads are gone, waiting to be reaped
	reaped     bool
	forgotTTY  bool // TIOCNOTTY
	subreaper  bool
	exitGroups groupsToCheck // while it becomes a zombie

	signalMu sync.Mutex // guards the fields below and those of Task that say so
	pending  pendingSignals
	exiting  bool   // exit_group(2) or a fatal signal
	exitCode uint32 // wait(2) status, once exiting
	execing  *Task  // this thread waits for the others to go
	stop     groupStop
	handlers *SignalHandlers // shared with CLONE_SIGHAND

	// events tells parents in wait4(2), in this group, of their children.
	events waiter.Queue
	// exitWaiters hear of the end of the group: pidfd, control's Wait.
	exitWaiters waiter.Queue
	done        chan struct{} `state:"nosave"` // closed when the group is a zombie

	limits      *Limits
	oomScoreAdj atomic.Int32

	timers groupTimers
	times  groupTimes

	// ContainerID says which container's process this is; children inherit it.
	ContainerID string
	startTime   int64 // CLOCK_BOOTTIME, ns

}

// Kernel returns the task's kernel.
func (t *Task) Kernel() *Kernel { return t.k }

// ThreadGroup returns the task's process.
func (t *Task) ThreadGroup() *ThreadGroup { return t.tg }

// Arch is the task's register state; for its own goroutine, or for a tracer while it is
// stopped.
func (t *Task) Arch() *arch.Context { return t.arch }

// MemoryManager is the task's address space; nil once it has exited. For other goroutines'
// use see WithMM.
func (t *Task) MemoryManager() *mm.MemoryManager {
	return t.mm
}

// WithMM returns the address space with a reference that the caller drops by DecUsers, or
// nil. Any goroutine may call it.
func (t *Task) WithMM() *mm.MemoryManager {
	t.imageMu.Lock()
	defer t.imageMu.Unlock()
	if t.mm == nil || !t.mm.IncUsers() {
		return nil
	}
	return t.mm
}

// FDTable is the task's descriptor table. For its own goroutine.
func (t *Task) FDTable() *FDTable { return t.fds }

// WithFDTable is FDTable for other goroutines, with a reference (DecRef), or nil.
func (t *Task) WithFDTable() *FDTable {
	t.imageMu.Lock()
	defer t.imageMu.Unlock()
	if t.fds != nil {
		t.fds.IncRef()
	}
	return t.fds
}

// FSContext is root, working directory and umask. For its own goroutine.
func (t *Task) FSContext() *FSContext { return t.fs }

// WithFSContext is FSContext for other goroutines, with a reference (DecRef), or nil.
func (t *Task) WithFSContext() *FSContext {
	t.imageMu.Lock()
	defer t.imageMu.Unlock()
	if t.fs != nil {
		t.fs.IncRef()
	}
	return t.fs
}

// Name is the task's comm.
func (t *Task) Name() string {
	t.imageMu.Lock()
	defer t.imageMu.Unlock()
	return t.name
}

// SetName sets comm, cut to 15 bytes.
func (t *Task) SetName(s string) {
	if len(s) > 15 {
		s = s[:15]
	}
	t.imageMu.Lock()
	t.name = s
	t.imageMu.Unlock()
}

// Credentials implements context.Context.
func (t *Task) Credentials() *auth.Credentials { return t.creds.Load() }

// SetCredentials installs c; only the task's own goroutine does so. A change of identity
// makes the process undumpable, as prctl(2) says of PR_SET_DUMPABLE.
func (t *Task) SetCredentials(c *auth.Credentials) {
	old := t.creds.Load()
	if old != nil && t.mm != nil && (old.EffectiveUID != c.EffectiveUID || old.EffectiveGID != c.EffectiveGID ||
		old.FSUID != c.FSUID || old.FSGID != c.FSGID || c.UserNS == old.UserNS && c.Permitted&^old.Permitted != 0) {
		t.mm.SetDumpable(0)
		t.pdeathSig.Store(0)
	}
	if old != nil && old.RealUID != c.RealUID {
		t.k.chargeTask(c.RealUID, 0, true)
		t.k.unchargeTask(old.RealUID)
	}
	t.creds.Store(c)
}

// UserNamespace is the credentials'.
func (t *Task) UserNamespace() *auth.UserNamespace { return t.Credentials().UserNS }

// UTSNamespace, IPCNamespace, NetNamespace and PIDNamespace are the task's namespaces.
func (t *Task) UTSNamespace() *UTSNamespace { return t.uts.Load() }

// IPCNamespace is the task's System V and mqueue namespace.
func (t *Task) IPCNamespace() *IPCNamespace { return t.ipc.Load() }

// NetNamespace is the task's network namespace.
func (t *Task) NetNamespace() *NetNamespace { return t.net.Load() }

// PIDNamespace is the namespace that numbers the task.
func (t *Task) PIDNamespace() *PIDNamespace { return t.pids.ns }

// MountNamespace is the one of its root directory.
func (t *Task) MountNamespace() *vfs.MountNamespace { return t.fs.MountNamespace() }

// ThreadID is gettid(2).
func (t *Task) ThreadID() int32 { return t.pids.nrs[t.pids.ns.level] }

// PID is getpid(2).
func (t *Task) PID() int32 { return t.tg.PID() }

// AnswerProcessID lets the platform answer getpid(2) by itself from now on, if nobody is to
// see each call.
func (t *Task) AnswerProcessID(pid int32) {
	if !t.hasSyscallHooks() && t.k.tracer.Load() == nil {
		t.mm.AnswerProcessID(pid)
	}
}

// RootTID and RootTGID implement context.ThreadID.
func (t *Task) RootTID() int32 { return t.pids.nrs[0] }

// RootTGID is the process number in the root namespace.
func (t *Task) RootTGID() int32 {
	t.k.tasksMu.RLock()
	defer t.k.tasksMu.RUnlock()
	return t.tg.leader.pids.nrs[0]
}

// PID is the process number in the group's own namespace.
func (tg *ThreadGroup) PID() int32 { return tg.pidns.TGIDOf(tg) }

// Kernel returns the group's kernel.
func (tg *ThreadGroup) Kernel() *Kernel { return tg.k }

// Leader is the thread whose number the process has.
func (tg *ThreadGroup) Leader() *Task {
	tg.k.tasksMu.RLock()
	defer tg.k.tasksMu.RUnlock()
	return tg.leader
}

// PIDNamespace numbers the group.
func (tg *ThreadGroup) PIDNamespace() *PIDNamespace { return tg.pidns }

// Tasks are the threads that have not been reaped.
func (tg *ThreadGroup) Tasks() []*Task {
	tg.k.tasksMu.RLock()
	defer tg.k.tasksMu.RUnlock()
	return append([]*Task(nil), tg.tasks...)
}

// Parent is the process that wait(2)s for this one; nil for a namespace's first.
func (tg *ThreadGroup) Parent() *ThreadGroup {
	tg.k.tasksMu.RLock()
	defer tg.k.tasksMu.RUnlock()
	return tg.parent
}

// Children are the processes whose parent this is.
func (tg *ThreadGroup) Children() []*ThreadGroup {
	tg.k.tasksMu.RLock()
	defer tg.k.tasksMu.RUnlock()
	out := make([]*ThreadGroup, 0, len(tg.children))
	for c := range tg.children {
		out = append(out, c)
	}
	return out
}

// ProcessGroup is the job that the process belongs to.
func (tg *ThreadGroup) ProcessGroup() *ProcessGroup {
	tg.k.tasksMu.RLock()
	defer tg.k.tasksMu.RUnlock()
	return tg.group
}

// Session is the process group's session.
func (tg *ThreadGroup) Session() *Session {
	tg.k.tasksMu.RLock()
	defer tg.k.tasksMu.RUnlock()
	if tg.group == nil {
		return nil
	}
	return tg.group.session
}

// Limits are the process's resource limits.
func (tg *ThreadGroup) Limits() *Limits { return tg.limits }

// StartTime is when the process was made, CLOCK_BOOTTIME in nanoseconds.
func (tg *ThreadGroup) StartTime() int64 { return tg.startTime }

// OOMScoreAdj is /proc/PID/oom_score_adj.
func (tg *ThreadGroup) OOMScoreAdj() *atomic.Int32 { return &tg.oomScoreAdj }

// Done is closed when the process has ended.
func (tg *ThreadGroup) Done() <-chan struct{} { return tg.done }

// ExitStatus is the wait(2) status word of an ended process.
func (tg *ThreadGroup) ExitStatus() uint32 {
	tg.signalMu.Lock()
	defer tg.signalMu.Unlock()
	return tg.exitCode
}

// ExitEvents is notified (EventIn) when the process ends; pidfds wait on it.
func (tg *ThreadGroup) ExitEvents() *waiter.Queue { return &tg.exitWaiters }

// IsZombie says whether every thread is gone.
func (tg *ThreadGroup) IsZombie() bool {
	tg.k.tasksMu.RLock()
	defer tg.k.tasksMu.RUnlock()
	return tg.zombie
}

// State is what the task is doing, for /proc.
func (t *Task) State() TaskState { return TaskState(t.state.Load()) }

// NoNewPrivs is PR_SET_NO_NEW_PRIVS's flag.
func (t *Task) NoNewPrivs() bool { return t.noNewPrivs.Load() }

// SetNoNewPrivs sets it; it is never cleared.
func (t *Task) SetNoNewPrivs() { t.noNewPrivs.Store(true) }

// ParentDeathSignal is PR_SET_PDEATHSIG's, 0 for none.
func (t *Task) ParentDeathSignal() int32 { return t.pdeathSig.Load() }

// SetParentDeathSignal sets it.
func (t *Task) SetParentDeathSignal(s int32) { t.pdeathSig.Store(s) }

// SetSubreaper is PR_SET_CHILD_SUBREAPER.
func (tg *ThreadGroup) SetSubreaper(on bool) {
	tg.k.tasksMu.Lock()
	defer tg.k.tasksMu.Unlock()
	tg.subreaper = on
}

// IsSubreaper is PR_GET_CHILD_SUBREAPER.
func (tg *ThreadGroup) IsSubreaper() bool {
	tg.k.tasksMu.RLock()
	defer tg.k.tasksMu.RUnlock()
	return tg.subreaper
}

// SetClearTID is set_tid_address(2).
func (t *Task) SetClearTID(addr uintptr) { t.clearTID = addr }

// RobustList and SetRobustList are set_robust_list(2)'s head.
func (t *Task) RobustList() uintptr { return t.robustList }

// SetRobustList records the head of the robust futex list.
func (t *Task) SetRobustList(addr uintptr) { t.robustList = addr }

// SetRestartBlock records how restart_syscall(2) goes on, and returns the result that the
// interrupted call must return.
func (t *Task) SetRestartBlock(b RestartBlock) error {
	t.restartBlock = b
	return restartBlockResult
}

// SetNoReturn says that the present system call (rt_sigreturn, execve) has set all
// registers, so that its result must not be stored.
func (t *Task) SetNoReturn() { t.noReturn = true }

// Umask implements context.Context.
func (t *Task) Umask() uint32 { return t.fs.Umask() }

// RealTime implements context.Context.
func (t *Task) RealTime() int64 { return t.k.realtime.Now() }

// Monotonic implements context.Blocker.
func (t *Task) Monotonic() int64 { return t.k.monotonic.Now() }

// FileSizeLimit implements context.Context.
func (t *Task) FileSizeLimit() uint64 { return t.tg.limits.Get(unix.RLIMIT_FSIZE).Cur }

// FileSizeExceeded implements context.Context.
func (t *Task) FileSizeExceeded() {
	info := arch.NewKernelSignal(int32(unix.SIGXFSZ))
	t.SendSignal(&info)
}

// ClearTID is the address that set_tid_address(2) recorded.
func (t *Task) ClearTID() uintptr { return t.clearTID }

// IsReaped says whether the process is gone from the tree.
func (tg *ThreadGroup) IsReaped() bool {
	tg.k.tasksMu.RLock()
	defer tg.k.tasksMu.RUnlock()
	return tg.reaped
}

// Unsupported reports a command of a system call (an ioctl, a prctl option) that the sentry
// lacks, and returns err.
func (t *Task) Unsupported(call string, command uint64, err error) error {
	if t.k.reporter != nil {
		t.k.reporter.UnsupportedCommand(t, call, command)
	}
	return err
}

// MayTrace is ptrace(2)'s "ptrace access mode" check with PTRACE_MODE_ATTACH_REALCREDS.
func (t *Task) MayTrace(o *Task) bool {
	if t.tg == o.tg {
		return true
	}
	c, d := t.Credentials(), o.Credentials()
	if c.HasCapabilityIn(unix.CAP_SYS_PTRACE, d.UserNS) {
		return true
	}
	if c.RealUID != d.RealUID || c.RealUID != d.EffectiveUID || c.RealUID != d.SavedUID ||
		c.RealGID != d.RealGID || c.RealGID != d.EffectiveGID || c.RealGID != d.SavedGID || d.Permitted&^c.Permitted != 0 {
		return false
	}
	m := o.WithMM()
	if m == nil {
		return false
	}
	defer m.DecUsers()
	return m.Dumpable() == 1
}

// AddrNoRandomize is the flag of personality(2) that turns off address space randomisation.
const AddrNoRandomize = 0x0040000

// Personality and SetPersonality are personality(2)'s word.
func (t *Task) Personality() uint32 { return t.personality.Load() }

// SetPersonality records it; it takes effect at the next execve(2).
func (t *Task) SetPersonality(p uint32) { t.personality.Store(p) }
