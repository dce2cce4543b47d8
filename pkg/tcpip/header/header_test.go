package header

import (
	"bytes"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"runsc/pkg/tcpip"
)

var (
	addr4a = netip.MustParseAddr("192.0.2.1")
	addr4b = netip.MustParseAddr("198.51.100.200")
	addr6a = netip.MustParseAddr("2001:db8::1:2")
	addr6b = netip.MustParseAddr("fe80::aabb:ccff:fedd:eeff")
	linkA  = tcpip.LinkAddress{2, 3, 4, 5, 6, 7}
	linkB  = tcpip.LinkAddress{8, 9, 10, 11, 12, 13}
)

// getters calls every method of a view that takes nothing and returns something. It does so by
// reflection so that no getter can be forgotten.
func getters(t *testing.T, view any) {
	t.Helper()
	v := reflect.ValueOf(view)
	for i := range v.NumMethod() {
		m, name := v.Method(i), v.Type().Method(i).Name
		if m.Type().NumIn() != 0 || m.Type().NumOut() == 0 || strings.HasPrefix(name, "Set") {
			continue
		}
		for _, r := range m.Call(nil) {
			if a, ok := r.Interface().(netip.Addr); ok && (!a.IsValid() || a.Zone() != "" || a.Is4() != is4(view)) {
				t.Errorf("%T.%s = %v: the wrong kind of address", view, name, a)
			}
		}
	}
	if c, ok := view.(interface{ ChecksumOK(uint32) bool }); ok {
		c.ChecksumOK(1)
	}
}

func is4(view any) bool {
	switch view.(type) {
	case IPv4, ARP, ICMPv4, IGMP, IGMPv3Query, IGMPv3Report:
		return true
	}
	return false
}

// dirty is room for n bytes that are not zero, so that what Encode leaves out is seen.
func dirty(n int) []byte { return bytes.Repeat([]byte{0xa5}, n) }

// views are all types, each with whether it takes the bytes. Extra room is what lies behind the view.
func views(b []byte, room int) map[string]struct {
	view any
	ok   bool
} {
	type entry = struct {
		view any
		ok   bool
	}
	return map[string]entry{
		"Ethernet":           {Ethernet(b), Ethernet(b).Valid()},
		"ARP":                {ARP(b), ARP(b).Valid()},
		"IPv4":               {IPv4(b), IPv4(b).Valid(len(b) + room)},
		"IPv6":               {IPv6(b), IPv6(b).Valid(len(b) + room)},
		"IPv6Options":        {IPv6Options(b), IPv6Options(b).Valid()},
		"IPv6Routing":        {IPv6Routing(b), IPv6Routing(b).Valid()},
		"IPv6Fragment":       {IPv6Fragment(b), IPv6Fragment(b).Valid()},
		"ICMPv4":             {ICMPv4(b), ICMPv4(b).Valid()},
		"ICMPv4Timestamp":    {ICMPv4Timestamp(b), ICMPv4Timestamp(b).Valid()},
		"ICMPv6":             {ICMPv6(b), ICMPv6(b).Valid()},
		"NDPRouterSolicit":   {NDPRouterSolicit(b), NDPRouterSolicit(b).Valid()},
		"NDPRouterAdvert":    {NDPRouterAdvert(b), NDPRouterAdvert(b).Valid()},
		"NDPNeighborSolicit": {NDPNeighborSolicit(b), NDPNeighborSolicit(b).Valid()},
		"NDPNeighborAdvert":  {NDPNeighborAdvert(b), NDPNeighborAdvert(b).Valid()},
		"NDPRedirect":        {NDPRedirect(b), NDPRedirect(b).Valid()},
		"NDPLinkOption":      {NDPLinkOption(b), NDPLinkOption(b).Valid()},
		"NDPPrefix":          {NDPPrefix(b), NDPPrefix(b).Valid()},
		"NDPMTU":             {NDPMTU(b), NDPMTU(b).Valid()},
		"NDPNonce":           {NDPNonce(b), NDPNonce(b).Valid()},
		"NDPRDNSS":           {NDPRDNSS(b), NDPRDNSS(b).Valid()},
		"NDPRouteInfo":       {NDPRouteInfo(b), NDPRouteInfo(b).Valid()},
		"IGMP":               {IGMP(b), IGMP(b).Valid()},
		"IGMPv3Query":        {IGMPv3Query(b), IGMPv3Query(b).Valid()},
		"IGMPv3Report":       {IGMPv3Report(b), IGMPv3Report(b).Valid()},
		"MLD":                {MLD(b), MLD(b).Valid()},
		"MLDv2Query":         {MLDv2Query(b), MLDv2Query(b).Valid()},
		"MLDv2Report":        {MLDv2Report(b), MLDv2Report(b).Valid()},
		"UDP":                {UDP(b), UDP(b).Valid(len(b)+room, true)},
		"TCP":                {TCP(b), TCP(b).Valid()},
	}
}

// firstBytes make random bytes look like a header often enough.
var firstBytes = []byte{0x45, 0x46, 0x4f, 0x44, 0x60, 0x6f, 1, 2, 3, 5, 14, 24, 25, 0x11, 0x22, 130, 131, 133, 134, 135, 136, 137, 143}

func TestGettersOfValidViewsTakeRandomBytes(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	valid := map[string]int{}
	for range 30000 {
		b := make([]byte, r.IntN(90))
		for i := range b {
			if b[i] = byte(r.Uint32()); r.IntN(2) == 0 {
				b[i] &= 3
			}
		}
		if len(b) > 0 {
			b[0] = firstBytes[r.IntN(len(firstBytes))]
		}
		if len(b) > 8 && r.IntN(4) == 0 {
			copy(b, []byte{0, 1, 8, 0, 6, 4})
		}
		for name, v := range views(b, r.IntN(3)*1000) {
			if v.ok {
				valid[name]++
				getters(t, v.view)
			}
		}
	}
	for name := range views(nil, 0) {
		if valid[name] == 0 {
			t.Errorf("no bytes were valid for %s", name)
		}
	}
}

func TestShortViewsAreNotValid(t *testing.T) {
	for n := range UDPSize {
		for name, v := range views(make([]byte, n), 100) {
			if v.ok {
				t.Errorf("%s of %d bytes is valid", name, n)
			}
		}
	}
}

func TestIPVersion(t *testing.T) {
	if IPVersion(nil) != 0 || IPVersion([]byte{0x45}) != 4 || IPVersion([]byte{0x60}) != 6 {
		t.Error("IPVersion is wrong")
	}
}

func TestDerivedAddresses(t *testing.T) {
	if got := SolicitedNode(addr6a); got != netip.MustParseAddr("ff02::1:ff01:2") {
		t.Errorf("SolicitedNode = %v", got)
	}
	if got := MulticastLink(netip.MustParseAddr("239.129.2.3")); got.String() != "01:00:5e:01:02:03" {
		t.Errorf("MulticastLink of IPv4 = %v", got)
	}
	if got := MulticastLink(SolicitedNode(addr6a)); got.String() != "33:33:ff:01:00:02" {
		t.Errorf("MulticastLink of IPv6 = %v", got)
	}
	if got := LinkLocal(tcpip.LinkAddress{0, 0x11, 0x22, 0x33, 0x44, 0x55}); got != netip.MustParseAddr("fe80::211:22ff:fe33:4455") {
		t.Errorf("LinkLocal = %v", got)
	}
	for got, want := range map[netip.Addr]string{
		IPv4Any: "0.0.0.0", IPv4Broadcast: "255.255.255.255", IPv4AllSystems: "224.0.0.1",
		IPv4AllRouters: "224.0.0.2", IPv4IGMPv3Routers: "224.0.0.22", IPv6AllNodes: "ff02::1",
		IPv6AllRouters: "ff02::2", IPv6MLDv2Routers: "ff02::16",
	} {
		if got != netip.MustParseAddr(want) {
			t.Errorf("%v should be %s", got, want)
		}
	}
}

func TestZeroAddressIsWrittenAsUnspecified(t *testing.T) {
	h4, h6 := IPv4(dirty(20)), IPv6(dirty(40))
	h4.Encode(IPv4Fields{TotalLength: 20})
	h6.Encode(IPv6Fields{})
	if h4.Source() != IPv4Any || h6.Destination() != IPv6Any {
		t.Errorf("%v, %v", h4.Source(), h6.Destination())
	}
}
