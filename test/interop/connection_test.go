package interop

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/link/pipe"
	"runsc/pkg/waiter"
)

// connectionCases are what may happen to a connection. Each runs in both versions of IP, with
// either side as the client. The ends belong to run.
var connectionCases = []struct {
	name string
	run  func(t *testing.T, w *world, us conn, them *net.TCPConn)
}{
	{"we half close", func(t *testing.T, w *world, us conn, them *net.TCPConn) { halfClose(t, us, them) }},
	{"they half close", func(t *testing.T, w *world, us conn, them *net.TCPConn) { halfClose(t, them, us) }},
	{"both close at once", bothClose},
	{"we reset", weReset},
	{"they reset", theyReset},
	{"we close with data unread", weCloseWithDataUnread},
	{"they close with data unread", theyCloseWithDataUnread},
	{"our window is closed", ourWindowIsClosed},
	{"their window is closed", theirWindowIsClosed},
	{"their window shrinks", theirWindowShrinks},
	{"our urgent data", ourUrgentData},
	{"their urgent data", theirUrgentData},
	{"our keep-alive", ourKeepAlive},
	{"their keep-alive", theirKeepAlive},
	{"small messages", smallMessages},
}

func TestConnections(t *testing.T) {
	w := newWorld(t, tap, true)
	for _, imp := range []struct {
		name string
		pipe.Impairment
	}{{name: "clean"}, {"all together", everything}} {
		w.impair(imp.Impairment)
		t.Run(imp.name, func(t *testing.T) {
			for _, c := range connectionCases {
				for v := range versions {
					for _, weConnect := range []bool{true, false} {
						t.Run(fmt.Sprintf("%s, %s, we connect %v", c.name, versions[v], weConnect), func(t *testing.T) {
							t.Parallel() // they mostly wait
							us, them, err := w.pair(v, weConnect)
							must(t, "pair", err)
							defer them.Close()
							c.run(t, w, us, them)
						})
					}
				}
			}
		})
	}
}

// must fails the test with what went wrong.
func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// halfClose ends one direction first; the other goes on.
func halfClose(t *testing.T, a, b stream) {
	data := numbers(3, 100_000)
	must(t, "the first end", sendAll(a, data[:10]))
	must(t, "what came before it", receiveAll(b, data[:10]))
	sent := make(chan error, 1)
	go func() { sent <- sendAll(b, data) }()
	must(t, "what comes after it", receiveAll(a, data))
	must(t, "sending", <-sent)
	must(t, "close", a.Close())
	must(t, "close", b.Close())
}

func bothClose(t *testing.T, w *world, us conn, them *net.TCPConn) {
	must(t, "our end", us.CloseWrite())
	must(t, "their end", them.CloseWrite())
	must(t, "we", receiveAll(us, nil))
	must(t, "they", receiveAll(them, nil))
	us.Close()
}

// exchange sends a few bytes there and back, so that both sides are established and idle.
func exchange(t *testing.T, us conn, them *net.TCPConn) {
	t.Helper()
	b := make([]byte, 5)
	for _, d := range [][2]stream{{us, them}, {them, us}} {
		if _, err := d[0].Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(d[1], b); err != nil || string(b) != "hello" {
			t.Fatalf("%q, %v", b, err)
		}
	}
}

func weReset(t *testing.T, w *world, us conn, them *net.TCPConn) {
	exchange(t, us, them)
	o := us.Options()
	o.Mu.Lock()
	o.Linger, o.LingerTime = true, 0
	o.Mu.Unlock()
	us.Close()
	expectReset(t, them)
}

func theyReset(t *testing.T, w *world, us conn, them *net.TCPConn) {
	exchange(t, us, them)
	must(t, "SO_LINGER", them.SetLinger(0))
	them.Close()
	expectReset(t, us)
	us.Close()
}

// expectReset waits for ECONNRESET. The reset itself may be lost, which only data brings to light;
// then sending may be what says so, and not reading.
func expectReset(t *testing.T, who stream) {
	t.Helper()
	read := make(chan error, 1)
	go func() {
		_, err := io.ReadAll(who)
		read <- err
	}()
	var wrote error
	for {
		select {
		case err := <-read:
			if !errors.Is(err, unix.ECONNRESET) && !errors.Is(wrote, unix.ECONNRESET) {
				t.Errorf("reading says %v, want ECONNRESET", err)
			}
			return
		case <-time.After(100 * time.Millisecond):
			if _, err := who.Write([]byte("x")); wrote == nil {
				wrote = err
			}
		}
	}
}

// RFC 2525 section 2.17: to close with data unread is a reset.
func weCloseWithDataUnread(t *testing.T, w *world, us conn, them *net.TCPConn) {
	exchange(t, us, them)
	them.Write([]byte("unread"))
	eventually(t, "data", func() bool { return us.ReceiveQueued() == 6 })
	us.Close()
	expectReset(t, them)
}

func theyCloseWithDataUnread(t *testing.T, w *world, us conn, them *net.TCPConn) {
	exchange(t, us, them)
	us.Write([]byte("unread"))
	eventually(t, "data", func() bool {
		n := 0
		control(them, func(fd int) (err error) { n, err = unix.IoctlGetInt(fd, unix.TIOCINQ); return err })
		return n == 6
	})
	them.Close()
	expectReset(t, us)
	us.Close()
}

// A reader that sleeps closes the window; the writer probes and goes on when it is opened.
func ourWindowIsClosed(t *testing.T, w *world, us conn, them *net.TCPConn) {
	us.Options().ReceiveBuffer.Store(32 << 10)
	us.Options().ReceiveBufferLocked.Store(true)
	data := numbers(4, 256<<10)
	sent := make(chan error, 1)
	go func() { sent <- sendAll(them, data) }()
	eventually(t, "a probe", func() bool {
		i, err := kernelInfo(them)
		must(t, "TCP_INFO", err)
		return i.Probes > 0 || i.Backoff > 0
	})
	must(t, "receiving", receiveAll(us, data))
	must(t, "sending", <-sent)
	us.Close()
}

func theirWindowIsClosed(t *testing.T, w *world, us conn, them *net.TCPConn) {
	data := numbers(5, 1<<20)
	sent := make(chan error, 1)
	go func() { sent <- sendAll(us, data) }()
	eventually(t, "a probe", func() bool {
		i := us.Info()
		return i.UnackedSegments == 0 && (i.Probes > 0 || i.Backoff > 0)
	})
	must(t, "receiving", receiveAll(them, data))
	must(t, "sending", <-sent)
	us.Close()
}

// A buffer that gets smaller takes back what was offered (RFC 9293 section 3.8.6): what is in
// flight is dropped.
func theirWindowShrinks(t *testing.T, w *world, us conn, them *net.TCPConn) {
	must(t, "SO_RCVBUF", them.SetReadBuffer(16<<10))
	data := numbers(5, 256<<10)
	sent := make(chan error, 1)
	go func() { sent <- sendAll(us, data) }()
	eventually(t, "a timeout", func() bool { i := us.Info(); return i.SendWindow == 0 && (i.Probes > 0 || i.Backoff > 0) })
	must(t, "receiving", receiveAll(them, data))
	must(t, "sending", <-sent)
	us.Close()
}

func ourUrgentData(t *testing.T, w *world, us conn, them *net.TCPConn) {
	us.Write([]byte("before"))
	if n, err := us.Send(&source{[]byte("!")}, tcpip.SendOptions{OutOfBand: true}); n != 1 || err != nil {
		t.Fatalf("MSG_OOB: %d, %v", n, err)
	}
	must(t, "the rest", sendAll(us, []byte("after")))
	b := make([]byte, 4)
	eventually(t, "the urgent byte", func() bool {
		var n int
		err := control(them, func(fd int) (err error) { n, _, err = unix.Recvfrom(fd, b, unix.MSG_OOB); return err })
		return err == nil && n == 1
	})
	if b[0] != '!' {
		t.Errorf("the urgent byte is %q", b[0])
	}
	must(t, "the stream", receiveAll(them, []byte("beforeafter")))
	us.Close()
}

func theirUrgentData(t *testing.T, w *world, us conn, them *net.TCPConn) {
	them.Write([]byte("before"))
	must(t, "MSG_OOB", control(them, func(fd int) error { return unix.Sendto(fd, []byte("!"), unix.MSG_OOB, nil) }))
	must(t, "the rest", sendAll(them, []byte("after")))
	s := sink{b: make([]byte, 4)}
	must(t, "the urgent byte", block(us, waiter.EventPri|waiter.EventErr, func() error {
		r, err := us.Receive(&s, tcpip.ReceiveOptions{OutOfBand: true})
		if err == unix.EINVAL {
			return unix.EAGAIN // no segment has told of it
		}
		if err == nil && (!r.OutOfBand || s.n != 1 || s.b[0] != '!') {
			t.Errorf("the urgent byte is %+v, %q", r, s.b[:s.n])
		}
		return err
	}))
	must(t, "the stream", receiveAll(us, []byte("beforeafter")))
	us.Close()
}

// Probes are answered, and keep a connection up for longer than it may be without answers.
func ourKeepAlive(t *testing.T, w *world, us conn, them *net.TCPConn) {
	exchange(t, us, them)
	must(t, "idle", us.SetKeepIdle(time.Second))
	must(t, "interval", us.SetKeepInterval(time.Second))
	must(t, "count", us.SetKeepCount(8))
	us.SetKeepAlive(true)
	before := us.Info()
	eventually(t, "two answers", func() bool { return us.Info().SegmentsIn >= before.SegmentsIn+2 })
	exchange(t, us, them)
	us.Close()
}

func theirKeepAlive(t *testing.T, w *world, us conn, them *net.TCPConn) {
	exchange(t, us, them)
	must(t, "keep-alive", them.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 8}))
	before := us.Info()
	eventually(t, "two probes", func() bool {
		i := us.Info()
		return i.SegmentsIn >= before.SegmentsIn+2 && i.SegmentsOut >= before.SegmentsOut+2
	})
	exchange(t, us, them)
	us.Close()
}

// Many small writes, which are delayed, gathered and acknowledged late.
func smallMessages(t *testing.T, w *world, us conn, them *net.TCPConn) {
	done := make(chan error, 2)
	for _, s := range []stream{us, them} {
		go func() {
			for i := range 50 {
				if _, err := s.Write(bytes.Repeat([]byte{byte(i)}, i)); err != nil {
					done <- err
					return
				}
			}
			done <- s.CloseWrite()
		}()
	}
	var want []byte
	for i := range 50 {
		want = append(want, bytes.Repeat([]byte{byte(i)}, i)...)
	}
	must(t, "we", receiveAll(us, want))
	must(t, "they", receiveAll(them, want))
	must(t, "sending", <-done)
	must(t, "sending", <-done)
	us.Close()
}

func TestRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tap, true)
	for _, imp := range []pipe.Impairment{{}, everything} {
		w.impair(imp)
		for v := range versions {
			if _, err := w.connect(netip.AddrPortFrom(theirs[v], 9)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s: we connect: %v", versions[v], err)
			}
			if _, err := w.kernelConnect(netip.AddrPortFrom(ours[v], 9)); !errors.Is(err, unix.ECONNREFUSED) {
				t.Errorf("%s: they connect: %v", versions[v], err)
			}
		}
	}
}

// When nothing comes through any more, keep-alive ends a connection on both sides.
func TestKeepAliveEndsDeadConnections(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tap, true)
	for v := range versions {
		us, them, err := w.pair(v, true)
		must(t, "pair", err)
		defer us.Close()
		defer them.Close()
		exchange(t, us, them)
		must(t, "idle", us.SetKeepIdle(time.Second))
		must(t, "interval", us.SetKeepInterval(time.Second))
		must(t, "count", us.SetKeepCount(2))
		us.SetKeepAlive(true)
		must(t, "keep-alive", them.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 2}))
		w.impair(pipe.Impairment{Loss: 1})
		if _, err := us.Read(make([]byte, 1)); err != unix.ETIMEDOUT {
			t.Errorf("%s: we: %v", versions[v], err)
		}
		// Linux may know by then that the neighbour is gone.
		if _, err := them.Read(make([]byte, 1)); !errors.Is(err, unix.ETIMEDOUT) && !errors.Is(err, unix.EHOSTUNREACH) {
			t.Errorf("%s: they: %v", versions[v], err)
		}
		w.impair(pipe.Impairment{})
	}
}

// What a marked packet does is told and reduces the sender, on both sides (RFC 3168 section 6.1).
func TestCongestionIsMarked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, tap, true)
	w.sysctl(t, "net.ipv4.tcp_ecn", "1")
	w.stack.Settings().TCPECN.Store(1)
	w.impair(pipe.Impairment{Delay: ms})
	w.mark.Store(20)
	for v := range versions {
		for _, weConnect := range []bool{true, false} {
			us, them, err := w.pair(v, weConnect)
			must(t, "pair", err)
			data := numbers(6, 512<<10)
			sent := make(chan error, 1)
			go func() { sent <- sendAll(us, data) }()
			must(t, "receiving", receiveAll(them, data))
			must(t, "sending", <-sent)
			i := us.Info()
			k, err := kernelInfo(them)
			must(t, "TCP_INFO", err)
			const optECN, optECNSeen = 8, 16 // TCPI_OPT_*
			if !i.ECN || k.Options&optECN == 0 || k.Options&optECNSeen == 0 || i.SendThreshold == 0x7fffffff || i.TotalRetransSegments > 2 {
				t.Errorf("%s, we connect %v: we %+v, the kernel's options %#x", versions[v], weConnect, i, k.Options)
			}
			us.Close()
			them.Close()
		}
	}
}
