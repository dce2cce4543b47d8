package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/test/oci"
)

func TestLifeCycle(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		dir, mount := shared(t)
		b := sh(t, "echo begun >/shared/f; exec sleep 1000", mount)
		id, pidFile := oci.ID("life"), filepath.Join(b.Dir, "pid")
		ok(t, detached(t, r, "create", "--bundle", b.Dir, "--pid-file", pidFile, id))

		var st specs.State
		res := ok(t, r.Run(soon, "state", id))
		if err := json.Unmarshal([]byte(res.Stdout), &st); err != nil {
			t.Fatalf("state: %v in %s", err, res.Stdout)
		}
		pid, err := os.ReadFile(pidFile)
		if err != nil {
			t.Fatal(err)
		}
		if string(st.Status) != "created" || st.ID != id || st.Bundle != b.Dir || strconv.Itoa(st.Pid) != strings.TrimSpace(string(pid)) || st.Pid <= 0 {
			t.Errorf("state %+v, pid file %s", st, pid)
		}
		time.Sleep(100 * time.Millisecond)
		if _, err := os.Stat(filepath.Join(dir, "f")); err == nil {
			t.Error("the process ran before start")
		}
		ok(t, r.Run(soon, "start", id))
		fileHas(t, filepath.Join(dir, "f"), "begun")
		if s := status(r, id); s != "running" {
			t.Errorf("status %q after start", s)
		}
		if out := r.Run(soon, "list").Stdout; !strings.Contains(out, id) || !strings.Contains(out, "running") || !strings.HasPrefix(out, "ID") {
			t.Errorf("list: %s", out)
		}
		ok(t, r.Run(soon, "kill", id, "KILL"))
		waitStatus(t, r, id, "stopped")
		ok(t, r.Run(soon, "delete", id))
		if s := status(r, id); s != "" {
			t.Errorf("status %q after delete", s)
		}
	})
}

func TestRunExitCodes(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		for _, code := range []int{0, 1, 42, 126, 127, 255} {
			if res := run(t, r, fmt.Sprintf("exit %d", code)); res.Code != code {
				t.Errorf("exit %d: %s", code, res.Out())
			}
		}
	})
}

func TestRunKilledBySignal(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		for _, sig := range []string{"KILL", "TERM"} {
			dir, mount := shared(t)
			script := "echo up >/shared/f; exec sleep 1000"
			if sig == "TERM" {
				script = "trap 'exit 7' TERM; echo up >/shared/f; while :; do sleep 0.05; done"
			}
			b, id := sh(t, script, mount), oci.ID("sig")
			done := make(chan oci.Result, 1)
			go func() { done <- r.Run(soon, "run", "--bundle", b.Dir, id) }()
			fileHas(t, filepath.Join(dir, "f"), "up")
			ok(t, r.Run(soon, "kill", id, sig))
			want := map[string]int{"KILL": 137, "TERM": 7}[sig]
			if res := <-done; res.Code != want {
				t.Errorf("SIG%s: %s", sig, res.Out())
			}
		}
	})
}

func TestKillSpellings(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		dir, mount := shared(t)
		id := started(t, r, sh(t, "trap 'echo got >>/shared/f' USR1; echo up >/shared/f; while :; do sleep 0.02; done", mount))
		f := filepath.Join(dir, "f")
		fileHas(t, f, "up")
		for i, sig := range []string{"USR1", "SIGUSR1", "usr1", "10"} {
			ok(t, r.Run(soon, "kill", id, sig))
			oci.Eventually(t, soon, "the signal "+sig, func() bool {
				data, _ := os.ReadFile(f)
				return strings.Count(string(data), "got") == i+1
			})
		}
		if res := r.Run(soon, "kill", id, "NONSENSE"); res.Code == 0 {
			t.Error("kill NONSENSE is accepted")
		}
	})
}

func TestRunForwardsSignals(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		dir, mount := shared(t)
		b := sh(t, "trap 'exit 9' HUP; echo up >/shared/f; while :; do sleep 0.02; done", mount)
		cmd := r.Command("run", "--bundle", b.Dir, oci.ID("fwd"))
		done := make(chan oci.Result, 1)
		go func() { done <- oci.Run(soon, cmd) }()
		fileHas(t, filepath.Join(dir, "f"), "up")
		cmd.Process.Signal(syscall.SIGHUP)
		if res := <-done; res.Code != 9 {
			t.Errorf("%s", res.Out())
		}
	})
}

func TestExec(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		id := started(t, r, bundle(t, []string{"/bin/sleep", "1000"}, func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "FROM=spec") }))
		for _, c := range []struct {
			args []string
			want string
			code int
		}{
			{[]string{id, "echo", "hello", "two words"}, "hello two words\n", 0},
			{[]string{id, "sh", "-c", "exit 33"}, "", 33},
			{[]string{id, "sh", "-c", "kill -9 $$"}, "", 137},
			{[]string{"--cwd", "/etc", id, "pwd"}, "/etc\n", 0},
			{[]string{"--env", "A=1", "--env", "B=2", id, "sh", "-c", "echo $A$B$FROM"}, "12spec\n", 0},
			{[]string{"--user", "1000:1000", id, "sh", "-c", "id -u; id -g"}, "1000\n1000\n", 0},
			{[]string{"--user", "1000:1000", "--additional-gids", "2000", id, "id", "-G"}, "1000 2000\n", 0},
			{[]string{id, "hostname"}, "testhost\n", 0},
			{[]string{id, "sh", "-c", "cat /proc/1/comm"}, "sleep\n", 0},
		} {
			res := r.Run(soon, append([]string{"exec"}, c.args...)...)
			if res.Code != c.code || res.Stdout != c.want {
				t.Errorf("exec %q: want %q and code %d: %s", c.args, c.want, c.code, res.Out())
			}
		}
		cmd := r.Command("exec", id, "cat")
		cmd.Stdin = strings.NewReader("through stdin")
		if res := oci.Run(soon, cmd); res.Stdout != "through stdin" {
			t.Errorf("exec cat: %s", res.Out())
		}
	})
}

func TestExecProcessFileAndDetach(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		dir, mount := shared(t)
		id := started(t, r, bundle(t, []string{"/bin/sleep", "1000"}, mount))
		p := oci.Spec("/bin/sh", "-c", "echo $X from $(pwd) >/shared/f").Process
		p.Env, p.Cwd = append(p.Env, "X=exec"), "/tmp"
		data, _ := json.Marshal(p)
		file := filepath.Join(dir, "process.json")
		if err := os.WriteFile(file, data, 0o644); err != nil {
			t.Fatal(err)
		}
		ok(t, r.Run(soon, "exec", "--process", file, id))
		fileHas(t, filepath.Join(dir, "f"), "exec from /tmp")

		pidFile := filepath.Join(dir, "pid")
		ok(t, detached(t, r, "exec", "--detach", "--pid-file", pidFile, id, "sh", "-c", "echo up >/shared/g; sleep 1000"))
		fileHas(t, filepath.Join(dir, "g"), "up")
		data, err := os.ReadFile(pidFile)
		if err != nil {
			t.Fatal(err)
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
		if err != nil || syscall.Kill(pid, 0) != nil {
			t.Errorf("pid file holds %q: %v", data, err)
		}
	})
}

func TestExecErrors(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		id := started(t, r, bundle(t, []string{"/bin/sleep", "1000"}))
		for _, c := range []struct{ cmd, want string }{
			{"no-such-program", "executable file not found in $PATH"},
			{"/no/such/program", "no such file or directory"},
			{"/bin/not-executable", "permission denied"},
			{"/etc", ""},
		} {
			res := r.Run(soon, "exec", id, c.cmd)
			if res.Code == 0 || !strings.Contains(res.Stderr, c.want) {
				t.Errorf("exec %s: want %q: %s", c.cmd, c.want, res.Out())
			}
		}
		if res := ok(t, r.Run(soon, "exec", id, "echo", "alive")); res.Stdout != "alive\n" {
			t.Errorf("after failed execs: %s", res.Out())
		}
	})
}

func TestPs(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		id := started(t, r, sh(t, "sleep 1001 & sleep 1002 & wait"))
		oci.Eventually(t, soon, "three processes in ps", func() bool {
			return strings.Count(r.Run(soon, "ps", id).Stdout, "\n") == 4
		})
		if out := r.Run(soon, "ps", id).Stdout; !strings.Contains(out, "PID") || !strings.Contains(out, "sleep") {
			t.Errorf("ps: %s", out)
		}
		// The list is of pids of the host, which Docker looks up in the host's ps; ours
		// has one process there for all of the container's.
		var pids []int
		res := r.Run(soon, "ps", "--format", "json", id)
		if err := json.Unmarshal([]byte(res.Stdout), &pids); err != nil || len(pids) == 0 {
			t.Errorf("ps json: %v %s", err, res.Out())
		}
	})
}

func TestListFormats(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		if out := ok(t, r.Run(soon, "list", "--quiet")).Stdout; strings.TrimSpace(out) != "" {
			t.Errorf("an empty list: %q", out)
		}
		id := started(t, r, bundle(t, []string{"/bin/sleep", "1000"}))
		if out := ok(t, r.Run(soon, "list", "-q")).Stdout; strings.TrimSpace(out) != id {
			t.Errorf("list -q: %q", out)
		}
		var all []struct{ ID, Status, Bundle, Owner string }
		out := ok(t, r.Run(soon, "list", "--format=json")).Stdout
		if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 || all[0].ID != id || all[0].Status != "running" {
			t.Errorf("list json: %v %s", err, out)
		}
	})
}

func TestPauseAndResume(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		dir, mount := shared(t)
		id := started(t, r, sh(t, "while :; do echo x >>/shared/f; sleep 0.01; done", mount))
		f := filepath.Join(dir, "f")
		fileHas(t, f, "x")
		size := func() int64 {
			st, err := os.Stat(f)
			if err != nil {
				t.Fatal(err)
			}
			return st.Size()
		}
		ok(t, r.Run(soon, "pause", id))
		if s := status(r, id); s != "paused" {
			t.Errorf("status %q after pause", s)
		}
		a := size()
		time.Sleep(300 * time.Millisecond)
		if b := size(); b != a {
			t.Errorf("a paused container wrote %d bytes", b-a)
		}
		ok(t, r.Run(soon, "resume", id))
		oci.Eventually(t, soon, "running again", func() bool { return size() > a })
		if s := status(r, id); s != "running" {
			t.Errorf("status %q after resume", s)
		}
		ok(t, r.Run(soon, "pause", id))
		ok(t, r.Run(soon, "delete", "--force", id))
	})
}

func TestWait(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r)
		id := started(t, r, sh(t, "sleep 0.2; exit 5"))
		res := ok(t, r.Run(soon, "wait", id))
		var w struct {
			ID         string
			ExitStatus int
		}
		if err := json.Unmarshal([]byte(res.Stdout), &w); err != nil || w.ID != id || w.ExitStatus != 5 {
			t.Errorf("wait: %v %s", err, res.Out())
		}
	})
}

func TestIDPrefix(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r)
		id := started(t, r, bundle(t, []string{"/bin/sleep", "1000"}))
		if res := ok(t, r.Run(soon, "state", id[:len(id)-1])); !strings.Contains(res.Stdout, id) {
			t.Errorf("state by prefix: %s", res.Out())
		}
		other := started(t, r, bundle(t, []string{"/bin/sleep", "1000"}))
		if res := r.Run(soon, "state", "box-"); res.Code == 0 {
			t.Errorf("state of a prefix of %s and %s: %s", id, other, res.Out())
		}
	})
}

func TestDeleteForceAndQuiet(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		id := started(t, r, bundle(t, []string{"/bin/sleep", "1000"}))
		if res := r.Run(soon, "delete", id); res.Code == 0 {
			t.Fatalf("delete of a running container: %s", res.Out())
		}
		ok(t, r.Run(soon, "delete", "--force", id))
		ok(t, r.Run(soon, "delete", "--force", id)) // a missing id is fine
		b := bundle(t, []string{"/bin/true"})
		created := oci.ID("made")
		ok(t, detached(t, r, "create", "--bundle", b.Dir, created))
		if r.IsRunc() {
			ok(t, r.Run(soon, "delete", "--force", created))
		} else {
			ok(t, r.Run(soon, "delete", created))
		}
	})
}

func TestKillAll(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		id := started(t, r, sh(t, "sleep 1001 & sleep 1002 & wait"))
		ok(t, r.Run(soon, "kill", "--all", id, "KILL"))
		waitStatus(t, r, id, "stopped")
		ok(t, r.Run(soon, "delete", id))
	})
}

func TestHooks(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		dir := oci.ShortDir(t)
		hook := func(name string) []specs.Hook {
			return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", "echo " + name + " $HOOKENV >>" + dir + "/log; cat >" + dir + "/" + name}, Env: []string{"HOOKENV=env", "PATH=/usr/bin:/bin"}}}
		}
		b := bundle(t, []string{"/bin/true"}, func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{Prestart: hook("prestart"), CreateRuntime: hook("createRuntime"), Poststart: hook("poststart"), Poststop: hook("poststop")}
		})
		id := oci.ID("hook")
		ok(t, detached(t, r, "create", "--bundle", b.Dir, id))
		ok(t, r.Run(soon, "start", id))
		waitStatus(t, r, id, "stopped")
		ok(t, r.Run(soon, "delete", id))
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		if string(log) != "prestart env\ncreateRuntime env\npoststart env\npoststop env\n" {
			t.Errorf("hooks ran as:\n%s", log)
		}
		var st specs.State
		data, _ := os.ReadFile(filepath.Join(dir, "createRuntime"))
		if err := json.Unmarshal(data, &st); err != nil || st.ID != id || st.Bundle != b.Dir {
			t.Errorf("hook's stdin: %v %s", err, data)
		}
	})
}

func TestFailingHookUndoesCreate(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		b := bundle(t, []string{"/bin/true"}, func(s *specs.Spec) {
			s.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{{Path: "/bin/false"}}}
		})
		id := oci.ID("hook")
		if res := detached(t, r, "create", "--bundle", b.Dir, id); res.Code == 0 || !strings.Contains(res.Stderr, "hook") {
			t.Errorf("create: %s", res.Out())
		}
		if s := status(r, id); s != "" {
			t.Errorf("status %q", s)
		}
	})
}

func TestVersionSpecFeaturesHelp(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		res := ok(t, r.Run(soon, "--version"))
		if !strings.Contains(res.Stdout, "version") || !strings.Contains(res.Stdout, "spec: ") {
			t.Errorf("--version: %s", res.Out())
		}
		dir := oci.ShortDir(t)
		ok(t, r.Run(soon, "spec", "--bundle", dir))
		data, err := os.ReadFile(filepath.Join(dir, "config.json"))
		var s specs.Spec
		if err != nil || json.Unmarshal(data, &s) != nil || s.Process == nil {
			t.Errorf("spec wrote %v %s", err, data)
		}
		if res := r.Run(soon, "spec", "--bundle", dir); res.Code == 0 {
			t.Error("spec overwrites")
		}
		if r.IsRunc() {
			return
		}
		if res := ok(t, r.Run(soon, "features")); !json.Valid([]byte(res.Stdout)) {
			t.Errorf("features: %s", res.Out())
		}
		if res := r.Run(soon, "help"); !strings.Contains(res.Stdout+res.Stderr, "create") {
			t.Errorf("help: %s", res.Out())
		}
	})
}

func TestReadOnlyRootAndMounts(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		dir := oci.ShortDir(t)
		os.WriteFile(filepath.Join(dir, "f"), []byte("host\n"), 0o644)
		res := run(t, r, "echo x >/data/x || echo refused; cat /ro/f; echo x >/ro/g || echo refused; df -k /small | awk 'NR==2 {print $2}'; cat /etc/masked | wc -c", func(s *specs.Spec) {
			s.Root.Readonly = true
			oci.AddMount(s, "bind", dir, "/ro", "rbind", "ro")
			oci.AddMount(s, "bind", filepath.Join(dir, "f"), "/etc/masked", "bind", "ro")
			oci.AddMount(s, "tmpfs", "tmpfs", "/small", "size=64k")
			s.Linux.MaskedPaths = []string{"/etc/masked"}
			// Mount points in a read-only root: make them exist beforehand for runc's sake.
			for _, d := range []string{"ro", "small"} {
				os.MkdirAll(filepath.Join(rootfs(t), d), 0o755)
			}
			os.WriteFile(filepath.Join(rootfs(t), "etc/masked"), nil, 0o644)
		})
		if res.Code != 0 || res.Stdout != "refused\nhost\nrefused\n64\n0\n" {
			t.Errorf("%s", res.Out())
		}
	})
}

func TestUserCwdRlimitsSysctlUmask(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		umask := uint32(0o027)
		res := run(t, r, "id -u; id -g; id -G; pwd; ulimit -n; umask; cat /proc/self/oom_score_adj", func(s *specs.Spec) {
			s.Process.User = specs.User{UID: 1000, GID: 1000, AdditionalGids: []uint32{2000, 3000}, Umask: &umask}
			s.Process.Cwd = "/home/user"
			s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 100, Hard: 100}}
			adj := 123
			s.Process.OOMScoreAdj = &adj
		})
		if want := "1000\n1000\n1000 2000 3000\n/home/user\n100\n0027\n123\n"; res.Code != 0 || res.Stdout != want {
			t.Errorf("want %q: %s", want, res.Out())
		}
	})
}

func TestDo(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r)
		res := r.Run(soon, "do", "/bin/sh", "-c", "echo in $(uname -s); echo x >/etc/do-was-here; exit 4")
		if res.Code != 4 || !strings.Contains(res.Stdout, "in Linux") {
			t.Errorf("%s", res.Out())
		}
		if _, err := os.Stat("/etc/do-was-here"); err == nil {
			os.Remove("/etc/do-was-here")
			t.Error("do wrote to the host's root")
		}
	})
}
