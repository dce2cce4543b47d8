package inet

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/transport/tcp"
	"runsc/pkg/waiter"
)

// Core is what a socket on an endpoint has whatever its family: waiting, and the options of
// SOL_SOCKET. Sockets embed it.
type Core struct {
	vfs.FileDefaults
	socket.Base
	ns     *Namespace
	ep     tcpip.Endpoint `state:"nosave"`
	cookie uint64         // SO_COOKIE; set once
	extra  socketExtra
}

// Init is called once, before anything else. The endpoint is the Core's from now on. owner is
// the user who made the socket.
func (c *Core) Init(ns *Namespace, ep tcpip.Endpoint, family, typ, protocol int, owner uint32) {
	c.Base.Init(family, typ, protocol)
	c.ns, c.ep = ns, ep
	ep.Options().Owner.Store(owner)
	if u, ok := ep.(interface{ SetUser(uint32) }); ok {
		u.SetUser(owner)
	}
	ns.add(c)
}

// Endpoint is the socket's end in the stack.
func (c *Core) Endpoint() tcpip.Endpoint { return c.ep }

// Namespace is where the socket was made.
func (c *Core) Namespace() *Namespace { return c.ns }

// Cookie is SO_COOKIE: no other socket of the namespace ever has it.
func (c *Core) Cookie() uint64 { return c.cookie }

// Capable says whether the caller has capability cap over the socket's network.
func (c *Core) Capable(ctx context.Context, cap int) bool { return c.ns.Capable(ctx, cap) }

// Close ends the socket: Release of who embeds it. With SO_LINGER it waits until what was sent
// has been acknowledged, or the time is over.
func (c *Core) Close(ctx context.Context) {
	c.ns.remove(c)
	if e, ok := c.ep.(*tcp.Endpoint); ok {
		linger(ctx, e)
	}
	c.ep.Close()
}

// lingerPoll is how often a close that lingers looks, in nanoseconds: nothing tells of the
// last acknowledgement.
const lingerPoll = 5e6

func linger(ctx context.Context, e *tcp.Endpoint) {
	o := e.Options()
	o.Mu.Lock()
	on, d := o.Linger, o.LingerTime
	o.Mu.Unlock()
	if !on || d == 0 || e.ReceiveQueued() > 0 || e.Shutdown(tcpip.ShutdownWrite) != nil {
		return
	}
	deadline := ctx.Monotonic() + int64(d)
	for !e.Drained() {
		now := ctx.Monotonic()
		if now >= deadline {
			return
		}
		if err := ctx.BlockUntil(min(now+lingerPoll, deadline)); err != nil && err != unix.ETIMEDOUT {
			return
		}
	}
}

// Seekable implements vfs.File.
func (c *Core) Seekable() bool { return false }

// Readiness implements waiter.Waitable.
func (c *Core) Readiness(mask waiter.EventMask) waiter.EventMask { return c.ep.Readiness(mask) }

// EventRegister implements waiter.Waitable.
func (c *Core) EventRegister(e *waiter.Entry) error { return c.ep.EventRegister(e) }

// EventUnregister implements waiter.Waitable.
func (c *Core) EventUnregister(e *waiter.Entry) { c.ep.EventUnregister(e) }

// settle is the result of a call that did something before an error came.
func settle(done int, err error) (int, error) {
	if done > 0 {
		return done, nil
	}
	return 0, err
}

// SendDatagram sends one message as a whole, and waits for room unless MSG_DONTWAIT is among
// flags.
func (c *Core) SendDatagram(ctx context.Context, data usermem.Sequence, flags uint32, opts tcpip.SendOptions) (int, error) {
	src := socket.NewSource(data)
	defer src.Free()
	n, err := c.ep.Send(src, opts)
	if err != unix.EAGAIN || flags&unix.MSG_DONTWAIT != 0 {
		return n, err
	}
	deadline := c.SendDeadline(ctx)
	e := waiter.Entry{Mask: waiter.WritableEvents, Listener: ctx.Waker()}
	if err := c.EventRegister(&e); err != nil {
		return 0, err
	}
	defer c.EventUnregister(&e)
	for {
		n, err := c.ep.Send(src, opts)
		if err != unix.EAGAIN {
			return n, err
		}
		if err := socket.Block(ctx, deadline); err != nil {
			return 0, err
		}
	}
}

// ReceiveDatagram takes one message, and waits for it unless opts.DontWait is set.
func (c *Core) ReceiveDatagram(ctx context.Context, data usermem.Sequence, opts tcpip.ReceiveOptions) (tcpip.ReceiveResult, error) {
	dst := socket.NewSink(data)
	defer dst.Free()
	res, err := c.ep.Receive(dst, opts)
	if err != unix.EAGAIN || opts.DontWait || opts.ErrorQueue {
		return res, err
	}
	deadline := c.RecvDeadline(ctx)
	e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: ctx.Waker()}
	if err := c.EventRegister(&e); err != nil {
		return res, err
	}
	defer c.EventUnregister(&e)
	for {
		res, err := c.ep.Receive(dst, opts)
		if err != unix.EAGAIN {
			return res, err
		}
		if err := socket.Block(ctx, deadline); err != nil {
			return res, err
		}
	}
}

// Received finishes a receive of a datagram: the length to return, and the flags.
func Received(res *tcpip.ReceiveResult, m *socket.Message) int {
	n := res.N
	if res.MessageLen > res.N {
		m.OutFlags |= unix.MSG_TRUNC
		if m.Flags&unix.MSG_TRUNC != 0 {
			n = res.MessageLen
		}
	}
	return n
}
