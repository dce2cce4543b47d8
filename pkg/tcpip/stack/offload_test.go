package stack

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
)

// offloaded is a packet of size bytes of payload as a transport and a network protocol make it
// for a link with offloads.
func offloaded(t *testing.T, kind buffer.SegmentationType, v6 bool, size, segment int) (*buffer.Packet, []byte) {
	t.Helper()
	payload := make([]byte, size)
	r := rand.New(rand.NewPCG(uint64(size), uint64(segment)))
	for i := range payload {
		payload[i] = byte(r.Uint32())
	}
	p := buffer.New()
	for rest := payload; len(rest) > 0; { // in pieces of odd sizes
		n := min(len(rest), 777)
		p.Append(rest[:n])
		rest = rest[n:]
	}
	src, dst := here, there
	if v6 {
		src, dst = here6, far6
	}
	proto := uint8(header.ProtocolTCP)
	if kind == buffer.SegmentUDP {
		proto = header.ProtocolUDP
		h := header.UDP(p.Push(header.UDPSize))
		h.Encode(header.UDPFields{SourcePort: 1, DestinationPort: 2, Length: uint16(size + 8)})
		h.SetChecksumField(checksum.Fold(checksum.PseudoHeader(proto, src, dst, uint32(size+8))))
		p.TransportHeader, p.ChecksumOffset = h, 6
	} else {
		h := header.TCP(p.Push(32))
		h.Encode(header.TCPFields{SourcePort: 1, DestinationPort: 2, Sequence: 0xffffff00, HeaderLength: 32,
			Flags: header.TCPFlagAck | header.TCPFlagPsh | header.TCPFlagFin | header.TCPFlagCwr})
		copy(h[20:], []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8})
		h.SetChecksumField(checksum.Fold(checksum.PseudoHeader(proto, src, dst, uint32(size+32))))
		p.TransportHeader, p.ChecksumOffset = h, 16
	}
	n := p.Len()
	if v6 {
		h := header.IPv6(p.Push(header.IPv6Size))
		h.Encode(header.IPv6Fields{PayloadLength: uint16(n), NextHeader: proto, HopLimit: 64, Source: src, Destination: dst})
		p.NetworkHeader = h
	} else {
		h := header.IPv4(p.Push(header.IPv4MinimumSize))
		h.Encode(header.IPv4Fields{TotalLength: uint16(n + 20), ID: 100, TTL: 64, Protocol: proto, Source: src, Destination: dst})
		p.NetworkHeader = h
	}
	p.Transport, p.Checksum = proto, buffer.ChecksumPartial
	if segment > 0 {
		p.Segmentation = buffer.Segmentation{Type: kind, Size: uint16(segment)}
	}
	return p, payload
}

// check checks a packet as it is on the wire, and returns its payload.
func checkWire(t *testing.T, b []byte, v6 bool) (transport header.TCP, payload []byte) {
	t.Helper()
	var rest []byte
	var pseudo uint32
	if v6 {
		h := header.IPv6(b)
		if !h.Valid(len(b)) || int(h.PayloadLength()) != len(b)-40 {
			t.Fatalf("header %x of %d bytes", b[:40], len(b))
		}
		rest = b[40:]
		pseudo = checksum.PseudoHeader(h.NextHeader(), h.Source(), h.Destination(), uint32(len(rest)))
	} else {
		h := header.IPv4(b)
		if !h.Valid(len(b)) || !h.ChecksumOK() || int(h.TotalLength()) != len(b) {
			t.Fatalf("header %x of %d bytes", b[:20], len(b))
		}
		rest = b[20:]
		pseudo = checksum.PseudoHeader(h.Protocol(), h.Source(), h.Destination(), uint32(len(rest)))
	}
	if !checksum.OK(checksum.Sum(rest, pseudo)) {
		t.Fatalf("the checksum of %d bytes is wrong", len(rest))
	}
	return header.TCP(rest), rest
}

// software makes a link without offloads.
func software(t *testing.T, caps Capabilities) (*NIC, *fakeLink) {
	w := newWorld(t)
	l := &fakeLink{caps: caps, mtu: 1500, max: 65535}
	n, err := w.s.CreateNIC(0, "soft", l)
	if err != nil {
		t.Fatal(err)
	}
	n.SetUp(true)
	return n, l
}

func TestSegmentationInSoftware(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, c := range []struct{ size, segment int }{{1, 1000}, {1000, 1000}, {1001, 1000}, {60000, 1448}, {5000, 1}, {0, 100}} {
			n, l := software(t, 0)
			etherType := uint16(header.EtherTypeIPv4)
			if v6 {
				etherType = header.EtherTypeIPv6
			}
			p, payload := offloaded(t, buffer.SegmentTCP4, v6, c.size, c.segment)
			if err := n.WritePacket(there, etherType, p); err != nil {
				t.Fatal(err)
			}
			var got []byte
			sent := l.take()
			want := max(1, (c.size+c.segment-1)/c.segment)
			if len(sent) != want {
				t.Fatalf("%+v: %d segments, want %d", c, len(sent), want)
			}
			for i, b := range sent {
				h, _ := checkWire(t, b, v6)
				if h.Sequence() != 0xffffff00+uint32(len(got)) {
					t.Fatalf("%+v: segment %d has sequence %#x", c, i, h.Sequence())
				}
				last := i == len(sent)-1
				if fin := h.Flags()&header.TCPFlagFin != 0; fin != last {
					t.Errorf("%+v: segment %d: FIN %v", c, i, fin)
				}
				if psh := h.Flags()&header.TCPFlagPsh != 0; psh != last {
					t.Errorf("%+v: segment %d: PSH %v", c, i, psh)
				}
				if cwr := h.Flags()&header.TCPFlagCwr != 0; cwr != (i == 0) {
					t.Errorf("%+v: segment %d: CWR %v", c, i, cwr)
				}
				if !v6 && header.IPv4(b).ID() != uint16(100+i) {
					t.Errorf("%+v: segment %d has identification %d", c, i, header.IPv4(b).ID())
				}
				if len(h.Payload()) > c.segment || !bytes.Equal(h.Options(), []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}) {
					t.Errorf("%+v: segment %d has %d bytes, options %x", c, i, len(h.Payload()), h.Options())
				}
				got = append(got, h.Payload()...)
			}
			if !bytes.Equal(got, payload) {
				t.Errorf("%+v: the payload is another", c)
			}
		}
	}
}

func TestDatagramsAreCutInSoftware(t *testing.T) {
	n, l := software(t, CapTXChecksum|CapSegmentation)
	p, payload := offloaded(t, buffer.SegmentUDP, false, 2500, 1000)
	n.WritePacket(there, header.EtherTypeIPv4, p)
	sent := l.take()
	if len(sent) != 3 {
		t.Fatalf("%d datagrams", len(sent))
	}
	var got []byte
	for i, b := range sent {
		h := header.UDP(b[20:])
		if !h.Valid(len(h), false) || int(h.Length()) != len(h) {
			t.Errorf("datagram %d: %x", i, []byte(h[:8]))
		}
		// The link completes the checksum.
		if want := checksum.Fold(checksum.PseudoHeader(17, here, there, uint32(len(h)))); h.Checksum() != want {
			t.Errorf("datagram %d: checksum field %#x, want %#x", i, h.Checksum(), want)
		}
		got = append(got, h.Payload()...)
	}
	if !bytes.Equal(got, payload) {
		t.Error("the payload is another")
	}
}

func TestLinksWithOffloadsGetPacketsAsTheyAre(t *testing.T) {
	n, l := software(t, CapTXChecksum|CapSegmentation|CapUDPSegmentation)
	for _, kind := range []buffer.SegmentationType{buffer.SegmentTCP4, buffer.SegmentUDP} {
		p, _ := offloaded(t, kind, false, 5000, 1000)
		n.WritePacket(there, header.EtherTypeIPv4, p)
		if l.meta[0].Checksum != buffer.ChecksumPartial || l.meta[0].Segmentation.Size != 1000 {
			t.Errorf("checksum %d, segmentation %v", l.meta[0].Checksum, l.meta[0].Segmentation)
		}
		if sent := l.take(); len(sent) != 1 {
			t.Errorf("%d packets", len(sent))
		}
	}
	l.max = 3000
	p, _ := offloaded(t, buffer.SegmentTCP4, false, 5000, 1000)
	n.WritePacket(there, header.EtherTypeIPv4, p)
	if sent := l.take(); len(sent) != 5 {
		t.Errorf("more than the link takes: %d packets", len(sent))
	}
}

func TestChecksumsInSoftware(t *testing.T) {
	n, l := software(t, 0)
	for _, v6 := range []bool{false, true} {
		for _, kind := range []buffer.SegmentationType{buffer.SegmentTCP4, buffer.SegmentUDP} {
			p, _ := offloaded(t, kind, v6, 1001, 0)
			c := p.Clone() // shares the payload; the headers are its own
			n.WritePacket(there, header.EtherTypeIPv4, p)
			checkWire(t, l.take()[0], v6)
			if c.Checksum != buffer.ChecksumPartial {
				t.Error("the clone was changed")
			}
			n.WritePacket(there, header.EtherTypeIPv4, c)
			checkWire(t, l.take()[0], v6)
		}
	}
	// A UDP checksum of 0 is sent as 0xffff.
	p, _ := offloaded(t, buffer.SegmentUDP, false, 2, 0)
	b, _ := p.Own(30)
	binary.BigEndian.PutUint16(b[28:], 0)
	fix := checksum.Finish(checksum.Sum(b[20:], 0)) // makes the sum 0xffff
	binary.BigEndian.PutUint16(b[28:], fix)
	n.WritePacket(there, header.EtherTypeIPv4, p)
	if h := header.UDP(l.take()[0][20:]); h.Checksum() != 0xffff {
		t.Errorf("the checksum is %#x, want 0xffff", h.Checksum())
	}
}

func TestOffloadOfNonsense(t *testing.T) {
	n, l := software(t, 0)
	for name, f := range map[string]func(p *buffer.Packet){
		"no size":          func(p *buffer.Packet) { p.Segmentation.Size = 0 },
		"no header":        func(p *buffer.Packet) { p.NetworkHeader = nil },
		"too short":        func(p *buffer.Packet) { p.Truncate(30) },
		"data offset":      func(p *buffer.Packet) { p.TransportHeader[12] = 0x10 },
		"beyond the end":   func(p *buffer.Packet) { p.Truncate(45); p.TransportHeader[12] = 0xf0 },
		"a short IPv6 one": func(p *buffer.Packet) { p.NetworkHeader[0] = 0x60 },
	} {
		p, _ := offloaded(t, buffer.SegmentTCP4, false, 3000, 1000)
		f(p)
		n.WritePacket(there, header.EtherTypeIPv4, p)
		if sent := l.take(); len(sent) != 0 {
			t.Errorf("%s: %d packets were sent", name, len(sent))
		}
	}
	// A checksum beyond the end of the packet is not written.
	p := buffer.NewFrom(make([]byte, 30))
	p.NetworkHeader, _ = p.Peek(20)
	p.Checksum, p.ChecksumOffset = buffer.ChecksumPartial, 16
	CompleteChecksum(p)
	if p.Len() != 30 {
		t.Errorf("%d bytes", p.Len())
	}
	p.Release()
}

func TestManyPacketsAtOnce(t *testing.T) {
	n, l := software(t, 0)
	var pkts []*buffer.Packet
	for range 100 { // more than a batch has room for
		p, _ := offloaded(t, buffer.SegmentTCP4, false, 2000, 1000)
		pkts = append(pkts, p)
	}
	if err := n.WritePackets(there, header.EtherTypeIPv4, pkts); err != nil {
		t.Fatal(err)
	}
	if sent := l.take(); len(sent) != 200 {
		t.Errorf("%d packets", len(sent))
	}
	for range 3 { // the batches are clean again
		n.WritePacket(there, header.EtherTypeIPv4, buffer.NewFrom([]byte("x")))
		if sent := l.take(); len(sent) != 1 {
			t.Errorf("%d packets", len(sent))
		}
	}
}
