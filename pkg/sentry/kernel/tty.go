package kernel

// ttyRef is a session's controlling terminal.
type ttyRef struct{ tty TTY }

// TTY is a terminal as sessions know it; fs/tty implements it. Its methods are called
// without a lock of this package held.
type TTY interface {
	// Disassociated: the session that it controlled has lost its leader or gave it up; the
	// terminal forgets the session and its foreground group.
	Disassociated()
}

// disassociateTTY is what the exit of a session leader does to its terminal: the
// foreground group hears SIGHUP and SIGCONT, and the session has no terminal any more
// (tty_ioctl(4), credentials(7)).
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
	if tg.group == nil {
		return nil
	}
	return tg.group.session.tty.tty
}

// SetControllingTTY makes tty (nil: none) the terminal of s.
func (s *Session) SetControllingTTY(tty TTY) {
	s.k.tasksMu.Lock()
	defer s.k.tasksMu.Unlock()
	s.tty.tty = tty
}
