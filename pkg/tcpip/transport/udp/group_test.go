package udp_test

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/loopback"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/network/ipv4"
	"runsc/pkg/tcpip/stack"
	. "runsc/pkg/tcpip/transport/internal/nettest"
	"runsc/pkg/tcpip/transport/udp"
)

// multicastBy makes sends to groups leave by an interface.
func multicastBy(e *udp.Endpoint, nic tcpip.NICID) {
	o := e.Options()
	o.Mu.Lock()
	o.MulticastNIC, o.MulticastNIC6 = nic, nic
	o.Mu.Unlock()
}

func TestGroupByWireAndLoop(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		n := New(t, pipe.Options{}, udp.New)
		sender := endpoint(t, n.A, v.v6)
		multicastBy(sender, EthID)
		here, there := bound(t, n.A, v.v6, v.any, 5000), bound(t, n.B, v.v6, v.any, 5000)
		second := endpoint(t, n.B, v.v6)
		there.Options().ReuseAddress.Store(true)
		member := tcpip.GroupMembership{Group: v.group, NIC: EthID}
		send := func(s string) { t.Helper(); OK(t, SendTo(sender, s, To(v.group, 5000))); n.Run() }

		send("nobody is a member")
		WantError(t, here, unix.EAGAIN)
		WantError(t, there, unix.EAGAIN)

		OK(t, here.JoinGroup(member))
		OK(t, there.JoinGroup(member))
		n.Run()
		send("all")
		r := WantData(t, there, "all")
		if c := r.Control; r.From.Addr != v.own || c.Destination != v.group || c.LocalAddr == v.group || c.NIC != EthID || c.TTL != 1 {
			t.Errorf("from %v, %+v", r.From, c)
		}
		WantData(t, here, "all")

		sender.Options().MulticastLoop4.Store(false)
		sender.Options().MulticastLoop6.Store(false)
		sender.Options().MulticastTTL.Store(7)
		sender.Options().MulticastHopLimit.Store(7)
		send("others")
		if r := WantData(t, there, "others"); r.Control.TTL != 7 {
			t.Errorf("TTL %d", r.Control.TTL)
		}
		WantError(t, here, unix.EAGAIN)

		OK(t, there.LeaveGroup(member))
		n.Run()
		send("nobody again")
		WantError(t, there, unix.EAGAIN)
		second.Close()
	})
}

func TestGroupOfTTLZeroStaysHere(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		n := New(t, pipe.Options{}, udp.New)
		sender := endpoint(t, n.A, v.v6)
		multicastBy(sender, EthID)
		sender.Options().MulticastTTL.Store(0)
		sender.Options().MulticastHopLimit.Store(0)
		here, there := bound(t, n.A, v.v6, v.any, 5000), bound(t, n.B, v.v6, v.any, 5000)
		member := tcpip.GroupMembership{Group: v.group, NIC: EthID}
		OK(t, here.JoinGroup(member))
		OK(t, there.JoinGroup(member))
		n.Run()
		OK(t, SendTo(sender, "x", To(v.group, 5000)))
		n.Run()
		WantData(t, here, "x")
		WantError(t, there, unix.EAGAIN)
	})
}

func TestAllMembersGetACopy(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		sender := endpoint(t, h, v.v6)
		multicastBy(sender, EthID)
		var all []*udp.Endpoint
		for i := range 5 {
			e := endpoint(t, h, v.v6)
			e.Options().ReuseAddress.Store(true)
			// Bound to any address or to the group: both get it; to another: does not.
			a := v.any
			if i == 1 {
				a = v.group
			} else if i == 2 {
				a = v.own
			}
			OK(t, e.Bind(To(a, 5000)))
			all = append(all, e)
		}
		member := tcpip.GroupMembership{Group: v.group, NIC: EthID}
		OK(t, all[0].JoinGroup(member))
		// Number 3 is not a member and says that it does not care for others' groups.
		all[3].Options().MulticastAll4.Store(false)
		all[3].Options().MulticastAll6.Store(false)
		// Number 4 is a member, but not for this sender.
		OK(t, all[4].JoinGroup(member))
		OK(t, all[4].BlockSource(tcpip.GroupMembership{Group: v.group, NIC: EthID, Source: v.own}))
		OK(t, SendTo(sender, "x", To(v.group, 5000)))
		for i, e := range all {
			if i < 2 {
				WantData(t, e, "x")
			} else {
				WantError(t, e, unix.EAGAIN)
			}
		}
		OK(t, all[4].UnblockSource(tcpip.GroupMembership{Group: v.group, NIC: EthID, Source: v.own}))
		OK(t, SendTo(sender, "y", To(v.group, 5000)))
		WantData(t, all[4], "y")
	})
}

func TestGroupBySource(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		sender := endpoint(t, h, v.v6)
		multicastBy(sender, EthID)
		e := bound(t, h, v.v6, v.any, 5000)
		of := func(a netip.Addr) tcpip.GroupMembership {
			return tcpip.GroupMembership{Group: v.group, NIC: EthID, Source: a}
		}
		send := func() { t.Helper(); OK(t, SendTo(sender, "x", To(v.group, 5000))) }
		OK(t, e.JoinGroup(of(v.other)))
		send()
		WantError(t, e, unix.EAGAIN)
		OK(t, e.JoinGroup(of(v.own)))
		send()
		WantData(t, e, "x")
		Want(t, e.JoinGroup(of(v.own)), unix.EADDRNOTAVAIL)
		Want(t, e.BlockSource(of(v.own)), unix.EINVAL)
		OK(t, e.LeaveGroup(of(v.own)))
		send()
		WantError(t, e, unix.EAGAIN)
		Want(t, e.LeaveGroup(of(v.own)), unix.EADDRNOTAVAIL)
		OK(t, e.LeaveGroup(of(v.other)))
		if h.Eth.InGroup(v.group) {
			t.Error("a member of no source is a member still")
		}
		Want(t, e.LeaveGroup(of(v.other)), unix.EINVAL)
	})
}

func TestMembershipErrors(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6)
		m := tcpip.GroupMembership{Group: v.group, NIC: EthID}
		src := m
		src.Source = v.other
		notGroup := tcpip.GroupMembership{Group: v.own, NIC: EthID, Source: v.other}
		nowhere := tcpip.GroupMembership{Group: v.group, NIC: 77, Source: v.other}

		Want(t, e.LeaveGroup(m), unix.EADDRNOTAVAIL)
		Want(t, e.JoinGroup(notGroup), unix.EINVAL)
		Want(t, e.BlockSource(notGroup), unix.EINVAL)
		Want(t, e.LeaveGroup(notGroup), unix.EINVAL)
		Want(t, e.JoinGroup(nowhere), unix.ENODEV)
		Want(t, e.BlockSource(nowhere), unix.ENODEV)
		Want(t, e.LeaveGroup(nowhere), unix.ENODEV)
		Want(t, e.BlockSource(src), unix.EINVAL)
		Want(t, e.UnblockSource(src), unix.EINVAL)
		Want(t, e.SetSourceFilter(m, true, []netip.Addr{v.other}), unix.EINVAL)
		Want(t, e.SetSourceFilter(m, true, nil), unix.EADDRNOTAVAIL)
		Want(t, e.SetSourceFilter(notGroup, true, nil), unix.EINVAL)
		Want(t, e.SetSourceFilter(nowhere, true, nil), unix.ENODEV)
		_, _, err := e.SourceFilter(m)
		Want(t, err, unix.EADDRNOTAVAIL)
		_, _, err = e.SourceFilter(notGroup)
		Want(t, err, unix.EINVAL)
		_, _, err = e.SourceFilter(nowhere)
		Want(t, err, unix.ENODEV)

		OK(t, e.JoinGroup(m))
		Want(t, e.JoinGroup(m), unix.EADDRINUSE)
		Want(t, e.UnblockSource(src), unix.EADDRNOTAVAIL)
		OK(t, e.BlockSource(src))
		Want(t, e.BlockSource(src), unix.EADDRNOTAVAIL)
		Want(t, e.JoinGroup(src), unix.EINVAL)
		Want(t, e.LeaveGroup(src), unix.EINVAL)
		OK(t, e.UnblockSource(src))
		// It has had a list of sources to be blocked, so it keeps that mode.
		Want(t, e.JoinGroup(src), unix.EINVAL)

		limit := 10
		if v.v6 {
			limit = 64
		}
		var many []netip.Addr
		for a := v.own.Next(); len(many) <= limit; a = a.Next() {
			many = append(many, a)
		}
		for i, a := range many {
			src.Source = a
			if err := e.BlockSource(src); i < limit && err != nil || i >= limit && err != unix.ENOBUFS {
				t.Errorf("blocking source %d: %v", i, err)
			}
		}
		Want(t, e.SetSourceFilter(m, false, many), unix.ENOBUFS)
		OK(t, e.SetSourceFilter(m, true, many[:3]))
		if include, list, err := e.SourceFilter(m); !include || len(list) != 3 || list[2] != many[2] || err != nil {
			t.Errorf("sources %v %v, %v", include, list, err)
		}
		OK(t, e.SetSourceFilter(m, false, nil))
		if include, list, err := e.SourceFilter(m); include || len(list) != 0 || err != nil {
			t.Errorf("sources %v %v, %v", include, list, err)
		}
		OK(t, e.SetSourceFilter(m, true, nil))
		if h.Eth.InGroup(v.group) {
			t.Error("a member of no source is a member still")
		}
	})
}

func TestMembershipsAreBounded(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false)
	a := netip.MustParseAddr("239.9.0.0")
	for i := range 21 {
		err := e.JoinGroup(tcpip.GroupMembership{Group: a, NIC: EthID})
		if i < 20 && err != nil || i == 20 && err != unix.ENOBUFS {
			t.Fatalf("group %d: %v", i, err)
		}
		a = a.Next()
	}
}

func TestInterfaceWithoutTheProtocol(t *testing.T) {
	st := stack.New(stack.Config{Networks: []func(*stack.Stack) stack.NetworkProtocol{ipv4.New}, Transports: []func(*stack.Stack) stack.TransportProtocol{udp.New}})
	defer st.Close()
	lo, err := st.CreateNIC(LoID, "lo", loopback.New())
	OK(t, err)
	lo.SetUp(true)
	e := udp.NewEndpoint(st, true)
	defer e.Close()
	Want(t, e.JoinGroup(tcpip.GroupMembership{Group: families[1].group, NIC: LoID}), unix.EAFNOSUPPORT)
	Want(t, e.LeaveGroup(tcpip.GroupMembership{Group: families[1].group, NIC: LoID}), unix.EADDRNOTAVAIL)
}

func TestInterfaceOfAMembership(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false)
	g := families[0].group
	by := func(a netip.Addr) tcpip.GroupMembership { return tcpip.GroupMembership{Group: g, InterfaceAddr: a} }
	Want(t, e.JoinGroup(by(Addr4(9))), unix.ENODEV)
	OK(t, e.JoinGroup(by(Loopback4)))
	if !h.Lo.InGroup(g) || h.Eth.InGroup(g) {
		t.Error("127.0.0.1 is not lo")
	}
	// Without one, it is that of the route.
	OK(t, e.JoinGroup(by(netip.Addr{})))
	if !h.Eth.InGroup(g) {
		t.Error("the route was not asked")
	}
	Want(t, e.LeaveGroup(by(Addr4(9))), unix.EADDRNOTAVAIL)
	Want(t, e.LeaveGroup(tcpip.GroupMembership{Group: Addr4(9)}), unix.EADDRNOTAVAIL)
	OK(t, e.LeaveGroup(by(netip.MustParseAddr("0.0.0.0"))))
	if h.Eth.InGroup(g) || !h.Lo.InGroup(g) {
		t.Error("another interface's was left")
	}
	OK(t, e.LeaveGroup(by(Loopback4)))
	Want(t, e.LeaveGroup(by(Loopback4)), unix.EADDRNOTAVAIL)
	OK(t, e.JoinGroup(tcpip.GroupMembership{Group: g, NIC: EthID}))
	OK(t, h.RemoveNIC(EthID))
	// Neither an interface nor a route.
	Want(t, e.JoinGroup(by(netip.Addr{})), unix.ENODEV)
	Want(t, e.LeaveGroup(by(netip.Addr{})), unix.ENODEV)
	e.Close()
}

func TestBroadcast(t *testing.T) {
	n := New(t, pipe.Options{}, udp.New)
	a := endpoint(t, n.A, false)
	b, c := bound(t, n.B, false, netip.Addr{}, 5000), endpoint(t, n.B, false)
	subnet, all := netip.MustParseAddr("192.0.2.255"), netip.MustParseAddr("255.255.255.255")
	Want(t, SendTo(a, "x", To(subnet, 5000)), unix.EACCES)
	a.Options().Broadcast.Store(true)
	OK(t, SendTo(a, "x", To(subnet, 5000)))
	n.Run()
	if r := WantData(t, b, "x"); r.Control.Destination != subnet || r.Control.LocalAddr != Addr4(2) || r.From.Addr != Addr4(1) {
		t.Errorf("from %v, %+v", r.From, r.Control)
	}
	to := To(all, 5000)
	_, err := a.Send(&Bytes{B: []byte("y")}, tcpip.SendOptions{To: &to, Control: tcpip.SendControl{HasPacketInfo: true, NIC: EthID}})
	OK(t, err)
	n.Run()
	WantData(t, b, "y")
	OK(t, c.Bind(To(subnet, 5001)))
	OK(t, SendTo(a, "z", To(subnet, 5001)))
	n.Run()
	WantData(t, c, "z")
	// What is bound to a broadcast address sends from its own.
	OK(t, SendTo(c, "from", To(Addr4(1), a.LocalAddress().Port)))
	n.Run()
	if r := WantData(t, a, "from"); r.From.Addr != Addr4(2) {
		t.Errorf("from %v", r.From)
	}
	OK(t, a.Connect(To(subnet, 5000)))
}

func TestMulticastSourceAndInterfaceOptions(t *testing.T) {
	h := host(t)
	g := families[0].group
	e := endpoint(t, h, false)
	o := e.Options()
	o.Mu.Lock()
	o.MulticastSource = Addr4(1)
	o.Mu.Unlock()
	OK(t, SendTo(e, "x", To(g, 5000)))
	sent := h.Sent(header.ProtocolUDP)
	if len(sent) != 1 || header.IPv4(sent[0]).Source() != Addr4(1) {
		t.Errorf("sent %x", sent)
	}
	multicastBy(e, LoID)
	lo := bound(t, h, false, netip.Addr{}, 5000)
	OK(t, lo.JoinGroup(tcpip.GroupMembership{Group: g, NIC: LoID}))
	OK(t, SendTo(e, "x", To(g, 5000)))
	WantData(t, lo, "x")
}
