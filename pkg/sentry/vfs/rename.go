package vfs

import (
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
)

// RenameAt is renameat2(2).
func (v *VFS) RenameAt(ctx context.Context, from, to *PathOp, flags uint32) error {
	if flags&^(unix.RENAME_NOREPLACE|unix.RENAME_EXCHANGE|unix.RENAME_WHITEOUT) != 0 ||
		flags&unix.RENAME_EXCHANGE != 0 && flags&(unix.RENAME_NOREPLACE|unix.RENAME_WHITEOUT) != 0 {
		return unix.EINVAL
	}
	if flags&unix.RENAME_WHITEOUT != 0 && !ctx.Credentials().HasCapability(unix.CAP_MKNOD) {
		return unix.EPERM
	}
	r := renamer{from: v.newWalker(ctx, from), to: v.newWalker(ctx, to), flags: flags}
	for {
		err := r.once()
		r.from.release()
		r.to.release()
		if err != errRetry {
			return err
		}
		r.from.pinAll, r.to.pinAll = true, true
	}
}

type renamer struct {
	from, to walker
	flags    uint32

	name, newName     string
	slash, newSlash   bool
	dir, newDir       Directory
	parent, newParent *Dentry
	old, new          *Dentry // referenced; new is nil if the name is free
}

func (r *renamer) once() error {
	kind, name, slash, err := r.from.toParent()
	if err != nil {
		return err
	}
	newKind, newName, newSlash, err := r.to.toParent()
	if err != nil {
		return err
	}
	if kind != lastNormal || newKind != lastNormal {
		if newKind != lastNormal && kind == lastNormal && r.flags&unix.RENAME_NOREPLACE != 0 {
			return unix.EEXIST
		}
		return unix.EBUSY
	}
	m := r.from.cur.Mount
	if m != r.to.cur.Mount {
		return unix.EXDEV
	}
	if err := m.getWrite(); err != nil {
		return err
	}
	defer m.putWrite()
	r.name, r.slash, r.newName, r.newSlash = name, slash, newName, newSlash
	r.parent, r.newParent = r.from.cur.Dentry, r.to.cur.Dentry
	r.dir, r.newDir = r.parent.inode.(Directory), r.newParent.inode.(Directory)
	r.old, r.new = nil, nil

	unlock := lockTwo(m.sb, r.parent, r.newParent)
	done, err := r.locked()
	unlock()
	if done {
		r.notify()
	}
	ctx := r.from.ctx
	r.old.DecRef(ctx)
	r.new.DecRef(ctx)
	return err
}

// locked does the rename under the directories' locks; done is false if there was nothing
// to do.
func (r *renamer) locked() (done bool, err error) {
	ctx := r.from.ctx
	if r.old, err = r.from.lookupLocked(r.dir, r.name); err != nil {
		return false, err
	}
	r.new, err = r.to.lookupLocked(r.newDir, r.newName)
	if err != nil && err != unix.ENOENT {
		return false, err
	}
	if err := r.check(); err != nil {
		return false, err
	}
	if r.new != nil && r.new.inode == r.old.inode {
		return false, nil // two names of one file: rename(2) does nothing
	}
	sb := r.from.cur.Mount.sb
	sb.beginChange()
	defer sb.endChange()
	var replaced Inode
	if r.new != nil {
		replaced = r.new.inode
		if r.new.kids != nil && r.flags&unix.RENAME_EXCHANGE == 0 {
			b := replaced.Base()
			b.dirMu.Lock()
			defer b.dirMu.Unlock()
		}
	}
	if err := r.dir.Rename(ctx, r.name, r.old.inode, r.newDir, r.newName, replaced, r.flags); err != nil {
		return false, err
	}
	r.move()
	return true, nil
}

// check applies rename(2)'s rules to what was found.
func (r *renamer) check() error {
	exchange := r.flags&unix.RENAME_EXCHANGE != 0
	creds := r.from.creds
	oldDir := r.old.kids != nil
	newDir := r.new != nil && r.new.kids != nil
	switch {
	case r.new != nil && r.flags&unix.RENAME_NOREPLACE != 0:
		return unix.EEXIST
	case r.new == nil && exchange:
		return unix.ENOENT
	case exchange && !newDir && r.newSlash,
		!oldDir && (r.slash || !exchange && r.newSlash):
		return unix.ENOTDIR
	case r.old.isAncestorOf(r.newParent):
		return unix.EINVAL
	case r.new != nil && r.new.isAncestorOf(r.parent):
		if exchange {
			return unix.EINVAL
		}
		return unix.ENOTEMPTY
	case r.new != nil && r.new.inode == r.old.inode:
		return nil
	}
	if err := mayDelete(creds, r.dir, r.old); err != nil {
		return err
	}
	if r.new == nil {
		if err := mayCreate(creds, r.newDir); err != nil {
			return err
		}
	} else {
		if err := mayDelete(creds, r.newDir, r.new); err != nil {
			return err
		}
		if !exchange && oldDir && !newDir {
			return unix.ENOTDIR
		}
		if !exchange && !oldDir && newDir {
			return unix.EISDIR
		}
	}
	if r.dir != r.newDir { // ".." of a directory that moves is written
		if oldDir {
			if err := CheckPermission(creds, r.old.inode, MayWrite); err != nil {
				return err
			}
		}
		if exchange && newDir {
			if err := CheckPermission(creds, r.new.inode, MayWrite); err != nil {
				return err
			}
		}
	}
	if r.old.mounts.Load() != nil || r.new != nil && r.new.mounts.Load() != nil {
		return unix.EBUSY
	}
	return nil
}

// move does to the dentries what the filesystem did to the names.
func (r *renamer) move() {
	v, ctx := r.from.v, r.from.ctx
	name, newName := r.name, r.newName
	if r.flags&unix.RENAME_EXCHANGE != 0 {
		v.moveMu.Lock()
		v.renameSeq.Add(1)
		a, b := r.old.loc.Load(), r.new.loc.Load()
		r.old.loc.Store(b)
		r.new.loc.Store(a)
		v.renameSeq.Add(1)
		v.moveMu.Unlock()
		// Each took over the other's reference on its parent.
		oldHashed, newHashed := r.old.has(dentryHashed), r.new.has(dentryHashed)
		if oldHashed {
			r.parent.kids.remove(a.name, r.old)
		}
		if newHashed {
			r.newParent.kids.remove(b.name, r.new)
		}
		if oldHashed {
			r.newParent.kids.insert(b.name, r.old)
		}
		if newHashed {
			r.parent.kids.insert(a.name, r.new)
		}
		return
	}
	if r.new != nil {
		r.new.flags.Or(dentryDeleted)
		if r.new.kids != nil {
			r.new.inode.Base().dead.Store(true)
		}
	}
	hashed := r.old.has(dentryHashed)
	if hashed {
		r.from.nameFreed(r.parent, r.dir, r.old)
	}
	if r.flags&unix.RENAME_WHITEOUT != 0 {
		if d := r.parent.kids.find(name); d != nil {
			r.parent.kids.remove(name, d)
			d.forget(ctx)
		}
	}
	newName = strings.Clone(newName)
	r.newParent.IncRef()
	v.moveMu.Lock()
	v.renameSeq.Add(1)
	r.old.loc.Store(&location{r.newParent, newName})
	v.renameSeq.Add(1)
	v.moveMu.Unlock()
	if hashed {
		if repl := r.newParent.kids.insert(newName, r.old); repl != nil && repl != r.new {
			repl.forget(ctx)
		}
	}
	r.parent.DecRef(ctx)
}

func (r *renamer) notify() {
	v := r.from.v
	exchange := r.flags&unix.RENAME_EXCHANGE != 0
	one := func(d, parent, newParent *Dentry, name, newName string) {
		var dir uint32
		if d.kids != nil {
			dir = unix.IN_ISDIR
		}
		cookie := v.inotifyIDs.Add(1)
		notifyName(parent, unix.IN_MOVED_FROM|dir, cookie, name)
		notifyName(newParent, unix.IN_MOVED_TO|dir, cookie, newName)
		notifyInode(d.inode, unix.IN_MOVE_SELF)
	}
	one(r.old, r.parent, r.newParent, r.name, r.newName)
	if exchange {
		one(r.new, r.newParent, r.parent, r.newName, r.name)
	} else if r.new != nil {
		r.new.evictBelow(r.from.ctx)
		notifyInode(r.new.inode, unix.IN_ATTRIB)
	}
}
