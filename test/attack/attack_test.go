package attack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"runsc/test/cases"
	"runsc/test/oci"
)

var suite = cases.Suite{
	Name: "attack",
	Deviations: map[string]string{
		copied + "@systrap": "a call site that is patched jumps to its trampoline from where it is: a copy of the text jumps elsewhere (TestCopiedCodeWithoutPatches runs it with --systrap-patch=off)",
	},
}

// copied is a case that copies program text elsewhere.
const copied = "copied_code_runs"

// TestMain: each platform has threats of its own, so both are tried unless PLATFORM says
// otherwise. The programs have to know which one they attack: the default is named.
func TestMain(m *testing.M) {
	platforms := oci.Platforms()
	if len(platforms) == 1 && platforms[0] == "" {
		platforms = []string{"systrap", "ptrace"}
	}
	for i, p := range platforms {
		if p == "" {
			platforms[i] = "systrap"
		}
	}
	os.Setenv("PLATFORM", strings.Join(platforms, ","))
	os.Exit(m.Run())
}

// TestNative checks the cases: what the real kernel does is the measure.
func TestNative(t *testing.T) { suite.TestNative(t) }

// TestSandbox runs the same cases inside.
func TestSandbox(t *testing.T) { suite.TestSandbox(t) }

const (
	soon = 20 * time.Second
	// prompt is how long kill and delete may take, whatever the container is doing.
	prompt = 2 * time.Second
)

// eachPlatform runs a test on every platform, with a root filesystem that has the programs
// in /t, and looks for leftovers and last words of sentries at the end.
func eachPlatform(t *testing.T, test func(t *testing.T, r *oci.Runtime, rootfs string)) {
	oci.NeedRoot(t)
	suite.Build(t)
	rootfs := filepath.Join(oci.ShortDir(t), "rootfs")
	oci.BusyboxRootfs(t, rootfs)
	if err := os.Mkdir(filepath.Join(rootfs, "t"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, prog := range []string{"slots", "code"} {
		if err := oci.CopyFile(filepath.Join(suite.Dir(t), prog), filepath.Join(rootfs, "t", prog), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range oci.Platforms() {
		t.Run(p, func(t *testing.T) {
			r := oci.New(t, p)
			if r.IsRunc() {
				t.Skip("has no sentry to attack")
			}
			before := r.TakeCensus()
			test(t, r, rootfs)
			r.NoLeaks(t, before)
		})
	}
}

// box is a container that is being run.
type box struct {
	id  string
	pid int    // of the sandbox
	out string // file of its output
	log string // directory of its debug logs
}

// start runs a container with a debug log and waits for it to print ready.
func start(t *testing.T, r *oci.Runtime, rootfs string, args ...string) box {
	t.Helper()
	dir := oci.ShortDir(t)
	b := box{id: oci.ID("at"), out: filepath.Join(dir, "out"), log: filepath.Join(dir, "log") + "/"}
	spec := oci.Spec(args...)
	spec.Process.Env = append(spec.Process.Env, "TEST_PLATFORM="+r.Platform)
	pidFile := filepath.Join(dir, "pid")
	cmd := r.Command("--debug-log="+b.log, "run", "--detach", "--pid-file="+pidFile, "--bundle", oci.NewBundle(t, rootfs, spec).Dir, b.id)
	out, err := os.Create(b.out)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	res := oci.Run(soon, cmd)
	text, _ := os.ReadFile(b.out)
	if res.Code != 0 {
		t.Fatalf("run: code %d: %s", res.Code, text)
	}
	t.Cleanup(func() { r.Run(soon, "delete", "--force", b.id) })
	pid, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	b.pid, _ = strconv.Atoi(strings.TrimSpace(string(pid)))
	oci.Eventually(t, soon, "ready", func() bool {
		text, _ := os.ReadFile(b.out)
		return bytes.Contains(text, []byte("ready"))
	})
	return b
}

// quiet fails the test if a process of the container has left a Go panic or a fatal error.
func (b box) quiet(t *testing.T) {
	t.Helper()
	logs, _ := filepath.Glob(b.log + "*")
	if len(logs) == 0 {
		t.Error("no debug logs")
	}
	for _, f := range append(logs, b.out) {
		text, _ := os.ReadFile(f)
		for _, word := range []string{"panic", "fatal error", "goroutine ", "SIGSYS", "unexpected fault"} {
			if i := bytes.Index(text, []byte(word)); i >= 0 {
				t.Errorf("%s: …%.600s", filepath.Base(f), text[i:])
			}
		}
	}
}

// ways lists the kinds of attack of slots.c.
func ways(t *testing.T) []string {
	t.Helper()
	list := strings.Fields(oci.Run(soon, exec.Command(filepath.Join(suite.Dir(t), "slots"), "--helper", "ways")).Stdout)
	if len(list) == 0 {
		t.Fatal("slots --helper ways lists nothing")
	}
	return list
}

// TestKillUnderAttack: a container whose threads rewrite what they share with the sentry
// answers exec, harms no other container, and ends within two seconds, both ways.
func TestKillUnderAttack(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime, rootfs string) {
		witness := start(t, r, rootfs, "/bin/sh", "-c", "echo ready; while :; do sleep 0.01; echo x >>/tmp/beats; done")
		for i, way := range ways(t) {
			if r.Platform != "systrap" && i > 1 {
				break // there is nothing to write: the same program each time
			}
			t.Run(way, func(t *testing.T) {
				b := start(t, r, rootfs, "/t/slots", "--helper", "forever", way)
				// Whatever became of the first process, the sandbox is there if it lives. If
				// it just dies it takes what was executed along, and is seen running for a moment.
				res := r.Run(5*time.Second, "exec", b.id, "/bin/echo", "alive")
				for end := time.Now().Add(prompt); res.Stdout != "alive\n" && status(r, b.id) == "running"; time.Sleep(20 * time.Millisecond) {
					if res.Code != 137 || time.Now().After(end) {
						t.Errorf("exec: %s", res.Out())
						break
					}
				}
				if i%2 == 0 {
					began := time.Now()
					r.Run(soon, "kill", b.id, "KILL")
					oci.Eventually(t, soon, "stopped", func() bool { return status(r, b.id) == "stopped" })
					if d := time.Since(began); d > prompt {
						t.Errorf("stopped %v after kill", d)
					}
				}
				if res := r.Run(soon, "delete", "--force", b.id); res.Code != 0 || res.Took > prompt {
					t.Errorf("delete --force: %s, after %v", res.Out(), res.Took)
				}
				b.quiet(t)
			})
		}
		res := r.Run(soon, "exec", witness.id, "/bin/sh", "-c", "a=$(wc -l </tmp/beats); sleep 0.3; b=$(wc -l </tmp/beats); [ $b -gt $a ] && echo alive")
		if res.Stdout != "alive\n" {
			t.Errorf("another container: %s", res.Out())
		}
		r.Run(soon, "delete", "--force", witness.id)
		witness.quiet(t)
	})
}

// TestCopiedCodeWithoutPatches: where call sites are not patched, program text can be copied.
func TestCopiedCodeWithoutPatches(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime, rootfs string) {
		if r.Platform != "systrap" {
			t.Skip("patches nothing: TestSandbox has the case")
		}
		b := oci.NewBundle(t, rootfs, oci.Spec("/t/code", copied))
		res := oci.Run(soon, r.Command("--systrap-patch=off", "run", "--bundle", b.Dir, oci.ID("at")))
		if res.Code != 0 || res.Stdout != "ok "+copied+"\n" {
			t.Error(res.Out())
		}
	})
}

func status(r *oci.Runtime, id string) string {
	for _, s := range []string{"running", "stopped", "created", "paused"} {
		if strings.Contains(r.Run(soon, "state", id).Stdout, `"`+s+`"`) {
			return s
		}
	}
	return ""
}

// procStatus reads the fields of a status file of /proc.
func procStatus(path string) map[string]string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	fields := map[string]string{}
	for _, l := range strings.Split(string(text), "\n") {
		if k, v, ok := strings.Cut(l, ":"); ok {
			fields[k] = strings.TrimSpace(v)
		}
	}
	return fields
}

// stubs lists the stub processes of a sandbox: all of its descendants.
func stubs(pid int) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, f := range dirs {
		s := procStatus(f)
		parent, _ := strconv.Atoi(s["PPid"])
		child, _ := strconv.Atoi(s["Pid"])
		if parent == pid && child != 0 && child != pid {
			pids = append(pids, child)
			pids = append(pids, stubs(child)...)
		}
	}
	return pids
}

// TestStubProcessesOnTheHost: what the host knows of the processes that run application code.
func TestStubProcessesOnTheHost(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime, rootfs string) {
		b := start(t, r, rootfs, "/bin/sh", "-c", "sleep 1000 & sh -c 'while :; do :; done' & echo ready; wait")
		var pids []int
		oci.Eventually(t, soon, "stub processes: of three processes, and the zygote", func() bool {
			pids = stubs(b.pid)
			return len(pids) >= 4
		})
		sentryNS, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", b.pid))
		hostNS, _ := os.Readlink("/proc/self/ns/pid")
		filtered := 0
		for _, pid := range pids {
			tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
			if len(tasks) == 0 {
				continue // it has just ended
			}
			for _, f := range tasks {
				s := procStatus(f)
				if s == nil {
					continue
				}
				for k, want := range map[string]string{"Name": "runsc-stub", "Seccomp": "2", "NoNewPrivs": "1", "CapEff": zeros, "CapPrm": zeros, "CapInh": zeros, "CapAmb": zeros} {
					if s[k] != want {
						t.Errorf("%s: %s is %s, want %s", f, k, s[k], want)
					}
				}
				for _, k := range []string{"Uid", "Gid"} {
					for _, id := range strings.Fields(s[k]) {
						if n, _ := strconv.Atoi(id); n == 0 {
							t.Errorf("%s: %s %s", f, k, s[k])
						}
					}
				}
				leader := s["Pid"] == strconv.Itoa(pid)
				if s["Seccomp_filters"] == "2" {
					filtered++
				} else if r.Platform == "systrap" && !leader || s["Seccomp_filters"] != "1" {
					t.Errorf("%s: %s filters", f, s["Seccomp_filters"])
				}
			}
			if ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", pid)); err == nil && ns == hostNS {
				t.Errorf("stub %d is in the host's pid namespace (the sentry in %s)", pid, sentryNS)
			}
			if root, err := os.ReadDir(fmt.Sprintf("/proc/%d/root", pid)); err == nil && len(root) > 3 {
				t.Errorf("stub %d sees a root with %d entries", pid, len(root))
			}
			maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
			for _, l := range strings.Split(string(maps), "\n") {
				if f := strings.Fields(l); len(f) > 1 && strings.HasPrefix(f[0], "7fff3") && strings.Contains(f[1], "w") && r.Platform == "systrap" && !strings.Contains(l, "runsc-zygote") {
					t.Errorf("stub %d can write its stub: %s", pid, l)
				}
				if strings.Contains(l, "[heap]") || strings.Contains(l, "[vdso]") || strings.Contains(l, r.Path) {
					t.Errorf("stub %d still has %s", pid, l)
				}
			}
		}
		if r.Platform == "systrap" && filtered < 3 {
			t.Errorf("%d threads have two filters", filtered)
		}

		// kill -9 of the sandbox takes them along.
		if err := syscall.Kill(b.pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		oci.Eventually(t, prompt, "end of all stub processes", func() bool {
			for _, pid := range pids {
				if s := procStatus(fmt.Sprintf("/proc/%d/status", pid)); s["Name"] == "runsc-stub" && !strings.HasPrefix(s["State"], "Z") {
					return false
				}
			}
			return true
		})
		r.Run(soon, "delete", "--force", b.id)
		b.quiet(t)
	})
}

const zeros = "0000000000000000"

// TestKilledStub: when the host kills a stub process, its task ends and the others go on.
func TestKilledStub(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime, rootfs string) {
		b := start(t, r, rootfs, "/bin/sh", "-c", "sh -c 'echo $$; while :; do :; done' & p=$!; echo ready; wait $p; echo child ended with $?; sleep 1000")
		before := stubs(b.pid)
		busiest, most := 0, -1
		time.Sleep(300 * time.Millisecond) // so that one of them has used more time than all others
		for _, pid := range before {
			stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:])); len(f) > 12 {
				if ticks, _ := strconv.Atoi(f[11]); ticks > most {
					busiest, most = pid, ticks
				}
			}
		}
		if err := syscall.Kill(busiest, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		oci.Eventually(t, 5*time.Second, "told of the child's end", func() bool {
			text, _ := os.ReadFile(b.out)
			return bytes.Contains(text, []byte("child ended with 137"))
		})
		if res := r.Run(soon, "exec", b.id, "/bin/echo", "alive"); res.Stdout != "alive\n" {
			t.Errorf("exec: %s", res.Out())
		}
		r.Run(soon, "delete", "--force", b.id)
		b.quiet(t)
	})
}
