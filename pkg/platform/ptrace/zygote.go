package ptrace

import (
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/bpf"
	"runsc/pkg/platform/affinity"
	"runsc/pkg/platform/hostmap"
	"runsc/pkg/seccomp"
	"runsc/pkg/sentry/arch"
)

// zygoteData is what the zygote's first system calls point to. It lies in the sentry's
// heap, where it does not move; the fork copies it to the same address.
type zygoteData struct {
	noSignals uint64
	capHeader unix.CapUserHeader
	noCaps    [2]unix.CapUserData
	filter    unix.SockFprog
	code      []bpf.Instruction
	name      [16]byte
}

// newZygote forks the zygote and strips it of everything but the stub. The calling
// goroutine is locked to its OS thread, which becomes the tracer.
func newZygote() (*thread, error) {
	sets, def := stubFilter()
	code, err := seccomp.Build(sets, def)
	if err != nil {
		return nil, err
	}
	d := newZygoteData()
	*d = zygoteData{code: code, capHeader: unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}}
	d.filter = unix.SockFprog{Len: uint16(len(code)), Filter: (*unix.SockFilter)(unsafe.Pointer(&code[0]))}
	copy(d.name[:], "runsc-stub")

	// The child must not run a Go signal handler.
	all, old := ^uint64(0), uint64(0)
	sigmask(&all, &old)
	pid := int(forkZygote(unix.CLONE_FILES | uintptr(unix.SIGCHLD)))
	sigmask(&old, nil)
	if pid < 0 {
		return nil, fmt.Errorf("forking the zygote: %w", unix.Errno(-pid))
	}
	z := &thread{tgid: pid, tid: pid, bound: affinity.Thread{TID: pid}}
	if err := z.strip(d); err != nil {
		if !z.dead.Load() {
			unix.Kill(pid, unix.SIGKILL)
			z.reap()
		}
		return nil, fmt.Errorf("preparing the zygote: %w", err)
	}
	return z, nil
}

// newZygoteData allocates on the heap, come what may: a goroutine's stack moves.
//
//go:noinline
func newZygoteData() *zygoteData { return new(zygoteData) }

func sigmask(set, old *uint64) {
	unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(set)), uintptr(unsafe.Pointer(old)), 8, 0, 0)
}

// reap waits for the end of a killed thread.
func (t *thread) reap() {
	for !t.dead.Load() {
		if _, err := t.wait(); err != nil {
			return
		}
	}
}

// strip turns a fresh fork of the sentry into a zygote.
func (z *thread) strip(d *zygoteData) error {
	if _, err := z.wait(); err != nil {
		return fmt.Errorf("the host does not let a process be traced here (a seccomp profile, or kernel.yama.ptrace_scope=3): %w", err)
	}
	if e := z.ptrace(unix.PTRACE_SETOPTIONS, 0, traceOptions); e != 0 {
		return fmt.Errorf("setting options: %w", e)
	}
	// The size of FP state that ptrace(2) insists on.
	fp := make([]byte, 1<<16)
	iov := unix.Iovec{Base: &fp[0], Len: uint64(len(fp))}
	if e := z.ptrace(unix.PTRACE_GETREGSET, ntX86XState, uintptr(unsafe.Pointer(&iov))); e != 0 {
		return fmt.Errorf("reading FP state: %w", e)
	}
	if int(iov.Len) != arch.XStateSize() {
		return fmt.Errorf("the host's FP state has %d bytes, the processor's %d", iov.Len, arch.XStateSize())
	}
	var r arch.Registers
	if err := z.getRegs(&r); err != nil {
		return err
	}
	// It stopped behind the system call instruction of its kill(2).
	site := r.Rip - 2
	do := func(nr uintptr, a ...uintptr) error {
		var args arch.Args
		copy(args[:], a)
		got, err := z.stepSyscall(site, nr, args)
		if err == nil && nr == unix.SYS_MMAP && got != args[0] {
			err = unix.EEXIST
		}
		if err != nil {
			return fmt.Errorf("%s: %w", seccomp.SyscallName(nr), err)
		}
		return nil
	}
	p := func(v unsafe.Pointer) uintptr { return uintptr(v) }
	type call struct {
		nr   uintptr
		args []uintptr
	}
	// The C library, which a race detector's build has, registers restartable sequences.
	// The kernel would write to them when they are long unmapped.
	var rseq struct {
		pointer         uint64
		size, signature uint32
		_               [2]uint32
	}
	if e := z.ptrace(unix.PTRACE_GET_RSEQ_CONFIGURATION, unsafe.Sizeof(rseq), uintptr(unsafe.Pointer(&rseq))); e == 0 && rseq.pointer != 0 {
		const unregister = 1
		if err := do(unix.SYS_RSEQ, uintptr(rseq.pointer), uintptr(rseq.size), unregister, uintptr(rseq.signature)); err != nil {
			return err
		}
	}
	noFD := ^uintptr(0)
	for _, c := range []call{
		{unix.SYS_RT_SIGPROCMASK, []uintptr{unix.SIG_SETMASK, p(unsafe.Pointer(&d.noSignals)), 0, 8}},
		{unix.SYS_PRCTL, []uintptr{unix.PR_SET_NAME, p(unsafe.Pointer(&d.name))}},
		// Its threads are handed from tracer to tracer; that takes a dumpable process.
		{unix.SYS_PRCTL, []uintptr{unix.PR_SET_DUMPABLE, 1}},
		{unix.SYS_PRCTL, []uintptr{unix.PR_SET_NO_NEW_PRIVS, 1}},
		{unix.SYS_CAPSET, []uintptr{p(unsafe.Pointer(&d.capHeader)), p(unsafe.Pointer(&d.noCaps))}},
		{unix.SYS_MMAP, []uintptr{stubBase, stubSize, unix.PROT_READ | unix.PROT_WRITE, unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_FIXED, noFD, 0}},
		// A terminal that the sentry's session has must not signal the stubs.
		{unix.SYS_SETSID, nil},
	} {
		if err := do(c.nr, c.args...); err != nil {
			return err
		}
	}
	code := stubCode()
	for i := 0; i < len(code); i += 8 {
		if e := z.ptrace(unix.PTRACE_POKEDATA, stubBase+uintptr(i), uintptr(binary.LittleEndian.Uint64(code[i:]))); e != 0 {
			return fmt.Errorf("writing the stub: %w", e)
		}
	}
	if err := do(unix.SYS_MPROTECT, stubBase, stubSize, unix.PROT_READ|unix.PROT_EXEC); err != nil {
		return err
	}
	if err := do(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, p(unsafe.Pointer(&d.filter))); err != nil {
		return err
	}
	// From here on the stub itself serves; the rest of the sentry's image goes.
	for _, gap := range [][2]uintptr{{0, stubBase}, {stubBase + stubSize, addressEnd}} {
		if _, err := z.syscall(stubSyscall, unix.SYS_MUNMAP, arch.Args{gap[0], gap[1] - gap[0]}); err != nil {
			return fmt.Errorf("unmapping the sentry's image: %w", err)
		}
	}
	return nil
}

// stepSyscall carries out a system call by an instruction without breakpoint behind it.
func (z *thread) stepSyscall(ip uint64, nr uintptr, a arch.Args) (uintptr, error) {
	r := stubRegs(ip)
	r.Rax = uint64(nr)
	r.Rdi, r.Rsi, r.Rdx, r.R10, r.R8, r.R9 = uint64(a[0]), uint64(a[1]), uint64(a[2]), uint64(a[3]), uint64(a[4]), uint64(a[5])
	if e := z.setRegs(&r); e != 0 {
		return 0, e
	}
	for stops := 0; stops < 2; { // entry and exit of the call
		if e := z.ptrace(unix.PTRACE_SYSCALL, 0, 0); e != 0 {
			return 0, e
		}
		ws, err := z.wait()
		if err != nil {
			return 0, err
		}
		switch ws.StopSignal() {
		case syscallStop:
			stops++
		case unix.SIGSEGV, unix.SIGBUS, unix.SIGILL, unix.SIGFPE, unix.SIGSYS:
			return 0, fmt.Errorf("stub got %v", ws.StopSignal())
		}
	}
	if err := z.getRegs(&r); err != nil {
		return 0, err
	}
	if r.Rax >= ^uint64(4094) {
		return 0, unix.Errno(-r.Rax)
	}
	return uintptr(r.Rax), nil
}

// orderMemory holds the lists of system calls for stub processes: a slot of ordersSize for
// each, writable here, readable there.
type orderMemory struct {
	file *os.File
	mem  []byte

	slots chan int // free slots that were used before
	next  int      // first slot never used; the tracer's
}

// maxSlots bounds the number of address spaces that exist at one time.
const maxSlots = 1 << 15

func newOrderMemory() (*orderMemory, error) {
	fd, err := unix.MemfdCreate("runsc-orders", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	m := &orderMemory{file: os.NewFile(uintptr(fd), "orders"), slots: make(chan int, maxSlots)}
	if err := unix.Ftruncate(fd, maxSlots*ordersSize); err != nil {
		m.file.Close()
		return nil, err
	}
	if m.mem, err = unix.Mmap(fd, 0, maxSlots*ordersSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE); err != nil {
		m.file.Close()
		return nil, err
	}
	return m, nil
}

func (m *orderMemory) close() {
	unix.Munmap(m.mem)
	m.file.Close()
}

// take returns a free slot. Only the tracer calls it.
func (m *orderMemory) take() (int, error) {
	select {
	case s := <-m.slots:
		return s, nil
	default:
	}
	if m.next == maxSlots {
		return 0, unix.EAGAIN
	}
	m.next++
	return m.next - 1, nil
}

func (m *orderMemory) give(slot int) { m.slots <- slot }

func (m *orderMemory) list(slot int) []hostmap.Call {
	return unsafe.Slice((*hostmap.Call)(unsafe.Pointer(&m.mem[slot*ordersSize])), ordersSize/hostmap.SizeofCall)
}
