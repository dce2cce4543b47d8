package syscalls

import (
	"math"
	gosync "sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/fs/pipe"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

var spliceSyscalls = []kernel.Syscall{
	{Number: unix.SYS_SENDFILE, Name: "sendfile", Fn: sendfile, Args: []strace.Format{strace.FD, strace.FD, strace.Hex, strace.Dec64}},
	{Number: unix.SYS_SPLICE, Name: "splice", Fn: splice, Args: []strace.Format{strace.FD, strace.Hex, strace.FD, strace.Hex, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_TEE, Name: "tee", Fn: tee, Args: []strace.Format{strace.FD, strace.FD, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_VMSPLICE, Name: "vmsplice", Fn: vmsplice, Args: []strace.Format{strace.FD, strace.WriteIovec, strace.Dec64, strace.Hex}, Note: "pages are copied"},
	{Number: unix.SYS_COPY_FILE_RANGE, Name: "copy_file_range", Fn: copyFileRange, Args: []strace.Format{strace.FD, strace.Hex, strace.FD, strace.Hex, strace.Dec64, strace.Hex}},
}

// copyBuffer is what file-to-file copies go through.
type copyBuffer [128 << 10]byte

var copyBuffers = gosync.Pool{New: func() any { return new(copyBuffer) }}

// The flags of splice(2) and its relatives.
const (
	spliceNonblock = 2
	spliceAll      = 15
)

// waitFor parks until f has one of mask's events.
func waitFor(t *kernel.Task, f *vfs.FileDescription, mask waiter.EventMask) error {
	e := waiter.Entry{Mask: mask, Listener: t.Waker()}
	if err := f.EventRegister(&e); err != nil {
		return err
	}
	defer f.EventUnregister(&e)
	for f.Readiness(mask) == 0 {
		if err := t.Block(); err != nil {
			return err
		}
	}
	return nil
}

// twoFiles returns the files of a call that copies, referenced. EBADF: one is not open for
// its direction.
func twoFiles(t *kernel.Task, in, out int32) (f, g *vfs.FileDescription, err error) {
	if f, err = getFile(t, in); err != nil {
		return nil, nil, err
	}
	if g, err = getFile(t, out); err != nil {
		f.DecRef(t)
		return nil, nil, err
	}
	if !f.Readable() || !g.Writable() {
		f.DecRef(t)
		g.DecRef(t)
		return nil, nil, unix.EBADF
	}
	return f, g, nil
}

// offsetArg reads an optional offset argument. ESPIPE: f has no positions.
func offsetArg(t *kernel.Task, addr uintptr, f *vfs.FileDescription) (int64, error) {
	if addr == 0 {
		return offsetCurrent, nil
	}
	if !f.Seekable() {
		return 0, unix.ESPIPE
	}
	var off int64
	if err := kernel.CopyIn(t, addr, &off); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, unix.EINVAL
	}
	return off, nil
}

// copyRange copies at most n bytes from in at inOff to out at outOff (or where they stand)
// and returns the number of bytes. Reading never moves in past what was written.
func copyRange(t *kernel.Task, in, out *vfs.FileDescription, inOff, outOff, n int64) (int64, error) {
	moveIn := inOff == offsetCurrent
	if moveIn {
		inOff = in.Offset()
	}
	buf := copyBuffers.Get().(*copyBuffer)
	defer copyBuffers.Put(buf)
	done := int64(0)
	var err error
	for done < n {
		b := buf[:min(n-done, int64(len(buf)))]
		var r, w int
		r, err = doRead(t, in, usermem.BytesSequence(b), inOff+done, true)
		if r <= 0 {
			break
		}
		at := int64(offsetCurrent)
		if outOff != offsetCurrent {
			at = outOff + done
		}
		w, err = doWrite(t, out, usermem.BytesSequence(b[:r]), at, writeAsFile, false)
		done += int64(w)
		if err != nil || w < r {
			break
		}
		if t.Interrupted() {
			break // a large copy can be killed
		}
	}
	if moveIn && done > 0 {
		in.Seek(t, inOff+done, unix.SEEK_SET)
	}
	if done > 0 {
		return done, nil
	}
	return 0, err
}

func sendfile(t *kernel.Task, a arch.Args) (uintptr, error) {
	var off int64 = offsetCurrent
	offAddr := a.Pointer(2)
	if offAddr != 0 {
		if err := kernel.CopyIn(t, offAddr, &off); err != nil {
			return 0, err
		}
		if off < 0 {
			return 0, unix.EINVAL
		}
	}
	in, out, err := twoFiles(t, a.Int(1), a.Int(0))
	if err != nil {
		return 0, err
	}
	defer in.DecRef(t)
	defer out.DecRef(t)
	switch {
	case offAddr != 0 && !in.Seekable():
		return 0, unix.ESPIPE
	case !in.Seekable() || in.FileType() == unix.S_IFDIR, out.StatusFlags()&unix.O_APPEND != 0:
		return 0, unix.EINVAL
	case a.Int64(3) < 0:
		return 0, unix.EINVAL
	}
	n, err := copyRange(t, in, out, off, offsetCurrent, min(a.Int64(3), 0x7ffff000))
	if n > 0 && offAddr != 0 {
		off += n
		if err := kernel.CopyOut(t, offAddr, &off); err != nil {
			return 0, err
		}
	}
	return uintptr(n), err
}

func copyFileRange(t *kernel.Task, a arch.Args) (uintptr, error) {
	in, out, err := twoFiles(t, a.Int(0), a.Int(2))
	if err != nil {
		return 0, err
	}
	defer in.DecRef(t)
	defer out.DecRef(t)
	inOff, err := offsetArg(t, a.Pointer(1), in)
	if err != nil {
		return 0, err
	}
	outOff, err := offsetArg(t, a.Pointer(3), out)
	if err != nil {
		return 0, err
	}
	n := a.Int64(4)
	switch {
	case a.Uint(5) != 0:
		return 0, unix.EINVAL
	case in.FileType() == unix.S_IFDIR || out.FileType() == unix.S_IFDIR:
		return 0, unix.EISDIR
	case in.FileType() != unix.S_IFREG || out.FileType() != unix.S_IFREG:
		return 0, unix.EINVAL
	case out.StatusFlags()&unix.O_APPEND != 0:
		return 0, unix.EBADF
	case n < 0:
		return 0, unix.EOVERFLOW
	}
	n = min(n, 0x7ffff000)
	from, to := inOff, outOff
	if from == offsetCurrent {
		from = in.Offset()
	}
	if to == offsetCurrent {
		to = out.Offset()
	}
	if from > math.MaxInt64-n || to > math.MaxInt64-n {
		return 0, unix.EOVERFLOW
	}
	if st, err := in.Stat(t); err == nil {
		n = max(min(n, int64(st.Size)-from), 0)
	}
	if in.Inode() == out.Inode() && from < to+n && to < from+n {
		return 0, unix.EINVAL
	}
	m, err := copyRange(t, in, out, inOff, outOff, n)
	if m > 0 {
		for _, o := range []struct {
			addr uintptr
			off  int64
		}{{a.Pointer(1), from + m}, {a.Pointer(3), to + m}} {
			if o.addr != 0 {
				if err := kernel.CopyOut(t, o.addr, &o.off); err != nil {
					return 0, err
				}
			}
		}
	}
	return uintptr(m), err
}

// pipeOf is the pipe behind f, or nil.
func pipeOf(f *vfs.FileDescription) *pipe.Pipe {
	if e, ok := f.File().(*pipe.End); ok {
		return e.Pipe()
	}
	return nil
}

func splice(t *kernel.Task, a arch.Args) (uintptr, error) {
	n, flags := int(min(a.Size(4), 0x7ffff000)), a.Uint(5)
	if flags&^spliceAll != 0 {
		return 0, unix.EINVAL
	}
	if n == 0 {
		return 0, nil
	}
	in, out, err := twoFiles(t, a.Int(0), a.Int(2))
	if err != nil {
		return 0, err
	}
	defer in.DecRef(t)
	defer out.DecRef(t)
	from, to := pipeOf(in), pipeOf(out)
	if from != nil && a.Pointer(1) != 0 || to != nil && a.Pointer(3) != 0 {
		return 0, unix.ESPIPE
	}
	inOff, err := offsetArg(t, a.Pointer(1), in)
	if err != nil {
		return 0, err
	}
	outOff, err := offsetArg(t, a.Pointer(3), out)
	if err != nil {
		return 0, err
	}
	s := splicer{t: t, in: in, out: out, inOff: inOff, outOff: outOff, nonblock: flags&spliceNonblock != 0}
	var step func(n int) (int, error)
	switch {
	case from != nil && to != nil:
		if from == to {
			return 0, unix.EINVAL
		}
		step = func(n int) (int, error) { return from.Move(to, n) }
	case from != nil:
		if out.StatusFlags()&unix.O_APPEND != 0 {
			return 0, unix.EINVAL
		}
		step = func(n int) (int, error) { return s.fromPipe(from, n) }
	case to != nil:
		if in.FileType() == unix.S_IFDIR {
			return 0, unix.EINVAL
		}
		step = func(n int) (int, error) { return s.toPipe(to, n) }
	default:
		return 0, unix.EINVAL
	}
	done, err := s.run(n, step)
	if done > 0 {
		if inOff != offsetCurrent {
			err = kernel.CopyOut(t, a.Pointer(1), &s.inOff)
		}
		if outOff != offsetCurrent {
			err = kernel.CopyOut(t, a.Pointer(3), &s.outOff)
		}
	}
	return uintptr(done), err
}

// splicer carries out one splice(2).
type splicer struct {
	t             *kernel.Task
	in, out       *vfs.FileDescription
	inOff, outOff int64
	nonblock      bool
}

// run calls step until n bytes are moved or it has nothing more; it waits only for the
// first bytes.
func (s *splicer) run(n int, step func(int) (int, error)) (int, error) {
	done := 0
	for done < n {
		m, err := step(n - done)
		done += m
		if err == unix.EAGAIN && done == 0 && (!s.nonblock || s.socketEmpty()) {
			if err := s.wait(); err != nil {
				return 0, err
			}
			continue
		}
		if err == unix.EPIPE {
			sendSIGPIPE(s.t, s.out)
		}
		if err != nil && done == 0 {
			return 0, err
		}
		if err != nil || m == 0 {
			break
		}
	}
	return done, nil
}

// socketEmpty says whether what is spliced from is a socket that has nothing, which
// SPLICE_F_NONBLOCK is not about: it is about the pipe.
func (s *splicer) socketEmpty() bool {
	_, ok := s.in.File().(socket.Socket)
	return ok && s.in.Readiness(waiter.ReadableEvents) == 0
}

// wait parks until one can read and then write. EAGAIN: a file may not be waited for.
func (s *splicer) wait() error {
	for _, w := range []struct {
		f    *vfs.FileDescription
		mask waiter.EventMask
	}{{s.in, waiter.ReadableEvents}, {s.out, waiter.WritableEvents}} {
		if w.f.Readiness(w.mask) != 0 {
			continue
		}
		if w.f.Nonblocking() {
			return unix.EAGAIN
		}
		if err := waitFor(s.t, w.f, w.mask); err != nil {
			return err
		}
	}
	return nil
}

// maxSplice bounds one step, in bytes.
const maxSplice = 64 << 10

func (s *splicer) fromPipe(p *pipe.Pipe, n int) (int, error) {
	c, err := p.Take(min(n, maxSplice))
	if c == nil || err != nil {
		return 0, err
	}
	m, err := writeOnce(s.t, s.out, c.Sequence(), s.outOff, writeAsFile)
	c.Return(m)
	if s.outOff != offsetCurrent {
		s.outOff += int64(m)
	}
	return m, err
}

func (s *splicer) toPipe(p *pipe.Pipe, n int) (int, error) {
	c, err := p.Reserve(min(n, maxSplice))
	if err != nil {
		return 0, err
	}
	m, err := readOnce(s.t, s.in, c.Sequence(), s.inOff)
	c.Commit(m)
	if s.inOff != offsetCurrent {
		s.inOff += int64(m)
	}
	return m, err
}

func tee(t *kernel.Task, a arch.Args) (uintptr, error) {
	n, flags := int(min(a.Size(2), 0x7ffff000)), a.Uint(3)
	if flags&^spliceAll != 0 {
		return 0, unix.EINVAL
	}
	if n == 0 {
		return 0, nil
	}
	in, out, err := twoFiles(t, a.Int(0), a.Int(1))
	if err != nil {
		return 0, err
	}
	defer in.DecRef(t)
	defer out.DecRef(t)
	from, to := pipeOf(in), pipeOf(out)
	if from == nil || to == nil || from == to {
		return 0, unix.EINVAL
	}
	s := splicer{t: t, in: in, out: out, nonblock: flags&spliceNonblock != 0}
	for {
		m, err := from.Tee(to, n)
		if err != unix.EAGAIN || s.nonblock {
			if err == unix.EPIPE {
				sendSIGPIPE(t, out)
			}
			return uintptr(m), err
		}
		if err := s.wait(); err != nil {
			return 0, err
		}
	}
}

func vmsplice(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Uint(3)
	if flags&^spliceAll != 0 || a.Size(2) > 1024 {
		return 0, unix.EINVAL
	}
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	if pipeOf(f) == nil {
		return 0, unix.EBADF
	}
	seq, err := t.IOVec(a.Pointer(1), int(a.Size(2)))
	if err != nil || seq.Len() == 0 {
		return 0, err
	}
	nowait := flags&spliceNonblock != 0
	var n int
	if f.Writable() {
		n, err = doWrite(t, f, seq, offsetCurrent, writeAsFile, nowait)
	} else {
		n, err = doRead(t, f, seq, offsetCurrent, nowait)
	}
	return uintptr(n), err
}
