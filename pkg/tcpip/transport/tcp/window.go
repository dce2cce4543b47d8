package tcp

import (
	"time"

	"runsc/pkg/tcpip/header"
)

// receiveState is the receive sequence space (RFC 9293 section 3.3.1).
type receiveState struct {
	irs, nxt uint32
	// acked is RCV.NXT as of the last acknowledgement that was sent, and wnd the window in it.
	acked uint32
	wnd   int
	scale uint8
	// mss is the size of the peer's segments, estimated.
	mss int
	// reading: a reader is copying from the queue without the lock.
	reading bool
}

// tuneState is how the receive buffer follows the application's speed.
type tuneState struct {
	// In this round trip, which began at time, the application has read from seq on. space
	// is the most that it read in one.
	time  time.Duration
	seq   uint32
	space int
	// rtt is the round trip time as the receiver sees it: how long a window of data takes.
	// A measurement is going on until measureSeq comes.
	rtt         time.Duration
	measureSeq  uint32
	measureTime time.Duration
}

// A window of bytes may keep twice as much memory (receive_queue.go), so half of the buffer is
// offered (tcp(7), tcp_adv_win_scale).
const bufferPerWindow = 2

// fullWindow is the window of an empty buffer.
func (e *Endpoint) fullWindow() int {
	w := e.receiveBuffer() / bufferPerWindow
	if e.cfg.windowClamp > 0 {
		w = min(w, e.cfg.windowClamp)
	}
	return w
}

// offeredWindow is what is left of the window that the peer knows.
func (e *Endpoint) offeredWindow() int {
	return max(e.rcv.wnd-int(e.rcv.nxt-e.rcv.acked), 0)
}

// receiveMemory is what the receive buffer bounds.
func (e *Endpoint) receiveMemory() int { return e.recvQ.memory + e.ooo.memory }

// windowToOffer is the window that the buffer has room for, without what was offered before
// (RFC 9293 section 3.8.6.2.2: it grows by segments, or half of the buffer).
func (e *Endpoint) windowToOffer() int {
	full := e.fullWindow()
	free := (e.receiveBuffer() - e.receiveMemory()) / bufferPerWindow
	free = min(free, full)
	mss := min(e.rcv.mss, full)
	if free < full/2 {
		// Small windows are not worth it: close it when there is hardly any room left.
		if free < full/16 || free < mss {
			return 0
		}
	}
	free = min(free, maxPlainWindow<<e.rcv.scale)
	if e.rcv.scale > 0 {
		// Not more than there is, in the units in which it is told, but not 0 by rounding.
		unit := 1 << e.rcv.scale
		return (free + unit - 1) &^ (unit - 1)
	}
	current := e.offeredWindow()
	switch {
	case mss > 0 && (current <= free-mss || current > free):
		return free / mss * mss
	case mss == full && free > current+full/2:
		return free
	}
	return current
}

// maxPlainWindow is the largest window field.
const maxPlainWindow = 65535

// selectWindow is the window field of a segment that is sent now, and notes that it was told.
func (e *Endpoint) selectWindow() uint16 {
	current := e.offeredWindow()
	w := e.windowToOffer()
	if w < current {
		// What was offered is not taken back (RFC 9293 section 3.8.6).
		unit := 1 << e.rcv.scale
		w = (current + unit - 1) &^ (unit - 1)
	}
	w = min(w, maxPlainWindow<<e.rcv.scale)
	stats := &e.stack.Stats().TCP
	if w>>e.rcv.scale == 0 {
		stats.TCPZeroWindowAdv.Inc()
		if e.rcv.wnd > 0 {
			stats.TCPToZeroWindowAdv.Inc()
		}
	}
	e.rcv.wnd, e.rcv.acked = w, e.rcv.nxt
	return uint16(w >> e.rcv.scale)
}

// synWindow is the window field of a SYN, which is not scaled (RFC 7323 section 2.2).
func (e *Endpoint) synWindow() uint16 {
	w := min(e.fullWindow(), maxPlainWindow)
	e.rcv.wnd, e.rcv.acked = w, e.rcv.nxt
	return uint16(w)
}

// windowScale is the scale that lets a window of the largest buffer be told.
func (e *Endpoint) windowScale() uint8 {
	settings := e.stack.Settings()
	space := e.opts.ReceiveBuffer.Load()
	if !e.opts.ReceiveBufferLocked.Load() {
		space = max(space, settings.TCPReceive[2].Load(), settings.ReceiveMax.Load())
	}
	if e.cfg.windowClamp > 0 {
		space = min(space, int64(e.cfg.windowClamp))
	}
	scale := uint8(0)
	for ; space>>scale > maxPlainWindow && scale < header.TCPMaximumWindowScale; scale++ {
	}
	return scale
}

// measureReceiveRTT takes note of data: a window of it takes a round trip at least.
func (e *Endpoint) measureReceiveRTT(s *segment) {
	t := &e.tune
	if e.ts.ok && s.opts.TSEcr != 0 && s.size >= e.rcv.mss {
		// The peer answered this time stamp with data: a sample, in coarse units.
		if d := e.tsVal() - s.opts.TSEcr; d < 1<<20 && t.rtt == 0 {
			t.rtt = max(time.Duration(d)*timestampUnit, timestampUnit)
		}
	}
	if t.measureTime != 0 {
		if before(e.rcv.nxt, t.measureSeq) {
			return
		}
		if d := max(e.now-t.measureTime, time.Microsecond); t.rtt == 0 || d < t.rtt {
			t.rtt = d
		} else {
			t.rtt += (d - t.rtt) / 8
		}
	}
	t.measureSeq, t.measureTime = e.rcv.nxt+uint32(max(e.rcv.wnd, 1)), e.now
}

// tuneReceiveBuffer makes the buffer large enough for what the application reads in two round
// trips, within tcp_rmem (dynamic right-sizing).
func (e *Endpoint) tuneReceiveBuffer() {
	t := &e.tune
	if t.rtt == 0 || e.now-t.time < t.rtt {
		return
	}
	copied := int(e.copiedSeq - t.seq)
	if copied > t.space {
		settings := e.stack.Settings()
		if settings.TCPModerate.Load() && !e.opts.ReceiveBufferLocked.Load() {
			want := 2*copied + 16*e.rcv.mss
			// The sender may be in slow start: leave room for what comes next.
			want += 2 * int(int64(want)*int64(copied-t.space)/int64(max(t.space, 1)))
			buf := min(int64(want)*bufferPerWindow, settings.TCPReceive[2].Load())
			if buf > e.opts.ReceiveBuffer.Load() {
				e.opts.ReceiveBuffer.Store(buf)
			}
		}
		t.space = copied
	}
	t.seq, t.time = e.copiedSeq, e.now
}
