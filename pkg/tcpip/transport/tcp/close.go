package tcp

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/waiter"
)

// Shutdown implements tcpip.Endpoint. ENOTCONN: there is no connection. A listener whose read
// direction ends does not listen any more.
func (e *Endpoint) Shutdown(how tcpip.ShutdownFlags) error {
	if how == 0 || how&^(tcpip.ShutdownRead|tcpip.ShutdownWrite) != 0 {
		return unix.EINVAL
	}
	e.lock()
	switch e.state {
	case StateClosed:
		e.shut |= how
		e.notify(everyEvent)
		e.unlock()
		return unix.ENOTCONN
	case StateListen:
		if how&tcpip.ShutdownRead == 0 {
			e.shut |= how
			e.unlock()
			return nil
		}
		e.unlock()
		return e.disconnect()
	case StateSynSent:
		e.unlock()
		return e.disconnect()
	}
	e.connecting, e.connected = false, true
	e.shut |= how
	if how&tcpip.ShutdownWrite != 0 {
		e.sendFin()
	}
	mask := waiter.EventMask(0)
	if e.shut&tcpip.ShutdownRead != 0 {
		mask |= waiter.EventIn | waiter.EventRdNorm | waiter.EventRdHUp
	}
	if e.shut&tcpip.ShutdownWrite != 0 {
		mask |= waiter.EventOut | waiter.EventWrNorm
	}
	if e.shut == tcpip.ShutdownRead|tcpip.ShutdownWrite {
		mask |= waiter.EventHUp
	}
	e.notify(mask)
	e.unlock()
	return nil
}

// sendFin ends the stream behind what is queued (RFC 9293 section 3.10.4).
func (e *Endpoint) sendFin() {
	switch e.state {
	case StateEstablished:
		e.state = StateFinWait1
		e.stack.Stats().TCP.CurrEstab.Add(-1)
	case StateCloseWait:
		e.state = StateLastAck
		e.stack.Stats().TCP.CurrEstab.Add(-1)
	case StateSynReceived:
		e.finWanted = true // with the acknowledgement of our SYN
		return
	default:
		return
	}
	e.snd.finQueued = true
	e.snd.pushSeq = e.sendQ.end()
	e.output(outputForce)
}

// Close implements tcpip.Endpoint. What is queued is still sent, and the connection ends by itself
// then (an orphan); but data that nobody has read, and SO_LINGER of 0, reset it. A caller that has
// to wait for SO_LINGER shuts the write direction down first, and waits until Drained.
func (e *Endpoint) Close() {
	e.lock()
	if e.closed {
		e.unlock()
		return
	}
	e.closed = true
	if e.state == StateListen {
		children := e.stopListening()
		e.unlock()
		for _, c := range children {
			c.Abort()
		}
		e.release()
		return
	}
	stats := &e.stack.Stats().TCP
	unread := e.recvQ.len() > 0
	e.shut = tcpip.ShutdownRead | tcpip.ShutdownWrite
	if !e.rcv.reading {
		e.recvQ.purge()
	}
	e.opts.Mu.Lock()
	abort := e.opts.Linger && e.opts.LingerTime == 0
	e.opts.Mu.Unlock()
	switch {
	case e.state == StateClosed:
	case e.state == StateSynSent:
		e.finish(0)
	case unread:
		// RFC 2525 section 2.17: the peer must not think that it was read.
		stats.TCPAbortOnData.Inc()
		e.sendReset()
		e.finish(0)
	case abort:
		stats.TCPAbortOnLinger.Inc()
		e.abort()
	default:
		e.sendFin()
		if e.state == StateFinWait2 {
			e.orphanFinWait2()
		}
		if e.state == StateFinWait1 || e.state == StateLastAck || e.state == StateClosing {
			// The timers end it if the peer is gone; with nothing in flight they have to
			// be running.
			if e.sent.empty() && !e.timers.isSet(deadlineSend) {
				e.armProbe()
			}
		}
	}
	if e.state == StateClosed {
		e.finish(0)
	}
	e.unlock()
	e.release()
}

// Drained says whether everything that was sent is acknowledged, the end of the stream included,
// or never will be.
func (e *Endpoint) Drained() bool {
	e.lock()
	defer e.unlock()
	return !e.state.in(StateFinWait1, StateClosing, StateLastAck)
}

// Abort implements tcpip.Endpoint.
func (e *Endpoint) Abort() {
	e.lock()
	if e.state == StateListen {
		children := e.stopListening()
		e.closed = true
		e.unlock()
		for _, c := range children {
			c.Abort()
		}
		e.release()
		return
	}
	e.closed = true
	e.abort()
	e.finish(0)
	if !e.rcv.reading {
		e.recvQ.purge()
	}
	e.unlock()
	e.release()
}

// abort ends the connection with a RST, if the peer may believe that there is one (RFC 9293
// section 3.10.5).
func (e *Endpoint) abort() {
	switch e.state {
	case StateEstablished, StateCloseWait, StateFinWait1, StateFinWait2, StateSynReceived:
		e.sendReset()
	case StateClosing, StateLastAck:
		if e.unsent() > 0 || e.finUnsent() {
			e.sendReset()
		}
	}
	e.finish(0)
}

// disconnect is connect(2) with AF_UNSPEC: the socket is as new, but for its options and what it
// was bound to.
func (e *Endpoint) disconnect() error {
	e.lock()
	var children []*Endpoint
	switch e.state {
	case StateListen:
		children = e.stopListening()
	case StateClosed:
	default:
		e.abort()
		e.err = unix.ECONNRESET
	}
	e.recvQ.purge()
	e.forget()
	e.notify(everyEvent)
	e.unlock()
	for _, c := range children {
		c.Abort()
	}
	return nil
}

// forget makes the socket ready to connect again.
func (e *Endpoint) forget() {
	e.connecting, e.connected, e.finished, e.passive = false, false, false, false
	e.shut = 0
	e.route = nil
	e.id.LocalAddr, e.id.RemoteAddr, e.id.LocalPort, e.id.RemotePort = e.bound.Addr, e.bound.Addr, 0, 0
	e.urg = urgentState{}
	e.snd, e.rcv = sendState{}, receiveState{}
	e.copiedSeq = 0
}

// reset ends the connection with an error for the socket's user.
func (e *Endpoint) reset(err unix.Errno) {
	e.err = err
	e.finish(err)
}

// finish makes the connection cease to exist: nothing is sent or received any more, but the user
// can read what came. It is harmless if there is none.
func (e *Endpoint) finish(err unix.Errno) {
	if e.state.in(StateEstablished, StateCloseWait) {
		e.stack.Stats().TCP.CurrEstab.Add(-1)
	}
	if e.conn != nil {
		e.conn.unregister()
		e.conn = nil
	}
	e.becomeClosed()
}

// becomeClosed is the part of finish that concerns the endpoint itself.
func (e *Endpoint) becomeClosed() {
	e.state = StateClosed
	e.timers.stop()
	e.sendQ.purge()
	e.sent.purge()
	e.ooo.purge()
	e.snd.nxt = e.sendQ.end()
	e.shut = tcpip.ShutdownRead | tcpip.ShutdownWrite
	if e.closed && !e.rcv.reading {
		e.recvQ.purge()
	}
	if e.port != nil && (!e.isBound || e.closed) {
		e.stack.ReleasePort(e.port)
		e.port = nil
	}
	e.notify(everyEvent)
	if e.closed {
		e.proto.remove(e)
	}
}

// release gives up what a closed socket still has, if its connection is gone.
func (e *Endpoint) release() {
	e.lock()
	if e.state == StateClosed {
		e.finish(0)
	}
	e.unlock()
}

// orphanFinWait2 bounds FIN-WAIT-2 of a socket that nobody has any more (tcp(7), TCP_LINGER2).
// false: it is over.
func (e *Endpoint) orphanFinWait2() bool {
	t := e.finTimeout()
	if t < 0 {
		e.stack.Stats().TCP.TCPAbortOnLinger.Inc()
		e.sendReset()
		e.finish(0)
		return false
	}
	e.timers.stop()
	e.timers.set(deadlineState, e.now+t)
	return true
}

// stateTimeout ends FIN-WAIT-2.
func (e *Endpoint) stateTimeout() {
	if e.state == StateFinWait2 && e.closed {
		e.finish(0)
	}
}
