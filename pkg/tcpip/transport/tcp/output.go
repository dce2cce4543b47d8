package tcp

import (
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
)

// sendState is the send sequence space (RFC 9293 section 3.3.1).
type sendState struct {
	iss, una, nxt uint32
	// wnd is SND.WND in bytes, wl1 the segment it came with, maxWnd the largest ever.
	wnd, maxWnd int
	wl1         uint32
	lastWindow  uint32 // the last window field
	scale       uint8
	// finQueued: the stream ends behind the send queue. finAcked: and the peer knows.
	finQueued, finAcked bool
	// pushSeq is up to where the application asked for delivery: PSH.
	pushSeq uint32
	// more: the application is about to add to the queue.
	more bool
	// urgent is the urgent pointer, the number behind the byte, if hasUrgent.
	urgent    uint32
	hasUrgent bool
	// smallEnd is the end of the last partial segment (Minshall's variant of Nagle).
	smallEnd uint32
	// noSpace: somebody waits for room in the queue.
	noSpace bool
	// lastSent is when data was sent last.
	lastSent time.Duration
	// probes is how many probes of a zero window were not answered; probesSince when the
	// first of them was sent.
	probes      int
	probesSince time.Duration
}

// outputReason is what makes the endpoint look for something to send.
type outputReason uint8

const (
	// outputPush: the application wrote and asks for delivery.
	outputPush outputReason = iota
	// outputMore: it wrote and will write more (MSG_MORE, or the rest of a large message).
	outputMore
	// outputAcked: an acknowledgement came, or a timer asks.
	outputAcked
	// outputForce: what is held back by Nagle or TCP_CORK goes, too.
	outputForce
)

// finSent says whether the FIN is in flight or acknowledged.
func (e *Endpoint) finSent() bool { return e.snd.finQueued && e.snd.nxt == e.sendQ.end()+1 }

// finUnsent says whether there is a FIN to be sent.
func (e *Endpoint) finUnsent() bool {
	return e.snd.finQueued && !e.snd.finAcked && !e.finSent()
}

// sendMSS is how much a full segment carries.
func (e *Endpoint) sendMSS() int { return e.maxWindowMSS }

// maxPayload is how much goes into one packet with segmentation offload.
func (e *Endpoint) maxPayload() int {
	mss := e.sendMSS()
	if e.snd.hasUrgent {
		return mss // who cuts up a packet does not know of urgent pointers
	}
	n := maxSegmentation
	if link := e.route.NIC.Link(); link.Capabilities()&stack.CapSegmentation != 0 {
		n = min(n, int(link.MaxSegmentation()))
	}
	n -= header.TCPMaximumSize + 60
	return max(n/mss*mss, mss)
}

// maxSegmentation is the largest packet made for segmentation.
const maxSegmentation = buffer.MaxPacket

// usableWindow is how much the peer's window has room for.
func (e *Endpoint) usableWindow() int { return e.snd.wnd - e.flight() }

// headFits says whether the next segment fits into the peer's window whole.
func (e *Endpoint) headFits() bool {
	n := min(e.unsent(), e.sendMSS())
	return e.usableWindow() >= n && (n > 0 || e.finUnsent())
}

// output sends what may be sent (RFC 9293 section 3.8.6.2.1, RFC 5681).
func (e *Endpoint) output(why outputReason) {
	if !e.state.in(StateEstablished, StateCloseWait, StateFinWait1, StateClosing, StateLastAck) {
		return
	}
	if e.unsent() == 0 && !e.finUnsent() {
		return
	}
	if !e.checkRoute() {
		if e.sent.empty() && !e.timers.isSet(deadlineSend) {
			e.armProbe() // there may be one later
		}
		return
	}
	c := &e.cong
	mss := e.sendMSS()
	if e.sent.empty() {
		e.idleRestart()
	}
	limit := e.maxPayload()
	sentAny, limited := false, false
	for {
		left := e.unsent()
		fin := e.finUnsent()
		if left == 0 && !fin {
			break
		}
		wnd := e.usableWindow()
		room := c.window - e.pipe()
		if room < min(left, mss) || room <= 0 {
			limited = true
			break
		}
		// Only whole segments, as far as window and congestion window have room.
		n := min(left, limit)
		cut := n > wnd || n > room
		if cut {
			n = min(wnd, room)
			if n < mss {
				break // silly window: the probe timer sends it if nothing else happens
			}
			n = n / mss * mss
		} else if n < left {
			n = n / mss * mss
		} else if tail := n % mss; tail != 0 && !fin && !e.mayBePartial(why) {
			if n -= tail; n == 0 {
				break
			}
		}
		if cut && e.shouldDefer(n, limit) {
			limited = room <= wnd
			break
		}
		flags := uint8(0)
		end := e.snd.nxt + uint32(n)
		if n == left && fin && wnd > n {
			flags, end = sentFin, end+1
		} else if n == 0 {
			break // the FIN, too, needs room in the window
		}
		if !e.sendNew(end, flags) {
			sentAny = true
			break
		}
		sentAny = true
	}
	if sentAny || limited {
		e.noteUse(limited || e.pipe() >= c.window)
	}
	e.noteLimited()
	if e.sent.empty() {
		if (e.unsent() > 0 || e.finUnsent()) && !e.timers.isSet(deadlineSend) {
			e.armProbe()
		}
	} else if sentAny {
		e.armSend(0)
	}
}

// noteUse notes whether the congestion window limited the sender, in this round trip.
func (e *Endpoint) noteUse(limited bool) {
	c := &e.cong
	if f := e.flight(); afterOrEqual(e.snd.una, c.roundEnd) || limited || !c.limited && f > c.maxFlight {
		c.limited, c.maxFlight, c.roundEnd = limited, f, e.snd.nxt
	}
}

// shouldDefer says whether to wait with n bytes until more may be sent in one packet: if a large
// part of the window is in flight, its acknowledgement is near, and makes a larger packet.
func (e *Endpoint) shouldDefer(n, limit int) bool {
	if e.sent.empty() || e.rec.state != CongestionOpen || e.snd.finQueued {
		return false
	}
	// At least a third of what may be in flight, as large as one packet can be.
	enough := min(min(e.cong.window, e.snd.wnd)/3, limit)
	if n >= enough {
		return false
	}
	// An acknowledgement that is overdue does not count on being near.
	return e.rtt.srtt != 0 && e.now-e.sent.list.at(0).at < e.rtt.srtt
}

// mayBePartial says whether the last segment may be smaller than full (RFC 9293 section 3.7.4
// with Minshall's change: only another small segment in flight holds it back; TCP_CORK).
func (e *Endpoint) mayBePartial(why outputReason) bool {
	switch {
	case why == outputForce || e.snd.finQueued:
		return true
	case why == outputMore || e.cfg.cork:
		return false
	case e.cfg.noDelay || e.snd.hasUrgent:
		return true
	}
	return !after(e.snd.smallEnd, e.snd.una)
}

// sendNew sends what is from SND.NXT to end for the first time. false: it could not be handed to
// the network; the timer will send it again.
func (e *Endpoint) sendNew(end uint32, flags uint8) bool {
	seq := e.snd.nxt
	if n := int(end - seq); flags&(sentFin|sentSyn) == 0 && n%e.sendMSS() != 0 {
		e.snd.smallEnd = end
	}
	g := sentSegment{seq: seq, end: end, at: e.now, flags: flags}
	e.stampRate(&g)
	e.sent.add(g)
	e.snd.nxt = end
	if e.rec.state >= CongestionCWR {
		e.rec.prrOut += int(end - seq)
	}
	if flags&sentSyn == 0 {
		e.snd.lastSent = e.now
		if e.now-e.ack.lastData < e.ack.ato {
			e.ack.interactive = true
		}
	}
	e.ecn.fresh = true
	ok := e.transmit(seq, end, flags)
	e.ecn.fresh = false
	return ok
}

// outputProbe sends one segment of new data beyond the congestion window, if the peer's has room
// (RFC 8985 section 7.3).
func (e *Endpoint) outputProbe() {
	n := min(e.unsent(), e.sendMSS())
	if n > 0 && e.usableWindow() >= n && e.checkRoute() {
		e.sendNew(e.snd.nxt+uint32(n), 0)
	}
}

// pushPending sends what Nagle or TCP_CORK held back until now.
func (e *Endpoint) pushPending() {
	if e.unsent() > 0 {
		e.output(outputPush)
	}
}

// idleRestart makes the window smaller after a time without sending, because what it was learned
// from may be gone (RFC 5681 section 4.1, RFC 2861).
func (e *Endpoint) idleRestart() {
	c := &e.cong
	idle := e.now - e.snd.lastSent
	if e.snd.lastSent == 0 || idle <= e.rtt.timeout() || e.rec.state != CongestionOpen {
		return
	}
	e.updateCongestion()
	e.cc.idle(c, idle)
	if !e.stack.Settings().TCPSlowStartAfterIdle.Load() {
		return
	}
	restart := min(initialSegments*e.sendMSS(), c.window)
	c.threshold = max(c.threshold, c.window*3/4)
	for t := e.rtt.timeout(); idle > t && c.window > restart; idle -= t {
		c.window /= 2
	}
	c.window = max(c.window, restart)
	c.limited = false
}

// transmit sends the segment [seq, end), which is in the send queue. false: the network refused
// it.
func (e *Endpoint) transmit(seq, end uint32, what uint8) bool {
	if !e.checkRoute() {
		return false
	}
	n := int(end - seq)
	flags := flagAck
	if what&sentSyn != 0 {
		n--
		flags = flagSyn
		if e.state == StateSynReceived {
			flags |= flagAck
		} else if e.ecn.asked && what&sentEver == 0 {
			// RFC 3168 section 6.1.1; not again, if that was why it was lost.
			flags |= flagEce | flagCwr
		}
	}
	if what&sentFin != 0 {
		n--
		flags |= flagFin
	}
	pkt := buffer.New()
	if n > 0 {
		e.sendQ.fill(pkt, seq, n)
		if e.finOrPush(end) {
			flags |= flagPsh
		}
		packets := uint32((n + e.sendMSS() - 1) / e.sendMSS())
		e.count.dataSegmentsOut += packets
		e.count.bytesSent += uint64(n)
	}
	return e.send(pkt, seq, flags, n)
}

// finOrPush says whether a segment that ends at end has PSH: the application's message ends in
// it, or the queue does and nothing is about to be added.
func (e *Endpoint) finOrPush(end uint32) bool {
	return !e.snd.more && afterOrEqual(end, e.sendQ.end()) || e.snd.pushSeq == end
}

// send completes pkt, which has n bytes of data, with the header and hands it to the network.
func (e *Endpoint) send(pkt *buffer.Packet, seq uint32, flags header.TCPFlags, n int) bool {
	var opts header.TCPOptions
	syn := flags&flagSyn != 0
	window := uint16(0)
	// What a packet carries is less by the selective acknowledgements, which a segment was made
	// without and may be sent again with (RFC 6691 section 2).
	mss := e.sendMSS()
	if syn {
		e.synOptions(&opts, flags)
		window = e.synWindow()
	} else {
		if e.ts.ok {
			opts.HasTimestamp, opts.TSVal, opts.TSEcr = true, e.tsVal(), e.ts.recent
		}
		if e.sackOK && (e.sack.n > 0 || e.sack.hasDuplicate) {
			plain := opts.Length()
			e.sack.fill(&opts)
			if extra := opts.Length() - plain; n == 0 || extra <= mss/2 {
				mss -= extra
			} else {
				opts.SACKCount = 0
			}
		}
		if flags&flagRst == 0 {
			window = e.selectWindow()
		}
	}
	fields := header.TCPFields{
		SourcePort:      e.id.LocalPort,
		DestinationPort: e.id.RemotePort,
		Sequence:        seq,
		Flags:           flags,
		Window:          window,
		HeaderLength:    header.TCPMinimumSize + opts.Length(),
	}
	if flags&flagAck != 0 {
		fields.Acknowledgment = e.rcv.nxt
		e.ackSent()
	}
	if e.snd.hasUrgent && after(e.snd.urgent, seq) && !syn {
		if d := e.snd.urgent - seq; d <= 0xffff {
			fields.Flags |= flagUrg
			fields.UrgentPointer = uint16(d)
		} else if n > 0 {
			fields.Flags |= flagUrg
			fields.UrgentPointer = 0xffff
		}
	}
	params := e.networkParams()
	if e.ecn.ok && !syn && flags&flagRst == 0 {
		if e.ecn.echo {
			fields.Flags |= flagEce
		}
		// RFC 3168 sections 6.1.4 and 6.1.5: neither pure acknowledgements nor retransmissions
		// are marked as capable.
		if n > 0 && e.ecn.fresh {
			params.TOS |= header.ECNCapable0
			if e.ecn.sendCWR {
				fields.Flags |= flagCwr
				e.ecn.sendCWR = false
			}
		}
	}
	packets := uint32(1)
	if n > mss && mss > 0 {
		pkt.Segmentation = buffer.Segmentation{Type: e.segmentationType(), Size: uint16(mss)}
		packets = uint32((n + mss - 1) / mss)
	}
	e.count.segmentsOut += packets
	stats := &e.stack.Stats().TCP
	stats.OutSegs.Add(uint64(packets))
	pkt.Mark, pkt.Priority = e.opts.Mark.Load(), e.opts.Priority.Load()
	if e.route.Local {
		pkt.Deferred = true
		e.deferred = e.route
	}
	encode(pkt, &fields, &opts, e.id.LocalAddr, e.id.RemoteAddr, n)
	err := e.route.WritePacket(params, pkt)
	if err == unix.EMSGSIZE {
		// The interface's or the path's MTU is another than when the segment was made.
		e.syncMTU()
	}
	return err == nil
}

func (e *Endpoint) segmentationType() buffer.SegmentationType {
	if e.id.RemoteAddr.Is4() {
		return buffer.SegmentTCP4
	}
	return buffer.SegmentTCP6
}

// networkParams is what the socket's options say about the network header.
func (e *Endpoint) networkParams() stack.NetworkParams {
	p := stack.NetworkParams{Transport: header.ProtocolTCP}
	o := &e.opts
	if e.id.RemoteAddr.Is4() {
		p.TTL = uint8(max(o.TTL.Load(), 0))
		p.TOS = uint8(o.TOS.Load()) &^ header.ECNMask
		p.DontFragment = mtuDiscovered(o.MTUDiscovery4.Load())
		p.Options = e.ipOptions
	} else {
		p.TTL = uint8(max(o.HopLimit.Load(), 0))
		p.TOS = uint8(o.TrafficClass.Load()) &^ header.ECNMask
		p.DontFragment = mtuDiscovered(o.MTUDiscovery6.Load())
		p.FragmentHere = true
	}
	return p
}

// sendControl sends a segment without data.
func (e *Endpoint) sendControl(seq uint32, flags header.TCPFlags) bool {
	if !e.checkRoute() {
		return false
	}
	return e.send(buffer.New(), seq, flags, 0)
}

// sendAck sends an acknowledgement now.
func (e *Endpoint) sendAck() {
	if e.state == StateClosed || e.route == nil {
		return
	}
	e.sendControl(e.snd.nxt, flagAck)
}

// sendReset tells the peer that the connection is gone.
func (e *Endpoint) sendReset() {
	if e.route == nil {
		return
	}
	e.stack.Stats().TCP.OutRsts.Inc()
	e.sendControl(e.snd.nxt, flagRst|flagAck)
}
