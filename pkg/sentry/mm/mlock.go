package mm

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// MLock is mlock2(2): length bytes from the page of addr on stay present; onFault is
// MLOCK_ONFAULT. privileged (CAP_IPC_LOCK) ignores RLIMIT_MEMLOCK. EPERM: the limit is 0;
// ENOMEM: the limit, or holes.
func (m *MemoryManager) MLock(addr uintptr, length uint64, onFault, privileged bool) error {
	mode := lockEager
	if onFault {
		mode = lockOnFault
	}
	return m.setLock(addr, length, mode, privileged)
}

// MUnlock is munlock(2).
func (m *MemoryManager) MUnlock(addr uintptr, length uint64) error {
	return m.setLock(addr, length, lockNone, true)
}

func (m *MemoryManager) setLock(addr uintptr, length uint64, mode lockMode, privileged bool) error {
	start := memmap.PageDown(addr)
	n := memmap.PageUp(length + uint64(addr-start))
	ar := usermem.AddrRange{Start: start, End: start + uintptr(n)}
	if ar.End < ar.Start || n < length {
		return unix.EINVAL
	}
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	if mode != lockNone && !privileged {
		limit := m.memlockLimit()
		if limit == 0 {
			return unix.EPERM
		}
		var already uint64
		for it := m.vmas.LowerBound(ar.Start); it.Ok() && it.Start() < ar.End; it = it.Next() {
			if it.Value().lock != lockNone {
				already += uint64(vmaRange(it).Intersect(ar).Length())
			}
		}
		if m.sizes.locked-already+n > limit {
			return unix.ENOMEM
		}
	}
	if n == 0 {
		return nil
	}
	// What comes before the first hole is done.
	end := ar.Start
	for it := m.vmas.Find(ar.Start); it.Ok() && it.Start() <= end && end < ar.End; it = it.Next() {
		end = it.End()
	}
	whole := end >= ar.End
	ar.End = min(ar.End, end)
	m.eachVMA(ar, func(ar usermem.AddrRange, v *vma) error {
		m.lockVMA(ar, v, mode)
		return nil
	})
	if !whole {
		return unix.ENOMEM
	}
	if mode == lockEager {
		return m.populateLocked(ar)
	}
	return nil
}

func (m *MemoryManager) lockVMA(ar usermem.AddrRange, v *vma, mode lockMode) {
	m.sizes.remove(v, ar.Length())
	v.lock = mode
	m.sizes.add(v, ar.Length())
}

// populateLocked makes pages of ar present as far as they can be. mappingMu is held for
// writing. ENOMEM: some cannot.
func (m *MemoryManager) populateLocked(ar usermem.AddrRange) error {
	c := newChange()
	defer m.drop(c)
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	c.commit = ar.Length() <= eagerMax // larger ones: when touched
	var err error
	for it := m.vmas.LowerBound(ar.Start); it.Ok() && it.Start() < ar.End; it = it.Next() {
		v := it.Value()
		if !v.eff().Any() {
			continue
		}
		at := memmap.Read
		if v.private && v.perms.Write {
			at = memmap.Write
		}
		part := vmaRange(it).Intersect(ar)
		if m.ensure(vmaRange(it), v, part, part, at, c) != nil {
			err = unix.ENOMEM
		}
	}
	if aerr := m.apply(c); aerr != nil {
		err = aerr
	}
	return err
}

// MLockAll is mlockall(2) with MCL_CURRENT, MCL_FUTURE and MCL_ONFAULT.
func (m *MemoryManager) MLockAll(current, future, onFault, privileged bool) error {
	mode := lockEager
	if onFault {
		mode = lockOnFault
	}
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	if !privileged {
		limit := m.memlockLimit()
		if limit == 0 {
			return unix.EPERM
		}
		if current && m.sizes.as > limit {
			return unix.ENOMEM
		}
	}
	m.lockNew = lockNone
	if future {
		m.lockNew = mode
	}
	m.lockFree = privileged
	if current {
		m.lockAll(mode)
		if mode == lockEager {
			m.populateLocked(usermem.AddrRange{End: m.layout.max}) // mlockall ignores failures
		}
	}
	return nil
}

// MUnlockAll is munlockall(2).
func (m *MemoryManager) MUnlockAll() {
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	m.lockNew = lockNone
	m.lockAll(lockNone)
}

func (m *MemoryManager) lockAll(mode lockMode) {
	for it := m.vmas.First(); it.Ok(); it = it.Next() {
		m.lockVMA(vmaRange(it), it.Value(), mode)
	}
	m.vmas.MergeRange(segment.Range[uintptr]{End: m.layout.max})
}
