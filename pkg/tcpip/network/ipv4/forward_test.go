package ipv4_test

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/stack"
)

// router is a world with a second interface, eth1, and forwarding on.
type router struct {
	*world
	out *capture.Endpoint
}

var (
	otherSide = netip.MustParseAddr("10.1.0.1")
	beyond    = netip.MustParseAddr("10.1.0.9")
)

func newRouter(t *testing.T, o capture.Options) *router {
	w := &router{world: newWorld(t, capture.Options{}), out: capture.New(o)}
	n, err := w.s.CreateNIC(3, "eth1", w.out)
	if err != nil {
		t.Fatal(err)
	}
	n.SetUp(true)
	if err := n.AddAddress(stack.Address{Prefix: netip.MustParsePrefix("10.1.0.1/16")}); err != nil {
		t.Fatal(err)
	}
	w.s.Settings().IPForward.Store(true)
	return w
}

// passed returns what came out on the other side.
func (w *router) passed() []header.IPv4 {
	saved := w.link
	w.link = w.out
	defer func() { w.link = saved }()
	return w.take()
}

func TestForwarding(t *testing.T) {
	w := newRouter(t, capture.Options{})
	f := header.IPv4Fields{Protocol: udp, Source: peer, Destination: beyond, ID: 5, TTL: 9, TOS: 4}
	w.inject(f, datagram(1, 2, numbers(100)))
	list := w.passed()
	if len(list) != 1 {
		t.Fatalf("%d packets", len(list))
	}
	h := list[0]
	if h.TTL() != 8 || h.ID() != 5 || h.TOS() != 4 || h.Source() != peer || h.Destination() != beyond || !bytes.Equal(h.Payload(), datagram(1, 2, numbers(100))) {
		t.Errorf("%x", []byte(h))
	}
	st := &w.s.Stats().IP
	if st.ForwDatagrams.Load() != 1 || st.InDelivers.Load() != 0 {
		t.Errorf("%d forwarded, %d delivered", st.ForwDatagrams.Load(), st.InDelivers.Load())
	}
	// A packet for the router's other address is for it.
	w.ping(peer, otherSide, nil)
	if h := w.one(); h.Source() != otherSide || h.Destination() != peer {
		t.Errorf("%x", []byte(h))
	}
	w.s.Settings().IPForward.Store(false)
	w.inject(f, datagram(1, 2, nil))
	if len(w.passed()) != 0 || st.InAddrErrors.Load() != 1 {
		t.Error("a host forwards")
	}
}

func TestWhatIsNotForwarded(t *testing.T) {
	for name, c := range map[string]struct {
		src, dst string
		ttl      uint8
		t, code  uint8 // of the error; 0: none
	}{
		"TTL of 1":           {"192.0.2.9", "10.1.0.9", 1, 11, 0},
		"no route":           {"192.0.2.9", "203.0.113.1", 9, 3, 0},
		"unreachable":        {"192.0.2.9", "203.0.114.1", 9, 3, 1},
		"prohibited":         {"192.0.2.9", "203.0.115.1", 9, 3, 13},
		"blackhole":          {"192.0.2.9", "203.0.116.1", 9, 0, 0},
		"directed broadcast": {"192.0.2.9", "10.1.255.255", 9, 0, 0},
		"link-local":         {"192.0.2.9", "169.254.0.1", 9, 0, 0},
		"from link-local":    {"169.254.0.1", "10.1.0.9", 9, 0, 0},
		"loopback":           {"192.0.2.9", "127.0.0.9", 9, 0, 0},
		"reserved":           {"192.0.2.9", "240.0.0.1", 9, 0, 0},
		"a group":            {"192.0.2.9", "239.1.1.1", 9, 0, 0},
	} {
		w := newRouter(t, capture.Options{})
		w.s.RemoveRoute(stack.RouteEntry{Destination: netip.MustParsePrefix("0.0.0.0/0")})
		for _, e := range []stack.RouteEntry{
			{Destination: netip.MustParsePrefix("203.0.114.0/24"), Type: stack.RouteUnreachable},
			{Destination: netip.MustParsePrefix("203.0.115.0/24"), Type: stack.RouteProhibit},
			{Destination: netip.MustParsePrefix("203.0.116.0/24"), Type: stack.RouteBlackhole},
			{Destination: netip.MustParsePrefix("169.254.0.0/16"), NIC: 3},
			{Destination: netip.MustParsePrefix("240.0.0.0/8"), NIC: 3},
		} {
			if err := w.s.AddRoute(e); err != nil {
				t.Fatal(err)
			}
		}
		w.inject(header.IPv4Fields{Protocol: udp, Source: netip.MustParseAddr(c.src), Destination: netip.MustParseAddr(c.dst), TTL: c.ttl}, datagram(1, 2, nil))
		if got := w.passed(); len(got) != 0 {
			t.Errorf("%s: %x", name, got)
		}
		if c.t == 0 {
			w.none()
			continue
		}
		h := w.one()
		if m := header.ICMPv4(h.Payload()); m.Type() != c.t || m.Code() != c.code || h.Destination() != peer || h.Source() != us {
			t.Errorf("%s: %x", name, []byte(h))
		}
	}
	// Frames to everybody (RFC 1812 section 5.3.4).
	w := newRouter(t, capture.Options{})
	p := buffer.NewFrom(packet(header.IPv4Fields{Protocol: udp, Source: peer, Destination: beyond}, datagram(1, 2, nil)))
	p.NIC, p.PacketType = 2, 1
	w.nic.Endpoint(header.EtherTypeIPv4).HandlePacket(p)
	if len(w.passed()) != 0 {
		t.Error("a broadcast frame was forwarded")
	}
}

func TestForwardingToANarrowerLink(t *testing.T) {
	w := newRouter(t, capture.Options{MTU: 600})
	payload := datagram(1, 2, numbers(1000))
	f := header.IPv4Fields{Protocol: udp, Source: peer, Destination: beyond, ID: 5, TTL: 9, Options: []byte{0x88, 4, 1, 2}}
	w.inject(f, payload)
	var whole []byte
	for i, h := range w.passed() {
		if len(h) > 600 || int(h.FragmentOffset()) != len(whole) || h.MoreFragments() != (i == 0) || h.ID() != 5 || h.TTL() != 8 || !bytes.Equal(h.Options(), f.Options) {
			t.Errorf("fragment %d: %x", i, []byte(h[:24]))
		}
		whole = append(whole, h.Payload()...)
	}
	if !bytes.Equal(whole, payload) {
		t.Errorf("%d bytes came through", len(whole))
	}
	// A fragment is cut up into fragments of the same packet.
	f.FragmentOffset, f.Flags, f.Options = 800, header.IPv4FlagMoreFragments, nil
	w.inject(f, numbers(1000))
	list := w.passed()
	if len(list) != 2 || list[0].FragmentOffset() != 800 || list[1].FragmentOffset() != 800+576 || !list[1].MoreFragments() {
		t.Errorf("a fragment became %d: %x", len(list), list)
	}
	f.FragmentOffset, f.Flags = 0, header.IPv4FlagDontFragment
	w.inject(f, payload)
	if len(w.passed()) != 0 {
		t.Error("it was cut up though it may not be")
	}
	h := w.one()
	if m := header.ICMPv4(h.Payload()); m.Type() != 3 || m.Code() != 4 || m.MTU() != 600 {
		t.Errorf("%x", []byte(h))
	}
	st := &w.s.Stats().IP
	if st.FragOKs.Load() != 2 || st.FragCreates.Load() != 4 || st.FragFails.Load() != 1 {
		t.Errorf("%d, %d, %d", st.FragOKs.Load(), st.FragCreates.Load(), st.FragFails.Load())
	}
	// Not even a header fits.
	w.out.SetMTU(24)
	f.Flags = 0
	w.inject(f, payload)
	if len(w.passed()) != 0 || st.FragFails.Load() != 2 {
		t.Error("an MTU of 24")
	}
}

// What came in from a link with offloads is completed for one without.
func TestForwardingOfOffloadedPackets(t *testing.T) {
	w := newRouter(t, capture.Options{MTU: 1000})
	payload := numbers(5000)
	h := make([]byte, header.TCPMinimumSize)
	header.TCP(h).Encode(header.TCPFields{SourcePort: 1, DestinationPort: 2, Flags: header.TCPFlagAck})
	header.TCP(h).SetChecksumField(checksum.Fold(checksum.PseudoHeader(6, peer, beyond, 5020)))
	p := buffer.NewFrom(packet(header.IPv4Fields{Protocol: 6, Source: peer, Destination: beyond, TTL: 9}, append(h, payload...)))
	p.Checksum, p.ChecksumOffset = buffer.ChecksumPartial, 16
	p.Segmentation = buffer.Segmentation{Type: buffer.SegmentTCP4, Size: 960}
	w.link.InjectPacket(header.EtherTypeIPv4, p)
	var whole []byte
	for _, h := range w.passed() {
		seg := h.Payload()
		if !checksum.OK(checksum.Sum(seg, checksum.PseudoHeader(6, peer, beyond, uint32(len(seg))))) || len(h) > 1000 || h.TTL() != 8 {
			t.Errorf("%x", []byte(h[:40]))
		}
		whole = append(whole, header.TCP(seg).Payload()...)
	}
	if !bytes.Equal(whole, payload) {
		t.Errorf("%d bytes came through", len(whole))
	}
	// One that the link has verified is not partial any more.
	p = buffer.NewFrom(packet(header.IPv4Fields{Protocol: udp, Source: peer, Destination: beyond, TTL: 9}, datagram(1, 2, nil)))
	p.Checksum = buffer.ChecksumVerified
	w.link.InjectPacket(header.EtherTypeIPv4, p)
	if sent := w.out.Take(); len(sent) != 1 || sent[0].Checksum != buffer.ChecksumUnknown {
		t.Errorf("%+v", sent)
	}
}

func TestOptionsOfPacketsForUs(t *testing.T) {
	now := func(w *world) []byte {
		c := w.clock.Now().UTC()
		ms := uint32(((c.Hour()*60+c.Minute())*60+c.Second())*1000 + c.Nanosecond()/1e6)
		return []byte{byte(ms >> 24), byte(ms >> 16), byte(ms >> 8), byte(ms)}
	}
	cat := func(b ...[]byte) []byte { return bytes.Join(b, nil) }
	u, p := us.AsSlice(), peer.AsSlice()
	z4, z8 := make([]byte, 4), make([]byte, 8)
	for name, c := range map[string]struct {
		in   []byte
		want func(w *world) []byte // nil: refused
		t    uint8                 // type of the error, 0: none
		code uint8
		at   uint8 // where its pointer points to
	}{
		"none":                       {[]byte{1, 1, 1, 0}, func(*world) []byte { return []byte{1, 1, 1, 0} }, 0, 0, 0},
		"unknown":                    {[]byte{0x99, 4, 1, 2}, func(*world) []byte { return []byte{0x99, 4, 1, 2} }, 0, 0, 0},
		"router alert":               {[]byte{148, 4, 0, 0}, func(*world) []byte { return []byte{148, 4, 0, 0} }, 0, 0, 0},
		"record route":               {cat([]byte{7, 11, 4}, z8, []byte{0}), func(*world) []byte { return cat([]byte{7, 11, 8}, u, z4, []byte{0}) }, 0, 0, 0},
		"record route, second":       {cat([]byte{7, 11, 8}, p, z4, []byte{0}), func(*world) []byte { return cat([]byte{7, 11, 12}, p, u, []byte{0}) }, 0, 0, 0},
		"record route, full":         {cat([]byte{7, 11, 12}, p, p, []byte{0}), func(*world) []byte { return cat([]byte{7, 11, 12}, p, p, []byte{0}) }, 0, 0, 0},
		"record route, pointer":      {cat([]byte{1, 7, 7, 3}, z4), nil, 12, 0, 23},
		"record route, no room":      {cat([]byte{7, 8, 6}, z4, []byte{0}), nil, 12, 0, 22},
		"record route, short":        {[]byte{7, 2, 0, 0}, nil, 12, 0, 21},
		"timestamp":                  {cat([]byte{68, 12, 5, 0}, z8), func(w *world) []byte { return cat([]byte{68, 12, 9, 0}, now(w), z4) }, 0, 0, 0},
		"timestamp, full":            {cat([]byte{68, 8, 9, 0}, z4), func(*world) []byte { return cat([]byte{68, 8, 9, 0x10}, z4) }, 0, 0, 0},
		"timestamp, overflow full":   {cat([]byte{68, 8, 9, 0xf0}, z4), nil, 12, 0, 23},
		"timestamp, address":         {cat([]byte{68, 12, 5, 1}, z8), func(w *world) []byte { return cat([]byte{68, 12, 13, 1}, u, now(w)) }, 0, 0, 0},
		"timestamp, ours asked for":  {cat([]byte{68, 12, 5, 3}, u, z4), func(w *world) []byte { return cat([]byte{68, 12, 13, 3}, u, now(w)) }, 0, 0, 0},
		"timestamp, others":          {cat([]byte{68, 12, 5, 3}, p, z4), func(*world) []byte { return cat([]byte{68, 12, 5, 3}, p, z4) }, 0, 0, 0},
		"timestamp, asked for, full": {cat([]byte{68, 12, 13, 3}, u, z4), func(*world) []byte { return cat([]byte{68, 12, 13, 3}, u, z4) }, 0, 0, 0},
		"timestamp, flag":            {cat([]byte{68, 8, 5, 2}, z4), nil, 12, 0, 23},
		"timestamp, pointer":         {cat([]byte{68, 8, 4, 0}, z4), nil, 12, 0, 22},
		"timestamp, no room":         {cat([]byte{68, 10, 5, 1}, make([]byte, 6), []byte{0, 0}), nil, 12, 0, 22},
		"timestamp, short":           {[]byte{68, 3, 5, 0}, nil, 12, 0, 21},
		"length of 1":                {[]byte{1, 99, 1, 0}, nil, 12, 0, 22},
		"length beyond the end":      {[]byte{99, 5, 0, 0}, nil, 12, 0, 21},
		"loose source route":         {cat([]byte{131, 7, 4}, p, []byte{0}), nil, 3, 5, 0},
		"strict source route":        {cat([]byte{137, 7, 4}, p, []byte{0}), nil, 3, 5, 0},
		"source route at its end":    {cat([]byte{131, 7, 8}, p, []byte{0}), nil, 3, 5, 0},
	} {
		_, tr := newTransport(udp)
		w := newWorld(t, capture.Options{}, tr)
		w.clock.Advance(time.Hour + 2*time.Minute + 3*time.Second + 4*time.Millisecond)
		e := w.bind(udp, stack.TransportID{LocalPort: 53})
		w.inject(header.IPv4Fields{Protocol: udp, Source: peer, Destination: us, Options: c.in}, datagram(1, 53, nil))
		got := e.take()
		if c.want != nil {
			if len(got) != 1 || !got[0].header.ChecksumOK() || !bytes.Equal(got[0].header.Options(), c.want(w)) {
				t.Errorf("%s: %+v, want options %x", name, got, c.want(w))
			}
			w.none()
			continue
		}
		if len(got) != 0 || w.s.Stats().IP.InHdrErrors.Load() != 1 {
			t.Errorf("%s: was taken", name)
		}
		h := w.one()
		if m := header.ICMPv4(h.Payload()); m.Type() != c.t || m.Code() != c.code || m.Pointer() != c.at {
			t.Errorf("%s: %x", name, []byte(h.Payload()))
		}
	}
}

func TestEchoOfOptions(t *testing.T) {
	w := newWorld(t, capture.Options{})
	options := append([]byte{148, 4, 0, 0, 7, 11, 4}, make([]byte, 9)...)
	w.ping(peer, us, nil, func(f *header.IPv4Fields) { f.Options = options })
	h := w.one()
	// We are on the way there and on the way back; the router alert is not sent back.
	if want := slices.Concat([]byte{7, 11, 12}, us.AsSlice(), us.AsSlice(), []byte{0}); !bytes.Equal(h.Options(), want) {
		t.Errorf("options %x, want %x", h.Options(), want)
	}
}

func TestOptionsOfPacketsThatAreForwarded(t *testing.T) {
	w := newRouter(t, capture.Options{})
	f := header.IPv4Fields{Protocol: udp, Source: peer, Destination: beyond, Options: append([]byte{7, 7, 4}, make([]byte, 5)...)}
	w.inject(f, datagram(1, 2, nil))
	list := w.passed()
	if len(list) != 1 || !bytes.Equal(list[0].Options(), append(append([]byte{7, 7, 8}, otherSide.AsSlice()...), 0)) {
		t.Errorf("%x", list)
	}
	f.Options = append([]byte{131, 7, 4}, append(beyond.AsSlice(), 0)...)
	w.inject(f, datagram(1, 2, nil))
	if len(w.passed()) != 0 {
		t.Error("a source route was followed")
	}
	if m := header.ICMPv4(w.one().Payload()); m.Type() != 3 || m.Code() != 5 {
		t.Errorf("%x", []byte(m))
	}
	// Groups and broadcasts have an address to record, too; a host without one records none.
	w.nic.RemoveAddress(netip.MustParsePrefix("192.0.2.1/24"))
	_, ok := w.nic.Address(us)
	f = header.IPv4Fields{Protocol: udp, Source: peer, Destination: header.IPv4Broadcast, Options: append([]byte{7, 7, 4}, make([]byte, 5)...)}
	raw := &endpoint{}
	w.s.RegisterRaw(false, udp, raw)
	w.inject(f, datagram(1, 2, nil))
	got := raw.take()
	if ok || len(got) != 1 || !bytes.Equal(got[0].header.Options(), []byte{7, 7, 8, 0, 0, 0, 0, 0}) {
		t.Errorf("%+v", got)
	}
}
