package vfs

import (
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
)

// InodeBase is the state that vfs keeps in every inode. Implementations of Inode embed it;
// the zero value is ready and counts one reference, that of whoever made the inode. An
// InodeBase is never copied.
type InodeBase struct {
	// gone is the number of references minus one, so that the zero value counts one;
	// it stays at -1 once the inode was released.
	gone atomic.Int64

	// writers counts those who have the file open for writing; negative: those who
	// forbid that (programs being executed).
	writers atomic.Int32

	// dead is set under dirMu when a directory was removed: nothing is made in it.
	dead atomic.Bool

	// noPrivs remembers that the file has nothing that a write must take away
	// (set-id bits, file capabilities).
	noPrivs atomic.Bool

	// dirMu is the directory's lock: entries change with it held, lookups that ask
	// the filesystem hold it shared.
	dirMu sync.RWMutex

	extra atomic.Pointer[inodeExtra]
}

// inodeExtra is what few inodes need.
type inodeExtra struct {
	locks   lockTable
	watches watchSet

	mu      sync.Mutex // guards the fields below
	special any
}

// Base implements Inode.
func (b *InodeBase) Base() *InodeBase { return b }

// IncRef adds a reference; the caller has one.
func (b *InodeBase) IncRef() {
	if b.gone.Add(1) <= 0 {
		panic("vfs: reference on a released inode")
	}
}

// TryIncRef adds a reference unless the inode was released already. Filesystems that keep
// a table of their inodes use it to find one that may be on its way out.
func (b *InodeBase) TryIncRef() bool {
	for {
		n := b.gone.Load()
		if n < 0 {
			return false
		}
		if b.gone.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// PutInode drops a reference on i and releases it with the last.
func PutInode(ctx context.Context, i Inode) {
	b := i.Base()
	switch n := b.gone.Add(-1); {
	case n == -1:
		i.Release(ctx)
	case n < -1:
		panic("vfs: inode released twice")
	}
}

func (b *InodeBase) more() *inodeExtra {
	if x := b.extra.Load(); x != nil {
		return x
	}
	b.extra.CompareAndSwap(nil, new(inodeExtra))
	return b.extra.Load()
}

// Special returns the object that lives at this inode: the buffer of a FIFO, the endpoint
// of a bound socket. nil: none.
func (b *InodeBase) Special() any {
	x := b.extra.Load()
	if x == nil {
		return nil
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.special
}

// SwapSpecial stores new if the inode's object is old, and returns the object that is
// there afterwards and whether it is new. Two openers of a FIFO thus meet at one buffer:
//
//	p, _ := inode.Base().SwapSpecial(nil, newBuffer)
func (b *InodeBase) SwapSpecial(old, new any) (any, bool) {
	x := b.more()
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.special != old {
		return x.special, false
	}
	x.special = new
	return new, true
}

// GetWriteAccess counts one who writes to the file; ETXTBSY if it is being executed.
func (b *InodeBase) GetWriteAccess() error {
	for {
		n := b.writers.Load()
		if n < 0 {
			return unix.ETXTBSY
		}
		if b.writers.CompareAndSwap(n, n+1) {
			return nil
		}
	}
}

// PutWriteAccess undoes GetWriteAccess.
func (b *InodeBase) PutWriteAccess() { b.writers.Add(-1) }

// DenyWriteAccess forbids writing while a program is executed from the file; ETXTBSY if
// somebody has it open for writing.
func (b *InodeBase) DenyWriteAccess() error {
	for {
		n := b.writers.Load()
		if n > 0 {
			return unix.ETXTBSY
		}
		if b.writers.CompareAndSwap(n, n-1) {
			return nil
		}
	}
}

// AllowWriteAccess undoes DenyWriteAccess.
func (b *InodeBase) AllowWriteAccess() { b.writers.Add(1) }

// PrivilegesChanged tells vfs that the file may have set-id bits or capabilities again
// because somebody behind vfs's back (a host) gave it some.
func (b *InodeBase) PrivilegesChanged() { b.noPrivs.Store(false) }
