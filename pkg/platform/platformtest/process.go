package platformtest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
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

// What follows is for platforms whose address spaces are host processes: the test program
// runs itself as something like a sentry.

const (
	roleEnv = "PLATFORMTEST_ROLE"
	rootEnv = "PLATFORMTEST_ROOT"
)

// Main is TestMain of a platform's package: it runs the tests, or, in a process that Child made,
// what roles has under its role. The roles of RunProcesses are there without that.
func Main(m *testing.M, make func() (platform.Platform, error), roles map[string]func()) {
	role := os.Getenv(roleEnv)
	switch f := roles[role]; {
	case role == "":
		os.Exit(m.Run())
	case role == "sandbox":
		sandboxed(make)
	case role == "orphan":
		orphans(make)
	case f != nil:
		f()
	default:
		panic("no role " + role)
	}
	os.Exit(0)
}

// Child prepares a run of this test program in a role.
func Child(role string) *exec.Cmd {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role)
	return cmd
}

// StubPIDs lists the living stub processes that are children of parent.
func StubPIDs(parent int) (pids []int) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		status, err := os.ReadFile(d + "/status")
		if err == nil && bytes.Contains(status, []byte("Name:\trunsc-stub\n")) && bytes.Contains(status, fmt.Appendf(nil, "\nPPid:\t%d\n", parent)) {
			pid, _ := strconv.Atoi(filepath.Base(d))
			pids = append(pids, pid)
		}
	}
	return pids
}

// Stubs counts those of this process.
func Stubs() int { return len(StubPIDs(os.Getpid())) }

// Check panics on an error, in roles.
func Check(err error) {
	if err != nil {
		panic(err)
	}
}

// A CodeFile is a descriptor of memory with code, as memmap.File. It has no mapping here.
type CodeFile int

// FD implements memmap.File.
func (f CodeFile) FD() int { return int(f) }

// Blocks implements memmap.File.
func (f CodeFile) Blocks(memmap.Range, memmap.AccessType, [][]byte) ([][]byte, error) {
	return nil, unix.ENOSYS
}

// IncRef implements memmap.File.
func (f CodeFile) IncRef(memmap.Range) {}

// DecRef implements memmap.File.
func (f CodeFile) DecRef(memmap.Range) {}

// NewCodeFile makes a page with code at its start.
func NewCodeFile(code ...byte) CodeFile {
	fd, err := unix.MemfdCreate("code", unix.MFD_CLOEXEC)
	Check(err)
	_, err = unix.Pwrite(fd, append(code, make([]byte, page-len(code))...), 0)
	Check(err)
	return CodeFile(fd)
}

// Spin is a program that runs for ever, Calls one that makes system calls for ever.
func Spin() CodeFile  { return NewCodeFile(spin...) }
func Calls() CodeFile { return NewCodeFile(calls...) }

// Map maps the code and returns the state of a context that begins there.
func (f CodeFile) Map(as platform.AddressSpace) *arch.Context {
	Check(as.MapFile(codeAddr, f, memmap.Range{Start: 0, End: page}, memmap.AccessType{Read: true, Execute: true}, false))
	return Start()
}

// Start is the state of a context that begins where Map maps code.
func Start() *arch.Context {
	ac := arch.NewContext()
	ac.SetIP(codeAddr)
	return ac
}

// sandboxed is the life of a process like the sentry: user and pid namespaces, an empty
// root, no privilege, not dumpable, a filter that knows only what Go and the platform need.
func sandboxed(make func() (platform.Platform, error)) {
	Check(unix.Chroot(os.Getenv(rootEnv)))
	Check(unix.Chdir("/"))
	Check(syscall.Setresgid(65534, 65534, 65534))
	Check(syscall.Setresuid(65534, 65534, 65534))
	if d, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); err != nil || d != 0 {
		panic(fmt.Sprint("dumpable ", d, err))
	}
	p, err := make()
	Check(err)
	calls, spin := Calls(), Spin()

	rules := p.SeccompRules()
	for _, nr := range []uintptr{
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_RESTART_SYSCALL,
		unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EVENTFD2, unix.SYS_EPOLL_PWAIT, unix.SYS_CLONE, unix.SYS_SIGALTSTACK, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN,
		unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_SCHED_YIELD, unix.SYS_CLOSE, unix.SYS_FCNTL, // os.NewFile looks at the flags
	} {
		rules[nr] = nil
	}
	rules.Merge(seccomp.Rules{unix.SYS_TGKILL: {{seccomp.EqualTo(os.Getpid())}}})
	Check(seccomp.InstallRules(rules))

	// Descriptors made after the zygote are mappable, and threads come and go.
	var done sync.WaitGroup
	for range 4 {
		done.Add(1)
		go func() {
			defer done.Done()
			for range 5 {
				as, err := p.NewAddressSpace()
				Check(err)
				ac, c := calls.Map(as), p.NewContext()
				for n := 0; n < 50; n++ {
					ev, err := c.Switch(as, ac)
					Check(err)
					if ev.Kind == platform.EventInterrupt {
						n-- // the platform's own
					} else if ev.Kind != platform.EventSyscall {
						panic(fmt.Sprintf("%+v", ev))
					}
				}
				*ac = *spin.Map(as)
				c.FullStateChanged()
				time.AfterFunc(time.Millisecond, c.Interrupt)
				if ev, err := c.Switch(as, ac); err != nil || ev.Kind != platform.EventInterrupt {
					panic(fmt.Sprintf("%+v %v", ev, err))
				}
				c.Release()
				as.Release()
			}
		}()
	}
	done.Wait()
	runtime.GC()
	p.Close()
	os.Stdout.WriteString("done")
}

// orphans makes stub processes that run, and waits to be killed.
func orphans(make func() (platform.Platform, error)) {
	p, err := make()
	Check(err)
	calls, spin := Calls(), Spin()
	for range 3 {
		as, err := p.NewAddressSpace()
		Check(err)
		c, ac := p.NewContext(), calls.Map(as)
		_, err = c.Switch(as, ac) // it does run
		Check(err)
		*ac = *spin.Map(as)
		go c.Switch(as, ac)
	}
	for Stubs() < 4 {
		time.Sleep(time.Millisecond)
	}
	os.Stdout.WriteString("ready")
	select {}
}

// RunProcesses tests what the stub processes of a platform are on the host. stub is the process of an
// address space.
func RunProcesses(t *testing.T, make func() (platform.Platform, error), stub func(platform.AddressSpace) int) {
	t.Run("AsUnprivilegedSandbox", testUnprivileged)
	t.Run("StubsDieWithTheSentry", testOrphans)
	t.Run("KilledStub", func(t *testing.T) { testKilledStub(t, make, stub) })
	t.Run("KilledWhileIdle", func(t *testing.T) { testKilledIdle(t, make, stub) })
}

func testUnprivileged(t *testing.T) {
	if raceDetector {
		t.Skip("the race detector needs system calls that the filter does not allow")
	}
	cmd := Child("sandbox")
	cmd.Env = append(cmd.Env, rootEnv+"="+t.TempDir())
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

// testOrphans: kill -9 leaves nothing behind.
func testOrphans(t *testing.T) {
	cmd := Child("orphan")
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	if _, err := out.Read(make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	pids := StubPIDs(cmd.Process.Pid)
	if len(pids) < 4 { // three and the zygote
		t.Errorf("stub processes %v", pids)
	}
	cmd.Process.Kill()
	cmd.Wait()
	waitFor(t, func() bool {
		for _, pid := range pids {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
			if err == nil && strings.Contains(string(b), "(runsc-stub)") && !strings.Contains(string(b), ") Z ") {
				return false
			}
		}
		return true
	})
}

// testKilledStub: when the host kills a stub process, Switch fails, nothing hangs, and
// other address spaces do not care.
func testKilledStub(t *testing.T, make func() (platform.Platform, error), stub func(platform.AddressSpace) int) {
	p, err := make()
	must(t, err)
	defer p.Close()
	spin := Spin()
	defer unix.Close(int(spin))
	as := newSpace(t, p)
	ac, c := spin.Map(as), p.NewContext()
	// Long after the sentry has gone to sleep.
	time.AfterFunc(10*time.Millisecond, func() { unix.Kill(stub(as), unix.SIGKILL) })
	if ev, err := c.Switch(as, ac); err == nil {
		t.Errorf("event %+v from a killed process", ev)
	}
	afterDeath(t, p, as, c, ac, spin)
}

// testKilledIdle: the same with a process whose contexts are in the sentry at that moment.
func testKilledIdle(t *testing.T, make func() (platform.Platform, error), stub func(platform.AddressSpace) int) {
	p, err := make()
	must(t, err)
	defer p.Close()
	calls := Calls()
	defer unix.Close(int(calls))
	as := newSpace(t, p)
	ac, c := calls.Map(as), p.NewContext()
	_, err = c.Switch(as, ac)
	must(t, err)
	unix.Kill(stub(as), unix.SIGKILL)
	afterDeath(t, p, as, c, ac, calls)
}

func afterDeath(t *testing.T, p platform.Platform, as platform.AddressSpace, c platform.Context, ac *arch.Context, f CodeFile) {
	t.Helper()
	if _, err := c.Switch(as, ac); err == nil {
		t.Error("a second Switch succeeds")
	}
	if err := as.MapFile(dataAddr, f, memmap.Range{Start: 0, End: page}, memmap.Read, false); err == nil {
		t.Error("MapFile succeeds")
	}
	if _, err := p.NewContext().Switch(as, ac); err == nil {
		t.Error("another context runs")
	}
	c.Interrupt()
	c.Release()
	as.Release()
	other := newSpace(t, p)
	f.Map(other)
	other.Release()
}
