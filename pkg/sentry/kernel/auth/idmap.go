package auth

import "golang.org/x/sys/unix"

// InNewUserNamespace returns c as the first member of ns, which was just made: with every
// capability in it (user_namespaces(7)).
func (c *Credentials) InNewUserNamespace(ns *UserNamespace) *Credentials {
	d := c.Clone()
	d.UserNS = ns
	d.Permitted, d.Effective, d.Bounding = AllCaps, AllCaps, AllCaps
	d.Inheritable, d.Ambient = 0, 0
	d.SecureBits = 0
	return d
}

// maxIDMapLines is how many lines a map may have.
const maxIDMapLines = 340

// SetUIDMap and SetGIDMap install a map whose FirstParent ids are those of the parent
// namespace. EPERM: a map exists already, or an id is not mapped there; EINVAL: it is empty,
// too long or overlaps. The caller has checked the writer's capabilities.
func (ns *UserNamespace) SetUIDMap(m []IDMapEntry) error {
	return ns.setMap(&ns.uidMap, m, func(p *UserNamespace) []IDMapEntry { return p.uidMap })
}

// SetGIDMap is SetUIDMap for groups.
func (ns *UserNamespace) SetGIDMap(m []IDMapEntry) error {
	return ns.setMap(&ns.gidMap, m, func(p *UserNamespace) []IDMapEntry { return p.gidMap })
}

func (ns *UserNamespace) setMap(to *[]IDMapEntry, m []IDMapEntry, of func(*UserNamespace) []IDMapEntry) error {
	if len(m) == 0 || len(m) > maxIDMapLines {
		return unix.EINVAL
	}
	if ns.parent == nil {
		return unix.EPERM
	}
	ns.parent.mu.RLock()
	parent := append([]IDMapEntry(nil), of(ns.parent)...)
	ns.parent.mu.RUnlock()
	out := make([]IDMapEntry, len(m))
	for i, e := range m {
		if e.Length == 0 || e.First+e.Length < e.First || e.FirstParent+e.Length < e.FirstParent {
			return unix.EINVAL
		}
		for _, o := range m[:i] {
			if e.First < o.First+o.Length && o.First < e.First+e.Length ||
				e.FirstParent < o.FirstParent+o.Length && o.FirstParent < e.FirstParent+e.Length {
				return unix.EINVAL
			}
		}
		first := mapDown(parent, e.FirstParent)
		if first == NoID || mapDown(parent, e.FirstParent+e.Length-1) != first+e.Length-1 {
			return unix.EPERM
		}
		out[i] = IDMapEntry{e.First, first, e.Length}
	}
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if len(*to) > 0 {
		return unix.EPERM
	}
	*to = out
	return nil
}

// UIDMap and GIDMap return the maps with FirstParent as the namespace viewer sees it.
func (ns *UserNamespace) UIDMap(viewer *UserNamespace) []IDMapEntry {
	ns.mu.RLock()
	m := append([]IDMapEntry(nil), ns.uidMap...)
	ns.mu.RUnlock()
	for i := range m {
		if ns != viewer || ns.parent != nil {
			v := viewer
			if v == ns {
				v = ns.parent
			}
			m[i].FirstParent = v.UID(KUID(m[i].FirstParent))
		}
	}
	return m
}

// GIDMap is UIDMap for groups.
func (ns *UserNamespace) GIDMap(viewer *UserNamespace) []IDMapEntry {
	ns.mu.RLock()
	m := append([]IDMapEntry(nil), ns.gidMap...)
	ns.mu.RUnlock()
	for i := range m {
		if ns != viewer || ns.parent != nil {
			v := viewer
			if v == ns {
				v = ns.parent
			}
			m[i].FirstParent = v.GID(KGID(m[i].FirstParent))
		}
	}
	return m
}

// SetgroupsAllowed says whether setgroups(2) may be used: not before a gid map exists, and
// not after "deny" was written to /proc/PID/setgroups.
func (ns *UserNamespace) SetgroupsAllowed() bool {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	return !ns.setgroupsDenied && len(ns.gidMap) > 0
}

// SetgroupsDenied is what /proc/PID/setgroups shows.
func (ns *UserNamespace) SetgroupsDenied() bool {
	ns.mu.RLock()
	defer ns.mu.RUnlock()
	return ns.setgroupsDenied
}

// DenySetgroups is writing "deny" there. EPERM: a gid map exists already.
func (ns *UserNamespace) DenySetgroups() error {
	ns.mu.Lock()
	defer ns.mu.Unlock()
	if len(ns.gidMap) > 0 && !ns.setgroupsDenied {
		return unix.EPERM
	}
	ns.setgroupsDenied = true
	return nil
}
