package mm

import (
	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// SetBrkStart says where the heap begins: at the end of the program's data, moved up by as
// much as 32 MiB at random unless the layout is not random. Exec calls it once.
func (m *MemoryManager) SetBrkStart(addr uintptr) {
	addr = memmap.PageUp(addr)
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	if !m.layout.noRandom {
		addr += randomPages(13)
	}
	m.brk = usermem.AddrRange{Start: addr, End: addr}
}

// BrkRange is from the heap's start to the present break.
func (m *MemoryManager) BrkRange() usermem.AddrRange {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	return m.brk
}

// SetBrkRange is prctl(2)'s PR_SET_MM_START_BRK and PR_SET_MM_BRK.
func (m *MemoryManager) SetBrkRange(ar usermem.AddrRange) {
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	m.brk = ar
}

// Brk is brk(2): it moves the break to addr and returns the new break, or the old one if
// that is impossible.
func (m *MemoryManager) Brk(addr uintptr) uintptr {
	c := newChange()
	defer m.drop(c)
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	old := m.brk.End
	if addr < m.brk.Start || addr >= m.layout.max {
		return old
	}
	oldEnd, newEnd := memmap.PageUp(old), memmap.PageUp(addr)
	switch {
	case newEnd < oldEnd:
		m.unmapLocked(usermem.AddrRange{Start: newEnd, End: oldEnd}, c)
	case newEnd > oldEnd:
		if uint64(addr-m.brk.Start) > m.dataLimit() {
			return old
		}
		ar := usermem.AddrRange{Start: oldEnd, End: newEnd}
		if !m.vmas.IsFree(segment.Range[uintptr](ar)) || !m.roomFor(ar) {
			return old
		}
		v := vma{perms: memmap.ReadWrite, maxPerms: memmap.AnyAccess, private: true, lock: m.lockNew}
		if m.checkLimits(ar, &v, m.lockFree) != nil || m.place(ar, v, v.lock == lockEager, c) != nil {
			return old
		}
	}
	m.brk.End = addr
	return addr
}
