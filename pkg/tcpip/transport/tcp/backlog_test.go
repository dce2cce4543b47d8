package tcp

import (
	"strconv"
	"testing"
	"time"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
)

// TestBacklogOfConnection: segments that come while somebody holds the lock are processed, in order,
// when he leaves.
func TestBacklogOfConnection(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run("established")
	h.e.lock()
	h.run(`
		< A 1:1001 ack 1
		< A 1001:2001 ack 1
		< FA 2001 ack 1`)
	if n := h.e.recvQ.len(); n != 0 {
		t.Fatalf("%d bytes were taken without the lock", n)
	}
	h.e.unlock()
	h.run(`
		> A 1 ack 1001
		> A 1 ack 2001
		state CLOSE-WAIT
		read 2000 of 3000
		read 0`)
}

// TestBacklogIsBounded: a sender cannot fill memory while the application holds the lock.
func TestBacklogIsBounded(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run("established")
	h.e.lock()
	for range 10_000 {
		h.inject("< A 1:1001 ack 1")
	}
	limit := h.e.receiveBuffer() + h.e.sendBuffer() + backlogSlack
	if m := h.e.backlog.memory; m > limit || m < limit/2 {
		t.Fatalf("the backlog has %d bytes, the limit is %d", m, limit)
	}
	h.e.unlock()
	if h.e.backlog.memory != 0 || h.e.backlog.waiting.Load() != 0 {
		t.Fatal("the backlog was not worked off")
	}
}

// TestBacklogOfListener: what comes behind the segment that makes a connection belongs to that, even
// if both waited in the listener's backlog.
func TestBacklogOfListener(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run(`
		listen 1
		< S 0 <mss 1000>
		> SA 0 ack 1`)
	h.listener.lock()
	h.run(`
		< A 1 ack 1
		< PA 1:101 ack 1
		< FA 101 ack 1`)
	h.listener.unlock()
	h.run(`
		> A 1 ack 101
		accept
		state CLOSE-WAIT
		read 100 of 200
		read 0`)
}

// TestBacklogOfEndedConnection: segments that waited while the connection went to TIME-WAIT are for
// that.
func TestBacklogOfEndedConnection(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run(`
		established
		shutdown wr
		> FA 1 ack 1
		< A 1 ack 2`)
	h.e.lock()
	h.run(`
		< FA 1 ack 2
		< FA 1 ack 2`)
	h.e.unlock()
	h.run(`
		> A 2 ack 2
		> A 2 ack 2
		timewait 1`)
}

// TestIdleConnectionsHaveNoTimer: after the last thing that they waited for, nothing is set.
func TestIdleConnectionsHaveNoTimer(t *testing.T) {
	h := newHarness(t, false, 1500)
	for i := range 1000 {
		h.peerPort = uint16(1000 + i)
		h.run(`
			established mss 1000,sackOK,TS
			write 100
			> PA 1:101 ack 1
			< PA 1:101 ack 101
			> A 101 ack 101`)
	}
	for range 100 {
		if h.clock.Pending() == 0 {
			return
		}
		h.clock.Advance(time.Second)
	}
	t.Fatalf("%d timers are set", h.clock.Pending())
}

// TestBusyConnectionSetsFewTimers: the clock's timer is not moved for each segment.
func TestBusyConnectionSetsFewTimers(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run("established mss 1000,sackOK,TS,ws 7\nset sndbuf 1000000")
	arms, last := 0, time.Duration(0)
	for range 1000 {
		_, _ = h.e.Send(&patternSource{h, 988}, tcpip.SendOptions{})
		h.clock.Advance(100 * time.Microsecond)
		h.wire.out = nil
		h.e.mu.Lock()
		una := h.e.snd.nxt - h.iss
		h.e.mu.Unlock()
		h.tsVal = h.e.tsVal()
		h.inject("< A 1 ack " + strconv.Itoa(int(una)))
		if a := h.e.timers.armed; a != last {
			arms, last = arms+1, a
		}
	}
	if arms > 50 {
		t.Fatalf("the timer was set %d times in 100 ms", arms)
	}
}

// TestNoAllocationPerSegment: a segment out and one in cost no memory that the collector has to free.
func TestNoAllocationPerSegment(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run("established mss 1000,ws 7")
	e := h.e
	view := func() {
		// In: a segment of the peer that is handled, read and acknowledged.
		pkt := buffer.New()
		pkt.AppendView(buffer.NewView(1020))
		h.wire.out = h.wire.out[:0]
		e.lock()
		s := segment{pkt: pkt, seq: e.rcv.nxt, ack: e.snd.nxt, flags: flagAck, window: 60000, size: 1020}
		e.handleSegment(&s)
		e.consume(1020)
		e.unlock()
		pkt.Release()
	}
	view()
	// The wire of the test copies; what it allocates is not TCP's: one slice per packet out.
	if n := testing.AllocsPerRun(1000, view); n > 2 {
		t.Fatalf("%v allocations per segment", n)
	}
}

// TestResume: what a connection, a listener and TIME-WAIT wait for comes after a restore, too, which
// has lost the clock's timers.
func TestResume(t *testing.T) {
	h := newHarness(t, false, 1500)
	h.run(`
		established
		save
		listen 10
		syns 1
		restore
		write 10
		> PA 1:11 ack 1`)
	p := h.e.proto
	for _, e := range p.endpoints() {
		e.lock()
		if e.timers.timer != nil {
			e.timers.timer.Stop()
			e.timers.timer = nil
		}
		e.unlock()
	}
	h.run("+500ms")
	p.Resume()
	h.run(`
		+1ms
		> PA 1:11 ack 1
		< A 1 ack 11
		shutdown wr
		> FA 11 ack 1
		< FA 1 ack 12
		> A 12 ack 2
		timewait 1`)
	p.timeWaits.timer.Stop()
	p.Resume()
	h.run(`
		unlisten
		+61s
		timewait 0`)
}
