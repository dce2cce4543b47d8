package mm

import (
	"bytes"
	"maps"
	"slices"

	"runsc/pkg/platform"
	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// Hot system call sites in program text are changed where the platform knows a cheaper way
// than the instruction (platform.SyscallPatcher). Only private mappings of files that are
// executable and not writable are changed, each page in a copy that then takes the place of the
// page, so that other threads, which may be running it, see the one or the other. Trampolines lie in
// a mapping of their own near the code.
//
// Whoever reads the code through the kernel, such as a debugger, sees what was there before, and
// a process that is traced or whose code becomes writable loses its patches.

// trampolinesName is shown in /proc/PID/maps.
const trampolinesName = "[trampolines]"

const (
	// trampolineArea is how much is mapped for trampolines at a time.
	trampolineArea = 64 << 10
	// codeReach is how far from the code that may be.
	codeReach = 1 << 30
	// sitePrefix and siteSuffix are how many bytes around a call site are looked at.
	sitePrefix, siteSuffix = 16, 16
	maxPatches             = 4096
)

// patches are the changes of code in an address space.
type patches struct {
	off   bool
	sites map[uintptr]patchedSite // by their start
	// areas have room for trampolines; used are the places that are taken.
	areas []usermem.AddrRange
	used  map[uintptr]bool
	// moved are places in sites where nothing can go on, and where it does go on.
	moved map[uintptr]uintptr
}

// patchedSite holds the code before and after.
type patchedSite struct{ old, new []byte }

// inherit gives the child of a fork what its copy of the code needs. New trampolines go to new
// areas: the old ones may still be shared with the parent.
func (p *patches) inherit(o *patches) {
	*p = patches{off: o.off, sites: maps.Clone(o.sites), moved: maps.Clone(o.moved)}
}

// touch says whether a site lies in ar.
func (p *patches) touch(ar usermem.AddrRange) bool {
	for start := range p.sites {
		if ar.Contains(start) {
			return true
		}
	}
	return false
}

// PatchSyscall makes the system call with number nr that returns to ip cheaper, if the platform
// and the code allow it.
func (m *MemoryManager) PatchSyscall(ip, nr uintptr) {
	patcher, ok := m.p.(platform.SyscallPatcher)
	if !ok {
		return
	}
	c := newChange()
	defer m.drop(c)
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	ps := &m.patches
	if ps.off || len(ps.sites) >= maxPatches {
		return
	}
	vit := m.vmas.Find(ip - 1)
	if !vit.Ok() {
		return
	}
	if v := vit.Value(); v.mappable == nil || !v.private || !v.perms.Execute || v.perms.Write {
		return
	}
	page := usermem.AddrRange{Start: memmap.PageDown(ip - 1), End: memmap.PageDown(ip-1) + pageSize}
	around := usermem.AddrRange{Start: max(page.Start, ip-sitePrefix), End: min(page.End, ip+siteSuffix)}
	code := m.codeAt(vit, page, around, c)
	if code == nil {
		m.apply(c)
		return
	}
	plan, ok := patcher.PlanSyscallPatch(code, around.Start, ip, nr)
	if !ok {
		m.apply(c)
		return
	}
	start, end := plan.Range()
	eff := vit.Value().eff()
	site, moved := m.placeTrampoline(plan, vmaRange(vit), patcher.TrampolineSize(), c)
	if site != nil { // and vit is stale: a VMA may have been made
		if m.replaceCode(eff, page, start, site, c) {
			if ps.sites == nil {
				ps.sites = map[uintptr]patchedSite{}
				ps.moved = map[uintptr]uintptr{}
			}
			ps.sites[start] = patchedSite{slices.Clone(code[start-around.Start : end-around.Start]), site}
			if moved != 0 {
				ps.moved[ip] = moved
			}
		}
	}
	m.apply(c)
}

// codeAt is a copy of the code at ar, which lies in page of the VMA. Both locks are held.
func (m *MemoryManager) codeAt(vit vmaIter, page, ar usermem.AddrRange, c *change) []byte {
	if m.ensure(vmaRange(vit), vit.Value(), page, page, memmap.Read, c) != nil {
		return nil
	}
	code := make([]byte, ar.Length())
	it := m.pmas.Find(ar.Start)
	if n, err := m.residentBlocks(it, ar.Start, code, memmap.Read); err != nil || n != len(code) {
		return nil
	}
	return code
}

// replaceCode puts code at addr into a copy of its page, which takes the page's place. Both
// locks are held.
func (m *MemoryManager) replaceCode(eff memmap.AccessType, page usermem.AddrRange, addr uintptr, code []byte, c *change) bool {
	it := m.pmas.Find(page.Start)
	p := *it.Value()
	fr, _, err := m.copyPages(p, it.Start(), page)
	if err != nil {
		return false
	}
	copy(m.mf.Bytes(fr)[addr-page.Start:], code)
	start := it.Start()
	it = m.pmas.Isolate(it, segment.Range[uintptr](page))
	c.refs = append(c.refs, droppedRef{p.file, p.fileRange(start, page)})
	np := pma{file: m.mf, off: fr.Start, max: memmap.AnyAccess, private: true}
	np.restrict(eff)
	*it.Value() = np
	c.present = addRange(c.present, page)
	return true
}

// placeTrampoline writes the trampoline of a patch in the VMA at vr to a place that fits, and
// returns the code for the site. site is nil if there is no place. Both locks are held.
func (m *MemoryManager) placeTrampoline(plan platform.SyscallPatch, vr usermem.AddrRange, size uintptr, c *change) (site []byte, moved uintptr) {
	ps := &m.patches
	for try := range 2 {
		for _, area := range ps.areas {
			for at := area.Start; at < area.End; at += size {
				if ps.used[at] {
					continue
				}
				if site, trampoline, moved, ok := plan.Build(at); ok && m.writeTrampoline(at, trampoline, c) {
					ps.used[at] = true
					return site, moved
				}
			}
		}
		if try == 0 && !m.mapTrampolines(vr, c) {
			break
		}
	}
	return nil, 0
}

// mapTrampolines makes an area for trampolines near the VMA at vr. Both locks are held.
func (m *MemoryManager) mapTrampolines(vr usermem.AddrRange, c *change) bool {
	below := segment.Range[uintptr]{Start: m.layout.min, End: vr.Start}
	if vr.Start > codeReach {
		below.Start = max(below.Start, vr.Start-codeReach)
	}
	a, ok := m.vmas.LastFit(below, trampolineArea, pageSize)
	if !ok || m.vmas.Len() >= maxMapCount {
		return false
	}
	ar := usermem.AddrRange{Start: a, End: a + trampolineArea}
	rx := memmap.AccessType{Read: true, Execute: true}
	vit := m.insertVMA(ar, vma{name: trampolinesName, perms: rx, maxPerms: rx, private: true})
	if m.ensure(ar, vit.Value(), ar, ar, memmap.NoAccess, c) != nil {
		m.removeVMAs(ar, c)
		return false
	}
	ps := &m.patches
	ps.areas = append(ps.areas, ar)
	if ps.used == nil {
		ps.used = map[uintptr]bool{}
	}
	return true
}

// writeTrampoline writes to a place in an area of trampolines that nobody runs yet. It reports
// false if the application has put something else there. Both locks are held.
func (m *MemoryManager) writeTrampoline(at uintptr, code []byte, c *change) bool {
	vit := m.vmas.Find(at)
	if !vit.Ok() || vit.Value().name != trampolinesName {
		return false
	}
	page := usermem.AddrRange{Start: memmap.PageDown(at), End: memmap.PageDown(at) + pageSize}
	if m.ensure(vmaRange(vit), vit.Value(), page, page, memmap.NoAccess, c) != nil {
		return false
	}
	it := m.pmas.Find(at)
	fr := it.Value().fileRange(it.Start(), usermem.AddrRange{Start: at, End: at + uintptr(len(code))})
	copy(m.mf.Bytes(fr), code)
	return true
}

// PatchedReturn says where an application goes on that got SIGILL at ip because a patch took
// the place to which it returned.
func (m *MemoryManager) PatchedReturn(ip uintptr) (uintptr, bool) {
	c := newChange()
	defer m.drop(c)
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	to, ok := m.patches.moved[ip]
	if !ok {
		return 0, false
	}
	// Perhaps something else is mapped there now.
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	for start, site := range m.patches.sites {
		ar := usermem.AddrRange{Start: start, End: start + uintptr(len(site.new))}
		if vit := m.vmas.Find(start); vit.Ok() && ar.Contains(ip) {
			page := usermem.AddrRange{Start: memmap.PageDown(start), End: memmap.PageDown(start) + pageSize}
			code := m.codeAt(vit, page, ar, c)
			m.apply(c)
			if bytes.Equal(code, site.old) {
				return ip, true // the patch was taken back just now
			}
			return to, bytes.Equal(code, site.new)
		}
	}
	return 0, false
}

// AnswerProcessID lets getpid(2) of this address space do without the sentry where the platform
// can, unless AskForProcessID was called before.
func (m *MemoryManager) AnswerProcessID(pid int32) {
	if m.processIDSet.Load() { // once is enough: it is the same for the life of m
		return
	}
	m.processIDMu.Lock()
	defer m.processIDMu.Unlock()
	if !m.processIDSet.Swap(true) {
		m.answerProcessID(pid)
	}
}

// AskForProcessID ends that for good: the caller, who runs in the address space, shares it with
// another process from now on, or filters its system calls.
func (m *MemoryManager) AskForProcessID() {
	m.processIDMu.Lock()
	defer m.processIDMu.Unlock()
	m.processIDSet.Store(true)
	m.answerProcessID(0)
}

func (m *MemoryManager) answerProcessID(pid int32) {
	if as, ok := m.as.(platform.ProcessIDAnswerer); ok {
		as.AnswerProcessID(pid)
	}
}

// UnpatchSyscalls takes all patches back, for good. What they were is kept: threads may be
// about to return to them.
func (m *MemoryManager) UnpatchSyscalls() {
	c := newChange()
	defer m.drop(c)
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	m.unpatch(c)
}

// unpatch is UnpatchSyscalls. mappingMu is held for writing. Trampolines stay: threads may be in
// them.
func (m *MemoryManager) unpatch(c *change) {
	ps := &m.patches
	if ps.off {
		return
	}
	ps.off = true
	if len(ps.sites) == 0 {
		return
	}
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	for start, site := range ps.sites {
		vit := m.vmas.Find(start)
		if !vit.Ok() || !vit.Value().private {
			continue
		}
		page := usermem.AddrRange{Start: memmap.PageDown(start), End: memmap.PageDown(start) + pageSize}
		ar := usermem.AddrRange{Start: start, End: start + uintptr(len(site.new))}
		if bytes.Equal(m.codeAt(vit, page, ar, c), site.new) {
			m.replaceCode(vit.Value().eff(), page, start, site.old, c)
		}
	}
	m.apply(c)
}

// hidePatches replaces the patched bytes in b, the content at addr, by what was there before.
// mappingMu is held.
func (m *MemoryManager) hidePatches(addr uintptr, b []byte) {
	for start, site := range m.patches.sites {
		for i := range site.new {
			if at := start + uintptr(i); at >= addr && at < addr+uintptr(len(b)) && b[at-addr] == site.new[i] {
				b[at-addr] = site.old[i]
			}
		}
	}
}
