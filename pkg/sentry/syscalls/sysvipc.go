package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"runsc/pkg/abi/linux"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/kernel/ipc"
	"runsc/pkg/sentry/kernel/msgqueue"
	"runsc/pkg/sentry/kernel/sem"
	"runsc/pkg/sentry/strace"
)

// System V semaphores and message queues.

var sysvIPCSyscalls = []kernel.Syscall{
	{Number: unix.SYS_SEMGET, Name: "semget", Fn: semget, Args: []strace.Format{strace.Hex, strace.Dec, strace.Hex}},
	{Number: unix.SYS_SEMOP, Name: "semop", Fn: semop, Args: []strace.Format{strace.Dec, strace.Hex, strace.Dec64}},
	{Number: unix.SYS_SEMTIMEDOP, Name: "semtimedop", Fn: semtimedop, Args: []strace.Format{strace.Dec, strace.Hex, strace.Dec64, strace.Timespec}},
	{Number: unix.SYS_SEMCTL, Name: "semctl", Fn: semctl, Args: []strace.Format{strace.Dec, strace.Dec, strace.Dec, strace.Hex}},
	{Number: unix.SYS_MSGGET, Name: "msgget", Fn: msgget, Args: []strace.Format{strace.Hex, strace.Hex}},
	{Number: unix.SYS_MSGSND, Name: "msgsnd", Fn: msgsnd, Args: []strace.Format{strace.Dec, strace.Hex, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_MSGRCV, Name: "msgrcv", Fn: msgrcv, Args: []strace.Format{strace.Dec, strace.Hex, strace.Dec64, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_MSGCTL, Name: "msgctl", Fn: msgctl, Args: []strace.Format{strace.Dec, strace.Dec, strace.Hex}},
}

func ipcCaller(t *kernel.Task) (*kernel.IPCNamespace, ipc.Caller) {
	ns := t.IPCNamespace()
	return ns, ipc.Caller{Creds: t.Credentials(), NS: ns.UserNamespace(), PID: t.RootTGID()}
}

// ipcPermOf is struct ipc64_perm as t sees the owner's ids.
func ipcPermOf(t *kernel.Task, p *ipc.Perm) linux.IPCPerm {
	ns := t.UserNamespace()
	return linux.IPCPerm{
		Key: uint32(p.Key), UID: ns.UID(p.UID), GID: ns.GID(p.GID), CUID: ns.UID(p.CUID), CGID: ns.GID(p.CGID),
		Mode: p.Mode, Seq: p.Seq,
	}
}

// newOwner translates the owner of an IPC_SET.
func newOwner(t *kernel.Task, p *linux.IPCPerm) (auth.KUID, auth.KGID, error) {
	uid, gid := t.UserNamespace().KUID(p.UID), t.UserNamespace().KGID(p.GID)
	if uid == auth.KUID(auth.NoID) || gid == auth.KGID(auth.NoID) {
		return 0, 0, unix.EINVAL
	}
	return uid, gid, nil
}

func semget(t *kernel.Task, a arch.Args) (uintptr, error) {
	ns, c := ipcCaller(t)
	id, err := ns.Sem.Get(c, t.RealTime(), a.Int(0), a.Int(1), a.Uint(2))
	return uintptr(id), err
}

func semop(t *kernel.Task, a arch.Args) (uintptr, error) {
	return 0, doSemop(t, a.Int(0), a.Pointer(1), a.Size(2), -1)
}

func semtimedop(t *kernel.Task, a arch.Args) (uintptr, error) {
	deadline := int64(-1)
	if p := a.Pointer(3); p != 0 {
		d, err := copyInDuration(t, p)
		if err != nil {
			return 0, err
		}
		deadline = addDuration(t.Monotonic(), d)
	}
	return 0, doSemop(t, a.Int(0), a.Pointer(1), a.Size(2), deadline)
}

func doSemop(t *kernel.Task, id int32, addr uintptr, n uint, deadline int64) error {
	if n < 1 || id < 0 {
		return unix.EINVAL
	}
	if n > sem.MaxOps {
		return unix.E2BIG
	}
	ops, err := kernel.CopyInSlice[sem.Op](t, addr, int(n))
	if err != nil {
		return err
	}
	ns, c := ipcCaller(t)
	return ns.Sem.Operate(t, c, t.ThreadGroup(), id, ops, deadline)
}

func semctl(t *kernel.Task, a arch.Args) (uintptr, error) {
	id, n, cmd, arg := a.Int(0), a.Int(1), a.Int(2), a.Pointer(3)
	ns, c := ipcCaller(t)
	r := ns.Sem
	if id < 0 {
		return 0, unix.EINVAL
	}
	switch cmd {
	case unix.IPC_RMID:
		return 0, r.Remove(c, id)
	case unix.IPC_SET:
		var ds linux.SemidDS
		if err := kernel.CopyIn(t, arg, &ds); err != nil {
			return 0, err
		}
		uid, gid, err := newOwner(t, &ds.Perm)
		if err != nil {
			return 0, err
		}
		return 0, r.Change(c, id, uid, gid, ds.Perm.Mode, t.RealTime())
	case unix.IPC_STAT, linux.SemStat, linux.SemStatAny:
		s, err := r.Stat(c, id, cmd != unix.IPC_STAT, cmd == linux.SemStatAny)
		if err != nil {
			return 0, err
		}
		ds := linux.SemidDS{Perm: ipcPermOf(t, &s.Perm), Otime: s.Otime, Ctime: s.Ctime, Nsems: uint64(s.Sems)}
		if err := kernel.CopyOut(t, arg, &ds); err != nil || cmd == unix.IPC_STAT {
			return 0, err
		}
		return uintptr(s.ID), nil
	case linux.IPCInfo, linux.SemInfo:
		sets, sems, highest := r.Totals()
		info := linux.SemInfoDS{
			Map: sem.MaxInAll, Mni: sem.MaxSets, Mns: sem.MaxInAll, Mnu: sem.MaxInAll, Msl: sem.MaxPerSet,
			Opm: sem.MaxOps, Ume: sem.MaxOps, Usz: 20, Vmx: sem.MaxValue, Aem: sem.MaxValue,
		}
		if cmd == linux.SemInfo {
			info.Usz, info.Aem = int32(sets), int32(sems)
		}
		return uintptr(highest), kernel.CopyOut(t, arg, &info)
	case linux.SemGetVal, linux.SemGetPID, linux.SemGetNCnt, linux.SemGetZCnt:
		s, err := r.Semaphore(c, id, n)
		if err != nil {
			return 0, err
		}
		switch cmd {
		case linux.SemGetVal:
			return uintptr(s.Value), nil
		case linux.SemGetPID:
			return uintptr(socketTask{t}.LocalPID(s.PID)), nil
		case linux.SemGetNCnt:
			return uintptr(s.NCount), nil
		}
		return uintptr(s.ZCount), nil
	case linux.SemGetAll:
		v, err := r.Values(c, id)
		if err != nil {
			return 0, err
		}
		return 0, kernel.CopyOutSlice(t, arg, v)
	case linux.SemSetVal:
		return 0, r.SetValue(c, id, n, a.Int(3), t.RealTime())
	case linux.SemSetAll:
		size, err := r.Size(c, id)
		if err != nil {
			return 0, err
		}
		v, err := kernel.CopyInSlice[uint16](t, arg, size)
		if err != nil {
			return 0, err
		}
		return 0, r.SetValues(c, id, v, t.RealTime())
	}
	return 0, unix.EINVAL
}

func msgget(t *kernel.Task, a arch.Args) (uintptr, error) {
	ns, c := ipcCaller(t)
	id, err := ns.Msg.Get(c, t.RealTime(), a.Int(0), a.Uint(1))
	return uintptr(id), err
}

// sizeofMtype is the type in front of a message's text.
const sizeofMtype = 8

func msgsnd(t *kernel.Task, a arch.Args) (uintptr, error) {
	id, addr, size := a.Int(0), a.Pointer(1), a.Int64(2)
	if size < 0 || size > msgqueue.MaxMessage || id < 0 {
		return 0, unix.EINVAL
	}
	b := make([]byte, sizeofMtype+size)
	if err := t.CopyInBytes(addr, b); err != nil {
		return 0, err
	}
	m := msgqueue.Message{Type: int64(binary.LittleEndian.Uint64(b)), Text: b[sizeofMtype:]}
	ns, c := ipcCaller(t)
	return 0, ns.Msg.Send(t, c, id, m, a.Int(3))
}

func msgrcv(t *kernel.Task, a arch.Args) (uintptr, error) {
	id, addr, size := a.Int(0), a.Pointer(1), a.Int64(2)
	if size < 0 || id < 0 {
		return 0, unix.EINVAL
	}
	ns, c := ipcCaller(t)
	m, err := ns.Msg.Receive(t, c, id, int(size), a.Int64(3), a.Int(4))
	if err != nil {
		return 0, err
	}
	text := m.Text[:min(len(m.Text), int(size))]
	if err := kernel.CopyOut(t, addr, &m.Type); err != nil {
		return 0, err
	}
	if len(text) > 0 {
		if err := t.CopyOutBytes(addr+sizeofMtype, text); err != nil {
			return 0, err
		}
	}
	return uintptr(len(text)), nil
}

func msgctl(t *kernel.Task, a arch.Args) (uintptr, error) {
	id, cmd, arg := a.Int(0), a.Int(1), a.Pointer(2)
	ns, c := ipcCaller(t)
	r := ns.Msg
	if id < 0 {
		return 0, unix.EINVAL
	}
	switch cmd {
	case unix.IPC_RMID:
		return 0, r.Remove(c, id)
	case unix.IPC_SET:
		var ds linux.MsqidDS
		if err := kernel.CopyIn(t, arg, &ds); err != nil {
			return 0, err
		}
		uid, gid, err := newOwner(t, &ds.Perm)
		if err != nil {
			return 0, err
		}
		return 0, r.Change(c, id, uid, gid, ds.Perm.Mode, ds.Qbytes, t.RealTime())
	case unix.IPC_STAT, linux.MsgStat, linux.MsgStatAny:
		s, err := r.Stat(c, id, cmd != unix.IPC_STAT, cmd == linux.MsgStatAny)
		if err != nil {
			return 0, err
		}
		local := socketTask{t}.LocalPID
		ds := linux.MsqidDS{
			Perm: ipcPermOf(t, &s.Perm), Stime: s.Stime, Rtime: s.Rtime, Ctime: s.Ctime,
			Cbytes: uint64(s.Bytes), Qnum: uint64(s.Count), Qbytes: uint64(s.Limit),
			Lspid: local(s.LastSend), Lrpid: local(s.LastRecv),
		}
		if err := kernel.CopyOut(t, arg, &ds); err != nil || cmd == unix.IPC_STAT {
			return 0, err
		}
		return uintptr(s.ID), nil
	case linux.IPCInfo, linux.MsgInfo:
		queues, messages, bytes, highest := r.Totals()
		info := linux.MsgInfoDS{
			Pool: msgqueue.MaxQueues * msgqueue.MaxBytes / 1024, Map: msgqueue.MaxBytes, Max: msgqueue.MaxMessage,
			Mnb: msgqueue.MaxBytes, Mni: msgqueue.MaxQueues, Ssz: 16, Tql: msgqueue.MaxBytes, Seg: 0xffff,
		}
		if cmd == linux.MsgInfo {
			info.Pool, info.Map, info.Tql = int32(queues), int32(messages), int32(bytes)
		}
		return uintptr(highest), kernel.CopyOut(t, arg, &info)
	}
	return 0, unix.EINVAL
}
