package cmd

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/google/subcommands"

	"runsc/runsc/boot"
	"runsc/runsc/container"
)

// PS is the command "ps".
type PS struct {
	format string
}

// Name implements subcommands.Command.
func (*PS) Name() string { return "ps" }

// Synopsis implements subcommands.Command.
func (*PS) Synopsis() string { return "list the processes of a container" }

// Usage implements subcommands.Command.
func (*PS) Usage() string {
	return "ps [flags] ID - list the processes of a container, with their pids inside it.\n"
}

// SetFlags implements subcommands.Command.
func (p *PS) SetFlags(f *flag.FlagSet) {
	stringFlag(f, &p.format, "format", "f", "table", "table or json")
}

// Execute implements subcommands.Command.
func (p *PS) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if p.format != "table" && p.format != "json" {
		return usageError(f, "invalid format %q, want table or json", p.format)
	}
	return withContainer(f, args, func(c *container.Container) error {
		list, err := c.Processes()
		if err != nil {
			return err
		}
		if p.format == "json" {
			pids := make([]int32, 0, len(list))
			for _, proc := range list {
				pids = append(pids, proc.PID)
			}
			return json.NewEncoder(os.Stdout).Encode(pids)
		}
		return printProcesses(os.Stdout, list)
	})
}

func printProcesses(out io.Writer, list []boot.Process) error {
	w := tabwriter.NewWriter(out, 10, 1, 3, ' ', 0)
	fmt.Fprint(w, "UID\tPID\tPPID\tC\tSTIME\tTTY\tTIME\tCMD\n")
	for _, p := range list {
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", p.UID, p.PID, p.PPID, p.C, p.STIME, p.TTY, p.Time, p.Cmd)
	}
	return w.Flush()
}
