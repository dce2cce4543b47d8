package fdbased

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/link/internal/frame"
)

// arrived is a segment as the receiver makes it: in one View, the link header consumed.
func arrived(t testing.TB, f segmentFields, data string) *buffer.Packet {
	p := buffer.NewFrom([]byte(data))
	tcp4(p, f)
	q := buffer.NewFrom([]byte(bytesOf(p)))
	q.Checksum, q.ChecksumOffset, q.Segmentation = p.Checksum, p.ChecksumOffset, p.Segmentation
	p.Release()
	if !frame.Open(q) {
		t.Fatal("frame")
	}
	return q
}

// payload returns the data of a packet that arrived made, or that coalesce did.
func payload(p *buffer.Packet) string {
	b := []byte(bytesOf(p))
	n := header.IPv4MinimumSize
	if p.EtherType == header.EtherTypeIPv6 {
		n = header.IPv6Size
	} else if int(b[0]&15)*4 > n {
		n = int(b[0]&15) * 4
	}
	return string(b[n+header.TCP(b[n:]).HeaderLength():])
}

type in struct {
	f    segmentFields
	data string
}

// stream are segments of one connection that follow each other.
func stream(f segmentFields, data ...string) (ins []in) {
	for _, d := range data {
		ins = append(ins, in{f, d})
		f.seq += uint32(len(d))
	}
	return ins
}

// with changes the i-th segment.
func with(ins []in, i int, f func(*in)) []in {
	f(&ins[i])
	return ins
}

func TestCoalesce(t *testing.T) {
	base := segmentFields{seq: 0xfffffffe, ack: 7, window: 500, options: []byte{1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8}, ipFlags: header.IPv4FlagDontFragment}
	v6 := base
	v6.v6 = true
	abc := func() []in { return stream(base, "aaa", "bbb", "ccc") }
	big := strings.Repeat("x", 9000)
	for _, c := range []struct {
		name string
		ins  []in
		want string // the data of what comes out
	}{
		{"three of one size", abc(), "aaabbbccc"},
		{"the same over IPv6", stream(v6, "aaa", "bbb", "ccc"), "aaabbbccc"},
		{"many", stream(base, "aa", "bb", "cc", "dd", "ee", "ff", "gg"), "aabbccddeeffgg"},
		{"many over IPv6", stream(v6, "aa", "bb", "cc", "dd", "ee", "ff", "gg"), "aabbccddeeffgg"},
		{"a shorter one ends it", stream(base, "aaa", "b", "ccc", "ddd"), "aaab cccddd"},
		{"a longer one does not belong", stream(base, "aa", "bbb", "ccc"), "aa bbbccc"},
		{"PSH ends it", with(abc(), 1, func(i *in) { i.f.flags = header.TCPFlagPsh }), "aaabbb ccc"},
		{"PSH of the first ends it", with(abc(), 0, func(i *in) { i.f.flags = header.TCPFlagPsh }), "aaa bbbccc"},
		{"FIN", with(abc(), 1, func(i *in) { i.f.flags = header.TCPFlagFin }), "aaa bbb ccc"},
		{"URG", with(abc(), 1, func(i *in) { i.f.flags = header.TCPFlagUrg }), "aaa bbb ccc"},
		{"CWR", with(abc(), 2, func(i *in) { i.f.flags = header.TCPFlagCwr }), "aaabbb ccc"},
		{"a hole", with(abc(), 1, func(i *in) { i.f.seq++ }), "aaa bbb ccc"},
		{"another acknowledgment", with(abc(), 1, func(i *in) { i.f.ack++ }), "aaa bbb ccc"},
		{"another window", with(abc(), 1, func(i *in) { i.f.window++ }), "aaa bbb ccc"},
		{"other options", with(abc(), 1, func(i *in) { i.f.options = append([]byte{}, 1, 1, 8, 10, 1, 2, 3, 5, 5, 6, 7, 8) }), "aaa bbb ccc"},
		{"no options", with(abc(), 1, func(i *in) { i.f.options = nil }), "aaa bbb ccc"},
		{"another TTL", with(abc(), 1, func(i *in) { i.f.ttl++ }), "aaa bbb ccc"},
		{"congestion experienced", with(abc(), 1, func(i *in) { i.f.tos = 3 }), "aaa bbb ccc"},
		{"may be fragmented", with(abc(), 1, func(i *in) { i.f.ipFlags = 0 }), "aaa bbb ccc"},
		{"other identifications do not matter", with(abc(), 1, func(i *in) { i.f.id++ }), "aaabbbccc"},
		{"another hop limit over IPv6", with(stream(v6, "aaa", "bbb", "ccc"), 1, func(i *in) { i.f.ttl++ }), "aaa bbb ccc"},
		{"another class over IPv6", with(stream(v6, "aaa", "bbb", "ccc"), 1, func(i *in) { i.f.tos++ }), "aaa bbb ccc"},
		{"damaged", with(abc(), 1, func(i *in) { i.f.damaged = true }), "aaa bbb ccc"},
		{"damaged first", with(abc(), 0, func(i *in) { i.f.damaged = true }), "aaa bbbccc"},
		{"damaged IP header", with(abc(), 1, func(i *in) { i.f.damagedIPHeader = true }), "aaa bbb ccc"},
		{"a fragment", with(abc(), 1, func(i *in) { i.f.fragment = 8 }), "aaa bbb ccc"},
		{"IP options are another thing", with(abc(), 1, func(i *in) { i.f.ipOptions = []byte{1, 1, 1, 1} }), "aaa bbb ccc"},
		{"an acknowledgment is not overtaken", with(abc(), 1, func(i *in) { i.data = ""; i.f.ack = 8 }), "aaa  ccc"},
		{"only an acknowledgment", stream(base, "", "aaa", "bbb"), " aaabbb"},
		{"put together by the host", with(abc(), 1, func(i *in) { i.f.mss = 2 }), "aaa bbb ccc"},
		{"longer than a packet", stream(base, big, big, big, big, big, big, big, big), strings.Repeat(big, 7) + " " + big},
		{"two connections", []in{
			{base, "aaa"}, {segmentFields{port: 1, seq: 1}, "111"}, {segmentFields{seq: 1, ack: 7, window: 500, options: base.options, ipFlags: base.ipFlags}, "bbb"}, {segmentFields{port: 1, seq: 4}, "222"},
		}, "aaabbb 111222"},
		{"same ports, other version", []in{{base, "aaa"}, {v6, "aaa"}}, "aaa aaa"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var pkts []*buffer.Packet
			for _, i := range c.ins {
				pkts = append(pkts, arrived(t, i.f, i.data))
			}
			var g gro
			out := g.coalesce(pkts)
			var got []string
			for _, p := range out {
				got = append(got, payload(p))
				if p.LinkSource != linkA || p.LinkDestination != linkB || len(p.LinkHeader) != header.EthernetSize {
					t.Errorf("link header of %q: %+v", payload(p), p)
				}
				p.Release()
			}
			if s := strings.Join(got, " "); s != c.want {
				if len(s) > 100 {
					s = fmt.Sprintf("%d bytes", len(s))
				}
				t.Errorf("got %q", s)
			}
			if g.views != nil && cap(g.views) > 8 {
				t.Errorf("room for %d views is kept", cap(g.views))
			}
		})
	}
}

// The result is a packet that stands on its own feet: all its lengths and checksums are right.
func TestCoalescedPacketIsWellFormed(t *testing.T) {
	for _, v6 := range []bool{false, true} {
		for _, n := range []int{2, groReference, groReference + 1, 20} {
			var data []string
			for i := range n {
				data = append(data, strings.Repeat(string(rune('a'+i)), 1000))
			}
			data[n-1] = "end"
			ins := stream(segmentFields{v6: v6, seq: 5, ack: 6, window: 7}, data...)
			ins[n-1].f.flags = header.TCPFlagPsh
			var pkts []*buffer.Packet
			for _, i := range ins {
				pkts = append(pkts, arrived(t, i.f, i.data))
			}
			var g gro
			out := g.coalesce(pkts)
			if len(out) != 1 {
				t.Fatalf("%d segments became %d", n, len(out))
			}
			p := out[0]
			want := buffer.Segmentation{Type: buffer.SegmentTCP4, Size: 1000}
			if v6 {
				want.Type = buffer.SegmentTCP6
			}
			if p.Segmentation != want || p.Checksum != buffer.ChecksumPartial || p.ChecksumOffset != 16 {
				t.Errorf("%+v", p)
			}
			b := []byte(bytesOf(p))
			var pseudo uint32
			tcp := header.TCP(b[header.IPv4MinimumSize:])
			if v6 {
				h := header.IPv6(b)
				tcp = header.TCP(b[header.IPv6Size:])
				pseudo = checksum.PseudoHeader(6, h.Source(), h.Destination(), uint32(len(tcp)))
				if !h.Valid(len(b)) || int(h.PayloadLength()) != len(tcp) || p.EtherType != header.EtherTypeIPv6 {
					t.Errorf("IPv6 header %x", b[:40])
				}
			} else {
				h := header.IPv4(b)
				pseudo = checksum.PseudoHeader(6, h.Source(), h.Destination(), uint32(len(tcp)))
				if !h.Valid(len(b)) || int(h.TotalLength()) != len(b) || !h.ChecksumOK() || p.EtherType != header.EtherTypeIPv4 {
					t.Errorf("IPv4 header %x", b[:20])
				}
			}
			if tcp.Checksum() != checksum.Fold(pseudo) {
				t.Errorf("checksum %#x, that of the pseudo header is %#x", tcp.Checksum(), checksum.Fold(pseudo))
			}
			if tcp.Sequence() != 5 || tcp.Acknowledgment() != 6 || tcp.Window() != 7 || tcp.Flags() != header.TCPFlagAck|header.TCPFlagPsh {
				t.Errorf("TCP header %x", []byte(tcp[:20]))
			}
			if string(tcp.Payload()) != strings.Join(data, "") {
				t.Error("data")
			}
			p.Release()
		}
	}
}

// A device without Ethernet headers.
func TestCoalesceWithoutLinkHeaders(t *testing.T) {
	for _, n := range []int{2, 10} {
		var pkts []*buffer.Packet
		want := ""
		for i := range n {
			d := fmt.Sprintf("data %d", i%10)
			want += d
			p := arrived(t, segmentFields{seq: uint32(6 * i)}, d)
			q := buffer.NewFrom([]byte(bytesOf(p)))
			p.Release()
			if !frame.OpenIP(q) {
				t.Fatal("not IP")
			}
			pkts = append(pkts, q)
		}
		var g gro
		out := g.coalesce(pkts)
		if len(out) != 1 || payload(out[0]) != want || out[0].HasLink || out[0].LinkHeader != nil || out[0].EtherType != header.EtherTypeIPv4 {
			t.Fatalf("%d packets, %+v", len(out), out[0])
		}
		out[0].Release()
	}
}

// With more connections than gro keeps at once nothing is lost or reordered.
func TestCoalesceOfManyConnections(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 0))
		sent, got := map[uint16]string{}, map[uint16]string{}
		var seqs [groFlows * 2]uint32
		var pkts []*buffer.Packet
		for range receiveBatch {
			port := uint16(r.IntN(len(seqs)))
			d := strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(2))
			sent[port] += d
			pkts = append(pkts, arrived(t, segmentFields{port: port, seq: seqs[port]}, d))
			seqs[port] += uint32(len(d))
		}
		var g gro
		for _, p := range g.coalesce(pkts) {
			b := []byte(bytesOf(p))
			got[header.TCP(b[20:]).SourcePort()-1000] += payload(p)
			p.Release()
		}
		if fmt.Sprint(sent) != fmt.Sprint(got) {
			t.Fatalf("seed %d: sent %v, got %v", seed, sent, got)
		}
	}
}

func TestCoalesceLeavesOthersAlone(t *testing.T) {
	udp := arrived(t, segmentFields{}, "x")
	b, _ := udp.Peek(20)
	b[9] = header.ProtocolUDP
	udp6 := arrived(t, segmentFields{v6: true}, "x")
	b, _ = udp6.Peek(40)
	b[6] = header.ProtocolUDP
	short := arrived(t, segmentFields{}, "")
	short.Truncate(30)
	short6 := arrived(t, segmentFields{v6: true}, "")
	short6.Truncate(39)
	badLength := arrived(t, segmentFields{}, "")
	b, _ = badLength.Peek(40)
	b[32] = 0x40
	longHeader := arrived(t, segmentFields{}, "")
	b, _ = longHeader.Peek(40)
	b[32] = 0xf0
	padded := arrived(t, segmentFields{seq: 1}, "abc")
	padded.Append([]byte{0, 0})
	padded6 := arrived(t, segmentFields{v6: true, seq: 1}, "abc")
	padded6.Append([]byte{0, 0})
	arp := buffer.NewFrom(make([]byte, 28))
	arp.EtherType = header.EtherTypeARP
	short4 := buffer.NewFrom([]byte{0x45})
	short4.EtherType = header.EtherTypeIPv4
	pkts := []*buffer.Packet{udp, udp6, short, short6, badLength, longHeader, padded, padded6, arp, short4}
	want := make([]string, len(pkts))
	for i, p := range pkts {
		want[i] = hex.EncodeToString([]byte(bytesOf(p)))
	}
	var g gro
	out := g.coalesce(pkts)
	if len(out) != len(want) {
		t.Fatalf("%d packets became %d", len(want), len(out))
	}
	for i, p := range out {
		if hex.EncodeToString([]byte(bytesOf(p))) != want[i] || p.Segmentation.Type != buffer.SegmentNone {
			t.Errorf("packet %d was changed", i)
		}
		p.Release()
	}
}

// FuzzCoalesce: whatever comes, the sum of the data and all that is not TCP is kept.
func FuzzCoalesce(f *testing.F) {
	one := arrived(f, segmentFields{seq: 1}, "abc")
	two := arrived(f, segmentFields{seq: 4}, "def")
	f.Add([]byte(bytesOf(one)), []byte(bytesOf(two)), true)
	f.Add([]byte(bytesOf(two)), []byte(bytesOf(one)), true)
	six := arrived(f, segmentFields{seq: 1, v6: true}, "abc")
	f.Add([]byte(bytesOf(six)), []byte(bytesOf(six)), false)
	f.Add([]byte{0x45}, []byte{}, false)
	f.Fuzz(func(t *testing.T, a, b []byte, verified bool) {
		// Peek joins the headers if a packet is in pieces, so cut one up.
		p, q := buffer.NewFrom(a), buffer.New()
		q.Append(b[:len(b)/2])
		q.Append(b[len(b)/2:])
		pkts := []*buffer.Packet{p, q}
		for _, p := range pkts {
			frame.OpenIP(p)
			if verified {
				p.Checksum = buffer.ChecksumVerified
			}
		}
		var g gro
		out := g.coalesce(pkts)
		switch len(out) {
		case 2:
			if !bytes.Equal([]byte(bytesOf(out[0])), a) || !bytes.Equal([]byte(bytesOf(out[1])), b) {
				t.Error("packets that were not put together were changed")
			}
		case 1:
			n := 20
			if a[0]>>4 == 6 {
				n = 40
			}
			n += int(a[n+12]>>4) * 4
			if got := bytesOf(out[0]); got[n:] != string(a[n:])+string(b[n:]) {
				t.Error("data were changed")
			}
		default:
			t.Errorf("%d packets", len(out))
		}
		for _, p := range out {
			p.Release()
		}
	})
}

func BenchmarkCoalesce(b *testing.B) {
	for _, known := range []bool{false, true} {
		b.Run(fmt.Sprintf("verified=%v", known), func(b *testing.B) {
			data := strings.Repeat("x", 1448)
			frames := make([][]byte, receiveBatch)
			for i := range frames {
				p := arrived(b, segmentFields{seq: uint32(1448 * i)}, data)
				frames[i] = []byte(bytesOf(p))
				p.Release()
			}
			var g gro
			pkts := make([]*buffer.Packet, receiveBatch)
			b.SetBytes(int64(receiveBatch * 1448))
			b.ReportAllocs()
			for b.Loop() {
				for i := range pkts {
					pkts[i] = buffer.NewFrom(frames[i])
					pkts[i].EtherType = header.EtherTypeIPv4
					if known {
						pkts[i].Checksum = buffer.ChecksumVerified
					}
				}
				for _, p := range g.coalesce(pkts) {
					p.Release()
				}
			}
		})
	}
}
