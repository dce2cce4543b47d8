package vfs

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/waiter"
)

// inotify(7). A watch belongs to an Inotify and to an inode, which it keeps alive.
//
// Lock order: Inotify.mu → watchSet.mu → Inotify.queueMu.

// Limits of /proc/sys/fs/inotify.
const (
	inotifyMaxQueued  = 16384
	inotifyMaxWatches = 1 << 17
)

// inotifyEventMask are the events that a watch can ask for.
const inotifyEventMask = unix.IN_ALL_EVENTS

// watch is immutable but for mask and gone.
type watch struct {
	in    *Inotify
	inode Inode
	wd    int32
	mask  atomic.Uint32 // with IN_ONESHOT and IN_EXCL_UNLINK
	gone  atomic.Bool
}

// watchSet is the watches on an inode.
type watchSet struct {
	any atomic.Uint32 // union of masks; 0: none

	mu      sync.RWMutex // guards the field below
	watches []*watch
}

func (s *watchSet) refresh() {
	var m uint32
	for _, w := range s.watches {
		m |= w.mask.Load()
	}
	s.any.Store(m)
}

// send queues the event with all who asked for it. unlinked: the name was removed already.
func (s *watchSet) send(mask, cookie uint32, name string, unlinked bool) {
	if s.any.Load()&mask&inotifyEventMask == 0 {
		return
	}
	var spent []*watch
	s.mu.RLock()
	for _, w := range s.watches {
		m := w.mask.Load()
		if m&mask&inotifyEventMask == 0 || unlinked && m&unix.IN_EXCL_UNLINK != 0 {
			continue
		}
		if m&unix.IN_ONESHOT != 0 {
			if w.gone.Swap(true) {
				continue
			}
			spent = append(spent, w)
		}
		w.in.queue(inotifyEvent{w.wd, mask, cookie, name})
	}
	s.mu.RUnlock()
	for _, w := range spent {
		if w.in.forget(w) {
			PutInode(noTask, w.inode)
		}
	}
}

// Inotify is an inotify instance, a File.
type Inotify struct {
	FileDefaults
	waiter.Queue
	vfs *VFS

	mu      sync.Mutex // guards the fields below
	watches map[int32]*watch
	last    int32

	queueMu sync.Mutex // guards the fields below
	events  []inotifyEvent
}

type inotifyEvent struct {
	wd           int32
	mask, cookie uint32
	name         string
}

// size is what the event takes in the reader's buffer: the name is padded with NULs.
func (e *inotifyEvent) size() int {
	if e.name == "" {
		return unix.SizeofInotifyEvent
	}
	return unix.SizeofInotifyEvent + (len(e.name)+1+15)&^15
}

// NewInotify makes an instance; flags are IN_NONBLOCK or 0.
func (v *VFS) NewInotify(flags uint32) *FileDescription {
	in := &Inotify{vfs: v, watches: make(map[int32]*watch)}
	return NewAnonFile("inotify", in, unix.O_RDONLY|flags&unix.O_NONBLOCK)
}

func (in *Inotify) queue(e inotifyEvent) {
	in.queueMu.Lock()
	n := len(in.events)
	switch {
	case n > 0 && in.events[n-1] == e:
	case n == inotifyMaxQueued:
		in.events = append(in.events, inotifyEvent{wd: -1, mask: unix.IN_Q_OVERFLOW})
	case n < inotifyMaxQueued:
		in.events = append(in.events, e)
	}
	in.queueMu.Unlock()
	in.Notify(waiter.EventIn | waiter.EventRdNorm)
}

// Add is inotify_add_watch(2) for the object at p.
func (in *Inotify) Add(ctx context.Context, p Path, mask uint32) (int32, error) {
	if mask&unix.IN_ONLYDIR != 0 && p.Dentry.kids == nil {
		return 0, unix.ENOTDIR
	}
	if err := CheckPermission(ctx.Credentials(), p.Inode(), MayRead); err != nil {
		return 0, err
	}
	inode := p.Inode()
	s := &inode.Base().more().watches
	keep := mask & (inotifyEventMask | unix.IN_ONESHOT | unix.IN_EXCL_UNLINK)
	in.mu.Lock()
	defer in.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.refresh()
	for _, w := range s.watches {
		if w.in == in {
			if mask&unix.IN_MASK_CREATE != 0 {
				return 0, unix.EEXIST
			}
			if mask&unix.IN_MASK_ADD != 0 {
				keep |= w.mask.Load()
			}
			w.mask.Store(keep)
			return w.wd, nil
		}
	}
	if len(in.watches) >= inotifyMaxWatches {
		return 0, unix.ENOSPC
	}
	in.last++
	w := &watch{in: in, inode: inode, wd: in.last}
	w.mask.Store(keep)
	inode.Base().IncRef()
	in.watches[w.wd] = w
	s.watches = append(s.watches, w)
	in.vfs.watches.Add(1)
	return w.wd, nil
}

// Remove is inotify_rm_watch(2).
func (in *Inotify) Remove(ctx context.Context, wd int32) error {
	in.mu.Lock()
	w := in.watches[wd]
	in.mu.Unlock()
	if w == nil || !in.forget(w) {
		return unix.EINVAL
	}
	PutInode(ctx, w.inode)
	return nil
}

// forget takes w off and queues IN_IGNORED. If it returns true, the reference on the inode
// passes to the caller.
func (in *Inotify) forget(w *watch) bool {
	in.mu.Lock()
	if in.watches[w.wd] != w {
		in.mu.Unlock()
		return false
	}
	delete(in.watches, w.wd)
	in.unlink(w)
	in.mu.Unlock()
	in.queue(inotifyEvent{wd: w.wd, mask: unix.IN_IGNORED})
	return true
}

// unlink takes w out of its inode's set. mu is held.
func (in *Inotify) unlink(w *watch) {
	s := &w.inode.Base().more().watches
	s.mu.Lock()
	s.watches = slices.DeleteFunc(s.watches, func(o *watch) bool { return o == w })
	s.refresh()
	s.mu.Unlock()
	in.vfs.watches.Add(-1)
}

// Release implements File.
func (in *Inotify) Release(ctx context.Context) {
	in.mu.Lock()
	all := in.watches
	in.watches = nil
	for _, w := range all {
		in.unlink(w)
	}
	in.mu.Unlock()
	for _, w := range all {
		PutInode(ctx, w.inode)
	}
}

// Seekable implements File.
func (in *Inotify) Seekable() bool { return false }

// Seek implements File: lseek(2) has no effect and no error, as in Linux.
func (*Inotify) Seek(context.Context, int64, int32, int64) (int64, error) { return 0, nil }

// Readiness implements File.
func (in *Inotify) Readiness(mask waiter.EventMask) waiter.EventMask {
	in.queueMu.Lock()
	defer in.queueMu.Unlock()
	if len(in.events) == 0 {
		return 0
	}
	return mask & (waiter.EventIn | waiter.EventRdNorm)
}

// Read implements File: as many whole events as fit.
func (in *Inotify) Read(ctx context.Context, dst usermem.Sequence, _ int64) (int, error) {
	in.queueMu.Lock()
	n, size := 0, 0
	for n < len(in.events) && size+in.events[n].size() <= dst.Len() {
		size += in.events[n].size()
		n++
	}
	if n == 0 {
		empty := len(in.events) == 0
		in.queueMu.Unlock()
		if empty {
			return 0, unix.EAGAIN
		}
		return 0, unix.EINVAL
	}
	taken := in.events[:n:n]
	in.events = in.events[n:]
	if len(in.events) == 0 {
		in.events = nil
	}
	in.queueMu.Unlock()

	b := make([]byte, 0, size)
	for i := range taken {
		e := &taken[i]
		end := len(b) + e.size()
		b = binary.LittleEndian.AppendUint32(b, uint32(e.wd))
		b = binary.LittleEndian.AppendUint32(b, e.mask)
		b = binary.LittleEndian.AppendUint32(b, e.cookie)
		b = binary.LittleEndian.AppendUint32(b, uint32(e.size()-unix.SizeofInotifyEvent))
		b = append(b, e.name...)
		b = append(b, make([]byte, end-len(b))...)
	}
	return dst.CopyOut(b)
}

// Ioctl implements File.
func (in *Inotify) Ioctl(_ context.Context, io usermem.IO, request uint32, arg uint64) (uint64, error) {
	if request != unix.TIOCINQ {
		return 0, unix.ENOTTY
	}
	in.queueMu.Lock()
	size := 0
	for i := range in.events {
		size += in.events[i].size()
	}
	in.queueMu.Unlock()
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32(size))
	_, err := io.CopyOut(uintptr(arg), b[:])
	return 0, err
}

// notifyInode tells those who watch i itself.
func notifyInode(i Inode, mask uint32) {
	if x := i.Base().extra.Load(); x != nil && x.watches.any.Load() != 0 {
		// The two events do not say so, for old programs' sake.
		if mode, _, _ := i.Owner(); mode&unix.S_IFMT == unix.S_IFDIR && mask&(unix.IN_DELETE_SELF|unix.IN_MOVE_SELF) == 0 {
			mask |= unix.IN_ISDIR
		}
		x.watches.send(mask, 0, "", false)
	}
}

// notifyName tells those who watch the directory parent of what happened to name in it.
func notifyName(parent *Dentry, mask, cookie uint32, name string) {
	notifyNameOf(parent, mask, cookie, name, false)
}

func notifyNameOf(parent *Dentry, mask, cookie uint32, name string, unlinked bool) {
	if x := parent.inode.Base().extra.Load(); x != nil && x.watches.any.Load()&mask != 0 {
		x.watches.send(mask, cookie, string(append([]byte(nil), name...)), unlinked)
	}
}

func notifyCreate(parent, d *Dentry) {
	mask := uint32(unix.IN_CREATE)
	if d.kids != nil {
		mask |= unix.IN_ISDIR
	}
	notifyName(parent, mask, 0, d.Name())
}

// notifyPath tells those who watch d's inode or its directory.
func notifyPath(d *Dentry, mask uint32) {
	l := d.loc.Load()
	if l.parent != nil {
		m := mask
		if d.kids != nil {
			m |= unix.IN_ISDIR
		}
		notifyNameOf(l.parent, m, 0, l.name, d.IsDeleted())
	}
	notifyInode(d.inode, mask)
}

// notify is notifyPath for an open file; it costs one load while nobody watches anything.
func (fd *FileDescription) notify(mask uint32) {
	if v := fd.path.Mount.vfs; v != nil && v.watches.Load() != 0 {
		notifyPath(fd.path.Dentry, mask)
	}
}

// nameGone is called when nobody can use the removed name d any more: if it was the file's
// last one, those who watch the file are told and their watches end.
func (d *Dentry) nameGone(ctx context.Context) {
	x := d.inode.Base().extra.Load()
	if x == nil || x.watches.any.Load() == 0 {
		return
	}
	if d.kids == nil {
		if a, err := d.inode.Stat(ctx); err == nil && a.Nlink > 0 {
			return
		}
	}
	notifyInode(d.inode, unix.IN_DELETE_SELF)
	x.watches.mu.RLock()
	all := slices.Clone(x.watches.watches)
	x.watches.mu.RUnlock()
	for _, w := range all {
		if w.in.forget(w) {
			PutInode(ctx, w.inode)
		}
	}
}
