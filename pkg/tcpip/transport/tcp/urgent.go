package tcp

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/waiter"
)

// Urgent data is one byte at most, as applications know it from BSD: the last one before the
// urgent pointer (RFC 6093 section 3.1).

type urgentStatus uint8

const (
	urgentNone urgentStatus = iota
	// urgentAnnounced: the pointer came, the byte did not.
	urgentAnnounced
	// urgentValid: the byte is in urgentState.b.
	urgentValid
	// urgentRead: it was read, but reading the stream has not passed the mark yet.
	urgentRead
)

// urgentState is the receiver's urgent data.
type urgentState struct {
	state urgentStatus
	seq   uint32 // of the byte
	b     byte
}

// handleUrgent takes the urgent pointer of a segment.
func (e *Endpoint) handleUrgent(s *segment) {
	seq := s.seq + uint32(s.urgent)
	if s.urgent > 0 {
		seq-- // it points behind the byte
	}
	// What was read already, or is not newer than what is known, is not urgent any more.
	if after(e.copiedSeq, seq) || before(seq, e.rcv.nxt) ||
		e.urg.state != urgentNone && !after(seq, e.urg.seq) || seq-e.rcv.nxt > 1<<20 {
		return
	}
	e.urg = urgentState{state: urgentAnnounced, seq: seq}
	e.notify(waiter.EventPri)
}

// takeUrgent takes the urgent byte if it is in the segment's data.
func (e *Endpoint) takeUrgent(s *segment) {
	if e.urg.state != urgentAnnounced {
		return
	}
	var b [1]byte
	if d := e.urg.seq - s.seq; d < uint32(s.size) && s.pkt.CopyTo(b[:], int(d)) == 1 {
		e.urg.state, e.urg.b = urgentValid, b[0]
		e.notify(waiter.EventPri | waiter.EventIn | waiter.EventRdNorm)
	}
}

// receiveUrgent is recv(2) with MSG_OOB. EINVAL: there is no urgent data, it was read, or it is
// in line. EAGAIN: it is announced and did not come yet.
func (e *Endpoint) receiveUrgent(dst tcpip.Sink, peek bool) (int, error) {
	e.lock()
	switch {
	case e.opts.OutOfBandInline.Load() || e.urg.state == urgentNone || e.urg.state == urgentRead:
		e.unlock()
		return 0, unix.EINVAL
	case e.state == StateClosed && !e.finished:
		e.unlock()
		return 0, unix.ENOTCONN
	case e.urg.state == urgentAnnounced:
		ended := e.state == StateClosed || e.shut&tcpip.ShutdownRead != 0
		e.unlock()
		if ended {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	b, seq := [1]byte{e.urg.b}, e.urg.seq
	e.unlock()
	if dst.Len() == 0 {
		return 0, nil
	}
	n, err := dst.Write(b[:])
	if n == 1 && !peek {
		e.lock()
		if e.urg.state == urgentValid && e.urg.seq == seq {
			e.urg.state = urgentRead
		}
		e.unlock()
	}
	return n, err
}
