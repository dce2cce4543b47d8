package ptrace

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/platform/platformtest"
	"runsc/pkg/seccomp"
	"runsc/pkg/sentry/arch"
)

func newPlatform() (platform.Platform, error) { return New() }

func TestMain(m *testing.M) {
	platformtest.Main(m, newPlatform, map[string]func(){"forbidden": withoutPtrace})
}

func TestProcesses(t *testing.T) {
	platformtest.RunProcesses(t, newPlatform, func(as platform.AddressSpace) int { return as.(*addressSpace).leader.tid })
}

// TestStubFilter: what a stub process could do on its own, if an application ever got it to.
func TestStubFilter(t *testing.T) {
	p, err := New()
	platformtest.Check(err)
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
		platformtest.Check(err)
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
	platformtest.Check(err)
	platformtest.Check(seccomp.Install(prog))
	_, err = New()
	fmt.Print(err)
}

func TestWithoutPtrace(t *testing.T) {
	out, err := platformtest.Child("forbidden").Output()
	if err != nil || !strings.Contains(string(out), "does not let a process be traced") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestStubThreadsAreBounded: OS threads of the sentry that visit many processes do not keep
// a thread in each.
func TestStubThreadsAreBounded(t *testing.T) {
	p, err := New()
	platformtest.Check(err)
	defer p.Close()
	calls := platformtest.Calls()
	defer unix.Close(int(calls))
	const processes, visitors = maxOwned + 8, 2
	var spaces []*addressSpace
	for range processes {
		as, err := p.NewAddressSpace()
		platformtest.Check(err)
		calls.Map(as)
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
				contexts, states = append(contexts, p.NewContext()), append(states, platformtest.Start())
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
