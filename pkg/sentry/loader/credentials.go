package loader

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/context"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/vfs"
)

// Secure bits of prctl(2) PR_SET_SECUREBITS.
const (
	secureNoRoot   = 1 << 0
	secureKeepCaps = 1 << 4
)

// fileCaps are the capabilities of a file (capabilities(7), "File capabilities").
type fileCaps struct {
	permitted, inheritable auth.CapSet
	effective              bool
}

// Constants of the attribute security.capability (struct vfs_cap_data).
const (
	capAttr         = "security.capability"
	capEffective    = 1
	capRevisionMask = 0xff000000
	capRevision2    = 0x02000000
	capRevision3    = 0x03000000
)

// parseFileCaps decodes the attribute. Capabilities of revision 3 hold in the user namespace
// whose uid 0 they name only.
func parseFileCaps(v string, ns *auth.UserNamespace) (c fileCaps, ok bool) {
	if len(v) < 4 {
		return c, false
	}
	b := []byte(v)
	le := binary.LittleEndian
	magic := le.Uint32(b)
	switch {
	case magic&capRevisionMask == capRevision2 && len(b) == 20:
	case magic&capRevisionMask == capRevision3 && len(b) == 24:
		if auth.KUID(le.Uint32(b[20:])) != ns.KUID(0) {
			return c, false
		}
	default:
		return c, false
	}
	word := func(i int) auth.CapSet { return auth.CapSet(le.Uint32(b[4*i:])) }
	c.permitted = (word(1) | word(3)<<32) & auth.AllCaps
	c.inheritable = (word(2) | word(4)<<32) & auth.AllCaps
	c.effective = magic&capEffective != 0
	return c, true
}

// newCredentials are those of a program loaded from f by a task with credentials old
// (execve(2), credentials(7), capabilities(7) "Transformation of capabilities during
// execve()"). secure is AT_SECURE.
func newCredentials(ctx context.Context, f *vfs.FileDescription, old *auth.Credentials, noNewPrivs bool) (c *auth.Credentials, secure bool) {
	mode, uid, gid := f.Inode().Owner()
	mayGain := f.Path().Mount.Flags()&unix.MS_NOSUID == 0
	var caps fileCaps
	hasCaps := false
	if x, ok := f.Inode().(vfs.Xattrs); ok && mayGain {
		if v, err := x.GetXattr(ctx, capAttr); err == nil {
			caps, hasCaps = parseFileCaps(v, old.UserNS)
		}
	}
	ns := old.UserNS
	mapped := ns.KUID(ns.UID(uid)) == uid && ns.KGID(ns.GID(gid)) == gid
	if !mayGain || noNewPrivs || !mapped {
		mode &^= unix.S_ISUID | unix.S_ISGID
	}
	return transform(old, mode, uid, gid, caps, hasCaps, noNewPrivs)
}

// transform is newCredentials without the file. mode's set-id bits count.
func transform(old *auth.Credentials, mode uint32, uid auth.KUID, gid auth.KGID, caps fileCaps, hasCaps, noNewPrivs bool) (c *auth.Credentials, secure bool) {
	c = old.Clone()
	if mode&unix.S_ISUID != 0 {
		c.EffectiveUID = uid
	}
	const setgidExec = unix.S_ISGID | unix.S_IXGRP
	if mode&setgidExec == setgidExec {
		c.EffectiveGID = gid
	}

	root := old.UserNS.KUID(0)
	gains := hasCaps // a privileged file: ambient capabilities go
	if !hasCaps {
		caps = fileCaps{}
	}
	if c.SecureBits&secureNoRoot == 0 && (c.EffectiveUID == root || c.RealUID == root) {
		// The superuser has all, unless a set-user-ID-root file says itself which.
		if !(hasCaps && c.RealUID != root) {
			caps = fileCaps{auth.AllCaps, auth.AllCaps, c.EffectiveUID == root}
		}
	}
	setID := c.EffectiveUID != c.RealUID || c.EffectiveGID != c.RealGID
	c.Permitted = c.Inheritable&caps.inheritable | c.Bounding&caps.permitted
	gained := c.Permitted&^old.Permitted&^old.Ambient != 0
	if (setID || gained) && noNewPrivs {
		c.EffectiveUID, c.EffectiveGID = c.RealUID, c.RealGID
		c.Permitted &= old.Permitted
	}
	c.SavedUID, c.FSUID = c.EffectiveUID, c.EffectiveUID
	c.SavedGID, c.FSGID = c.EffectiveGID, c.EffectiveGID

	// Only a change of identity made by this file ends ambient capabilities.
	if gains || c.EffectiveUID != old.EffectiveUID || c.EffectiveGID != old.EffectiveGID || setID {
		c.Ambient = 0
	}
	c.Permitted |= c.Ambient
	if caps.effective {
		c.Effective = c.Permitted
	} else {
		c.Effective = c.Ambient
	}
	c.SecureBits &^= secureKeepCaps

	setID = c.EffectiveUID != c.RealUID || c.EffectiveGID != c.RealGID
	secure = setID || c.RealUID != root && (caps.effective || c.Permitted&^c.Ambient != 0)
	return c, secure
}

// mayRead says whether a program with credentials c could read its own file.
func mayRead(f *vfs.FileDescription, c *auth.Credentials) bool {
	return vfs.CheckPermission(c, f.Inode(), vfs.MayRead) == nil
}
