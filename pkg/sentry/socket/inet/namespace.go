package inet

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip/stack"
)

// Namespace is the network of a network namespace.
type Namespace struct {
	stack *stack.Stack `state:"nosave"`
	layer *socket.Stack
	// cookies counts sockets, for SO_COOKIE.
	cookies atomic.Uint64

	mu  sync.Mutex // guards the fields below
	all map[*Core]struct{}
	// recorded are variables of sysctl(8) that the stack has no use for.
	recorded map[string]string
}

// Register makes AF_INET and AF_INET6 of layer sockets on st, and the interfaces of st those
// that applications see.
func Register(layer *socket.Stack, st *stack.Stack) *Namespace {
	n := &Namespace{stack: st, layer: layer, all: make(map[*Core]struct{})}
	layer.Register(unix.AF_INET, &provider{n, unix.AF_INET})
	layer.Register(unix.AF_INET6, &provider{n, unix.AF_INET6})
	layer.SetDevices(&devices{n})
	return n
}

// NamespaceOf returns what Register made for layer, or nil.
func NamespaceOf(layer *socket.Stack) *Namespace {
	if p, err := layer.Provider(unix.AF_INET); err == nil {
		if p, ok := p.(*provider); ok {
			return p.ns
		}
	}
	return nil
}

// Stack is the network stack.
func (n *Namespace) Stack() *stack.Stack { return n.stack }

// Layer is the sockets' side of the namespace.
func (n *Namespace) Layer() *socket.Stack { return n.layer }

// Capable says whether the caller has capability cap over the namespace.
func (n *Namespace) Capable(ctx context.Context, cap int) bool { return n.layer.Capable(ctx, cap) }

func (n *Namespace) add(c *Core) {
	c.cookie = n.cookies.Add(1)
	n.mu.Lock()
	n.all[c] = struct{}{}
	n.mu.Unlock()
}

func (n *Namespace) remove(c *Core) {
	n.mu.Lock()
	delete(n.all, c)
	n.mu.Unlock()
}

// Sockets returns all sockets of the namespace, in no order.
func (n *Namespace) Sockets() []*Core {
	n.mu.Lock()
	defer n.mu.Unlock()
	out := make([]*Core, 0, len(n.all))
	for c := range n.all {
		out = append(out, c)
	}
	return out
}
