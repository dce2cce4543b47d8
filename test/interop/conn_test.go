package interop

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/tcpip"
	"runsc/pkg/tcpip/transport/tcp"
	"runsc/pkg/waiter"
)

// source is a message that our side sends; sink takes one.
type source struct{ b []byte }

func (s *source) Len() int { return len(s.b) }
func (s *source) Read(b []byte) (int, error) {
	n := copy(b, s.b)
	s.b = s.b[n:]
	return n, nil
}

type sink struct {
	b []byte
	n int
}

func (s *sink) Len() int { return len(s.b) - s.n }
func (s *sink) Write(b []byte) (int, error) {
	n := copy(s.b[s.n:], b)
	s.n += n
	return n, nil
}

// waker is woken by a change of readiness.
type waker chan struct{}

func (w waker) NotifyEvent(waiter.EventMask) {
	select {
	case w <- struct{}{}:
	default:
	}
}

// block calls f until it does not ask to be called again, after each change of readiness.
// errStuck: it took too long.
func block(e waiter.Waitable, mask waiter.EventMask, f func() error) error {
	w := make(waker, 1)
	entry := waiter.Entry{Mask: mask, Listener: w}
	if err := e.EventRegister(&entry); err != nil {
		return err
	}
	defer e.EventUnregister(&entry)
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	for {
		err := f()
		if err != unix.EAGAIN && err != unix.EINPROGRESS && err != unix.EALREADY {
			return err
		}
		select {
		case <-w:
		case <-deadline.C:
			return errStuck
		}
	}
}

// conn is our end of a connection, in the form that the kernel's has in package net.
type conn struct{ *tcp.Endpoint }

// stream is either end.
type stream interface {
	io.ReadWriteCloser
	CloseWrite() error
}

var (
	_ stream = conn{}
	_ stream = (*net.TCPConn)(nil)
)

func (c conn) Write(b []byte) (int, error) {
	total := 0
	for total < len(b) {
		err := block(c, waiter.WritableEvents, func() error {
			n, err := c.Send(&source{b[total:]}, tcpip.SendOptions{})
			total += n
			return err
		})
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

func (c conn) Read(b []byte) (int, error) {
	s := sink{b: b}
	err := block(c, waiter.ReadableEvents, func() error {
		_, err := c.Receive(&s, tcpip.ReceiveOptions{})
		return err
	})
	if err == nil && s.n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return s.n, err
}

func (c conn) CloseWrite() error { return c.Shutdown(tcpip.ShutdownWrite) }

func (c conn) Close() error {
	c.Endpoint.Close()
	return nil
}

// connect connects us to somebody.
func (w *world) connect(to netip.AddrPort) (conn, error) {
	c := conn{tcp.NewEndpoint(w.stack, to.Addr().Is6())}
	err := block(c, waiter.WritableEvents, func() error {
		return c.Connect(tcpip.FullAddress{Addr: to.Addr(), Port: to.Port()})
	})
	if err != nil {
		c.Close()
	}
	return c, err
}

// listen makes a listener of ours. v is 0 for IPv4 and 1 for IPv6.
func (w *world) listen(v int) (*tcp.Endpoint, netip.AddrPort, error) {
	l := tcp.NewEndpoint(w.stack, v == 1)
	err := l.Bind(tcpip.FullAddress{Addr: ours[v]})
	if err == nil {
		err = l.Listen(16)
	}
	return l, netip.AddrPortFrom(ours[v], l.LocalAddress().Port), err
}

func accept(l *tcp.Endpoint) (c conn, err error) {
	err = block(l, waiter.ReadableEvents, func() (err error) {
		c.Endpoint, _, err = l.AcceptEndpoint()
		return err
	})
	return c, err
}

// kernelConnect connects the kernel to somebody.
func (w *world) kernelConnect(to netip.AddrPort) (*net.TCPConn, error) {
	var c net.Conn
	err := w.inside(func() (err error) {
		d := net.Dialer{Timeout: patience, KeepAlive: -1}
		c, err = d.Dial(network("tcp", to.Addr()), to.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn), nil
}

// kernelListen makes a listener in a namespace of the kernel's.
func (w *world) kernelListen(at netip.Addr) (l *net.TCPListener, err error) {
	err = w.inside(func() error {
		c := net.ListenConfig{KeepAlive: -1}
		c.SetMultipathTCP(false)
		x, err := c.Listen(context.Background(), network("tcp", at), netip.AddrPortFrom(at, 0).String())
		if err == nil {
			l = x.(*net.TCPListener)
			l.SetDeadline(time.Now().Add(patience))
		}
		return err
	})
	return l, err
}

func network(name string, a netip.Addr) string {
	if a.Is4() {
		return name + "4"
	}
	return name + "6"
}

// pair makes a connection; v is the version of IP.
func (w *world) pair(v int, weConnect bool) (us conn, them *net.TCPConn, err error) {
	if weConnect {
		l, err := w.kernelListen(theirs[v])
		if err != nil {
			return us, nil, err
		}
		defer l.Close()
		if us, err = w.connect(l.Addr().(*net.TCPAddr).AddrPort()); err != nil {
			return us, nil, fmt.Errorf("our connect: %w", err)
		}
		if them, err = l.AcceptTCP(); err != nil {
			us.Close()
			return us, nil, fmt.Errorf("the kernel's accept: %w", err)
		}
	} else {
		l, at, err := w.listen(v)
		if err != nil {
			return us, nil, err
		}
		defer l.Close()
		if them, err = w.kernelConnect(at); err != nil {
			return us, nil, fmt.Errorf("the kernel's connect: %w", err)
		}
		if us, err = accept(l); err != nil {
			them.Close()
			return us, nil, fmt.Errorf("our accept: %w", err)
		}
	}
	them.SetDeadline(time.Now().Add(patience))
	return us, them, nil
}

// kernelInfo is the kernel's TCP_INFO.
func kernelInfo(c *net.TCPConn) (info *unix.TCPInfo, err error) {
	err = control(c, func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	return info, err
}

// control calls f with the descriptor of a socket of the kernel's.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
