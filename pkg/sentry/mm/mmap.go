package mm

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// MMapOpts are mmap(2)'s arguments. The zero value of each field is the usual case.
type MMapOpts struct {
	// Addr is where to map, or a hint; Length is in bytes and rounded up to pages.
	Addr   uintptr
	Length uint64
	// Fixed is MAP_FIXED; with NoReplace, MAP_FIXED_NOREPLACE.
	Fixed     bool
	NoReplace bool
	Map32Bit  bool
	// Align is a power of two, for a place that mmap chooses; 0 is a page.
	Align uintptr

	// Perms are PROT_*; MaxPerms bound later mprotects.
	Perms, MaxPerms memmap.AccessType
	Private         bool
	GrowsDown       bool
	Stack           bool // the main thread's, for /proc/PID/maps
	// Precommit is MAP_POPULATE; NoReserve is MAP_NORESERVE; Locked is MAP_LOCKED.
	Precommit bool
	NoReserve bool
	Locked    bool
	// IPCLock says that the caller has CAP_IPC_LOCK: RLIMIT_MEMLOCK does not count.
	IPCLock bool

	// Mappable at Offset is what is mapped; nil is anonymous memory. Identity may be nil;
	// MMap takes a reference of its own.
	Mappable memmap.Mappable
	Offset   uint64
	Identity memmap.Identity
	// Name is for special mappings, "[vdso]".
	Name string
}

// MMap is mmap(2). EINVAL, EOVERFLOW: bad range; EPERM: below the lowest address; ENOMEM: no
// room or RLIMIT_AS or RLIMIT_DATA; EAGAIN: RLIMIT_MEMLOCK; EEXIST: NoReplace.
func (m *MemoryManager) MMap(o MMapOpts) (uintptr, error) {
	if o.Length == 0 {
		return 0, unix.EINVAL
	}
	length64 := memmap.PageUp(o.Length)
	if length64 == 0 || length64 > uint64(m.layout.max) {
		return 0, unix.ENOMEM
	}
	length := uintptr(length64)
	if o.Mappable == nil && !o.Private {
		if !o.NoReserve && length64 > m.mf.TotalMemory() {
			return 0, unix.ENOMEM
		}
		s, err := newSharedAnon(m.mf, length64)
		if err != nil {
			return 0, err
		}
		o.Mappable, o.Identity, o.Offset = s, s, 0
		// The mapping takes a reference of its own; this one was the maker's.
		defer s.DecRef()
	}
	if o.Mappable != nil {
		if o.Offset%pageSize != 0 {
			return 0, unix.EINVAL
		}
		if o.Offset+length64 < o.Offset {
			return 0, unix.EOVERFLOW
		}
	}
	if o.Fixed {
		if o.Addr%pageSize != 0 {
			return 0, unix.EINVAL
		}
		if o.Addr+length < o.Addr || o.Addr+length > m.layout.max {
			return 0, unix.ENOMEM
		}
		if o.Addr < m.layout.min {
			return 0, unix.EPERM
		}
	}

	c := newChange()
	defer m.drop(c)
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	ar := usermem.AddrRange{Start: o.Addr, End: o.Addr + length}
	if !o.Fixed {
		a, err := m.findFree(o.Addr, length, &o)
		if err != nil {
			return 0, err
		}
		ar = usermem.AddrRange{Start: a, End: a + length}
	} else if o.NoReplace && !m.vmas.IsFree(segment.Range[uintptr](ar)) {
		return 0, unix.EEXIST
	}
	v := vma{
		mappable: o.Mappable, offset: o.Offset, id: o.Identity, name: o.Name,
		perms: o.Perms, maxPerms: o.MaxPerms, private: o.Private,
		growsDown: o.GrowsDown, stack: o.Stack, noReserve: o.NoReserve, lock: m.lockNew,
	}
	if o.Mappable == nil {
		v.offset = 0
	}
	if o.Locked {
		v.lock = lockEager
	}
	if err := m.checkLimits(ar, &v, o.IPCLock); err != nil {
		return 0, err
	}
	if err := m.place(ar, v, o.Precommit || v.lock == lockEager, c); err != nil {
		return 0, err
	}
	return ar.Start, nil
}

// checkLimits says whether v may replace what is in ar; ipcLock ignores RLIMIT_MEMLOCK.
// mappingMu is held for writing.
func (m *MemoryManager) checkLimits(ar usermem.AddrRange, v *vma, ipcLock bool) error {
	n := uint64(ar.Length())
	// Linux's heuristic overcommit refuses the obvious: more than all memory at once.
	if m.vmas.Len() >= maxMapCount || v.accountable() && n > m.mf.TotalMemory() {
		return unix.ENOMEM
	}
	replaced := uint64(m.vmas.CoveredLength(segment.Range[uintptr](ar)))
	if m.sizes.as-replaced+n > m.addressLimit() {
		return unix.ENOMEM
	}
	if v.isData() && m.sizes.data+n > m.dataLimit() {
		return unix.ENOMEM
	}
	if v.lock != lockNone && !ipcLock && m.sizes.locked+n > m.memlockLimit() {
		return unix.EAGAIN
	}
	return nil
}

// place puts v at ar in place of whatever is there, and makes present what is cheap. It
// takes a reference on v.id. mappingMu is held for writing.
func (m *MemoryManager) place(ar usermem.AddrRange, v vma, precommit bool, c *change) error {
	// The old mapping goes first, so that a mappable that had it too can tell them apart.
	m.clear(ar, c)
	if v.mappable != nil {
		if err := v.mappable.AddMapping(m, ar, v.offset, v.canWriteShared()); err != nil {
			m.applyNow(c)
			return err
		}
	}
	if v.id != nil {
		v.id.IncRef()
	}
	it := m.insertVMA(ar, v)
	m.activeMu.Lock()
	c.commit = precommit && (v.lock == lockNone || ar.Length() <= eagerMax)
	m.mapAhead(it, ar, precommit, c) // a mapping may exist although nothing can be present yet
	if err := m.apply(c); err != nil {
		// The host has no room; take the mapping away again.
		m.removePMAs(ar, c)
		m.as.Unmap(ar.Start, ar.Length())
		m.activeMu.Unlock()
		m.removeVMAs(ar, c)
		m.forgetMappings(c)
		return err
	}
	m.activeMu.Unlock()
	return nil
}

// mapAhead makes present what is cheap of ar, a new part of the VMA, or all of it. mappingMu
// is held, activeMu for writing.
func (m *MemoryManager) mapAhead(it vmaIter, ar usermem.AddrRange, all bool, c *change) error {
	v := it.Value()
	if !v.eff().Any() {
		return nil
	}
	vr := vmaRange(it)
	if v.mappable == nil {
		if !all && (v.noReserve && ar.Length() > lazyChunk || ar.Length() > eagerMax) {
			return nil
		}
		return m.ensure(vr, v, ar, ar, memmap.NoAccess, c)
	}
	at := memmap.Read
	if all {
		if !v.private && v.perms.Write {
			at.Write = true
		}
		return m.ensure(vr, v, ar, ar, at, c)
	}
	opt := ar
	if opt.Length() > mapAhead {
		opt.End = opt.Start + mapAhead
	}
	return m.ensure(vr, v, usermem.AddrRange{Start: ar.Start, End: ar.Start + pageSize}, opt, at, c)
}

// checkRange is what munmap, mprotect, madvise and the like demand of their range; length is
// rounded up. EINVAL: addr is not aligned or the range wraps.
func checkRange(addr uintptr, length uint64) (usermem.AddrRange, error) {
	if addr%pageSize != 0 {
		return usermem.AddrRange{}, unix.EINVAL
	}
	end := addr + uintptr(memmap.PageUp(length))
	if end < addr || length > 0 && memmap.PageUp(length) == 0 {
		return usermem.AddrRange{}, unix.EINVAL
	}
	return usermem.AddrRange{Start: addr, End: end}, nil
}

// MUnmap is munmap(2). EINVAL: bad range or no length; ENOMEM: a hole would make too many
// mappings.
func (m *MemoryManager) MUnmap(addr uintptr, length uint64) error {
	ar, err := checkRange(addr, length)
	if err != nil || length == 0 || ar.End > m.layout.max {
		return unix.EINVAL
	}
	c := newChange()
	defer m.drop(c)
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	if m.vmas.Len() >= maxMapCount {
		if it := m.vmas.Find(ar.Start); it.Ok() && it.Start() < ar.Start && ar.End < it.End() {
			return unix.ENOMEM
		}
	}
	m.unmapLocked(ar, c)
	return nil
}

// unmapLocked removes everything in ar. mappingMu is held for writing.
func (m *MemoryManager) unmapLocked(ar usermem.AddrRange, c *change) {
	m.activeMu.Lock()
	m.removePMAs(ar, c)
	m.apply(c)
	m.activeMu.Unlock()
	m.removeVMAs(ar, c)
	m.forgetMappings(c)
}

// MProtect is mprotect(2); growsDown is PROT_GROWSDOWN. EACCES: the file was not opened for
// that; ENOMEM: the range has holes (what comes before the hole is changed) or a limit.
func (m *MemoryManager) MProtect(addr uintptr, length uint64, perms memmap.AccessType, growsDown bool) error {
	ar, err := checkRange(addr, length)
	if err == unix.EINVAL && addr%pageSize == 0 {
		return unix.ENOMEM
	}
	if err != nil {
		return err
	}
	if length == 0 {
		return nil
	}
	c := newChange()
	defer m.drop(c)
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	if perms.Write && m.patches.touch(ar) {
		m.unpatch(c)
	}
	it := m.vmas.LowerBound(ar.Start)
	if growsDown {
		if !it.Ok() || it.Start() >= ar.End {
			return unix.ENOMEM
		}
		if !it.Value().growsDown {
			return unix.EINVAL
		}
		ar.Start = min(ar.Start, it.Start())
	}
	if !it.Ok() || it.Start() > ar.Start {
		return unix.ENOMEM
	}
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	// VMAs are joined only afterwards, so each is looked at once.
	pos := ar.Start
	r := segment.Range[uintptr](ar)
	for ; it.Ok() && it.Start() < ar.End; it = it.Next() {
		if it.Start() > pos {
			err = unix.ENOMEM
			break
		}
		if v := it.Value(); !v.maxPerms.SupersetOf(perms) {
			err = unix.EACCES
			break
		}
		if it.Value().perms == perms {
			pos = min(it.End(), ar.End)
			continue
		}
		if m.vmas.Len() >= maxMapCount && (it.Start() < r.Start || it.End() > r.End) {
			err = unix.ENOMEM
			break
		}
		it = m.vmas.Isolate(it, r)
		v := it.Value()
		pos = it.End()
		was := *v
		n := uint64(it.Range().Length())
		v.perms = perms
		if v.isData() && !was.isData() && m.sizes.data+n > m.dataLimit() {
			*v = was
			err = unix.ENOMEM
			break
		}
		m.sizes.remove(&was, uintptr(n))
		m.sizes.add(v, uintptr(n))
		m.reprotect(vmaRange(it), v, c)
		if !was.perms.Any() {
			m.mapAhead(it, vmaRange(it), v.lock == lockEager, c)
		}
	}
	if err == nil && pos < ar.End {
		err = unix.ENOMEM
	}
	m.vmas.MergeRange(r)
	m.pmas.MergeRange(r)
	if aerr := m.apply(c); aerr != nil {
		// The host's state is unknown: forget it, faults bring it back.
		m.refault(ar, c)
		if err == nil {
			err = aerr
		}
	}
	return err
}

// reprotect brings the PMAs of the VMA v at ar in line with its protection. activeMu is
// held for writing.
func (m *MemoryManager) reprotect(ar usermem.AddrRange, v *vma, c *change) {
	r := segment.Range[uintptr](ar)
	for it := m.pmas.LowerBound(ar.Start); it.Ok() && it.Start() < ar.End; it = it.Next() {
		it = m.pmas.Isolate(it, r)
		p := it.Value()
		old := p.eff
		p.restrict(v.eff())
		if p.eff != old {
			c.protect = addRange(c.protect, usermem.AddrRange(it.Range()))
		}
	}
}

// refault makes the host agree with the PMAs in ar again after it refused a change. If it
// refuses that too, nothing is mapped there and faults try once more.
func (m *MemoryManager) refault(ar usermem.AddrRange, c *change) {
	m.as.Unmap(ar.Start, ar.Length())
	c.remap = append(c.remap, ar)
	m.apply(c)
}
