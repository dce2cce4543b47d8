package mm

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/kernel/futex"
)

// FutexKey implements futex.Memory: the word of private memory is named by the address
// space, that of shared memory by what is mapped. EFAULT: nothing is at addr.
func (m *MemoryManager) FutexKey(addr uintptr, shared bool) (futex.Key, error) {
	if addr >= m.layout.max {
		return futex.Key{}, unix.EFAULT
	}
	if shared {
		m.mappingMu.RLock()
		defer m.mappingMu.RUnlock()
		it := m.vmas.Find(addr)
		if !it.Ok() {
			return futex.Key{}, unix.EFAULT
		}
		if v := it.Value(); !v.private {
			return futex.Key{Owner: v.mappable, Offset: v.offsetOf(it.Start(), addr)}, nil
		}
	}
	return futex.Key{Owner: m, Offset: uint64(addr)}, nil
}
