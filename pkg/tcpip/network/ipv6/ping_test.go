package ipv6

import (
	"net/netip"
	"testing"
	"time"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/stack"
)

// pinger is a stack that can ping.
type pinger struct {
	stack *stack.Stack
	nic   *stack.NIC
	raw   raw
}

func newPingers(t *testing.T, clock *faketime.Clock, o pipe.Options) (a, b *pinger) {
	t.Helper()
	o.Clock = clock
	x, y := pipe.New(o)
	for i, link := range []*pipe.Endpoint{x, y} {
		p := &pinger{}
		p.stack = stack.New(stack.Config{
			Clock:    clock,
			Networks: []func(*stack.Stack) stack.NetworkProtocol{New},
			Seed:     []byte{byte(i)},
		})
		t.Cleanup(p.stack.Close)
		nic, err := p.stack.CreateNIC(0, "eth0", link)
		if err != nil {
			t.Fatal(err)
		}
		p.nic = nic
		p.stack.RegisterRaw(true, header.ProtocolICMPv6, &p.raw)
		if err := nic.AddAddress(stack.Address{Prefix: netip.PrefixFrom([]netip.Addr{ourGlobal, peerGlobal}[i], 64)}); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			a = p
		} else {
			b = p
		}
	}
	a.nic.SetUp(true)
	b.nic.SetUp(true)
	return a, b
}

// ping sends an echo request of size bytes.
func (p *pinger) ping(t *testing.T, dst netip.Addr, seq uint16, size int) {
	t.Helper()
	q := stack.RouteQuery{Destination: dst}
	if dst.IsLinkLocalUnicast() || dst.IsMulticast() {
		q.NIC = p.nic.ID()
	}
	r, err := p.stack.FindRoute(q)
	if err != nil {
		t.Fatalf("FindRoute(%v): %v", dst, err)
	}
	b := make([]byte, header.ICMPv6Size+size)
	h := header.ICMPv6(b)
	h.Encode(header.ICMPv6Fields{Type: header.ICMPv6EchoRequest})
	h.SetSequence(seq)
	for i := range size {
		b[header.ICMPv6Size+i] = byte(i * 7)
	}
	setICMPChecksum(b, r.Source, dst)
	pkt := buffer.NewFrom(b)
	pkt.TransportHeader, _ = pkt.Peek(header.ICMPv6Size)
	if err := r.WritePacket(stack.NetworkParams{Transport: header.ProtocolICMPv6}, pkt); err != nil {
		t.Fatalf("WritePacket: %v", err)
	}
}

// replies are the sequence numbers of the echo replies that came, whose data is checked.
func (p *pinger) replies(t *testing.T, size int) []uint16 {
	t.Helper()
	p.raw.mu.Lock()
	defer p.raw.mu.Unlock()
	var list []uint16
	for _, b := range p.raw.got {
		h := header.ICMPv6(b)
		if h.Type() != header.ICMPv6EchoReply {
			continue
		}
		list = append(list, h.Sequence())
		if len(b) != header.ICMPv6Size+size {
			t.Errorf("a reply of %d bytes", len(b))
			continue
		}
		for i := range size {
			if b[header.ICMPv6Size+i] != byte(i*7) {
				t.Errorf("byte %d of a reply is wrong", i)
				break
			}
		}
	}
	p.raw.got = nil
	return list
}

func TestTwoStacksPingEachOther(t *testing.T) {
	for _, test := range []struct {
		name string
		o    pipe.Options
		dst  netip.Addr
		size int
	}{
		{"global", pipe.Options{Ethernet: true}, peerGlobal, 56},
		{"link-local", pipe.Options{Ethernet: true}, header.LinkLocal(peerLink), 56},
		{"in fragments", pipe.Options{Ethernet: true}, peerGlobal, 20000},
		{"minimum MTU", pipe.Options{Ethernet: true, MTU: 1280}, peerGlobal, 5000},
		{"fragments out of order and twice", pipe.Options{Ethernet: true, Seed: 5,
			Forth: pipe.Impairment{Delay: time.Millisecond, Reorder: 0.3, Duplicate: 0.3},
			Back:  pipe.Impairment{Delay: time.Millisecond, Reorder: 0.3, Duplicate: 0.3}}, peerGlobal, 20000},
		{"without Ethernet", pipe.Options{}, peerGlobal, 3000},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := faketime.New()
			a, b := newPingers(t, clock, test.o)
			clock.Advance(5 * time.Second) // duplicate address detection
			for seq := range uint16(4) {
				a.ping(t, test.dst, seq, test.size)
			}
			clock.Advance(3 * time.Second)
			got := a.replies(t, test.size)
			seen := map[uint16]bool{}
			for _, s := range got {
				seen[s] = true
			}
			if len(seen) != 4 {
				t.Errorf("replies to %v, want 4", got)
			}
			if n := b.stack.Stats().ICMP6.InType[header.ICMPv6EchoRequest].Load(); n < 4 {
				t.Errorf("the peer saw %d requests", n)
			}
		})
	}
}

func TestPingOfAllNodesIsAnsweredFromAUnicastAddress(t *testing.T) {
	clock := faketime.New()
	a, _ := newPingers(t, clock, pipe.Options{Ethernet: true})
	clock.Advance(5 * time.Second)
	a.ping(t, header.IPv6AllNodes, 3, 10)
	clock.Advance(time.Second)
	if got := a.replies(t, 10); len(got) != 1 || got[0] != 3 {
		t.Errorf("replies to %v, want [3]", got)
	}
}

func TestTwoStacksWithOneAddressFindOut(t *testing.T) {
	clock := faketime.New()
	a, b := newPingers(t, clock, pipe.Options{Ethernet: true})
	clock.Advance(5 * time.Second)
	same := stack.Address{Prefix: prefix("2001:db8::77/64")}
	if err := a.nic.AddAddress(same); err != nil {
		t.Fatal(err)
	}
	clock.Advance(5 * time.Second)
	if err := b.nic.AddAddress(same); err != nil {
		t.Fatal(err)
	}
	clock.Advance(5 * time.Second)
	if !a.nic.HasAddress(same.Prefix.Addr()) {
		t.Error("the first to have it lost the address")
	}
	got, _ := b.nic.Address(same.Prefix.Addr())
	if !got.Tentative || !got.Duplicate || b.nic.HasAddress(same.Prefix.Addr()) {
		t.Errorf("the second to have it has %+v", got)
	}
}

func TestAnIdleInterfaceHasNoTimers(t *testing.T) {
	clock := faketime.New()
	a, b := newPingers(t, clock, pipe.Options{Ethernet: true})
	a.stack.Settings().AcceptRA.Store(false)
	b.stack.Settings().AcceptRA.Store(false)
	clock.Advance(time.Minute)
	if n := clock.Pending(); n != 0 {
		t.Errorf("%d timers are set though nothing is going on", n)
	}
}
