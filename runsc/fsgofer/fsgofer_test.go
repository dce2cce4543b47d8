package fsgofer

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"sort"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/p9"
)

func TestMain(m *testing.M) {
	unix.Umask(0)
	if os.Getenv(childEnv) != "" {
		child()
	}
	os.Exit(m.Run())
}

// start runs Serve, in this process or, for TestUnderFilter, in one of its own.
var start = func(t testing.TB, server *os.File, cfg Config) <-chan error {
	done := make(chan error, 1)
	go func() { done <- Serve(server, cfg) }()
	return done
}

// connect serves the tree of cfg and returns its root on the client's side. At the end of
// the test, Serve must have returned and no descriptor may be left.
func connect(t testing.TB, cfg Config) *p9.ClientFile {
	t.Helper()
	before := fd.OpenCount()
	s, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := start(t, os.NewFile(uintptr(s[1]), "server"), cfg)
	c, err := p9.NewClient(s[0], p9.MaxMessageSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
		if after := fd.OpenCount(); after > before {
			t.Errorf("%d descriptors are open, %d were before", after, before)
		}
	})
	root, err := c.Attach("")
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// walk walks one path below f.
func walk(t testing.TB, f *p9.ClientFile, path string) p9.WalkResult {
	t.Helper()
	names := strings.Split(path, "/")
	r := make([]p9.WalkResult, len(names))
	n, err := f.Walk(names, r)
	if err != nil || n != len(names) {
		t.Fatalf("Walk(%q) = %d, %v", path, n, err)
	}
	for _, x := range r[:n-1] {
		x.File.Close()
	}
	return r[n-1]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func lstat(t testing.TB, path string) unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	must(t, unix.Lstat(path, &st))
	return st
}

func TestCreationSetsOwnerAndMode(t *testing.T) {
	dir := t.TempDir()
	root := connect(t, Config{Root: dir})
	file, host, err := root.Create("file", unix.O_RDWR, 0o6755, 1000, 1001)
	must(t, err)
	if host == nil {
		t.Fatal("no descriptor was donated")
	}
	defer host.Close()
	if _, err := unix.Write(host.Num(), []byte("through the descriptor")); err != nil {
		t.Error(err)
	}
	_, err = root.Mkdir("dir", 0o1777, 1000, 1001)
	must(t, err)
	_, err = root.Mkdir("sgid", 0o2755, 1000, 1001)
	must(t, err)
	_, err = root.Symlink("link", "/etc/passwd", 1000, 1001)
	must(t, err)
	_, err = root.Mknod("fifo", unix.S_IFIFO|0o666, 0, 0, 1000, 1001)
	must(t, err)
	_, err = root.Mknod("sock", unix.S_IFSOCK|0o666, 0, 0, 1000, 1001)
	must(t, err)
	_, err = root.Mknod("reg", unix.S_IFREG|0o600, 0, 0, 1000, 1001)
	must(t, err)
	for name, mode := range map[string]uint32{
		"file": unix.S_IFREG | 0o6755, "dir": unix.S_IFDIR | 0o1777, "sgid": unix.S_IFDIR | 0o2755,
		"link": unix.S_IFLNK | 0o777, "fifo": unix.S_IFIFO | 0o666, "sock": unix.S_IFSOCK | 0o666,
		"reg": unix.S_IFREG | 0o600,
	} {
		st := lstat(t, filepath.Join(dir, name))
		if st.Mode != mode || st.Uid != 1000 || st.Gid != 1001 {
			t.Errorf("%s: mode %o owner %d:%d, want %o 1000:1001", name, st.Mode, st.Uid, st.Gid, mode)
		}
	}
	a, err := file.File.GetAttr()
	must(t, err)
	if st := lstat(t, filepath.Join(dir, "file")); a.Size != 22 || a.QID.Path != st.Ino || a.Valid&p9.AttrBTime == 0 {
		t.Errorf("attributes %+v, want size 22, inode %d, birth time", a, st.Ino)
	}
	if _, _, err := root.Create("file", unix.O_RDWR, 0o600, 0, 0); err != unix.EEXIST {
		t.Errorf("Create of what exists: %v", err)
	}
	for _, typ := range []uint32{unix.S_IFCHR, unix.S_IFBLK, unix.S_IFDIR, unix.S_IFLNK, 0o170000} {
		if _, err := root.Mknod("dev", typ|0o666, 1, 3, 0, 0); err != unix.EPERM {
			t.Errorf("Mknod(%o) = %v", typ, err)
		}
	}
}

func TestFailedChownRemovesTheFile(t *testing.T) {
	dir := t.TempDir()
	cfg := Config{Root: dir}
	must(t, cfg.Prepare())
	defer cfg.ProcFD.Close()
	s := &server{cfg: cfg, procFD: int(cfg.ProcFD.Fd()), qids: qidTable{index: map[qidKey]uint64{}}}
	rootFD, err := fd.FromFile(cfg.RootFD)
	must(t, err)
	root, _, err := s.newNode(rootFD)
	must(t, err)
	defer root.Close()
	errs := map[string]error{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread ends with the goroutine, and nobody else gets one without CAP_CHOWN.
		runtime.LockOSThread()
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var caps [2]unix.CapUserData
		if errs["capset"] = unix.Capget(&header, &caps[0]); errs["capset"] != nil {
			return
		}
		caps[0].Effective &^= 1 << unix.CAP_CHOWN
		if errs["capset"] = unix.Capset(&header, &caps[0]); errs["capset"] != nil {
			return
		}
		_, _, errs["create"] = root.Create("a", unix.O_RDWR, 0o600, 1234, 0)
		_, errs["mkdir"] = root.Mkdir("b", 0o700, 1234, 0)
		_, errs["mknod"] = root.Mknod("c", unix.S_IFIFO|0o600, 0, 0, 1234, 0)
		_, errs["symlink"] = root.Symlink("d", "x", 1234, 0)
	}()
	<-done
	must(t, errs["capset"])
	delete(errs, "capset")
	for what, err := range errs {
		if err != unix.EPERM {
			t.Errorf("%s = %v", what, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestNothingLeadsOut(t *testing.T) {
	outside := t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "secret"), []byte("x"), 0o600))
	dir := t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(dir, "abs")))
	must(t, os.Symlink("..", filepath.Join(dir, "up")))
	root := connect(t, Config{Root: dir})
	for _, link := range []string{"abs", "up"} {
		r := make([]p9.WalkResult, 2)
		n, err := root.Walk([]string{link, "secret"}, r)
		if n != 1 || err != nil || r[0].Attr.QID.Type != p9.QTSymlink {
			t.Errorf("Walk(%s/secret) = %d, %v", link, n, err)
			continue
		}
		if n, err := r[0].File.Walk([]string{"secret"}, r[1:]); n != 0 || err != unix.ENOTDIR {
			t.Errorf("Walk from %s = %d, %v", link, n, err)
		}
		if _, _, err := r[0].File.Open(unix.O_RDONLY); err != unix.ELOOP {
			t.Errorf("Open(%s) = %v", link, err)
		}
		if _, _, err := r[0].File.Create("x", unix.O_RDWR, 0o600, 0, 0); err != unix.ENOTDIR {
			t.Errorf("Create below %s = %v", link, err)
		}
		if err := r[0].File.SetAttr(p9.SetAttr{Valid: p9.SetMode, Mode: 0}); err != unix.EOPNOTSUPP {
			t.Errorf("chmod of %s = %v", link, err)
		}
		must(t, r[0].File.SetAttr(p9.SetAttr{Valid: p9.SetUID, UID: 7}))
		must(t, r[0].File.SetAttr(p9.SetAttr{Valid: p9.SetMTime | p9.SetMTimeSet, MTime: p9.Time{Sec: 5, Nsec: 6}}))
		if st := lstat(t, filepath.Join(dir, link)); st.Uid != 7 || st.Mtim != (unix.Timespec{Sec: 5, Nsec: 6}) {
			t.Errorf("%s: owner %d, mtime %v", link, st.Uid, st.Mtim)
		}
		if _, err := r[0].File.Link(r[0].File, "x"); err != unix.ENOTDIR {
			t.Errorf("Link below %s = %v", link, err)
		}
		_, err = root.Link(r[0].File, link+"2")
		must(t, err)
		if target, err := walk(t, root, link+"2").File.Readlink(); err != nil || (target != outside && target != "..") {
			t.Errorf("hard link of symlink %s = %q, %v", link, target, err)
		}
	}
	if st := lstat(t, outside); st.Uid == 7 || st.Mtim.Sec == 5 {
		t.Error("a change went through the symlink")
	}
	d, _, err := walk(t, connect(t, Config{Root: filepath.Dir(dir)}), filepath.Base(dir)).File.Open(unix.O_RDONLY)
	must(t, err)
	if entries, err := d.ReadDir(0, nil); err != nil || len(entries) != 6 {
		t.Errorf("ReadDir = %v, %v", entries, err)
	}
}

func TestReadOnlyTreeRefusesChanges(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "file"), []byte("data"), 0o644))
	root := connect(t, Config{Root: dir, ReadOnly: true})
	f := walk(t, root, "file").File
	errs := map[string]error{}
	_, _, errs["open for writing"] = f.Open(unix.O_WRONLY)
	_, _, errs["open both ways"] = f.Open(unix.O_RDWR)
	_, _, errs["truncate"] = f.Open(unix.O_RDONLY | unix.O_TRUNC)
	_, _, errs["create"] = root.Create("x", unix.O_RDONLY, 0o600, 0, 0)
	_, _, errs["tmpfile"] = root.Create("", unix.O_RDWR|unix.O_TMPFILE, 0o600, 0, 0)
	_, errs["mkdir"] = root.Mkdir("x", 0o700, 0, 0)
	_, errs["mknod"] = root.Mknod("x", unix.S_IFIFO, 0, 0, 0, 0)
	_, errs["symlink"] = root.Symlink("x", "y", 0, 0)
	_, errs["link"] = root.Link(f, "x")
	errs["unlink"] = root.Unlink("file", 0)
	errs["rename"] = root.Rename("file", root, "x", 0)
	errs["setattr"] = f.SetAttr(p9.SetAttr{Valid: p9.SetSize})
	errs["setxattr"] = f.SetXattr("user.x", nil, 0)
	errs["removexattr"] = f.RemoveXattr("user.x")
	for what, err := range errs {
		if err != unix.EROFS {
			t.Errorf("%s: %v", what, err)
		}
	}
	ro, host, err := f.Open(unix.O_RDONLY)
	must(t, err)
	defer host.Close()
	if err := ro.Allocate(0, 0, 1); err != unix.EROFS {
		t.Errorf("allocate: %v", err)
	}
	if n, err := unix.Pwrite(host.Num(), []byte("x"), 0); err == nil {
		t.Errorf("the donated descriptor writes %d bytes", n)
	}
	var buf [10]byte
	if n, err := ro.ReadAt(buf[:], 1); err != nil || string(buf[:n]) != "ata" {
		t.Errorf("ReadAt = %q, %v", buf[:n], err)
	}
}

func TestSpecialFilesAreNotOpened(t *testing.T) {
	dir := t.TempDir()
	must(t, unix.Mkfifo(filepath.Join(dir, "fifo"), 0o666))
	must(t, unix.Mknod(filepath.Join(dir, "sock"), unix.S_IFSOCK|0o666, 0))
	devices := unix.Mknod(filepath.Join(dir, "null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))) == nil
	root := connect(t, Config{Root: dir})
	for _, name := range []string{"fifo", "sock"} {
		f := walk(t, root, name)
		if _, _, err := f.File.Open(unix.O_RDONLY); err != unix.ENXIO {
			t.Errorf("Open(%s) = %v", name, err)
		}
		if err := f.File.SetAttr(p9.SetAttr{Valid: p9.SetSize}); err != unix.EINVAL {
			t.Errorf("truncate(%s) = %v", name, err)
		}
		must(t, f.File.SetAttr(p9.SetAttr{Valid: p9.SetMode, Mode: 0o600}))
		if st := lstat(t, filepath.Join(dir, name)); st.Mode&0o777 != 0o600 {
			t.Errorf("mode of %s is %o", name, st.Mode)
		}
	}
	if !devices {
		t.Skip("device nodes cannot be made here")
	}
	if _, err := root.Walk([]string{"null"}, make([]p9.WalkResult, 1)); err != unix.EPERM {
		t.Errorf("Walk(null) = %v", err)
	}
	allowed := connect(t, Config{Root: dir, AllowDevices: true})
	null := walk(t, allowed, "null")
	if null.Attr.RDev != unix.Mkdev(1, 3) {
		t.Errorf("device number %x", null.Attr.RDev)
	}
	if _, _, err := null.File.Open(unix.O_RDONLY); err != unix.ENXIO {
		t.Errorf("Open(null) = %v", err)
	}
	if made, err := allowed.Mknod("zero", unix.S_IFCHR|0o666, 1, 5, 0, 0); err != nil || made.Attr.RDev != unix.Mkdev(1, 5) {
		t.Errorf("Mknod = %+v, %v", made, err)
	}
}

func TestHostSockets(t *testing.T) {
	dir := t.TempDir()
	l, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(l)
	must(t, unix.Bind(l, &unix.SockaddrUnix{Name: filepath.Join(dir, "s")}))
	must(t, unix.Listen(l, 10))
	wd, err := os.Getwd()
	must(t, err)
	defer os.Chdir(wd)
	for _, c := range []struct {
		uds  HostUDS
		want error
	}{{"", unix.ECONNREFUSED}, {UDSNone, unix.ECONNREFUSED}, {UDSCreate, unix.ECONNREFUSED}, {UDSOpen, nil}, {UDSAll, nil}} {
		root := connect(t, Config{Root: dir, HostUDS: c.uds})
		sock, err := walk(t, root, "s").File.Connect(unix.SOCK_STREAM)
		if err != c.want && !(err == nil && c.want == nil) {
			t.Errorf("Connect with %q: %v, want %v", c.uds, err, c.want)
		}
		if err == nil {
			sock.Close()
		}
		if _, err := root.Connect(unix.SOCK_STREAM); err != unix.ECONNREFUSED {
			t.Errorf("Connect to a directory: %v", err)
		}
	}
}

func TestSingleFileRoot(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	must(t, os.WriteFile(path, []byte("127.0.0.1"), 0o644))
	root := connect(t, Config{Root: path})
	a, err := root.GetAttr()
	must(t, err)
	if a.Mode&unix.S_IFMT != unix.S_IFREG || a.Size != 9 {
		t.Errorf("root is %+v", a)
	}
	host, err := root.OpenFD(unix.O_RDWR)
	must(t, err)
	host.Close()
	if _, err := root.Walk([]string{"x"}, make([]p9.WalkResult, 1)); err != unix.ENOTDIR {
		t.Errorf("Walk = %v", err)
	}
	if _, err := root.Mkdir("x", 0, 0, 0); err != unix.ENOTDIR {
		t.Errorf("Mkdir = %v", err)
	}
}

func TestReadDirCookiesAreStable(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for i := range 1500 {
		name := fmt.Sprintf("%s-%d", strings.Repeat("n", 100), i)
		want = append(want, name)
		must(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	root := connect(t, Config{Root: dir})
	d, host, err := root.Open(unix.O_RDONLY)
	must(t, err)
	if host != nil {
		t.Error("a directory's descriptor was donated")
	}
	list := func() []p9.Dirent {
		var all []p9.Dirent
		for offset := uint64(0); ; {
			had := len(all)
			all, err = d.ReadDir(offset, all)
			must(t, err)
			if len(all) == had {
				return all
			}
			offset = all[len(all)-1].Offset
		}
	}
	names := func(all []p9.Dirent) []string {
		var s []string
		for _, e := range all {
			if e.Name != "." && e.Name != ".." {
				s = append(s, e.Name)
			}
		}
		sort.Strings(s)
		return s
	}
	sort.Strings(want)
	all := list()
	if got := names(all); !reflect.DeepEqual(got, want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	if got := list(); !reflect.DeepEqual(got, all) {
		t.Error("a second listing differs")
	}
	// Continue anywhere: what follows is the same.
	for _, i := range []int{0, 1, 700, 1400} {
		got, err := d.ReadDir(all[i].Offset, nil)
		must(t, err)
		if len(got) == 0 || got[0] != all[i+1] {
			t.Errorf("behind entry %d comes %+v, want %+v", i, got[:1], all[i+1])
		}
	}
	st := lstat(t, filepath.Join(dir, all[5].Name))
	if all[5].QID.Path != st.Ino || all[5].Type != unix.DT_REG {
		t.Errorf("entry %+v, inode %d", all[5], st.Ino)
	}
}

func TestXattrs(t *testing.T) {
	dir := t.TempDir()
	root := connect(t, Config{Root: dir})
	file, host, err := root.Create("file", unix.O_RDWR, 0o600, 0, 0)
	must(t, err)
	host.Close()
	if err := file.File.SetXattr("user.name", []byte("value"), unix.XATTR_CREATE); err == unix.EOPNOTSUPP {
		t.Skip("no extended attributes in the temporary directory")
	} else if err != nil {
		t.Fatal(err)
	}
	if err := file.File.SetXattr("user.name", []byte("v"), unix.XATTR_CREATE); err != unix.EEXIST {
		t.Errorf("XATTR_CREATE twice: %v", err)
	}
	var buf [100]byte
	n, err := file.File.GetXattr("user.name", buf[:])
	if err != nil || string(buf[:n]) != "value" {
		t.Errorf("GetXattr = %q, %v", buf[:n], err)
	}
	if _, err := file.File.GetXattr("user.name", buf[:2]); err != unix.ERANGE {
		t.Errorf("GetXattr into two bytes: %v", err)
	}
	unix.Setxattr(filepath.Join(dir, "file"), "trusted.hidden", []byte("x"), 0)
	if names, err := file.File.ListXattr(); err != nil || !reflect.DeepEqual(names, []string{"user.name"}) {
		t.Errorf("ListXattr = %q, %v", names, err)
	}
	for _, name := range []string{"trusted.hidden", "trusted.overlay.opaque", "system.posix_acl_access", "security.selinux", "user.", "x"} {
		if _, err := file.File.GetXattr(name, buf[:]); err != unix.EOPNOTSUPP {
			t.Errorf("GetXattr(%s) = %v", name, err)
		}
		if err := file.File.SetXattr(name, nil, 0); err != unix.EOPNOTSUPP {
			t.Errorf("SetXattr(%s) = %v", name, err)
		}
	}
	must(t, file.File.RemoveXattr("user.name"))
	if err := file.File.RemoveXattr("user.name"); err != unix.ENODATA {
		t.Errorf("RemoveXattr twice: %v", err)
	}
	must(t, root.SetXattr("user.dir", []byte("d"), 0))
	link, err := root.Symlink("link", "file", 0, 0)
	must(t, err)
	if err := link.File.SetXattr("user.x", nil, 0); err != unix.EPERM {
		t.Errorf("SetXattr of a symlink: %v", err)
	}
}

func TestRenameAndLinks(t *testing.T) {
	dir := t.TempDir()
	root := connect(t, Config{Root: dir})
	a, err := root.Mkdir("a", 0o755, 0, 0)
	must(t, err)
	b, err := a.File.Mkdir("b", 0o755, 0, 0)
	must(t, err)
	f, host, err := b.File.Create("f", unix.O_RDWR, 0o644, 0, 0)
	must(t, err)
	host.Close()
	if err := root.Rename("a", b.File, "x", 0); err != unix.EINVAL {
		t.Errorf("Rename below itself: %v", err)
	}
	must(t, a.File.Rename("b", root, "c", 0))
	// b's fid still is the directory.
	if got := walk(t, b.File, "f"); got.Attr.QID != f.Attr.QID {
		t.Errorf("f is %+v, was %+v", got.Attr.QID, f.Attr.QID)
	}
	if err := root.Rename("c", root, "a", unix.RENAME_NOREPLACE); err != unix.EEXIST {
		t.Errorf("RENAME_NOREPLACE: %v", err)
	}
	must(t, root.Rename("c", root, "a", unix.RENAME_EXCHANGE))
	walk(t, root, "a/f")
	if err := root.Rename("c", root, "d", unix.RENAME_WHITEOUT); err != unix.EINVAL {
		t.Errorf("RENAME_WHITEOUT: %v", err)
	}
	if got, err := root.Link(f.File, "hard"); err != nil || got.NLink != 2 {
		t.Errorf("Link = %+v, %v", got, err)
	}
	must(t, root.Unlink("hard", 0))
	if err := root.Unlink("c", 0); err != unix.EISDIR {
		t.Errorf("Unlink of a directory: %v", err)
	}
	must(t, root.Unlink("c", unix.AT_REMOVEDIR))
	must(t, b.File.Unlink("f", 0))
	if got, err := f.File.GetAttr(); err != nil || got.NLink != 0 {
		t.Errorf("unlinked file: %+v, %v", got, err)
	}
	if fd, err := f.File.OpenFD(unix.O_RDWR); err != nil {
		t.Errorf("opening an unlinked file: %v", err)
	} else {
		fd.Close()
	}
	tmp, host, err := root.Create("", unix.O_RDWR|unix.O_TMPFILE, 0o600, 5, 6)
	if err == unix.EOPNOTSUPP {
		t.Skip("no O_TMPFILE in the temporary directory")
	}
	must(t, err)
	host.Close()
	if got, err := root.Link(tmp.File, "named"); err != nil || got.NLink != 1 || got.UID != 5 {
		t.Errorf("Link of a temporary file = %+v, %v", got, err)
	}
}

func TestSetAttr(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "f")
	must(t, os.WriteFile(path, []byte("0123456789"), 0o644))
	f := walk(t, connect(t, Config{Root: dir}), "f").File
	a, err := f.SetGetAttr(p9.SetAttr{
		Valid: p9.SetMode | p9.SetUID | p9.SetGID | p9.SetSize | p9.SetATime | p9.SetATimeSet | p9.SetMTime | p9.SetMTimeSet,
		Mode:  0o4711, UID: 3, GID: 4, Size: 5, ATime: p9.Time{Sec: -10, Nsec: 1}, MTime: p9.Time{Sec: 1 << 33, Nsec: 2},
	})
	must(t, err)
	if a.Mode != unix.S_IFREG|0o4711 || a.UID != 3 || a.GID != 4 || a.Size != 5 || a.ATime != (p9.Time{Sec: -10, Nsec: 1}) {
		t.Errorf("attributes %+v", a)
	}
	st := lstat(t, path)
	if st.Mtim != (unix.Timespec{Sec: 1 << 33, Nsec: 2}) {
		t.Errorf("mtime %v", st.Mtim)
	}
	must(t, f.SetAttr(p9.SetAttr{Valid: p9.SetMTime}))
	if now := lstat(t, path); now.Mtim.Sec == st.Mtim.Sec || now.Atim != st.Atim {
		t.Errorf("mtime %v, atime %v", now.Mtim, now.Atim)
	}
	h, host, err := f.Open(unix.O_RDWR)
	must(t, err)
	defer host.Close()
	must(t, h.Allocate(unix.FALLOC_FL_KEEP_SIZE, 0, 8192))
	must(t, h.Sync(false))
	must(t, h.Sync(true))
	must(t, h.Flush())
	if n, err := h.WriteAt([]byte("abc"), 3); n != 3 || err != nil {
		t.Errorf("WriteAt = %d, %v", n, err)
	}
	if got, err := os.ReadFile(path); err != nil || !bytes.Equal(got, []byte("012abc")) {
		t.Errorf("content %q, %v", got, err)
	}
	s, err := f.StatFS()
	if err != nil || s.NameLength == 0 || s.BlockSize == 0 {
		t.Errorf("StatFS = %+v, %v", s, err)
	}
}

func TestQIDsDoNotCollide(t *testing.T) {
	q := qidTable{index: map[qidKey]uint64{}}
	seen := map[uint64]string{}
	for _, dev := range []uint64{1, 2, 1 << 40} {
		for _, ino := range []uint64{1, 2, 1<<48 | 1, 1 << 63, 1<<63 | 1, ^uint64(0)} {
			key := fmt.Sprint(dev, ino)
			p, err := q.path(dev, ino)
			must(t, err)
			if other, dup := seen[p]; dup {
				t.Errorf("%s and %s are both %x", key, other, p)
			}
			seen[p] = key
			if again, _ := q.path(dev, ino); again != p {
				t.Errorf("%s is %x and %x", key, p, again)
			}
		}
	}
	if p, _ := q.path(1, 2); p != 2 {
		t.Errorf("inode 2 of the first device is %x", p)
	}
	for dev := uint64(100); ; dev++ {
		if _, err := q.path(dev, 1); err == unix.EOVERFLOW {
			break
		} else if err != nil || dev > 70000 {
			t.Fatalf("path(%d) = %v", dev, err)
		}
	}
	if p, err := q.path(1, 2); p != 2 || err != nil {
		t.Errorf("after the overflow: %x, %v", p, err)
	}
}

// Renames of directories race with walks through them: each walk finds the file, or finds
// that a name is not there, and never anything else.
func TestRenameRacesWithWalk(t *testing.T) {
	dir := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(dir, "a/sub"), 0o755))
	must(t, os.Mkdir(filepath.Join(dir, "b"), 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "a/sub/inside"), nil, 0o644))
	must(t, os.Symlink("/", filepath.Join(dir, "trap")))
	root := connect(t, Config{Root: dir})
	a, b := walk(t, root, "a"), walk(t, root, "b")
	want := walk(t, root, "a/sub/inside").Attr.QID
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			select {
			case <-stop:
				return
			default:
			}
			a.File.Rename("sub", b.File, "sub", 0)
			root.Rename("trap", a.File, "sub", unix.RENAME_NOREPLACE)
			a.File.Rename("sub", root, "trap", 0)
			b.File.Rename("sub", a.File, "sub", 0)
		}
	}()
	for range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range 1000 {
				r := make([]p9.WalkResult, 3)
				n, err := root.Walk([]string{"a", "sub", "inside"}, r)
				switch {
				case n == 3 && r[2].Attr.QID == want:
				case n == 2 && err == nil && r[1].Attr.QID.Type == p9.QTSymlink:
				case err == unix.ENOENT:
				default:
					t.Errorf("Walk = %d, %v", n, err)
				}
				for _, x := range r[:n] {
					x.File.Close()
				}
			}
		}()
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := range 300 {
			name := fmt.Sprintf("f%d", i%7)
			if f, host, err := root.Create(name, unix.O_RDWR, 0o600, 0, 0); err == nil {
				host.Close()
				f.File.Close()
			}
			root.Unlink(name, 0)
		}
		close(stop)
	}()
	wg.Wait()
}

func BenchmarkWalkOpenClose(b *testing.B) {
	dir := b.TempDir()
	must(b, os.WriteFile(filepath.Join(dir, "f"), nil, 0o644))
	root := connect(b, Config{Root: dir})
	var r [1]p9.WalkResult
	names := []string{"f"}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := root.Walk(names, r[:]); err != nil {
			b.Fatal(err)
		}
		host, err := r[0].File.OpenFD(unix.O_RDONLY)
		if err != nil {
			b.Fatal(err)
		}
		host.Close()
		r[0].File.Close()
	}
}
