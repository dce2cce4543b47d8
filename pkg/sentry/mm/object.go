package mm

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// UnmapObject unmaps, as shmdt(2) does, the mapping of an object whose offset 0 is or would
// be at addr, wherever parts of it are left, and returns the object: the first one that is
// accepts. Only addresses below addr+size(object) belong to it. It returns nil if there is
// none.
func (m *MemoryManager) UnmapObject(addr uintptr, size func(memmap.Mappable) (uint64, bool)) memmap.Mappable {
	c := newChange()
	defer m.drop(c)
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	var found memmap.Mappable
	end := m.layout.max
	for it := m.vmas.LowerBound(addr); it.Ok() && it.Start() < end; {
		v := it.Value()
		if v.mappable == nil || uint64(it.Start()-addr) != v.offset || found != nil && v.mappable != found {
			it = it.Next()
			continue
		}
		if found == nil {
			n, ok := size(v.mappable)
			if !ok {
				it = it.Next()
				continue
			}
			found = v.mappable
			end = min(end, addr+uintptr(memmap.PageUp(n)))
		}
		ar := vmaRange(it)
		m.unmapLocked(usermem.AddrRange{Start: ar.Start, End: ar.End}, c)
		it = m.vmas.LowerBound(ar.End)
	}
	return found
}

// IsMapped says whether every page of length bytes at addr is in some VMA.
func (m *MemoryManager) IsMapped(addr uintptr, length uint64) bool {
	ar, ok := toRange(memmap.PageDown(addr), int(length))
	if !ok {
		return false
	}
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	return m.vmas.Covers(segment.Range[uintptr](ar))
}

// SetAnonName is prctl(2)'s PR_SET_VMA_ANON_NAME: the name that /proc/PID/maps shows for
// anonymous memory; empty takes it away. EBADF: there are file mappings in the range;
// ENOMEM: holes.
func (m *MemoryManager) SetAnonName(addr uintptr, length uint64, name string) error {
	ar, err := checkRange(addr, length)
	if err != nil || ar.Length() == 0 {
		return err
	}
	if name != "" {
		name = "[anon:" + name + "]"
	}
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	whole, err := m.eachVMA(ar, func(_ usermem.AddrRange, v *vma) error {
		if v.mappable != nil {
			if _, ok := v.mappable.(*sharedAnon); !ok {
				return unix.EBADF
			}
		}
		v.name = name
		return nil
	})
	if err == nil && !whole {
		err = unix.ENOMEM
	}
	return err
}
