package gofer

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/p9"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/vfs"
)

// A directory in which several names were looked up in vain by the dentry cache is listed as a
// whole, with attributes, in one or two round trips: the next lookups (of a program that
// stats every file, or that tries names along a search path) need none, whether the name is
// there or not. Only in exclusive mode can that be.

const (
	// listAfter is how many lookups make a listing worth while.
	listAfter = 3

	// maxListing bounds the entries of one listing, maxListed those of all.
	maxListing = 8192
	maxListed  = 256 << 10
)

// listing is what is in a directory. It is never wrong about names, because every change of
// ours is noted; attributes hold as long as the epoch does.
type listing struct {
	epoch   uint64
	entries map[string]*p9.Attr // nil: there is such a file
}

// lookupListed answers a lookup from the listing: with the inode, or with ENOENT. No inode and
// no error mean that the gofer must be asked.
func (d *directory) lookupListed(name string) (vfs.Inode, error) {
	if d.fs.shared {
		return nil, nil
	}
	d.listMu.Lock()
	defer d.listMu.Unlock()
	for {
		if d.list != nil {
			a, exists := d.list.entries[name]
			if !exists {
				return nil, unix.ENOENT
			}
			if a != nil {
				if i := d.fs.adoptListed(d, name, a, d.list.epoch); i != nil {
					return i, nil
				}
			}
		}
		d.misses++
		enough := listAfter
		if d.list != nil {
			enough = max(listAfter, len(d.list.entries)/16)
		}
		if d.misses <= enough || d.large {
			return nil, nil
		}
		if !d.makeListLocked() {
			return nil, nil
		}
	}
}

// makeListLocked makes the listing. The directory does not change meanwhile: the caller, a
// lookup, holds its InodeBase.dirMu, besides listMu.
func (d *directory) makeListLocked() bool {
	d.dropListLocked()
	d.misses = 0
	file, err := d.fid()
	if err != nil {
		return false
	}
	l := &listing{epoch: d.fs.epoch.Load(), entries: map[string]*p9.Attr{}}
	h, host, err := file.Open(unix.O_RDONLY | unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	if host != nil {
		host.Close()
	}
	defer h.Close()
	seen := 0
	for offset, eof := uint64(0), false; !eof; {
		var entries []p9.Dirent
		var attrs []p9.Attr
		entries, attrs, eof, err = h.ReadDirPlus(offset, nil, nil)
		if err != nil {
			return false
		}
		for i := range entries {
			e := &entries[i]
			offset = e.Offset
			if e.Name == "." || e.Name == ".." {
				continue
			}
			l.entries[e.Name] = nil
			if attrs[i].Valid != 0 {
				l.entries[e.Name] = &attrs[i]
			}
		}
		if seen += len(entries); seen > maxListing {
			d.large = true
			return false
		}
	}
	d.list = l
	if d.fs.listed.Add(int64(len(l.entries))) > maxListed {
		d.fs.dropListings(d)
	}
	return true
}

// dropListLocked forgets the listing. The caller holds listMu.
func (d *directory) dropListLocked() {
	if d.list != nil {
		d.fs.listed.Add(-int64(len(d.list.entries)))
		d.list = nil
	}
}

// dropListings forgets all listings but that of keep, except where somebody is just using one.
func (fs *Filesystem) dropListings(keep *directory) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, n := range fs.inodes {
		if d, ok := n.(*directory); ok && d != keep && d.listMu.TryLock() {
			d.dropListLocked()
			d.misses = 0
			d.listMu.Unlock()
		}
	}
}

// nameChanged notes in the listing that a name was made or removed, or that this failed with
// err. The caller holds the directory's InodeBase.dirMu.
func (d *directory) nameChanged(name string, exists bool, err error) {
	d.listMu.Lock()
	defer d.listMu.Unlock()
	if d.list == nil {
		return
	}
	if err != nil {
		d.dropListLocked() // whatever it was that surprised us
		return
	}
	_, existed := d.list.entries[name]
	switch {
	case exists:
		d.list.entries[name] = nil
		if !existed {
			d.fs.listed.Add(1)
		}
	case existed:
		delete(d.list.entries, name)
		d.fs.listed.Add(-1)
	}
}

// Release implements vfs.Inode.
func (d *directory) Release(ctx context.Context) {
	d.listMu.Lock()
	d.dropListLocked()
	d.listMu.Unlock()
	d.inode.Release(ctx)
}
