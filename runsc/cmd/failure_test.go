package cmd

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// What happens when parts of the system fail.

func TestSandboxDeathIsTold(t *testing.T) {
	for _, tc := range []struct {
		sig  syscall.Signal
		code int
		want string
	}{
		{unix.SIGKILL, 137, ""},
		{unix.SIGABRT, int(ExitFailure), "sandbox exited with status 2: SIGABRT: abort"},
	} {
		t.Run(unix.SignalName(tc.sig), func(t *testing.T) {
			e := newEnv(t, "sleep", "1000")
			go func() {
				e.eventually("running", func() bool {
					return e.command("exec", e.id(), "true").Run() == nil
				})
				syscall.Kill(e.childOf("runsc-sandbox"), tc.sig)
			}()
			r := e.run("run", e.id())
			if r.code != tc.code || !strings.Contains(r.stderr, tc.want) || strings.Count(r.stderr, "\n") > 1 {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestPanicsOfADetachedSandboxReachTheDebugLog(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	e.flags = []string{"--debug-log", e.dir + "/logs/%COMMAND%.log"}
	e.ok("run", "-d", e.id())
	e.ok("debug", "--signal", "6", e.id())
	e.eventually("stopped", func() bool { return e.status(e.id()) == "stopped" })
	if data, _ := os.ReadFile(e.dir + "/logs/boot.log"); !strings.Contains(string(data), "SIGABRT") || !strings.Contains(string(data), "goroutine ") {
		t.Errorf("log: %s", data)
	}
	e.ok("delete", e.id())
}

func TestStateDirectoryFull(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	os.Mkdir(e.root, 0o700)
	if err := unix.Mount("none", e.root, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("mounting tmpfs: %v", err)
	}
	defer unix.Unmount(e.root, unix.MNT_DETACH)
	filler := filepath.Join(e.root, "filler")
	for size := 4096; size <= 16384; size += 4096 { // from "the first write fits" to "none does"
		os.WriteFile(filler, make([]byte, size), 0o600)
		r := e.run("run", "-d", e.id())
		if r.code == 0 {
			e.ok("delete", "-f", e.id())
			continue
		}
		if !strings.Contains(r.stderr, "no space left on device") || strings.Count(r.stderr, "\n") != 1 {
			t.Errorf("with %d bytes taken: %+v", size, r)
		}
		e.eventually("all processes gone", func() bool { return len(e.processes()) == 0 })
	}
	os.Remove(filler)
	entries, _ := os.ReadDir(e.root)
	for _, entry := range entries {
		if entry.Name() != ".lock" {
			t.Errorf("left: %s", entry.Name())
		}
	}
}

func TestUnusableProgramFile(t *testing.T) {
	e := newEnv(t, "true")
	e.fails(`unknown platform "xen"`, "--platform=xen", "create", e.id())
	if _, err := os.Stat("/dev/kvm"); err != nil {
		e.fails("platform kvm cannot be used here", "--platform=kvm", "create", e.id())
	}
}

func TestSpecAndFeatures(t *testing.T) {
	e := newEnv(t, "true")
	dir := filepath.Join(e.dir, "new")
	os.Mkdir(dir, 0o755)
	e.ok("spec", "--bundle", dir, "--cwd", "/tmp", "--", "echo", "-n", "x")
	var spec specs.Spec
	data, _ := os.ReadFile(filepath.Join(dir, "config.json"))
	if err := json.Unmarshal(data, &spec); err != nil || strings.Join(spec.Process.Args, " ") != "echo -n x" || spec.Process.Cwd != "/tmp" {
		t.Errorf("%s, %v", data, err)
	}
	e.fails("exists", "spec", "-b", dir)
	var features map[string]any
	if err := json.Unmarshal([]byte(e.ok("features")), &features); err != nil || features["ociVersionMax"] != specs.Version {
		t.Errorf("%v, %v", features, err)
	}
	if out := e.ok("--version"); !strings.HasPrefix(out, "runsc version ") || !strings.Contains(out, "\nspec: "+specs.Version) {
		t.Errorf("version: %q", out)
	}
	for _, args := range [][]string{{"help"}, {"help", "run"}, {"flags"}} {
		if r := e.run(args...); r.code != 0 || len(r.stdout+r.stderr) < 50 {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

func TestUpdateAndEvents(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	e.spec.Linux.CgroupsPath = "/" + e.id()
	e.writeSpec()
	e.ok("run", "-d", e.id())
	defer e.ok("delete", "-f", e.id())
	var ev struct {
		Type, ID string
		Data     struct{ Pids struct{ Current int } }
	}
	if err := json.Unmarshal([]byte(e.ok("events", "--stats", e.id())), &ev); err != nil || ev.Type != "stats" || ev.ID != e.id() || ev.Data.Pids.Current != 1 {
		t.Errorf("%+v, %v", ev, err)
	}
	resources := filepath.Join(e.dir, "res.json")
	os.WriteFile(resources, []byte(`{"pids": {"limit": 321}}`), 0o644)
	e.ok("update", "--resources", resources, e.id())
	found := false
	for _, dir := range []string{"/sys/fs/cgroup/pids/", "/sys/fs/cgroup/"} {
		data, err := os.ReadFile(dir + e.id() + "/pids.max")
		found = found || err == nil && strings.TrimSpace(string(data)) == "321"
	}
	if !found {
		t.Error("the limit has not changed")
	}
	os.WriteFile(resources, []byte(`{"pids": 1}`), 0o644)
	e.fails("res.json:1:10: pids is a JSON number", "update", "--resources", resources, e.id())
}
