package cmd

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/subcommands"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"runsc/pkg/log"
	"runsc/runsc/config"
	"runsc/runsc/console"
	"runsc/runsc/container"
	"runsc/runsc/natnet"
	"runsc/runsc/specutils"
)

// Do is the command "do".
type Do struct {
	root         string
	cwd          string
	ip           string
	netns        string
	quiet        bool
	forceOverlay bool
}

// Name implements subcommands.Command.
func (*Do) Name() string { return "do" }

// Synopsis implements subcommands.Command.
func (*Do) Synopsis() string { return "run a command of the host in a quick sandbox" }

// Usage implements subcommands.Command.
func (*Do) Usage() string {
	return "do [flags] COMMAND [ARG…] - run a command in a sandbox that sees the host's files read-only,\n" +
		"with changes kept in memory and lost at the end.\n"
}

// SetFlags implements subcommands.Command.
func (d *Do) SetFlags(f *flag.FlagSet) {
	f.StringVar(&d.root, "root", "/", "directory that becomes the root")
	f.StringVar(&d.cwd, "cwd", "", "working directory (default: the current one)")
	f.StringVar(&d.ip, "ip", natnet.DefaultAddress.String(), "address of the sandbox, in a subnet of four")
	f.StringVar(&d.netns, "netns", "", "network namespace to use")
	boolFlag(f, &d.quiet, "quiet", "q", "say nothing but what the command says")
	f.BoolVar(&d.forceOverlay, "force-overlay", true, "keep changes in memory, whatever --overlay2 says")
}

// Execute implements subcommands.Command.
func (d *Do) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if f.NArg() == 0 {
		return usageError(f, "requires a command")
	}
	conf := *args[0].(*config.Config)
	status, err := d.run(&conf, f.Args())
	if err != nil {
		return fail(err)
	}
	return exitStatus(status)
}

func (d *Do) run(conf *config.Config, argv []string) (uint32, error) {
	if d.forceOverlay {
		conf.Overlay2 = config.Overlay2{Root: true, Medium: "memory"}
		conf.FileAccess = config.FileAccessExclusive
	}
	spec, err := d.spec(conf, argv)
	if err != nil {
		return 0, err
	}
	var random [8]byte
	rand.Read(random[:])
	a := container.Args{
		Conf:     conf,
		ID:       "runsc-do-" + hex.EncodeToString(random[:]),
		Bundle:   spec.Root.Path,
		Spec:     spec,
		Attached: true,
	}
	if err := childLogs(&a); err != nil {
		return 0, err
	}
	if conf.Network == config.NetworkSandbox && d.netns == "" && os.Geteuid() == 0 && !conf.TestOnlyNonRoot {
		n, err := startDoNetwork(conf, a.ID, d.ip)
		if err != nil {
			// A quick sandbox is worth something without a network, too.
			log.Warningf("no network but the loopback: %v", err)
			if !d.quiet {
				fmt.Fprintf(os.Stderr, "runsc: no network but the loopback: %v\n", err)
			}
		} else {
			defer n.stop()
			useNetwork(spec, n.path)
		}
	}
	return runAttached(a, false)
}

// useNetwork puts a container into a network namespace.
func useNetwork(spec *specs.Spec, path string) {
	for i := range spec.Linux.Namespaces {
		if ns := &spec.Linux.Namespaces[i]; ns.Type == specs.NetworkNamespace {
			ns.Path = path
		}
	}
}

func (d *Do) spec(conf *config.Config, argv []string) (*specs.Spec, error) {
	root, err := filepath.Abs(d.root)
	if err != nil {
		return nil, err
	}
	if root, err = filepath.EvalSymlinks(root); err != nil {
		return nil, err
	}
	cwd := d.cwd
	if cwd == "" {
		cwd = "/"
		if root == "/" {
			if cwd, err = os.Getwd(); err != nil {
				return nil, err
			}
		}
	}
	if !filepath.IsAbs(cwd) {
		return nil, fmt.Errorf("--cwd %q is not an absolute path", cwd)
	}
	hostname, err := os.Hostname()
	if err != nil {
		return nil, err
	}
	caps := specutils.AllCapabilities()
	spec := newSpec(argv, cwd, console.IsTerminal(os.Stdin) && console.IsTerminal(os.Stdout))
	spec.Process.Env = os.Environ()
	spec.Process.User = specs.User{UID: uint32(os.Getuid()), GID: uint32(os.Getgid())}
	spec.Process.Rlimits = nil
	spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	spec.Root = &specs.Root{Path: root, Readonly: !conf.Overlay2.Root}
	spec.Hostname = hostname
	spec.Mounts = nil // what the sandbox mounts by itself will do
	if d.netns != "" {
		useNetwork(spec, d.netns)
	}
	return spec, nil
}
