package tcp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/checksum"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/internal/faketime"
	"runsc/pkg/tcpip/network/ipv4"
	"runsc/pkg/tcpip/network/ipv6"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/waiter"
)

// This file runs scripts of segments and system calls against an endpoint, with a clock that only
// the script moves. The form of segments is packetdrill's:
//
//	< S 0 win 1000 <mss 1000>   a segment from the peer comes in
//	> SA 0 ack 1 <mss 1460>     a segment goes out: it must be the next one, and like that
//
// Flags are letters of FSRPAUEC; then seq or from:to of the payload, relative to the sender's initial
// sequence number; "ack", "win" (the field), "urg", "tos" and options are looked at only if they are
// there, except that a list of options must have all that there are of SACK blocks, and "noTS" says
// that there is no timestamp. A segment of the peer has the last window that was given, and on a
// connection with timestamps a timestamp with the right echo, unless it says otherwise: "TS val ecr",
// with val relative to the time in ms and ecr to that of the last segment out.
//
// Everything that goes out has to be expected: before any other line nothing may be left.
// Lines that are not segments are commands: harness_commands_test.go.

const (
	peerISS  = 0xfffffe00 // wraps soon
	peerPort = 40000
	ourPort  = 80
)

// wire is a link that keeps what is written to it.
type wire struct {
	dispatcher stack.LinkDispatcher
	mtu        uint32
	out        [][]byte
}

func (w *wire) MTU() uint32                      { return w.mtu }
func (w *wire) SetMTU(mtu uint32)                { w.mtu = mtu }
func (w *wire) LinkAddress() tcpip.LinkAddress   { return tcpip.LinkAddress{} }
func (w *wire) SetLinkAddress(tcpip.LinkAddress) {}
func (w *wire) Capabilities() stack.Capabilities { return 0 }
func (w *wire) MaxSegmentation() uint32          { return 0 }
func (w *wire) HardwareType() uint16             { return 0xfffe }
func (w *wire) Attach(d stack.LinkDispatcher)    { w.dispatcher = d }
func (w *wire) Close()                           {}
func (w *wire) WritePackets(p []*buffer.Packet) error {
	for _, pkt := range p {
		b := make([]byte, pkt.Len())
		pkt.CopyTo(b, 0)
		w.out = append(w.out, b)
		pkt.Release()
	}
	return nil
}

type harness struct {
	t     *testing.T
	line  string
	clock *faketime.Clock
	stack *stack.Stack
	wire  *wire

	ours, peer netip.Addr
	listener   *Endpoint
	e          *Endpoint
	keep       []*Endpoint // closed ones whose segments still count

	peerPort, ourPort uint16
	iss               uint32 // ours
	haveISS           bool
	window            uint16
	ts                bool
	tsVal             uint32 // last of ours
	written, read     int    // bytes of the pattern
	filled            int
	events            waiter.EventMask
	savedISS          uint32
	savedPort, others uint16
}

// NotifyEvent implements waiter.Listener.
func (h *harness) NotifyEvent(m waiter.EventMask) { h.events |= m }

func newHarness(t *testing.T, v6 bool, mtu uint32) *harness {
	h := &harness{t: t, clock: faketime.New(), wire: &wire{mtu: mtu}, window: 65535, peerPort: peerPort, ourPort: ourPort}
	h.clock.Advance(time.Hour)
	h.stack = stack.New(stack.Config{
		Clock:      h.clock,
		Networks:   []func(*stack.Stack) stack.NetworkProtocol{ipv4.New, ipv6.New},
		Transports: []func(*stack.Stack) stack.TransportProtocol{New},
		Seed:       []byte("tcp"),
	})
	t.Cleanup(h.stack.Close)
	nic, err := h.stack.CreateNIC(1, "eth0", h.wire)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"10.0.0.1/24", "fd00::1/64"} {
		if err := nic.AddAddress(stack.Address{Prefix: netip.MustParsePrefix(p), NoDAD: true}); err != nil {
			t.Fatal(err)
		}
	}
	nic.SetUp(true)
	h.ours, h.peer = netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	if v6 {
		h.ours, h.peer = netip.MustParseAddr("fd00::1"), netip.MustParseAddr("fd00::2")
		for mtu < 1280 {
			t.Fatal("IPv6 has no such MTU")
		}
	}
	// Other defaults than Linux's would only make scripts longer.
	h.stack.Settings().TCPReceive[1].Store(131072)
	h.drop()
	return h
}

// drop forgets what went out that is not TCP (router solicitations, reports of groups).
func (h *harness) drop() {
	keep := h.wire.out[:0]
	for _, b := range h.wire.out {
		if _, ok := h.parse(b); ok {
			keep = append(keep, b)
		}
	}
	h.wire.out = keep
}

func (h *harness) fatalf(format string, args ...any) {
	h.t.Helper()
	h.t.Fatalf("%s: "+format, append([]any{h.line}, args...)...)
}

// outSegment is a segment that went out.
type outSegment struct {
	tcp  header.TCP
	opts header.TCPOptions
	data []byte
	tos  uint8
}

func (h *harness) parse(b []byte) (s outSegment, ok bool) {
	var src, dst netip.Addr
	if b[0]>>4 == 4 {
		ip := header.IPv4(b)
		if ip.Protocol() != header.ProtocolTCP {
			return s, false
		}
		src, dst, s.tos = ip.Source(), ip.Destination(), ip.TOS()
		b = b[ip.HeaderLength():]
	} else {
		ip := header.IPv6(b)
		if ip.NextHeader() != header.ProtocolTCP {
			return s, false
		}
		src, dst, s.tos = ip.Source(), ip.Destination(), ip.TrafficClass()
		b = b[header.IPv6Size:]
	}
	s.tcp = header.TCP(b)
	if !s.tcp.Valid() {
		h.fatalf("a malformed segment went out: %x", b)
	}
	if !s.tcp.ChecksumOK(checksum.PseudoHeader(header.ProtocolTCP, src, dst, uint32(len(b)))) {
		h.fatalf("a segment with a wrong checksum went out: %x", b)
	}
	s.tcp.ParseOptions(&s.opts)
	s.data = b[s.tcp.HeaderLength():]
	return s, true
}

func (h *harness) describe(b []byte) string {
	s, ok := h.parse(b)
	if !ok {
		return "not TCP"
	}
	str := fmt.Sprintf("%v %d", s.tcp.Flags(), int32(s.tcp.Sequence()-h.iss))
	if len(s.data) > 0 {
		str += fmt.Sprintf(":%d", int(int32(s.tcp.Sequence()-h.iss))+len(s.data))
	}
	str += fmt.Sprintf(" ack %d win %d", int32(s.tcp.Acknowledgment()-peerISS), s.tcp.Window())
	for _, b := range s.opts.SACK() {
		str += fmt.Sprintf(" sack %d:%d", int32(b.Start-peerISS), int32(b.End-peerISS))
	}
	return str
}

// next takes the next segment that went out.
func (h *harness) next() outSegment {
	h.drop()
	if len(h.wire.out) == 0 {
		h.fatalf("nothing went out")
	}
	s, _ := h.parse(h.wire.out[0])
	h.wire.out = h.wire.out[1:]
	return s
}

// none checks that nothing went out that was not expected.
func (h *harness) none() {
	h.drop()
	if len(h.wire.out) > 0 {
		var all []string
		for _, b := range h.wire.out {
			all = append(all, h.describe(b))
		}
		h.fatalf("went out unexpectedly: %s", strings.Join(all, "; "))
	}
}

func parseFlags(s string) header.TCPFlags {
	var f header.TCPFlags
	for _, c := range s {
		i := strings.IndexRune("FSRPAUEC", c)
		if i < 0 {
			return 0
		}
		f |= 1 << i
	}
	return f
}

// words cuts a line up, with the options between < and > as the last word.
func words(line string) (w []string, options string, hasOptions bool) {
	if i := strings.Index(line[1:], "<"); i >= 0 {
		options, hasOptions = strings.Trim(line[i+1:], "<> "), true
		line = line[:i+1]
	}
	return strings.Fields(line), options, hasOptions
}

func (h *harness) number(s string) int {
	if rest, ok := strings.CutPrefix(s, "$"); ok { // where the window that was filled ends
		if rest == "" {
			return h.filled
		}
		return h.filled + h.number(rest)
	}
	n, err := strconv.Atoi(s)
	if err != nil {
		h.fatalf("not a number: %q", s)
	}
	return n
}

func (h *harness) span(s string) (from, to int) {
	a, b, ok := strings.Cut(s, ":")
	from = h.number(a)
	to = from
	if ok {
		to = h.number(b)
	}
	return from, to
}

// expect is a line with >.
func (h *harness) expect(line string) {
	w, options, hasOptions := words(line)
	got := h.next()
	flags := parseFlags(w[1])
	if got.tcp.Flags()&flagSyn != 0 && !h.haveISS {
		h.iss, h.haveISS = got.tcp.Sequence(), true
		h.ourPort, h.peerPort = got.tcp.SourcePort(), got.tcp.DestinationPort()
	}
	from, to := h.span(w[2])
	gotFrom := int(int32(got.tcp.Sequence() - h.iss))
	if flags&flagRst != 0 && !h.haveISS || flags == flagRst|flagAck && from == 0 {
		gotFrom = int(int32(got.tcp.Sequence())) // as RFC 9293 section 3.10.7.1 has it
	}
	if got.tcp.Flags() != flags || gotFrom != from || len(got.data) != to-from {
		h.fatalf("%v %d:%d went out (ack %d)", got.tcp.Flags(), gotFrom, gotFrom+len(got.data), int32(got.tcp.Acknowledgment()-peerISS))
	}
	for i, b := range got.data {
		if want := pattern(from - 1 + i); b != want {
			h.fatalf("byte %d of the stream is %#x, not %#x", from+i, b, want)
		}
	}
	for i := 3; i+1 < len(w); i += 2 {
		want := h.number(w[i+1])
		var is int
		switch w[i] {
		case "ack":
			is = int(int32(got.tcp.Acknowledgment() - peerISS))
		case "win":
			is = int(got.tcp.Window())
		case "urg":
			is = int(got.tcp.UrgentPointer())
		case "tos":
			is = int(got.tos)
		default:
			h.fatalf("unknown %q", w[i])
		}
		if is != want {
			h.fatalf("%s is %d (%v %d:%d)", w[i], is, got.tcp.Flags(), gotFrom, gotFrom+len(got.data))
		}
	}
	if got.opts.HasTimestamp {
		h.tsVal = got.opts.TSVal
	}
	if !hasOptions {
		return
	}
	o := &got.opts
	var sack []header.SACKBlock
	for _, opt := range strings.Split(options, ",") {
		f := strings.Fields(opt)
		if len(f) == 0 {
			continue
		}
		ok := false
		switch f[0] {
		case "mss":
			ok = int(o.MSS) == h.number(f[1])
		case "ws":
			ok = o.HasWindowScale && int(o.WindowScale) == h.number(f[1])
		case "noWS":
			ok = !o.HasWindowScale
		case "sackOK":
			ok = o.SACKPermitted
		case "noSACK":
			ok = !o.SACKPermitted
		case "TS":
			ok = o.HasTimestamp
			if len(f) > 1 {
				ok = ok && o.TSEcr == uint32(h.number(f[1]))
			}
		case "noTS":
			ok = !o.HasTimestamp
		case "sack":
			for _, b := range f[1:] {
				from, to := h.span(b)
				sack = append(sack, header.SACKBlock{Start: peerISS + uint32(from), End: peerISS + uint32(to)})
			}
			ok = true
		default:
			h.fatalf("unknown option %q", opt)
		}
		if !ok {
			h.fatalf("option %s is not as said: %+v", opt, *o)
		}
	}
	if fmt.Sprint(sack) != fmt.Sprint(o.SACK()) && !(len(sack) == 0 && o.SACKCount == 0) {
		str := ""
		for _, b := range o.SACK() {
			str += fmt.Sprintf(" %d:%d", int32(b.Start-peerISS), int32(b.End-peerISS))
		}
		h.fatalf("SACK blocks are%s", str)
	}
}

func (h *harness) nowTS() uint32 { return uint32(h.clock.Monotonic()/time.Millisecond) + 1000 }

// inject is a line with <.
func (h *harness) inject(line string) {
	w, options, _ := words(line)
	f := header.TCPFields{
		SourcePort: h.peerPort, DestinationPort: h.ourPort, Flags: parseFlags(w[1]), Window: h.window,
	}
	from, to := h.span(w[2])
	f.Sequence = peerISS + uint32(from)
	tos, noTS, port := uint8(0), false, uint16(0)
	for i := 3; i < len(w); i += 2 {
		switch w[i] {
		case "ack":
			f.Acknowledgment = h.iss + uint32(h.number(w[i+1]))
		case "win":
			f.Window = uint16(h.number(w[i+1]))
			h.window = f.Window
		case "urg":
			f.UrgentPointer = uint16(h.number(w[i+1]))
		case "tos":
			tos = uint8(h.number(w[i+1]))
		case "port":
			port = uint16(h.number(w[i+1]))
		case "noTS":
			noTS = true
			i--
		default:
			h.fatalf("unknown %q", w[i])
		}
	}
	if port != 0 {
		f.SourcePort = port
	}
	var o header.TCPOptions
	for _, opt := range strings.Split(options, ",") {
		p := strings.Fields(opt)
		if len(p) == 0 {
			continue
		}
		switch p[0] {
		case "mss":
			o.MSS = uint16(h.number(p[1]))
		case "ws":
			o.HasWindowScale, o.WindowScale = true, uint8(h.number(p[1]))
		case "sackOK":
			o.SACKPermitted = true
		case "TS":
			o.HasTimestamp, o.TSVal = true, h.nowTS()
			if f.Flags&flagAck != 0 {
				o.TSEcr = h.tsVal
			}
			if len(p) > 1 {
				o.TSVal += uint32(h.number(p[1]))
				o.TSEcr += uint32(h.number(p[2]))
			}
		case "sack":
			for _, b := range p[1:] {
				from, to := h.span(b)
				o.SACKBlocks[o.SACKCount] = header.SACKBlock{Start: h.iss + uint32(from), End: h.iss + uint32(to)}
				o.SACKCount++
			}
		default:
			h.fatalf("unknown option %q", opt)
		}
	}
	if f.Flags&flagSyn != 0 {
		h.ts = o.HasTimestamp
	} else if h.ts && !o.HasTimestamp && !noTS {
		o.HasTimestamp, o.TSVal, o.TSEcr = true, h.nowTS(), h.tsVal
	}
	data := make([]byte, to-from)
	for i := range data {
		data[i] = pattern(from - 1 + i)
	}
	h.send(&f, &o, tos, data)
}

// send delivers a segment of the peer.
func (h *harness) send(f *header.TCPFields, o *header.TCPOptions, tos uint8, data []byte) {
	f.HeaderLength = header.TCPMinimumSize + o.Length()
	b := make([]byte, f.HeaderLength+len(data))
	t := header.TCP(b)
	t.Encode(*f)
	o.Encode(b[header.TCPMinimumSize:])
	copy(b[f.HeaderLength:], data)
	t.SetChecksum(checksum.PseudoHeader(header.ProtocolTCP, h.peer, h.ours, uint32(len(b))))
	h.sendIP(header.ProtocolTCP, tos, b)
}

// sendIP delivers an IP packet of the peer.
func (h *harness) sendIP(protocol, tos uint8, payload []byte) {
	var b []byte
	etherType := uint16(header.EtherTypeIPv4)
	if h.peer.Is4() {
		b = make([]byte, header.IPv4MinimumSize)
		header.IPv4(b).Encode(header.IPv4Fields{
			TOS: tos, TotalLength: uint16(len(b) + len(payload)), TTL: 64, Protocol: protocol, Source: h.peer, Destination: h.ours,
		})
	} else {
		etherType = header.EtherTypeIPv6
		b = make([]byte, header.IPv6Size)
		header.IPv6(b).Encode(header.IPv6Fields{
			TrafficClass: tos, PayloadLength: uint16(len(payload)), NextHeader: protocol, HopLimit: 64, Source: h.peer, Destination: h.ours,
		})
	}
	pkt := buffer.NewFrom(append(b, payload...))
	pkt.EtherType = etherType
	h.wire.dispatcher.DeliverPackets([]*buffer.Packet{pkt})
}

// icmp tells of an error about the segment with our sequence number seq.
func (h *harness) icmp(kind string, seq, mtu int) {
	quoted := make([]byte, header.IPv4MinimumSize+8)
	header.IPv4(quoted).Encode(header.IPv4Fields{
		TotalLength: 1500, TTL: 60, Protocol: header.ProtocolTCP, Source: h.ours, Destination: h.peer, Flags: header.IPv4FlagDontFragment,
	})
	q := quoted[header.IPv4MinimumSize:]
	binary.BigEndian.PutUint16(q, h.ourPort)
	binary.BigEndian.PutUint16(q[2:], h.peerPort)
	binary.BigEndian.PutUint32(q[4:], h.iss+uint32(seq))
	b := make([]byte, 8, 64)
	b[0] = 3
	switch kind {
	case "net":
		b[1] = 0
	case "host":
		b[1] = 1
	case "port":
		b[1] = 3
	case "frag":
		b[1] = 4
		binary.BigEndian.PutUint16(b[6:], uint16(mtu))
	default:
		h.fatalf("unknown ICMP error")
	}
	b = append(b, quoted...)
	binary.BigEndian.PutUint16(b[2:], checksum.Finish(checksum.Sum(b, 0)))
	h.sendIP(header.ProtocolICMPv4, 0, b)
}

// pattern is the byte at offset i of both streams.
func pattern(i int) byte { return byte(i*7 + i>>8) }

type patternSource struct {
	h *harness
	n int
}

func (s *patternSource) Len() int { return s.n }
func (s *patternSource) Read(b []byte) (int, error) {
	n := min(len(b), s.n)
	for i := range n {
		b[i] = pattern(s.h.written)
		s.h.written++
	}
	s.n -= n
	return n, nil
}

type byteSink struct {
	b    []byte
	room int
}

func (s *byteSink) Len() int { return s.room }
func (s *byteSink) Write(b []byte) (int, error) {
	n := min(len(b), s.room)
	s.b = append(s.b, b[:n]...)
	s.room -= n
	return n, nil
}
