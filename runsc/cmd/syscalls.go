package cmd

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/google/subcommands"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/syscalls"
)

// Syscalls is the command "syscalls", whose help is the sentry's system call table.
type Syscalls struct{}

// Name implements subcommands.Command.
func (*Syscalls) Name() string { return "syscalls" }

// Synopsis implements subcommands.Command.
func (*Syscalls) Synopsis() string { return "list the system calls that containers have" }

// SetFlags implements subcommands.Command.
func (*Syscalls) SetFlags(*flag.FlagSet) {}

// supportWords say how much of a call works.
var supportWords = map[kernel.Support]string{
	kernel.Full: "full", kernel.Partial: "partial", kernel.Recorded: "recorded", kernel.Unimplemented: "none",
}

// Usage implements subcommands.Command: `runsc help syscalls` prints it.
func (*Syscalls) Usage() string {
	var b strings.Builder
	b.WriteString("syscalls - what the sandbox's kernel has of Linux's system calls.\n\n")
	b.WriteString("full: as the manual page says; partial: but for the note; recorded: accepted and\nreported back, without further effect; none: always an error.\n\n")
	for nr, s := range syscalls.NewTable() {
		name := linux.SyscallName(uintptr(nr))
		switch {
		case s.Fn != nil:
			fmt.Fprintf(&b, "%4d  %-24s %-9s %s\n", nr, name, supportWords[s.Support], s.Note)
		case !strings.HasPrefix(name, "#"):
			fmt.Fprintf(&b, "%4d  %-24s %-9s %s\n", nr, name, "none", "ENOSYS")
		}
	}
	return b.String()
}

// Execute implements subcommands.Command.
func (s *Syscalls) Execute(context.Context, *flag.FlagSet, ...any) subcommands.ExitStatus {
	fmt.Fprint(os.Stdout, s.Usage())
	return subcommands.ExitSuccess
}
