// Package platform says how application code runs: the interface between the sentry's
// task loop and address spaces on one side and ptrace, systrap or kvm on the other.
//
// A Platform makes AddressSpaces, which pkg/sentry/mm fills with pages of memmap Files, and
// Contexts, one per task, in which the task's goroutine runs the application until it needs
// the sentry: Switch returns an Event, which is a system call, a fault, another
// synchronous signal, or an interrupt. A platform never interprets system calls and knows no
// task.
//
// The registers (arch.Context) belong to the task; a platform reads and writes them only
// inside Switch. FP and vector state, FS and GS base and whatever else a CPU remembers
// between two Switches is kept in arch.Context too or, while it need not be looked at, in
// the platform's Context (PullFullState).
//
// Concurrency: one goroutine at a time calls Switch on a Context. Interrupt may be called by
// any goroutine at any time and is never lost: the running or the next Switch returns
// EventInterrupt soon. AddressSpace methods may be called by any goroutine and lock for
// themselves; changes are visible to the application when the call has returned.
package platform

import (
	"fmt"
	"sort"

	"runsc/pkg/seccomp"
	"runsc/pkg/sentry/arch"
	"runsc/pkg/sentry/memmap"
)

// Platform is one way to run application code.
type Platform interface {
	// Name is what --platform says: "ptrace", "systrap", "kvm".
	Name() string
	// NewAddressSpace makes an empty address space.
	NewAddressSpace() (AddressSpace, error)
	// NewContext makes the execution context of one task.
	NewContext() Context
	// UserRange is the range of addresses that applications may map, [min, max).
	UserRange() (min, max uintptr)
	// SeccompRules are the host system calls that the platform makes in the sentry
	// process beyond those of the sentry itself.
	SeccompRules() seccomp.Rules
	// Close ends every helper process. No other method may run.
	Close()
}

// SyscallPatcher is a Platform on which a changed call site makes a system call cheaper.
// pkg/sentry/mm changes code, at the request of an Event that is Hot.
type SyscallPatcher interface {
	// PlanSyscallPatch looks for a way to change code, which lies at addr, where a system
	// call with number nr returned to ip, or was about to. code should hold some bytes on
	// either side of ip.
	PlanSyscallPatch(code []byte, addr, ip, nr uintptr) (SyscallPatch, bool)
	// TrampolineSize is the room for a patch's trampoline, in bytes.
	TrampolineSize() uintptr
}

// ProcessIDAnswerer is an AddressSpace in which patched call sites of getpid(2) can do without
// the sentry.
type ProcessIDAnswerer interface {
	// AnswerProcessID makes them return pid; 0: they ask. It may be called at any time.
	AnswerProcessID(pid int32)
}

// SyscallPatch is the change of one call site.
type SyscallPatch interface {
	// Range is what is replaced.
	Range() (start, end uintptr)
	// Build makes the bytes to put there, and the code of a trampoline at the address at; ok
	// is false if it cannot lie there. If moved is not 0, an application that returns to the
	// call site the old way gets SIGILL there, and goes on at moved.
	Build(at uintptr) (site, trampoline []byte, moved uintptr, ok bool)
}

// Ops are the changes of an address space. Addresses and lengths are page-aligned.
type Ops interface {
	// MapFile maps fr of f at addr, replacing what was there. With precommit the pages
	// are made present at once.
	MapFile(addr uintptr, f memmap.File, fr memmap.Range, at memmap.AccessType, precommit bool) error
	// Unmap removes everything in [addr, addr+length).
	Unmap(addr, length uintptr) error
	// Protect changes what is mapped in the range; holes stay holes.
	Protect(addr, length uintptr, at memmap.AccessType) error
}

// AddressSpace is one application address space on the host.
type AddressSpace interface {
	Ops
	// Batch collects the changes that f makes and carries them out in order with as few
	// hand-offs as the platform can. The first error is returned; f itself sees none.
	Batch(f func(Ops)) error
	// Release ends the address space; no Context may be running in it.
	Release()
}

// EventKind says why Switch returned.
type EventKind uint8

const (
	// EventSyscall: the registers are those of a system call entry; RIP points behind
	// the instruction, OrigRax (Regs.OrigRax) holds the number, RAX is -ENOSYS.
	EventSyscall EventKind = iota
	// EventFault: the application touched Addr in a way that what the platform has mapped
	// does not allow. Nothing was delivered to it.
	EventFault
	// EventSignal: a synchronous signal other than a mapping fault, with Info.
	EventSignal
	// EventInterrupt: Interrupt was called, or the platform wants the task loop to run.
	EventInterrupt
)

// Event is what Switch returns.
type Event struct {
	Kind EventKind
	// Hot says that the call site of an EventSyscall deserves a patch (SyscallPatcher).
	Hot bool
	// Addr and Access are those of an EventFault. The application could have forged
	// neither; mm checks them against its VMAs nevertheless.
	Addr   uintptr
	Access memmap.AccessType
	// AccessUnknown says that the platform cannot tell a read from a write (ptrace shows the
	// address of a fault, not the processor's error code). Access then is Read, and mm
	// must make the page fit for whatever the VMA allows, writing included: whoever
	// repaired only the read would see the same fault for ever.
	AccessUnknown bool
	// Info is the signal of an EventSignal, and of an EventFault the SIGSEGV or SIGBUS to
	// deliver if mm finds that the access is wrong.
	Info arch.SignalInfo
}

// Context runs one task's application code.
type Context interface {
	// Switch runs the application in as from the state in ac until an event, and
	// leaves its state in ac. An error means that the address space is lost (its host
	// process was killed); the task must die.
	Switch(as AddressSpace, ac *arch.Context) (Event, error)
	// Sleep says that the task will not be back in Switch soon, because its system call
	// sleeps.
	Sleep()
	// Interrupt makes the current or the next Switch return.
	Interrupt()
	// PullFullState brings FP state into ac, for signal frames, fork and ptrace.
	PullFullState(as AddressSpace, ac *arch.Context) error
	// FullStateChanged says that ac's FP state was changed by the sentry.
	FullStateChanged()
	// Release frees what the context holds in any address space.
	Release()
}

// Options are what a platform needs from the process that makes it.
type Options struct {
	// DeviceFD is a descriptor that was opened before the sandbox locked down (the kvm
	// device), or -1.
	DeviceFD int
	// NoPatch keeps a SyscallPatcher from asking for patches.
	NoPatch bool
}

// Constructor makes a platform. Its error says what the host lacks and what to do.
type Constructor func(Options) (Platform, error)

var constructors = map[string]Constructor{}

// Register adds a platform; packages do so in init.
func Register(name string, c Constructor) { constructors[name] = c }

// New makes the platform of that name. An unknown name is an error that lists the choices.
func New(name string, o Options) (Platform, error) {
	c, ok := constructors[name]
	if !ok {
		return nil, fmt.Errorf("unknown platform %q: this binary has %v", name, Names())
	}
	p, err := c(o)
	if err != nil {
		return nil, fmt.Errorf("platform %s: %w", name, err)
	}
	return p, nil
}

// Names lists the platforms of this binary.
func Names() []string {
	var names []string
	for n := range constructors {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
