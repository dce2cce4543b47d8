package ptrace

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/seccomp"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/memmap"
)

const childEnv = "PTRACE_TEST_CHILD"

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "sandbox":
		sandboxed()
		os.Exit(0)
	case "forbidden":
		withoutPtrace()
		os.Exit(0)
	case "orphan":
		orphans()
	}
	os.Exit(m.Run())
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// memoryFile is a memmap.File over a descriptor.
type memoryFile int

func (f memoryFile) FD() int { return int(f) }
func (f memoryFile) Blocks(memmap.Range, memmap.AccessType, [][]byte) ([][]byte, error) {
	return nil, unix.ENOSYS
}
func (f memoryFile) IncRef(memmap.Range) {}
func (f memoryFile) DecRef(memmap.Range) {}

// codeFile is a memory file of a page with code at its start.
func codeFile(code ...byte) memoryFile {
	fd, err := unix.MemfdCreate("code", unix.MFD_CLOEXEC)
	check(err)
	_, err = unix.Pwrite(fd, append(code, make([]byte, 4096-len(code))...), 0)
	check(err)
	return memoryFile(fd)
}

const codeAddr = 0x40_0000

func mapCode(as platform.AddressSpace, f memoryFile) {
	check(as.MapFile(codeAddr, f, memmap.Range{Start: 0, End: 4096}, memmap.AccessType{Read: true, Execute: true}, false))
}

// sandboxed is the life of a process like the sentry: user and pid namespaces, an empty
// root, no privilege, not dumpable, a filter that knows only what Go and the platform need.
func sandboxed() {
	check(unix.Chroot(os.Getenv("PTRACE_TEST_ROOT")))
	check(unix.Chdir("/"))
	check(syscall.Setresgid(65534, 65534, 65534))
	check(syscall.Setresuid(65534, 65534, 65534))
	if d, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || d != 0 {
		panic(fmt.Sprint("dumpable ", d, err))
	}
	p, err := New()
	check(err)
	calls, spin := codeFile(0x0f, 0x05, 0xeb, 0xfc), codeFile(0xeb, 0xfe)

	rules := p.SeccompRules()
	for _, nr := range []uintptr{
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_FUTEX, unix.SYS_NANOSLEEP,
		unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EVENTFD2, unix.SYS_EPOLL_PWAIT, unix.SYS_CLONE, unix.SYS_SIGALTSTACK, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN,
		unix.SYS_GETPID, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_SCHED_YIELD, unix.SYS_CLOSE,
	} {
		rules[nr] = nil
	}
	rules.Merge(seccomp.Rules{unix.SYS_TGKILL: {{seccomp.EqualTo(os.Getpid())}}})
	check(seccomp.InstallRules(rules))

	// Descriptors made after the zygote are mappable, and threads come and go.
	var done sync.WaitGroup
	for range 4 {
		done.Add(1)
		go func() {
			defer done.Done()
			for range 5 {
				as, err := p.NewAddressSpace()
				check(err)
				mapCode(as, calls)
				c, ac := p.NewContext(), arch.NewContext()
				ac.SetIP(codeAddr)
				for range 50 {
					ev, err := c.Switch(as, ac)
					check(err)
					if ev.Kind != platform.EventSyscall {
						panic(fmt.Sprintf("%+v", ev))
					}
				}
				mapCode(as, spin)
				ac.SetIP(codeAddr)
				time.AfterFunc(time.Millisecond, c.Interrupt)
				if ev, err := c.Switch(as, ac); err != nil || ev.Kind != platform.EventInterrupt {
					panic(fmt.Sprintf("%+v %v", ev, err))
				}
				as.Release()
			}
		}()
	}
	done.Wait()
	runtime.GC()
	p.Close()
	os.Stdout.WriteString("done")
}

func TestAsUnprivilegedSandbox(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector needs system calls that the filter does not allow")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=sandbox", "PTRACE_TEST_ROOT="+t.TempDir())
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 65535}}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS,
		UidMappings: ids, GidMappings: ids, GidMappingsEnableSetgroups: true,
	}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		t.Skipf("no user namespaces here: %v", err)
	}
	if err := cmd.Wait(); err != nil || out.String() != "done" {
		t.Errorf("%v: %s %.2000s", err, seccomp.Describe(errOut.Bytes()), errOut.String())
	}
}

// orphans makes stub processes that run, and waits to be killed.
func orphans() {
	p, err := New()
	check(err)
	spin := codeFile(0xeb, 0xfe)
	for range 3 {
		as, err := p.NewAddressSpace()
		check(err)
		mapCode(as, spin)
		go func() {
			ac := arch.NewContext()
			ac.SetIP(codeAddr)
			p.NewContext().Switch(as, ac)
		}()
	}
	for len(p.tracer.requests) > 0 || stubs() < 4 {
		time.Sleep(time.Millisecond)
	}
	os.Stdout.WriteString("ready")
	select {}
}

// TestStubsDieWithTheSentry: kill -9 leaves nothing behind.
func TestStubsDieWithTheSentry(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=orphan")
	out, err := cmd.StdoutPipe()
	check(err)
	check(cmd.Start())
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	pids := stubPIDs(cmd.Process.Pid)
	if len(pids) < 4 { // three and the zygote
		t.Errorf("stub processes %v", pids)
	}
	cmd.Process.Kill()
	cmd.Wait()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		left := 0
		for _, pid := range pids {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err == nil && strings.Contains(string(b), "(runsc-stub)") && !strings.Contains(string(b), ") Z ") {
				left++
			}
		}
		if left == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d stub processes are left", left)
		}
	}
}

// TestKilledStub: when the host kills a stub process, Switch fails, nothing hangs, and
// other address spaces do not care.
func TestKilledStub(t *testing.T) {
	p, err := New()
	check(err)
	defer p.Close()
	spin := codeFile(0xeb, 0xfe)
	defer unix.Close(int(spin))
	pas, err := p.NewAddressSpace()
	check(err)
	mapCode(pas, spin)
	as := pas.(*addressSpace)
	time.AfterFunc(10*time.Millisecond, func() { unix.Kill(as.leader.tid, unix.SIGKILL) })
	c, ac := p.NewContext(), arch.NewContext()
	ac.SetIP(codeAddr)
	if ev, err := c.Switch(as, ac); err == nil {
		t.Errorf("event %+v from a killed process", ev)
	}
	if _, err := c.Switch(as, ac); err == nil {
		t.Error("a second Switch succeeds")
	}
	if err := as.MapFile(0x50_0000, spin, memmap.Range{Start: 0, End: 4096}, memmap.Read, false); err == nil {
		t.Error("MapFile succeeds")
	}
	as.Release()
	other, err := p.NewAddressSpace()
	check(err)
	mapCode(other, spin)
	other.Release()
}

// TestStubFilter: what a stub process could do on its own, if an application ever got it to.
func TestStubFilter(t *testing.T) {
	p, err := New()
	check(err)
	defer p.Close()
	for _, tc := range []struct {
		name string
		nr   uintptr
		args arch.Args
		ok   bool
	}{
		{"munmap", unix.SYS_MUNMAP, arch.Args{0x10000, 4096}, true},
		{"private mapping", unix.SYS_MMAP, arch.Args{0x10000, 4096, 3, unix.MAP_PRIVATE | unix.MAP_FIXED, 3}, false},
		{"anonymous mapping", unix.SYS_MMAP, arch.Args{0x10000, 4096, 3, unix.MAP_SHARED | unix.MAP_FIXED | unix.MAP_ANONYMOUS, 3}, false},
		{"write", unix.SYS_WRITE, arch.Args{2, stubBase, 1}, false},
		{"open", unix.SYS_OPENAT, arch.Args{}, false},
		{"fork with another table", unix.SYS_CLONE, arch.Args{uintptr(unix.SIGCHLD)}, false},
		{"exit", unix.SYS_EXIT_GROUP, arch.Args{}, false},
	} {
		as, err := p.NewAddressSpace()
		check(err)
		var died bool
		p.tracer.do(func() error {
			leader := as.(*addressSpace).leader
			_, err := leader.syscall(stubSyscall, tc.nr, tc.args)
			died = leader.dead.Load()
			return err
		})
		if died == tc.ok {
			t.Errorf("%s: the process died: %v", tc.name, died)
		}
		as.Release()
	}
}

// withoutPtrace is a process that a seccomp profile keeps from tracing.
func withoutPtrace() {
	prog, err := seccomp.Build([]seccomp.RuleSet{{Rules: seccomp.Rules{unix.SYS_PTRACE: nil}, Action: seccomp.Errno(unix.EPERM)}}, seccomp.Allow)
	check(err)
	check(seccomp.Install(prog))
	_, err = New()
	fmt.Print(err)
}

func TestWithoutPtrace(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=forbidden")
	out, err := cmd.Output()
	if err != nil || !strings.Contains(string(out), "does not let a process be traced") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestStubThreadsAreBounded: OS threads of the sentry that visit many processes do not keep
// a thread in each.
func TestStubThreadsAreBounded(t *testing.T) {
	p, err := New()
	check(err)
	defer p.Close()
	calls := codeFile(0x0f, 0x05, 0xeb, 0xfc)
	defer unix.Close(int(calls))
	const processes, visitors = maxOwned + 8, 2
	var spaces []*addressSpace
	for range processes {
		as, err := p.NewAddressSpace()
		check(err)
		mapCode(as, calls)
		spaces = append(spaces, as.(*addressSpace))
	}
	var done sync.WaitGroup
	for range visitors {
		done.Add(1)
		go func() {
			defer done.Done()
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			var contexts []platform.Context
			var states []*arch.Context
			for range spaces {
				ac := arch.NewContext()
				ac.SetIP(codeAddr)
				contexts, states = append(contexts, p.NewContext()), append(states, ac)
			}
			for range 2 {
				for i, as := range spaces {
					if ev, err := contexts[i].Switch(as, states[i]); err != nil || ev.Kind != platform.EventSyscall {
						t.Errorf("process %d: %+v %v", i, ev, err)
					}
				}
			}
		}()
	}
	done.Wait()
	owned, threads := 0, 0
	for _, as := range spaces {
		owned += len(as.threads)
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", as.leader.tid))
		threads += len(tasks) - 1
		if as.spare != nil {
			threads--
		}
	}
	if owned > visitors*maxOwned || threads != owned {
		t.Errorf("%d threads are known, %d exist", owned, threads)
	}
	for _, as := range spaces {
		as.Release()
	}
}
