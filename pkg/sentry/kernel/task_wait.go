package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/waiter"
)

// WaitOptions say which children wait4(2) and waitid(2) look for.
type WaitOptions struct {
	// At most one of these is set; none: any child.
	PID   int32        // as the caller's namespace numbers it
	Group int32        // process group
	Child *ThreadGroup // pidfd

	Exited, Stopped, Continued bool
	NoHang, NoReap             bool
	// Clone: only children whose exit signal is not SIGCHLD (__WCLONE); All: both
	// (__WALL).
	Clone, All bool
	NoThread   bool // __WNOTHREAD: only children of the calling thread
}

// WaitResult is what happened to a child.
type WaitResult struct {
	PID    int32
	UID    uint32
	Status uint32 // wait(2) word
	Code   int32  // CLD_*
	Value  int32  // si_status
	Times  ChildTimes
}

// Wait finds a child with something to report, and blocks until there is one unless NoHang
// is set; then the result's PID is 0. ECHILD: no child fits.
func (t *Task) Wait(o *WaitOptions) (WaitResult, error) {
	e := waiter.Entry{Mask: waiter.EventIn, Listener: t.Waker()}
	registered := false
	defer func() {
		if registered {
			t.tg.events.EventUnregister(&e)
		}
	}()
	for {
		r, found, any := t.waitOnce(o)
		switch {
		case found:
			return r, nil
		case !any:
			return r, unix.ECHILD
		case o.NoHang:
			return WaitResult{}, nil // r holds what was looked at last
		}
		if !registered {
			registered = true
			t.tg.events.EventRegister(&e)
			continue
		}
		if err := t.Block(); err != nil {
			// The signal may be the SIGCHLD of the very child.
			if r, found, _ := t.waitOnce(o); found {
				return r, nil
			}
			return r, err
		}
	}
}

// waitOnce looks once; any says whether a child fits at all.
func (t *Task) waitOnce(o *WaitOptions) (r WaitResult, found, any bool) {
	k, tg := t.k, t.tg
	k.tasksMu.Lock()
	defer k.tasksMu.Unlock()
	r, found, any = t.waitTracees(o)
	if found {
		return r, found, any
	}
	for c := range tg.children {
		if !o.matches(t, c) {
			continue
		}
		any = true
		if r, found = t.waitChild(c, o); found {
			return r, true, true
		}
	}
	return r, false, any
}

// matches says whether c is a child that the options ask for. tasksMu is held.
func (o *WaitOptions) matches(t *Task, c *ThreadGroup) bool {
	switch {
	case o.Child != nil && o.Child != c,
		o.PID != 0 && c.leader.pids.in(t.pids.ns) != o.PID,
		o.Group != 0 && (c.group == nil || c.group.ids.in(t.pids.ns) != o.Group):
		return false
	}
	if o.NoThread && c.leader.creator != t {
		return false
	}
	if o.All {
		return true
	}
	return (c.leader.exitSignal != int32(unix.SIGCHLD)) == o.Clone
}

// waitChild reports on c, if there is something new. tasksMu is held for writing.
func (t *Task) waitChild(c *ThreadGroup, o *WaitOptions) (r WaitResult, found bool) {
	r.PID = c.leader.pids.in(t.pids.ns)
	r.UID = t.UserNamespace().UID(c.leader.Credentials().RealUID)
	c.signalMu.Lock()
	switch {
	case c.zombie && o.Exited && !c.leader.ptrace.traced():
		r.Status = c.exitCode
		r.Code, r.Value = exitCodeOf(r.Status)
		c.signalMu.Unlock()
		r.Times = c.childTimes()
		if !o.NoReap {
			t.k.reap(c)
		}
		return r, true
	case c.stop.reached && c.stop.unreported && o.Stopped && !c.tracedBy(t.tg):
		if !o.NoReap {
			c.stop.unreported = false
		}
		r.Code, r.Value = arch.CldStopped, c.stop.signo
		r.Status = uint32(c.stop.signo)<<8 | 0x7f
	case c.stop.continued && o.Continued:
		if !o.NoReap {
			c.stop.continued = false
		}
		r.Code, r.Value = arch.CldContinued, int32(unix.SIGCONT)
		r.Status = 0xffff
	default:
		c.signalMu.Unlock()
		return r, false
	}
	c.signalMu.Unlock()
	r.Times = c.childTimes()
	return r, true
}
