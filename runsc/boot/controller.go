package boot

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/pkg/urpc"
	"runsc/runsc/config"
)

// shutdownGrace is how long replies of calls under way may delay the end of the sandbox.
const shutdownGrace = 2 * time.Second

// Controller answers calls on the control socket.
type Controller struct {
	id     string // of the root container
	conf   *config.Config
	loader *Loader
	server *urpc.Server
	fd     int // listening socket, owned
}

// NewController makes a controller for the root container id on a listening socket, which
// it owns. It answers nothing before Serve.
func NewController(id string, conf *config.Config, l *Loader, fd int) *Controller {
	c := &Controller{id: id, conf: conf, loader: l, server: urpc.NewServer(), fd: fd}
	// The sandbox lives in a user namespace with one user in it, so every client looks like
	// the overflow user and identity says nothing. What protects the socket is that nobody
	// but its owner can reach it in the filesystem; a peer whose credentials are not even
	// of an outside process (pid 0 is all that is visible of one) is the sandbox itself.
	c.server.Allow = func(p urpc.Peer) bool {
		if conf.TestOnlyNonRoot {
			return true
		}
		return p.PID == 0 || p.UID == 0
	}
	s := c.server
	urpc.Register(s, MethodCreate, c.create)
	urpc.Register(s, MethodStart, c.start)
	urpc.Register(s, MethodStartRoot, c.start)
	urpc.Register(s, MethodDestroy, c.destroy)
	urpc.Register(s, MethodExecuteAsync, c.execute)
	urpc.Register(s, MethodWait, c.wait)
	urpc.Register(s, MethodWaitPID, c.waitPID)
	urpc.Register(s, MethodSignal, c.signal)
	urpc.Register(s, MethodSignalProcess, c.signal)
	urpc.Register(s, MethodProcesses, c.processes)
	urpc.Register(s, MethodEvent, c.event)
	urpc.Register(s, MethodPause, func(*struct{}, *struct{}) error { return l.Pause() })
	urpc.Register(s, MethodResume, func(*struct{}, *struct{}) error { return l.Resume() })
	urpc.Register(s, MethodNetwork, c.network)
	urpc.Register(s, MethodStacks, c.stacks)
	urpc.Register(s, MethodLogLevel, c.logLevel)
	urpc.Register(s, MethodProfileHeap, c.profile(profileHeap))
	urpc.Register(s, MethodProfileCPU, c.profile(profileCPU))
	urpc.Register(s, MethodProfileBlock, c.profile(profileBlock))
	urpc.Register(s, MethodProfileMutex, c.profile(profileMutex))
	urpc.Register(s, MethodProfileTrace, c.profile(profileTrace))
	return c
}

// Serve answers calls until Shutdown.
func (c *Controller) Serve() {
	if err := c.server.Serve(c.fd); err != nil {
		log.Debugf("control socket: %v", err)
	}
}

// Shutdown stops taking calls and lets those under way send their replies, for a while.
func (c *Controller) Shutdown() {
	unix.Shutdown(c.fd, unix.SHUT_RDWR)
	done := make(chan struct{})
	go func() {
		c.server.Shutdown()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(shutdownGrace):
		log.Warningf("control socket: replies still under way after %v are lost", shutdownGrace)
	}
}

func (c *Controller) create(a *CreateArgs, _ *struct{}) error {
	args := Args{
		ID:         a.ContainerID,
		Conf:       c.conf,
		Mounts:     a.Mounts,
		UserLogFD:  -1,
		PlatformFD: -1,
		ControlFD:  c.fd,
		Console:    a.Console,
	}
	args.Spec = new(specs.Spec)
	want := 4
	if a.UserLog {
		want++
	}
	err := json.Unmarshal(a.Spec, args.Spec)
	if err == nil && len(a.Files) < want {
		err = fmt.Errorf("%d files given, at least %d needed", len(a.Files), want)
	}
	if err != nil {
		for _, f := range a.Files {
			f.Close()
		}
		return err
	}
	fds, err := releaseFiles(a.Files)
	if err != nil {
		return err
	}
	args.StdioFDs, fds = fds[:3], fds[3:]
	if a.UserLog {
		args.UserLogFD, fds = fds[0], fds[1:]
	}
	args.GoferFDs = fds
	return c.loader.CreateSubcontainer(a.ContainerID, args)
}

// releaseFiles turns files into bare descriptors, which the caller owns.
func releaseFiles(files []*os.File) ([]int, error) {
	var fds []int
	var first error
	for _, f := range files {
		// A descriptor cannot be taken out of an os.File, only duplicated.
		fd, err := unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 3)
		f.Close()
		if err != nil {
			first = err
			continue
		}
		fds = append(fds, fd)
	}
	if first != nil {
		for _, fd := range fds {
			unix.Close(fd)
		}
		return nil, os.NewSyscallError("dup", first)
	}
	return fds, nil
}

func (c *Controller) start(a *ContainerArgs, _ *struct{}) error {
	return c.loader.Start(a.ContainerID)
}

func (c *Controller) destroy(a *ContainerArgs, _ *struct{}) error {
	if a.ContainerID == c.id {
		return errors.New("the root container cannot be destroyed without its sandbox")
	}
	return c.loader.DestroySubcontainer(a.ContainerID)
}

func (c *Controller) execute(a *ExecuteArgs, r *ExecuteResult) error {
	args := a.ExecArgs
	args.Files = a.FilePayload.Files
	if len(args.Argv) == 0 || len(args.Files) != 3 {
		for _, f := range args.Files {
			f.Close()
		}
		return fmt.Errorf("exec needs arguments and 3 files, got %d and %d", len(args.Argv), len(args.Files))
	}
	var err error
	r.PID, err = c.loader.Exec(args)
	return err
}

func (c *Controller) wait(a *ContainerArgs, r *WaitResult) (err error) {
	r.Status, err = c.loader.Wait(a.ContainerID)
	return err
}

func (c *Controller) waitPID(a *WaitPIDArgs, r *WaitResult) (err error) {
	r.Status, err = c.loader.WaitPID(a.ContainerID, a.PID, a.Clear)
	return err
}

func (c *Controller) signal(a *SignalArgs, _ *struct{}) error {
	if a.Signal < 0 || a.Signal > 64 {
		return fmt.Errorf("no signal %d", a.Signal)
	}
	if a.Mode < SignalProcess || a.Mode > SignalForegroundGroup {
		return fmt.Errorf("no signal mode %d", a.Mode)
	}
	return c.loader.Signal(a.ContainerID, a.PID, a.Signal, a.Mode)
}

func (c *Controller) processes(a *ContainerArgs, r *ProcessesResult) (err error) {
	r.Processes, err = c.loader.Processes(a.ContainerID)
	return err
}

func (c *Controller) event(a *ContainerArgs, r *EventResult) error {
	procs, err := c.loader.Processes(a.ContainerID)
	r.NumProcesses = len(procs)
	return err
}

func (c *Controller) network(a *NetworkArgs, _ *struct{}) error {
	return c.loader.ConfigureNetwork(a)
}

func (c *Controller) stacks(_ *struct{}, r *StacksResult) error {
	const limit = 4 << 20 // JSON escaping may double it, and a frame has 8 MiB
	r.Stacks = c.loader.Stacks()
	if len(r.Stacks) > limit {
		r.Stacks = r.Stacks[:limit] + "\n…"
	}
	return nil
}

func (c *Controller) logLevel(a *LogLevelArgs, _ *struct{}) error {
	level, err := log.ParseLevel(a.Level)
	if err != nil {
		return err
	}
	log.SetLevel(level)
	return nil
}
