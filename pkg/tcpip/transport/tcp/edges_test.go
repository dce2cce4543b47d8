package tcp

import (
	"fmt"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/waiter"
)

// faulty is memory of an application of which the rest, behind ok bytes, is not there.
type faulty struct{ ok, n int }

func (f *faulty) Len() int { return f.n }
func (f *faulty) take(b []byte) (int, error) {
	n := min(len(b), f.ok)
	f.ok -= n
	f.n -= n
	if n < len(b) {
		return n, unix.EFAULT
	}
	return n, nil
}
func (f *faulty) Read(b []byte) (int, error) {
	n, err := f.take(b)
	for i := range n {
		b[i] = pattern(i)
	}
	return n, err
}
func (f *faulty) Write(b []byte) (int, error) { return f.take(b) }

// TestFaults: what an application's bad memory cuts short is counted, and the stream goes on behind it.
func TestFaults(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run("established\nset nodelay 1")
	if n, err := h.e.Send(&faulty{0, 100}, tcpip.SendOptions{}); n != 0 || err != unix.EFAULT {
		t.Errorf("send of nothing: %d, %v", n, err)
	}
	if n, err := h.e.Send(&faulty{40, 100}, tcpip.SendOptions{}); n != 40 || err != nil {
		t.Errorf("send of 40: %d, %v", n, err)
	}
	h.written = 40
	h.run(`
		> PA 1:41 ack 1
		write 10
		> PA 41:51 ack 1
		< A 1 ack 51
		< PA 1:1001 ack 51
		> A 51 ack 1001`)
	if r, err := h.e.Receive(&faulty{0, 100}, tcpip.ReceiveOptions{}); r.N != 0 || err != unix.EFAULT {
		t.Errorf("receive of nothing: %d, %v", r.N, err)
	}
	if r, err := h.e.Receive(&faulty{300, 500}, tcpip.ReceiveOptions{}); r.N != 300 || err != nil {
		t.Errorf("receive of 300: %d, %v", r.N, err)
	}
	h.read = 300
	h.run("read 700 of 1000")
	if r, err := h.e.Receive(&byteSink{}, tcpip.ReceiveOptions{}); r.N != 0 || err != nil {
		t.Errorf("receive of no bytes: %d, %v", r.N, err)
	}
	if _, err := h.e.Receive(&byteSink{room: 1}, tcpip.ReceiveOptions{ErrorQueue: true}); err != unix.EAGAIN {
		t.Errorf("the error queue: %v", err)
	}
	if n, err := h.e.Send(&byteSource{}, tcpip.SendOptions{}); n != 0 || err != nil {
		t.Errorf("send of no bytes: %d, %v", n, err)
	}
	for _, how := range []tcpip.ShutdownFlags{0, 4} {
		if err := h.e.Shutdown(how); err != unix.EINVAL {
			t.Errorf("shutdown %d: %v", how, err)
		}
	}
}

type byteSource struct{}

func (byteSource) Len() int                 { return 0 }
func (byteSource) Read([]byte) (int, error) { return 0, nil }

// TestEndWhileCopying: the connection ends while the user's memory is copied.
func TestEndWhileCopying(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run("established")
	s := &endingSource{h: h, n: 5000}
	if n, err := h.e.Send(s, tcpip.SendOptions{}); n != 0 || err != unix.ECONNRESET {
		t.Errorf("send: %d, %v", n, err)
	}
	h.run("state CLOSED\noutq 0")
}

type endingSource struct {
	h *harness
	n int
}

func (s *endingSource) Len() int { return s.n }
func (s *endingSource) Read(b []byte) (int, error) {
	s.h.inject("< R 1")
	n := min(len(b), s.n)
	s.n -= n
	return n, nil
}

// TestCloseWhileCopying: an aborted socket gives its queue up when the reader is done with it.
func TestCloseWhileCopying(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run("established\n< PA 1:1001 ack 1\n> A 1 ack 1001")
	r, err := h.e.Receive(&closingSink{h.e}, tcpip.ReceiveOptions{})
	if err != nil || r.N == 0 {
		t.Errorf("receive: %d, %v", r.N, err)
	}
	if h.e.recvQ.len() != 0 || h.e.recvQ.memory != 0 {
		t.Error("the queue is still there")
	}
	h.run("> RA 1 ack 1001")
}

type closingSink struct{ e *Endpoint }

func (s *closingSink) Len() int { return 100 }
func (s *closingSink) Write(b []byte) (int, error) {
	s.e.Abort()
	return len(b), nil
}

// linkLocal makes the hosts of a harness speak by link-local addresses.
func linkLocal(t *testing.T) *harness {
	h := newHarness(t, true, 1500)
	h.ours, h.peer = netip.MustParseAddr("fe80::1"), netip.MustParseAddr("fe80::2")
	if err := h.stack.NIC(1).AddAddress(stack.Address{Prefix: netip.PrefixFrom(h.ours, 64), NoDAD: true}); err != nil {
		t.Fatal(err)
	}
	h.drop()
	return h
}

// TestLinkLocal: addresses of a link have its interface.
func TestLinkLocal(t *testing.T) {
	h := linkLocal(t)
	h.run("established\n< PA 1:11 ack 1\n> A 1 ack 11")
	if a := h.e.LocalAddress(); a.NIC != 1 {
		t.Errorf("getsockname: %v", a)
	}
	if a, err := h.e.RemoteAddress(); a.NIC != 1 || err != nil {
		t.Errorf("getpeername: %v, %v", a, err)
	}
	h.run("< A 100 ack 5 port 7\n> R 5")

	c := NewEndpoint(h.stack, true)
	to := tcpip.FullAddress{Addr: h.peer, Port: 80}
	if err := c.Connect(to); err != unix.EINVAL {
		t.Errorf("connect without interface: %v", err)
	}
	c.opts.Device.Store(2)
	to.NIC = 1
	if err := c.Connect(to); err != unix.EINVAL {
		t.Errorf("connect by another than that of SO_BINDTODEVICE: %v", err)
	}
	c.opts.Device.Store(0)
	if err := c.Bind(tcpip.FullAddress{Addr: h.ours, NIC: 1}); err != nil {
		t.Fatal(err)
	}
	to.NIC = 0 // as bound
	if err := c.Connect(to); err != unix.EINPROGRESS {
		t.Errorf("connect: %v", err)
	}
	if got := h.next(); got.tcp.Flags() != flagSyn {
		t.Errorf("%v went out", got.tcp.Flags())
	}
	c.Abort()

	// With the SYN queue full, a cookie does the same.
	h = linkLocal(t)
	h.run("listen 1\nsyns 1")
	h.peerPort, h.haveISS = peerPort, false
	h.run(`
		< S 0 <mss 1440>
		> SA 0 ack 1
		cookies 1
		< A 1 ack 1
		accept`)
}

// TestDestroy is SOCK_DESTROY of sock_diag(7).
func TestDestroy(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run("established\n< PA 1:101 ack 1\n> A 1 ack 101")
	h.e.Destroy()
	h.run(`
		> RA 1 ack 101
		read ECONNABORTED
		read 0
		inq 0`)
	h = newHarness(t, false, 1500)
	h.run("listen 1\n< S 0 <mss 1000>\n> SA 0 ack 1\n< A 1 ack 1")
	h.listener.Destroy()
	h.run("> RA 1 ack 1\n< S 0 port 99 <mss 1000>\n> RA 0 ack 1")
}

// TestMTUChanges: the interface's MTU, and that of a route.
func TestMTUChanges(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run(`
		established mss 1460
		write 2920
		expects 1 2 1460
		< A 1 ack 2921`)
	if err := h.stack.NIC(1).SetMTU(1000); err != nil {
		t.Fatal(err)
	}
	h.run(`
		+1s
		write 1920
		> A 2921:3881 ack 1
		> PA 3881:4841 ack 1
		mss 960`)
	h = newHarness(t, false, 1500)
	if err := h.stack.AddRoute(stack.RouteEntry{Destination: netip.MustParsePrefix("10.0.0.2/32"), NIC: 1, MTU: 900}); err != nil {
		t.Fatal(err)
	}
	h.run(`
		listen 1
		< S 0 <mss 1460>
		> SA 0 ack 1 <mss 860>
		< A 1 ack 1
		accept
		mss 860`)
}

// TestReuseChanged: SO_REUSEADDR after bind(2) counts for who binds next.
func TestReuseChanged(t *testing.T) {
	h := newHarness(t, false, 1500)
	a, b := NewEndpoint(h.stack, false), NewEndpoint(h.stack, false)
	b.opts.ReuseAddress.Store(true)
	if err := a.Bind(tcpip.FullAddress{Port: 80}); err != nil {
		t.Fatal(err)
	}
	if err := b.Bind(tcpip.FullAddress{Port: 80}); err != unix.EADDRINUSE {
		t.Errorf("without agreement: %v", err)
	}
	a.opts.ReuseAddress.Store(true)
	a.ReuseChanged()
	b.ReuseChanged() // has no port yet
	if err := b.Bind(tcpip.FullAddress{Port: 80}); err != nil {
		t.Errorf("by agreement: %v", err)
	}
}

// TestUnlockEnds: who unlocks is not kept by segments that come as fast as they are handled.
func TestUnlockEnds(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector's run: the harness is used by the connection's goroutine, too")
	}
	h := newHarness(t, false, 1500)
	h.run("established")
	f := &feeder{h: h}
	f.left.Store(1000)
	entry := &waiter.Entry{Mask: waiter.AllEvents, Listener: f}
	_ = h.e.EventRegister(entry)
	h.e.lock()
	h.inject("< PA 1:2 ack 1")
	h.e.unlock() // each notification brings another segment into the backlog
	if f.left.Load() == 0 {
		t.Fatal("it went on to the end")
	}
	f.stop.Store(true)
	deadline := time.Now().Add(10 * time.Second)
	for h.e.backlog.waiting.Load() > 0 {
		if time.Now().After(deadline) {
			t.Fatal("the rest is never handled")
		}
		time.Sleep(time.Millisecond)
	}
	h.e.EventUnregister(entry)
	h.wire.out = nil
}

// feeder puts a segment into the backlog for each one that is handled.
type feeder struct {
	h    *harness
	left atomic.Int32
	next int
	stop atomic.Bool
}

func (f *feeder) NotifyEvent(waiter.EventMask) {
	if f.left.Load() == 0 || f.stop.Load() {
		return
	}
	f.left.Add(-1)
	f.next++
	// As if another goroutine held the lock at this moment.
	if f.h.e.mu.TryLock() {
		defer f.h.e.mu.Unlock()
	}
	f.h.inject(fmt.Sprintf("< PA %d:%d ack 1", f.next+1, f.next+2))
}

func TestEdges(t *testing.T) {
	runSituations(t, []situation{
		{"RFC 9293 3.8.5: urgent data more than 64 KiB ahead", `
			window 65535
			established mss 1000,ws 7
			set sndbuf 300000
			cwndsegs 10
			write 5000
			expects 1 5 1000
			more 80000
			dropall
			oob 1
			< A 1 ack 10001
			urgents`},
		{"close(2) with a closed window: the end is probed for, and given up", `
			sysctl retries2 2
			established
			write 100
			> PA 1:101 ack 1
			< A 1 ack 101 win 0
			write 100
			close
			+201ms
			> A 100 ack 1
			+401ms
			> A 100 ack 1
			+801ms
			state CLOSED
			nothing 0`},
		{"close(2) in FIN-WAIT-2: the time of TCP_LINGER2 begins", `
			sysctl fin_timeout 5
			established
			shutdown wr
			> FA 1 ack 1
			< A 1 ack 2
			+1h
			close
			+5s
			state CLOSED`},
		{"close(2): a close with everything unsent is not forgotten", `
			established
			set cork 1
			write 10
			close
			> FPA 1:11 ack 1`},
		{"RFC 2883 5: a duplicate from long ago is ignored", `
			window 2000
			established mss 1000,sackOK
			write 1000
			> PA 1:1001 ack 1
			< A 1 ack 1001 <sack -5000:-4000>
			dsacks 0`},
		{"RFC 9293 3.8.4: keep-alive waits while there is data to be acknowledged", `
			established
			set keepalive 1
			set keepidle 1
			window 65535
			write 10
			> PA 1:11 ack 1
			+201ms
			> PA 1:11 ack 1
			+401ms
			> PA 1:11 ack 1
			+500ms
			< A 1 ack 11
			+999ms
			notimer send`},
		{"RFC 6191 2: tcp_tw_reuse 1 is for all interfaces", `
			sysctl tw_reuse 1
			bind 5000
			connect EINPROGRESS
			> S 0
			< SA 0 ack 1 <mss 1000,TS>
			> A 1 ack 1
			close
			> FA 1 ack 1
			< FA 1 ack 2
			> A 2 ack 2
			timewait 1
			+2s
			connecttimewait
			> S 65539
			timewait 0`},
		{"RFC 6191 2: tcp_tw_reuse 2 is not for this one", `
			sysctl tw_reuse 2
			bind 5000
			connect EINPROGRESS
			> S 0
			< SA 0 ack 1 <mss 1000,TS>
			> A 1 ack 1
			close
			> FA 1 ack 1
			< FA 1 ack 2
			> A 2 ack 2
			+2s
			connecttimewait EADDRNOTAVAIL
			timewait 1`},
		{"RFC 9293 3.10.7.4: SYN-RECEIVED of a simultaneous open, wrong acknowledgement", `
			connect EINPROGRESS
			> S 0
			< S 0 <mss 1000>
			> SA 0 ack 1
			< A 1 ack 77
			> R 77
			state SYN-RECEIVED`},
		{"RFC 7323 3.2: a simultaneous open echoes the timestamp", `
			connect EINPROGRESS
			> S 0 <TS 0>
			< S 0 <mss 1000,TS>
			> SA 0 ack 1 <TS 3601000>`},
		{"RFC 9293 3.10.7.4: in SYN-RECEIVED, a segment without ACK is dropped", `
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			< P 1:11
			requests 1`},
		{"tcp(7) TCP_SYNCNT of a listener: how often the SYN-ACK is sent again", `
			listen 1
			set syncnt 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			+1s
			> SA 0 ack 1
			+2s
			requests 0`},
		{"RFC 5961 7: challenges during the handshake are limited", `
			listen 1
			< S 0 <mss 1000>
			> SA 0 ack 1
			< R 50
			requests 1`},
		{"RFC 8985 7.3: a probe is sent once, then the timeout comes", `
			established mss 1000,sackOK
			connectedlong 1
			write 1000
			> PA 1:1001 ack 1
			+40ms
			< A 1 ack 1001
			write 2000
			expects 1001 2 1000
			+85ms
			> PA 2001:3001 ack 1
			+281ms
			> A 1001:2001 ack 1
			castate 4`},
		{"RFC 9293 3.8.6: closed windows are counted", `
			listen 1
			set rcvbuf 8000
			established
			fillwindow
			zerowindows 1`},
		{"recv(2) MSG_OOB when the connection is gone", `
			established
			< PAU 1:2 ack 1 urg 1
			> A 1 ack 2
			< R 2
			readoob ENOTCONN`},
		{"RFC 4987 3.6: a cookie when no more may wait for accept(2)", `
			listen 1
			syns 1
			< S 0 port 7 <mss 1000>
			dropall
			handshakes 2
			cookiefull`},
	})
}
