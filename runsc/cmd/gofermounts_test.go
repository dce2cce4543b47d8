package cmd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// openDir opens a directory as the gofer would have it.
func openDir(t *testing.T, path string) int {
	t.Helper()
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

func TestResolveStaysInside(t *testing.T) {
	dir := t.TempDir()
	root, bind := filepath.Join(dir, "root"), filepath.Join(dir, "bind")
	for _, d := range []string{"a/b", "etc"} {
		os.MkdirAll(filepath.Join(root, d), 0o755)
	}
	os.MkdirAll(filepath.Join(bind, "inner"), 0o755)
	os.Symlink("/../../../../outside", filepath.Join(root, "up"))
	os.Symlink("a/b", filepath.Join(root, "rel"))
	os.Symlink("/etc", filepath.Join(root, "a/abs"))
	os.Symlink("loop", filepath.Join(root, "loop"))
	os.Symlink("inner", filepath.Join(bind, "link"))
	os.WriteFile(filepath.Join(root, "file"), nil, 0o644)

	tree := newMountTree(openDir(t, root), true)
	tree.mount("/a/b", treeMount{fd: openDir(t, bind)})
	tree.mount("/dev", treeMount{fd: -1})
	for _, tc := range []struct {
		name, want string
		isFile     bool
		err        error
	}{
		{name: "/", want: "/"},
		{name: "/a/../etc/.", want: "/etc"},
		{name: "/../..", want: "/"},
		{name: "/up", want: "/outside"},
		{name: "/rel", want: "/a/b"},
		{name: "/rel/link", want: "/a/b/inner"}, // a link in what is mounted there
		{name: "/a/abs/new/deep", want: "/etc/new/deep"},
		{name: "/dev/not/../made", want: "/dev/made"},
		{name: "/newfile", want: "/newfile", isFile: true},
		{name: "/a/b/missing", want: "/a/b/missing"}, // the bind mount is read-only
		{name: "/loop", err: unix.ELOOP},
		{name: "/file/x", err: unix.ENOTDIR},
		{name: "/file", err: unix.ENOTDIR},
		{name: "/file", want: "/file", isFile: true},
		{name: "/etc", err: unix.EISDIR, isFile: true},
	} {
		got, err := tree.resolve(tc.name, tc.isFile, true)
		if got != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("%s: got %q, %v; want %q, %v", tc.name, got, err, tc.want, tc.err)
		}
	}
	for path, want := range map[string]bool{
		"root/etc/new/deep": true, "root/newfile": true, "root/outside": true, "outside": false, "bind/missing": false, "root/dev": false,
	} {
		if _, err := os.Stat(filepath.Join(dir, path)); (err == nil) != want {
			t.Errorf("%s exists: %v, want %v", path, err == nil, want)
		}
	}
	if st, err := os.Stat(filepath.Join(root, "newfile")); err != nil || !st.Mode().IsRegular() {
		t.Errorf("mount point of a file: %v, %v", st, err)
	}
}

func TestResolveLeaksNoDescriptors(t *testing.T) {
	root := t.TempDir()
	os.MkdirAll(filepath.Join(root, "a/b/c"), 0o755)
	os.Symlink("/a/b", filepath.Join(root, "a/b/c/link"))
	os.WriteFile(filepath.Join(root, "a/file"), nil, 0o644)
	tree := newMountTree(openDir(t, root), false)
	count := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(entries)
	}
	before := count()
	for _, name := range []string{"/a/b/c/link/c", "/a/../a/b/../..", "/a/file/x", "/a/file", "/missing/x"} {
		tree.resolve(name, false, true)
		tree.resolve(name, true, true)
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
