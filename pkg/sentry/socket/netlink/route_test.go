package netlink

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/link/dummy"
	"runsc/pkg/tcpip/stack"
)

const (
	create  = unix.NLM_F_CREATE
	excl    = unix.NLM_F_EXCL
	replace = unix.NLM_F_REPLACE
	app     = unix.NLM_F_APPEND
)

func ofKind(kind string) func(*builder) {
	return func(w *builder) {
		at := w.nest(unix.IFLA_LINKINFO)
		w.attrString(iflaInfoKind, kind)
		w.unnest(at)
	}
}

func names(got []message) (list []string) {
	for _, m := range got {
		list = append(list, m.attrs(sizeofIfinfomsg).text(unix.IFLA_IFNAME))
	}
	return list
}

func TestGetLink(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE)
	if got := names(c.want(0, unix.RTM_GETLINK, all, ifinfo(0, 0, 0), nil)); !slices.Equal(got, []string{"lo", "eth0"}) {
		t.Errorf("links %v", got)
	}
	// Go's net package sends one byte, and one bit of the two is a dump.
	if got := c.want(0, unix.RTM_GETLINK, unix.NLM_F_ROOT, []byte{0}, nil); len(got) != 2 {
		t.Errorf("%d links", len(got))
	}
	if got := c.want(0, unix.RTM_GETLINK, all, []byte{unix.AF_BRIDGE}, nil); len(got) != 0 {
		t.Errorf("%d ports of bridges", len(got))
	}
	w.net.NIC(2).Stats().RXBytes.Store(1 << 33)
	got := c.want(0, unix.RTM_GETLINK, 0, ifinfo(2, 0, 0), nil)
	a := got[0].attrs(sizeofIfinfomsg)
	const up = unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_LOWER_UP
	if p := got[0].payload; binary.NativeEndian.Uint16(p[2:]) != unix.ARPHRD_ETHER || binary.NativeEndian.Uint32(p[8:]) != up|unix.IFF_BROADCAST|unix.IFF_MULTICAST {
		t.Errorf("header % x", p[:16])
	}
	if a.text(unix.IFLA_IFNAME) != "eth0" || a.u32(unix.IFLA_MTU) != 1500 || !slices.Equal(a.bytes(unix.IFLA_ADDRESS), []byte{2, 0, 0, 0, 0, 1}) ||
		len(a.bytes(unix.IFLA_STATS64)) != 200 || len(a.bytes(unix.IFLA_STATS)) != 96 ||
		binary.NativeEndian.Uint64(a.bytes(unix.IFLA_STATS64)[16:]) != 1<<33 || a.u8(unix.IFLA_OPERSTATE) != operUp {
		t.Errorf("attributes %v", a)
	}
	if spec, err := parse(a.bytes(unix.IFLA_AF_SPEC), 0, []shape{unix.AF_INET: isNested, unix.AF_INET6: isNested}, true); err != nil || !spec.has(unix.AF_INET) || !spec.has(unix.AF_INET6) {
		t.Errorf("IFLA_AF_SPEC: %v, %v", spec, err)
	}
	got = c.want(0, unix.RTM_GETLINK, 0, ifinfo(0, 0, 0), func(w *builder) {
		w.attrString(unix.IFLA_IFNAME, "lo")
		w.attrU32(unix.IFLA_EXT_MASK, extSkipStats)
	})
	if a := got[0].attrs(sizeofIfinfomsg); a.text(unix.IFLA_IFNAME) != "lo" || a.has(unix.IFLA_STATS64) || binary.NativeEndian.Uint32(got[0].payload[8:]) != up|unix.IFF_LOOPBACK {
		t.Errorf("lo: %v", a)
	}
	name := func(s string) func(*builder) { return func(w *builder) { w.attrString(unix.IFLA_IFNAME, s) } }
	c.want(unix.ENODEV, unix.RTM_GETLINK, 0, ifinfo(9, 0, 0), nil)
	c.want(unix.ENODEV, unix.RTM_GETLINK, 0, ifinfo(0, 0, 0), name("none"))
	c.want(unix.ERANGE, unix.RTM_GETLINK, 0, ifinfo(0, 0, 0), name("a name that is too long"))
	c.want(unix.EINVAL, unix.RTM_GETLINK, 0, ifinfo(0, 0, 0), nil)
	c.want(unix.EINVAL, unix.RTM_GETLINK, 0, ifinfo(1<<31, 0, 0), nil)
}

func TestStrictChecks(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE)
	unknown := func(w *builder) { w.attrU32(200, 0) }
	for _, typ := range []uint16{unix.RTM_GETLINK, unix.RTM_GETADDR, unix.RTM_GETROUTE, unix.RTM_GETNEIGH} {
		c.want(0, typ, all, make([]byte, 16), unknown)
	}
	c.option(unix.NETLINK_GET_STRICT_CHK, 1)
	sizes := map[uint16]int{unix.RTM_GETLINK: 16, unix.RTM_GETADDR: 8, unix.RTM_GETROUTE: 12, unix.RTM_GETNEIGH: 12}
	for typ, n := range sizes {
		c.want(0, typ, all, make([]byte, n), nil)
		c.want(unix.EINVAL, typ, all, make([]byte, n), unknown)
		c.want(unix.EINVAL, typ, all, make([]byte, n-4), nil)
		bad := make([]byte, n)
		bad[3] = 9 // padding, a scope, or a TOS
		c.want(unix.EINVAL, typ, all, bad, nil)
	}
	c.want(unix.EINVAL, unix.RTM_GETLINK, all, ifinfo(2, 0, 0), nil)
	if got := names(c.want(0, unix.RTM_GETLINK, all, ifinfo(0, 0, 0), ofKind("dummy"))); len(got) != 0 {
		t.Errorf("dummies: %v", got)
	}
	if got := c.want(0, unix.RTM_GETADDR, all, ifaddr(0, 0, 1), nil); len(got) != 2 {
		t.Errorf("%d addresses of lo", len(got))
	}
	c.want(unix.ENODEV, unix.RTM_GETADDR, all, ifaddr(0, 0, 99), nil)
	// Routes by table, protocol, type and interface.
	count := func(head []byte, fill func(*builder)) int {
		t.Helper()
		return len(c.want(0, unix.RTM_GETROUTE, all, head, fill))
	}
	everything := count(rtmsg(unix.AF_INET, 0, 0, 0, 0, 0), nil)
	main := count(rtmsg(unix.AF_INET, 0, unix.RT_TABLE_MAIN, 0, 0, 0), nil)
	local := count(rtmsg(unix.AF_INET, 0, 0, 0, 0, 0), func(w *builder) { w.attrU32(unix.RTA_TABLE, unix.RT_TABLE_LOCAL) })
	if main == 0 || local == 0 || main+local != everything {
		t.Errorf("routes: %d in main, %d in local, %d in all", main, local, everything)
	}
	if n := count(rtmsg(unix.AF_INET, 0, 0, unix.RTPROT_STATIC, 0, 0), nil); n != 0 {
		t.Errorf("%d static routes", n)
	}
	if n := count(rtmsg(unix.AF_INET, 0, 0, 0, 0, unix.RTN_BROADCAST), nil); n == 0 {
		t.Error("no broadcast routes")
	}
	if n := count(rtmsg(unix.AF_INET, 0, 0, 0, 0, 0), func(w *builder) { w.attrU32(unix.RTA_OIF, 2) }); n == 0 || n == everything {
		t.Errorf("%d routes of eth0", n)
	}
	c.want(unix.ENOENT, unix.RTM_GETROUTE, all, rtmsg(unix.AF_INET, 0, 77, 0, 0, 0), nil)
	c.want(unix.ENODEV, unix.RTM_GETROUTE, all, rtmsg(unix.AF_INET, 0, 0, 0, 0, 0), func(w *builder) { w.attrU32(unix.RTA_OIF, 99) })
}

func TestLinksCanBeMadeChangedAndRemoved(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE)
	make := func(name string, flags uint32) func(*builder) {
		return func(w *builder) {
			if name != "" {
				w.attrString(unix.IFLA_IFNAME, name)
			}
			w.attrU32(unix.IFLA_MTU, 9000)
			ofKind(dummy.Kind)(w)
		}
	}
	c.want(0, unix.RTM_NEWLINK, create|excl, ifinfo(0, unix.IFF_UP, unix.IFF_UP), make("d0", 0))
	d := w.net.NICByName("d0")
	if d == nil || !d.Up() || d.MTU() != 9000 {
		t.Fatalf("d0: %+v", d)
	}
	c.want(unix.EEXIST, unix.RTM_NEWLINK, create|excl, ifinfo(0, 0, 0), make("d0", 0))
	c.want(0, unix.RTM_NEWLINK, create|excl, ifinfo(0, 0, 0), make("", 0))
	c.want(0, unix.RTM_NEWLINK, create|excl, ifinfo(0, 0, 0), make("x%d", 0))
	if w.net.NICByName("dummy0") == nil || w.net.NICByName("x0") == nil {
		t.Error("names that the kernel numbers")
	}
	c.want(unix.EINVAL, unix.RTM_NEWLINK, create|excl, ifinfo(0, 0, 0), make("a/b", 0))
	c.want(unix.EOPNOTSUPP, unix.RTM_NEWLINK, create|excl, ifinfo(0, 0, 0), ofKind("veth"))
	c.want(unix.EOPNOTSUPP, unix.RTM_NEWLINK, create|excl, ifinfo(0, 0, 0), nil)
	c.want(unix.ENODEV, unix.RTM_NEWLINK, 0, ifinfo(0, 0, 0), make("none", 0))
	c.want(unix.EINVAL, unix.RTM_SETLINK, 0, ifinfo(0, 0, 0), nil)

	id := uint32(d.ID())
	mac := func(b ...byte) func(*builder) { return func(w *builder) { w.attr(unix.IFLA_ADDRESS, b) } }
	c.want(0, unix.RTM_SETLINK, 0, ifinfo(id, 0, 0), mac(2, 3, 4, 5, 6, 7))
	if d.Link().LinkAddress() != (tcpip.LinkAddress{2, 3, 4, 5, 6, 7}) {
		t.Errorf("address %v", d.Link().LinkAddress())
	}
	c.want(unix.EADDRNOTAVAIL, unix.RTM_SETLINK, 0, ifinfo(id, 0, 0), mac(3, 3, 4, 5, 6, 7))
	c.want(unix.EINVAL, unix.RTM_SETLINK, 0, ifinfo(id, 0, 0), mac(2, 3))
	c.want(0, unix.RTM_NEWLINK, 0, ifinfo(id, 0, 0), func(w *builder) {
		w.attrU32(unix.IFLA_MTU, 1400)
		w.attrString(unix.IFLA_IFNAME, "d1")
	})
	if d.MTU() != 1400 || d.Name() != "d1" {
		t.Errorf("%s, MTU %d", d.Name(), d.MTU())
	}
	for _, mtu := range []uint32{10, 70000} {
		c.want(unix.EINVAL, unix.RTM_NEWLINK, 0, ifinfo(id, 0, 0), func(w *builder) { w.attrU32(unix.IFLA_MTU, mtu) })
	}
	c.want(unix.EEXIST, unix.RTM_NEWLINK, 0, ifinfo(id, 0, 0), func(w *builder) { w.attrString(unix.IFLA_IFNAME, "eth0") })
	c.want(unix.EOPNOTSUPP, unix.RTM_NEWLINK, replace, ifinfo(id, 0, 0), nil)
	c.want(unix.EOPNOTSUPP, unix.RTM_NEWLINK, 0, ifinfo(2, 0, 0), ofKind(dummy.Kind))
	for _, typ := range []uint16{unix.IFLA_NET_NS_FD, unix.IFLA_NET_NS_PID, unix.IFLA_MASTER, unix.IFLA_TXQLEN} {
		c.want(unix.EOPNOTSUPP, unix.RTM_NEWLINK, 0, ifinfo(id, 0, 0), func(w *builder) { w.attrU32(typ, 5) })
	}
	// Flags: only those of the mask, and counted once however often they are set.
	for range 2 {
		c.want(0, unix.RTM_NEWLINK, 0, ifinfo(id, unix.IFF_PROMISC|unix.IFF_ALLMULTI, unix.IFF_PROMISC|unix.IFF_ALLMULTI), nil)
	}
	if !d.Promiscuous() || !d.AllMulticast() || !d.Up() {
		t.Error("flags were not set, or too many")
	}
	c.want(0, unix.RTM_NEWLINK, 0, ifinfo(id, 0, unix.IFF_PROMISC|unix.IFF_UP), nil)
	if d.Promiscuous() || !d.AllMulticast() || d.Up() {
		t.Error("flags were not cleared, or too many")
	}
	c.want(unix.EOPNOTSUPP, unix.RTM_DELLINK, 0, ifinfo(1, 0, 0), nil)
	c.want(unix.ENODEV, unix.RTM_DELLINK, 0, ifinfo(99, 0, 0), nil)
	c.want(unix.EINVAL, unix.RTM_DELLINK, 0, ifinfo(0, 0, 0), nil)
	c.want(0, unix.RTM_DELLINK, 0, ifinfo(0, 0, 0), func(w *builder) { w.attrString(unix.IFLA_IFNAME, "d1") })
	if w.net.NICByName("d1") != nil {
		t.Error("d1 is still there")
	}
}

// addrs lists the addresses that a dump shows, with their flags.
func addrs(got []message) map[string]uint32 {
	list := map[string]uint32{}
	for _, m := range got {
		a := m.attrs(sizeofIfaddrmsg)
		v := a.bytes(unix.IFA_LOCAL)
		if v == nil {
			v = a.bytes(unix.IFA_ADDRESS)
		}
		addr, _ := netip.AddrFromSlice(v)
		list[netip.PrefixFrom(addr, int(m.payload[1])).String()] = a.u32(unix.IFA_FLAGS)
	}
	return list
}

func TestAddresses(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE)
	local := func(s string) func(*builder) { return func(w *builder) { w.attrAddr(unix.IFA_LOCAL, addr(s)) } }
	show := func(family uint8) map[string]uint32 {
		t.Helper()
		return addrs(c.want(0, unix.RTM_GETADDR, all, ifaddr(family, 0, 0), nil))
	}
	for _, p := range []string{"127.0.0.1/8", "::1/128", "10.0.0.1/24", "fd00::1/64"} {
		if f, ok := show(0)[p]; !ok || f&unix.IFA_F_PERMANENT == 0 {
			t.Errorf("%s is not shown, or not as permanent: %#x", p, f)
		}
	}
	for p := range show(unix.AF_INET) {
		if netip.MustParsePrefix(p).Addr().Is6() {
			t.Errorf("%s among those of IPv4", p)
		}
	}
	c.want(0, unix.RTM_NEWADDR, create|excl, ifaddr(unix.AF_INET, 24, 2), local("10.0.0.7"))
	if f := show(0)["10.0.0.7/24"]; f != unix.IFA_F_PERMANENT|unix.IFA_F_SECONDARY {
		t.Errorf("a second address of a prefix: %#x", f)
	}
	c.want(unix.EEXIST, unix.RTM_NEWADDR, create|excl, ifaddr(unix.AF_INET, 24, 2), local("10.0.0.7"))
	c.want(unix.EEXIST, unix.RTM_NEWADDR, create, ifaddr(unix.AF_INET, 24, 2), local("10.0.0.7"))
	lifetimes := func(preferred, valid uint32) func(*builder) {
		return func(w *builder) {
			local("10.0.0.7")(w)
			at := w.nest(unix.IFA_CACHEINFO)
			w.u32(preferred)
			w.u32(valid)
			w.u64(0)
			w.unnest(at)
		}
	}
	c.want(0, unix.RTM_NEWADDR, create|replace, ifaddr(unix.AF_INET, 24, 2), lifetimes(100, 200))
	a, ok := w.net.NIC(2).Address(addr("10.0.0.7"))
	if !ok || a.Preferred == 0 || a.Valid == 0 || a.Valid.Seconds() > 200 {
		t.Errorf("lifetimes: %+v", a)
	}
	c.want(unix.EINVAL, unix.RTM_NEWADDR, create|replace, ifaddr(unix.AF_INET, 24, 2), lifetimes(200, 100))
	c.want(unix.EINVAL, unix.RTM_NEWADDR, create|replace, ifaddr(unix.AF_INET, 24, 2), lifetimes(0, 0))
	c.want(0, unix.RTM_NEWADDR, create, ifaddr(unix.AF_INET, 32, 2), func(w *builder) {
		local("10.5.0.1")(w)
		w.attrAddr(unix.IFA_ADDRESS, addr("10.6.0.1"))
		w.attrString(unix.IFA_LABEL, "eth0:x")
	})
	if a, _ := w.net.NIC(2).Address(addr("10.5.0.1")); a.Peer != addr("10.6.0.1") || a.Label != "eth0:x" {
		t.Errorf("a peer: %+v", a)
	}
	c.want(0, unix.RTM_NEWADDR, create, ifaddr(unix.AF_INET6, 64, 2), func(w *builder) {
		w.attrAddr(unix.IFA_ADDRESS, addr("fd01::1"))
		w.attrU32(unix.IFA_FLAGS, unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE)
	})
	if f := show(unix.AF_INET6)["fd01::1/64"]; f&(unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE|unix.IFA_F_TENTATIVE) != unix.IFA_F_NODAD|unix.IFA_F_NOPREFIXROUTE {
		t.Errorf("flags %#x", f)
	}
	c.want(unix.ENODEV, unix.RTM_NEWADDR, create, ifaddr(unix.AF_INET, 24, 9), local("10.9.0.1"))
	c.want(unix.EINVAL, unix.RTM_NEWADDR, create, ifaddr(unix.AF_INET, 33, 2), local("10.9.0.1"))
	c.want(unix.EINVAL, unix.RTM_NEWADDR, create, ifaddr(unix.AF_INET, 24, 2), nil)
	c.want(unix.EOPNOTSUPP, unix.RTM_NEWADDR, create, ifaddr(unix.AF_UNIX, 24, 2), local("10.9.0.1"))
	c.want(unix.EADDRNOTAVAIL, unix.RTM_NEWADDR, create, ifaddr(unix.AF_INET6, 64, 2), local("ff02::1"))
	c.want(unix.ERANGE, unix.RTM_NEWADDR, create, ifaddr(unix.AF_INET6, 64, 2), local("10.9.0.1"))

	got := c.want(0, unix.RTM_GETADDR, 0, ifaddr(unix.AF_INET6, 0, 0), func(w *builder) { w.attrAddr(unix.IFA_ADDRESS, addr("fd01::1")) })
	if _, ok := addrs(got)["fd01::1/64"]; !ok {
		t.Errorf("one address: %v", addrs(got))
	}
	c.want(unix.EADDRNOTAVAIL, unix.RTM_GETADDR, 0, ifaddr(unix.AF_INET6, 0, 0), func(w *builder) { w.attrAddr(unix.IFA_ADDRESS, addr("fd09::1")) })
	c.want(unix.EOPNOTSUPP, unix.RTM_GETADDR, 0, ifaddr(unix.AF_INET, 0, 0), nil)

	c.want(unix.EADDRNOTAVAIL, unix.RTM_DELADDR, 0, ifaddr(unix.AF_INET, 24, 2), local("10.0.0.8"))
	c.want(unix.EADDRNOTAVAIL, unix.RTM_DELADDR, 0, ifaddr(unix.AF_INET6, 60, 2), local("fd01::1"))
	c.want(unix.EADDRNOTAVAIL, unix.RTM_DELADDR, 0, ifaddr(unix.AF_INET, 32, 2), func(w *builder) {
		local("10.5.0.1")(w)
		w.attrString(unix.IFA_LABEL, "eth0:y")
	})
	c.want(0, unix.RTM_DELADDR, 0, ifaddr(unix.AF_INET, 32, 2), func(w *builder) {
		local("10.5.0.1")(w)
		w.attrAddr(unix.IFA_ADDRESS, addr("10.6.0.1"))
	})
	c.want(0, unix.RTM_DELADDR, 0, ifaddr(unix.AF_INET6, 64, 2), local("fd01::1"))
	c.want(0, unix.RTM_DELADDR, 0, ifaddr(unix.AF_INET, 24, 2), local("10.0.0.7"))
	for _, p := range []string{"10.0.0.7/24", "10.5.0.1/32", "fd01::1/64"} {
		if _, ok := show(0)[p]; ok {
			t.Errorf("%s is still shown", p)
		}
	}
}

// routes shows the routes of a table as text.
func (c *client) routes(family, table uint8) (list []string) {
	c.t.Helper()
	for _, m := range c.want(0, unix.RTM_GETROUTE, all, rtmsg(family, 0, 0, 0, 0, 0), nil) {
		if m.payload[4] != table {
			continue
		}
		a := m.attrs(sizeofRtmsg)
		s := "default"
		if v := a.bytes(unix.RTA_DST); v != nil {
			addr, _ := netip.AddrFromSlice(v)
			s = netip.PrefixFrom(addr, int(m.payload[1])).String()
		}
		if v := a.bytes(unix.RTA_GATEWAY); v != nil {
			addr, _ := netip.AddrFromSlice(v)
			s += " via " + addr.String()
		}
		list = append(list, s)
	}
	return list
}

type way struct {
	dst, via string
	oif      uint32
	metric   uint32
	mtu      uint32
}

func (x way) head(typ uint8) []byte {
	p := netip.MustParsePrefix(x.dst)
	return rtmsg(familyOf(p.Addr()), uint8(p.Bits()), unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RT_SCOPE_UNIVERSE, typ)
}

func (x way) fill(w *builder) {
	if p := netip.MustParsePrefix(x.dst); p.Bits() > 0 {
		w.attrAddr(unix.RTA_DST, p.Addr())
	}
	if x.via != "" {
		w.attrAddr(unix.RTA_GATEWAY, addr(x.via))
	}
	if x.oif != 0 {
		w.attrU32(unix.RTA_OIF, x.oif)
	}
	if x.metric != 0 {
		w.attrU32(unix.RTA_PRIORITY, x.metric)
	}
	if x.mtu != 0 {
		at := w.nest(unix.RTA_METRICS)
		w.attrU32(rtaxMTU, x.mtu)
		w.unnest(at)
	}
}

func TestRoutes(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE)
	change := func(want unix.Errno, typ, flags uint16, x way) {
		t.Helper()
		c.want(want, typ, flags, x.head(unix.RTN_UNICAST), x.fill)
	}
	change(0, unix.RTM_NEWROUTE, create|excl, way{dst: "0.0.0.0/0", via: "10.0.0.2"})
	change(unix.EEXIST, unix.RTM_NEWROUTE, create|excl, way{dst: "0.0.0.0/0", via: "10.0.0.3"})
	change(unix.EEXIST, unix.RTM_NEWROUTE, create, way{dst: "0.0.0.0/0", via: "10.0.0.2"})
	change(0, unix.RTM_NEWROUTE, create|excl, way{dst: "0.0.0.0/0", via: "10.0.0.3", metric: 5, mtu: 1300})
	change(0, unix.RTM_NEWROUTE, create|replace, way{dst: "0.0.0.0/0", via: "10.0.0.4"})
	if got := c.routes(unix.AF_INET, unix.RT_TABLE_MAIN); !slices.Equal(got, []string{"default via 10.0.0.4", "default via 10.0.0.3", "10.0.0.0/24"}) {
		t.Errorf("routes %v", got)
	}
	// Beside one another: the first one is taken.
	change(0, unix.RTM_NEWROUTE, create|app, way{dst: "11.0.0.0/8", via: "10.0.0.5"})
	change(0, unix.RTM_NEWROUTE, create|app, way{dst: "11.0.0.0/8", via: "10.0.0.6"})
	change(0, unix.RTM_NEWROUTE, create, way{dst: "11.0.0.0/8", via: "10.0.0.7"})
	if r, err := w.net.FindRoute(stack.RouteQuery{Destination: addr("11.1.1.1")}); err != nil || r.NextHop != addr("10.0.0.7") {
		t.Errorf("%+v, %v", r, err)
	}
	change(unix.ENOENT, unix.RTM_NEWROUTE, 0, way{dst: "12.0.0.0/8", via: "10.0.0.5"})
	change(unix.ENOENT, unix.RTM_NEWROUTE, replace, way{dst: "12.0.0.0/8", via: "10.0.0.5"})
	change(unix.ENOENT, unix.RTM_NEWROUTE, 0, way{dst: "11.0.0.0/8", via: "10.0.0.9"})
	change(unix.ENETUNREACH, unix.RTM_NEWROUTE, create, way{dst: "12.0.0.0/8", via: "99.0.0.5"})
	change(unix.ENODEV, unix.RTM_NEWROUTE, create, way{dst: "12.0.0.0/8"})
	change(unix.ENODEV, unix.RTM_NEWROUTE, create, way{dst: "12.0.0.0/8", oif: 99})
	change(unix.EINVAL, unix.RTM_NEWROUTE, create, way{dst: "12.0.0.1/8", via: "10.0.0.5"})
	change(unix.EINVAL, unix.RTM_NEWROUTE, create, way{dst: "12.0.0.0/8", via: "10.0.0.1"})
	c.want(unix.EINVAL, unix.RTM_NEWROUTE, create, way{dst: "12.0.0.0/8"}.head(99), nil)
	c.want(unix.EINVAL, unix.RTM_NEWROUTE, create, way{dst: "12.0.0.0/8"}.head(1), nil)
	c.want(unix.EINVAL, unix.RTM_NEWROUTE, create, way{dst: "12.0.0.0/8"}.head(1), func(w *builder) {
		way{dst: "12.0.0.0/8", via: "10.0.0.5"}.fill(w)
		w.attrAddr(unix.RTA_PREFSRC, addr("9.9.9.9"))
	})
	two := func(n int) func(w *builder) {
		return func(w *builder) {
			w.attrAddr(unix.RTA_DST, addr("12.0.0.0"))
			at := w.nest(unix.RTA_MULTIPATH)
			for i := range n {
				w.u16(16)
				w.u16(0)
				w.u32(2)
				w.attrAddr(unix.RTA_GATEWAY, netip.AddrFrom4([4]byte{10, 0, 0, byte(20 + i)}))
			}
			w.unnest(at)
		}
	}
	c.want(unix.EOPNOTSUPP, unix.RTM_NEWROUTE, create, way{dst: "12.0.0.0/8"}.head(1), two(2))
	c.want(0, unix.RTM_NEWROUTE, create, way{dst: "12.0.0.0/8"}.head(1), two(1))
	c.want(0, unix.RTM_NEWROUTE, create, way{dst: "13.0.0.0/8"}.head(unix.RTN_UNREACHABLE), way{dst: "13.0.0.0/8"}.fill)

	change(unix.ESRCH, unix.RTM_DELROUTE, 0, way{dst: "11.0.0.0/8", via: "10.0.0.99"})
	change(unix.ESRCH, unix.RTM_DELROUTE, 0, way{dst: "11.0.0.0/9"})
	change(unix.ESRCH, unix.RTM_DELROUTE, 0, way{dst: "11.0.0.0/8", metric: 3})
	change(0, unix.RTM_DELROUTE, 0, way{dst: "11.0.0.0/8", via: "10.0.0.5"})
	change(0, unix.RTM_DELROUTE, 0, way{dst: "11.0.0.0/8"})
	if got := c.routes(unix.AF_INET, unix.RT_TABLE_MAIN); !slices.Contains(got, "11.0.0.0/8 via 10.0.0.6") {
		t.Errorf("routes %v", got)
	}
	change(0, unix.RTM_NEWROUTE, create, way{dst: "::/0", via: "fd00::2"})
	change(unix.EEXIST, unix.RTM_NEWROUTE, create|excl, way{dst: "::/0", via: "fd00::3", metric: 1024})
	if got := c.routes(unix.AF_INET6, unix.RT_TABLE_MAIN); !slices.Contains(got, "default via fd00::2") {
		t.Errorf("routes %v", got)
	}
	change(0, unix.RTM_DELROUTE, 0, way{dst: "::/0"})
}

func TestRouteLookUp(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE)
	c.want(0, unix.RTM_NEWROUTE, create, way{dst: "11.0.0.0/8"}.head(1), way{dst: "11.0.0.0/8", via: "10.0.0.5", mtu: 1400}.fill)
	get := func(s string, flags uint32) (message, attributes) {
		t.Helper()
		head := rtmsg(familyOf(addr(s)), uint8(addr(s).BitLen()), 0, 0, 0, 0)
		binary.NativeEndian.PutUint32(head[8:], flags)
		got := c.want(0, unix.RTM_GETROUTE, 0, head, func(w *builder) { w.attrAddr(unix.RTA_DST, addr(s)) })
		return got[0], got[0].attrs(sizeofRtmsg)
	}
	is := func(a attributes, typ uint16, s string) bool { return slices.Equal(a.bytes(typ), addr(s).AsSlice()) }
	m, a := get("11.1.2.3", 0)
	if m.payload[1] != 32 || m.payload[7] != unix.RTN_UNICAST || !is(a, unix.RTA_DST, "11.1.2.3") || !is(a, unix.RTA_GATEWAY, "10.0.0.5") ||
		!is(a, unix.RTA_PREFSRC, "10.0.0.1") || a.u32(unix.RTA_OIF) != 2 || a.u32(unix.RTA_TABLE) != unix.RT_TABLE_MAIN || !a.has(unix.RTA_METRICS) {
		t.Errorf("% x, %v", m.payload[:12], a)
	}
	m, a = get("11.1.2.3", rtmFibMatch)
	if m.payload[1] != 8 || !is(a, unix.RTA_DST, "11.0.0.0") {
		t.Errorf("the matching route: % x, %v", m.payload[:12], a)
	}
	m, a = get("10.0.0.1", unix.RTM_F_LOOKUP_TABLE)
	if m.payload[7] != unix.RTN_LOCAL || a.u32(unix.RTA_OIF) != 1 || a.u32(unix.RTA_TABLE) != unix.RT_TABLE_LOCAL {
		t.Errorf("an own address: % x, %v", m.payload[:12], a)
	}
	m, a = get("fd00::7", 0)
	if m.payload[1] != 128 || a.u32(unix.RTA_OIF) != 2 || !is(a, unix.RTA_PREFSRC, "fd00::1") || !a.has(unix.RTA_PREF) {
		t.Errorf("IPv6: % x, %v", m.payload[:12], a)
	}
	dst := func(s string) func(*builder) { return func(w *builder) { w.attrAddr(unix.RTA_DST, addr(s)) } }
	c.want(unix.ENETUNREACH, unix.RTM_GETROUTE, 0, rtmsg(unix.AF_INET, 32, 0, 0, 0, 0), dst("99.0.0.1"))
	c.want(unix.ENODEV, unix.RTM_GETROUTE, 0, rtmsg(unix.AF_INET, 32, 0, 0, 0, 0), func(w *builder) {
		dst("10.0.0.2")(w)
		w.attrU32(unix.RTA_OIF, 99)
	})
	c.want(unix.ENETUNREACH, unix.RTM_GETROUTE, 0, rtmsg(unix.AF_INET, 32, 0, 0, 0, 0), func(w *builder) {
		dst("10.0.0.2")(w)
		w.attrAddr(unix.RTA_SRC, addr("9.9.9.9"))
	})
	c.want(unix.EOPNOTSUPP, unix.RTM_GETROUTE, 0, rtmsg(unix.AF_INET, 32, 0, 0, 0, 0), func(w *builder) {
		dst("10.0.0.2")(w)
		w.attrU32(unix.RTA_IIF, 2)
	})
	c.want(unix.EOPNOTSUPP, unix.RTM_GETROUTE, 0, rtmsg(unix.AF_UNIX, 32, 0, 0, 0, 0), nil)
	c.option(unix.NETLINK_GET_STRICT_CHK, 1)
	c.want(unix.EINVAL, unix.RTM_GETROUTE, 0, rtmsg(unix.AF_INET, 24, 0, 0, 0, 0), dst("10.0.0.2"))
}

func TestNeighbours(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE)
	entry := func(s string, link ...byte) func(*builder) {
		return func(w *builder) {
			w.attrAddr(unix.NDA_DST, addr(s))
			if link != nil {
				w.attr(unix.NDA_LLADDR, link)
			}
		}
	}
	const permanent, stale = uint16(stack.NeighbourPermanent), uint16(stack.NeighbourStale)
	c.want(unix.ENOENT, unix.RTM_NEWNEIGH, 0, ndmsg(unix.AF_INET, 2, permanent), entry("10.0.0.9", 2, 0, 0, 0, 0, 9))
	c.want(0, unix.RTM_NEWNEIGH, create|excl, ndmsg(unix.AF_INET, 2, permanent), entry("10.0.0.9", 2, 0, 0, 0, 0, 9))
	c.want(unix.EEXIST, unix.RTM_NEWNEIGH, create|excl, ndmsg(unix.AF_INET, 2, permanent), entry("10.0.0.9", 2, 0, 0, 0, 0, 9))
	c.want(0, unix.RTM_NEWNEIGH, create|replace, ndmsg(unix.AF_INET, 2, stale), entry("10.0.0.9", 2, 0, 0, 0, 0, 10))
	c.want(0, unix.RTM_NEWNEIGH, create|excl, ndmsg(unix.AF_INET6, 2, permanent), entry("fd00::9", 2, 0, 0, 0, 0, 11))
	if got := c.want(0, unix.RTM_GETNEIGH, all, ndmsg(unix.AF_INET, 0, 0), nil); len(got) != 1 || got[0].payload[8] != byte(stale) ||
		!slices.Equal(got[0].attrs(sizeofNdmsg).bytes(unix.NDA_LLADDR), []byte{2, 0, 0, 0, 0, 10}) {
		t.Errorf("neighbours: %v", got)
	}
	if got := c.want(0, unix.RTM_GETNEIGH, all, []byte{0}, nil); len(got) != 2 {
		t.Errorf("%d neighbours", len(got))
	}
	if got := c.want(0, unix.RTM_GETNEIGH, all, ndmsg(0, 0, 0), func(w *builder) { w.attrU32(unix.NDA_IFINDEX, 1) }); len(got) != 0 {
		t.Errorf("neighbours of lo: %v", got)
	}
	if got := c.want(0, unix.RTM_GETNEIGH, 0, ndmsg(unix.AF_INET6, 2, 0), entry("fd00::9")); len(got) != 1 {
		t.Errorf("one neighbour: %v", got)
	}
	c.want(unix.ENOENT, unix.RTM_GETNEIGH, 0, ndmsg(unix.AF_INET, 2, 0), entry("10.0.0.77"))
	c.want(unix.EINVAL, unix.RTM_NEWNEIGH, create, ndmsg(unix.AF_INET, 2, permanent), nil)
	c.want(unix.EINVAL, unix.RTM_NEWNEIGH, create, ndmsg(unix.AF_INET, 0, permanent), entry("10.0.0.9", 2, 0, 0, 0, 0, 9))
	c.want(unix.ENODEV, unix.RTM_NEWNEIGH, create, ndmsg(unix.AF_INET, 9, permanent), entry("10.0.0.9", 2, 0, 0, 0, 0, 9))
	c.want(unix.EINVAL, unix.RTM_NEWNEIGH, create, ndmsg(unix.AF_INET, 2, permanent), entry("10.0.0.8", 2, 0))
	c.want(unix.EINVAL, unix.RTM_NEWNEIGH, create, ndmsg(unix.AF_INET, 2, permanent), entry("10.0.0.8"))
	c.want(0, unix.RTM_DELNEIGH, 0, ndmsg(unix.AF_INET, 2, 0), entry("10.0.0.9"))
	c.want(unix.ENOENT, unix.RTM_DELNEIGH, 0, ndmsg(unix.AF_INET, 2, 0), entry("10.0.0.9"))
}

func TestRules(t *testing.T) {
	w := newWorld(t)
	c := w.open(unix.NETLINK_ROUTE)
	show := func(family uint8) (list []uint32) {
		t.Helper()
		for _, m := range c.want(0, unix.RTM_GETRULE, all, rtmsg(family, 0, 0, 0, 0, 0), nil) {
			list = append(list, m.attrs(sizeofRuleHdr).u32(linux.FRAPriority))
		}
		return list
	}
	if got := show(unix.AF_INET); !slices.Equal(got, []uint32{0, 32766, 32767}) {
		t.Errorf("rules %v", got)
	}
	if got := show(unix.AF_INET6); !slices.Equal(got, []uint32{0, 32766}) {
		t.Errorf("rules of IPv6: %v", got)
	}
	if got := show(0); len(got) != 5 {
		t.Errorf("all rules: %v", got)
	}
	from := func(w *builder) {
		w.attrAddr(linux.FRASrc, addr("10.7.0.0"))
		w.attrU32(linux.FRATable, 1000)
		w.attrU32(linux.FRAFwmark, 5)
		w.attrString(linux.FRAOifname, "eth0")
	}
	head := rtmsg(unix.AF_INET, 0, 0, 0, 0, ruleToTable)
	head[2] = 16
	c.want(0, unix.RTM_NEWRULE, create|excl, head, from)
	c.want(0, unix.RTM_NEWRULE, create|excl, head, from)
	if got := show(unix.AF_INET); !slices.Equal(got, []uint32{0, 32764, 32765, 32766, 32767}) {
		t.Errorf("rules %v", got)
	}
	with := func(p uint32) func(*builder) {
		return func(w *builder) {
			from(w)
			w.attrU32(linux.FRAPriority, p)
		}
	}
	c.want(unix.EEXIST, unix.RTM_NEWRULE, create|excl, head, with(32765))
	got := c.want(0, unix.RTM_GETRULE, all, rtmsg(unix.AF_INET, 0, 0, 0, 0, 0), nil)[1]
	a := got.attrs(sizeofRuleHdr)
	if got.payload[2] != 16 || got.payload[4] != tableCompat || a.u32(linux.FRATable) != 1000 || a.u32(linux.FRAFwmark) != 5 || a.u32(linux.FRAFwmask) != ^uint32(0) ||
		a.text(linux.FRAOifname) != "eth0" || !slices.Equal(a.bytes(linux.FRASrc), []byte{10, 7, 0, 0}) {
		t.Errorf("% x, %v", got.payload[:12], a)
	}
	c.want(unix.ENOENT, unix.RTM_DELRULE, 0, head, with(7))
	c.want(0, unix.RTM_DELRULE, 0, head, with(32764))
	c.want(0, unix.RTM_DELRULE, 0, rtmsg(unix.AF_INET, 0, 0, 0, 0, 0), func(w *builder) { w.attrU32(linux.FRATable, 1000) })
	if got := show(unix.AF_INET); len(got) != 3 {
		t.Errorf("rules %v", got)
	}
	table := rtmsg(unix.AF_INET, 0, 100, 0, 0, ruleToTable)
	c.want(unix.ENODEV, unix.RTM_NEWRULE, create, table, func(w *builder) { w.attrString(linux.FRAIifname, "none") })
	c.want(unix.EOPNOTSUPP, unix.RTM_NEWRULE, create, table, func(w *builder) { w.attrU8(linux.FRAIPProto, 6) })
	c.want(unix.EOPNOTSUPP, unix.RTM_NEWRULE, create, table, func(w *builder) { w.attrU32(linux.FRASuppressPrefix, 0) })
	c.want(unix.EINVAL, unix.RTM_NEWRULE, create, rtmsg(unix.AF_INET, 0, 0, 0, 0, ruleToTable), nil)
	c.want(unix.EINVAL, unix.RTM_NEWRULE, create, rtmsg(unix.AF_INET, 0, 100, 0, 0, 77), nil)
	c.want(unix.EINVAL, unix.RTM_NEWRULE, create, rtmsg(unix.AF_INET, 8, 100, 0, 0, ruleToTable), nil)
	c.want(unix.EAFNOSUPPORT, unix.RTM_NEWRULE, create, rtmsg(unix.AF_UNIX, 0, 100, 0, 0, ruleToTable), nil)
	c.want(unix.EAFNOSUPPORT, unix.RTM_GETRULE, all, rtmsg(unix.AF_UNIX, 0, 0, 0, 0, 0), nil)
	for _, typ := range []uint16{unix.RTM_GETQDISC, unix.RTM_GETTCLASS, unix.RTM_GETTFILTER} {
		if got := c.want(0, typ, all, make([]byte, sizeofTcmsg), nil); len(got) != 0 {
			t.Errorf("request %d: %v", typ, got)
		}
	}
}

func TestNotifications(t *testing.T) {
	w := newWorld(t)
	c, m := w.open(unix.NETLINK_ROUTE), w.bound(unix.NETLINK_ROUTE)
	heard := func(what string, want ...uint16) []message {
		t.Helper()
		got := m.receive()
		var types []uint16
		for _, g := range got {
			types = append(types, g.typ)
		}
		if !slices.Equal(types, want) {
			t.Errorf("%s: heard %v, want %v", what, types, want)
		}
		return got
	}
	m.option(unix.NETLINK_ADD_MEMBERSHIP, unix.RTNLGRP_LINK)
	c.want(0, unix.RTM_NEWLINK, 0, ifinfo(2, unix.IFF_PROMISC, unix.IFF_PROMISC), func(w *builder) { w.attrU32(unix.IFLA_MTU, 1400) })
	got := heard("link", unix.RTM_NEWLINK)
	if len(got) == 1 && (got[0].seq != c.seq || got[0].port == 0 || got[0].group != 1 || got[0].attrs(sizeofIfinfomsg).u32(unix.IFLA_MTU) != 1400) {
		t.Errorf("%+v", got[0])
	}
	c.want(0, unix.RTM_NEWLINK, create, ifinfo(0, 0, 0), ofKind(dummy.Kind))
	heard("a new link", unix.RTM_NEWLINK)
	c.want(0, unix.RTM_DELLINK, 0, ifinfo(3, 0, 0), nil)
	heard("a link that is gone", unix.RTM_DELLINK)
	m.option(unix.NETLINK_DROP_MEMBERSHIP, unix.RTNLGRP_LINK)
	c.want(0, unix.RTM_NEWLINK, 0, ifinfo(2, 0, 0), func(w *builder) { w.attrU32(unix.IFLA_MTU, 1500) })
	heard("nothing")

	// By bind(2), too: addresses and routes of IPv4, rules and neighbours.
	m.option(unix.NETLINK_ADD_MEMBERSHIP, unix.RTNLGRP_IPV4_IFADDR)
	m.option(unix.NETLINK_ADD_MEMBERSHIP, unix.RTNLGRP_IPV4_ROUTE)
	local := func(w *builder) { w.attrAddr(unix.IFA_LOCAL, addr("10.8.0.1")) }
	c.want(0, unix.RTM_NEWADDR, create, ifaddr(unix.AF_INET, 24, 2), local)
	seen := map[uint16]int{}
	for _, g := range m.receive() {
		seen[g.typ]++
	}
	if seen[unix.RTM_NEWADDR] != 1 || seen[unix.RTM_NEWROUTE] != 3 || len(seen) != 2 {
		t.Errorf("a new address: %v", seen)
	}
	c.want(0, unix.RTM_DELADDR, 0, ifaddr(unix.AF_INET, 24, 2), local)
	clear(seen)
	for _, g := range m.receive() {
		seen[g.typ]++
	}
	if seen[unix.RTM_DELADDR] != 1 || seen[unix.RTM_DELROUTE] != 3 || len(seen) != 2 {
		t.Errorf("an address that is gone: %v", seen)
	}
	m.option(unix.NETLINK_ADD_MEMBERSHIP, unix.RTNLGRP_IPV4_RULE)
	m.option(unix.NETLINK_ADD_MEMBERSHIP, unix.RTNLGRP_NEIGH)
	c.want(0, unix.RTM_NEWRULE, create, rtmsg(unix.AF_INET, 0, 100, 0, 0, ruleToTable), nil)
	heard("a rule", unix.RTM_NEWRULE)
	c.want(0, unix.RTM_DELRULE, 0, rtmsg(unix.AF_INET, 0, 100, 0, 0, 0), nil)
	heard("a rule that is gone", unix.RTM_DELRULE)
	c.want(0, unix.RTM_NEWNEIGH, create, ndmsg(unix.AF_INET, 2, uint16(stack.NeighbourPermanent)), func(w *builder) {
		w.attrAddr(unix.NDA_DST, addr("10.0.0.9"))
		w.attr(unix.NDA_LLADDR, []byte{2, 0, 0, 0, 0, 9})
	})
	heard("a neighbour", unix.RTM_NEWNEIGH)

	// An echo goes to who asked, though it is no member; members get it once.
	if got := c.want(0, unix.RTM_NEWROUTE, create|unix.NLM_F_ECHO, way{dst: "11.0.0.0/8"}.head(1), way{dst: "11.0.0.0/8", via: "10.0.0.9"}.fill); len(got) != 1 || got[0].typ != unix.RTM_NEWROUTE {
		t.Errorf("echo: %v", got)
	}
	heard("a route", unix.RTM_NEWROUTE)
	m.s.Release(bg)
	if n := len(w.ns.members); n != 0 {
		t.Errorf("%d groups have members", n)
	}
}
