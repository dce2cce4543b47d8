package tcp

import (
	"math"
	"testing"
	"time"
)

// window is a sender that has always enough to send, seen by an algorithm: each round trip a whole
// window is acknowledged.
type window struct {
	c  congestion
	cc congestionControl
}

const testMSS = 1000

func newWindow(name string, segments int) *window {
	w := &window{c: congestion{
		window: segments * testMSS, threshold: noThreshold, mss: testMSS, now: time.Hour, limited: true,
	}}
	w.cc = newCongestionControl(name)
	w.cc.init(&w.c)
	return w
}

func (w *window) round(rtt time.Duration) {
	c := &w.c
	c.srtt, c.latestRTT = rtt, rtt
	n := c.window
	c.now += rtt
	for acked := 0; acked < n; acked += 2 * testMSS {
		c.una += 2 * testMSS
		c.nxt = c.una + uint32(c.window)
		w.cc.grow(c, 2*testMSS)
	}
}

func (w *window) lose() {
	w.c.threshold = w.cc.reduce(&w.c)
	w.c.window = w.c.threshold
}

func (w *window) segments() float64 { return float64(w.c.window) / testMSS }

func near(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s: %.2f, not %.2f", what, got, want)
	}
}

func TestSlowStart(t *testing.T) {
	for _, name := range CongestionControls() {
		w := newWindow(name, 10)
		w.c.threshold = 70 * testMSS
		for _, want := range []float64{20, 40} {
			w.round(50 * time.Millisecond)
			near(t, name, w.segments(), want, 1)
		}
		w.round(50 * time.Millisecond)
		if s := w.segments(); s < 70 || s > 75 {
			t.Errorf("%s: slow start ends at 70, the window is %.1f", name, s)
		}
		if w.c.limited = false; true {
			before := w.c.window
			w.round(50 * time.Millisecond)
			if w.c.window != before {
				t.Errorf("%s: a window that is not used grows", name)
			}
		}
	}
}

// RFC 5681 section 3.1: one segment per round trip, and half the window at a loss.
func TestReno(t *testing.T) {
	w := newWindow("reno", 40)
	w.lose()
	near(t, "after a loss", w.segments(), 20, 0)
	for range 10 {
		w.round(50 * time.Millisecond)
	}
	near(t, "after ten round trips", w.segments(), 30, 1.1)
	w.c.window = 2 * testMSS
	w.lose()
	near(t, "the least", w.segments(), 2, 0)
}

// RFC 9438 section 4.2: the window is that of the cubic function, which has its plateau at the window
// before the loss.
func TestCubicFunction(t *testing.T) {
	w := newWindow("cubic", 1000)
	w.lose()
	near(t, "after a loss", w.segments(), 700, 1)
	k := math.Cbrt(1000 * (1 - cubicBeta) / cubicC)
	rtt := 100 * time.Millisecond
	// The window follows the function by what is acknowledged: within a round trip or so.
	begin := w.c.now + rtt
	for range 150 {
		w.round(rtt)
		at := (w.c.now - begin).Seconds()
		want := cubicC*math.Pow(at-k, 3) + 1000
		near(t, w.c.now.String(), w.segments(), want, 0.02*want)
	}
	if w.segments() <= 1000 {
		t.Errorf("the window is %.0f after 15 s", w.segments())
	}
}

// RFC 9438 section 4.3: over short paths it is as large as Reno's would be.
func TestCubicIsNotSlowerThanReno(t *testing.T) {
	w := newWindow("cubic", 40)
	w.lose()
	start := w.segments()
	rtt := time.Millisecond
	rounds := 50
	for range rounds {
		w.round(rtt)
	}
	// Alpha is about 0.53 segments per round trip until the window of before is reached, then one.
	toMax := (40 - start) / cubicAlpha
	want := 40 + (float64(rounds) - toMax)
	near(t, "after 50 short round trips", w.segments(), want, 0.15*want)
}

// RFC 9438 section 4.7: a flow that loses before it has come back to its former size leaves room.
func TestCubicFastConvergence(t *testing.T) {
	u := &cubic{}
	c := &congestion{window: 100 * testMSS, mss: testMSS, threshold: noThreshold}
	u.init(c)
	c.threshold = u.reduce(c)
	near(t, "the plateau", u.wMax, 100, 0)
	c.window = 80 * testMSS
	u.reduce(c)
	near(t, "the plateau of a second loss", u.wMax, 80*(1+cubicBeta)/2, 0.01)
	u.undo(c)
	near(t, "undone", u.wMax, 100, 0)
	c.window = 2 * testMSS
	if got := u.reduce(c); got != 2*testMSS {
		t.Errorf("the least is %d", got)
	}
}

// RFC 9438 section 5.8: idle time is not growth.
func TestCubicIdle(t *testing.T) {
	a, b := newWindow("cubic", 100), newWindow("cubic", 100)
	for _, w := range []*window{a, b} {
		w.lose()
		w.round(50 * time.Millisecond)
	}
	b.c.now += 20 * time.Second
	b.cc.idle(&b.c, 20*time.Second)
	for range 20 {
		a.round(50 * time.Millisecond)
		b.round(50 * time.Millisecond)
	}
	near(t, "after idle time", b.segments(), a.segments(), 0.5)
}

func TestCubicTimeout(t *testing.T) {
	w := newWindow("cubic", 100)
	w.c.threshold = w.cc.reduce(&w.c)
	w.cc.timeout(&w.c)
	w.c.window = testMSS
	for range 7 {
		w.round(50 * time.Millisecond)
	}
	near(t, "slow start after a timeout", w.segments(), 70, 10)
}

// RFC 9406 section 4.2: slow start ends when the round trip time rises, after five rounds of slower
// growth.
func TestHyStart(t *testing.T) {
	w := newWindow("cubic", 16)
	for range 3 {
		w.round(40 * time.Millisecond)
	}
	near(t, "while the round trip time is the same", w.segments(), 128, 2)
	// The first round with a longer time is found out in its course.
	w.round(50 * time.Millisecond)
	s := w.segments()
	if s >= 250 {
		t.Errorf("it goes on to %.0f", s)
	}
	for range 3 {
		before := w.segments()
		w.round(50 * time.Millisecond)
		if g := w.segments() / before; g < 1.15 || g > 1.3 {
			t.Errorf("in conservative slow start the window grows by %.2f", g)
		}
	}
	for range 4 {
		w.round(50 * time.Millisecond)
	}
	if w.c.slowStart() {
		t.Error("slow start does not end")
	}
	if w.c.threshold == noThreshold {
		t.Error("no threshold was set")
	}
}

// RFC 9406 section 4.2: a rise that passes does not end it.
func TestHyStartResumes(t *testing.T) {
	w := newWindow("cubic", 16)
	for range 3 {
		w.round(40 * time.Millisecond)
	}
	w.round(50 * time.Millisecond)
	w.round(40 * time.Millisecond)
	before := w.segments()
	w.round(40 * time.Millisecond)
	if g := w.segments() / before; g < 1.9 {
		t.Errorf("the window grows by %.2f", g)
	}
}

func TestUnknownAlgorithm(t *testing.T) {
	if newCongestionControl("vegas") != nil {
		t.Error("there is one")
	}
}
