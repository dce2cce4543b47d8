package tcp

import (
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"

	"golang.org/x/sys/unix"
)

const (
	// defaultMSS is what every host takes (RFC 9293 section 3.7.1).
	defaultMSS = header.TCPDefaultMSS4
	// leastPeerMSS bounds what a hostile peer can make of each byte.
	leastPeerMSS = 48
	// blackHoleFloor is the least MSS that is tried when large segments get lost (RFC 4821
	// section 7.2 has 1024 for the packet; less is slow, not wrong).
	blackHoleFloor = 512
	// blackHoleRetries is after how many timeouts (net.ipv4.tcp_retries1).
	blackHoleRetries = 3
)

// mtuDiscovered says whether packets are sent with DF for an IP_PMTUDISC_* value.
func mtuDiscovered(v int32) bool {
	return v == tcpip.MTUDiscoveryWant || v == tcpip.MTUDiscoveryDo || v == tcpip.MTUDiscoveryProbe
}

// fixedHeaders is the size of the IP and TCP headers without TCP options.
func (e *Endpoint) fixedHeaders() int {
	if e.id.RemoteAddr.Is4() {
		return header.IPv4MinimumSize + len(e.ipOptions) + header.TCPMinimumSize
	}
	return header.IPv6Size + header.TCPMinimumSize
}

// advertisedMSS is what our SYN says: how much fits into the interface's packets (RFC 6691).
func (e *Endpoint) advertisedMSS() int {
	mtu := e.route.NIC.MTU()
	if m := e.route.Entry.MTU; m != 0 {
		mtu = min(mtu, m)
	}
	n := min(int(mtu), buffer.MaxPacket) - e.fixedHeaders() + len(e.ipOptions)
	if e.cfg.maxSegment > 0 {
		n = min(n, e.cfg.maxSegment)
	}
	return max(n, leastPeerMSS)
}

// acceptedMSS is the bound on our segments that follows from the peer's SYN; 0: it had none.
func (e *Endpoint) acceptedMSS(n int) int {
	if n == 0 {
		n = header.TCPDefaultMSS4
		if e.id.RemoteAddr.Is6() {
			n = header.TCPDefaultMSS6
		}
	}
	if e.cfg.maxSegment > 0 {
		n = min(n, e.cfg.maxSegment)
	}
	return max(n, leastPeerMSS)
}

// updateMSS computes how much data a segment carries (RFC 9293 section 3.7.1, RFC 6691 section 2).
func (e *Endpoint) updateMSS() {
	e.pathMTU = e.route.MTU()
	n := min(int(e.pathMTU), buffer.MaxPacket) - e.fixedHeaders()
	if e.peerMSS > 0 {
		n = min(n, e.peerMSS-len(e.ipOptions))
	}
	if e.blackHoleMSS > 0 {
		n = min(n, e.blackHoleMSS)
	}
	if e.ts.ok {
		n -= header.TCPTimestampSize
	}
	n = max(n, leastPeerMSS-header.TCPTimestampSize)
	e.mss = n
	// With a window of less than two segments the peer could never get more than one at a
	// time, and its delayed acknowledgement would stop everything.
	if w := e.snd.maxWnd; w > 0 {
		half := w
		if w > defaultMSS {
			half = w / 2
		}
		n = min(n, max(half, leastPeerMSS))
	}
	e.maxWindowMSS = n
	e.cong.mss = n
}

// syncMTU follows a change of the path MTU. What is in flight and too large for it is lost.
func (e *Endpoint) syncMTU() {
	if e.route == nil || e.route.MTU() == e.pathMTU {
		return
	}
	old := e.sendMSS()
	e.updateMSS()
	if e.sendMSS() < old {
		e.resendLarge()
	}
}

// resendLarge sends what is in flight in segments larger than they may be now again, without
// taking it for congestion (RFC 1191 section 6.5).
func (e *Endpoint) resendLarge() {
	if !e.state.synchronized() || e.sent.empty() {
		return
	}
	lost := false
	for i := range e.sent.list.len() {
		s := e.sent.list.at(i)
		if s.size() > e.sendMSS() && s.flags&(sentSacked|sentLost) == 0 {
			e.sent.setLost(s)
			lost = true
		}
	}
	if !lost {
		return
	}
	if e.rec.state < CongestionRecovery {
		c := &e.cong
		e.rec.state, e.rec.point = CongestionLoss, e.snd.nxt
		e.rec.canUndo, e.rec.frto = false, false
		c.threshold = max(c.window, 2*e.sendMSS())
	}
	e.retransmitLost(true)
	e.armSend(0)
}

// loadIPOptions takes the options that IPv4 packets are sent with.
func (e *Endpoint) loadIPOptions() {
	e.opts.Mu.Lock()
	e.ipOptions = nil
	if e.id.RemoteAddr.Is4() {
		e.ipOptions = e.opts.IPOptions4
	}
	e.opts.Mu.Unlock()
}

// HandleError implements stack.TransportEndpoint. A listener sends nothing whose loss matters to
// it: SYN-ACKs are repeated or time out.
func (e *Endpoint) HandleError(stack.TransportID, stack.TransportError, []byte) {}

// handleError takes an ICMP error about a segment that was sent (RFC 1122 section 4.2.3.9, RFC
// 5927 section 4: only if it is about something in flight). e.mu is held.
func (e *Endpoint) handleError(a *arrival) {
	if e.state == StateClosed || e.state == StateListen || !between(a.seq, e.snd.una, e.snd.nxt+1) {
		return
	}
	te := a.err
	if te.Errno == unix.EMSGSIZE {
		// The network layer leaves this to TCP, which alone can tell an error about something
		// in flight from one that somebody made up (RFC 5927 section 7.2).
		e.stack.SetPathMTU(e.id.RemoteAddr, te.MTU)
		if mtuDiscovered(e.mtuDiscovery()) {
			e.syncMTU()
		}
		return
	}
	if e.state.in(StateSynSent, StateSynReceived) {
		// RFC 1122 would go on after what may pass, and have the application wait for minutes for
		// a host that is known not to be there. Linux does not, and RFC 5461 section 4.1 says why.
		e.stack.Stats().TCP.AttemptFails.Inc()
		e.reset(te.Errno)
		return
	}
	e.softErr = te.Errno
	if e.receiveErrors() {
		e.err = te.Errno
		e.notify(everyEvent)
	}
}

func (e *Endpoint) receiveErrors() bool {
	if e.id.RemoteAddr.Is4() {
		return e.opts.ReceiveErrors4.Load()
	}
	return e.opts.ReceiveErrors6.Load()
}

func (e *Endpoint) mtuDiscovery() int32 {
	if e.id.RemoteAddr.Is4() {
		return e.opts.MTUDiscovery4.Load()
	}
	return e.opts.MTUDiscovery6.Load()
}
