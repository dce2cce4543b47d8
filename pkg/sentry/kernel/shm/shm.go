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
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/pgalloc"
	"runsc/pkg/sentry/usermem"
)

// Private is IPC_PRIVATE.
const Private = 0

// Registry holds the segments of an IPC namespace.
type Registry struct {
	mu       sync.Mutex // guards the fields below and the Segments' mutable fields
	byKey    map[int32]*Segment
	byIndex  map[int]*Segment
	lastSeq  int
	nextSlot int
	pages    uint64 // of all segments
}

// NewRegistry makes an empty registry.
func NewRegistry() *Registry {
	return &Registry{byKey: map[int32]*Segment{}, byIndex: map[int]*Segment{}}
}

// Segment is a piece of shared memory.
type Segment struct {
	reg  *Registry
	mf   *pgalloc.MemoryFile
	fr   memmap.Range // whole pages
	size uint64       // as asked for, in bytes
	id   int32
	slot int
	cuid auth.KUID
	cgid auth.KGID
	cpid int32

	// The fields below are guarded by reg.mu.
	key                 int32 // Private once the segment is marked for destruction
	uid                 auth.KUID
	gid                 auth.KGID
	mode                uint32 // permission bits and ShmLocked
	atime, dtime, ctime int64  // seconds
	lpid                int32
	attached            uint64
	dest                bool // to be destroyed with the last attachment
	freed               bool
}

// Caller is who asks.
type Caller struct {
	Creds *auth.Credentials
	// NS owns the IPC namespace; capabilities count in it.
	NS  *auth.UserNamespace
	PID int32
}

// allowed says whether the caller has the access bits (of 0o7) to the segment.
func (s *Segment) allowed(c Caller, access uint32) bool {
	mode := s.mode & 0o777
	switch cr := c.Creds; {
	case cr.EffectiveUID == s.uid || cr.EffectiveUID == s.cuid:
		mode >>= 6
	case inGroup(cr, s.gid) || inGroup(cr, s.cgid):
		mode >>= 3
	}
	return mode&access == access || c.Creds.HasCapabilityIn(unix.CAP_IPC_OWNER, c.NS)
}

func inGroup(c *auth.Credentials, g auth.KGID) bool {
	if c.EffectiveGID == g {
		return true
	}
	for _, x := range c.Groups {
		if x == g {
			return true
		}
	}
	return false
}

// mayControl says whether the caller may change or remove the segment.
func (s *Segment) mayControl(c Caller) bool {
	u := c.Creds.EffectiveUID
	return u == s.uid || u == s.cuid || c.Creds.HasCapabilityIn(unix.CAP_SYS_ADMIN, c.NS)
}

// Get is shmget(2): the id of the segment with that key, made if flags say so. size is in
// bytes; flags hold IPC_CREAT, IPC_EXCL and permission bits.
func (r *Registry) Get(c Caller, mf *pgalloc.MemoryFile, key int32, size uint64, flags uint32) (int32, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key != Private {
		if s := r.byKey[key]; s != nil {
			if flags&unix.IPC_CREAT != 0 && flags&unix.IPC_EXCL != 0 {
				return 0, unix.EEXIST
			}
			// Each of the three bit groups of flags asks for access (shmget(2)).
			want := (flags>>6 | flags>>3 | flags) & 0o7
			if !s.allowed(c, want) {
				return 0, unix.EACCES
			}
			if size > s.size {
				return 0, unix.EINVAL
			}
			return s.id, nil
		}
		if flags&unix.IPC_CREAT == 0 {
			return 0, unix.ENOENT
		}
	}
	if size < linux.ShmMin || size > linux.ShmMax || memmap.PageUp(size) == 0 {
		return 0, unix.EINVAL
	}
	if len(r.byIndex) >= linux.ShmMni {
		return 0, unix.ENOSPC
	}
	fr, err := mf.Allocate(memmap.PageUp(size), pgalloc.AllocOpts{})
	if err != nil {
		return 0, unix.ENOMEM
	}
	s := &Segment{
		reg: r, mf: mf, fr: fr, size: size, key: key, mode: flags & 0o777,
		uid: c.Creds.EffectiveUID, cuid: c.Creds.EffectiveUID,
		gid: c.Creds.EffectiveGID, cgid: c.Creds.EffectiveGID,
		cpid: c.PID, ctime: time.Now().Unix(),
	}
	for r.byIndex[r.nextSlot%linux.ShmMni] != nil {
		r.nextSlot++
	}
	// The id says which use of the slot it is, so that stale ids fail.
	s.slot = r.nextSlot % linux.ShmMni
	r.nextSlot++
	r.lastSeq = (r.lastSeq + 1) % 0x8000
	s.id = int32(r.lastSeq<<15 | s.slot)
	r.byIndex[s.slot] = s
	if key != Private {
		r.byKey[key] = s
	}
	r.pages += fr.Length() / memmap.PageSize
	return s.id, nil
}

// find is the segment with that id. EINVAL: there is none. mu is held.
func (r *Registry) find(id int32) (*Segment, error) {
	if id < 0 {
		return nil, unix.EINVAL
	}
	s := r.byIndex[int(id)&0x7fff]
	if s == nil || s.id != id {
		return nil, unix.EINVAL
	}
	return s, nil
}

// Attach finds a segment for shmat(2) and counts one attachment, which the caller drops by
// DecRef when its mapping, which counts for itself, is made. EACCES: no permission for
// what flags (SHM_RDONLY, SHM_EXEC) ask.
func (r *Registry) Attach(c Caller, id int32, flags uint32) (*Segment, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.find(id)
	if err != nil {
		return nil, err
	}
	want := uint32(0o6)
	if flags&linux.ShmRdonly != 0 {
		want = 0o4
	}
	if flags&linux.ShmExec != 0 {
		want |= 0o1
	}
	if !s.allowed(c, want) {
		return nil, unix.EACCES
	}
	s.attached++
	s.atime = time.Now().Unix()
	s.lpid = c.PID
	return s, nil
}

// Detached records shmdt(2) by the caller; the attachments themselves are counted by the
// mappings.
func (s *Segment) Detached(c Caller) {
	s.reg.mu.Lock()
	defer s.reg.mu.Unlock()
	s.dtime = time.Now().Unix()
	s.lpid = c.PID
}

// Remove is IPC_RMID. EPERM: the caller is neither owner, creator nor privileged.
func (r *Registry) Remove(c Caller, id int32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.find(id)
	if err != nil {
		return err
	}
	if !s.mayControl(c) {
		return unix.EPERM
	}
	if s.key != Private {
		delete(r.byKey, s.key)
		s.key = Private
	}
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
	delete(s.reg.byIndex, s.slot)
	s.reg.pages -= s.fr.Length() / memmap.PageSize
	s.mf.DecRef(s.fr)
}

// Release frees what is left when the namespace ends.
func (r *Registry) Release() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.byIndex {
		s.dest = true
		s.freeIfUnused()
	}
}

// Change is IPC_SET: a new owner and permission bits.
func (r *Registry) Change(c Caller, id int32, uid auth.KUID, gid auth.KGID, mode uint32) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.find(id)
	if err != nil {
		return err
	}
	if !s.mayControl(c) {
		return unix.EPERM
	}
	s.uid, s.gid = uid, gid
	s.mode = s.mode&^0o777 | mode&0o777
	s.ctime = time.Now().Unix()
	return nil
}

// Lock is SHM_LOCK and SHM_UNLOCK: the memory is never swapped anyway.
func (r *Registry) Lock(c Caller, id int32, lock bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, err := r.find(id)
	if err != nil {
		return err
	}
	u := c.Creds.EffectiveUID
	if u != s.uid && u != s.cuid && !c.Creds.HasCapabilityIn(unix.CAP_IPC_LOCK, c.NS) {
		return unix.EPERM
	}
	s.mode &^= linux.ShmLocked
	if lock {
		s.mode |= linux.ShmLocked
	}
	return nil
}

// Info describes a segment. UID and the like are in the root user namespace.
type Info struct {
	ID, Key             int32
	UID, CUID           auth.KUID
	GID, CGID           auth.KGID
	Mode                uint32 // with ShmDest and ShmLocked
	Size                uint64 // bytes
	Resident            uint64 // bytes
	Atime, Dtime, Ctime int64  // seconds since the epoch
	Cpid, Lpid          int32
	Attached            uint64
}

func (s *Segment) info() Info {
	i := Info{
		ID: s.id, Key: s.key, UID: s.uid, CUID: s.cuid, GID: s.gid, CGID: s.cgid, Mode: s.mode,
		Size: s.size, Atime: s.atime, Dtime: s.dtime, Ctime: s.ctime, Cpid: s.cpid, Lpid: s.lpid,
		Attached: s.attached, Resident: s.mf.Resident(s.fr),
	}
	if s.dest {
		i.Mode |= linux.ShmDest
	}
	return i
}

// Stat is IPC_STAT of an id; with byIndex, SHM_STAT of an index. any skips the permission
// check (SHM_STAT_ANY).
func (r *Registry) Stat(c Caller, id int32, byIndex, any bool) (Info, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var s *Segment
	if byIndex {
		if s = r.byIndex[int(id)]; s == nil {
			return Info{}, unix.EINVAL
		}
	} else {
		var err error
		if s, err = r.find(id); err != nil {
			return Info{}, err
		}
	}
	if !any && !s.allowed(c, 0o4) {
		return Info{}, unix.EACCES
	}
	return s.info(), nil
}

// Totals is what SHM_INFO and IPC_INFO tell: the number of segments, the highest index in
// use (0 if there is none), and the pages of all segments, all and resident ones.
func (r *Registry) Totals() (used, highest int, pages, resident uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, s := range r.byIndex {
		highest = max(highest, i)
		resident += s.mf.Resident(s.fr) / memmap.PageSize
	}
	return len(r.byIndex), highest, r.pages, resident
}

// List describes all segments, for /proc/sysvipc/shm.
func (r *Registry) List() []Info {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]Info, 0, len(r.byIndex))
	for i := 0; i < linux.ShmMni && len(out) < len(r.byIndex); i++ {
		if s := r.byIndex[i]; s != nil {
			out = append(out, s.info())
		}
	}
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
	return fmt.Sprintf("/SYSV%08x (deleted)", uint32(s.key))
}

// DeviceID implements memmap.Identity.
func (*Segment) DeviceID() uint64 { return 1 }

// InodeID implements memmap.Identity.
func (s *Segment) InodeID() uint64 { return uint64(s.id) }

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
