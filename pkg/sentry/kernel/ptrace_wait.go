package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
)

// detachTracees frees whom the ending task t traces, or kills them (PTRACE_O_EXITKILL).
// tasksMu is held for writing.
func (k *Kernel) detachTracees(t *Task) {
	for c := range t.ptrace.tracees {
		c.tg.signalMu.Lock()
		kill := c.ptrace.options&unix.PTRACE_O_EXITKILL != 0
		c.ptraceUnlink(0)
		if kill {
			c.groupExitLocked(uint32(unix.SIGKILL))
		}
		c.tg.signalMu.Unlock()
		c.tg.untracedZombie(t.tg)
	}
	t.ptrace.tracees, t.ptrace.ended = nil, nil
}

// untracedZombie gives a zombie whose leader is no longer traced to its parent, unless that
// is the tracer, which has seen it. tasksMu is held for writing.
func (tg *ThreadGroup) untracedZombie(tracer *ThreadGroup) {
	p := tg.parent
	if !tg.zombie || tg.reaped || p == nil {
		return
	}
	auto := p.reapsAutomatically(tg)
	if p != tracer {
		tg.sendExitSignal(p, auto)
	}
	p.notifyWaiters()
	if auto {
		tg.k.reap(tg)
	}
}

// ptraceExited tells the tracer that t has ended. A thread that is not its group's leader
// leaves the tree at once; what wait(2) is to say of it stays with the tracer. tasksMu is
// held for writing.
func (t *Task) ptraceExited() {
	tracer := t.ptrace.tracer.Load()
	if tracer == nil || t == t.tg.leader {
		return
	}
	t.tg.signalMu.Lock()
	t.ptraceUnlink(0)
	status := t.exitCode
	t.tg.signalMu.Unlock()
	tracer.ptrace.ended = append(tracer.ptrace.ended, endedTracee{pids: t.pids, task: t, status: status})
	info := arch.SignalInfo{Signo: int32(unix.SIGCHLD)}
	code, st := exitCodeOf(status)
	info.Code = code
	info.SetPID(t.pids.in(tracer.pids.ns))
	info.SetUID(int32(tracer.UserNamespace().UID(t.Credentials().RealUID)))
	info.SetStatus(st)
	tracer.tg.sendSignalLocked(&info, nil)
	tracer.tg.notifyWaiters()
}

// tracedByParent says whether the process's leader is traced by the process p itself.
// tasksMu is held.
func (tg *ThreadGroup) tracedBy(p *ThreadGroup) bool {
	tr := tg.leader.ptrace.tracer.Load()
	return tr != nil && tr.tg == p
}

// waitTracees looks for tracees of the caller's process that have something to report.
// tasksMu is held for writing.
func (t *Task) waitTracees(o *WaitOptions) (r WaitResult, found, any bool) {
	for _, tracer := range t.tg.tasks {
		if o.NoThread && tracer != t {
			continue
		}
		for i, e := range tracer.ptrace.ended {
			if o.Child != nil || o.Group != 0 || o.PID != 0 && e.pids.in(t.pids.ns) != o.PID {
				continue
			}
			any = true
			if !o.Exited {
				continue
			}
			r.PID, r.Status = e.pids.in(t.pids.ns), e.status
			r.UID = t.UserNamespace().UID(e.task.Credentials().RealUID)
			r.Code, r.Value = exitCodeOf(e.status)
			if !o.NoReap {
				tracer.ptrace.ended = append(tracer.ptrace.ended[:i:i], tracer.ptrace.ended[i+1:]...)
			}
			return r, true, true
		}
		for c := range tracer.ptrace.tracees {
			if !o.matchesTracee(t, c) {
				continue
			}
			any = true
			if r, found = t.waitTracee(c, o); found {
				return r, true, true
			}
		}
	}
	return r, false, any
}

// matchesTracee is matches for a tracee, to which the options about clone children do not
// apply.
func (o *WaitOptions) matchesTracee(t, c *Task) bool {
	switch {
	case o.Child != nil && (o.Child != c.tg || c != c.tg.leader),
		o.PID != 0 && c.pids.in(t.pids.ns) != o.PID,
		o.Group != 0 && (c.tg.group == nil || c.tg.group.ids.in(t.pids.ns) != o.Group):
		return false
	}
	return true
}

func (t *Task) waitTracee(c *Task, o *WaitOptions) (r WaitResult, found bool) {
	tg := c.tg
	r.PID = c.pids.in(t.pids.ns)
	r.UID = t.UserNamespace().UID(c.Credentials().RealUID)
	tg.signalMu.Lock()
	if c == tg.leader && tg.zombie && o.Exited {
		r.Status = tg.exitCode
		r.Code, r.Value = exitCodeOf(r.Status)
		tg.signalMu.Unlock()
		r.Times = tg.childTimes()
		if o.NoReap {
			return r, true
		}
		tg.signalMu.Lock()
		c.ptraceUnlink(0)
		tg.signalMu.Unlock()
		if tg.parent == t.tg || tg.parent == nil {
			t.k.reap(tg)
		} else {
			tg.untracedZombie(t.tg)
		}
		return r, true
	}
	defer tg.signalMu.Unlock()
	p := &c.ptrace
	if !p.stopped || !p.unreported || p.listening {
		return r, false
	}
	if !o.NoReap {
		p.unreported = false
	}
	r.Code, r.Value = arch.CldTrapped, int32(p.code)
	r.Status = p.code<<8 | 0x7f
	return r, true
}
