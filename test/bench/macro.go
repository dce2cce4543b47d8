package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"runsc/test/oci"
)

// A workload is a script of macro/. It prepares its work, measures one or more commands by
// macro/measure.sh, which prints "NAME SECONDS" for each, and fails if the work was not done.
type workload struct {
	name  string
	goEnv bool // wants Go's tool chain, the module cache and the sources
	once  bool // too long to be repeated
}

var workloads = []workload{
	{name: "cc"},
	{name: "tar"},
	{name: "python"},
	{name: "git"},
	{name: "sqlite"},
	{name: "redis"},
	{name: "gobuild", goEnv: true, once: true},
}

// macroLimit bounds one run of a workload, its preparation included.
const macroLimit = 10 * time.Minute

// macro runs the workloads in the root filesystem of test/software, on every target.
func (b *bench) macro(ctx context.Context) (*table, error) {
	t := &table{Title: "real programs, seconds", Unit: "s", Base: "native"}
	var chosen []workload
	for _, w := range workloads {
		if b.wanted(w.name) {
			chosen = append(chosen, w)
		}
	}
	if len(chosen) == 0 {
		return t, nil
	}
	lower, err := oci.Debian(ctx, b.top)
	if err != nil {
		return nil, err
	}
	for _, w := range chosen {
		fmt.Fprintf(os.Stderr, "bench: %s\n", w.name) // these take minutes
		for round := 0; round < b.rounds && !(w.once && round > 0); round++ {
			for _, tg := range b.all() {
				if err := b.work(ctx, t, tg, lower, w); err != nil {
					return nil, err
				}
			}
		}
	}
	b.collectErrors(t)
	return t, nil
}

// work runs a workload once. A failure is an error of its cell; the call fails only when
// nothing can run.
func (b *bench) work(ctx context.Context, t *table, tg *target, lower string, w workload) error {
	j := job{
		lower: lower,
		env:   []string{programPath, "HOME=/root", "LC_ALL=C", "TERM=dumb", "SIZE=" + strconv.Itoa(b.size)},
		binds: []string{filepath.Join(b.top, "test/bench/macro") + ":/tests"},
		args:  []string{"bash", "/tests/" + w.name + ".sh"},
		limit: macroLimit,
	}
	if w.goEnv {
		binds, err := oci.GoBinds(b.top)
		if err != nil {
			return err
		}
		j.binds, j.env = append(j.binds, binds...), append(j.env, oci.GoEnv()...)
	}
	out, err := b.do(ctx, tg, j)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	measured := parseMeasures(out)
	for _, m := range measured {
		t.row(m.name).cell(tg.name).add(m.seconds, m.seconds)
	}
	if err == nil && len(measured) == 0 {
		err = fmt.Errorf("printed no measure: %q", out)
	}
	if err != nil {
		t.row(w.name).cell(tg.name).Error = err.Error()
	}
	return nil
}

type measured struct {
	name    string
	seconds float64
}

// parseMeasures finds the lines of macro/measure.sh.
func parseMeasures(out string) []measured {
	var all []measured
	s := bufio.NewScanner(strings.NewReader(out))
	for s.Scan() {
		rest, ok := strings.CutPrefix(s.Text(), "measured ")
		name, value, ok2 := strings.Cut(rest, " ")
		seconds, err := strconv.ParseFloat(value, 64)
		if ok && ok2 && err == nil {
			all = append(all, measured{name, seconds})
		}
	}
	return all
}
