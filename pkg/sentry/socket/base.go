package socket

import (
	"encoding/binary"
	"math"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
)

// Sizes of buffers in bytes (/proc/sys/net/core); what SO_SNDBUF sets is doubled.
const (
	DefaultBuffer = 212992
	MaxBuffer     = 212992
	minSendBuffer = 4608
	minRecvBuffer = 2304
)

// noTimeout is a timeout option that is not set.
const noTimeout = 0

// Base has the options of SOL_SOCKET that every socket has. The zero value must be set up by
// Init.
type Base struct {
	family, typ, protocol int

	ino atomic.Uint64
	// pending is SO_ERROR: an errno that the next call returns.
	pending atomic.Int32

	sndbuf, rcvbuf atomic.Int32
	rcvlowat       atomic.Int32
	// rcvtimeo and sndtimeo are nanoseconds; 0: for ever.
	rcvtimeo, sndtimeo atomic.Int64
	flags              atomic.Uint64 // bit n: the boolean option n is on (see boolOptions)
	linger             atomic.Uint64 // seconds, and lingerOn
	priority, mark     atomic.Int32
	busyPoll           atomic.Int32
	peekOff            atomic.Int32
}

const lingerOn = 1 << 32

// boolOptions are options that are on or off; the value is the bit in Base.flags.
var boolOptions = [...]struct {
	name int
	bit  uint
}{
	{unix.SO_DEBUG, 0}, {unix.SO_REUSEADDR, 1}, {unix.SO_DONTROUTE, 2}, {unix.SO_BROADCAST, 3},
	{unix.SO_KEEPALIVE, 4}, {unix.SO_OOBINLINE, 5}, {unix.SO_REUSEPORT, 6}, {unix.SO_PASSCRED, 7},
	{unix.SO_TIMESTAMP, 8}, {unix.SO_TIMESTAMPNS, 9}, {unix.SO_PASSSEC, 10}, {unix.SO_RXQ_OVFL, 11},
	{unix.SO_NOFCS, 12}, {unix.SO_SELECT_ERR_QUEUE, 13}, {unix.SO_ZEROCOPY, 14}, {unix.SO_NO_CHECK, 15},
	{unix.SO_LOCK_FILTER, 16}, {unix.SO_PASSPIDFD, 17}, {unix.SO_PREFER_BUSY_POLL, 18},
}

// Init sets what socket(2) was called with, and the defaults.
func (b *Base) Init(family, typ, protocol int) {
	b.family, b.typ, b.protocol = family, typ, protocol
	b.sndbuf.Store(DefaultBuffer)
	b.rcvbuf.Store(DefaultBuffer)
	b.rcvlowat.Store(1)
	b.peekOff.Store(-1)
}

// CopyOptions gives a socket that accept(2) returns the options of its listener.
func (b *Base) CopyOptions(from *Base) {
	b.sndbuf.Store(from.sndbuf.Load())
	b.rcvbuf.Store(from.rcvbuf.Load())
	b.rcvlowat.Store(from.rcvlowat.Load())
	b.rcvtimeo.Store(from.rcvtimeo.Load())
	b.sndtimeo.Store(from.sndtimeo.Load())
	b.flags.Store(from.flags.Load())
	b.linger.Store(from.linger.Load())
	b.priority.Store(from.priority.Load())
	b.mark.Store(from.mark.Load())
}

// Family implements Socket.
func (b *Base) Family() int { return b.family }

// Type implements Socket.
func (b *Base) Type() int { return b.typ }

// Protocol implements Socket.
func (b *Base) Protocol() int { return b.protocol }

// SetInodeNumber implements Socket.
func (b *Base) SetInodeNumber(ino uint64) { b.ino.Store(ino) }

// InodeNumber is the number of the socket's inode, 0 before it has one.
func (b *Base) InodeNumber() uint64 { return b.ino.Load() }

// SendBuffer is SO_SNDBUF in bytes, RecvBuffer SO_RCVBUF.
func (b *Base) SendBuffer() int { return int(b.sndbuf.Load()) }

// RecvBuffer is SO_RCVBUF in bytes.
func (b *Base) RecvBuffer() int { return int(b.rcvbuf.Load()) }

// RecvLowWater is SO_RCVLOWAT in bytes.
func (b *Base) RecvLowWater() int { return int(b.rcvlowat.Load()) }

// Linger is SO_LINGER in seconds.
func (b *Base) Linger() (seconds int, on bool) {
	l := b.linger.Load()
	return int(uint32(l)), l&lingerOn != 0
}

// Option says whether a boolean option of SOL_SOCKET is on.
func (b *Base) Option(name int) bool {
	for _, o := range boolOptions {
		if o.name == name {
			return b.flags.Load()&(1<<o.bit) != 0
		}
	}
	return false
}

// SetOption sets a boolean option; false: name is none.
func (b *Base) SetOption(name int, on bool) bool {
	for _, o := range boolOptions {
		if o.name == name {
			if on {
				b.flags.Or(1 << o.bit)
			} else {
				b.flags.And(^uint64(1 << o.bit))
			}
			return true
		}
	}
	return false
}

// SetError makes err the pending error (SO_ERROR).
func (b *Base) SetError(err unix.Errno) { b.pending.Store(int32(err)) }

// TakeError returns the pending error and clears it.
func (b *Base) TakeError() error {
	if b.pending.Load() == 0 {
		return nil
	}
	if e := b.pending.Swap(0); e != 0 {
		return unix.Errno(e)
	}
	return nil
}

// HasError says whether an error is pending.
func (b *Base) HasError() bool { return b.pending.Load() != 0 }

// PeekOffset is SO_PEEK_OFF: where MSG_PEEK begins, or -1 for the front.
func (b *Base) PeekOffset() int { return int(b.peekOff.Load()) }

// SetPeekOffset is for families that support SO_PEEK_OFF.
func (b *Base) SetPeekOffset(v int) { b.peekOff.Store(int32(max(v, -1))) }

// Peeked moves SO_PEEK_OFF, if it is set, over n bytes that were peeked at; Consumed moves
// it back as n bytes were read.
func (b *Base) Peeked(n int) {
	if v := b.peekOff.Load(); v >= 0 && n > 0 {
		b.peekOff.Store(v + int32(n))
	}
}

// Consumed is the counterpart of Peeked.
func (b *Base) Consumed(n int) {
	if v := b.peekOff.Load(); v >= 0 {
		b.peekOff.Store(max(v-int32(n), 0))
	}
}

// RecvDeadline is when a receive that begins now gives up (CLOCK_MONOTONIC), or NoDeadline.
func (b *Base) RecvDeadline(ctx context.Context) int64 { return deadline(ctx, b.rcvtimeo.Load()) }

// SendDeadline is when a send that begins now gives up.
func (b *Base) SendDeadline(ctx context.Context) int64 { return deadline(ctx, b.sndtimeo.Load()) }

// ReadTimeout implements vfs.IOTimeouts by SO_RCVTIMEO.
func (b *Base) ReadTimeout() int64 { return b.rcvtimeo.Load() }

// WriteTimeout implements vfs.IOTimeouts by SO_SNDTIMEO.
func (b *Base) WriteTimeout() int64 { return b.sndtimeo.Load() }

// NoDeadline is the deadline of those who wait for ever.
const NoDeadline = int64(math.MaxInt64)

func deadline(ctx context.Context, timeout int64) int64 {
	if timeout == noTimeout {
		return NoDeadline
	}
	now := ctx.Monotonic()
	if timeout > NoDeadline-now {
		return NoDeadline
	}
	return now + timeout
}

// Block parks the task until it is woken (nil), the deadline passes (EAGAIN, as SO_RCVTIMEO
// has it) or a signal comes: then the call is restarted only if it had no timeout
// (signal(7)).
func Block(ctx context.Context, deadline int64) error {
	if deadline == NoDeadline {
		return ctx.Block()
	}
	switch err := ctx.BlockUntil(deadline); err {
	case nil:
		return nil
	case unix.ETIMEDOUT:
		return unix.EAGAIN
	default:
		return unix.EINTR
	}
}

// PutInt stores an int option, cut to the length of buf as getsockopt(2) does.
func PutInt(buf []byte, v int) (int, error) {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(v))
	return copy(buf, b[:]), nil
}

// GetInt reads an int option. EINVAL: val is too short.
func GetInt(val []byte) (int, error) {
	if len(val) < 4 {
		return 0, unix.EINVAL
	}
	return int(int32(binary.NativeEndian.Uint32(val))), nil
}

func putBool(buf []byte, on bool) (int, error) {
	if on {
		return PutInt(buf, 1)
	}
	return PutInt(buf, 0)
}

// GetSockOpt answers the options of SOL_SOCKET that all sockets share. ENOPROTOOPT: it is
// none of them.
func (b *Base) GetSockOpt(_ context.Context, level, name int, buf []byte) (int, error) {
	if level != unix.SOL_SOCKET {
		return 0, unix.EOPNOTSUPP
	}
	switch name {
	case unix.SO_TYPE:
		return PutInt(buf, b.typ)
	case unix.SO_DOMAIN:
		return PutInt(buf, b.family)
	case unix.SO_PROTOCOL:
		return PutInt(buf, b.protocol)
	case unix.SO_ERROR:
		return PutInt(buf, int(b.pending.Swap(0)))
	case unix.SO_SNDBUF:
		return PutInt(buf, b.SendBuffer())
	case unix.SO_RCVBUF:
		return PutInt(buf, b.RecvBuffer())
	case unix.SO_RCVLOWAT:
		return PutInt(buf, b.RecvLowWater())
	case unix.SO_SNDLOWAT:
		return PutInt(buf, 1)
	case unix.SO_ACCEPTCONN:
		return PutInt(buf, 0)
	case unix.SO_PRIORITY:
		return PutInt(buf, int(b.priority.Load()))
	case unix.SO_MARK:
		return PutInt(buf, int(b.mark.Load()))
	case unix.SO_BUSY_POLL:
		return PutInt(buf, int(b.busyPoll.Load()))
	case unix.SO_INCOMING_CPU:
		return PutInt(buf, 0)
	case unix.SO_PEEK_OFF:
		return PutInt(buf, int(b.peekOff.Load()))
	case unix.SO_BINDTODEVICE, unix.SO_GET_FILTER:
		return 0, nil
	case unix.SO_COOKIE:
		if len(buf) < 8 {
			return 0, unix.EINVAL
		}
		binary.NativeEndian.PutUint64(buf, b.ino.Load())
		return 8, nil
	case unix.SO_LINGER:
		var l [8]byte
		s, on := b.Linger()
		if on {
			l[0] = 1
		}
		binary.NativeEndian.PutUint32(l[4:], uint32(s))
		return copy(buf, l[:]), nil
	case unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW:
		return putTimeval(buf, b.rcvtimeo.Load())
	case unix.SO_SNDTIMEO, unix.SO_SNDTIMEO_NEW:
		return putTimeval(buf, b.sndtimeo.Load())
	}
	for _, o := range boolOptions {
		if o.name == name {
			return putBool(buf, b.flags.Load()&(1<<o.bit) != 0)
		}
	}
	return 0, unix.ENOPROTOOPT
}

func putTimeval(buf []byte, ns int64) (int, error) {
	var t [16]byte
	binary.NativeEndian.PutUint64(t[:], uint64(ns/1e9))
	binary.NativeEndian.PutUint64(t[8:], uint64(ns%1e9/1e3))
	return copy(buf, t[:]), nil
}

func getTimeval(val []byte) (int64, error) {
	if len(val) < 16 {
		return 0, unix.EINVAL
	}
	sec := int64(binary.NativeEndian.Uint64(val))
	usec := int64(binary.NativeEndian.Uint64(val[8:]))
	switch {
	case usec < 0 || usec >= 1e6:
		return 0, unix.EDOM
	case sec < 0:
		return 1, nil // expires at once
	case sec > math.MaxInt64/1_000_000_000-1:
		return noTimeout, nil
	}
	return sec*1e9 + usec*1e3, nil
}

// SetSockOpt sets the options of SOL_SOCKET that all sockets share.
func (b *Base) SetSockOpt(ctx context.Context, level, name int, val []byte) error {
	if level != unix.SOL_SOCKET {
		return unix.EOPNOTSUPP
	}
	switch name {
	case unix.SO_RCVTIMEO, unix.SO_RCVTIMEO_NEW, unix.SO_SNDTIMEO, unix.SO_SNDTIMEO_NEW:
		ns, err := getTimeval(val)
		if err != nil {
			return err
		}
		if name == unix.SO_RCVTIMEO || name == unix.SO_RCVTIMEO_NEW {
			b.rcvtimeo.Store(ns)
		} else {
			b.sndtimeo.Store(ns)
		}
		return nil
	case unix.SO_LINGER:
		if len(val) < 8 {
			return unix.EINVAL
		}
		l := uint64(binary.NativeEndian.Uint32(val[4:]))
		if binary.NativeEndian.Uint32(val) != 0 {
			l |= lingerOn
		}
		b.linger.Store(l)
		return nil
	case unix.SO_BINDTODEVICE, unix.SO_ATTACH_FILTER, unix.SO_DETACH_FILTER:
		return unix.ENOPROTOOPT
	}
	v, err := GetInt(val)
	if err != nil {
		return err
	}
	switch name {
	case unix.SO_TYPE, unix.SO_DOMAIN, unix.SO_PROTOCOL, unix.SO_ERROR, unix.SO_ACCEPTCONN, unix.SO_PEERCRED, unix.SO_SNDLOWAT:
		return unix.ENOPROTOOPT
	case unix.SO_SNDBUF:
		b.sndbuf.Store(bufferSize(v, MaxBuffer, minSendBuffer))
	case unix.SO_RCVBUF:
		b.rcvbuf.Store(bufferSize(v, MaxBuffer, minRecvBuffer))
	case unix.SO_SNDBUFFORCE, unix.SO_RCVBUFFORCE:
		if !ctx.Credentials().HasCapability(unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
		// Bounded all the same: it is the sentry's memory.
		if name == unix.SO_SNDBUFFORCE {
			b.sndbuf.Store(bufferSize(v, 32*MaxBuffer, minSendBuffer))
		} else {
			b.rcvbuf.Store(bufferSize(v, 32*MaxBuffer, minRecvBuffer))
		}
	case unix.SO_RCVLOWAT:
		if v < 0 {
			v = math.MaxInt32
		}
		b.rcvlowat.Store(int32(max(v, 1)))
	case unix.SO_PRIORITY:
		if (v < 0 || v > 6) && !ctx.Credentials().HasCapability(unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
		b.priority.Store(int32(v))
	case unix.SO_MARK:
		if !ctx.Credentials().HasCapability(unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
		b.mark.Store(int32(v))
	case unix.SO_BUSY_POLL:
		if v < 0 {
			return unix.EINVAL
		}
		b.busyPoll.Store(int32(v))
	case unix.SO_DEBUG:
		if v != 0 && !ctx.Credentials().HasCapability(unix.CAP_NET_ADMIN) {
			return unix.EACCES
		}
		b.SetOption(name, v != 0)
	default:
		if !b.SetOption(name, v != 0) {
			return unix.ENOPROTOOPT
		}
		// The two kinds of timestamps exclude each other.
		if v != 0 && name == unix.SO_TIMESTAMP {
			b.SetOption(unix.SO_TIMESTAMPNS, false)
		} else if v != 0 && name == unix.SO_TIMESTAMPNS {
			b.SetOption(unix.SO_TIMESTAMP, false)
		}
	}
	return nil
}

// bufferSize is what SO_SNDBUF makes of v, which counts as unsigned.
func bufferSize(v, limit, least int) int32 {
	return int32(max(2*min(int(uint32(v)), limit), least))
}

// Unsupported refuses the operations that a family may lack; sockets embed it.
type Unsupported struct{}

// Bind implements Socket.
func (Unsupported) Bind(context.Context, *Addr) error { return unix.EOPNOTSUPP }

// Connect implements Socket.
func (Unsupported) Connect(context.Context, *Addr, bool) error { return unix.EOPNOTSUPP }

// Listen implements Socket.
func (Unsupported) Listen(context.Context, int) error { return unix.EOPNOTSUPP }

// Accept implements Socket.
func (Unsupported) Accept(context.Context, *Addr, bool) (Socket, error) {
	return nil, unix.EOPNOTSUPP
}

// Shutdown implements Socket.
func (Unsupported) Shutdown(context.Context, int) error { return unix.EOPNOTSUPP }

// GetPeerName implements Socket.
func (Unsupported) GetPeerName(context.Context, *Addr) error { return unix.EOPNOTSUPP }
