package syscalls

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/bpf"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/socket/netlink"
	unixsocket "runsc/pkg/sentry/socket/unix"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

var socketSyscalls = []kernel.Syscall{
	{Number: unix.SYS_SOCKET, Name: "socket", Fn: socketCall, Args: []strace.Format{strace.SockFamily, strace.SockType, strace.SockProtocol}},
	{Number: unix.SYS_SOCKETPAIR, Name: "socketpair", Fn: socketpair, Args: []strace.Format{strace.SockFamily, strace.SockType, strace.SockProtocol, strace.PipeFDsOut}},
	{Number: unix.SYS_BIND, Name: "bind", Fn: bind, Args: []strace.Format{strace.FD, strace.SockAddr, strace.Dec}},
	{Number: unix.SYS_CONNECT, Name: "connect", Fn: connect, Args: []strace.Format{strace.FD, strace.SockAddr, strace.Dec}},
	{Number: unix.SYS_LISTEN, Name: "listen", Fn: listen, Args: []strace.Format{strace.FD, strace.Dec}},
	{Number: unix.SYS_ACCEPT, Name: "accept", Fn: accept, Args: []strace.Format{strace.FD, strace.SockAddrOut, strace.Hex}},
	{Number: unix.SYS_ACCEPT4, Name: "accept4", Fn: accept4, Args: []strace.Format{strace.FD, strace.SockAddrOut, strace.Hex, strace.SockType}},
	{Number: unix.SYS_GETSOCKNAME, Name: "getsockname", Fn: getsockname, Args: []strace.Format{strace.FD, strace.SockAddrOut, strace.Hex}},
	{Number: unix.SYS_GETPEERNAME, Name: "getpeername", Fn: getpeername, Args: []strace.Format{strace.FD, strace.SockAddrOut, strace.Hex}},
	{Number: unix.SYS_SHUTDOWN, Name: "shutdown", Fn: shutdown, Args: []strace.Format{strace.FD, strace.Dec}},
	{Number: unix.SYS_GETSOCKOPT, Name: "getsockopt", Fn: getsockopt, Args: []strace.Format{strace.FD, strace.SockLevel, strace.SockOptName, strace.Hex, strace.Hex}},
	{Number: unix.SYS_SETSOCKOPT, Name: "setsockopt", Fn: setsockopt, Args: []strace.Format{strace.FD, strace.SockLevel, strace.SockOptName, strace.SockOptVal, strace.Dec}},
}

// Networking adds the families that need a network to the socket layer of a new network
// namespace. Without one, namespaces have AF_UNIX, and an AF_NETLINK that knows no interface.
type Networking interface {
	// AddFamilies is called once for each namespace, before it is used.
	AddFamilies(s *socket.Stack, ns *kernel.NetNamespace)
}

// netStacks is what makes the socket layers of a kernel's network namespaces.
type netStacks struct {
	mu      sync.Mutex // guards the field below
	network Networking
}

func netStacksOf(k *kernel.Kernel) *netStacks {
	return k.Extra("sockets", func() any { return &netStacks{} }).(*netStacks)
}

// SetNetworking says what the network namespaces of k that are used from now on are made by.
func SetNetworking(k *kernel.Kernel, n Networking) {
	all := netStacksOf(k)
	all.mu.Lock()
	defer all.mu.Unlock()
	all.network = n
}

// NetStack is the socket layer of a network namespace. It is made at first use.
func NetStack(k *kernel.Kernel, ns *kernel.NetNamespace) *socket.Stack {
	return ns.Extra(func() any { return netStacksOf(k).newStack(ns) }).(*socket.Stack)
}

func (all *netStacks) newStack(ns *kernel.NetNamespace) *socket.Stack {
	s := socket.NewStack()
	s.SetOwner(ns.UserNamespace())
	unixsocket.NewNamespace(s)
	all.mu.Lock()
	network := all.network
	all.mu.Unlock()
	if network != nil {
		network.AddFamilies(s, ns)
	}
	if _, err := s.Provider(unix.AF_NETLINK); err != nil {
		netlink.Register(s)
	}
	return s
}

// socketTask is a Task with what sockets may ask of it beside Context. It has the size of a
// pointer, so that making a Context of it does not allocate.
type socketTask struct{ *kernel.Task }

// LocalPID implements unixsocket.PIDMapper.
func (s socketTask) LocalPID(root int32) int32 {
	own := s.PIDNamespace()
	if top := s.Kernel().RootPIDNamespace(); own != top {
		tg := top.ThreadGroup(root)
		if tg == nil {
			return 0
		}
		return own.TGIDOf(tg)
	}
	return root
}

// CreateSocket implements unixsocket.PathResolver.
func (s socketTask) CreateSocket(path string) (vfs.Path, error) {
	op, release, err := pathOp(s.Task, unix.AT_FDCWD, path, false, true)
	if err != nil {
		return vfs.Path{}, err
	}
	defer release()
	return s.Kernel().VFS().MakeNodeAt(s, &op, unix.S_IFSOCK|0o777, 0)
}

// LookupSocket implements unixsocket.PathResolver.
func (s socketTask) LookupSocket(path string) (vfs.Path, error) {
	op, release, err := pathOp(s.Task, unix.AT_FDCWD, path, false, false)
	if err != nil {
		return vfs.Path{}, err
	}
	defer release()
	p, err := s.Kernel().VFS().LookupAt(s, &op)
	if err != nil {
		return vfs.Path{}, err
	}
	if err := vfs.CheckPermission(s.Credentials(), p.Inode(), vfs.MayWrite); err != nil {
		p.DecRef(s)
		return vfs.Path{}, err
	}
	if mode, _, _ := p.Inode().Owner(); mode&unix.S_IFMT != unix.S_IFSOCK {
		p.DecRef(s)
		return vfs.Path{}, unix.ECONNREFUSED
	}
	return p, nil
}

// socketAt returns the socket at fd, with a reference on its description. EBADF, ENOTSOCK.
func socketAt(t *kernel.Task, fd int32) (socket.Socket, *vfs.FileDescription, error) {
	s, desc, err := fileAs[socket.Socket](t, fd)
	if err == unix.EINVAL {
		err = unix.ENOTSOCK
	}
	return s, desc, err
}

// copyInAddr reads a socket address of n bytes.
func copyInAddr(t *kernel.Task, addr uintptr, n int32, to *socket.Addr) error {
	if n < 0 || n > socket.MaxAddr {
		return unix.EINVAL
	}
	var b [socket.MaxAddr]byte
	if n > 0 {
		if err := t.CopyInBytes(addr, b[:n]); err != nil {
			return err
		}
	}
	to.Set(b[:n])
	return nil
}

// copyOutAddr writes as much of a as the int at lenAddr allows to addr, and the real length
// to lenAddr. A null addr wants nothing.
func copyOutAddr(t *kernel.Task, a *socket.Addr, addr, lenAddr uintptr) error {
	if addr == 0 {
		return nil
	}
	var n int32
	if err := kernel.CopyIn(t, lenAddr, &n); err != nil {
		return err
	}
	if n < 0 {
		return unix.EINVAL
	}
	real := int32(a.Len())
	if n = min(n, real); n > 0 {
		if err := t.CopyOutBytes(addr, a.Bytes()[:n]); err != nil {
			return err
		}
	}
	return kernel.CopyOut(t, lenAddr, &real)
}

// socketType splits the type argument into type and flags.
func socketType(v int32) (typ int, flags uint32, err error) {
	flags = uint32(v) &^ 0xf
	if flags&^(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC) != 0 {
		return 0, 0, unix.EINVAL
	}
	return int(v & 0xf), flags, nil
}

func socketCall(t *kernel.Task, a arch.Args) (uintptr, error) {
	typ, flags, err := socketType(a.Int(1))
	if err != nil {
		return 0, err
	}
	ctx := socketTask{t}
	s, err := NetStack(t.Kernel(), t.NetNamespace()).Socket(ctx, int(a.Int(0)), typ, int(a.Int(2)))
	if err != nil {
		return 0, err
	}
	return newDescriptor(t, socket.NewFile(t, s, flags), flags&unix.SOCK_CLOEXEC != 0)
}

func socketpair(t *kernel.Task, a arch.Args) (uintptr, error) {
	typ, flags, err := socketType(a.Int(1))
	if err != nil {
		return 0, err
	}
	s1, s2, err := NetStack(t.Kernel(), t.NetNamespace()).Pair(socketTask{t}, int(a.Int(0)), typ, int(a.Int(2)))
	if err != nil {
		return 0, err
	}
	f1, f2 := socket.NewFile(t, s1, flags), socket.NewFile(t, s2, flags)
	return 0, newDescriptors(t, f1, f2, flags&unix.SOCK_CLOEXEC != 0, a.Pointer(3))
}

func bind(t *kernel.Task, a arch.Args) (uintptr, error) {
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	var addr socket.Addr
	if err := copyInAddr(t, a.Pointer(1), a.Int(2), &addr); err != nil {
		return 0, err
	}
	return 0, s.Bind(socketTask{t}, &addr)
}

func connect(t *kernel.Task, a arch.Args) (uintptr, error) {
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	var addr socket.Addr
	if err := copyInAddr(t, a.Pointer(1), a.Int(2), &addr); err != nil {
		return 0, err
	}
	return 0, s.Connect(socketTask{t}, &addr, desc.Nonblocking())
}

func listen(t *kernel.Task, a arch.Args) (uintptr, error) {
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	return 0, s.Listen(socketTask{t}, int(a.Int(1)))
}

func accept(t *kernel.Task, a arch.Args) (uintptr, error) {
	return doAccept(t, a.Int(0), a.Pointer(1), a.Pointer(2), 0)
}

func accept4(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Uint(3)
	if flags&^(unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC) != 0 {
		return 0, unix.EINVAL
	}
	return doAccept(t, a.Int(0), a.Pointer(1), a.Pointer(2), flags)
}

func doAccept(t *kernel.Task, fd int32, addr, lenAddr uintptr, flags uint32) (uintptr, error) {
	s, desc, err := socketAt(t, fd)
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	var peer *socket.Addr
	if addr != 0 {
		peer = new(socket.Addr)
	}
	n, err := s.Accept(socketTask{t}, peer, desc.Nonblocking())
	if err != nil {
		return 0, err
	}
	f := socket.NewFile(t, n, flags)
	if peer != nil {
		if err := copyOutAddr(t, peer, addr, lenAddr); err != nil {
			f.DecRef(t)
			return 0, err
		}
	}
	return newDescriptor(t, f, flags&unix.SOCK_CLOEXEC != 0)
}

func getsockname(t *kernel.Task, a arch.Args) (uintptr, error) {
	return sockName(t, a, socket.Socket.GetSockName)
}

func getpeername(t *kernel.Task, a arch.Args) (uintptr, error) {
	return sockName(t, a, socket.Socket.GetPeerName)
}

func shutdown(t *kernel.Task, a arch.Args) (uintptr, error) {
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	return 0, s.Shutdown(socketTask{t}, int(a.Int(1)))
}

// maxOption is the longest option value that is copied.
const maxOption = 64 << 10

// asksByValue says whether the value that getsockopt(2) fills in is also what it asks about.
func asksByValue(level, name int) bool {
	switch level {
	case unix.IPPROTO_IP:
		return name == unix.IP_MSFILTER || name == unix.MCAST_MSFILTER
	case unix.IPPROTO_IPV6:
		return name == unix.MCAST_MSFILTER
	case unix.SOL_PACKET:
		return name == unix.PACKET_HDRLEN
	}
	return false
}

func getsockopt(t *kernel.Task, a arch.Args) (uintptr, error) {
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	var n int32
	if err := kernel.CopyIn(t, a.Pointer(4), &n); err != nil {
		return 0, err
	}
	if n < 0 {
		return 0, unix.EINVAL
	}
	level, name := int(a.Int(1)), int(a.Int(2))
	// The length of a filter counts instructions.
	filter := level == unix.SOL_SOCKET && name == unix.SO_GET_FILTER
	if filter {
		n = min(n, bpf.MaxLength) * bpf.SizeofInstruction
	}
	var short [64]byte
	buf := short[:min(int(n), len(short))]
	if int(n) > len(short) {
		buf = make([]byte, min(n, maxOption))
	}
	if asksByValue(level, name) {
		if err := t.CopyInBytes(a.Pointer(3), buf); err != nil {
			return 0, err
		}
	}
	m, err := s.GetSockOpt(socketTask{t}, level, name, buf)
	if err != nil && err != unix.ERANGE {
		return 0, err
	}
	if filter {
		n = int32(m / bpf.SizeofInstruction)
		if err == nil && m > 0 {
			err = t.CopyOutBytes(a.Pointer(3), buf[:m])
		} else {
			err = nil
		}
		if err != nil {
			return 0, err
		}
		return 0, kernel.CopyOut(t, a.Pointer(4), &n)
	}
	if err == nil && m > 0 {
		if err := t.CopyOutBytes(a.Pointer(3), buf[:m]); err != nil {
			return 0, err
		}
	}
	n = int32(m)
	if cerr := kernel.CopyOut(t, a.Pointer(4), &n); cerr != nil {
		return 0, cerr
	}
	return 0, err
}

func setsockopt(t *kernel.Task, a arch.Args) (uintptr, error) {
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	n := a.Int(4)
	if n < 0 || n > maxOption {
		return 0, unix.EINVAL
	}
	var short [64]byte
	val := short[:min(int(n), len(short))]
	if int(n) > len(short) {
		val = make([]byte, n)
	}
	if n > 0 {
		if err := t.CopyInBytes(a.Pointer(3), val); err != nil {
			return 0, err
		}
	}
	return 0, s.SetSockOpt(socketTask{t}, int(a.Int(1)), int(a.Int(2)), val)
}
