package fsgofer

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/gofer"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

// The tests of this file look at a host directory through the whole chain: vfs, the sentry's
// gofer filesystem, 9P, this package.

var task = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

// sandbox is a vfs with a tree mounted in it.
type sandbox struct {
	t    testing.TB
	v    *vfs.VFS
	fs   *gofer.Filesystem
	root vfs.Path
	dir  string // the tree on the host
	kill func() // ends the gofer
}

// mount makes a sandbox. At the end of the test everything must be closed.
func mount(t testing.TB, dir string, shared bool) *sandbox {
	t.Helper()
	before := fd.OpenCount()
	s, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	victim, err := unix.FcntlInt(uintptr(s[1]), unix.F_DUPFD_CLOEXEC, 0)
	must(t, err)
	done := start(t, os.NewFile(uintptr(s[1]), "server"), Config{Root: dir})
	v := vfs.New()
	fs, err := gofer.New(v, s[0], gofer.Options{Shared: shared})
	must(t, err)
	m := v.NewDetachedMount(fs, "none", 0)
	t.Cleanup(func() {
		m.DecRef(task)
		unix.Close(victim)
		if err := <-done; err != nil {
			t.Errorf("Serve = %v", err)
		}
		if after := fd.OpenCount(); after > before {
			t.Errorf("%d descriptors are open, %d were before", after, before)
		}
	})
	return &sandbox{t: t, v: v, fs: fs, root: m.RootPath(), dir: dir,
		kill: func() { unix.Shutdown(victim, unix.SHUT_RDWR) }}
}

func (s *sandbox) op(path string) *vfs.PathOp {
	return &vfs.PathOp{Root: s.root, Start: s.root, Pathname: path, NoFollow: true}
}

func (s *sandbox) open(path string, flags uint32) *vfs.FileDescription {
	s.t.Helper()
	f, err := s.v.OpenAt(task, s.op(path), vfs.OpenOpts{Flags: flags, Mode: 0o644})
	if err != nil {
		s.t.Fatalf("open(%s): %v", path, err)
	}
	return f
}

func (s *sandbox) stat(path string) vfs.Attr {
	s.t.Helper()
	a, err := s.v.StatAt(task, s.op(path))
	if err != nil {
		s.t.Fatalf("stat(%s): %v", path, err)
	}
	return a
}

func (s *sandbox) host(path string) string { return filepath.Join(s.dir, path) }

func (s *sandbox) write(f *vfs.FileDescription, data string) {
	s.t.Helper()
	if n, err := f.Write(task, usermem.BytesSequence([]byte(data))); n != len(data) || err != nil {
		s.t.Fatalf("write = %d, %v", n, err)
	}
}

// pread reads up to 100 bytes at offset.
func (s *sandbox) pread(f *vfs.FileDescription, offset int64) string {
	s.t.Helper()
	var b [100]byte
	n, err := f.PRead(task, usermem.BytesSequence(b[:]), offset)
	if err != nil {
		s.t.Fatalf("pread: %v", err)
	}
	return string(b[:n])
}

// both runs a test in exclusive and in shared mode.
func both(t *testing.T, test func(t *testing.T, s *sandbox)) {
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared=%v", shared), func(t *testing.T) {
			test(t, mount(t, t.TempDir(), shared))
		})
	}
}

func TestSentryReadsAndWrites(t *testing.T) {
	both(t, func(t *testing.T, s *sandbox) {
		must(t, s.v.MkdirAt(task, s.op("a"), 0o755))
		must(t, s.v.MkdirAt(task, s.op("a/b"), 0o755))
		f := s.open("a/b/f", unix.O_CREAT|unix.O_RDWR|unix.O_EXCL)
		s.write(f, "hello, ")
		s.write(f, "world")
		if got := s.pread(f, 7); got != "world" {
			t.Errorf("read %q", got)
		}
		if got, err := os.ReadFile(s.host("a/b/f")); err != nil || string(got) != "hello, world" {
			t.Errorf("on the host: %q, %v", got, err)
		}
		a, err := f.Stat(task)
		must(t, err)
		st := lstat(t, s.host("a/b/f"))
		if a.Size != 12 || a.Ino != st.Ino || a.Mode != unix.S_IFREG|0o644 || a.Nlink != 1 || a.Mtime != st.Mtim.Nano() || a.Dev != s.fs.Dev() || a.Btime == 0 {
			t.Errorf("stat %+v", a)
		}
		must(t, f.Sync(task, true))
		must(t, f.Allocate(task, unix.FALLOC_FL_KEEP_SIZE, 0, 1<<16))
		must(t, f.Truncate(task, 5))
		if a := s.stat("a/b/f"); a.Size != 5 {
			t.Errorf("size %d after truncate", a.Size)
		}

		// Appends of two descriptions do not overwrite each other.
		g := s.open("a/b/f", unix.O_WRONLY|unix.O_APPEND)
		s.write(g, "1")
		h := s.open("a/b/f", unix.O_WRONLY|unix.O_APPEND)
		s.write(h, "2")
		s.write(g, "3")
		if got := s.pread(f, 0); got != "hello123" || g.Offset() != 8 {
			t.Errorf("after appends %q, offset %d", got, g.Offset())
		}
		if _, err := g.PRead(task, usermem.BytesSequence(make([]byte, 1)), 0); err != unix.EBADF {
			t.Errorf("read of a write-only file: %v", err)
		}

		// Holes.
		must(t, f.Truncate(task, 0))
		must(t, f.Truncate(task, 1<<20))
		if _, err := f.PWrite(task, usermem.BytesSequence([]byte("x")), 1<<19); err != nil {
			t.Error(err)
		}
		if n, err := f.Seek(task, 0, unix.SEEK_DATA); n != 1<<19 || err != nil {
			t.Errorf("SEEK_DATA = %d, %v", n, err)
		}
		if n, err := f.Seek(task, 1<<19, unix.SEEK_HOLE); n != 1<<19+4096 || err != nil {
			t.Errorf("SEEK_HOLE = %d, %v", n, err)
		}
		if n, err := f.Seek(task, -1, unix.SEEK_END); n != 1<<20-1 || err != nil {
			t.Errorf("SEEK_END = %d, %v", n, err)
		}
		for _, x := range []*vfs.FileDescription{f, g, h} {
			x.DecRef(task)
		}

		// Unlinked while open, and a new file by the same name.
		f = s.open("a/b/f", unix.O_RDWR|unix.O_TRUNC)
		s.write(f, "old")
		must(t, s.v.UnlinkAt(task, s.op("a/b/f")))
		n := s.open("a/b/f", unix.O_CREAT|unix.O_RDWR)
		s.write(n, "new")
		if old, now := s.pread(f, 0), s.pread(n, 0); old != "old" || now != "new" {
			t.Errorf("unlinked %q, new %q", old, now)
		}
		if a, err := f.Stat(task); err != nil || a.Nlink != 0 {
			t.Errorf("unlinked file: %+v, %v", a, err)
		}
		f.DecRef(task)
		n.DecRef(task)
		must(t, s.v.UnlinkAt(task, s.op("a/b/f")))
		must(t, s.v.RmdirAt(task, s.op("a/b")))
		if _, err := s.v.StatAt(task, s.op("a/b/f")); err != unix.ENOENT {
			t.Errorf("stat below what was removed: %v", err)
		}
		if _, err := os.Lstat(s.host("a/b")); !os.IsNotExist(err) {
			t.Errorf("on the host: %v", err)
		}
		must(t, s.fs.Sync(task))
	})
}

func TestSentryNamesAndAttributes(t *testing.T) {
	both(t, func(t *testing.T, s *sandbox) {
		f := s.open("f", unix.O_CREAT|unix.O_WRONLY)
		f.DecRef(task)
		must(t, s.v.SymlinkAt(task, s.op("link"), "dir/f"))
		must(t, s.v.MkdirAt(task, s.op("dir"), 0o750))
		if a := s.stat("."); a.Nlink < 3 && a.Nlink != 1 {
			t.Errorf("the directory has %d links", a.Nlink)
		}
		must(t, s.v.LinkAt(task, s.op("f"), s.op("dir/f")))
		if a, b := s.stat("f"), s.stat("dir/f"); a.Ino != b.Ino || a.Nlink != 2 || b.Nlink != 2 {
			t.Errorf("linked files %+v, %+v", a, b)
		}
		if target, err := s.v.ReadlinkAt(task, s.op("link")); target != "dir/f" || err != nil {
			t.Errorf("readlink = %q, %v", target, err)
		}
		op := s.op("link")
		op.NoFollow = false
		p, err := s.v.LookupAt(task, op)
		must(t, err)
		q, err := s.v.LookupAt(task, s.op("f"))
		must(t, err)
		if p.Inode() != q.Inode() {
			t.Error("two inodes for one file")
		}
		must(t, p.Chmod(task, 0o4711))
		must(t, p.Chown(task, 1000, 2000))
		must(t, p.SetTimes(task, vfs.TimeSpec{Nanos: -1}, vfs.TimeSpec{Nanos: 5e9 + 7}))
		a, st := s.stat("f"), lstat(t, s.host("f"))
		if a.Mode != unix.S_IFREG|0o711 || a.UID != 1000 || a.GID != 2000 || a.Atime != -1 || a.Mtime != 5e9+7 {
			t.Errorf("attributes %+v", a)
		}
		if st.Mode != a.Mode || st.Uid != 1000 || st.Gid != 2000 || st.Atim.Nano() != -1 || st.Mtim.Nano() != 5e9+7 {
			t.Errorf("on the host %+v", st)
		}
		p.DecRef(task)
		q.DecRef(task)

		must(t, s.v.RenameAt(task, s.op("f"), s.op("dir/g"), 0))
		if _, err := s.v.StatAt(task, s.op("f")); err != unix.ENOENT {
			t.Errorf("old name: %v", err)
		}
		if err := s.v.RenameAt(task, s.op("dir/g"), s.op("link"), unix.RENAME_NOREPLACE); err != unix.EEXIST {
			t.Errorf("RENAME_NOREPLACE: %v", err)
		}
		must(t, s.v.RenameAt(task, s.op("dir"), s.op("link"), unix.RENAME_EXCHANGE))
		if a := s.stat("link/g"); a.Nlink != 2 {
			t.Errorf("%+v", a)
		}
		must(t, s.v.UnlinkAt(task, s.op("dir")))
		must(t, s.v.UnlinkAt(task, s.op("link/g")))
		if a := s.stat("link/f"); a.Nlink != 1 {
			t.Errorf("after unlink of the other name: %+v", a)
		}
		if err := s.v.RmdirAt(task, s.op("link")); err != unix.ENOTEMPTY {
			t.Errorf("rmdir: %v", err)
		}
		must(t, s.v.MknodAt(task, s.op("fifo"), unix.S_IFIFO|0o600, 0))
		if a := s.stat("fifo"); a.Mode != unix.S_IFIFO|0o600 {
			t.Errorf("%+v", a)
		}
		if err := s.v.MknodAt(task, s.op("dev"), unix.S_IFCHR|0o600, unix.Mkdev(1, 3)); err != unix.EPERM {
			t.Errorf("mknod of a device: %v", err)
		}
		tmp := s.open(".", unix.O_TMPFILE|unix.O_RDWR)
		s.write(tmp, "temporary")
		if got := s.pread(tmp, 0); got != "temporary" {
			t.Errorf("%q", got)
		}
		tmp.DecRef(task)
		if sf, err := s.fs.StatFS(task); err != nil || sf.NameLength == 0 || sf.BlockSize == 0 {
			t.Errorf("statfs %+v, %v", sf, err)
		}
	})
}

type list struct{ names []string }

func (l *list) Add(d vfs.Dirent) bool {
	l.names = append(l.names, d.Name)
	return len(l.names)%7 != 0 // full again and again, with the entry taken
}

// names lists a directory in small steps. An entry that the sink had no room for comes again.
func (s *sandbox) names(path string) []string {
	d := s.open(path, unix.O_RDONLY|unix.O_DIRECTORY)
	defer d.DecRef(task)
	seen := map[string]bool{}
	for {
		var l list
		must(s.t, d.IterDirents(task, &l))
		if len(l.names) == 0 || len(l.names) == 1 && seen[l.names[0]] {
			break
		}
		for _, n := range l.names {
			seen[n] = true
		}
		if len(l.names) < 7 {
			break
		}
	}
	var all []string
	for n := range seen {
		all = append(all, n)
	}
	sort.Strings(all)
	return all
}

func TestSentryListsDirectories(t *testing.T) {
	both(t, func(t *testing.T, s *sandbox) {
		want := []string{".", ".."}
		for i := range 100 {
			name := fmt.Sprintf("file%02d", i)
			must(t, os.WriteFile(s.host(name), nil, 0o600))
			want = append(want, name)
		}
		if got := s.names("."); strings.Join(got, " ") != strings.Join(want, " ") {
			t.Errorf("%v", got)
		}
	})
}

func TestSentryXattrs(t *testing.T) {
	both(t, func(t *testing.T, s *sandbox) {
		f := s.open("f", unix.O_CREAT|unix.O_RDWR)
		defer f.DecRef(task)
		x := f.Inode().(vfs.Xattrs)
		if _, err := x.GetXattr(task, "user.a"); err != unix.ENODATA {
			if err == unix.EOPNOTSUPP {
				t.Skip("no extended attributes here")
			}
			t.Errorf("GetXattr = %v", err)
		}
		long := strings.Repeat("v", 1000)
		must(t, x.SetXattr(task, "user.a", long, 0))
		if v, err := x.GetXattr(task, "user.a"); v != long || err != nil {
			t.Errorf("GetXattr = %q, %v", v, err)
		}
		if l, err := x.ListXattr(task); err != nil || len(l) != 1 || l[0] != "user.a" {
			t.Errorf("ListXattr = %q, %v", l, err)
		}
		must(t, x.RemoveXattr(task, "user.a"))
		if _, err := x.GetXattr(task, "user.a"); err != unix.ENODATA {
			t.Errorf("GetXattr = %v", err)
		}
	})
}

// In shared mode changes on the host are seen at once, by path and by open file.
func TestSharedModeSeesTheHost(t *testing.T) {
	s := mount(t, t.TempDir(), true)
	must(t, os.MkdirAll(s.host("a/b"), 0o755))
	must(t, os.WriteFile(s.host("a/b/f"), []byte("one"), 0o644))
	f := s.open("a/b/f", unix.O_RDONLY)
	defer f.DecRef(task)
	if got := s.pread(f, 0); got != "one" {
		t.Errorf("%q", got)
	}
	must(t, os.WriteFile(s.host("a/b/f"), []byte("three"), 0o644))
	if got := s.pread(f, 0); got != "three" {
		t.Errorf("%q", got)
	}
	if a := s.stat("a/b/f"); a.Size != 5 {
		t.Errorf("%+v", a)
	}
	must(t, os.WriteFile(s.host("a/b/new"), []byte("xx"), 0o644))
	must(t, os.Rename(s.host("a/b/new"), s.host("a/b/f")))
	if a := s.stat("a/b/f"); a.Size != 2 {
		t.Errorf("after replacement %+v", a)
	}
	must(t, os.Chmod(s.host("a/b/f"), 0o600))
	if a := s.stat("a/b/f"); a.Mode&0o777 != 0o600 {
		t.Errorf("after chmod %+v", a)
	}
	if got := s.pread(f, 0); got != "three" {
		t.Errorf("the replaced file %q", got)
	}
	must(t, os.Rename(s.host("a"), s.host("c")))
	if _, err := s.v.StatAt(task, s.op("a/b/f")); err != unix.ENOENT {
		t.Errorf("stat of what has moved: %v", err)
	}
	if a := s.stat("c/b/f"); a.Size != 2 {
		t.Errorf("%+v", a)
	}
	must(t, os.RemoveAll(s.host("c")))
	if _, err := s.v.StatAt(task, s.op("c/b/f")); err != unix.ENOENT {
		t.Errorf("stat of what is gone: %v", err)
	}
	must(t, os.Mkdir(s.host("c"), 0o755))
	if a := s.stat("c"); a.Mode&unix.S_IFMT != unix.S_IFDIR {
		t.Errorf("%+v", a)
	}
}

// In shared mode a name is made without a look at it first; what others have made is found
// all the same.
func TestSharedModeMakesWhatOthersMade(t *testing.T) {
	s := mount(t, t.TempDir(), true)
	must(t, os.Mkdir(s.host("d"), 0o755))
	must(t, os.WriteFile(s.host("d/file"), []byte("one"), 0o644))
	must(t, os.Symlink("nowhere", s.host("d/dangling")))
	must(t, os.Symlink("file", s.host("d/link")))
	must(t, os.Mkdir(s.host("d/dir"), 0o755))
	must(t, os.WriteFile(s.host("other"), nil, 0o644))
	for _, name := range []string{"d/file", "d/dangling", "d/link", "d/dir"} {
		if _, err := s.v.OpenAt(task, s.op(name), vfs.OpenOpts{Flags: unix.O_CREAT | unix.O_EXCL | unix.O_RDWR, Mode: 0o644}); err != unix.EEXIST {
			t.Errorf("open(%s, O_CREAT|O_EXCL): %v", name, err)
		}
		if err := s.v.MkdirAt(task, s.op(name), 0o755); err != unix.EEXIST {
			t.Errorf("mkdir(%s): %v", name, err)
		}
		if err := s.v.SymlinkAt(task, s.op(name), "x"); err != unix.EEXIST {
			t.Errorf("symlink(%s): %v", name, err)
		}
		for _, target := range []string{"other", "d"} {
			if err := s.v.LinkAt(task, s.op(target), s.op(name)); err != unix.EEXIST {
				t.Errorf("link(%s, %s): %v", target, name, err)
			}
		}
	}
	follow := s.op("d/link")
	follow.NoFollow = false
	f, err := s.v.OpenAt(task, follow, vfs.OpenOpts{Flags: unix.O_CREAT | unix.O_RDONLY, Mode: 0o644})
	must(t, err)
	if got := s.pread(f, 0); got != "one" {
		t.Errorf("through the link %q", got)
	}
	f.DecRef(task)
	follow.Pathname = "d/dangling"
	f, err = s.v.OpenAt(task, follow, vfs.OpenOpts{Flags: unix.O_CREAT | unix.O_RDONLY, Mode: 0o644})
	must(t, err)
	f.DecRef(task)
	if _, err := os.Stat(s.host("d/nowhere")); err != nil {
		t.Errorf("what the link led to was not made: %v", err)
	}
	// A name that was there and is not any more, as far as the host is concerned.
	s.stat("d/file")
	must(t, os.Remove(s.host("d/file")))
	f = s.open("d/file", unix.O_CREAT|unix.O_EXCL|unix.O_RDWR)
	f.DecRef(task)
	if err := s.v.MkdirAt(task, s.op("d/"+strings.Repeat("n", 256)), 0o755); err != unix.ENAMETOOLONG {
		t.Errorf("mkdir of a long name: %v", err)
	}
	if _, err := s.v.OpenAt(task, s.op("d/"+strings.Repeat("n", 256)), vfs.OpenOpts{Flags: unix.O_CREAT | unix.O_EXCL | unix.O_RDWR}); err != unix.ENAMETOOLONG {
		t.Errorf("open of a long name: %v", err)
	}
}

// The host takes a file's capabilities away when it is written to, truncated or given to
// somebody else; vfs leaves that to it.
func TestHostDropsCapabilities(t *testing.T) {
	both(t, func(t *testing.T, s *sandbox) {
		const name = "security.capability"
		const value = "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" // cap_net_raw=ep
		f := s.open("f", unix.O_CREAT|unix.O_RDWR)
		defer f.DecRef(task)
		p := f.Path()
		for what, change := range map[string]func() error{
			"write":    func() error { s.write(f, "x"); return nil },
			"truncate": func() error { return f.Truncate(task, 0) },
			"chown":    func() error { return p.Chown(task, 0, 0) },
		} {
			if err := p.SetXattr(task, name, value, 0); err != nil {
				t.Skipf("setting %s: %v", name, err)
			}
			must(t, change())
			if got, err := p.GetXattr(task, name); err != unix.ENODATA {
				t.Errorf("after %s: %q, %v", what, got, err)
			}
			if n, err := unix.Getxattr(s.host("f"), name, nil); err != unix.ENODATA {
				t.Errorf("after %s, on the host: %d, %v", what, n, err)
			}
		}
	})
}

// In exclusive mode nothing is asked twice.
func TestExclusiveModeAsksOnce(t *testing.T) {
	s := mount(t, t.TempDir(), false)
	must(t, os.WriteFile(s.host("f"), []byte("one"), 0o644))
	if a := s.stat("f"); a.Size != 3 {
		t.Errorf("%+v", a)
	}
	if _, err := s.v.StatAt(task, s.op("none")); err != unix.ENOENT {
		t.Error(err)
	}
	s.kill()
	if a := s.stat("f"); a.Size != 3 {
		t.Errorf("%+v", a)
	}
	if _, err := s.v.StatAt(task, s.op("none")); err != unix.ENOENT {
		t.Error(err)
	}
	if _, err := s.v.StatAt(task, s.op("other")); err != unix.EIO {
		t.Error(err)
	}
	if s.fs.Err() == nil {
		t.Error("Err() = nil")
	}
}

// A directory in which many names are looked up is listed, and answers by itself then.
func TestExclusiveModeListsDirectories(t *testing.T) {
	s := mount(t, t.TempDir(), false)
	var names []string
	for i := range 40 {
		name := fmt.Sprintf("d/f%d", i)
		names = append(names, name)
	}
	must(t, os.Mkdir(s.host("d"), 0o755))
	for _, name := range names {
		must(t, os.WriteFile(s.host(name), []byte(name), 0o640))
	}
	must(t, os.Mkdir(s.host("d/sub"), 0o700))
	must(t, os.WriteFile(s.host("d/sub/below"), []byte("below"), 0o640))
	must(t, os.Symlink("f1", s.host("d/link")))
	must(t, os.Link(s.host("d/f7"), s.host("d/hard")))
	must(t, unix.Mkfifo(s.host("d/fifo"), 0o600))
	names = append(names, "d/sub", "d/link", "d/hard", "d/fifo")
	for _, name := range names[:6] {
		s.stat(name)
	}
	// Changes after the listing, of files that have no fid yet.
	must(t, s.v.RenameAt(task, s.op("d/f10"), s.op("d/renamed"), 0))
	must(t, s.v.RenameAt(task, s.op("d/f11"), s.op("d/f12"), 0))
	must(t, s.v.RenameAt(task, s.op("d/f13"), s.op("d/sub/moved"), 0))
	must(t, s.v.RenameAt(task, s.op("d/f14"), s.op("d/f15"), unix.RENAME_EXCHANGE))
	must(t, s.v.UnlinkAt(task, s.op("d/hard")))
	must(t, s.v.LinkAt(task, s.op("d/f16"), s.op("d/linked")))
	must(t, s.v.SymlinkAt(task, s.op("d/newlink"), "x"))
	must(t, s.v.MkdirAt(task, s.op("d/newdir"), 0o711))
	f := s.open("d/f17", unix.O_WRONLY|unix.O_TRUNC)
	s.write(f, "longer than before")
	f.DecRef(task)
	p, err := s.v.LookupAt(task, s.op("d/f18"))
	must(t, err)
	must(t, s.v.UnlinkAt(task, s.op("d/f18")))
	if a, err := p.Stat(task); err != nil || a.Nlink != 0 {
		t.Errorf("unlinked file %+v, %v", a, err)
	}
	p.DecRef(task)
	names = append(names, "d/renamed", "d/sub/moved", "d/linked", "d/newlink", "d/newdir", "d/none", "d/sub/below", "d/sub/none")
	check := func(when string) {
		for _, name := range names {
			a, err := s.v.StatAt(task, s.op(name))
			var st unix.Stat_t
			if herr := unix.Lstat(s.host(name), &st); err != herr && !(err == nil && herr == nil) {
				t.Errorf("%s: stat(%s) = %v, host %v", when, name, err, herr)
			} else if err == nil && (a.Ino != st.Ino || a.Mode != st.Mode || a.Size != uint64(st.Size) || uint64(a.Nlink) != st.Nlink || a.Mtime != st.Mtim.Nano()) {
				t.Errorf("%s: stat(%s) = %+v, host %+v", when, name, a, st)
			}
		}
	}
	check("with the gofer")
	if target, err := s.v.ReadlinkAt(task, s.op("d/link")); target != "f1" || err != nil {
		t.Errorf("readlink = %q, %v", target, err)
	}
	if got := s.pread(s.keep("d/f20"), 0); got != "d/f20" {
		t.Errorf("f20 holds %q", got)
	}
	s.kill()
	check("without the gofer")
	for i := range 5 {
		if _, err := s.v.StatAt(task, s.op(fmt.Sprintf("d/never%d", i))); err != unix.ENOENT {
			t.Errorf("stat of a name that was never asked for: %v", err)
		}
	}
}

// keep opens a file for reading until the end of the test.
func (s *sandbox) keep(path string) *vfs.FileDescription {
	f := s.open(path, unix.O_RDONLY)
	s.t.Cleanup(func() { f.DecRef(task) })
	return f
}

// After Restore, fids are walked to again by name, and a file that changed meanwhile is noticed.
func TestRestoreFindsFilesAgain(t *testing.T) {
	both(t, func(t *testing.T, s *sandbox) {
		must(t, s.v.MkdirAt(task, s.op("a"), 0o755))
		must(t, s.v.MkdirAt(task, s.op("a/b"), 0o755))
		f := s.open("a/b/f", unix.O_CREAT|unix.O_RDWR)
		s.write(f, "data")
		must(t, s.v.RenameAt(task, s.op("a/b/f"), s.op("a/g"), 0))
		must(t, s.v.RenameAt(task, s.op("a"), s.op("c"), 0))
		deleted := s.open("c/deleted", unix.O_CREAT|unix.O_RDWR)
		must(t, s.v.UnlinkAt(task, s.op("c/deleted")))
		if err := s.fs.PrepareSave(); err == nil {
			t.Error("an open, deleted file can be saved")
		}
		deleted.DecRef(task)
		must(t, s.fs.PrepareSave())
		s.kill()
		reconnect := func() error {
			p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			must(t, err)
			done := start(t, os.NewFile(uintptr(p[1]), "server"), Config{Root: s.dir})
			t.Cleanup(func() { s.fs.Release(task); <-done })
			return s.fs.Restore(p[0])
		}
		must(t, reconnect())
		if got := s.pread(f, 0); got != "data" {
			t.Errorf("read %q", got)
		}
		g := s.open("c/b/new", unix.O_CREAT|unix.O_RDWR)
		g.DecRef(task)
		must(t, f.Path().Chmod(task, 0o600))
		if a := s.stat("c/g"); a.Mode&0o777 != 0o600 || a.Size != 4 {
			t.Errorf("%+v", a)
		}
		must(t, s.fs.PrepareSave())
		must(t, os.Truncate(s.host("c/g"), 2))
		if err := reconnect(); err == nil || !strings.Contains(err.Error(), "/c/g") {
			t.Errorf("a file that changed: %v", err)
		}
		f.DecRef(task)
	})
}

// A dead gofer fails what needs it, at once; what is open goes on.
func TestDeadGofer(t *testing.T) {
	both(t, func(t *testing.T, s *sandbox) {
		f := s.open("f", unix.O_CREAT|unix.O_RDWR)
		s.write(f, "data")
		s.kill()
		if _, err := s.v.OpenAt(task, s.op("g"), vfs.OpenOpts{Flags: unix.O_CREAT | unix.O_RDWR}); err != unix.EIO {
			t.Errorf("open = %v", err)
		}
		if err := s.v.MkdirAt(task, s.op("d"), 0o755); err != unix.EIO {
			t.Errorf("mkdir = %v", err)
		}
		if got := s.pread(f, 0); got != "data" {
			t.Errorf("read %q", got)
		}
		f.DecRef(task)
	})
}

// space is an address space that records what it is told to forget.
type space struct {
	mu     sync.Mutex
	forgot []string
}

func (m *space) Invalidate(ar usermem.AddrRange, private bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgot = append(m.forgot, fmt.Sprintf("%x-%x %v", ar.Start, ar.End, private))
}

func translate(t *testing.T, m memmap.Mappable, r memmap.Range, at memmap.AccessType) memmap.Translation {
	t.Helper()
	ts, err := m.Translate(r, memmap.Range{Start: 0, End: 1 << 30}, at, nil)
	if err != nil || len(ts) != 1 || !ts[0].Source.IsSupersetOf(r) {
		t.Fatalf("Translate(%v) = %+v, %v", r, ts, err)
	}
	return ts[0]
}

// page returns the sentry's view of the first page of a translation.
func page(t *testing.T, tr memmap.Translation, at memmap.AccessType) []byte {
	t.Helper()
	b, err := tr.File.Blocks(memmap.Range{Start: tr.Offset, End: tr.Offset + 4096}, at, nil)
	if err != nil || len(b) != 1 || len(b[0]) != 4096 {
		t.Fatalf("Blocks = %d blocks, %v", len(b), err)
	}
	return b[0]
}

func TestMappingsAreCoherent(t *testing.T) {
	both(t, func(t *testing.T, s *sandbox) {
		must(t, os.WriteFile(s.host("f"), bytes.Repeat([]byte("0123456789abcdef"), 1024), 0o644))
		ro := s.open("f", unix.O_RDONLY)
		m, err := ro.Mappable(task)
		must(t, err)
		as := &space{}
		must(t, m.AddMapping(as, usermem.AddrRange{Start: 0x10000, End: 0x14000}, 0, false))
		must(t, m.AddMapping(as, usermem.AddrRange{Start: 0x20000, End: 0x22000}, 0x2000, false))
		first := memmap.Range{Start: 0, End: 4096}
		old := translate(t, m, first, memmap.Read)
		if old.Perms.Write {
			t.Errorf("perms %v of a read-only descriptor", old.Perms)
		}
		if _, err := m.Translate(first, first, memmap.Write, nil); err == nil {
			t.Error("write translation of a read-only descriptor")
		}
		old.File.IncRef(first)
		if b := page(t, old, memmap.Read); string(b[:4]) != "0123" {
			t.Errorf("mapped %q", b[:4])
		}

		// The file is opened for writing: mappings are made anew.
		rw := s.open("f", unix.O_RDWR)
		if len(as.forgot) != 2 {
			t.Errorf("forgot %v", as.forgot)
		}
		tr := translate(t, m, first, memmap.ReadWrite)
		if tr.File == old.File {
			t.Error("the read-only descriptor is still in use")
		}
		tr.File.IncRef(first)
		b := page(t, tr, memmap.ReadWrite)
		copy(b, "MMAP")
		if got := s.pread(ro, 0)[:6]; got != "MMAP45" {
			t.Errorf("read %q", got)
		}
		if _, err := rw.PWrite(task, usermem.BytesSequence([]byte("write")), 100); err != nil {
			t.Fatal(err)
		}
		if string(b[100:105]) != "write" {
			t.Errorf("mapped %q", b[100:105])
		}
		old.File.DecRef(first)

		// Truncation reaches the mappings; what lies behind the end is a fault.
		as.forgot = nil
		must(t, rw.Truncate(task, 4097))
		sort.Strings(as.forgot)
		if fmt.Sprint(as.forgot) != "[12000-14000 true 20000-22000 true]" {
			t.Errorf("forgot %v", as.forgot)
		}
		if _, err := m.Translate(memmap.Range{Start: 8192, End: 12288}, memmap.Range{Start: 8192, End: 12288}, memmap.Read, nil); err != unix.EFAULT {
			t.Errorf("Translate behind the end: %v", err)
		}
		if tr := translate(t, m, memmap.Range{Start: 4096, End: 8192}, memmap.Read); tr.Source.End != 8192 {
			t.Errorf("translation up to %d", tr.Source.End)
		}
		must(t, rw.Truncate(task, 0))
		if _, err := usermem.Zero(b[:10]); err != unix.EFAULT {
			t.Errorf("access behind the end: %v", err)
		}

		// Everything is closed before the address space lets go.
		ro.DecRef(task)
		rw.DecRef(task)
		m.RemoveMapping(as, usermem.AddrRange{Start: 0x11000, End: 0x12000}, 0x1000, false)
		m.RemoveMapping(as, usermem.AddrRange{Start: 0x10000, End: 0x11000}, 0, false)
		m.RemoveMapping(as, usermem.AddrRange{Start: 0x12000, End: 0x14000}, 0x2000, false)
		m.RemoveMapping(as, usermem.AddrRange{Start: 0x20000, End: 0x22000}, 0x2000, false)
		tr.File.DecRef(first)
	})
}

// A bind mount of a file is a tree that is a file.
func TestSentryMountsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	must(t, os.WriteFile(path, []byte("127.0.0.1"), 0o644))
	for _, shared := range []bool{false, true} {
		s := mount(t, path, shared)
		f, err := s.v.OpenPath(task, s.root, vfs.OpenOpts{Flags: unix.O_RDWR})
		must(t, err)
		if got := s.pread(f, 0); got[:8] != "127.0.0." {
			t.Errorf("read %q", got)
		}
		if _, err := f.PWrite(task, usermem.BytesSequence([]byte("2")), 8); err != nil {
			t.Error(err)
		}
		f.DecRef(task)
		if a, err := s.root.Stat(task); err != nil || a.Size != 9 || a.Mode&unix.S_IFMT != unix.S_IFREG {
			t.Errorf("%+v, %v", a, err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "127.0.0.2" {
		t.Errorf("on the host %q, %v", got, err)
	}
}

// On an overlay, as container engines make them, a walk or an open for reading copies nothing
// up, and whoever has a file open or mapped follows when it is copied up.
func TestOverlayCopyUp(t *testing.T) {
	base := t.TempDir()
	for _, d := range []string{"lower", "upper", "work", "merged"} {
		must(t, os.Mkdir(filepath.Join(base, d), 0o755))
	}
	must(t, os.WriteFile(filepath.Join(base, "lower/f"), []byte("lower data"), 0o644))
	must(t, os.Mkdir(filepath.Join(base, "lower/d"), 0o755))
	must(t, os.WriteFile(filepath.Join(base, "lower/d/g"), []byte("g"), 0o644))
	merged := filepath.Join(base, "merged")
	opts := fmt.Sprintf("lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work", base, base, base)
	if err := unix.Mount("overlay", merged, "overlay", 0, opts); err != nil {
		t.Skipf("no overlay can be mounted here: %v", err)
	}
	defer unix.Unmount(merged, unix.MNT_DETACH)
	for _, shared := range []bool{false, true} {
		t.Run(fmt.Sprintf("shared=%v", shared), func(t *testing.T) {
			s := mount(t, merged, shared)
			name := fmt.Sprintf("f%v", shared)
			must(t, os.WriteFile(filepath.Join(base, "lower", name), []byte("lower data"), 0o644))
			upper := func() bool {
				_, err := os.Lstat(filepath.Join(base, "upper", name))
				return err == nil
			}
			ro := s.open(name, unix.O_RDONLY)
			defer ro.DecRef(task)
			m, err := ro.Mappable(task)
			must(t, err)
			as := &space{}
			first := memmap.Range{Start: 0, End: 4096}
			ar := usermem.AddrRange{Start: 0x10000, End: 0x11000}
			must(t, m.AddMapping(as, ar, 0, false))
			defer m.RemoveMapping(as, ar, 0, false)
			old := translate(t, m, first, memmap.Read)
			if b := page(t, old, memmap.Read); string(b[:5]) != "lower" || upper() {
				t.Errorf("mapped %q, copied up %v", b[:5], upper())
			}
			rw := s.open(name, unix.O_RDWR)
			defer rw.DecRef(task)
			if len(as.forgot) != 1 || !upper() {
				t.Errorf("forgot %v, copied up %v", as.forgot, upper())
			}
			s.write(rw, "upper")
			if got := s.pread(ro, 0); got != "upper data" {
				t.Errorf("read %q", got)
			}
			if b := page(t, translate(t, m, first, memmap.Read), memmap.Read); string(b[:5]) != "upper" {
				t.Errorf("mapped %q", b[:5])
			}
			if a, b := s.stat(name), lstat(t, s.host(name)); a.Ino != b.Ino || a.Size != 10 {
				t.Errorf("stat %+v, host %+v", a, b)
			}
			// Names and links across the copy-up.
			must(t, s.v.LinkAt(task, s.op(name), s.op(name+"-link")))
			if a := s.stat(name + "-link"); a.Nlink != 2 || a.Ino != s.stat(name).Ino {
				t.Errorf("linked %+v", a)
			}
			if !shared {
				must(t, s.v.UnlinkAt(task, s.op("d/g")))
				must(t, s.v.RmdirAt(task, s.op("d")))
				must(t, s.v.MkdirAt(task, s.op("d"), 0o700))
			}
			if got := s.names("d"); len(got) != 2 {
				t.Errorf("%v", got)
			}
		})
	}
}

func TestManyTasksUseOneTree(t *testing.T) {
	both(t, func(t *testing.T, s *sandbox) {
		must(t, s.v.MkdirAt(task, s.op("d"), 0o755))
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				name := fmt.Sprintf("d/f%d", g%4) // two tasks a file
				for i := range 60 {
					f, err := s.v.OpenAt(task, s.op(name), vfs.OpenOpts{Flags: unix.O_CREAT | unix.O_RDWR | unix.O_APPEND, Mode: 0o600})
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := f.Write(task, usermem.BytesSequence([]byte("0123456789"))); err != nil {
						t.Error(err)
					}
					if a, err := f.Stat(task); err != nil || a.Size%10 != 0 {
						t.Errorf("%+v, %v", a, err)
					}
					f.DecRef(task)
					switch i % 10 {
					case 3:
						s.v.RenameAt(task, s.op(name), s.op("d/x"), 0)
					case 6:
						s.v.UnlinkAt(task, s.op(name))
					case 8:
						s.names("d")
					}
				}
			}()
		}
		wg.Wait()
	})
}
