package tty

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/vfs"
)

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
	// InstallFile gives the caller a descriptor for f, whose reference passes to it.
	InstallFile(ctx context.Context, f *vfs.FileDescription, cloexec bool) (int32, error)
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

// NoJobs is for terminals that nobody's jobs use.
type NoJobs struct{}

func (NoJobs) Group(context.Context) Group            { return nil }
func (NoJobs) Session(context.Context) Session        { return nil }
func (NoJobs) IsLeader(context.Context) bool          { return false }
func (NoJobs) Blocks(context.Context, int32) bool     { return false }
func (NoJobs) FindGroup(context.Context, int32) Group { return nil }
func (NoJobs) GroupID(context.Context, Group) int32   { return 0 }
func (NoJobs) SessionID(context.Context, Session) int32 {
	return 0
}
func (NoJobs) Controlling(context.Context) *Terminal { return nil }
func (NoJobs) SetControlling(Session, *Terminal)     {}
func (NoJobs) Forget(context.Context)                {}
func (NoJobs) InstallFile(context.Context, *vfs.FileDescription, bool) (int32, error) {
	return 0, unix.ENOTTY
}
