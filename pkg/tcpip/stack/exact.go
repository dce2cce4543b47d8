package stack

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Changes by whoever has a line of a table before him, such as rtnetlink: they are of exactly
// that line, where AddRoute and RemoveRoute go by patterns.

// InsertRoute is AddRoute of a route beside others of the same destination and metric, of which
// there may be some: before them if first is set, else behind. EEXIST: one of them is the same
// in every way.
func (s *Stack) InsertRoute(e RouteEntry, first bool) error {
	s.mu.Lock()
	l, err := s.prepare(e)
	if err == nil && slices.ContainsFunc(s.lines, func(x *routeLine) bool { return x.RouteEntry == l.RouteEntry }) {
		err = unix.EEXIST
	}
	if err != nil {
		s.mu.Unlock()
		return err
	}
	at := len(s.lines)
	if first {
		at = 0
	}
	s.lines = slices.Insert(slices.Clone(s.lines), at, l)
	s.rebuild(map[tableID]bool{l.id(): true})
	s.mu.Unlock()
	s.notifyRoutes(false, []*routeLine{l})
	return nil
}

// ReplaceRoute puts e in the place of old, with no moment between at which there is none of the
// two. ESRCH: there is no old; else as AddRoute, and old stays.
func (s *Stack) ReplaceRoute(old, e RouteEntry) error {
	s.mu.Lock()
	at := slices.IndexFunc(s.lines, func(x *routeLine) bool { return x.RouteEntry == old })
	if at < 0 {
		s.mu.Unlock()
		return unix.ESRCH
	}
	l, err := s.prepare(e)
	if err != nil {
		s.mu.Unlock()
		return err
	}
	s.lines = slices.Clone(s.lines)
	before := s.lines[at]
	s.lines[at] = l
	s.rebuild(map[tableID]bool{before.id(): true, l.id(): true})
	s.mu.Unlock()
	s.notifyRoutes(false, []*routeLine{l})
	return nil
}

// RemoveRouteExactly removes a route that Routes showed. ESRCH.
func (s *Stack) RemoveRouteExactly(e RouteEntry) error {
	return s.removeRoute(func(l *routeLine) bool { return l.RouteEntry == e })
}

// RemoveRuleExactly removes a rule that Rules showed. ENOENT.
func (s *Stack) RemoveRuleExactly(r Rule) error {
	s.mu.Lock()
	at := slices.Index(s.rules, r)
	if at < 0 {
		s.mu.Unlock()
		return unix.ENOENT
	}
	s.rules = slices.Delete(slices.Clone(s.rules), at, at+1)
	s.publishRules()
	s.mu.Unlock()
	s.notify(Change{Rule: &r, Removed: true})
	return nil
}
