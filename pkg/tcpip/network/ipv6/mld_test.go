package ipv6

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"runsc/pkg/tcpip/header"
)

var (
	groupA = addr("ff02::aaaa")
	groupB = addr("ff05::bbbb")
)

// mldPacket makes a packet with a message of MLD, with what such packets need.
func mldPacket(src, dst netip.Addr, msg []byte) []byte {
	alert := header.IPv6RouterAlert(header.ProtocolICMPv6)
	return ip(src, dst, header.ProtocolHopByHop, 1, alert[:], icmp(src, dst, msg))
}

func query1(group netip.Addr, response time.Duration) []byte {
	b := make([]byte, header.MLDSize)
	header.MLD(b).Encode(header.MLDFields{Type: header.ICMPv6MLDQuery, MaxResponse: response, Group: group})
	return b
}

func query2(group netip.Addr, response time.Duration, sources ...netip.Addr) []byte {
	f := header.GroupQueryFields{MaxResponse: response, Group: group, Robustness: 2, Interval: 125 * time.Second, Sources: sources}
	b := make([]byte, header.MLDv2QuerySize+16*len(sources))
	header.MLDv2Query(b).Encode(f)
	return b
}

// reports tells what was reported, in order: "toEx(A)", "isIn(A: source …)", "v1(A)", "done(A)".
// Reports of solicited-node groups are left out. What reports have in common is checked.
func (h *host) reports() []string {
	h.t.Helper()
	names := map[netip.Addr]string{groupA: "A", groupB: "B"}
	kinds := map[uint8]string{1: "isIn", 2: "isEx", 3: "toIn", 4: "toEx", 5: "allow", 6: "block"}
	var list []string
	for _, f := range h.take() {
		next, b := f.payload()
		if next != header.ProtocolICMPv6 {
			continue
		}
		to := netip.Addr{}
		switch t := b[0]; t {
		case header.ICMPv6MLDv2Report:
			m := header.MLDv2Report(f.icmp(t))
			if !m.Valid() {
				h.t.Errorf("malformed report %x", []byte(m))
			}
			to = header.IPv6MLDv2Routers
			for w := m.Records(); w.Next(); {
				if names[w.Group] == "" {
					continue
				}
				var s []string
				for i := range w.Count {
					s = append(s, w.Source(i).String())
				}
				x := kinds[w.Type] + "(" + names[w.Group]
				if len(s) > 0 {
					x += ": " + strings.Join(s, " ")
				}
				list = append(list, x+")")
			}
		case header.ICMPv6MLDReport, header.ICMPv6MLDDone:
			m := header.MLD(f.icmp(t))
			to = m.Group()
			kind := "v1"
			if t == header.ICMPv6MLDDone {
				to, kind = header.IPv6AllRouters, "done"
			}
			if names[m.Group()] != "" {
				list = append(list, kind+"("+names[m.Group()]+")")
			}
		default:
			continue
		}
		// RFC 3810 section 5, RFC 2710 section 3.
		alert := header.IPv6RouterAlert(header.ProtocolICMPv6)
		if f.ip().HopLimit() != 1 || f.ip().NextHeader() != header.ProtocolHopByHop || !slices.Equal(f.ip().Payload()[:8], alert[:]) {
			h.t.Errorf("sent %v, hop limit %d, without a router alert", f, f.ip().HopLimit())
		}
		if src := f.ip().Source(); src != ourLL || f.ip().Destination() != to || f.to != header.MulticastLink(to) {
			h.t.Errorf("sent %v, want it to %v", f, to)
		}
	}
	return list
}

func (h *host) expectReports(want ...string) {
	h.t.Helper()
	if got := h.reports(); !slices.Equal(got, want) {
		h.t.Errorf("reported %v, want %v", got, want)
	}
}

func (h *host) join(g netip.Addr) {
	h.t.Helper()
	if err := h.nic.JoinGroup(g); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) leave(g netip.Addr) {
	h.t.Helper()
	if err := h.nic.LeaveGroup(g); err != nil {
		h.t.Fatal(err)
	}
}

// RFC 3810 section 6.1.
func TestReportsOfChanges(t *testing.T) {
	h := newHost(t, hostOptions{})
	h.join(groupA)
	h.expectReports("toEx(A)")
	h.clock.Advance(unsolicitedInterval)
	h.expectReports("toEx(A)") // [Robustness Variable] times in all
	h.clock.Advance(time.Hour)
	h.expectReports()

	h.join(groupA) // a second member
	h.leave(groupA)
	h.clock.Advance(time.Hour)
	h.expectReports()

	h.leave(groupA)
	h.expectReports("toIn(A)")
	h.clock.Advance(unsolicitedInterval)
	h.expectReports("toIn(A)")
	h.clock.Advance(time.Hour)
	h.expectReports()

	// A change before the last one was reported often enough is merged with it.
	h.join(groupA)
	h.expectReports("toEx(A)")
	h.leave(groupA)
	h.expectReports("toIn(A)")
	h.join(groupB)
	h.expectReports("toIn(A)", "toEx(B)")
	h.clock.Advance(time.Hour)
	h.expectReports("toEx(B)")
	if n := len(h.ep.mld.groups); n != 2 { // B and the link-local address's
		t.Errorf("%d groups are remembered", n)
	}
}

// RFC 3810 section 6: what is not reported.
func TestGroupsThatAreNotReported(t *testing.T) {
	h := newHost(t, hostOptions{})
	for _, g := range []string{"ff02::1", "ff01::5", "ff00::5"} {
		h.join(addr(g))
	}
	h.clock.Advance(time.Hour)
	h.none("groups that nobody is told of")
	h.receive(mldPacket(peerLL, header.IPv6AllNodes, query2(header.IPv6Any, time.Second)))
	h.clock.Advance(time.Hour)
	for _, f := range h.take() {
		for w := header.MLDv2Report(f.icmp(header.ICMPv6MLDv2Report)).Records(); w.Next(); {
			if !isSolicitedNode(w.Group) {
				t.Errorf("%v is reported", w.Group)
			}
		}
	}
}

// RFC 3810 section 6.2 and 6.3.
func TestAnswersToQueries(t *testing.T) {
	s1, s2, s3 := addr("2001:db8::a1"), addr("2001:db8::a2"), addr("2001:db8::a3")
	general := func(d time.Duration) []byte {
		return mldPacket(peerLL, header.IPv6AllNodes, query2(header.IPv6Any, d))
	}
	specific := func(g netip.Addr, d time.Duration, s ...netip.Addr) []byte {
		return mldPacket(peerLL, g, query2(g, d, s...))
	}
	edit := func(b []byte, f func(b []byte)) []byte { f(b); return b }
	many := make([]netip.Addr, maxQueriedSources+1)
	for i := range many {
		many[i] = addr(fmt.Sprintf("2001:db8::%x", i+1))
	}
	for _, test := range []struct {
		name    string
		queries [][]byte
		within  time.Duration
		want    []string
	}{
		{"general", [][]byte{general(10 * time.Second)}, 10 * time.Second, []string{"isEx(A)", "isEx(B)"}},
		{"at once", [][]byte{general(0)}, 0, []string{"isEx(A)", "isEx(B)"}},
		{"of a group", [][]byte{specific(groupA, time.Second)}, time.Second, []string{"isEx(A)"}},
		{"of a group that we are not in", [][]byte{specific(addr("ff02::cccc"), time.Second)}, time.Hour, nil},
		{"of a group and sources", [][]byte{specific(groupA, time.Second, s1, s2)}, time.Second, []string{"isIn(A: " + s1.String() + " " + s2.String() + ")"}},
		{"5: sources are added", [][]byte{specific(groupA, time.Second, s1, s2), specific(groupA, time.Second, s2, s3)}, time.Second,
			[]string{"isIn(A: " + s1.String() + " " + s2.String() + " " + s3.String() + ")"}},
		{"4: the group, after sources", [][]byte{specific(groupA, time.Second, s1), specific(groupA, time.Second)}, time.Second, []string{"isEx(A)"}},
		{"4: sources, after the group", [][]byte{specific(groupA, time.Second), specific(groupA, time.Second, s1)}, time.Second, []string{"isEx(A)"}},
		{"1: all is told anyway", [][]byte{general(0), specific(groupA, time.Hour, s1)}, time.Hour, []string{"isEx(A)", "isEx(B)"}},
		{"a general one answers for the group", [][]byte{general(time.Second), general(time.Second)}, time.Second, []string{"isEx(A)", "isEx(B)"}},
		{"more sources than are remembered", [][]byte{specific(groupA, time.Second, many...)}, time.Second, []string{"isEx(A)"}},
		{"5.1.14: hop limit 2", [][]byte{edit(general(time.Second), func(b []byte) { b[7] = 2 })}, time.Hour, nil},
		{"6.2: source is not link-local", [][]byte{mldPacket(peerGlobal, header.IPv6AllNodes, query2(header.IPv6Any, time.Second))}, time.Hour, nil},
		{"6.2: no router alert", [][]byte{ip(peerLL, header.IPv6AllNodes, header.ProtocolICMPv6, 1, icmp(peerLL, header.IPv6AllNodes, query2(header.IPv6Any, 0)))}, time.Hour, nil},
		{"wrong checksum", [][]byte{edit(general(time.Second), func(b []byte) { b[len(b)-1]++ })}, time.Hour, nil},
		{"8.1: 25 to 27 bytes", [][]byte{mldPacket(peerLL, header.IPv6AllNodes, query2(header.IPv6Any, 0)[:26])}, time.Hour, nil},
		{"less than 24 bytes", [][]byte{mldPacket(peerLL, header.IPv6AllNodes, query2(header.IPv6Any, 0)[:20])}, time.Hour, nil},
		{"more sources than there are", [][]byte{mldPacket(peerLL, groupA, edit(query2(groupA, 0, s1), func(b []byte) { b[27] = 9 }))}, time.Hour, nil},
		{"of an address that is no group", [][]byte{mldPacket(peerLL, header.IPv6AllNodes, query2(ourLL, 0))}, time.Hour, nil},
		{"of one group, to another", [][]byte{mldPacket(peerLL, groupB, query2(groupA, 0))}, time.Hour, nil},
		{"of a group, to all nodes", [][]byte{mldPacket(peerLL, header.IPv6AllNodes, query2(groupA, 0))}, time.Hour, []string{"isEx(A)"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, hostOptions{})
			h.join(groupA)
			h.join(groupB)
			h.clock.Advance(time.Minute)
			h.take()
			for _, q := range test.queries {
				h.receive(q)
			}
			if test.within > 0 {
				h.expectReports() // it takes its time
			}
			h.clock.Advance(test.within)
			h.expectReports(test.want...)
			h.clock.Advance(2 * time.Hour)
			h.expectReports()
		})
	}
}

// RFC 3810 sections 6.1 and 9.1: the querier's robustness is ours.
func TestRobustnessOfTheQuerier(t *testing.T) {
	h := newHost(t, hostOptions{})
	q := query2(header.IPv6Any, time.Second)
	q[24] = 5
	h.receive(mldPacket(peerLL, header.IPv6AllNodes, q))
	h.clock.Advance(time.Second)
	h.take()
	h.join(groupA)
	h.clock.Advance(time.Minute)
	h.expectReports("toEx(A)", "toEx(A)", "toEx(A)", "toEx(A)", "toEx(A)")
}

// RFC 3810 section 8.2.1, RFC 2710 section 4.
func TestQuerierOfVersion1(t *testing.T) {
	general := mldPacket(peerLL, header.IPv6AllNodes, query1(header.IPv6Any, 10*time.Second))
	h := newHost(t, hostOptions{})
	h.join(groupA)
	h.join(groupB)
	h.take()
	h.receive(general) // reports of changes that were to come are dropped
	h.clock.Advance(10 * time.Second)
	got := h.reports()
	slices.Sort(got)
	if !slices.Equal(got, []string{"v1(A)", "v1(B)"}) {
		t.Errorf("reported %v", got)
	}
	h.receive(mldPacket(peerLL, groupA, query1(groupA, time.Second)))
	h.clock.Advance(time.Second)
	h.expectReports("v1(A)")

	// Somebody else's report is enough, and then its sender says that it was the last.
	report := make([]byte, header.MLDSize)
	header.MLD(report).Encode(header.MLDFields{Type: header.ICMPv6MLDReport, Group: groupA})
	h.receive(mldPacket(peerLL, groupA, query1(groupA, 10*time.Second)))
	h.receive(mldPacket(otherLL, groupA, report))
	h.clock.Advance(time.Minute)
	h.expectReports()
	h.leave(groupA)
	h.expectReports()

	h.leave(groupB)
	h.expectReports("done(B)")
	h.join(groupA)
	h.expectReports("v1(A)")
	h.clock.Advance(unsolicitedInterval1)
	h.expectReports("v1(A)")
	h.receive(mldPacket(peerLL, header.IPv6AllNodes, query2(header.IPv6Any, time.Second)))
	h.clock.Advance(time.Second)
	h.expectReports("v1(A)") // a querier of version 2 is answered in version 1 as well

	// Section 9.12: 2 × 125 s + 10 s after the last query of version 1.
	h.receive(general)
	h.clock.Advance(260*time.Second - 1)
	h.take()
	h.join(groupB)
	h.expectReports("v1(B)")
	h.leave(groupB)
	h.take()
	h.clock.Advance(time.Hour)
	h.take()
	h.join(groupB)
	h.expectReports("toEx(B)")
	h.clock.Advance(time.Hour)
	h.take()
	h.receive(mldPacket(peerLL, header.IPv6AllNodes, query2(header.IPv6Any, time.Second)))
	h.clock.Advance(time.Second)
	got = h.reports()
	slices.Sort(got)
	if !slices.Equal(got, []string{"isEx(A)", "isEx(B)"}) {
		t.Errorf("reported %v", got)
	}
}

func TestMembershipOutlastsTheInterfaceBeingDown(t *testing.T) {
	h := newHost(t, hostOptions{})
	h.join(groupA)
	h.clock.Advance(time.Minute)
	h.nic.SetUp(false)
	h.take()
	h.join(groupB)
	h.clock.Advance(time.Minute)
	h.none("the interface is down")
	h.nic.SetUp(true)
	h.clock.Advance(time.Minute)
	h.wire.mu.Lock()
	for _, f := range h.wire.sent {
		f.h = h
		if f.ip().Source() == header.IPv6Any && f.ip().Destination() != header.IPv6MLDv2Routers {
			t.Errorf("sent %v", f)
		}
	}
	h.wire.mu.Unlock()
	seen := map[string]int{}
	for _, f := range h.take() {
		if next, b := f.payload(); next == header.ProtocolICMPv6 && b[0] == header.ICMPv6MLDv2Report {
			for w := header.MLDv2Report(b).Records(); w.Next(); {
				seen[w.Group.String()]++
			}
		}
	}
	if seen[groupA.String()] != 2 || seen[groupB.String()] != 2 {
		t.Errorf("reports of groups when it comes up: %v", seen)
	}
	h.leave(groupA)
	h.nic.SetUp(false)
	h.nic.SetUp(true)
	h.take()
	h.receive(mldPacket(peerLL, header.IPv6AllNodes, query2(header.IPv6Any, 0)))
	h.clock.Advance(time.Minute)
	for _, r := range h.reports() {
		if strings.Contains(r, "(A)") {
			t.Errorf("reported %v", r)
		}
	}
}

// RFC 3590 section 4: without a link-local address the unspecified one is the source.
func TestReportsBeforeThereIsAnAddress(t *testing.T) {
	h := newHost(t, hostOptions{dad: true, down: true})
	h.nic.SetUp(true)
	h.join(groupA)
	n := 0
	for _, f := range h.take() {
		if next, b := f.payload(); next == header.ProtocolICMPv6 && b[0] == header.ICMPv6MLDv2Report {
			f.icmp(header.ICMPv6MLDv2Report)
			if n++; f.ip().Source() != header.IPv6Any {
				t.Errorf("sent %v", f)
			}
		}
	}
	if n == 0 {
		t.Error("nothing was reported")
	}
}

func TestManyGroupsTakeSeveralReports(t *testing.T) {
	h := newHost(t, hostOptions{mtu: 1280})
	for i := range 200 {
		h.join(addr(fmt.Sprintf("ff05::1:%x", i)))
	}
	h.clock.Advance(time.Minute)
	h.take()
	h.receive(mldPacket(peerLL, header.IPv6AllNodes, query2(header.IPv6Any, time.Second)))
	h.clock.Advance(time.Second)
	frames := h.take()
	groups := map[netip.Addr]bool{}
	for _, f := range frames {
		if len(f.b) > 1280 || !f.ip().Valid(len(f.b)) {
			t.Errorf("a report of %d bytes", len(f.b))
		}
		for w := header.MLDv2Report(f.icmp(header.ICMPv6MLDv2Report)).Records(); w.Next(); {
			groups[w.Group] = true
		}
	}
	if len(groups) != 201 || len(frames) != 4 {
		t.Errorf("%d groups in %d reports", len(groups), len(frames))
	}
}
