package mm

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// CopyInForce is CopyIn for a tracer and /proc/PID/mem: what the application itself may not
// read is read too.
func (m *MemoryManager) CopyInForce(addr uintptr, dst []byte) (int, error) {
	return m.copyForce(addr, dst, memmap.Read)
}

// CopyOutForce is CopyOut for a tracer and /proc/PID/mem: private memory that the
// application may not write (program text) is written in a copy of its own. Shared memory
// that it may not write is EFAULT.
func (m *MemoryManager) CopyOutForce(addr uintptr, src []byte) (int, error) {
	return m.copyForce(addr, src, memmap.Write)
}

func (m *MemoryManager) copyForce(addr uintptr, b []byte, at memmap.AccessType) (int, error) {
	if at.Write {
		m.UnpatchSyscalls() // the writer knows only what was there before
	}
	done := 0
	for done < len(b) {
		// A page at a time: what is made present stays so while it is copied, because
		// activeMu is not let go of in between.
		a := addr + uintptr(done)
		n := min(len(b)-done, int(pageSize-a%pageSize))
		got, err := m.copyPageForce(a, b[done:done+n], at)
		done += got
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// copyPageForce copies b, which does not cross a page boundary.
func (m *MemoryManager) copyPageForce(addr uintptr, b []byte, at memmap.AccessType) (int, error) {
	c := newChange()
	defer m.drop(c)
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	it := m.vmas.Find(addr)
	if !it.Ok() {
		return 0, unix.EFAULT
	}
	v := it.Value()
	if at.Write && (!v.maxPerms.Write || !v.private && !v.perms.Write) || at.Read && !v.maxPerms.Read {
		return 0, unix.EFAULT
	}
	if at.Read {
		defer m.hidePatches(addr, b)
	}
	page := usermem.AddrRange{Start: memmap.PageDown(addr), End: memmap.PageDown(addr) + pageSize}
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	err := m.ensure(vmaRange(it), v, page, page, at, c)
	if aerr := m.apply(c); err == nil {
		err = aerr
	}
	if err != nil {
		return 0, unix.EFAULT
	}
	pit := m.pmas.Find(addr)
	if !pit.Ok() || at.Write && pit.Value().needCOW {
		return 0, unix.EFAULT
	}
	if m.isOurs(pit.Value().file) {
		fr := pit.Value().fileRange(pit.Start(), usermem.AddrRange{Start: addr, End: addr + uintptr(len(b))})
		if at.Write {
			return usermem.Copy(m.mf.Bytes(fr), b)
		}
		return usermem.Copy(b, m.mf.Bytes(fr))
	}
	return m.residentBlocks(pit, addr, b, at)
}
