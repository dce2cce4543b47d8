package tcp

import "time"

// handleAck takes the acknowledgement of a segment in a synchronized state (RFC 9293 section
// 3.10.7.4, fifth). false: the segment is to be dropped.
func (e *Endpoint) handleAck(s *segment) bool {
	ack := s.ack
	switch {
	case after(ack, e.snd.nxt):
		// Of what was never sent (RFC 5961 section 5.2).
		e.challengeAck()
		return false
	case before(ack, e.snd.una-uint32(e.snd.maxWnd)):
		e.challengeAck()
		return false
	}
	e.updateRecent(s)
	a := ackInfo{priorFack: e.rack.fack, priorFlight: e.flight()}
	if before(ack, e.snd.una) {
		// Older than one that came already: only its blocks may be news.
		if e.sackOK && s.opts.SACKCount > 0 {
			e.processSACK(s, &a)
			e.afterAck(s, &a)
		}
		return true
	}
	e.count.lastAckReceived = e.now
	e.snd.probes, e.keep.probes = 0, 0
	e.updateWindow(s, &a)
	if s.flags&flagEce != 0 && e.ecn.ok && s.flags&flagSyn == 0 {
		a.ece = true
	}
	if a.priorFlight == 0 {
		// Nothing was in flight. It may report duplicates, or open the window.
		if e.sackOK && s.opts.SACKCount > 0 {
			e.processSACK(s, &a)
			e.afterAck(s, &a)
		}
		if a.windowChanged || e.timers.send == sendTimerProbe {
			e.windowOpened()
		}
		return true
	}
	if e.sackOK {
		e.processSACK(s, &a)
	}
	if after(ack, e.snd.una) {
		a.advanced = true
		e.acknowledge(s, &a)
	}
	e.afterAck(s, &a)
	return true
}

// afterAck draws the conclusions from an acknowledgement.
func (e *Endpoint) afterAck(s *segment, a *ackInfo) {
	e.measureRTT(s, a)
	e.tlpAcknowledged(s.ack, a)
	e.updateCongestion()
	c := &e.cong
	before := e.rec.state
	reorder, force := e.recover(s, a)
	if e.rec.state < CongestionCWR || e.rec.state == CongestionLoss {
		if a.acked > 0 && (before < CongestionCWR || before == CongestionLoss) {
			e.updateCongestion()
			e.cc.grow(c, a.acked)
		}
	}
	if e.sent.pending > 0 {
		e.retransmitLost(force)
	}
	c.latestRTT = 0
	e.rateSample(a)
	if a.advanced || reorder > 0 || e.timers.send == sendTimerReorder || a.newlySacked {
		e.armSend(reorder)
	}
	if a.advanced {
		e.route.ConfirmNeighbour()
		e.growSendBuffer()
		e.notifyWritable()
	}
}

// acknowledge moves SND.UNA on.
func (e *Endpoint) acknowledge(s *segment, a *ackInfo) {
	ack := s.ack
	q := &e.sent
	a.acked = int(ack - e.snd.una)
	for !q.empty() {
		g := q.list.at(0)
		if !before(g.seq, ack) {
			break
		}
		whole := beforeOrEqual(g.end, ack)
		part := *g
		if !whole {
			part.end = ack
		}
		if g.flags&sentSacked == 0 {
			if g.flags&sentEver == 0 {
				if a.firstAt == 0 {
					a.firstAt = g.at
				}
				a.lastAt = g.at
			} else {
				a.retransAcked = true
			}
			e.segmentDelivered(&part, a, &s.opts)
		}
		q.forget(g, part.size())
		if !whole {
			g.seq = ack
			g.flags &^= sentSyn
			break
		}
		if g.flags&sentFin != 0 {
			a.finAcked = true
		}
		q.list.pop()
	}
	e.count.bytesAcked += uint64(a.acked)
	e.snd.una = ack
	if before(e.snd.urgent, ack) {
		e.snd.hasUrgent = false
	}
	e.sendQ.acknowledge(ack)
	e.rec.retransmits, e.rec.stalledAt = 0, 0
	e.rtt.backoff = 0
	e.softErr = 0
	if a.finAcked {
		e.snd.finAcked = true
	}
}

// measureRTT takes samples of what was acknowledged. Retransmitted segments give none (Karn,
// RFC 6298 section 3), unless timestamps tell which transmission it was (RFC 7323 section 4).
func (e *Endpoint) measureRTT(s *segment, a *ackInfo) {
	at := a.firstAt
	if at == 0 {
		at = a.sackedAt
	}
	expected := (a.priorFlight + 2*e.sendMSS() - 1) / (2 * max(e.sendMSS(), 1))
	switch {
	case at != 0 && !a.retransAcked:
		e.rtt.sample(e.now-at, e.now, expected)
		if a.lastAt != 0 {
			e.cong.latestRTT = max(e.now-a.lastAt, 1)
		}
	case a.advanced && e.ts.ok && s.opts.HasTimestamp && s.opts.TSEcr != 0:
		// In milliseconds, of which one has passed even if the clock shows none.
		if d := e.tsVal() - s.opts.TSEcr; d < 1<<20 {
			e.rtt.sample(max(time.Duration(d)*timestampUnit, timestampUnit), e.now, expected)
		}
	}
}

// updateWindow takes the window of a segment whose acknowledgement is not old (RFC 9293 section
// 3.10.7.4). Of two segments with the same numbers, whose order nobody knows, the larger window
// counts, but a closed one always does.
func (e *Endpoint) updateWindow(s *segment, a *ackInfo) {
	w := int(s.window) << e.snd.scale
	a.windowChanged = s.window != e.snd.lastWindow
	e.snd.lastWindow = s.window
	if !(after(s.ack, e.snd.una) || after(s.seq, e.snd.wl1) || s.seq == e.snd.wl1 && (w > e.snd.wnd || w == 0)) {
		return
	}
	e.snd.wl1 = s.seq
	if w == e.snd.wnd {
		return
	}
	e.snd.wnd = w
	if w > e.snd.maxWnd {
		e.snd.maxWnd = w
		e.updateMSS()
	}
}

// windowOpened restarts sending that a zero window had stopped, or goes on probing.
func (e *Endpoint) windowOpened() {
	if !e.sent.empty() || e.unsent() == 0 && !e.finUnsent() {
		return
	}
	if e.timers.send == sendTimerProbe {
		if e.headFits() {
			e.timers.cancel(deadlineSend)
			e.rtt.backoff = 0
			return // output comes next
		}
		e.armProbe()
	}
}

// growSendBuffer lets the send buffer hold two windows (tcp(7), tcp_wmem).
func (e *Endpoint) growSendBuffer() {
	if e.opts.SendBufferLocked.Load() {
		return
	}
	want := int64(2 * max(e.cong.window, initialSegments*e.mss))
	want = min(want, e.stack.Settings().TCPSend[2].Load())
	if want > e.opts.SendBuffer.Load() {
		e.opts.SendBuffer.Store(want)
	}
}
