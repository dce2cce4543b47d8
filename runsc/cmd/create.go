package cmd

import (
	"context"
	"flag"
	"time"

	"github.com/google/subcommands"

	"runsc/runsc/config"
	"runsc/runsc/container"
)

// Create is the command "create".
type Create struct {
	bundle        string
	consoleSocket string
	pidFile       string
	userLog       string
	ignored       bool
}

// Name implements subcommands.Command.
func (*Create) Name() string { return "create" }

// Synopsis implements subcommands.Command.
func (*Create) Synopsis() string { return "create a container" }

// Usage implements subcommands.Command.
func (*Create) Usage() string {
	return "create [flags] ID - create a container, whose process waits for start.\n"
}

// SetFlags implements subcommands.Command.
func (c *Create) SetFlags(f *flag.FlagSet) {
	stringFlag(f, &c.bundle, "bundle", "b", ".", "directory that holds config.json")
	f.StringVar(&c.consoleSocket, "console-socket", "", "unix socket to which to send the terminal's master")
	f.StringVar(&c.pidFile, "pid-file", "", "file to write the container's pid to")
	f.StringVar(&c.userLog, "user-log", "", "file for messages to the container's user")
	f.BoolVar(&c.ignored, "no-pivot", false, "accepted and ignored")
	f.BoolVar(&c.ignored, "no-new-keyring", false, "accepted and ignored")
}

// args returns what package container needs to know.
func (c *Create) args(id string, conf *config.Config) (container.Args, error) {
	a := container.Args{
		Conf:          conf,
		ID:            id,
		Bundle:        c.bundle,
		ConsoleSocket: c.consoleSocket,
		PIDFile:       c.pidFile,
		UserLog:       c.userLog,
	}
	return a, childLogs(&a)
}

// childLogs opens the logs that the sandbox and the gofer get.
func childLogs(a *container.Args) (err error) {
	a.Log = logs.log
	if a.Conf.DebugLog == "" {
		return nil
	}
	now := time.Now()
	if a.BootDebugLog, err = OpenDebugLog(a.Conf.DebugLog, "boot", a.ID, now); err != nil {
		return err
	}
	a.GoferDebugLog, err = OpenDebugLog(a.Conf.DebugLog, "gofer", a.ID, now)
	return err
}

// Execute implements subcommands.Command.
func (c *Create) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if f.NArg() != 1 {
		return usageError(f, "requires exactly 1 argument: the container's id")
	}
	a, err := c.args(f.Arg(0), args[0].(*config.Config))
	if err == nil {
		_, _, err = container.New(a)
	}
	if err != nil {
		return fail(err)
	}
	return subcommands.ExitSuccess
}
