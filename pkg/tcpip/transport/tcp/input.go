package tcp

import (
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/waiter"
)

// invalidAckInterval is how often segments without data that are not acceptable are answered, so
// that two ends that disagree do not answer each other for ever.
const invalidAckInterval = 500 * time.Millisecond

// HandlePacket implements stack.TransportEndpoint, for listeners: connections are found by conn.
func (e *Endpoint) HandlePacket(id stack.TransportID, pkt *buffer.Packet) {
	if !e.proto.accept(pkt) {
		return
	}
	e.arrive(arrival{id: id, pkt: pkt})
}

// handleSegment takes a segment in any state but LISTEN (RFC 9293 section 3.10.7). e.mu is held.
func (e *Endpoint) handleSegment(s *segment) {
	e.count.segmentsIn++
	e.count.lastReceived = e.now
	switch e.state {
	case StateClosed:
		return
	case StateSynSent:
		e.handleSynSent(s)
		return
	}
	if !e.acceptable(s) {
		return
	}
	if s.flags&flagAck == 0 {
		return // RFC 9293 section 3.10.7.4, fifth
	}
	if e.state == StateSynReceived {
		if !after(s.ack, e.snd.una) || after(s.ack, e.snd.nxt) {
			e.proto.replyReset(e.route, &e.id, s)
			return
		}
		e.snd.wl1 = s.seq - 1
		e.establish()
	}
	if !e.handleAck(s) {
		return
	}
	if !e.advanceClosing() {
		return
	}
	if s.size > 0 || s.flags&flagFin != 0 {
		if e.state.in(StateFinWait1, StateFinWait2) && e.shut&tcpip.ShutdownRead != 0 && after(s.seq+uint32(s.size), e.rcv.nxt) {
			// Nobody will read it: the peer has to know (RFC 9293 section 3.6.1).
			e.stack.Stats().TCP.TCPAbortOnData.Inc()
			e.proto.replyReset(e.route, &e.id, s)
			e.reset(unix.ECONNRESET)
			return
		}
		if s.flags&flagUrg != 0 && e.state.in(StateEstablished, StateFinWait1, StateFinWait2) {
			e.handleUrgent(s)
		}
		if e.state.in(StateEstablished, StateFinWait1, StateFinWait2) {
			e.handleData(s)
		}
	} else if s.flags&flagUrg != 0 && e.state.in(StateEstablished, StateFinWait1, StateFinWait2) {
		e.handleUrgent(s)
	}
	if e.state == StateClosed {
		return // TIME-WAIT has taken over
	}
	e.output(outputAcked)
	e.acknowledgeData()
}

// acceptable makes the checks of RFC 9293 section 3.10.7.4, first to fourth, in the order of RFC
// 7323 section 5.3 and with the changes of RFC 5961. false: the segment is dealt with.
func (e *Endpoint) acceptable(s *segment) bool {
	stats := &e.stack.Stats().TCP
	if e.ts.ok && !s.opts.HasTimestamp && s.flags&flagRst == 0 {
		return false // RFC 7323 section 3.2
	}
	if e.pawsReject(s) {
		stats.PAWSEstab.Inc()
		e.invalidAck(s)
		return false
	}
	if e.state == StateSynReceived && s.flags&(flagSyn|flagAck|flagRst) == flagSyn|flagAck && s.seq+1 == e.rcv.nxt &&
		s.size == 0 && s.ack == e.snd.nxt {
		// The answer to our SYN of a simultaneous open: its acknowledgement counts.
		s.seq++
		s.flags &^= flagSyn
		return true
	}
	edge := e.rcv.nxt + uint32(e.offeredWindow())
	if end := s.end(); before(end, e.rcv.acked) || end == e.rcv.nxt-1 && s.length() == 0 ||
		s.length() > 0 && !after(end, e.rcv.nxt) || after(s.seq, edge) {
		switch {
		case s.flags&flagRst != 0:
		case s.flags&flagSyn != 0:
			e.challengeAck()
		default:
			if s.size > 0 && e.sackOK && before(s.seq, e.rcv.nxt) {
				e.duplicateData(s.seq, s.seq+uint32(s.size))
				e.enterQuickAck(maxQuickAcks)
			}
			e.invalidAck(s)
		}
		return false
	}
	if s.flags&flagRst != 0 {
		// RFC 5961 section 3.2: only the exact number resets.
		if s.seq == e.rcv.nxt {
			e.handleReset()
		} else {
			e.challengeAck()
		}
		return false
	}
	if s.flags&flagSyn != 0 {
		stats.TCPSYNChallenge.Inc()
		e.challengeAck() // RFC 5961 section 4.2
		return false
	}
	return true
}

// invalidAck answers a segment that is not acceptable; such without data not too often.
func (e *Endpoint) invalidAck(s *segment) {
	if s.size == 0 && s.flags&(flagSyn|flagFin) == 0 {
		if e.count.lastInvalid != 0 && e.now-e.count.lastInvalid < invalidAckInterval {
			return
		}
		e.count.lastInvalid = e.now
	}
	e.sendAck()
}

// challengeAck answers a segment that may be an attacker's (RFC 5961 section 7), within limits.
func (e *Endpoint) challengeAck() {
	if e.count.lastChallenge != 0 && e.now-e.count.lastChallenge < invalidAckInterval {
		return
	}
	if !e.proto.mayChallenge(e.now) {
		return
	}
	e.count.lastChallenge = e.now
	e.stack.Stats().TCP.TCPChallengeACK.Inc()
	e.sendAck()
}

// advanceClosing moves the closing states on when our FIN is acknowledged. false: the connection
// is gone.
func (e *Endpoint) advanceClosing() bool {
	if !e.snd.finAcked {
		return true
	}
	switch e.state {
	case StateFinWait1:
		e.state = StateFinWait2
		e.shut |= tcpip.ShutdownWrite
		e.notify(everyEvent)
		if e.closed {
			return e.orphanFinWait2()
		}
	case StateClosing:
		e.enterTimeWait()
		return false
	case StateLastAck:
		e.finish(0)
		return false
	}
	return true
}

// handleData takes the data and the FIN of a segment whose sequence number is not behind the
// window (RFC 9293 section 3.10.7.4, seventh and eighth).
func (e *Endpoint) handleData(s *segment) {
	stats := &e.stack.Stats().TCP
	e.handleECN(s)
	seq, end := s.seq, s.seq+uint32(s.size)
	fin := s.flags&flagFin != 0
	if s.size > 0 {
		e.count.dataSegmentsIn++
	}
	edge := e.rcv.nxt + uint32(e.offeredWindow())
	if !before(seq, edge) && s.size > 0 {
		// The window is closed.
		e.enterQuickAck(maxQuickAcks)
		e.ackNow()
		return
	}
	if after(end, edge) {
		s.pkt.Truncate(int(edge - seq))
		s.size = int(edge - seq)
		end, fin = edge, false
	}
	e.dataCame(s)
	if !e.makeRoom(s) {
		stats.TCPRcvQDrop.Inc()
		e.ackNow()
		return
	}
	e.takeUrgent(s)
	views := s.pkt.TakeViews(e.scratch[:0])
	e.scratch = views[:0]
	if after(seq, e.rcv.nxt) {
		e.queueOutOfOrder(views, seq, end, fin)
		return
	}
	if before(seq, e.rcv.nxt) && s.size > 0 {
		e.duplicateData(seq, earlier(e.rcv.nxt, end))
	}
	for i := range views {
		n := uint32(views[i].Len())
		if skip := e.rcv.nxt - seq; int32(skip) > 0 {
			if skip >= n {
				views[i].Release()
				seq += n
				continue
			}
			views[i].TrimFront(int(skip))
			seq += skip
			n -= skip
		}
		e.recvQ.append(views[i])
		seq += n
		e.received(int(n))
	}
	clear(views)
	if !e.ooo.empty() {
		// A gap is filled, or part of it (RFC 5681 section 4.2).
		e.ackNow()
		for {
			v, ok := e.ooo.next(e.rcv.nxt)
			if !ok {
				break
			}
			n := v.Len()
			e.recvQ.append(v)
			e.received(n)
		}
		e.sack.trim(e.rcv.nxt)
	}
	if s.size > 0 && e.readable() {
		e.notify(waiter.EventIn | waiter.EventRdNorm)
	}
	if fin && end == e.rcv.nxt || e.ooo.hasFin && e.ooo.finSeq == e.rcv.nxt {
		e.handleFin()
	}
}

// received counts n bytes that came in order.
func (e *Endpoint) received(n int) {
	e.rcv.nxt += uint32(n)
	e.count.bytesReceived += uint64(n)
}

// ackNow makes acknowledgeData send one.
func (e *Endpoint) ackNow() { e.ack.pending, e.ack.now = true, true }

// duplicateData notes that [seq, end) was there already (RFC 2883 section 4).
func (e *Endpoint) duplicateData(seq, end uint32) {
	if e.sackOK && before(seq, end) {
		e.stack.Stats().TCP.TCPDSACKOldSent.Inc()
		e.sack.setDuplicate(seq, end)
	}
}

// queueOutOfOrder keeps data that came behind a gap.
func (e *Endpoint) queueOutOfOrder(views []buffer.View, seq, end uint32, fin bool) {
	e.stack.Stats().TCP.TCPOFOQueue.Inc()
	e.count.outOfOrder++
	at, added := seq, 0
	for i := range views {
		n := views[i].Len()
		added += e.ooo.insert(at, views[i])
		at += uint32(n)
	}
	clear(views)
	if fin && !e.ooo.hasFin {
		e.ooo.hasFin, e.ooo.finSeq = true, end
	}
	if e.sackOK && before(seq, end) {
		if added == 0 {
			e.duplicateData(seq, end)
		}
		e.sack.add(seq, end)
	}
	e.ackNow()
}

// makeRoom makes the receive buffer have room for a segment, if need be by throwing away what came
// behind a gap, from its far end on (RFC 2018 section 8 allows that). false: there is none.
func (e *Endpoint) makeRoom(s *segment) bool {
	limit := e.receiveBuffer()
	if s.size == 0 || e.receiveMemory()+s.size <= limit {
		return true
	}
	stats := &e.stack.Stats().TCP
	for !e.ooo.empty() && e.receiveMemory()+s.size > limit {
		last := e.ooo.pieces.at(e.ooo.pieces.len() - 1)
		if !after(last.seq, s.seq) {
			break
		}
		stats.TCPOFODrop.Inc()
		cut := e.ooo.dropLast()
		e.sack.cut(cut)
		if e.ooo.hasFin && !before(e.ooo.finSeq, cut) {
			e.ooo.hasFin = false
		}
	}
	// What was promised by the window is taken even if the memory around it is more than was
	// thought; but a segment behind a gap has no such claim, nor one beyond all bounds.
	if e.receiveMemory()+s.size <= limit {
		return true
	}
	return !after(s.seq, e.rcv.nxt) && e.recvQ.memory+s.size <= 2*limit
}

// handleFin takes the peer's FIN, which is next in order.
func (e *Endpoint) handleFin() {
	e.rcv.nxt++
	e.shut |= tcpip.ShutdownRead
	e.finished = true
	e.ack.pending = true
	e.ooo.purge()
	e.sack = sackState{}
	switch e.state {
	case StateEstablished:
		e.state = StateCloseWait
		// The application will answer with its own FIN soon.
		e.ack.interactive = true
		if e.ack.quick > 0 {
			e.ack.quick = 0
		}
	case StateFinWait1:
		e.state = StateClosing
		e.ack.now = true
	case StateFinWait2:
		e.notify(everyEvent)
		e.sendAck()
		e.enterTimeWait()
		return
	}
	mask := waiter.EventIn | waiter.EventRdNorm | waiter.EventRdHUp
	if e.shut&tcpip.ShutdownWrite != 0 {
		mask |= waiter.EventHUp
	}
	e.notify(mask)
}

// handleReset takes a RST that counts (RFC 9293 section 3.10.7.4, second).
func (e *Endpoint) handleReset() {
	stats := &e.stack.Stats().TCP
	switch e.state {
	case StateSynReceived:
		stats.AttemptFails.Inc()
		e.reset(unix.ECONNREFUSED)
		return
	case StateEstablished, StateCloseWait:
		stats.EstabResets.Inc()
	}
	if e.state == StateCloseWait {
		e.reset(unix.EPIPE)
		return
	}
	e.reset(unix.ECONNRESET)
}
