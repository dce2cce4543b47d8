package mm

import "golang.org/x/sys/unix"

// HostBarrier makes every CPU that runs any program of the host, and so every thread of the
// application, pass a full memory barrier, and says whether the host can do that. A thread
// that is not running passes barriers when it is switched in.
func HostBarrier() bool {
	const cmdGlobal = 1
	_, _, e := unix.RawSyscall(unix.SYS_MEMBARRIER, cmdGlobal, 0, 0)
	return e == 0
}

// RegisterMembarrier records a registration command of membarrier(2).
func (m *MemoryManager) RegisterMembarrier(cmd uint32) { m.membarrier.Or(cmd) }

// MembarrierRegistered says whether that registration was made.
func (m *MemoryManager) MembarrierRegistered(cmd uint32) bool { return m.membarrier.Load()&cmd != 0 }

// MembarrierRegistrations are all registrations.
func (m *MemoryManager) MembarrierRegistrations() uint32 { return m.membarrier.Load() }
