package stack

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

// listener notes what observers are told.
type listener struct{ all []Change }

func (l *listener) StackChanged(c Change) { l.all = append(l.all, c) }

func TestInterfaces(t *testing.T) {
	w := newWorld(t)
	s := w.s
	l := &listener{}
	s.AddObserver(l)
	link := &fakeLink{mtu: 1500}
	if _, err := s.CreateNIC(2, "new", link); err != unix.EEXIST {
		t.Errorf("an index that is taken: %v", err)
	}
	if _, err := s.CreateNIC(0, "eth0", link); err != unix.EEXIST {
		t.Errorf("a name that is taken: %v", err)
	}
	n, err := s.CreateNIC(0, "new", link)
	if err != nil || n.ID() != 4 || n.Name() != "new" || n.Up() || n.Stack() != s || n.Link() != LinkEndpoint(link) || link.d != LinkDispatcher(n) {
		t.Errorf("CreateNIC = %+v, %v", n, err)
	}
	if s.NIC(4) != n || s.NICByName("new") != n || s.NIC(99) != nil || s.NICByName("x") != nil || s.Loopback() != w.lo {
		t.Error("it is not found")
	}
	m, _ := s.CreateNIC(77, "far", &fakeLink{mtu: 1500})
	if got := s.NICs(); !slices.Equal(got, []*NIC{w.lo, w.eth, w.fth, n, m}) {
		t.Errorf("NICs = %v", got)
	}
	if err := n.SetName("eth0"); err != unix.EEXIST {
		t.Errorf("SetName of another's: %v", err)
	}
	if err := n.SetName("new"); err != nil {
		t.Errorf("SetName of its own: %v", err)
	}
	if err := n.SetName("renamed"); err != nil || s.NICByName("renamed") != n || s.NICByName("new") != nil {
		t.Errorf("SetName: %v", err)
	}
	n.SetLinkAddress(linkB)
	if link.addr != linkB {
		t.Error("SetLinkAddress did not reach the link")
	}
	n.SetUp(true)
	n.SetUp(true)
	if ep := w.ep4(n); ep.enabled != 1 {
		t.Errorf("enabled %d times", ep.enabled)
	}
	add(t, n, "10.7.0.1/24")
	s.AddRoute(RouteEntry{Destination: prefix("10.8.0.0/24"), NIC: 4, Table: 9})
	if err := s.RemoveNIC(4); err != nil {
		t.Fatal(err)
	}
	if ep := w.ep4(n); ep.enabled != 0 || len(ep.added) != 1 || len(ep.removed) != 1 {
		t.Errorf("enabled %d, %d added, %d removed", ep.enabled, len(ep.added), len(ep.removed))
	}
	if !link.shut || link.d != nil || s.NIC(4) != nil {
		t.Error("the link was not closed")
	}
	for _, e := range s.Routes() {
		if e.NIC == 4 {
			t.Errorf("the route %v stays", e)
		}
	}
	if err := s.RemoveNIC(4); err != unix.ENODEV {
		t.Errorf("RemoveNIC again: %v", err)
	}
	n.SetUp(true)
	if n.Up() {
		t.Error("an interface that was removed goes up")
	}
	if err := n.AddAddress(Address{Prefix: prefix("10.7.0.1/24")}); err != unix.ENODEV {
		t.Errorf("AddAddress to what was removed: %v", err)
	}
	// Observers heard of all of it: the last is the end of the interface.
	if last := l.all[len(l.all)-1]; last.NIC != n || !last.Removed {
		t.Errorf("the last change was %+v", last)
	}
	var addrs, routes int
	for _, c := range l.all {
		if c.Address != nil && c.On == n {
			addrs++
		}
		if c.Route != nil && c.Route.Destination == prefix("10.8.0.0/24") {
			routes++
		}
	}
	if addrs != 2 || routes != 2 {
		t.Errorf("observers heard of %d changes of the address, %d of the route", addrs, routes)
	}
	s.RemoveObserver(l)
	heard := len(l.all)
	m.SetUp(true)
	if len(l.all) != heard {
		t.Error("an observer that was removed hears")
	}
}

func TestCloseEndsEverything(t *testing.T) {
	w := newWorld(t)
	_, e := bind(t, w.s, "e", TransportID{LocalPort: 1})
	add(t, w.eth, "10.0.0.1/24")
	w.eth.LearnNeighbour(there, linkB)
	w.eth.ConfirmNeighbour(there, linkB, true, true, false)
	w.eth.AddAddress(Address{Prefix: prefix("10.0.9.1/24"), Valid: time.Hour})
	w.s.Close()
	w.s.Close() // harmless
	if !e.aborted || !w.udp.closed || !w.v4.closed || !w.v6.closed || !w.link.shut || len(w.s.NICs()) != 0 {
		t.Errorf("endpoint %v, transport %v, networks %v %v, link %v", e.aborted, w.udp.closed, w.v4.closed, w.v6.closed, w.link.shut)
	}
	if n := w.clock.Pending(); n != 0 {
		t.Errorf("%d timers run", n)
	}
	if _, err := w.s.CreateNIC(0, "x", &fakeLink{}); err != unix.ENODEV {
		t.Errorf("CreateNIC after Close: %v", err)
	}
}

func TestWhatAStackHas(t *testing.T) {
	w := newWorld(t)
	if !w.s.HasNetwork(header.EtherTypeIPv4) || w.s.HasNetwork(header.EtherTypeARP) {
		t.Error("HasNetwork")
	}
	if w.s.TransportProtocol(fakeUDP) != TransportProtocol(w.udp) || w.s.TransportProtocol(6) != nil {
		t.Error("TransportProtocol")
	}
	if w.s.Clock() != tcpip.Clock(w.clock) {
		t.Error("Clock")
	}
	if _, ok := New(Config{}).Clock().(tcpip.RealClock); !ok {
		t.Error("the default clock is not the host's")
	}
	if w.eth.Endpoint(header.EtherTypeARP) != nil {
		t.Error("Endpoint of a protocol that the stack does not have")
	}
	if !w.lo.IsLoopback() || w.eth.IsLoopback() {
		t.Error("IsLoopback")
	}
	// Those of Linux, see ip-sysctl.
	c := w.s.Settings()
	if c.IPDefaultTTL.Load() != 64 || c.PortLow.Load() != 32768 || c.PortHigh.Load() != 60999 || c.IPForward.Load() ||
		c.TCPReceive[1].Load() != 131072 || c.CongestionControl.Load() != "cubic" || !c.TCPSACK.Load() || c.PingGroupLow.Load() != 1 {
		t.Error("Settings")
	}
}

func TestAddresses(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		p    string
		want error
	}{
		"IPv4":              {"10.0.0.1/24", nil},
		"the same":          {"10.0.0.1/24", unix.EEXIST},
		"other prefix":      {"10.0.0.1/16", nil},
		"IPv6":              {"2001:db8::1/64", nil},
		"IPv6 other prefix": {"2001:db8::1/48", unix.EEXIST},
		"a group":           {"224.0.0.1/24", unix.EINVAL},
		"an IPv6 group":     {"ff02::1/64", unix.EINVAL},
		"unspecified":       {"::/64", unix.EINVAL},
		"broadcast":         {"255.255.255.255/32", unix.EINVAL},
		"mapped":            {"::ffff:10.0.0.1/120", unix.EINVAL},
	} {
		if c.want == unix.EEXIST || name == "other prefix" {
			continue
		}
		if err := w.eth.AddAddress(Address{Prefix: prefix(c.p)}); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if err := w.eth.AddAddress(Address{}); err != unix.EINVAL {
		t.Errorf("no address: %v", err)
	}
	for p, want := range map[string]error{"10.0.0.1/24": unix.EEXIST, "10.0.0.1/16": nil, "2001:db8::1/48": unix.EEXIST} {
		if err := w.eth.AddAddress(Address{Prefix: prefix(p)}); err != want {
			t.Errorf("%s: %v, want %v", p, err, want)
		}
	}
	add(t, w.eth, "fe80::1/64")
	add(t, w.lo, "127.0.0.1/8", "::1/128")
	for p, want := range map[string]uint8{"10.0.0.1": scopeUniverse, "fe80::1": scopeLink, "2001:db8::1": scopeUniverse} {
		if a, ok := w.eth.Address(addr(p)); !ok || a.Scope != want {
			t.Errorf("%s: %+v, %v", p, a, ok)
		}
	}
	for _, p := range []string{"127.0.0.1", "::1"} {
		if a, ok := w.lo.Address(addr(p)); !ok || a.Scope != scopeHost {
			t.Errorf("%s: %+v, %v", p, a, ok)
		}
	}
	if a, _ := w.eth.Address(here); a.Label != "eth0" {
		t.Errorf("the label is %q", a.Label)
	}
	if _, ok := w.eth.Address(there); ok || w.eth.HasAddress(there) {
		t.Error("an address that is not there")
	}
	if list := w.eth.Addresses(); len(list) != 4 {
		t.Errorf("Addresses = %v", list)
	}
	// With two prefixes, an address stays as long as one of them does.
	w.eth.RemoveAddress(prefix("10.0.0.1/24"))
	if !w.eth.HasAddress(here) || !w.s.IsLocal(0, here) {
		t.Error("the address went with its first prefix")
	}
	w.eth.RemoveAddress(prefix("10.0.0.1/16"))
	if w.eth.HasAddress(here) || w.s.IsLocal(0, here) {
		t.Error("the address is still there")
	}
	if ep := w.ep4(w.eth); len(ep.added) != 2 || len(ep.removed) != 2 {
		t.Errorf("IPv4 heard of %d and %d", len(ep.added), len(ep.removed))
	}
}

func TestRoutesThatPreferAnAddressGoWithIt(t *testing.T) {
	w := newWorld(t)
	add(t, w.eth, "10.0.0.1/24", "10.5.0.1/24")
	w.s.AddRoute(RouteEntry{Destination: prefix("10.9.0.0/16"), Gateway: there, Source: addr("10.5.0.1")})
	w.s.AddRoute(RouteEntry{Destination: prefix("10.8.0.0/16"), Gateway: there})
	w.eth.RemoveAddress(prefix("10.5.0.1/24"))
	wantRoutes(t, w.s, TableMain, 2, "10.0.0.0/24 dev 2 src 10.0.0.1", "10.8.0.0/16 dev 2 via 10.0.0.9")
}

func TestIsLocalAndIsBroadcast(t *testing.T) {
	w := newWorld(t)
	add(t, w.lo, "127.0.0.1/8")
	add(t, w.eth, "10.0.0.1/24")
	w.fth.AddAddress(Address{Prefix: prefix("10.1.0.1/24"), Broadcast: addr("10.1.0.77")})
	for a, want := range map[string][3]bool{ // of any, of eth0, of lo
		"10.0.0.1": {true, true, false}, "127.0.0.1": {true, false, true}, "127.9.9.9": {true, false, true},
		"10.0.0.2": {}, "10.0.0.255": {}, "2001:db8::1": {},
	} {
		if got := [3]bool{w.s.IsLocal(0, addr(a)), w.s.IsLocal(2, addr(a)), w.s.IsLocal(1, addr(a))}; got != want {
			t.Errorf("IsLocal(%s) = %v, want %v", a, got, want)
		}
	}
	for a, want := range map[string][2]bool{ // on eth0, on eth1
		"255.255.255.255": {true, true}, "10.0.0.255": {true, false}, "10.1.0.255": {false, true}, "10.1.0.77": {false, true}, "10.0.0.0": {},
	} {
		if got := [2]bool{w.eth.IsBroadcast(addr(a)), w.fth.IsBroadcast(addr(a))}; got != want {
			t.Errorf("IsBroadcast(%s) = %v, want %v", a, got, want)
		}
	}
	for dst, want := range map[string]string{"10.0.0.1": "10.0.0.1", "10.0.0.255": "10.0.0.1", "224.0.0.1": "10.0.0.1", "10.0.0.9": "10.0.0.9"} {
		if got := w.eth.LocalFor(addr(dst), there); got != addr(want) {
			t.Errorf("LocalFor(%s) = %v", dst, got)
		}
	}
}

func TestIsLocalWithManyAddresses(t *testing.T) {
	w := newWorld(t)
	add(t, w.lo, "127.0.0.1/8", "::1/128")
	for i := range 40 {
		add(t, w.eth, netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 1}), 24).String())
		for j := range 45 {
			a := netip.AddrFrom4([4]byte{10, 0, byte(j), 1})
			if got := w.s.IsLocal(0, a); got != (j <= i) {
				t.Fatalf("with %d addresses: IsLocal(%v) = %v", i+1, a, got)
			}
			a = netip.AddrFrom4([4]byte{10, 0, byte(j), 255})
			if got := w.eth.IsBroadcast(a); got != (j <= i) {
				t.Fatalf("with %d addresses: IsBroadcast(%v) = %v", i+1, a, got)
			}
		}
		for a, want := range map[string]bool{"10.0.0.255": false, "10.0.0.2": false, "127.0.0.1": true, "127.1.2.3": true,
			"127.255.255.255": false, "::1": true, "::2": false} {
			if got := w.s.IsLocal(0, addr(a)); got != want {
				t.Fatalf("with %d addresses: IsLocal(%s) = %v", i+1, a, got)
			}
		}
	}
}

func TestLifetimes(t *testing.T) {
	w := newWorld(t)
	l := &listener{}
	w.s.AddObserver(l)
	w.eth.AddAddress(Address{Prefix: prefix("2001:db8::1/64"), Preferred: time.Minute, Valid: 2 * time.Minute})
	w.eth.AddAddress(Address{Prefix: prefix("2001:db8:1::1/64"), Valid: time.Minute})
	w.eth.AddAddress(Address{Prefix: prefix("2001:db8:2::1/64")})
	get := func() Address { a, _ := w.eth.Address(here6); return a }
	w.clock.Advance(40 * time.Second)
	if a := get(); a.Preferred != 20*time.Second || a.Valid != 80*time.Second || a.Deprecated {
		t.Errorf("40 s later: %+v", a)
	}
	w.clock.Advance(20 * time.Second)
	if a := get(); a.Preferred != 0 || a.Valid != time.Minute || !a.Deprecated {
		t.Errorf("60 s later: %+v", a)
	}
	if n := len(w.eth.Addresses()); n != 2 {
		t.Errorf("60 s later there are %d addresses", n)
	}
	// An advertisement makes it live longer.
	w.eth.UpdateAddress(here6, func(a *Address) { a.Preferred, a.Valid, a.Deprecated = time.Minute, time.Hour, false })
	if a := get(); a.Preferred != time.Minute || a.Valid != time.Hour || a.Deprecated {
		t.Errorf("renewed: %+v", a)
	}
	w.clock.Advance(30 * time.Second)
	w.eth.UpdateAddress(here6, func(a *Address) { a.Temporary = true }) // other changes do not
	if a := get(); a.Preferred != 30*time.Second || a.Valid != time.Hour-30*time.Second || !a.Temporary {
		t.Errorf("changed: %+v", a)
	}
	w.clock.Advance(time.Hour)
	list := w.eth.Addresses()
	if len(list) != 1 || list[0].Prefix != prefix("2001:db8:2::1/64") || list[0].Valid != 0 {
		t.Errorf("at the end: %+v", list)
	}
	if n := w.clock.Pending(); n != 0 {
		t.Errorf("%d timers run for what lives for ever", n)
	}
	if w.s.IsLocal(0, here6) {
		t.Error("the routes stay")
	}
	removed := 0
	for _, c := range l.all {
		if c.Address != nil && c.Removed {
			removed++
		}
	}
	if removed != 2 {
		t.Errorf("observers heard of %d ends", removed)
	}
}

func TestGroups(t *testing.T) {
	w := newWorld(t)
	ep := w.ep4(w.eth)
	g, g2 := addr("239.1.1.1"), addr("239.1.1.2")
	for range 2 {
		if err := w.eth.JoinGroup(g); err != nil {
			t.Fatal(err)
		}
	}
	w.eth.JoinGroup(g2)
	if !slices.Equal(ep.joined, []netip.Addr{g, g2}) || !w.eth.InGroup(g) || w.fth.InGroup(g) || !slices.Equal(w.eth.Groups(), []netip.Addr{g, g2}) {
		t.Errorf("joined %v, groups %v", ep.joined, w.eth.Groups())
	}
	w.eth.LeaveGroup(g)
	if len(ep.left) != 0 || !w.eth.InGroup(g) {
		t.Error("left with one member still there")
	}
	w.eth.LeaveGroup(g)
	if !slices.Equal(ep.left, []netip.Addr{g}) || w.eth.InGroup(g) {
		t.Errorf("left %v", ep.left)
	}
	if err := w.eth.LeaveGroup(g); err != unix.EADDRNOTAVAIL {
		t.Errorf("LeaveGroup again: %v", err)
	}
	if err := w.eth.JoinGroup(here); err != unix.EINVAL {
		t.Errorf("JoinGroup of what is none: %v", err)
	}
	w.eth.SetAllMulticast(true)
	if !w.eth.InGroup(g) {
		t.Error("all groups, but not this")
	}
	w.eth.SetAllMulticast(false)
	if w.eth.InGroup(g) {
		t.Error("not all groups, but this")
	}
	var err error
	for i := 0; i < 10000 && err == nil; i++ {
		err = w.fth.JoinGroup(netip.AddrFrom4([4]byte{239, 2, byte(i >> 8), byte(i)}))
	}
	if err != unix.ENOBUFS || len(w.fth.Groups()) != groupLimit {
		t.Errorf("%d groups, %v", len(w.fth.Groups()), err)
	}
	four := New(Config{Networks: []func(*Stack) NetworkProtocol{func(*Stack) NetworkProtocol { return &fakeNet{etherType: header.EtherTypeIPv4} }}})
	n, _ := four.CreateNIC(1, "x", &fakeLink{})
	if err := n.JoinGroup(addr("ff02::1")); err != unix.EAFNOSUPPORT {
		t.Errorf("without IPv6: %v", err)
	}
}

func TestAnInterfaceThatIsDown(t *testing.T) {
	w := newWorld(t)
	w.eth.SetUp(false)
	p := buffer.NewFrom([]byte("x"))
	if err := w.eth.WriteTo(linkB, header.EtherTypeIPv4, p); err != unix.ENETDOWN {
		t.Errorf("WriteTo: %v", err)
	}
	w.eth.DeliverPackets([]*buffer.Packet{frame(linkA, header.EtherTypeIPv4, "x")})
	st := w.eth.Stats()
	if len(w.link.take()) != 0 || len(w.ep4(w.eth).got) != 0 || st.TXDropped.Load() != 1 || st.RXDropped.Load() != 1 {
		t.Errorf("sent or received; dropped %d and %d", st.TXDropped.Load(), st.RXDropped.Load())
	}
}

func TestStats(t *testing.T) {
	w := newWorld(t)
	w.eth.WriteTo(linkB, header.EtherTypeIPv4, buffer.NewFrom(make([]byte, 100)))
	w.eth.DeliverPackets([]*buffer.Packet{frame(linkA, header.EtherTypeIPv4, "1234"), frame(tcpip.LinkAddress{1}, header.EtherTypeIPv4, "")})
	w.eth.DeliverPackets([]*buffer.Packet{frame(linkC, header.EtherTypeIPv4, ""), frame(linkA, 0x1234, "")})
	st := w.eth.Stats()
	for name, c := range map[string][2]uint64{
		"TXPackets": {st.TXPackets.Load(), 1}, "TXBytes": {st.TXBytes.Load(), 114}, "RXPackets": {st.RXPackets.Load(), 4},
		"RXBytes": {st.RXBytes.Load(), 60}, "RXMulticast": {st.RXMulticast.Load(), 1}, "RXDropped": {st.RXDropped.Load(), 1},
	} {
		if c[0] != c[1] {
			t.Errorf("%s is %d, want %d", name, c[0], c[1])
		}
	}
	w.link.err = unix.ENOBUFS
	if err := w.eth.WriteTo(linkB, header.EtherTypeIPv4, buffer.NewFrom(nil)); err != unix.ENOBUFS || st.TXDropped.Load() != 1 {
		t.Errorf("a link that is full: %v, %d dropped", err, st.TXDropped.Load())
	}
}

func TestLoopBackIsDeliveredAsIfItCameIn(t *testing.T) {
	w := newWorld(t)
	lo := w.lo.Link().(*fakeLink)
	p := buffer.NewFrom([]byte("to a group"))
	w.eth.LoopBack(header.EtherTypeIPv4, p)
	sent := lo.take()
	if len(sent) != 1 || w.lo.Stats().TXPackets.Load() != 0 {
		t.Fatalf("lo was given %q", sent)
	}
	back := buffer.NewFrom(sent[0])
	back.EtherType, back.Looped = header.EtherTypeIPv4, 2
	w.lo.DeliverPackets([]*buffer.Packet{back})
	got := w.ep4(w.eth).got
	if len(got) != 1 || got[0].NIC != 2 || got[0].PacketType != packetMulticast || got[0].Looped != 0 || len(w.ep4(w.lo).got) != 0 {
		t.Errorf("eth0's IPv4 got %d packets", len(got))
	}
	// Not if the interface is gone or down meanwhile.
	for _, nic := range []tcpip.NICID{99, 2} {
		w.eth.SetUp(false)
		p := buffer.NewFrom([]byte("x"))
		p.EtherType, p.Looped = header.EtherTypeIPv4, nic
		w.lo.DeliverPackets([]*buffer.Packet{p})
	}
	if len(w.ep4(w.eth).got) != 1 {
		t.Error("an interface that is down got a packet")
	}
	w.s.RemoveNIC(1)
	w.eth.LoopBack(header.EtherTypeIPv4, buffer.NewFrom([]byte("nowhere")))
}
