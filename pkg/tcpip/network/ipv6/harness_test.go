package ipv6

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/link/loopback"
	"runsc/pkg/tcpip/stack"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

var (
	ourLink   = tcpip.LinkAddress{2, 0, 0, 0, 0, 1}
	peerLink  = tcpip.LinkAddress{2, 0, 0, 0, 0, 2}
	otherLink = tcpip.LinkAddress{2, 0, 0, 0, 0, 3}

	ourLL   = header.LinkLocal(ourLink)
	peerLL  = header.LinkLocal(peerLink)
	otherLL = header.LinkLocal(otherLink)

	ourGlobal  = addr("2001:db8::1")
	peerGlobal = addr("2001:db8::2")
	remote     = addr("2001:db8:ffff::9")
)

// wire is a link that keeps what is sent.
type wire struct {
	caps       stack.Capabilities
	mtu        atomic.Uint32
	addr       tcpip.LinkAddress
	mu         sync.Mutex
	dispatcher stack.LinkDispatcher
	sent       []frame
	// discard: packets are not kept.
	discard bool
}

// frame is a packet that was sent.
type frame struct {
	to tcpip.LinkAddress
	b  []byte // from the IPv6 header on
	h  *host
}

func (w *wire) MTU() uint32                        { return w.mtu.Load() }
func (w *wire) SetMTU(mtu uint32)                  { w.mtu.Store(mtu) }
func (w *wire) LinkAddress() tcpip.LinkAddress     { return w.addr }
func (w *wire) SetLinkAddress(a tcpip.LinkAddress) { w.addr = a }
func (w *wire) Capabilities() stack.Capabilities   { return w.caps }
func (w *wire) MaxSegmentation() uint32            { return buffer.MaxPacket }
func (w *wire) HardwareType() uint16               { return unix.ARPHRD_ETHER }
func (w *wire) Attach(d stack.LinkDispatcher)      { w.dispatcher = d }
func (w *wire) Close()                             {}

func (w *wire) WritePackets(pkts []*buffer.Packet) error {
	for _, p := range pkts {
		if w.discard {
			p.Release()
			continue
		}
		f := frame{}
		if p.HasLink {
			f.to = p.LinkDestination
		}
		n := len(p.LinkHeader)
		f.b = make([]byte, p.Len()-n)
		p.CopyTo(f.b, n)
		p.Release()
		w.mu.Lock()
		w.sent = append(w.sent, f)
		w.mu.Unlock()
	}
	return nil
}

// host is a stack on a wire, and the test is the rest of the world.
type host struct {
	t     testing.TB
	clock *faketime.Clock
	stack *stack.Stack
	lo    *stack.NIC
	nic   *stack.NIC
	wire  *wire
	ep    *endpoint
	tcp   *transport
	udp   *transport
}

// options of a host: the zero value is one whose link-local address is there already, and which
// hears nobody who advertises.
type hostOptions struct {
	// down: the interface is not brought up. dad: addresses are probed. ra: advertisements are
	// accepted.
	down, dad, ra bool
	addresses     []string
	noResolution  bool
	mtu           uint32
	forwarding    bool
}

func newHost(t testing.TB, o hostOptions) *host {
	t.Helper()
	h := &host{t: t, clock: faketime.New()}
	h.tcp, h.udp = &transport{number: header.ProtocolTCP}, &transport{number: header.ProtocolUDP}
	h.stack = stack.New(stack.Config{
		Clock:    h.clock,
		Networks: []func(*stack.Stack) stack.NetworkProtocol{New},
		Transports: []func(*stack.Stack) stack.TransportProtocol{
			func(s *stack.Stack) stack.TransportProtocol { h.tcp.stack = s; return h.tcp },
			func(s *stack.Stack) stack.TransportProtocol { h.udp.stack = s; return h.udp },
		},
		Seed: []byte(t.Name()),
	})
	t.Cleanup(func() {
		h.stack.Close()
		if n := h.clock.Pending(); n != 0 {
			t.Errorf("%d timers are left after Close", n)
		}
	})
	settings := h.stack.Settings()
	settings.AcceptDAD.Store(o.dad)
	settings.AcceptRA.Store(o.ra)
	settings.IPv6Forwarding.Store(o.forwarding)
	var err error
	if h.lo, err = h.stack.CreateNIC(1, "lo", loopback.New()); err != nil {
		t.Fatal(err)
	}
	h.lo.SetUp(true)
	if err := h.lo.AddAddress(stack.Address{Prefix: prefix("::1/128"), NoDAD: true}); err != nil && err != unix.EEXIST {
		t.Fatal(err)
	}
	h.wire = &wire{caps: stack.CapResolution, addr: ourLink}
	if o.noResolution {
		h.wire.caps, h.wire.addr = 0, tcpip.LinkAddress{}
	}
	h.wire.mtu.Store(max(o.mtu, 1500))
	if o.mtu != 0 {
		h.wire.mtu.Store(o.mtu)
	}
	if h.nic, err = h.stack.CreateNIC(2, "eth0", h.wire); err != nil {
		t.Fatal(err)
	}
	h.ep = h.nic.Endpoint(header.EtherTypeIPv6).(*endpoint)
	for _, a := range o.addresses {
		h.add(a)
	}
	if !o.down {
		h.nic.SetUp(true)
	}
	if !o.dad && !o.down {
		h.clock.Advance(2 * time.Second) // reports of groups
	}
	h.take()
	return h
}

func (h *host) add(a string) {
	h.t.Helper()
	if err := h.nic.AddAddress(stack.Address{Prefix: prefix(a)}); err != nil {
		h.t.Fatalf("AddAddress(%s): %v", a, err)
	}
}

// neighbour makes the link address of a known.
func (h *host) neighbour(a netip.Addr, link tcpip.LinkAddress) {
	h.t.Helper()
	if err := h.nic.SetNeighbour(stack.Neighbour{Addr: a, Link: link, State: stack.NeighbourPermanent}); err != nil {
		h.t.Fatal(err)
	}
}

// route adds a route by a gateway, which is a known neighbour.
func (h *host) route(p, gateway string) {
	h.t.Helper()
	h.neighbour(addr(gateway), peerLink)
	if err := h.stack.AddRoute(stack.RouteEntry{Destination: prefix(p), Gateway: addr(gateway), NIC: h.nic.ID(), OnLink: true}); err != nil {
		h.t.Fatal(err)
	}
}

// take returns what was sent since the last call.
func (h *host) take() []frame {
	h.wire.mu.Lock()
	defer h.wire.mu.Unlock()
	f := h.wire.sent
	h.wire.sent = nil
	for i := range f {
		f[i].h = h
	}
	return f
}

// one returns what was sent, which must be one packet.
func (h *host) one() frame {
	h.t.Helper()
	f := h.take()
	if len(f) != 1 {
		for _, x := range f {
			h.t.Logf("sent %v", x)
		}
		h.t.Fatalf("%d packets were sent, want 1", len(f))
	}
	return f[0]
}

// none fails if anything was sent.
func (h *host) none(what string) {
	h.t.Helper()
	if f := h.take(); len(f) != 0 {
		h.t.Fatalf("%s: %d packets were sent, the first is %v", what, len(f), f[0])
	}
}

// receive is a packet from peerLink to the host, by the link address that its destination has.
func (h *host) receive(b []byte) { h.receiveFrom(peerLink, b) }

func (h *host) receiveFrom(from tcpip.LinkAddress, b []byte) {
	pkt := buffer.NewFrom(b)
	pkt.EtherType = header.EtherTypeIPv6
	if h.wire.caps&stack.CapResolution != 0 {
		pkt.HasLink = true
		pkt.LinkSource, pkt.LinkDestination = from, ourLink
		if len(b) >= header.IPv6Size && header.IPv6(b).Destination().IsMulticast() {
			pkt.LinkDestination = header.MulticastLink(header.IPv6(b).Destination())
		}
	}
	h.wire.dispatcher.DeliverPackets([]*buffer.Packet{pkt})
}

// deliveries by lo happen on a goroutine of its own: wait until cond holds.
func (h *host) eventually(what string, cond func() bool) {
	h.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			h.t.Fatalf("it never came to be that %s", what)
		}
	}
}

func (f frame) ip() header.IPv6 { return header.IPv6(f.b) }

func (f frame) String() string {
	if !f.ip().Valid(len(f.b)) {
		return "malformed packet"
	}
	next, b := f.payload()
	s := f.ip().Source().String() + " > " + f.ip().Destination().String() + " protocol " + itoa(int(next))
	if next == header.ProtocolICMPv6 && len(b) > 1 {
		s += " type " + itoa(int(b[0])) + " code " + itoa(int(b[1]))
	}
	return s + " to " + f.to.String()
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// payload is what is behind the extension headers.
func (f frame) payload() (uint8, []byte) {
	w := header.WalkIPv6Extensions(f.ip().NextHeader(), f.ip().Payload())
	for w.Next() {
	}
	return w.Protocol(), f.ip().Payload()[w.Offset():]
}

// icmp checks that the frame is an ICMPv6 message of a type, with all that such messages have in
// common, and returns it.
func (f frame) icmp(t uint8) header.ICMPv6 {
	f.h.t.Helper()
	if !f.ip().Valid(len(f.b)) || header.IPv6Size+int(f.ip().PayloadLength()) != len(f.b) {
		f.h.t.Fatalf("sent a malformed packet: %x", f.b)
	}
	next, b := f.payload()
	if next != header.ProtocolICMPv6 || len(b) < header.ICMPv6Size || b[0] != t {
		f.h.t.Fatalf("sent %v, want ICMPv6 of type %d", f, t)
	}
	m := header.ICMPv6(b)
	if !m.ChecksumOK(checksum.PseudoHeader(header.ProtocolICMPv6, f.ip().Source(), f.ip().Destination(), uint32(len(b)))) {
		f.h.t.Fatalf("the checksum of %v is wrong", f)
	}
	return m
}

// expectError checks that the frame is an ICMPv6 error that quotes a packet.
func (f frame) expectError(t, code uint8, rest uint32, about []byte) {
	f.h.t.Helper()
	m := f.icmp(t)
	if m.Code() != code || m.Pointer() != rest {
		f.h.t.Errorf("error of type %d with code %d and %d, want %d and %d", t, m.Code(), m.Pointer(), code, rest)
	}
	if len(f.b) > header.IPv6MinimumMTU {
		f.h.t.Errorf("the error has %d bytes", len(f.b))
	}
	want := about[:min(len(about), maxQuote)]
	if !slices.Equal([]byte(m.Payload()), want) {
		f.h.t.Errorf("the error quotes\n%x\nwant\n%x", []byte(m.Payload()), want)
	}
}

// ip makes a packet of protocol next.
func ip(src, dst netip.Addr, next, hopLimit uint8, payload ...[]byte) []byte {
	data := slices.Concat(payload...)
	b := make([]byte, header.IPv6Size, header.IPv6Size+len(data))
	header.IPv6(b).Encode(header.IPv6Fields{
		PayloadLength: uint16(len(data)), NextHeader: next, HopLimit: hopLimit, Source: src, Destination: dst,
	})
	return append(b, data...)
}

// udp makes a datagram of that many bytes, whose checksum nobody looks at.
func udp(src, dst uint16, size int) []byte {
	b := make([]byte, header.UDPSize+size)
	for i := range b {
		b[i] = byte(i)
	}
	header.UDP(b).Encode(header.UDPFields{SourcePort: src, DestinationPort: dst, Length: uint16(len(b))})
	return b
}

// icmp makes a message of ICMPv6 from its bytes, whose checksum it sets.
func icmp(src, dst netip.Addr, b []byte) []byte {
	setICMPChecksum(b, src, dst)
	return b
}

// ndp makes a packet with a message of neighbour discovery.
func ndp(src, dst netip.Addr, parts ...[]byte) []byte {
	return ip(src, dst, header.ProtocolICMPv6, 255, icmp(src, dst, slices.Concat(parts...)))
}

func echo(src, dst netip.Addr, t uint8, ident, seq uint16, data string) []byte {
	b := make([]byte, header.ICMPv6Size)
	h := header.ICMPv6(b)
	h.Encode(header.ICMPv6Fields{Type: t})
	h.SetIdent(ident)
	h.SetSequence(seq)
	return ip(src, dst, header.ProtocolICMPv6, 64, icmp(src, dst, append(b, data...)))
}

func ping(src, dst netip.Addr, seq uint16) []byte {
	return echo(src, dst, header.ICMPv6EchoRequest, 7, seq, "abcdefgh")
}

func linkOpt(t uint8, link tcpip.LinkAddress) []byte {
	var b [header.NDPLinkOptionSize]byte
	header.NDPLinkOption(b[:]).Encode(t, link)
	return b[:]
}

// transport is a transport protocol that notes what it gets.
type transport struct {
	stack  *stack.Stack
	number uint8

	mu       sync.Mutex
	got      []delivery
	unknown  []delivery
	errors   []stack.TransportError
	errorIDs []stack.TransportID
	quoted   [][]byte
	// refuse: packets for nobody are answered.
	refuse bool
	// discard: packets for nobody are not noted.
	discard bool
}

type delivery struct {
	id    stack.TransportID
	b     []byte
	local netip.Addr
	nic   tcpip.NICID
	tos   uint8
	ttl   uint8
	label uint32
	net   []byte
}

func (p *transport) Number() uint8 { return p.number }
func (p *transport) Close()        {}

func (p *transport) ParsePorts(pkt *buffer.Packet) (src, dst uint16, ok bool) {
	b, ok := pkt.Peek(4)
	if !ok {
		return 0, 0, false
	}
	return be.Uint16(b), be.Uint16(b[2:]), true
}

func (p *transport) note(id stack.TransportID, pkt *buffer.Packet) delivery {
	d := delivery{id: id, local: pkt.Local, nic: pkt.NIC, tos: pkt.TOS, ttl: pkt.TTL, label: pkt.FlowLabel, net: slices.Clone(pkt.NetworkHeader)}
	d.b = make([]byte, pkt.Len())
	pkt.CopyTo(d.b, 0)
	return d
}

func (p *transport) HandleUnknown(id stack.TransportID, pkt *buffer.Packet) {
	if p.discard {
		pkt.Release()
		return
	}
	d := p.note(id, pkt)
	p.mu.Lock()
	p.unknown = append(p.unknown, d)
	refuse := p.refuse
	p.mu.Unlock()
	if refuse {
		nic := p.stack.NIC(pkt.NIC)
		nic.Endpoint(header.EtherTypeIPv6).(stack.InternetEndpoint).SendError(stack.ICMPError{Kind: stack.ErrorPortUnreachable}, pkt)
	}
	pkt.Release()
}

func (p *transport) HandlePacket(id stack.TransportID, pkt *buffer.Packet) {
	d := p.note(id, pkt)
	p.mu.Lock()
	p.got = append(p.got, d)
	p.mu.Unlock()
	pkt.Release()
}

func (p *transport) HandleError(id stack.TransportID, e stack.TransportError, quoted []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.errors = append(p.errors, e)
	p.errorIDs = append(p.errorIDs, id)
	p.quoted = append(p.quoted, slices.Clone(quoted))
}

// takeUnknown returns the packets for nobody, which is what all are that the test did not bind.
func (p *transport) takeUnknown() []delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.unknown
	p.unknown = nil
	return d
}

func (p *transport) takeGot() []delivery {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := p.got
	p.got = nil
	return d
}

// bind registers the protocol itself as the endpoint of a local port.
func (p *transport) bind(t testing.TB, id stack.TransportID) {
	t.Helper()
	b := &stack.Binding{Transport: p.number, V6: true, ID: id, Endpoint: p}
	if err := p.stack.Register(b); err != nil {
		t.Fatal(err)
	}
}

// raw notes raw packets.
type raw struct {
	mu  sync.Mutex
	got [][]byte
}

func (r *raw) HandleRaw(pkt *buffer.Packet) {
	b := make([]byte, pkt.Len())
	pkt.CopyTo(b, 0)
	pkt.Release()
	r.mu.Lock()
	r.got = append(r.got, b)
	r.mu.Unlock()
}
