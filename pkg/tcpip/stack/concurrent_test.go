package stack_test

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/stack"
)

// changes is an observer that counts.
type changes struct {
	mu sync.Mutex
	n  int
}

func (c *changes) StackChanged(x stack.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

// Everything is changed while packets come and go: for the race detector, and for locks that are
// taken in the wrong order.
func TestEverythingChangesWhilePacketsFlow(t *testing.T) {
	x := newTarget(t, true)
	o := &changes{}
	x.s.AddObserver(o)
	eth := x.s.NIC(2)
	list := seeds()
	rounds := 300
	if testing.Short() {
		rounds = 60
	}
	var wg sync.WaitGroup
	run := func(f func(i int)) {
		wg.Go(func() {
			for i := range rounds {
				f(i)
			}
		})
	}
	for _, names := range [][]string{{"udp", "udp6", "arp", "echo"}, {"syn", "ns", "ra", "error", "forward", "igmp", "mld"}} {
		run(func(i int) {
			for _, name := range names {
				b := append([]byte(nil), list[name]...)
				b[0] &^= opAdvance | opRead | opSend // the clock and the sockets belong to others
				x.play(t, b)
			}
		})
	}
	run(func(i int) { x.clock.Advance(time.Duration(i) * time.Millisecond) })
	run(func(i int) { x.read(); x.send() })
	p := netip.MustParsePrefix("192.0.2.77/24")
	run(func(i int) {
		eth.AddAddress(stack.Address{Prefix: p, Valid: time.Duration(i) * time.Second})
		eth.UpdateAddress(p.Addr(), func(a *stack.Address) { a.Deprecated = i%2 == 0 })
		eth.RemoveAddress(p)
		eth.Addresses()
	})
	run(func(i int) {
		e := stack.RouteEntry{Destination: netip.MustParsePrefix("203.0.113.0/24"), NIC: 3}
		x.s.AddRoute(e)
		x.s.AddRule(stack.Rule{Priority: 5, Mark: uint32(i), Table: 7, Action: 1})
		x.s.RemoveRule(stack.Rule{Priority: 5})
		x.s.RemoveRoute(e)
		x.s.Routes()
	})
	run(func(i int) {
		n, err := x.s.CreateNIC(0, "new", capture.New(capture.Options{Discard: true}))
		if err != nil {
			t.Error(err)
			return
		}
		n.SetUp(true)
		n.AddAddress(stack.Address{Prefix: netip.MustParsePrefix("10.99.0.1/24")})
		n.JoinGroup(group4)
		x.s.RemoveNIC(n.ID())
	})
	run(func(i int) {
		tun := x.s.NIC(3)
		tun.SetUp(i%2 == 0)
		tun.SetMTU(uint32(1280 + i))
		eth.JoinGroup(netip.AddrFrom4([4]byte{239, 7, 0, byte(i)}))
		eth.LeaveGroup(netip.AddrFrom4([4]byte{239, 7, 0, byte(i - 1)}))
	})
	run(func(i int) {
		a := netip.AddrFrom4([4]byte{192, 0, 2, byte(100 + i%50)})
		eth.LearnNeighbour(a, itLink)
		eth.ConfirmNeighbour(a, tcpip.LinkAddress{2, byte(i)}, i%2 == 0, true, false)
		eth.Neighbours()
		eth.RemoveNeighbour(a)
		if r, err := x.s.FindRoute(stack.RouteQuery{Destination: a}); err == nil {
			r.ConfirmNeighbour()
			r.MTU()
		}
		x.s.SetPathMTU(a, 1000)
	})
	wg.Wait()
	x.s.NIC(3).SetUp(true)
	if o.n == 0 {
		t.Error("observers heard of nothing")
	}
	// After all of it packets still get where they should.
	for n := -1; n != x.received; {
		n = x.received
		x.read() // makes room
	}
	before := x.s.Stats().UDP.InDatagrams.Load()
	x.link.Inject(0, frame(header.EtherTypeIPv4, packet4(17, peer4, us4, []byte{0, 9, 0, 53, 0, 8, 0, 0})))
	x.read()
	if got := x.s.Stats().UDP.InDatagrams.Load() - before; got != 1 {
		t.Errorf("a datagram was delivered %d times", got)
	}
	x.s.RemoveObserver(o)
	x.end(t)
}
