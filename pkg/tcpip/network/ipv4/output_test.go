package ipv4_test

import (
	"bytes"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/stack"
)

// outgoing is a packet of payload as a transport makes it: header pushed, the rest behind it.
func outgoing(payload []byte) *buffer.Packet {
	p := buffer.New()
	n := min(len(payload), 8)
	p.Append(payload[n:])
	h := p.Push(n)
	copy(h, payload)
	p.TransportHeader = h
	return p
}

func TestHeaderOfAPacketThatGoesOut(t *testing.T) {
	w := newWorld(t, capture.Options{})
	r := w.route(stack.RouteQuery{Destination: peer})
	for name, c := range map[string]struct {
		p       stack.NetworkParams
		ttl     uint8
		options []byte
	}{
		"plain":                 {stack.NetworkParams{Transport: udp}, 64, nil},
		"TTL and TOS":           {stack.NetworkParams{Transport: udp, TTL: 5, TOS: 0x12}, 5, nil},
		"options":               {stack.NetworkParams{Transport: udp, Options: []byte{1, 1, 1, 0}}, 64, []byte{1, 1, 1, 0}},
		"options, padded":       {stack.NetworkParams{Transport: udp, Options: []byte{1, 1}}, 64, []byte{1, 1, 0, 0}},
		"router alert":          {stack.NetworkParams{Transport: udp, RouterAlert: true}, 64, []byte{148, 4, 0, 0}},
		"router alert, options": {stack.NetworkParams{Transport: udp, RouterAlert: true, Options: []byte{1, 1, 1, 0}}, 64, []byte{148, 4, 0, 0, 1, 1, 1, 0}},
		"record route":          {stack.NetworkParams{Transport: udp, Options: []byte{7, 7, 4, 0, 0, 0, 0, 0}}, 64, append([]byte{7, 7, 8}, append(us.AsSlice(), 0)...)},
		"malformed":             {stack.NetworkParams{Transport: udp, Options: []byte{7, 9, 4, 0}}, 64, []byte{7, 9, 4, 0}},
		"don't fragment":        {stack.NetworkParams{Transport: udp, DontFragment: true}, 64, nil},
	} {
		if err := r.WritePacket(c.p, outgoing(numbers(100))); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		h := w.one()
		if h.Source() != us || h.Destination() != peer || h.Protocol() != udp || h.TTL() != c.ttl || h.TOS() != c.p.TOS ||
			h.DontFragment() != c.p.DontFragment || !bytes.Equal(h.Options(), c.options) || !bytes.Equal(h.Payload(), numbers(100)) {
			t.Errorf("%s: %x", name, []byte(h))
		}
		if h.DontFragment() && h.ID() != 0 {
			t.Errorf("%s: identification %d", name, h.ID())
		}
	}
	st := &w.s.Stats().IP
	if st.OutRequests.Load() != 9 || st.OutOctets.Load() != 9*120+4+4+4+8+8+4 {
		t.Errorf("%d packets of %d bytes were counted", st.OutRequests.Load(), st.OutOctets.Load())
	}
	if err := r.WritePacket(stack.NetworkParams{Transport: udp, Options: make([]byte, 44)}, outgoing(numbers(10))); err != unix.EMSGSIZE {
		t.Errorf("too many options: %v", err)
	}
	w.none()
}

func TestIdentificationsDiffer(t *testing.T) {
	w := newWorld(t, capture.Options{})
	r, s := w.route(stack.RouteQuery{Destination: peer}), w.route(stack.RouteQuery{Destination: far})
	id := func(r *stack.Route) uint16 {
		if err := r.WritePacket(stack.NetworkParams{Transport: udp}, outgoing(numbers(8))); err != nil {
			t.Fatal(err)
		}
		return w.one().ID()
	}
	first := id(r)
	other := id(s)
	if second := id(r); second != first+1 {
		t.Errorf("%d follows %d to the same host", second, first)
	}
	if other == first+1 {
		t.Errorf("other hosts see the same counter: %d, %d", first, other)
	}
	// A packet that is cut up by the link needs one for each part.
	p := outgoing(numbers(5000))
	p.Segmentation = buffer.Segmentation{Type: buffer.SegmentUDP, Size: 1000}
	p.Checksum, p.ChecksumOffset = buffer.ChecksumPartial, 6
	if err := r.WritePacket(stack.NetworkParams{Transport: udp}, p); err != nil {
		t.Fatal(err)
	}
	seen := map[uint16]bool{}
	for _, h := range w.take() {
		seen[h.ID()] = true
	}
	if len(seen) != 5 || seen[id(r)] {
		t.Errorf("identifications %v", seen)
	}
}

func TestFragmentation(t *testing.T) {
	w := newWorld(t, capture.Options{MTU: 68})
	r := w.route(stack.RouteQuery{Destination: peer})
	// Record route is not copied, an option with the copied bit is.
	options := []byte{7, 3, 4, 0x88, 4, 1, 2, 0}
	payload := numbers(200)
	if err := r.WritePacket(stack.NetworkParams{Transport: udp, Options: options, TTL: 7}, outgoing(payload)); err != nil {
		t.Fatal(err)
	}
	var whole []byte
	list := w.take()
	for i, h := range list {
		last := i == len(list)-1
		want := []byte{0x88, 4, 1, 2}
		if i == 0 {
			want = options
		}
		if len(h) > 68 || int(h.FragmentOffset()) != len(whole) || h.MoreFragments() == last || h.ID() != list[0].ID() || h.DontFragment() ||
			h.TTL() != 7 || !bytes.Equal(h.Options(), want) {
			t.Errorf("fragment %d: %x", i, []byte(h))
		}
		whole = append(whole, h.Payload()...)
	}
	if !bytes.Equal(whole, payload) || len(list) != 5 { // 40, 4 times 40
		t.Errorf("%d fragments of %x", len(list), whole)
	}
	st := &w.s.Stats().IP
	if st.FragOKs.Load() != 1 || st.FragCreates.Load() != 5 || st.OutRequests.Load() != 1 {
		t.Errorf("%d, %d, %d", st.FragOKs.Load(), st.FragCreates.Load(), st.OutRequests.Load())
	}
	// A checksum that the link would have completed is, before.
	p := outgoing(datagram(1, 2, numbers(100)))
	header.UDP(p.TransportHeader).SetChecksumField(checksum.Fold(checksum.PseudoHeader(udp, us, peer, 108)))
	p.Checksum, p.ChecksumOffset = buffer.ChecksumPartial, 6
	if err := r.WritePacket(stack.NetworkParams{Transport: udp}, p); err != nil {
		t.Fatal(err)
	}
	whole = nil
	for _, h := range w.take() {
		whole = append(whole, h.Payload()...)
	}
	if !checksum.OK(checksum.Sum(whole, checksum.PseudoHeader(udp, us, peer, 108))) {
		t.Errorf("the checksum of %x is wrong", whole)
	}
}

func TestPacketsThatDoNotFit(t *testing.T) {
	w := newWorld(t, capture.Options{})
	w.s.SetPathMTU(far, 1000)
	r := w.route(stack.RouteQuery{Destination: far})
	for name, c := range map[string]struct {
		size int
		p    stack.NetworkParams
		err  error
		want int // packets
		df   bool
	}{
		"fits":                        {980, stack.NetworkParams{DontFragment: true}, nil, 1, true},
		"does not":                    {981, stack.NetworkParams{DontFragment: true}, unix.EMSGSIZE, 0, false},
		"may be cut":                  {981, stack.NetworkParams{}, nil, 2, false},
		"may be cut here":             {981, stack.NetworkParams{DontFragment: true, FragmentHere: true}, nil, 2, false},
		"ignores the path":            {1480, stack.NetworkParams{DontFragment: true, IgnorePathMTU: true}, nil, 1, true},
		"ignores the path, too large": {1481, stack.NetworkParams{DontFragment: true, IgnorePathMTU: true}, unix.EMSGSIZE, 0, false},
		"ignores the path, cut":       {1481, stack.NetworkParams{IgnorePathMTU: true}, nil, 2, false},
		"largest":                     {65515, stack.NetworkParams{IgnorePathMTU: true}, nil, 45, false},
		"too large for IP":            {65516, stack.NetworkParams{}, unix.EMSGSIZE, 0, false},
	} {
		c.p.Transport = udp
		err := r.WritePacket(c.p, outgoing(numbers(c.size)))
		list := w.take()
		if err != c.err || len(list) != c.want {
			t.Errorf("%s: %d packets, %v", name, len(list), err)
			continue
		}
		size := 0
		for _, h := range list {
			size += h.PayloadLength()
			if h.DontFragment() != c.df {
				t.Errorf("%s: don't fragment is %v", name, h.DontFragment())
			}
		}
		if c.want > 0 && size != c.size {
			t.Errorf("%s: %d bytes", name, size)
		}
	}
	// Where not even a header fits nothing can be done.
	small := newWorld(t, capture.Options{MTU: 68})
	rs := small.route(stack.RouteQuery{Destination: far})
	small.link.SetMTU(27)
	if err := rs.WritePacket(stack.NetworkParams{Transport: udp}, outgoing(numbers(30))); err != unix.EMSGSIZE {
		t.Errorf("an MTU of 27: %v", err)
	}
	if n := small.s.Stats().IP.FragFails.Load(); n != 1 {
		t.Errorf("%d fails", n)
	}
}

func TestErrorsOfTheLink(t *testing.T) {
	w := newWorld(t, capture.Options{})
	r := w.route(stack.RouteQuery{Destination: peer})
	w.link.SetError(unix.ENOBUFS)
	for _, n := range []int{10, 3000} {
		if err := r.WritePacket(stack.NetworkParams{Transport: udp}, outgoing(numbers(n))); err != unix.ENOBUFS {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
	if n := w.s.Stats().IP.OutDiscards.Load(); n != 2 {
		t.Errorf("%d discards", n)
	}
}

func TestHeaderIncluded(t *testing.T) {
	w := newWorld(t, capture.Options{})
	r := w.route(stack.RouteQuery{Destination: peer})
	given := packet(header.IPv4Fields{Protocol: 99, Source: far, Destination: peer, ID: 77, TTL: 3, TOS: 9, Options: []byte{1, 1, 1, 0},
		Flags: header.IPv4FlagDontFragment}, numbers(50))
	for name, c := range map[string]struct {
		f      func(b []byte) []byte
		err    error
		source netip.Addr
	}{
		"as it is":        {func(b []byte) []byte { return b }, nil, far},
		"no source":       {func(b []byte) []byte { clear(b[12:16]); return b }, nil, us},
		"no ID":           {func(b []byte) []byte { clear(b[4:6]); return b }, nil, far},
		"other total":     {func(b []byte) []byte { b[2], b[3] = 9, 9; return b }, nil, far},
		"other checksum":  {func(b []byte) []byte { b[10]++; return b }, nil, far},
		"no header":       {func(b []byte) []byte { return b[:19] }, unix.EINVAL, far},
		"a header of 16":  {func(b []byte) []byte { b[0] = 0x44; return b }, unix.EINVAL, far},
		"a header of 60":  {func(b []byte) []byte { b[0] = 0x4f; return b[:59] }, unix.EINVAL, far},
		"more than fits":  {func(b []byte) []byte { return append(b, make([]byte, 1500)...) }, unix.EMSGSIZE, far},
		"a header, alone": {func(b []byte) []byte { return b[:24] }, nil, far},
	} {
		b := c.f(bytes.Clone(given))
		p := buffer.New()
		p.Append(b[:min(10, len(b))])
		p.Append(b[min(10, len(b)):])
		keep := p.Clone() // somebody else's view of the same bytes
		err := r.Endpoint.WriteHeaderIncluded(r, p)
		got := make([]byte, keep.Len())
		keep.CopyTo(got, 0)
		keep.Release()
		if !bytes.Equal(got, b) {
			t.Errorf("%s: the bytes that were shared changed", name)
		}
		if err != c.err {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			w.none()
			continue
		}
		h := w.one() // with valid length and checksum
		if h.Source() != c.source || h.Destination() != peer || h.TTL() != 3 || h.TOS() != 9 || !h.DontFragment() || h.ID() == 0 ||
			name != "no ID" && h.ID() != 77 || !bytes.Equal(h[24:], b[24:]) {
			t.Errorf("%s: %x", name, []byte(h))
		}
	}
	// ICMP is counted by type.
	p := buffer.NewFrom(packet(header.IPv4Fields{Protocol: 1, Source: us, Destination: peer}, icmp(header.ICMPv4Fields{Type: 8}, nil)))
	r.Endpoint.WriteHeaderIncluded(r, p)
	if n := w.s.Stats().ICMP.OutType[8].Load(); n != 1 {
		t.Errorf("%d echo requests were counted", n)
	}
}

func TestPacketsToGroupsComeBack(t *testing.T) {
	_, tr := newTransport(udp)
	w := newWorld(t, capture.Options{}, tr)
	group := netip.MustParseAddr("239.1.1.1")
	e := w.bind(udp, stack.TransportID{LocalPort: 53})
	w.nic.JoinGroup(group)
	w.take()
	send := func(dst netip.Addr, size int, f func(*stack.NetworkParams)) {
		t.Helper()
		r := w.route(stack.RouteQuery{Destination: dst, NIC: 2})
		p := stack.NetworkParams{Transport: udp}
		if f != nil {
			f(&p)
		}
		if err := r.WritePacket(p, outgoing(datagram(1, 53, numbers(size)))); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		dst          netip.Addr
		size         int
		f            func(*stack.NetworkParams)
		back, thence int
	}{
		"our group":         {group, 10, nil, 1, 1},
		"in fragments":      {group, 2000, nil, 1, 2},
		"another group":     {netip.MustParseAddr("239.1.1.2"), 10, nil, 0, 1},
		"no loop":           {group, 10, func(p *stack.NetworkParams) { p.NoMulticastLoop = true }, 0, 1},
		"TTL 0":             {group, 10, func(p *stack.NetworkParams) { p.ZeroTTL = true }, 1, 0},
		"TTL 0, fragments":  {group, 2000, func(p *stack.NetworkParams) { p.ZeroTTL = true }, 1, 0},
		"broadcast":         {netip.MustParseAddr("192.0.2.255"), 10, nil, 1, 1},
		"limited broadcast": {header.IPv4Broadcast, 10, nil, 1, 1},
	} {
		send(c.dst, c.size, c.f)
		if got := w.take(); len(got) != c.thence {
			t.Errorf("%s: %d packets went out, want %d", name, len(got), c.thence)
		}
		if c.back > 0 {
			eventually(t, name, func() bool { e.mu.Lock(); defer e.mu.Unlock(); return len(e.got) >= c.back })
		} else {
			// What follows it comes after it.
			send(header.IPv4Broadcast, 7, nil)
			eventually(t, name, func() bool { e.mu.Lock(); defer e.mu.Unlock(); return len(e.got) >= 1 })
			w.take()
		}
		got := e.take()
		if c.back == 0 {
			if len(got) != 1 || len(got[0].payload) != 15 {
				t.Errorf("%s: came back", name)
			}
			continue
		}
		if len(got) != 1 || got[0].destination != c.dst || got[0].source != us || got[0].nic != 2 || got[0].packetType != 2 || len(got[0].payload) != c.size+8 {
			t.Errorf("%s: %+v", name, got)
		}
	}
	st := &w.s.Stats().IP
	if st.OutMcastPkts.Load() == 0 || st.OutBcastPkts.Load() == 0 || st.InMcastPkts.Load() == 0 || st.InBcastPkts.Load() == 0 {
		t.Error("groups and broadcasts are not counted")
	}
	// Header included, too.
	r := w.route(stack.RouteQuery{Destination: group, NIC: 2})
	r.Endpoint.WriteHeaderIncluded(r, buffer.NewFrom(packet(header.IPv4Fields{Protocol: udp, Source: us, Destination: group}, datagram(1, 53, nil))))
	eventually(t, "header included", func() bool { return len(e.take()) == 1 })
}

func TestPacketsForThisHostGoThroughLo(t *testing.T) {
	_, tr := newTransport(udp)
	w := newWorld(t, capture.Options{}, tr)
	e := w.bind(udp, stack.TransportID{LocalPort: 53})
	for _, dst := range []string{"127.0.0.1", "127.1.2.3", "192.0.2.1"} {
		for _, n := range []int{10, 60000} {
			r := w.route(stack.RouteQuery{Destination: netip.MustParseAddr(dst)})
			if err := r.WritePacket(stack.NetworkParams{Transport: udp}, outgoing(datagram(1, 53, numbers(n)))); err != nil {
				t.Fatal(err)
			}
			var got []received
			eventually(t, dst, func() bool { got = e.take(); return len(got) == 1 })
			if got[0].destination.String() != dst || len(got[0].payload) != n+8 || got[0].nic != 1 || got[0].local.String() != dst {
				t.Errorf("%s: %+v", dst, got)
			}
		}
	}
	w.none()
	// Echo to ourselves.
	ec := &endpoint{}
	w.s.RegisterRaw(false, 1, ec)
	r := w.route(stack.RouteQuery{Destination: us})
	r.WritePacket(stack.NetworkParams{Transport: 1}, outgoing(icmp(header.ICMPv4Fields{Type: 8, Rest: [4]byte{1, 2}}, numbers(20))))
	var got []received
	eventually(t, "the echo's answer", func() bool { got = append(got, ec.take()...); return len(got) == 2 })
	if got[0].payload[0] != 8 || got[1].payload[0] != 0 || !bytes.Equal(got[1].payload[8:], numbers(20)) {
		t.Errorf("%+v", got)
	}
}

func TestWritingDoesNotAllocate(t *testing.T) {
	w := newWorld(t, capture.Options{Discard: true})
	r := w.route(stack.RouteQuery{Destination: peer})
	payload := buffer.NewView(1400)
	if n := testing.AllocsPerRun(100, func() {
		p := buffer.NewWith(payload.Clone())
		p.TransportHeader = p.Push(8)
		r.WritePacket(stack.NetworkParams{Transport: udp}, p)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkWritePacket(b *testing.B) {
	w := newWorld(b, capture.Options{Discard: true})
	r := w.route(stack.RouteQuery{Destination: peer})
	payload := buffer.NewView(1400)
	b.ReportAllocs()
	for b.Loop() {
		p := buffer.NewWith(payload.Clone())
		p.TransportHeader = p.Push(8)
		r.WritePacket(stack.NetworkParams{Transport: udp, DontFragment: true}, p)
	}
}

func BenchmarkHandlePacket(b *testing.B) {
	_, tr := newTransport(udp)
	w := newWorld(b, capture.Options{Discard: true}, tr)
	w.s.Register(&stack.Binding{Transport: udp, V4: true, ID: stack.TransportID{LocalPort: 53}, Endpoint: drop{}})
	v := buffer.NewView(1428)
	copy(v.Bytes(), packet(header.IPv4Fields{Protocol: udp, Source: peer, Destination: us}, datagram(1, 53, numbers(1400))))
	one := make([]*buffer.Packet, 1)
	b.ReportAllocs()
	for b.Loop() {
		p := buffer.NewWith(v.Clone())
		p.EtherType = header.EtherTypeIPv4
		one[0] = p
		w.nic.DeliverPackets(one)
	}
}

// drop is an endpoint that drops what it gets.
type drop struct{}

func (drop) HandlePacket(_ stack.TransportID, pkt *buffer.Packet)        { pkt.Release() }
func (drop) HandleError(stack.TransportID, stack.TransportError, []byte) {}
