package proc

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/pseudo"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// nsKinds are the files of /proc/PID/ns with Linux's numbers of the first namespaces; the
// others' count from nsFirst on.
var nsKinds = []struct {
	name  string
	first uint64
}{
	{"cgroup", 4026531835}, {"ipc", 4026531839}, {"mnt", 4026531841}, {"net", 4026531840},
	{"pid", 4026531836}, {"pid_for_children", 4026531836}, {"time", 4026531834},
	{"time_for_children", 4026531834}, {"user", 4026531837}, {"uts", 4026531838},
}

const nsFirst = 4026532100

// namespaces numbers the namespaces of a kernel, and is the filesystem of their inodes.
type namespaces struct {
	pseudo.FS

	mu      sync.Mutex // guards the fields below
	numbers map[any]uint64
	next    uint64
}

// Root implements vfs.Filesystem: it has no names.
func (*namespaces) Root() vfs.Inode { return nil }

func namespacesOf(k *kernel.Kernel) *namespaces {
	return k.Extra("proc.namespaces", func() any {
		n := &namespaces{
			FS:      pseudo.FS{Type: "nsfs", Magic: 0x6e736673, Device: k.VFS().AnonDev()},
			numbers: map[any]uint64{}, next: nsFirst,
		}
		n.numbers[k.RootIPCNamespace()] = 4026531839
		n.numbers[k.RootPIDNamespace()] = 4026531836
		n.numbers[k.RootUserNamespace()] = 4026531837
		n.numbers[k.RootUTSNamespace()] = 4026531838
		return n
	}).(*namespaces)
}

// number is the inode number of a namespace. Mount and network namespaces count by their own
// ids, which do not keep them in memory.
func (n *namespaces) number(ns any, first uint64) uint64 {
	if m, ok := ns.(*vfs.MountNamespace); ok {
		if m.ID() <= 1 {
			return first
		}
		return first + 1<<32 + m.ID()
	}
	if n, ok := ns.(*kernel.NetNamespace); ok {
		if n.ID() <= 1 {
			return first
		}
		return first + 1<<33 + n.ID()
	}
	if ns == nil {
		return first // kinds that there is only one of
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if i, ok := n.numbers[ns]; ok {
		return i
	}
	i := first
	for _, used := range n.numbers {
		if used == first {
			i = n.next
			n.next++
			break
		}
	}
	n.numbers[ns] = i
	return i
}

// namespaceOf returns the task's namespace of that kind; nil if there is only one. ok is
// false if the task has let go of it.
func namespaceOf(ctx context.Context, t *kernel.Task, kind string) (ns any, ok bool) {
	switch kind {
	case "ipc":
		return t.IPCNamespace(), t.IPCNamespace() != nil
	case "net":
		return t.NetNamespace(), t.NetNamespace() != nil
	case "pid", "pid_for_children":
		return t.PIDNamespace(), true
	case "user":
		return t.UserNamespace(), true
	case "uts":
		return t.UTSNamespace(), t.UTSNamespace() != nil
	case "mnt":
		fs := t.WithFSContext()
		if fs == nil {
			return nil, false
		}
		defer fs.DecRef(ctx)
		m := fs.MountNamespace()
		return m, m != nil
	}
	return nil, true
}

// nsDir is /proc/PID/ns.
type nsDir struct {
	taskNode
	vfs.ReadOnlyDir
}

func makeNSDir(d *taskDir, ino uint64) vfs.Inode {
	n := &nsDir{}
	n.init(d.fs, d.t, ino, unix.S_IFDIR|0o511)
	return n
}

// Caching implements vfs.Directory.
func (*nsDir) Caching() vfs.Caching { return vfs.CacheNone }

const nsIno = 2048 // numbers of its links, within a task's

// Lookup implements vfs.Directory.
func (d *nsDir) Lookup(_ context.Context, name string) (vfs.Inode, error) {
	for i, k := range nsKinds {
		if k.name == name {
			l := &nsLink{kind: i}
			l.init(d.fs, d.t, nsIno+uint64(i), unix.S_IFLNK|0o777)
			return l, nil
		}
	}
	return nil, unix.ENOENT
}

// Entries implements pseudo.Lister.
func (d *nsDir) Entries(context.Context) ([]pseudo.Entry, error) {
	var out []pseudo.Entry
	for i, k := range nsKinds {
		out = append(out, pseudo.Entry{Name: k.name, Ino: d.taskNode.fs.taskIno(d.t, nsIno+uint64(i)), Type: unix.DT_LNK})
	}
	return out, nil
}

// Open implements vfs.Inode.
func (d *nsDir) Open(context.Context, uint32) (vfs.File, error) { return pseudo.NewDirFile(d), nil }

// nsLink is /proc/PID/ns/KIND.
type nsLink struct {
	taskNode
	kind int // index in nsKinds
}

func (l *nsLink) resolve(ctx context.Context) (name string, ns any, ino uint64, err error) {
	if !mayTrace(ctx, l.t) {
		return "", nil, 0, unix.EACCES
	}
	k := nsKinds[l.kind]
	ns, ok := namespaceOf(ctx, l.t, k.name)
	if !ok {
		return "", nil, 0, unix.ENOENT
	}
	ino = namespacesOf(l.taskNode.fs.k).number(ns, k.first)
	kind := k.name
	switch kind {
	case "pid_for_children", "time_for_children":
		kind = kind[:len(kind)-len("_for_children")]
	}
	return fmt.Sprintf("%s:[%d]", kind, ino), ns, ino, nil
}

// Readlink implements vfs.Symlink.
func (l *nsLink) Readlink(ctx context.Context) (string, error) {
	name, _, _, err := l.resolve(ctx)
	return name, err
}

// Target implements vfs.MagicLink.
func (l *nsLink) Target(ctx context.Context) (vfs.Path, bool, error) {
	name, ns, ino, err := l.resolve(ctx)
	if err != nil {
		return vfs.Path{}, false, err
	}
	i := &nsInode{ns: ns}
	fs := namespacesOf(l.taskNode.fs.k)
	i.Init(fs, ino, unix.S_IFREG|0o444, auth.RootUID, auth.RootGID, 0)
	i.Fix()
	return vfs.AnonPath(name, i), true, nil
}

// nsInode is a namespace as a file.
type nsInode struct {
	pseudo.Node
	ns any
}

// Open implements vfs.Inode.
func (i *nsInode) Open(_ context.Context, flags uint32) (vfs.File, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		return nil, unix.EPERM
	}
	if m, ok := i.ns.(*vfs.MountNamespace); ok {
		m.IncRef()
	}
	return &nsFile{ns: i.ns}, nil
}

// nsFile is an open namespace; it implements kernel.NamespaceFile.
type nsFile struct {
	vfs.FileDefaults
	waiter.AlwaysReady
	ns any
}

// Namespace implements kernel.NamespaceFile.
func (f *nsFile) Namespace() any { return f.ns }

// Release implements vfs.File.
func (f *nsFile) Release(ctx context.Context) {
	if m, ok := f.ns.(*vfs.MountNamespace); ok {
		m.DecRef(ctx)
	}
}
