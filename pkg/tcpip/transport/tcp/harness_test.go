package tcp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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
//
//	connect, listen n, accept, write n, read n, close, shutdown wr … are calls; an errno at the
//	end says that they fail. "+100ms" lets time pass. "state", "poll", "error" and others look.

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

var errnos = map[string]unix.Errno{}

func init() {
	for e := unix.Errno(1); e < 134; e++ {
		errnos[unix.ErrnoName(e)] = e
	}
}

// result checks the outcome of a call against an errno at the end of the line.
func (h *harness) result(err error, w []string) {
	want := ""
	if n := len(w); n > 1 {
		if _, ok := errnos[w[n-1]]; ok {
			want = w[n-1]
		}
	}
	got := ""
	if err != nil {
		got = unix.ErrnoName(err.(unix.Errno))
	}
	if got != want {
		h.fatalf("the call returned %q", got)
	}
}

var pollNames = []struct {
	name string
	mask waiter.EventMask
}{
	{"IN", waiter.EventIn}, {"OUT", waiter.EventOut}, {"PRI", waiter.EventPri}, {"ERR", waiter.EventErr},
	{"HUP", waiter.EventHUp}, {"RDHUP", waiter.EventRdHUp},
}

func pollString(m waiter.EventMask) string {
	var s []string
	for _, p := range pollNames {
		if m&p.mask != 0 {
			s = append(s, p.name)
		}
	}
	return strings.Join(s, "|")
}

var timerNames = map[string]deadline{"send": deadlineSend, "ack": deadlineAck, "keepalive": deadlineKeepAlive, "state": deadlineState}

// run runs a script.
func (h *harness) run(script string) {
	h.t.Helper()
	n := 0
	for _, line := range strings.Split(script, "\n") {
		n++
		line, _, _ = strings.Cut(line, "//")
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		h.line = fmt.Sprintf("line %d: %q", n, line)
		if line[0] == '>' {
			h.expect(line)
			continue
		}
		if w := strings.Fields(line); w[0] == "expects" { // from, how many, how large
			h.expects(h.number(w[1]), h.number(w[2]), h.number(w[3]))
			continue
		}
		if line == "urgents" { // what went out has an urgent pointer, the right one if that fits
			for len(h.wire.out) > 0 {
				s := h.next()
				d := int(h.e.snd.urgent - s.tcp.Sequence())
				if s.tcp.Flags()&flagUrg == 0 || int(s.tcp.UrgentPointer()) != min(d, 65535) {
					h.fatalf("%v %d, not %d", s.tcp.Flags(), s.tcp.UrgentPointer(), d)
				}
			}
			continue
		}
		if line == "dropall" { // whatever goes out is lost
			h.wire.out = nil
			continue
		}
		h.none()
		if line[0] == '<' {
			h.inject(line)
			continue
		}
		if line[0] == '+' {
			d, err := time.ParseDuration(line[1:])
			if err != nil {
				h.fatalf("%v", err)
			}
			h.clock.Advance(d)
			continue
		}
		h.command(strings.Fields(line))
	}
	h.line = "at the end"
	h.none()
}

// expects takes n segments of the given size, whatever their PSH.
func (h *harness) expects(from, n, size int) {
	for i := range n {
		s := h.next()
		at := int(int32(s.tcp.Sequence() - h.iss))
		if at != from+i*size || len(s.data) != size || s.tcp.Flags()&^flagPsh != flagAck {
			h.fatalf("segment %d: %v %d:%d went out", i, s.tcp.Flags(), at, at+len(s.data))
		}
		if s.opts.HasTimestamp {
			h.tsVal = s.opts.TSVal
		}
	}
}

// fillWindow sends what the window that was told last has room for.
func (h *harness) fillWindow() {
	nxt := 0
	for {
		h.e.mu.Lock()
		room, pending := h.e.offeredWindow(), h.e.ack.pending
		nxt = int(h.e.rcv.nxt - peerISS)
		h.e.mu.Unlock()
		if room == 0 && pending {
			h.clock.Advance(maxAckDelay)
			h.wire.out = nil
			continue
		}
		if room == 0 {
			break
		}
		h.inject(fmt.Sprintf("< A %d:%d ack 1", nxt, nxt+min(1460, room)))
		h.wire.out = nil
	}
	h.filled = nxt
	// More does not fit, and is told so.
	h.inject(fmt.Sprintf("< A %d:%d ack 1", nxt, nxt+1000))
	h.expect(fmt.Sprintf("> A %d ack %d win 0", int32(h.e.snd.nxt-h.iss), nxt))
}

func (h *harness) socket() *Endpoint {
	if h.e == nil {
		h.newSocket()
	}
	return h.e
}

func (h *harness) newSocket() {
	h.e = NewEndpoint(h.stack, h.peer.Is6())
	_ = h.e.EventRegister(&waiter.Entry{Mask: waiter.AllEvents, Listener: h})
}

func (h *harness) command(w []string) {
	arg := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return ""
	}
	num := func(i int) int { return h.number(arg(i)) }
	switch w[0] {
	case "listen":
		l := h.listener
		if l == nil {
			l = NewEndpoint(h.stack, h.peer.Is6())
			if err := l.Bind(tcpip.FullAddress{Port: ourPort}); err != nil {
				h.fatalf("%v", err)
			}
			h.listener = l
		}
		h.result(l.Listen(num(1)), w)
	case "accept":
		e, _, err := h.listener.AcceptEndpoint()
		if err == nil {
			h.e = e
			_ = e.EventRegister(&waiter.Entry{Mask: waiter.AllEvents, Listener: h})
		}
		h.result(err, w)
	case "unlisten":
		h.listener.Close()
		h.listener = nil
	case "socket":
		h.e = nil
		h.haveISS = false
		h.written, h.read = 0, 0
		h.socket()
	case "bind":
		h.result(h.socket().Bind(tcpip.FullAddress{Port: uint16(num(1))}), w)
	case "connect":
		err := h.socket().Connect(tcpip.FullAddress{Addr: h.peer, Port: peerPort})
		h.result(err, w)
	case "disconnect":
		h.result(h.e.Connect(tcpip.FullAddress{}), w)
	case "established":
		h.established(strings.Join(w[1:], " "))
	case "write", "oob", "more":
		n := 0
		if _, isErrno := errnos[arg(1)]; !isErrno {
			n = num(1)
		}
		opts := tcpip.SendOptions{OutOfBand: w[0] == "oob", More: w[0] == "more"}
		sent, err := h.socket().Send(&patternSource{h, max(n, 1)}, opts)
		h.result(err, w)
		if err == nil && sent != n {
			h.fatalf("%d bytes were written", sent)
		}
	case "fill": // write until the buffer is full
		for {
			if _, err := h.e.Send(&patternSource{h, 1000}, tcpip.SendOptions{}); err != nil {
				break
			}
		}
	case "read", "peek":
		n := 0
		if _, isErrno := errnos[arg(1)]; !isErrno {
			n = num(1)
		}
		room := max(n, 1)
		if arg(2) == "of" {
			room = num(3)
		}
		s := &byteSink{room: room}
		r, err := h.socket().Receive(s, tcpip.ReceiveOptions{Peek: w[0] == "peek"})
		h.result(err, w)
		if err == nil && r.N != n {
			h.fatalf("%d bytes were read", r.N)
		}
		for i, b := range s.b {
			if want := pattern(h.read + i); b != want {
				h.fatalf("byte %d is %#x, not %#x", h.read+i, b, want)
			}
		}
		if w[0] == "read" {
			h.read += r.N
		}
	case "discard":
		r, err := h.e.Receive(&byteSink{room: num(1)}, tcpip.ReceiveOptions{Discard: true})
		if err != nil || r.N != num(1) {
			h.fatalf("%d bytes were discarded, %v", r.N, err)
		}
		h.read += r.N
	case "skip": // the urgent byte is not in the stream
		h.read += num(1)
	case "readoob":
		s := &byteSink{room: 1}
		r, err := h.e.Receive(s, tcpip.ReceiveOptions{OutOfBand: true})
		h.result(err, w)
		if err == nil && (r.N != 1 || !r.OutOfBand || s.b[0] != pattern(num(1)-1)) {
			h.fatalf("read %d bytes, %x", r.N, s.b)
		}
	case "readoob0": // the end instead of urgent data
		r, err := h.e.Receive(&byteSink{room: 1}, tcpip.ReceiveOptions{OutOfBand: true})
		if err != nil || r.N != 0 {
			h.fatalf("read %d bytes, %v", r.N, err)
		}
	case "peek0": // the next byte is that behind the mark
		s := &byteSink{room: num(1)}
		r, err := h.e.Receive(s, tcpip.ReceiveOptions{Peek: true})
		if err != nil || r.N != num(1) || s.b[0] != pattern(h.read+1) {
			h.fatalf("%d bytes, %v", r.N, err)
		}
	case "atmark":
		if got := h.e.AtMark(); got != (arg(1) == "1") {
			h.fatalf("it is %v", got)
		}
	case "shutdown":
		how := map[string]tcpip.ShutdownFlags{"rd": tcpip.ShutdownRead, "wr": tcpip.ShutdownWrite, "rdwr": tcpip.ShutdownRead | tcpip.ShutdownWrite}[arg(1)]
		h.result(h.e.Shutdown(how), w)
	case "close":
		h.e.Close()
	case "abort":
		h.e.Abort()
	case "state":
		want := arg(1)
		if got := h.e.State().String(); got != want {
			h.fatalf("it is %s", got)
		}
	case "timewait": // how many connections are in TIME-WAIT
		n := 0
		h.e.proto.Connections(func(c Connection) bool {
			if c.State == StateTimeWait {
				n++
			}
			return true
		})
		if n != num(1) {
			h.fatalf("it is %d", n)
		}
	case "requests":
		if got := len(h.listener.listener.requests); got != num(1) {
			h.fatalf("it is %d", got)
		}
	case "poll":
		if got := pollString(h.socket().Readiness(waiter.AllEvents)); got != arg(1) {
			h.fatalf("it is %q", got)
		}
	case "events": // what waiters were told since the last look
		want := waiter.EventMask(0)
		for _, p := range pollNames {
			for _, x := range strings.Split(arg(1), "|") {
				if x == p.name {
					want |= p.mask
				}
			}
		}
		if h.events&want != want || want == 0 && h.events != 0 {
			h.fatalf("waiters were told of %q", pollString(h.events))
		}
		h.events = 0
	case "error":
		err := h.e.TakeError()
		h.result(err, w)
	case "set":
		h.set(arg(1), w[2:])
	case "sysctl":
		h.sysctl(arg(1), num(2))
	case "icmp":
		mtu := 0
		if len(w) > 3 {
			mtu = num(3)
		}
		h.icmp(arg(1), num(2), mtu)
	case "timer", "notimer":
		h.e.mu.Lock()
		is := h.e.timers.isSet(timerNames[arg(1)])
		h.e.mu.Unlock()
		if is != (w[0] == "timer") {
			h.fatalf("timer: %v", is)
		}
	case "nothing": // will ever happen again
		for i := 0; h.clock.Pending() > 0; i++ {
			d, _ := h.clock.Next()
			if d > time.Minute || i > 10 {
				h.fatalf("a timer is set for in %v", d)
			}
			h.clock.Advance(d)
			h.none()
		}
	case "connecttimewait": // another socket connects with the same numbers
		h.e = nil
		h.socket().opts.ReuseAddress.Store(true)
		e := h.e
		e.bound, e.isBound = tcpip.FullAddress{Port: 5000}, true
		h.result(e.Connect(tcpip.FullAddress{Addr: h.peer, Port: peerPort}), append(w, "EINPROGRESS")[:max(len(w), 2)])
	case "zerowindows":
		s := &h.stack.Stats().TCP
		if s.TCPToZeroWindowAdv.Load() != uint64(num(1)) || s.TCPZeroWindowAdv.Load() < uint64(num(1)) {
			h.fatalf("%d, %d", s.TCPToZeroWindowAdv.Load(), s.TCPZeroWindowAdv.Load())
		}
	case "cookiefull": // the acknowledgement of a cookie is dropped
		before := h.stack.Stats().TCP.ListenOverflows.Load()
		l := h.listener.listener
		for l.accepted.len() <= l.backlog {
			h.many("handshakes", 1)
		}
		if h.stack.Stats().TCP.SyncookiesSent.Load() == 0 {
			h.fatalf("no cookies")
		}
		h.wire.out = nil
		h.many("handshakes", 1)
		if h.stack.Stats().TCP.ListenOverflows.Load() == before {
			h.fatalf("it was taken")
		}
	case "again": // a new connection of the same socket begins
		h.haveISS, h.written, h.read = false, 0, 0
	case "window": // of the peer's segments
		h.window = uint16(num(1))
	case "threshold": // in segments
		h.e.mu.Lock()
		h.e.cong.threshold = num(1) * h.e.mss
		h.e.mu.Unlock()
	case "connectedlong": // what was measured so far is forgotten
		h.e.mu.Lock()
		h.e.rtt.init()
		h.e.mu.Unlock()
	case "cwndsegs":
		h.e.mu.Lock()
		h.e.cong.window = num(1) * h.e.mss
		h.e.mu.Unlock()
	case "lread":
		_, err := h.listener.Receive(&byteSink{room: 1}, tcpip.ReceiveOptions{})
		h.result(err, w)
	case "elisten":
		h.result(h.e.Listen(1), w)
	case "fillwindow": // segments until our window is closed
		h.fillWindow()
	case "probed": // a closed window is probed so often, and the peer answers
		for range num(1) {
			for len(h.wire.out) == 0 {
				h.clock.Advance(time.Second)
				h.drop()
			}
			h.expect("> A 2000 ack 1")
			h.inject("< A 1 ack 2001 win 0")
		}
	case "save":
		h.savedISS, h.savedPort = h.iss, h.peerPort
	case "restore":
		h.iss, h.peerPort = h.savedISS, h.savedPort
	case "syns", "handshakes":
		h.many(w[0], num(1))
	case "unsyn": // the requests end
		h.listener.mu.Lock()
		clear(h.listener.listener.requests)
		h.listener.mu.Unlock()
	case "backlog":
		if got := int(h.listener.Info().SackedSegments); got != num(1) {
			h.fatalf("it is %d", got)
		}
	case "drops":
		if got := int(h.stack.Stats().TCP.ListenDrops.Load()); got != num(1) {
			h.fatalf("it is %d", got)
		}
	case "lpoll":
		if got := pollString(h.listener.Readiness(waiter.AllEvents)); got != arg(1) {
			h.fatalf("it is %q", got)
		}
	case "lshutdown":
		if err := h.listener.Shutdown(tcpip.ShutdownRead); err != nil {
			h.fatalf("%v", err)
		}
	default:
		h.info(w[0], num(1))
	}
}

// info checks a number.
func (h *harness) info(name string, want int) {
	e := h.e
	if e == nil {
		e = h.listener
	}
	i := e.Info()
	stats := &h.stack.Stats().TCP
	got := map[string]int{
		"cwnd": int(i.CongestionWindow), "ssthresh": int(i.SendThreshold), "castate": int(i.CongestionState),
		"mss": int(i.SendMSS), "retrans": int(i.TotalRetransSegments), "lost": int(i.LostSegments), "sacked": int(i.SackedSegments),
		"rto": int(i.RTO / time.Millisecond), "rtt": int(i.RTT / time.Millisecond), "unacked": int(i.UnackedSegments),
		"inq": e.ReceiveQueued(), "outq": e.SendQueued(), "unsent": e.SendUnsent(), "rcvbuf": int(e.opts.ReceiveBuffer.Load()),
		"sndbuf": int(e.opts.SendBuffer.Load()), "probes": int(i.Probes), "backoff": int(i.Backoff), "ecn": b2i(i.ECN), "peerwindow": int(i.SendWindow),
		"pmtu": int(i.PathMTU), "challenges": int(stats.TCPChallengeACK.Load()), "overflows": int(stats.ListenOverflows.Load()),
		"cookies": int(stats.SyncookiesSent.Load()), "spurious": int(stats.TCPSpuriousRTOs.Load()), "established!": int(stats.CurrEstab.Load()),
		"reordering": int(i.ReorderingSeen), "dsacks": int(i.DSACKDuplicates),
	}
	v, ok := got[name]
	if !ok {
		h.fatalf("unknown command")
	}
	if v != want {
		h.fatalf("it is %d", v)
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (h *harness) set(name string, w []string) {
	n := h.number(w[0])
	e := h.listener
	if h.e != nil || e == nil {
		e = h.socket()
	}
	sec := time.Duration(n) * time.Second
	var err error
	switch name {
	case "nodelay":
		e.SetNoDelay(n != 0)
	case "cork":
		e.SetCork(n != 0)
	case "quickack":
		e.SetQuickAck(n != 0)
	case "maxseg":
		err = e.SetMaxSegment(n)
	case "keepalive":
		e.SetKeepAlive(n != 0)
	case "keepidle":
		err = e.SetKeepIdle(sec)
	case "keepintvl":
		err = e.SetKeepInterval(sec)
	case "keepcnt":
		err = e.SetKeepCount(n)
	case "syncnt":
		err = e.SetSynCount(n)
	case "linger2":
		e.SetLinger2(sec)
	case "defer":
		e.SetDeferAccept(sec)
	case "clamp":
		err = e.SetWindowClamp(n)
	case "usertimeout":
		err = e.SetUserTimeout(time.Duration(n) * time.Millisecond)
	case "notsent":
		e.SetNotSentLow(uint32(n))
	case "linger":
		e.opts.Mu.Lock()
		e.opts.Linger, e.opts.LingerTime = true, sec
		e.opts.Mu.Unlock()
	case "rcvbuf":
		e.opts.ReceiveBuffer.Store(int64(n))
		e.opts.ReceiveBufferLocked.Store(true)
	case "sndbuf":
		e.opts.SendBuffer.Store(int64(n))
		e.opts.SendBufferLocked.Store(true)
	case "oobinline":
		e.opts.OutOfBandInline.Store(n != 0)
	case "reuseaddr":
		e.opts.ReuseAddress.Store(n != 0)
	case "recverr":
		e.opts.ReceiveErrors4.Store(n != 0)
	case "rcvlowat":
		e.opts.ReceiveLow.Store(int32(n))
	case "tos":
		e.opts.TOS.Store(uint32(n))
	case "reno":
		err = e.SetCongestionControl("reno")
	case "ackpending": // no quick acknowledgements any more: the connection is interactive
		e.mu.Lock()
		e.ack.quick, e.ack.ato, e.ack.interactive = 0, minAckDelay, false
		e.ack.lastData = e.clock.Monotonic()
		e.mu.Unlock()
	default:
		h.fatalf("unknown option")
	}
	h.result(err, append([]string{"set"}, w...))
}

func (h *harness) sysctl(name string, n int) {
	s := h.stack.Settings()
	switch name {
	case "sack":
		s.TCPSACK.Store(n != 0)
	case "timestamps":
		s.TCPTimestamps.Store(n != 0)
	case "window_scaling":
		s.TCPWindowScaling.Store(n != 0)
	case "ecn":
		s.TCPECN.Store(int32(n))
	case "syncookies":
		s.TCPSynCookies.Store(int32(n))
	case "max_syn_backlog":
		s.TCPMaxSynBacklog.Store(int32(n))
	case "syn_retries":
		s.TCPSynRetries.Store(int32(n))
	case "synack_retries":
		s.TCPSynAckRetries.Store(int32(n))
	case "retries2":
		s.TCPRetries2.Store(int32(n))
	case "fin_timeout":
		s.TCPFinTimeout.Store(int32(n))
	case "tw_reuse":
		s.TCPReuseTimeWait.Store(int32(n))
	case "max_tw":
		s.TCPMaxTimeWait.Store(int32(n))
	case "ss_after_idle":
		s.TCPSlowStartAfterIdle.Store(n != 0)
	case "rmem":
		s.TCPReceive[1].Store(int64(n))
	case "somaxconn":
		s.Somaxconn.Store(int32(n))
	case "moderate":
		s.TCPModerate.Store(n != 0)
	default:
		h.fatalf("unknown setting")
	}
}

// established makes a connection that the peer opened, with the options of its SYN.
func (h *harness) established(options string) {
	if options == "" {
		options = "mss 1000"
	}
	if h.listener == nil {
		h.command([]string{"listen", "10"})
	}
	h.haveISS = false
	h.inject("< S 0 <" + options + ">")
	h.expect("> SA 0 ack 1")
	h.inject("< A 1 ack 1")
	h.command([]string{"accept"})
	h.written, h.read, h.events = 0, 0, 0
}
