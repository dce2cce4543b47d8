package cmd

import (
	"context"
	"encoding/json"
	"flag"
	"os"
	"time"

	"github.com/google/subcommands"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/runsc/container"
)

// State is the command "state".
type State struct{}

// Name implements subcommands.Command.
func (*State) Name() string { return "state" }

// Synopsis implements subcommands.Command.
func (*State) Synopsis() string { return "print the state of a container" }

// Usage implements subcommands.Command.
func (*State) Usage() string { return "state ID - print the state of a container as JSON.\n" }

// SetFlags implements subcommands.Command.
func (*State) SetFlags(*flag.FlagSet) {}

// Execute implements subcommands.Command.
func (*State) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	return withContainer(f, args, func(c *container.Container) error {
		enc := json.NewEncoder(os.Stdout)
		enc.SetIndent("", "  ")
		return enc.Encode(newStateOutput(c))
	})
}

// stateOutput is OCI's state and what runc adds to it.
type stateOutput struct {
	Version     string            `json:"ociVersion"`
	ID          string            `json:"id"`
	PID         int               `json:"pid"`
	Status      string            `json:"status"`
	Bundle      string            `json:"bundle"`
	Rootfs      string            `json:"rootfs"`
	Created     time.Time         `json:"created"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Owner       string            `json:"owner"`
}

func newStateOutput(c *container.Container) stateOutput {
	return stateOutput{
		Version:     specs.Version,
		ID:          c.ID,
		PID:         c.PID(),
		Status:      string(c.Status),
		Bundle:      c.Bundle,
		Rootfs:      c.Spec.Root.Path,
		Created:     c.CreatedAt,
		Annotations: c.Spec.Annotations,
		Owner:       c.Owner,
	}
}
