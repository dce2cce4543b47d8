package tty

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/fd"
	"runsc/pkg/waiter"
)

// HostTTY is the peer of a container's console: a terminal of the host, in raw mode, that
// carries bytes. One goroutine reads from it and one writes to it; Close ends both.
type HostTTY struct {
	t     *Terminal
	owner Owner  // may be nil
	file  *fd.FD `state:"nosave"`
	wake  *fd.FD `state:"nosave"` // an eventfd that ends the reader's poll

	original unix.Termios `state:"nosave"` // as the host's terminal was

	// room and output hold a token when there may be room for input, or output to write.
	room   chan struct{} `state:"nosave"`
	output chan struct{} `state:"nosave"`
	// closing is closed by Close; then the writer writes what is left and ends.
	closing chan struct{}  `state:"nosave"`
	once    sync.Once      `state:"nosave"`
	readers sync.WaitGroup `state:"nosave"`
	writers sync.WaitGroup `state:"nosave"`
}

// NewHostTTY makes a console out of a descriptor of a host terminal, which it takes over.
// Applications see a terminal with the settings that the host's has now. ENOTTY (wrapped): it
// is none.
//
// owner, if it is not nil, is told when the console is closed.
func NewHostTTY(file *fd.FD, jobs Jobs, owner Owner, index int) (*HostTTY, error) {
	tio, err := unix.IoctlGetTermios(file.Num(), unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("console: get settings: %w", err)
	}
	h := &HostTTY{owner: owner}
	rdev := uint64(unix.Mkdev(5, 1))
	if index >= 0 {
		rdev = replicaNumber(index)
	}
	h.t = newTerminal(jobs, index, rdev)
	h.t.peer = h
	v := &h.t.termios
	v.Iflag, v.Oflag, v.Cflag, v.Lflag = tio.Iflag, tio.Oflag, tio.Cflag, tio.Lflag
	copy(v.Cc[:], tio.Cc[:])
	v.setSpeeds()
	if err := h.Attach(file); err != nil {
		return nil, err
	}
	return h, nil
}

// Attach gives the console a terminal of the host, which it takes over unless it fails:
// NewHostTTY's, or a new one after a restore. Nothing was attached, or Close was called.
func (h *HostTTY) Attach(file *fd.FD) error {
	tio, err := unix.IoctlGetTermios(file.Num(), unix.TCGETS)
	if err != nil {
		return fmt.Errorf("console: get settings: %w", err)
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("console: eventfd: %w", err)
	}
	v := Termios{Iflag: tio.Iflag, Oflag: tio.Oflag, Cflag: tio.Cflag, Lflag: tio.Lflag}
	v.MakeRaw()
	raw := *tio
	raw.Iflag, raw.Oflag, raw.Cflag, raw.Lflag = v.Iflag, v.Oflag, v.Cflag, v.Lflag
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(file.Num(), unix.TCSETS, &raw); err != nil {
		unix.Close(wake)
		return fmt.Errorf("console: set raw mode: %w", err)
	}
	h.file, h.wake, h.original = file, fd.New(wake), *tio
	h.room = make(chan struct{}, 1)
	h.output = make(chan struct{}, 1)
	h.closing = make(chan struct{})
	h.Resized()
	h.readers.Go(h.readLoop)
	h.writers.Go(h.writeLoop)
	return nil
}

// Terminal is the console that applications use.
func (h *HostTTY) Terminal() *Terminal { return h.t }

// closeWait bounds how long Close waits for a host that does not take the last output.
const closeWait = 3 * time.Second

// Close writes the output that is left, restores the host's terminal and lets go of it.
// Applications see a hangup.
func (h *HostTTY) Close() {
	h.once.Do(func() {
		if h.owner != nil {
			h.owner.MasterClosed(h.t)
		}
		close(h.closing)
		var one [8]byte
		binary.NativeEndian.PutUint64(one[:], 1)
		unix.Write(h.wake.Num(), one[:])
		h.readers.Wait()
		written := make(chan struct{})
		go func() {
			h.writers.Wait()
			close(written)
		}()
		select {
		case <-written:
			h.t.hangUp(true)
			unix.IoctlSetTermios(h.file.Num(), unix.TCSETS, &h.original)
			h.file.Close()
			h.wake.Close()
		case <-time.After(closeWait):
			// The writer is stuck in the host and still uses the descriptors.
			h.t.hangUp(true)
			unix.IoctlSetTermios(h.file.Num(), unix.TCSETS, &h.original)
		}
	})
}

// Resized is to be called when the host says that the window size changed (SIGWINCH).
func (h *HostTTY) Resized() {
	if w, ok := h.size(); ok {
		h.t.resized(w)
	}
}

func (h *HostTTY) size() (WindowSize, bool) {
	w, err := unix.IoctlGetWinsize(h.file.Num(), unix.TIOCGWINSZ)
	if err != nil {
		return WindowSize{}, false
	}
	return WindowSize{w.Row, w.Col, w.Xpixel, w.Ypixel}, true
}

func (h *HostTTY) setSize(w WindowSize) bool {
	return unix.IoctlSetWinsize(h.file.Num(), unix.TIOCSWINSZ,
		&unix.Winsize{Row: w.Rows, Col: w.Columns, Xpixel: w.XPixel, Ypixel: w.YPixel}) == nil
}

func (h *HostTTY) notify(mask waiter.EventMask) {
	token := func(c chan struct{}) {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	if mask&waiter.EventIn != 0 {
		token(h.output)
	}
	if mask&waiter.EventOut != 0 {
		token(h.room)
	}
}

// readLoop brings input from the host until Close or the host's hangup.
func (h *HostTTY) readLoop() {
	var buf [inputSize]byte
	for {
		fds := []unix.PollFd{
			{Fd: int32(h.file.Num()), Events: unix.POLLIN},
			{Fd: int32(h.wake.Num()), Events: unix.POLLIN},
		}
		if _, err := unix.Ppoll(fds, nil, nil); err != nil && err != unix.EINTR {
			h.t.hangUp(true)
			return
		}
		select {
		case <-h.closing:
			return
		default:
		}
		if fds[0].Revents == 0 {
			continue
		}
		// The terminal is in raw mode with VMIN 1: what poll promised does not block.
		n, err := unix.Read(h.file.Num(), buf[:])
		switch {
		case err == unix.EINTR || err == unix.EAGAIN:
			continue
		case err != nil || n == 0:
			h.t.hangUp(true)
			return
		}
		h.Resized() // also where no SIGWINCH reaches this process
		for b := buf[:n]; ; {
			if b = b[h.t.input(b):]; len(b) == 0 {
				break
			}
			select {
			case <-h.room:
			case <-h.closing:
				return
			}
		}
	}
}

// writeLoop takes output to the host until Close, and then what is left.
func (h *HostTTY) writeLoop() {
	var buf [inputSize]byte
	for {
		n := h.t.drain(buf[:])
		if n == 0 {
			select {
			case <-h.output:
				continue
			case <-h.closing:
				if n = h.t.drain(buf[:]); n == 0 {
					return
				}
			}
		}
		for b := buf[:n]; len(b) > 0; {
			n, err := unix.Write(h.file.Num(), b)
			switch err {
			case nil:
				b = b[n:]
			case unix.EINTR:
			case unix.EAGAIN:
				fds := []unix.PollFd{{Fd: int32(h.file.Num()), Events: unix.POLLOUT}}
				unix.Ppoll(fds, nil, nil)
			default:
				b = nil // the host's side is gone; the reader says so
			}
		}
	}
}

// MakeControlling makes the terminal that of session s with foreground group g, as the
// console is of a container's first process.
func (t *Terminal) MakeControlling(s Session, g Group) {
	t.mu.Lock()
	t.session, t.foreground = s, g
	t.mu.Unlock()
	t.jobs.SetControlling(s, t)
}
