package cmd

import (
	"context"
	"flag"

	"github.com/google/subcommands"

	"runsc/runsc/console"
)

// Guard is the internal command that puts a terminal back after its user was killed.
type Guard struct{}

// Name implements subcommands.Command.
func (*Guard) Name() string { return console.GuardCommand }

// Synopsis implements subcommands.Command.
func (*Guard) Synopsis() string { return "restore a terminal when the parent dies (internal)" }

// Usage implements subcommands.Command.
func (*Guard) Usage() string {
	return console.GuardCommand + " SETTINGS - started by run and exec only.\n"
}

// SetFlags implements subcommands.Command.
func (*Guard) SetFlags(*flag.FlagSet) {}

// Execute implements subcommands.Command.
func (*Guard) Execute(_ context.Context, f *flag.FlagSet, _ ...any) subcommands.ExitStatus {
	if err := console.Guard(f.Arg(0)); err != nil {
		return ExitFailure
	}
	return subcommands.ExitSuccess
}
