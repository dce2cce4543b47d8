package kernel

import (
	"golang.org/x/sys/unix"
)

// NamespaceFile is implemented by the Files of /proc/PID/ns/*.
type NamespaceFile interface{ Namespace() any }

// Unshare is unshare(2) with flags that package syscalls has checked to be known.
func (t *Task) Unshare(flags uint64) error {
	if flags&unix.CLONE_NEWUSER != 0 {
		flags |= unix.CLONE_THREAD
	}
	if flags&unix.CLONE_VM != 0 {
		flags |= unix.CLONE_SIGHAND
	}
	if flags&(unix.CLONE_THREAD|unix.CLONE_SIGHAND|unix.CLONE_VM) != 0 && len(t.tg.cpuTasks()) > 1 {
		return unix.EINVAL
	}
	if flags&(unix.CLONE_NEWNS|unix.CLONE_NEWUSER) != 0 {
		flags |= unix.CLONE_FS
	}
	creds := t.Credentials()
	if flags&unix.CLONE_NEWUSER != 0 {
		ns, err := creds.UserNS.NewChild(creds.EffectiveUID)
		if err != nil {
			return err
		}
		creds = creds.InNewUserNamespace(ns)
	}
	const privileged = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWCGROUP
	if flags&privileged != 0 && !creds.HasCapability(unix.CAP_SYS_ADMIN) {
		return unix.EPERM
	}
	if flags&unix.CLONE_NEWPID != 0 {
		if t.childPIDNS != nil {
			return unix.EINVAL
		}
		ns, err := t.pids.ns.NewChild(creds.UserNS)
		if err != nil {
			return err
		}
		t.childPIDNS = ns
	}
	if flags&unix.CLONE_FS != 0 && t.fs.Shared() {
		fs := t.fs.Fork()
		t.imageMu.Lock()
		old := t.fs
		t.fs = fs
		t.imageMu.Unlock()
		old.DecRef(t)
	}
	if flags&unix.CLONE_NEWNS != 0 {
		if err := t.fs.UnshareMountNamespace(t, creds.UserNS); err != nil {
			return err
		}
	}
	if flags&unix.CLONE_FILES != 0 && t.fds.Shared() {
		fds := t.fds.Fork(unix.RLIM_INFINITY)
		t.imageMu.Lock()
		old := t.fds
		t.fds = fds
		t.imageMu.Unlock()
		old.DecRef(t)
	}
	if flags&unix.CLONE_NEWUTS != 0 {
		h, d := t.UTSNamespace().Names()
		t.uts.Store(NewUTSNamespace(creds.UserNS, h, d))
	}
	if flags&unix.CLONE_NEWIPC != 0 {
		t.exitSemaphores()
		t.ipc.Store(NewIPCNamespace(creds.UserNS))
	}
	if flags&unix.CLONE_NEWNET != 0 {
		t.net.Store(t.k.NewNetNamespace(creds.UserNS))
	}
	t.SetCredentials(creds)
	return nil
}

// SetNS is setns(2) for one namespace; typ is 0 or the CLONE_NEW* flag that it must be.
func (t *Task) SetNS(ns any, typ uint64) error {
	c := t.Credentials()
	is := func(flag uint64) bool { return typ == 0 || typ == flag }
	switch n := ns.(type) {
	case *UTSNamespace:
		if !is(unix.CLONE_NEWUTS) {
			return unix.EINVAL
		}
		if !c.HasCapability(unix.CAP_SYS_ADMIN) || !c.HasCapabilityIn(unix.CAP_SYS_ADMIN, n.userNS) {
			return unix.EPERM
		}
		t.uts.Store(n)
	case *IPCNamespace:
		if !is(unix.CLONE_NEWIPC) {
			return unix.EINVAL
		}
		if !c.HasCapability(unix.CAP_SYS_ADMIN) || !c.HasCapabilityIn(unix.CAP_SYS_ADMIN, n.userNS) {
			return unix.EPERM
		}
		t.exitSemaphores()
		t.ipc.Store(n)
	case *NetNamespace:
		if !is(unix.CLONE_NEWNET) {
			return unix.EINVAL
		}
		if !c.HasCapability(unix.CAP_SYS_ADMIN) || !c.HasCapabilityIn(unix.CAP_SYS_ADMIN, n.userNS) {
			return unix.EPERM
		}
		t.net.Store(n)
	case *PIDNamespace:
		if !is(unix.CLONE_NEWPID) {
			return unix.EINVAL
		}
		if !c.HasCapability(unix.CAP_SYS_ADMIN) || !c.HasCapabilityIn(unix.CAP_SYS_ADMIN, n.userNS) {
			return unix.EPERM
		}
		if !t.pids.ns.contains(n) {
			return unix.EINVAL
		}
		t.childPIDNS = n
	default:
		return unix.EINVAL
	}
	return nil
}

// SetNSFrom is setns(2) with a pidfd: the namespaces of o that flags name.
func (t *Task) SetNSFrom(o *Task, flags uint64) error {
	const known = unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWNET | unix.CLONE_NEWPID
	if flags == 0 || flags&^known != 0 {
		return unix.EINVAL
	}
	for _, n := range []struct {
		flag uint64
		ns   any
	}{{unix.CLONE_NEWUTS, o.UTSNamespace()}, {unix.CLONE_NEWIPC, o.IPCNamespace()}, {unix.CLONE_NEWNET, o.NetNamespace()}, {unix.CLONE_NEWPID, o.PIDNamespace()}} {
		if flags&n.flag != 0 {
			if err := t.SetNS(n.ns, n.flag); err != nil {
				return err
			}
		}
	}
	return nil
}
