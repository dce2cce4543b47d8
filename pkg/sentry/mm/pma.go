package mm

import (
	"sync"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/usermem"
)

// pma says where pages of the application are. It holds a reference on them.
type pma struct {
	file memmap.File
	off  uint64 // of the segment's start in file

	// max is what file allows; eff what the application may do now without a fault: the
	// VMA's protection, max, and no writing while needCOW is set.
	max, eff memmap.AccessType
	// needCOW: the pages belong to a file or to other address spaces too; a write goes to
	// a copy. Set only in private VMAs.
	needCOW bool
	// private: the pages are memory of this address space (perhaps shared by fork), not
	// the mappable's: they stay when the mappable invalidates its translations.
	private bool
}

// Merge implements segment.Value.
func (p pma) Merge(r, _ segment.Range[uintptr], o pma) (pma, bool) {
	o.off -= uint64(r.Length())
	return p, p == o
}

// Split implements segment.Value.
func (p pma) Split(r segment.Range[uintptr], at uintptr) (pma, pma) {
	o := p
	o.off += uint64(at - r.Start)
	return p, o
}

// restrict computes eff from the VMA's effective protection.
func (p *pma) restrict(vmaEff memmap.AccessType) {
	p.eff = vmaEff.Intersect(p.max)
	if p.needCOW {
		p.eff.Write = false
	}
}

// fileRange is the part of the file that ar, in the segment that starts at start, shows.
func (p *pma) fileRange(start uintptr, ar usermem.AddrRange) memmap.Range {
	return memmap.Range{Start: p.off + uint64(ar.Start-start), End: p.off + uint64(ar.End-start)}
}

type droppedRef struct {
	file memmap.File
	fr   memmap.Range
}

type removedVMA struct {
	ar usermem.AddrRange
	v  vma
}

// change collects what a change of PMAs means for the host, and what is to be let go of
// when the host has followed. It is used by one call and then again by another one.
type change struct {
	unmap   []usermem.AddrRange // to be unmapped where no PMA is
	remap   []usermem.AddrRange // PMAs here are new or point elsewhere
	present []usermem.AddrRange // as remap, and the pages are in memory: map each now
	protect []usermem.AddrRange // PMAs here only changed eff
	commit  bool                // make pages present

	refs []droppedRef
	vmas []removedVMA
	told int // how many of vmas' mappables know

	m    *MemoryManager     // whose change is being applied
	emit func(platform.Ops) // m.emit with this change; made once
}

var changes = sync.Pool{New: func() any {
	c := &change{}
	c.emit = func(ops platform.Ops) { c.m.emit(c, ops) }
	return c
}}

// newChange is an empty change; MemoryManager.drop ends it.
func newChange() *change { return changes.Get().(*change) }

func addRange(l []usermem.AddrRange, ar usermem.AddrRange) []usermem.AddrRange {
	if n := len(l) - 1; n >= 0 && l[n].End == ar.Start {
		l[n].End = ar.End
		return l
	}
	return append(l, ar)
}

// drop lets go of what the change removed, and of the change. No lock is held.
func (m *MemoryManager) drop(c *change) {
	m.inflight.drop(c.refs)
	for i := range c.vmas {
		if id := c.vmas[i].v.id; id != nil {
			id.DecRef()
		}
	}
	clear(c.refs)
	clear(c.vmas)
	c.refs, c.vmas, c.told = c.refs[:0], c.vmas[:0], 0
	c.done()
	c.commit = false
	if cap(c.refs)+cap(c.vmas)+cap(c.remap) < 4096 {
		changes.Put(c)
	}
}

// done forgets what the host was told.
func (c *change) done() {
	c.unmap, c.remap, c.present, c.protect = c.unmap[:0], c.remap[:0], c.present[:0], c.protect[:0]
}

// isEmpty says whether the host has nothing to do.
func (c *change) isEmpty() bool { return len(c.unmap)+len(c.remap)+len(c.present)+len(c.protect) == 0 }

// apply makes the host follow. activeMu is held for writing. An error is ENOMEM for the
// caller: the host refused, and its state in the ranges is unknown.
func (m *MemoryManager) apply(c *change) error {
	if c.isEmpty() {
		return nil
	}
	m.changes++
	if m.waiting {
		c.done()
		return nil
	}
	c.m = m
	err := m.as.Batch(c.emit)
	c.m = nil
	c.done()
	if err != nil {
		return unix.ENOMEM
	}
	return nil
}

func (m *MemoryManager) emit(c *change, ops platform.Ops) {
	for _, ar := range c.unmap {
		pos := ar.Start
		for it := m.pmas.LowerBound(pos); it.Ok() && it.Start() < ar.End; it = it.Next() {
			if it.Start() > pos {
				ops.Unmap(pos, it.Start()-pos)
			}
			pos = it.End()
		}
		if pos < ar.End {
			ops.Unmap(pos, ar.End-pos)
		}
	}
	for _, ar := range c.remap {
		m.emitMaps(ar, c.commit, ops)
	}
	for _, ar := range c.present {
		m.emitMaps(ar, true, ops)
	}
	var run usermem.AddrRange
	var eff memmap.AccessType
	flush := func() {
		if run.Length() > 0 {
			ops.Protect(run.Start, run.Length(), eff)
		}
	}
	for _, ar := range c.protect {
		for it := m.pmas.LowerBound(ar.Start); it.Ok() && it.Start() < ar.End; it = it.Next() {
			part := usermem.AddrRange(it.Range()).Intersect(ar)
			if part.Start == run.End && it.Value().eff == eff {
				run.End = part.End
				continue
			}
			flush()
			run, eff = part, it.Value().eff
		}
	}
	flush()
}

// emitMaps maps the PMAs in ar; precommit makes their pages present.
func (m *MemoryManager) emitMaps(ar usermem.AddrRange, precommit bool, ops platform.Ops) {
	for it := m.pmas.LowerBound(ar.Start); it.Ok() && it.Start() < ar.End; it = it.Next() {
		p := it.Value()
		part := usermem.AddrRange(it.Range()).Intersect(ar)
		ops.MapFile(part.Start, p.file, p.fileRange(it.Start(), part), p.eff, precommit && p.eff.Any())
	}
}

// removePMAs removes the PMAs in ar. activeMu is held for writing.
func (m *MemoryManager) removePMAs(ar usermem.AddrRange, c *change) {
	r := segment.Range[uintptr](ar)
	it := m.pmas.LowerBound(r.Start)
	if !it.Ok() || it.Start() >= r.End {
		return
	}
	c.unmap = addRange(c.unmap, ar)
	if m.pmas.First().Start() >= r.Start && m.pmas.Last().End() <= r.End {
		for ; it.Ok(); it = it.Next() {
			p := it.Value()
			c.refs = append(c.refs, droppedRef{p.file, p.fileRange(it.Start(), usermem.AddrRange(it.Range()))})
		}
		m.pmas.Clear()
		return
	}
	for it.Ok() && it.Start() < r.End {
		it = m.removePart(it, r, c)
	}
}

// removePart removes what of the PMA at it lies in r, and returns the next PMA. activeMu is held
// for writing.
func (m *MemoryManager) removePart(it pmaIter, r segment.Range[uintptr], c *change) pmaIter {
	it = m.pmas.Isolate(it, r)
	p := it.Value()
	c.refs = append(c.refs, droppedRef{p.file, p.fileRange(it.Start(), usermem.AddrRange(it.Range()))})
	return m.pmas.Remove(it)
}

// Invalidate implements memmap.MappingSpace.
func (m *MemoryManager) Invalidate(ar usermem.AddrRange, private bool) {
	c := newChange()
	m.activeMu.Lock()
	r := segment.Range[uintptr](ar)
	it := m.pmas.LowerBound(r.Start)
	for it.Ok() && it.Start() < r.End {
		if it.Value().private && !private {
			it = it.Next()
			continue
		}
		c.unmap = addRange(c.unmap, usermem.AddrRange(it.Range()).Intersect(ar))
		it = m.removePart(it, r, c)
	}
	m.apply(c)
	m.activeMu.Unlock()
	m.drop(c)
}

// gapAround is the part of within around pos in which no PMA is; pos has none.
func (m *MemoryManager) gapAround(pos uintptr, within usermem.AddrRange) usermem.AddrRange {
	next := m.pmas.LowerBound(pos)
	if next.Ok() {
		within.End = min(within.End, next.Start())
	}
	if prev := next.Prev(); prev.Ok() {
		within.Start = max(within.Start, prev.End())
	}
	return within
}

// ensure makes every page of ar, which lies in the VMA v at vr, present and allows at,
// unless v itself forbids it. It may do the same for pages of opt ⊇ ar, which lies in vr too.
// at holds Write only if pages may become private copies or are shared. mappingMu is held,
// activeMu for writing. EFAULT: the mappable has nothing there.
func (m *MemoryManager) ensure(vr usermem.AddrRange, v *vma, ar, opt usermem.AddrRange, at memmap.AccessType, c *change) error {
	retried := false
	for pos := ar.Start; pos < ar.End; {
		it := m.pmas.LowerBound(pos)
		if !it.Ok() || it.Start() > pos {
			gap := m.gapAround(pos, opt)
			if v.mappable == nil {
				if err := m.allocateAnonymous(v, gap, pos, c); err != nil {
					return err
				}
			} else if err := m.translate(vr, v, usermem.AddrRange{Start: pos, End: min(gap.End, ar.End)}, gap, at, c); err != nil {
				return err
			}
			continue
		}
		p := it.Value()
		if at.Write && p.needCOW {
			need := ar
			need.Start = pos
			if err := m.breakCOW(vr, v, it, need, opt, c); err != nil {
				return err
			}
			continue
		}
		if !p.max.SupersetOf(at) && !v.private {
			// Translated for reading only so far.
			if retried {
				return unix.EFAULT
			}
			retried = true
			part := usermem.AddrRange(it.Range()).Intersect(ar)
			m.removePMAs(part, c)
			continue
		}
		retried = false
		pos = it.End()
	}
	return nil
}

// allocateAnonymous backs gap with zero pages, or some of it around pos if the memory file is
// nearly full.
func (m *MemoryManager) allocateAnonymous(v *vma, gap usermem.AddrRange, pos uintptr, c *change) error {
	for {
		fr, err := m.mf.Allocate(uint64(gap.Length()), pgalloc.AllocOpts{At: m.neighbour(gap)})
		if err == nil {
			p := pma{file: m.mf, off: fr.Start, max: memmap.AnyAccess, private: true}
			p.restrict(v.eff())
			m.pmas.Insert(segment.Range[uintptr](gap), p)
			c.remap = addRange(c.remap, gap)
			return nil
		}
		if gap.Length() <= pageSize {
			return err
		}
		half := usermem.AddrRange{Start: pos, End: memmap.PageUp(pos + gap.Length()/2)}
		gap = half.Intersect(gap)
	}
}

// neighbour is the memory file's offset that would make pages for ar continue those of a
// neighbour, 0 if there is none.
func (m *MemoryManager) neighbour(ar usermem.AddrRange) uint64 {
	next := m.pmas.LowerBound(ar.Start)
	if prev := next.Prev(); prev.Ok() && prev.End() == ar.Start && prev.Value().private {
		return prev.Value().off + uint64(prev.Range().Length())
	}
	for next.Ok() && next.Start() < ar.End {
		next = next.Next() // the pages about to be replaced
	}
	if next.Ok() && next.Start() == ar.End && next.Value().private && next.Value().off > uint64(ar.Length()) {
		return next.Value().off - uint64(ar.Length())
	}
	return 0
}

// translate asks the mappable for required and what is cheap of opt around it.
func (m *MemoryManager) translate(vr usermem.AddrRange, v *vma, required, opt usermem.AddrRange, at memmap.AccessType, c *change) error {
	rr := memmap.Range{Start: v.offsetOf(vr.Start, required.Start), End: v.offsetOf(vr.Start, required.End)}
	or := memmap.Range{Start: v.offsetOf(vr.Start, opt.Start), End: v.offsetOf(vr.Start, opt.End)}
	if v.private {
		at.Write = false
	}
	var buf [4]memmap.Translation
	ts, err := v.mappable.Translate(rr, or, at, buf[:0])
	covered := false
	for _, t := range ts {
		src := t.Source.Intersect(or)
		if src.Length() == 0 {
			continue
		}
		part := usermem.AddrRange{Start: vr.Start + uintptr(src.Start-v.offset), End: vr.Start + uintptr(src.End-v.offset)}
		if !m.pmas.IsFree(segment.Range[uintptr](part)) {
			continue // the mappable repeats itself
		}
		fr := t.FileRange(src)
		t.File.IncRef(fr)
		p := pma{file: t.File, off: fr.Start, max: t.Perms, needCOW: v.private}
		p.max.Read = true
		if v.private {
			p.max = memmap.AnyAccess
		}
		p.restrict(v.eff())
		m.pmas.Insert(segment.Range[uintptr](part), p)
		c.remap = addRange(c.remap, part)
		covered = covered || part.Contains(required.Start)
	}
	if covered {
		return nil
	}
	if err == nil {
		err = unix.EFAULT
	}
	return err
}

// cowSize is how much copy-on-write copies at a time. Each copy is a mapping of its own on the
// host, which has a limit on their number (vm.max_map_count, 65530): a program that changes a
// large heap here and there beside a forked child must not reach it.
func (m *MemoryManager) cowSize() uintptr {
	switch n := m.pmas.Len(); {
	case n < 4<<10:
		return cowChunk
	case n < 12<<10:
		return 256 << 10
	case n < 24<<10:
		return 2 << 20
	}
	return 32 << 20
}

// breakCOW makes pages of the PMA it, from need.Start on, the address space's own.
func (m *MemoryManager) breakCOW(vr usermem.AddrRange, v *vma, it pmaIter, need, opt usermem.AddrRange, c *change) error {
	pr := usermem.AddrRange(it.Range())
	p := *it.Value()
	if v.eff().Write {
		m.hot.note(need.Start)
	}
	if p.private {
		// The other owners may be gone already; then all that is alone becomes writable.
		r := pr.Intersect(vr)
		n := m.mf.UniqueLength(p.fileRange(pr.Start, r))
		if n < uint64(r.Length()) {
			r.Start = need.Start
			n = m.mf.UniqueLength(p.fileRange(pr.Start, r))
			r.End = r.Start + uintptr(n)
		}
		if n > 0 {
			it = m.pmas.Isolate(it, segment.Range[uintptr](r))
			it.Value().needCOW = false
			it.Value().restrict(v.eff())
			m.pmas.MergeRange(segment.Range[uintptr](r))
			c.protect = addRange(c.protect, r)
			return nil
		}
	}
	// A chunk around the page, or all that is needed if that is more.
	size := m.cowSize()
	r := usermem.AddrRange{Start: need.Start &^ (size - 1), End: (need.End + size - 1) &^ (size - 1)}
	r = r.Intersect(opt).Intersect(pr)
	for {
		fr, whole, err := m.copyPages(p, pr.Start, r)
		if err == nil {
			it = m.pmas.Isolate(it, segment.Range[uintptr](r))
			c.refs = append(c.refs, droppedRef{p.file, p.fileRange(pr.Start, r)})
			np := pma{file: m.mf, off: fr.Start, max: memmap.AnyAccess, private: true}
			np.restrict(v.eff())
			*it.Value() = np
			m.pmas.MergeRange(segment.Range[uintptr](r))
			if whole && r.Length() <= cowChunk {
				c.present = addRange(c.present, r) // one call instead of a fault per page
			} else {
				c.remap = addRange(c.remap, r)
			}
			return nil
		}
		// Perhaps pages around the one that matters cannot be read (end of file) or the
		// memory file is full.
		if r.Start == need.Start && r.Length() == pageSize {
			return err
		}
		r = usermem.AddrRange{Start: need.Start, End: need.Start + pageSize}
	}
}

// copyPages copies the pages of r, a part of the PMA p at start, to new ones. whole says that
// each of those is in memory: pages that were never touched are not made by being copied.
func (m *MemoryManager) copyPages(p pma, start uintptr, r usermem.AddrRange) (fr memmap.Range, whole bool, err error) {
	fr, err = m.mf.Allocate(uint64(r.Length()), pgalloc.AllocOpts{At: m.neighbour(r), Overwrite: true})
	if err != nil {
		return fr, false, err
	}
	src := p.fileRange(start, r)
	if m.isOurs(p.file) {
		return fr, m.mf.CopyPages(fr, src), nil
	}
	bl := getBlocks()
	defer bl.put()
	bl.b, err = p.file.Blocks(src, memmap.Read, bl.b)
	if err == nil {
		var n int
		n, err = usermem.CopyBlocks([][]byte{m.mf.Bytes(fr)}, bl.b)
		if err == nil && n < int(r.Length()) {
			err = unix.EFAULT
		}
	}
	if err != nil {
		m.mf.DecRef(fr)
	}
	return fr, err == nil, err
}
