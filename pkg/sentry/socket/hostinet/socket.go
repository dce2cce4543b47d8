package hostinet

import (
	"encoding/binary"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/host"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// Kind is what socket(2) may be called with.
type Kind struct{ Family, Type, Protocol int }

// SocketKinds are the sockets that can be made of the host's. Ping sockets are subject to the
// host's ping_group_range.
var SocketKinds = []Kind{
	{unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_TCP}, {unix.AF_INET6, unix.SOCK_STREAM, unix.IPPROTO_TCP},
	{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDP}, {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDP},
	{unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP}, {unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6},
	{unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE},
}

// maxProtocol is one more than the highest protocol number of IP (IPPROTO_MPTCP is 262).
const maxProtocol = 263

// Flags of messages that are passed on to the host, beside those that it is always given
// (MSG_DONTWAIT, MSG_NOSIGNAL, MSG_CMSG_CLOEXEC).
const (
	SendFlags    = unix.MSG_MORE | unix.MSG_OOB | unix.MSG_DONTROUTE | unix.MSG_CONFIRM
	ReceiveFlags = unix.MSG_PEEK | unix.MSG_TRUNC | unix.MSG_OOB | unix.MSG_ERRQUEUE
)

// Namespace makes sockets of the host.
type Namespace struct {
	files *host.Filesystem
	layer *socket.Stack
}

// Register makes AF_INET, AF_INET6 and AF_NETLINK of layer sockets of the host, and the interfaces
// of the host those that applications see.
func Register(layer *socket.Stack, files *host.Filesystem) {
	n := &Namespace{files, layer}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK} {
		layer.Register(family, &provider{n, family})
	}
	layer.SetDevices(&devices{})
}

// provider makes the sockets of one family. It implements socket.Provider.
type provider struct {
	ns     *Namespace
	family int
}

// Socket implements socket.Provider. EPERM: raw sockets of the host are for nobody.
func (p *provider) Socket(_ context.Context, typ, protocol int) (socket.Socket, error) {
	if p.family != unix.AF_NETLINK && (protocol < 0 || protocol >= maxProtocol) {
		return nil, unix.EINVAL
	}
	want := Kind{p.family, typ, protocol}
	if p.family == unix.AF_NETLINK {
		if typ == unix.SOCK_DGRAM {
			want.Type = unix.SOCK_RAW // the same there
		}
	} else if typ == unix.SOCK_RAW {
		if protocol == 0 {
			return nil, unix.EPROTONOSUPPORT
		}
		return nil, unix.EPERM
	}
	found := false
	for _, k := range SocketKinds {
		if k.Family != want.Family || k.Type != want.Type {
			continue
		}
		found = true
		if protocol == k.Protocol || protocol == 0 {
			n, err := unix.Socket(k.Family, k.Type|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, k.Protocol)
			if err != nil {
				return nil, err
			}
			return p.ns.newSocket(n, p.family, typ, k.Protocol), nil
		}
	}
	if found {
		return nil, unix.EPROTONOSUPPORT
	}
	return nil, unix.ESOCKTNOSUPPORT
}

// Socket is a socket of the host. It implements socket.Socket.
type Socket struct {
	vfs.FileDefaults
	socket.Base
	host.Watched
	fd *fd.FD `state:"nosave"`
	ns *Namespace
}

func (n *Namespace) newSocket(num, family, typ, protocol int) *Socket {
	s := &Socket{fd: fd.New(num), ns: n}
	s.Base.Init(family, typ, protocol)
	s.Watched.Init(n.files, s.fd)
	return s
}

// Seekable implements vfs.File.
func (s *Socket) Seekable() bool { return false }

// Readiness implements vfs.File.
func (s *Socket) Readiness(mask waiter.EventMask) waiter.EventMask { return s.Watched.Readiness(mask) }

// EventRegister implements vfs.File.
func (s *Socket) EventRegister(e *waiter.Entry) error { return s.Watched.EventRegister(e) }

// EventUnregister implements vfs.File.
func (s *Socket) EventUnregister(e *waiter.Entry) { s.Watched.EventUnregister(e) }

// Release implements vfs.File.
func (s *Socket) Release(context.Context) {
	s.Forget()
	s.fd.Close()
}

// wait calls try until it gives something else than EAGAIN, and waits for events in between
// unless nonblock is set.
func (s *Socket) wait(ctx context.Context, events waiter.EventMask, nonblock bool, deadline func(context.Context) int64, try func() error) error {
	err := try()
	if err != unix.EAGAIN || nonblock {
		return err
	}
	until := deadline(ctx)
	e := waiter.Entry{Mask: events | waiter.EventErr | waiter.EventHUp, Listener: ctx.Waker()}
	if err := s.EventRegister(&e); err != nil {
		return err
	}
	defer s.EventUnregister(&e)
	for {
		if err := try(); err != unix.EAGAIN {
			return err
		}
		if err := socket.Block(ctx, until); err != nil {
			return err
		}
	}
}

// checkAddress refuses addresses of other families than the socket's: the host would, too, but
// for AF_UNSPEC, and AF_INET on sockets of AF_INET6.
func (s *Socket) checkAddress(a *socket.Addr) error {
	switch f := int(a.Family()); {
	case a.Len() < 2:
		return unix.EINVAL
	case f == s.Family(), f == unix.AF_UNSPEC, f == unix.AF_INET && s.Family() == unix.AF_INET6:
		return nil
	}
	return unix.EAFNOSUPPORT
}

// Bind implements socket.Socket.
func (s *Socket) Bind(_ context.Context, a *socket.Addr) error {
	if err := s.checkAddress(a); err != nil {
		return err
	}
	if s.Family() == unix.AF_NETLINK {
		// The ports of the host's processes are not for the sandbox to choose from.
		var b [12]byte
		if copy(b[:], a.Bytes()) < len(b) {
			return unix.EINVAL
		}
		binary.NativeEndian.PutUint32(b[4:], 0)
		return bind(s.fd.Num(), b[:])
	}
	return bind(s.fd.Num(), a.Bytes())
}

// Connect implements socket.Socket.
func (s *Socket) Connect(ctx context.Context, a *socket.Addr, nonblock bool) error {
	if err := s.checkAddress(a); err != nil {
		return err
	}
	if s.Family() == unix.AF_NETLINK {
		if b := a.Bytes(); a.Family() == unix.AF_NETLINK && (len(b) < 12 || binary.NativeEndian.Uint64(b[4:]) != 0) {
			return unix.EPERM // to the kernel only
		}
	}
	err := connect(s.fd.Num(), a.Bytes())
	if err != unix.EINPROGRESS || nonblock {
		return err
	}
	err = s.wait(ctx, waiter.WritableEvents, false, s.SendDeadline, func() error {
		if s.Readiness(waiter.WritableEvents|waiter.EventErr|waiter.EventHUp) == 0 {
			return unix.EAGAIN
		}
		return nil
	})
	if err == unix.EAGAIN {
		return unix.EINPROGRESS // SO_SNDTIMEO is over
	}
	if err != nil {
		return err
	}
	// Asked again, the host tells how it ended, and counts that as told: a third call is one of
	// a connected socket, or of one that may try anew.
	return connect(s.fd.Num(), a.Bytes())
}

// maxBacklog is net.core.somaxconn.
const maxBacklog = 4096

// Listen implements socket.Socket.
func (s *Socket) Listen(_ context.Context, backlog int) error {
	_, err := call(unix.SYS_LISTEN, uintptr(s.fd.Num()), uintptr(min(uint32(backlog), maxBacklog)), 0, 0, 0, 0)
	return err
}

// Accept implements socket.Socket.
func (s *Socket) Accept(ctx context.Context, peer *socket.Addr, nonblock bool) (socket.Socket, error) {
	var buf [socket.MaxAddr]byte
	var addr []byte
	num := -1
	err := s.wait(ctx, waiter.ReadableEvents, nonblock, s.RecvDeadline, func() (err error) {
		num, addr, err = accept(s.fd.Num(), buf[:])
		return err
	})
	if err != nil {
		return nil, err
	}
	if peer != nil {
		peer.Set(addr)
	}
	n := s.ns.newSocket(num, s.Family(), s.Type(), s.Protocol())
	n.CopyOptions(&s.Base)
	return n, nil
}

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(_ context.Context, how int) error {
	if how < unix.SHUT_RD || how > unix.SHUT_RDWR {
		return unix.EINVAL
	}
	return unix.Shutdown(s.fd.Num(), how)
}

// GetSockName implements socket.Socket.
func (s *Socket) GetSockName(_ context.Context, a *socket.Addr) error {
	return s.name(unix.SYS_GETSOCKNAME, a)
}

// GetPeerName implements socket.Socket.
func (s *Socket) GetPeerName(_ context.Context, a *socket.Addr) error {
	return s.name(unix.SYS_GETPEERNAME, a)
}

func (s *Socket) name(nr uintptr, a *socket.Addr) error {
	var buf [socket.MaxAddr]byte
	b, err := name(nr, s.fd.Num(), buf[:])
	if err == nil {
		a.Set(b)
	}
	return err
}

var messages = sync.Pool{New: func() any { return new(message) }}

// Read implements vfs.File.
func (s *Socket) Read(ctx context.Context, dst usermem.Sequence, _ int64) (int, error) {
	if dst.Len() == 0 {
		return 0, nil
	}
	return s.RecvMsg(ctx, &socket.Message{Data: dst, Flags: unix.MSG_DONTWAIT})
}

// Write implements vfs.File.
func (s *Socket) Write(ctx context.Context, src usermem.Sequence, _ int64, _ bool) (int, int64, error) {
	n, err := s.SendMsg(ctx, &socket.Message{Data: src, Flags: unix.MSG_DONTWAIT})
	return n, 0, err
}

// SendMsg implements socket.Socket.
func (s *Socket) SendMsg(ctx context.Context, m *socket.Message) (int, error) {
	for _, f := range m.Control.Files {
		f.DecRef(ctx) // as with the host's sockets of IP, they go nowhere
	}
	m.Control.Files = nil
	var addr []byte
	if m.To != nil && m.To.Len() > 0 {
		if err := s.checkAddress(m.To); err != nil {
			return 0, err
		}
		addr = m.To.Bytes()
		if s.Family() == unix.AF_NETLINK && (len(addr) < 12 || binary.NativeEndian.Uint64(addr[4:]) != 0) {
			return 0, unix.EPERM
		}
	}
	control, err := encodeControl(m.Control.Raw)
	if err != nil {
		return 0, err
	}
	h := messages.Get().(*message)
	defer messages.Put(h)
	flags := m.Flags & SendFlags
	nonblock := m.Flags&unix.MSG_DONTWAIT != 0
	stream := s.Type() == unix.SOCK_STREAM
	done, src := 0, m.Data
	for {
		n := src.Len()
		if n > maxChunk {
			if !stream {
				return 0, unix.EMSGSIZE
			}
			n = maxChunk
		}
		if c, err := src.CopyIn(h.data[:n]); err != nil {
			if !stream || c == 0 {
				return partial(done, err)
			}
			n = c
		}
		if s.Family() == unix.AF_NETLINK && !onlyLooks(h.data[:n]) {
			return 0, unix.EPERM
		}
		var sent int
		err := s.wait(ctx, waiter.WritableEvents, nonblock, s.SendDeadline, func() (err error) {
			sent, err = h.send(s.fd.Num(), n, addr, control, flags)
			return err
		})
		if err != nil {
			return partial(done, err)
		}
		done += sent
		src = src.DropFirst(sent)
		if !stream || src.Len() == 0 {
			return done, nil
		}
	}
}

// partial is the result of a call that did something before an error came.
func partial(done int, err error) (int, error) {
	if done > 0 {
		return done, nil
	}
	return 0, err
}

// RecvMsg implements socket.Socket.
func (s *Socket) RecvMsg(ctx context.Context, m *socket.Message) (int, error) {
	var h *message // only while there is something: who sleeps needs no buffer
	release := func() {
		if h != nil {
			messages.Put(h)
			h = nil
		}
	}
	defer release()
	flags := m.Flags & ReceiveFlags
	nonblock := m.Flags&(unix.MSG_DONTWAIT|unix.MSG_ERRQUEUE) != 0
	stream := s.Type() == unix.SOCK_STREAM
	all := stream && m.Flags&unix.MSG_WAITALL != 0 && m.Flags&(unix.MSG_PEEK|unix.MSG_OOB|unix.MSG_ERRQUEUE) == 0
	done, dst := 0, m.Data
	for {
		want := min(dst.Len(), maxChunk)
		var n int
		err := s.wait(ctx, waiter.ReadableEvents, nonblock, s.RecvDeadline, func() (err error) {
			if h == nil {
				h = messages.Get().(*message)
			}
			if n, err = h.receive(s.fd.Num(), want, flags); err != unix.EAGAIN {
				return err
			}
			if !stream && !nonblock && s.Readiness(waiter.EventRdHUp) != 0 {
				n, h.hdr = 0, unix.Msghdr{} // shut down: who would wait gets nothing
				return nil
			}
			release()
			return err
		})
		if err != nil {
			return partial(done, err)
		}
		m.OutFlags |= uint32(h.hdr.Flags) & (unix.MSG_TRUNC | unix.MSG_CTRUNC | unix.MSG_EOR | unix.MSG_OOB | unix.MSG_ERRQUEUE)
		// With MSG_TRUNC the host tells the whole length, or throws a stream's bytes away.
		have := min(n, want)
		if stream && flags&unix.MSG_TRUNC != 0 {
			have = 0
		}
		if _, err := dst.CopyOut(h.data[:have]); err != nil {
			return partial(done, err)
		}
		if m.From != nil {
			m.From.Set(h.addr[:min(int(h.hdr.Namelen), len(h.addr))])
		}
		decodeControl(&m.Control, h.control[:min(int(h.hdr.Controllen), len(h.control))])
		done += n
		if !all || n == 0 || done >= m.Data.Len() {
			return done, nil
		}
		dst = dst.DropFirst(n)
	}
}

// IntRequests are the ioctls of the host that give a number and do nothing else: SIOCINQ, SIOCOUTQ,
// SIOCATMARK and SIOCOUTQNSD.
var IntRequests = []uint64{unix.TIOCINQ, unix.TIOCOUTQ, 0x8905, 0x894b}

// Ioctl implements vfs.File.
func (s *Socket) Ioctl(_ context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	if slices.Contains(IntRequests, uint64(request)) {
		v, err := unix.IoctlGetInt(s.fd.Num(), uint(request))
		if err != nil {
			return 0, err
		}
		_, err = io.CopyOut(uintptr(arg), binary.NativeEndian.AppendUint32(nil, uint32(v)))
		return 0, err
	}
	return 0, socket.DeviceIoctl(s.ns.layer.Devices(), io, request, arg)
}
