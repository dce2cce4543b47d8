package ipv4

import (
	"net/netip"
	"slices"
	"sync"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// Times and counts of IGMP (RFC 3376 section 8, RFC 2236 section 8).
const (
	igmpRobustness    = 2
	igmpQueryInterval = 125 * time.Second
	// igmpOldQuerier is how long a querier of an older version is remembered: robustness times
	// query interval and a response interval of 10 s (RFC 3376 section 8.12).
	igmpOldQuerier = igmpRobustness*igmpQueryInterval + 10*time.Second
	// Within these times the repetition of an unsolicited report follows it.
	igmpUnsolicitedV3 = time.Second
	igmpUnsolicitedV2 = 10 * time.Second
	// igmpV1Response is within which time queries of version 1 are answered.
	igmpV1Response = 10 * time.Second
)

// membership is the host's part of IGMP on an interface (RFC 3376 section 5, with the host's part
// of section 7 for older queriers). To the router, a membership is always of all sources (EXCLUDE
// of none): which sources a socket wants, the socket knows. A query about sources is therefore
// answered like one about their group.
type membership struct {
	e *endpoint

	mu      sync.Mutex // guards the fields below
	enabled bool
	groups  map[netip.Addr]*group
	// leaving are groups that were left and whose change is still to be reported, with how
	// often.
	leaving map[netip.Addr]int
	// v1Until and v2Until are when queriers of these versions are forgotten.
	v1Until, v2Until time.Duration
	// general is when a general query of version 3 is to be answered, change when the
	// pending changes are to be reported (again); 0: there is nothing to do.
	general, change time.Duration
	timer           tcpip.Timer `state:"nosave"`
	deadline        time.Duration
}

// group is a group that the interface is a member of.
type group struct {
	// changes is how often the change is still to be reported.
	changes int
	// report is when a report is due as the answer to a query (or, with an older querier,
	// as a repetition); 0: none.
	report time.Duration
	// reporter: this host was the last to report the group, and says so when it leaves (RFC
	// 2236 section 6).
	reporter bool
}

func (m *membership) init(e *endpoint) {
	m.e, m.groups, m.leaving = e, map[netip.Addr]*group{}, map[netip.Addr]int{}
}

// reported says whether routers are told of the group (RFC 3376 section 5, RFC 2236 section 6).
func reported(a netip.Addr) bool { return a != header.IPv4AllSystems }

func (m *membership) now() time.Duration { return m.e.stack.Clock().Monotonic() }

// within is a random moment of the next d.
func (m *membership) within(d time.Duration) time.Duration {
	return m.now() + 1 + time.Duration(m.e.stack.Random()%uint64(max(d, 1)))
}

// version is that of the oldest querier on the link (RFC 3376 section 7.2.1). m.mu is held.
func (m *membership) version() int {
	switch now := m.now(); {
	case now < m.v1Until:
		return 1
	case now < m.v2Until:
		return 2
	}
	return 3
}

// message is a message to be sent when no lock is held.
type message struct {
	to      netip.Addr
	records []header.GroupRecord // of a report of version 3
	fields  header.IGMPFields    // of another message
}

// JoinGroup implements stack.InternetEndpoint.
func (e *endpoint) JoinGroup(a netip.Addr) {
	m := &e.groups
	if e.nic.IsLoopback() || !reported(a) {
		return
	}
	m.mu.Lock()
	g := &group{changes: igmpRobustness}
	m.groups[a] = g
	delete(m.leaving, a)
	out := m.join(a, g)
	m.arm()
	m.mu.Unlock()
	m.send(out)
}

// join reports a new membership, now and once more later. m.mu is held.
func (m *membership) join(a netip.Addr, g *group) []message {
	if !m.enabled {
		return nil
	}
	if m.version() == 3 {
		return m.reportChanges()
	}
	g.changes, g.reporter = 0, true
	g.report = m.within(igmpUnsolicitedV2)
	return []message{m.oldReport(a)}
}

// LeaveGroup implements stack.InternetEndpoint.
func (e *endpoint) LeaveGroup(a netip.Addr) {
	m := &e.groups
	m.mu.Lock()
	g := m.groups[a]
	if g == nil {
		m.mu.Unlock()
		return
	}
	delete(m.groups, a)
	var out []message
	if m.enabled {
		switch m.version() {
		case 3:
			m.leaving[a] = igmpRobustness
			out = m.reportChanges()
		case 2:
			if g.reporter {
				out = []message{{to: header.IPv4AllRouters, fields: header.IGMPFields{Type: header.IGMPTypeLeave, Group: a}}}
			}
		}
	}
	m.arm()
	m.mu.Unlock()
	m.send(out)
}

// enable reports all memberships: the interface is up.
func (m *membership) enable() {
	m.mu.Lock()
	m.enabled = true
	var out []message
	for a, g := range m.groups {
		g.changes = igmpRobustness
		if m.version() != 3 {
			out = append(out, m.join(a, g)...)
		}
	}
	if len(m.groups) > 0 && m.version() == 3 {
		out = m.reportChanges()
	}
	m.arm()
	m.mu.Unlock()
	m.send(out)
}

// disable forgets what is to be sent: the interface is down.
func (m *membership) disable() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.enabled = false
	m.v1Until, m.v2Until, m.general, m.change = 0, 0, 0, 0
	clear(m.leaving)
	for _, g := range m.groups {
		g.changes, g.report, g.reporter = 0, 0, false
	}
	m.arm()
}

// oldReport is a report of version 1 or 2. m.mu is held.
func (m *membership) oldReport(a netip.Addr) message {
	t := uint8(header.IGMPTypeReportV2)
	if m.version() == 1 {
		t = header.IGMPTypeReportV1
	}
	return message{to: a, fields: header.IGMPFields{Type: t, Group: a}}
}

// reportChanges is a report of all changes that are to be told (RFC 3376 section 5.1), and sets
// when it is to be repeated. m.mu is held.
func (m *membership) reportChanges() []message {
	var records []header.GroupRecord
	m.change = 0
	for a, g := range m.groups {
		if g.changes == 0 {
			continue
		}
		records = append(records, header.GroupRecord{Type: header.GroupChangeToExclude, Group: a})
		if g.changes--; g.changes > 0 {
			m.change = 1
		}
	}
	for a, n := range m.leaving {
		records = append(records, header.GroupRecord{Type: header.GroupChangeToInclude, Group: a})
		if n--; n > 0 {
			m.leaving[a] = n
			m.change = 1
		} else {
			delete(m.leaving, a)
		}
	}
	if m.change != 0 {
		m.change = m.within(igmpUnsolicitedV3)
	}
	return m.reports(records)
}

// reports puts records into as many reports as it takes, in order of groups.
func (m *membership) reports(records []header.GroupRecord) []message {
	slices.SortFunc(records, func(a, b header.GroupRecord) int { return a.Group.Compare(b.Group) })
	// Records without sources have 8 bytes.
	most := max(1, (int(m.e.nic.MTU())-header.IPv4MinimumSize-header.IPv4RouterAlertSize-header.IGMPv3ReportSize)/8)
	var out []message
	for len(records) > 0 {
		n := min(len(records), most)
		out = append(out, message{to: header.IPv4IGMPv3Routers, records: records[:n]})
		records = records[n:]
	}
	return out
}

// send sends messages. No lock is held.
func (m *membership) send(list []message) {
	e := m.e
	for _, msg := range list {
		source := e.nic.SourceFor(msg.to)
		if !source.IsValid() {
			source = header.IPv4Any // RFC 3376 section 4.2.13
		}
		r, err := e.stack.FindRoute(stack.RouteQuery{Destination: msg.to, Source: source, NIC: e.nic.ID(), AnySource: true})
		if err != nil {
			continue
		}
		n := header.IGMPSize
		if msg.records != nil {
			n = header.IGMPv3ReportLength(msg.records)
		}
		v := buffer.NewView(n)
		if msg.records != nil {
			header.IGMPv3Report(v.Bytes()).Encode(msg.records)
		} else {
			header.IGMP(v.Bytes()).Encode(msg.fields)
		}
		header.IGMP(v.Bytes()).SetChecksum(0)
		r.WritePacket(stack.NetworkParams{Transport: header.ProtocolIGMP, TTL: 1, TOS: tosError, RouterAlert: true, NoMulticastLoop: true}, buffer.NewWith(v))
	}
}

// handle takes a message, which it only looks at.
func (m *membership) handle(pkt *buffer.Packet) {
	b, ok := pkt.Peek(pkt.Len())
	if !ok || m.e.nic.IsLoopback() {
		return
	}
	h := header.IGMP(b)
	if !h.Valid() || pkt.Checksum == buffer.ChecksumUnknown && !h.ChecksumOK(0) {
		return
	}
	switch h.Type() {
	case header.IGMPTypeQuery:
		m.handleQuery(h, pkt.Destination)
	case header.IGMPTypeReportV1, header.IGMPTypeReportV2:
		m.handleReport(h.Group())
	}
}

// handleReport: another member spoke first (RFC 2236 section 3); with a querier of version 3 that
// does not matter (RFC 3376 section 7.2.2 has no suppression then).
func (m *membership) handleReport(a netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g := m.groups[a]; g != nil && m.version() != 3 {
		g.report, g.reporter = 0, false
		m.arm()
	}
}

// handleQuery sets when to answer (RFC 3376 section 5.2, RFC 2236 section 3).
func (m *membership) handleQuery(h header.IGMP, dst netip.Addr) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.enabled {
		return
	}
	var response time.Duration
	a := h.Group()
	version := h.QueryVersion()
	switch version {
	case 1:
		m.v1Until = m.now() + igmpOldQuerier
		response, a = igmpV1Response, header.IPv4Any
	case 2:
		m.v2Until = m.now() + igmpOldQuerier
		response = h.MaxResponseTime()
	case 3:
		q := header.IGMPv3Query(h)
		if !q.Valid() {
			return
		}
		response = q.MaxResponseTime()
	default:
		return
	}
	if version != 3 || m.version() != 3 {
		m.cancelChanges()
	}
	if a.IsUnspecified() && dst != header.IPv4AllSystems && version != 1 {
		return // general queries go to all systems (RFC 3376 section 9.1)
	}
	switch g := m.groups[a]; {
	case a.IsUnspecified() && m.version() == 3:
		m.general = earlier(m.general, m.within(response))
	case a.IsUnspecified():
		for _, g := range m.groups {
			g.report = earlier(g.report, m.within(response))
		}
	case g != nil:
		g.report = earlier(g.report, m.within(response))
	}
	m.arm()
}

// cancelChanges drops what is meant for a querier of version 3 (RFC 3376 section 7.2.1). m.mu is
// held.
func (m *membership) cancelChanges() {
	if m.version() == 3 {
		return
	}
	m.general, m.change = 0, 0
	clear(m.leaving)
	for _, g := range m.groups {
		if g.changes > 0 {
			g.changes, g.reporter = 0, true
			g.report = earlier(g.report, m.within(igmpUnsolicitedV2))
		}
	}
}

// earlier is the earlier of a moment, if there is one, and another.
func earlier(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// arm sets the timer for what is due next. m.mu is held.
func (m *membership) arm() {
	next := time.Duration(0)
	due := func(t time.Duration) {
		if t != 0 {
			next = earlier(next, t)
		}
	}
	if m.enabled {
		due(m.general)
		due(m.change)
		for _, g := range m.groups {
			due(g.report)
		}
	}
	if next == m.deadline {
		return
	}
	m.deadline = next
	switch {
	case next == 0:
		m.timer.Stop()
	case m.timer == nil:
		m.timer = m.e.stack.Clock().AfterFunc(next-m.now(), m.expire)
	default:
		m.timer.Reset(next - m.now())
	}
}

// expire sends what is due.
func (m *membership) expire() {
	m.mu.Lock()
	now := m.now()
	if m.deadline == 0 || now < m.deadline {
		m.mu.Unlock() // it was set anew meanwhile
		return
	}
	m.deadline = 0
	var out []message
	v3 := m.version() == 3
	var records []header.GroupRecord
	for a, g := range m.groups {
		all := m.general != 0 && m.general <= now
		if due := g.report != 0 && g.report <= now; !due && !all {
			continue
		}
		g.report = 0
		if v3 {
			records = append(records, header.GroupRecord{Type: header.GroupModeIsExclude, Group: a})
		} else {
			g.reporter = true
			out = append(out, m.oldReport(a))
		}
	}
	if m.general <= now {
		m.general = 0
	}
	out = append(out, m.reports(records)...)
	if m.change != 0 && m.change <= now {
		out = append(out, m.reportChanges()...)
	}
	m.arm()
	m.mu.Unlock()
	m.send(out)
}
