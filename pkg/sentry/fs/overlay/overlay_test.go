package overlay

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/tmpfs"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

var ns = auth.NewRootUserNamespace()
var ctx = &context.Background{Creds: auth.NewRootCredentials(ns)}

// tree is a mounted filesystem.
type tree struct {
	testing.TB
	v    *vfs.VFS
	mns  *vfs.MountNamespace
	root vfs.Path
}

func (t *tree) op(path string) *vfs.PathOp {
	return &vfs.PathOp{Root: t.root, Start: t.root, Pathname: path}
}

func (t *tree) must(err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (t *tree) want(got, want error) {
	t.Helper()
	if got != want {
		t.Fatalf("got error %v, want %v", got, want)
	}
}

func (t *tree) open(path string, flags uint32) (*vfs.FileDescription, error) {
	return t.v.OpenAt(ctx, t.op(path), vfs.OpenOpts{Flags: flags, Mode: 0o644})
}

func (t *tree) mustOpen(path string, flags uint32) *vfs.FileDescription {
	t.Helper()
	fd, err := t.open(path, flags)
	if err != nil {
		t.Fatalf("open(%s): %v", path, err)
	}
	return fd
}

func (t *tree) write(path, s string) {
	t.Helper()
	fd := t.mustOpen(path, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC)
	defer fd.DecRef(ctx)
	if _, err := fd.Write(ctx, usermem.BytesSequence([]byte(s))); err != nil {
		t.Fatal(err)
	}
}

func readFD(t *tree, fd *vfs.FileDescription) string {
	b := make([]byte, 4096)
	n, err := fd.PRead(ctx, usermem.BytesSequence(b), 0)
	t.must(err)
	return string(b[:n])
}

func (t *tree) read(path string) string {
	t.Helper()
	fd := t.mustOpen(path, unix.O_RDONLY)
	defer fd.DecRef(ctx)
	return readFD(t, fd)
}

func (t *tree) stat(path string) vfs.Attr {
	t.Helper()
	o := t.op(path)
	o.NoFollow = true
	a, err := t.v.StatAt(ctx, o)
	if err != nil {
		t.Fatalf("stat(%s): %v", path, err)
	}
	return a
}

func (t *tree) statErr(path string) error {
	_, err := t.v.StatAt(ctx, t.op(path))
	return err
}

type names struct {
	s   []string
	ino map[string]uint64
}

func (n *names) Add(d vfs.Dirent) bool {
	if d.Name != "." && d.Name != ".." {
		n.s = append(n.s, d.Name)
		n.ino[d.Name] = d.Ino
	}
	return true
}

func (t *tree) ls(path string) string {
	t.Helper()
	fd := t.mustOpen(path+"/", unix.O_RDONLY|unix.O_DIRECTORY)
	defer fd.DecRef(ctx)
	n := names{ino: map[string]uint64{}}
	t.must(fd.IterDirents(ctx, &n))
	for name, ino := range n.ino {
		if st := t.stat(path + "/" + name); st.Ino != ino {
			t.Fatalf("%s/%s has inode %d in stat and %d in the listing", path, name, st.Ino, ino)
		}
	}
	slices.Sort(n.s)
	return strings.Join(n.s, " ")
}

func newTree(t testing.TB, v *vfs.VFS, fs vfs.Filesystem) *tree {
	mns := v.NewMountNamespace(ns, fs, "none", 0)
	return &tree{t, v, mns, mns.Root()}
}

// memoryFile serves all tests: each takes terabytes of addresses.
var memoryFile = sync.OnceValues(pgalloc.New)

// world is an overlay of a tmpfs over a tmpfs that fill filled.
func world(t testing.TB, fill func(*tree)) (over, lower *tree) {
	mf, err := memoryFile()
	if err != nil {
		t.Fatal(err)
	}
	v := vfs.New()
	lfs := tmpfs.New(ctx, v, mf, tmpfs.Options{Mode: 0o755})
	lower = newTree(t, v, lfs)
	if fill != nil {
		fill(lower)
	}
	fs, err := New(ctx, v, Options{Upper: tmpfs.New(ctx, v, mf, tmpfs.Options{}), Lowers: []vfs.Filesystem{borrowed{lfs}}})
	if err != nil {
		t.Fatal(err)
	}
	return newTree(t, v, fs), lower
}

func standard(l *tree) {
	l.must(l.v.MkdirAt(ctx, l.op("/d"), 0o755))
	l.must(l.v.MkdirAt(ctx, l.op("/d/e"), 0o755))
	l.write("/d/f", "lower")
	l.write("/d/e/g", "deep")
	l.write("/x", "x")
	l.must(l.v.SymlinkAt(ctx, l.op("/s"), "d/f"))
	l.must(l.v.LinkAt(ctx, l.op("/x"), l.op("/y")))
}

func TestCopyUpOnWrite(t *testing.T) {
	o, l := world(t, standard)
	ino := o.stat("/d/f").Ino
	reader := o.mustOpen("/d/f", unix.O_RDONLY)
	if o.read("/s") != "lower" || readFD(o, reader) != "lower" {
		t.Fatal("lower content")
	}
	fd := o.mustOpen("/d/f", unix.O_RDWR)
	if _, err := fd.PWrite(ctx, usermem.BytesSequence([]byte("L")), 0); err != nil {
		t.Fatal(err)
	}
	fd.DecRef(ctx)
	if s := o.read("/d/f"); s != "Lower" {
		t.Fatalf("%q", s)
	}
	if s := readFD(o, reader); s != "Lower" {
		t.Fatalf("a file opened before the copy-up reads %q", s)
	}
	reader.DecRef(ctx)
	if l.read("/d/f") != "lower" {
		t.Fatal("the lower file changed")
	}
	if o.stat("/d/f").Ino != ino {
		t.Fatal("the inode number changed")
	}
	if o.ls("/d") != "e f" || o.ls("") != "d s x y" {
		t.Fatal(o.ls("/d"), o.ls("/"))
	}
}

func TestMetadataCopyUp(t *testing.T) {
	o, l := world(t, func(l *tree) {
		standard(l)
		p, _ := l.v.LookupAt(ctx, l.op("/d/f"))
		l.must(p.SetXattr(ctx, "user.a", "1", 0))
		l.must(p.SetTimes(ctx, vfs.TimeSpec{Nanos: 1e9}, vfs.TimeSpec{Nanos: 2e9}))
		p.DecRef(ctx)
	})
	p, err := o.v.LookupAt(ctx, o.op("/d/f"))
	o.must(err)
	defer p.DecRef(ctx)
	o.must(p.Chmod(ctx, 0o600))
	a := o.stat("/d/f")
	if a.Mode != unix.S_IFREG|0o600 || a.Mtime != 2e9 || a.Size != 5 {
		t.Fatalf("%+v", a)
	}
	if s, err := p.GetXattr(ctx, "user.a"); s != "1" || err != nil {
		t.Fatal(s, err)
	}
	o.must(p.RemoveXattr(ctx, "user.a"))
	if l.stat("/d/f").Mode != unix.S_IFREG|0o644 {
		t.Fatal("lower mode changed")
	}
	d, _ := o.v.LookupAt(ctx, o.op("/d"))
	defer d.DecRef(ctx)
	names, _ := d.ListXattr(ctx)
	if len(names) != 0 {
		t.Fatal(names)
	}
}

func TestWhiteouts(t *testing.T) {
	o, l := world(t, standard)
	o.must(o.v.UnlinkAt(ctx, o.op("/d/f")))
	o.want(o.statErr("/d/f"), unix.ENOENT)
	o.want(o.v.RmdirAt(ctx, o.op("/d")), unix.ENOTEMPTY)
	o.must(o.v.UnlinkAt(ctx, o.op("/d/e/g")))
	o.must(o.v.RmdirAt(ctx, o.op("/d/e")))
	if s := o.ls("/d"); s != "" {
		t.Fatalf("%q", s)
	}
	o.must(o.v.RmdirAt(ctx, o.op("/d")))
	o.want(o.statErr("/d"), unix.ENOENT)
	o.must(o.v.MkdirAt(ctx, o.op("/d"), 0o755)) // opaque
	if s := o.ls("/d"); s != "" {
		t.Fatalf("old content shines through: %q", s)
	}
	o.want(o.statErr("/d/f"), unix.ENOENT)
	o.write("/d/f", "new")
	if o.read("/d/f") != "new" || l.read("/d/f") != "lower" {
		t.Fatal("content")
	}
	o.must(o.v.UnlinkAt(ctx, o.op("/d/f")))
	o.must(o.v.RmdirAt(ctx, o.op("/d")))
	if s := o.ls(""); s != "s x y" {
		t.Fatalf("%q", s)
	}
}

func TestRename(t *testing.T) {
	o, _ := world(t, standard)
	ren := func(from, to string, flags uint32) error { return o.v.RenameAt(ctx, o.op(from), o.op(to), flags) }
	o.must(ren("/d/f", "/d/h", 0))
	o.want(o.statErr("/d/f"), unix.ENOENT)
	if o.read("/d/h") != "lower" || o.ls("/d") != "e h" {
		t.Fatal(o.ls("/d"))
	}
	o.must(ren("/d", "/z", 0)) // a directory with lower content
	if o.read("/z/e/g") != "deep" || o.read("/z/h") != "lower" || o.ls("/z") != "e h" || o.ls("") != "s x y z" {
		t.Fatal(o.ls("/z"), o.ls(""))
	}
	o.want(o.statErr("/d"), unix.ENOENT)
	o.must(o.v.MkdirAt(ctx, o.op("/d"), 0o755))
	if o.ls("/d") != "" {
		t.Fatal("the renamed directory left its content")
	}
	o.write("/d/f", "2")
	o.must(ren("/d", "/z/e/d", 0))
	o.must(ren("/z/e", "/x", unix.RENAME_EXCHANGE))
	if o.read("/x/g") != "deep" || o.read("/x/d/f") != "2" || o.read("/z/e") != "x" {
		t.Fatal("exchange")
	}
	o.must(ren("/z/h", "/y", 0)) // over a lower file
	if o.read("/y") != "lower" || o.ls("/z") != "e" {
		t.Fatal(o.ls("/z"))
	}
	o.must(o.v.MkdirAt(ctx, o.op("/n"), 0o755))
	o.must(o.v.UnlinkAt(ctx, o.op("/z/e")))
	o.must(ren("/n", "/z", 0)) // over a directory that is only full of whiteouts
	if s := o.ls("/z"); s != "" {
		t.Fatalf("%q", s)
	}
}

func TestHardLinks(t *testing.T) {
	o, _ := world(t, standard)
	if a := o.stat("/x"); a.Nlink != 2 || a.Ino != o.stat("/y").Ino {
		t.Fatalf("%+v", a)
	}
	fd := o.mustOpen("/x", unix.O_WRONLY|unix.O_APPEND)
	fd.Write(ctx, usermem.BytesSequence([]byte("!")))
	fd.DecRef(ctx)
	o2 := o.stat("/x")
	if o.read("/y") != "x!" || o2.Nlink != 2 || o2.Ino != o.stat("/y").Ino {
		t.Fatalf("the other name reads %q, %+v", o.read("/y"), o2)
	}
	o.must(o.v.LinkAt(ctx, o.op("/y"), o.op("/d/w")))
	if o.read("/d/w") != "x!" || o.stat("/d/w").Nlink != 3 {
		t.Fatalf("%+v", o.stat("/d/w"))
	}
	o.must(o.v.UnlinkAt(ctx, o.op("/x")))
	o.must(o.v.UnlinkAt(ctx, o.op("/d/w")))
	if o.read("/y") != "x!" || o.stat("/y").Nlink != 1 {
		t.Fatalf("%q %+v", o.read("/y"), o.stat("/y"))
	}
	o.must(o.v.UnlinkAt(ctx, o.op("/y")))
	if s := o.ls(""); s != "d s" {
		t.Fatalf("%q", s)
	}
}

// space is an address space that notes what it is told to forget.
type space struct{ gone []usermem.AddrRange }

func (s *space) Invalidate(ar usermem.AddrRange, private bool) { s.gone = append(s.gone, ar) }

func TestMappingsGoOverToTheCopy(t *testing.T) {
	o, _ := world(t, standard)
	fd := o.mustOpen("/d/f", unix.O_RDONLY)
	defer fd.DecRef(ctx)
	m, err := fd.Mappable(ctx)
	o.must(err)
	var s space
	ar := usermem.AddrRange{Start: 0x10000, End: 0x11000}
	o.must(m.AddMapping(&s, ar, 0, false))
	page := memmap.Range{Start: 0, End: 4096}
	content := func() string {
		ts, err := m.Translate(page, page, memmap.Read, nil)
		o.must(err)
		b, err := ts[0].File.Blocks(ts[0].FileRange(page), memmap.Read, nil)
		o.must(err)
		return string(b[0][:5])
	}
	if content() != "lower" {
		t.Fatal(content())
	}
	o.write("/d/f", "upper")
	if content() != "upper" || len(s.gone) == 0 || s.gone[0] != ar {
		t.Fatalf("%q, forgotten %v", content(), s.gone)
	}
	m.RemoveMapping(&s, ar, 0, false)
}

func TestUnlinkedLowerFile(t *testing.T) {
	o, _ := world(t, standard)
	fd := o.mustOpen("/d/f", unix.O_RDONLY)
	o.must(o.v.UnlinkAt(ctx, o.op("/d/f")))
	p := fd.Path()
	o.must(p.Chmod(ctx, 0o600)) // copies up a file without a name
	if readFD(o, fd) != "lower" {
		t.Fatal("content")
	}
	o.want(o.statErr("/d/f"), unix.ENOENT)
	fd.DecRef(ctx)
}

func TestReadOnly(t *testing.T) {
	_, l := world(t, standard)
	fs, err := New(ctx, l.v, Options{Lowers: []vfs.Filesystem{borrowed{l.root.Mount.Filesystem()}}})
	l.must(err)
	o := newTree(t, l.v, fs)
	if o.read("/d/f") != "lower" {
		t.Fatal("content")
	}
	_, err = o.open("/d/f", unix.O_RDWR)
	o.want(err, unix.EROFS)
	o.want(o.v.UnlinkAt(ctx, o.op("/x")), unix.EROFS)
	_, err = o.open("/new", unix.O_CREAT|unix.O_RDWR)
	o.want(err, unix.EROFS)
}

func TestMountFromInside(t *testing.T) {
	_, l := world(t, standard)
	for _, d := range []string{"/up", "/work", "/low2", "/m"} {
		l.must(l.v.MkdirAt(ctx, l.op(d), 0o755))
	}
	l.write("/low2/only2", "2")
	l.write("/low2/f", "hidden")
	l.v.RegisterFilesystemType("overlay", Type{})
	l.must(l.v.Mount(ctx, l.mns, &vfs.MountRequest{Target: l.op("/m"), Type: "overlay", Data: "lowerdir=/d:/low2,upperdir=/up,workdir=/work"}))
	if l.ls("/m") != "e f only2" || l.read("/m/f") != "lower" || l.read("/m/only2") != "2" {
		t.Fatal(l.ls("/m"))
	}
	l.write("/m/only2", "changed")
	l.must(l.v.UnlinkAt(ctx, l.op("/m/f")))
	if l.read("/up/only2") != "changed" || l.stat("/up/f").Mode&unix.S_IFMT != unix.S_IFCHR {
		t.Fatal("upper directory")
	}
	l.must(l.v.Unmount(ctx, l.mns, l.op("/m"), 0))
	// Again, with the upper directory as it was left.
	l.must(l.v.Mount(ctx, l.mns, &vfs.MountRequest{Target: l.op("/m"), Type: "overlay", Data: "lowerdir=/d:/low2,upperdir=/up,workdir=/work"}))
	if s := l.ls("/m"); s != "e only2" || l.read("/m/only2") != "changed" {
		t.Fatal(s)
	}
}

func TestConcurrentCopyUp(t *testing.T) {
	o, _ := world(t, func(l *tree) {
		l.must(l.v.MkdirAt(ctx, l.op("/p"), 0o755))
		l.must(l.v.MkdirAt(ctx, l.op("/p/q"), 0o755))
		for i := range 8 {
			l.write(fmt.Sprintf("/p/q/f%d", i), "0")
		}
	})
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			name := fmt.Sprintf("/p/q/f%d", i%8)
			fd, err := o.open(name, unix.O_WRONLY|unix.O_APPEND)
			if err != nil {
				if err != unix.ENOENT {
					t.Error(err)
				}
				return
			}
			fd.Write(ctx, usermem.BytesSequence([]byte("1")))
			fd.DecRef(ctx)
			if i >= 12 {
				o.v.RenameAt(ctx, o.op(name), o.op(name+"r"), 0)
			}
		})
	}
	wg.Wait()
	if n := len(strings.Fields(o.ls("/p/q"))); n != 8 {
		t.Fatal(o.ls("/p/q"))
	}
}
