package netlink

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// Socket is a netlink socket.
type Socket struct {
	vfs.FileDefaults
	waiter.Queue
	socket.Base
	socket.Unsupported
	ns *Namespace

	mu     sync.Mutex // guards the fields below
	closed bool
	port   uint32 // 0: not bound
	groups groupSet
	// hasGroups: memberships were ever changed; before, there is no list of them.
	hasGroups bool
	options   uint32 // bit n: the option n of SOL_NETLINK is on
	// peer and peerGroup are where connect(2) leads.
	peer, peerGroup uint32
	// queue[head:] is what can be received; queued is its size.
	queue  []datagram
	head   int
	queued int
	// dump is what is still to come of an answer of many parts.
	dump *dump
	// largest is the longest buffer that was ever received into, in bytes.
	largest int
}

// datagram is a message or several that are received together.
type datagram struct {
	data []byte
	// port is the sender's, 0 the kernel's; group is that which it was sent to, 0 none.
	port, group uint32
	creds       socket.Ucred
}

// datagramOverhead is what a queued datagram counts beside its bytes.
const datagramOverhead = 512

// pidMapper is implemented by contexts of tasks with a pid namespace of their own; it is the
// same as that of unix sockets.
type pidMapper interface{ LocalPID(root int32) int32 }

// localPID is a process id of the sandbox's root namespace as the caller knows it.
func localPID(ctx context.Context, pid int32) int32 {
	if m, ok := ctx.(pidMapper); ok {
		return m.LocalPID(pid)
	}
	return pid
}

// bind gives the socket a port unless it has one: the one wanted, or one like the process id if
// that is 0. EADDRINUSE. mu is held.
func (s *Socket) bind(ctx context.Context, want uint32) error {
	if s.port != 0 {
		return nil
	}
	if s.closed {
		return unix.EBADF
	}
	pid := uint32(0)
	if t, ok := ctx.(context.ThreadID); ok {
		pid = uint32(localPID(ctx, t.RootTGID()))
	}
	port, err := s.ns.takePort(s, want, pid)
	if err != nil {
		return err
	}
	s.port = port
	return nil
}

// sizeofAddr is the size of struct sockaddr_nl.
const sizeofAddr = 12

func parseAddr(a *socket.Addr) (port, groups uint32, err error) {
	b := a.Bytes()
	if len(b) < sizeofAddr || a.Family() != unix.AF_NETLINK {
		return 0, 0, unix.EINVAL
	}
	return binary.NativeEndian.Uint32(b[4:]), binary.NativeEndian.Uint32(b[8:]), nil
}

func putAddr(a *socket.Addr, port, groups uint32) {
	var b [sizeofAddr]byte
	binary.NativeEndian.PutUint16(b[:], unix.AF_NETLINK)
	binary.NativeEndian.PutUint32(b[4:], port)
	binary.NativeEndian.PutUint32(b[8:], groups)
	a.Set(b[:])
}

// groupBit is a group as struct sockaddr_nl has it, as far as it can.
func groupBit(group uint32) uint32 {
	if group == 0 || group > 32 {
		return 0
	}
	return 1 << (group - 1)
}

// firstGroup is the lowest group of a mask; a message goes to one group only.
func firstGroup(mask uint32) uint32 {
	for g := uint32(1); g <= 32; g++ {
		if mask&groupBit(g) != 0 {
			return g
		}
	}
	return 0
}

// mayListen says whether the caller may be a member of groups: anybody where the kernel only
// tells what can be asked for.
func (s *Socket) mayListen(ctx context.Context) bool {
	return s.Protocol() != unix.NETLINK_SOCK_DIAG || s.ns.capable(ctx)
}

// Bind implements socket.Socket.
func (s *Socket) Bind(ctx context.Context, a *socket.Addr) error {
	port, groups, err := parseAddr(a)
	if err != nil {
		return err
	}
	if groups != 0 && !s.mayListen(ctx) {
		return unix.EPERM
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.port != 0 && port != s.port {
		return unix.EINVAL
	}
	if err := s.bind(ctx, port); err != nil {
		return err
	}
	s.hasGroups = s.hasGroups || groups != 0
	// The mask says about all of the first 32 groups.
	for g := uint32(1); g <= 32; g++ {
		if on := groups&groupBit(g) != 0; on != s.groups.has(g) {
			s.join(g, on)
		}
	}
	return nil
}

// join makes the socket a member of a group or ends that. mu is held.
func (s *Socket) join(group uint32, on bool) {
	s.groups.set(group, on)
	s.ns.setMember(s, group, on)
}

// Connect implements socket.Socket.
func (s *Socket) Connect(ctx context.Context, a *socket.Addr, _ bool) error {
	if a.Len() < 2 {
		return unix.EINVAL
	}
	if a.Family() == unix.AF_UNSPEC {
		s.mu.Lock()
		s.peer, s.peerGroup = 0, 0
		s.mu.Unlock()
		return nil
	}
	port, groups, err := parseAddr(a)
	if err != nil {
		return err
	}
	if (port != 0 || groups != 0) && !s.ns.capable(ctx) {
		return unix.EPERM
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.bind(ctx, 0); err != nil {
		return err
	}
	s.peer, s.peerGroup = port, firstGroup(groups)
	return nil
}

// GetSockName implements socket.Socket.
func (s *Socket) GetSockName(_ context.Context, a *socket.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	putAddr(a, s.port, s.groups.mask())
	return nil
}

// GetPeerName implements socket.Socket.
func (s *Socket) GetPeerName(_ context.Context, a *socket.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	putAddr(a, s.peer, groupBit(s.peerGroup))
	return nil
}

// Seekable implements vfs.File.
func (s *Socket) Seekable() bool { return false }

// Release implements vfs.File.
func (s *Socket) Release(context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.queue, s.head, s.queued, s.dump = nil, 0, 0, nil
	s.ns.forget(s, s.port, &s.groups)
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

// messageOverhead is how much smaller than the send buffer a message has to be, in bytes.
const messageOverhead = 32

// SendMsg implements socket.Socket: it carries out the requests in the message, or passes it
// on to other sockets.
func (s *Socket) SendMsg(ctx context.Context, m *socket.Message) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	n := m.Data.Len()
	if n == 0 {
		return 0, unix.ENODATA
	}
	s.mu.Lock()
	port, group := s.peer, s.peerGroup
	s.mu.Unlock()
	if m.To != nil {
		p, groups, err := parseAddr(m.To)
		if err != nil {
			return 0, err
		}
		port, group = p, firstGroup(groups)
		if (port != 0 || groups != 0) && !s.ns.capable(ctx) {
			return 0, unix.EPERM
		}
	}
	s.mu.Lock()
	err := s.bind(ctx, 0)
	own := s.port
	s.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if n > s.SendBuffer()-messageOverhead {
		return 0, unix.EMSGSIZE
	}
	buf := make([]byte, n)
	if _, err := m.Data.CopyIn(buf); err != nil {
		return 0, err
	}
	d := datagram{data: buf, port: own, creds: sender(ctx, m)}
	if group != 0 {
		s.ns.multicast(s.Protocol(), group, d, s)
	}
	if port != 0 {
		to := s.ns.socketAt(s.Protocol(), port)
		if to == nil {
			return 0, unix.ECONNREFUSED
		}
		if !to.deliver(d) {
			return 0, unix.EAGAIN
		}
	} else {
		s.carryOut(ctx, buf, own)
	}
	for _, f := range m.Control.Files {
		f.DecRef(ctx) // descriptors cannot be sent here; they are let go of
	}
	return n, nil
}

// sender is who sends m.
func sender(ctx context.Context, m *socket.Message) socket.Ucred {
	if m.Control.HasCreds {
		return m.Control.Creds
	}
	c := ctx.Credentials()
	u := socket.Ucred{UID: uint32(c.RealUID), GID: uint32(c.RealGID)}
	if t, ok := ctx.(context.ThreadID); ok {
		u.PID = t.RootTGID()
	}
	return u
}

// request is one message to the kernel.
type request struct {
	header
	payload []byte // behind the header
	ctx     context.Context
	s       *Socket
	port    uint32 // of s
	// strict: NETLINK_GET_STRICT_CHK.
	strict bool
}

// errDumping is the result of a request whose answer, and whose end, is a dump.
var errDumping = refuse(unix.EINTR, "")

// carryOut carries out the requests in b, and acknowledges those that want it or fail.
func (s *Socket) carryOut(ctx context.Context, b []byte, port uint32) {
	if s.Protocol() == unix.NETLINK_KOBJECT_UEVENT {
		return // nobody is there
	}
	for {
		h, payload, rest, ok := next(b)
		if !ok {
			return
		}
		b = rest
		var err error
		if h.flags&unix.NLM_F_REQUEST != 0 && h.typ >= unix.NLMSG_MIN_TYPE {
			r := request{header: h, payload: payload, ctx: ctx, s: s, port: port, strict: s.option(unix.NETLINK_GET_STRICT_CHK)}
			if s.Protocol() == unix.NETLINK_ROUTE {
				err = s.ns.route(&r)
			} else {
				err = s.ns.diag(&r)
			}
		}
		if err == errDumping {
			continue
		}
		if err != nil || h.flags&unix.NLM_F_ACK != 0 {
			s.deliver(datagram{data: acknowledge(h, payload, port, err, s.option(unix.NETLINK_CAP_ACK), s.option(unix.NETLINK_EXT_ACK))})
		}
	}
}

// header is that of a reply of typ.
func (r *request) reply(typ uint16) header {
	return header{typ: typ, seq: r.seq, port: r.port}
}

// answer sends a reply.
func (r *request) answer(b []byte) { r.s.deliver(datagram{data: b}) }

// deliver queues a datagram, or notes that there was no room and returns false.
func (s *Socket) deliver(d datagram) bool {
	s.mu.Lock()
	ok := s.push(d)
	s.mu.Unlock()
	if ok {
		s.Notify(waiter.EventIn | waiter.EventRdNorm)
	} else {
		s.Notify(waiter.EventErr)
	}
	return ok
}

// push is deliver without a notification. mu is held.
func (s *Socket) push(d datagram) bool {
	if s.closed {
		return true
	}
	size := len(d.data) + datagramOverhead
	if s.queued+size > s.RecvBuffer() {
		if s.options&(1<<unix.NETLINK_NO_ENOBUFS) == 0 {
			s.SetError(unix.ENOBUFS)
		}
		return false
	}
	if s.head > 0 && len(s.queue) == cap(s.queue) {
		n := copy(s.queue, s.queue[s.head:])
		clear(s.queue[n:])
		s.queue, s.head = s.queue[:n], 0
	}
	s.queue = append(s.queue, d)
	s.queued += size
	return true
}

// Deliver queues b as a message from the kernel; mq_notify(3) with SIGEV_THREAD wakes its
// helper thread so.
func (s *Socket) Deliver(b []byte) { s.deliver(datagram{data: append([]byte(nil), b...)}) }

// RecvMsg implements socket.Socket.
func (s *Socket) RecvMsg(ctx context.Context, m *socket.Message) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	n, err := s.tryRecv(ctx, m)
	if err != unix.EAGAIN || m.Flags&unix.MSG_DONTWAIT != 0 {
		return n, err
	}
	deadline := s.RecvDeadline(ctx)
	e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: ctx.Waker()}
	s.EventRegister(&e)
	defer s.EventUnregister(&e)
	for {
		n, err := s.tryRecv(ctx, m)
		if err != unix.EAGAIN {
			return n, err
		}
		if err := socket.Block(ctx, deadline); err != nil {
			return 0, err
		}
	}
}

func (s *Socket) tryRecv(ctx context.Context, m *socket.Message) (int, error) {
	if err := s.TakeError(); err != nil {
		return 0, err
	}
	s.mu.Lock()
	s.largest = max(s.largest, m.Data.Len())
	if s.head == len(s.queue) {
		s.mu.Unlock()
		return 0, unix.EAGAIN
	}
	d := s.queue[s.head]
	if m.Flags&unix.MSG_PEEK == 0 {
		s.queue[s.head] = datagram{}
		s.head++
		s.queued -= len(d.data) + datagramOverhead
		if s.head == len(s.queue) {
			s.queue, s.head = s.queue[:0], 0
		}
		if s.dump != nil && s.queued <= s.RecvBuffer()/2 {
			s.continueDump()
		}
	}
	wantInfo := s.options&(1<<unix.NETLINK_PKTINFO) != 0
	s.mu.Unlock()
	n, err := m.Data.CopyOut(d.data[:min(len(d.data), m.Data.Len())])
	if err != nil {
		return 0, err
	}
	if m.From != nil {
		putAddr(m.From, d.port, groupBit(d.group))
	}
	if s.Option(unix.SO_PASSCRED) {
		m.Control.HasCreds = true
		m.Control.Creds = d.creds
		m.Control.Creds.PID = localPID(ctx, d.creds.PID)
	}
	if wantInfo {
		m.Control.AddRaw(unix.SOL_NETLINK, unix.NETLINK_PKTINFO, binary.NativeEndian.AppendUint32(nil, d.group))
	}
	if n < len(d.data) {
		m.OutFlags |= unix.MSG_TRUNC
	}
	if m.Flags&unix.MSG_TRUNC != 0 {
		n = len(d.data)
	}
	return n, nil
}

// Readiness implements waiter.Waitable.
func (s *Socket) Readiness(mask waiter.EventMask) waiter.EventMask {
	r := waiter.EventOut | waiter.EventWrNorm | waiter.EventWrBand
	s.mu.Lock()
	if s.head < len(s.queue) {
		r |= waiter.EventIn | waiter.EventRdNorm
	}
	s.mu.Unlock()
	if s.HasError() {
		r |= waiter.EventErr
	}
	return r & mask
}

// Ioctl implements vfs.File.
func (s *Socket) Ioctl(_ context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	return 0, socket.DeviceIoctl(s.ns.sockets.Devices(), io, request, arg)
}

// notifyReadable wakes who waits for something to receive. mu is not held.
func (s *Socket) notifyReadable() { s.Notify(waiter.EventIn | waiter.EventRdNorm) }
