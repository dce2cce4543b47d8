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

// Sizes of the structures of memberships (ip(7), RFC 3678 section 4 and 5), in bytes.
const (
	sizeofMreq           = 8
	sizeofMreqn          = 12
	sizeofMreqSource     = 12
	sizeofMreq6          = 20
	sizeofMsfilter       = 16 // without sources
	sizeofStorage        = 128
	sizeofGroupReq       = 8 + sizeofStorage
	sizeofGroupSourceReq = 8 + 2*sizeofStorage
	sizeofGroupFilter    = 16 + sizeofStorage // without sources
)

var multicastOptions = []option{
	byteWanted(intOption(unix.IPPROTO_IP, unix.IP_MULTICAST_TTL, "IP_MULTICAST_TTL", 0,
		func(s *Socket) (int, error) { return int(s.ep.Options().MulticastTTL.Load()), nil },
		func(s *Socket, _ context.Context, v int) error {
			switch {
			case s.kinds() == onTCP, v < -1, v > 255:
				return unix.EINVAL
			case v == -1:
				v = 1
			}
			s.ep.Options().MulticastTTL.Store(int32(v))
			return nil
		})),
	byteWanted(ipFlag(unix.IP_MULTICAST_LOOP, "IP_MULTICAST_LOOP", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.MulticastLoop4 })),
	{Level: unix.IPPROTO_IP, Name: unix.IP_MULTICAST_IF, Label: "IP_MULTICAST_IF", Get: getMulticastIF, Set: setMulticastIF},
	intOption(unix.IPPROTO_IP, unix.IP_MULTICAST_ALL, "IP_MULTICAST_ALL", 0,
		func(s *Socket) (int, error) { return truth(s.ep.Options().MulticastAll4.Load()), nil },
		func(s *Socket, _ context.Context, v int) error {
			if v != 0 && v != 1 {
				return unix.EINVAL
			}
			s.ep.Options().MulticastAll4.Store(v == 1)
			return nil
		}),
	setOnly(unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, "IP_ADD_MEMBERSHIP", membership4(tcpip.MulticastEndpoint.JoinGroup)),
	setOnly(unix.IPPROTO_IP, unix.IP_DROP_MEMBERSHIP, "IP_DROP_MEMBERSHIP", membership4(tcpip.MulticastEndpoint.LeaveGroup)),
	setOnly(unix.IPPROTO_IP, unix.IP_ADD_SOURCE_MEMBERSHIP, "IP_ADD_SOURCE_MEMBERSHIP", source4(tcpip.MulticastEndpoint.JoinGroup)),
	setOnly(unix.IPPROTO_IP, unix.IP_DROP_SOURCE_MEMBERSHIP, "IP_DROP_SOURCE_MEMBERSHIP", source4(tcpip.MulticastEndpoint.LeaveGroup)),
	setOnly(unix.IPPROTO_IP, unix.IP_BLOCK_SOURCE, "IP_BLOCK_SOURCE", source4(tcpip.MulticastEndpoint.BlockSource)),
	setOnly(unix.IPPROTO_IP, unix.IP_UNBLOCK_SOURCE, "IP_UNBLOCK_SOURCE", source4(tcpip.MulticastEndpoint.UnblockSource)),
	{Level: unix.IPPROTO_IP, Name: unix.IP_MSFILTER, Label: "IP_MSFILTER", Get: getMsfilter, Set: setMsfilter},

	intOption(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, "IPV6_MULTICAST_HOPS", 0,
		func(s *Socket) (int, error) { return int(s.ep.Options().MulticastHopLimit.Load()), nil },
		func(s *Socket, _ context.Context, v int) error {
			switch {
			case s.kinds() == onTCP:
				return unix.ENOPROTOOPT
			case v < -1 || v > 255:
				return unix.EINVAL
			case v == -1:
				v = 1
			}
			s.ep.Options().MulticastHopLimit.Store(int32(v))
			return nil
		}),
	intOption(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_LOOP, "IPV6_MULTICAST_LOOP", 0,
		func(s *Socket) (int, error) { return truth(s.ep.Options().MulticastLoop6.Load()), nil },
		func(s *Socket, _ context.Context, v int) error {
			if v != 0 && v != 1 {
				return unix.EINVAL
			}
			s.ep.Options().MulticastLoop6.Store(v == 1)
			return nil
		}),
	intOption(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF, "IPV6_MULTICAST_IF", 0,
		func(s *Socket) (int, error) {
			o := s.ep.Options()
			o.Mu.Lock()
			defer o.Mu.Unlock()
			return int(o.MulticastNIC6), nil
		},
		func(s *Socket, _ context.Context, v int) error {
			o := s.ep.Options()
			switch d := int(o.Device.Load()); {
			case s.kinds() == onTCP:
				return unix.ENOPROTOOPT
			case v < 0:
				return unix.EINVAL
			case v != 0 && s.ns.stack.NIC(tcpip.NICID(v)) == nil:
				return unix.ENODEV
			case v != 0 && d != 0 && d != v:
				return unix.EINVAL
			}
			o.Mu.Lock()
			o.MulticastNIC6 = tcpip.NICID(v)
			o.Mu.Unlock()
			return nil
		}),
	ipv6Flag(unix.IPV6_MULTICAST_ALL, "IPV6_MULTICAST_ALL", 0, func(o *tcpip.SocketOptions) *atomic.Bool { return &o.MulticastAll6 }),
	setOnly(unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, "IPV6_JOIN_GROUP", membership6(tcpip.MulticastEndpoint.JoinGroup)),
	setOnly(unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, "IPV6_LEAVE_GROUP", membership6(tcpip.MulticastEndpoint.LeaveGroup)),

	setOnly(unix.IPPROTO_IP, unix.MCAST_JOIN_GROUP, "MCAST_JOIN_GROUP", group(tcpip.MulticastEndpoint.JoinGroup)),
	setOnly(unix.IPPROTO_IP, unix.MCAST_LEAVE_GROUP, "MCAST_LEAVE_GROUP", group(tcpip.MulticastEndpoint.LeaveGroup)),
	setOnly(unix.IPPROTO_IP, unix.MCAST_JOIN_SOURCE_GROUP, "MCAST_JOIN_SOURCE_GROUP", groupSource(tcpip.MulticastEndpoint.JoinGroup)),
	setOnly(unix.IPPROTO_IP, unix.MCAST_LEAVE_SOURCE_GROUP, "MCAST_LEAVE_SOURCE_GROUP", groupSource(tcpip.MulticastEndpoint.LeaveGroup)),
	setOnly(unix.IPPROTO_IP, unix.MCAST_BLOCK_SOURCE, "MCAST_BLOCK_SOURCE", groupSource(tcpip.MulticastEndpoint.BlockSource)),
	setOnly(unix.IPPROTO_IP, unix.MCAST_UNBLOCK_SOURCE, "MCAST_UNBLOCK_SOURCE", groupSource(tcpip.MulticastEndpoint.UnblockSource)),
	{Level: unix.IPPROTO_IP, Name: unix.MCAST_MSFILTER, Label: "MCAST_MSFILTER", Get: getGroupFilter, Set: setGroupFilter},
	setOnly(unix.IPPROTO_IPV6, unix.MCAST_JOIN_GROUP, "MCAST_JOIN_GROUP", group(tcpip.MulticastEndpoint.JoinGroup)),
	setOnly(unix.IPPROTO_IPV6, unix.MCAST_LEAVE_GROUP, "MCAST_LEAVE_GROUP", group(tcpip.MulticastEndpoint.LeaveGroup)),
	setOnly(unix.IPPROTO_IPV6, unix.MCAST_JOIN_SOURCE_GROUP, "MCAST_JOIN_SOURCE_GROUP", groupSource(tcpip.MulticastEndpoint.JoinGroup)),
	setOnly(unix.IPPROTO_IPV6, unix.MCAST_LEAVE_SOURCE_GROUP, "MCAST_LEAVE_SOURCE_GROUP", groupSource(tcpip.MulticastEndpoint.LeaveGroup)),
	setOnly(unix.IPPROTO_IPV6, unix.MCAST_BLOCK_SOURCE, "MCAST_BLOCK_SOURCE", groupSource(tcpip.MulticastEndpoint.BlockSource)),
	setOnly(unix.IPPROTO_IPV6, unix.MCAST_UNBLOCK_SOURCE, "MCAST_UNBLOCK_SOURCE", groupSource(tcpip.MulticastEndpoint.UnblockSource)),
	{Level: unix.IPPROTO_IPV6, Name: unix.MCAST_MSFILTER, Label: "MCAST_MSFILTER", Get: getGroupFilter, Set: setGroupFilter},
}

// change is one of the four changes of a membership.
type change func(tcpip.MulticastEndpoint, tcpip.GroupMembership) error

func setOnly(level, name int, label string, set func(*Socket, context.Context, []byte) error) option {
	return option{Level: level, Name: name, Label: label, Set: set}
}

// multicast is the endpoint as a member of groups. EPROTO: streams are not.
func (s *Socket) multicast() (tcpip.MulticastEndpoint, error) {
	if m, ok := s.ep.(tcpip.MulticastEndpoint); ok {
		return m, nil
	}
	return nil, unix.EPROTO
}

func addr4(b []byte) netip.Addr { return netip.AddrFrom4([4]byte(b[:4])) }

// specified is a, or the zero Addr for 0.0.0.0 and ::.
func specified(a netip.Addr) netip.Addr {
	if a.IsUnspecified() {
		return netip.Addr{}
	}
	return a
}

// membership4 takes struct ip_mreq or ip_mreqn.
func membership4(f change) func(*Socket, context.Context, []byte) error {
	return func(s *Socket, _ context.Context, val []byte) error {
		ep, err := s.multicast()
		if err != nil {
			return err
		}
		if len(val) < sizeofMreq {
			return unix.EINVAL
		}
		g := tcpip.GroupMembership{Group: addr4(val), InterfaceAddr: specified(addr4(val[4:]))}
		if len(val) >= sizeofMreqn {
			g.NIC = tcpip.NICID(binary.NativeEndian.Uint32(val[8:]))
		}
		return f(ep, g)
	}
}

// source4 takes struct ip_mreq_source.
func source4(f change) func(*Socket, context.Context, []byte) error {
	return func(s *Socket, _ context.Context, val []byte) error {
		ep, err := s.multicast()
		if err == nil && len(val) != sizeofMreqSource {
			err = unix.EINVAL
		}
		if err != nil {
			return err
		}
		return f(ep, tcpip.GroupMembership{Group: addr4(val), InterfaceAddr: specified(addr4(val[4:])), Source: addr4(val[8:])})
	}
}

// membership6 takes struct ipv6_mreq.
func membership6(f change) func(*Socket, context.Context, []byte) error {
	return func(s *Socket, _ context.Context, val []byte) error {
		if len(val) < sizeofMreq6 {
			return unix.EINVAL
		}
		ep, err := s.multicast()
		if err != nil {
			return err
		}
		return f(ep, tcpip.GroupMembership{
			Group: netip.AddrFrom16([16]byte(val)),
			NIC:   tcpip.NICID(binary.NativeEndian.Uint32(val[16:])),
		})
	}
}

// storage reads a struct sockaddr_storage of the socket's family. EADDRNOTAVAIL: of another.
func (s *Socket) storage(b []byte) (netip.Addr, error) {
	if int(binary.NativeEndian.Uint16(b)) != s.Family() {
		return netip.Addr{}, unix.EADDRNOTAVAIL
	}
	if s.v6() {
		return netip.AddrFrom16([16]byte(b[8:24])), nil
	}
	return addr4(b[4:]), nil
}

// group takes struct group_req.
func group(f change) func(*Socket, context.Context, []byte) error {
	return func(s *Socket, _ context.Context, val []byte) error {
		ep, err := s.multicast()
		if err != nil {
			return err
		}
		if len(val) < sizeofGroupReq {
			return unix.EINVAL
		}
		a, err := s.storage(val[8:])
		if err != nil {
			if !s.v6() {
				err = unix.EINVAL
			}
			return err
		}
		return f(ep, tcpip.GroupMembership{Group: a, NIC: tcpip.NICID(binary.NativeEndian.Uint32(val))})
	}
}

// groupSource takes struct group_source_req.
func groupSource(f change) func(*Socket, context.Context, []byte) error {
	return func(s *Socket, _ context.Context, val []byte) error {
		ep, err := s.multicast()
		if err != nil {
			return err
		}
		if len(val) < sizeofGroupSourceReq {
			return unix.EINVAL
		}
		g, err := s.storage(val[8:])
		if err != nil {
			return err
		}
		src, err := s.storage(val[8+sizeofStorage:])
		if err != nil {
			return err
		}
		return f(ep, tcpip.GroupMembership{Group: g, Source: src, NIC: tcpip.NICID(binary.NativeEndian.Uint32(val))})
	}
}

// maxSources bounds a list of sources (net.ipv4.igmp_max_msf is 10; nobody has more than this).
const maxSources = 512

// setMsfilter takes struct ip_msfilter.
func setMsfilter(s *Socket, _ context.Context, val []byte) error {
	ep, err := s.multicast()
	if err != nil {
		return err
	}
	if len(val) < sizeofMsfilter {
		return unix.EINVAL
	}
	n := int(binary.NativeEndian.Uint32(val[12:]))
	if n > maxSources {
		return unix.ENOBUFS
	}
	if len(val) < sizeofMsfilter+4*n {
		return unix.EINVAL
	}
	var sources []netip.Addr
	for i := range n {
		sources = append(sources, addr4(val[sizeofMsfilter+4*i:]))
	}
	include, err := filterMode(binary.NativeEndian.Uint32(val[8:]))
	if err != nil {
		return err
	}
	return ep.SetSourceFilter(tcpip.GroupMembership{Group: addr4(val), InterfaceAddr: specified(addr4(val[4:]))}, include, sources)
}

// Modes of a source filter (RFC 3678 section 4.2).
const (
	modeExclude = 0
	modeInclude = 1
)

func filterMode(v uint32) (include bool, err error) {
	if v != modeExclude && v != modeInclude {
		return false, unix.EINVAL
	}
	return v == modeInclude, nil
}

// getMsfilter fills in what the application asked about in buf.
func getMsfilter(s *Socket, _ context.Context, buf []byte) (int, error) {
	ep, err := s.multicast()
	if err != nil {
		return 0, unix.EADDRNOTAVAIL
	}
	if len(buf) < sizeofMsfilter {
		return 0, unix.EINVAL
	}
	include, sources, err := ep.SourceFilter(tcpip.GroupMembership{Group: addr4(buf), InterfaceAddr: specified(addr4(buf[4:]))})
	if err != nil {
		return 0, err
	}
	room := min(int(binary.NativeEndian.Uint32(buf[12:])), (len(buf)-sizeofMsfilter)/4)
	binary.NativeEndian.PutUint32(buf[8:], uint32(truth(include)))
	binary.NativeEndian.PutUint32(buf[12:], uint32(len(sources)))
	n := min(room, len(sources))
	for i, a := range sources[:n] {
		v := a.As4()
		copy(buf[sizeofMsfilter+4*i:], v[:])
	}
	return sizeofMsfilter + 4*n, nil
}

// setGroupFilter takes struct group_filter.
func setGroupFilter(s *Socket, _ context.Context, val []byte) error {
	ep, err := s.multicast()
	if err != nil {
		return err
	}
	if len(val) < sizeofGroupFilter {
		return unix.EINVAL
	}
	n := int(binary.NativeEndian.Uint32(val[12+sizeofStorage:]))
	if n > maxSources {
		return unix.ENOBUFS
	}
	if len(val) < sizeofGroupFilter+n*sizeofStorage {
		return unix.EINVAL
	}
	g, err := s.storage(val[8:])
	if err != nil {
		return err
	}
	var sources []netip.Addr
	for i := range n {
		a, err := s.storage(val[sizeofGroupFilter+i*sizeofStorage:])
		if err != nil {
			return err
		}
		sources = append(sources, a)
	}
	include, err := filterMode(binary.NativeEndian.Uint32(val[8+sizeofStorage:]))
	if err != nil {
		return err
	}
	return ep.SetSourceFilter(tcpip.GroupMembership{Group: g, NIC: tcpip.NICID(binary.NativeEndian.Uint32(val))}, include, sources)
}

func getGroupFilter(s *Socket, _ context.Context, buf []byte) (int, error) {
	ep, err := s.multicast()
	if err != nil {
		return 0, unix.EADDRNOTAVAIL
	}
	if len(buf) < sizeofGroupFilter {
		return 0, unix.EINVAL
	}
	g, err := s.storage(buf[8:])
	if err != nil {
		return 0, err
	}
	include, sources, err := ep.SourceFilter(tcpip.GroupMembership{Group: g, NIC: tcpip.NICID(binary.NativeEndian.Uint32(buf))})
	if err != nil {
		return 0, err
	}
	room := min(int(binary.NativeEndian.Uint32(buf[12+sizeofStorage:])), (len(buf)-sizeofGroupFilter)/sizeofStorage)
	binary.NativeEndian.PutUint32(buf[8+sizeofStorage:], uint32(truth(include)))
	binary.NativeEndian.PutUint32(buf[12+sizeofStorage:], uint32(len(sources)))
	n := min(room, len(sources))
	for i, a := range sources[:n] {
		b := buf[sizeofGroupFilter+i*sizeofStorage:][:sizeofStorage]
		clear(b)
		var to socket.Addr
		s.put(&to, tcpip.FullAddress{Addr: a})
		copy(b, to.Bytes())
	}
	return sizeofGroupFilter + n*sizeofStorage, nil
}

func getMulticastIF(s *Socket, _ context.Context, buf []byte) (int, error) {
	o := s.ep.Options()
	o.Mu.Lock()
	defer o.Mu.Unlock()
	var b [4]byte
	if o.MulticastSource.Is4() {
		b = o.MulticastSource.As4()
	}
	return copy(buf, b[:]), nil
}

// setMulticastIF takes struct in_addr, ip_mreq or ip_mreqn.
func setMulticastIF(s *Socket, _ context.Context, val []byte) error {
	if s.kinds() == onTCP {
		return unix.EINVAL
	}
	var a netip.Addr
	var id tcpip.NICID
	switch {
	case len(val) >= sizeofMreqn:
		a, id = addr4(val[4:]), tcpip.NICID(binary.NativeEndian.Uint32(val[8:]))
	case len(val) >= sizeofMreq:
		a = addr4(val[4:])
	case len(val) >= 4:
		a = addr4(val)
	default:
		return unix.EINVAL
	}
	st, o := s.ns.stack, s.ep.Options()
	switch {
	case id != 0:
		if st.NIC(id) == nil {
			return unix.EADDRNOTAVAIL
		}
	case !a.IsUnspecified():
		nic := nicOf(st, a)
		if nic == nil {
			return unix.EADDRNOTAVAIL
		}
		id = nic.ID()
	}
	if d := tcpip.NICID(o.Device.Load()); id != 0 && d != 0 && d != id {
		return unix.EINVAL
	}
	o.Mu.Lock()
	o.MulticastNIC, o.MulticastSource = id, specified(a)
	o.Mu.Unlock()
	return nil
}
