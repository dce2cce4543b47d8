package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/runsc/console"
)

// End-to-end tests: the real program with real processes. They need root, and busybox for
// the containers' programs.

var built struct {
	once sync.Once
	path string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.path != "" {
		os.RemoveAll(filepath.Dir(built.path))
	}
	os.Exit(code)
}

// program builds the program once for all tests.
func program(t testing.TB) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	built.once.Do(func() {
		dir, err := os.MkdirTemp("", "runsc-e2e-")
		if err != nil {
			built.err = err
			return
		}
		built.path = filepath.Join(dir, "runsc")
		out, err := exec.Command("go", "build", "-o", built.path, "runsc/cmd/runsc").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("%w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

// env is a state directory and a bundle of one test, which must leave nothing behind.
type env struct {
	t      testing.TB
	bin    string
	dir    string
	root   string // --root
	bundle string
	spec   *specs.Spec
	flags  []string // global
}

// busybox is where Debian's busybox-static package puts it.
const busybox = "/bin/busybox"

func newEnv(t testing.TB, argv ...string) *env {
	t.Helper()
	e := &env{t: t, bin: program(t), dir: t.TempDir()}
	e.root, e.bundle = filepath.Join(e.dir, "root"), filepath.Join(e.dir, "bundle")
	bin := filepath.Join(e.bundle, "rootfs/bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"proc", "sys", "dev", "tmp"} {
		if err := os.Mkdir(filepath.Join(e.bundle, "rootfs", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(busybox)
	if err != nil {
		t.Skipf("needs %s (package busybox-static): %v", busybox, err)
	}
	if err := os.WriteFile(filepath.Join(bin, "busybox"), data, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"sh", "true", "false", "echo", "cat", "sleep", "stty", "tty", "ls"} {
		if err := os.Symlink("busybox", filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	e.spec = newSpec(argv, "/", false)
	e.spec.Root.Readonly = false
	e.writeSpec()
	t.Cleanup(e.checkNothingLeft)
	return e
}

func (e *env) writeSpec() {
	e.t.Helper()
	data, err := json.Marshal(e.spec)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(e.bundle, "config.json"), data, 0o644); err != nil {
		e.t.Fatal(err)
	}
}

// id is a container id that no other test has.
func (e *env) id() string {
	return "e2e-" + strings.Map(func(r rune) rune {
		if r == '_' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
			return r
		}
		return '-'
	}, filepath.Base(filepath.Dir(e.dir)))
}

func (e *env) command(args ...string) *exec.Cmd {
	cmd := exec.Command(e.bin, append(append([]string{"--root", e.root}, e.flags...), args...)...)
	cmd.Dir = e.bundle
	return cmd
}

// result is how a command ended.
type result struct {
	stdout, stderr string
	code           int
}

func (e *env) run(args ...string) result {
	e.t.Helper()
	return e.finish(e.command(args...))
}

// commandTimeout is far above what any command takes, for a busy machine.
const commandTimeout = 60 * time.Second

func (e *env) finish(cmd *exec.Cmd) result {
	e.t.Helper()
	// Files, since a pipe would be waited for as long as a container has it.
	out, errs := e.temp(), e.temp()
	defer out.Close()
	defer errs.Close()
	if cmd.Stdout == nil {
		cmd.Stdout = out
	}
	cmd.Stderr = errs
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	timer := time.AfterFunc(commandTimeout, func() {
		cmd.Process.Kill()
		e.t.Errorf("%v: no end after %v", cmd.Args, commandTimeout)
	})
	defer timer.Stop()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		e.t.Fatal(err)
	}
	return result{content(out), content(errs), cmd.ProcessState.ExitCode()}
}

func (e *env) temp() *os.File {
	f, err := os.CreateTemp(e.dir, "output-")
	if err != nil {
		e.t.Fatal(err)
	}
	return f
}

func content(f *os.File) string {
	data, _ := os.ReadFile(f.Name())
	return string(data)
}

// ok runs a command that must succeed.
func (e *env) ok(args ...string) string {
	e.t.Helper()
	r := e.run(args...)
	if r.code != 0 {
		e.t.Fatalf("%v: exit %d: %s%s", args, r.code, r.stdout, r.stderr)
	}
	return r.stdout
}

// fails runs a command that must fail by itself, with one line that contains want.
func (e *env) fails(want string, args ...string) {
	e.t.Helper()
	r := e.run(args...)
	if r.code != int(ExitFailure) {
		e.t.Errorf("%v: exit %d, want %d", args, r.code, ExitFailure)
	}
	if !strings.Contains(r.stderr, want) || strings.Count(r.stderr, "\n") != 1 {
		e.t.Errorf("%v: stderr is %q, want one line with %q", args, r.stderr, want)
	}
}

// eventually polls until cond holds.
func (e *env) eventually(what string, cond func() bool) {
	e.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			e.t.Fatalf("%s: not within 20 seconds", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func (e *env) status(id string) string {
	e.t.Helper()
	var s stateOutput
	if err := json.Unmarshal([]byte(e.ok("state", id)), &s); err != nil {
		e.t.Fatal(err)
	}
	return s.Status
}

// processes returns the processes whose command line mentions this test's directory.
func (e *env) processes() map[int]string {
	found := make(map[int]string)
	dirs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range dirs {
		data, err := os.ReadFile(name)
		if err != nil || !bytes.Contains(data, []byte(e.dir)) {
			continue
		}
		var pid int
		fmt.Sscanf(name, "/proc/%d/", &pid)
		if pid != os.Getpid() {
			found[pid] = strings.ReplaceAll(string(data), "\x00", " ")
		}
	}
	return found
}

// checkNothingLeft fails if processes, mounts, cgroups, or files of the test are left.
func (e *env) checkNothingLeft() {
	if e.t.Failed() {
		for pid := range e.processes() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		return
	}
	e.eventually("all processes gone", func() bool { return len(e.processes()) == 0 })
	entries, _ := os.ReadDir(e.root)
	for _, entry := range entries {
		if entry.Name() != ".lock" {
			e.t.Errorf("left in the state directory: %s", entry.Name())
		}
	}
	if data, _ := os.ReadFile("/proc/self/mountinfo"); bytes.Contains(data, []byte(e.dir)) {
		e.t.Error("a mount is left")
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/", "/sys/fs/cgroup/*/*/*/"} {
		if left, _ := filepath.Glob(pattern + e.id() + "*"); len(left) > 0 {
			e.t.Errorf("cgroups are left: %v", left)
		}
	}
}

func TestRunExitStatus(t *testing.T) {
	for i, tc := range []struct {
		argv []string
		code int
		out  string
	}{
		{[]string{"/bin/true"}, 0, ""},
		{[]string{"false"}, 1, ""},
		{[]string{"sh", "-c", "exit 5"}, 5, ""},
		{[]string{"sh", "-c", "(sh -c 'kill -9 $$'; exit $?) 2>/dev/null"}, 137, ""},
		{[]string{"echo", "hello", "world"}, 0, "hello world\n"},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			e := newEnv(t, tc.argv...)
			if r := e.run("run", e.id()); r.code != tc.code || r.stdout != tc.out || r.stderr != "" {
				t.Errorf("got %+v", r)
			}
		})
	}
}

func TestStdinReachesTheApplication(t *testing.T) {
	e := newEnv(t, "cat")
	cmd := e.command("run", e.id())
	cmd.Stdin = strings.NewReader("through the sandbox\n")
	if r := e.finish(cmd); r.code != 0 || r.stdout != "through the sandbox\n" {
		t.Errorf("got %+v", r)
	}
}

func TestLifeCycle(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	id := e.id()
	pidFile := filepath.Join(e.dir, "pid")
	e.ok("create", "--pid-file", pidFile, id)
	if s := e.status(id); s != "created" {
		t.Errorf("after create: %s", s)
	}
	var s stateOutput
	json.Unmarshal([]byte(e.ok("state", id)), &s)
	if data, _ := os.ReadFile(pidFile); string(data) != fmt.Sprint(s.PID) || s.PID == 0 {
		t.Errorf("pid file has %q, state %d", data, s.PID)
	}
	e.fails("already exists", "create", id)
	e.fails("cannot resume", "resume", id)
	e.ok("start", id)
	if s := e.status(id); s != "running" {
		t.Errorf("after start: %s", s)
	}
	e.fails("already running", "start", id)
	e.fails("not stopped", "delete", id)
	e.ok("pause", id)
	if s := e.status(id[:len(id)-1]); s != "paused" { // an id's prefix will do
		t.Errorf("after pause: %s", s)
	}
	e.fails("paused", "exec", id, "true")
	e.ok("resume", id)
	if out := e.ok("ps", "--format", "json", id); !strings.HasPrefix(out, fmt.Sprintf("[%d", s.PID)) {
		t.Errorf("ps: %q", out)
	}
	if out := e.ok("list", "-q"); out != id+"\n" {
		t.Errorf("list: %q", out)
	}
	if out := e.ok("exec", id, "echo", "hi"); out != "hi\n" {
		t.Errorf("exec: %q", out)
	}
	if r := e.run("exec", id, "sh", "-c", "exit 5"); r.code != 5 {
		t.Errorf("exec: %+v", r)
	}
	e.ok("kill", id, "sigkill")
	e.eventually("stopped", func() bool { return e.status(id) == "stopped" })
	e.fails("container not running", "kill", id)
	e.fails("has stopped", "start", id)
	e.ok("kill", "--all", id, "9")
	e.ok("delete", id)
	e.fails("does not exist", "state", id)
	e.fails("does not exist", "delete", id)
	e.ok("delete", "--force", id)
}

func TestKillAllReturnsWhenAllAreGone(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	e.ok("run", "-d", e.id())
	e.ok("exec", "-d", e.id(), "sleep", "1000")
	e.ok("kill", "-a", e.id(), "KILL")
	if s := e.status(e.id()); s != "stopped" {
		t.Errorf("after kill: %s", s)
	}
	e.ok("delete", e.id())
}

func TestDeleteForce(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	for _, args := range [][]string{{"run", "-d", e.id()}, {"create", e.id()}} {
		e.ok(args...)
		e.ok("delete", e.id(), "-f") // flags may follow the id
	}
}

func TestWaitAndDetachedRunLeavesStdioAlone(t *testing.T) {
	e := newEnv(t, "sleep", "0.3")
	// The end of the output is when the application ends: the sandbox, let alone the gofer,
	// has nothing of it.
	short := e.command("run", "--detach", e.id())
	if _, err := short.CombinedOutput(); err != nil {
		t.Fatal(err)
	}
	e.spec.Process.Args = []string{"sleep", "1000"}
	e.writeSpec()
	cmd := e.command("run", "-d", e.id()+"2")
	cmd.Stdin, cmd.Stdout = nil, os.NewFile(0, "")
	null, _ := os.OpenFile("/dev/null", os.O_RDWR, 0)
	defer null.Close()
	cmd.Stdout = null
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd.ExtraFiles = []*os.File{w} // a descriptor that nobody should inherit
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	r.SetReadDeadline(time.Now().Add(10 * time.Second))
	if _, err := r.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a descriptor of the caller lives on: %v", err)
	}
	go func() {
		time.Sleep(50 * time.Millisecond)
		e.command("kill", e.id()+"2", "KILL").Run()
	}()
	if out := e.ok("wait", e.id()+"2"); !strings.Contains(out, `"exitStatus":137`) {
		t.Errorf("wait: %s", out)
	}
	e.ok("delete", "-f", e.id(), e.id()+"2")
}

const trapScript = `trap "echo signal 2; exit 7" INT; trap "echo signal 15; exit 7" TERM; trap "echo signal 10; exit 7" USR1; echo ready; sleep 1000 & wait`

func TestSignalsAreForwarded(t *testing.T) {
	for _, tc := range []struct {
		sig  syscall.Signal
		want string
	}{{unix.SIGINT, "signal 2"}, {unix.SIGTERM, "signal 15"}, {unix.SIGUSR1, "signal 10"}} {
		for _, how := range []string{"run", "exec"} {
			t.Run(fmt.Sprint(how, " ", tc.want), func(t *testing.T) {
				e := newEnv(t, "sh", "-c", trapScript)
				cmd := e.command("run", e.id())
				if how == "exec" {
					e.spec.Process.Args = []string{"sleep", "1000"}
					e.writeSpec()
					e.ok("run", "-d", e.id())
					cmd = e.command("exec", e.id(), "sh", "-c", trapScript)
				}
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, 100)
				out.Read(buf) // "ready"
				cmd.Process.Signal(tc.sig)
				n, _ := out.Read(buf)
				cmd.Wait()
				if got := string(buf[:n]); got != tc.want+"\n" || cmd.ProcessState.ExitCode() != 7 {
					t.Errorf("got %q, exit %d", got, cmd.ProcessState.ExitCode())
				}
				e.ok("delete", "-f", e.id())
			})
		}
	}
}

// terminal is a terminal with a command on it, as a user has it.
type terminal struct {
	master, slave *os.File
	before        *unix.Termios
}

func startOnTerminal(t *testing.T, cmd *exec.Cmd) *terminal {
	t.Helper()
	master, slave, err := console.New(&specs.Box{Height: 33, Width: 101})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close(); slave.Close() })
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return &terminal{master, slave, before}
}

func (tm *terminal) settings() unix.Termios {
	now, err := unix.IoctlGetTermios(int(tm.slave.Fd()), unix.TCGETS)
	if err != nil {
		return unix.Termios{}
	}
	return *now
}

// expect reads until want appears.
func (tm *terminal) expect(t *testing.T, want string) {
	t.Helper()
	var got []byte
	fd := int(tm.master.Fd())
	for deadline := time.Now().Add(20 * time.Second); !strings.Contains(string(got), want); {
		if time.Now().After(deadline) {
			t.Fatalf("read %q, want %q", got, want)
		}
		if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 100); n == 1 && err == nil {
			buf := make([]byte, 256)
			n, _ := unix.Read(fd, buf)
			got = append(got, buf[:max(n, 0)]...)
		}
	}
}

func TestTerminal(t *testing.T) {
	for _, how := range []string{"run", "exec"} {
		for _, end := range []string{"^C", "TERM", "KILL"} {
			t.Run(how+" "+end, func(t *testing.T) {
				e := newEnv(t, "sh", "-c", trapScript)
				cmd := e.command("run", e.id())
				if how == "exec" {
					e.spec.Process.Args = []string{"sleep", "1000"}
					e.writeSpec()
					e.ok("run", "-d", e.id())
					cmd = e.command("exec", "-t", e.id(), "sh", "-c", trapScript)
				} else {
					e.spec.Process.Terminal = true
					e.writeSpec()
				}
				if end == "KILL" {
					cmd.Args = append([]string{"sh", "-c", `"$@"; sleep 0.5`, "sh"}, cmd.Args...)
					cmd.Path = "/bin/sh"
				}
				tm := startOnTerminal(t, cmd)
				tm.expect(t, "ready\r\n")
				e.eventually("raw mode", func() bool { return tm.settings().Lflag&unix.ISIG == 0 })
				switch end {
				case "^C":
					tm.master.Write([]byte{3})
					tm.expect(t, "signal 2\r\n")
				case "TERM":
					cmd.Process.Signal(unix.SIGTERM)
					tm.expect(t, "signal 15\r\n")
				case "KILL":
					// The session's leader stays: its end would hang up the terminal, which
					// then has no settings any more.
					unix.Kill(onlyChild(t, cmd.Process.Pid), unix.SIGKILL)
				}
				cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); end != "KILL" && code != 7 {
					t.Errorf("exit %d", code)
				}
				e.eventually("terminal restored", func() bool { return tm.settings() == *tm.before })
				e.ok("delete", "-f", e.id())
			})
		}
	}
}

func TestConcurrentCreateOfOneID(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	const n = 4
	codes := make(chan int, n)
	for range n {
		go func() {
			cmd := e.command("create", e.id())
			cmd.Run()
			codes <- cmd.ProcessState.ExitCode()
		}()
	}
	succeeded := 0
	for range n {
		if <-codes == 0 {
			succeeded++
		}
	}
	if succeeded != 1 {
		t.Errorf("%d of %d creates succeeded", succeeded, n)
	}
	e.ok("delete", "-f", e.id())
}

func TestHooks(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	trace := filepath.Join(e.dir, "trace")
	hook := func(name string) []specs.Hook {
		script := fmt.Sprintf(`read -r state; echo "$state" | grep -q '"id":"%s"' && echo %s >> %s`, e.id(), name, trace)
		return []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/bin:/usr/bin"}}}
	}
	e.spec.Hooks = &specs.Hooks{
		Prestart: hook("prestart"), CreateRuntime: hook("createRuntime"), CreateContainer: hook("createContainer"),
		StartContainer: hook("startContainer"), Poststart: hook("poststart"), Poststop: hook("poststop"),
	}
	e.writeSpec()
	check := func(when, want string) {
		t.Helper()
		data, _ := os.ReadFile(trace)
		if got := strings.Join(strings.Fields(string(data)), " "); got != want {
			t.Errorf("after %s: %q, want %q", when, got, want)
		}
	}
	e.ok("create", e.id())
	check("create", "prestart createRuntime createContainer")
	e.ok("start", e.id())
	check("start", "prestart createRuntime createContainer startContainer poststart")
	e.ok("delete", "--force", e.id())
	check("delete", "prestart createRuntime createContainer startContainer poststart poststop")

	timeout := 1
	for _, tc := range []struct {
		hook specs.Hook
		want string
	}{
		{specs.Hook{Path: "/bin/sh", Args: []string{"sh", "-c", "echo no luck >&2; exit 3"}}, "exit status 3: no luck"},
		{specs.Hook{Path: "/bin/sleep", Args: []string{"sleep", "100"}, Timeout: &timeout}, "no end after 1 seconds"},
		{specs.Hook{Path: "/nonexistent"}, "no such file or directory"},
	} {
		e.spec.Hooks = &specs.Hooks{CreateRuntime: []specs.Hook{tc.hook}}
		e.writeSpec()
		e.fails(tc.want, "create", e.id())
	}
}

// TestErrors is about messages: one clear line, and nothing left.
func TestErrors(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		change     func(e *env)
	}{
		{"no config.json", "config.json not found", func(e *env) { os.Remove(e.bundle + "/config.json") }},
		{"broken JSON", "config.json:2:3: broken JSON", func(e *env) {
			os.WriteFile(e.bundle+"/config.json", []byte("{\n  x}"), 0o644)
		}},
		{"missing rootfs", "rootfs/x: no such file or directory", func(e *env) { e.spec.Root.Path = "rootfs/x"; e.writeSpec() }},
		{"rootfs is a file", "is not a directory", func(e *env) { e.spec.Root.Path = "config.json"; e.writeSpec() }},
		{"bad mount source", "/nonexistent on /data: no such file or directory", func(e *env) {
			e.spec.Mounts = append(e.spec.Mounts, specs.Mount{Destination: "/data", Source: "/nonexistent", Type: "bind"})
			e.writeSpec()
		}},
		{"directory over file", "not a directory", func(e *env) {
			e.spec.Mounts = append(e.spec.Mounts, specs.Mount{Destination: "/bin/busybox", Source: "/tmp", Type: "bind"})
			e.writeSpec()
		}},
		{"missing executable", "executable file not found in $PATH", func(e *env) { e.spec.Process.Args = []string{"nosuch"}; e.writeSpec() }},
		{"network namespace", "/nonexistent: no such file or directory", func(e *env) {
			e.spec.Linux.Namespaces[1].Path = "/nonexistent"
			e.writeSpec()
		}},
		{"terminal without console", "console socket", func(e *env) { e.spec.Process.Terminal = true; e.writeSpec() }},
		{"bad capability", `unknown capability "CAP_FLY"`, func(e *env) {
			e.spec.Process.Capabilities.Bounding = []string{"CAP_FLY"}
			e.writeSpec()
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			e := newEnv(t, "true")
			tc.change(e)
			e.fails(tc.want, "create", e.id())
		})
	}
	e := newEnv(t, "true")
	e.fails("invalid container ID", "create", "a/b")
	e.fails(`unknown signal "BOGUS"`, "kill", "x", "BOGUS")
	for _, args := range [][]string{{"create"}, {"bogus"}, {"state"}, {"exec", "x"}, {"create", "--bogus", "x"}, {}} {
		if r := e.run(args...); r.code != 2 || r.stderr == "" {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

func TestErrorsReachTheLog(t *testing.T) {
	e := newEnv(t, "nosuch")
	logFile := filepath.Join(e.dir, "log.json")
	os.WriteFile(logFile, []byte("{\"msg\":\"kept\",\"level\":\"info\"}\n"), 0o644)
	e.flags = []string{"--log", logFile, "--log-format=json"}
	e.fails("executable file not found", "create", e.id())
	data, err := os.ReadFile(logFile)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	found := false
	for _, line := range lines {
		var m struct{ Level, Msg string }
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Errorf("not JSON: %q", line)
		}
		found = found || m.Level == "error" && strings.Contains(m.Msg, "executable file not found in $PATH")
	}
	if !found || !strings.Contains(lines[0], "kept") {
		t.Errorf("log is %s", data)
	}
}

// childOf finds the process of a kind that belongs to this test.
func (e *env) childOf(kind string) int {
	for pid, cmdline := range e.processes() {
		if strings.HasPrefix(cmdline, kind+" ") {
			return pid
		}
	}
	return 0
}

// kill ends a process with SIGKILL and returns when it is dead: its files are closed, as are
// those of all others of its pid namespace if it is the init of one. kill(2) alone returns
// when the signal is sent.
func kill(t testing.TB, pid int) {
	t.Helper()
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		t.Fatalf("pidfd_open(%d): %v", pid, err)
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil {
		t.Fatalf("killing process %d: %v", pid, err)
	}
	dead := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		switch n, err := unix.Poll(dead, int(commandTimeout.Milliseconds())); {
		case err == unix.EINTR:
		case err != nil || n == 0:
			t.Fatalf("process %d has not died of SIGKILL: %d, %v", pid, n, err)
		default:
			return
		}
	}
}

// TestDeathDuringCreate kills one of the processes while a hook holds up the client.
func TestDeathDuringCreate(t *testing.T) {
	for _, tc := range []struct{ victim, want string }{
		{"runsc-sandbox", "sandbox killed by signal SIGKILL"},
		{"runsc-gofer", ""},
	} {
		t.Run(tc.victim, func(t *testing.T) {
			e := newEnv(t, "sleep", "1000")
			reached, proceed := filepath.Join(e.dir, "reached"), filepath.Join(e.dir, "proceed")
			script := fmt.Sprintf("touch %s; while ! test -e %s; do sleep 0.01; done", reached, proceed)
			e.spec.Hooks = &specs.Hooks{Prestart: []specs.Hook{{Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: os.Environ()}}}
			e.writeSpec()
			created := make(chan struct{})
			go func() {
				defer close(created)
				if tc.want == "" {
					e.run("create", e.id()) // may succeed or not
					return
				}
				e.fails(tc.want, "create", e.id())
			}()
			func() {
				defer func() {
					os.WriteFile(proceed, nil, 0o644)
					<-created
				}()
				e.eventually("hook reached", func() bool { _, err := os.Stat(reached); return err == nil })
				pid := e.childOf(tc.victim)
				if pid == 0 {
					t.Fatalf("no %s", tc.victim)
				}
				kill(t, pid)
			}()
			if tc.want == "" {
				e.ok("delete", "--force", e.id())
			}
		})
	}
}

// TestClientKilled kills the client at many moments of a create; whatever it was doing,
// delete --force cleans up, and the id can be used again.
func TestClientKilled(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	start := time.Now()
	e.ok("create", e.id())
	took := time.Since(start)
	e.ok("delete", "--force", e.id())
	const steps = 24
	for i := range steps {
		cmd := e.command("create", e.id())
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(took * time.Duration(i) * 5 / 4 / steps)
		cmd.Process.Kill()
		cmd.Wait()
		if out := e.run("list"); out.code != 0 {
			t.Fatalf("step %d: list: %+v", i, out)
		}
		e.ok("delete", "--force", e.id())
		e.eventually(fmt.Sprintf("step %d: all processes gone", i), func() bool { return len(e.processes()) == 0 })
		e.ok("create", e.id())
		e.ok("delete", e.id())
	}
}

// TestLockedUp looks at the two processes from outside.
func TestLockedUp(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	e.ok("run", "-d", e.id())
	defer e.ok("delete", "-f", e.id())
	status := func(pid int, key string) string {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(data), "\n") {
			if rest, ok := strings.CutPrefix(line, key+":"); ok {
				return strings.Join(strings.Fields(rest), " ")
			}
		}
		return ""
	}
	for _, p := range []struct {
		kind, uid, caps string
		namespaces      []string
	}{
		{"runsc-sandbox", "65534 65534 65534 65534", "0000000000000000", []string{"user", "mnt", "ipc", "uts", "pid", "net"}},
		{"runsc-gofer", "0 0 0 0", "000000000004001f", []string{"mnt", "ipc", "uts", "pid", "net"}},
	} {
		pid := e.childOf(p.kind)
		if pid == 0 {
			t.Fatalf("no %s", p.kind)
		}
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		for _, task := range tasks {
			var tid int
			fmt.Sscanf(task, fmt.Sprintf("/proc/%d/task/%%d/status", pid), &tid)
			for key, want := range map[string]string{
				"Uid": p.uid, "CapEff": p.caps, "CapPrm": p.caps, "CapInh": "0000000000000000", "CapAmb": "0000000000000000", "NoNewPrivs": "1",
			} {
				if got := status(tid, key); got != want {
					t.Errorf("%s, thread %d: %s is %q, want %q", p.kind, tid, key, got, want)
				}
			}
		}
		for _, ns := range p.namespaces {
			own, _ := os.Readlink("/proc/self/ns/" + ns)
			theirs, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/%s", pid, ns))
			if err != nil || own == theirs {
				t.Errorf("%s shares our %s namespace: %s, %v", p.kind, ns, theirs, err)
			}
		}
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/root", pid))
		if err != nil || len(entries) != 0 {
			t.Errorf("%s sees files: %v, %v", p.kind, entries, err)
		}
		if f, err := os.Create(fmt.Sprintf("/proc/%d/root/x", pid)); err == nil {
			f.Close()
			t.Errorf("%s has a writable root", p.kind)
		}
	}
	for _, kind := range []string{"runsc-gofer", "runsc-sandbox"} {
		if got := status(e.childOf(kind), "Seccomp"); got != "2" {
			t.Errorf("%s has no system call filter: %s", kind, got)
		}
	}
	// Nothing but anonymous things, the null device, the application's stdio and files that
	// the gofer donated is open.
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", e.childOf("runsc-sandbox")))
	for _, fd := range fds {
		target, err := os.Readlink(fd)
		if st, err := os.Stat(fd); err == nil {
			if program, _ := os.Stat(e.bundle + "/rootfs/bin/busybox"); os.SameFile(st, program) {
				continue
			}
		}
		if err == nil && strings.HasPrefix(target, "/") && target != "/dev/null" && target != "/null" && !strings.HasPrefix(target, e.dir+"/output-") && !strings.HasPrefix(target, "/memfd:") && !strings.HasPrefix(target, "/dev/shm") {
			t.Errorf("sandbox has %s open", target)
		}
	}
}

func TestCgroupLimitsAndMembership(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	limit := int64(200)
	e.spec.Linux.CgroupsPath = "/" + e.id()
	e.spec.Linux.Resources = &specs.LinuxResources{Pids: &specs.LinuxPids{Limit: limit}}
	e.writeSpec()
	r := e.run("run", "-d", e.id())
	if strings.Contains(r.stderr, "cgroup") {
		t.Skipf("no usable cgroups: %s", r.stderr)
	}
	if r.code != 0 {
		t.Fatalf("run: %+v", r)
	}
	defer e.ok("delete", "-f", e.id())
	found := false
	for _, dir := range []string{"/sys/fs/cgroup/pids/", "/sys/fs/cgroup/"} {
		data, err := os.ReadFile(dir + e.id() + "/pids.max")
		if err != nil {
			continue
		}
		found = true
		if strings.TrimSpace(string(data)) != "200" {
			t.Errorf("pids.max = %s", data)
		}
		procs, _ := os.ReadFile(dir + e.id() + "/cgroup.procs")
		for _, kind := range []string{"runsc-sandbox", "runsc-gofer"} {
			if pid := fmt.Sprintf("%d\n", e.childOf(kind)); !strings.Contains("\n"+string(procs), "\n"+pid) {
				t.Errorf("%s is not in the cgroup: %q", kind, procs)
			}
		}
	}
	if !found {
		t.Error("no cgroup was made")
	}
}

func TestDo(t *testing.T) {
	e := newEnv(t, "true")
	if r := e.run("do", "/bin/echo", "hello"); r.code != 0 || r.stdout != "hello\n" {
		t.Errorf("got %+v", r)
	}
}

func TestDebug(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	e.ok("run", "-d", e.id())
	defer e.ok("delete", "-f", e.id())
	if out := e.ok("debug", "--stacks", e.id()); !strings.Contains(out, "goroutine ") {
		t.Errorf("stacks: %q", out)
	}
	if out := e.ok("debug", "--ps", e.id()); !strings.Contains(out, "sleep") {
		t.Errorf("ps: %q", out)
	}
	e.fails("--profile", "debug", "--profile-heap", filepath.Join(e.dir, "heap"), e.id())
}

// TestStaticWithoutCgo keeps out what would make the program dynamic, and make it impossible
// to change the credentials of all threads.
func TestStaticWithoutCgo(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "runsc/cmd/runsc").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range strings.Fields(string(out)) {
		if p == "runtime/cgo" || p == "net" || p == "os/user" {
			t.Errorf("the program depends on package %s", p)
		}
	}
}

// onlyChild finds the one child that process pid has.
func onlyChild(t *testing.T, pid int) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	child, err2 := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil || err2 != nil {
		t.Fatalf("children of %d: %q, %v", pid, data, err)
	}
	return child
}
