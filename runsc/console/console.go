// Package console makes and serves terminals for containers.
//
// New makes a pty pair; the container gets the slave, and the master either goes to whoever
// listens on a console socket (Send) or is served by the client itself: Serve puts the
// caller's own terminal into raw mode and copies between it and the master until the
// container closes its side, following changes of the window's size. What Serve changed of
// the caller's terminal is put back when it is stopped, whichever way that happens.
package console

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"sync"
	"time"

	"github.com/kr/pty"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// New makes a pty pair, of the given size if that is not nil.
func New(size *specs.Box) (master, slave *os.File, err error) {
	master, slave, err = pty.Open()
	if err != nil {
		return nil, nil, fmt.Errorf("making a terminal: %w", err)
	}
	if size != nil && size.Width <= 0xffff && size.Height <= 0xffff {
		ws := unix.Winsize{Row: uint16(size.Height), Col: uint16(size.Width)}
		if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &ws); err != nil {
			master.Close()
			slave.Close()
			return nil, nil, fmt.Errorf("setting the terminal's size: %w", err)
		}
	}
	return master, slave, nil
}

// Send passes a terminal's master to the process that listens on the unix socket at path.
// The name of the terminal goes along as data, as runc does.
func Send(path string, master *os.File) error {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	if err := connect(fd, path); err != nil {
		return fmt.Errorf("console socket %s: %w", path, err)
	}
	if err := unix.Sendmsg(fd, []byte(master.Name()), unix.UnixRights(int(master.Fd())), nil, unix.MSG_NOSIGNAL); err != nil {
		return fmt.Errorf("console socket %s: %w", path, err)
	}
	return nil
}

// connect connects to a path of any length: one that does not fit into sun_path is reached
// through a descriptor.
func connect(fd int, path string) error {
	err := unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	if err != unix.EINVAL {
		return err
	}
	p, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(p)
	return unix.Connect(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("/proc/self/fd/%d", p)})
}

// IsTerminal says whether f is a terminal.
func IsTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// MakeRaw puts a terminal into raw mode and returns its former settings.
func MakeRaw(f *os.File) (*unix.Termios, error) {
	old, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	// What cfmakeraw(3) does.
	raw := *old
	raw.Oflag &^= unix.OPOST
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag &^= unix.CSIZE | unix.PARENB
	raw.Cflag |= unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	return old, unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &raw)
}

// Session is the caller's terminal joined to a container's.
type Session struct {
	master *os.File
	in     *os.File
	old    *unix.Termios // nil if the caller's stdin is no terminal

	guard  *os.Process // nil if old is
	winch  chan os.Signal
	output chan struct{} // closed when all output has been copied
	stop   sync.Once
}

// Serve joins the caller's stdin and stdout to a container's terminal, whose master it owns
// from then on. Stop must be called.
func Serve(master *os.File) (*Session, error) {
	s := &Session{master: master, in: os.Stdin, winch: make(chan os.Signal, 1), output: make(chan struct{})}
	if IsTerminal(s.in) {
		s.resize()
		old, err := MakeRaw(s.in)
		if err != nil {
			master.Close()
			return nil, fmt.Errorf("setting terminal to raw mode: %w", err)
		}
		s.old = old
		if s.guard, err = startGuard(s.in, old); err != nil {
			s.Restore()
			master.Close()
			return nil, err
		}
		signal.Notify(s.winch, unix.SIGWINCH)
		go func() {
			for range s.winch {
				s.resize()
			}
		}()
	}
	go func() {
		io.Copy(master, onlyReader{os.Stdin})
	}()
	go func() {
		defer close(s.output)
		// Ends with EIO once nobody has the slave open.
		io.Copy(onlyWriter{os.Stdout}, master)
	}()
	return s, nil
}

// onlyReader and onlyWriter keep io.Copy from splicing, which terminals do not support.
type (
	onlyReader struct{ io.Reader }
	onlyWriter struct{ io.Writer }
)

// resize gives the container's terminal the size of the caller's.
func (s *Session) resize() {
	ws, err := unix.IoctlGetWinsize(int(s.in.Fd()), unix.TIOCGWINSZ)
	if err == nil {
		unix.IoctlSetWinsize(int(s.master.Fd()), unix.TIOCSWINSZ, ws)
	}
}

// drainTime bounds how long Stop waits for output. A process that outlives its container's
// init and keeps the terminal open must not keep the client.
const drainTime = time.Second

// Stop waits for the rest of the output and puts the caller's terminal back.
func (s *Session) Stop() {
	s.stop.Do(func() {
		select {
		case <-s.output:
		case <-time.After(drainTime):
		}
		s.Restore()
		s.master.Close()
	})
}

// Restore puts the caller's terminal back at once, as is necessary before dying.
func (s *Session) Restore() error {
	signal.Stop(s.winch)
	if s.old == nil {
		return nil
	}
	err := unix.IoctlSetTermios(int(s.in.Fd()), unix.TCSETSW, s.old)
	if s.guard != nil {
		s.guard.Kill()
		s.guard.Wait()
		s.guard = nil
	}
	if errors.Is(err, unix.EIO) {
		return nil // the terminal was hung up
	}
	return err
}
