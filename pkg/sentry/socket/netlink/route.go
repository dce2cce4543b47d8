package netlink

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/stack"
)

// numRouteGroups is the highest multicast group of NETLINK_ROUTE (RTNLGRP_MAX).
const numRouteGroups = 38

// echoGroup is a group that does not exist, for those who wait for an echo.
const echoGroup = numRouteGroups + 1

// Kinds of requests: the lowest two bits of a type.
const (
	kindNew = 0
	kindDel = 1
	kindGet = 2
	kindSet = 3
)

// routeHandler is what a type of request does.
type routeHandler struct {
	// do carries out the request, and answers if it has to.
	do func(n *Namespace, r *request) error
	// dump lists everything.
	dump func(n *Namespace, r *request) (dumper, error)
	// size is that of the header in front of the attributes.
	size int
}

// Sizes of the headers of rtnetlink(7) in bytes.
const (
	sizeofIfinfomsg = 16
	sizeofIfaddrmsg = 8
	sizeofRtmsg     = 12
	sizeofNdmsg     = 12
	sizeofRuleHdr   = 12
	sizeofTcmsg     = 20
	sizeofRtgenmsg  = 1
)

// routeHandlers are the requests of NETLINK_ROUTE, filled in by init, since handlers refer to
// it.
var routeHandlers map[uint16]routeHandler

func init() {
	routeHandlers = map[uint16]routeHandler{
		unix.RTM_NEWLINK:  {do: (*Namespace).newLink, size: sizeofIfinfomsg},
		unix.RTM_SETLINK:  {do: (*Namespace).newLink, size: sizeofIfinfomsg},
		unix.RTM_DELLINK:  {do: (*Namespace).delLink, size: sizeofIfinfomsg},
		unix.RTM_GETLINK:  {do: (*Namespace).getLink, dump: (*Namespace).dumpLinks, size: sizeofIfinfomsg},
		unix.RTM_NEWADDR:  {do: (*Namespace).newAddr, size: sizeofIfaddrmsg},
		unix.RTM_DELADDR:  {do: (*Namespace).delAddr, size: sizeofIfaddrmsg},
		unix.RTM_GETADDR:  {do: (*Namespace).getAddr, dump: (*Namespace).dumpAddrs, size: sizeofIfaddrmsg},
		unix.RTM_NEWROUTE: {do: (*Namespace).newRoute, size: sizeofRtmsg},
		unix.RTM_DELROUTE: {do: (*Namespace).delRoute, size: sizeofRtmsg},
		unix.RTM_GETROUTE: {do: (*Namespace).getRoute, dump: (*Namespace).dumpRoutes, size: sizeofRtmsg},
		unix.RTM_NEWNEIGH: {do: (*Namespace).newNeigh, size: sizeofNdmsg},
		unix.RTM_DELNEIGH: {do: (*Namespace).delNeigh, size: sizeofNdmsg},
		unix.RTM_GETNEIGH: {do: (*Namespace).getNeigh, dump: (*Namespace).dumpNeighs, size: sizeofNdmsg},
		unix.RTM_NEWRULE:  {do: (*Namespace).newRule, size: sizeofRuleHdr},
		unix.RTM_DELRULE:  {do: (*Namespace).delRule, size: sizeofRuleHdr},
		unix.RTM_GETRULE:  {dump: (*Namespace).dumpRules, size: sizeofRuleHdr},
		// There are no queueing disciplines to speak of.
		unix.RTM_GETQDISC:   {dump: (*Namespace).dumpNothing, size: sizeofTcmsg},
		unix.RTM_GETTCLASS:  {dump: (*Namespace).dumpNothing, size: sizeofTcmsg},
		unix.RTM_GETTFILTER: {dump: (*Namespace).dumpNothing, size: sizeofTcmsg},
	}
}

// route carries out a request of NETLINK_ROUTE.
func (n *Namespace) route(r *request) error {
	if r.typ > unix.RTM_MAX {
		return unix.EOPNOTSUPP
	}
	// Linux takes a message that is too short for a family for none at all.
	if len(r.payload) < sizeofRtgenmsg {
		return nil
	}
	kind := r.typ & 3
	if kind != kindGet && !n.capable(r.ctx) {
		return unix.EPERM
	}
	h, ok := routeHandlers[r.typ]
	if !ok {
		return unix.EOPNOTSUPP
	}
	if n.net == nil && (kind != kindGet || r.flags&unix.NLM_F_DUMP == 0) {
		return unix.EOPNOTSUPP
	}
	// One of the two bits is enough.
	if kind == kindGet && r.flags&unix.NLM_F_DUMP != 0 {
		if h.dump == nil {
			return unix.EOPNOTSUPP
		}
		if r.strict && len(r.payload) < h.size {
			return refuse(unix.EINVAL, "the header is too short")
		}
		if n.net == nil {
			return r.startDump(&nothing{})
		}
		d, err := h.dump(n, r)
		if err != nil {
			return err
		}
		return r.startDump(d)
	}
	if h.do == nil {
		return unix.EOPNOTSUPP
	}
	if len(r.payload) < h.size {
		return refuse(unix.EINVAL, "the header is too short")
	}
	if kind != kindGet {
		n.changes.Lock()
		defer n.changes.Unlock()
		n.acting.Store(r)
		defer n.acting.Store(nil)
		if r.flags&unix.NLM_F_ECHO != 0 {
			// Who wants an echo listens as long as the change takes.
			n.setMember(r.s, echoGroup, true)
			defer n.setMember(r.s, echoGroup, false)
		}
	}
	return h.do(n, r)
}

// nothing is an empty dump.
type nothing struct{}

// emit implements dumper.
func (*nothing) emit(*builder, header) bool { return false }

func (n *Namespace) dumpNothing(*request) (dumper, error) { return &nothing{}, nil }

// family is the first byte of every request.
func (r *request) family() uint8 { return r.payload[0] }

// u8, u16 and u32 read the header of a request; what is beyond its end is 0.
func (r *request) u8(at int) uint8 {
	if at < len(r.payload) {
		return r.payload[at]
	}
	return 0
}

func (r *request) u16(at int) uint16 {
	if at+2 <= len(r.payload) {
		return binary.NativeEndian.Uint16(r.payload[at:])
	}
	return 0
}

func (r *request) u32(at int) uint32 {
	if at+4 <= len(r.payload) {
		return binary.NativeEndian.Uint32(r.payload[at:])
	}
	return 0
}

// attributes parses what is behind a header of size bytes.
func (r *request) attributes(size int, shapes []shape, strict bool) (attributes, error) {
	size = align(size)
	if size > len(r.payload) {
		return make(attributes, len(shapes)), nil
	}
	return parse(r.payload[size:], sizeofHeader+size, shapes, strict)
}

// isIP says whether the family is one that has addresses here, and which.
func isIP(family uint8) (v6, ok bool) {
	return family == unix.AF_INET6, family == unix.AF_INET || family == unix.AF_INET6
}

func familyOf(a netip.Addr) uint8 {
	if a.Is6() {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// wants says whether a request about family is about addresses of a's version.
func wants(family uint8, a netip.Addr) bool {
	return family == unix.AF_UNSPEC || family == familyOf(a)
}

func bitsOf(v6 bool) int {
	if v6 {
		return 128
	}
	return 32
}

// anyPrefix is the prefix of all addresses.
func anyPrefix(v6 bool) netip.Prefix {
	if v6 {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// nic finds an interface. ENODEV.
func (n *Namespace) nic(index uint32) (*stack.NIC, error) {
	if nic := n.net.NIC(tcpip.NICID(index)); nic != nil && index != 0 {
		return nic, nil
	}
	return nil, refuse(unix.ENODEV, "there is no such interface")
}
