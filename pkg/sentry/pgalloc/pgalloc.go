// Package pgalloc owns the sandbox's memory file: one memfd in which all application
// memory lives that is not a mapped host file, and tmpfs content with it.
//
// MemoryFile hands out page ranges of the file (Allocate) with one reference; IncRef and
// DecRef count the address spaces, tmpfs files and segments that use each page. A range
// reads as zeros when it is handed out. MemoryFile implements memmap.File: a platform maps
// ranges by FD, and the sentry itself sees them through Blocks.
//
// The whole file is mapped into the sentry once, when it is made, over a reservation of
// terabytes of addresses: offset and address differ by a constant, Blocks is an addition,
// and no lock or table is needed to find a page. The host kernel gives pages when they are
// first touched.
//
// Freed pages still hold old data. They are collected and given back to the host by hole
// punching, in batches: by a timer a few milliseconds later, or by the freeing goroutine
// itself once much is waiting. Until then they are not handed out again, with one
// exception: pages that are known to be present in the host's memory (copies made by
// copy-on-write) are kept in a small pool, from which the next such copy takes them
// without a trip to the host.
//
// Lock order: MemoryFile.mu is a leaf. Host system calls on the file are made without it.
package pgalloc

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
)

const (
	pageSize = memmap.PageSize

	// maxCapacity bounds the file's offsets; less is used where the host limits address
	// space. minCapacity is the least worth working with.
	maxCapacity = 4 << 40
	minCapacity = 4 << 30

	// huge is what the mapping is aligned to.
	huge = 1 << 30

	// firstOffset keeps offset 0 free to mean "none".
	firstOffset = 2 << 20

	// Freed memory is punched out after punchDelay, or at once if punchNow bytes wait.
	punchDelay = 5 * time.Millisecond
	punchNow   = 64 << 20

	// poolMax bounds the pool of present pages, in bytes.
	poolMax = 8 << 20
)

// usage is the value of a used range.
type usage struct {
	// refs counts users; 0 means freed and waiting (for the hole punch or in the pool).
	refs uint64
	// present: every page is in the host's memory.
	present bool
}

// Merge implements segment.Value.
func (u usage) Merge(_, _ segment.Range[uint64], o usage) (usage, bool) { return u, u == o }

// Split implements segment.Value.
func (u usage) Split(segment.Range[uint64], uint64) (usage, usage) { return u, u }

// MemoryFile is the memory file of one sandbox.
type MemoryFile struct {
	fd       int            `state:"nosave"`
	area     unsafe.Pointer `state:"nosave"` // the reservation that holds the mapping
	base     unsafe.Pointer `state:"nosave"` // the sentry's mapping of [0, capacity)
	capacity uint64
	total    atomic.Uint64 // see SetTotalMemory

	mu        sync.Mutex // guards the fields below
	used      segment.Set[uint64, usage]
	allocated uint64 // bytes with refs > 0
	low       uint64 // every page below is used

	dirty      []memmap.Range // freed, to be punched out
	dirtyBytes uint64
	pool       []memmap.Range // freed and present
	poolBytes  uint64
	armed      bool        // the timer will run reclaim
	timer      *time.Timer `state:"nosave"`
	closed     bool

	punchMu sync.Mutex // held while holes are punched; before mu
}

// New makes a memory file over a memfd of its own.
func New() (*MemoryFile, error) {
	fd, err := unix.MemfdCreate("runsc-memory", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory file: memfd_create: %w", err)
	}
	f, err := NewFromFD(fd)
	if err != nil {
		unix.Close(fd)
	}
	return f, err
}

// NewFromFD makes a memory file over an empty memfd, which then belongs to it.
func NewFromFD(fd int) (*MemoryFile, error) {
	f := &MemoryFile{fd: fd, low: firstOffset}
	if err := f.mapAll(); err != nil {
		return nil, err
	}
	var si unix.Sysinfo_t
	if unix.Sysinfo(&si) == nil {
		f.total.Store((si.Totalram + si.Totalswap) * uint64(si.Unit))
	}
	return f, nil
}

// mapAll sizes and maps the file. Neither takes memory before a page is touched.
func (f *MemoryFile) mapAll() error {
	var err error
	for c := uint64(maxCapacity); c >= minCapacity; c /= 2 {
		if err = unix.Ftruncate(f.fd, int64(c)); err != nil {
			continue
		}
		// A huge page needs address and offset to agree modulo its size, so the file
		// goes to an aligned place inside a reservation.
		var area unsafe.Pointer
		area, err = unix.MmapPtr(-1, 0, nil, uintptr(c)+huge, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
		if err != nil {
			continue
		}
		at := unsafe.Add(area, -uintptr(area)&(huge-1))
		f.base, err = unix.MmapPtr(f.fd, 0, at, uintptr(c), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_FIXED|unix.MAP_NORESERVE)
		if err != nil {
			unix.MunmapPtr(area, uintptr(c)+huge)
			continue
		}
		f.area, f.capacity = area, c
		return nil
	}
	return fmt.Errorf("memory file: cannot map it: %w", err)
}

// Close ends the file; nothing may use it any more.
func (f *MemoryFile) Close() {
	f.punchMu.Lock()
	defer f.punchMu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.closed = true
	if f.timer != nil {
		f.timer.Stop()
	}
	unix.MunmapPtr(f.area, uintptr(f.capacity)+huge)
	unix.Close(f.fd)
}

// AllocOpts refines Allocate. The zero value is any page-aligned place.
type AllocOpts struct {
	// Align is a power of two, at least a page; 0 is a page.
	Align uint64
	// At is the offset to prefer, so that ranges that are neighbours in memory are
	// neighbours in the file and are mapped as one; 0 is none.
	At uint64
	// Overwrite says that the caller writes every byte of the range before anybody else
	// sees it: the range may hold old data, and is present afterwards.
	Overwrite bool
	// Precommit makes every page present.
	Precommit bool
}

// Allocate returns length bytes (a multiple of the page size) of the file with one
// reference. They are zero unless o.Overwrite is set. ENOMEM: the file is full.
func (f *MemoryFile) Allocate(length uint64, o AllocOpts) (memmap.Range, error) {
	if length == 0 || length%pageSize != 0 {
		panic(fmt.Sprintf("pgalloc: allocation of %d bytes", length))
	}
	f.mu.Lock()
	if o.Overwrite {
		if fr, ok := f.takePooled(length); ok {
			f.mu.Unlock()
			return fr, nil
		}
	}
	fr, ok := f.find(length, o)
	if !ok && len(f.dirty)+len(f.pool) > 0 {
		f.mu.Unlock()
		f.Reclaim()
		f.mu.Lock()
		fr, ok = f.find(length, o)
	}
	if !ok {
		f.mu.Unlock()
		return memmap.Range{}, unix.ENOMEM
	}
	f.used.Insert(segment.Range[uint64](fr), usage{refs: 1, present: o.Overwrite || o.Precommit})
	f.allocated += length
	f.mu.Unlock()
	if o.Precommit {
		if err := f.Commit(fr); err != nil {
			f.DecRef(fr)
			return memmap.Range{}, err
		}
	}
	return fr, nil
}

// find chooses a free range. mu is held.
func (f *MemoryFile) find(length uint64, o AllocOpts) (memmap.Range, bool) {
	align := max(o.Align, pageSize)
	if a := o.At; a >= firstOffset && a%pageSize == 0 && a+length >= a && a+length <= f.capacity {
		if fr := (memmap.Range{Start: a, End: a + length}); f.used.IsFree(segment.Range[uint64](fr)) {
			return fr, true
		}
	}
	a, ok := f.used.FirstFit(segment.Range[uint64]{Start: f.low, End: f.capacity}, length, align)
	if ok && (length == pageSize && align == pageSize || a == f.low) {
		f.low = a + length
	}
	return memmap.Range{Start: a, End: a + length}, ok
}

// takePooled hands out a present range. mu is held.
func (f *MemoryFile) takePooled(length uint64) (memmap.Range, bool) {
	for i := len(f.pool) - 1; i >= 0; i-- {
		p := f.pool[i]
		if p.Length() < length {
			continue
		}
		fr := memmap.Range{Start: p.Start, End: p.Start + length}
		if fr.End == p.End {
			last := len(f.pool) - 1
			f.pool[i] = f.pool[last]
			f.pool = f.pool[:last]
		} else {
			f.pool[i].Start = fr.End
		}
		f.poolBytes -= length
		f.setRefs(fr, func(u *usage) { u.refs = 1 })
		f.allocated += length
		return fr, true
	}
	return memmap.Range{}, false
}

// setRefs calls change for the value of each part of fr, all of which is in the set. mu is
// held.
func (f *MemoryFile) setRefs(fr memmap.Range, change func(*usage)) {
	r := segment.Range[uint64](fr)
	it := f.used.LowerBound(r.Start)
	pos := r.Start
	for pos < r.End {
		if !it.Ok() || it.Start() > pos {
			panic(fmt.Sprintf("pgalloc: range %v holds pages that are not allocated", r))
		}
		it = f.used.Isolate(it, r)
		pos = it.End()
		change(it.Value())
		it = it.Next()
	}
	f.used.MergeRange(r)
}

// IncRef implements memmap.File.
func (f *MemoryFile) IncRef(fr memmap.Range) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.setRefs(fr, incRef)
}

func incRef(u *usage) {
	if u.refs == 0 {
		panic("pgalloc: reference on a page that is free")
	}
	u.refs++
}

// DecRef implements memmap.File.
func (f *MemoryFile) DecRef(fr memmap.Range) {
	f.mu.Lock()
	r := segment.Range[uint64](fr)
	it := f.used.LowerBound(r.Start)
	pos := r.Start
	for pos < r.End {
		if !it.Ok() || it.Start() > pos || it.Value().refs == 0 {
			f.mu.Unlock()
			panic(fmt.Sprintf("pgalloc: dropping a reference on %v, which has none", r))
		}
		it = f.used.Isolate(it, r)
		u := it.Value()
		if u.refs--; u.refs == 0 {
			f.freed(memmap.Range(it.Range()), u.present)
		}
		pos = it.End()
		it = it.Next()
	}
	f.used.MergeRange(r)
	now := f.dirtyBytes >= punchNow
	if !now && !f.armed && f.dirtyBytes+f.poolBytes > 0 && !f.closed {
		f.armed = true
		if f.timer == nil {
			f.timer = time.AfterFunc(punchDelay, f.tick)
		} else {
			f.timer.Reset(punchDelay)
		}
	}
	f.mu.Unlock()
	if now {
		f.punch(false)
	}
}

// freed notes that fr has no user any more. mu is held.
func (f *MemoryFile) freed(fr memmap.Range, present bool) {
	n := fr.Length()
	f.allocated -= n
	if present && f.poolBytes+n <= poolMax {
		if last := len(f.pool) - 1; last >= 0 && f.pool[last].End == fr.Start {
			f.pool[last].End = fr.End
		} else {
			f.pool = append(f.pool, fr)
		}
		f.poolBytes += n
		return
	}
	if last := len(f.dirty) - 1; last >= 0 && f.dirty[last].End == fr.Start {
		f.dirty[last].End = fr.End
	} else {
		f.dirty = append(f.dirty, fr)
	}
	f.dirtyBytes += n
}

// Refs says how many references the pages of fr have if all have the same number, else 0.
func (f *MemoryFile) Refs(fr memmap.Range) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	it := f.used.Find(fr.Start)
	if !it.Ok() {
		return 0
	}
	refs := it.Value().refs
	for it.End() < fr.End {
		end := it.End()
		if it = it.Next(); !it.Ok() || it.Start() != end || it.Value().refs != refs {
			return 0
		}
	}
	return refs
}

// UniqueLength is how many bytes from the start of fr on have exactly one reference.
func (f *MemoryFile) UniqueLength(fr memmap.Range) uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	pos := fr.Start
	for it := f.used.Find(pos); it.Ok() && it.Start() <= pos && it.Value().refs == 1; it = it.Next() {
		if pos = it.End(); pos >= fr.End {
			return fr.Length()
		}
	}
	return pos - fr.Start
}

// FD implements memmap.File.
func (f *MemoryFile) FD() int { return f.fd }

// Bytes is the sentry's view of fr. It holds while a reference on fr is held.
func (f *MemoryFile) Bytes(fr memmap.Range) []byte {
	if fr.Start > fr.End || fr.End > f.capacity {
		panic(fmt.Sprintf("pgalloc: bytes of %x-%x", fr.Start, fr.End))
	}
	return unsafe.Slice((*byte)(unsafe.Add(f.base, fr.Start)), fr.Length())
}

// Blocks implements memmap.File.
func (f *MemoryFile) Blocks(fr memmap.Range, _ memmap.AccessType, dst [][]byte) ([][]byte, error) {
	return append(dst, f.Bytes(fr)), nil
}

// SetTotalMemory replaces what New found out of TotalMemory.
func (f *MemoryFile) SetTotalMemory(n uint64) { f.total.Store(n) }

// TotalMemory is the memory and swap space of the host, in bytes: what Linux's overcommit
// heuristic looks at, whatever limits the container has.
func (f *MemoryFile) TotalMemory() uint64 {
	if n := f.total.Load(); n != 0 {
		return n
	}
	return f.capacity
}

// Allocated is how many bytes are handed out, touched or not.
func (f *MemoryFile) Allocated() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.allocated
}

// Usage is how many bytes of the host's memory the file takes.
func (f *MemoryFile) Usage() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Fstat(f.fd, &st); err != nil {
		return 0, err
	}
	return uint64(st.Blocks) * 512, nil
}
