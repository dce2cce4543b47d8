package mm

import (
	"errors"
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

	errBelowStack = errors.New("below a stack that may grow")
)

// A Fault is an access of the application that the host refused.
type Fault struct {
	Addr   uintptr
	Access memmap.AccessType // memmap.NoAccess if the platform does not know the kind

	// Bus says that the host has a mapping there and no page for it (SIGBUS): the file became
	// shorter, its filesystem has no room left, its disk has failed.
	Bus bool
}

// HandleFault repairs a fault of the application. nil: the access can be tried again. Otherwise
// the error is a *FaultError.
func (m *MemoryManager) HandleFault(f Fault) error {
	err := m.handleMappedFault(f)
	if err == errBelowStack {
		// Perhaps another thread was faster; so look again in any case.
		m.growStack(f.Addr)
		if err = m.handleMappedFault(f); err == errBelowStack {
			return errMapErr
		}
	}
	return err
}

// handleMappedFault returns errBelowStack where no VMA is but one above might grow.
func (m *MemoryManager) handleMappedFault(f Fault) error {
	addr, at := f.Addr, f.Access
	c := newChange()
	defer m.drop(c)
	m.mappingMu.RLock()
	defer m.mappingMu.RUnlock()
	vit := m.vmas.Find(addr)
	if !vit.Ok() {
		// growStack excludes all other faults, so it must not be called for each bad pointer.
		if above := m.vmas.LowerBound(addr); above.Ok() && above.Value().growsDown {
			return errBelowStack
		}
		return errMapErr
	}
	v := vit.Value()
	if e := v.eff(); !e.Any() || !e.SupersetOf(at) {
		return errAccErr
	}
	page := usermem.AddrRange{Start: memmap.PageDown(addr), End: memmap.PageDown(addr) + pageSize}
	m.activeMu.Lock()
	defer m.activeMu.Unlock()
	if err := m.ensure(vmaRange(vit), v, page, around(vit, page), at, c); err != nil {
		m.apply(c)
		return errBusErr
	}
	if c.isEmpty() {
		// Nothing was missing. Either another thread was faster, or the platform does not
		// know what kind of access it was, or the host lost the mapping, or it has no page
		// for it, or had none: the file became longer since, or shorter without the sentry's
		// doing.
		it := m.pmas.Find(addr)
		if !it.Value().private && behindEnd(vit, page) {
			m.removePMAs(page, c)
			m.apply(c)
			return errBusErr
		}
		switch {
		case f.Bus:
			return errBusErr
		case !at.Any() && v.eff().Write && !it.Value().eff.Write:
			if err := m.ensure(vmaRange(vit), v, page, around(vit, page), memmap.Write, c); err != nil {
				return errBusErr
			}
		case !at.Any():
			if m.vagueFault(addr) {
				return errAccErr
			}
		default:
			near := usermem.AddrRange{Start: addr &^ (cowChunk - 1), End: addr&^(cowChunk-1) + cowChunk}
			near = near.Intersect(vmaRange(vit)).Intersect(usermem.AddrRange(it.Range()))
			c.remap = append(c.remap, near)
		}
	}
	if m.apply(c) != nil {
		return errBusErr
	}
	return nil
}

// behindEnd says whether a page of a mapping of a file lies behind the file's end. mappingMu is held.
func behindEnd(vit vmaIter, page usermem.AddrRange) bool {
	v := vit.Value()
	if v.mappable == nil {
		return false
	}
	start := v.offsetOf(vit.Start(), page.Start)
	r := memmap.Range{Start: start, End: start + pageSize}
	_, err := v.mappable.Translate(r, r, memmap.Read, nil)
	return err != nil
}

// A platform may not be able to tell what kind of access faulted; it then reports
// memmap.NoAccess. When nothing is missing at the address, such a fault is a wrong access, or
// one that another thread has repaired meanwhile. The latter succeeds when it is tried again.
// So, as long as no mapping changes, each thread has at most one of those; one fault more
// than there are threads means that an access is wrong.
type vagueFault struct {
	addr    uintptr
	changes uint64
	count   int32
}

// vagueSlots is how many addresses are told apart at a time.
const vagueSlots = 8

// vagueFault counts a fault of unknown kind at addr, where nothing is missing, and says
// whether it is wrong. activeMu is held for writing.
func (m *MemoryManager) vagueFault(addr uintptr) bool {
	f := &m.vague[(addr/pageSize^addr/8)%vagueSlots]
	if f.addr != addr || f.changes != m.changes {
		*f = vagueFault{addr: addr, changes: m.changes}
	}
	if f.count++; f.count <= m.users.Load() {
		return false
	}
	f.count = 0
	return true
}
