package cmd

import (
	"context"
	"encoding/json"
	"flag"
	"os"

	"github.com/google/subcommands"

	"runsc/runsc/container"
)

// Wait is the command "wait".
type Wait struct {
	pid     int
	rootPID int
}

// Name implements subcommands.Command.
func (*Wait) Name() string { return "wait" }

// Synopsis implements subcommands.Command.
func (*Wait) Synopsis() string { return "wait for the end of a container or of a process in it" }

// Usage implements subcommands.Command.
func (*Wait) Usage() string {
	return "wait [flags] ID - wait for the end of a container's init process, and print how it ended.\n"
}

// SetFlags implements subcommands.Command.
func (w *Wait) SetFlags(f *flag.FlagSet) {
	f.IntVar(&w.pid, "pid", 0, "wait for this process of the container instead")
	f.IntVar(&w.rootPID, "rootpid", 0, "wait for the process with this pid in the sandbox's root container instead")
}

// Execute implements subcommands.Command.
func (w *Wait) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if w.pid != 0 && w.rootPID != 0 {
		return usageError(f, "--pid and --rootpid contradict each other")
	}
	return withContainer(f, args, func(c *container.Container) error {
		var status uint32
		var err error
		switch {
		case w.pid != 0:
			status, err = c.WaitPID(int32(w.pid), false)
		case w.rootPID != 0:
			status, err = c.WaitRootPID(int32(w.rootPID))
		default:
			status, err = c.Wait()
		}
		if err != nil {
			return err
		}
		return json.NewEncoder(os.Stdout).Encode(struct {
			ID         string `json:"id"`
			ExitStatus int    `json:"exitStatus"`
		}{c.ID, int(exitStatus(status))})
	})
}
