package stack

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTablesAreBounded(t *testing.T) {
	if testing.Short() {
		t.Skip("skipped: fills large tables")
	}
	w := newWorld(t)
	for name, c := range map[string]struct {
		limit int
		f     func(i int) error
	}{
		"interfaces": {nicLimit - 3, func(i int) error {
			_, err := w.s.CreateNIC(0, fmt.Sprint("n", i), &fakeLink{})
			return err
		}},
		"addresses": {addressLimit, func(i int) error {
			return w.fth.AddAddress(Address{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), 32)})
		}},
		"rules": {ruleLimit - 5, func(i int) error { return w.s.AddRule(Rule{Priority: uint32(i), Table: 5, Action: 1}) }},
		"neighbours": {permanentLimit, func(i int) error {
			return w.eth.SetNeighbour(Neighbour{Addr: netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), Link: linkB})
		}},
	} {
		n := 0
		var err error
		for ; n < 2*c.limit && err == nil; n++ {
			err = c.f(n)
		}
		if err != unix.ENOBUFS || n-1 != c.limit {
			t.Errorf("%s: %d, then %v; want %d", name, n-1, err, c.limit)
		}
	}
	// What the network brings displaces none of those set by hand.
	w.eth.LearnNeighbour(there, linkB)
	if n := len(w.eth.Neighbours()); n != permanentLimit+1 {
		t.Errorf("%d neighbours", n)
	}
	if err := w.eth.SetNeighbour(Neighbour{Addr: there, Link: linkC}); err != nil {
		t.Errorf("a change of one that is there: %v", err)
	}
}

func TestRoutesAreBounded(t *testing.T) {
	w := newWorld(t)
	w.s.mu.Lock()
	for i := range routeLimit {
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
		w.s.lines = append(w.s.lines, &routeLine{RouteEntry: RouteEntry{Destination: p, NIC: 2, Table: TableMain, Type: RouteUnicast}})
	}
	w.s.rebuild(map[tableID]bool{{false, TableMain}: true})
	w.s.mu.Unlock()
	if err := w.s.AddRoute(RouteEntry{Destination: prefix("12.0.0.0/8"), NIC: 2}); err != unix.ENOBUFS {
		t.Errorf("AddRoute: %v", err)
	}
	if err := w.s.RemoveRoute(RouteEntry{Destination: prefix("11.0.0.5/32")}); err != nil {
		t.Errorf("RemoveRoute: %v", err)
	}
}
