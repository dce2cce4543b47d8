// Package nettest has small networks for tests of transports: hosts with lo and an interface, joined
// by a cable in memory or held at the other end by the test, and what one does with sockets there.
//
// Time stands still until the test moves it (faketime), so that a test sees the same every time.
// Sockets of one host reach each other by lo at once, those of two hosts when Net.Run was called.
// Only tests import it.
package nettest

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/link/loopback"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/network/arp"
	"runsc/pkg/tcpip/network/ipv4"
	"runsc/pkg/tcpip/network/ipv6"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/waiter"
)

// Numbers of the interfaces of a Host.
const (
	LoID  tcpip.NICID = 1
	EthID tcpip.NICID = 2
)

// Addresses of a Host are its number in these prefixes, and 127.0.0.1 and ::1.
var (
	Prefix4 = netip.MustParsePrefix("192.0.2.0/24")
	Prefix6 = netip.MustParsePrefix("2001:db8::/64")

	Loopback4 = netip.MustParseAddr("127.0.0.1")
	Loopback6 = netip.MustParseAddr("::1")
)

// Addr4 and Addr6 are the addresses of host n, LinkLocal its link-local one.
func Addr4(n byte) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, n}) }
func Addr6(n byte) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 2: 0xd, 3: 0xb8, 15: n})
}
func LinkLocal(n byte) netip.Addr { return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 15: n}) }

// Host is a stack with lo and eth0.
type Host struct {
	*stack.Stack
	Lo, Eth *stack.NIC
	Clock   *faketime.Clock
	// Wire is the other end of eth0, of hosts of NewHost.
	Wire *capture.Endpoint
}

func newHost(t testing.TB, clock *faketime.Clock, n byte, link stack.LinkEndpoint, transports []func(*stack.Stack) stack.TransportProtocol) *Host {
	t.Helper()
	h := &Host{Clock: clock, Stack: stack.New(stack.Config{
		Clock: clock, Seed: []byte{n},
		Networks:   []func(*stack.Stack) stack.NetworkProtocol{arp.New, ipv4.New, ipv6.New},
		Transports: transports,
	})}
	t.Cleanup(h.Close)
	// No router is asked for: what crosses the wire is what tests send.
	h.Settings().AcceptRA.Store(false)
	h.Settings().Autoconf.Store(false)
	var err error
	if h.Lo, err = h.CreateNIC(LoID, "lo", loopback.New()); err != nil {
		t.Fatal(err)
	}
	if h.Eth, err = h.CreateNIC(EthID, "eth0", link); err != nil {
		t.Fatal(err)
	}
	h.Lo.SetUp(true)
	h.Eth.SetUp(true)
	for _, a := range []struct {
		nic  *stack.NIC
		addr netip.Addr
		bits int
	}{{h.Lo, Loopback4, 8}, {h.Lo, Loopback6, 128}, {h.Eth, Addr4(n), 24}, {h.Eth, Addr6(n), 64}, {h.Eth, LinkLocal(n), 64}} {
		err := a.nic.AddAddress(stack.Address{Prefix: netip.PrefixFrom(a.addr, a.bits), NoDAD: true})
		if err != nil && err != unix.EEXIST {
			t.Fatal(err)
		}
	}
	// A group has to be reachable without a router.
	if err := h.AddRoute(stack.RouteEntry{Destination: netip.MustParsePrefix("224.0.0.0/4"), NIC: EthID}); err != nil {
		t.Fatal(err)
	}
	return h
}

// NewHost makes host 1, whose eth0 ends in the hands of the test.
func NewHost(t testing.TB, o capture.Options, transports ...func(*stack.Stack) stack.TransportProtocol) *Host {
	t.Helper()
	o.Address = tcpip.LinkAddress{2, 0, 0, 0, 0, 1}
	link := capture.New(o)
	h := newHost(t, faketime.New(), 1, link, transports)
	h.Wire = link
	h.Clock.Advance(time.Minute) // listener reports and the like
	link.Take()
	return h
}

// Net is two hosts on an Ethernet.
type Net struct {
	A, B  *Host
	Clock *faketime.Clock
	t     testing.TB
}

// New makes hosts 1 and 2. Its clock is that of o.
func New(t testing.TB, o pipe.Options, transports ...func(*stack.Stack) stack.TransportProtocol) *Net {
	t.Helper()
	n := &Net{Clock: faketime.New(), t: t}
	o.Clock, o.Ethernet = n.Clock, true
	a, b := pipe.New(o)
	n.A, n.B = newHost(t, n.Clock, 1, a, transports), newHost(t, n.Clock, 2, b, transports)
	n.Run()
	return n
}

// Run lets pass what is on the wire.
func (n *Net) Run() { n.Clock.Advance(100 * time.Millisecond) }

// Bytes is a tcpip.Source of plain bytes, which may fail after some.
type Bytes struct {
	B []byte
	// Err is returned when FailAfter bytes were read.
	Err       error
	FailAfter int
}

// Len implements tcpip.Source.
func (s *Bytes) Len() int { return len(s.B) }

// Read implements tcpip.Source.
func (s *Bytes) Read(b []byte) (int, error) {
	if s.Err != nil {
		if len(b) > s.FailAfter {
			n := copy(b, s.B[:s.FailAfter])
			return n, s.Err
		}
		s.FailAfter -= len(b)
	}
	n := copy(b, s.B)
	s.B = s.B[n:]
	return n, nil
}

// Buffer is a tcpip.Sink into B, which has room for Room bytes.
type Buffer struct {
	B    []byte
	Room int
	Err  error
}

// Len implements tcpip.Sink.
func (s *Buffer) Len() int { return s.Room }

// Write implements tcpip.Sink.
func (s *Buffer) Write(b []byte) (int, error) {
	if s.Err != nil {
		return 0, s.Err
	}
	n := min(len(b), s.Room)
	s.B = append(s.B, b[:n]...)
	s.Room -= n
	return n, nil
}

// To is an address.
func To(a netip.Addr, port uint16) tcpip.FullAddress { return tcpip.FullAddress{Addr: a, Port: port} }

// SendTo sends data to an address.
func SendTo(e tcpip.Endpoint, data string, to tcpip.FullAddress) error {
	_, err := e.Send(&Bytes{B: []byte(data)}, tcpip.SendOptions{To: &to})
	return err
}

// Send sends data to the peer.
func Send(e tcpip.Endpoint, data string) error {
	_, err := e.Send(&Bytes{B: []byte(data)}, tcpip.SendOptions{})
	return err
}

// Receive receives a datagram.
func Receive(e tcpip.Endpoint, o tcpip.ReceiveOptions) (string, tcpip.ReceiveResult, error) {
	b := Buffer{Room: 1 << 17}
	r, err := e.Receive(&b, o)
	return string(b.B), r, err
}

// WantData fails the test if the next datagram is not data, and returns what came with it.
func WantData(t testing.TB, e tcpip.Endpoint, data string) tcpip.ReceiveResult {
	t.Helper()
	got, r, err := Receive(e, tcpip.ReceiveOptions{DontWait: true})
	if err != nil || got != data || r.N != len(data) || r.MessageLen != len(data) {
		t.Fatalf("received %.40q (%d of %d bytes), %v; want %.40q", got, r.N, r.MessageLen, err, data)
	}
	return r
}

// WantError fails the test if receiving gives something else than an error.
func WantError(t testing.TB, e tcpip.Endpoint, want error) {
	t.Helper()
	if got, _, err := Receive(e, tcpip.ReceiveOptions{DontWait: true}); err != want {
		t.Fatalf("received %.40q, %v; want %v", got, err, want)
	}
}

// WantQueuedError takes an error from the error queue, and what it quotes.
func WantQueuedError(t testing.TB, e tcpip.Endpoint) (string, tcpip.QueuedError) {
	t.Helper()
	got, r, err := Receive(e, tcpip.ReceiveOptions{ErrorQueue: true})
	if err != nil {
		t.Fatalf("from the error queue: %v", err)
	}
	return got, r.Error
}

// Listener counts events.
type Listener struct {
	Mask  waiter.EventMask
	Count int
}

// NotifyEvent implements waiter.Listener.
func (l *Listener) NotifyEvent(m waiter.EventMask) {
	l.Mask |= m
	l.Count++
}

// Listen registers a Listener with e.
func Listen(t testing.TB, e waiter.Waitable) *Listener {
	t.Helper()
	l := &Listener{}
	if err := e.EventRegister(&waiter.Entry{Mask: waiter.AllEvents, Listener: l}); err != nil {
		t.Fatal(err)
	}
	return l
}

// IP makes a packet of either version around a transport's bytes.
func IP(src, dst netip.Addr, protocol uint8, transport []byte) []byte {
	if src.Is4() {
		b := make([]byte, header.IPv4MinimumSize, header.IPv4MinimumSize+len(transport))
		header.IPv4(b).Encode(header.IPv4Fields{
			TotalLength: uint16(len(b) + len(transport)), TTL: 64, Protocol: protocol, Source: src, Destination: dst,
		})
		return append(b, transport...)
	}
	b := make([]byte, header.IPv6Size, header.IPv6Size+len(transport))
	header.IPv6(b).Encode(header.IPv6Fields{
		PayloadLength: uint16(len(transport)), NextHeader: protocol, HopLimit: 64, Source: src, Destination: dst,
	})
	return append(b, transport...)
}

// EtherType is that of packets to an address.
func EtherType(a netip.Addr) uint16 {
	if a.Is4() {
		return header.EtherTypeIPv4
	}
	return header.EtherTypeIPv6
}

// UDP makes a datagram with its checksum, or without one if sum is false.
func UDP(src, dst netip.AddrPort, sum bool, payload []byte) []byte {
	b := make([]byte, header.UDPSize, header.UDPSize+len(payload))
	h := header.UDP(b)
	h.Encode(header.UDPFields{SourcePort: src.Port(), DestinationPort: dst.Port(), Length: uint16(len(b) + len(payload))})
	b = append(b, payload...)
	if h = b; sum {
		h.SetChecksum(checksum.PseudoHeader(header.ProtocolUDP, src.Addr(), dst.Addr(), uint32(len(b))))
	}
	return b
}

// ICMPError makes an error about a packet, whose bytes begin with its IP header, from an address.
// rest is the header's second word.
func ICMPError(from netip.Addr, icmpType, code uint8, rest uint32, about []byte) []byte {
	b := make([]byte, header.ICMPv4Size, header.ICMPv4Size+len(about))
	b[0], b[1] = icmpType, code
	binary.BigEndian.PutUint32(b[4:], rest)
	b = append(b, about...)
	if from.Is4() {
		header.ICMPv4(b).SetChecksum(0)
		return IP(from, header.IPv4(about).Source(), header.ProtocolICMPv4, b)
	}
	to := header.IPv6(about).Source()
	header.ICMPv6(b).SetChecksum(checksum.PseudoHeader(header.ProtocolICMPv6, from, to, uint32(len(b))))
	return IP(from, to, header.ProtocolICMPv6, b)
}

// Inject gives a host of NewHost, without Ethernet, a packet.
func (h *Host) Inject(packet []byte) {
	etherType := uint16(header.EtherTypeIPv4)
	if header.IPVersion(packet) == 6 {
		etherType = header.EtherTypeIPv6
	}
	h.Wire.Inject(etherType, packet)
}

// Sent returns the packets of a protocol that a host of NewHost, without Ethernet, has sent. Their
// transport header is not behind extension headers.
func (h *Host) Sent(protocol uint8) [][]byte {
	var list [][]byte
	for _, s := range h.Wire.Take() {
		b := s.Bytes
		if header.IPVersion(b) == 4 && header.IPv4(b).Protocol() == protocol || header.IPVersion(b) == 6 && header.IPv6(b).NextHeader() == protocol {
			list = append(list, b)
		}
	}
	return list
}

// Eventually waits for what another goroutine does (lo's, when the sender was a timer).
func Eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("%s did not happen", what)
		}
	}
}

// OK fails the test if there is an error.
func OK(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Want fails the test if got is another error.
func Want(t testing.TB, got, want error) {
	t.Helper()
	if got != want {
		t.Fatalf("error %v, want %v", got, want)
	}
}
