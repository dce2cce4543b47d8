package stack

import (
	"net/netip"
	"sync"
	"testing"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/faketime"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// fakeLink keeps what is sent.
type fakeLink struct {
	mu   sync.Mutex
	caps Capabilities
	mtu  uint32
	max  uint32
	addr tcpip.LinkAddress
	d    LinkDispatcher
	sent [][]byte
	meta []buffer.Packet // of what was sent, without the bytes
	err  error
	shut bool
}

func (l *fakeLink) MTU() uint32                        { return l.mtu }
func (l *fakeLink) SetMTU(mtu uint32)                  { l.mtu = mtu }
func (l *fakeLink) LinkAddress() tcpip.LinkAddress     { return l.addr }
func (l *fakeLink) SetLinkAddress(a tcpip.LinkAddress) { l.addr = a }
func (l *fakeLink) Capabilities() Capabilities         { return l.caps }
func (l *fakeLink) MaxSegmentation() uint32            { return l.max }
func (l *fakeLink) HardwareType() uint16               { return 1 }
func (l *fakeLink) Attach(d LinkDispatcher)            { l.d = d }
func (l *fakeLink) Close()                             { l.shut = true }

func (l *fakeLink) WritePackets(pkts []*buffer.Packet) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, p := range pkts {
		b := make([]byte, p.Len())
		p.CopyTo(b, 0)
		l.sent = append(l.sent, b)
		m := buffer.New()
		m.CopyProperties(p)
		l.meta = append(l.meta, *m)
		p.Release()
	}
	return l.err
}

func (l *fakeLink) take() [][]byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sent
	l.sent, l.meta = nil, nil
	return s
}

// fakeNet is a network protocol that only notes what it is asked for.
type fakeNet struct {
	etherType uint16
	eps       []*fakeNetEndpoint
	closed    bool
}

func (f *fakeNet) EtherType() uint16 { return f.etherType }
func (f *fakeNet) Close()            { f.closed = true }
func (f *fakeNet) NewEndpoint(n *NIC) NetworkEndpoint {
	e := &fakeNetEndpoint{nic: n}
	f.eps = append(f.eps, e)
	return e
}

type solicitation struct {
	target, source netip.Addr
	to             tcpip.LinkAddress
}

type fakeNetEndpoint struct {
	nic            *NIC
	enabled        int
	added, removed []Address
	joined, left   []netip.Addr
	asked          []solicitation
	errors         []ICMPError
	got            []*buffer.Packet
}

func (e *fakeNetEndpoint) HandlePacket(p *buffer.Packet) { e.got = append(e.got, p) }
func (e *fakeNetEndpoint) Enable()                       { e.enabled++ }
func (e *fakeNetEndpoint) Disable()                      { e.enabled-- }
func (e *fakeNetEndpoint) WritePacket(r *Route, params NetworkParams, pkt *buffer.Packet) error {
	pkt.Source, pkt.Destination = r.Source, r.Destination
	return r.NIC.WritePacket(r.NextHop, etherTypeOf(r.Destination), pkt)
}
func (e *fakeNetEndpoint) WriteHeaderIncluded(r *Route, pkt *buffer.Packet) error {
	return r.NIC.WritePacket(r.NextHop, etherTypeOf(r.Destination), pkt)
}
func (e *fakeNetEndpoint) AddressAdded(a Address)   { e.added = append(e.added, a) }
func (e *fakeNetEndpoint) AddressRemoved(a Address) { e.removed = append(e.removed, a) }
func (e *fakeNetEndpoint) JoinGroup(g netip.Addr)   { e.joined = append(e.joined, g) }
func (e *fakeNetEndpoint) LeaveGroup(g netip.Addr)  { e.left = append(e.left, g) }
func (e *fakeNetEndpoint) SendError(err ICMPError, _ *buffer.Packet) {
	e.errors = append(e.errors, err)
}
func (e *fakeNetEndpoint) Solicit(target, source netip.Addr, to tcpip.LinkAddress) {
	e.asked = append(e.asked, solicitation{target, source, to})
}

func (e *fakeNetEndpoint) takeAsked() []solicitation {
	a := e.asked
	e.asked = nil
	return a
}

// fakeTransport is a transport whose ports are the first four bytes, as those of UDP.
type fakeTransport struct {
	number  uint8
	unknown []TransportID
	closed  bool
}

func (f *fakeTransport) Number() uint8 { return f.number }
func (f *fakeTransport) ParsePorts(pkt *buffer.Packet) (src, dst uint16, ok bool) {
	b, ok := pkt.Peek(4)
	if !ok {
		return 0, 0, false
	}
	h := append(header.UDP(nil), b...)
	return h.SourcePort(), h.DestinationPort(), true
}
func (f *fakeTransport) HandleUnknown(id TransportID, pkt *buffer.Packet) {
	f.unknown = append(f.unknown, id)
	pkt.Release()
}
func (f *fakeTransport) Close() { f.closed = true }

// fakeEndpoint counts what is delivered to it.
type fakeEndpoint struct {
	name    string
	got     int
	last    TransportID
	errors  []TransportError
	aborted bool
}

func (e *fakeEndpoint) HandlePacket(id TransportID, pkt *buffer.Packet) {
	e.got++
	e.last = id
	pkt.Release()
}
func (e *fakeEndpoint) HandleError(id TransportID, err TransportError, quoted []byte) {
	e.errors = append(e.errors, err)
	e.last = id
}
func (e *fakeEndpoint) Abort() { e.aborted = true }

// world is a stack with fakes all around it: lo, and two interfaces with Ethernet headers.
type world struct {
	s            *Stack
	clock        *faketime.Clock
	lo, eth, fth *NIC
	link, flink  *fakeLink
	v4, v6       *fakeNet
	udp          *fakeTransport
}

const fakeUDP = 17

var (
	linkA = tcpip.LinkAddress{2, 0, 0, 0, 0, 0xa}
	linkB = tcpip.LinkAddress{2, 0, 0, 0, 0, 0xb}
	linkC = tcpip.LinkAddress{2, 0, 0, 0, 0, 0xc}
)

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{clock: faketime.New()}
	w.v4, w.v6 = &fakeNet{etherType: header.EtherTypeIPv4}, &fakeNet{etherType: header.EtherTypeIPv6}
	w.udp = &fakeTransport{number: fakeUDP}
	w.s = New(Config{Clock: w.clock, Seed: []byte("seed"),
		Networks:   []func(*Stack) NetworkProtocol{func(*Stack) NetworkProtocol { return w.v4 }, func(*Stack) NetworkProtocol { return w.v6 }},
		Transports: []func(*Stack) TransportProtocol{func(*Stack) TransportProtocol { return w.udp }}})
	t.Cleanup(w.s.Close)
	must := func(n *NIC, err error) *NIC {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		n.SetUp(true)
		return n
	}
	w.lo = must(w.s.CreateNIC(1, "lo", &fakeLink{caps: CapLoopback | CapTXChecksum | CapSegmentation, mtu: 65536, max: 65535}))
	w.link = &fakeLink{caps: CapResolution, mtu: 1500, addr: linkA}
	w.eth = must(w.s.CreateNIC(2, "eth0", w.link))
	w.flink = &fakeLink{caps: CapResolution, mtu: 1400, addr: linkC}
	w.fth = must(w.s.CreateNIC(3, "eth1", w.flink))
	return w
}

// ep4 is the fake IPv4 of a NIC.
func (w *world) ep4(n *NIC) *fakeNetEndpoint {
	return n.Endpoint(header.EtherTypeIPv4).(*fakeNetEndpoint)
}

// add adds addresses.
func add(t testing.TB, n *NIC, prefixes ...string) {
	t.Helper()
	for _, p := range prefixes {
		if err := n.AddAddress(Address{Prefix: prefix(p)}); err != nil {
			t.Fatalf("%s: %v", p, err)
		}
	}
}
