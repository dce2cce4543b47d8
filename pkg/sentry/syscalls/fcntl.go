package syscalls

import (
	"math"

	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/fs/tmpfs"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/kernel/auth"
	"runsc/pkg/sentry/socket"
	"runsc/pkg/sentry/strace"
	"runsc/pkg/sentry/vfs"
)

var fcntlSyscalls = []kernel.Syscall{
	{Number: unix.SYS_FCNTL, Name: "fcntl", Fn: fcntl, Args: []strace.Format{strace.FD, strace.FcntlCmd, strace.Hex}, Support: kernel.Partial, Note: "no leases (EINVAL) and no F_NOTIFY (EINVAL)"},
	{Number: unix.SYS_IOCTL, Name: "ioctl", Fn: ioctl, Args: []strace.Format{strace.FD, strace.IoctlRequest, strace.Hex}},
	{Number: unix.SYS_FLOCK, Name: "flock", Fn: flock, Args: []strace.Format{strace.FD, strace.Hex}},
}

// The commands of fcntl(2) that x/sys lacks.
const (
	fSetSig     = 10
	fGetSig     = 11
	fDupfdQuery = 1027

	ownerTID  = 0 // F_OWNER_TID …
	ownerPID  = 1
	ownerPGRP = 2
)

func fcntl(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, cloexec := t.FDTable().GetFlags(a.Int(0))
	if f == nil {
		return 0, unix.EBADF
	}
	defer f.DecRef(t)
	cmd, arg := a.Int(1), a.Uint64(2)
	switch cmd {
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC:
		if int32(arg) < 0 || arg >= maxFDs(t) {
			return 0, unix.EINVAL
		}
		fd, err := t.FDTable().New(int32(arg), f, cmd == unix.F_DUPFD_CLOEXEC, maxFDs(t))
		return uintptr(fd), err
	case unix.F_GETFD:
		if cloexec {
			return unix.FD_CLOEXEC, nil
		}
		return 0, nil
	case unix.F_SETFD:
		return 0, t.FDTable().SetCloseOnExec(a.Int(0), arg&unix.FD_CLOEXEC != 0)
	case unix.F_GETFL:
		return uintptr(f.StatusFlags()), nil
	case fDupfdQuery:
		g, err := getFile(t, int32(arg))
		if err != nil {
			return 0, err
		}
		defer g.DecRef(t)
		if f == g {
			return 1, nil
		}
		return 0, nil
	}
	if f.PathOnly() {
		return 0, unix.EBADF
	}
	switch cmd {
	case unix.F_SETFL:
		return 0, f.SetStatusFlags(t, uint32(arg))
	case unix.F_GETLK, unix.F_SETLK, unix.F_SETLKW, unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
		return 0, fileLock(t, f, cmd, uintptr(arg))
	case unix.F_SETOWN:
		typ, id := int32(ownerPID), int32(arg)
		if id < 0 {
			if id == math.MinInt32 {
				return 0, unix.EINVAL
			}
			typ, id = ownerPGRP, -id
		}
		return 0, setFileOwner(t, f, a.Int(0), typ, id)
	case unix.F_GETOWN:
		typ, id := fileOwnerOf(t, f)
		if typ == ownerPGRP {
			id = -id
		}
		return uintptr(id), nil
	case unix.F_SETOWN_EX:
		var o [2]int32
		if err := kernel.CopyIn(t, uintptr(arg), &o); err != nil {
			return 0, err
		}
		return 0, setFileOwner(t, f, a.Int(0), o[0], o[1])
	case unix.F_GETOWN_EX:
		var o [2]int32
		o[0], o[1] = fileOwnerOf(t, f)
		return 0, kernel.CopyOut(t, uintptr(arg), &o)
	case fSetSig:
		return 0, f.SetAsyncSignal(int32(arg), a.Int(0))
	case fGetSig:
		_, signo := f.AsyncOwner()
		return uintptr(signo), nil
	case unix.F_GETPIPE_SZ, unix.F_SETPIPE_SZ:
		p, ok := f.File().(pipeSizer)
		if !ok {
			return 0, unix.EBADF
		}
		if cmd == unix.F_GETPIPE_SZ {
			return uintptr(p.PipeSize()), nil
		}
		n, err := p.SetPipeSize(t.Credentials(), uint64(uint32(arg)))
		return uintptr(n), err
	case unix.F_GET_SEALS, unix.F_ADD_SEALS:
		s, ok := f.File().(tmpfs.Sealer)
		switch {
		case !ok:
			return 0, unix.EINVAL
		case cmd == unix.F_GET_SEALS:
			return uintptr(s.Seals()), nil
		case !f.Writable():
			return 0, unix.EPERM
		}
		return 0, s.AddSeals(uint32(arg))
	case unix.F_GETLEASE:
		return unix.F_UNLCK, nil
	case unix.F_GET_RW_HINT, unix.F_GET_FILE_RW_HINT:
		var hint uint64
		return 0, kernel.CopyOut(t, uintptr(arg), &hint)
	case unix.F_SET_RW_HINT, unix.F_SET_FILE_RW_HINT:
		var hint uint64
		if err := kernel.CopyIn(t, uintptr(arg), &hint); err != nil {
			return 0, err
		}
		if hint > 5 {
			return 0, unix.EINVAL
		}
		return 0, nil
	}
	return 0, t.Unsupported("fcntl", uint64(cmd), unix.EINVAL)
}

// pipeSizer is the part of a pipe's ends that F_SETPIPE_SZ needs.
type pipeSizer interface {
	PipeSize() int
	SetPipeSize(creds *auth.Credentials, size uint64) (int, error)
}

// flockStruct is struct flock.
type flockStruct struct {
	Type   int16
	Whence int16
	_      int32
	Start  int64
	Len    int64
	PID    int32
	_      int32
}

func fileLock(t *kernel.Task, f *vfs.FileDescription, cmd int32, addr uintptr) error {
	var l flockStruct
	if err := kernel.CopyIn(t, addr, &l); err != nil {
		return err
	}
	owner := any(t.FDTable())
	switch cmd {
	case unix.F_OFD_GETLK, unix.F_OFD_SETLK, unix.F_OFD_SETLKW:
		owner = f
		if l.PID != 0 {
			return unix.EINVAL
		}
	}
	get := cmd == unix.F_GETLK || cmd == unix.F_OFD_GETLK
	switch l.Type {
	case unix.F_RDLCK:
		if !get && !f.Readable() {
			return unix.EBADF
		}
	case unix.F_WRLCK:
		if !get && !f.Writable() {
			return unix.EBADF
		}
	case unix.F_UNLCK:
		if get && owner != any(f) {
			return unix.EINVAL
		}
	default:
		return unix.EINVAL
	}
	var base int64
	switch l.Whence {
	case unix.SEEK_SET:
	case unix.SEEK_CUR:
		if f.Seekable() {
			base = f.Offset()
		}
	case unix.SEEK_END:
		st, err := f.Stat(t)
		if err != nil {
			return err
		}
		base = int64(st.Size)
	default:
		return unix.EINVAL
	}
	if l.Start > 0 && base > math.MaxInt64-l.Start {
		return unix.EOVERFLOW
	}
	start := base + l.Start
	if start < 0 {
		return unix.EINVAL
	}
	end := int64(vfs.LockEOF)
	switch {
	case l.Len > 0:
		if start > math.MaxInt64-l.Len+1 {
			return unix.EOVERFLOW
		}
		if l.Len-1 < math.MaxInt64-start {
			end = start + l.Len
		}
	case l.Len < 0:
		if start+l.Len < 0 {
			return unix.EINVAL
		}
		start, end = start+l.Len, start
	}
	lock := vfs.FileLock{Type: l.Type, Start: start, End: end}
	if !get {
		return f.SetLock(t, owner, lock, cmd == unix.F_SETLKW || cmd == unix.F_OFD_SETLKW)
	}
	c := f.GetLock(owner, lock)
	if l.Type = c.Type; c.Type != unix.F_UNLCK {
		l.Whence, l.Start, l.PID = unix.SEEK_SET, c.Start, c.PID
		if l.Len = c.End - c.Start; c.End == vfs.LockEOF {
			l.Len = 0
		}
		if c.PID > 0 {
			l.PID = 0 // of a process that the caller cannot see
			if tg := t.Kernel().RootPIDNamespace().ThreadGroup(c.PID); tg != nil {
				l.PID = t.PIDNamespace().TGIDOf(tg)
			}
		}
	}
	return kernel.CopyOut(t, addr, &l)
}

func flock(t *kernel.Task, a arch.Args) (uintptr, error) {
	op := int(a.Int(1))
	block := op&unix.LOCK_NB == 0
	op &^= unix.LOCK_NB
	if op != unix.LOCK_SH && op != unix.LOCK_EX && op != unix.LOCK_UN {
		return 0, unix.EINVAL
	}
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	if f.PathOnly() {
		return 0, unix.EBADF
	}
	return 0, f.Flock(t, op, block)
}

// fileOwner is who F_SETOWN names. It implements vfs.AsyncOwner. One of the three is set.
type fileOwner struct {
	task  *kernel.Task
	tg    *kernel.ThreadGroup
	group *kernel.ProcessGroup
	creds *auth.Credentials // of who set it
}

func setFileOwner(t *kernel.Task, f *vfs.FileDescription, fd, typ, id int32) error {
	if id == 0 {
		f.SetAsyncOwner(nil, fd)
		return nil
	}
	o := &fileOwner{creds: t.Credentials()}
	ns := t.PIDNamespace()
	switch typ {
	case ownerTID:
		o.task = ns.Task(id)
	case ownerPID:
		o.tg = ns.ThreadGroup(id)
	case ownerPGRP:
		o.group = ns.ProcessGroup(id)
	default:
		return unix.EINVAL
	}
	if o.task == nil && o.tg == nil && o.group == nil {
		return unix.ESRCH
	}
	f.SetAsyncOwner(o, fd)
	return nil
}

// fileOwnerOf is the owner as the caller's pid namespace sees it; 0 if there is none.
func fileOwnerOf(t *kernel.Task, f *vfs.FileDescription) (typ, id int32) {
	typ = ownerPID
	o, _ := f.AsyncOwner()
	fo, ok := o.(*fileOwner)
	if !ok {
		return typ, 0
	}
	switch {
	case fo.task != nil:
		return ownerTID, t.PIDNamespace().TIDOf(fo.task)
	case fo.group != nil:
		return ownerPGRP, fo.group.IDIn(t.PIDNamespace())
	}
	return typ, t.PIDNamespace().TGIDOf(fo.tg)
}

// siPollCodes are si_code for the events of poll(2), in the order in which they are tried.
var siPollCodes = []struct{ mask, code int32 }{
	{unix.POLLHUP, 6}, {unix.POLLERR, 4}, {unix.POLLPRI, 5}, {unix.POLLIN, 1}, {unix.POLLOUT, 2},
}

// SignalIO implements vfs.AsyncOwner.
func (o *fileOwner) SignalIO(signo int32, fd int32, band int64) {
	info := arch.NewKernelSignal(int32(unix.SIGIO))
	if signo != 0 {
		info.Signo, info.Code = signo, 1
		for _, c := range siPollCodes {
			if band&int64(c.mask) != 0 {
				info.Code = c.code
				break
			}
		}
		info.SetBand(band)
		info.SetFD(fd)
	}
	o.send(&info)
}

// SignalUrgent implements vfs.AsyncOwner.
func (o *fileOwner) SignalUrgent() {
	info := arch.NewKernelSignal(int32(unix.SIGURG))
	o.send(&info)
}

func (o *fileOwner) send(info *arch.SignalInfo) {
	switch {
	case o.task != nil:
		if o.mayHit(o.task) {
			o.task.SendSignal(info)
		}
	case o.tg != nil:
		if o.mayHit(o.tg.Leader()) {
			o.tg.SendSignal(info)
		}
	case o.group != nil:
		for _, tg := range o.group.Members() {
			if o.mayHit(tg.Leader()) {
				tg.SendSignal(info)
			}
		}
	}
}

// mayHit is the permission of fcntl(2): the setter's ids against the receiver's.
func (o *fileOwner) mayHit(t *kernel.Task) bool {
	if t == nil {
		return false
	}
	c, d := o.creds, t.Credentials()
	return c.EffectiveUID == 0 || c.EffectiveUID == d.SavedUID || c.EffectiveUID == d.RealUID ||
		c.RealUID == d.SavedUID || c.RealUID == d.RealUID
}

// socketOwner is FIOSETOWN, FIOGETOWN and their old names: F_SETOWN and F_GETOWN of sockets.
func socketOwner(t *kernel.Task, f *vfs.FileDescription, fd int32, request uint32, arg uintptr) error {
	if request == fiogetown || request == siocgpgrp {
		typ, id := fileOwnerOf(t, f)
		if typ == ownerPGRP {
			id = -id
		}
		return kernel.CopyOut(t, arg, &id)
	}
	var id int32
	if err := kernel.CopyIn(t, arg, &id); err != nil {
		return err
	}
	if id == math.MinInt32 {
		return unix.EINVAL
	}
	if id < 0 {
		return setFileOwner(t, f, fd, ownerPGRP, -id)
	}
	return setFileOwner(t, f, fd, ownerPID, id)
}

func ioctl(t *kernel.Task, a arch.Args) (uintptr, error) {
	f, err := getFile(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	defer f.DecRef(t)
	if f.PathOnly() {
		return 0, unix.EBADF
	}
	request, arg := a.Uint(1), a.Pointer(2)
	switch request {
	case fioclex, fionclex:
		return 0, t.FDTable().SetCloseOnExec(a.Int(0), request == fioclex)
	case fionbio, fioasync:
		var on int32
		if err := kernel.CopyIn(t, arg, &on); err != nil {
			return 0, err
		}
		bit := uint32(unix.O_NONBLOCK)
		if request == fioasync {
			bit = unix.O_ASYNC
		}
		flags := f.StatusFlags() &^ bit
		if on != 0 {
			flags |= bit
		}
		return 0, f.SetStatusFlags(t, flags)
	case fiosetown, siocspgrp, fiogetown, siocgpgrp:
		if _, ok := f.File().(socket.Socket); ok {
			return 0, socketOwner(t, f, a.Int(0), request, arg)
		}
	case figetbsz:
		if typ := f.FileType(); typ == unix.S_IFREG || typ == unix.S_IFDIR {
			st, err := f.Stat(t)
			if err != nil {
				return 0, err
			}
			size := int32(st.Blksize)
			return 0, kernel.CopyOut(t, arg, &size)
		}
	case unix.TIOCINQ: // FIONREAD
		if f.FileType() == unix.S_IFREG {
			st, err := f.Stat(t)
			if err != nil {
				return 0, err
			}
			left := int32(min(int64(st.Size)-f.Offset(), math.MaxInt32))
			return 0, kernel.CopyOut(t, arg, &left)
		}
	case fioqsize:
		if typ := f.FileType(); typ == unix.S_IFREG || typ == unix.S_IFDIR {
			st, err := f.Stat(t)
			if err != nil {
				return 0, err
			}
			size := int64(st.Size)
			return 0, kernel.CopyOut(t, arg, &size)
		}
	case unix.FICLONE, unix.FICLONERANGE, unix.FIDEDUPERANGE:
		return 0, unix.EOPNOTSUPP
	}
	n, err := f.Ioctl(t, t.MemoryManager(), request, uint64(arg))
	if err == unix.ENOTTY && !expectedENOTTY(request) {
		t.Unsupported("ioctl", uint64(request), err)
	}
	return uintptr(n), err
}

// expectedENOTTY says whether programs try request on any file to learn what it is.
func expectedENOTTY(request uint32) bool {
	switch request {
	case unix.FS_IOC_GETFLAGS, unix.FS_IOC_SETFLAGS:
		return true
	}
	return request>>8 == 'T' // terminals: isatty(3)
}

// Requests that every file has.
const (
	fionclex = 0x5450
	fioclex  = 0x5451
	fioqsize = 0x5460
	fionbio  = 0x5421
	fioasync = 0x5452
	figetbsz = 2

	// Those of sockets.
	fiosetown = 0x8901
	siocspgrp = 0x8902
	fiogetown = 0x8903
	siocgpgrp = 0x8904
)
