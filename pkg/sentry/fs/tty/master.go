package tty

import (
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// Owner is the filesystem that a pseudoterminal belongs to.
type Owner interface {
	// MasterClosed says that the pair is gone: its name can be used again.
	MasterClosed(t *Terminal)
	// OpenPeer opens the replica of t and returns a descriptor of the caller (TIOCGPTPEER).
	OpenPeer(ctx context.Context, t *Terminal, flags uint32) (uint64, error)
}

// Master is the open file of /dev/ptmx: the other side of a pseudoterminal.
type Master struct {
	vfs.FileDefaults
	queue waiter.Queue
	t     *Terminal
	owner Owner

	// locked is TIOCSPTLCK: the replica cannot be opened yet.
	locked atomic.Bool
}

// NewPair makes a pseudoterminal: the master's file, and the terminal. Its replica is locked
// until TIOCSPTLCK (unlockpt(3)) says otherwise.
func NewPair(jobs Jobs, owner Owner, index int) *Master {
	m := &Master{owner: owner, t: newTerminal(jobs, index, replicaNumber(index))}
	m.t.peer = m
	m.locked.Store(true)
	return m
}

// replicaNumber is the device number of /dev/pts/N.
func replicaNumber(index int) uint64 {
	return unix.Mkdev(136+uint32(index)>>8, uint32(index)&0xff)
}

// Terminal is the replica's side.
func (m *Master) Terminal() *Terminal { return m.t }

// OpenReplica is open(2) of /dev/pts/N.
func (m *Master) OpenReplica(ctx context.Context, flags uint32) (*Replica, error) {
	if m.locked.Load() {
		return nil, unix.EIO
	}
	return m.t.Open(ctx, flags)
}

func (m *Master) notify(mask waiter.EventMask) {
	if mask&waiter.EventIn != 0 {
		mask |= waiter.EventRdNorm
	}
	if mask&waiter.EventOut != 0 {
		mask |= waiter.EventWrNorm
	}
	m.queue.Notify(mask)
}

func (m *Master) size() (WindowSize, bool) { return WindowSize{}, false }
func (m *Master) setSize(WindowSize) bool  { return false }

// Seekable implements vfs.File.
func (m *Master) Seekable() bool { return false }

// Release implements vfs.File: the terminal hangs up.
func (m *Master) Release(context.Context) {
	m.owner.MasterClosed(m.t)
	m.t.hangUp(true)
}

// Read implements vfs.File. EIO: nobody has the replica open any more.
func (m *Master) Read(_ context.Context, dst usermem.Sequence, _ int64) (int, error) {
	if dst.Len() == 0 {
		return 0, nil
	}
	buf := buffers.Get().(*[inputSize]byte)
	defer buffers.Put(buf)
	b := buf[:min(len(buf), dst.Len())]
	t := m.t
	t.mu.Lock()
	n := 0
	switch {
	case t.packet && t.pktBits != 0:
		b[0], t.pktBits = t.pktBits, 0
		n = 1
	case t.out.len() == 0 && t.vacant:
		t.mu.Unlock()
		return 0, unix.EIO
	case t.out.len() == 0:
		t.mu.Unlock()
		return 0, unix.EAGAIN
	case t.packet:
		b[0] = unix.TIOCPKT_DATA
		n = 1 + t.drainLocked(b[1:])
	default:
		n = t.drainLocked(b)
	}
	t.mu.Unlock()
	return dst.CopyOut(b[:n])
}

// Write implements vfs.File.
func (m *Master) Write(_ context.Context, src usermem.Sequence, _ int64, _ bool) (int, int64, error) {
	buf := buffers.Get().(*[inputSize]byte)
	defer buffers.Put(buf)
	done := 0
	for src.Len() > 0 {
		n, err := src.CopyIn(buf[:min(len(buf), src.Len())])
		if n == 0 && err != nil {
			if done > 0 {
				break
			}
			return 0, 0, err
		}
		took := m.t.input(buf[:n])
		done += took
		if took < n {
			break
		}
		src = src.DropFirst(took)
	}
	if done == 0 && src.Len() > 0 {
		return 0, 0, unix.EAGAIN
	}
	return done, 0, nil
}

// Readiness implements waiter.Waitable.
func (m *Master) Readiness(mask waiter.EventMask) waiter.EventMask {
	t := m.t
	t.mu.Lock()
	defer t.mu.Unlock()
	var r waiter.EventMask
	if t.out.len() > 0 {
		r |= waiter.EventIn | waiter.EventRdNorm
	}
	if t.packet && t.pktBits != 0 {
		r |= waiter.EventIn | waiter.EventRdNorm | waiter.EventPri
	}
	if t.vacant {
		r |= waiter.EventHUp
	}
	if t.in.room() > 3 || t.canonical() && t.in.canon == t.in.tail {
		r |= waiter.EventOut | waiter.EventWrNorm
	}
	return r & mask
}

// EventRegister implements waiter.Waitable.
func (m *Master) EventRegister(e *waiter.Entry) error { return m.queue.EventRegister(e) }

// EventUnregister implements waiter.Waitable.
func (m *Master) EventUnregister(e *waiter.Entry) { m.queue.EventUnregister(e) }

// Ioctl implements vfs.File.
func (m *Master) Ioctl(ctx context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	t := m.t
	switch request {
	case unix.TIOCGPTN:
		return 0, copyOut(io, arg, uint32(t.index))
	case unix.TIOCSPTLCK:
		var v int32
		if err := copyIn(io, arg, &v); err != nil {
			return 0, err
		}
		m.locked.Store(v != 0)
		return 0, nil
	case unix.TIOCGPTLCK:
		return 0, copyOut(io, arg, boolWord(m.locked.Load()))
	case unix.TIOCGPTPEER:
		return m.owner.OpenPeer(ctx, t, uint32(arg))
	case unix.TIOCPKT:
		var v int32
		if err := copyIn(io, arg, &v); err != nil {
			return 0, err
		}
		t.mu.Lock()
		if on := v != 0; on != t.packet {
			t.packet, t.pktBits = on, 0
		}
		t.mu.Unlock()
		return 0, nil
	case unix.TIOCGPKT:
		t.mu.Lock()
		on := t.packet
		t.mu.Unlock()
		return 0, copyOut(io, arg, boolWord(on))
	case unix.TIOCSIG:
		switch nr := int32(arg); unix.Signal(nr) {
		case unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP:
			if g := t.Foreground(); g != nil {
				g.Signal(nr)
			}
			return 0, nil
		}
		return 0, unix.EINVAL
	case unix.TIOCSCTTY, unix.TIOCNOTTY:
		return 0, unix.ENOTTY // a master controls nobody
	}
	return t.ioctl(ctx, io, request, arg, caller{master: true, readable: true})
}
