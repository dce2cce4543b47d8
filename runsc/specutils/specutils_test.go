package specutils

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

const good = `{
  "ociVersion": "1.0.2",
  "process": {"args": ["sh"], "cwd": "/", "capabilities": {"bounding": ["CAP_NET_RAW", "CAP_KILL"]}},
  "root": {"path": "rootfs"},
  "mounts": [{"destination": "data/../x", "source": "d", "options": ["rbind", "ro"]}]
}`

func bundle(t *testing.T, config string) string {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ConfigName), []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestReadSpecNormalizes(t *testing.T) {
	dir := bundle(t, good)
	spec, err := ReadSpec(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	if spec.Root.Path != dir+"/rootfs" {
		t.Errorf("root = %q", spec.Root.Path)
	}
	if m := spec.Mounts[0]; m.Destination != "/x" || m.Source != dir+"/d" || m.Type != "bind" || !IsReadOnly(m.Options) {
		t.Errorf("mount = %+v", m)
	}
	if got := spec.Process.Capabilities.Bounding; !reflect.DeepEqual(got, []string{"CAP_KILL"}) {
		t.Errorf("bounding = %v", got)
	}
	if spec, err = ReadSpec(dir, true); err != nil || len(spec.Process.Capabilities.Bounding) != 2 {
		t.Errorf("with net-raw: %v, %v", spec, err)
	}
}

func TestErrorsAreOneClearLine(t *testing.T) {
	for _, tc := range []struct{ name, config, want string }{
		{"truncated", `{"a":`, "config.json:1:5: broken JSON: unexpected end of JSON input"},
		{"syntax", "{\n  \"process\": {,}\n}", "config.json:2:15: broken JSON"},
		{"type", "{\n \"process\": {\"args\": \"sh\"}}", "config.json:2:25: process.args is a JSON string, want []string"},
		{"trailing", good + "x", "config.json:6:2: broken JSON"},
		{"no process", `{"root":{"path":"r"}}`, "process is missing"},
		{"no args", `{"process":{"cwd":"/"},"root":{"path":"r"}}`, "args must not be empty"},
		{"relative cwd", `{"process":{"args":["a"],"cwd":"x"},"root":{"path":"r"}}`, "not an absolute path"},
		{"no root", `{"process":{"args":["a"],"cwd":"/"}}`, "root.path is missing"},
		{"bad cap", `{"process":{"args":["a"],"cwd":"/","capabilities":{"ambient":["CAP_FLY"]}},"root":{"path":"r"}}`, `unknown capability "CAP_FLY"`},
		{"shared bind", `{"process":{"args":["a"],"cwd":"/"},"root":{"path":"r"},"mounts":[{"destination":"/a","options":["rbind","rshared"]}]}`, "not supported"},
		{"hook", `{"process":{"args":["a"],"cwd":"/"},"root":{"path":"r"},"hooks":{"prestart":[{"path":"x"}]}}`, "hooks.prestart"},
		{"NUL", `{"process":{"args":["a\u0000"],"cwd":"/"},"root":{"path":"r"}}`, "NUL"},
		{"two pid namespaces", `{"process":{"args":["a"],"cwd":"/"},"root":{"path":"r"},"linux":{"namespaces":[{"type":"pid"},{"type":"pid"}]}}`, "given twice"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := ReadSpec(bundle(t, tc.config), false)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want one line with %q", err, tc.want)
			}
		})
	}
	if _, err := ReadSpec(t.TempDir(), false); err == nil || !strings.Contains(err.Error(), "config.json not found") {
		t.Errorf("no config.json: %v", err)
	}
}

func TestSandboxID(t *testing.T) {
	for _, tc := range []struct {
		annotations map[string]string
		want        string
		root, fails bool
	}{
		{nil, "c1", true, false},
		{map[string]string{annotationContainerType: "sandbox"}, "c1", true, false},
		{map[string]string{annotationContainerType: "container", annotationSandboxID: "pod"}, "pod", false, false},
		{map[string]string{annotationCRIOContainerType: "container", annotationCRIOSandboxID: "pod"}, "pod", false, false},
		{map[string]string{annotationContainerType: "container"}, "", false, true},
		{map[string]string{annotationContainerType: "container", annotationSandboxID: "../x"}, "", false, true},
		{map[string]string{annotationContainerType: "boat"}, "", false, true},
	} {
		sid, root, err := SandboxID(&specs.Spec{Annotations: tc.annotations}, "c1")
		if sid != tc.want || root != tc.root || (err != nil) != tc.fails {
			t.Errorf("%v: got %q %v %v", tc.annotations, sid, root, err)
		}
	}
}

func TestValidateID(t *testing.T) {
	for id, ok := range map[string]bool{"a": true, "A_b+c-d.9": true, "": false, "a/b": false, "..": false, "a b": false, "a:b": false, "ä": false, "a\n": false} {
		if err := ValidateID(id); (err == nil) != ok {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestCapabilities(t *testing.T) {
	if n, err := CapabilityNumber("net_raw"); err != nil || n != unix.CAP_NET_RAW {
		t.Errorf("net_raw = %d, %v", n, err)
	}
	for n, name := range AllCapabilities() {
		if got, err := CapabilityNumber(name); err != nil || got != n {
			t.Errorf("%s = %d, %v; want %d", name, got, err, n)
		}
	}
	c := &specs.LinuxCapabilities{Bounding: []string{"CAP_KILL"}}
	if err := AddCapability(c, "kill"); err != nil || len(c.Bounding) != 1 || len(c.Ambient) != 1 {
		t.Errorf("%+v, %v", c, err)
	}
	if bits, err := CapabilityBits([]string{"CAP_CHOWN", "CAP_KILL"}); err != nil || bits != 1|1<<5 {
		t.Errorf("bits = %#x, %v", bits, err)
	}
}

func TestProcessIdentity(t *testing.T) {
	cmd := exec.Command("sleep", "100")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	start, err := StartTime(pid)
	if err != nil || !IsAlive(pid, start) || IsAlive(pid, start+1) {
		t.Fatalf("start = %d, %v", start, err)
	}
	if err := KillProcess(pid, start+1, unix.SIGKILL); err != unix.ESRCH {
		t.Errorf("killing another process: %v", err)
	}
	if err := KillProcess(pid, start, unix.SIGKILL); err != nil {
		t.Error(err)
	}
	cmd.Wait()
	if IsAlive(pid, start) {
		t.Error("a dead process is alive")
	}
}

func TestPIDsInNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	cmd := exec.Command("sleep", "100")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	if err := cmd.Start(); err != nil {
		t.Skipf("pid namespace: %v", err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	pid := cmd.Process.Pid
	if got := PIDsInNamespaceOf(pid, map[int]bool{1: true, 2: true}); !reflect.DeepEqual(got, []int{pid}) {
		t.Errorf("got %v, want [%d]", got, pid)
	}
	if got := PIDsInNamespaceOf(pid, map[int]bool{7: true}); got != nil {
		t.Errorf("got %v for a pid that is not there", got)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(good))
	f.Add([]byte(`{"process":{"args":[null]},"mounts":[{}],"linux":{"resources":{}}}`))
	f.Add([]byte(`{"hooks":{"prestart":[{"path":"/x","timeout":-1}]}}`))
	f.Add([]byte("{\n\n\"a\":\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		spec, err := Decode(ConfigName, data)
		if err == nil {
			err = Validate(spec)
		}
		if err != nil {
			return
		}
		Normalize(spec, "/b", false)
		if _, _, err := SandboxID(spec, "x"); err != nil {
			return
		}
		for _, m := range spec.Mounts {
			if !filepath.IsAbs(m.Destination) || filepath.Clean(m.Destination) != m.Destination {
				t.Errorf("destination %q after Normalize", m.Destination)
			}
		}
	})
}
