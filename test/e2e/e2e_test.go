package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/test/oci"
)

// soon is how long an ordinary command may take on a busy machine.
const soon = 20 * time.Second

// eachPlatform runs a test on every platform asked for, in a state directory of its own,
// and looks for leftovers at the end.
func eachPlatform(t *testing.T, test func(t *testing.T, r *oci.Runtime)) {
	t.Helper()
	oci.NeedRoot(t)
	for _, p := range oci.Platforms() {
		if p == "" {
			checked(t, "", test)
			continue
		}
		t.Run(p, func(t *testing.T) { checked(t, p, test) })
	}
}

func checked(t *testing.T, platform string, test func(t *testing.T, r *oci.Runtime)) {
	r := oci.New(t, platform)
	before := r.TakeCensus()
	t.Cleanup(func() {
		if !t.Failed() {
			r.NoLeaks(t, before)
		}
	})
	test(t, r)
}

// needOurs skips what is not part of runc's command line.
func needOurs(t *testing.T, r *oci.Runtime) {
	t.Helper()
	if r.IsRunc() {
		t.Skip("beyond runc's command line")
	}
}

var (
	rootfsOnce sync.Once
	rootfsDir  string
)

func TestMain(m *testing.M) {
	code := m.Run()
	if rootfsDir != "" {
		os.RemoveAll(rootfsDir)
	}
	os.Exit(code)
}

// rootfs is a busybox root shared by the tests; none of them changes it but below /data.
func rootfs(t testing.TB) string {
	t.Helper()
	rootfsOnce.Do(func() {
		dir, err := os.MkdirTemp("/tmp", "rt")
		if err != nil {
			t.Fatal(err)
		}
		rootfsDir = dir
		os.Chmod(dir, 0o755)
		root := filepath.Join(dir, "rootfs")
		oci.BusyboxRootfs(t, root)
		os.MkdirAll(filepath.Join(root, "data"), 0o777)
		os.WriteFile(filepath.Join(root, "bin/not-executable"), []byte("#!/bin/sh\n"), 0o644)
		arm := make([]byte, 4096)
		copy(arm, "\x7fELF\x02\x01\x01")
		arm[16], arm[18], arm[20], arm[32], arm[52], arm[54], arm[56] = 2, 183, 1, 64, 64, 56, 1
		os.WriteFile(filepath.Join(root, "bin/arm-program"), arm, 0o755)
	})
	if rootfsDir == "" {
		t.Fatal("no root filesystem")
	}
	return filepath.Join(rootfsDir, "rootfs")
}

// bundle makes a bundle that runs args, after the edits.
func bundle(t testing.TB, args []string, edit ...func(*specs.Spec)) *oci.Bundle {
	t.Helper()
	s := oci.Spec(args...)
	for _, e := range edit {
		e(s)
	}
	return oci.NewBundle(t, rootfs(t), s)
}

// sh makes a bundle that runs a shell script.
func sh(t testing.TB, script string, edit ...func(*specs.Spec)) *oci.Bundle {
	t.Helper()
	return bundle(t, []string{"/bin/sh", "-c", script}, edit...)
}

// run runs a shell script in a new container.
func run(t testing.TB, r *oci.Runtime, script string, edit ...func(*specs.Spec)) oci.Result {
	t.Helper()
	return r.Run(soon, "run", "--bundle", sh(t, script, edit...).Dir, oci.ID("run"))
}

// ok fails the test unless the command ended with 0.
func ok(t testing.TB, res oci.Result) oci.Result {
	t.Helper()
	if res.Code != 0 {
		t.Fatalf("failed: %s", res.Out())
	}
	return res
}

// started creates and starts a container, which is removed at the end of the test.
func started(t testing.TB, r *oci.Runtime, b *oci.Bundle) string {
	t.Helper()
	id := oci.ID("box")
	// The container's own streams are this file, so that create's caller is not held.
	ok(t, detached(t, r, "create", "--bundle", b.Dir, "--pid-file", filepath.Join(b.Dir, "pid"), id))
	t.Cleanup(func() { r.Run(soon, "delete", "--force", id) })
	ok(t, r.Run(soon, "start", id))
	return id
}

// detached runs a command whose container keeps its streams; they go to a file.
func detached(t testing.TB, r *oci.Runtime, args ...string) oci.Result {
	t.Helper()
	out, err := os.CreateTemp(oci.ShortDir(t), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := r.Command(args...)
	cmd.Stdout, cmd.Stderr = out, out
	res := oci.Run(soon, cmd)
	data, _ := os.ReadFile(out.Name())
	res.Stderr = string(data)
	return res
}

// status is the word that `state` says, or "" when there is no such container.
func status(r *oci.Runtime, id string) string {
	res := r.Run(soon, "state", id)
	if res.Code != 0 {
		return ""
	}
	var s specs.State
	if json.Unmarshal([]byte(res.Stdout), &s) != nil {
		return fmt.Sprintf("not JSON: %s", res.Stdout)
	}
	return string(s.Status)
}

func waitStatus(t testing.TB, r *oci.Runtime, id, want string) {
	t.Helper()
	oci.Eventually(t, soon, "status "+want, func() bool { return status(r, id) == want })
}

// shared adds a writable directory of the host at /shared.
func shared(t testing.TB) (dir string, edit func(*specs.Spec)) {
	t.Helper()
	dir = oci.ShortDir(t)
	os.Chmod(dir, 0o777)
	return dir, func(s *specs.Spec) { oci.AddMount(s, "bind", dir, "/shared", "rbind", "rw") }
}

// fileHas waits for a file to hold a text.
func fileHas(t testing.TB, path, text string) {
	t.Helper()
	oci.Eventually(t, soon, fmt.Sprintf("%q in %s", text, filepath.Base(path)), func() bool {
		data, _ := os.ReadFile(path)
		return strings.Contains(string(data), text)
	})
}
