package devpts

import (
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/dev"
	"runsc/pkg/sentry/fs/tmpfs"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

var ns = auth.NewRootUserNamespace()

func root1() context.Context { return &context.Background{Creds: auth.NewRootCredentials(ns)} }

type names struct{ list []string }

func (n *names) Add(d vfs.Dirent) bool { n.list = append(n.list, d.Name); return true }

// world is a tmpfs as /, filled like /dev, with an instance on /pts.
func world(t *testing.T) (*vfs.VFS, *vfs.MountNamespace, *Filesystem) {
	ctx := root1()
	v := vfs.New()
	top := tmpfs.New(ctx, v, nil, tmpfs.Options{})
	if err := dev.Populate(ctx, top.Root().(vfs.Directory), dev.PopulateOptions{Console: true, Tun: true}); err != nil {
		t.Fatal(err)
	}
	dev.Register(v, nil)
	mns := v.NewMountNamespace(ns, top, "none", 0)
	fs := New(ctx, v, nil, Options{Mode: 0o620, PtmxMode: 0o666, Max: 3})
	Register(v, nil, nil)
	pts, err := v.LookupAt(ctx, &vfs.PathOp{Root: mns.Root(), Start: mns.Root(), Pathname: "/pts"})
	if err != nil {
		t.Fatal(err)
	}
	if err := v.MountFilesystem(ctx, mns, pts, fs, "devpts", 0); err != nil {
		t.Fatal(err)
	}
	return v, mns, fs
}

func open(v *vfs.VFS, mns *vfs.MountNamespace, path string, flags uint32) (*vfs.FileDescription, error) {
	return v.OpenAt(root1(), &vfs.PathOp{Root: mns.Root(), Start: mns.Root(), Pathname: path}, vfs.OpenOpts{Flags: flags})
}

func TestOpenPtmxMakesAReplica(t *testing.T) {
	v, mns, fs := world(t)
	ctx := root1()
	m, err := open(v, mns, "/ptmx", unix.O_RDWR|unix.O_NOCTTY)
	if err != nil {
		t.Fatal(err)
	}
	n := make([]byte, 4)
	if _, err := m.Ioctl(ctx, &usermem.Bytes{B: n}, unix.TIOCGPTN, 0); err != nil || binary.LittleEndian.Uint32(n) != 0 {
		t.Fatalf("number %v, %v", n, err)
	}
	if _, err := open(v, mns, "/pts/0", unix.O_RDWR); err != unix.EIO {
		t.Errorf("locked: %v", err)
	}
	m.Ioctl(ctx, &usermem.Bytes{B: make([]byte, 4)}, unix.TIOCSPTLCK, 0)
	r, err := open(v, mns, "/pts/0", unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	if a, err := r.Stat(ctx); err != nil || a.Rdev != unix.Mkdev(136, 0) || a.Mode != unix.S_IFCHR|0o620 {
		t.Errorf("%+v %v", a, err)
	}
	if got := r.Path().String(); got != "/pts/0" {
		t.Errorf("path %s", got)
	}
	m.Write(ctx, usermem.BytesSequence([]byte("hi\n")))
	b := make([]byte, 10)
	if k, err := r.Read(ctx, usermem.BytesSequence(b)); err != nil || string(b[:k]) != "hi\n" {
		t.Errorf("%q %v", b[:k], err)
	}
	d, err := open(v, mns, "/pts", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		t.Fatal(err)
	}
	l := &names{}
	if err := d.IterDirents(ctx, l); err != nil || strings.Join(l.list, " ") != ". .. ptmx 0" {
		t.Errorf("%v %v", l.list, err)
	}
	m.DecRef(ctx)
	if _, err := open(v, mns, "/pts/0", unix.O_RDWR); err != unix.ENOENT {
		t.Errorf("after the master closed: %v", err)
	}
	r.DecRef(ctx)
	for range 3 {
		if _, err := fs.NewPair(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := fs.NewPair(ctx); err != unix.ENOSPC {
		t.Errorf("one too many: %v", err)
	}
}

func TestDevices(t *testing.T) {
	v, mns, _ := world(t)
	ctx := root1()
	b := []byte{1, 2, 3}
	for _, c := range []struct {
		path string
		n    int
		werr error
	}{{"/null", 0, nil}, {"/zero", 3, nil}, {"/full", 3, unix.ENOSPC}, {"/random", 3, nil}, {"/urandom", 3, nil}} {
		f, err := open(v, mns, c.path, unix.O_RDWR)
		if err != nil {
			t.Errorf("%s: %v", c.path, err)
			continue
		}
		if n, err := f.Read(ctx, usermem.BytesSequence(b)); n != c.n || err != nil {
			t.Errorf("%s: read %d, %v", c.path, n, err)
		}
		if _, err := f.Write(ctx, usermem.BytesSequence(b)); err != c.werr {
			t.Errorf("%s: write %v", c.path, err)
		}
		if pos, err := f.Seek(ctx, 5, unix.SEEK_SET); pos != 0 || err != nil {
			t.Errorf("%s: seek %d, %v", c.path, pos, err)
		}
	}
	if _, err := open(v, mns, "/tty", unix.O_RDWR); err != unix.ENXIO {
		t.Errorf("/dev/tty without a terminal: %v", err)
	}
	if _, err := open(v, mns, "/console", unix.O_RDWR); err != unix.ENODEV {
		t.Errorf("/dev/console without one: %v", err)
	}
	if a, err := v.StatAt(ctx, &vfs.PathOp{Root: mns.Root(), Start: mns.Root(), Pathname: "/net/tun"}); err != nil || a.Rdev != unix.Mkdev(10, 200) {
		t.Errorf("tun: %+v %v", a, err)
	}
}

func TestMountOptions(t *testing.T) {
	o := DefaultOptions()
	if err := ParseOptions("newinstance,gid=5,mode=620,ptmxmode=0666", ns, &o); err != nil || *o.GID != 5 || o.Mode != 0o620 || o.PtmxMode != 0o666 {
		t.Errorf("%+v %v", o, err)
	}
	for _, bad := range []string{"x=1", "mode=9", "gid=", "gid=-1"} {
		if ParseOptions(bad, ns, &o) == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
