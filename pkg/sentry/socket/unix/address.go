package unix

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/vfs"
)

// maxPath is the size of sun_path.
const maxPath = 108

// address is what a socket is bound to. It is immutable and may outlive its socket: the
// sockets that accept(2) returns share their listener's.
type address struct {
	abi      []byte // struct sockaddr_un: family and path
	abstract bool
	owner    *Socket  // who bound it
	path     vfs.Path // of a pathname address; the reference is the owner's
}

// name is the pathname, or the abstract name without its leading zero.
func (a *address) name() string {
	if a.abstract {
		return string(a.abi[3:])
	}
	return string(a.abi[2 : len(a.abi)-1])
}

// put stores the address for an application; a may be nil.
func (a *address) put(to *socket.Addr) {
	if a == nil {
		to.Set(nil)
		return
	}
	to.Set(a.abi)
}

func newAddress(name string, abstract bool, owner *Socket) *address {
	a := &address{abstract: abstract, owner: owner}
	a.abi = binary.NativeEndian.AppendUint16(nil, unix.AF_UNIX)
	if abstract {
		a.abi = append(a.abi, 0)
		a.abi = append(a.abi, name...)
	} else {
		a.abi = append(append(a.abi, name...), 0)
	}
	return a
}

// parse takes struct sockaddr_un apart. An empty name that is not abstract asks for
// autobind.
func parse(addr *socket.Addr) (name string, abstract bool, err error) {
	b := addr.Bytes()
	if len(b) < 2 || addr.Family() != unix.AF_UNIX || len(b) > 2+maxPath {
		return "", false, unix.EINVAL
	}
	b = b[2:]
	if len(b) == 0 {
		return "", false, nil
	}
	if b[0] == 0 {
		return string(b[1:]), true, nil
	}
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	return string(b), false, nil
}

// find returns the socket that addr leads to. ECONNREFUSED: there is none.
func (s *Socket) find(ctx context.Context, addr *socket.Addr) (*Socket, error) {
	name, abstract, err := parse(addr)
	if err != nil {
		return nil, err
	}
	var other *Socket
	switch {
	case abstract:
		other = s.ns.lookupAbstract(name)
	case name == "":
		return nil, unix.EINVAL
	default:
		r, ok := ctx.(PathResolver)
		if !ok {
			return nil, unix.ECONNREFUSED
		}
		p, err := r.LookupSocket(name)
		if err != nil {
			return nil, err
		}
		other, _ = p.Inode().Base().Special().(*Socket)
		p.DecRef(ctx)
	}
	if other == nil || other.gone.Load() {
		return nil, unix.ECONNREFUSED
	}
	if other.Type() != s.Type() {
		return nil, unix.EPROTOTYPE
	}
	return other, nil
}

// Bind implements socket.Socket.
func (s *Socket) Bind(ctx context.Context, addr *socket.Addr) error {
	name, abstract, err := parse(addr)
	if err != nil {
		return err
	}
	bound := s.addr.Load() != nil
	if abstract {
		if bound {
			return unix.EINVAL
		}
		if err := s.ns.bindAbstract(name, s); err != nil {
			return err
		}
		return s.setAddress(ctx, newAddress(name, true, s))
	}
	if name == "" {
		if bound {
			return nil
		}
		return s.autobind()
	}
	r, ok := ctx.(PathResolver)
	if !ok {
		return unix.EADDRNOTAVAIL
	}
	if bound {
		// Linux makes the node first, and so finds out that it exists.
		p, err := r.LookupSocket(name)
		if err != nil {
			return unix.EINVAL
		}
		p.DecRef(ctx)
		return unix.EADDRINUSE
	}
	p, err := r.CreateSocket(name)
	if err == unix.EEXIST {
		return unix.EADDRINUSE
	}
	if err != nil {
		return err
	}
	a := newAddress(name, false, s)
	a.path = p
	if _, mine := p.Inode().Base().SwapSpecial(nil, s); !mine {
		p.DecRef(ctx)
		return unix.EADDRINUSE
	}
	return s.setAddress(ctx, a)
}

// setAddress ends a Bind; another may have been faster.
func (s *Socket) setAddress(ctx context.Context, a *address) error {
	if s.addr.CompareAndSwap(nil, a) {
		return nil
	}
	if a.abstract {
		s.ns.mu.Lock()
		delete(s.ns.abstract, a.name())
		s.ns.mu.Unlock()
	} else {
		a.path.Inode().Base().SwapSpecial(s, nil)
		a.path.DecRef(ctx)
	}
	return unix.EINVAL
}

// autobind gives the socket an abstract name of the kernel's choice, unless it has one.
func (s *Socket) autobind() error {
	name, err := s.ns.autobind(s)
	if err != nil {
		return err
	}
	if !s.addr.CompareAndSwap(nil, newAddress(name, true, s)) {
		s.ns.mu.Lock()
		delete(s.ns.abstract, name)
		s.ns.mu.Unlock()
	}
	return nil
}

// GetSockName implements socket.Socket.
func (s *Socket) GetSockName(_ context.Context, addr *socket.Addr) error {
	s.putName(addr)
	return nil
}

func (s *Socket) putName(addr *socket.Addr) {
	if a := s.addr.Load(); a != nil {
		addr.Set(a.abi)
		return
	}
	addr.SetFamily(unix.AF_UNIX)
}

// GetPeerName implements socket.Socket.
func (s *Socket) GetPeerName(_ context.Context, addr *socket.Addr) error {
	p := s.peer.Load()
	if p == nil {
		return unix.ENOTCONN
	}
	p.putName(addr)
	return nil
}
