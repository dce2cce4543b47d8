// Package jobs gives terminals (package tty) the kernel's job control: it implements
// tty.Jobs on kernel.Task, kernel.Session and kernel.ProcessGroup.
//
// It stands between the two because a terminal, like every filesystem, does not know the
// kernel, and the kernel knows no filesystem. It has no state and no locks.
package jobs

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/tty"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/vfs"
)

// Control implements tty.Jobs.
type Control struct{}

type group struct{ *kernel.ProcessGroup }

// Signal implements tty.Group.
func (g group) Signal(signo int32) {
	info := arch.NewKernelSignal(signo)
	g.SendSignal(&info)
}

// Session implements tty.Group.
func (g group) Session() tty.Session { return session{g.ProcessGroup.Session()} }

type session struct{ *kernel.Session }

// SignalLeader implements tty.Session.
func (s session) SignalLeader(signo int32) {
	if tg := s.Leader(); tg != nil {
		info := arch.NewKernelSignal(signo)
		tg.SendSignal(&info)
	}
}

// OfGroup and OfSession show the kernel's objects to terminals.
func OfGroup(pg *kernel.ProcessGroup) tty.Group { return group{pg} }

// OfSession is OfGroup's sibling.
func OfSession(s *kernel.Session) tty.Session { return session{s} }

// Group implements tty.Jobs.
func (Control) Group(ctx context.Context) tty.Group {
	if t, ok := ctx.(*kernel.Task); ok {
		if pg := t.ThreadGroup().ProcessGroup(); pg != nil {
			return group{pg}
		}
	}
	return nil
}

// Session implements tty.Jobs.
func (Control) Session(ctx context.Context) tty.Session {
	if t, ok := ctx.(*kernel.Task); ok {
		if s := t.ThreadGroup().Session(); s != nil {
			return session{s}
		}
	}
	return nil
}

// IsLeader implements tty.Jobs.
func (Control) IsLeader(ctx context.Context) bool {
	t, ok := ctx.(*kernel.Task)
	if !ok {
		return false
	}
	s := t.ThreadGroup().Session()
	return s != nil && s.Leader() == t.ThreadGroup()
}

// Blocks implements tty.Jobs.
func (Control) Blocks(ctx context.Context, signo int32) bool {
	t, ok := ctx.(*kernel.Task)
	if !ok {
		return false
	}
	return t.Blocks(signo)
}

// FindGroup implements tty.Jobs.
func (Control) FindGroup(ctx context.Context, id int32) tty.Group {
	if t, ok := ctx.(*kernel.Task); ok {
		if pg := t.PIDNamespace().ProcessGroup(id); pg != nil {
			return group{pg}
		}
	}
	return nil
}

// GroupID implements tty.Jobs.
func (Control) GroupID(ctx context.Context, g tty.Group) int32 {
	t, ok := ctx.(*kernel.Task)
	pg, ok2 := g.(group)
	if !ok || !ok2 {
		return 0
	}
	return pg.IDIn(t.PIDNamespace())
}

// SessionID implements tty.Jobs.
func (Control) SessionID(ctx context.Context, s tty.Session) int32 {
	t, ok := ctx.(*kernel.Task)
	ks, ok2 := s.(session)
	if !ok || !ok2 {
		return 0
	}
	return ks.IDIn(t.PIDNamespace())
}

// Controlling implements tty.Jobs.
func (Control) Controlling(ctx context.Context) *tty.Terminal {
	t, ok := ctx.(*kernel.Task)
	if !ok {
		return nil
	}
	return Terminal(t.ThreadGroup())
}

// Terminal is the controlling terminal of tg, or nil.
func Terminal(tg *kernel.ThreadGroup) *tty.Terminal {
	if t, ok := tg.ControllingTTY().(*tty.Terminal); ok {
		return t
	}
	return nil
}

// SetControlling implements tty.Jobs.
func (Control) SetControlling(s tty.Session, t *tty.Terminal) {
	ks, ok := s.(session)
	if !ok {
		return
	}
	if t == nil {
		ks.SetControllingTTY(nil)
		return
	}
	ks.SetControllingTTY(t)
}

// Forget implements tty.Jobs.
func (Control) Forget(ctx context.Context) {
	if t, ok := ctx.(*kernel.Task); ok {
		t.ThreadGroup().ForgetTTY()
	}
}

// InstallFile implements tty.Jobs.
func (Control) InstallFile(ctx context.Context, f *vfs.FileDescription, cloexec bool) (int32, error) {
	t, ok := ctx.(*kernel.Task)
	if !ok {
		return 0, unix.ENOTTY
	}
	n, err := t.FDTable().New(0, f, cloexec, t.ThreadGroup().Limits().Get(unix.RLIMIT_NOFILE).Cur)
	if err == nil {
		f.DecRef(t) // the table has a reference of its own
	}
	return n, err
}

// GroupID is the number of a terminal's foreground group in ns, or -1 if there is none.
func GroupID(g tty.Group, ns *kernel.PIDNamespace) int32 {
	pg, ok := g.(group)
	if !ok {
		return -1
	}
	return pg.IDIn(ns)
}
