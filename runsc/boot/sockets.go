package boot

import (
	"math"
	"runtime"

	"runsc/pkg/sentry/fs/host"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/socket/hostinet"
	"runsc/pkg/sentry/socket/inet"
	"runsc/pkg/sentry/socket/packet"
	"runsc/pkg/tcpip/stack"
)

// networks gives every network namespace a stack of its own. It implements
// syscalls.Networking.
type networks struct {
	// host is where the descriptors of the host's sockets are (--network=host); nil: the first
	// namespace has a stack like all others.
	host *host.Filesystem
	// pingSockets: every group may use those of icmp(7). Without raw sockets, ping has no
	// others, and they harm nobody.
	pingSockets bool
}

// AddFamilies implements syscalls.Networking. The first namespace, that of the sandbox's
// containers, begins with lo up; others with lo down, as in Linux.
func (n *networks) AddFamilies(layer *socket.Stack, ns *kernel.NetNamespace) {
	if n.host != nil && ns.ID() == 1 {
		hostinet.Register(layer, n.host)
		return
	}
	st := inet.NewStack(nil)
	if ns.ID() == 1 {
		inet.SetUp(st.NIC(1), true)
	}
	if n.pingSockets {
		st.Settings().PingGroupLow.Store(0)
		st.Settings().PingGroupHigh.Store(math.MaxInt32)
	}
	packet.Register(inet.Register(layer, st))
	// Nothing in the stack knows of the layer. So it goes when no task, file or socket of the
	// namespace is left, and takes timers and goroutines of the stack with it.
	runtime.AddCleanup(layer, (*stack.Stack).Close, st)
}
