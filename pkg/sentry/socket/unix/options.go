package unix

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
)

// siocUnixFile is SIOCUNIXFILE, which opens the bound node; it is not supported.
const siocUnixFile = 0x89e0

// GetSockOpt implements socket.Socket.
func (s *Socket) GetSockOpt(ctx context.Context, level, name int, buf []byte) (int, error) {
	if level == unix.SOL_SOCKET {
		switch name {
		case unix.SO_PEERCRED:
			s.mu.Lock()
			u := s.peerCred
			s.mu.Unlock()
			if u != noCreds {
				u = localCreds(ctx, u)
			}
			return socket.PutUcred(buf, u)
		case unix.SO_PEERGROUPS:
			s.mu.Lock()
			groups, u := s.peerGroups, s.peerCred
			s.mu.Unlock()
			if u == noCreds {
				return 0, unix.ENODATA
			}
			if n := 4 * len(groups); n > len(buf) {
				return n, unix.ERANGE
			}
			ns := ctx.Credentials().UserNS
			for i, g := range groups {
				binary.NativeEndian.PutUint32(buf[4*i:], ns.GID(g))
			}
			return 4 * len(groups), nil
		case unix.SO_ACCEPTCONN:
			s.mu.Lock()
			on := s.state == listening
			s.mu.Unlock()
			if on {
				return socket.PutInt(buf, 1)
			}
			return socket.PutInt(buf, 0)
		case unix.SO_PEERSEC:
			return 0, unix.ENOPROTOOPT
		}
	}
	return s.Base.GetSockOpt(ctx, level, name, buf)
}

// SetSockOpt implements socket.Socket.
func (s *Socket) SetSockOpt(ctx context.Context, level, name int, val []byte) error {
	if level == unix.SOL_SOCKET && name == unix.SO_PEEK_OFF {
		v, err := socket.GetInt(val)
		if err != nil {
			return err
		}
		s.SetPeekOffset(v)
		return nil
	}
	return s.Base.SetSockOpt(ctx, level, name, val)
}

// Ioctl implements vfs.File.
func (s *Socket) Ioctl(ctx context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	n := 0
	switch request {
	case unix.TIOCINQ: // FIONREAD, SIOCINQ
		s.mu.Lock()
		isListening := s.state == listening
		s.mu.Unlock()
		if isListening {
			return 0, unix.EINVAL
		}
		s.in.mu.Lock()
		if s.Type() == unix.SOCK_DGRAM {
			if s.in.head != nil {
				n = s.in.head.size
			}
		} else {
			n = s.in.bytes
		}
		s.in.mu.Unlock()
	case unix.TIOCOUTQ: // SIOCOUTQ
		n = int(s.wmem.Load())
	case siocUnixFile:
		return 0, unix.EOPNOTSUPP
	default:
		if s.ns.stack == nil {
			return 0, unix.ENOTTY
		}
		d := s.ns.stack.Devices()
		if c, ok := d.(socket.DeviceControl); ok {
			return 0, c.Control(ctx, io, request, arg)
		}
		return 0, socket.DeviceIoctl(d, io, request, arg)
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(n))
	_, err := io.CopyOut(uintptr(arg), b[:])
	return 0, err
}
