package inet

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip"
)

// Options of level IPPROTO_IPV6 that package unix has no names for.
const (
	ipv6Addrform     = 1
	ipv6Flowinfo     = 11
	ipv6FlowinfoSend = 33
)

// minMTU6 is the least that a path must take (RFC 8200 section 5), in bytes.
const minMTU6 = 1280

var ipv6Options = []option{
	intOption(unix.IPPROTO_IPV6, ipv6Addrform, "IPV6_ADDRFORM", onTCP|onUDP,
		func(s *Socket) (int, error) {
			if _, err := s.ep.RemoteAddress(); err != nil {
				return 0, unix.ENOTCONN
			}
			return unix.AF_INET6, nil
		}, nil),
	intOption(unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, "IPV6_V6ONLY", 0,
		func(s *Socket) (int, error) { return truth(s.ep.Options().V6Only.Load()), nil },
		func(s *Socket, _ context.Context, v int) error {
			if s.kinds()&(onRaw|onPing) == 0 && s.ep.LocalAddress().Port != 0 {
				return unix.EINVAL
			}
			s.ep.Options().V6Only.Store(v != 0)
			return nil
		}),
	intOption(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, "IPV6_UNICAST_HOPS", 0,
		func(s *Socket) (int, error) {
			if v := int(s.ep.Options().HopLimit.Load()); v != 0 {
				return v, nil
			}
			return int(s.ns.stack.Settings().IPv6HopLimit.Load()), nil
		},
		func(s *Socket, _ context.Context, v int) error {
			if v < -1 || v > 255 {
				return unix.EINVAL
			}
			s.ep.Options().HopLimit.Store(int32(max(v, 0)))
			return nil
		}),
	intOption(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, "IPV6_MTU_DISCOVER", 0,
		func(s *Socket) (int, error) { return int(s.ep.Options().MTUDiscovery6.Load()), nil },
		func(s *Socket, _ context.Context, v int) error {
			if v < tcpip.MTUDiscoveryDont || v > tcpip.MTUDiscoveryOmit {
				return unix.EINVAL
			}
			s.ep.Options().MTUDiscovery6.Store(int32(v))
			return nil
		}),
	intOption(unix.IPPROTO_IPV6, unix.IPV6_MTU, "IPV6_MTU", 0, (*Socket).pathMTU,
		func(s *Socket, _ context.Context, v int) error {
			if v != 0 && v < minMTU6 {
				return unix.EINVAL
			}
			return nil
		}).WithNote("what is set is checked and ignored"),
	ipv6Flag(unix.IPV6_RECVERR, "IPV6_RECVERR", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.ReceiveErrors6 }),
	intOption(unix.IPPROTO_IPV6, unix.IPV6_RECVERR_RFC4884, "IPV6_RECVERR_RFC4884", 0,
		func(s *Socket) (int, error) { return truth(s.switches.Load()&swErrRFC4884v6 != 0), nil },
		func(s *Socket, _ context.Context, v int) error {
			if v != 0 && v != 1 {
				return unix.EINVAL
			}
			s.setSwitch(swErrRFC4884v6, v == 1)
			return nil
		}).WithNote("recorded"),
	ipv6Flag(unix.IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.PacketInfo6 }),
	{Level: unix.IPPROTO_IPV6, Name: unix.IPV6_PKTINFO, Label: "IPV6_PKTINFO", Set: setPacketInfo6,
		Note: "source and interface of every send"},
	ipv6Flag(unix.IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.ReceiveHopLimit }),
	ipv6Flag(unix.IPV6_RECVTCLASS, "IPV6_RECVTCLASS", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.ReceiveTrafficClass }),
	intOption(unix.IPPROTO_IPV6, unix.IPV6_TCLASS, "IPV6_TCLASS", 0,
		func(s *Socket) (int, error) { return int(s.ep.Options().TrafficClass.Load()), nil },
		func(s *Socket, _ context.Context, v int) error {
			if v < -1 || v > 255 {
				return unix.EINVAL
			}
			class := uint32(max(v, 0))
			o := s.ep.Options()
			if s.kinds() == onTCP {
				class = class&^3 | o.TrafficClass.Load()&3
			}
			o.TrafficClass.Store(class)
			return nil
		}),
	ipv6Flag(unix.IPV6_DONTFRAG, "IPV6_DONTFRAG", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.DontFragment6 }),
	ipv6Flag(ipv6Flowinfo, "IPV6_FLOWINFO", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.ReceiveFlowInfo }),
	extraFlag(unix.IPPROTO_IPV6, ipv6FlowinfoSend, "IPV6_FLOWINFO_SEND", 0, swFlowInfoSend).WithNote("recorded"),
	ipv6Flag(unix.IPV6_RECVORIGDSTADDR, "IPV6_RECVORIGDSTADDR", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.ReceiveOriginalDestination }),
	ipv6Flag(unix.IPV6_FREEBIND, "IPV6_FREEBIND", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.FreeBind }),
	transparent(unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, "IPV6_TRANSPARENT"),
	extraFlag(unix.IPPROTO_IPV6, unix.IPV6_RECVPATHMTU, "IPV6_RECVPATHMTU", 0, swPathMTU).WithNote("recorded"),
	{Level: unix.IPPROTO_IPV6, Name: unix.IPV6_PATHMTU, Label: "IPV6_PATHMTU", Get: getPathMTU6},
	extraFlag(unix.IPPROTO_IPV6, unix.IPV6_AUTOFLOWLABEL, "IPV6_AUTOFLOWLABEL", 0, swAutoFlowLabel).WithNote("recorded"),
	intOption(unix.IPPROTO_IPV6, unix.IPV6_ADDR_PREFERENCES, "IPV6_ADDR_PREFERENCES", 0,
		func(s *Socket) (int, error) { return getPreferences(s.preferences.Load()), nil },
		func(s *Socket, _ context.Context, v int) error { return s.setPreferences(v) }).WithNote("recorded"),
	intOption(unix.IPPROTO_IPV6, unix.IPV6_MINHOPCOUNT, "IPV6_MINHOPCOUNT", 0,
		func(s *Socket) (int, error) { return int(s.minHops.Load()), nil },
		func(s *Socket, _ context.Context, v int) error {
			if v < 0 || v > 255 {
				return unix.EINVAL
			}
			s.minHops.Store(int32(v))
			return nil
		}).WithNote("recorded"),
	extraFlag(unix.IPPROTO_IPV6, unix.IPV6_RECVFRAGSIZE, "IPV6_RECVFRAGSIZE", 0, swFragSize6).WithNote("recorded"),
	{Level: unix.IPPROTO_IPV6, Name: unix.IPV6_UNICAST_IF, Label: "IPV6_UNICAST_IF", Note: "recorded",
		Get: func(s *Socket, _ context.Context, buf []byte) (int, error) {
			return socket.PutInt(buf, swap32(int(s.unicast6.Load())))
		},
		Set: func(s *Socket, _ context.Context, val []byte) error { return s.setUnicastIF(&s.unicast6, val) }},
}

const sizeofPktinfo6 = 20

func setPacketInfo6(s *Socket, _ context.Context, val []byte) error {
	if len(val) == 0 {
		s.mu.Lock()
		s.sticky = tcpip.SendControl{}
		s.hasSticky.Store(false)
		s.mu.Unlock()
		return nil
	}
	if len(val) < sizeofPktinfo6 {
		return unix.EINVAL
	}
	c := tcpip.SendControl{HasPacketInfo: true, NIC: tcpip.NICID(binary.NativeEndian.Uint32(val[16:]))}
	if a := netip.AddrFrom16([16]byte(val)); !a.IsUnspecified() {
		c.Source = a.Unmap()
	}
	if d := s.ep.Options().Device.Load(); d != 0 && c.NIC != tcpip.NICID(d) {
		return unix.EINVAL
	}
	s.mu.Lock()
	s.sticky = c
	s.hasSticky.Store(true)
	s.mu.Unlock()
	return nil
}

// getPathMTU6 is struct ip6_mtuinfo: the peer's address and the MTU.
func getPathMTU6(s *Socket, _ context.Context, buf []byte) (int, error) {
	mtu, err := s.pathMTU()
	if err != nil {
		return 0, err
	}
	if len(buf) < sizeofSockaddrIn6+4 {
		return 0, unix.EINVAL
	}
	to, err := s.ep.RemoteAddress()
	if err != nil {
		return 0, unix.ENOTCONN
	}
	var a socket.Addr
	put6(&a, to)
	copy(buf, a.Bytes())
	binary.NativeEndian.PutUint32(buf[sizeofSockaddrIn6:], uint32(mtu))
	return sizeofSockaddrIn6 + 4, nil
}

// IPV6_PREFER_SRC_* (RFC 5014 section 2.1).
const (
	preferTemporary        = 1
	preferPublic           = 2
	preferPublicTmpDefault = 0x100
	preferCOA              = 4
	preferHome             = 0x400
	preferCGA              = 8
	preferNonCGA           = 0x800
)

// setPreferences checks that of each pair at most one is wanted.
func (s *Socket) setPreferences(v int) error {
	one := func(of ...int) bool {
		n := 0
		for _, f := range of {
			n += truth(v&f != 0)
		}
		return n <= 1
	}
	if v&^(preferTemporary|preferPublic|preferPublicTmpDefault|preferCOA|preferHome|preferCGA|preferNonCGA) != 0 ||
		!one(preferTemporary, preferPublic, preferPublicTmpDefault) || !one(preferCOA, preferHome) || !one(preferCGA, preferNonCGA) {
		return unix.EINVAL
	}
	s.preferences.Store(int32(v & (preferTemporary | preferPublic | preferCOA)))
	return nil
}

func getPreferences(v int32) int {
	out := int(v)
	if v&(preferTemporary|preferPublic) == 0 {
		out |= preferPublicTmpDefault
	}
	if v&preferCOA == 0 {
		out |= preferHome
	}
	return out
}
