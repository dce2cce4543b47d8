package vfs

import (
	"sync"
	"sync/atomic"

	"runsc/pkg/sentry/context"
)

// Dentry is a name in a directory, or the memory that there is none (negative, inode nil).
// Which inode it stands for never changes; what changes is where it hangs.
//
// A dentry is referenced by Paths, by open files and by its cached children. When the
// last reference goes, it stays in the cache's list if a walk can still find it (it is
// hashed in its parent), else it dies and lets go of its inode and its parent.
type Dentry struct {
	inode Inode

	// refs is deadRefs or less once the dentry is dying; such a dentry is never
	// referenced again.
	refs atomic.Int64

	// loc is where the dentry hangs; it changes by rename, under both directories'
	// dirMu and VFS.moveMu.
	loc atomic.Pointer[location]

	// mounts are those on top of the dentry, in any mount it is seen through; nil if
	// there are none. Changed under VFS.mountMu, copied on write.
	mounts atomic.Pointer[[]*Mount]

	flags atomic.Uint32 // dentry* below

	// kids is the table of cached children, for directories.
	kids *childTable

	cache *dentryCache // nil: never kept when unreferenced

	lruPrev, lruNext *Dentry // guarded by cache.mu
}

// location is a parent and a name in it. It is immutable.
type location struct {
	parent *Dentry // nil: a root, or a file without a place
	name   string
}

// The flags of a dentry.
const (
	dentryHashed  uint32 = 1 << iota // in its parent's table; changed under the parent's childMu
	dentryListed                     // on the cache's list; changed under cache.mu
	dentryUsed                       // used again since it was listed
	dentryDeleted                    // the name was removed (unlink, rmdir, rename over it)
	dentryNoLink                     // of a file that can get no name (O_TMPFILE with O_EXCL)
	dentryAnon                       // of a file without a path; the name is complete
)

const deadRefs = -1 << 40

// newDentry makes a dentry with one reference, the caller's, not hashed. It takes over the
// reference on inode (nil: negative) and adds one on parent.
func newDentry(c *dentryCache, parent *Dentry, name string, inode Inode) *Dentry {
	d := &Dentry{inode: inode, cache: c}
	d.refs.Store(1)
	if parent != nil {
		parent.IncRef()
	}
	d.loc.Store(&location{parent, name})
	if _, ok := inode.(Directory); ok {
		d.kids = new(childTable)
	}
	return d
}

// Inode is what the dentry stands for; nil if it is negative.
func (d *Dentry) Inode() Inode { return d.inode }

// Name is the last component of the dentry's name.
func (d *Dentry) Name() string { return d.loc.Load().name }

// Parent is the directory that holds the dentry; nil for the root of a filesystem. It is
// only safe to use while d is referenced.
func (d *Dentry) Parent() *Dentry { return d.loc.Load().parent }

// IsDeleted says whether the name was removed from its directory.
func (d *Dentry) IsDeleted() bool { return d.flags.Load()&dentryDeleted != 0 }

func (d *Dentry) has(f uint32) bool { return d.flags.Load()&f != 0 }

// IncRef adds a reference; the caller has one, or holds a lock that keeps d alive.
func (d *Dentry) IncRef() {
	if d.refs.Add(1) <= 0 {
		panic("vfs: reference on a dead dentry")
	}
}

// tryIncRef adds a reference unless d is dead.
func (d *Dentry) tryIncRef() bool {
	for {
		n := d.refs.Load()
		if n < 0 {
			return false
		}
		if d.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// DecRef drops a reference.
func (d *Dentry) DecRef(ctx context.Context) {
	for d != nil {
		n := d.refs.Add(-1)
		if n > 0 {
			return
		}
		if n < 0 {
			panic("vfs: dentry released twice")
		}
		if d.has(dentryHashed) && d.cache != nil {
			d.cache.keep(ctx, d)
			return
		}
		if !d.refs.CompareAndSwap(0, deadRefs) {
			return // found again meanwhile
		}
		d = d.die(ctx)
	}
}

// die releases what the dead dentry d holds, except its parent, whose reference passes to
// the caller.
func (d *Dentry) die(ctx context.Context) (parent *Dentry) {
	if c := d.cache; c != nil && d.has(dentryListed) {
		c.mu.Lock()
		if d.has(dentryListed) {
			d.flags.And(^dentryListed)
			c.unlist(d)
		}
		c.mu.Unlock()
	}
	if d.inode != nil {
		if d.IsDeleted() {
			d.nameGone(ctx)
		}
		PutInode(ctx, d.inode)
	}
	return d.loc.Load().parent
}

// childTable is the hash table of a directory's cached children. Lookups take no lock.
type childTable struct {
	buckets atomic.Pointer[[]atomic.Pointer[childNode]]

	childMu sync.Mutex // guards changes, and count
	count   int
}

// childNode is an entry of a childTable. name and hash are immutable; d is replaced when
// another dentry takes the name, so that a reader sees the old or the new one.
type childNode struct {
	name string
	hash uint32
	d    atomic.Pointer[Dentry]
	next atomic.Pointer[childNode]
}

func hashName(name string) uint32 {
	h := uint64(0x9e3779b97f4a7c15)
	for i := 0; i < len(name); i++ {
		h = (h ^ uint64(name[i])) * 0x100000001b3
	}
	return uint32(h ^ h>>32)
}

// find returns the child of that name, or nil. It may miss a child that is being added or
// moved; under the directory's dirMu it does not.
func (t *childTable) find(name string) *Dentry {
	if n := t.node(name, hashName(name)); n != nil {
		return n.d.Load()
	}
	return nil
}

func (t *childTable) node(name string, hash uint32) *childNode {
	b := t.buckets.Load()
	if b == nil {
		return nil
	}
	for n := (*b)[hash&uint32(len(*b)-1)].Load(); n != nil; n = n.next.Load() {
		if n.hash == hash && n.name == name {
			return n
		}
	}
	return nil
}

// insert makes d the child called name and returns the dentry that it took the place of,
// if any, which then is no longer hashed.
func (t *childTable) insert(name string, d *Dentry) (old *Dentry) {
	t.childMu.Lock()
	defer t.childMu.Unlock()
	return t.insertLocked(name, d)
}

func (t *childTable) insertLocked(name string, d *Dentry) (old *Dentry) {
	hash := hashName(name)
	d.flags.Or(dentryHashed)
	if n := t.node(name, hash); n != nil {
		old = n.d.Swap(d)
		if old != d {
			old.flags.And(^dentryHashed)
		}
		return old
	}
	b := t.buckets.Load()
	if b == nil || t.count >= 2*len(*b) {
		b = t.resize(max(4, 2*t.count))
	}
	n := &childNode{name: name, hash: hash}
	n.d.Store(d)
	head := &(*b)[hash&uint32(len(*b)-1)]
	n.next.Store(head.Load())
	head.Store(n)
	t.count++
	return nil
}

// insertOrGet makes d the child called name unless a living dentry is there already, which
// it returns with a reference.
func (t *childTable) insertOrGet(name string, d *Dentry) (existing, replaced *Dentry) {
	t.childMu.Lock()
	defer t.childMu.Unlock()
	if n := t.node(name, hashName(name)); n != nil {
		if e := n.d.Load(); e.tryIncRef() {
			return e, nil
		}
	}
	return nil, t.insertLocked(name, d)
}

// remove takes d out if it is the child called name.
func (t *childTable) remove(name string, d *Dentry) {
	t.childMu.Lock()
	defer t.childMu.Unlock()
	b := t.buckets.Load()
	if b == nil {
		return
	}
	hash := hashName(name)
	link := &(*b)[hash&uint32(len(*b)-1)]
	for n := link.Load(); n != nil; n = link.Load() {
		if n.hash == hash && n.name == name {
			if n.d.Load() != d {
				return
			}
			d.flags.And(^dentryHashed)
			link.Store(n.next.Load()) // n.next stays, for readers that are on n
			t.count--
			break
		}
		link = &n.next
	}
	if len(*b) > 64 && t.count < len(*b)/8 {
		t.resize(len(*b) / 4)
	}
}

// resize publishes a table of at least n buckets with fresh nodes: readers may be on the
// old ones.
func (t *childTable) resize(n int) *[]atomic.Pointer[childNode] {
	size := 4
	for size < n {
		size *= 2
	}
	nb := make([]atomic.Pointer[childNode], size)
	if old := t.buckets.Load(); old != nil {
		for i := range *old {
			for n := (*old)[i].Load(); n != nil; n = n.next.Load() {
				c := &childNode{name: n.name, hash: n.hash}
				c.d.Store(n.d.Load())
				head := &nb[n.hash&uint32(size-1)]
				c.next.Store(head.Load())
				head.Store(c)
			}
		}
	}
	t.buckets.Store(&nb)
	return &nb
}

// children appends the cached children to dst.
func (t *childTable) children(dst []*Dentry) []*Dentry {
	t.childMu.Lock()
	defer t.childMu.Unlock()
	if b := t.buckets.Load(); b != nil {
		for i := range *b {
			for n := (*b)[i].Load(); n != nil; n = n.next.Load() {
				dst = append(dst, n.d.Load())
			}
		}
	}
	return dst
}

// dentryCache bounds the number of unreferenced dentries, the least recently used of which
// die first. A dentry that is used again stays where it is on the list and is marked, so
// that opening and closing a file that is cached takes no lock here.
type dentryCache struct {
	limit int

	// shrinking keeps evictions, which release parents, from nesting.
	shrinking atomic.Bool

	mu         sync.Mutex // guards the fields below and the list's links
	head, tail *Dentry    // head dies first
	count      int
}

// keep puts the unreferenced, hashed dentry d on the list and makes room.
func (c *dentryCache) keep(ctx context.Context, d *Dentry) {
	if d.has(dentryListed) {
		if !d.has(dentryUsed) {
			d.flags.Or(dentryUsed)
		}
		// shrink clears Listed before it looks at refs, and d had none before
		// Listed was read above: one of the two sees the other.
		if d.has(dentryListed) {
			return
		}
	}
	c.mu.Lock()
	if !d.has(dentryListed) {
		d.flags.And(^dentryUsed)
		d.flags.Or(dentryListed)
		c.append(d)
	}
	over := c.count > c.limit
	c.mu.Unlock()
	if over {
		c.shrink(ctx, c.limit)
	}
}

func (c *dentryCache) append(d *Dentry) {
	d.lruPrev, d.lruNext = c.tail, nil
	if c.tail != nil {
		c.tail.lruNext = d
	} else {
		c.head = d
	}
	c.tail = d
	c.count++
}

func (c *dentryCache) unlist(d *Dentry) {
	if d.lruPrev != nil {
		d.lruPrev.lruNext = d.lruNext
	} else {
		c.head = d.lruNext
	}
	if d.lruNext != nil {
		d.lruNext.lruPrev = d.lruPrev
	} else {
		c.tail = d.lruPrev
	}
	d.lruPrev, d.lruNext = nil, nil
	c.count--
}

// Relieve lets the older half of the unreferenced dentries die, and with them what filesystems
// hold for them, descriptors for example. It says whether that may have helped. It takes no lock
// of a dentry that is in use.
func (v *VFS) Relieve() bool {
	c := &v.cache
	c.mu.Lock()
	count := c.count
	c.mu.Unlock()
	c.shrink(noTask, count/2)
	return count > 0
}

// shrink lets unreferenced dentries die until at most limit are on the list.
func (c *dentryCache) shrink(ctx context.Context, limit int) {
	if !c.shrinking.CompareAndSwap(false, true) {
		return
	}
	defer c.shrinking.Store(false)
	for {
		var batch [32]*Dentry
		n := 0
		c.mu.Lock()
		for scanned := 0; c.count > limit && n < len(batch); scanned++ {
			d := c.head
			c.unlist(d)
			if d.has(dentryUsed) && scanned < 4*len(batch) {
				d.flags.And(^dentryUsed)
				c.append(d)
				continue
			}
			d.flags.And(^(dentryListed | dentryUsed))
			if d.refs.CompareAndSwap(0, deadRefs) {
				batch[n] = d
				n++
			}
		}
		more := c.count > limit
		c.mu.Unlock()
		for _, d := range batch[:n] {
			d.evict(ctx)
		}
		if n == 0 && !more {
			return
		}
	}
}

// evict takes the dead dentry d out of its parent and releases what it holds.
func (d *Dentry) evict(ctx context.Context) {
	l := d.loc.Load()
	if l.parent != nil {
		l.parent.kids.remove(l.name, d)
	}
	d.die(ctx).DecRef(ctx)
}

// forget drops d, which the caller found unreferenced or holds no reference on, if nobody
// uses it (a negative dentry that was replaced, a dentry whose file changed on the server).
func (d *Dentry) forget(ctx context.Context) {
	if !d.refs.CompareAndSwap(0, deadRefs) {
		return
	}
	d.die(ctx).DecRef(ctx)
}
