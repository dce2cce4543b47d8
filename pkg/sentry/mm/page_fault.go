package mm

import (
	"fmt"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// Codes of the signals that faults raise (sigaction(2)).
const (
	segvMapErr = 1 // SEGV_MAPERR
	segvAccErr = 2 // SEGV_ACCERR
	busAdrErr  = 2 // BUS_ADRERR
)

// FaultError is a fault that the application gets a signal for.
type FaultError struct {
	Signo, Code int32
}

// Error implements error.
func (e *FaultError) Error() string {
	return fmt.Sprintf("page fault: signal %d code %d", e.Signo, e.Code)
}

var (
	errMapErr = &FaultError{int32(unix.SIGSEGV), segvMapErr}
	errAccErr = &FaultError{int32(unix.SIGSEGV), segvAccErr}
	errBusErr = &FaultError{int32(unix.SIGBUS), busAdrErr}
)

// HandleFault repairs a fault of the application at addr. nil: the access can be tried
// again. Otherwise the error is a *FaultError.
func (m *MemoryManager) HandleFault(addr uintptr, at memmap.AccessType) error {
	for {
		err := m.handleMappedFault(addr, at)
		if err != errMapErr || !m.growStack(addr) {
			if err == nil {
				return nil
			}
			return err
		}
	}
}

// handleMappedFault returns errMapErr where no VMA is; its type lets HandleFault compare.
func (m *MemoryManager) handleMappedFault(addr uintptr, at memmap.AccessType) (ferr error) {
	var c change
	defer c.drop()
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	it := m.vmas.Find(addr)
	if !it.Ok() {
		return errMapErr
	}
	v := it.Value()
	if e := v.eff(); !e.Any() || !e.SupersetOf(at) {
		return errAccErr
	}
	page := usermem.AddrRange{Start: memmap.PageDown(addr), End: memmap.PageDown(addr) + pageSize}
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	if err := m.ensure(vmaRange(it), v, page, around(it, page), at, &c); err != nil {
		m.apply(&c)
		return errBusErr
	}
	if len(c.remap)+len(c.protect) == 0 {
		if p := m.pmas.Find(addr); p.Ok() {
			// Nothing was missing. Either another thread was faster; or the platform could
			// not tell a write from a read; or the host lost the mapping.
			if p.Value().needCOW && v.eff().Write && !at.Execute {
				if err := m.ensure(vmaRange(it), v, page, around(it, page), memmap.Write, &c); err != nil {
					return errBusErr
				}
			} else {
				near := usermem.AddrRange{Start: addr &^ (cowChunk - 1), End: addr&^(cowChunk-1) + cowChunk}
				c.remap = append(c.remap, near.Intersect(vmaRange(it)).Intersect(usermem.AddrRange(p.Range())))
			}
		}
	}
	if m.apply(&c) != nil {
		return errBusErr
	}
	return nil
}
