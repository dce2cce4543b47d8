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
		// Another suite's processes name its own directories (see ShortDir).
		others := strings.Contains(string(cmd), " /tmp/rt") || strings.Contains(string(cmd), "=/tmp/rt")
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
		if err == nil && p != r.Root {
			c["file "+p] = true
		}
		return nil
	})
	return c
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
