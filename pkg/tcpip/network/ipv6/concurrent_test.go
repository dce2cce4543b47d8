package ipv6

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// Everything at once: for the race detector, and to see that nothing waits for something else for
// ever and that what is left is as it should be.
func TestEverythingAtOnce(t *testing.T) {
	h := newHost(t, hostOptions{ra: true, dad: true, addresses: []string{"2001:db8::1/64"}})
	h.wire.discard = true
	const p = "2001:db8:7::/64"
	advert := ra(peerLL, lifetimeOf(time.Hour), sourceLink(peerLink), mtuOpt(1400), prefixOpt(p, true, true, time.Hour, time.Hour))
	withdraw := ra(peerLL, lifetimeOf(0), mtuOpt(1500), prefixOpt(p, true, true, 0, 0))
	query := mldPacket(peerLL, header.IPv6AllNodes, query2(header.IPv6Any, time.Millisecond))
	claim := ndp(ourGlobal, header.IPv6AllNodes, advertise(ourGlobal, false, false, true), targetLink(peerLink))
	const rounds = 200
	var wg sync.WaitGroup
	do := func(f func(i int)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range rounds {
				f(i)
			}
		}()
	}
	do(func(i int) { h.receive([][]byte{advert, withdraw}[i%2]) })
	do(func(i int) { h.receive(query); h.receive(claim); h.receive(ping(peerGlobal, ourGlobal, uint16(i))) })
	do(func(i int) { h.receive(redirectMessage(peerLL, ourGlobal, otherLL, remote, targetLink(otherLink))) })
	do(func(i int) {
		h.nic.JoinGroup(groupA)
		h.nic.LeaveGroup(groupA)
	})
	do(func(i int) {
		a := netip.PrefixFrom(addr("2001:db8::55"), 64)
		h.nic.AddAddress(stack.Address{Prefix: a})
		h.nic.RemoveAddress(a)
	})
	do(func(i int) {
		h.nic.SetUp(i%8 != 0)
		if i%20 == 0 {
			h.stack.Settings().IPv6Forwarding.Store(i%40 == 0)
			h.ep.SettingsChanged()
		}
	})
	do(func(i int) {
		h.nic.SetNeighbour(stack.Neighbour{Addr: peerLL, State: stack.NeighbourFailed})
		h.nic.SetNeighbour(stack.Neighbour{Addr: peerLL, Link: peerLink, State: stack.NeighbourReachable})
		if r, err := h.stack.FindRoute(stack.RouteQuery{Destination: remote}); err == nil {
			r.WritePacket(stack.NetworkParams{Transport: header.ProtocolUDP}, packet(udp(1, 2, 3000)))
		}
		h.ep.Solicit(peerGlobal, ourGlobal, tcpip.LinkAddress{})
	})
	do(func(i int) { h.clock.Advance(100 * time.Millisecond) })
	wg.Wait()

	h.stack.Settings().IPv6Forwarding.Store(false)
	h.nic.SetUp(false)
	h.nic.SetUp(true)
	h.ep.SettingsChanged()
	h.clock.Advance(3 * time.Second)
	h.receive(advert)
	h.clock.Advance(3 * time.Second)
	h.expectGateways(peerLL)
	for _, a := range []netip.Addr{ourLL, ourGlobal, autoAddr(p)} {
		if !h.nic.HasAddress(a) || !h.nic.InGroup(header.SolicitedNode(a)) {
			t.Errorf("%v is not used, or its group was left", a)
		}
	}
	if !h.nic.InGroup(header.IPv6AllNodes) || h.nic.InGroup(header.IPv6AllRouters) {
		t.Errorf("the groups are %v", h.nic.Groups())
	}
	h.nic.SetUp(false)
	for _, g := range h.nic.Groups() {
		if !isSolicitedNode(g) {
			t.Errorf("still in %v", g)
		}
	}
	h.nic.RemoveAddress(netip.PrefixFrom(ourGlobal, 64))
	if g := h.nic.Groups(); len(g) != 0 {
		t.Errorf("still in %v", g)
	}
	check(t, h, nil)
}
