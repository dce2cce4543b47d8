package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An aim is the cost that runsc is to stay below, in ns.
type aim struct {
	most  float64 // at most this
	over  float64 // at most this more than native
	times float64 // at most this multiple of native
}

// aims are of metrics of micro.
var aims = map[string]aim{
	"getpid":         {most: 400},
	"getpid_syscall": {most: 2500},
	"read1":          {over: 1000},
	"write1":         {over: 1000},
	"stat":           {most: 2000},
	"open_close":     {most: 6000},
	"clock":          {most: 40},
	"clock_first":    {most: 40},
	"pipe_pingpong":  {most: 25000},
	"futex_pingpong": {most: 12000},
	"mmap_munmap":    {most: 20000},
	"mprotect_touch": {most: 30000},
	"fault_seq":      {times: 1.3},
	"signal_self":    {most: 10000},
	"thread_join":    {most: 120000},
	"fork_wait":      {most: 900000},
	"fork_exec":      {most: 2e6},
}

// limit is the aim in ns where native takes so long; 0 where native must be known, and is
// not.
func (a aim) limit(native float64) float64 {
	switch {
	case a.most == 0 && native == 0:
		return 0
	case a.over > 0:
		return native + a.over
	case a.times > 0:
		return native * a.times
	}
	return a.most
}

// rootSuffix marks metrics whose files are on the root filesystem, which the gofer serves,
// rather than on a tmpfs.
const rootSuffix = "@root"

// onRoot are the metrics that are measured there as well.
var onRoot = []string{"pread4k", "pwrite4k", "pread64k", "open_close", "stat", "stat_absent", "fstat", "create_unlink", "mmap_file"}

// microJob is a run of micro.
func (b *bench) microJob(args ...string) job {
	return job{rootfs: b.rootfs, env: []string{programPath}, args: append([]string{"/bin/micro"}, args...), limit: time.Minute}
}

// metricNames lists the metrics that micro has and -only wants.
func (b *bench) metricNames(ctx context.Context) ([]string, error) {
	out, err := b.do(ctx, b.targets[0], b.microJob("-list"))
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(strings.Fields(out), func(n string) bool { return !b.wanted(n) }), nil
}

// micro measures every metric of micro on every target.
func (b *bench) micro(ctx context.Context) (*table, error) {
	t := &table{Title: "single operations, ns", Unit: "ns", Base: "native"}
	names, err := b.metricNames(ctx)
	if err != nil {
		return nil, err
	}
	root := slices.DeleteFunc(slices.Clone(onRoot), func(n string) bool { return !slices.Contains(names, n) })
	for range b.passes {
		for _, tg := range b.targets {
			if err := b.measure(ctx, t, tg, names, ""); err != nil {
				return nil, err
			}
			if err := b.measure(ctx, t, tg, root, rootSuffix, "-dir", "/work"); err != nil {
				return nil, err
			}
		}
	}
	t.setAims()
	b.collectErrors(t)
	return t, nil
}

// measure runs micro once for some metrics and adds what it finds to the table, under the
// metrics' names with a suffix. What did not run is an error of its cell; only the end of
// the context is one of the call.
func (b *bench) measure(ctx context.Context, t *table, tg *target, names []string, suffix string, args ...string) error {
	if len(names) == 0 {
		return nil
	}
	for _, n := range names {
		t.row(n + suffix) // in this order
	}
	j := b.microJob(append([]string{"-only", strings.Join(names, ","), "-ms", fmt.Sprint(b.ms)}, args...)...)
	j.limit += time.Duration(len(names)*b.ms) * 30 * time.Millisecond
	out, runErr := b.do(ctx, tg, j)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	found := map[string]bool{}
	for _, l := range parseLines(out) {
		c := t.row(l.Metric + suffix).cell(tg.name)
		found[l.Metric] = true
		switch {
		case l.Error != "":
			c.Error = l.Error
		case l.OpsPerS > 0:
			c.add(l.OpsPerS, 0)
		default:
			c.add(l.NS, l.Best)
		}
	}
	for _, n := range names {
		if !found[n] {
			t.row(n + suffix).cell(tg.name).Error = fmt.Sprintf("did not run: %v", runErr)
		}
	}
	return nil
}

// A line is one of micro's output.
type line struct {
	Metric  string
	NS      float64
	Best    float64
	OpsPerS float64 `json:"ops_per_s"`
	Error   string
}

// parseLines skips what is not a whole line of micro's.
func parseLines(out string) []line {
	var lines []line
	s := bufio.NewScanner(strings.NewReader(out))
	for s.Scan() {
		var l line
		if json.Unmarshal(s.Bytes(), &l) == nil && l.Metric != "" {
			lines = append(lines, l)
		}
	}
	return lines
}

// setAims gives the rows their aims, which may depend on what native takes.
func (t *table) setAims() {
	for _, r := range t.Rows {
		if a, ok := aims[r.Name]; ok {
			r.Aim = a.limit(r.cell(t.Base).Value)
		}
	}
}
