package netlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
)

// switches are the options of SOL_NETLINK that are on or off (netlink(7)).
const switches = 1<<unix.NETLINK_PKTINFO | 1<<unix.NETLINK_BROADCAST_ERROR | 1<<unix.NETLINK_NO_ENOBUFS |
	1<<unix.NETLINK_LISTEN_ALL_NSID | 1<<unix.NETLINK_CAP_ACK | 1<<unix.NETLINK_EXT_ACK | 1<<unix.NETLINK_GET_STRICT_CHK

func isSwitch(name int) bool { return name >= 0 && name < 32 && switches&(1<<name) != 0 }

// option says whether a switch is on.
func (s *Socket) option(name int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.options&(1<<name) != 0
}

// GetSockOpt implements socket.Socket.
func (s *Socket) GetSockOpt(ctx context.Context, level, name int, buf []byte) (int, error) {
	if level != unix.SOL_NETLINK {
		if level != unix.SOL_SOCKET {
			return 0, unix.ENOPROTOOPT
		}
		return s.Base.GetSockOpt(ctx, level, name, buf)
	}
	if name == unix.NETLINK_LIST_MEMBERSHIPS {
		s.mu.Lock()
		defer s.mu.Unlock()
		// Whole words, as many as there is room for; the length is that of all.
		words := int(protocolGroups[s.Protocol()]+31) / 32
		if !s.hasGroups {
			words = 0
		}
		for i := range min(words, len(buf)/4) {
			binary.NativeEndian.PutUint32(buf[4*i:], uint32(s.groups.bits[i/2]>>(32*(i%2))))
		}
		return min(4*words, len(buf)&^3), nil
	}
	if !isSwitch(name) {
		return 0, unix.ENOPROTOOPT
	}
	if len(buf) < 4 {
		return 0, unix.EINVAL
	}
	v := 0
	if s.option(name) {
		v = 1
	}
	return socket.PutInt(buf, v)
}

// SetSockOpt implements socket.Socket.
func (s *Socket) SetSockOpt(ctx context.Context, level, name int, val []byte) error {
	if level != unix.SOL_NETLINK {
		if level != unix.SOL_SOCKET {
			return unix.ENOPROTOOPT
		}
		if name == unix.SO_ATTACH_FILTER {
			// Filters save their owners work; those that we know of look at each message
			// themselves, too.
			return nil
		}
		return s.Base.SetSockOpt(ctx, level, name, val)
	}
	v := uint32(0) // what a value that is too short counts as
	if len(val) >= 4 {
		v = binary.NativeEndian.Uint32(val)
	}
	switch {
	case name == unix.NETLINK_ADD_MEMBERSHIP || name == unix.NETLINK_DROP_MEMBERSHIP:
		if !s.mayListen(ctx) {
			return unix.EPERM
		}
		if v == 0 || v > protocolGroups[s.Protocol()] {
			return unix.EINVAL
		}
		s.mu.Lock()
		s.hasGroups = true
		s.join(v, name == unix.NETLINK_ADD_MEMBERSHIP)
		s.mu.Unlock()
		return nil
	case !isSwitch(name):
		return unix.ENOPROTOOPT
	case name == unix.NETLINK_LISTEN_ALL_NSID && !s.ns.sockets.Capable(ctx, unix.CAP_NET_BROADCAST):
		return unix.EPERM
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.options &^= 1 << name
	if v != 0 {
		s.options |= 1 << name
	}
	return nil
}

// capable says whether the caller may change the network.
func (n *Namespace) capable(ctx context.Context) bool {
	return n.sockets.Capable(ctx, unix.CAP_NET_ADMIN)
}
