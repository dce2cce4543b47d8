package syscalls

import (
	"golang.org/x/sys/unix"

	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/kernel"
	"runsc/pkg/sentry/memmap"
	"runsc/pkg/sentry/mm"
	"runsc/pkg/sentry/strace"
)

var memoryRemoteSyscalls = []kernel.Syscall{
	{Number: unix.SYS_PROCESS_VM_READV, Name: "process_vm_readv", Fn: processVMReadv, Args: []strace.Format{strace.Dec, strace.Hex, strace.Dec64, strace.Hex, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_PROCESS_VM_WRITEV, Name: "process_vm_writev", Fn: processVMWritev, Args: []strace.Format{strace.Dec, strace.Hex, strace.Dec64, strace.Hex, strace.Dec64, strace.Hex}},
	{Number: unix.SYS_MOVE_PAGES, Name: "move_pages", Fn: movePages, Args: []strace.Format{strace.Dec, strace.Dec64, strace.Hex, strace.Hex, strace.Hex, strace.Hex}, Note: "one node"},
	{Number: unix.SYS_PROCESS_MADVISE, Name: "process_madvise", Fn: processMadvise, Args: []strace.Format{strace.FD, strace.Hex, strace.Dec64, strace.Dec, strace.Hex}},
}

// iovec is struct iovec.
type iovec struct {
	Base uint64
	Len  uint64
}

const (
	maxIovecs   = 1024 // UIO_MAXIOV
	maxIovecLen = 1<<63 - 1
)

func copyInIovecs(t *kernel.Task, addr uintptr, n uint64) ([]iovec, error) {
	if n > maxIovecs {
		return nil, unix.EINVAL
	}
	v, err := kernel.CopyInSlice[iovec](t, addr, int(n))
	if err != nil {
		return nil, err
	}
	total := uint64(0)
	for _, e := range v {
		if e.Len > maxIovecLen-total {
			return nil, unix.EINVAL
		}
		total += e.Len
	}
	return v, nil
}

// vectorCursor walks the bytes of a vector.
type vectorCursor struct {
	v    []iovec
	done uint64 // of v[0]
}

// next is the address and length of what is left of the current element.
func (c *vectorCursor) next() (uintptr, uint64) {
	for len(c.v) > 0 && c.done == c.v[0].Len {
		c.v, c.done = c.v[1:], 0
	}
	if len(c.v) == 0 {
		return 0, 0
	}
	return uintptr(c.v[0].Base + c.done), c.v[0].Len - c.done
}

func processVM(t *kernel.Task, a arch.Args, write bool) (uintptr, error) {
	if a[5] != 0 {
		return 0, unix.EINVAL
	}
	local, err := copyInIovecs(t, a.Pointer(1), a.Uint64(2))
	if err != nil {
		return 0, err
	}
	remote, err := copyInIovecs(t, a.Pointer(3), a.Uint64(4))
	if err != nil {
		return 0, err
	}
	target, err := remoteTask(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	m := target.WithMM()
	if m == nil {
		return 0, unix.ESRCH
	}
	defer m.DecUsers()
	from, to := m, t.MemoryManager()
	src, dst := vectorCursor{v: remote}, vectorCursor{v: local}
	if write {
		from, to, src, dst = to, from, dst, src
	}
	n, err := copyVectors(t, from, to, src, dst)
	if n > 0 {
		return uintptr(n), nil
	}
	return 0, err
}

// copyVectors copies from one address space to the other through a buffer of the sentry,
// so that the locks of one are never held with those of the other.
func copyVectors(t *kernel.Task, from, to *mm.MemoryManager, src, dst vectorCursor) (uint64, error) {
	buf := make([]byte, 64<<10)
	total := uint64(0)
	for !t.Interrupted() || total == 0 {
		sa, sn := src.next()
		da, dn := dst.next()
		n := min(sn, dn, uint64(len(buf)))
		if n == 0 {
			break
		}
		got, err := from.CopyIn(sa, buf[:n])
		put, werr := to.CopyOut(da, buf[:got])
		total += uint64(put)
		src.done += uint64(put)
		dst.done += uint64(put)
		if werr != nil {
			return total, werr
		}
		if err != nil {
			return total, err
		}
	}
	return total, nil
}

// remoteTask finds a task whose memory t may use as a tracer may. ESRCH, EPERM.
func remoteTask(t *kernel.Task, pid int32) (*kernel.Task, error) {
	target := t.PIDNamespace().Task(pid)
	if pid <= 0 || target == nil {
		return nil, unix.ESRCH
	}
	if !t.MayTrace(target) {
		return nil, unix.EPERM
	}
	return target, nil
}

func processVMReadv(t *kernel.Task, a arch.Args) (uintptr, error) { return processVM(t, a, false) }

func processVMWritev(t *kernel.Task, a arch.Args) (uintptr, error) { return processVM(t, a, true) }

func processMadvise(t *kernel.Task, a arch.Args) (uintptr, error) {
	if a.Uint(4) != 0 {
		return 0, unix.EINVAL
	}
	v, err := copyInIovecs(t, a.Pointer(1), a.Uint64(2))
	if err != nil {
		return 0, err
	}
	tg, _, err := threadGroupOfPIDFD(t, a.Int(0))
	if err != nil {
		return 0, err
	}
	advice := int(a.Int(3))
	leader := tg.Leader()
	switch advice {
	case unix.MADV_COLD, unix.MADV_PAGEOUT, unix.MADV_WILLNEED, unix.MADV_COLLAPSE:
	default:
		if tg != t.ThreadGroup() {
			return 0, unix.EINVAL
		}
	}
	if tg != t.ThreadGroup() && (!t.MayTrace(leader) || !t.Credentials().HasCapability(unix.CAP_SYS_NICE)) {
		return 0, unix.EPERM
	}
	m := leader.WithMM()
	if m == nil {
		return 0, unix.ESRCH
	}
	defer m.DecUsers()
	total := uint64(0)
	for _, e := range v {
		if err := m.MAdvise(uintptr(e.Base), e.Len, advice); err != nil {
			if total > 0 {
				break
			}
			return 0, err
		}
		total += e.Len
	}
	return uintptr(total), nil
}

// movePages is move_pages(2) on a machine of one node: it tells where pages are, and pages
// that are to go to node 0 are there.
func movePages(t *kernel.Task, a arch.Args) (uintptr, error) {
	const maxFlags = mpolMFMove | mpolMFMoveAll
	pid, n, pages, nodes, status, flags := a.Int(0), a.Uint64(1), a.Pointer(2), a.Pointer(3), a.Pointer(4), a.Uint(5)
	if flags&^maxFlags != 0 {
		return 0, unix.EINVAL
	}
	if flags&mpolMFMoveAll != 0 && !t.Credentials().HasRootCapability(unix.CAP_SYS_NICE) {
		return 0, unix.EPERM
	}
	target := t
	if pid != 0 {
		var err error
		if target, err = remoteTask(t, pid); err != nil {
			return 0, err
		}
	}
	m := target.WithMM()
	if m == nil {
		return 0, unix.ESRCH
	}
	defer m.DecUsers()
	for i := uintptr(0); uint64(i) < n; i++ {
		if t.Interrupted() {
			return 0, unix.EINTR
		}
		var addr uint64
		if err := kernel.CopyIn(t, pages+i*8, &addr); err != nil {
			return 0, err
		}
		if nodes != 0 {
			var node int32
			if err := kernel.CopyIn(t, nodes+i*4, &node); err != nil {
				return 0, err
			}
			if node != 0 {
				return 0, unix.ENODEV
			}
		}
		st := -int32(unix.EFAULT)
		var present [1]byte
		if m.Mincore(uintptr(addr)&^(memmap.PageSize-1), present[:]) == nil {
			if st = 0; present[0] == 0 {
				st = -int32(unix.ENOENT)
			}
		}
		if status != 0 {
			if err := kernel.CopyOut(t, status+i*4, &st); err != nil {
				return 0, err
			}
		}
	}
	return 0, nil
}
