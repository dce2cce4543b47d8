// Package hostmap turns changes of an application's address space into system calls of the
// host, for platforms whose address spaces are host processes that carry out lists of system
// calls on the sentry's behalf.
//
// A Recorder remembers where something is mapped, so that holes cost no call, and collects
// calls in memory that the platform gives it, which is usually shared with the process. It
// has no lock: its owner serializes.
package hostmap

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/memmap"
)

// Call is one host system call. Its layout is known to the assembly that carries it out.
type Call struct {
	Nr   uint64
	Args [6]uint64
	// Child is where a new thread or process begins, for platforms whose calls may be
	// clone(2).
	Child uint64
}

// SizeofCall is the size of a Call in bytes.
const SizeofCall = 64

// Recorder collects the calls of one address space. It implements platform.Ops: each change
// is only recorded, and every error is kept for Flush.
type Recorder struct {
	// Limit is the end of what applications may map.
	Limit uintptr
	// List is where calls are put; Run carries out the first n of them. A full list is run
	// before its time.
	List []Call
	Run  func(n int) error

	mapped spans
	n      int
	failed error
}

// MapFile implements platform.Ops.
func (r *Recorder) MapFile(addr uintptr, f memmap.File, fr memmap.Range, at memmap.AccessType, precommit bool) error {
	length := uintptr(fr.Length())
	if length == 0 {
		return nil
	}
	if !r.valid(addr, length) {
		r.fail(unix.EINVAL)
		return nil
	}
	flags := uint64(unix.MAP_SHARED | unix.MAP_FIXED)
	if precommit {
		flags |= unix.MAP_POPULATE
	}
	r.add(Call{Nr: unix.SYS_MMAP, Args: [6]uint64{uint64(addr), uint64(length), uint64(at.Prot()), flags, uint64(f.FD()), fr.Start}})
	r.mapped.add(addr, addr+length)
	return nil
}

// Unmap implements platform.Ops.
func (r *Recorder) Unmap(addr, length uintptr) error {
	if length == 0 {
		return nil
	}
	if !r.valid(addr, length) {
		r.fail(unix.EINVAL)
		return nil
	}
	// One call from the first mapped byte to the last; holes do no harm.
	var all span
	r.mapped.within(addr, addr+length, func(start, end uintptr) {
		if all.end == 0 {
			all.start = start
		}
		all.end = end
	})
	if all.end == 0 {
		return nil
	}
	r.add(Call{Nr: unix.SYS_MUNMAP, Args: [6]uint64{uint64(all.start), uint64(all.end - all.start)}})
	r.mapped.remove(addr, addr+length)
	return nil
}

// Protect implements platform.Ops.
func (r *Recorder) Protect(addr, length uintptr, at memmap.AccessType) error {
	if !r.valid(addr, length) {
		r.fail(unix.EINVAL)
		return nil
	}
	// mprotect(2) stops at holes.
	r.mapped.within(addr, addr+length, func(start, end uintptr) {
		r.add(Call{Nr: unix.SYS_MPROTECT, Args: [6]uint64{uint64(start), uint64(end - start), uint64(at.Prot())}})
	})
	return nil
}

// Flush carries out what is in the list, and returns the first error since the last Flush.
func (r *Recorder) Flush() error {
	r.run()
	err := r.failed
	r.failed = nil
	return err
}

// valid says whether an application may have something in the range: the stub's own pages
// are out of reach.
func (r *Recorder) valid(addr, length uintptr) bool {
	return addr+length >= addr && addr+length <= r.Limit && (addr|length)&(memmap.PageSize-1) == 0
}

func (r *Recorder) fail(err error) {
	if r.failed == nil {
		r.failed = err
	}
}

func (r *Recorder) add(c Call) {
	if r.n == len(r.List) {
		r.run()
	}
	r.List[r.n] = c
	r.n++
}

func (r *Recorder) run() {
	if r.n == 0 {
		return
	}
	n := r.n
	r.n = 0
	if err := r.Run(n); err != nil {
		r.fail(err)
	}
}

var _ platform.Ops = (*Recorder)(nil)

// Space is a Recorder behind a lock: what is an address space to platform.AddressSpace, but for
// its end.
type Space struct {
	// Mu guards the fields below, and is held while calls are carried out.
	Mu    sync.Mutex
	Calls Recorder
}

// MapFile implements platform.Ops.
func (s *Space) MapFile(addr uintptr, f memmap.File, fr memmap.Range, at memmap.AccessType, precommit bool) error {
	return s.Batch(func(ops platform.Ops) { ops.MapFile(addr, f, fr, at, precommit) })
}

// Unmap implements platform.Ops.
func (s *Space) Unmap(addr, length uintptr) error {
	return s.Batch(func(ops platform.Ops) { ops.Unmap(addr, length) })
}

// Protect implements platform.Ops.
func (s *Space) Protect(addr, length uintptr, at memmap.AccessType) error {
	return s.Batch(func(ops platform.Ops) { ops.Protect(addr, length, at) })
}

// Batch implements platform.AddressSpace.
func (s *Space) Batch(f func(platform.Ops)) error {
	s.Mu.Lock()
	defer s.Mu.Unlock()
	f(&s.Calls)
	return s.Calls.Flush()
}
