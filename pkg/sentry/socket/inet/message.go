package inet

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/tcpip"
	"runsc/pkg/waiter"
)

// Read implements vfs.File. System calls use RecvMsg, which can wait.
func (s *Socket) Read(ctx context.Context, dst usermem.Sequence, _ int64) (int, error) {
	if dst.Len() == 0 {
		return 0, nil
	}
	return s.RecvMsg(ctx, &socket.Message{Data: dst, Flags: unix.MSG_DONTWAIT})
}

// Write implements vfs.File. System calls use SendMsg, which can wait.
func (s *Socket) Write(ctx context.Context, src usermem.Sequence, _ int64, _ bool) (int, int64, error) {
	n, err := s.SendMsg(ctx, &socket.Message{Data: src, Flags: unix.MSG_DONTWAIT})
	return n, 0, err
}

// destinations are addresses of messages that are being sent: endpoints take a pointer.
var destinations = sync.Pool{New: func() any { return new(tcpip.FullAddress) }}

// SendMsg implements socket.Socket.
func (s *Socket) SendMsg(ctx context.Context, m *socket.Message) (int, error) {
	opts := tcpip.SendOptions{
		More:      m.Flags&unix.MSG_MORE != 0,
		OutOfBand: m.Flags&unix.MSG_OOB != 0,
		DontRoute: m.Flags&unix.MSG_DONTROUTE != 0,
	}
	if s.stream() {
		return s.sendStream(ctx, m, opts)
	}
	if opts.OutOfBand {
		if !s.v6() || s.kinds() != onUDP {
			return 0, unix.EOPNOTSUPP
		}
		opts.OutOfBand = false // UDP over IPv6 does not look
	}
	if s.sticky6() {
		s.mu.Lock()
		opts.Control = s.sticky
		s.mu.Unlock()
	}
	if m.To != nil {
		to := destinations.Get().(*tcpip.FullAddress)
		defer destinations.Put(to)
		given, err := s.sendAddress(m.To, to)
		if err != nil {
			return 0, err
		}
		if given {
			opts.To = to
		}
	}
	if len(m.Control.Raw) > 0 {
		if err := s.sendControl(ctx, m, &opts); err != nil {
			return 0, err
		}
	}
	return s.SendDatagram(ctx, m.Data, m.Flags, opts)
}

func (s *Socket) sticky6() bool { return s.v6() && s.hasSticky.Load() }

// sendAddress reads the address of sendmsg(2) of a datagram; false: it is none.
func (s *Socket) sendAddress(a *socket.Addr, to *tcpip.FullAddress) (given bool, err error) {
	b, ports := a.Bytes(), s.kinds() == onUDP
	if !s.v6() {
		if *to, err = parse4(b); err != nil {
			return false, err
		}
		if f := a.Family(); f != unix.AF_INET && f != unix.AF_UNSPEC {
			return false, unix.EAFNOSUPPORT
		}
		if ports && to.Port == 0 {
			return false, unix.EINVAL
		}
		to.Addr = s.nobody(to.Addr)
		return true, nil
	}
	v6only := s.ep.Options().V6Only.Load()
	switch a.Family() {
	case unix.AF_INET6:
		mapped := false
		if *to, mapped, err = parse6(b); err != nil {
			return false, err
		}
		if mapped && v6only {
			return false, unix.ENETUNREACH
		}
	case unix.AF_INET:
		if !ports {
			return false, unix.EINVAL
		}
		if *to, err = parse4(b); err != nil {
			return false, err
		}
		if v6only {
			return false, unix.ENETUNREACH
		}
	case unix.AF_UNSPEC:
		return false, nil
	default:
		return false, unix.EINVAL
	}
	if ports && to.Port == 0 {
		return false, unix.EINVAL
	}
	to.Addr = s.nobody(to.Addr)
	return true, nil
}

// sendStream sends all of m, and waits for room unless MSG_DONTWAIT.
func (s *Socket) sendStream(ctx context.Context, m *socket.Message, opts tcpip.SendOptions) (int, error) {
	if m.Flags&unix.MSG_FASTOPEN != 0 {
		if err := s.connectToSend(ctx, m); err != nil {
			return 0, err
		}
	}
	if len(m.Control.Raw) > 0 {
		if err := s.streamControl(ctx, m); err != nil {
			return 0, err
		}
	}
	src := socket.NewSource(m.Data)
	defer src.Free()
	done, err := s.ep.Send(src, opts)
	if err != nil && err != unix.EAGAIN || err == nil && src.Len() == 0 {
		return settle(done, err)
	}
	if m.Flags&unix.MSG_DONTWAIT != 0 {
		return settle(done, unix.EAGAIN)
	}
	deadline := s.SendDeadline(ctx)
	e := waiter.Entry{Mask: waiter.WritableEvents, Listener: ctx.Waker()}
	if err := s.EventRegister(&e); err != nil {
		return settle(done, err)
	}
	defer s.EventUnregister(&e)
	for {
		n, err := s.ep.Send(src, opts)
		done += n
		if err == nil && src.Len() == 0 || err != nil && err != unix.EAGAIN {
			return settle(done, err)
		}
		if err == nil {
			continue
		}
		if err := socket.Block(ctx, deadline); err != nil {
			return settle(done, err)
		}
	}
}

// connectToSend is the connect(2) in a send with MSG_FASTOPEN. There is no Fast Open (RFC 7413):
// as with a server that has none, data follows the handshake.
func (s *Socket) connectToSend(ctx context.Context, m *socket.Message) error {
	if m.To == nil {
		return unix.EINVAL
	}
	if m.To.Family() == unix.AF_UNSPEC {
		return unix.EOPNOTSUPP
	}
	return s.Connect(ctx, m.To, m.Flags&unix.MSG_DONTWAIT != 0)
}

// RecvMsg implements socket.Socket.
func (s *Socket) RecvMsg(ctx context.Context, m *socket.Message) (int, error) {
	switch {
	case m.Flags&unix.MSG_ERRQUEUE != 0:
		return s.recvError(ctx, m)
	case s.stream():
		return s.recvStream(ctx, m)
	}
	if m.Flags&unix.MSG_OOB != 0 && s.kinds() != onUDP {
		return 0, unix.EOPNOTSUPP
	}
	opts := tcpip.ReceiveOptions{Peek: m.Flags&unix.MSG_PEEK != 0, DontWait: m.Flags&unix.MSG_DONTWAIT != 0}
	if opts.Peek {
		opts.PeekOffset = max(s.PeekOffset(), 0)
	}
	res, err := s.ReceiveDatagram(ctx, m.Data, opts)
	if err != nil {
		return 0, err
	}
	if opts.Peek {
		s.Peeked(res.N)
	} else {
		s.Consumed(res.MessageLen)
	}
	if m.From != nil && res.From.Addr.IsValid() {
		s.put(m.From, res.From)
	}
	s.NoteStamp(&res.Control)
	s.receiveControl(m, &res.Control)
	return Received(&res, m), nil
}

// recvStream receives at least one byte of the stream, or as many as SO_RCVLOWAT and MSG_WAITALL
// want, and waits for them unless MSG_DONTWAIT.
func (s *Socket) recvStream(ctx context.Context, m *socket.Message) (int, error) {
	opts := tcpip.ReceiveOptions{
		Peek:      m.Flags&unix.MSG_PEEK != 0,
		OutOfBand: m.Flags&unix.MSG_OOB != 0,
		Discard:   m.Flags&unix.MSG_TRUNC != 0,
		DontWait:  m.Flags&unix.MSG_DONTWAIT != 0,
	}
	dst := socket.NewSink(m.Data)
	defer dst.Free()
	if opts.OutOfBand {
		res, err := s.ep.Receive(dst, opts)
		if err == nil && res.OutOfBand {
			m.OutFlags |= unix.MSG_OOB
		}
		return res.N, err
	}
	// Who wants nothing waits all the same until there is something.
	target := m.Data.Len()
	if m.Flags&unix.MSG_WAITALL == 0 {
		target = min(int(s.ep.Options().ReceiveLow.Load()), target)
	}
	r := streamReader{s: s, m: m, dst: dst, opts: opts, target: target}
	if opts.Peek {
		r.opts.PeekOffset = max(s.PeekOffset(), 0)
	}
	end, err := r.read()
	if !end {
		if err = unix.EAGAIN; !opts.DontWait {
			err = r.wait(ctx)
		}
	}
	if r.done == 0 && err != nil {
		return 0, err
	}
	if opts.Peek {
		s.Peeked(r.done)
	} else {
		s.Consumed(r.done)
	}
	s.NoteStamp(&r.control)
	s.receiveStreamControl(m, &r.control)
	return r.done, nil
}

// streamReader is one receive of a stream, in perhaps several pieces.
type streamReader struct {
	s       *Socket
	m       *socket.Message
	dst     *socket.Sink
	opts    tcpip.ReceiveOptions
	target  int
	done    int
	control tcpip.ReceiveControl
}

// atMark is TCP's SIOCATMARK.
type atMark interface{ AtMark() bool }

// read takes what there is. end: the call is complete, though the target may not be reached.
func (r *streamReader) read() (end bool, err error) {
	for {
		// A receive does not go on behind the urgent mark (tcp(7)).
		if r.done > 0 && r.dst.Len() > 0 {
			if a, ok := r.s.ep.(atMark); ok && a.AtMark() {
				return true, nil
			}
		}
		res, err := r.s.ep.Receive(r.dst, r.opts)
		switch {
		case err == unix.EAGAIN:
			return false, nil
		case err != nil:
			return true, err
		case res.N == 0:
			// The end, or no room is wanted: then the question is whether there is something.
			return r.dst.Len() > 0 || r.done > 0 || r.s.Readiness(waiter.ReadableEvents) != 0, nil
		}
		r.done += res.N
		if !res.Control.Timestamp.IsZero() {
			r.control.Timestamp = res.Control.Timestamp
		}
		if r.opts.Discard {
			r.dst.Skip(res.N)
		}
		if r.opts.Peek {
			r.opts.PeekOffset += res.N
		}
		if r.done >= r.target || r.dst.Len() == 0 {
			return true, nil
		}
	}
}

// wait goes on to read until the call is complete.
func (r *streamReader) wait(ctx context.Context) error {
	s := r.s
	deadline := s.RecvDeadline(ctx)
	e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: ctx.Waker()}
	if err := s.EventRegister(&e); err != nil {
		return err
	}
	defer s.EventUnregister(&e)
	for {
		if end, err := r.read(); end {
			return err
		}
		if err := socket.Block(ctx, deadline); err != nil {
			return err
		}
	}
}
