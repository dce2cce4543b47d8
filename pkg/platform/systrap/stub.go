package systrap

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"runsc/pkg/bpf"
	"runsc/pkg/platform/hostmap"
	"runsc/pkg/seccomp"
)

// Code that never runs where it lies, see stub_amd64.s.
func stubHelper()
func stubThread()
func stubProcess()
func stubHandler()
func stubPatched()
func stubPost()
func stubWait()
func stubRestore()
func stubNested()

func address(part uintptr) uintptr
func forkZygote(flags uintptr, list *hostmap.Call, n uintptr, window, offset, file, start uintptr) (pid uintptr)

// endMark ends each part of the stub.
var endMark = bytes.Repeat([]byte{0x0f, 0x0b}, 4)

// stubImage is the content of the stub's code pages.
func stubImage() ([]byte, error) {
	image := bytes.Repeat([]byte{0xcc}, codeSize)
	parts := []int{offHelper, offThread, offProcess, offHandler, offPatched, offPost, offWait, offRestore, offNested, offFilter}
	for i, off := range parts[:len(parts)-1] {
		start := address(uintptr(off))
		code := unsafe.Slice(*(**byte)(unsafe.Pointer(&start)), codeSize)
		n := bytes.Index(code, endMark)
		if n < 0 || off+n > parts[i+1] {
			return nil, fmt.Errorf("part %#x of the stub has %d bytes", off, n)
		}
		copy(image[off:], code[:n])
	}
	filter := threadFilter()
	var prog bytes.Buffer
	binary.Write(&prog, binary.LittleEndian, unixProgram{Len: uint16(len(filter)), Filter: codeBase + offFilter + sizeofProgram})
	binary.Write(&prog, binary.LittleEndian, filter)
	if prog.Len() > offErrors-offFilter {
		return nil, fmt.Errorf("the threads' filter has %d bytes", prog.Len())
	}
	copy(image[offFilter:], prog.Bytes())
	for i := range 256 {
		image[offErrors+i] = byte(i)
	}
	return image, nil
}

// unixProgram is struct sock_fprog.
type unixProgram struct {
	Len    uint16
	_      [6]byte
	Filter uint64
}

const sizeofProgram = 16

// newStubFile makes a memfd with the stub's code.
func newStubFile() (*os.File, error) {
	image, err := stubImage()
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("runsc-stub", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "stub")
	if _, err = f.Write(image); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_WRITE|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("writing the stub: %w", err)
	}
	return f, nil
}

const (
	threadFlags  = unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_THREAD | unix.CLONE_SYSVSEM
	processFlags = unix.CLONE_FILES | unix.CLONE_PARENT | unix.CLONE_PARENT_SETTID | uintptr(unix.SIGCHLD)
)

// helperFilter allows what helpers do. Application threads have it too, below their own,
// so it must not have a stronger action than trapping. orders is the file of the windows.
func helperFilter(orders uint64) ([]seccomp.RuleSet, seccomp.Action) {
	any := seccomp.Matcher(nil)
	allow := seccomp.Rules{
		unix.SYS_FUTEX: nil,
		unix.SYS_MMAP: {
			{any, any, seccomp.LessThanOrEqual(7), seccomp.MaskedEqual(^uint64(unix.MAP_POPULATE), unix.MAP_SHARED|unix.MAP_FIXED)},
		},
		unix.SYS_MUNMAP:   nil,
		unix.SYS_MPROTECT: {{any, any, seccomp.LessThanOrEqual(7)}},
		unix.SYS_PWRITE64: {{seccomp.EqualTo(orders)}},
		unix.SYS_CLONE: {
			{seccomp.EqualTo(threadFlags), seccomp.EqualTo(0)},
			{seccomp.EqualTo(processFlags), seccomp.EqualTo(0)},
		},
		// A new thread, until it has its own filter, and threads.
		unix.SYS_SIGALTSTACK: nil,
		unix.SYS_GETTID:      nil,
		unix.SYS_ARCH_PRCTL:  {{seccomp.EqualTo(archSetGS)}, {seccomp.EqualTo(archSetFS)}},
		unix.SYS_SECCOMP:     {{seccomp.EqualTo(unix.SECCOMP_SET_MODE_FILTER), seccomp.EqualTo(0)}},
		unix.SYS_PRCTL:       {{seccomp.EqualTo(unix.PR_SET_PDEATHSIG), seccomp.EqualTo(uint64(unix.SIGKILL))}},
		unix.SYS_GETPPID:     nil,
		unix.SYS_EXIT_GROUP:  nil,
	}
	return []seccomp.RuleSet{{Rules: allow, Action: seccomp.Allow}}, seccomp.Trap
}

const (
	archSetGS = 0x1001
	archSetFS = 0x1002
)

// threadFilter is the filter of application threads. The stub's own calls are told from the
// application's by their place. That is no boundary, because the application can jump
// there: so these calls do no harm with any arguments.
func threadFilter() []bpf.Instruction {
	const (
		offNumber = 0
		offArch   = 4
		offIP     = 8
	)
	// To be allowed: 64-bit, in the stub, futex or arch_prctl.
	return []bpf.Instruction{
		bpf.Stmt(bpf.LD|bpf.W|bpf.ABS, offIP+4),
		bpf.Jump(bpf.JMP|bpf.JEQ|bpf.K, codeBase>>32, 0, 8),
		bpf.Stmt(bpf.LD|bpf.W|bpf.ABS, offIP),
		bpf.Jump(bpf.JMP|bpf.JGE|bpf.K, codeBase&(1<<32-1), 0, 6),
		bpf.Jump(bpf.JMP|bpf.JGE|bpf.K, (codeBase+codeSize)&(1<<32-1), 5, 0),
		bpf.Stmt(bpf.LD|bpf.W|bpf.ABS, offArch),
		bpf.Jump(bpf.JMP|bpf.JEQ|bpf.K, unix.AUDIT_ARCH_X86_64, 0, 3),
		bpf.Stmt(bpf.LD|bpf.W|bpf.ABS, offNumber),
		bpf.Jump(bpf.JMP|bpf.JEQ|bpf.K, unix.SYS_FUTEX, 2, 0),
		bpf.Jump(bpf.JMP|bpf.JEQ|bpf.K, unix.SYS_ARCH_PRCTL, 1, 0),
		bpf.Stmt(bpf.RET|bpf.K, uint32(seccomp.Trap)),
		bpf.Stmt(bpf.RET|bpf.K, uint32(seccomp.Allow)),
	}
}
