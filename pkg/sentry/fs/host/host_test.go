package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

var ctx = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

func newFile(t *testing.T, fs *Filesystem, n int) *vfs.FileDescription {
	t.Helper()
	f, err := fs.NewFile(fd.New(n), Options{UID: 7})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func newFS(t *testing.T) *Filesystem {
	fs := New(vfs.New())
	t.Cleanup(func() { fs.Release(ctx) })
	return fs
}

func seq(b []byte) usermem.Sequence { return usermem.BytesSequence(b) }

// listener counts notifications.
type listener chan waiter.EventMask

func (l listener) NotifyEvent(m waiter.EventMask) {
	select {
	case l <- m:
	default:
	}
}

func TestPipeNeverBlocksAndWakes(t *testing.T) {
	fs := newFS(t)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil { // blocking on purpose
		t.Fatal(err)
	}
	r, w := newFile(t, fs, p[0]), newFile(t, fs, p[1])
	defer r.DecRef(ctx)
	buf := make([]byte, 8)
	if n, err := r.Read(ctx, seq(buf)); err != unix.EAGAIN {
		t.Fatalf("read of an empty pipe: %d, %v", n, err)
	}
	l := make(listener, 8)
	e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: l}
	if err := r.EventRegister(&e); err != nil {
		t.Fatal(err)
	}
	if n, err := w.Write(ctx, seq([]byte("hi"))); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	select {
	case m := <-l:
		if m&waiter.EventIn == 0 {
			t.Fatalf("event %#x", m)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
	}
	r.EventUnregister(&e)
	if n, err := r.Read(ctx, seq(buf)); n != 2 || err != nil || string(buf[:2]) != "hi" {
		t.Fatal(n, err)
	}
	// Fill it: a short count, then EAGAIN.
	big := make([]byte, 1<<20)
	n, err := w.Write(ctx, seq(big))
	if n <= 0 || n >= len(big) {
		t.Fatal(n, err)
	}
	if n, err := w.Write(ctx, seq(big)); n != 0 || err != unix.EAGAIN {
		t.Fatal(n, err)
	}
	if w.Readiness(waiter.WritableEvents) != 0 || r.Readiness(waiter.ReadableEvents)&waiter.EventIn == 0 {
		t.Fatal("readiness")
	}
	w.DecRef(ctx)
	for {
		n, err := r.Read(ctx, seq(big))
		if err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			break // end of file
		}
	}
}

func TestBrokenPipe(t *testing.T) {
	fs := newFS(t)
	var p [2]int
	if err := unix.Pipe2(p[:], unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	unix.Close(p[0])
	w := newFile(t, fs, p[1])
	defer w.DecRef(ctx)
	if _, err := w.Write(ctx, seq([]byte("x"))); err != unix.EPIPE {
		t.Fatal(err)
	}
	if _, err := w.Read(ctx, seq(make([]byte, 1))); err != unix.EBADF {
		t.Fatal(err)
	}
}

func TestSocket(t *testing.T) {
	fs := newFS(t)
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, b := newFile(t, fs, p[0]), newFile(t, fs, p[1])
	defer a.DecRef(ctx)
	defer b.DecRef(ctx)
	buf := make([]byte, 8)
	if _, err := a.Read(ctx, seq(buf)); err != unix.EAGAIN {
		t.Fatal(err)
	}
	b.Write(ctx, seq([]byte("abc")))
	if n, err := a.Read(ctx, seq(buf)); n != 3 || err != nil {
		t.Fatal(n, err)
	}
	st, err := a.Stat(ctx)
	if err != nil || st.Mode&unix.S_IFMT != unix.S_IFSOCK || st.UID != 7 {
		t.Fatalf("%+v %v", st, err)
	}
	if !strings.HasPrefix(a.Path().String(), "socket:[") {
		t.Fatal(a.Path().String())
	}
}

func TestRegularFileKeepsHostPosition(t *testing.T) {
	fs := newFS(t)
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	n, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	other, err := unix.Dup(n) // another process that shares the description
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(other)
	f := newFile(t, fs, n)
	defer f.DecRef(ctx)
	buf := make([]byte, 2)
	f.Read(ctx, seq(buf))
	unix.Read(other, buf)
	if string(buf) != "23" || f.Offset() != 4 {
		t.Fatalf("%q, offset %d", buf, f.Offset())
	}
	if n, err := f.PRead(ctx, seq(buf), 8); n != 2 || err != nil || string(buf) != "89" || f.Offset() != 4 {
		t.Fatal(n, err, f.Offset())
	}
	if off, err := f.Seek(ctx, -1, unix.SEEK_END); off != 9 || err != nil {
		t.Fatal(off, err)
	}
	f.Write(ctx, seq([]byte("XY")))
	if b, _ := os.ReadFile(name); string(b) != "012345678XY" {
		t.Fatalf("%q", b)
	}
	// Registering with a file that epoll refuses works all the same.
	e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: make(listener, 1)}
	if err := f.EventRegister(&e); err != nil {
		t.Fatal(err)
	}
	f.EventUnregister(&e)
}

func TestDirectoriesAreRefused(t *testing.T) {
	fs := newFS(t)
	n, err := unix.Open("/", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.NewFile(fd.New(n), Options{}); err == nil {
		t.Fatal("a directory of the host was let in")
	}
}

func TestTerminal(t *testing.T) {
	fs := newFS(t)
	master, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no ptys here: ", err)
	}
	defer unix.Close(master)
	unix.IoctlSetPointerInt(master, unix.TIOCSPTLCK, 0)
	var n uint32
	if n, err = unix.IoctlGetUint32(master, unix.TIOCGPTN); err != nil {
		t.Skip(err)
	}
	s, err := unix.Open("/dev/pts/"+itoa(n), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip(err)
	}
	f := newFile(t, fs, s)
	defer f.DecRef(ctx)
	buf := make([]byte, 64)
	if _, err := f.Read(ctx, seq(buf)); err != unix.EAGAIN {
		t.Fatal(err)
	}
	io := &usermem.Bytes{B: buf}
	if _, err := f.Ioctl(ctx, io, unix.TCGETS, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Ioctl(ctx, io, unix.TCSETS, 0); err != unix.EPERM {
		t.Fatal(err)
	}
	if _, err := f.Ioctl(ctx, io, unix.TIOCSTI, 0); err != unix.ENOTTY {
		t.Fatal(err)
	}
	unix.Write(master, []byte("line\n"))
	for range 1000 {
		k, err := f.Read(ctx, seq(buf))
		if err == unix.EAGAIN {
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil || string(buf[:k]) != "line\n" {
			t.Fatalf("%q %v", buf[:k], err)
		}
		return
	}
	t.Fatal("nothing came")
}

func itoa(n uint32) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}
