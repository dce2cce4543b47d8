package ipv4_test

import (
	"net/netip"
	"testing"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/checksum"
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
	t     *testing.T
	clock *faketime.Clock
	s     *stack.Stack
	link  *capture.Endpoint
	nic   *stack.NIC
	lo    *stack.NIC
	o     capture.Options
}

// newWorld makes one without Ethernet headers unless o says otherwise.
func newWorld(t *testing.T, o capture.Options, transports ...func(*stack.Stack) stack.TransportProtocol) *world {
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

func TestEchoIsAnswered(t *testing.T) {
	w := newWorld(t, capture.Options{})
	request := icmp(header.ICMPv4Fields{Type: header.ICMPv4Echo, Rest: [4]byte{1, 2, 3, 4}}, []byte("payload"))
	w.inject(header.IPv4Fields{Protocol: header.ProtocolICMPv4, Source: peer, Destination: us, TOS: 0x10}, request)
	h := w.one()
	m := header.ICMPv4(h.Payload())
	if h.Source() != us || h.Destination() != peer || h.TOS() != 0x10 || h.TTL() != 64 {
		t.Errorf("the answer's header is %x", []byte(h[:20]))
	}
	if m.Type() != header.ICMPv4EchoReply || m.Ident() != 0x102 || m.Sequence() != 0x304 ||
		string(m.Payload()) != "payload" || !checksum.OK(checksum.Sum(m, 0)) {
		t.Errorf("the answer is %x", []byte(m))
	}
}
