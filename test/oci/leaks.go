package oci

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"testing"
	"time"
)

// A Census is everything of this machine that a runtime can leave behind.
type Census map[string]bool

// TakeCensus counts processes of the runtime, mounts, network namespaces, cgroups, bound
// sockets, and files of its state directory. Things of others come and go between two
// censuses; so only those are counted that name the runtime's own directory, ids made by
// ID, or the runtime's program.
func (r *Runtime) TakeCensus() Census {
	c := Census{}
	mine := func(s string) bool {
		return strings.Contains(s, r.Root) || strings.Contains(s, fmt.Sprintf("-%d-", os.Getpid()))
	}
	procs, _ := filepath.Glob("/proc/[0-9]*")
	self := fmt.Sprintf("/proc/%d", os.Getpid())
	for _, p := range procs {
		if p == self {
			continue
		}
		cmd, err := os.ReadFile(p + "/cmdline")
		if err != nil {
			continue
		}
		cmd = bytes.ReplaceAll(cmd, []byte{0}, []byte{' '})
		exe, _ := os.Readlink(p + "/exe")
		exe = strings.TrimSuffix(exe, " (deleted)")
		others := foreign(p, r.Root)
		if mine(string(cmd)) || !others && (exe == r.Path || bytes.HasPrefix(cmd, []byte("runsc-"))) {
			if strings.Contains(string(cmd), os.Args[0]) {
				continue
			}
			c["process "+filepath.Base(p)+" "+strings.TrimSpace(string(cmd))] = true
		}
		if ns, err := os.Readlink(p + "/ns/net"); err == nil && mine(string(cmd)) {
			c["net namespace "+ns+" of "+filepath.Base(p)] = true
		}
	}
	if data, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		for _, l := range strings.Split(string(data), "\n") {
			if mine(l) || strings.Contains(l, "/runsc") {
				c["mount "+l] = true
			}
		}
	}
	filepath.WalkDir("/sys/fs/cgroup", func(p string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && mine(p) {
			c["cgroup "+p] = true
		}
		return nil
	})
	if data, err := os.ReadFile("/proc/net/unix"); err == nil {
		for _, l := range strings.Split(string(data), "\n") {
			if f := strings.Fields(l); len(f) >= 8 && mine(f[7]) {
				c["socket "+f[7]] = true
			}
		}
	}
	filepath.WalkDir(r.Root, func(p string, d os.DirEntry, err error) error {
		// The lock of the directory itself is no container's.
		if err == nil && p != r.Root && p != filepath.Join(r.Root, ".lock") {
			c["file "+p] = true
		}
		return nil
	})
	return c
}

// foreign tells whether a process belongs to a runtime with another state directory: its
// arguments name one, or those of the nearest ancestor that names any.
func foreign(proc, root string) bool {
	for i := 0; i < 10; i++ {
		cmd, err := os.ReadFile(proc + "/cmdline")
		if err != nil {
			return false
		}
		if line := strings.ReplaceAll(string(cmd), "\x00", " "); strings.Contains(line, "--root") {
			return !strings.Contains(line, root)
		}
		stat, err := os.ReadFile(proc + "/stat")
		if err != nil {
			return false
		}
		var state string
		var parent int
		if _, err := fmt.Sscan(string(stat[bytes.LastIndexByte(stat, ')')+1:]), &state, &parent); err != nil || parent <= 1 {
			return false
		}
		proc = fmt.Sprintf("/proc/%d", parent)
	}
	return false
}

// NoLeaks waits until nothing is left that the first census did not have.
func (r *Runtime) NoLeaks(t testing.TB, before Census) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		left = left[:0]
		for k := range r.TakeCensus() {
			if !before[k] {
				left = append(left, k)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	sort.Strings(left)
	t.Errorf("left behind:\n\t%s", strings.Join(left, "\n\t"))
}
