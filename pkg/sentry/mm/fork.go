package mm

import (
	"slices"
	"sync"

	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// Fork makes a copy of the address space with one user, for fork(2). Private pages are
// shared until either side writes: both are write-protected, the parent in one batch and the
// child, mapped as a whole, in another.
func (m *MemoryManager) Fork() (*MemoryManager, error) {
	as, err := newAddressSpace(m.p)
	if err != nil {
		return nil, err
	}
	n := &MemoryManager{p: m.p, as: as, mf: m.mf}
	n.users.Store(1)
	n.membarrier.Store(m.membarrier.Load())
	n.copyMetadata(m)

	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	n.layout, n.brk, n.limits = m.layout, m.brk, m.limits
	n.patches.inherit(&m.patches)
	if err := n.inheritVMAs(m); err != nil {
		n.DecUsers()
		return nil, err
	}

	c := newChange()
	defer m.drop(c)
	m.activeMu.Lock()
	n.activeMu.Lock()
	err = m.sharePMAs(n, c)
	if aerr := m.apply(c); err == nil {
		err = aerr
	}
	if err == nil {
		err = n.mapEverything()
	}
	n.activeMu.Unlock()
	m.activeMu.Unlock()
	if err != nil {
		n.DecUsers()
		return nil, err
	}
	return n, nil
}

// inheritVMAs copies the VMAs of m that are inherited. An error leaves m with the VMAs
// that its mappables know of.
func (m *MemoryManager) inheritVMAs(o *MemoryManager) error {
	m.vmas = o.vmas.Clone()
	for it := m.vmas.First(); it.Ok(); {
		v := it.Value()
		if v.dontFork {
			it = m.vmas.Remove(it)
			continue
		}
		v.lock = lockNone // mlock(2): locks are not inherited
		ar := vmaRange(it)
		if v.mappable != nil {
			if err := v.mappable.CopyMapping(m, ar, ar, v.offset, v.canWriteShared()); err != nil {
				for it.Ok() {
					it = m.vmas.Remove(it)
				}
				return err
			}
		}
		if v.id != nil {
			v.id.IncRef()
		}
		m.sizes.add(v, ar.Length())
		it = it.Next()
	}
	return nil
}

// sharePMAs gives n what m has, copy-on-write where the VMA is private. Both activeMu are
// held. ENOMEM: n is of no use.
func (m *MemoryManager) sharePMAs(n *MemoryManager, c *change) error {
	inherited := true
	var fills []usermem.AddrRange // being filled by I/O; see inflight
	if m.inflight.running() {
		fills = m.inflight.filling(nil)
	}
	n.hot = m.hot
	var hot []usermem.AddrRange
	if m.users.Load() == 1 { // no other thread writes there while it is copied
		hot = m.hot.forked()
	}
	for _, ar := range append(fills, hot...) {
		m.pmas.SplitAt(memmap.PageDown(ar.Start))
		m.pmas.SplitAt(memmap.PageUp(ar.End))
	}
	var copies []usermem.AddrRange // for the child
	for vit := m.vmas.First(); vit.Ok(); vit = vit.Next() {
		v := vit.Value()
		if v.dontFork || v.wipeOnFork {
			inherited = false
			continue
		}
		vr := vmaRange(vit)
		for it := m.pmas.LowerBound(vr.Start); it.Ok() && it.Start() < vr.End; it = it.Next() {
			it = m.pmas.Isolate(it, segment.Range[uintptr](vr))
			p := it.Value()
			ar := usermem.AddrRange(it.Range())
			if p.private && !p.needCOW && overlapsAny(fills, ar) || v.private && v.eff().Write && overlapsAny(hot, ar) {
				copies = append(copies, ar)
			} else if v.private {
				p.needCOW = true
				old := p.eff
				p.restrict(v.eff())
				if p.eff != old {
					c.protect = addRange(c.protect, ar)
				}
			}
			p.file.IncRef(p.fileRange(ar.Start, ar))
		}
	}
	n.pmas = m.pmas.Clone()
	if !inherited {
		for vit := m.vmas.First(); vit.Ok(); vit = vit.Next() {
			if v := vit.Value(); v.dontFork || v.wipeOnFork {
				n.pmas.RemoveRange(vit.Range()) // no reference was taken for these
			}
		}
	}
	var err error
	for _, ar := range copies {
		if err = n.ownCopy(ar, c); err != nil {
			break
		}
	}
	all := segment.Range[uintptr]{End: m.layout.max}
	m.pmas.MergeRange(all)
	n.pmas.MergeRange(all)
	return err
}

// hotChunks are the chunks of private memory in which a write met pages that a fork had shared.
// A program that forks again will write there again, on both sides most likely: these the next
// child gets copies of at once, which is much cheaper than to protect the pages, take the faults
// and copy then. What children learn counts for their parent, too: they share the list.
type hotChunks struct {
	mu    sync.Mutex // guards the fields below; a leaf
	n     int
	start [maxHot]uintptr
	forks int // since the list was empty
}

const (
	maxHot = 32
	// hotFor is after how many forks what was hot has to prove itself again.
	hotFor = 64
)

// note remembers the chunk at addr.
func (h *hotChunks) note(addr uintptr) {
	addr &^= cowChunk - 1
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.n < maxHot && !slices.Contains(h.start[:h.n], addr) {
		h.start[h.n] = addr
		h.n++
	}
}

// forked returns the chunks, for one more child.
func (h *hotChunks) forked() []usermem.AddrRange {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.forks++; h.forks > hotFor {
		h.n, h.forks = 0, 0
	}
	l := make([]usermem.AddrRange, 0, h.n)
	for _, start := range h.start[:h.n] {
		l = append(l, usermem.AddrRange{Start: start, End: start + cowChunk})
	}
	return l
}

func overlapsAny(l []usermem.AddrRange, ar usermem.AddrRange) bool {
	for _, o := range l {
		if o.Overlaps(ar) {
			return true
		}
	}
	return false
}

// ownCopy gives m, the child of a fork, copies of the pages at ar, which is one PMA, in place of
// those of its parent or of a file. activeMu is held. ENOMEM: there is no room for copies of the
// parent's.
func (m *MemoryManager) ownCopy(ar usermem.AddrRange, c *change) error {
	it := m.pmas.Find(ar.Start)
	old := *it.Value()
	fr, _, err := m.copyPages(old, it.Start(), ar)
	if err != nil {
		if !old.private {
			return nil // copy-on-write, as before
		}
		return err
	}
	c.refs = append(c.refs, droppedRef{old.file, old.fileRange(it.Start(), ar)})
	p := pma{file: m.mf, off: fr.Start, max: memmap.AnyAccess, private: true}
	p.restrict(m.vmas.Find(ar.Start).Value().eff())
	*it.Value() = p
	return nil
}
