package tracer_test

import (
	"os"
	"strings"
	"sync"
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
	"runsc/pkg/sentry/strace/tracer"
	"runsc/pkg/sentry/syscalls"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

type lines struct {
	mu sync.Mutex
	l  []string
}

func (l *lines) Line(s string) { l.mu.Lock(); l.l = append(l.l, s); l.mu.Unlock() }

func TestTracesAProgram(t *testing.T) {
	data, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Skip(err)
	}
	p, err := platform.New("ptrace", platform.Options{DeviceFD: -1})
	if err != nil {
		t.Skip(err)
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
	table := syscalls.NewTable()
	k := kernel.New(kernel.Config{Platform: p, MemoryFile: mf, Syscalls: table, VDSO: clock, Hostname: "test", NumCPU: 1, TotalMem: 1 << 30})
	if _, err := tracer.New(table, tracer.Options{Syscalls: "open,nonsense"}); err == nil {
		t.Error("an unknown name is accepted")
	}
	got := &lines{}
	tr, err := tracer.New(table, tracer.Options{Log: got})
	if err != nil {
		t.Fatal(err)
	}
	k.SetSyscallTracer(tr)
	creds := auth.NewRootCredentials(k.RootUserNamespace())
	ctx := &context.Background{Creds: creds}
	v := k.VFS()
	ns := v.NewMountNamespace(k.RootUserNamespace(), tmpfs.New(ctx, v, mf, tmpfs.Options{}), "root", 0)
	root := ns.Root()
	f, err := v.OpenAt(ctx, &vfs.PathOp{Root: root, Start: root, Pathname: "/busybox"}, vfs.OpenOpts{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0o755})
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
	tg, err := k.CreateProcess(&kernel.CreateProcessArgs{
		Argv: []string{"sh", "-c", "/busybox cat /missing; exit 3"}, Envv: []string{"PATH=/"}, Filename: "/busybox", Creds: creds,
		Root: root, WorkingDirectory: ns.Root(),
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
	all := strings.Join(got.l, "\n")
	for _, want := range []string{
		`[   2] execve("/busybox", ["/busybox", "cat", "/missing"], `,
		`"/missing", O_RDONLY`, "-1 ENOENT (no such file or directory) (",
		"wait4(-1, [exited 1], ", "exit_group(3)",
	} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
}
