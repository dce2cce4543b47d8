package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/test/oci"
)

// TestFullFilesystem fills a filesystem by files, mappings and names: natively, the host's from
// inside, and the sandbox's own.
func TestFullFilesystem(t *testing.T) {
	oci.NeedRoot(t)
	program := filepath.Join(rootfs(t), "data/full")
	if res := oci.Run(time.Minute, exec.Command("gcc", "-O1", "-static", "-w", "-o", program, "full.c")); res.Code != 0 {
		t.Fatalf("gcc: %s", res.Out())
	}
	dir := oci.ShortDir(t)
	if err := unix.Mount("none", dir, "tmpfs", 0, "size=2m,nr_inodes=300,mode=1777"); err != nil {
		t.Skipf("no tmpfs of a size of its own on this machine: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	want := oci.Run(soon, exec.Command(program, dir))
	if want.Code != 0 {
		t.Fatalf("natively: %s", want.Out())
	}
	mounts := map[string]func(*specs.Spec){
		"host":    func(s *specs.Spec) { oci.AddMount(s, "bind", dir, "/full", "rbind", "rw") },
		"sandbox": func(s *specs.Spec) { oci.AddMount(s, "tmpfs", "tmpfs", "/full", "size=2m", "nr_inodes=300") },
	}
	for whose, mount := range mounts {
		t.Run(whose, func(t *testing.T) {
			eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
				b := bundle(t, []string{"/data/full", "/full"}, mount)
				id := oci.ID("full")
				got := r.Run(soon, "run", "--bundle", b.Dir, id)
				r.Run(soon, "delete", "--force", id)
				if got.Code != 0 || got.Stdout != want.Stdout {
					t.Errorf("%s\n%s", got.Out(), oci.Diff(t, want.Stdout, got.Stdout))
				}
			})
		})
	}
}
