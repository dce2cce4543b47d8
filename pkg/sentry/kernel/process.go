package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// CreateProcessArgs describe a process that boot or the control socket makes: a container's
// init or one that `runsc exec` adds.
type CreateProcessArgs struct {
	Argv, Envv []string
	// Filename is the executable's path, which was resolved in $PATH already.
	Filename   string
	Creds      *auth.Credentials
	Limits     *Limits
	Umask      uint32
	NoNewPrivs bool

	// Root and WorkingDirectory are taken over (references), Files too: Files[i] becomes
	// descriptor i, nil leaves it closed.
	Root, WorkingDirectory vfs.Path
	Files                  []*vfs.FileDescription

	PIDNamespace *PIDNamespace
	UTS          *UTSNamespace
	IPC          *IPCNamespace
	Net          *NetNamespace

	ContainerID string
	// Terminal makes descriptor 0's terminal the controlling one.
	OOMScoreAdj int32
}

// bootContext is the Context of a process that is being made.
type bootContext struct {
	context.Background
	a *CreateProcessArgs
}

// Umask implements context.Context.
func (b *bootContext) Umask() uint32 { return b.a.Umask }

// CreateProcess loads the executable and makes the process's first thread, which does not
// run before Start. The process leads a new session. Errors are those of execve(2), with
// nothing left behind.
func (k *Kernel) CreateProcess(a *CreateProcessArgs) (*ThreadGroup, error) {
	ctx := &bootContext{context.Background{Creds: a.Creds}, a}
	fds := NewFDTable()
	for i, f := range a.Files {
		if f != nil {
			fds.NewAt(int32(i), f, false, uint64(i)+1)
			f.DecRef(ctx)
		}
	}
	fs := NewFSContext(a.Root, a.WorkingDirectory, a.Umask)
	ns := a.PIDNamespace
	if ns == nil {
		ns = k.rootPIDNS
	}
	limits := a.Limits
	if limits == nil {
		limits = NewLimits()
	}
	tg := k.newThreadGroup(ns, limits, &SignalHandlers{})
	tg.ContainerID = a.ContainerID
	tg.oomScoreAdj.Store(a.OOMScoreAdj)
	t := k.newTask(tg, arch.NewContext(), "")
	t.fds, t.fs = fds, fs
	t.creds.Store(a.Creds)
	t.uts.Store(a.UTS)
	t.ipc.Store(a.IPC)
	t.net.Store(a.Net)
	t.noNewPrivs.Store(a.NoNewPrivs)
	t.exitSignal = int32(unix.SIGCHLD)
	fail := func(err error) (*ThreadGroup, error) {
		t.pctx.Release()
		fds.DecRef(ctx)
		fs.DecRef(ctx)
		return nil, err
	}

	k.chargeTask(a.Creds.RealUID, 0, true)
	k.tasksMu.Lock()
	var err error
	if t.pids, err = ns.allocate(t); err != nil {
		k.tasksMu.Unlock()
		k.unchargeTask(a.Creds.RealUID)
		return fail(err)
	}
	tg.leader = t
	tg.setTasks([]*Task{t})
	tg.live = 1
	if ns.init == nil {
		ns.init = tg
	}
	tg.newSession()
	k.tasks[t] = struct{}{}
	k.tasksMu.Unlock()

	file, err := execOpener{t}.OpenExecutable(a.Filename)
	if err == nil {
		defer file.DecRef(ctx)
		m, info, creds, lerr := t.load(&ExecArgs{File: file, Filename: a.Filename, Argv: a.Argv, Envv: a.Envv})
		if err = lerr; err == nil {
			t.mm = m
			t.creds.Store(creds)
			t.SetName(info.Name)
			t.arch.SetIP(uintptr(info.Entry))
			t.arch.SetStack(uintptr(info.StackPointer))
			t.pctx.FullStateChanged()
			tg.execed = true
			return tg, nil
		}
	}
	k.tasksMu.Lock()
	if ns.init == tg {
		ns.init = nil
		ns.last = 0
	}
	tg.zombie = true
	close(tg.done)
	k.reap(tg)
	k.tasksMu.Unlock()
	return fail(err)
}

// Start lets a process made by CreateProcess run.
func (tg *ThreadGroup) Start() { tg.Leader().start() }

// Abandon ends a process made by CreateProcess that was never started.
func (tg *ThreadGroup) Abandon() { tg.Kill() }

// Reap forgets a process without a parent inside the sandbox, once it has ended. Processes
// of CreateProcess have none, so they vanish by themselves; their exit status stays in
// the ThreadGroup.
func (tg *ThreadGroup) Reap() {
	tg.k.tasksMu.Lock()
	defer tg.k.tasksMu.Unlock()
	if tg.zombie {
		tg.k.reap(tg)
	}
}

// exitContext is the Context for what an exiting task releases: it never blocks.
type exitContext struct{ *Task }

// Block implements context.Blocker.
func (*exitContext) Block() error { return unix.EINTR }

// BlockUntil implements context.Blocker.
func (*exitContext) BlockUntil(int64) error { return unix.EINTR }

// setTasks replaces the list of threads. tasksMu (for writing) and signalMu are held, or
// nobody knows the group yet.
func (tg *ThreadGroup) setTasks(l []*Task) {
	tg.tasks = l
	tg.threads.Store(&l)
}

// tasksSnapshot is the list of threads; tasksMu or signalMu is held.
func (tg *ThreadGroup) tasksSnapshot() []*Task { return tg.tasks }

// liveNone says whether every thread has begun to exit; signalMu is held.
func (tg *ThreadGroup) liveNone() bool { return tg.live == 0 }
