package console

import (
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"os/signal"
	"unsafe"

	"golang.org/x/sys/unix"
)

// GuardCommand is the internal subcommand that runs Guard.
const GuardCommand = "guard-terminal"

// startGuard starts a process that puts the terminal back if this one is killed in a way
// that leaves it no time to.
func startGuard(tty *os.File, old *unix.Termios) (*os.Process, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	raw := unsafe.Slice((*byte)(unsafe.Pointer(old)), unsafe.Sizeof(*old))
	proc, err := os.StartProcess("/proc/self/exe",
		[]string{"runsc-guard", GuardCommand, base64.StdEncoding.EncodeToString(raw)},
		&os.ProcAttr{Files: []*os.File{r, tty, null}, Env: []string{"GOMAXPROCS=1"}})
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("starting the terminal's guard: %w", err)
	}
	// The write end is held open for as long as this process lives, and nothing is written.
	guarding = append(guarding, w)
	return proc, nil
}

// guarding keeps the pipes from being closed by the garbage collector.
var guarding []*os.File

// Guard waits until stdin ends, which means that the parent is gone, and then gives the
// terminal on stdout the settings that the argument encodes.
func Guard(settings string) error {
	data, err := base64.StdEncoding.DecodeString(settings)
	var old unix.Termios
	if err != nil || len(data) != int(unsafe.Sizeof(old)) {
		return fmt.Errorf("bad terminal settings")
	}
	copy(unsafe.Slice((*byte)(unsafe.Pointer(&old)), unsafe.Sizeof(old)), data)
	// What the user types at the terminal is not for us; and a process in the background
	// may change a terminal only if it ignores SIGTTOU.
	signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGTTOU, unix.SIGTTIN, unix.SIGHUP, unix.SIGTERM)
	io.Copy(io.Discard, os.Stdin)
	return unix.IoctlSetTermios(1, unix.TCSETS, &old)
}
