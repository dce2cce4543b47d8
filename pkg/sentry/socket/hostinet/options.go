package hostinet

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
)

// Option is an option of the host's sockets that applications may read or set. Its value has no
// pointers, at most Size bytes, and only concerns the socket itself.
type Option struct {
	Level, Name int
	Size        int
	Get, Set    bool
}

const (
	sizeofInt     = 4
	sizeofMreqMax = 264 // struct group_source_req

	// Names that package unix lacks.
	ipBindAddressNoPort = 24
	udpSegment          = 103
	udpGRO              = 104
	tcpNotSentLowat     = 25
	tcpInq              = 36
	ipv6DontFrag        = 62
	ipv6RecvPktInfo     = 49
)

// OptionList are the options. Those of SOL_SOCKET that only the sentry needs to know (timeouts,
// type, passing of credentials) are not here: socket.Base has them.
var OptionList = []Option{
	{unix.SOL_SOCKET, unix.SO_REUSEADDR, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_REUSEPORT, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_BROADCAST, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_OOBINLINE, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_DONTROUTE, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_LINGER, 8, true, true},
	{unix.SOL_SOCKET, unix.SO_SNDBUF, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_RCVBUF, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_RCVLOWAT, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_PEEK_OFF, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_PRIORITY, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMP, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_RXQ_OVFL, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_NO_CHECK, sizeofInt, true, true},
	{unix.SOL_SOCKET, unix.SO_BINDTODEVICE, 16, true, true},
	{unix.SOL_SOCKET, unix.SO_ERROR, sizeofInt, true, false},
	{unix.SOL_SOCKET, unix.SO_ACCEPTCONN, sizeofInt, true, false},
	{unix.SOL_SOCKET, unix.SO_MEMINFO, 36, true, false},
	{unix.SOL_SOCKET, unix.SO_INCOMING_CPU, sizeofInt, true, false},

	{unix.IPPROTO_TCP, unix.TCP_NODELAY, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_CORK, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_MAXSEG, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_SYNCNT, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_LINGER2, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_WINDOW_CLAMP, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_QUICKACK, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_CONGESTION, 16, true, true},
	{unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_FASTOPEN_CONNECT, sizeofInt, true, true},
	{unix.IPPROTO_TCP, tcpNotSentLowat, sizeofInt, true, true},
	{unix.IPPROTO_TCP, tcpInq, sizeofInt, true, true},
	{unix.IPPROTO_TCP, unix.TCP_INFO, unix.SizeofTCPInfo, true, false},

	{unix.IPPROTO_UDP, unix.UDP_CORK, sizeofInt, true, true},
	{unix.IPPROTO_UDP, udpSegment, sizeofInt, true, true},
	{unix.IPPROTO_UDP, udpGRO, sizeofInt, true, true},

	{unix.IPPROTO_IP, unix.IP_TOS, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_TTL, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_PKTINFO, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_RECVTTL, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_RECVTOS, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_RECVERR, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_RECVORIGDSTADDR, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_MTU, sizeofInt, true, false},
	{unix.IPPROTO_IP, unix.IP_FREEBIND, sizeofInt, true, true},
	{unix.IPPROTO_IP, ipBindAddressNoPort, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_UNICAST_IF, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_IF, 12, true, true},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, sizeofInt, true, true},
	{unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, 12, false, true},
	{unix.IPPROTO_IP, unix.IP_DROP_MEMBERSHIP, 12, false, true},
	{unix.IPPROTO_IP, unix.IP_ADD_SOURCE_MEMBERSHIP, 12, false, true},
	{unix.IPPROTO_IP, unix.IP_DROP_SOURCE_MEMBERSHIP, 12, false, true},
	{unix.IPPROTO_IP, unix.IP_BLOCK_SOURCE, 12, false, true},
	{unix.IPPROTO_IP, unix.IP_UNBLOCK_SOURCE, 12, false, true},
	{unix.IPPROTO_IP, unix.MCAST_JOIN_GROUP, sizeofMreqMax, false, true},
	{unix.IPPROTO_IP, unix.MCAST_LEAVE_GROUP, sizeofMreqMax, false, true},
	{unix.IPPROTO_IP, unix.MCAST_JOIN_SOURCE_GROUP, sizeofMreqMax, false, true},
	{unix.IPPROTO_IP, unix.MCAST_LEAVE_SOURCE_GROUP, sizeofMreqMax, false, true},

	{unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, unix.IPV6_TCLASS, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, ipv6RecvPktInfo, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, unix.IPV6_RECVERR, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, unix.IPV6_MTU, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, ipv6DontFrag, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_IF, sizeofInt, true, true},
	{unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, 20, false, true},
	{unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, 20, false, true},
	{unix.IPPROTO_IPV6, unix.MCAST_JOIN_GROUP, sizeofMreqMax, false, true},
	{unix.IPPROTO_IPV6, unix.MCAST_LEAVE_GROUP, sizeofMreqMax, false, true},

	{unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, sizeofInt, false, true},
	{unix.SOL_NETLINK, unix.NETLINK_DROP_MEMBERSHIP, sizeofInt, false, true},
	{unix.SOL_NETLINK, unix.NETLINK_PKTINFO, sizeofInt, true, true},
	{unix.SOL_NETLINK, unix.NETLINK_NO_ENOBUFS, sizeofInt, true, true},
	{unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, sizeofInt, true, true},
	{unix.SOL_NETLINK, unix.NETLINK_EXT_ACK, sizeofInt, true, true},
	{unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, sizeofInt, true, true},
}

// find returns an option of the table, or nil.
func find(level, name int) *Option {
	for i := range OptionList {
		if o := &OptionList[i]; o.Level == level && o.Name == name {
			return o
		}
	}
	return nil
}

// GetSockOpt implements socket.Socket.
func (s *Socket) GetSockOpt(ctx context.Context, level, name int, buf []byte) (int, error) {
	o := find(level, name)
	switch {
	case o == nil && level == unix.SOL_SOCKET:
		return s.Base.GetSockOpt(ctx, level, name, buf)
	case o == nil || !o.Get:
		return 0, unix.ENOPROTOOPT
	}
	if len(buf) > o.Size {
		buf = buf[:o.Size]
	}
	return getsockopt(s.fd.Num(), level, name, buf)
}

// SetSockOpt implements socket.Socket.
func (s *Socket) SetSockOpt(ctx context.Context, level, name int, val []byte) error {
	o := find(level, name)
	switch {
	case o == nil && level == unix.SOL_SOCKET && name == unix.SO_ATTACH_FILTER && s.Family() == unix.AF_NETLINK:
		return nil // its users look at each message themselves, too
	case o == nil && level == unix.SOL_SOCKET:
		return s.Base.SetSockOpt(ctx, level, name, val)
	case o == nil || !o.Set:
		return unix.ENOPROTOOPT
	}
	if len(val) > o.Size {
		val = val[:o.Size]
	}
	return setsockopt(s.fd.Num(), level, name, val)
}
