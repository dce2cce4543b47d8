package oci

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Debian makes the root filesystem of Debian's packages below top's cache, if it is not there yet,
// which takes minutes, and returns its directory.
func Debian(ctx context.Context, top string) (string, error) {
	cmd := exec.Command(filepath.Join(top, "test/software/rootfs.sh"), filepath.Join(top, ".cache"))
	res := RunContext(ctx, 15*time.Minute, cmd)
	if res.Code != 0 {
		return "", errors.New("rootfs.sh: " + res.Out())
	}
	return strings.TrimSpace(res.Stdout), nil
}

// PrepareDebian makes what a suite of programs needs: Debian's root filesystem, and a directory
// with the files of ./scripts and, as a program of that name, the package in directory program.
func PrepareDebian(t testing.TB, program string) (lower, tests string) {
	t.Helper()
	NeedRoot(t)
	Path(t)
	ctx, cancel := context.WithTimeout(context.Background(), 9*time.Minute)
	defer cancel()
	lower, err := Debian(ctx, Top(t))
	if err != nil {
		t.Fatal(err)
	}
	tests = ShortDir(t)
	files, err := filepath.Glob("scripts/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := CopyFile(f, filepath.Join(tests, filepath.Base(f)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	BuildProgram(t, 5*time.Minute, program, filepath.Join(tests, filepath.Base(program)))
	return lower, tests
}

// BuildProgram builds the Go package in a directory as a static binary, within limit.
func BuildProgram(t testing.TB, limit time.Duration, dir, to string) {
	t.Helper()
	build := exec.Command("go", "build", "-o", to, dir)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if res := Run(limit, build); res.Code != 0 {
		t.Fatalf("go build: %s", res.Out())
	}
}

// Diff shows what changed from the native output, in the usual form.
func Diff(t testing.TB, native, inside string) string {
	dir := ShortDir(t)
	os.WriteFile(filepath.Join(dir, "native"), []byte(native), 0o644)
	os.WriteFile(filepath.Join(dir, "inside"), []byte(inside), 0o644)
	cmd := exec.Command("diff", "-U2", "native", "inside")
	cmd.Dir = dir
	return Run(10*time.Second, cmd).Stdout
}
