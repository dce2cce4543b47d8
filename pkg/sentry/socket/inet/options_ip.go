package inet

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/stack"
)

// Switches of a Socket that nothing in the stack looks at; bits of Socket.switches.
const (
	swRetOpts uint32 = 1 << iota
	swPassSec
	swNoDefrag
	swChecksum
	swFragSize
	swFragSize6
	swErrRFC4884
	swErrRFC4884v6
	swNoPort
	swAutoFlowLabel
	swFlowInfoSend
	swPathMTU
	swInq
	swTimestampsUser
	swThinLinear
	swThinDupack
)

// extraFlag is such a switch.
func extraFlag(level, name int, label string, on uint, bit uint32) option {
	return intOption(level, name, label, on,
		func(s *Socket) (int, error) { return truth(s.switches.Load()&bit != 0), nil },
		func(s *Socket, _ context.Context, v int) error {
			s.setSwitch(bit, v != 0)
			return nil
		})
}

func (s *Socket) setSwitch(bit uint32, on bool) {
	if on {
		s.switches.Or(bit)
	} else {
		s.switches.And(^bit)
	}
}

// tosPriority is SO_PRIORITY by the four TOS bits (RFC 1349), as Linux sets it.
var tosPriority = [16]int32{0, 0, 0, 0, 2, 2, 2, 2, 6, 6, 6, 6, 4, 4, 4, 4}

// maxIPOptions is the most bytes of options that an IPv4 header has (RFC 791 section 3.1).
const maxIPOptions = 40

var ipOptions = []option{
	intOption(unix.IPPROTO_IP, unix.IP_TOS, "IP_TOS", 0,
		func(s *Socket) (int, error) { return int(s.ep.Options().TOS.Load()), nil },
		func(s *Socket, _ context.Context, v int) error {
			o := s.ep.Options()
			tos := uint32(uint8(v))
			if s.kinds() == onTCP {
				// The ECN field is TCP's own (RFC 3168 section 6.1).
				tos = tos&^3 | o.TOS.Load()&3
			}
			o.TOS.Store(tos)
			o.Priority.Store(tosPriority[tos>>1&0xf])
			return nil
		}),
	byteWanted(intOption(unix.IPPROTO_IP, unix.IP_TTL, "IP_TTL", 0,
		func(s *Socket) (int, error) {
			if v := int(s.ep.Options().TTL.Load()); v != 0 {
				return v, nil
			}
			return int(s.ns.stack.Settings().IPDefaultTTL.Load()), nil
		},
		func(s *Socket, _ context.Context, v int) error {
			if v != -1 && (v < 1 || v > 255) {
				return unix.EINVAL
			}
			s.ep.Options().TTL.Store(int32(max(v, 0)))
			return nil
		})),
	ipFlag(unix.IP_HDRINCL, "IP_HDRINCL", onRaw, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.HeaderIncluded }),
	{Level: unix.IPPROTO_IP, Name: unix.IP_OPTIONS, Label: "IP_OPTIONS", Get: getIPOptions, Set: setIPOptions},
	ipFlag(unix.IP_RECVOPTS, "IP_RECVOPTS", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.ReceiveIPOptions }),
	extraFlag(unix.IPPROTO_IP, unix.IP_RETOPTS, "IP_RETOPTS", 0, swRetOpts).WithNote("recorded"),
	ipFlag(unix.IP_PKTINFO, "IP_PKTINFO", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.PacketInfo4 }),
	intOption(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, "IP_MTU_DISCOVER", 0,
		func(s *Socket) (int, error) { return int(s.ep.Options().MTUDiscovery4.Load()), nil },
		func(s *Socket, _ context.Context, v int) error {
			if v < tcpip.MTUDiscoveryDont || v > tcpip.MTUDiscoveryOmit {
				return unix.EINVAL
			}
			s.ep.Options().MTUDiscovery4.Store(int32(v))
			return nil
		}),
	ipFlag(unix.IP_RECVERR, "IP_RECVERR", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.ReceiveErrors4 }),
	ipFlag(unix.IP_RECVTTL, "IP_RECVTTL", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.ReceiveTTL }),
	ipFlag(unix.IP_RECVTOS, "IP_RECVTOS", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.ReceiveTOS }),
	intOption(unix.IPPROTO_IP, unix.IP_MTU, "IP_MTU", 0, (*Socket).pathMTU, nil),
	ipFlag(unix.IP_FREEBIND, "IP_FREEBIND", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.FreeBind }),
	extraFlag(unix.IPPROTO_IP, unix.IP_PASSSEC, "IP_PASSSEC", 0, swPassSec).WithNote("recorded"),
	transparent(unix.IPPROTO_IP, unix.IP_TRANSPARENT, "IP_TRANSPARENT"),
	ipFlag(unix.IP_RECVORIGDSTADDR, "IP_RECVORIGDSTADDR", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.ReceiveOriginalDestination }),
	intOption(unix.IPPROTO_IP, unix.IP_MINTTL, "IP_MINTTL", 0,
		func(s *Socket) (int, error) { return int(s.minTTL.Load()), nil },
		func(s *Socket, _ context.Context, v int) error {
			if v < 0 || v > 255 {
				return unix.EINVAL
			}
			s.minTTL.Store(int32(v))
			return nil
		}).WithNote("recorded"),
	extraFlag(unix.IPPROTO_IP, unix.IP_NODEFRAG, "IP_NODEFRAG", onRaw, swNoDefrag).WithNote("recorded"),
	extraFlag(unix.IPPROTO_IP, unix.IP_CHECKSUM, "IP_CHECKSUM", 0, swChecksum).WithNote("recorded"),
	extraFlag(unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, "IP_BIND_ADDRESS_NO_PORT", 0, swNoPort).WithNote("recorded: bind(2) chooses a port all the same"),
	extraFlag(unix.IPPROTO_IP, unix.IP_RECVFRAGSIZE, "IP_RECVFRAGSIZE", onDatagram, swFragSize).WithNote("recorded"),
	intOption(unix.IPPROTO_IP, unix.IP_RECVERR_RFC4884, "IP_RECVERR_RFC4884", 0,
		func(s *Socket) (int, error) { return truth(s.switches.Load()&swErrRFC4884 != 0), nil },
		func(s *Socket, _ context.Context, v int) error {
			if v != 0 && v != 1 {
				return unix.EINVAL
			}
			s.setSwitch(swErrRFC4884, v == 1)
			return nil
		}).WithNote("recorded"),
	{Level: unix.IPPROTO_IP, Name: unix.IP_UNICAST_IF, Label: "IP_UNICAST_IF", Note: "recorded",
		Get: func(s *Socket, _ context.Context, buf []byte) (int, error) {
			return putIPInt(buf, swap32(int(s.unicastIF.Load())))
		},
		Set: func(s *Socket, _ context.Context, val []byte) error { return s.setUnicastIF(&s.unicastIF, val) }},
	intOption(unix.IPPROTO_IP, unix.IP_PROTOCOL, "IP_PROTOCOL", onRaw,
		func(s *Socket) (int, error) { return s.Protocol(), nil }, nil).WithNote(""),
}

// byteWanted makes an option of level IPPROTO_IP refuse a value of no bytes.
func byteWanted(o option) option {
	set := o.Set
	o.Set = func(s *Socket, ctx context.Context, val []byte) error {
		if len(val) < 1 {
			return unix.EINVAL
		}
		return set(s, ctx, val)
	}
	return o
}

// transparent is IP_TRANSPARENT and IPV6_TRANSPARENT, which share a switch.
func transparent(level, name int, label string) option {
	return intOption(level, name, label, 0,
		func(s *Socket) (int, error) { return truth(s.ep.Options().Transparent.Load()), nil },
		func(s *Socket, ctx context.Context, v int) error {
			if v != 0 && !s.Capable(ctx, unix.CAP_NET_RAW) && !s.Capable(ctx, unix.CAP_NET_ADMIN) {
				return unix.EPERM
			}
			s.ep.Options().Transparent.Store(v != 0)
			return nil
		})
}

func getIPOptions(s *Socket, _ context.Context, buf []byte) (int, error) {
	o := s.ep.Options()
	o.Mu.Lock()
	defer o.Mu.Unlock()
	return copy(buf, o.IPOptions4), nil
}

func setIPOptions(s *Socket, _ context.Context, val []byte) error {
	if len(val) > maxIPOptions {
		return unix.EINVAL
	}
	if err := checkIPOptions(val); err != nil {
		return err
	}
	padded := make([]byte, (len(val)+3)&^3)
	copy(padded, val)
	o := s.ep.Options()
	o.Mu.Lock()
	o.IPOptions4 = padded
	o.Mu.Unlock()
	return nil
}

// checkIPOptions says whether b is a row of options: a type, and for all but the first two
// types a length that covers both (RFC 791 section 3.1).
func checkIPOptions(b []byte) error {
	for len(b) > 0 {
		switch b[0] {
		case 0: // end of list
			return nil
		case 1: // no operation
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return unix.EINVAL
		}
		b = b[b[1]:]
	}
	return nil
}

// pathMTU is IP_MTU and IPV6_MTU: of the route to the peer. ENOTCONN.
func (s *Socket) pathMTU() (int, error) {
	r, err := s.routeToPeer()
	if err != nil {
		return 0, unix.ENOTCONN
	}
	return int(r.MTU()), nil
}

func (s *Socket) routeToPeer() (*stack.Route, error) {
	to, err := s.ep.RemoteAddress()
	if err != nil {
		return nil, err
	}
	o := s.ep.Options()
	return s.ns.stack.FindRoute(stack.RouteQuery{
		Destination: to.Addr, NIC: max(to.NIC, tcpip.NICID(o.Device.Load())), Mark: o.Mark.Load(),
	})
}

// swap32 is an int in the other byte order.
func swap32(v int) int {
	var b [4]byte
	binary.BigEndian.PutUint32(b[:], uint32(v))
	return int(int32(binary.NativeEndian.Uint32(b[:])))
}

// setUnicastIF is IP_UNICAST_IF and IPV6_UNICAST_IF: the index is in network byte order.
func (s *Socket) setUnicastIF(to *atomic.Int32, val []byte) error {
	if len(val) != 4 {
		return unix.EINVAL
	}
	id := tcpip.NICID(binary.BigEndian.Uint32(val))
	if id != 0 {
		if s.ns.stack.NIC(id) == nil {
			return unix.EADDRNOTAVAIL
		}
		if s.ep.Options().Device.Load() != 0 {
			return unix.EINVAL
		}
	}
	to.Store(int32(id))
	return nil
}

// nicOf returns the interface that has the address, or nil.
func nicOf(st *stack.Stack, a netip.Addr) *stack.NIC {
	for _, nic := range st.NICs() {
		if nic.HasAddress(a) {
			return nic
		}
	}
	return nil
}
