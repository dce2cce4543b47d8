package socket

import (
	"encoding/binary"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

// MaxAddr is the size of struct sockaddr_storage, the longest address.
const MaxAddr = 128

// Addr is a socket address in the form of the ABI: the family in two bytes, in native order,
// and what the family makes of the rest. The zero Addr is none.
type Addr struct {
	n    int
	data [MaxAddr]byte
}

// NewAddr copies b. EINVAL: it is too long.
func NewAddr(b []byte) (Addr, error) {
	var a Addr
	if len(b) > MaxAddr {
		return a, unix.EINVAL
	}
	a.Set(b)
	return a, nil
}

// Set replaces the address; what is beyond MaxAddr is cut off.
func (a *Addr) Set(b []byte) { a.n = copy(a.data[:], b) }

// SetFamily makes the address one of family without more.
func (a *Addr) SetFamily(family uint16) {
	binary.NativeEndian.PutUint16(a.data[:], family)
	a.n = 2
}

// Bytes is the address; it belongs to a.
func (a *Addr) Bytes() []byte { return a.data[:a.n] }

// Len is the number of bytes.
func (a *Addr) Len() int { return a.n }

// Family is the address family, AF_UNSPEC if the address is too short to have one.
func (a *Addr) Family() uint16 {
	if a.n < 2 {
		return unix.AF_UNSPEC
	}
	return binary.NativeEndian.Uint16(a.data[:])
}

// Ucred is who sent a message, or who is at the other end: a process id in the sandbox's
// root namespace and user and group ids of the kernel.
type Ucred struct {
	PID      int32
	UID, GID uint32
}

// Control is the ancillary data of a message (cmsg(3)).
type Control struct {
	// Files is SCM_RIGHTS. The references pass with the Control: to the socket if SendMsg
	// succeeds, to the caller from RecvMsg.
	Files []*vfs.FileDescription
	// Creds is SCM_CREDENTIALS, if HasCreds.
	Creds    Ucred
	HasCreds bool
	// Timestamp is SCM_TIMESTAMP(NS), nanoseconds since the epoch, if HasTimestamp is one
	// of SO_TIMESTAMP and SO_TIMESTAMPNS.
	Timestamp    int64
	HasTimestamp int
	// Raw are the messages of a family's own levels (IP_PKTINFO, NETLINK_PKTINFO …).
	Raw []RawControl
	raw []byte // the memory of what AddRaw added
}

// AddRaw appends a control message with a copy of data. It allocates only until Reset has
// been called a few times.
func (c *Control) AddRaw(level, typ int32, data []byte) {
	n := len(c.raw)
	c.raw = append(c.raw, data...)
	c.Raw = append(c.Raw, RawControl{level, typ, c.raw[n:len(c.raw):len(c.raw)]})
}

// AddInt is AddRaw of an int.
func (c *Control) AddInt(level, typ int32, v int32) {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(v))
	c.AddRaw(level, typ, b[:])
}

// maxKept is how much memory Reset keeps, in bytes.
const maxKept = 4096

// Reset empties c, and keeps the memory of what AddRaw added.
func (c *Control) Reset() {
	raw, msgs := c.raw[:0], c.Raw
	if cap(raw) > maxKept || cap(msgs) > maxKept/32 {
		*c = Control{}
		return
	}
	clear(msgs)
	*c = Control{raw: raw, Raw: msgs[:0]}
}

// RawControl is one control message as bytes.
type RawControl struct {
	Level, Type int32
	Data        []byte
}

// Message is the argument of SendMsg and RecvMsg.
type Message struct {
	Data usermem.Sequence
	// Flags are MSG_* of the call. MSG_DONTWAIT covers O_NONBLOCK.
	Flags uint32
	// To is where to send to; nil: where the socket is connected to.
	To *Addr
	// From receives the sender's address unless it is nil; no address is length 0.
	From *Addr
	// Control is sent, or was received. Who receives sets WantControl if it has room.
	Control     Control
	WantControl bool
	// OutFlags are MSG_* of what was received: MSG_TRUNC, MSG_CTRUNC, MSG_EOR.
	OutFlags uint32
}

// Socket is a socket of any family. Nonblocking calls are those with nonblock set or
// MSG_DONTWAIT.
type Socket interface {
	vfs.File

	// Family, Type and Protocol are those of socket(2), without flags.
	Family() int
	Type() int
	Protocol() int

	Bind(ctx context.Context, addr *Addr) error
	Connect(ctx context.Context, addr *Addr, nonblock bool) error
	Listen(ctx context.Context, backlog int) error
	// Accept returns the next connection and sets peer, unless it is nil.
	Accept(ctx context.Context, peer *Addr, nonblock bool) (Socket, error)
	// Shutdown's how is SHUT_RD, SHUT_WR or SHUT_RDWR.
	Shutdown(ctx context.Context, how int) error
	GetSockName(ctx context.Context, addr *Addr) error
	GetPeerName(ctx context.Context, addr *Addr) error
	// SendMsg and RecvMsg return the number of bytes; RecvMsg with MSG_TRUNC of datagrams
	// their real length. EPIPE from SendMsg raises SIGPIPE unless MSG_NOSIGNAL is set.
	SendMsg(ctx context.Context, m *Message) (int, error)
	RecvMsg(ctx context.Context, m *Message) (int, error)
	// GetSockOpt writes the value to buf, which is as long as the caller's, and returns its
	// length, which is longer than buf only with ERANGE.
	GetSockOpt(ctx context.Context, level, name int, buf []byte) (int, error)
	SetSockOpt(ctx context.Context, level, name int, val []byte) error

	// SetInodeNumber tells the socket the number of its inode.
	SetInodeNumber(ino uint64)
}

// Provider makes the sockets of an address family.
type Provider interface {
	// Socket makes a socket. typ is without SOCK_NONBLOCK and SOCK_CLOEXEC.
	// ESOCKTNOSUPPORT, EPROTONOSUPPORT, EPERM.
	Socket(ctx context.Context, typ, protocol int) (Socket, error)
}

// PairProvider is a Provider of socketpair(2).
type PairProvider interface {
	Pair(ctx context.Context, typ, protocol int) (a, b Socket, err error)
}

// maxFamily is one more than the highest address family.
const maxFamily = 46

// Stack is the sockets' side of a network namespace.
type Stack struct {
	owner *auth.UserNamespace // nil: whoever asks is in it

	mu        sync.RWMutex // guards the fields below
	providers [maxFamily]Provider
	devices   Devices
}

// NewStack makes a stack with no families, and lo as its only interface.
func NewStack() *Stack { return &Stack{devices: loopbackOnly{}} }

// SetOwner says which user namespace owns the network namespace. It is called before the
// stack is used.
func (s *Stack) SetOwner(u *auth.UserNamespace) { s.owner = u }

// Capable says whether the caller has capability cap over the network namespace.
func (s *Stack) Capable(ctx context.Context, cap int) bool {
	if s == nil || s.owner == nil {
		return ctx.Credentials().HasCapability(cap)
	}
	return ctx.Credentials().HasCapabilityIn(cap, s.owner)
}

// Register makes p the provider of family.
func (s *Stack) Register(family int, p Provider) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.providers[family] = p
}

// Provider returns the provider of family. EAFNOSUPPORT: there is none.
func (s *Stack) Provider(family int) (Provider, error) {
	if family < 0 || family >= maxFamily {
		return nil, unix.EAFNOSUPPORT
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if p := s.providers[family]; p != nil {
		return p, nil
	}
	return nil, unix.EAFNOSUPPORT
}

// Devices are the network interfaces.
func (s *Stack) Devices() Devices {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.devices
}

// SetDevices replaces the network interfaces.
func (s *Stack) SetDevices(d Devices) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.devices = d
}

// Socket makes a socket.
func (s *Stack) Socket(ctx context.Context, family, typ, protocol int) (Socket, error) {
	if typ < 0 || typ > unix.SOCK_PACKET {
		return nil, unix.EINVAL
	}
	p, err := s.Provider(family)
	if err != nil {
		return nil, err
	}
	return p.Socket(ctx, typ, protocol)
}

// Pair makes two connected sockets. EOPNOTSUPP: the family has none.
func (s *Stack) Pair(ctx context.Context, family, typ, protocol int) (a, b Socket, err error) {
	if typ < 0 || typ > unix.SOCK_PACKET {
		return nil, nil, unix.EINVAL
	}
	p, err := s.Provider(family)
	if err != nil {
		return nil, nil, err
	}
	pp, ok := p.(PairProvider)
	if !ok {
		return nil, nil, unix.EOPNOTSUPP
	}
	return pp.Pair(ctx, typ, protocol)
}

// NewFile makes the open file description of s. flags may have SOCK_NONBLOCK.
func NewFile(ctx context.Context, s Socket, flags uint32) *vfs.FileDescription {
	inode := vfs.NewAnonInode(ctx, "socket")
	s.SetInodeNumber(inode.InodeNumber())
	return vfs.NewAnonFileAt("socket", inode, s, unix.O_RDWR|flags&unix.SOCK_NONBLOCK)
}
