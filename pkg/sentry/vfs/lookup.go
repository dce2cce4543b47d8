package vfs

import (
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
)

// What a walker does in one directory: the cache, and the filesystem behind it.

// lookup finds the child of the current directory. The dentry is positive. ref says whether
// it comes with a reference; then the current place is held.
func (w *walker) lookup(name string) (d *Dentry, ref bool, err error) {
	dir := w.cur.Dentry.inode.(Directory)
	switch dir.Caching() {
	case CacheAll:
		d = w.cur.Dentry.kids.find(name)
		if d == nil {
			break
		}
		if d.inode == nil {
			return nil, false, unix.ENOENT
		}
		if !w.pinAll {
			return d, false, nil
		}
		if err := w.pin(); err != nil {
			return nil, false, err
		}
		if d.tryIncRef() {
			return d, true, nil
		}
	case CacheRevalidate:
		if w.valid > 0 {
			w.valid--
			if d = w.cur.Dentry.kids.find(name); d != nil && d.inode != nil {
				if !w.pinAll {
					return d, false, nil
				}
				if err := w.pin(); err != nil {
					return nil, false, err
				}
				if d.tryIncRef() {
					return d, true, nil
				}
			}
		}
	}
	if w.op.Resolve&resolveCached != 0 {
		return nil, false, unix.EAGAIN
	}
	if err := w.pin(); err != nil {
		return nil, false, err
	}
	b := dir.Base()
	b.dirMu.RLock()
	d, err = w.lookupLocked(dir, name)
	b.dirMu.RUnlock()
	return d, true, err
}

// lookupLocked finds the child with the current directory pinned and its dirMu held, shared
// or not. The dentry, which is positive, comes with a reference.
func (w *walker) lookupLocked(dir Directory, name string) (*Dentry, error) {
	parent := w.cur.Dentry
	d := parent.kids.find(name)
	if d != nil && !d.tryIncRef() {
		d = nil
	}
	switch dir.Caching() {
	case CacheNone:
		if d != nil {
			if d.mounts.Load() != nil {
				return d, nil // stays while something is mounted on it
			}
			d.DecRef(w.ctx)
		}
		inode, err := dir.Lookup(w.ctx, name)
		if err != nil {
			return nil, err
		}
		return newDentry(&w.v.cache, parent, name, inode), nil
	case CacheRevalidate:
		if d != nil {
			ok, err := w.revalidate(dir, name, d)
			if err != nil || !ok {
				if err == nil && d.mounts.Load() == nil {
					parent.kids.remove(name, d)
				} else if err == nil {
					return d, nil
				}
				d.DecRef(w.ctx)
				if err != nil {
					return nil, err
				}
				d = nil
			}
		}
	}
	if d == nil {
		return w.lookupMiss(dir, name)
	}
	if d.inode == nil {
		d.DecRef(w.ctx)
		return nil, unix.ENOENT
	}
	return d, nil
}

// mayBeFree says that name of the current directory may be made without being looked up first: the
// filesystem has to be asked in any case (CacheRevalidate), refuses to make what exists, and no
// other error would come before that one.
func (w *walker) mayBeFree(dir Directory, name string) bool {
	if dir.Caching() != CacheRevalidate || w.op.Resolve&resolveCached != 0 || len(name) > NameMax || w.slash {
		return false
	}
	if d := w.cur.Dentry.kids.find(name); d != nil && d.inode != nil {
		return false
	}
	return !w.cur.Mount.ReadOnly() && mayCreate(w.creds, dir) == nil
}

// lookupToMake is lookupLocked for a name that is made next if the error is ENOENT.
func (w *walker) lookupToMake(dir Directory, name string) (*Dentry, error) {
	if w.mayBeFree(dir, name) {
		return nil, unix.ENOENT
	}
	return w.lookupLocked(dir, name)
}

// lookupMiss asks the filesystem, for all of the remaining path at once if it can, and caches
// the answers. The current directory's dirMu is held.
func (w *walker) lookupMiss(dir Directory, name string) (*Dentry, error) {
	parent := w.cur.Dentry
	if bl, ok := dir.(BatchLooker); ok {
		if names := w.plainNames(name); len(names) > 1 {
			return w.lookupBatch(bl, names)
		}
	}
	inode, err := dir.Lookup(w.ctx, name)
	if err != nil && err != unix.ENOENT {
		return nil, err
	}
	if err != nil && dir.Caching() != CacheAll {
		return nil, err
	}
	d, err2 := w.addChild(parent, name, inode)
	if err == nil {
		err = err2
	}
	return d, err
}

// addChild caches inode (nil: the name is free), whose reference it takes over, as parent's
// child and returns its dentry with a reference; ENOENT if there is none.
func (w *walker) addChild(parent *Dentry, name string, inode Inode) (*Dentry, error) {
	d := newDentry(&w.v.cache, parent, strings.Clone(name), inode)
	existing, replaced := parent.kids.insertOrGet(d.Name(), d)
	if existing != nil {
		d.DecRef(w.ctx)
		d = existing
	} else if replaced != nil {
		replaced.forget(w.ctx)
	}
	if d.inode == nil {
		d.DecRef(w.ctx)
		return nil, unix.ENOENT
	}
	return d, nil
}

// plainNames are name and those components of rest that can be looked up without leaving
// the filesystem; "." and ".." end them. The last component of the pathname is one of them.
func (w *walker) plainNames(name string) []string {
	names := make([]string, 1, 8)
	names[0] = name
	rest := w.rest
	for rest != "" && len(names) < 16 {
		n, r, _ := strings.Cut(rest, "/")
		rest = r
		if n == "" {
			continue
		}
		if n == "." || n == ".." || len(n) > NameMax {
			break
		}
		names = append(names, n)
	}
	return names
}

// lookupBatch looks names up below the current directory, whose dirMu is held, and returns
// the dentry of the first. Those below are cached if nothing changed meanwhile in the
// filesystem: their directories were not locked.
func (w *walker) lookupBatch(bl BatchLooker, names []string) (*Dentry, error) {
	sb := w.cur.Mount.sb
	before := sb.changes.Load()
	inodes, err := bl.LookupPath(w.ctx, names)
	if err != nil && (err != unix.ENOENT || len(inodes) > 0) {
		for _, i := range inodes {
			PutInode(w.ctx, i)
		}
		return nil, err
	}
	dir := w.cur.Dentry.inode.(Directory)
	if len(inodes) == 0 {
		if dir.Caching() != CacheAll {
			return nil, unix.ENOENT
		}
		return w.addChild(w.cur.Dentry, names[0], nil)
	}
	first, err := w.addChild(w.cur.Dentry, names[0], inodes[0])
	parent := first
	valid := 0
	for n, i := range inodes[1:] {
		if err != nil || parent.kids == nil {
			PutInode(w.ctx, i)
			continue
		}
		b := parent.inode.Base()
		b.dirMu.RLock()
		if parent.inode != inodes[n] || sb.changing.Load() != 0 || sb.changes.Load() != before {
			b.dirMu.RUnlock()
			PutInode(w.ctx, i)
			err = errRetry
			continue
		}
		var d *Dentry
		d, err = w.addChild(parent, names[n+1], i)
		b.dirMu.RUnlock()
		if parent != first {
			parent.DecRef(w.ctx)
		}
		if parent = d; d == nil {
			parent = first
		} else {
			valid++
		}
	}
	if err == nil && len(inodes) < len(names) && parent.kids != nil && dir.Caching() == CacheAll {
		b := parent.inode.Base()
		b.dirMu.RLock()
		if sb.changing.Load() == 0 && sb.changes.Load() == before {
			w.addChild(parent, names[len(inodes)], nil)
		}
		b.dirMu.RUnlock()
	}
	if parent != first && parent != nil {
		parent.DecRef(w.ctx)
	}
	if first != nil && dir.Caching() == CacheRevalidate {
		w.valid = valid
	}
	if first == nil {
		return nil, err
	}
	return first, nil
}

// BatchRevalidator is implemented by directories with CacheRevalidate that can revalidate a
// chain in one round trip: names[0] in the directory still leads to children[0], names[1] in
// that to children[1] and so on. It returns how many of them do, from the first on, and
// refreshes their attributes.
type BatchRevalidator interface {
	RevalidatePath(ctx context.Context, names []string, children []Inode) (int, error)
}

// revalidate asks whether the cached child d is still right, and looks ahead if it can. The
// current directory's dirMu is held, d is referenced.
func (w *walker) revalidate(dir Directory, name string, d *Dentry) (bool, error) {
	if br, ok := dir.(BatchRevalidator); ok && d.inode != nil && w.rest != "" {
		names := w.plainNames(name)
		chain := make([]*Dentry, 1, len(names))
		inodes := make([]Inode, 1, len(names))
		chain[0], inodes[0] = d, d.inode
		for _, n := range names[1:] {
			last := chain[len(chain)-1]
			if last.kids == nil || last.mounts.Load() != nil {
				break
			}
			c := last.kids.find(n)
			if c == nil || c.inode == nil || !c.tryIncRef() {
				break
			}
			chain, inodes = append(chain, c), append(inodes, c.inode)
		}
		n, err := br.RevalidatePath(w.ctx, names[:len(chain)], inodes)
		for _, c := range chain[1:] {
			c.DecRef(w.ctx)
		}
		if err != nil {
			return false, err
		}
		w.valid = max(n-1, 0)
		return n > 0, nil
	}
	if r, ok := dir.(Revalidator); ok {
		return r.Revalidate(w.ctx, name, d.inode)
	}
	return false, nil
}
