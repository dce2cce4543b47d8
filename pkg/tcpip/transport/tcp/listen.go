package tcp

import (
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/waiter"
)

// listener is what an endpoint has in LISTEN. The endpoint's mu guards it.
type listener struct {
	e       *Endpoint
	binding stack.Binding
	backlog int
	// accepted is the connections that wait for accept(2).
	accepted fifo[*Endpoint]
	// requests is the SYN queue: connections that are not established. next is when the first
	// of them has to be looked at.
	requests map[stack.TransportID]*request
	// overflowed is when SYN cookies were sent last; 0: never. Only for a while after it are
	// cookies looked at.
	overflowed time.Duration
}

// request is a connection in SYN-RECEIVED that a listener has. It is small, because it is there
// for anybody who sends a SYN.
type request struct {
	id       stack.TransportID
	route    *stack.Route
	irs, iss uint32
	// peerMSS, scales and so on are as agreed by the SYNs.
	peerMSS              int
	sendScale, recvScale uint8
	scaled               bool
	sackOK, tsOK, ecnOK  bool
	tsRecent, tsOffset   uint32
	window               uint16 // of our SYN-ACK
	advMSS               int
	nic                  tcpip.NICID
	// sentAt is when the SYN-ACK was sent first, lastAt when last, due when it will be again.
	sentAt, lastAt, due time.Duration
	tries               int
	// acked: the handshake is complete, but the connection is held back: the queue is full, or
	// TCP_DEFER_ACCEPT waits for data.
	acked bool
}

// Listen implements tcpip.Endpoint. Of a listener it changes the backlog. EINVAL: the socket has a
// connection. EADDRINUSE: another socket listens there.
func (e *Endpoint) Listen(backlog int) error {
	e.lock()
	defer e.unlock()
	if limit := int(e.stack.Settings().Somaxconn.Load()); backlog < 0 || backlog > limit {
		backlog = limit
	}
	switch {
	case e.state == StateListen:
		e.listener.backlog = backlog
		return nil
	case e.state != StateClosed || e.connecting || e.connected:
		return unix.EINVAL
	}
	fresh := !e.isBound
	if fresh {
		p, errno := e.reserve(e.bound.Addr, tcpip.NICID(e.opts.Device.Load()), 0)
		if errno != 0 {
			return errno
		}
		e.port, e.isBound = p, true
		e.bound = tcpip.FullAddress{NIC: p.NIC, Port: p.Port}
	}
	if e.port == nil {
		// A connection of before has taken the reservation with it to TIME-WAIT.
		p, errno := e.reserve(e.bound.Addr, e.bound.NIC, e.bound.Port)
		if errno != 0 {
			return errno
		}
		e.port = p
	}
	if err := e.stack.ListenPort(e.port, true); err != nil {
		return unix.EADDRINUSE
	}
	v4, v6 := e.versions(e.bound.Addr)
	l := &listener{e: e, backlog: backlog, requests: map[stack.TransportID]*request{}}
	l.binding = stack.Binding{
		Transport: header.ProtocolTCP, V4: v4, V6: v6,
		ID:       stack.TransportID{LocalAddr: e.bound.Addr, LocalPort: e.bound.Port},
		NIC:      e.bound.NIC,
		Endpoint: e,
		// Sockets may share the port by agreement; ListenPort has checked that.
		ReusePort: e.port.ReusePort,
	}
	if err := e.stack.Register(&l.binding); err != nil {
		_ = e.stack.ListenPort(e.port, false)
		return unix.EADDRINUSE
	}
	e.err, e.shut = 0, 0
	e.listener, e.state = l, StateListen
	return nil
}

// stopListening ends LISTEN, and returns the connections that nobody accepted, which the caller
// aborts without the lock.
func (e *Endpoint) stopListening() []*Endpoint {
	l := e.listener
	e.stack.Unregister(&l.binding)
	if e.port != nil {
		_ = e.stack.ListenPort(e.port, false)
	}
	e.timers.stop()
	var children []*Endpoint
	for l.accepted.len() > 0 {
		children = append(children, *l.accepted.at(0))
		l.accepted.pop()
	}
	e.listener, e.state = nil, StateClosed
	e.notify(everyEvent)
	return children
}

func (l *listener) ready() bool { return l.accepted.len() > 0 }

// full says whether no connection more may wait for accept(2). As in Linux, one more than the
// backlog may.
func (l *listener) full() bool { return l.accepted.len() > l.backlog }

// Accept implements tcpip.Endpoint. The connection may have ended already. EINVAL: not listening.
// EAGAIN: there is none.
func (e *Endpoint) Accept() (tcpip.Endpoint, tcpip.FullAddress, error) {
	c, addr, err := e.AcceptEndpoint()
	if err != nil {
		return nil, addr, err
	}
	return c, addr, nil
}

// AcceptEndpoint is Accept with the concrete type.
func (e *Endpoint) AcceptEndpoint() (*Endpoint, tcpip.FullAddress, error) {
	e.look()
	if e.state != StateListen {
		e.unlock()
		return nil, tcpip.FullAddress{}, unix.EINVAL
	}
	l := e.listener
	if !l.ready() {
		e.unlock()
		return nil, tcpip.FullAddress{}, unix.EAGAIN
	}
	c := *l.accepted.at(0)
	l.accepted.pop()
	e.unlock()
	c.look()
	addr := c.remoteAddress()
	c.unlock()
	return c, addr, nil
}

// handle takes a segment for a listener (RFC 9293 section 3.10.7.2), or for one of its requests.
// hint is where the sequence numbers of a new connection have to begin; 0: anywhere. e.mu is held.
func (l *listener) handle(id *stack.TransportID, s *segment, hint uint32) {
	e := l.e
	if r := l.requests[*id]; r != nil {
		l.handleRequest(r, s)
		return
	}
	switch {
	case s.flags&flagRst != 0:
	case s.flags&flagAck != 0:
		if s.flags&flagSyn == 0 && l.checkCookie(id, s) {
			return
		}
		e.proto.replyReset(nil, id, s)
	case s.flags&flagSyn != 0 && s.flags&flagFin == 0:
		l.handleSyn(id, s, hint)
	}
}

// forward hands a segment over to the connection that it belongs to, which it takes then. A segment
// that found the listener may have waited in its backlog behind the one that made the connection.
func (l *listener) forward(a *arrival, s *segment) bool {
	if l.requests[a.id] != nil || s.flags&flagSyn != 0 {
		return false
	}
	v6 := a.id.RemoteAddr.Is6()
	c := l.e.proto.find(&stack.Binding{V4: !v6, V6: v6, ID: a.id, NIC: s.pkt.NIC})
	if c == nil {
		return false
	}
	s.pkt.Unconsume(len(s.pkt.TransportHeader))
	if e := c.ep.Load(); e != nil {
		e.arrive(arrival{conn: c, id: a.id, pkt: s.pkt})
	} else {
		l.e.proto.handleTimeWait(c, a.id, s.pkt)
	}
	return true
}

// handleSyn begins a connection.
func (l *listener) handleSyn(id *stack.TransportID, s *segment, hint uint32) {
	e := l.e
	stats := &e.stack.Stats().TCP
	settings := e.stack.Settings()
	if s.pkt.Local != s.pkt.Destination || id.RemoteAddr.IsMulticast() || id.RemoteAddr.IsUnspecified() {
		return // TCP knows unicast only (RFC 9293 section 3.9.2.3)
	}
	if l.full() {
		stats.ListenOverflows.Inc()
		stats.ListenDrops.Inc()
		return
	}
	cookies := settings.TCPSynCookies.Load()
	cookie := cookies == 2
	if len(l.requests) >= max(l.backlog, 1) || len(l.requests) >= int(settings.TCPMaxSynBacklog.Load()) {
		if cookies == 0 {
			stats.ListenDrops.Inc()
			return
		}
		cookie = true
	}
	nic := tcpip.NICID(e.opts.Device.Load())
	if id.RemoteAddr.IsLinkLocalUnicast() && id.RemoteAddr.Is6() {
		nic = s.pkt.NIC
	}
	route, err := e.findRoute(id.RemoteAddr, id.LocalAddr, nic)
	if err != nil {
		stats.ListenDrops.Inc()
		return
	}
	r := &request{
		id: *id, route: route, irs: s.seq, nic: nic,
		sackOK:   s.opts.SACKPermitted && settings.TCPSACK.Load(),
		tsOK:     s.opts.HasTimestamp && settings.TCPTimestamps.Load(),
		tsRecent: s.opts.TSVal,
		tsOffset: e.proto.timestampOffset(id),
		sentAt:   e.now,
	}
	if s.opts.HasWindowScale && settings.TCPWindowScaling.Load() {
		r.scaled = true
		r.sendScale, r.recvScale = s.opts.WindowScale, e.windowScale()
	}
	// RFC 3168 section 6.1.1: both bits, and not on a packet that is marked itself.
	r.ecnOK = s.flags&(flagEce|flagCwr) == flagEce|flagCwr && settings.TCPECN.Load() != ecnOff && !s.ce
	l.measure(r, int(s.opts.MSS))
	if cookie {
		l.overflowed = max(e.now, 1)
		if !r.tsOK {
			// What does not fit into the sequence number travels in the timestamp.
			r.scaled, r.sackOK, r.ecnOK = false, false, false
			r.sendScale, r.recvScale = 0, 0
		}
		r.iss = e.proto.cookie(r, e.now)
		stats.SyncookiesSent.Inc()
		l.sendSynAck(r, true)
		return
	}
	r.iss = hint
	if hint == 0 {
		r.iss = e.proto.initialSequence(id)
	}
	l.requests[r.id] = r
	l.sendSynAck(r, false)
	r.due = e.now + initialRTO
	l.arm(r.due)
}

// measure fills in what follows from the route and the listener's options.
func (l *listener) measure(r *request, mss int) {
	e := l.e
	// The arithmetic is an endpoint's; this one has no lock and no life.
	probe := Endpoint{route: r.route, cfg: e.cfg, id: r.id}
	r.advMSS = probe.advertisedMSS()
	r.peerMSS = probe.acceptedMSS(mss)
	r.window = uint16(min(e.fullWindow(), maxPlainWindow))
}

// sendSynAck answers a SYN.
func (l *listener) sendSynAck(r *request, cookie bool) {
	e := l.e
	f := header.TCPFields{
		Flags: flagSyn | flagAck, Sequence: r.iss, Acknowledgment: r.irs + 1, Window: r.window,
	}
	if r.ecnOK {
		f.Flags |= flagEce
	}
	o := header.TCPOptions{
		MSS: uint16(min(r.advMSS, 0xffff)), SACKPermitted: r.sackOK, HasWindowScale: r.scaled, WindowScale: r.recvScale,
	}
	if r.tsOK {
		o.HasTimestamp, o.TSEcr = true, r.tsRecent
		o.TSVal = uint32(e.now/timestampUnit) + r.tsOffset
		if cookie {
			o.TSVal = cookieTimestamp(e.now, r)
		}
	}
	r.lastAt = e.now
	e.sendFor(r, &f, &o)
}

// sendFor sends a segment of a request, with the listener's socket options.
func (e *Endpoint) sendFor(r *request, f *header.TCPFields, o *header.TCPOptions) {
	params := stack.NetworkParams{}
	if r.id.RemoteAddr.Is4() {
		params.TTL, params.TOS = uint8(max(e.opts.TTL.Load(), 0)), uint8(e.opts.TOS.Load())&^header.ECNMask
	} else {
		params.TTL, params.TOS = uint8(max(e.opts.HopLimit.Load(), 0)), uint8(e.opts.TrafficClass.Load())&^header.ECNMask
	}
	if !r.route.Valid() {
		route, err := e.findRoute(r.id.RemoteAddr, r.id.LocalAddr, r.nic)
		if err != nil {
			return
		}
		r.route = route
	}
	if r.route.Local {
		e.deferred = r.route
	}
	e.proto.reply(r.route, &r.id, r.nic, f, o, params)
}

// arm makes the listener look at its requests at the time due.
func (l *listener) arm(due time.Duration) {
	t := &l.e.timers
	if !t.isSet(deadlineListen) || due < t.at[deadlineListen] {
		t.set(deadlineListen, due)
	}
}

// timeout sends SYN-ACKs again and gives up requests that never were answered.
func (l *listener) timeout() {
	e := l.e
	next := time.Duration(0)
	limit := int(e.stack.Settings().TCPSynAckRetries.Load())
	if e.cfg.synCount > 0 {
		limit = e.cfg.synCount
	}
	for id, r := range l.requests {
		if r.due <= e.now {
			if r.tries >= max(limit, e.cfg.deferTriesOf(r)) {
				delete(l.requests, id)
				e.stack.Stats().TCP.AttemptFails.Inc()
				continue
			}
			r.tries++
			// Who has answered, and is only waiting for data, is not asked again until
			// TCP_DEFER_ACCEPT is over.
			if !r.acked || r.tries >= e.cfg.deferTries {
				l.sendSynAck(r, false)
				e.stack.Stats().TCP.RetransSegs.Inc()
			}
			r.due = e.now + min(initialRTO<<min(r.tries, 16), maxRTO)
		}
		if next == 0 || r.due < next {
			next = r.due
		}
	}
	if next != 0 {
		l.arm(next)
	}
}

// deferTriesOf is how long a request that was answered waits for data at least.
func (c *config) deferTriesOf(r *request) int {
	if r.acked && c.deferTries > 0 {
		return c.deferTries + 1
	}
	return 0
}

// handleRequest takes a segment for a connection in SYN-RECEIVED (RFC 9293 section 3.10.7.4).
func (l *listener) handleRequest(r *request, s *segment) {
	e := l.e
	stats := &e.stack.Stats().TCP
	nxt := r.irs + 1
	if r.tsOK && s.opts.HasTimestamp && s.flags&flagRst == 0 && before(s.opts.TSVal, r.tsRecent) {
		stats.PAWSEstab.Inc()
		l.ackRequest(r)
		return
	}
	if s.flags&(flagSyn|flagRst|flagAck) == flagSyn && s.seq == r.irs {
		// The same SYN again: our answer was lost. It counts as a try, but is not sent too
		// often.
		if e.now-r.lastAt >= invalidAckInterval {
			l.sendSynAck(r, false)
			stats.RetransSegs.Inc()
		}
		return
	}
	edge := nxt + uint32(r.window)
	if before(s.end(), nxt) || s.end() == nxt && s.length() > 0 || after(s.seq, edge) {
		if s.flags&flagRst == 0 {
			l.ackRequest(r)
		}
		return
	}
	if s.flags&flagRst != 0 {
		if s.seq == nxt {
			delete(l.requests, r.id)
			stats.AttemptFails.Inc()
		} else {
			l.ackRequest(r) // RFC 5961 section 3.2
		}
		return
	}
	if s.flags&flagSyn != 0 {
		l.ackRequest(r) // RFC 5961 section 4.2
		return
	}
	if s.flags&flagAck == 0 {
		return
	}
	if s.ack != r.iss+1 {
		e.proto.replyReset(r.route, &r.id, s)
		return
	}
	if s.size == 0 && s.flags&flagFin == 0 && r.tries < e.cfg.deferTries && s.seq == nxt {
		r.acked = true // TCP_DEFER_ACCEPT
		return
	}
	if l.full() {
		stats.ListenOverflows.Inc()
		stats.ListenDrops.Inc()
		r.acked = true
		return
	}
	delete(l.requests, r.id)
	l.complete(r, s)
}

// ackRequest acknowledges for a request, not too often.
func (l *listener) ackRequest(r *request) {
	e := l.e
	if e.now-r.lastAt < invalidAckInterval || !e.proto.mayChallenge(e.now) {
		return
	}
	r.lastAt = e.now
	f := header.TCPFields{Flags: flagAck, Sequence: r.iss + 1, Acknowledgment: r.irs + 1, Window: r.window >> r.recvScale}
	var o header.TCPOptions
	if r.tsOK {
		o.HasTimestamp, o.TSVal, o.TSEcr = true, uint32(e.now/timestampUnit)+r.tsOffset, r.tsRecent
	}
	e.stack.Stats().TCP.TCPChallengeACK.Inc()
	e.sendFor(r, &f, &o)
}

// complete makes the connection of a request whose handshake s has ended, and lets it process s.
func (l *listener) complete(r *request, s *segment) {
	e := l.e
	stats := &e.stack.Stats().TCP
	c := e.proto.newEndpoint(e.v6)
	c.lock()
	c.inherit(e)
	c.id = r.id
	c.begin(r.route)
	c.conn = &conn{proto: e.proto}
	c.conn.ep.Store(c)
	v6 := r.id.RemoteAddr.Is6()
	c.conn.binding = stack.Binding{
		Transport: header.ProtocolTCP, V4: !v6, V6: v6, ID: r.id, NIC: r.nic, Endpoint: c.conn,
	}
	if e.proto.register(c.conn) != 0 {
		c.conn = nil
		c.closed = true
		c.becomeClosed()
		c.unlock()
		stats.ListenDrops.Inc()
		return
	}
	c.port = &stack.PortRequest{
		Transport: header.ProtocolTCP, V4: e.port.V4, V6: e.port.V6, Addr: e.port.Addr, NIC: e.port.NIC,
		Port: e.port.Port, ReuseAddress: e.port.ReuseAddress, ReusePort: e.port.ReusePort, User: e.port.User,
	}
	e.stack.SharePort(c.port)
	c.passive, c.connected = true, true
	c.advMSS, c.peerMSS = r.advMSS, r.peerMSS
	c.sackOK, c.ts.ok, c.ecn.ok = r.sackOK, r.tsOK, r.ecnOK
	c.ts.recent, c.ts.recentAt, c.ts.offset = r.tsRecent, e.now, r.tsOffset
	c.snd.scale, c.rcv.scale = r.sendScale, r.recvScale
	c.snd.iss = r.iss
	c.startSequence()
	c.snd.una, c.snd.nxt = r.iss+1, r.iss+1
	c.rcv.irs, c.rcv.nxt, c.rcv.acked = r.irs, r.irs+1, r.irs+1
	c.rcv.wnd = int(r.window)
	c.copiedSeq = c.rcv.nxt
	c.snd.wl1 = s.seq - 1
	c.snd.wnd = int(s.window) << c.snd.scale
	c.snd.maxWnd = c.snd.wnd
	c.snd.lastWindow = s.window
	c.updateMSS()
	c.state = StateSynReceived
	if r.tries == 0 && r.sentAt != 0 {
		c.rtt.sample(max(e.now-r.sentAt, 1), e.now, 1)
	} else if r.tries > 0 {
		c.count.retransmitted = uint32(r.tries)
	}
	c.establish()
	stats.PassiveOpens.Inc()
	c.handleSegment(s)
	l.accepted.push(c)
	e.notify(waiter.EventIn | waiter.EventRdNorm)
	if c.deferred != nil {
		// Flushed when the listener is unlocked.
		e.deferred, c.deferred = c.deferred, nil
	}
	c.unlock()
}

// inherit copies what connections have from their listener.
func (e *Endpoint) inherit(l *Endpoint) {
	e.cfg = l.cfg
	e.cfg.deferAccept, e.cfg.deferTries = 0, 0
	e.user = l.user
	e.bound, e.isBound = l.bound, true
	to, from := &e.opts, &l.opts
	for _, p := range [][2]*atomic.Bool{
		{&to.ReuseAddress, &from.ReuseAddress}, {&to.ReusePort, &from.ReusePort}, {&to.KeepAlive, &from.KeepAlive},
		{&to.DontRoute, &from.DontRoute}, {&to.OutOfBandInline, &from.OutOfBandInline}, {&to.Timestamps, &from.Timestamps},
		{&to.ReceiveErrors4, &from.ReceiveErrors4}, {&to.ReceiveErrors6, &from.ReceiveErrors6}, {&to.V6Only, &from.V6Only},
		{&to.FreeBind, &from.FreeBind}, {&to.Transparent, &from.Transparent}, {&to.Broadcast, &from.Broadcast},
		{&to.ReceiveBufferLocked, &from.ReceiveBufferLocked}, {&to.SendBufferLocked, &from.SendBufferLocked},
	} {
		p[0].Store(p[1].Load())
	}
	for _, p := range [][2]*atomic.Int32{
		{&to.TTL, &from.TTL}, {&to.HopLimit, &from.HopLimit}, {&to.MTUDiscovery4, &from.MTUDiscovery4},
		{&to.MTUDiscovery6, &from.MTUDiscovery6}, {&to.Device, &from.Device}, {&to.Priority, &from.Priority},
		{&to.ReceiveLow, &from.ReceiveLow},
	} {
		p[0].Store(p[1].Load())
	}
	to.TOS.Store(from.TOS.Load())
	to.TrafficClass.Store(from.TrafficClass.Load())
	to.Mark.Store(from.Mark.Load())
	to.ReceiveBuffer.Store(from.ReceiveBuffer.Load())
	to.SendBuffer.Store(from.SendBuffer.Load())
	from.Mu.Lock()
	linger, lingerTime, options := from.Linger, from.LingerTime, from.IPOptions4
	from.Mu.Unlock()
	to.Mu.Lock()
	to.Linger, to.LingerTime, to.IPOptions4 = linger, lingerTime, options
	to.Mu.Unlock()
}
