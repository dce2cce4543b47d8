package tty

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/waiter"
)

// caller says through which file an ioctl comes.
type caller struct {
	master   bool // the peer's side of a pseudoterminal
	readable bool // opened for reading
}

// copyOut writes a fixed-size value, little endian, to addr.
func copyOut(io usermem.IO, addr uint64, v any) error {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		return unix.EINVAL
	}
	_, err = io.CopyOut(uintptr(addr), b)
	return err
}

func copyIn(io usermem.IO, addr uint64, v any) error {
	b := make([]byte, binary.Size(v))
	if _, err := io.CopyIn(uintptr(addr), b); err != nil {
		return err
	}
	return binary.Read(bytes.NewReader(b), binary.LittleEndian, v)
}

// ioctl carries out the requests that both sides know.
func (t *Terminal) ioctl(ctx context.Context, io usermem.IO, request uint32, arg uint64, c caller) (uint64, error) {
	switch request {
	// Changes that background processes may not make.
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF, unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2,
		unix.TCSETA, unix.TCSETAW, unix.TCSETAF, unix.TCFLSH, unix.TCXONC, unix.TCSBRK, unix.TCSBRKP,
		unix.TIOCSETD:
		if !c.master {
			if err := t.check(ctx, int32(unix.SIGTTOU)); err != nil {
				return 0, err
			}
		}
	}
	switch request {
	case unix.TCGETS, unix.TCGETS2, unix.TCGETA:
		return 0, t.getTermios(io, request, arg)
	case unix.TCSETS, unix.TCSETSW, unix.TCSETSF, unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2,
		unix.TCSETA, unix.TCSETAW, unix.TCSETAF:
		return 0, t.changeTermios(io, request, arg)
	case unix.TCFLSH:
		return 0, t.flush(arg, c)
	case unix.TCXONC:
		return 0, t.flowControl(arg)
	case unix.TCSBRK, unix.TCSBRKP:
		return 0, nil // a pseudoterminal sends no break, and its output has left
	case unix.TIOCGWINSZ:
		return 0, copyOut(io, arg, t.Size())
	case unix.TIOCSWINSZ:
		var w WindowSize
		if err := copyIn(io, arg, &w); err != nil {
			return 0, err
		}
		t.SetSize(w)
		return 0, nil
	case unix.TIOCINQ:
		t.mu.Lock()
		n := t.inputCount()
		if c.master {
			n = t.out.len()
		}
		t.mu.Unlock()
		return 0, copyOut(io, arg, int32(n))
	case unix.TIOCOUTQ:
		return 0, copyOut(io, arg, int32(0)) // what was written has reached the other side
	case unix.TIOCSTI:
		return 0, t.simulateInput(ctx, io, arg)
	case unix.TIOCGPGRP, unix.TIOCSPGRP, unix.TIOCGSID, unix.TIOCSCTTY, unix.TIOCNOTTY:
		return 0, t.jobIoctl(ctx, io, request, arg, c)
	case unix.TIOCEXCL, unix.TIOCNXCL:
		t.mu.Lock()
		t.exclusive = request == unix.TIOCEXCL
		t.mu.Unlock()
		return 0, nil
	case unix.TIOCGEXCL:
		t.mu.Lock()
		e := t.exclusive
		t.mu.Unlock()
		return 0, copyOut(io, arg, boolWord(e))
	case unix.TIOCGETD:
		return 0, copyOut(io, arg, int32(0)) // N_TTY
	case unix.TIOCSETD:
		var d int32
		if err := copyIn(io, arg, &d); err != nil {
			return 0, err
		}
		if d != 0 {
			return 0, unix.EINVAL
		}
		return 0, nil
	case unix.TIOCGDEV:
		return 0, copyOut(io, arg, uint32(unix.Major(t.rdev)<<8|unix.Minor(t.rdev)&0xff|unix.Minor(t.rdev)&^0xff<<12))
	case unix.TIOCVHANGUP:
		if !ctx.Credentials().HasCapability(unix.CAP_SYS_ADMIN) {
			return 0, unix.EPERM
		}
		t.hangUp(false)
		return 0, nil
	case unix.TIOCGSOFTCAR:
		t.mu.Lock()
		v := t.termios.Cflag&unix.CLOCAL != 0
		t.mu.Unlock()
		return 0, copyOut(io, arg, boolWord(v))
	case unix.TIOCSSOFTCAR:
		var v int32
		if err := copyIn(io, arg, &v); err != nil {
			return 0, err
		}
		t.mu.Lock()
		t.termios.Cflag &^= unix.CLOCAL
		if v != 0 {
			t.termios.Cflag |= unix.CLOCAL
		}
		t.mu.Unlock()
		return 0, nil
	}
	return 0, unix.ENOTTY
}

func boolWord(b bool) int32 {
	if b {
		return 1
	}
	return 0
}

// inputCount is FIONREAD of the replica. mu is held.
func (t *Terminal) inputCount() int {
	if !t.canonical() {
		return t.in.len()
	}
	n := 0
	for p := t.in.tail; p < t.in.canon; p++ {
		if t.in.mark[p%inputSize]&markEOF == 0 {
			n++
		}
	}
	return n
}

func (t *Terminal) getTermios(io usermem.IO, request uint32, arg uint64) error {
	t.mu.Lock()
	v := t.termios
	t.mu.Unlock()
	if request == unix.TCGETA {
		b := make([]byte, 0, sizeofTermio)
		for _, f := range []uint32{v.Iflag, v.Oflag, v.Cflag, v.Lflag} {
			b = binary.LittleEndian.AppendUint16(b, uint16(f))
		}
		b = append(append(b, v.Line), v.Cc[:termioCc]...)
		b = append(b, 0)
		_, err := io.CopyOut(uintptr(arg), b)
		return err
	}
	b, _ := binary.Append(nil, binary.LittleEndian, v)
	if request == unix.TCGETS {
		b = b[:sizeofTermios]
	}
	_, err := io.CopyOut(uintptr(arg), b)
	return err
}

func (t *Terminal) changeTermios(io usermem.IO, request uint32, arg uint64) error {
	t.mu.Lock()
	v := t.termios
	t.mu.Unlock()
	size := sizeofTermios
	switch request {
	case unix.TCSETS2, unix.TCSETSW2, unix.TCSETSF2:
		size = sizeofTermios2
	case unix.TCSETA, unix.TCSETAW, unix.TCSETAF:
		size = sizeofTermio
	}
	b := make([]byte, sizeofTermios2)
	if _, err := io.CopyIn(uintptr(arg), b[:size]); err != nil {
		return err
	}
	if size == sizeofTermio {
		for i, f := range []*uint32{&v.Iflag, &v.Oflag, &v.Cflag, &v.Lflag} {
			*f = *f&^0xffff | uint32(binary.LittleEndian.Uint16(b[2*i:]))
		}
		v.Line = b[8]
		copy(v.Cc[:termioCc], b[9:])
	} else {
		old := v
		binary.Read(bytes.NewReader(b), binary.LittleEndian, &v)
		if size == sizeofTermios {
			v.Ispeed, v.Ospeed = old.Ispeed, old.Ospeed
		}
	}
	v.setSpeeds()
	t.mu.Lock()
	defer t.mu.Unlock()
	if request == unix.TCSETSF || request == unix.TCSETSF2 || request == unix.TCSETAF {
		t.flushInput()
	}
	t.setTermios(v)
	return nil
}

// setTermios installs v. mu is held.
func (t *Terminal) setTermios(v Termios) {
	// A pseudoterminal has eight bits and no parity.
	v.Cflag = v.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8 | unix.CREAD
	old := t.termios
	t.termios = v
	if (old.Lflag^v.Lflag)&(unix.ICANON|unix.EXTPROC) != 0 {
		t.modeChanged()
	}
	if old.i(unix.IXON) && !v.i(unix.IXON) {
		t.start()
	}
	if t.packet {
		flow := func(v *Termios) bool {
			return v.i(unix.IXON) && v.Cc[unix.VSTOP] == 0x13 && v.Cc[unix.VSTART] == 0x11
		}
		if now := flow(&v); now != flow(&old) {
			if now {
				t.status(unix.TIOCPKT_DOSTOP, unix.TIOCPKT_NOSTOP)
			} else {
				t.status(unix.TIOCPKT_NOSTOP, unix.TIOCPKT_DOSTOP)
			}
		}
		if (old.Lflag|v.Lflag)&unix.EXTPROC != 0 {
			t.status(unix.TIOCPKT_IOCTL, 0)
		}
	}
	t.queue.Notify(waiter.EventIn | waiter.EventRdNorm | waiter.EventOut | waiter.EventWrNorm)
}

// modeChanged adjusts the input when canonical mode goes on or off: what was read before is
// one line then, or plain bytes. mu is held.
func (t *Terminal) modeChanged() {
	in := &t.in
	for p := in.tail; p < in.head; p++ {
		in.mark[p%inputSize] = 0
	}
	if t.canonical() && in.head > in.tail {
		in.mark[(in.head-1)%inputSize] = markLine
		in.commit()
	} else {
		in.canon = in.tail
	}
	t.erasing, t.literal = false, false
}

func (t *Terminal) flush(arg uint64, c caller) error {
	if arg > unix.TCIOFLUSH {
		return unix.EINVAL
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	in, out := arg != unix.TCOFLUSH, arg != unix.TCIFLUSH
	if c.master {
		in, out = out, in
	}
	if in {
		t.flushInput()
	}
	if out {
		t.flushOutput()
	}
	return nil
}

// flowControl is tcflow(3).
func (t *Terminal) flowControl(arg uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	send := func(c byte) {
		if c != disabled {
			t.out.put(c)
			t.peer.notify(waiter.EventIn)
		}
	}
	switch arg {
	case unix.TCOOFF:
		if !t.tcoStopped {
			t.stop()
			t.tcoStopped = true
		}
	case unix.TCOON:
		if t.tcoStopped {
			t.tcoStopped = false
			t.start()
		}
	case unix.TCIOFF:
		send(t.termios.Cc[unix.VSTOP])
	case unix.TCION:
		send(t.termios.Cc[unix.VSTART])
	default:
		return unix.EINVAL
	}
	return nil
}

// simulateInput is TIOCSTI.
func (t *Terminal) simulateInput(ctx context.Context, io usermem.IO, arg uint64) error {
	if t.jobs.Controlling(ctx) != t && !ctx.Credentials().HasCapability(unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	var b [1]byte
	if _, err := io.CopyIn(uintptr(arg), b[:]); err != nil {
		return err
	}
	t.input(b[:])
	return nil
}

// Size is the window size.
func (t *Terminal) Size() WindowSize {
	if w, ok := t.peer.size(); ok {
		t.mu.Lock()
		t.window = w
		t.mu.Unlock()
		return w
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.window
}

// SetSize changes the window size and tells the foreground group if it is another one.
func (t *Terminal) SetSize(w WindowSize) {
	t.peer.setSize(w)
	t.resized(w)
}

func (t *Terminal) resized(w WindowSize) {
	t.mu.Lock()
	changed := t.window != w
	t.window = w
	g := t.foreground
	t.mu.Unlock()
	if changed && g != nil {
		g.Signal(int32(unix.SIGWINCH))
	}
}

// jobIoctl are the requests about sessions and process groups.
func (t *Terminal) jobIoctl(ctx context.Context, io usermem.IO, request uint32, arg uint64, c caller) error {
	controlling := t.jobs.Controlling(ctx) == t
	switch request {
	case unix.TIOCGPGRP:
		if !controlling && !c.master {
			return unix.ENOTTY
		}
		return copyOut(io, arg, t.jobs.GroupID(ctx, t.Foreground()))
	case unix.TIOCGSID:
		t.mu.Lock()
		s := t.session
		t.mu.Unlock()
		if s == nil || !controlling && !c.master {
			return unix.ENOTTY
		}
		return copyOut(io, arg, t.jobs.SessionID(ctx, s))
	case unix.TIOCSPGRP:
		if err := t.check(ctx, int32(unix.SIGTTOU)); err != nil {
			if err == unix.EIO {
				err = unix.ENOTTY
			}
			return err
		}
		var id int32
		t.mu.Lock()
		s := t.session
		t.mu.Unlock()
		if !controlling || s != t.jobs.Session(ctx) {
			return unix.ENOTTY
		}
		if err := copyIn(io, arg, &id); err != nil {
			return err
		}
		if id < 0 {
			return unix.EINVAL
		}
		g := t.jobs.FindGroup(ctx, id)
		if g == nil {
			return unix.ESRCH
		}
		if g.Session() != s {
			return unix.EPERM
		}
		t.mu.Lock()
		t.foreground = g
		t.mu.Unlock()
		return nil
	case unix.TIOCSCTTY:
		return t.setControlling(ctx, arg, c)
	}
	// TIOCNOTTY
	if !controlling {
		return unix.ENOTTY
	}
	if !t.jobs.IsLeader(ctx) {
		t.jobs.Forget(ctx)
		return nil
	}
	t.mu.Lock()
	g, s := t.foreground, t.session
	t.session, t.foreground = nil, nil
	t.mu.Unlock()
	if g != nil {
		g.Signal(int32(unix.SIGHUP))
		g.Signal(int32(unix.SIGCONT))
	}
	if s != nil {
		t.jobs.SetControlling(s, nil)
	}
	return nil
}

// setControlling is TIOCSCTTY.
func (t *Terminal) setControlling(ctx context.Context, arg uint64, c caller) error {
	leader, s := t.jobs.IsLeader(ctx), t.jobs.Session(ctx)
	t.mu.Lock()
	mine := leader && s == t.session
	t.mu.Unlock()
	if mine {
		return nil
	}
	if !leader || t.jobs.Controlling(ctx) != nil {
		return unix.EPERM
	}
	admin := ctx.Credentials().HasCapability(unix.CAP_SYS_ADMIN)
	if !c.readable && !admin {
		return unix.EPERM
	}
	return t.acquire(ctx, arg == 1 && admin)
}
