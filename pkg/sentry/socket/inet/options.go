package inet

import (
	"encoding/binary"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip"
)

// Kinds of sockets, as the tables count them.
const (
	onTCP uint = 1 << iota
	onUDP
	onPing
	onRaw
	onV6

	onDatagram = onUDP | onPing | onRaw
)

type option = socket.Option[*Socket]

// table are the options of AF_INET and AF_INET6 sockets but for SOL_SOCKET's.
var table = socket.NewOptionTable(ipOptions, ipv6Options, multicastOptions, tcpOptions, udpOptions, rawOptions)

// Options describes every option of AF_INET and AF_INET6 sockets.
func Options() []socket.OptionInfo {
	return append(socketTable.Infos(), table.Infos()...)
}

// kinds is what the socket is in the tables.
func (s *Socket) kinds() uint {
	switch {
	case s.Type() == unix.SOCK_STREAM:
		return onTCP
	case s.Type() == unix.SOCK_RAW:
		return onRaw
	case s.Protocol() == unix.IPPROTO_UDP:
		return onUDP
	}
	return onPing
}

// has says whether the socket has the options of level.
func (s *Socket) has(level int) bool {
	k := s.kinds()
	switch level {
	case unix.IPPROTO_IP:
		// Linux's raw IPv6 sockets do not look at IPv4's.
		return !s.v6() || k != onRaw
	case unix.IPPROTO_IPV6:
		return s.v6()
	case unix.IPPROTO_TCP:
		return k == onTCP
	case unix.IPPROTO_UDP:
		return k == onUDP
	case unix.IPPROTO_RAW, unix.IPPROTO_ICMPV6:
		return k == onRaw
	}
	return false
}

// GetSockOpt implements socket.Socket.
func (s *Socket) GetSockOpt(ctx context.Context, level, name int, buf []byte) (int, error) {
	if level == unix.SOL_SOCKET {
		return s.GetSocketOption(ctx, name, buf)
	}
	if !s.has(level) {
		if s.v6() {
			return 0, unix.ENOPROTOOPT
		}
		return 0, unix.EOPNOTSUPP
	}
	n, found, err := table.Get(s, ctx, s.kinds(), level, name, buf)
	if !found {
		return 0, unix.ENOPROTOOPT
	}
	return n, err
}

// SetSockOpt implements socket.Socket.
func (s *Socket) SetSockOpt(ctx context.Context, level, name int, val []byte) error {
	if level == unix.SOL_SOCKET {
		return s.SetSocketOption(ctx, name, val)
	}
	if !s.has(level) {
		return unix.ENOPROTOOPT
	}
	found, err := table.Set(s, ctx, s.kinds(), level, name, val)
	if !found {
		return unix.ENOPROTOOPT
	}
	return err
}

// The levels have rules of their own for the length of an int:
//
//	SOL_SOCKET, TCP, UDP, IPv6: setting wants four bytes (EINVAL), reading cuts off
//	IP: setting takes one byte too, and reading gives one if the value fits

// putIPInt stores an int of level IPPROTO_IP.
func putIPInt(buf []byte, v int) (int, error) {
	if len(buf) > 0 && len(buf) < 4 && v >= 0 && v <= 255 {
		buf[0] = byte(v)
		return 1, nil
	}
	return socket.PutInt(buf, v)
}

// getIPInt reads an int of level IPPROTO_IP.
func getIPInt(val []byte) (int, error) {
	switch {
	case len(val) >= 4:
		return int(int32(binary.NativeEndian.Uint32(val))), nil
	case len(val) >= 1:
		return int(val[0]), nil
	}
	return 0, nil
}

func truth(on bool) int {
	if on {
		return 1
	}
	return 0
}

// flag is where a switch of SocketOptions is.
type flag func(*tcpip.SocketOptions) *atomic.Bool

// ipFlag is a switch of level IPPROTO_IP.
func ipFlag(name int, label string, on uint, f flag) option {
	return option{
		Level: unix.IPPROTO_IP, Name: name, Label: label, On: on,
		Get: func(s *Socket, _ context.Context, buf []byte) (int, error) {
			return putIPInt(buf, truth(f(s.ep.Options()).Load()))
		},
		Set: func(s *Socket, _ context.Context, val []byte) error {
			v, err := getIPInt(val)
			if err != nil {
				return err
			}
			f(s.ep.Options()).Store(v != 0)
			return nil
		},
	}
}

// ipv6Flag is a switch of level IPPROTO_IPV6.
func ipv6Flag(name int, label string, on uint, f flag) option {
	return option{
		Level: unix.IPPROTO_IPV6, Name: name, Label: label, On: on,
		Get: func(s *Socket, _ context.Context, buf []byte) (int, error) {
			return socket.PutInt(buf, truth(f(s.ep.Options()).Load()))
		},
		Set: func(s *Socket, _ context.Context, val []byte) error {
			v, err := socket.GetInt(val)
			if err != nil {
				return err
			}
			f(s.ep.Options()).Store(v != 0)
			return nil
		},
	}
}

// intOption is an int that is read and set by functions; either may be nil.
func intOption(level, name int, label string, on uint, get func(*Socket) (int, error), set func(*Socket, context.Context, int) error) option {
	o := option{Level: level, Name: name, Label: label, On: on}
	put, take := socket.PutInt, socket.GetInt
	if level == unix.IPPROTO_IP {
		put, take = putIPInt, getIPInt
	}
	if get != nil {
		o.Get = func(s *Socket, _ context.Context, buf []byte) (int, error) {
			v, err := get(s)
			if err != nil {
				return 0, err
			}
			return put(buf, v)
		}
	}
	o.Set = socket.IntSetter(take, set)
	return o
}
