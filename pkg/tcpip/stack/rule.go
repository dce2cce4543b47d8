package stack

import (
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// Actions of rules (FR_ACT_* of fib_rules(7)).
const (
	ruleToTable     = 1
	ruleBlackhole   = 6
	ruleUnreachable = 7
	ruleProhibit    = 8
)

// defaultRules are those of a new namespace of Linux. IPv6 has no default table.
func defaultRules() []Rule {
	return []Rule{
		{Priority: 0, Table: TableLocal, Action: ruleToTable},
		{Priority: 0, V6: true, Table: TableLocal, Action: ruleToTable},
		{Priority: 32766, Table: TableMain, Action: ruleToTable},
		{Priority: 32766, V6: true, Table: TableMain, Action: ruleToTable},
		{Priority: 32767, Table: TableDefault, Action: ruleToTable},
	}
}

// matches says whether the rule is for a packet. in is the interface it came in by, 0 for a
// packet of this host.
func (r *Rule) matches(q *RouteQuery) bool {
	ok := (!r.Source.IsValid() || r.Source.Contains(q.Source)) &&
		(!r.Destination.IsValid() || r.Destination.Contains(q.Destination)) &&
		(r.OutNIC == 0 || r.OutNIC == q.NIC) &&
		(r.InNIC == 0 || r.InNIC == q.InNIC) &&
		(r.Mark^q.Mark)&r.MarkMask == 0 &&
		(r.TOS == 0 || r.TOS == q.TOS)
	return ok != r.Invert
}

// AddRule, RemoveRule and Rules, by rising priority. A stack begins with those of Linux (local,
// main, and for IPv4 default). AddRule: EEXIST, ENOBUFS.
func (s *Stack) AddRule(r Rule) error {
	if r.Source.IsValid() {
		r.Source = r.Source.Masked()
	}
	if r.Destination.IsValid() {
		r.Destination = r.Destination.Masked()
	}
	if r.Mark != 0 && r.MarkMask == 0 {
		r.MarkMask = ^uint32(0)
	}
	s.mu.Lock()
	if slices.Contains(s.rules, r) {
		s.mu.Unlock()
		return unix.EEXIST
	}
	if len(s.rules) >= ruleLimit {
		s.mu.Unlock()
		return unix.ENOBUFS
	}
	at := len(s.rules)
	for at > 0 && s.rules[at-1].Priority > r.Priority {
		at--
	}
	s.rules = slices.Insert(slices.Clone(s.rules), at, r)
	s.publishRules()
	s.mu.Unlock()
	s.notify(Change{Rule: &r})
	return nil
}

// RemoveRule removes the first rule that fits r, whose zero fields, but for V6, fit everything.
// ENOENT.
func (s *Stack) RemoveRule(r Rule) error {
	var any netip.Prefix
	s.mu.Lock()
	at := slices.IndexFunc(s.rules, func(x Rule) bool {
		return x.V6 == r.V6 &&
			(r.Priority == 0 || x.Priority == r.Priority) &&
			(r.Table == 0 || x.Table == r.Table) &&
			(r.Action == 0 || x.Action == r.Action) &&
			(r.Source == any || x.Source == r.Source.Masked()) &&
			(r.Destination == any || x.Destination == r.Destination.Masked()) &&
			(r.InNIC == 0 || x.InNIC == r.InNIC) && (r.OutNIC == 0 || x.OutNIC == r.OutNIC) &&
			(r.Mark == 0 || x.Mark == r.Mark) && (r.TOS == 0 || x.TOS == r.TOS)
	})
	if at < 0 {
		s.mu.Unlock()
		return unix.ENOENT
	}
	gone := s.rules[at]
	s.rules = slices.Delete(slices.Clone(s.rules), at, at+1)
	s.publishRules()
	s.mu.Unlock()
	s.notify(Change{Rule: &gone, Removed: true})
	return nil
}

// Rules are the rules of both versions, by rising priority.
func (s *Stack) Rules() []Rule {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.rules)
}

// publishRules makes s.rules those that FindRoute goes by. s.mu is held, or the stack is new.
func (s *Stack) publishRules() {
	r := *s.routing.Load()
	r.rules4, r.rules6 = nil, nil
	for _, x := range s.rules {
		if x.V6 {
			r.rules6 = append(r.rules6, x)
		} else {
			r.rules4 = append(r.rules4, x)
		}
	}
	s.routing.Store(&r)
	s.generation.Add(1)
}
