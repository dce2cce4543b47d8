// Command bench measures what the sandbox costs: native, under runc, and under runsc on
// each of its platforms, all in one run, and prints tables.
//
// The parts, each in a file of its own:
//
//	start   start and end of a container, memory of an idle one        start.go
//	micro   single operations of the kernel, in ns                     micro.go, micro*.c
//	hogs    some of them while every processor is busy                 hogs.go
//	scale   throughput of 1 to 64 threads                              scale.go
//	macro   compilers, archives, git, databases in a Debian rootfs     macro.go, macro/
//	        (ours on the first platform also with --overlay2=root:memory)
//	net     throughput and latency over a veth and over lo             net.go, net/
//
// Method: a target is the host's kernel itself (native, in a chroot with namespaces of its
// own), runc, or runsc with one platform. The targets take turns, pass by pass, so that a
// busy moment of the machine hits all alike; the tables have the median over the passes,
// the JSON file the best as well. Numbers of one run compare, above all the ratios; those of
// two runs on a shared machine do not. So nothing here passes or fails by its time: an aim
// is shown beside a metric that has one, and the exit status is 1 only if something did not
// run at all.
//
//	make bench                                   everything, a quarter of an hour and more
//	make bench BENCH="-micro -only getpid,stat"  one part, some metrics
//	make bench BENCH=-quick                      a tenth of the work, to try the driver
//	PLATFORM=ptrace make bench BENCH=-macro      one platform
//
// The results are also written to bin/bench/, as bench.json and one chart (SVG) a part. The
// driver has a mount namespace of its own and ends all it started on SIGINT, SIGTERM and
// SIGHUP; hogs end by themselves even if it is killed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"runsc/test/oci"
)

// options is the command line.
type options struct {
	only   string
	out    string
	ms     int
	passes int
	starts int
	rounds int
	size   int
}

// A bench is one run of this program.
type bench struct {
	options
	top     string // of the source tree
	dir     string // temporary
	rootfs  string // of the micro-benchmarks and of start
	targets []*target
	// inMemory is our first target once more, with changes of the root filesystem kept in
	// memory, for the part that changes much there: macro. Nil if there is none of ours.
	inMemory *target
	report   report
}

// all returns the targets of macro, which are all.
func (b *bench) all() []*target {
	if b.inMemory == nil {
		return b.targets
	}
	return append(slices.Clip(b.targets), b.inMemory)
}

// parts in the order in which they run.
var parts = []struct {
	name, what string
	run        func(*bench, context.Context) (*table, error)
}{
	{"start", "start-up time and idle memory", (*bench).start},
	{"micro", "single operations", (*bench).micro},
	{"hogs", "single operations while all processors are busy", (*bench).hogs},
	{"scale", "throughput of many threads", (*bench).scale},
	{"macro", "real programs", (*bench).macro},
	{"net", "the network", (*bench).network},
}

func main() {
	var b bench
	chosen := make([]bool, len(parts))
	for i, p := range parts {
		flag.BoolVar(&chosen[i], p.name, false, "run "+p.what+" (default: all parts)")
	}
	flag.StringVar(&b.only, "only", "", "metrics and workloads to run, separated by commas; * matches any characters")
	flag.StringVar(&b.out, "out", "", "directory for bench.json and charts (default bin/bench)")
	flag.IntVar(&b.ms, "ms", 60, "milliseconds per metric and pass")
	flag.IntVar(&b.passes, "passes", 3, "passes over the metrics")
	flag.IntVar(&b.starts, "n", 20, "starts per runtime")
	flag.IntVar(&b.rounds, "rounds", 3, "runs of each real program; the longest run once")
	flag.IntVar(&b.size, "size", 100, "size of the real programs' work in percent")
	quick := flag.Bool("quick", false, "about a tenth of everything")
	flag.Parse()
	if *quick {
		b.ms, b.passes, b.starts, b.rounds, b.size = 5, 1, 2, 1, 10
	}
	if flag.NArg() > 0 || b.ms < 1 || b.passes < 1 || b.starts < 1 || b.rounds < 1 || b.size < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := privateMounts(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := b.run(ctx, chosen)
	interrupted := ctx.Err() != nil
	stop()
	if interrupted {
		fmt.Fprintln(os.Stderr, "bench: interrupted")
		os.Exit(130)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// privateMounts executes this program anew in a mount namespace of its own, so that no
// mount can outlive it. Mounts and unmounts of others still arrive.
func privateMounts() error {
	const done = "BENCH_PRIVATE_MOUNTS"
	if os.Getenv(done) != "" {
		return nil
	}
	if os.Geteuid() != 0 {
		return errors.New("needs root: namespaces, mounts and cgroups")
	}
	runtime.LockOSThread() // until exec
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return os.NewSyscallError("unshare", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_SLAVE|unix.MS_REC, ""); err != nil {
		return os.NewSyscallError("making mounts private", err)
	}
	return os.NewSyscallError("exec", syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), done+"=1")))
}

func (b *bench) run(ctx context.Context, chosen []bool) (err error) {
	if b.top, err = oci.FindTop(); err != nil {
		return err
	}
	if b.out == "" {
		b.out = filepath.Join(b.top, "bin/bench")
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("/tmp", "bench"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, persist(func() error { return os.RemoveAll(b.dir) })) }()
	if err := os.Chmod(b.dir, 0o755); err != nil {
		return err
	}
	if err := b.makeRootfs(ctx); err != nil {
		return err
	}
	if err := b.findTargets(ctx); err != nil {
		return err
	}
	defer func() {
		for _, t := range b.all() {
			if t.runtime != nil {
				t.runtime.RemoveAll()
			}
		}
	}()
	b.report.describe(b.all())
	fmt.Println(b.report.heading())

	all := true
	for _, c := range chosen {
		all = all && !c
	}
	for i, p := range parts {
		if !all && !chosen[i] {
			continue
		}
		began := time.Now()
		t, err := p.run(b, ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			b.fail("%s: %v", p.name, err)
			continue
		}
		if len(t.Rows) == 0 {
			continue // nothing of -only
		}
		t.Name, t.Took = p.name, time.Since(began).Seconds()
		b.report.Tables = append(b.report.Tables, t)
		fmt.Println()
		t.print(os.Stdout, b.report.Targets)
		if err := b.report.write(b.out, t); err != nil {
			return err
		}
	}
	return b.report.failed()
}

func (b *bench) fail(format string, args ...any) {
	b.report.Failures = append(b.report.Failures, fmt.Sprintf(format, args...))
}

// wanted tells whether -only names a metric or workload.
func (b *bench) wanted(name string) bool {
	if b.only == "" {
		return true
	}
	for _, pattern := range strings.Split(b.only, ",") {
		if ok, _ := path.Match(pattern, name); ok {
			return true
		}
	}
	return false
}

// makeRootfs makes the small root filesystem: micro, built from its sources, and busybox.
func (b *bench) makeRootfs(ctx context.Context) error {
	b.rootfs = filepath.Join(b.dir, "rootfs")
	for _, d := range []string{"bin", "proc", "dev", "sys", "tmp", "work"} {
		if err := os.MkdirAll(filepath.Join(b.rootfs, d), 0o755); err != nil {
			return err
		}
	}
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return fmt.Errorf("%w (Debian's busybox-static)", err)
	}
	for _, name := range []string{"true", "sleep"} {
		if err := oci.CopyFile(busybox, filepath.Join(b.rootfs, "bin", name), 0o755); err != nil {
			return err
		}
	}
	sources, err := filepath.Glob(filepath.Join(b.top, "test/bench/micro*.c"))
	if err != nil {
		return err
	}
	args := append([]string{"-O2", "-static", "-pthread", "-o", b.microPath()}, sources...)
	if res := oci.RunContext(ctx, 2*time.Minute, exec.Command("gcc", args...)); res.Code != 0 {
		return fmt.Errorf("building micro: %s", res.Out())
	}
	return nil
}

// microPath is micro's on the host.
func (b *bench) microPath() string { return filepath.Join(b.rootfs, "bin/micro") }

// persist tries for a while what processes that are still dying may get in the way of.
func persist(f func() error) error {
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err := f(); err == nil || time.Now().After(deadline) {
			return err
		}
	}
}
