package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"runsc/test/oci"
)

// Addresses of the container and of the other end of its veth.
const netIn, netOut = "198.18.8.2", "198.18.8.1"

// netMeasures are what net/net.sh can measure.
var netMeasures = []string{"iperf", "latency", "redis", "nginx", "loopback"}

const netLimit = 2 * time.Minute

// network measures with the container at one end of a veth and clients on the host's kernel at
// the other, in network namespaces of their own.
func (b *bench) network(ctx context.Context) (*table, error) {
	t := &table{Title: "network", Base: "native", More: true}
	lower, err := oci.Debian(ctx, b.top)
	if err != nil {
		return nil, err
	}
	tests := filepath.Join(b.dir, "net")
	if err := os.Mkdir(tests, 0o755); err != nil {
		return nil, err
	}
	if err := oci.CopyFile(filepath.Join(b.top, "test/bench/net/net.sh"), filepath.Join(tests, "net.sh"), 0o755); err != nil {
		return nil, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(tests, "probe"), "./test/network/probe")
	build.Dir = b.top
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("go build: %w: %s", err, out)
	}
	for round := range b.rounds {
		for _, what := range netMeasures {
			if !b.wanted(what) {
				continue
			}
			if round == 0 {
				fmt.Fprintf(os.Stderr, "bench: %s\n", what)
			}
			for _, tg := range b.targets {
				if err := b.netMeasure(ctx, t, tg, lower, tests, what); err != nil {
					return nil, err
				}
			}
		}
	}
	b.collectErrors(t)
	return t, nil
}

// netMeasure takes one measurement on one target. A failure is an error of its cell.
func (b *bench) netMeasure(ctx context.Context, t *table, tg *target, lower, tests, what string) error {
	out, err := b.bothSides(ctx, tg, lower, tests, what)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	found := false
	for _, line := range strings.Split(out, "\n") {
		f := strings.Fields(line)
		if len(f) != 4 || f[0] != "measured" {
			continue
		}
		if v, err := strconv.ParseFloat(f[2], 64); err == nil {
			r := t.row(f[1])
			r.Unit = f[3]
			r.cell(tg.name).add(v, v)
			found = true
		}
	}
	if err == nil && !found {
		err = fmt.Errorf("printed no measure: %q", out)
	}
	if err != nil {
		t.row(what).cell(tg.name).Error = err.Error()
	}
	return nil
}

// bothSides runs net.sh on both sides and returns what both printed.
func (b *bench) bothSides(ctx context.Context, tg *target, lower, tests, what string) (out string, err error) {
	in, err := oci.MakeNetns("in")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, persist(in.Remove)) }()
	outside, err := oci.MakeNetns("out")
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, persist(outside.Remove)) }()
	if err := outside.Join(in, "eth0", netOut+"/24", netIn+"/24"); err != nil {
		return "", err
	}
	shared, err := os.MkdirTemp(b.dir, "shared")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(shared)
	j := job{
		lower:  lower,
		env:    []string{programPath, "HOME=/root", "LC_ALL=C", "TERM=dumb", "IN=" + netIn, "OUT=" + netOut},
		binds:  []string{tests + ":/tests"},
		shared: shared,
		limit:  netLimit,
	}
	side := func(name string, n *oci.Netns) job {
		j := j
		j.netns = n
		j.args = []string{"bash", "/tests/net.sh", name, what, strconv.Itoa(b.netSeconds())}
		return j
	}
	var outsideOut string
	var outsideErr error
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		outsideOut, outsideErr = b.do(ctx, b.targets[0], side("outside", outside))
		os.WriteFile(filepath.Join(shared, "done"), nil, 0o644)
	}()
	out, err = b.do(ctx, tg, side("sandbox", in))
	os.WriteFile(filepath.Join(shared, "done"), nil, 0o644)
	wg.Wait()
	return out + outsideOut, errors.Join(err, outsideErr)
}

// netSeconds is how long one thing is measured.
func (b *bench) netSeconds() int { return max(1, b.size*3/100) }
