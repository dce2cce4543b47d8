package tcp

import "time"

// rateState estimates the rate at which data is delivered, for TCP_INFO and for algorithms that
// look at it: each segment notes how much had been delivered when it was sent, and its
// acknowledgement how much was delivered since.
type rateState struct {
	delivered   uint64
	deliveredAt time.Duration
	firstAt     time.Duration
	// rate is the last sample in bytes a second; limited: the application did not send enough
	// for it to mean something. limitedUntil is when that ends, in delivered bytes.
	rate         uint64
	limited      bool
	limitedUntil uint64
}

// stampRate notes in s, which is sent now, where a sample begins.
func (e *Endpoint) stampRate(s *sentSegment) {
	r := &e.rate
	if e.sent.empty() || r.deliveredAt == 0 {
		r.firstAt, r.deliveredAt = e.now, e.now
	}
	s.delivered, s.deliveredAt, s.firstAt = r.delivered, r.deliveredAt, r.firstAt
	s.limited = r.limitedUntil != 0
}

// rateSample takes the sample of an acknowledgement.
func (e *Endpoint) rateSample(a *ackInfo) {
	r := &e.rate
	if a.delivered <= 0 {
		return
	}
	r.delivered += uint64(a.delivered)
	r.deliveredAt = e.now
	if r.limitedUntil != 0 && r.delivered > r.limitedUntil {
		r.limitedUntil = 0
	}
	if !a.hasSample {
		return
	}
	s := &a.sample
	r.firstAt = s.at
	// The longer of the times that sending and acknowledging took: neither bursts of one nor
	// of the other make the rate seem higher than the path's.
	d := max(s.at-s.firstAt, e.now-s.deliveredAt)
	if d <= 0 || e.rtt.low() != 0 && d < e.rtt.low() {
		return
	}
	rate := uint64(float64(r.delivered-s.delivered) / d.Seconds())
	if !s.limited || rate >= r.rate {
		r.rate, r.limited = rate, s.limited
	}
}

// noteLimited notes that there is nothing more to send though there is room.
func (e *Endpoint) noteLimited() {
	if e.unsent() == 0 && e.pipe() < e.cong.window {
		e.rate.limitedUntil = max(e.rate.delivered+uint64(e.pipe()), 1)
	}
}
