package cmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/google/subcommands"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/runsc/container"
	"runsc/runsc/specutils"
)

// Update is the command "update".
type Update struct {
	resources string
}

// Name implements subcommands.Command.
func (*Update) Name() string { return "update" }

// Synopsis implements subcommands.Command.
func (*Update) Synopsis() string { return "change the resource limits of a container" }

// Usage implements subcommands.Command.
func (*Update) Usage() string {
	return "update --resources FILE|- ID - change the limits of a container's cgroup to those in the file,\n" +
		"which holds OCI's linux.resources as JSON.\n"
}

// SetFlags implements subcommands.Command.
func (u *Update) SetFlags(f *flag.FlagSet) {
	stringFlag(f, &u.resources, "resources", "r", "", "file with the new limits, or - for stdin")
}

// maxResources bounds what is read from the file.
const maxResources = 1 << 20

// Execute implements subcommands.Command.
func (u *Update) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if u.resources == "" {
		return usageError(f, "requires --resources")
	}
	return withContainer(f, args, func(c *container.Container) error {
		in, name := os.Stdin, "resources"
		if u.resources != "-" {
			file, err := os.Open(u.resources)
			if err != nil {
				return err
			}
			defer file.Close()
			in, name = file, u.resources
		}
		data, err := io.ReadAll(io.LimitReader(in, maxResources+1))
		if err != nil {
			return fmt.Errorf("reading resources: %w", err)
		}
		if len(data) > maxResources {
			return errors.New("resources are too long")
		}
		res := new(specs.LinuxResources)
		if err := specutils.DecodeJSON(name, data, res); err != nil {
			return err
		}
		return c.Update(res)
	})
}
