package cmd

import (
	"context"
	"errors"
	"flag"

	"github.com/google/subcommands"

	"runsc/runsc/config"
	"runsc/runsc/container"
)

// Delete is the command "delete".
type Delete struct {
	force bool
}

// Name implements subcommands.Command.
func (*Delete) Name() string { return "delete" }

// Synopsis implements subcommands.Command.
func (*Delete) Synopsis() string { return "delete containers and what belongs to them" }

// Usage implements subcommands.Command.
func (*Delete) Usage() string {
	return "delete [flags] ID… - delete containers that are stopped, or were never started.\n"
}

// SetFlags implements subcommands.Command.
func (d *Delete) SetFlags(f *flag.FlagSet) {
	boolFlag(f, &d.force, "force", "f", "kill a running container first, and do not mind one that does not exist")
}

// Execute implements subcommands.Command.
func (d *Delete) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if f.NArg() == 0 {
		return usageError(f, "requires at least 1 argument: a container's id")
	}
	status := subcommands.ExitSuccess
	for _, id := range f.Args() {
		c, err := container.Load(args[0].(*config.Config), id)
		if err == nil {
			err = c.Destroy(d.force)
		}
		switch {
		case err == nil:
		case d.force && errors.Is(err, container.ErrNotExist):
			container.RemoveUnborn(args[0].(*config.Config), id)
		default:
			status = fail(err)
		}
	}
	return status
}
