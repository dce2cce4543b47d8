package fsgofer

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/vfs"
)

// TestNoRoomForDescriptors leaves the process, which is sandbox and gofer at once, room for a few
// descriptors.
func TestNoRoomForDescriptors(t *testing.T) {
	const files, room = 300, 40
	both(t, func(t *testing.T, s *sandbox) {
		for i := range files {
			must(t, os.MkdirAll(s.host(fmt.Sprintf("d%d", i)), 0o755))
			must(t, os.WriteFile(s.host(fmt.Sprintf("d%d/f", i)), []byte(fmt.Sprint(i)), 0o644))
		}
		leaveRoom(t, room)
		// One after the other there may be any number.
		for i := range files {
			f := s.open(fmt.Sprintf("d%d/f", i), unix.O_RDWR)
			if got := s.pread(f, 0); got != fmt.Sprint(i) {
				t.Fatalf("file %d holds %q", i, got)
			}
			f.DecRef(task)
			f = s.open(fmt.Sprintf("d%d/new", i), unix.O_CREAT|unix.O_EXCL|unix.O_RDWR)
			s.write(f, "new")
			f.DecRef(task)
			must(t, s.v.MkdirAt(task, s.op(fmt.Sprintf("d%d/dir", i)), 0o755))
		}
		// Open at once only as many as there is room for, and then those still work.
		var open []*vfs.FileDescription
		for i := range files {
			f, err := s.v.OpenAt(task, s.op(fmt.Sprintf("d%d/new", i)), vfs.OpenOpts{Flags: unix.O_RDWR})
			if err == unix.ENFILE {
				break
			}
			must(t, err)
			open = append(open, f)
		}
		if len(open) == 0 || len(open) > room {
			t.Errorf("%d files could be opened at once", len(open))
		}
		for _, f := range open {
			if got := s.pread(f, 0); got != "new" {
				t.Errorf("an open file holds %q", got)
			}
			f.DecRef(task)
		}
		for i := range files {
			if s.stat(fmt.Sprintf("d%d/dir", i)).Mode&unix.S_IFMT != unix.S_IFDIR {
				t.Errorf("d%d/dir is no directory", i)
			}
			must(t, s.v.UnlinkAt(task, s.op(fmt.Sprintf("d%d/new", i))))
		}
	})
}

// leaveRoom allows the process n more descriptors than it has, until the end of the test.
func leaveRoom(t *testing.T, n int) {
	t.Helper()
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	top, err := unix.Dup(0) // the lowest number that is free
	must(t, err)
	must(t, unix.Close(top))
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(top + n), Max: old.Max}))
	t.Cleanup(func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) })
}
