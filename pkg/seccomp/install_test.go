package seccomp

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

	"golang.org/x/sys/unix"
)

const childEnv = "SECCOMP_TEST_CHILD"

// goRules are what Go's run-time needs to live, die and print.
func goRules() Rules {
	r := Rules{}
	for _, nr := range []uintptr{
		unix.SYS_READ, unix.SYS_WRITE, unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MPROTECT,
		unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_GETTIME, unix.SYS_SCHED_YIELD, unix.SYS_EPOLL_PWAIT,
		unix.SYS_CLONE, unix.SYS_RSEQ, unix.SYS_SET_ROBUST_LIST, unix.SYS_SIGALTSTACK, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGRETURN,
		unix.SYS_GETTID, unix.SYS_GETPID, unix.SYS_TGKILL, unix.SYS_EXIT, unix.SYS_EXIT_GROUP, unix.SYS_PRCTL,
	} {
		r[nr] = nil
	}
	return r
}

// children are what the re-executed test binary does under a filter.
var children = map[string]func(){
	"allowed": func() {
		must(InstallRules(goRules()))
		os.Stdout.WriteString("alive")
	},
	"every-thread": func() {
		// Threads that existed before the filter get it too.
		var ready, done sync.WaitGroup
		go_ := make(chan struct{})
		for range 4 {
			ready.Add(1)
			done.Add(1)
			go func() {
				runtime.LockOSThread()
				ready.Done()
				<-go_
				if _, _, e := unix.RawSyscall(unix.SYS_GETPPID, 0, 0, 0); e != unix.EXDEV {
					panic(e)
				}
				done.Done()
			}()
		}
		ready.Wait()
		prog, err := Build([]RuleSet{{goRules(), Allow}}, Errno(unix.EXDEV))
		must(err)
		must(Install(prog))
		close(go_)
		done.Wait()
		os.Stdout.WriteString("alive")
	},
	"arguments": func() {
		r := goRules()
		r[unix.SYS_LSEEK] = []Rule{{EqualTo(1), GreaterThan(5), MaskedEqual(3, 1)}}
		prog, err := Build([]RuleSet{{r, Allow}}, Errno(unix.EXDEV))
		must(err)
		must(Install(prog))
		for _, tc := range []struct {
			args [3]uintptr
			want bool
		}{{[3]uintptr{1, 6, 1}, true}, {[3]uintptr{1, 5, 1}, false}, {[3]uintptr{2, 6, 1}, false}, {[3]uintptr{1, 6, 2}, false}, {[3]uintptr{1 | 1<<32, 6, 1}, false}} {
			_, _, e := unix.RawSyscall(unix.SYS_LSEEK, tc.args[0], tc.args[1], tc.args[2])
			if (e != unix.EXDEV) != tc.want {
				panic(fmt.Sprint(tc, e))
			}
		}
		os.Stdout.WriteString("alive")
	},
	"trap": func() {
		must(InstallRules(goRules()))
		unix.RawSyscall(unix.SYS_GETPRIORITY, 0, 0, 0)
		os.Stdout.WriteString("alive")
	},
	"dangerous": func() {
		must(InstallRules(goRules()))
		unix.RawSyscall(unix.SYS_SOCKET, unix.AF_UNIX, unix.SOCK_STREAM, 0)
		os.Stdout.WriteString("alive")
	},
	"handler": func() {
		must(InstallRules(goRules())) // they allow rt_sigaction
		unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGSYS), 0, 0, 8, 0, 0)
		os.Stdout.WriteString("alive")
	},
	"blocked": func() {
		must(InstallRules(goRules()))
		var set unix.Sigset_t
		for i := range set.Val {
			set.Val[i] = ^uint64(0)
		}
		runtime.LockOSThread()
		must(unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil))
		unix.RawSyscall(unix.SYS_GETPRIORITY, 0, 0, 0)
		os.Stdout.WriteString("alive")
	},
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func TestMain(m *testing.M) {
	if f := children[os.Getenv(childEnv)]; f != nil {
		f()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func waitStatus(cmd *exec.Cmd) unix.WaitStatus {
	return unix.WaitStatus(cmd.ProcessState.Sys().(syscall.WaitStatus))
}

func TestInstalled(t *testing.T) {
	for _, tc := range []struct {
		name     string
		alive    bool
		killed   bool
		describe string
	}{
		{"allowed", true, false, ""},
		{"every-thread", true, false, ""},
		{"arguments", true, false, ""},
		{"trap", false, false, "system call filter: getpriority is not allowed"},
		{"dangerous", false, true, ""},
		{"handler", false, true, ""},
		{"blocked", false, true, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+tc.name)
			var out, errOut bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &errOut
			err := cmd.Run()
			if strings.Contains(errOut.String(), "runtime/cgo: pthread_create failed") {
				t.Skip("the C library, which only the race detector's build has, makes threads by calls that this filter refuses")
			}
			ws := waitStatus(cmd)
			if alive := out.String() == "alive" && err == nil; alive != tc.alive {
				t.Errorf("alive %v (%v), want %v: %s", alive, err, tc.alive, errOut.String())
			}
			if killed := DescribeStatus(ws) != ""; killed != tc.killed {
				t.Errorf("killed by SIGSYS %v (%v), want %v", killed, err, tc.killed)
			}
			if got := Describe(errOut.Bytes()); got != tc.describe {
				t.Errorf("description %q, want %q; last words:\n%s", got, tc.describe, errOut.String())
			}
			if tc.describe != "" && !strings.Contains(errOut.String(), "goroutine") {
				t.Error("last words lack the stack")
			}
		})
	}
}
