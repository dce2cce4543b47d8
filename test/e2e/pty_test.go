package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/test/oci"
)

// A terminal is the master of a pty whose output is gathered.
type terminal struct {
	t      *testing.T
	master *os.File

	mu   sync.Mutex // guards seen
	seen string
}

func newTerminal(t *testing.T, master *os.File) *terminal {
	term := &terminal{t: t, master: master}
	t.Cleanup(func() { master.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, err := master.Read(buf)
			term.mu.Lock()
			term.seen += string(buf[:n])
			term.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return term
}

// openPty makes a pty of 24 by 80.
func openPty(t *testing.T) (*terminal, *os.File) {
	t.Helper()
	fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	unix.SetNonblock(fd, true)
	term := newTerminal(t, os.NewFile(uintptr(fd), "ptmx"))
	term.resize(24, 80)
	return term, slave
}

func (term *terminal) resize(rows, cols uint16) {
	term.control(func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

func (term *terminal) control(f func(fd int) error) {
	term.t.Helper()
	c, err := term.master.SyscallConn()
	if err != nil {
		term.t.Fatal(err)
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil || inner != nil {
		term.t.Fatal(err, inner)
	}
}

func (term *terminal) typed(s string) {
	term.t.Helper()
	if _, err := term.master.WriteString(s); err != nil {
		term.t.Fatal(err)
	}
}

func (term *terminal) text() string {
	term.mu.Lock()
	defer term.mu.Unlock()
	return term.seen
}

// expect waits for a text to appear and forgets everything up to it.
func (term *terminal) expect(want string) {
	term.t.Helper()
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		term.mu.Lock()
		if i := strings.Index(term.seen, want); i >= 0 {
			term.seen = term.seen[i+len(want):]
			term.mu.Unlock()
			return
		}
		term.mu.Unlock()
		if time.Now().After(deadline) {
			term.t.Fatalf("no %q on the terminal, but %q", want, term.text())
		}
	}
}

func withTerminal(s *specs.Spec) {
	s.Process.Terminal = true
	s.Process.Env = append(s.Process.Env, "PS1=$ ")
}

// session runs a command of the runtime on a terminal of its own.
func session(t *testing.T, r *oci.Runtime, args ...string) (*terminal, *os.File, chan oci.Result) {
	t.Helper()
	term, slave := openPty(t)
	cmd := r.Command(args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	done := make(chan oci.Result, 1)
	go func() { done <- oci.Run(60*time.Second, cmd) }()
	return term, slave, done
}

func ended(t *testing.T, term *terminal, done chan oci.Result, code int) {
	t.Helper()
	select {
	case res := <-done:
		if res.Code != code {
			t.Errorf("ended with %d, want %d; terminal: %q", res.Code, code, term.text())
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("does not end; terminal: %q", term.text())
	}
}

func TestTerminalShell(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		id := oci.ID("tty")
		term, slave, done := session(t, r, "run", "--bundle", bundle(t, []string{"/bin/sh"}, withTerminal).Dir, id)
		term.expect("$ ")
		before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if before.Lflag&unix.ICANON != 0 {
			t.Error("the caller's terminal is not in raw mode")
		}
		term.typed("tty; stty size\r")
		term.expect("/dev/")
		term.expect("24 80")
		term.resize(50, 132)
		oci.Eventually(t, soon, "the new size", func() bool {
			term.typed("stty size\r")
			time.Sleep(100 * time.Millisecond)
			return strings.Contains(term.text(), "50 132")
		})
		term.typed("sleep 1000\r")
		time.Sleep(200 * time.Millisecond)
		term.typed("\x03")
		term.typed("echo int-$?\r")
		term.expect("int-130")
		// Job control.
		term.typed("sleep 1000\r")
		time.Sleep(200 * time.Millisecond)
		term.typed("\x1a")
		term.typed("jobs; echo x-y\r")
		term.expect("Stopped")
		term.typed("kill %1; fg; echo after-$((1+1))\r")
		term.expect("after-2")
		term.typed("cat | tr a-z A-Z\r")
		time.Sleep(300 * time.Millisecond)
		term.typed("shout\r")
		term.typed("\x04")
		term.expect("SHOUT")
		term.typed("exit 7\r")
		ended(t, term, done, 7)
		after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
		if err != nil || after.Lflag&unix.ICANON == 0 || after.Lflag&unix.ECHO == 0 {
			t.Errorf("the terminal is not restored: %v %+v", err, after)
		}
	})
}

func TestTerminalRestoredWhenKilled(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		id := oci.ID("tty")
		term, slave, done := session(t, r, "run", "--bundle", bundle(t, []string{"/bin/sh"}, withTerminal).Dir, id)
		term.expect("$ ")
		ok(t, r.Run(soon, "kill", id, "KILL"))
		ended(t, term, done, 137)
		after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
		if err != nil || after.Lflag&unix.ICANON == 0 {
			t.Errorf("the terminal is not restored: %v", err)
		}
	})
}

func TestTerminalFullScreen(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		dir, mount := shared(t)
		term, _, done := session(t, r, "run", "--bundle", bundle(t, []string{"/bin/vi", "/shared/f"}, withTerminal, mount).Dir, oci.ID("vi"))
		term.expect("/shared/f")
		term.typed("ihello from vi\x1b")
		time.Sleep(200 * time.Millisecond)
		term.typed(":wq\r")
		ended(t, term, done, 0)
		if data, _ := os.ReadFile(filepath.Join(dir, "f")); string(data) != "hello from vi\n" {
			t.Errorf("vi wrote %q", data)
		}
	})
}

func TestTerminalExec(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		id := started(t, r, bundle(t, []string{"/bin/sleep", "1000"}))
		term, _, done := session(t, r, "exec", "--tty", "--env", "PS1=$ ", id, "/bin/sh")
		term.expect("$ ")
		term.typed("stty size; tty\r")
		term.expect("24 80")
		// While it edits a line, the shell keeps the signal to itself; so it runs a loop, and
		// nothing in a process group of its own.
		term.typed("set +m; trap 'seen=1' WINCH; echo set-$((1+1)); while [ -z \"$seen\" ]; do sleep 0.05; done; echo winch-$((1+1)); set -m\r")
		term.expect("set-2")
		term.resize(30, 100)
		term.expect("winch-2")
		term.expect("$ ")
		term.typed("sleep 1000\r")
		time.Sleep(200 * time.Millisecond)
		term.typed("\x03")
		term.typed("exit 5\r")
		ended(t, term, done, 5)
	})
}

// TestConsoleSocket receives the master as a container engine does.
func TestConsoleSocket(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		path := filepath.Join(oci.ShortDir(t), "console")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		master := make(chan *os.File, 1)
		go func() {
			defer close(master)
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			defer c.Close()
			buf, oob := make([]byte, 4096), make([]byte, 64)
			_, n, _, _, err := c.ReadMsgUnix(buf, oob)
			if err != nil {
				return
			}
			msgs, err := unix.ParseSocketControlMessage(oob[:n])
			if err != nil || len(msgs) != 1 {
				return
			}
			if fds, err := unix.ParseUnixRights(&msgs[0]); err == nil && len(fds) == 1 {
				unix.SetNonblock(fds[0], true)
				master <- os.NewFile(uintptr(fds[0]), "console")
			}
		}()
		id := oci.ID("con")
		ok(t, r.Run(soon, "create", "--bundle", bundle(t, []string{"/bin/sh"}, withTerminal).Dir, "--console-socket", path, id))
		f := <-master
		if f == nil {
			t.Fatal("no terminal came over the console socket")
		}
		term := newTerminal(t, f)
		ok(t, r.Run(soon, "start", id))
		term.expect("$ ")
		term.resize(33, 99)
		term.typed("stty size; exit 3\r")
		term.expect("33 99")
		waitStatus(t, r, id, "stopped")
		ok(t, r.Run(soon, "delete", id))
	})
}

// TestTerminalAsPlainStdio gives a tty as stdio without process.terminal.
func TestTerminalAsPlainStdio(t *testing.T) {
	eachPlatform(t, func(t *testing.T, r *oci.Runtime) {
		needOurs(t, r) // runc puts pipes in between
		term, _, done := session(t, r, "run", "--bundle", sh(t, "[ -t 0 ] && echo is-a-tty; stty size; exit 2").Dir, oci.ID("plain"))
		term.expect("is-a-tty")
		term.expect("24 80")
		ended(t, term, done, 2)
	})
}
