package kernel

import (
	"golang.org/x/sys/unix"
)

// SchedState is what sched(7) calls record. The host's kernel schedules; these values are
// reported back, and inherited.
type SchedState struct {
	Policy      int32
	Priority    int32 // of real-time policies
	Nice        int32
	ResetOnFork bool
	Affinity    []byte // CPU mask; nil: all CPUs
	IOPrio      int32
	TimerSlack  uint64 // ns; 0: the default of 50,000
}

func (s SchedState) forChild() SchedState {
	if s.ResetOnFork {
		s.ResetOnFork = false
		if s.Policy == unix.SCHED_FIFO || s.Policy == unix.SCHED_RR {
			s.Policy, s.Priority = unix.SCHED_NORMAL, 0
		}
		s.Nice = max(s.Nice, 0)
	}
	return s
}

// Sched returns the recorded scheduling state.
func (t *Task) Sched() SchedState {
	t.imageMu.Lock()
	defer t.imageMu.Unlock()
	return t.sched
}

// SetSched changes it by f.
func (t *Task) SetSched(f func(*SchedState)) {
	t.imageMu.Lock()
	defer t.imageMu.Unlock()
	f(&t.sched)
}

// CPU is the number of the CPU that getcpu(2) and rseq(2) report.
// It is constant while the affinity is: which CPU of the host runs the application changes
// without the sentry's knowledge, and programs only use the number to spread their data.
func (t *Task) CPU() int32 {
	mask := t.Sched().Affinity
	if mask == nil {
		return int32(uint32(t.pids.nrs[0]) % uint32(t.k.numCPU))
	}
	var allowed []int32
	for i := range int32(len(mask) * 8) {
		if mask[i/8]&(1<<(i%8)) != 0 {
			allowed = append(allowed, i)
		}
	}
	return allowed[uint32(t.pids.nrs[0])%uint32(len(allowed))]
}
