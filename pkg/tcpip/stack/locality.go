package stack

import (
	"net/netip"
	"slices"
)

// locality is a local table (TableLocal of one version of IP) made for the one question that each
// packet asks of it: is this an address of this host?
type locality struct {
	// Hosts are the addresses with a line of their own; all has them too if they are many.
	hosts []netip.Addr
	local []bool // of hosts
	all   map[netip.Addr]bool
	// prefixes are the other lines, the longest first.
	prefixes []localPrefix
}

type localPrefix struct {
	netip.Prefix
	local bool
}

// scanLimit is up to how many addresses are compared one by one, which is quicker than a map.
const scanLimit = 12

// addrSet is a set of addresses that is mostly small. The zero value is empty.
type addrSet struct {
	few  []netip.Addr
	many map[netip.Addr]bool // all of them, if they are more than scanLimit
}

func (s *addrSet) add(a netip.Addr) {
	if s.has(a) {
		return
	}
	s.few = append(s.few, a)
	if len(s.few) <= scanLimit {
		return
	}
	if s.many == nil {
		s.many = map[netip.Addr]bool{}
		for _, x := range s.few {
			s.many[x] = true
		}
	}
	s.many[a] = true
}

func (s *addrSet) has(a netip.Addr) bool {
	if s.many != nil {
		return s.many[a]
	}
	return slices.Contains(s.few, a)
}

// newLocality makes it of a table; nil is an empty one.
func newLocality(f *fib) *locality {
	l := &locality{}
	if f == nil {
		return l
	}
	for _, bits := range f.lengths {
		for p, list := range f.byPrefix {
			if p.Bits() != bits {
				continue
			}
			local := list[0].Type == RouteLocal
			if p.IsSingleIP() {
				l.hosts, l.local = append(l.hosts, p.Addr()), append(l.local, local)
			} else {
				l.prefixes = append(l.prefixes, localPrefix{p, local})
			}
		}
	}
	if len(l.hosts) > scanLimit {
		l.all = map[netip.Addr]bool{}
		for i, a := range l.hosts {
			l.all[a] = l.local[i]
		}
	}
	return l
}

// has says whether a is an address of this host.
func (l *locality) has(a netip.Addr) bool {
	if l.all != nil {
		if local, ok := l.all[a]; ok {
			return local
		}
	} else {
		for i := range l.hosts {
			if l.hosts[i] == a {
				return l.local[i]
			}
		}
	}
	for i := range l.prefixes {
		if l.prefixes[i].Contains(a) {
			return l.prefixes[i].local
		}
	}
	return false
}
