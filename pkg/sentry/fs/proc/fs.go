package proc

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/pseudo"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// NetTables is what the network stack shows in /proc/PID/net.
type NetTables interface {
	// NetTable is the content of the file of that name ("dev", "tcp", "unix" …) as seen in
	// ns; ok is false if the stack has no such table.
	NetTable(ns *kernel.NetNamespace, name string) (text string, ok bool)
}

// Options are what proc needs beside the kernel.
type Options struct {
	Net NetTables // may be nil
	// Cmdline is /proc/cmdline.
	Cmdline string
}

// Type is the filesystem type, for mount(2).
type Type struct {
	Kernel  *kernel.Kernel
	Options Options
}

// NewFilesystem implements vfs.FilesystemType. The mount shows the caller's pid namespace.
func (t *Type) NewFilesystem(ctx context.Context, v *vfs.VFS, _, data string) (vfs.Filesystem, error) {
	for opt := range strings.SplitSeq(data, ",") {
		switch key, _, _ := strings.Cut(opt, "="); key {
		case "", "hidepid", "gid", "subset":
			// Accepted; what a process may see of others is decided file by file.
		default:
			return nil, unix.EINVAL
		}
	}
	ns := t.Kernel.RootPIDNamespace()
	if task, ok := ctx.(*kernel.Task); ok {
		ns = task.PIDNamespace()
	}
	fs := New(v, t.Kernel, ns, t.Options)
	fs.options = data
	return fs, nil
}

// NeedsDevice implements vfs.FilesystemType.
func (*Type) NeedsDevice() bool { return false }

// UserMountable implements vfs.FilesystemType.
func (*Type) UserMountable() bool { return true }

// Filesystem is a mount of proc.
type Filesystem struct {
	pseudo.FS
	k       *kernel.Kernel
	pidns   *kernel.PIDNamespace
	opts    Options
	options string
	now     int64 // time stamp of everything fixed
	root    *rootDir
}

// procMagic is PROC_SUPER_MAGIC.
const procMagic = unix.PROC_SUPER_MAGIC

// New makes a filesystem that shows the processes of pidns.
func New(v *vfs.VFS, k *kernel.Kernel, pidns *kernel.PIDNamespace, o Options) *Filesystem {
	fs := &Filesystem{
		FS: pseudo.FS{Type: "proc", Magic: procMagic, Device: v.AnonDev()},
		k:  k, pidns: pidns, opts: o, now: k.Realtime().Now(),
	}
	fs.root = newRoot(fs)
	return fs
}

// Root implements vfs.Filesystem.
func (fs *Filesystem) Root() vfs.Inode { return fs.root }

// Options implements vfs.Filesystem.
func (fs *Filesystem) Options() string { return fs.options }

// Inode numbers: fixed files count from 1 on; those of tasks are made of the thread's number
// and the file's place in its table, so that a file keeps its number from lookup to lookup.
const (
	taskInoBase = 1 << 32
	taskInoStep = 1 << 16 // per task
	fdIno       = 1 << 12 // numbers of descriptors, within a task's
	fdInfoIno   = 1 << 15
)

func (fs *Filesystem) taskIno(t *kernel.Task, n uint64) uint64 {
	return taskInoBase + uint64(t.RootTID())*taskInoStep + n
}

// viewer is the user namespace in which the reader of a file sees ids.
func viewer(ctx context.Context) *auth.UserNamespace { return ctx.Credentials().UserNS }

// mayTrace says whether the caller may look into t.
func mayTrace(ctx context.Context, t *kernel.Task) bool {
	c, ok := ctx.(*kernel.Task)
	return !ok || c.MayTrace(t) // the sentry itself may
}

// kb writes a line of sizes in kB: "Name:   123 kB".
func kb(name string, width int, bytes uint64) string {
	return fmt.Sprintf("%s:\t%*d kB\n", name, width, bytes>>10)
}
