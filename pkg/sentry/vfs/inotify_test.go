package vfs_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

func bytesSeq(b []byte) usermem.Sequence { return usermem.BytesSequence(b) }

var eventNames = []struct {
	bit  uint32
	name string
}{
	{unix.IN_ACCESS, "access"}, {unix.IN_MODIFY, "modify"}, {unix.IN_ATTRIB, "attrib"},
	{unix.IN_CLOSE_WRITE, "close_write"}, {unix.IN_CLOSE_NOWRITE, "close"}, {unix.IN_OPEN, "open"},
	{unix.IN_MOVED_FROM, "from"}, {unix.IN_MOVED_TO, "to"}, {unix.IN_CREATE, "create"},
	{unix.IN_DELETE, "delete"}, {unix.IN_DELETE_SELF, "delete_self"}, {unix.IN_MOVE_SELF, "move_self"},
	{unix.IN_IGNORED, "ignored"}, {unix.IN_Q_OVERFLOW, "overflow"}, {unix.IN_ISDIR, "dir"},
}

// events reads all that is queued: "wd:events:name".
func events(t *testing.T, w *world, fd *vfs.FileDescription) []string {
	t.Helper()
	var out []string
	b := make([]byte, 4096)
	for {
		n, err := fd.Read(w.ctx, bytesSeq(b))
		if err == unix.EAGAIN {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		for p := b[:n]; len(p) > 0; {
			mask, size := binary.LittleEndian.Uint32(p[4:]), binary.LittleEndian.Uint32(p[12:])
			var names []string
			for _, e := range eventNames {
				if mask&e.bit != 0 {
					names = append(names, e.name)
				}
			}
			name := strings.TrimRight(string(p[16:16+size]), "\x00")
			out = append(out, fmt.Sprintf("%d:%s:%s", int32(binary.LittleEndian.Uint32(p)), strings.Join(names, "+"), name))
			p = p[16+size:]
		}
	}
}

func TestInotify(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/d")
	fd := w.v.NewInotify(0)
	defer fd.DecRef(w.ctx)
	in := fd.File().(*vfs.Inotify)
	add := func(path string, mask uint32) int32 {
		t.Helper()
		p := w.lookup(path)
		defer p.DecRef(w.ctx)
		wd, err := in.Add(w.ctx, p, mask)
		w.want(err, nil)
		return wd
	}
	expect := func(want ...string) {
		t.Helper()
		if got := events(t, w, fd); !slices.Equal(got, want) {
			t.Fatalf("events %q, want %q", got, want)
		}
	}
	if add("/d", unix.IN_ALL_EVENTS) != 1 {
		t.Fatal("first watch")
	}
	w.write("/d/f", "x")
	expect("1:create:f", "1:open:f", "1:modify:f", "1:close_write:f")
	w.read("/d/f")
	expect("1:open:f", "1:access:f", "1:close:f")
	w.chmod("/d/f", 0o600)
	expect("1:attrib:f")
	w.want(w.rename("/d/f", "/d/g", 0), nil)
	expect("1:from:f", "1:to:g")
	if add("/d/g", unix.IN_ALL_EVENTS) != 2 {
		t.Fatal("second watch")
	}
	w.want(w.rename("/d/g", "/g", 0), nil)
	expect("1:from:g", "2:move_self:")
	w.want(w.v.UnlinkAt(w.ctx, w.op("/g")), nil)
	expect("2:attrib:", "2:delete_self:", "2:ignored:")
	w.want(w.v.MkdirAt(w.ctx, w.op("/d/s"), 0o755), nil)
	w.want(w.v.RmdirAt(w.ctx, w.op("/d/s")), nil)
	expect("1:create+dir:s", "1:delete+dir:s")
	if fd.Readiness(waiter.EventIn) != 0 {
		t.Fatal("readable without events")
	}
	w.want(w.v.RmdirAt(w.ctx, w.op("/d")), nil)
	expect("1:delete_self:", "1:ignored:")
	w.want(in.Remove(w.ctx, 1), unix.EINVAL)
}

func TestInotifyMasks(t *testing.T) {
	w := newWorld(t)
	w.write("/f", "")
	fd := w.v.NewInotify(unix.IN_NONBLOCK)
	defer fd.DecRef(w.ctx)
	in := fd.File().(*vfs.Inotify)
	p := w.lookup("/f")
	defer p.DecRef(w.ctx)
	_, err := in.Add(w.ctx, p, unix.IN_OPEN|unix.IN_ONLYDIR)
	w.want(err, unix.ENOTDIR)
	wd, err := in.Add(w.ctx, p, unix.IN_OPEN|unix.IN_ONESHOT)
	w.want(err, nil)
	w.read("/f")
	w.read("/f")
	if got := events(t, w, fd); !slices.Equal(got, []string{"1:open:", "1:ignored:"}) {
		t.Fatalf("%q", got)
	}
	w.want(in.Remove(w.ctx, wd), unix.EINVAL)
	wd, err = in.Add(w.ctx, p, unix.IN_OPEN)
	w.want(err, nil)
	_, err = in.Add(w.ctx, p, unix.IN_OPEN|unix.IN_MASK_CREATE)
	w.want(err, unix.EEXIST)
	_, err = in.Add(w.ctx, p, unix.IN_CLOSE_NOWRITE|unix.IN_MASK_ADD)
	w.want(err, nil)
	w.read("/f")
	if got := events(t, w, fd); len(got) != 2 {
		t.Fatalf("%q", got)
	}
	w.want(in.Remove(w.ctx, wd), nil)
	// A buffer too small for the next event.
	if _, err := fd.Read(w.ctx, bytesSeq(make([]byte, 8))); err != unix.EINVAL {
		t.Fatal(err)
	}
}
