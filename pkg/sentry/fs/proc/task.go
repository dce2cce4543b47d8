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

// taskNode is an inode about a task: it belongs to the task's effective user, or to root if
// the task must not be looked into.
type taskNode struct {
	pseudo.Node
	fs *Filesystem
	t  *kernel.Task
}

func (n *taskNode) init(fs *Filesystem, t *kernel.Task, ino uint64, mode uint32) {
	n.fs, n.t = fs, t
	uid, gid := auth.RootUID, auth.RootGID
	if c := t.Credentials(); c != nil {
		dumpable := 1
		if m := t.WithMM(); m != nil {
			dumpable = m.Dumpable()
			m.DecUsers()
		}
		if dumpable == 1 || mode&unix.S_IFMT == unix.S_IFDIR && mode&0o777 == 0o555 {
			uid, gid = c.EffectiveUID, c.EffectiveGID
		}
	}
	n.Init(fs, fs.taskIno(t, ino), mode, uid, gid, fs.now)
	n.Fix()
}

// alive returns ESRCH once the task is gone.
func (n *taskNode) alive() error {
	if n.t.ThreadGroup().IsReaped() {
		return unix.ESRCH
	}
	return nil
}

// taskDir is /proc/PID or, for a thread, /proc/PID/task/TID.
type taskDir struct {
	taskNode
	vfs.ReadOnlyDir
	thread bool
}

func newTaskDir(fs *Filesystem, t *kernel.Task, thread bool) *taskDir {
	d := &taskDir{thread: thread}
	ino := uint64(0)
	if thread {
		ino = 1
	}
	d.init(fs, t, ino, unix.S_IFDIR|0o555)
	return d
}

// ProcessOfDirectory is the process whose directory d is, or nil.
func (d *taskDir) ProcessOfDirectory() *kernel.ThreadGroup {
	if d.thread {
		return nil
	}
	return d.t.ThreadGroup()
}

// taskSpec is a line of taskFiles. Exactly one of write and make is set.
type taskSpec struct {
	name string
	mode uint32 // with type
	// trace: only who may trace the task may read it (EACCES).
	trace bool
	// process: it is not in the directories of threads.
	process bool
	write   func(ctx context.Context, f *taskFile, b *bytes.Buffer) error
	set     func(ctx context.Context, f *taskFile, value []byte, offset int64) error
	make    func(d *taskDir, ino uint64) vfs.Inode
}

const (
	reg = unix.S_IFREG
	dir = unix.S_IFDIR
	lnk = unix.S_IFLNK
)

// taskFiles is what a process's directory holds, sorted by name. It is filled by init, for
// the functions that it names look into it.
var taskFiles []taskSpec

func init() {
	taskFiles = []taskSpec{
		{name: "auxv", mode: reg | 0o400, trace: true, write: writeAuxv},
		{name: "cgroup", mode: reg | 0o444, write: writeCgroup},
		{name: "children", mode: reg | 0o444, write: writeChildren},
		{name: "clear_refs", mode: reg | 0o200, set: ignoreWrite, write: writeNothing},
		{name: "cmdline", mode: reg | 0o444, write: writeCmdline},
		{name: "comm", mode: reg | 0o644, write: writeComm, set: setComm},
		{name: "coredump_filter", mode: reg | 0o644, set: ignoreWrite, write: writeConst("00000033\n")},
		{name: "cpuset", mode: reg | 0o444, write: writeConst("/\n")},
		{name: "cwd", mode: lnk | 0o777, make: makePathLink},
		{name: "environ", mode: reg | 0o400, trace: true, write: writeEnviron},
		{name: "exe", mode: lnk | 0o777, make: makePathLink},
		{name: "fd", mode: dir | 0o500, make: makeFDDir},
		{name: "fdinfo", mode: dir | 0o555, make: makeFDDir},
		{name: "gid_map", mode: reg | 0o644, write: writeIDMap, set: setIDMap},
		{name: "io", mode: reg | 0o400, trace: true, write: writeIO},
		{name: "limits", mode: reg | 0o444, write: writeLimits},
		{name: "loginuid", mode: reg | 0o644, write: writeConst("4294967295"), set: ignoreWrite},
		{name: "maps", mode: reg | 0o444, trace: true, write: writeMaps},
		{name: "mem", mode: reg | 0o600, make: makeMem},
		{name: "mountinfo", mode: reg | 0o444, make: makeMounts},
		{name: "mounts", mode: reg | 0o444, make: makeMounts},
		{name: "mountstats", mode: reg | 0o400, write: writeNothing},
		{name: "net", mode: dir | 0o555, make: makeNetDir},
		{name: "ns", mode: dir | 0o511, make: makeNSDir},
		{name: "oom_adj", mode: reg | 0o644, write: writeOOMAdj, set: setOOMAdj},
		{name: "oom_score", mode: reg | 0o444, write: writeOOMScore},
		{name: "oom_score_adj", mode: reg | 0o644, write: writeOOMScoreAdj, set: setOOMScoreAdj},
		{name: "pagemap", mode: reg | 0o400, trace: true, write: writeNothing},
		{name: "personality", mode: reg | 0o400, trace: true, write: writeConst("00000000\n")},
		{name: "projid_map", mode: reg | 0o644, write: writeNothing},
		{name: "root", mode: lnk | 0o777, make: makePathLink},
		{name: "sched", mode: reg | 0o644, write: writeSched, set: ignoreWrite},
		{name: "schedstat", mode: reg | 0o444, write: writeSchedstat},
		{name: "sessionid", mode: reg | 0o444, write: writeConst("4294967295")},
		{name: "setgroups", mode: reg | 0o644, write: writeSetgroups, set: setSetgroups},
		{name: "smaps", mode: reg | 0o444, trace: true, write: writeMaps},
		{name: "smaps_rollup", mode: reg | 0o444, trace: true, write: writeMaps},
		{name: "stack", mode: reg | 0o400, trace: true, write: writeNothing},
		{name: "stat", mode: reg | 0o444, write: writeTaskStat},
		{name: "statm", mode: reg | 0o444, write: writeStatm},
		{name: "status", mode: reg | 0o444, write: writeStatus},
		{name: "syscall", mode: reg | 0o400, trace: true, write: writeConst("running\n")},
		{name: "task", mode: dir | 0o555, process: true, make: makeTasksDir},
		{name: "timers", mode: reg | 0o444, process: true, write: writeNothing},
		{name: "timerslack_ns", mode: reg | 0o666, write: writeTimerSlack, set: setTimerSlack},
		{name: "uid_map", mode: reg | 0o644, write: writeIDMap, set: setIDMap},
		{name: "wchan", mode: reg | 0o444, write: writeConst("0")},
	}
}

func findTaskSpec(name string) (int, bool) {
	i := sort.Search(len(taskFiles), func(i int) bool { return taskFiles[i].name >= name })
	return i, i < len(taskFiles) && taskFiles[i].name == name
}

// Caching implements vfs.Directory.
func (*taskDir) Caching() vfs.Caching { return vfs.CacheNone }

// Lookup implements vfs.Directory.
func (d *taskDir) Lookup(_ context.Context, name string) (vfs.Inode, error) {
	if d.alive() != nil {
		return nil, unix.ENOENT
	}
	i, ok := findTaskSpec(name)
	if !ok || taskFiles[i].process && d.thread {
		return nil, unix.ENOENT
	}
	s := &taskFiles[i]
	ino := uint64(i + 2)
	if d.thread {
		ino += 512
	}
	if s.make != nil {
		return s.make(d, ino), nil
	}
	f := &taskFile{name: name, thread: d.thread}
	f.init(d.fs, d.t, ino, s.mode)
	return f, nil
}

// Entries implements pseudo.Lister.
func (d *taskDir) Entries(context.Context) ([]pseudo.Entry, error) {
	if d.alive() != nil {
		return nil, unix.ENOENT
	}
	var out []pseudo.Entry
	for i, s := range taskFiles {
		if s.process && d.thread {
			continue
		}
		ino := uint64(i + 2)
		if d.thread {
			ino += 512
		}
		out = append(out, pseudo.Entry{Name: s.name, Ino: d.fs.taskIno(d.t, ino), Type: pseudo.TypeOf(s.mode)})
	}
	return out, nil
}

// Open implements vfs.Inode.
func (d *taskDir) Open(context.Context, uint32) (vfs.File, error) { return pseudo.NewDirFile(d), nil }

// taskFile is a regular file about a task, by its name in taskFiles.
type taskFile struct {
	taskNode
	name   string
	thread bool // it shows the thread rather than the process
}

func (f *taskFile) spec() *taskSpec {
	i, _ := findTaskSpec(f.name)
	return &taskFiles[i]
}

// Open implements vfs.Inode.
func (f *taskFile) Open(ctx context.Context, flags uint32) (vfs.File, error) {
	s := f.spec()
	if s.trace && !mayTrace(ctx, f.t) {
		return nil, unix.EACCES
	}
	if flags&unix.O_ACCMODE != unix.O_RDONLY && s.set == nil {
		return nil, unix.EACCES
	}
	if err := f.alive(); err != nil {
		return nil, err
	}
	if s.set != nil {
		return pseudo.NewTextFile(ctx, settable{f}, flags)
	}
	return pseudo.NewTextFile(ctx, f, flags)
}

// Generate implements pseudo.Generator. ESRCH: the process is gone.
func (f *taskFile) Generate(ctx context.Context, b *bytes.Buffer) error {
	if err := f.alive(); err != nil {
		return err
	}
	return f.spec().write(ctx, f, b)
}

// settable is a taskFile that can be written to.
type settable struct{ *taskFile }

// Set implements pseudo.Setter.
func (f settable) Set(ctx context.Context, value []byte, offset int64) error {
	if err := f.alive(); err != nil {
		return err
	}
	return f.spec().set(ctx, f.taskFile, value, offset)
}

func writeNothing(context.Context, *taskFile, *bytes.Buffer) error { return nil }

func ignoreWrite(context.Context, *taskFile, []byte, int64) error { return nil }

func writeConst(s string) func(context.Context, *taskFile, *bytes.Buffer) error {
	return func(_ context.Context, _ *taskFile, b *bytes.Buffer) error {
		b.WriteString(s)
		return nil
	}
}

// tasksDir is /proc/PID/task.
type tasksDir struct {
	taskNode
	vfs.ReadOnlyDir
}

func makeTasksDir(d *taskDir, ino uint64) vfs.Inode {
	n := &tasksDir{}
	n.init(d.fs, d.t, ino, unix.S_IFDIR|0o555)
	return n
}

// Caching implements vfs.Directory.
func (*tasksDir) Caching() vfs.Caching { return vfs.CacheNone }

// Lookup implements vfs.Directory.
func (d *tasksDir) Lookup(_ context.Context, name string) (vfs.Inode, error) {
	n, ok := parsePID(name)
	if !ok {
		return nil, unix.ENOENT
	}
	t := d.fs.pidns.Task(n)
	if t == nil || t.ThreadGroup() != d.t.ThreadGroup() {
		return nil, unix.ENOENT
	}
	return newTaskDir(d.fs, t, true), nil
}

// Entries implements pseudo.Lister.
func (d *tasksDir) Entries(context.Context) ([]pseudo.Entry, error) {
	if d.alive() != nil {
		return nil, unix.ENOENT
	}
	var out []pseudo.Entry
	for _, t := range d.t.ThreadGroup().Tasks() {
		if id := d.fs.pidns.TIDOf(t); id > 0 {
			out = append(out, pseudo.Entry{Name: strconv.Itoa(int(id)), Ino: d.fs.taskIno(t, 1), Type: unix.DT_DIR, Cookie: 3 + int64(id)})
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Cookie < out[j].Cookie })
	return out, nil
}

// Stat implements vfs.Inode.
func (d *tasksDir) Stat(ctx context.Context) (vfs.Attr, error) {
	a, err := d.taskNode.Stat(ctx)
	a.Nlink = 2 + uint32(len(d.t.ThreadGroup().Tasks()))
	return a, err
}

// Open implements vfs.Inode.
func (d *tasksDir) Open(context.Context, uint32) (vfs.File, error) { return pseudo.NewDirFile(d), nil }
