package unix

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/vfs"
)

const (
	// DefaultDatagramQueue is /proc/sys/net/unix/max_dgram_qlen.
	DefaultDatagramQueue = 10
	// maxInFlight bounds a user's descriptors in messages that were not received.
	maxInFlight = 1 << 16
	// maxBacklog is /proc/sys/net/core/somaxconn.
	maxBacklog = 4096
	// autobindNames is how many names autobind chooses from: five hexadecimal digits.
	autobindNames = 1 << 20
)

// Namespace is the unix sockets of a network namespace. It is the socket.Provider of
// AF_UNIX.
type Namespace struct {
	stack *socket.Stack

	mu       sync.Mutex // guards the fields below
	abstract map[string]*Socket
	sockets  map[*Socket]struct{}
	lastAuto uint32
	inFlight map[auth.KUID]int
	total    int // of inFlight
	// orphans are files that nobody will receive; whoever adds the first closes all.
	orphans    []*vfs.FileDescription
	closing    bool
	dgramLimit int
}

// NewNamespace makes an empty namespace and registers it with stack, which may be nil.
func NewNamespace(stack *socket.Stack) *Namespace {
	n := &Namespace{
		stack:      stack,
		abstract:   make(map[string]*Socket),
		sockets:    make(map[*Socket]struct{}),
		inFlight:   make(map[auth.KUID]int),
		dgramLimit: DefaultDatagramQueue,
	}
	if stack != nil {
		stack.Register(unix.AF_UNIX, n)
	}
	return n
}

// DatagramQueue is max_dgram_qlen.
func (n *Namespace) DatagramQueue() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dgramLimit
}

// SetDatagramQueue sets max_dgram_qlen for sockets made from now on.
func (n *Namespace) SetDatagramQueue(v int) {
	n.mu.Lock()
	n.dgramLimit = max(v, 0)
	n.mu.Unlock()
}

// Socket implements socket.Provider.
func (n *Namespace) Socket(ctx context.Context, typ, protocol int) (socket.Socket, error) {
	s, err := n.new(typ, protocol)
	if err != nil {
		return nil, err
	}
	s.owner = ctx.Credentials().FSUID
	return s, nil
}

func (n *Namespace) new(typ, protocol int) (*Socket, error) {
	if protocol != 0 && protocol != unix.AF_UNIX {
		return nil, unix.EPROTONOSUPPORT
	}
	switch typ {
	case unix.SOCK_RAW:
		typ = unix.SOCK_DGRAM // as Linux has it, for BSD's sake
	case unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_SEQPACKET:
	default:
		return nil, unix.ESOCKTNOSUPPORT
	}
	return n.newSocket(typ, protocol), nil
}

func (n *Namespace) newSocket(typ, protocol int) *Socket {
	s := &Socket{ns: n}
	s.Init(unix.AF_UNIX, typ, protocol)
	s.peerCred = noCreds
	n.mu.Lock()
	s.maxQueue = n.dgramLimit
	n.sockets[s] = struct{}{}
	n.mu.Unlock()
	return s
}

// Pair implements socket.PairProvider.
func (n *Namespace) Pair(ctx context.Context, typ, protocol int) (socket.Socket, socket.Socket, error) {
	a, err := n.new(typ, protocol)
	if err != nil {
		return nil, nil, err
	}
	b, _ := n.new(typ, protocol)
	for s, o := range map[*Socket]*Socket{a: b, b: a} {
		s.peer.Store(o)
		s.owner = ctx.Credentials().FSUID
		s.peerCred, s.peerGroups = credsOf(ctx)
		s.state = connected
	}
	return a, b, nil
}

// bindAbstract makes name lead to s. EADDRINUSE: it leads elsewhere.
func (n *Namespace) bindAbstract(name string, s *Socket) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.abstract[name] != nil {
		return unix.EADDRINUSE
	}
	n.abstract[name] = s
	return nil
}

// autobind finds a free abstract name for s (unix(7), "Autobind feature").
func (n *Namespace) autobind(s *Socket) (string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for range autobindNames {
		n.lastAuto = (n.lastAuto + 1) % autobindNames
		name := fmt.Sprintf("%05x", n.lastAuto)
		if n.abstract[name] == nil {
			n.abstract[name] = s
			return name, nil
		}
	}
	return "", unix.ENOSPC
}

func (n *Namespace) lookupAbstract(name string) *Socket {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.abstract[name]
}

// remove forgets a socket that was closed.
func (n *Namespace) remove(s *Socket, a *address) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.sockets, s)
	if a != nil && a.abstract && n.abstract[a.name()] == s {
		delete(n.abstract, a.name())
	}
}

// chargeFiles counts files that go into a message. ETOOMANYREFS: the user has too many.
func (n *Namespace) chargeFiles(uid auth.KUID, count int) error {
	if count == 0 {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.inFlight[uid]+count > maxInFlight {
		return unix.ETOOMANYREFS
	}
	n.inFlight[uid] += count
	n.total += count
	return nil
}

func (n *Namespace) unchargeFiles(uid auth.KUID, count int) {
	if count == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.total -= count
	if n.inFlight[uid] -= count; n.inFlight[uid] <= 0 {
		delete(n.inFlight, uid)
	}
}

// closeFiles drops references on files that nobody will receive. Closing one may find
// others; those are left to the loop that is running.
func (n *Namespace) closeFiles(ctx context.Context, files []*vfs.FileDescription) {
	if len(files) == 0 {
		return
	}
	n.mu.Lock()
	n.orphans = append(n.orphans, files...)
	if n.closing {
		n.mu.Unlock()
		return
	}
	n.closing = true
	for len(n.orphans) > 0 {
		batch := n.orphans
		n.orphans = nil
		n.mu.Unlock()
		for _, f := range batch {
			f.DecRef(ctx)
		}
		n.mu.Lock()
	}
	n.closing = false
	n.mu.Unlock()
}

// ProcNetUnix is the content of /proc/net/unix.
func (n *Namespace) ProcNetUnix() string {
	n.mu.Lock()
	list := make([]*Socket, 0, len(n.sockets))
	for s := range n.sockets {
		list = append(list, s)
	}
	n.mu.Unlock()
	slices.SortFunc(list, func(a, b *Socket) int { return int(int64(a.InodeNumber()) - int64(b.InodeNumber())) })
	var b strings.Builder
	b.WriteString("Num       RefCount Protocol Flags    Type St Inode Path\n")
	for _, s := range list {
		s.mu.Lock()
		state := s.state
		s.mu.Unlock()
		flags, st := 0, 1 // SS_UNCONNECTED
		switch state {
		case listening:
			flags = 1 << 16 // __SO_ACCEPTCON
		case connecting:
			st = 2
		case connected:
			st = 3
		}
		fmt.Fprintf(&b, "%016x: %08X %08X %08X %04X %02X %5d", 0, 2, 0, flags, s.Type(), st, s.InodeNumber())
		if a := s.addr.Load(); a != nil {
			b.WriteByte(' ')
			if a.abstract {
				b.WriteByte('@')
			}
			b.WriteString(strings.ReplaceAll(a.name(), "\x00", "@"))
		}
		b.WriteByte('\n')
	}
	return b.String()
}
