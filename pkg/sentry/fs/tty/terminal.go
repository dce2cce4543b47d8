package tty

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/waiter"
)

// peer is the other side of a terminal.
type peer interface {
	// notify says that output or packet status is there (EventIn, EventPri), that there is
	// room for input (EventOut), or that the replica closed (EventHUp). Terminal.mu is
	// held.
	notify(mask waiter.EventMask)
	// size and setSize are the window size where the peer keeps it; ok is false if the
	// terminal does. No lock is held.
	size() (w WindowSize, ok bool)
	setSize(w WindowSize) bool
}

// Terminal is the replica side of a pseudoterminal, or a console.
type Terminal struct {
	queue waiter.Queue // those who wait for the replica
	jobs  Jobs
	peer  peer
	index int    // N of /dev/pts/N, -1 for a console
	rdev  uint64 // device number, unix.Mkdev form

	mu      sync.Mutex // guards the fields below
	termios Termios
	window  WindowSize
	in      inputRing
	out     byteQueue

	column      int  // of the cursor, as far as we know
	canonColumn int  // where the line being edited began
	erasing     bool // in a run of ECHOPRT's erasures
	literal     bool // VLNEXT came: take the next byte as it is
	stopped     bool // output is stopped, by ^S or TCOOFF
	tcoStopped  bool // … by TCOOFF
	inputHeld   bool // IXOFF's STOP was sent

	session    Session
	foreground Group

	// hangups counts hangups: files opened before the last one are dead.
	hangups    int
	peerClosed bool // the other side is gone for good
	exclusive  bool // TIOCEXCL
	opens      int  // open replica files
	// vacant: the replica was open and is no more; its peer reads EIO.
	vacant bool

	packet  bool // TIOCPKT
	pktBits uint8
}

// newTerminal makes a terminal; the caller sets its peer before anybody sees it.
func newTerminal(jobs Jobs, index int, rdev uint64) *Terminal {
	if jobs == nil {
		jobs = NoJobs{}
	}
	return &Terminal{jobs: jobs, index: index, rdev: rdev, termios: defaultTermios()}
}

// Index is N of /dev/pts/N, -1 for a console.
func (t *Terminal) Index() int { return t.index }

// DeviceNumber is the terminal's number in unix.Mkdev form, for /proc/PID/stat.
func (t *Terminal) DeviceNumber() uint64 { return t.rdev }

// Foreground is the foreground process group, or nil.
func (t *Terminal) Foreground() Group {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.foreground
}

// Disassociated is called when the leader of the session that the terminal controls has
// exited: its foreground group hears SIGHUP (credentials(7)).
func (t *Terminal) Disassociated() {
	t.mu.Lock()
	g, dead := t.foreground, t.peerClosed
	t.session, t.foreground = nil, nil
	t.mu.Unlock()
	if g != nil {
		g.Signal(int32(unix.SIGHUP))
		if dead {
			g.Signal(int32(unix.SIGCONT))
		}
	}
}

// hangUp makes every open replica file dead. The session's leader hears of it.
func (t *Terminal) hangUp(forGood bool) {
	t.mu.Lock()
	t.hangups++
	t.peerClosed = t.peerClosed || forGood
	t.in.clear()
	t.out.clear()
	t.stopped, t.tcoStopped = false, false
	s := t.session
	t.queue.Notify(waiter.AllEvents)
	t.mu.Unlock()
	if s != nil {
		s.SignalLeader(int32(unix.SIGHUP))
		s.SignalLeader(int32(unix.SIGCONT))
	}
}

// check is the test that background processes undergo before they use their controlling
// terminal: signo is SIGTTIN or SIGTTOU (termios(3) does not say it; POSIX 11.1.4 does).
// EIO: the signal cannot stop them. A restart result: it was sent.
func (t *Terminal) check(ctx context.Context, signo int32) error {
	if t.jobs.Controlling(ctx) != t {
		return nil
	}
	g := t.jobs.Group(ctx)
	if fg := t.Foreground(); fg == nil || fg == g || g == nil {
		return nil
	}
	if t.jobs.Blocks(ctx, signo) {
		if signo == int32(unix.SIGTTIN) {
			return unix.EIO
		}
		return nil
	}
	if g.Orphaned() {
		return unix.EIO
	}
	g.Signal(signo)
	return linux.ERESTARTSYS
}

// start and stop are ^Q and ^S. mu is held.
func (t *Terminal) start() {
	if !t.stopped || t.tcoStopped {
		return
	}
	t.stopped = false
	t.status(unix.TIOCPKT_START, unix.TIOCPKT_STOP)
	t.queue.Notify(waiter.EventOut | waiter.EventWrNorm)
	t.peer.notify(waiter.EventIn)
}

func (t *Terminal) stop() {
	if !t.stopped {
		t.stopped = true
		t.status(unix.TIOCPKT_STOP, unix.TIOCPKT_START)
	}
}

// status reports something to a master in packet mode. mu is held.
func (t *Terminal) status(set, clear uint8) {
	if t.packet {
		t.pktBits = t.pktBits&^clear | set
		t.peer.notify(waiter.EventPri | waiter.EventIn)
	}
}

// flushInput and flushOutput throw away what is queued. mu is held.
func (t *Terminal) flushInput() {
	t.in.clear()
	t.erasing, t.literal = false, false
	t.status(unix.TIOCPKT_FLUSHREAD, 0)
	t.madeRoom()
}

func (t *Terminal) flushOutput() {
	t.out.clear()
	t.status(unix.TIOCPKT_FLUSHWRITE, 0)
	t.queue.Notify(waiter.EventOut | waiter.EventWrNorm)
}

// madeRoom tells the peer that it may send more input. mu is held.
func (t *Terminal) madeRoom() {
	if t.inputHeld && t.in.len() < inputSize/4 {
		t.inputHeld = false
		t.out.put(t.termios.Cc[unix.VSTART])
	}
	t.peer.notify(waiter.EventOut | waiter.EventIn)
}

// canonical says whether readers get lines. mu is held.
func (t *Terminal) canonical() bool {
	return t.termios.l(unix.ICANON) && !t.termios.l(unix.EXTPROC)
}

// readable says whether poll(2) reports input. mu is held.
func (t *Terminal) readable() bool {
	if t.canonical() {
		return t.in.canon != t.in.tail
	}
	need := 1
	if c := &t.termios.Cc; c[unix.VTIME] == 0 && c[unix.VMIN] > 0 {
		need = int(c[unix.VMIN])
	}
	return t.in.len() >= need
}

// input takes bytes from the peer and returns how many there was room for.
func (t *Terminal) input(b []byte) int {
	done := 0
	for done < len(b) {
		var s signals
		t.mu.Lock()
		n := t.receive(b[done:], &s)
		if t.termios.i(unix.IXOFF) && !t.inputHeld && t.in.room() < 128 {
			t.inputHeld = true
			t.out.put(t.termios.Cc[unix.VSTOP])
		}
		if t.in.len() > 0 {
			t.queue.Notify(waiter.EventIn | waiter.EventRdNorm)
		}
		if t.out.len() > 0 {
			t.peer.notify(waiter.EventIn)
		}
		t.mu.Unlock()
		s.send()
		done += n
		if n == 0 && s.n == 0 {
			break
		}
	}
	return done
}

// buffers are what reads and writes pass through: no lock may be held while application
// memory is copied.
var buffers = sync.Pool{New: func() any { return new([inputSize]byte) }}

// read is read(2) of the replica. hangups is the count when the file was opened.
func (t *Terminal) read(ctx context.Context, dst usermem.Sequence, nonblock bool, hangups int) (int, error) {
	if dst.Len() == 0 {
		return 0, nil
	}
	if err := t.check(ctx, int32(unix.SIGTTIN)); err != nil {
		return 0, err
	}
	buf := buffers.Get().(*[inputSize]byte)
	defer buffers.Put(buf)
	b := buf[:min(len(buf), dst.Len())]

	t.mu.Lock()
	n, again, wait := t.take(b, nonblock, hangups)
	t.mu.Unlock()
	if wait > 0 {
		var err error
		if n, err = t.readTimed(ctx, b, wait, hangups); err != nil {
			return 0, err
		}
	} else if again {
		return 0, unix.EAGAIN
	}
	if n == 0 {
		return 0, nil
	}
	return dst.CopyOut(b[:n])
}

// take moves input to b. again: there is too little; if wait is not 0, only that long.
func (t *Terminal) take(b []byte, nonblock bool, hangups int) (n int, again bool, wait time.Duration) {
	if t.hangups != hangups {
		return 0, false, 0 // end of file
	}
	if t.canonical() {
		if t.in.canon == t.in.tail {
			return 0, true, 0
		}
		n = t.in.readLine(b)
		t.madeRoom()
		return n, false, 0
	}
	least := int(t.termios.Cc[unix.VMIN])
	tenths := time.Duration(t.termios.Cc[unix.VTIME]) * 100 * time.Millisecond
	have := t.in.len()
	switch {
	case have >= min(max(least, 1), len(b)), have > 0 && (nonblock || least == 0):
	case have == 0 && least == 0 && tenths == 0:
		return 0, false, 0
	case nonblock:
		return 0, true, 0
	case tenths > 0 && (least == 0 || have > 0):
		return 0, true, tenths
	default:
		return 0, true, 0
	}
	n = t.in.readRaw(b)
	t.madeRoom()
	return n, false, 0
}

// readTimed waits as VTIME says: for the first byte with VMIN 0, else for the next one.
func (t *Terminal) readTimed(ctx context.Context, b []byte, wait time.Duration, hangups int) (int, error) {
	e := waiter.Entry{Mask: waiter.ReadableEvents, Listener: ctx.Waker()}
	if err := t.queue.EventRegister(&e); err != nil {
		return 0, err
	}
	defer t.queue.EventUnregister(&e)
	t.mu.Lock()
	have := t.in.len()
	t.mu.Unlock()
	deadline := ctx.Monotonic() + int64(wait)
	for {
		err := ctx.BlockUntil(deadline)
		t.mu.Lock()
		n, again, _ := t.take(b, false, hangups)
		now := t.in.len()
		if again && err != nil && now > 0 && !t.canonical() {
			// Time is up, or a signal came: what there is counts.
			n, again = t.in.readRaw(b), false
			t.madeRoom()
		}
		t.mu.Unlock()
		switch {
		case !again:
			return n, nil
		case err == unix.ETIMEDOUT:
			return 0, nil
		case err != nil:
			return 0, err
		}
		if now > have {
			have, deadline = now, ctx.Monotonic()+int64(wait) // the timer runs from the last byte
		}
	}
}

// write is write(2) of the replica: as much as there is room for. EAGAIN: none.
func (t *Terminal) write(ctx context.Context, src usermem.Sequence, hangups int) (int, error) {
	t.mu.Lock()
	tostop := t.termios.l(unix.TOSTOP)
	dead := t.hangups != hangups || t.peerClosed
	t.mu.Unlock()
	if dead {
		return 0, unix.EIO
	}
	if tostop {
		if err := t.check(ctx, int32(unix.SIGTTOU)); err != nil {
			return 0, err
		}
	}
	buf := buffers.Get().(*[inputSize]byte)
	defer buffers.Put(buf)
	done := 0
	for src.Len() > 0 {
		t.mu.Lock()
		room := t.room()
		dead := t.hangups != hangups
		t.mu.Unlock()
		if dead {
			return done, unix.EIO
		}
		if room == 0 {
			break
		}
		n, err := src.CopyIn(buf[:min(len(buf), src.Len(), room)])
		if n > 0 {
			n = t.output(buf[:n])
			done += n
		}
		if err != nil {
			if done > 0 {
				break
			}
			return 0, err
		}
		if n == 0 {
			break
		}
		src = src.DropFirst(n)
	}
	if done == 0 && src.Len() > 0 {
		return 0, unix.EAGAIN
	}
	return done, nil
}

// output processes as many bytes as there is room for.
func (t *Terminal) output(b []byte) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := 0
	if !t.termios.o(unix.OPOST) {
		n = min(len(b), t.room())
		t.out.put(b[:n]...)
	} else {
		for n < len(b) && t.room() >= 8 {
			// Runs of plain characters go in one piece.
			run := n
			for run < len(b) && b[run] >= ' ' && b[run] < 0x7f {
				run++
			}
			if run > n && !t.termios.o(unix.OLCUC) {
				run = min(run, n+t.room())
				t.out.put(b[n:run]...)
				t.column += run - n
				n = run
				continue
			}
			t.process(b[n])
			n++
		}
	}
	if n > 0 {
		t.peer.notify(waiter.EventIn)
	}
	return n
}

// drain moves up to len(b) bytes of output to b, for the peer.
func (t *Terminal) drain(b []byte) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.drainLocked(b)
}

func (t *Terminal) drainLocked(b []byte) int {
	n := copy(b, t.out.peek())
	t.out.drop(n)
	if n > 0 {
		t.queue.Notify(waiter.EventOut | waiter.EventWrNorm)
	}
	return n
}

// readiness of a replica file that was opened at the count of hangups.
func (t *Terminal) readiness(mask waiter.EventMask, hangups int) waiter.EventMask {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hangups != hangups {
		return mask & (waiter.EventIn | waiter.EventRdNorm | waiter.EventOut | waiter.EventWrNorm |
			waiter.EventHUp | waiter.EventErr)
	}
	var r waiter.EventMask
	if t.readable() {
		r |= waiter.EventIn | waiter.EventRdNorm
	}
	if t.room() >= 8 {
		r |= waiter.EventOut | waiter.EventWrNorm
	}
	return r & mask
}
