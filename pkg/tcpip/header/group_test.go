package header

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"
)

var (
	group4 = netip.MustParseAddr("239.1.2.3")
	group6 = netip.MustParseAddr("ff15::1234")
)

func TestIGMPRoundTrip(t *testing.T) {
	h := IGMP(dirty(IGMPSize))
	h.Encode(IGMPFields{Type: IGMPTypeQuery, MaxResponse: 25, Group: group4})
	if h.SetChecksum(0); !h.Valid() || !h.ChecksumOK(0) || h.Type() != IGMPTypeQuery || h.Group() != group4 || h.MaxResponseTime() != 2500*time.Millisecond {
		t.Errorf("%x", []byte(h))
	}
}

func TestQueryVersions(t *testing.T) {
	for n, want := range map[int]int{8: 2, 9: 0, 11: 0, 12: 3, 16: 3} {
		if got := IGMP(dirty(n)).QueryVersion(); got != want {
			t.Errorf("an IGMP query of %d bytes is of version %d, want %d", n, got, want)
		}
	}
	if got := IGMP(make([]byte, 8)).QueryVersion(); got != 1 {
		t.Errorf("an IGMP query without a response time is of version %d, want 1", got)
	}
	for n, want := range map[int]int{24: 1, 25: 0, 27: 0, 28: 2, 44: 2} {
		if got := MLD(dirty(n)).QueryVersion(); got != want {
			t.Errorf("an MLD query of %d bytes is of version %d, want %d", n, got, want)
		}
	}
}

func TestGroupQueriesRoundTrip(t *testing.T) {
	f := GroupQueryFields{
		MaxResponse: 12800 * time.Millisecond, Group: group4, SuppressRouter: true, Robustness: 2,
		Interval: 125 * time.Second, Sources: []netip.Addr{addr4a, addr4b},
	}
	b := dirty(100)
	q := IGMPv3Query(b[:IGMPv3Query(b).Encode(f)])
	got := GroupQueryFields{q.MaxResponseTime(), q.Group(), q.SuppressRouter(), q.Robustness(), q.Interval(), []netip.Addr{q.Source(0), q.Source(1)}}
	if !q.Valid() || len(q) != 20 || q.Count() != 2 || !reflect.DeepEqual(got, f) {
		t.Errorf("got %+v", got)
	}
	if q[:19].Valid() {
		t.Error("a query without its last source is valid")
	}
	f.Group, f.Sources, f.Robustness = group6, []netip.Addr{addr6a, addr6b}, 9
	b = dirty(100)
	m := MLDv2Query(b[:MLDv2Query(b).Encode(f)])
	got = GroupQueryFields{m.MaxResponseTime(), m.Group(), m.SuppressRouter(), m.Robustness(), m.Interval(), []netip.Addr{m.Source(0), m.Source(1)}}
	f.Robustness = 0
	if !m.Valid() || len(m) != 60 || !reflect.DeepEqual(got, f) {
		t.Errorf("got %+v", got)
	}
	if m[:59].Valid() {
		t.Error("a query without its last source is valid")
	}
}

func TestMLDRoundTrip(t *testing.T) {
	h := MLD(dirty(MLDSize))
	h.Encode(MLDFields{Type: ICMPv6MLDQuery, MaxResponse: 10 * time.Second, Group: group6})
	if !h.Valid() || h.MaxResponseTime() != 10*time.Second || h.Group() != group6 || ICMPv6(h).Checksum() != 0 {
		t.Errorf("%x", []byte(h))
	}
}

func TestFloatingPointCodes(t *testing.T) {
	for code, want := range map[uint8]int64{0: 0, 127: 127, 0x80: 128, 0x8f: 248, 0x90: 256, 0xff: 31744} {
		if got := float8(code); got != want {
			t.Errorf("float8(%#x) = %d, want %d", code, got, want)
		}
	}
	for code := range 256 {
		if got := toFloat8(float8(uint8(code))); got != uint8(code) {
			t.Errorf("code %#x became %#x", code, got)
		}
	}
	for code := range 1 << 16 {
		if got := toFloat16(float16(uint16(code))); got != uint16(code) {
			t.Fatalf("code %#x became %#x", code, got)
		}
	}
	last := int64(0)
	for v := range int64(40000) {
		got := float8(toFloat8(v))
		if got > v || got < last {
			t.Fatalf("toFloat8(%d) means %d", v, got)
		}
		last = got
	}
	if toFloat8(1<<40) != 0xff || toFloat16(1<<40) != 0xffff || toFloat8(-1) != 0 {
		t.Error("the codes are not limited")
	}
}

func collect(t *testing.T, w GroupRecordWalker) (records []GroupRecord) {
	for w.Next() {
		r := GroupRecord{Type: w.Type, Group: w.Group}
		for i := range w.Count {
			r.Sources = append(r.Sources, w.Source(i))
		}
		records = append(records, r)
	}
	return records
}

func TestReportsRoundTrip(t *testing.T) {
	in := []GroupRecord{
		{GroupModeIsExclude, group4, nil},
		{GroupAllowNewSources, IPv4AllSystems, []netip.Addr{addr4a, addr4b}},
	}
	b := dirty(100)
	r := IGMPv3Report(b[:IGMPv3Report(b).Encode(in)])
	if got := collect(t, r.Records()); !r.Valid() || len(r) != IGMPv3ReportLength(in) || !reflect.DeepEqual(got, in) {
		t.Errorf("got %+v", got)
	}
	if r[:len(r)-1].Valid() {
		t.Error("a report without its last source is valid")
	}
	r[9] = 1 // auxiliary data: the second record's front
	if got := collect(t, r.Records()); len(got) > 0 && got[0].Group != group4 {
		t.Errorf("got %+v", got)
	}

	in6 := []GroupRecord{{GroupBlockOldSources, group6, []netip.Addr{addr6a}}, {GroupChangeToExclude, IPv6AllRouters, nil}}
	b = dirty(200)
	m := MLDv2Report(b[:MLDv2Report(b).Encode(in6)])
	if got := collect(t, m.Records()); !m.Valid() || len(m) != MLDv2ReportLength(in6) || !reflect.DeepEqual(got, in6) {
		t.Errorf("got %+v", got)
	}
	if be.PutUint16(m[6:], 3); m.Valid() {
		t.Error("a report that lacks a record is valid")
	}
}

func TestReportSkipsAuxiliaryData(t *testing.T) {
	b := slices.Concat([]byte{0x22, 0, 0, 0, 0, 0, 0, 2}, []byte{1, 2, 0, 0, 239, 1, 2, 3}, make([]byte, 8), []byte{2, 0, 0, 0, 224, 0, 0, 1})
	got := collect(t, IGMPv3Report(b).Records())
	if !IGMPv3Report(b).Valid() || len(got) != 2 || got[1].Group != IPv4AllSystems {
		t.Errorf("got %+v", got)
	}
}

func FuzzIGMP(f *testing.F) {
	b := dirty(60)
	f.Add(slices.Clone(b[:IGMPv3Query(b).Encode(GroupQueryFields{Group: group4, Sources: []netip.Addr{addr4a}})]))
	f.Add(slices.Clone(b[:IGMPv3Report(b).Encode([]GroupRecord{{2, group4, []netip.Addr{addr4a}}})]))
	f.Add(make([]byte, 8))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h := IGMP(b); h.Valid() {
			getters(t, h)
		}
		if h := IGMPv3Query(b); h.Valid() {
			getters(t, h)
			for i := range h.Count() {
				h.Source(i)
			}
		}
		if h := IGMPv3Report(b); h.Valid() {
			getters(t, h)
			if n := len(collect(t, h.Records())); n != int(be.Uint16(b[6:])) {
				t.Fatalf("%d records", n)
			}
		}
	})
}

func FuzzMLD(f *testing.F) {
	b := dirty(100)
	f.Add(slices.Clone(b[:MLDv2Query(b).Encode(GroupQueryFields{Group: group6, Sources: []netip.Addr{addr6a}})]))
	f.Add(slices.Clone(b[:MLDv2Report(b).Encode([]GroupRecord{{2, group6, []netip.Addr{addr6a}}})]))
	f.Add(append([]byte{131}, make([]byte, 23)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		if h := MLD(b); h.Valid() {
			getters(t, h)
		}
		if h := MLDv2Query(b); h.Valid() {
			getters(t, h)
			for i := range h.Count() {
				h.Source(i)
			}
		}
		if h := MLDv2Report(b); h.Valid() {
			getters(t, h)
			if n := len(collect(t, h.Records())); n != int(be.Uint16(b[6:])) {
				t.Fatalf("%d records", n)
			}
		}
	})
}
