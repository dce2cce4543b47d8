package syscalls

import (
	gosync "sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/fs/eventfd"
	"runsc/pkg/sentry/fs/tmpfs"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/mm"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/usermem"
	"runsc/pkg/sentry/vfs"
	"runsc/pkg/waiter"
)

// Asynchronous I/O (io_setup(2)). A request is carried out when it is submitted, as Linux
// does with most files; what is asynchronous is only that its result is fetched later. Only
// a poll waits for its file (see aioPoll).
//
// A context is named by the address of its ring, a page in the application's address space.
// The ring stays empty and without the magic number that makes libaio read it: libraries then
// ask the kernel. The mapping holds the context (it is its Identity), so that it goes with
// the address space.

var aioSyscalls = []kernel.Syscall{
	{Number: unix.SYS_IO_SETUP, Name: "io_setup", Fn: ioSetup, Args: []strace.Format{strace.Dec, strace.Hex}},
	{Number: unix.SYS_IO_DESTROY, Name: "io_destroy", Fn: ioDestroy, Args: []strace.Format{strace.Hex}},
	{Number: unix.SYS_IO_SUBMIT, Name: "io_submit", Fn: ioSubmit, Args: []strace.Format{strace.Hex, strace.Dec64, strace.Hex}, Support: kernel.Partial, Note: "reads and writes are carried out at once; IOCB_CMD_POLL without IOCB_FLAG_RESFD only (EINVAL)"},
	{Number: unix.SYS_IO_CANCEL, Name: "io_cancel", Fn: ioCancel, Args: []strace.Format{strace.Hex, strace.Hex, strace.Hex}, Note: "only polls are under way by then; others are EINVAL"},
	{Number: unix.SYS_IO_GETEVENTS, Name: "io_getevents", Fn: ioGetevents, Args: []strace.Format{strace.Hex, strace.Dec64, strace.Dec64, strace.Hex, strace.Timespec}},
	{Number: unix.SYS_IO_PGETEVENTS, Name: "io_pgetevents", Fn: ioPgetevents, Args: []strace.Format{strace.Hex, strace.Dec64, strace.Dec64, strace.Hex, strace.Timespec, strace.Hex}},
}

// maxAIO is /proc/sys/fs/aio-max-nr.
const maxAIO = 65536

// aioEvent is struct io_event.
type aioEvent struct {
	Data, Obj uint64
	Res, Res2 int64
}

// aioRequest is struct iocb.
type aioRequest struct {
	Data      uint64
	Key       uint32
	RWFlags   uint32
	Op        uint16
	Priority  int16
	FD        uint32
	Buf       uint64
	Bytes     uint64
	Offset    int64
	Reserved  uint64
	Flags     uint32
	EventFile uint32
}

// The operations and flags of a request.
const (
	aioPread, aioPwrite, aioFsync, aioFdsync = 0, 1, 2, 3
	aioPollOnce, aioPreadv, aioPwritev       = 5, 7, 8
	aioFlagEventFile                         = 1
	aioKeyOffset                             = 8 // of the field that submission sets to 0
)

// aioContext is what io_setup(2) makes. It implements memmap.Identity.
type aioContext struct {
	table *aioTable
	key   aioKey
	max   int
	inode vfs.Inode // of the ring
	refs  atomic.Int64

	done waiter.Queue // notified with EventIn when events come

	mu      gosync.Mutex // guards the fields below
	events  []aioEvent
	polls   []*aioPoll // under way, or done and still holding their files
	waiting int        // of polls: not done
	closed  bool
}

type aioKey struct {
	space *mm.MemoryManager
	addr  uintptr
}

// aioTable has all contexts of a kernel.
type aioTable struct {
	mu       gosync.Mutex // guards the fields below
	contexts map[aioKey]*aioContext
	total    int // of max
}

func aioTableOf(k *kernel.Kernel) *aioTable {
	return k.Extra("aio", func() any { return &aioTable{contexts: make(map[aioKey]*aioContext)} }).(*aioTable)
}

func (x *aioTable) find(t *kernel.Task, addr uintptr) (*aioContext, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.contexts[aioKey{t.MemoryManager(), addr}]; c != nil {
		return c, nil
	}
	return nil, unix.EINVAL
}

// remove ends the context, and says whether it had not ended before.
func (x *aioTable) remove(c *aioContext) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.contexts[c.key] != c {
		return false
	}
	delete(x.contexts, c.key)
	x.total -= c.max
	return true
}

// MappedName implements memmap.Identity.
func (*aioContext) MappedName() string { return "/[aio] (deleted)" }

// DeviceID implements memmap.Identity.
func (c *aioContext) DeviceID() uint64 { return c.inode.FS().Dev() }

// InodeID implements memmap.Identity.
func (c *aioContext) InodeID() uint64 { return 0 }

// IncRef implements memmap.Identity.
func (c *aioContext) IncRef() { c.refs.Add(1) }

// DecRef implements memmap.Identity.
func (c *aioContext) DecRef() {
	if c.refs.Add(-1) == 0 {
		c.table.remove(c)
		ctx := tmpfs.KernelContext(nil)
		c.closeWith(ctx)
		vfs.PutInode(ctx, c.inode)
	}
}

func ioSetup(t *kernel.Task, a arch.Args) (uintptr, error) {
	n := a.Uint(0)
	var old uint64
	if err := kernel.CopyIn(t, a.Pointer(1), &old); err != nil {
		return 0, err
	}
	if n == 0 || int32(n) < 0 || old != 0 {
		return 0, unix.EINVAL
	}
	x := aioTableOf(t.Kernel())
	x.mu.Lock()
	if n > maxAIO || x.total+int(n) > maxAIO {
		x.mu.Unlock()
		return 0, unix.EAGAIN
	}
	x.total += int(n)
	x.mu.Unlock()
	uncharge := func() {
		x.mu.Lock()
		x.total -= int(n)
		x.mu.Unlock()
	}
	c := &aioContext{table: x, max: int(n)}
	c.refs.Store(1)
	inode, ring := MemoryFS(t.Kernel()).NewUnlinked(t, 0o600, memmap.PageSize)
	c.inode = inode
	addr, err := t.MemoryManager().MMap(mm.MMapOpts{
		Length: memmap.PageSize, Perms: memmap.ReadWrite, MaxPerms: memmap.ReadWrite, Mappable: ring, Identity: c,
	})
	if err != nil {
		uncharge()
		c.DecRef()
		return 0, err
	}
	x.mu.Lock()
	c.key = aioKey{t.MemoryManager(), addr}
	x.contexts[c.key] = c
	x.mu.Unlock()
	c.DecRef() // the mapping's stays
	id := uint64(addr)
	if err := kernel.CopyOut(t, a.Pointer(1), &id); err != nil {
		t.MemoryManager().MUnmap(addr, memmap.PageSize)
		return 0, err
	}
	return 0, nil
}

func ioDestroy(t *kernel.Task, a arch.Args) (uintptr, error) {
	x := aioTableOf(t.Kernel())
	c, err := x.find(t, a.Pointer(0))
	if err != nil || !x.remove(c) {
		return 0, unix.EINVAL
	}
	c.closeWith(t)
	t.MemoryManager().MUnmap(a.Pointer(0), memmap.PageSize)
	return 0, nil
}

func ioCancel(t *kernel.Task, a arch.Args) (uintptr, error) {
	var key uint32
	if err := kernel.CopyIn(t, a.Pointer(1)+aioKeyOffset, &key); err != nil {
		return 0, err
	}
	c, err := aioTableOf(t.Kernel()).find(t, a.Pointer(0))
	if err != nil {
		return 0, err
	}
	if key != 0 || !c.cancelPoll(a.Pointer(1)) {
		return 0, unix.EINVAL
	}
	return 0, unix.EINPROGRESS // the event comes as any other
}

func ioSubmit(t *kernel.Task, a arch.Args) (uintptr, error) {
	c, err := aioTableOf(t.Kernel()).find(t, a.Pointer(0))
	if err != nil {
		return 0, err
	}
	n := a.Int64(1)
	if n < 0 {
		return 0, unix.EINVAL
	}
	n = min(n, int64(c.max))
	done := int64(0)
	for ; done < n; done++ {
		var addr uint64
		if err = kernel.CopyIn(t, a.Pointer(2)+uintptr(done)*8, &addr); err == nil {
			err = c.submit(t, uintptr(addr))
		}
		if err != nil {
			break
		}
	}
	if done > 0 {
		return uintptr(done), nil
	}
	return 0, err
}

// submit carries out the request at addr. An error is one of the request itself, for which
// there is no event.
func (c *aioContext) submit(t *kernel.Task, addr uintptr) error {
	var r aioRequest
	if err := kernel.CopyIn(t, addr, &r); err != nil {
		return err
	}
	if r.Reserved != 0 || int64(r.Bytes) < 0 {
		return unix.EINVAL
	}
	c.mu.Lock()
	full := c.fullLocked()
	c.mu.Unlock()
	if full {
		return unix.EAGAIN
	}
	f, err := getFile(t, int32(r.FD))
	if err != nil {
		return err
	}
	keep := false
	defer func() {
		if !keep {
			f.DecRef(t)
		}
	}()
	var note *eventfd.EventFD
	if r.Flags&aioFlagEventFile != 0 {
		file, desc, err := fileAs[*eventfd.EventFD](t, int32(r.EventFile))
		if err != nil {
			return err
		}
		defer desc.DecRef(t)
		note = file
	}
	r.Key = 0
	if err := kernel.CopyOut(t, addr+aioKeyOffset, &r.Key); err != nil {
		return err
	}
	if r.Op == aioPollOnce {
		if note != nil {
			return unix.EINVAL
		}
		err := c.submitPoll(f, &r, addr)
		keep = err == nil
		return err
	}
	seq, err := aioCheck(t, f, &r)
	if err != nil {
		return err
	}
	n, err := aioDo(t, f, &r, seq)
	e := aioEvent{Data: r.Data, Obj: uint64(addr), Res: int64(n)}
	if err != nil {
		e.Res = -int64(unix.EINTR) // a request that was interrupted does not start anew
		if no, ok := err.(unix.Errno); ok {
			e.Res = -int64(no)
		}
	}
	c.mu.Lock()
	c.events = append(c.events, e)
	c.mu.Unlock()
	c.done.Notify(waiter.EventIn)
	if note != nil {
		note.Signal(1)
	}
	return nil
}

// aioCheck finds what is wrong with a request before it is carried out, and returns its
// memory.
func aioCheck(t *kernel.Task, f *vfs.FileDescription, r *aioRequest) (seq usermem.Sequence, err error) {
	write := r.Op == aioPwrite || r.Op == aioPwritev
	switch r.Op {
	case aioFsync, aioFdsync:
		if r.Buf != 0 || r.Offset != 0 || r.Bytes != 0 || r.RWFlags != 0 {
			return seq, unix.EINVAL
		}
		return seq, nil
	case aioPread, aioPreadv, aioPwrite, aioPwritev:
	default:
		return seq, unix.EINVAL
	}
	switch {
	case write && !f.Writable(), !write && !f.Readable():
		return seq, unix.EBADF
	case f.FileType() == unix.S_IFDIR, f.Seekable() && r.Offset < 0:
		return seq, unix.EINVAL
	}
	if write {
		_, err = writeModeOf(r.RWFlags)
	} else {
		err = checkReadFlags(r.RWFlags)
	}
	if err != nil {
		return seq, err
	}
	if r.Op == aioPread || r.Op == aioPwrite {
		return t.IO(uintptr(r.Buf), uintptr(r.Bytes))
	}
	return t.IOVec(uintptr(r.Buf), int(min(r.Bytes, 1<<20)))
}

// aioDo carries out a request that aioCheck let pass. Its error goes into the event.
func aioDo(t *kernel.Task, f *vfs.FileDescription, r *aioRequest, seq usermem.Sequence) (int, error) {
	offset := r.Offset
	if !f.Seekable() {
		offset = offsetCurrent
	}
	nowait := r.RWFlags&rwfNowait != 0
	switch r.Op {
	case aioFsync, aioFdsync:
		return 0, f.Sync(t, r.Op == aioFdsync)
	case aioPread, aioPreadv:
		return doRead(t, f, seq, offset, nowait)
	}
	mode, _ := writeModeOf(r.RWFlags)
	n, err := doWrite(t, f, seq, offset, mode, nowait)
	if n > 0 && r.RWFlags&(rwfDsync|rwfSync) != 0 {
		if err := f.Sync(t, r.RWFlags&rwfSync == 0); err != nil {
			return 0, err
		}
	}
	return n, err
}

func ioGetevents(t *kernel.Task, a arch.Args) (uintptr, error) {
	return aioGetevents(t, &a)
}

// aioGetevents is io_getevents(2).
func aioGetevents(t *kernel.Task, a *arch.Args) (uintptr, error) {
	c, err := aioTableOf(t.Kernel()).find(t, a.Pointer(0))
	if err != nil {
		return 0, err
	}
	least, most := a.Int64(1), a.Int64(2)
	if least < 0 || most < 0 || least > most {
		return 0, unix.EINVAL
	}
	deadline := int64(0)
	if p := a.Pointer(4); p != 0 {
		d, err := copyInDuration(t, p)
		if err != nil {
			return 0, err
		}
		deadline = addDuration(t.Monotonic(), d)
	}
	e := waiter.Entry{Mask: waiter.EventIn, Listener: t.Waker()}
	c.done.EventRegister(&e)
	defer c.done.EventUnregister(&e)
	out := int64(0)
	for {
		c.reap(t)
		c.mu.Lock()
		n := min(most-out, int64(len(c.events)))
		taken := c.events[:n:n]
		c.events = c.events[n:]
		closed := c.closed
		c.mu.Unlock()
		if n > 0 {
			if err := kernel.CopyOutSlice(t, a.Pointer(3)+uintptr(out)*32, taken); err != nil {
				c.mu.Lock()
				c.events = append(taken, c.events...)
				c.mu.Unlock()
				if out > 0 {
					return uintptr(out), nil
				}
				return 0, err
			}
			out += n
		}
		if out >= least || closed {
			return uintptr(out), nil
		}
		if deadline != 0 {
			err = t.BlockUntil(deadline)
		} else {
			err = t.Block()
		}
		if err != nil {
			if out > 0 || err == unix.ETIMEDOUT {
				return uintptr(out), nil
			}
			return 0, unix.EINTR
		}
	}
}
