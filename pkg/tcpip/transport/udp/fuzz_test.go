package udp_test

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	. "runsc/pkg/tcpip/transport/internal/nettest"
	"runsc/pkg/tcpip/transport/udp"
)

// drain empties a socket's queues and checks that they were bounded.
func drain(t *testing.T, e *udp.Endpoint) {
	if m := e.Rx.Memory(); m > e.Options().ReceiveBuffer.Load()+1<<17 {
		t.Fatalf("%d bytes of memory", m)
	}
	for {
		if _, _, err := Receive(e, tcpip.ReceiveOptions{ErrorQueue: true}); err != nil {
			break
		}
	}
	for {
		s, r, err := Receive(e, tcpip.ReceiveOptions{DontWait: true})
		if err == unix.EAGAIN {
			break
		}
		if err == nil && (r.N != len(s) || r.N != r.MessageLen) {
			t.Fatalf("%d bytes, %+v", len(s), r)
		}
	}
	if e.Rx.Memory() != 0 {
		t.Fatalf("%d bytes of memory are left", e.Rx.Memory())
	}
}

// FuzzPacket gives sockets of all sorts datagrams in which nothing has to be right, alone and quoted
// in errors.
func FuzzPacket(f *testing.F) {
	for _, v := range families {
		src, dst := netip.AddrPortFrom(v.other, 1234), netip.AddrPortFrom(v.own, 5000)
		f.Add(v.v6, uint8(0), uint16(0), UDP(src, dst, true, []byte("data")))
		f.Add(v.v6, uint8(1), uint16(3), UDP(src, dst, true, make([]byte, 100)))
		f.Add(v.v6, uint8(2), uint16(0), UDP(dst, src, false, nil))
		f.Add(v.v6, uint8(0), uint16(0), []byte{1, 2, 3})
	}
	h := host(f)
	var all []*udp.Endpoint
	for _, v := range families {
		for i := range 4 {
			e := endpoint(f, h, v.v6)
			e.Options().V6Only.Store(true)
			e.Options().ReuseAddress.Store(true)
			recvErr(e, v)
			e.SetGRO(i&1 != 0)
			e.SetNoChecksumRX(i&2 != 0)
			ok(f, e.Bind(To(netip.Addr{}, 5000)))
			if i == 3 {
				ok(f, e.Connect(To(v.other, 1234)))
			}
			ok(f, e.JoinGroup(tcpip.GroupMembership{Group: v.group, NIC: EthID}))
			all = append(all, e)
		}
	}
	f.Fuzz(func(t *testing.T, v6 bool, how uint8, size uint16, b []byte) {
		v := families[0]
		if v6 {
			v = families[1]
		}
		b = b[:min(len(b), 60000)]
		dst := v.own
		if how&1 != 0 {
			dst = v.group
		}
		p := IP(v.other, dst, header.ProtocolUDP, b)
		h.Inject(p)
		// As a link delivers it that looked at the checksum and put segments together.
		pkt := buffer.NewFrom(p)
		pkt.Checksum = buffer.ChecksumVerified
		pkt.Segmentation = buffer.Segmentation{Type: buffer.SegmentUDP, Size: size}
		h.Wire.InjectPacket(EtherType(v.own), pkt)
		h.Inject(ICMPError(v.other, how, how>>4, uint32(size), IP(v.own, v.other, header.ProtocolUDP, b)))
		h.Wire.Take()
		for _, e := range all {
			drain(t, e)
		}
	})
}

// FuzzDatagram has live sockets do what a string of bytes says, and checks that each datagram that
// was sent arrives as it was, once, or is counted as dropped.
func FuzzDatagram(f *testing.F) {
	f.Add([]byte{0, 10, 1, 20, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Add([]byte{2, 0, 3, 0, 4, 0, 0, 200, 0, 200, 5, 0, 8, 255, 6, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		h := host(t)
		a, b := bound(t, h, false, Loopback4, 1), bound(t, h, true, netip.Addr{}, 2)
		sent, received, sequence := 0, 0, byte(0)
		stats := &h.Stats().UDP
		take := func() {
			for {
				s, r, err := Receive(b, tcpip.ReceiveOptions{DontWait: true})
				if err == unix.EAGAIN {
					return
				}
				if err != nil {
					continue
				}
				received++
				for i := range s {
					if s[i] != s[0] {
						t.Fatalf("a datagram is mixed: %x", s)
					}
				}
				if r.From.Addr != Loopback4 || r.From.Port != 1 {
					t.Fatalf("from %v", r.From)
				}
			}
		}
		script = script[:min(len(script), 400)]
		for i := 0; i+1 < len(script); i += 2 {
			arg := int(script[i+1])
			to := To(Loopback4, 2)
			o := tcpip.SendOptions{To: &to}
			switch script[i] % 12 {
			case 0, 1, 2:
				sequence++
				data := make([]byte, arg*int(script[i]))
				for i := range data {
					data[i] = sequence
				}
				o.More = script[i]&32 != 0
				before := a.SendQueued()
				if n, err := a.Send(&Bytes{B: data}, o); err == nil && n != len(data) {
					t.Fatalf("%d of %d bytes were sent", n, len(data))
				} else if err == nil && !o.More && !a.Cork() {
					sent++
				}
				if before != 0 || o.More || a.Cork() {
					// Put together from different ones: start over.
					a.Close()
					a = bound(t, h, false, Loopback4, 1)
					sent = -1
				}
			case 3:
				a.Connect(To(Loopback4, uint16(arg%4)))
			case 4:
				a.Connect(tcpip.FullAddress{})
			case 5:
				b.Options().ReceiveBuffer.Store(int64(arg) * 100)
			case 6:
				take()
			case 7:
				recvErr(a, families[0])
			case 8:
				a.SetSegmentSize(arg)
				sent = -1 // one send is many datagrams
			case 9:
				Receive(b, tcpip.ReceiveOptions{Peek: true, PeekOffset: arg})
			case 10:
				b.SetGRO(arg&1 != 0)
			case 11:
				SendTo(a, "", To(Loopback4, uint16(arg%5)))
				sent = -1
			}
			if sent == -1 {
				take()
				sent, received = 0, 0
				a.TakeError()
				if a.SegmentSize() != 0 {
					a.SetSegmentSize(0)
				}
				b.Rx.Close()
				b.Close()
				b = bound(t, h, true, netip.Addr{}, 2)
				stats.RcvbufErrors.Store(0)
			}
		}
		take()
		if dropped := int(stats.RcvbufErrors.Load()); received+dropped != sent {
			t.Fatalf("%d sent, %d received, %d dropped", sent, received, dropped)
		}
	})
}
