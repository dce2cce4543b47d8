package netns

import (
	"net/netip"
	"os"
	"reflect"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/runsc/netconf"
)

// pair makes two namespaces with a veth pair between them, eth0 with 198.18.3.2/24 in the first.
func pair(t *testing.T) (inside, outside *Namespace) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: network namespaces")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	inside, err = New()
	must(err)
	outside, err = New()
	must(err)
	t.Cleanup(func() {
		inside.Close()
		outside.Close()
	})
	must(outside.Do(func() error {
		if err := AddVeth("out0", "eth0", inside); err != nil {
			return err
		}
		return SetUp("out0", netip.MustParsePrefix("198.18.3.1/24"))
	}))
	must(inside.Do(func() error {
		if err := SetUp("lo", netip.Prefix{}); err != nil {
			return err
		}
		if err := SetUp("eth0", netip.MustParsePrefix("198.18.3.2/24")); err != nil {
			return err
		}
		return AddDefaultRoute(netip.MustParseAddr("198.18.3.1"))
	}))
	return inside, outside
}

func read(t *testing.T, n *Namespace) *netconf.Config {
	t.Helper()
	var c *netconf.Config
	if err := n.Do(func() (err error) {
		c, err = Read()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return c
}

func prefixes(c *netconf.Config) (list []string) {
	for _, l := range c.Links {
		for _, a := range l.Addresses {
			if a.Prefix.Addr().Is4() { // IPv6 gives itself some
				list = append(list, l.Name+" "+a.Prefix.String())
			}
		}
	}
	return list
}

func TestTakeAndRestore(t *testing.T) {
	inside, _ := pair(t)
	before := read(t, inside)
	if got := prefixes(before); !slices.Equal(got, []string{"eth0 198.18.3.2/24"}) {
		t.Fatalf("addresses %v", got)
	}
	want := netconf.Route{
		Destination: netip.MustParsePrefix("0.0.0.0/0"), Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_BOOT, Type: unix.RTN_UNICAST,
		NextHops: []netconf.NextHop{{Gateway: netip.MustParseAddr("198.18.3.1"), Link: "eth0"}},
	}
	if len(before.Routes) != 1 || !reflect.DeepEqual(before.Routes[0], want) {
		t.Errorf("routes %+v", before.Routes)
	}
	if err := inside.Do(func() error {
		sockets, err := Take(before)
		if len(sockets) != 1 {
			t.Errorf("%d sockets", len(sockets))
		}
		for _, f := range sockets {
			f.Close()
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if c := read(t, inside); len(c.Links) != 1 || len(c.Links[0].Addresses) != 0 || len(c.Routes) != 0 || !c.Links[0].NoIPv6 {
		t.Errorf("taken, there are %+v", c)
	}
	for range 2 { // a second time changes nothing
		if err := inside.Do(func() error { return Restore(before) }); err != nil {
			t.Fatal(err)
		}
		after := read(t, inside)
		if !slices.Equal(prefixes(after), prefixes(before)) || !reflect.DeepEqual(after.Routes, before.Routes) || after.Links[0].NoIPv6 != before.Links[0].NoIPv6 {
			t.Errorf("restored, there are %+v, before %+v", after, before)
		}
	}
}

func TestRestoreOfLinksThatAreGone(t *testing.T) {
	inside, outside := pair(t)
	before := read(t, inside)
	if err := outside.Do(func() error { return DeleteLink("out0") }); err != nil {
		t.Fatal(err)
	}
	if err := inside.Do(func() error { return Restore(before) }); err != nil {
		t.Error(err)
	}
	if err := outside.Do(func() error { return DeleteLink("out0") }); err != nil {
		t.Errorf("a link that is gone: %v", err)
	}
}

func TestInUse(t *testing.T) {
	inside, _ := pair(t)
	for p, want := range map[string]bool{"198.18.3.0/30": true, "198.18.0.0/16": true, "198.18.4.0/24": false, "10.0.0.0/8": false} {
		if err := inside.Do(func() error {
			used, err := InUse(netip.MustParsePrefix(p))
			if used != want {
				t.Errorf("%s: %v", p, used)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestHostNamespaceIsRecognized(t *testing.T) {
	if err := CheckNotHost("/proc/self/ns/net"); err != ErrHostNamespace {
		t.Errorf("our own: %v", err)
	}
	if err := CheckNotHost("/no/such/file"); err == nil || err == ErrHostNamespace {
		t.Errorf("none: %v", err)
	}
	inside, _ := pair(t)
	if err := CheckNotHost(inside.Path()); err != nil {
		t.Errorf("a new one: %v", err)
	}
}

func TestMultipathRouteRequest(t *testing.T) {
	inside, _ := pair(t)
	hop := func(s string) netconf.NextHop { return netconf.NextHop{Gateway: netip.MustParseAddr(s), Link: "eth0"} }
	c := read(t, inside)
	r := netconf.Route{
		Destination: netip.MustParsePrefix("203.0.113.0/24"), Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC, Type: unix.RTN_UNICAST,
		Metric: 9, MTU: 1300, NextHops: []netconf.NextHop{hop("198.18.3.7"), hop("198.18.3.8")},
	}
	nowhere := netconf.Route{Destination: netip.MustParsePrefix("192.0.2.0/24"), Table: unix.RT_TABLE_MAIN, Protocol: unix.RTPROT_STATIC, Type: unix.RTN_BLACKHOLE}
	c.Routes = append(c.Routes, r, nowhere)
	if err := inside.Do(func() error { return Restore(c) }); err != nil {
		t.Fatal(err)
	}
	after := read(t, inside)
	for _, want := range []netconf.Route{r, nowhere} {
		if !slices.ContainsFunc(after.Routes, func(x netconf.Route) bool { return reflect.DeepEqual(x, want) }) {
			t.Errorf("%+v is not among %+v", want, after.Routes)
		}
	}
}
