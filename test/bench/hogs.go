package main

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// hogMetrics are measured beside spinning processes: entering the kernel, and what waits
// for somebody else to run.
var hogMetrics = []string{"clock", "getpid", "getpid_syscall", "read1", "stat", "pipe_pingpong", "futex_pingpong", "signal_self", "thread_join", "fork_wait"}

// hogStretch is how many times longer than usual a metric takes here: a round must span
// several turns of the scheduler.
const hogStretch = 5

// hogs measures while every processor is busy: with processes that spin outside of the
// sandbox, and then inside. Which of them the host's scheduler takes for one group, by
// session and cgroup, is the runtime's doing and so is part of what is measured; natively
// all are of one group.
func (b *bench) hogs(ctx context.Context) (*table, error) {
	n := runtime.NumCPU()
	t := &table{Title: fmt.Sprintf("single operations beside %d spinning processes, ns", n), Unit: "ns", Base: "native"}
	all, err := b.metricNames(ctx)
	if err != nil {
		return nil, err
	}
	names := slices.DeleteFunc(slices.Clone(hogMetrics), func(n string) bool { return !slices.Contains(all, n) })
	for range b.passes {
		for _, tg := range b.targets {
			stop, err := b.startHogs(n)
			if err != nil {
				return nil, err
			}
			err = b.measure(ctx, t, tg, names, ", outside", "-ms", fmt.Sprint(b.ms*hogStretch))
			stop()
			if err != nil {
				return nil, err
			}
		}
		for _, tg := range b.targets {
			if err := b.measure(ctx, t, tg, names, ", inside", "-hogs", fmt.Sprint(n), "-ms", fmt.Sprint(b.ms*hogStretch)); err != nil {
				return nil, err
			}
		}
	}
	slices.SortStableFunc(t.Rows, func(x, y *row) int {
		return slices.Index(names, metricOf(x)) - slices.Index(names, metricOf(y))
	})
	b.collectErrors(t)
	return t, nil
}

func metricOf(r *row) string {
	name, _, _ := strings.Cut(r.Name, ",")
	return name
}

// hogSeconds is far longer than a pass takes: hogs end by then even if nobody ends them.
const hogSeconds = "300"

// startHogs starts n processes that spin on the host. stop ends them.
func (b *bench) startHogs(n int) (stop func(), err error) {
	var hogs []*exec.Cmd
	stop = func() {
		for _, h := range hogs {
			h.Process.Kill()
			h.Wait()
		}
	}
	for range n {
		h := exec.Command(b.microPath(), "-spin", hogSeconds)
		h.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
		if err := h.Start(); err != nil {
			stop()
			return nil, err
		}
		hogs = append(hogs, h)
	}
	return stop, nil
}
