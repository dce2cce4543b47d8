// Package cmd holds runsc's subcommands, one per file.
//
// Main is the whole of the program: it parses the global flags into a config.Config, sets up
// the log, and lets github.com/google/subcommands find the command, whose Execute gets the
// Config as its first extra argument. A command checks its arguments and calls packages
// container and sandbox, which do the work. The two internal commands, boot and gofer, are
// what the client re-executes itself as: boot becomes the sandbox, gofer the file server.
//
// A command fails by returning fail(err): the error appears as one line on stderr and, as
// "FATAL ERROR: …" at error level, in the log that the caller named by --log (the place where
// Docker looks), and the exit status is 128. Usage errors print the usage and exit with 2.
package cmd

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/google/subcommands"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/config"
)

// Version is runsc's version; the linker may set it.
var Version = "0.1.0"

// ExitFailure is the exit status when runsc itself failed.
const ExitFailure subcommands.ExitStatus = 128

// Command is a subcommand.
type Command = subcommands.Command

// Group is a set of commands under one heading of the help text.
type Group struct {
	Name     string
	Commands []Command
}

// Main runs the program and does not return.
func Main(groups ...Group) {
	os.Exit(int(run(groups)))
}

func run(groups []Group) subcommands.ExitStatus {
	fs := flag.NewFlagSet("runsc", flag.ContinueOnError)
	var conf config.Config
	conf.Register(fs)
	var version bool
	fs.BoolVar(&version, "version", false, "print the version and exit")
	fs.BoolVar(&version, "v", false, "short for --version")

	cdr := subcommands.NewCommander(fs, "runsc")
	cdr.Register(cdr.HelpCommand(), "")
	cdr.Register(cdr.FlagsCommand(), "")
	for _, g := range groups {
		for _, c := range g.Commands {
			cdr.Register(c, g.Name)
		}
	}
	args := os.Args[1:]
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return subcommands.ExitSuccess
		}
		return subcommands.ExitUsageError
	}
	if again := flagsFirst(groups, fs.Args()); again != nil {
		// It parsed once and will again.
		if err := fs.Parse(append(args[:len(args)-fs.NArg():len(args)-fs.NArg()], again...)); err != nil {
			return subcommands.ExitUsageError
		}
	}
	if version {
		fmt.Printf("runsc version %s\nspec: %s\n", Version, specs.Version)
		return subcommands.ExitSuccess
	}
	if err := conf.Finish(); err != nil {
		return fail(err)
	}

	invoked = fs.Args()
	internal := fs.Arg(0) == "boot" || fs.Arg(0) == "gofer"
	if !internal {
		// Whatever descriptors the caller leaked to us must not reach any child.
		unix.CloseRange(3, ^uint(0)>>1&0xffffffff, unix.CLOSE_RANGE_CLOEXEC)
	}
	if err := openLogs(&conf, fs.Args()); err != nil {
		return fail(err)
	}
	if log.IsLogging(log.Debug) {
		log.Debugf("runsc %s: %s", Version, strings.Join(os.Args, " "))
	}
	status := cdr.Execute(context.Background(), &conf)
	log.Debugf("exit status %d", status)
	return status
}

// ownArguments are commands whose arguments may look like flags of ours.
var ownArguments = map[string]bool{"exec": true, "do": true, "spec": true, "boot": true, "gofer": true}

// flagsFirst moves a subcommand's flags before its other arguments, since clients of runc may
// write them after the id. It returns nil if there is nothing to move.
func flagsFirst(groups []Group, args []string) []string {
	if len(args) < 3 || ownArguments[args[0]] {
		return nil
	}
	var command Command
	for _, g := range groups {
		for _, c := range g.Commands {
			if c.Name() == args[0] {
				command = c
			}
		}
	}
	if command == nil {
		return nil
	}
	fs := flag.NewFlagSet("", flag.ContinueOnError)
	command.SetFlags(fs)
	var flags, rest []string
	moved := false
	for i := 1; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			rest = append(rest, args[i+1:]...)
			break
		}
		if len(a) < 2 || a[0] != '-' {
			rest = append(rest, a)
			continue
		}
		moved = moved || len(rest) > 0
		flags = append(flags, a)
		name := strings.TrimLeft(a, "-")
		if f := fs.Lookup(name); f != nil && i+1 < len(args) {
			if b, ok := f.Value.(interface{ IsBoolFlag() bool }); !ok || !b.IsBoolFlag() {
				i++
				flags = append(flags, args[i])
			}
		}
	}
	if !moved {
		return nil
	}
	return append(append(append([]string{args[0]}, flags...), "--"), rest...)
}

// invoked are the subcommand and its arguments.
var invoked []string

func subcommandArgs() []string { return invoked }

// logs are the open log files, whose descriptors children inherit.
var logs struct {
	log, debug *os.File
}

// openLogs makes the process's logger from the flags. args are the subcommand and what
// follows.
func openLogs(conf *config.Config, args []string) error {
	level := log.Warning
	if conf.Debug {
		level = log.Debug
	}
	var sinks []*log.Sink
	add := func(f *os.File, format string, level log.Level) {
		parsed, _ := log.ParseFormat(format) // config has checked it
		sinks = append(sinks, log.NewSink(f, parsed, level))
	}
	switch {
	case conf.LogFD >= 0:
		logs.log = os.NewFile(uintptr(conf.LogFD), "log")
		unix.CloseOnExec(conf.LogFD)
	case conf.LogFile != "":
		f, err := os.OpenFile(conf.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
		if err != nil {
			return fmt.Errorf("opening log: %w", err)
		}
		logs.log = f
	case conf.Debug:
		add(os.Stderr, conf.LogFormat, level)
	}
	if logs.log != nil {
		add(logs.log, conf.LogFormat, level)
	}
	switch {
	case conf.DebugLogFD >= 0:
		logs.debug = os.NewFile(uintptr(conf.DebugLogFD), "debug-log")
		unix.CloseOnExec(conf.DebugLogFD)
	case conf.DebugLog != "":
		command := ""
		if len(args) > 0 {
			command = args[0]
		}
		f, err := OpenDebugLog(conf.DebugLog, command, guessID(args), time.Now())
		if err != nil {
			return err
		}
		logs.debug = f
	}
	if logs.debug != nil {
		add(logs.debug, conf.DebugLogFormat, log.Debug)
	}
	if len(sinks) > 0 {
		// Messages carry local time, and what that is cannot be read any more once the
		// filesystem is given up.
		time.Now().Zone()
	}
	log.SetTarget(sinks...)
	return nil
}

// debugLogName fills in the variables of a --debug-log pattern.
func debugLogName(pattern, command, id string, now time.Time) string {
	if strings.HasSuffix(pattern, "/") {
		pattern += "runsc.log.%TIMESTAMP%.%COMMAND%.txt"
	}
	// None of the values may lead out of the directory.
	clean := strings.NewReplacer("/", "_", "%", "_")
	return strings.NewReplacer(
		"%TIMESTAMP%", now.Format("20060102-150405.000000"),
		"%COMMAND%", clean.Replace(command),
		"%ID%", clean.Replace(id),
	).Replace(pattern)
}

// OpenDebugLog opens the debug log of a command.
func OpenDebugLog(pattern, command, id string, now time.Time) (*os.File, error) {
	name := debugLogName(pattern, command, id, now)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return nil, fmt.Errorf("debug log: %w", err)
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		return nil, fmt.Errorf("opening debug log: %w", err)
	}
	return f, nil
}

// guessID finds the container's id among a subcommand's arguments, before that command's
// flags are known: the first argument that is neither a flag nor the value of one.
func guessID(args []string) string {
	if len(args) < 2 {
		return ""
	}
	takesValue := map[string]bool{
		"bundle": true, "b": true, "console-socket": true, "pid-file": true, "user-log": true, "process": true, "p": true,
		"cwd": true, "env": true, "e": true, "user": true, "u": true, "additional-gids": true, "g": true, "cap": true, "c": true,
		"internal-pid-file": true, "format": true, "f": true, "interval": true, "resources": true, "pid": true, "signal": true,
		"image-path": true, "work-path": true,
	}
	for i := 1; i < len(args); i++ {
		a := args[i]
		if !strings.HasPrefix(a, "-") {
			return a
		}
		name := strings.TrimLeft(a, "-")
		if !strings.Contains(name, "=") && takesValue[name] && !(name == "f" && args[0] == "delete") {
			i++
		}
	}
	return ""
}

// fail reports err to the user and to the log, and returns the exit status for it.
func fail(err error) subcommands.ExitStatus {
	msg := strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	log.Errorf("FATAL ERROR: %s", msg)
	fmt.Fprintf(os.Stderr, "runsc: %s\n", msg)
	return ExitFailure
}

// usageError prints what is wrong and the command's usage.
func usageError(f *flag.FlagSet, format string, args ...any) subcommands.ExitStatus {
	msg := fmt.Sprintf(format, args...)
	log.Errorf("FATAL ERROR: %s: %s", f.Name(), msg)
	fmt.Fprintf(os.Stderr, "runsc %s: %s\n", f.Name(), msg)
	f.Usage()
	return subcommands.ExitUsageError
}

// exitStatus turns a wait(2) status into the exit status that shells use.
func exitStatus(status uint32) subcommands.ExitStatus {
	ws := syscall.WaitStatus(status)
	if ws.Signaled() {
		return subcommands.ExitStatus(128 + int(ws.Signal()))
	}
	return subcommands.ExitStatus(ws.ExitStatus())
}

// both defines a flag under its name and runc's short form.
func stringFlag(fs *flag.FlagSet, p *string, name, short, def, help string) {
	fs.StringVar(p, name, def, help)
	if short != "" {
		fs.StringVar(p, short, def, "short for --"+name)
	}
}

func boolFlag(fs *flag.FlagSet, p *bool, name, short, help string) {
	fs.BoolVar(p, name, false, help)
	if short != "" {
		fs.BoolVar(p, short, false, "short for --"+name)
	}
}

// stringList is a flag that may be repeated.
type stringList []string

func (l *stringList) String() string     { return strings.Join(*l, ",") }
func (l *stringList) Set(v string) error { *l = append(*l, v); return nil }

// intList is a flag of an integer that may be repeated.
type intList []int

func (l *intList) String() string { return strings.Trim(fmt.Sprint([]int(*l)), "[]") }

func (l *intList) Set(v string) error {
	n, err := strconv.Atoi(v)
	if err != nil || n < 0 {
		return errors.New("want a non-negative integer")
	}
	*l = append(*l, n)
	return nil
}
