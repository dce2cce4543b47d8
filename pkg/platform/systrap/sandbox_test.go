package systrap

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/platform/hostmap"
	"runsc/pkg/platform/platformtest"
	"runsc/pkg/seccomp"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/memmap"
)

func newPlatform() (platform.Platform, error) { return New(platform.Options{}) }

func TestMain(m *testing.M) {
	platformtest.Main(m, newPlatform, map[string]func(){"refused": refused})
}

func stubOf(as platform.AddressSpace) int { return as.(*addressSpace).pid }

func TestProcesses(t *testing.T) { platformtest.RunProcesses(t, newPlatform, stubOf) }

// TestHelperFilter: orders that the helper never gets, if an attacker ever wrote some. The host refuses
// them with a signal, which the helper, having no stack for a handler, does not survive.
func TestHelperFilter(t *testing.T) {
	made, err := New(platform.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer made.Close()
	const fixed = unix.MAP_SHARED | unix.MAP_FIXED
	file := uint64(made.threads.file.Fd())
	orders := uint64(made.orders.file.Fd())
	pid := uint64(os.Getpid())
	for _, tc := range []struct {
		name string
		nr   uint64
		args [6]uint64
		ok   bool
	}{
		{"munmap", unix.SYS_MUNMAP, [6]uint64{0x10000, 4096}, true},
		{"mapping", unix.SYS_MMAP, [6]uint64{0x10000, 4096, 3, fixed, file}, true},
		{"private mapping", unix.SYS_MMAP, [6]uint64{0x10000, 4096, 3, unix.MAP_PRIVATE | unix.MAP_FIXED, file}, false},
		{"anonymous mapping", unix.SYS_MMAP, [6]uint64{0x10000, 4096, 3, fixed | unix.MAP_ANONYMOUS, file}, false},
		{"mapping anywhere", unix.SYS_MMAP, [6]uint64{0x10000, 4096, 3, unix.MAP_SHARED, file}, false},
		{"mapping with a huge protection", unix.SYS_MMAP, [6]uint64{0x10000, 4096, 1 << 24, fixed, file}, false},
		{"mprotect of what grows down", unix.SYS_MPROTECT, [6]uint64{0x10000, 4096, unix.PROT_GROWSDOWN}, false},
		{"write", unix.SYS_WRITE, [6]uint64{2, codeBase, 1}, false},
		{"pwrite to another file", unix.SYS_PWRITE64, [6]uint64{file, codeBase, 1, 0}, false},
		{"read", unix.SYS_READ, [6]uint64{0, threadsBase, 1}, false},
		{"open", unix.SYS_OPENAT, [6]uint64{}, false},
		{"socket", unix.SYS_SOCKET, [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}, false},
		{"execve", unix.SYS_EXECVE, [6]uint64{codeBase}, false},
		{"fork", unix.SYS_CLONE, [6]uint64{uint64(unix.SIGCHLD)}, false},
		{"clone with another stack", unix.SYS_CLONE, [6]uint64{threadFlags, threadsBase}, false},
		{"clone with a user namespace", unix.SYS_CLONE, [6]uint64{threadFlags | unix.CLONE_NEWUSER}, false},
		{"clone3", unix.SYS_CLONE3, [6]uint64{codeBase, 64}, false},
		{"unshare", unix.SYS_UNSHARE, [6]uint64{unix.CLONE_NEWUSER}, false},
		{"kill", unix.SYS_KILL, [6]uint64{pid, uint64(unix.SIGTERM)}, false},
		{"tgkill", unix.SYS_TGKILL, [6]uint64{pid, pid, uint64(unix.SIGTERM)}, false},
		{"ptrace", unix.SYS_PTRACE, [6]uint64{unix.PTRACE_TRACEME}, false},
		{"process_vm_writev", unix.SYS_PROCESS_VM_WRITEV, [6]uint64{pid}, false},
		{"rt_sigaction", unix.SYS_RT_SIGACTION, [6]uint64{uint64(unix.SIGUSR1), 0, 0, 8}, false},
		{"dumpable again", unix.SYS_PRCTL, [6]uint64{unix.PR_SET_DUMPABLE, 1}, false},
		{"no death signal", unix.SYS_PRCTL, [6]uint64{unix.PR_SET_PDEATHSIG, 0}, false},
		{"seccomp in strict mode", unix.SYS_SECCOMP, [6]uint64{unix.SECCOMP_SET_MODE_STRICT}, false},
		{"a filter with a listener", unix.SYS_SECCOMP, [6]uint64{unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER, codeBase + offFilter}, false},
		{"arch_prctl that allows more state", unix.SYS_ARCH_PRCTL, [6]uint64{0x1023, 18}, false},
		{"x32", 0x4000_0000 | unix.SYS_MUNMAP, [6]uint64{0x10000, 4096}, false},
		{"pwrite to orders", unix.SYS_PWRITE64, [6]uint64{orders, codeBase + offErrors, 0, 0}, true},
	} {
		pas, err := made.NewAddressSpace()
		if err != nil {
			t.Fatal(err)
		}
		as := pas.(*addressSpace)
		err = as.call(hostmap.Call{Nr: tc.nr, Args: tc.args})
		died := false
		if _, ok := err.(errDead); ok {
			died = true
		}
		if tc.ok && err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if !tc.ok && !died {
			t.Errorf("%s: the process lives: %v", tc.name, err)
		}
		as.Release()
	}
}

// TestThreadsHaveTwoFilters, the helper one, and nobody a capability.
func TestThreadsHaveTwoFilters(t *testing.T) {
	p, err := New(platform.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	pas, err := p.NewAddressSpace()
	if err != nil {
		t.Fatal(err)
	}
	as := pas.(*addressSpace)
	calls := platformtest.Calls()
	defer unix.Close(int(calls))
	c, ac := p.NewContext(), calls.Map(as)
	if _, err := c.Switch(as, ac); err != nil {
		t.Fatal(err)
	}
	th := as.threads[0]
	for _, tc := range []struct {
		tid     int
		filters string
	}{{as.pid, "1"}, {th.tid, "2"}} {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/status", as.pid, tc.tid))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"\nSeccomp:\t2\n", "\nSeccomp_filters:\t" + tc.filters + "\n", "\nNoNewPrivs:\t1\n", "\nCapEff:\t0000000000000000\n", "\nCapPrm:\t0000000000000000\n"} {
			if !strings.Contains(string(status), want) {
				t.Errorf("thread %d lacks %q", tc.tid, want)
			}
		}
	}
	c.Release()
	as.Release()
}

// TestKilledWhileMapping: a process that is killed while its helper works ends the work.
func TestKilledWhileMapping(t *testing.T) {
	p, err := New(platform.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	spin := platformtest.Spin()
	defer unix.Close(int(spin))
	for i := range 20 {
		as, err := p.NewAddressSpace()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		go func() {
			for {
				if err := as.Unmap(0x10000, 4096); err != nil {
					done <- err
					return
				}
				as.MapFile(0x10000, spin, memmap.Range{Start: 0, End: 4096}, memmap.Read, false)
			}
		}()
		time.Sleep(time.Duration(i) * 100 * time.Microsecond)
		unix.Kill(stubOf(as), unix.SIGKILL)
		select {
		case err := <-done:
			if _, ok := err.(errDead); !ok {
				t.Errorf("round %d: %v", i, err)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("round %d: the work does not end", i)
		}
		as.Release()
	}
}

// TestForgedSlot: what an application writes to its slot before the sentry looks.
func TestForgedSlot(t *testing.T) {
	p, err := New(platform.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	calls := platformtest.Calls()
	defer unix.Close(int(calls))
	as, err := p.NewAddressSpace()
	if err != nil {
		t.Fatal(err)
	}
	c, ac := p.NewContext().(*taskContext), calls.Map(as)
	if _, err := c.Switch(as, ac); err != nil {
		t.Fatal(err)
	}
	s := c.th.shared
	end := c.th.addr + slotSize
	for _, addr := range []uint64{0, 1, c.th.addr - 8, end - 1, end, end - ucEnd + 1, codeBase, ordersBase, 1 << 47, 1 << 63, ^uint64(0), ^uint64(7), ^uint64(0) - c.th.addr} {
		for kind := uint32(0); kind < 9; kind++ {
			for _, sig := range []uint32{0, 4, 5, 7, 8, 10, 11, 31, 64, 1 << 31} {
				s.kind, s.signo, s.frame, s.info, s.fp = kind, sig, addr, addr, addr
				if ev, err := c.event(arch.NewContext()); err != nil || ev.Kind == platform.EventFault {
					t.Fatalf("kind %d signal %d with frame %#x: %+v %v", kind, sig, addr, ev, err)
				}
				c.fpStored = false
				if addr != 0 { // which asks the thread
					if err := c.PullFullState(as, ac); err != nil {
						t.Fatalf("FP state at %#x: %v", addr, err)
					}
				}
			}
		}
	}
	for _, r := range []uint64{0, 1 << 47, 1 << 63, ^uint64(0)} {
		n := arch.NewContext()
		s.kind, s.regs = kindPatched, arch.Registers{Rip: r, Rsp: r, Eflags: ^uint64(0), Cs: r, Ss: r, Ds: r, Es: r, Fs: r, Gs: r, FsBase: r, GsBase: r}
		if _, err := c.event(n); err != nil {
			t.Fatal(err)
		}
		if n.Regs.Cs != arch.NewContext().Regs.Cs || n.Regs.Ss != 0 && n.Regs.Ss != arch.NewContext().Regs.Ss || n.Regs.FsBase != 0 || n.Regs.Eflags&0x3000 != 0 || n.Regs.Eflags&0x200 == 0 {
			t.Errorf("registers of %#x: %+v", r, n.Regs)
		}
	}
	as.Release()
}

// TestLateKick: a kick that arrives when its event is over, while the sentry fetches FP state, changes
// nothing: the application, in a patched system call, keeps the state.
func TestLateKick(t *testing.T) {
	p, err := New(platform.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ac := platformtest.Start()
	code := []byte{
		0x66, 0x48, 0x0f, 0x6e, 0xc3, // movq %rbx,%xmm0
		0x66, 0x48, 0x0f, 0x7e, 0xc2, // loop: movq %xmm0,%rdx
		0x48, 0x39, 0xda, // cmp %rbx,%rdx
		0x75, 9, // jne bad
		0xb8, unix.SYS_GETPPID, 0, 0, 0, // mov $SYS_getppid,%eax
		0x0f, 0x05, // syscall
		0xeb, 0xed, // jmp loop
		0x0f, 0x0b, // bad: ud2
	}
	const trampolineAt = 0x800
	start := ac.IP()
	pt, ok := p.PlanSyscallPatch(code, start, start+22, unix.SYS_GETPPID)
	if !ok {
		t.Fatal("no patch")
	}
	site, trampoline, _, ok := pt.Build(start + trampolineAt)
	if !ok {
		t.Fatal("no trampoline")
	}
	from, _ := pt.Range()
	page := make([]byte, trampolineAt, trampolineAt+trampolineSize)
	copy(page, code)
	copy(page[from-start:], site)
	file := platformtest.NewCodeFile(append(page, trampoline...)...)
	defer unix.Close(int(file))
	as, err := p.NewAddressSpace()
	if err != nil {
		t.Fatal(err)
	}
	file.Map(as)
	c := p.NewContext().(*taskContext)
	ac.Regs.Rbx = 0x0123_4567_89ab_cdef
	if _, err := c.Switch(as, ac); err != nil {
		t.Fatal(err)
	}
	var stop atomic.Bool
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for th := c.th; !stop.Load(); {
			tgkill(th.as.pid, th.tid, kickSignal)
			time.Sleep(time.Duration(rand.IntN(20)) * time.Microsecond) // not faster than it can take them
		}
	}()
	for range 5000 {
		if err := c.PullFullState(as, ac); err != nil {
			t.Error(err)
			break
		}
		ev, err := c.Switch(as, ac)
		if err != nil || ev.Kind != platform.EventSyscall && ev.Kind != platform.EventInterrupt {
			t.Errorf("%+v %v at %#x, xmm0 has %#x", ev, err, ac.IP(), ac.Regs.Rdx)
			break
		}
	}
	stop.Store(true)
	<-stopped
	c.Release()
	as.Release()
}

// refused is a process that an outer seccomp profile keeps from a system call.
func refused() {
	nr, err := strconv.Atoi(os.Getenv("REFUSED"))
	platformtest.Check(err)
	prog, err := seccomp.Build([]seccomp.RuleSet{{Rules: seccomp.Rules{uintptr(nr): nil}, Action: seccomp.Errno(unix.EPERM)}}, seccomp.Allow)
	platformtest.Check(err)
	platformtest.Check(seccomp.Install(prog))
	_, err = New(platform.Options{})
	fmt.Print(err)
}

// TestHostsThatRefuse: where the platform cannot work New says what is refused and what does work.
func TestHostsThatRefuse(t *testing.T) {
	for _, tc := range []struct {
		nr   int
		want string
	}{
		{unix.SYS_MEMFD_CREATE, "memfd_create"},
		{unix.SYS_SECCOMP, "seccomp"},
		{unix.SYS_SETSID, "setsid"},
		{unix.SYS_CAPSET, "capset"},
		{unix.SYS_PIDFD_OPEN, "pidfd_open"},
	} {
		cmd := platformtest.Child("refused")
		cmd.Env = append(cmd.Env, fmt.Sprint("REFUSED=", tc.nr))
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: %v %s%s", tc.want, err, out, err.(*exec.ExitError).Stderr)
			continue
		}
		if !strings.Contains(string(out), tc.want) || !strings.Contains(string(out), "--platform=ptrace") || strings.Contains(string(out), "\n") {
			t.Errorf("without %s: %q", tc.want, out)
		}
	}
}
