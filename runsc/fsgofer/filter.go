package fsgofer

import (
	"os"

	"golang.org/x/sys/unix"

	"runsc/pkg/seccomp"
)

// FilterOptions say what the trees of the process need beyond the usual.
type FilterOptions struct {
	// ProcFD is Config.ProcFD: with it a file may be opened through a magic link.
	ProcFD       *os.File
	Connect      bool // a tree allows sockets of the host (UDSOpen, UDSAll)
	AllowDevices bool // a tree has Config.AllowDevices
}

// InstallFilter confines all threads of the process, for good, to the system calls of a
// gofer that serves. Configs must have been prepared (Config.Prepare) before. Any other call
// ends the process, with the name of the call in its last words (see pkg/seccomp).
func InstallFilter(o FilterOptions) error {
	return seccomp.InstallRules(filterRules(o))
}

// anyDir matches a directory's descriptor that is not AT_FDCWD: what is relative to the
// working directory is not for the gofer. The kernel looks at the lower half only.
var anyDir = seccomp.MaskedEqual(1<<31, 0)

func filterRules(o FilterOptions) seccomp.Rules {
	procFD := seccomp.EqualTo(o.ProcFD.Fd())
	rules := seccomp.Rules{
		// Walks, and files made or opened: below a directory without following links, or
		// through a link of /proc/self/fd.
		unix.SYS_OPENAT: {
			{anyDir, nil, seccomp.MaskedEqual(unix.O_NOFOLLOW, unix.O_NOFOLLOW)},
			{procFD, nil, seccomp.MaskedEqual(unix.O_CREAT, 0)},
		},
		unix.SYS_STATX:      {{anyDir, nil, seccomp.MaskedEqual(unix.AT_SYMLINK_NOFOLLOW, unix.AT_SYMLINK_NOFOLLOW)}},
		unix.SYS_READLINKAT: {{anyDir}},
		unix.SYS_FSTATFS:    nil,
		unix.SYS_GETDENTS64: nil,
		unix.SYS_LSEEK:      nil,

		// Changes.
		unix.SYS_FCHMODAT:  {{procFD}},
		unix.SYS_FCHOWNAT:  {{anyDir, nil, nil, nil, seccomp.EqualTo(unix.AT_EMPTY_PATH)}},
		unix.SYS_UTIMENSAT: {{procFD}},
		unix.SYS_FTRUNCATE: nil,
		unix.SYS_FALLOCATE: nil,
		unix.SYS_MKDIRAT:   {{anyDir}},
		unix.SYS_MKNODAT: {
			{anyDir, nil, seccomp.MaskedEqual(unix.S_IFMT, unix.S_IFREG)},
			{anyDir, nil, seccomp.MaskedEqual(unix.S_IFMT, unix.S_IFIFO)},
			{anyDir, nil, seccomp.MaskedEqual(unix.S_IFMT, unix.S_IFSOCK)},
		},
		unix.SYS_SYMLINKAT:    {{nil, anyDir}},
		unix.SYS_LINKAT:       {{procFD, nil, anyDir, nil, seccomp.EqualTo(unix.AT_SYMLINK_FOLLOW)}},
		unix.SYS_RENAMEAT2:    {{anyDir, nil, anyDir}},
		unix.SYS_UNLINKAT:     {{anyDir}},
		unix.SYS_FGETXATTR:    nil,
		unix.SYS_FSETXATTR:    nil,
		unix.SYS_FLISTXATTR:   nil,
		unix.SYS_FREMOVEXATTR: nil,

		// Descriptors: files, the sockets, standard error and the log.
		unix.SYS_READ:      nil,
		unix.SYS_WRITE:     nil,
		unix.SYS_PREAD64:   nil,
		unix.SYS_PWRITE64:  nil,
		unix.SYS_FSYNC:     nil,
		unix.SYS_FDATASYNC: nil,
		unix.SYS_FSTAT:     nil,
		unix.SYS_CLOSE:     nil,
		unix.SYS_FCNTL: {
			{nil, seccomp.EqualTo(unix.F_GETFL)}, {nil, seccomp.EqualTo(unix.F_SETFL)},
			{nil, seccomp.EqualTo(unix.F_GETFD)}, {nil, seccomp.EqualTo(unix.F_DUPFD_CLOEXEC)},
			{nil, seccomp.EqualTo(unix.F_ADD_SEALS)},
		},
		// Channels: memory and a socket, made in pairs.
		unix.SYS_MEMFD_CREATE: nil,
		unix.SYS_SOCKETPAIR:   {{seccomp.EqualTo(unix.AF_UNIX), nil, seccomp.EqualTo(0)}},
		unix.SYS_RECVMSG:      {{nil, nil, seccomp.EqualTo(unix.MSG_CMSG_CLOEXEC)}},
		unix.SYS_SENDMSG:      {{nil, nil, seccomp.EqualTo(unix.MSG_NOSIGNAL | unix.MSG_DONTWAIT)}},
		unix.SYS_DUP3:         nil, // standard error moves to the log
		unix.SYS_SHUTDOWN:     nil,
		unix.SYS_PPOLL:        nil,
		unix.SYS_UMASK:        nil,
	}
	if o.Connect {
		rules[unix.SYS_SOCKET] = []seccomp.Rule{{seccomp.EqualTo(unix.AF_UNIX), nil, seccomp.EqualTo(0)}}
		rules[unix.SYS_CONNECT] = nil
		rules[unix.SYS_FCHDIR] = []seccomp.Rule{{procFD}}
	}
	if o.AllowDevices {
		rules[unix.SYS_MKNODAT] = []seccomp.Rule{{anyDir}}
	}
	return rules.Merge(runtimeRules())
}

// threadFlags are what Go's run-time passes to clone(2) for a thread, on some architectures
// with CLONE_SETTLS.
const threadFlags = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND |
	unix.CLONE_SYSVSEM | unix.CLONE_THREAD

// runtimeRules are the calls of Go's run-time: memory, threads, signals, time, poller.
func runtimeRules() seccomp.Rules {
	pid := seccomp.EqualTo(os.Getpid())
	const anonymous = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS
	noExec := seccomp.MaskedEqual(unix.PROT_EXEC, 0)
	return seccomp.Rules{
		unix.SYS_MMAP:              {{nil, nil, noExec, seccomp.MaskedEqual(anonymous, anonymous)}, {nil, nil, noExec, seccomp.EqualTo(unix.MAP_SHARED)}},
		unix.SYS_MUNMAP:            nil,
		unix.SYS_MADVISE:           nil,
		unix.SYS_MPROTECT:          {{nil, nil, noExec}},
		unix.SYS_PRCTL:             {{seccomp.EqualTo(unix.PR_SET_VMA)}},
		unix.SYS_CLONE:             {{seccomp.MaskedEqual(^uint64(unix.CLONE_SETTLS), threadFlags)}},
		unix.SYS_FUTEX:             nil,
		unix.SYS_NANOSLEEP:         nil,
		unix.SYS_CLOCK_GETTIME:     nil,
		unix.SYS_GETTIMEOFDAY:      nil,
		unix.SYS_SCHED_YIELD:       nil,
		unix.SYS_SCHED_GETAFFINITY: nil, // the run-time follows changes of GOMAXPROCS
		unix.SYS_GETTID:            nil,
		unix.SYS_GETPID:            nil,
		unix.SYS_GETRANDOM:         nil,
		unix.SYS_TGKILL:            {{pid}},
		unix.SYS_RT_SIGPROCMASK:    nil,
		unix.SYS_RT_SIGACTION:      nil,
		unix.SYS_RT_SIGRETURN:      nil,
		unix.SYS_SIGALTSTACK:       nil,
		unix.SYS_RESTART_SYSCALL:   nil,
		unix.SYS_EPOLL_CREATE1:     nil,
		unix.SYS_EPOLL_CTL:         nil,
		unix.SYS_EPOLL_PWAIT:       nil,
		unix.SYS_EVENTFD2:          nil,
		unix.SYS_EXIT:              nil,
		unix.SYS_EXIT_GROUP:        nil,
	}
}
