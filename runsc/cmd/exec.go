package cmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/google/subcommands"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/runsc/boot"
	"runsc/runsc/config"
	"runsc/runsc/container"
	"runsc/runsc/specutils"
)

// Exec is the command "exec".
//
// A process without terminal for which the caller waits is served by this process. All
// others have a child of this process standing for them on the host (see execchild.go): with
// --detach it stays behind for the caller's parent to wait for, and with a terminal it leads
// the session that the host's terminal driver sends its signals to.
type Exec struct {
	process        string
	cwd            string
	env            stringList
	user           string
	additionalGIDs stringList
	caps           stringList
	detach         bool
	tty            bool
	pidFile        string
	internalPID    string
	consoleSocket  string
	noNewPrivs     bool
	ignored        string
	childFD        int
}

// Name implements subcommands.Command.
func (*Exec) Name() string { return "exec" }

// Synopsis implements subcommands.Command.
func (*Exec) Synopsis() string { return "run a process in a running container" }

// Usage implements subcommands.Command.
func (*Exec) Usage() string {
	return "exec [flags] ID COMMAND [ARG…] - run a process in a running container.\n" +
		"exec [flags] --process process.json ID\n"
}

// SetFlags implements subcommands.Command.
func (e *Exec) SetFlags(f *flag.FlagSet) {
	stringFlag(f, &e.process, "process", "p", "", "file with the process as OCI's JSON")
	f.StringVar(&e.cwd, "cwd", "", "working directory (default: the container's)")
	f.Var(&e.env, "env", "NAME=VALUE to add to the environment; may be repeated")
	f.Var(&e.env, "e", "short for --env")
	stringFlag(f, &e.user, "user", "u", "", "UID[:GID]")
	f.Var(&e.additionalGIDs, "additional-gids", "supplementary group ids, separated by commas; may be repeated")
	f.Var(&e.additionalGIDs, "g", "short for --additional-gids")
	f.Var(&e.caps, "cap", "capability to add; may be repeated")
	f.Var(&e.caps, "c", "short for --cap")
	boolFlag(f, &e.detach, "detach", "d", "return as soon as the process runs")
	boolFlag(f, &e.tty, "tty", "t", "give the process a terminal")
	f.StringVar(&e.pidFile, "pid-file", "", "file for the pid of the process that stands for it on the host")
	f.StringVar(&e.internalPID, "internal-pid-file", "", "file for its pid inside the container")
	f.StringVar(&e.consoleSocket, "console-socket", "", "unix socket to which to send the terminal's master")
	f.BoolVar(&e.noNewPrivs, "no-new-privs", false, "set no_new_privs")
	f.StringVar(&e.ignored, "apparmor", "", "accepted and ignored")
	f.StringVar(&e.ignored, "process-label", "", "accepted and ignored")
	f.StringVar(&e.ignored, "preserve-fds", "", "accepted and ignored")
	f.IntVar(&e.childFD, "internal-child-fd", -1, "be the child that stands for the process (internal)")
}

// Execute implements subcommands.Command.
func (e *Exec) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if f.NArg() < 1 {
		return usageError(f, "requires a container's id")
	}
	if e.process == "" && f.NArg() < 2 {
		return usageError(f, "requires a command, or --process")
	}
	c, err := container.Load(args[0].(*config.Config), f.Arg(0))
	if err != nil {
		return e.fail(err)
	}
	a, size, err := e.execArgs(c, f.Args()[1:])
	if err != nil {
		return e.fail(err)
	}
	if e.childFD >= 0 {
		return e.runChild(c, a)
	}
	switch {
	case a.Terminal && e.detach && e.consoleSocket == "":
		return fail(errors.New("cannot allocate tty if runsc will detach without setting console socket"))
	case !a.Terminal && e.consoleSocket != "":
		return fail(errors.New("cannot use console socket if runsc will not detach or allocate tty"))
	}
	if e.detach || a.Terminal {
		return e.runThroughChild(f, a.Terminal, size)
	}
	return e.runHere(c, a)
}

// runHere serves a process without terminal until its end.
func (e *Exec) runHere(c *container.Container, a boot.ExecArgs) subcommands.ExitStatus {
	fw := newForwarder()
	defer fw.stop()
	pid, err := c.Execute(a, []*os.File{os.Stdin, os.Stdout, os.Stderr})
	if err != nil {
		return fail(fmt.Errorf("exec failed: %w", err))
	}
	if err := e.writePIDFiles(pid); err != nil {
		return fail(err)
	}
	fw.to(c, pid, false)
	status, err := c.WaitPID(pid, true)
	if err != nil {
		return fail(fmt.Errorf("waiting for process %d: %w", pid, err))
	}
	return exitStatus(status)
}

// writePIDFiles tells who wants to know which processes there are now, the host's last:
// containerd takes it as the sign that the process runs.
func (e *Exec) writePIDFiles(pid int32) error {
	if e.internalPID != "" {
		if err := container.WritePIDFile(e.internalPID, int(pid)); err != nil {
			return err
		}
	}
	if e.pidFile != "" {
		return container.WritePIDFile(e.pidFile, os.Getpid())
	}
	return nil
}

// execArgs puts together the process from the container's own, a file and flags.
func (e *Exec) execArgs(c *container.Container, argv []string) (a boot.ExecArgs, size *specs.Box, err error) {
	a = c.ExecDefaults()
	if e.process != "" {
		p := new(specs.Process)
		data, err := os.ReadFile(e.process)
		if err != nil {
			return a, nil, fmt.Errorf("reading process: %w", err)
		}
		if err := specutils.DecodeJSON(e.process, data, p); err != nil {
			return a, nil, err
		}
		if p.Cwd == "" {
			p.Cwd = "/"
		}
		if err := specutils.ValidateProcess(p); err != nil {
			return a, nil, fmt.Errorf("%s: %w", e.process, err)
		}
		a.Argv, a.Envv, a.WorkingDirectory = p.Args, p.Env, p.Cwd
		a.UID, a.GID, a.AdditionalGIDs, a.Umask = p.User.UID, p.User.GID, p.User.AdditionalGids, p.User.Umask
		a.NoNewPrivileges, a.Rlimits, a.Terminal = p.NoNewPrivileges, p.Rlimits, p.Terminal
		if p.Capabilities != nil {
			a.Capabilities = p.Capabilities
		}
		size = p.ConsoleSize
	} else {
		a.Argv = argv
	}
	if e.cwd != "" {
		if !strings.HasPrefix(e.cwd, "/") {
			return a, nil, fmt.Errorf("--cwd %q is not an absolute path", e.cwd)
		}
		a.WorkingDirectory = e.cwd
	}
	if a.Envv, err = mergeEnv(a.Envv, e.env); err != nil {
		return a, nil, err
	}
	if e.user != "" {
		if a.UID, a.GID, err = parseUser(e.user, a.GID); err != nil {
			return a, nil, err
		}
	}
	for _, list := range e.additionalGIDs {
		for _, s := range strings.Split(list, ",") {
			gid, err := strconv.ParseUint(s, 10, 32)
			if err != nil {
				return a, nil, fmt.Errorf("--additional-gids: %q is not a group id", s)
			}
			a.AdditionalGIDs = append(a.AdditionalGIDs, uint32(gid))
		}
	}
	if len(e.caps) > 0 {
		// The container's own sets stay as they are.
		sets := specs.LinuxCapabilities{}
		if a.Capabilities != nil {
			sets = *a.Capabilities
		}
		for _, name := range e.caps {
			if err := specutils.AddCapability(&sets, name); err != nil {
				return a, nil, err
			}
		}
		a.Capabilities = &sets
	}
	a.NoNewPrivileges = a.NoNewPrivileges || e.noNewPrivs
	a.Terminal = a.Terminal || e.tty
	return a, size, nil
}

// parseUser parses UID[:GID].
func parseUser(s string, defaultGID uint32) (uid, gid uint32, err error) {
	u, g, both := strings.Cut(s, ":")
	n, err := strconv.ParseUint(u, 10, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("--user: %q is not a user id", u)
	}
	if !both {
		return uint32(n), defaultGID, nil
	}
	m, err := strconv.ParseUint(g, 10, 32)
	if err != nil {
		return 0, 0, fmt.Errorf("--user: %q is not a group id", g)
	}
	return uint32(n), uint32(m), nil
}

// mergeEnv adds variables, replacing those of the same name.
func mergeEnv(env, add []string) ([]string, error) {
	if len(add) == 0 {
		return env, nil
	}
	merged := append([]string(nil), env...)
	for _, v := range add {
		name, _, ok := strings.Cut(v, "=")
		if !ok || name == "" || strings.IndexByte(v, 0) >= 0 {
			return nil, fmt.Errorf("--env: %q is not of the form NAME=VALUE", v)
		}
		found := false
		for i, old := range merged {
			if strings.HasPrefix(old, name+"=") {
				merged[i], found = v, true
			}
		}
		if !found {
			merged = append(merged, v)
		}
	}
	return merged, nil
}

// fail reports an error to the user, or, in the child, to the parent, which does that.
func (e *Exec) fail(err error) subcommands.ExitStatus {
	if e.childFD >= 0 {
		e.report(err)
		return ExitFailure
	}
	return fail(err)
}
