// Package mm is an application's address space as Linux's mm/ directory knows it: what is
// mapped where (VMAs), which pages are behind it (PMAs), and the system calls and faults that
// change either.
//
// A VMA says what the application asked for: addresses, protection, a memmap.Mappable and an
// offset, or anonymous memory. A PMA says where pages are: a range of a memmap.File, what may
// be done with it, and whether a write must copy first. Both are segment.Sets keyed by
// address. What is mapped on the host (platform.AddressSpace) follows the PMAs at once: every
// PMA is mapped with its effective protection, and nothing else is. So a fault that reaches
// HandleFault means that a PMA is missing, must be copied, or that the access is wrong.
//
// Host mappings are expensive to change and cheap to make large (one call costs the same for
// 4 KiB and 2 MiB). Therefore private anonymous memory gets its range of the memory file and
// is mapped when mmap or brk makes it, up to eagerMax; larger areas follow in aligned chunks
// when touched; files are mapped with everything that Translate gives cheaply; fork
// write-protects in one batch, maps the child in another, and copy-on-write works in chunks
// of cowChunk; those that were written to after one fork are copied by the next (hotChunks).
//
// MemoryManager implements usermem.IO (the sentry reaches application memory through
// memmap.File.Blocks, never through the platform) and memmap.MappingSpace.
//
// # Locks
//
//	mappingMu  VMAs, brk, limits. Held for reading by faults, for writing by changes.
//	  activeMu   PMAs and the host's address space. Held for reading while application
//	             memory is copied, but not while it is lent to a BlockReader or
//	             BlockWriter (see inflight).
//	    locks that a Mappable takes in Translate
//	      memmap.File
//	  locks that a Mappable takes in AddMapping, RemoveMapping and CopyMapping; these may be
//	  held over MappingSpace.Invalidate, which takes activeMu
//
// So AddMapping and its siblings are called without activeMu, and a file that holds a lock
// which its Translate takes must not call usermem.IO: it takes the lock inside ReadToBlocks
// or WriteFromBlocks. References on Files and Identities are dropped after all locks are. Two
// MemoryManagers' locks are held together by Fork only: the parent's, then those of the
// child, which nobody else knows.
package mm

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"runsc/pkg/platform"
	"runsc/pkg/segment"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/usermem"
)

const (
	pageSize = memmap.PageSize

	// eagerMax is the largest private anonymous mapping that is backed when it is made. A
	// larger one is backed in chunks of lazyChunk when touched, or of lazyChunkHuge if it
	// is so large that much of it will never be.
	eagerMax      = 256 << 20
	lazyChunk     = 64 << 20
	lazyChunkHuge = 4 << 20
	hugeVMA       = 256 << 30

	// cowChunk is how much is copied when a write meets shared pages, at first: see
	// cowSize.
	cowChunk = 64 << 10
	// faultAround is how much of a file is asked for around a fault.
	faultAround = 1 << 20
	// maxMapCount is vm.max_map_count: how many VMAs an address space may have. The host
	// has the same limit for what follows from them.
	maxMapCount = 65530
	// mapAhead is how much of a file is asked for when it is mapped.
	mapAhead = 64 << 20
)

type (
	vmaSet  = segment.Set[uintptr, vma]
	vmaIter = segment.Iter[uintptr, vma]
	pmaSet  = segment.Set[uintptr, pma]
	pmaIter = segment.Iter[uintptr, pma]
)

// Limits are the resource limits of the process that an address space belongs to, in bytes.
type Limits interface {
	AddressSpaceLimit() uint64
	DataLimit() uint64
	StackLimit() uint64
	MemlockLimit() uint64
}

// MemoryManager is one address space.
type MemoryManager struct {
	p  platform.Platform     `state:"nosave"`
	as platform.AddressSpace `state:"nosave"`
	mf *pgalloc.MemoryFile

	users atomic.Int32

	processIDMu sync.Mutex // held while the platform is told
	// processIDSet: it was told what getpid(2) answers, or to ask for good.
	processIDSet atomic.Bool

	mappingMu sync.RWMutex // guards the fields below
	vmas      vmaSet
	layout    layout
	brk       usermem.AddrRange // [start, current end)
	limits    Limits
	sizes     sizes
	lockNew   lockMode // mlockall(MCL_FUTURE)
	lockFree  bool     // that was called with CAP_IPC_LOCK: growth of heap and stack has no limit

	activeMu sync.RWMutex // guards the fields below and changes of as
	pmas     pmaSet
	changes  uint64 // how often the host's mappings changed
	waiting  bool   // the host is told of nothing before Settle
	vague    [vagueSlots]vagueFault
	hot      *hotChunks

	inflight inflight

	maxRSS      atomic.Uint64
	rssMeasured atomic.Int64 // time.Now, ns

	patches patches // guarded by mappingMu

	metadataMu sync.Mutex // guards metadata
	metadata   metadata

	membarrier atomic.Uint32 // commands registered by membarrier(2)
}

// newAddressSpace makes an address space on the platform. EAGAIN if a limit of the sandbox's on the
// host forbids one more process, which is no descriptor to the application.
func newAddressSpace(p platform.Platform) (platform.AddressSpace, error) {
	as, err := p.NewAddressSpace()
	if errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		err = fmt.Errorf("%w: %v", unix.EAGAIN, err)
	}
	return as, err
}

// New makes an empty address space with one user, in the layout of a program with an 8 MiB
// stack. Before an application can run in it, Settle is to be called.
func New(p platform.Platform, mf *pgalloc.MemoryFile) (*MemoryManager, error) {
	as, err := newAddressSpace(p)
	if err != nil {
		return nil, err
	}
	m := &MemoryManager{p: p, as: as, mf: mf, hot: &hotChunks{}, waiting: true}
	m.users.Store(1)
	m.metadata.dumpable = 1
	m.SetLayout(LayoutOptions{StackLimit: 8 << 20})
	return m, nil
}

// AddressSpace is what the application runs in.
func (m *MemoryManager) AddressSpace() platform.AddressSpace { return m.as }

// SetLimits says which limits apply from now on; nil means none.
func (m *MemoryManager) SetLimits(l Limits) {
	m.mappingMu.Lock()
	defer m.mappingMu.Unlock()
	m.limits = l
}

// IncUsers adds a user, and fails if the last one has left.
func (m *MemoryManager) IncUsers() bool {
	for {
		n := m.users.Load()
		if n <= 0 {
			return false
		}
		if m.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// DecUsers removes a user. With the last one everything is unmapped and the host's address
// space ends.
func (m *MemoryManager) DecUsers() {
	if n := m.users.Add(-1); n > 0 {
		return
	} else if n < 0 {
		panic("mm: more users left than came")
	}
	c := newChange()
	m.mappingMu.Lock()
	m.activeMu.Lock()
	m.as.Release()
	m.removePMAs(usermem.AddrRange{End: m.layout.max}, c)
	m.activeMu.Unlock()
	m.removeVMAs(usermem.AddrRange{End: m.layout.max}, c)
	m.forgetMappings(c)
	m.mappingMu.Unlock()
	m.drop(c)
	m.metadataMu.Lock()
	exe := m.metadata.executable
	m.metadata.executable = nil
	m.metadataMu.Unlock()
	if exe != nil {
		exe.DecRef()
	}
}

func (m *MemoryManager) addressLimit() uint64 {
	if m.limits == nil {
		return ^uint64(0)
	}
	return m.limits.AddressSpaceLimit()
}

func (m *MemoryManager) dataLimit() uint64 {
	if m.limits == nil {
		return ^uint64(0)
	}
	return m.limits.DataLimit()
}

func (m *MemoryManager) stackLimit() uint64 {
	if m.limits == nil {
		return 8 << 20
	}
	return m.limits.StackLimit()
}

func (m *MemoryManager) memlockLimit() uint64 {
	if m.limits == nil {
		return ^uint64(0)
	}
	return m.limits.MemlockLimit()
}

// Users is how many tasks use the address space.
func (m *MemoryManager) Users() int { return int(m.users.Load()) }
