package tcp

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
)

// Receive implements tcpip.Endpoint. It returns what there is, up to the urgent mark. ENOTCONN:
// there is no connection. EAGAIN: nothing came yet. An error that ended the connection
// (ECONNRESET, ETIMEDOUT …) is returned once, then the end of the stream.
func (e *Endpoint) Receive(dst tcpip.Sink, opts tcpip.ReceiveOptions) (tcpip.ReceiveResult, error) {
	if opts.ErrorQueue {
		return tcpip.ReceiveResult{}, unix.EAGAIN
	}
	e.receiveMu.Lock()
	var n int
	var err error
	if opts.OutOfBand {
		n, err = e.receiveUrgent(dst, opts.Peek)
	} else {
		n, err = e.receive(dst, &opts)
	}
	e.receiveMu.Unlock()
	if n > 0 {
		err = nil // an error of the copying comes again with the next call
	}
	return tcpip.ReceiveResult{N: n, MessageLen: n, OutOfBand: opts.OutOfBand && n > 0}, err
}

// receive moves bytes to dst. e.receiveMu is held.
func (e *Endpoint) receive(dst tcpip.Sink, opts *tcpip.ReceiveOptions) (int, error) {
	e.look()
	if e.state == StateListen {
		e.unlock()
		return 0, unix.ENOTCONN
	}
	total, offset := 0, opts.PeekOffset
	if !opts.Peek {
		offset = 0
	}
	for {
		limit := e.recvQ.len() - offset
		// The byte at the urgent mark is stepped over, and reading stops before it
		// (RFC 9293 section 3.8.5; tcp(7)).
		if e.urg.state != urgentNone && limit > 0 {
			switch d := int32(e.urg.seq - (e.copiedSeq + uint32(offset))); {
			case d > 0:
				limit = min(limit, int(d))
			case d == 0 && total > 0:
				limit = 0
			case d == 0 && !e.opts.OutOfBandInline.Load():
				if opts.Peek {
					offset++
				} else {
					e.consume(1)
				}
				limit--
			}
		}
		limit = min(limit, dst.Len()-discarded(opts, total))
		if limit <= 0 {
			break
		}
		n, err := e.copyOut(dst, opts, offset, limit)
		total += n
		if opts.Peek {
			offset += n
		}
		if err != nil {
			e.unlock()
			return total, err
		}
		if n == 0 {
			break
		}
	}
	var err error
	if total == 0 && dst.Len() > 0 {
		err = e.receiveNothing()
	}
	if !opts.Peek && total > 0 {
		e.afterRead()
	}
	e.unlock()
	return total, err
}

// discarded is how much of the sink's room is used up by bytes that were not written to it.
func discarded(opts *tcpip.ReceiveOptions, total int) int {
	if opts.Discard {
		return total
	}
	return 0
}

// receiveNothing is why there is nothing to read. e.mu is held.
func (e *Endpoint) receiveNothing() error {
	switch {
	case e.finished:
		return nil // the end came before the error, which stays
	case e.err != 0:
		return e.takeError()
	case e.shut&tcpip.ShutdownRead != 0:
		return nil
	case e.state == StateClosed:
		return unix.ENOTCONN
	}
	return unix.EAGAIN
}

// copyOut copies up to limit bytes from offset on in the queue to dst, without e.mu, which is
// held before and after, and consumes them unless it is a peek. It may copy less.
func (e *Endpoint) copyOut(dst tcpip.Sink, opts *tcpip.ReceiveOptions, offset, limit int) (int, error) {
	if opts.Discard {
		if !opts.Peek {
			e.now = e.clock.Monotonic()
			e.consume(limit)
		}
		return limit, nil
	}
	var store [16]buffer.View
	views := e.recvQ.peek(store[:0], offset)
	// Only a reader takes anything out of the queue, and e.receiveMu keeps others away.
	e.rcv.reading = true
	e.unlock()
	n := 0
	var err error
	for _, v := range views {
		b := v.Bytes()
		b = b[:min(len(b), limit-n)]
		if len(b) == 0 {
			break
		}
		var m int
		m, err = dst.Write(b)
		n += m
		if err != nil || m < len(b) {
			break
		}
	}
	e.lock()
	e.rcv.reading = false
	if e.closed {
		e.recvQ.purge()
		return n, err
	}
	if !opts.Peek {
		e.consume(n)
	}
	return n, err
}

// consume drops n bytes that were read.
func (e *Endpoint) consume(n int) {
	e.recvQ.consume(n)
	e.copiedSeq += uint32(n)
	if e.urg.state != urgentNone && after(e.copiedSeq, e.urg.seq) {
		if e.urg.state != urgentAnnounced {
			e.urg.state = urgentNone
		}
	}
}

// afterRead tells the peer about room in the window, if that is worth a segment, and learns from
// how fast the application reads.
func (e *Endpoint) afterRead() {
	e.tuneReceiveBuffer()
	if !e.state.in(StateEstablished, StateFinWait1, StateFinWait2) {
		return
	}
	unacked := e.rcv.nxt - e.rcv.acked
	// A sender may wait with its next small segment until this one is acknowledged (Nagle). If the
	// application has read everything and is not one that answers, nothing is gained by waiting.
	read := e.recvQ.len() == 0 && (e.ack.small > 1 || e.ack.small == 1 && !e.ack.interactive)
	if e.ack.pending && (unacked > uint32(e.rcv.mss) || read) {
		e.sendAck()
		return
	}
	// RFC 9293 section 3.8.6.2.2: the window is opened in large steps only.
	current := e.offeredWindow()
	if 2*current <= e.fullWindow() && e.shut&tcpip.ShutdownRead == 0 {
		if w := e.windowToOffer(); w > 0 && w >= 2*current {
			e.sendAck()
		}
	}
}
