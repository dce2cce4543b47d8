package unix

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/waiter"
)

// Datagrams and sequential packets: messages that keep their boundaries.

func (s *Socket) sendPacket(ctx context.Context, m *socket.Message) (int, error) {
	to := m.To
	if s.connectionBased() {
		to = nil
		if s.peer.Load() == nil {
			return 0, unix.ENOTCONN
		}
	}
	if err := s.TakeError(); err != nil {
		return 0, err
	}
	n := m.Data.Len()
	if n > s.SendBuffer()-32 {
		return 0, unix.EMSGSIZE
	}
	if s.sendShut.Load() {
		return 0, unix.EPIPE
	}
	var msg *message
	deadline := int64(0)
	var e *waiter.Entry // once it waits
	defer func() {
		if msg != nil {
			msg.free()
		}
		if e != nil {
			s.EventUnregister(e)
		}
	}()
	for {
		p := s.peer.Load()
		if to != nil {
			var err error
			if p, err = s.find(ctx, to); err != nil {
				return 0, err
			}
		} else if p == nil {
			return 0, unix.ENOTCONN
		}
		if msg == nil {
			msg = newMessage()
			if err := msg.fill(m.Data, n); err != nil {
				return 0, err
			}
			msg.sender, msg.from = s, s.addr.Load()
			msg.creds = senderCreds(ctx)
			if m.Control.HasCreds {
				msg.creds = m.Control.Creds
			}
			msg.charge = n + messageOverhead
		}
		if p.Option(unix.SO_TIMESTAMP) || p.Option(unix.SO_TIMESTAMPNS) {
			msg.time = ctx.RealTime()
		}
		err := s.deliver(p, msg, &m.Control)
		switch {
		case err == nil:
			msg = nil
			return n, nil
		case err == unix.ECONNREFUSED && to == nil:
			// The peer is gone for good.
			if s.peer.CompareAndSwap(p, nil) {
				s.mu.Lock()
				s.state = idle
				s.mu.Unlock()
			}
		}
		if err != unix.EAGAIN || m.Flags&unix.MSG_DONTWAIT != 0 {
			return 0, err
		}
		if e == nil {
			deadline = s.SendDeadline(ctx)
			e = &waiter.Entry{Mask: waiter.WritableEvents, Listener: ctx.Waker()}
			s.EventRegister(e)
			continue
		}
		if err := socket.Block(ctx, deadline); err != nil {
			return 0, err
		}
	}
}

// deliver appends msg to the queue of p. EAGAIN: it, or the send buffer, is full.
func (s *Socket) deliver(p *Socket, msg *message, ctl *socket.Control) error {
	if !s.connectionBased() {
		if p.gone.Load() {
			return unix.ECONNREFUSED
		}
		if !s.maySend(p) {
			return unix.EPERM
		}
	}
	if s.wmem.Load() >= int64(s.SendBuffer()) {
		return unix.EAGAIN
	}
	q := &p.in
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		if !s.connectionBased() && p.gone.Load() {
			return unix.ECONNREFUSED
		}
		return unix.EPIPE
	case !s.connectionBased() && p != s && p.peer.Load() != s && q.length > p.maxQueue:
		q.wait(s)
		q.mu.Unlock()
		return unix.EAGAIN
	}
	// Lock order has the namespace behind the queue.
	if err := s.attach(msg, ctl); err != nil {
		q.mu.Unlock()
		return err
	}
	s.charge(msg.charge)
	q.push(msg)
	q.mu.Unlock()
	p.Notify(waiter.EventIn | waiter.EventRdNorm)
	return nil
}

func (s *Socket) recvPacket(ctx context.Context, m *socket.Message) (int, error) {
	if s.connectionBased() && s.peer.Load() == nil {
		return 0, unix.ENOTCONN
	}
	n, err := s.tryRecvPacket(ctx, m)
	if err != unix.EAGAIN || m.Flags&unix.MSG_DONTWAIT != 0 {
		return n, err
	}
	deadline := s.RecvDeadline(ctx)
	e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: ctx.Waker()}
	s.EventRegister(&e)
	defer s.EventUnregister(&e)
	for {
		n, err := s.tryRecvPacket(ctx, m)
		if err != unix.EAGAIN {
			return n, err
		}
		if err := socket.Block(ctx, deadline); err != nil {
			return 0, err
		}
	}
}

func (s *Socket) tryRecvPacket(ctx context.Context, m *socket.Message) (int, error) {
	if err := s.TakeError(); err != nil {
		return 0, err
	}
	q := &s.in
	q.mu.Lock()
	if q.head == nil {
		closed := q.closed
		q.mu.Unlock()
		// A datagram socket that was shut down is at its end only for those who would wait.
		if closed && (s.connectionBased() || m.Flags&unix.MSG_DONTWAIT == 0) {
			return 0, nil
		}
		return 0, unix.EAGAIN
	}
	if m.Flags&unix.MSG_PEEK != 0 {
		msg, skip := q.head, max(s.PeekOffset(), 0)
		for skip > 0 && skip >= msg.size {
			skip -= msg.size
			if msg = msg.next; msg == nil {
				q.mu.Unlock()
				return 0, unix.EAGAIN
			}
		}
		if msg.files != nil {
			m.Control.Files = dupFiles(msg.files)
		}
		n, err := s.copyPacket(msg, m, skip)
		s.Peeked(min(n, m.Data.Len()))
		q.mu.Unlock()
		return n, err
	}
	msg := q.pop()
	w := q.takeWaiting(s.maxQueue)
	q.mu.Unlock()
	wakeWriters(w)

	m.Control.Files = s.takeFiles(msg)
	n, err := s.copyPacket(msg, m, 0)
	s.Consumed(msg.size)
	s.freeMessage(ctx, msg)
	if err != nil && m.Control.Files != nil {
		s.ns.closeFiles(ctx, m.Control.Files)
		m.Control.Files = nil
	}
	return n, err
}

// copyPacket fills m from msg, but for its first skip bytes, and leaves msg as it is.
func (s *Socket) copyPacket(msg *message, m *socket.Message, skip int) (int, error) {
	if m.From != nil {
		msg.from.put(m.From)
	}
	if s.Option(unix.SO_PASSCRED) {
		m.Control.Creds, m.Control.HasCreds = msg.creds, true
	}
	for _, o := range [...]int{unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS} {
		if s.Option(o) && msg.time != 0 {
			m.Control.Timestamp, m.Control.HasTimestamp = msg.time, o
		}
	}
	n, err := msg.copyOut(m.Data, skip)
	if err != nil {
		return 0, err
	}
	if n < msg.size-skip {
		m.OutFlags |= unix.MSG_TRUNC
		if m.Flags&unix.MSG_TRUNC != 0 {
			n = msg.size - skip
		}
	}
	return n, nil
}
