package arp_test

import (
	"net/netip"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/network/arp"
	"runsc/pkg/tcpip/network/ipv4"
	"runsc/pkg/tcpip/stack"
)

var (
	us        = netip.MustParseAddr("192.0.2.1")
	other     = netip.MustParseAddr("198.51.100.1") // ours, of another interface
	peer      = netip.MustParseAddr("192.0.2.9")
	nobody    = netip.MustParseAddr("0.0.0.0")
	usLink    = tcpip.LinkAddress{2, 0, 0, 0, 0, 1}
	peerLink  = tcpip.LinkAddress{2, 0, 0, 0, 0, 9}
	peerLink2 = tcpip.LinkAddress{2, 0, 0, 0, 0, 10}
)

type world struct {
	t     *testing.T
	clock *faketime.Clock
	s     *stack.Stack
	link  *capture.Endpoint
	nic   *stack.NIC
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, clock: faketime.New()}
	w.s = stack.New(stack.Config{Clock: w.clock, Seed: []byte("test"), Networks: []func(*stack.Stack) stack.NetworkProtocol{arp.New, ipv4.New}})
	t.Cleanup(w.s.Close)
	w.link = capture.New(capture.Options{Ethernet: true, Address: usLink})
	for i, c := range []struct {
		link *capture.Endpoint
		p    string
	}{{w.link, "192.0.2.1/24"}, {capture.New(capture.Options{}), "198.51.100.1/24"}, {capture.New(capture.Options{Loopback: true}), "127.0.0.1/8"}} {
		n, err := w.s.CreateNIC(tcpip.NICID(i+1), c.p, c.link)
		if err != nil {
			t.Fatal(err)
		}
		n.SetUp(true)
		if err := n.AddAddress(stack.Address{Prefix: netip.MustParsePrefix(c.p)}); err != nil {
			t.Fatal(err)
		}
	}
	w.nic = w.s.NIC(1)
	w.link.Take()
	return w
}

func (w *world) inject(dst tcpip.LinkAddress, f header.ARPFields) {
	b := make([]byte, header.EthernetSize+header.ARPSize)
	header.Ethernet(b).Encode(header.EthernetFields{Source: f.SenderLink, Destination: dst, Type: header.EtherTypeARP})
	header.ARP(b[header.EthernetSize:]).Encode(f)
	w.link.Inject(0, b)
}

// sent returns the frames with ARP that were sent.
func (w *world) sent() (eth []header.Ethernet) {
	for _, s := range w.link.Take() {
		if s.EtherType == header.EtherTypeARP {
			if !header.ARP(s.Bytes[14:]).Valid() || len(s.Bytes) != 42 {
				w.t.Fatalf("%x", s.Bytes)
			}
			eth = append(eth, s.Bytes)
		}
	}
	return eth
}

func TestRequestsAreAnswered(t *testing.T) {
	for name, c := range map[string]struct {
		sender, target netip.Addr
		link           tcpip.LinkAddress
		answered       bool
		learned        bool
	}{
		"for us":                   {peer, us, peerLink, true, true},
		"for our other address":    {peer, other, peerLink, true, true},
		"a probe":                  {nobody, us, peerLink, true, false},
		"for another":              {peer, netip.MustParseAddr("192.0.2.7"), peerLink, false, false},
		"for loopback":             {peer, netip.MustParseAddr("127.0.0.1"), peerLink, false, false},
		"for a group":              {peer, netip.MustParseAddr("224.0.0.1"), peerLink, false, false},
		"from loopback":            {netip.MustParseAddr("127.0.0.1"), us, peerLink, false, false},
		"from a group":             {netip.MustParseAddr("224.0.0.1"), us, peerLink, false, false},
		"from broadcast":           {netip.MustParseAddr("192.0.2.255"), us, peerLink, false, false},
		"from a group of stations": {peer, us, tcpip.LinkAddress{1, 2, 3, 4, 5, 6}, false, false},
		"from no station":          {peer, us, tcpip.LinkAddress{}, false, false},
		"with our address":         {us, us, peerLink, true, false},
		"announcement of another":  {peer, peer, peerLink, false, false},
	} {
		w := newWorld(t)
		w.inject(tcpip.Broadcast, header.ARPFields{Operation: header.ARPRequest, SenderLink: c.link, SenderIP: c.sender, TargetIP: c.target})
		sent := w.sent()
		if (len(sent) == 1) != c.answered {
			t.Errorf("%s: %d answers", name, len(sent))
			continue
		}
		n, learned := w.nic.Neighbour(c.sender)
		if learned != c.learned || learned && (n.State != stack.NeighbourStale || n.Link != c.link) {
			t.Errorf("%s: learned %+v, %v", name, n, learned)
		}
		if !c.answered {
			continue
		}
		h := header.ARP(sent[0].Payload())
		if sent[0].Destination() != c.link || sent[0].Source() != usLink || h.Operation() != header.ARPReply || h.SenderLink() != usLink ||
			h.SenderIP() != c.target || h.TargetLink() != c.link || h.TargetIP() != c.sender {
			t.Errorf("%s: %x", name, []byte(sent[0]))
		}
	}
}

func TestMalformedPackets(t *testing.T) {
	w := newWorld(t)
	good := make([]byte, 42)
	header.Ethernet(good).Encode(header.EthernetFields{Source: peerLink, Destination: tcpip.Broadcast, Type: header.EtherTypeARP})
	header.ARP(good[14:]).Encode(header.ARPFields{Operation: header.ARPRequest, SenderLink: peerLink, SenderIP: peer, TargetIP: us})
	for i, b := range [][]byte{good[:41], good[:14]} {
		w.link.Inject(0, b)
		if n := w.nic.Stats().RXErrors.Load(); n != uint64(i+1) {
			t.Errorf("%d errors", n)
		}
	}
	for _, at := range []int{14, 16, 18, 19} { // hardware, protocol, and their sizes
		b := append([]byte(nil), good...)
		b[at] ^= 0x40
		w.link.Inject(0, b)
	}
	if len(w.sent()) != 0 {
		t.Error("a malformed request was answered")
	}
	w.link.Inject(0, append(good, "padding"...))
	if len(w.sent()) != 1 {
		t.Error("a padded request was not answered")
	}
}

// write sends a packet to the peer.
func (w *world) write() {
	r, err := w.s.FindRoute(stack.RouteQuery{Destination: peer})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := r.WritePacket(stack.NetworkParams{Transport: 99}, buffer.NewFrom([]byte("x"))); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) reply(dst tcpip.LinkAddress, link tcpip.LinkAddress) {
	w.inject(dst, header.ARPFields{Operation: header.ARPReply, SenderLink: link, SenderIP: peer, TargetLink: usLink, TargetIP: us})
}

func (w *world) want(what string, state stack.NeighbourState, link tcpip.LinkAddress) {
	w.t.Helper()
	n, ok := w.nic.Neighbour(peer)
	if ok != (state != 0) || ok && (n.State != state || n.Link != link) {
		w.t.Errorf("%s: %+v, %v", what, n, ok)
	}
}

func TestResolution(t *testing.T) {
	w := newWorld(t)
	w.reply(usLink, peerLink)
	w.want("an answer that nobody asked for", 0, peerLink)
	w.write()
	sent := w.sent()
	if len(sent) != 1 {
		t.Fatalf("%d requests", len(sent))
	}
	h := header.ARP(sent[0].Payload())
	if sent[0].Destination() != tcpip.Broadcast || h.Operation() != header.ARPRequest || h.SenderLink() != usLink || h.SenderIP() != us ||
		h.TargetIP() != peer || h.TargetLink() != (tcpip.LinkAddress{}) {
		t.Errorf("%x", []byte(sent[0]))
	}
	w.reply(usLink, peerLink)
	w.want("the answer", stack.NeighbourReachable, peerLink)
	if got := w.link.Take(); len(got) != 1 || header.Ethernet(got[0].Bytes).Destination() != peerLink {
		t.Errorf("then %d frames were sent", len(got))
	}
	// The first answer counts, for a second.
	w.reply(usLink, peerLink2)
	w.want("another answer", stack.NeighbourStale, peerLink)
	w.clock.Advance(time.Second)
	w.reply(usLink, peerLink2)
	w.want("another answer, later", stack.NeighbourReachable, peerLink2)
	// A probe goes to the station itself.
	w.clock.Advance(time.Minute)
	w.want("old", stack.NeighbourStale, peerLink2)
	w.write()
	w.link.Take()
	w.clock.Advance(5 * time.Second)
	if sent := w.sent(); len(sent) != 1 || sent[0].Destination() != peerLink2 || header.ARP(sent[0].Payload()).TargetLink() != peerLink2 {
		t.Errorf("the probe is %x", sent)
	}
	w.reply(usLink, peerLink2)
	w.want("its answer", stack.NeighbourReachable, peerLink2)
}

func TestAnnouncements(t *testing.T) {
	w := newWorld(t)
	w.nic.LearnNeighbour(peer, peerLink)
	announce := func(op uint16) {
		w.inject(tcpip.Broadcast, header.ARPFields{Operation: op, SenderLink: peerLink2, SenderIP: peer, TargetLink: peerLink2, TargetIP: peer})
	}
	announce(header.ARPRequest)
	w.want("as a request", stack.NeighbourStale, peerLink2)
	w.nic.SetNeighbour(stack.Neighbour{Addr: peer, Link: peerLink, State: stack.NeighbourReachable})
	announce(header.ARPReply)
	w.want("as an answer", stack.NeighbourStale, peerLink2)
	// Somebody else's request tells where he is, if we know him.
	w.clock.Advance(2 * time.Second)
	w.inject(tcpip.Broadcast, header.ARPFields{Operation: header.ARPRequest, SenderLink: peerLink, SenderIP: peer, TargetIP: netip.MustParseAddr("192.0.2.7")})
	w.want("another's request", stack.NeighbourStale, peerLink)
	// An answer that was broadcast does not say that he hears us.
	w.clock.Advance(2 * time.Second)
	w.reply(tcpip.Broadcast, peerLink)
	w.want("a broadcast answer", stack.NeighbourStale, peerLink)
	// Who has our address does not become a neighbour.
	w.nic.SetNeighbour(stack.Neighbour{Addr: us, Link: peerLink, State: stack.NeighbourStale})
	w.inject(tcpip.Broadcast, header.ARPFields{Operation: header.ARPReply, SenderLink: peerLink2, SenderIP: us, TargetIP: peer})
	if n, _ := w.nic.Neighbour(us); n.Link != peerLink {
		t.Errorf("%+v", n)
	}
	w.sent()

	arp.Announce(w.nic, us)
	sent := w.sent()
	if len(sent) != 1 || sent[0].Destination() != tcpip.Broadcast || header.ARP(sent[0].Payload()).SenderIP() != us || header.ARP(sent[0].Payload()).TargetIP() != us {
		t.Errorf("%x", sent)
	}
	arp.Announce(w.s.NIC(2), us) // a link without ARP
}
