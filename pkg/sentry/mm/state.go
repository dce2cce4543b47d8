package mm

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// Reattach gives a restored address space, whose memory file and files are in place again, a
// new host address space of platform p, with everything mapped. An address space without
// users is left alone.
func (m *MemoryManager) Reattach(p platform.Platform) error {
	if m.users.Load() <= 0 {
		return nil
	}
	as, err := p.NewAddressSpace()
	if err != nil {
		return err
	}
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	m.p, m.as = p, as
	return m.mapEverything()
}

// ForgetFiles drops the pages of Files other than the memory file, which do not survive a
// checkpoint; faults bring them back. It is called before the address space is saved.
func (m *MemoryManager) ForgetFiles() {
	c := newChange()
	defer m.drop(c)
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	for it := m.pmas.First(); it.Ok(); {
		if m.isOurs(it.Value().file) {
			it = it.Next()
			continue
		}
		c.unmap = addRange(c.unmap, usermem.AddrRange(it.Range()))
		it = m.removePart(it, it.Range(), c)
	}
	m.apply(c)
}

// Settle maps on the host, in one batch, what has been mapped since New. ENOMEM: the host refuses.
func (m *MemoryManager) Settle() error {
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	m.waiting = false
	if m.mapEverything() != nil {
		return unix.ENOMEM
	}
	return nil
}

// mapEverything maps all PMAs into an empty host address space. activeMu is held for
// writing.
func (m *MemoryManager) mapEverything() error {
	if m.pmas.Len() == 0 {
		return nil
	}
	return m.as.Batch(func(ops platform.Ops) {
		for it := m.pmas.First(); it.Ok(); it = it.Next() {
			p := it.Value()
			ops.MapFile(it.Start(), p.file, p.fileRange(it.Start(), usermem.AddrRange(it.Range())), p.eff, false)
		}
	})
}

// isOurs says whether the pages belong to the memory file.
func (m *MemoryManager) isOurs(f memmap.File) bool { return f == memmap.File(m.mf) }
