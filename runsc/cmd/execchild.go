package cmd

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/google/subcommands"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/boot"
	"runsc/runsc/console"
	"runsc/runsc/container"
)

// The child that stands for an executed process on the host. The parent executes this
// program with the arguments that it got itself, plus --internal-child-fd, a pipe on which
// the child says how it went: one zero byte when the process runs, or else why not.

// runThroughChild starts the child and returns when the process runs, or, unless detached,
// when it has ended.
func (e *Exec) runThroughChild(f *flag.FlagSet, terminal bool, size *specs.Box) subcommands.ExitStatus {
	var fw *forwarder
	if !e.detach {
		fw = newForwarder()
		defer fw.stop()
	}
	stdio := []*os.File{os.Stdin, os.Stdout, os.Stderr}
	var master *os.File
	if terminal {
		m, slave, err := console.New(size)
		if err != nil {
			return fail(err)
		}
		master = m
		defer slave.Close()
		stdio = []*os.File{slave, slave, slave}
	}
	if e.consoleSocket != "" {
		err := console.Send(e.consoleSocket, master)
		master.Close()
		if err != nil {
			return fail(err)
		}
		master = nil
	}
	child, report, err := e.startChild(f, stdio, terminal)
	if err != nil {
		if master != nil {
			master.Close()
		}
		return fail(err)
	}
	if terminal {
		stdio[0].Close() // the end of output is when nobody has it open
	}
	said, err := io.ReadAll(report)
	report.Close()
	if len(said) != 1 || said[0] != 0 {
		child.Wait()
		if master != nil {
			master.Close()
		}
		if len(said) > 0 {
			return fail(errors.New(string(said)))
		}
		return fail(fmt.Errorf("exec failed: the process that stands for it died: %v", err))
	}
	if e.detach {
		return subcommands.ExitSuccess
	}
	var session *console.Session
	if master != nil {
		if session, err = console.Serve(master); err != nil {
			child.Kill()
			child.Wait()
			return fail(err)
		}
	}
	fw.toProcess(child)
	state, err := child.Wait()
	if session != nil {
		session.Stop()
	}
	if err != nil {
		return fail(err)
	}
	return exitStatus(uint32(state.Sys().(syscall.WaitStatus)))
}

// startChild executes this program again as the child.
func (e *Exec) startChild(f *flag.FlagSet, stdio []*os.File, terminal bool) (*os.Process, *os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	defer w.Close()
	files := append(append([]*os.File(nil), stdio...), w)
	argv := append([]string(nil), os.Args[:len(os.Args)-len(subcommandArgs())]...)
	// The child appends to the same logs.
	argv = append(argv, "exec", fmt.Sprintf("--internal-child-fd=%d", len(files)-1))
	argv = append(argv, subcommandArgs()[1:]...)
	proc, err := os.StartProcess("/proc/self/exe", argv, &os.ProcAttr{
		Files: files,
		Env:   os.Environ(),
		Sys:   &syscall.SysProcAttr{Setsid: true, Setctty: terminal, Ctty: 0},
	})
	if err != nil {
		r.Close()
		return nil, nil, fmt.Errorf("starting the process that stands for it: %w", err)
	}
	return proc, r, nil
}

// report tells the parent why the process does not run.
func (e *Exec) report(err error) {
	f := os.NewFile(uintptr(e.childFD), "report")
	f.WriteString(err.Error())
	f.Close()
}

// runChild is the child: it starts the process, and ends as that does.
func (e *Exec) runChild(c *container.Container, a boot.ExecArgs) subcommands.ExitStatus {
	unix.CloseOnExec(e.childFD)
	fw := newForwarder()
	defer fw.stop()
	if a.Terminal {
		fw.alsoTerminal()
	}
	pid, err := c.Execute(a, []*os.File{os.Stdin, os.Stdout, os.Stderr})
	if err != nil {
		return e.fail(fmt.Errorf("exec failed: %w", err))
	}
	if err := e.writePIDFiles(pid); err != nil {
		return e.fail(err)
	}
	fw.to(c, pid, a.Terminal)
	// This process lives as long as the other, but must not keep its stdio: a pipe's reader
	// waits for all writers, a terminal for its last user.
	if null, err := os.OpenFile("/dev/null", os.O_RDWR, 0); err == nil {
		for fd := range 3 {
			unix.Dup3(int(null.Fd()), fd, 0)
		}
		null.Close()
	}
	if _, err := unix.Write(e.childFD, []byte{0}); err != nil {
		log.Debugf("parent is gone: %v", err)
	}
	unix.Close(e.childFD)
	status, err := c.WaitPID(pid, true)
	if err != nil {
		log.Errorf("waiting for process %d: %v", pid, err)
		return ExitFailure
	}
	return exitStatus(status)
}
