package cmd

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/google/subcommands"

	"runsc/runsc/config"
	"runsc/runsc/container"
)

// List is the command "list".
type List struct {
	quiet  bool
	format string
}

// Name implements subcommands.Command.
func (*List) Name() string { return "list" }

// Synopsis implements subcommands.Command.
func (*List) Synopsis() string { return "list containers" }

// Usage implements subcommands.Command.
func (*List) Usage() string { return "list [flags] - list the containers below --root.\n" }

// SetFlags implements subcommands.Command.
func (l *List) SetFlags(f *flag.FlagSet) {
	boolFlag(f, &l.quiet, "quiet", "q", "print ids only")
	stringFlag(f, &l.format, "format", "f", "text", "text or json")
}

// Execute implements subcommands.Command.
func (l *List) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if f.NArg() != 0 {
		return usageError(f, "takes no arguments")
	}
	containers, err := container.List(args[0].(*config.Config))
	if err != nil {
		return fail(err)
	}
	switch {
	case l.quiet:
		for _, c := range containers {
			fmt.Println(c.ID)
		}
	case l.format == "text" || l.format == "table":
		w := tabwriter.NewWriter(os.Stdout, 12, 1, 3, ' ', 0)
		fmt.Fprint(w, "ID\tPID\tSTATUS\tBUNDLE\tCREATED\tOWNER\n")
		for _, c := range containers {
			fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t%s\n", c.ID, c.PID(), c.Status, c.Bundle, c.CreatedAt.Format(time.RFC3339Nano), c.Owner)
		}
		err = w.Flush()
	case l.format == "json":
		list := make([]stateOutput, 0, len(containers))
		for _, c := range containers {
			list = append(list, newStateOutput(c))
		}
		err = json.NewEncoder(os.Stdout).Encode(list)
	default:
		return usageError(f, "invalid format %q, want text or json", l.format)
	}
	if err != nil {
		return fail(err)
	}
	return subcommands.ExitSuccess
}
