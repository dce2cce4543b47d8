// Package ipc has what the kinds of System V objects share (sysvipc(7)): owners and
// permissions, keys and identifiers.
//
// A Table holds the objects of one kind in one IPC namespace. An object embeds Perm. An
// identifier is a slot number plus a sequence number, so that the identifier of an object
// that was removed is not soon that of another.
//
// There are no locks here; a registry guards its Table, and the Perms in it, with its own.
package ipc

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/kernel/auth"
)

const (
	// Private is IPC_PRIVATE: the key of objects without a key.
	Private = 0
	// maxSlots bounds a Table; it is the factor of sequence numbers in identifiers.
	maxSlots = 1 << 15
	maxSeq   = 1<<16 - 1
)

// Access bits of a permission check.
const (
	Read    = 0o4
	Write   = 0o2
	Execute = 0o1
)

// Caller is who asks.
type Caller struct {
	Creds *auth.Credentials
	// NS owns the IPC namespace; capabilities count in it.
	NS *auth.UserNamespace
	// PID is the caller's process in the sandbox's root namespace.
	PID int32
}

// Perm is the owner and mode of an object (struct ipc_perm).
type Perm struct {
	ID   int32
	Key  int32
	Seq  uint16
	UID  auth.KUID
	GID  auth.KGID
	CUID auth.KUID // creator
	CGID auth.KGID
	Mode uint32 // permission bits, and what the kind of object keeps above them
}

// Base implements Object.
func (p *Perm) Base() *Perm { return p }

// Allowed says whether c has the access bits to the object.
func (p *Perm) Allowed(c Caller, access uint32) bool {
	mode := p.Mode
	switch cr := c.Creds; {
	case cr.EffectiveUID == p.UID || cr.EffectiveUID == p.CUID:
		mode >>= 6
	case inGroup(cr, p.GID) || inGroup(cr, p.CGID):
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

// MayControl says whether c may change or remove the object.
func (p *Perm) MayControl(c Caller) bool {
	u := c.Creds.EffectiveUID
	return u == p.UID || u == p.CUID || c.Creds.HasCapabilityIn(unix.CAP_SYS_ADMIN, c.NS)
}

// Object is what a Table holds; a pointer to a struct that embeds Perm.
type Object interface {
	comparable
	Base() *Perm
}

// Table holds the objects of a kind.
type Table[T Object] struct {
	limit int
	byKey map[int32]T
	slots []T // zero where free
	used  int
	seq   uint16
	last  int // slot given last, -1 at first; going back from it takes the next seq
}

// NewTable makes a table of at most limit objects.
func NewTable[T Object](limit int) Table[T] {
	return Table[T]{limit: min(limit, maxSlots), byKey: make(map[int32]T), last: -1}
}

// Find is the first half of semget(2) and msgget(2): the object of that key, if there is
// one and c may have it as flags say. found is false if one has to be made (and may be).
func (t *Table[T]) Find(c Caller, key int32, flags uint32) (obj T, found bool, err error) {
	var none T
	if key != Private {
		if o, ok := t.byKey[key]; ok {
			if flags&unix.IPC_CREAT != 0 && flags&unix.IPC_EXCL != 0 {
				return none, false, unix.EEXIST
			}
			// Each of the three bit groups of flags asks for access.
			if !o.Base().Allowed(c, (flags>>6|flags>>3|flags)&0o7) {
				return none, false, unix.EACCES
			}
			return o, true, nil
		}
		if flags&unix.IPC_CREAT == 0 {
			return none, false, unix.ENOENT
		}
	}
	return none, false, nil
}

// Add gives o, a new object of c's, an identifier. ENOSPC: the table is full.
func (t *Table[T]) Add(c Caller, key int32, flags uint32, o T) error {
	if t.used >= t.limit {
		return unix.ENOSPC
	}
	var none T
	slot := t.last
	for {
		if slot++; slot >= t.limit {
			slot = 0
		}
		if slot >= len(t.slots) {
			slot = len(t.slots)
			t.slots = append(t.slots, none)
		}
		if t.slots[slot] == none {
			break
		}
	}
	if slot <= t.last {
		t.seq = (t.seq + 1) & (maxSeq >> 1)
	}
	t.last = slot
	t.slots[slot] = o
	t.used++
	p := o.Base()
	*p = Perm{
		ID: int32(t.seq)*maxSlots + int32(slot), Key: key, Seq: t.seq, Mode: flags & 0o777,
		UID: c.Creds.EffectiveUID, GID: c.Creds.EffectiveGID,
		CUID: c.Creds.EffectiveUID, CGID: c.Creds.EffectiveGID,
	}
	if key != Private {
		t.byKey[key] = o
	}
	return nil
}

// Get returns the object with that identifier. EINVAL: there is none.
func (t *Table[T]) Get(id int32) (T, error) {
	var none T
	if id < 0 {
		return none, unix.EINVAL
	}
	o := t.At(int(id % maxSlots))
	if o == none || o.Base().ID != id {
		return none, unix.EINVAL
	}
	return o, nil
}

// Stat finds the object for IPC_STAT; with bySlot, id is a slot (SHM_STAT and its kin), and
// with anyone no permission to read is needed (SHM_STAT_ANY). EINVAL: there is none; EACCES.
func (t *Table[T]) Stat(c Caller, id int32, bySlot, anyone bool) (T, error) {
	var none, o T
	if bySlot {
		if o = t.At(int(id)); o == none {
			return none, unix.EINVAL
		}
	} else {
		var err error
		if o, err = t.Get(id); err != nil {
			return none, err
		}
	}
	if !anyone && !o.Base().Allowed(c, Read) {
		return none, unix.EACCES
	}
	return o, nil
}

// At returns the object in a slot, or zero.
func (t *Table[T]) At(slot int) T {
	if slot < 0 || slot >= len(t.slots) {
		var none T
		return none
	}
	return t.slots[slot]
}

// ForgetKey takes the key of o away: it can still be found by its identifier.
func (t *Table[T]) ForgetKey(o T) {
	if p := o.Base(); p.Key != Private {
		delete(t.byKey, p.Key)
		p.Key = Private
	}
}

// Remove takes o out of the table.
func (t *Table[T]) Remove(o T) {
	t.ForgetKey(o)
	p := o.Base()
	var none T
	t.slots[p.ID%maxSlots] = none
	t.used--
	for n := len(t.slots); n > 0 && t.slots[n-1] == none; n-- {
		t.slots = t.slots[:n-1]
	}
}

// Len is the number of objects; Highest the highest slot in use, 0 if there is none.
func (t *Table[T]) Len() int { return t.used }

// Highest is the highest slot in use, 0 if there is none.
func (t *Table[T]) Highest() int { return max(len(t.slots)-1, 0) }

// Each calls f for every object by rising slot.
func (t *Table[T]) Each(f func(T)) {
	var none T
	for _, o := range t.slots {
		if o != none {
			f(o)
		}
	}
}
