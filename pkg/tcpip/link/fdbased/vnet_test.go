package fdbased

import (
	"testing"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
)

func TestVnetHeaderOfReceivedPackets(t *testing.T) {
	type want struct {
		sum    buffer.Checksum
		offset uint16
		seg    buffer.Segmentation
	}
	for _, c := range []struct {
		name string
		h    vnetHeader
		want want
	}{
		{"nothing is known", vnetHeader{}, want{}},
		{"to be completed", vnetHeader{1, 0, 0, 0, 0, 0, 34, 0, 16, 0}, want{sum: buffer.ChecksumPartial, offset: 16}},
		{"the last bytes", vnetHeader{1, 0, 0, 0, 0, 0, 90, 0, 8, 0}, want{sum: buffer.ChecksumPartial, offset: 8}},
		{"outside of the packet", vnetHeader{1, 0, 0, 0, 0, 0, 90, 0, 9, 0}, want{}},
		{"far outside", vnetHeader{1, 0, 0, 0, 0, 0, 255, 255, 255, 255}, want{}},
		{"checked", vnetHeader{2}, want{sum: buffer.ChecksumVerified}},
		{"TCP4", vnetHeader{1, 1, 54, 0, 0x2c, 1, 34, 0, 16, 0}, want{buffer.ChecksumPartial, 16, buffer.Segmentation{Type: buffer.SegmentTCP4, Size: 300}}},
		{"TCP6 with ECN", vnetHeader{2, 0x84, 54, 0, 0x2c, 1}, want{sum: buffer.ChecksumVerified, seg: buffer.Segmentation{Type: buffer.SegmentTCP6, Size: 300}}},
		{"UDP", vnetHeader{2, 5, 54, 0, 0x2c, 1}, want{sum: buffer.ChecksumVerified, seg: buffer.Segmentation{Type: buffer.SegmentUDP, Size: 300}}},
		{"UDP in fragments", vnetHeader{2, 3, 54, 0, 0x2c, 1}, want{sum: buffer.ChecksumVerified}},
		{"an unknown type", vnetHeader{2, 77, 54, 0, 0x2c, 1}, want{sum: buffer.ChecksumVerified}},
		{"segments of no size", vnetHeader{2, 1}, want{sum: buffer.ChecksumVerified}},
	} {
		p := buffer.NewFrom(make([]byte, 100))
		c.h.decode(p)
		if got := (want{p.Checksum, p.ChecksumOffset, p.Segmentation}); got != c.want {
			t.Errorf("%s: %+v", c.name, got)
		}
		p.Release()
	}
}

func TestVnetHeaderOfSentPackets(t *testing.T) {
	seg := func(t buffer.SegmentationType, size uint16) func(*buffer.Packet) {
		return func(p *buffer.Packet) { p.Segmentation = buffer.Segmentation{Type: t, Size: size} }
	}
	for _, c := range []struct {
		name string
		f    segmentFields
		set  func(*buffer.Packet)
		want vnetHeader
	}{
		{"complete", segmentFields{}, nil, vnetHeader{}},
		{"complete, whatever the segmentation says", segmentFields{}, seg(buffer.SegmentTCP4, 10), vnetHeader{}},
		{"a checksum", segmentFields{mss: 1}, seg(buffer.SegmentNone, 0), vnetHeader{1, 0, 0, 0, 0, 0, 34, 0, 16, 0}},
		{"IP options", segmentFields{mss: 1, ipOptions: []byte{1, 1, 1, 1}}, seg(buffer.SegmentNone, 0), vnetHeader{1, 0, 0, 0, 0, 0, 38, 0, 16, 0}},
		{"TCP4", segmentFields{mss: 99}, nil, vnetHeader{1, 1, 54, 0, 99, 0, 34, 0, 16, 0}},
		{"TCP options", segmentFields{mss: 99, options: []byte{1, 1, 1, 1}}, nil, vnetHeader{1, 1, 58, 0, 99, 0, 34, 0, 16, 0}},
		{"one segment only", segmentFields{mss: 100}, nil, vnetHeader{1, 0, 0, 0, 0, 0, 34, 0, 16, 0}},
		{"TCP6", segmentFields{mss: 9, v6: true}, nil, vnetHeader{1, 4, 74, 0, 9, 0, 54, 0, 16, 0}},
		{"CWR", segmentFields{mss: 9, flags: header.TCPFlagCwr}, nil, vnetHeader{1, 0x81, 54, 0, 9, 0, 34, 0, 16, 0}},
		{"UDP", segmentFields{mss: 9}, func(p *buffer.Packet) {
			p.Segmentation.Type = buffer.SegmentUDP
			p.TransportHeader = p.TransportHeader[:8]
			p.ChecksumOffset = 6
		}, vnetHeader{1, 5, 42, 0, 9, 0, 34, 0, 6, 0}},
	} {
		p := buffer.NewFrom(make([]byte, 100))
		tcp4(p, c.f)
		if c.set != nil {
			c.set(p)
		}
		h := vnetHeader{9, 9, 9, 9, 9, 9, 9, 9, 9, 9}
		if h.encode(p); h != c.want {
			t.Errorf("%s: %v, want %v", c.name, h, c.want)
		}
		p.Release()
	}
}

// FuzzReceive: what a hostile host or a TAP device's other end may send, from the slot that it was
// received to, up to coalescing.
func FuzzReceive(f *testing.F) {
	whole := arrived(f, segmentFields{}, "data")
	f.Add(uint8(0), true, append(append(make([]byte, vnetSize), whole.LinkHeader...), bytesOf(whole)...))
	f.Add(uint8(2), false, []byte(bytesOf(whole)))
	f.Add(uint8(1), true, []byte{1, 1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add(uint8(1), true, append([]byte{1, 1, 0, 0, 1, 0, 0, 0, 0, 0}, make([]byte, 3000)...))
	f.Fuzz(func(t *testing.T, kind uint8, vnet bool, data []byte) {
		r := newReceiver(&Endpoint{kind: Kind(kind % 3), vnet: vnet}, nil)
		if len(data) > frameMax {
			return
		}
		var pkts []*buffer.Packet
		for i := range 2 {
			s := &r.slots[i]
			rest := data
			for _, v := range s.prepare(vnet) {
				n := copy(bytesAt(v), rest)
				rest = rest[n:]
			}
			if p := r.packet(s, len(data)); p != nil {
				pkts = append(pkts, p)
			}
		}
		for _, p := range r.gro.coalesce(pkts) {
			if p.Checksum == buffer.ChecksumPartial && int(p.ChecksumOffset)+2 > p.Len()+p.Consumed() {
				t.Error("the checksum is outside of the packet")
			}
			p.Release()
		}
		r.release()
	})
}
