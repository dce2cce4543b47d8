package boot

import (
	"fmt"
	"os"
	"runtime"
	"sync"

	"runsc/pkg/abi/linux"
	"runsc/pkg/log"
	"runsc/pkg/platform"
	_ "runsc/pkg/platform/ptrace"  // registers itself
	_ "runsc/pkg/platform/systrap" // registers itself
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/host"
	"runsc/pkg/sentry/fs/proc"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/loader/vdso"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/strace/tracer"
	"runsc/pkg/sentry/syscalls"
	"runsc/runsc/config"
)

// defaultPlatform is used when none is asked for.
const defaultPlatform = "systrap"

// newKernel makes platform, memory and kernel, and wires filesystems and sockets in.
func newKernel(a *Args) (*kernel.Kernel, error) {
	name := a.Conf.Platform
	if name == "" {
		name = defaultPlatform
	}
	p, err := platform.New(name, platform.Options{DeviceFD: a.PlatformFD, NoPatch: a.Conf.SystrapPatch == "off"})
	if err != nil {
		return nil, err
	}
	mf, err := pgalloc.New()
	if err != nil {
		return nil, fmt.Errorf("memory for applications: %w", err)
	}
	cpus := a.NumCPU
	if cpus <= 0 {
		cpus = runtime.NumCPU()
	}
	v, err := vdso.New(vdso.Options{
		NumCPUs: cpus,
		// The host's CPU numbers mean nothing to applications that set an affinity.
		NoCPUSegment: true,
	})
	if err != nil {
		return nil, fmt.Errorf("vDSO: %w", err)
	}
	total := a.TotalMem
	if total == 0 {
		total = 2 << 30
	}
	k := kernel.New(kernel.Config{
		Platform: p, MemoryFile: mf, Syscalls: syscalls.NewTable(), VDSO: v,
		Hostname: a.Spec.Hostname, NumCPU: cpus, TotalMem: total,
		Reporter: newReporter(a.UserLogFD),
	})
	n := &networks{pingSockets: !a.Conf.NetRaw}
	if a.Conf.Network == config.NetworkHost {
		n.host = host.New(k.VFS())
	}
	syscalls.SetNetworking(k, withNetSettings(k, n))
	registerFilesystems(k)
	if a.Conf.Strace {
		t, err := tracer.New(k.Syscalls(), tracer.Options{Syscalls: a.Conf.StraceSyscalls, LogSize: int(a.Conf.StraceLogSize)})
		if err != nil {
			return nil, fmt.Errorf("--strace-syscalls: %w", err)
		}
		k.SetSyscallTracer(t)
	}
	if lx := a.Spec.Linux; lx != nil {
		for name, value := range lx.Sysctl {
			if err := proc.SysctlsOf(k).Set(name, value); err != nil {
				log.Warningf("linux.sysctl: %s=%s: %v", name, value, err)
			}
		}
	}
	return k, nil
}

func rootContext(k *kernel.Kernel) context.Context {
	return &context.Background{Creds: rootCredentials(k)}
}

// reporter writes the user log: the lines that users read first when a program does not
// work.
type reporter struct {
	file *os.File // nil: no user log

	mu   sync.Mutex // guards seen
	seen map[string]int
}

// maxReports bounds what one kind of report remembers and writes.
const maxReports = 100

func newReporter(fd int) *reporter {
	r := &reporter{seen: map[string]int{}}
	if fd >= 0 {
		r.file = os.NewFile(uintptr(fd), "user log")
	}
	return r
}

// once says whether key, of a tracker, has not been reported, and there is room.
func (r *reporter) once(tracker, key string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen[tracker+"\x00"+key] > 0 || r.seen[tracker] >= maxReports {
		return false
	}
	r.seen[tracker+"\x00"+key]++
	r.seen[tracker]++
	return true
}

func (r *reporter) line(format string, args ...any) {
	log.Infof(format, args...)
	if r.file != nil {
		fmt.Fprintf(r.file, format+"\n", args...)
	}
}

// UnsupportedSyscall implements kernel.Reporter.
func (r *reporter) UnsupportedSyscall(t *kernel.Task, s *kernel.Syscall, number uintptr) {
	name := linux.SyscallName(number)
	if r.once("syscall", name) {
		r.line("Unsupported syscall: %s, regs: %+v", name, t.Arch().Regs)
	}
}

// UnsupportedCommand implements kernel.Reporter.
func (r *reporter) UnsupportedCommand(t *kernel.Task, call string, command uint64) {
	if r.once(call, fmt.Sprint(command)) {
		r.line("Unsupported syscall: %s(%#x), regs: %+v", call, command, t.Arch().Regs)
	}
}

// FatalSignal implements kernel.Reporter.
func (r *reporter) FatalSignal(t *kernel.Task, signo int32, addr uintptr) {
	r.line("Uncaught signal: %d, pid: %d, tid: %d (%s), fault addr: %#x, ip: %#x", signo, t.RootTGID(), t.RootTID(), t.Name(), addr, t.Arch().IP())
}

// Warningf lets the kernel log what an operator should know.
func (*reporter) Warningf(format string, args ...any) { log.Warningf(format, args...) }
