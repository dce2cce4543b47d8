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
	"runsc/pkg/sentry/socket/inet"
	"runsc/pkg/sentry/socket/nettables"
	unixsocket "runsc/pkg/sentry/socket/unix"
	"runsc/pkg/sentry/syscalls"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/tcpip"
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
	v.RegisterFilesystemType("sysfs", &sys.Type{Options: sys.Options{NumCPU: k.NumCPU(), TotalMemory: k.TotalMemory(), Net: &netDevices{k}}})
	v.RegisterFilesystemType("mqueue", &mqueue.Type{Finder: &syscalls.MessageQueues{Kernel: k}})
	dev.Register(v, tmpfs.New(rootContext(k), v, k.MemoryFile(), tmpfs.Options{}))
	devpts.Register(v, jobs.Control{}, nil)
}

// netTables are the tables of /proc/net. It implements proc.NetTables.
type netTables struct{ k *kernel.Kernel }

// NetTable implements proc.NetTables.
func (n *netTables) NetTable(ns *kernel.NetNamespace, name string) (string, bool) {
	layer := syscalls.NetStack(n.k, ns)
	if name != "unix" {
		return nettables.Table(layer, name)
	}
	p, err := layer.Provider(unix.AF_UNIX)
	if err != nil {
		return "", false
	}
	sockets, ok := p.(*unixsocket.Namespace)
	if !ok {
		return "", false
	}
	return sockets.ProcNetUnix(), true
}

// netDevices are the interfaces in /sys/class/net. It implements sys.NetDevices.
type netDevices struct{ k *kernel.Kernel }

// NetDevices implements sys.NetDevices.
func (n *netDevices) NetDevices(ctx context.Context) []sys.NetDevice {
	task, ok := ctx.(*kernel.Task)
	if !ok || task.NetNamespace() == nil {
		return nil
	}
	ns := inet.NamespaceOf(syscalls.NetStack(n.k, task.NetNamespace()))
	if ns == nil {
		return nil
	}
	var list []sys.NetDevice
	for _, nic := range ns.Stack().NICs() {
		d := inet.DeviceOf(nic)
		broadcast := tcpip.Broadcast
		if nic.IsLoopback() {
			broadcast = tcpip.LinkAddress{}
		}
		list = append(list, sys.NetDevice{
			Name: d.Name, Index: int(d.Index), Address: tcpip.LinkAddress(d.HWAddr).String(), Broadcast: broadcast.String(),
			MTU: int(d.MTU), Flags: d.Flags &^ (unix.IFF_RUNNING | unix.IFF_LOWER_UP), Type: int(d.Type), Up: nic.Up(),
			Statistics: nettables.Statistics(nic),
		})
	}
	return list
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
