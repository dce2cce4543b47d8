package proc_test

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
	"runsc/pkg/sentry/fs/proc"
	"runsc/pkg/sentry/fs/sys"
	"runsc/pkg/sentry/fs/tmpfs"
	"runsc/pkg/sentry/fs/tty/jobs"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/loader/vdso"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/syscalls"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
)

// world is a kernel with /proc, /sys and /dev, and busybox as every program.
type world struct {
	t    *testing.T
	k    *kernel.Kernel
	ctx  context.Context
	ns   *vfs.MountNamespace
	proc *proc.Filesystem
}

const busybox = "/bin/busybox"

func newWorld(t *testing.T) *world {
	t.Helper()
	data, err := os.ReadFile(busybox)
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
	clock, err := vdso.New(vdso.Options{NumCPUs: 2})
	if err != nil {
		t.Fatal(err)
	}
	k := kernel.New(kernel.Config{Platform: p, MemoryFile: mf, Syscalls: syscalls.NewTable(), VDSO: clock,
		Hostname: "box", NumCPU: 2, TotalMem: 1 << 30})
	w := &world{t: t, k: k, ctx: &context.Background{Creds: auth.NewRootCredentials(k.RootUserNamespace())}}
	v := k.VFS()
	w.ns = v.NewMountNamespace(k.RootUserNamespace(), tmpfs.New(w.ctx, v, mf, tmpfs.Options{}), "root", 0)
	w.write("/busybox", data)
	devFS := tmpfs.New(w.ctx, v, mf, tmpfs.Options{})
	if err := dev.Populate(w.ctx, devFS.Root().(vfs.Directory), dev.PopulateOptions{}); err != nil {
		t.Fatal(err)
	}
	dev.Register(v, tmpfs.New(w.ctx, v, mf, tmpfs.Options{}))
	devpts.Register(v, jobs.Control{}, nil)
	v.SetFIFOOpener(syscalls.PipeLimits(k))
	v.RegisterFilesystemType("proc", &proc.Type{Kernel: k})
	w.proc = proc.New(v, k, k.RootPIDNamespace(), proc.Options{Cmdline: "quiet"})
	o := devpts.DefaultOptions()
	o.PtmxMode = 0o666
	for _, m := range []struct {
		at string
		fs vfs.Filesystem
	}{
		{"/proc", w.proc}, {"/sys", sys.New(w.ctx, v, sys.Options{NumCPU: 2})}, {"/dev", devFS},
		{"/dev/pts", devpts.New(w.ctx, v, jobs.Control{}, o)},
	} {
		v.MkdirAt(w.ctx, w.path(m.at), 0o755)
		at, err := v.LookupAt(w.ctx, w.path(m.at))
		if err != nil {
			t.Fatal(err)
		}
		if err := v.MountFilesystem(w.ctx, w.ns, at, m.fs, m.fs.TypeName(), 0); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func (w *world) path(p string) *vfs.PathOp {
	root := w.ns.Root()
	return &vfs.PathOp{Root: root, Start: root, Pathname: p}
}

func (w *world) write(path string, data []byte) {
	f, err := w.k.VFS().OpenAt(w.ctx, w.path(path), vfs.OpenOpts{Flags: unix.O_RDWR | unix.O_CREAT, Mode: 0o755})
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.DecRef(w.ctx)
	for len(data) > 0 {
		n, err := f.Write(w.ctx, usermem.BytesSequence(data))
		if err != nil {
			w.t.Fatal(err)
		}
		data = data[n:]
	}
}

// sh runs a shell script and returns what it printed.
func (w *world) sh(script string) string {
	w.t.Helper()
	v := w.k.VFS()
	out, err := v.OpenAt(w.ctx, w.path("/out"), vfs.OpenOpts{Flags: unix.O_RDWR | unix.O_CREAT | unix.O_TRUNC | unix.O_APPEND, Mode: 0o644})
	if err != nil {
		w.t.Fatal(err)
	}
	null, err := v.OpenAt(w.ctx, w.path("/dev/null"), vfs.OpenOpts{Flags: unix.O_RDWR})
	if err != nil {
		w.t.Fatal(err)
	}
	out.IncRef()
	tg, err := w.k.CreateProcess(&kernel.CreateProcessArgs{
		Argv: []string{"sh", "-c", script}, Envv: []string{"PATH=/", "LIFE=42"}, Filename: "/busybox",
		Creds: w.ctx.Credentials(), Root: w.ns.Root(), WorkingDirectory: w.ns.Root(),
		Files: []*vfs.FileDescription{null, out, out},
		UTS:   w.k.RootUTSNamespace(), IPC: w.k.RootIPCNamespace(), Net: w.k.NewNetNamespace(w.k.RootUserNamespace()),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	tg.Start()
	select {
	case <-tg.Done():
	case <-time.After(30 * time.Second):
		w.t.Fatalf("the script hangs: %s", script)
	}
	w.k.Wait()
	f, err := v.OpenAt(w.ctx, w.path("/out"), vfs.OpenOpts{Flags: unix.O_RDONLY})
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.DecRef(w.ctx)
	b := make([]byte, 1<<20)
	n, err := f.PRead(w.ctx, usermem.BytesSequence(b), 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(b[:n])
}

func TestFilesOfAProcess(t *testing.T) {
	w := newWorld(t)
	out := w.sh(`cd /proc
b=/busybox
for f in self/status self/stat self/statm self/cmdline self/environ self/maps self/limits self/mountinfo self/mounts \
 self/comm self/cgroup self/uid_map self/oom_score_adj self/io self/sched self/wchan self/loginuid self/smaps self/fdinfo/1 \
 version cpuinfo meminfo stat loadavg uptime filesystems cmdline sys/kernel/hostname sys/kernel/pid_max sys/kernel/random/uuid \
 sys/vm/overcommit_memory net/dev net/unix sysvipc/shm /sys/devices/system/cpu/online; do
 echo "== $f"; $b cat $f | $b tr '\0' '~' ; echo; done
echo "== links"; for f in self/exe self/cwd self/root self/fd/1 self/ns/pid self self/ns/uts; do $b readlink $f; done
echo "== ls"; $b ls . ; $b ls self/ self/task/ self/fd
echo "== write"; echo frog > sys/kernel/hostname; $b hostname; echo 512 > sys/net/core/somaxconn; $b cat sys/net/core/somaxconn
echo bad > sys/net/core/somaxconn; echo name > self/comm; $b cat self/comm; echo 500 > self/oom_score_adj; $b cat /proc/$$/oom_score_adj
echo "== dev"; echo hi > /dev/null; $b head -c 3 /dev/zero | $b wc -c; $b ls /dev
echo "== missing"; $b cat /proc/99999/stat
`)
	t.Log(out)
	sections := map[string]string{}
	for s := range strings.SplitSeq(out, "== ") {
		name, body, _ := strings.Cut(s, "\n")
		sections[name] = body
	}
	for name, wants := range map[string][]string{
		"self/status":                    {"Name:\t", "State:\tR (running)", "Uid:\t0\t0\t0\t0", "VmRSS:\t", "Threads:\t1", "CapEff:\t000001ffffffffff", "Cpus_allowed_list:\t0-1"},
		"self/stat":                      {") R "},
		"self/cmdline":                   {"/busybox~cat~self/cmdline~"},
		"self/environ":                   {"LIFE=42~"},
		"self/maps":                      {"/busybox", "[stack]", "[vdso]", "[vvar]", "r-xp"},
		"self/limits":                    {"Max open files            1024"},
		"self/mountinfo":                 {" /proc ", " - proc proc "},
		"self/mounts":                    {"proc /proc proc rw"},
		"self/uid_map":                   {"         0          0 4294967295"},
		"self/fdinfo/1":                  {"pos:\t", "flags:\t0"},
		"version":                        {"Linux version 6."},
		"cpuinfo":                        {"processor\t: 1", "flags\t\t: fpu"},
		"meminfo":                        {"MemTotal:        1048576 kB"},
		"stat":                           {"cpu1 ", "btime "},
		"filesystems":                    {"nodev\tproc"},
		"cmdline":                        {"quiet"},
		"sys/kernel/hostname":            {"box"},
		"sys/kernel/pid_max":             {"32768"},
		"net/dev":                        {"lo:"},
		"links":                          {"/busybox\n/proc\n/\n", "pid:[4026531836]", "uts:[4026531838]"},
		"ls":                             {"self\n", "thread-self\n", "1\n", "mountinfo\n", "uptime\n"},
		"write":                          {"frog\n", "512\n", "Invalid argument", "500\n"},
		"dev":                            {"3\n", "urandom\n", "pts\n"},
		"missing":                        {"No such file or directory"},
		"/sys/devices/system/cpu/online": {"0-1"},
	} {
		for _, want := range wants {
			if !strings.Contains(sections[name], want) {
				t.Errorf("%s: no %q in:\n%s", name, want, sections[name])
			}
		}
	}
}

func TestNamespacesAndDescriptors(t *testing.T) {
	w := newWorld(t)
	out := w.sh(`b=/busybox
echo "== fd"; echo content > /file; $b cat /proc/self/fd/5 5</file; $b rm /file; exec 5>/gone; $b rm /gone; $b readlink /proc/self/fd/5; exec 5>&-
echo "== pipe"; echo piped | $b readlink /proc/self/fd/0; echo again | $b cat /proc/self/fd/0
echo "== user"; $b unshare -U $b cat /proc/self/uid_map /proc/self/setgroups; $b unshare -U -r $b cat /proc/self/uid_map /proc/self/gid_map
$b unshare -U -r $b id -u; a=$($b readlink /proc/self/ns/user); c=$($b unshare -U $b readlink /proc/self/ns/user); [ "$a" != "$c" ] && echo differ
echo "== uts"; $b unshare -u sh -c "echo inner > /proc/sys/kernel/hostname; $b hostname"; $b hostname
echo "== pid"; $b unshare -p -f -m sh -c "$b mount -t proc proc /proc; $b readlink /proc/self; $b ls -d /proc/[0-9]*; $b cat /proc/1/comm; $b grep NSpid /proc/self/status"
echo "== children"; $b sleep 100 & k=$!; $b cat /proc/$$/children; echo; kill $k; wait $k
echo "== zombie"; sh -c "$b true & exec $b sleep 0.5" & sleep 0.2; $b grep -h State /proc/[0-9]*/status | $b grep zombie; wait
echo "== mem"; printf x > /memtest; $b dd if=/proc/self/mem bs=1 skip=4194305 count=3 2>/dev/null; echo; $b dd if=/proc/self/mem bs=1 skip=1 count=1 2>&1 | $b head -1
echo "== denied"; echo 1 > /proc/version; echo 1 > /proc/sys/kernel/osrelease; $b mkdir /proc/x; $b rm /proc/version
echo "== thread"; $b ls /proc/thread-self/; $b cat /proc/$$/task/*/comm
`)
	sections := map[string]string{}
	for s := range strings.SplitSeq(out, "== ") {
		name, body, _ := strings.Cut(s, "\n")
		sections[name] = body
	}
	for name, wants := range map[string][]string{
		"fd":       {"content\n", "/gone (deleted)\n"},
		"pipe":     {"pipe:[", "again\n"},
		"user":     {"allow\n", "         0          0          1\n         0          0          1\n0\ndiffer\n"},
		"uts":      {"inner\nbox\n"},
		"children": {" "},
		"zombie":   {"State:\tZ (zombie)"},
		"mem":      {"ELF\n", "nput/output error"},
		"denied":   {"ermission denied", "mkdir", "rm: "},
		"thread":   {"comm\n", "wchan\nbusybox\n"},
		"pid":      {"3\n/proc/1\nsh\nNSpid:\t"},
	} {
		for _, want := range wants {
			if !strings.Contains(sections[name], want) {
				t.Errorf("%s: no %q in:\n%s", name, want, sections[name])
			}
		}
	}
}
