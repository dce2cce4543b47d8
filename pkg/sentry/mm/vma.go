package mm

import (
	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// lockMode is what mlock(2) and its relatives asked for.
type lockMode uint8

const (
	lockNone lockMode = iota
	lockOnFault
	lockEager
)

// vma is what the application mapped. Each segment holds one reference on id.
type vma struct {
	mappable memmap.Mappable // nil: private anonymous memory
	offset   uint64          // of the segment's start in mappable; 0 if that is nil
	id       memmap.Identity // nil: no file
	name     string          // "[vdso]", "[anon:…]"; empty: none

	perms      memmap.AccessType // as asked for: PROT_WRITE alone stays so
	maxPerms   memmap.AccessType // what mprotect may add
	private    bool
	growsDown  bool
	stack      bool // the main thread's
	dontFork   bool
	wipeOnFork bool
	dontDump   bool
	noReserve  bool
	lock       lockMode
}

// eff is what perms amount to on x86: whatever can be written or executed can be read.
func (v *vma) eff() memmap.AccessType {
	p := v.perms
	p.Read = p.Read || p.Write || p.Execute
	return p
}

// canWriteShared says whether writes through the mapping may reach the mappable.
func (v *vma) canWriteShared() bool { return !v.private && v.maxPerms.Write }

// isData says whether RLIMIT_DATA counts the mapping.
func (v *vma) isData() bool { return v.private && v.perms.Write && !v.growsDown }

// accountable says whether the mapping counts for overcommit.
func (v *vma) accountable() bool { return v.private && v.perms.Write && !v.noReserve }

// Merge implements segment.Value.
func (v vma) Merge(r, _ segment.Range[uintptr], o vma) (vma, bool) {
	if v.mappable != nil {
		o.offset -= uint64(r.Length())
	}
	// A stack must keep its bottom; two stacks that touch stay two.
	if v.growsDown || v != o {
		return v, false
	}
	if v.id != nil {
		v.id.DecRef() // the other half's; never the last one
	}
	return v, true
}

// Split implements segment.Value.
func (v vma) Split(r segment.Range[uintptr], at uintptr) (vma, vma) {
	o := v
	if v.mappable != nil {
		o.offset += uint64(at - r.Start)
	}
	if v.id != nil {
		v.id.IncRef()
	}
	// Only the lowest part of a stack grows.
	o.growsDown = v.growsDown
	return v, o
}

// offsetOf is the mappable's offset that address addr of a VMA starting at start shows.
func (v *vma) offsetOf(start, addr uintptr) uint64 { return v.offset + uint64(addr-start) }

// sizes are sums over all VMAs, in bytes.
type sizes struct {
	as, data, locked uint64
	peakAS           uint64
}

func (s *sizes) add(v *vma, n uintptr) {
	s.as += uint64(n)
	s.peakAS = max(s.peakAS, s.as)
	if v.isData() {
		s.data += uint64(n)
	}
	if v.lock != lockNone {
		s.locked += uint64(n)
	}
}

func (s *sizes) remove(v *vma, n uintptr) {
	s.as -= uint64(n)
	if v.isData() {
		s.data -= uint64(n)
	}
	if v.lock != lockNone {
		s.locked -= uint64(n)
	}
}

// insertVMA adds a VMA, with the caller's reference on v.id. mappingMu is held for writing.
func (m *MemoryManager) insertVMA(ar usermem.AddrRange, v vma) vmaIter {
	m.sizes.add(&v, ar.Length())
	return m.vmas.Insert(segment.Range[uintptr](ar), v)
}

// removeVMAs removes the VMAs in ar; c remembers what their mappables must be told, and
// their identities. mappingMu is held for writing.
func (m *MemoryManager) removeVMAs(ar usermem.AddrRange, c *change) {
	r := segment.Range[uintptr](ar)
	it := m.vmas.LowerBound(r.Start)
	if it.Ok() && m.vmas.First().Start() >= r.Start && m.vmas.Last().End() <= r.End {
		for ; it.Ok(); it = it.Next() {
			if v := it.Value(); v.mappable != nil || v.id != nil {
				c.vmas = append(c.vmas, removedVMA{vmaRange(it), *v})
			}
		}
		m.vmas.Clear()
		m.sizes = sizes{peakAS: m.sizes.peakAS}
		return
	}
	for it.Ok() && it.Start() < r.End {
		it = m.vmas.Isolate(it, r)
		v := it.Value()
		m.sizes.remove(v, it.Range().Length())
		if v.mappable != nil || v.id != nil {
			c.vmas = append(c.vmas, removedVMA{usermem.AddrRange(it.Range()), *v})
		}
		it = m.vmas.Remove(it)
	}
}

// forgetMappings tells the mappables of removed VMAs. mappingMu is held for writing,
// activeMu is not.
func (m *MemoryManager) forgetMappings(c *change) {
	for ; c.told < len(c.vmas); c.told++ {
		if r := &c.vmas[c.told]; r.v.mappable != nil {
			r.v.mappable.RemoveMapping(m, r.ar, r.v.offset, r.v.canWriteShared())
		}
	}
}

// clear removes what is in ar, except that the host follows only when c is applied: what
// takes the place of the pages needs no unmapping. mappingMu is held for writing.
func (m *MemoryManager) clear(ar usermem.AddrRange, c *change) {
	m.removeVMAs(ar, c)
	m.activeMu.Lock()
	m.removePMAs(ar, c)
	m.activeMu.Unlock()
	m.forgetMappings(c)
}

// applyNow is apply for callers without activeMu, when an error made the rest of the change
// impossible.
func (m *MemoryManager) applyNow(c *change) {
	m.activeMu.Lock()
	m.apply(c)
	m.activeMu.Unlock()
}

// eachVMA calls f for the VMAs in ar, each cut to stand alone, until f fails; ok is false
// if ar has holes. Cut VMAs are joined again afterwards. mappingMu is held for writing.
func (m *MemoryManager) eachVMA(ar usermem.AddrRange, f func(ar usermem.AddrRange, v *vma) error) (ok bool, err error) {
	r := segment.Range[uintptr](ar)
	pos := r.Start
	ok = true
	for it := m.vmas.LowerBound(pos); it.Ok() && it.Start() < r.End; it = it.Next() {
		if it.Start() > pos {
			ok = false
		}
		it = m.vmas.Isolate(it, r)
		if err = f(usermem.AddrRange(it.Range()), it.Value()); err != nil {
			break
		}
		pos = it.End()
	}
	m.vmas.MergeRange(r)
	return ok && pos >= r.End, err
}

// vmaRange is the range of the VMA as usermem has it.
func vmaRange(it vmaIter) usermem.AddrRange { return usermem.AddrRange(it.Range()) }
