package tty

import "runsc/pkg/sentry/context"

// Jobs is the kernel's job control as terminals need it. A ctx that is no task has no group
// and no session (nil).
type Jobs interface {
	// Group and Session are those of the calling task's process.
	Group(ctx context.Context) Group
	Session(ctx context.Context) Session
	// IsLeader says whether the caller leads its session.
	IsLeader(ctx context.Context) bool
	// Blocks says whether the caller blocks or ignores signo.
	Blocks(ctx context.Context, signo int32) bool
	// FindGroup is the process group numbered id in the caller's pid namespace, or nil.
	FindGroup(ctx context.Context, id int32) Group
	// GroupID and SessionID are numbers in the caller's pid namespace, 0 if invisible.
	GroupID(ctx context.Context, g Group) int32
	SessionID(ctx context.Context, s Session) int32
	// Controlling is the caller's controlling terminal, or nil.
	Controlling(ctx context.Context) *Terminal
	// SetControlling makes t, or nothing, the controlling terminal of s.
	SetControlling(s Session, t *Terminal)
	// Forget makes the caller alone forget its controlling terminal.
	Forget(ctx context.Context)
}

// Group is a process group. Equal values are the same group.
type Group interface {
	// Signal sends a signal from the kernel to every member.
	Signal(signo int32)
	// Orphaned says whether nobody could continue it if it stopped.
	Orphaned() bool
	// Session is the group's session.
	Session() Session
}

// Session is a session. Equal values are the same session.
type Session interface {
	// SignalLeader sends a signal from the kernel to the session's leader, if there is one.
	SignalLeader(signo int32)
}

// noJobs is for terminals that nobody's jobs use.
type noJobs struct{}

func (noJobs) Group(context.Context) Group            { return nil }
func (noJobs) Session(context.Context) Session        { return nil }
func (noJobs) IsLeader(context.Context) bool          { return false }
func (noJobs) Blocks(context.Context, int32) bool     { return false }
func (noJobs) FindGroup(context.Context, int32) Group { return nil }
func (noJobs) GroupID(context.Context, Group) int32   { return 0 }
func (noJobs) SessionID(context.Context, Session) int32 {
	return 0
}
func (noJobs) Controlling(context.Context) *Terminal { return nil }
func (noJobs) SetControlling(Session, *Terminal)     {}
func (noJobs) Forget(context.Context)                {}
