// Package oci is what the suites share: bundles, the command line of the runtime under
// test, and a search for what it left behind.
//
// The runtime is the program named by RUNTIME (default bin/runsc of this tree), so that a
// suite can be checked against another OCI runtime before it judges ours. PLATFORM is a
// list of platforms to run on, separated by commas, and RUNTIME_FLAGS holds further global
// flags; both mean nothing to runc.
//
// A Runtime has a state directory of its own under the test's temporary directory, so
// suites may run side by side and a leftover can be told from a stranger's container.
// Every command has a time limit; one that passes it is killed, and so is the container.
package oci

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A Runtime is the program under test with a state directory and global flags.
type Runtime struct {
	Path     string
	Root     string // state directory
	Platform string // empty for the runtime's own choice
	// Network is --network: "none" unless the suite wants another.
	Network string
	flags   []string
}

// Platforms lists what PLATFORM asks for; one empty name means the runtime's default.
func Platforms() []string {
	return strings.Split(os.Getenv("PLATFORM"), ",")
}

// Path finds the runtime under test or ends the test: without one there is nothing to say.
func Path(t testing.TB) string {
	t.Helper()
	path := os.Getenv("RUNTIME")
	if path == "" {
		path = filepath.Join(Top(t), "bin", "runsc")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no runtime to test: %v (make builds bin/runsc; or set RUNTIME)", err)
	}
	return path
}

// Top is the root of the source tree.
func Top(t testing.TB) string {
	t.Helper()
	dir, err := FindTop()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// FindTop looks for the root of the source tree from the working directory upwards.
func FindTop() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == "/" {
			return "", errors.New("no go.mod above the working directory")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}

// NeedRoot skips the test unless it runs as root.
func NeedRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: namespaces, mounts and cgroups")
	}
}

// New returns the runtime under test on a platform. What it left behind is removed at the
// end of the test.
func New(t testing.TB, platform string) *Runtime {
	t.Helper()
	r := Open(Path(t), filepath.Join(ShortDir(t), "s"), platform)
	t.Cleanup(r.RemoveAll)
	return r
}

// Open returns a runtime with the given program and state directory. What is left in it at
// the end is the caller's to remove, see RemoveAll.
func Open(path, root, platform string) *Runtime {
	r := &Runtime{Path: path, Root: root, Platform: platform, Network: "none"}
	if !r.IsRunc() {
		if platform != "" {
			r.flags = append(r.flags, "--platform="+platform)
		}
		r.flags = append(r.flags, strings.Fields(os.Getenv("RUNTIME_FLAGS"))...)
	}
	return r
}

// AddFlags adds global flags, which runc does not have.
func (r *Runtime) AddFlags(flags ...string) {
	if !r.IsRunc() {
		r.flags = append(r.flags, flags...)
	}
}

// IsRunc tells whether the runtime shares the host's kernel, for the few things that
// differ by design.
func (r *Runtime) IsRunc() bool {
	name := filepath.Base(r.Path)
	return name == "runc" || name == "crun"
}

// RemoveAll deletes the containers that the state directory still has.
func (r *Runtime) RemoveAll() {
	entries, err := os.ReadDir(r.Root)
	if err != nil || len(entries) == 0 {
		return
	}
	for _, id := range strings.Fields(r.Run(10*time.Second, "list", "-q").Stdout) {
		r.Run(10*time.Second, "delete", "--force", id)
	}
}

// Command prepares a call of the runtime with its global flags.
func (r *Runtime) Command(args ...string) *exec.Cmd {
	all := append([]string{"--root", r.Root}, r.flags...)
	if !r.IsRunc() {
		all = append(all, "--network="+r.Network)
	}
	return exec.Command(r.Path, append(all, args...)...)
}

// A Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int  // 128+N when signal N killed it, -1 when it could not be started
	TimedOut       bool // or the context was done
	Took           time.Duration
}

// Out is everything that was printed, for messages.
func (r Result) Out() string {
	s := fmt.Sprintf("code %d", r.Code)
	if r.TimedOut {
		s += " (timed out)"
	}
	return fmt.Sprintf("%s\n--- stdout\n%s--- stderr\n%s", s, r.Stdout, r.Stderr)
}

// Run calls the runtime without standard input.
func (r *Runtime) Run(limit time.Duration, args ...string) Result {
	return Run(limit, r.Command(args...))
}

// Run runs a command to its end, or kills it and everything that it started in its
// process group.
func Run(limit time.Duration, cmd *exec.Cmd) Result {
	return RunContext(context.Background(), limit, cmd)
}

// RunContext is Run that also kills when the context is done.
func RunContext(ctx context.Context, limit time.Duration, cmd *exec.Cmd) Result {
	var stdout, stderr bytes.Buffer
	if cmd.Stdout == nil {
		cmd.Stdout = &stdout
	}
	if cmd.Stderr == nil {
		cmd.Stderr = &stderr
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	// A grandchild that keeps the pipes must not hang the test.
	cmd.WaitDelay = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	began := time.Now()
	res := Result{}
	if err := cmd.Start(); err != nil {
		return Result{Code: -1, Stderr: err.Error() + "\n"}
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		res.TimedOut = true
		if cmd.SysProcAttr.Setpgid || cmd.SysProcAttr.Setsid {
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
		cmd.Process.Kill()
		err = <-done
	}
	res.Took = time.Since(began)
	res.Stdout, res.Stderr = stdout.String(), stderr.String()
	if errors.Is(err, exec.ErrWaitDelay) {
		res.Stderr += "(something still holds the output open)\n"
	}
	res.Code = ExitCode(cmd.ProcessState)
	return res
}

// ExitCode is the shell's view of how a process ended.
func ExitCode(s *os.ProcessState) int {
	if s == nil {
		return -1
	}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}

var ids atomic.Int64

// ID makes a container id that no other test of this machine uses.
func ID(name string) string {
	return fmt.Sprintf("%s-%d-%d", name, os.Getpid(), ids.Add(1))
}

// ShortDir is a fresh directory with a short path: sockets below it must fit in 107 bytes.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "rt")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Eventually polls a condition until it holds, or fails the test after the limit.
func Eventually(t testing.TB, limit time.Duration, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if cond() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: not %s", limit, what)
		}
	}
}
