package boot

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/dev"
	"runsc/pkg/sentry/fs/devpts"
	"runsc/pkg/sentry/fs/mqueue"
	"runsc/pkg/sentry/fs/overlay"
	"runsc/pkg/sentry/fs/proc"
	"runsc/pkg/sentry/fs/sys"
	"runsc/pkg/sentry/fs/tmpfs"
	"runsc/pkg/sentry/fs/tty/jobs"
	"runsc/pkg/sentry/kernel"
	unixsocket "runsc/pkg/sentry/socket/unix"
	"runsc/pkg/sentry/syscalls"
	"runsc/pkg/sentry/vfs"
)

// registerFilesystems makes filesystem types, devices and FIFOs known to the kernel's vfs.
func registerFilesystems(k *kernel.Kernel) {
	v := k.VFS()
	v.SetFIFOOpener(syscalls.PipeLimits(k))
	tmp := &tmpfs.Type{MemoryFile: k.MemoryFile(), TotalMemory: k.TotalMemory()}
	v.RegisterFilesystemType("tmpfs", tmp)
	v.RegisterFilesystemType("overlay", overlay.Type{})
	v.RegisterFilesystemType("devtmpfs", &devType{tmp})
	v.RegisterFilesystemType("proc", &proc.Type{Kernel: k, Options: proc.Options{Net: &netTables{k}}})
	v.RegisterFilesystemType("sysfs", &sys.Type{Options: sys.Options{NumCPU: k.NumCPU(), TotalMemory: k.TotalMemory()}})
	v.RegisterFilesystemType("mqueue", &mqueue.Type{Finder: &syscalls.MessageQueues{Kernel: k}})
	dev.Register(v, tmpfs.New(rootContext(k), v, k.MemoryFile(), tmpfs.Options{}))
	devpts.Register(v, jobs.Control{}, nil)
}

// netTables are the tables of /proc/net. It implements proc.NetTables.
type netTables struct{ k *kernel.Kernel }

// NetTable implements proc.NetTables.
func (n *netTables) NetTable(ns *kernel.NetNamespace, name string) (string, bool) {
	if name != "unix" {
		return "", false
	}
	p, err := syscalls.NetStack(n.k, ns).Provider(unix.AF_UNIX)
	if err != nil {
		return "", false
	}
	sockets, ok := p.(*unixsocket.Namespace)
	if !ok {
		return "", false
	}
	return sockets.ProcNetUnix(), true
}

// devType makes the tmpfs on /dev, with the usual devices in it.
type devType struct{ tmp *tmpfs.Type }

// NewFilesystem implements vfs.FilesystemType.
func (d *devType) NewFilesystem(ctx context.Context, v *vfs.VFS, source, data string) (vfs.Filesystem, error) {
	fs, err := d.tmp.NewFilesystem(ctx, v, source, data)
	if err != nil {
		return nil, err
	}
	if err := dev.Populate(ctx, fs.Root().(vfs.Directory), dev.PopulateOptions{}); err != nil {
		fs.Release(ctx)
		return nil, err
	}
	return fs, nil
}

// NeedsDevice implements vfs.FilesystemType.
func (*devType) NeedsDevice() bool { return false }

// UserMountable implements vfs.FilesystemType.
func (*devType) UserMountable() bool { return false }
