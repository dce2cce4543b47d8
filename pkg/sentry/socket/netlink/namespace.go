package netlink

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/socket/inet"
	"runsc/pkg/tcpip/stack"
)

// Namespace is the netlink sockets of a network namespace. It implements socket.Provider, and
// stack.Observer for the multicast groups of NETLINK_ROUTE.
type Namespace struct {
	sockets *socket.Stack
	net     *stack.Stack `state:"nosave"` // nil: a namespace that has no network at all
	ip      IPSockets    `state:"nosave"` // nil: there are none

	// changes is held by a request that changes the stack, so that look-ups that decide about a
	// change stay true. acting is that request.
	changes sync.Mutex
	acting  atomic.Pointer[request] `state:"nosave"`
	// flags are IFF_PROMISC and IFF_ALLMULTI of interfaces as netlink set them, since the
	// stack counts; guarded by changes.
	flags map[int32]uint32

	// watch is held while memberships change; it guards observing: the stack tells of its
	// changes, as long as somebody wants to hear. A stack that knows of a namespace would
	// keep it for ever.
	watch     sync.Mutex
	observing bool

	mu       sync.Mutex // guards the fields below
	ports    map[portKey]*Socket
	lastPort uint32
	members  map[groupKey]map[*Socket]struct{}
}

type portKey struct {
	protocol int
	port     uint32
}

type groupKey struct {
	protocol int
	group    uint32
}

// Register makes AF_NETLINK known to s. Its network is that of AF_INET, which is to be known
// already; else NETLINK_ROUTE knows no interface.
func Register(s *socket.Stack) *Namespace {
	in := inet.NamespaceOf(s)
	if in == nil {
		return register(s, nil)
	}
	n := register(s, in.Stack())
	n.ip = SocketsOf(in)
	return n
}

func register(s *socket.Stack, net *stack.Stack) *Namespace {
	n := &Namespace{
		sockets: s, net: net, flags: make(map[int32]uint32),
		ports: make(map[portKey]*Socket), members: make(map[groupKey]map[*Socket]struct{}),
	}
	s.Register(unix.AF_NETLINK, n)
	return n
}

// protocolGroups is how many multicast groups a protocol has; those of other protocols do not
// exist. Linux has 32 at least.
var protocolGroups = map[int]uint32{
	unix.NETLINK_ROUTE:          numRouteGroups,
	unix.NETLINK_SOCK_DIAG:      32,
	unix.NETLINK_KOBJECT_UEVENT: 32,
}

// Socket implements socket.Provider.
func (n *Namespace) Socket(_ context.Context, typ, protocol int) (socket.Socket, error) {
	if typ != unix.SOCK_RAW && typ != unix.SOCK_DGRAM {
		return nil, unix.ESOCKTNOSUPPORT
	}
	if protocolGroups[protocol] == 0 {
		return nil, unix.EPROTONOSUPPORT
	}
	s := &Socket{ns: n}
	s.Init(unix.AF_NETLINK, typ, protocol)
	return s, nil
}

// takePort gives s a port: want, or one like the process id if that is 0. EADDRINUSE.
func (n *Namespace) takePort(s *Socket, want, pid uint32) (uint32, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := portKey{s.Protocol(), want}
	if want != 0 {
		if n.ports[k] != nil {
			return 0, unix.EADDRINUSE
		}
	} else {
		for k.port = pid; k.port == 0 || n.ports[k] != nil; {
			// Beyond all process ids.
			n.lastPort++
			k.port = 1<<31 | n.lastPort
		}
	}
	n.ports[k] = s
	return k.port, nil
}

func (n *Namespace) socketAt(protocol int, port uint32) *Socket {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ports[portKey{protocol, port}]
}

// forget removes a socket that was closed.
func (n *Namespace) forget(s *Socket, port uint32, groups *groupSet) {
	if port != 0 {
		n.mu.Lock()
		delete(n.ports, portKey{s.Protocol(), port})
		n.mu.Unlock()
	}
	for g := range groups.all {
		n.setMember(s, g, false)
	}
}

// setMember adds s to a group or removes it.
func (n *Namespace) setMember(s *Socket, group uint32, on bool) {
	n.watch.Lock()
	defer n.watch.Unlock()
	k := groupKey{s.Protocol(), group}
	wanted := false
	n.mu.Lock()
	switch {
	case !on:
		delete(n.members[k], s)
		if len(n.members[k]) == 0 {
			delete(n.members, k)
		}
	case n.members[k] == nil:
		n.members[k] = map[*Socket]struct{}{s: {}}
	default:
		n.members[k][s] = struct{}{}
	}
	for k := range n.members {
		wanted = wanted || k.protocol == unix.NETLINK_ROUTE
	}
	n.mu.Unlock()
	if n.net == nil || wanted == n.observing {
		return
	}
	n.observing = wanted
	if wanted {
		n.net.AddObserver(n)
	} else {
		n.net.RemoveObserver(n)
	}
}

// hasMembers says whether anybody listens to a group.
func (n *Namespace) hasMembers(protocol int, group uint32) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.members[groupKey{protocol, group}]) > 0
}

// multicast sends a datagram to the members of a group, but not to except.
func (n *Namespace) multicast(protocol int, group uint32, d datagram, except *Socket) {
	n.mu.Lock()
	var list []*Socket
	for s := range n.members[groupKey{protocol, group}] {
		if s != except {
			list = append(list, s)
		}
	}
	n.mu.Unlock()
	d.group = group
	for _, s := range list {
		s.mu.Lock()
		bound := s.port != 0
		s.mu.Unlock()
		if bound { // who has no port hears nothing
			s.deliver(d)
		}
	}
}

// each calls f for all bound sockets; their order is by chance.
func (n *Namespace) each(f func(*Socket)) {
	n.mu.Lock()
	list := make([]*Socket, 0, len(n.ports))
	for _, s := range n.ports {
		list = append(list, s)
	}
	n.mu.Unlock()
	for _, s := range list {
		f(s)
	}
}

// groupSet is a set of group numbers, which begin with 1.
type groupSet struct{ bits [2]uint64 }

func (g *groupSet) has(group uint32) bool {
	return group >= 1 && group <= 128 && g.bits[(group-1)/64]&(1<<((group-1)%64)) != 0
}

func (g *groupSet) set(group uint32, on bool) {
	if group < 1 || group > 128 {
		return
	}
	bit := uint64(1) << ((group - 1) % 64)
	if on {
		g.bits[(group-1)/64] |= bit
	} else {
		g.bits[(group-1)/64] &^= bit
	}
}

// mask is the first 32 groups as struct sockaddr_nl has them.
func (g *groupSet) mask() uint32 { return uint32(g.bits[0]) }

// all calls yield for each group; it is an iterator.
func (g *groupSet) all(yield func(uint32) bool) {
	for i := uint32(1); i <= 128; i++ {
		if g.has(i) && !yield(i) {
			return
		}
	}
}
