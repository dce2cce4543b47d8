package sandbox

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/config"
	"runsc/runsc/netns"
	"runsc/runsc/specutils"
)

// Sandbox is a running sandbox process, as state files know it.
type Sandbox struct {
	ID string `json:"id"` // of its root container
	// PID and StartTime together name the process.
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"`
	// ControlSocket is where it listens; a leading '@' means the abstract namespace.
	ControlSocket string `json:"controlSocket"`
	// Network says what is to be taken over of the network namespace, and what was.
	Network *Network `json:"network,omitempty"`
}

// StartArgs is everything that a new container needs.
type StartArgs struct {
	ID     string
	Conf   *config.Config
	Spec   *specs.Spec // normalized
	Bundle string

	Stdio   [3]*os.File // the application's
	UserLog *os.File    // nil if there is none
	Console bool        // Stdio is a terminal made for the container
	// Attached says that this process stays and will call Pending.Wait.
	Attached bool

	Log                         *os.File // for both processes; nil if there is none, as below
	BootDebugLog, GoferDebugLog *os.File

	NumCPU   int    // 0: the host's
	TotalMem uint64 // 0: the host's
	// CgroupFD is a v2 cgroup to start the processes in, -1 if the caller joined one or
	// there is none.
	CgroupFD int
}

// Gofer is a running gofer process, as state files know it.
type Gofer struct {
	PID       int    `json:"pid"`
	StartTime uint64 `json:"startTime"`
}

// Pending is a sandbox that is ready, but will end unless it is committed.
type Pending struct {
	Sandbox *Sandbox
	Gofer   *Gofer

	sandbox, gofer *child
	sync           *os.File
}

// nobody is the user that sandboxes run as.
const nobody = 65534

// Start makes a sandbox and its root container up to the point where its init process
// exists and has not yet run. On failure nothing is left of it.
func Start(a *StartArgs) (_ *Pending, err error) {
	p := &Pending{}
	var open []*os.File // what the children have got and we do not need
	defer func() {
		for _, f := range open {
			f.Close()
		}
		if err != nil {
			p.Abort()
		}
	}()
	keep := func(f *os.File) *os.File {
		open = append(open, f)
		return f
	}

	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	keep(null)
	restore, err := raiseLimits()
	defer restore()
	if err != nil {
		return nil, err
	}
	data, err := json.Marshal(a.Spec)
	if err != nil {
		return nil, err
	}
	spec, err := dataFile("spec", data)
	if err != nil {
		return nil, err
	}
	keep(spec)
	mountsR, mountsW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	keep(mountsR)
	keep(mountsW)
	control, path, err := listen(a.Conf, a.ID)
	if err != nil {
		return nil, err
	}
	keep(control)
	p.Sandbox = &Sandbox{ID: a.ID, ControlSocket: path, Network: newNetwork(a)}

	var syncChild *os.File
	p.sync, syncChild, err = socketpair("start-sync")
	if err != nil {
		return nil, err
	}
	keep(syncChild)

	gofer := goferCommand(a)
	sandbox := bootCommand(a)
	for range 1 + numBinds(a.Spec) {
		ours, theirs, err := socketpair("9p")
		if err != nil {
			return nil, err
		}
		sandbox.donate("io-fds", keep(ours))
		gofer.donate("io-fds", keep(theirs))
	}
	gofer.donate("spec-fd", spec)
	gofer.donate("mounts-fd", mountsW)
	if a.Conf.Platform == "kvm" {
		device, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
		if err != nil {
			return nil, fmt.Errorf("platform kvm cannot be used here: %w; systrap and ptrace need no device", err)
		}
		sandbox.donate("device-fd", keep(device))
	}
	sandbox.donate("spec-fd", spec)
	sandbox.donate("mounts-fd", mountsR)
	sandbox.donate("controller-fd", control)
	sandbox.donate("start-sync-fd", syncChild)

	// Both children are forked at the same time: the one spends its time mostly in copying
	// namespaces, the other in waiting for its user namespace to be set up.
	type result struct {
		ch  *child
		err error
	}
	started := make(chan result, 1)
	go func() {
		ch, err := startInNamespaces(gofer, a, null, false)
		started <- result{ch, err}
	}()
	p.sandbox, err = startInNamespaces(sandbox, a, null, true)
	g := <-started
	p.gofer = g.ch
	if err == nil {
		err = g.err
	}
	if err != nil {
		return nil, err
	}
	p.Sandbox.PID, p.Sandbox.StartTime = p.sandbox.pid, p.sandbox.start
	p.Gofer = &Gofer{PID: p.gofer.pid, StartTime: p.gofer.start}
	log.Debugf("sandbox %d, gofer %d", p.sandbox.pid, p.gofer.pid)
	p.sandbox.setLimits(a.Spec)
	p.gofer.setLimits(a.Spec)

	// The children have their copies. Ours must go before waiting, or an end of file that
	// tells us of a death would never come.
	for _, f := range open {
		f.Close()
	}
	open = nil
	return p, p.awaitReady(a)
}

// awaitReady waits for the byte that says that the container is made.
func (p *Pending) awaitReady(a *StartArgs) error {
	var buf [1]byte
	if n, _ := p.sync.Read(buf[:]); n == 1 {
		return nil
	}
	// The sandbox gave up. If that is because the gofer failed, the gofer's reason is the
	// better one; otherwise the gofer ends in peace, as its sockets are closed.
	sandbox, gofer := p.sandbox.epitaph(), p.gofer.epitaph()
	p.sandbox, p.gofer = nil, nil
	hint := ""
	if a.Conf.DebugLog != "" {
		hint = "; see the debug log " + a.Conf.DebugLog
	}
	switch {
	case gofer.orderly:
		return errors.New(trimLines(gofer.words))
	case !gofer.clean:
		return fmt.Errorf("gofer %s while the container was made%s", trimLines(gofer.words), hint)
	case sandbox.orderly:
		return errors.New(trimLines(sandbox.words))
	}
	return fmt.Errorf("sandbox %s while the container was made%s", trimLines(sandbox.words), hint)
}

// Commit tells the sandbox that it is recorded, and lives on without this process.
func (p *Pending) Commit() error {
	if _, err := p.sync.Write([]byte{1}); err != nil {
		return fmt.Errorf("sandbox %s while the container was made", trimLines(p.sandbox.epitaph().words))
	}
	return nil
}

// Abort undoes Start: both processes are gone when it returns.
func (p *Pending) Abort() {
	if p.sync != nil {
		p.sync.Close()
		p.sync = nil
	}
	p.sandbox.stop()
	p.gofer.stop()
	if p.Sandbox != nil {
		p.Sandbox.removeSocket()
	}
}

// Wait waits for the end of an attached sandbox and returns the wait(2) status of the root
// container's init process. If the sandbox itself was killed, that is the status.
func (p *Pending) Wait() (uint32, error) {
	var buf [4]byte
	_, err := io.ReadFull(p.sync, buf[:])
	if err == nil {
		p.sandbox.proc.Wait()
		p.gofer.proc.Wait()
		return binary.LittleEndian.Uint32(buf[:]), nil
	}
	e := p.sandbox.epitaph()
	if e.killedBy == unix.SIGKILL {
		// Somebody wanted it so, or the kernel for want of memory.
		log.Warningf("the sandbox was killed")
		return uint32(e.killedBy), nil
	}
	return 0, fmt.Errorf("sandbox %s", trimLines(e.words))
}

// Epitaph says how the sandbox, which is known to be dead, died.
func (p *Pending) Epitaph() error {
	return fmt.Errorf("sandbox %s", trimLines(p.sandbox.epitaph().words))
}

func numBinds(spec *specs.Spec) int {
	n := 0
	for i := range spec.Mounts {
		if specutils.IsBind(&spec.Mounts[i]) {
			n++
		}
	}
	return n
}

func baseCommand(a *StartArgs, argv0, name string, debugLog *os.File) *command {
	c := &command{argv0: argv0, global: a.Conf.ToFlags(), name: name, id: a.ID}
	if a.Log != nil {
		c.donateGlobal("log-fd", a.Log)
	}
	if debugLog != nil {
		c.donateGlobal("debug-log-fd", debugLog)
	}
	c.flags = append(c.flags, "--bundle="+a.Bundle)
	// No terminal of the caller's may send its signals to our processes.
	c.attr.Setsid = true
	if a.CgroupFD >= 0 {
		c.attr.UseCgroupFD, c.attr.CgroupFD = true, a.CgroupFD
	}
	if !a.Conf.TestOnlyNonRoot {
		c.flags = append(c.flags, "--setup-root", "--apply-caps")
	}
	return c
}

func goferCommand(a *StartArgs) *command {
	c := baseCommand(a, "runsc-gofer", "gofer", a.GoferDebugLog)
	c.env = childEnv(min(runtime.NumCPU(), 4))
	if a.Conf.TestOnlyNonRoot {
		return c
	}
	c.attr.Cloneflags = unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWPID | unix.CLONE_NEWNET
	uid, gid := mappings(a.Spec)
	if os.Geteuid() != 0 && uid == nil {
		uid = []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}}
		gid = []syscall.SysProcIDMap{{HostID: os.Getegid(), Size: 1}}
	}
	if uid != nil {
		c.attr.Cloneflags |= unix.CLONE_NEWUSER
		c.attr.UidMappings, c.attr.GidMappings = uid, gid
		c.attr.GidMappingsEnableSetgroups = os.Geteuid() == 0
		c.attr.Credential = &syscall.Credential{NoSetGroups: os.Geteuid() != 0}
	}
	return c
}

// mappings returns the specification's user namespace, nil if it has none of its own.
func mappings(spec *specs.Spec) (uid, gid []syscall.SysProcIDMap) {
	if ns, ok := specutils.Namespace(spec, specs.UserNamespace); !ok || ns.Path != "" {
		return nil, nil
	}
	for _, m := range spec.Linux.UIDMappings {
		uid = append(uid, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	for _, m := range spec.Linux.GIDMappings {
		gid = append(gid, syscall.SysProcIDMap{ContainerID: int(m.ContainerID), HostID: int(m.HostID), Size: int(m.Size)})
	}
	return uid, gid
}

func bootCommand(a *StartArgs) *command {
	c := baseCommand(a, "runsc-sandbox", "boot", a.BootDebugLog)
	cpus := a.NumCPU
	if cpus <= 0 {
		cpus = runtime.NumCPU()
	}
	c.env = childEnv(max(cpus, 2))
	c.flags = append(c.flags, fmt.Sprintf("--cpu-num=%d", cpus))
	if a.TotalMem > 0 {
		c.flags = append(c.flags, fmt.Sprintf("--total-memory=%d", a.TotalMem))
	}
	if a.Attached {
		c.flags = append(c.flags, "--attached")
	}
	for _, f := range a.Stdio {
		c.donate("stdio-fds", f)
	}
	if a.Console {
		c.flags = append(c.flags, "--console")
		c.attr.Setctty = true
		c.attr.Ctty = 2 + len(c.files) // any of the three: the last one donated
	}
	if a.UserLog != nil {
		c.donate("user-log-fd", a.UserLog)
	}
	if a.Conf.TestOnlyNonRoot {
		return c
	}
	c.flags = append(c.flags, "--pidns")
	c.attr.Cloneflags = unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWPID
	// The only user inside is nobody, inside and out. Its capabilities, which are good for
	// making an empty root and nothing else, would be lost over execve if they were not
	// ambient.
	root := os.Geteuid() == 0
	hostUID, hostGID := nobody, nobody
	if !root {
		hostUID, hostGID = os.Geteuid(), os.Getegid()
	}
	c.attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: hostUID, Size: 1}}
	c.attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: nobody, HostID: hostGID, Size: 1}}
	c.attr.GidMappingsEnableSetgroups = root
	c.attr.Credential = &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: !root}
	c.attr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN}
	return c
}

// startInNamespaces starts a child, the sandbox in the network namespace it belongs in.
func startInNamespaces(c *command, a *StartArgs, null *os.File, isBoot bool) (*child, error) {
	if !isBoot || a.Conf.TestOnlyNonRoot {
		return c.startChild(null)
	}
	ns, listed := specutils.Namespace(a.Spec, specs.NetworkNamespace)
	switch {
	case a.Conf.Network == config.NetworkNone || listed && ns.Path == "":
		c.attr.Cloneflags |= unix.CLONE_NEWNET
		return c.startChild(null)
	case a.Conf.Network == config.NetworkSandbox:
		if !listed {
			// The caller lives there, and would be cut off, whichever it is.
			return nil, netns.ErrHostNamespace
		}
		if err := netns.CheckNotHost(ns.Path); err != nil {
			return nil, err
		}
	}
	if !listed {
		return c.startChild(null) // the caller's
	}
	return inNetworkNamespace(ns.Path, func() (*child, error) { return c.startChild(null) })
}

// inNetworkNamespace runs f on a thread that is in the network namespace at path.
func inNetworkNamespace(path string, f func() (*child, error)) (*child, error) {
	target, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", path, noPath(err))
	}
	defer target.Close()
	runtime.LockOSThread()
	own, err := os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
	if err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	defer own.Close()
	if err := unix.Setns(int(target.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("network namespace %s: %w", path, err)
	}
	ch, err := f()
	if rerr := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); rerr == nil {
		runtime.UnlockOSThread()
	} // else the thread stays locked and ends with the goroutine
	return ch, err
}

// maxSocketPath is the size of sun_path, of which the kernel wants a terminating zero.
const maxSocketPath = 107

// socketPath returns where the control socket of a sandbox is.
func socketPath(root, id string) string {
	path := filepath.Join(root, "runsc-"+id+".sock")
	if len(path) > maxSocketPath {
		path = "@runsc-" + abstractName(root, id)
	}
	return path
}

// RemoveSocket removes the control socket of a sandbox whose making was cut short.
func RemoveSocket(root, id string) {
	(&Sandbox{ControlSocket: socketPath(root, id)}).removeSocket()
}

// listen makes the control socket. Its path is in the state directory, where only the owner
// can reach it; a name in the abstract namespace is only used if that path is too long.
func listen(conf *config.Config, id string) (*os.File, string, error) {
	path := socketPath(conf.RootDir, id)
	if path[0] != '@' {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, "", err
		}
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, "", os.NewSyscallError("socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		unix.Close(fd)
		return nil, "", fmt.Errorf("binding control socket %s: %w", path, err)
	}
	if path[0] != '@' {
		os.Chmod(path, 0o600)
	}
	if err := unix.Listen(fd, 128); err != nil {
		unix.Close(fd)
		return nil, "", os.NewSyscallError("listen", err)
	}
	return os.NewFile(uintptr(fd), "control"), path, nil
}
