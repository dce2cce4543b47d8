package vfs

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
)

// Permissions that a caller may need of an inode, with the bits of access(2).
const (
	MayRead  = unix.R_OK
	MayWrite = unix.W_OK
	MayExec  = unix.X_OK
)

// capable says whether c has capability cap over the inode: ids of the inode that mean
// nothing in c's user namespace put it out of reach (user_namespaces(7)).
func capable(c *auth.Credentials, cap int, uid auth.KUID, gid auth.KGID) bool {
	ns := c.UserNS
	return c.Effective.Has(cap) &&
		(ns.Parent() == nil || ns.KUID(ns.UID(uid)) == uid && ns.KGID(ns.GID(gid)) == gid)
}

// ownerOrCapable says whether c owns the inode or may act as if (CAP_FOWNER).
func ownerOrCapable(c *auth.Credentials, i Inode) bool {
	_, uid, gid := i.Owner()
	return c.FSUID == uid || capable(c, unix.CAP_FOWNER, uid, gid)
}

// CheckPermission says whether c may use the inode as mask says; EACCES. Read-only mounts
// are not its business.
func CheckPermission(c *auth.Credentials, i Inode, mask uint32) error {
	mode, uid, gid := i.Owner()
	perm := mode
	switch {
	case c.FSUID == uid:
		perm >>= 6
	case perm>>3&7 != perm&7 && c.InGroup(gid):
		perm >>= 3
	}
	if mask&^perm == 0 {
		return nil
	}
	dir := mode&unix.S_IFMT == unix.S_IFDIR
	if dir && mask&MayWrite == 0 && capable(c, unix.CAP_DAC_READ_SEARCH, uid, gid) {
		return nil
	}
	if (mask&MayExec == 0 || dir || mode&0o111 != 0) && capable(c, unix.CAP_DAC_OVERRIDE, uid, gid) {
		return nil
	}
	if mask == MayRead && capable(c, unix.CAP_DAC_READ_SEARCH, uid, gid) {
		return nil
	}
	return unix.EACCES
}

// capabilityXattr holds the capabilities of a program (capabilities(7)).
const capabilityXattr = "security.capability"

// dropPrivileges takes set-id bits and file capabilities from a file that is about to be
// written by somebody without CAP_FSETID.
func dropPrivileges(ctx context.Context, i Inode) error {
	mode, uid, gid := i.Owner()
	b := i.Base()
	kill := killedBits(mode)
	if kill == 0 && b.noPrivs.Load() {
		return nil
	}
	if kill != 0 && !capable(ctx.Credentials(), unix.CAP_FSETID, uid, gid) {
		if err := i.SetAttr(ctx, SetAttr{Mask: SetMode, Mode: mode & 0o7777 &^ kill}); err != nil {
			return err
		}
		kill = 0
	}
	if !b.noPrivs.Load() {
		if err := dropCapabilities(ctx, i); err != nil {
			return err
		}
		b.noPrivs.Store(true)
	}
	return nil
}

// dropCapabilities takes the file's capabilities away, if it has any.
func dropCapabilities(ctx context.Context, i Inode) error {
	x, ok := i.(Xattrs)
	if _, itself := i.(CapabilityDropper); !ok || itself {
		return nil
	}
	if _, err := x.GetXattr(ctx, capabilityXattr); err != nil {
		return nil
	}
	return x.RemoveXattr(ctx, capabilityXattr)
}

// killedBits are the set-id bits that a write or chown takes away: set-group-id without
// group execution once meant mandatory locking, and stays.
func killedBits(mode uint32) uint32 {
	kill := mode & unix.S_ISUID
	if mode&unix.S_IXGRP != 0 {
		kill |= mode & unix.S_ISGID
	}
	return kill
}
