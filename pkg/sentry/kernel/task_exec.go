package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/loader"
	"runsc/pkg/sentry/mm"
	"runsc/pkg/sentry/vfs"
)

// ExecArgs are execve(2)'s.
type ExecArgs struct {
	File            *vfs.FileDescription // the executable, opened; borrowed
	Filename        string               // as AT_EXECFN and `#!` see it
	Argv, Envv      []string
	CloseOnExecPath bool // execveat(2) with a close-on-exec fd: `#!` fails
}

// Exec is execve(2): it loads the new image, ends the other threads, and commits. After a
// nil error the task's registers are the new program's. An error before the point of no
// return leaves the task as it was; one behind it kills the task.
func (t *Task) Exec(a *ExecArgs) error {
	m, info, creds, err := t.load(a)
	if err != nil {
		return err
	}
	if err := t.killSiblings(); err != nil {
		m.DecUsers()
		return err
	}
	t.commitExec(m, info, creds)
	return nil
}

// load builds the new image beside the old one.
func (t *Task) load(a *ExecArgs) (*mm.MemoryManager, loader.ImageInfo, *auth.Credentials, error) {
	m, err := mm.New(t.k.platform, t.k.mf)
	if err != nil {
		return nil, loader.ImageInfo{}, nil, err
	}
	m.SetLimits(t.tg.limits)
	info, err := loader.Load(t, m, loader.LoadArgs{
		Opener:          execOpener{t},
		File:            a.File,
		Filename:        a.Filename,
		Argv:            a.Argv,
		Envv:            a.Envv,
		Creds:           t.Credentials(),
		NoNewPrivs:      t.NoNewPrivs() || t.ptrace.traced(),
		VDSO:            t.k.vdso.Image(),
		NoRandomize:     t.Personality()&AddrNoRandomize != 0,
		StackLimit:      t.tg.limits.StackLimit(),
		CloseOnExecPath: a.CloseOnExecPath,
	})
	if err != nil {
		m.DecUsers()
		return nil, info, nil, err
	}
	return m, info, info.Creds, nil
}

// killSiblings makes the caller the only thread, and the leader. EINTR: somebody else
// ends or replaces the process.
func (t *Task) killSiblings() error {
	tg, k := t.tg, t.k
	tg.signalMu.Lock()
	if t.killed || tg.exiting || tg.execing != nil {
		tg.signalMu.Unlock()
		return unix.EINTR
	}
	tg.execing = t
	for _, s := range tg.tasksSnapshot() {
		if s != t {
			s.killed = true
			s.interrupt()
		}
	}
	tg.signalMu.Unlock()
	defer func() {
		tg.signalMu.Lock()
		tg.execing = nil
		tg.signalMu.Unlock()
	}()
	for {
		k.tasksMu.Lock()
		alone := true
		for _, s := range tg.tasks {
			if s != t && !(s == tg.leader && s.exited.Load()) {
				alone = false
			}
		}
		if alone {
			break
		}
		k.tasksMu.Unlock()
		if err := t.BlockUninterruptible(); err != nil {
			return err
		}
	}
	// The caller takes over the number and the place of the old leader (execve(2)).
	if old := tg.leader; old != t {
		tg.signalMu.Lock()
		old.ptraceUnlink(0) // it vanishes without a report
		t.ptrace.formerPIDs = t.pids
		tg.signalMu.Unlock()
		t.pids.free(t)
		t.pids = old.pids
		for n := t.pids.ns; n != nil; n = n.parent {
			n.tasks[t.pids.nrs[n.level]] = t
		}
		t.exitSignal = old.exitSignal
		t.creator = old.creator
		tg.signalMu.Lock()
		tg.leader = t
		tg.setTasks([]*Task{t})
		tg.times.addExited(&old.times)
		tg.signalMu.Unlock()
		old.reaped = true
		delete(k.tasks, old)
		k.unchargeTask(old.Credentials().RealUID)
	}
	k.tasksMu.Unlock()
	return nil
}

// commitExec replaces the image.
func (t *Task) commitExec(m *mm.MemoryManager, info loader.ImageInfo, creds *auth.Credentials) {
	tg, k := t.tg, t.k
	t.releaseMM()
	t.clearTID, t.robustList = 0, 0

	// Descriptors: a shared table becomes the task's own (execve(2)).
	fds := t.fds.Fork(unix.RLIM_INFINITY)
	t.imageMu.Lock()
	oldFDs := t.fds
	t.fds = fds
	t.mm = m
	t.imageMu.Unlock()
	t.futexesGone.Store(false)
	oldFDs.DecRef(t)
	fds.CloseOnExec(t)
	t.SetName(info.Name)

	k.tasksMu.Lock()
	tg.execed = true
	tg.signalMu.Lock()
	tg.handlers = tg.handlers.clonedForExec()
	t.exitSignal = int32(unix.SIGCHLD)
	tg.signalMu.Unlock()
	k.tasksMu.Unlock()
	tg.timers.exec()
	t.altStack = arch.SignalStack{Flags: arch.SsDisable}
	if info.SecureExec {
		t.pdeathSig.Store(0)
	}
	t.creds.Store(creds)
	t.seccomp.exec()

	t.pctx.Release()
	t.pctx = k.platform.NewContext()
	t.arch = arch.NewContext()
	t.arch.SetIP(uintptr(info.Entry))
	t.arch.SetStack(uintptr(info.StackPointer))
	t.pctx.FullStateChanged()
	t.noReturn = true
	t.ptraceExecEvent()
}

// execOpener opens interpreters for the loader.
type execOpener struct{ t *Task }

// OpenExecutable implements loader.Opener.
func (o execOpener) OpenExecutable(path string) (*vfs.FileDescription, error) {
	t := o.t
	root := t.fs.Root()
	defer root.DecRef(t)
	cwd := t.fs.WorkingDirectory()
	defer cwd.DecRef(t)
	return t.k.vfs.OpenExecutable(t, vfs.PathOp{Root: root, Start: cwd, Pathname: path})
}
