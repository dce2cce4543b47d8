package tcp

import "time"

// orphanRetries is how often a connection without a socket tries (tcp_orphan_retries of 0).
const orphanRetries = 8

// armSend sets the timer for what is in flight: to look at reordering after that time if it is
// not 0, else for a tail loss probe, or the retransmission timeout (RFC 6298 section 5).
func (e *Endpoint) armSend(reorder time.Duration) {
	if e.sent.empty() {
		if e.timers.send != sendTimerProbe {
			e.timers.cancel(deadlineSend)
		}
		return
	}
	if reorder > 0 {
		e.timers.send = sendTimerReorder
		e.timers.set(deadlineSend, e.now+reorder)
		return
	}
	if t := e.tlpTimeout(); t > 0 {
		e.timers.send = sendTimerTailLoss
		e.timers.set(deadlineSend, e.now+t)
		return
	}
	e.armRetransmit()
}

// armRetransmit sets the retransmission timeout, from now on.
func (e *Endpoint) armRetransmit() {
	if e.sent.empty() {
		return
	}
	t := e.rtt.timeout()
	if u := e.cfg.userTimeout; u != 0 && e.rec.stalledAt != 0 {
		// Not later than the user's time is over.
		t = min(t, max(e.rec.stalledAt+u-e.now, time.Millisecond))
	}
	e.timers.send = sendTimerRetransmit
	e.timers.set(deadlineSend, e.now+t)
}

// retransmissionTimeout is RFC 6298 section 5, (5.4) to (5.7).
func (e *Endpoint) retransmissionTimeout() {
	if e.sent.empty() {
		return
	}
	stats := &e.stack.Stats().TCP
	r := &e.rec
	if r.stalledAt == 0 {
		r.stalledAt = e.now - e.rtt.timeout()
		if g := e.sent.list.at(0); g.at < e.now {
			r.stalledAt = g.at
		}
	}
	if e.gaveUp() {
		e.timedOut()
		return
	}
	stats.TCPTimeouts.Inc()
	if e.state == StateSynSent || e.state == StateSynReceived {
		r.retransmits++
		e.rtt.backoff++
		e.sent.setLost(e.sent.list.at(0))
		e.retransmit(0)
		e.armRetransmit()
		return
	}
	if r.retransmits >= blackHoleRetries {
		e.suspectBlackHole()
	}
	e.enterLoss()
	r.retransmits++
	stats.TCPSlowStartRetrans.Inc()
	e.rtt.backoff = min(e.rtt.backoff+1, 30)
	e.retransmitLost(true)
	e.armRetransmit()
}

// gaveUp says whether it is time to give the connection up: RFC 9293 section 3.8.3, with the
// number of retransmissions as tcp(7) has it, or the user's timeout.
func (e *Endpoint) gaveUp() bool {
	r := &e.rec
	switch {
	case e.state == StateSynSent || e.state == StateSynReceived:
		if e.cfg.userTimeout != 0 && e.now-r.stalledAt >= e.cfg.userTimeout {
			return true
		}
		return r.retransmits >= e.synRetries()
	case e.cfg.userTimeout != 0:
		return e.now-r.stalledAt >= e.cfg.userTimeout
	}
	limit := int(e.stack.Settings().TCPRetries2.Load())
	if e.closed {
		limit = min(limit, orphanRetries)
	}
	// In time, not in retransmissions: what limit retransmissions take with the least timeout.
	return r.retransmits > 0 && e.now-r.stalledAt >= backoffTime(limit)
}

// backoffTime is how long n retransmissions, and the wait after the last, take that begin with the
// least timeout and double it up to the greatest.
func backoffTime(n int) time.Duration {
	total, t := time.Duration(0), minRTO
	for range n + 1 {
		total += t
		t = min(2*t, maxRTO)
	}
	return total
}

// suspectBlackHole makes segments smaller when large ones get no answer: a router on the way may
// drop them without saying so (RFC 2923 section 2.1).
func (e *Endpoint) suspectBlackHole() {
	if e.sendMSS() <= blackHoleFloor || !mtuDiscovered(e.mtuDiscovery()) || e.route.Local {
		return
	}
	if g := e.sent.list.at(0); g.size() < blackHoleFloor {
		return
	}
	e.blackHoleMSS = max(e.sendMSS()/2, blackHoleFloor)
	e.updateMSS()
}

// armProbe sets the timer for data that cannot be sent while nothing is in flight: the peer's
// window is closed, or the data is held back (RFC 9293 section 3.8.6.1).
func (e *Endpoint) armProbe() {
	e.timers.send = sendTimerProbe
	t := max(e.rtt.timeout(), minRTO)
	if u := e.cfg.userTimeout; u != 0 && e.snd.probesSince != 0 && e.snd.probes > 0 {
		t = min(t, max(e.snd.probesSince+u-e.now, time.Millisecond))
	}
	e.timers.set(deadlineSend, e.now+t)
}

// probeTimeout probes a closed window, or sends what was held back for long enough.
func (e *Endpoint) probeTimeout() {
	if !e.sent.empty() {
		e.armSend(0)
		return
	}
	if e.unsent() == 0 && !e.finUnsent() {
		return
	}
	if e.snd.probes == 0 {
		e.snd.probesSince = e.now
	}
	if u := e.cfg.userTimeout; u != 0 && e.snd.probes > 0 && e.now-e.snd.probesSince >= u {
		e.timedOut()
		return
	}
	limit := int(e.stack.Settings().TCPRetries2.Load())
	if e.closed {
		limit = min(limit, orphanRetries)
	}
	if e.snd.probes >= limit {
		e.timedOut()
		return
	}
	nxt := e.snd.nxt
	if w := e.usableWindow(); w > 0 {
		// Part of a segment, against the silly window rule (RFC 9293 section 3.8.6.2.1, (4)),
		// or against Nagle and TCP_CORK.
		n := min(e.unsent(), w, e.sendMSS())
		if n == e.unsent() {
			e.output(outputForce)
		} else if n > 0 && e.checkRoute() {
			e.sendNew(nxt+uint32(n), 0)
		}
	}
	if e.snd.nxt != nxt {
		e.snd.probes = 0
		e.armSend(0)
		return
	}
	e.sendProbe()
	e.snd.probes++
	e.rtt.backoff = min(e.rtt.backoff+1, 30)
	e.armProbe()
}
