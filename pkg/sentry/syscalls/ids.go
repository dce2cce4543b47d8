package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/strace"
)

var idSyscalls = []kernel.Syscall{
	{Number: unix.SYS_GETUID, Name: "getuid", Fn: getuid},
	{Number: unix.SYS_GETEUID, Name: "geteuid", Fn: geteuid},
	{Number: unix.SYS_GETGID, Name: "getgid", Fn: getgid},
	{Number: unix.SYS_GETEGID, Name: "getegid", Fn: getegid},
	{Number: unix.SYS_GETRESUID, Name: "getresuid", Fn: getresuid, Args: []strace.Format{strace.Hex, strace.Hex, strace.Hex}},
	{Number: unix.SYS_GETRESGID, Name: "getresgid", Fn: getresgid, Args: []strace.Format{strace.Hex, strace.Hex, strace.Hex}},
	{Number: unix.SYS_SETUID, Name: "setuid", Fn: setuid, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_SETGID, Name: "setgid", Fn: setgid, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_SETREUID, Name: "setreuid", Fn: setreuid, Args: []strace.Format{strace.Dec, strace.Dec}},
	{Number: unix.SYS_SETREGID, Name: "setregid", Fn: setregid, Args: []strace.Format{strace.Dec, strace.Dec}},
	{Number: unix.SYS_SETRESUID, Name: "setresuid", Fn: setresuid, Args: []strace.Format{strace.Dec, strace.Dec, strace.Dec}},
	{Number: unix.SYS_SETRESGID, Name: "setresgid", Fn: setresgid, Args: []strace.Format{strace.Dec, strace.Dec, strace.Dec}},
	{Number: unix.SYS_SETFSUID, Name: "setfsuid", Fn: setfsuid, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_SETFSGID, Name: "setfsgid", Fn: setfsgid, Args: []strace.Format{strace.Dec}},
	{Number: unix.SYS_GETGROUPS, Name: "getgroups", Fn: getgroups, Args: []strace.Format{strace.Dec, strace.Hex}},
	{Number: unix.SYS_SETGROUPS, Name: "setgroups", Fn: setgroups, Args: []strace.Format{strace.Dec, strace.Hex}},
	{Number: unix.SYS_CAPGET, Name: "capget", Fn: capget, Args: []strace.Format{strace.CapHeader, strace.CapDataOut}},
	{Number: unix.SYS_CAPSET, Name: "capset", Fn: capset, Args: []strace.Format{strace.CapHeader, strace.CapData}},
}

func getuid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	return uintptr(c.UserNS.UID(c.RealUID)), nil
}

func geteuid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	return uintptr(c.UserNS.UID(c.EffectiveUID)), nil
}

func getgid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	return uintptr(c.UserNS.GID(c.RealGID)), nil
}

func getegid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	return uintptr(c.UserNS.GID(c.EffectiveGID)), nil
}

func copyOutThree(t *kernel.Task, a arch.Args, v [3]uint32) error {
	for i := range v {
		if err := kernel.CopyOut(t, a.Pointer(i), &v[i]); err != nil {
			return err
		}
	}
	return nil
}

func getresuid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c, ns := t.Credentials(), t.UserNamespace()
	return 0, copyOutThree(t, a, [3]uint32{ns.UID(c.RealUID), ns.UID(c.EffectiveUID), ns.UID(c.SavedUID)})
}

func getresgid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c, ns := t.Credentials(), t.UserNamespace()
	return 0, copyOutThree(t, a, [3]uint32{ns.GID(c.RealGID), ns.GID(c.EffectiveGID), ns.GID(c.SavedGID)})
}

// commitUIDs installs new user ids with their effect on capabilities (capabilities(7),
// "Effect of user ID changes on capabilities").
func commitUIDs(t *kernel.Task, r, e, s auth.KUID) {
	old := t.Credentials()
	c := old.Clone()
	c.RealUID, c.EffectiveUID, c.SavedUID, c.FSUID = r, e, s, e
	root := c.UserNS.KUID(0)
	if c.SecureBits&(1<<linux.SecureNoSetuidFixup) == 0 {
		hadRoot := old.RealUID == root || old.EffectiveUID == root || old.SavedUID == root
		hasRoot := r == root || e == root || s == root
		if hadRoot && !hasRoot {
			if c.SecureBits&(1<<linux.SecureKeepCaps) == 0 {
				c.Permitted, c.Effective = 0, 0
			}
			c.Ambient = 0
		}
		if old.EffectiveUID == root && e != root {
			c.Effective = 0
		} else if old.EffectiveUID != root && e == root {
			c.Effective = c.Permitted
		}
	}
	t.SetCredentials(c)
}

// idArg maps a uid argument, where -1 means keep. ok is false if it is not mapped.
func uidArg(t *kernel.Task, v uint32, keep auth.KUID) (auth.KUID, error) {
	if v == auth.NoID {
		return keep, nil
	}
	k := t.UserNamespace().KUID(v)
	if uint32(k) == auth.NoID {
		return 0, unix.EINVAL
	}
	return k, nil
}

func gidArg(t *kernel.Task, v uint32, keep auth.KGID) (auth.KGID, error) {
	if v == auth.NoID {
		return keep, nil
	}
	k := t.UserNamespace().KGID(v)
	if uint32(k) == auth.NoID {
		return 0, unix.EINVAL
	}
	return k, nil
}

func setuid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	if a.Uint(0) == auth.NoID {
		return 0, unix.EINVAL
	}
	u, err := uidArg(t, a.Uint(0), 0)
	if err != nil {
		return 0, err
	}
	switch {
	case c.HasCapability(unix.CAP_SETUID):
		commitUIDs(t, u, u, u)
	case u == c.RealUID || u == c.SavedUID:
		commitUIDs(t, c.RealUID, u, c.SavedUID)
	default:
		return 0, unix.EPERM
	}
	return 0, nil
}

func setreuid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	r, err := uidArg(t, a.Uint(0), c.RealUID)
	if err != nil {
		return 0, err
	}
	e, err := uidArg(t, a.Uint(1), c.EffectiveUID)
	if err != nil {
		return 0, err
	}
	if !c.HasCapability(unix.CAP_SETUID) &&
		(r != c.RealUID && r != c.EffectiveUID || e != c.RealUID && e != c.EffectiveUID && e != c.SavedUID) {
		return 0, unix.EPERM
	}
	s := c.SavedUID
	if a.Uint(0) != auth.NoID || a.Uint(1) != auth.NoID && e != c.RealUID {
		s = e
	}
	commitUIDs(t, r, e, s)
	return 0, nil
}

func setresuid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	v := [3]auth.KUID{c.RealUID, c.EffectiveUID, c.SavedUID}
	for i := range v {
		n, err := uidArg(t, a.Uint(i), v[i])
		if err != nil {
			return 0, err
		}
		if n != c.RealUID && n != c.EffectiveUID && n != c.SavedUID && !c.HasCapability(unix.CAP_SETUID) {
			return 0, unix.EPERM
		}
		v[i] = n
	}
	commitUIDs(t, v[0], v[1], v[2])
	return 0, nil
}

func commitGIDs(t *kernel.Task, r, e, s auth.KGID) {
	c := t.Credentials().Clone()
	c.RealGID, c.EffectiveGID, c.SavedGID, c.FSGID = r, e, s, e
	t.SetCredentials(c)
}

func setgid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	if a.Uint(0) == auth.NoID {
		return 0, unix.EINVAL
	}
	g, err := gidArg(t, a.Uint(0), 0)
	if err != nil {
		return 0, err
	}
	switch {
	case c.HasCapability(unix.CAP_SETGID):
		commitGIDs(t, g, g, g)
	case g == c.RealGID || g == c.SavedGID:
		commitGIDs(t, c.RealGID, g, c.SavedGID)
	default:
		return 0, unix.EPERM
	}
	return 0, nil
}

func setregid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	r, err := gidArg(t, a.Uint(0), c.RealGID)
	if err != nil {
		return 0, err
	}
	e, err := gidArg(t, a.Uint(1), c.EffectiveGID)
	if err != nil {
		return 0, err
	}
	if !c.HasCapability(unix.CAP_SETGID) &&
		(r != c.RealGID && r != c.EffectiveGID || e != c.RealGID && e != c.EffectiveGID && e != c.SavedGID) {
		return 0, unix.EPERM
	}
	s := c.SavedGID
	if a.Uint(0) != auth.NoID || a.Uint(1) != auth.NoID && e != c.RealGID {
		s = e
	}
	commitGIDs(t, r, e, s)
	return 0, nil
}

func setresgid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	v := [3]auth.KGID{c.RealGID, c.EffectiveGID, c.SavedGID}
	for i := range v {
		n, err := gidArg(t, a.Uint(i), v[i])
		if err != nil {
			return 0, err
		}
		if n != c.RealGID && n != c.EffectiveGID && n != c.SavedGID && !c.HasCapability(unix.CAP_SETGID) {
			return 0, unix.EPERM
		}
		v[i] = n
	}
	commitGIDs(t, v[0], v[1], v[2])
	return 0, nil
}

// fsCaps are the capabilities that follow the filesystem uid (capabilities(7)).
var fsCaps = auth.CapSetOf(unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_DAC_READ_SEARCH, unix.CAP_FOWNER, unix.CAP_FSETID,
	unix.CAP_LINUX_IMMUTABLE, unix.CAP_MAC_OVERRIDE, unix.CAP_MKNOD)

func setfsuid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	old := uintptr(c.UserNS.UID(c.FSUID))
	u := c.UserNS.KUID(a.Uint(0))
	if uint32(u) == auth.NoID || u == c.FSUID {
		return old, nil
	}
	if u == c.RealUID || u == c.EffectiveUID || u == c.SavedUID || c.HasCapability(unix.CAP_SETUID) {
		n := c.Clone()
		n.FSUID = u
		root := c.UserNS.KUID(0)
		if c.FSUID == root && u != root {
			n.Effective &^= fsCaps
		} else if c.FSUID != root && u == root {
			n.Effective |= n.Permitted & fsCaps
		}
		t.SetCredentials(n)
	}
	return old, nil
}

func setfsgid(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	old := uintptr(c.UserNS.GID(c.FSGID))
	g := c.UserNS.KGID(a.Uint(0))
	if uint32(g) == auth.NoID {
		return old, nil
	}
	if g == c.RealGID || g == c.EffectiveGID || g == c.SavedGID || c.HasCapability(unix.CAP_SETGID) {
		n := c.Clone()
		n.FSGID = g
		t.SetCredentials(n)
	}
	return old, nil
}

// maxGroups is NGROUPS_MAX.
const maxGroups = 65536

func getgroups(t *kernel.Task, a arch.Args) (uintptr, error) {
	n := a.Int(0)
	c := t.Credentials()
	if n < 0 || n != 0 && int(n) < len(c.Groups) {
		return 0, unix.EINVAL
	}
	if n != 0 {
		out := make([]uint32, len(c.Groups))
		for i, g := range c.Groups {
			out[i] = c.UserNS.GID(g)
		}
		if err := kernel.CopyOutSlice(t, a.Pointer(1), out); err != nil {
			return 0, err
		}
	}
	return uintptr(len(c.Groups)), nil
}

func setgroups(t *kernel.Task, a arch.Args) (uintptr, error) {
	c := t.Credentials()
	if !c.HasCapability(unix.CAP_SETGID) || !c.UserNS.SetgroupsAllowed() {
		return 0, unix.EPERM
	}
	n := a.Uint(0)
	if n > maxGroups {
		return 0, unix.EINVAL
	}
	in, err := kernel.CopyInSlice[uint32](t, a.Pointer(1), int(n))
	if err != nil {
		return 0, err
	}
	d := c.Clone()
	d.Groups = make([]auth.KGID, n)
	for i, g := range in {
		d.Groups[i] = c.UserNS.KGID(g)
		if uint32(d.Groups[i]) == auth.NoID {
			return 0, unix.EINVAL
		}
	}
	t.SetCredentials(d)
	return 0, nil
}

// copyInCapHeader reads struct __user_cap_header and returns how many 32-bit halves its
// version has; an unknown version is answered with ours and EINVAL (capget(2)).
func copyInCapHeader(t *kernel.Task, addr uintptr) (pid int32, halves int, err error) {
	var h struct {
		Version uint32
		PID     int32
	}
	if err := kernel.CopyIn(t, addr, &h); err != nil {
		return 0, 0, err
	}
	switch h.Version {
	case unix.LINUX_CAPABILITY_VERSION_1:
		return h.PID, 1, nil
	case unix.LINUX_CAPABILITY_VERSION_2, unix.LINUX_CAPABILITY_VERSION_3:
		return h.PID, 2, nil
	}
	v := uint32(unix.LINUX_CAPABILITY_VERSION_3)
	if err := kernel.CopyOut(t, addr, &v); err != nil {
		return 0, 0, err
	}
	return 0, 0, unix.EINVAL
}

type capData struct{ Effective, Permitted, Inheritable uint32 }

func capget(t *kernel.Task, a arch.Args) (uintptr, error) {
	pid, n, err := copyInCapHeader(t, a.Pointer(0))
	if err != nil {
		if err == unix.EINVAL && a.Pointer(1) == 0 {
			return 0, nil // asking for the version
		}
		return 0, err
	}
	if pid < 0 {
		return 0, unix.EINVAL
	}
	target := t
	if pid != 0 {
		if target = t.PIDNamespace().Task(pid); target == nil {
			return 0, unix.ESRCH
		}
	}
	c := target.Credentials()
	data := make([]capData, n)
	for i := range data {
		s := uint(32 * i)
		data[i] = capData{uint32(c.Effective >> s), uint32(c.Permitted >> s), uint32(c.Inheritable >> s)}
	}
	if a.Pointer(1) == 0 {
		return 0, nil
	}
	return 0, kernel.CopyOutSlice(t, a.Pointer(1), data)
}

func capset(t *kernel.Task, a arch.Args) (uintptr, error) {
	pid, n, err := copyInCapHeader(t, a.Pointer(0))
	if err != nil {
		return 0, err
	}
	if pid != 0 && pid != t.ThreadID() {
		return 0, unix.EPERM
	}
	data, err := kernel.CopyInSlice[capData](t, a.Pointer(1), n)
	if err != nil {
		return 0, err
	}
	var e, p, i auth.CapSet
	for j, d := range data {
		s := uint(32 * j)
		e |= auth.CapSet(d.Effective) << s
		p |= auth.CapSet(d.Permitted) << s
		i |= auth.CapSet(d.Inheritable) << s
	}
	e, p, i = e&auth.AllCaps, p&auth.AllCaps, i&auth.AllCaps
	c := t.Credentials()
	// capabilities(7), "Programmatically adjusting capability sets".
	switch {
	case p&^c.Permitted != 0, e&^p != 0,
		i&^(c.Inheritable|c.Permitted) != 0 && !c.HasCapability(unix.CAP_SETPCAP),
		i&^(c.Inheritable|c.Bounding) != 0:
		return 0, unix.EPERM
	}
	d := c.Clone()
	d.Effective, d.Permitted, d.Inheritable = e, p, i
	d.Ambient &= p & i
	t.SetCredentials(d)
	return 0, nil
}
