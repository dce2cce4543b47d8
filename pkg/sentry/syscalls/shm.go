package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/ipc"
	"runsc/pkg/sentry/kernel/shm"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/mm"
	"runsc/pkg/sentry/strace"
)

var shmSyscalls = []kernel.Syscall{
	{Number: unix.SYS_SHMGET, Name: "shmget", Fn: shmget, Args: []strace.Format{strace.Hex, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_SHMAT, Name: "shmat", Fn: shmat, Args: []strace.Format{strace.Dec, strace.Hex, strace.Hex}},
	{Number: unix.SYS_SHMDT, Name: "shmdt", Fn: shmdt, Args: []strace.Format{strace.Hex}},
	{Number: unix.SYS_SHMCTL, Name: "shmctl", Fn: shmctl, Args: []strace.Format{strace.Dec, strace.Dec, strace.Hex}},
}

func shmCaller(t *kernel.Task) (*shm.Registry, ipc.Caller) {
	ns := t.IPCNamespace()
	return ns.Shm, ipc.Caller{Creds: t.Credentials(), NS: ns.UserNamespace(), PID: t.PID()}
}

func shmget(t *kernel.Task, a arch.Args) (uintptr, error) {
	r, c := shmCaller(t)
	id, err := r.Get(c, t.Kernel().MemoryFile(), a.Int(0), a.Uint64(1), a.Uint(2))
	return uintptr(id), err
}

func shmat(t *kernel.Task, a arch.Args) (uintptr, error) {
	addr, flags := a.Pointer(1), a.Uint(2)
	o := mm.MMapOpts{Addr: addr, Fixed: addr != 0, NoReplace: flags&linux.ShmRemap == 0, Perms: memmap.ReadWrite, MaxPerms: memmap.AnyAccess}
	if addr != 0 {
		if flags&linux.ShmRnd != 0 {
			o.Addr &^= linux.ShmLBA - 1
			if o.Addr == 0 && flags&linux.ShmRemap != 0 {
				return 0, unix.EINVAL
			}
		} else if addr%memmap.PageSize != 0 {
			return 0, unix.EINVAL
		}
	} else if flags&linux.ShmRemap != 0 {
		return 0, unix.EINVAL
	}
	if flags&linux.ShmRdonly != 0 {
		o.Perms.Write, o.MaxPerms.Write = false, false
	}
	o.Perms.Execute = flags&linux.ShmExec != 0
	r, c := shmCaller(t)
	s, err := r.Attach(c, a.Int(0), flags)
	if err != nil {
		return 0, err
	}
	defer s.DecRef()
	o.Length, o.Mappable, o.Identity = s.Size(), s, s
	at, err := t.MemoryManager().MMap(o)
	if err == unix.EEXIST {
		err = unix.EINVAL
	}
	return at, err
}

func shmdt(t *kernel.Task, a arch.Args) (uintptr, error) {
	addr := a.Pointer(0)
	if addr%memmap.PageSize != 0 {
		return 0, unix.EINVAL
	}
	// The segment must outlive its last mapping until Detached has been told.
	var seg *shm.Segment
	m := t.MemoryManager().UnmapObject(addr, func(m memmap.Mappable) (uint64, bool) {
		s, ok := m.(*shm.Segment)
		if !ok {
			return 0, false
		}
		s.IncRef()
		seg = s
		return s.Size(), true
	})
	if m == nil {
		return 0, unix.EINVAL
	}
	_, c := shmCaller(t)
	seg.Detached(c)
	seg.DecRef()
	return 0, nil
}

// shmidOf is the struct that IPC_STAT copies out, with ids as t's user namespace sees them.
func shmidOf(t *kernel.Task, i *shm.Info) linux.ShmidDS {
	return linux.ShmidDS{
		Perm:  ipcPermOf(t, &i.Perm),
		Segsz: i.Size, Atime: i.Atime, Dtime: i.Dtime, Ctime: i.Ctime, Cpid: i.Cpid, Lpid: i.Lpid, Nattch: i.Attached,
	}
}

func shmctl(t *kernel.Task, a arch.Args) (uintptr, error) {
	id, cmd, buf := a.Int(0), a.Int(1), a.Pointer(2)
	r, c := shmCaller(t)
	switch cmd {
	case unix.IPC_RMID:
		return 0, r.Remove(c, id)
	case unix.IPC_SET:
		var ds linux.ShmidDS
		if err := kernel.CopyIn(t, buf, &ds); err != nil {
			return 0, err
		}
		uid, gid, err := newOwner(t, &ds.Perm)
		if err != nil {
			return 0, err
		}
		return 0, r.Change(c, id, uid, gid, ds.Perm.Mode)
	case unix.IPC_STAT, linux.ShmStat, linux.ShmStatAny:
		i, err := r.Stat(c, id, cmd != unix.IPC_STAT, cmd == linux.ShmStatAny)
		if err != nil {
			return 0, err
		}
		ds := shmidOf(t, &i)
		if err := kernel.CopyOut(t, buf, &ds); err != nil {
			return 0, err
		}
		if cmd == unix.IPC_STAT {
			return 0, nil
		}
		return uintptr(i.ID), nil
	case linux.IPCInfo:
		_, highest, _, _ := r.Totals()
		info := linux.ShmInfo64{Max: linux.ShmMax, Min: linux.ShmMin, Mni: linux.ShmMni, Seg: linux.ShmMni, All: linux.ShmAll}
		return uintptr(highest), kernel.CopyOut(t, buf, &info)
	case linux.ShmInfo:
		used, highest, pages, resident := r.Totals()
		info := linux.ShmInfoUsed{UsedIDs: int32(used), Tot: pages, Rss: resident}
		return uintptr(highest), kernel.CopyOut(t, buf, &info)
	case linux.ShmLock, linux.ShmUnlock:
		return 0, r.Lock(c, id, cmd == linux.ShmLock)
	}
	return 0, unix.EINVAL
}
