package syscalls_test

import (
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	_ "runsc/pkg/platform/ptrace"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/tmpfs"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/loader/vdso"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/syscalls"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

type quietReporter struct{ t *testing.T }

func (r quietReporter) UnsupportedSyscall(t *kernel.Task, s *kernel.Syscall, n uintptr) {
	r.t.Logf("unsupported syscall %d", n)
}
func (r quietReporter) UnsupportedCommand(t *kernel.Task, call string, c uint64) {
	r.t.Logf("unsupported %s %#x", call, c)
}
func (r quietReporter) FatalSignal(t *kernel.Task, signo int32, addr uintptr) {
	r.t.Logf("fatal signal %d at %#x, ip %#x", signo, addr, t.Arch().IP())
}
func (r quietReporter) Warningf(f string, a ...any) { r.t.Logf(f, a...) }

// runStatic runs a static program of the host in a kernel of its own and returns its status.
func runStatic(t *testing.T, program string, argv ...string) uint32 {
	t.Helper()
	data, err := os.ReadFile(program)
	if err != nil {
		t.Skipf("%v", err)
	}
	p, err := platform.New("ptrace", platform.Options{DeviceFD: -1})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	mf, err := pgalloc.New()
	if err != nil {
		t.Fatal(err)
	}
	clock, err := vdso.New(vdso.Options{NumCPUs: 1})
	if err != nil {
		t.Fatal(err)
	}
	k := kernel.New(kernel.Config{Platform: p, MemoryFile: mf, Syscalls: syscalls.NewTable(), VDSO: clock, Hostname: "test", NumCPU: 1, TotalMem: 1 << 30, Reporter: quietReporter{t}})
	creds := auth.NewRootCredentials(k.RootUserNamespace())
	ctx := &context.Background{Creds: creds}
	v := k.VFS()
	ns := v.NewMountNamespace(k.RootUserNamespace(), tmpfs.New(ctx, v, mf, tmpfs.Options{}), "root", 0)
	root := ns.Root()
	f, err := v.OpenAt(ctx, &vfs.PathOp{Root: root, Start: root, Pathname: "/prog"}, vfs.OpenOpts{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0755})
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
	cwd := ns.Root()
	tg, err := k.CreateProcess(&kernel.CreateProcessArgs{
		Argv: argv, Envv: []string{"PATH=/"}, Filename: "/prog", Creds: creds, Root: root, WorkingDirectory: cwd,
		UTS: k.RootUTSNamespace(), IPC: k.RootIPCNamespace(), Net: k.NewNetNamespace(k.RootUserNamespace()),
	})
	if err != nil {
		t.Fatal(err)
	}
	tg.Start()
	select {
	case <-tg.Done():
	case <-time.After(20 * time.Second):
		t.Fatal("the program hangs")
	}
	k.Wait()
	return tg.ExitStatus()
}

func TestStaticProgram(t *testing.T) {
	if st := runStatic(t, "/bin/busybox", "true"); st != 0 {
		t.Errorf("busybox true: status %#x", st)
	}
	if st := runStatic(t, "/bin/busybox", "false"); st != 0x100 {
		t.Errorf("busybox false: status %#x", st)
	}
}
