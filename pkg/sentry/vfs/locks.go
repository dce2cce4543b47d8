package vfs

import (
	"math"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/waiter"
)

// FileLock is a byte range lock of fcntl(2).
type FileLock struct {
	Type       int16 // F_RDLCK, F_WRLCK, F_UNLCK
	Start, End int64 // [Start, End); LockEOF: to the end of the file, however it grows
	PID        int32 // root thread-group id of the owner; -1 for open file description locks
}

// LockEOF is the End of a lock with l_len 0.
const LockEOF = math.MaxInt64

// rangeLock is a held FileLock. owner is the descriptor table that POSIX locks belong to,
// or the *FileDescription of an open file description lock.
type rangeLock struct {
	FileLock
	owner any
}

func (a *rangeLock) conflicts(b *rangeLock) bool {
	return a.owner != b.owner && a.Start < b.End && b.Start < a.End &&
		(a.Type == unix.F_WRLCK || b.Type == unix.F_WRLCK)
}

// wholeLock is a lock of flock(2).
type wholeLock struct {
	fd        *FileDescription
	exclusive bool
}

// lockTable holds an inode's locks.
type lockTable struct {
	released waiter.Queue // notified, with EventIn, when a lock goes or shrinks

	mu     sync.Mutex  // guards the fields below
	ranges []rangeLock // sorted by start
	whole  []wholeLock
}

// lockWaits knows which owner of POSIX locks waits for which, to find cycles.
type lockWaits struct {
	mu    sync.Mutex // guards the field below
	waits map[any]map[any]int
}

// begin notes that owner waits for blocker; EDEADLK if blocker waits for owner, by way of
// others perhaps.
func (w *lockWaits) begin(owner, blocker any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	seen := make(map[any]bool)
	todo := []any{blocker}
	for len(todo) > 0 {
		o := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if o == owner {
			return unix.EDEADLK
		}
		if seen[o] {
			continue
		}
		seen[o] = true
		for next := range w.waits[o] {
			todo = append(todo, next)
		}
	}
	if w.waits == nil {
		w.waits = make(map[any]map[any]int)
	}
	if w.waits[owner] == nil {
		w.waits[owner] = make(map[any]int)
	}
	w.waits[owner][blocker]++
	return nil
}

func (w *lockWaits) end(owner, blocker any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := w.waits[owner]
	if m[blocker]--; m[blocker] <= 0 {
		delete(m, blocker)
	}
	if len(m) == 0 {
		delete(w.waits, owner)
	}
}

// conflict is the first lock that l cannot be beside. mu is held.
func (t *lockTable) conflict(l *rangeLock) *rangeLock {
	for i := range t.ranges {
		if t.ranges[i].conflicts(l) {
			return &t.ranges[i]
		}
	}
	return nil
}

// set replaces what l's owner has in l's range. mu is held. less says that others may get
// a lock now that they could not get before.
func (t *lockTable) set(l rangeLock) (less bool) {
	out := make([]rangeLock, 0, len(t.ranges)+2)
	for _, o := range t.ranges {
		switch {
		case o.owner != l.owner || o.End < l.Start || l.End < o.Start:
			out = append(out, o)
			continue
		case o.Type == l.Type: // overlaps or touches
			l.Start, l.End = min(l.Start, o.Start), max(l.End, o.End)
			continue
		}
		if o.Start < l.End && l.Start < o.End {
			less = less || l.Type == unix.F_UNLCK || o.Type == unix.F_WRLCK
		}
		if o.Start < l.Start {
			left := o
			left.End = min(o.End, l.Start)
			out = append(out, left)
		}
		if o.End > l.End {
			right := o
			right.Start = max(o.Start, l.End)
			out = append(out, right)
		}
	}
	if l.Type != unix.F_UNLCK {
		out = append(out, l)
	}
	slices.SortStableFunc(out, func(a, b rangeLock) int {
		switch {
		case a.Start < b.Start:
			return -1
		case a.Start > b.Start:
			return 1
		}
		return 0
	})
	t.ranges = out
	return less
}

// dropOwner removes all range locks of owner.
func (t *lockTable) dropOwner(owner any) {
	t.mu.Lock()
	n := len(t.ranges)
	t.ranges = slices.DeleteFunc(t.ranges, func(l rangeLock) bool { return l.owner == owner })
	gone := n != len(t.ranges)
	t.mu.Unlock()
	if gone {
		t.released.Notify(waiter.EventIn)
	}
}

// releaseDescription removes what was locked for fd itself.
func (t *lockTable) releaseDescription(fd *FileDescription) {
	t.dropOwner(fd)
	t.mu.Lock()
	gone := t.dropWhole(fd)
	t.mu.Unlock()
	if gone {
		t.released.Notify(waiter.EventIn)
	}
}

func (t *lockTable) dropWhole(fd *FileDescription) bool {
	n := len(t.whole)
	t.whole = slices.DeleteFunc(t.whole, func(l wholeLock) bool { return l.fd == fd })
	return n != len(t.whole)
}

func rootTGID(ctx context.Context) int32 {
	if t, ok := ctx.(context.ThreadID); ok {
		return t.RootTGID()
	}
	return 0
}

// SetLock is F_SETLK, and F_SETLKW with block. owner is the descriptor table for POSIX
// locks; for open file description locks (F_OFD_SETLK) it is fd itself.
func (fd *FileDescription) SetLock(ctx context.Context, owner any, l FileLock, block bool) error {
	ofd := owner == any(fd)
	if l.PID = -1; !ofd {
		l.PID = rootTGID(ctx)
	}
	if l.Type == unix.F_UNLCK && fd.inode.Base().extra.Load() == nil {
		return nil
	}
	if ofd {
		fd.locked.Store(true)
	}
	t := &fd.inode.Base().more().locks
	want := rangeLock{l, owner}
	try := func() (blocker any) {
		t.mu.Lock()
		defer t.mu.Unlock()
		if l.Type != unix.F_UNLCK {
			if c := t.conflict(&want); c != nil {
				return c.owner
			}
		}
		if t.set(want) {
			t.released.Notify(waiter.EventIn)
		}
		return nil
	}
	blocker := try()
	if blocker == nil {
		return nil
	}
	if !block {
		return unix.EAGAIN
	}
	e := waiter.Entry{Mask: waiter.EventIn, Listener: ctx.Waker()}
	t.released.EventRegister(&e)
	defer t.released.EventUnregister(&e)
	for {
		if blocker = try(); blocker == nil {
			return nil
		}
		var waits *lockWaits
		if v := fd.path.Mount.vfs; v != nil && !ofd {
			waits = &v.lockWaits
			if err := waits.begin(owner, blocker); err != nil {
				return err
			}
		}
		err := ctx.Block()
		if waits != nil {
			waits.end(owner, blocker)
		}
		if err != nil {
			return err
		}
	}
}

// GetLock is F_GETLK: a lock that l cannot be beside, or l with type F_UNLCK.
func (fd *FileDescription) GetLock(owner any, l FileLock) FileLock {
	if x := fd.inode.Base().extra.Load(); x != nil {
		t := &x.locks
		t.mu.Lock()
		defer t.mu.Unlock()
		if c := t.conflict(&rangeLock{l, owner}); c != nil {
			return c.FileLock
		}
	}
	l.Type = unix.F_UNLCK
	return l
}

// Flock is flock(2); op is LOCK_SH, LOCK_EX or LOCK_UN. A lock that is converted is lost
// for a moment, as on Linux.
func (fd *FileDescription) Flock(ctx context.Context, op int, block bool) error {
	if op == unix.LOCK_UN && !fd.locked.Load() {
		return nil
	}
	fd.locked.Store(true)
	t := &fd.inode.Base().more().locks
	exclusive := op == unix.LOCK_EX
	try := func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		for _, l := range t.whole {
			if l.fd == fd && l.exclusive == exclusive && op != unix.LOCK_UN {
				return true
			}
		}
		if t.dropWhole(fd) {
			t.released.Notify(waiter.EventIn)
		}
		if op == unix.LOCK_UN {
			return true
		}
		for _, l := range t.whole {
			if exclusive || l.exclusive {
				return false
			}
		}
		t.whole = append(t.whole, wholeLock{fd, exclusive})
		return true
	}
	if try() {
		return nil
	}
	if !block {
		return unix.EAGAIN
	}
	e := waiter.Entry{Mask: waiter.EventIn, Listener: ctx.Waker()}
	t.released.EventRegister(&e)
	defer t.released.EventUnregister(&e)
	for !try() {
		if err := ctx.Block(); err != nil {
			return err
		}
	}
	return nil
}

// Flusher is implemented by Files with something to do at each close(2).
type Flusher interface {
	Flush(ctx context.Context) error
}

// OnClose is what close(2) of one descriptor does beside dropping the reference: all POSIX
// locks that owner, the descriptor table, has on the file go.
func (fd *FileDescription) OnClose(ctx context.Context, owner any) error {
	if fd.pathOnly {
		return nil
	}
	if x := fd.inode.Base().extra.Load(); x != nil {
		x.locks.dropOwner(owner)
	}
	if f, ok := fd.file.(Flusher); ok {
		return f.Flush(ctx)
	}
	return nil
}
