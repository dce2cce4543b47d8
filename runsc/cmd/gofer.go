package cmd

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"
	"sync"

	"github.com/google/subcommands"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/boot"
	"runsc/runsc/config"
)

// Gofer is the internal command "gofer": the file server of one container.
type Gofer struct {
	bundle    string
	specFD    int
	mountsFD  int
	ioFDs     intList
	setupRoot bool
	applyCaps bool
}

// Name implements subcommands.Command.
func (*Gofer) Name() string { return "gofer" }

// Synopsis implements subcommands.Command.
func (*Gofer) Synopsis() string { return "serve files to a sandbox (internal)" }

// Usage implements subcommands.Command.
func (*Gofer) Usage() string {
	return "gofer [flags] ID - the file server. Started by create and run only.\n"
}

// SetFlags implements subcommands.Command.
func (g *Gofer) SetFlags(f *flag.FlagSet) {
	f.StringVar(&g.bundle, "bundle", "", "bundle, for ps to show")
	f.IntVar(&g.specFD, "spec-fd", -1, "specification")
	f.IntVar(&g.mountsFD, "mounts-fd", -1, "pipe to which to write the resolved mounts")
	f.Var(&g.ioFDs, "io-fds", "sockets to serve, root first")
	f.BoolVar(&g.setupRoot, "setup-root", false, "move into an empty root")
	f.BoolVar(&g.applyCaps, "apply-caps", false, "give up the capabilities that serving files does not need")
}

// goferCapabilities are what the owner of arbitrary files needs to act for the users of a
// container. CAP_MKNOD is not among them: device nodes cannot be made.
const goferCapabilities = 1<<unix.CAP_CHOWN | 1<<unix.CAP_DAC_OVERRIDE | 1<<unix.CAP_DAC_READ_SEARCH |
	1<<unix.CAP_FOWNER | 1<<unix.CAP_FSETID | 1<<unix.CAP_SYS_CHROOT

// Execute implements subcommands.Command. It ends when the last socket is closed.
func (g *Gofer) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if f.NArg() != 1 || len(g.ioFDs) == 0 {
		return usageError(f, "not to be called by hand")
	}
	if err := g.run(args[0].(*config.Config)); err != nil {
		log.Errorf("%v", err)
		boot.Fatal(err)
	}
	return subcommands.ExitSuccess
}

func (g *Gofer) run(conf *config.Config) error {
	for _, fd := range append([]int{g.specFD, g.mountsFD}, g.ioFDs...) {
		if fd >= 0 {
			unix.CloseOnExec(fd)
		}
	}
	debug.SetGCPercent(50)
	unix.Umask(0) // modes come complete from the sandbox, which has applied its own umask

	spec, err := readSpecFD(g.specFD)
	if err != nil {
		return err
	}
	if err := crashOutput(); err != nil {
		return err
	}
	if g.setupRoot {
		// Or our own mounts below could be seen from outside.
		if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("making mounts slaves: %w", err)
		}
	}
	exports, err := openExports(spec, conf)
	if err != nil {
		return err
	}
	if len(exports) != len(g.ioFDs) {
		return fmt.Errorf("%d trees to serve on %d sockets", len(exports), len(g.ioFDs))
	}
	mounts, err := resolveMounts(spec, conf, exports)
	if err != nil {
		return err
	}
	// Served files are reopened through this directory, whose ".." leads nowhere.
	procSelf, err := openTree("/proc/self/fd", false, false)
	if err != nil {
		return err
	}
	procFD := os.NewFile(uintptr(procSelf), "/proc/self/fd")
	// The sandbox needs this list next, and may have it while this process locks itself
	// up: nothing is served before that is done.
	if err := writeMounts(g.mountsFD, mounts); err != nil {
		if errors.Is(err, unix.EPIPE) {
			return nil // the sandbox has died, and has said why
		}
		return err
	}
	if g.setupRoot {
		if err := enterEmptyRoot(); err != nil {
			return err
		}
	}
	if g.applyCaps {
		if err := keepCapabilities(goferCapabilities); err != nil {
			return err
		}
	}
	if err := installGoferFilter(procFD, conf); err != nil {
		return fmt.Errorf("installing system call filters: %w", err)
	}
	var wg sync.WaitGroup
	for i, e := range exports {
		wg.Add(1)
		go func() {
			defer wg.Done()
			sock := os.NewFile(uintptr(g.ioFDs[i]), "9p")
			if err := serveTree(sock, e, procFD, conf); err != nil {
				log.Warningf("serving %s: %v", e.what, err)
			}
		}()
	}
	wg.Wait()
	log.Debugf("all connections closed")
	return nil
}

func writeMounts(fd int, mounts []boot.MountInfo) error {
	data, err := json.Marshal(mounts)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "mounts")
	if f == nil {
		return errors.New("no --mounts-fd")
	}
	_, err = f.Write(data)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("sending mounts: %w", err)
	}
	return nil
}
