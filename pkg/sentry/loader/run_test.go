package loader_test

import (
	"os"
	"os/exec"
	"path/filepath"
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

// TestRunsPrograms runs a C program, linked in every way that there is, in a kernel of its
// own.
func TestRunsPrograms(t *testing.T) {
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip(err)
	}
	const ldso, libc = "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"
	for _, c := range []struct {
		name   string
		flags  []string
		script string
	}{
		{"static", []string{"-static"}, ""},
		{"static-pie", []string{"-static-pie"}, ""},
		{"dynamic", []string{"-no-pie"}, ""},
		{"dynamic PIE", []string{"-pie"}, ""},
		{"script", []string{"-static"}, "#! /prog -x\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			prog := filepath.Join(t.TempDir(), "check")
			if out, err := exec.Command(cc, append(c.flags, "-O1", "-o", prog, "testdata/check.c")...).CombinedOutput(); err != nil {
				t.Skipf("%v: %s", err, out)
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
			clock, err := vdso.New(vdso.Options{NumCPUs: 2})
			if err != nil {
				t.Fatal(err)
			}
			k := kernel.New(kernel.Config{Platform: p, MemoryFile: mf, Syscalls: syscalls.NewTable(), VDSO: clock, Hostname: "test", NumCPU: 2, TotalMem: 1 << 30})
			creds := auth.NewRootCredentials(k.RootUserNamespace())
			ctx := &context.Background{Creds: creds}
			v := k.VFS()
			ns := v.NewMountNamespace(k.RootUserNamespace(), tmpfs.New(ctx, v, mf, tmpfs.Options{}), "root", 0)
			at := func(path string) *vfs.PathOp {
				return &vfs.PathOp{Root: ns.Root(), Start: ns.Root(), Pathname: path}
			}
			install := func(path string, data []byte) {
				for i := 1; i < len(path); i++ {
					if path[i] == '/' {
						v.MkdirAt(ctx, at(path[:i]), 0o755)
					}
				}
				f, err := v.OpenAt(ctx, at(path), vfs.OpenOpts{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0o755})
				if err != nil {
					t.Fatal(err)
				}
				defer f.DecRef(ctx)
				for len(data) > 0 {
					n, err := f.Write(ctx, usermem.BytesSequence(data))
					if err != nil {
						t.Fatal(err)
					}
					data = data[n:]
				}
			}
			for from, to := range map[string]string{prog: "/prog", ldso: ldso, libc: libc} {
				data, err := os.ReadFile(from)
				if err != nil {
					t.Skip(err)
				}
				install(to, data)
			}
			file := "/prog"
			if c.script != "" {
				file = "/script"
				install(file, []byte(c.script))
			}
			out, err := v.OpenAt(ctx, at("/out"), vfs.OpenOpts{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0o644})
			if err != nil {
				t.Fatal(err)
			}
			out.IncRef()
			out.IncRef()
			tg, err := k.CreateProcess(&kernel.CreateProcessArgs{
				Argv: []string{file, "one"}, Envv: []string{"LIFE=42"}, Filename: file, Creds: creds, Root: ns.Root(), WorkingDirectory: ns.Root(),
				Files: []*vfs.FileDescription{nil, out, out},
				UTS:   k.RootUTSNamespace(), IPC: k.RootIPCNamespace(), Net: k.NewNetNamespace(k.RootUserNamespace()),
			})
			if err != nil {
				t.Fatal(err)
			}
			tg.Start()
			select {
			case <-tg.Done():
			case <-time.After(60 * time.Second):
				t.Fatal("the program hangs")
			}
			k.Wait()
			b := make([]byte, 4096)
			n, _ := out.PRead(ctx, usermem.BytesSequence(b), 0)
			if st := tg.ExitStatus(); st != 0 {
				t.Errorf("status %#x: %s", st, b[:n])
			}
		})
	}
}
