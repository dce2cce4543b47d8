// Package container is the life of a container as OCI describes it, and its state on disk.
//
// A Container is what its state file holds: what it was made of, the processes that it
// consists of, and how far it has come:
//
//	creating ─ New ─▶ created ─ Start ─▶ running ◀─ Pause, Resume ─▶ paused
//	    └───────────────┴──────────────────┴───────▶ stopped ─ Destroy ─▶ gone
//
// "stopped" is seldom written down: a container whose sandbox process is gone is stopped,
// whatever its file says. New writes the file before it makes anything else, so that
// whenever a client is killed, Destroy finds what to clean up; what New itself starts dies
// by itself unless New reaches the end (see package sandbox).
//
// Locks: ID_sandbox:SANDBOXID.lock is held (flock) by whoever changes the container, from
// before reading its state until after writing it. Reading needs no lock. The lock of the
// whole directory (ROOT/.lock) is taken only to reserve an id, after no other lock.
package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/boot"
	"runsc/runsc/cgroup"
	"runsc/runsc/config"
	"runsc/runsc/sandbox"
	"runsc/runsc/specutils"
)

// Status is how far a container has come.
type Status string

// Statuses, named as OCI and runc do.
const (
	Creating Status = "creating"
	Created  Status = "created"
	Running  Status = "running"
	Paused   Status = "paused"
	Stopped  Status = "stopped"
)

// Container is a container's state. Its fields are what is on disk.
type Container struct {
	ID            string           `json:"id"`
	SandboxID     string           `json:"sandboxID"`
	Spec          *specs.Spec      `json:"spec"`
	Bundle        string           `json:"bundle"`
	CreatedAt     time.Time        `json:"createdAt"`
	Owner         string           `json:"owner"`
	ConsoleSocket string           `json:"consoleSocket,omitempty"`
	Status        Status           `json:"status"`
	Gofer         *sandbox.Gofer   `json:"gofer,omitempty"`
	Sandbox       *sandbox.Sandbox `json:"sandbox,omitempty"`
	Cgroup        *cgroup.Cgroup   `json:"cgroup,omitempty"`
	// RootContainerDir is the directory that holds the state of the sandbox's root
	// container.
	RootContainerDir string `json:"rootContainerDir"`

	root    string // --root
	lock    *flock.Flock
	pending *sandbox.Pending // while we are the process that made it
}

func (c *Container) fullID() fullID { return fullID{c.ID, c.SandboxID} }

// IsSandboxRoot says whether the container is the one that its sandbox was made for.
func (c *Container) IsSandboxRoot() bool { return c.ID == c.SandboxID }

// Load reads the state of the container with this id or unambiguous prefix of one.
func Load(conf *config.Config, id string) (*Container, error) {
	f, err := findID(conf.RootDir, id)
	if err != nil {
		return nil, err
	}
	c, err := readState(conf.RootDir, f)
	if err != nil {
		return nil, err
	}
	c.refresh()
	return c, nil
}

// List returns all containers, in order of their ids. One that cannot be read, or is
// deleted meanwhile, is left out.
func List(conf *config.Config) ([]*Container, error) {
	ids, err := listIDs(conf.RootDir)
	if err != nil {
		return nil, err
	}
	var list []*Container
	for _, f := range ids {
		c, err := readState(conf.RootDir, f)
		if err != nil {
			if !errors.Is(err, ErrNotExist) {
				log.Warningf("skipping container %s: %v", f.id, err)
			}
			continue
		}
		c.refresh()
		list = append(list, c)
	}
	return list, nil
}

// refresh corrects the status that was written down by what has happened since.
func (c *Container) refresh() {
	switch c.Status {
	case Creating:
		if c.lock == nil && !isLocked(c.fullID().file(c.root, ".lock")) {
			c.Status = Stopped // its maker died
		}
	case Created, Running, Paused:
		if !c.Sandbox.IsRunning() {
			c.Status = Stopped
		}
	}
}

// acquire locks the container and reads its state again.
func (c *Container) acquire() error {
	l, err := lock(c.fullID().file(c.root, ".lock"))
	if err != nil {
		return err
	}
	now, err := readState(c.root, c.fullID())
	if err != nil {
		if errors.Is(err, ErrNotExist) {
			// It was deleted while we waited, and taking the lock made the file anew.
			os.Remove(l.Path())
		}
		l.Unlock()
		return err
	}
	pending := c.pending
	*c = *now
	c.lock, c.pending = l, pending
	c.refresh()
	if c.Status == Creating {
		c.Status = Stopped // we have the lock, so its maker is dead
	}
	return nil
}

func (c *Container) release() {
	if c.lock != nil {
		c.lock.Unlock()
		c.lock = nil
	}
}

// PID returns the process that stands for the container on the host, 0 if it is stopped.
func (c *Container) PID() int {
	if c.Sandbox == nil || c.Status == Stopped {
		return 0
	}
	return c.Sandbox.PID
}

// OCIState returns the state as OCI specifies it.
func (c *Container) OCIState() specs.State {
	return specs.State{
		Version:     specs.Version,
		ID:          c.ID,
		Status:      specs.ContainerState(c.Status),
		Pid:         c.PID(),
		Bundle:      c.Bundle,
		Annotations: c.Spec.Annotations,
	}
}

// Start lets the init process of a created container go.
func (c *Container) Start() error {
	if err := c.acquire(); err != nil {
		return err
	}
	defer c.release()
	return c.startLocked()
}

func (c *Container) startLocked() error {
	switch c.Status {
	case Created:
	case Stopped:
		return errors.New("cannot start a container that has stopped")
	case Running, Paused:
		return errors.New("cannot start an already running container")
	default:
		return fmt.Errorf("cannot start a container in the %s state", c.Status)
	}
	if c.IsSandboxRoot() {
		// What is about to be taken is written down first, so that whoever cleans up after
		// us can put it back.
		if err := c.Sandbox.SetUpNetwork(c.Spec, c.save); err != nil {
			return fmt.Errorf("network: %w", err)
		}
	}
	if h := c.Spec.Hooks; h != nil {
		if err := c.runHooks("startContainer", h.StartContainer, specs.StateCreated); err != nil {
			return err
		}
	}
	var err error
	if c.IsSandboxRoot() {
		err = c.Sandbox.StartRoot()
	} else {
		err = c.Sandbox.StartContainer(c.ID)
	}
	if errors.Is(err, sandbox.ErrNotRunning) && c.pending != nil {
		err = c.pending.Epitaph()
	}
	if err != nil {
		return fmt.Errorf("starting container: %w", err)
	}
	c.Status = Running
	if err := c.save(); err != nil {
		return err
	}
	if h := c.Spec.Hooks; h != nil {
		if err := c.runHooks("poststart", h.Poststart, specs.StateRunning); err != nil {
			log.Warningf("%v", err)
		}
	}
	return nil
}

// errNotRunning is what clients of runc recognize as "it has ended already".
var errNotRunning = errors.New("container not running")

// requireAlive returns an error unless the container has processes.
func (c *Container) requireAlive() error {
	switch c.Status {
	case Created, Running, Paused:
		return nil
	}
	return errNotRunning
}

// Signal sends a signal to a process (0: init), or to all of the container's processes.
func (c *Container) Signal(sig unix.Signal, pid int32, mode boot.SignalMode) error {
	if err := c.requireAlive(); err != nil {
		return err
	}
	err := c.Sandbox.Signal(c.ID, pid, sig, mode)
	if errors.Is(err, sandbox.ErrNotRunning) {
		return errNotRunning
	}
	return err
}

// Wait waits for the end of the container's init process and returns its wait(2) status.
func (c *Container) Wait() (uint32, error) {
	if err := c.requireAlive(); err != nil {
		return 0, err
	}
	return c.Sandbox.Wait(c.ID)
}

// WaitAttached is Wait for the process that made the container by Run with Args.Attached.
func (c *Container) WaitAttached() (uint32, error) {
	if c.pending == nil {
		return c.Wait()
	}
	return c.pending.Wait()
}

// WaitPID waits for a process of the container.
func (c *Container) WaitPID(pid int32, clear bool) (uint32, error) {
	if err := c.requireAlive(); err != nil {
		return 0, err
	}
	return c.Sandbox.WaitPID(c.ID, pid, clear)
}

// Execute starts another process in a running container.
func (c *Container) Execute(args boot.ExecArgs, stdio []*os.File) (int32, error) {
	switch c.Status {
	case Running, Created:
	case Paused:
		return 0, errors.New("cannot exec in a paused container")
	case Stopped:
		return 0, errors.New("cannot exec in a stopped container")
	default:
		return 0, fmt.Errorf("cannot exec in a container in the %s state", c.Status)
	}
	args.ContainerID = c.ID
	return c.Sandbox.Execute(args, stdio)
}

// Processes lists the processes of the container.
func (c *Container) Processes() ([]boot.Process, error) {
	if err := c.requireAlive(); err != nil {
		return nil, err
	}
	return c.Sandbox.Processes(c.ID)
}

// Pause freezes the whole sandbox.
func (c *Container) Pause() error {
	if err := c.acquire(); err != nil {
		return err
	}
	defer c.release()
	if c.Status != Running && c.Status != Created {
		return fmt.Errorf("cannot pause a container in the %s state", c.Status)
	}
	if err := c.Sandbox.Pause(); err != nil {
		return fmt.Errorf("pausing: %w", err)
	}
	c.Status = Paused
	return c.save()
}

// Resume undoes Pause.
func (c *Container) Resume() error {
	if err := c.acquire(); err != nil {
		return err
	}
	defer c.release()
	if c.Status != Paused {
		return fmt.Errorf("cannot resume a container in the %s state", c.Status)
	}
	if err := c.Sandbox.Resume(); err != nil {
		return fmt.Errorf("resuming: %w", err)
	}
	c.Status = Running
	return c.save()
}

// Destroy removes a container and everything that belongs to it. Unless force is set, it
// refuses one that runs.
func (c *Container) Destroy(force bool) error {
	if err := c.acquire(); err != nil {
		return err
	}
	defer c.release()
	if !force && c.Status != Stopped && c.Status != Created {
		return fmt.Errorf("cannot delete container %s that is not stopped: %s", c.ID, c.Status)
	}
	return c.destroyLocked()
}

// destroyLocked goes on after an error as far as it can, but keeps the state file if
// something is left that a second attempt might clean up.
func (c *Container) destroyLocked() error {
	var errs []error
	try := func(err error) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	if c.IsSandboxRoot() {
		if c.Sandbox == nil {
			// The maker died early; the processes, if there are any, end by themselves.
			sandbox.RemoveSocket(c.root, c.ID)
		}
		try(c.Sandbox.Destroy())
		try(c.Sandbox.RestoreNetwork())
	} else if c.Sandbox.IsRunning() && c.Status != Creating {
		if err := c.Sandbox.DestroyContainer(c.ID); err != nil && !errors.Is(err, sandbox.ErrNotRunning) {
			try(fmt.Errorf("destroying container %s: %w", c.ID, err))
		}
	}
	try(c.Gofer.Destroy())
	try(c.Cgroup.Uninstall())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("deleting container %s: %w", c.ID, err)
	}
	if err := c.removeState(); err != nil {
		return fmt.Errorf("deleting container %s: %w", c.ID, err)
	}
	c.Status = Stopped
	if h := c.Spec.Hooks; h != nil {
		if err := c.runHooks("poststop", h.Poststop, specs.StateStopped); err != nil {
			log.Warningf("%v", err)
		}
	}
	return nil
}

// owner returns the name of the user who runs us. Package os/user would bring in cgo.
func owner() string {
	uid := strconv.Itoa(os.Getuid())
	if uid == "0" {
		return "root"
	}
	data, err := os.ReadFile("/etc/passwd")
	if err != nil {
		return uid
	}
	for _, line := range strings.Split(string(data), "\n") {
		if f := strings.Split(line, ":"); len(f) > 2 && f[2] == uid {
			return f[0]
		}
	}
	return uid
}

// reserve takes an id: it makes sure that no container has it, and that from now on one
// does, whose lock we hold.
func (c *Container) reserve() error {
	if err := os.MkdirAll(c.root, 0o711); err != nil {
		return fmt.Errorf("making root directory: %w", err)
	}
	all, err := lock(filepath.Join(c.root, ".lock"))
	if err != nil {
		return err
	}
	defer func() {
		os.Remove(all.Path()) // nothing stays behind; lock notices
		all.Unlock()
	}()
	ids, err := listIDs(c.root)
	if err != nil {
		return err
	}
	for _, f := range ids {
		if f.id == c.ID {
			return fmt.Errorf("container with given ID already exists: %q", c.ID)
		}
	}
	if c.lock, err = lock(c.fullID().file(c.root, ".lock")); err != nil {
		return err
	}
	if err := c.save(); err != nil {
		c.removeState()
		c.release()
		return err
	}
	return nil
}

// readSpec reads the bundle's specification unless the caller made one.
func (a *Args) readSpec() error {
	bundle, err := filepath.Abs(a.Bundle)
	if err != nil {
		return err
	}
	a.Bundle = bundle
	if a.Spec != nil {
		if err := specutils.Validate(a.Spec); err != nil {
			return err
		}
		specutils.Normalize(a.Spec, a.Bundle, a.Conf.NetRaw)
		return nil
	}
	a.Spec, err = specutils.ReadSpec(a.Bundle, a.Conf.NetRaw)
	return err
}

// WaitRootPID waits for a process of the sandbox's root container.
func (c *Container) WaitRootPID(pid int32) (uint32, error) {
	if err := c.requireAlive(); err != nil {
		return 0, err
	}
	return c.Sandbox.WaitPID(c.SandboxID, pid, false)
}

// AwaitEnd waits until no process of the container is left.
func (c *Container) AwaitEnd(timeout time.Duration) error {
	if c.IsSandboxRoot() {
		if !c.Sandbox.WaitExit(timeout) {
			return fmt.Errorf("container %s has not ended within %v", c.ID, timeout)
		}
		return nil
	}
	_, err := c.Sandbox.Wait(c.ID)
	if errors.Is(err, sandbox.ErrNotRunning) {
		err = nil
	}
	return err
}

// Update changes the limits of the container's cgroup.
func (c *Container) Update(res *specs.LinuxResources) error {
	if err := c.acquire(); err != nil {
		return err
	}
	defer c.release()
	if err := c.requireAlive(); err != nil {
		return err
	}
	return c.Cgroup.Update(res)
}

// Stats returns what the container uses. Processor time and memory are those of the whole
// sandbox on the host; processes are counted as the container sees them.
func (c *Container) Stats() (*cgroup.Stats, error) {
	if err := c.requireAlive(); err != nil {
		return nil, err
	}
	ev, err := c.Sandbox.Event(c.ID)
	if errors.Is(err, sandbox.ErrNotRunning) {
		return nil, errNotRunning
	}
	if err != nil {
		return nil, err
	}
	s := c.Cgroup.Stats()
	s.Pids.Current = uint64(ev.NumProcesses)
	return s, nil
}
