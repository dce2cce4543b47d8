// Package ptrace runs application code in processes that the sentry traces with
// ptrace(2). It needs nothing of the host but ptrace, and is slow: every event costs two
// switches between processes.
//
// # Processes and threads
//
// An address space is a host process, a stub process. Its memory holds the application's
// mappings and, above UserRange, the stub: a page of code that makes single system calls on
// the sentry's behalf, and a read-only window on a list of system calls (orders). Stub processes
// are clones of the zygote, a process forked off when the platform is made, of which
// nothing is left but the stub. They have a seccomp filter of their own (stubRules), no
// capabilities, share the sentry's descriptor table, so that whatever the sentry can map they can
// map, and die with the sentry (PTRACE_O_EXITKILL).
//
// Only the thread that traces a thread may control it. So a stub process gets one thread
// for each sentry thread that ever runs a task in it, made on demand; a task's goroutine is
// locked to its OS thread while it is in Switch only, and uses the stub thread that belongs to this OS
// thread. A task that is blocked in the sentry holds neither. An OS thread keeps at most
// maxOwned stub threads. The first thread of each stub
// process, its leader, never runs application code: the platform's tracer goroutine, which owns the
// zygote and all leaders, uses it to make threads, and to change memory on behalf of
// goroutines whose OS thread has no stub thread there.
//
// When an OS thread ends, the host kills every stub process that it traces a thread of. So no
// goroutine of a process that uses this platform may end while it is locked to its OS thread.
//
// # What application code can do
//
// It runs under PTRACE_SYSEMU: every system call, by whatever instruction, stops before
// anything happens. It may jump into the stub; its system calls stop there as well. The vsyscall page is
// emulated by the host's kernel behind the back of SYSEMU, but not of seccomp, which turns
// such a call into a SIGSYS stop (see event.go).
//
// # Locks
//
// addressSpace.Mu guards the list of mapped ranges and the orders; it is held during the
// host system calls that change memory. Below it come addressSpace.threadsMu, which guards the
// map of threads, and thread.mu, which is held while the thread runs. osThread.mu is a leaf.
package ptrace

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/platform/affinity"
	"runsc/pkg/seccomp"
)

func init() {
	platform.Register("ptrace", func(platform.Options) (platform.Platform, error) { return New() })
}

// Platform is the ptrace platform.
type Platform struct {
	tracer *tracer
	orders *orderMemory
	closed sync.Once
}

// New makes the platform: it forks the zygote. It must be called before the process
// restricts itself, and while the process is small.
func New() (*Platform, error) {
	if err := quietSIGCHLD(); err != nil {
		return nil, fmt.Errorf("changing SIGCHLD: %w", err)
	}
	orders, err := newOrderMemory()
	if err != nil {
		return nil, fmt.Errorf("making memory for orders: %w", err)
	}
	a := affinity.New()
	t, err := startTracer(orders, a)
	if err != nil {
		a.Close()
		orders.close()
		return nil, err
	}
	return &Platform{tracer: t, orders: orders}, nil
}

// Name implements platform.Platform.
func (p *Platform) Name() string { return "ptrace" }

// UserRange implements platform.Platform. The lower end is what vm.mmap_min_addr is on
// nearly every host.
func (p *Platform) UserRange() (min, max uintptr) { return 0x10000, stubBase }

// NewContext implements platform.Platform.
func (p *Platform) NewContext() platform.Context { return &taskContext{} }

// NewAddressSpace implements platform.Platform.
func (p *Platform) NewAddressSpace() (platform.AddressSpace, error) {
	as, err := p.tracer.newAddressSpace()
	if err != nil {
		return nil, fmt.Errorf("making a stub process: %w", err)
	}
	return as, nil
}

// Close implements platform.Platform.
func (p *Platform) Close() {
	p.closed.Do(func() {
		p.tracer.stop()
		p.tracer.affinity.Close()
		p.orders.close()
	})
}

// SeccompRules implements platform.Platform.
func (p *Platform) SeccompRules() seccomp.Rules {
	r := seccomp.Rules{
		unix.SYS_GETTID:            nil,
		unix.SYS_GETCPU:            nil,
		unix.SYS_SCHED_SETAFFINITY: nil,
		unix.SYS_WAIT4:             {{nil, nil, seccomp.EqualTo(unix.WALL), seccomp.EqualTo(0)}},
		unix.SYS_TGKILL: {
			{nil, nil, seccomp.EqualTo(unix.SIGKILL)},
			{nil, nil, seccomp.EqualTo(kickSignal)},
		},
	}
	for _, request := range []uint64{
		unix.PTRACE_GETREGS, unix.PTRACE_SETREGS, unix.PTRACE_POKEUSR, unix.PTRACE_SYSEMU, unix.PTRACE_CONT,
		unix.PTRACE_GETSIGINFO, unix.PTRACE_SEIZE, unix.PTRACE_INTERRUPT, unix.PTRACE_GET_SYSCALL_INFO,
	} {
		r[unix.SYS_PTRACE] = append(r[unix.SYS_PTRACE], seccomp.Rule{seccomp.EqualTo(request)})
	}
	for _, request := range []uint64{unix.PTRACE_GETREGSET, unix.PTRACE_SETREGSET} {
		r[unix.SYS_PTRACE] = append(r[unix.SYS_PTRACE], seccomp.Rule{seccomp.EqualTo(request), nil, seccomp.EqualTo(ntX86XState)})
	}
	return r
}
