package systrap

import (
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/bpf"
	"runsc/pkg/platform/hostmap"
	"runsc/pkg/seccomp"
)

// zygoteData is what the zygote's first system calls point to. It lies in the sentry's
// heap, where it does not move; the fork copies it to the same address.
type zygoteData struct {
	calls     [32]hostmap.Call
	noSignals uint64
	capHeader unix.CapUserHeader
	noCaps    [2]unix.CapUserData
	filter    unix.SockFprog
	code      []bpf.Instruction
	name      [16]byte
	action    struct{ handler, flags, restorer, mask uint64 }
}

// handled are the signals that mean an event.
var handled = []unix.Signal{unix.SIGSYS, unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGTRAP, kickSignal}

// startZygote forks the zygote and strips it of everything but the stub. It is made by an
// OS thread that lives as long as the platform, because the host kills it when its
// maker ends (PR_SET_PDEATHSIG).
func (p *Platform) startZygote() error {
	sets, def := helperFilter(uint64(p.orders.file.Fd()))
	code, err := seccomp.BuildForeign(sets, def, def)
	if err != nil {
		return err
	}
	z, err := p.newProcess()
	if err != nil {
		return err
	}
	result, err := unix.MemfdCreate("runsc-zygote", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	defer unix.Close(result)
	if err := unix.Ftruncate(result, 4096); err != nil {
		return err
	}
	if p.result, err = unix.Mmap(result, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return err
	}
	d := newZygoteData()
	*d = zygoteData{code: code, capHeader: unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}}
	d.filter = unix.SockFprog{Len: uint16(len(code)), Filter: (*unix.SockFilter)(unsafe.Pointer(&code[0]))}
	copy(d.name[:], "runsc-stub")
	const saSiginfo, saRestorer, saOnStack, saNodefer = 0x4, 0x0400_0000, 0x0800_0000, 0x4000_0000
	d.action.handler, d.action.flags, d.action.restorer = codeBase+offHandler, saSiginfo|saRestorer|saOnStack|saNodefer, codeBase

	n := 0
	var names []string
	add := func(name string, nr uintptr, args ...uintptr) {
		c := &d.calls[n]
		c.Nr = uint64(nr)
		for i, a := range args {
			c.Args[i] = uint64(a)
		}
		names = append(names, name)
		n++
	}
	ptr := func(v unsafe.Pointer) uintptr { return uintptr(v) }
	add("prctl(PR_SET_PDEATHSIG)", unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL))
	add("prctl(PR_SET_NAME)", unix.SYS_PRCTL, unix.PR_SET_NAME, ptr(unsafe.Pointer(&d.name)))
	add("setsid", unix.SYS_SETSID) // a terminal of the sentry's session must not signal the stubs
	const fixed = unix.MAP_SHARED | unix.MAP_FIXED
	add("mapping the stub", unix.SYS_MMAP, codeBase, codeSize, unix.PROT_READ|unix.PROT_EXEC, fixed, p.stub.Fd(), 0)
	add("mapping orders", unix.SYS_MMAP, ordersBase, ordersSize, unix.PROT_READ, fixed, p.orders.file.Fd(), p.orders.offset(z.slot))
	add("mapping results", unix.SYS_MMAP, resultBase, 4096, unix.PROT_READ|unix.PROT_WRITE, fixed, uintptr(result), 0)
	for _, s := range handled {
		add("rt_sigaction", unix.SYS_RT_SIGACTION, uintptr(s), ptr(unsafe.Pointer(&d.action)), 0, 8)
	}
	add("rt_sigprocmask", unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, ptr(unsafe.Pointer(&d.noSignals)), 0, 8)
	add("prctl(PR_SET_NO_NEW_PRIVS)", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	add("capset", unix.SYS_CAPSET, ptr(unsafe.Pointer(&d.capHeader)), ptr(unsafe.Pointer(&d.noCaps)))
	add("seccomp", unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, ptr(unsafe.Pointer(&d.filter)))

	p.zygote = z
	started := make(chan error)
	p.makerStop = make(chan struct{})
	go func() {
		runtime.LockOSThread() // and it ends with the goroutine
		all, old := ^uint64(0), uint64(0)
		sigmask(&all, &old) // the child must not run a Go signal handler
		pid := int(forkZygote(unix.CLONE_FILES|uintptr(unix.SIGCHLD), &d.calls[0], uintptr(n),
			ordersBase, p.orders.offset(z.slot), p.orders.file.Fd(), codeBase+offHelper))
		sigmask(&old, nil)
		if pid < 0 {
			started <- fmt.Errorf("forking the zygote: %w", unix.Errno(-pid))
			return
		}
		z.pid, z.bound.TID = pid, pid
		started <- nil
		<-p.makerStop
	}()
	if err := <-started; err != nil {
		return err
	}
	// Its first order: to forget the sentry's image.
	if err := z.watch(func() {}); err != nil {
		z.abandon()
		close(z.gone)
		return err
	}
	if err := z.call(
		hostmap.Call{Nr: unix.SYS_MUNMAP, Args: [6]uint64{0, threadsBase}},
		hostmap.Call{Nr: unix.SYS_MUNMAP, Args: [6]uint64{threadsBase, codeBase - threadsBase}},
		hostmap.Call{Nr: unix.SYS_MUNMAP, Args: [6]uint64{stubLimit, addressEnd - stubLimit}},
	); err != nil {
		<-z.gone
		if i := z.exitStatus - 1; i >= 0 && i < len(names) {
			return fmt.Errorf("the host refuses %s to the stub process", names[i])
		}
		return fmt.Errorf("the stub process: %w", err)
	}
	return nil
}

// newZygoteData allocates on the heap, come what may: a goroutine's stack moves.
//
//go:noinline
func newZygoteData() *zygoteData { return new(zygoteData) }

func sigmask(set, old *uint64) {
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
}

// fork makes a stub process from the zygote.
func (p *Platform) fork() (*addressSpace, error) {
	pr, err := p.newProcess()
	if err != nil {
		return nil, err
	}
	p.forkMu.Lock()
	err = p.zygote.call(hostmap.Call{
		Nr:    unix.SYS_CLONE,
		Args:  [6]uint64{uint64(processFlags), 0, resultBase, 0, uint64(p.orders.offset(pr.slot))},
		Child: codeBase + offProcess,
	})
	pr.pid = int(*(*int32)(unsafe.Pointer(&p.result[0])))
	pr.bound.TID = pr.pid
	pr.bound.Inherit(&p.zygote.bound)
	p.forkMu.Unlock()
	if err != nil {
		p.orders.give(pr.slot)
		return nil, err
	}
	as := &addressSpace{process: pr}
	p.processes.Add(1)
	if err := pr.watch(as.died); err != nil {
		pr.abandon()
		pr.leaveWindow()
		p.processes.Done()
		return nil, err
	}
	return as, nil
}
