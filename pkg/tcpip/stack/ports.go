package stack

import (
	"encoding/binary"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
)

// PortRequest asks for a local port.
type PortRequest struct {
	Transport uint8
	V4, V6    bool
	Addr      netip.Addr // zero: any
	NIC       tcpip.NICID
	// Port of 0 is chosen from the ephemeral range; the one taken is put here.
	Port                    uint16
	ReuseAddress, ReusePort bool
	// User owns the ports shared by ReusePort: others may not join.
	User uint32
	// Listening: a TCP listener, which conflicts with others even with ReuseAddress.
	Listening bool

	// Guarded by ports.mu: the place in the bucket, and, for ReserveConnectPort, the
	// connection's other numbers.
	bucket    *portBucket
	index     int
	connected bool
	local     netip.Addr
	remote    netip.AddrPort
}

type portKey struct {
	transport uint8
	port      uint16
}

// portBucket is the reservations of one port.
type portBucket struct {
	key      portKey
	requests []*PortRequest
	// bound is how many of them are not of ReserveConnectPort.
	bound int
}

// ports is the table of local ports.
type ports struct {
	stack *Stack
	mu    sync.Mutex // guards the fields below
	m     map[portKey]*portBucket
	// connects counts the choices for connections, by a hash of where they go (RFC 6056
	// section 3.3.4).
	connects [256]uint32
}

func (p *ports) init(s *Stack) { p.stack, p.m = s, map[portKey]*portBucket{} }

// overlaps says whether packets could be for both.
func (r *PortRequest) overlaps(x *PortRequest) bool {
	if r.NIC != 0 && x.NIC != 0 && r.NIC != x.NIC || !(r.V4 && x.V4 || r.V6 && x.V6) {
		return false
	}
	any := func(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }
	return any(r.Addr) || any(x.Addr) || r.Addr == x.Addr
}

// conflicts says whether r may not join x, as Linux has it (socket(7), SO_REUSEADDR and
// SO_REUSEPORT): addresses may be reused by agreement unless somebody listens, ports by one
// user. strict is for ports that nobody asked for by number.
func (r *PortRequest) conflicts(x *PortRequest, strict bool) bool {
	if !r.overlaps(x) {
		return false
	}
	if strict {
		return true
	}
	if r.ReuseAddress && x.ReuseAddress && !x.Listening {
		return false
	}
	return !(r.ReusePort && x.ReusePort && r.User == x.User)
}

// free says whether r may have the port. p.mu is held.
func (p *ports) free(r *PortRequest, port uint16, strict bool) bool {
	b := p.m[portKey{r.Transport, port}]
	if b == nil {
		return true
	}
	for _, x := range b.requests {
		if x != r && r.conflicts(x, strict) {
			return false
		}
	}
	return true
}

// add takes the port for r. p.mu is held.
func (p *ports) add(r *PortRequest, port uint16) {
	k := portKey{r.Transport, port}
	b := p.m[k]
	if b == nil {
		b = &portBucket{key: k}
		p.m[k] = b
	}
	r.Port, r.bucket, r.index = port, b, len(b.requests)
	b.requests = append(b.requests, r)
	if !r.connected {
		b.bound++
	}
}

// ephemeral is the range of ports to choose from: the lowest and how many.
func (p *ports) ephemeral() (low, n uint32) {
	l, h := p.stack.settings.PortLow.Load(), p.stack.settings.PortHigh.Load()
	l = max(l, 1)
	h = min(max(h, l), 65535)
	return uint32(l), uint32(h - l + 1)
}

// ReservePort. EADDRINUSE: taken, or no free port. The reservation is r itself, which the caller
// keeps unchanged until ReleasePort.
func (s *Stack) ReservePort(r *PortRequest) error {
	p := &s.ports
	start := uint32(0)
	if r.Port == 0 {
		start = uint32(s.Random()) // RFC 6056 section 3.3.1
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	r.connected = false
	if r.Port != 0 {
		if !p.free(r, r.Port, false) {
			return unix.EADDRINUSE
		}
		p.add(r, r.Port)
		return nil
	}
	low, n := p.ephemeral()
	for i := range n {
		if port := uint16(low + (start+i)%n); p.free(r, port, true) {
			p.add(r, port)
			return nil
		}
	}
	return unix.EADDRINUSE
}

// ListenPort makes a reservation that of a listener or ends that. EADDRINUSE: another one is
// listening already, and they do not share the port.
func (s *Stack) ListenPort(r *PortRequest, listening bool) error {
	p := &s.ports
	p.mu.Lock()
	defer p.mu.Unlock()
	if listening && !p.free(r, r.Port, false) {
		return unix.EADDRINUSE
	}
	r.Listening = listening
	return nil
}

// SetReuse changes what a reservation agrees to: options of a socket count as they are, not as they
// were when it was bound.
func (s *Stack) SetReuse(r *PortRequest, address, port bool) {
	p := &s.ports
	p.mu.Lock()
	defer p.mu.Unlock()
	r.ReuseAddress, r.ReusePort = address, port
}

// SharePort adds a reservation of r.Port without asking whether it may be shared: that of a
// connection which a listener accepted.
func (s *Stack) SharePort(r *PortRequest) {
	p := &s.ports
	p.mu.Lock()
	defer p.mu.Unlock()
	r.connected = false
	p.add(r, r.Port)
}

// Purposes of Stack.Hash.
const (
	hashPortOffset = 0x706f72742d6f6666
	hashPortIndex  = 0x706f72742d696478
)

// ReserveConnectPort chooses a port for a connection to remote from local, such that the four
// numbers are not in use (RFC 6056 section 3.3.4): ports of other connections to elsewhere may
// be taken again. usable, which must not call the stack's port functions, is asked for each
// candidate; TCP says no for one in TIME_WAIT. nil: all are. EADDRNOTAVAIL: none is free.
func (s *Stack) ReserveConnectPort(r *PortRequest, remote netip.AddrPort, local netip.Addr, usable func(port uint16) bool) error {
	var b [35]byte
	l, a := local.As16(), remote.Addr().As16()
	copy(b[:], l[:])
	copy(b[16:], a[:])
	binary.BigEndian.PutUint16(b[32:], remote.Port())
	b[34] = r.Transport
	offset := uint32(s.Hash(hashPortOffset, b[:]))
	index := uint8(s.Hash(hashPortIndex, b[:]))
	p := &s.ports
	p.mu.Lock()
	defer p.mu.Unlock()
	low, n := p.ephemeral()
	for range n {
		port := uint16(low + (offset+p.connects[index])%n)
		p.connects[index]++
		if p.connectable(r, port, remote, local) && (usable == nil || usable(port)) {
			r.connected, r.remote, r.local = true, remote, local
			p.add(r, port)
			return nil
		}
	}
	return unix.EADDRNOTAVAIL
}

// connectable says whether port is free for a connection from local to remote: nobody is bound to
// it, and no other connection has the same numbers. p.mu is held.
func (p *ports) connectable(r *PortRequest, port uint16, remote netip.AddrPort, local netip.Addr) bool {
	b := p.m[portKey{r.Transport, port}]
	if b == nil {
		return true
	}
	if b.bound > 0 {
		return false
	}
	for _, x := range b.requests {
		if x.remote == remote && x.local == local && (x.NIC == 0 || r.NIC == 0 || x.NIC == r.NIC) {
			return false
		}
	}
	return true
}

// ReleasePort ends a reservation. It is harmless if there is none.
func (s *Stack) ReleasePort(r *PortRequest) {
	p := &s.ports
	p.mu.Lock()
	defer p.mu.Unlock()
	b := r.bucket
	if b == nil {
		return
	}
	last := len(b.requests) - 1
	b.requests[r.index] = b.requests[last]
	b.requests[r.index].index = r.index
	b.requests[last] = nil
	b.requests = b.requests[:last]
	if !r.connected {
		b.bound--
	}
	if last == 0 {
		delete(p.m, b.key)
	}
	r.bucket, r.connected = nil, false
}
