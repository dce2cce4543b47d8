package tcp

import (
	"math"
	"sort"
	"time"
)

const (
	// initialSegments is the initial window (RFC 6928 section 2). As in Linux it is ten
	// segments of whatever size, so that loopback's large ones are not throttled.
	initialSegments = 10
	// maxCongestionWindow keeps sums far from overflow.
	maxCongestionWindow = 1 << 30
	noThreshold         = math.MaxInt32
)

// congestion is the state that congestion control works on. Sizes are bytes.
type congestion struct {
	// window is cwnd and threshold ssthresh (RFC 5681 section 2).
	window, threshold int
	// mss is the size of a full segment.
	mss int
	// now is the time of what is going on.
	now time.Duration
	// srtt is as estimated, latestRTT the newest sample, 0 if there is none.
	srtt, latestRTT time.Duration
	// una and nxt are the ends of the range in flight.
	una, nxt uint32
	// limited: the window kept the sender from sending in the last round trip. maxFlight is
	// the most that was in flight in it, which ends when una reaches roundEnd.
	limited   bool
	maxFlight int
	roundEnd  uint32
}

// slowStart says whether the window is under the threshold.
func (c *congestion) slowStart() bool { return c.window < c.threshold }

// mayGrow says whether the window was used, so that more of it means something (RFC 5681 section
// 3.1, RFC 7661).
func (c *congestion) mayGrow() bool {
	if c.slowStart() {
		return c.limited || c.window < 2*c.maxFlight
	}
	return c.limited
}

// growSlowStart adds acked bytes to the window up to the threshold and returns what is left of
// them (RFC 5681 section 3.1, with the byte counting of RFC 3465, whose bound of two segments per
// acknowledgement would punish receivers that acknowledge coalesced segments at once).
func (c *congestion) growSlowStart(acked int) int {
	n := min(acked, c.threshold-c.window)
	c.window = min(c.window+n, maxCongestionWindow)
	return acked - n
}

// congestionControl is an algorithm that decides about the window. Its methods run under the
// endpoint's lock.
type congestionControl interface {
	name() string
	// init begins with c as it is.
	init(c *congestion)
	// grow is called for acknowledgements of new data outside of recovery, acked bytes.
	grow(c *congestion, acked int)
	// reduce is called when loss or ECN shows congestion, and returns the new threshold.
	reduce(c *congestion) int
	// timeout is called at a retransmission timeout, after reduce.
	timeout(c *congestion)
	// undo is called when the last reduction was for nothing.
	undo(c *congestion)
	// idle is called when sending begins again after a time of d.
	idle(c *congestion, d time.Duration)
}

// congestionControls are the algorithms. It is never changed.
var congestionControls = map[string]func() congestionControl{
	"reno":  func() congestionControl { return &reno{} },
	"cubic": func() congestionControl { return &cubic{} },
}

// CongestionControls are the names of the algorithms (net.ipv4.tcp_available_congestion_control).
func CongestionControls() []string {
	var names []string
	for n := range congestionControls {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}

// newCongestionControl makes one by name, nil if there is none.
func newCongestionControl(name string) congestionControl {
	if f := congestionControls[name]; f != nil {
		return f()
	}
	return nil
}

// congestionName is the algorithm that a connection of e gets.
func (e *Endpoint) congestionName() string {
	if e.cfg.congestion != "" {
		return e.cfg.congestion
	}
	if n := e.stack.Settings().CongestionControl.Load(); congestionControls[n] != nil {
		return n
	}
	return "cubic"
}
