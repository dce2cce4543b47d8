package boot

import (
	"errors"
	"fmt"
	"sync"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/fs/gofer"
	"runsc/pkg/sentry/fs/host"
	"runsc/pkg/sentry/fs/tty/jobs"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
	"runsc/runsc/boot/filter"
	"runsc/runsc/config"
)

// Loader runs the containers of one sandbox: a kernel, and for each container its mounts and
// processes. Its methods may be called by several goroutines.
type Loader struct {
	k    *kernel.Kernel
	conf *config.Config

	idleFDs int // gofer.Options.IdleFDs of every mount

	mu         sync.Mutex // guards the map and the fields of containers that say so
	containers map[string]*container
	networked  bool // ConfigureNetwork was called
	hostFiles  *host.Filesystem
	controlFD  int
}

// container is one container of the sandbox.
type container struct {
	id      string
	spec    *specs.Spec
	mounts  *vfs.MountNamespace
	init    *process
	started bool // guarded by Loader.mu
	// execs are the processes that Exec made, by pid; guarded by Loader.mu.
	execs map[int32]*process
	uts   *kernel.UTSNamespace
	ipc   *kernel.IPCNamespace
	net   *kernel.NetNamespace
	pidns *kernel.PIDNamespace
}

// NewLoader builds the sandbox's kernel, the mounts of its root container, and that
// container's init process, which waits for Start.
func NewLoader(a Args) (*Loader, error) {
	k, err := newKernel(&a)
	if err != nil {
		return nil, err
	}
	// Of the files that nobody uses, so many are kept at hand that there is room for those that
	// somebody does. This is the time to ask: the sandbox's filter forbids it.
	files := maxOpenFiles()
	k.VFS().LimitDentries(files / 2)
	l := &Loader{
		k: k, conf: a.Conf, idleFDs: min(gofer.DefaultIdleFDs, files/4),
		containers: map[string]*container{}, hostFiles: host.New(k.VFS()), controlFD: a.ControlFD,
	}
	if err := l.create(a.ID, &a, k.RootUTSNamespace(), k.RootIPCNamespace(), k.NewNetNamespace(k.RootUserNamespace()), k.RootPIDNamespace()); err != nil {
		return nil, err
	}
	return l, nil
}

// maxOpenFiles is RLIMIT_NOFILE of the sandbox, and of its gofers.
func maxOpenFiles() int {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 1024
	}
	return int(min(l.Cur, 1<<30))
}

// CreateSubcontainer adds a container to the sandbox; its init process waits for Start. It
// shares the network stack, and has pid, IPC and UTS namespaces of its own.
func (l *Loader) CreateSubcontainer(cid string, a Args) error {
	u := l.k.RootUserNamespace()
	pidns, err := l.k.RootPIDNamespace().NewChild(u)
	if err != nil {
		return err
	}
	l.mu.Lock()
	var net *kernel.NetNamespace
	for _, c := range l.containers {
		net = c.net
		break
	}
	_, exists := l.containers[cid]
	l.mu.Unlock()
	if exists {
		return fmt.Errorf("container %q exists in the sandbox", cid)
	}
	host := a.Spec.Hostname
	return l.create(cid, &a, kernel.NewUTSNamespace(u, host, a.Spec.Domainname), kernel.NewIPCNamespace(u), net, pidns)
}

func (l *Loader) create(cid string, a *Args, uts *kernel.UTSNamespace, ipc *kernel.IPCNamespace, net *kernel.NetNamespace, pidns *kernel.PIDNamespace) error {
	c := &container{id: cid, spec: a.Spec, execs: map[int32]*process{}, uts: uts, ipc: ipc, net: net, pidns: pidns}
	var err error
	if c.mounts, err = l.mount(a); err != nil {
		return err
	}
	p := a.Spec.Process
	if c.init, err = l.newProcess(c, &processArgs{
		argv: p.Args, envv: p.Env, cwd: p.Cwd, user: p.User, caps: p.Capabilities, rlimits: p.Rlimits,
		noNewPrivs: p.NoNewPrivileges, oomScoreAdj: p.OOMScoreAdj, stdio: a.StdioFDs, terminal: a.Console,
	}); err != nil {
		return err
	}
	l.mu.Lock()
	l.containers[cid] = c
	l.mu.Unlock()
	return nil
}

func (l *Loader) container(cid string) (*container, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.containers[cid]
	if !ok {
		return nil, fmt.Errorf("no container %q in the sandbox", cid)
	}
	return c, nil
}

// Start lets a container's init process go.
func (l *Loader) Start(cid string) error {
	c, err := l.container(cid)
	if err != nil {
		return err
	}
	l.mu.Lock()
	started := c.started
	c.started = true
	l.mu.Unlock()
	if started {
		return fmt.Errorf("container %q has been started", cid)
	}
	select {
	case <-c.init.ended:
		return errors.New("the init process has been killed")
	default:
	}
	c.init.tg.Start()
	return nil
}

// Exec adds a process to a running container and starts it. It returns the process's number
// in the container's pid namespace.
func (l *Loader) Exec(a ExecArgs) (int32, error) {
	fds, err := releaseFiles(a.Files)
	if err != nil {
		return 0, err
	}
	c, err := l.container(a.ContainerID)
	if err != nil {
		closeAll(fds)
		return 0, err
	}
	cwd := a.WorkingDirectory
	if cwd == "" {
		cwd = c.spec.Process.Cwd
	}
	p, err := l.newProcess(c, &processArgs{
		argv: a.Argv, envv: a.Envv, cwd: cwd,
		user: specs.User{UID: a.UID, GID: a.GID, AdditionalGids: a.AdditionalGIDs, Umask: a.Umask},
		caps: a.Capabilities, rlimits: a.Rlimits, noNewPrivs: a.NoNewPrivileges, stdio: fds, terminal: a.Terminal,
	})
	if err != nil {
		return 0, err
	}
	pid := p.tg.PID()
	l.mu.Lock()
	c.execs[pid] = p
	l.mu.Unlock()
	p.tg.Start()
	return pid, nil
}

// Wait blocks until a container's init process has ended, and returns its wait(2) status.
func (l *Loader) Wait(cid string) (uint32, error) {
	c, err := l.container(cid)
	if err != nil {
		return 0, err
	}
	<-c.init.ended
	return c.init.tg.ExitStatus(), nil
}

// WaitPID blocks until a process that Exec made has ended, and returns its wait(2) status.
// With clear the status is forgotten. A pid of 0 or of init is Wait.
func (l *Loader) WaitPID(cid string, pid int32, clear bool) (uint32, error) {
	c, err := l.container(cid)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	p := c.execs[pid]
	l.mu.Unlock()
	switch {
	case p != nil:
		<-p.ended
	case pid == 0 || pid == 1:
		return l.Wait(cid)
	default:
		return 0, fmt.Errorf("no process %d in container %q", pid, cid)
	}
	if clear {
		l.mu.Lock()
		delete(c.execs, pid)
		l.mu.Unlock()
	}
	return p.tg.ExitStatus(), nil
}

// Signal sends a signal by mode; see SignalMode. A process that is gone is ESRCH.
func (l *Loader) Signal(cid string, pid, signo int32, mode SignalMode) error {
	c, err := l.container(cid)
	if err != nil {
		return err
	}
	l.mu.Lock()
	started := c.started
	tg, console := c.init.tg, c.init.console
	if p := c.execs[pid]; p != nil {
		tg, console = p.tg, p.console
	} else if pid != 0 && pid != 1 {
		tg = c.pidns.ThreadGroup(pid)
	}
	l.mu.Unlock()
	if !started {
		if signo == int32(unix.SIGKILL) {
			c.init.tg.Abandon()
			l.mu.Lock()
			c.started = true
			l.mu.Unlock()
			return nil
		}
	}
	if mode == SignalAll {
		found := false
		for _, tg := range c.pidns.ThreadGroups() {
			if tg.ContainerID == cid {
				found = deliver(tg, signo) == nil || found
			}
		}
		if !found {
			return unix.ESRCH
		}
		if signo == int32(unix.SIGKILL) {
			return l.awaitNone(c)
		}
		return nil
	}
	if tg == nil {
		return unix.ESRCH
	}
	if mode == SignalForegroundGroup && signo == int32(unix.SIGWINCH) && console != nil {
		console.Resized() // which tells the foreground group
		return nil
	}
	if mode == SignalForegroundGroup {
		if t := jobs.Terminal(tg); t != nil {
			if g := t.Foreground(); g != nil {
				g.Signal(signo)
				return nil
			}
		}
	}
	return deliver(tg, signo)
}

// awaitNone waits until no process of the container is left.
func (l *Loader) awaitNone(c *container) error {
	deadline := time.Now().Add(10 * time.Second)
	for time.Now().Before(deadline) {
		left := 0
		for _, tg := range c.pidns.ThreadGroups() {
			if tg.ContainerID == c.id && !tg.IsZombie() {
				left++
			}
		}
		if left == 0 {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("container %q: processes are left after SIGKILL", c.id)
}

// deliver sends a signal of the operator, which also reaches an init that has no handler
// for it.
func deliver(tg *kernel.ThreadGroup, signo int32) error {
	if tg.IsReaped() {
		return unix.ESRCH
	}
	info := arch.NewKernelSignal(signo)
	return tg.SendSignal(&info)
}

// InstallFilters restricts the system calls of the process, for good.
func (l *Loader) InstallFilters() error {
	o := filter.Options{Platform: l.k.Platform().SeccompRules(), ControlFD: l.controlFD, Profile: l.conf.Profile,
		HostNetwork: l.conf.Network == config.NetworkHost}
	for _, w := range filter.Widened(o) {
		log.Warningf("the system call filter is wider than usual: %s", w)
	}
	return filter.Install(o)
}

// Pause halts application code; Resume lets it go on.
func (l *Loader) Pause() error {
	l.k.Pause()
	return nil
}

// Resume ends Pause.
func (l *Loader) Resume() error {
	l.k.Resume()
	return nil
}

// Stacks returns the stacks of all goroutines.
func (l *Loader) Stacks() string { return log.Stacks(1 << 26) }

// DestroySubcontainer ends a container's processes and forgets it.
func (l *Loader) DestroySubcontainer(cid string) error {
	c, err := l.container(cid)
	if err != nil {
		return err
	}
	if err := l.Signal(cid, 0, int32(unix.SIGKILL), SignalAll); err != nil && err != unix.ESRCH {
		return err
	}
	l.mu.Lock()
	delete(l.containers, cid)
	l.mu.Unlock()
	c.mounts.DecRef(rootContext(l.k))
	return nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// rootCredentials are those of the sandbox's own acts, such as mounting.
func rootCredentials(k *kernel.Kernel) *auth.Credentials {
	return auth.NewRootCredentials(k.RootUserNamespace())
}
