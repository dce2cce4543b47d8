package tcp

import "time"

// Bounds of the retransmission timeout. The least one is Linux's, which counts on delayed
// acknowledgements that take 40 ms; RFC 6298 section 2.4 would have 1 s.
const (
	initialRTO = time.Second // RFC 6298 section 2.1
	minRTO     = 200 * time.Millisecond
	maxRTO     = 120 * time.Second
	// fallbackRTO follows a SYN that had to be retransmitted (RFC 6298 section 5.7).
	fallbackRTO = 3 * time.Second
)

// rttState estimates the round trip time (RFC 6298).
type rttState struct {
	srtt, rttvar time.Duration // srtt of 0: nothing was measured
	rto          time.Duration // without backoff
	backoff      uint8
	// low is the least in a window of 5 minutes: lowNow is that of
	// this window, lowBefore of the one before (RFC 8985 section 5.3 wants min_RTT).
	lowNow, lowBefore time.Duration
	lowSince          time.Duration
}

const minRTTWindow = 5 * time.Minute

func (r *rttState) init() { *r = rttState{rto: initialRTO} }

// sample takes a measurement at the time now. expected is how many samples a round trip gives,
// by which each weighs less (RFC 7323 appendix G).
func (r *rttState) sample(m, now time.Duration, expected int) {
	m = max(m, time.Microsecond)
	if r.lowNow == 0 || now-r.lowSince > minRTTWindow {
		r.lowBefore, r.lowNow, r.lowSince = r.lowNow, m, now
	} else if m < r.lowNow {
		r.lowNow = m
	}
	if r.srtt == 0 {
		r.srtt, r.rttvar = m, m/2
	} else {
		n := time.Duration(min(max(expected, 1), 64))
		d := r.srtt - m
		if d < 0 {
			d = -d
		}
		r.rttvar += (d - r.rttvar) / (4 * n)
		r.srtt += (m - r.srtt) / (8 * n)
	}
	r.rto = min(r.srtt+max(minRTO, 4*r.rttvar), maxRTO)
	r.backoff = 0
}

// low is the least round trip time of the last minutes, 0 if unknown.
func (r *rttState) low() time.Duration {
	if r.lowBefore != 0 && r.lowBefore < r.lowNow {
		return r.lowBefore
	}
	return r.lowNow
}

// timeout is the retransmission timeout with backoff.
func (r *rttState) timeout() time.Duration {
	return min(r.rto<<min(r.backoff, 20), maxRTO)
}
