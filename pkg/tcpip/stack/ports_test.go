package stack

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
)

func TestWhoMayShareAPort(t *testing.T) {
	any4 := PortRequest{V4: true}
	dual := PortRequest{V4: true, V6: true}
	any6 := PortRequest{V6: true}
	one := PortRequest{V4: true, Addr: addr("10.0.0.1")}
	two := PortRequest{V4: true, Addr: addr("10.0.0.2")}
	with := func(r PortRequest, f func(*PortRequest)) PortRequest { f(&r); return r }
	reuse := func(r *PortRequest) { r.ReuseAddress = true }
	share := func(r *PortRequest) { r.ReusePort = true }
	listening := func(r *PortRequest) { r.ReuseAddress, r.Listening = true, true }
	nic := func(id tcpip.NICID) func(*PortRequest) { return func(r *PortRequest) { r.NIC = id } }
	for name, c := range map[string]struct {
		first, second PortRequest
		ok            bool
	}{
		"the same":                        {any4, any4, false},
		"any and one":                     {any4, one, false},
		"one and any":                     {one, any4, false},
		"one and another":                 {one, two, true},
		"the same one":                    {one, one, false},
		"unspecified is any":              {with(any4, func(r *PortRequest) { r.Addr = addr("0.0.0.0") }), one, false},
		"both versions, then IPv4":        {dual, one, false},
		"both versions, then IPv6":        {dual, any6, false},
		"IPv4 and IPv6":                   {any4, any6, true},
		"IPv6, then both":                 {any6, dual, false},
		"both reuse":                      {with(any4, reuse), with(any4, reuse), true},
		"only the first reuses":           {with(any4, reuse), any4, false},
		"only the second reuses":          {any4, with(any4, reuse), false},
		"both reuse, the first listens":   {with(any4, listening), with(any4, reuse), false},
		"reuse, one beside any listening": {with(any4, listening), with(one, reuse), false},
		"both share":                      {with(any4, share), with(any4, share), true},
		"only one shares":                 {with(any4, share), any4, false},
		"both share, other user":          {with(any4, share), with(any4, func(r *PortRequest) { r.ReusePort, r.User = true, 7 }), false},
		"listener shares":                 {with(any4, func(r *PortRequest) { r.ReusePort, r.Listening = true, true }), with(any4, share), true},
		"other interfaces":                {with(any4, nic(2)), with(any4, nic(3)), true},
		"one interface and any":           {with(any4, nic(2)), any4, false},
		"same interface":                  {with(any4, nic(2)), with(any4, nic(2)), false},
		"other transports": {with(any4, func(r *PortRequest) { r.Transport = 6 }),
			with(any4, func(r *PortRequest) { r.Transport = 17 }), true},
	} {
		s := New(Config{})
		a, b := c.first, c.second
		a.Port, b.Port = 80, 80
		if err := s.ReservePort(&a); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		err := s.ReservePort(&b)
		if c.ok && err != nil || !c.ok && err != unix.EADDRINUSE {
			t.Errorf("%s: %v", name, err)
		}
		s.ReleasePort(&b)
		s.ReleasePort(&a)
		s.ReleasePort(&a) // harmless
		if len(s.ports.m) != 0 {
			t.Errorf("%s: %d ports are taken after all were released", name, len(s.ports.m))
		}
	}
}

func TestListening(t *testing.T) {
	s := New(Config{})
	a := &PortRequest{V4: true, Port: 80, ReuseAddress: true}
	b := &PortRequest{V4: true, Port: 80, ReuseAddress: true}
	for _, r := range []*PortRequest{a, b} {
		if err := s.ReservePort(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.ListenPort(a, true); err != nil {
		t.Errorf("the first: %v", err)
	}
	if err := s.ListenPort(b, true); err != unix.EADDRINUSE {
		t.Errorf("the second: %v", err)
	}
	c := &PortRequest{V4: true, Port: 80, ReuseAddress: true}
	if err := s.ReservePort(c); err != unix.EADDRINUSE {
		t.Errorf("a third binds beside a listener: %v", err)
	}
	// A connection that was accepted does not keep the port from a new listener.
	child := &PortRequest{V4: true, Port: 80, Addr: addr("10.0.0.1"), ReuseAddress: true}
	s.SharePort(child)
	s.ListenPort(a, false)
	s.ReleasePort(a)
	if err := s.ListenPort(b, true); err != nil {
		t.Errorf("after the first went: %v", err)
	}
	s.ReleasePort(b)
	without := &PortRequest{V4: true, Port: 80}
	if err := s.ReservePort(without); err != unix.EADDRINUSE {
		t.Errorf("without SO_REUSEADDR beside a connection: %v", err)
	}
	s.ReleasePort(child)
	if err := s.ReservePort(without); err != nil {
		t.Errorf("at last: %v", err)
	}
}

func TestEphemeralPorts(t *testing.T) {
	s := New(Config{Seed: []byte("x")})
	s.settings.PortLow.Store(5000)
	s.settings.PortHigh.Store(5009)
	taken := map[uint16]*PortRequest{}
	inOrder := true
	last := uint16(0)
	for range 10 {
		// Even those who would share get a port of their own.
		r := &PortRequest{V4: true, ReuseAddress: true, ReusePort: true}
		if err := s.ReservePort(r); err != nil {
			t.Fatal(err)
		}
		if r.Port < 5000 || r.Port > 5009 || taken[r.Port] != nil {
			t.Fatalf("port %d", r.Port)
		}
		inOrder = inOrder && r.Port == last+1
		last = r.Port
		taken[r.Port] = r
	}
	if inOrder {
		t.Error("the ports are in order")
	}
	r := &PortRequest{V4: true, ReuseAddress: true}
	if err := s.ReservePort(r); err != unix.EADDRINUSE {
		t.Errorf("with none free: %v", err)
	}
	six := &PortRequest{V6: true}
	if err := s.ReservePort(six); err != nil {
		t.Errorf("IPv6 has its own: %v", err)
	}
	s.ReleasePort(taken[5004])
	if err := s.ReservePort(r); err != nil || r.Port != 5004 {
		t.Errorf("with one free: %d, %v", r.Port, err)
	}
	// A nonsensical range is one port.
	s.settings.PortLow.Store(70000)
	s.settings.PortHigh.Store(1)
	one := &PortRequest{V4: true, Transport: 6}
	if err := s.ReservePort(one); err != nil || one.Port == 0 {
		t.Errorf("with a nonsensical range: %d, %v", one.Port, err)
	}
}

func TestPortsOfConnections(t *testing.T) {
	s := New(Config{Seed: []byte("x")})
	s.settings.PortLow.Store(5000)
	s.settings.PortHigh.Store(5003)
	local := addr("10.0.0.1")
	dst := netip.MustParseAddrPort("10.0.0.9:80")
	other := netip.MustParseAddrPort("10.0.0.8:80")
	ports := map[uint16]*PortRequest{}
	for range 4 {
		r := &PortRequest{V4: true}
		if err := s.ReserveConnectPort(r, dst, local, nil); err != nil || ports[r.Port] != nil {
			t.Fatalf("port %d, %v", r.Port, err)
		}
		ports[r.Port] = r
	}
	if err := s.ReserveConnectPort(&PortRequest{V4: true}, dst, local, nil); err != unix.EADDRNOTAVAIL {
		t.Errorf("a fifth: %v", err)
	}
	again := &PortRequest{V4: true}
	if err := s.ReserveConnectPort(again, other, local, nil); err != nil {
		t.Errorf("to elsewhere: %v", err)
	}
	if err := s.ReserveConnectPort(&PortRequest{V4: true}, dst, addr("10.0.0.2"), nil); err != nil {
		t.Errorf("from elsewhere: %v", err)
	}
	// Who binds does not get a port that connections use, nor the other way round.
	bound := &PortRequest{V4: true, Port: again.Port, Addr: local}
	if err := s.ReservePort(bound); err != unix.EADDRINUSE {
		t.Errorf("bind to a connection's port: %v", err)
	}
	s.ReleasePort(ports[5002])
	for p := range ports {
		if p != 5002 {
			s.ReleasePort(ports[p])
		}
	}
	s2 := New(Config{})
	s2.settings.PortLow.Store(5000)
	s2.settings.PortHigh.Store(5001)
	bound = &PortRequest{V4: true, Port: 5000, Addr: addr("10.0.0.77")}
	if err := s2.ReservePort(bound); err != nil {
		t.Fatal(err)
	}
	r := &PortRequest{V4: true}
	if err := s2.ReserveConnectPort(r, dst, local, nil); err != nil || r.Port != 5001 {
		t.Errorf("beside a bound port: %d, %v", r.Port, err)
	}
	s2.ReleasePort(r)
	asked := map[uint16]bool{}
	s2.ReleasePort(bound)
	err := s2.ReserveConnectPort(r, dst, local, func(p uint16) bool { asked[p] = true; return p == 5001 })
	if err != nil || r.Port != 5001 {
		t.Errorf("with only one usable: %d, %v", r.Port, err)
	}
	s2.ReleasePort(r)
	if err := s2.ReserveConnectPort(r, dst, local, func(uint16) bool { return false }); err != unix.EADDRNOTAVAIL {
		t.Errorf("with none usable: %v", err)
	}
}

// RFC 6056 section 3.3.4: to one destination ports follow each other, to others they begin
// elsewhere.
func TestPortsOfConnectionsAreSpread(t *testing.T) {
	s := New(Config{Seed: []byte("x")})
	local := addr("10.0.0.1")
	first := map[uint16]bool{}
	for i := range 50 {
		r := &PortRequest{V4: true}
		dst := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, 0, byte(i)}), 80)
		if err := s.ReserveConnectPort(r, dst, local, nil); err != nil {
			t.Fatal(err)
		}
		first[r.Port] = true
	}
	if len(first) < 45 {
		t.Errorf("50 destinations have %d first ports", len(first))
	}
}
