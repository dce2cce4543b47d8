package syscalls

import (
	"strings"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/mm"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

var memorySyscalls = []kernel.Syscall{
	{Number: unix.SYS_MMAP, Name: "mmap", Fn: mmap, Args: []strace.Format{strace.Hex, strace.Dec64, strace.MmapProt, strace.MmapFlags, strace.FD, strace.Hex}, Note: "MAP_HUGETLB maps small pages"},
	{Number: unix.SYS_MUNMAP, Name: "munmap", Fn: munmap, Args: []strace.Format{strace.Hex, strace.Dec64}},
	{Number: unix.SYS_MPROTECT, Name: "mprotect", Fn: mprotect, Args: []strace.Format{strace.Hex, strace.Dec64, strace.MmapProt}},
	{Number: unix.SYS_PKEY_MPROTECT, Name: "pkey_mprotect", Fn: pkeyMprotect, Args: []strace.Format{strace.Hex, strace.Dec64, strace.MmapProt, strace.Dec}, Support: kernel.Partial, Note: "without keys, as on a CPU that has none"},
	{Number: unix.SYS_PKEY_ALLOC, Name: "pkey_alloc", Fn: pkeyAlloc, Args: []strace.Format{strace.Hex, strace.Hex}, Support: kernel.Partial, Note: "ENOSPC, as on a CPU that has no keys"},
	{Number: unix.SYS_PKEY_FREE, Name: "pkey_free", Fn: pkeyFree, Args: []strace.Format{strace.Dec}, Support: kernel.Partial, Note: "EINVAL, as on a CPU that has no keys"},
	{Number: unix.SYS_MREMAP, Name: "mremap", Fn: mremap, Args: []strace.Format{strace.Hex, strace.Dec64, strace.Dec64, strace.Hex, strace.Hex}},
	{Number: unix.SYS_BRK, Name: "brk", Fn: brk, Args: []strace.Format{strace.Hex}},
	{Number: unix.SYS_MADVISE, Name: "madvise", Fn: madvise, Args: []strace.Format{strace.Hex, strace.Dec64, strace.Dec}},
	{Number: unix.SYS_MSYNC, Name: "msync", Fn: msync, Args: []strace.Format{strace.Hex, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_MINCORE, Name: "mincore", Fn: mincore, Args: []strace.Format{strace.Hex, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_MLOCK, Name: "mlock", Fn: mlock, Args: []strace.Format{strace.Hex, strace.Dec64}},
	{Number: unix.SYS_MLOCK2, Name: "mlock2", Fn: mlock2, Args: []strace.Format{strace.Hex, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_MUNLOCK, Name: "munlock", Fn: munlock, Args: []strace.Format{strace.Hex, strace.Dec64}},
	{Number: unix.SYS_MLOCKALL, Name: "mlockall", Fn: mlockall, Args: []strace.Format{strace.Hex}},
	{Number: unix.SYS_MUNLOCKALL, Name: "munlockall", Fn: munlockall},
	{Number: unix.SYS_REMAP_FILE_PAGES, Name: "remap_file_pages", Fn: remapFilePages, Args: []strace.Format{strace.Hex, strace.Dec64, strace.MmapProt, strace.Dec64, strace.Hex}, Support: kernel.Unimplemented, Note: "EINVAL: deprecated"},
	{Number: unix.SYS_MBIND, Name: "mbind", Fn: mbind, Args: []strace.Format{strace.Hex, strace.Dec64, strace.Dec, strace.Hex, strace.Dec64, strace.Hex}, Support: kernel.Recorded, Note: "one node: checked, without effect"},
	{Number: unix.SYS_SET_MEMPOLICY, Name: "set_mempolicy", Fn: setMempolicy, Args: []strace.Format{strace.Dec, strace.Hex, strace.Dec64}, Support: kernel.Recorded, Note: "one node: checked, without effect"},
	{Number: unix.SYS_GET_MEMPOLICY, Name: "get_mempolicy", Fn: getMempolicy, Args: []strace.Format{strace.Hex, strace.Hex, strace.Dec64, strace.Hex, strace.Hex}, Note: "one node"},
	{Number: unix.SYS_MIGRATE_PAGES, Name: "migrate_pages", Fn: migratePages, Args: []strace.Format{strace.Dec, strace.Dec64, strace.Hex, strace.Hex}, Note: "one node"},
	{Number: unix.SYS_MEMBARRIER, Name: "membarrier", Fn: membarrier, Args: []strace.Format{strace.Dec, strace.Hex, strace.Dec}, Support: kernel.Partial, Note: "no rseq commands"},
}

// Flags of mmap(2) and mremap(2) that x/sys lacks or spells otherwise.
const (
	mapUninitialized = 0x4000000
	// mapLegacy are the flags that MAP_SHARED_VALIDATE accepts.
	mapLegacy = unix.MAP_SHARED | unix.MAP_PRIVATE | unix.MAP_FIXED | unix.MAP_ANONYMOUS | unix.MAP_DENYWRITE |
		unix.MAP_EXECUTABLE | mapUninitialized | unix.MAP_GROWSDOWN | unix.MAP_LOCKED | unix.MAP_NORESERVE |
		unix.MAP_POPULATE | unix.MAP_NONBLOCK | unix.MAP_STACK | unix.MAP_HUGETLB | unix.MAP_32BIT |
		unix.MAP_FIXED_NOREPLACE | 0x3f<<26 | 0x80
	mapType = 0x0f

	protGrowsDown = 0x01000000
	protGrowsUp   = 0x02000000
	protSem       = 8

	hugePage = 2 << 20
)

// accessOf is what the PROT_* word asks for.
func accessOf(prot uint32) memmap.AccessType {
	return memmap.AccessType{Read: prot&unix.PROT_READ != 0, Write: prot&unix.PROT_WRITE != 0, Execute: prot&unix.PROT_EXEC != 0}
}

// mappedFile is the file that a mapping keeps open.
type mappedFile struct{ *vfs.FileDescription }

// unmapper is who lets go of a mapped file: by then there may be no task.
var unmapper = &context.Background{Creds: auth.NewRootCredentials(auth.NewRootUserNamespace())}

// DecRef implements memmap.Identity.
func (f mappedFile) DecRef() { f.FileDescription.DecRef(unmapper) }

// PunchHole implements memmap.HolePuncher.
func (f mappedFile) PunchHole(r memmap.Range) error {
	return f.File().Allocate(unmapper, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, int64(r.Start), int64(r.Length()))
}

// SyncMapped implements memmap.Syncer.
func (f mappedFile) SyncMapped(memmap.Range) error { return f.Sync(unmapper, false) }

// mayLock is the permission to lock memory at all, and whether without limit.
func mayLock(t *kernel.Task) (may, unlimited bool) {
	unlimited = t.Credentials().HasRootCapability(unix.CAP_IPC_LOCK)
	return unlimited || t.ThreadGroup().Limits().MemlockLimit() > 0, unlimited
}

func mmap(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Uint(3)
	o := mm.MMapOpts{
		Addr: a.Pointer(0), Length: a.Uint64(1), Offset: a.Uint64(5),
		Perms: accessOf(a.Uint(2)), MaxPerms: memmap.AnyAccess,
		Fixed:     flags&(unix.MAP_FIXED|unix.MAP_FIXED_NOREPLACE) != 0,
		NoReplace: flags&unix.MAP_FIXED_NOREPLACE != 0,
		Map32Bit:  flags&unix.MAP_32BIT != 0,
		GrowsDown: flags&unix.MAP_GROWSDOWN != 0,
		Precommit: flags&(unix.MAP_POPULATE|unix.MAP_NONBLOCK) == unix.MAP_POPULATE,
		NoReserve: flags&unix.MAP_NORESERVE != 0,
		Locked:    flags&unix.MAP_LOCKED != 0,
	}
	switch flags & mapType {
	case unix.MAP_SHARED:
	case unix.MAP_SHARED_VALIDATE:
		if flags&^mapLegacy != 0 {
			return 0, unix.EOPNOTSUPP
		}
	case unix.MAP_PRIVATE:
		o.Private = true
	default:
		return 0, unix.EINVAL
	}
	if o.Offset%memmap.PageSize != 0 || o.GrowsDown && !o.Private {
		return 0, unix.EINVAL
	}
	may, unlimited := mayLock(t)
	if o.Locked && !may {
		return 0, unix.EPERM
	}
	o.IPCLock = unlimited
	if flags&unix.MAP_ANONYMOUS != 0 {
		if flags&unix.MAP_HUGETLB != 0 {
			o.Length = (o.Length + hugePage - 1) &^ (hugePage - 1)
			o.Align = hugePage
		}
		o.Offset = 0
		return t.MemoryManager().MMap(o)
	}
	f := t.FDTable().Get(a.Int(4))
	if f == nil {
		return 0, unix.EBADF
	}
	defer f.DecRef(t)
	if f.PathOnly() {
		return 0, unix.EBADF
	}
	if err := mapFile(t, &o, f); err != nil {
		return 0, err
	}
	return t.MemoryManager().MMap(o)
}

// mapFile checks the mapping o of f and completes it.
func mapFile(t *kernel.Task, o *mm.MMapOpts, f *vfs.FileDescription) error {
	if o.GrowsDown {
		return unix.EINVAL
	}
	if !f.Readable() || !o.Private && o.Perms.Write && !f.Writable() {
		return unix.EACCES
	}
	if f.NoExec() {
		if o.Perms.Execute {
			return unix.EPERM
		}
		o.MaxPerms.Execute = false
	}
	if !o.Private && !f.Writable() {
		o.MaxPerms.Write = false
	}
	m, err := f.Mappable(t)
	if err != nil {
		return err
	}
	if _, ok := m.(memmap.Anonymous); ok {
		o.Offset = 0
		return nil
	}
	o.Mappable, o.Identity = m, mappedFile{f}
	return nil
}

func munmap(t *kernel.Task, a arch.Args) (uintptr, error) {
	return 0, t.MemoryManager().MUnmap(a.Pointer(0), a.Uint64(1))
}

func mprotect(t *kernel.Task, a arch.Args) (uintptr, error) {
	prot := a.Uint(2)
	grow := prot & (protGrowsDown | protGrowsUp)
	if grow == protGrowsDown|protGrowsUp || prot&^(unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC|protSem|protGrowsDown|protGrowsUp) != 0 {
		return 0, unix.EINVAL
	}
	if grow == protGrowsUp {
		return 0, unix.EINVAL // no mapping of x86 grows up
	}
	return 0, t.MemoryManager().MProtect(a.Pointer(0), a.Uint64(1), accessOf(prot), grow != 0)
}

func pkeyMprotect(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Int(3) != -1 {
		return 0, unix.EINVAL
	}
	return mprotect(t, a)
}

func pkeyAlloc(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a[0] != 0 || a[1]&^3 != 0 {
		return 0, unix.EINVAL
	}
	return 0, unix.ENOSPC
}

func pkeyFree(t *kernel.Task, a arch.Args) (uintptr, error) { return 0, unix.EINVAL }

func mremap(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Uint(3)
	if flags&^(unix.MREMAP_MAYMOVE|unix.MREMAP_FIXED|unix.MREMAP_DONTUNMAP) != 0 {
		return 0, unix.EINVAL
	}
	_, unlimited := mayLock(t)
	return t.MemoryManager().MRemap(a.Pointer(0), a.Uint64(1), a.Uint64(2), mm.MRemapOpts{
		MayMove:   flags&unix.MREMAP_MAYMOVE != 0,
		Fixed:     flags&unix.MREMAP_FIXED != 0,
		DontUnmap: flags&unix.MREMAP_DONTUNMAP != 0,
		IPCLock:   unlimited,
		NewAddr:   a.Pointer(4),
	})
}

func brk(t *kernel.Task, a arch.Args) (uintptr, error) {
	return t.MemoryManager().Brk(a.Pointer(0)), nil
}

func madvise(t *kernel.Task, a arch.Args) (uintptr, error) {
	return 0, t.MemoryManager().MAdvise(a.Pointer(0), a.Uint64(1), int(a.Int(2)))
}

func msync(t *kernel.Task, a arch.Args) (uintptr, error) {
	return 0, t.MemoryManager().MSync(a.Pointer(0), a.Uint64(1), int(a.Int(2)))
}

func mincore(t *kernel.Task, a arch.Args) (uintptr, error) {
	addr, length, vec := a.Pointer(0), a.Uint64(1), a.Pointer(2)
	if addr%memmap.PageSize != 0 {
		return 0, unix.EINVAL
	}
	if _, hi := t.MemoryManager().UserRange(); length > uint64(hi) {
		return 0, unix.ENOMEM
	}
	var buf [512]byte
	for pages := memmap.PageUp(length) / memmap.PageSize; pages > 0; {
		b := buf[:min(pages, uint64(len(buf)))]
		if err := t.MemoryManager().Mincore(addr, b); err != nil {
			return 0, err
		}
		if err := t.CopyOutBytes(vec, b); err != nil {
			return 0, err
		}
		n := uint64(len(b))
		pages -= n
		addr += uintptr(n) * memmap.PageSize
		vec += uintptr(n)
	}
	return 0, nil
}

func lockMemory(t *kernel.Task, addr uintptr, length uint64, onFault bool) error {
	may, unlimited := mayLock(t)
	if !may {
		return unix.EPERM
	}
	return t.MemoryManager().MLock(addr, length, onFault, unlimited)
}

func mlock(t *kernel.Task, a arch.Args) (uintptr, error) {
	return 0, lockMemory(t, a.Pointer(0), a.Uint64(1), false)
}

func mlock2(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Uint(2)
	if flags&^unix.MLOCK_ONFAULT != 0 {
		return 0, unix.EINVAL
	}
	return 0, lockMemory(t, a.Pointer(0), a.Uint64(1), flags != 0)
}

func munlock(t *kernel.Task, a arch.Args) (uintptr, error) {
	return 0, t.MemoryManager().MUnlock(a.Pointer(0), a.Uint64(1))
}

func mlockall(t *kernel.Task, a arch.Args) (uintptr, error) {
	flags := a.Uint(0)
	if flags == 0 || flags&^(unix.MCL_CURRENT|unix.MCL_FUTURE|unix.MCL_ONFAULT) != 0 || flags == unix.MCL_ONFAULT {
		return 0, unix.EINVAL
	}
	may, unlimited := mayLock(t)
	if !may {
		return 0, unix.EPERM
	}
	return 0, t.MemoryManager().MLockAll(flags&unix.MCL_CURRENT != 0, flags&unix.MCL_FUTURE != 0, flags&unix.MCL_ONFAULT != 0, unlimited)
}

func munlockall(t *kernel.Task, a arch.Args) (uintptr, error) {
	t.MemoryManager().MUnlockAll()
	return 0, nil
}

func remapFilePages(t *kernel.Task, a arch.Args) (uintptr, error) { return 0, unix.EINVAL }

// Memory policies (set_mempolicy(2)). There is one node, 0.
const (
	mpolPreferredMany = 5
	mpolMaxMode       = 7
	mpolModeFlags     = 1<<15 | 1<<14 | 1<<13
	mpolFNode         = 1
	mpolFAddr         = 2
	mpolFMemsAllowed  = 4
	mpolMFValid       = 7
	mpolMFMove        = 2
	mpolMFMoveAll     = 4
	maxNodeBits       = 4096 * 8
)

// checkPolicy checks a mode and node mask.
func checkPolicy(t *kernel.Task, mode uint32, mask uintptr, maxNode uint64) error {
	mode &^= mpolModeFlags
	if mode >= mpolMaxMode {
		return unix.EINVAL
	}
	var nodes uint64
	if mask != 0 && maxNode > 1 {
		if maxNode-1 > maxNodeBits {
			return unix.EINVAL
		}
		words := (maxNode - 1 + 63) / 64
		for i := uint64(0); i < words; i++ {
			var w uint64
			if err := kernel.CopyIn(t, mask+uintptr(i)*8, &w); err != nil {
				return err
			}
			if i > 0 && w != 0 {
				return unix.EINVAL
			}
			if i == 0 {
				nodes = w
			}
		}
	}
	const deflt, preferred, local = 0, 1, 4
	switch {
	case nodes&^1 != 0:
		return unix.EINVAL
	case (mode == deflt || mode == local) && nodes != 0:
		return unix.EINVAL
	case mode != deflt && mode != preferred && mode != local && nodes == 0:
		return unix.EINVAL
	}
	return nil
}

func mbind(t *kernel.Task, a arch.Args) (uintptr, error) {
	addr, length := a.Pointer(0), memmap.PageUp(a.Uint64(1))
	if addr%memmap.PageSize != 0 || a.Uint(5)&^mpolMFValid != 0 || uint64(addr)+length < uint64(addr) {
		return 0, unix.EINVAL
	}
	if err := checkPolicy(t, a.Uint(2), a.Pointer(3), a.Uint64(4)); err != nil {
		return 0, err
	}
	if !t.MemoryManager().IsMapped(addr, length) {
		return 0, unix.EFAULT
	}
	return 0, nil
}

func setMempolicy(t *kernel.Task, a arch.Args) (uintptr, error) {
	return 0, checkPolicy(t, a.Uint(0), a.Pointer(1), a.Uint64(2))
}

func getMempolicy(t *kernel.Task, a arch.Args) (uintptr, error) {
	mode, mask, maxNode, addr, flags := a.Pointer(0), a.Pointer(1), a.Uint64(2), a.Pointer(3), a.Uint(4)
	if flags&^(mpolFNode|mpolFAddr|mpolFMemsAllowed) != 0 || mask != 0 && maxNode < 1 {
		return 0, unix.EINVAL
	}
	if flags&mpolFMemsAllowed != 0 && flags != mpolFMemsAllowed || flags&mpolFAddr == 0 && addr != 0 {
		return 0, unix.EINVAL
	}
	if flags&mpolFAddr != 0 && !t.MemoryManager().IsMapped(addr, 1) {
		return 0, unix.EFAULT
	}
	if flags&(mpolFNode|mpolFAddr) == mpolFNode {
		return 0, unix.EINVAL // only an interleaving policy has a next node
	}
	if mask != 0 {
		var node uint64
		if flags&mpolFMemsAllowed != 0 {
			node = 1
		}
		n := min((maxNode+63)/64, maxNodeBits/64)
		for i := uint64(0); i < n; i++ {
			if err := kernel.CopyOut(t, mask+uintptr(i)*8, &node); err != nil {
				return 0, err
			}
			node = 0
		}
	}
	if mode != 0 {
		var zero int32 // MPOL_DEFAULT, or node 0
		return 0, kernel.CopyOut(t, mode, &zero)
	}
	return 0, nil
}

func migratePages(t *kernel.Task, a arch.Args) (uintptr, error) {
	if _, err := taskOf(t, a.Int(0)); err != nil {
		return 0, unix.ESRCH
	}
	return 0, nil
}

// membarrier(2): commands and what each needs registered first.
func membarrier(t *kernel.Task, a arch.Args) (uintptr, error) {
	const supported = linux.MembarrierGlobal | linux.MembarrierGlobalExpedited | linux.MembarrierRegisterGlobalExpedited |
		linux.MembarrierPrivateExpedited | linux.MembarrierRegisterPrivateExpedited |
		linux.MembarrierPrivateExpeditedSyncCore | linux.MembarrierRegisterPrivateExpeditedSyncCore
	cmd, flags := a.Uint(0), a.Uint(1)
	if flags != 0 {
		return 0, unix.EINVAL
	}
	m := t.MemoryManager()
	switch cmd {
	case 0: // MEMBARRIER_CMD_QUERY
		if !mm.HasBarrier() {
			return 0, nil
		}
		return supported, nil
	case linux.MembarrierGlobal, linux.MembarrierGlobalExpedited:
	case linux.MembarrierRegisterGlobalExpedited, linux.MembarrierRegisterPrivateExpedited, linux.MembarrierRegisterPrivateExpeditedSyncCore:
		m.RegisterMembarrier(cmd)
		return 0, nil
	case linux.MembarrierPrivateExpedited, linux.MembarrierPrivateExpeditedSyncCore:
		if !m.MembarrierRegistered(cmd << 1) {
			return 0, unix.EPERM
		}
	case linux.MembarrierGetRegistrations:
		return uintptr(m.MembarrierRegistrations()), nil
	default:
		return 0, unix.EINVAL
	}
	return 0, mm.Barrier()
}

// setVMAName is prctl(2)'s PR_SET_VMA.
func setVMAName(t *kernel.Task, a arch.Args) error {
	const maxName = 80 // ANON_VMA_NAME_MAX_LEN, with the NUL
	if a[1] != unix.PR_SET_VMA_ANON_NAME {
		return unix.EINVAL
	}
	name := ""
	if p := a.Pointer(4); p != 0 {
		var err error
		if name, err = t.CopyInString(p, maxName-1); err == unix.ENAMETOOLONG {
			return unix.EINVAL
		} else if err != nil {
			return err
		}
		for i := 0; i < len(name); i++ {
			if c := name[i]; c < ' ' || c > '~' || strings.IndexByte("[]\\$`", c) >= 0 {
				return unix.EINVAL
			}
		}
	}
	return t.MemoryManager().SetAnonName(a.Pointer(2), a.Uint64(3), name)
}
