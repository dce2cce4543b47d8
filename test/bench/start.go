package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"runsc/test/oci"
)

// start measures what starting and keeping a container costs. Start-up is the time of `run`
// for a static true, from fork to exit. Idle memory is the proportional set size of all
// processes that a container with a sleep adds: the sandbox, the gofer, and the processes
// that stand for the application's.
func (b *bench) start(ctx context.Context) (*table, error) {
	t := &table{Title: "start and end of `true`; memory of an idle `sleep`", Unit: "ms"}
	var runtimes []*target
	for _, tg := range b.targets {
		if tg.runtime != nil {
			runtimes = append(runtimes, tg)
		}
	}
	if len(runtimes) == 0 || !b.wanted("start") {
		return t, nil
	}
	t.Base = runtimes[0].name
	quick, err := b.smallBundle("quick", "/bin/true")
	if err != nil {
		return nil, err
	}
	idle, err := b.smallBundle("idle", "/bin/sleep", "1000")
	if err != nil {
		return nil, err
	}
	run := t.row("start")
	for i := -1; i < b.starts; i++ { // the first round only warms up
		for _, tg := range runtimes {
			c := run.cell(tg.name)
			if c.Error != "" {
				continue
			}
			id := oci.ID("start")
			res := oci.RunContext(ctx, time.Minute, tg.runtime.Command("run", "--bundle", quick, id))
			if res.Code != 0 {
				tg.runtime.Run(20*time.Second, "delete", "--force", id)
				c.Error = lastLines(res)
			} else if i >= 0 {
				ms := float64(res.Took.Microseconds()) / 1000
				c.add(ms, ms)
			}
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
		}
	}
	memory, procs := t.row("idle memory"), t.row("idle processes")
	memory.Unit, procs.Unit = "KiB", ""
	for _, tg := range runtimes {
		kib, n, err := b.measureIdle(ctx, tg.runtime, idle)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			memory.cell(tg.name).Error, procs.cell(tg.name).Error = err.Error(), err.Error()
			continue
		}
		memory.cell(tg.name).add(float64(kib), 0)
		procs.cell(tg.name).add(float64(n), 0)
	}
	b.collectErrors(t)
	return t, nil
}

// smallBundle is a container with no more than it takes.
func (b *bench) smallBundle(name string, args ...string) (string, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	s := oci.Spec(args...)
	s.Root.Path, s.Root.Readonly = b.rootfs, true
	s.Mounts = s.Mounts[:2] // /proc and /dev
	return dir, oci.WriteConfig(dir, s)
}

// settling is how long an idle container is given to become idle.
const settling = 2 * time.Second

// measureIdle sums the memory of the processes that a sleeping container has.
func (b *bench) measureIdle(ctx context.Context, r *oci.Runtime, bundle string) (kib int64, n int, err error) {
	id := oci.ID("idle")
	pidFile := filepath.Join(b.dir, "pid")
	// No pipes: the container would hold them.
	cmd := r.Command("run", "--detach", "--pid-file", pidFile, "--bundle", bundle, id)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	defer r.Run(20*time.Second, "delete", "--force", id)
	if res := oci.RunContext(ctx, time.Minute, cmd); res.Code != 0 {
		return 0, 0, fmt.Errorf("run --detach: exit status %d", res.Code)
	}
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return 0, 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0, 0, err
	}
	select {
	case <-time.After(settling):
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	}
	for _, p := range family(pid, r.Root) {
		if k, ok := pss(p); ok {
			kib += k
			n++
		}
	}
	if n == 0 {
		return 0, 0, errors.New("no process of the container found")
	}
	return kib, n, nil
}

// family lists a process, those whose arguments have the word, and all descendants.
func family(pid int, word string) []int {
	children := map[int][]int{}
	todo := []int{pid}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range procs {
		p, _ := strconv.Atoi(filepath.Base(dir))
		if cmd, err := os.ReadFile(dir + "/cmdline"); err == nil && bytes.Contains(cmd, []byte(word)) {
			todo = append(todo, p)
		}
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue
		}
		var state string
		var parent int
		if _, err := fmt.Sscan(string(stat[bytes.LastIndexByte(stat, ')')+1:]), &state, &parent); err == nil {
			children[parent] = append(children[parent], p)
		}
	}
	var all []int
	seen := map[int]bool{}
	for len(todo) > 0 {
		p := todo[0]
		todo = todo[1:]
		if !seen[p] {
			seen[p] = true
			all = append(all, p)
			todo = append(todo, children[p]...)
		}
	}
	return all
}

// pss is the proportional set size of a process.
func pss(pid int) (kib int64, ok bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, false
	}
	for _, l := range strings.Split(string(data), "\n") {
		if rest, found := strings.CutPrefix(l, "Pss:"); found {
			fmt.Sscan(rest, &kib)
			return kib, kib > 0
		}
	}
	return 0, false
}
