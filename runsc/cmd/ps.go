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
	"runsc/runsc/specutils"
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
			return json.NewEncoder(os.Stdout).Encode(hostPIDs(c, list))
		}
		return printProcesses(os.Stdout, list)
	})
}

// hostPIDs returns the processes of the host that carry a container's: clients of runc look
// them up in the host's process list. The one that all have in common is the sandbox; beside
// it come those that hold the processes' memory, as far as the platform has such.
func hostPIDs(c *container.Container, list []boot.Process) []int {
	pids := []int{c.Sandbox.PID}
	stubs := make(map[int]bool)
	for _, p := range list {
		if p.StubPID > 0 {
			stubs[int(p.StubPID)] = true
		}
	}
	if len(stubs) == 0 {
		return pids
	}
	return append(pids, specutils.PIDsInNamespaceOf(c.Sandbox.PID, stubs)...)
}

func printProcesses(out io.Writer, list []boot.Process) error {
	w := tabwriter.NewWriter(out, 10, 1, 3, ' ', 0)
	fmt.Fprint(w, "UID\tPID\tPPID\tC\tSTIME\tTTY\tTIME\tCMD\n")
	for _, p := range list {
		fmt.Fprintf(w, "%d\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", p.UID, p.PID, p.PPID, p.C, p.STIME, p.TTY, p.Time, p.Cmd)
	}
	return w.Flush()
}
