package inet

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/tcpip/transport/tcp"
)

// Requests that package unix lacks.
const (
	siocOutqNSD     = 0x894b
	siocGstampNew   = 0x80108906
	siocGstampNsNew = 0x80108907
	siocRtmsg       = 0x890d
)

// Ioctl implements vfs.File.
func (s *Socket) Ioctl(ctx context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	switch request {
	case unix.SIOCINQ, unix.SIOCOUTQ, siocOutqNSD, unix.SIOCATMARK:
		n, err := s.queueSize(request)
		if err != nil {
			return 0, err
		}
		return 0, copyOutInt(io, arg, n)
	}
	if s.v6() {
		if err := s.ns.ioctl6(ctx, io, request, arg); err != unix.ENOTTY {
			return 0, err
		}
	}
	return 0, s.Core.Ioctl(ctx, io, request, arg)
}

// Ioctl carries out the requests that sockets of all families have. ENOTTY: it is none.
func (c *Core) Ioctl(ctx context.Context, io usermem.IO, request uint32, arg uint64) error {
	switch request {
	case unix.SIOCGSTAMP, unix.SIOCGSTAMPNS, siocGstampNew, siocGstampNsNew:
		return c.lastStamp(io, request, arg)
	}
	return c.ns.Ioctl(ctx, io, request, arg)
}

// queueSize is SIOCINQ, SIOCOUTQ, SIOCOUTQNSD and SIOCATMARK. EINVAL: the socket listens;
// ENOTTY: sockets of this kind do not have the request.
func (s *Socket) queueSize(request uint32) (int, error) {
	e, isTCP := s.ep.(*tcp.Endpoint)
	if isTCP && request != unix.SIOCATMARK && e.State() == tcp.StateListen {
		return 0, unix.EINVAL
	}
	switch {
	case s.kinds() == onPing:
	case request == unix.SIOCINQ:
		return s.ep.ReceiveQueued(), nil
	case request == unix.SIOCOUTQ:
		return s.ep.SendQueued(), nil
	case !isTCP:
	case request == siocOutqNSD:
		return e.SendUnsent(), nil
	default:
		return truth(e.AtMark()), nil
	}
	return 0, unix.ENOTTY
}

func copyOutInt(io usermem.IO, arg uint64, v int) error {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(v))
	_, err := io.CopyOut(uintptr(arg), b[:])
	return err
}

// lastStamp is SIOCGSTAMP and its kin: when the last packet that was received came. From the first
// such request on, packets are stamped. ENOENT: no packet was received.
func (c *Core) lastStamp(io usermem.IO, request uint32, arg uint64) error {
	c.ep.Options().Timestamps.Store(true)
	ns := c.extra.lastStamp.Load()
	if ns == 0 {
		return unix.ENOENT
	}
	frac := ns % 1e9
	if request == unix.SIOCGSTAMP || request == siocGstampNew {
		frac /= 1000
	}
	var b [16]byte
	binary.NativeEndian.PutUint64(b[:], uint64(ns/1e9))
	binary.NativeEndian.PutUint64(b[8:], uint64(frac))
	_, err := io.CopyOut(uintptr(arg), b[:])
	return err
}
