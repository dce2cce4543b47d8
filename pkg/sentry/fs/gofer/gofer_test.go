package gofer

import (
	"fmt"
	"sort"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/p9"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

// What works with a good gofer is tested in runsc/fsgofer, through the whole chain. Here are
// the bad ones.

var task = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

// badNode is what a hostile gofer serves. Methods that are not overridden are never reached,
// and panic.
type badNode struct {
	p9.Node
	attr p9.Attr
	walk func(name string) p9.Attr
	open int // descriptor to donate
}

func (n *badNode) Attach(string) (p9.Node, error) { return n, nil }
func (n *badNode) GetAttr() (p9.Attr, error)      { return n.attr, nil }
func (n *badNode) Close()                         {}

func (n *badNode) Walk(name string) (p9.Node, p9.Attr, error) {
	a := n.walk(name)
	return &badNode{attr: a, walk: n.walk, open: n.open}, a, nil
}

func (n *badNode) Open(uint32) (p9.Handle, error) { return badHandle{fd: n.open}, nil }

// badHandle lists the same entry for ever.
type badHandle struct {
	p9.Handle
	fd int
}

func (h badHandle) FD() int { return h.fd }
func (badHandle) Close()    {}

func (badHandle) ReadDir(_ uint64, emit func(*p9.Dirent) bool) error {
	for emit(&p9.Dirent{Name: "again", Offset: 1}) {
	}
	return nil
}

func (badHandle) Stat(string) (p9.Attr, error) { return p9.Attr{}, unix.EIO }

func attr(mode uint32, key uint64) p9.Attr {
	return p9.Attr{Valid: p9.AttrBasic, Mode: mode, QID: p9.QID{Type: p9.QIDTypeOf(mode), Path: key}, Size: 1 << 63}
}

// mountBad mounts what the node serves.
func mountBad(t *testing.T, n *badNode, shared bool) (*vfs.VFS, vfs.Path) {
	t.Helper()
	s, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); p9.Serve(s[1], n) }()
	v := vfs.New()
	fs, err := New(v, s[0], Options{Shared: shared})
	if err != nil {
		t.Fatal(err)
	}
	m := v.NewDetachedMount(fs, "none", 0)
	t.Cleanup(func() {
		m.DecRef(task)
		<-done
		if len(fs.inodes) != 0 || fs.hostFDs.Load() != 0 || fs.listed.Load() != 0 {
			t.Errorf("left: %d inodes, %d descriptors, %d listed names", len(fs.inodes), fs.hostFDs.Load(), fs.listed.Load())
		}
	})
	return v, m.RootPath()
}

func at(root vfs.Path, name string) *vfs.PathOp {
	return &vfs.PathOp{Root: root, Start: root, Pathname: name, NoFollow: true}
}

func TestDirectoryInsideItself(t *testing.T) {
	for _, shared := range []bool{false, true} {
		// Every name leads to one of three directories.
		n := &badNode{attr: attr(unix.S_IFDIR|0o755, 1), walk: func(name string) p9.Attr {
			return attr(unix.S_IFDIR|0o755, uint64(len(name)))
		}, open: -1}
		v, root := mountBad(t, n, shared)
		for path, want := range map[string]error{
			"a": unix.ELOOP, "aa": nil, "aa/aaa": nil, "aa/aa": unix.ELOOP, "aa/a": unix.ELOOP, "aa/aaa/aa": unix.ELOOP,
			"aa/aaa/a/b/c": unix.ELOOP,
		} {
			if _, err := v.StatAt(task, at(root, path)); err != want && !(err == nil && want == nil) {
				t.Errorf("shared %v: stat(%s) = %v, want %v", shared, path, err, want)
			}
		}
		// A move of one directory while the other is cached.
		v.StatAt(task, at(root, "aaa/aa"))
		v.StatAt(task, at(root, "aa/aaa"))
	}
}

func TestEndlessListing(t *testing.T) {
	n := &badNode{attr: attr(unix.S_IFDIR|0o755, 1), walk: func(name string) p9.Attr {
		return attr(unix.S_IFREG|0o644, 2)
	}, open: -1}
	v, root := mountBad(t, n, false)
	for i := range 10 {
		if _, err := v.StatAt(task, at(root, fmt.Sprint(i))); err != nil {
			t.Error(err)
		}
	}
}

func TestDonatedDescriptorThatIsNoFile(t *testing.T) {
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	for _, donate := range []int{pipe[0], -1} {
		n := &badNode{attr: attr(unix.S_IFDIR|0o755, 1), walk: func(name string) p9.Attr {
			return attr(unix.S_IFREG|0o644, 2)
		}, open: donate}
		v, root := mountBad(t, n, false)
		a, err := v.StatAt(task, at(root, "f"))
		if err != nil || int64(a.Size) < 0 {
			t.Errorf("stat = %+v, %v", a, err)
		}
		if f, err := v.OpenAt(task, at(root, "f"), vfs.OpenOpts{Flags: unix.O_RDWR}); err == nil {
			f.DecRef(task)
			t.Error("open succeeded")
		}
	}
}

func TestKindOfFileChanges(t *testing.T) {
	var mode atomic.Uint32
	mode.Store(unix.S_IFREG)
	n := &badNode{attr: attr(unix.S_IFDIR|0o755, 1), open: -1}
	n.walk = func(string) p9.Attr { return attr(mode.Load()|0o644, 2) }
	v, root := mountBad(t, n, true)
	p, err := v.LookupAt(task, at(root, "f"))
	if err != nil {
		t.Fatal(err)
	}
	mode.Store(unix.S_IFLNK)
	a, err := v.StatAt(task, at(root, "f"))
	if err != nil || a.Mode&unix.S_IFMT != unix.S_IFLNK {
		t.Errorf("stat = %o, %v", a.Mode, err)
	}
	if m, _, _ := p.Inode().Owner(); m&unix.S_IFMT != unix.S_IFREG {
		t.Errorf("the first inode became %o", m)
	}
	p.DecRef(task)
}

func TestCutMappings(t *testing.T) {
	r := func(start, end uintptr, offset uint64) mapping {
		return mapping{usermem.AddrRange{Start: start, End: end}, offset}
	}
	for _, c := range []struct {
		name string
		list []mapping
		gone mapping
		want string
	}{
		{"all", []mapping{r(0, 10, 0)}, r(0, 10, 0), "[]"},
		{"middle", []mapping{r(0, 10, 5)}, r(3, 4, 8), "[0-3@5 4-10@9]"},
		{"head of one, tail of another", []mapping{r(0, 10, 0), r(10, 20, 10)}, r(5, 15, 5), "[0-5@0 15-20@15]"},
		{"one of two alike", []mapping{r(0, 10, 0), r(0, 10, 0)}, r(0, 10, 0), "[0-10@0]"},
		{"the old one of two", []mapping{r(0, 10, 0), r(0, 10, 100)}, r(0, 10, 0), "[0-10@100]"},
		{"part of two alike", []mapping{r(0, 10, 0), r(4, 6, 4)}, r(4, 6, 4), "[0-4@0 4-6@4 6-10@6]"},
		{"none", []mapping{r(0, 10, 0)}, r(0, 10, 4), "[0-10@0]"},
	} {
		var got []string
		for _, m := range cut(c.list, c.gone) {
			got = append(got, fmt.Sprintf("%d-%d@%d", m.ar.Start, m.ar.End, m.offset))
		}
		sort.Slice(got, func(i, j int) bool { return len(got[i]) < len(got[j]) || len(got[i]) == len(got[j]) && got[i] < got[j] })
		if fmt.Sprint(got) != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

func TestHostFileLivesWithItsPages(t *testing.T) {
	memfd, err := unix.MemfdCreate("x", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	unix.Ftruncate(memfd, 3*chunkSize)
	fs := &Filesystem{}
	h := fs.newHostFile(fd.New(memfd), unix.O_RDWR)
	fr := memmap.Range{Start: chunkSize - 4096, End: 2*chunkSize + 4096}
	h.IncRef(fr)
	blocks, err := h.Blocks(fr, memmap.ReadWrite, nil)
	if err != nil || len(blocks) != 3 {
		t.Fatalf("Blocks = %d, %v", len(blocks), err)
	}
	blocks[2][4095] = 'x'
	var b [1]byte
	if _, err := unix.Pread(memfd, b[:], 2*chunkSize+4095); err != nil || b[0] != 'x' {
		t.Errorf("the file holds %q, %v", b, err)
	}
	h.drop(1) // the owner
	if h.fd.Num() < 0 {
		t.Fatal("closed while pages are in use")
	}
	h.DecRef(memmap.Range{Start: fr.Start, End: chunkSize})
	h.DecRef(memmap.Range{Start: chunkSize, End: fr.End})
	if h.fd.Num() >= 0 || fs.hostFDs.Load() != 0 {
		t.Error("not closed with the last page")
	}
}

func TestTimes(t *testing.T) {
	for _, ns := range []int64{0, 1, -1, second, -second, -second - 1, 1<<63 - 1, -1 << 63} {
		if p := p9Time(ns); p.Nsec < 0 || p.Nsec >= second || nanos(p) != ns {
			t.Errorf("%d becomes %+v", ns, p)
		}
	}
}
