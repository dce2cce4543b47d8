package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/mm"
)

// CloneArgs are clone3(2)'s.
type CloneArgs struct {
	Flags      uint64 // CLONE_*, without the exit signal
	ExitSignal int32
	Stack      uintptr // 0: the parent's
	TLS        uintptr
	ParentTID  uintptr
	ChildTID   uintptr
	PIDFD      uintptr
	SetTIDs    []int32
}

// newTask allocates a task with what every way of making one has in common.
func (k *Kernel) newTask(tg *ThreadGroup, ac *arch.Context, name string) *Task {
	t := &Task{
		k: k, tg: tg, arch: ac, name: name,
		wakeC:      make(chan struct{}, 1),
		interruptC: make(chan struct{}, 1),
		altStack:   arch.SignalStack{Flags: arch.SsDisable},
	}
	t.waker.t = t
	t.pctx = k.platform.NewContext()
	k.forks.Add(1)
	return t
}

func (k *Kernel) newThreadGroup(ns *PIDNamespace, limits *Limits, h *SignalHandlers) *ThreadGroup {
	tg := &ThreadGroup{
		k: k, pidns: ns, handlers: h, limits: limits,
		children:  map[*ThreadGroup]struct{}{},
		done:      make(chan struct{}),
		startTime: k.boottime.Now(),
	}
	return tg
}

// Clone is clone(2) without its checks of flag combinations, which package syscalls does.
// It returns the child, already running, and its number as the parent sees it. With
// CLONE_VFORK the caller then calls VforkWait.
func (t *Task) Clone(a *CloneArgs) (*Task, int32, error) {
	k := t.k
	creds := t.Credentials()
	limit := t.tg.limits.Get(unix.RLIMIT_NPROC).Cur
	exempt := creds.HasRootCapability(unix.CAP_SYS_RESOURCE) || creds.HasRootCapability(unix.CAP_SYS_ADMIN) || creds.RealUID == auth.RootUID
	if err := k.chargeTask(creds.RealUID, limit, exempt); err != nil {
		return nil, 0, err
	}
	undo := []func(){func() { k.unchargeTask(creds.RealUID) }}
	fail := func(err error) (*Task, int32, error) {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
		return nil, 0, err
	}

	// Namespaces.
	userNS := creds.UserNS
	if a.Flags&unix.CLONE_NEWUSER != 0 {
		ns, err := userNS.NewChild(creds.EffectiveUID)
		if err != nil {
			return fail(err)
		}
		creds = creds.InNewUserNamespace(ns)
		userNS = ns
	}
	nsFlags := uint64(unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP)
	if a.Flags&nsFlags != 0 && !creds.HasCapability(unix.CAP_SYS_ADMIN) {
		return fail(unix.EPERM)
	}
	uts, ipc, net := t.UTSNamespace(), t.IPCNamespace(), t.NetNamespace()
	if a.Flags&unix.CLONE_NEWUTS != 0 {
		h, d := uts.Names()
		uts = NewUTSNamespace(userNS, h, d)
	}
	if a.Flags&unix.CLONE_NEWIPC != 0 {
		ipc = NewIPCNamespace(userNS)
	}
	if a.Flags&unix.CLONE_NEWNET != 0 {
		net = k.NewNetNamespace(userNS)
	}
	pidns := t.pids.ns
	if t.childPIDNS != nil {
		pidns = t.childPIDNS
	}
	if a.Flags&unix.CLONE_NEWPID != 0 {
		ns, err := pidns.NewChild(userNS)
		if err != nil {
			return fail(err)
		}
		pidns = ns
	}

	// Memory, files and directories: shared or copied.
	if err := t.pctx.PullFullState(t.mm.AddressSpace(), t.arch); err != nil {
		return fail(err)
	}
	var m *mm.MemoryManager
	if a.Flags&unix.CLONE_VM != 0 {
		m = t.mm
		m.IncUsers()
		if a.Flags&unix.CLONE_THREAD == 0 {
			m.AskForProcessID()
		}
	} else {
		var err error
		if m, err = t.mm.Fork(); err != nil {
			return fail(err)
		}
	}
	undo = append(undo, func() { m.DecUsers() })
	var fds *FDTable
	if a.Flags&unix.CLONE_FILES != 0 {
		fds = t.fds
		fds.IncRef()
	} else {
		fds = t.fds.Fork(unix.RLIM_INFINITY)
	}
	undo = append(undo, func() { fds.DecRef(t) })
	var fs *FSContext
	if a.Flags&unix.CLONE_FS != 0 {
		fs = t.fs
		fs.IncRef()
	} else {
		fs = t.fs.Fork()
	}
	undo = append(undo, func() { fs.DecRef(t) })
	if a.Flags&unix.CLONE_NEWNS != 0 {
		if err := fs.UnshareMountNamespace(t, userNS); err != nil {
			return fail(err)
		}
	}

	// The task itself.
	ac := t.arch.Fork()
	ac.SetReturn(0)
	if a.Stack != 0 {
		ac.SetStack(a.Stack)
	}
	if a.Flags&unix.CLONE_SETTLS != 0 {
		ac.SetTLS(a.TLS)
	}
	tg := t.tg
	if a.Flags&unix.CLONE_THREAD == 0 {
		t.tg.signalMu.Lock()
		h := t.tg.handlers
		if a.Flags&unix.CLONE_SIGHAND == 0 {
			h = h.clone()
			if a.Flags&unix.CLONE_CLEAR_SIGHAND != 0 {
				h = h.clonedForExec()
			}
		}
		t.tg.signalMu.Unlock()
		tg = k.newThreadGroup(pidns, t.tg.limits.Clone(), h)
		if m != t.mm {
			m.SetLimits(tg.limits)
		}
		tg.ContainerID = t.tg.ContainerID
		tg.oomScoreAdj.Store(t.tg.oomScoreAdj.Load())
	}
	c := k.newTask(tg, ac, t.Name())
	c.creator = t
	c.mm, c.fds, c.fs = m, fds, fs
	c.creds.Store(creds)
	c.uts.Store(uts)
	c.ipc.Store(ipc)
	c.net.Store(net)
	c.noNewPrivs.Store(t.noNewPrivs.Load())
	c.personality.Store(t.personality.Load())
	c.mask = t.mask
	c.exitSignal = a.ExitSignal
	c.sched = t.sched.forChild()
	c.seccomp = t.seccomp.forChild()
	if a.Flags&unix.CLONE_VM == 0 || a.Flags&unix.CLONE_VFORK != 0 {
		c.altStack = t.altStack
	}
	if a.Flags&unix.CLONE_CHILD_CLEARTID != 0 {
		c.clearTID = a.ChildTID
	}

	k.tasksMu.Lock()
	var err error
	if c.pids, err = pidns.allocateWith(c, a.SetTIDs); err != nil {
		k.tasksMu.Unlock()
		c.pctx.Release()
		return fail(err)
	}
	if tg != t.tg {
		tg.leader = c
		tg.parent = t.tg
		if a.Flags&unix.CLONE_PARENT != 0 {
			tg.parent = t.tg.parent
			c.creator = t.creator
			c.exitSignal = t.tg.leader.exitSignal
		}
		if pidns.init == nil {
			pidns.init = tg
		}
		if tg.parent != nil {
			tg.parent.children[tg] = struct{}{}
		}
		tg.joinProcessGroup(t.tg.group)
	}
	tg.signalMu.Lock()
	// A fatal signal or exec that is under way must not miss the new thread; fork(2)
	// itself is restarted when a signal is pending, so that it is not lost to the parent.
	if t.killed || tg.exiting {
		tg.signalMu.Unlock()
		c.pids.free(c)
		if tg != t.tg {
			tg.leaveProcessGroup()
			if tg.parent != nil {
				delete(tg.parent.children, tg)
			}
		}
		k.tasksMu.Unlock()
		c.pctx.Release()
		return fail(unix.EINTR)
	}
	tg.setTasks(append(append([]*Task(nil), tg.tasks...), c))
	tg.live++
	if tg.stop.pending {
		c.attention.Store(true)
	}
	tg.signalMu.Unlock()
	k.tasks[c] = struct{}{}
	if a.Flags&unix.CLONE_VFORK != 0 {
		c.vforkWaiter = t
	}
	nr := c.pids.in(t.pids.ns)
	k.tasksMu.Unlock()

	var word [4]byte
	if a.Flags&unix.CLONE_PARENT_SETTID != 0 {
		putUint32(word[:], uint32(nr))
		t.mm.CopyOut(a.ParentTID, word[:])
	}
	if a.Flags&unix.CLONE_CHILD_SETTID != 0 {
		putUint32(word[:], uint32(c.ThreadID()))
		m.CopyOut(a.ChildTID, word[:])
	}
	t.ptraceCloned(c, a)
	return c, nr, nil
}

// Start lets a task made by Clone or CreateProcess run.
func (t *Task) Start() { t.start() }

// VforkWait blocks until child has let go of the address space that it borrowed, or t is
// killed.
func (t *Task) VforkWait(child *Task) {
	for !child.vforkDone.Load() {
		if t.BlockUninterruptible() != nil {
			t.k.tasksMu.Lock()
			child.vforkWaiter = nil
			t.k.tasksMu.Unlock()
			return
		}
	}
}

// allocateWith is allocate with numbers chosen by clone3(2)'s set_tid, innermost first.
func (ns *PIDNamespace) allocateWith(t *Task, want []int32) (pids, error) {
	if len(want) == 0 {
		return ns.allocate(t)
	}
	if len(want) > ns.level+1 {
		return pids{}, unix.EINVAL
	}
	n := ns
	for _, nr := range want {
		if nr < 1 || nr >= pidMax {
			return pids{}, unix.EINVAL
		}
		if n.tasks[nr] != nil || n.groups[nr] != nil || n.sessions[nr] != nil {
			return pids{}, unix.EEXIST
		}
		if n.init == nil && nr != 1 {
			return pids{}, unix.EINVAL
		}
		n = n.parent
	}
	// Numbers above the chosen ones are allocated as usual.
	lasts := map[*PIDNamespace]int32{}
	n = ns
	for _, nr := range want {
		lasts[n] = n.last
		n.last = nr - 1
		n = n.parent
	}
	p, err := ns.allocate(t)
	for n, l := range lasts {
		n.last = l
	}
	return p, err
}

func putUint32(b []byte, v uint32) {
	b[0], b[1], b[2], b[3] = byte(v), byte(v>>8), byte(v>>16), byte(v>>24)
}
