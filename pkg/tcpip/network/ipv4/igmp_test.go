package ipv4_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/stack"
)

var (
	groupA = netip.MustParseAddr("239.1.1.1")
	groupB = netip.MustParseAddr("239.1.1.2")
)

// reports returns what IGMP sent since the last call, in words, having checked the rest of the
// packets.
func (w *world) reports() []string {
	w.t.Helper()
	var list []string
	for _, h := range w.take() {
		m := header.IGMP(h.Payload())
		if h.Protocol() != header.ProtocolIGMP || h.TTL() != 1 || h.TOS() != 0xc0 || !slices.Equal(h.Options(), []byte{148, 4, 0, 0}) ||
			!checksum.OK(checksum.Sum(m, 0)) {
			w.t.Fatalf("%x", []byte(h))
		}
		s := ""
		switch m.Type() {
		case header.IGMPTypeReportV3:
			if h.Destination() != header.IPv4IGMPv3Routers || !header.IGMPv3Report(m).Valid() {
				w.t.Errorf("%x", []byte(h))
			}
			s = "v3"
			for r := header.IGMPv3Report(m).Records(); r.Next(); {
				s += fmt.Sprintf(" %s %v", map[uint8]string{2: "is", 3: "leave", 4: "join"}[r.Type], r.Group)
			}
		case header.IGMPTypeReportV1, header.IGMPTypeReportV2:
			s = fmt.Sprintf("v%d %v", map[uint8]int{header.IGMPTypeReportV1: 1, header.IGMPTypeReportV2: 2}[m.Type()], m.Group())
			if h.Destination() != m.Group() {
				w.t.Errorf("%s to %v", s, h.Destination())
			}
		case header.IGMPTypeLeave:
			s = fmt.Sprintf("leave %v", m.Group())
			if h.Destination() != header.IPv4AllRouters {
				w.t.Errorf("%s to %v", s, h.Destination())
			}
		}
		list = append(list, s)
	}
	return list
}

func (w *world) wantReports(what string, want ...string) {
	w.t.Helper()
	if got := w.reports(); !slices.Equal(got, want) {
		w.t.Errorf("%s: %q, want %q", what, got, want)
	}
}

// query injects a query of a version for group; not valid: a general one. response is in tenths
// of a second.
func (w *world) query(version int, group netip.Addr, response uint8) {
	dst := group
	if !group.IsValid() {
		dst = header.IPv4AllSystems
	}
	b := make([]byte, header.IGMPSize)
	switch version {
	case 3:
		b = make([]byte, header.IGMPv3QuerySize)
		header.IGMPv3Query(b).Encode(header.GroupQueryFields{MaxResponse: time.Duration(response) * 100 * time.Millisecond, Group: group})
	case 2:
		header.IGMP(b).Encode(header.IGMPFields{Type: header.IGMPTypeQuery, MaxResponse: response, Group: group})
	case 1:
		header.IGMP(b).Encode(header.IGMPFields{Type: header.IGMPTypeQuery, Group: group})
	}
	header.IGMP(b).SetChecksum(0)
	w.inject(header.IPv4Fields{Protocol: header.ProtocolIGMP, Source: gateway, Destination: dst, TTL: 1}, b)
}

func (w *world) report(version uint8, group netip.Addr) {
	b := make([]byte, header.IGMPSize)
	header.IGMP(b).Encode(header.IGMPFields{Type: version, Group: group})
	header.IGMP(b).SetChecksum(0)
	w.inject(header.IPv4Fields{Protocol: header.ProtocolIGMP, Source: peer, Destination: group, TTL: 1}, b)
}

func TestJoiningAndLeavingIsReported(t *testing.T) {
	w := newWorld(t, capture.Options{})
	w.wantReports("all systems is not reported")
	w.nic.JoinGroup(groupA)
	w.wantReports("join", "v3 join 239.1.1.1")
	w.nic.JoinGroup(groupA)
	w.wantReports("a second member")
	w.clock.Advance(time.Second)
	w.wantReports("once more within a second", "v3 join 239.1.1.1")
	w.clock.Advance(time.Hour)
	w.wantReports("no more")
	w.nic.LeaveGroup(groupA)
	w.wantReports("one member left")
	w.nic.LeaveGroup(groupA)
	w.wantReports("leave", "v3 leave 239.1.1.1")
	w.nic.JoinGroup(groupB)
	w.wantReports("both changes", "v3 leave 239.1.1.1 join 239.1.1.2")
	w.clock.Advance(time.Second)
	w.wantReports("once more", "v3 join 239.1.1.2")
	w.nic.LeaveGroup(groupB)
	w.nic.JoinGroup(groupB)
	w.wantReports("left and joined at once", "v3 leave 239.1.1.2", "v3 join 239.1.1.2")
	w.clock.Advance(time.Second)
	w.wantReports("joined at last", "v3 join 239.1.1.2")
	if w.clock.Pending() != 0 {
		t.Error("a timer runs for nothing")
	}
	// Down and up.
	w.nic.SetUp(false)
	w.wantReports("down")
	w.nic.JoinGroup(groupA)
	w.nic.LeaveGroup(groupB)
	w.wantReports("changes while it is down")
	w.nic.SetUp(true)
	w.wantReports("up", "v3 join 239.1.1.1")
	w.clock.Advance(time.Second)
	w.wantReports("up, once more", "v3 join 239.1.1.1")
	// lo has no routers.
	w.lo.JoinGroup(groupA)
	w.lo.LeaveGroup(groupA)
	if w.clock.Pending() != 0 {
		t.Error("a timer runs for lo")
	}
}

func TestReportsWithoutAnAddress(t *testing.T) {
	w := newWorld(t, capture.Options{})
	w.nic.RemoveAddress(netip.MustParsePrefix("192.0.2.1/24"))
	w.nic.JoinGroup(groupA)
	if h := w.one(); h.Source() != header.IPv4Any || h.Destination() != header.IPv4IGMPv3Routers {
		t.Errorf("%x", []byte(h))
	}
}

func TestManyGroupsTakeSeveralReports(t *testing.T) {
	w := newWorld(t, capture.Options{MTU: 68})
	for i := range 10 {
		w.nic.JoinGroup(netip.AddrFrom4([4]byte{239, 2, 0, byte(i)}))
	}
	w.clock.Advance(time.Second)
	w.take()
	w.query(3, netip.Addr{}, 10)
	w.clock.Advance(time.Second)
	n := 0
	for _, h := range w.take() {
		if len(h) > 68 {
			t.Errorf("a report of %d bytes", len(h))
		}
		for r := header.IGMPv3Report(h.Payload()).Records(); r.Next(); n++ {
			if r.Group != netip.AddrFrom4([4]byte{239, 2, 0, byte(n)}) {
				t.Errorf("group %d is %v", n, r.Group)
			}
		}
	}
	if n != 10 {
		t.Errorf("%d groups were reported", n)
	}
}

func TestQueriesOfVersion3(t *testing.T) {
	w := newWorld(t, capture.Options{})
	w.nic.JoinGroup(groupA)
	w.nic.JoinGroup(groupB)
	w.clock.Advance(time.Hour)
	w.take()
	w.query(3, netip.Addr{}, 100)
	w.wantReports("not at once")
	w.clock.Advance(10 * time.Second)
	w.wantReports("general", "v3 is 239.1.1.1 is 239.1.1.2")
	w.query(3, groupB, 10)
	w.query(3, groupB, 10)
	w.clock.Advance(time.Second)
	w.wantReports("of a group", "v3 is 239.1.1.2")
	w.query(3, netip.MustParseAddr("239.9.9.9"), 10)
	w.query(3, header.IPv4AllSystems, 10)
	w.clock.Advance(time.Minute)
	w.wantReports("of groups that we do not report")
	// Of a group while a general one is pending: both are answered, at the latest by the earlier.
	w.query(3, netip.Addr{}, 200)
	w.query(3, groupA, 1)
	w.clock.Advance(100 * time.Millisecond)
	w.wantReports("the urgent one", "v3 is 239.1.1.1")
	w.clock.Advance(30 * time.Second)
	w.wantReports("and the general one", "v3 is 239.1.1.1 is 239.1.1.2")
	// Another member's report does not matter.
	w.query(3, groupA, 10)
	w.report(header.IGMPTypeReportV2, groupA)
	w.clock.Advance(time.Second)
	w.wantReports("in spite of a report", "v3 is 239.1.1.1")
	if w.clock.Pending() != 0 {
		t.Error("a timer runs for nothing")
	}
}

func TestQueriersOfVersion2(t *testing.T) {
	w := newWorld(t, capture.Options{})
	w.nic.JoinGroup(groupA)
	w.clock.Advance(time.Hour)
	w.take()
	w.query(2, netip.Addr{}, 50)
	w.wantReports("not at once")
	w.clock.Advance(5 * time.Second)
	w.wantReports("general", "v2 239.1.1.1")
	w.nic.JoinGroup(groupB)
	w.wantReports("join", "v2 239.1.1.2")
	w.clock.Advance(10 * time.Second)
	w.wantReports("once more within ten seconds", "v2 239.1.1.2")
	w.query(2, groupB, 10)
	w.report(header.IGMPTypeReportV2, groupB)
	w.clock.Advance(time.Minute)
	w.wantReports("another member answers")
	w.nic.LeaveGroup(groupB)
	w.wantReports("leave: the other one was the last to report")
	w.nic.LeaveGroup(groupA)
	w.wantReports("leave", "leave 239.1.1.1")
	// 260 seconds after its last query version 3 is spoken again.
	w.clock.Advance(260*time.Second - 15*time.Second - time.Minute - time.Second)
	w.nic.JoinGroup(groupA)
	w.wantReports("still", "v2 239.1.1.1")
	w.query(3, netip.Addr{}, 10) // in vain as long as there is a querier of version 2
	w.clock.Advance(10 * time.Second)
	if got := w.reports(); len(got) == 0 || got[0] != "v2 239.1.1.1" {
		t.Errorf("a query of version 3 is answered with %q", got)
	}
	w.clock.Advance(260 * time.Second)
	w.take()
	w.nic.JoinGroup(groupB)
	w.wantReports("again", "v3 join 239.1.1.2")
}

func TestQueriersOfVersion1(t *testing.T) {
	w := newWorld(t, capture.Options{})
	w.nic.JoinGroup(groupA)
	w.clock.Advance(time.Hour)
	w.take()
	w.query(1, netip.Addr{}, 0)
	w.clock.Advance(10 * time.Second)
	w.wantReports("general", "v1 239.1.1.1")
	w.query(2, netip.Addr{}, 10)
	w.clock.Advance(time.Second)
	w.wantReports("the oldest version counts", "v1 239.1.1.1")
	w.nic.LeaveGroup(groupA)
	w.wantReports("version 1 has no leaving")
}

func TestAQuerierAppearsInTheMiddle(t *testing.T) {
	w := newWorld(t, capture.Options{})
	w.nic.JoinGroup(groupA)
	w.wantReports("join", "v3 join 239.1.1.1")
	w.query(2, groupA, 100)
	w.clock.Advance(10 * time.Second)
	w.wantReports("the repetition is of its version", "v2 239.1.1.1")
	// Down, it is forgotten; up with it, all is reported by its version.
	w.nic.JoinGroup(groupB)
	w.nic.SetUp(false)
	w.nic.SetUp(true)
	w.take()
	w.query(2, netip.Addr{}, 10)
	w.clock.Advance(20 * time.Second)
	for _, s := range w.reports() {
		if s != "v2 239.1.1.1" && s != "v2 239.1.1.2" {
			t.Errorf("%q", s)
		}
	}
}

func TestMessagesThatAreIgnored(t *testing.T) {
	w := newWorld(t, capture.Options{})
	w.nic.JoinGroup(groupA)
	w.clock.Advance(time.Hour)
	w.take()
	query := make([]byte, header.IGMPv3QuerySize)
	header.IGMPv3Query(query).Encode(header.GroupQueryFields{MaxResponse: time.Second})
	f := header.IPv4Fields{Protocol: header.ProtocolIGMP, Source: gateway, Destination: header.IPv4AllSystems, TTL: 1}
	send := func(b []byte, sum bool) {
		b = slices.Clone(b)
		if sum {
			header.IGMP(b).SetChecksum(0)
		}
		w.inject(f, b)
	}
	send(query, false)    // checksum
	send(query[:9], true) // of no version
	send(query[:4], true) // short
	w.inject(f, nil)      // empty
	query[11] = 5         // sources that are not there
	send(query, true)
	query[11], query[0] = 0, 0x99 // another type
	send(query, true)
	query[0] = header.IGMPTypeQuery
	f.Destination = us // general queries go to all systems
	send(query, true)
	w.clock.Advance(time.Hour)
	w.wantReports("nothing")
	f.Destination = header.IPv4AllSystems
	send(query, true)
	w.clock.Advance(time.Second)
	w.wantReports("the good one", "v3 is 239.1.1.1")
	// While it is down queries do not come; on lo they do not count.
	w.nic.SetUp(false)
	w.nic.Endpoint(header.EtherTypeIPv4).(stack.InternetEndpoint).LeaveGroup(groupB) // no member
	if w.clock.Pending() != 0 {
		t.Error("a timer runs for an interface that is down")
	}
}
