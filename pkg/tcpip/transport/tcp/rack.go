package tcp

import (
	"time"

	"runsc/pkg/tcpip/header"
)

const (
	// duplicateThreshold is DupThresh (RFC 5681 section 3.2).
	duplicateThreshold = 3
	// rackWindowRecoveries is how many loss recoveries a widened reordering window persists
	// (RFC 8985 section 6.2, step 4).
	rackWindowRecoveries = 16
)

// rackState is the state of RACK (RFC 8985 section 5.2).
type rackState struct {
	// order and end are of the segment sent last among those delivered, if valid; rtt its round
	// trip time.
	valid bool
	order uint64
	end   uint32
	rtt   time.Duration
	// fack is the highest sequence number delivered; reordering: segments came out of order.
	fack       uint32
	reordering bool
	// factor widens the window for reordering in quarters of the least round trip time;
	// persist is for how many recoveries more; dsackRound the end of the round trip in which
	// duplicates were seen last.
	factor        int
	persist       int
	dsackRound    uint32
	hasDsackRound bool
}

// rackUpdate is RACK_update (RFC 8985 section 6.2, steps 1 and 2).
func (e *Endpoint) rackUpdate(s *sentSegment, opts *header.TCPOptions) {
	r := &e.rack
	rtt := e.now - s.at
	if s.flags&sentEver != 0 {
		// An acknowledgement of the original says nothing of the retransmission.
		if e.ts.ok && opts.HasTimestamp && before(opts.TSEcr, e.tsValAt(s.at)) {
			return
		}
		if rtt < e.rtt.low() {
			return
		}
	}
	r.rtt = rtt
	if !r.valid || s.order > r.order || s.order == r.order && after(s.end, r.end) {
		r.valid, r.order, r.end = true, s.order, s.end
	}
}

// rackWindow is RACK_update_reo_wnd (RFC 8985 section 6.2, step 4).
func (e *Endpoint) rackWindow(a *ackInfo) time.Duration {
	r := &e.rack
	if r.hasDsackRound && a != nil && afterOrEqual(e.snd.una, r.dsackRound) {
		r.hasDsackRound = false
	}
	if a != nil && a.duplicates > 0 && !r.hasDsackRound {
		r.hasDsackRound, r.dsackRound = true, e.snd.nxt
		r.factor, r.persist = max(r.factor, 1)+1, rackWindowRecoveries
	}
	if !r.reordering {
		if e.rec.state >= CongestionRecovery || e.sent.sacked >= duplicateThreshold*e.sendMSS() {
			return 0
		}
	}
	return min(time.Duration(max(r.factor, 1))*e.rtt.low()/4, e.rtt.srtt)
}

// rackRecovered ends a recovery.
func (r *rackState) rackRecovered() {
	if r.persist > 0 {
		if r.persist--; r.persist == 0 {
			r.factor = 1
		}
	}
}

// rackDetect is RACK_detect_loss (RFC 8985 section 6.2, step 5): it marks what must be lost,
// because something that was sent later was delivered, and returns after how long to look again;
// 0: not.
func (e *Endpoint) rackDetect(a *ackInfo) time.Duration {
	r := &e.rack
	if !r.valid {
		return 0
	}
	window := e.rackWindow(a)
	again := time.Duration(0)
	q := &e.sent
	for i := range q.list.len() {
		s := q.list.at(i)
		if s.flags&sentSacked != 0 || s.flags&(sentLost|sentAgain) == sentLost {
			continue
		}
		if !(s.order < r.order || s.order == r.order && before(s.end, r.end)) {
			if s.flags&sentEver == 0 {
				// What is behind it was sent later still, its retransmissions too.
				break
			}
			continue
		}
		if left := s.at + r.rtt + window - e.now; left > 0 {
			again = max(again, left)
		} else {
			q.setLost(s)
		}
	}
	return again
}

// rackMarkTimeout is RACK_mark_losses_on_RTO (RFC 8985 section 6.3).
func (e *Endpoint) rackMarkTimeout() {
	window := e.rackWindow(nil)
	q := &e.sent
	for i := range q.list.len() {
		s := q.list.at(i)
		if s.flags&sentSacked == 0 && (i == 0 || s.at+e.rack.rtt+window <= e.now) {
			q.setLost(s)
		}
	}
}

// reorderTimeout runs when the reordering window of a segment is over.
func (e *Endpoint) reorderTimeout() {
	if e.sent.empty() {
		return
	}
	again := e.rackDetect(nil)
	if e.sent.pending > 0 {
		if e.rec.state < CongestionRecovery {
			e.enterRecovery()
		}
		e.retransmitLost(false)
	}
	e.output(outputAcked)
	e.armSend(again)
}

const (
	// tlpMinimum is the least time to a probe: below it, timers cost more than they gain.
	tlpMinimum = 10 * time.Millisecond
	// maxAckDelay is the longest that a peer may delay an acknowledgement (RFC 8985 section
	// 7.2, WCDelAckT).
	maxAckDelay = 200 * time.Millisecond
)

// tailLossState is an outstanding tail loss probe (RFC 8985 section 7.3).
type tailLossState struct {
	active  bool
	retrans bool
	end     uint32
}

// tlpTimeout is after how long to probe (RFC 8985 section 7.2), 0: not.
func (e *Endpoint) tlpTimeout() time.Duration {
	if !e.sackOK || e.tlp.active || e.rec.state != CongestionOpen || e.sent.empty() || e.sent.sacked > 0 ||
		!e.state.synchronized() {
		return 0
	}
	t := time.Second
	if e.rtt.srtt != 0 {
		t = max(2*e.rtt.srtt, tlpMinimum)
		if e.flight() <= e.sendMSS() {
			t += maxAckDelay
		}
	}
	// The probe takes the place of a timeout that would come sooner.
	return min(t, e.rtt.timeout())
}

// tailLossProbe sends new data if there is any, or the last segment again (RFC 8985 section 7.3).
func (e *Endpoint) tailLossProbe() {
	if e.sent.empty() {
		return
	}
	if e.tlp.active {
		e.armSend(0)
		return
	}
	e.stack.Stats().TCP.TCPLossProbes.Inc()
	nxt := e.snd.nxt
	e.outputProbe()
	if e.snd.nxt != nxt {
		e.tlp = tailLossState{active: true, end: e.snd.nxt}
	} else {
		q := &e.sent
		i := q.list.len() - 1
		s := q.list.at(i)
		if mss := uint32(e.sendMSS()); s.end-s.seq > mss {
			cut := s.end - mss
			if n := (s.end - s.seq) % mss; n != 0 {
				cut = s.end - n
			}
			q.split(i, cut)
			i++
		}
		e.tlp = tailLossState{active: true, retrans: true, end: e.snd.nxt}
		e.retransmit(i)
	}
	e.armRetransmit()
}

// tlpAcknowledged takes an acknowledgement while a probe is out (RFC 8985 section 7.4).
func (e *Endpoint) tlpAcknowledged(ack uint32, a *ackInfo) {
	t := &e.tlp
	if !t.active || before(ack, t.end) {
		return
	}
	switch {
	case !t.retrans || a.duplicateTLP:
		t.active = false
	case after(ack, t.end):
		// The probe repaired a loss: the congestion that caused it is answered.
		t.active = false
		e.stack.Stats().TCP.TCPLossProbeRecovery.Inc()
		e.reduceWindow(false)
		e.cong.window = min(e.cong.window, e.cong.threshold)
		if e.rec.state == CongestionCWR {
			e.rec.state = CongestionOpen
		}
	case !a.advanced && !a.windowChanged && !a.newlySacked:
		t.active = false // both the original and the probe arrived
	}
}
