package stack

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

// neighbourWorld is a world with an address, and an observer.
type neighbourWorld struct {
	*world
	t      *testing.T
	ep     *fakeNetEndpoint
	events []string
}

func (w *neighbourWorld) StackChanged(c Change) {
	if c.Neighbour == nil {
		return
	}
	s := stateName(c.Neighbour.State)
	if c.Removed {
		s = "removed"
	}
	w.events = append(w.events, s)
}

func stateName(s NeighbourState) string {
	return map[NeighbourState]string{0: "none", 1: "incomplete", 2: "reachable", 4: "stale", 8: "delay", 16: "probe", 32: "failed", 64: "noarp", 128: "permanent"}[s]
}

func newNeighbourWorld(t *testing.T) *neighbourWorld {
	w := &neighbourWorld{world: newWorld(t), t: t}
	add(t, w.eth, "10.0.0.1/24")
	w.ep = w.ep4(w.eth)
	w.s.AddObserver(w)
	return w
}

// send sends a packet to the neighbour there.
func (w *neighbourWorld) send(s string) {
	w.t.Helper()
	p := buffer.NewFrom([]byte(s))
	p.Source = here
	if err := w.eth.WritePacket(there, header.EtherTypeIPv4, p); err != nil {
		w.t.Fatal(err)
	}
}

// sent are the payloads that were sent since the last call, with the last byte of their link
// destination.
func (w *neighbourWorld) sent() []string {
	var list []string
	for _, b := range w.link.take() {
		h := header.Ethernet(b)
		list = append(list, fmt.Sprintf("%s>%x", h.Payload(), h.Destination()[5]))
	}
	return list
}

func (w *neighbourWorld) state() string {
	n, ok := w.eth.Neighbour(there)
	if !ok {
		return "absent"
	}
	return stateName(n.State)
}

// want checks the state, what was sent, and who was asked for the address.
func (w *neighbourWorld) want(what, state string, sent []string, asked ...tcpip.LinkAddress) {
	w.t.Helper()
	if got := w.state(); got != state {
		w.t.Errorf("%s: %s, want %s", what, got, state)
	}
	if got := w.sent(); !slices.Equal(got, sent) {
		w.t.Errorf("%s: sent %q, want %q", what, got, sent)
	}
	var to []tcpip.LinkAddress
	for _, a := range w.ep.takeAsked() {
		to = append(to, a.to)
		if a.target != there || a.source != here {
			w.t.Errorf("%s: asked for %v from %v", what, a.target, a.source)
		}
	}
	if !slices.Equal(to, asked) {
		w.t.Errorf("%s: asked %v, want %v", what, to, asked)
	}
}

func (w *neighbourWorld) wantEvents(want ...string) {
	w.t.Helper()
	if !slices.Equal(w.events, want) {
		w.t.Errorf("observers heard %v, want %v", w.events, want)
	}
	w.events = nil
}

var everybody tcpip.LinkAddress

func TestResolution(t *testing.T) {
	w := newNeighbourWorld(t)
	w.send("a")
	w.want("the first packet", "incomplete", nil, everybody)
	w.send("b")
	w.want("the second", "incomplete", nil)
	w.eth.ConfirmNeighbour(there, linkB, true, true, false)
	w.want("the answer", "reachable", []string{"a>b", "b>b"})
	w.send("c")
	w.want("then", "reachable", []string{"c>b"})
	w.wantEvents("incomplete", "reachable")
	// Without confirmation it gets stale (RFC 4861 section 7.3.3), after 15 to 45 seconds.
	w.clock.Advance(15*time.Second - 1)
	w.want("15 s later", "reachable", nil)
	w.clock.Advance(30*time.Second + 1)
	w.want("45 s later", "stale", nil)
	if w.clock.Pending() != 0 {
		t.Error("a stale entry has a timer")
	}
	w.send("d")
	w.want("a packet to a stale entry", "delay", []string{"d>b"})
	w.clock.Advance(5 * time.Second)
	w.want("5 s later", "probe", nil, linkB)
	w.send("e")
	w.want("a packet meanwhile", "probe", []string{"e>b"})
	w.clock.Advance(time.Second)
	w.want("1 s later", "probe", nil, linkB)
	w.eth.ConfirmNeighbour(there, linkB, true, false, false)
	w.want("the answer", "reachable", nil)
	w.wantEvents("stale", "delay", "probe", "reachable")
}

// RFC 4861 section 6.3.4: only IPv6 neighbours go by what routers advertise.
func TestAdvertisedTimes(t *testing.T) {
	w := newWorld(t)
	w.eth.SetNeighbourTimes6(2*time.Minute, 5*time.Second)
	for _, c := range []struct {
		addr             string
		retransmit       time.Duration
		soonest, longest time.Duration
	}{
		{"2001:db8::9", 5 * time.Second, time.Minute, 3 * time.Minute},
		{"10.0.0.9", time.Second, 15 * time.Second, 45 * time.Second},
	} {
		e := w.eth.obtainNeighbour(addr(c.addr))
		if got := e.retransmitTime(); got != c.retransmit {
			t.Errorf("%s: asked again after %v", c.addr, got)
		}
		for range 100 {
			if d := e.reachableTime(); d < c.soonest || d >= c.longest {
				t.Fatalf("%s: reachable for %v", c.addr, d)
			}
		}
	}
	w.eth.SetNeighbourTimes6(0, 0)
	if d := w.eth.obtainNeighbour(addr("2001:db8::9")).retransmitTime(); d != retransmitTime {
		t.Errorf("by default asked again after %v", d)
	}
}

func TestNobodyAnswers(t *testing.T) {
	w := newNeighbourWorld(t)
	w.send("a")
	w.send("b")
	w.want("at first", "incomplete", nil, everybody)
	w.clock.Advance(2 * time.Second)
	w.want("2 s later", "incomplete", nil, everybody, everybody)
	w.clock.Advance(time.Second - 1)
	w.want("just before", "incomplete", nil)
	w.clock.Advance(1)
	w.want("3 s later", "failed", nil)
	if len(w.ep.errors) != 2 || w.ep.errors[0].Kind != ErrorHostUnreachable {
		t.Errorf("the senders were told %v", w.ep.errors)
	}
	if n := w.eth.neighbours.pending.Load(); n != 0 {
		t.Errorf("%d bytes are pending for nobody", n)
	}
	w.send("c")
	w.want("another packet", "incomplete", nil, everybody)
	w.clock.Advance(time.Minute)
	w.want("in vain, too", "failed", nil, everybody, everybody)
	w.wantEvents("incomplete", "failed", "incomplete", "failed")
	// Probes of what was there end the same way.
	w.eth.LearnNeighbour(there, linkB)
	w.want("learned", "stale", nil)
	w.send("d")
	w.want("used", "delay", []string{"d>b"})
	w.clock.Advance(5*time.Second + 3*time.Second - 1)
	w.want("probed", "probe", nil, linkB, linkB, linkB)
	w.clock.Advance(1)
	w.want("in vain", "failed", nil)
}

func TestUpperLayersConfirm(t *testing.T) {
	w := newNeighbourWorld(t)
	r, err := w.s.FindRoute(RouteQuery{Destination: there})
	if err != nil {
		t.Fatal(err)
	}
	r.ConfirmNeighbour() // of what is not known
	w.want("unknown", "absent", nil)
	w.eth.LearnNeighbour(there, linkB)
	r.ConfirmNeighbour()
	w.want("from stale", "reachable", nil)
	for range 20 { // ten minutes
		w.clock.Advance(10 * time.Second)
		r.ConfirmNeighbour()
		w.clock.Advance(4 * time.Second)
		r.ConfirmNeighbour()
	}
	w.want("as long as it is confirmed", "reachable", nil)
	w.clock.Advance(100 * time.Second)
	w.want("not any more", "stale", nil)
	w.send("x")
	w.want("used", "delay", []string{"x>b"})
	r.ConfirmNeighbour()
	w.want("from delay", "reachable", nil)
	w.clock.Advance(100 * time.Second)
	w.send("y")
	w.clock.Advance(5 * time.Second)
	w.want("probed", "probe", []string{"y>b"}, linkB)
	r.ConfirmNeighbour()
	w.want("from probe", "reachable", nil)
	// These have no entry.
	w.eth.confirmByUpperLayer(addr("10.0.0.77"))
	w.lo.confirmByUpperLayer(here)
}

// RFC 4861 section 7.2.5, and its appendix C.
func TestAdvertisements(t *testing.T) {
	states := []string{"none", "incomplete", "reachable", "stale", "delay", "probe", "failed", "permanent"}
	prepare := map[string]func(w *neighbourWorld){
		"none":       func(w *neighbourWorld) {},
		"incomplete": func(w *neighbourWorld) { w.send("x") },
		"reachable": func(w *neighbourWorld) {
			w.eth.SetNeighbour(Neighbour{Addr: there, Link: linkB, State: NeighbourReachable})
		},
		"stale": func(w *neighbourWorld) { w.eth.LearnNeighbour(there, linkB) },
		"delay": func(w *neighbourWorld) { w.eth.LearnNeighbour(there, linkB); w.send("x") },
		"probe": func(w *neighbourWorld) {
			w.eth.LearnNeighbour(there, linkB)
			w.send("x")
			w.clock.Advance(5 * time.Second)
		},
		"failed":    func(w *neighbourWorld) { w.send("x"); w.clock.Advance(3 * time.Second) },
		"permanent": func(w *neighbourWorld) { w.eth.SetNeighbour(Neighbour{Addr: there, Link: linkB}) },
	}
	for _, c := range []struct {
		name                        string
		link                        tcpip.LinkAddress
		solicited, override, router bool
		want                        map[string]string // by state; the others stay
		linkOf                      map[string]tcpip.LinkAddress
		routerIn                    string // states in which the entry is a router's then
	}{
		{"solicited, same address", linkB, true, false, true,
			map[string]string{"incomplete": "reachable", "stale": "reachable", "delay": "reachable", "probe": "reachable", "failed": "reachable"}, nil,
			"incomplete reachable stale delay probe failed"},
		{"unsolicited, same address", linkB, false, false, true,
			map[string]string{"incomplete": "stale", "failed": "stale"}, nil, "incomplete reachable stale delay probe failed"},
		{"solicited, no address", tcpip.LinkAddress{}, true, false, true,
			map[string]string{"stale": "reachable", "delay": "reachable", "probe": "reachable"}, nil, "reachable stale delay probe"},
		{"other address, no override", linkC, true, false, true,
			map[string]string{"incomplete": "reachable", "failed": "reachable", "reachable": "stale"},
			map[string]tcpip.LinkAddress{"incomplete": linkC, "failed": linkC}, "incomplete failed"},
		{"other address, override", linkC, true, true, false,
			map[string]string{"incomplete": "reachable", "stale": "reachable", "delay": "reachable", "probe": "reachable", "failed": "reachable"},
			map[string]tcpip.LinkAddress{"incomplete": linkC, "reachable": linkC, "stale": linkC, "delay": linkC, "probe": linkC, "failed": linkC}, ""},
		{"other address, override, unsolicited", linkC, false, true, false,
			map[string]string{"incomplete": "stale", "reachable": "stale", "stale": "stale", "delay": "stale", "probe": "stale", "failed": "stale"},
			map[string]tcpip.LinkAddress{"incomplete": linkC, "reachable": linkC, "stale": linkC, "delay": linkC, "probe": linkC, "failed": linkC}, ""},
	} {
		for _, state := range states {
			w := newNeighbourWorld(t)
			prepare[state](w)
			w.eth.ConfirmNeighbour(there, c.link, c.solicited, c.override, c.router)
			n, ok := w.eth.Neighbour(there)
			if state == "none" {
				if ok {
					t.Errorf("%s: made an entry", c.name)
				}
				continue
			}
			want := c.want[state]
			if want == "" {
				want = state
			}
			if got := stateName(n.State); got != want {
				t.Errorf("%s in %s: %s, want %s", c.name, state, got, want)
			}
			link, ok := c.linkOf[state]
			if !ok && n.State&usableStates != 0 {
				link = linkB
			}
			if n.Link != link {
				t.Errorf("%s in %s: link address %v, want %v", c.name, state, n.Link, link)
			}
			if want := slices.Contains(strings.Fields(c.routerIn), state); n.Router != want {
				t.Errorf("%s in %s: router %v, want %v", c.name, state, n.Router, want)
			}
			if state == "incomplete" && n.State != NeighbourIncomplete {
				if got := w.sent(); len(got) != 1 {
					t.Errorf("%s: what waited was not sent: %q", c.name, got)
				}
			}
		}
	}
}

func TestLearning(t *testing.T) {
	w := newNeighbourWorld(t)
	w.eth.LearnNeighbour(there, linkB)
	w.want("new", "stale", nil)
	w.eth.ConfirmNeighbour(there, linkB, true, true, false)
	w.eth.LearnNeighbour(there, linkB)
	w.want("the same again", "reachable", nil)
	w.eth.LearnNeighbour(there, linkC)
	w.want("another address", "stale", nil)
	w.eth.RemoveNeighbour(there)
	w.send("x")
	w.want("waiting", "incomplete", nil, everybody)
	w.eth.LearnNeighbour(there, linkB)
	w.want("a request of whom we wait for", "delay", []string{"x>b"})
	w.clock.Advance(5 * time.Second)
	w.want("it is verified", "probe", nil, linkB)
	w.eth.SetNeighbour(Neighbour{Addr: there, Link: linkB})
	w.eth.LearnNeighbour(there, linkC)
	w.send("y")
	w.want("permanent", "permanent", []string{"y>b"})
}

func TestPacketsThatWaitAreBounded(t *testing.T) {
	w := newNeighbourWorld(t)
	for i := range pendingLimit + 50 {
		w.send(fmt.Sprint(i))
	}
	w.ep.takeAsked()
	if got := w.eth.Stats().TXDropped.Load(); got != 50 {
		t.Errorf("%d packets were dropped", got)
	}
	w.eth.ConfirmNeighbour(there, linkB, true, true, false)
	sent := w.sent()
	if len(sent) != pendingLimit || sent[0] != "50>b" || sent[len(sent)-1] != fmt.Sprintf("%d>b", pendingLimit+49) {
		t.Errorf("%d were sent, from %s", len(sent), sent[0])
	}
	if n := w.eth.neighbours.pending.Load(); n != 0 {
		t.Errorf("%d bytes are pending for nobody", n)
	}
	// Large ones are bounded by their memory, and those to many neighbours by the interface's.
	for i := range 100 {
		for range 20 {
			v := buffer.NewView(60000)
			p := buffer.NewWith(v)
			p.Source = here
			w.eth.WritePacket(netip.AddrFrom4([4]byte{10, 0, 0, byte(100 + i)}), header.EtherTypeIPv4, p)
		}
		if n := w.eth.neighbours.pending.Load(); n > pendingMemoryAll {
			t.Fatalf("%d bytes are pending", n)
		}
	}
	if n := w.eth.neighbours.pending.Load(); n < pendingMemoryAll-pendingMemory {
		t.Errorf("only %d bytes are pending", n)
	}
	for _, n := range w.eth.Neighbours() {
		if e := w.eth.neighbour(n.Addr); e.memory > pendingMemory {
			t.Errorf("%d bytes are pending for %v", e.memory, n.Addr)
		}
	}
	w.eth.SetUp(false)
	if n := w.eth.neighbours.pending.Load(); n != 0 || len(w.eth.Neighbours()) != 0 {
		t.Errorf("%d bytes, %d neighbours of an interface that is down", n, len(w.eth.Neighbours()))
	}
}

func TestNeighboursAreBounded(t *testing.T) {
	w := newNeighbourWorld(t)
	w.eth.SetNeighbour(Neighbour{Addr: addr("10.0.0.200"), Link: linkC})
	w.eth.LearnNeighbour(there, linkB)
	w.eth.ConfirmNeighbour(there, linkB, true, true, false)
	for i := range 5000 {
		w.eth.LearnNeighbour(netip.AddrFrom4([4]byte{10, 9, byte(i >> 8), byte(i)}), linkC)
		if i%100 == 0 {
			w.send("x") // in use
		}
	}
	list := w.eth.Neighbours()
	if len(list) > neighbourLimit || len(list) < neighbourLimit-evictAtOnce {
		t.Errorf("%d entries", len(list))
	}
	for _, a := range []netip.Addr{addr("10.0.0.200"), there, netip.AddrFrom4([4]byte{10, 9, 4999 >> 8, 4999 & 0xff})} {
		if _, ok := w.eth.Neighbour(a); !ok {
			t.Errorf("%v was thrown out", a)
		}
	}
	w.link.take()
	// A scan of addresses that nobody has.
	for i := range 3000 {
		p := buffer.NewFrom([]byte("x"))
		p.Source = here
		w.eth.WritePacket(netip.AddrFrom4([4]byte{10, 7, byte(i >> 8), byte(i)}), header.EtherTypeIPv4, p)
	}
	if n := len(w.eth.Neighbours()); n > neighbourLimit {
		t.Errorf("%d entries after a scan", n)
	}
	if n := w.clock.Pending(); n > neighbourLimit+10 {
		t.Errorf("%d timers after a scan", n)
	}
	if _, ok := w.eth.Neighbour(there); !ok {
		t.Error("a scan threw out a neighbour in use")
	}
	w.clock.Advance(time.Hour)
	if n := w.eth.neighbours.pending.Load(); n != 0 {
		t.Errorf("%d bytes are pending for nobody", n)
	}
	if n := w.clock.Pending(); n != 0 {
		t.Errorf("%d timers run for nothing", n)
	}
}

func TestSetNeighbour(t *testing.T) {
	w := newNeighbourWorld(t)
	for name, c := range map[string]struct {
		n    Neighbour
		want error
	}{
		"permanent":         {Neighbour{Addr: there, Link: linkB}, nil},
		"no link address":   {Neighbour{Addr: there}, unix.EINVAL},
		"no address":        {Neighbour{Link: linkB}, unix.EINVAL},
		"a group":           {Neighbour{Addr: addr("224.0.0.1"), Link: linkB}, unix.EINVAL},
		"unspecified":       {Neighbour{Addr: addr("0.0.0.0"), Link: linkB}, unix.EINVAL},
		"two states":        {Neighbour{Addr: there, Link: linkB, State: 6}, unix.EINVAL},
		"without resolving": {Neighbour{Addr: there, State: NeighbourNoARP}, nil},
	} {
		if err := w.eth.SetNeighbour(c.n); err != c.want {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	w.eth.RemoveNeighbour(there)
	if err := w.eth.RemoveNeighbour(there); err != unix.ENOENT {
		t.Errorf("remove what is not there: %v", err)
	}
	w.events = nil
	w.send("a")
	w.eth.SetNeighbour(Neighbour{Addr: there, Link: linkB})
	w.want("set while a packet waits", "permanent", []string{"a>b"}, everybody)
	w.clock.Advance(time.Hour)
	w.want("an hour later", "permanent", nil)
	w.eth.SetNeighbour(Neighbour{Addr: there, Link: linkB, State: NeighbourProbe})
	w.want("probe", "probe", nil, linkB)
	w.eth.SetNeighbour(Neighbour{Addr: there, Link: linkB, State: NeighbourDelay})
	w.clock.Advance(5 * time.Second)
	w.want("delay", "probe", nil, linkB)
	w.eth.SetNeighbour(Neighbour{Addr: there, State: NeighbourFailed})
	w.want("failed", "failed", nil)
	w.eth.SetNeighbour(Neighbour{Addr: there, State: NeighbourIncomplete})
	w.want("incomplete", "incomplete", nil, everybody)
	w.send("b")
	w.eth.SetNeighbour(Neighbour{Addr: there, State: NeighbourFailed})
	w.want("failed with a packet", "failed", nil)
	if len(w.ep.errors) != 1 {
		t.Errorf("the sender was told %v", w.ep.errors)
	}
	w.send("c")
	w.eth.RemoveNeighbour(there)
	w.want("removed with a packet", "absent", nil, everybody)
	if n := w.eth.neighbours.pending.Load(); n != 0 {
		t.Errorf("%d bytes are pending for nobody", n)
	}
	w.wantEvents("incomplete", "permanent", "probe", "delay", "probe", "failed", "incomplete", "failed", "incomplete", "removed")
	w.eth.SetNeighbour(Neighbour{Addr: there, Link: linkB, State: NeighbourStale, Router: true})
	if n, _ := w.eth.Neighbour(there); !n.Router {
		t.Error("it is not a router's")
	}
	w.eth.SetRouter(there, false)
	w.eth.SetRouter(addr("10.0.0.78"), true)
	if n, _ := w.eth.Neighbour(there); n.Router {
		t.Error("it is a router's")
	}
	// Down: what was set by hand stays.
	w.eth.SetNeighbour(Neighbour{Addr: addr("10.0.0.200"), Link: linkC})
	w.eth.SetUp(false)
	if list := w.eth.Neighbours(); len(list) != 1 || list[0].Addr != addr("10.0.0.200") {
		t.Errorf("an interface that is down has %v", list)
	}
}

func TestWhoAsks(t *testing.T) {
	w := newNeighbourWorld(t)
	add(t, w.eth, "10.0.5.1/24")
	for name, c := range map[string]struct{ source, want string }{
		"the packet's source":        {"10.0.5.1", "10.0.5.1"},
		"a source that is not ours":  {"10.0.5.2", "10.0.0.1"},
		"of the other version of IP": {"2001:db8::1", "10.0.0.1"},
		"none":                       {"", "10.0.0.1"},
	} {
		w.eth.RemoveNeighbour(there)
		p := buffer.NewFrom([]byte("x"))
		if c.source != "" {
			p.Source = addr(c.source)
		}
		w.eth.WritePacket(there, header.EtherTypeIPv4, p)
		asked := w.ep.takeAsked()
		if len(asked) != 1 || asked[0].source != addr(c.want) {
			t.Errorf("%s: %v", name, asked)
		}
	}
}

func TestNoResolutionForGroups(t *testing.T) {
	w := newNeighbourWorld(t)
	for dst, want := range map[string]string{
		"224.1.2.3": "01:00:5e:01:02:03", "255.255.255.255": "ff:ff:ff:ff:ff:ff", "10.0.0.255": "ff:ff:ff:ff:ff:ff", "ff02::1:2": "33:33:00:01:00:02",
	} {
		w.eth.WritePacket(addr(dst), header.EtherTypeIPv4, buffer.NewFrom([]byte("x")))
		sent := w.link.take()
		if len(sent) != 1 {
			t.Errorf("%s: %d frames", dst, len(sent))
			continue
		}
		if h := header.Ethernet(sent[0]); h.Destination().String() != want || h.Source() != linkA || h.Type() != header.EtherTypeIPv4 {
			t.Errorf("%s: %x", dst, sent[0])
		}
	}
	if n := len(w.eth.Neighbours()); n != 0 {
		t.Errorf("%d neighbours", n)
	}
}

func BenchmarkWritePacket(b *testing.B) {
	w := newWorld(b)
	w.s.RemoveNIC(3)
	n, _ := w.s.CreateNIC(3, "null", nullLink{&fakeLink{caps: CapResolution, mtu: 1500}})
	n.SetUp(true)
	n.SetNeighbour(Neighbour{Addr: there, Link: linkB, State: NeighbourReachable})
	payload := buffer.NewView(1400)
	b.ReportAllocs()
	for b.Loop() {
		n.WritePacket(there, header.EtherTypeIPv4, buffer.NewWith(payload.Clone()))
	}
}

// nullLink drops everything.
type nullLink struct{ *fakeLink }

func (nullLink) WritePackets(pkts []*buffer.Packet) error {
	for _, p := range pkts {
		p.Release()
	}
	return nil
}
