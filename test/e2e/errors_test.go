package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/test/oci"
)

// refused checks one clear failure: a code that says that the runtime failed, one line that
// names the thing, and nothing left of the container.
func refused(t *testing.T, r *oci.Runtime, res oci.Result, id string, want ...string) {
	t.Helper()
	if res.TimedOut {
		t.Errorf("hangs: %s", res.Out())
		return
	}
	switch res.Code {
	case 128:
	case 1, 126, 127, 255:
		if !r.IsRunc() && res.Code != 126 && res.Code != 127 {
			t.Errorf("code %d, want 128", res.Code)
		}
	default:
		t.Errorf("code %d, want 128", res.Code)
	}
	lines := strings.Split(strings.TrimRight(res.Stderr, "\n"), "\n")
	if len(lines) != 1 && !r.IsRunc() {
		t.Errorf("%d lines, want one:\n%s", len(lines), res.Stderr)
	}
	if strings.Contains(res.Stderr, "goroutine ") {
		t.Errorf("a stack trace:\n%s", res.Stderr)
	}
	for _, w := range want {
		if !regexp.MustCompile(w).MatchString(res.Stderr) && !r.IsRunc() {
			t.Errorf("does not say %q:\n%s", w, res.Stderr)
		}
	}
	if id != "" {
		if s := status(r, id); s != "" {
			t.Errorf("a container with status %q is left", s)
			r.Run(soon, "delete", "--force", id)
		}
	}
}

func TestCreateErrors(t *testing.T) {
	for _, c := range []struct {
		name string
		args []string
		edit func(*specs.Spec)
		want []string
	}{
		{"missing rootfs", nil, func(s *specs.Spec) { s.Root.Path = "/no/such/rootfs" }, []string{"/no/such/rootfs"}},
		{"missing executable", []string{"no-such-program"}, nil, []string{"no-such-program", `executable file not found in \$PATH`}},
		{"missing absolute executable", []string{"/no/such/program"}, nil, []string{"/no/such/program", "no such file or directory"}},
		{"not executable", []string{"/bin/not-executable"}, nil, []string{"/bin/not-executable", "permission denied"}},
		{"directory as executable", []string{"/etc"}, nil, []string{"/etc"}},
		{"wrong architecture", []string{"/bin/arm-program"}, nil, []string{"/bin/arm-program", "exec format error"}},
		{"bad mount source", nil, func(s *specs.Spec) { oci.AddMount(s, "bind", "/no/such/source", "/mnt", "bind") }, []string{"/no/such/source"}},
		{"no arguments", nil, func(s *specs.Spec) { s.Process.Args = nil }, []string{"args"}},
		{"relative cwd", nil, func(s *specs.Spec) { s.Process.Cwd = "relative" }, []string{"(?i)cwd"}},
		{"little memory", nil, withLimits(0, 8<<20), []string{`memory\.limit is 8388608 bytes: a sandbox alone needs`}},
		{"no process", nil, func(s *specs.Spec) { s.Process = nil }, []string{"process"}},
		{"no root", nil, func(s *specs.Spec) { s.Root = nil }, []string{"root"}},
		{"terminal without console socket", nil, func(s *specs.Spec) { s.Process.Terminal = true }, []string{"console"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
				args := c.args
				if args == nil {
					args = []string{"/bin/true"}
				}
				spec := oci.Spec(args...)
				b := oci.NewBundle(t, rootfs(t), spec)
				if c.edit != nil {
					c.edit(spec)
					b.Write(t, spec)
				}
				id := oci.ID("bad")
				if r.IsRunc() && c.name == "wrong architecture" {
					t.Skip("runc says it at start")
				}
				refused(t, r, detached(t, r, "create", "--bundle", b.Dir, id), id, c.want...)
			})
		})
	}
}

func TestBrokenConfig(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		b := bundle(t, []string{"/bin/true"})
		file := filepath.Join(b.Dir, "config.json")
		id := oci.ID("bad")
		os.WriteFile(file, []byte("{\n  \"ociVersion\": \"1.0.2\",\n  \"process\": {,}\n}\n"), 0o644)
		refused(t, r, detached(t, r, "create", "--bundle", b.Dir, id), id, "config.json", `(line 3|:3:|3:15)`)
		os.WriteFile(file, []byte("{\n  \"ociVersion\": 7\n}\n"), 0o644)
		refused(t, r, detached(t, r, "create", "--bundle", b.Dir, id), id, "config.json", "ociVersion")
		os.WriteFile(file, nil, 0o644)
		refused(t, r, detached(t, r, "create", "--bundle", b.Dir, id), id, "config.json")
		os.Remove(file)
		refused(t, r, detached(t, r, "create", "--bundle", b.Dir, id), id, "config.json", "no such file")
		refused(t, r, detached(t, r, "create", "--bundle", "/no/such/bundle", id), id, "/no/such/bundle")
	})
}

func TestIDErrors(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		b := bundle(t, []string{"/bin/sleep", "1000"})
		for _, id := range []string{"../up", "a/b", "white space", "", "semi;colon"} {
			if res := detached(t, r, "create", "--bundle", b.Dir, id); res.Code == 0 {
				t.Errorf("id %q is accepted", id)
			}
		}
		id := started(t, r, b)
		refused(t, r, detached(t, r, "create", "--bundle", b.Dir, id), "", id)
		if s := status(r, id); s != "running" {
			t.Errorf("the first container is %q after a second create", s)
		}
		if res := r.Run(soon, "start", id); res.Code == 0 {
			t.Error("a second start works")
		}
		for _, cmd := range [][]string{{"state"}, {"start"}, {"kill"}, {"delete"}, {"exec"}, {"ps"}, {"pause"}, {"resume"}} {
			args := append(cmd, "no-such-id")
			if cmd[0] == "exec" {
				args = append(args, "true")
			}
			refused(t, r, r.Run(soon, args...), "", "no-such-id")
		}
		ok(t, r.Run(soon, "kill", id, "KILL"))
		waitStatus(t, r, id, "stopped")
		for _, cmd := range [][]string{{"kill", id, "TERM"}, {"exec", id, "true"}, {"start", id}, {"pause", id}} {
			if res := r.Run(soon, cmd...); res.Code == 0 {
				t.Errorf("%s of a stopped container works", cmd[0])
			}
		}
	})
}

func TestUsageErrors(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r)
		for _, args := range [][]string{{"no-such-command"}, {"create", "--no-such-flag", "x"}, {"state"}, {"kill"}, {"state", "a", "b"}} {
			res := r.Run(soon, args...)
			if res.Code == 0 || strings.TrimSpace(res.Stderr+res.Stdout) == "" || strings.Contains(res.Stderr, "goroutine ") {
				t.Errorf("%q: %s", args, res.Out())
			}
		}
		b := bundle(t, []string{"/bin/true"})
		cmd := exec.Command(r.Path, "--root", r.Root, "--platform=nonsense", "run", "--bundle", b.Dir, oci.ID("x"))
		refused(t, r, oci.Run(soon, cmd), "", "nonsense", "systrap", "ptrace")
	})
}

func TestErrorsGoToTheLog(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		log := filepath.Join(oci.ShortDir(t), "log")
		os.WriteFile(log, []byte("earlier line\n"), 0o644)
		b := bundle(t, []string{"/no/such/program"})
		r.Run(soon, "--log", log, "--log-format", "json", "run", "--bundle", b.Dir, oci.ID("x"))
		data, _ := os.ReadFile(log)
		if s := string(data); !strings.HasPrefix(s, "earlier line\n") || !strings.Contains(s, `"level":"error"`) || !strings.Contains(s, "/no/such/program") {
			t.Errorf("log:\n%s", s)
		}
	})
}

// children lists the processes below a process whose name (argv[0] or comm) has a prefix.
func children(root int, prefix string) (pids []int) {
	parents := map[int][]int{}
	entries, _ := filepath.Glob("/proc/[0-9]*/stat")
	names := map[int]string{}
	for _, e := range entries {
		data, err := os.ReadFile(e)
		if err != nil {
			continue
		}
		s := string(data)
		i := strings.LastIndexByte(s, ')')
		var pid, ppid int
		if _, err := fmtSscan(s, &pid); err != nil || i < 0 {
			continue
		}
		f := strings.Fields(s[i+1:])
		if len(f) < 2 {
			continue
		}
		if _, err := fmtSscan(f[1], &ppid); err != nil {
			continue
		}
		parents[ppid] = append(parents[ppid], pid)
		cmd, _ := os.ReadFile(filepath.Join(filepath.Dir(e), "cmdline"))
		names[pid] = string(cmd)
	}
	var walk func(int)
	walk = func(p int) {
		for _, c := range parents[p] {
			if strings.HasPrefix(names[c], prefix) {
				pids = append(pids, c)
			}
			walk(c)
		}
	}
	walk(root)
	return pids
}

// TestDeathDuringCreate kills the sandbox or the gofer while `create` is still waiting for
// it: create must say so and leave nothing.
func TestDeathDuringCreate(t *testing.T) {
	for _, victim := range []string{"runsc-sandbox", "runsc-gofer"} {
		t.Run(victim, func(t *testing.T) {
			eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
				needOurs(t, r)
				b := bundle(t, []string{"/bin/true"})
				hits := 0
				for try := 0; try < 8; try++ {
					id := oci.ID("dies")
					cmd := r.Command("create", "--bundle", b.Dir, id)
					done := make(chan oci.Result, 1)
					go func() { done <- oci.Run(soon, cmd) }()
					var res oci.Result
					running := true
					for running {
						select {
						case res = <-done:
							running = false
						default:
							if cmd.Process == nil {
								time.Sleep(time.Millisecond)
								continue
							}
							for _, pid := range children(cmd.Process.Pid, victim) {
								syscall.Kill(pid, syscall.SIGKILL)
							}
						}
					}
					if res.Code == 0 { // killed too late
						r.Run(soon, "delete", "--force", id)
						continue
					}
					hits++
					refused(t, r, res, id)
				}
				if hits == 0 {
					t.Skip("create was always faster than the killer")
				}
			})
		})
	}
}

// TestDeathWhileRunning kills the sandbox of a running container.
func TestDeathWhileRunning(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		b := bundle(t, []string{"/bin/sleep", "1000"})
		id := started(t, r, b)
		data, err := os.ReadFile(filepath.Join(b.Dir, "pid"))
		if err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmtSscan(string(data), &pid); err != nil {
			t.Fatal(err)
		}
		syscall.Kill(pid, syscall.SIGKILL)
		waitStatus(t, r, id, "stopped")
		if res := r.Run(soon, "exec", id, "true"); res.Code == 0 {
			t.Error("exec works in a dead container")
		}
		ok(t, r.Run(soon, "delete", "--force", id))
	})
}

// TestClientDeath kills the client of create at growing delays; delete --force must clean
// up whatever state that left.
func TestClientDeath(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r)
		b := bundle(t, []string{"/bin/sleep", "1000"})
		for delay := time.Duration(0); delay < 200*time.Millisecond; delay += 10 * time.Millisecond {
			id := oci.ID("killed")
			cmd := r.Command("create", "--bundle", b.Dir, id)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(delay)
			cmd.Process.Kill()
			cmd.Wait()
			if res := r.Run(soon, "delete", "--force", id); res.Code != 0 {
				t.Fatalf("killed after %v: delete --force: %s", delay, res.Out())
			}
			ok(t, r.Run(soon, "list"))
		}
	})
}

// A log of every system call is more than the pipe and the memory for last words hold, and it goes on
// when nobody reads it any more.
func TestMuchDebugOutput(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		if r.IsRunc() {
			t.Skip("the flag --strace is runsc's")
		}
		debug := *r
		debug.AddFlags("--debug", "--strace")
		const work = "i=0; while [ $i -lt 100 ]; do (cd /data; stat . >/dev/null); i=$((i+1)); done; echo fine"
		if res := ok(t, run(t, &debug, work)); res.Stdout != "fine\n" {
			t.Errorf("stdout is %q", res.Stdout)
		}
		id := started(t, &debug, sh(t, work+"; exec sleep 1000"))
		ok(t, r.Run(soon, "exec", id, "/bin/sh", "-c", work))
		if got := status(r, id); got != "running" {
			t.Errorf("without a reader the container is %q", got)
		}
	})
}
