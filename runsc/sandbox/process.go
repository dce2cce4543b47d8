// Package sandbox starts the processes of a sandbox and calls into it.
//
// Start makes the pair of processes that a container's life begins with: the gofer, which
// serves its files, and the sandbox (`runsc boot`), which runs its kernel. Both are this same
// program, executed anew in namespaces of their own with nothing but the descriptors they
// are given. They start at the same time; a pipe between them carries the list of mounts,
// and one socket pair for each tree of files carries 9P.
//
// The handshake: boot writes one byte when the container is made and then waits for one
// byte from the client, which Pending.Commit sends once the container is on disk. Until
// then the death of the client closes the socket, upon which boot ends, upon which the
// gofer, whose sockets are closed thereby, ends as well. So a client killed at any moment
// leaves processes behind only if they are written down.
//
// Everything after that goes through the control socket: the methods of Sandbox in
// calls.go, each of which makes a connection of its own. A Sandbox is plain data that the
// container's state file holds; it has no locks and keeps nothing open.
package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"runsc/runsc/boot"
	"runsc/runsc/specutils"
)

// selfExe is this program, whatever has become of its path.
const selfExe = "/proc/self/exe"

// command describes a process to start: a subcommand of this program, its flags, and the
// files that some of the flags name.
type command struct {
	argv0  string
	global []string // global flags
	name   string   // subcommand
	flags  []string
	id     string
	files  []*os.File // descriptor 3 + i in the process
	stdin  *os.File
	attr   syscall.SysProcAttr
	env    []string
}

// donate adds a file and the flag that tells the process its descriptor.
func (c *command) donate(flag string, f *os.File) {
	c.flags = append(c.flags, c.fdFlag(flag, f))
}

// donateGlobal is donate for a global flag.
func (c *command) donateGlobal(flag string, f *os.File) {
	c.global = append(c.global, c.fdFlag(flag, f))
}

func (c *command) fdFlag(flag string, f *os.File) string {
	c.files = append(c.files, f)
	return "--" + flag + "=" + strconv.Itoa(2+len(c.files))
}

// child is a started process and what it writes to its stderr until it leaves it.
type child struct {
	pid   int
	start uint64 // see specutils.StartTime
	proc  *os.Process
	name  string

	stderrDone chan struct{} // closed when the process has closed or left its stderr
	stderr     boot.Stderr   // not to be read before
}

// startChild executes the command. Its stdin and stdout are /dev/null.
func (c *command) startChild(null *os.File) (*child, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	argv := append([]string{c.argv0}, c.global...)
	argv = append(argv, c.name)
	argv = append(argv, c.flags...)
	argv = append(argv, c.id)
	attr := c.attr
	proc, err := os.StartProcess(selfExe, argv, &os.ProcAttr{
		Env:   c.env,
		Files: append([]*os.File{null, null, w}, c.files...),
		Sys:   &attr,
	})
	if err != nil {
		r.Close()
		err = noPath(err)
		if c.attr.Cloneflags&unix.CLONE_NEWUSER != 0 && (errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EPERM)) {
			return nil, fmt.Errorf("starting %s: %w (are user namespaces allowed here? see sysctl user.max_user_namespaces)", c.argv0, err)
		}
		return nil, fmt.Errorf("starting %s: %w", c.argv0, err)
	}
	ch := &child{pid: proc.Pid, proc: proc, name: c.name, stderrDone: make(chan struct{})}
	ch.start, _ = specutils.StartTime(proc.Pid)
	go func() {
		defer close(ch.stderrDone)
		defer r.Close()
		io.Copy(&ch.stderr, r)
	}()
	return ch, nil
}

func noPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// stop kills the process and takes its status.
func (ch *child) stop() {
	if ch == nil {
		return
	}
	ch.proc.Kill()
	ch.proc.Wait()
}

// ending is how and why a process ended.
type ending struct {
	words   string
	orderly bool // the process itself gave the reason, which words are
	clean   bool // it exited with status 0

	killedBy syscall.Signal // 0 if it was not
}

// lingering is how long a process may take to end after the one it serves has ended.
const lingering = 5 * time.Second

// epitaph waits for the end of a process that is about to end or has ended.
func (ch *child) epitaph() ending {
	hung := time.AfterFunc(lingering, func() { ch.proc.Kill() })
	state, err := ch.proc.Wait()
	killed := !hung.Stop()
	<-ch.stderrDone
	words, orderly := boot.LastWords(ch.stderr.Bytes())
	if orderly {
		return ending{words: words, orderly: true}
	}
	e := ending{words: "ended", clean: killed}
	if err == nil {
		ws := state.Sys().(syscall.WaitStatus)
		e.words = describe(ws)
		if ws.Signaled() {
			e.killedBy = ws.Signal()
		}
		e.clean = killed || ws.Exited() && ws.ExitStatus() == 0
	}
	if words != "" {
		e.words += ": " + words
	}
	return e
}

// describe says in words how a process ended.
func describe(ws syscall.WaitStatus) string {
	switch {
	case ws.Signaled() && ws.Signal() == unix.SIGSYS:
		return "killed by its system call filter (SIGSYS)"
	case ws.Signaled():
		return "killed by signal " + unix.SignalName(ws.Signal())
	case ws.ExitStatus() == 0:
		return "ended without a word"
	}
	return "exited with status " + strconv.Itoa(ws.ExitStatus())
}

// childEnv is the whole environment of our processes. A fixed number of Go processors saves
// the runtime from looking for, and keeping open, files of the host's cgroups.
func childEnv(procs int) []string {
	return []string{"GOMAXPROCS=" + strconv.Itoa(procs)}
}

// dataFile returns an anonymous file with the given content.
func dataFile(name string, data []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(data); err != nil {
		f.Close()
		return nil, err
	}
	// Two processes read it; neither may change it for the other.
	const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, os.NewSyscallError("sealing memfd", err)
	}
	return f, nil
}

// socketpair returns two connected, blocking stream sockets.
func socketpair(name string) (a, b *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

// trimLines makes one line of a message.
func trimLines(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' }), " ")
}
