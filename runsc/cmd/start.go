package cmd

import (
	"context"
	"flag"

	"github.com/google/subcommands"

	"runsc/runsc/config"
	"runsc/runsc/container"
)

// Start is the command "start".
type Start struct{}

// Name implements subcommands.Command.
func (*Start) Name() string { return "start" }

// Synopsis implements subcommands.Command.
func (*Start) Synopsis() string { return "start a created container" }

// Usage implements subcommands.Command.
func (*Start) Usage() string { return "start ID - let the process of a created container go.\n" }

// SetFlags implements subcommands.Command.
func (*Start) SetFlags(*flag.FlagSet) {}

// Execute implements subcommands.Command.
func (*Start) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	return withContainer(f, args, (*container.Container).Start)
}

// withContainer runs what a command does to the one container that is its argument.
func withContainer(f *flag.FlagSet, args []any, do func(*container.Container) error) subcommands.ExitStatus {
	if f.NArg() != 1 {
		return usageError(f, "requires exactly 1 argument: the container's id")
	}
	c, err := container.Load(args[0].(*config.Config), f.Arg(0))
	if err == nil {
		err = do(c)
	}
	if err != nil {
		return fail(err)
	}
	return subcommands.ExitSuccess
}
