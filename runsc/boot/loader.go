package boot

// This file is a stand-in: it has the Loader's interface but no kernel behind it. Its
// "processes" are goroutines that know a handful of commands (true, false, exit N, echo,
// cat, sleep N, pwd-less programs of a life-cycle test), so that everything around the
// sandbox can be developed and tested before the kernel is there. It is replaced as a
// whole by the real Loader; nothing outside this file depends on it.

import (
	"errors"
	"fmt"
	"os"
	"path"
	"sort"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/boot/filter"
)

// Loader runs the containers of one sandbox.
type Loader struct {
	mu         sync.Mutex // guards the fields below
	containers map[string]*fakeContainer
	paused     bool

	controlFD int
}

type fakeContainer struct {
	args    Args
	started bool
	nextPID int32
	procs   map[int32]*fakeProcess
}

type fakeProcess struct {
	pid    int32
	argv   []string
	stdio  []*os.File
	signal chan int32
	done   chan struct{} // closed when status is set
	status uint32
	begun  time.Time
}

// NewLoader builds the sandbox's kernel and its init process, stopped.
func NewLoader(a Args) (*Loader, error) {
	l := &Loader{controlFD: a.ControlFD, containers: make(map[string]*fakeContainer)}
	return l, l.CreateSubcontainer(a.ID, a)
}

// InstallFilters confines the process's system calls.
func (l *Loader) InstallFilters() error {
	return filter.Install(filter.Options{ControlFD: l.controlFD})
}

// CreateSubcontainer adds a container and its init process, stopped.
func (l *Loader) CreateSubcontainer(cid string, a Args) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.containers[cid]; ok {
		return fmt.Errorf("container %q exists", cid)
	}
	argv := a.Spec.Process.Args
	if err := checkCommand(argv); err != nil {
		return err
	}
	c := &fakeContainer{args: a, nextPID: 1, procs: make(map[int32]*fakeProcess)}
	l.containers[cid] = c
	c.add(argv, a.StdioFDs)
	return nil
}

func checkCommand(argv []string) error {
	switch path.Base(argv[0]) {
	case "nosuch":
		return fmt.Errorf("exec: %q: executable file not found in $PATH", argv[0])
	case "notexec":
		return fmt.Errorf("exec: %q: permission denied", argv[0])
	case "panic":
		var m map[string]int
		m["boom"]++
	case "die":
		unix.Kill(os.Getpid(), unix.SIGKILL)
	}
	return nil
}

func (c *fakeContainer) add(argv []string, fds []int) *fakeProcess {
	p := &fakeProcess{pid: c.nextPID, argv: argv, signal: make(chan int32, 16), done: make(chan struct{}), begun: time.Now()}
	for _, fd := range fds {
		p.stdio = append(p.stdio, os.NewFile(uintptr(fd), "stdio"))
	}
	c.nextPID++
	c.procs[p.pid] = p
	return p
}

// Start lets a container's init process go.
func (l *Loader) Start(cid string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.containers[cid]
	if !ok {
		return fmt.Errorf("no container %q", cid)
	}
	if c.started {
		return fmt.Errorf("container %q has been started", cid)
	}
	c.started = true
	init := c.procs[1]
	if init.finished() {
		return errors.New("init process has been killed")
	}
	go func() {
		init.run()
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, p := range c.procs {
			if p.pid != 1 {
				p.deliver(9)
			}
		}
	}()
	return nil
}

func (p *fakeProcess) finished() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *fakeProcess) deliver(sig int32) {
	select {
	case p.signal <- sig:
	default:
	}
}

func (p *fakeProcess) end(status uint32) {
	p.status = status
	for _, f := range p.stdio {
		f.Close()
	}
	close(p.done)
}

// trapScript waits for a signal, tells of it and exits with 7.
const trapScript = `trap "echo signal 2; exit 7" INT; trap "echo signal 15; exit 7" TERM; trap "echo signal 10; exit 7" USR1; echo ready; while true; do sleep 0.05; done`

// run interprets argv.
func (p *fakeProcess) run() {
	arg := func(i int) string {
		if i < len(p.argv) {
			return p.argv[i]
		}
		return ""
	}
	var code int
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		name := path.Base(arg(0))
		if name == "sh" {
			name = arg(2)
		}
		switch name {
		case "exit 5":
			code = 5
		case "kill -9 $$":
			p.deliver(9)
			select {}
		case "false":
			code = 1
		case "exit":
			code, _ = strconv.Atoi(arg(1))
		case "echo":
			fmt.Fprintln(p.stdio[1], strings.Join(p.argv[1:], " "))
		case "stderr":
			fmt.Fprintln(p.stdio[2], strings.Join(p.argv[1:], " "))
		case "cat":
			buf := make([]byte, 4096)
			for {
				n, err := p.stdio[0].Read(buf)
				if n > 0 {
					p.stdio[1].Write(buf[:n])
				}
				if err != nil {
					return
				}
			}
		case trapScript:
			fmt.Fprintln(p.stdio[1], "ready")
			select {}
		case "sleep":
			d, err := strconv.ParseFloat(arg(1), 64)
			if err != nil {
				d = 3600
			}
			time.Sleep(time.Duration(d * float64(time.Second)))
		case "crash":
			panic("the sentry has a bug")
		}
	}()
	for {
		select {
		case <-finished:
			p.end(uint32(code) << 8)
			return
		case sig := <-p.signal:
			switch {
			case sig == 0 || sig == int32(unix.SIGWINCH) || sig == int32(unix.SIGCHLD) || sig == int32(unix.SIGURG):
			case strings.HasPrefix(arg(2), "trap ") && sig != 9:
				fmt.Fprintf(p.stdio[1], "signal %d\n", sig)
				p.end(7 << 8)
				return
			default:
				p.end(uint32(sig))
				return
			}
		}
	}
}

// Exec starts a process in a running container.
func (l *Loader) Exec(a ExecArgs) (int32, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.containers[a.ContainerID]
	if !ok || !c.started || c.procs[1].finished() {
		closeAll(a.Files)
		return 0, fmt.Errorf("container %q is not running", a.ContainerID)
	}
	if err := checkCommand(a.Argv); err != nil {
		closeAll(a.Files)
		return 0, err
	}
	p := c.add(a.Argv, nil)
	p.stdio = a.Files
	go p.run()
	return p.pid, nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

func (l *Loader) process(cid string, pid int32) (*fakeProcess, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.containers[cid]
	if !ok {
		return nil, fmt.Errorf("no container %q", cid)
	}
	if pid == 0 {
		pid = 1
	}
	p, ok := c.procs[pid]
	if !ok {
		return nil, unix.ESRCH
	}
	return p, nil
}

// Wait blocks until a container's init process has ended and returns its wait(2) status.
func (l *Loader) Wait(cid string) (uint32, error) { return l.WaitPID(cid, 1, false) }

// WaitPID is Wait for any process of the container.
func (l *Loader) WaitPID(cid string, pid int32, clear bool) (uint32, error) {
	p, err := l.process(cid, pid)
	if err != nil {
		return 0, err
	}
	<-p.done
	if clear {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.containers[cid].procs, pid)
	}
	return p.status, nil
}

// Signal sends a signal to one process, all of them, or a foreground group.
func (l *Loader) Signal(cid string, pid int32, signo int32, mode SignalMode) error {
	p, err := l.process(cid, pid)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.containers[cid]
	log.Debugf("signal %d to %s/%d, mode %d", signo, cid, pid, mode)
	targets := []*fakeProcess{p}
	if mode == SignalAll {
		targets = nil
		for _, p := range c.procs {
			targets = append(targets, p)
		}
	}
	for _, p := range targets {
		if p.finished() {
			if mode != SignalAll {
				return unix.ESRCH
			}
			continue
		}
		if p.pid == 1 && !c.started {
			if signo == 9 || signo == 15 {
				p.end(uint32(signo))
			}
			continue
		}
		p.deliver(signo)
	}
	return nil
}

// Processes lists a container's live processes.
func (l *Loader) Processes(cid string) ([]Process, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.containers[cid]
	if !ok {
		return nil, fmt.Errorf("no container %q", cid)
	}
	var list []Process
	for _, p := range c.procs {
		if !p.finished() {
			list = append(list, Process{PID: p.pid, STIME: p.begun.Format("15:04"), TTY: "?", Time: "00:00:00", Cmd: path.Base(p.argv[0])})
		}
	}
	sort.Slice(list, func(i, j int) bool { return list[i].PID < list[j].PID })
	return list, nil
}

// Pause stops all tasks of the sandbox.
func (l *Loader) Pause() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.paused {
		return errors.New("sandbox is paused already")
	}
	l.paused = true
	return nil
}

// Resume undoes Pause.
func (l *Loader) Resume() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.paused {
		return errors.New("sandbox is not paused")
	}
	l.paused = false
	return nil
}

// Stacks returns the stacks of all goroutines.
func (l *Loader) Stacks() string { return log.Stacks(16 << 20) }

// DestroySubcontainer kills what is left of a container and forgets it.
func (l *Loader) DestroySubcontainer(cid string) error {
	if err := l.Signal(cid, 0, 9, SignalAll); err != nil {
		return err
	}
	if _, err := l.Wait(cid); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.containers, cid)
	return nil
}
