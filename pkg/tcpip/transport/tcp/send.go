package tcp

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
)

const (
	// sendChunkSize is how much is copied from the application at a time: while the next
	// chunk is copied, the one before is on its way.
	sendChunkSize = 64 << 10
	// sendChunkSmall is the room for small writes, which gather in one View.
	sendChunkSmall = 2048
)

// Send implements tcpip.Endpoint. EPIPE: the connection cannot send (any more). EAGAIN: there is
// no room, or the connection is not established yet. To is ignored, as Linux does. An error that
// ended the connection is returned once.
func (e *Endpoint) Send(src tcpip.Source, opts tcpip.SendOptions) (int, error) {
	e.sendMu.Lock()
	defer e.sendMu.Unlock()
	total := 0
	for {
		e.look()
		if err := e.sendable(); err != nil {
			e.unlock()
			if total > 0 {
				return total, nil
			}
			return 0, err
		}
		left := src.Len()
		if left == 0 {
			e.unlock()
			return total, nil
		}
		room := e.sendBuffer() - e.sendMemory()
		if room <= 0 || e.cfg.notSentLow != 0 && uint32(e.unsent()) >= e.cfg.notSentLow {
			e.snd.noSpace = true
			e.now = e.clock.Monotonic()
			e.output(outputPush)
			e.unlock()
			if total > 0 {
				return total, nil
			}
			return 0, unix.EAGAIN
		}
		n := min(left, room, sendChunkSize)
		v, used := e.sendQ.reserve()
		e.unlock()

		if v.Memory() == 0 || n > v.Room() && n > sendChunkSmall {
			v.Release()
			v, used = buffer.NewView(max(n, sendChunkSmall)), 0
			v.Truncate(0)
		}
		n = min(n, v.Room())
		m, err := src.Read(v.Grow(n))
		v.Truncate(used + m)

		e.lock()
		if e.err != 0 || e.shut&tcpip.ShutdownWrite != 0 || !e.state.canSend() {
			// It ended while its user's memory was copied.
			v.Release()
			e.unlock()
			continue
		}
		total += m
		switch {
		case m == 0:
			v.Release()
		case used > 0:
			e.sendQ.commit(v, used)
		default:
			e.sendQ.append(v)
		}
		last := src.Len() == 0 || err != nil
		if m > 0 {
			if opts.OutOfBand && last {
				e.snd.urgent, e.snd.hasUrgent = e.sendQ.end(), true
			}
			switch {
			case !last || opts.More:
				e.snd.more = true
				e.output(outputMore)
				e.snd.more = false
			default:
				e.snd.pushSeq = e.sendQ.end()
				e.output(outputPush)
			}
		}
		e.unlock()
		if err != nil {
			if total > 0 {
				return total, nil
			}
			return 0, err
		}
		if m == 0 {
			return total, nil
		}
	}
}

// sendable is why nothing can be sent, or nil. e.mu is held.
func (e *Endpoint) sendable() error {
	if e.err != 0 && !e.state.in(StateSynSent, StateSynReceived) {
		return e.takeError()
	}
	if e.shut&tcpip.ShutdownWrite != 0 {
		return unix.EPIPE
	}
	switch {
	case e.state.canSend():
		return nil
	case e.state.in(StateSynSent, StateSynReceived):
		return unix.EAGAIN
	}
	return unix.EPIPE
}
