package netlink

import (
	"encoding/binary"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// handler carries out the requests of a protocol.
type handler interface {
	handle(h header, payload []byte, port uint32) ([][]byte, error)
}

// provider makes the sockets of a Stack.
type provider struct {
	stack    *socket.Stack
	mu       sync.Mutex // guards ports
	ports    map[portKey]*Socket
	lastPort atomic.Uint32
}

type portKey struct {
	protocol int
	port     uint32
}

// Register makes AF_NETLINK known to s.
func Register(s *socket.Stack) {
	s.Register(unix.AF_NETLINK, &provider{stack: s, ports: make(map[portKey]*Socket)})
}

// Socket implements socket.Provider.
func (p *provider) Socket(_ context.Context, typ, protocol int) (socket.Socket, error) {
	if typ != unix.SOCK_RAW && typ != unix.SOCK_DGRAM {
		return nil, unix.ESOCKTNOSUPPORT
	}
	s := &Socket{p: p}
	switch protocol {
	case unix.NETLINK_ROUTE:
		s.handler = &route{p.stack.Devices()}
	case unix.NETLINK_KOBJECT_UEVENT:
	default:
		return nil, unix.EPROTONOSUPPORT
	}
	s.Init(unix.AF_NETLINK, typ, protocol)
	return s, nil
}

// Socket is a netlink socket.
type Socket struct {
	vfs.FileDefaults
	waiter.Queue
	socket.Base
	socket.Unsupported
	p       *provider
	handler handler // nil: nobody answers

	mu      sync.Mutex // guards the fields below
	port    uint32     // 0: not bound
	groups  uint32
	peer    uint32 // connect(2)'s port
	replies [][]byte
	queued  int // bytes in replies
	options uint32
}

// bind gives the socket a port: the one wanted, or one like the process id. mu is held.
func (s *Socket) bind(ctx context.Context, want uint32) error {
	if s.port != 0 {
		if want != 0 && want != s.port {
			return unix.EINVAL
		}
		return nil
	}
	s.p.mu.Lock()
	defer s.p.mu.Unlock()
	k := portKey{s.Protocol(), want}
	if want != 0 {
		if s.p.ports[k] != nil {
			return unix.EADDRINUSE
		}
	} else {
		if t, ok := ctx.(context.ThreadID); ok {
			k.port = uint32(t.RootTGID())
		}
		for k.port == 0 || s.p.ports[k] != nil {
			k.port = 1<<31 | s.p.lastPort.Add(1)
		}
	}
	s.p.ports[k] = s
	s.port = k.port
	return nil
}

func parse(a *socket.Addr) (port, groups uint32, err error) {
	b := a.Bytes()
	if len(b) < 12 || a.Family() != unix.AF_NETLINK {
		return 0, 0, unix.EINVAL
	}
	return binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[8:]), nil
}

func put(a *socket.Addr, port, groups uint32) {
	var b [12]byte
	binary.NativeEndian.PutUint16(b[:], unix.AF_NETLINK)
	binary.NativeEndian.PutUint32(b[4:], port)
	binary.NativeEndian.PutUint32(b[8:], groups)
	a.Set(b[:])
}

// Bind implements socket.Socket.
func (s *Socket) Bind(ctx context.Context, a *socket.Addr) error {
	port, groups, err := parse(a)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.bind(ctx, port); err != nil {
		return err
	}
	s.groups = groups
	return nil
}

// Connect implements socket.Socket: only the kernel can be the peer.
func (s *Socket) Connect(ctx context.Context, a *socket.Addr, _ bool) error {
	if a.Family() == unix.AF_UNSPEC && a.Len() >= 2 {
		s.mu.Lock()
		s.peer = 0
		s.mu.Unlock()
		return nil
	}
	port, groups, err := parse(a)
	if err != nil {
		return err
	}
	if port != 0 || groups != 0 {
		return unix.ECONNREFUSED
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bind(ctx, 0)
}

// GetSockName implements socket.Socket.
func (s *Socket) GetSockName(_ context.Context, a *socket.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	put(a, s.port, s.groups)
	return nil
}

// GetPeerName implements socket.Socket.
func (s *Socket) GetPeerName(_ context.Context, a *socket.Addr) error {
	put(a, 0, 0)
	return nil
}

// Seekable implements vfs.File.
func (s *Socket) Seekable() bool { return false }

// Release implements vfs.File.
func (s *Socket) Release(context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replies, s.queued = nil, 0
	if s.port != 0 {
		s.p.mu.Lock()
		delete(s.p.ports, portKey{s.Protocol(), s.port})
		s.p.mu.Unlock()
	}
}

// Read implements vfs.File.
func (s *Socket) Read(ctx context.Context, dst usermem.Sequence, _ int64) (int, error) {
	return s.RecvMsg(ctx, &socket.Message{Data: dst, Flags: unix.MSG_DONTWAIT})
}

// Write implements vfs.File.
func (s *Socket) Write(ctx context.Context, src usermem.Sequence, _ int64, _ bool) (int, int64, error) {
	n, err := s.SendMsg(ctx, &socket.Message{Data: src})
	return n, 0, err
}

// maxRequest bounds the requests of one send, in bytes.
const maxRequest = 64 << 10

// SendMsg implements socket.Socket: it carries out the requests in the message.
func (s *Socket) SendMsg(ctx context.Context, m *socket.Message) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	if m.To != nil {
		port, groups, err := parse(m.To)
		if err != nil {
			return 0, err
		}
		if port != 0 || groups != 0 {
			return 0, unix.ECONNREFUSED
		}
	}
	n := m.Data.Len()
	if n > maxRequest {
		return 0, unix.EMSGSIZE
	}
	buf := make([]byte, n)
	if _, err := m.Data.CopyIn(buf); err != nil {
		return 0, err
	}
	s.mu.Lock()
	if err := s.bind(ctx, 0); err != nil {
		s.mu.Unlock()
		return 0, err
	}
	for b := buf; s.handler != nil; {
		h, payload, rest, ok := next(b)
		if !ok {
			break
		}
		b = rest
		if h.flags&unix.NLM_F_REQUEST == 0 || h.typ < unix.NLMSG_MIN_TYPE {
			continue
		}
		replies, err := s.handler.handle(h, payload, s.port)
		for _, r := range replies {
			s.queue(r)
		}
		if err != nil || h.flags&unix.NLM_F_ACK != 0 {
			s.queue(acknowledge(h, payload, s.port, err))
		}
	}
	ready := len(s.replies) > 0
	s.mu.Unlock()
	if ready {
		s.Notify(waiter.EventIn | waiter.EventRdNorm)
	}
	return n, nil
}

// queue appends a reply; mu is held.
func (s *Socket) queue(b []byte) {
	if s.queued+len(b) > s.RecvBuffer() {
		s.SetError(unix.ENOBUFS)
		return
	}
	s.replies = append(s.replies, b)
	s.queued += len(b)
}

// acknowledge is NLMSG_ERROR; without an error it is an ACK.
func acknowledge(h header, payload []byte, port uint32, err error) []byte {
	var w builder
	w.begin(header{typ: unix.NLMSG_ERROR, seq: h.seq, port: port})
	errno := uint32(0)
	if e, ok := err.(unix.Errno); ok {
		errno = -uint32(e)
	}
	w.u32(errno)
	w.u32(h.length)
	w.u16(h.typ)
	w.u16(h.flags)
	w.u32(h.seq)
	w.u32(h.port)
	if errno != 0 {
		w.bytes(payload...)
	}
	w.end()
	return w.b
}

// RecvMsg implements socket.Socket.
func (s *Socket) RecvMsg(ctx context.Context, m *socket.Message) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	n, err := s.tryRecv(m)
	if err != unix.EAGAIN || m.Flags&unix.MSG_DONTWAIT != 0 {
		return n, err
	}
	deadline := s.RecvDeadline(ctx)
	e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: ctx.Waker()}
	s.EventRegister(&e)
	defer s.EventUnregister(&e)
	for {
		n, err := s.tryRecv(m)
		if err != unix.EAGAIN {
			return n, err
		}
		if err := socket.Block(ctx, deadline); err != nil {
			return 0, err
		}
	}
}

func (s *Socket) tryRecv(m *socket.Message) (int, error) {
	if err := s.TakeError(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	if len(s.replies) == 0 {
		s.mu.Unlock()
		return 0, unix.EAGAIN
	}
	r := s.replies[0]
	if m.Flags&unix.MSG_PEEK == 0 {
		s.replies[0] = nil
		s.replies = s.replies[1:]
		s.queued -= len(r)
	}
	s.mu.Unlock()
	n, err := m.Data.CopyOut(r[:min(len(r), m.Data.Len())])
	if err != nil {
		return 0, err
	}
	if m.From != nil {
		put(m.From, 0, 0)
	}
	if s.Option(unix.SO_PASSCRED) {
		m.Control.HasCreds = true // the kernel: all zero
	}
	if n < len(r) {
		m.OutFlags |= unix.MSG_TRUNC
		if m.Flags&unix.MSG_TRUNC != 0 {
			n = len(r)
		}
	}
	return n, nil
}

// Readiness implements waiter.Waitable.
func (s *Socket) Readiness(mask waiter.EventMask) waiter.EventMask {
	r := waiter.EventOut | waiter.EventWrNorm | waiter.EventWrBand
	s.mu.Lock()
	if len(s.replies) > 0 {
		r |= waiter.EventIn | waiter.EventRdNorm
	}
	s.mu.Unlock()
	if s.HasError() {
		r |= waiter.EventErr
	}
	return r & mask
}

// GetSockOpt implements socket.Socket.
func (s *Socket) GetSockOpt(ctx context.Context, level, name int, buf []byte) (int, error) {
	if level == unix.SOL_NETLINK {
		if name == unix.NETLINK_LIST_MEMBERSHIPS {
			return 0, nil
		}
		if name < 1 || name > unix.NETLINK_GET_STRICT_CHK {
			return 0, unix.ENOPROTOOPT
		}
		s.mu.Lock()
		on := int(s.options >> name & 1)
		s.mu.Unlock()
		return socket.PutInt(buf, on)
	}
	return s.Base.GetSockOpt(ctx, level, name, buf)
}

// SetSockOpt implements socket.Socket. Group memberships are accepted: nothing happens that
// their members would hear of.
func (s *Socket) SetSockOpt(ctx context.Context, level, name int, val []byte) error {
	if level == unix.SOL_NETLINK {
		v, err := socket.GetInt(val)
		if err != nil {
			return err
		}
		if name < 1 || name > unix.NETLINK_GET_STRICT_CHK || name == unix.NETLINK_LIST_MEMBERSHIPS {
			return unix.ENOPROTOOPT
		}
		s.mu.Lock()
		s.options &^= 1 << name
		if v != 0 {
			s.options |= 1 << name
		}
		s.mu.Unlock()
		return nil
	}
	if level == unix.SOL_SOCKET && name == unix.SO_ATTACH_FILTER {
		return nil // nothing is sent unasked
	}
	return s.Base.SetSockOpt(ctx, level, name, val)
}

// Ioctl implements vfs.File.
func (s *Socket) Ioctl(_ context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	return 0, socket.DeviceIoctl(s.p.stack.Devices(), io, request, arg)
}

// Deliver queues b as a message from the kernel; mq_notify(3) with SIGEV_THREAD wakes its
// helper thread so.
func (s *Socket) Deliver(b []byte) {
	s.mu.Lock()
	s.queue(b)
	s.mu.Unlock()
	s.Notify(waiter.EventIn | waiter.EventRdNorm)
}
