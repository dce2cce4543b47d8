package netlink

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/socket/inet"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/transport/tcp"
)

// inetSockets are the sockets of package inet. It implements IPSockets.
type inetSockets struct{ ns *inet.Namespace }

// SocketsOf returns the sockets of package inet.
func SocketsOf(ns *inet.Namespace) IPSockets { return &inetSockets{ns} }

// Each implements IPSockets.
func (i *inetSockets) Each(family, protocol int, f func(*IPSocket)) {
	wanted := func(fam, proto int) bool {
		return (family == fam || family == unix.AF_UNSPEC && fam != unix.AF_PACKET) && (protocol == 0 || protocol == proto)
	}
	// Of TCP the protocol knows more than the sockets do: connections that have none.
	sockets := map[*tcp.Endpoint]*inet.Core{}
	for _, c := range i.ns.Sockets() {
		if ep, ok := c.Endpoint().(*tcp.Endpoint); ok {
			sockets[ep] = c
			continue
		}
		if wanted(c.Family(), c.Protocol()) {
			if s, ok := datagramInfo(c); ok {
				f(s)
			}
		}
	}
	if protocol != 0 && protocol != unix.IPPROTO_TCP {
		return
	}
	p, ok := i.ns.Stack().TransportProtocol(unix.IPPROTO_TCP).(*tcp.Protocol)
	if !ok {
		return
	}
	p.Connections(func(c tcp.Connection) bool {
		fam := unix.AF_INET
		if c.V6 {
			fam = unix.AF_INET6
		}
		if wanted(fam, unix.IPPROTO_TCP) {
			f(connectionInfo(&c, fam, sockets[c.Endpoint]))
		}
		return true
	})
}

func endOf(a tcpip.FullAddress) netip.AddrPort { return netip.AddrPortFrom(a.Addr, a.Port) }

// fill sets what all sockets have.
func (s *IPSocket) fill(c *inet.Core) {
	o := c.Endpoint().Options()
	s.Family, s.Type, s.Protocol = c.Family(), c.Type(), c.Protocol()
	s.Inode, s.Cookie, s.UID = c.InodeNumber(), c.Cookie(), o.Owner.Load()
	s.Mark, s.Device = o.Mark.Load(), tcpip.NICID(o.Device.Load())
	s.TOS, s.TrafficClass = uint8(o.TOS.Load()), uint8(o.TrafficClass.Load())
	s.V6Only = o.V6Only.Load()
	s.ReceiveBuffer, s.SendBuffer = uint32(o.ReceiveBuffer.Load()), uint32(o.SendBuffer.Load())
}

// States of sockets that are not of TCP.
const (
	stateConnected    = uint8(tcp.StateEstablished)
	stateNotConnected = uint8(tcp.StateClosed)
)

// datagramInfo tells of a socket of UDP, raw, ping, or packets; false: it is not bound, so nobody
// is to see it.
func datagramInfo(c *inet.Core) (*IPSocket, bool) {
	ep := c.Endpoint()
	local := ep.LocalAddress()
	if local.Port == 0 && c.Type() == unix.SOCK_DGRAM && c.Family() != unix.AF_PACKET {
		return nil, false
	}
	s := &IPSocket{State: stateNotConnected, Local: endOf(local)}
	s.fill(c)
	if c.Family() == unix.AF_PACKET {
		s.Device, s.Local = local.NIC, netip.AddrPort{}
	} else if remote, err := ep.RemoteAddress(); err == nil {
		s.State, s.Remote = stateConnected, endOf(remote)
	}
	s.ReceiveQueue, s.SendQueue = uint32(ep.ReceiveQueued()), uint32(ep.SendQueued())
	if c.Type() == unix.SOCK_RAW && c.Family() != unix.AF_PACKET {
		s.Local = netip.AddrPortFrom(local.Addr, uint16(c.Protocol()))
	}
	return s, true
}

// connectionInfo tells of a connection or a listener of TCP. core is its socket, or nil.
func connectionInfo(c *tcp.Connection, family int, core *inet.Core) *IPSocket {
	s := &IPSocket{Family: family, Type: unix.SOCK_STREAM, Protocol: unix.IPPROTO_TCP}
	if core != nil {
		s.fill(core)
	}
	s.State, s.Timer, s.Retransmits = uint8(c.State), uint8(c.Timer), uint8(min(c.Retransmits, 255))
	s.Expires = uint32(max(0, c.Expires.Milliseconds()))
	s.Local, s.Remote = endOf(c.Local), endOf(c.Remote)
	if s.Device == 0 && c.State != tcp.StateListen {
		s.Device = c.NIC
	}
	s.ReceiveQueue, s.SendQueue = uint32(c.ReceiveQueue), uint32(c.SendQueue)
	if c.Endpoint != nil {
		in := c.Endpoint.Info()
		s.Info = make([]byte, unix.SizeofTCPInfo)
		inet.EncodeTCPInfo(s.Info, &in)
		s.Congestion = c.Endpoint.CongestionControl()
	}
	return s
}

// Destroy implements IPSockets. EOPNOTSUPP: it is no connection of a socket.
func (i *inetSockets) Destroy(s *IPSocket) error {
	for _, c := range i.ns.Sockets() {
		if s.Cookie == 0 || c.Cookie() != s.Cookie {
			continue
		}
		if ep, ok := c.Endpoint().(*tcp.Endpoint); ok {
			ep.Destroy()
			return nil
		}
	}
	return unix.EOPNOTSUPP
}
