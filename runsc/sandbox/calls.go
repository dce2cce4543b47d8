package sandbox

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/urpc"
	"runsc/runsc/boot"
	"runsc/runsc/specutils"
)

// dialTimeout bounds how long a call waits for a sandbox that does not take connections.
const dialTimeout = 10 * time.Second

// ErrNotRunning is what calls return when the sandbox process is gone.
var ErrNotRunning = errors.New("sandbox is not running")

// IsRunning says whether the sandbox process is alive.
func (s *Sandbox) IsRunning() bool { return s != nil && specutils.IsAlive(s.PID, s.StartTime) }

// IsRunning says whether the gofer process is alive.
func (g *Gofer) IsRunning() bool { return g != nil && specutils.IsAlive(g.PID, g.StartTime) }

func (s *Sandbox) call(method string, args, result any) error {
	c, err := urpc.Dial(s.ControlSocket, dialTimeout)
	if err != nil {
		if !s.IsRunning() {
			return ErrNotRunning
		}
		return fmt.Errorf("connecting to sandbox %s: %w", s.ID, err)
	}
	defer c.Close()
	err = c.Call(method, args, result)
	var remote *urpc.RemoteError
	if err != nil && !errors.As(err, &remote) && !s.awaitLife() {
		return ErrNotRunning
	}
	return err
}

// awaitLife is IsRunning for a process whose connections have just been closed: if that is
// because it is dying, it lets it finish.
func (s *Sandbox) awaitLife() bool {
	return !awaitExit(s.PID, s.StartTime, time.Second)
}

// ConfigureNetwork gives the sandbox its network; the files of args stay the caller's.
func (s *Sandbox) ConfigureNetwork(args *boot.NetworkArgs) error {
	return s.call(boot.MethodNetwork, args, nil)
}

// StartRoot lets the root container's init process go.
func (s *Sandbox) StartRoot() error {
	return s.call(boot.MethodStartRoot, &boot.ContainerArgs{ContainerID: s.ID}, nil)
}

// StartContainer lets the init process of a container that joined the sandbox go.
func (s *Sandbox) StartContainer(cid string) error {
	return s.call(boot.MethodStart, &boot.ContainerArgs{ContainerID: cid}, nil)
}

// CreateContainer adds a container to a running sandbox.
func (s *Sandbox) CreateContainer(args *boot.CreateArgs) error {
	return s.call(boot.MethodCreate, args, nil)
}

// DestroyContainer removes a container that joined the sandbox.
func (s *Sandbox) DestroyContainer(cid string) error {
	return s.call(boot.MethodDestroy, &boot.ContainerArgs{ContainerID: cid}, nil)
}

// Execute starts a process in a container; files are its stdio and stay the caller's.
func (s *Sandbox) Execute(args boot.ExecArgs, files []*os.File) (int32, error) {
	var r boot.ExecuteResult
	a := boot.ExecuteArgs{ExecArgs: args}
	a.FilePayload.Files = files
	err := s.call(boot.MethodExecuteAsync, &a, &r)
	return r.PID, err
}

// Wait waits for the end of a container's init process and returns its wait(2) status.
func (s *Sandbox) Wait(cid string) (uint32, error) {
	var r boot.WaitResult
	err := s.call(boot.MethodWait, &boot.ContainerArgs{ContainerID: cid}, &r)
	return r.Status, err
}

// WaitPID waits for the end of any process of a container.
func (s *Sandbox) WaitPID(cid string, pid int32, clear bool) (uint32, error) {
	var r boot.WaitResult
	err := s.call(boot.MethodWaitPID, &boot.WaitPIDArgs{ContainerID: cid, PID: pid, Clear: clear}, &r)
	return r.Status, err
}

// Signal sends a signal to processes of a container.
func (s *Sandbox) Signal(cid string, pid int32, sig unix.Signal, mode boot.SignalMode) error {
	method := boot.MethodSignal
	if mode != boot.SignalAll && pid != 0 {
		method = boot.MethodSignalProcess
	}
	return s.call(method, &boot.SignalArgs{ContainerID: cid, PID: pid, Signal: int32(sig), Mode: mode}, nil)
}

// Processes lists a container's processes.
func (s *Sandbox) Processes(cid string) ([]boot.Process, error) {
	var r boot.ProcessesResult
	err := s.call(boot.MethodProcesses, &boot.ContainerArgs{ContainerID: cid}, &r)
	return r.Processes, err
}

// Event returns the sandbox's own view of what a container uses.
func (s *Sandbox) Event(cid string) (boot.EventResult, error) {
	var r boot.EventResult
	err := s.call(boot.MethodEvent, &boot.ContainerArgs{ContainerID: cid}, &r)
	return r, err
}

// Pause stops all tasks of the sandbox.
func (s *Sandbox) Pause() error { return s.call(boot.MethodPause, nil, nil) }

// Resume undoes Pause.
func (s *Sandbox) Resume() error { return s.call(boot.MethodResume, nil, nil) }

// Stacks returns the stacks of all of the sandbox's goroutines.
func (s *Sandbox) Stacks() (string, error) {
	var r boot.StacksResult
	err := s.call(boot.MethodStacks, nil, &r)
	return r.Stacks, err
}

// SetLogLevel changes how much the sandbox logs.
func (s *Sandbox) SetLogLevel(level string) error {
	return s.call(boot.MethodLogLevel, &boot.LogLevelArgs{Level: level}, nil)
}

// Profile writes a profile, taken for a duration where the method needs one, to f.
func (s *Sandbox) Profile(method string, f *os.File, d time.Duration) error {
	a := boot.ProfileArgs{DurationNS: int64(d)}
	a.Files = []*os.File{f}
	return s.call(method, &a, nil)
}

// killGrace is how long a killed process may take to disappear; the kernel may have much
// memory to free.
const killGrace = 30 * time.Second

// Destroy kills the sandbox process, waits until it is gone, and removes its socket.
func (s *Sandbox) Destroy() error {
	if s == nil {
		return nil
	}
	if err := killAndWait(s.PID, s.StartTime); err != nil {
		return fmt.Errorf("killing sandbox %s: %w", s.ID, err)
	}
	s.removeSocket()
	return nil
}

// Destroy kills the gofer process and waits until it is gone.
func (g *Gofer) Destroy() error {
	if g == nil {
		return nil
	}
	if err := killAndWait(g.PID, g.StartTime); err != nil {
		return fmt.Errorf("killing gofer: %w", err)
	}
	return nil
}

func (s *Sandbox) removeSocket() {
	if s.ControlSocket != "" && s.ControlSocket[0] != '@' {
		os.Remove(s.ControlSocket)
	}
}

func killAndWait(pid int, start uint64) error {
	if pid <= 0 {
		return nil
	}
	switch err := specutils.KillProcess(pid, start, unix.SIGKILL); err {
	case nil:
	case unix.ESRCH:
		reap(pid)
		return nil
	default:
		return err
	}
	if !awaitExit(pid, start, killGrace) {
		return fmt.Errorf("process %d does not go away", pid)
	}
	reap(pid)
	return nil
}

// reap takes the status of a process that happens to be our child.
func reap(pid int) {
	var ws unix.WaitStatus
	unix.Wait4(pid, &ws, unix.WNOHANG, nil)
}

// WaitExit waits until the sandbox process has ended; a zombie counts as ended.
func (s *Sandbox) WaitExit(timeout time.Duration) bool {
	return awaitExit(s.PID, s.StartTime, timeout)
}

// awaitExit waits until a process has ended and says whether it did in time.
func awaitExit(pid int, start uint64, timeout time.Duration) bool {
	deadline := time.Now().Add(timeout)
	fd, err := unix.PidfdOpen(pid, 0)
	if err == nil {
		defer unix.Close(fd)
	}
	for specutils.IsAlive(pid, start) {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		if err != nil {
			time.Sleep(min(left, 5*time.Millisecond))
			continue
		}
		// A pidfd is readable once the process is a zombie; see pidfd_open(2).
		unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(left.Milliseconds())+1)
	}
	return true
}

// abstractName makes a short name that is as unique as root directory and id together.
func abstractName(root, id string) string {
	sum := sha256.Sum256([]byte(root + "\x00" + id))
	return hex.EncodeToString(sum[:16])
}
