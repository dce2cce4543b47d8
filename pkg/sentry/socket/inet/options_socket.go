package inet

import (
	"bytes"
	"encoding/binary"
	"math"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/bpf"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/transport/tcp"
)

// socketExtra are options of SOL_SOCKET that neither the endpoint nor socket.Base has.
type socketExtra struct {
	// stamp is which of SO_TIMESTAMP, SO_TIMESTAMPNS and their _NEW kin is on; 0: none.
	stamp atomic.Int32
	// timestamping is SO_TIMESTAMPING's flags.
	timestamping atomic.Uint32
	lockFilter   atomic.Bool
	incomingCPU  atomic.Int32 // plus one; 0: not set
	pacing       atomic.Uint64
	// lastStamp is SIOCGSTAMP, nanoseconds; 0: no packet was received.
	lastStamp atomic.Int64
}

type socketOption = socket.Option[*Core]

// The least that SO_SNDBUF and SO_RCVBUF set, in bytes: two buffers and one of 2 KiB, with what
// Linux counts for managing them.
const (
	minSendBuffer    = 4608
	minReceiveBuffer = 2304
	// forceLimit bounds SO_SNDBUFFORCE and SO_RCVBUFFORCE: it is the sentry's memory.
	forceLimit = 32 << 20
)

// socketTable are the options of SOL_SOCKET.
var socketTable = socket.NewOptionTable([]socketOption{
	ofBase(unix.SO_DEBUG, "SO_DEBUG", "recorded"),
	reuseSwitch(unix.SO_REUSEADDR, "SO_REUSEADDR", func(o *tcpip.SocketOptions) *atomic.Bool { return &o.ReuseAddress }),
	readOnly(unix.SO_TYPE, "SO_TYPE", (*Core).Type),
	readOnly(unix.SO_DOMAIN, "SO_DOMAIN", (*Core).Family),
	readOnly(unix.SO_PROTOCOL, "SO_PROTOCOL", (*Core).Protocol),
	readOnly(unix.SO_ERROR, "SO_ERROR", func(c *Core) int {
		if e, ok := c.ep.TakeError().(unix.Errno); ok {
			return int(e)
		}
		return 0
	}),
	socketSwitch(unix.SO_DONTROUTE, "SO_DONTROUTE", func(o *tcpip.SocketOptions) *atomic.Bool { return &o.DontRoute }),
	socketSwitch(unix.SO_BROADCAST, "SO_BROADCAST", func(o *tcpip.SocketOptions) *atomic.Bool { return &o.Broadcast }),
	socketInt(unix.SO_SNDBUF, "SO_SNDBUF",
		func(c *Core) int { return int(c.ep.Options().SendBuffer.Load()) },
		func(c *Core, _ context.Context, v int) error {
			c.setSendBuffer(v, c.ns.stack.Settings().SendMax.Load())
			return nil
		}),
	socketInt(unix.SO_RCVBUF, "SO_RCVBUF",
		func(c *Core) int { return int(c.ep.Options().ReceiveBuffer.Load()) },
		func(c *Core, _ context.Context, v int) error {
			c.setReceiveBuffer(v, c.ns.stack.Settings().ReceiveMax.Load())
			return nil
		}),
	socketInt(unix.SO_SNDBUFFORCE, "SO_SNDBUFFORCE", nil, func(c *Core, ctx context.Context, v int) error {
		if !c.Capable(ctx, unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
		c.setSendBuffer(max(v, 0), forceLimit)
		return nil
	}).WithNote("32 MiB at most"),
	socketInt(unix.SO_RCVBUFFORCE, "SO_RCVBUFFORCE", nil, func(c *Core, ctx context.Context, v int) error {
		if !c.Capable(ctx, unix.CAP_NET_ADMIN) {
			return unix.EPERM
		}
		c.setReceiveBuffer(max(v, 0), forceLimit)
		return nil
	}).WithNote("32 MiB at most"),
	{Level: unix.SOL_SOCKET, Name: unix.SO_KEEPALIVE, Label: "SO_KEEPALIVE",
		Get: socketFlag(func(o *tcpip.SocketOptions) *atomic.Bool { return &o.KeepAlive }).get,
		Set: func(c *Core, _ context.Context, val []byte) error {
			v, err := socket.GetInt(val)
			if err != nil {
				return err
			}
			c.ep.Options().KeepAlive.Store(v != 0)
			if e, ok := c.ep.(*tcp.Endpoint); ok {
				e.SetKeepAlive(v != 0)
			}
			return nil
		}},
	socketSwitch(unix.SO_OOBINLINE, "SO_OOBINLINE", func(o *tcpip.SocketOptions) *atomic.Bool { return &o.OutOfBandInline }),
	socketSwitch(unix.SO_NO_CHECK, "SO_NO_CHECK", func(o *tcpip.SocketOptions) *atomic.Bool { return &o.NoChecksum }),
	socketInt(unix.SO_PRIORITY, "SO_PRIORITY",
		func(c *Core) int { return int(c.ep.Options().Priority.Load()) },
		func(c *Core, ctx context.Context, v int) error {
			if (v < 0 || v > 6) && !c.Capable(ctx, unix.CAP_NET_RAW) && !c.Capable(ctx, unix.CAP_NET_ADMIN) {
				return unix.EPERM
			}
			c.ep.Options().Priority.Store(int32(v))
			return nil
		}),
	{Level: unix.SOL_SOCKET, Name: unix.SO_LINGER, Label: "SO_LINGER", Get: (*Core).getLinger, Set: (*Core).setLinger},
	reuseSwitch(unix.SO_REUSEPORT, "SO_REUSEPORT", func(o *tcpip.SocketOptions) *atomic.Bool { return &o.ReusePort }),
	refusedBase(unix.SO_PASSCRED, "SO_PASSCRED"),
	{Level: unix.SOL_SOCKET, Name: unix.SO_PEERCRED, Label: "SO_PEERCRED", Get: func(_ *Core, _ context.Context, buf []byte) (int, error) {
		return socket.PutUcred(buf, socket.Ucred{PID: 0, UID: math.MaxUint32, GID: math.MaxUint32})
	}},
	{Level: unix.SOL_SOCKET, Name: unix.SO_PEERGROUPS, Label: "SO_PEERGROUPS", Get: func(*Core, context.Context, []byte) (int, error) {
		return 0, unix.ENODATA
	}},
	socketInt(unix.SO_RCVLOWAT, "SO_RCVLOWAT",
		func(c *Core) int { return int(c.ep.Options().ReceiveLow.Load()) },
		func(c *Core, _ context.Context, v int) error { return c.setReceiveLow(v) }),
	readOnly(unix.SO_SNDLOWAT, "SO_SNDLOWAT", func(*Core) int { return 1 }),
	ofBase(unix.SO_RCVTIMEO, "SO_RCVTIMEO_OLD", ""),
	ofBase(unix.SO_SNDTIMEO, "SO_SNDTIMEO_OLD", ""),
	ofBase(unix.SO_RCVTIMEO_NEW, "SO_RCVTIMEO_NEW", ""),
	ofBase(unix.SO_SNDTIMEO_NEW, "SO_SNDTIMEO_NEW", ""),
	{Level: unix.SOL_SOCKET, Name: unix.SO_BINDTODEVICE, Label: "SO_BINDTODEVICE", Get: (*Core).getDevice, Set: (*Core).setDevice},
	socketInt(unix.SO_BINDTOIFINDEX, "SO_BINDTOIFINDEX",
		func(c *Core) int { return int(c.ep.Options().Device.Load()) },
		func(c *Core, ctx context.Context, v int) error {
			if v < 0 {
				return unix.EINVAL
			}
			return c.bindTo(ctx, tcpip.NICID(v))
		}),
	{Level: unix.SOL_SOCKET, Name: unix.SO_ATTACH_FILTER, Label: "SO_ATTACH_FILTER", Get: (*Core).getFilter, Set: (*Core).attachFilter},
	socketInt(unix.SO_DETACH_FILTER, "SO_DETACH_FILTER", nil, func(c *Core, _ context.Context, _ int) error {
		if c.extra.lockFilter.Load() {
			return unix.EPERM
		}
		if c.ep.Options().Filter.Swap(nil) == nil {
			return unix.ENOENT
		}
		return nil
	}),
	socketInt(unix.SO_LOCK_FILTER, "SO_LOCK_FILTER",
		func(c *Core) int { return truth(c.extra.lockFilter.Load()) },
		func(c *Core, _ context.Context, v int) error {
			if v == 0 && c.extra.lockFilter.Load() {
				return unix.EPERM
			}
			c.extra.lockFilter.Store(v != 0)
			return nil
		}),
	{Level: unix.SOL_SOCKET, Name: unix.SO_PEERNAME, Label: "SO_PEERNAME", Get: (*Core).getPeerName},
	stampOption(unix.SO_TIMESTAMP, "SO_TIMESTAMP_OLD"),
	stampOption(unix.SO_TIMESTAMPNS, "SO_TIMESTAMPNS_OLD"),
	stampOption(unix.SO_TIMESTAMP_NEW, "SO_TIMESTAMP_NEW"),
	stampOption(unix.SO_TIMESTAMPNS_NEW, "SO_TIMESTAMPNS_NEW"),
	stampingOption(unix.SO_TIMESTAMPING, "SO_TIMESTAMPING_OLD"),
	stampingOption(unix.SO_TIMESTAMPING_NEW, "SO_TIMESTAMPING_NEW"),
	readOnly(unix.SO_ACCEPTCONN, "SO_ACCEPTCONN", func(c *Core) int {
		e, ok := c.ep.(*tcp.Endpoint)
		return truth(ok && e.State() == tcp.StateListen)
	}),
	refusedBase(unix.SO_PASSSEC, "SO_PASSSEC"),
	refusedBase(unix.SO_PASSPIDFD, "SO_PASSPIDFD"),
	socketInt(unix.SO_MARK, "SO_MARK",
		func(c *Core) int { return int(int32(c.ep.Options().Mark.Load())) },
		func(c *Core, ctx context.Context, v int) error {
			if !c.Capable(ctx, unix.CAP_NET_RAW) && !c.Capable(ctx, unix.CAP_NET_ADMIN) {
				return unix.EPERM
			}
			c.ep.Options().Mark.Store(uint32(v))
			return nil
		}),
	ofBase(unix.SO_RXQ_OVFL, "SO_RXQ_OVFL", ""),
	{Level: unix.SOL_SOCKET, Name: unix.SO_PEEK_OFF, Label: "SO_PEEK_OFF",
		Get: func(c *Core, _ context.Context, buf []byte) (int, error) { return socket.PutInt(buf, c.PeekOffset()) },
		Set: func(c *Core, _ context.Context, val []byte) error {
			v, err := socket.GetInt(val)
			if err == nil && c.Protocol() != unix.IPPROTO_TCP && c.Protocol() != unix.IPPROTO_UDP {
				err = unix.EOPNOTSUPP
			}
			if err == nil {
				c.SetPeekOffset(v)
			}
			return err
		}, Note: "of TCP and UDP"},
	ofBase(unix.SO_NOFCS, "SO_NOFCS", "recorded"),
	ofBase(unix.SO_SELECT_ERR_QUEUE, "SO_SELECT_ERR_QUEUE", "recorded"),
	ofBase(unix.SO_BUSY_POLL, "SO_BUSY_POLL", "recorded"),
	ofBase(unix.SO_PREFER_BUSY_POLL, "SO_PREFER_BUSY_POLL", "recorded"),
	{Level: unix.SOL_SOCKET, Name: unix.SO_MAX_PACING_RATE, Label: "SO_MAX_PACING_RATE", Get: (*Core).getPacing, Set: (*Core).setPacing, Note: "recorded"},
	readOnly(unix.SO_BPF_EXTENSIONS, "SO_BPF_EXTENSIONS", func(*Core) int { return 64 }),
	socketInt(unix.SO_INCOMING_CPU, "SO_INCOMING_CPU",
		func(c *Core) int { return int(c.extra.incomingCPU.Load()) - 1 },
		func(c *Core, _ context.Context, v int) error {
			c.extra.incomingCPU.Store(int32(v) + 1)
			return nil
		}).WithNote("recorded"),
	readOnly(unix.SO_INCOMING_NAPI_ID, "SO_INCOMING_NAPI_ID", func(*Core) int { return 0 }),
	{Level: unix.SOL_SOCKET, Name: unix.SO_MEMINFO, Label: "SO_MEMINFO", Get: (*Core).getMemInfo},
	{Level: unix.SOL_SOCKET, Name: unix.SO_COOKIE, Label: "SO_COOKIE", Get: func(c *Core, _ context.Context, buf []byte) (int, error) {
		if len(buf) < 8 {
			return 0, unix.EINVAL
		}
		binary.NativeEndian.PutUint64(buf, c.cookie)
		return 8, nil
	}},
	socketInt(unix.SO_ZEROCOPY, "SO_ZEROCOPY", func(*Core) int { return 0 }, func(_ *Core, _ context.Context, v int) error {
		if v < 0 || v > 1 {
			return unix.EINVAL
		}
		if v != 0 {
			return unix.EOPNOTSUPP
		}
		return nil
	}).WithNote("cannot be turned on: every byte is copied once"),
	socketInt(unix.SO_BUF_LOCK, "SO_BUF_LOCK",
		func(c *Core) int {
			o := c.ep.Options()
			return truth(o.SendBufferLocked.Load())*unix.SOCK_SNDBUF_LOCK | truth(o.ReceiveBufferLocked.Load())*unix.SOCK_RCVBUF_LOCK
		},
		func(c *Core, _ context.Context, v int) error {
			if v&^unix.SOCK_BUF_LOCK_MASK != 0 {
				return unix.EINVAL
			}
			o := c.ep.Options()
			o.SendBufferLocked.Store(v&unix.SOCK_SNDBUF_LOCK != 0)
			o.ReceiveBufferLocked.Store(v&unix.SOCK_RCVBUF_LOCK != 0)
			return nil
		}),
})

// GetSocketOption is GetSockOpt of level SOL_SOCKET.
func (c *Core) GetSocketOption(ctx context.Context, name int, buf []byte) (int, error) {
	n, found, err := socketTable.Get(c, ctx, 0, unix.SOL_SOCKET, name, buf)
	if !found {
		return 0, unix.ENOPROTOOPT
	}
	return n, err
}

// SetSocketOption is SetSockOpt of level SOL_SOCKET.
func (c *Core) SetSocketOption(ctx context.Context, name int, val []byte) error {
	if len(val) < 4 && name != unix.SO_BINDTODEVICE {
		return unix.EINVAL // before anything else
	}
	found, err := socketTable.Set(c, ctx, 0, unix.SOL_SOCKET, name, val)
	if !found {
		return unix.ENOPROTOOPT
	}
	return err
}

// socketFlag is a switch of SOL_SOCKET.
type socketFlag func(*tcpip.SocketOptions) *atomic.Bool

func (f socketFlag) get(c *Core, _ context.Context, buf []byte) (int, error) {
	return socket.PutInt(buf, truth(f(c.ep.Options()).Load()))
}

// reuseSwitch is a switch that an endpoint which is bound has to know of.
func reuseSwitch(name int, label string, f socketFlag) socketOption {
	o := socketSwitch(name, label, f)
	o.Set = func(c *Core, ctx context.Context, val []byte) error {
		err := f.set(c, ctx, val)
		if r, ok := c.ep.(interface{ ReuseChanged() }); ok && err == nil {
			r.ReuseChanged()
		}
		return err
	}
	return o
}

func socketSwitch(name int, label string, f socketFlag) socketOption {
	return socketOption{Level: unix.SOL_SOCKET, Name: name, Label: label, Get: f.get, Set: f.set}
}

func (f socketFlag) set(c *Core, _ context.Context, val []byte) error {
	v, err := socket.GetInt(val)
	if err == nil {
		f(c.ep.Options()).Store(v != 0)
	}
	return err
}

// ofBase is an option that socket.Base has.
func ofBase(name int, label, note string) socketOption {
	return socketOption{
		Level: unix.SOL_SOCKET, Name: name, Label: label, Note: note,
		Get: func(c *Core, ctx context.Context, buf []byte) (int, error) {
			return c.Base.GetSockOpt(ctx, unix.SOL_SOCKET, name, buf)
		},
		Set: func(c *Core, ctx context.Context, val []byte) error {
			return c.Base.SetSockOpt(ctx, unix.SOL_SOCKET, name, val)
		},
	}
}

// refusedBase is an option of unix(7) sockets, which others refuse (Linux 6.16 and newer).
func refusedBase(name int, label string) socketOption {
	return socketOption{
		Level: unix.SOL_SOCKET, Name: name, Label: label,
		Get:  func(*Core, context.Context, []byte) (int, error) { return 0, unix.EOPNOTSUPP },
		Set:  func(*Core, context.Context, []byte) error { return unix.EOPNOTSUPP },
		Note: "EOPNOTSUPP, as of Linux 6.16",
	}
}

func readOnly(name int, label string, get func(*Core) int) socketOption {
	return socketInt(name, label, get, nil)
}

func socketInt(name int, label string, get func(*Core) int, set func(*Core, context.Context, int) error) socketOption {
	o := socketOption{Level: unix.SOL_SOCKET, Name: name, Label: label}
	if get != nil {
		o.Get = func(c *Core, _ context.Context, buf []byte) (int, error) { return socket.PutInt(buf, get(c)) }
	}
	o.Set = socket.IntSetter(socket.GetInt, set)
	return o
}

// bufferSize is what SO_SNDBUF and SO_RCVBUF make of v, which counts as unsigned: twice as
// much, for what managing it takes (socket(7)).
func bufferSize(v int, limit, least int64) int64 {
	return max(2*min(int64(uint32(v)), limit), least)
}

func (c *Core) setSendBuffer(v int, limit int64) {
	o := c.ep.Options()
	o.SendBufferLocked.Store(true)
	o.SendBuffer.Store(bufferSize(v, limit, minSendBuffer))
	c.buffersChanged()
}

func (c *Core) setReceiveBuffer(v int, limit int64) {
	o := c.ep.Options()
	o.ReceiveBufferLocked.Store(true)
	o.ReceiveBuffer.Store(bufferSize(v, limit, minReceiveBuffer))
	c.buffersChanged()
}

// buffersChanged tells the endpoint, if it wants to know, that a buffer has another size.
func (c *Core) buffersChanged() {
	if b, ok := c.ep.(interface{ BuffersChanged() }); ok {
		b.BuffersChanged()
	}
}

func (c *Core) setReceiveLow(v int) error {
	if v < 0 {
		v = math.MaxInt32
	}
	o := c.ep.Options()
	if c.Type() == unix.SOCK_STREAM {
		// More than half the buffer would never be there.
		limit := c.ns.stack.Settings().TCPReceive[2].Load() / 2
		if o.ReceiveBufferLocked.Load() {
			limit = o.ReceiveBuffer.Load() / 2
		}
		v = int(min(int64(v), limit))
	}
	o.ReceiveLow.Store(int32(max(v, 1)))
	c.buffersChanged()
	return nil
}

func (c *Core) getLinger(_ context.Context, buf []byte) (int, error) {
	var l [8]byte
	o := c.ep.Options()
	o.Mu.Lock()
	binary.NativeEndian.PutUint32(l[:], uint32(truth(o.Linger)))
	binary.NativeEndian.PutUint32(l[4:], uint32(o.LingerTime/time.Second))
	o.Mu.Unlock()
	return copy(buf, l[:]), nil
}

func (c *Core) setLinger(_ context.Context, val []byte) error {
	if len(val) < 8 {
		return unix.EINVAL
	}
	o := c.ep.Options()
	o.Mu.Lock()
	defer o.Mu.Unlock()
	o.Linger = binary.NativeEndian.Uint32(val) != 0
	if o.Linger {
		o.LingerTime = time.Duration(binary.NativeEndian.Uint32(val[4:])) * time.Second
	}
	return nil
}

func (c *Core) getDevice(_ context.Context, buf []byte) (int, error) {
	id := tcpip.NICID(c.ep.Options().Device.Load())
	if id == 0 {
		return 0, nil
	}
	if len(buf) < unix.IFNAMSIZ {
		return 0, unix.EINVAL
	}
	nic := c.ns.stack.NIC(id)
	if nic == nil {
		return 0, unix.ENODEV
	}
	return copy(buf, nic.Name()+"\x00"), nil
}

func (c *Core) setDevice(ctx context.Context, val []byte) error {
	name := val[:min(len(val), unix.IFNAMSIZ-1)]
	if i := bytes.IndexByte(name, 0); i >= 0 {
		name = name[:i]
	}
	if len(name) == 0 {
		return c.bindTo(ctx, 0)
	}
	nic := c.ns.stack.NICByName(string(name))
	if nic == nil {
		return unix.ENODEV
	}
	return c.bindTo(ctx, nic.ID())
}

// bindTo ties the socket to an interface, or to none. Only who has CAP_NET_RAW may change it
// afterwards.
func (c *Core) bindTo(ctx context.Context, id tcpip.NICID) error {
	o := c.ep.Options()
	if o.Device.Load() != 0 && !c.Capable(ctx, unix.CAP_NET_RAW) {
		return unix.EPERM
	}
	if d, ok := c.ep.(interface{ SetDevice(tcpip.NICID) error }); ok {
		return d.SetDevice(id)
	}
	if id != 0 && c.ns.stack.NIC(id) == nil {
		return unix.ENODEV
	}
	o.Device.Store(int32(id))
	return nil
}

// memory is implemented by Contexts with an application's memory: tasks.
type memory interface {
	CopyInBytes(addr uintptr, b []byte) error
}

// sizeofFprog is the size of struct sock_fprog.
const sizeofFprog = 16

func (c *Core) attachFilter(ctx context.Context, val []byte) error {
	mem, ok := ctx.(memory)
	if len(val) != sizeofFprog || !ok {
		return unix.EINVAL
	}
	n := int(binary.NativeEndian.Uint16(val))
	addr := binary.NativeEndian.Uint64(val[8:])
	if c.extra.lockFilter.Load() {
		return unix.EPERM
	}
	if n == 0 || n > bpf.MaxLength || addr == 0 {
		return unix.EINVAL
	}
	raw := make([]byte, n*bpf.SizeofInstruction)
	if err := mem.CopyInBytes(uintptr(addr), raw); err != nil {
		return err
	}
	insns := make([]bpf.Instruction, n)
	for i := range insns {
		b := raw[i*bpf.SizeofInstruction:]
		insns[i] = bpf.Instruction{
			OpCode: binary.NativeEndian.Uint16(b), JumpIfTrue: b[2], JumpIfFalse: b[3], K: binary.NativeEndian.Uint32(b[4:]),
		}
	}
	p, err := bpf.Compile(insns)
	if err != nil {
		return unix.EINVAL
	}
	c.ep.Options().Filter.Store(&p)
	return nil
}

// getFilter is SO_GET_FILTER. Its length counts instructions; the system call makes buf as long
// as that takes, and translates the result (see socket.FilterLength).
func (c *Core) getFilter(_ context.Context, buf []byte) (int, error) {
	p := c.ep.Options().Filter.Load()
	if p == nil {
		return 0, nil
	}
	n := p.Length() * bpf.SizeofInstruction
	switch {
	case len(buf) == 0:
		return n, unix.ERANGE
	case len(buf) < n:
		return 0, unix.EINVAL
	}
	for i, in := range p.Instructions() {
		b := buf[i*bpf.SizeofInstruction:]
		binary.NativeEndian.PutUint16(b, in.OpCode)
		b[2], b[3] = in.JumpIfTrue, in.JumpIfFalse
		binary.NativeEndian.PutUint32(b[4:], in.K)
	}
	return n, nil
}

func (c *Core) getPeerName(_ context.Context, buf []byte) (int, error) {
	a, err := c.ep.RemoteAddress()
	if err != nil {
		return 0, unix.ENOTCONN
	}
	var to socket.Addr
	switch c.Family() {
	case unix.AF_INET:
		put4(&to, a)
	case unix.AF_INET6:
		put6(&to, a)
	default:
		return 0, unix.ENOTCONN
	}
	if to.Len() < len(buf) {
		return 0, unix.EINVAL
	}
	return copy(buf, to.Bytes()), nil
}

// stampOption is one of the four that want the time of arrival; they exclude each other.
func stampOption(name int, label string) socketOption {
	return socketInt(name, label,
		func(c *Core) int { return truth(int(c.extra.stamp.Load()) == name) },
		func(c *Core, _ context.Context, v int) error {
			if v != 0 {
				c.extra.stamp.Store(int32(name))
			} else {
				c.extra.stamp.Store(0)
			}
			c.stampsChanged()
			return nil
		}).WithNote("of datagrams; TCP tells no times")
}

// softwareStamps is what of SO_TIMESTAMPING makes packets be stamped.
const softwareStamps = unix.SOF_TIMESTAMPING_RX_SOFTWARE

// stampsChanged tells the stack whether the socket wants the time of arrival.
func (c *Core) stampsChanged() {
	on := c.extra.stamp.Load() != 0 || c.extra.timestamping.Load()&softwareStamps != 0
	c.ep.Options().Timestamps.Store(on)
}

func stampingOption(name int, label string) socketOption {
	const known = 1<<19 - 1
	return socketOption{
		Level: unix.SOL_SOCKET, Name: name, Label: label, Note: "of received datagrams, in software",
		Get: func(c *Core, _ context.Context, buf []byte) (int, error) {
			var v [8]byte // struct so_timestamping: flags, bind_phc
			binary.NativeEndian.PutUint32(v[:], c.extra.timestamping.Load())
			return copy(buf, v[:]), nil
		},
		Set: func(c *Core, _ context.Context, val []byte) error {
			v, err := socket.GetInt(val)
			if err != nil {
				return err
			}
			if v&^known != 0 {
				return unix.EINVAL
			}
			c.extra.timestamping.Store(uint32(v))
			c.stampsChanged()
			return nil
		},
	}
}

func (c *Core) getPacing(_ context.Context, buf []byte) (int, error) {
	rate := c.extra.pacing.Load() - 1 // 0 is not set: all ones
	if len(buf) >= 8 {
		binary.NativeEndian.PutUint64(buf, rate)
		return 8, nil
	}
	return socket.PutInt(buf, int(int32(uint32(min(rate, math.MaxUint32)))))
}

func (c *Core) setPacing(_ context.Context, val []byte) error {
	rate := uint64(binary.NativeEndian.Uint32(val))
	if rate == math.MaxUint32 {
		rate = math.MaxUint64
	}
	if len(val) == 8 {
		rate = binary.NativeEndian.Uint64(val)
	}
	c.extra.pacing.Store(rate + 1)
	return nil
}

func (c *Core) getMemInfo(_ context.Context, buf []byte) (int, error) {
	o := c.ep.Options()
	var b [9 * 4]byte // SK_MEMINFO_*
	for i, v := range [...]int64{int64(c.ep.ReceiveQueued()), o.ReceiveBuffer.Load(), int64(c.ep.SendQueued()), o.SendBuffer.Load()} {
		binary.NativeEndian.PutUint32(b[4*i:], uint32(v))
	}
	return copy(buf, b[:]), nil
}
