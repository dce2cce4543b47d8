package netlink

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/stack"
)

// Multicast groups of NETLINK_ROUTE.
const (
	groupLink     = unix.RTNLGRP_LINK
	groupNeigh    = unix.RTNLGRP_NEIGH
	groupAddr4    = unix.RTNLGRP_IPV4_IFADDR
	groupRoute4   = unix.RTNLGRP_IPV4_ROUTE
	groupRule4    = unix.RTNLGRP_IPV4_RULE
	groupAddr6    = unix.RTNLGRP_IPV6_IFADDR
	groupRoute6   = unix.RTNLGRP_IPV6_ROUTE
	groupRule6    = unix.RTNLGRP_IPV6_RULE
	changedByFlag = ^uint32(0) // ifi_change: everything may have changed
)

// StackChanged implements stack.Observer: it tells the members of the group.
func (n *Namespace) StackChanged(c stack.Change) {
	group, typ := uint32(0), uint16(0)
	pick := func(v6 bool, group4, group6 uint32, t uint16) {
		group, typ = group4, t
		if v6 {
			group = group6
		}
		if c.Removed {
			typ++ // RTM_DEL… follows RTM_NEW…
		}
	}
	switch {
	case c.NIC != nil:
		pick(false, groupLink, groupLink, unix.RTM_NEWLINK)
	case c.Address != nil:
		pick(c.Address.Prefix.Addr().Is6(), groupAddr4, groupAddr6, unix.RTM_NEWADDR)
	case c.Route != nil:
		pick(c.Route.Destination.Addr().Is6(), groupRoute4, groupRoute6, unix.RTM_NEWROUTE)
	case c.Neighbour != nil:
		pick(false, groupNeigh, groupNeigh, unix.RTM_NEWNEIGH)
	case c.Rule != nil:
		pick(c.Rule.V6, groupRule4, groupRule6, unix.RTM_NEWRULE)
	default:
		return
	}
	// A change by a request is told with its number, and to whoever made it if it asks for
	// an echo.
	var h header
	var echo *Socket
	if r := n.acting.Load(); r != nil && r.typ&^3 == typ&^3 {
		h.seq, h.port = r.seq, r.port
		if r.flags&unix.NLM_F_ECHO != 0 {
			echo = r.s
		}
	}
	if echo == nil && !n.hasMembers(unix.NETLINK_ROUTE, group) {
		return
	}
	var w builder
	switch {
	case c.NIC != nil:
		n.putLink(&w, h, typ, c.NIC, changedByFlag, 0)
	case c.Address != nil:
		earlier := c.On.Addresses()
		for i := range earlier {
			if earlier[i].Prefix == c.Address.Prefix {
				earlier = earlier[:i]
				break
			}
		}
		putAddress(&w, h, typ, c.On, c.Address, addrFlags(c.Address, earlier))
	case c.Route != nil:
		putRoute(&w, h, typ, c.Route)
	case c.Neighbour != nil:
		n.putNeigh(&w, h, typ, c.On, c.Neighbour)
	case c.Rule != nil:
		n.putRule(&w, h, typ, c.Rule)
	}
	d := datagram{data: w.b}
	n.multicast(unix.NETLINK_ROUTE, group, d, echo)
	if echo != nil {
		d.group = group
		echo.deliver(d)
	}
}
