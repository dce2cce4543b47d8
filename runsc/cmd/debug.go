package cmd

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/google/subcommands"

	"runsc/runsc/boot"
	"runsc/runsc/config"
	"runsc/runsc/container"
	"runsc/runsc/specutils"
)

// Debug is the command "debug".
type Debug struct {
	pid      int
	stacks   bool
	ps       bool
	signal   int
	logLevel string
	profiles [5]string // files, in the order of profileMethods
	duration time.Duration
}

// profileMethods are the flags for profiles and the calls they make.
var profileMethods = [5]struct{ flag, method, help string }{
	{"profile-heap", boot.MethodProfileHeap, "write a heap profile to this file"},
	{"profile-cpu", boot.MethodProfileCPU, "write a CPU profile to this file"},
	{"profile-block", boot.MethodProfileBlock, "write a profile of blocking to this file"},
	{"profile-mutex", boot.MethodProfileMutex, "write a profile of lock contention to this file"},
	{"trace", boot.MethodProfileTrace, "write an execution trace to this file"},
}

// Name implements subcommands.Command.
func (*Debug) Name() string { return "debug" }

// Synopsis implements subcommands.Command.
func (*Debug) Synopsis() string { return "look into a sandbox" }

// Usage implements subcommands.Command.
func (*Debug) Usage() string {
	return "debug [flags] ID - look into the sandbox of a container.\n"
}

// SetFlags implements subcommands.Command.
func (d *Debug) SetFlags(f *flag.FlagSet) {
	f.IntVar(&d.pid, "pid", 0, "sandbox process, instead of a container's id")
	f.BoolVar(&d.stacks, "stacks", false, "print the stacks of all goroutines of the sandbox")
	f.BoolVar(&d.ps, "ps", false, "list the processes of the container")
	f.IntVar(&d.signal, "signal", -1, "send a signal to the sandbox process itself")
	f.StringVar(&d.logLevel, "log-level", "", "set the sandbox's log level: off, error, warning, info or debug")
	f.DurationVar(&d.duration, "duration", time.Second, "how long to profile")
	for i, p := range profileMethods {
		f.StringVar(&d.profiles[i], p.flag, "", p.help)
	}
}

// Execute implements subcommands.Command.
func (d *Debug) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	c, err := d.find(f, args[0].(*config.Config))
	if err != nil {
		return fail(err)
	}
	if c == nil {
		return usageError(f, "requires a container's id or --pid")
	}
	if err := d.run(c); err != nil {
		return fail(err)
	}
	return subcommands.ExitSuccess
}

func (d *Debug) find(f *flag.FlagSet, conf *config.Config) (*container.Container, error) {
	switch {
	case d.pid != 0 && f.NArg() == 0:
		list, err := container.List(conf)
		if err != nil {
			return nil, err
		}
		for _, c := range list {
			if c.IsSandboxRoot() && c.PID() == d.pid {
				return c, nil
			}
		}
		return nil, fmt.Errorf("no sandbox has pid %d", d.pid)
	case d.pid == 0 && f.NArg() == 1:
		return container.Load(conf, f.Arg(0))
	}
	return nil, nil
}

func (d *Debug) run(c *container.Container) error {
	if !c.Sandbox.IsRunning() {
		return fmt.Errorf("sandbox of container %s is not running", c.ID)
	}
	if d.signal > 0 {
		sig, err := parseSignal(fmt.Sprint(d.signal))
		if err != nil {
			return err
		}
		if err := specutils.KillProcess(c.Sandbox.PID, c.Sandbox.StartTime, sig); err != nil {
			return fmt.Errorf("sending signal %d to sandbox %d: %w", d.signal, c.Sandbox.PID, err)
		}
	}
	if d.logLevel != "" {
		if err := c.Sandbox.SetLogLevel(d.logLevel); err != nil {
			return err
		}
	}
	if d.stacks {
		s, err := c.Sandbox.Stacks()
		if err != nil {
			return err
		}
		fmt.Println(s)
	}
	if d.ps {
		list, err := c.Processes()
		if err != nil {
			return err
		}
		if err := printProcesses(os.Stdout, list); err != nil {
			return err
		}
	}
	return d.profile(c)
}

// profile takes the profiles asked for, all at the same time.
func (d *Debug) profile(c *container.Container) error {
	results := make(chan error)
	n := 0
	for i, name := range d.profiles {
		if name == "" {
			continue
		}
		out, err := os.Create(name)
		if err != nil {
			return err
		}
		n++
		go func() {
			err := c.Sandbox.Profile(profileMethods[i].method, out, d.duration)
			if cerr := out.Close(); err == nil {
				err = cerr
			}
			if err != nil {
				err = fmt.Errorf("--%s: %w", profileMethods[i].flag, err)
			}
			results <- err
		}()
	}
	var first error
	for range n {
		if err := <-results; err != nil && first == nil {
			first = err
		}
	}
	return first
}
