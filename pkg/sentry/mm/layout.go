package mm

import (
	"crypto/rand"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

const (
	// minAddress is vm.mmap_min_addr.
	minAddress = 0x10000
	// taskSize is the end of user addresses of a process with four levels of page tables.
	taskSize = 0x7ffffffff000

	// stackGuardGap is kept free below a stack.
	stackGuardGap = 256 * pageSize
	// stackGrow is how much a stack grows at least, so that one fault serves many pages.
	stackGrow = 128 << 10
)

// layout is where things go by themselves. It is constant once exec has begun to map.
type layout struct {
	min, max uintptr
	// mmapBase is the end of the area that mmap fills from above; legacy fills upwards
	// from it instead.
	mmapBase uintptr
	legacy   bool
	stackTop uintptr
	pieBase  uintptr
	noRandom bool
}

// LayoutOptions are what an exec knows of the layout.
type LayoutOptions struct {
	// StackLimit is RLIMIT_STACK, in bytes; the mmap area begins below that much room.
	StackLimit uint64
	// NoRandomize is personality(2)'s ADDR_NO_RANDOMIZE.
	NoRandomize bool
	// Legacy is ADDR_COMPAT_LAYOUT: mmap fills upwards. An unlimited stack implies it.
	Legacy bool
}

// randomPages is a random multiple of the page size below 2^bits pages.
func randomPages(bits uint) uintptr {
	var b [8]byte
	rand.Read(b[:])
	return uintptr(binary.LittleEndian.Uint64(b[:])&(1<<bits-1)) * pageSize
}

// SetLayout chooses the layout anew, as Linux does at exec with 28 bits of mmap and 22 bits
// of stack randomisation. Nothing may be mapped yet.
func (m *MemoryManager) SetLayout(o LayoutOptions) {
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	lo, hi := m.p.UserRange()
	l := layout{min: max(lo, minAddress), max: min(hi, taskSize), noRandom: o.NoRandomize}
	l.max = memmap.PageDown(l.max)
	var mmapRnd, stackRnd, pieRnd uintptr
	if !o.NoRandomize {
		mmapRnd, stackRnd, pieRnd = randomPages(28), randomPages(22), randomPages(28)
	}
	size := l.max - l.min
	for mmapRnd > size/16 || pieRnd > size/16 || stackRnd > size/16 { // a platform with little room
		mmapRnd, stackRnd, pieRnd = memmap.PageDown(mmapRnd/2), memmap.PageDown(stackRnd/2), memmap.PageDown(pieRnd/2)
	}
	l.stackTop = l.max - stackRnd
	const maxStackRnd = 1 << 34
	gap := uintptr(min(o.StackLimit, uint64(size)))
	pad := uintptr(stackGuardGap + maxStackRnd)
	gap = min(max(gap+pad, 128<<20), size/6*5)
	if l.legacy = o.Legacy || o.StackLimit == unix.RLIM_INFINITY; l.legacy {
		l.mmapBase = memmap.PageDown(l.min+size/3) + mmapRnd
	} else {
		l.mmapBase = memmap.PageDown(l.max - gap - mmapRnd)
	}
	l.pieBase = memmap.PageDown(l.min/3+l.max/3*2) + pieRnd
	m.layout = l
}

// UserRange is the range of addresses that can be mapped.
func (m *MemoryManager) UserRange() (lo, hi uintptr) { return m.layout.min, m.layout.max }

// StackTop is the end of the main thread's stack.
func (m *MemoryManager) StackTop() uintptr { return m.layout.stackTop }

// PIEBase is where a position-independent executable goes.
func (m *MemoryManager) PIEBase() uintptr { return m.layout.pieBase }

// MapStack maps the main thread's stack and returns the part that exists at first; it grows
// down from there. executable is for programs without a PT_GNU_STACK that says otherwise.
func (m *MemoryManager) MapStack(executable bool) (usermem.AddrRange, error) {
	m.mappingMu.RLock()
	size := uintptr(min(uint64(memmap.PageUp(m.stackLimit())), 256<<10))
	m.mappingMu.RUnlock()
	size = max(size, 8*pageSize)
	perms := memmap.ReadWrite
	perms.Execute = executable
	addr, err := m.MMap(MMapOpts{
		Addr: m.layout.stackTop - size, Length: uint64(size), Fixed: true, NoReplace: true,
		Perms: perms, MaxPerms: memmap.AnyAccess, Private: true, GrowsDown: true, Stack: true,
	})
	return usermem.AddrRange{Start: addr, End: addr + size}, err
}

// free32 is where MAP_32BIT goes.
var free32 = segment.Range[uintptr]{Start: 0x40000000, End: 0x80000000}

// findFree chooses a place for length bytes. mappingMu is held for writing.
func (m *MemoryManager) findFree(hint, length uintptr, o *MMapOpts) (uintptr, error) {
	l := &m.layout
	hint = memmap.PageUp(hint)
	if hint != 0 && !o.Map32Bit {
		hint = max(hint, l.min)
		end := hint + length
		if end > hint && end <= l.max && m.roomFor(usermem.AddrRange{Start: hint, End: end}) {
			return hint, nil
		}
	}
	align := uintptr(pageSize)
	if o.Align > pageSize {
		align = o.Align
	}
	if o.Map32Bit {
		if a, ok := m.vmas.FirstFit(free32, length, align); ok {
			return a, nil
		}
		return 0, unix.ENOMEM
	}
	up := segment.Range[uintptr]{Start: l.mmapBase, End: l.max}
	if !l.legacy {
		down := segment.Range[uintptr]{Start: l.min, End: l.mmapBase}
		if a, ok := m.vmas.LastFit(down, length, align); ok && m.roomFor(usermem.AddrRange{Start: a, End: a + length}) {
			return a, nil
		}
		// A stack that grows down may be in the way; look below it.
		if a, ok := m.vmas.LastFit(down, length+stackGuardGap, align); ok {
			return a, nil
		}
	}
	if a, ok := m.vmas.FirstFit(up, length, align); ok && m.roomFor(usermem.AddrRange{Start: a, End: a + length}) {
		return a, nil
	}
	if a, ok := m.vmas.FirstFit(segment.Range[uintptr]{Start: l.min, End: l.max}, length+stackGuardGap, align); ok {
		return a, nil
	}
	return 0, unix.ENOMEM
}

// roomFor says whether ar is free and keeps its distance from a stack above it.
func (m *MemoryManager) roomFor(ar usermem.AddrRange) bool {
	it := m.vmas.LowerBound(ar.Start)
	if !it.Ok() {
		return true
	}
	if it.Start() < ar.End {
		return false
	}
	return !it.Value().growsDown || it.Start()-ar.End >= stackGuardGap
}

// growStack extends the stack above addr down to it, if there is one that may grow so far.
// No lock is held.
func (m *MemoryManager) growStack(addr uintptr) bool {
	c := newChange()
	defer m.drop(c)
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	it := m.vmas.LowerBound(addr)
	if !it.Ok() {
		return false
	}
	if it.Start() <= addr {
		return false
	}
	v := it.Value()
	if !v.growsDown {
		return false
	}
	// The floor: a guard gap above the next mapping, unless nobody can touch that, and
	// the limit on the stack's size.
	floor := m.layout.min
	if prev := it.Prev(); prev.Ok() {
		floor = prev.End()
		if prev.Value().perms.Any() && !prev.Value().growsDown {
			floor += stackGuardGap
		}
	}
	if limit := m.stackLimit(); limit < uint64(it.End()) {
		floor = max(floor, memmap.PageUp(it.End()-uintptr(limit)))
	}
	start := memmap.PageDown(addr)
	if start < floor {
		return false
	}
	if low := it.Start() - min(it.Start(), stackGrow); low < start {
		start = max(low, floor)
	}
	grown := usermem.AddrRange{Start: start, End: it.Start()}
	n := uint64(grown.Length())
	if m.sizes.as+n > m.addressLimit() || v.lock != lockNone && !m.lockFree && m.sizes.locked+n > m.memlockLimit() {
		return false
	}
	m.sizes.add(v, grown.Length())
	it.Resize(segment.Range[uintptr]{Start: start, End: it.End()})
	if v.mappable != nil {
		return true // MAP_GROWSDOWN is anonymous; nothing to translate ahead
	}
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	if m.ensure(vmaRange(it), v, grown, grown, memmap.NoAccess, c) == nil {
		m.apply(c)
	}
	return true
}
