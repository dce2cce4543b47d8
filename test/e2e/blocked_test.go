package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"runsc/test/oci"
)

// prompt is how long kill and delete may take, whatever the container is doing.
const prompt = 2 * time.Second

var (
	blockerOnce   sync.Once
	blockerStates []string
)

// blocker puts the program into the shared root filesystem and lists its states.
func blocker(t *testing.T) []string {
	t.Helper()
	path := filepath.Join(rootfs(t), "data/blocker")
	blockerOnce.Do(func() {
		if res := oci.Run(time.Minute, exec.Command("gcc", "-O1", "-static", "-pthread", "-w", "-o", path, "blocker.c")); res.Code != 0 {
			t.Fatalf("gcc: %s", res.Out())
		}
		blockerStates = strings.Fields(oci.Run(soon, exec.Command(path, "--list")).Stdout)
	})
	if len(blockerStates) == 0 {
		t.Fatal("no states")
	}
	return blockerStates
}

// TestKillInEveryState kills a container while its tasks wait, spin, trace or exec, and
// deletes it by force, each within two seconds.
func TestKillInEveryState(t *testing.T) {
	oci.NeedRoot(t)
	for _, state := range blocker(t) {
		t.Run(state, func(t *testing.T) {
			eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
				for _, way := range []string{"kill", "delete"} {
					out, err := os.CreateTemp(oci.ShortDir(t), "out")
					if err != nil {
						t.Fatal(err)
					}
					id := oci.ID("st")
					cmd := r.Command("run", "--detach", "--bundle", bundle(t, []string{"/data/blocker", state}).Dir, id)
					cmd.Stdout, cmd.Stderr = out, out
					res := oci.Run(soon, cmd)
					out.Close()
					if res.Code != 0 {
						data, _ := os.ReadFile(out.Name())
						t.Fatalf("run: code %d: %s", res.Code, data)
					}
					fileHas(t, out.Name(), "ready")
					time.Sleep(30 * time.Millisecond) // into the state itself
					if way == "kill" {
						began := time.Now()
						ok(t, r.Run(soon, "kill", id, "KILL"))
						waitStatus(t, r, id, "stopped")
						if d := time.Since(began); d > prompt {
							t.Errorf("stopped %v after kill", d)
						}
						ok(t, r.Run(soon, "delete", id))
						continue
					}
					if res := ok(t, r.Run(soon, "delete", "--force", id)); res.Took > prompt {
						t.Errorf("delete --force took %v", res.Took)
					}
				}
			})
		})
	}
}
