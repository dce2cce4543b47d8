package cmd

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/subcommands"
	"golang.org/x/sys/unix"

	"runsc/runsc/boot"
	"runsc/runsc/config"
	"runsc/runsc/container"
)

// Kill is the command "kill".
type Kill struct {
	all bool
	pid int
}

// Name implements subcommands.Command.
func (*Kill) Name() string { return "kill" }

// Synopsis implements subcommands.Command.
func (*Kill) Synopsis() string { return "send a signal to a container" }

// Usage implements subcommands.Command.
func (*Kill) Usage() string {
	return "kill [flags] ID [SIGNAL] - send a signal (default TERM) to a container's init process.\n"
}

// SetFlags implements subcommands.Command.
func (k *Kill) SetFlags(f *flag.FlagSet) {
	boolFlag(f, &k.all, "all", "a", "send the signal to all processes of the container")
	f.IntVar(&k.pid, "pid", 0, "send the signal to this process of the container")
}

// killTime bounds how long kill --all KILL waits for the processes to be gone.
const killTime = 30 * time.Second

// Execute implements subcommands.Command.
func (k *Kill) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if f.NArg() != 1 && f.NArg() != 2 {
		return usageError(f, "requires the container's id and perhaps a signal")
	}
	if k.all && k.pid != 0 {
		return usageError(f, "--all and --pid contradict each other")
	}
	sig := unix.SIGTERM
	if f.NArg() == 2 {
		var err error
		if sig, err = parseSignal(f.Arg(1)); err != nil {
			return fail(err)
		}
	}
	c, err := container.Load(args[0].(*config.Config), f.Arg(0))
	if err != nil {
		return fail(err)
	}
	if k.all {
		if c.Status == container.Stopped {
			return subcommands.ExitSuccess // nobody is left to be killed
		}
		err = c.Signal(sig, 0, boot.SignalAll)
		if err == nil && sig == unix.SIGKILL {
			err = c.AwaitEnd(killTime)
		}
	} else {
		err = c.Signal(sig, int32(k.pid), boot.SignalProcess)
	}
	if err != nil {
		return fail(err)
	}
	return subcommands.ExitSuccess
}

// parseSignal takes a number or a name, in any case, with or without "SIG".
func parseSignal(s string) (unix.Signal, error) {
	if n, err := strconv.Atoi(s); err == nil {
		if n < 0 || n > 64 {
			return 0, fmt.Errorf("unknown signal %q", s)
		}
		return unix.Signal(n), nil
	}
	name := strings.TrimPrefix(strings.ToUpper(s), "SIG")
	if n := unix.SignalNum("SIG" + name); n != 0 {
		return n, nil
	}
	// The kernel's names of real-time signals, as kill(1) prints them.
	const minRT, maxRT = 34, 64
	for _, rt := range []struct {
		prefix string
		base   int
		step   int
	}{{"RTMIN", minRT, 1}, {"RTMAX", maxRT, -1}} {
		rest, ok := strings.CutPrefix(name, rt.prefix)
		if !ok {
			continue
		}
		n := 0
		if rest != "" {
			if rest[0] != "-+"[(rt.step+1)/2] {
				break
			}
			var err error
			if n, err = strconv.Atoi(rest[1:]); err != nil || n < 0 || n > maxRT-minRT {
				break
			}
		}
		return unix.Signal(rt.base + rt.step*n), nil
	}
	return 0, fmt.Errorf("unknown signal %q", s)
}
