package unix

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// maxStretch bounds how much of a stream is copied in at a time, so that a reader can begin
// before a large write is complete.
const maxStretch = 64 << 10

func (s *Socket) sendStream(ctx context.Context, m *socket.Message) (int, error) {
	peer := s.peer.Load()
	if m.To != nil {
		if peer != nil {
			return 0, unix.EISCONN
		}
		return 0, unix.EOPNOTSUPP
	}
	if peer == nil {
		return 0, unix.ENOTCONN
	}
	if s.sendShut.Load() || peer.recvShut() {
		return 0, unix.EPIPE
	}
	creds := senderCreds(ctx)
	if m.Control.HasCreds {
		creds = m.Control.Creds
	}
	done, data := 0, m.Data
	n, err := s.trySendStream(peer, data, creds, &m.Control)
	if err == nil && n == data.Len() {
		return n, nil
	}
	if n > 0 {
		done, data = n, data.DropFirst(n)
	}
	if err != nil && err != unix.EAGAIN || m.Flags&unix.MSG_DONTWAIT != 0 {
		return settle(done, err)
	}

	deadline := s.SendDeadline(ctx)
	e := waiter.Entry{Mask: waiter.WritableEvents, Listener: ctx.Waker()}
	s.EventRegister(&e)
	defer s.EventUnregister(&e)
	for {
		n, err := s.trySendStream(peer, data, creds, &m.Control)
		done, data = done+n, data.DropFirst(n)
		if err == nil && data.Len() == 0 {
			return done, nil
		}
		if err == nil {
			continue
		}
		if err != unix.EAGAIN {
			return settle(done, err)
		}
		if err := socket.Block(ctx, deadline); err != nil {
			return settle(done, err)
		}
	}
}

// settle is the result of a call that did something before an error came.
func settle(done int, err error) (int, error) {
	if done > 0 {
		return done, nil
	}
	return 0, err
}

// trySendStream appends what fits of data to the peer's queue. Files of ctl go with the
// first bytes.
func (s *Socket) trySendStream(peer *Socket, data usermem.Sequence, creds socket.Ucred, ctl *socket.Control) (int, error) {
	done := 0
	for data.Len() > 0 {
		room := int64(s.SendBuffer()) - s.wmem.Load()
		if room <= 0 {
			return done, unix.EAGAIN
		}
		m := newMessage()
		err := m.fill(data, int(min(int64(data.Len()), room, maxStretch)))
		if m.size == 0 {
			m.free()
			return done, err
		}
		m.sender, m.creds = s, creds
		m.from = s.addr.Load()
		if err := s.attach(m, ctl); err != nil {
			m.free()
			return done, err
		}
		m.charge = m.size + messageOverhead
		n := m.size
		if !peer.deliverStream(m) {
			// The files stay the caller's.
			ctl.Files = s.takeFiles(m)
			m.free()
			return done, unix.EPIPE
		}
		done += n
		data = data.DropFirst(n)
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// attach puts the files of ctl into m.
func (s *Socket) attach(m *message, ctl *socket.Control) error {
	if len(ctl.Files) == 0 {
		return nil
	}
	m.files = ctl.Files
	if err := s.ns.chargeFiles(m.fileOwner(), len(m.files)); err != nil {
		m.files = nil
		return err
	}
	ctl.Files = nil
	return nil
}

// deliverStream appends m to the queue of s, the receiver; false: it is closed.
func (s *Socket) deliverStream(m *message) bool {
	q := &s.in
	sender := m.sender
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return false
	}
	if q.tail != nil && q.tail.join(m) {
		q.bytes += m.size
		sender.charge(m.size)
		q.mu.Unlock()
		m.free()
	} else {
		sender.charge(m.charge)
		q.push(m)
		q.mu.Unlock()
	}
	s.Notify(waiter.EventIn | waiter.EventRdNorm)
	return true
}

func (s *Socket) recvStream(ctx context.Context, m *socket.Message) (int, error) {
	if s.peer.Load() == nil {
		return 0, unix.EINVAL
	}
	target := min(s.RecvLowWater(), m.Data.Len())
	if m.Flags&unix.MSG_WAITALL != 0 {
		target = m.Data.Len()
	}
	r := streamReader{s: s, m: m, peek: m.Flags&unix.MSG_PEEK != 0, passcred: s.Option(unix.SO_PASSCRED)}
	end, err := r.read()
	nonblock := m.Flags&unix.MSG_DONTWAIT != 0
	if end || err != nil && err != unix.EAGAIN || r.done > 0 && (r.done >= target || r.peek) || nonblock {
		return settle(r.done, err)
	}
	if m.Data.Len() == 0 {
		return 0, nil
	}

	deadline := s.RecvDeadline(ctx)
	e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: ctx.Waker()}
	s.EventRegister(&e)
	defer s.EventUnregister(&e)
	for {
		end, err := r.read()
		if end || err != nil && err != unix.EAGAIN || r.done > 0 && (r.done >= target || r.peek) {
			return settle(r.done, err)
		}
		if err := socket.Block(ctx, deadline); err != nil {
			return settle(r.done, err)
		}
	}
}

// streamReader is one receive of a stream, perhaps in several pieces.
type streamReader struct {
	s              *Socket
	m              *socket.Message
	peek, passcred bool
	done           int
	started        bool
	creds          socket.Ucred
}

// read takes what there is. end: the call is complete whatever its target was. EAGAIN: the
// queue is empty and not at its end.
func (r *streamReader) read() (end bool, err error) {
	s, q := r.s, &r.s.in
	freed, skip := 0, 0
	q.mu.Lock()
	if r.peek {
		skip = max(s.PeekOffset(), 0)
	}
	before := r.done
	for m := q.head; ; {
		for m != nil && skip > 0 && skip >= m.size {
			skip -= m.size
			m = m.next
		}
		if m == nil {
			if end = q.closed; !end {
				err = unix.EAGAIN
			}
			break
		}
		if !r.started {
			r.start(m)
		} else if r.passcred && m.creds != r.creds {
			end = true
			break
		}
		n, cerr := m.copyOut(r.m.Data.DropFirst(r.done), skip)
		skip = 0
		if cerr != nil && n == 0 {
			end, err = true, cerr
			break
		}
		r.done += n
		withFiles := m.files != nil
		if r.peek && withFiles {
			r.m.Control.Files = dupFiles(m.files)
		} else if withFiles && n > 0 {
			q.fds -= len(m.files)
			r.m.Control.Files = s.takeFiles(m)
		}
		next := m.next
		if !r.peek {
			freed += q.consume(m, n)
		}
		// A receive ends behind bytes that came with files.
		if r.done == r.m.Data.Len() || withFiles || cerr != nil {
			end = true
			break
		}
		m = next
	}
	if r.peek {
		s.Peeked(r.done - before)
	} else {
		s.Consumed(r.done - before)
	}
	q.mu.Unlock()
	if freed > 0 {
		// Only the peer writes to a stream.
		s.peer.Load().uncharge(freed)
	}
	if end && r.done == 0 && err == nil && r.m.Data.Len() > 0 {
		// The end of the stream, or why it ended.
		err = s.TakeError()
	}
	return end, err
}

// consume takes n bytes off m, the first message of a stream, and m if nothing is left. It
// returns how much its sender is no longer charged.
func (q *queue) consume(m *message, n int) (freed int) {
	m.drop(n)
	m.charge -= n
	q.bytes -= n
	if m.size > 0 {
		return n
	}
	q.pop()
	n += m.charge
	m.free()
	return n
}

// start notes what a receive tells of the first message.
func (r *streamReader) start(m *message) {
	r.started, r.creds = true, m.creds
	if r.passcred {
		r.m.Control.Creds, r.m.Control.HasCreds = m.creds, true
	}
	if r.m.From != nil {
		m.from.put(r.m.From)
	}
}

func dupFiles(files []*vfs.FileDescription) []*vfs.FileDescription {
	for _, f := range files {
		f.IncRef()
	}
	return append([]*vfs.FileDescription(nil), files...)
}
