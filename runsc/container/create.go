package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/boot"
	"runsc/runsc/cgroup"
	"runsc/runsc/config"
	"runsc/runsc/console"
	"runsc/runsc/sandbox"
	"runsc/runsc/specutils"
)

// Args says what to make a container of.
type Args struct {
	Conf   *config.Config
	ID     string
	Bundle string
	Spec   *specs.Spec // nil: read from the bundle

	ConsoleSocket string // where to send the terminal's master
	// Attached says that the caller stays and serves the terminal itself if there is no
	// console socket; it finds the master in Master.
	Attached bool
	PIDFile  string
	UserLog  string

	Log                         *os.File // for the children; nil if there is none, as below
	BootDebugLog, GoferDebugLog *os.File
}

// New makes a container, up to and including its init process, which waits for Start. The
// second result is the master of the container's terminal if the caller is to serve it.
// On failure nothing is left.
func New(a Args) (_ *Container, master *os.File, err error) {
	c, master, err := create(&a)
	if err != nil {
		return nil, nil, err
	}
	c.release()
	return c, master, nil
}

// Run is New and Start in one, without letting anyone in between.
func Run(a Args) (_ *Container, master *os.File, err error) {
	c, master, err := create(&a)
	if err != nil {
		return nil, nil, err
	}
	defer c.release()
	if err := c.startLocked(); err != nil {
		if master != nil {
			master.Close()
		}
		if derr := c.destroyLocked(); derr != nil {
			log.Warningf("%v", derr)
		}
		return nil, nil, err
	}
	return c, master, nil
}

// create returns a container that is made and locked.
func create(a *Args) (_ *Container, master *os.File, err error) {
	if err := specutils.ValidateID(a.ID); err != nil {
		return nil, nil, err
	}
	if err := a.readSpec(); err != nil {
		return nil, nil, err
	}
	sandboxID, isRoot, err := specutils.SandboxID(a.Spec, a.ID)
	if err != nil {
		return nil, nil, err
	}
	if err := checkTerminal(a); err != nil {
		return nil, nil, err
	}
	c := &Container{
		ID:               a.ID,
		SandboxID:        sandboxID,
		Spec:             a.Spec,
		Bundle:           a.Bundle,
		CreatedAt:        time.Now().UTC(),
		Owner:            owner(),
		ConsoleSocket:    a.ConsoleSocket,
		Status:           Creating,
		RootContainerDir: a.Conf.RootDir,
		root:             a.Conf.RootDir,
	}
	if !a.Conf.IgnoreCgroups {
		if c.Cgroup, err = cgroup.FromSpec(a.Spec, a.ID, a.Conf.SystemdCgroup); err != nil {
			return nil, nil, err
		}
	}
	var pod *Container
	if !isRoot {
		if pod, err = findPod(a.Conf, sandboxID); err != nil {
			return nil, nil, err
		}
		c.Sandbox = pod.Sandbox
	}
	if err := c.reserve(); err != nil {
		return nil, nil, err
	}
	defer func() {
		if err == nil {
			return
		}
		if master != nil {
			master.Close()
			master = nil
		}
		if derr := c.undo(); derr != nil {
			log.Warningf("cleaning up after failure: %v", derr)
		}
		c.release()
	}()

	stdio := [3]*os.File{os.Stdin, os.Stdout, os.Stderr}
	if a.Spec.Process.Terminal {
		var slave *os.File
		if master, slave, err = openConsole(a); err != nil {
			return nil, nil, err
		}
		defer slave.Close()
		stdio = [3]*os.File{slave, slave, slave}
	}
	var userLog *os.File
	if a.UserLog != "" {
		if userLog, err = os.OpenFile(a.UserLog, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644); err != nil {
			return nil, nil, fmt.Errorf("opening user log: %w", err)
		}
		defer userLog.Close()
	}

	start := &sandbox.StartArgs{
		ID: a.ID, Conf: a.Conf, Spec: a.Spec, Bundle: a.Bundle,
		Stdio: stdio, UserLog: userLog, Console: a.Spec.Process.Terminal, Attached: a.Attached,
		Log: a.Log, BootDebugLog: a.BootDebugLog, GoferDebugLog: a.GoferDebugLog, CgroupFD: -1,
	}
	if err := c.startProcesses(start, pod); err != nil {
		return nil, nil, err
	}
	if h := a.Spec.Hooks; h != nil && len(h.Prestart)+len(h.CreateRuntime)+len(h.CreateContainer) > 0 {
		// A hook may ask for our state, and may take its time: let it be known what to kill.
		if err := c.save(); err != nil {
			return nil, nil, err
		}
		for _, s := range []struct {
			stage string
			hooks []specs.Hook
		}{{"prestart", h.Prestart}, {"createRuntime", h.CreateRuntime}, {"createContainer", h.CreateContainer}} {
			if err := c.runHooks(s.stage, s.hooks, specs.StateCreating); err != nil {
				return nil, nil, err
			}
		}
	}
	c.Status = Created
	if err := c.save(); err != nil {
		return nil, nil, err
	}
	if c.pending != nil {
		if err := c.pending.Commit(); err != nil {
			return nil, nil, err
		}
	}
	if a.PIDFile != "" {
		if err := WritePIDFile(a.PIDFile, c.Sandbox.PID); err != nil {
			return nil, nil, err
		}
	}
	return c, master, nil
}

// startProcesses makes the cgroup and, inside it, the sandbox and the gofer, or only the
// latter if the container joins a pod's sandbox.
func (c *Container) startProcesses(a *sandbox.StartArgs, pod *Container) error {
	leave := func() error { return nil }
	if c.Cgroup != nil {
		if pod == nil {
			if err := enoughMemory(resources(a.Spec)); err != nil {
				return err
			}
		}
		var err error
		if err = c.Cgroup.Install(resources(a.Spec)); err != nil {
			if !a.Conf.Rootless && os.Geteuid() == 0 {
				return fmt.Errorf("cgroup: %w", err)
			}
			// An ordinary user has cgroups only where somebody has delegated them.
			log.Warningf("going on without cgroup: %v", err)
			c.Cgroup.Uninstall()
			c.Cgroup = nil
		}
		if a.NumCPU, a.TotalMem, err = c.Cgroup.Limits(); err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
		fd, err := c.Cgroup.OpenForClone()
		if err != nil {
			return fmt.Errorf("cgroup: %w", err)
		}
		if fd >= 0 {
			a.CgroupFD = fd
		} else if leave, err = c.Cgroup.Join(); err != nil {
			return fmt.Errorf("joining cgroup: %w", err)
		}
		if fd >= 0 {
			defer unix.Close(fd)
		}
	}
	var err error
	if pod != nil {
		c.Gofer, err = pod.Sandbox.Join(a)
	} else {
		c.pending, err = sandbox.Start(a)
	}
	if lerr := leave(); err == nil && lerr != nil {
		err = fmt.Errorf("leaving cgroup: %w", lerr)
	}
	if c.pending != nil {
		c.Sandbox, c.Gofer = c.pending.Sandbox, c.pending.Gofer
	}
	return err
}

// minMemory is the least limit of memory that a sandbox starts with. Below, the host's kernel
// would kill whoever of its processes, or of ours that start them, and nobody could say why.
const minMemory = 12 << 20

func enoughMemory(r *specs.LinuxResources) error {
	if r == nil || r.Memory == nil || r.Memory.Limit == nil || *r.Memory.Limit <= 0 || *r.Memory.Limit >= minMemory {
		return nil
	}
	return fmt.Errorf("linux.resources.memory.limit is %d bytes: a sandbox alone needs %d", *r.Memory.Limit, minMemory)
}

// undo removes what a failed create has made. Every process of ours is dead or will not
// outlive it.
func (c *Container) undo() error {
	if c.pending != nil {
		c.pending.Abort()
		c.pending, c.Sandbox, c.Gofer = nil, nil, nil
	}
	if h := c.Spec.Hooks; h != nil {
		spec := *c.Spec
		spec.Hooks = nil // poststop hooks are for containers that were created
		c.Spec = &spec
	}
	return c.destroyLocked()
}

// findPod returns the root container of the sandbox that a container wants to join.
func findPod(conf *config.Config, sandboxID string) (*Container, error) {
	c, err := readState(conf.RootDir, fullID{sandboxID, sandboxID})
	if err != nil {
		return nil, fmt.Errorf("sandbox to join: %w", err)
	}
	c.refresh()
	if err := c.requireAlive(); err != nil {
		return nil, fmt.Errorf("sandbox %s to join: %w", sandboxID, err)
	}
	return c, nil
}

func checkTerminal(a *Args) error {
	switch {
	case a.Spec.Process.Terminal && a.ConsoleSocket == "" && !a.Attached:
		return errors.New("cannot allocate tty if runsc will detach without setting console socket")
	case !a.Spec.Process.Terminal && a.ConsoleSocket != "":
		return errors.New("cannot use console socket if runsc will not detach or allocate tty")
	}
	return nil
}

// openConsole makes the container's terminal. Its master goes to the console socket, or to
// the caller.
func openConsole(a *Args) (master, slave *os.File, err error) {
	master, slave, err = console.New(a.Spec.Process.ConsoleSize)
	if err != nil {
		return nil, nil, err
	}
	if a.ConsoleSocket == "" {
		return master, slave, nil
	}
	err = console.Send(a.ConsoleSocket, master)
	master.Close()
	if err != nil {
		slave.Close()
		return nil, nil, err
	}
	return nil, slave, nil
}

// WritePIDFile writes a pid so that whoever sees the file sees all of it.
func WritePIDFile(path string, pid int) error {
	abs, err := filepath.Abs(path)
	if err == nil {
		err = WriteFile(abs, []byte(strconv.Itoa(pid)), 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing pid file: %w", err)
	}
	return nil
}

// ExecDefaults returns what a process started in the container has if nothing else is said.
func (c *Container) ExecDefaults() boot.ExecArgs {
	p := c.Spec.Process
	return boot.ExecArgs{
		ContainerID:      c.ID,
		Envv:             p.Env,
		WorkingDirectory: p.Cwd,
		UID:              p.User.UID,
		GID:              p.User.GID,
		AdditionalGIDs:   p.User.AdditionalGids,
		Umask:            p.User.Umask,
		Capabilities:     p.Capabilities,
		NoNewPrivileges:  p.NoNewPrivileges,
		Rlimits:          p.Rlimits,
	}
}

func resources(spec *specs.Spec) *specs.LinuxResources {
	if spec.Linux == nil {
		return nil
	}
	return spec.Linux.Resources
}
