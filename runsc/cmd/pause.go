package cmd

import (
	"context"
	"flag"

	"github.com/google/subcommands"

	"runsc/runsc/container"
)

// Pause is the command "pause".
type Pause struct{}

// Name implements subcommands.Command.
func (*Pause) Name() string { return "pause" }

// Synopsis implements subcommands.Command.
func (*Pause) Synopsis() string { return "pause a container and all others in its sandbox" }

// Usage implements subcommands.Command.
func (*Pause) Usage() string { return "pause ID - freeze all processes of the container's sandbox.\n" }

// SetFlags implements subcommands.Command.
func (*Pause) SetFlags(*flag.FlagSet) {}

// Execute implements subcommands.Command.
func (*Pause) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	return withContainer(f, args, (*container.Container).Pause)
}
