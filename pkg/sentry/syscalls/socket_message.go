package syscalls

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

var messageSyscalls = []kernel.Syscall{
	{Number: unix.SYS_SENDTO, Name: "sendto", Fn: sendto, Args: []strace.Format{strace.FD, strace.WriteBuf, strace.Dec64, strace.SockFlags, strace.SockAddr, strace.Dec}},
	{Number: unix.SYS_RECVFROM, Name: "recvfrom", Fn: recvfrom, Args: []strace.Format{strace.FD, strace.ReadBuf, strace.Dec64, strace.SockFlags, strace.SockAddrOut, strace.Hex}},
	{Number: unix.SYS_SENDMSG, Name: "sendmsg", Fn: sendmsg, Args: []strace.Format{strace.FD, strace.MsgHdrIn, strace.SockFlags}},
	{Number: unix.SYS_RECVMSG, Name: "recvmsg", Fn: recvmsg, Args: []strace.Format{strace.FD, strace.MsgHdrOut, strace.SockFlags}},
	{Number: unix.SYS_SENDMMSG, Name: "sendmmsg", Fn: sendmmsg, Args: []strace.Format{strace.FD, strace.Hex, strace.Dec, strace.SockFlags}},
	{Number: unix.SYS_RECVMMSG, Name: "recvmmsg", Fn: recvmmsg, Args: []strace.Format{strace.FD, strace.Hex, strace.Dec, strace.SockFlags, strace.Timespec}},
}

// sockName is getsockname(2) and getpeername(2).
func sockName(t *kernel.Task, a arch.Args, get func(socket.Socket, context.Context, *socket.Addr) error) (uintptr, error) {
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	var addr socket.Addr
	if err := get(s, socketTask{t}, &addr); err != nil {
		return 0, err
	}
	if a.Pointer(1) == 0 {
		return 0, unix.EFAULT
	}
	return 0, copyOutAddr(t, &addr, a.Pointer(1), a.Pointer(2))
}

// msghdr is struct msghdr.
type msghdr struct {
	Name       uint64
	Namelen    int32
	_          int32
	Iov        uint64
	Iovlen     uint64
	Control    uint64
	Controllen uint64
	Flags      int32
	_          int32
}

// mmsghdr is struct mmsghdr.
type mmsghdr struct {
	Hdr msghdr
	Len uint32
	_   uint32
}

// Offsets of what recvmsg(2) writes back, and of mmsghdr's length.
const (
	offNamelen    = 8
	offControllen = 40
	offFlags      = 48
	offLen        = 56
	sizeofMmsghdr = 64
	// maxIov is UIO_MAXIOV.
	maxIov = 1024
)

// messageBuffer is a message and the address that goes with it.
type messageBuffer struct {
	socket.Message
	addr socket.Addr
}

var messageBuffers = sync.Pool{New: func() any { return new(messageBuffer) }}

func newMessageBuffer(data usermem.Sequence, flags uint32) *messageBuffer {
	m := messageBuffers.Get().(*messageBuffer)
	m.Data, m.Flags = data, flags
	return m
}

func (m *messageBuffer) free() {
	m.Control.Reset()
	m.Message = socket.Message{Control: m.Control}
	m.addr.Set(nil)
	messageBuffers.Put(m)
}

// readSocket is read(2) of a socket, which waits by itself: it knows how much is enough
// (SO_RCVLOWAT), how long to wait (SO_RCVTIMEO) and what ends it.
func readSocket(t *kernel.Task, f *vfs.FileDescription, s socket.Socket, dst usermem.Sequence, nowait bool) (int, error) {
	if dst.Len() == 0 {
		return 0, nil
	}
	m := newMessageBuffer(dst, 0)
	defer m.free()
	if nowait || f.Nonblocking() {
		m.Flags = unix.MSG_DONTWAIT
	}
	n, err := s.RecvMsg(socketTask{t}, &m.Message)
	for _, g := range m.Control.Files {
		g.DecRef(t) // there is nowhere to put them
	}
	return n, err
}

// writeSocket is write(2) likewise.
func writeSocket(t *kernel.Task, f *vfs.FileDescription, s socket.Socket, src usermem.Sequence, nowait bool) (int, error) {
	m := newMessageBuffer(src, 0)
	defer m.free()
	if nowait {
		m.Flags = unix.MSG_DONTWAIT
	}
	n, err := sendMessage(t, s, f, &m.Message)
	return int(n), err
}

// sendMessage sends m and raises SIGPIPE if it must.
func sendMessage(t *kernel.Task, s socket.Socket, desc *vfs.FileDescription, m *socket.Message) (uintptr, error) {
	if desc.Nonblocking() {
		m.Flags |= unix.MSG_DONTWAIT
	}
	n, err := s.SendMsg(socketTask{t}, m)
	for _, f := range m.Control.Files {
		f.DecRef(t) // it stayed here
	}
	if err == unix.EPIPE && m.Flags&unix.MSG_NOSIGNAL == 0 {
		sendSIGPIPE(t, desc)
	}
	return uintptr(n), err
}

func sendto(t *kernel.Task, a arch.Args) (uintptr, error) {
	data, err := t.IO(a.Pointer(1), uintptr(a.Size(2)))
	if err != nil {
		return 0, err
	}
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	m := newMessageBuffer(data, a.Uint(3))
	defer m.free()
	if p := a.Pointer(4); p != 0 {
		m.To = &m.addr
		if err := copyInAddr(t, p, a.Int(5), m.To); err != nil {
			return 0, err
		}
	}
	return sendMessage(t, s, desc, &m.Message)
}

func recvfrom(t *kernel.Task, a arch.Args) (uintptr, error) {
	data, err := t.IO(a.Pointer(1), uintptr(a.Size(2)))
	if err != nil {
		return 0, err
	}
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	m := newMessageBuffer(data, a.Uint(3))
	defer m.free()
	if desc.Nonblocking() {
		m.Flags |= unix.MSG_DONTWAIT
	}
	if a.Pointer(4) != 0 {
		m.From = &m.addr
	}
	n, err := s.RecvMsg(socketTask{t}, &m.Message)
	if err != nil {
		return 0, err
	}
	if m.From != nil {
		if err := copyOutAddr(t, m.From, a.Pointer(4), a.Pointer(5)); err != nil {
			return 0, err
		}
	}
	return uintptr(n), nil
}

// vectors reads the iovec array of h. EMSGSIZE: it is too long.
func (h *msghdr) vectors(t *kernel.Task) (usermem.Sequence, error) {
	switch {
	case h.Iovlen > maxIov:
		return usermem.Sequence{}, unix.EMSGSIZE
	case h.Iovlen == 1:
		// The usual case, without a slice.
		var v [2]uint64
		if err := kernel.CopyIn(t, uintptr(h.Iov), &v); err != nil {
			return usermem.Sequence{}, err
		}
		return t.IO(uintptr(v[0]), uintptr(v[1]))
	}
	return t.IOVec(uintptr(h.Iov), int(h.Iovlen))
}

func sendmsg(t *kernel.Task, a arch.Args) (uintptr, error) {
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	var h msghdr
	if err := kernel.CopyIn(t, a.Pointer(1), &h); err != nil {
		return 0, err
	}
	return sendHeader(t, s, desc, &h, a.Uint(2))
}

func sendHeader(t *kernel.Task, s socket.Socket, desc *vfs.FileDescription, h *msghdr, flags uint32) (uintptr, error) {
	data, err := h.vectors(t)
	if err != nil {
		return 0, err
	}
	m := newMessageBuffer(data, flags)
	defer m.free()
	if h.Name != 0 && h.Namelen != 0 {
		m.To = &m.addr
		// Longer addresses are cut off, as in Linux's copy_msghdr_from_user.
		if h.Namelen < 0 {
			return 0, unix.EINVAL
		}
		if err := copyInAddr(t, uintptr(h.Name), min(h.Namelen, socket.MaxAddr), m.To); err != nil {
			return 0, err
		}
	}
	if h.Control != 0 && h.Controllen > 0 {
		if h.Controllen > socket.MaxControl {
			return 0, unix.ENOBUFS
		}
		b := make([]byte, h.Controllen)
		if err := t.CopyInBytes(uintptr(h.Control), b); err != nil {
			return 0, err
		}
		if err := fillControl(t, s, b, &m.Control); err != nil {
			return 0, err
		}
	}
	return sendMessage(t, s, desc, &m.Message)
}

// fillControl turns an application's control data into what sockets understand.
func fillControl(t *kernel.Task, s socket.Socket, b []byte, c *socket.Control) error {
	in, err := socket.ParseControl(b)
	if err != nil {
		return err
	}
	if s.Family() != unix.AF_UNIX {
		in.FDs = nil // other families ignore SCM_RIGHTS
	} else {
		for _, r := range in.Raw {
			if r.Level == unix.SOL_SOCKET {
				return unix.EINVAL
			}
		}
	}
	c.Raw = in.Raw
	if in.HasCreds {
		if c.Creds, err = kernelCreds(t, in.Creds); err != nil {
			return err
		}
		c.HasCreds = true
	}
	for _, fd := range in.FDs {
		f := t.FDTable().Get(fd)
		if f == nil {
			for _, g := range c.Files {
				g.DecRef(t)
			}
			c.Files = nil
			return unix.EBADF
		}
		c.Files = append(c.Files, f)
	}
	return nil
}

// kernelCreds checks that t may call itself u (unix(7), SCM_CREDENTIALS) and translates it.
func kernelCreds(t *kernel.Task, u socket.Ucred) (socket.Ucred, error) {
	c := t.Credentials()
	k := socket.Ucred{PID: t.RootTGID(), UID: uint32(c.UserNS.KUID(u.UID)), GID: uint32(c.UserNS.KGID(u.GID))}
	if k.UID == auth.NoID || k.GID == auth.NoID {
		return k, unix.EINVAL
	}
	if u.PID != t.PID() {
		if !c.HasCapability(unix.CAP_SYS_ADMIN) {
			return k, unix.EPERM
		}
		tg := t.PIDNamespace().ThreadGroup(u.PID)
		if tg == nil {
			return k, unix.ESRCH
		}
		k.PID = tg.Leader().RootTGID()
	}
	uid, gid := auth.KUID(k.UID), auth.KGID(k.GID)
	if uid != c.RealUID && uid != c.EffectiveUID && uid != c.SavedUID && !c.HasCapability(unix.CAP_SETUID) {
		return k, unix.EPERM
	}
	if gid != c.RealGID && gid != c.EffectiveGID && gid != c.SavedGID && !c.HasCapability(unix.CAP_SETGID) {
		return k, unix.EPERM
	}
	return k, nil
}

func recvmsg(t *kernel.Task, a arch.Args) (uintptr, error) {
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	var h msghdr
	if err := kernel.CopyIn(t, a.Pointer(1), &h); err != nil {
		return 0, err
	}
	return recvHeader(t, s, desc, &h, a.Pointer(1), a.Uint(2))
}

// recvHeader receives by h, a copy of the header at addr.
func recvHeader(t *kernel.Task, s socket.Socket, desc *vfs.FileDescription, h *msghdr, addr uintptr, flags uint32) (uintptr, error) {
	data, err := h.vectors(t)
	if err != nil {
		return 0, err
	}
	if h.Namelen < 0 {
		return 0, unix.EINVAL
	}
	limit := int(min(h.Controllen, socket.MaxControl))
	if h.Control == 0 {
		limit = 0
	}
	m := newMessageBuffer(data, flags&^unix.MSG_CMSG_CLOEXEC)
	defer m.free()
	m.WantControl = limit > 0
	if desc.Nonblocking() {
		m.Flags |= unix.MSG_DONTWAIT
	}
	if h.Name != 0 {
		m.From = &m.addr
	}
	n, err := s.RecvMsg(socketTask{t}, &m.Message)
	if err != nil {
		return 0, err
	}
	control, outFlags := receivedControl(t, &m.Message, limit, flags&unix.MSG_CMSG_CLOEXEC != 0)
	outFlags |= m.OutFlags | flags&unix.MSG_CMSG_CLOEXEC
	if m.From != nil {
		if l := min(m.addr.Len(), int(h.Namelen)); l > 0 {
			if err := t.CopyOutBytes(uintptr(h.Name), m.addr.Bytes()[:l]); err != nil {
				return 0, err
			}
		}
		namelen := int32(m.addr.Len())
		if err := kernel.CopyOut(t, addr+offNamelen, &namelen); err != nil {
			return 0, err
		}
	}
	if len(control) > 0 {
		if err := t.CopyOutBytes(uintptr(h.Control), control); err != nil {
			return 0, err
		}
	}
	controllen := uint64(len(control))
	if err := kernel.CopyOut(t, addr+offControllen, &controllen); err != nil {
		return 0, err
	}
	return uintptr(n), kernel.CopyOut(t, addr+offFlags, &outFlags)
}

// receivedControl encodes the ancillary data of a received message and gives its files
// numbers. What has no room is dropped, with MSG_CTRUNC.
func receivedControl(t *kernel.Task, m *socket.Message, limit int, cloexec bool) ([]byte, uint32) {
	c := &m.Control
	if c.HasTimestamp == 0 && !c.HasCreds && c.Files == nil && len(c.Raw) == 0 {
		return nil, 0
	}
	out := socket.NewControlOut(nil, limit)
	if c.HasTimestamp != 0 {
		out.AddTimestamp(c.HasTimestamp, c.Timestamp)
	}
	for _, r := range c.Raw {
		out.Add(r.Level, r.Type, r.Data)
	}
	if c.HasCreds {
		out.AddCreds(c.Creds)
	}
	if len(c.Files) > 0 {
		room := out.RoomForRights()
		var fds []int32
		for _, f := range c.Files {
			if len(fds) < room {
				fd, err := t.FDTable().New(0, f, cloexec, maxFDs(t))
				if err == nil {
					fds = append(fds, fd)
				} else {
					room = 0
				}
			}
			f.DecRef(t)
		}
		if len(fds) < len(c.Files) {
			out.SetTruncated()
		}
		if len(fds) > 0 {
			out.AddRights(fds)
		}
		c.Files = nil
	}
	b, truncated := out.Result()
	if truncated {
		return b, unix.MSG_CTRUNC
	}
	return b, 0
}

func sendmmsg(t *kernel.Task, a arch.Args) (uintptr, error) {
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	count := min(a.Uint(2), maxIov)
	for i := range uintptr(count) {
		addr := a.Pointer(1) + i*sizeofMmsghdr
		var h mmsghdr
		n, err := uintptr(0), kernel.CopyIn(t, addr, &h)
		if err == nil {
			n, err = sendHeader(t, s, desc, &h.Hdr, a.Uint(3))
		}
		if err == nil {
			l := uint32(n)
			err = kernel.CopyOut(t, addr+offLen, &l)
		}
		if err != nil {
			if i > 0 {
				return i, nil
			}
			return 0, err
		}
	}
	return uintptr(count), nil
}

func recvmmsg(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Uint(3)
	deadline := noDeadline
	if p := a.Pointer(4); p != 0 {
		d, err := copyInDuration(t, p)
		if err != nil {
			return 0, err
		}
		deadline = addDuration(t.Monotonic(), d)
	}
	s, desc, err := socketAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	count := min(a.Uint(2), maxIov)
	done := uintptr(0)
	for ; done < uintptr(count); done++ {
		addr := a.Pointer(1) + done*sizeofMmsghdr
		var h mmsghdr
		n, err := uintptr(0), kernel.CopyIn(t, addr, &h)
		if err == nil {
			n, err = recvHeader(t, s, desc, &h.Hdr, addr, flags&^unix.MSG_WAITFORONE)
		}
		if err == nil {
			l := uint32(n)
			err = kernel.CopyOut(t, addr+offLen, &l)
		}
		if err != nil {
			if done > 0 {
				break
			}
			return 0, err
		}
		if flags&unix.MSG_WAITFORONE != 0 {
			flags |= unix.MSG_DONTWAIT
		}
		// The timeout is looked at only behind a message (recvmmsg(2), BUGS).
		if deadline != noDeadline && t.Monotonic() >= deadline {
			done++
			break
		}
	}
	if p := a.Pointer(4); p != 0 {
		ts := unix.NsecToTimespec(max(deadline-t.Monotonic(), 0))
		if err := kernel.CopyOut(t, p, &ts); err != nil {
			return 0, err
		}
	}
	return done, nil
}
