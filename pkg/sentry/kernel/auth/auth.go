// Package auth holds identity: credentials, capabilities and user namespaces
// (credentials(7), capabilities(7), user_namespaces(7)).
//
// Ids of type KUID and KGID are those of the sandbox's root user namespace; every object of
// the kernel stores these. Ids that an application sees are mapped through its UserNamespace
// at the system call boundary. Credentials are immutable once a task has them: a change
// copies (Clone), changes the copy and installs it.
package auth

import (
	"sync"

	"golang.org/x/sys/unix"
)

// KUID and KGID are ids in the root user namespace; NoID is the id that maps to nothing.
type (
	KUID uint32
	KGID uint32
)

// NoID is (uid_t)-1; OverflowID is what an unmapped id looks like (user_namespaces(7)).
const (
	NoID       = ^uint32(0)
	OverflowID = 65534
	RootUID    = KUID(0)
	RootGID    = KGID(0)
)

// CapSet is a set of capabilities, bit n for capability n.
type CapSet uint64

// LastCap is CAP_CHECKPOINT_RESTORE.
const LastCap = unix.CAP_LAST_CAP

// AllCaps holds every capability.
const AllCaps = CapSet(1)<<(LastCap+1) - 1

// CapSetOf is the set of the capabilities given.
func CapSetOf(caps ...int) CapSet {
	var s CapSet
	for _, c := range caps {
		s |= 1 << uint(c)
	}
	return s
}

// Has says whether capability c is in the set.
func (s CapSet) Has(c int) bool { return s&(1<<uint(c)) != 0 }

// Credentials are a task's identity.
type Credentials struct {
	RealUID, EffectiveUID, SavedUID, FSUID KUID
	RealGID, EffectiveGID, SavedGID, FSGID KGID
	Groups                                 []KGID // supplementary, never modified in place

	Permitted, Effective, Inheritable, Bounding, Ambient CapSet

	SecureBits uint32 // PR_SET_SECUREBITS; KeepCaps is bit SECBIT_KEEP_CAPS
	UserNS     *UserNamespace
}

// NewRootCredentials are those of uid 0 with every capability in ns.
func NewRootCredentials(ns *UserNamespace) *Credentials {
	return &Credentials{Permitted: AllCaps, Effective: AllCaps, Bounding: AllCaps, UserNS: ns}
}

// NewUserCredentials are those of an ordinary or root user with the capability sets that a
// container's config names.
func NewUserCredentials(uid KUID, gid KGID, groups []KGID, permitted, effective, inheritable, bounding, ambient CapSet, ns *UserNamespace) *Credentials {
	return &Credentials{
		RealUID: uid, EffectiveUID: uid, SavedUID: uid, FSUID: uid,
		RealGID: gid, EffectiveGID: gid, SavedGID: gid, FSGID: gid,
		Groups: groups, Permitted: permitted, Effective: effective, Inheritable: inheritable,
		Bounding: bounding, Ambient: ambient, UserNS: ns,
	}
}

// Clone returns a copy to be changed and installed.
func (c *Credentials) Clone() *Credentials {
	d := *c
	return &d
}

// HasCapabilityIn says whether c has capability cap in ns: it is effective and ns is
// c's namespace or below it, or c owns a namespace between (user_namespaces(7),
// "Capabilities").
func (c *Credentials) HasCapabilityIn(cap int, ns *UserNamespace) bool {
	for n := ns; n != nil; n = n.parent {
		if n == c.UserNS {
			return c.Effective.Has(cap)
		}
		if n.parent == c.UserNS && n.owner == c.EffectiveUID {
			return true
		}
	}
	return false
}

// HasCapability is HasCapabilityIn for c's own namespace.
func (c *Credentials) HasCapability(cap int) bool { return c.Effective.Has(cap) }

// HasRootCapability is HasCapabilityIn for the sandbox's root user namespace.
func (c *Credentials) HasRootCapability(cap int) bool {
	return c.UserNS.parent == nil && c.Effective.Has(cap)
}

// InGroup says whether gid is the filesystem gid or a supplementary group.
func (c *Credentials) InGroup(gid KGID) bool {
	if c.FSGID == gid {
		return true
	}
	for _, g := range c.Groups {
		if g == gid {
			return true
		}
	}
	return false
}

// IDMapEntry maps Length ids from First in the namespace to FirstParent in the root
// namespace of the sandbox.
type IDMapEntry struct{ First, FirstParent, Length uint32 }

// UserNamespace maps ids and scopes capabilities.
type UserNamespace struct {
	parent *UserNamespace
	owner  KUID
	level  int

	mu              sync.RWMutex // guards the fields below
	uidMap, gidMap  []IDMapEntry
	setgroupsDenied bool
}

// NewRootUserNamespace maps every id to itself.
func NewRootUserNamespace() *UserNamespace {
	all := []IDMapEntry{{0, 0, NoID}}
	return &UserNamespace{uidMap: all, gidMap: all}
}

// NewChild makes a namespace without maps, owned by creator. EUSERS: 32 levels exist.
func (ns *UserNamespace) NewChild(creator KUID) (*UserNamespace, error) {
	if ns.level >= 32 {
		return nil, unix.EUSERS
	}
	return &UserNamespace{parent: ns, owner: creator, level: ns.level + 1}, nil
}

// Parent is nil for the root namespace.
func (ns *UserNamespace) Parent() *UserNamespace { return ns.parent }

// Owner is the effective uid of the creator.
func (ns *UserNamespace) Owner() KUID { return ns.owner }

func mapDown(m []IDMapEntry, id uint32) uint32 {
	for _, e := range m {
		if id-e.First < e.Length && id >= e.First {
			return e.FirstParent + (id - e.First)
		}
	}
	return NoID
}

func mapUp(m []IDMapEntry, id uint32) uint32 {
	for _, e := range m {
		if id-e.FirstParent < e.Length && id >= e.FirstParent {
			return e.First + (id - e.FirstParent)
		}
	}
	return NoID
}

// KUID maps a uid of the namespace to the kernel's, or NoID.
func (ns *UserNamespace) KUID(uid uint32) KUID {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	return KUID(mapDown(ns.uidMap, uid))
}

// KGID maps a gid of the namespace to the kernel's, or NoID.
func (ns *UserNamespace) KGID(gid uint32) KGID {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	return KGID(mapDown(ns.gidMap, gid))
}

// UID is the uid that the namespace sees for k, or OverflowID.
func (ns *UserNamespace) UID(k KUID) uint32 {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	if id := mapUp(ns.uidMap, uint32(k)); id != NoID {
		return id
	}
	return OverflowID
}

// GID is the gid that the namespace sees for k, or OverflowID.
func (ns *UserNamespace) GID(k KGID) uint32 {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	if id := mapUp(ns.gidMap, uint32(k)); id != NoID {
		return id
	}
	return OverflowID
}
