package stack

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

var (
	here  = addr("10.0.0.1")
	there = addr("10.0.0.9")
	here6 = addr("2001:db8::1")
	far6  = addr("2001:db8::9")
)

// datagram is a packet as the network layer delivers it.
func datagram(nic *NIC, src, dst netip.Addr, sport, dport uint16) *buffer.Packet {
	b := make([]byte, 8)
	binary.BigEndian.PutUint16(b, sport)
	binary.BigEndian.PutUint16(b[2:], dport)
	p := buffer.NewFrom(b)
	p.Source, p.Destination, p.Transport, p.NIC = src, dst, fakeUDP, nic.ID()
	p.Local = nic.LocalFor(dst, src)
	p.EtherType = etherTypeOf(dst)
	return p
}

// bind registers a binding for UDP.
func bind(t testing.TB, s *Stack, name string, id TransportID, f ...func(*Binding)) (*Binding, *fakeEndpoint) {
	t.Helper()
	e := &fakeEndpoint{name: name}
	b := &Binding{Transport: fakeUDP, V4: true, V6: true, ID: id, Endpoint: e}
	for _, x := range f {
		x(b)
	}
	if err := s.Register(b); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return b, e
}

func onNIC(id tcpip.NICID) func(*Binding) { return func(b *Binding) { b.NIC = id } }
func only4(b *Binding)                    { b.V6 = false }
func only6(b *Binding)                    { b.V4 = false }
func reusing(b *Binding)                  { b.ReuseAddress = true }
func sharing(b *Binding)                  { b.ReusePort = true }

// found is the name of the endpoint that a packet would go to.
func found(s *Stack, nic tcpip.NICID, id TransportID) string {
	b := s.FindTransport(nic, id.LocalAddr.Is6(), fakeUDP, id)
	if b == nil {
		return ""
	}
	return b.Endpoint.(*fakeEndpoint).name
}

func TestTheMostSpecificBindingIsFound(t *testing.T) {
	w := newWorld(t)
	s := w.s
	id := TransportID{LocalAddr: here, RemoteAddr: there, LocalPort: 80, RemotePort: 999}
	id6 := TransportID{LocalAddr: here6, RemoteAddr: far6, LocalPort: 80, RemotePort: 999}
	if got := found(s, 2, id); got != "" {
		t.Errorf("without bindings: %q", got)
	}
	// From the least specific to the most: each takes the packets from those before.
	for _, step := range []struct {
		name string
		id   TransportID
		f    []func(*Binding)
		six  string // what IPv6 finds then
	}{
		{"any", TransportID{LocalPort: 80}, nil, "any"},
		{"anyNIC", TransportID{LocalPort: 80}, []func(*Binding){onNIC(2)}, "anyNIC"},
		{"local", TransportID{LocalAddr: here, LocalPort: 80}, nil, "anyNIC"},
		{"localNIC", TransportID{LocalAddr: here, LocalPort: 80}, []func(*Binding){onNIC(2)}, "anyNIC"},
		{"remote", TransportID{RemoteAddr: there, LocalPort: 80, RemotePort: 999}, nil, "anyNIC"},
		{"connected", id, nil, "anyNIC"},
	} {
		bind(t, s, step.name, step.id, step.f...)
		if got := found(s, 2, id); got != step.name {
			t.Errorf("with %s: found %q", step.name, got)
		}
		if got := found(s, 2, id6); got != step.six {
			t.Errorf("with %s: IPv6 found %q, want %q", step.name, got, step.six)
		}
	}
	// By another interface, and to other ports and addresses.
	for _, c := range []struct {
		nic  tcpip.NICID
		id   TransportID
		want string
	}{
		{3, id, "connected"},
		{3, TransportID{here, addr("10.0.0.8"), 80, 999}, "local"},
		{2, TransportID{here, addr("10.0.0.8"), 80, 999}, "localNIC"},
		{0, TransportID{here, addr("10.0.0.8"), 80, 999}, "localNIC"},
		{3, TransportID{addr("10.0.0.2"), there, 80, 999}, "remote"},
		{3, TransportID{addr("10.0.0.2"), there, 80, 998}, "any"},
		{2, TransportID{addr("10.0.0.2"), there, 80, 998}, "anyNIC"},
		{2, TransportID{here, there, 81, 999}, ""},
	} {
		if got := found(s, c.nic, c.id); got != c.want {
			t.Errorf("%v by %d: %q, want %q", c.id, c.nic, got, c.want)
		}
	}
	if b := s.FindTransport(2, false, 6, id); b != nil {
		t.Error("another transport found something")
	}
}

func TestBindingsOfOneVersion(t *testing.T) {
	w := newWorld(t)
	a4, _ := bind(t, w.s, "four", TransportID{LocalPort: 80}, only4)
	_, _ = bind(t, w.s, "six", TransportID{LocalPort: 80}, only6)
	four, six := TransportID{here, there, 80, 1}, TransportID{here6, far6, 80, 1}
	if a, b := found(w.s, 2, four), found(w.s, 2, six); a != "four" || b != "six" {
		t.Errorf("%q and %q", a, b)
	}
	w.s.Unregister(a4)
	if a, b := found(w.s, 2, four), found(w.s, 2, six); a != "" || b != "six" {
		t.Errorf("without IPv4's: %q and %q", a, b)
	}
	w.s.Unregister(a4) // harmless
	// One of IPv4 alone comes before one of both that allows it.
	bind(t, w.s, "both", TransportID{LocalPort: 81}, reusing)
	bind(t, w.s, "four", TransportID{LocalPort: 81}, reusing, only4)
	bind(t, w.s, "both2", TransportID{LocalPort: 81}, reusing)
	four.LocalPort, six.LocalPort = 81, 81
	if a, b := found(w.s, 2, four), found(w.s, 2, six); a != "four" || b != "both2" {
		t.Errorf("with both: %q and %q", a, b)
	}
}

func TestRegisterTheSame(t *testing.T) {
	w := newWorld(t)
	for name, c := range map[string]struct {
		a, b []func(*Binding)
		want error
	}{
		"plain":              {nil, nil, unix.EADDRINUSE},
		"one reuses":         {[]func(*Binding){reusing}, nil, unix.EADDRINUSE},
		"both reuse":         {[]func(*Binding){reusing}, []func(*Binding){reusing}, nil},
		"one shares":         {nil, []func(*Binding){sharing}, unix.EADDRINUSE},
		"both share":         {[]func(*Binding){sharing}, []func(*Binding){sharing}, nil},
		"share and reuse":    {[]func(*Binding){sharing}, []func(*Binding){reusing}, unix.EADDRINUSE},
		"other interfaces":   {[]func(*Binding){onNIC(2)}, []func(*Binding){onNIC(3)}, nil},
		"an interface, any":  {[]func(*Binding){onNIC(2)}, nil, nil},
		"the same interface": {[]func(*Binding){onNIC(2)}, []func(*Binding){onNIC(2)}, unix.EADDRINUSE},
		"other versions":     {[]func(*Binding){only4}, []func(*Binding){only6}, nil},
		"one of two":         {nil, []func(*Binding){only6}, unix.EADDRINUSE},
	} {
		a, _ := bind(t, w.s, name, TransportID{LocalPort: 80}, c.a...)
		b := &Binding{Transport: fakeUDP, V4: true, V6: true, ID: TransportID{LocalAddr: addr("::"), LocalPort: 80}, Endpoint: &fakeEndpoint{}}
		for _, f := range c.b {
			f(b)
		}
		if err := w.s.Register(b); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if err := w.s.Register(a); err != unix.EADDRINUSE {
			t.Errorf("%s: the same binding twice: %v", name, err)
		}
		w.s.Unregister(a)
		w.s.Unregister(b)
		if n := w.s.demux.table.n; n != 0 {
			t.Errorf("%s: %d keys are left", name, n)
		}
	}
	for tier := range tiers {
		if n := w.s.demux.count[fakeUDP][tier].Load(); n != 0 {
			t.Errorf("tier %d counts %d bindings of none", tier, n)
		}
	}
}

func TestTheLastOfThoseThatReuseIsFound(t *testing.T) {
	w := newWorld(t)
	id := TransportID{here, there, 80, 1}
	var last *Binding
	for _, name := range []string{"a", "b", "c"} {
		last, _ = bind(t, w.s, name, TransportID{LocalPort: 80}, reusing)
		if got := found(w.s, 2, id); got != name {
			t.Errorf("with %s: %q", name, got)
		}
	}
	w.s.Unregister(last)
	if got := found(w.s, 2, id); got != "b" {
		t.Errorf("without c: %q", got)
	}
}

func TestThoseThatShareAPortShareItsPackets(t *testing.T) {
	w := newWorld(t)
	var eps []*fakeEndpoint
	var bs []*Binding
	for i := range 4 {
		b, e := bind(t, w.s, fmt.Sprint(i), TransportID{LocalPort: 80}, sharing)
		bs, eps = append(bs, b), append(eps, e)
	}
	to := map[uint16]string{}
	count := map[string]int{}
	for port := range uint16(1000) {
		to[port] = found(w.s, 2, TransportID{here, there, 80, port})
		count[to[port]]++
	}
	for _, e := range eps {
		if n := count[e.name]; n < 150 || n > 350 {
			t.Errorf("%s gets %d of 1000 senders", e.name, n)
		}
	}
	for port := range uint16(1000) {
		if got := found(w.s, 3, TransportID{here, there, 80, port}); got != to[port] {
			t.Fatalf("sender %d goes to %s and to %s", port, to[port], got)
		}
	}
	// With one of the interface, that alone gets what comes by it.
	bind(t, w.s, "nic", TransportID{LocalPort: 80}, sharing, onNIC(2))
	if got := found(w.s, 2, TransportID{here, there, 80, 5}); got != "nic" {
		t.Errorf("by the interface: %q", got)
	}
	for _, b := range bs[1:] {
		w.s.Unregister(b)
	}
	for port := range uint16(100) {
		if got := found(w.s, 3, TransportID{here, there, 80, port}); got != "0" {
			t.Fatalf("with one left: %q", got)
		}
	}
}

func TestDelivery(t *testing.T) {
	w := newWorld(t)
	add(t, w.eth, "10.0.0.1/24")
	_, e := bind(t, w.s, "e", TransportID{LocalPort: 80})
	w.s.DeliverTransport(w.eth, datagram(w.eth, there, here, 999, 80))
	want := TransportID{LocalAddr: here, RemoteAddr: there, LocalPort: 80, RemotePort: 999}
	if e.got != 1 || e.last != want {
		t.Errorf("%d packets, the last of %v", e.got, e.last)
	}
	w.s.DeliverTransport(w.eth, datagram(w.eth, there, here, 999, 81))
	want.LocalPort = 81
	if !slices.Equal(w.udp.unknown, []TransportID{want}) {
		t.Errorf("unknown: %v", w.udp.unknown)
	}
	short := datagram(w.eth, there, here, 1, 80)
	short.Truncate(3)
	w.s.DeliverTransport(w.eth, short)
	if e.got != 1 || len(w.udp.unknown) != 1 || w.s.stats.IP.InDiscards.Load() != 1 {
		t.Error("a malformed packet got through")
	}
}

func TestUnknownProtocols(t *testing.T) {
	w := newWorld(t)
	add(t, w.eth, "10.0.0.1/24")
	p := datagram(w.eth, there, here, 1, 2)
	p.Transport = 99
	w.s.DeliverTransport(w.eth, p)
	ep := w.ep4(w.eth)
	if len(ep.errors) != 1 || ep.errors[0].Kind != ErrorProtocolUnreachable || w.s.stats.IP.InUnknownProtos.Load() != 1 {
		t.Errorf("errors %v", ep.errors)
	}
	// Not if a raw socket takes it.
	raw := &fakeRaw{}
	w.s.RegisterRaw(false, 99, raw)
	p = datagram(w.eth, there, here, 1, 2)
	p.Transport = 99
	w.s.DeliverTransport(w.eth, p)
	if len(ep.errors) != 1 || raw.got != 1 {
		t.Errorf("%d errors, %d packets", len(ep.errors), raw.got)
	}
}

func TestDatagramsToGroupsGoToAll(t *testing.T) {
	w := newWorld(t)
	add(t, w.eth, "10.0.0.1/24")
	add(t, w.fth, "10.1.0.1/24")
	group := addr("224.1.2.3")
	_, any := bind(t, w.s, "any", TransportID{LocalPort: 80}, reusing)
	_, any2 := bind(t, w.s, "any2", TransportID{LocalPort: 80}, reusing)
	_, bound := bind(t, w.s, "group", TransportID{LocalAddr: group, LocalPort: 80})
	_, unicast := bind(t, w.s, "unicast", TransportID{LocalAddr: here, LocalPort: 80})
	_, otherNIC := bind(t, w.s, "other", TransportID{LocalAddr: group, LocalPort: 80}, onNIC(3))
	_, connected := bind(t, w.s, "connected", TransportID{RemoteAddr: there, LocalPort: 80, RemotePort: 999})
	_, stranger := bind(t, w.s, "stranger", TransportID{RemoteAddr: there, LocalPort: 80, RemotePort: 998})
	_, six := bind(t, w.s, "six", TransportID{LocalPort: 80}, only6, reusing)
	w.s.DeliverTransport(w.eth, datagram(w.eth, there, group, 999, 80))
	for e, want := range map[*fakeEndpoint]int{any: 1, any2: 1, bound: 1, unicast: 0, otherNIC: 0, connected: 1, stranger: 0, six: 0} {
		if e.got != want {
			t.Errorf("%s got %d packets, want %d", e.name, e.got, want)
		}
	}
	w.s.DeliverTransport(w.eth, datagram(w.eth, there, addr("10.0.0.255"), 999, 80))
	if any.got != 2 || any2.got != 2 || bound.got != 1 {
		t.Errorf("broadcast: %d, %d, %d", any.got, any2.got, bound.got)
	}
	w.s.DeliverTransport(w.eth, datagram(w.eth, there, group, 999, 81))
	if len(w.udp.unknown) != 1 {
		t.Errorf("unknown: %v", w.udp.unknown)
	}
	// A unicast packet still goes to one only.
	w.s.DeliverTransport(w.fth, datagram(w.fth, addr("10.1.0.9"), addr("10.1.0.1"), 999, 80))
	if any.got+any2.got != 5 {
		t.Errorf("unicast: %d and %d", any.got, any2.got)
	}
}

func TestErrorsFindTheirSocket(t *testing.T) {
	w := newWorld(t)
	_, e := bind(t, w.s, "e", TransportID{here, there, 80, 999}, onNIC(3))
	raw := &fakeRaw{}
	w.s.RegisterRaw(false, fakeUDP, raw)
	w.s.RegisterRaw(true, fakeUDP, raw)
	plain := &plainRaw{}
	w.s.RegisterRaw(false, fakeUDP, plain)
	id := TransportID{here, there, 80, 999}
	w.s.DeliverError(w.eth, false, fakeUDP, id, TransportError{Errno: unix.ECONNREFUSED}, nil)
	if len(e.errors) != 1 || e.errors[0].Errno != unix.ECONNREFUSED || e.last != id || raw.errors != 1 {
		t.Errorf("%v of %v, %d for raw sockets", e.errors, e.last, raw.errors)
	}
	id.RemotePort = 998
	w.s.DeliverError(w.eth, false, fakeUDP, id, TransportError{}, nil)
	if len(e.errors) != 1 {
		t.Error("an error about another packet was delivered")
	}
}

type fakeRaw struct{ got, errors int }

func (r *fakeRaw) HandleRaw(p *buffer.Packet) { r.got++; p.Release() }
func (r *fakeRaw) HandleError(TransportID, TransportError, []byte) {
	r.errors++
}

type plainRaw struct{ got int }

func (r *plainRaw) HandleRaw(p *buffer.Packet) { r.got++; p.Release() }

func TestRawSocketsGetCopies(t *testing.T) {
	w := newWorld(t)
	add(t, w.eth, "10.0.0.1/24")
	udp, all, tcp, six := &fakeRaw{}, &fakeRaw{}, &fakeRaw{}, &fakeRaw{}
	w.s.RegisterRaw(false, fakeUDP, udp)
	w.s.RegisterRaw(false, 0, all)
	w.s.RegisterRaw(false, 6, tcp)
	w.s.RegisterRaw(true, 0, six)
	_, e := bind(t, w.s, "e", TransportID{LocalPort: 80})
	w.s.DeliverTransport(w.eth, datagram(w.eth, there, here, 999, 80))
	if udp.got != 1 || all.got != 1 || tcp.got != 0 || six.got != 0 || e.got != 1 {
		t.Errorf("%d, %d, %d, %d and the endpoint %d", udp.got, all.got, tcp.got, six.got, e.got)
	}
	p := datagram(w.eth, there, here, 999, 80)
	p.Transport = 0 // of protocol 0 itself: once, not twice
	if !w.s.DeliverRaw(p) || all.got != 2 {
		t.Errorf("protocol 0: %d", all.got)
	}
	p.Release()
	w.s.UnregisterRaw(false, fakeUDP, udp)
	w.s.UnregisterRaw(false, fakeUDP, udp) // harmless
	w.s.UnregisterRaw(false, 0, all)
	w.s.UnregisterRaw(false, 6, tcp)
	w.s.UnregisterRaw(true, 0, six)
	w.s.DeliverTransport(w.eth, datagram(w.eth, there, here, 999, 80))
	if udp.got != 1 || all.got != 2 || e.got != 2 || w.s.raw.m.Load() != nil {
		t.Errorf("after they went: %d, %d and the endpoint %d", udp.got, all.got, e.got)
	}
}

type fakeTap struct {
	nics  []tcpip.NICID
	types []uint8
	bytes []string
	links []int
}

func (f *fakeTap) HandleFrame(nic tcpip.NICID, p *buffer.Packet) {
	f.nics = append(f.nics, nic)
	f.types = append(f.types, p.PacketType)
	b := make([]byte, p.Len())
	p.CopyTo(b, 0)
	f.bytes = append(f.bytes, string(b))
	f.links = append(f.links, len(p.LinkHeader))
	p.Release()
}

// frame is a frame as a link delivers it.
func frame(dst tcpip.LinkAddress, etherType uint16, payload string) *buffer.Packet {
	b := make([]byte, header.EthernetSize+len(payload))
	header.Ethernet(b).Encode(header.EthernetFields{Source: linkB, Destination: dst, Type: etherType})
	copy(b[header.EthernetSize:], payload)
	p := buffer.NewFrom(b)
	p.LinkHeader, _ = p.Consume(header.EthernetSize)
	p.LinkSource, p.LinkDestination, p.HasLink, p.EtherType = linkB, dst, true, etherType
	return p
}

func TestPacketSocketsSeeFrames(t *testing.T) {
	w := newWorld(t)
	all, one, ip := &fakeTap{}, &fakeTap{}, &fakeTap{}
	w.s.RegisterPacket(0, etherTypeAll, all)
	w.s.RegisterPacket(3, etherTypeAll, one)
	w.s.RegisterPacket(2, header.EtherTypeIPv4, ip)
	w.eth.DeliverPackets([]*buffer.Packet{
		frame(linkA, header.EtherTypeIPv4, "unicast"), frame(tcpip.Broadcast, header.EtherTypeARP, "broadcast"),
		frame(tcpip.LinkAddress{1, 0, 0x5e}, header.EtherTypeIPv4, "multicast"), frame(linkC, header.EtherTypeIPv4, "other"),
	})
	w.eth.WriteTo(linkB, header.EtherTypeIPv4, buffer.NewFrom([]byte("out")))
	if !slices.Equal(all.bytes, []string{"unicast", "broadcast", "multicast", "out"}) || !slices.Equal(all.types, []uint8{0, 1, 2, 4}) ||
		!slices.Equal(all.links, []int{14, 14, 14, 14}) {
		t.Errorf("all: %q of types %v, link headers %v", all.bytes, all.types, all.links)
	}
	if len(one.bytes) != 0 || !slices.Equal(ip.bytes, []string{"unicast", "multicast"}) {
		t.Errorf("another interface: %q; IPv4 only: %q", one.bytes, ip.bytes)
	}
	if got := w.ep4(w.eth).got; len(got) != 2 {
		t.Errorf("IPv4 got %d packets", len(got))
	}
	// In promiscuous mode they see those for others, which IP does not.
	w.eth.SetPromiscuous(true)
	w.eth.SetPromiscuous(true)
	w.eth.SetPromiscuous(false)
	w.eth.DeliverPackets([]*buffer.Packet{frame(linkC, header.EtherTypeIPv4, "other")})
	if all.types[len(all.types)-1] != packetOtherHost || len(w.ep4(w.eth).got) != 2 {
		t.Errorf("promiscuous: %v, IPv4 got %d", all.types, len(w.ep4(w.eth).got))
	}
	w.eth.SetPromiscuous(false)
	n := len(all.bytes)
	w.eth.DeliverPackets([]*buffer.Packet{frame(linkC, header.EtherTypeIPv4, "other")})
	if len(all.bytes) != n {
		t.Error("not promiscuous any more, but a frame for others was seen")
	}
	w.s.UnregisterPacket(0, etherTypeAll, all)
	w.s.UnregisterPacket(0, etherTypeAll, all)
	w.s.UnregisterPacket(3, etherTypeAll, one)
	w.s.UnregisterPacket(2, header.EtherTypeIPv4, ip)
	w.eth.DeliverPackets([]*buffer.Packet{frame(linkA, header.EtherTypeIPv4, "x")})
	if len(all.bytes) != n || len(ip.bytes) != 3 && len(ip.bytes) != 2 || w.s.tapsOutgoing() {
		t.Error("frames are seen by nobody")
	}
	for _, p := range w.ep4(w.eth).got {
		p.Release()
	}
}

func TestBindingsAreListed(t *testing.T) {
	w := newWorld(t)
	for port := range uint16(5) {
		bind(t, w.s, fmt.Sprint(port), TransportID{LocalPort: port + 1})
	}
	other := &Binding{Transport: 6, V4: true, ID: TransportID{LocalPort: 1}, Endpoint: &fakeEndpoint{}}
	w.s.Register(other)
	n := 0
	w.s.Bindings(fakeUDP, func(b *Binding) bool {
		n++
		w.s.Unregister(b) // allowed
		return n < 3
	})
	if n != 3 {
		t.Errorf("%d bindings, want 3 until false", n)
	}
	w.s.Bindings(fakeUDP, func(*Binding) bool { n++; return true })
	if n != 5 {
		t.Errorf("%d bindings in all", n)
	}
}

func BenchmarkFindTransport(b *testing.B) {
	for _, n := range []int{1, 100, 10000} {
		b.Run(fmt.Sprintf("connected/%d", n), func(b *testing.B) {
			w := newWorld(b)
			for i := range n {
				bind(b, w.s, "", TransportID{here, netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 80, 5})
			}
			bind(b, w.s, "listener", TransportID{LocalPort: 80})
			id := TransportID{here, netip.AddrFrom4([4]byte{10, 1, 0, 0}), 80, 5}
			b.ReportAllocs()
			for b.Loop() {
				if w.s.FindTransport(2, false, fakeUDP, id) == nil {
					b.Fatal("not found")
				}
			}
		})
	}
	b.Run("any", func(b *testing.B) {
		w := newWorld(b)
		bind(b, w.s, "connected", TransportID{here, there, 81, 5})
		bind(b, w.s, "local", TransportID{LocalAddr: here, LocalPort: 81})
		bind(b, w.s, "listener", TransportID{LocalPort: 80})
		id := TransportID{here, there, 80, 5}
		b.ReportAllocs()
		for b.Loop() {
			if w.s.FindTransport(2, false, fakeUDP, id) == nil {
				b.Fatal("not found")
			}
		}
	})
	b.Run("shared", func(b *testing.B) {
		w := newWorld(b)
		for range 8 {
			bind(b, w.s, "", TransportID{LocalPort: 80}, sharing)
		}
		id := TransportID{here, there, 80, 5}
		b.ReportAllocs()
		for b.Loop() {
			if w.s.FindTransport(2, false, fakeUDP, id) == nil {
				b.Fatal("not found")
			}
		}
	})
}

func TestLookUpsDoNotAllocate(t *testing.T) {
	w := newWorld(t)
	add(t, w.eth, "10.0.0.1/24")
	bind(t, w.s, "listener", TransportID{LocalPort: 80})
	bind(t, w.s, "connected", TransportID{here, there, 80, 5})
	for _, f := range []func(){
		func() { w.s.FindTransport(2, false, fakeUDP, TransportID{here, there, 80, 5}) },
		func() { w.s.FindTransport(2, false, fakeUDP, TransportID{here, there, 80, 6}) },
		func() { w.s.FindTransport(2, false, fakeUDP, TransportID{here, there, 81, 6}) },
		func() { w.s.FindRoute(RouteQuery{Destination: there}) },
		func() { w.s.IsLocal(0, here) },
		func() { w.eth.Address(here) },
		func() { w.eth.HasAddress(here) },
		func() { w.eth.IsBroadcast(there) },
		func() { w.eth.InGroup(addr224) },
		func() { w.eth.SourceFor(there) },
	} {
		f()
		if n := testing.AllocsPerRun(50, f); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

var addr224 = addr("224.0.0.5")
