package udp_test

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/capture"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/stack"
	. "runsc/pkg/tcpip/transport/internal/nettest"
	"runsc/pkg/tcpip/transport/udp"
)

func TestControlOfReceivedDatagrams(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		n := New(t, pipe.Options{}, udp.New)
		a, b := endpoint(t, n.A, v.v6), bound(t, n.B, v.v6, v.any, 5000)
		to := To(v.other, 5000)
		c := tcpip.SendControl{HasTTL: true, TTL: 33, HasTOS: true, TOS: 0x48}
		_, err := a.Send(&Bytes{B: []byte("x")}, tcpip.SendOptions{To: &to, Control: c})
		OK(t, err)
		n.Run()
		got := WantData(t, b, "x").Control
		label := got.FlowLabel
		if got.FlowLabel = 0; (label != 0) != v.v6 {
			t.Errorf("flow label %#x", label)
		}
		w := tcpip.ReceiveControl{HasPacketInfo: true, NIC: EthID, LocalAddr: v.other, Destination: v.other, DestinationPort: 5000, TTL: 33, TOS: 0x48}
		if !equal(got, w) {
			t.Errorf("got %+v, want %+v", got, w)
		}
		// By the socket's options, and by default.
		OK(t, SendTo(a, "x", to))
		o := a.Options()
		for _, x := range []interface{ Store(int32) }{&o.TTL, &o.HopLimit} {
			x.Store(9)
		}
		for _, x := range []interface{ Store(uint32) }{&o.TOS, &o.TrafficClass} {
			x.Store(4)
		}
		OK(t, SendTo(a, "y", to))
		n.Run()
		if got := WantData(t, b, "x").Control; got.TTL != 64 || got.TOS != 0 {
			t.Errorf("by default: %+v", got)
		}
		if got := WantData(t, b, "y").Control; got.TTL != 9 || got.TOS != 4 {
			t.Errorf("by option: %+v", got)
		}
	})
}

func equal(a, b tcpip.ReceiveControl) bool {
	same := bytes.Equal(a.IPOptions, b.IPOptions)
	a.IPOptions, b.IPOptions = nil, nil
	x, y := a, b
	return same && x.Timestamp == y.Timestamp && x.HasPacketInfo == y.HasPacketInfo && x.NIC == y.NIC && x.LocalAddr == y.LocalAddr &&
		x.Destination == y.Destination && x.DestinationPort == y.DestinationPort && x.TTL == y.TTL && x.TOS == y.TOS &&
		x.FlowLabel == y.FlowLabel && x.SegmentSize == y.SegmentSize && x.Dropped == y.Dropped
}

func TestPacketInfoChoosesSource(t *testing.T) {
	h := host(t)
	second := netip.MustParseAddr("192.0.2.77")
	OK(t, h.Eth.AddAddress(stack.Address{Prefix: netip.PrefixFrom(second, 24)}))
	e, to := endpoint(t, h, false), To(Addr4(2), 5000)
	_, err := e.Send(&Bytes{}, tcpip.SendOptions{To: &to, Control: tcpip.SendControl{HasPacketInfo: true, Source: second}})
	OK(t, err)
	if sent := h.Sent(header.ProtocolUDP); header.IPv4(sent[0]).Source() != second {
		t.Errorf("sent %x", sent)
	}
	// IPv6 sockets are told when it contradicts the socket's device.
	e6, to6 := endpoint(t, h, true), To(Addr6(2), 5000)
	OK(t, e6.SetDevice(EthID))
	_, err = e6.Send(&Bytes{}, tcpip.SendOptions{To: &to6, Control: tcpip.SendControl{HasPacketInfo: true, NIC: LoID}})
	Want(t, err, unix.EINVAL)
	_, err = e6.Send(&Bytes{}, tcpip.SendOptions{To: &to6, Control: tcpip.SendControl{HasPacketInfo: true, NIC: EthID}})
	OK(t, err)
}

func TestIPOptionsBothWays(t *testing.T) {
	h := host(t)
	a, b := endpoint(t, h, false), bound(t, h, false, Loopback4, 5000)
	record := []byte{7, 7, 4, 0, 0, 0, 0, 0} // RFC 791: record route, one address
	o := a.Options()
	o.Mu.Lock()
	o.IPOptions4 = record
	o.Mu.Unlock()
	OK(t, SendTo(a, "x", To(Loopback4, 5000)))
	r := WantData(t, b, "x")
	if got := r.Control.IPOptions; len(got) != 8 || got[0] != 7 {
		t.Errorf("options %x", got)
	}
	// They leave less room.
	Want(t, SendTo(a, strings.Repeat("x", 65507), To(Loopback4, 5000)), unix.EMSGSIZE)
	OK(t, SendTo(a, strings.Repeat("x", 65499), To(Loopback4, 5000)))
	WantData(t, b, strings.Repeat("x", 65499))
}

func TestChecksumsOfReceivedDatagrams(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		src, dst := netip.AddrPortFrom(v.other, 1234), netip.AddrPortFrom(v.own, 5000)
		h := host(t)
		e := bound(t, h, v.v6, v.any, 5000)
		s := stats(h, v)
		inject := func(d []byte) { h.Inject(IP(src.Addr(), dst.Addr(), header.ProtocolUDP, d)) }

		inject(UDP(src, dst, true, []byte("good")))
		WantData(t, e, "good")
		bad := UDP(src, dst, true, []byte("bad!"))
		bad[9] ^= 1
		inject(bad)
		WantError(t, e, unix.EAGAIN)
		if s.InCsumErrors.Load() != 1 || s.InErrors.Load() != 1 || e.Drops() != 1 {
			t.Errorf("%d InCsumErrors, %d InErrors, %d drops", s.InCsumErrors.Load(), s.InErrors.Load(), e.Drops())
		}
		inject(UDP(src, dst, false, []byte("none")))
		if v.v6 {
			WantError(t, e, unix.EAGAIN)
			e.SetNoChecksumRX(true)
			if !e.NoChecksumRX() {
				t.Error("the option was not kept")
			}
			inject(UDP(src, dst, false, []byte("none")))
		}
		WantData(t, e, "none")

		// A length shorter than the packet is the datagram's; a longer one is wrong.
		d := UDP(src, dst, false, []byte("trailing"))
		e.SetNoChecksumRX(true)
		header.UDP(d).SetLength(8 + 5)
		inject(d)
		WantData(t, e, "trail")
		header.UDP(d).SetLength(8 + 9)
		inject(d)
		inject(append(UDP(src, dst, true, []byte("summed")), "trailing"...))
		WantData(t, e, "summed")
		inject(d[:7])
		WantError(t, e, unix.EAGAIN)
	})
}

func TestChecksumsOfSentDatagrams(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		for _, offload := range []stack.Capabilities{0, stack.CapTXChecksum} {
			h := NewHost(t, capture.Options{Offload: offload}, udp.New)
			e := endpoint(t, h, v.v6)
			OK(t, e.Connect(To(v.other, 5000)))
			sent := func() (capture.Sent, header.UDP, uint32) {
				t.Helper()
				s := h.Wire.Take()[0]
				u := header.UDP(header.IPv4(s.Bytes).Payload())
				if v.v6 {
					u = header.UDP(s.Bytes[header.IPv6Size:])
				}
				return s, u, checksum.PseudoHeader(header.ProtocolUDP, v.own, v.other, uint32(len(u)))
			}
			OK(t, Send(e, "odd"))
			s, u, pseudo := sent()
			if offload != 0 {
				if s.Checksum != buffer.ChecksumPartial || u.Checksum() != checksum.Fold(pseudo) {
					t.Errorf("left to the link: %#x, %v", u.Checksum(), s.Checksum)
				}
			} else if s.Checksum != buffer.ChecksumUnknown || !u.ChecksumOK(pseudo) {
				t.Errorf("checksum %#x, %v", u.Checksum(), s.Checksum)
			}
			e.Options().NoChecksum.Store(true) // IPv4's
			OK(t, Send(e, "x"))
			if _, u, _ = sent(); (u.Checksum() == 0) != !v.v6 {
				t.Errorf("SO_NO_CHECK: %#x", u.Checksum())
			}
			e.Options().NoChecksum.Store(false)
			e.SetNoChecksumTX(true) // IPv6's
			OK(t, Send(e, "x"))
			if _, u, _ = sent(); (u.Checksum() == 0) != v.v6 || !e.NoChecksumTX() {
				t.Errorf("UDP_NO_CHECK6_TX: %#x", u.Checksum())
			}
		}
	})
}

func TestFragmentsHaveAWholeChecksum(t *testing.T) {
	h := NewHost(t, capture.Options{Offload: stack.CapTXChecksum}, udp.New)
	e := endpoint(t, h, false)
	OK(t, e.Connect(To(Addr4(2), 5000)))
	data := strings.Repeat("data", 1000)
	OK(t, Send(e, data))
	var whole []byte
	for _, p := range h.Sent(header.ProtocolUDP) {
		whole = append(whole, header.IPv4(p).Payload()...)
	}
	u := header.UDP(whole)
	if string(u.Payload()) != data || !u.ChecksumOK(checksum.PseudoHeader(header.ProtocolUDP, Addr4(1), Addr4(2), uint32(len(u)))) {
		t.Errorf("%d bytes with checksum %#x", len(u), u.Checksum())
	}
}

func TestCork(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		a, b, c := endpoint(t, h, v.v6), bound(t, h, v.v6, v.lo, 5000), bound(t, h, v.v6, v.lo, 5001)
		more := func(s string, to tcpip.FullAddress) {
			t.Helper()
			n, err := a.Send(&Bytes{B: []byte(s)}, tcpip.SendOptions{To: &to, More: true})
			if err != nil || n != len(s) {
				t.Fatalf("%d, %v", n, err)
			}
		}
		more("one ", To(v.lo, 5000))
		more("two ", To(v.lo, 5001)) // the first says where to
		WantError(t, b, unix.EAGAIN)
		if a.SendQueued() != 16 {
			t.Errorf("%d bytes are queued", a.SendQueued())
		}
		OK(t, SendTo(a, "three", To(v.lo, 5000)))
		WantData(t, b, "one two three")
		WantError(t, c, unix.EAGAIN)
		if a.SendQueued() != 0 {
			t.Errorf("%d bytes are queued", a.SendQueued())
		}
		OK(t, a.SetCork(true))
		if !a.Cork() {
			t.Error("the option was not kept")
		}
		OK(t, SendTo(a, "four ", To(v.lo, 5000)))
		OK(t, SendTo(a, "", To(v.lo, 5000)))
		OK(t, SendTo(a, "five", To(v.lo, 5000)))
		OK(t, a.SetCork(true))
		WantError(t, b, unix.EAGAIN)
		OK(t, a.SetCork(false))
		WantData(t, b, "four five")
		OK(t, a.SetCork(true))
		OK(t, a.SetCork(false))
		WantError(t, b, unix.EAGAIN)
		more("pushed", To(v.lo, 5000))
		OK(t, a.SetCork(false))
		WantData(t, b, "pushed")

		// A failure drops what was begun.
		more("begun", To(v.lo, 5000))
		_, err := a.Send(&Bytes{B: make([]byte, 65530)}, tcpip.SendOptions{})
		Want(t, err, unix.EMSGSIZE)
		if a.SendQueued() != 0 {
			t.Errorf("%d bytes are queued", a.SendQueued())
		}
		_, err = a.Send(&Bytes{B: []byte("x")}, tcpip.SendOptions{More: true})
		Want(t, err, unix.EDESTADDRREQ)
		_, err = a.Send(&Bytes{B: []byte("x"), Err: unix.EFAULT}, tcpip.SendOptions{More: true})
		Want(t, err, unix.EFAULT)
		_, err = a.Send(&Bytes{B: []byte("x")}, tcpip.SendOptions{To: &tcpip.FullAddress{Addr: v.other, Port: 5}, More: true})
		OK(t, err)
		h.Wire.SetError(unix.ENETDOWN)
		Want(t, SendTo(a, "y", To(v.lo, 5000)), unix.ENETDOWN)
		more("left", To(v.lo, 5000))
		a.Close()
		WantError(t, b, unix.EAGAIN)
	})
}

func TestSegmentsByWire(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		for _, offload := range []stack.Capabilities{0, stack.CapTXChecksum, stack.CapTXChecksum | stack.CapUDPSegmentation} {
			n := New(t, pipe.Options{Offload: offload}, udp.New)
			a, b := endpoint(t, n.A, v.v6), bound(t, n.B, v.v6, v.any, 5000)
			to := To(v.other, 5000)
			data := strings.Repeat("0123456789", 25)
			for _, gro := range []bool{false, true} {
				b.SetGRO(gro)
				m, err := a.Send(&Bytes{B: []byte(data)}, tcpip.SendOptions{To: &to, Control: tcpip.SendControl{SegmentSize: 100}})
				if err != nil || m != len(data) {
					t.Fatalf("%d, %v", m, err)
				}
				n.Run()
				if gro && offload&stack.CapUDPSegmentation != 0 {
					if r := WantData(t, b, data); r.Control.SegmentSize != 100 {
						t.Errorf("segments of %d bytes", r.Control.SegmentSize)
					}
				} else {
					for at := 0; at < len(data); at += 100 {
						if r := WantData(t, b, data[at:min(at+100, len(data))]); r.Control.SegmentSize != 0 {
							t.Errorf("segments of %d bytes", r.Control.SegmentSize)
						}
					}
				}
				WantError(t, b, unix.EAGAIN)
			}
			if stats(n.A, v).OutDatagrams.Load() != 2 {
				t.Errorf("%d datagrams were sent", stats(n.A, v).OutDatagrams.Load())
			}
		}
	})
}

func TestSegmentsByLoStayWhole(t *testing.T) {
	h := host(t)
	a, b := endpoint(t, h, false), bound(t, h, false, Loopback4, 5000)
	OK(t, a.SetSegmentSize(1000))
	if a.SegmentSize() != 1000 {
		t.Error("the option was not kept")
	}
	b.SetGRO(true)
	if !b.GRO() {
		t.Error("the option was not kept")
	}
	data := strings.Repeat("x", 64000)
	OK(t, SendTo(a, data, To(Loopback4, 5000)))
	if r := WantData(t, b, data); r.Control.SegmentSize != 1000 {
		t.Errorf("segments of %d bytes", r.Control.SegmentSize)
	}
	// What is not longer than a segment is a datagram.
	OK(t, SendTo(a, data[:1000], To(Loopback4, 5000)))
	if r := WantData(t, b, data[:1000]); r.Control.SegmentSize != 0 {
		t.Errorf("segments of %d bytes", r.Control.SegmentSize)
	}
	// Without GRO each segment is charged its own size, not that of all.
	b.SetGRO(false)
	OK(t, SendTo(a, data, To(Loopback4, 5000)))
	if b.Rx.Len() != 64 || b.Rx.Memory() > 64*2700 {
		t.Errorf("%d datagrams, %d bytes of memory", b.Rx.Len(), b.Rx.Memory())
	}
}

func TestSegmentErrors(t *testing.T) {
	both(t, func(t *testing.T, v family) {
		h := host(t)
		e := endpoint(t, h, v.v6)
		OK(t, e.Connect(To(v.other, 5000)))
		send := func(n, segment int) error {
			_, err := e.Send(&Bytes{B: make([]byte, n)}, tcpip.SendOptions{Control: tcpip.SendControl{SegmentSize: uint16(segment)}})
			return err
		}
		Want(t, e.SetSegmentSize(-1), unix.EINVAL)
		Want(t, e.SetSegmentSize(65536), unix.EINVAL)
		OK(t, send(128, 1))
		Want(t, send(129, 1), unix.EINVAL)
		most := 1472
		if v.v6 {
			most = 1452
		}
		OK(t, send(3000, most))
		Want(t, send(3000, most+1), unix.EMSGSIZE)
		Want(t, send(65535, 1000), unix.EMSGSIZE)
		e.Rx.SetPending(unix.EPROTO)
		Want(t, send(129, 1), unix.EPROTO)
		h.Wire.SetError(unix.ENETDOWN)
		Want(t, send(300, 100), unix.ENETDOWN)
		h.Wire.SetError(nil)
		e.Options().NoChecksum.Store(true)
		e.SetNoChecksumTX(true)
		Want(t, send(300, 100), unix.EINVAL)
		OK(t, send(100, 100))
	})
}
