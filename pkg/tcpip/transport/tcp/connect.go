package tcp

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/waiter"
)

// Connect implements tcpip.Endpoint. EINPROGRESS: the handshake has begun. While it goes on,
// EALREADY; when it has ended, one more call returns its result, nil or the error (ECONNREFUSED,
// ETIMEDOUT …), and from there on EISCONN, or the socket is free to connect again.
//
// An address that is not valid ends the connection, or the listening, at once (AF_UNSPEC).
func (e *Endpoint) Connect(addr tcpip.FullAddress) error {
	if !addr.Addr.IsValid() {
		return e.disconnect()
	}
	e.lock()
	defer e.unlock()
	switch {
	case e.connected || e.state == StateListen:
		return unix.EISCONN
	case e.connecting:
		switch e.state {
		case StateSynSent, StateSynReceived:
			return unix.EALREADY
		case StateClosed:
			e.connecting = false
			err := e.takeError()
			e.forget()
			if err == 0 {
				err = unix.ECONNABORTED
			}
			return err
		}
		e.connecting, e.connected = false, true
		return nil
	}
	return e.connect(addr)
}

func (e *Endpoint) connect(addr tcpip.FullAddress) error {
	if errno := e.family(addr.Addr); errno != 0 {
		return errno
	}
	if addr.Addr.IsUnspecified() {
		// To nowhere in particular is to this host (as in BSD and Linux).
		if addr.Addr.Is4() {
			addr.Addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
		} else {
			addr.Addr = header.IPv6Loopback
		}
	}
	if addr.Addr.IsMulticast() || addr.Addr == header.IPv4Broadcast {
		return unix.ENETUNREACH
	}
	nic := tcpip.NICID(e.opts.Device.Load())
	scope := tcpip.NICID(0)
	if addr.Addr.IsLinkLocalUnicast() && addr.Addr.Is6() {
		scope = addr.NIC
		if scope == 0 {
			scope = e.bound.NIC
		}
		if scope == 0 {
			scope = nic
		}
		if scope == 0 {
			return unix.EINVAL
		}
		if nic != 0 && nic != scope {
			return unix.EINVAL
		}
		nic = scope
	}
	source := e.bound.Addr
	if source.IsValid() && source.IsUnspecified() {
		source = netip.Addr{}
	}
	if source.IsValid() && source.Is4() != addr.Addr.Is4() {
		return unix.ENETUNREACH
	}
	route, err := e.findRoute(addr.Addr, source, nic)
	if err != nil {
		return err
	}
	if route.Broadcast || route.Multicast {
		return unix.ENETUNREACH
	}
	e.route = route
	e.id = stack.TransportID{LocalAddr: route.Source, RemoteAddr: addr.Addr, RemotePort: addr.Port}
	c, errno := e.bindConnection(nic)
	if errno != 0 {
		e.id = stack.TransportID{}
		e.route = nil
		return errno
	}
	e.conn = c
	e.begin(route)
	settings := e.stack.Settings()
	e.rcv.scale = 0
	if settings.TCPWindowScaling.Load() {
		e.rcv.scale = e.windowScale()
	}
	e.ts.ok = settings.TCPTimestamps.Load()
	e.ts.offset = e.proto.timestampOffset(&e.id)
	e.sackOK = settings.TCPSACK.Load()
	e.ecn.asked = settings.TCPECN.Load() == ecnAlways
	e.snd.iss = e.proto.initialSequence(&e.id)
	if c.nextISS != 0 {
		e.snd.iss = c.nextISS
	}
	e.startSequence()
	e.state = StateSynSent
	e.connecting = true
	e.shut = 0
	e.finished = false
	e.err, e.softErr = 0, 0
	e.stack.Stats().TCP.ActiveOpens.Inc()
	e.sendNew(e.snd.iss+1, sentSyn)
	e.armRetransmit()
	return unix.EINPROGRESS
}

// startSequence begins the send sequence space at iss, whose first number is the SYN's.
func (e *Endpoint) startSequence() {
	e.snd.una, e.snd.nxt = e.snd.iss, e.snd.iss
	e.snd.smallEnd, e.snd.pushSeq, e.snd.urgent = e.snd.iss, e.snd.iss, e.snd.iss
	e.sendQ.start = e.snd.iss + 1
	e.rack.fack = e.snd.iss
	e.rec.point = e.snd.iss
}

// begin prepares a connection over route.
func (e *Endpoint) begin(route *stack.Route) {
	e.route = route
	e.snd = sendState{}
	e.rcv = receiveState{}
	e.sent.purge()
	e.sendQ = sendQueue{}
	e.ack = ackState{}
	e.urg = urgentState{}
	e.rec, e.rack, e.tlp = recoveryState{}, rackState{}, tailLossState{}
	e.rtt.init()
	e.ecn, e.ts, e.sack, e.tune, e.keep = ecnState{}, timestampState{}, sackState{}, tuneState{}, keepAliveState{}
	e.count = counts{}
	e.cc = newCongestionControl(e.congestionName())
	e.peerMSS, e.blackHoleMSS, e.maxWindowMSS = 0, 0, 0
	e.ack.interactive = false
	e.loadIPOptions()
	e.advMSS = e.advertisedMSS()
	e.updateMSS()
	e.rcv.mss = min(defaultMSS, e.advMSS)
	e.snd.lastSent = e.now
}

// synOptions are the options of our SYN (RFC 9293 section 3.7.1, RFC 7323, RFC 2018). A SYN-ACK
// has what the peer offered, too.
func (e *Endpoint) synOptions(o *header.TCPOptions, flags header.TCPFlags) {
	o.MSS = uint16(e.advMSS)
	if e.ts.ok {
		o.HasTimestamp, o.TSVal = true, e.tsVal()
		if flags&flagAck != 0 {
			o.TSEcr = e.ts.recent
		}
	}
	o.SACKPermitted = e.sackOK
	if flags&flagAck == 0 {
		o.HasWindowScale = e.stack.Settings().TCPWindowScaling.Load()
	} else {
		o.HasWindowScale = e.rcv.scale != 0 || e.snd.scale != 0
	}
	o.WindowScale = e.rcv.scale
}

// handleSynSent takes a segment in SYN-SENT (RFC 9293 section 3.10.7.3).
func (e *Endpoint) handleSynSent(s *segment) {
	hasAck := s.flags&flagAck != 0
	if hasAck && (!after(s.ack, e.snd.iss) || after(s.ack, e.snd.nxt)) {
		if s.flags&flagRst == 0 {
			e.proto.replyReset(e.route, &e.id, s)
		}
		return
	}
	if hasAck && e.ts.ok && s.opts.HasTimestamp && s.opts.TSEcr != 0 && s.flags&flagRst == 0 &&
		after(s.opts.TSEcr, e.tsVal()) {
		// It answers a SYN that was never sent.
		e.proto.replyReset(e.route, &e.id, s)
		return
	}
	if s.flags&flagRst != 0 {
		if hasAck {
			e.stack.Stats().TCP.AttemptFails.Inc()
			e.reset(unix.ECONNREFUSED)
		}
		return
	}
	if s.flags&flagSyn == 0 {
		return
	}
	e.takeSynOptions(s)
	e.rcv.irs, e.rcv.nxt = s.seq, s.seq+1
	e.rcv.acked = e.rcv.nxt
	e.copiedSeq = e.rcv.nxt
	e.snd.wl1 = s.seq
	e.snd.wnd = int(s.window) // never scaled in a SYN
	e.snd.maxWnd = e.snd.wnd
	e.snd.lastWindow = s.window
	e.updateMSS()
	if !hasAck {
		// Simultaneous open (RFC 9293 section 3.5, figure 8).
		e.ecn.ok = false
		e.state = StateSynReceived
		g := e.sent.list.at(0)
		g.at = e.now
		e.transmit(g.seq, g.end, g.flags)
		e.armRetransmit()
		return
	}
	e.ecn.ok = e.ecn.asked && s.flags&(flagEce|flagCwr) == flagEce
	a := ackInfo{priorFlight: e.flight(), advanced: true, priorFack: e.rack.fack}
	e.acknowledge(s, &a)
	e.measureRTT(s, &a)
	e.timers.cancel(deadlineSend)
	e.establish()
	s.seq++
	s.flags &^= flagSyn
	e.ackNow()
	if s.size > 0 || s.flags&flagFin != 0 {
		e.handleData(s)
	}
	if e.state == StateClosed {
		return
	}
	e.output(outputAcked)
	e.acknowledgeData()
}

// takeSynOptions agrees on what both SYNs offer.
func (e *Endpoint) takeSynOptions(s *segment) {
	o := &s.opts
	if o.HasWindowScale && e.stack.Settings().TCPWindowScaling.Load() {
		e.snd.scale = o.WindowScale
	} else {
		e.snd.scale, e.rcv.scale = 0, 0
	}
	e.ts.ok = e.ts.ok && o.HasTimestamp
	if e.ts.ok {
		e.ts.recent, e.ts.recentAt = o.TSVal, e.now
	}
	e.sackOK = e.sackOK && o.SACKPermitted
	e.peerMSS = e.acceptedMSS(int(o.MSS))
}

// establish ends the handshake.
func (e *Endpoint) establish() {
	e.state = StateEstablished
	e.stack.Stats().TCP.CurrEstab.Add(1)
	e.startCongestion()
	e.growSendBuffer()
	e.tune.time = e.now
	e.tune.seq = e.copiedSeq
	e.tune.space = min(max(e.rcv.wnd, 1), initialSegments*max(e.advMSS, 1))
	e.armKeepAlive()
	e.notify(waiter.EventOut | waiter.EventWrNorm)
	if e.finWanted {
		e.finWanted = false
		e.sendFin()
	}
}

// startCongestion sets the initial window (RFC 6928), or one segment if the SYN was lost.
func (e *Endpoint) startCongestion() {
	c := &e.cong
	*c = congestion{mss: e.mss, threshold: noThreshold, window: initialSegments * e.mss}
	if e.count.retransmitted > 1 {
		c.window = e.mss
	}
	if e.count.retransmitted > 0 && e.rtt.srtt == 0 {
		e.rtt.rto = max(e.rtt.rto, fallbackRTO)
	}
	c.roundEnd = e.snd.nxt
	e.updateCongestion()
	e.rec = recoveryState{point: e.snd.una}
	e.rack.fack = e.snd.una
	e.snd.lastSent = e.now
	e.cc.init(c)
}

// updateCongestion brings what algorithms look at up to date.
func (e *Endpoint) updateCongestion() {
	c := &e.cong
	c.now, c.mss = e.now, max(e.sendMSS(), 1)
	c.srtt = e.rtt.srtt
	c.una, c.nxt = e.snd.una, e.snd.nxt
}
