package unix

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/eventfd"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

var userNS = auth.NewRootUserNamespace()

// task is a Context that can block and knows two socket nodes.
type task struct {
	context.Background
	wake chan struct{}
	intr chan struct{}
	pid  int32
}

func newTask() *task {
	return &task{
		Background: context.Background{Creds: auth.NewRootCredentials(userNS)},
		wake:       make(chan struct{}, 1), intr: make(chan struct{}, 1), pid: 7,
	}
}

func (t *task) RootTID() int32         { return t.pid }
func (t *task) RootTGID() int32        { return t.pid }
func (t *task) Waker() waiter.Listener { return t }
func (t *task) NotifyEvent(waiter.EventMask) {
	select {
	case t.wake <- struct{}{}:
	default:
	}
}
func (t *task) Block() error { return t.BlockUntil(t.Monotonic() + int64(20*time.Second)) }
func (t *task) BlockUntil(deadline int64) error {
	select {
	case <-t.wake:
		return nil
	case <-t.intr:
		return linux.ERESTARTSYS
	case <-time.After(time.Duration(deadline - t.Monotonic())):
		return unix.ETIMEDOUT
	}
}

func pair(t testing.TB, typ int) (a, b *Socket) {
	sa, sb, err := NewNamespace(nil).Pair(newTask(), typ, 0)
	if err != nil {
		t.Fatal(err)
	}
	return sa.(*Socket), sb.(*Socket)
}

func sock(t testing.TB, n *Namespace, typ int) *Socket {
	s, err := n.Socket(newTask(), typ, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s.(*Socket)
}

func abstract(name string) *socket.Addr {
	b := binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX)
	a, _ := socket.NewAddr(append(append(b, 0), name...))
	return &a
}

func send(s *Socket, b []byte, flags uint32) (int, error) {
	return s.SendMsg(newTask(), &socket.Message{Data: usermem.BytesSequence(b), Flags: flags})
}

func recv(s *Socket, n int, flags uint32) ([]byte, *socket.Message, error) {
	b := make([]byte, n)
	m := &socket.Message{Data: usermem.BytesSequence(b), Flags: flags, WantControl: true, From: new(socket.Addr)}
	n, err := s.RecvMsg(newTask(), m)
	return b[:min(n, len(b))], m, err
}

const dontWait = unix.MSG_DONTWAIT

func TestStreamContent(t *testing.T) {
	a, b := pair(t, unix.SOCK_STREAM)
	rnd := rand.New(rand.NewPCG(3, 4))
	var model bytes.Buffer
	next := byte(0)
	for range 20000 {
		n := 1 + rnd.IntN(1<<rnd.IntN(18))
		if rnd.IntN(2) == 0 {
			buf := make([]byte, n)
			for i := range buf {
				buf[i] = next + byte(i)
			}
			m, err := send(a, buf, dontWait)
			if err != nil && err != unix.EAGAIN {
				t.Fatal(err)
			}
			model.Write(buf[:m])
			next += byte(m)
			continue
		}
		flags := uint32(dontWait)
		if rnd.IntN(3) == 0 {
			flags |= unix.MSG_PEEK
		}
		got, _, err := recv(b, n, flags)
		if err == unix.EAGAIN && model.Len() == 0 {
			continue
		}
		want := model.Bytes()[:min(n, model.Len())]
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("recv(%d, %#x) = %d bytes, %v; want %d", n, flags, len(got), err, len(want))
		}
		if flags&unix.MSG_PEEK == 0 {
			model.Next(len(got))
		}
		if b.in.bytes != model.Len() {
			t.Fatalf("queue has %d bytes, want %d", b.in.bytes, model.Len())
		}
	}
	for model.Len() > 0 {
		got, _, _ := recv(b, 1<<20, dontWait)
		model.Next(len(got))
	}
	if n := a.wmem.Load(); n != 0 {
		t.Errorf("%d bytes still charged", n)
	}
}

func TestStreamBackpressure(t *testing.T) {
	a, b := pair(t, unix.SOCK_STREAM)
	total := 0
	for {
		n, err := send(a, make([]byte, 10000), dontWait)
		total += n
		if err == unix.EAGAIN {
			break
		}
	}
	if total < socket.DefaultBuffer*9/10 || total > socket.DefaultBuffer*11/10 {
		t.Errorf("%d bytes fit", total)
	}
	if a.Readiness(waiter.EventOut) != 0 {
		t.Error("full but writable")
	}
	got := 0
	for a.Readiness(waiter.EventOut) == 0 {
		d, _, err := recv(b, 10000, dontWait)
		if err != nil {
			t.Fatal(err)
		}
		got += len(d)
	}
	if got < total*2/3 {
		t.Errorf("writable after only %d bytes were read", got)
	}
	// A blocking send is complete when it returns.
	done := make(chan int)
	go func() {
		n, _ := send(a, make([]byte, 3*socket.DefaultBuffer), 0)
		done <- n
	}()
	left := total - got + 3*socket.DefaultBuffer
	for left > 0 {
		d, _, err := recv(b, 65536, 0)
		if err != nil {
			t.Fatal(err)
		}
		left -= len(d)
	}
	if n := <-done; n != 3*socket.DefaultBuffer {
		t.Errorf("blocking send wrote %d", n)
	}
}

func TestManySmallWritesStayCheap(t *testing.T) {
	a, b := pair(t, unix.SOCK_STREAM)
	for range 100000 {
		if _, err := send(a, []byte{1}, dontWait); err != nil {
			t.Fatal(err)
		}
	}
	if b.in.length > 300 {
		t.Errorf("%d messages", b.in.length)
	}
}

func TestEndOfStream(t *testing.T) {
	a, b := pair(t, unix.SOCK_STREAM)
	send(a, []byte("abc"), 0)
	a.Shutdown(newTask(), unix.SHUT_WR)
	if _, err := send(a, []byte("x"), 0); err != unix.EPIPE {
		t.Errorf("send after SHUT_WR: %v", err)
	}
	if r := b.Readiness(waiter.AllEvents); r&waiter.EventRdHUp == 0 || r&waiter.EventHUp != 0 {
		t.Errorf("half closed: %#x", r)
	}
	if d, _, err := recv(b, 10, unix.MSG_WAITALL); string(d) != "abc" || err != nil {
		t.Errorf("rest %q, %v", d, err)
	}
	if d, _, err := recv(b, 10, 0); len(d) != 0 || err != nil {
		t.Errorf("end %q, %v", d, err)
	}
	if _, err := send(b, []byte("y"), 0); err != nil {
		t.Errorf("the other direction: %v", err)
	}
	// Closing with unread data resets.
	a.Release(newTask())
	if r := b.Readiness(waiter.AllEvents); r&waiter.EventHUp == 0 || r&waiter.EventErr == 0 {
		t.Errorf("reset: %#x", r)
	}
	if _, err := send(b, []byte("y"), 0); err != unix.EPIPE {
		t.Errorf("send to a closed peer: %v", err)
	}
	if _, _, err := recv(b, 10, 0); err != unix.ECONNRESET {
		t.Errorf("recv after reset: %v", err)
	}
	if d, _, err := recv(b, 10, 0); len(d) != 0 || err != nil {
		t.Errorf("recv after that: %q, %v", d, err)
	}
}

func TestErrorsOfUnconnectedSockets(t *testing.T) {
	n := NewNamespace(nil)
	tk := newTask()
	for _, test := range []struct {
		typ        int
		send, recv error
	}{
		{unix.SOCK_STREAM, unix.ENOTCONN, unix.EINVAL},
		{unix.SOCK_SEQPACKET, unix.ENOTCONN, unix.ENOTCONN},
		{unix.SOCK_DGRAM, unix.ENOTCONN, unix.EAGAIN},
	} {
		s := sock(t, n, test.typ)
		if _, err := send(s, []byte("x"), dontWait); err != test.send {
			t.Errorf("type %d: send: %v", test.typ, err)
		}
		if _, _, err := recv(s, 1, dontWait); err != test.recv {
			t.Errorf("type %d: recv: %v", test.typ, err)
		}
		if err := s.GetPeerName(tk, new(socket.Addr)); err != unix.ENOTCONN {
			t.Errorf("type %d: getpeername: %v", test.typ, err)
		}
		if err := s.Connect(tk, abstract("nobody"), true); err != unix.ECONNREFUSED {
			t.Errorf("type %d: connect: %v", test.typ, err)
		}
	}
	for _, test := range []struct {
		typ, proto int
		want       error
	}{{unix.SOCK_STREAM, 5, unix.EPROTONOSUPPORT}, {unix.SOCK_RDM, 0, unix.ESOCKTNOSUPPORT}, {unix.SOCK_RAW, 1, nil}} {
		if _, err := n.Socket(tk, test.typ, test.proto); err != test.want {
			t.Errorf("socket(%d, %d): %v", test.typ, test.proto, err)
		}
	}
}

func TestConnectAndAccept(t *testing.T) {
	n := NewNamespace(nil)
	for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET} {
		tk := newTask()
		l := sock(t, n, typ)
		if err := l.Listen(tk, 1); err != unix.EINVAL {
			t.Errorf("listen without a name: %v", err)
		}
		if err := l.Bind(tk, abstract("srv")); err != nil {
			t.Fatal(err)
		}
		if err := l.Bind(tk, abstract("other")); err != unix.EINVAL {
			t.Errorf("second bind: %v", err)
		}
		if err := sock(t, n, typ).Bind(tk, abstract("srv")); err != unix.EADDRINUSE {
			t.Errorf("bind to a used name: %v", err)
		}
		c := sock(t, n, typ)
		if err := c.Connect(tk, abstract("srv"), true); err != unix.ECONNREFUSED {
			t.Errorf("connect before listen: %v", err)
		}
		if err := sock(t, n, unix.SOCK_DGRAM).Connect(tk, abstract("srv"), true); err != unix.EPROTOTYPE {
			t.Errorf("connect with another type: %v", err)
		}
		l.Listen(tk, 1)
		if _, err := l.Accept(tk, nil, true); err != unix.EAGAIN {
			t.Errorf("accept of none: %v", err)
		}
		if err := c.Connect(tk, abstract("srv"), true); err != nil {
			t.Fatal(err)
		}
		if err := c.Connect(tk, abstract("srv"), true); err != unix.EISCONN {
			t.Errorf("second connect: %v", err)
		}
		if l.Readiness(waiter.AllEvents) != waiter.EventIn|waiter.EventRdNorm {
			t.Errorf("listener: %#x", l.Readiness(waiter.AllEvents))
		}
		send(c, []byte("early"), 0)
		c2, c3 := sock(t, n, typ), sock(t, n, typ)
		if err := c2.Connect(tk, abstract("srv"), true); err != nil {
			t.Fatal(err)
		}
		if err := c3.Connect(tk, abstract("srv"), true); err != unix.EAGAIN {
			t.Errorf("backlog full: %v", err)
		}
		waited := make(chan error)
		go func() { waited <- c3.Connect(newTask(), abstract("srv"), false) }()
		var peer socket.Addr
		ss, err := l.Accept(tk, &peer, true)
		if err != nil || peer.Len() != 2 {
			t.Fatal(err, peer)
		}
		s := ss.(*Socket)
		if err := <-waited; err != nil {
			t.Errorf("waiting connect: %v", err)
		}
		if d, _, err := recv(s, 10, 0); string(d) != "early" || err != nil {
			t.Errorf("%q, %v", d, err)
		}
		var name socket.Addr
		s.GetSockName(tk, &name)
		if !bytes.Equal(name.Bytes(), abstract("srv").Bytes()) {
			t.Errorf("name of the accepted socket %q", name.Bytes())
		}
		c.GetPeerName(tk, &name)
		if !bytes.Equal(name.Bytes(), abstract("srv").Bytes()) {
			t.Errorf("peer name %q", name.Bytes())
		}
		if txt := n.ProcNetUnix(); !strings.Contains(txt, " @srv\n") {
			t.Errorf("/proc/net/unix:\n%s", txt)
		}
		// Those in the backlog learn that the listener is gone.
		l.Release(tk)
		if _, _, err := recv(c2, 1, 0); err != unix.ECONNRESET {
			t.Errorf("embryo of a closed listener: %v", err)
		}
		if err := sock(t, n, typ).Connect(tk, abstract("srv"), false); err != unix.ECONNREFUSED {
			t.Errorf("closed listener: %v", err)
		}
		send(s, []byte("late"), 0)
		if d, _, err := recv(c, 10, 0); string(d) != "late" || err != nil {
			t.Errorf("%q, %v", d, err)
		}
	}
}

func TestDatagrams(t *testing.T) {
	n, tk := NewNamespace(nil), newTask()
	srv, c := sock(t, n, unix.SOCK_DGRAM), sock(t, n, unix.SOCK_DGRAM)
	srv.Bind(tk, abstract("d"))
	empty := new(socket.Addr)
	empty.SetFamily(unix.AF_UNIX)
	if err := c.Bind(tk, empty); err != nil {
		t.Fatal(err)
	}
	var auto socket.Addr
	if c.GetSockName(tk, &auto); auto.Len() != 8 {
		t.Errorf("autobind gave %q", auto.Bytes())
	}
	sendTo := func(s *Socket, to *socket.Addr, b []byte) error {
		_, err := s.SendMsg(tk, &socket.Message{Data: usermem.BytesSequence(b), To: to, Flags: dontWait})
		return err
	}
	if err := sendTo(c, abstract("d"), []byte("hello")); err != nil {
		t.Fatal(err)
	}
	sendTo(c, abstract("d"), nil)
	if d, m, err := recv(srv, 3, dontWait|unix.MSG_PEEK); string(d) != "hel" || m.OutFlags != unix.MSG_TRUNC || err != nil {
		t.Errorf("peek %q, %#x, %v", d, m.OutFlags, err)
	}
	b := make([]byte, 3)
	m := &socket.Message{Data: usermem.BytesSequence(b), Flags: dontWait | unix.MSG_TRUNC, From: new(socket.Addr)}
	if n, err := srv.RecvMsg(tk, m); n != 5 || err != nil || !bytes.Equal(m.From.Bytes(), auto.Bytes()) {
		t.Errorf("recv %d, %v from %q", n, err, m.From.Bytes())
	}
	if d, _, err := recv(srv, 10, dontWait); len(d) != 0 || err != nil {
		t.Errorf("empty datagram: %q, %v", d, err)
	}
	if err := sendTo(c, abstract("d"), make([]byte, socket.DefaultBuffer)); err != unix.EMSGSIZE {
		t.Errorf("too long: %v", err)
	}

	// The queue of a stranger is short.
	c.Connect(tk, abstract("d"), true)
	count := 0
	for send1 := error(nil); send1 == nil; count++ {
		_, send1 = send(c, []byte("x"), dontWait)
	}
	if count-1 != DefaultDatagramQueue+1 {
		t.Errorf("%d datagrams fit", count-1)
	}
	if c.Readiness(waiter.EventOut) != 0 {
		t.Error("writable though the peer's queue is full")
	}
	wt := newTask()
	e := waiter.Entry{Mask: waiter.EventOut, Listener: wt}
	c.EventRegister(&e)
	recv(srv, 1, dontWait)
	select {
	case <-wt.wake:
	default:
		t.Error("not told of room")
	}
	c.EventUnregister(&e)
	if c.Readiness(waiter.EventOut) == 0 {
		t.Error("not writable")
	}

	// Who is connected takes datagrams from its peer only.
	third := sock(t, n, unix.SOCK_DGRAM)
	srv.Connect(tk, &auto, true)
	if err := sendTo(third, abstract("d"), []byte("x")); err != unix.EPERM {
		t.Errorf("to a socket connected elsewhere: %v", err)
	}
	srv.Release(tk)
	if _, err := send(c, []byte("x"), 0); err != unix.ECONNREFUSED {
		t.Errorf("peer closed: %v", err)
	}
	if _, err := send(c, []byte("x"), 0); err != unix.ENOTCONN {
		t.Errorf("peer closed, again: %v", err)
	}
}

func TestSeqpacketBoundaries(t *testing.T) {
	a, b := pair(t, unix.SOCK_SEQPACKET)
	send(a, []byte("one"), 0)
	send(a, []byte("three"), 0)
	if d, m, _ := recv(b, 2, 0); string(d) != "on" || m.OutFlags&unix.MSG_TRUNC == 0 {
		t.Errorf("%q", d)
	}
	if d, _, _ := recv(b, 10, 0); string(d) != "three" {
		t.Errorf("%q", d)
	}
	a.Release(newTask())
	if d, _, err := recv(b, 10, 0); len(d) != 0 || err != nil {
		t.Errorf("end: %q, %v", d, err)
	}
}

func sendFiles(s *Socket, b []byte, files ...*vfs.FileDescription) error {
	m := &socket.Message{Data: usermem.BytesSequence(b)}
	m.Control.Files = files
	_, err := s.SendMsg(newTask(), m)
	return err
}

func TestRights(t *testing.T) {
	for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_SEQPACKET, unix.SOCK_DGRAM} {
		a, b := pair(t, typ)
		f := eventfd.NewFile(1, 0)
		f.IncRef()
		f.IncRef()
		send(a, []byte("1"), 0)
		if err := sendFiles(a, []byte("22"), f); err != nil {
			t.Fatal(err)
		}
		sendFiles(a, []byte("3"), f)
		if typ == unix.SOCK_STREAM {
			// Bytes before may come along, bytes behind not.
			d, m, _ := recv(b, 2, unix.MSG_PEEK)
			if string(d) != "12" || len(m.Control.Files) != 1 {
				t.Errorf("peek %q, %d files", d, len(m.Control.Files))
			}
			m.Control.Files[0].DecRef(newTask())
			d, m, _ = recv(b, 10, 0)
			if string(d) != "122" || len(m.Control.Files) != 1 || m.Control.Files[0] != f {
				t.Errorf("%q, %d files", d, len(m.Control.Files))
			}
		} else {
			recv(b, 10, 0)
			if d, m, _ := recv(b, 10, 0); string(d) != "22" || len(m.Control.Files) != 1 {
				t.Errorf("%q, %d files", d, len(m.Control.Files))
			}
		}
		f.DecRef(newTask()) // the received one
		// read(2) closes what it cannot deliver.
		buf := make([]byte, 9)
		if n, err := b.Read(newTask(), usermem.BytesSequence(buf), -1); n != 1 || err != nil {
			t.Errorf("read %d, %v", n, err)
		}
		sendFiles(a, []byte("4"), eventfd.NewFile(0, 0))
		b.Release(newTask())
		f.DecRef(newTask())
		if f.TryIncRef() {
			t.Error("references were lost")
		}
		if len(a.ns.inFlight) != 0 || a.ns.total != 0 {
			t.Errorf("still in flight: %v", a.ns.inFlight)
		}
	}
}

// TestDeepNesting closes a chain of sockets that lie in each other's queues.
func TestDeepNesting(t *testing.T) {
	n := NewNamespace(nil)
	tk := newTask()
	var prev *vfs.FileDescription
	for range 20000 {
		sa, sb, _ := n.Pair(tk, unix.SOCK_STREAM, 0)
		a, b := socket.NewFile(tk, sa, 0), socket.NewFile(tk, sb, 0)
		if prev != nil {
			if err := sendFiles(sa.(*Socket), []byte("x"), prev); err != nil {
				t.Fatal(err)
			}
		}
		a.DecRef(tk)
		prev = b
	}
	prev.DecRef(tk)
	if n.total != 0 || len(n.sockets) != 0 {
		t.Errorf("%d files in flight, %d sockets left", n.total, len(n.sockets))
	}
}

func TestCredentials(t *testing.T) {
	a, b := pair(t, unix.SOCK_STREAM)
	one := []byte{1, 0, 0, 0}
	b.SetSockOpt(newTask(), unix.SOL_SOCKET, unix.SO_PASSCRED, one)
	for _, pid := range []int32{3, 3, 4} {
		tk := newTask()
		tk.pid = pid
		a.SendMsg(tk, &socket.Message{Data: usermem.BytesSequence([]byte("ab"))})
	}
	for i, want := range []struct {
		s   string
		pid int32
	}{{"abab", 3}, {"ab", 4}} {
		d, m, err := recv(b, 100, 0)
		if string(d) != want.s || !m.Control.HasCreds || m.Control.Creds.PID != want.pid || err != nil {
			t.Errorf("step %d: %q, %+v, %v", i, d, m.Control.Creds, err)
		}
	}
	buf := make([]byte, 12)
	if n, err := a.GetSockOpt(newTask(), unix.SOL_SOCKET, unix.SO_PEERCRED, buf); n != 12 || err != nil || binary.NativeEndian.Uint32(buf) != 7 {
		t.Errorf("SO_PEERCRED: %d, %v, %v", n, err, buf)
	}
}

func TestTimeoutAndSignal(t *testing.T) {
	a, _ := pair(t, unix.SOCK_STREAM)
	tk := newTask()
	tk.intr <- struct{}{}
	m := &socket.Message{Data: usermem.BytesSequence(make([]byte, 1))}
	if _, err := a.RecvMsg(tk, m); err != linux.ERESTARTSYS {
		t.Errorf("signal: %v", err)
	}
	tv := make([]byte, 16)
	binary.NativeEndian.PutUint64(tv[8:], 2000)
	if err := a.SetSockOpt(tk, unix.SOL_SOCKET, unix.SO_RCVTIMEO, tv); err != nil {
		t.Fatal(err)
	}
	if _, err := a.RecvMsg(tk, m); err != unix.EAGAIN {
		t.Errorf("timeout: %v", err)
	}
	binary.NativeEndian.PutUint64(tv, 100)
	a.SetSockOpt(tk, unix.SOL_SOCKET, unix.SO_RCVTIMEO, tv)
	tk.intr <- struct{}{}
	if _, err := a.RecvMsg(tk, m); err != unix.EINTR {
		t.Errorf("signal with a timeout: %v", err)
	}
}

func TestConcurrentConnections(t *testing.T) {
	n := NewNamespace(nil)
	l := sock(t, n, unix.SOCK_STREAM)
	l.Bind(newTask(), abstract("c"))
	l.Listen(newTask(), 2)
	const clients, rounds = 8, 50
	var wg sync.WaitGroup
	for range 3 {
		go func() {
			tk := newTask()
			for {
				s, err := l.Accept(tk, nil, false)
				if err != nil {
					return
				}
				go func() {
					d, _, err := recv(s.(*Socket), 100, 0)
					if err == nil {
						send(s.(*Socket), d, 0)
					}
					s.Release(newTask())
				}()
			}
		}()
	}
	for range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			tk := newTask()
			for range rounds {
				c := sock(t, n, unix.SOCK_STREAM)
				if err := c.Connect(tk, abstract("c"), false); err != nil {
					t.Error(err)
					return
				}
				send(c, []byte("ping"), 0)
				if d, _, err := recv(c, 10, unix.MSG_WAITALL); string(d) != "ping" || err != nil && !errors.Is(err, unix.ECONNRESET) {
					t.Errorf("%q, %v", d, err)
				}
				c.Release(tk)
			}
		}()
	}
	wg.Wait()
	l.Release(newTask())
}

func BenchmarkStream(b *testing.B) {
	for _, size := range []int{1, 1024, 65536} {
		b.Run(map[int]string{1: "1", 1024: "1k", 65536: "64k"}[size], func(b *testing.B) {
			x, y := pair(b, unix.SOCK_STREAM)
			tk := newTask()
			s := usermem.NewSequence(&usermem.Bytes{B: make([]byte, size)}, usermem.AddrRange{End: uintptr(size)})
			b.SetBytes(int64(size))
			b.ReportAllocs()
			var out, in socket.Message
			for range b.N {
				out.Data, in.Data = s, s
				x.SendMsg(tk, &out)
				y.RecvMsg(tk, &in)
			}
		})
	}
}

func BenchmarkDatagram(b *testing.B) {
	x, y := pair(b, unix.SOCK_DGRAM)
	tk := newTask()
	s := usermem.NewSequence(&usermem.Bytes{B: make([]byte, 100)}, usermem.AddrRange{End: 100})
	b.ReportAllocs()
	var out, in socket.Message
	for range b.N {
		out.Data, in.Data = s, s
		x.SendMsg(tk, &out)
		y.RecvMsg(tk, &in)
	}
}
