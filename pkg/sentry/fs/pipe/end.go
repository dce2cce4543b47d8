package pipe

import (
	"encoding/binary"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// End is an open file of a pipe.
type End struct {
	vfs.FileDefaults
	pipe     *Pipe
	readable bool
	writable bool
	direct   atomic.Bool // O_DIRECT: writes are packets
	// seenWriters is Pipe.writerOpens when a FIFO was opened for reading without a
	// writer: until one comes there is no POLLHUP.
	seenWriters uint64
}

// New makes a pipe and its two ends. flags may have O_DIRECT.
func New(l *Limits, creds *auth.Credentials, flags uint32) (r, w *End) {
	p := newPipe(l, creds.RealUID, false)
	p.readers, p.writers, p.readerOpens, p.writerOpens = 1, 1, 1, 1
	r = &End{pipe: p, readable: true}
	w = &End{pipe: p, writable: true}
	w.direct.Store(flags&unix.O_DIRECT != 0)
	return r, w
}

// NewFiles is pipe2(2): the open file descriptions of a new pipe's two ends. flags may have
// O_NONBLOCK and O_DIRECT.
func (l *Limits) NewFiles(ctx context.Context, flags uint32) (r, w *vfs.FileDescription) {
	re, we := New(l, ctx.Credentials(), flags)
	inode := vfs.NewAnonInode(ctx, "pipe")
	inode.SwapSpecial(nil, re.pipe)
	inode.IncRef()
	flags &= unix.O_NONBLOCK | unix.O_DIRECT
	r = vfs.NewAnonFileAt("pipe", inode, re, unix.O_RDONLY|flags)
	w = vfs.NewAnonFileAt("pipe", inode, we, unix.O_WRONLY|flags)
	return r, w
}

// Pipe is the buffer behind the end; splice(2) and fcntl(2) need it.
func (e *End) Pipe() *Pipe { return e.pipe }

// Readable and Writable say how the end was opened.
func (e *End) Readable() bool { return e.readable }

// Writable says whether the end can write.
func (e *End) Writable() bool { return e.writable }

// Release implements vfs.File.
func (e *End) Release(context.Context) {
	p := e.pipe
	p.mu.Lock()
	if e.readable {
		p.readers--
	}
	if e.writable {
		p.writers--
	}
	var events waiter.EventMask
	if p.readers == 0 {
		events |= waiter.EventErr | waiter.EventOut | waiter.EventWrNorm
	}
	if p.writers == 0 {
		events |= waiter.EventHUp | waiter.EventIn | waiter.EventRdNorm
	}
	if p.readers == 0 && p.writers == 0 {
		p.reset()
		events = 0
	}
	p.mu.Unlock()
	if events != 0 {
		p.Notify(events)
	}
}

// Seekable implements vfs.File.
func (e *End) Seekable() bool { return false }

// Read implements vfs.File.
func (e *End) Read(_ context.Context, dst usermem.Sequence, _ int64) (int, error) {
	if !e.readable {
		return 0, unix.EBADF
	}
	return e.pipe.read(dst)
}

// Write implements vfs.File.
func (e *End) Write(_ context.Context, src usermem.Sequence, _ int64, _ bool) (int, int64, error) {
	if !e.writable {
		return 0, 0, unix.EBADF
	}
	n, err := e.pipe.write(src, e.direct.Load())
	return n, 0, err
}

// Readiness implements waiter.Waitable.
func (e *End) Readiness(mask waiter.EventMask) waiter.EventMask {
	p := e.pipe
	var r waiter.EventMask
	p.mu.Lock()
	if e.readable {
		if !p.empty() {
			r |= waiter.EventIn | waiter.EventRdNorm
		}
		if p.writers == 0 && e.seenWriters != p.writerOpens {
			r |= waiter.EventHUp
		}
	}
	if e.writable {
		if p.free() > 0 {
			r |= waiter.EventOut | waiter.EventWrNorm
		}
		if p.readers == 0 {
			r |= waiter.EventErr
		}
	}
	p.mu.Unlock()
	return r & mask
}

// EventRegister implements waiter.Waitable.
func (e *End) EventRegister(w *waiter.Entry) error { return e.pipe.EventRegister(w) }

// EventUnregister implements waiter.Waitable.
func (e *End) EventUnregister(w *waiter.Entry) { e.pipe.EventUnregister(w) }

// Ioctl implements vfs.File.
func (e *End) Ioctl(_ context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	if request != unix.TIOCINQ { // FIONREAD
		return 0, unix.ENOTTY
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(e.pipe.Len()))
	_, err := io.CopyOut(uintptr(arg), b[:])
	return 0, err
}

// FlagsChanged implements vfs.File.
func (e *End) FlagsChanged(flags uint32) error {
	e.direct.Store(flags&unix.O_DIRECT != 0)
	return nil
}

// PipeSize is fcntl(F_GETPIPE_SZ).
func (e *End) PipeSize() int { return e.pipe.Size() }

// SetPipeSize is fcntl(F_SETPIPE_SZ).
func (e *End) SetPipeSize(creds *auth.Credentials, size uint64) (int, error) {
	return e.pipe.Resize(creds, size)
}

// OpenFIFO implements vfs.FIFOOpener: it opens the FIFO, or the anonymous pipe (by way of
// /proc/PID/fd), at an inode. It waits for the other side as fifo(7) says, unless flags has
// O_NONBLOCK; then a writer without a reader gets ENXIO. ERESTARTSYS: a signal came.
func (l *Limits) OpenFIFO(ctx context.Context, inode vfs.Inode, flags uint32) (vfs.File, error) {
	e, err := l.openFIFO(ctx, inode.Base(), flags)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func (l *Limits) openFIFO(ctx context.Context, base *vfs.InodeBase, flags uint32) (*End, error) {
	p, _ := base.Special().(*Pipe)
	if p == nil {
		np := newPipe(l, ctx.Credentials().RealUID, true)
		got, mine := base.SwapSpecial(nil, np)
		if !mine {
			np.reset()
			l.adjust(np.owner, -len(np.ring))
		}
		var ok bool
		if p, ok = got.(*Pipe); !ok {
			return nil, unix.ENXIO
		}
	}
	return p.open(ctx, flags)
}

func (p *Pipe) open(ctx context.Context, flags uint32) (*End, error) {
	e := &End{pipe: p}
	switch flags & unix.O_ACCMODE {
	case unix.O_RDONLY:
		e.readable = true
	case unix.O_WRONLY:
		e.writable = true
	case unix.O_RDWR:
		e.readable, e.writable = true, true
	default:
		return nil, unix.EINVAL
	}
	e.direct.Store(flags&unix.O_DIRECT != 0)

	p.mu.Lock()
	if e.writable && !e.readable && p.readers == 0 && flags&unix.O_NONBLOCK != 0 {
		p.mu.Unlock()
		return nil, unix.ENXIO
	}
	if e.readable {
		p.readers++
		p.readerOpens++
	}
	if e.writable {
		p.writers++
		p.writerOpens++
	}
	seenR, seenW := p.readerOpens, p.writerOpens
	wait := p.fifo && (!e.readable && p.readers == 0 || !e.writable && p.writers == 0)
	if wait && flags&unix.O_NONBLOCK != 0 {
		wait, e.seenWriters = false, p.writerOpens
	}
	p.mu.Unlock()
	p.opens.Notify(waiter.EventIn)
	if !wait {
		return e, nil
	}

	w := waiter.Entry{Mask: waiter.EventIn, Listener: ctx.Waker()}
	p.opens.EventRegister(&w)
	defer p.opens.EventUnregister(&w)
	for {
		p.mu.Lock()
		came := !e.readable && p.readerOpens != seenR || !e.writable && p.writerOpens != seenW
		p.mu.Unlock()
		if came {
			return e, nil
		}
		if err := ctx.Block(); err != nil {
			e.Release(ctx)
			return nil, err
		}
	}
}
