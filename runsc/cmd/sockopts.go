package cmd

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/google/subcommands"

	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/socket/inet"
	"runsc/pkg/sentry/socket/packet"
)

// Sockopts is the command "sockopts", whose help is the sentry's table of socket options.
type Sockopts struct{}

// Name implements subcommands.Command.
func (*Sockopts) Name() string { return "sockopts" }

// Synopsis implements subcommands.Command.
func (*Sockopts) Synopsis() string { return "list the socket options that containers have" }

// SetFlags implements subcommands.Command.
func (*Sockopts) SetFlags(*flag.FlagSet) {}

// access says which of getsockopt(2) and setsockopt(2) know an option.
func access(o *socket.OptionInfo) string {
	switch {
	case o.Readable && o.Changeable:
		return "get, set"
	case o.Readable:
		return "get"
	}
	return "set"
}

// Usage implements subcommands.Command: `runsc help sockopts` prints it.
func (*Sockopts) Usage() string {
	var b strings.Builder
	b.WriteString("sockopts - the options of the sandbox's sockets of IPv4, IPv6 and packets.\n\n")
	b.WriteString("They do what the manual pages say, but for the note; \"recorded\" is accepted and\nreported back, without further effect.\n\n")
	for _, o := range slices.Concat(inet.Options(), packet.Options()) {
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(fmt.Sprintf("%-15s %3d  %-26s %-9s %s", o.LevelLabel, o.Name, o.Label, access(&o), o.Note), " "))
	}
	return b.String()
}

// Execute implements subcommands.Command.
func (s *Sockopts) Execute(context.Context, *flag.FlagSet, ...any) subcommands.ExitStatus {
	fmt.Fprint(os.Stdout, s.Usage())
	return subcommands.ExitSuccess
}
