package tcp

import (
	"time"

	"golang.org/x/sys/unix"
)

// keepAliveState is the keep-alive timer (RFC 9293 section 3.8.4).
type keepAliveState struct {
	probes int // sent and not answered
}

func seconds(n int32) time.Duration { return time.Duration(n) * time.Second }

func (e *Endpoint) keepIdle() time.Duration {
	if e.cfg.keepIdle != 0 {
		return e.cfg.keepIdle
	}
	return seconds(e.stack.Settings().TCPKeepaliveTime.Load())
}

func (e *Endpoint) keepInterval() time.Duration {
	if e.cfg.keepInterval != 0 {
		return e.cfg.keepInterval
	}
	return seconds(e.stack.Settings().TCPKeepaliveInterval.Load())
}

func (e *Endpoint) keepCount() int {
	if e.cfg.keepCount != 0 {
		return e.cfg.keepCount
	}
	return int(e.stack.Settings().TCPKeepaliveProbes.Load())
}

func (e *Endpoint) synRetries() int {
	if e.cfg.synCount != 0 {
		return e.cfg.synCount
	}
	return int(e.stack.Settings().TCPSynRetries.Load())
}

func (e *Endpoint) finTimeout() time.Duration {
	if e.cfg.linger2 != 0 {
		return e.cfg.linger2
	}
	return seconds(e.stack.Settings().TCPFinTimeout.Load())
}

// SetKeepAlive is SO_KEEPALIVE: Options().KeepAlive together with the timer.
func (e *Endpoint) SetKeepAlive(on bool) {
	e.opts.KeepAlive.Store(on)
	e.lock()
	defer e.unlock()
	if !on {
		e.timers.cancel(deadlineKeepAlive)
		return
	}
	e.armKeepAlive()
}

// armKeepAlive sets the timer of a connection that has the option.
func (e *Endpoint) armKeepAlive() {
	if e.opts.KeepAlive.Load() && (e.state.synchronized() || e.state == StateSynReceived) {
		left := max(e.keepIdle()-e.idleTime(), 0)
		e.timers.set(deadlineKeepAlive, e.now+left)
	}
}

// idleTime is how long nothing has come.
func (e *Endpoint) idleTime() time.Duration {
	return e.now - max(e.count.lastReceived, e.count.lastAckReceived)
}

// keepAliveTimeout looks whether the connection was idle, and asks the peer whether it is there.
func (e *Endpoint) keepAliveTimeout() {
	if !e.opts.KeepAlive.Load() || !e.state.synchronized() {
		return
	}
	if !e.sent.empty() || e.unsent() > 0 {
		// Other timers watch over it.
		e.timers.set(deadlineKeepAlive, e.now+e.keepIdle())
		return
	}
	idle := e.idleTime()
	if idle < e.keepIdle() {
		e.keep.probes = 0
		e.timers.set(deadlineKeepAlive, e.now+e.keepIdle()-idle)
		return
	}
	timedOut := e.keep.probes >= e.keepCount()
	if e.cfg.userTimeout != 0 {
		timedOut = idle >= e.cfg.userTimeout && e.keep.probes > 0
	}
	if timedOut {
		e.sendReset()
		e.timedOut()
		return
	}
	e.keep.probes++
	e.stack.Stats().TCP.TCPKeepAlive.Inc()
	e.sendProbe()
	e.timers.set(deadlineKeepAlive, e.now+e.keepInterval())
}

// sendProbe sends a segment that every peer answers: without data, one before what it expects.
func (e *Endpoint) sendProbe() { e.sendControl(e.snd.una-1, flagAck) }

// timedOut ends the connection because the peer does not answer.
func (e *Endpoint) timedOut() {
	e.stack.Stats().TCP.TCPAbortOnTimeout.Inc()
	err := unix.ETIMEDOUT
	if e.softErr != 0 {
		err = e.softErr
	}
	e.reset(err)
}
