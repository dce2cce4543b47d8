package jobs_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	_ "runsc/pkg/platform/ptrace"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/dev"
	"runsc/pkg/sentry/fs/devpts"
	"runsc/pkg/sentry/fs/tmpfs"
	"runsc/pkg/sentry/fs/tty"
	"runsc/pkg/sentry/fs/tty/jobs"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/loader/vdso"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/syscalls"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

// session is an interactive shell on a pseudoterminal whose master the test holds.
type session struct {
	t    *testing.T
	m    *tty.Master
	ctx  context.Context
	tg   *kernel.ThreadGroup
	k    *kernel.Kernel
	seen string // all output so far
	from int    // what expect has looked at
}

func newSession(t *testing.T) *session {
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip(err)
	}
	p, err := platform.New("ptrace", platform.Options{DeviceFD: -1})
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(p.Close)
	mf, err := pgalloc.New()
	if err != nil {
		t.Fatal(err)
	}
	clock, err := vdso.New(vdso.Options{NumCPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	k := kernel.New(kernel.Config{Platform: p, MemoryFile: mf, Syscalls: syscalls.NewTable(), VDSO: clock, Hostname: "test", NumCPU: 1, TotalMem: 1 << 30})
	creds := auth.NewRootCredentials(k.RootUserNamespace())
	ctx := &context.Background{Creds: creds}
	v := k.VFS()
	top := tmpfs.New(ctx, v, mf, tmpfs.Options{})
	ns := v.NewMountNamespace(k.RootUserNamespace(), top, "root", 0)
	at := func(path string) *vfs.PathOp {
		return &vfs.PathOp{Root: ns.Root(), Start: ns.Root(), Pathname: path}
	}
	f, err := v.OpenAt(ctx, at("/busybox"), vfs.OpenOpts{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0o755})
	if err != nil {
		t.Fatal(err)
	}
	for len(data) > 0 {
		n, err := f.Write(ctx, usermem.BytesSequence(data))
		if err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	f.DecRef(ctx)
	devFS := tmpfs.New(ctx, v, mf, tmpfs.Options{})
	if err := dev.Populate(ctx, devFS.Root().(vfs.Directory), dev.PopulateOptions{}); err != nil {
		t.Fatal(err)
	}
	dev.Register(v, nil)
	devpts.Register(v, jobs.Control{}, nil)
	o := devpts.DefaultOptions()
	o.PtmxMode = 0o666
	pts := devpts.New(ctx, v, jobs.Control{}, o)
	for _, m := range []struct {
		at string
		fs vfs.Filesystem
	}{{"/dev", devFS}, {"/dev/pts", pts}} {
		v.MkdirAt(ctx, at(m.at), 0o755)
		p, err := v.LookupAt(ctx, at(m.at))
		if err != nil {
			t.Fatal(err)
		}
		if err := v.MountFilesystem(ctx, ns, p, m.fs, "none", 0); err != nil {
			t.Fatal(err)
		}
	}
	m, err := pts.NewPair(ctx)
	if err != nil {
		t.Fatal(err)
	}
	m.Ioctl(ctx, &usermem.Bytes{B: make([]byte, 4)}, unix.TIOCSPTLCK, 0)
	r, err := v.OpenAt(ctx, at("/dev/pts/0"), vfs.OpenOpts{Flags: unix.O_RDWR | unix.O_NOCTTY})
	if err != nil {
		t.Fatal(err)
	}
	r.IncRef()
	r.IncRef()
	// A first process, so that the shell is not init, which ignores what it does not handle.
	init, err := k.CreateProcess(&kernel.CreateProcessArgs{
		Argv: []string{"sleep", "1000"}, Filename: "/busybox", Creds: creds, Root: ns.Root(), WorkingDirectory: ns.Root(),
		UTS: k.RootUTSNamespace(), IPC: k.RootIPCNamespace(), Net: k.NewNetNamespace(k.RootUserNamespace()),
	})
	if err != nil {
		t.Fatal(err)
	}
	init.Start()
	t.Cleanup(func() { k.KillAll(); k.Wait() })
	tg, err := k.CreateProcess(&kernel.CreateProcessArgs{
		Argv: []string{"sh", "-i"}, Envv: []string{"PATH=/", "PS1=$ ", "ENV="}, Filename: "/busybox", Creds: creds, Root: ns.Root(), WorkingDirectory: ns.Root(),
		Files: []*vfs.FileDescription{r, r, r},
		UTS:   k.RootUTSNamespace(), IPC: k.RootIPCNamespace(), Net: k.NewNetNamespace(k.RootUserNamespace()),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Terminal().MakeControlling(jobs.OfSession(tg.Session()), jobs.OfGroup(tg.ProcessGroup()))
	tg.Start()
	return &session{t: t, m: m, ctx: ctx, tg: tg, k: k}
}

func (s *session) send(text string) {
	s.t.Helper()
	if n, _, err := s.m.Write(s.ctx, usermem.BytesSequence([]byte(text)), -1, false); n != len(text) || err != nil {
		s.t.Fatalf("send %q: %d, %v", text, n, err)
	}
}

// expect waits until the shell has printed text.
func (s *session) expect(text string) {
	s.t.Helper()
	b := make([]byte, 4096)
	for deadline := time.Now().Add(20 * time.Second); ; {
		if i := strings.Index(s.seen[s.from:], text); i >= 0 {
			s.from += i + len(text)
			return
		}
		n, err := s.m.Read(s.ctx, usermem.BytesSequence(b), -1)
		if err == unix.EAGAIN {
			if time.Now().After(deadline) {
				s.t.Fatalf("no %q in %q", text, s.seen[s.from:])
			}
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			s.t.Fatalf("waiting for %q: %v, after %q", text, err, s.seen[s.from:])
		}
		s.seen += string(b[:n])
	}
}

func TestJobControlOfAShell(t *testing.T) {
	s := newSession(t)
	s.expect("$ ")
	if strings.Contains(s.seen, "job control") {
		t.Errorf("the shell complains: %q", s.seen)
	}
	s.send("/busybox tty\r")
	s.expect("/dev/pts/0\r\n$ ")
	// The shell's child ignores ^Z until it has set itself up; so the job says when it runs.
	s.send("/busybox sh -c 'echo rea''dy; exec /busybox sleep 1000'\r")
	s.expect("\nready")
	s.send("\x1a")
	s.expect("Stopped")
	s.expect("$ ")
	s.send("jobs\r")
	s.expect("Stopped")
	s.expect("$ ")
	s.send("bg\r")
	s.expect("[1] /busybox sh -c")
	s.expect("$ ")
	s.send("/busybox cat /dev/tty &\r") // reading in the background stops it
	s.expect("$ ")
	s.send("/busybox sleep 0.3; jobs\r")
	s.expect("Stopped (tty input)")
	s.expect("$ ")
	s.send("kill -9 %2; fg %1\r")
	s.expect("\n/busybox sh -c")
	s.waitForeground(false)
	s.send("\x03")
	s.expect("$ ")
	s.send("echo status $?\r")
	s.expect("\nstatus 130\r\n$ ")
	s.send("/busybox cat\r")
	s.waitForeground(false)
	s.send("line\r\x04")
	s.expect("line\r\nline\r\n")
	s.expect("$ ")
	s.send("exit 7\r")
	select {
	case <-s.tg.Done():
	case <-time.After(20 * time.Second):
		t.Fatalf("the shell does not exit; it wrote %q", s.seen[s.from:])
	}
	s.waitJobs()
	if st := s.tg.ExitStatus(); st != 7<<8 {
		t.Errorf("status %#x", st)
	}
}

// waitForeground waits until the shell itself is, or is not, in the foreground.
func (s *session) waitForeground(shell bool) {
	s.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if (s.m.Terminal().Foreground() == jobs.OfGroup(s.tg.ProcessGroup())) == shell {
			return
		}
		if time.Now().After(deadline) {
			s.t.Fatal("the foreground does not change")
		}
	}
}

func TestHangupEndsTheShell(t *testing.T) {
	s := newSession(t)
	s.expect("$ ")
	s.send("/busybox sleep 1000\r")
	s.waitForeground(false)
	s.m.Release(s.ctx)
	select {
	case <-s.tg.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the shell does not exit")
	}
	s.waitJobs()
}

// waitJobs waits until init, which reaps nobody, is the only process that lives.
func (s *session) waitJobs() {
	s.t.Helper()
	alive := func() (n int) {
		for _, t := range s.k.Tasks() {
			if !t.ThreadGroup().IsZombie() {
				n++
			}
		}
		return n
	}
	for deadline := time.Now().Add(20 * time.Second); alive() > 1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatal("jobs go on")
		}
	}
}
