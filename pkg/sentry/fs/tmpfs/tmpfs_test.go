package tmpfs

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

var (
	userNS = auth.NewRootUserNamespace()
	ctx    = &context.Background{Creds: auth.NewRootCredentials(userNS)}

	// memoryFile serves all tests: each takes terabytes of addresses.
	memoryFile = sync.OnceValues(pgalloc.New)
)

func newFS(t testing.TB, o Options) (*vfs.VFS, *Filesystem) {
	mf, err := memoryFile()
	if err != nil {
		t.Fatal(err)
	}
	v := vfs.New()
	return v, New(ctx, v, mf, o)
}

// newFile makes a regular file.
func newFile(t testing.TB, fs *Filesystem) (*regular, *regularFile) {
	t.Helper()
	i, err := fs.root.Create(ctx, fmt.Sprintf("f%d", fs.lastIno.Load()), vfs.NewOwner{Mode: 0o644})
	if err != nil {
		t.Fatal(err)
	}
	r := i.(*regular)
	return r, &r.file
}

func seq(b []byte) usermem.Sequence { return usermem.BytesSequence(b) }

func write(t testing.TB, f *regularFile, off int64, b []byte) {
	t.Helper()
	if n, _, err := f.Write(ctx, seq(b), off, false); n != len(b) || err != nil {
		t.Fatalf("write of %d bytes at %d: %d, %v", len(b), off, n, err)
	}
}

func read(t testing.TB, f *regularFile, off int64, n int) []byte {
	t.Helper()
	b := bytes.Repeat([]byte{0xee}, n)
	m, err := f.Read(ctx, seq(b), off)
	if err != nil {
		t.Fatal(err)
	}
	return b[:m]
}

func TestSparseContent(t *testing.T) {
	_, fs := newFS(t, Options{})
	r, f := newFile(t, fs)
	write(t, f, 10000, []byte("abc"))
	if got := read(t, f, 9998, 100); !bytes.Equal(got, []byte("\x00\x00abc")) {
		t.Fatalf("%q", got)
	}
	write(t, f, 1<<40, []byte("far"))
	st, _ := r.Stat(ctx)
	if st.Size != 1<<40+3 || st.Blocks != 16 {
		t.Fatalf("%+v", st)
	}
	for _, c := range []struct {
		whence int32
		at     int64
		want   int64
		err    error
	}{
		{unix.SEEK_DATA, 0, 8192, nil}, {unix.SEEK_DATA, 9000, 9000, nil}, {unix.SEEK_HOLE, 0, 0, nil},
		{unix.SEEK_HOLE, 8192, 12288, nil}, {unix.SEEK_DATA, 12288, 1 << 40, nil}, {unix.SEEK_HOLE, 1 << 40, 1<<40 + 3, nil},
		{unix.SEEK_DATA, 1<<40 + 3, 0, unix.ENXIO}, {unix.SEEK_HOLE, 1 << 41, 0, unix.ENXIO},
	} {
		if got, err := f.Seek(ctx, c.at, c.whence, 0); got != c.want || err != c.err {
			t.Errorf("seek(%d, %d) = %d, %v; want %d, %v", c.at, c.whence, got, err, c.want, c.err)
		}
	}
}

func TestTruncateZeroesAndInvalidates(t *testing.T) {
	_, fs := newFS(t, Options{})
	r, f := newFile(t, fs)
	write(t, f, 0, bytes.Repeat([]byte("x"), 3*pageSize))
	var s space
	if err := r.AddMapping(&s, usermem.AddrRange{Start: 0x10000, End: 0x13000}, 0, false); err != nil {
		t.Fatal(err)
	}
	set := func(size uint64) {
		if err := r.SetAttr(ctx, vfs.SetAttr{Mask: vfs.SetSize, Size: size}); err != nil {
			t.Fatal(err)
		}
	}
	set(100)
	if want := []usermem.AddrRange{{Start: 0x11000, End: 0x13000}}; !slices.Equal(s.gone, want) {
		t.Fatalf("forgotten %v, want %v", s.gone, want)
	}
	set(200)
	if got := read(t, f, 99, 200); !bytes.Equal(got, append([]byte("x"), make([]byte, 100)...)) {
		t.Fatalf("%q", got)
	}
	if fs.pages.Load() != 1 {
		t.Fatalf("%d pages", fs.pages.Load())
	}
	page := memmap.Range{Start: 0, End: pageSize}
	if _, err := r.Translate(memmap.Range{Start: pageSize, End: 2 * pageSize}, memmap.Range{Start: 0, End: 1 << 20}, memmap.Read, nil); err != unix.EFAULT {
		t.Fatalf("translation beyond the end: %v", err)
	}
	ts, err := r.Translate(page, page, memmap.Read, nil)
	if err != nil || len(ts) != 1 || ts[0].Source != page {
		t.Fatal(ts, err)
	}
}

type space struct{ gone []usermem.AddrRange }

func (s *space) Invalidate(ar usermem.AddrRange, _ bool) { s.gone = append(s.gone, ar) }

func TestMappingsAndFileAreOne(t *testing.T) {
	_, fs := newFS(t, Options{})
	r, f := newFile(t, fs)
	r.SetAttr(ctx, vfs.SetAttr{Mask: vfs.SetSize, Size: 1 << 20})
	req := memmap.Range{Start: 5 * pageSize, End: 6 * pageSize}
	ts, err := r.Translate(req, memmap.Range{Start: 0, End: 1 << 20}, memmap.ReadWrite, nil)
	if err != nil {
		t.Fatal(err)
	}
	pos := ts[0].Source.Start
	for _, x := range ts {
		if x.Source.Start != pos {
			t.Fatalf("gap before %+v", x)
		}
		pos = x.Source.End
		if x.Source.IsSupersetOf(req) {
			b, _ := x.File.Blocks(x.FileRange(req), memmap.ReadWrite, nil)
			copy(b[0], "mapped")
		}
	}
	if got := read(t, f, 5*pageSize, 6); string(got) != "mapped" {
		t.Fatalf("%q", got)
	}
}

func TestFallocate(t *testing.T) {
	_, fs := newFS(t, Options{Size: 64 << 10})
	r, f := newFile(t, fs)
	alloc := func(mode uint32, off, n int64, want error) {
		t.Helper()
		if err := f.Allocate(ctx, mode, off, n); err != want {
			t.Fatalf("fallocate(%#x, %d, %d): %v, want %v", mode, off, n, err, want)
		}
	}
	alloc(0, 0, 10000, nil)
	alloc(unix.FALLOC_FL_KEEP_SIZE, 0, 20000, nil)
	if st, _ := r.Stat(ctx); st.Size != 10000 || st.Blocks != 5*8 {
		t.Fatalf("%+v", st)
	}
	write(t, f, 0, bytes.Repeat([]byte("y"), 20000))
	alloc(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 100, 9000, nil)
	if st, _ := r.Stat(ctx); st.Blocks != 4*8 {
		t.Fatalf("%+v", st)
	}
	got := read(t, f, 0, 20000)
	for i, c := range got {
		if (c == 0) != (i >= 100 && i < 9100) {
			t.Fatalf("byte %d is %d", i, c)
		}
	}
	alloc(0, 0, 1<<20, unix.ENOSPC)
	alloc(unix.FALLOC_FL_COLLAPSE_RANGE, 0, pageSize, unix.EOPNOTSUPP)
	if n, _, err := f.Write(ctx, seq(make([]byte, 1<<20)), 0, false); n != 64<<10 || err != nil {
		t.Fatalf("write to a full filesystem: %d, %v", n, err)
	}
	if _, _, err := f.Write(ctx, seq(make([]byte, 1)), 64<<10, false); err != unix.ENOSPC {
		t.Fatal(err)
	}
	if st, _ := fs.StatFS(ctx); st.BlocksFree != 0 || st.Blocks != 16 {
		t.Fatalf("%+v", st)
	}
	fs.root.Unlink(ctx, "f1", r)
	vfs.PutInode(ctx, r)
	if st, _ := fs.StatFS(ctx); st.BlocksFree != 16 {
		t.Fatalf("memory is not given back: %+v", st)
	}
}

func TestSeals(t *testing.T) {
	_, fs := newFS(t, Options{})
	fd := fs.NewMemfd(ctx, "m", true, false)
	defer fd.DecRef(ctx)
	f := fd.File().(*regularFile)
	if fd.Path().String() != "/memfd:m (deleted)" {
		t.Fatal(fd.Path().String())
	}
	write(t, f, 0, []byte("data"))
	var s space
	ar := usermem.AddrRange{Start: 0x1000, End: 0x2000}
	f.r.AddMapping(&s, ar, 0, true)
	if err := f.AddSeals(unix.F_SEAL_WRITE); err != unix.EBUSY {
		t.Fatal(err)
	}
	f.r.RemoveMapping(&s, ar, 0, true)
	if err := f.AddSeals(unix.F_SEAL_GROW | unix.F_SEAL_SHRINK); err != nil {
		t.Fatal(err)
	}
	if err := fd.Truncate(ctx, 2); err != unix.EPERM {
		t.Fatal(err)
	}
	if _, _, err := f.Write(ctx, seq([]byte("x")), 4, false); err != unix.EPERM {
		t.Fatal(err)
	}
	write(t, f, 0, []byte("DATA"))
	if err := f.AddSeals(unix.F_SEAL_WRITE | unix.F_SEAL_SEAL); err != nil {
		t.Fatal(err)
	}
	if _, _, err := f.Write(ctx, seq([]byte("x")), 0, false); err != unix.EPERM {
		t.Fatal(err)
	}
	if err := f.r.AddMapping(&s, ar, 0, true); err != unix.EPERM {
		t.Fatal(err)
	}
	if err := f.AddSeals(unix.F_SEAL_GROW); err != unix.EPERM {
		t.Fatal(err)
	}
	plain := fs.NewMemfd(ctx, "p", false, false)
	defer plain.DecRef(ctx)
	if err := plain.File().(Sealer).AddSeals(unix.F_SEAL_GROW); err != unix.EPERM {
		t.Fatal(err)
	}
}

type sink struct {
	names []string
	max   int
}

func (s *sink) Add(d vfs.Dirent) bool {
	if len(s.names) == s.max {
		return false
	}
	s.names = append(s.names, d.Name)
	return true
}

func TestListingWhileEntriesGo(t *testing.T) {
	_, fs := newFS(t, Options{})
	for i := range 100 {
		i, err := fs.root.Create(ctx, fmt.Sprint(i), vfs.NewOwner{})
		if err != nil {
			t.Fatal(err)
		}
		vfs.PutInode(ctx, i)
	}
	f := &fs.root.file
	seen := map[string]bool{}
	off := int64(0)
	for round := 0; ; round++ {
		s := sink{max: 7}
		next, err := f.IterDirents(ctx, off, &s)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.names) == 0 {
			break
		}
		for _, n := range s.names {
			if seen[n] {
				t.Fatalf("%s twice", n)
			}
			seen[n] = true
			if n[0] != '.' {
				fs.root.Unlink(ctx, n, nil)
			}
		}
		off = next
	}
	if len(seen) != 102 || !fs.root.isEmpty() {
		t.Fatalf("%d names", len(seen))
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		data, text string
		bad        bool
	}{
		{"size=1m,mode=700,uid=5,gid=6,nr_inodes=1k", "size=1024k,nr_inodes=1024,mode=700,uid=5,gid=6", false},
		{"size=50%", "size=512k", false},
		{"nr_blocks=3", "size=12k", false},
		{"mode=0", "mode=000", false},
		{"size=4097,huge=never", "size=8k", false},
		{"size=lots", "", true}, {"colour=red", "", true}, {"mode=9", "", true}, {"uid=-1", "", true}, {"size=99999999999999999t", "", true},
	} {
		o := Options{}
		err := ParseOptions(c.data, 1<<20, userNS, &o)
		if (err != nil) != c.bad {
			t.Errorf("%s: %v", c.data, err)
			continue
		}
		if err == nil {
			if _, fs := newFS(t, o); fs.Options() != c.text {
				t.Errorf("%s gives %q, want %q", c.data, fs.Options(), c.text)
			}
		}
	}
}

func TestInodeLimit(t *testing.T) {
	_, fs := newFS(t, Options{Inodes: 3})
	a, err1 := fs.root.Create(ctx, "a", vfs.NewOwner{})
	_, err2 := fs.root.Mkdir(ctx, "b", vfs.NewOwner{})
	_, err3 := fs.root.Symlink(ctx, "c", "x", vfs.NewOwner{})
	if err1 != nil || err2 != nil || err3 != unix.ENOSPC {
		t.Fatal(err1, err2, err3)
	}
	vfs.PutInode(ctx, a)
	fs.root.Unlink(ctx, "a", a)
	if _, err := fs.root.Symlink(ctx, "c", "x", vfs.NewOwner{}); err != nil {
		t.Fatal(err)
	}
}

func TestConcurrentIO(t *testing.T) {
	_, fs := newFS(t, Options{})
	r, f := newFile(t, fs)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			b := bytes.Repeat([]byte{byte('a' + i)}, 5000)
			for range 50 {
				f.Write(ctx, seq(b), 0, true)
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			b := make([]byte, 10000)
			n, _ := f.Read(ctx, seq(b), 0)
			for i := 0; i+5000 <= n; i += 5000 {
				if !bytes.Equal(b[i:i+5000], bytes.Repeat(b[i:i+1], 5000)) {
					t.Error("an append was torn")
				}
			}
			r.Translate(memmap.Range{Start: 0, End: pageSize}, memmap.Range{Start: 0, End: 1 << 20}, memmap.Read, nil)
		}
	})
	wg.Wait()
	if st, _ := r.Stat(ctx); st.Size != 4*50*5000 {
		t.Fatal(st.Size)
	}
}

func BenchmarkWrite4KSequential(b *testing.B) {
	_, fs := newFS(b, Options{})
	_, f := newFile(b, fs)
	buf := seq(make([]byte, 4096))
	b.ReportAllocs()
	b.SetBytes(4096)
	off := int64(0)
	for b.Loop() {
		f.Write(ctx, buf, off, false)
		if off += 4096; off == 64<<20 {
			off = 0
		}
	}
}

func BenchmarkRead4K(b *testing.B) {
	_, fs := newFS(b, Options{})
	_, f := newFile(b, fs)
	write(b, f, 0, make([]byte, 4096))
	buf := seq(make([]byte, 4096))
	b.ReportAllocs()
	b.SetBytes(4096)
	for b.Loop() {
		f.Read(ctx, buf, 0)
	}
}
