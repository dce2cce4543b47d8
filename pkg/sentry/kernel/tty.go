package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
)

// ttyRef is a session's controlling terminal.
type ttyRef struct{ tty TTY }

// TTY is a terminal as sessions know it; fs/tty implements it. Its methods are called
// without a lock of this package held.
type TTY interface {
	// Disassociated: the session that it controlled has lost its leader; the terminal
	// forgets the session and tells its foreground group.
	Disassociated()
}

// disassociateTTY is what the exit of a session leader does to its terminal: the session
// has no terminal any more (credentials(7)).
func (tg *ThreadGroup) disassociateTTY() {
	k := tg.k
	k.tasksMu.Lock()
	if tg.group == nil || tg.group.session.leader != tg {
		k.tasksMu.Unlock()
		return
	}
	s := tg.group.session
	tty := s.tty.tty
	s.tty.tty = nil
	s.leader = nil
	k.tasksMu.Unlock()
	if tty != nil {
		tty.Disassociated()
	}
}

// ControllingTTY is the session's terminal, or nil.
func (tg *ThreadGroup) ControllingTTY() TTY {
	tg.k.tasksMu.RLock()
	defer tg.k.tasksMu.RUnlock()
	if tg.group == nil || tg.forgotTTY {
		return nil
	}
	return tg.group.session.tty.tty
}

// ForgetTTY makes this process alone have no controlling terminal (TIOCNOTTY).
func (tg *ThreadGroup) ForgetTTY() {
	tg.k.tasksMu.Lock()
	defer tg.k.tasksMu.Unlock()
	tg.forgotTTY = true
}

// SetControllingTTY makes tty (nil: none) the terminal of s.
func (s *Session) SetControllingTTY(tty TTY) {
	s.k.tasksMu.Lock()
	defer s.k.tasksMu.Unlock()
	s.tty.tty = tty
}

// Blocks says whether t blocks or ignores signo, which decides what becomes of a
// background process that uses its terminal.
func (t *Task) Blocks(signo int32) bool {
	t.tg.signalMu.Lock()
	defer t.tg.signalMu.Unlock()
	return t.mask&arch.SignalBit(signo) != 0 || t.tg.handlers.actions[signo].Handler == arch.SigIgn
}

// hangUpSignals are sent to new orphans with stopped members.
var hangUpSignals = [...]int32{int32(unix.SIGHUP), int32(unix.SIGCONT)}
