package kernel

import "testing"

func TestCPUShare(t *testing.T) {
	c := cpuShare{cpus: 2}
	at := func(mono, want int64) {
		t.Helper()
		if got := c.now(mono); got != want {
			t.Errorf("at %d the clock shows %d, want %d", mono, got, want)
		}
	}
	at(1000, 1000)
	c.change(2, 1000)
	at(2000, 2000) // a processor for each
	c.change(2, 2000)
	at(3000, 2500) // half of one
	c.change(4, 4000)
	at(4000, 3000)
	at(8000, 4000) // a quarter
	c.change(-7, 8000)
	at(9000, 5000)
	c.change(-1, 9000)
	at(9500, 5500)

	// A task that comes with an older reading of the time does not turn the clock back.
	c.change(4, 10000)
	c.change(-1, 9999)
	at(10000, 6000)
}
