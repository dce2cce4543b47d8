package stack

import (
	crand "crypto/rand"
	"crypto/sha256"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
)

// Config is what a stack is made of.
type Config struct {
	// Clock of nil is the host's.
	Clock tcpip.Clock
	// Networks and Transports make the protocols (ipv4.New, tcp.New …).
	Networks   []func(*Stack) NetworkProtocol
	Transports []func(*Stack) TransportProtocol
	// Seed makes secrets (hash keys) predictable in tests; nil: real randomness.
	Seed []byte
}

// Stack is the network of one namespace.
type Stack struct {
	clock      tcpip.Clock
	networks   []NetworkProtocol
	transports [256]TransportProtocol
	sipKey     [2]uint64
	keys       hashKey
	settings   Settings
	stats      Stats

	// randomMu guards random.
	randomMu sync.Mutex
	random   *rand.ChaCha8

	// generation changes with everything that a Route depends on.
	generation atomic.Uint64
	// What packets read: replaced as a whole under mu.
	nics      atomic.Pointer[nicTable]
	routing   atomic.Pointer[routing]
	observers atomic.Pointer[[]Observer]
	routes    routeCache

	mu     sync.Mutex // guards changes of the above and the fields below
	lines  []*routeLine
	rules  []Rule
	closed bool

	demux   demux
	ports   ports
	pathMTU pathMTUs
	raw     rawTable
	packets packetTable
}

// nicTable is the interfaces at one moment.
type nicTable struct {
	byID     map[tcpip.NICID]*NIC
	sorted   []*NIC
	loopback *NIC
}

// New makes a stack without interfaces.
func New(c Config) *Stack {
	s := &Stack{clock: c.Clock}
	if s.clock == nil {
		s.clock = tcpip.RealClock{}
	}
	var seed [32]byte
	if c.Seed != nil {
		seed = sha256.Sum256(c.Seed)
	} else {
		crand.Read(seed[:])
	}
	s.random = rand.NewChaCha8(seed)
	s.sipKey = [2]uint64{s.Random(), s.Random()}
	for i := range s.keys {
		s.keys[i] = s.Random()
	}
	s.settings.init()
	s.nics.Store(&nicTable{byID: map[tcpip.NICID]*NIC{}})
	s.observers.Store(&[]Observer{})
	s.rules = defaultRules()
	s.routing.Store(&routing{local4: newLocality(nil), local6: newLocality(nil)})
	s.publishRules()
	s.ports.init(s)
	s.demux.init(s)
	for _, f := range c.Networks {
		s.networks = append(s.networks, f(s))
	}
	for _, f := range c.Transports {
		t := f(s)
		s.transports[t.Number()] = t
	}
	return s
}

// Close ends every endpoint, protocol, NIC and link, and waits for their goroutines.
func (s *Stack) Close() {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return
	}
	s.demux.abortAll()
	for _, t := range s.transports {
		if t != nil {
			t.Close()
		}
	}
	for _, n := range s.NICs() {
		s.RemoveNIC(n.ID())
	}
	for _, n := range s.networks {
		n.Close()
	}
}

// Clock is the stack's clock.
func (s *Stack) Clock() tcpip.Clock { return s.clock }

// Hash is a keyed hash (SipHash-2-4) of b, with a secret of this stack, for port selection
// (RFC 6056) and initial sequence numbers (RFC 6528). purpose keeps uses apart.
func (s *Stack) Hash(purpose uint64, b []byte) uint64 {
	return sipHash(s.sipKey[0]^purpose, s.sipKey[1], b)
}

// Random returns random bits nobody can foretell.
func (s *Stack) Random() uint64 {
	s.randomMu.Lock()
	defer s.randomMu.Unlock()
	return s.random.Uint64()
}

// TransportProtocol returns the transport of that number, nil if the stack has none.
func (s *Stack) TransportProtocol(number uint8) TransportProtocol { return s.transports[number] }

// HasNetwork says whether the stack has the protocol.
func (s *Stack) HasNetwork(etherType uint16) bool {
	for _, n := range s.networks {
		if n.EtherType() == etherType {
			return true
		}
	}
	return false
}

// Settings are what sysctl(8) changes (net.ipv4.*, net.ipv6.*, net.core.*).
func (s *Stack) Settings() *Settings { return &s.settings }

// Stats are the stack's counters (/proc/net/snmp, snmp6, netstat).
func (s *Stack) Stats() *Stats { return &s.stats }

// AddObserver and RemoveObserver: o hears of changes.
func (s *Stack) AddObserver(o Observer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := append([]Observer(nil), *s.observers.Load()...)
	list = append(list, o)
	s.observers.Store(&list)
}

// RemoveObserver ends it: see AddObserver. A change that is being told may still arrive.
func (s *Stack) RemoveObserver(o Observer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Observer
	for _, x := range *s.observers.Load() {
		if x != o {
			list = append(list, x)
		}
	}
	s.observers.Store(&list)
}

// observed says whether anybody listens.
func (s *Stack) observed() bool { return len(*s.observers.Load()) > 0 }

// notify tells the observers. No lock is held.
func (s *Stack) notify(changes ...Change) {
	for _, o := range *s.observers.Load() {
		for _, c := range changes {
			o.StackChanged(c)
		}
	}
}

// CreateNIC makes an interface. It is down and has no addresses. id of 0 is the next free one.
// EEXIST: the id or the name is taken; ENODEV: the stack is closed; ENOBUFS: too many.
func (s *Stack) CreateNIC(id tcpip.NICID, name string, link LinkEndpoint) (*NIC, error) {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil, unix.ENODEV
	}
	t := s.nics.Load()
	if id == 0 {
		for id = 1; t.byID[id] != nil; id++ {
		}
	}
	if t.byID[id] != nil || t.byName(name) != nil {
		s.mu.Unlock()
		return nil, unix.EEXIST
	}
	if len(t.sorted) >= nicLimit {
		s.mu.Unlock()
		return nil, unix.ENOBUFS
	}
	n := newNIC(s, id, name, link)
	s.publishNICs(append(append([]*NIC(nil), t.sorted...), n))
	s.mu.Unlock()
	link.Attach(n)
	s.notify(Change{NIC: n})
	return n, nil
}

// publishNICs replaces the interfaces. s.mu is held.
func (s *Stack) publishNICs(list []*NIC) {
	t := &nicTable{byID: map[tcpip.NICID]*NIC{}}
	for _, n := range list {
		t.byID[n.id] = n
		at := len(t.sorted)
		for at > 0 && t.sorted[at-1].id > n.id {
			at--
		}
		t.sorted = append(t.sorted, nil)
		copy(t.sorted[at+1:], t.sorted[at:])
		t.sorted[at] = n
	}
	for _, n := range t.sorted {
		if n.IsLoopback() {
			t.loopback = n
			break
		}
	}
	s.nics.Store(t)
	s.generation.Add(1)
}

// RemoveNIC takes an interface away with its addresses and routes, and closes its link.
// ENODEV.
func (s *Stack) RemoveNIC(id tcpip.NICID) error {
	n := s.NIC(id)
	if n == nil {
		return unix.ENODEV
	}
	n.SetUp(false)
	for _, a := range n.Addresses() {
		n.RemoveAddress(a.Prefix)
	}
	s.mu.Lock()
	t := s.nics.Load()
	if t.byID[id] != n {
		s.mu.Unlock()
		return unix.ENODEV
	}
	var list []*NIC
	for _, x := range t.sorted {
		if x != n {
			list = append(list, x)
		}
	}
	s.publishNICs(list)
	removed := s.dropRoutes(func(l *routeLine) bool { return l.NIC == id })
	s.mu.Unlock()
	s.notifyRoutes(true, removed)
	n.link.Attach(nil)
	n.link.Close()
	n.close()
	s.notify(Change{NIC: n, Removed: true})
	return nil
}

// NIC returns an interface, or nil; NICByName likewise; NICs returns all by rising id.
func (s *Stack) NIC(id tcpip.NICID) *NIC { return s.nics.Load().byID[id] }

// NICByName returns the interface of that name, or nil.
func (s *Stack) NICByName(name string) *NIC { return s.nics.Load().byName(name) }

func (t *nicTable) byName(name string) *NIC {
	for _, n := range t.sorted {
		if n.Name() == name {
			return n
		}
	}
	return nil
}

// NICs returns all interfaces by rising id. The slice is the caller's.
func (s *Stack) NICs() []*NIC { return append([]*NIC(nil), s.nics.Load().sorted...) }

// Loopback returns lo, or nil: the first interface whose link has CapLoopback.
func (s *Stack) Loopback() *NIC { return s.nics.Load().loopback }

// IsLocal says whether a is an address of this host: of nic, or of any if it is 0. For IPv4 that
// includes all of 127.0.0.0/8, as the local table has it.
func (s *Stack) IsLocal(nic tcpip.NICID, a netip.Addr) bool {
	r := s.routing.Load()
	if nic == 0 {
		if a.Is4() {
			return r.local4.has(a)
		}
		return r.local6.has(a)
	}
	f := r.table(a.Is6(), TableLocal)
	if f == nil {
		return false
	}
	l := f.find(a, nic, false, nil)
	return l != nil && l.Type == RouteLocal
}
