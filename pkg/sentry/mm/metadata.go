package mm

import (
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/usermem"
)

// metadata is what exec and prctl(PR_SET_MM) record and /proc shows.
type metadata struct {
	code, data usermem.AddrRange
	startStack uintptr
	argv, envv usermem.AddrRange
	auxv       []byte
	executable memmap.Executable
	dumpable   int
	vdso       uintptr
}

// copyMetadata makes m's metadata that of o.
func (m *MemoryManager) copyMetadata(o *MemoryManager) {
	o.metadataMu.Lock()
	defer o.metadataMu.Unlock()
	m.metadata = o.metadata
	if m.metadata.executable != nil {
		m.metadata.executable.IncRef()
	}
}

// ImageInfo is where exec put the parts of the program.
type ImageInfo struct {
	// Code and Data are start_code to end_code, start_data to end_data.
	Code, Data usermem.AddrRange
	// StartStack is the stack pointer at entry.
	StartStack uintptr
	// Argv and Envv are where the strings lie.
	Argv, Envv usermem.AddrRange
	// Auxv is the auxiliary vector as bytes, for /proc/PID/auxv.
	Auxv []byte
	// VDSO is the address of the vDSO, 0 if there is none.
	VDSO uintptr
}

// SetImageInfo records what exec did.
func (m *MemoryManager) SetImageInfo(i ImageInfo) {
	m.metadataMu.Lock()
	defer m.metadataMu.Unlock()
	d := &m.metadata
	d.code, d.data, d.startStack, d.argv, d.envv, d.auxv, d.vdso = i.Code, i.Data, i.StartStack, i.Argv, i.Envv, i.Auxv, i.VDSO
}

// ImageInfo returns what SetImageInfo recorded.
func (m *MemoryManager) ImageInfo() ImageInfo {
	m.metadataMu.Lock()
	defer m.metadataMu.Unlock()
	d := &m.metadata
	return ImageInfo{d.code, d.data, d.startStack, d.argv, d.envv, d.auxv, d.vdso}
}

// SetExecutable records the program's file (/proc/PID/exe), whose reference passes to m.
func (m *MemoryManager) SetExecutable(e memmap.Executable) {
	m.metadataMu.Lock()
	old := m.metadata.executable
	m.metadata.executable = e
	m.metadataMu.Unlock()
	if old != nil {
		old.DecRef()
	}
}

// Executable returns the program's file with a reference for the caller, or nil.
func (m *MemoryManager) Executable() memmap.Executable {
	m.metadataMu.Lock()
	defer m.metadataMu.Unlock()
	if m.metadata.executable != nil {
		m.metadata.executable.IncRef()
	}
	return m.metadata.executable
}

// Dumpable is PR_GET_DUMPABLE.
func (m *MemoryManager) Dumpable() int {
	m.metadataMu.Lock()
	defer m.metadataMu.Unlock()
	return m.metadata.dumpable
}

// SetDumpable is PR_SET_DUMPABLE.
func (m *MemoryManager) SetDumpable(d int) {
	m.metadataMu.Lock()
	defer m.metadataMu.Unlock()
	m.metadata.dumpable = d
}
