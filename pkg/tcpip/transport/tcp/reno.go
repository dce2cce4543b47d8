package tcp

import "time"

// reno is the window of RFC 5681 with NewReno's recovery (RFC 6582), which recovery.go has for
// all algorithms.
type reno struct {
	// acked is the bytes acknowledged since the window grew in congestion avoidance.
	acked int
}

func (r *reno) name() string                    { return "reno" }
func (r *reno) init(*congestion)                { *r = reno{} }
func (r *reno) timeout(*congestion)             { r.acked = 0 }
func (r *reno) undo(*congestion)                {}
func (r *reno) idle(*congestion, time.Duration) {}

func (r *reno) grow(c *congestion, acked int) {
	if !c.mayGrow() {
		return
	}
	if c.slowStart() {
		if acked = c.growSlowStart(acked); acked == 0 {
			return
		}
	}
	// RFC 5681 section 3.1: one segment per window of acknowledged data.
	r.acked += acked
	if r.acked >= c.window {
		n := r.acked / c.window
		r.acked -= n * c.window
		c.window = min(c.window+n*c.mss, maxCongestionWindow)
	}
}

// reduce is half the window (RFC 5681 section 3.1, equation 4).
func (r *reno) reduce(c *congestion) int {
	r.acked = 0
	return max(c.window/2, 2*c.mss)
}
