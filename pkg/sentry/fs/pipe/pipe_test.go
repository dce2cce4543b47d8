package pipe

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

var (
	bg   = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}
	user = auth.NewUserCredentials(1000, 1000, nil, 0, 0, 0, 0, 0, auth.NewRootUserNamespace())
)

func seq(n int, c byte) usermem.Sequence {
	return usermem.BytesSequence(bytes.Repeat([]byte{c}, n))
}

func write(t *testing.T, e *End, n int) (int, error) {
	t.Helper()
	m, _, err := e.Write(bg, seq(n, 'x'), -1, false)
	return m, err
}

func read(t *testing.T, e *End, n int) (int, error) {
	t.Helper()
	return e.Read(bg, usermem.BytesSequence(make([]byte, n)), -1)
}

func TestCapacityAndAtomicity(t *testing.T) {
	for _, chunk := range []int{1, 64, 100, 4095, 4096, 4097, 65536, 100000} {
		r, w := New(&Limits{}, bg.Creds, 0)
		total := 0
		for {
			n, err := write(t, w, chunk)
			if err == unix.EAGAIN {
				break
			}
			if err != nil || chunk <= AtomicSize && n != chunk {
				t.Fatalf("write of %d: %d, %v", chunk, n, err)
			}
			total += n
		}
		if 65536%chunk == 0 && total != 65536 {
			t.Errorf("chunks of %d: pipe holds %d", chunk, total)
		}
		if w.Readiness(waiter.EventOut) != 0 {
			t.Error("a full pipe is writable")
		}
		if n, _ := read(t, r, 4096); n != 4096 && chunk != 4095 && chunk != 100 {
			t.Errorf("read %d", n)
		}
		if chunk > 1000 && w.Readiness(waiter.EventOut) == 0 {
			t.Errorf("chunks of %d: not writable after a page was read", chunk)
		}
	}
}

// TestStream checks content against a plain buffer under random operations.
func TestStream(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	r, w := New(&Limits{}, bg.Creds, 0)
	var model bytes.Buffer
	next := byte(0)
	for range 20000 {
		n := 1 + rnd.IntN(1<<rnd.IntN(18))
		if rnd.IntN(2) == 0 {
			b := make([]byte, n)
			for i := range b {
				b[i] = next + byte(i)
			}
			m, _, err := w.Write(bg, usermem.BytesSequence(b), -1, false)
			if err != nil && err != unix.EAGAIN {
				t.Fatal(err)
			}
			model.Write(b[:m])
			next += byte(m)
		} else {
			b, want := make([]byte, n), make([]byte, n)
			m, err := r.Read(bg, usermem.BytesSequence(b), -1)
			if err == unix.EAGAIN && model.Len() == 0 {
				continue
			}
			if err != nil || m != min(n, model.Len()) {
				t.Fatalf("read(%d) = %d, %v with %d in the pipe", n, m, err, model.Len())
			}
			io.ReadFull(&model, want[:m])
			if !bytes.Equal(b[:m], want[:m]) {
				t.Fatal("content differs")
			}
		}
		if r.pipe.Len() != model.Len() {
			t.Fatalf("Len %d, want %d", r.pipe.Len(), model.Len())
		}
	}
}

func TestEndOfFileAndBrokenPipe(t *testing.T) {
	r, w := New(&Limits{}, bg.Creds, 0)
	if _, err := read(t, r, 1); err != unix.EAGAIN {
		t.Errorf("empty: %v", err)
	}
	write(t, w, 3)
	w.Release(bg)
	if got := r.Readiness(waiter.AllEvents); got != waiter.EventIn|waiter.EventRdNorm|waiter.EventHUp {
		t.Errorf("readiness %#x", got)
	}
	if n, err := read(t, r, 10); n != 3 || err != nil {
		t.Errorf("rest: %d, %v", n, err)
	}
	if n, err := read(t, r, 10); n != 0 || err != nil {
		t.Errorf("end: %d, %v", n, err)
	}

	r, w = New(&Limits{}, bg.Creds, 0)
	r.Release(bg)
	if _, err := write(t, w, 1); err != unix.EPIPE {
		t.Errorf("no reader: %v", err)
	}
	if n, err := write(t, w, 0); n != 0 || err != nil {
		t.Errorf("null write: %d, %v", n, err)
	}
	if got := w.Readiness(waiter.AllEvents); got != waiter.EventOut|waiter.EventWrNorm|waiter.EventErr {
		t.Errorf("readiness %#x", got)
	}
	if _, err := read(t, w, 1); err != unix.EBADF {
		t.Errorf("read of the write end: %v", err)
	}
}

func TestPackets(t *testing.T) {
	r, w := New(&Limits{}, bg.Creds, unix.O_DIRECT)
	write(t, w, 10)
	write(t, w, 5000) // becomes two packets
	for _, want := range []int{10, 4096, 904} {
		if n, _ := read(t, r, 8000); n != want {
			t.Errorf("packet of %d, want %d", n, want)
		}
	}
	write(t, w, 10)
	write(t, w, 20)
	if n, _ := read(t, r, 4); n != 4 {
		t.Errorf("short read %d", n)
	}
	if n, _ := read(t, r, 100); n != 20 {
		t.Errorf("the rest of a packet was not dropped: %d", n)
	}
	w.FlagsChanged(0)
	write(t, w, 1)
	write(t, w, 1)
	if n, _ := read(t, r, 100); n != 2 {
		t.Errorf("stream mode: %d", n)
	}
}

func TestResize(t *testing.T) {
	l := &Limits{}
	r, w := New(l, user, 0)
	for _, test := range []struct {
		creds *auth.Credentials
		size  uint64
		want  int
		err   error
	}{
		{user, 0, 4096, nil},
		{user, 4097, 8192, nil},
		{user, 1 << 20, 1 << 20, nil},
		{user, 1<<20 + 1, 0, unix.EPERM},
		{bg.Creds, 1<<20 + 1, 1 << 21, nil},
		{bg.Creds, 1 << 32, 0, unix.EINVAL},
		{user, 65536, 65536, nil},
	} {
		if n, err := w.SetPipeSize(test.creds, test.size); err != test.err || n != test.want {
			t.Errorf("SetPipeSize(%d) = %d, %v", test.size, n, err)
		}
	}
	write(t, w, 3*4096)
	if _, err := w.SetPipeSize(user, 8192); err != unix.EBUSY {
		t.Errorf("shrinking below use: %v", err)
	}
	read(t, r, 100)
	if _, err := w.SetPipeSize(user, 4*4096); err != nil {
		t.Error(err)
	}
	if n, _ := read(t, r, 1<<20); n != 3*4096-100 {
		t.Errorf("content after resizing: %d", n)
	}
	r.Release(bg)
	w.Release(bg)
	if len(l.used) != 0 {
		t.Errorf("pages still counted: %v", l.used)
	}
}

func TestUserLimit(t *testing.T) {
	l := &Limits{}
	l.UserPagesSoft.Store(40)
	for i, want := range []int{65536, 65536, 8192} {
		r, _ := New(l, user, 0)
		if r.PipeSize() != want {
			t.Errorf("pipe %d has %d bytes", i, r.PipeSize())
		}
	}
}

// task is a Context that can block.
type task struct {
	context.Background
	wake chan struct{}
	intr chan struct{}
}

func newTask() *task {
	return &task{Background: *bg, wake: make(chan struct{}, 1), intr: make(chan struct{}, 1)}
}

func (t *task) Waker() waiter.Listener { return t }
func (t *task) NotifyEvent(waiter.EventMask) {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
func (t *task) Block() error {
	select {
	case <-t.wake:
		return nil
	case <-t.intr:
		return unix.EINTR
	}
}

func TestFIFOOpen(t *testing.T) {
	l, inode := &Limits{}, &vfs.InodeBase{}
	if _, err := l.openFIFO(newTask(), inode, unix.O_WRONLY|unix.O_NONBLOCK); err != unix.ENXIO {
		t.Fatalf("writer without reader: %v", err)
	}
	r, err := l.openFIFO(newTask(), inode, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Readiness(waiter.AllEvents); got != 0 {
		t.Errorf("before the first writer: readiness %#x", got)
	}
	if n, err := read(t, r, 1); n != 0 || err != nil {
		t.Errorf("before the first writer: %d, %v", n, err)
	}
	w, err := l.openFIFO(newTask(), inode, unix.O_WRONLY)
	if err != nil {
		t.Fatal(err)
	}
	w.Release(bg)
	if got := r.Readiness(waiter.AllEvents); got != waiter.EventHUp {
		t.Errorf("after the writer: readiness %#x", got)
	}
	r.Release(bg)

	both, err := l.openFIFO(newTask(), inode, unix.O_RDWR)
	if err != nil {
		t.Fatal(err)
	}
	write(t, both, 5)
	if n, _ := read(t, both, 9); n != 5 {
		t.Errorf("O_RDWR: %d", n)
	}
	both.Release(bg)

	// A reader and a writer wait for each other.
	got := make(chan *End)
	go func() {
		r, err := l.openFIFO(newTask(), inode, unix.O_RDONLY)
		if err != nil {
			t.Error(err)
		}
		got <- r
	}()
	if w, err = l.openFIFO(newTask(), inode, unix.O_WRONLY); err != nil {
		t.Fatal(err)
	}
	r = <-got
	write(t, w, 1)
	w.Release(bg)
	r.Release(bg)

	// A signal ends the wait and leaves nothing behind.
	tk := newTask()
	tk.intr <- struct{}{}
	if _, err := l.openFIFO(tk, inode, unix.O_RDONLY); err != unix.EINTR {
		t.Errorf("interrupted: %v", err)
	}
	if _, err := l.openFIFO(tk, inode, unix.O_WRONLY|unix.O_NONBLOCK); err != unix.ENXIO {
		t.Errorf("the interrupted reader still counts: %v", err)
	}
}

func TestSplicePrimitives(t *testing.T) {
	r, w := New(&Limits{}, bg.Creds, 0)
	r2, w2 := New(&Limits{}, bg.Creds, 0)
	c, err := w.Pipe().Reserve(10000)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 9000)
	for i := range want {
		want[i] = byte(i * 7)
	}
	if n, err := c.Sequence().CopyOut(want); n != 9000 || err != nil {
		t.Fatal(n, err)
	}
	c.Commit(9000)
	if n, err := r.Pipe().Tee(w2.Pipe(), 5000); n != 5000 || err != nil {
		t.Fatalf("tee %d, %v", n, err)
	}
	b := make([]byte, 9000)
	if n, _ := r2.Read(bg, usermem.BytesSequence(b), -1); n != 5000 || !bytes.Equal(b[:n], want[:n]) {
		t.Errorf("tee gave %d bytes", n)
	}
	for _, used := range []int{0, 1, 2500} {
		c, err := r.Pipe().Take(3000)
		if err != nil || c.Sequence().Len() != 3000 {
			t.Fatal(err)
		}
		c.Sequence().CopyIn(b[:used])
		if !bytes.Equal(b[:used], want[:used]) {
			t.Error("take: content differs")
		}
		c.Return(used)
		want = want[used:]
	}
	if n, err := r.Pipe().Move(w2.Pipe(), 1<<20); n != len(want) || err != nil {
		t.Fatalf("move %d, %v, want %d", n, err, len(want))
	}
	if n, _ := r2.Read(bg, usermem.BytesSequence(b), -1); n != len(want) || !bytes.Equal(b[:n], want) {
		t.Errorf("move gave %d bytes", n)
	}
	if _, err := r.Pipe().Move(w2.Pipe(), 1); err != unix.EAGAIN {
		t.Errorf("empty: %v", err)
	}
	if _, err := r.Pipe().Move(w.Pipe(), 1); err != unix.EINVAL {
		t.Errorf("same pipe: %v", err)
	}
	// A full pipe gives back a part of a page.
	write(t, w, 65536)
	c, _ = r.Pipe().Take(100)
	c.Return(40)
	if n := r.Pipe().Len(); n != 65496 {
		t.Errorf("after return: %d", n)
	}
	if len(r.pipe.ring) != 16 {
		t.Error("ring grew")
	}
	w.Release(bg)
	read(t, r, 1<<20)
	if c, err := r.Pipe().Take(1); c != nil || err != nil {
		t.Error("end of file", err)
	}
}

func TestConcurrent(t *testing.T) {
	r, w := New(&Limits{}, bg.Creds, 0)
	const total = 1 << 22
	go func() {
		tk := newTask()
		e := waiter.Entry{Mask: waiter.WritableEvents, Listener: tk.Waker()}
		w.EventRegister(&e)
		defer w.EventUnregister(&e)
		for left := total; left > 0; {
			n, err := write(t, w, min(left, 5000))
			left -= n
			if err == unix.EAGAIN {
				tk.Block()
			}
		}
		w.Release(bg)
	}()
	tk := newTask()
	e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: tk.Waker()}
	r.EventRegister(&e)
	got := 0
	for {
		n, err := read(t, r, 3000)
		got += n
		if err == unix.EAGAIN {
			tk.Block()
			continue
		}
		if n == 0 {
			break
		}
	}
	if got != total {
		t.Errorf("read %d", got)
	}
}

// memory is an IO whose copies do not allocate, as mm's do not.
type memory struct {
	usermem.Bytes
}

func BenchmarkWriteRead(b *testing.B) {
	for _, size := range []int{1, 512, 4096, 65536} {
		b.Run(itoa(size), func(b *testing.B) {
			r, w := New(&Limits{}, bg.Creds, 0)
			s := usermem.NewSequence(&memory{usermem.Bytes{B: make([]byte, size)}}, usermem.AddrRange{End: uintptr(size)})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for range b.N {
				w.Write(bg, s, -1, false)
				r.Read(bg, s, -1)
			}
		})
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

func BenchmarkPingPong(b *testing.B) {
	r1, w1 := New(&Limits{}, bg.Creds, 0)
	r2, w2 := New(&Limits{}, bg.Creds, 0)
	echo := func(r, w *End, n int, first bool) {
		tk := newTask()
		e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: tk.Waker()}
		r.EventRegister(&e)
		defer r.EventUnregister(&e)
		s := usermem.NewSequence(&memory{usermem.Bytes{B: make([]byte, 1)}}, usermem.AddrRange{End: 1})
		for range n {
			if first {
				w.Write(bg, s, -1, false)
			}
			for {
				if _, err := r.Read(bg, s, -1); err == nil {
					break
				}
				tk.Block()
			}
			if !first {
				w.Write(bg, s, -1, false)
			}
		}
	}
	b.ReportAllocs()
	go echo(r1, w2, b.N, false)
	echo(r2, w1, b.N, true)
}
