package stack

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

func TestChangesOfExactlyOneRoute(t *testing.T) {
	w := newWorld(t)
	add(t, w.eth, "10.0.0.1/24")
	a := RouteEntry{Destination: prefix("10.9.0.0/16"), Gateway: addr("10.0.0.9")}
	b := RouteEntry{Destination: prefix("10.9.0.0/16"), Gateway: addr("10.0.0.8")}
	if err := w.s.AddRoute(a); err != nil {
		t.Fatal(err)
	}
	if err := w.s.AddRoute(b); err != unix.EEXIST {
		t.Errorf("AddRoute beside: %v", err)
	}
	nextHop := func() string {
		r, err := w.s.FindRoute(RouteQuery{Destination: addr("10.9.1.1")})
		if err != nil {
			return err.Error()
		}
		return r.NextHop.String()
	}
	if err := w.s.InsertRoute(b, false); err != nil || nextHop() != "10.0.0.9" {
		t.Errorf("InsertRoute behind: %v, by %s", err, nextHop())
	}
	if err := w.s.InsertRoute(b, false); err != unix.EEXIST {
		t.Errorf("InsertRoute of the same: %v", err)
	}
	if err := w.s.InsertRoute(RouteEntry{Destination: prefix("10.9.0.0/16"), Gateway: addr("10.0.0.7")}, true); err != nil || nextHop() != "10.0.0.7" {
		t.Errorf("InsertRoute in front: %v, by %s", err, nextHop())
	}
	if err := w.s.InsertRoute(RouteEntry{Destination: prefix("10.9.0.0/16"), Gateway: addr("1.2.3.4")}, true); err != unix.ENETUNREACH {
		t.Errorf("InsertRoute by a gateway far away: %v", err)
	}
	i := slices.IndexFunc(w.s.Routes(), func(e RouteEntry) bool { return e.Gateway == addr("10.0.0.7") })
	old := w.s.Routes()[i]
	next := old
	next.Gateway = addr("10.0.0.6")
	if err := w.s.ReplaceRoute(old, next); err != nil || nextHop() != "10.0.0.6" {
		t.Errorf("ReplaceRoute: %v, by %s", err, nextHop())
	}
	if err := w.s.ReplaceRoute(old, next); err != unix.ESRCH {
		t.Errorf("ReplaceRoute of what is gone: %v", err)
	}
	bad := next
	bad.Gateway = here
	if err := w.s.ReplaceRoute(next, bad); err != unix.EINVAL || nextHop() != "10.0.0.6" {
		t.Errorf("ReplaceRoute by what cannot be: %v, by %s", err, nextHop())
	}
	if err := w.s.RemoveRouteExactly(old); err != unix.ESRCH {
		t.Errorf("RemoveRouteExactly of what is gone: %v", err)
	}
	if err := w.s.RemoveRouteExactly(next); err != nil || nextHop() != "10.0.0.9" {
		t.Errorf("RemoveRouteExactly: %v, by %s", err, nextHop())
	}
	r := Rule{Priority: 5, Table: 100, Action: 1}
	w.s.AddRule(r)
	if err := w.s.RemoveRuleExactly(Rule{Priority: 5}); err != unix.ENOENT {
		t.Errorf("RemoveRuleExactly by a pattern: %v", err)
	}
	if err := w.s.RemoveRuleExactly(r); err != nil || len(w.s.Rules()) != 5 {
		t.Errorf("RemoveRuleExactly: %v", err)
	}
}

func TestWriteFrame(t *testing.T) {
	w := newWorld(t)
	mine, other := &fakeTap{}, &fakeTap{}
	w.s.RegisterPacket(0, etherTypeAll, mine)
	w.s.RegisterPacket(0, etherTypeAll, other)
	b := make([]byte, header.EthernetSize+4)
	header.Ethernet(b).Encode(header.EthernetFields{Source: linkC, Destination: linkB, Type: 0x88b5})
	copy(b[header.EthernetSize:], "data")
	if err := w.eth.WriteFrame(buffer.NewFrom(b), mine); err != nil {
		t.Fatal(err)
	}
	if sent := w.link.take(); len(sent) != 1 || !slices.Equal(sent[0], b) {
		t.Errorf("sent %x", sent)
	}
	if len(mine.bytes) != 0 || !slices.Equal(other.bytes, []string{"data"}) || other.types[0] != packetOutgoing {
		t.Errorf("the sender saw %q, others %q", mine.bytes, other.bytes)
	}
	if err := w.eth.WriteFrame(buffer.NewFrom(b[:13]), nil); err != unix.EINVAL {
		t.Errorf("half a header: %v", err)
	}
	w.link.err = unix.ENOBUFS
	if err := w.eth.WriteFrame(buffer.NewFrom(b), nil); err != unix.ENOBUFS {
		t.Errorf("a full link: %v", err)
	}
	w.eth.SetUp(false)
	if err := w.eth.WriteFrame(buffer.NewFrom(b), nil); err != unix.ENETDOWN {
		t.Errorf("down: %v", err)
	}
	// lo takes the header off.
	if err := w.lo.WriteFrame(buffer.NewFrom(b), nil); err != nil {
		t.Fatal(err)
	}
	if sent := w.lo.Link().(*fakeLink).take(); len(sent) != 1 || string(sent[0]) != "data" {
		t.Errorf("lo was given %x", sent)
	}
	if w.eth.FrameHeader() != 14 || w.lo.FrameHeader() != 14 {
		t.Errorf("headers of %d and %d bytes", w.eth.FrameHeader(), w.lo.FrameHeader())
	}
	n, _ := w.s.CreateNIC(0, "tun", &fakeLink{})
	if n.FrameHeader() != 0 {
		t.Errorf("a link without frames has a header of %d bytes", n.FrameHeader())
	}
}

// flushLink is a link that counts the calls of Flush.
type flushLink struct {
	*fakeLink
	n int
}

func (l *flushLink) Flush() { l.n++ }

func TestFlush(t *testing.T) {
	s := New(Config{Networks: []func(*Stack) NetworkProtocol{func(*Stack) NetworkProtocol { return &fakeNet{etherType: header.EtherTypeIPv4} }}})
	defer s.Close()
	link := &flushLink{fakeLink: &fakeLink{caps: CapLoopback, mtu: 65536}}
	nics := map[tcpip.NICID]LinkEndpoint{2: &fakeLink{caps: CapResolution, mtu: 1500}, 1: link}
	for id, l := range nics {
		n, _ := s.CreateNIC(id, string('a'+rune(id)), l)
		n.SetUp(true)
	}
	add(t, s.NIC(1), "127.0.0.1/8")
	add(t, s.NIC(2), "10.0.0.1/24")
	for _, c := range []struct {
		dst  string
		want int
	}{{"127.0.0.1", 1}, {"10.0.0.1", 1}, {"10.0.0.255", 1}, {"10.0.0.9", 0}} {
		r, err := s.FindRoute(RouteQuery{Destination: addr(c.dst)})
		if err != nil {
			t.Fatal(err)
		}
		link.n = 0
		r.Flush()
		if link.n != c.want {
			t.Errorf("%s: lo was flushed %d times", c.dst, link.n)
		}
	}
	r, _ := s.FindRoute(RouteQuery{Destination: addr("10.0.0.255")})
	s.RemoveNIC(1)
	r.Flush() // of a lo that is gone
	if link.n != 0 {
		t.Error("a link that is gone was flushed")
	}
}

func TestSetReuse(t *testing.T) {
	s := New(Config{})
	a := &PortRequest{V4: true, Port: 80}
	b := &PortRequest{V4: true, Port: 80, ReuseAddress: true}
	s.ReservePort(a)
	if err := s.ReservePort(b); err != unix.EADDRINUSE {
		t.Errorf("before: %v", err)
	}
	s.SetReuse(a, true, false)
	if err := s.ReservePort(b); err != nil {
		t.Errorf("after: %v", err)
	}
}
