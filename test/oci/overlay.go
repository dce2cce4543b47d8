package oci

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// An Overlay gives a run a root filesystem with changes of its own.
type Overlay struct {
	lower, dir string
	mounted    bool
}

// NewOverlay makes the directories of an overlay on lower, beside it: an upper directory
// may not lie on every filesystem, /tmp's for one.
func NewOverlay(lower string) (*Overlay, error) {
	dir, err := os.MkdirTemp(filepath.Dir(lower), "run-")
	if err != nil {
		return nil, err
	}
	o := &Overlay{lower: lower, dir: dir}
	for _, d := range []string{o.upper(), o.work(), o.Root()} {
		if err := os.Mkdir(d, 0o755); err != nil {
			os.RemoveAll(dir)
			return nil, err
		}
	}
	return o, nil
}

// TestOverlay is NewOverlay for a test, at whose end it is removed.
func TestOverlay(t testing.TB, lower string) *Overlay {
	t.Helper()
	o, err := NewOverlay(lower)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Remove(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// Root is where it is mounted.
func (o *Overlay) Root() string  { return filepath.Join(o.dir, "merged") }
func (o *Overlay) upper() string { return filepath.Join(o.dir, "upper") }
func (o *Overlay) work() string  { return filepath.Join(o.dir, "work") }

func (o *Overlay) options() string {
	return fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", o.lower, o.upper(), o.work())
}

// Mount mounts the overlay for a container.
func (o *Overlay) Mount() error {
	err := unix.Mount("overlay", o.Root(), "overlay", 0, o.options())
	o.mounted = err == nil
	return os.NewSyscallError("mounting overlay", err)
}

// Remove unmounts the overlay and removes the changes.
func (o *Overlay) Remove() error {
	if o.mounted {
		if err := unix.Unmount(o.Root(), unix.MNT_DETACH); err != nil {
			return os.NewSyscallError("unmounting overlay", err)
		}
		o.mounted = false
	}
	return os.RemoveAll(o.dir)
}

// Native is NativeChroot in the overlay, which it mounts in a namespace of the run's own, so
// that nothing can be left mounted. It exits with 90 if that fails.
func (o *Overlay) Native(n *Netns, env, binds []string, args ...string) *exec.Cmd {
	inner := NativeChroot(n, o.Root(), env, binds, args...)
	script := `mount -t overlay overlay -o "$1" "$2" || exit 90; shift 2; exec "$@"`
	cmd := exec.Command("unshare", append([]string{"--mount", "/bin/sh", "-c", script, "sh", o.options(), o.Root()}, inner.Args...)...)
	cmd.Env = inner.Env
	cmd.SysProcAttr = inner.SysProcAttr
	return cmd
}
