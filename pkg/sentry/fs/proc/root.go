package proc

import (
	"bytes"
	"sort"
	"strconv"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/pseudo"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// rootDir is /proc: fixed names and processes.
type rootDir struct {
	*pseudo.Dir
	fs *Filesystem
}

// systemFile is a file about the whole kernel, by its name in systemFiles.
type systemFile struct {
	fs   *Filesystem
	name string
}

// Generate implements pseudo.Generator.
func (f *systemFile) Generate(ctx context.Context, b *bytes.Buffer) error {
	return systemFiles[f.name].write(f.fs, ctx, b)
}

func newRoot(fs *Filesystem) *rootDir {
	r := &rootDir{Dir: pseudo.NewDir(fs, fs.NewIno(), 0o555, fs.now), fs: fs}
	var names []string
	for n := range systemFiles {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, n := range names {
		r.Add(n, pseudo.NewText(fs, fs.NewIno(), systemFiles[n].mode, &systemFile{fs, n}, fs.now))
	}
	for _, l := range []string{"mounts", "net"} {
		r.Add(l, pseudo.NewLink(fs, fs.NewIno(), "self/"+l, fs.now))
	}
	for _, thread := range []bool{false, true} {
		l := &selfLink{fs: fs, thread: thread}
		l.Init(fs, fs.NewIno(), unix.S_IFLNK|0o777, auth.RootUID, auth.RootGID, fs.now)
		name := "self"
		if thread {
			name = "thread-self"
		}
		r.Add(name, l)
	}
	r.Add("sys", newSysctlTree(fs))
	ipc := pseudo.NewDir(fs, fs.NewIno(), 0o555, fs.now)
	for _, n := range []string{"msg", "sem", "shm"} {
		ipc.Add(n, pseudo.NewText(fs, fs.NewIno(), 0o444, &ipcFile{n}, fs.now))
	}
	r.Add("sysvipc", ipc)
	for _, dir := range []string{"bus", "driver", "fs", "irq", "tty", "acpi", "scsi"} {
		d := pseudo.NewDir(fs, fs.NewIno(), 0o555, fs.now)
		if dir == "tty" {
			d.Add("drivers", pseudo.NewText(fs, fs.NewIno(), 0o444, pseudo.String(ttyDrivers), fs.now))
		}
		r.Add(dir, d)
	}
	return r
}

const ttyDrivers = "/dev/tty             /dev/tty        5       0 system:/dev/tty\n" +
	"/dev/console         /dev/console    5       1 system:console\n" +
	"/dev/ptmx            /dev/ptmx       5       2 system\n" +
	"pty_slave            /dev/pts      136 0-1048575 pty:slave\n" +
	"pty_master           /dev/ptm      128 0-1048575 pty:master\n"

// Caching implements vfs.Directory.
func (*rootDir) Caching() vfs.Caching { return vfs.CacheNone }

// Lookup implements vfs.Directory. Numbers of threads are found too, though not listed.
func (r *rootDir) Lookup(ctx context.Context, name string) (vfs.Inode, error) {
	if c := r.Child(name); c != nil {
		c.Base().IncRef()
		return c, nil
	}
	n, ok := parsePID(name)
	if !ok {
		return nil, unix.ENOENT
	}
	t := r.fs.pidns.Task(n)
	if t == nil {
		return nil, unix.ENOENT
	}
	return newTaskDir(r.fs, t, false), nil
}

func parsePID(name string) (int32, bool) {
	n, err := strconv.ParseInt(name, 10, 32)
	if err != nil || n <= 0 || strconv.FormatInt(n, 10) != name {
		return 0, false
	}
	return int32(n), true
}

// Entries implements pseudo.Lister: processes by number, then nothing else moves.
func (r *rootDir) Entries(ctx context.Context) ([]pseudo.Entry, error) {
	out, err := r.Dir.Entries(ctx)
	for i := range out {
		out[i].Cookie = int64(3 + i)
	}
	first := len(out)
	for _, tg := range r.fs.pidns.ThreadGroups() {
		pid := r.fs.pidns.TGIDOf(tg)
		out = append(out, pseudo.Entry{Name: strconv.Itoa(int(pid)), Ino: r.fs.taskIno(tg.Leader(), 0),
			Type: unix.DT_DIR, Cookie: 1000 + int64(pid)})
	}
	tasks := out[first:]
	sort.Slice(tasks, func(i, j int) bool { return tasks[i].Cookie < tasks[j].Cookie })
	return out, err
}

// Stat implements vfs.Inode.
func (r *rootDir) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := r.Dir.Stat(ctx)
	a.Nlink += uint32(len(r.fs.pidns.ThreadGroups()))
	return a, err
}

// Open implements vfs.Inode.
func (r *rootDir) Open(context.Context, uint32) (vfs.File, error) { return pseudo.NewDirFile(r), nil }

// selfLink is /proc/self and /proc/thread-self.
type selfLink struct {
	pseudo.Node
	fs     *Filesystem
	thread bool
}

// Readlink implements vfs.Symlink. ENOENT: the caller has no number here.
func (l *selfLink) Readlink(ctx context.Context) (string, error) {
	t, ok := ctx.(*kernel.Task)
	if !ok {
		return "", unix.ENOENT
	}
	pid := l.fs.pidns.TGIDOf(t.ThreadGroup())
	if pid == 0 {
		return "", unix.ENOENT
	}
	s := strconv.Itoa(int(pid))
	if l.thread {
		s += "/task/" + strconv.Itoa(int(l.fs.pidns.TIDOf(t)))
	}
	return s, nil
}

// ipcFile is a file in /proc/sysvipc.
type ipcFile struct{ name string }

// Generate implements pseudo.Generator.
func (f *ipcFile) Generate(ctx context.Context, b *bytes.Buffer) error {
	t, ok := ctx.(*kernel.Task)
	if !ok {
		return nil
	}
	ns, u := t.IPCNamespace(), viewer(ctx)
	switch f.name {
	case "sem":
		b.WriteString(ns.Sem.ProcText(u.UID, u.GID))
	case "msg":
		b.WriteString(ns.Msg.ProcText(u.UID, u.GID))
	case "shm":
		writeShm(b, ns, u)
	}
	return nil
}
