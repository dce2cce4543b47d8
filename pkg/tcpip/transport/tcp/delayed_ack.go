package tcp

import "time"

// Delays of acknowledgements. RFC 9293 section 3.8.6.3 allows up to 500 ms.
const (
	minAckDelay = 40 * time.Millisecond
	// maxQuickAcks is how many segments are acknowledged at once when a connection begins, or
	// begins again, so that the sender's slow start is not held up.
	maxQuickAcks = 16
)

// ackState is when to acknowledge (RFC 5681 section 4.2, RFC 9293 section 3.8.6.3).
type ackState struct {
	// pending: an acknowledgement is owed. now: at once.
	pending, now bool
	// quick is how many more are sent at once. interactive: the application answers soon, and
	// the answer will carry it.
	quick int
	// small is how many segments came since the last acknowledgement behind which the sender
	// may wait: partial ones, or ends of messages.
	small       int
	interactive bool
	// ato is the delay, which follows the rhythm of the data; 0: none came yet. lastData is
	// when the last came.
	ato      time.Duration
	lastData time.Duration
}

// enterQuickAck makes the next segments be acknowledged at once.
func (e *Endpoint) enterQuickAck(n int) {
	e.raiseQuick(n)
	e.ack.interactive = false
	e.ack.ato = minAckDelay
}

// raiseQuick allows as many quick acknowledgements as half of the window has segments.
func (e *Endpoint) raiseQuick(n int) {
	segs := e.rcv.wnd / (2 * max(e.rcv.mss, 1))
	e.ack.quick = max(e.ack.quick, min(max(segs, 2), n))
}

// setQuickAck is TCP_QUICKACK.
func (e *Endpoint) setQuickAck(on bool) {
	e.ack.interactive = !on
	if on && e.ack.pending && e.state.in(StateEstablished, StateCloseWait) {
		e.sendAck()
	}
}

// dataCame learns from a segment with data.
func (e *Endpoint) dataCame(s *segment) {
	a := &e.ack
	size := s.size
	if g := int(s.pkt.Segmentation.Size); g > 0 && g < size {
		size = g
	}
	if size >= e.rcv.mss {
		e.rcv.mss = max(min(size, e.advMSS), 1)
	}
	if s.size > 0 && (s.size%e.rcv.mss != 0 || s.flags&flagPsh != 0) {
		a.small++
	}
	e.measureReceiveRTT(s)
	a.pending = true
	switch d := e.now - a.lastData; {
	case a.ato == 0:
		e.raiseQuick(maxQuickAcks)
		a.ato = minAckDelay
	case d <= minAckDelay/2:
		a.ato = a.ato/2 + minAckDelay/2
	case d < a.ato:
		a.ato = min(a.ato/2+d, max(e.rtt.rto, minAckDelay))
	case d > e.rtt.rto:
		// After such a gap the sender's window may be small again.
		e.raiseQuick(maxQuickAcks)
	}
	a.lastData = e.now
}

// acknowledgeData sends the acknowledgement that is owed, or sets the time for it.
func (e *Endpoint) acknowledgeData() {
	a := &e.ack
	if !a.pending {
		return
	}
	switch {
	case a.now, e.rcv.nxt-e.rcv.acked > uint32(e.rcv.mss) && !e.readerAcknowledges(), a.quick > 0 && !a.interactive, !e.ooo.empty():
		e.sendAck()
	case !e.timers.isSet(deadlineAck):
		e.timers.set(deadlineAck, e.now+min(max(a.ato, minAckDelay), maxAckDelay))
	}
}

// readerAcknowledges says that the application is about to read, which will acknowledge and open
// the window with one segment (afterRead): it is reading, or has so much to read that it is what
// everybody waits for. Under load that is one segment for a whole read, which saves work on both
// sides.
func (e *Endpoint) readerAcknowledges() bool {
	much := e.fullWindow() / 8
	return (e.rcv.reading || e.recvQ.len() > much) && int(e.rcv.nxt-e.rcv.acked) <= much
}

// ackSent notes that a segment with an acknowledgement was sent.
func (e *Endpoint) ackSent() {
	a := &e.ack
	if a.pending {
		a.pending, a.now, a.small = false, false, 0
		e.timers.cancel(deadlineAck)
		if a.quick > 0 {
			if a.quick--; a.quick == 0 {
				a.ato = minAckDelay
			}
		}
	}
}

// delayedAckTimeout sends an acknowledgement that nothing has carried.
func (e *Endpoint) delayedAckTimeout() {
	a := &e.ack
	if !a.pending || e.state.in(StateClosed, StateListen, StateSynSent) {
		return
	}
	if a.interactive {
		// The application was not that quick: acknowledge sooner.
		a.interactive = false
		a.ato = minAckDelay
	} else {
		a.ato = min(2*a.ato, maxAckDelay)
	}
	e.stack.Stats().TCP.DelayedACKs.Inc()
	e.sendAck()
}
