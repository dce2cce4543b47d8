package cmd

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/google/subcommands"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/log"
	"runsc/runsc/boot"
	"runsc/runsc/config"
	"runsc/runsc/specutils"
)

// Boot is the internal command "boot": the sandbox process.
type Boot struct {
	bundle       string
	specFD       int
	mountsFD     int
	controllerFD int
	syncFD       int
	ioFDs        intList
	stdioFDs     intList
	deviceFD     int
	userLogFD    int
	numCPU       int
	totalMemory  uint64
	console      bool
	setupRoot    bool
	applyCaps    bool
	pidns        bool
	attached     bool
}

// Name implements subcommands.Command.
func (*Boot) Name() string { return "boot" }

// Synopsis implements subcommands.Command.
func (*Boot) Synopsis() string { return "run the sandbox (internal)" }

// Usage implements subcommands.Command.
func (*Boot) Usage() string {
	return "boot [flags] ID - the sandbox process. Started by create and run only.\n"
}

// SetFlags implements subcommands.Command.
func (b *Boot) SetFlags(f *flag.FlagSet) {
	f.StringVar(&b.bundle, "bundle", "", "bundle, for ps to show")
	f.IntVar(&b.specFD, "spec-fd", -1, "specification")
	f.IntVar(&b.mountsFD, "mounts-fd", -1, "pipe from which to read the resolved mounts")
	f.IntVar(&b.controllerFD, "controller-fd", -1, "listening control socket")
	f.IntVar(&b.syncFD, "start-sync-fd", -1, "socket on which to say that the sandbox is ready, and to hear that it is wanted")
	f.Var(&b.ioFDs, "io-fds", "sockets of the gofer, root first")
	f.Var(&b.stdioFDs, "stdio-fds", "the application's stdin, stdout and stderr")
	f.IntVar(&b.deviceFD, "device-fd", -1, "device of the platform")
	f.IntVar(&b.userLogFD, "user-log-fd", -1, "log for the container's user")
	f.IntVar(&b.numCPU, "cpu-num", 0, "processors that the application sees")
	f.Uint64Var(&b.totalMemory, "total-memory", 0, "bytes of memory that the application sees")
	f.BoolVar(&b.console, "console", false, "stdio is a terminal")
	f.BoolVar(&b.setupRoot, "setup-root", false, "move into an empty root")
	f.BoolVar(&b.applyCaps, "apply-caps", false, "give up all capabilities")
	f.BoolVar(&b.attached, "attached", false, "the client stays: tell it how the container ended")
	f.BoolVar(&b.pidns, "pidns", false, "the process is the first of its pid namespace")
}

// Execute implements subcommands.Command. It ends with the process.
func (b *Boot) Execute(_ context.Context, f *flag.FlagSet, args ...any) subcommands.ExitStatus {
	if f.NArg() != 1 || len(b.stdioFDs) != 3 || len(b.ioFDs) == 0 {
		return usageError(f, "not to be called by hand")
	}
	status, err := b.run(f.Arg(0), args[0].(*config.Config))
	if err != nil {
		log.Errorf("%v", err)
		boot.Fatal(err)
	}
	return exitStatus(status)
}

func (b *Boot) run(id string, conf *config.Config) (uint32, error) {
	for _, fd := range append(append([]int{b.specFD, b.mountsFD, b.controllerFD, b.syncFD, b.deviceFD, b.userLogFD}, b.ioFDs...), b.stdioFDs...) {
		if fd >= 0 {
			unix.CloseOnExec(fd)
		}
	}
	// A sandbox is one process among many of its kind on a host: rather collect somewhat
	// more often than let the heap of a quiet sandbox double.
	debug.SetGCPercent(50)

	if err := crashOutput(); err != nil {
		return 0, err
	}
	if b.setupRoot {
		if err := enterEmptyRoot(); err != nil {
			return 0, err
		}
	}
	if b.applyCaps {
		if err := keepCapabilities(0); err != nil {
			return 0, err
		}
	}

	spec, err := readSpecFD(b.specFD)
	if err != nil {
		return 0, err
	}
	mounts, err := readMounts(b.mountsFD)
	if err != nil {
		return 0, err
	}
	l, err := boot.NewLoader(boot.Args{
		ID:         id,
		Conf:       conf,
		Spec:       spec,
		GoferFDs:   b.ioFDs,
		Mounts:     mounts,
		StdioFDs:   b.stdioFDs,
		UserLogFD:  b.userLogFD,
		NumCPU:     b.numCPU,
		TotalMem:   b.totalMemory,
		Console:    b.console,
		ControlFD:  b.controllerFD,
		PlatformFD: b.deviceFD,
	})
	if err != nil {
		return 0, err
	}
	if b.console {
		forwardTerminalSignals(id, l)
	}
	if conf.PanicSignal > 0 {
		panicOn(syscall.Signal(conf.PanicSignal), l)
	}
	if err := l.InstallFilters(); err != nil {
		return 0, fmt.Errorf("installing system call filters: %w", err)
	}
	c := boot.NewController(id, conf, l, b.controllerFD)
	go c.Serve()

	if err := b.sync(); err != nil {
		return 0, err
	}
	status, err := l.Wait(id)
	if err != nil {
		return 0, err
	}
	log.Debugf("container %s ended with status %#x", id, status)
	if b.attached {
		// A call of Wait may come too late for a short life; this cannot.
		unix.Write(b.syncFD, binary.LittleEndian.AppendUint32(nil, status))
	}
	c.Shutdown()
	return status, nil
}

// sync tells the client that the container is made, and waits until the client has written
// that down: a sandbox whose client dies before is known to nobody and must not stay.
func (b *Boot) sync() error {
	var buf [1]byte
	if n, err := ignoringEINTR(func() (int, error) { return unix.Write(b.syncFD, buf[:]) }); n != 1 {
		return fmt.Errorf("client is gone: %w", err)
	}
	if n, err := ignoringEINTR(func() (int, error) { return unix.Read(b.syncFD, buf[:]) }); n != 1 {
		return errors.Join(errors.New("client died before the container was recorded"), err)
	}
	return nil
}

func ignoringEINTR(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// forwardTerminalSignals passes on what the host's terminal driver sends to the leader of
// the terminal's session, which this process is: interrupts typed by the user and changes
// of the window's size.
func forwardTerminalSignals(id string, l *boot.Loader) {
	ch := make(chan os.Signal, 16)
	signal.Notify(ch, unix.SIGINT, unix.SIGQUIT, unix.SIGTSTP, unix.SIGWINCH, unix.SIGHUP)
	go func() {
		for s := range ch {
			if err := l.Signal(id, 0, int32(s.(syscall.Signal)), boot.SignalForegroundGroup); err != nil {
				log.Debugf("forwarding %v: %v", s, err)
			}
		}
	}()
}

// panicOn makes a signal show the stacks of all goroutines as the process's last words.
func panicOn(sig os.Signal, l *boot.Loader) {
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, sig)
	go func() {
		<-ch
		debug.SetTraceback("all")
		log.Errorf("panic by signal %v:\n%s", sig, l.Stacks())
		panic(fmt.Sprintf("signal %v", sig))
	}()
}

// maxBootInput bounds what is read from descriptors given at start.
const maxBootInput = 64 << 20

// readSpecFD reads the specification from the start of fd, whose offset other processes
// share.
func readSpecFD(fd int) (spec *specs.Spec, err error) {
	f := os.NewFile(uintptr(fd), "spec")
	if f == nil {
		return nil, errors.New("no --spec-fd")
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, maxBootInput))
	if err != nil {
		return nil, fmt.Errorf("reading specification: %w", err)
	}
	return specutils.Decode("specification", data)
}

// readMounts reads what the gofer made of the mounts.
func readMounts(fd int) ([]boot.MountInfo, error) {
	f := os.NewFile(uintptr(fd), "mounts")
	if f == nil {
		return nil, errors.New("no --mounts-fd")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxBootInput))
	if err != nil {
		return nil, fmt.Errorf("reading mounts: %w", err)
	}
	if len(data) == 0 {
		return nil, errors.New("the gofer died before it sent the mounts")
	}
	var mounts []boot.MountInfo
	if err := json.Unmarshal(data, &mounts); err != nil {
		return nil, fmt.Errorf("reading mounts: %w", err)
	}
	return mounts, nil
}
