package kernel

import (
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/platform"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/ktime"
)

// idleContext is the platform's part of a task that never runs application code.
type idleContext struct{ platform.Context }

func (idleContext) Interrupt() {}
func (idleContext) Sleep()     {}

// TestInterruptEndsBlock interrupts a task over and over, asleep or on its way to sleep. What
// it looks for takes a sender that is held up in the middle of an interrupt, which the host
// does now and then.
func TestInterruptEndsBlock(t *testing.T) {
	tg := &ThreadGroup{}
	clock := ktime.NewMonotonic(0)
	task := &Task{k: &Kernel{monotonic: clock, cpuShare: cpuShare{clock: clock, cpus: 1}}, tg: tg, pctx: idleContext{},
		wakeC: make(chan struct{}, 1), interruptC: make(chan struct{}, 1)}
	signal := arch.SignalBit(int32(unix.SIGUSR1))
	var ended atomic.Int64
	again, stop := make(chan struct{}), make(chan struct{})
	go func() {
		for range again {
			if err := task.Block(); err != linux.ERESTARTSYS {
				t.Errorf("Block: %v", err)
			}
			// As deliverSignals does.
			task.attention.Store(false)
			tg.signalMu.Lock()
			task.pending.set = 0
			tg.signalMu.Unlock()
			ended.Add(1)
		}
		close(stop)
	}()
	limit := time.Second
	if testing.Short() {
		limit = 100 * time.Millisecond
	}
	var rounds int64
	for begin := time.Now(); time.Since(begin) < limit; {
		again <- struct{}{}
		if rounds%2 == 0 {
			for task.State() != StateSleeping && ended.Load() == rounds {
			}
		}
		tg.signalMu.Lock()
		task.pending.set = signal
		task.interrupt()
		tg.signalMu.Unlock()
		rounds++
		for deadline := time.Now().Add(10 * time.Second); ended.Load() != rounds; {
			if time.Now().After(deadline) {
				t.Fatalf("asleep after interrupt %d", rounds)
			}
		}
	}
	close(again)
	<-stop
	t.Logf("%d interrupts", rounds)
}
