package unix

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// PathResolver is implemented by Contexts that can resolve pathnames.
type PathResolver interface {
	// CreateSocket makes a socket node, mode 0777 without the umask, and returns its place
	// with a reference. EEXIST: the name is taken.
	CreateSocket(path string) (vfs.Path, error)
	// LookupSocket finds a node that the caller may write to, following symlinks, and
	// returns its place with a reference.
	LookupSocket(path string) (vfs.Path, error)
}

// PIDMapper is implemented by Contexts of tasks with a pid namespace of their own.
type PIDMapper interface {
	// LocalPID translates a process id of the sandbox's root namespace to the task's; 0 if
	// it is not visible there.
	LocalPID(root int32) int32
}

type state uint8

const (
	idle state = iota
	connecting
	connected // for datagrams: made by socketpair(2) or connect(2)
	listening
	dead
)

// Socket is a socket of AF_UNIX.
type Socket struct {
	vfs.FileDefaults
	waiter.Queue
	socket.Base
	ns *Namespace
	// owner is who made the socket; not changed once it is in use.
	owner auth.KUID

	addr atomic.Pointer[address] // bound to; set once
	// peer is the other end, also after that was closed.
	peer atomic.Pointer[Socket]
	wmem atomic.Int64 // bytes sent and not read, see charge
	in   queue
	// sendShut is SHUT_WR of a socket without peer, or of a datagram socket.
	sendShut atomic.Bool
	gone     atomic.Bool // closed

	mu         sync.Mutex // guards the fields below
	state      state
	backlog    []*Socket // accepted by nobody yet
	maxPending int
	maxQueue   int          // constant: max_dgram_qlen when the socket was made
	space      waiter.Queue // who waits for room in the backlog; has its own lock
	peerCred   socket.Ucred
	peerGroups []auth.KGID
}

// noCreds is SO_PEERCRED of a socket that is not connected.
var noCreds = socket.Ucred{PID: 0, UID: auth.NoID, GID: auth.NoID}

// credsOf is what a peer or receiver learns of the caller.
func credsOf(ctx context.Context) (socket.Ucred, []auth.KGID) {
	c := ctx.Credentials()
	u := socket.Ucred{UID: uint32(c.EffectiveUID), GID: uint32(c.EffectiveGID)}
	if t, ok := ctx.(context.ThreadID); ok {
		u.PID = t.RootTGID()
	}
	return u, c.Groups
}

// senderCreds is SCM_CREDENTIALS that the kernel adds by itself: the real ids.
func senderCreds(ctx context.Context) socket.Ucred {
	c := ctx.Credentials()
	u := socket.Ucred{UID: uint32(c.RealUID), GID: uint32(c.RealGID)}
	if t, ok := ctx.(context.ThreadID); ok {
		u.PID = t.RootTGID()
	}
	return u
}

func (s *Socket) connectionBased() bool { return s.Type() != unix.SOCK_DGRAM }

// Seekable implements vfs.File.
func (s *Socket) Seekable() bool { return false }

// Release implements vfs.File.
func (s *Socket) Release(ctx context.Context) {
	s.mu.Lock()
	wasListening := s.state == listening
	s.state = dead
	pending := s.backlog
	s.backlog = nil
	s.mu.Unlock()
	s.gone.Store(true)

	a := s.addr.Load()
	s.ns.remove(s, a)
	if a != nil && a.path.Ok() && a.owner == s {
		a.path.Inode().Base().SwapSpecial(s, nil)
		a.path.DecRef(ctx)
	}
	unread := s.discard(ctx)
	if p := s.peer.Load(); p != nil && s.connectionBased() {
		if unread {
			p.SetError(unix.ECONNRESET)
		}
		p.in.close(p)
		p.Notify(waiter.AllEvents &^ (waiter.EventErr | waiter.EventPri | waiter.EventNVal))
		if unread {
			p.Notify(waiter.EventErr)
		}
	}
	if wasListening {
		s.space.Notify(waiter.EventOut)
	}
	for _, c := range pending {
		// Whoever connected learns that nobody will serve it.
		if p := c.peer.Load(); p != nil {
			p.SetError(unix.ECONNRESET)
		}
		c.Release(ctx)
	}
}

// close makes the queue of s take no more and wakes senders that wait for it.
func (q *queue) close(*Socket) {
	q.mu.Lock()
	q.closed = true
	w := q.takeWaiting(0)
	q.mu.Unlock()
	wakeWriters(w)
}

// discard throws away what was received and closes the queue; it says whether there was
// anything.
func (s *Socket) discard(ctx context.Context) bool {
	q := &s.in
	q.mu.Lock()
	q.closed = true
	first := q.head
	q.head, q.tail, q.length, q.bytes, q.fds = nil, nil, 0, 0, 0
	w := q.takeWaiting(0)
	q.mu.Unlock()
	for m := first; m != nil; {
		next := m.next
		m.next = nil
		s.freeMessage(ctx, m)
		m = next
	}
	wakeWriters(w)
	return first != nil
}

// freeMessage ends a message that is on no queue: files that are still with it are closed.
func (s *Socket) freeMessage(ctx context.Context, m *message) {
	m.sender.uncharge(m.charge)
	if m.files != nil {
		s.ns.unchargeFiles(m.fileOwner(), len(m.files))
		s.ns.closeFiles(ctx, m.files)
	}
	m.free()
}

// fileOwner is the user that the message's files are counted for. Explicit credentials
// may name another user than the sender's, which only a privileged one can do.
func (m *message) fileOwner() auth.KUID { return auth.KUID(m.creds.UID) }

// takeFiles moves the files of m to its receiver.
func (s *Socket) takeFiles(m *message) []*vfs.FileDescription {
	f := m.files
	if f != nil {
		s.ns.unchargeFiles(m.fileOwner(), len(f))
		m.files = nil
	}
	return f
}

// Read implements vfs.File.
func (s *Socket) Read(ctx context.Context, dst usermem.Sequence, _ int64) (int, error) {
	if dst.Len() == 0 {
		return 0, nil
	}
	m := socket.Message{Data: dst, Flags: unix.MSG_DONTWAIT}
	n, err := s.recv(ctx, &m)
	if err == unix.EAGAIN && s.recvShut() {
		return 0, nil // the caller may be one who waits
	}
	return n, err
}

// Write implements vfs.File.
func (s *Socket) Write(ctx context.Context, src usermem.Sequence, _ int64, _ bool) (int, int64, error) {
	m := socket.Message{Data: src, Flags: unix.MSG_DONTWAIT}
	n, err := s.SendMsg(ctx, &m)
	return n, 0, err
}

// SendMsg implements socket.Socket.
func (s *Socket) SendMsg(ctx context.Context, m *socket.Message) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	if s.Option(unix.SO_PASSCRED) && s.addr.Load() == nil {
		if err := s.autobind(); err != nil && err != unix.EINVAL {
			return 0, err
		}
	}
	if s.Type() == unix.SOCK_STREAM {
		return s.sendStream(ctx, m)
	}
	return s.sendPacket(ctx, m)
}

// RecvMsg implements socket.Socket.
func (s *Socket) RecvMsg(ctx context.Context, m *socket.Message) (int, error) {
	if m.Flags&unix.MSG_OOB != 0 {
		return 0, unix.EOPNOTSUPP
	}
	n, err := s.recv(ctx, m)
	if err == nil {
		s.translate(ctx, m)
	}
	return n, err
}

// recv is RecvMsg but for ids in the control data, and with files closed that the caller
// did not ask for.
func (s *Socket) recv(ctx context.Context, m *socket.Message) (int, error) {
	var n int
	var err error
	if s.Type() == unix.SOCK_STREAM {
		n, err = s.recvStream(ctx, m)
	} else {
		n, err = s.recvPacket(ctx, m)
	}
	if f := m.Control.Files; f != nil && !m.WantControl {
		m.Control.Files = nil
		m.OutFlags |= unix.MSG_CTRUNC
		s.ns.closeFiles(ctx, f)
	}
	return n, err
}

// translate turns the sender's ids into those that the receiver knows.
func (s *Socket) translate(ctx context.Context, m *socket.Message) {
	if m.Control.HasCreds {
		m.Control.Creds = localCreds(ctx, m.Control.Creds)
	}
}

func localCreds(ctx context.Context, u socket.Ucred) socket.Ucred {
	if p, ok := ctx.(PIDMapper); ok {
		u.PID = p.LocalPID(u.PID)
	}
	ns := ctx.Credentials().UserNS
	if u.UID != auth.NoID {
		u.UID = ns.UID(auth.KUID(u.UID))
	}
	if u.GID != auth.NoID {
		u.GID = ns.GID(auth.KGID(u.GID))
	}
	return u
}

// Readiness implements waiter.Waitable, by the rules of Linux's unix_poll and
// unix_dgram_poll.
func (s *Socket) Readiness(mask waiter.EventMask) waiter.EventMask {
	var r waiter.EventMask
	s.mu.Lock()
	st, pending := s.state, len(s.backlog)
	s.mu.Unlock()

	s.in.mu.Lock()
	recvShut, data := s.in.closed, s.in.head != nil
	s.in.mu.Unlock()
	peer := s.peer.Load()
	sendShut := s.sendShut.Load()
	if peer != nil && s.connectionBased() {
		sendShut = peer.recvShut()
	}

	if s.HasError() {
		r |= waiter.EventErr
	}
	if recvShut && sendShut {
		r |= waiter.EventHUp
	}
	if recvShut {
		r |= waiter.EventRdHUp | waiter.EventIn | waiter.EventRdNorm
	}
	if data || pending > 0 {
		r |= waiter.EventIn | waiter.EventRdNorm
	}
	if s.connectionBased() && (st == idle || st == connecting) {
		r |= waiter.EventHUp
	}
	if mask&(waiter.EventOut|waiter.EventWrNorm|waiter.EventWrBand) != 0 && st != listening && s.writable() && s.peerHasRoom(peer) {
		r |= waiter.EventOut | waiter.EventWrNorm | waiter.EventWrBand
	}
	return r & mask
}

func (s *Socket) recvShut() bool {
	s.in.mu.Lock()
	defer s.in.mu.Unlock()
	return s.in.closed
}

// peerHasRoom says whether a connected datagram socket's peer takes another message; if
// not, s will be told when it does.
func (s *Socket) peerHasRoom(p *Socket) bool {
	if p == nil || p == s || s.connectionBased() || p.peer.Load() == s {
		return true
	}
	q := &p.in
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.length <= p.maxQueue {
		return true
	}
	q.wait(s)
	return false
}

// Shutdown implements socket.Socket.
func (s *Socket) Shutdown(_ context.Context, how int) error {
	if how < unix.SHUT_RD || how > unix.SHUT_RDWR {
		return unix.EINVAL
	}
	peer := s.peer.Load()
	if how != unix.SHUT_WR {
		s.in.close(s)
	}
	if how != unix.SHUT_RD {
		s.sendShut.Store(true)
		if peer != nil && s.connectionBased() {
			peer.in.close(peer)
		}
	}
	const events = waiter.EventIn | waiter.EventRdNorm | waiter.EventOut | waiter.EventWrNorm | waiter.EventRdHUp | waiter.EventHUp
	s.Notify(events)
	s.space.Notify(waiter.EventOut)
	if peer != nil && s.connectionBased() {
		peer.Notify(events)
	}
	return nil
}
