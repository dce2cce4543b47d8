package stack

import (
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
)

// Scopes of rtnetlink(7).
const (
	scopeUniverse = 0
	scopeLink     = 253
	scopeHost     = 254
)

// protocolKernel is RTPROT_KERNEL: the routes that addresses make.
const protocolKernel = 2

// metricIPv6 is what an IPv6 route without a metric gets, and metricIPv6Prefix what those of
// addresses get.
const (
	metricIPv6       = 1024
	metricIPv6Prefix = 256
)

// routeLine is a route in the list from which the tables are built. It never changes.
type routeLine struct {
	RouteEntry
	// made: an address made it.
	made bool
}

// tableID names a table of one version of IP.
type tableID struct {
	v6    bool
	table uint32
}

func (l *routeLine) id() tableID { return tableID{l.Destination.Addr().Is6(), l.Table} }

// routing is all that FindRoute reads, at one moment.
type routing struct {
	tables map[tableID]*fib
	// local4 and local6 are what the local tables say of this host's addresses.
	local4, local6 *locality
	rules4         []Rule
	rules6         []Rule
}

func (r *routing) table(v6 bool, table uint32) *fib { return r.tables[tableID{v6, table}] }

func (r *routing) rules(v6 bool) []Rule {
	if v6 {
		return r.rules6
	}
	return r.rules4
}

// fib is a route table made for look-ups: a map for all prefixes, and which lengths there are.
type fib struct {
	lengths  []int // falling
	byPrefix map[netip.Prefix][]*routeLine
}

// find returns the best line for dst: the longest prefix, then the lowest metric, of those whose
// interface is nic (if that is not 0) and up by nt (if that is not nil).
func (f *fib) find(dst netip.Addr, nic tcpip.NICID, dontRoute bool, nt *nicTable) *routeLine {
	for _, bits := range f.lengths {
		p, err := dst.Prefix(bits)
		if err != nil {
			continue
		}
		for _, l := range f.byPrefix[p] {
			if l.usable(nic, dontRoute, nt) {
				return l
			}
		}
	}
	return nil
}

func (l *routeLine) usable(nic tcpip.NICID, dontRoute bool, nt *nicTable) bool {
	if l.NIC == 0 {
		return true // blackhole and its kin
	}
	if nic != 0 && l.NIC != nic || dontRoute && l.Gateway.IsValid() {
		return false
	}
	if nt == nil || l.Type == RouteLocal {
		return true
	}
	n := nt.byID[l.NIC]
	return n != nil && n.Up()
}

// rebuild makes the tables ids anew from s.lines and publishes them. s.mu is held.
func (s *Stack) rebuild(ids map[tableID]bool) {
	if len(ids) == 0 {
		return
	}
	r := *s.routing.Load()
	r.tables = maps.Clone(r.tables)
	if r.tables == nil {
		r.tables = map[tableID]*fib{}
	}
	for id := range ids {
		f := &fib{byPrefix: map[netip.Prefix][]*routeLine{}}
		for _, l := range s.lines {
			if l.id() != id {
				continue
			}
			if f.byPrefix[l.Destination] == nil && !slices.Contains(f.lengths, l.Destination.Bits()) {
				f.lengths = append(f.lengths, l.Destination.Bits())
			}
			list := f.byPrefix[l.Destination]
			at := len(list)
			for at > 0 && list[at-1].Metric > l.Metric {
				at--
			}
			f.byPrefix[l.Destination] = slices.Insert(list, at, l)
		}
		slices.SortFunc(f.lengths, func(a, b int) int { return b - a })
		if len(f.lengths) == 0 {
			delete(r.tables, id)
		} else {
			r.tables[id] = f
		}
	}
	r.local4, r.local6 = newLocality(r.table(false, TableLocal)), newLocality(r.table(true, TableLocal))
	s.routing.Store(&r)
	s.generation.Add(1)
}

// dropRoutes removes the routes for which f says so and returns them. s.mu is held.
func (s *Stack) dropRoutes(f func(l *routeLine) bool) []*routeLine {
	var removed []*routeLine
	ids := map[tableID]bool{}
	kept := s.lines[:0:0]
	for _, l := range s.lines {
		if f(l) {
			removed = append(removed, l)
			ids[l.id()] = true
		} else {
			kept = append(kept, l)
		}
	}
	if removed != nil {
		s.lines = kept
		s.rebuild(ids)
	}
	return removed
}

// notifyRoutes tells observers. No lock is held.
func (s *Stack) notifyRoutes(removed bool, lines []*routeLine) {
	if !s.observed() {
		return
	}
	for _, l := range lines {
		e := l.RouteEntry
		s.notify(Change{Route: &e, Removed: removed})
	}
}

// AddRoute. EEXIST: there is the same with that metric; ENETUNREACH: the gateway is not a
// neighbour; ENETDOWN: the interface is down; ENODEV: there is none; EINVAL: the gateway is this
// host, or of another family than the destination; ENOBUFS: there are too many. An IPv6 route without a metric gets 1024.
func (s *Stack) AddRoute(e RouteEntry) error {
	s.mu.Lock()
	l, err := s.prepare(e)
	if err == nil {
		err = s.addRoute(l)
	}
	s.mu.Unlock()
	if err == nil {
		s.notifyRoutes(false, []*routeLine{l})
	}
	return err
}

// prepare makes a line of e: it fills in what e leaves open, and checks the next hop. s.mu is
// held.
func (s *Stack) prepare(e RouteEntry) (*routeLine, error) {
	l := &routeLine{RouteEntry: e}
	if len(s.lines) >= routeLimit {
		return nil, unix.ENOBUFS
	}
	if !l.Destination.IsValid() || l.Gateway.IsValid() && l.Gateway.Is6() != l.Destination.Addr().Is6() {
		return nil, unix.EINVAL
	}
	l.Destination = l.Destination.Masked()
	if l.Gateway.IsValid() && l.Gateway.IsUnspecified() {
		l.Gateway = netip.Addr{}
	}
	if l.Table == 0 {
		l.Table = TableMain
	}
	if l.Type == 0 {
		l.Type = RouteUnicast
	}
	if l.Metric == 0 && l.Destination.Addr().Is6() && l.Table != TableLocal {
		l.Metric = metricIPv6
	}
	switch l.Type {
	case RouteBlackhole, RouteUnreachable, RouteProhibit, RouteThrow:
		l.NIC, l.Gateway = 0, netip.Addr{}
		return l, nil
	}
	return l, s.checkNextHop(l)
}

// addRoute adds l unless there is the same. s.mu is held.
func (s *Stack) addRoute(l *routeLine) error {
	for _, x := range s.lines {
		if x.Destination == l.Destination && x.Metric == l.Metric && x.Table == l.Table &&
			(x.NIC == l.NIC || !x.made && !l.made) {
			return unix.EEXIST
		}
	}
	s.lines = append(s.lines, l)
	s.rebuild(map[tableID]bool{l.id(): true})
	return nil
}

// checkNextHop checks the gateway and the interface of l, and sets the interface if only the
// gateway says it. s.mu is held.
func (s *Stack) checkNextHop(l *routeLine) error {
	nt := s.nics.Load()
	if l.NIC != 0 {
		n := nt.byID[l.NIC]
		if n == nil {
			return unix.ENODEV
		}
		if !n.Up() && l.Type != RouteLocal {
			return unix.ENETDOWN
		}
	}
	if !l.Gateway.IsValid() {
		if l.NIC == 0 {
			return unix.ENODEV
		}
		return nil
	}
	if s.IsLocal(l.NIC, l.Gateway) {
		return unix.EINVAL
	}
	if l.OnLink {
		if l.NIC == 0 {
			return unix.ENODEV
		}
		return nil
	}
	var via *routeLine
	for _, table := range [...]uint32{l.Table, TableMain} {
		if f := s.routing.Load().table(l.Gateway.Is6(), table); f != nil {
			if via = f.find(l.Gateway, l.NIC, true, nt); via != nil {
				break
			}
		}
	}
	switch {
	case via != nil && via.Type == RouteUnicast && via.NIC != 0:
		l.NIC = via.NIC
	case l.NIC != 0 && l.Gateway.IsLinkLocalUnicast() && l.Gateway.Is6():
		// A router is known by its link-local address (RFC 4861 section 6.1.2), whether or
		// not this interface has one already.
	default:
		return unix.ENETUNREACH
	}
	return nil
}

// RemoveRoute removes the first that fits e, whose zero fields fit everything (Table of 0 is the
// main table). ESRCH.
func (s *Stack) RemoveRoute(e RouteEntry) error {
	if e.Table == 0 {
		e.Table = TableMain
	}
	fits := func(l *routeLine) bool {
		return l.Table == e.Table &&
			(!e.Destination.IsValid() || l.Destination == e.Destination.Masked()) &&
			(!e.Gateway.IsValid() || l.Gateway == e.Gateway) &&
			(e.NIC == 0 || l.NIC == e.NIC) &&
			(!e.Source.IsValid() || l.Source == e.Source) &&
			(e.Metric == 0 || l.Metric == e.Metric) &&
			(e.Protocol == 0 || l.Protocol == e.Protocol) &&
			(e.Type == 0 || l.Type == e.Type)
	}
	return s.removeRoute(fits)
}

// removeRoute removes the first route that fits. ESRCH: none does.
func (s *Stack) removeRoute(fits func(*routeLine) bool) error {
	s.mu.Lock()
	done := false
	removed := s.dropRoutes(func(l *routeLine) bool {
		if done || !fits(l) {
			return false
		}
		done = true
		return true
	})
	s.mu.Unlock()
	if !done {
		return unix.ESRCH
	}
	s.notifyRoutes(true, removed)
	return nil
}

// Routes are those set and those that addresses made, of all tables, in the order in which they
// were added.
func (s *Stack) Routes() []RouteEntry {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]RouteEntry, len(s.lines))
	for i, l := range s.lines {
		list[i] = l.RouteEntry
	}
	return list
}

// changeMade replaces the routes before, which addresses made, by after. Routes that are in both
// are left alone, gone or not: what somebody removed by hand stays removed. s.mu is held.
func (s *Stack) changeMade(before, after []RouteEntry) (removed, added []*routeLine) {
	was, is := routeSet(before), routeSet(after)
	removed = s.dropRoutes(func(l *routeLine) bool { return l.made && was[l.RouteEntry] && !is[l.RouteEntry] })
	ids := map[tableID]bool{}
	for _, e := range after {
		if was[e] || slices.ContainsFunc(s.lines, func(l *routeLine) bool { return l.RouteEntry == e }) {
			continue
		}
		l := &routeLine{RouteEntry: e, made: true}
		s.lines = append(s.lines, l)
		ids[l.id()] = true
		added = append(added, l)
	}
	s.rebuild(ids)
	return removed, added
}

func routeSet(list []RouteEntry) map[RouteEntry]bool {
	m := make(map[RouteEntry]bool, len(list))
	for _, e := range list {
		m[e] = true
	}
	return m
}
