package kernel

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
)

// ProcessGroup is a job (credentials(7), setpgid(2)). Everything is guarded by
// Kernel.tasksMu.
type ProcessGroup struct {
	k       *Kernel
	ids     pids // those of the process that began it
	session *Session
	members map[*ThreadGroup]struct{}
}

// Session is a login session (setsid(2)), guarded by Kernel.tasksMu; the terminal's state
// belongs to the terminal.
type Session struct {
	k      *Kernel
	ids    pids
	leader *ThreadGroup // nil once it has exited
	groups map[*ProcessGroup]struct{}
	tty    ttyRef
}

// Session returns the group's session.
func (pg *ProcessGroup) Session() *Session { return pg.session }

// IDIn is the group's number in ns, 0 if not visible.
func (pg *ProcessGroup) IDIn(ns *PIDNamespace) int32 { return pg.ids.in(ns) }

// IDIn is the session's number in ns, 0 if not visible.
func (s *Session) IDIn(ns *PIDNamespace) int32 { return s.ids.in(ns) }

// Leader is the process that called setsid(2), nil once it has exited.
func (s *Session) Leader() *ThreadGroup {
	s.k.tasksMu.RLock()
	defer s.k.tasksMu.RUnlock()
	return s.leader
}

// ProcessGroup finds the group numbered nr in ns, or nil.
func (ns *PIDNamespace) ProcessGroup(nr int32) *ProcessGroup {
	ns.k.tasksMu.RLock()
	defer ns.k.tasksMu.RUnlock()
	return ns.groups[nr]
}

func (p pids) clone() pids { return pids{p.ns, append([]int32(nil), p.nrs...)} }

// newProcessGroup begins a group with tg's number, in session s. tasksMu is held for writing.
func (tg *ThreadGroup) newProcessGroup(s *Session) *ProcessGroup {
	pg := &ProcessGroup{k: tg.k, ids: tg.leader.pids.clone(), session: s, members: map[*ThreadGroup]struct{}{}}
	s.groups[pg] = struct{}{}
	for n := pg.ids.ns; n != nil; n = n.parent {
		n.groups[pg.ids.nrs[n.level]] = pg
	}
	return pg
}

func (tg *ThreadGroup) joinProcessGroup(pg *ProcessGroup) {
	tg.group = pg
	pg.members[tg] = struct{}{}
}

// leaveProcessGroup removes tg from its group, and the group and session when they are
// empty. tasksMu is held for writing.
func (tg *ThreadGroup) leaveProcessGroup() {
	pg := tg.group
	if pg == nil {
		return
	}
	tg.group = nil
	delete(pg.members, tg)
	if len(pg.members) > 0 {
		return
	}
	for n := pg.ids.ns; n != nil; n = n.parent {
		delete(n.groups, pg.ids.nrs[n.level])
	}
	s := pg.session
	delete(s.groups, pg)
	if len(s.groups) == 0 {
		for n := s.ids.ns; n != nil; n = n.parent {
			delete(n.sessions, s.ids.nrs[n.level])
		}
	}
}

// newSession makes tg the leader of a session and of a group. tasksMu is held for writing.
func (tg *ThreadGroup) newSession() *Session {
	s := &Session{k: tg.k, ids: tg.leader.pids.clone(), leader: tg, groups: map[*ProcessGroup]struct{}{}}
	for n := s.ids.ns; n != nil; n = n.parent {
		n.sessions[s.ids.nrs[n.level]] = s
	}
	pg := tg.newProcessGroup(s)
	tg.leaveProcessGroup()
	tg.joinProcessGroup(pg)
	return s
}

// SetSID is setsid(2). EPERM: the process leads a group already, or its number is taken by
// one.
func (tg *ThreadGroup) SetSID() (int32, error) {
	tg.k.tasksMu.Lock()
	defer tg.k.tasksMu.Unlock()
	id := tg.leader.pids.in(tg.pidns)
	if tg.pidns.groups[id] != nil {
		return 0, unix.EPERM
	}
	tg.newSession()
	return id, nil
}

// SetPGID is setpgid(2) by t for the process pid and group pgid of its namespace (0: itself).
func (t *Task) SetPGID(pid, pgid int32) error {
	if pgid < 0 {
		return unix.EINVAL
	}
	k, ns := t.k, t.pids.ns
	k.tasksMu.Lock()
	defer k.tasksMu.Unlock()
	tg := t.tg
	if pid != 0 {
		if tg = ns.threadGroupLocked(pid); tg == nil {
			return unix.ESRCH
		}
	}
	if tg != t.tg {
		switch {
		case tg.parent != t.tg:
			return unix.ESRCH
		case tg.group.session != t.tg.group.session:
			return unix.EPERM
		case tg.execed:
			return unix.EACCES
		}
	}
	if tg.group == nil {
		return unix.ESRCH
	}
	if tg.group.session.leader == tg {
		return unix.EPERM
	}
	own := tg.leader.pids.in(ns)
	if pgid == 0 {
		pgid = own
	}
	pg := ns.groups[pgid]
	switch {
	case pg == nil && pgid == own:
		pg = tg.newProcessGroup(tg.group.session)
	case pg == nil || pg.session != tg.group.session:
		return unix.EPERM
	}
	if pg == tg.group {
		return nil
	}
	before := tg.affectedGroupsLocked()
	tg.leaveProcessGroup()
	tg.joinProcessGroup(pg)
	before.signalNewOrphans()
	return nil
}

// orphanedLocked says whether no member has a parent in another group of the same session
// (setpgid(2), "orphaned process group"). tasksMu is held.
func (pg *ProcessGroup) orphanedLocked() bool {
	for tg := range pg.members {
		if tg.zombie && len(pg.members) > 1 {
			continue
		}
		p := tg.parent
		if p != nil && p.group != nil && p.group != pg && p.group.session == pg.session {
			return false
		}
	}
	return true
}

// Orphaned is orphanedLocked for others.
func (pg *ProcessGroup) Orphaned() bool {
	pg.k.tasksMu.RLock()
	defer pg.k.tasksMu.RUnlock()
	return pg.orphanedLocked()
}

// groupsToCheck are process groups that were not orphaned before a change of the tree.
type groupsToCheck map[*ProcessGroup]struct{}

// affectedGroupsLocked collects the groups of tg and its children that are not orphaned.
func (tg *ThreadGroup) affectedGroupsLocked() groupsToCheck {
	g := groupsToCheck{}
	add := func(pg *ProcessGroup) {
		if pg != nil && !pg.orphanedLocked() {
			g[pg] = struct{}{}
		}
	}
	add(tg.group)
	for c := range tg.children {
		add(c.group)
	}
	return g
}

// signalNewOrphans sends SIGHUP and SIGCONT to groups that have become orphaned and have a
// stopped member (_exit(2), "Process termination").
func (g groupsToCheck) signalNewOrphans() {
	for pg := range g {
		if pg.orphanedLocked() {
			pg.hangUpIfStopped()
		}
	}
}

func (pg *ProcessGroup) hangUpIfStopped() {
	stopped := false
	for tg := range pg.members {
		stopped = stopped || tg.Stopped()
	}
	if !stopped {
		return
	}
	for tg := range pg.members {
		for _, s := range hangUpSignals {
			info := arch.NewKernelSignal(s)
			tg.sendSignalLocked(&info, nil)
		}
	}
}

// orphanedGroupsAfterExit does this for the exit of tg, whose children are reparented
// already: groups that count only on it are orphaned now. tasksMu is held for writing.
func (tg *ThreadGroup) orphanedGroupsAfterExit() {
	for pg := range tg.exitGroups {
		if pg.orphanedLocked() {
			pg.hangUpIfStopped()
		}
	}
	tg.exitGroups = nil
}

// Members are the processes of the group.
func (pg *ProcessGroup) Members() []*ThreadGroup {
	pg.k.tasksMu.RLock()
	defer pg.k.tasksMu.RUnlock()
	out := make([]*ThreadGroup, 0, len(pg.members))
	for tg := range pg.members {
		out = append(out, tg)
	}
	return out
}
