package tcp

import "time"

// HyStart++ (RFC 9406 section 4.2 and 4.3).
const (
	hyStartMinRTTThreshold = 4 * time.Millisecond
	hyStartMaxRTTThreshold = 16 * time.Millisecond
	hyStartRTTDivisor      = 8
	hyStartSamples         = 8
	hyStartGrowthDivisor   = 4
	hyStartRounds          = 5
)

// hyStart leaves slow start when round trip times rise. Without pacing, its L is unbounded.
type hyStart struct {
	// css: in Conservative Slow Start; rounds of it that are done; baseline is the round trip
	// time at which it is left again.
	css      bool
	rounds   int
	baseline time.Duration

	roundEnd        uint32
	last, current   time.Duration // least round trip times of two rounds; 0: none
	samples         int
	started, exited bool
}

func (h *hyStart) reset(c *congestion) { *h = hyStart{} }

// acknowledged takes an acknowledgement during slow start.
func (h *hyStart) acknowledged(c *congestion, acked int) {
	if h.exited {
		return
	}
	if !h.started || afterOrEqual(c.una, h.roundEnd) {
		if h.started && h.css {
			if h.rounds++; h.rounds >= hyStartRounds {
				h.exited, h.css = true, false
				c.threshold = c.window
				return
			}
		}
		h.started = true
		h.roundEnd = c.nxt
		h.last, h.current, h.samples = h.current, 0, 0
	}
	if c.latestRTT == 0 {
		return
	}
	if h.current == 0 || c.latestRTT < h.current {
		h.current = c.latestRTT
	}
	h.samples++
	if h.samples < hyStartSamples || h.last == 0 {
		return
	}
	if h.css {
		if h.current < h.baseline {
			h.css = false // the rise was a passing one
		}
		return
	}
	threshold := min(max(h.last/hyStartRTTDivisor, hyStartMinRTTThreshold), hyStartMaxRTTThreshold)
	if h.current >= h.last+threshold {
		h.baseline = h.current
		h.css, h.rounds = true, 0
	}
}
