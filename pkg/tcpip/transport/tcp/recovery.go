package tcp

import (
	"time"
)

// recoveryState is what the sender does about loss (RFC 5681 section 3.2, RFC 6675 section 5,
// RFC 8985). The states are those of TCP_INFO.
type recoveryState struct {
	state CongestionState
	// point is SND.NXT when the state was entered: what is acknowledged beyond ends it.
	point uint32
	// duplicates is how many duplicate acknowledgements came, where there is no SACK.
	duplicates int

	// Proportional rate reduction (RFC 6937 section 3.1), in bytes.
	prrDelivered, prrOut, prrFlight int

	// What would be restored if the loss was none: canUndo says that the rest is valid.
	// undoRetrans is how many retransmitted segments were not reported as duplicates.
	canUndo                       bool
	undoMarker                    uint32
	undoRetrans                   int
	priorWindow, priorThreshold   int
	retransAt                     time.Duration // first retransmission of this episode; 0: none
	frto                          bool          // a timeout might be spurious (RFC 5682)
	retransmits                   int           // timeouts of the oldest segment
	stalledAt                     time.Duration // when it was retransmitted first by a timeout
	timeouts                      uint16
	timeoutRecoveries             uint16
	timeoutSince, timeoutDuration time.Duration
}

// flight is how many sequence numbers are in flight.
func (e *Endpoint) flight() int { return int(e.snd.nxt - e.snd.una) }

// pipe is how much of it is believed to be on the path (RFC 6675 section 4; without SACK each
// duplicate acknowledgement stands for a segment that left, RFC 5681 section 3.2).
func (e *Endpoint) pipe() int {
	q := &e.sent
	n := e.flight() - q.sacked - q.lost + q.again
	if !e.sackOK && e.rec.duplicates > 0 {
		n -= min(e.rec.duplicates*e.sendMSS(), max(e.flight()-q.lost, 0))
	}
	return max(n, 0)
}

// reduceWindow asks the algorithm for a new threshold and begins a proportional reduction. undo:
// the reduction may turn out to be wrong.
func (e *Endpoint) reduceWindow(undo bool) {
	c, r := &e.cong, &e.rec
	e.updateCongestion()
	r.priorWindow, r.priorThreshold = c.window, c.threshold
	c.threshold = min(e.cc.reduce(c), noThreshold)
	r.canUndo = undo
	if undo {
		r.undoMarker, r.undoRetrans, r.retransAt = e.snd.una, 0, 0
		if e.sent.again > 0 {
			// A tail loss probe is a retransmission of the episode, too.
			r.undoRetrans = (e.sent.again + e.sendMSS() - 1) / e.sendMSS()
		}
	}
	r.prrDelivered, r.prrOut, r.prrFlight = 0, 0, max(e.flight(), 1)
	e.ecn.sendCWR = e.ecn.ok // RFC 3168 section 6.1.2, whatever the reason
}

// enterRecovery begins a fast retransmission.
func (e *Endpoint) enterRecovery() {
	r := &e.rec
	stats := &e.stack.Stats().TCP
	if e.sackOK {
		stats.TCPSackRecovery.Inc()
	} else {
		stats.TCPRenoRecovery.Inc()
	}
	if r.state < CongestionCWR {
		e.reduceWindow(true)
	} else {
		r.prrDelivered, r.prrOut, r.prrFlight = 0, 0, max(e.flight(), 1)
	}
	r.state, r.point = CongestionRecovery, e.snd.nxt
	e.tlp.active = false
}

// enterCWR answers a congestion notification (RFC 3168 section 6.1.2): once per round trip.
func (e *Endpoint) enterCWR() {
	if e.rec.state >= CongestionCWR {
		return
	}
	e.reduceWindow(false)
	e.rec.state, e.rec.point = CongestionCWR, e.snd.nxt
}

// enterLoss begins slow start after a retransmission timeout (RFC 5681 section 3.1).
func (e *Endpoint) enterLoss() {
	r, c := &e.rec, &e.cong
	fresh := r.state < CongestionRecovery
	if !e.sent.empty() && e.sent.list.at(0).flags&sentSacked != 0 {
		// The peer has thrown away what it had reported (RFC 2018 section 8).
		e.sent.clearSacked()
	}
	if r.state <= CongestionDisorder || !after(r.point, e.snd.una) ||
		r.state == CongestionLoss && r.retransmits == 0 {
		e.reduceWindow(true)
		e.cc.timeout(c)
	}
	if e.sackOK && e.rack.valid {
		e.rackMarkTimeout()
	} else {
		for i := range e.sent.list.len() {
			e.sent.setLost(e.sent.list.at(i))
		}
	}
	r.duplicates = 0
	c.window = e.pipe() + e.sendMSS()
	c.limited = false
	// Whether the original arrived can be told only of the first timeout of data that was not
	// retransmitted before (RFC 5682 section 2.1).
	r.frto = e.sackOK && (fresh || r.retransmits > 0) && e.sent.list.len() > 0
	r.state, r.point = CongestionLoss, e.snd.nxt
	e.tlp.active = false
	e.ecn.sendCWR = false
	if r.timeoutSince == 0 {
		r.timeoutSince = e.now
	}
	r.timeouts++
}

// leaveRecovery ends Recovery, CWR or Loss.
func (e *Endpoint) leaveRecovery() {
	r := &e.rec
	if r.state == CongestionRecovery {
		e.rack.rackRecovered()
	}
	if r.state == CongestionLoss {
		r.timeoutRecoveries++
		r.timeoutDuration += e.now - r.timeoutSince
		r.timeoutSince = 0
	} else if e.cong.threshold < noThreshold {
		e.cong.window = e.cong.threshold
	}
	// That it can be undone stays: reports of duplicates may come later still.
	r.state = CongestionOpen
	r.duplicates, r.frto = 0, false
	e.cong.limited = false
}

// spurious says whether the retransmissions of this episode were for nothing: all of them were
// reported as duplicates (RFC 3708), or what was acknowledged was sent before the first of them
// (Eifel, RFC 3522 section 3.2).
func (e *Endpoint) spurious(s *segment) bool {
	r := &e.rec
	if !r.canUndo || r.retransAt == 0 {
		return false
	}
	if r.undoRetrans == 0 {
		return true
	}
	return e.ts.ok && s.opts.HasTimestamp && s.opts.TSEcr != 0 && before(s.opts.TSEcr, e.tsValAt(r.retransAt))
}

// undo restores what the episode has changed (RFC 4015 section 3).
func (e *Endpoint) undo() {
	r, c := &e.rec, &e.cong
	c.window = max(c.window, r.priorWindow)
	c.threshold = max(c.threshold, r.priorThreshold)
	e.cc.undo(c)
	r.canUndo, r.frto = false, false
}

// recover moves the state of recovery on after an acknowledgement. It returns after how long to
// look at reordering again, 0: not, and whether one segment is to be sent again in any case.
func (e *Endpoint) recover(s *segment, a *ackInfo) (reorder time.Duration, force bool) {
	r := &e.rec
	if a.ece {
		e.enterCWR()
	}
	if !e.sent.empty() && e.sent.list.at(0).flags&sentSacked != 0 {
		// Reneging: the oldest segment is not acknowledged though it was reported.
		e.enterLoss()
		return 0, true
	}
	if !e.sackOK {
		e.countDuplicates(s, a)
	}
	// Leave the state if all that was in flight when it began is acknowledged.
	if r.state > CongestionDisorder && !before(e.snd.una, r.point) && a.advanced {
		switch {
		case r.state != CongestionCWR && e.spurious(s):
			if r.state == CongestionLoss {
				e.stack.Stats().TCP.TCPSpuriousRTOs.Inc()
			}
			e.undo()
			r.state = e.rightOpenState()
			r.retransAt = 0
		case e.sackOK || after(e.snd.una, r.point) || r.state != CongestionRecovery:
			e.leaveRecovery()
		}
		// Without SACK, an acknowledgement of exactly the point keeps the state, so that
		// duplicates of what was retransmitted do not begin another (RFC 6582 section 4).
	}
	switch r.state {
	case CongestionLoss:
		if a.advanced && e.spurious(s) || r.frto && a.originalSacked {
			e.stack.Stats().TCP.TCPSpuriousRTOs.Inc()
			e.sent.clearLost()
			e.undo()
			r.state, r.retransAt = CongestionOpen, 0
			r.retransmits = 0
		}
	case CongestionRecovery:
		if a.advanced && e.spurious(s) {
			e.sent.clearLost()
			e.undo()
			r.state, r.retransAt = CongestionOpen, 0
		} else if !e.sackOK && a.advanced {
			e.markHeadLost() // partial acknowledgement (RFC 6582 section 3.2, step 3)
			force = true
		}
	default:
		if a.duplicates > 0 && e.spurious(s) {
			e.undo()
		}
	}
	lost := e.sent.lost
	if e.sackOK {
		reorder = e.rackDetect(a)
	}
	a.newlyLost = e.sent.lost > lost
	if r.state < CongestionRecovery {
		switch {
		case e.sent.pending > 0 || !e.sackOK && r.duplicates >= duplicateThreshold:
			e.enterRecovery()
			if !e.sackOK {
				e.markHeadLost()
			}
			e.prr(a, true)
			e.stack.Stats().TCP.TCPFastRetrans.Inc()
			return reorder, true
		case r.state != CongestionCWR:
			r.state = e.rightOpenState()
		}
	}
	switch r.state {
	case CongestionRecovery, CongestionCWR:
		e.prr(a, false)
	}
	return reorder, force
}

// rightOpenState is Open or Disorder.
func (e *Endpoint) rightOpenState() CongestionState {
	if e.sent.sacked > 0 || e.rec.duplicates > 0 {
		return CongestionDisorder
	}
	return CongestionOpen
}

// countDuplicates counts duplicate acknowledgements (RFC 5681 section 2).
func (e *Endpoint) countDuplicates(s *segment, a *ackInfo) {
	r := &e.rec
	switch {
	case a.advanced:
		if r.state == CongestionRecovery {
			r.duplicates = max(r.duplicates-max(a.acked/e.sendMSS(), 1)+1, 0)
		} else if r.state < CongestionCWR {
			r.duplicates = 0
		}
	case s.size == 0 && !a.windowChanged && s.flags&(flagSyn|flagFin) == 0 && a.priorFlight > 0 && s.ack == e.snd.una:
		r.duplicates++
		a.delivered += e.sendMSS()
	}
}

// markHeadLost marks the oldest segment as lost, one packet of it.
func (e *Endpoint) markHeadLost() {
	q := &e.sent
	if q.empty() {
		return
	}
	s := q.list.at(0)
	if mss := uint32(e.sendMSS()); s.end-s.seq > mss {
		q.split(0, s.seq+mss)
		s = q.list.at(0)
	}
	if s.flags&sentLost == 0 {
		q.setLost(s)
	}
}

// prr is proportional rate reduction (RFC 6937 section 3.1): how much may be sent for what was
// delivered. first: this acknowledgement began the recovery, so that one segment goes at least.
func (e *Endpoint) prr(a *ackInfo, first bool) {
	r, c := &e.rec, &e.cong
	if a.delivered <= 0 || r.prrFlight == 0 {
		if first {
			c.window = e.pipe() + e.sendMSS()
		}
		return
	}
	r.prrDelivered += a.delivered
	pipe := e.pipe()
	n := 0
	if pipe > c.threshold {
		n = (r.prrDelivered*c.threshold+r.prrFlight-1)/r.prrFlight - r.prrOut
	} else {
		limit := max(r.prrDelivered-r.prrOut, a.delivered)
		if a.advanced && !a.newlyLost {
			limit += e.sendMSS() // it goes well: slow start, up to the threshold
		}
		n = min(c.threshold-pipe, limit)
	}
	n = max(n, 0)
	if first {
		n = max(n, e.sendMSS())
	}
	c.window = pipe + n
}

// retransmitLost sends what is marked as lost again, as far as the window goes; head: the first
// packet in any case.
func (e *Endpoint) retransmitLost(head bool) {
	q := &e.sent
	mss := e.sendMSS()
	for i := 0; i < q.list.len() && q.pending > 0; i++ {
		s := q.list.at(i)
		if s.flags&(sentLost|sentAgain) != sentLost {
			continue
		}
		room := e.cong.window - e.pipe()
		n := s.size()
		if !head && room < min(n, mss) {
			return
		}
		n = min(n, max(room/mss*mss, mss), e.maxPayload())
		if n < s.size() {
			q.split(i, s.seq+uint32(n))
		}
		head = false
		if !e.retransmit(i) {
			return
		}
	}
}

// retransmit sends segment i again. false: it could not be sent now.
func (e *Endpoint) retransmit(i int) bool {
	s := e.sent.list.at(i)
	n := s.size()
	mss := max(e.sendMSS(), 1)
	if e.rec.retransAt == 0 {
		e.rec.retransAt = e.now
	}
	e.rec.undoRetrans += (n + mss - 1) / mss
	e.rec.prrOut += n
	packets := uint32((n + mss - 1) / mss)
	e.count.retransmitted += packets
	e.count.bytesRetransmitted += uint64(n)
	e.stack.Stats().TCP.RetransSegs.Add(uint64(packets))
	e.sent.setSentAgain(s, e.now)
	e.stampRate(s)
	ok := e.transmit(s.seq, s.end, s.flags)
	if i == 0 && e.timers.send != sendTimerReorder {
		e.armRetransmit()
	}
	return ok
}
