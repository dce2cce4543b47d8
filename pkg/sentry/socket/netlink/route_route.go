package netlink

import (
	"encoding/binary"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/stack"
)

// Numbers of rtnetlink.h that package unix lacks.
const (
	rtaxMTU       = 2
	rtmFibMatch   = 0x2000
	rtcfBroadcast = 0x10000000
	rtcfMulticast = 0x20000000
	rtcfLocal     = 0x80000000
	rtaNextHopID  = 30
	metricIPv6    = 1024 // of an IPv6 route that says none
)

var routeShapes = func() []shape {
	s := make([]shape, 31)
	for i := range s {
		s[i] = isBytes
	}
	for _, t := range []int{unix.RTA_IIF, unix.RTA_OIF, unix.RTA_PRIORITY, unix.RTA_FLOW, unix.RTA_TABLE, unix.RTA_MARK, unix.RTA_EXPIRES, unix.RTA_UID, rtaNextHopID} {
		s[t] = isU32
	}
	s[unix.RTA_PREF], s[unix.RTA_IP_PROTO] = isU8, isU8
	s[unix.RTA_METRICS] = isNested
	return s
}()

var routeDumpShapes = func() []shape {
	s := make([]shape, 31)
	s[unix.RTA_TABLE], s[unix.RTA_OIF] = isU32, isU32
	return s
}()

var metricShapes = func() []shape {
	s := make([]shape, 18)
	for i := range s {
		s[i] = isBytes
	}
	s[rtaxMTU] = isU32
	return s
}()

// putRoute appends a message about a route of type typ: RTM_NEWROUTE or RTM_DELROUTE.
func putRoute(w *builder, h header, typ uint16, e *stack.RouteEntry) {
	h.typ = typ
	v6 := e.Destination.Addr().Is6()
	scope := e.Scope
	if v6 {
		scope = unix.RT_SCOPE_UNIVERSE // IPv6 has no scopes of routes
	}
	w.begin(h)
	w.bytes(familyOf(e.Destination.Addr()), uint8(e.Destination.Bits()), 0, 0, tableByte(e.Table), e.Protocol, scope, uint8(e.Type))
	flags := uint32(0)
	if e.OnLink {
		flags |= unix.RTNH_F_ONLINK
	}
	w.u32(flags)
	w.attrU32(unix.RTA_TABLE, e.Table)
	if e.Destination.Bits() > 0 {
		w.attrAddr(unix.RTA_DST, e.Destination.Addr())
	}
	putRouteRest(w, e)
	w.end()
}

// putRouteRest appends where a route leads, and how.
func putRouteRest(w *builder, e *stack.RouteEntry) {
	v6 := e.Destination.Addr().Is6()
	if e.Metric != 0 || v6 {
		w.attrU32(unix.RTA_PRIORITY, e.Metric)
	}
	if e.MTU != 0 {
		m := w.nest(unix.RTA_METRICS)
		w.attrU32(rtaxMTU, e.MTU)
		w.unnest(m)
	}
	if e.Source.IsValid() {
		w.attrAddr(unix.RTA_PREFSRC, e.Source)
	}
	if e.Gateway.IsValid() {
		w.attrAddr(unix.RTA_GATEWAY, e.Gateway)
	}
	oif, errno := uint32(e.NIC), uint32(0)
	if v6 {
		// IPv6 has its routes to nowhere lead through lo, with an error.
		switch e.Type {
		case stack.RouteBlackhole:
			oif, errno = 1, uint32(unix.EINVAL)
		case stack.RouteUnreachable:
			oif, errno = 1, uint32(unix.EHOSTUNREACH)
		case stack.RouteProhibit:
			oif, errno = 1, uint32(unix.EACCES)
		case stack.RouteThrow:
			oif, errno = 1, uint32(unix.EAGAIN)
		}
	}
	if oif != 0 {
		w.attrU32(unix.RTA_OIF, oif)
	}
	if v6 {
		info := w.nest(unix.RTA_CACHEINFO) // struct rta_cacheinfo; the fourth word is the error
		for _, v := range [8]uint32{3: -errno} {
			w.u32(v)
		}
		w.unnest(info)
		w.attrU8(unix.RTA_PREF, 0)
	}
}

// routeDump shows routes.
type routeDump struct{ listDump[stack.RouteEntry] }

// emit implements dumper.
func (d *routeDump) emit(w *builder, h header) bool {
	e, ok := d.next()
	if ok {
		putRoute(w, h, unix.RTM_NEWROUTE, &e)
	}
	return ok
}

func (n *Namespace) dumpRoutes(r *request) (dumper, error) {
	d := &routeDump{}
	table, oif, protocol, typ := uint32(0), uint32(0), uint8(0), uint8(0)
	if r.strict {
		if r.u8(1) != 0 || r.u8(2) != 0 || r.u8(3) != 0 || r.u8(6) != 0 {
			return nil, refuse(unix.EINVAL, "a dump of routes cannot go by prefix, TOS or scope")
		}
		a, err := r.attributes(sizeofRtmsg, routeDumpShapes, true)
		if err != nil {
			return nil, err
		}
		table, protocol, typ = uint32(r.u8(4)), r.u8(5), r.u8(7)
		if a.has(unix.RTA_TABLE) {
			table = a.u32(unix.RTA_TABLE)
		}
		if oif = a.u32(unix.RTA_OIF); oif != 0 {
			if _, err := n.nic(oif); err != nil {
				return nil, err
			}
		}
	}
	if r.u32(8)&unix.RTM_F_CLONED != 0 {
		return d, nil // what was learnt of single destinations is not kept as routes
	}
	found := false
	all := n.net.Routes()
	slices.SortStableFunc(all, compareRoutes)
	for _, e := range all {
		if !wants(r.family(), e.Destination.Addr()) {
			continue
		}
		found = found || e.Table == table
		if table != 0 && e.Table != table || oif != 0 && uint32(e.NIC) != oif ||
			protocol != 0 && e.Protocol != protocol || typ != 0 && uint8(e.Type) != typ {
			continue
		}
		d.list = append(d.list, e)
	}
	if table != 0 && table != stack.TableMain && table != stack.TableLocal && !found && r.family() != unix.AF_UNSPEC {
		return nil, refuse(unix.ENOENT, "there is no such route table")
	}
	return d, nil
}

// compareRoutes is the order in which routes are shown: IPv4 first, by table, destination, and
// metric.
func compareRoutes(a, b stack.RouteEntry) int {
	switch {
	case a.Destination.Addr().Is6() != b.Destination.Addr().Is6():
		if a.Destination.Addr().Is6() {
			return 1
		}
		return -1
	case a.Table != b.Table:
		return int(int64(a.Table) - int64(b.Table))
	}
	if c := a.Destination.Addr().Compare(b.Destination.Addr()); c != 0 {
		return c
	}
	if a.Destination.Bits() != b.Destination.Bits() {
		return a.Destination.Bits() - b.Destination.Bits()
	}
	return int(int64(a.Metric) - int64(b.Metric))
}

// routeRequest is what a request says about a route; the has fields tell what it says.
type routeRequest struct {
	stack.RouteEntry
	hasScope bool
}

// parseRoute reads RTM_NEWROUTE and RTM_DELROUTE.
func (n *Namespace) parseRoute(r *request) (q *routeRequest, err error) {
	v6, ok := isIP(r.family())
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	a, err := r.attributes(sizeofRtmsg, routeShapes, false)
	if err != nil {
		return nil, err
	}
	bits := int(r.u8(1))
	switch {
	case bits > bitsOf(v6):
		return nil, refuse(unix.EINVAL, "the prefix is longer than an address")
	case r.u8(2) != 0:
		return nil, refuse(unix.EINVAL, "routes do not go by source here; rules do")
	case r.u8(7) > unix.RTN_MAX:
		return nil, refuse(unix.EINVAL, "no such type of route")
	case !v6 && r.u8(3) != 0:
		return nil, refuse(unix.EOPNOTSUPP, "routes do not go by TOS here; rules do")
	}
	for _, t := range []uint16{rtaNextHopID, unix.RTA_ENCAP, unix.RTA_VIA, unix.RTA_NEWDST} {
		if a.has(t) {
			return nil, a.refuse(unix.EOPNOTSUPP, t, "routes cannot have that here")
		}
	}
	q = &routeRequest{hasScope: r.u8(6) != unix.RT_SCOPE_NOWHERE}
	q.Table, q.Protocol, q.Scope, q.Type = uint32(r.u8(4)), r.u8(5), r.u8(6), stack.RouteType(r.u8(7))
	if a.has(unix.RTA_TABLE) {
		q.Table = a.u32(unix.RTA_TABLE)
	}
	if q.Table == 0 {
		q.Table = stack.TableMain
	}
	dst, err := a.addr(unix.RTA_DST, v6)
	if err != nil {
		return nil, err
	}
	if !dst.IsValid() {
		if bits != 0 {
			return nil, refuse(unix.EINVAL, "a prefix has a length but no address")
		}
		dst = anyPrefix(v6).Addr()
	}
	q.Destination = netip.PrefixFrom(dst, bits)
	if q.Destination != q.Destination.Masked() {
		if !v6 {
			return nil, a.refuse(unix.EINVAL, unix.RTA_DST, "the destination has bits behind its prefix")
		}
		q.Destination = q.Destination.Masked()
	}
	if q.Gateway, err = a.addr(unix.RTA_GATEWAY, v6); err != nil {
		return nil, err
	}
	if q.Source, err = a.addr(unix.RTA_PREFSRC, v6); err != nil {
		return nil, err
	}
	q.NIC = tcpip.NICID(a.u32(unix.RTA_OIF))
	q.Metric = a.u32(unix.RTA_PRIORITY)
	q.OnLink = r.u32(8)&unix.RTNH_F_ONLINK != 0
	if a.has(unix.RTA_METRICS) {
		m, err := parse(a.bytes(unix.RTA_METRICS), a[unix.RTA_METRICS].off+sizeofAttr, metricShapes, false)
		if err != nil {
			return nil, err
		}
		q.MTU = m.u32(rtaxMTU)
	}
	if a.has(unix.RTA_MULTIPATH) {
		if err := q.nextHop(a, v6); err != nil {
			return nil, err
		}
	}
	return q, nil
}

// sizeofNextHop is the size of struct rtnexthop.
const sizeofNextHop = 8

// nextHop reads RTA_MULTIPATH, which may have one way only.
func (q *routeRequest) nextHop(a attributes, v6 bool) error {
	b := a.bytes(unix.RTA_MULTIPATH)
	if len(b) == 0 {
		return nil
	}
	off := a[unix.RTA_MULTIPATH].off
	if len(b) < sizeofNextHop {
		return a.refuse(unix.EINVAL, unix.RTA_MULTIPATH, "a next hop is too short")
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < sizeofNextHop || n > len(b) {
		return a.refuse(unix.EINVAL, unix.RTA_MULTIPATH, "a next hop is too short or too long")
	}
	if align(n) < len(b) {
		return a.refuse(unix.EOPNOTSUPP, unix.RTA_MULTIPATH, "routes have one next hop here")
	}
	q.OnLink = q.OnLink || b[2]&unix.RTNH_F_ONLINK != 0
	q.NIC = tcpip.NICID(binary.NativeEndian.Uint32(b[4:]))
	hop, err := parse(b[sizeofNextHop:n], off+sizeofAttr+sizeofNextHop, routeShapes, false)
	if err != nil {
		return err
	}
	q.Gateway, err = hop.addr(unix.RTA_GATEWAY, v6)
	return err
}

// maxRoutes bounds the routes of a namespace; a look-up does not care how many there are, but
// memory does.
const maxRoutes = 1 << 16

func (n *Namespace) newRoute(r *request) error {
	q, err := n.parseRoute(r)
	if err != nil {
		return err
	}
	e := q.RouteEntry
	v6 := e.Destination.Addr().Is6()
	if v6 && e.Metric == 0 {
		e.Metric = metricIPv6
	}
	if e.Type == 0 {
		e.Type = stack.RouteUnicast
	}
	if !v6 && e.Scope > unix.RT_SCOPE_HOST {
		return refuse(unix.EINVAL, "no such scope")
	}
	if e.Source.IsValid() && !n.net.IsLocal(0, e.Source) {
		return refuse(unix.EINVAL, "the preferred source is not an address of this host")
	}
	if e.Type == stack.RouteMulticast || e.Type == stack.RouteAnycast {
		return refuse(unix.EOPNOTSUPP, "routes of that type cannot be set here")
	}
	all := n.net.Routes()
	var same []stack.RouteEntry
	for _, x := range all {
		if x.Destination == e.Destination && x.Table == e.Table && x.Metric == e.Metric {
			same = append(same, x)
		}
	}
	if len(same) == 0 {
		switch {
		case r.flags&unix.NLM_F_CREATE == 0 && (!v6 || r.flags&unix.NLM_F_REPLACE != 0):
			return unix.ENOENT
		case len(all) >= maxRoutes:
			return refuse(unix.ENOBUFS, "there are too many routes")
		}
		return n.explain(n.net.AddRoute(e), &e)
	}
	switch {
	case r.flags&unix.NLM_F_EXCL != 0:
		return unix.EEXIST
	case r.flags&unix.NLM_F_REPLACE != 0:
		if slices.ContainsFunc(same[1:], func(x stack.RouteEntry) bool { return sameWay(&x, &e) }) {
			return unix.EEXIST
		}
		return n.explain(n.net.ReplaceRoute(same[0], e), &e)
	case slices.ContainsFunc(same, func(x stack.RouteEntry) bool { return sameWay(&x, &e) }):
		return unix.EEXIST
	case r.flags&(unix.NLM_F_CREATE|unix.NLM_F_APPEND) == 0 && !v6:
		return unix.ENOENT
	}
	return n.explain(n.net.InsertRoute(e, r.flags&unix.NLM_F_APPEND == 0), &e)
}

// sameWay says whether two routes of one destination lead the same way.
func sameWay(a, b *stack.RouteEntry) bool {
	return a.Gateway == b.Gateway && (a.NIC == b.NIC || b.NIC == 0) && a.Type == b.Type && (a.Source == b.Source || !b.Source.IsValid())
}

// explain gives an error of the stack words.
func (n *Namespace) explain(err error, e *stack.RouteEntry) error {
	switch err {
	case unix.ENETUNREACH:
		return refuse(unix.ENETUNREACH, "Nexthop has invalid gateway")
	case unix.ENETDOWN:
		return refuse(unix.ENETDOWN, "the interface is down")
	case unix.EINVAL:
		return refuse(unix.EINVAL, "the gateway is an address of this host, or of another family")
	case unix.ENODEV:
		if e.NIC == 0 {
			return refuse(unix.ENODEV, "neither a gateway nor an interface is given")
		}
		return refuse(unix.ENODEV, "there is no such interface")
	}
	return err
}

func (n *Namespace) delRoute(r *request) error {
	q, err := n.parseRoute(r)
	if err != nil {
		return err
	}
	v6 := q.Destination.Addr().Is6()
	for _, e := range n.net.Routes() {
		if e.Destination != q.Destination || e.Table != q.Table ||
			q.Type != 0 && q.Type != e.Type ||
			!v6 && q.hasScope && q.Scope != e.Scope ||
			q.Metric != 0 && q.Metric != e.Metric ||
			q.Protocol != 0 && q.Protocol != e.Protocol ||
			q.NIC != 0 && q.NIC != e.NIC ||
			q.Gateway.IsValid() && q.Gateway != e.Gateway ||
			q.Source.IsValid() && q.Source != e.Source {
			continue
		}
		return n.net.RemoveRouteExactly(e)
	}
	return unix.ESRCH
}

// getRoute finds the way to an address: `ip route get`.
func (n *Namespace) getRoute(r *request) error {
	v6, ok := isIP(r.family())
	if !ok {
		return unix.EOPNOTSUPP
	}
	a, err := r.attributes(sizeofRtmsg, routeShapes, false)
	if err != nil {
		return err
	}
	if r.strict && (r.u8(1) != 0 && int(r.u8(1)) != bitsOf(v6) || r.u8(2) != 0 && int(r.u8(2)) != bitsOf(v6) ||
		r.u8(4) != 0 || r.u8(5) != 0 || r.u8(6) != 0 || r.u8(7) != 0) {
		return refuse(unix.EINVAL, "a look-up is of one address, and has no other fields in its header")
	}
	dst, err := a.addr(unix.RTA_DST, v6)
	if err != nil {
		return err
	}
	src, err := a.addr(unix.RTA_SRC, v6)
	if err != nil {
		return err
	}
	if !dst.IsValid() {
		dst = anyPrefix(v6).Addr()
	}
	if a.u32(unix.RTA_IIF) != 0 {
		return a.refuse(unix.EOPNOTSUPP, unix.RTA_IIF, "only ways of packets from here can be asked for")
	}
	query := stack.RouteQuery{Destination: dst, Source: src, NIC: tcpip.NICID(a.u32(unix.RTA_OIF)), Mark: a.u32(unix.RTA_MARK), TOS: r.u8(3)}
	query.AnySource = v6 // IPv6 does not look at it
	if query.NIC != 0 && n.net.NIC(query.NIC) == nil {
		return unix.ENODEV
	}
	route, err := n.net.FindRoute(query)
	if err != nil {
		if err == unix.EADDRNOTAVAIL {
			err = unix.ENETUNREACH // from a source that is not of this host
		}
		return err
	}
	var w builder
	n.putWay(&w, r, a, route, src.IsValid())
	r.answer(w.b)
	return nil
}

// putWay appends the answer to a look-up of a route.
func (n *Namespace) putWay(w *builder, r *request, a attributes, route *stack.Route, hasSource bool) {
	e := route.Entry
	if r.u32(8)&rtmFibMatch != 0 {
		putRoute(w, r.reply(0), unix.RTM_NEWROUTE, &e)
		return
	}
	dst := route.Destination
	v6 := dst.Is6()
	table := e.Table
	if !v6 && r.u32(8)&unix.RTM_F_LOOKUP_TABLE == 0 {
		table = stack.TableMain
	}
	typ, flags := unix.RTN_UNICAST, uint32(0)
	switch {
	case route.Local:
		typ, flags = unix.RTN_LOCAL, rtcfLocal
	case route.Broadcast:
		typ, flags = unix.RTN_BROADCAST, rtcfBroadcast
	case route.Multicast:
		typ, flags = unix.RTN_MULTICAST, rtcfMulticast
	}
	protocol, srcBits := uint8(0), 0
	if v6 {
		protocol, flags = e.Protocol, 0
	} else {
		flags |= unix.RTM_F_CLONED
	}
	if hasSource || v6 {
		srcBits = bitsOf(v6)
	}
	h := r.reply(unix.RTM_NEWROUTE)
	w.begin(h)
	w.bytes(r.family(), uint8(bitsOf(v6)), uint8(srcBits), r.u8(3), tableByte(table), protocol, unix.RT_SCOPE_UNIVERSE, uint8(typ))
	w.u32(flags)
	w.attrU32(unix.RTA_TABLE, table)
	w.attrAddr(unix.RTA_DST, dst)
	if hasSource {
		w.attrAddr(unix.RTA_SRC, route.Source)
	} else if v6 { // Linux says ::, for any
		w.attrAddr(unix.RTA_SRC, netip.IPv6Unspecified())
	}
	oif := uint32(route.NIC.ID())
	if lo := n.net.Loopback(); route.Local && lo != nil {
		oif = uint32(lo.ID())
	}
	w.attrU32(unix.RTA_OIF, oif)
	if !hasSource && route.Source.IsValid() {
		w.attrAddr(unix.RTA_PREFSRC, route.Source)
	}
	if e.Gateway.IsValid() && !route.Local {
		w.attrAddr(unix.RTA_GATEWAY, e.Gateway)
	}
	if v6 {
		w.attrU32(unix.RTA_PRIORITY, e.Metric)
	}
	if e.MTU != 0 {
		m := w.nest(unix.RTA_METRICS)
		w.attrU32(rtaxMTU, e.MTU)
		w.unnest(m)
	}
	if a.has(unix.RTA_MARK) {
		w.attrU32(unix.RTA_MARK, a.u32(unix.RTA_MARK))
	}
	if !v6 {
		w.attrU32(unix.RTA_UID, r.ctx.Credentials().UserNS.UID(r.ctx.Credentials().EffectiveUID))
	}
	w.attr(unix.RTA_CACHEINFO, make([]byte, 32))
	if v6 {
		w.attrU8(unix.RTA_PREF, 0)
	}
	w.end()
}
