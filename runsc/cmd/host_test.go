package cmd

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What the host gives to, and sees of, the processes.

func TestNetworkNamespaceIsJoined(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	holder := exec.Command("sleep", "1000")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET}
	if err := holder.Start(); err != nil {
		t.Skipf("network namespace: %v", err)
	}
	defer holder.Wait()
	defer holder.Process.Kill()
	path := fmt.Sprintf("/proc/%d/ns/net", holder.Process.Pid)
	e.spec.Linux.Namespaces[1].Path = path
	e.writeSpec()
	want, _ := os.Readlink(path)
	own, _ := os.Readlink("/proc/self/ns/net")
	for network, same := range map[string]bool{"sandbox": true, "host": true, "none": false} {
		e.flags = []string{"--network=" + network}
		e.ok("run", "-d", e.id())
		got, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", e.childOf("runsc-sandbox")))
		if err != nil || (got == want) != same || got == own {
			t.Errorf("--network=%s: sandbox is in %s, the container's namespace is %s, ours %s; %v", network, got, want, own, err)
		}
		e.ok("delete", "-f", e.id())
	}
}

func TestHostLimits(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	adj := 123
	e.spec.Process.OOMScoreAdj = &adj
	e.writeSpec()
	e.ok("run", "-d", e.id())
	defer e.ok("delete", "-f", e.id())
	var own unix.Rlimit
	unix.Getrlimit(unix.RLIMIT_NOFILE, &own)
	files := fmt.Sprintf("Max open files %d %[1]d", 1<<20)
	if own.Max < 1<<20 {
		// Perhaps even root may not raise it here.
		files = "Max open files "
	}
	for _, kind := range []string{"runsc-sandbox", "runsc-gofer"} {
		pid := e.childOf(kind)
		if data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/oom_score_adj", pid)); strings.TrimSpace(string(data)) != "123" {
			t.Errorf("%s: oom_score_adj is %s", kind, data)
		}
		data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
		for _, want := range []string{"Max core file size 0 0", files} {
			found := false
			for _, line := range strings.Split(string(data), "\n") {
				found = found || strings.HasPrefix(strings.Join(strings.Fields(line), " "), want)
			}
			if !found {
				t.Errorf("%s: no %q in\n%s", kind, want, data)
			}
		}
	}
}

// TestOrdinaryUser runs everything without being root.
func TestOrdinaryUser(t *testing.T) {
	e := newEnv(t, "echo", "hello")
	const uid = 54321
	for _, dir := range []string{e.dir + "/..", e.dir} {
		os.Chmod(dir, 0o755)
	}
	os.Mkdir(e.root, 0o755)
	os.Chown(e.root, uid, uid)
	os.Chmod(e.bin[:strings.LastIndexByte(e.bin, '/')], 0o755)
	cmd := e.command("--rootless", "run", e.id())
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
	if r := e.finish(cmd); r.code != 0 || r.stdout != "hello\n" {
		t.Errorf("got %+v", r)
	}
}

// TestWithoutNamespaces covers the flag with which tests run where nothing is permitted.
func TestWithoutNamespaces(t *testing.T) {
	e := newEnv(t, "echo", "hello")
	e.flags = []string{"--TESTONLY-unsafe-nonroot"}
	if r := e.run("run", e.id()); r.code != 0 || r.stdout != "hello\n" {
		t.Errorf("got %+v", r)
	}
}
