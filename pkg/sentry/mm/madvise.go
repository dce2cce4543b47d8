package mm

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// Advice that x/sys has no name for.
const (
	madvSoftOffline = 101
	madvHWPoison    = 100
)

// MAdvise is madvise(2). ENOMEM: the range has holes (the rest is done all the same);
// EINVAL: bad range or advice, or advice that does not fit the mapping; EACCES: MADV_REMOVE
// of what cannot be written.
func (m *MemoryManager) MAdvise(addr uintptr, length uint64, advice int) error {
	ar, err := checkRange(addr, length)
	if err != nil {
		return err
	}
	var f func(ar usermem.AddrRange, v *vma) error
	switch advice {
	case unix.MADV_NORMAL, unix.MADV_RANDOM, unix.MADV_SEQUENTIAL, unix.MADV_WILLNEED,
		unix.MADV_HUGEPAGE, unix.MADV_NOHUGEPAGE, unix.MADV_MERGEABLE, unix.MADV_UNMERGEABLE,
		unix.MADV_COLD, unix.MADV_PAGEOUT, unix.MADV_COLLAPSE:
		f = func(usermem.AddrRange, *vma) error { return nil }
	case unix.MADV_DONTNEED, unix.MADV_DONTNEED_LOCKED, unix.MADV_FREE:
		return m.discard(ar, advice)
	case unix.MADV_REMOVE:
		return m.removePages(ar)
	case unix.MADV_POPULATE_READ, unix.MADV_POPULATE_WRITE:
		return m.populate(ar, advice == unix.MADV_POPULATE_WRITE)
	case unix.MADV_DONTFORK:
		f = func(_ usermem.AddrRange, v *vma) error { v.dontFork = true; return nil }
	case unix.MADV_DOFORK:
		f = func(_ usermem.AddrRange, v *vma) error { v.dontFork = false; return nil }
	case unix.MADV_WIPEONFORK:
		f = func(_ usermem.AddrRange, v *vma) error {
			if v.mappable != nil {
				return unix.EINVAL
			}
			v.wipeOnFork = true
			return nil
		}
	case unix.MADV_KEEPONFORK:
		f = func(_ usermem.AddrRange, v *vma) error { v.wipeOnFork = false; return nil }
	case unix.MADV_DONTDUMP:
		f = func(_ usermem.AddrRange, v *vma) error { v.dontDump = true; return nil }
	case unix.MADV_DODUMP:
		f = func(_ usermem.AddrRange, v *vma) error { v.dontDump = false; return nil }
	case madvHWPoison, madvSoftOffline:
		return unix.EPERM
	default:
		return unix.EINVAL
	}
	if ar.Length() == 0 {
		return nil
	}
	m.mappingMu.Lock()
	whole, err := m.eachVMA(ar, f)
	m.mappingMu.Unlock()
	if err == nil && !whole {
		err = unix.ENOMEM
	}
	return err
}

// discard is MADV_DONTNEED and MADV_FREE: private pages in ar lose their content.
func (m *MemoryManager) discard(ar usermem.AddrRange, advice int) error {
	c := newChange()
	defer m.drop(c)
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	pos := ar.Start
	hole := false
	for it := m.vmas.LowerBound(pos); it.Ok() && it.Start() < ar.End; it = it.Next() {
		hole = hole || it.Start() > pos
		pos = it.End()
		v := it.Value()
		if v.lock != lockNone && advice != unix.MADV_DONTNEED_LOCKED || advice == unix.MADV_FREE && v.mappable != nil {
			m.apply(c)
			return unix.EINVAL
		}
		m.discardPages(vmaRange(it).Intersect(ar), c)
	}
	m.apply(c)
	if hole || pos < ar.End {
		return unix.ENOMEM
	}
	return nil
}

// discardPages drops the private pages in ar. Pages that nobody else has are emptied where
// they are, by one call to the host and without a change of mappings. activeMu is held for
// writing.
func (m *MemoryManager) discardPages(ar usermem.AddrRange, c *change) {
	r := segment.Range[uintptr](ar)
	for it := m.pmas.LowerBound(ar.Start); it.Ok() && it.Start() < ar.End; {
		p := it.Value()
		if !p.private {
			it = it.Next()
			continue
		}
		part := usermem.AddrRange(it.Range()).Intersect(ar)
		fr := p.fileRange(it.Start(), part)
		vit := m.vmas.Find(part.Start)
		anonymous := vit.Ok() && vit.Value().mappable == nil
		if anonymous && !p.needCOW && m.mf.UniqueLength(fr) == fr.Length() {
			m.mf.Decommit(fr)
			it = it.Next()
			continue
		}
		c.unmap = addRange(c.unmap, part)
		it = m.removePart(it, r, c)
	}
}

// lentPart is a part of a shared mapping that a call is made on without locks.
type lentPart struct {
	mappable memmap.Mappable
	id       memmap.Identity
	r        memmap.Range
}

// sharedParts lists the shared file mappings in ar, with references on their identities;
// check can refuse a VMA. ENOMEM: there are holes.
func (m *MemoryManager) sharedParts(ar usermem.AddrRange, check func(v *vma) error) (parts []lentPart, err error) {
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	pos := ar.Start
	for it := m.vmas.LowerBound(pos); it.Ok() && it.Start() < ar.End; it = it.Next() {
		if it.Start() > pos {
			err = unix.ENOMEM
		}
		pos = it.End()
		v := it.Value()
		if cerr := check(v); cerr != nil {
			return parts, cerr
		}
		if v.private || v.mappable == nil {
			continue
		}
		part := vmaRange(it).Intersect(ar)
		if v.id != nil {
			v.id.IncRef()
		}
		parts = append(parts, lentPart{v.mappable, v.id, memmap.Range{
			Start: v.offsetOf(it.Start(), part.Start), End: v.offsetOf(it.Start(), part.End),
		}})
	}
	if pos < ar.End {
		err = unix.ENOMEM
	}
	return parts, err
}

func (p *lentPart) release() {
	if p.id != nil {
		p.id.DecRef()
	}
}

// punchHole empties the part. EOPNOTSUPP: it is of something that cannot.
func (p *lentPart) punchHole() error {
	h, ok := p.mappable.(memmap.HolePuncher)
	if !ok {
		h, ok = p.id.(memmap.HolePuncher)
	}
	if !ok {
		return unix.EOPNOTSUPP
	}
	return h.PunchHole(p.r)
}

// removePages is MADV_REMOVE.
func (m *MemoryManager) removePages(ar usermem.AddrRange) error {
	parts, err := m.sharedParts(ar, func(v *vma) error {
		switch {
		case v.lock != lockNone || v.mappable == nil:
			return unix.EINVAL
		case v.private || !v.maxPerms.Write:
			return unix.EACCES
		}
		return nil
	})
	var failed error
	for i := range parts { // also those before a VMA that was refused
		if failed == nil {
			failed = parts[i].punchHole()
		}
		parts[i].release()
	}
	if failed != nil {
		return failed
	}
	return err
}

// populate is MADV_POPULATE_READ and MADV_POPULATE_WRITE.
func (m *MemoryManager) populate(ar usermem.AddrRange, write bool) error {
	if ar.Length() == 0 {
		return nil
	}
	at := memmap.Read
	if write {
		at = memmap.Write
	}
	pos, err := m.fill(ar, at)
	if err == nil {
		return nil
	}
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	if it := m.vmas.Find(pos); !it.Ok() {
		return unix.ENOMEM
	} else if !it.Value().eff().SupersetOf(at) {
		return unix.EINVAL
	}
	return unix.EFAULT
}

// MSync is msync(2). EINVAL: bad flags or address; ENOMEM: holes; EBUSY: MS_INVALIDATE of
// locked memory.
func (m *MemoryManager) MSync(addr uintptr, length uint64, flags int) error {
	if flags&^(unix.MS_ASYNC|unix.MS_INVALIDATE|unix.MS_SYNC) != 0 || flags&unix.MS_ASYNC != 0 && flags&unix.MS_SYNC != 0 {
		return unix.EINVAL
	}
	ar, err := checkRange(addr, length)
	if err != nil {
		if addr%pageSize == 0 {
			return unix.ENOMEM
		}
		return err
	}
	if ar.Length() == 0 {
		return nil
	}
	parts, err := m.sharedParts(ar, func(v *vma) error {
		if flags&unix.MS_INVALIDATE != 0 && v.lock != lockNone {
			return unix.EBUSY
		}
		return nil
	})
	for i := range parts {
		p := &parts[i]
		s, ok := p.mappable.(memmap.Syncer)
		if !ok {
			s, ok = p.id.(memmap.Syncer)
		}
		if ok && flags&unix.MS_SYNC != 0 && err != unix.EBUSY {
			if serr := s.SyncMapped(p.r); serr != nil && err == nil {
				err = serr
			}
		}
		p.release()
	}
	return err
}

// Mincore is mincore(2) for len(vec) pages from addr on. EINVAL: addr is not aligned;
// ENOMEM: the range has holes.
func (m *MemoryManager) Mincore(addr uintptr, vec []byte) error {
	if addr%pageSize != 0 {
		return unix.EINVAL
	}
	ar, ok := toRange(addr, len(vec)*pageSize)
	if !ok {
		return unix.ENOMEM
	}
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	if !m.vmas.Covers(segment.Range[uintptr](ar)) {
		return unix.ENOMEM
	}
	clear(vec)
	m.activeMu.RLock()
	defer m.activeMu.RUnlock()
	for it := m.pmas.LowerBound(ar.Start); it.Ok() && it.Start() < ar.End; it = it.Next() {
		part := usermem.AddrRange(it.Range()).Intersect(ar)
		v := vec[(part.Start-ar.Start)/pageSize : (part.End-ar.Start)/pageSize]
		p := it.Value()
		if m.isOurs(p.file) {
			m.mf.Presence(p.fileRange(it.Start(), part), v)
			continue
		}
		for i := range v {
			v[i] = 1
		}
	}
	return nil
}
