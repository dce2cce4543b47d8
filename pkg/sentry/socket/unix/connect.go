package unix

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/waiter"
)

// Listen implements socket.Socket.
func (s *Socket) Listen(ctx context.Context, backlog int) error {
	if !s.connectionBased() {
		return unix.EOPNOTSUPP
	}
	if s.addr.Load() == nil {
		return unix.EINVAL
	}
	if backlog < 0 || backlog > maxBacklog {
		backlog = maxBacklog
	}
	s.mu.Lock()
	if s.state != idle && s.state != listening {
		s.mu.Unlock()
		return unix.EINVAL
	}
	grown := backlog > s.maxPending
	s.state = listening
	s.maxPending = backlog
	s.peerCred, s.peerGroups = credsOf(ctx)
	s.mu.Unlock()
	if grown {
		s.space.Notify(waiter.EventOut)
	}
	return nil
}

// Connect implements socket.Socket.
func (s *Socket) Connect(ctx context.Context, addr *socket.Addr, nonblock bool) error {
	if s.Option(unix.SO_PASSCRED) && addr.Family() == unix.AF_UNIX && s.addr.Load() == nil {
		if err := s.autobind(); err != nil {
			return err
		}
	}
	if !s.connectionBased() {
		return s.connectDatagram(ctx, addr)
	}
	// While it is connecting nobody else uses the socket, so that no lock of it is held
	// with the listener's.
	s.mu.Lock()
	switch s.state {
	case idle:
		s.state = connecting
	case connecting:
		s.mu.Unlock()
		return unix.EALREADY
	default:
		state := s.state
		s.mu.Unlock()
		return s.connectAgain(ctx, addr, state)
	}
	s.mu.Unlock()
	err := s.connect(ctx, addr, nonblock)
	s.mu.Lock()
	if s.state == connecting {
		s.state = idle
		if err == nil {
			s.state = connected
		}
	}
	s.mu.Unlock()
	if err == nil {
		s.Notify(waiter.EventOut | waiter.EventWrNorm)
	}
	return err
}

// connectAgain is the error of a connect(2) that cannot succeed in the present state. Like
// Linux it looks at the other side first.
func (s *Socket) connectAgain(ctx context.Context, addr *socket.Addr, present state) error {
	l, err := s.find(ctx, addr)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.state != listening:
		return unix.ECONNREFUSED
	case len(l.backlog) > l.maxPending:
		return unix.EAGAIN
	case present == connected:
		return unix.EISCONN
	}
	return unix.EINVAL
}

func (s *Socket) connect(ctx context.Context, addr *socket.Addr, nonblock bool) error {
	var e *waiter.Entry
	var waitingFor *Socket
	defer func() {
		if waitingFor != nil {
			waitingFor.space.EventUnregister(e)
		}
	}()
	deadline := int64(0)
	for {
		l, err := s.find(ctx, addr)
		if err != nil {
			return err
		}
		err = s.connectTo(ctx, l)
		if err != unix.EAGAIN || nonblock {
			return err
		}
		if l != waitingFor {
			if waitingFor != nil {
				waitingFor.space.EventUnregister(e)
			} else {
				deadline = s.SendDeadline(ctx)
			}
			e = &waiter.Entry{Mask: waiter.EventOut, Listener: ctx.Waker()}
			l.space.EventRegister(e)
			waitingFor = l
			continue
		}
		if err := socket.Block(ctx, deadline); err != nil {
			return err
		}
	}
}

// connectTo puts the other end of s into the backlog of l. EAGAIN: it is full.
func (s *Socket) connectTo(ctx context.Context, l *Socket) error {
	n := l.ns.newSocket(l.Type(), l.Protocol())
	n.owner = l.owner
	n.CopyOptions(&l.Base)
	n.state = connected
	n.peerCred, n.peerGroups = credsOf(ctx)
	n.peer.Store(s)
	n.addr.Store(l.addr.Load())

	listenShut := l.recvShut()
	l.mu.Lock()
	var err error
	switch {
	case l.state != listening || listenShut:
		err = unix.ECONNREFUSED
	case len(l.backlog) > l.maxPending:
		err = unix.EAGAIN
	default:
		l.backlog = append(l.backlog, n)
		creds, groups := l.peerCred, l.peerGroups
		l.mu.Unlock()
		s.mu.Lock()
		s.peerCred, s.peerGroups = creds, groups
		s.mu.Unlock()
		// Whoever accepts n at once and writes to it finds the queue of s in any case; s
		// writes only after this.
		s.peer.Store(n)
		l.Notify(waiter.EventIn | waiter.EventRdNorm)
		return nil
	}
	l.mu.Unlock()
	l.ns.remove(n, nil)
	return err
}

// connectDatagram sets the peer, or with AF_UNSPEC removes it.
func (s *Socket) connectDatagram(ctx context.Context, addr *socket.Addr) error {
	var p *Socket
	if addr.Family() != unix.AF_UNSPEC {
		var err error
		if p, err = s.find(ctx, addr); err != nil {
			return err
		}
		if !s.maySend(p) {
			return unix.EPERM
		}
	} else if addr.Len() < 2 {
		return unix.EINVAL
	}
	s.mu.Lock()
	old := s.peer.Swap(p)
	s.state = idle
	if p != nil {
		s.state = connected
	}
	s.mu.Unlock()
	if old != nil && old != p {
		s.disconnected(ctx, old)
	}
	s.Notify(waiter.EventOut | waiter.EventWrNorm)
	return nil
}

// disconnected throws away what a former peer sent; the peer, if s was its peer too, gets
// ECONNRESET.
func (s *Socket) disconnected(ctx context.Context, old *Socket) {
	q := &s.in
	q.mu.Lock()
	first := q.head
	q.head, q.tail, q.length, q.bytes, q.fds = nil, nil, 0, 0, 0
	w := q.takeWaiting(s.maxQueue)
	q.mu.Unlock()
	for m := first; m != nil; {
		next := m.next
		m.next = nil
		s.freeMessage(ctx, m)
		m = next
	}
	wakeWriters(w)
	if first != nil && old.peer.Load() == s && !old.gone.Load() {
		old.SetError(unix.ECONNRESET)
		old.Notify(waiter.EventErr)
	}
}

// maySend says whether o takes datagrams of s: it is connected to nobody else.
func (s *Socket) maySend(o *Socket) bool {
	p := o.peer.Load()
	return p == nil || p == s
}

// Accept implements socket.Socket.
func (s *Socket) Accept(ctx context.Context, peer *socket.Addr, nonblock bool) (socket.Socket, error) {
	if !s.connectionBased() {
		return nil, unix.EOPNOTSUPP
	}
	n, err := s.tryAccept()
	if err == unix.EAGAIN && !nonblock {
		deadline := s.RecvDeadline(ctx)
		e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: ctx.Waker(), Exclusive: true}
		for err == unix.EAGAIN {
			// Registered anew each time: an exclusive entry may have been told in place of
			// another's.
			s.EventRegister(&e)
			if n, err = s.tryAccept(); err != unix.EAGAIN {
				s.EventUnregister(&e)
				break
			}
			berr := socket.Block(ctx, deadline)
			s.EventUnregister(&e)
			if n, err = s.tryAccept(); err == unix.EAGAIN && berr != nil {
				err = berr
				break
			}
		}
	}
	if err != nil {
		return nil, err
	}
	if s.pendingConnections() > 0 {
		s.Notify(waiter.EventIn | waiter.EventRdNorm)
	}
	if peer != nil {
		n.peer.Load().putName(peer)
	}
	return n, nil
}

func (s *Socket) pendingConnections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.backlog)
}

func (s *Socket) tryAccept() (*Socket, error) {
	shut := s.recvShut()
	s.mu.Lock()
	if s.state != listening {
		s.mu.Unlock()
		return nil, unix.EINVAL
	}
	if len(s.backlog) == 0 {
		s.mu.Unlock()
		if shut {
			return nil, unix.EINVAL
		}
		return nil, unix.EAGAIN
	}
	n := s.backlog[0]
	s.backlog[0] = nil
	s.backlog = s.backlog[1:]
	s.mu.Unlock()
	s.space.Notify(waiter.EventOut)
	return n, nil
}
