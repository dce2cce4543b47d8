package inet

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip"
	"runsc/pkg/waiter"
)

// Socket is a socket of AF_INET or AF_INET6. It implements socket.Socket.
type Socket struct {
	Core
	socket.Unsupported

	switches            atomic.Uint32 // sw*
	minTTL, minHops     atomic.Int32
	unicastIF, unicast6 atomic.Int32
	hasSticky           atomic.Bool
	preferences         atomic.Int32

	mu sync.Mutex // guards the field below
	// sticky is IPV6_PKTINFO: where packets leave by, and from.
	sticky tcpip.SendControl
}

func newSocket(ns *Namespace, ep tcpip.Endpoint, family, typ, protocol int, owner uint32) *Socket {
	s := &Socket{}
	s.Init(ns, ep, family, typ, protocol, owner)
	return s
}

func (s *Socket) v6() bool     { return s.Family() == unix.AF_INET6 }
func (s *Socket) stream() bool { return s.Type() == unix.SOCK_STREAM }

// HasUrgentData implements vfs.UrgentFile.
func (*Socket) HasUrgentData() {}

// Release implements vfs.File.
func (s *Socket) Release(ctx context.Context) { s.Close(ctx) }

// bindAddress reads the argument of bind(2). EINVAL: it is too short; EAFNOSUPPORT.
func (s *Socket) bindAddress(a *socket.Addr) (tcpip.FullAddress, error) {
	b := a.Bytes()
	if s.v6() {
		if len(b) < minSockaddrIn6 {
			return tcpip.FullAddress{}, unix.EINVAL
		}
		if a.Family() != unix.AF_INET6 {
			return tcpip.FullAddress{}, unix.EAFNOSUPPORT
		}
		full, mapped, err := parse6(b)
		if err == nil && mapped && s.ep.Options().V6Only.Load() {
			err = unix.EINVAL
		}
		return full, err
	}
	full, err := parse4(b)
	if err == nil && a.Family() != unix.AF_INET && (a.Family() != unix.AF_UNSPEC || !full.Addr.IsUnspecified()) {
		err = unix.EAFNOSUPPORT
	}
	return full, err
}

// Bind implements socket.Socket. EACCES: the port is privileged; and the errors of the endpoint.
func (s *Socket) Bind(ctx context.Context, a *socket.Addr) error {
	full, err := s.bindAddress(a)
	if err != nil {
		return err
	}
	if s.kinds()&(onTCP|onUDP) != 0 && full.Port != 0 && int32(full.Port) < s.ns.stack.Settings().UnprivilegedPort.Load() &&
		!s.Capable(ctx, unix.CAP_NET_BIND_SERVICE) {
		return unix.EACCES
	}
	return s.ep.Bind(full)
}

// connectAddress reads the argument of connect(2), whose family is not AF_UNSPEC.
func (s *Socket) connectAddress(a *socket.Addr) (tcpip.FullAddress, error) {
	b := a.Bytes()
	if !s.v6() {
		full, err := parse4(b)
		if err == nil && a.Family() != unix.AF_INET {
			err = unix.EAFNOSUPPORT
		}
		full.Addr = s.nobody(full.Addr)
		return full, err
	}
	v6only := s.ep.Options().V6Only.Load()
	if !s.stream() && a.Family() == unix.AF_INET {
		// A datagram socket takes IPv4's own form too.
		if v6only {
			return tcpip.FullAddress{}, unix.EAFNOSUPPORT
		}
		full, err := parse4(b)
		full.Addr = s.nobody(full.Addr)
		return full, err
	}
	if len(b) < minSockaddrIn6 {
		return tcpip.FullAddress{}, unix.EINVAL
	}
	if a.Family() != unix.AF_INET6 {
		return tcpip.FullAddress{}, unix.EAFNOSUPPORT
	}
	full, mapped, err := parse6(b)
	if err == nil && mapped && v6only {
		err = unix.ENETUNREACH
	}
	full.Addr = s.nobody(full.Addr)
	return full, err
}

// nobody replaces an unspecified destination by this host, as BSD had it: the address that the
// socket is bound to, or the loopback address.
func (s *Socket) nobody(a netip.Addr) netip.Addr {
	if !a.IsUnspecified() {
		return a
	}
	local := s.ep.LocalAddress().Addr
	switch {
	case a.Is4() && local.Is4() && !local.IsUnspecified():
		return local
	case a.Is4() || local.Is4():
		return loopback4
	}
	return loopback6
}

// Connect implements socket.Socket.
func (s *Socket) Connect(ctx context.Context, a *socket.Addr, nonblock bool) error {
	if a.Len() < 2 {
		return unix.EINVAL
	}
	if a.Family() == unix.AF_UNSPEC {
		return s.ep.Connect(tcpip.FullAddress{})
	}
	full, err := s.connectAddress(a)
	if err != nil {
		if _, cerr := s.ep.RemoteAddress(); cerr == nil && s.stream() {
			err = unix.EISCONN // which comes first
		}
		return err
	}
	err = s.ep.Connect(full)
	if (err == unix.EINPROGRESS || err == unix.EALREADY) && !nonblock {
		return s.awaitConnect(ctx, full, err)
	}
	return err
}

// awaitConnect waits for the end of a handshake, or SO_SNDTIMEO: then unfinished is the result.
func (s *Socket) awaitConnect(ctx context.Context, to tcpip.FullAddress, unfinished error) error {
	err := s.ep.Connect(to)
	if err != unix.EALREADY {
		return err // over lo it has ended already
	}
	deadline := s.SendDeadline(ctx)
	e := waiter.Entry{Mask: waiter.WritableEvents, Listener: ctx.Waker()}
	if err := s.EventRegister(&e); err != nil {
		return err
	}
	defer s.EventUnregister(&e)
	for {
		if err := s.ep.Connect(to); err != unix.EALREADY {
			return err
		}
		switch err := socket.Block(ctx, deadline); err {
		case nil:
		case unix.EAGAIN:
			return unfinished
		default:
			return err
		}
	}
}

// Listen implements socket.Socket. EOPNOTSUPP: not TCP.
func (s *Socket) Listen(_ context.Context, backlog int) error {
	if !s.stream() {
		return unix.EOPNOTSUPP
	}
	limit := int(s.ns.stack.Settings().Somaxconn.Load())
	if backlog < 0 || backlog > limit {
		backlog = limit
	}
	return s.ep.Listen(backlog)
}

// Accept implements socket.Socket.
func (s *Socket) Accept(ctx context.Context, peer *socket.Addr, nonblock bool) (socket.Socket, error) {
	if !s.stream() {
		return nil, unix.EOPNOTSUPP
	}
	ep, addr, err := s.ep.Accept()
	if err == unix.EAGAIN && !nonblock {
		deadline := s.RecvDeadline(ctx)
		e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: ctx.Waker(), Exclusive: true}
		for err == unix.EAGAIN {
			// Registered anew each time: an exclusive entry may have been told in place of
			// another's.
			if rerr := s.EventRegister(&e); rerr != nil {
				return nil, rerr
			}
			if ep, addr, err = s.ep.Accept(); err != unix.EAGAIN {
				s.EventUnregister(&e)
				break
			}
			berr := socket.Block(ctx, deadline)
			s.EventUnregister(&e)
			if ep, addr, err = s.ep.Accept(); err == unix.EAGAIN && berr != nil {
				err = berr
				break
			}
		}
	}
	if err != nil {
		return nil, err
	}
	n := newSocket(s.ns, ep, s.Family(), s.Type(), s.Protocol(), s.ep.Options().Owner.Load())
	n.CopyOptions(&s.Base)
	n.inherit(s)
	if peer != nil {
		s.put(peer, addr)
	}
	return n, nil
}

// inherit copies what a connection has from its listener and the endpoint does not know.
func (s *Socket) inherit(from *Socket) {
	s.switches.Store(from.switches.Load())
	s.minTTL.Store(from.minTTL.Load())
	s.minHops.Store(from.minHops.Load())
	s.preferences.Store(from.preferences.Load())
	s.extra.stamp.Store(from.extra.stamp.Load())
	s.extra.timestamping.Store(from.extra.timestamping.Load())
	s.extra.lockFilter.Store(from.extra.lockFilter.Load())
	s.extra.pacing.Store(from.extra.pacing.Load())
}

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(_ context.Context, how int) error {
	switch how {
	case unix.SHUT_RD:
		return s.ep.Shutdown(tcpip.ShutdownRead)
	case unix.SHUT_WR:
		return s.ep.Shutdown(tcpip.ShutdownWrite)
	case unix.SHUT_RDWR:
		return s.ep.Shutdown(tcpip.ShutdownRead | tcpip.ShutdownWrite)
	}
	return unix.EINVAL
}

// GetSockName implements socket.Socket.
func (s *Socket) GetSockName(_ context.Context, a *socket.Addr) error {
	s.put(a, s.ep.LocalAddress())
	return nil
}

// GetPeerName implements socket.Socket.
func (s *Socket) GetPeerName(_ context.Context, a *socket.Addr) error {
	full, err := s.ep.RemoteAddress()
	if err != nil {
		return err
	}
	s.put(a, full)
	return nil
}
