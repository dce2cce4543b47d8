package kernel

import (
	"sync"
	"sync/atomic"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// FSContext is what CLONE_FS shares: root directory, working directory and umask.
type FSContext struct {
	refs  atomic.Int64
	umask atomic.Uint32

	mu   sync.RWMutex // guards the fields below
	root vfs.Path
	cwd  vfs.Path
}

// NewFSContext takes over the caller's references on root and cwd.
func NewFSContext(root, cwd vfs.Path, umask uint32) *FSContext {
	f := &FSContext{root: root, cwd: cwd}
	f.refs.Store(1)
	f.umask.Store(umask)
	return f
}

// IncRef adds a user.
func (f *FSContext) IncRef() { f.refs.Add(1) }

// DecRef drops a user; the last lets go of the directories.
func (f *FSContext) DecRef(ctx context.Context) {
	if f.refs.Add(-1) == 0 {
		f.root.DecRef(ctx)
		f.cwd.DecRef(ctx)
	}
}

// Shared says whether another task uses the context.
func (f *FSContext) Shared() bool { return f.refs.Load() > 1 }

// Fork copies the context.
func (f *FSContext) Fork() *FSContext {
	f.mu.RLock()
	defer f.mu.RUnlock()
	f.root.IncRef()
	f.cwd.IncRef()
	return NewFSContext(f.root, f.cwd, f.umask.Load())
}

// Root is the root directory, with a reference for the caller.
func (f *FSContext) Root() vfs.Path {
	f.mu.RLock()
	defer f.mu.RUnlock()
	f.root.IncRef()
	return f.root
}

// WorkingDirectory is the working directory, with a reference for the caller.
func (f *FSContext) WorkingDirectory() vfs.Path {
	f.mu.RLock()
	defer f.mu.RUnlock()
	f.cwd.IncRef()
	return f.cwd
}

// SetRoot takes over the caller's reference on p.
func (f *FSContext) SetRoot(ctx context.Context, p vfs.Path) {
	f.mu.Lock()
	old := f.root
	f.root = p
	f.mu.Unlock()
	old.DecRef(ctx)
}

// SetWorkingDirectory takes over the caller's reference on p.
func (f *FSContext) SetWorkingDirectory(ctx context.Context, p vfs.Path) {
	f.mu.Lock()
	old := f.cwd
	f.cwd = p
	f.mu.Unlock()
	old.DecRef(ctx)
}

// Umask is the file mode creation mask.
func (f *FSContext) Umask() uint32 { return f.umask.Load() }

// SwapUmask is umask(2).
func (f *FSContext) SwapUmask(m uint32) uint32 { return f.umask.Swap(m & 0777) }

// MountNamespace is that of the root directory.
func (f *FSContext) MountNamespace() *vfs.MountNamespace {
	f.mu.RLock()
	defer f.mu.RUnlock()
	return f.root.Mount.Namespace()
}

// UnshareMountNamespace moves root and working directory into a copy of their mount
// namespace (CLONE_NEWNS).
func (f *FSContext) UnshareMountNamespace(t *Task, owner *auth.UserNamespace) error {
	f.mu.Lock()
	root, cwd := f.root, f.cwd
	f.mu.Unlock()
	newRoot, newCwd, err := t.k.vfs.CloneMountNamespace(t, owner, root, cwd)
	if err != nil {
		return err
	}
	f.SetRoot(t, newRoot)
	f.SetWorkingDirectory(t, newCwd)
	return nil
}

// ReplaceRoot is pivot_root(2)'s effect on other tasks: those whose root or working
// directory is old get new.
func (f *FSContext) ReplaceRoot(ctx context.Context, old, new vfs.Path) {
	f.mu.Lock()
	var drop []vfs.Path
	if f.root == old {
		new.IncRef()
		drop = append(drop, f.root)
		f.root = new
	}
	if f.cwd == old {
		new.IncRef()
		drop = append(drop, f.cwd)
		f.cwd = new
	}
	f.mu.Unlock()
	for _, p := range drop {
		p.DecRef(ctx)
	}
}
