package vfs_test

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/tmpfs"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

var userNS = auth.NewRootUserNamespace()

// task is a Context that can block.
type task struct {
	context.Background
	umask   uint32
	wake    chan struct{}
	blocked atomic.Int32
	limit   uint64
	signals int
}

func newTask(creds *auth.Credentials) *task {
	return &task{Background: context.Background{Creds: creds}, wake: make(chan struct{}, 1), limit: unix.RLIM_INFINITY}
}

func rootTask() *task { return newTask(auth.NewRootCredentials(userNS)) }

func userTask(uid uint32, groups ...auth.KGID) *task {
	return newTask(auth.NewUserCredentials(auth.KUID(uid), auth.KGID(uid), groups, 0, 0, 0, 0, 0, userNS))
}

func (t *task) Umask() uint32          { return t.umask }
func (t *task) FileSizeLimit() uint64  { return t.limit }
func (t *task) FileSizeExceeded()      { t.signals++ }
func (t *task) Waker() waiter.Listener { return t }
func (t *task) NotifyEvent(waiter.EventMask) {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}

func (t *task) Block() error {
	t.blocked.Add(1)
	defer t.blocked.Add(-1)
	select {
	case <-t.wake:
		return nil
	case <-time.After(10 * time.Second):
		return unix.EINTR
	}
}

// world is a namespace with a tmpfs as root.
type world struct {
	testing.TB
	v    *vfs.VFS
	ns   *vfs.MountNamespace
	mf   *pgalloc.MemoryFile
	root vfs.Path
	ctx  *task
}

// memoryFile serves all tests: each takes terabytes of addresses.
var memoryFile = sync.OnceValues(pgalloc.New)

func newWorld(t testing.TB) *world {
	mf, err := memoryFile()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, v: vfs.New(), mf: mf, ctx: rootTask()}
	w.v.RegisterFilesystemType("tmpfs", &tmpfs.Type{MemoryFile: mf, TotalMemory: 1 << 30})
	w.ns = w.v.NewMountNamespace(userNS, tmpfs.New(w.ctx, w.v, mf, tmpfs.Options{Mode: 0o755}), "none", 0)
	w.root = w.ns.Root()
	return w
}

func (w *world) op(path string) *vfs.PathOp {
	return &vfs.PathOp{Root: w.root, Start: w.root, Pathname: path}
}

func (w *world) opNoFollow(path string) *vfs.PathOp {
	o := w.op(path)
	o.NoFollow = true
	return o
}

func (w *world) as(t *task) *world {
	c := *w
	c.ctx = t
	return &c
}

func (w *world) open(path string, flags, mode uint32) (*vfs.FileDescription, error) {
	return w.v.OpenAt(w.ctx, w.op(path), vfs.OpenOpts{Flags: flags, Mode: mode})
}

func (w *world) mustOpen(path string, flags, mode uint32) *vfs.FileDescription {
	w.Helper()
	fd, err := w.open(path, flags, mode)
	if err != nil {
		w.Fatalf("open(%q, %#x): %v", path, flags, err)
	}
	return fd
}

func (w *world) write(path, content string) {
	w.Helper()
	fd := w.mustOpen(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC, 0o644)
	defer fd.DecRef(w.ctx)
	if n, err := fd.Write(w.ctx, usermem.BytesSequence([]byte(content))); n != len(content) || err != nil {
		w.Fatalf("write(%q) = %d, %v", path, n, err)
	}
}

func (w *world) read(path string) string {
	w.Helper()
	fd := w.mustOpen(path, unix.O_RDONLY, 0)
	defer fd.DecRef(w.ctx)
	b := make([]byte, 1<<16)
	n, err := fd.Read(w.ctx, usermem.BytesSequence(b))
	if err != nil {
		w.Fatalf("read(%q): %v", path, err)
	}
	return string(b[:n])
}

func (w *world) mkdir(path string) {
	w.Helper()
	w.want(w.v.MkdirAt(w.ctx, w.op(path), 0o755), nil)
}

func (w *world) stat(path string) vfs.Attr {
	w.Helper()
	a, err := w.v.StatAt(w.ctx, w.op(path))
	if err != nil {
		w.Fatalf("stat(%q): %v", path, err)
	}
	return a
}

func (w *world) statErr(path string) error {
	_, err := w.v.StatAt(w.ctx, w.op(path))
	return err
}

func (w *world) want(got, want error) {
	w.Helper()
	if got != want {
		w.Fatalf("got error %v, want %v", got, want)
	}
}

func (w *world) chmod(path string, mode uint32) {
	w.Helper()
	p := w.lookup(path)
	defer p.DecRef(w.ctx)
	w.want(p.Chmod(w.ctx, mode), nil)
}

func (w *world) lookup(path string) vfs.Path {
	w.Helper()
	p, err := w.v.LookupAt(w.ctx, w.op(path))
	if err != nil {
		w.Fatalf("lookup(%q): %v", path, err)
	}
	return p
}

func TestOpenCreateReadWrite(t *testing.T) {
	w := newWorld(t)
	w.want(w.statErr("/f"), unix.ENOENT)
	w.write("/f", "hello")
	if s := w.read("f"); s != "hello" {
		t.Fatalf("read %q", s)
	}
	_, err := w.open("/f", unix.O_CREAT|unix.O_EXCL, 0o600)
	w.want(err, unix.EEXIST)
	fd := w.mustOpen("/f", unix.O_WRONLY|unix.O_APPEND, 0)
	fd.Write(w.ctx, usermem.BytesSequence([]byte(" world")))
	fd.DecRef(w.ctx)
	if s := w.read("/f"); s != "hello world" {
		t.Fatalf("read %q", s)
	}
	w.write("/f", "x") // O_TRUNC
	if a := w.stat("/f"); a.Size != 1 || a.Mode != unix.S_IFREG|0o644 || a.Nlink != 1 {
		t.Fatalf("stat: %+v", a)
	}
}

func TestOpenErrors(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/d")
	w.write("/f", "")
	w.want(w.v.SymlinkAt(w.ctx, w.op("/l"), "f"), nil)
	w.want(w.v.SymlinkAt(w.ctx, w.op("/dangling"), "nothing"), nil)
	w.want(w.v.SymlinkAt(w.ctx, w.op("/loop"), "loop"), nil)
	long := string(make([]byte, 256))
	for _, c := range []struct {
		path  string
		flags uint32
		want  error
	}{
		{"", 0, unix.ENOENT},
		{"/", unix.O_RDWR, unix.EISDIR},
		{"/d", unix.O_WRONLY, unix.EISDIR},
		{"/d", unix.O_CREAT, unix.EISDIR},
		{"/d/", unix.O_CREAT, unix.EISDIR},
		{"/new/", unix.O_CREAT, unix.EISDIR},
		{"/f/", 0, unix.ENOTDIR},
		{"/f/x", 0, unix.ENOTDIR},
		{"/f/..", 0, unix.ENOTDIR},
		{"/f", unix.O_DIRECTORY, unix.ENOTDIR},
		{"/no/x", unix.O_CREAT, unix.ENOENT},
		{"/l", unix.O_NOFOLLOW, unix.ELOOP},
		{"/l/", unix.O_NOFOLLOW, unix.ENOTDIR},
		{"/l", unix.O_CREAT | unix.O_EXCL, unix.EEXIST},
		{"/dangling", 0, unix.ENOENT},
		{"/dangling", unix.O_CREAT | unix.O_EXCL, unix.EEXIST},
		{"/loop", 0, unix.ELOOP},
		{"/loop", unix.O_CREAT, unix.ELOOP},
		{"/d/..", 0, nil},
		{"/../../d/./../f", 0, nil},
		{"//f", 0, nil},
		{"/l", unix.O_PATH | unix.O_NOFOLLOW, nil},
		{"/dangling", unix.O_CREAT, nil}, // makes "nothing"
		{"/nothing", 0, nil},
		{long, 0, unix.ENAMETOOLONG},
		{long, unix.O_CREAT, unix.ENAMETOOLONG},
		{"/f", unix.O_TMPFILE, unix.EINVAL},
		{"/f", unix.O_TMPFILE | unix.O_RDWR, unix.ENOTDIR},
		{"/d", unix.O_CREAT | unix.O_DIRECTORY, unix.EINVAL},
	} {
		fd, err := w.open(c.path, c.flags, 0o600)
		if err != c.want {
			t.Errorf("open(%.20q, %#x) = %v, want %v", c.path, c.flags, err, c.want)
		}
		if err == nil {
			fd.DecRef(w.ctx)
		}
	}
}

func TestSymlinkWalk(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/a")
	w.mkdir("/a/b")
	w.write("/a/b/f", "deep")
	for name, target := range map[string]string{"/abs": "/a", "/a/rel": "b", "/a/up": "../abs/rel", "/slash": "a/b/f/", "/deep": "abs/up/f"} {
		w.want(w.v.SymlinkAt(w.ctx, w.op(name), target), nil)
	}
	for _, p := range []string{"/abs/b/f", "/abs/rel/f", "/abs/up/f", "/deep", "/a/up/../b/f"} {
		if s := w.read(p); s != "deep" {
			t.Errorf("%s: %q", p, s)
		}
	}
	w.want(w.statErr("/slash"), unix.ENOTDIR)
	w.want(w.statErr("/deep/"), unix.ENOTDIR)
	a, err := w.v.StatAt(w.ctx, w.opNoFollow("/deep"))
	if err != nil || a.Mode&unix.S_IFMT != unix.S_IFLNK || a.Size != 8 {
		t.Fatalf("lstat: %+v %v", a, err)
	}
	a, err = w.v.StatAt(w.ctx, w.opNoFollow("/abs/"))
	if err != nil || a.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.Fatalf("lstat of link with slash: %+v %v", a, err)
	}
	for i := range 42 {
		w.want(w.v.SymlinkAt(w.ctx, w.op(fmt.Sprintf("/n%d", i+1)), fmt.Sprintf("n%d", i)), nil)
	}
	w.write("/n0", "")
	w.want(w.statErr("/n40"), nil)
	w.want(w.statErr("/n41"), unix.ELOOP)
	s, err := w.v.ReadlinkAt(w.ctx, w.op("/abs"))
	if s != "/a" || err != nil {
		t.Fatalf("readlink %q %v", s, err)
	}
}

func TestUnlinkRmdirLink(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/d")
	w.write("/d/f", "1")
	w.want(w.v.LinkAt(w.ctx, w.op("/d/f"), w.op("/g")), nil)
	if a := w.stat("/g"); a.Nlink != 2 || a.Ino != w.stat("/d/f").Ino {
		t.Fatalf("link: %+v", a)
	}
	w.want(w.v.LinkAt(w.ctx, w.op("/d/f"), w.op("/g")), unix.EEXIST)
	w.want(w.v.LinkAt(w.ctx, w.op("/d"), w.op("/h")), unix.EPERM)
	w.want(w.v.RmdirAt(w.ctx, w.op("/d")), unix.ENOTEMPTY)
	w.want(w.v.RmdirAt(w.ctx, w.op("/g")), unix.ENOTDIR)
	w.want(w.v.UnlinkAt(w.ctx, w.op("/d")), unix.EISDIR)
	w.want(w.v.UnlinkAt(w.ctx, w.op("/g/")), unix.ENOTDIR)
	w.want(w.v.RmdirAt(w.ctx, w.op("/d/.")), unix.EINVAL)
	w.want(w.v.RmdirAt(w.ctx, w.op("/d/..")), unix.ENOTEMPTY)
	w.want(w.v.RmdirAt(w.ctx, w.op("/")), unix.EBUSY)
	fd := w.mustOpen("/d/f", unix.O_RDONLY, 0)
	w.want(w.v.UnlinkAt(w.ctx, w.op("/d/f")), nil)
	w.want(w.statErr("/d/f"), unix.ENOENT)
	w.want(w.v.UnlinkAt(w.ctx, w.op("/g")), nil)
	if a, _ := fd.Stat(w.ctx); a.Nlink != 0 {
		t.Fatalf("nlink %d", a.Nlink)
	}
	if s := w.v.PathName(w.root, fd.Path()); s != "/d/f (deleted)" {
		t.Fatalf("name %q", s)
	}
	fd.DecRef(w.ctx)
	dir := w.mustOpen("/d", unix.O_RDONLY, 0)
	w.want(w.v.RmdirAt(w.ctx, w.op("/d")), nil)
	o := &vfs.PathOp{Root: w.root, Start: dir.Path(), Pathname: "x"}
	_, err := w.v.OpenAt(w.ctx, o, vfs.OpenOpts{Flags: unix.O_CREAT, Mode: 0o600})
	w.want(err, unix.ENOENT)
	dir.DecRef(w.ctx)
}

func (w *world) rename(from, to string, flags uint32) error {
	return w.v.RenameAt(w.ctx, w.op(from), w.op(to), flags)
}

func TestRename(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/a")
	w.mkdir("/a/b")
	w.mkdir("/c")
	w.write("/f", "f")
	w.write("/g", "g")
	w.want(w.rename("/a", "/a/b/x", 0), unix.EINVAL)
	w.want(w.rename("/a/b", "/a", 0), unix.ENOTEMPTY)
	w.want(w.rename("/f", "/c", 0), unix.EISDIR)
	w.want(w.rename("/c", "/f", 0), unix.ENOTDIR)
	w.want(w.rename("/c", "/a", 0), unix.ENOTEMPTY)
	w.want(w.rename("/none", "/a", 0), unix.ENOENT)
	w.want(w.rename("/f", "/g", unix.RENAME_NOREPLACE), unix.EEXIST)
	w.want(w.rename("/f", "/none", unix.RENAME_EXCHANGE), unix.ENOENT)
	w.want(w.rename("/f", "/new/", 0), unix.ENOTDIR)
	w.want(w.rename("/.", "/x", 0), unix.EBUSY)

	fd := w.mustOpen("/g", unix.O_RDONLY, 0)
	w.want(w.rename("/f", "/g", 0), nil)
	w.want(w.statErr("/f"), unix.ENOENT)
	if w.read("/g") != "f" {
		t.Fatal("content")
	}
	if a, _ := fd.Stat(w.ctx); a.Nlink != 0 {
		t.Fatal("replaced file keeps its link")
	}
	fd.DecRef(w.ctx)

	d := w.mustOpen("/a/b", unix.O_RDONLY, 0)
	w.want(w.rename("/a/b", "/c/", 0), nil) // over an empty directory
	if s := w.v.PathName(w.root, d.Path()); s != "/c" {
		t.Fatalf("moved directory is called %q", s)
	}
	d.DecRef(w.ctx)
	w.want(w.rename("/c", "/g", unix.RENAME_EXCHANGE), nil)
	if w.read("/c") != "f" || w.stat("/g").Mode&unix.S_IFMT != unix.S_IFDIR {
		t.Fatal("exchange")
	}
	w.want(w.v.LinkAt(w.ctx, w.op("/c"), w.op("/c2")), nil)
	w.want(w.rename("/c", "/c2", 0), nil) // the same file: nothing happens
	w.want(w.statErr("/c"), nil)
	if n := w.stat("/").Nlink; n != 4 {
		t.Fatalf("root has %d links, want 4 (a, g)", n)
	}
}

func TestPermissions(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/d")
	w.write("/d/f", "secret")
	alice, bob := w.as(userTask(1000)), w.as(userTask(1001, 2000))
	chmod := w.chmod
	chown := func(path string, uid auth.KUID, gid auth.KGID) { w.want(w.lookup(path).Chown(w.ctx, uid, gid), nil) }

	_, err := alice.open("/d/f", unix.O_WRONLY, 0)
	w.want(err, unix.EACCES)
	_, err = alice.open("/d/new", unix.O_CREAT, 0)
	w.want(err, unix.EACCES)
	chmod("/d/f", 0o060)
	chown("/d/f", 0, 2000)
	fd, err := bob.open("/d/f", unix.O_RDWR, 0)
	w.want(err, nil)
	fd.DecRef(w.ctx)
	chmod("/d", 0o700)
	w.want(alice.statErr("/d/f"), unix.EACCES)
	chmod("/d", 0o1777)
	alice.write("/d/a", "alice")
	w.want(bob.v.UnlinkAt(bob.ctx, w.op("/d/a")), unix.EPERM)
	w.want(bob.rename("/d/a", "/d/b", 0), unix.EPERM)
	w.want(alice.v.UnlinkAt(alice.ctx, w.op("/d/a")), nil)

	// Set-group-id directories and files.
	chown("/d", 0, 2000)
	chmod("/d", 0o2777)
	alice.write("/d/a", "x")
	if a := w.stat("/d/a"); a.GID != 2000 || a.UID != 1000 {
		t.Fatalf("owner %d:%d", a.UID, a.GID)
	}
	w.want(alice.v.MkdirAt(alice.ctx, w.op("/d/sub"), 0o755), nil)
	if a := w.stat("/d/sub"); a.Mode != unix.S_IFDIR|0o2755 {
		t.Fatalf("mode %o", a.Mode)
	}
	p := w.lookup("/d/a")
	w.want(p.Chmod(alice.ctx, 0o6755), nil)
	if a := w.stat("/d/a"); a.Mode != unix.S_IFREG|0o4755 {
		t.Fatalf("chmod by an owner outside the group: %o", a.Mode)
	}
	w.want(p.Chmod(bob.ctx, 0o777), unix.EPERM)
	chmod("/d/a", 0o6755)
	wfd := alice.mustOpen("/d/a", unix.O_WRONLY, 0)
	wfd.Write(alice.ctx, usermem.BytesSequence([]byte("y")))
	wfd.DecRef(w.ctx)
	if a := w.stat("/d/a"); a.Mode != unix.S_IFREG|0o755 {
		t.Fatalf("set-id bits after a write: %o", a.Mode)
	}
	w.want(p.Chown(alice.ctx, 0, 0), unix.EPERM)
	w.want(p.Chown(alice.ctx, 1000, 1000), nil)
	chmod("/d/a", 0o4755)
	chown("/d/a", 0, 0)
	if a := w.stat("/d/a"); a.Mode != unix.S_IFREG|0o755 {
		t.Fatalf("set-id bits after chown: %o", a.Mode)
	}
	w.want(alice.v.AccessAt(alice.ctx, w.op("/d/a"), unix.W_OK, false), unix.EACCES)
	w.want(alice.v.AccessAt(alice.ctx, w.op("/d/a"), unix.R_OK|unix.X_OK, false), nil)
	w.want(p.SetTimes(bob.ctx, vfs.TimeSpec{Now: true}, vfs.TimeSpec{Now: true}), unix.EACCES)
	w.want(p.SetTimes(bob.ctx, vfs.TimeSpec{Nanos: 1}, vfs.TimeSpec{Now: true}), unix.EPERM)
	p.DecRef(w.ctx)
}

func TestMountsAndDotDot(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/m")
	w.mkdir("/m/hidden")
	w.mkdir("/b")
	mount := func(target string, flags uint64, data string) error {
		return w.v.Mount(w.ctx, w.ns, &vfs.MountRequest{SourceName: "none", Source: w.op("/"), Target: w.op(target), Type: "tmpfs", Flags: flags, Data: data})
	}
	w.want(mount("/m", 0, "size=1m,mode=700"), nil)
	w.want(w.statErr("/m/hidden"), unix.ENOENT)
	w.mkdir("/m/x")
	w.write("/m/x/f", "mounted")
	if w.stat("/m/x/../..").Ino != w.stat("/").Ino || w.stat("/m").Dev == w.stat("/").Dev {
		t.Fatal("dot-dot out of a mount")
	}
	w.want(w.v.RmdirAt(w.ctx, w.op("/m")), unix.EBUSY)
	w.want(w.rename("/m/x", "/x", 0), unix.EXDEV)

	bind := func(from, to string, flags uint64) error {
		return w.v.Mount(w.ctx, w.ns, &vfs.MountRequest{Source: w.op(from), Target: w.op(to), Flags: unix.MS_BIND | flags})
	}
	w.want(bind("/m/x", "/b", 0), nil)
	if w.read("/b/f") != "mounted" {
		t.Fatal("bind")
	}
	if w.stat("/b/..").Ino != w.stat("/").Ino {
		t.Fatal("dot-dot out of a bind mount")
	}
	w.want(bind("/", "/b", unix.MS_REMOUNT|unix.MS_RDONLY), nil)
	_, err := w.open("/b/new", unix.O_CREAT, 0o600)
	w.want(err, unix.EROFS)
	_, err = w.open("/b/f", unix.O_WRONLY, 0)
	w.want(err, unix.EROFS)
	w.want(w.v.UnlinkAt(w.ctx, w.op("/b/f")), unix.EROFS)
	w.write("/m/x/f", "changed") // the other mount is writable
	if w.read("/b/f") != "changed" {
		t.Fatal("bind does not show the change")
	}

	fd := w.mustOpen("/m/x/f", unix.O_WRONLY, 0)
	w.want(w.v.Mount(w.ctx, w.ns, &vfs.MountRequest{Target: w.op("/m"), Flags: unix.MS_REMOUNT | unix.MS_RDONLY}), unix.EBUSY)
	w.want(w.v.Unmount(w.ctx, w.ns, w.op("/m"), 0), unix.EBUSY)
	w.want(w.v.Unmount(w.ctx, w.ns, w.op("/m"), unix.MNT_DETACH), nil)
	fd.Write(w.ctx, usermem.BytesSequence([]byte("!")))
	fd.DecRef(w.ctx)
	w.want(w.statErr("/m/hidden"), nil)
	if w.read("/b/f") != "!hanged" {
		t.Fatalf("%q", w.read("/b/f"))
	}
	w.want(w.v.Unmount(w.ctx, w.ns, w.op("/b"), 0), nil)
	w.want(w.v.Unmount(w.ctx, w.ns, w.op("/b"), 0), unix.EINVAL)

	w.want(mount("/m", unix.MS_NODEV|unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755"), nil)
	w.mkdir("/m/sp ace")
	w.want(bind("/m/sp ace", "/b", 0), nil)
	got := w.ns.Mounts(w.root)
	want := "none / tmpfs rw,relatime,mode=755 0 0\n" +
		"none /m tmpfs rw,nosuid,nodev,noexec,relatime,size=524288k,mode=755 0 0\n" +
		"none /b tmpfs rw,nosuid,nodev,noexec,relatime,size=524288k,mode=755 0 0\n"
	if got != want {
		t.Fatalf("mounts:\n%swant:\n%s", got, want)
	}
	if got := w.ns.MountInfo(w.root); len(got) == 0 {
		t.Fatal("mountinfo")
	}
}

func TestChrootEndsDotDot(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/jail")
	w.mkdir("/jail/d")
	w.write("/secret", "s")
	jail := w.lookup("/jail")
	defer jail.DecRef(w.ctx)
	o := &vfs.PathOp{Root: jail, Start: jail, Pathname: "/d/../../../secret"}
	_, err := w.v.StatAt(w.ctx, o)
	w.want(err, unix.ENOENT)
	o.Pathname = ".."
	a, err := w.v.StatAt(w.ctx, o)
	if err != nil || a.Ino != w.stat("/jail").Ino {
		t.Fatal("escaped")
	}
	if s := w.v.PathName(jail, w.root); s != "(unreachable)/" {
		t.Fatalf("%q", s)
	}
}

func TestResolveFlags(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/d")
	w.mkdir("/d/e")
	w.mkdir("/m")
	w.write("/f", "")
	for name, target := range map[string]string{"/d/abs": "/f", "/d/up": "../f", "/d/in": "e"} {
		w.want(w.v.SymlinkAt(w.ctx, w.op(name), target), nil)
	}
	w.want(w.v.Mount(w.ctx, w.ns, &vfs.MountRequest{Target: w.op("/d/e"), Type: "tmpfs"}), nil)
	d := w.lookup("/d")
	defer d.DecRef(w.ctx)
	for _, c := range []struct {
		path    string
		resolve uint64
		want    error
	}{
		{"up", unix.RESOLVE_BENEATH, unix.EXDEV},
		{"abs", unix.RESOLVE_BENEATH, unix.EXDEV},
		{"/f", unix.RESOLVE_BENEATH, unix.EXDEV},
		{"in/..", unix.RESOLVE_BENEATH, nil},
		{"..", unix.RESOLVE_BENEATH, unix.EXDEV},
		{"../e", unix.RESOLVE_IN_ROOT, nil},
		{"abs", unix.RESOLVE_IN_ROOT, unix.ENOENT},
		{"in", unix.RESOLVE_NO_SYMLINKS, unix.ELOOP},
		{"e", unix.RESOLVE_NO_XDEV, unix.EXDEV},
		{"e", 0, nil},
	} {
		_, err := w.v.StatAt(w.ctx, &vfs.PathOp{Root: w.root, Start: d, Pathname: c.path, Resolve: c.resolve})
		if err != c.want {
			t.Errorf("%s with %#x: %v, want %v", c.path, c.resolve, err, c.want)
		}
	}
}

func TestPivotRootAndNamespaces(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/new")
	w.want(w.v.Mount(w.ctx, w.ns, &vfs.MountRequest{Target: w.op("/new"), Type: "tmpfs"}), nil)
	w.mkdir("/new/old")
	w.write("/new/mark", "new root")
	w.write("/mark", "old root")
	root, cwd := w.lookup("/"), w.lookup("/new")
	c := w.ns.Clone(w.ctx, userNS, &root, &cwd)
	from, to, err := w.v.PivotRoot(w.ctx, c, root,
		&vfs.PathOp{Root: root, Start: root, Pathname: "/new"}, &vfs.PathOp{Root: root, Start: root, Pathname: "/new/old"})
	w.want(err, nil)
	if from != root || to != cwd {
		t.Fatal("pivot_root's places")
	}
	in := *w
	in.ns, in.root = c, to
	if in.read("/mark") != "new root" || in.read("/old/mark") != "old root" {
		t.Fatal("pivoted")
	}
	if w.read("/mark") != "old root" || w.read("/new/mark") != "new root" {
		t.Fatal("the first namespace changed")
	}
	in.want(in.v.Unmount(w.ctx, c, in.op("/old"), unix.MNT_DETACH), nil)
	in.want(in.statErr("/old/mark"), unix.ENOENT)
	for _, p := range []vfs.Path{from, to, root, cwd} {
		p.DecRef(w.ctx)
	}
	c.DecRef(w.ctx)
	w.root.DecRef(w.ctx)
	w.ns.DecRef(w.ctx)
}

func TestCloneEndsWithItsLastTask(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/m")
	w.want(w.v.Mount(w.ctx, w.ns, &vfs.MountRequest{Target: w.op("/m"), Type: "tmpfs"}), nil)
	root, cwd, err := w.v.CloneMountNamespace(w.ctx, userNS, w.root, w.root)
	w.want(err, nil)
	c := *w
	c.ns, c.root = root.Mount.Namespace(), root
	w.want(c.v.Mount(w.ctx, c.ns, &vfs.MountRequest{Target: c.op("/m"), Type: "tmpfs"}), nil)
	c.write("/m/f", "x")
	fd := c.mustOpen("/m/f", unix.O_RDONLY, 0)
	cwd.DecRef(w.ctx)
	root.DecRef(w.ctx)
	p := c.ns.Root()
	if !p.Ok() {
		t.Fatal("the namespace ended while a file in it is open")
	}
	p.DecRef(w.ctx)
	fd.DecRef(w.ctx)
	if c.ns.Root().Ok() {
		t.Fatal("the namespace stays")
	}
}

func TestUnsharedNamespaceEnds(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/m")
	root, cwd, err := w.v.CloneMountNamespace(w.ctx, userNS, w.root, w.root)
	w.want(err, nil)
	ns := root.Mount.Namespace()
	c := *w
	c.ns, c.root = ns, root
	w.want(c.v.Mount(w.ctx, ns, &vfs.MountRequest{Target: c.op("/m"), Type: "tmpfs"}), nil)
	c.write("/m/f", "x")
	cwd.DecRef(w.ctx)
	ns.IncRef() // somebody has /proc/PID/ns/mnt open
	root.DecRef(w.ctx)
	p := ns.Root()
	if !p.Ok() {
		t.Fatal("the namespace ended in spite of a reference")
	}
	p.DecRef(w.ctx)
	ns.DecRef(w.ctx)
	if ns.Root().Ok() {
		t.Fatal("the namespace stays")
	}
	w.stat("/m") // the first namespace is as it was
}

func TestConcurrentMountAndWalk(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/m")
	w.write("/m/f", "below")
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !stop.Load() {
				w.v.Mount(w.ctx, w.ns, &vfs.MountRequest{Target: w.op("/m"), Type: "tmpfs"})
				w.v.Unmount(w.ctx, w.ns, w.op("/m"), unix.MNT_DETACH)
			}
		})
		wg.Go(func() {
			for !stop.Load() {
				for _, p := range []string{"/m/f", "/m/../m/f", "/m/new"} {
					if fd, err := w.open(p, unix.O_CREAT|unix.O_RDWR, 0o600); err == nil {
						_ = fd.Path().String()
						fd.DecRef(w.ctx)
					}
				}
				w.ns.MountInfo(w.root)
				root, cwd, err := w.v.CloneMountNamespace(w.ctx, userNS, w.root, w.root)
				if err == nil {
					root.DecRef(w.ctx)
					cwd.DecRef(w.ctx)
				}
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	stop.Store(true)
	wg.Wait()
	for w.v.Unmount(w.ctx, w.ns, w.op("/m"), unix.MNT_DETACH) == nil {
	}
	if w.read("/m/f") != "below" {
		t.Fatal("content")
	}
}

func TestConcurrentRenameAndWalk(t *testing.T) {
	w := newWorld(t)
	w.mkdir("/a")
	w.mkdir("/b")
	w.mkdir("/a/d")
	w.write("/a/d/f", "f")
	var stop atomic.Bool
	var wg sync.WaitGroup
	start := func(f func()) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for !stop.Load() {
				f()
			}
		}()
	}
	start(func() {
		w.rename("/a/d", "/b/d", 0)
		w.rename("/b/d", "/a/d", 0)
	})
	for range 2 {
		start(func() {
			for _, p := range []string{"/a/d/f", "/b/d/f", "/a/d/../d/f"} {
				if fd, err := w.open(p, unix.O_RDONLY, 0); err == nil {
					_ = fd.Path().String()
					fd.DecRef(w.ctx)
				} else if err != unix.ENOENT {
					t.Errorf("%s: %v", p, err)
				}
			}
		})
	}
	start(func() {
		fd, err := w.open("/tmp", unix.O_CREAT|unix.O_RDWR, 0o600)
		if err == nil {
			fd.DecRef(w.ctx)
		}
		w.v.UnlinkAt(w.ctx, w.op("/tmp"))
	})
	start(func() { w.rename("/tmp", "/a/tmp", 0); w.v.UnlinkAt(w.ctx, w.op("/a/tmp")) })
	time.Sleep(300 * time.Millisecond)
	stop.Store(true)
	wg.Wait()
}

func BenchmarkStat(b *testing.B) {
	w := newWorld(b)
	w.mkdir("/usr")
	w.mkdir("/usr/lib")
	w.write("/usr/lib/f", "x")
	o := w.op("/usr/lib/f")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.v.StatAt(w.ctx, o); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkOpenClose(b *testing.B) {
	w := newWorld(b)
	w.mkdir("/usr")
	w.mkdir("/usr/lib")
	w.write("/usr/lib/f", "x")
	o := w.op("/usr/lib/f")
	b.ReportAllocs()
	for b.Loop() {
		fd, err := w.v.OpenAt(w.ctx, o, vfs.OpenOpts{})
		if err != nil {
			b.Fatal(err)
		}
		fd.DecRef(w.ctx)
	}
}

func BenchmarkRead4K(b *testing.B) {
	w := newWorld(b)
	w.write("/f", string(make([]byte, 4096)))
	fd := w.mustOpen("/f", unix.O_RDONLY, 0)
	seq := usermem.BytesSequence(make([]byte, 4096))
	b.ReportAllocs()
	for b.Loop() {
		if n, err := fd.PRead(w.ctx, seq, 0); n != 4096 {
			b.Fatal(n, err)
		}
	}
}
