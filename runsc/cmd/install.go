package cmd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/subcommands"

	"runsc/runsc/config"
	"runsc/runsc/container"
	"runsc/runsc/specutils"
)

// defaultDockerConfig is where dockerd looks for its configuration.
const defaultDockerConfig = "/etc/docker/daemon.json"

// Install is the command "install".
type Install struct {
	configFile string
	runtime    string
}

// Name implements subcommands.Command.
func (*Install) Name() string { return "install" }

// Synopsis implements subcommands.Command.
func (*Install) Synopsis() string { return "add a runtime to Docker's configuration" }

// Usage implements subcommands.Command.
func (*Install) Usage() string {
	return "install [flags] [-- GLOBAL FLAGS] - add this program to the runtimes in Docker's daemon.json.\n" +
		"The global flags given to this command, and those after --, become the runtime's arguments.\n"
}

// SetFlags implements subcommands.Command.
func (i *Install) SetFlags(f *flag.FlagSet) {
	f.StringVar(&i.configFile, "config_file", defaultDockerConfig, "Docker's configuration")
	f.StringVar(&i.runtime, "runtime", "runsc", "name of the runtime")
}

// Execute implements subcommands.Command.
func (i *Install) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	exe, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	runtimeArgs := append(installedFlags(args[0].(*config.Config)), f.Args()...)
	err = editDockerConfig(i.configFile, func(runtimes map[string]json.RawMessage) error {
		entry := struct {
			Path string   `json:"path"`
			Args []string `json:"runtimeArgs,omitempty"`
		}{exe, runtimeArgs}
		data, err := json.Marshal(entry)
		runtimes[i.runtime] = data
		return err
	})
	if err != nil {
		return fail(err)
	}
	fmt.Printf("Added runtime %q with arguments %v to %s. Restart or reload Docker to use it.\n", i.runtime, runtimeArgs, i.configFile)
	return subcommands.ExitSuccess
}

// installedFlags are the global flags of this call, but for the state directory, which
// Docker chooses itself.
func installedFlags(conf *config.Config) []string {
	c := *conf
	c.RootDir = ""
	args := c.ToFlags()
	if conf.DebugLog != "" {
		args = append(args, "--debug-log="+conf.DebugLog)
	}
	return args
}

// Uninstall is the command "uninstall".
type Uninstall struct {
	configFile string
	runtime    string
}

// Name implements subcommands.Command.
func (*Uninstall) Name() string { return "uninstall" }

// Synopsis implements subcommands.Command.
func (*Uninstall) Synopsis() string { return "remove a runtime from Docker's configuration" }

// Usage implements subcommands.Command.
func (*Uninstall) Usage() string {
	return "uninstall [flags] - remove a runtime from Docker's daemon.json.\n"
}

// SetFlags implements subcommands.Command.
func (u *Uninstall) SetFlags(f *flag.FlagSet) {
	f.StringVar(&u.configFile, "config_file", defaultDockerConfig, "Docker's configuration")
	f.StringVar(&u.runtime, "runtime", "runsc", "name of the runtime")
}

// Execute implements subcommands.Command.
func (u *Uninstall) Execute(_ context.Context, f *flag.FlagSet, _ ...any) subcommands.ExitStatus {
	err := editDockerConfig(u.configFile, func(runtimes map[string]json.RawMessage) error {
		if _, ok := runtimes[u.runtime]; !ok {
			return fmt.Errorf("runtime %q is not in %s", u.runtime, u.configFile)
		}
		delete(runtimes, u.runtime)
		return nil
	})
	if err != nil {
		return fail(err)
	}
	fmt.Printf("Removed runtime %q from %s. Restart or reload Docker.\n", u.runtime, u.configFile)
	return subcommands.ExitSuccess
}

// editDockerConfig changes the runtimes in a configuration file, keeping everything else as
// it is.
func editDockerConfig(path string, edit func(map[string]json.RawMessage) error) error {
	conf := make(map[string]json.RawMessage)
	data, err := os.ReadFile(path)
	perm := fs.FileMode(0o644)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if len(bytes.TrimSpace(data)) > 0 {
			if err := specutils.DecodeJSON(path, data, &conf); err != nil {
				return err
			}
		}
		if st, err := os.Stat(path); err == nil {
			perm = st.Mode().Perm()
		}
	}
	runtimes := make(map[string]json.RawMessage)
	if old, ok := conf["runtimes"]; ok {
		if err := specutils.DecodeJSON(path+": runtimes", old, &runtimes); err != nil {
			return err
		}
	}
	if err := edit(runtimes); err != nil {
		return err
	}
	delete(conf, "runtimes")
	if len(runtimes) > 0 {
		if conf["runtimes"], err = json.Marshal(runtimes); err != nil {
			return err
		}
	}
	out, err := json.MarshalIndent(conf, "", "    ")
	if err != nil {
		return err
	}
	// Through a symlink, as configuration management likes to have it.
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return container.WriteFile(path, append(out, '\n'), perm)
}
