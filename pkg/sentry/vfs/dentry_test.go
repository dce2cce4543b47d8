package vfs_test

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/vfs"
)

func TestDentryCacheIsBounded(t *testing.T) {
	w := newWorld(t)
	w.v.LimitDentries(50)
	held := make([]vfs.Path, 0, 10)
	for i := range 30 {
		dir := fmt.Sprintf("/d%d", i)
		w.mkdir(dir)
		for j := range 30 {
			w.write(fmt.Sprintf("%s/f%d", dir, j), "")
			w.want(w.statErr(fmt.Sprintf("%s/none%d", dir, j)), unix.ENOENT)
		}
		if i%3 == 0 {
			held = append(held, w.lookup(dir+"/f1"))
		}
		if n := w.v.CachedDentries(); n > 50 {
			t.Fatalf("%d unreferenced dentries are kept", n)
		}
	}
	for i, p := range held {
		if got, want := p.String(), fmt.Sprintf("/d%d/f1", 3*i); got != want {
			t.Errorf("a held dentry is called %s, want %s", got, want)
		}
		p.DecRef(w.ctx)
	}
	for i := range 30 { // everything is found again
		w.stat(fmt.Sprintf("/d%d/f%d", i, i))
	}
}

func TestHotDentriesStay(t *testing.T) {
	w := newWorld(t)
	w.v.LimitDentries(20)
	w.write("/hot", "")
	for i := range 100 {
		w.write(fmt.Sprintf("/f%d", i), "")
		w.stat("/hot")
		if n := w.v.CachedDentries(); n > 20 {
			t.Fatal(n)
		}
	}
}

// FuzzWalk opens any path: no panic, and no reference is lost.
func FuzzWalk(f *testing.F) {
	for _, s := range []string{"/", "", ".", "..", "/d/f", "d//f/", "/l/f", "/loop", "/m/../d/./f", "/m/x", "/l/../../m", "a\x00b", "/d/f/"} {
		f.Add(s, uint32(0), uint64(0))
		f.Add(s, uint32(unix.O_CREAT|unix.O_RDWR), uint64(unix.RESOLVE_BENEATH))
	}
	w := newWorld(f)
	w.v.LimitDentries(10)
	w.mkdir("/d")
	w.mkdir("/m")
	w.write("/d/f", "x")
	w.want(w.v.SymlinkAt(w.ctx, w.op("/l"), "d"), nil)
	w.want(w.v.SymlinkAt(w.ctx, w.op("/loop"), "/loop/x"), nil)
	w.want(w.v.Mount(w.ctx, w.ns, &vfs.MountRequest{Target: w.op("/m"), Type: "tmpfs"}), nil)
	f.Fuzz(func(t *testing.T, path string, flags uint32, resolve uint64) {
		o := w.op(path)
		o.Resolve = resolve
		if fd, err := w.v.OpenAt(w.ctx, o, vfs.OpenOpts{Flags: flags &^ unix.O_TRUNC, Mode: 0o600}); err == nil {
			_ = fd.Path().String()
			fd.DecRef(w.ctx)
		}
		w.v.UnlinkAt(w.ctx, w.op(path))
		w.v.MkdirAt(w.ctx, w.op(path), 0o700)
		w.v.RmdirAt(w.ctx, w.op(path))
		w.ns.MountInfo(w.root)
	})
}
