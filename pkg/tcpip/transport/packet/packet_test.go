package packet_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/bpf"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/stack"
	. "runsc/pkg/tcpip/transport/internal/nettest"
	"runsc/pkg/tcpip/transport/packet"
	"runsc/pkg/tcpip/transport/udp"
	"runsc/pkg/waiter"
)

// Types of packets (packet(7)).
const (
	toHost = iota
	toBroadcast
	toMulticast
	toOther
	outgoing
)

// experimental is an Ethernet type for experiments (IEEE 802).
const experimental = 0x88b5

var (
	linkA = tcpip.LinkAddress{2, 0, 0, 0, 0, 1}
	linkB = tcpip.LinkAddress{2, 0, 0, 0, 0, 2}
)

func host(t testing.TB) *Host { return NewHost(t, capture.Options{Ethernet: true}, udp.New) }

func endpoint(t testing.TB, h *Host, cooked bool, etherType uint16) *packet.Endpoint {
	e := packet.NewEndpoint(h.Stack, cooked, etherType)
	t.Cleanup(e.Close)
	return e
}

func frame(src, dst tcpip.LinkAddress, etherType uint16, payload string) string {
	b := make([]byte, header.EthernetSize, header.EthernetSize+len(payload))
	header.Ethernet(b).Encode(header.EthernetFields{Source: src, Destination: dst, Type: etherType})
	return string(append(b, payload...))
}

func to(nic tcpip.NICID, link tcpip.LinkAddress, etherType uint16) tcpip.FullAddress {
	return tcpip.FullAddress{NIC: nic, Link: link, Protocol: etherType}
}

func TestFramesBetweenHosts(t *testing.T) {
	n := New(t, pipe.Options{}, udp.New)
	rawA, cookedA := endpoint(t, n.A, false, experimental), endpoint(t, n.A, true, experimental)
	rawB, cookedB := endpoint(t, n.B, false, experimental), endpoint(t, n.B, true, experimental)
	other := endpoint(t, n.B, false, experimental+1)
	l := Listen(t, rawB)
	for _, c := range []struct {
		name string
		send func() error
	}{
		{"raw", func() error {
			return SendTo(rawA, frame(linkA, linkB, experimental, "data"), tcpip.FullAddress{NIC: EthID})
		}},
		{"cooked", func() error { return SendTo(cookedA, "data", to(EthID, linkB, experimental)) }},
	} {
		l.Count = 0
		OK(t, c.send())
		n.Run()
		w := tcpip.FullAddress{NIC: EthID, Link: linkA, Protocol: experimental, PacketType: toHost}
		if r := WantData(t, rawB, frame(linkA, linkB, experimental, "data")); r.From != w {
			t.Errorf("%s: from %+v, want %+v", c.name, r.From, w)
		}
		if r := WantData(t, cookedB, "data"); r.From != w {
			t.Errorf("%s: from %+v, want %+v", c.name, r.From, w)
		}
		if l.Count != 1 || l.Mask&waiter.EventIn == 0 {
			t.Errorf("%s: %d notifications of %#x", c.name, l.Count, l.Mask)
		}
		WantError(t, other, unix.EAGAIN)
	}
}

func TestPacketTypes(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, true, experimental)
	group := tcpip.LinkAddress{1, 0, 0x5e, 1, 2, 3}
	for _, c := range []struct {
		dst  tcpip.LinkAddress
		want uint8
	}{{linkA, toHost}, {tcpip.Broadcast, toBroadcast}, {group, toMulticast}} {
		h.Wire.Inject(0, []byte(frame(linkB, c.dst, experimental, "x")))
		if r := WantData(t, e, "x"); r.From.PacketType != c.want {
			t.Errorf("to %v: type %d, want %d", c.dst, r.From.PacketType, c.want)
		}
	}
	// Frames for others are seen by the promiscuous only.
	foreign := []byte(frame(linkB, tcpip.LinkAddress{2, 9, 9, 9, 9, 9}, experimental, "x"))
	h.Wire.Inject(0, foreign)
	WantError(t, e, unix.EAGAIN)
	m := packet.Membership{NIC: EthID, Kind: packet.MembershipPromiscuous}
	OK(t, e.AddMembership(m))
	OK(t, e.AddMembership(m))
	h.Wire.Inject(0, foreign)
	if r := WantData(t, e, "x"); r.From.PacketType != toOther {
		t.Errorf("type %d", r.From.PacketType)
	}
	OK(t, e.DropMembership(m))
	if !h.Eth.Promiscuous() {
		t.Error("one of two memberships ended both")
	}
	OK(t, e.DropMembership(m))
	OK(t, e.DropMembership(m))
	if h.Eth.Promiscuous() {
		t.Error("still promiscuous")
	}
}

func TestMemberships(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, true, 0)
	Want(t, e.AddMembership(packet.Membership{NIC: 77}), unix.ENODEV)
	for _, k := range []packet.MembershipKind{packet.MembershipMulticast, packet.MembershipAllMulti} {
		OK(t, e.AddMembership(packet.Membership{NIC: EthID, Kind: k, Address: tcpip.LinkAddress{1}}))
	}
	OK(t, e.AddMembership(packet.Membership{NIC: EthID, Kind: packet.MembershipUnicast, Address: linkB}))
	if !h.Eth.AllMulticast() || !h.Eth.Promiscuous() {
		t.Error("the interface does not know")
	}
	var err error
	for i := 0; err == nil && i < 1000; i++ {
		err = e.AddMembership(packet.Membership{NIC: EthID, Kind: packet.MembershipUnicast, Address: tcpip.LinkAddress{4: byte(i >> 8), 5: byte(i)}})
	}
	Want(t, err, unix.ENOBUFS)
	e.Close()
	e.Close()
	if h.Eth.AllMulticast() || h.Eth.Promiscuous() {
		t.Error("memberships outlive their socket")
	}
	Want(t, e.AddMembership(packet.Membership{NIC: EthID}), unix.EINVAL)
	// The interface may go first.
	e = endpoint(t, h, true, 0)
	OK(t, e.AddMembership(packet.Membership{NIC: EthID, Kind: packet.MembershipPromiscuous}))
	OK(t, h.RemoveNIC(EthID))
	e.Close()
}

func TestOutgoingFrames(t *testing.T) {
	n := New(t, pipe.Options{}, udp.New)
	all, one := endpoint(t, n.A, true, packet.EtherTypeAll), endpoint(t, n.A, true, header.EtherTypeIPv4)
	deaf := endpoint(t, n.A, true, packet.EtherTypeAll)
	deaf.SetIgnoreOutgoing(true)
	if !deaf.IgnoreOutgoing() {
		t.Error("the option was not kept")
	}
	u := udp.NewEndpoint(n.A.Stack, false)
	defer u.Close()
	OK(t, SendTo(u, "data", To(Addr4(2), 9)))
	n.Run()
	types := func(e *packet.Endpoint) string {
		var s []string
		for {
			_, r, err := Receive(e, tcpip.ReceiveOptions{})
			if err != nil {
				return strings.Join(s, " ")
			}
			kind := map[uint16]string{header.EtherTypeARP: "arp", header.EtherTypeIPv4: "ip"}[r.From.Protocol]
			if r.From.PacketType == outgoing {
				kind = ">" + kind
				if r.From.Link != linkA {
					t.Errorf("sent by %v", r.From.Link)
				}
			}
			s = append(s, kind)
		}
	}
	// The last one is the answer that nobody is there.
	if got, w := types(all), ">arp arp >ip ip"; got != w {
		t.Errorf("all frames: %q, want %q", got, w)
	}
	if got, w := types(one), "ip"; got != w {
		t.Errorf("frames of one type: %q, want %q", got, w)
	}
	if got, w := types(deaf), "arp ip"; got != w {
		t.Errorf("incoming frames: %q, want %q", got, w)
	}
	// A sender does not see its own, others do.
	OK(t, SendTo(all, "x", to(EthID, linkB, experimental)))
	WantError(t, all, unix.EAGAIN)
	second := endpoint(t, n.A, false, packet.EtherTypeAll)
	OK(t, SendTo(all, "y", to(EthID, linkB, experimental)))
	WantData(t, second, frame(linkA, linkB, experimental, "y"))
	OK(t, second.Bind(to(LoID, tcpip.LinkAddress{}, 0)))
	OK(t, SendTo(all, "z", to(EthID, linkB, experimental)))
	WantError(t, second, unix.EAGAIN)
}

func TestLoShowsAnEthernetHeader(t *testing.T) {
	h := host(t)
	rawIn, rawAll, cooked := endpoint(t, h, false, header.EtherTypeIPv4), endpoint(t, h, false, packet.EtherTypeAll), endpoint(t, h, true, header.EtherTypeIPv4)
	u := udp.NewEndpoint(h.Stack, false)
	defer u.Close()
	OK(t, u.Bind(To(Loopback4, 5000)))
	OK(t, SendTo(u, "data", To(Loopback4, 5000)))
	zero := tcpip.LinkAddress{}
	read := func(e *packet.Endpoint, kind uint8) string {
		t.Helper()
		s, r, err := Receive(e, tcpip.ReceiveOptions{})
		if err != nil || r.From != (tcpip.FullAddress{NIC: LoID, Protocol: header.EtherTypeIPv4, PacketType: kind}) {
			t.Fatalf("from %+v, %v", r.From, err)
		}
		return s
	}
	inner := read(cooked, toHost)
	if !strings.HasSuffix(inner, "data") || !header.IPv4(inner).Valid(len(inner)) {
		t.Errorf("received %x", inner)
	}
	whole := frame(zero, zero, header.EtherTypeIPv4, inner)
	if got := read(rawIn, toHost); got != whole {
		t.Errorf("received %x, want %x", got, whole)
	}
	if got := read(rawAll, outgoing); got != whole {
		t.Errorf("sent %x, want %x", got, whole)
	}
	WantData(t, u, "data")
	// And takes one.
	for rawAll.ReceiveQueued() > 0 {
		Receive(rawAll, tcpip.ReceiveOptions{})
	}
	sum := IP(Loopback4, Loopback4, header.ProtocolUDP, UDP(netip.AddrPortFrom(Loopback4, 1), netip.AddrPortFrom(Loopback4, 5000), true, []byte("data")))
	inner = string(sum)
	whole = frame(zero, zero, header.EtherTypeIPv4, inner)
	OK(t, SendTo(rawIn, whole, tcpip.FullAddress{NIC: LoID}))
	WantData(t, u, "data")
	WantData(t, rawAll, whole)
	OK(t, SendTo(cooked, inner, to(LoID, zero, header.EtherTypeIPv4)))
	WantData(t, u, "data")
}

func TestLinkWithoutHeader(t *testing.T) {
	h := NewHost(t, capture.Options{}, udp.New)
	rawIP, cooked := endpoint(t, h, false, header.EtherTypeIPv4), endpoint(t, h, true, header.EtherTypeIPv4)
	p := string(IP(Addr4(2), Addr4(1), 253, []byte("data")))
	h.Inject([]byte(p))
	WantData(t, rawIP, p)
	WantData(t, cooked, p)
	h.Wire.Take()
	for _, e := range []*packet.Endpoint{rawIP, cooked} {
		OK(t, SendTo(e, p, to(EthID, linkB, header.EtherTypeIPv4)))
		sent := h.Wire.Take()
		if len(sent) != 1 || string(sent[0].Bytes) != p {
			t.Errorf("sent %x", sent)
		}
	}
}

func TestBind(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, true, 0)
	inject := func(etherType uint16) { h.Wire.Inject(0, []byte(frame(linkB, linkA, etherType, "x"))) }
	if e.LocalAddress() != (tcpip.FullAddress{}) {
		t.Errorf("bound to %+v", e.LocalAddress())
	}
	inject(experimental)
	WantError(t, e, unix.EAGAIN)
	Want(t, e.Bind(to(77, tcpip.LinkAddress{}, experimental)), unix.ENODEV)
	OK(t, e.Bind(to(EthID, tcpip.LinkAddress{}, experimental)))
	if e.LocalAddress() != to(EthID, linkA, experimental) {
		t.Errorf("bound to %+v", e.LocalAddress())
	}
	inject(experimental)
	WantData(t, e, "x")
	OK(t, e.Bind(to(LoID, tcpip.LinkAddress{}, 0)))
	inject(experimental)
	WantError(t, e, unix.EAGAIN)
	OK(t, e.Bind(to(0, tcpip.LinkAddress{}, experimental+1)))
	inject(experimental)
	WantError(t, e, unix.EAGAIN)
	inject(experimental + 1)
	WantData(t, e, "x")
	OK(t, e.SetDevice(EthID))
	Want(t, e.SetDevice(77), unix.ENODEV)
	if e.LocalAddress() != to(EthID, linkA, experimental+1) || e.Options().Device.Load() != int32(EthID) {
		t.Errorf("bound to %+v", e.LocalAddress())
	}
	// An interface that is down is told.
	h.Eth.SetUp(false)
	l := Listen(t, e)
	OK(t, e.Bind(to(EthID, tcpip.LinkAddress{}, experimental)))
	if l.Mask&waiter.EventErr == 0 || e.Readiness(waiter.EventErr) == 0 {
		t.Error("no error is shown")
	}
	WantError(t, e, unix.ENETDOWN)
	Want(t, e.TakeError(), nil)
	e.Close()
	Want(t, e.Bind(to(0, tcpip.LinkAddress{}, experimental)), unix.EINVAL)
}

func TestInterfaceGoesDown(t *testing.T) {
	h := host(t)
	e, other := endpoint(t, h, true, experimental), endpoint(t, h, true, experimental)
	OK(t, e.Bind(to(EthID, tcpip.LinkAddress{}, 0)))
	OK(t, other.Bind(to(LoID, tcpip.LinkAddress{}, 0)))
	down := func(want error) {
		t.Helper()
		if err := e.TakeError(); err != want {
			t.Errorf("error %v, want %v", err, want)
		}
	}
	down(nil)
	OK(t, h.Eth.SetMTU(1400))
	OK(t, h.Eth.AddAddress(stack.Address{Prefix: netip.PrefixFrom(Addr4(5), 24)}))
	down(nil)
	h.Eth.SetUp(false)
	down(unix.ENETDOWN)
	OK(t, h.Eth.SetMTU(1500))
	down(nil)
	h.Eth.SetUp(true)
	down(nil)
	h.Wire.Inject(0, []byte(frame(linkB, linkA, experimental, "x")))
	WantData(t, e, "x")
	OK(t, h.RemoveNIC(EthID))
	down(unix.ENETDOWN)
	Want(t, other.TakeError(), nil)
	e.Close()
	h.Lo.SetUp(false)
	Want(t, other.TakeError(), unix.ENETDOWN)
}

func TestSendErrors(t *testing.T) {
	h := host(t)
	rawE, cooked := endpoint(t, h, false, 0), endpoint(t, h, true, 0)
	dst := to(EthID, linkB, experimental)
	for _, c := range []struct {
		name string
		e    *packet.Endpoint
		n    int
		o    tcpip.SendOptions
		want error
	}{
		{"nowhere", cooked, 1, tcpip.SendOptions{}, unix.ENXIO},
		{"no such interface", cooked, 1, tcpip.SendOptions{To: &tcpip.FullAddress{NIC: 77}}, unix.ENXIO},
		{"urgent is nothing special", cooked, 1, tcpip.SendOptions{To: &dst, OutOfBand: true}, nil},
		{"longest", cooked, 1500, tcpip.SendOptions{To: &dst}, nil},
		{"too long", cooked, 1501, tcpip.SendOptions{To: &dst}, unix.EMSGSIZE},
		{"longest raw", rawE, 1514, tcpip.SendOptions{To: &dst}, nil},
		{"too long raw", rawE, 1515, tcpip.SendOptions{To: &dst}, unix.EMSGSIZE},
		{"no header", rawE, 13, tcpip.SendOptions{To: &dst}, unix.EINVAL},
		{"header only", rawE, 14, tcpip.SendOptions{To: &dst}, nil},
		{"empty", cooked, 0, tcpip.SendOptions{To: &dst}, nil},
	} {
		n, err := c.e.Send(&Bytes{B: make([]byte, c.n)}, c.o)
		if err != c.want || err == nil && n != c.n {
			t.Errorf("%s: %d, %v, want %v", c.name, n, err, c.want)
		}
	}
	_, err := rawE.Send(&Bytes{B: make([]byte, 20), Err: unix.EFAULT, FailAfter: 3}, tcpip.SendOptions{To: &dst})
	Want(t, err, unix.EFAULT)
	OK(t, cooked.Bind(dst))
	h.Wire.Take()
	OK(t, Send(cooked, "to nobody"))
	if sent := h.Wire.Take(); len(sent) != 1 || string(sent[0].Bytes) != frame(linkA, tcpip.LinkAddress{}, experimental, "to nobody") {
		t.Errorf("sent %x", sent)
	}
	h.Wire.SetError(unix.ENOBUFS)
	Want(t, Send(cooked, "x"), unix.ENOBUFS)
	h.Eth.SetUp(false)
	Want(t, Send(cooked, "x"), unix.ENETDOWN)
	if rawE.SendQueued() != 0 {
		t.Error("something is queued")
	}
}

func TestWhatPacketSocketsDoNot(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false, 0)
	_, err := e.RemoteAddress()
	Want(t, err, unix.EOPNOTSUPP)
	Want(t, e.Connect(tcpip.FullAddress{}), unix.EOPNOTSUPP)
	Want(t, e.Listen(1), unix.EOPNOTSUPP)
	_, _, err = e.Accept()
	Want(t, err, unix.EOPNOTSUPP)
	Want(t, e.Shutdown(tcpip.ShutdownRead), unix.EOPNOTSUPP)
	_, _, err = Receive(e, tcpip.ReceiveOptions{ErrorQueue: true})
	Want(t, err, unix.EAGAIN)
	_, _, err = Receive(e, tcpip.ReceiveOptions{OutOfBand: true})
	Want(t, err, unix.EINVAL)
	if got := e.Readiness(waiter.AllEvents); got != waiter.EventOut|waiter.EventWrNorm|waiter.EventWrBand {
		t.Errorf("ready for %#x", got)
	}
	e.Abort()
}

func TestFilterCutsAndAuxdataTells(t *testing.T) {
	h := host(t)
	for _, cooked := range []bool{false, true} {
		e, n := endpoint(t, h, cooked, experimental), uint32(header.EthernetSize)
		if cooked {
			n = 0
		}
		// Keep as many bytes as the first of the payload says.
		p, err := bpf.Compile([]bpf.Instruction{bpf.Stmt(bpf.LD|bpf.B|bpf.ABS, n), bpf.Stmt(bpf.RET|bpf.A, 0)})
		OK(t, err)
		e.Options().Filter.Store(&p)
		e.Options().Timestamps.Store(true)
		for _, s := range []string{"\x00dropped", "\x10cut after a few bytes", "\xffwhole"} {
			h.Wire.Inject(0, []byte(frame(linkB, linkA, experimental, s)))
		}
		for _, w := range []string{"\x10cut after a few bytes", "\xffwhole"} {
			full := w
			if !cooked {
				full = frame(linkB, linkA, experimental, w)
			}
			kept := full[:min(len(full), int(w[0]))]
			got, r, err := Receive(e, tcpip.ReceiveOptions{})
			a := tcpip.PacketAuxdata{Status: packet.StatusUser, Length: uint32(len(full)), Captured: uint32(len(kept)), Network: uint16(n)}
			if err != nil || got != kept || r.MessageLen != len(kept) || r.Control.Auxdata != a || !r.Control.Timestamp.Equal(h.Clock.Now()) {
				t.Errorf("received %q, %+v, %v; want %q, %+v", got, r.Control, err, kept, a)
			}
		}
		WantError(t, e, unix.EAGAIN)
		if s := e.TakeStatistics(); s != (packet.Statistics{Packets: 2}) {
			t.Errorf("statistics %+v", s)
		}
		e.Close()
	}
}

func TestAuxdataKnowsChecksums(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, true, packet.EtherTypeAll)
	u := udp.NewEndpoint(h.Stack, false)
	defer u.Close()
	OK(t, SendTo(u, "x", To(Loopback4, 9)))
	if _, r, err := Receive(e, tcpip.ReceiveOptions{}); err != nil || r.Control.Auxdata.Status != packet.StatusUser|packet.StatusChecksumNotReady {
		t.Errorf("%+v, %v", r.Control.Auxdata, err)
	}
}

func TestPeekAndTruncation(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false, experimental)
	f := frame(linkB, linkA, experimental, "data")
	h.Wire.Inject(0, []byte(f))
	if e.ReceiveQueued() != len(f) {
		t.Errorf("%d bytes queued", e.ReceiveQueued())
	}
	buf := Buffer{Room: 16}
	r, err := e.Receive(&buf, tcpip.ReceiveOptions{Peek: true})
	if err != nil || string(buf.B) != f[:16] || r.N != 16 || r.MessageLen != 18 {
		t.Errorf("peeked %q, %+v, %v", buf.B, r, err)
	}
	_, err = e.Receive(&Buffer{Room: 16, Err: unix.EFAULT}, tcpip.ReceiveOptions{Peek: true})
	Want(t, err, unix.EFAULT)
	WantData(t, e, f)
}

func TestFullQueueIsCounted(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false, experimental)
	e.Options().ReceiveBuffer.Store(2000)
	for range 5 {
		h.Wire.Inject(0, []byte(frame(linkB, linkA, experimental, "data")))
	}
	if s := e.TakeStatistics(); s != (packet.Statistics{Packets: 5, Drops: 3}) || e.Drops() != 3 {
		t.Errorf("statistics %+v, %d drops", s, e.Drops())
	}
	if s := e.TakeStatistics(); s != (packet.Statistics{}) {
		t.Errorf("statistics %+v", s)
	}
	Receive(e, tcpip.ReceiveOptions{})
	h.Wire.Inject(0, []byte(frame(linkB, linkA, experimental, "data")))
	Receive(e, tcpip.ReceiveOptions{})
	if _, r, _ := Receive(e, tcpip.ReceiveOptions{}); r.Control.Dropped != 3 {
		t.Errorf("%d drops are told", r.Control.Dropped)
	}
	if s := e.TakeStatistics(); s != (packet.Statistics{Packets: 1}) {
		t.Errorf("statistics %+v", s)
	}
}

// FuzzPacket gives packet sockets frames in which nothing has to be right, and has them send such.
func FuzzPacket(f *testing.F) {
	f.Add([]byte(frame(linkB, linkA, header.EtherTypeIPv4, string(IP(Addr4(2), Addr4(1), 17, make([]byte, 8))))), uint32(20))
	f.Add([]byte(frame(linkB, linkA, header.EtherTypeARP, "")), uint32(0))
	f.Add([]byte{1, 2, 3}, uint32(0))
	h := host(f)
	var all []*packet.Endpoint
	for _, cooked := range []bool{false, true} {
		all = append(all, endpoint(f, h, cooked, packet.EtherTypeAll), endpoint(f, h, cooked, experimental))
	}
	f.Fuzz(func(t *testing.T, b []byte, at uint32) {
		b = b[:min(len(b), 60000)]
		p, err := bpf.Compile([]bpf.Instruction{bpf.Stmt(bpf.LD|bpf.H|bpf.ABS, at), bpf.Stmt(bpf.RET|bpf.K, at)})
		OK(t, err)
		for i, e := range all {
			e.Options().Filter.Store(nil)
			if at&(1<<i) != 0 {
				e.Options().Filter.Store(&p)
			}
		}
		h.Wire.Inject(0, bytes.Clone(b))
		for _, e := range all {
			for _, nic := range []tcpip.NICID{LoID, EthID} {
				SendTo(e, string(b), to(nic, linkA, uint16(at)))
			}
		}
		h.Wire.Take()
		for _, e := range all {
			for e.Readiness(waiter.EventIn) != 0 {
				if _, r, err := Receive(e, tcpip.ReceiveOptions{}); err != nil || r.N != int(r.Control.Auxdata.Captured) {
					t.Fatalf("%+v, %v", r, err)
				}
			}
		}
	})
}

func TestWriteFrame(t *testing.T) {
	h := host(t)
	Want(t, h.Eth.WriteFrame(buffer.NewFrom(make([]byte, 13)), nil), unix.EINVAL)
	h.Eth.SetUp(false)
	Want(t, h.Eth.WriteFrame(buffer.NewFrom(make([]byte, 14)), nil), unix.ENETDOWN)
}

func TestAuxdataKnowsVerifiedChecksums(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, true, experimental)
	p := buffer.NewFrom([]byte(frame(linkB, linkA, experimental, "x")))
	p.Checksum = buffer.ChecksumVerified
	h.Wire.InjectPacket(0, p)
	if r := WantData(t, e, "x"); r.Control.Auxdata.Status != packet.StatusUser|packet.StatusChecksumValid {
		t.Errorf("%+v", r.Control.Auxdata)
	}
}

func TestFrameWithoutTheHeaderItShouldHave(t *testing.T) {
	h := host(t)
	e := endpoint(t, h, false, experimental)
	p := buffer.NewFrom([]byte("header lost"))
	p.Consume(6)
	e.HandleFrame(EthID, p)
	e.HandleFrame(77, buffer.NewFrom([]byte("no interface")))
	WantError(t, e, unix.EAGAIN)
}
