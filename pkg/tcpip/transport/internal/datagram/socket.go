package datagram

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/buffer"
	"runsc/pkg/tcpip/header"
	"runsc/pkg/tcpip/stack"
	"runsc/pkg/waiter"
)

// Events that waiters are told of. They include those that poll(2) always reports.
const (
	waiterReadable = waiter.EventIn | waiter.EventRdNorm
	waiterWritable = waiter.EventOut | waiter.EventWrNorm | waiter.EventWrBand
	waiterError    = waiter.EventErr | waiterReadable | waiterWritable
	waiterShutdown = waiter.EventRdHUp | waiter.EventHUp | waiterReadable | waiterWritable
)

// Kind is what sort of socket a Socket is part of.
type Kind struct {
	// Transport is the protocol number.
	Transport uint8
	// V6: an AF_INET6 socket. V4Mapped: such a one handles IPv4 as well, unless
	// SocketOptions.V6Only is set.
	V6, V4Mapped bool
	// Ports: the socket has a local port (a ping socket: an identifier) and is found by the
	// demultiplexer; otherwise it is a raw socket, which looks at packets itself.
	Ports bool
	// Groups: it may be bound to multicast and broadcast addresses.
	Groups bool
	// AnyPeer: packets of others than the connected peer are taken too (ping sockets).
	AnyPeer bool
}

// Socket is the common part of an endpoint. Its methods Bind, Connect and so on implement those of
// tcpip.Endpoint.
type Socket struct {
	waiter.Queue
	Rx     Queue
	Groups Memberships

	stack *stack.Stack
	kind  Kind
	// handler is the endpoint that embeds the Socket.
	handler stack.TransportEndpoint
	opts    tcpip.SocketOptions

	shutdown  atomic.Uint32 // tcpip.ShutdownFlags
	connected atomic.Bool
	// match is what packets of a raw socket have to be like.
	match atomic.Pointer[match]

	mu sync.Mutex // guards the fields below
	// local is the address that packets have to be for, and source that of packets that are
	// sent; zero: any, and chosen by the route. They differ for multicast and broadcast.
	// Of an AF_INET6 socket, local is 0.0.0.0 if it was bound to that address mapped.
	local, source netip.Addr
	port          uint16
	// addrLocked and portLocked: bind(2) chose them, and Connect to nobody keeps them.
	addrLocked, portLocked bool
	// scope is the interface that a link-local address came with.
	scope  tcpip.NICID
	remote tcpip.FullAddress
	// route is the last one to remote, for routeQuery.
	route       *stack.Route
	routeQuery  stack.RouteQuery
	reservation *stack.PortRequest
	binding     *stack.Binding
	closed      bool
}

// match is a raw socket's local and remote address; zero: any.
type match struct{ local, remote netip.Addr }

// Init makes the Socket ready. handler is the endpoint that embeds it.
func (s *Socket) Init(st *stack.Stack, kind Kind, handler stack.TransportEndpoint) {
	s.stack, s.kind, s.handler = st, kind, handler
	set := st.Settings()
	s.opts.Init(set.ReceiveDefault.Load(), set.SendDefault.Load())
	s.opts.V6Only.Store(kind.V6 && set.IPv6BindV6Only.Load())
	s.match.Store(&match{})
	if !kind.Ports {
		s.port = uint16(kind.Transport)
	}
}

// Stack is the stack that the socket is of.
func (s *Socket) Stack() *stack.Stack { return s.stack }

// Options implements tcpip.Endpoint.
func (s *Socket) Options() *tcpip.SocketOptions { return &s.opts }

// Connected says whether the socket has a peer.
func (s *Socket) Connected() bool { return s.connected.Load() }

// families are the IP versions that the socket handles as it is bound now. s.mu is held.
func (s *Socket) families() (v4, v6 bool) {
	switch {
	case !s.kind.V6:
		return true, false
	case !s.kind.V4Mapped || s.opts.V6Only.Load():
		return false, true
	case s.local.IsValid():
		return s.local.Is4(), s.local.Is6()
	}
	return true, true
}

// device is the interface that the socket is bound to; 0: any. s.mu is held.
func (s *Socket) device() tcpip.NICID {
	if n := tcpip.NICID(s.opts.Device.Load()); n != 0 {
		return n
	}
	return s.scope
}

// unspecifiedIsNone makes a zero Addr of an unspecified one.
func unspecifiedIsNone(a netip.Addr) netip.Addr {
	if a.IsValid() && a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// needsScope says whether an address means something on one link only (RFC 4007 section 4).
func needsScope(a netip.Addr) bool {
	return a.Is6() && (a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast())
}

func (s *Socket) isBroadcast(a netip.Addr) bool {
	if a == header.IPv4Broadcast {
		return true
	}
	for _, n := range s.stack.NICs() {
		if n.IsBroadcast(a) {
			return true
		}
	}
	return false
}

// Bind implements tcpip.Endpoint. EINVAL: it is bound; EAFNOSUPPORT; EADDRNOTAVAIL: the address is
// not of this host; EADDRINUSE; ENODEV: the scope is no interface.
func (s *Socket) Bind(addr tcpip.FullAddress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return unix.EINVAL
	}
	if s.kind.Ports && s.port != 0 || s.connected.Load() {
		return unix.EINVAL
	}
	a, scope := addr.Addr, tcpip.NICID(0)
	switch {
	case !a.IsValid():
	case !s.kind.V6 && !a.Is4():
		return unix.EAFNOSUPPORT
	case s.kind.V6 && a.Is4() && (!s.kind.V4Mapped || s.opts.V6Only.Load()):
		return unix.EINVAL
	}
	if s.kind.V6 && a.IsValid() && needsScope(a) {
		if scope = addr.NIC; scope == 0 {
			scope = s.device()
		}
		if scope == 0 {
			return unix.EINVAL
		}
		if d := s.device(); d != 0 && d != scope {
			return unix.EINVAL
		}
		if s.stack.NIC(scope) == nil {
			return unix.ENODEV
		}
	}
	source, err := s.checkLocal(a, scope)
	if err != nil {
		return err
	}
	oldLocal, oldSource, oldScope := s.local, s.source, s.scope
	s.local, s.source = a, source
	if a.IsValid() && a.IsUnspecified() && (!s.kind.V6 || a.Is6()) {
		s.local = netip.Addr{}
	}
	if scope != 0 {
		s.scope = scope
	}
	if s.kind.Ports {
		if err := s.reserve(addr.Port); err != nil {
			s.local, s.source, s.scope = oldLocal, oldSource, oldScope
			return err
		}
		s.portLocked = addr.Port != 0
	} else {
		s.match.Store(&match{local: unspecifiedIsNone(s.local)})
	}
	s.addrLocked = unspecifiedIsNone(a).IsValid()
	s.route = nil
	return nil
}

// checkLocal says whether the socket may be bound to a, and returns the source address that packets
// have then; zero: that of the route.
func (s *Socket) checkLocal(a netip.Addr, scope tcpip.NICID) (netip.Addr, error) {
	if a = unspecifiedIsNone(a); !a.IsValid() {
		return a, nil
	}
	if a.IsMulticast() || a.Is4() && s.isBroadcast(a) {
		if !s.kind.Groups {
			return a, unix.EADDRNOTAVAIL
		}
		return netip.Addr{}, nil
	}
	if s.anySource() {
		return a, nil
	}
	nic := scope
	if nic == 0 && a.Is6() {
		nic = s.device()
	}
	if !s.stack.IsLocal(nic, a) {
		return a, unix.EADDRNOTAVAIL
	}
	return a, nil
}

func (s *Socket) anySource() bool {
	return s.opts.FreeBind.Load() || s.opts.Transparent.Load() || s.stack.Settings().IPNonlocalBind.Load()
}

// reserve takes a local port, 0: any, for the addresses as they are, and registers the socket. s.mu
// is held.
func (s *Socket) reserve(port uint16) error {
	v4, v6 := s.families()
	r := &stack.PortRequest{
		Transport: s.kind.Transport, V4: v4, V6: v6, Addr: unspecifiedIsNone(s.local), NIC: s.device(), Port: port,
		ReuseAddress: s.opts.ReuseAddress.Load(), ReusePort: s.opts.ReusePort.Load(), User: s.opts.Owner.Load(),
	}
	if err := s.stack.ReservePort(r); err != nil {
		return err
	}
	s.reservation, s.port = r, r.Port
	s.register()
	return nil
}

// release gives back the port. s.mu is held.
func (s *Socket) release() {
	if s.reservation != nil {
		s.stack.ReleasePort(s.reservation)
		s.reservation, s.port = nil, 0
	}
}

// register makes the demultiplexer know the socket as it is bound and connected now. s.mu is held.
func (s *Socket) register() {
	old := s.binding
	v4, v6 := s.families()
	b := &stack.Binding{
		Transport: s.kind.Transport, V4: v4, V6: v6,
		ID:  stack.TransportID{LocalAddr: unspecifiedIsNone(s.local), LocalPort: s.port},
		NIC: s.device(), Endpoint: s.handler,
	}
	if s.reservation != nil {
		// The table of ports has said that the socket may be beside others.
		b.ReuseAddress, b.ReusePort = true, s.reservation.ReusePort
	}
	if s.connected.Load() && !s.kind.AnyPeer {
		b.ID.RemoteAddr, b.ID.RemotePort = s.remote.Addr, s.remote.Port
		b.V4, b.V6 = s.remote.Addr.Is4(), s.remote.Addr.Is6()
	}
	if old != nil && old.ID == b.ID && old.V4 == b.V4 && old.V6 == b.V6 && old.NIC == b.NIC {
		return
	}
	if err := s.stack.Register(b); err != nil {
		panic("datagram: bindings that may all coexist do not: " + err.Error())
	}
	s.binding = b
	if old != nil {
		s.stack.Unregister(old)
	}
}

// ReuseChanged tells that SO_REUSEADDR or SO_REUSEPORT was set.
func (s *Socket) ReuseChanged() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reservation != nil {
		s.stack.SetReuse(s.reservation, s.opts.ReuseAddress.Load(), s.opts.ReusePort.Load())
	}
}

// unregister is the opposite. s.mu is held.
func (s *Socket) unregister() {
	if s.binding != nil {
		s.stack.Unregister(s.binding)
		s.binding = nil
	}
}

// autobind takes a free port if the socket has none. EAGAIN: there is none. s.mu is held.
func (s *Socket) autobind() error {
	if !s.kind.Ports || s.port != 0 {
		return nil
	}
	if s.closed || s.reserve(0) != nil {
		return unix.EAGAIN
	}
	return nil
}

// SetDevice is SO_BINDTODEVICE. ENODEV; 0 is any.
func (s *Socket) SetDevice(nic tcpip.NICID) error {
	if nic != 0 && s.stack.NIC(nic) == nil {
		return unix.ENODEV
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.opts.Device.Store(int32(nic))
	s.route = nil
	if s.binding != nil {
		s.register()
	}
	return nil
}

// Connect implements tcpip.Endpoint. EACCES: a broadcast address needs SO_BROADCAST; EINVAL: a
// link-local address needs an interface; and the errors of FindRoute.
func (s *Socket) Connect(addr tcpip.FullAddress) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return unix.EINVAL
	}
	if !addr.Addr.IsValid() {
		s.disconnect()
		return nil
	}
	if err := s.autobind(); err != nil {
		return err
	}
	scope := tcpip.NICID(0)
	if needsScope(addr.Addr) {
		if scope = addr.NIC; scope == 0 {
			scope = s.device()
		}
		if d := s.device(); scope == 0 && !addr.Addr.IsMulticast() || d != 0 && d != scope {
			return unix.EINVAL
		}
	}
	q := s.query(addr.Addr, scope, &tcpip.SendOptions{})
	dst, err := s.reachable(addr.Addr)
	if err != nil {
		return err
	}
	q.Destination = dst
	r, err := s.find(q)
	if err != nil {
		return err
	}
	if r.Broadcast && !s.opts.Broadcast.Load() {
		return unix.EACCES
	}
	if !s.source.IsValid() {
		s.source = unspecifiedIsNone(r.Source)
	}
	if !unspecifiedIsNone(s.local).IsValid() && s.source.IsValid() {
		s.local = s.source
	}
	if scope != 0 {
		s.scope = scope
	}
	s.remote = tcpip.FullAddress{Addr: r.Destination, Port: addr.Port}
	if needsScope(r.Destination) {
		s.remote.NIC = s.scope
	}
	s.connected.Store(true)
	if s.kind.Ports {
		s.register()
	} else {
		s.match.Store(&match{local: unspecifiedIsNone(s.local), remote: s.remote.Addr})
	}
	// Sends ask for the same route, but with the source that is fixed now.
	s.route = nil
	return nil
}

// disconnect dissolves the connection (connect(2), AF_UNSPEC): what bind(2) did not choose is
// given up. s.mu is held.
func (s *Socket) disconnect() {
	s.connected.Store(false)
	s.remote = tcpip.FullAddress{}
	s.scope, s.route = 0, nil
	if !s.addrLocked {
		s.local, s.source = netip.Addr{}, netip.Addr{}
	}
	if !s.kind.Ports {
		s.match.Store(&match{local: unspecifiedIsNone(s.local)})
		return
	}
	if !s.portLocked {
		s.unregister()
		s.release()
		return
	}
	if s.binding != nil {
		s.register()
	}
}

// LocalAddress implements tcpip.Endpoint.
func (s *Socket) LocalAddress() tcpip.FullAddress {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := tcpip.FullAddress{Addr: s.local, Port: s.port}
	if !a.Addr.IsValid() {
		a.Addr = s.source
	}
	if a.Addr.IsValid() && needsScope(a.Addr) {
		a.NIC = s.device()
	}
	return a
}

// RemoteAddress implements tcpip.Endpoint. Who is connected to port 0 has no peer, as in Linux.
func (s *Socket) RemoteAddress() (tcpip.FullAddress, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.connected.Load() || s.remote.Port == 0 {
		return tcpip.FullAddress{}, unix.ENOTCONN
	}
	return s.remote, nil
}

// Shutdown implements tcpip.Endpoint. ENOTCONN: there is no peer, but it takes effect all the same,
// as in Linux: a reader that waits is woken.
func (s *Socket) Shutdown(how tcpip.ShutdownFlags) error {
	s.shutdown.Or(uint32(how))
	s.Notify(waiterShutdown)
	if !s.connected.Load() {
		return unix.ENOTCONN
	}
	return nil
}

func (s *Socket) isShut(how tcpip.ShutdownFlags) bool {
	return tcpip.ShutdownFlags(s.shutdown.Load())&how != 0
}

// Listen implements tcpip.Endpoint: EOPNOTSUPP.
func (s *Socket) Listen(int) error { return unix.EOPNOTSUPP }

// Accept implements tcpip.Endpoint: EOPNOTSUPP.
func (s *Socket) Accept() (tcpip.Endpoint, tcpip.FullAddress, error) {
	return nil, tcpip.FullAddress{}, unix.EOPNOTSUPP
}

// Close implements tcpip.Endpoint. It may be called twice.
func (s *Socket) Close() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.unregister()
	s.release()
	s.route = nil
	s.mu.Unlock()
	s.Rx.Close()
	s.Groups.Close(s.stack)
}

// Abort implements tcpip.Endpoint: the connection is dissolved and the application told of
// ECONNABORTED.
func (s *Socket) Abort() {
	s.mu.Lock()
	if !s.closed {
		s.disconnect()
	}
	s.mu.Unlock()
	s.Rx.SetPending(unix.ECONNABORTED)
	s.Notify(waiterError)
}

// TakeError implements tcpip.Endpoint.
func (s *Socket) TakeError() error { return s.Rx.TakePending() }

// Readiness implements waiter.Waitable.
func (s *Socket) Readiness(mask waiter.EventMask) waiter.EventMask {
	// There is always room to send: what is sent is the link's at once.
	ready := waiterWritable
	if s.Rx.Failed() {
		ready |= waiter.EventErr
	}
	if s.isShut(tcpip.ShutdownRead) {
		ready |= waiter.EventRdHUp | waiterReadable
	}
	if tcpip.ShutdownFlags(s.shutdown.Load()) == tcpip.ShutdownRead|tcpip.ShutdownWrite {
		ready |= waiter.EventHUp
	}
	if s.Rx.Len() > 0 {
		ready |= waiterReadable
	}
	return ready & mask
}

// Push queues a received packet, which it takes, and tells waiters. false: there was no room.
func (s *Socket) Push(it Item) bool {
	if s.opts.Timestamps.Load() && it.Packet.Time.IsZero() {
		it.Packet.Time = s.stack.Clock().Now()
	}
	if !s.Rx.Push(it, s.opts.ReceiveBuffer.Load()) {
		return false
	}
	s.Notify(waiterReadable)
	return true
}

// Takes says whether a packet that came is one for the socket, as far as its groups and its device
// go.
func (s *Socket) Takes(pkt *buffer.Packet) bool {
	if d := tcpip.NICID(s.opts.Device.Load()); d != 0 && d != pkt.NIC {
		return false
	}
	if !pkt.Destination.IsMulticast() {
		return true
	}
	all := &s.opts.MulticastAll4
	if pkt.Destination.Is6() {
		all = &s.opts.MulticastAll6
	}
	return s.Groups.Wants(pkt, all.Load())
}

// Matches says whether a packet passes a raw socket's addresses (raw(7)).
func (s *Socket) Matches(pkt *buffer.Packet) bool {
	return s.MatchesAddresses(pkt.Destination, pkt.Source)
}

// MatchesAddresses says whether local is what the socket is bound to, and remote its peer, if it has
// such.
func (s *Socket) MatchesAddresses(local, remote netip.Addr) bool {
	m := s.match.Load()
	return (!m.local.IsValid() || m.local == local) && (!m.remote.IsValid() || m.remote == remote)
}

// Drops is SO_RXQ_OVFL's count, and that of /proc/net/udp.
func (s *Socket) Drops() uint32 { return s.Rx.Drops() }

// JoinGroup implements tcpip.MulticastEndpoint.
func (s *Socket) JoinGroup(m tcpip.GroupMembership) error {
	return s.Groups.Join(s.stack, m)
}

// LeaveGroup implements tcpip.MulticastEndpoint.
func (s *Socket) LeaveGroup(m tcpip.GroupMembership) error { return s.Groups.Leave(s.stack, m) }

// BlockSource implements tcpip.MulticastEndpoint.
func (s *Socket) BlockSource(m tcpip.GroupMembership) error {
	return s.Groups.ChangeSource(s.stack, m, true)
}

// UnblockSource implements tcpip.MulticastEndpoint.
func (s *Socket) UnblockSource(m tcpip.GroupMembership) error {
	return s.Groups.ChangeSource(s.stack, m, false)
}

// SetSourceFilter implements tcpip.MulticastEndpoint.
func (s *Socket) SetSourceFilter(m tcpip.GroupMembership, include bool, sources []netip.Addr) error {
	return s.Groups.SetFilter(s.stack, m, include, sources)
}

// SourceFilter implements tcpip.MulticastEndpoint.
func (s *Socket) SourceFilter(m tcpip.GroupMembership) (bool, []netip.Addr, error) {
	return s.Groups.Filter(s.stack, m)
}
