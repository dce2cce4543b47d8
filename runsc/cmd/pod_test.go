package cmd

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// TestPod runs two containers in one sandbox, as containerd's CRI does.
func TestPod(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	pod, member := e.id(), e.id()+"-member"
	e.spec.Annotations = map[string]string{"io.kubernetes.cri.container-type": "sandbox"}
	e.writeSpec()
	e.ok("create", pod)
	e.ok("start", pod)

	e.spec.Annotations = map[string]string{"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": pod}
	e.spec.Process.Args = []string{"echo", "from", "the", "member"}
	e.writeSpec()
	if r := e.run("run", member); r.code != 0 || r.stdout != "from the member\n" {
		t.Errorf("run: %+v", r)
	}
	e.spec.Process.Args = []string{"sleep", "1000"}
	e.writeSpec()
	e.ok("create", member)
	if s := e.status(member); s != "created" {
		t.Errorf("after create: %s", s)
	}
	e.ok("start", member)
	if out := e.ok("exec", member, "echo", "hi"); out != "hi\n" {
		t.Errorf("exec: %q", out)
	}
	var list []stateOutput
	json.Unmarshal([]byte(e.ok("list", "--format=json")), &list)
	if len(list) != 2 || list[0].PID != list[1].PID {
		t.Errorf("list: %+v", list)
	}
	e.ok("kill", "--all", member, "KILL")
	if s := e.status(pod); s != "running" {
		t.Errorf("the pod after its member's death: %s", s)
	}
	e.ok("delete", "--force", member)
	gofers := 0
	for _, cmdline := range e.processes() {
		if strings.HasPrefix(cmdline, "runsc-gofer ") {
			gofers++
		}
	}
	if gofers != 1 {
		t.Errorf("%d gofers after the member was deleted", gofers)
	}
	// A failure of a member leaves the pod alone.
	e.spec.Process.Args = []string{"nosuch"}
	e.writeSpec()
	e.fails("executable file not found", "create", member)
	e.spec.Process.Args = []string{"sleep", "1000"}
	e.writeSpec()
	e.ok("create", member)

	// The pod's end is its members' end.
	e.ok("kill", pod, "KILL")
	e.eventually("stopped", func() bool { return e.status(pod) == "stopped" && e.status(member) == "stopped" })
	e.ok("delete", member, pod)

	e.fails("sandbox to join", "create", member)
}

// TestUserNamespace runs the gofer as the root of the container's users.
func TestUserNamespace(t *testing.T) {
	e := newEnv(t, "sleep", "1000")
	e.spec.Linux.Namespaces = append(e.spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace})
	m := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 200000, Size: 1000}}
	e.spec.Linux.UIDMappings, e.spec.Linux.GIDMappings = m, m
	e.writeSpec()
	// Its root must be able to reach the rootfs.
	for _, dir := range []string{filepath.Dir(e.dir), e.dir, e.bundle, e.bundle + "/rootfs"} {
		os.Chmod(dir, 0o755)
	}
	r := e.run("run", "-d", e.id())
	if r.code != 0 {
		t.Fatalf("run: %+v", r)
	}
	defer e.ok("delete", "-f", e.id())
	gofer := e.childOf("runsc-gofer")
	data, _ := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", gofer))
	if strings.Join(strings.Fields(string(data)), " ") != "0 200000 1000" {
		t.Errorf("uid_map: %q", data)
	}
	data, _ = os.ReadFile(fmt.Sprintf("/proc/%d/status", gofer))
	if !strings.Contains(string(data), "\nUid:\t200000\t200000\t200000\t200000\n") {
		t.Errorf("gofer does not run as its root: %s", data)
	}
}
