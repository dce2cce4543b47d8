package sniffer

import (
	"bytes"
	"encoding/binary"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"runsc/pkg/log"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/link/loopback"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/tcpip/stack"
)

var (
	a4, b4 = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	a6, b6 = netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2")
)

// ip4 and ip6 are packets with that payload.
func ip4(protocol uint8, payload []byte, set ...func(*header.IPv4Fields)) []byte {
	f := header.IPv4Fields{TTL: 64, Protocol: protocol, Source: a4, Destination: b4}
	for _, s := range set {
		s(&f)
	}
	f.TotalLength = uint16(f.HeaderLength() + len(payload))
	b := make([]byte, f.HeaderLength(), int(f.TotalLength))
	header.IPv4(b).Encode(f)
	return append(b, payload...)
}

func ip6(next uint8, payload []byte) []byte {
	b := make([]byte, header.IPv6Size, header.IPv6Size+len(payload))
	header.IPv6(b).Encode(header.IPv6Fields{PayloadLength: uint16(len(payload)), NextHeader: next, HopLimit: 64, Source: a6, Destination: b6})
	return append(b, payload...)
}

func tcp(flags header.TCPFlags, options, data string) []byte {
	n := header.TCPMinimumSize + len(options)
	b := make([]byte, n)
	header.TCP(b).Encode(header.TCPFields{SourcePort: 1000, DestinationPort: 80, Sequence: 4000000000, Acknowledgment: 7, HeaderLength: n, Flags: flags, Window: 500, UrgentPointer: 3})
	copy(b[header.TCPMinimumSize:], options)
	return append(b, data...)
}

func udp(data string) []byte {
	b := make([]byte, header.UDPSize)
	header.UDP(b).Encode(header.UDPFields{SourcePort: 53, DestinationPort: 9, Length: uint16(8 + len(data))})
	return append(b, data...)
}

func fragment(next uint8, offset uint16, more bool, payload []byte) []byte {
	b := make([]byte, header.IPv6FragmentSize)
	header.IPv6Fragment(b).Encode(header.IPv6FragmentFields{NextHeader: next, Offset: offset, MoreFragments: more, ID: 3000000000})
	return append(b, payload...)
}

func arp(op uint16) []byte {
	b := make([]byte, header.ARPSize)
	header.ARP(b).Encode(header.ARPFields{Operation: op, SenderLink: tcpip.LinkAddress{2, 0, 0, 0, 0, 1}, SenderIP: a4, TargetIP: b4})
	return b
}

func TestText(t *testing.T) {
	S, A, U := header.TCPFlagSyn, header.TCPFlagAck, header.TCPFlagUrg
	frag := func(offset uint16, flags uint8) func(*header.IPv4Fields) {
		return func(f *header.IPv4Fields) { f.ID, f.Flags, f.FragmentOffset = 99, flags, offset }
	}
	options := make([]byte, 16)
	options[0], options[1] = header.ProtocolTCP, 1
	for _, c := range []struct {
		etherType uint16
		data      []byte
		want      string
	}{
		{0x0800, ip4(6, tcp(S, "\x02\x04\x05\xb4", "")), "IP 10.0.0.1.1000 > 10.0.0.2.80: TCP S seq 4000000000 win 500, length 0"},
		{0x0800, ip4(6, tcp(A, "", "data")), "IP 10.0.0.1.1000 > 10.0.0.2.80: TCP A seq 4000000000 ack 7 win 500, length 4"},
		{0x0800, append(ip4(6, tcp(A, "", "data")), 0, 0, 0), "IP 10.0.0.1.1000 > 10.0.0.2.80: TCP A seq 4000000000 ack 7 win 500, length 4"},
		{0x0800, ip4(6, tcp(U, "", "u"), func(f *header.IPv4Fields) { f.Options = []byte{1, 1, 1} }), "IP 10.0.0.1.1000 > 10.0.0.2.80: TCP U seq 4000000000 win 500 urg 3, length 1"},
		{0x86dd, ip6(6, tcp(A, "", strings.Repeat("x", 9000))), "IP6 fe80::1.1000 > fe80::2.80: TCP A seq 4000000000 ack 7 win 500, length 9000"},
		{0x86dd, ip6(0, append(options, tcp(S, "", "")...)), "IP6 fe80::1.1000 > fe80::2.80: TCP S seq 4000000000 win 500, length 0"},
		{0x0800, ip4(17, udp("hello")), "IP 10.0.0.1.53 > 10.0.0.2.9: UDP, length 5"},
		{0x86dd, ip6(17, udp("")), "IP6 fe80::1.53 > fe80::2.9: UDP, length 0"},
		{0x0800, ip4(1, []byte{8, 0, 0, 0, 0, 5, 0, 6, 1}), "IP 10.0.0.1 > 10.0.0.2: ICMP echo request id 5 seq 6, length 9"},
		{0x0800, ip4(1, []byte{0, 0, 0, 0, 0, 5, 0, 6}), "IP 10.0.0.1 > 10.0.0.2: ICMP echo reply id 5 seq 6, length 8"},
		{0x0800, ip4(1, []byte{3, 1, 0, 0, 0, 5, 0, 6}), "IP 10.0.0.1 > 10.0.0.2: ICMP type 3 code 1, length 8"},
		{0x86dd, ip6(58, []byte{128, 0, 0, 0, 0, 5, 0, 6}), "IP6 fe80::1 > fe80::2: ICMP6 echo request id 5 seq 6, length 8"},
		{0x86dd, ip6(58, []byte{129, 0, 0, 0, 0, 5, 0, 6}), "IP6 fe80::1 > fe80::2: ICMP6 echo reply id 5 seq 6, length 8"},
		{0x86dd, ip6(58, []byte{135, 0, 0, 0, 0, 5, 0, 6}), "IP6 fe80::1 > fe80::2: ICMP6 type 135 code 0, length 8"},
		{0x0800, ip4(17, udp("hello"), frag(0, header.IPv4FlagMoreFragments)), "IP 10.0.0.1.53 > 10.0.0.2.9: UDP, length 5 (fragment 99 at 0+)"},
		{0x0800, ip4(17, udp("hello"), frag(1480, 0)), "IP 10.0.0.1 > 10.0.0.2: protocol 17, length 13 (fragment 99 at 1480)"},
		{0x86dd, ip6(44, fragment(17, 0, true, udp("hello"))), "IP6 fe80::1.53 > fe80::2.9: UDP, length 5 (fragment 3000000000 at 0+)"},
		{0x86dd, ip6(44, fragment(17, 1480, false, udp("hello"))), "IP6 fe80::1 > fe80::2: protocol 17, length 13 (fragment 3000000000 at 1480)"},
		{0x0800, ip4(50, []byte("secret")), "IP 10.0.0.1 > 10.0.0.2: protocol 50, length 6"},
		{0x0800, ip4(6, []byte("short")), "IP 10.0.0.1 > 10.0.0.2: protocol 6, length 5"},
		// The padding is not the header.
		{0x0800, append(ip4(6, tcp(A, "", "")[:10]), tcp(A, "", "")...), "IP 10.0.0.1 > 10.0.0.2: protocol 6, length 10"},
		{0x86dd, append(ip6(6, tcp(A, "", "")[:10]), tcp(A, "", "")...), "IP6 fe80::1 > fe80::2: protocol 6, length 10"},
		{0x0800, []byte("nonsense"), "malformed IP, length 8"},
		{0x86dd, ip6(6, tcp(A, "", ""))[:50], "malformed IP6, length 50"},
		{0x0806, arp(1), "ARP request who-has 10.0.0.2 tell 10.0.0.1"},
		{0x0806, arp(2), "ARP reply 10.0.0.1 is-at 02:00:00:00:00:01"},
		{0x0806, arp(3), "ARP operation 3"},
		{0x0806, arp(1)[:20], "malformed ARP, length 20"},
		{0x88cc, []byte("hello"), "type 0x88cc, length 5"},
	} {
		p := buffer.New()
		p.EtherType = c.etherType
		b := c.data[:min(len(c.data), headSize)]
		if got := string(describe(nil, p, b, len(c.data))); got != c.want {
			t.Errorf("got  %s\nwant %s", got, c.want)
		}
		p.Segmentation = buffer.Segmentation{Type: buffer.SegmentTCP4, Size: 1448}
		if got := string(describe(nil, p, b, len(c.data))); got != c.want+" (segments of 1448)" {
			t.Errorf("got  %s", got)
		}
		p.Release()
	}
}

func FuzzText(f *testing.F) {
	f.Add(uint16(0x0800), ip4(6, tcp(2, "", "x")), uint16(0))
	f.Add(uint16(0x86dd), ip6(44, fragment(17, 0, true, udp("hello"))), uint16(1000))
	f.Add(uint16(0x86dd), ip6(58, []byte{135, 0, 0, 0, 0, 5, 0, 6}), uint16(0))
	f.Add(uint16(0x0806), arp(1), uint16(0))
	f.Fuzz(func(t *testing.T, etherType uint16, b []byte, more uint16) {
		p := buffer.New()
		p.EtherType = etherType
		if s := describe(nil, p, b[:min(len(b), headSize)], len(b)+int(more)); bytes.ContainsAny(s, "\n\x00") || bytes.Contains(s, []byte("length -")) {
			t.Errorf("%q", s)
		}
		p.Release()
	})
}

type discard struct{}

func (discard) DeliverPackets(pkts []*buffer.Packet) {
	for _, p := range pkts {
		p.Release()
	}
}

// frame is a packet as the NIC writes it.
func frame(src, dst tcpip.LinkAddress, data []byte) *buffer.Packet {
	p := buffer.NewFrom(data[30:])
	p.NetworkHeader = p.Push(30) // in pieces
	copy(p.NetworkHeader, data)
	p.LinkHeader = p.Push(header.EthernetSize)
	header.Ethernet(p.LinkHeader).Encode(header.EthernetFields{Source: src, Destination: dst, Type: header.EtherTypeIPv4})
	p.EtherType = header.EtherTypeIPv4
	return p
}

// record is what is read back from a file.
type record struct {
	at   time.Time
	data string
	size uint32
}

func read(t *testing.T, name string) (linkType, snap uint32, rs []record) {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	if len(b) < 24 || le.Uint32(b) != 0xa1b23c4d || le.Uint16(b[4:]) != 2 || le.Uint16(b[6:]) != 4 || le.Uint64(b[8:]) != 0 {
		t.Fatalf("header %x", b[:min(24, len(b))])
	}
	snap, linkType = le.Uint32(b[16:]), le.Uint32(b[20:])
	for b = b[24:]; len(b) > 0; {
		n := le.Uint32(b[8:])
		rs = append(rs, record{time.Unix(int64(le.Uint32(b)), int64(le.Uint32(b[4:]))), string(b[16 : 16+n]), le.Uint32(b[12:])})
		b = b[16+n:]
	}
	return linkType, snap, rs
}

func create(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "capture"))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestBothDirectionsOfAnEthernetLink(t *testing.T) {
	clock := faketime.New()
	l, r := pipe.New(pipe.Options{Clock: clock, Ethernet: true})
	var lines []string
	file := create(t)
	e, err := New(l, Options{Clock: clock, Name: "eth0", Text: func(s string) { lines = append(lines, s) }, PCAP: file})
	if err != nil {
		t.Fatal(err)
	}
	if e.LinkEndpoint != stack.LinkEndpoint(l) || e.MTU() != l.MTU() {
		t.Error("it is not the link below")
	}
	e.Attach(discard{})
	r.Attach(discard{})
	one, two := ip4(17, udp("one")), ip4(17, udp("to the other side"))
	f1, f2 := frame(l.LinkAddress(), r.LinkAddress(), one), frame(r.LinkAddress(), l.LinkAddress(), two)
	var want [2]string
	for i, p := range []*buffer.Packet{f1, f2} {
		b := make([]byte, p.Len())
		p.CopyTo(b, 0)
		want[i] = string(b)
	}
	start := clock.Now()
	clock.Advance(1234567 * time.Nanosecond)
	e.WritePackets([]*buffer.Packet{f1})
	r.WritePackets([]*buffer.Packet{f2})
	clock.Advance(time.Second)
	e.Attach(nil)
	r.WritePackets([]*buffer.Packet{frame(r.LinkAddress(), l.LinkAddress(), two)})
	clock.Advance(time.Second)
	e.Flush() // the link below needs none
	e.Close()
	r.Close()
	if !slices.Equal(lines, []string{
		"eth0 out IP 10.0.0.1.53 > 10.0.0.2.9: UDP, length 3",
		"eth0 in IP 10.0.0.1.53 > 10.0.0.2.9: UDP, length 17",
	}) {
		t.Errorf("lines %q", lines)
	}
	linkType, snap, rs := read(t, file.Name())
	at := start.Add(1234567)
	if linkType != 1 || snap != 262144 || len(rs) != 2 || rs[0].data != want[0] || rs[1].data != want[1] || !rs[0].at.Equal(at) || !rs[1].at.Equal(at) {
		t.Errorf("link type %d, snap %d, %+v", linkType, snap, rs)
	}
	if _, err := file.Stat(); err == nil {
		t.Error("the file is still open")
	}
	e.Close()
}

func TestLoopbackIsFlushed(t *testing.T) {
	file := create(t)
	n := 0
	e, err := New(loopback.New(), Options{Name: "lo", PCAP: file, Text: func(string) { n++ }})
	if err != nil {
		t.Fatal(err)
	}
	e.Attach(discard{})
	p := buffer.NewFrom(ip4(17, udp("x")))
	p.Deferred = true
	e.WritePackets([]*buffer.Packet{p})
	if n != 1 {
		t.Errorf("%d lines before Flush", n)
	}
	e.Flush()
	if n != 2 {
		t.Errorf("%d lines after Flush", n)
	}
	e.Close()
	if linkType, _, rs := read(t, file.Name()); linkType != 101 || len(rs) != 2 || rs[0].data != string(ip4(17, udp("x"))) {
		t.Errorf("link type %d, %+v", linkType, rs)
	}
}

func TestBounds(t *testing.T) {
	file := create(t)
	e, err := New(loopback.New(), Options{PCAP: file, Snap: 50, MaxBytes: 24 + 3*(16+50) + 65})
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		var pkts []*buffer.Packet
		for range 2 {
			p := buffer.NewFrom(bytes.Repeat([]byte("x"), 40))
			p.Append(bytes.Repeat([]byte("y"), 40))
			pkts = append(pkts, p)
		}
		e.WritePackets(pkts)
	}
	if e.pcap != nil {
		t.Error("the capture goes on")
	}
	e.Close()
	_, snap, rs := read(t, file.Name())
	if snap != 50 || len(rs) != 3 || rs[2].size != 80 || rs[2].data != strings.Repeat("x", 40)+strings.Repeat("y", 10) {
		t.Errorf("snap %d, %+v", snap, rs)
	}
}

func TestFilesThatCannotBeWritten(t *testing.T) {
	f := create(t)
	f.Close()
	if _, err := New(loopback.New(), Options{PCAP: f}); err == nil {
		t.Error("New with a closed file")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	log.SetTarget(log.NewSink(&said, log.Text, log.Warning))
	log.SetLevel(log.Warning)
	defer log.SetTarget()
	e, err := New(loopback.New(), Options{Name: "lo", PCAP: w})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(io.LimitReader(r, 24)); err != nil || len(b) != 24 {
		t.Errorf("%x, %v", b, err)
	}
	r.Close()
	for range 2 {
		e.WritePackets([]*buffer.Packet{buffer.New()})
	}
	if e.pcap != nil || strings.Count(said.String(), "packet capture of lo") != 1 {
		t.Errorf("said %q", said.String())
	}
	e.Close()
}

func TestToLog(t *testing.T) {
	var said bytes.Buffer
	log.SetTarget(log.NewSink(&said, log.Text, log.Info))
	log.SetLevel(log.Info)
	defer log.SetTarget()
	ToLog("100% of it")
	if !strings.Contains(said.String(), "100% of it\n") {
		t.Errorf("said %q", said.String())
	}
}

func BenchmarkText(b *testing.B) {
	p := buffer.NewFrom(ip4(6, tcp(header.TCPFlagAck, "", strings.Repeat("x", 1000))))
	p.EtherType = header.EtherTypeIPv4
	e, _ := New(loopback.New(), Options{Text: func(string) {}})
	pkts := []*buffer.Packet{p}
	b.ReportAllocs()
	for b.Loop() {
		e.look(pkts, "in")
	}
}

func BenchmarkPCAP(b *testing.B) {
	p := buffer.NewFrom(ip4(6, tcp(header.TCPFlagAck, "", strings.Repeat("x", 1000))))
	f, err := os.OpenFile("/dev/null", os.O_WRONLY, 0)
	if err != nil {
		b.Fatal(err)
	}
	e, _ := New(loopback.New(), Options{PCAP: f})
	pkts := []*buffer.Packet{p}
	b.ReportAllocs()
	for b.Loop() {
		e.look(pkts, "in")
	}
}
