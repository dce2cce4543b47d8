package syscalls

import (
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/mqueue"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/socket/netlink"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

var mqueueSyscalls = []kernel.Syscall{
	{Number: unix.SYS_MQ_OPEN, Name: "mq_open", Fn: mqOpen, Args: []strace.Format{strace.Path, strace.OpenFlags, strace.Oct, strace.Hex}},
	{Number: unix.SYS_MQ_UNLINK, Name: "mq_unlink", Fn: mqUnlink, Args: []strace.Format{strace.Path}},
	{Number: unix.SYS_MQ_TIMEDSEND, Name: "mq_timedsend", Fn: mqTimedsend, Args: []strace.Format{strace.FD, strace.WriteBuf, strace.Dec64, strace.Dec, strace.Timespec}},
	{Number: unix.SYS_MQ_TIMEDRECEIVE, Name: "mq_timedreceive", Fn: mqTimedreceive, Args: []strace.Format{strace.FD, strace.ReadBuf, strace.Dec64, strace.Hex, strace.Timespec}},
	{Number: unix.SYS_MQ_NOTIFY, Name: "mq_notify", Fn: mqNotify, Args: []strace.Format{strace.FD, strace.Hex}},
	{Number: unix.SYS_MQ_GETSETATTR, Name: "mq_getsetattr", Fn: mqGetsetattr, Args: []strace.Format{strace.FD, strace.Hex, strace.Hex}},
}

// messageQueues finds the queues of an IPC namespace.
type messageQueues struct {
	mu  sync.Mutex // guards all
	all map[*kernel.IPCNamespace]*namespaceQueues
}

// namespaceQueues are the queues of one namespace and the mount that mq_open(3) uses.
type namespaceQueues struct {
	fs    *mqueue.Filesystem
	mount *vfs.Mount
}

// queuesOf returns the queues of namespace ns.
func queuesOf(ctx context.Context, k *kernel.Kernel, ns *kernel.IPCNamespace) *namespaceQueues {
	m := k.Extra("mqueue", func() any {
		return &messageQueues{all: make(map[*kernel.IPCNamespace]*namespaceQueues)}
	}).(*messageQueues)
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.all[ns]
	if q == nil {
		fs := mqueue.New(ctx, k.VFS())
		q = &namespaceQueues{fs, k.VFS().NewDetachedMount(fs, "mqueue", 0)}
		m.all[ns] = q
	}
	return q
}

// MessageQueues is the mqueue.Finder of a kernel: boot registers the filesystem type
// "mqueue" with it.
type MessageQueues struct{ Kernel *kernel.Kernel }

// QueuesOf implements mqueue.Finder. Mounts that the runtime makes before the first task
// show the root namespace's queues.
func (m *MessageQueues) QueuesOf(ctx context.Context) *mqueue.Filesystem {
	ns := m.Kernel.RootIPCNamespace()
	if t, ok := ctx.(interface{ IPCNamespace() *kernel.IPCNamespace }); ok {
		ns = t.IPCNamespace()
	}
	return queuesOf(ctx, m.Kernel, ns).fs
}

// mqAttr is struct mq_attr.
type mqAttr struct {
	Flags, Maxmsg, Msgsize, Curmsgs int64
	_                               [4]int64
}

// queueCreator is a Task that opens a queue.
type queueCreator struct {
	*kernel.Task
	attr *mqAttr
}

// QueueAttr implements mqueue.Creator.
func (c queueCreator) QueueAttr() (mqueue.Attr, bool) {
	if c.attr == nil {
		return mqueue.Attr{}, false
	}
	return mqueue.Attr{MaxMessages: c.attr.Maxmsg, MessageSize: c.attr.Msgsize}, true
}

// QueueLimit implements mqueue.Creator.
func (c queueCreator) QueueLimit() uint64 {
	return c.ThreadGroup().Limits().Get(linux.RlimitMsgQueue).Cur
}

// queueOp is the place of the queue called name; the C library has removed its slash.
func queueOp(t *kernel.Task, addr uintptr) (*vfs.PathOp, error) {
	name, err := t.CopyInPath(addr)
	if err != nil {
		return nil, err
	}
	switch {
	case name == "":
		return nil, unix.ENOENT
	case strings.Contains(name, "/") || name == "." || name == "..":
		return nil, unix.EACCES
	}
	root := queuesOf(t, t.Kernel(), t.IPCNamespace()).mount.RootPath()
	return &vfs.PathOp{Root: root, Start: root, Pathname: name, NoFollow: true}, nil
}

func mqOpen(t *kernel.Task, a arch.Args) (uintptr, error) {
	op, err := queueOp(t, a.Pointer(0))
	if err != nil {
		return 0, err
	}
	flags := a.Uint(1) & (unix.O_ACCMODE | unix.O_CREAT | unix.O_EXCL | unix.O_NONBLOCK | unix.O_CLOEXEC)
	c := queueCreator{Task: t}
	if p := a.Pointer(3); p != 0 && flags&unix.O_CREAT != 0 {
		c.attr = new(mqAttr)
		if err := kernel.CopyIn(t, p, c.attr); err != nil {
			return 0, err
		}
	}
	f, err := t.Kernel().VFS().OpenAt(c, op, vfs.OpenOpts{Flags: flags, Mode: a.Mode(2) & 0o7777})
	if err != nil {
		return 0, err
	}
	return newDescriptor(t, f, true)
}

func mqUnlink(t *kernel.Task, a arch.Args) (uintptr, error) {
	op, err := queueOp(t, a.Pointer(0))
	if err != nil {
		return 0, err
	}
	return 0, t.Kernel().VFS().UnlinkAt(t, op)
}

// queueAt returns the queue at fd, with a reference on its description.
func queueAt(t *kernel.Task, fd int32) (*mqueue.File, *vfs.FileDescription, error) {
	f, desc, err := fileAs[*mqueue.File](t, fd)
	if err == unix.EINVAL {
		err = unix.EBADF
	}
	return f, desc, err
}

// queueDeadline turns an absolute time on CLOCK_REALTIME into one on CLOCK_MONOTONIC.
func queueDeadline(t *kernel.Task, addr uintptr) (int64, error) {
	if addr == 0 {
		return mqueue.NoDeadline, nil
	}
	at, err := copyInDuration(t, addr)
	if err != nil {
		return 0, err
	}
	return addDuration(t.Monotonic(), at-t.RealTime()), nil
}

func mqTimedsend(t *kernel.Task, a arch.Args) (uintptr, error) {
	deadline, err := queueDeadline(t, a.Pointer(4))
	if err != nil {
		return 0, err
	}
	if a.Uint(3) >= mqueue.MaxPriority {
		return 0, unix.EINVAL
	}
	f, desc, err := queueAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	if !desc.Writable() {
		return 0, unix.EBADF
	}
	attr, _ := f.Attr()
	if uint64(a.Size(2)) > uint64(attr.MessageSize) {
		return 0, unix.EMSGSIZE
	}
	text := make([]byte, a.Size(2))
	if len(text) > 0 {
		if err := t.CopyInBytes(a.Pointer(1), text); err != nil {
			return 0, err
		}
	}
	return 0, f.Send(t, text, a.Uint(3), desc.Nonblocking(), deadline)
}

func mqTimedreceive(t *kernel.Task, a arch.Args) (uintptr, error) {
	deadline, err := queueDeadline(t, a.Pointer(4))
	if err != nil {
		return 0, err
	}
	f, desc, err := queueAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	size := int(min(a.Size(2), 1<<30))
	text, priority, err := f.Receive(t, size, desc.Nonblocking(), deadline)
	if err != nil {
		return 0, err
	}
	if p := a.Pointer(3); p != 0 {
		if err := kernel.CopyOut(t, p, &priority); err != nil {
			return 0, err
		}
	}
	if len(text) > 0 {
		if err := t.CopyOutBytes(a.Pointer(1), text); err != nil {
			return 0, err
		}
	}
	return uintptr(len(text)), nil
}

func mqGetsetattr(t *kernel.Task, a arch.Args) (uintptr, error) {
	var set mqAttr
	if p := a.Pointer(1); p != 0 {
		if err := kernel.CopyIn(t, p, &set); err != nil {
			return 0, err
		}
		if set.Flags&^unix.O_NONBLOCK != 0 {
			return 0, unix.EINVAL
		}
	}
	f, desc, err := queueAt(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer desc.DecRef(t)
	attr, current := f.Attr()
	old := mqAttr{
		Flags:  int64(desc.StatusFlags() & unix.O_NONBLOCK),
		Maxmsg: attr.MaxMessages, Msgsize: attr.MessageSize, Curmsgs: current,
	}
	if a.Pointer(1) != 0 {
		flags := desc.StatusFlags()&^unix.O_NONBLOCK | uint32(set.Flags)
		if err := desc.SetStatusFlags(t, flags); err != nil {
			return 0, err
		}
	}
	if p := a.Pointer(2); p != 0 {
		return 0, kernel.CopyOut(t, p, &old)
	}
	return 0, nil
}

// queueNotifier is a registration of mq_notify(3).
type queueNotifier struct {
	tg     *kernel.ThreadGroup
	pid    int32 // in the sandbox's root namespace
	notify int32
	signo  int32
	value  uint64
	// socket and cookie are SIGEV_THREAD's: the C library's helper thread reads the cookie
	// from a netlink socket.
	socket *vfs.FileDescription
	cookie [notifyCookie]byte
}

const (
	notifyCookie = 32 // NOTIFY_COOKIE_LEN
	// The last byte of the cookie says why it comes.
	notifyWoken   = 1
	notifyRemoved = 2
)

// Status implements mqueue.Notifier.
func (n *queueNotifier) Status() (notify, signo, pid int32) { return n.notify, n.signo, n.pid }

// Notify implements mqueue.Notifier.
func (n *queueNotifier) Notify(ctx context.Context) {
	switch n.notify {
	case sigevSignal:
		info := arch.NewUserSignal(n.signo, arch.SiMesgQ, 0, 0)
		if t, ok := ctx.(*kernel.Task); ok {
			info.SetPID(n.tg.PIDNamespace().TGIDOf(t.ThreadGroup()))
			info.SetUID(int32(n.tg.Leader().UserNamespace().UID(t.Credentials().RealUID)))
		}
		info.SetValue(n.value)
		n.tg.SendSignal(&info)
	case sigevThread:
		n.wakeThread(ctx, notifyWoken)
	}
}

// Released implements mqueue.Notifier.
func (n *queueNotifier) Released(ctx context.Context) {
	if n.notify == sigevThread {
		n.wakeThread(ctx, notifyRemoved)
	}
}

func (n *queueNotifier) wakeThread(ctx context.Context, why byte) {
	n.cookie[notifyCookie-1] = why
	n.socket.File().(*netlink.Socket).Deliver(n.cookie[:])
	n.socket.DecRef(ctx)
}

func mqNotify(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Pointer(1) == 0 {
		f, desc, err := queueAt(t, a.Int(0))
		if err != nil {
			return 0, err
		}
		defer desc.DecRef(t)
		f.RemoveNotifier(t, t.RootTGID())
		return 0, nil
	}
	var ev sigevent
	if err := kernel.CopyIn(t, a.Pointer(1), &ev); err != nil {
		return 0, err
	}
	n := &queueNotifier{tg: t.ThreadGroup(), pid: t.RootTGID(), notify: ev.Notify, signo: ev.Signo, value: ev.Value}
	switch ev.Notify {
	case sigevNone:
	case sigevSignal:
		if ev.Signo < 1 || ev.Signo > kernel.NumSignals {
			return 0, unix.EINVAL
		}
	case sigevThread:
		if err := t.CopyInBytes(uintptr(ev.Value), n.cookie[:]); err != nil {
			return 0, err
		}
		_, desc, err := fileAs[*netlink.Socket](t, ev.Signo)
		if err != nil {
			return 0, err
		}
		n.socket = desc
	default:
		return 0, unix.EINVAL
	}
	f, desc, err := queueAt(t, a.Int(0))
	if err == nil {
		err = f.SetNotifier(n)
		desc.DecRef(t)
	}
	if err != nil && n.socket != nil {
		n.socket.DecRef(t)
	}
	return 0, err
}
