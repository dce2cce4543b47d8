package stack_test

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/link/loopback"
	"runsc/pkg/tcpip/network/arp"
	"runsc/pkg/tcpip/network/ipv4"
	"runsc/pkg/tcpip/network/ipv6"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/tcpip/transport/icmp"
	"runsc/pkg/tcpip/transport/packet"
	"runsc/pkg/tcpip/transport/raw"
	"runsc/pkg/tcpip/transport/tcp"
	"runsc/pkg/tcpip/transport/udp"
)

var (
	us4    = netip.MustParseAddr("192.0.2.1")
	peer4  = netip.MustParseAddr("192.0.2.9")
	us6    = netip.MustParseAddr("2001:db8::1")
	peer6  = netip.MustParseAddr("2001:db8::9")
	local6 = netip.MustParseAddr("fe80::9")
	usLink = tcpip.LinkAddress{2, 0, 0, 0, 0, 1}
	itLink = tcpip.LinkAddress{2, 0, 0, 0, 0, 9}
	group4 = netip.MustParseAddr("239.1.1.1")
	group6 = netip.MustParseAddr("ff0e::1")
)

// target is a stack with everything in it, as frames may find it.
type target struct {
	clock     *faketime.Clock
	s         *stack.Stack
	link      *capture.Endpoint
	endpoints []tcpip.Endpoint
	connected *tcp.Endpoint
	received  int
}

// sink takes everything.
type sink struct{ n int }

func (*sink) Len() int                      { return 1 << 20 }
func (s *sink) Write(b []byte) (int, error) { s.n += len(b); return len(b), nil }

// source is a message.
type source struct{ b []byte }

func (s *source) Len() int { return len(s.b) }
func (s *source) Read(b []byte) (int, error) {
	n := copy(b, s.b)
	s.b = s.b[n:]
	return n, nil
}

func newTarget(t testing.TB, forwarding bool) *target {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	x := &target{clock: faketime.New()}
	x.s = stack.New(stack.Config{Clock: x.clock, Seed: []byte("frames"),
		Networks:   []func(*stack.Stack) stack.NetworkProtocol{arp.New, ipv4.New, ipv6.New},
		Transports: []func(*stack.Stack) stack.TransportProtocol{tcp.New, udp.New, icmp.New4, icmp.New6}})
	x.s.Settings().IPForward.Store(forwarding)
	x.s.Settings().IPv6Forwarding.Store(forwarding)
	x.s.Settings().DADTransmits.Store(0)
	lo, err := x.s.CreateNIC(1, "lo", loopback.New())
	check(err)
	x.link = capture.New(capture.Options{Ethernet: true, Address: usLink})
	eth, err := x.s.CreateNIC(2, "eth0", x.link)
	check(err)
	other, err := x.s.CreateNIC(3, "tun0", capture.New(capture.Options{Discard: true, MTU: 1280}))
	check(err)
	for n, list := range map[*stack.NIC][]string{lo: {"127.0.0.1/8", "::1/128"}, eth: {"192.0.2.1/24", "2001:db8::1/64"}, other: {"10.0.0.1/8", "2001:db8:1::1/64"}} {
		n.SetUp(true)
		for _, p := range list {
			check(n.AddAddress(stack.Address{Prefix: netip.MustParsePrefix(p), NoDAD: true}))
		}
	}
	check(x.s.AddRoute(stack.RouteEntry{Destination: netip.MustParsePrefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.254")}))
	check(eth.JoinGroup(group4))
	check(eth.JoinGroup(group6))
	check(eth.SetNeighbour(stack.Neighbour{Addr: peer4, Link: itLink}))
	check(eth.SetNeighbour(stack.Neighbour{Addr: peer6, Link: itLink}))

	for _, v6 := range []bool{false, true} {
		any := header.IPv4Any
		if v6 {
			any = header.IPv6Any
		}
		l := tcp.NewEndpoint(x.s, v6)
		l.Options().V6Only.Store(true)
		check(l.Bind(tcpip.FullAddress{Addr: any, Port: 80}))
		check(l.Listen(16))
		u := udp.NewEndpoint(x.s, v6)
		u.Options().V6Only.Store(true)
		check(u.Bind(tcpip.FullAddress{Addr: any, Port: 53}))
		p := icmp.NewEndpoint(x.s, v6)
		check(p.Bind(tcpip.FullAddress{Addr: any, Port: 7}))
		x.endpoints = append(x.endpoints, l, u, p, raw.NewEndpoint(x.s, v6, 17), raw.NewEndpoint(x.s, v6, 99))
	}
	frames := packet.NewEndpoint(x.s, false, 3)
	x.endpoints = append(x.endpoints, frames)
	x.connect(t)
	return x
}

// connect makes a connection from port 80 here to port 1000 of the peer, whose end the frames
// are.
func (x *target) connect(t testing.TB) {
	t.Helper()
	c := tcp.NewEndpoint(x.s, false)
	c.Options().ReuseAddress.Store(true)
	if err := c.Bind(tcpip.FullAddress{Addr: us4, Port: 1000}); err != nil {
		t.Fatal(err)
	}
	x.link.Take()
	c.Connect(tcpip.FullAddress{Addr: peer4, Port: 80})
	for _, s := range x.link.Take() {
		ip := header.IPv4(s.Bytes[header.EthernetSize:])
		if s.EtherType != header.EtherTypeIPv4 || ip.Protocol() != header.ProtocolTCP {
			continue
		}
		syn := header.TCP(ip.Payload())
		seg := make([]byte, header.TCPMinimumSize)
		header.TCP(seg).Encode(header.TCPFields{SourcePort: 80, DestinationPort: 1000, Sequence: 999, Acknowledgment: syn.Sequence() + 1,
			Flags: header.TCPFlagSyn | header.TCPFlagAck, Window: 65535})
		header.TCP(seg).SetChecksum(checksum.PseudoHeader(6, peer4, us4, header.TCPMinimumSize))
		x.link.Inject(0, frame(header.EtherTypeIPv4, packet4(header.ProtocolTCP, peer4, us4, seg)))
	}
	if _, err := c.Send(&source{make([]byte, 5000)}, tcpip.SendOptions{}); err != nil {
		t.Fatalf("there is no connection: %v", err)
	}
	x.connected = c
	x.endpoints = append(x.endpoints, c)
}

// frame is a frame for us.
func frame(etherType uint16, payload []byte) []byte {
	b := make([]byte, header.EthernetSize+len(payload))
	header.Ethernet(b).Encode(header.EthernetFields{Source: itLink, Destination: usLink, Type: etherType})
	copy(b[header.EthernetSize:], payload)
	return b
}

func packet4(protocol uint8, src, dst netip.Addr, payload []byte) []byte {
	b := make([]byte, header.IPv4MinimumSize+len(payload))
	header.IPv4(b).Encode(header.IPv4Fields{TotalLength: uint16(len(b)), ID: 1, TTL: 64, Protocol: protocol, Source: src, Destination: dst})
	copy(b[header.IPv4MinimumSize:], payload)
	return b
}

func packet6(next uint8, src, dst netip.Addr, hops uint8, payload []byte) []byte {
	b := make([]byte, header.IPv6Size+len(payload))
	header.IPv6(b).Encode(header.IPv6Fields{PayloadLength: uint16(len(payload)), NextHeader: next, HopLimit: hops, Source: src, Destination: dst})
	copy(b[header.IPv6Size:], payload)
	return b
}

// Bits of the byte in front of each frame of an input.
const (
	opRepair  = 1 << iota // make the checksums right
	opAdvance             // let some time pass before
	opRead                // the sockets are read afterwards
	opSend                // they send something afterwards
	opOther               // the frame is a packet of the other interface
)

// record is a frame in an input.
func record(op byte, b []byte) []byte {
	return append([]byte{op, byte(len(b) >> 8), byte(len(b))}, b...)
}

// repair makes the IPv4 header's checksum right, if there is one.
func repair(b []byte) {
	if len(b) >= header.IPv4MinimumSize && b[0]>>4 == 4 {
		if n := header.IPv4(b).HeaderLength(); n >= header.IPv4MinimumSize && n <= len(b) {
			header.IPv4(b).UpdateChecksum()
		}
	}
}

// play gives the stack an input.
func (x *target) play(t testing.TB, in []byte) {
	other := x.s.NIC(3).Link().(*capture.Endpoint)
	for len(in) >= 3 {
		op, n := in[0], int(binary.BigEndian.Uint16(in[1:]))
		in = in[3:]
		b := append([]byte(nil), in[:min(n, len(in))]...)
		in = in[min(n, len(in)):]
		if op&opAdvance != 0 {
			x.clock.Advance(time.Duration(1+op>>5) * 300 * time.Millisecond)
		}
		p := buffer.NewFrom(b)
		link := x.link
		if op&opRepair != 0 {
			p.Checksum = buffer.ChecksumVerified
			at := header.EthernetSize
			if op&opOther != 0 {
				at = 0
			}
			if whole, ok := p.Peek(len(b)); ok && len(whole) >= at {
				repair(whole[at:])
			}
		}
		if op&opOther != 0 {
			link = other
			etherType := uint16(header.EtherTypeIPv4)
			if header.IPVersion(b) == 6 {
				etherType = header.EtherTypeIPv6
			}
			link.InjectPacket(etherType, p)
		} else {
			link.InjectPacket(0, p)
		}
		if op&opRead != 0 {
			x.read()
		}
		if op&opSend != 0 {
			x.send()
		}
		x.link.Take()
	}
}

// read empties the sockets.
func (x *target) read() {
	for _, e := range x.endpoints {
		s := &sink{}
		for range 10 {
			if _, err := e.Receive(s, tcpip.ReceiveOptions{}); err != nil {
				break
			}
		}
		e.Receive(s, tcpip.ReceiveOptions{ErrorQueue: true})
		e.TakeError()
		e.Readiness(0xffff)
		if a, _, err := e.Accept(); err == nil {
			x.endpoints = append(x.endpoints, a)
		}
		x.received += s.n
	}
}

// send sends something by each socket.
func (x *target) send() {
	for _, e := range x.endpoints {
		e.Send(&source{make([]byte, 100)}, tcpip.SendOptions{})
		e.Send(&source{make([]byte, 3000)}, tcpip.SendOptions{To: &tcpip.FullAddress{Addr: peer4, Port: 9}})
	}
}

// end checks what must be true whatever came in, and ends the stack.
func (x *target) end(t testing.TB) {
	for _, n := range x.s.NICs() {
		if list := n.Neighbours(); len(list) > 1024 {
			t.Errorf("%s has %d neighbours", n.Name(), len(list))
		}
		if list := n.Addresses(); len(list) > 64 {
			t.Errorf("%s has %d addresses", n.Name(), len(list))
		}
	}
	if n := len(x.s.Routes()); n > 1024 {
		t.Errorf("%d routes", n)
	}
	for _, e := range x.endpoints {
		e.Close()
	}
	x.s.Close()
	if n := x.clock.Pending(); n != 0 {
		t.Errorf("%d timers run after the end", n)
	}
}

// seeds are inputs of one situation each.
func seeds() map[string][]byte {
	udpTo := func(port uint16, v6 bool) []byte {
		b := make([]byte, 20)
		header.UDP(b).Encode(header.UDPFields{SourcePort: 9, DestinationPort: port, Length: 20})
		if v6 {
			header.UDP(b).SetChecksum(checksum.PseudoHeader(17, peer6, us6, 20))
		}
		return b
	}
	segment := func(port uint16, flags header.TCPFlags, payload string) []byte {
		b := make([]byte, header.TCPMinimumSize+20+len(payload))
		header.TCP(b).Encode(header.TCPFields{SourcePort: 80, DestinationPort: port, Sequence: 1000, Acknowledgment: 1, HeaderLength: 40, Flags: flags, Window: 1000})
		o := header.TCPOptions{MSS: 1460, HasWindowScale: true, WindowScale: 7, SACKPermitted: true, HasTimestamp: true, TSVal: 1}
		o.Encode(b[20:40])
		copy(b[40:], payload)
		return b
	}
	arpRequest := make([]byte, header.ARPSize)
	header.ARP(arpRequest).Encode(header.ARPFields{Operation: header.ARPRequest, SenderLink: itLink, SenderIP: peer4, TargetIP: us4})
	echo := make([]byte, 30)
	header.ICMPv4(echo).Encode(header.ICMPv4Fields{Type: header.ICMPv4Echo, Rest: [4]byte{0, 7}})
	header.ICMPv4(echo).SetChecksum(0)
	unreachable := append(make([]byte, 8), packet4(17, us4, peer4, udpTo(9, false))...)
	header.ICMPv4(unreachable).Encode(header.ICMPv4Fields{Type: 3, Code: 4, Rest: [4]byte{0, 0, 2, 0x40}})
	header.ICMPv4(unreachable).SetChecksum(0)
	igmp := make([]byte, header.IGMPv3QuerySize)
	header.IGMPv3Query(igmp).Encode(header.GroupQueryFields{MaxResponse: time.Second})
	header.IGMP(igmp).SetChecksum(0)
	first := packet4(17, peer4, us4, udpTo(53, false)[:16])
	header.IPv4(first).SetFragment(header.IPv4FlagMoreFragments, 0)
	header.IPv4(first).UpdateChecksum()
	second := packet4(17, peer4, us4, udpTo(53, false)[16:])
	header.IPv4(second).SetFragment(0, 16)
	header.IPv4(second).UpdateChecksum()
	icmp6 := func(t uint8, rest ...byte) []byte { return append([]byte{t, 0, 0, 0}, rest...) }
	ns := icmp6(135, append(append(make([]byte, 4), us6.AsSlice()...), 1, 1, 2, 0, 0, 0, 0, 9)...)
	na := icmp6(136, append(append([]byte{0x60, 0, 0, 0}, peer6.AsSlice()...), 2, 1, 2, 0, 0, 0, 0, 9)...)
	ra := icmp6(134, append([]byte{64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 64, 0xc0, 0, 0, 0x10, 0, 0, 0, 0x10, 0, 0, 0, 0, 0},
		append(netip.MustParseAddr("2001:db8:5::").AsSlice(), 1, 1, 2, 0, 0, 0, 0, 9, 5, 1, 0, 0, 0, 0, 5, 0)...)...)
	mld := icmp6(130, make([]byte, 24)...)
	tooBig := icmp6(2, append([]byte{0, 0, 5, 0}, packet6(17, us6, peer6, 64, udpTo(9, true))...)...)
	hop := append([]byte{17, 0, 5, 2, 0, 0, 1, 0}, udpTo(53, true)...)
	frag6 := append([]byte{17, 0, 0, 1, 0, 0, 0, 7}, udpTo(53, true)[:16]...)
	routing := append([]byte{17, 0, 0, 1, 0, 0, 0, 0}, udpTo(53, true)...)
	r := byte(opRepair | opRead)
	f4 := func(b []byte) []byte { return record(r, frame(header.EtherTypeIPv4, b)) }
	f6 := func(b []byte) []byte { return record(r, frame(header.EtherTypeIPv6, b)) }
	list := map[string][]byte{
		"arp":       record(0, frame(header.EtherTypeARP, arpRequest)),
		"echo":      f4(packet4(1, peer4, us4, echo)),
		"udp":       f4(packet4(17, peer4, us4, udpTo(53, false))),
		"closed":    f4(packet4(17, peer4, us4, udpTo(54, false))),
		"group":     f4(packet4(17, peer4, group4, udpTo(53, false))),
		"broadcast": f4(packet4(17, peer4, header.IPv4Broadcast, udpTo(53, false))),
		"syn":       f4(packet4(6, peer4, us4, segment(80, header.TCPFlagSyn, ""))),
		"data":      f4(packet4(6, peer4, us4, segment(1000, header.TCPFlagAck|header.TCPFlagPsh, "hello"))),
		"fin":       f4(packet4(6, peer4, us4, segment(1000, header.TCPFlagAck|header.TCPFlagFin, ""))),
		"rst":       f4(packet4(6, peer4, us4, segment(1000, header.TCPFlagRst, ""))),
		"error":     f4(packet4(1, peer4, us4, unreachable)),
		"igmp":      f4(packet4(2, peer4, header.IPv4AllSystems, igmp)),
		"unknown":   f4(packet4(99, peer4, us4, make([]byte, 8))),
		"forward":   f4(packet4(17, peer4, netip.MustParseAddr("10.0.0.9"), udpTo(53, false))),
		"back":      record(opRepair|opOther, packet4(17, netip.MustParseAddr("10.0.0.9"), peer4, udpTo(53, false))),
		"fragments": append(f4(second), f4(first)...),
		"half":      append(f4(first), record(opRepair|opAdvance|7<<5, frame(header.EtherTypeIPv4, second))...),
		"udp6":      f6(packet6(17, peer6, us6, 64, udpTo(53, true))),
		"syn6":      f6(packet6(6, peer6, us6, 64, segment(80, header.TCPFlagSyn, ""))),
		"ns":        f6(packet6(58, peer6, us6, 255, ns)),
		"na":        f6(packet6(58, peer6, us6, 255, na)),
		"ra":        f6(packet6(58, local6, header.IPv6AllNodes, 255, ra)),
		"mld":       f6(packet6(58, local6, header.IPv6AllNodes, 1, mld)),
		"tooBig":    f6(packet6(58, peer6, us6, 64, tooBig)),
		"hop":       f6(packet6(0, peer6, us6, 64, hop)),
		"frag6":     f6(packet6(44, peer6, us6, 64, frag6)),
		"routing":   f6(packet6(43, peer6, us6, 64, routing)),
		"echo6":     f6(packet6(58, peer6, us6, 64, icmp6(128, 0, 7, 0, 1))),
		"send":      record(opSend|opRead, nil),
		"time":      record(opAdvance|7<<5, nil),
	}
	return list
}

// FuzzFrames throws frames at a stack with everything in it: nothing may panic or hang, tables stay
// bounded, and at the end the stack can be closed.
func FuzzFrames(f *testing.F) {
	var all []byte
	for _, b := range seeds() {
		f.Add(b, false)
		f.Add(append(b, b...), true)
		all = append(all, b...)
	}
	f.Add(all, true)
	f.Fuzz(func(t *testing.T, in []byte, forwarding bool) {
		if len(in) > 1<<16 {
			return
		}
		x := newTarget(t, forwarding)
		x.play(t, in)
		x.end(t)
	})
}

// The fuzzer's seeds with random damage, for a while: what a run of the tests can do of it.
func TestDamagedFrames(t *testing.T) {
	rounds := 1500
	if testing.Short() {
		rounds = 200
	}
	list := seeds()
	names := make([]string, 0, len(list))
	for name := range list {
		names = append(names, name)
	}
	for seed := range uint64(3) {
		r := rand.New(rand.NewPCG(seed, 5))
		x := newTarget(t, seed == 1)
		for range rounds {
			b := append([]byte(nil), list[names[r.IntN(len(names))]]...)
			for range r.IntN(4) {
				if len(b) > 3 {
					at := 3 + r.IntN(len(b)-3)
					switch r.IntN(3) {
					case 0:
						b[at] ^= 1 << r.IntN(8)
					case 1:
						b[at] = byte(r.Uint32())
					case 2:
						b = b[:at+1]
					}
				}
			}
			b[0] = byte(r.Uint32())
			x.play(t, b)
		}
		if x.received == 0 {
			t.Error("no frame reached a socket")
		}
		x.end(t)
	}
}

// The sockets are there and get what is for them: otherwise the tests above test little.
func TestSeedsReachSockets(t *testing.T) {
	for name, want := range map[string]int{"udp": 1, "udp6": 2, "group": 1, "broadcast": 1, "fragments": 1, "hop": 2, "frag6": 0, "closed": 0} {
		x := newTarget(t, false)
		x.read()
		x.play(t, seeds()[name])
		st := x.s.Stats()
		if got := st.UDP.InDatagrams.Load() + 2*st.UDP6.InDatagrams.Load(); got != uint64(want) {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
		x.end(t)
	}
	x := newTarget(t, false)
	x.play(t, seeds()["syn"])
	x.play(t, seeds()["syn6"])
	if n := x.s.Stats().TCP.InSegs.Load(); n < 3 {
		t.Errorf("TCP got %d segments", n)
	}
	x.end(t)
}
