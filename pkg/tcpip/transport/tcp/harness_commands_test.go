package tcp

import (
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/waiter"
)

// The lines of a script that are not segments:
//
//	connect, listen n, accept, write n, read n, close, shutdown wr … are calls; an errno at the
//	end says that they fail. "+100ms" lets time pass. "state", "poll", "error" and others look.

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
