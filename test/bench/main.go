// Command bench measures what starting and keeping a container costs, for the runtimes on
// this machine, and prints one table.
//
// Start-up is the time of `run` for a static true, from fork to exit, in a loop in which
// the runtimes take turns, so that a busy moment of the machine hits all alike; the table
// has the median and the best. Idle memory is the proportional set size of all processes of
// one sandbox whose application sleeps, less that of the same sleep natively. Numbers of
// one run compare; those of two runs on a shared machine do not.
//
//	make bench
//	go run ./test/bench -n 50 -json .cache/bench.json
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// A runtime is one column of the comparison.
type runtime struct {
	Name string
	args []string // program and global flags

	Start  []time.Duration `json:"-"`
	Median float64         // ms
	Best   float64         // ms
	PSS    int64           // KiB
	Procs  int
	Err    string `json:",omitempty"`
}

func main() {
	n := flag.Int("n", 20, "starts per runtime")
	out := flag.String("json", "", "also write the numbers to this file")
	flag.Parse()
	if err := bench(*n, *out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func bench(n int, out string) error {
	dir, err := os.MkdirTemp("/tmp", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	rootfs := filepath.Join(dir, "rootfs")
	for _, d := range []string{"bin", "proc", "dev", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(rootfs, d), 0o755); err != nil {
			return err
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	for _, name := range []string{"true", "sleep"} {
		if err := os.WriteFile(filepath.Join(rootfs, "bin", name), data, 0o755); err != nil {
			return err
		}
	}
	quick, err := bundle(dir, "quick", rootfs, "/bin/true")
	if err != nil {
		return err
	}
	idle, err := bundle(dir, "idle", rootfs, "/bin/sleep", "1000")
	if err != nil {
		return err
	}

	runtimes := find(dir)
	if len(runtimes) == 0 {
		return fmt.Errorf("no runtime found: neither runc nor bin/runsc")
	}
	for i := -1; i < n; i++ { // the first round only warms up
		for _, r := range runtimes {
			if r.Err != "" {
				continue
			}
			cmd := r.command("run", "--bundle", quick, fmt.Sprintf("bench-%d-%d", os.Getpid(), i+1))
			began := time.Now()
			if msg, err := cmd.CombinedOutput(); err != nil {
				r.Err = fmt.Sprintf("%v: %s", err, strings.TrimSpace(string(msg)))
				continue
			}
			if i >= 0 {
				r.Start = append(r.Start, time.Since(began))
			}
		}
	}
	for _, r := range runtimes {
		if r.Err == "" {
			r.summarize()
			r.measureIdle(idle)
		}
	}
	fmt.Printf("%-20s %12s %12s %12s %6s\n", "runtime", "start ms", "best ms", "idle KiB", "procs")
	for _, r := range runtimes {
		if r.Err != "" {
			fmt.Printf("%-20s %s\n", r.Name, r.Err)
			continue
		}
		fmt.Printf("%-20s %12.1f %12.1f %12d %6d\n", r.Name, r.Median, r.Best, r.PSS, r.Procs)
	}
	if out == "" {
		return nil
	}
	data, err = json.MarshalIndent(runtimes, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, data, 0o644)
}

// find lists what can be compared: runc, and ours on each platform.
func find(dir string) []*runtime {
	var rs []*runtime
	if path, err := exec.LookPath("runc"); err == nil {
		rs = append(rs, &runtime{Name: "runc", args: []string{path, "--root", filepath.Join(dir, "runc")}})
	}
	path, err := filepath.Abs("bin/runsc")
	if err != nil {
		return rs
	}
	if _, err := os.Stat(path); err != nil {
		return rs
	}
	platforms := "systrap,ptrace"
	if p := os.Getenv("PLATFORM"); p != "" {
		platforms = p
	}
	for _, p := range strings.Split(platforms, ",") {
		rs = append(rs, &runtime{Name: "runsc " + p, args: []string{path, "--root", filepath.Join(dir, p), "--network=none", "--platform=" + p}})
	}
	return rs
}

func bundle(dir, name, rootfs string, args ...string) (string, error) {
	b := filepath.Join(dir, name)
	if err := os.Mkdir(b, 0o755); err != nil {
		return "", err
	}
	data, err := json.Marshal(specs.Spec{
		Version: "1.0.2",
		Root:    &specs.Root{Path: rootfs, Readonly: true},
		Process: &specs.Process{Args: args, Cwd: "/", Env: []string{"PATH=/bin"}},
		Mounts:  []specs.Mount{{Destination: "/proc", Type: "proc", Source: "proc"}, {Destination: "/dev", Type: "tmpfs", Source: "tmpfs"}},
		Linux: &specs.Linux{Namespaces: []specs.LinuxNamespace{
			{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.IPCNamespace}, {Type: specs.UTSNamespace}, {Type: specs.NetworkNamespace}}},
	})
	if err != nil {
		return "", err
	}
	return b, os.WriteFile(filepath.Join(b, "config.json"), data, 0o644)
}

func (r *runtime) command(args ...string) *exec.Cmd {
	all := append(append([]string{}, r.args...), args...)
	return exec.Command(all[0], all[1:]...)
}

func (r *runtime) summarize() {
	sort.Slice(r.Start, func(i, j int) bool { return r.Start[i] < r.Start[j] })
	if len(r.Start) > 0 {
		r.Median = ms(r.Start[len(r.Start)/2])
		r.Best = ms(r.Start[0])
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// measureIdle sums the memory of the processes that a sleeping container adds.
func (r *runtime) measureIdle(bundle string) {
	before := processes()
	id := fmt.Sprintf("idle-%d", os.Getpid())
	cmd := r.command("run", "--detach", "--bundle", bundle, id)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Run(); err != nil {
		r.Err = err.Error()
		return
	}
	defer r.command("delete", "--force", id).Run()
	time.Sleep(2 * time.Second)
	session := strings.Join(r.args[1:3], "=")
	for pid := range processes() {
		if before[pid] || !belongs(pid, session, r.args[2]) {
			continue
		}
		if kib, ok := pss(pid); ok {
			r.PSS += kib
			r.Procs++
		}
	}
}

// belongs tells whether a new process is the sandbox's: by its arguments, its name, or as
// the sleep itself. Others may start at the same moment on a busy machine.
func belongs(pid int, words ...string) bool {
	cmd, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return false
	}
	line := strings.ReplaceAll(string(cmd), "\x00", " ")
	for _, w := range words {
		if strings.Contains(line, w) {
			return true
		}
	}
	return strings.HasPrefix(line, "runsc-") || strings.HasPrefix(line, "/bin/sleep 1000") || line == ""
}

func processes() map[int]bool {
	all := map[int]bool{}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			all[pid] = true
		}
	}
	return all
}

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
