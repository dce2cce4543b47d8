package cmd

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/google/subcommands"

	"runsc/pkg/log"
	"runsc/runsc/config"
	"runsc/runsc/console"
	"runsc/runsc/container"
)

// Run is the command "run".
type Run struct {
	Create
	detach  bool
	keep    bool
	ignored bool
}

// Name implements subcommands.Command.
func (*Run) Name() string { return "run" }

// Synopsis implements subcommands.Command.
func (*Run) Synopsis() string { return "create and start a container, and wait for its end" }

// Usage implements subcommands.Command.
func (*Run) Usage() string {
	return "run [flags] ID - create and start a container, and wait for its end.\n"
}

// SetFlags implements subcommands.Command.
func (r *Run) SetFlags(f *flag.FlagSet) {
	r.Create.SetFlags(f)
	boolFlag(f, &r.detach, "detach", "d", "return as soon as the container runs")
	f.BoolVar(&r.keep, "keep", false, "do not delete the container after it exits")
	f.BoolVar(&r.ignored, "no-subreaper", false, "accepted and ignored")
}

// Execute implements subcommands.Command.
func (r *Run) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if f.NArg() != 1 {
		return usageError(f, "requires exactly 1 argument: the container's id")
	}
	a, err := r.args(f.Arg(0), args[0].(*config.Config))
	if err != nil {
		return fail(err)
	}
	a.Attached = !r.detach
	if r.detach {
		if _, _, err := container.Run(a); err != nil {
			return fail(err)
		}
		return subcommands.ExitSuccess
	}
	status, err := runAttached(a, r.keep)
	if err != nil {
		return fail(err)
	}
	return exitStatus(status)
}

// runAttached runs a container to its end, and removes it unless keep is set. Signals and
// the terminal are passed on. The result is a wait(2) status.
func runAttached(a container.Args, keep bool) (uint32, error) {
	// From here on signals are for the container, or, while there is none, for cleanUp.
	fw := newForwarder()
	defer fw.stop()
	c, master, err := container.Run(a)
	if err != nil {
		return 0, err
	}
	var session *console.Session
	if master != nil {
		if session, err = console.Serve(master); err != nil {
			c.Destroy(true)
			return 0, err
		}
	}
	fw.to(c, 0, a.Spec != nil && a.Spec.Process.Terminal || master != nil)
	status, err := c.WaitAttached()
	if session != nil {
		session.Stop()
	}
	if err != nil {
		err = fmt.Errorf("waiting for container: %w", err)
	}
	if keep {
		return status, err
	}
	if derr := c.Destroy(true); derr != nil {
		log.Warningf("%v", derr)
		fmt.Fprintf(os.Stderr, "runsc: %v\n", derr)
	}
	return status, err
}
