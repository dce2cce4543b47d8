package mm

import "golang.org/x/sys/unix"

// Commands of the host's membarrier(2), the only ones that the sentry's filter allows.
const (
	hostBarrierQuery  = 0
	hostBarrierGlobal = 1
)

// HasBarrier says whether the host can do what Barrier asks.
func HasBarrier() bool {
	n, _, e := unix.RawSyscall(unix.SYS_MEMBARRIER, hostBarrierQuery, 0, 0)
	return e == 0 && n&hostBarrierGlobal != 0
}

// Barrier makes every CPU that runs any program of the host, and so every thread of the
// application, pass a full memory barrier. A thread that is not running passes barriers when
// it is switched in. EINVAL: the host cannot do that.
func Barrier() error {
	if _, _, e := unix.Syscall(unix.SYS_MEMBARRIER, hostBarrierGlobal, 0, 0); e != 0 {
		return unix.EINVAL
	}
	return nil
}

// RegisterMembarrier records a registration command of membarrier(2).
func (m *MemoryManager) RegisterMembarrier(cmd uint32) { m.membarrier.Or(cmd) }

// MembarrierRegistered says whether that registration was made.
func (m *MemoryManager) MembarrierRegistered(cmd uint32) bool { return m.membarrier.Load()&cmd != 0 }

// MembarrierRegistrations are all registrations.
func (m *MemoryManager) MembarrierRegistrations() uint32 { return m.membarrier.Load() }
