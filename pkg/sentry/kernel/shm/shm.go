// Package shm implements System V shared memory segments (shmget(2), shmop(2), shmctl(2)).
//
// A Registry holds the segments of one IPC namespace by key and id. A Segment is memory of
// the memory file that processes map: it is the memmap.Mappable of such mappings and their
// memmap.Identity, and every VMA holds a reference on it, so that the number of references
// is shm_nattch. A segment marked for destruction (IPC_RMID) loses its key at once and goes
// with its last attachment.
//
// What a caller may do is decided here from its credentials; ids of users are those of the
// sandbox's root user namespace, and package syscalls translates them.
//
// Lock order: Registry.mu → the memory file. Attachments are counted under Registry.mu too,
// which is therefore taken with mm's mapping lock held; the registry never calls mm.
package shm

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/kernel/ipc"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/usermem"
)

// Registry holds the segments of an IPC namespace.
type Registry struct {
	mu    sync.Mutex // guards the fields below and the Segments' mutable fields
	table ipc.Table[*Segment]
	pages uint64 // of all segments
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry { return &Registry{table: ipc.NewTable[*Segment](linux.ShmMni)} }

// Segment is a piece of shared memory.
type Segment struct {
	reg  *Registry
	mf   *pgalloc.MemoryFile
	fr   memmap.Range // whole pages
	size uint64       // as asked for, in bytes
	cpid int32

	// The fields below are guarded by reg.mu. Perm's Mode holds ShmLocked too, its Key is
	// Private once the segment is marked for destruction.
	ipc.Perm
	atime, dtime, ctime int64 // seconds
	lpid                int32
	attached            uint64
	dest                bool // to be destroyed with the last attachment
	freed               bool
}

// Get is shmget(2): the id of the segment with that key, made if flags say so. size is in
// bytes; flags hold IPC_CREAT, IPC_EXCL and permission bits.
func (r *Registry) Get(c ipc.Caller, mf *pgalloc.MemoryFile, key int32, size uint64, flags uint32) (int32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, found, err := r.table.Find(c, key, flags)
	switch {
	case err != nil:
		return 0, err
	case found && size > s.size:
		return 0, unix.EINVAL
	case found:
		return s.ID, nil
	}
	if size < linux.ShmMin || size > linux.ShmMax || memmap.PageUp(size) == 0 {
		return 0, unix.EINVAL
	}
	fr, err := mf.Allocate(memmap.PageUp(size), pgalloc.AllocOpts{})
	if err != nil {
		return 0, unix.ENOMEM
	}
	s = &Segment{reg: r, mf: mf, fr: fr, size: size, cpid: c.PID, ctime: time.Now().Unix()}
	if err := r.table.Add(c, key, flags, s); err != nil {
		mf.DecRef(fr)
		return 0, err
	}
	r.pages += fr.Length() / memmap.PageSize
	return s.ID, nil
}

// Attach finds a segment for shmat(2) and counts one attachment, which the caller drops by
// DecRef when its mapping, which counts for itself, is made. EACCES: no permission for
// what flags (SHM_RDONLY, SHM_EXEC) ask.
func (r *Registry) Attach(c ipc.Caller, id int32, flags uint32) (*Segment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.table.Get(id)
	if err != nil {
		return nil, err
	}
	want := uint32(ipc.Read | ipc.Write)
	if flags&linux.ShmRdonly != 0 {
		want = ipc.Read
	}
	if flags&linux.ShmExec != 0 {
		want |= ipc.Execute
	}
	if !s.Allowed(c, want) {
		return nil, unix.EACCES
	}
	s.attached++
	s.atime = time.Now().Unix()
	s.lpid = c.PID
	return s, nil
}

// Detached records shmdt(2) by the caller; the attachments themselves are counted by the
// mappings.
func (s *Segment) Detached(c ipc.Caller) {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	s.dtime = time.Now().Unix()
	s.lpid = c.PID
}

// Remove is IPC_RMID. EPERM: the caller is neither owner, creator nor privileged.
func (r *Registry) Remove(c ipc.Caller, id int32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.table.Get(id)
	if err != nil {
		return err
	}
	if !s.MayControl(c) {
		return unix.EPERM
	}
	r.table.ForgetKey(s)
	s.dest = true
	s.freeIfUnused()
	return nil
}

// freeIfUnused frees a segment that is marked and has no attachment. reg.mu is held.
func (s *Segment) freeIfUnused() {
	if !s.dest || s.attached > 0 || s.freed {
		return
	}
	s.freed = true
	s.reg.table.Remove(s)
	s.reg.pages -= s.fr.Length() / memmap.PageSize
	s.mf.DecRef(s.fr)
}

// Release frees what is left when the namespace ends.
func (r *Registry) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	var all []*Segment
	r.table.Each(func(s *Segment) { all = append(all, s) })
	for _, s := range all {
		s.dest = true
		s.freeIfUnused()
	}
}

// Change is IPC_SET: a new owner and permission bits.
func (r *Registry) Change(c ipc.Caller, id int32, uid auth.KUID, gid auth.KGID, mode uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.table.Get(id)
	if err != nil {
		return err
	}
	if !s.MayControl(c) {
		return unix.EPERM
	}
	s.UID, s.GID = uid, gid
	s.Mode = s.Mode&^0o777 | mode&0o777
	s.ctime = time.Now().Unix()
	return nil
}

// Lock is SHM_LOCK and SHM_UNLOCK: the memory is never swapped anyway.
func (r *Registry) Lock(c ipc.Caller, id int32, lock bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.table.Get(id)
	if err != nil {
		return err
	}
	u := c.Creds.EffectiveUID
	if u != s.UID && u != s.CUID && !c.Creds.HasCapabilityIn(unix.CAP_IPC_LOCK, c.NS) {
		return unix.EPERM
	}
	s.Mode &^= linux.ShmLocked
	if lock {
		s.Mode |= linux.ShmLocked
	}
	return nil
}

// Info describes a segment. UID and the like are in the root user namespace.
type Info struct {
	ipc.Perm                   // Mode with ShmDest and ShmLocked
	Size                uint64 // bytes
	Resident            uint64 // bytes
	Atime, Dtime, Ctime int64  // seconds since the epoch
	Cpid, Lpid          int32
	Attached            uint64
}

func (s *Segment) info() Info {
	i := Info{
		Perm: s.Perm, Size: s.size, Atime: s.atime, Dtime: s.dtime, Ctime: s.ctime, Cpid: s.cpid, Lpid: s.lpid,
		Attached: s.attached, Resident: s.mf.Resident(s.fr),
	}
	if s.dest {
		i.Mode |= linux.ShmDest
	}
	return i
}

// Stat is IPC_STAT of an id; with byIndex, SHM_STAT of an index. any skips the permission
// check (SHM_STAT_ANY).
func (r *Registry) Stat(c ipc.Caller, id int32, byIndex, any bool) (Info, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.table.Stat(c, id, byIndex, any)
	if err != nil {
		return Info{}, err
	}
	return s.info(), nil
}

// Totals is what SHM_INFO and IPC_INFO tell: the number of segments, the highest index in
// use (0 if there is none), and the pages of all segments, all and resident ones.
func (r *Registry) Totals() (used, highest int, pages, resident uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.table.Each(func(s *Segment) { resident += s.mf.Resident(s.fr) / memmap.PageSize })
	return r.table.Len(), r.table.Highest(), r.pages, resident
}

// List describes all segments, for /proc/sysvipc/shm.
func (r *Registry) List() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Info, 0, r.table.Len())
	r.table.Each(func(s *Segment) { out = append(out, s.info()) })
	return out
}

// Size is the segment's size in bytes.
func (s *Segment) Size() uint64 { return s.size }

// AddMapping implements memmap.Mappable.
func (*Segment) AddMapping(memmap.MappingSpace, usermem.AddrRange, uint64, bool) error { return nil }

// RemoveMapping implements memmap.Mappable.
func (*Segment) RemoveMapping(memmap.MappingSpace, usermem.AddrRange, uint64, bool) {}

// CopyMapping implements memmap.Mappable.
func (*Segment) CopyMapping(_ memmap.MappingSpace, _, _ usermem.AddrRange, _ uint64, _ bool) error {
	return nil
}

// Translate implements memmap.Mappable.
func (s *Segment) Translate(required, optional memmap.Range, _ memmap.AccessType, dst []memmap.Translation) ([]memmap.Translation, error) {
	src := optional.Intersect(memmap.Range{End: s.fr.Length()})
	if src.Length() > 0 {
		dst = append(dst, memmap.Translation{Source: src, File: s.mf, Offset: s.fr.Start + src.Start, Perms: memmap.AnyAccess})
	}
	if !src.IsSupersetOf(required) {
		return dst, unix.EFAULT
	}
	return dst, nil
}

// MappedName implements memmap.Identity.
func (s *Segment) MappedName() string {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	return fmt.Sprintf("/SYSV%08x (deleted)", uint32(s.Key))
}

// DeviceID implements memmap.Identity.
func (*Segment) DeviceID() uint64 { return 1 }

// InodeID implements memmap.Identity.
func (s *Segment) InodeID() uint64 { return uint64(s.ID) }

// IncRef implements memmap.Identity: one more attachment.
func (s *Segment) IncRef() {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	s.attached++
}

// DecRef implements memmap.Identity: one attachment less.
func (s *Segment) DecRef() {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	if s.attached == 0 {
		panic("shm: segment detached more often than attached")
	}
	s.attached--
	s.freeIfUnused()
}
