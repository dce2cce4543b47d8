package udp_test

import (
	"bytes"
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
			OK(f, e.Bind(To(netip.Addr{}, 5000)))
			if i == 3 {
				OK(f, e.Connect(To(v.other, 1234)))
			}
			OK(f, e.JoinGroup(tcpip.GroupMembership{Group: v.group, NIC: EthID}))
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

// FuzzDatagram has two live sockets do what a string of bytes says, and checks that exactly those
// datagrams arrive that were sent and not counted as dropped, as they were sent and in that order.
func FuzzDatagram(f *testing.F) {
	f.Add([]byte{0, 10, 1, 20, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Add([]byte{2, 0, 3, 2, 7, 0, 0, 200, 0, 200, 5, 8, 8, 255, 6, 0, 9, 1, 1, 100, 1, 3, 4, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		h := host(t)
		w := &live{t: t, h: h, a: bound(t, h, false, Loopback4, 1), b: bound(t, h, true, netip.Addr{}, 2)}
		script = script[:min(len(script), 400)]
		for i := 0; i+1 < len(script); i += 2 {
			w.step(script[i]%10, int(script[i+1]))
		}
		w.receive(len(w.expected))
		WantError(t, w.b, unix.EAGAIN)
	})
}

// live is two sockets of which the first sends to the second, and what shall arrive.
type live struct {
	t      *testing.T
	h      *Host
	a, b   *udp.Endpoint
	serial byte
	// corked is what was begun, nil: nothing; corkedSegment how it will be cut.
	corked        []byte
	corkedSegment int
	expected      []string
}

func (w *live) step(op byte, arg int) {
	switch op {
	case 0, 1:
		w.send(make([]byte, arg<<(4*op)), false)
	case 2:
		w.send(make([]byte, arg), true)
	case 3:
		// Port 2 is the other socket, 3 is closed.
		w.a.Connect(To(Loopback4, uint16(2+arg%2)))
	case 4:
		w.a.Connect(tcpip.FullAddress{})
	case 5:
		w.b.Options().ReceiveBuffer.Store(int64(arg) * 300)
	case 6:
		w.receive(arg % 4)
	case 7:
		w.a.Options().ReceiveErrors4.Store(arg&1 != 0)
		drops := w.b.Drops()
		if w.a.SetCork(false) == nil && w.corked != nil {
			w.sent(w.corked, drops)
		}
		w.corked = nil
	case 8:
		w.a.SetSegmentSize(arg * 8)
	case 9:
		w.b.SetGRO(arg&1 != 0)
	}
}

// send sends data, each time other bytes, to the second socket or to the peer.
func (w *live) send(data []byte, more bool) {
	w.serial++
	for i := range data {
		data[i] = w.serial
	}
	to := To(Loopback4, 2)
	drops := w.b.Drops()
	segment := w.a.SegmentSize()
	n, err := w.a.Send(&Bytes{B: bytes.Clone(data)}, tcpip.SendOptions{To: &to, More: more})
	if err != nil {
		w.corked = nil
		return
	}
	if n != len(data) {
		w.t.Fatalf("%d of %d bytes were sent", n, len(data))
	}
	if w.corked == nil {
		w.corkedSegment = segment
	}
	whole := append(w.corked, data...)
	if w.corked = nil; more {
		w.corked = append([]byte{}, whole...)
		return
	}
	w.sent(whole, drops)
}

// sent notes what shall arrive of a datagram before which there were as many drops.
func (w *live) sent(whole []byte, drops uint32) {
	segment := w.corkedSegment
	var list []string
	if segment == 0 || len(whole) <= segment || w.b.GRO() {
		list = []string{string(whole)}
	} else {
		for at := 0; at < len(whole); at += segment {
			list = append(list, string(whole[at:min(at+segment, len(whole))]))
		}
	}
	w.expected = append(w.expected, list...)
	if d := int(w.b.Drops() - drops); d == len(list) {
		w.expected = w.expected[:len(w.expected)-d]
	} else if d != 0 {
		// Which ones of several does not matter: what is queued is what was not dropped.
		if w.b.Rx.Len() != len(w.expected)-d {
			w.t.Fatalf("%d datagrams are queued, want %d less %d", w.b.Rx.Len(), len(w.expected), d)
		}
		for w.b.Rx.Len() > 0 {
			Receive(w.b, tcpip.ReceiveOptions{})
		}
		w.expected = nil
	}
}

// receive receives n datagrams at most.
func (w *live) receive(n int) {
	for ; n > 0 && len(w.expected) > 0; n-- {
		s, _, err := Receive(w.b, tcpip.ReceiveOptions{Peek: true})
		if err != nil || s != w.expected[0] {
			w.t.Fatalf("peeked %.40q, %v", s, err)
		}
		if r := WantData(w.t, w.b, w.expected[0]); r.From != To(Loopback4, 1) {
			w.t.Fatalf("from %v", r.From)
		}
		w.expected = w.expected[1:]
	}
}
