package tcp

import (
	"math"
	"time"
)

// CUBIC's constants (RFC 9438 sections 4.1, 4.3 and 4.6): the factor of the cubic function in
// segments per second cubed, the factor by which the window is reduced, and the growth of the
// window of a Reno flow with that reduction.
const (
	cubicC     = 0.4
	cubicBeta  = 0.7
	cubicAlpha = 3 * (1 - cubicBeta) / (1 + cubicBeta)
)

// cubic is the window of RFC 9438, with HyStart++ (RFC 9406) to leave slow start before queues
// overflow. Windows are in segments here, as in the RFC.
type cubic struct {
	// wMax is the window before the last reduction; k how many seconds the cubic function
	// takes to reach it; epoch when it began, 0: with the next acknowledgement.
	wMax, k float64
	epoch   time.Duration
	// wEst is what Reno would have by now (section 4.3).
	wEst float64
	// credit is the fraction of a segment that the window has grown.
	credit float64

	// What undo restores.
	saved savedCubic

	slow hyStart
}

type savedCubic struct {
	wMax, k, wEst float64
	epoch         time.Duration
}

func (u *cubic) name() string { return "cubic" }

func (u *cubic) init(c *congestion) {
	*u = cubic{}
	u.slow.reset(c)
}

func segments(bytes int, c *congestion) float64 { return float64(bytes) / float64(c.mss) }

func (u *cubic) grow(c *congestion, acked int) {
	if c.slowStart() {
		u.slow.acknowledged(c, acked)
	}
	if !c.mayGrow() {
		return
	}
	if c.slowStart() {
		n := acked
		if u.slow.css {
			n = acked / hyStartGrowthDivisor
		}
		if left := c.growSlowStart(n); left == 0 {
			return
		} else {
			acked = left
		}
	}
	u.avoid(c, acked)
}

// avoid is congestion avoidance (RFC 9438 section 4.2).
func (u *cubic) avoid(c *congestion, acked int) {
	w := segments(c.window, c)
	if u.epoch == 0 {
		u.epoch = c.now
		u.wEst = w
		if w >= u.wMax {
			u.k, u.wMax = 0, w
		} else {
			u.k = math.Cbrt((u.wMax - w) / cubicC)
		}
	}
	t := (c.now - u.epoch).Seconds()
	// Where the function will be in one round trip (section 4.4), within bounds.
	target := u.at(t + c.srtt.Seconds())
	target = min(max(target, w), 1.5*w)

	alpha := cubicAlpha
	if u.wEst >= u.wMax && u.wMax > 0 {
		alpha = 1 // section 4.3, as Reno from there on
	}
	u.wEst += alpha * float64(acked) / float64(c.window)
	grown := (target - w) / w * segments(acked, c)
	if u.at(t) < u.wEst && u.wEst > w {
		// The Reno-friendly region: as large as Reno's would be, not in one step but by
		// what was acknowledged.
		grown = max(grown, min(u.wEst-w, segments(acked, c)))
	}
	u.credit += grown
	if n := int(u.credit * float64(c.mss)); n > 0 {
		c.window = min(c.window+n, maxCongestionWindow)
		u.credit -= float64(n) / float64(c.mss)
	}
}

// at is W_cubic (section 4.2), t seconds into the epoch.
func (u *cubic) at(t float64) float64 {
	d := t - u.k
	return cubicC*d*d*d + u.wMax
}

func (u *cubic) reduce(c *congestion) int {
	u.saved = savedCubic{u.wMax, u.k, u.wEst, u.epoch}
	w := segments(c.window, c)
	u.epoch, u.credit = 0, 0
	// Fast convergence (section 4.7): a flow that has to shrink again leaves room.
	if w < u.wMax {
		u.wMax = w * (1 + cubicBeta) / 2
	} else {
		u.wMax = w
	}
	// Section 4.6 starts from what is in flight; the window is that, unless the application
	// limits it, for which mayGrow keeps the window near it.
	return max(int(float64(c.window)*cubicBeta), 2*c.mss)
}

func (u *cubic) timeout(c *congestion) {
	// Section 4.8: slow start, and a new epoch behind it.
	u.epoch, u.credit = 0, 0
	u.slow.reset(c)
}

func (u *cubic) undo(*congestion) {
	u.wMax, u.k, u.wEst, u.epoch = u.saved.wMax, u.saved.k, u.saved.wEst, u.saved.epoch
}

// idle moves the epoch, so that the time without data is not time in which the window grew
// (section 5.8).
func (u *cubic) idle(c *congestion, d time.Duration) {
	if u.epoch != 0 {
		u.epoch += d
	}
}
