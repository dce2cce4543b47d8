package vfs

import "runsc/pkg/sentry/context"

// Path is a place in a mount tree: a dentry seen through a mount. Variables of type Path
// that outlive a function hold a reference on both.
type Path struct {
	Mount  *Mount
	Dentry *Dentry
}

// Ok says whether the path leads anywhere; the zero Path does not.
func (p Path) Ok() bool { return p.Dentry != nil }

// Inode is the object at the place.
func (p Path) Inode() Inode { return p.Dentry.inode }

// IncRef adds a reference on mount and dentry; the caller has one.
func (p Path) IncRef() {
	if p.Dentry != nil {
		p.Mount.IncRef()
		p.Dentry.IncRef()
	}
}

// tryIncRef adds a reference unless mount or dentry are gone.
func (p Path) tryIncRef(ctx context.Context) bool {
	if !p.Mount.tryIncRef() {
		return false
	}
	if !p.Dentry.tryIncRef() {
		p.Mount.DecRef(ctx)
		return false
	}
	return true
}

// DecRef drops a reference on mount and dentry.
func (p Path) DecRef(ctx context.Context) {
	if p.Dentry != nil {
		p.Dentry.DecRef(ctx)
		p.Mount.DecRef(ctx)
	}
}
