package ipv6

import (
	"net/netip"
	"slices"
	"time"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

// Defaults of multicast listener discovery (RFC 3810 section 9, RFC 2710 section 7).
const (
	defaultRobustness      = 2
	defaultQueryInterval   = 125 * time.Second
	unsolicitedInterval    = time.Second      // version 2
	unsolicitedInterval1   = 10 * time.Second // version 1
	maxQueriedSources      = 64
	maxResponseLongest     = time.Hour
	mldHopLimit            = 1
	reportRecordSize       = 20 // without sources
	reportHeadersSize      = header.IPv6Size + header.IPv6ExtensionMinimumSize + header.MLDv2ReportSize
	recordsPerMinimumMTU   = (header.IPv6MinimumMTU - reportHeadersSize) / reportRecordSize
	maxMulticastRobustness = 7
)

// listener is a NIC as a listener to groups. The NIC takes packets from all sources, so that every
// membership is EXCLUDE of no sources in the terms of RFC 3810 section 4; who wants some sources
// only filters in the socket.
type listener struct {
	groups []groupState
	// general is when a general query is to be answered, and changes when the reports of
	// changes are to be sent (again).
	general, changes time.Duration
	// old is until when the link's querier is one of version 1 (RFC 3810 section 8.2.1); 0: it
	// is not.
	old time.Duration
	// robustness and interval are the querier's (section 9.1 and 9.2).
	robustness int
	interval   time.Duration
}

// groupState is a group that the NIC is in, or was in until the last report of that is sent.
type groupState struct {
	group  netip.Addr
	joined bool
	// changes is how many reports of the last change are still to be sent.
	changes int
	// response is when a query for this group is to be answered: about sources, or about the
	// group if there are none.
	response time.Duration
	sources  []netip.Addr
	// last: of all on the link, we sent the last report of version 1.
	last bool
}

// reset sets what a link without a querier has. Groups stay.
func (l *listener) reset() {
	l.general, l.changes, l.old = never, never, 0
	l.robustness, l.interval = defaultRobustness, defaultQueryInterval
}

// reported says whether membership of a group is told to anybody (RFC 3810 section 6, RFC 2710
// section 5): not of all nodes, nor what stays inside of this node.
func reported(group netip.Addr) bool {
	return group != header.IPv6AllNodes && group.As16()[1]&0xf > 1
}

// JoinGroup implements stack.InternetEndpoint.
func (e *endpoint) JoinGroup(group netip.Addr) { e.membership(group, true) }

// LeaveGroup implements stack.InternetEndpoint.
func (e *endpoint) LeaveGroup(group netip.Addr) { e.membership(group, false) }

func (e *endpoint) membership(group netip.Addr, joined bool) {
	if e.loopback || !group.Is6() || !reported(group) {
		return
	}
	e.change(func() {
		l := &e.mld
		i := slices.IndexFunc(l.groups, func(g groupState) bool { return g.group == group })
		if i < 0 {
			if !joined {
				return
			}
			l.groups = append(l.groups, groupState{group: group, response: never})
			i = len(l.groups) - 1
		}
		g := &l.groups[i]
		if g.joined == joined {
			return
		}
		g.joined = joined
		g.response, g.sources = never, nil
		if !e.listening() {
			e.forgetLeft()
			return
		}
		now := e.now()
		if l.isOld(now) {
			e.changed1(g, now)
			e.forgetLeft()
			return
		}
		g.changes = l.robustness
		e.sendChanges(now)
	})
}

// listening says whether reports are sent. e.mu is held.
func (e *endpoint) listening() bool {
	return e.up.Load() && !e.stack.Settings().IPv6Disabled.Load()
}

// isOld says whether version 1 is spoken, and ends that when its time is over.
func (l *listener) isOld(now time.Duration) bool {
	if l.old != 0 && l.old <= now {
		l.old = 0
	}
	return l.old != 0
}

// startListener reports all groups when the NIC comes up. e.mu is held.
func (e *endpoint) startListener() {
	any := false
	for i := range e.mld.groups {
		g := &e.mld.groups[i]
		if g.changes == 0 {
			g.changes, any = e.mld.robustness, true
		}
	}
	if any {
		e.sendChanges(e.now())
	}
}

// stopListener forgets the querier and what was to be reported. e.mu is held.
func (e *endpoint) stopListener() {
	e.mld.reset()
	e.mld.cancel()
	e.forgetLeft()
}

// cancel drops everything that is to be sent.
func (l *listener) cancel() {
	l.general, l.changes = never, never
	for i := range l.groups {
		g := &l.groups[i]
		g.response, g.sources, g.changes = never, nil, 0
	}
}

// forgetLeft drops the groups that were left and need no report of it any more. e.mu is held.
func (e *endpoint) forgetLeft() {
	e.mld.groups = slices.DeleteFunc(e.mld.groups, func(g groupState) bool { return !g.joined && g.changes == 0 })
}

// sendChanges reports those changes that were not reported often enough, all in one (RFC 3810
// section 6.1). e.mu is held.
func (e *endpoint) sendChanges(now time.Duration) {
	l := &e.mld
	var records []header.GroupRecord
	l.changes = never
	for i := range l.groups {
		g := &l.groups[i]
		if g.changes == 0 {
			continue
		}
		g.changes--
		t := uint8(header.GroupChangeToExclude)
		if !g.joined {
			t = header.GroupChangeToInclude
		}
		records = append(records, header.GroupRecord{Type: t, Group: g.group})
		if g.changes > 0 {
			l.changes = now + e.random(unsolicitedInterval)
		}
	}
	e.forgetLeft()
	e.later(func() { e.sendRecords(records) })
}

// sendRecords sends reports of version 2, as many as the records need.
func (e *endpoint) sendRecords(records []header.GroupRecord) {
	for len(records) > 0 {
		n, size := 0, 0
		for n < len(records) && n < recordsPerMinimumMTU {
			s := reportRecordSize + 16*len(records[n].Sources)
			if n > 0 && size+s > header.IPv6MinimumMTU-reportHeadersSize {
				break
			}
			size += s
			n++
		}
		b := make([]byte, header.MLDv2ReportLength(records[:n]))
		header.MLDv2Report(b).Encode(records[:n])
		e.sendMLD(header.IPv6MLDv2Routers, b)
		records = records[n:]
	}
}

// sendMLD sends an MLD message: from a link-local address, or from none while there is none (RFC
// 3590 section 4), so that switches learn where solicited-node groups are needed.
func (e *endpoint) sendMLD(to netip.Addr, b []byte) {
	src := e.linkLocalSource()
	if !src.IsValid() {
		src = header.IPv6Any
	}
	e.send(message{src: src, dst: to, hopLimit: mldHopLimit, routerAlert: true, b: b})
}

// changed1 reports a change to a querier of version 1 (RFC 2710 section 4). e.mu is held.
func (e *endpoint) changed1(g *groupState, now time.Duration) {
	group := g.group
	g.changes = 0
	if g.joined {
		g.last = true
		g.response = now + e.random(unsolicitedInterval1)
		e.later(func() { e.sendMLD1(header.ICMPv6MLDReport, group, group) })
		return
	}
	if g.last {
		e.later(func() { e.sendMLD1(header.ICMPv6MLDDone, group, header.IPv6AllRouters) })
	}
}

func (e *endpoint) sendMLD1(t uint8, group, to netip.Addr) {
	var b [header.MLDSize]byte
	header.MLD(b[:]).Encode(header.MLDFields{Type: t, Group: group})
	e.sendMLD(to, b[:])
}

// handleMLD takes a message of multicast listener discovery whose checksum is right. routerAlert
// says that it had that option.
func (e *endpoint) handleMLD(pkt *buffer.Packet, routerAlert bool) {
	b, _ := pkt.Peek(pkt.Len())
	// RFC 2710 section 5, RFC 3810 sections 5.1.14 and 6.2.
	if !header.MLD(b).Valid() || pkt.TTL != mldHopLimit || !routerAlert || !pkt.Source.IsLinkLocalUnicast() {
		e.stack.Stats().ICMP6.InErrors.Inc()
		return
	}
	if e.loopback || !e.listening() || e.nic.HasAddress(pkt.Source) {
		return
	}
	h := header.MLD(b)
	switch b[0] {
	case header.ICMPv6MLDReport:
		e.change(func() { e.heardReport(h.Group()) })
	case header.ICMPv6MLDQuery:
		group := h.Group()
		if !group.IsUnspecified() && (!group.IsMulticast() || pkt.Destination.IsMulticast() &&
			pkt.Destination != group && pkt.Destination != header.IPv6AllNodes) {
			e.stack.Stats().ICMP6.InErrors.Inc()
			return
		}
		switch h.QueryVersion() {
		case 1:
			e.change(func() { e.query1(h) })
		case 2:
			if q := header.MLDv2Query(b); q.Valid() {
				e.change(func() { e.query2(q) })
			}
		}
	}
}

// heardReport suppresses our own report of version 1, since one is enough (RFC 2710 section 4).
// e.mu is held.
func (e *endpoint) heardReport(group netip.Addr) {
	if !e.mld.isOld(e.now()) {
		return
	}
	for i := range e.mld.groups {
		if g := &e.mld.groups[i]; g.group == group && g.response != never {
			g.response, g.sources, g.last = never, nil, false
		}
	}
}

// query1 takes a query of version 1 (RFC 2710 section 4, RFC 3810 section 8.2.1). e.mu is held.
func (e *endpoint) query1(h header.MLD) {
	now := e.now()
	l := &e.mld
	if !l.isOld(now) {
		l.cancel()
		e.forgetLeft()
	}
	// RFC 3810 section 9.12.
	l.old = now + time.Duration(l.robustness)*l.interval + h.MaxResponseTime()
	for i := range l.groups {
		g := &l.groups[i]
		if h.Group().IsUnspecified() || h.Group() == g.group {
			g.response = min(g.response, now+e.random(h.MaxResponseTime()))
		}
	}
}

// query2 takes a query of version 2 (RFC 3810 section 6.2). e.mu is held.
func (e *endpoint) query2(q header.MLDv2Query) {
	now := e.now()
	l := &e.mld
	if q.Robustness() != 0 {
		l.robustness = int(q.Robustness())
	}
	if q.Interval() != 0 {
		l.interval = q.Interval()
	}
	due := now + e.random(min(q.MaxResponseTime(), maxResponseLongest))
	if l.isOld(now) {
		// The host stays in its old mode until the time is over (section 8.2.1); a query is
		// a query.
		for i := range l.groups {
			if g := &l.groups[i]; q.Group().IsUnspecified() || q.Group() == g.group {
				g.response = min(g.response, due)
			}
		}
		return
	}
	if l.general <= due {
		return // 1: all will be told before
	}
	if q.Group().IsUnspecified() {
		l.general = due // 2
		return
	}
	i := slices.IndexFunc(l.groups, func(g groupState) bool { return g.group == q.Group() && g.joined })
	if i < 0 {
		return
	}
	g := &l.groups[i]
	switch {
	case g.response == never: // 3
		g.sources = nil
		e.addSources(g, q)
	case q.Count() == 0 || len(g.sources) == 0: // 4
		g.sources = nil
	default: // 5
		e.addSources(g, q)
	}
	g.response = min(g.response, due)
}

// addSources adds those asked for to the ones that will be answered for. Too many make it an answer
// for the group, which says more.
func (e *endpoint) addSources(g *groupState, q header.MLDv2Query) {
	for i := range q.Count() {
		a := q.Source(i)
		if slices.Contains(g.sources, a) {
			continue
		}
		if len(g.sources) >= maxQueriedSources {
			g.sources = nil
			return
		}
		g.sources = append(g.sources, a)
	}
}

// next is when tickListener has something to do.
func (l *listener) next() time.Duration {
	due := min(l.general, l.changes)
	for i := range l.groups {
		due = min(due, l.groups[i].response)
	}
	return due
}

// tickListener sends the reports that are due. e.mu is held.
func (e *endpoint) tickListener(now time.Duration) {
	l := &e.mld
	old := l.isOld(now)
	if l.changes <= now {
		e.sendChanges(now)
	}
	var records []header.GroupRecord
	general := l.general <= now
	if general {
		l.general = never
	}
	for i := range l.groups {
		g := &l.groups[i]
		due := g.response <= now
		if !g.joined || !due && !general {
			continue
		}
		if due {
			g.response = never
		}
		if old {
			g.last = true
			group := g.group
			e.later(func() { e.sendMLD1(header.ICMPv6MLDReport, group, group) })
			continue
		}
		r := header.GroupRecord{Type: header.GroupModeIsExclude, Group: g.group}
		if due && !general && len(g.sources) > 0 {
			// Section 6.3: of those asked for, the ones that are not excluded.
			r.Type, r.Sources = header.GroupModeIsInclude, g.sources
		}
		if due {
			g.sources = nil
		}
		records = append(records, r)
	}
	if len(records) > 0 {
		e.later(func() { e.sendRecords(records) })
	}
}
