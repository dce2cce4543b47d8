package inet

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestSettings(t *testing.T) {
	n := world(t)
	get := func(name string) string {
		v, ok := n.Setting(name)
		if !ok {
			return "none"
		}
		return v
	}
	for _, c := range []struct {
		name, value string
		want        error
		then        string
	}{
		{"net/ipv4/ip_forward", "1", nil, "1"},
		{"net/ipv4/ip_forward", "x", unix.EINVAL, "1"},
		{"net/ipv4/ip_forward", "1 2", unix.EINVAL, "1"},
		{"net/ipv4/ip_default_ttl", "255", nil, "255"},
		{"net/ipv4/ip_default_ttl", "256", unix.EINVAL, "255"},
		{"net/ipv4/ip_local_port_range", "100 200", nil, "100\t200"},
		{"net/ipv4/ip_local_port_range", "200 100", unix.EINVAL, "100\t200"},
		{"net/ipv4/ip_local_port_range", "0 100", unix.EINVAL, "100\t200"},
		{"net/ipv4/ping_group_range", "0 4294967294", nil, "0\t4294967294"},
		{"net/ipv4/ping_group_range", "5 3", nil, "1\t0"},
		{"net/ipv4/ping_group_range", "5", unix.EINVAL, "1\t0"},
		{"net/ipv4/tcp_rmem", "1 2 3", nil, "1\t2\t3"},
		{"net/ipv4/tcp_rmem", "1 2 2147483647", nil, "1\t2\t1073741824"},
		{"net/ipv4/tcp_rmem", "0 2 3", unix.EINVAL, "1\t2\t1073741824"},
		{"net/core/rmem_max", "5000", nil, "5000"},
		{"net/core/rmem_max", "5", unix.EINVAL, "5000"},
		{"net/ipv4/tcp_congestion_control", "reno", nil, "reno"},
		{"net/ipv4/tcp_congestion_control", "vegas", unix.ENOENT, "reno"},
		{"net/ipv4/tcp_mem", "1\t2\t3", nil, "1\t2\t3"}, // recorded
		{"net/ipv4/conf/all/rp_filter", "2", nil, "2"},
		{"net/ipv6/conf/all/forwarding", "1", nil, "1"},
		{"net/ipv6/conf/all/accept_ra", "0", nil, "0"},
		{"net/ipv6/conf/lo/accept_ra", "1", nil, "1"}, // of lo alone, and so only recorded
		{"net/ipv6/conf/default/disable_ipv6", "1", nil, "1"},
		{"net/ipv6/conf/all/disable_ipv6", "2", unix.EINVAL, "1"},
	} {
		ok, err := n.SetSetting(c.name, c.value)
		if !ok || err != c.want || get(c.name) != c.then {
			t.Errorf("%s = %q: %v, %v, then %q, want %v, %q", c.name, c.value, ok, err, get(c.name), c.want, c.then)
		}
	}
	set := n.stack.Settings()
	if !set.IPForward.Load() || set.PortHigh.Load() != 200 || set.AcceptRA.Load() || set.TCPReceive[1].Load() != 2 || set.CongestionControl.Load() != "reno" {
		t.Error("the stack does not know")
	}
	if get("net/ipv6/conf/lo/mtu") != "65536" || get("net/ipv4/conf/lo/nope") != "none" || get("kernel/hostname") != "none" {
		t.Errorf("mtu %q", get("net/ipv6/conf/lo/mtu"))
	}
	if ok, _ := n.SetSetting("net/core/netdev_max_backlog", "1"); ok {
		t.Error("what all namespaces share was taken")
	}
	if ok, err := n.SetSetting("net/ipv4/tcp_available_congestion_control", "x"); !ok || err != nil {
		t.Errorf("read only: %v, %v", ok, err)
	}
}

func TestDisableIPv6OfOneInterface(t *testing.T) {
	n := world(t)
	count := func() int {
		six := 0
		for _, a := range n.stack.NIC(1).Addresses() {
			if a.Prefix.Addr().Is6() {
				six++
			}
		}
		return six
	}
	for _, c := range []struct {
		value string
		want  int
	}{{"1", 0}, {"1", 0}, {"0", 1}, {"0", 1}} {
		if _, err := n.SetSetting("net/ipv6/conf/lo/disable_ipv6", c.value); err != nil || count() != c.want {
			t.Errorf("disable_ipv6=%s: %v, %d addresses", c.value, err, count())
		}
	}
	if n.stack.Settings().IPv6Disabled.Load() {
		t.Error("it is disabled for all")
	}
}
