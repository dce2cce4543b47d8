package ipv6

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

func TestHeaderChecks(t *testing.T) {
	good := ip(peerGlobal, ourGlobal, header.ProtocolUDP, 64, udp(1, 2, 20))
	edit := func(f func(b []byte) []byte) []byte { return f(slices.Clone(good)) }
	between := func(src, dst netip.Addr) []byte { return ip(src, dst, header.ProtocolUDP, 64, udp(1, 2, 20)) }
	for _, test := range []struct {
		name    string
		b       []byte
		deliver bool
		counter func(*stack.IPStats) *stack.Counter
	}{
		{"good", good, true, func(s *stack.IPStats) *stack.Counter { return &s.InDelivers }},
		{"RFC 8200 section 3: version 4", edit(func(b []byte) []byte { b[0] = 0x45; return b }), false,
			func(s *stack.IPStats) *stack.Counter { return &s.InHdrErrors }},
		{"shorter than a header", good[:39], false, func(s *stack.IPStats) *stack.Counter { return &s.InHdrErrors }},
		{"nothing", nil, false, func(s *stack.IPStats) *stack.Counter { return &s.InHdrErrors }},
		{"payload cut off", good[:len(good)-1], false, func(s *stack.IPStats) *stack.Counter { return &s.InTruncatedPkts }},
		{"padding of the link behind the payload", edit(func(b []byte) []byte { return append(b, make([]byte, 9)...) }), true,
			func(s *stack.IPStats) *stack.Counter { return &s.InDelivers }},
		{"RFC 4291 section 2.7: source is a group", between(addr("ff02::1:2"), ourGlobal), false,
			func(s *stack.IPStats) *stack.Counter { return &s.InAddrErrors }},
		{"RFC 4291 section 2.5.2: destination is unspecified", between(peerGlobal, header.IPv6Any), false,
			func(s *stack.IPStats) *stack.Counter { return &s.InAddrErrors }},
		{"RFC 4291 section 2.5.3: source is loopback", between(header.IPv6Loopback, ourGlobal), false,
			func(s *stack.IPStats) *stack.Counter { return &s.InAddrErrors }},
		{"RFC 4291 section 2.5.3: destination is loopback", between(peerGlobal, header.IPv6Loopback), false,
			func(s *stack.IPStats) *stack.Counter { return &s.InAddrErrors }},
		{"source is IPv4-mapped", between(addr("::ffff:10.0.0.1"), ourGlobal), false,
			func(s *stack.IPStats) *stack.Counter { return &s.InAddrErrors }},
		{"destination is IPv4-mapped", between(peerGlobal, addr("::ffff:10.0.0.1")), false,
			func(s *stack.IPStats) *stack.Counter { return &s.InAddrErrors }},
		{"RFC 4291 section 2.7: interface-local group from outside", between(peerGlobal, addr("ff01::1")), false,
			func(s *stack.IPStats) *stack.Counter { return &s.InAddrErrors }},
		{"RFC 4291 section 2.7: reserved scope", between(peerGlobal, addr("ff00::1")), false,
			func(s *stack.IPStats) *stack.Counter { return &s.InAddrErrors }},
		{"somebody else's, and this is no router", between(peerGlobal, remote), false,
			func(s *stack.IPStats) *stack.Counter { return &s.InAddrErrors }},
		{"somebody else's link-local address", between(peerGlobal, otherLL), false,
			func(s *stack.IPStats) *stack.Counter { return &s.InAddrErrors }},
		{"our link-local address", between(peerLL, ourLL), true, func(s *stack.IPStats) *stack.Counter { return &s.InDelivers }},
		{"all nodes", between(peerLL, header.IPv6AllNodes), true, func(s *stack.IPStats) *stack.Counter { return &s.InMcastPkts }},
		{"a group that we are not in", between(peerLL, addr("ff02::1234")), false, func(s *stack.IPStats) *stack.Counter { return &s.InMcastPkts }},
		{"all routers, and this is none", between(peerLL, header.IPv6AllRouters), false, func(s *stack.IPStats) *stack.Counter { return &s.InAddrErrors }},
		{"an address of another interface (weak host model)", between(peerGlobal, addr("2001:db8:5::1")), true,
			func(s *stack.IPStats) *stack.Counter { return &s.InDelivers }},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}})
			h.join(addr("ff01::1"))
			h.join(addr("ff00::1"))
			if err := h.lo.AddAddress(stack.Address{Prefix: prefix("2001:db8:5::1/128"), NoDAD: true}); err != nil {
				t.Fatal(err)
			}
			h.take()
			before := test.counter(&h.stack.Stats().IP6).Load()
			h.receive(test.b)
			got := h.udp.takeUnknown()
			if (len(got) == 1) != test.deliver {
				t.Fatalf("%d packets were delivered", len(got))
			}
			if test.deliver && !slices.Equal(got[0].b, udp(1, 2, 20)) {
				t.Errorf("delivered %x", got[0].b)
			}
			if n := test.counter(&h.stack.Stats().IP6).Load(); n != before+1 {
				t.Errorf("the counter went from %d to %d", before, n)
			}
		})
	}
}

func TestFieldsReachTheTransport(t *testing.T) {
	h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}})
	b := ip(peerGlobal, ourGlobal, header.ProtocolUDP, 33, udp(1000, 53, 5))
	header.IPv6(b).SetClassAndLabel(0xb9, 0x12345)
	h.receive(b)
	got := h.udp.takeUnknown()
	if len(got) != 1 {
		t.Fatalf("%d packets were delivered", len(got))
	}
	d := got[0]
	want := stack.TransportID{LocalAddr: ourGlobal, RemoteAddr: peerGlobal, LocalPort: 53, RemotePort: 1000}
	if d.id != want || d.tos != 0xb9 || d.label != 0x12345 || d.ttl != 33 || d.local != ourGlobal || d.nic != h.nic.ID() {
		t.Errorf("delivered %+v", d)
	}
	if !slices.Equal(d.net, b[:header.IPv6Size]) {
		t.Errorf("network header %x", d.net)
	}
	h.receive(ip(peerGlobal, header.IPv6AllNodes, header.ProtocolUDP, 33, udp(1000, 53, 5)))
	if got = h.udp.takeUnknown(); len(got) != 1 || got[0].local != ourGlobal {
		t.Errorf("a packet to all nodes is for %+v, want for %v", got, ourGlobal)
	}
}

func TestDisabledIPv6NeitherReceivesNorSends(t *testing.T) {
	h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}})
	r, err := h.stack.FindRoute(stack.RouteQuery{Destination: peerGlobal})
	if err != nil {
		t.Fatal(err)
	}
	h.stack.Settings().IPv6Disabled.Store(true)
	h.receive(ip(peerGlobal, ourGlobal, header.ProtocolUDP, 64, udp(1, 2, 20)))
	if got := h.udp.takeUnknown(); len(got) != 0 {
		t.Error("a packet was delivered")
	}
	if err := r.WritePacket(stack.NetworkParams{Transport: header.ProtocolUDP}, packet(udp(1, 2, 3))); err != unix.ENETUNREACH {
		t.Errorf("WritePacket: %v, want ENETUNREACH", err)
	}
	if err := r.Endpoint.WriteHeaderIncluded(r, packet(ip(ourGlobal, peerGlobal, 17, 64, udp(1, 2, 3)))); err != unix.ENETUNREACH {
		t.Errorf("WriteHeaderIncluded: %v, want ENETUNREACH", err)
	}
	h.none("IPv6 is off")
}

func TestSwitchingIPv6OffAndOnAgain(t *testing.T) {
	h := newHost(t, hostOptions{addresses: []string{"2001:db8::1/64"}})
	h.stack.Settings().IPv6Disabled.Store(true)
	h.ep.SettingsChanged()
	if h.nic.HasAddress(ourLL) || h.nic.InGroup(header.IPv6AllNodes) {
		t.Error("the link-local address or the group of all nodes is still there")
	}
	h.take()
	h.clock.Advance(time.Minute)
	h.none("IPv6 is off")
	h.stack.Settings().IPv6Disabled.Store(false)
	h.ep.SettingsChanged()
	h.clock.Advance(time.Minute)
	if !h.nic.HasAddress(ourLL) || !h.nic.InGroup(header.IPv6AllNodes) {
		t.Error("the link-local address or the group of all nodes did not come back")
	}
	// A NIC that comes up while it is off stays silent.
	h.stack.Settings().IPv6Disabled.Store(true)
	h.ep.SettingsChanged()
	h.nic.SetUp(false)
	h.take()
	h.nic.SetUp(true)
	h.clock.Advance(time.Minute)
	h.none("IPv6 is off")
}

func TestLinkLocalTrafficOfThisHostKeepsItsInterface(t *testing.T) {
	h := newHost(t, hostOptions{})
	h.udp.bind(t, stack.TransportID{LocalPort: 53})
	r, err := h.stack.FindRoute(stack.RouteQuery{Destination: ourLL, NIC: h.nic.ID()})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.WritePacket(stack.NetworkParams{Transport: header.ProtocolUDP}, packet(udp(9, 53, 4))); err != nil {
		t.Fatal(err)
	}
	var got []delivery
	h.eventually("a packet is delivered", func() bool { got = append(got, h.udp.takeGot()...); return len(got) > 0 })
	if got[0].nic != h.nic.ID() || got[0].id.RemoteAddr != ourLL {
		t.Errorf("it came by interface %d from %v", got[0].nic, got[0].id.RemoteAddr)
	}
	h.none("a packet to this host itself")
}
