package ipv4_test

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/link/loopback"
	"runsc/pkg/tcpip/network/arp"
	"runsc/pkg/tcpip/network/ipv4"
	"runsc/pkg/tcpip/stack"
)

var (
	us       = netip.MustParseAddr("192.0.2.1")
	peer     = netip.MustParseAddr("192.0.2.9")
	far      = netip.MustParseAddr("198.51.100.7")
	gateway  = netip.MustParseAddr("192.0.2.254")
	usLink   = tcpip.LinkAddress{2, 0, 0, 0, 0, 1}
	peerLink = tcpip.LinkAddress{2, 0, 0, 0, 0, 9}
)

// world is a stack with lo and one interface, eth0, whose other end the test is.
type world struct {
	t     testing.TB
	clock *faketime.Clock
	s     *stack.Stack
	link  *capture.Endpoint
	nic   *stack.NIC
	lo    *stack.NIC
	o     capture.Options
}

// newWorld makes one without Ethernet headers unless o says otherwise.
func newWorld(t testing.TB, o capture.Options, transports ...func(*stack.Stack) stack.TransportProtocol) *world {
	t.Helper()
	w := &world{t: t, clock: faketime.New(), o: o}
	w.s = stack.New(stack.Config{Clock: w.clock, Seed: []byte("test"),
		Networks:   []func(*stack.Stack) stack.NetworkProtocol{arp.New, ipv4.New},
		Transports: transports})
	t.Cleanup(w.s.Close)
	var err error
	if w.lo, err = w.s.CreateNIC(1, "lo", loopback.New()); err != nil {
		t.Fatal(err)
	}
	o.Address = usLink
	w.link = capture.New(o)
	if w.nic, err = w.s.CreateNIC(2, "eth0", w.link); err != nil {
		t.Fatal(err)
	}
	w.lo.SetUp(true)
	w.nic.SetUp(true)
	for _, a := range []struct {
		nic *stack.NIC
		p   string
	}{{w.lo, "127.0.0.1/8"}, {w.nic, "192.0.2.1/24"}} {
		if err := a.nic.AddAddress(stack.Address{Prefix: netip.MustParsePrefix(a.p)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.s.AddRoute(stack.RouteEntry{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: gateway}); err != nil {
		t.Fatal(err)
	}
	return w
}

// take returns the IP packets that were sent, without link headers.
func (w *world) take() []header.IPv4 {
	w.t.Helper()
	var list []header.IPv4
	for _, s := range w.link.Take() {
		if s.EtherType != header.EtherTypeIPv4 {
			continue
		}
		h := header.IPv4(s.Payload(w.o.Ethernet))
		if !h.Valid(len(h)) || !h.ChecksumOK() || int(h.TotalLength()) != len(h) {
			w.t.Fatalf("a malformed packet was sent: %x", []byte(h))
		}
		list = append(list, h)
	}
	return list
}

// one returns the only packet that was sent.
func (w *world) one() header.IPv4 {
	w.t.Helper()
	list := w.take()
	if len(list) != 1 {
		w.t.Fatalf("%d packets were sent, want 1: %x", len(list), list)
	}
	return list[0]
}

// none fails if something was sent.
func (w *world) none() {
	w.t.Helper()
	if list := w.take(); len(list) != 0 {
		w.t.Fatalf("%d packets were sent, want none: %x", len(list), list)
	}
}

// packet makes a packet of the fields and the payload.
func packet(f header.IPv4Fields, payload []byte) []byte {
	if f.TTL == 0 {
		f.TTL = 64
	}
	n := f.HeaderLength()
	if f.TotalLength == 0 {
		f.TotalLength = uint16(n + len(payload))
	}
	b := make([]byte, n+len(payload))
	header.IPv4(b).Encode(f)
	copy(b[n:], payload)
	return b
}

// icmp makes a message with a right checksum.
func icmp(f header.ICMPv4Fields, payload []byte) []byte {
	b := make([]byte, header.ICMPv4Size+len(payload))
	header.ICMPv4(b).Encode(f)
	copy(b[header.ICMPv4Size:], payload)
	header.ICMPv4(b).SetChecksum(0)
	return b
}

func (w *world) inject(f header.IPv4Fields, payload []byte) {
	w.link.Inject(header.EtherTypeIPv4, packet(f, payload))
}

// transport is a transport with the ports of UDP that keeps what it gets.
type transport struct {
	number  uint8
	unknown []stack.TransportID
}

func (p *transport) Number() uint8 { return p.number }
func (p *transport) ParsePorts(pkt *buffer.Packet) (src, dst uint16, ok bool) {
	b, ok := pkt.Peek(header.UDPSize)
	if !ok {
		return 0, 0, false
	}
	if p.number == header.ProtocolICMPv4 {
		return 0, header.ICMPv4(b).Ident(), true
	}
	return header.UDP(b).SourcePort(), header.UDP(b).DestinationPort(), true
}
func (p *transport) HandleUnknown(id stack.TransportID, pkt *buffer.Packet) {
	p.unknown = append(p.unknown, id)
	pkt.Release()
}
func (p *transport) Close() {}

// newTransport is for newWorld.
func newTransport(number uint8) (*transport, func(*stack.Stack) stack.TransportProtocol) {
	p := &transport{number: number}
	return p, func(*stack.Stack) stack.TransportProtocol { return p }
}

// received is a packet that an endpoint got.
type received struct {
	id                         stack.TransportID
	payload                    []byte
	header                     header.IPv4
	source, destination, local netip.Addr
	ttl, tos, packetType       uint8
	nic                        tcpip.NICID
}

// endpoint keeps what it gets, and may be told to answer with an error.
type endpoint struct {
	mu     sync.Mutex
	got    []received
	errors []stack.TransportError
	quoted [][]byte
	id     stack.TransportID
	refuse *stack.NIC // answer with port unreachable by this interface
}

func (e *endpoint) HandlePacket(id stack.TransportID, pkt *buffer.Packet) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.refuse != nil {
		pkt.TransportHeader, _ = pkt.Consume(header.UDPSize)
		e.refuse.Endpoint(header.EtherTypeIPv4).(stack.InternetEndpoint).SendError(stack.ICMPError{Kind: stack.ErrorPortUnreachable}, pkt)
	}
	b := make([]byte, pkt.Len())
	pkt.CopyTo(b, 0)
	e.got = append(e.got, received{id, b, slices.Clone(header.IPv4(pkt.NetworkHeader)), pkt.Source, pkt.Destination, pkt.Local, pkt.TTL, pkt.TOS, pkt.PacketType, pkt.NIC})
	pkt.Release()
}

func (e *endpoint) HandleRaw(pkt *buffer.Packet) { e.HandlePacket(stack.TransportID{}, pkt) }

func (e *endpoint) HandleError(id stack.TransportID, err stack.TransportError, quoted []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.errors = append(e.errors, err)
	e.quoted = append(e.quoted, slices.Clone(quoted))
	e.id = id
}

func (e *endpoint) take() []received {
	e.mu.Lock()
	defer e.mu.Unlock()
	got := e.got
	e.got = nil
	return got
}

func (e *endpoint) takeErrors() []stack.TransportError {
	e.mu.Lock()
	defer e.mu.Unlock()
	got := e.errors
	e.errors = nil
	return got
}

// eventually waits until lo's goroutine has made f true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// bind registers an endpoint.
func (w *world) bind(number uint8, id stack.TransportID) *endpoint {
	w.t.Helper()
	e := &endpoint{}
	if err := w.s.Register(&stack.Binding{Transport: number, V4: true, ID: id, Endpoint: e}); err != nil {
		w.t.Fatal(err)
	}
	return e
}

// datagram is a UDP datagram without a checksum.
func datagram(sport, dport uint16, payload []byte) []byte {
	b := make([]byte, header.UDPSize+len(payload))
	header.UDP(b).Encode(header.UDPFields{SourcePort: sport, DestinationPort: dport, Length: uint16(len(b))})
	copy(b[header.UDPSize:], payload)
	return b
}

// route finds a route or fails.
func (w *world) route(q stack.RouteQuery) *stack.Route {
	w.t.Helper()
	r, err := w.s.FindRoute(q)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func numbers(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}
