package cmd

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/google/subcommands"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/config"
	"runsc/runsc/container"
	"runsc/runsc/natnet"
)

// doNetworkCommand is the internal command that keeps the network of a `runsc do`.
const doNetworkCommand = "do-network"

// DoNetwork is that command. It makes a network, says on stdout where the namespace is, and waits
// until its stdin ends, which means that its parent has ended, in whatever way. Then it removes
// the parent's container, if that is still there, and the network.
type DoNetwork struct{ ip string }

// Name implements subcommands.Command.
func (*DoNetwork) Name() string { return doNetworkCommand }

// Synopsis implements subcommands.Command.
func (*DoNetwork) Synopsis() string { return "keep the network of a quick sandbox (internal)" }

// Usage implements subcommands.Command.
func (*DoNetwork) Usage() string { return doNetworkCommand + " ID - started by do only.\n" }

// SetFlags implements subcommands.Command.
func (d *DoNetwork) SetFlags(f *flag.FlagSet) { f.StringVar(&d.ip, "ip", "", "address of the sandbox") }

// Execute implements subcommands.Command.
func (d *DoNetwork) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	conf, id := args[0].(*config.Config), f.Arg(0)
	// What the user types is for the sandbox.
	signal.Ignore(unix.SIGINT, unix.SIGQUIT, unix.SIGTERM, unix.SIGHUP, unix.SIGPIPE, unix.SIGTSTP)
	addr, err := netip.ParseAddr(d.ip)
	if err != nil || len(id) < 8 {
		return usageError(f, "not to be called by hand")
	}
	n, err := natnet.Create(conf.RootDir, id[len(id)-8:], addr)
	if err != nil {
		fmt.Printf("error %v\n", err)
		return ExitFailure
	}
	fmt.Printf("path %s\n", n.Path())
	io.Copy(io.Discard, os.Stdin)
	container.RemoveUnborn(conf, id)
	c, err := container.Load(conf, id)
	if err == nil {
		err = c.Destroy(true)
	}
	if err != nil && !errors.Is(err, container.ErrNotExist) {
		log.Warningf("removing the container of a killed command: %v", err)
	}
	n.Remove(conf.RootDir)
	return subcommands.ExitSuccess
}

// doNetwork is the parent's end of that process.
type doNetwork struct {
	path string
	proc *os.Process
	end  *os.File // the child lives until this is closed
}

// startDoNetwork starts the process for a container that is to be made.
func startDoNetwork(conf *config.Config, id, ip string) (*doNetwork, error) {
	stdinR, stdinW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer stdinR.Close()
	stdoutR, stdoutW, err := os.Pipe()
	if err != nil {
		stdinW.Close()
		return nil, err
	}
	defer stdoutR.Close()
	argv := append([]string{"runsc-do-network"}, conf.ToFlags()...)
	files := []*os.File{stdinR, stdoutW, os.Stderr}
	if logs.log != nil {
		argv = append(argv, "--log-fd=3")
		files = append(files, logs.log)
	}
	proc, err := os.StartProcess("/proc/self/exe", append(argv, doNetworkCommand, "--ip="+ip, id), &os.ProcAttr{
		Files: files, Env: append(os.Environ(), "GOMAXPROCS=1"), Sys: &syscall.SysProcAttr{Setsid: true},
	})
	stdoutW.Close()
	if err != nil {
		stdinW.Close()
		return nil, err
	}
	n := &doNetwork{proc: proc, end: stdinW}
	line, _ := bufio.NewReader(stdoutR).ReadString('\n')
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	if word == "path" {
		n.path = rest
		return n, nil
	}
	n.stop()
	if word == "error" {
		return nil, errors.New(rest)
	}
	return nil, errors.New("the process that makes it has died")
}

// stop removes the network and waits until it is gone.
func (n *doNetwork) stop() {
	n.end.Close()
	n.proc.Wait()
}
