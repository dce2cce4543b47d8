package cmd

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"time"

	"github.com/google/subcommands"

	"runsc/pkg/log"
	"runsc/runsc/cgroup"
	"runsc/runsc/container"
)

// Events is the command "events".
type Events struct {
	interval time.Duration
	stats    bool
}

// Name implements subcommands.Command.
func (*Events) Name() string { return "events" }

// Synopsis implements subcommands.Command.
func (*Events) Synopsis() string { return "print what a container uses, from time to time" }

// Usage implements subcommands.Command.
func (*Events) Usage() string {
	return "events [flags] ID - print one JSON object a line: what the container uses, and when it runs out of memory.\n"
}

// SetFlags implements subcommands.Command.
func (e *Events) SetFlags(f *flag.FlagSet) {
	f.DurationVar(&e.interval, "interval", 5*time.Second, "time between statistics")
	f.BoolVar(&e.stats, "stats", false, "print statistics once and end")
}

// event is a line of output.
type event struct {
	Type string        `json:"type"`
	ID   string        `json:"id"`
	Data *cgroup.Stats `json:"data,omitempty"`
}

// Execute implements subcommands.Command.
func (e *Events) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if e.interval <= 0 {
		return usageError(f, "the interval must be positive")
	}
	return withContainer(f, args, func(c *container.Container) error {
		out := json.NewEncoder(os.Stdout)
		var oomKills uint64
		for first := true; ; first = false {
			stats, err := c.Stats()
			if err != nil {
				if first {
					return err
				}
				log.Debugf("container has ended: %v", err)
				return nil
			}
			if !first && stats.OOMKills > oomKills {
				if err := out.Encode(event{Type: "oom", ID: c.ID}); err != nil {
					return err
				}
			}
			oomKills = stats.OOMKills
			if err := out.Encode(event{Type: "stats", ID: c.ID, Data: stats}); err != nil || e.stats {
				return err
			}
			if c.Sandbox.WaitExit(e.interval) {
				return nil
			}
		}
	})
}
