package cmd

import (
	"context"
	"flag"

	"github.com/google/subcommands"

	"runsc/runsc/container"
)

// Resume is the command "resume".
type Resume struct{}

// Name implements subcommands.Command.
func (*Resume) Name() string { return "resume" }

// Synopsis implements subcommands.Command.
func (*Resume) Synopsis() string { return "resume a paused container" }

// Usage implements subcommands.Command.
func (*Resume) Usage() string { return "resume ID - let the processes of a paused sandbox go on.\n" }

// SetFlags implements subcommands.Command.
func (*Resume) SetFlags(*flag.FlagSet) {}

// Execute implements subcommands.Command.
func (*Resume) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	return withContainer(f, args, (*container.Container).Resume)
}
