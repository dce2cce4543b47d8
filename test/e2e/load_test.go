package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/test/oci"
)

func TestManyInSequence(t *testing.T) {
	n := 200
	if testing.Short() {
		n = 20
	}
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		b := sh(t, "echo $((6*7))")
		before := openFiles(t)
		for i := 0; i < n; i++ {
			if res := r.Run(soon, "run", "--bundle", b.Dir, oci.ID("seq")); res.Code != 0 || res.Stdout != "42\n" {
				t.Fatalf("run %d: %s", i, res.Out())
			}
		}
		if after := openFiles(t); after > before+10 {
			t.Errorf("%d open files of the test process became %d", before, after)
		}
	})
}

func openFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestManyAtOnce(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		var wg sync.WaitGroup
		for i := 0; i < 20; i++ {
			b := sh(t, fmt.Sprintf("echo box %d; sleep 0.5; exit %d", i, i))
			wg.Add(1)
			go func() {
				defer wg.Done()
				res := r.Run(2*time.Minute, "run", "--bundle", b.Dir, oci.ID("par"))
				if res.Code != i || res.Stdout != fmt.Sprintf("box %d\n", i) {
					t.Errorf("box %d: %s", i, res.Out())
				}
			}()
		}
		wg.Wait()
	})
}

// TestFewDescriptors: a sandbox and a gofer that may have few files open serve many more, one
// after the other.
func TestFewDescriptors(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r)
		b := sh(t, `set -e; cd /root; i=0
			while [ $i -lt 3000 ]; do
				d=d$((i%100)); [ $i -ge 100 ] || mkdir $d
				echo $i >$d/f$i; i=$((i+1))
			done
			cat d*/f* | wc -l; rm -r d*; ls | wc -l`, func(s *specs.Spec) { s.Root.Readonly = false })
		cmd := withLimit("--nofile=400:400", r.Command("run", "--bundle", b.Dir, oci.ID("few")))
		if res := oci.Run(2*time.Minute, cmd); res.Code != 0 || res.Stdout != "3000\n0\n" {
			t.Error(res.Out())
		}
	})
}

// TestFewDescriptorsForProcesses: more processes than there is room for are refused, and nothing else
// happens.
func TestFewDescriptorsForProcesses(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r)
		b := sh(t, `for round in 1 2; do
				sh -c 'i=0; while [ $i -lt 400 ]; do sleep 1000 & i=$((i+1)); done' 2>/dev/null
				kill -9 -1; wait
				i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done # a sleep would be a process
			done
			echo $(echo survived)`)
		cmd := withLimit("--nofile=120:120", r.Command("run", "--bundle", b.Dir, oci.ID("few")))
		if res := oci.Run(2*time.Minute, cmd); res.Code != 0 || res.Stdout != "survived\n" {
			t.Error(res.Out())
		}
	})
}

// withLimit lets a command run with a resource limit, in prlimit(1)'s words, and without the
// capability to raise it again.
func withLimit(limit string, cmd *exec.Cmd) *exec.Cmd {
	return exec.Command("setpriv", append([]string{"--bounding-set=-sys_resource", "--inh-caps=-sys_resource",
		"prlimit", limit}, cmd.Args...)...)
}

// TestCallersLimits: the caller's resource limits are not the application's. A soft one does not
// matter, a hard one that a sandbox cannot live with is an error that says so.
func TestCallersLimits(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r)
		b := sh(t, "head -c 1000000 /dev/zero >/tmp/x && ls -l /tmp/x | wc -l")
		for _, l := range []string{"--fsize=100000", "--as=9000000000", "--data=100000000", "--sigpending=0", "--nproc=20", "--cpu=60"} {
			soft := withLimit(l+":", r.Command("run", "--bundle", b.Dir, oci.ID("soft")))
			if res := oci.Run(soon, soft); res.Code != 0 || res.Stdout != "1\n" {
				t.Errorf("soft limit %s: %s", l, res.Out())
			}
			hard := withLimit(l, r.Command("run", "--bundle", b.Dir, oci.ID("hard")))
			res := oci.Run(soon, hard)
			if res.Code != 0 && (res.Code != 128 || !strings.Contains(res.Stderr, "cannot be raised; a sandbox needs")) {
				t.Errorf("hard limit %s: %s", l, res.Out())
			}
		}
	})
}

// cpuTicks sums user and system time of every process that the filter picks, in 1/100 s.
func cpuTicks(pick func(cmdline string) bool) (ticks, procs int) {
	entries, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range entries {
		cmd, _ := os.ReadFile(p + "/cmdline")
		if !pick(strings.ReplaceAll(string(cmd), "\x00", " ")) {
			continue
		}
		stat, err := os.ReadFile(p + "/stat")
		if err != nil {
			continue
		}
		f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		var u, s int
		fmtSscan(f[11], &u)
		fmtSscan(f[12], &s)
		ticks += u + s
		procs++
	}
	return ticks, procs
}

// TestIdleIsAsleep: a sandbox whose application sleeps uses no CPU.
func TestIdleIsAsleep(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r)
		started(t, r, sh(t, "sleep 1001 & sleep 1002 & cat /dev/ptmx & wait"))
		time.Sleep(time.Second)
		pick := func(c string) bool { return strings.Contains(c, r.Root) }
		a, n := cpuTicks(pick)
		if n == 0 {
			t.Fatal("no process of the sandbox found")
		}
		time.Sleep(10 * time.Second)
		b, _ := cpuTicks(pick)
		if b-a > 10 { // one per cent
			t.Errorf("%d ms of CPU in 10 s of idleness, in %d processes", (b-a)*10, n)
		}
	})
}

func withLimits(pids, memory int64) func(*specs.Spec) {
	return func(s *specs.Spec) {
		s.Linux.CgroupsPath = "/" + oci.ID("cg")
		s.Linux.Resources = &specs.LinuxResources{}
		if pids > 0 {
			s.Linux.Resources.Pids = &specs.LinuxPids{Limit: pids}
		}
		if memory > 0 {
			s.Linux.Resources.Memory = &specs.LinuxMemory{Limit: &memory}
		}
	}
}

func TestForkBomb(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		dir, mount := shared(t)
		// A container of our own kernel needs host threads of its own beside the bomb's.
		id := started(t, r, sh(t, "ulimit -u 200; echo up >/shared/f; f() { f | f & }; f; while :; do sleep 1; done", mount, withLimits(1000, 0), func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1000, GID: 1000}
		}))
		fileHas(t, filepath.Join(dir, "f"), "up")
		time.Sleep(time.Second)
		if res := ok(t, r.Run(soon, "delete", "--force", id)); res.Took > 2*prompt {
			t.Errorf("delete --force took %v", res.Took)
		}
	})
}

func TestMemoryHog(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		blocker(t)
		b := sh(t, "x=aaaaaaaaaaaaaaaa; while :; do x=$x$x; done", withLimits(0, 200<<20))
		id := oci.ID("hog")
		res := r.Run(60*time.Second, "run", "--bundle", b.Dir, id)
		if res.TimedOut || res.Code == 0 {
			t.Errorf("a hog under 200 MiB: %s", res.Out())
		}
		r.Run(soon, "delete", "--force", id)
		ok(t, run(t, r, "echo the machine is fine"))
	})
}

func TestDescriptorHog(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		res := run(t, r, `i=3; while [ $i -lt 900 ]; do eval "exec $i<>/tmp/f$i" || break; i=$((i+1)); done; ls /proc/self/fd | wc -l; exec 3<&- 4<&-; exec 3</dev/null && echo fine`)
		if res.Code != 0 || !strings.HasSuffix(res.Stdout, "fine\n") {
			t.Errorf("%s", res.Out())
		}
		res = run(t, r, `ulimit -n 20; i=3; while eval "exec $i<>/tmp/f$i"; do i=$((i+1)); done; echo unreachable`)
		if res.TimedOut || strings.Contains(res.Stdout, "unreachable") {
			t.Errorf("past the limit: %s", res.Out())
		}
	})
}
