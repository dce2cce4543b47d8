package kernel

import (
	"sync"
	"testing"
	"time"

	"runsc/pkg/sentry/ktime"
)

// setClock is a clock that is set by hand.
type setClock struct {
	ktime.Clock
	t int64
}

func (c *setClock) Now() int64 { return c.t }

func TestCPUShare(t *testing.T) {
	clock := &setClock{}
	c := cpuShare{clock: clock, cpus: 2}
	at := func(now, want int64) {
		t.Helper()
		clock.t = now
		if got := c.now(); got != want {
			t.Errorf("at %d the clock shows %d, want %d", now, got, want)
		}
	}
	at(1000, 1000)
	c.change(2)
	at(2000, 2000) // a processor for each
	c.change(2)
	at(3000, 2500) // half of one
	at(4000, 3000)
	c.change(4)
	at(4000, 3000)
	at(8000, 4000) // a quarter
	c.change(-7)
	at(9000, 5000)
	c.change(-1)
	at(9500, 5500)
}

func TestCPUShareNeverGoesBack(t *testing.T) {
	c := cpuShare{clock: ktime.NewMonotonic(0), cpus: 1}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := 0; i < 4; i++ {
		wg.Add(2)
		go func() {
			defer wg.Done()
			for {
				select {
				case <-stop:
					return
				default:
				}
				c.change(1)
				c.change(-1)
			}
		}()
		go func() {
			defer wg.Done()
			for last := c.now(); ; {
				select {
				case <-stop:
					return
				default:
				}
				now := c.now()
				if now < last {
					t.Errorf("%d after %d", now, last)
					return
				}
				last = now
			}
		}()
	}
	time.Sleep(100 * time.Millisecond)
	close(stop)
	wg.Wait()
}
