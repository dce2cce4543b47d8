package stack

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/header"
)

// addressSet is the addresses of a NIC at one moment.
type addressSet struct {
	list []addressRecord
	// index has the place of an address in list, the first one if it is there with several
	// prefixes. broadcasts are the broadcast addresses of IPv4 prefixes.
	index      map[netip.Addr]int
	broadcasts addrSet
}

// addressRecord is an address with its lifetimes as moments of the monotonic clock; 0: never.
type addressRecord struct {
	Address
	preferredUntil, validUntil time.Duration
}

// at is the Address with the lifetimes that are left at now.
func (r *addressRecord) at(now time.Duration) Address {
	a := r.Address
	if r.validUntil != 0 {
		a.Valid = max(r.validUntil-now, 1)
	}
	if r.preferredUntil != 0 {
		a.Preferred = max(r.preferredUntil-now, 0)
		a.Deprecated = a.Deprecated || a.Preferred == 0
	}
	return a
}

// newAddressRecord turns lifetimes into moments.
func newAddressRecord(a Address, now time.Duration) addressRecord {
	r := addressRecord{Address: a}
	if a.Valid != 0 {
		r.validUntil = now + a.Valid
	}
	if a.Preferred != 0 {
		r.preferredUntil = now + a.Preferred
	}
	r.Preferred, r.Valid = 0, 0
	return r
}

// broadcastOf is the last address of an IPv4 prefix, which is its broadcast address if it has
// one (RFC 3021: prefixes of 31 bits have none).
func broadcastOf(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() || p.Bits() >= 31 {
		return netip.Addr{}
	}
	b := p.Masked().Addr().As4()
	for i := p.Bits(); i < 32; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom4(b)
}

// Addresses in the order in which they were added. The slice is the caller's.
func (n *NIC) Addresses() []Address {
	set := n.addresses.Load()
	if len(set.list) == 0 {
		return nil
	}
	now := n.stack.clock.Monotonic()
	list := make([]Address, len(set.list))
	for i := range set.list {
		list[i] = set.list[i].at(now)
	}
	return list
}

// Address returns the entry of addr. HasAddress: it is there and not tentative.
func (n *NIC) Address(addr netip.Addr) (Address, bool) {
	set := n.addresses.Load()
	i, ok := set.index[addr]
	if !ok {
		return Address{}, false
	}
	r := &set.list[i]
	if r.validUntil == 0 && r.preferredUntil == 0 {
		return r.Address, true
	}
	return r.at(n.stack.clock.Monotonic()), true
}

// HasAddress says whether addr is there and not tentative or a duplicate.
func (n *NIC) HasAddress(addr netip.Addr) bool {
	set := n.addresses.Load()
	i, ok := set.index[addr]
	return ok && !set.list[i].Tentative && !set.list[i].Duplicate
}

// IsBroadcast says whether addr is a broadcast address on this interface.
func (n *NIC) IsBroadcast(addr netip.Addr) bool {
	return addr == header.IPv4Broadcast || n.addresses.Load().broadcasts.has(addr)
}

// setAddresses publishes list, changes the routes from before, and sets the timer for what is
// over next. stack.mu is held.
func (n *NIC) setAddresses(list []addressRecord) (removed, added []*routeLine) {
	set := &addressSet{list: list, index: map[netip.Addr]int{}}
	for i := range list {
		a := &list[i]
		if _, ok := set.index[a.Prefix.Addr()]; !ok {
			set.index[a.Prefix.Addr()] = i
		}
		for _, b := range [...]netip.Addr{a.Broadcast, broadcastOf(a.Prefix)} {
			if b.IsValid() {
				set.broadcasts.add(b)
			}
		}
	}
	before := n.madeRoutes(n.addresses.Load().list)
	n.addresses.Store(set)
	removed, added = n.stack.changeMade(before, n.madeRoutes(list))
	n.stack.generation.Add(1)
	n.armLifetimes()
	return removed, added
}

// madeRoutes are the routes that the addresses of list make, as Linux has them.
func (n *NIC) madeRoutes(list []addressRecord) []RouteEntry {
	up := n.up.Load()
	var out []RouteEntry
	nets := map[netip.Prefix]bool{}
	line := func(p netip.Prefix, table uint32, t RouteType, scope uint8, source netip.Addr, metric uint32) {
		out = append(out, RouteEntry{Destination: p, NIC: n.id, Source: source, Table: table, Type: t,
			Scope: scope, Protocol: protocolKernel, Metric: metric})
	}
	host := func(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
	for i := range list {
		a := &list[i]
		addr, bits := a.Prefix.Addr(), a.Prefix.Bits()
		net := a.Prefix.Masked()
		if a.Peer.IsValid() && a.Peer != addr {
			net = netip.PrefixFrom(a.Peer, bits).Masked()
		}
		if addr.Is6() {
			if !up {
				continue
			}
			if !a.Tentative && !a.Duplicate {
				line(host(addr), TableLocal, RouteLocal, scopeUniverse, netip.Addr{}, 0)
			}
			if !a.NoPrefixRoute && !addr.IsLoopback() {
				line(net, TableMain, RouteUnicast, scopeUniverse, netip.Addr{}, metricIPv6Prefix)
			}
			continue
		}
		line(host(addr), TableLocal, RouteLocal, scopeHost, addr, 0)
		// A secondary address is one of a prefix that the interface has already.
		own := a.Prefix.Masked()
		secondary := nets[own]
		nets[own] = true
		if !up || secondary || a.Prefix.Masked().Addr().As4()[0] == 0 {
			continue
		}
		if a.Broadcast.IsValid() && a.Broadcast != header.IPv4Broadcast {
			line(host(a.Broadcast), TableLocal, RouteBroadcast, scopeLink, addr, 0)
		}
		if bits < 32 && !a.NoPrefixRoute {
			if n.IsLoopback() {
				line(net, TableLocal, RouteLocal, scopeHost, addr, 0)
			} else {
				line(net, TableMain, RouteUnicast, scopeLink, addr, 0)
			}
		}
		if b := broadcastOf(a.Prefix); b.IsValid() && b != a.Broadcast {
			line(host(b), TableLocal, RouteBroadcast, scopeLink, addr, 0)
		}
	}
	if up && !n.IsLoopback() && n.Endpoint(header.EtherTypeIPv6) != nil {
		line(netip.PrefixFrom(netip.AddrFrom16([16]byte{0xff}), 8), TableLocal, RouteMulticast, scopeUniverse, netip.Addr{}, metricIPv6Prefix)
	}
	return out
}

// AddAddress adds an address, which makes the local and prefix routes too. Scope and Label of
// zero are Linux's. EEXIST; EINVAL: it is not an address that a host can have; ENODEV: the
// interface was removed; ENOBUFS: it has too many.
func (n *NIC) AddAddress(a Address) error {
	addr := a.Prefix.Addr()
	if !a.Prefix.IsValid() || addr.IsMulticast() || addr.Is4In6() || addr.IsUnspecified() && addr.Is6() || addr == header.IPv4Broadcast {
		return unix.EINVAL
	}
	if a.Scope == 0 {
		switch {
		case addr.IsLoopback():
			a.Scope = scopeHost
		case addr.Is6() && addr.IsLinkLocalUnicast():
			a.Scope = scopeLink
		}
	}
	if a.Label == "" && addr.Is4() {
		a.Label = n.Name()
	}
	s := n.stack
	s.mu.Lock()
	if s.nics.Load().byID[n.id] != n {
		s.mu.Unlock()
		return unix.ENODEV
	}
	old := n.addresses.Load().list
	if slices.ContainsFunc(old, func(b addressRecord) bool {
		return b.Prefix.Addr() == addr && (addr.Is6() || b.Prefix == a.Prefix)
	}) {
		s.mu.Unlock()
		return unix.EEXIST
	}
	if len(old) >= addressLimit {
		s.mu.Unlock()
		return unix.ENOBUFS
	}
	r := newAddressRecord(a, s.clock.Monotonic())
	removed, added := n.setAddresses(append(slices.Clip(slices.Clone(old)), r))
	s.mu.Unlock()
	s.notify(Change{Address: &a, On: n})
	s.notifyRoutes(true, removed)
	s.notifyRoutes(false, added)
	if ep := n.internet(addr); ep != nil {
		ep.AddressAdded(a)
	}
	return nil
}

// RemoveAddress removes the address of that prefix, and the routes that were made for it or
// that prefer it as their source. EADDRNOTAVAIL.
func (n *NIC) RemoveAddress(p netip.Prefix) error {
	s := n.stack
	s.mu.Lock()
	old := n.addresses.Load().list
	i := slices.IndexFunc(old, func(r addressRecord) bool { return r.Prefix == p })
	if i < 0 {
		s.mu.Unlock()
		return unix.EADDRNOTAVAIL
	}
	gone := old[i].at(s.clock.Monotonic())
	removed, added := n.setAddresses(slices.Delete(slices.Clone(old), i, i+1))
	if s.nics.Load().owner(p.Addr()) == nil {
		removed = append(removed, s.dropRoutes(func(l *routeLine) bool { return l.Source == p.Addr() })...)
	}
	s.mu.Unlock()
	s.notifyRoutes(true, removed)
	s.notifyRoutes(false, added)
	s.notify(Change{Address: &gone, On: n, Removed: true})
	if ep := n.internet(p.Addr()); ep != nil {
		ep.AddressRemoved(gone)
	}
	return nil
}

// UpdateAddress changes an address (lifetimes, Tentative, Duplicate, Deprecated) by f, which must
// not change the prefix nor call the stack. false: it is not there.
func (n *NIC) UpdateAddress(addr netip.Addr, f func(a *Address)) bool {
	s := n.stack
	s.mu.Lock()
	set := n.addresses.Load()
	i, ok := set.index[addr]
	if !ok {
		s.mu.Unlock()
		return false
	}
	now := s.clock.Monotonic()
	old := set.list[i]
	a := old.at(now)
	was := a
	f(&a)
	r := newAddressRecord(a, now)
	if a.Valid == was.Valid {
		r.validUntil = old.validUntil
	}
	if a.Preferred == was.Preferred {
		r.preferredUntil = old.preferredUntil
	}
	list := slices.Clone(set.list)
	list[i] = r
	removed, added := n.setAddresses(list)
	s.mu.Unlock()
	s.notify(Change{Address: &a, On: n})
	s.notifyRoutes(true, removed)
	s.notifyRoutes(false, added)
	return true
}

// armLifetimes sets the timer for the next lifetime that ends. stack.mu is held.
func (n *NIC) armLifetimes() {
	now := n.stack.clock.Monotonic()
	next := time.Duration(0)
	for i := range n.addresses.Load().list {
		r := &n.addresses.Load().list[i]
		for _, t := range [...]time.Duration{r.validUntil, r.preferredUntil} {
			if t > now && (next == 0 || t < next) {
				next = t
			}
		}
	}
	switch {
	case next == 0:
		if n.lifetimes != nil {
			n.lifetimes.Stop()
		}
	case n.lifetimes == nil:
		n.lifetimes = n.stack.clock.AfterFunc(next-now, n.lifetimesOver)
	default:
		n.lifetimes.Reset(next - now)
	}
}

// lifetimesOver removes addresses that are not valid any more and deprecates those that are not
// preferred (RFC 4862 section 5.5.4).
func (n *NIC) lifetimesOver() {
	now := n.stack.clock.Monotonic()
	for _, r := range n.addresses.Load().list {
		switch {
		case r.validUntil != 0 && r.validUntil <= now:
			n.RemoveAddress(r.Prefix)
		case r.preferredUntil != 0 && r.preferredUntil <= now && !r.Deprecated:
			n.UpdateAddress(r.Prefix.Addr(), func(a *Address) { a.Deprecated = true })
		}
	}
	n.stack.mu.Lock()
	n.armLifetimes()
	n.stack.mu.Unlock()
}

// JoinGroup and LeaveGroup are counted. InGroup says whether packets to the group are taken.
// EINVAL: it is not a group; ENOBUFS: too many.
func (n *NIC) JoinGroup(group netip.Addr) error {
	if !group.IsMulticast() {
		return unix.EINVAL
	}
	ep := n.internet(group)
	if ep == nil {
		return unix.EAFNOSUPPORT
	}
	n.groupMu.Lock()
	old := *n.groups.Load()
	first := old[group] == 0
	if first && len(old) >= groupLimit {
		n.groupMu.Unlock()
		return unix.ENOBUFS
	}
	m := maps.Clone(old)
	m[group]++
	n.groups.Store(&m)
	n.groupMu.Unlock()
	if first {
		ep.JoinGroup(group)
	}
	return nil
}

// groupLimit bounds the groups of an interface.
const groupLimit = 4096

// LeaveGroup ends one membership. EADDRNOTAVAIL: there is none.
func (n *NIC) LeaveGroup(group netip.Addr) error {
	n.groupMu.Lock()
	old := *n.groups.Load()
	if old[group] == 0 {
		n.groupMu.Unlock()
		return unix.EADDRNOTAVAIL
	}
	m := maps.Clone(old)
	last := m[group] == 1
	if last {
		delete(m, group)
	} else {
		m[group]--
	}
	n.groups.Store(&m)
	n.groupMu.Unlock()
	if ep := n.internet(group); last && ep != nil {
		ep.LeaveGroup(group)
	}
	return nil
}

// InGroup says whether packets to the group are taken.
func (n *NIC) InGroup(group netip.Addr) bool {
	return (*n.groups.Load())[group] > 0 || n.AllMulticast()
}

// Groups are the groups that the interface is a member of, in order of their addresses.
func (n *NIC) Groups() []netip.Addr {
	m := *n.groups.Load()
	list := make([]netip.Addr, 0, len(m))
	for a := range m {
		list = append(list, a)
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return list
}
