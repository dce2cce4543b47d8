package proc

import (
	"bytes"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/fs/pseudo"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// mountsNode is /proc/PID/mounts or mountinfo.
type mountsNode struct {
	taskNode
	info bool
}

func makeMounts(d *taskDir, ino uint64) vfs.Inode {
	n := &mountsNode{}
	i, _ := findTaskSpec("mountinfo")
	n.info = ino&511 == uint64(i+2)
	n.init(d.fs, d.t, ino, unix.S_IFREG|0o444)
	return n
}

// Open implements vfs.Inode. The file shows the namespace and root that the task has now.
func (n *mountsNode) Open(ctx context.Context, flags uint32) (vfs.File, error) {
	if flags&unix.O_ACCMODE != unix.O_RDONLY {
		return nil, unix.EACCES
	}
	fs := n.t.WithFSContext()
	if fs == nil {
		return nil, unix.EINVAL
	}
	defer fs.DecRef(ctx)
	f := &mountsFile{ns: fs.MountNamespace(), root: fs.Root(), info: n.info}
	if f.ns == nil {
		f.root.DecRef(ctx)
		return nil, unix.EINVAL
	}
	f.ns.IncRef()
	text, err := pseudo.NewTextFile(ctx, mountsText{f}, flags)
	f.TextFile = text
	f.seen.Store(f.ns.Seq())
	return f, err
}

// mountsFile is a text that polls as exceptional when the mounts have changed since it was
// polled last (proc_pid_mounts(5)).
type mountsFile struct {
	*pseudo.TextFile
	ns   *vfs.MountNamespace
	root vfs.Path
	info bool
	seen atomic.Uint64
}

type mountsText struct{ f *mountsFile }

// Generate implements pseudo.Generator.
func (t mountsText) Generate(_ context.Context, b *bytes.Buffer) error {
	if t.f.info {
		b.WriteString(t.f.ns.MountInfo(t.f.root))
	} else {
		b.WriteString(t.f.ns.Mounts(t.f.root))
	}
	return nil
}

// Release implements vfs.File.
func (f *mountsFile) Release(ctx context.Context) {
	f.root.DecRef(ctx)
	f.ns.DecRef(ctx)
}

// Readiness implements waiter.Waitable.
func (f *mountsFile) Readiness(mask waiter.EventMask) waiter.EventMask {
	r := waiter.EventIn | waiter.EventRdNorm
	if now := f.ns.Seq(); f.seen.Swap(now) != now {
		r |= waiter.EventPri | waiter.EventErr
	}
	return mask & r
}

// EventRegister implements waiter.Waitable.
func (f *mountsFile) EventRegister(e *waiter.Entry) error { return f.ns.Changed().EventRegister(e) }

// EventUnregister implements waiter.Waitable.
func (f *mountsFile) EventUnregister(e *waiter.Entry) { f.ns.Changed().EventUnregister(e) }
