package systrap

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/platform/affinity"
	"runsc/pkg/seccomp"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/spin"
)

func init() {
	platform.Register("systrap", func(o platform.Options) (platform.Platform, error) { return New(o) })
}

const (
	maxProcesses   = 1 << 15
	maxAllThreads  = 1 << 16
	spareProcesses = 1
)

// Platform is the systrap platform.
type Platform struct {
	stub    *os.File
	orders  *slotFile // windows of processes
	threads *slotFile

	zygote    *process
	forkMu    sync.Mutex // the zygote makes one process at a time
	result    []byte     // guarded by forkMu
	makerStop chan struct{}

	patch bool // hot call sites may be changed

	affinity *affinity.Set
	// inApp is how many contexts run application code now.
	inApp atomic.Int32
	cpus  int32
	tick  uint64 // TSC cycles in a microsecond

	spareMu   sync.Mutex // guards the fields below
	spare     []*addressSpace
	making    bool
	closed    bool
	processes sync.WaitGroup // stub processes and what makes them
}

// New makes the platform: it forks the zygote. It must be called before the process
// restricts itself, and while the process is small.
func New(o platform.Options) (*Platform, error) {
	if arch.XStateSize() > sizeofFP {
		return nil, fmt.Errorf("the processor's FP state has %d bytes; use --platform=ptrace", arch.XStateSize())
	}
	p := &Platform{affinity: affinity.New(), patch: !o.NoPatch, cpus: int32(runtime.NumCPU()), tick: spin.CyclesPerMicrosecond()}
	if err := p.start(); err != nil {
		p.Close()
		return nil, fmt.Errorf("%w; use --platform=ptrace", err)
	}
	return p, nil
}

func (p *Platform) start() (err error) {
	if p.stub, err = newStubFile(); err != nil {
		return err
	}
	if p.orders, err = newSlotFile("runsc-orders", ordersSize, maxProcesses); err != nil {
		return err
	}
	if p.threads, err = newSlotFile("runsc-threads", slotSize, maxAllThreads); err != nil {
		return err
	}
	if err := p.startZygote(); err != nil {
		return err
	}
	p.makeSpare()
	return nil
}

// Name implements platform.Platform.
func (p *Platform) Name() string { return "systrap" }

// UserRange implements platform.Platform. The lower end is what vm.mmap_min_addr is on
// nearly every host.
func (p *Platform) UserRange() (min, max uintptr) { return 0x10000, userEnd }

// NewContext implements platform.Platform.
func (p *Platform) NewContext() platform.Context { return &taskContext{p: p} }

// NewAddressSpace implements platform.Platform.
func (p *Platform) NewAddressSpace() (platform.AddressSpace, error) {
	p.spareMu.Lock()
	var as *addressSpace
	if n := len(p.spare); n > 0 {
		as, p.spare = p.spare[n-1], p.spare[:n-1]
	}
	p.spareMu.Unlock()
	p.makeSpare()
	if as != nil && !as.dead.Load() {
		return as, nil
	}
	as, err := p.fork()
	if err != nil {
		return nil, fmt.Errorf("making a stub process: %w", err)
	}
	return as, nil
}

// makeSpare makes a process ahead of need, with a thread, in the background.
func (p *Platform) makeSpare() {
	p.spareMu.Lock()
	defer p.spareMu.Unlock()
	if p.closed || p.making || len(p.spare) >= spareProcesses {
		return
	}
	p.making = true
	p.processes.Add(1)
	go func() {
		defer p.processes.Done()
		as, err := p.fork()
		if err == nil {
			if th, err := as.acquire(); err == nil {
				as.release(th)
			}
		}
		p.spareMu.Lock()
		defer p.spareMu.Unlock()
		p.making = false
		switch {
		case err != nil: // the next NewAddressSpace will see it
		case p.closed:
			as.Release()
		default:
			p.spare = append(p.spare, as)
		}
	}()
}

// Close implements platform.Platform.
func (p *Platform) Close() {
	p.spareMu.Lock()
	if p.closed {
		p.spareMu.Unlock()
		return
	}
	p.closed = true
	for _, as := range p.spare {
		as.Release()
	}
	p.spare = nil
	p.spareMu.Unlock()
	p.processes.Wait()
	if p.zygote != nil && p.zygote.pid > 0 {
		p.zygote.kill()
		<-p.zygote.gone
	}
	p.affinity.Close()
	if p.makerStop != nil {
		close(p.makerStop)
	}
	if p.result != nil {
		unix.Munmap(p.result)
	}
	for _, s := range []*slotFile{p.orders, p.threads} {
		if s != nil {
			s.close()
		}
	}
	if p.stub != nil {
		p.stub.Close()
	}
}

// SeccompRules implements platform.Platform.
func (p *Platform) SeccompRules() seccomp.Rules {
	return seccomp.Rules{
		unix.SYS_FUTEX: {
			{nil, seccomp.EqualTo(futexWait)},
			{nil, seccomp.EqualTo(futexWake)},
		},
		unix.SYS_TGKILL: {
			{nil, nil, seccomp.EqualTo(0)},
			{nil, nil, seccomp.EqualTo(unix.SIGKILL)},
			{nil, nil, seccomp.EqualTo(kickSignal)},
		},
		unix.SYS_GETTID:            nil,
		unix.SYS_GETCPU:            nil,
		unix.SYS_SCHED_SETAFFINITY: nil,
		unix.SYS_PIDFD_OPEN:        nil,
		unix.SYS_WAIT4:             {{nil, nil, seccomp.MaskedEqual(^uint64(unix.WNOHANG), unix.WALL)}},
	}
}
