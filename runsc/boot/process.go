package boot

import (
	"fmt"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/tty"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
	"runsc/runsc/specutils"
)

// processArgs describe a process to make, as the specification does.
type processArgs struct {
	argv, envv  []string
	cwd         string
	user        specs.User
	caps        *specs.LinuxCapabilities
	rlimits     []specs.POSIXRlimit
	noNewPrivs  bool
	oomScoreAdj *int
	stdio       []int // host descriptors, owned
	terminal    bool  // stdio is one terminal, to become the controlling one
}

// newProcess makes a process in container c, stopped before its first instruction. Its
// errors hold what Docker looks for, so that it exits as with runc: 127 for a missing
// executable, 126 for one that cannot be executed.
func (l *Loader) newProcess(c *container, p *processArgs) (*process, error) {
	stdioTaken := false
	defer func() {
		if !stdioTaken {
			closeAll(p.stdio)
		}
	}()
	if len(p.argv) == 0 {
		return nil, fmt.Errorf("process: args are empty")
	}
	creds, err := credentials(l.k, p)
	if err != nil {
		return nil, err
	}
	limits, err := rlimits(p.rlimits)
	if err != nil {
		return nil, err
	}
	umask := uint32(0022)
	if p.user.Umask != nil {
		umask = *p.user.Umask & 0777
	}
	ctx := &context.Background{Creds: creds}
	v := l.k.VFS()
	root := c.mounts.Root()
	defer root.DecRef(ctx)
	cwd := p.cwd
	if cwd == "" {
		cwd = "/"
	}
	// The container's root makes the working directory if need be, as runc does.
	dir, err := l.directory(root, cwd)
	if err != nil {
		return nil, fmt.Errorf("working directory %q: %w", cwd, err)
	}
	envv := withHome(ctx, v, root, p)
	filename, err := findExecutable(ctx, v, root, dir, p.argv[0], envv)
	if err != nil {
		dir.DecRef(ctx)
		return nil, err
	}
	files, console, err := l.stdio(c, p, creds)
	stdioTaken = true
	if err != nil {
		dir.DecRef(ctx)
		return nil, err
	}
	root.IncRef()
	a := &kernel.CreateProcessArgs{
		Argv: p.argv, Envv: envv, Filename: filename, Creds: creds, Limits: limits, Umask: umask, NoNewPrivs: p.noNewPrivs,
		Root: root, WorkingDirectory: dir, Files: files,
		PIDNamespace: c.pidns, UTS: c.uts, IPC: c.ipc, Net: c.net, ContainerID: c.id,
	}
	if p.oomScoreAdj != nil {
		a.OOMScoreAdj = int32(*p.oomScoreAdj)
	}
	tg, err := l.k.CreateProcess(a)
	if err != nil {
		if console != nil {
			console.Close()
		}
		return nil, execError(p.argv[0], err)
	}
	pr := &process{tg: tg, console: console, ended: make(chan struct{})}
	if console != nil {
		attach(console, tg)
	}
	go pr.await()
	return pr, nil
}

// process is a process that the sandbox's client asked for.
type process struct {
	tg      *kernel.ThreadGroup
	console *tty.HostTTY  // nil: no terminal
	ended   chan struct{} // closed when it has ended and its console's output is written
}

func (p *process) await() {
	<-p.tg.Done()
	if p.console != nil {
		p.console.Close()
	}
	close(p.ended)
}

// execError puts an error of execve(2) into words that clients know.
func execError(name string, err error) error {
	switch err {
	case unix.ENOENT:
		return fmt.Errorf("exec: %q: no such file or directory", name)
	case unix.EACCES:
		return fmt.Errorf("exec: %q: permission denied", name)
	case unix.ENOEXEC:
		return fmt.Errorf("exec: %q: exec format error: not an x86-64 program or a script with a #! line", name)
	}
	return fmt.Errorf("exec: %q: %w", name, err)
}

// defaultPath is searched when the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// findExecutable resolves name as execvp(3) does: in $PATH unless it holds a slash.
func findExecutable(ctx context.Context, v *vfs.VFS, root, cwd vfs.Path, name string, envv []string) (string, error) {
	check := func(file string) error {
		f, err := v.OpenExecutable(ctx, vfs.PathOp{Root: root, Start: cwd, Pathname: file})
		if err != nil {
			return err
		}
		f.DecRef(ctx)
		return nil
	}
	if strings.Contains(name, "/") {
		if err := check(name); err != nil {
			return "", execError(name, err)
		}
		return name, nil
	}
	search := defaultPath
	for _, e := range envv {
		if s, ok := strings.CutPrefix(e, "PATH="); ok {
			search = s
		}
	}
	denied := false
	for _, dir := range strings.Split(search, ":") {
		if dir == "" {
			dir = "."
		}
		file := path.Join(dir, name)
		switch err := check(file); err {
		case nil:
			return file, nil
		case unix.EACCES:
			denied = true
		}
	}
	if denied {
		return "", fmt.Errorf("exec: %q: permission denied", name)
	}
	return "", fmt.Errorf("exec: %q: executable file not found in $PATH", name)
}

// credentials are the process's user with the capabilities that the specification gives.
func credentials(k *kernel.Kernel, p *processArgs) (*auth.Credentials, error) {
	var groups []auth.KGID
	for _, g := range p.user.AdditionalGids {
		groups = append(groups, auth.KGID(g))
	}
	var sets [5]auth.CapSet
	if c := p.caps; c != nil {
		for i, names := range [5][]string{c.Permitted, c.Effective, c.Inheritable, c.Bounding, c.Ambient} {
			for _, n := range names {
				nr, err := specutils.CapabilityNumber(n)
				if err != nil {
					return nil, err
				}
				sets[i] |= auth.CapSetOf(nr)
			}
		}
	}
	permitted, effective, inheritable, bounding, ambient := sets[0], sets[1], sets[2], sets[3], sets[4]
	if p.user.UID != 0 {
		// execve(2) by a user other than root keeps ambient capabilities only.
		permitted &= ambient
		effective &= ambient
	}
	return auth.NewUserCredentials(auth.KUID(p.user.UID), auth.KGID(p.user.GID), groups,
		permitted, effective, inheritable, bounding, ambient&permitted&inheritable, k.RootUserNamespace()), nil
}

var rlimitNumbers = map[string]int{
	"RLIMIT_CPU": 0, "RLIMIT_FSIZE": 1, "RLIMIT_DATA": 2, "RLIMIT_STACK": 3, "RLIMIT_CORE": 4, "RLIMIT_RSS": 5,
	"RLIMIT_NPROC": 6, "RLIMIT_NOFILE": 7, "RLIMIT_MEMLOCK": 8, "RLIMIT_AS": 9, "RLIMIT_LOCKS": 10,
	"RLIMIT_SIGPENDING": 11, "RLIMIT_MSGQUEUE": 12, "RLIMIT_NICE": 13, "RLIMIT_RTPRIO": 14, "RLIMIT_RTTIME": 15,
}

func rlimits(rs []specs.POSIXRlimit) (*kernel.Limits, error) {
	l := kernel.NewLimits()
	for _, r := range rs {
		n, ok := rlimitNumbers[r.Type]
		if !ok {
			return nil, fmt.Errorf("process.rlimits: unknown type %q", r.Type)
		}
		if _, err := l.Set(n, kernel.Limit{Cur: r.Soft, Max: r.Hard}, true); err != nil {
			return nil, fmt.Errorf("process.rlimits: %s: soft %d, hard %d: %w", r.Type, r.Soft, r.Hard, err)
		}
	}
	return l, nil
}

// withHome adds HOME from the container's /etc/passwd if the environment lacks it.
func withHome(ctx context.Context, v *vfs.VFS, root vfs.Path, p *processArgs) []string {
	for _, e := range p.envv {
		if strings.HasPrefix(e, "HOME=") {
			return p.envv
		}
	}
	home := "/"
	if data, err := readFile(ctx, v, root, "/etc/passwd", 1<<20); err == nil {
		for _, line := range strings.Split(string(data), "\n") {
			f := strings.Split(line, ":")
			if len(f) >= 6 && f[2] == fmt.Sprint(p.user.UID) && f[5] != "" {
				home = f[5]
				break
			}
		}
	}
	return append(append([]string(nil), p.envv...), "HOME="+home)
}
