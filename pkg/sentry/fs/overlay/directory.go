package overlay

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/vfs"
)

// directory is a directory of one or more layers.
type directory struct{ node }

// asNode is the node of an inode of this filesystem.
func asNode(i vfs.Inode) *node { return i.(interface{ overlay() *node }).overlay() }

// isWhiteout says whether i hides a name of lower layers.
func isWhiteout(i vfs.Inode) bool {
	if mode, _, _ := i.Owner(); mode&unix.S_IFMT != unix.S_IFCHR {
		return false
	}
	a, err := i.Stat(kernel)
	return err == nil && a.Rdev == 0
}

func isOpaque(i vfs.Inode) bool {
	x, ok := i.(vfs.Xattrs)
	if !ok {
		return false
	}
	v, err := x.GetXattr(kernel, opaqueXattr)
	return err == nil && v == "y"
}

// Caching implements vfs.Directory.
func (d *directory) Caching() vfs.Caching { return vfs.CacheAll }

// Lookup implements vfs.Directory.
func (d *directory) Lookup(ctx context.Context, name string) (vfs.Inode, error) {
	n, err := d.lookup(ctx, name)
	if err != nil {
		return nil, err
	}
	return n.self, nil
}

func (d *directory) lookup(ctx context.Context, name string) (*node, error) {
	var upper vfs.Inode
	if u := d.upperDir(); u != nil {
		i, err := u.Lookup(ctx, name)
		if err == nil {
			if n := d.fs.find(i); n != nil {
				vfs.PutInode(ctx, i)
				return n, nil
			}
			if isWhiteout(i) {
				vfs.PutInode(ctx, i)
				return nil, unix.ENOENT
			}
			upper = i
		} else if err != unix.ENOENT {
			return nil, err
		}
	}
	if upper != nil {
		// Made before the overlay was: an upper filesystem that was used before.
		if _, dir := upper.(vfs.Directory); !dir || isOpaque(upper) {
			return d.known(ctx, d.fs.newNode(upper, nil, nil, &d.node, name), upper), nil
		}
		lowers, other, err := lookupLowers(ctx, d.lowers, name)
		if err != nil {
			vfs.PutInode(ctx, upper)
			return nil, err
		}
		if other != nil {
			vfs.PutInode(ctx, other)
		}
		return d.known(ctx, d.fs.newNode(upper, nil, lowers, &d.node, name), upper), nil
	}
	lowers, other, err := lookupLowers(ctx, d.lowers, name)
	switch {
	case err != nil:
		return nil, err
	case other != nil:
		return d.wrapLower(ctx, other, name), nil
	case len(lowers) > 0:
		return d.fs.newNode(nil, nil, lowers, &d.node, name), nil
	}
	return nil, unix.ENOENT
}

// known puts n into the table of upper nodes, or returns the one that is there.
func (d *directory) known(ctx context.Context, n *node, upper vfs.Inode) *node {
	if o := d.fs.remember(n, upper); o != nil {
		vfs.PutInode(ctx, n.self)
		return o
	}
	return n
}

// wrapLower makes a node of a lower object that is no directory, whose reference it takes
// over. A file with several names has one node.
func (d *directory) wrapLower(ctx context.Context, i vfs.Inode, name string) *node {
	a, err := i.Stat(ctx)
	if err != nil || a.Nlink <= 1 {
		return d.fs.newNode(nil, i, nil, &d.node, name)
	}
	n := d.fs.newNode(nil, i, nil, &d.node, name)
	d.fs.mu.Lock()
	if o := d.fs.linked[n.origin]; o != nil && o.TryIncRef() {
		d.fs.mu.Unlock()
		vfs.PutInode(ctx, n.self)
		return o
	}
	if d.fs.linked != nil {
		d.fs.linked[n.origin] = n
	}
	d.fs.mu.Unlock()
	return n
}

// lookupLowers looks name up in layers: the directories of that name, topmost first, or else
// the topmost object of another kind. Whiteouts and opaque directories end the search.
func lookupLowers(ctx context.Context, layers []vfs.Directory, name string) (dirs []vfs.Directory, other vfs.Inode, err error) {
	for _, l := range layers {
		i, err := l.Lookup(ctx, name)
		if err == unix.ENOENT {
			continue
		}
		if err != nil {
			for _, d := range dirs {
				vfs.PutInode(ctx, d)
			}
			return nil, nil, err
		}
		d, ok := i.(vfs.Directory)
		if !ok {
			if len(dirs) > 0 || isWhiteout(i) {
				vfs.PutInode(ctx, i)
				return dirs, nil, nil
			}
			return nil, i, nil
		}
		dirs = append(dirs, d)
		if len(layers) > 1 && isOpaque(i) {
			break
		}
	}
	return dirs, nil, nil
}

// LookupPath implements vfs.BatchLooker: below a directory of one lower layer, one trip.
func (d *directory) LookupPath(ctx context.Context, names []string) ([]vfs.Inode, error) {
	if bl, ok := d.onlyLower(); ok {
		lowers, err := bl.LookupPath(ctx, names)
		out := make([]vfs.Inode, 0, len(lowers))
		at := d
		for n, i := range lowers {
			var child *node
			if dir, ok := i.(vfs.Directory); ok {
				child = d.fs.newNode(nil, nil, []vfs.Directory{dir}, &at.node, names[n])
			} else {
				child = at.wrapLower(ctx, i, names[n])
			}
			out = append(out, child.self)
			if at, ok = child.self.(*directory); !ok {
				for _, i := range lowers[n+1:] {
					vfs.PutInode(ctx, i)
				}
				break
			}
		}
		return out, err
	}
	var out []vfs.Inode
	at := d
	for _, name := range names {
		n, err := at.lookup(ctx, name)
		if err == unix.ENOENT {
			return out, nil
		}
		if err != nil {
			if len(out) > 0 {
				return out, nil // vfs asks again where it matters
			}
			return nil, err
		}
		out = append(out, n.self)
		var ok bool
		if at, ok = n.self.(*directory); !ok {
			break
		}
	}
	return out, nil
}

func (d *directory) onlyLower() (vfs.BatchLooker, bool) {
	if d.upper.Load() != nil || len(d.lowers) != 1 {
		return nil, false
	}
	bl, ok := d.lowers[0].(vfs.BatchLooker)
	return bl, ok
}

// lowerHas says whether a layer below has something called name that a removal must hide.
func (d *directory) lowerHas(ctx context.Context, name string) (bool, error) {
	dirs, other, err := lookupLowers(ctx, d.lowers, name)
	for _, i := range dirs {
		vfs.PutInode(ctx, i)
	}
	if other != nil {
		vfs.PutInode(ctx, other)
	}
	return len(dirs) > 0 || other != nil, err
}

// uncover removes a whiteout called name from the upper directory, if there is one. upMu is
// held.
func (d *directory) uncover(ctx context.Context, name string) (was bool, err error) {
	u := d.upperDir()
	i, err := u.Lookup(ctx, name)
	if err == unix.ENOENT {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer vfs.PutInode(ctx, i)
	if !isWhiteout(i) {
		return false, unix.EEXIST
	}
	return true, u.Unlink(kernel, name, i)
}

// cover makes a whiteout called name. upMu is held.
func (d *directory) cover(name string) error {
	i, err := d.upperDir().Mknod(kernel, name, vfs.NewOwner{Mode: unix.S_IFCHR}, 0)
	if err == nil {
		vfs.PutInode(kernel, i)
	}
	return err
}

// add makes a new object called name by make.
func (d *directory) add(ctx context.Context, name string, make func(u vfs.Directory) (vfs.Inode, error)) (vfs.Inode, error) {
	if err := d.copyUp(false); err != nil {
		return nil, err
	}
	d.upMu.Lock()
	defer d.upMu.Unlock()
	was, err := d.uncover(ctx, name)
	if err != nil {
		return nil, err
	}
	u := d.upperDir()
	i, err := make(u)
	if err != nil {
		if was {
			d.cover(name)
		}
		return nil, err
	}
	if _, dir := i.(vfs.Directory); dir && (was || len(d.lowers) > 0) {
		if x, ok := i.(vfs.Xattrs); ok {
			x.SetXattr(kernel, opaqueXattr, "y", 0) // Linux's mark; we know it by the node
		}
	}
	n := d.fs.newNode(i, nil, nil, &d.node, name)
	d.fs.remember(n, i)
	return n.self, nil
}

// Create implements vfs.Directory.
func (d *directory) Create(ctx context.Context, name string, o vfs.NewOwner) (vfs.Inode, error) {
	return d.add(ctx, name, func(u vfs.Directory) (vfs.Inode, error) { return u.Create(ctx, name, o) })
}

// Mkdir implements vfs.Directory.
func (d *directory) Mkdir(ctx context.Context, name string, o vfs.NewOwner) (vfs.Inode, error) {
	return d.add(ctx, name, func(u vfs.Directory) (vfs.Inode, error) { return u.Mkdir(ctx, name, o) })
}

// Mknod implements vfs.Directory.
func (d *directory) Mknod(ctx context.Context, name string, o vfs.NewOwner, rdev uint64) (vfs.Inode, error) {
	if o.Mode&unix.S_IFMT == unix.S_IFCHR && rdev == 0 {
		return nil, unix.EPERM // it would be a whiteout
	}
	return d.add(ctx, name, func(u vfs.Directory) (vfs.Inode, error) { return u.Mknod(ctx, name, o, rdev) })
}

// Symlink implements vfs.Directory.
func (d *directory) Symlink(ctx context.Context, name, target string, o vfs.NewOwner) (vfs.Inode, error) {
	return d.add(ctx, name, func(u vfs.Directory) (vfs.Inode, error) { return u.Symlink(ctx, name, target, o) })
}

// Tmpfile implements vfs.TmpfileDirectory.
func (d *directory) Tmpfile(ctx context.Context, o vfs.NewOwner) (vfs.Inode, error) {
	if err := d.copyUp(false); err != nil {
		return nil, err
	}
	t, ok := d.upperDir().(vfs.TmpfileDirectory)
	if !ok {
		return nil, unix.EOPNOTSUPP
	}
	i, err := t.Tmpfile(ctx, o)
	if err != nil {
		return nil, err
	}
	return d.fs.newNode(i, nil, nil, nil, "").self, nil
}

// Link implements vfs.Directory.
func (d *directory) Link(ctx context.Context, name string, target vfs.Inode) error {
	t := asNode(target)
	if err := t.copyUp(false); err != nil {
		return err
	}
	if err := d.copyUp(false); err != nil {
		return err
	}
	t.copyMu.Lock()
	defer t.copyMu.Unlock()
	d.upMu.Lock()
	defer d.upMu.Unlock()
	was, err := d.uncover(ctx, name)
	if err != nil {
		return err
	}
	u := t.upper.Load().inode
	if err := d.upperDir().Link(ctx, name, u); err != nil {
		if was {
			d.cover(name)
		}
		return err
	}
	if o := d.fs.remember(t, u); o != nil {
		vfs.PutInode(ctx, o.self)
	}
	return nil
}

// Unlink implements vfs.Directory.
func (d *directory) Unlink(ctx context.Context, name string, child vfs.Inode) error {
	return d.remove(ctx, name, asNode(child), false)
}

// Rmdir implements vfs.Directory.
func (d *directory) Rmdir(ctx context.Context, name string, child vfs.Inode) error {
	return d.remove(ctx, name, asNode(child), true)
}

func (d *directory) remove(ctx context.Context, name string, c *node, dir bool) error {
	hide, err := d.lowerHas(ctx, name)
	if err != nil {
		return err
	}
	if err := d.copyUp(false); err != nil { // EROFS; or a place for the whiteout
		return err
	}
	var drop dropped
	defer drop.put(ctx)
	c.copyMu.Lock()
	defer c.copyMu.Unlock()
	if dir {
		if empty, err := c.self.(*directory).isEmpty(ctx); err != nil {
			return err
		} else if !empty {
			return unix.ENOTEMPTY
		}
	}
	d.upMu.Lock()
	defer d.upMu.Unlock()
	removed, err := d.removeUpper(ctx, name, c, dir)
	if err != nil {
		return err
	}
	if hide {
		if err := d.cover(name); err != nil {
			return err
		}
	}
	d.lost(ctx, name, c, removed, &drop)
	return nil
}

// removeUpper removes name from the upper directory if c has it there, and says whether it
// had: a lower file that was copied up may have other names in lower layers. c.copyMu and
// d.upMu are held.
func (d *directory) removeUpper(ctx context.Context, name string, c *node, dir bool) (bool, error) {
	u := c.upper.Load()
	if u == nil {
		return false, nil
	}
	i, err := d.upperDir().Lookup(ctx, name)
	if err == unix.ENOENT {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	vfs.PutInode(ctx, i)
	if i != u.inode {
		return false, nil
	}
	if !dir {
		return true, d.upperDir().Unlink(ctx, name, u.inode)
	}
	if err := c.removeWhiteouts(ctx); err != nil {
		return false, err
	}
	return true, d.upperDir().Rmdir(ctx, name, u.inode)
}

// dropped are references to be dropped without locks.
type dropped []vfs.Inode

func (d *dropped) put(ctx context.Context) {
	for _, i := range *d {
		vfs.PutInode(ctx, i)
	}
}

// lost is called when c is no longer called name in d, where the upper layer had the name
// if upper is set. If it was the only one, c leaves the tables. c.copyMu is held.
func (d *directory) lost(ctx context.Context, name string, c *node, upper bool, drop *dropped) {
	if p := c.loc.Load(); p != nil && p.parent == &d.node && p.name == name {
		if old := c.moveTo(nil); old != nil {
			*drop = append(*drop, old.self)
		}
	}
	u := c.upper.Load()
	if u == nil {
		return
	}
	if !upper && c.extraLinks.Load() > 0 {
		c.extraLinks.Add(-1)
	}
	if u.dir == nil {
		if a, err := u.inode.Stat(ctx); err != nil || a.Nlink > 0 || c.extraLinks.Load() > 0 {
			return
		}
	}
	if d.fs.forget(c, u.inode) {
		*drop = append(*drop, c.self)
	}
}

// ensureName gives the copied-up c its name in the upper directory: a copy gets only the
// name that the file was found by first. c.copyMu and d.upMu are held.
func (d *directory) ensureName(ctx context.Context, name string, c *node) error {
	i, err := d.upperDir().Lookup(ctx, name)
	if err == nil {
		vfs.PutInode(ctx, i)
		return nil
	}
	if err != unix.ENOENT {
		return err
	}
	if err := d.upperDir().Link(kernel, name, c.upper.Load().inode); err != nil {
		return err
	}
	if c.extraLinks.Load() > 0 {
		c.extraLinks.Add(-1)
	}
	return nil
}

// lockNodes locks the copyMu of up to two nodes, which may be nil or the same.
func lockNodes(a, b *node) (unlock func()) {
	if a == b || b == nil {
		a.copyMu.Lock()
		return a.copyMu.Unlock
	}
	if uintptr(unsafe.Pointer(a)) > uintptr(unsafe.Pointer(b)) {
		a, b = b, a
	}
	a.copyMu.Lock()
	b.copyMu.Lock()
	return func() { b.copyMu.Unlock(); a.copyMu.Unlock() }
}

func lockUpper(a, b *node) (unlock func()) {
	if a == b {
		a.upMu.Lock()
		return a.upMu.Unlock
	}
	if uintptr(unsafe.Pointer(a)) > uintptr(unsafe.Pointer(b)) {
		a, b = b, a
	}
	a.upMu.Lock()
	b.upMu.Lock()
	return func() { b.upMu.Unlock(); a.upMu.Unlock() }
}

// Rename implements vfs.Directory.
func (d *directory) Rename(ctx context.Context, name string, child vfs.Inode, newDir vfs.Directory, newName string, replaced vfs.Inode, flags uint32) error {
	if flags&unix.RENAME_WHITEOUT != 0 {
		return unix.EINVAL
	}
	nd := newDir.(*directory)
	c := asNode(child)
	exchange := flags&unix.RENAME_EXCHANGE != 0
	var r *node
	up := []*node{&d.node, &nd.node, c}
	if replaced != nil {
		if r = asNode(replaced); exchange {
			up = append(up, r)
		}
	}
	for _, n := range up {
		if err := n.copyUp(false); err != nil {
			return err
		}
	}
	hide, err := d.lowerHas(ctx, name)
	if err != nil {
		return err
	}
	var drop dropped
	defer drop.put(ctx)
	unlockNodes := lockNodes(c, r)
	defer unlockNodes()
	rdir, _ := replaced.(*directory)
	if rdir != nil && !exchange {
		if empty, err := rdir.isEmpty(ctx); err != nil {
			return err
		} else if !empty {
			return unix.ENOTEMPTY
		}
	}
	unlockUpper := lockUpper(&d.node, &nd.node)
	defer unlockUpper()

	cu := c.upper.Load().inode
	if err := d.ensureName(ctx, name, c); err != nil {
		return err
	}
	if exchange {
		if err := nd.ensureName(ctx, newName, r); err != nil {
			return err
		}
		if err := d.upperDir().Rename(ctx, name, cu, nd.upperDir(), newName, r.upper.Load().inode, flags); err != nil {
			return err
		}
		for _, m := range []struct {
			n *node
			p place
		}{{c, place{&nd.node, newName}}, {r, place{&d.node, name}}} {
			if old := m.n.moveTo(&m.p); old != nil {
				drop = append(drop, old.self)
			}
		}
		return nil
	}
	// What is in the way: the replaced object's upper inode, or a whiteout.
	var upperReplaced vfs.Inode
	if r != nil {
		if u := r.upper.Load(); u != nil {
			if i, err := nd.upperDir().Lookup(ctx, newName); err == nil {
				if i == u.inode {
					upperReplaced = u.inode
				}
				vfs.PutInode(ctx, i)
			}
			if rdir != nil && upperReplaced != nil {
				if err := r.removeWhiteouts(ctx); err != nil {
					return err
				}
			}
		}
	}
	if upperReplaced == nil {
		if _, err := nd.uncover(ctx, newName); err != nil {
			return err
		}
	}
	if err := d.upperDir().Rename(ctx, name, cu, nd.upperDir(), newName, upperReplaced, flags&^unix.RENAME_NOREPLACE); err != nil {
		return err
	}
	if hide {
		if err := d.cover(name); err != nil {
			return err
		}
	}
	if r != nil {
		nd.lost(ctx, newName, r, upperReplaced != nil, &drop)
	}
	if old := c.moveTo(&place{&nd.node, newName}); old != nil {
		drop = append(drop, old.self)
	}
	return nil
}
