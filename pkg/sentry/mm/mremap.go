package mm

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// MRemapOpts are mremap(2)'s flags and new address.
type MRemapOpts struct {
	MayMove   bool
	Fixed     bool
	DontUnmap bool
	IPCLock   bool // the caller has CAP_IPC_LOCK
	NewAddr   uintptr
}

// MRemap is mremap(2); it returns the mapping's address. EINVAL: bad arguments; EFAULT: the
// old range is not in one mapping; ENOMEM: no room, a limit, or it would have to move;
// EAGAIN: RLIMIT_MEMLOCK.
func (m *MemoryManager) MRemap(oldAddr uintptr, oldLen, newLen uint64, o MRemapOpts) (uintptr, error) {
	if oldAddr%pageSize != 0 || (o.Fixed || o.DontUnmap) && !o.MayMove || o.DontUnmap && oldLen != newLen {
		return 0, unix.EINVAL
	}
	old64, new64 := memmap.PageUp(oldLen), memmap.PageUp(newLen)
	limit := uint64(m.layout.max)
	if new64 == 0 || new64 > limit || old64 > limit || old64 == 0 && oldLen != 0 {
		return 0, unix.EINVAL
	}
	src := usermem.AddrRange{Start: oldAddr, End: oldAddr + uintptr(old64)}
	var dst usermem.AddrRange
	if o.Fixed {
		dst = usermem.AddrRange{Start: o.NewAddr, End: o.NewAddr + uintptr(new64)}
		if dst.Start%pageSize != 0 || dst.End < dst.Start || uint64(dst.End) > limit || dst.Overlaps(src) {
			return 0, unix.EINVAL
		}
		if dst.Start < m.layout.min {
			return 0, unix.EPERM
		}
	}
	if src.End < src.Start { // so high that nothing is mapped there
		return 0, unix.EFAULT
	}

	c := newChange()
	defer m.drop(c)
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	it := m.vmas.Find(oldAddr)
	if !it.Ok() {
		return 0, unix.EFAULT
	}
	v := *it.Value()
	if old64 == 0 && (v.private || !o.MayMove) {
		return 0, unix.EINVAL // only shared memory can be duplicated
	}
	if src.End > it.End() && new64 > old64 || src.End > it.End() && (o.Fixed || o.DontUnmap) {
		return 0, unix.EFAULT
	}

	// Shrinking, where it is: the tail goes.
	if new64 <= old64 && !o.Fixed && !o.DontUnmap {
		if new64 < old64 {
			m.unmapLocked(usermem.AddrRange{Start: oldAddr + uintptr(new64), End: src.End}, c)
		}
		return oldAddr, nil
	}
	if new64 < old64 {
		m.unmapLocked(usermem.AddrRange{Start: oldAddr + uintptr(new64), End: src.End}, c)
		src.End = oldAddr + uintptr(new64)
		old64 = new64
	}

	more := new64 - old64
	if o.DontUnmap {
		more = new64
	}
	if m.sizes.as+more > m.addressLimit() || v.isData() && m.sizes.data+more > m.dataLimit() {
		return 0, unix.ENOMEM
	}
	if v.lock != lockNone && !o.IPCLock && m.sizes.locked+more > m.memlockLimit() {
		return 0, unix.EAGAIN
	}
	it = m.vmas.Find(oldAddr)
	if v.mappable != nil && v.offsetOf(it.Start(), oldAddr)+new64 < new64 {
		return 0, unix.EINVAL
	}

	// Growing where it is.
	if !o.Fixed && !o.DontUnmap && old64 != 0 && src.End == it.End() {
		grown := usermem.AddrRange{Start: src.End, End: oldAddr + uintptr(new64)}
		if grown.End > grown.Start && grown.End <= m.layout.max && m.vmas.IsFree(segment.Range[uintptr](grown)) && m.roomFor(grown) {
			g := v
			if v.mappable != nil {
				g.offset = v.offsetOf(it.Start(), grown.Start)
			}
			if err := m.place(grown, g, v.lock == lockEager, c); err != nil {
				return 0, err
			}
			return oldAddr, nil
		}
	}
	if !o.MayMove {
		return 0, unix.ENOMEM
	}
	if !o.Fixed {
		a, err := m.findFree(0, uintptr(new64), &MMapOpts{})
		if err != nil {
			return 0, err
		}
		dst = usermem.AddrRange{Start: a, End: a + uintptr(new64)}
	}
	if err := m.move(src, dst, o.DontUnmap, c); err != nil {
		return 0, err
	}
	return dst.Start, nil
}

// move makes the mapping at src, which lies in one VMA, appear at dst, which may be longer,
// with its pages; keep leaves the VMA at src too, without pages (MREMAP_DONTUNMAP). If src
// is empty the mapping is duplicated. mappingMu is held for writing.
func (m *MemoryManager) move(src, dst usermem.AddrRange, keep bool, c *change) error {
	m.clear(dst, c)
	it := m.vmas.Find(src.Start)
	if !it.Ok() { // nothing was to be duplicated onto itself
		m.applyNow(c)
		return unix.EFAULT
	}
	v := *it.Value()
	if v.mappable != nil {
		v.offset = v.offsetOf(it.Start(), src.Start)
		if err := v.mappable.CopyMapping(m, src, dst, v.offset, v.canWriteShared()); err != nil {
			m.applyNow(c)
			return err
		}
	}
	if v.id != nil {
		v.id.IncRef()
	}
	lockEagerly := v.lock == lockEager
	if !keep && src.Length() > 0 {
		m.removeVMAs(src, c)
	} else if keep && v.lock != lockNone {
		// The old place loses its lock with its pages (mremap(2)).
		m.eachVMA(src, func(ar usermem.AddrRange, o *vma) error {
			m.sizes.locked -= uint64(ar.Length())
			o.lock = lockNone
			return nil
		})
	}
	nit := m.insertVMA(dst, v)
	m.activeMu.Lock()
	// Take the pages out, and put them in again at their new place.
	type moved struct {
		ar usermem.AddrRange
		p  pma
	}
	var pages []moved
	r := segment.Range[uintptr](src)
	for pit := m.pmas.LowerBound(src.Start); src.Length() > 0 && pit.Ok() && pit.Start() < src.End; {
		pit = m.pmas.Isolate(pit, r)
		pages = append(pages, moved{usermem.AddrRange(pit.Range()), *pit.Value()})
		pit = m.pmas.Remove(pit)
	}
	for _, pg := range pages {
		ar := usermem.AddrRange{Start: pg.ar.Start - src.Start + dst.Start, End: pg.ar.End - src.Start + dst.Start}
		m.pmas.Insert(segment.Range[uintptr](ar), pg.p)
		c.remap = addRange(c.remap, ar)
	}
	if len(pages) > 0 {
		c.unmap = append(c.unmap, src)
	}
	if grown := (usermem.AddrRange{Start: dst.Start + src.Length(), End: dst.End}); grown.Length() > 0 {
		m.mapAhead(nit, grown, lockEagerly, c)
	}
	err := m.apply(c)
	if err != nil {
		// The move has happened; what the host refused comes back by faults.
		m.as.Unmap(dst.Start, dst.Length())
		m.as.Unmap(src.Start, src.Length())
	}
	m.activeMu.Unlock()
	m.forgetMappings(c)
	return nil
}
