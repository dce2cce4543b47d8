package datagram

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/stack"
)

// Bounds of Linux: igmp_max_memberships, igmp_max_msf, mld_max_msf, and about what optmem_max allows
// of IPv6 memberships.
const (
	maxMemberships4 = 20
	maxMemberships6 = 2048
	maxSources4     = 10
	maxSources6     = 64
)

// membership is one group of a socket on one interface.
type membership struct {
	group netip.Addr
	nic   tcpip.NICID
	// iface is the interface's address as given, if it was (ip(7), imr_address).
	iface netip.Addr
	// include: only sources are wanted; otherwise all but them (RFC 3376 section 3).
	include bool
	// listed: there is, or was, a list of sources. The mode cannot change any more, but by
	// SetSourceFilter.
	listed  bool
	sources []netip.Addr
}

// Memberships are the multicast groups of one socket. The zero value has none.
type Memberships struct {
	// list is replaced as a whole, so that packets take no lock.
	list atomic.Pointer[[]membership]

	mu sync.Mutex // guards changes of list
}

func (g *Memberships) get() []membership {
	if l := g.list.Load(); l != nil {
		return *l
	}
	return nil
}

// Wants says whether the socket takes a packet to a group. all: groups that it is not a member of,
// but others of this host are, are wanted too (IP_MULTICAST_ALL).
func (g *Memberships) Wants(pkt *buffer.Packet, all bool) bool {
	list := g.get()
	for i := range list {
		m := &list[i]
		if m.group == pkt.Destination && m.nic == pkt.NIC {
			return slices.Contains(m.sources, pkt.Source) == m.include
		}
	}
	return all
}

// nicOf finds the interface that a request means; nil: there is none.
func nicOf(st *stack.Stack, m *tcpip.GroupMembership) *stack.NIC {
	switch {
	case m.NIC != 0:
		return st.NIC(m.NIC)
	case m.InterfaceAddr.IsValid() && !m.InterfaceAddr.IsUnspecified():
		for _, n := range st.NICs() {
			if n.HasAddress(m.InterfaceAddr) {
				return n
			}
		}
		return nil
	}
	r, err := st.FindRoute(stack.RouteQuery{Destination: m.Group})
	if err != nil {
		return nil
	}
	return r.NIC
}

// find returns where in list the membership of the request is, or -1.
func find(list []membership, m *tcpip.GroupMembership, nic *stack.NIC) int {
	return slices.IndexFunc(list, func(have membership) bool {
		if have.group != m.Group {
			return false
		}
		if nic != nil {
			return have.nic == nic.ID()
		}
		return m.InterfaceAddr.IsValid() && have.iface == m.InterfaceAddr
	})
}

// Join implements tcpip.MulticastEndpoint.
func (g *Memberships) Join(st *stack.Stack, m tcpip.GroupMembership) error {
	if !m.Group.IsMulticast() {
		return unix.EINVAL
	}
	nic := nicOf(st, &m)
	if nic == nil {
		return unix.ENODEV
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	list := slices.Clone(g.get())
	i := find(list, &m, nic)
	if i >= 0 {
		if !m.Source.IsValid() {
			return unix.EADDRINUSE
		}
		return g.addSource(list, i, m.Source, true)
	}
	n, limit := 0, maxMemberships4
	if m.Group.Is6() {
		limit = maxMemberships6
	}
	for i := range list {
		if list[i].group.Is6() == m.Group.Is6() {
			n++
		}
	}
	if n >= limit {
		return unix.ENOBUFS
	}
	if err := nic.JoinGroup(m.Group); err != nil {
		return err
	}
	added := membership{group: m.Group, nic: nic.ID(), iface: m.InterfaceAddr}
	if m.Source.IsValid() {
		added.include, added.listed, added.sources = true, true, []netip.Addr{m.Source}
	}
	list = append(list, added)
	g.list.Store(&list)
	return nil
}

// Leave implements tcpip.MulticastEndpoint.
func (g *Memberships) Leave(st *stack.Stack, m tcpip.GroupMembership) error {
	if !m.Group.IsMulticast() {
		if m.Source.IsValid() || m.Group.Is6() {
			return unix.EINVAL
		}
		return unix.EADDRNOTAVAIL
	}
	nic := nicOf(st, &m)
	if nic == nil && m.NIC == 0 && (!m.InterfaceAddr.IsValid() || m.InterfaceAddr.IsUnspecified()) && m.Group.Is4() {
		return unix.ENODEV
	}
	if nic == nil && m.Source.IsValid() {
		return unix.ENODEV
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	list := slices.Clone(g.get())
	i := find(list, &m, nic)
	if i < 0 {
		if m.Source.IsValid() {
			return unix.EINVAL
		}
		return unix.EADDRNOTAVAIL
	}
	if m.Source.IsValid() {
		return g.removeSource(st, list, i, m.Source, true)
	}
	g.remove(st, list, i)
	return nil
}

func (g *Memberships) remove(st *stack.Stack, list []membership, i int) {
	m := list[i]
	list = slices.Delete(list, i, i+1)
	g.list.Store(&list)
	// The interface may be gone.
	if n := st.NIC(m.nic); n != nil {
		n.LeaveGroup(m.group)
	}
}

// ChangeSource blocks or unblocks a source of a membership of all sources.
func (g *Memberships) ChangeSource(st *stack.Stack, m tcpip.GroupMembership, block bool) error {
	if !m.Group.IsMulticast() {
		return unix.EINVAL
	}
	nic := nicOf(st, &m)
	if nic == nil {
		return unix.ENODEV
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	list := slices.Clone(g.get())
	i := find(list, &m, nic)
	if i < 0 {
		return unix.EINVAL
	}
	if block {
		return g.addSource(list, i, m.Source, false)
	}
	return g.removeSource(st, list, i, m.Source, false)
}

// mode makes the membership one of single sources or of all but some, which it may become as long
// as it never had a list of sources.
func (m *membership) mode(include bool) error {
	if m.include != include && m.listed {
		return unix.EINVAL
	}
	m.include = include
	return nil
}

func (g *Memberships) addSource(list []membership, i int, source netip.Addr, include bool) error {
	m := &list[i]
	if err := m.mode(include); err != nil {
		return err
	}
	if len(m.sources) >= maxSources(m.group) {
		return unix.ENOBUFS
	}
	if slices.Contains(m.sources, source) {
		return unix.EADDRNOTAVAIL
	}
	m.listed = true
	m.sources = append(slices.Clone(m.sources), source)
	g.list.Store(&list)
	return nil
}

func (g *Memberships) removeSource(st *stack.Stack, list []membership, i int, source netip.Addr, include bool) error {
	m := &list[i]
	if err := m.mode(include); err != nil {
		return err
	}
	at := slices.Index(m.sources, source)
	if at < 0 {
		return unix.EADDRNOTAVAIL
	}
	if include && len(m.sources) == 1 {
		// To include nothing is not to be a member (RFC 3376 section 3.1).
		g.remove(st, list, i)
		return nil
	}
	m.sources = slices.Delete(slices.Clone(m.sources), at, at+1)
	g.list.Store(&list)
	return nil
}

func maxSources(group netip.Addr) int {
	if group.Is6() {
		return maxSources6
	}
	return maxSources4
}

// SetFilter implements tcpip.MulticastEndpoint.SetSourceFilter.
func (g *Memberships) SetFilter(st *stack.Stack, m tcpip.GroupMembership, include bool, sources []netip.Addr) error {
	if !m.Group.IsMulticast() {
		return unix.EINVAL
	}
	if len(sources) > maxSources(m.Group) {
		return unix.ENOBUFS
	}
	nic := nicOf(st, &m)
	if nic == nil {
		return unix.ENODEV
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	list := slices.Clone(g.get())
	i := find(list, &m, nic)
	switch {
	case include && len(sources) == 0:
		if i < 0 {
			return unix.EADDRNOTAVAIL
		}
		g.remove(st, list, i)
		return nil
	case i < 0:
		return unix.EINVAL
	}
	list[i].include, list[i].listed, list[i].sources = include, len(sources) > 0, slices.Clone(sources)
	g.list.Store(&list)
	return nil
}

// Filter implements tcpip.MulticastEndpoint.SourceFilter.
func (g *Memberships) Filter(st *stack.Stack, m tcpip.GroupMembership) (include bool, sources []netip.Addr, err error) {
	if !m.Group.IsMulticast() {
		return false, nil, unix.EINVAL
	}
	nic := nicOf(st, &m)
	if nic == nil {
		return false, nil, unix.ENODEV
	}
	list := g.get()
	i := find(list, &m, nic)
	if i < 0 {
		return false, nil, unix.EADDRNOTAVAIL
	}
	return list[i].include, slices.Clone(list[i].sources), nil
}

// Close ends all memberships.
func (g *Memberships) Close(st *stack.Stack) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for list := g.get(); len(list) > 0; list = g.get() {
		g.remove(st, slices.Clone(list), len(list)-1)
	}
}
