package inet

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/transport/icmp"
	"runsc/pkg/tcpip/transport/raw"
	"runsc/pkg/tcpip/transport/tcp"
	"runsc/pkg/tcpip/transport/udp"
)

// provider makes the sockets of one family. It implements socket.Provider.
type provider struct {
	ns     *Namespace
	family int
}

// maxProtocol is one more than the highest protocol number (IPPROTO_MPTCP is 262).
const maxProtocol = 263

// Socket implements socket.Provider. EINVAL: there is no such protocol number; ESOCKTNOSUPPORT,
// EPROTONOSUPPORT; EPERM: a raw socket needs CAP_NET_RAW; EACCES: the caller's groups may not
// have ping sockets (icmp(7)).
func (p *provider) Socket(ctx context.Context, typ, protocol int) (socket.Socket, error) {
	if protocol < 0 || protocol >= maxProtocol {
		return nil, unix.EINVAL
	}
	st, v6 := p.ns.stack, p.family == unix.AF_INET6
	echo := unix.IPPROTO_ICMP
	if v6 {
		echo = unix.IPPROTO_ICMPV6
	}
	var ep tcpip.Endpoint
	switch typ {
	case unix.SOCK_STREAM:
		if protocol != 0 && protocol != unix.IPPROTO_TCP {
			return nil, unix.EPROTONOSUPPORT
		}
		protocol = unix.IPPROTO_TCP
		ep = tcp.NewEndpoint(st, v6)
	case unix.SOCK_DGRAM:
		switch protocol {
		case 0, unix.IPPROTO_UDP:
			protocol = unix.IPPROTO_UDP
			ep = udp.NewEndpoint(st, v6)
		case echo:
			if !p.mayPing(ctx.Credentials()) {
				return nil, unix.EACCES
			}
			ep = icmp.NewEndpoint(st, v6)
		default:
			return nil, unix.EPROTONOSUPPORT
		}
	case unix.SOCK_RAW:
		switch {
		case protocol == 0:
			return nil, unix.EPROTONOSUPPORT
		case !p.ns.Capable(ctx, unix.CAP_NET_RAW):
			return nil, unix.EPERM
		case protocol > 255:
			return nil, unix.EPROTONOSUPPORT
		}
		ep = raw.NewEndpoint(st, v6, uint8(protocol))
	default:
		return nil, unix.ESOCKTNOSUPPORT
	}
	s := newSocket(p.ns, ep, p.family, typ, protocol, uint32(ctx.Credentials().EffectiveUID))
	if typ == unix.SOCK_RAW || protocol == echo {
		ep.Options().ReuseAddress.Store(true)
	}
	return s, nil
}

// mayPing says whether one of the caller's groups is in net.ipv4.ping_group_range.
func (p *provider) mayPing(c *auth.Credentials) bool {
	set := p.ns.stack.Settings()
	low, high := auth.KGID(set.PingGroupLow.Load()), auth.KGID(set.PingGroupHigh.Load())
	in := func(g auth.KGID) bool { return low <= g && g <= high }
	if in(c.EffectiveGID) {
		return true
	}
	for _, g := range c.Groups {
		if in(g) {
			return true
		}
	}
	return false
}
