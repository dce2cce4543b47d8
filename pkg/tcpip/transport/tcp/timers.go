package tcp

import (
	"time"

	"runsc/pkg/tcpip"
)

// deadline is one of the things an endpoint waits for.
type deadline uint8

const (
	// deadlineSend is the retransmission timer in all its uses: timeout, tail loss probe,
	// reordering, zero-window probe (sendTimer says which).
	deadlineSend deadline = iota
	// deadlineAck is the delayed acknowledgement's.
	deadlineAck
	// deadlineKeepAlive is the keep-alive timer's.
	deadlineKeepAlive
	// deadlineState ends FIN-WAIT-2 of a closed socket.
	deadlineState
	// deadlineListen is the listener's: SYN-ACKs to be retransmitted.
	deadlineListen
	deadlines
)

// sendTimer is what the send deadline is for.
type sendTimer uint8

const (
	sendTimerNone sendTimer = iota
	sendTimerRetransmit
	sendTimerTailLoss
	sendTimerReorder
	sendTimerProbe
)

// timers are an endpoint's deadlines on one timer of the clock. at is 0 for those that are off.
// That timer is moved only if a deadline comes before it; if it runs too early, because a
// deadline was moved back meanwhile, it is set again.
type timers struct {
	endpoint *Endpoint
	at       [deadlines]time.Duration
	send     sendTimer
	timer    tcpip.Timer   `state:"nosave"` // set again by Protocol.Resume
	armed    time.Duration // when timer will run; 0: it will not
}

// set makes d fall due at the time when; the endpoint's lock is held.
func (t *timers) set(d deadline, when time.Duration) {
	when = max(when, 1)
	t.at[d] = when
	if t.armed != 0 && t.armed <= when {
		return
	}
	t.arm(when)
}

func (t *timers) arm(when time.Duration) {
	t.armed = when
	wait := max(when-t.endpoint.now, 0)
	if t.timer == nil {
		t.timer = t.endpoint.clock.AfterFunc(wait, t.expired)
		return
	}
	t.timer.Reset(wait)
}

// cancel turns d off.
func (t *timers) cancel(d deadline) {
	t.at[d] = 0
	if d == deadlineSend {
		t.send = sendTimerNone
	}
}

// isSet says whether d is to fall due.
func (t *timers) isSet(d deadline) bool { return t.at[d] != 0 }

// stop turns everything off.
func (t *timers) stop() {
	t.at = [deadlines]time.Duration{}
	t.send = sendTimerNone
	if t.timer != nil && t.armed != 0 {
		t.timer.Stop()
		t.armed = 0
	}
}

// resume sets the clock's timer, which is gone after a restore.
func (t *timers) resume() {
	t.timer, t.armed = nil, 0
	if next := t.next(); next != 0 {
		t.arm(next)
	}
}

// next is when the first deadline falls due, 0 if there is none.
func (t *timers) next() time.Duration {
	next := time.Duration(0)
	for _, at := range t.at {
		if at != 0 && (next == 0 || at < next) {
			next = at
		}
	}
	return next
}

// expired runs on a goroutine of the clock.
func (t *timers) expired() {
	e := t.endpoint
	e.lock()
	defer e.unlock()
	if t.armed == 0 || t.armed > e.now {
		return // stopped or moved while it was on its way
	}
	t.armed = 0
	for d := range deadlines {
		if t.at[d] != 0 && t.at[d] <= e.now {
			t.at[d] = 0
			e.deadline(d)
		}
	}
	if next := t.next(); next != 0 && (t.armed == 0 || t.armed > next) {
		t.arm(next)
	}
}

// deadline acts on a deadline that is due. e.mu is held.
func (e *Endpoint) deadline(d deadline) {
	switch d {
	case deadlineSend:
		kind := e.timers.send
		e.timers.send = sendTimerNone
		switch kind {
		case sendTimerRetransmit:
			e.retransmissionTimeout()
		case sendTimerTailLoss:
			e.tailLossProbe()
		case sendTimerReorder:
			e.reorderTimeout()
		case sendTimerProbe:
			e.probeTimeout()
		}
	case deadlineAck:
		e.delayedAckTimeout()
	case deadlineKeepAlive:
		e.keepAliveTimeout()
	case deadlineState:
		e.stateTimeout()
	case deadlineListen:
		if e.listener != nil {
			e.listener.timeout()
		}
	}
}
